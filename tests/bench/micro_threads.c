/* The tests that make their own threads: as servers do, threads come and go, and blocks outlive them. */
#include "micro.h"

#include "../tools/random.h"

#include <semaphore.h>

enum {
    SIZES_MASK = SIZES - 1,
    GENERATIONS = 16,
    LINKS = 64,           /* threads that a larson chain gets through */
    ITERATIONS = 16,      /* times that the stress test's threads are all replaced */
    TRANSFERS = 1024,     /* slots through which they pass blocks on */
    PASS_EVERY = 8,       /* every so many replaced blocks one is passed on */
    STRESS_LOG_MOST = 14, /* 256 KiB */
    BRIEF_BLOCKS = 300
};

struct generation {
    struct worker *worker;
    uint64_t ops;
};

static void *generation_main(void *arg)
{
    struct generation *now = arg;

    work_random(now->worker, now->ops);
    return NULL;
}

/* The blocks of the dead are freed by their heirs. */
static uint64_t work_churn(struct worker *w, uint64_t ops)
{
    struct generation now = {w, ops / GENERATIONS};

    for (int i = 0; i < GENERATIONS; i++)
        pthread_join(thread_new(generation_main, &now), NULL);
    return now.ops * GENERATIONS;
}

/* A thread's last act is to start its successor, so the one ends while the other is at work already. */
struct chain {
    struct worker worker;
    uint64_t share;
    unsigned left;
};

static struct chain *chains;
static sem_t chain_ended;

static void *link_main(void *arg)
{
    struct chain *chain = arg;

    stay_on_processor(chain->worker.id);
    work_random(&chain->worker, chain->share);
    if (--chain->left > 0)
        pthread_detach(thread_new(link_main, chain));
    else
        sem_post(&chain_ended);
    return NULL;
}

static void prepare_larson(struct worker *w)
{
    chains = table_new(w->line->threads * sizeof(*chains));
    sem_init(&chain_ended, 0, 0);
    for (unsigned i = 0; i < w->line->threads; i++) {
        chains[i].worker = worker_copy(w, i);
        prepare_random(&chains[i].worker);
    }
}

static uint64_t work_larson(struct worker *w, uint64_t ops)
{
    unsigned threads = w->line->threads;

    for (unsigned i = 0; i < threads; i++) {
        chains[i].share = ops / (LINKS * threads) + 1;
        chains[i].left = LINKS;
        pthread_detach(thread_new(link_main, &chains[i]));
    }
    for (unsigned i = 0; i < threads; i++)
        sem_wait(&chain_ended);
    return chains[0].share * LINKS * threads;
}

static uint32_t size_larson(uint64_t *seed)
{
    return 8 + (uint32_t)random_below(seed, 993);
}

static void **transfers;

/* Replaces its own blocks and swaps one in eight with the others'; frees what it holds before it ends. */
static void *stress_main(void *arg)
{
    struct generation *now = arg;
    struct worker *w = now->worker;
    const uint32_t *size = w->size, *order = w->order;
    void **slot = w->slot;
    size_t at = w->at;

    stay_on_processor(w->id);
    for (uint64_t i = 0; i < now->ops; i++, at++) {
        void **mine = &slot[order[at & w->order_mask]];

        free(*mine);
        *mine = touched(malloc(size[at & SIZES_MASK]));
        if (at % PASS_EVERY == 0)
            *mine =
                __atomic_exchange_n(&transfers[at / PASS_EVERY * 37 % TRANSFERS], *mine, __ATOMIC_ACQ_REL);
    }
    for (size_t i = 0; i < w->line->live; i++) {
        free(slot[i]);
        slot[i] = NULL;
    }
    w->at = at;
    return NULL;
}

static struct generation *stressed;

static void prepare_stress(struct worker *w)
{
    transfers = table_new(TRANSFERS * sizeof(*transfers));
    stressed = table_new(w->line->threads * sizeof(*stressed));
    for (unsigned i = 0; i < w->line->threads; i++) {
        struct worker *copy = table_new(sizeof(*copy));

        *copy = worker_copy(w, i);
        prepare_random(copy);
        stressed[i].worker = copy;
    }
}

/* Half of what lies in between is freed by the main thread while no other lives. */
static uint64_t work_stress(struct worker *w, uint64_t ops)
{
    unsigned threads = w->line->threads;
    pthread_t *thread = table_new(threads * sizeof(*thread));
    uint64_t share = ops / (ITERATIONS * threads) + 1;

    for (int round = 0; round < ITERATIONS; round++) {
        for (unsigned i = 0; i < threads; i++) {
            stressed[i].ops = share;
            thread[i] = thread_new(stress_main, &stressed[i]);
        }
        for (unsigned i = 0; i < threads; i++)
            pthread_join(thread[i], NULL);
        for (size_t i = round % 2; i < TRANSFERS; i += 2) {
            free(transfers[i]);
            transfers[i] = NULL;
        }
    }
    return share * ITERATIONS * threads;
}

/* Powers of two, each a third rarer than the one before: every other byte is in a block of 64 KiB or more. */
static uint32_t size_stress(uint64_t *seed)
{
    unsigned log = 0;

    while (log < STRESS_LOG_MOST && random_below(seed, 3) != 0)
        log++;
    return 16u << log;
}

static void *brief_main(void *arg)
{
    const uint32_t *size = ((struct worker *)arg)->size;
    void *block[BRIEF_BLOCKS];

    for (int i = 0; i < BRIEF_BLOCKS; i++)
        block[i] = touched(malloc(size[i]));
    for (int i = 0; i < BRIEF_BLOCKS; i++)
        free(block[i]);
    return NULL;
}

static void *bare_main(void *arg)
{
    (void)arg;
    return NULL;
}

static uint64_t threads_come_and_go(struct worker *w, uint64_t ops, void *(*run)(void *))
{
    unsigned together = w->line->threads;
    pthread_t *thread = table_new(together * sizeof(*thread));
    uint64_t done;

    for (done = 0; done < ops; done += together) {
        for (unsigned i = 0; i < together; i++)
            thread[i] = thread_new(run, w);
        for (unsigned i = 0; i < together; i++)
            pthread_join(thread[i], NULL);
    }
    return done;
}

static uint64_t work_brief(struct worker *w, uint64_t ops)
{
    return threads_come_and_go(w, ops, brief_main);
}

static uint64_t work_bare(struct worker *w, uint64_t ops)
{
    return threads_come_and_go(w, ops, bare_main);
}

const struct test test_churn = {
    .help = "random replacement by threads that die and leave their blocks to the next",
    .prepare = prepare_random,
    .work = work_churn};
const struct test test_larson = {
    .help = "the same, 8 to 1000 bytes, the next thread being started by the one that ends",
    .prepare = prepare_larson,
    .work = work_larson,
    .draw = size_larson,
    .kind = OWN_THREADS};
const struct test test_stress = {
    .help = "blocks of 16 bytes to 256 KiB replaced and passed on by threads that are renewed 16 times",
    .prepare = prepare_stress,
    .work = work_stress,
    .draw = size_stress,
    .kind = OWN_THREADS};
const struct test test_brief = {.help = "a thread that allocates and frees 300 small blocks, and ends",
                                .prepare = prepare_nothing,
                                .work = work_brief,
                                .kind = OWN_THREADS};
const struct test test_bare = {.help = "a thread that ends at once: nothing is allocated by it",
                               .prepare = prepare_nothing,
                               .work = work_bare,
                               .kind = OWN_THREADS | BASELINE};
