/*
 * guard: blocks that stand alone, each between pages that no one may touch.
 *
 * Owns:       the units of such blocks (CLASS_GUARDED), what is known about each, the queue of freed ones.
 * Promises:   a block ends where its page ends (its start rounded down to its alignment), so the first byte behind it
 *             faults; freed, all of it faults, and its addresses are not used again until QUARANTINE others were freed.
 *             What an address that faulted belongs to can be told (guard_explain), by a signal handler too.
 * Guarded by: LOCK_GUARD for the queue; the kernel is asked without it.
 * Never:      fills memory that the program did not ask for: a guarded block costs its pages and one unit of addresses.
 */
#ifndef TARN_GUARD_H
#define TARN_GUARD_H

#include "base.h"
#include "fault.h"

/* A block of `n` bytes aligned to `align` for the pool `pool` (a class id); it reads as zeroes. NULL: no memory, or the
   kernel makes no more mappings. */
void *guard_alloc(size_t n, size_t align, unsigned pool);

/* Takes back `p`, which lies in a CLASS_GUARDED unit. False: no block starts there, or it is free already, or bytes
   in front of or behind it within its pages were written: *fault then says what, for fault_report. */
bool guard_free(void *p, const char *call, struct fault *fault);

/* Bytes asked for at `p` in a CLASS_GUARDED unit, and its pool; 0: no live block starts there. */
size_t guard_usable(const void *p);
unsigned guard_pool(const void *p);

/* True if `address` lies in a guarded block's units, and *fault says which block, what state, how far off.
   Async-signal-safe. */
bool guard_explain(const void *address, struct fault *fault);

/* Live blocks, and bytes of their pages. */
uint64_t guard_count(void);
size_t guard_bytes(void);

void guard_lock(void);
void guard_unlock(void);
void guard_reset_lock(void);

#endif
