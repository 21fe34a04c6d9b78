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
#include "restart.h"

#include <pthread.h>
#include <sched.h>

static __thread struct cache *mine;
static __thread bool ended;
__thread unsigned thread_busy;

CONSTANT static bool diverted; /* no thread's cache may be reached from the hot path */
CONSTANT static bool cacheless;

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

static uint32_t recalls; /* how often the threads were asked to drain their caches */

/* What the self of a cache points at that its thread left, until it is empty; and of one that another thread was emptying
   when its own ended: that one gives it on. */
static struct cache *nobody, *emptier;

static bool has_thread(const struct cache *cache)
{
    struct cache **self = READ_ONCE(cache->self);
    return self != NULL && self != &nobody && self != &emptier;
}

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

static void push_warm_locked(struct cache *cache)
{
    WRITE_ONCE(cache->self, NULL);
    push_locked(&registry.warm, cache);
    registry.warm_count++;
}

static struct cache *pop_warm_locked(void)
{
    struct cache *cache = pop_locked(&registry.warm);
    if (cache != NULL)
        registry.warm_count--;
    return cache;
}

static void own_locked(struct cache *cache)
{
    WRITE_ONCE(cache->self, &cache_self);
    cache->busy = &thread_busy;
    WRITE_ONCE(cache->emptied, cache->visits - 1);
}

/* A cache for the calling thread: an idle one, else a new one; NULL without memory. */
static struct cache *acquire(void)
{
    lock_acquire(&registry.lock);
    struct cache *cache = pop_warm_locked();
    if (cache == NULL)
        cache = pop_locked(&registry.idle);
    if (cache != NULL) {
        own_locked(cache);
        count_locked(1);
    }
    lock_release(&registry.lock);
    if (cache != NULL)
        return cache;

    cache = meta_alloc_zeroed(sizeof *cache);
    if (cache == NULL)
        return NULL;
    WRITE_ONCE(cache->visits, 1); /* fresh memory is first touched here, and not with the lock */
    lock_acquire(&registry.lock);
    own_locked(cache);
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
    mine = cache; /* before the next line, which may allocate for keys above the first 32 */
    if (unlikely(pthread_setspecific(registry.key, cache) != 0)) { /* nobody would tell of the thread's end */
        ended = true;
        thread_abandon();
        return NULL;
    }
    return cache;
}

/* Whoever seizes a cache looks at its thread's thread_busy afterwards, and we at `seized` after we set that: one of the two
   sees the other. That the processor does not turn this round is restart_barrier's part. */
struct cache *thread_own(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (mine == NULL || unlikely(__atomic_load_n(&mine->seized, __ATOMIC_ACQUIRE)))
        return NULL;
    WRITE_ONCE(mine->visits, mine->visits + 1);
    return mine;
}

struct cache *thread_cache(void)
{
    if (unlikely(mine == NULL))
        return ended || cacheless || !registry.has_key ? NULL : birth();
    return thread_own();
}

void thread_enter(void)
{
    WRITE_ONCE(thread_busy, thread_busy + 1);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    WRITE_ONCE(cache_self, &cache_none);
}

void thread_settle(void)
{
    while (mine != NULL && thread_own() == NULL)
        sched_yield();
}

void thread_leave(void)
{
    if (likely(thread_busy == 1) && thread_own() != NULL && likely(mine->epoch == READ_ONCE(recalls)))
        publish(mine);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    WRITE_ONCE(thread_busy, thread_busy - 1);
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
    bool keep = cache->seized || registry.warm_count < WARM_MAX;
    if (cache->seized)
        WRITE_ONCE(cache->self, &emptier);
    else if (keep)
        push_warm_locked(cache);
    count_locked(-1);
    lock_release(&registry.lock);
    return keep;
}

static void empty(struct cache *cache, struct pool_news *news)
{
    cache_end_wait(cache, news);
    cache_drain_all(cache, news);
    lock_acquire(&registry.lock);
    WRITE_ONCE(cache->self, NULL); /* until here a fork's child would have found an orphan */
    push_locked(&registry.idle, cache);
    lock_release(&registry.lock);
}

void thread_end(struct cache *cache, struct pool_news *news)
{
    bool abandoned = cache != mine; /* and none got since */
    thread_enter();
    mine = NULL;
    ended = true;
    if (abandoned) {
        lock_acquire(&registry.lock); /* a recall may be writing to this thread's cache_self */
        lock_release(&registry.lock);
    } else if (!keep_warm(cache)) {
        empty(cache, news);
    }
    thread_leave();
}

void thread_abandon(void)
{
    thread_enter();
    struct cache *cache = thread_own();
    if (cache != NULL) {
        mine = NULL;
        WRITE_ONCE(cache->self, &nobody); /* so others may write to it, and a fork's child finds an orphan */
        cache->idle = __atomic_load_n(&registry.left, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&registry.left, &cache->idle, cache, true, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED))
            continue;
    }
    thread_leave();
}

/* A cache that nobody has, to be emptied: a warm one, or one that was left. In a fork's child both are orphans. */
static struct cache *take_idle(struct cache **left)
{
    lock_acquire(&registry.lock);
    struct cache *cache = pop_locked(left);
    if (cache != NULL)
        count_locked(-1);
    else
        cache = pop_warm_locked();
    if (cache != NULL)
        WRITE_ONCE(cache->self, &nobody);
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

/* May hold something; an idle one's thread has not been on a slow path since the last look. */
static bool may_hold(const struct cache *cache)
{
    return has_thread(cache) && READ_ONCE(cache->visits) != READ_ONCE(cache->emptied);
}

static bool looks_idle(struct cache *cache)
{
    uint16_t visits = READ_ONCE(cache->visits);
    bool idle = cache->seen == visits;
    cache->seen = visits;
    return idle;
}

/*
 * Of another thread's cache. First its next malloc or free is made to miss, and what it is at, if anything, to start again;
 * then, if it is not on a slow path either, nothing of the thread's is at work with the cache, and whatever comes next
 * sees that it is seized.
 */
static bool seize(struct cache *cache, enum thread_drain what)
{
    lock_acquire(&registry.lock);
    bool worth =
        may_hold(cache) || (what == THREAD_WAITING_TOO && has_thread(cache) && READ_ONCE(cache->quarantine));
    worth = worth && cache != mine && !cache->seized && READ_ONCE(*cache->busy) == 0;
    if (worth) {
        WRITE_ONCE(cache->seized, true);
        WRITE_ONCE(*cache->self, &cache_none);
    }
    lock_release(&registry.lock);
    return worth;
}

/* True: it is ours, until released. In this order: a thread that was busy then may have left it since. */
static bool holds(const struct cache *cache)
{
    lock_acquire(&registry.lock);
    bool ours = READ_ONCE(*cache->busy) == 0 && has_thread(cache) && READ_ONCE(*cache->self) == &cache_none;
    lock_release(&registry.lock);
    return ours;
}

static void release(struct cache *cache, bool emptied)
{
    lock_acquire(&registry.lock);
    if (emptied) {
        cache->epoch = READ_ONCE(recalls);
        WRITE_ONCE(cache->emptied, cache->visits);
    }
    __atomic_store_n(&cache->seized, false, __ATOMIC_RELEASE);
    if (cache->self == &emptier)
        push_warm_locked(cache);
    lock_release(&registry.lock);
}

COLD void thread_drain_others(enum thread_drain what, struct pool_news *news,
                              void (*tell)(struct pool_news *))
{
    struct cache *cache = __atomic_load_n(&registry.made, __ATOMIC_ACQUIRE);
    for (; cache != NULL && restart_possible(); cache = cache->made) {
        if ((what == THREAD_IDLE && !looks_idle(cache)) || !seize(cache, what))
            continue;
        bool ours = restart_barrier() && holds(cache);
        if (ours) {
            if (what == THREAD_WAITING_TOO)
                cache_end_wait(cache, news);
            cache_drain_all(cache, news);
            tell(news);
        }
        release(cache, ours);
    }
}

bool thread_others_hold(void)
{
    struct cache *cache = __atomic_load_n(&registry.made, __ATOMIC_ACQUIRE);
    while (cache != NULL && (cache == mine || !may_hold(cache)))
        cache = cache->made;
    return cache != NULL && restart_possible();
}

void thread_recall(void)
{
    __atomic_fetch_add(&recalls, 1, __ATOMIC_RELAXED);
    lock_acquire(&registry.lock);
    for (struct cache *cache = registry.made; cache != NULL; cache = cache->made) {
        struct cache **self = READ_ONCE(cache->self); /* its thread may leave it right now */
        if (self != NULL)
            WRITE_ONCE(*self, &cache_none);
    }
    lock_release(&registry.lock);
}

bool thread_recalled(struct cache *cache)
{
    uint32_t now = READ_ONCE(recalls);
    bool recalled = cache->epoch != now;
    cache->epoch = now;
    return recalled;
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

COLD void thread_adopt_orphans(struct pool_news *news)
{
    for (struct cache *cache = registry.made; cache != NULL; cache = cache->made) {
        cache->seized = false;
        if (cache != mine && cache->self != NULL)
            empty(cache, news);
    }
    registry.left = NULL; /* all of them were orphans */
    registry.living = 0;
    count_locked(mine != NULL);
}
