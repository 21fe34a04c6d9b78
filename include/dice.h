/*
 * dice: numbers that an outsider can't know.
 *
 * Owns:       a generator for each thread, seeded from the kernel's.
 * Promises:   no call of the kernel but the first of the process; no lock.
 * Guarded by: a thread's state is its own.
 * Never:      is good enough for keys that must last: who sees enough of its output can compute the rest.
 */
#ifndef TARN_DICE_H
#define TARN_DICE_H

#include "base.h"

/* 64 random bits. */
uint64_t dice_roll(void);

/* 0 .. n - 1, n > 0. */
INLINE uint32_t dice_below(uint32_t n)
{
    return (uint32_t)((dice_roll() >> 32) * n >> 32);
}

#endif
