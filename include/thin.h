/*
 * thin: whole pages of free blocks in slabs that are partly in use.
 *
 * Owns:       the free blocks of the slab that it is at.
 * Promises:   what goes to the kernel lies in free blocks only; while it goes, nobody else gets these.
 * Guarded by: the turn to collect; for the blocks the pool's lock, released while the kernel is asked.
 * Never:      is worth it for blocks far smaller than a page that stay at random: of ten blocks of 100 bytes that one
 *             of stays, one page in a hundred is free.
 */
#ifndef TARN_THIN_H
#define TARN_THIN_H

#include "base.h"
#include "pool.h"

/* Gives the pages back to the kernel of slabs that are at most half in use. Returns bytes, pages that were gone already
   among them. Not where the words of TARN_DEBUG or TARN_HARDEN look at what free blocks hold (but for `zero`, which
   pages that are gone are); nor where a limit is set: who then finds no block is refused. */
size_t thin_pool(struct pool *p);

/* In a fork's child: puts back what the parent had out. */
void thin_adopt_orphans(void);

#endif
