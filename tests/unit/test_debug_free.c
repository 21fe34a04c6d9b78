/* What a free block holds, and whether it does still when it goes out: integrity, backup. */
#include "../tools/debug_block.h"
#include "fake_system.h"
#include "fault.h"

#include <stdio.h>
#include <string.h>

TestSuite(debug_free, .init = start, .timeout = 30);

static const char *written(int offset)
{
    char what[100];
    snprintf(what, sizeof what, "was written at offset %d while it was free; going on", offset);
    return line(NULL, what);
}

/* Frees the block, writes at `offset` and behind, and gives it out again. */
static void write_after_free(int offset)
{
    give_out(SIZE);
    memset(block, 'x', SIZE);
    cr_expect(take_back());
    block[offset]++;
    block[SIZE - 1] += offset < SIZE - 1;
    give_out(SIZE);
}

static void the_first_byte_written_is_named(void)
{
    static const int offsets[] = {0, 1, 15, 16, 40, SIZE - 1};
    for (unsigned i = 0; i < ARRAY_LENGTH(offsets); i++) {
        block = new_block(pool);
        write_after_free(offsets[i]);
        cr_expect_str_eq(printed(), written(offsets[i]));
        cr_expect_eq(fault_count(FAULT_WRITTEN), i + 1);
    }
    cr_expect(take_back(), "it is an ordinary block again");
    give_out(SIZE);
    cr_expect_eq(fault_count(FAULT_WRITTEN), ARRAY_LENGTH(offsets));
}

Test(debug_free, integrity)
{
    options.debug.words = DEBUG_INTEGRITY;
    the_first_byte_written_is_named();
}

Test(debug_free, backup)
{
    options.debug.words = DEBUG_BACKUP;
    the_first_byte_written_is_named();
}

Test(debug_free, integrity_and_backup_tell_once)
{
    options.debug.words = DEBUG_INTEGRITY | DEBUG_BACKUP;
    the_first_byte_written_is_named();
}

/* Who writes what the block held when it was freed the last time is seen nevertheless. */
Test(debug_free, the_pattern_changes_from_free_to_free)
{
    char before[SIZE];
    options.debug.words = DEBUG_INTEGRITY;
    give_out(SIZE);
    cr_expect(take_back());
    for (int i = 0; i < 5; i++) {
        memcpy(before, block, SIZE);
        give_out(SIZE);
        cr_expect(take_back());
        for (int k = 0; k < SIZE; k++)
            cr_expect_neq(block[k], before[k]);
    }
    memcpy(block, before, SIZE);
    give_out(SIZE);
    cr_expect_str_eq(printed(), written(0));
}

Test(debug_free, backup_leaves_a_free_block_as_it_was)
{
    options.debug.words = DEBUG_BACKUP;
    give_out(SIZE);
    memset(block, 'x', SIZE);
    cr_expect(take_back());
    for (int i = 0; i < SIZE; i++)
        cr_expect_eq(block[i], 'x');
}

/* Some block of a slab of several units lies across the end of one. */
Test(debug_free, a_copy_goes_across_units)
{
    pool = &pools[class_of(20000)];
    cr_assert_gt(class_table[pool->id].units, 1);
    strcpy(pool->name, "session");
    do
        block = new_block(pool);
    while ((uintptr_t)block / UNIT == ((uintptr_t)block + pool->size - 1) / UNIT);
    int last = (int)pool->size - 1, edge = UNIT - (int)((uintptr_t)block % UNIT);
    options.debug.words = DEBUG_BACKUP;
    size_t calls = fake_calls();
    give_out(pool->size);
    cr_expect(take_back());
    cr_expect_eq(fake_calls() - calls, 2 + 3, "a table and a unit's notes, a table and two units' copies");
    for (int i = 0; i < 4; i++) {
        const int offsets[] = {0, edge - 1, edge, last};
        give_out(pool->size);
        memset(block, 'x', pool->size);
        cr_expect(take_back());
        give_out(pool->size);
        cr_expect_eq(fault_count(FAULT_WRITTEN), (unsigned)i);
        cr_expect(take_back());
        block[offsets[i]]++;
        give_out(pool->size);
        cr_expect_eq(fault_count(FAULT_WRITTEN), (unsigned)i + 1);
        if (i == 0)
            cr_expect_str_eq(printed(), written(0));
    }
}

/* Its memory may have been anybody's in between, and its notes speak of blocks that are no more. */
Test(debug_free, a_new_slab_knows_nothing_of_the_last)
{
    static const unsigned words[] = {DEBUG_INTEGRITY, DEBUG_BACKUP, DEBUG_TAG};
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        options.debug.words = words[i];
        struct slab *s = region_claim_slab(pool->id);
        block = s->base;
        give_out(SIZE);
        cr_expect(take_back());
        region_release_slab(s);
        s = region_claim_slab(pool->id);
        cr_assert_eq(s->base, block);
        cr_expect(take_back(), "it was not given out");
        memset(block, i, SIZE);
        give_out(SIZE);
        cr_expect_str_eq(printed(), "");
    }
}
