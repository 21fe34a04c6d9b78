/*
 * What the harness and its tests agree on.
 *
 * Owns:     nothing; a worker's tables belong to the worker.
 * Promises: no table of the harness comes from malloc, so the allocator under test sees only the test's own
 * calls. Guarded by: each worker is one thread's; what workers share is in micro_handoff.c behind its own
 * locks. Never:    divides, draws a random number or reads a clock inside a timed loop.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    SIZES = 1024,    /* entries in the table of request sizes: 4 KiB, so that it stays in the first cache */
    MIXED = 0,       /* a `size` that means 16..1024, mostly small */
    MIXED_MAX = 1024 /* the largest of them */
};

/* One line of the table: what to run and how large. */
struct line {
    const char *name;
    const struct test *test;
    size_t size;
    size_t live;
    unsigned threads;
    uint64_t ops;
};

struct worker {
    const struct line *line;
    unsigned id;
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
 * if `help` doesn't say otherwise. A baseline allocates nothing: it shows what the harness itself costs.
 */
struct test {
    const char *help;
    void (*prepare)(struct worker *w);
    uint64_t (*work)(struct worker *w, uint64_t ops);
    int baseline;
};

extern const struct test test_pair, test_calloc, test_fifo, test_lifo, test_random, test_tide, test_churn,
    test_grow, test_append, test_handoff, test_ring;

void *table_new(size_t bytes);
uint32_t random_below(uint32_t bound);

/* Every block is written once, as a program would. No check for NULL: out of memory may crash, loudly. */
static inline void *touched(void *block)
{
    *(volatile uintptr_t *)block = 1;
    return block;
}
