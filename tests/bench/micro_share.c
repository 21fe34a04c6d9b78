/*
 * The tests in which running threads pass blocks to each other, or share cache lines. Blocks travel in packets:
 * one exchange for 32 of them, so that the cost of the hand-over itself is shared by 32 operations.
 */
#include "micro.h"

#include "../tools/random.h"

enum {
    SIZES_MASK = SIZES - 1,
    PACKET = 32,
    PACKETS = 128,
    PACKETS_MASK = PACKETS - 1,
    LIVES_MASK = 65536 - 1,
    YOUNG = 256, /* slots whose blocks die young: nine in ten go there */
    RUN = 192,   /* blocks replaced between two bursts */
    BURST = 64,
    WRITES = 1000, /* to one block before it is freed */
    REMOTE_MOST = 16000
};

/* Packets lie anywhere: any thread may take any of them, leaving its own. */
static void ***packets;

static void prepare_packets(void)
{
    if (packets)
        return;
    packets = table_new(PACKETS * sizeof(*packets));
    for (int i = 0; i < PACKETS; i++)
        packets[i] = table_new(PACKET * sizeof(**packets));
}

static void **packet_swap(struct worker *w, void **packet)
{
    return __atomic_exchange_n(&packets[w->shift++ * 37 & PACKETS_MASK], packet, __ATOMIC_ACQ_REL);
}

/* What another thread put into it dies, new blocks take its place. */
static void packet_renew(struct worker *w, void **packet)
{
    const uint32_t *size = w->size;
    size_t at = w->at;

    for (int i = 0; i < PACKET; i++)
        free(packet[i]);
    for (int i = 0; i < PACKET; i++)
        packet[i] = touched(malloc(size[at++ & SIZES_MASK]));
    w->at = at;
}

static void prepare_swap(struct worker *w)
{
    prepare_packets();
    w->shift = random_below(&w->seed, PACKETS);
    w->slot = table_new(PACKET * sizeof(*w->slot));
}

static uint64_t work_swap(struct worker *w, uint64_t ops)
{
    uint64_t done;

    for (done = 0; done < ops; done += PACKET) {
        packet_renew(w, w->slot);
        w->slot = packet_swap(w, w->slot);
    }
    return done;
}

/* The slots of the old follow those of the young. */
static void prepare_lives(struct worker *w)
{
    size_t old = w->line->live;

    w->slot = table_new((YOUNG + old) * sizeof(*w->slot));
    w->order = table_new((LIVES_MASK + 1) * sizeof(*w->order));
    w->order_mask = LIVES_MASK;
    for (size_t i = 0; i <= LIVES_MASK; i++) {
        int young = random_below(&w->seed, 10) != 0;

        w->order[i] = (uint32_t)(young ? random_below(&w->seed, YOUNG) : YOUNG + random_below(&w->seed, old));
    }
}

static void lives_replace(struct worker *w)
{
    const uint32_t *size = w->size, *order = w->order;
    void **slot = w->slot;
    size_t at = w->at;

    for (int i = 0; i < RUN; i++, at++) {
        void **mine = &slot[order[at & LIVES_MASK]];

        free(*mine);
        *mine = touched(malloc(size[at & SIZES_MASK]));
    }
    w->at = at;
}

/* The burst dies in its own order or in the opposite one, by turns. */
static void lives_burst(struct worker *w)
{
    const uint32_t *size = w->size + (w->at % (SIZES - BURST));
    void *block[BURST];
    unsigned backwards = w->at / RUN % 2 ? BURST - 1 : 0;

    for (unsigned i = 0; i < BURST; i++)
        block[i] = touched(malloc(size[i]));
    for (unsigned i = 0; i < BURST; i++)
        free(block[i ^ backwards]);
}

static uint64_t work_lives(struct worker *w, uint64_t ops)
{
    uint64_t done;

    for (done = 0; done < ops; done += RUN + BURST) {
        lives_replace(w);
        lives_burst(w);
    }
    return done;
}

static void prepare_lives_pass(struct worker *w)
{
    size_t start = random_below(&w->seed, PACKETS);

    prepare_packets();
    prepare_lives(w);
    w->shift = start;
}

/* As above, but the burst is left to whoever comes by. */
static uint64_t work_lives_pass(struct worker *w, uint64_t ops)
{
    void **packet = table_new(PACKET * sizeof(*packet));
    uint64_t done;

    for (done = 0; done < ops; done += RUN + PACKET) {
        lives_replace(w);
        packet_renew(w, packet);
        packet = packet_swap(w, packet);
    }
    return done;
}

static void prepare_remote(struct worker *w)
{
    size_t start = random_below(&w->seed, PACKETS);

    prepare_packets();
    prepare_random(w);
    w->shift = start;
}

/* A random block of its own is replaced three times in four, else a packet of another's. */
static uint64_t work_remote(struct worker *w, uint64_t ops)
{
    void **packet = table_new(PACKET * sizeof(*packet));
    uint64_t done;

    for (done = 0; done < ops; done += 4 * PACKET) {
        const uint32_t *order = w->order;
        size_t at = w->at;

        for (int i = 0; i < 3 * PACKET; i++, at++) {
            void **mine = &w->slot[order[at & w->order_mask]];

            free(*mine);
            *mine = touched(malloc(w->size[at & SIZES_MASK]));
        }
        w->at = at;
        packet_renew(w, packet);
        packet = packet_swap(w, packet);
    }
    return done;
}

/* 8 to 16000, the large ones rarer: a third of the range is the mean. */
static uint32_t size_remote(uint64_t *seed)
{
    uint32_t u = (uint32_t)random_below(seed, REMOTE_MOST - 7),
             v = (uint32_t)random_below(seed, REMOTE_MOST - 7);

    return 8 + (u < v ? u : v);
}

/* Blocks allocated one after the other by one thread: neighbours, if the allocator says so. */
static void prepare_scratch(struct worker *w)
{
    static void **given;
    static unsigned taken;

    if (!given) {
        given = table_new(w->line->threads * sizeof(*given));
        for (unsigned i = 0; i < w->line->threads; i++)
            given[i] = touched(malloc(w->line->size));
    }
    w->slot = &given[taken++];
}

static uint64_t work_writes(struct worker *w, uint64_t ops)
{
    uint64_t done;

    for (done = 0; done < ops; done += WRITES) {
        volatile char *block = malloc(w->line->size);

        for (int i = 0; i < WRITES; i++)
            block[i & 7]++;
        free((void *)block);
    }
    return done;
}

/* Freed by another thread than allocated it; what that one is given then may have the same neighbour. */
static uint64_t work_scratch(struct worker *w, uint64_t ops)
{
    free(*w->slot);
    *w->slot = NULL;
    return work_writes(w, ops);
}

const struct test test_swap = {.help =
                                   "4096 shared blocks: any thread frees any other's and puts its own there",
                               .prepare = prepare_swap,
                               .work = work_swap};
const struct test test_lives = {.help = "nine in ten die young, a quarter in bursts, forwards or backwards",
                                .prepare = prepare_lives,
                                .work = work_lives};
const struct test test_lives_pass = {.help = "nine in ten die young; one in seven is freed by another thread",
                                     .prepare = prepare_lives_pass,
                                     .work = work_lives_pass};
const struct test test_remote = {
    .help = "8 to 16000 bytes, replaced at random, a quarter of them by another thread",
    .prepare = prepare_remote,
    .work = work_remote,
    .draw = size_remote};
const struct test test_scratch = {.help = "one write to a block that was another thread's neighbour's",
                                  .prepare = prepare_scratch,
                                  .work = work_scratch};
const struct test test_thrash = {.help = "one write to a block while others write to theirs",
                                 .prepare = prepare_nothing,
                                 .work = work_writes};
