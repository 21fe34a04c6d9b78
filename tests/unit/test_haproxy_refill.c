/*
 * Filling a pool in advance, its limit, and memory that runs out: HAProxy's sentences R1-R7 of 1.4, and 7 of 1.13.
 *
 * Not tested as written:
 *     R1  allocated == 4 after refill(3)      with a limit of 4; else a slab
 *     R2  at least one malloc is always done  a free one is handed out, and only what is then missing asked for
 *     R7  today's limit is approximate        exact: such a pool goes by its lock (tests/stress/stress_pools.c too)
 */
#include "../tools/one_pool.h"

#include <pthread.h>

TestSuite(haproxy_refill, .init = start_pool, .timeout = 30);

/* ---- 1.4: refill ------------------------------------------------------------------------------------ */

Test(haproxy_refill, R1_as_many_stay_free_as_were_asked_for)
{
    const size_t asked[] = {0, 1, 3, 64, 65, 1000, 20000};
    uint64_t used = 0;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        cr_assert_not_null(tarn_pool_refill(pool, asked[i]));
        cr_assert_geq(free_now(pool), asked[i]);
        check_counts(++used, 0, 0);
    }
    cr_assert_eq(errno, ERRNO);
    cr_assert_geq(take_free_ones(), 20000); /* and can be had */
}

Test(haproxy_refill, R1_exactly_as_many_at_a_limit)
{
    tarn_pool_set_limit(pool, 4);
    cr_assert_not_null(tarn_pool_refill(pool, 3));
    cr_assert_eq(pool_now(pool).allocated, 4);
    check_counts(1, 0, 0);
}

Test(haproxy_refill, R2_a_free_one_is_taken_first)
{
    void *p = tarn_pool_refill(pool, 10);
    uint64_t allocated = pool_now(pool).allocated;
    cr_assert_geq(free_now(pool), 10);
    size_t calls = fake_calls();
    cr_assert_not_null(tarn_pool_refill(pool, 3));
    cr_assert_eq(pool_now(pool).allocated, allocated);
    cr_assert_eq(fake_calls(), calls);
    check_counts(2, 0, 0);
    tarn_pool_free(pool, p);
    cr_assert_eq(tarn_pool_refill(pool, 0), p);
}

Test(haproxy_refill, R3_the_limit_is_no_failure_of_memory)
{
    tarn_pool_set_limit(pool, 4);
    void *p = tarn_pool_refill(pool, 3);
    size_t calls = fake_calls();
    uint32_t turn = collections();
    cr_assert_null(tarn_pool_refill(pool, 3));
    cr_assert_eq(errno, ENOMEM);
    check_counts(1, 0, 1);
    cr_assert_eq(fake_calls(), calls);
    cr_assert_eq(collections(), turn);
    cr_assert_eq(pool_now(pool).allocated, 4);
    cr_assert_not_null(tarn_pool_refill(pool, 2));
    tarn_pool_free(pool, p);
    check_counts(1, 0, 1);
}

Test(haproxy_refill, R3b_what_was_got_until_the_limit_stays)
{
    tarn_pool_set_limit(pool, 10);
    cr_assert_null(tarn_pool_refill(pool, 20));
    cr_assert_eq(errno, ENOMEM);
    cr_assert_eq(pool_now(pool).allocated, 10);
    check_counts(0, 0, 1);
    errno = ERRNO;
    cr_assert_eq(take_free_ones(), 10);
}

/* Blocks of malloc's that fill eight units; when freed they all stay in the thread's hands and the depot, so that only
   a collection gives the units back. */
enum { HOARD = 512, HOARD_UNITS = 8 };
static void *hoard[HOARD];

static void take_hoard(void)
{
    for (int i = 0; i < HOARD; i++)
        cr_assert_not_null(hoard[i] = heap_alloc(1024));
    tarn_gc(); /* nothing else is to be rescued */
}

static void leave_hoard(void)
{
    for (int i = 0; i < HOARD; i++)
        heap_free(hoard[i], "free");
}

static void *refill_some(void)
{
    return tarn_pool_refill(pool, 3);
}

static void *alloc_one(void)
{
    return tarn_pool_alloc(pool);
}

static void check_rescue(void *(*request)(void))
{
    take_hoard();
    leave_units(0);
    uint32_t turn = collections();
    cr_assert_null(request());
    cr_assert_eq(errno, ENOMEM);
    check_counts(0, 2, 0); /* lost: the first try, and the one after the collection */
    cr_assert_eq(collections(), turn + 1);
    leave_hoard();
    errno = ERRNO;
    cr_assert_not_null(request());
    cr_assert_eq(errno, ERRNO);
    check_counts(1, 3, 0); /* rescued */
    cr_assert_eq(collections(), turn + 2);
}

Test(haproxy_refill, R4_memory_runs_out_one_collection_then_another_try)
{
    check_rescue(refill_some);
}

Test(haproxy_refill, R4_so_it_is_for_alloc)
{
    check_rescue(alloc_one);
}

Test(haproxy_refill, R4_and_below_a_limit)
{
    tarn_pool_set_limit(pool, 100000);
    check_rescue(alloc_one);
}

Test(haproxy_refill, R4_the_kernel_itself_may_refuse)
{
    fake_refuse(0, SIZE_MAX);
    size_t got = alloc_many(pool, block, MANY);
    cr_assert_lt(got, MANY);
    check_counts(got, 2, 0);
    fake_refuse_none();
    errno = ERRNO;
    cr_assert_not_null(tarn_pool_alloc(pool));
    check_counts(got + 1, 2, 0);
}

Test(haproxy_refill, R5_one_failure_a_request_not_one_a_block)
{
    take_hoard();
    leave_units(0);
    leave_hoard();
    uint32_t turn = collections();
    cr_assert_null(tarn_pool_refill(pool, 20 * A_SLAB));
    cr_assert_eq(errno, ENOMEM);
    check_counts(0, 2, 0);
    cr_assert_eq(collections(), turn + 1);
    cr_assert_eq(pool_now(pool).allocated,
                 HOARD_UNITS * A_SLAB); /* what the collection found, was not enough */
}

Test(haproxy_refill, R6_what_was_got_until_memory_ran_out_stays)
{
    leave_units(4);
    size_t discards = fake_discards();
    cr_assert_null(tarn_pool_refill(pool, 20 * A_SLAB));
    check_counts(0, 2, 0);
    cr_assert_eq(pool_now(pool).allocated, 4 * A_SLAB);
    cr_assert_gt(fake_discards(),
                 discards); /* that collection took them meanwhile: nobody had claimed them */
    cr_assert_not_null(tarn_pool_refill(pool, 4 * A_SLAB - 1));
    check_counts(1, 2, 0);
}

Test(haproxy_refill, R6_what_can_never_be_had_takes_nothing)
{
    const size_t asked[] = {SIZE_MAX, SIZE_MAX / ROUNDED, region.units * UNIT / ROUNDED};
    for (size_t i = 0; i < ARRAY_LENGTH(asked); i++) {
        uint32_t turn = collections();
        errno = ERRNO;
        cr_assert_null(tarn_pool_refill(pool, asked[i]));
        cr_assert_eq(errno, ENOMEM);
        cr_assert_eq(pool_now(pool).allocated, 0);
        cr_assert_eq(collections(), turn);
        check_counts(0, 0, 0);
    }
}

Test(haproxy_refill, R6_even_through_the_collection_down_to_minavail)
{
    leave_units(4);
    tarn_pool_set_minavail(pool, 4 * A_SLAB);
    cr_assert_null(tarn_pool_refill(pool, 20 * A_SLAB));
    check_counts(0, 2, 0);
    cr_assert_eq(pool_now(pool).allocated, 4 * A_SLAB);
}

enum { RACERS = 4, LIMIT = 100 };
static unsigned live, most;
static bool passed;

static void *race(void *number)
{
    static __thread void *held[LIMIT + 1]; /* one more than there are: even a thread alone meets the limit */
    uintptr_t id = (uintptr_t)number, got = 0;
    for (int round = 0; round < 300; round++) {
        while (got <= LIMIT && (held[got] = tarn_pool_alloc(pool)) != NULL) {
            unsigned now = __atomic_add_fetch(&live, 1, __ATOMIC_SEQ_CST);
            if (now > LIMIT || pool_now(pool).allocated > LIMIT)
                passed = true;
            if (now == LIMIT)
                __atomic_store_n(&most, now, __ATOMIC_RELAXED);
            *(uintptr_t *)held[got++] = id;
        }
        while (got > (unsigned)round % 8) {
            if (*(uintptr_t *)held[--got] != id)
                passed = true;
            __atomic_sub_fetch(&live, 1, __ATOMIC_SEQ_CST);
            tarn_pool_free(pool, held[got]);
        }
    }
    for (; got > 0; tarn_pool_free(pool, held[got])) {
        got--;
        __atomic_sub_fetch(&live, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

Test(haproxy_refill, R7_racing_threads_never_pass_the_limit)
{
    pthread_t thread[RACERS];
    tarn_pool_set_limit(pool, LIMIT);
    for (uintptr_t i = 0; i < RACERS; i++)
        pthread_create(&thread[i], NULL, race, (void *)(i + 1));
    for (int i = 0; i < RACERS; i++)
        pthread_join(thread[i], NULL);
    cr_assert_not(passed);
    cr_assert_eq(most, LIMIT); /* and it was reached */
    cr_assert_gt(pool_now(pool).limited, 0);
    cr_assert_eq(alloc_many(pool, block, MANY), LIMIT); /* nothing is lost */
    cr_assert_eq(pool_now(pool).failed, 0);
    heap_check();
}

static void fill_in_advance(size_t n)
{
    tarn_pool_set_minavail(pool, n);
    tarn_pool_free(pool, tarn_pool_refill(pool, n - 1));
}

Test(haproxy_refill, R_idiom_minavail_is_filled_in_advance_and_stays)
{
    tarn_pool_set_limit(pool, 1000);
    fill_in_advance(1000);
    cr_assert_eq(pool_now(pool).allocated, 1000);
    tarn_gc();
    cr_assert_eq(pool_now(pool).allocated, 1000);
    check_counts(0, 0, 0);
    tarn_pool_set_limit(pool, 0);
    fill_in_advance(MANY);
    tarn_gc();
    cr_assert_geq(free_now(pool), MANY);
    leave_units(0);
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    check_counts(MANY, 0, 0);
}

/* ---- 1.13 ------------------------------------------------------------------------------------------- */

Test(haproxy_refill, bug_7_what_the_limit_refuses_is_counted_apart)
{
    tarn_pool_set_limit(pool, 2);
    uint32_t turn = collections();
    cr_assert_eq(alloc_many(pool, block, 3), 2);
    cr_assert_null(tarn_pool_zalloc(pool));
    cr_assert_null(tarn_pool_alloc_dirty(pool));
    cr_assert_null(tarn_pool_refill(pool, 0));
    check_counts(2, 0, 4);
    cr_assert_eq(collections(), turn);
    cr_assert_null(tarn_pool_get_first(pool)); /* asks for nothing, so nothing is refused */
    check_counts(2, 0, 4);
}

/* Whoever is to drain its cache because of another's flush or collection does so before, not between filling and
   taking: it would give back what was filled. */
Test(haproxy_refill, stays_filled_when_a_recall_is_on)
{
    start_pool();
    thread_recall();
    cr_assert_not_null(tarn_pool_refill(pool, 5 * A_SLAB));
    cr_assert_geq(free_now(pool), 5 * A_SLAB);
    heap_check();
}
