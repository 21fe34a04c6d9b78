#include "../tools/window.h"
#include "fake_system.h"
#include "meta.h"
#include "system.h"

#include <pthread.h>

/* A sanitizer leaves a program only one of the places where the window could lie. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { ONE_PLACE = true };
#else
enum { ONE_PLACE = false };
#endif

Test(region_start, before_it_nothing_is_ours)
{
    int local = 0;
    cr_assert_eq(region_class(&local), CLASS_NONE);
    cr_assert_eq(region_class(NULL), CLASS_NONE);
    cr_assert_null(region_claim_at(&local, 1, &zeroed));
}

Test(region_start, takes_no_memory_but_a_first_piece)
{
    start();
    struct region_stats s = stats();
    cr_assert_eq(s.taken, 0);
    cr_assert_eq(s.dirty, 0);
    cr_assert_leq(s.mapped, MEBIBYTE);
    cr_assert_eq(region.base % (GROUP_UNITS * (uintptr_t)UNIT), 0);
    cr_assert_geq(region.units * (size_t)UNIT, (size_t)16 << 30); /* 4 times the fake's memory */
}

/* A limit may be raised later; until then the tables take a hundredth of it. */
Test(region_start, wants_no_more_than_a_limit_lets_it_use)
{
    fake_limit((size_t)8 * MEBIBYTE);
    start();
    cr_assert_geq(region.units * (size_t)UNIT, (size_t)2 << 30);
    cr_assert_leq(region.units * (size_t)UNIT, (size_t)4 << 30);
    cr_assert_not_null(claim(1));
}

Test(region_start, goes_elsewhere_where_the_place_is_occupied, .disabled = ONE_PLACE)
{
    fake_occupy(2);
    start();
    cr_assert_eq(taken(), 0);
    char *p = claim(1);
    cr_assert_not_null(p);
    cr_assert_eq(region_unit(p), 0); /* the lost candidates left no trace */
    p[0] = 1;
}

/* By whoever claims first. */
Test(region_start, without_tables_nothing_is_ours_until_they_can_be_had)
{
    enum { THREADS = 8 };
    pthread_t thread[THREADS];
    void *claimed[THREADS];
    fake_refuse(0, SIZE_MAX);
    cr_assert_not(region_start());
    cr_assert_null(claim(1));
    cr_assert_eq(region_class(&zeroed), CLASS_NONE);
    cr_assert_eq(region_purge(0), 0);
    region_shrink();
    region_tidy();
    region_thin();
    region_check();
    fake_refuse_none();
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, claim_one, NULL);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(thread[i], &claimed[i]);
        cr_assert_not_null(claimed[i]);
        cr_assert_lt(region_unit(claimed[i]), THREADS);
    }
    cr_assert_eq(taken(), THREADS);
}

/* What is refused at the start may be had later. */
Test(region_start, refused_everywhere_it_still_has_a_window, .disabled = ONE_PLACE)
{
    fake_refuse(1, 4);
    start();
    cr_assert_eq(fake_refused(), 4);
    cr_assert_eq(stats().mapped, 0);
    char *p = claim(1);
    cr_assert_not_null(p);
    cr_assert_eq(region_unit(p), 0);
    p[0] = 1;
}

/* What is claimed must be known to be ours: else free() would take it for foreign. */
Test(region_start, without_a_place_nothing_is_ours_and_nothing_is_claimed)
{
    fake_occupy(8);
    cr_assert_not(region_start());
    cr_assert_null(claim(1));
    cr_assert_eq(region_class(&zeroed), CLASS_NONE);
}
