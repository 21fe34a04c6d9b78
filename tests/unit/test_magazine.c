#include "fake_system.h"
#include "magazine.h"
#include "meta.h"
#include "sizeclass.h"

#include <criterion/criterion.h>

static size_t bytes_of(unsigned batch)
{
    return sizeof(struct magazine) + batch * sizeof(void *);
}

static bool fills_a_piece(unsigned batch)
{
    return bytes_of(batch) >= META_MIN && IS_POWER_OF_2(bytes_of(batch));
}

/* The most that stays within the bytes, found by trying every batch; fourteen always may. */
Test(magazine, batch_is_the_most_within_the_bytes)
{
    for (size_t size = 16; size <= POOLED_MAX; size += 16) {
        unsigned best = MAGAZINE_FULL;
        for (unsigned batch = MAGAZINE_FULL; batch <= MAGAZINE_MAX; batch++)
            if (fills_a_piece(batch) && batch * size <= 64 * 1024)
                best = batch;
        cr_assert_eq(magazine_batch(size, 64 * 1024), best, "size %zu", size);
    }
    cr_assert_eq(magazine_batch(16, 0), MAGAZINE_FULL);
    cr_assert_eq(magazine_batch(16, SIZE_MAX), MAGAZINE_MAX);
    cr_assert(fills_a_piece(MAGAZINE_MIN) && fills_a_piece(MAGAZINE_FULL) && fills_a_piece(MAGAZINE_MAX));
}

Test(magazine, is_born_empty_and_holds_its_batch)
{
    for (unsigned batch = MAGAZINE_MIN; batch <= MAGAZINE_MAX; batch = 2 * batch + 2) {
        size_t before = meta_used();
        struct magazine *m = magazine_new(batch);
        cr_assert_not_null(m);
        cr_assert_null(m->next);
        cr_assert_eq(m->count, 0);
        cr_assert_eq(m->batch, batch);
        cr_assert_eq(meta_used(), before + bytes_of(batch));
        for (unsigned i = 0; i < batch; i++)
            m->slot[i] = m;
        struct magazine *other = magazine_new(batch);
        cr_assert_eq(m->slot[batch - 1], m);
        magazine_delete(other);
        magazine_delete(m);
        cr_assert_eq(meta_used(), before);
    }
}

Test(magazine, is_null_without_memory)
{
    fake_refuse(0, SIZE_MAX);
    cr_assert_null(magazine_new(MAGAZINE_MAX));
    fake_refuse_none();
    cr_assert_not_null(magazine_new(MAGAZINE_MAX));
}
