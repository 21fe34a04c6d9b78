/*
 * window: a region with malloc's classes, and how much of it is whose.
 */
#ifndef TARN_TESTS_WINDOW_H
#define TARN_TESTS_WINDOW_H

#include "region.h"
#include "sizeclass.h"

#include <criterion/criterion.h>

enum { MEBIBYTE = 1 << 20 };

static inline void start(void)
{
    sizeclass_start(NULL, 0, 32768);
    cr_assert(region_start());
}

static bool zeroed;

static inline void *claim(size_t count)
{
    return region_claim(count, 1, &zeroed);
}

/* A thread that claims a unit. */
static inline void *claim_one(void *unused)
{
    bool own_zeroed;
    (void)unused;
    return region_claim(1, 1, &own_zeroed);
}

static inline struct region_stats stats(void)
{
    struct region_stats s;
    region_check();
    region_stats(&s);
    return s;
}

static inline size_t taken(void)
{
    return stats().taken >> UNIT_SHIFT;
}

static inline size_t dirty(void)
{
    return stats().dirty >> UNIT_SHIFT;
}

/* Takes all units there are below the top, so that what is claimed next is fresh. */
static inline char *claim_all_mapped(void)
{
    size_t mapped = stats().mapped >> UNIT_SHIFT;
    return claim(mapped - taken());
}

static inline bool is_zero(const char *at, size_t units)
{
    for (size_t i = 0; i < units * UNIT; i += 512)
        if (at[i] != 0)
            return false;
    return true;
}

#endif
