/*
 * Producers allocate, consumers free. Blocks travel 256 at a time, so that the ring's lock is paid once a
 * batch; what is left of the ring's price is the line `ring`, the same traffic with blocks that were never
 * allocated.
 */
#include "micro.h"

#include "../tools/random.h"

#include <pthread.h>

enum { BATCH = 256, BATCHES = 64, RING_MASK = BATCHES - 1, RING_BLOCK = 64 };

struct batch {
    void *block[BATCH];
    char *fixed; /* the same blocks every time, for the baseline */
};

struct ring {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct batch *batch[BATCHES];
    unsigned first, count, sleepers;
};

static struct ring full = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};
static struct ring spare = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

/* A sleeper is woken when half of the ring waits for it: once in 8192 blocks, not once a batch. */
static void ring_put(struct ring *ring, struct batch *batch)
{
    int wake;

    pthread_mutex_lock(&ring->lock);
    ring->batch[(ring->first + ring->count++) & RING_MASK] = batch;
    wake = ring->sleepers > 0 && ring->count >= BATCHES / 2;
    pthread_mutex_unlock(&ring->lock);
    if (wake)
        pthread_cond_broadcast(&ring->filled);
}

static struct batch *ring_take(struct ring *ring)
{
    struct batch *batch;

    pthread_mutex_lock(&ring->lock);
    while (ring->count == 0) {
        ring->sleepers++;
        pthread_cond_wait(&ring->filled, &ring->lock);
        ring->sleepers--;
    }
    batch = ring->batch[ring->first];
    ring->first = (ring->first + 1) & RING_MASK;
    ring->count--;
    pthread_mutex_unlock(&ring->lock);
    return batch;
}

/* Nothing more will come from the caller: the others must not wait for half a ring. */
static void ring_hurry(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    pthread_cond_broadcast(&ring->filled);
    pthread_mutex_unlock(&ring->lock);
}

static void batch_allocate(struct worker *w, struct batch *batch)
{
    const uint32_t *size = w->size + (w->at++ % (SIZES / BATCH)) * BATCH;

    for (int i = 0; i < BATCH; i++)
        batch->block[i] = touched(malloc(size[i]));
}

static void batch_free(struct batch *batch)
{
    for (int i = 0; i < BATCH; i++) {
        (void)*(volatile uintptr_t *)batch->block[i];
        free(batch->block[i]);
    }
}

static void batch_write(struct worker *w, struct batch *batch)
{
    (void)w;
    for (int i = 0; i < BATCH; i++)
        batch->block[i] = touched(batch->fixed + i * RING_BLOCK);
}

static void batch_read(struct batch *batch)
{
    for (int i = 0; i < BATCH; i++)
        (void)*(volatile uintptr_t *)batch->block[i];
}

/* Even workers produce, odd ones consume, each the same number of batches: so all of them end. */
static uint64_t hand_over(struct worker *w, uint64_t ops, void (*fill)(struct worker *, struct batch *),
                          void (*drain)(struct batch *))
{
    uint64_t batches = (2 * ops + BATCH - 1) / BATCH;
    struct ring *from = w->id % 2 == 0 ? &spare : &full;
    struct ring *to = w->id % 2 == 0 ? &full : &spare;

    for (uint64_t i = 0; i < batches; i++) {
        struct batch *batch = ring_take(from);

        if (from == &spare)
            fill(w, batch);
        else
            drain(batch);
        ring_put(to, batch);
    }
    ring_hurry(to);
    return from == &spare ? batches * BATCH : 0;
}

static uint64_t work_handoff(struct worker *w, uint64_t ops)
{
    return hand_over(w, ops, batch_allocate, batch_free);
}

static uint64_t work_ring(struct worker *w, uint64_t ops)
{
    return hand_over(w, ops, batch_write, batch_read);
}

static void prepare_ring(struct worker *w)
{
    struct batch *batches;

    if (w->id != 0)
        return;
    batches = table_new(BATCHES * sizeof(*batches));
    for (int i = 0; i < BATCHES; i++) {
        batches[i].fixed = table_new(BATCH * RING_BLOCK);
        ring_put(&spare, &batches[i]);
    }
}

static uint32_t size_server(uint64_t *seed)
{
    return 16 + (uint32_t)random_below(seed, 985);
}

const struct test test_handoff = {.help = "allocated by one thread, read and freed by another",
                                  .prepare = prepare_ring,
                                  .work = work_handoff,
                                  .kind = PAIRED};
const struct test test_xmalloc = {
    .help = "16 to 1000 bytes, allocated by half of the threads, freed by the others",
    .prepare = prepare_ring,
    .work = work_handoff,
    .draw = size_server,
    .kind = PAIRED};
const struct test test_ring = {.help = "the hand-over alone: nothing is allocated",
                               .prepare = prepare_ring,
                               .work = work_ring,
                               .kind = BASELINE | PAIRED};
