/* A large block that must move keeps what it holds, whether the kernel moves its pages or refuses to. */
#include "fake_system.h"
#include "large.h"
#include "region.h"

#include <criterion/criterion.h>
#include <string.h>

enum { MIB = 1024 * 1024, BEFORE = 3 * MIB, AFTER = 7 * MIB };

static void start(void)
{
    cr_assert(region_start());
}

TestSuite(large_move, .init = start);

static void fill(uint32_t *words, uint32_t seed)
{
    for (uint32_t i = 0; i < BEFORE / sizeof *words; i++)
        words[i] = i * 2654435761u + seed;
}

static bool is_filled(const uint32_t *words, uint32_t seed)
{
    for (uint32_t i = 0; i < BEFORE / sizeof *words; i++)
        if (words[i] != i * 2654435761u + seed)
            return false;
    return true;
}

/* A block that can't grow where it is: the unit behind it is taken. */
static uint32_t *make_hemmed_in(void)
{
    bool zeroed;
    char *p = large_alloc(BEFORE, 1, false);
    cr_assert(p != NULL && region_claim_at(p + BEFORE, 1, &zeroed) != NULL);
    return (uint32_t *)(void *)p;
}

Test(large_move, contents_go_along)
{
    for (uint32_t seed = 1; seed < 8; seed++) {
        uint32_t *p = make_hemmed_in();
        fill(p, seed);
        uint32_t *q = large_realloc(p, AFTER);
        cr_assert(q != NULL && q != p);
        cr_assert(is_filled(q, seed));
        memset(q, 1, AFTER);
        cr_assert(large_free(q));
        region_release((char *)p + BEFORE, 1);
        region_check();
    }
}

/* Where the pages came from reads as zeroes: whoever gets it zeroed, sees none of them. */
Test(large_move, nothing_is_left_behind)
{
    uint32_t *p = make_hemmed_in();
    fill(p, 9);
    uint32_t *q = large_realloc(p, AFTER);
    cr_assert(q != NULL && q != p);
    uint32_t *again = large_alloc(BEFORE, 1, true);
    for (size_t i = 0; i < BEFORE / sizeof *again; i++)
        cr_assert_eq(again[i], 0);
    cr_assert(is_filled(q, 9));
}

/* And is no spare memory, which real one would have to go for. */
Test(large_move, where_the_pages_came_from_is_not_dirty)
{
    struct region_stats s;
    uint32_t *p = make_hemmed_in();
    fill(p, 9);
    cr_assert_neq(large_realloc(p, AFTER), p);
    region_stats(&s);
    cr_assert_eq(s.dirty, 0);
    region_check();
}

/* Neighbours leave each other addresses to grow into. */
Test(large_move, buffers_that_grow_side_by_side_seldom_move)
{
    enum { BUFFERS = 4 };
    void *p[BUFFERS] = {NULL};
    int moves = 0;
    for (size_t i = 0; i < BUFFERS; i++)
        p[i] = large_alloc(MIB, 1, false);
    for (size_t n = 2; n <= 32; n++) {
        for (size_t i = 0; i < BUFFERS; i++) {
            void *q = large_realloc(p[i], n * MIB);
            moves += q != p[i];
            p[i] = q;
        }
    }
    cr_assert_leq(moves, BUFFERS * 5);
}

Test(large_move, a_kernel_that_refuses_loses_nothing)
{
    for (size_t after = 0; after < 6; after++) {
        uint32_t *p = make_hemmed_in();
        fill(p, (uint32_t)after);
        size_t refused = fake_refused();
        fake_refuse(after, 1);
        uint32_t *q = large_realloc(p, AFTER);
        fake_refuse_none();
        cr_assert(is_filled(q != NULL ? q : p, (uint32_t)after), "refused call %zu", after);
        cr_expect(after > 0 || fake_refused() > refused, "nothing was refused");
        large_free(q != NULL ? q : p);
        region_release((char *)p + BEFORE, 1);
        region_check();
    }
}

/* It refuses when it has cleared the place already, and then to map anything there. */
Test(large_move, a_place_that_is_torn_is_nobodys)
{
    struct large_stats before, after;
    large_free(large_alloc((size_t)8 * AFTER, 1, false)); /* there is memory: the next call is the move */
    uint32_t *p = make_hemmed_in();
    fill(p, 5);
    large_stats(&before);
    fake_tear(true);
    fake_refuse(0, 1);
    cr_assert_null(large_realloc(p, AFTER));
    fake_refuse_none();
    fake_tear(false);
    cr_assert(is_filled(p, 5));
    large_stats(&after);
    cr_assert(after.blocks == before.blocks && after.bytes == before.bytes && after.held == before.held);
    region_check();
    for (int i = 0; i < 4; i++) { /* whoever gets the place */
        char *next = large_alloc(AFTER, 1, i % 2 == 0);
        cr_assert(next != NULL && (i % 2 != 0 || (next[0] == 0 && next[AFTER - 1] == 0)));
        memset(next, 2, AFTER);
    }
    uint32_t *q = large_realloc(p, AFTER);
    cr_assert(q != NULL && is_filled(q, 5));
    memset(q, 1, AFTER);
    region_check();
}
