#include "sizeclass.h"

#include "check.h"
#include "magazine.h"

struct sizeclass class_table[CLASS_MAX];
CONSTANT unsigned class_count;
unsigned class_end = CLASS_NAMED;
CONSTANT size_t class_fence, pooled_max, pooled_end;

_Static_assert(CLASS_MAX << PLACE_SHIFT <= 1 << 16, "a place is two bytes of the region's table");
_Static_assert(BLOCK_MAX >> GRAIN_SHIFT <= 1 << 18, "slab.c's division is exact up to there");
_Static_assert(POOLED_MAX % UNIT == 0 || UNIT % POOLED_MAX == 0, "slabs are whole units");

enum {
    STEPS_OF_16_UP_TO = 128,
    CLASSES_PER_DOUBLING = 4,
    FINE_FROM = 4096,
    CLASSES_WHERE_FINE = 8,
    SLAB_BLOCKS_MIN = 8,        /* fewer, and one busy block pins a large share of its slab */
    MAGAZINE_BYTES = 64 * 1024, /* of blocks in a magazine: fewer made threads ping-pong through the depot */
};

/*
 * class_map begins as it is by default: so it comes out of the library's file, with the pages around it, and nobody writes
 * to it. Filled at each start it took two page faults and 10 000 instructions, 5 us.
 */
enum { MAPPED_MAX = 32 * 1024 }; /* TARN_MAX_POOLED's default */

#define ROW(c, over, size) [((over) >> GRAIN_SHIFT) + 1 ...(size) >> GRAIN_SHIFT] = (c) << PLACE_SHIFT
#define FOUR(c, over, step)                                                                                  \
    ROW(c, over, (over) + (step)), ROW((c) + 1, (over) + (step), (over) + 2 * (step)),                       \
        ROW((c) + 2, (over) + 2 * (step), (over) + 3 * (step)),                                              \
        ROW((c) + 3, (over) + 3 * (step), (over) + 4 * (step))

__extension__ uint16_t class_map[(POOLED_MAX >> GRAIN_SHIFT) + 1] = {
    [0] = 1 << PLACE_SHIFT, /* of 0 bytes */
    FOUR(1, 0, 16),         FOUR(5, 64, 16),      FOUR(9, 128, 32),      FOUR(13, 256, 64),
    FOUR(17, 512, 128),     FOUR(21, 1024, 256),  FOUR(25, 2048, 512),   FOUR(29, 4096, 512),
    FOUR(33, 6144, 512),    FOUR(37, 8192, 2048), FOUR(41, 16384, 4096),
};
static bool mapped = true; /* by default */

unsigned sizeclass_defaults(uint32_t *sizes, size_t max)
{
    unsigned count = 0;
    uint32_t step = BLOCK_ALIGN;
    for (uint32_t size = BLOCK_ALIGN; size <= max && count < CLASS_POOLS - 1; size += step) {
        sizes[count++] = size;
        if (size >= STEPS_OF_16_UP_TO && IS_POWER_OF_2(size))
            step = size / (size == FINE_FROM ? CLASSES_WHERE_FINE : CLASSES_PER_DOUBLING);
    }
    return count;
}

/* The fewest units, a power of two, that hold SLAB_BLOCKS_MIN blocks, or as many as a slab may have. */
static unsigned slab_units(uint32_t size)
{
    unsigned units = 1;
    while (units < SLAB_UNITS_MAX && (size_t)units * UNIT / size < SLAB_BLOCKS_MIN)
        units *= 2;
    return units;
}

/* ceil(2^INVERSE_SHIFT / grains): slab.c divides by it. */
static uint64_t inverse_of(uint32_t grains)
{
    return (((uint64_t)1 << INVERSE_SHIFT) + grains - 1) / grains;
}

void sizeclass_define(unsigned c, uint32_t size)
{
    struct sizeclass *class = &class_table[c];
    unsigned units = slab_units(size);
    /* One by one: a dump may be reading what was here before. */
    WRITE_ONCE(class->size, size);
    WRITE_ONCE(class->stays, size);
    WRITE_ONCE(class->inverse, inverse_of(size >> GRAIN_SHIFT));
    WRITE_ONCE(class->blocks, (uint16_t)class_blocks(size, units));
    WRITE_ONCE(class->units, (uint16_t)units);
    WRITE_ONCE(class->batch, (uint16_t)magazine_batch(size, MAGAZINE_BYTES));
}

unsigned sizeclass_start(const uint32_t *sizes, unsigned count, size_t max)
{
    uint32_t defaults[CLASS_POOLS];
    if (count == 0) {
        count = sizeclass_defaults(defaults, max);
        sizes = defaults;
    }
    check(count > 0);
    mapped = mapped && sizes == defaults && max == MAPPED_MAX;
    size_t grain = 0;
    for (unsigned c = 1; c <= count; c++) {
        sizeclass_define(c, sizes[c - 1]);
        for (; !mapped && grain <= sizes[c - 1] >> GRAIN_SHIFT; grain++)
            class_map[grain] = (uint16_t)class_place(c);
    }
    class_count = count;
    pooled_max = sizes[count - 1];
    pooled_end = pooled_max + 1;
    return count;
}

unsigned class_of_aligned(size_t n, size_t align)
{
    if (align > UNIT || n > pooled_max)
        return CLASS_NONE;
    if (align <= BLOCK_ALIGN)
        return class_of(n);
    for (unsigned c = class_of(n); c <= class_count; c++)
        if ((class_table[c].size & (align - 1)) == 0)
            return c;
    return CLASS_NONE;
}

COLD void sizeclass_check(void)
{
    check(class_count > 0 && class_count < CLASS_POOLS);
    check(pooled_end == pooled_max + 1 || pooled_end == 0); /* 0: no request may hit (heap_start) */
    check(pooled_max == class_table[class_count].size && pooled_max <= POOLED_MAX);
    for (unsigned c = 1; c <= class_count; c++) {
        const struct sizeclass *k = &class_table[c];
        check(k->size % BLOCK_ALIGN == 0 && k->size > class_table[c - 1].size);
        check((size_t)k->blocks * k->size <= (size_t)k->units * UNIT && k->blocks > 0);
        check(IS_POWER_OF_2(k->units) && k->units <= 64);
        check(class_of(k->size) == c && class_of(class_table[c - 1].size + 1) == c);
        check(k->batch >= MAGAZINE_MIN && k->batch <= MAGAZINE_MAX);
    }
}
