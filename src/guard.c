/*
 * A block's units, by pages:
 *
 *     | no access | pattern, block, pattern | no access |
 *     base        first                     end         base + units * UNIT
 *
 * The block ends as close to `end` as its alignment allows. The bytes that are left in its first and last page hold a
 * pattern, which is compared when it is freed; what lies beyond its pages faults at once.
 *
 * Every unit has a record at a fixed place, made with the first guarded block of its group and never moved or given
 * back: so it is found from any address without a lock, by a signal handler too, and still tells of a block that is
 * gone. A block's is that of its first unit; the others point there.
 */
#include "guard.h"

#include "check.h"
#include "list.h"
#include "lock.h"
#include "meta.h"
#include "pool.h"
#include "region.h"
#include "system.h"

#include <string.h>

enum {
    PATTERN = 0xB7,
    CLEAR_MAX = UNIT /* bytes that are cleared by hand; more is given back to the kernel instead */
};

struct traces {
    struct trace allocated, freed;
};

struct record {
    struct list link; /* in the queue */
    char *start;      /* of the block */
    size_t n;
    struct traces *by; /* made once, and kept: a report may read it at any time; NULL: no memory for it */
    uint32_t unit;     /* the block's first: this one, or the one whose record tells all the rest */
    uint32_t units;
    uint8_t pool;
    bool live;
    bool zeroed; /* what its pages hold, before they are given out */
};

struct group {
    struct record record[GROUP_UNITS];
};
_Static_assert(sizeof(struct group) <= META_MAX, "a group's records are one piece of meta");

static struct {
    struct lock lock;
    struct list queue; /* freed blocks, the oldest first */
    size_t queued;     /* units */
    struct group **groups;
    uint64_t count;
    size_t bytes;
} guard = {.lock = LOCK_INITIALIZER(LOCK_GUARD), .queue = {&guard.queue, &guard.queue}};

/* ---- records ---------------------------------------------------------------------------------------- */

static size_t table_bytes(void)
{
    return ALIGN_UP(region.units / GROUP_UNITS * sizeof(struct group *), system_page());
}

/* The table of groups, made if need be; NULL without memory. */
static struct group **table(void)
{
    struct group **groups = __atomic_load_n(&guard.groups, __ATOMIC_ACQUIRE);
    if (groups != NULL)
        return groups;
    struct group **fresh = system_map(table_bytes());
    if (fresh == NULL ||
        __atomic_compare_exchange_n(&guard.groups, &groups, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return fresh;
    system_unmap(fresh, table_bytes());
    return groups;
}

static bool make_group(struct group **place)
{
    struct group *group = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (group != NULL)
        return true;
    struct group *fresh = meta_alloc(sizeof *fresh);
    if (fresh == NULL)
        return false;
    memset(fresh, 0, sizeof *fresh);
    if (!__atomic_compare_exchange_n(place, &group, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        meta_free(fresh, sizeof *fresh);
    return true;
}

static bool make_groups(size_t unit, size_t units)
{
    struct group **groups = table();
    if (groups == NULL)
        return false;
    for (size_t g = unit / GROUP_UNITS; g <= (unit + units - 1) / GROUP_UNITS; g++)
        if (!make_group(&groups[g]))
            return false;
    return true;
}

static struct record *record_of(size_t unit)
{
    struct group **groups = __atomic_load_n(&guard.groups, __ATOMIC_ACQUIRE);
    return &__atomic_load_n(&groups[unit / GROUP_UNITS], __ATOMIC_ACQUIRE)->record[unit % GROUP_UNITS];
}

/* The record of the block whose units hold `p`; NULL if no guarded block does. */
static struct record *find(const void *p)
{
    return region_class(p) == CLASS_GUARDED ? record_of(record_of(region_unit(p))->unit) : NULL;
}

/* The same if the block is live and starts there. */
static struct record *find_live(const void *p)
{
    struct record *r = find(p);
    return r != NULL && r->start == p && READ_ONCE(r->live) ? r : NULL;
}

static char *base_of(const struct record *r)
{
    return (char *)(region.base + ((size_t)r->unit << UNIT_SHIFT));
}

static char *first_of(const struct record *r)
{
    return r->start - (uintptr_t)r->start % system_page();
}

static char *end_of(const struct record *r)
{
    return first_of(r) + ALIGN_UP((size_t)(r->start + r->n - first_of(r)), system_page());
}

static size_t bytes_of(const struct record *r)
{
    return (size_t)r->units << UNIT_SHIFT;
}

/* ---- the queue -------------------------------------------------------------------------------------- */

static void queue_up(struct record *r)
{
    lock_acquire(&guard.lock);
    list_append(&guard.queue, &r->link);
    guard.queued += r->units;
    lock_release(&guard.lock);
}

/* The block that waits longest, if more than `keep` units wait, and it has `units` (0: however many); NULL. */
static struct record *take_oldest(size_t keep, size_t units)
{
    struct record *r = NULL;
    lock_acquire(&guard.lock);
    if (guard.queued > keep)
        r = container_of(guard.queue.next, struct record, link);
    if (r != NULL && units != 0 && r->units != units)
        r = NULL;
    if (r != NULL) {
        list_remove(&r->link);
        guard.queued -= r->units;
    }
    lock_release(&guard.lock);
    return r;
}

/* Back to the region, as units like any other. False: the kernel does not make them so, and they wait once more.
   It may have refused half-way: the region gets them whole or not at all. */
static bool retire(struct record *r)
{
    if (!system_protect(base_of(r), bytes_of(r), true)) {
        system_protect(base_of(r), bytes_of(r), false);
        queue_up(r);
        return false;
    }
    region_release(base_of(r), r->units);
    return true;
}

/* Ends the wait of the oldest until at most `keep` units wait. */
static bool retire_down_to(size_t keep)
{
    struct record *r = take_oldest(keep, 0);
    bool any = r != NULL;
    while (r != NULL)
        r = retire(r) ? take_oldest(keep, 0) : NULL;
    return any;
}

void guard_collect(void)
{
    retire_down_to(0);
}

/* ---- alloc ------------------------------------------------------------------------------------------ */

/* A record for units fresh from the region, which now are CLASS_GUARDED; NULL without memory. */
static struct record *describe(char *base, size_t units, bool zeroed)
{
    size_t unit = region_unit(base);
    if (!make_groups(unit, units))
        return NULL;
    for (size_t i = 0; i < units; i++)
        record_of(unit + i)->unit = (uint32_t)unit;
    struct record *r = record_of(unit);
    r->units = (uint32_t)units;
    r->start = base;
    r->n = 0;
    r->zeroed = zeroed;
    WRITE_ONCE(r->live, false);
    list_init(&r->link);
    region_set_class(base, units, CLASS_GUARDED);
    return r;
}

/* The same, and none of their pages may be touched; NULL if the kernel has no memory, or no mapping. */
static struct record *claim(size_t units)
{
    bool zeroed;
    char *base = region_claim(units, 1, &zeroed);
    if (base == NULL && retire_down_to(0)) /* what waits counts as memory in use, and there may be a limit */
        base = region_claim(units, 1, &zeroed);
    if (base == NULL)
        return NULL;
    struct record *r = describe(base, units, zeroed);
    if (r == NULL)
        region_release(base, units);
    else if (system_protect(base, bytes_of(r), false))
        return r;
    else
        retire(r);
    return NULL;
}

/* Units in nobody's hands: where enough wait, those that waited longest, which saves the kernel two calls. */
static struct record *obtain(size_t units)
{
    size_t keep = units < GUARD_QUARANTINE ? GUARD_QUARANTINE - units : 0;
    struct record *r = take_oldest(keep, units);
    return r != NULL ? r : claim(units);
}

static void fill(struct record *r)
{
    char *first = first_of(r), *end = end_of(r);
    if (!r->zeroed && (r->n <= CLEAR_MAX || !system_discard(first, (size_t)(end - first))))
        memset(r->start, 0, r->n);
    memset(first, PATTERN, (size_t)(r->start - first));
    memset(r->start + r->n, PATTERN, (size_t)(end - r->start) - r->n);
}

static void note(struct trace *to, const struct trace *by)
{
    for (unsigned i = 0; i < TRACE_DEPTH; i++)
        WRITE_ONCE(to->frame[i], READ_ONCE(by->frame[i]));
}

static void note_alloc(struct record *r, const struct trace *by)
{
    static const struct trace nobody;
    if (r->by == NULL)
        __atomic_store_n(&r->by, meta_alloc_zeroed(sizeof *r->by), __ATOMIC_RELEASE);
    if (r->by == NULL)
        return;
    note(&r->by->allocated, by);
    note(&r->by->freed, &nobody);
}

void *guard_alloc(size_t n, size_t align, unsigned pool, const struct trace *by)
{
    align = align > BLOCK_ALIGN ? align : BLOCK_ALIGN;
    size_t page = system_page(), lead = align > page ? align : page;
    n = n == 0 ? 1 : n;
    if (n > PTRDIFF_MAX / 2 || align > UNIT || READ_ONCE(guard.count) >= GUARD_MAX)
        return NULL;
    size_t pages = ALIGN_UP(n, page), units = ALIGN_UP(lead + pages + page, (size_t)UNIT) >> UNIT_SHIFT;
    struct record *r = obtain(units);
    if (r == NULL)
        return NULL;
    r->start = base_of(r) + lead + ALIGN_DOWN(pages - n, align);
    r->n = n;
    note_alloc(r, by);
    r->pool = (uint8_t)pool;
    if (!system_protect(base_of(r) + lead, pages, true)) {
        retire(r);
        return NULL;
    }
    fill(r);
    __atomic_fetch_add(&guard.count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&guard.bytes, pages, __ATOMIC_RELAXED);
    __atomic_store_n(&r->live, true, __ATOMIC_RELEASE);
    return r->start;
}

/* ---- free ------------------------------------------------------------------------------------------- */

static void tell(const struct record *r, enum fault_kind kind, const void *p, struct fault *fault)
{
    *fault = (struct fault){
        .kind = kind,
        .pointer = p,
        .pool_size = class_table[r->pool].size,
        .pool = pools[r->pool].name,
        .expected = r->start,
        .offset = (const char *)p - r->start,
        .live = READ_ONCE(r->live),
    };
    const struct traces *traces = __atomic_load_n(&r->by, __ATOMIC_ACQUIRE);
    if (traces != NULL) {
        note(&fault->allocated, &traces->allocated);
        note(&fault->freed, &traces->freed);
    }
}

/* Is all of it PATTERN? Each byte is compared with the next: a page by single bytes takes as long as a call of the kernel. */
static bool is_pattern(const char *p, size_t n)
{
    return n == 0 || (*p == (char)PATTERN && memcmp(p, p + 1, n - 1) == 0);
}

/* The offset of the written byte that is nearest to the block; 0: none was. */
static ptrdiff_t find_damage(const struct record *r)
{
    const char *end = end_of(r), *first = first_of(r), *behind = r->start + r->n;
    if (likely(is_pattern(first, (size_t)(r->start - first)) && is_pattern(behind, (size_t)(end - behind))))
        return 0;
    for (const char *p = r->start + r->n; p < end; p++)
        if (*p != (char)PATTERN)
            return p - r->start;
    for (const char *p = r->start; p > first; p--)
        if (p[-1] != (char)PATTERN)
            return p - 1 - r->start;
    return 0;
}

/* Nobody's from now on: first out of reach, so that what is discarded stays away. Refused, it is free all the same. */
static void bury(struct record *r)
{
    char *first = first_of(r);
    size_t bytes = (size_t)(end_of(r) - first);
    bool closed = system_protect(first, bytes, false);
    r->zeroed = system_discard(first, bytes) && closed;
    __atomic_fetch_sub(&guard.count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&guard.bytes, bytes, __ATOMIC_RELAXED);
    queue_up(r);
    retire_down_to(GUARD_QUARANTINE);
}

void guard_accuse(const void *pointer, const char *call, struct fault *fault)
{
    const struct record *r = find(pointer);
    const char *p = pointer;
    if (r == NULL)
        *fault = (struct fault){.kind = FAULT_FREE_SPACE, .pointer = p};
    else if (READ_ONCE(r->live))
        tell(r, p >= r->start && p < r->start + r->n ? FAULT_INSIDE : FAULT_FREE_SPACE, p, fault);
    else
        tell(r, p == r->start ? FAULT_TWICE : FAULT_FREE_SPACE, p, fault);
    fault->call = call;
}

bool guard_free(void *p, const char *call, const struct trace *by, struct fault *fault)
{
    struct record *r = find(p);
    if (r == NULL || r->start != p || !__atomic_exchange_n(&r->live, false, __ATOMIC_ACQ_REL)) {
        guard_accuse(p, call, fault);
        return false;
    }
    ptrdiff_t damage = find_damage(r);
    if (damage != 0) {
        tell(r, FAULT_OVERRUN, p, fault);
        fault->call = call;
        fault->offset = damage;
        fault->freed = *by;
    }
    if (r->by != NULL)
        note(&r->by->freed, by);
    bury(r);
    return damage == 0;
}

/* ---- looking at it ---------------------------------------------------------------------------------- */

size_t guard_usable(const void *p)
{
    const struct record *r = find_live(p);
    return r == NULL ? 0 : r->n;
}

unsigned guard_pool(const void *p)
{
    const struct record *r = find_live(p);
    return r == NULL ? CLASS_NONE : r->pool;
}

bool guard_explain(const void *address, struct fault *fault)
{
    const struct record *r = find(address);
    const char *p = address;
    if (r == NULL || (READ_ONCE(r->live) && p >= first_of(r) && p < end_of(r)))
        return false;
    tell(r, FAULT_TOUCHED, address, fault);
    return true;
}

uint64_t guard_count(void)
{
    return READ_ONCE(guard.count);
}

size_t guard_bytes(void)
{
    return READ_ONCE(guard.bytes);
}

void guard_check(void)
{
    size_t queued = 0;
    lock_acquire(&guard.lock);
    for (struct list *l = guard.queue.next; l != &guard.queue; l = l->next) {
        struct record *r = container_of(l, struct record, link);
        check(!READ_ONCE(r->live) && find(r->start) == r);
        queued += r->units;
    }
    check(queued == guard.queued);
    lock_release(&guard.lock);
}

void guard_lock(void)
{
    lock_acquire(&guard.lock);
}

void guard_unlock(void)
{
    lock_release(&guard.lock);
}

void guard_reset_lock(void)
{
    lock_init(&guard.lock, LOCK_GUARD, 0);
}
