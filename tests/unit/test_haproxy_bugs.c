/*
 * Bugs that HAProxy's pools had, and tarn's have not: its sentences 1-6 and 8-10 of 1.13.
 *
 * Not tested as written:
 *     1    kernel calls under a spin lock    never: bug_4 here, A4 in test_haproxy_alloc.c
 *     5    blocks that the lockless one lost no list is lockless; that none is lost: bug_2, bug_3, and with threads
 *                                            that free each other's tests/stress/stress_pools.c
 *     7    limit hits uncounted              test_haproxy_refill.c
 *     8    trim stops the world              nobody is stopped or waited for
 *     10   a head used after its end         heads are static
 */
#include "../tools/one_pool.h"
#include "gc.h"
#include "meta.h"

#include <pthread.h>

TestSuite(haproxy_bugs, .init = start_pool, .timeout = 30);

static bool stop;

static void *hammer(void *from)
{
    static __thread unsigned char *held[200];
    for (unsigned char round = 1; !__atomic_load_n(&stop, __ATOMIC_RELAXED); round++) {
        size_t got = alloc_many(from, (void **)held, 200);
        for (size_t i = 0; i < got; i++)
            memset(held[i], round, ROUNDED);
        for (size_t i = 0; i < got; i++)
            if (held[i][0] != round || held[i][ROUNDED - 1] != round)
                return from;
        free_many(from, (void **)held, got);
    }
    return NULL;
}

/* Two threads that hammer the pool while `act` runs `times` times. */
static void while_hammered(void (*act)(void), int times)
{
    pthread_t thread[2];
    void *spoilt;
    for (int i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, hammer, pool);
    for (int i = 0; i < times; i++)
        act();
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], &spoilt);
        cr_assert_null(spoilt);
    }
    cr_assert_eq(pool_now(pool).used, 0);
    tarn_gc();
    tarn_pool_flush(pool);
    cr_assert_eq(pool_now(pool).allocated, 0); /* no block is lost */
    heap_check();
}

static void collect_once(void)
{
    tarn_gc();
}

static void flush_once(void)
{
    tarn_pool_flush(pool);
}

Test(haproxy_bugs, bug_2_collections_walk_over_no_slab_that_is_gone)
{
    while_hammered(collect_once, 200);
}

Test(haproxy_bugs, bug_3_a_flush_ends_while_others_fill_the_pool)
{
    while_hammered(flush_once, 500);
}

static void *collect(void *unused)
{
    tarn_gc();
    return unused;
}

/* The gate holds one who waits for the kernel; with a lock held, the others would stand too. */
Test(haproxy_bugs, bug_4_nobody_waits_for_who_asks_the_kernel)
{
    pthread_t slow;
    struct tarn_pool *limited = tarn_pool_create("limited", SIZE, 0, 0);
    tarn_pool_set_limit(limited, MANY);
    struct tarn_pool *both[] = {pool, limited};
    for (int i = 0; i < 2; i++) {
        tarn_pool_free(both[i], tarn_pool_alloc(both[i]));
        while (tarn_pool_get_first(both[i]) != NULL)
            continue;
        void *p = tarn_pool_alloc(both[i]);
        tarn_pool_flush(both[i]);
        fake_gate(true);
        pthread_create(&slow, NULL, collect, NULL);
        for (int k = 0; k < 50; k++) {
            tarn_pool_free(both[i], p);
            cr_assert_not_null(p = tarn_pool_alloc(both[i]));
            cr_assert_gt(pool_now(both[i]).used, 0);
        }
        fake_gate(false);
        pthread_join(slow, NULL);
    }
}

/* A collector that is preempted with a pool's last slab in hand, while the pool ends and its place gets another size. */
Test(haproxy_bugs, bug_5_a_slab_on_its_way_may_outlive_its_pool)
{
    size_t books = 0;
    for (int round = 0; round < 3; round++) {
        struct tarn_pool *mayfly = tarn_pool_create("mayfly", 16, 0, 0);
        void *p = tarn_pool_alloc(mayfly);
        unsigned class = (unsigned)region_class(p);
        struct pool_news news;
        pool_news_init(&news);
        tarn_pool_free(mayfly, p);
        cache_drain(thread_own(), class, &news);
        pool_collect(&pools[class], 0, &news);
        cr_assert_not(list_empty(&news.surplus));
        cr_assert_null(tarn_pool_destroy(mayfly));
        struct tarn_pool *next = tarn_pool_create("next", 4000, 0, 0);
        cr_assert_eq(region_class(p = tarn_pool_alloc(next)), class);
        gc_news(&news);
        tarn_pool_free(next, p);
        cr_assert_null(tarn_pool_destroy(next));
        if (round > 0)
            cr_assert_eq(meta_used(), books);
        books = meta_used();
    }
    heap_check();
}

Test(haproxy_bugs, bug_6_a_flush_of_an_empty_pool_leaves_no_mark)
{
    for (int i = 0; i < 100; i++) {
        tarn_pool_flush(pool);
        tarn_pool_flush(pool);
        void *p = tarn_pool_alloc(pool);
        cr_assert_not_null(p);
        tarn_pool_flush(pool); /* its slab is not empty */
        tarn_pool_free(pool, p);
    }
    cr_assert_eq(pool_now(pool).used, 0);
}

static pthread_mutex_t users = PTHREAD_MUTEX_INITIALIZER;

static void *alloc_under_lock(void *from)
{
    void *p = tarn_pool_alloc(from);
    pthread_mutex_lock(&users);
    tarn_pool_free(from, p);
    pthread_mutex_unlock(&users);
    return NULL;
}

Test(haproxy_bugs, bug_8_a_collection_waits_for_no_thread)
{
    pthread_t thread;
    pthread_mutex_lock(&users);
    pthread_create(&thread, NULL, alloc_under_lock, pool);
    while (pool_now(pool).used == 0)
        usleep(1000);
    tarn_gc();
    tarn_pool_flush(pool);
    pthread_mutex_unlock(&users);
    pthread_join(thread, NULL);
    cr_assert_eq(pool_now(pool).used, 0);
}

static size_t cached_bytes(const char *budget)
{
    setenv("TARN_CACHE", budget, 1);
    start_pool();
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    unsigned class = (unsigned)region_class(block[0]);
    size_t most = 0;
    for (int i = 0; i < MANY; i++) {
        tarn_pool_free(pool, block[i]);
        size_t now = cache_held(thread_own(), class) * ROUNDED;
        most = now > most ? now : most;
    }
    return most;
}

Test(haproxy_bugs_cache, bug_9_no_thread_keeps_more_than_it_may)
{
    cr_assert_leq(cached_bytes("0"), UNIT);
}

Test(haproxy_bugs_cache, bug_9_and_keeps_that)
{
    size_t bytes = cached_bytes("1M");
    cr_assert_gt(bytes, UNIT);
    cr_assert_leq(bytes, 4 * UNIT);
}

Test(haproxy_bugs, bug_10_heads_lie_on_lines_of_their_own)
{
    EACH_CLASS (c) {
        cr_assert_eq((uintptr_t)&pools[c].lock % CACHE_LINE, 0);
        cr_assert_eq((uintptr_t)&pools[c] % CACHE_LINE, 0);
    }
}
