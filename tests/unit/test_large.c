/* large against the real region and the real kernel; every test runs in a process of its own, where jemalloc has
   not started yet. */
#include "../tools/large_now.h"

#include "system.h"

#include <string.h>

TestSuite(large, .init = start, .timeout = 60);

static bool all_are(const char *p, size_t n, char byte)
{
    return n == 0 || (p[0] == byte && memcmp(p, p + 1, n - 1) == 0);
}

static unsigned seed = 12345;

static unsigned draw(unsigned below)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % below;
}

Test(large, nothing_happens_before_the_first_request)
{
    char here;
    cr_expect_not(large_free(&here));
    cr_expect_eq(large_usable(&here), 0);
    cr_expect_eq(large_usable((void *)region.base), 0);
    large_purge();
    large_prefork();
    large_postfork_parent();
    expect_empty();
}

Test(large, blocks_are_whole_units_in_the_region)
{
    for (size_t n = 1; n <= 3 * MIB; n += 37777) {
        char *p = large_alloc(n, 16, false);
        cr_assert_not_null(p);
        size_t usable = large_usable(p);
        cr_assert_geq(usable, n);
        cr_assert_leq(usable, n + n / 4 + UNIT);
        cr_assert_eq(usable % UNIT, 0);
        cr_assert_eq((uintptr_t)p % UNIT, 0);
        cr_assert_eq(region_class(p), CLASS_LARGE);
        for (size_t i = UNIT; i < usable; i += UNIT)
            cr_assert_eq(region_class(p + i), CLASS_BODY);
        memset(p, 1, usable);
        cr_assert_eq(taken(), usable);
        cr_assert(large_free(p));
        cr_assert_eq(region_class(p), CLASS_NONE);
    }
    expect_empty();
}

Test(large, any_alignment)
{
    for (size_t align = 16; align <= 64 * MIB; align *= 2) {
        char *a = large_alloc(100000, align, false), *b = large_alloc(1, align, true);
        cr_assert(a != NULL && b != NULL && a != b, "alignment %zu", align);
        cr_expect_eq((uintptr_t)a % align, 0);
        cr_expect_eq((uintptr_t)b % align, 0);
        cr_expect(large_free(a) && large_free(b));
    }
    expect_empty();
}

Test(large, absurd_requests_are_refused)
{
    size_t most = PTRDIFF_MAX, top = (size_t)1 << 63;
    cr_expect_null(large_alloc(most, 16, false));
    cr_expect_null(large_alloc(SIZE_MAX, 16, false));
    cr_expect_null(large_alloc(most - UNIT, 16, true));
    cr_expect_null(large_alloc(100, top, false));
    cr_expect_null(large_alloc(most - 100, 4096, false));
    cr_expect_null(large_alloc((size_t)1 << 50, (size_t)1 << 50, false));
    char *p = large_alloc(UNIT, 16, false);
    cr_expect_null(large_realloc(p, SIZE_MAX));
    cr_expect_null(large_realloc(p, most - UNIT));
    cr_expect_eq(large_usable(p), UNIT);
    cr_expect(large_free(p));
    expect_empty();
}

Test(large, zeroed_memory_is_zero_whoever_had_it_before)
{
    char *written = (char *)region.base; /* up to here */
    for (size_t n = UNIT; n <= 8 * MIB; n *= 2) {
        char *p = large_alloc(n, 16, false);
        memset(p, 0xA5, n);
        written = p + n > written ? p + n : written;
        cr_assert(large_free(p));
        char *q = large_alloc(n, 16, true);
        cr_expect_leq(q + n, written, "the test wants memory that was used before");
        if (n > MIB)
            cr_expect_leq(system_resident(q, n), 64 * KIB, "much of it may never be touched");
        cr_expect(all_are(q, n, 0), "%zu bytes", n);
        cr_assert(large_free(q));
    }
}

Test(large, zeroing_fresh_memory_touches_nothing)
{
    for (size_t n = 512 * KIB; n <= 256 * MIB; n *= 2) {
        char *p = large_alloc(n, 16, true);
        cr_assert_not_null(p);
        cr_expect_leq(system_resident(p, n), 64 * KIB);
        cr_expect(all_are(p, 64 * KIB, 0));
        cr_expect(large_free(p));
        cr_expect_eq(region_purge(0), n);
    }
}

Test(large, freed_twice_or_from_inside_is_told)
{
    char *p = large_alloc(MIB, 16, false), *other = large_alloc(MIB, 16, false);
    cr_expect_not(large_free(p + 16));
    cr_expect_not(large_free(p + UNIT));
    cr_expect_eq(large_usable(p + UNIT), 0);
    cr_expect_eq(large_usable(p + 1), 0);
    cr_expect_eq(stats().blocks, 2);
    cr_expect(large_free(p));
    cr_expect_not(large_free(p));
    cr_expect_eq(large_usable(p), 0);
    cr_expect_eq(stats().blocks, 1);
    cr_expect(large_free(other));
    expect_empty();
}

Test(large, realloc_keeps_what_was_there)
{
    size_t n = 100000;
    char *p = large_alloc(n, 16, false);
    memset(p, 7, n);
    for (unsigned i = 0; i < 300; i++) {
        size_t m = 1 + draw(4 * MIB);
        char *wall = draw(2) ? large_alloc(UNIT, 16, false) : NULL; /* in the way of growing in place */
        char *q = large_realloc(p, m);
        cr_assert_not_null(q);
        cr_assert(all_are(q, n < m ? n : m, 7));
        cr_assert_geq(large_usable(q), m);
        cr_assert(q == p || large_usable(p) == 0 || p == wall, "the old block is gone");
        memset(q, 7, m);
        p = q, n = m;
        if (wall != NULL)
            cr_assert(large_free(wall));
        cr_assert_eq(stats().bytes, large_usable(p));
        cr_assert_eq(stats().held, stats().bytes);
    }
    cr_expect(large_free(p));
    expect_empty();
}

Test(large, realloc_in_place_where_it_can)
{
    char *p = large_alloc(MIB, 16, false);
    cr_expect_eq(large_realloc(p, 512 * KIB), p);
    cr_expect_eq(large_usable(p), 512 * KIB);
    cr_expect_eq(taken(), 512 * KIB);
    cr_expect_eq(large_realloc(p, 2 * MIB), p);
    cr_expect_eq(region_class(p + MIB), CLASS_BODY);
    cr_expect_eq(large_realloc(p, 2 * MIB - 5), p);
    cr_expect_eq(large_usable(p), 2 * MIB);
    cr_expect(large_free(p));
    expect_empty();
}

Test(large, counters_are_exact_after_random_work)
{
    enum { SLOTS = 100 };
    struct {
        char *p;
        size_t n;
    } slot[SLOTS] = {0};
    for (unsigned i = 0; i < 20000; i++) {
        unsigned s = draw(SLOTS);
        size_t n = 1 + draw(draw(10) == 0 ? 4 * MIB : 300 * KIB);
        if (slot[s].p == NULL) {
            slot[s].p = large_alloc(n, (size_t)16 << draw(16), draw(8) == 0);
        } else if (draw(3) == 0) {
            cr_assert_eq(slot[s].p[slot[s].n / 2], (char)s);
            slot[s].p = large_realloc(slot[s].p, n);
        } else {
            cr_assert(slot[s].p[slot[s].n - 1] == (char)s && large_free(slot[s].p));
            slot[s].p = NULL;
            continue;
        }
        cr_assert_not_null(slot[s].p);
        slot[s].n = n;
        slot[s].p[n / 2] = slot[s].p[n - 1] = slot[s].p[0] = (char)s;
        for (size_t cut = 0; cut < n; cut += n / 8 + 1)
            slot[s].p[n - 1 - cut] = slot[s].p[(n - 1 - cut) / 2] = (char)s;
    }
    size_t blocks = 0, bytes = 0;
    for (unsigned s = 0; s < SLOTS; s++) {
        blocks += slot[s].p != NULL;
        bytes += slot[s].p != NULL ? large_usable(slot[s].p) : 0;
    }
    cr_expect_eq(stats().blocks, blocks);
    cr_expect_eq(stats().bytes, bytes);
    cr_expect_eq(stats().held, bytes);
    cr_expect_eq(taken(), bytes);
    for (unsigned s = 0; s < SLOTS; s++)
        cr_expect(slot[s].p == NULL || large_free(slot[s].p));
    expect_empty();
    large_purge();
    large_count_failure();
    cr_expect_eq(stats().failed, 1);
}

/* ---- no memory ---- */

Test(large, over_the_limit_is_null_and_passes)
{
    char *p = large_alloc(4 * MIB, 16, false);
    memset(p, 3, 4 * MIB);
    region_limit(6 * MIB);
    cr_expect_null(large_alloc(4 * MIB, 16, false));
    cr_expect_null(large_realloc(p, 8 * MIB));
    cr_expect_eq(stats().blocks, 1);
    cr_expect_eq(stats().held, 4 * MIB);
    cr_expect(all_are(p, 4 * MIB, 3));
    char *q = large_alloc(MIB, 16, false);
    cr_expect_not_null(q);
    region_limit(SIZE_MAX);
    cr_expect(large_free(q));
    p = large_realloc(p, 8 * MIB);
    cr_expect(all_are(p, 4 * MIB, 3));
    cr_expect(large_free(p));
    expect_empty();
}
