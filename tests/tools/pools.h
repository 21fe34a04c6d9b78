/*
 * pools: named pools as tests look at them, and memory that runs out when a test says so.
 */
#ifndef TARN_TESTS_POOLS_H
#define TARN_TESTS_POOLS_H

#include "gc.h"
#include "region.h"
#include "tarn.h"
#include "thread.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static inline struct tarn_pool_stats pool_now(const struct tarn_pool *pool)
{
    struct tarn_pool_stats s = {.version = TARN_POOL_STATS_VERSION};
    if (tarn_pool_stats(pool, &s) != 0)
        abort();
    return s;
}

static inline uint64_t free_now(const struct tarn_pool *pool)
{
    struct tarn_pool_stats s = pool_now(pool);
    return s.allocated - s.used;
}

/* Fills block[0..n) out of `pool`; how many it got. */
static inline size_t alloc_many(struct tarn_pool *pool, void **block, size_t n)
{
    size_t got = 0;
    while (got < n && (block[got] = tarn_pool_alloc(pool)) != NULL)
        got++;
    return got;
}

static inline void free_many(struct tarn_pool *pool, void **block, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tarn_pool_free(pool, block[i]);
}

/* Collections that this thread saw; it must have a cache. */
static inline uint32_t collections(void)
{
    gc_attend(thread_own()); /* a flush, too, asks threads to drain: those are not counted later */
    return thread_own()->epoch;
}

/* From now on there is memory for `units` more units, and no more. */
static inline void leave_units(size_t units)
{
    struct region_stats s;
    region_stats(&s);
    region_limit(s.taken + s.dirty + units * UNIT);
}

/* What tarn_pools_dump prints for `query`; valid until the next call. */
static inline const char *dump(const char *query)
{
    static char text[1 << 17];
    int fd = memfd_create("dump", 0);
    if (fd < 0 || tarn_pools_dump(fd, query) != 0)
        abort();
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    text[length < 0 ? 0 : length] = '\0';
    close(fd);
    return text;
}

#endif
