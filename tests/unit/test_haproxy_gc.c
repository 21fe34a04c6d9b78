/*
 * How memory goes back: HAProxy's sentences FL1-FL2 of 1.7, and G1-G7 of 1.8.
 *
 * Not tested as written:
 *     FL1  allocated == used after a flush   a slab with a used block stays: exact where a slab is one block, else
 *                                            once nothing is used. Other threads flush theirs when they next call
 *     G1   exactly min(minavail, free)       at least that, and less than a slab more
 *     G2   gc skips the lock that is held    none ever is when a collection starts (gc.h: Never); that the asking
 *                                            pool is collected too: R6 in test_haproxy_refill.c
 *     G3   the second collector returns      it waits for the first, and does not collect again
 *     G4   a spurious NULL is possible       it is not
 *     G5   at most two pool locks at once    one: a clash of locks ends a debug build (lock.h)
 *     G6   a signal in free() re-enters gc   a handler only wishes for a collection; tests/victims/signal_storm.c
 *     G7   called by SIGQUIT, by the proxy   and malloc_trim, an idle helper: tests/victims/signal.sh, gc.sh
 */
#include "../tools/one_pool.h"
#include "gc.h"

#include <pthread.h>

TestSuite(haproxy_gc, .init = start_pool, .timeout = 30);

/* Blocks of 4 MiB, each a slab of its own. */
static struct tarn_pool *make_huge(void)
{
    struct tarn_pool *huge = tarn_pool_create("huge", TARN_SIZE_MAX, 0, 0);
    void *p = tarn_pool_alloc(huge);
    cr_assert_eq(pool_now(huge).allocated, 1);
    tarn_pool_free(huge, p);
    tarn_pool_flush(huge);
    cr_assert_eq(pool_now(huge).allocated, 0);
    return huge;
}

static void fill(int from, int to)
{
    for (int i = from; i < to; i++)
        memset(block[i], i & 0xFF, ROUNDED);
}

static void check_filled(int i)
{
    for (int k = 0; k < ROUNDED; k += 53)
        cr_assert_eq(((unsigned char *)block[i])[k], i & 0xFF);
}

/* ---- 1.7: flush ------------------------------------------------------------------------------------- */

Test(haproxy_gc, FL1_flush_gives_back_what_is_free)
{
    tarn_pool_flush(NULL);
    tarn_pool_flush(pool); /* nothing there yet */
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    free_many(pool, block, MANY);
    cr_assert_geq(free_now(pool), 100);
    tarn_pool_flush(pool);
    cr_assert_eq(pool_now(pool).allocated, 0);
    cr_assert_eq(pool_now(pool).slabs, 0);
    cr_assert_eq(errno, ERRNO);
    heap_check();
}

Test(haproxy_gc, FL1_minavail_or_not)
{
    tarn_pool_set_minavail(pool, 1000);
    tarn_pool_free(pool, tarn_pool_refill(pool, 999));
    tarn_gc();
    cr_assert_geq(free_now(pool), 1000);
    tarn_pool_flush(pool);
    cr_assert_eq(pool_now(pool).allocated, 0);
    cr_assert_eq(pool_now(pool).minavail, 1000);
}

Test(haproxy_gc, FL1_allocated_is_used_where_a_slab_is_one_block)
{
    struct tarn_pool *huge = make_huge();
    tarn_pool_set_minavail(huge, 5);
    cr_assert_eq(alloc_many(huge, block, 5), 5);
    for (uint64_t left = 5; left-- > 0;) {
        tarn_pool_free(huge, block[left]);
        tarn_pool_flush(huge);
        cr_assert_eq(pool_now(huge).allocated, left);
        cr_assert_eq(pool_now(huge).used, left);
    }
}

Test(haproxy_gc, FL2_what_is_used_stays_and_can_be_freed)
{
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    fill(0, MANY);
    for (int i = 0; i < MANY; i++)
        if (i % 100 != 0)
            tarn_pool_free(pool, block[i]);
    tarn_pool_flush(pool);
    cr_assert_eq(pool_now(pool).used, MANY / 100);
    cr_assert_leq(pool_now(pool).slabs, MANY / 100);
    for (int i = 0; i < MANY; i += 100) {
        check_filled(i);
        tarn_pool_free(pool, block[i]);
    }
    cr_assert_eq(pool_now(pool).used, 0);
    tarn_pool_flush(pool);
    cr_assert_eq(pool_now(pool).allocated, 0);
    heap_check();
}

/* ---- 1.8: gc ---------------------------------------------------------------------------------------- */

Test(haproxy_gc, G1_minavail_stays_as_far_as_there_is_so_much)
{
    struct tarn_pool *huge = make_huge();
    for (uint64_t minavail = 0; minavail < 12; minavail++) {
        tarn_pool_set_minavail(huge, 8);
        cr_assert_eq(alloc_many(huge, block, 9), 9);
        free_many(huge, block, 8); /* one stays used: the seed's first formula counted it in */
        tarn_pool_set_minavail(huge, minavail);
        cr_assert_geq(tarn_gc() + minavail, 1);
        cr_assert_eq(free_now(huge), minavail < 8 ? minavail : 8);
        tarn_pool_free(huge, block[8]);
    }
}

Test(haproxy_gc, G1_of_smaller_blocks_to_within_a_slab)
{
    const uint64_t wanted[] = {0, 1, A_SLAB, A_SLAB + 1, 1000, 2 * MANY};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        tarn_pool_set_minavail(pool, 0);
        cr_assert_eq(alloc_many(pool, block, MANY), MANY);
        tarn_pool_set_minavail(pool, wanted[i]);
        free_many(pool, block, MANY);
        uint64_t before = free_now(pool);
        tarn_gc();
        cr_assert_geq(free_now(pool), wanted[i] < before ? wanted[i] : before);
        cr_assert_lt(free_now(pool), wanted[i] + A_SLAB);
        cr_assert_eq(pool_now(pool).used, 0);
    }
    cr_assert_eq(errno, ERRNO);
}

Test(haproxy_gc, G1_the_biggest_minavail_keeps_all)
{
    tarn_pool_set_minavail(pool, SIZE_MAX);
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    uint64_t allocated = pool_now(pool).allocated;
    free_many(pool, block, MANY - 1);
    tarn_gc();
    cr_assert_eq(pool_now(pool).allocated, allocated);
}

static bool second_done;

static void *collect(void *unused)
{
    (void)unused;
    return (void *)(uintptr_t)tarn_gc();
}

static void *collect_second(void *unused)
{
    void *bytes = collect(unused);
    __atomic_store_n(&second_done, true, __ATOMIC_RELEASE);
    return bytes;
}

/* A thread that collects, stopped where it gives memory back. */
static pthread_t collector_at_the_gate(void)
{
    pthread_t thread;
    fake_gate(true);
    pthread_create(&thread, NULL, collect, NULL);
    while (fake_waiting() == 0)
        usleep(1000);
    return thread;
}

Test(haproxy_gc, G3_the_second_collector_waits_for_the_first)
{
    void *first_bytes, *second_bytes;
    pthread_t second;
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    free_many(pool, block, MANY);
    tarn_pool_flush(pool);
    pthread_t first = collector_at_the_gate();
    pthread_create(&second, NULL, collect_second, NULL);
    usleep(50000);
    cr_assert_not(__atomic_load_n(&second_done, __ATOMIC_ACQUIRE));
    cr_assert_eq(fake_waiting(), 1);
    fake_gate(false);
    pthread_join(first, &first_bytes);
    pthread_join(second, &second_bytes);
    cr_assert_geq((uintptr_t)first_bytes, MANY * (uintptr_t)SIZE / 2);
    cr_assert_null(second_bytes);
    tarn_gc(); /* and it is anybody's turn again */
}

static void *alloc_one(void *from)
{
    return tarn_pool_alloc(from);
}

Test(haproxy_gc, G4_who_fails_while_another_collects_gets_what_that_one_finds)
{
    void *result;
    pthread_t second;
    struct tarn_pool *huge = make_huge();
    tarn_gc();
    leave_units(2 * TARN_SIZE_MAX / UNIT);
    cr_assert_eq(alloc_many(huge, block, 9), 2);
    uint64_t failed = pool_now(huge).failed;
    tarn_pool_set_minavail(huge, 2);
    free_many(huge, block, 2);
    tarn_pool_set_minavail(huge, 0);
    pthread_t first = collector_at_the_gate();
    pthread_create(&second, NULL, alloc_one, pool);
    usleep(50000);
    fake_gate(false);
    pthread_join(first, NULL);
    pthread_join(second, &result);
    cr_assert_not_null(result);
    cr_assert_leq(pool_now(pool).failed, 1);
    cr_assert_eq(pool_now(huge).failed, failed);
}

static bool stop;

static void *fail_and_collect(void *from)
{
    static __thread void *held[MANY];
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        size_t got = alloc_many(from, held, MANY);
        free_many(from, held, got);
    }
    return NULL;
}

static bool all_failed(struct tarn_pool *const from[], int count)
{
    for (int i = 0; i < count; i++)
        if (pool_now(from[i]).failed == 0)
            return false;
    return true;
}

Test(haproxy_gc, G5_collections_that_failures_of_many_pools_begin_do_not_block_each_other)
{
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    struct tarn_pool *from[THREADS];
    for (int i = 0; i < THREADS; i++)
        cr_assert_not_null(from[i] = tarn_pool_create("starved", 600 + 1000 * (size_t)i, 0, 0));
    leave_units(20); /* too few for MANY of the least size: each fails, even were it alone */
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, fail_and_collect, from[i]);
    while (!all_failed(from, THREADS))
        usleep(1000);
    usleep(400000);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        cr_assert_eq(pool_now(from[i]).used, 0);
    }
    heap_check();
}

Test(haproxy_gc, G6_a_wish_is_no_collection)
{
    cr_assert_eq(alloc_many(pool, block, 100), 100);
    free_many(pool, block, 100);
    uint32_t turn = collections();
    gc_request(); /* as a signal handler does */
    cr_assert_geq(pool_now(pool).cached, 100);
    tarn_pool_free(pool, tarn_pool_alloc(pool));
    cr_assert_eq(collections(), turn + 1);
    cr_assert_leq(pool_now(pool).slabs, 1);
}

Test(haproxy_gc, G7_whoever_fails_gets_what_any_pool_can_spare)
{
    struct tarn_pool *huge = make_huge();
    cr_assert_eq(alloc_many(huge, block, 4), 4);
    tarn_gc();
    leave_units(0);
    tarn_pool_set_minavail(huge, 4);
    free_many(huge, block, 4);
    cr_assert_null(tarn_pool_alloc(pool)); /* minavail is kept even now */
    tarn_pool_set_minavail(huge, 2);
    void *p = tarn_pool_alloc(pool);
    cr_assert_not_null(p);
    cr_assert_eq(free_now(huge), 2);
    tarn_pool_set_minavail(huge, 0);
    cr_assert_not_null(heap_alloc(3 * TARN_SIZE_MAX)); /* malloc's failure collects named pools, too */
    cr_assert_eq(free_now(huge), 0);
    cr_assert_eq(pool_now(pool).failed, 2 + 1);
}
