/*
 * debug: HAProxy's debugging words, for every block of every pool (TARN_DEBUG).
 *
 * Owns:       what is remembered about single blocks (who allocated, who freed, the size asked for, what a free block
 *             must contain), and the checks made with it: 128 KiB of addresses for the notes of each region unit that
 *             has been used, 64 more for `backup`, with pages behind them as they are needed.
 * Promises:   costs nothing while no word is given: with one, no thread's cache is reachable from the hot path
 *             (thread_start), so every malloc and free comes by the slow path, and there heap calls here. A finding is
 *             a fault (fault.h) with pool, address, offset and, where known, the last two callers. A block
 *             that there is no memory to note is not checked.
 * Guarded by: a block's notes belong to whoever holds the block; the table of notes is filled by compare-and-swap.
 * Never:      runs with a lock of ours held; changes what a block holds while the program has it (but for its tag).
 *
 * Words, with HAProxy's meaning (options.h: enum debug_word):
 *     fail[=P]    P per cent of requests (1) get NULL, from the first one that the executable itself makes: then its
 *                 libraries' constructors have run. The loader, which would end the process, is spared always.
 *     no-merge    SHARED pools merge only with one of the same name                              (named.c)
 *     cold-first  of a thread's free blocks the one freed first goes out, not the last           (cache.c)
 *     integrity   a free block is filled with a pattern, which must still be there when it goes out
 *     no-global   no depot: what a thread can't keep goes into the slabs                         (pool.c)
 *     no-cache    no thread keeps blocks: each goes to its pool and comes from there             (thread.c)
 *     caller      remembers who allocated and who freed a block, for the reports
 *     tag         eight bytes behind what was asked for name block and pool: an overrun is found at free
 *     poison[=B]  a block that goes out is filled with byte B (0x50)
 *     uaf         each block on pages of its own, at their end, gone once it is freed            (guard.c)
 *     backup      a free block is copied aside, and compared with the copy when it goes out
 */
#ifndef TARN_DEBUG_H
#define TARN_DEBUG_H

#include "base.h"
#include "options.h"
#include "pool.h"

INLINE bool debug_on(unsigned words)
{
    return (options.debug.words & words) != 0;
}

/* Where the program called tarn: set on the way to a slow path by the outermost function, for `caller`. */
extern __thread const void *debug_caller TLS_INITIAL;

/* Bytes to add to each request for a pooled block. */
INLINE size_t debug_extra(void)
{
    return debug_on(DEBUG_TAG) ? sizeof(uint64_t) : 0;
}

/* True if this request, of debug_caller's, shall fail. */
bool debug_fails(void);

/* `p`, a block of `pool`, goes out for a request of `n` bytes: it is verified, noted, tagged, and poisoned unless
   `raw`. */
void debug_give_out(const struct pool *pool, void *p, size_t n, bool raw);

/* `p` (a block's start) comes back to its pool. False: it must not (it is free already, say), and that was reported
   in the name of `call`; else it is noted, and filled or copied (an overrun is reported, and it comes back). With any
   word that keeps notes (integrity, caller, tag, backup), a double free is found here at once. */
bool debug_take_back(const struct pool *pool, void *p, const char *call);

/* Bytes that the program may use at `p`, a block's start: with tags no more than were asked for (for none: 1). */
size_t debug_usable(const void *p);

/* Who last allocated and freed the block at `p`; NULL where not known. */
void debug_callers(const void *p, const void **allocated, const void **freed);

#endif
