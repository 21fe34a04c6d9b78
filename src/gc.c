/*
 * A collection: the caller's cache is drained, the other threads are asked to drain theirs at their next miss
 * (each is turned to the empty cache, so that its next malloc or free is one), every pool's depot goes into
 * its slabs, empty slabs go back to the region, jemalloc's spare pages too, and the region gives all that to
 * the kernel. Nothing of this holds a lock longer than one pool's books take.
 *
 * Draining comes first, because cached blocks pin slabs: some 630 of them, spread at random, kept nearly
 * every slab alive.
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

static struct {
    struct lock lock;
    pthread_cond_t done;
    bool running;
    uint32_t turn; /* collections begun */
    bool wished;   /* gc_request */
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
            .pool_size = class_table[news->pool].size,
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
    pool_news_init(news);
}

static void drain(struct cache *cache)
{
    struct pool_news news;
    pool_news_init(&news);
    for (unsigned c = 1; c <= class_count; c++) {
        cache_drain(cache, c, &news);
        gc_news(&news);
    }
}

static size_t collect(void)
{
    struct pool_news news;
    pool_news_init(&news);
    struct cache *cache = thread_cache();
    if (cache != NULL) {
        cache->epoch = READ_ONCE(gc.turn);
        drain(cache);
    }
    thread_recall();
    thread_drain_idle(&news);
    gc_news(&news);
    for (unsigned c = 1; c <= class_count; c++) {
        pool_collect(&pools[c], &news);
        gc_news(&news);
    }
    large_purge();
    return region_purge(0);
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
    if (!take_turn())
        return 0;
    size_t bytes = collect();
    end_turn();
    return bytes;
}

void gc_request(void)
{
    WRITE_ONCE(gc.wished, true);
    thread_recall_self();
}

void gc_attend(struct cache *cache)
{
    if (unlikely(READ_ONCE(gc.wished)))
        gc_run();
    if (unlikely(region_untidy()))
        region_tidy();
    if (cache != NULL && unlikely(cache->epoch != READ_ONCE(gc.turn))) {
        cache->epoch = READ_ONCE(gc.turn);
        drain(cache);
    }
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
}
