/*
 * large_now: large memory as tests look at it, on the real region and the real kernel.
 */
#ifndef TARN_TESTS_LARGE_NOW_H
#define TARN_TESTS_LARGE_NOW_H

#include "large.h"
#include "region.h"

#include <criterion/criterion.h>

enum { KIB = 1024, MIB = 1024 * KIB };

static inline void start(void)
{
    cr_assert(region_start());
}

static inline struct large_stats stats(void)
{
    struct large_stats s;
    large_stats(&s);
    return s;
}

static inline size_t taken(void)
{
    struct region_stats s;
    region_stats(&s);
    return s.taken;
}

/* Nothing is live, and jemalloc keeps nothing: not in its counters, not in the region's. */
static inline void expect_empty(void)
{
    struct large_stats s = stats();
    cr_expect_eq(s.blocks, 0);
    cr_expect_eq(s.bytes, 0);
    cr_expect_eq(s.held, 0, "held %lu", (unsigned long)s.held);
    cr_expect_eq(taken(), 0);
    region_check();
}

#endif
