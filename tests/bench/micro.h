/*
 * What the harness and its tests agree on. A program is micro.c and a table of lines (micro_lines.c, maps.cc).
 *
 * Owns:     nothing; a worker's tables belong to the worker.
 * Promises: no table of the harness comes from malloc, so the allocator under test sees only the test's own
 * calls. Guarded by: each worker is one thread's; what workers share is in micro_handoff.c and micro_share.c
 * behind its own locks and exchanges. Never: divides, draws a random number or reads a clock inside a timed
 * loop.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SIZES = 1024, /* entries in the table of request sizes: 4 KiB, so that it stays in the first cache */
    MIXED = 0, /* a `size` that means the test's own mix, which is 16..1024, mostly small, if it has none */
    MIXED_MAX = 1024 /* the largest of them */
};

enum {
    BASELINE = 1,    /* allocates nothing: it shows what the harness itself costs */
    ONCE = 2,        /* runs without a warm-up: what counts is memory that nobody had before */
    OWN_THREADS = 4, /* makes its threads itself; the harness calls it once */
    PAIRED = 8       /* workers come in pairs */
};

/* One line of the table: what to run and how large. Lines of the group "long" are run only when asked for. */
struct line {
    const char *name, *group;
    const struct test *test;
    size_t size;
    size_t live;
    unsigned threads;
    uint64_t ops;
};

struct worker {
    const struct line *line;
    unsigned id;
    uint64_t seed;
    const uint32_t *size; /* SIZES request sizes, read in a circle */
    void **slot;          /* the live blocks */
    uint32_t *order;      /* slots in random order, order_mask + 1 of them */
    size_t order_mask;
    size_t shift; /* added to `order`, another each time around, so that the order never repeats */
    size_t at;    /* where the circles stand */
};

/*
 * `prepare` builds the live set, untimed. `work` does about `ops` operations and returns how many it did; it
 * is called once to warm up and once on the clock. An operation is one block's way through malloc and free,
 * if `help` doesn't say otherwise. A test with a `unit` is about memory: MiB, or bytes/thread.
 */
struct test {
    const char *help;
    void (*prepare)(struct worker *w);
    uint64_t (*work)(struct worker *w, uint64_t ops);
    uint32_t (*draw)(uint64_t *seed); /* one size of its mix */
    const char *unit;
    unsigned kind;
};

extern const struct line lines[];
extern const size_t lines_count;

extern const struct test test_pair, test_calloc, test_fifo, test_lifo, test_seq, test_random, test_tide,
    test_churn, test_grow, test_append, test_handoff, test_xmalloc, test_ring, test_lives, test_lives_pass,
    test_swap, test_remote, test_stress, test_larson, test_brief, test_bare, test_scratch, test_thrash,
    test_large, test_large_pages, test_swell, test_swell_slow, test_tree, test_tree_walk, test_list_walk,
    test_hash, test_hash_build, test_fresh, test_modest, test_phases, test_phases_wide, test_tail_random,
    test_tail_order, test_tail_runs, test_tail_threads, test_tail_threads_runs, test_asleep;

/* The harness: micro.c */
void *table_new(size_t bytes);
pthread_t thread_new(void *(*run)(void *), void *arg);
void stay_on_processor(unsigned id);
void resident_set(long kib);                     /* what a test with a unit is about */
void detail_add(const char *name, double value); /* one more number for those who look closer */
extern unsigned idle_seconds;

/* What /proc says of this process, in KiB, less the harness's own tables. */
long rss_kib(void);
long peak_kib(void);

/* Steps that tests share: micro_work.c */
void prepare_nothing(struct worker *w);
void prepare_slots(struct worker *w);
void prepare_live(struct worker *w);
void prepare_random(struct worker *w);
void order_shuffle(struct worker *w, size_t count); /* every slot once, in random order */
uint64_t work_random(struct worker *w, uint64_t ops);

/* `worker` again, for one of a test's own threads. */
static inline struct worker worker_copy(const struct worker *w, unsigned id)
{
    struct worker copy = *w;

    copy.id = id;
    copy.seed += id;
    copy.at = id * 101;
    return copy;
}

/* Every block is written once, as a program would. No check for NULL: out of memory may crash, loudly. */
static inline void *touched(void *block)
{
    *(volatile uintptr_t *)block = 1;
    return block;
}

#ifdef __cplusplus
}
#endif
