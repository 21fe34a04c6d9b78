/*
 * Slabs of the region. Their descriptors lie beside it, made a group (64 units, 4 MiB) at a time, and are found by the
 * place of the unit alone.
 *
 * Under TARN_HARDEN=guard-pages the last page of a slab is out of reach: what runs off its end, or comes down from the
 * next one's start, faults. The class has so many blocks fewer (class_fence).
 */
#include "region.h"

#include "meta.h"
#include "options.h"
#include "system.h"

/* Fences at one time: each makes two mappings of the 65530 that the kernel allows, guarded blocks take most of the rest
   (GUARD_MAX), and the program needs some itself. The first 384 MiB of small slabs have one. */
enum { FENCES_MAX = 6144 };

/* Units above a slab, among which the next is looked for: half a line of the table. */
enum { ABOVE = 16 };

struct group {
    struct slab slab[GROUP_UNITS];
};

_Static_assert(sizeof(struct group) <= META_MAX, "a group's descriptors are one piece of meta");

/* The descriptors of a group, made if need be; NULL without memory. */
static struct group *group_of(size_t unit)
{
    void **place = &region.groups[unit / GROUP_UNITS].notes;
    void *group = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (group != NULL)
        return group;
    struct group *fresh = meta_alloc(sizeof *fresh);
    if (fresh == NULL)
        return NULL;
    if (__atomic_compare_exchange_n(place, &group, (void *)fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return fresh;
    meta_free(fresh, sizeof *fresh);
    return group;
}

uint32_t *region_note(const void *p)
{
    size_t unit = region_unit(p);
    struct group *group = group_of(unit);
    return group == NULL ? NULL : &group->slab[unit % GROUP_UNITS].used;
}

struct slab *region_slab(const void *p)
{
    size_t unit = region_unit(p);
    unit &= ~(size_t)(class_table[region.places[unit] >> PLACE_SHIFT].units - 1);
    struct group *group = __atomic_load_n(&region.groups[unit / GROUP_UNITS].notes, __ATOMIC_ACQUIRE);
    return &group->slab[unit % GROUP_UNITS];
}

/* Its class is written when its books are. */
struct slab *region_slab_above(const struct slab *s)
{
    size_t unit = region_unit(s->base), end = unit + ABOVE < region.units ? unit + ABOVE : region.units;
    while ((unit += s->units) < end)
        if (__atomic_load_n(&region.places[unit], __ATOMIC_ACQUIRE) == class_place(s->pool))
            return region_slab((void *)(region.base + (unit << UNIT_SHIFT)));
    return NULL;
}

/* ---- fences ----------------------------------------------------------------------------------------- */

static unsigned fences;

/* Its blocks leave a page at its end. */
static bool has_room_for_fence(const struct slab *s)
{
    size_t bytes = (size_t)s->units << UNIT_SHIFT;
    return class_fence > 0 && (size_t)class_blocks(s->size, s->units) * s->size + class_fence <= bytes;
}

static char *fence_of(const struct slab *s)
{
    return s->base + ((size_t)s->units << UNIT_SHIFT) - class_fence;
}

static void put_fence(struct slab *s)
{
    if (!has_room_for_fence(s))
        return;
    s->fenced = __atomic_fetch_add(&fences, 1, __ATOMIC_RELAXED) < FENCES_MAX &&
                system_protect(fence_of(s), class_fence, false);
    if (!s->fenced)
        __atomic_fetch_sub(&fences, 1, __ATOMIC_RELAXED);
}

/* A fence that the kernel won't open (at RLIMIT_DATA's end the page would be one too many) goes with all of the slab. */
static void release_fenced(struct slab *s)
{
    s->fenced = false;
    region_set_class(s->base, s->units, CLASS_NONE);
    bool opened = system_protect(fence_of(s), class_fence, true);
    if (!opened && !system_unmap(s->base, (size_t)s->units << UNIT_SHIFT))
        return; /* lost: nobody can use the page */
    __atomic_fetch_sub(&fences, 1, __ATOMIC_RELAXED);
    if (!opened)
        region_forget(s->base, s->units);
    region_release_as(s->base, s->units, opened);
}

/* ---- slabs ------------------------------------------------------------------------------------------ */

static size_t bits_bytes(unsigned blocks)
{
    return slab_words(blocks) * sizeof(uint64_t);
}

/* Books for the blocks of a slab: the bitmap, and under TARN_HARDEN a byte for the state of each. */
static uint64_t *make_bits(struct slab *s, unsigned blocks)
{
    if ((options.harden & HARDEN_STATES) == 0)
        return slab_words(blocks) == 1 ? &s->only_word : meta_alloc(bits_bytes(blocks));
    uint64_t *bits = meta_alloc(bits_bytes(blocks));
    uint8_t *states = bits == NULL ? NULL : meta_alloc_zeroed(blocks);
    if (states == NULL && bits != NULL)
        meta_free(bits, bits_bytes(blocks));
    s->states = states;
    return states == NULL ? NULL : bits;
}

static void free_bits(struct slab *s, unsigned blocks)
{
    if (s->bits == &s->only_word)
        return;
    meta_free(s->bits, bits_bytes(blocks));
    if ((options.harden & HARDEN_STATES) != 0)
        meta_free(s->states, blocks);
}

/* Pages come as they are touched. The whole slab's at once, in heaps beyond 64 MiB: 256 MiB of 64 bytes 8 % sooner,
   mixed 3 %; huge pages took 2 to 13 us for each 4 KiB, where a fault takes 2: what the host has not backed, it must
   first. */
struct slab *region_claim_slab(unsigned pool)
{
    const struct sizeclass *class = &class_table[pool];
    bool zeroed;
    char *base = region_claim(class->units, class->units, &zeroed);
    if (base == NULL)
        return NULL;
    size_t unit = region_unit(base);
    struct group *group = group_of(unit);
    struct slab *slab = group == NULL ? NULL : &group->slab[unit % GROUP_UNITS];
    uint64_t *bits = slab == NULL ? NULL : make_bits(slab, class->blocks);
    if (bits == NULL) {
        region_release(base, class->units);
        return NULL;
    }
    slab_init(slab, pool, base, bits);
    put_fence(slab);
    region_set_class(base, class->units, pool);
    return slab;
}

void region_release_slab(struct slab *s)
{
    /* Not the class's: a slab on its way back may outlive its pool, whose place has another size by now; nor the slab's
       own, which may be trimmed. */
    free_bits(s, class_blocks(s->size, s->units));
    if (s->fenced)
        release_fenced(s);
    else
        region_release(s->base, s->units);
}
