/*
 * The window is chosen once, as large as could ever be used; units.h is the map of it. Slabs are region_slab.c's.
 *
 * The kernel is never asked under the lock. Units on their way (to be mapped, to be purged) are marked taken,
 * so nobody else sees them; the lock is dropped, the kernel asked, the lock taken again and the outcome
 * written down.
 */
#include "region.h"

#include "check.h"
#include "dice.h"
#include "lock.h"
#include "options.h"
#include "system.h"

#include <pthread.h>

CONSTANT struct region region;

enum {
    WINDOW_PER_MEMORY = 4, /* window to physical memory: for swap, and for blocks that are never touched */
    GROWTH_MIN = 16,       /* units mapped at a time: 1 MiB at least, */
    GROWTH_MAX = 512,      /* 32 MiB at most, */
    GROWTH_SHARE = 8,      /* else this share of what is mapped already */
    SPARE_MIN = 2048,      /* dirty units that may stay for a while: 128 MiB, */
    SPARE_SHARE = 2,       /* and this share of what is taken; */
    SPARE_PERIOD = 200,    /* after this many ms, those that nobody needed meanwhile go */
    READY_STEP = 1 << 14,  /* units whose books are unfrozen at a time: 1 GiB, 40 KiB of books */
    LIMIT_RAISE = 256,     /* as many times may RLIMIT_AS be raised later; the books take a hundredth of it */
};

static struct {
    struct lock lock;
    struct units units;
    size_t limit;   /* units */
    size_t ready;   /* the first units, whose books may be written: all, but see region_thin */
    size_t idle;    /* the fewest dirty units there were since `since`: nobody needed these */
    uint64_t since; /* ms */
} books = {.lock = LOCK_INITIALIZER(LOCK_REGION), .limit = SIZE_MAX};

static void *address_of(size_t unit)
{
    return (void *)(region.base + (unit << UNIT_SHIFT));
}

/* ---- claim ------------------------------------------------------------------------------------------ */

/* After dirty units were taken: what was needed, was not idle. */
static void note_idle_locked(void)
{
    if (books.units.dirty < books.idle)
        books.idle = books.units.dirty;
}

static bool take_locked(size_t unit, size_t count)
{
    bool zeroed = units_take(&books.units, unit, count);
    note_idle_locked();
    return zeroed;
}

/*
 * Maps absent units, `count` taken ones and `extra` withdrawn ones behind them, which are then free. REFUSED: all are
 * free again. OCCUPIED: something that is not ours lies there: the first `count` stay taken for good.
 */
static enum system_map_result map_taken(size_t unit, size_t count, size_t extra)
{
    enum system_map_result result = system_map_at(address_of(unit), (count + extra) << UNIT_SHIFT);
    size_t got = count + extra;
    if (result != SYSTEM_MAPPED && extra > 0) {
        result = system_map_at(address_of(unit), count << UNIT_SHIFT);
        got = count;
    }
    lock_acquire(&books.lock);
    if (result == SYSTEM_MAPPED)
        units_set_mapped(&books.units, unit, got);
    else if (result == SYSTEM_REFUSED)
        units_free(&books.units, unit, count, false);
    else
        units_lose(&books.units, unit, count);
    if (extra > 0)
        units_restore(&books.units, unit + count, extra);
    lock_release(&books.lock);
    return result;
}

/* Not a struct lock: the kernel is asked with it held. */
static pthread_mutex_t start_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Of books about the first `units`. */
static size_t places_bytes(size_t units)
{
    return ALIGN_UP(units * sizeof *region.places, system_page());
}

static size_t groups_bytes(size_t units)
{
    return ALIGN_UP(units / GROUP_UNITS * sizeof *region.groups, system_page());
}

static size_t whole_step(size_t units)
{
    size_t step = ALIGN_UP(units, (size_t)READY_STEP);
    return step < region.units ? step : region.units;
}

/* The books of the first `units` may be written; false without memory. */
static bool make_ready(size_t units)
{
    pthread_mutex_lock(&start_mutex);
    size_t ready = whole_step(units);
    bool done = system_protect(region.places, places_bytes(ready), true) &&
                system_protect(region.groups, groups_bytes(ready), true);
    if (done && books.ready < ready)
        WRITE_ONCE(books.ready, ready);
    pthread_mutex_unlock(&start_mutex);
    return done;
}

void region_thin(void)
{
    pthread_mutex_lock(&start_mutex);
    lock_acquire(&books.lock);
    size_t all = region.units, ready = whole_step(books.units.top * GROUP_UNITS);
    WRITE_ONCE(books.ready, ready);
    lock_release(&books.lock);
    if (ready < all) {
        system_set_writable((char *)region.places + places_bytes(ready),
                            places_bytes(all) - places_bytes(ready), false);
        system_set_writable((char *)region.groups + groups_bytes(ready),
                            groups_bytes(all) - groups_bytes(ready), false);
    }
    pthread_mutex_unlock(&start_mutex);
}

/* How many free absent units behind [unit, unit + count) to map in the same call. */
static size_t growth_locked(size_t unit, size_t count)
{
    if (system_fills())
        return 0;
    size_t want = books.units.mapped / GROWTH_SHARE;
    want = want < GROWTH_MIN ? GROWTH_MIN : want > GROWTH_MAX ? GROWTH_MAX : want;
    return want <= count ? 0 : units_run(&books.units, FREE_ABSENT, unit + count, want - count);
}

static bool over_limit_locked(size_t count)
{
    return count > books.limit || books.units.taken + books.units.dirty > books.limit - count;
}

void *region_claim(size_t count, size_t align, bool *zeroed)
{
    if (unlikely(READ_ONCE(region.units) == 0) && !region_start())
        return NULL;
    /* The loop ends: each round that comes back has readied books, or taken an occupied place out of the window for good. */
    for (;;) {
        lock_acquire(&books.lock);
        size_t unit =
            books.units.dirty >= count ? units_find(&books.units, FREE_DIRTY, count, align) : UNITS_NONE;
        if (unit == UNITS_NONE && over_limit_locked(count)) {
            lock_release(&books.lock);
            return NULL;
        }
        if (unit == UNITS_NONE)
            unit = units_find(&books.units, FREE_MAPPED, count, align);
        if (unit != UNITS_NONE) {
            *zeroed = take_locked(unit, count);
            lock_release(&books.lock);
            return address_of(unit);
        }
        unit = units_find(&books.units, FREE_ABSENT, count, align);
        size_t extra = unit == UNITS_NONE ? 0 : growth_locked(unit, count), end = unit + count + extra;
        bool ready = unit != UNITS_NONE && end <= READ_ONCE(books.ready);
        if (ready)
            take_locked(unit, count);
        if (ready && extra > 0)
            units_withdraw(&books.units, unit + count, extra);
        lock_release(&books.lock);
        if (!ready && unit != UNITS_NONE && make_ready(end))
            continue;
        if (!ready)
            return NULL;
        *zeroed = true;
        switch (map_taken(unit, count, extra)) {
        case SYSTEM_MAPPED:
            return address_of(unit);
        case SYSTEM_REFUSED:
            return NULL;
        case SYSTEM_OCCUPIED:
            continue;
        }
    }
}

void *region_claim_at(void *at, size_t count, bool *zeroed)
{
    size_t unit = region_unit(at);
    if (unit >= region.units || count > region.units - unit)
        return NULL;
    if (unit + count > READ_ONCE(books.ready) && !make_ready(unit + count))
        return NULL;
    lock_acquire(&books.lock);
    size_t mapped = units_run(&books.units, FREE_MAPPED, unit, count);
    bool free = !over_limit_locked(count) &&
                units_run(&books.units, FREE_ABSENT, unit + mapped, count - mapped) == count - mapped;
    if (free)
        *zeroed = take_locked(unit, count);
    lock_release(&books.lock);
    if (!free)
        return NULL;
    if (mapped == count || map_taken(unit + mapped, count - mapped, 0) == SYSTEM_MAPPED)
        return at;
    if (mapped > 0)
        region_release(at, mapped);
    return NULL;
}

void region_set_class(const void *base, size_t count, unsigned class)
{
    size_t unit = region_unit(base);
    for (size_t i = 0; i < count; i++)
        __atomic_store_n(&region.places[unit + i], (uint16_t)class_place(class), __ATOMIC_RELEASE);
}

void region_release_as(void *base, size_t count, bool dirty)
{
    region_set_class(base, count, CLASS_NONE);
    lock_acquire(&books.lock);
    units_free(&books.units, region_unit(base), count, dirty);
    lock_release(&books.lock);
}

void region_forget(const void *base, size_t count)
{
    lock_acquire(&books.lock);
    units_set_absent(&books.units, region_unit(base), count);
    lock_release(&books.lock);
}

/* Most dirty units that may stay, for who frees everything and never calls again. */
static size_t spare_max(void)
{
    return SPARE_MIN + READ_ONCE(books.units.taken) / SPARE_SHARE;
}

bool region_untidy(void)
{
    size_t dirty = READ_ONCE(books.units.dirty);
    return dirty > spare_max() || (dirty > 0 && system_now() - READ_ONCE(books.since) >= SPARE_PERIOD);
}

/* ---- purge ------------------------------------------------------------------------------------------ */

size_t region_purge(size_t keep)
{
    size_t purged = 0, bound = READ_ONCE(books.units.dirty), most = keep >> UNIT_SHIFT;
    for (bool gone = true; gone && purged < bound;) {
        size_t unit = 0, count = 0;
        lock_acquire(&books.lock);
        if (books.units.dirty > most)
            count = units_withdraw_dirty(&books.units, books.units.dirty - most, &unit);
        note_idle_locked();
        lock_release(&books.lock);
        if (count == 0)
            break;
        gone = system_discard(address_of(unit), count << UNIT_SHIFT);
        lock_acquire(&books.lock);
        units_restore(&books.units, unit, count);
        if (gone)
            purged += count;
        else
            units_set_dirty(&books.units, unit, count);
        lock_release(&books.lock);
    }
    return purged << UNIT_SHIFT;
}

void region_shrink(void)
{
    /* The loop ends: what was unmapped is absent, and `top` has nothing behind it. */
    for (bool gone = true; gone;) {
        bool zeroed = true;
        lock_acquire(&books.lock);
        size_t unit = units_find(&books.units, FREE_MAPPED, 1, 1), count = 0;
        if (unit != UNITS_NONE) {
            count = units_run(&books.units, FREE_MAPPED, unit, SIZE_MAX);
            zeroed = take_locked(unit, count);
        }
        lock_release(&books.lock);
        if (count == 0)
            return;
        gone = system_unmap(address_of(unit), count << UNIT_SHIFT);
        lock_acquire(&books.lock);
        if (gone)
            units_set_absent(&books.units, unit, count);
        units_free(&books.units, unit, count, !gone && !zeroed);
        lock_release(&books.lock);
    }
}

/*
 * What a program frees it mostly asks for again: giving memory back at once doubles or triples the time of a churn
 * (LIFO over 10^5 blocks of 64 bytes: 38 ns an operation, 10 so). So dirty units may stay, but each must earn its
 * keep: of those that lay there through a whole period, `idle` of them, nobody needed one, and they go. Beyond
 * spare_max they go at once, a quarter more than must, so that this is rare.
 */
void region_tidy(void)
{
    uint64_t now = system_now();
    lock_acquire(&books.lock);
    size_t keep = books.units.dirty, most = spare_max();
    if (keep > most)
        keep = most - most / 4;
    if (now - books.since >= SPARE_PERIOD) {
        if (keep > books.units.dirty - books.idle)
            keep = books.units.dirty - books.idle;
        WRITE_ONCE(books.since, now);
        books.idle = keep;
    }
    lock_release(&books.lock);
    region_purge(keep << UNIT_SHIFT);
}

void region_limit(size_t bytes)
{
    lock_acquire(&books.lock);
    books.limit = bytes >> UNIT_SHIFT;
    lock_release(&books.lock);
}

/* ---- start ------------------------------------------------------------------------------------------ */

/*
 * Where the window may lie. Far from what the kernel places by itself (programs and their break from 0x55.., mappings
 * downwards from 0x7f..). The first is moved about by the kernel's own address randomisation; the others serve where
 * that half of the address space can't be had: ThreadSanitizer leaves only 0x55.. to programs, valgrind what is below
 * 16 TiB, an arm64 kernel with 39 bits of addresses what is below 512 GiB.
 */
static uintptr_t first_candidate(uintptr_t random)
{
    const uintptr_t least = 0x110000000000, span = 0x400000000000;
    if (options.harden & HARDEN_ASLR) /* nothing else of the process tells where it is */
        return least + (dice_roll() & (span - 1) & ~((uintptr_t)GROUP_UNITS * UNIT - 1));
    return least + (random * 0x9E3779B97F4A7C15u >> 20 & 0x3FFF) * 0x100000000u;
}

static bool place_window(uintptr_t random)
{
    uintptr_t candidates[] = {
        first_candidate(random),
        0x550000000000,
        0x020000000000,
        0x002000000000,
    };
    enum system_map_result result = SYSTEM_REFUSED;
    for (size_t i = 0; i < ARRAY_LENGTH(candidates) && result != SYSTEM_MAPPED; i++) {
        region.base = candidates[i];
        books.units.first = region.base >> UNIT_SHIFT;
        units_take(&books.units, 0, GROWTH_MIN);
        result = map_taken(0, GROWTH_MIN, 0);
        if (result == SYSTEM_MAPPED)
            units_free(&books.units, 0, GROWTH_MIN, false);
        if (result == SYSTEM_OCCUPIED) /* lost; the next candidate starts with a clean sheet */
            units_restore(&books.units, 0, GROWTH_MIN);
    }
    /* The last is as good as any: what is refused now, a later claim may get. */
    return result != SYSTEM_OCCUPIED;
}

static size_t window_bytes(void)
{
    const size_t least = (size_t)1 << 30, most = (size_t)1 << 44;
    size_t limit = system_limit(), want = system_memory() * WINDOW_PER_MEMORY, bytes = least;
    WRITE_ONCE(region.room, limit); /* again, where the first start was refused: others read it meanwhile */
    while (bytes < want && bytes < most && bytes / LIMIT_RAISE < limit)
        bytes *= 2;
    return bytes;
}

static void start(size_t units)
{
    char *tables = system_map(places_bytes(units) + groups_bytes(units));
    if (tables == NULL)
        return;
    region.places = (uint16_t *)(void *)tables;
    books.units.group = region.groups = (struct units_group *)(void *)(tables + places_bytes(units));
    WRITE_ONCE(books.units.group->notes, NULL); /* a read first would be one page fault more */
    books.units.groups = units / GROUP_UNITS;
    books.ready = units;
    if (place_window((uintptr_t)tables)) {
        __atomic_store_n(&region.units, units, __ATOMIC_RELEASE);
    } else {
        books.units = (struct units){.group = NULL};
        system_unmap(tables, places_bytes(units) + groups_bytes(units));
    }
}

bool region_start(void)
{
    pthread_mutex_lock(&start_mutex);
    if (region.units == 0)
        start(window_bytes() >> UNIT_SHIFT);
    bool started = region.units > 0;
    pthread_mutex_unlock(&start_mutex);
    return started;
}

/* ---- looking at it ---------------------------------------------------------------------------------- */

void region_stats(struct region_stats *s)
{
    s->taken = READ_ONCE(books.units.taken) << UNIT_SHIFT;
    s->dirty = READ_ONCE(books.units.dirty) << UNIT_SHIFT;
    s->mapped = READ_ONCE(books.units.mapped) << UNIT_SHIFT;
    s->groups = READ_ONCE(books.units.top);
}

COLD void region_check(void)
{
    lock_acquire(&books.lock);
    units_check(&books.units);
    check(books.idle <= books.units.dirty);
    lock_release(&books.lock);
}

void region_lock(void)
{
    lock_acquire(&books.lock);
}

void region_unlock(void)
{
    lock_release(&books.lock);
}

void region_reset_lock(void)
{
    lock_init(&books.lock, LOCK_REGION, 0);
    start_mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
