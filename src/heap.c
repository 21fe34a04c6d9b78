/*
 * The story of a first malloc(100): class_of gives 0, because nothing is set up; cache_pop on the empty cache
 * misses; heap_alloc_slow starts tarn (settings, classes, region, pools), makes the thread a cache, which
 * misses too; cache_refill finds the pool empty, claims a slab of the region, and fills a magazine from it.
 * The second malloc(100) takes 17 instructions.
 *
 * The story of a failing one: the kernel, or TARN_LIMIT, or jemalloc refuses. The pool's `failed` goes up,
 * gc_run gives back whatever is not in use, and the request is tried once more. If that fails too, `failed`
 * goes up again, and the program gets NULL.
 */
#include "heap.h"

#include "check.h"
#include "fault.h"
#include "gc.h"
#include "large.h"
#include "options.h"
#include "out.h"
#include "pool.h"
#include "thread.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* ---- start and end ---------------------------------------------------------------------------------- */

static void end_thread(void *cache)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_end(cache, &news);
    gc_news(&news);
}

static bool started;

static void start(void)
{
    out_remember_stderr();
    if (!options_start(environ))
        _exit(2);
    sizeclass_start(options.classes, options.classes_count, options.max_pooled);
    cache_budget(options.cache);
    pool_start();
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

/* ---- alloc ------------------------------------------------------------------------------------------ */

static void *pooled_try(unsigned c)
{
    struct cache *cache = thread_cache();
    gc_attend(cache);
    if (cache != NULL) {
        void *p; /* after a recall the cache itself may be well filled */
        if (cache_pop(cache, c, &p) || (cache_refill(cache, c) && cache_pop(cache, c, &p)))
            return p;
        return NULL;
    }
    /* No cache: the thread is ending, or there is no memory for one. The loop ends as cache_refill's does. */
    for (;;) {
        void *p = pool_take_one(&pools[c]);
        struct slab *s = p == NULL ? region_claim_slab(c) : NULL;
        if (s == NULL)
            return p;
        if (!pool_add_slab(&pools[c], s)) {
            region_release_slab(s);
            return NULL;
        }
    }
}

/* Fails -> gc once -> retry -> NULL. */
static void *pooled_insist(unsigned c)
{
    void *p = pooled_try(c);
    if (likely(p != NULL))
        return p;
    pool_fail(&pools[c]);
    if (!options.gc)
        return NULL;
    gc_run();
    p = pooled_try(c);
    if (p == NULL)
        pool_fail(&pools[c]);
    return p;
}

static void *pooled_alloc(unsigned c)
{
    thread_busy++;
    void *p = pooled_insist(c);
    thread_busy--;
    return p;
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
    gc_run();
    p = large_try(old, n, align, zero);
    if (p == NULL)
        large_count_failure();
    return p;
}

static void *large_get(void *old, size_t n, size_t align, bool zero)
{
    heap_start();
    if (n > PTRDIFF_MAX)
        return NULL;
    thread_busy++;
    void *p = large_insist(old, n, align, zero);
    thread_busy--;
    return p;
}

void *heap_alloc_slow(size_t n)
{
    heap_start();
    return n <= pooled_max ? pooled_alloc(class_of(n)) : large_get(NULL, n, BLOCK_ALIGN, false);
}

void *heap_alloc_zeroed(size_t n)
{
    heap_start();
    if (n > pooled_max)
        return large_get(NULL, n, BLOCK_ALIGN, true);
    void *p = heap_alloc(n);
    return p == NULL ? NULL : memset(p, 0, n);
}

void *heap_alloc_aligned(size_t align, size_t n)
{
    heap_start();
    unsigned c = class_of_aligned(n, align);
    if (c == CLASS_NONE)
        return large_get(NULL, n, align, false);
    void *p;
    return cache_pop(READ_ONCE(cache_self), c, &p) ? p : pooled_alloc(c);
}

/* ---- free ------------------------------------------------------------------------------------------- */

/* What is wrong with a pointer that is no block's start. */
static void report(const void *p, const char *call)
{
    unsigned class = region_class(p);
    struct fault fault = {.kind = FAULT_FOREIGN, .call = call, .pointer = p};
    if (class_is_pool(class)) {
        fault.kind = FAULT_INSIDE;
        fault.pool_size = class_table[class].size;
        fault.expected = slab_block_of(region_slab(p), p);
    } else if (class != CLASS_NONE) {
        fault.kind = FAULT_INSIDE;
    } else if (region_unit(p) < region.units) {
        fault.kind = FAULT_FREE_SPACE;
    }
    fault_report(&fault);
}

static void pooled_free(void *p, unsigned c)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_busy++;
    struct cache *cache = thread_cache();
    gc_attend(cache);
    bool kept = cache != NULL && cache_push(cache, c, p);
    if (!kept && cache != NULL && cache_flush(cache, c, &news))
        kept = cache_push(cache, c, p);
    if (!kept)
        pool_give_one(&pools[c], p, &news);
    gc_news(&news);
    thread_busy--;
}

void heap_free_slow(void *p, const char *call)
{
    if (p == NULL)
        return;
    heap_start();
    unsigned class = region_class(p);
    if (class_is_pool(class))
        pooled_free(p, class);
    else if (large_free(p))
        gc_spare();
    else
        report(p, call);
}

/* ---- realloc, usable size --------------------------------------------------------------------------- */

size_t heap_usable(const void *p)
{
    unsigned class = region_class(p);
    if (class == CLASS_NONE)
        return 0;
    if (!class_is_pool(class))
        return large_usable(p);
    return slab_block_of(region_slab(p), p) == p ? class_table[class].size : 0;
}

/*
 * No room is left for further growth. A quarter more for who grows by little halves the moves (64 buffers grown to
 * 4 KiB by 64 bytes: 15 -> 11 ns an append, where tcmalloc, which does so, has 9), but redis' lists then hold 7 % more
 * memory; up to 1 KiB alone it gains nothing.
 */
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
    if (size > pooled_max && n > pooled_max)
        return large_get(p, n, BLOCK_ALIGN, false);
    /* The smallest class, or one far above the next smaller: TARN_CLASSES. */
    if (n <= pooled_max && class_of(n) == region_class(p))
        return p;
    void *q = heap_alloc(n);
    if (q == NULL)
        return n <= size ? p : NULL;
    memcpy(q, p, n < size ? n : size);
    heap_free(p, "realloc");
    return q;
}

void heap_check(void)
{
    sizeclass_check();
    EACH_CLASS (c)
        pool_check(&pools[c]);
    cache_check(READ_ONCE(cache_self));
    region_check();
}
