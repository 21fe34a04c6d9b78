/*
 * one_pool: one named pool, as most tests of HAProxy's sentences begin.
 */
#ifndef TARN_TESTS_ONE_POOL_H
#define TARN_TESTS_ONE_POOL_H

#include "fake_system.h"
#include "heap.h"
#include "pools.h"

#include <criterion/criterion.h>
#include <errno.h>

enum { SIZE = 1000, ROUNDED = 1008, A_SLAB = UNIT / ROUNDED, ERRNO = 77, MANY = 3000 };

static struct tarn_pool *pool;
static void *block[MANY];

static inline void start_pool(void)
{
    heap_start();
    cr_assert_not_null(heap_alloc(1)); /* from here on the thread has a cache */
    pool = tarn_pool_create("tested", SIZE, 0, 0);
    cr_assert_not_null(pool);
    errno = ERRNO;
}

static inline void check_counts(uint64_t used, uint64_t failed, uint64_t limited)
{
    struct tarn_pool_stats s = pool_now(pool);
    cr_assert_eq(s.used, used);
    cr_assert_eq(s.failed, failed);
    cr_assert_eq(s.limited, limited);
    cr_assert_leq(s.used, s.allocated);
    cr_assert(s.limit == 0 || s.allocated <= s.limit);
    heap_check();
}

/* Takes what can be had without asking the kernel; how many. */
static inline uint64_t take_free_ones(void)
{
    uint64_t taken = 0;
    size_t calls = fake_calls();
    while (tarn_pool_get_first(pool) != NULL)
        taken++;
    cr_assert_eq(fake_calls(), calls);
    cr_assert_eq(errno, ERRNO);
    return taken;
}

#endif
