/* Pointers that are no block: reported and left alone, at once or at the flush. */
#include "../tools/whole_heap.h"
#include "gc.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(heap_misuse, .init = start);

static struct pool *pool_of(const void *p)
{
    return &pools[region_class(p)];
}

Test(heap_misuse, null_is_free_to_free)
{
    give(NULL);
    cr_assert_eq(heap_usable(NULL), 0);
    for (enum fault_kind k = 0; k < FAULT_KINDS; k++)
        cr_assert_eq(fault_count(k), 0);
}

Test(heap_misuse, foreign_pointers_are_counted_and_left_alone)
{
    static char elsewhere[64];
    int local = 0;
    void *theirs = malloc(100);
    alloc(10);
    give(&local);
    give(elsewhere);
    give(theirs);
    give((void *)(uintptr_t)0x10);
    give((void *)UINTPTR_MAX);
    cr_assert_null(heap_realloc(theirs, 200));
    cr_assert_eq(heap_usable(theirs), 0);
    check_faults(6, 0, 0, 0);
    free(theirs);
}

Test(heap_misuse, free_space_of_ours_is_known_as_such)
{
    alloc(10);
    char *last = (char *)(region.base + (region.units << UNIT_SHIFT) - UNIT);
    give(last);
    cr_assert_null(heap_realloc(last + 8, 10));
    check_faults(0, 0, 0, 2);
}

Test(heap_misuse, the_inside_of_a_large_block_is_refused_at_once)
{
    char *p = alloc(MEBIBYTE);
    memset(p, 9, MEBIBYTE);
    give(p + 16);
    give(p + UNIT);
    give(p + UNIT + 5);
    cr_assert_null(heap_realloc(p + UNIT, 10));
    cr_assert_eq(heap_usable(p + 1), 0);
    check_faults(0, 4, 0, 0);
    cr_assert_eq(p[MEBIBYTE - 1], 9);
    cr_assert_eq(large_now().blocks, 1);
    give(p);
    give(p); /* by now it is nobody's, or jemalloc's spare */
    cr_assert_eq(fault_count(FAULT_INSIDE) + fault_count(FAULT_FREE_SPACE), 5);
    cr_assert_eq(large_now().blocks, 0);
    heap_check();
}

Test(heap_misuse, the_inside_of_a_pooled_block_is_found_at_the_flush)
{
    char *p = alloc(1000), *q = alloc(1000);
    uint64_t used = pool_of(p)->used;
    give(p + 16);
    give(q);
    cr_assert_eq(heap_usable(p + 16), 0);
    gc_run();
    check_faults(0, 1, 0, 0);
    cr_assert_eq(pool_of(p)->used, 1); /* p is still out */
    cr_assert_gt(used, 1);
    give(p);
    gc_run();
    check_faults(0, 1, 0, 0);
}

Test(heap_misuse, realloc_of_the_inside_of_a_pooled_block_is_refused_where_it_would_move)
{
    char *p = alloc(1000);
    cr_assert_null(heap_realloc(p + 16, 5000));
    cr_assert_null(heap_realloc(p + 16, 100));
    check_faults(0, 2, 0, 0);
    give(p);
}

Test(heap_misuse, a_double_free_is_found_at_the_flush)
{
    enum { MANY = 2000 };
    void *p[MANY];
    for (int i = 0; i < MANY; i++)
        p[i] = alloc(64);
    for (int i = 0; i < MANY; i++)
        give(p[i]);
    give(p[10]);
    give(p[1500]);
    gc_run();
    check_faults(0, 0, 2, 0);
    cr_assert_eq(pools[class_of(64)].used, 0);
    cr_assert_eq(pools[class_of(64)].allocated, 0);
    give(p[10]); /* its slab is gone */
    check_faults(0, 0, 2, 1);
}
