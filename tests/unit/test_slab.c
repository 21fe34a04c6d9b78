#include "slab.h"

#include "../tools/dies.h"
#include "../tools/random.h"
#include "sizeclass.h"

#include <criterion/criterion.h>
#include <string.h>

/* Not memory at all: who touches a block crashes. */
#define BASE ((char *)(uintptr_t)0x10000000)

enum { BLOCKS_MAX = 4096 };
static struct slab slab;
static uint64_t bits[BLOCKS_MAX / 64], saved_bits[BLOCKS_MAX / 64];
static struct slab saved;
static void *out[BLOCKS_MAX + 1];

static void describe(unsigned class)
{
    slab_init(&slab, class, BASE, bits);
}

static void start(void)
{
    sizeclass_start(NULL, 0, POOLED_MAX);
    describe(class_of(64));
}

TestSuite(slab, .init = start);

static void *block(size_t i)
{
    return BASE + i * slab.size;
}

static void save(void)
{
    saved = slab;
    memcpy(saved_bits, bits, sizeof bits);
}

static void check_unchanged(void)
{
    cr_assert_arr_eq(&slab, &saved, sizeof slab);
    cr_assert_arr_eq(bits, saved_bits, sizeof bits);
}

Test(slab, starts_all_free)
{
    for (unsigned c = 1; c <= class_count; c++) {
        memset(&slab, 0xA5, sizeof slab);
        memset(bits, 0xA5, sizeof bits);
        describe(c);
        slab_check(&slab);
        cr_assert_eq(slab.used, 0);
        cr_assert_eq(slab.blocks, class_table[c].blocks);
        cr_assert(list_empty(&slab.link));
        cr_assert_eq(slab_take(&slab, out, BLOCKS_MAX), slab.blocks);
    }
}

/* out[n - 1] gets the lowest address, so that a magazine hands them out in ascending order. */
Test(slab, hands_out_every_block_in_address_order)
{
    for (unsigned c = 1; c <= class_count; c++) {
        uint64_t seed = c;
        describe(c);
        for (unsigned taken = 0; taken < slab.blocks;) {
            unsigned n = 1 + (unsigned)random_below(&seed, 130);
            unsigned got = slab_take(&slab, out, n);
            cr_assert_eq(got, n < slab.blocks - taken ? n : slab.blocks - taken);
            for (unsigned i = 0; i < got; i++)
                cr_assert_eq(out[n - 1 - i], block(taken + i));
            taken += got;
            cr_assert_eq(slab.used, taken);
            slab_check(&slab);
        }
        cr_assert_eq(slab_take(&slab, out, 1), 0);
    }
}

Test(slab, writes_no_slot_that_it_does_not_fill)
{
    slab_take(&slab, out, slab.blocks - 2);
    memset(out, 0, sizeof out);
    cr_assert_eq(slab_take(&slab, out, 5), 2);
    cr_assert(out[0] == NULL && out[1] == NULL && out[2] == NULL && out[5] == NULL);
    cr_assert(out[4] == block(slab.blocks - 2) && out[3] == block(slab.blocks - 1));
    cr_assert_eq(slab_take(&slab, out, 0), 0);
}

/* Against a plain array of booleans. */
Test(slab, takes_the_lowest_free_block_whatever_came_back)
{
    const size_t sizes[] = {16, 48, 64, 160, 1024, 3584, 10240, 65536};
    uint64_t seed = 4711;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        static bool is_out[BLOCKS_MAX];
        memset(is_out, 0, sizeof is_out);
        describe(class_of(sizes[s]));
        for (int step = 0; step < 4000; step++) {
            if (random_below(&seed, 2) == 0) {
                unsigned n = 1 + (unsigned)random_below(&seed, 8), lowest = 0;
                unsigned got = slab_take(&slab, out, n);
                for (unsigned i = 0; i < got; i++) {
                    while (is_out[lowest])
                        lowest++;
                    cr_assert_eq(out[n - 1 - i], block(lowest));
                    is_out[lowest] = true;
                }
            } else {
                size_t i = random_below(&seed, slab.blocks);
                cr_assert_eq(slab_give(&slab, block(i)), is_out[i] ? SLAB_OK : SLAB_NOT_OUT);
                is_out[i] = false;
            }
            slab_check(&slab);
        }
    }
}

/* Any mixture of good, bad and outside: what a run takes is what one by one would have taken. */
Test(slab, a_run_takes_all_up_to_the_first_that_is_wrong)
{
    enum { RUN = 20 };
    uint64_t seed = 5;
    for (int step = 0; step < 20000; step++) {
        static struct slab one_by_one;
        static uint64_t own_bits[BLOCKS_MAX / 64];
        void *blocks[RUN];
        slab_take(&slab, out, (unsigned)random_below(&seed, 60));
        size_t near = random_below(&seed, slab.blocks - 2 * RUN);
        for (unsigned i = 0; i < RUN; i++)
            blocks[i] = block(near + random_below(&seed, 2 * RUN));
        if (random_below(&seed, 3) == 0)
            blocks[1 + random_below(&seed, RUN - 1)] = BASE + slab.units * UNIT + 64 * random_below(&seed, 9);
        if (random_below(&seed, 3) == 0)
            blocks[random_below(&seed, RUN)] = (char *)block(near) + 16;
        one_by_one = slab;
        memcpy(own_bits, bits, sizeof bits);
        one_by_one.bits = own_bits;
        unsigned good = 0;
        enum slab_verdict expected = SLAB_OK, verdict = SLAB_MISALIGNED;
        while (good < RUN && (char *)blocks[good] < BASE + slab.units * UNIT &&
               (expected = slab_give(&one_by_one, blocks[good])) == SLAB_OK)
            good++;
        cr_assert_eq(slab_give_run(&slab, blocks, RUN, &verdict), good);
        cr_assert_eq(verdict, expected);
        cr_assert_arr_eq(bits, own_bits, sizeof bits);
        cr_assert_eq(slab.used, one_by_one.used);
        slab_check(&slab);
    }
}

/* Rows upwards and downwards, out of the slab at either end, with one block in them that is wrong or was given before. */
Test(slab, a_row_goes_back_as_it_would_one_by_one)
{
    enum { ROW_MAX = 200 };
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        static struct slab one_by_one;
        static uint64_t own_bits[BLOCKS_MAX / 64];
        void *blocks[ROW_MAX];
        unsigned n = 1 + (unsigned)random_below(&seed, ROW_MAX), good = 0, taken = 0, some = 1;
        long first = (long)random_below(&seed, slab.blocks), step = random_below(&seed, 2) == 0 ? 1 : -1;
        slab_take(&slab, out, (unsigned)random_below(&seed, 400));
        for (unsigned i = 0; i < n; i++)
            blocks[i] = BASE + (first + step * (long)i) * (long)slab.size;
        if (random_below(&seed, 3) == 0)
            blocks[random_below(&seed, n)] = (char *)block((size_t)first) + random_below(&seed, 2) * 16;
        one_by_one = slab;
        memcpy(own_bits, bits, sizeof bits);
        one_by_one.bits = own_bits;
        enum slab_verdict expected = SLAB_OK, verdict = SLAB_OK;
        while (good < n && (size_t)((char *)blocks[good] - BASE) < slab.units * (size_t)UNIT &&
               (expected = slab_give(&one_by_one, blocks[good])) == SLAB_OK)
            good++;
        for (; taken < n && some > 0 && verdict == SLAB_OK; taken += some)
            some = slab_give_run(&slab, blocks + taken, n - taken, &verdict);
        cr_assert_eq(taken, good);
        cr_assert_eq(verdict, expected);
        cr_assert_arr_eq(bits, own_bits, sizeof bits);
        cr_assert_eq(slab.used, one_by_one.used);
        slab_check(&slab);
    }
}

Test(slab, a_block_given_twice_changes_nothing)
{
    slab_take(&slab, out, 100);
    cr_assert_eq(slab_give(&slab, block(70)), SLAB_OK);
    save();
    cr_assert_eq(slab_give(&slab, block(70)), SLAB_NOT_OUT);
    cr_assert_eq(slab_give(&slab, block(100)), SLAB_NOT_OUT);
    check_unchanged();
}

/* Every offset of every class: only the starts of blocks are taken back, and nothing behind the last. */
Test(slab, the_inside_of_a_block_is_refused)
{
    for (unsigned c = 1; c <= class_count; c += 3) {
        describe(c);
        slab_take(&slab, out, slab.blocks);
        save();
        size_t bytes = (size_t)slab.units * UNIT, end = (size_t)slab.blocks * slab.size;
        for (size_t offset = 0; offset < bytes; offset++)
            if (offset % slab.size != 0 || offset >= end)
                cr_assert_eq(slab_give(&slab, BASE + offset), SLAB_MISALIGNED, "offset %zu", offset);
        check_unchanged();
    }
}

Test(slab, is_not_thin_once_blocks_came_back)
{
    enum slab_verdict verdict;
    cr_assert_eq(slab_take(&slab, out, 128), 128);
    for (unsigned n = 1; n <= 64; n *= 64) { /* one, and a row */
        slab.thin = true;
        cr_assert_eq(slab_give_run(&slab, out + n, n, &verdict), n);
        cr_assert_not(slab.thin, "%u", n);
    }
}

Test(slab, what_is_withdrawn_is_out_until_it_is_restored)
{
    uint64_t held[SLAB_WORDS_MAX];
    unsigned all = slab.blocks;
    cr_assert_eq(slab_take(&slab, out, 100), 100);
    cr_assert_eq(slab_withdraw(&slab, held), all - 100);
    slab_check(&slab);
    cr_assert_eq(slab.used, all);
    cr_assert_eq(slab_take(&slab, out, 1), 0);
    slab.thin = true;
    cr_assert_eq(slab_give(&slab, block(70)), SLAB_OK); /* meanwhile */
    cr_assert_not(slab.thin);
    cr_assert_eq(slab_give(&slab, block(100)),
                 SLAB_OK); /* as a bad program would: it is held, so it counts as out */
    held[1] &= ~((uint64_t)1 << 36);
    cr_assert_eq(slab_restore(&slab, held), all - 101);
    slab_check(&slab);
    cr_assert_eq(slab.used, 99);
    cr_assert_eq(slab_take(&slab, out, 1), 1);
    cr_assert_eq(out[0], block(70));
}

Test(slab, knows_the_block_around_an_address)
{
    describe(class_of(48));
    char *last = block(slab.blocks - 1);
    cr_assert_eq(slab_block_of(&slab, BASE), BASE);
    cr_assert_eq(slab_block_of(&slab, BASE + 47), BASE);
    cr_assert_eq(slab_block_of(&slab, BASE + 48), BASE + 48);
    cr_assert_eq(slab_block_of(&slab, last + 47), last);
    cr_assert_lt(last + 48, BASE + UNIT);
    cr_assert_null(slab_block_of(&slab, last + 48));
    cr_assert_null(slab_block_of(&slab, BASE + UNIT - 1));
}

static void miscount(void)
{
    slab.used++;
    slab_check(&slab);
}

static void skip_a_word(void)
{
    slab.word = 1;
    slab_check(&slab);
}

static void grow_a_block(void)
{
    describe(class_of(48));
    bits[slab_words(slab.blocks) - 1] |= (uint64_t)1 << 63;
    slab_check(&slab);
}

static void change_size(void)
{
    slab.size += 16;
    slab_check(&slab);
}

Test(slab, check_traps_what_is_broken)
{
    slab_check(&slab);
    cr_assert(dies(miscount, "s->used + available"));
    cr_assert(dies(skip_a_word, "s->word"));
    cr_assert(dies(grow_a_block, "s->used + available"));
    cr_assert(dies(change_size, "s->size"));
}

/* From wherever it begins: each block once, and then there is none. */
Test(slab, anywhere_is_everywhere_in_the_end)
{
    uint64_t seed = 7;
    for (unsigned c = 1; c <= class_count; c++)
        for (int round = 0; round < 20; round++) {
            describe(c);
            static bool seen[BLOCKS_MAX];
            unsigned taken = 0;
            memset(seen, 0, sizeof seen);
            for (unsigned n = 1, wanted = 1; n > 0; taken += n) {
                wanted = 1 + (unsigned)random_below(&seed, 40);
                n = slab_take_anywhere(&slab, out, wanted, random_next(&seed));
                slab_check(&slab);
                for (unsigned i = wanted - n; i < wanted; i++) {
                    size_t at = (size_t)((char *)out[i] - BASE) / slab.size;
                    cr_assert(block(at) == out[i] && at < slab.blocks && !seen[at]);
                    seen[at] = true;
                }
            }
            cr_assert_eq(taken, slab.blocks);
        }
}
