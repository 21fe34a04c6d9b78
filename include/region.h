/*
 * region: the one range of addresses that tarn's blocks lie in, cut in units of 64 KiB.
 *
 * Owns:       the window of addresses, the class of every unit (as its place in a cache), the slab descriptors,
 *             which units are taken.
 * Promises:   "is it ours, and what is it?" is one subtraction, one comparison and one load; memory that is given
 *             back is used again before more is asked of the kernel, the lowest address first.
 * Guarded by: LOCK_REGION for the bit rows; the classes are written by whoever holds the units and read by
 *             anyone who holds a block there.
 * Never:      asks the kernel with its lock held; reserves address space that it does not use.
 *
 * The window is only a choice of addresses far from everything else: nothing is mapped there in advance, so
 * neither RLIMIT_AS nor strict overcommit minds it, and VIRT shows what there is. Pieces are mapped exactly where
 * wanted (MAP_FIXED_NOREPLACE); where something else lies already, the place counts as taken for good.
 *
 * Each unit is in one of these states, each row of bits says one thing:
 *     absent   !mapped !taken            never asked for, or asked in vain
 *     clean     mapped !taken !dirty     ours, no memory behind it, reads as zeroes
 *     dirty     mapped !taken  dirty     ours, with pages behind it: claimed first, purged when there are many
 *     taken              taken           a slab's, or jemalloc's, or on its way to be mapped or purged (and then nobody's)
 */
#ifndef TARN_REGION_H
#define TARN_REGION_H

#include "base.h"
#include "sizeclass.h"
#include "slab.h"
#include "units.h"

/* What every malloc and free reads; written once, by region_start, units last. Before that units == 0: nothing is ours. */
struct region {
    uintptr_t base;             /* of the window: aligned to a group */
    size_t units;               /* in the window */
    uint16_t *places;           /* in a cache: of the class of each unit */
    struct units_group *groups; /* what is known about each 64 units */
    size_t
        room; /* bytes that RLIMIT_AS and RLIMIT_DATA allowed at start, SIZE_MAX: no limit; not asked again,
                         since a seccomp filter may be in place */
};
extern HIDDEN struct region region;

/* The unit that `p` lies in; >= region.units if it is not in the window. */
INLINE size_t region_unit(const void *p)
{
    return ((uintptr_t)p - region.base) >> UNIT_SHIFT;
}

/* The place of the class of the memory at `p`: CLASS_NONE's if it is not ours. */
INLINE size_t region_place(const void *p)
{
    size_t unit = region_unit(p);
    return likely(unit < region.units) ? READ_ONCE(region.places[unit]) : CLASS_NONE;
}

/* That class. */
INLINE unsigned region_class(const void *p)
{
    return (unsigned)(region_place(p) >> PLACE_SHIFT);
}

/* The slab that `p` lies in; only where region_class(p) is a pool's. */
struct slab *region_slab(const void *p);

/* The next slab of the same pool above `s`, if one is near; NULL. Under the pool's lock, and yet it may be in none of the
   pool's lists: full, or on its way to it. */
struct slab *region_slab_above(const struct slab *s);

/* Does a block start at `p`, which lies in memory of a pool's class? Told by the class alone: its slab's line is not
   in anybody's cache where a program asks for every block's size, as ruby does. */
INLINE bool region_starts_block(const void *p)
{
    const struct sizeclass *class = &class_table[region_class(p)];
    size_t offset = ((uintptr_t)p - region.base) & (((size_t) class->units << UNIT_SHIFT) - 1);
    uint64_t i = (offset >> GRAIN_SHIFT) * class->inverse >> INVERSE_SHIFT;
    return i * class->size == offset && i < class->blocks;
}

/* Chooses the window and maps the tables: as many units as can ever be used under the machine's memory and
   the process's limits. False if not even the tables can be had: a claim tries again. */
bool region_start(void);

/*
 * `count` units in a row, the first at a multiple of `align` units (a power of two), with pages behind them
 * as they are touched. `*zeroed` tells whether they read as zeroes. NULL: over the limit, or the kernel has
 * no more. The caller sets their classes.
 */
void *region_claim(size_t count, size_t align, bool *zeroed);

/* The same at exactly `at` (for growth in place); NULL if any of it is taken. */
void *region_claim_at(void *at, size_t count, bool *zeroed);

/* Makes the units CLASS_NONE and free to be claimed; not `dirty`: no pages are behind them. */
void region_release_as(void *base, size_t count, bool dirty);

INLINE void region_release(void *base, size_t count)
{
    region_release_as(base, count, true);
}

/* Claimed units, nothing is mapped there any more: once they are released, they will be again. */
void region_forget(const void *base, size_t count);

/* Room for a number of the claimant's about the claimed unit at `p`; NULL without memory. Not for slabs. */
uint32_t *region_note(const void *p);

/* A slab of class `pool`, described and empty, its class written; NULL without memory. */
struct slab *region_claim_slab(unsigned pool);

/* Gives a slab's units and bitmap back. */
void region_release_slab(struct slab *s);

/* Writes the class of `count` units. */
void region_set_class(const void *base, size_t count, unsigned class);

/* Gives dirty units back to the kernel until at most `keep` bytes of them stay. Returns bytes given back. */
size_t region_purge(size_t keep);

/* Unmaps what is free: within RLIMIT_AS or RLIMIT_DATA a mapping without pages takes the place of others, our books
   among them. */
void region_shrink(void);

/* Makes that the books of what was never claimed take no memory, though the kernel is about to fill all there is
   (mlockall): nobody may write to them until they are needed. */
void region_thin(void);

/* Is it time to look at the dirty units? Cheap, no lock: for every slow path, which then calls region_tidy. */
bool region_untidy(void);

/* Gives back the dirty units that nobody needed for a while. */
void region_tidy(void);

/* Cap, bytes: claims beyond it fail, dirty units counted. SIZE_MAX: none. */
void region_limit(size_t bytes);

struct region_stats {
    size_t taken, dirty, mapped; /* bytes */
    size_t groups;               /* groups of units that were ever touched: what a walk must visit */
};

/* Any thread, any time, no lock: approximate. */
void region_stats(struct region_stats *s);

/* Resident bytes of the units of each class, by class id (region.h's CLASS_NONE: free ones). Signal-safe,
   slow: asks the kernel group by group. */
void region_resident(size_t by_class[CLASS_MAX]);

void region_check(void);

/* The lock of this room, for fork. */
void region_lock(void);
void region_unlock(void);
void region_reset_lock(void);

#endif
