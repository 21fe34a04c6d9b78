/*
 * sizeclass: which sizes there are, and which one serves a request.
 *
 * Owns:       the table of classes, and the map from a request's size to its class.
 * Promises:   class_of(n) is the smallest class that holds n bytes; every size is a multiple of BLOCK_ALIGN, so
 *             every block is aligned as the ABI asks.
 * Guarded by: written once, by sizeclass_start, before a second thread can know of tarn; read-only afterwards.
 * Never:      allocates, locks, or asks the kernel.
 *
 *     class_of[(n + 15) >> 4] = c   <=>   size[c - 1] < n <= size[c]
 *     0 = CLASS_NONE < 1 .. class_count < CLASS_POOLS <= classes that are no pools < CLASS_NAMED .. class_end <= CLASS_MAX
 *
 * The default: steps of 16 up to 128, then four classes to each doubling; eight between 4 and 8 KiB, where programs
 * ask for "a page and a header" (sqlite: 7 % less resident memory, gcc, python3 and perl unchanged). Eight
 * everywhere cost gcc 0.9 % and python3 0.5 % more: each class has a slab of its own that is not full.
 *
 * The biggest is 32 KiB (TARN_MAX_POOLED): with 64, gcc holds 1.5 % more and nothing is faster; with 16, nothing is
 * smaller by more than 0.3 %, and a block of 20 000 bytes takes 330 ns instead of 5.
 */
#ifndef TARN_SIZECLASS_H
#define TARN_SIZECLASS_H

#include "base.h"

enum {
    CLASS_NONE = 0,         /* not tarn's memory */
    CLASS_POOLS = 62,       /* malloc's pools are 1 .. CLASS_POOLS - 1 */
    CLASS_LARGE = 62,       /* the first unit of a block that jemalloc serves */
    CLASS_BARE = 63,        /* the first unit of a large block that is the region's alone (large.c) */
    CLASS_BODY = 64,        /* any other unit of a large block, or of what jemalloc holds */
    CLASS_GUARDED = 65,     /* every unit of a block that stands alone between guard pages (guard.c) */
    CLASS_NAMED = 66,       /* named pools are CLASS_NAMED .. CLASS_MAX - 1 */
    CLASS_MAX = 255,        /* how many ids there are */
    POOLED_MAX = 64 * 1024, /* no class is bigger than this */
    GRAIN_SHIFT = 4,
    INVERSE_SHIFT = 43,
    PLACE_SHIFT = 6, /* a class's place in a cache, in bytes, is class << PLACE_SHIFT (cache.h) */
    UNIT_SHIFT = 16, /* the region is cut in units of 64 KiB; a slab is 1, 2, 4 ... of them */
    UNIT = 1 << UNIT_SHIFT,
    SLAB_UNITS_MAX = 64,                      /* a slab's descriptor is one of its group's (region.c) */
    BLOCK_MAX = SLAB_UNITS_MAX << UNIT_SHIFT, /* no pool's blocks are bigger */
};

struct sizeclass {
    uint32_t size;    /* bytes in a block */
    uint32_t stays;   /* realloc leaves a block of no more than that many bytes where it is (heap_stays) */
    uint64_t inverse; /* of size: offset / size by a multiplication (slab.c) */
    uint16_t blocks;  /* blocks in a slab */
    uint16_t units;   /* region units in a slab: a power of two */
    uint16_t batch;   /* blocks in a full magazine */
};

/* Bytes at the end of each slab that no block may have, where that leaves any; set before sizeclass_start. */
extern HIDDEN size_t class_fence;

/* Blocks of `size` bytes in a slab of so many units. */
INLINE unsigned class_blocks(size_t size, size_t units)
{
    size_t bytes = units << UNIT_SHIFT;
    return (unsigned)((bytes - class_fence >= size ? bytes - class_fence : bytes) / size);
}

/* class_table[c] for each pool's class; the other rows are all zeroes. */
extern HIDDEN struct sizeclass class_table[CLASS_MAX];
extern HIDDEN unsigned class_count; /* of malloc's classes */
extern HIDDEN unsigned class_end; /* the named ones, ever: CLASS_NAMED .. class_end - 1; atomic, only grows */

/* The class behind `c`, first malloc's, then named ones; 0 is before the first and behind the last. */
INLINE unsigned class_next(unsigned c)
{
    c = c == class_count ? CLASS_NAMED : c + 1;
    return c <= class_count || c < __atomic_load_n(&class_end, __ATOMIC_ACQUIRE) ? c : 0;
}
// NOLINTNEXTLINE(bugprone-macro-parentheses): no declaration has them
#define EACH_CLASS(c) for (unsigned c = class_next(0); (c) != 0; (c) = class_next(c))

/* Is it a pool's? */
INLINE bool class_is_pool(size_t c)
{
    return c - 1 < CLASS_POOLS - 1 || c >= CLASS_NAMED;
}

/* Biggest request that a pool serves, bytes. */
extern HIDDEN size_t pooled_max;

/* For the hot path: smaller requests may be a pool's. pooled_max + 1, and 0 before start, and where all shall take the slow
   path (TARN_GUARD_SAMPLE): then not even 0 bytes. */
extern HIDDEN size_t pooled_end;

/* The map of requests up to POOLED_MAX, to places; right up to pooled_max. */
extern HIDDEN uint16_t class_map[(POOLED_MAX >> GRAIN_SHIFT) + 1];

INLINE size_t class_place(unsigned c)
{
    return (size_t)c << PLACE_SHIFT;
}

/* The place of the class that serves `n` <= pooled_max bytes. */
INLINE size_t place_of(size_t n)
{
    if (n > POOLED_MAX)
        __builtin_unreachable();
    return class_map[(n + BLOCK_ALIGN - 1) >> GRAIN_SHIFT];
}

/* That class. */
INLINE unsigned class_of(size_t n)
{
    return (unsigned)(place_of(n) >> PLACE_SHIFT);
}

/* The smallest class of at least `n` bytes whose blocks are all aligned to `align` (a power of two, at most a
   unit), or CLASS_NONE: slabs start on a unit, so block i lies at a multiple of the size. */
unsigned class_of_aligned(size_t n, size_t align);

/*
 * Fills the tables from `sizes[0..count)`: ascending multiples of BLOCK_ALIGN up to POOLED_MAX, at most
 * CLASS_POOLS - 1 of them; count == 0 asks for the default classes up to `max` bytes.
 * Returns the number of classes.
 */
unsigned sizeclass_start(const uint32_t *sizes, unsigned count, size_t max);

/* Makes class_table[c] the row of blocks of `size` bytes: a multiple of BLOCK_ALIGN up to BLOCK_MAX. */
void sizeclass_define(unsigned c, uint32_t size);

/* The default sizes up to `max`, into `sizes` (room for CLASS_POOLS); returns how many. */
unsigned sizeclass_defaults(uint32_t *sizes, size_t max);

/* Aborts if the tables do not hold the equations above. */
void sizeclass_check(void);

#endif
