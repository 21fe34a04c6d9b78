#include "../tools/harden_session.h"
#include "../tools/random.h"

#include <stdio.h>
#include <string.h>

TestSuite(harden, .timeout = 60);

/* The report's line about the block, in the name of free or of nobody, says `what`. */
static void expect_told(const char *call, const char *what)
{
    char wanted[300];
    snprintf(wanted, sizeof wanted,
             call != NULL ? "tarn: %s(%p): " : "tarn: %s%p: ", call != NULL ? call : "", (void *)block);
    snprintf(wanted + strlen(wanted), 200, "block of pool \"session\" (%d bytes) %s\n", SIZE, what);
    const char *got = printed();
    cr_expect_eq(strncmp(got, wanted, strlen(wanted)), 0, "%s, not %s", got, wanted);
}

static void expect_silence(void)
{
    cr_expect_str_eq(printed(), "");
}

static void give_out(size_t n)
{
    harden_give_out(pool, block, n, false);
}

static bool take_back(void)
{
    return harden_take_back(pool, region_slab(block), block, "free");
}

/* ---- double-free ---- */

Test(harden, a_second_free_is_refused_at_once)
{
    start_with(HARDEN_DOUBLE_FREE);
    for (int i = 0; i < 3; i++) {
        give_out(SIZE);
        cr_expect(take_back());
    }
    expect_silence();
    cr_expect_not(take_back());
    expect_told("free", "was free already; ignored");
}

Test(harden, a_block_that_was_never_out_is_refused)
{
    start_with(HARDEN_DOUBLE_FREE);
    cr_expect_not(take_back());
    expect_told("free", "was free already; ignored");
}

Test(harden, without_the_word_the_slab_finds_it)
{
    start_with(HARDEN_ZERO);
    give_out(SIZE);
    cr_expect(take_back());
    cr_expect(take_back());
    expect_silence();
}

Test(harden, a_new_slab_knows_nothing_of_the_last)
{
    start_with(HARDEN_ALL & ~HARDEN_RANDOM);
    struct slab *s = region_claim_slab(pool->id);
    block = s->base;
    give_out(20);
    cr_expect(take_back());
    region_release_slab(s);
    s = region_claim_slab(pool->id);
    cr_assert_eq(s->base, block);
    memset(block, 1, SIZE);
    give_out(20);
    expect_silence();
}

/* ---- zero ---- */

Test(harden, a_free_block_is_zero_and_stays_so)
{
    start_with(HARDEN_ZERO);
    memset(block, 'x', SIZE);
    give_out(SIZE);
    cr_expect_eq(block[5], 'x', "what was never free is the program's as it is");
    cr_expect(take_back());
    for (int i = 0; i < SIZE; i++)
        cr_expect_eq(block[i], 0);
    give_out(SIZE);
    expect_silence();
}

Test(harden, a_write_to_a_free_block_is_told_wherever_it_was)
{
    start_with(HARDEN_ZERO);
    for (int at = 0; at < SIZE; at++) {
        char what[100];
        uint64_t before = fault_count(FAULT_WRITTEN);
        give_out(SIZE);
        cr_expect(take_back());
        block[at] = 1;
        give_out(SIZE);
        cr_expect_eq(fault_count(FAULT_WRITTEN), before + 1);
        cr_expect_eq(block[at], 0);
        cr_expect(take_back());
        snprintf(what, sizeof what, "was written at offset %d while it was free; going on", at);
        if (at == 0)
            expect_told(NULL, what);
    }
}

/* ---- canary ---- */

/* One byte behind what was asked for, whatever that was, is found, and named if it is not the canary's own. */
Test(harden, an_overrun_by_one_byte_is_found)
{
    start_with(HARDEN_CANARY);
    cr_expect_eq(harden_extra(), 8);
    for (int n = 0; n <= SIZE - 8; n++) {
        size_t end = n > 0 ? (size_t)n : 1;
        uint64_t before = fault_count(FAULT_OVERRUN);
        give_out((size_t)n);
        cr_expect_eq(harden_usable(block), end);
        cr_expect_eq(harden_asked(block), end);
        cr_expect(take_back());
        cr_expect_eq(fault_count(FAULT_OVERRUN), before);
        cr_expect_eq(harden_asked(block), 0);
        give_out((size_t)n);
        block[end] ^= 1;
        cr_expect(take_back());
        cr_expect_eq(fault_count(FAULT_OVERRUN), before + 1, "%d", n);
    }
}

Test(harden, every_byte_behind_the_end_is_watched)
{
    start_with(HARDEN_CANARY);
    for (int at = 20; at < SIZE; at++) {
        uint64_t before = fault_count(FAULT_OVERRUN);
        give_out(20);
        block[at] ^= 0x40;
        cr_expect(take_back());
        cr_expect_eq(fault_count(FAULT_OVERRUN), before + 1, "%d", at);
    }
}

Test(harden, an_overrun_is_told_with_the_neighbour)
{
    start_with(HARDEN_CANARY);
    char *next = new_block(pool), what[200];
    cr_assert_eq(next, block + SIZE);
    for (int live = 0; live < 2; live++) {
        uint64_t told = fault_count(FAULT_OVERRUN);
        if (live)
            harden_give_out(pool, next, 1, false);
        give_out(20);
        block[22] = 0;
        cr_expect(take_back());
        cr_expect_eq(fault_count(FAULT_OVERRUN), told + 1);
        snprintf(what, sizeof what,
                 "was written at offset 22, behind its end (the next one, %p, is free); going on",
                 (void *)next);
        if (!live) /* the same block and kind a second time is not told */
            expect_told("free", what);
    }
}

Test(harden, the_last_block_has_no_neighbour)
{
    start_with(HARDEN_CANARY);
    const struct slab *s = region_slab(block);
    block = s->base + (size_t)(s->blocks - 1) * SIZE;
    give_out(20);
    block[21] = 0;
    cr_expect(take_back());
    expect_told("free", "was written at offset 21, behind its end; going on");
}

Test(harden, a_canary_is_another_one_for_each_block)
{
    start_with(HARDEN_CANARY);
    char *next = new_block(pool);
    give_out(SIZE - 8);
    harden_give_out(pool, next, SIZE - 8, false);
    cr_expect_neq(memcmp(block + SIZE - 8, next + SIZE - 8, 8), 0);
    memcpy(block + SIZE - 8, next + SIZE - 8, 8); /* so one that was read can't be written elsewhere */
    cr_expect(take_back());
    cr_expect_eq(fault_count(FAULT_OVERRUN), 1);
}

Test(harden, without_zero_the_canary_watches_the_free_block_too)
{
    start_with(HARDEN_CANARY);
    give_out(20);
    cr_expect(take_back());
    give_out(20);
    expect_silence();
    cr_expect(take_back());
    block[30] ^= 1;
    give_out(20);
    expect_told(NULL, "was written at offset 30 while it was free; going on");
}

Test(harden, blocks_of_every_size)
{
    start_with(HARDEN_ALL);
    uint64_t seed = 1;
    for (unsigned c = 1; c <= class_count; c++) {
        size_t most = class_table[c].size - harden_extra(), n = 1 + random_below(&seed, most);
        char *p = new_block(&pools[c]);
        harden_give_out(&pools[c], p, n, false);
        cr_expect_eq(harden_usable(p), n);
        memset(p, 0xB7, n);
        cr_expect(harden_take_back(&pools[c], region_slab(p), p, "free"));
        expect_silence();
        harden_give_out(&pools[c], p, n, false);
        p[n] ^= 1;
        cr_expect(harden_take_back(&pools[c], region_slab(p), p, "free"));
        cr_expect_eq(fault_count(FAULT_OVERRUN), c);
        printed();
    }
}

/* TARN_DEBUG's words write into free blocks as well. */
Test(harden, gets_along_with_debugging_words)
{
    static const unsigned words[] = {DEBUG_INTEGRITY, DEBUG_BACKUP, DEBUG_TAG, DEBUG_CALLER, DEBUG_POISON};
    start_with(HARDEN_ALL);
    for (unsigned all = 0; all < 1 << ARRAY_LENGTH(words); all++) {
        options.debug.words = DEBUG_HARDEN;
        for (size_t i = 0; i < ARRAY_LENGTH(words); i++)
            options.debug.words |= all >> i & 1 ? words[i] : 0;
        block = new_block(pool);
        for (int i = 0; i < 3; i++) {
            give_out(20);
            cr_expect_eq(harden_usable(block), 20);
            memset(block, i, 20);
            cr_expect(take_back());
            expect_silence();
        }
        cr_expect_not(take_back());
        cr_expect_eq(fault_count(FAULT_TWICE), all + 1);
        printed();
    }
}

/* ---- random ---- */

Test(harden, blocks_come_from_anywhere_and_no_block_twice)
{
    start_with(HARDEN_RANDOM);
    static bool seen[UNIT / SIZE];
    const struct slab *s = region_slab(block);
    size_t before = (size_t)(block - s->base) / SIZE, ascending = 0;
    seen[before] = true;
    for (unsigned i = 1; i < s->blocks; i++) {
        char *p = pool_take_one(pool);
        cr_assert_eq(region_slab(p), s);
        size_t at = (size_t)(p - s->base) / SIZE;
        cr_assert_not(seen[at]);
        seen[at] = true;
        ascending += at == before + 1;
        before = at;
    }
    pool_check(pool);
    cr_expect_lt(ascending, s->blocks / 4);
}
