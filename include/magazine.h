/*
 * magazine: a small fixed array of block pointers, the only shape in which blocks travel.
 *
 * Owns:       the array; the blocks in it belong to whoever holds the magazine.
 * Promises:   a full magazine goes between a cache and a depot whole: O(1) under the pool's lock.
 * Guarded by: whoever holds it: a cache (its thread), or a depot (its pool's lock).
 * Never:      touches a block: what is cold stays cold. (Lists threaded through the blocks lost by up to 9 times
 *             where blocks are cold: each pop waits for a cache miss.)
 *
 *     0 <= count <= batch <= class_table[class].batch
 *
 * Idea: Bonwick and Adams, "Magazines and Vmem", USENIX 2001.
 */
#ifndef TARN_MAGAZINE_H
#define TARN_MAGAZINE_H

#include "base.h"

struct magazine {
    struct magazine *next; /* in a depot or in a cache's stack */
    uint32_t count;        /* blocks in it; stale while loaded: then the cache's count is the truth */
    uint32_t batch;        /* slots it has */
    void *slot[];          /* slot[count - 1] is the next to go */
};

/* An empty magazine of `batch` slots; NULL if there is no memory. */
struct magazine *magazine_new(unsigned batch);

void magazine_delete(struct magazine *m);

/*
 * The most slots, 2^k * 8 - 16 bytes each to fill a piece of meta exactly, whose blocks of `size` bytes stay within
 * `bytes`; but MAGAZINE_FULL in any case. With six for blocks of 5 to 16 KiB, two threads that replace blocks of up to
 * 16 KB at random missed every 15th time: 20.4 ns an operation, 18.1 with fourteen, at 2 % more memory (64 threads: 32.8
 * and 29.6, 13 %). Thirty for 8 KiB gain nothing with 64 threads, and take half as much memory again.
 */
unsigned magazine_batch(size_t size, size_t bytes);

enum { MAGAZINE_MIN = 6, MAGAZINE_FULL = 14, MAGAZINE_MAX = 126 };

/* The next bigger number of slots that fills its piece of meta. */
INLINE unsigned magazine_next(unsigned batch)
{
    return 2 * batch + 2;
}

/* Puts short stretches of its blocks, of `size` bytes and neighbours mostly, in any order. */
void magazine_shuffle(struct magazine *m, size_t size);

#endif
