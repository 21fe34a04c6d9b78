#include "../tools/random.h"
#include "../tools/window.h"
#include "fake_system.h"
#include "system.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

TestSuite(region, .init = start, .timeout = 30);

/* ---- claim and release ---- */

Test(region, claims_the_lowest_units_zeroed_and_writable)
{
    char *a = claim(1), *b = claim(3);
    cr_assert_eq((uintptr_t)a, region.base);
    cr_assert_eq(b, a + UNIT);
    cr_assert(zeroed);
    cr_assert(is_zero(a, 4));
    memset(a, 1, (size_t)4 * UNIT);
    cr_assert_eq(taken(), 4);
}

Test(region, release_makes_units_dirty_classless_and_first_to_be_claimed)
{
    char *a = claim(2), *b = claim(2), *c = claim(2);
    memset(b, 1, (size_t)2 * UNIT);
    region_set_class(b, 2, 7);
    cr_assert(region_class(b) == 7 && region_class(b + 2 * UNIT - 1) == 7 && region_class(c) == CLASS_NONE);
    region_release(b, 2);
    cr_assert(region_class(b) == CLASS_NONE && region_class(b + UNIT) == CLASS_NONE);
    cr_assert_eq(dirty(), 2);
    region_release(a, 2);
    cr_assert_eq(claim(3), a);
    cr_assert_not(zeroed);
    cr_assert_eq(dirty(), 1);
    region_release(c, 2);
    cr_assert_eq(taken(), 3);
}

Test(region, purged_units_read_as_zeroes)
{
    char *a = claim(8);
    memset(a, 1, (size_t)8 * UNIT);
    region_release(a, 8);
    cr_assert_eq(region_purge(3 * UNIT), 5 * UNIT);
    cr_assert_eq(dirty(), 3);
    cr_assert_eq(a[0], 1); /* the lowest stay: they are claimed first */
    cr_assert_eq(region_purge(0), 3 * UNIT);
    cr_assert_eq(dirty(), 0);
    cr_assert_eq(claim(8), a);
    cr_assert(zeroed);
    cr_assert(is_zero(a, 8));
}

Test(region, a_refused_purge_leaves_units_dirty)
{
    char *a = claim(8);
    memset(a, 1, (size_t)8 * UNIT);
    region_release(a, 8);
    fake_refuse(0, 1);
    cr_assert_eq(region_purge(0), 0);
    cr_assert_eq(fake_refused(), 1);
    cr_assert_eq(dirty(), 8);
    cr_assert_eq(claim(8), a);
    cr_assert_not(zeroed);
}

Test(region, aligns_by_address)
{
    for (size_t align = 1; align <= 1024; align *= 2)
        for (size_t count = 1; count <= 200; count += 67) {
            char *p = region_claim(count, align, &zeroed);
            cr_assert_not_null(p);
            cr_assert_eq((uintptr_t)p % (align * UNIT), 0, "%zu units at %zu", count, align);
            p[0] = p[count * UNIT - 1] = 1;
            if (count > 100)
                region_release(p, count);
        }
    region_check();
}

Test(region, limit_counts_taken_and_dirty)
{
    region_limit(10 * UNIT);
    char *a = claim(6);
    cr_assert_not_null(a);
    cr_assert_null(claim(5));
    char *b = claim(4);
    cr_assert_not_null(b);
    cr_assert_null(claim(1));
    region_release(b, 4);
    cr_assert_eq(claim(4), b); /* dirty ones are within the limit already */
    region_limit(SIZE_MAX);
    cr_assert_not_null(claim(7));
    cr_assert_not_null(a);
}

/* 6 dirty units in two pieces do not serve a claim of 5, and with them it is one too many. */
Test(region, limit_counts_dirty_units_that_are_of_no_use)
{
    region_limit(10 * UNIT);
    char *a = claim(3), *b = claim(1), *c = claim(3);
    region_release(a, 3);
    region_release(c, 3);
    cr_assert_null(claim(5));
    region_purge(0);
    cr_assert_not_null(claim(5));
    region_release(b, 1);
}

Test(region, no_count_is_too_big_to_be_refused)
{
    cr_assert_null(claim(region.units + 1));
    cr_assert_null(claim(SIZE_MAX));
    cr_assert_null(claim(SIZE_MAX >> UNIT_SHIFT));
    region_limit(100 * UNIT);
    cr_assert_null(claim(SIZE_MAX));
    cr_assert_not_null(claim(100));
    cr_assert_eq(taken(), 100);
}

/* ---- growth ---- */

Test(region, a_refused_growth_is_tried_smaller_then_is_null_then_recovers)
{
    cr_assert_not_null(claim_all_mapped());
    size_t before = taken();
    fake_refuse(0, 1);
    cr_assert_not_null(claim(1));
    cr_assert_eq(taken(), before + 1);
    cr_assert_eq(stats().mapped, (before + 1) * UNIT); /* this one, and nothing in stock */
    fake_refuse(0, 2);
    cr_assert_null(claim(1));
    cr_assert_eq(taken(), before + 1);
    char *p = claim(1);
    cr_assert_not_null(p);
    p[0] = 1;
    cr_assert_eq(region_unit(p), before + 1); /* refused is not lost */
}

Test(region, occupied_places_are_lost_for_good_and_not_counted)
{
    cr_assert_not_null(claim_all_mapped());
    size_t before = taken();
    fake_occupy(2);
    char *p = claim(3);
    cr_assert_not_null(p);
    p[0] = p[3 * UNIT - 1] = 1;
    cr_assert_eq(taken(), before + 3);
    cr_assert_eq(region_unit(p), before + 3); /* behind the lost place */
    region_release(p, 3);
    region_purge(0);
    cr_assert_eq(claim(3), p);
}

Test(region, grows_in_larger_steps_the_more_there_is)
{
    for (int i = 0; i < 20000; i++)
        cr_assert_not_null(claim(1));
    size_t calls = fake_calls();
    for (int i = 0; i < 5000; i++)
        cr_assert_not_null(claim(1));
    cr_assert_lt(fake_calls() - calls, 15);
}

static void *purge_all(void *unused)
{
    region_purge(0);
    return unused;
}

Test(region, where_memory_is_filled_at_once_no_more_is_mapped_than_is_claimed)
{
    claim_all_mapped();
    system_expect_fill(true);
    size_t mapped = stats().mapped;
    for (size_t i = 1; i < 100; i++) {
        claim(1);
        cr_assert_eq(stats().mapped, mapped + i * UNIT);
    }
}

/* Exactly: statm may be 256 KiB behind. Of files the kernel may map 64 KiB around what is touched, and does so or not. */
static size_t anonymous(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    cr_assert_not_null(f);
    while (kib == 0 && fgets(line, sizeof line, f) != NULL)
        (void)sscanf(line, "Anonymous: %zu", &kib);
    fclose(f);
    return kib << 10;
}

/* Of what was claimed before, within the first GiB; then of the second, and of the last there is. */
Test(region, thin_books_are_readied_as_they_are_needed)
{
    enum { GIBIBYTE_UNITS = 1 << 14 };
    char *p = claim(10);
    region_set_class(p, 10, 7);
    region_thin();
    cr_assert_eq(region_class(p), 7);
    cr_assert_eq(region_class(p + (size_t)GIBIBYTE_UNITS * UNIT), CLASS_NONE);
    anonymous(); /* which takes some itself the first time */
    size_t before = anonymous();
    if (mlock(region.places, region.units * sizeof *region.places) == 0)
        cr_assert_leq(anonymous(), before + (64 << 10));
    fake_refuse(0, 1);
    cr_assert_null(claim(GIBIBYTE_UNITS), "books that can't be written");
    fake_refuse(1, 1);
    cr_assert_null(claim(GIBIBYTE_UNITS), "half of them");
    char *q = claim(GIBIBYTE_UNITS);
    cr_assert_not_null(q);
    region_set_class(q, GIBIBYTE_UNITS, 8);
    region_thin();
    cr_assert_eq(region_class(q + (size_t)(GIBIBYTE_UNITS - 1) * UNIT), 8);
    char *last = (char *)(region.base + ((region.units - 1) << UNIT_SHIFT));
    cr_assert_eq(region_claim_at(last, 1, &zeroed), last);
    region_set_class(last, 1, 9);
    region_check();
}

/* It is about to be free, and nobody's failure until then. */
Test(region, what_is_being_purged_is_not_counted_at_a_limit, .timeout = 30)
{
    pthread_t thread;
    char *low = claim(20), *high = claim(20);
    region_release_as(low, 20, false);
    region_release(high, 20);
    region_limit((size_t)20 * UNIT);
    fake_gate(true);
    pthread_create(&thread, NULL, purge_all, NULL);
    while (fake_waiting() == 0)
        usleep(1000);
    low = claim(20);
    cr_assert_not_null(low);
    cr_assert_null(claim(1));
    fake_gate(false);
    pthread_join(thread, NULL);
    cr_assert_null(claim(1));
    region_release(low, 20);
    cr_assert_not_null(claim(20));
    region_check();
}

/* What is mapped in stock is not taken: not even on its way, or another thread's claim would fail at a limit. */
Test(region, growth_takes_no_more_than_what_is_claimed)
{
    pthread_t thread;
    void *p;
    cr_assert_not_null(claim_all_mapped());
    size_t before = taken();
    fake_gate(true);
    pthread_create(&thread, NULL, claim_one, NULL);
    while (fake_waiting() == 0)
        usleep(1000);
    cr_assert_eq(taken(), before + 1);
    fake_gate(false);
    pthread_join(thread, &p);
    cr_assert_not_null(p);
    cr_assert_eq(taken(), before + 1);
    cr_assert_gt(stats().mapped, (before + 1) * UNIT);
}

Test(region, shrink_unmaps_what_is_free_and_nothing_else)
{
    char *a = claim(40), *b = claim(3), *c = claim(100);
    memset(b, 7, (size_t)3 * UNIT);
    region_release(a, 40);
    region_release(c, 100);
    region_shrink();
    cr_assert_eq(stats().mapped, 3 * UNIT);
    cr_assert_eq(dirty(), 0);
    cr_assert_eq(taken(), 3);
    cr_assert(b[0] == 7 && b[3 * UNIT - 1] == 7);
    char *d = claim(40);
    cr_assert_eq(d, b + 3 * UNIT); /* the lowest there is */
    cr_assert(zeroed && is_zero(d, 40));
    region_check();
}

/* A hole makes two mappings of one, and there may be no more mappings. */
Test(region, what_the_kernel_does_not_unmap_stays_ours)
{
    char *a = claim(40), *b = claim(3);
    size_t mapped = stats().mapped;
    memset(a, 7, UNIT);
    region_release(a, 40);
    fake_refuse(0, 1);
    region_shrink();
    cr_assert_eq(stats().mapped, mapped);
    cr_assert_eq(taken(), 3);
    region_check();
    a = claim(40);
    cr_assert_not(zeroed);
    region_release(a, 40);
    region_shrink();
    cr_assert_eq(stats().mapped, 3 * UNIT);
    a = claim(40);
    cr_assert(zeroed && is_zero(a, 40));
    region_release(b, 3);
    region_check();
}

/* ---- claim_at ---- */

Test(region, claims_in_place)
{
    char *a = claim(2), *end = a + 2 * UNIT;
    cr_assert_eq(region_claim_at(end, 1, &zeroed), end);
    cr_assert(zeroed);
    cr_assert_null(region_claim_at(end, 1, &zeroed));
    cr_assert_null(region_claim_at(a + UNIT, 4, &zeroed));
    region_release(end, 1);
    cr_assert_eq(region_claim_at(end, 2, &zeroed), end);
    cr_assert_not(zeroed); /* one of them is dirty */
    cr_assert_eq(taken(), 4);
}

Test(region, claims_in_place_beyond_what_is_mapped)
{
    char *a = claim(2), *end = a + 2 * UNIT;
    size_t far = (stats().mapped >> UNIT_SHIFT) + 100;
    cr_assert_eq(region_claim_at(end, far, &zeroed), end);
    memset(end, 1, far * UNIT);
    cr_assert_eq(taken(), 2 + far);
}

Test(region, a_refused_claim_in_place_takes_nothing)
{
    char *a = claim(2), *end = a + 2 * UNIT;
    size_t far = (stats().mapped >> UNIT_SHIFT) + 100;
    fake_refuse(0, 1);
    cr_assert_null(region_claim_at(end, far, &zeroed));
    cr_assert_eq(taken(), 2);
    fake_occupy(1);
    cr_assert_null(region_claim_at(end, far, &zeroed));
    cr_assert_eq(taken(), 2);
    cr_assert_not_null(claim(200));
    region_limit(202 * UNIT);
    cr_assert_null(region_claim_at(end, 1, &zeroed));
}

Test(region, claims_nothing_outside_the_window)
{
    static char elsewhere[2 * UNIT];
    char *last = (char *)(region.base + ((region.units - 1) << UNIT_SHIFT));
    cr_assert_null(region_claim_at(elsewhere, 1, &zeroed));
    cr_assert_null(region_claim_at(last, 2, &zeroed));
    cr_assert_null(region_claim_at(last, SIZE_MAX, &zeroed));
    cr_assert_eq(region_claim_at(last, 1, &zeroed), last);
    last[UNIT - 1] = 1;
    region_check();
}

/* ---- any steps ---- */

Test(region, claims_never_overlap)
{
    enum { CLAIMS = 200 };
    struct {
        unsigned char *at, fill;
        size_t count;
    } held[CLAIMS] = {0};
    uint64_t seed = 5;
    size_t sum = 0;
    for (int step = 0; step < 20000; step++) {
        size_t i = random_below(&seed, CLAIMS);
        if (held[i].at != NULL) {
            for (size_t u = 0; u < held[i].count; u++)
                cr_assert_eq(held[i].at[u * UNIT], held[i].fill);
            sum -= held[i].count;
            region_release(held[i].at, held[i].count);
            if (region_untidy())
                region_tidy();
        }
        held[i].count = 1 + random_below(&seed, random_below(&seed, 8) == 0 ? 150 : 6);
        held[i].fill = (unsigned char)(1 + random_below(&seed, 255));
        held[i].at = region_claim(held[i].count, (size_t)1 << random_below(&seed, 5), &zeroed);
        sum += held[i].count;
        for (size_t u = 0; u < held[i].count; u++) {
            cr_assert(!zeroed || held[i].at[u * UNIT] == 0);
            held[i].at[u * UNIT] = held[i].fill;
        }
        if (random_below(&seed, 300) == 0) {
            region_purge(random_below(&seed, 100) * UNIT);
            fake_advance(random_below(&seed, 150));
            cr_assert_eq(taken(), sum);
        }
    }
}
