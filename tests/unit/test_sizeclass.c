#include "../tools/dies.h"
#include "../tools/random.h"
#include "sizeclass.h"
#include "slab.h"

#include <criterion/criterion.h>

/* class_of(n) is the smallest class that holds n bytes, for every n there is. */
static void check_map(void)
{
    sizeclass_check();
    cr_assert_eq(pooled_max, class_table[class_count].size);
    unsigned c = 1;
    for (size_t n = 0; n <= pooled_max; n++) {
        while (class_table[c].size < n)
            c++;
        cr_assert_eq(class_of(n), c, "class_of(%zu) is %u, not %u", n, (unsigned)class_of(n), c);
    }
}

Test(sizeclass, before_start_no_request_is_small_enough)
{
    cr_assert_eq(pooled_max, 0);
    cr_assert_eq(pooled_end, 0);
    cr_assert_eq(class_count, 0);
    for (size_t n = 1; n <= POOLED_MAX; n++)
        cr_assert_eq(class_of_aligned(n, BLOCK_ALIGN), CLASS_NONE);
}

Test(sizeclass, default_classes_hold_every_request)
{
    cr_assert_eq(sizeclass_start(NULL, 0, 32768), class_count);
    cr_assert_eq(pooled_max, 32768);
    check_map();
}

/* Whoever wrote to it would have a copy of its pages, at every start. */
Test(sizeclass, by_default_the_map_is_as_it_lies_in_the_file)
{
    class_map[4] = 99;
    sizeclass_start(NULL, 0, 32768);
    cr_assert_eq(class_map[4], 99);
}

Test(sizeclass, other_classes_replace_those_of_the_file_and_the_default_comes_back)
{
    sizeclass_start((const uint32_t[]){32, 48, 1024}, 3, 1024);
    check_map();
    sizeclass_start(NULL, 0, 32768);
    check_map();
}

/* No request wastes more than 16 bytes, or a quarter of itself; every power of two is a class of its own. */
Test(sizeclass, defaults_step_by_16_then_by_a_quarter_at_most)
{
    const uint32_t expected[] = {16,  32,  48,  64,  80,  96,  112, 128, 160, 192,
                                 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024};
    uint32_t sizes[CLASS_POOLS];
    unsigned count = sizeclass_defaults(sizes, POOLED_MAX), powers = 0;
    cr_assert_arr_eq(sizes, expected, sizeof expected);
    cr_assert_eq(sizes[count - 1], POOLED_MAX);
    for (unsigned i = 0; i < count; i++) {
        powers += IS_POWER_OF_2(sizes[i]);
        cr_assert(i < 8 || 4 * (sizes[i] - sizes[i - 1]) <= sizes[i - 1]);
    }
    cr_assert_eq(powers, 13); /* 16 .. 65536 */
}

Test(sizeclass, max_cuts_the_defaults)
{
    for (size_t max = 16; max <= POOLED_MAX; max += 8) {
        uint32_t sizes[CLASS_POOLS];
        unsigned count = sizeclass_defaults(sizes, max);
        cr_assert(count > 0 && sizes[count - 1] <= max);
        if (max % 1024 == 0) {
            sizeclass_start(NULL, 0, max);
            cr_assert_eq(pooled_max, sizes[count - 1]);
            check_map();
        }
    }
}

Test(sizeclass, any_custom_classes_hold_every_request)
{
    uint64_t seed = 20171031;
    for (int round = 0; round < 100; round++) {
        uint32_t sizes[CLASS_POOLS - 1], size = 0;
        unsigned count = 0, most = 1 + (unsigned)random_below(&seed, CLASS_POOLS - 1);
        size_t step = (size_t)1 << random_below(&seed, 9);
        while (count < most) {
            size += 16 * (1 + (uint32_t)random_below(&seed, step));
            if (size > POOLED_MAX)
                break;
            sizes[count++] = size;
        }
        if (count == 0)
            continue;
        cr_assert_eq(sizeclass_start(sizes, count, 32768), count);
        check_map();
        for (unsigned c = 1; c <= count; c++)
            cr_assert_eq(class_table[c].size, sizes[c - 1]);
    }
}

/* The division of slab.c, for every size that there can be and every offset in its slab. */
Test(sizeclass, division_is_exact_for_every_size_and_offset, .timeout = 60)
{
    char *base = (char *)(uintptr_t)0x100000000;
    for (uint32_t size = 16; size <= POOLED_MAX; size += 16) {
        uint64_t bits[64];
        struct slab slab;
        sizeclass_start(&size, 1, size);
        cr_assert(class_table[1].blocks >= 8 && class_table[1].blocks <= 4096);
        slab_init(&slab, 1, base, bits);
        size_t bytes = (size_t)class_table[1].units * UNIT, start = 0;
        for (size_t offset = 0; offset < bytes; offset += 16) {
            if (offset - start == size)
                start = offset;
            char *expected = start + size <= bytes ? base + start : NULL;
            void *got = slab_block_of(&slab, base + offset + (offset >> 4 & 15));
            if (got != expected)
                cr_assert_fail("size %u, offset %zu: %p, not %p", size, offset, got, (void *)expected);
        }
    }
}

static unsigned smallest_aligned(size_t n, size_t align)
{
    if (n <= pooled_max && align <= UNIT)
        for (unsigned c = 1; c <= class_count; c++)
            if (class_table[c].size >= n && class_table[c].size % align == 0)
                return c;
    return CLASS_NONE;
}

Test(sizeclass, class_of_aligned_is_the_smallest_whose_blocks_are_all_aligned)
{
    for (size_t max = 1024; max <= POOLED_MAX; max *= 2) {
        sizeclass_start(NULL, 0, max);
        for (size_t align = 1; align <= 4 * UNIT; align *= 2)
            for (size_t n = 0; n <= POOLED_MAX + 64; n += n < 2000 ? 1 : 61)
                cr_assert_eq(class_of_aligned(n, align), smallest_aligned(n, align), "%zu at %zu", n, align);
        cr_assert_eq(class_of_aligned(SIZE_MAX, 16), CLASS_NONE);
        cr_assert_eq(class_of_aligned(16, (size_t)1 << 63), CLASS_NONE);
    }
}

static void break_map(void)
{
    class_map[4] = 5;
    sizeclass_check();
}

static void break_size(void)
{
    class_table[7].size += 8;
    sizeclass_check();
}

static void break_blocks(void)
{
    class_table[3].blocks++;
    sizeclass_check();
}

Test(sizeclass, check_traps_broken_tables)
{
    sizeclass_start(NULL, 0, 32768);
    sizeclass_check();
    cr_assert(dies(break_map, "class_of("));
    cr_assert(dies(break_size, "BLOCK_ALIGN"));
    cr_assert(dies(break_blocks, "k->blocks"));
}
