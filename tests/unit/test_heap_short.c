/* Fails for want of memory -> gc once -> retry once -> NULL. */
#include "../tools/whole_heap.h"
#include "fake_system.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(heap_short, .init = start);

/* Fills the limit with blocks of one class, then frees all: the memory is the class's until gc. */
enum { HOARD = 400000 };
static void *hoard[HOARD];

static size_t fill_limit(size_t n)
{
    size_t count = 0;
    while (count < HOARD && (hoard[count] = alloc(n)) != NULL)
        count++;
    cr_assert_lt(count, HOARD);
    return count;
}

/* All over the place: what stays in caches and the depot pins nearly every slab. */
static void free_hoard(size_t count)
{
    enum { STRIDE = 5077 };
    cr_assert_neq(count % STRIDE, 0);
    for (size_t i = 0; i < count; i++)
        give(hoard[i * STRIDE % count]);
}

Test(heap_short, a_request_that_gc_rescues_counts_one_failure)
{
    region_limit(8 * MEBIBYTE);
    size_t count = fill_limit(1024);
    free_hoard(count);
    uint64_t failed = pools[class_of(5000)].failed;
    size_t got = fill_limit(5000);
    cr_assert_geq(got * 5000, 6 * MEBIBYTE);                    /* nearly all of it changed hands */
    cr_assert_eq(pools[class_of(5000)].failed, failed + 1 + 2); /* rescued once; the last was lost */
    heap_check();
}

Test(heap_short, a_lost_request_counts_two_failures_and_changes_nothing)
{
    region_limit(4 * MEBIBYTE);
    size_t count = fill_limit(700);
    unsigned c = class_of(700);
    uint64_t failed = pools[c].failed;
    for (int i = 1; i <= 5; i++) {
        cr_assert_null(alloc(700));
        cr_assert_eq(pools[c].failed, failed + 2 * (uint64_t)i);
    }
    cr_assert_eq(pools[c].used, count + cache_held(thread_cache(), c));
    cr_assert_null(heap_realloc(hoard[0], 5000));
    cr_assert_eq(heap_usable(hoard[0]), class_table[c].size);
    cr_assert_eq(heap_realloc(hoard[0], 10), hoard[0]); /* shrinking needs no memory to succeed */
    heap_check();
    give(hoard[0]);
    cr_assert_not_null(alloc(700));
}

Test(heap_short, large_requests_are_rescued_and_lost_alike)
{
    region_limit(16 * MEBIBYTE);
    size_t count = fill_limit(1024);
    cr_assert_null(alloc(4 * MEBIBYTE));
    cr_assert_eq(large_now().failed, 2);
    free_hoard(count);
    void *p = alloc(4 * MEBIBYTE);
    cr_assert_not_null(p);
    cr_assert_eq(large_now().failed, 3);
    cr_assert_null(heap_realloc(p, 64 * MEBIBYTE));
    cr_assert_eq(large_now().failed, 5);
    cr_assert_geq(heap_usable(p), 4 * MEBIBYTE);
    give(p);
    cr_assert_gt(fill_limit(1024), count / 2); /* and back from jemalloc to the pools */
    heap_check();
}

Test(heap_without_gc, nothing_is_rescued)
{
    setenv("TARN_GC", "0", 1);
    setenv("TARN_LIMIT", "8M", 1);
    start();
    size_t count = fill_limit(1024);
    free_hoard(count);
    size_t got = fill_limit(5000);
    cr_assert_lt(got * 5000, 4 * MEBIBYTE);
    cr_assert_eq(pools[class_of(5000)].failed, 1);
}

Test(heap_short, a_kernel_that_refuses_is_survived)
{
    void *p = alloc(100);
    memset(p, 3, 100);
    fake_refuse(0, SIZE_MAX);
    size_t count = fill_limit(10000);
    cr_assert_null(alloc(MEBIBYTE));
    cr_assert_null(heap_alloc_aligned(MEBIBYTE, 1));
    heap_check();
    fake_refuse_none();
    cr_assert_not_null(alloc(10000));
    cr_assert_not_null(alloc(MEBIBYTE));
    free_hoard(count);
    heap_check();
}
