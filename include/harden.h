/*
 * harden: defences of TARN_HARDEN for the blocks of pools, and what else of it is done where.
 *
 * Owns:       the key of the canaries.
 * Promises:   costs nothing while no word is given. A finding is a fault (fault.h) with pool, address, offset, the
 *             neighbour's state and the place in the program that called.
 * Guarded by: a block's state and bytes belong to whoever holds the block.
 * Never:      runs with a lock of ours held.
 *
 * Words (options.h: enum harden_word); the first four need every malloc and free to come by the slow path:
 *     double-free  a byte of books for each block says whether it is out: a free of one that is not is refused at once
 *     quarantine   a freed block waits until 256 KiB of others were freed by its thread       (cache_quarantine.c)
 *     zero         a freed block is cleared; when it goes out again it must still be: else it was written while free
 *     canary       what is left behind the bytes asked for is filled, the last eight bytes with a secret: looked at when
 *                  the block is freed, and (without zero) when it goes out again
 *     random       a thread's blocks come from anywhere in a slab, in any order                         (pool.c)
 *     guard-pages  the last page of each slab is out of reach; large blocks lie between such pages      (region_slab.c,
 *                  and wait, out of reach, once they are freed                                           guard.c)
 *     aslr         the window lies at any of 2^24 places                                                (region.c)
 *     read-only    settings, classes, and where the region lies can't be written once all is started  (constant.c)
 */
#ifndef TARN_HARDEN_H
#define TARN_HARDEN_H

#include "base.h"
#include "debug.h"
#include "fault.h"
#include "options.h"
#include "pool.h"

INLINE bool harden_on(unsigned words)
{
    return (options.harden & words) != 0;
}

/* Chooses the key; before the first block goes out. */
void harden_start(void);

INLINE size_t harden_canary_bytes(void)
{
    return harden_on(HARDEN_CANARY) ? sizeof(uint64_t) : 0;
}

/* What debug.h's functions of these names do, and: `p` is verified, and gets its canary; verified, and cleared. */
INLINE size_t harden_extra(void)
{
    return harden_canary_bytes() + debug_extra();
}
void harden_give_out(const struct pool *pool, void *p, size_t n, bool raw);
bool harden_take_back(const struct pool *pool, const struct slab *slab, void *p, const char *call);
size_t harden_usable(const void *p);

/* Is the block that starts at `p` out? Only under HARDEN_STATES. */
bool harden_is_live(const void *p);

/* Bytes asked for at `p`, under HARDEN_CANARY; 0: no live block starts there. */
size_t harden_asked(const void *p);

/* True if `address` lies in a slab's page that nobody may touch: *fault then says between which blocks
   (FAULT_TOUCHED). Async-signal-safe. */
bool harden_explain(const void *address, struct fault *fault);

#endif
