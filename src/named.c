/*
 * A named pool is an ordinary pool with a class of its own, or one that exists, with one user more. So everything that
 * walks pools (gc, dump, fork) knows named ones, and malloc's free() takes their blocks.
 *
 * The rule of merging is today's HAProxy's, written down in tarn.h; what it calls "nothing was ever allocated" is
 * `sealed` here, under the pool's lock: a thread that is about to claim a slab of the old size seals the pool first.
 */
#include "named.h"

#include "check.h"
#include "debug.h"
#include "gc.h"
#include "harden.h"
#include "heap.h"
#include "meta.h"
#include "query.h"
#include "region.h"
#include "thread.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

enum { NEAR_BYTES = 16, NEAR_SHARE = 100, YIELDS = 1000, NAPS = 2000 /* of a millisecond */ };

static struct {
    struct lock lock;
    struct registration *unused; /* of pools that are gone */
} names = {.lock = LOCK_INITIALIZER(LOCK_NAMES)};

/* ---- what is wished for ------------------------------------------------------------------------------- */

static bool good_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < POOL_NAME && query_name_length(name) == length;
}

static bool good(const struct wish *w)
{
    return w->size > 0 && w->size <= BLOCK_MAX && (w->align == 0 || IS_POWER_OF_2(w->align)) &&
           w->align <= BLOCK_MAX && (w->flags & ~(unsigned)(POOL_SHARED | POOL_EXACT)) == 0 &&
           (w->name == NULL || good_name(w->name));
}

/* Bytes from one block to the next; more than BLOCK_MAX where the wish can't be served. */
static size_t stride_of(const struct wish *w)
{
    size_t align = w->align > BLOCK_ALIGN ? w->align : BLOCK_ALIGN;
    return ALIGN_UP(w->size + harden_extra(), align);
}

/* The size that users are told. */
static size_t size_of(const struct wish *w)
{
    return w->flags & POOL_EXACT ? w->size : stride_of(w) - harden_extra();
}

/* The end of a path that is too long: its last part says more. */
static void copy_end(char *to, size_t room, const char *from)
{
    size_t length = from != NULL ? strlen(from) : 0;
    size_t left_out = length < room ? 0 : length - (room - 1);
    for (size_t i = left_out; i < length; i++) /* by single characters, as a dump reads it */
        WRITE_ONCE(*to++, from[i]);
    WRITE_ONCE(*to, '\0');
}

/* A registration of the wish, on its own; NULL without memory. */
static struct registration *registration_new(const struct wish *w)
{
    lock_acquire(&names.lock);
    struct registration *r = names.unused;
    if (r != NULL)
        names.unused = r->next;
    lock_release(&names.lock);
    if (r == NULL && (r = meta_alloc(sizeof *r)) == NULL)
        return NULL;
    WRITE_ONCE(r->next, NULL); /* a dump may be looking at where it was before */
    copy_end(r->name, sizeof r->name, w->name);
    copy_end(r->file, sizeof r->file, w->file);
    WRITE_ONCE(r->size, w->size);
    WRITE_ONCE(r->align, w->align);
    WRITE_ONCE(r->line, w->line);
    WRITE_ONCE(r->flags, w->flags);
    return r;
}

static void registrations_keep_locked(struct registration *first)
{
    while (first != NULL) {
        struct registration *next = first->next;
        WRITE_ONCE(first->next, names.unused);
        names.unused = first;
        first = next;
    }
}

static void register_locked(struct pool *p, struct registration *r)
{
    struct registration **end = &p->registrations;
    while (*end != NULL)
        end = &(*end)->next;
    __atomic_store_n(end, r, __ATOMIC_RELEASE);
    WRITE_ONCE(p->users, p->users + 1);
}

/* ---- merging ------------------------------------------------------------------------------------------ */

/* How far from the pool's size a merging one may be: in bytes, of the mean of what it was asked for. */
static size_t nearness(const struct pool *p)
{
    size_t sum = 0, count = 0;
    for (const struct registration *r = p->registrations; r != NULL; r = r->next, count++)
        sum += r->size;
    size_t mean = count > 0 ? sum / count : p->size;
    return mean / NEAR_SHARE > NEAR_BYTES ? mean / NEAR_SHARE : NEAR_BYTES;
}

/* May the two be one, whatever their sizes? */
static bool may_merge(const struct pool *p, const struct wish *w)
{
    if (p->users == 0 || !(p->flags & w->flags & POOL_SHARED))
        return false;
    return !debug_on(DEBUG_NO_MERGE) || (w->name != NULL && strcmp(p->name, w->name) == 0);
}

/* May the pool serve blocks of another size than its own? */
static bool may_approximate(const struct pool *p, const struct wish *w)
{
    return !((p->flags | w->flags) & POOL_EXACT) && !debug_on(DEBUG_NO_MERGE);
}

static bool fits(const struct pool *p, const struct wish *w)
{
    size_t stride = class_table[p->id].size;
    return stride >= w->size + harden_extra() && (w->align <= BLOCK_ALIGN || stride % w->align == 0);
}

/* Writes the class's row; under TARN_DEBUG realloc must see every call. */
static void define(unsigned c, size_t stride)
{
    sizeclass_define(c, (uint32_t)stride);
    if (debug_on(DEBUG_HOOKS))
        class_table[c].stays = 0;
}

/* Gives a pool from which nothing was allocated the bigger size; false if something was. */
static bool enlarge(struct pool *p, const struct wish *w)
{
    lock_acquire(&p->lock);
    bool may = !p->sealed;
    if (may) {
        uint16_t batch = class_table[p->id].batch; /* threads may have empty magazines */
        define(p->id, stride_of(w));
        WRITE_ONCE(class_table[p->id].batch, batch);
        pool_fit(p);
        WRITE_ONCE(p->size, size_of(w));
    }
    lock_release(&p->lock);
    return may;
}

/* The pool that the wish merges with; NULL: it gets its own. */
static struct pool *merge_locked(const struct wish *w)
{
    size_t size = size_of(w);
    struct pool *bigger = NULL, *smaller = NULL;
    EACH_CLASS (c) {
        struct pool *p = &pools[c];
        if (!may_merge(p, w))
            continue;
        if (p->size == size && fits(p, w))
            return p;
        if (!may_approximate(p, w))
            continue;
        if (p->size > size && p->size - size <= nearness(p) && fits(p, w) &&
            (!bigger || p->size < bigger->size))
            bigger = p;
        if (p->size < size && size - p->size <= nearness(p) && c >= CLASS_NAMED &&
            stride_of(w) % p->align == 0 && (!smaller || p->size > smaller->size))
            smaller = p;
    }
    if (bigger != NULL)
        return bigger;
    return smaller != NULL && enlarge(smaller, w) ? smaller : NULL;
}

/* ---- places ------------------------------------------------------------------------------------------- */

/* Is nothing left of the pool that was here? Asked with its lock, behind whoever took the last slab out: that one looked
   at the class's row. */
static bool is_vacant(struct pool *p)
{
    if (p->users > 0)
        return false;
    lock_acquire(&p->lock);
    bool empty = p->allocated == 0;
    lock_release(&p->lock);
    return empty && !thread_knows(p->id);
}

/* A place for a class of its own; 0: all are taken. */
static unsigned find_place_locked(void)
{
    unsigned end = class_end;
    for (unsigned c = CLASS_NAMED; c < end; c++)
        if (is_vacant(&pools[c]))
            return c;
    return end < CLASS_MAX ? end : 0;
}

/* A pool of its own for the wish; NULL: there is no place. */
static struct pool *found_locked(const struct wish *w)
{
    unsigned c = find_place_locked();
    if (c == 0)
        return NULL;
    struct pool *p = &pools[c];
    bool first = c == class_end;
    define(c, stride_of(w));
    if (first)
        pool_init(c);
    lock_acquire(&p->lock);
    pool_fit(p);
    WRITE_ONCE(p->flags, w->flags);
    WRITE_ONCE(p->size, size_of(w));
    WRITE_ONCE(p->align, w->align > BLOCK_ALIGN ? w->align : BLOCK_ALIGN);
    WRITE_ONCE(p->minavail, 0);
    WRITE_ONCE(p->limit, 0);
    WRITE_ONCE(p->failed, 0);
    WRITE_ONCE(p->limited, 0);
    p->sealed = false;
    copy_end(p->name, sizeof p->name, w->name);
    lock_release(&p->lock);
    if (first)
        __atomic_store_n(&class_end, c + 1, __ATOMIC_RELEASE);
    return p;
}

/* ---- create, destroy ---------------------------------------------------------------------------------- */

struct pool *named_create(const struct wish *w, int *error)
{
    heap_start();
    *error = EINVAL;
    if (!good(w) || stride_of(w) > BLOCK_MAX)
        return NULL;
    *error = ENOMEM;
    struct registration *r = registration_new(w);
    if (r == NULL)
        return NULL;
    *error = ENOSPC;
    lock_acquire(&names.lock);
    struct pool *p = merge_locked(w);
    if (p == NULL)
        p = found_locked(w);
    if (p != NULL && p->align < w->align) /* merged: whoever comes later must not grow it out of line */
        WRITE_ONCE(p->align, w->align);
    if (p != NULL)
        register_locked(p, r);
    else
        registrations_keep_locked(r);
    lock_release(&names.lock);
    return p;
}

static uint64_t blocks_out(struct pool *p)
{
    lock_acquire(&p->lock);
    uint64_t out = p->used;
    lock_release(&p->lock);
    return out;
}

/* Blocks in the program's hands, for who is the last to have any. Threads that obey the recall just now carry blocks
   from their caches to the pool: those are waited for, and would be taken for used ones. */
static uint64_t used_by_program(struct pool *p)
{
    const struct timespec nap = {.tv_nsec = 1000000}; /* a millisecond */
    uint64_t out = 0, held = 0;
    for (int tries = 0; tries < YIELDS + NAPS; tries++) {
        out = blocks_out(p);
        held = thread_held(p->id);
        if (out == held || (!thread_drains(p->id) && blocks_out(p) == out && thread_held(p->id) == held))
            break;
        if (tries < YIELDS)
            sched_yield();
        else
            nanosleep(&nap, NULL); /* it lost its processor to somebody else */
    }
    return out > held ? out - held : 0;
}

/* One user less. Which of them went is not known: the latest registration is forgotten. */
static void unregister_locked(struct pool *p)
{
    struct registration **last = &p->registrations;
    while ((*last)->next != NULL)
        last = &(*last)->next;
    registrations_keep_locked(*last);
    WRITE_ONCE(*last, NULL);
    WRITE_ONCE(p->users, p->users - 1);
    if (p->users == 0)
        WRITE_ONCE(p->name[0], '\0');
}

/* Drops a user; the last one only after the used blocks were `counted`, and there are none. False: it may not. */
static bool leave(struct pool *p, bool counted, uint64_t used, bool *last)
{
    lock_acquire(&names.lock);
    *last = p->registrations != NULL && p->registrations->next == NULL && p->id >= CLASS_NAMED;
    bool may = p->registrations != NULL && (!*last || (counted && used == 0));
    if (may)
        unregister_locked(p);
    lock_release(&names.lock);
    return may;
}

bool named_destroy(struct pool *p)
{
    bool last;
    named_flush(p);
    return leave(p, false, 0, &last) || (last && leave(p, true, used_by_program(p), &last));
}

/* ---- what malloc has no word for ------------------------------------------------------------------------ */

static void *first(struct pool *p)
{
    struct cache *cache = thread_cache();
    void *block;
    if (cache != NULL && !READ_ONCE(p->uncached) &&
        (cache_pop(cache, p->place, &block) ||
         (cache_refill(cache, p->id, false) && cache_pop(cache, p->place, &block))))
        return block;
    return pool_take_one(p);
}

void *named_first(struct pool *p)
{
    thread_enter();
    void *block = first(p);
    thread_leave();
    if (unlikely(debug_on(DEBUG_HOOKS)) && block != NULL)
        harden_give_out(p, block, p->size, true);
    return block;
}

/* More than `avail` free blocks in the pool; false: it has all that can be had. */
static bool fill(struct pool *p, uint64_t avail)
{
    unsigned failures = 0;
    if (avail >= (region.units << UNIT_SHIFT) / class_table[p->id].size)
        return false; /* more than the window holds: all of it would be taken in vain */
    while (pool_unused(p) <= avail)
        switch (pool_grow(p)) {
        case POOL_GREW:
            break;
        case POOL_LIMITED:
            pool_refuse(p);
            return false;
        case POOL_NO_MEMORY:
            pool_fail(p);
            if (failures++ > 0 || !options.gc)
                return false;
            gc_run();
        }
    return true;
}

void *named_refill(struct pool *p, uint64_t avail)
{
    thread_enter();
    gc_attend(thread_cache()); /* with the block, it would give back what was filled */
    bool filled = fill(p, avail);
    thread_leave();
    return filled ? heap_pool_alloc(p, p->size, p->align, true) : NULL;
}

/* What threads have of the pool comes back to it: now, or when they next allocate or free where they are at that. */
static void recall(struct pool *p, struct pool_news *news)
{
    thread_recall();
    thread_drain_idle(news);
    thread_drain_others(THREAD_WAITING_TOO, news, gc_news);
    struct cache *cache = thread_own();
    if (cache == NULL)
        return;
    cache_end_wait(cache, news);
    cache_drain(cache, p->id, news);
}

void named_flush(struct pool *p)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_enter();
    recall(p, &news);
    pool_collect(p, 0, &news);
    gc_news(&news);
    thread_leave();
}

bool named_limit(struct pool *p, uint64_t blocks)
{
    struct pool_news news;
    if (p->id < CLASS_NAMED)
        return false;
    pool_news_init(&news);
    thread_enter();
    lock_acquire(&p->lock);
    WRITE_ONCE(p->limit, blocks);
    WRITE_ONCE(p->uncached, blocks > 0 || class_table[p->id].size > POOLED_MAX);
    lock_release(&p->lock);
    recall(p, &news);
    gc_news(&news);
    thread_leave();
    return true;
}

/* ---- fork --------------------------------------------------------------------------------------------- */

void named_lock(void)
{
    lock_acquire(&names.lock);
}

void named_unlock(void)
{
    lock_release(&names.lock);
}

void named_reset_lock(void)
{
    lock_init(&names.lock, LOCK_NAMES, 0);
}
