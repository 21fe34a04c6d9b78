/*
 * reserve: memory for who interrupts malloc: a signal handler that strikes its thread on a slow path.
 *
 * Owns:       chunks of memory for blocks of each power of two, and the list of blocks of others' that a handler freed.
 * Promises:   no lock, no wait, nothing else of tarn's: right wherever a thread was interrupted, and in all threads at
 *             once. What was mapped stays, for the next.
 * Guarded by: nothing: atomic operations on heads of lists and bits.
 * Never:      serves a thread that is not on a slow path already: it has no classes, no cache, no limit.
 */
#ifndef TARN_RESERVE_H
#define TARN_RESERVE_H

#include "base.h"

/* `n` bytes at a multiple of `align`, a power of two; what they hold is undefined. NULL: no memory, or above 1 GiB. */
void *reserve_alloc(size_t n, size_t align);

/* Takes back a block; false: there is none of the reserve's at `p`. */
bool reserve_free(void *p);

/* Bytes that may be written at `p`; 0: there is no block of the reserve's. */
size_t reserve_usable(const void *p);

/* Blocks that wait for a thread that may take locks, each noted in a block of the reserve's: nothing is written to itself,
   since it may be of one byte, or free already. Without memory for the note it is lost. */
struct deferred;
void reserve_defer(void *p);

/* Takes all there are, and then one after the other out of them; NULL: that was all. */
struct deferred *reserve_take_deferred(void);
void *reserve_next_deferred(struct deferred **list);

/* Does one wait? Cheap, for every slow path. */
extern HIDDEN struct deferred *reserve_deferred;
INLINE bool reserve_has_deferred(void)
{
    return READ_ONCE(reserve_deferred) != NULL;
}

/* Bytes mapped. */
size_t reserve_bytes(void);

#endif
