/*
 * large: what is bigger than the biggest class: jemalloc's.
 *
 * Owns:       the only calls of jemalloc; the units whose class is CLASS_LARGE, CLASS_BARE or CLASS_BODY.
 * Promises:   jemalloc's blocks lie in our region, on units of their own, so "is it jemalloc's?" and "does a block
 *             start here?" are one byte, and a pointer that fails that test never reaches jemalloc; jemalloc
 *             starts on the first large request and not before.
 * Guarded by: jemalloc's own locks, which come before LOCK_REGION and after all others; counters are atomic.
 * Never:      is entered with a lock of ours held, or from a signal handler.
 */
#ifndef TARN_LARGE_H
#define TARN_LARGE_H

#include "base.h"

/* Until jemalloc starts, its page map is to take no memory under mlockall, nor a share of RLIMIT_DATA. */
void large_rest(void);

/* At least `n` bytes (n <= PTRDIFF_MAX) at a multiple of `align` (a power of two), zeroed if asked.
   NULL: none. */
void *large_alloc(size_t n, size_t align, bool zero);

/* False: no large block starts at `p` (given back twice, or the inside of one); nothing was done. */
bool large_free(void *p);

/* Usable bytes of the block that starts at `p`; 0: none starts there. Stable until realloc or free. */
size_t large_usable(const void *p);

/* The block at `p`, moved or not, now of at least `n` bytes; NULL: no memory, the old block is as it was.
   The caller has made sure by large_usable that a block starts there. */
void *large_realloc(void *p, size_t n);

/* Gives what jemalloc holds and nobody uses back to the region: little or nothing, since it gives back what is freed. */
void large_purge(void);

struct large_stats {
    uint64_t blocks, bytes; /* live: handed out and not yet freed */
    uint64_t held;          /* bytes of region that jemalloc holds: `bytes`, when nothing is on its way */
    uint64_t failed;        /* refusals of memory, counted as a pool's are */
};

/* Any thread, any time, signal-safe. */
void large_stats(struct large_stats *s);
void large_count_failure(void);

/* fork: jemalloc's own three; nothing where it has not started. */
void large_prefork(void);
void large_postfork_parent(void);
void large_postfork_child(void);

#endif
