/*
 * many_pools: pools made with one line each, where no size of malloc's is near by accident.
 */
#ifndef TARN_TESTS_MANY_POOLS_H
#define TARN_TESTS_MANY_POOLS_H

#include "heap.h"
#include "pools.h"

#include <criterion/criterion.h>
#include <errno.h>

/* Sizes that no class of malloc's is near: 256, 320, 384 are, and 8192, 10240. */
enum { APART = 288, BIG = 9040, ERRNO = 77 };

static inline void start(void)
{
    heap_start();
    errno = ERRNO;
}

static inline struct tarn_pool *make(const char *name, size_t size, unsigned flags)
{
    struct tarn_pool *pool = tarn_pool_create(name, size, 0, flags);
    cr_assert_not_null(pool);
    cr_assert_eq(errno, ERRNO);
    return pool;
}

/* One of malloc's, by its name. */
static inline bool is_malloc(struct tarn_pool *pool, const char *name)
{
    return strcmp(pool_now(pool).name, name) == 0;
}

#endif
