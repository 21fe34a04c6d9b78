/*
 * What a pool hands out and takes back: HAProxy's sentences S1-S2 of 1.1, A1-A7 of 1.3, F1-F4 of 1.5, D1-D4 of 1.6.
 *
 * Not tested as written:
 *     S1  by a walk of the free list          there is none: by tarn_pool_get_first until it has no more
 *     A3  one malloc, allocated + 1           a slab at a time; with a limit never more than that
 *     A4  malloc and gc under the pool's lock never (their worst bug): what is tested is that no lock is held
 *     A6  get_first locks                     a block in the thread's cache needs no lock
 *     A7  a free block holds a link           it holds what the program left there: tarn never touches it
 *     F2  memory never returns by itself      it does, slab by slab, but for one empty slab and minavail: what stays
 *                                             the same is `allocated` while blocks go out and in
 *     F3  at once for any thread              for the thread that freed it; for others when it gets back to the pool,
 *                                             which is at once where there is a limit
 *     F4  double frees are not seen           they are, when the block gets back to its slab; `used` stays right
 *     D1  the tag holds the free list's link  a tag names block and pool; there is no link
 *     D2  a bad tag crashes                   it is reported as TARN_MISUSE says; another pool's block even without tags
 *     D3  slack hides an overflow             it does while a pool promises it (rounded), and not where it is EXACT
 *     D4  the lock is taken again for the tag a block's holder writes it, without a lock
 */
#include "../tools/one_pool.h"
#include "fault.h"

#include <pthread.h>

static void start(void)
{
    setenv("TARN_MISUSE", "ignore", 1);
    start_pool();
}

static void start_debug(const char *words)
{
    setenv("TARN_DEBUG", words, 1);
    start();
}

TestSuite(haproxy_alloc, .init = start, .timeout = 30);

static void *in_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, run, argument), 0);
    pthread_join(thread, &result);
    return result;
}

static bool all_bytes(const void *p, size_t n, int byte)
{
    const unsigned char *at = p;
    for (size_t i = 0; i < n; i++)
        if (at[i] != byte)
            return false;
    return true;
}

/* ---- 1.1: the pool ---------------------------------------------------------------------------------- */

Test(haproxy_alloc, S1_what_is_free_is_allocated_less_used)
{
    for (size_t n = 1; n <= MANY; n = n * 3 + 7) {
        cr_assert_eq(alloc_many(pool, block, n), n);
        free_many(pool, block, n - n / 5);
        uint64_t expected = free_now(pool);
        cr_assert_geq(expected, 1);
        cr_assert_eq(take_free_ones(), expected);
        cr_assert_eq(free_now(pool), 0);
    }
}

Test(haproxy_alloc, S2_no_limit_and_no_minavail_unless_set)
{
    cr_assert_eq(pool_now(pool).limit, 0);
    cr_assert_eq(pool_now(pool).minavail, 0);
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    cr_assert_eq(tarn_pool_set_limit(pool, 7), 0);
    tarn_pool_set_minavail(pool, 5);
    cr_assert_eq(pool_now(pool).limit, 7);
    cr_assert_eq(pool_now(pool).minavail, 5);
    cr_assert_eq(errno, ERRNO);
    uint64_t there = free_now(pool); /* what exists stays */
    cr_assert_eq(take_free_ones(), there);
    cr_assert_eq(pool_now(pool).used, MANY + there);
    cr_assert_null(tarn_pool_alloc(pool));
    free_many(pool, block, MANY);
    cr_assert_eq(pool_now(pool).limited, 1);
    heap_check();
}

Test(haproxy_alloc, S2_mallocs_pools_have_no_limit)
{
    struct tarn_pool *mallocs = tarn_pool_create("mine", 64, 0, TARN_SHARED);
    cr_assert_eq(tarn_pool_set_limit(mallocs, 10), -1);
    cr_assert_eq(errno, EPERM);
    cr_assert_eq(pool_now(mallocs).limit, 0);
}

/* ---- 1.3: allocation -------------------------------------------------------------------------------- */

static void check_lifo(void)
{
    void *p[9];
    cr_assert_eq(alloc_many(pool, p, 9), 9);
    tarn_pool_free(pool, p[3]);
    cr_assert_eq(tarn_pool_alloc(pool), p[3]);
    free_many(pool, p, 9);
    for (int i = 8; i >= 0; i--)
        cr_assert_eq(tarn_pool_alloc(pool), p[i]);
    free_many(pool, p, 9);
}

Test(haproxy_alloc, A1_the_last_freed_goes_out_first)
{
    check_lifo();
    void *other = heap_alloc(ROUNDED), *p = tarn_pool_alloc(pool);
    tarn_pool_free(pool, p);
    heap_free(other, "free");
    cr_assert_eq(tarn_pool_alloc(pool), p);
    heap_free(p, "free");
    cr_assert_eq(tarn_pool_alloc(pool), p); /* free() is as good */
}

Test(haproxy_alloc, A2_a_free_one_costs_no_memory)
{
    void *p = tarn_pool_alloc(pool);
    tarn_pool_free(pool, p);
    uint64_t allocated = pool_now(pool).allocated;
    size_t calls = fake_calls();
    for (uint64_t i = 1; i <= allocated; i++) {
        cr_assert_not_null(tarn_pool_alloc(pool));
        cr_assert_eq(pool_now(pool).used, i);
    }
    cr_assert_eq(pool_now(pool).allocated, allocated);
    cr_assert_eq(fake_calls(), calls);
    cr_assert_eq(errno, ERRNO);
}

Test(haproxy_alloc, A3_an_empty_pool_gets_a_slab)
{
    cr_assert_eq(pool_now(pool).allocated, 0);
    cr_assert_eq(pool_now(pool).slabs, 0);
    cr_assert_not_null(tarn_pool_alloc(pool));
    struct tarn_pool_stats s = pool_now(pool);
    cr_assert_eq(s.slabs, 1);
    cr_assert_eq(s.allocated, UNIT / ROUNDED);
    check_counts(1, 0, 0);
}

Test(haproxy_alloc, A3_one_by_one_up_to_a_limit)
{
    tarn_pool_set_limit(pool, 3);
    cr_assert_eq(alloc_many(pool, block, 10), 3);
    cr_assert_eq(pool_now(pool).allocated, 3);
    cr_assert_eq(errno, ENOMEM);
    check_counts(3, 0, 1);
}

/* Debug builds only: the fake door ends the process where a lock is held. */
Test(haproxy_alloc, A4_the_kernel_is_asked_without_a_lock)
{
    struct tarn_pool *big = tarn_pool_create("big", 200000, 0, 0);
    struct tarn_pool *limited = tarn_pool_create("limited", SIZE, 0, 0);
    tarn_pool_set_limit(limited, MANY);
    struct tarn_pool *each[] = {pool, big, limited};
    for (int i = 0; i < 3; i++) {
        size_t calls = fake_calls();
        cr_assert_eq(alloc_many(each[i], block, MANY), MANY);
        free_many(each[i], block, MANY);
        tarn_pool_free(each[i], tarn_pool_refill(each[i], MANY - 1));
        tarn_pool_flush(each[i]);
        tarn_gc();
        cr_assert_gt(fake_calls(), calls);
        cr_assert_null(tarn_pool_destroy(each[i]));
    }
    heap_check();
}

Test(haproxy_alloc, A5_no_poison_unless_asked_for)
{
    unsigned char *p = memset(tarn_pool_alloc(pool), 0x11, ROUNDED);
    tarn_pool_free(pool, p);
    cr_assert_eq(tarn_pool_alloc(pool), p);
    cr_assert(all_bytes(p, ROUNDED, 0x11));
}

static void check_poison(int byte)
{
    unsigned char *fresh = tarn_pool_alloc(pool);
    cr_assert(all_bytes(fresh, ROUNDED, byte));
    memset(fresh, 0x11, ROUNDED);
    tarn_pool_free(pool, fresh);
    unsigned char *dirty = tarn_pool_alloc_dirty(pool);
    cr_assert_eq(dirty, fresh);
    cr_assert(all_bytes(dirty, ROUNDED, 0x11));
    tarn_pool_free(pool, dirty);
    cr_assert_eq(tarn_pool_get_first(pool), fresh);
    cr_assert(all_bytes(fresh, ROUNDED, 0x11));
    tarn_pool_free(pool, fresh);
    cr_assert_eq(tarn_pool_refill(pool, 0), fresh);
    cr_assert(all_bytes(fresh, ROUNDED, 0x11));
    tarn_pool_free(pool, fresh);
    unsigned char *recycled = tarn_pool_alloc(pool);
    cr_assert_eq(recycled, fresh);
    cr_assert(all_bytes(recycled, ROUNDED, byte));
    memset(recycled, 0x11, ROUNDED);
    tarn_pool_free(pool, recycled);
    cr_assert(all_bytes(tarn_pool_zalloc(pool), ROUNDED, 0));
}

static void start_poison(void)
{
    start_debug("poison");
}

static void start_poison_0(void)
{
    start_debug("poison=0");
}

TestSuite(haproxy_alloc_poison, .timeout = 30);

Test(haproxy_alloc_poison, A5_each_block_that_goes_out_but_not_a_dirty_one, .init = start_poison)
{
    check_poison(0x50);
}

Test(haproxy_alloc_poison, A5_with_0_every_malloc_is_a_calloc, .init = start_poison_0)
{
    check_poison(0);
}

Test(haproxy_alloc, A5_zalloc_zeroes_what_was_used)
{
    unsigned char *p = memset(tarn_pool_alloc(pool), 0x11, ROUNDED);
    tarn_pool_free(pool, p);
    cr_assert_eq(tarn_pool_zalloc(pool), p);
    cr_assert(all_bytes(p, ROUNDED, 0));
}

Test(haproxy_alloc, A6_get_first_never_asks_for_memory)
{
    size_t calls = fake_calls();
    uint32_t turn = collections();
    cr_assert_null(tarn_pool_get_first(pool));
    cr_assert_eq(pool_now(pool).allocated, 0);
    check_counts(0, 0, 0);
    void *p = tarn_pool_alloc(pool);
    tarn_pool_free(pool, p);
    cr_assert_eq(tarn_pool_get_first(pool), p);
    cr_assert_eq(1 + take_free_ones(), pool_now(pool).allocated);
    cr_assert_null(tarn_pool_get_first(pool));
    cr_assert_eq(errno, ERRNO);
    cr_assert_eq(collections(), turn);
    cr_assert_leq(fake_calls(), calls + 2);
    check_counts(pool_now(pool).allocated, 0, 0);
}

Test(haproxy_alloc, A6_get_first_finds_what_a_limited_pool_has)
{
    tarn_pool_set_limit(pool, 5);
    void *p = tarn_pool_refill(pool, 2);
    uint64_t there = free_now(pool);
    cr_assert_geq(there, 2);
    tarn_pool_free(pool, p);
    cr_assert_eq(take_free_ones(), there + 1);
    check_counts(there + 1, 0, 0); /* that there were no more, was no refusal */
}

Test(haproxy_alloc, A7_a_free_block_keeps_what_the_program_left_there)
{
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    for (int i = 0; i < MANY; i++)
        memset(block[i], i & 0xFF, ROUNDED);
    free_many(pool, block, MANY / 2); /* through cache, depot and slabs */
    for (int i = 0; i < 40; i++) {
        unsigned char *p = tarn_pool_alloc(pool);
        cr_assert(all_bytes(p, ROUNDED, *p));
    }
}

/* ---- 1.5: free -------------------------------------------------------------------------------------- */

Test(haproxy_alloc, F1_null_is_nothing)
{
    struct tarn_pool_stats before = pool_now(pool), after;
    tarn_pool_free(pool, NULL);
    after = pool_now(pool);
    cr_assert_eq(memcmp(&before, &after, sizeof before), 0);
    for (enum fault_kind k = 0; k < FAULT_KINDS; k++)
        cr_assert_eq(fault_count(k), 0);
    cr_assert_eq(errno, ERRNO);
}

Test(haproxy_alloc, F2_a_freed_block_stays_for_the_pool)
{
    enum { FEW = 100 };
    cr_assert_eq(alloc_many(pool, block, FEW), FEW);
    uint64_t allocated = pool_now(pool).allocated;
    for (uint64_t i = FEW; i-- > 0;) {
        tarn_pool_free(pool, block[i]);
        cr_assert_eq(pool_now(pool).used, i);
    }
    cr_assert_eq(pool_now(pool).allocated, allocated);
    cr_assert_geq(pool_now(pool).cached, FEW);
    cr_assert_eq(errno, ERRNO);
}

static void *free_and_take(void *p)
{
    tarn_pool_free(pool, p);
    void *again = tarn_pool_alloc(pool);
    tarn_pool_free(pool, again);
    return again;
}

Test(haproxy_alloc, F3_any_thread_may_free)
{
    void *p = tarn_pool_alloc(pool);
    cr_assert_eq(in_thread(free_and_take, p), p);
    check_counts(0, 0, 0);
}

static void *free_it(void *p)
{
    tarn_pool_free(pool, p);
    return NULL;
}

Test(haproxy_alloc, F3_at_a_limit_it_is_there_for_all_at_once)
{
    tarn_pool_set_limit(pool, 1);
    void *p = tarn_pool_alloc(pool);
    cr_assert_null(tarn_pool_alloc(pool));
    in_thread(free_it, p);
    cr_assert_eq(tarn_pool_alloc(pool), p);
    check_counts(1, 0, 1);
}

Test(haproxy_alloc, F4_a_double_free_is_seen_at_the_flush)
{
    cr_assert_eq(alloc_many(pool, block, 10), 10);
    free_many(pool, block, 10);
    tarn_pool_free(pool, block[4]);
    tarn_pool_flush(pool);
    cr_assert_eq(fault_count(FAULT_TWICE), 1);
    cr_assert_eq(pool_now(pool).allocated, 0);
    check_counts(0, 0, 0);
}

Test(haproxy_alloc, F4_and_at_once_where_there_is_a_limit)
{
    tarn_pool_set_limit(pool, 10);
    cr_assert_eq(alloc_many(pool, block, 10), 10);
    tarn_pool_free(pool, block[4]);
    tarn_pool_free(pool, block[4]);
    cr_assert_eq(fault_count(FAULT_TWICE), 1);
    check_counts(9, 0, 0);
    cr_assert_eq(tarn_pool_alloc(pool), block[4]);
    cr_assert_null(tarn_pool_alloc(pool)); /* it was not there twice */
}

/* ---- 1.6: tags -------------------------------------------------------------------------------------- */

static void start_tag(void)
{
    start_debug("tag");
}

TestSuite(haproxy_alloc_tag, .init = start_tag, .timeout = 30);

Test(haproxy_alloc_tag, D1_the_tag_is_behind_what_the_pool_promises)
{
    size_t size = pool_now(pool).size;
    cr_assert_eq(size, SIZE);
    cr_assert_eq(alloc_many(pool, block, 200), 200);
    for (int i = 0; i < 200; i++)
        memset(block[i], i, size);
    for (int i = 0; i < 200; i++)
        cr_assert(all_bytes(block[i], size, i));
    free_many(pool, block, 200);
    cr_assert(all_bytes(block[199], size, 199)); /* a core file still shows what was there */
    for (enum fault_kind k = 0; k < FAULT_KINDS; k++)
        cr_assert_eq(fault_count(k), 0);
    check_counts(0, 0, 0);
}

Test(haproxy_alloc_tag, D2_a_double_free_is_seen_at_once)
{
    void *p = tarn_pool_alloc(pool);
    tarn_pool_free(pool, p);
    tarn_pool_free(pool, p);
    cr_assert_eq(fault_count(FAULT_TWICE), 1);
    check_counts(0, 0, 0);
    cr_assert_neq(tarn_pool_alloc(pool), tarn_pool_alloc(pool));
}

Test(haproxy_alloc_tag, D2_an_overflow_is_seen_at_the_free)
{
    char *p = tarn_pool_alloc(pool);
    p[SIZE] ^= 1;
    tarn_pool_free(pool, p);
    cr_assert_eq(fault_count(FAULT_OVERRUN), 1);
}

Test(haproxy_alloc, D2_another_pools_block_is_left_alone)
{
    struct tarn_pool *other = tarn_pool_create("other", SIZE, 0, 0);
    void *p = tarn_pool_alloc(other), *mallocs = heap_alloc(SIZE), *large = heap_alloc(1 << 20);
    memset(p, 3, ROUNDED);
    tarn_pool_free(pool, p);
    tarn_pool_free(pool, mallocs);
    cr_assert_eq(fault_count(FAULT_WRONG_POOL), 2);
    tarn_pool_free(pool, large);
    int local = 0;
    tarn_pool_free(pool, &local);
    cr_assert_eq(fault_count(FAULT_WRONG_POOL) + fault_count(FAULT_FOREIGN), 4);
    cr_assert_eq(pool_now(other).used, 1);
    cr_assert(all_bytes(p, ROUNDED, 3));
    cr_assert_neq(tarn_pool_alloc(pool), p);
    tarn_pool_free(other, p);
    heap_free(mallocs, "free");
    heap_free(large, "free");
    check_counts(1, 0, 0);
}

Test(haproxy_alloc_tag, D3_only_what_the_pool_promises_may_be_written)
{
    struct tarn_pool *exact = tarn_pool_create("exact", 20, 0, TARN_EXACT);
    struct tarn_pool *rounded = tarn_pool_create("rounded", 20, 0, 0);
    char *p = tarn_pool_alloc(rounded), *q = tarn_pool_alloc(exact);
    cr_assert_eq(pool_now(rounded).size, 24);
    p[20] = p[23] = 1; /* slack, and the pool says that it has 24 */
    tarn_pool_free(rounded, p);
    cr_assert_eq(fault_count(FAULT_OVERRUN), 0);
    q[20] ^= 1;
    tarn_pool_free(exact, q);
    cr_assert_eq(fault_count(FAULT_OVERRUN), 1);
}
