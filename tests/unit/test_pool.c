#include "../tools/dies.h"
#include "../tools/random.h"
#include "../tools/small_slabs.h"

#include <criterion/criterion.h>
#include <pthread.h>

TestSuite(pool, .init = start);

/* One more magazine with nothing but `block` in it, `count` times. */
static struct magazine *magazine_of(void *block, unsigned count)
{
    struct magazine *m = magazine_new(batch);
    for (m->count = 0; m->count < count; m->count++)
        m->slot[m->count] = block;
    return m;
}

/* ---- take and give ---- */

Test(pool, an_empty_one_has_nothing)
{
    cr_assert_null(pool_take(pool, magazine_new(batch), batch));
    cr_assert_null(pool_take_one(pool));
    check_books(0, 0);
    cr_assert_eq(pool->users, 1);
    cr_assert_eq(pool->failed, 0);
}

Test(pool, fills_magazines_in_address_order)
{
    struct slab *s = add_slab();
    check_books(SLAB_BLOCKS, 0);
    struct magazine *m = magazine_new(batch);
    cr_assert_eq(pool_take(pool, m, 10), m);
    cr_assert_eq(m->count, 10);
    for (unsigned i = 0; i < 10; i++)
        cr_assert_eq(m->slot[m->count - 1 - i], s->base + i * SIZE);
    check_books(SLAB_BLOCKS, 10);
}

Test(pool, fills_a_magazine_from_several_slabs)
{
    struct slab *a = add_slab();
    take(20), take(20), take(20);
    add_slab();
    struct magazine *m = take(20);
    cr_assert_eq(m->count, 20);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(m->slot[m->count - 1 - i], a->base + (60 + i) * SIZE);
    check_books(2 * SLAB_BLOCKS, 80);
}

static struct slab *slab_of(const struct magazine *m)
{
    return region_slab(m->slot[0]);
}

/* Half of each slab comes back, the lowest slab's first and then from the highest on. */
Test(pool, goes_on_with_the_slab_above)
{
    enum { SLABS = 40, HALF = SLAB_BLOCKS / 2 };
    struct magazine *m[2 * SLABS];
    for (int i = 0; i < 2 * SLABS; i++)
        m[i] = take(HALF);
    for (int i = SLABS; i > 0; i--)
        pool_empty(pool, m[2 * (i % SLABS)], &news);
    const struct slab *last = slab_of(take(HALF));
    int upwards = 0;
    for (int i = 1; i < SLABS; i++) {
        const struct slab *s = slab_of(take(HALF));
        upwards += s->base == last->base + UNIT;
        last = s;
    }
    cr_expect_eq(upwards, SLABS - 1);
    check_books(SLABS * SLAB_BLOCKS, SLABS * SLAB_BLOCKS);
}

Test(pool, gives_what_there_is_where_there_is_less)
{
    struct slab *s = add_slab();
    take(60);
    struct magazine *m = pool_take(pool, magazine_new(batch), 20);
    cr_assert_eq(m->count, 4);
    cr_assert_eq(m->slot[3], s->base + 60 * SIZE);
    cr_assert_null(pool_take(pool, magazine_new(batch), 1));
    check_books(SLAB_BLOCKS, 64);
}

Test(pool, a_full_magazine_goes_through_the_depot_whole)
{
    struct magazine *m = take(batch);
    void *top = m->slot[batch - 1];
    uint64_t allocated = pool->allocated;
    cr_assert_null(pool_give(pool, m, &news)); /* no spare yet */
    cr_assert_eq(pool->depot_count, 1);
    check_books(allocated, 0);
    struct magazine *empty = magazine_new(batch);
    cr_assert_eq(pool_take(pool, empty, batch), m);
    cr_assert(m->count == batch && m->slot[batch - 1] == top);
    check_books(allocated, batch);
    cr_assert_eq(pool_give(pool, m, &news), empty); /* what came for it */
}

Test(pool, the_depot_hands_out_the_last_given_first)
{
    struct magazine *a = take(batch), *b = take(batch);
    pool_give(pool, a, &news);
    pool_give(pool, b, &news);
    cr_assert_eq(pool_take(pool, magazine_new(batch), batch), b);
    cr_assert_eq(pool_take(pool, magazine_new(batch), batch), a);
}

Test(pool, a_part_full_magazine_goes_to_the_slabs)
{
    struct magazine *m = take(10);
    cr_assert_eq(pool_give(pool, m, &news), m);
    cr_assert_eq(m->count, 0);
    cr_assert_eq(pool->depot_count, 0);
    check_books(SLAB_BLOCKS, 0);
    cr_assert_eq(pool_give(pool, m, &news), m); /* an empty one changes nothing */
    check_books(SLAB_BLOCKS, 0);
}

Test(pool, the_depot_is_short_and_the_rest_goes_to_the_slabs)
{
    enum { MANY = 40 };
    struct magazine *m[MANY];
    for (int i = 0; i < MANY; i++)
        m[i] = take(batch);
    for (int i = 0; i < MANY; i++)
        pool_give(pool, m[i], &news);
    cr_assert_eq(pool->depot_count, pool->depot_max);
    cr_assert_leq((uint64_t)pool->depot_max * batch * SIZE, 1 << 20);
    cr_assert_lt(pool->depot_max, MANY);
    check_books(pool->allocated, 0);
}

Test(pool, after_many_magazines_in_a_row_the_depot_goes_to_the_slabs_too)
{
    enum { MANY = 300 };
    struct magazine *m[MANY];
    uint64_t given = 0;
    for (int i = 0; i < MANY; i++)
        m[i] = take(batch);
    while (given < MANY && !pool_passed(pool))
        pool_give(pool, m[given++], &news);
    cr_assert(given > 10 * pool->depot_max && given < MANY);
    cr_assert_eq(pool->depot_count, pool->depot_max);
    cr_assert_eq(pool_give(pool, m[given], &news), m[given]);
    cr_assert_eq(pool_give(pool, m[given + 1], &news), m[given + 1]);
    cr_assert_eq(pool->depot_count, 0);
    check_books(pool->allocated, (MANY - given - 2) * batch);
    struct magazine *taken = pool_take(pool, m[given], batch); /* from then on as before */
    cr_assert_not(pool_passed(pool));
    cr_assert_null(pool_give(pool, taken, &news));
    cr_assert_eq(pool->depot_count, 1);
}

Test(pool, one_block_comes_from_slabs_or_depot)
{
    struct magazine *m = take(batch);
    uint64_t out = batch;
    while (pool_take_one(pool) != NULL)
        out++;
    check_books(SLAB_BLOCKS * ((out + SLAB_BLOCKS - 1) / SLAB_BLOCKS), out);
    pool_give(pool, m, &news);
    for (unsigned i = batch; i-- > 0;)
        cr_assert_eq(pool_take_one(pool), m->slot[i]);
    cr_assert_null(pool_take_one(pool));
    cr_assert_eq(pool->depot_count, 0);
    check_books(pool->allocated, out);
    pool_give_one(pool, m->slot[3], &news);
    check_books(pool->allocated, out - 1);
    cr_assert_eq(pool_take_one(pool), m->slot[3]);
}

Test(pool, failures_are_counted_and_change_nothing)
{
    add_slab();
    pool_fail(pool);
    pool_fail(pool);
    cr_assert_eq(pool->failed, 2);
    check_books(SLAB_BLOCKS, 0);
}

/* ---- bad pointers ---- */

static void check_bad(unsigned count, void *block, enum slab_verdict verdict)
{
    cr_assert_eq(news.bad_count, count);
    cr_assert_eq(news.bad[0].pool, pool->id);
    cr_assert_eq(news.bad[0].block, block);
    cr_assert_eq(news.bad[0].verdict, verdict);
}

Test(pool, a_double_free_in_one_magazine_is_named)
{
    struct magazine *m = take(4);
    m->slot[2] = m->slot[1];
    pool_give(pool, m, &news);
    check_bad(1, m->slot[1], SLAB_NOT_OUT);
    check_books(SLAB_BLOCKS, 1);
}

Test(pool, a_double_free_through_the_depot_is_named_when_collected)
{
    struct magazine *m = take(batch);
    void *twice = m->slot[7], *other = m->slot[8];
    m->slot[8] = twice;
    uint64_t allocated = pool->allocated;
    pool_give(pool, m, &news);
    cr_assert_eq(news.bad_count, 0);
    pool_collect(pool, pool->minavail, &news);
    check_bad(1, twice, SLAB_NOT_OUT);
    check_books(SLAB_BLOCKS < allocated ? pool->allocated : SLAB_BLOCKS, 1);
    pool_give_one(pool, other, &news);
    cr_assert_eq(pool->used, 0);
    pool_check(pool);
}

Test(pool, the_inside_of_a_block_is_named)
{
    struct magazine *m = take(1);
    void *block = m->slot[0];
    pool_give_one(pool, (char *)block + 16, &news);
    check_bad(1, (char *)block + 16, SLAB_MISALIGNED);
    check_books(SLAB_BLOCKS, 1);
}

Test(pool, a_pointer_into_a_slab_that_is_gone_is_named)
{
    struct magazine *m = take(1);
    void *block = m->slot[0];
    pool_give(pool, m, &news);
    pool_collect(pool, pool->minavail, &news);
    check_books(0, 0);
    pool_give_one(pool, block, &news);
    check_bad(1, block, SLAB_NOT_OUT);
    check_books(0, 0);
}

Test(pool, bad_pointers_beyond_the_first_few_are_counted)
{
    struct magazine *m = take(2), *bad = magazine_of(m->slot[0], 20);
    pool_give(pool, bad, &news);
    cr_assert_eq(news.bad_count, 19);
    check_books(SLAB_BLOCKS, 1);
    for (unsigned i = 0; i < POOL_NEWS; i++)
        cr_assert_eq(news.bad[i].block, m->slot[0]);
}

/* ---- any steps ---- */

Test(pool, any_steps_keep_the_books_and_no_block_is_out_twice)
{
    enum { HELD = 64, BLOCKS = 1 << 15 };
    static bool is_out[BLOCKS];
    struct magazine *held[HELD] = {NULL};
    uint64_t seed = 99, used = 0;
    for (int step = 0; step < 20000; step++) {
        size_t i = random_below(&seed, HELD);
        if (held[i] == NULL) {
            held[i] = take(1 + (unsigned)random_below(&seed, batch));
            for (unsigned k = 0; k < held[i]->count; k++) {
                size_t block = (size_t)((uintptr_t)held[i]->slot[k] - region.base) / SIZE;
                cr_assert(block < BLOCKS && !is_out[block]);
                is_out[block] = true;
            }
            used += held[i]->count;
        } else {
            for (unsigned k = 0; k < held[i]->count; k++)
                is_out[(size_t)((uintptr_t)held[i]->slot[k] - region.base) / SIZE] = false;
            used -= held[i]->count;
            struct magazine *empty = pool_give(pool, held[i], &news);
            if (empty != NULL)
                magazine_delete(empty);
            held[i] = NULL;
        }
        if (random_below(&seed, 500) == 0)
            pool_collect(pool, pool->minavail, &news);
        release_surplus();
        check_books(pool->allocated, used);
    }
    cr_assert_eq(news.bad_count, 0);
}

static void *churn(void *number)
{
    uint64_t seed = 1 + (uintptr_t)number;
    struct pool_news own;
    pool_news_init(&own);
    for (int step = 0; step < 5000; step++) {
        struct magazine *m, *empty = magazine_new(batch);
        while ((m = pool_take(pool, empty, 1 + (unsigned)random_below(&seed, batch))) == NULL)
            pool_grow(pool);
        for (unsigned i = 0; i < m->count; i++)
            *(uintptr_t *)m->slot[i] = (uintptr_t)number;
        for (unsigned i = 0; i < m->count; i++)
            if (*(uintptr_t *)m->slot[i] != (uintptr_t)number)
                return number;
        if ((empty = pool_give(pool, m, &own)) != NULL)
            magazine_delete(empty);
    }
    return NULL;
}

Test(pool, threads_share_it)
{
    pthread_t thread[RACERS];
    void *spoilt;
    for (uintptr_t i = 0; i < RACERS; i++)
        pthread_create(&thread[i], NULL, churn, (void *)(i + 1));
    for (int i = 0; i < RACERS; i++) {
        pthread_join(thread[i], &spoilt);
        cr_assert_null(spoilt);
    }
    check_books(pool->allocated, 0);
}

/* ---- fork's locks, the check itself ---- */

#ifdef TARN_DEBUG

Test(pool, fork_holds_and_renews_every_lock)
{
    pool_lock_all();
    for (unsigned c = 1; c <= class_count; c++)
        cr_assert(lock_held(&pools[c].lock));
    pool_unlock_all();
    cr_assert(lock_none_held());
    pool_lock_all();
    lock_forget_held();
    pool_reset_locks();
    for (unsigned c = 1; c <= class_count; c++)
        cr_assert_null(pool_take_one(&pools[c])); /* would wait for ever */
}

#endif

static void miscount_used(void)
{
    pool->used++;
    pool_check(pool);
}

static void miscount_allocated(void)
{
    pool->allocated += SLAB_BLOCKS;
    pool_check(pool);
}

static void miscount_depot(void)
{
    pool->depot_count = 0;
    pool_check(pool);
}

Test(pool, check_traps_what_is_broken)
{
    pool_give(pool, take(batch), &news);
    pool_check(pool);
    cr_assert(dies(miscount_used, "p->used"));
    cr_assert(dies(miscount_allocated, "p->allocated"));
    cr_assert(dies(miscount_depot, "p->depot_count"));
}
