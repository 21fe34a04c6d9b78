/*
 * The story of a first malloc(100): class_of gives 0, because nothing is set up; cache_pop on the empty cache
 * misses; heap_alloc_slow starts tarn (settings, classes, region, pools), makes the thread a cache, which
 * misses too; cache_refill finds the pool empty, claims a slab of the region, and fills a magazine from it.
 * The second malloc(100) takes 19 instructions.
 *
 * The story of a failing one: the kernel, or TARN_LIMIT, or jemalloc refuses. The pool's `failed` goes up,
 * gc_run gives back whatever is not in use, and the request is tried once more. If that fails too, `failed`
 * goes up again, and the program gets NULL.
 */
#include "heap.h"

#include "check.h"
#include "debug.h"
#include "fault.h"
#include "gc.h"
#include "guard.h"
#include "large.h"
#include "options.h"
#include "out.h"
#include "pool.h"
#include "reserve.h"
#include "thread.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* ---- start and end ---------------------------------------------------------------------------------- */

static void (*last_thread)(void);

void heap_on_last_thread(void (*call)(void))
{
    last_thread = call;
}

static void end_thread(void *cache)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_end(cache, &news);
    gc_news(&news);
    if (thread_count() == 0 && last_thread != NULL)
        last_thread();
}

static bool started;

/* Every realloc is to come by, and a tag belongs to no one's block. */
static COLD void make_hooked(void)
{
    EACH_CLASS (c) {
        class_table[c].stays = 0;
        pools[c].size -= debug_extra();
    }
}

static void start(void)
{
    restart_start();
    out_remember_stderr();
    if (!options_start(environ))
        _exit(2);
    sizeclass_start(options.classes, options.classes_count, options.max_pooled);
    cache_budget(debug_on(DEBUG_COLD_FIRST) ? 0
                                            : options.cache); /* the coldest is in the loaded magazine then */
    pool_start();
    if (debug_on(DEBUG_HOOKS))
        make_hooked();
    for (unsigned i = 0; i < options.minavail_count; i++)
        if (options.minavail[i].size <= pooled_max)
            pools[class_of(options.minavail[i].size)].minavail = options.minavail[i].blocks;
    thread_start(end_thread);
    region_limit(options.limit);
    region_start();
    __atomic_store_n(&started, true, __ATOMIC_RELEASE);
}

void heap_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (unlikely(!__atomic_load_n(&started, __ATOMIC_ACQUIRE)))
        pthread_once(&once, start);
}

/* What signal handlers freed while their threads could not. */
static void free_deferred(void)
{
    if (likely(!reserve_has_deferred()) || thread_busy > 0)
        return;
    for (void *p = reserve_take_deferred(), *next; p != NULL; p = next) {
        next = *(void **)p;
        heap_free_slow(p, "free");
    }
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

/* Whatever can be given back is: also what waits for the sake of TARN_DEBUG=uaf, which no other collection ends. */
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

/* The same under TARN_DEBUG, for a request of `n` bytes. */
static COLD void *hooked_alloc(struct pool *pool, size_t n, size_t align, bool raw)
{
    if (debug_fails())
        return NULL;
    void *p = debug_on(DEBUG_UAF) ? guard_alloc(n, align, pool->id, debug_caller) : NULL;
    if (p != NULL && debug_on(DEBUG_POISON) && !raw)
        memset(p, options.debug.poison, n);
    if (p == NULL && (p = pooled_alloc(pool)) != NULL)
        debug_give_out(pool, p, n, raw);
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
    if (unlikely(debug_on(DEBUG_UAF)) && old == NULL)
        p = guard_alloc(n, align, CLASS_LARGE, debug_caller);
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
    size_t extra = debug_extra();
    unsigned c = n <= pooled_max - extra ? class_of_aligned(n + extra, align) : CLASS_NONE;
    return c != CLASS_NONE ? &pools[c] : NULL;
}

void *heap_alloc_slow(size_t n)
{
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
    return restart_pop(pool->place, &p) ? p : heap_pool_alloc(pool, n, align, false);
}

/* ---- free ------------------------------------------------------------------------------------------- */

/* What is wrong with a pointer that is no block's start. */
static void report(const void *p, const char *call)
{
    unsigned class = region_class(p);
    struct fault fault = {.kind = FAULT_FOREIGN, .call = call, .pointer = p};
    if (class == CLASS_GUARDED) {
        guard_accuse(p, call, &fault);
    } else if (class_is_pool(class)) {
        fault.kind = FAULT_INSIDE;
        fault.pool = pools[class].name;
        fault.pool_size = pools[class].size;
        fault.expected = slab_block_of(region_slab(p), p);
        debug_callers(fault.expected, &fault.allocated, &fault.freed);
    } else if (class != CLASS_NONE) {
        fault.kind = FAULT_INSIDE;
    } else if (region_unit(p) < region.units) {
        fault.kind = FAULT_FREE_SPACE;
    }
    fault_report(&fault);
}

/* May TARN_DEBUG's block go back? If not, that was reported. */
static COLD bool vetted(struct pool *pool, void *p, const char *call)
{
    if (region_starts_block(p))
        return debug_take_back(pool, p, call);
    report(p, call);
    return false;
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
    if (READ_ONCE(pool->uncached))
        cache = NULL;
    bool kept = cache != NULL && cache_push(cache, pool->place, p);
    if (!kept && cache != NULL && cache_flush(cache, pool->id, &news))
        kept = cache_push(cache, pool->place, p);
    if (!kept)
        pool_give_one(pool, p, &news);
    gc_news(&news);
    thread_leave();
}

static COLD void guarded_free(void *p, const char *call)
{
    struct fault fault;
    thread_enter();
    bool freed = guard_free(p, call, debug_caller, &fault);
    thread_leave();
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
    bool block = class_is_pool(class) ? region_starts_block(p) : class != CLASS_NONE && heap_usable(p) > 0;
    if (block)
        reserve_defer(p);
    return block;
}

void heap_free_slow(void *p, const char *call)
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
        report(p, call);
}

/* A block of the pool `owner` that was given to another. */
static COLD void report_stranger(const void *p, const char *call, unsigned owner, const struct pool *other)
{
    struct fault fault = {
        .kind = FAULT_WRONG_POOL,
        .call = call,
        .pointer = p,
        .pool = pools[owner].name,
        .pool_size = pools[owner].size,
        .other = other->name,
    };
    debug_callers(p, &fault.allocated, &fault.freed);
    fault_report(&fault);
}

void heap_pool_free(struct pool *pool, void *p, const char *call)
{
    if (p == NULL)
        return;
    unsigned class = region_class(p), owner = class == CLASS_GUARDED ? guard_pool(p) : class;
    if (owner == pool->id)
        heap_free_slow(p, call);
    else if (class_is_pool(owner) || heap_usable(p) > 0) /* large: pools[owner] is an empty place */
        report_stranger(p, call, owner, pool);
    else
        report(p, call);
}

/* ---- realloc, usable size --------------------------------------------------------------------------- */

/* A block of EXACT pools, and under TARN_DEBUG=tag any, has no more than what was asked for. */
static size_t pooled_usable(const struct pool *pool, const void *p)
{
    if (!region_starts_block(p))
        return 0;
    return unlikely(debug_on(DEBUG_TAG)) ? debug_usable(p) : pool->size;
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
        report(p, "realloc");
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

void heap_check(void)
{
    sizeclass_check();
    EACH_CLASS (c)
        pool_check(&pools[c]);
    cache_check(READ_ONCE(cache_self));
    region_check();
}
