#include "../tools/harden_session.h"
#include "fake_system.h"

#include <sys/mman.h>

TestSuite(harden_fence, .timeout = 60);

Test(harden_fence, the_last_page_of_a_slab_is_out_of_reach)
{
    start_with(HARDEN_GUARD_PAGES);
    int file = memfd_create("file", 0);
    size_t page = system_page();
    struct fault f;
    for (unsigned c = 1; c <= class_count; c++) {
        struct slab *s = region_claim_slab(c);
        char *end = s->base + s->units * (size_t)UNIT, *last = s->base + (size_t)(s->blocks - 1) * s->size;
        cr_assert_eq(s->blocks, class_table[c].blocks);
        cr_assert_leq(last + s->size, end - page);
        cr_assert_eq(pwrite(file, end - page - 1, 1, 0), 1);
        cr_assert_eq(pwrite(file, end - page, 1, 0), -1);
        cr_assert_eq(pwrite(file, end - 1, 1, 0), -1);
        cr_expect(harden_explain(end - page, &f));
        cr_expect_eq(f.expected, last);
        cr_expect_eq(f.offset, end - page - last);
        cr_expect_not(harden_explain(last, &f));
        region_release_slab(s);
        cr_assert_eq(pwrite(file, end - page, 1, 0), 1);
    }
}

Test(harden_fence, an_underrun_is_told_of_the_block_behind)
{
    start_with(HARDEN_GUARD_PAGES);
    struct slab *s = region_claim_slab(pool->id);
    struct fault f;
    cr_assert(harden_explain(s->base - 3, &f));
    cr_expect_eq(f.expected, s->base);
    cr_expect_eq(f.offset, -3);
}

Test(harden_fence, so_is_one_below_the_window)
{
    start_with(HARDEN_GUARD_PAGES);
    char *window = (char *)region.base;
    struct fault f;
    cr_assert_eq(region_class(window), pool->id);
    cr_assert(harden_explain(window - 3, &f));
    cr_expect_eq(f.expected, window);
    cr_expect_eq(f.offset, -3);
    cr_expect_not(harden_explain(window - system_page() - 1, &f));
}

Test(harden_fence, a_fence_that_the_kernel_refuses_is_none)
{
    start_with(HARDEN_GUARD_PAGES);
    struct fault f;
    region_claim_slab(pool->id); /* what it needs once is there */
    fake_refuse(0, 1);
    struct slab *s = region_claim_slab(pool->id);
    fake_refuse_none();
    cr_assert_not_null(s);
    char *end = s->base + UNIT;
    end[-1] = 1;
    cr_expect_not(harden_explain(end - 1, &f));
    region_release_slab(s);
}

/* As where RLIMIT_DATA has no room for the page: all of the slab is unmapped, and can be had again. */
Test(harden_fence, a_fence_that_the_kernel_keeps_goes_with_its_slab)
{
    start_with(HARDEN_GUARD_PAGES);
    struct slab *s = region_claim_slab(pool->id);
    char *base = s->base;
    *base = 1;
    fake_refuse(0, 1);
    region_release_slab(s);
    fake_refuse_none();
    cr_expect_eq(region_class(base), CLASS_NONE);
    for (int i = 0; i < 100 && region_class(base) == CLASS_NONE; i++)
        region_claim_slab(pool->id);
    cr_expect_eq(region_class(base), pool->id);
    cr_expect_eq(*base, 0);
    base[UNIT - system_page() - 1] = 1;
    region_check();
}

Test(harden_fence, units_whose_fence_stays_are_not_used_again)
{
    start_with(HARDEN_GUARD_PAGES);
    struct slab *s = region_claim_slab(pool->id);
    char *base = s->base;
    fake_refuse(0, 2); /* not unmapped either */
    region_release_slab(s);
    fake_refuse_none();
    cr_expect_eq(region_class(base), CLASS_NONE);
    for (int i = 0; i < 100; i++)
        cr_expect_neq(region_claim_slab(pool->id)->base, base);
    region_check();
}

Test(harden_fence, without_memory_for_its_books_there_is_no_slab)
{
    start_with(HARDEN_ALL);
    for (size_t after = 0; after < 4; after++)
        for (unsigned c = 1; c <= class_count; c++) {
            fake_refuse(after, SIZE_MAX);
            struct slab *s = region_claim_slab(c);
            fake_refuse_none();
            if (s != NULL)
                region_release_slab(s);
            region_check();
        }
}
