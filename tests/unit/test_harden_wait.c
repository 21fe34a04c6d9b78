#include "../tools/harden_session.h"
#include "restart.h"

#include <pthread.h>
#include <sys/wait.h>

TestSuite(harden_wait, .timeout = 60);

Test(harden_wait, a_block_waits_until_others_were_freed)
{
    start_with(HARDEN_QUARANTINE);
    struct cache *cache = thread_cache();
    unsigned c = class_of(32768);
    enum { FIT = QUARANTINE_BYTES / 32768 };
    char *p[FIT + 1];
    for (int i = 0; i <= FIT; i++) {
        cr_expect_null(cache_release(cache));
        p[i] = new_block(&pools[c]);
        cr_expect(cache_detain(cache, c, p[i]));
        cr_expect_eq(cache_held(cache, c), (uint64_t)i + 1);
    }
    cr_expect_eq(cache_release(cache), p[0]);
    cr_expect(thread_drains(c), "it is on its way");
    cr_expect_null(cache_release(cache));
    cr_expect_not(thread_drains(c));
    cr_expect_eq(cache_held(cache, c), FIT);
    struct pool_news news;
    pool_news_init(&news);
    cache_end_wait(cache, &news);
    gc_news(&news);
    cr_expect_eq(cache_held(cache, c) + pools[c].used, 1, "what was released");
    cr_expect_not(thread_drains(c));
}

static void fill_quarantine(unsigned count)
{
    struct pool_news news;
    pool_news_init(&news);
    for (unsigned i = 0; i < count; i++) {
        cr_assert(cache_detain(thread_cache(), pool->id, new_block(pool)));
        for (void *p; (p = cache_release(thread_cache())) != NULL;)
            pool_give_one(&pools[region_class(p)], p, &news);
        gc_news(&news);
    }
}

Test(harden_wait, the_quarantine_is_bounded_in_blocks_too)
{
    start_with(HARDEN_QUARANTINE);
    fill_quarantine(10000);
    cr_expect_geq(pool->used, 2000);
    cr_expect_leq(pool->used, 2100);
    cr_expect_eq(pool->used, 1 + thread_held(pool->id));
}

static void *fill_and_end(void *unused)
{
    fill_quarantine(500);
    return unused;
}

static uint64_t in_warm_caches(void)
{
    struct pool_news news;
    uint64_t held = thread_held(pool->id);
    pool_news_init(&news);
    thread_drain_idle(&news);
    gc_news(&news);
    return held;
}

Test(harden_wait, what_a_thread_leaves_in_quarantine_waits_in_the_next_ones)
{
    start_with(HARDEN_QUARANTINE);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, fill_and_end, NULL);
        pthread_join(thread, NULL);
    }
    cr_expect_eq(in_warm_caches(), 2045);
    cr_expect_eq(pool->used, 1);
}

static pthread_barrier_t filled, done;

static void *fill_and_wait(void *unused)
{
    fill_quarantine(500);
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&done);
    return unused;
}

static void start_who_fills_and_waits(pthread_t *thread)
{
    thread_cache();
    fill_quarantine(5);
    pthread_barrier_init(&filled, NULL, 2);
    pthread_barrier_init(&done, NULL, 2);
    pthread_create(thread, NULL, fill_and_wait, NULL);
    pthread_barrier_wait(&filled);
    cr_expect_eq(pool->used, 1 + 5 + 500);
}

static void leave(pthread_t thread)
{
    pthread_barrier_wait(&done);
    pthread_join(thread, NULL);
}

Test(harden_wait, a_forks_child_takes_over_what_others_detained)
{
    start_with(HARDEN_QUARANTINE);
    pthread_t thread;
    start_who_fills_and_waits(&thread);
    pid_t child = fork();
    if (child == 0) {
        struct pool_news news;
        pool_news_init(&news);
        thread_adopt_orphans(&news);
        gc_news(&news);
        _exit(pool->used == 1 + 5 && thread_held(pool->id) == 5 ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0);
    leave(thread);
}

Test(harden_wait, a_collection_ends_the_wait_of_all_threads_but_no_idle_look_does)
{
    start_with(HARDEN_QUARANTINE);
    pthread_t thread;
    struct pool_news news;
    pool_news_init(&news);
    start_who_fills_and_waits(&thread);
    thread_drain_others(THREAD_IDLE, &news, gc_news);
    thread_drain_others(THREAD_IDLE, &news, gc_news);
    thread_drain_others(THREAD_ALL, &news, gc_news);
    cr_expect_eq(pool->used, 1 + 5 + 500);
    gc_run();
    cr_expect_eq(pool->used, restart_possible() ? 1 : 1 + 500);
    leave(thread);
}
