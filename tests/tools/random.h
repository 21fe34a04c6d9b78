/*
 * random: numbers that a seed repeats, for tests.
 *
 * The generator is Marsaglia's xorshift64*: any seed but 0 will do, and gives the same run everywhere.
 */
#ifndef TARN_TESTS_RANDOM_H
#define TARN_TESTS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 0x2545F4914F6CDD1Du;
}

/* 0 <= answer < bound */
static inline size_t random_below(uint64_t *seed, size_t bound)
{
    return (size_t)((random_next(seed) >> 11) % bound);
}

#endif
