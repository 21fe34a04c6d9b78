/*
 * heap: chooses who serves a request: the cache, or large.
 *
 * Owns:       the rule "fails -> gc once -> retry once -> NULL", realloc, alignment, usable sizes.
 * Promises:   every block is aligned to BLOCK_ALIGN; NULL only after a collection and a retry. A pointer that is not
 *             tarn's, or that no large block starts at, is reported and left alone. One into a slab is believed, as
 *             the hot path asks only for its class: that it is no block's start, or free already, is found when it
 *             comes back to its slab, and reported then.
 * Guarded by: nothing of its own.
 * Never:      sets errno (preload/ does), never keeps a lock.
 *
 * Hot path budget, x86-64: 20 instructions for malloc and for free, four of them for restart.h; no call, no atomic
 * read-modify-write, no touch of the block (tests/golden/hotpath.txt).
 */
#ifndef TARN_HEAP_H
#define TARN_HEAP_H

#include "base.h"
#include "cache.h"
#include "region.h"
#include "restart.h"
#include "sample.h"
#include "sizeclass.h"

/* Starts tarn: settings, classes, region, pools. Once; called by the first miss, or by preload's constructor. */
void heap_start(void);

/* From now on `call` is called when the last thread that has a cache ends. */
void heap_on_last_thread(void (*call)(void));

void *heap_alloc_slow(size_t n);
void heap_free_slow(void *p, const char *call);

/* The hit path alone, with no call behind it: preload/ leaves a miss to helpers of its own by a tail call. */

/* A block of at least `n` bytes out of the thread's cache in *p; false: a miss. */
INLINE bool heap_pop(size_t n, void **p)
{
    return likely(n < pooled_end) && restart_pop(place_of(n), p);
}

/* The same where each request is counted (TARN_GUARD_SAMPLE), and so misses above; false: a miss, or it is due. */
INLINE bool heap_pop_counted(size_t n, void **p)
{
    if (sample_left <= 1 || n > pooled_max || !restart_pop(place_of(n), p))
        return false;
    sample_left--;
    return true;
}

/* Keeps `p` in the thread's cache; false: a miss, and NULL is one. */
INLINE bool heap_push(void *p)
{
    size_t unit = region_unit(p);
    return likely(unit < region.units) && restart_push(READ_ONCE(region.places[unit]), p);
}

/* A block of at least `n` bytes; NULL: n > PTRDIFF_MAX, or no memory. */
INLINE void *heap_alloc(size_t n)
{
    void *p;
    return likely(heap_pop(n, &p)) || heap_pop_counted(n, &p) ? p : heap_alloc_slow(n);
}

/* Takes back a block; NULL is none. `call` names the caller in a report. */
INLINE void heap_free(void *p, const char *call)
{
    if (unlikely(!heap_push(p)))
        heap_free_slow(p, call);
}

/* Can `p` be a block of `n` bytes, as a program claims that gives it back? What is not asked for in this way, a large or
   a guarded block, is left to accuse_size. */
INLINE bool heap_size_fits(const void *p, size_t n)
{
    size_t unit = region_unit(p);
    return unit >= region.units || (n <= pooled_max && READ_ONCE(region.places[unit]) == place_of(n));
}

/* A block of `pool` for a request of `n` bytes, after a miss, `raw` if it shall not be poisoned. NULL: no memory after a
   collection, or the pool is at its limit; its counters say which. */
void *heap_pool_alloc(struct pool *pool, size_t n, size_t align, bool raw);

/* Takes back a block of `pool`; NULL is none; one that is not the pool's is reported. */
void heap_pool_free(struct pool *pool, void *p, const char *call);

/* `n` zeroed bytes. */
void *heap_alloc_zeroed(size_t n);

/* `n` bytes at a multiple of `align`, a power of two of any size. */
void *heap_alloc_aligned(size_t align, size_t n);

/* True if the pooled block at `p` is right for `n` > 0 bytes as it is: most steps of a growing buffer. Shrinking below
   half moves, so that little data does not hold much memory; above, a move would cost more than it gives back. */
INLINE bool heap_stays(const void *p, size_t n)
{
    size_t size = class_table[region_class(p)].stays; /* 0 for what is no pool's */
    return n <= size && n >= size / 2;
}

/* As realloc(p, n) for p != NULL and n > 0: same place if the class stays, or if it shrinks to no less than
   half; NULL: no memory, and `p` is as it was; a bad `p` is reported, and NULL. */
void *heap_realloc(void *p, size_t n);

/* Bytes that may be written at `p`; 0 if it is NULL or not a block of ours. Stable until realloc or free. */
size_t heap_usable(const void *p);

/* Runs every room's _check(). For tests and debug builds; call while no other thread allocates. */
void heap_check(void);

#endif
