/*
 * meta: memory for our own books: magazines, bitmaps, slab descriptors, caches.
 *
 * Owns:       the mappings that hold bookkeeping; the program's blocks never lie here, so a program that writes
 *             past its block does not write here.
 * Promises:   aligned to the piece's size up to a page; pieces are powers of two from
 *             64 bytes to 64 KiB; given back pieces are used again, mappings are kept (their peak is about 1 % of
 *             the blocks' peak).
 * Guarded by: LOCK_META, a leaf: nothing is taken behind it, and the kernel is asked with it released.
 * Never:      serves the program.
 */
#ifndef TARN_META_H
#define TARN_META_H

#include "base.h"

enum { META_MIN = 64, META_MAX = 64 * 1024 };

/* A piece of at least `bytes` <= META_MAX, contents undefined; NULL if the kernel has no memory. */
void *meta_alloc(size_t bytes);

/* The same, all bytes zero; fresh memory is not touched. */
void *meta_alloc_zeroed(size_t bytes);

/* Takes back what meta_alloc(bytes) gave. */
void meta_free(void *piece, size_t bytes);

/* Bytes mapped for books so far, and of these, bytes handed out now. Any thread, any time, approximate. */
size_t meta_mapped(void);
size_t meta_used(void);

/* The lock of this room, for fork. */
void meta_lock(void);
void meta_unlock(void);
void meta_reset_lock(void);

#endif
