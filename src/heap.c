/*
 * The story of a first malloc(100): class_of gives 0, nothing being set up; cache_pop on the empty cache misses;
 * heap_alloc_slow starts tarn (settings, classes, region, pools), makes the thread a cache, which misses too;
 * cache_refill finds the pool empty, claims a slab, and fills a magazine from it. The second takes 20 instructions.
 *
 * The story of a failing one: the kernel, or TARN_LIMIT, or jemalloc refuses. The pool's `failed` goes up,
 * gc_run gives back whatever is not in use, and the request is tried once more. If that fails too, `failed`
 * goes up again, and the program gets NULL.
 */
#include "heap.h"

#include "accuse.h"
#include "debug.h"
#include "fault.h"
#include "gc.h"
#include "guard.h"
#include "harden.h"
#include "large.h"
#include "options.h"
#include "pool.h"
#include "reserve.h"
#include "sample.h"
#include "thread.h"

#include <string.h>

/* What signal handlers freed while their threads could not. */
static void free_deferred(void) // NOLINT(misc-no-recursion): deeper only for what a handler freed meanwhile
{
    if (likely(!reserve_has_deferred()) || thread_busy > 0)
        return;
    struct deferred *list = reserve_take_deferred();
    for (void *p; (p = reserve_next_deferred(&list)) != NULL;)
        heap_free_slow(p, "free");
}

/* ---- alloc ------------------------------------------------------------------------------------------ */

/* A block straight from the pool, which grows if need be. */
static void *take_one(struct pool *pool, enum pool_growth *growth)
{
    /* The loop ends: either the slab's blocks are ours to take, or others took them all and went on. */
    for (;;) {
        void *p = pool_take_one(pool);
        if (p != NULL || *growth != POOL_GREW)
            return p;
        *growth = pool_grow(pool);
        if (*growth == POOL_NO_MEMORY)
            return NULL;
    }
}

static bool pop(struct cache *cache, const struct pool *pool, void **p)
{
    return unlikely(debug_on(DEBUG_COLD_FIRST)) ? cache_pop_coldest(cache, pool->id, p)
                                                : cache_pop(cache, pool->place, p);
}

/* A block of the pool; NULL: *growth says whether it is at its limit or memory is short. */
static void *pooled_try(struct pool *pool, enum pool_growth *growth)
{
    struct cache *cache = thread_cache();
    gc_attend(cache);
    *growth = POOL_GREW;
    if (cache == NULL || READ_ONCE(pool->uncached))
        return take_one(pool, growth);
    void *p; /* after a recall the cache itself may be well filled */
    if (pop(cache, pool, &p) || (cache_refill(cache, pool->id, true) && pop(cache, pool, &p)))
        return p;
    return take_one(pool, growth); /* memory for a magazine may be all that was missing */
}

/* Whatever can be given back is: also guarded blocks that wait, which no other collection does. */
static COLD void make_room(void)
{
    guard_collect();
    gc_run();
}

/* Fails for want of memory -> gc once -> retry -> NULL. */
static void *pooled_insist(struct pool *pool)
{
    enum pool_growth growth;
    void *p = pooled_try(pool, &growth);
    if (p == NULL && growth == POOL_NO_MEMORY) {
        pool_fail(pool);
        if (!options.gc)
            return NULL;
        make_room();
        p = pooled_try(pool, &growth);
        if (p == NULL && growth == POOL_NO_MEMORY)
            pool_fail(pool);
    }
    if (p == NULL && growth == POOL_LIMITED)
        pool_refuse(pool);
    return p;
}

static void *pooled_alloc(struct pool *pool)
{
    thread_enter();
    void *p = pooled_insist(pool);
    thread_leave();
    return p;
}

static COLD void *guarded_alloc(size_t n, size_t align, unsigned pool)
{
    thread_enter();
    struct trace by = accuse_caller();
    void *p = guard_alloc(n, align, pool, &by);
    thread_leave();
    return p;
}

/* The same under TARN_DEBUG or TARN_HARDEN, for a request of `n` bytes. */
static NOINLINE void *hooked_alloc(struct pool *pool, size_t n, size_t align, bool raw)
{
    if (debug_on(DEBUG_FAIL) && debug_fails())
        return NULL;
    void *p = debug_on(DEBUG_UAF) ? guarded_alloc(n, align, pool->id) : NULL;
    if (p != NULL && debug_on(DEBUG_POISON) && !raw)
        memset(p, options.debug.poison, n);
    if (p == NULL && (p = pooled_alloc(pool)) != NULL)
        harden_give_out(pool, p, n, raw);
    return p;
}

void *heap_pool_alloc(struct pool *pool, size_t n, size_t align, bool raw)
{
    if (unlikely(thread_busy > 0))
        return reserve_alloc(n, align);
    return likely(!debug_on(DEBUG_HOOKS)) ? pooled_alloc(pool) : hooked_alloc(pool, n, align, raw);
}

/* A large block, new (old == NULL) or resized. */
static void *large_try(void *old, size_t n, size_t align, bool zero)
{
    gc_attend(thread_cache());
    return old != NULL ? large_realloc(old, n) : large_alloc(n, align, zero);
}

static void *large_insist(void *old, size_t n, size_t align, bool zero)
{
    void *p = large_try(old, n, align, zero);
    if (likely(p != NULL))
        return p;
    large_count_failure();
    if (!options.gc)
        return NULL;
    make_room();
    p = large_try(old, n, align, zero);
    if (p == NULL)
        large_count_failure();
    return p;
}

static void *large_get(void *old, size_t n, size_t align, bool zero)
{
    if (n > PTRDIFF_MAX || (unlikely(debug_on(DEBUG_FAIL)) && debug_fails()))
        return NULL;
    void *p = NULL;
    if (unlikely(thread_busy > 0)) {
        p = reserve_alloc(n, align);
        return p != NULL && zero ? memset(p, 0, n) : p;
    }
    thread_enter();
    if (unlikely(debug_on(DEBUG_UAF) || harden_on(HARDEN_GUARD_PAGES)) && old == NULL)
        p = guarded_alloc(n, align, CLASS_LARGE);
    if (likely(p == NULL))
        p = large_insist(old, n, align, zero);
    thread_leave();
    if (unlikely(debug_on(DEBUG_POISON)) && p != NULL && old == NULL && !zero)
        memset(p, options.debug.poison, n);
    return p;
}

/* The pool for a request of malloc's; NULL: it is a large one. */
static struct pool *pool_for(size_t n, size_t align)
{
    size_t extra = harden_extra();
    unsigned c = n <= pooled_max - extra ? class_of_aligned(n + extra, align) : CLASS_NONE;
    return c != CLASS_NONE ? &pools[c] : NULL;
}

/* One of the sample; NULL: it is an ordinary one after all. */
static COLD void *sampled_alloc(size_t n, size_t align)
{
    if (thread_busy > 0) /* in a signal handler that came between */
        return NULL;
    const struct pool *pool = pool_for(n, align);
    return guarded_alloc(n, align, pool != NULL ? pool->id : CLASS_LARGE);
}

void *heap_alloc_slow(size_t n)
{
    void *p;
    if (sample_on() && sample_due(n) && (p = sampled_alloc(n, BLOCK_ALIGN)) != NULL)
        return p;
    heap_start();
    free_deferred();
    struct pool *pool = pool_for(n, BLOCK_ALIGN);
    return pool != NULL ? heap_pool_alloc(pool, n, BLOCK_ALIGN, false)
                        : large_get(NULL, n, BLOCK_ALIGN, false);
}

void *heap_alloc_zeroed(size_t n)
{
    heap_start();
    if (pool_for(n, BLOCK_ALIGN) == NULL)
        return large_get(NULL, n, BLOCK_ALIGN, true);
    void *p = heap_alloc(n);
    return p == NULL ? NULL : memset(p, 0, n);
}

void *heap_alloc_aligned(size_t align, size_t n)
{
    heap_start();
    struct pool *pool = pool_for(n, align);
    if (pool == NULL)
        return large_get(NULL, n, align, false);
    void *p;
    if (sample_on() && sample_due(n) && (p = sampled_alloc(n, align)) != NULL)
        return p;
    return restart_pop(pool->place, &p) ? p : heap_pool_alloc(pool, n, align, false);
}

/* ---- free ------------------------------------------------------------------------------------------- */

/* May a block go back, under TARN_DEBUG or TARN_HARDEN? If not, that was reported. */
static bool vetted(struct pool *pool, void *p, const char *call)
{
    if (likely(region_starts_block(p)))
        return harden_take_back(pool, region_slab(p), p, call);
    accuse(p, call);
    return false;
}

/* To the cache, or where there is none, or it has no room, to the pool. */
static void keep(struct cache *cache, struct pool *pool, void *p, struct pool_news *news)
{
    if (READ_ONCE(pool->uncached))
        cache = NULL;
    bool kept = cache != NULL && cache_push(cache, pool->place, p);
    if (!kept && cache != NULL && cache_flush(cache, pool->id, news))
        kept = cache_push(cache, pool->place, p);
    if (!kept)
        pool_give_one(pool, p, news);
}

/* The block takes its place in the quarantine, and what has been there longest leaves it. */
static void detain(struct cache *cache, struct pool *pool, void *p, struct pool_news *news)
{
    if (cache == NULL || !cache_detain(cache, pool->id, p)) {
        keep(cache, pool, p, news);
        return;
    }
    while ((p = cache_release(cache)) != NULL)
        keep(cache, &pools[region_class(p)], p, news);
}

static void pooled_free(struct pool *pool, void *p, const char *call)
{
    struct pool_news news;
    if (unlikely(debug_on(DEBUG_HOOKS)) && !vetted(pool, p, call))
        return;
    pool_news_init(&news);
    thread_enter();
    struct cache *cache = thread_cache();
    gc_attend(cache);
    if (unlikely(harden_on(HARDEN_QUARANTINE)))
        detain(cache, pool, p, &news);
    else
        keep(cache, pool, p, &news);
    gc_news(&news);
    thread_leave();
}

static COLD void guarded_free(void *p, const char *call)
{
    struct fault fault;
    thread_enter();
    struct trace by = accuse_caller();
    bool freed = guard_free(p, call, &by, &fault);
    thread_leave();
    fault.called =
        fault.kind == FAULT_OVERRUN ? (struct trace){0} : by; /* that is the free of the block itself */
    if (!freed)
        fault_report(&fault);
}

static bool freed_large(void *p)
{
    thread_enter();
    bool freed = large_free(p);
    thread_leave();
    return freed;
}

/* A signal handler's, that struck its thread on a slow path: a block of ours waits for the next one to begin. */
static bool defers(void *p, unsigned class)
{
    bool block = class_is_pool(class) ? region_starts_block(p)
                                      : class == CLASS_GUARDED || (class != CLASS_NONE && heap_usable(p) > 0);
    if (block)
        reserve_defer(p);
    return block;
}

void heap_free_slow(void *p, const char *call) // NOLINT(misc-no-recursion): as free_deferred
{
    if (p == NULL)
        return;
    heap_start();
    free_deferred();
    unsigned class = region_class(p);
    if (unlikely(thread_busy > 0) && defers(p, class))
        return;
    if (class_is_pool(class))
        pooled_free(&pools[class], p, call);
    else if (class == CLASS_GUARDED)
        guarded_free(p, call);
    else if (freed_large(p))
        gc_spare();
    else if (!reserve_free(p))
        accuse(p, call);
}

void heap_pool_free(struct pool *pool, void *p, const char *call)
{
    if (p == NULL)
        return;
    unsigned class = region_class(p), owner = class == CLASS_GUARDED ? guard_pool(p) : class;
    if (owner == pool->id)
        heap_free_slow(p, call);
    else if (class_is_pool(owner) || heap_usable(p) > 0) /* large: pools[owner] is an empty place */
        accuse_stranger(p, call, owner, pool);
    else
        accuse(p, call);
}

/* ---- realloc, usable size --------------------------------------------------------------------------- */

/* A block of EXACT pools, and under TARN_DEBUG=tag or TARN_HARDEN=canary any, has no more than what was asked for. */
static size_t pooled_usable(const struct pool *pool, const void *p)
{
    if (!region_starts_block(p) || (harden_on(HARDEN_STATES) && !harden_is_live(p)))
        return 0;
    return unlikely(harden_extra() > 0) ? harden_usable(p) : pool->size;
}

size_t heap_usable(const void *p)
{
    unsigned class = region_class(p);
    if (class == CLASS_NONE)
        return reserve_usable(p);
    if (class == CLASS_GUARDED)
        return guard_usable(p);
    return class_is_pool(class) ? pooled_usable(&pools[class], p) : large_usable(p);
}

/*
 * Who grows a block by little, and did before, gets half as much more: 64 buffers grown to 4 KiB by 64 bytes, 22 -> 14 ns
 * an append. That it did, a table of this thread's tells, with a byte for each of the last places to which realloc moved
 * growing blocks. A quarter more for all, and redis' lists, which take turns by the hundred, held 7 % more memory;
 * so, none.
 */
enum { GROWN_SHIFT = 7 };
static __thread uint8_t grown[1 << GROWN_SHIFT];

static uint32_t hash_of(const void *p)
{
    return (uint32_t)((uintptr_t)p >> GRAIN_SHIFT) * 0x9E3779B1u;
}

static bool has_grown(const void *p)
{
    uint32_t hash = hash_of(p);
    return grown[hash >> (32 - GROWN_SHIFT)] == (hash >> 8 & 0xFF);
}

static void note_grown(const void *p)
{
    uint32_t hash = hash_of(p);
    grown[hash >> (32 - GROWN_SHIFT)] = hash >> 8 & 0xFF;
}

static size_t with_room(const void *p, size_t size, size_t n)
{
    size_t room = size + size / 2;
    bool has_room = n <= size + size / 4 && room <= pooled_max && !debug_on(DEBUG_HOOKS) && has_grown(p);
    return has_room ? room : n;
}

/* From a block of `size` bytes to a new one of `n` or more. */
static void *move(void *p, size_t size, size_t n)
{
    void *q = heap_alloc(n <= size ? n : with_room(p, size, n));
    if (q == NULL)
        return n <= size ? p : NULL;
    memcpy(q, p, n < size ? n : size);
    if (n > size)
        note_grown(q);
    heap_free(p, "realloc");
    return q;
}

void *heap_realloc(void *p, size_t n)
{
    heap_start();
    if (heap_stays(p, n))
        return p;
    size_t size = heap_usable(p);
    if (unlikely(size == 0)) {
        accuse(p, "realloc");
        return NULL;
    }
    unsigned class = region_class(p);
    struct pool *pool = pool_for(n, BLOCK_ALIGN);
    if (pool == NULL && (class == CLASS_LARGE || class == CLASS_BARE) && likely(thread_busy == 0))
        return large_get(p, n, BLOCK_ALIGN, false);
    /* The smallest class, or one far above the next smaller: TARN_CLASSES. */
    if (pool != NULL && pool->id == class && likely(!debug_on(DEBUG_HOOKS)))
        return p;
    return move(p, size, n);
}

COLD void heap_check(void)
{
    sizeclass_check();
    EACH_CLASS (c)
        pool_check(&pools[c]);
    cache_check(READ_ONCE(cache_self));
    region_check();
}
