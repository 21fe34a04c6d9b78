#include "../tools/window.h"
#include "fake_system.h"
#include "meta.h"

TestSuite(region_slab, .init = start, .timeout = 30);

Test(region_slab, a_slab_is_found_from_every_address_in_it)
{
    for (unsigned c = 1; c <= class_count; c++) {
        for (int i = 0; i < 3; i++) {
            struct slab *s = region_claim_slab(c);
            cr_assert_not_null(s);
            slab_check(s);
            cr_assert_eq(s->pool, c);
            cr_assert_eq(s->units, class_table[c].units);
            cr_assert_eq((uintptr_t)s->base % ((uintptr_t)s->units * UNIT), 0);
            for (size_t offset = 0; offset < (size_t)s->units * UNIT; offset += 4096) {
                cr_assert_eq(region_class(s->base + offset), c);
                cr_assert_eq(region_slab(s->base + offset), s);
            }
        }
    }
    region_check();
}

Test(region_slab, a_released_slab_leaves_nothing)
{
    struct slab *s[100];
    region_release_slab(region_claim_slab(1)); /* the group's descriptors stay */
    size_t books = meta_used();
    for (size_t i = 0; i < 40; i++)
        s[i] = region_claim_slab(1 + (unsigned)(i % class_count));
    char *base = s[0]->base;
    for (size_t i = 0; i < 40; i++)
        region_release_slab(s[i]);
    cr_assert_eq(taken(), 0);
    cr_assert_leq(meta_used(), books + META_MAX);
    cr_assert_eq(region_class(base), CLASS_NONE);
}

/* Units, descriptors and bitmap are three things that can fail. */
Test(region_slab, a_slab_that_can_not_be_had_leaves_nothing)
{
    cr_assert_not_null(claim_all_mapped());
    size_t before = taken(), failures = 0;
    for (size_t n = 0; n < 8; n++) {
        fake_refuse(n, SIZE_MAX);
        struct slab *s = region_claim_slab(1);
        fake_refuse_none();
        if (s == NULL) {
            failures++;
            cr_assert_eq(taken(), before);
        } else {
            region_release_slab(s);
        }
    }
    cr_assert_gt(failures, 0);
    cr_assert_not_null(region_claim_slab(1));
}

/* ---- tidy ---- */

enum { LONG = 1000 /* ms: more than a period */ };

Test(region_slab, tidy_gives_back_what_nobody_needed_for_a_while)
{
    cr_assert_not(region_untidy());
    region_tidy(); /* a period begins */
    char *a = claim(64);
    region_release(a, 64);
    cr_assert_not(region_untidy()); /* too early */
    region_tidy();
    cr_assert_eq(dirty(), 64);
    fake_advance(LONG);
    cr_assert(region_untidy());
    region_tidy(); /* from now on is watched how few there are */
    cr_assert_not(region_untidy());
    cr_assert_eq(dirty(), 64);
    cr_assert_eq(claim(10), a);
    region_release(a, 10);
    fake_advance(LONG);
    cr_assert(region_untidy());
    region_tidy();
    cr_assert_eq(dirty(), 10); /* these were needed */
    fake_advance(LONG);
    region_tidy();
    cr_assert_eq(dirty(), 0);
    fake_advance(LONG);
    cr_assert_not(region_untidy()); /* nothing left to look at */
}

Test(region_slab, tidy_caps_what_may_wait_at_once)
{
    size_t count = 8192;
    region_tidy();
    char *a = claim(count);
    region_release(a, count);
    cr_assert(region_untidy());
    region_tidy();
    cr_assert_not(region_untidy());
    cr_assert_lt(dirty(), count / 2);
    cr_assert_gt(dirty(), 0);
}

/* ---- where memory is ---- */

Test(region_slab, resident_memory_is_told_by_class)
{
    size_t by_class[CLASS_MAX];
    struct slab *a = region_claim_slab(class_of(64)), *b = region_claim_slab(class_of(32768));
    region_claim_slab(class_of(64));
    region_resident(by_class);
    cr_assert_eq(by_class[a->pool], 2 * UNIT);
    cr_assert_eq(by_class[b->pool], (size_t)b->units * UNIT);
    size_t sum = 0; /* the fake says that all that is mapped is resident */
    for (unsigned c = 0; c < CLASS_MAX; c++)
        sum += by_class[c];
    cr_assert_eq(sum, stats().mapped);
}
