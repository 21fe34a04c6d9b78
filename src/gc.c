/*
 * A collection: the caller's cache is drained and so are the other threads', but for those that are on a slow path: they
 * drain theirs at their next (each is turned to the empty cache, so that its next malloc or free is one). Every pool's
 * depot goes into its slabs, empty slabs go back to the region, jemalloc's spare pages too, and the region gives all that to
 * the kernel. Nothing of this holds a lock longer than one pool's books take.
 *
 * Draining comes first, because cached blocks pin slabs: some 630 of them, spread at random, kept nearly
 * every slab alive.
 *
 * Nobody calls malloc in a process that idles. Once the program itself has a second thread, preload/ gives it one of
 * ours, asleep in gc_tend until there is something to give back or a signal wishes for it.
 *
 * What a sleeping thread's cache holds goes too, though nobody but its thread may touch it, and that might be anywhere in
 * malloc's hot path: restart.h makes sure that it is not (1000 threads that allocated a bit of everything and went to
 * sleep: 82 -> 13 KB each). The helper empties whoever was on no slow path for a second, while others work.
 *
 * Who needs memory while another collects waits for it and tries again: failing then would be a spurious
 * NULL, since that collection is about to free memory. HAProxy's second caller returns at once, and fails.
 */
#include "gc.h"

#include "check.h"
#include "fault.h"
#include "large.h"
#include "lock.h"
#include "region.h"
#include "thread.h"

#include <semaphore.h>
#include <time.h>

static struct {
    struct lock lock;
    pthread_cond_t done;
    bool running;
    uint32_t turn;   /* collections begun */
    bool wished;     /* gc_request */
    bool dozing;     /* the helper sleeps until the bell rings */
    size_t stubborn; /* spare bytes that a whole collection could not give back */
    sem_t bell;      /* all zeroes is a semaphore at 0, in glibc */
} gc = {.lock = LOCK_INITIALIZER(LOCK_GC), .done = PTHREAD_COND_INITIALIZER};

static void report_bad(const struct pool_news *news)
{
    unsigned named = news->bad_count < POOL_NEWS ? news->bad_count : POOL_NEWS;
    for (unsigned i = 0; i < named; i++) {
        void *block = news->bad[i].block;
        bool misaligned = news->bad[i].verdict == SLAB_MISALIGNED;
        fault_report(&(struct fault){
            .kind = misaligned ? FAULT_INSIDE : FAULT_TWICE,
            .call = "flush",
            .pointer = block,
            .pool_size = pools[news->bad[i].pool].size,
            .pool = pools[news->bad[i].pool].name,
            .expected = misaligned ? slab_block_of(region_slab(block), block) : block,
        });
    }
}

void gc_news(struct pool_news *news)
{
    while (!list_empty(&news->surplus)) {
        struct list *l = news->surplus.next;
        list_remove(l);
        region_release_slab(container_of(l, struct slab, link));
    }
    if (unlikely(news->bad_count > 0))
        report_bad(news);
    if (unlikely(READ_ONCE(gc.dozing)))
        gc_spare();
    pool_news_init(news);
}

/* From the cache (NULL: none) and the depots into the slabs, class by class: full magazines that stayed in a depot
   would pin them. */
static void drain(struct cache *cache)
{
    struct pool_news news;
    pool_news_init(&news);
    EACH_CLASS (c) {
        if (cache != NULL)
            cache_drain(cache, c, &news);
        pool_collect(&pools[c], READ_ONCE(pools[c].minavail), &news);
        gc_news(&news);
    }
}

static size_t collect(void)
{
    struct pool_news news;
    pool_news_init(&news);
    struct cache *cache = thread_own();
    thread_recall();
    if (cache != NULL)
        thread_recalled(cache);
    thread_drain_idle(&news);
    gc_news(&news);
    thread_drain_others(false, &news, gc_news);
    drain(cache);
    large_purge();
    size_t bytes = region_purge(0);
    if (region.room != SIZE_MAX)
        region_shrink();
    return bytes;
}

/* Ours to collect? If another does, waits until it has done. */
static bool take_turn(void)
{
    lock_acquire(&gc.lock);
    bool ours = !gc.running;
    if (ours) {
        gc.running = true;
        WRITE_ONCE(gc.turn, gc.turn + 1);
        WRITE_ONCE(gc.wished, false);
    }
    uint32_t turn = gc.turn;
    while (!ours && gc.running && gc.turn == turn)
        lock_wait(&gc.lock, &gc.done);
    lock_release(&gc.lock);
    return ours;
}

static void end_turn(void)
{
    lock_acquire(&gc.lock);
    gc.running = false;
    pthread_cond_broadcast(&gc.done);
    lock_release(&gc.lock);
}

size_t gc_run(void)
{
    debug_check(lock_none_held());
    size_t bytes = 0;
    thread_enter();
    if (take_turn()) {
        bytes = collect();
        end_turn();
    }
    thread_leave();
    return bytes;
}

void gc_request(void)
{
    WRITE_ONCE(gc.wished, true);
    thread_recall_self();
    sem_post(&gc.bell);
}

/* ---- the helper thread ------------------------------------------------------------------------------ */

enum {
    TICK = 200,       /* ms: region_tidy's period */
    TICKS_AWAKE = 10, /* after the last bell */
    TICKS_IDLE = 5    /* so long a thread is on no slow path whose cache is emptied though others work */
};

static size_t spare_bytes(void)
{
    struct region_stats region;
    struct large_stats large;
    region_stats(&region);
    large_stats(&large);
    return region.dirty + (large.held > large.bytes ? large.held - large.bytes : 0);
}

static bool much_is_spare(void)
{
    return spare_bytes() > READ_ONCE(gc.stubborn);
}

/* Everything that can be given back. What then remains (mlockall: the kernel keeps locked pages) is not tried again
   until there is more of it: else the helper would never sleep, and empty everybody's caches five times a second. */
static void give_all(void)
{
    size_t given = gc_run(), left = spare_bytes();
    if (given == 0)
        WRITE_ONCE(gc.stubborn, left);
}

static void ring(void)
{
    if (__atomic_exchange_n(&gc.dozing, false, __ATOMIC_SEQ_CST))
        sem_post(&gc.bell);
}

void gc_spare(void)
{
    if (__atomic_load_n(&gc.dozing, __ATOMIC_SEQ_CST) && much_is_spare())
        ring();
}

/* Until the bell. What became spare just before `dozing` was set rang no bell: hence the look in between. */
static void doze(void)
{
    __atomic_store_n(&gc.dozing, true, __ATOMIC_SEQ_CST);
    if (!much_is_spare())
        while (sem_wait(&gc.bell) != 0)
            continue; /* EINTR: a debugger's doing, the helper takes no signals */
    __atomic_store_n(&gc.dozing, false, __ATOMIC_SEQ_CST);
}

/* A tick, or less if the bell rings; true if it did. */
static bool nap(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    return sem_clockwait(&gc.bell, CLOCK_MONOTONIC, &until) == 0;
}

/* What changes whenever blocks pass between threads and pools. */
static uint64_t activity(void)
{
    struct large_stats large;
    large_stats(&large);
    uint64_t sum = large.bytes;
    EACH_CLASS (c)
        sum = sum * 31 + READ_ONCE(pools[c].used);
    return sum;
}

static bool anything_to_do(void)
{
    return much_is_spare() || READ_ONCE(gc.wished) || thread_others_hold();
}

static void empty_idle(void)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_enter();
    thread_drain_others(true, &news, gc_news);
    thread_leave();
}

/*
 * While a program works, what lies spare for a few ticks goes; when nothing has moved for a tick, all goes, depots
 * included, and the threads are asked for what their caches hold when they next come by.
 */
void gc_tend(void)
{
    doze();
    WRITE_ONCE(gc.stubborn, 0);
    uint64_t before = activity();
    for (int ticks = 0; ticks < TICKS_AWAKE && anything_to_do(); ticks++) {
        gc_attend(NULL);
        bool rung = nap();
        uint64_t now = activity();
        if (!rung && now == before)
            give_all();
        else if (ticks % TICKS_IDLE == TICKS_IDLE - 1)
            empty_idle();
        ticks = rung ? 0 : ticks;
        before = now;
    }
}

/* ---- everybody's part ------------------------------------------------------------------------------- */

void gc_attend(struct cache *cache)
{
    if (unlikely(READ_ONCE(gc.dozing)))
        ring();
    if (unlikely(READ_ONCE(gc.wished)))
        gc_run();
    if (unlikely(region_untidy()))
        region_tidy();
    if (cache != NULL && unlikely(thread_recalled(cache)))
        drain(cache);
}

void gc_lock(void)
{
    lock_acquire(&gc.lock);
}

void gc_unlock(void)
{
    lock_release(&gc.lock);
}

/* The child of a fork has one thread, and that one is not collecting. */
void gc_reset_lock(void)
{
    lock_init(&gc.lock, LOCK_GC, 0);
    gc.done = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    gc.running = false;
    gc.dozing = false;
    sem_init(&gc.bell, 0, 0);
}
