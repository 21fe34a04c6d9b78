/*
 * A thread has no cache (cache_self == &cache_none, mine == NULL), then one, then none any more (ended). What
 * tells the three apart is looked at on the slow path only.
 *
 *     first miss -> birth: an idle cache, or a new one -> ... -> key destructor -> thread_end: idle again
 *
 * Caches are linked in the order in which they were made and never unmapped, so a walk needs no lock. A
 * thread whose end nobody would tell of gets none (none of the 1024 keys was left): a recall would write where its
 * stack was. Neither does one whose end was told, and that allocates in a later destructor.
 *
 * What a thread costs: ten thousand in a row, each with 300 small blocks, 27.3 us each, where those that allocate nothing
 * take 25.5 (glibc 39.3 and 24.6, mimalloc 37.5 and 24.5). Ten thousand at once, which allocate a mix of 256 and fall
 * asleep: 222 us each, 186 with one thousand (glibc 188 and 150, jemalloc 446 and 288); what grows is the kernel's part.
 * Static TLS is 2.7 KB, nearly all of it jemalloc's: a page fault more for a thread whose stack nobody had before.
 */
#include "thread.h"

#include "check.h"
#include "lock.h"
#include "meta.h"
#include "options.h"

#include <pthread.h>

static __thread struct cache *mine;
static __thread bool ended;
__thread unsigned thread_busy;

static bool diverted; /* no thread's cache may be reached from the hot path */
static bool cacheless;

enum { WARM_MAX = 4 };

static struct {
    struct lock lock;
    struct cache *made; /* the last made; the others behind it */
    struct cache *idle; /* those without a thread: empty */
    struct cache *warm; /* those without a thread: as it left them */
    struct cache
        *left; /* those that living threads abandoned; pushed by signal handlers, so without the lock */
    unsigned living, warm_count;
    bool has_key;
    pthread_key_t key;
} registry = {.lock = LOCK_INITIALIZER(LOCK_THREADS)};

void thread_start(void (*end)(void *cache))
{
    diverted = (options.debug.words & DEBUG_HOOKS) != 0;
    cacheless = (options.debug.words & DEBUG_NO_CACHE) != 0;
    registry.has_key = pthread_key_create(&registry.key, end) == 0;
}

static void count_locked(int change)
{
    WRITE_ONCE(registry.living, registry.living + (unsigned)change);
    cache_share(registry.living);
}

static struct cache *pop_locked(struct cache **stack)
{
    struct cache *cache = *stack;
    if (cache != NULL)
        *stack = cache->idle;
    return cache;
}

static void push_locked(struct cache **stack, struct cache *cache)
{
    cache->idle = *stack;
    *stack = cache;
}

static struct cache *pop_warm_locked(void)
{
    struct cache *cache = pop_locked(&registry.warm);
    if (cache != NULL)
        registry.warm_count--;
    return cache;
}

/* A cache for the calling thread: an idle one, else a new one; NULL without memory. */
static struct cache *acquire(void)
{
    lock_acquire(&registry.lock);
    struct cache *cache = pop_warm_locked();
    if (cache == NULL)
        cache = pop_locked(&registry.idle);
    if (cache != NULL) {
        cache->self = &cache_self;
        count_locked(1);
    }
    lock_release(&registry.lock);
    if (cache != NULL)
        return cache;

    cache = meta_alloc_zeroed(sizeof *cache);
    if (cache == NULL)
        return NULL;
    cache->self = &cache_self; /* fresh memory is first touched here, and not with the lock */
    lock_acquire(&registry.lock);
    cache->made = registry.made;
    __atomic_store_n(&registry.made, cache, __ATOMIC_RELEASE);
    count_locked(1);
    lock_release(&registry.lock);
    return cache;
}

/* Lets the hot path reach the calling thread's cache. */
static void publish(struct cache *cache)
{
    if (likely(!diverted))
        WRITE_ONCE(cache_self, cache);
}

static struct cache *birth(void)
{
    struct cache *cache = acquire();
    if (cache == NULL)
        return NULL;
    mine = cache;
    publish(cache);
    /* May allocate, for keys above the first 32: that finds the cache in place. */
    if (unlikely(pthread_setspecific(registry.key, cache) != 0)) { /* nobody would tell of the thread's end */
        ended = true;
        thread_abandon();
        return NULL;
    }
    return cache;
}

struct cache *thread_own(void)
{
    return mine;
}

struct cache *thread_cache(void)
{
    if (likely(mine != NULL)) {
        publish(mine);
        return mine;
    }
    return ended || cacheless || !registry.has_key ? NULL : birth();
}

/*
 * The first few caches without a thread stay as it left them: threads that come and go (a server that makes one for
 * each request) find theirs filled. Larson-like churn on two threads: 11.4 ns an operation where each is emptied,
 * 9.0 so. gc empties them, as it does those of the living. (Sixteen kept: 0.92 of the time with 64 short threads at once,
 * 1.06 with 16, and larson's on eight take 15 % more memory for 0.98.)
 */
static bool keep_warm(struct cache *cache)
{
    lock_acquire(&registry.lock);
    bool keep = registry.warm_count < WARM_MAX;
    if (keep) {
        push_locked(&registry.warm, cache);
        registry.warm_count++;
        cache->self = NULL;
    }
    count_locked(-1);
    lock_release(&registry.lock);
    return keep;
}

static void empty(struct cache *cache, struct pool_news *news)
{
    cache_drain_all(cache, news);
    lock_acquire(&registry.lock);
    cache->self = NULL; /* until here a fork's child would have found an orphan */
    push_locked(&registry.idle, cache);
    lock_release(&registry.lock);
}

void thread_end(struct cache *cache, struct pool_news *news)
{
    bool abandoned = cache != mine; /* and none got since */
    mine = NULL;
    ended = true;
    WRITE_ONCE(cache_self, &cache_none);
    if (abandoned) {
        lock_acquire(&registry.lock); /* a recall may be writing to this thread's cache_self */
        lock_release(&registry.lock);
    } else if (!keep_warm(cache)) {
        empty(cache, news);
    }
}

void thread_abandon(void)
{
    struct cache *cache = mine;
    if (cache == NULL)
        return;
    mine = NULL;
    WRITE_ONCE(cache_self, &cache_none);
    WRITE_ONCE(cache->self, NULL);
    cache->idle = __atomic_load_n(&registry.left, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&registry.left, &cache->idle, cache, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        continue;
}

/* A cache that nobody has, to be emptied: a warm one, or one that was left. In a fork's child both are orphans, and
   a recall has somewhere to write to. */
static struct cache *take_idle(struct cache **left)
{
    static struct cache *nobody;
    lock_acquire(&registry.lock);
    struct cache *cache = pop_locked(left);
    if (cache != NULL)
        count_locked(-1);
    else
        cache = pop_warm_locked();
    if (cache != NULL)
        cache->self = &nobody;
    lock_release(&registry.lock);
    return cache;
}

void thread_drain_idle(struct pool_news *news)
{
    struct cache *left = __atomic_exchange_n(&registry.left, NULL, __ATOMIC_ACQUIRE);
    for (;;) { /* ends: only a dying thread adds one, and four are the most */
        struct cache *cache = take_idle(&left);
        if (cache == NULL)
            return;
        empty(cache, news);
    }
}

void thread_recall(void)
{
    lock_acquire(&registry.lock);
    for (struct cache *cache = registry.made; cache != NULL; cache = cache->made) {
        struct cache **self = READ_ONCE(cache->self); /* its thread may abandon it right now */
        if (self != NULL)
            WRITE_ONCE(*self, &cache_none);
    }
    lock_release(&registry.lock);
}

void thread_recall_self(void)
{
    WRITE_ONCE(cache_self, &cache_none);
}

void thread_each(void (*visit)(const struct cache *, void *), void *context)
{
    for (struct cache *cache = __atomic_load_n(&registry.made, __ATOMIC_ACQUIRE); cache != NULL;
         cache = cache->made)
        visit(cache, context);
}

uint64_t thread_held(unsigned c)
{
    uint64_t blocks = 0;
    for (struct cache *cache = __atomic_load_n(&registry.made, __ATOMIC_ACQUIRE); cache != NULL;
         cache = cache->made)
        blocks += cache_held(cache, c);
    return blocks;
}

bool thread_knows(unsigned c)
{
    struct cache *cache = __atomic_load_n(&registry.made, __ATOMIC_ACQUIRE);
    while (cache != NULL && !cache_has_magazines(cache, c))
        cache = cache->made;
    return cache != NULL;
}

bool thread_drains(unsigned c)
{
    struct cache *cache = __atomic_load_n(&registry.made, __ATOMIC_ACQUIRE);
    while (cache != NULL && __atomic_load_n(&cache->draining, __ATOMIC_ACQUIRE) != c)
        cache = cache->made;
    return cache != NULL;
}

unsigned thread_count(void)
{
    return READ_ONCE(registry.living);
}

void thread_lock(void)
{
    lock_acquire(&registry.lock);
}

void thread_unlock(void)
{
    lock_release(&registry.lock);
}

void thread_reset_lock(void)
{
    lock_init(&registry.lock, LOCK_THREADS, 0);
}

void thread_adopt_orphans(struct pool_news *news)
{
    for (struct cache *cache = registry.made; cache != NULL; cache = cache->made) {
        if (cache == mine || cache->self == NULL)
            continue;
        empty(cache, news);
    }
    registry.living = 0;
    count_locked(mine != NULL);
}
