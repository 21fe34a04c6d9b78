/*
 * How pools are made and merged: HAProxy's sentences C1-C9 and B1-B3 of 1.2.
 *
 * Not tested as written:
 *     C4  a name is cut to 11 characters              31 fit, and a longer one is refused: no two look alike by accident
 *     C7  NULL where no head can be had               heads are static; what can fail is the registration
 *     C8  merging is switched off when building       a word of TARN_DEBUG; the tag [SHARED] stays, the flag is there
 *     C9  pools are made before there are threads     any time: tests/stress/stress_pools.c, and B1 here
 */
#include "../tools/many_pools.h"
#include "fake_system.h"
#include "meta.h"

#include <pthread.h>
#include <stdio.h>

TestSuite(haproxy_create, .init = start, .timeout = 30);

static int count(struct tarn_pool *pool, void *sum)
{
    (void)pool;
    ++*(unsigned *)sum;
    return 0;
}

static unsigned pools_there(void)
{
    unsigned sum = 0;
    cr_assert_eq(tarn_pools_each(count, &sum), 0);
    return sum;
}

/* ---- rounding --------------------------------------------------------------------------------------- */

Test(haproxy_create, C1_sizes_are_rounded_to_16)
{
    const size_t sizes[][2] = {{1, 16}, {15, 16}, {16, 16}, {17, 32}, {32, 32}, {1000, 1008}, {70001, 70016}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct tarn_pool *pool = make("rounded", sizes[i][0], 0);
        cr_assert_eq(pool_now(pool).size, sizes[i][1]);
        char *p = tarn_pool_alloc(pool);
        cr_assert_eq(heap_usable(p), sizes[i][1]);
        memset(p, 1, sizes[i][1]);
        tarn_pool_free(pool, p);
    }
    cr_assert_eq(pool_now(make("biggest", TARN_SIZE_MAX - 1, 0)).size, TARN_SIZE_MAX);
}

static void start_tag(void)
{
    setenv("TARN_DEBUG", "tag", 1);
    start();
}

Test(haproxy_create_tag, C1_with_the_tag_to_16_less_8, .init = start_tag)
{
    const size_t sizes[][2] = {{1, 8}, {8, 8}, {9, 24}, {16, 24}, {24, 24}, {1000, 1000}, {70001, 70008}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct tarn_pool *pool = make("rounded", sizes[i][0], 0);
        cr_assert_eq(pool_now(pool).size, sizes[i][1]);
        cr_assert_eq(heap_usable(tarn_pool_alloc(pool)), sizes[i][1]);
    }
}

Test(haproxy_create, C2_exact_sizes_are_kept)
{
    const size_t sizes[] = {1, 7, 17, 100, 16385, 70001, TARN_SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct tarn_pool *pool = make("exact", sizes[i], TARN_EXACT);
        cr_assert_eq(pool_now(pool).size, sizes[i]);
        cr_assert_eq(pool_now(pool).flags, TARN_EXACT);
        char *p = tarn_pool_alloc(pool);
        cr_assert_eq(heap_usable(p), sizes[i]);
        cr_assert_eq((uintptr_t)p % 16, 0);
    }
}

Test(haproxy_create, C2_exact_merges_with_what_has_exactly_its_size)
{
    struct tarn_pool *pool = make("rounded", APART - 5, TARN_SHARED);
    cr_assert_eq(make("exact", APART, TARN_SHARED | TARN_EXACT), pool);
    cr_assert_neq(make("odd", APART - 5, TARN_SHARED | TARN_EXACT), pool);
    cr_assert(is_malloc(make("exact", 64, TARN_SHARED | TARN_EXACT), "size-64"));
    cr_assert_not(is_malloc(make("odd", 60, TARN_SHARED | TARN_EXACT), "size-64"));
}

/* ---- merging ---------------------------------------------------------------------------------------- */

Test(haproxy_create, C3_same_size_and_both_shared_merge)
{
    struct tarn_pool *pool = make("first", APART, TARN_SHARED);
    cr_assert_eq(pool_now(pool).users, 1);
    unsigned there = pools_there();
    cr_assert_eq(make("second", APART, TARN_SHARED), pool);
    cr_assert_eq(make("third", APART - 15, TARN_SHARED), pool); /* the same when rounded */
    cr_assert_eq(pool_now(pool).users, 3);
    cr_assert_eq(pools_there(), there);
    cr_assert_neq(make("other", APART + 200, TARN_SHARED), pool);
}

Test(haproxy_create, C3_with_mallocs_own_pool_too)
{
    struct tarn_pool *pool = make("mine", 60, TARN_SHARED);
    struct tarn_pool_stats before = pool_now(pool);
    cr_assert_str_eq(before.name, "size-64");
    cr_assert_eq(before.users, 2);
    cr_assert_eq(before.flags, TARN_SHARED);
    void *mallocs = heap_alloc(64), *mine = tarn_pool_alloc(pool);
    cr_assert_eq(pool_now(pool).used, before.used + 2);
    tarn_pool_free(pool, mallocs);
    cr_assert_eq(heap_alloc(64), mallocs);
    heap_free(mine, "free");
    cr_assert_eq(tarn_pool_alloc(pool), mine);
}

static bool has_registration(const char *name)
{
    const char *text = dump("detailed");
    size_t length = strlen(name);
    for (const char *at = text; (at = strstr(at, name)) != NULL; at++)
        if (strchr(" \"'\t", at[-1]) != NULL && strchr(" ,:\"'\n\t", at[length]) != NULL)
            return true;
    return false;
}

Test(haproxy_create, C4_the_first_name_is_the_pools_and_all_are_listed)
{
    struct tarn_pool *pool = make("apple", APART, TARN_SHARED);
    make("pear", APART, TARN_SHARED);
    tarn_pool_alloc(pool);
    cr_assert_str_eq(pool_now(pool).name, "apple");
    cr_assert_not_null(strstr(dump(NULL), "Pool apple "));
    cr_assert_null(strstr(dump(NULL), "pear"));
    cr_assert(has_registration("apple"));
    cr_assert(has_registration("pear"));
    cr_assert_not(has_registration("appl"));
}

Test(haproxy_create, C4_names_are_whole_or_refused)
{
    const char *bad[] = {"",        "a name",   "1234567890123456789012345678901_",
                         "a\nline", "per%cent", "caf\xc3\xa9"};
    cr_assert_str_eq(pool_now(make("123456789012345678901234567890_", APART, 0)).name,
                     "123456789012345678901234567890_");
    cr_assert_str_eq(pool_now(make("aZ09-_.:+/", APART, 0)).name, "aZ09-_.:+/");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = ERRNO;
        cr_assert_null(tarn_pool_create(bad[i], APART, 0, 0), "\"%s\"", bad[i]);
        cr_assert_eq(errno, EINVAL);
    }
}

Test(haproxy_create, C5_who_does_not_share_stands_alone)
{
    struct tarn_pool *shared = make("shared", APART, TARN_SHARED), *alone = make("alone", APART, 0);
    cr_assert_neq(alone, shared);
    cr_assert_neq(make("alone", APART, 0), alone);
    cr_assert_neq(make("exact", APART, TARN_EXACT), alone);
    cr_assert_eq(make("another", APART, TARN_SHARED), shared);
    cr_assert_eq(pool_now(shared).users, 2);
    cr_assert_eq(pool_now(alone).users, 1);
    cr_assert_not(is_malloc(make("alone", 64, 0), "size-64"));
    alone = make("alone", APART + 64, 0); /* first, this time */
    cr_assert_neq(make("shared", APART + 64, TARN_SHARED), alone);
}

struct order {
    struct tarn_pool *pool[400];
    unsigned count;
};

static int note(struct tarn_pool *pool, void *order)
{
    struct order *o = order;
    o->pool[o->count++] = pool;
    return o->count == 400;
}

static unsigned place(const struct order *o, const struct tarn_pool *pool)
{
    unsigned i = 0;
    while (i < o->count && o->pool[i] != pool)
        i++;
    cr_assert_lt(i, o->count);
    return i;
}

Test(haproxy_create, C6_pools_come_by_ascending_size_and_equals_as_they_were_made)
{
    struct tarn_pool *d = make("d", 100000, 0), *b = make("b", APART, 0), *a = make("a", 3, TARN_EXACT);
    struct tarn_pool *c = make("c", APART, 0), *shared = make("s", APART, TARN_SHARED);
    struct order o = {.count = 0};
    cr_assert_eq(tarn_pools_each(note, &o), 0);
    cr_assert_gt(o.count, 30); /* malloc's too */
    for (unsigned i = 1; i < o.count; i++)
        cr_assert_leq(pool_now(o.pool[i - 1]).size, pool_now(o.pool[i]).size);
    cr_assert_eq(place(&o, a), 0);
    cr_assert_lt(place(&o, b), place(&o, c));
    cr_assert_lt(place(&o, c), place(&o, shared));
    cr_assert_eq(place(&o, d), o.count - 1);
}

static int third(struct tarn_pool *pool, void *seen)
{
    (void)pool;
    return ++*(int *)seen == 3 ? 42 : 0;
}

Test(haproxy_create, C6_a_walk_ends_where_it_is_told_to)
{
    int seen = 0;
    cr_assert_eq(tarn_pools_each(third, &seen), 42);
    cr_assert_eq(seen, 3);
}

/* ---- refusals --------------------------------------------------------------------------------------- */

static void take_all_bookkeeping(void)
{
    fake_refuse(0, SIZE_MAX);
    for (size_t size = META_MAX; size >= META_MIN; size /= 2)
        while (meta_alloc(size) != NULL)
            continue;
}

Test(haproxy_create, C7_null_where_there_is_no_memory_for_it)
{
    struct tarn_pool *shared = make("shared", APART, TARN_SHARED);
    unsigned there = pools_there();
    take_all_bookkeeping();
    cr_assert_null(tarn_pool_create("late", 48, 0, 0));
    cr_assert_eq(errno, ENOMEM);
    cr_assert_null(tarn_pool_create("late", APART, 0, TARN_SHARED));
    cr_assert_eq(errno, ENOMEM);
    cr_assert_eq(pools_there(), there);
    cr_assert_eq(pool_now(shared).users, 1);
    fake_refuse_none();
    errno = ERRNO;
    cr_assert_neq(make("late", 48, 0), shared);
    cr_assert_eq(make("late", APART, TARN_SHARED), shared);
    heap_check();
}

Test(haproxy_create, C7_a_name_may_be_missing)
{
    struct tarn_pool *pool = make(NULL, APART, 0);
    cr_assert_str_eq(pool_now(pool).name, "");
    tarn_pool_alloc(pool);
    cr_assert_not_null(strstr(dump(NULL), "288 bytes)"));
}

Test(haproxy_create, C7_a_place_for_each_of_so_many)
{
    struct tarn_pool *pool[TARN_POOLS_MAX];
    char name[TARN_NAME_MAX];
    for (int i = 0; i < TARN_POOLS_MAX; i++) {
        snprintf(name, sizeof name, "pool%d", i);
        pool[i] = make(name, 1 + (size_t)i * 20, i % 2 ? TARN_EXACT : 0);
        tarn_pool_free(pool[i], tarn_pool_alloc(pool[i]));
    }
    cr_assert_null(tarn_pool_create("toomany", APART, 0, 0));
    cr_assert_eq(errno, ENOSPC);
    errno = ERRNO;
    cr_assert(is_malloc(make("merged", 64, TARN_SHARED), "size-64")); /* needs no place */
    for (int round = 0; round < 3; round++) {                         /* a place is good for another */
        cr_assert_null(tarn_pool_destroy(pool[100]));
        pool[100] = make("again", 5000, 0);
        void *p = tarn_pool_alloc(pool[100]);
        cr_assert_eq(heap_usable(p), 5008);
        tarn_pool_free(pool[100], p);
        cr_assert_str_eq(pool_now(pool[100]).name, "again");
    }
    heap_check();
}

static void start_without_merging(void)
{
    setenv("TARN_DEBUG", "no-merge", 1);
    start();
}

Test(haproxy_create_no_merge, C8_only_the_same_name_merges, .init = start_without_merging)
{
    struct tarn_pool *pool = make("twice", APART, TARN_SHARED);
    cr_assert_neq(make("once", APART, TARN_SHARED), pool);
    cr_assert_eq(make("twice", APART, TARN_SHARED), pool); /* the same line of a configuration, read again */
    cr_assert_eq(pool_now(pool).users, 2);
    cr_assert_not(is_malloc(make("mine", 64, TARN_SHARED), "size-64"));
}

/* ---- bugs that HAProxy had ------------------------------------------------------------------------- */

static pthread_barrier_t held, merged;

static void *hold_lock(void *lock)
{
    lock_acquire(lock);
    pthread_barrier_wait(&held);
    pthread_barrier_wait(&merged);
    lock_release(lock);
    return NULL;
}

Test(haproxy_create, B1_merging_leaves_a_lock_that_is_held_alone)
{
    pthread_t thread;
    struct tarn_pool *pool = make("locked", APART, TARN_SHARED);
    struct lock *lock = &pools[region_class(tarn_pool_alloc(pool))].lock;
    pthread_barrier_init(&held, NULL, 2);
    pthread_barrier_init(&merged, NULL, 2);
    pthread_create(&thread, NULL, hold_lock, lock);
    pthread_barrier_wait(&held);
    cr_assert_eq(make("again", APART, TARN_SHARED), pool);
    cr_assert_not(lock_try(lock));
    pthread_barrier_wait(&merged);
    pthread_join(thread, NULL);
}

static bool stop;

/* With a limit, so that each call takes the pool's lock. */
static void *hammer(void *pool)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        uintptr_t *p = tarn_pool_alloc(pool);
        if (p == NULL)
            return pool;
        *p = (uintptr_t)p;
        uintptr_t *q = tarn_pool_alloc(pool);
        if (q == NULL || q == p || *p != (uintptr_t)p)
            return pool;
        tarn_pool_free(pool, p);
        tarn_pool_free(pool, q);
    }
    return NULL;
}

Test(haproxy_create, B1_merging_does_not_disturb_a_busy_pool)
{
    pthread_t thread[3];
    void *spoilt;
    struct tarn_pool *pool = make("busy", APART, TARN_SHARED);
    cr_assert_eq(tarn_pool_set_limit(pool, 6), 0);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, hammer, pool);
    for (int i = 0; i < 2000; i++) {
        cr_assert_eq(make("again", APART, TARN_SHARED), pool);
        cr_assert_null(tarn_pool_destroy(pool));
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], &spoilt);
        cr_assert_null(spoilt);
    }
    cr_assert_eq(pool_now(pool).users, 1);
    cr_assert_eq(pool_now(pool).used, 0);
    cr_assert_eq(pool_now(pool).limited, 0);
    heap_check();
}

Test(haproxy_create, B2_no_size_is_too_small_to_be_kept)
{
    enum { MANY = 3000 };
    static unsigned char *p[MANY];
    struct tarn_pool *pool = make("tiny", 1, TARN_EXACT);
    cr_assert_null(tarn_pool_create("empty", 0, 0, 0));
    cr_assert_eq(errno, EINVAL);
    cr_assert_null(tarn_pool_create("empty", 0, 0, TARN_EXACT));
    cr_assert_eq(alloc_many(pool, (void **)p, MANY), MANY);
    for (int i = 0; i < MANY; i++)
        *p[i] = (unsigned char)i;
    for (int i = 0; i < MANY; i += 2)
        tarn_pool_free(pool, p[i]);
    for (int i = 1; i < MANY; i += 2)
        cr_assert_eq(*p[i], (unsigned char)i); /* no link of the free ones reaches it */
    heap_check();
}

Test(haproxy_create, B3_no_size_overflows)
{
    const size_t sizes[] = {TARN_SIZE_MAX + 1,      0xFFFFFFF8,    0xFFFFFFFF, (size_t)1 << 32,
                            ((size_t)1 << 32) + 64, SIZE_MAX - 14, SIZE_MAX,   (size_t)1 << 63};
    for (size_t i = 0; i < 4 * sizeof sizes / sizeof sizes[0]; i++) {
        errno = ERRNO;
        cr_assert_null(tarn_pool_create("much", sizes[i / 4], 0, i % 4));
        cr_assert_eq(errno, EINVAL);
    }
}

Test(haproxy_create, B3_nor_does_an_alignment)
{
    const size_t aligns[] = {3, 48, (size_t)2 * TARN_SIZE_MAX, (size_t)1 << 32, (size_t)1 << 63, SIZE_MAX};
    for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
        errno = ERRNO;
        cr_assert_null(tarn_pool_create("askew", 64, aligns[i], 0));
        cr_assert_eq(errno, EINVAL);
    }
    errno = ERRNO;
    cr_assert_null(tarn_pool_create("flags", 64, 0, 4));
    cr_assert_eq(errno, EINVAL);
}
