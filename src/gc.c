/*
 * A collection: the caller's cache is drained and so are the other threads', but for those that are on a slow path: they
 * drain theirs at their next (each is turned to the empty cache, so that its next malloc or free is one). Every pool's
 * depot goes into its slabs, empty slabs go back to the region, jemalloc's spare pages too, and the region gives all
 * that to the kernel. Nothing of this holds a lock longer than one pool's books take.
 *
 * Draining comes first, because cached blocks pin slabs: some 630 of them, spread at random, kept nearly
 * every slab alive.
 *
 * Nobody calls malloc in a process that idles. Once the program itself has a second thread, preload/ gives it one of
 * ours, asleep in gc_tend until there is something to give back or a signal wishes for it; a program with one thread
 * gets it when much is spare, and for as long as there is something to give.
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
#include "thin.h"
#include "thread.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>

/* Who looks after spare memory. */
enum watch {
    WATCH_NONE,   /* no helper, and none is to be made; or it is awake */
    WATCH_DOZING, /* the helper sleeps until the bell rings */
    WATCH_VACANT, /* no helper: if much is spare, one is wanted */
    WATCH_WANTED
};

static struct {
    struct lock lock;
    pthread_cond_t done;
    bool running;
    uint32_t turn; /* collections begun */
    bool wished;   /* gc_request */
    enum watch watch;
    bool dismissed;  /* the helper is to go */
    size_t enough;   /* the helper is called for more than these spare bytes */
    size_t loose;    /* bytes in depots and slabs that the last collection left */
    size_t stubborn; /* spare bytes that a whole collection could not give back */
    sem_t bell;      /* all zeroes is a semaphore at 0, in glibc */
} gc = {.lock = LOCK_INITIALIZER(LOCK_GC), .done = PTHREAD_COND_INITIALIZER};

static COLD void report_bad(const struct pool_news *news)
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
            .expected = news->bad[i].start,
        });
    }
}

void gc_news(struct pool_news *news)
{
    bool more = !list_empty(&news->surplus);
    while (!list_empty(&news->surplus)) {
        struct list *l = news->surplus.next;
        list_remove(l);
        region_release_slab(container_of(l, struct slab, link));
    }
    if (unlikely(news->bad_count > 0))
        report_bad(news);
    if (unlikely(more))
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

/* Free blocks in depots and slabs. */
static COLD size_t loose_bytes(void)
{
    size_t bytes = 0;
    EACH_CLASS (c) {
        uint64_t allocated = READ_ONCE(pools[c].allocated), used = READ_ONCE(pools[c].used);
        bytes += allocated > used ? (allocated - used) * READ_ONCE(class_table[c].size) : 0;
    }
    return bytes;
}

static size_t collect(bool waiting_too)
{
    struct pool_news news;
    pool_news_init(&news);
    struct cache *cache = thread_own();
    thread_recall();
    if (cache != NULL)
        thread_recalled(cache);
    if (cache != NULL && waiting_too)
        cache_end_wait(cache, &news);
    thread_drain_idle(&news);
    gc_news(&news);
    thread_drain_others(waiting_too ? THREAD_WAITING_TOO : THREAD_ALL, &news, gc_news);
    drain(cache);
    large_purge();
    size_t bytes = region_purge(0);
    EACH_CLASS (c)
        bytes += thin_pool(&pools[c]);
    WRITE_ONCE(gc.loose, loose_bytes());
    if (READ_ONCE(region.room) != SIZE_MAX)
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

static size_t run(bool waiting_too)
{
    debug_check(lock_none_held());
    size_t bytes = 0;
    thread_enter();
    if (take_turn()) {
        bytes = collect(waiting_too);
        end_turn();
    }
    thread_leave();
    return bytes;
}

size_t gc_run(void)
{
    return run(true);
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
    TICKS_IDLE = 5,   /* so long a thread is on no slow path whose cache is emptied though others work */
    LOOSE_MIN = 1024 * 1024, /* bytes of free blocks that are worth a collection */
    WANTED_AT = 8192 * 1024  /* spare bytes that are worth a thread */
};

static size_t spare_bytes(void)
{
    struct region_stats region;
    struct large_stats large;
    region_stats(&region);
    large_stats(&large);
    return region.dirty + (large.held > large.bytes ? large.held - large.bytes : 0);
}

/* Free blocks, in bytes, that came to those which the last collection could not give back. The fewest that there were
   since are what count. */
static size_t loosened(void)
{
    size_t now = loose_bytes(), left = READ_ONCE(gc.loose);
    if (now < left)
        WRITE_ONCE(gc.loose, now);
    return now > left ? now - left : 0;
}

/* More than `enough`, and what can't be given back? Free blocks may pin each other's slabs: of 60 MB of small ones that
   were freed at random, the last 2776 that caches and the depot held kept nine tenths of the slabs. */
static COLD bool is_spare(size_t enough)
{
    return spare_bytes() > READ_ONCE(gc.stubborn) + enough ||
           loosened() > (enough < LOOSE_MIN ? LOOSE_MIN : enough);
}

/* Everything that can be given back; unwished for, what waits in quarantine goes on waiting. What then remains
   (mlockall: the kernel keeps locked pages) is not tried again until there is more of it: else the helper would
   never sleep, and empty everybody's caches five times a second. */
static void give_all(void)
{
    size_t given = run(READ_ONCE(gc.wished)), left = spare_bytes();
    if (given == 0)
        WRITE_ONCE(gc.stubborn, left);
}

static bool move_watch(enum watch from, enum watch to)
{
    return __atomic_compare_exchange_n(&gc.watch, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static void wake(void)
{
    if (move_watch(WATCH_DOZING, WATCH_NONE))
        sem_post(&gc.bell);
}

void gc_spare(void)
{
    enum watch watch = __atomic_load_n(&gc.watch, __ATOMIC_SEQ_CST);
    if (watch == WATCH_DOZING && is_spare(READ_ONCE(gc.enough)))
        wake();
    if (watch == WATCH_VACANT && is_spare(WANTED_AT))
        move_watch(WATCH_VACANT, WATCH_WANTED);
}

void gc_advertise(void)
{
    WRITE_ONCE(gc.dismissed, false);
    __atomic_store_n(&gc.watch, WATCH_VACANT, __ATOMIC_SEQ_CST);
}

bool gc_wants_helper(void)
{
    return READ_ONCE(gc.watch) == WATCH_WANTED;
}

void gc_dismiss(void)
{
    WRITE_ONCE(gc.dismissed, true);
    sem_post(&gc.bell);
}

/* Waits for the bell, `ms` at the most; true if it rang. EINTR is a debugger's doing: the helper takes no signals. */
static COLD bool bell_within(unsigned ms)
{
    struct timespec until;
    int result;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    do
        result = ms == GC_FOREVER ? sem_wait(&gc.bell) : sem_clockwait(&gc.bell, CLOCK_MONOTONIC, &until);
    while (result != 0 && errno == EINTR);
    return result == 0;
}

/* Until the bell; false if it did not ring. What became spare just before this was written down rang no bell: hence the
   look in between. */
static bool doze(unsigned patience, size_t enough)
{
    WRITE_ONCE(gc.enough, enough);
    __atomic_store_n(&gc.watch, WATCH_DOZING, __ATOMIC_SEQ_CST);
    bool called = is_spare(enough) || bell_within(patience);
    __atomic_store_n(&gc.watch, WATCH_NONE, __ATOMIC_SEQ_CST);
    return called;
}

/* What changes whenever blocks pass between threads and pools. */
static COLD uint64_t activity(void)
{
    struct large_stats large;
    large_stats(&large);
    uint64_t sum = large.bytes;
    EACH_CLASS (c)
        sum = sum * 31 + READ_ONCE(pools[c].used);
    return sum;
}

/* A helper that stays looks after the threads' caches as well. */
static bool anything_to_do(size_t enough)
{
    return is_spare(enough) || READ_ONCE(gc.wished) || (enough == 0 && thread_others_hold());
}

static void empty_idle(void)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_enter();
    thread_drain_others(THREAD_IDLE, &news, gc_news);
    thread_leave();
}

/*
 * While a program works, what lies spare for a few ticks goes; when nothing has moved for a tick, all goes, depots
 * included, and the threads are asked for what their caches hold when they next come by.
 */
COLD bool gc_tend(unsigned patience, size_t enough)
{
    if (!doze(patience, enough))
        return false;
    WRITE_ONCE(gc.stubborn, 0);
    uint64_t before = activity();
    for (int ticks = 0; ticks < TICKS_AWAKE && !READ_ONCE(gc.dismissed); ticks++) {
        if (!anything_to_do(enough))
            break;
        gc_attend(NULL);
        bool rung = bell_within(TICK);
        uint64_t now = activity();
        if (!rung && now == before)
            give_all();
        else if (ticks % TICKS_IDLE == TICKS_IDLE - 1)
            empty_idle();
        ticks = rung ? 0 : ticks;
        before = now;
    }
    return !READ_ONCE(gc.dismissed);
}

/* ---- everybody's part ------------------------------------------------------------------------------- */

void gc_attend(struct cache *cache)
{
    if (unlikely(READ_ONCE(gc.watch) == WATCH_DOZING) && READ_ONCE(gc.enough) == 0)
        wake();
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
    gc.watch = WATCH_NONE;
    gc.dismissed = false;
    sem_init(&gc.bell, 0, 0);
}
