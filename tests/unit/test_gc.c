#include "gc.h"

#include "fake_system.h"
#include "fault.h"
#include "heap.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 512, MANY = 12000 }; /* few enough for a depot to keep some (pool_passed) */
static void *block[MANY];
static struct pool *pool;

static void start(void)
{
    setenv("TARN_MISUSE", "ignore", 1);
    heap_start();
    pool = &pools[class_of(SIZE)];
}

TestSuite(gc, .init = start);

static struct region_stats region_now(void)
{
    struct region_stats s;
    region_stats(&s);
    return s;
}

static void alloc_many(void)
{
    for (int i = 0; i < MANY; i++)
        cr_assert_not_null(block[i] = heap_alloc(SIZE));
}

static void free_many(void)
{
    for (int i = 0; i < MANY; i++)
        heap_free(block[i], "free");
}

Test(gc, gives_everything_back_that_is_free)
{
    alloc_many();
    free_many();
    void *large = heap_alloc(1 << 22);
    heap_free(large, "free");
    cr_assert_gt(cache_held(thread_cache(), pool->id), 0);
    cr_assert_gt(pool->depot_count, 0);
    cr_assert_geq(gc_run(), (size_t)MANY * SIZE);
    cr_assert_eq(cache_held(thread_cache(), pool->id), 0);
    cr_assert_eq(pool->depot_count, 0);
    cr_assert_eq(pool->allocated, 0);
    cr_assert_eq(pool->used, 0);
    cr_assert_eq(region_now().taken, 0);
    cr_assert_eq(region_now().dirty, 0);
    cr_assert_eq(gc_run(), 0);
    heap_check();
}

Test(gc, leaves_what_is_in_use)
{
    alloc_many();
    for (int i = 0; i < MANY; i++)
        memset(block[i], i & 0xFF, SIZE);
    for (int i = 0; i < MANY; i += 2)
        heap_free(block[i], "free");
    gc_run();
    cr_assert_eq(pool->used, MANY / 2);
    for (int i = 1; i < MANY; i += 2)
        for (int k = 0; k < SIZE; k += 73)
            cr_assert_eq(((unsigned char *)block[i])[k], i & 0xFF);
    heap_check();
}

Test(gc_minavail, is_kept_by_a_collection)
{
    setenv("TARN_MINAVAIL", "512:1000,64:1", 1);
    start();
    alloc_many();
    free_many();
    gc_run();
    uint64_t blocks = class_table[pool->id].blocks;
    cr_assert_eq(pool->minavail, 1000);
    cr_assert_geq(pool->allocated, 1000);
    cr_assert_lt(pool->allocated, 1000 + blocks);
    cr_assert_eq(pool->used, 0);
}

/* ---- wishes ---- */

Test(gc, a_wish_is_served_by_the_next_call_of_the_same_thread)
{
    alloc_many();
    free_many();
    gc_request();
    cr_assert_gt(pool->allocated, 0); /* not yet */
    heap_free(heap_alloc(16), "free");
    cr_assert_eq(pool->allocated, 0);
    cr_assert_eq(region_now().dirty, 0);
    size_t discards = fake_discards();
    heap_free(heap_alloc(SIZE), "free");
    cr_assert_eq(fake_discards(), discards); /* once is enough */
}

static void *wish(void *unused)
{
    heap_alloc(16);
    gc_request();
    return unused;
}

static void *allocate(void *unused)
{
    heap_alloc(32);
    return unused;
}

Test(gc, a_wish_is_served_by_any_threads_slow_path)
{
    pthread_t thread;
    alloc_many();
    free_many();
    pthread_create(&thread, NULL, wish, NULL);
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, allocate, NULL);
    pthread_join(thread, NULL);
    cr_assert_eq(pool->depot_count, 0);
    cr_assert_eq(region_now().dirty, 0);
}

/* ---- other threads' caches ---- */

static pthread_barrier_t hoarded, collected, drained;

/* Leaves cached blocks all over the place, so that they pin nearly every slab. */
static void *hoard(void *next_is_free)
{
    enum { STRIDE = 7919 };
    void *one = heap_alloc(SIZE);
    alloc_many();
    for (int i = 0; i < MANY; i++)
        heap_free(block[(long)i * STRIDE % MANY], "free");
    pthread_barrier_wait(&hoarded);
    pthread_barrier_wait(&collected);
    if (next_is_free != NULL)
        heap_free(one, "free");
    else
        heap_alloc(32);
    pthread_barrier_wait(&drained);
    pthread_barrier_wait(&drained);
    return NULL;
}

/* What the other thread had cached keeps no slab after its next call. */
static void check_that_others_drain(void *next_is_free)
{
    pthread_t thread;
    pthread_barrier_init(&hoarded, NULL, 2);
    pthread_barrier_init(&collected, NULL, 2);
    pthread_barrier_init(&drained, NULL, 2);
    pthread_create(&thread, NULL, hoard, next_is_free);
    pthread_barrier_wait(&hoarded);
    uint64_t before = pool->used;
    cr_assert_gt(before, 100);
    gc_run();
    if (!restart_possible()) { /* it has not called yet */
        cr_assert_eq(pool->used, before);
        cr_assert_gt(pool->slabs, 50);
    } else { /* it is asleep */
        cr_assert_leq(pool->used, 1);
        cr_assert_leq(pool->slabs, 1);
    }
    pthread_barrier_wait(&collected);
    pthread_barrier_wait(&drained);
    cr_assert_leq(pool->used, 1 + 1);
    cr_assert_leq(pool->slabs, 2);
    heap_check();
    pthread_barrier_wait(&drained);
    pthread_join(thread, NULL);
}

Test(gc, other_threads_drain_at_their_next_malloc)
{
    check_that_others_drain(NULL);
}

Test(gc, other_threads_drain_at_their_next_free)
{
    check_that_others_drain(block);
}

Test(gc, drains_what_dead_threads_left)
{
    pthread_t thread;
    for (int i = 0; i < 3; i++) {
        pthread_create(&thread, NULL, allocate, NULL);
        pthread_join(thread, NULL);
    }
    gc_run();
    cr_assert_eq(pools[class_of(32)].used, 3);
}

/* ---- turns ---- */

static size_t given_back;
static bool second_done;

static void *collect(void *unused)
{
    given_back = gc_run();
    return unused;
}

static void *collect_second(void *unused)
{
    gc_run();
    __atomic_store_n(&second_done, true, __ATOMIC_RELEASE);
    return unused;
}

static void wait_at_gate(size_t count)
{
    while (fake_waiting() < count)
        usleep(1000);
}

Test(gc, who_comes_second_waits_and_does_not_collect_again)
{
    pthread_t first, second;
    alloc_many();
    free_many();
    fake_gate(true);
    pthread_create(&first, NULL, collect, NULL);
    wait_at_gate(1);
    pthread_create(&second, NULL, collect_second, NULL);
    usleep(50000);
    cr_assert_not(__atomic_load_n(&second_done, __ATOMIC_ACQUIRE));
    cr_assert_eq(fake_waiting(), 1); /* it does not collect either */
    fake_gate(false);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    cr_assert_gt(given_back, 0);
    gc_run(); /* a turn can be taken again */
    heap_check();
}

/* HAProxy's second caller returned at once, and failed although memory was about to come. */
Test(gc, an_allocation_that_fails_meanwhile_waits_and_then_succeeds)
{
    pthread_t first;
    void *result;
    alloc_many();
    region_limit(region_now().taken);
    free_many();
    fake_gate(true);
    pthread_create(&first, NULL, collect, NULL);
    wait_at_gate(1);
    pthread_t second;
    pthread_create(&second, NULL, (void *(*)(void *))(uintptr_t)heap_alloc, (void *)(uintptr_t)(1 << 22));
    usleep(50000);
    fake_gate(false);
    pthread_join(first, NULL);
    pthread_join(second, &result);
    cr_assert_not_null(result);
}

/* ---- the helper ---- */

static void *tend(void *unused)
{
    gc_tend(GC_FOREVER, 0);
    return unused;
}

/* What lies spare when nobody calls goes without anybody calling. */
Test(gc, the_helper_gives_back_what_an_idle_program_left, .timeout = 20)
{
    pthread_t thread;
    alloc_many();
    free_many();
    cr_assert_gt(pool->depot_count, 0);
    heap_free(heap_alloc(1 << 22), "free");
    pthread_create(&thread, NULL, tend, NULL);
    gc_spare(); /* rings, if it sleeps already */
    pthread_join(thread, NULL);
    cr_assert_eq(pool->depot_count, 0);
    cr_assert_eq(region_now().dirty, 0);
    heap_alloc(32); /* this thread was asked for what it holds, too */
    cr_assert_eq(pool->allocated, 0);
    heap_check();
}

Test(gc, the_helper_serves_a_wish, .timeout = 20)
{
    pthread_t thread;
    alloc_many();
    free_many();
    pthread_create(&thread, NULL, tend, NULL);
    gc_request();
    pthread_join(thread, NULL);
    cr_assert_eq(pool->depot_count, 0);
    cr_assert_eq(region_now().dirty, 0);
}

static void *tend_for_ever(void *unused)
{
    for (;;)
        gc_tend(GC_FOREVER, 0);
    return unused;
}

/* mlockall: the kernel keeps locked pages. The helper tries, and then sleeps until there is more to give. */
Test(gc, the_helper_does_not_insist_on_what_the_kernel_refuses, .timeout = 20)
{
    pthread_t thread;
    alloc_many();
    free_many();
    heap_free(heap_alloc(1 << 22), "free");
    fake_refuse(0, SIZE_MAX);
    pthread_create(&thread, NULL, tend_for_ever, NULL);
    for (size_t refused = 0; refused == 0 || fake_refused() != refused;
         sleep(1)) /* till a second without a try */
        refused = fake_refused();
    cr_assert_gt(region_now().dirty, 0);
}

/* Small blocks freed at random: what caches and the depot hold pins the slabs, so next to nothing is spare by itself. */
Test(gc, a_helper_is_wanted_where_much_is_spare_or_loose)
{
    static void *more[MANY];
    alloc_many();
    free_many();
    cr_assert_not(gc_wants_helper()); /* nobody is there to make it */
    gc_run();
    gc_advertise();
    alloc_many();
    for (int i = 0; i < MANY; i++)
        more[i] = heap_alloc(SIZE);
    cr_assert_not(gc_wants_helper());
    for (int i = 0; i < MANY; i += 16)
        heap_free(block[i], "free");
    cr_assert_not(gc_wants_helper());
    for (int i = 0; i < MANY; i++) {
        if (i % 16 != 0 && i % 127 != 0)
            heap_free(block[i], "free");
        if (i % 127 != 0)
            heap_free(more[i], "free");
    }
    cr_assert_lt(region_now().dirty, 8 << 20);
    gc_spare();
    cr_assert(gc_wants_helper());
}

/* A collection says how much of that can't be given back. */
Test(gc, the_helper_goes_when_nothing_comes_up_or_it_is_dismissed)
{
    alloc_many();
    for (int i = 0; i < MANY; i++)
        if (i % 8 != 0)
            heap_free(block[i], "free");
    cr_assert(gc_tend(GC_FOREVER, 1 << 20));
    cr_assert_not(gc_tend(1, 1 << 20));
    gc_dismiss();
    cr_assert_not(gc_tend(GC_FOREVER, 0));
    gc_advertise();
    heap_free(heap_alloc(1 << 24), "free");
    cr_assert(gc_wants_helper());
    cr_assert(gc_tend(GC_FOREVER, 1 << 20));
    cr_assert_not(gc_wants_helper());
}

/* ---- news ---- */

Test(gc, news_releases_slabs_and_reports_bad_pointers)
{
    struct pool_news news;
    pool_news_init(&news);
    void *p = heap_alloc(SIZE), *q = heap_alloc(SIZE);
    size_t taken = region_now().taken;
    struct slab *s = region_claim_slab(pool->id);
    list_push(&news.surplus, &s->link);
    news.bad_count = 3;
    news.bad[0].pool = news.bad[1].pool = news.bad[2].pool = pool->id;
    news.bad[0].block = p;
    news.bad[0].verdict = SLAB_NOT_OUT;
    news.bad[1].block = (char *)q + 16;
    news.bad[1].verdict = news.bad[2].verdict = SLAB_MISALIGNED;
    news.bad[2].block = (char *)q + 32;
    gc_news(&news);
    cr_assert_eq(region_now().taken, taken);
    cr_assert_eq(fault_count(FAULT_TWICE), 1);
    cr_assert_eq(fault_count(FAULT_INSIDE), 2);
    cr_assert(list_empty(&news.surplus) && news.bad_count == 0); /* ready to be used again */
    gc_news(&news);
    cr_assert_eq(fault_count(FAULT_TWICE), 1);
}

Test(gc, its_lock_is_forks_to_hold_and_to_renew)
{
    gc_lock();
    gc_unlock();
    gc_lock();
    lock_forget_held();
    gc_reset_lock();
    gc_run();
}
