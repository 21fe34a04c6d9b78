/*
 * guard: blocks that stand alone, each between pages that no one may touch.
 *
 * Owns:       the units of such blocks (CLASS_GUARDED), what is known about each, the queue of freed ones.
 * Promises:   a block ends where its page ends (its start rounded down to its alignment), so the first byte behind it
 *             faults; freed, all of it faults, and its addresses are not used again until GUARD_QUARANTINE units of
 *             others were freed, unless the region has nothing else to give. What an address that faulted belongs to
 *             can be told (guard_explain), by a signal handler too.
 * Guarded by: LOCK_GUARD for the queue; the kernel is asked without it. A block's record is written by whoever has
 *             the block; that it is live, and who may free it, is one atomic byte.
 * Costs:      about 8 us for an alloc and a free of 100 bytes: three calls of the kernel and a page fault; 22 us of
 *             40000. At rest, 64 bytes of records a unit, and 128 for the callers.
 * Never:      fills memory that the program did not ask for: a guarded block costs its pages and one unit of addresses.
 */
#ifndef TARN_GUARD_H
#define TARN_GUARD_H

#include "base.h"
#include "fault.h"

enum {
    GUARD_QUARANTINE =
        4096, /* units of freed blocks that wait before they are used again: 256 MiB of addresses */
    /* Blocks at one time. Each makes two mappings of the 65530 that the kernel allows by default, and the program
       needs some for itself. */
    GUARD_MAX = 24576
};

/*
 * A block of `n` bytes (0 counts as 1) aligned to `align` (at most a unit) and to 16 for the pool `pool` (a class
 * id), asked for `by` somebody; it reads as zeroes. NULL: no memory, GUARD_MAX are there, the alignment is too big, or
 * the kernel makes no more mappings: an unguarded one will do.
 */
void *guard_alloc(size_t n, size_t align, unsigned pool, const struct trace *by);

/*
 * Takes back `p`, which lies in a CLASS_GUARDED unit. False: *fault is to be reported, and says that no block starts
 * there, or that it is free already; or (FAULT_OVERRUN) that bytes in front of or behind it within its pages were
 * written: then the block was taken back all the same.
 */
bool guard_free(void *p, const char *call, const struct trace *by, struct fault *fault);

/* What is wrong with `p`, which lies in a CLASS_GUARDED unit, and at which no live block starts, or none for `call`. */
void guard_accuse(const void *p, const char *call, struct fault *fault);

/* Bytes asked for at `p` in a CLASS_GUARDED unit, and its pool; 0: no live block starts there. */
size_t guard_usable(const void *p);
unsigned guard_pool(const void *p);

/* True if nobody may touch `address` because of a guarded block: *fault then says which block, whether it is live, how
   far off (FAULT_TOUCHED; the call is the caller's to fill in). Async-signal-safe. */
bool guard_explain(const void *address, struct fault *fault);

/* Live blocks, and bytes of their pages. */
uint64_t guard_count(void);
size_t guard_bytes(void);

/* Ends the wait of all freed blocks: their units go back to the region. */
void guard_collect(void);

void guard_check(void);

/* The lock of this room, for fork. */
void guard_lock(void);
void guard_unlock(void);
void guard_reset_lock(void);

#endif
