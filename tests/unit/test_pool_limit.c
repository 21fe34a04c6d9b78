/* What a pool may have, and what of it a collection leaves. */
#include "../tools/small_slabs.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

TestSuite(pool_limit, .init = start);

Test(pool_limit, the_limit_is_exact)
{
    pool->limit = 2 * SLAB_BLOCKS;
    add_slab(), add_slab();
    cr_assert_eq(pool_grow(pool), POOL_LIMITED);
    check_books(2 * SLAB_BLOCKS, 0);
    region_check();
    pool->limit = 0;
    add_slab();
}

/* The last slab has as many blocks as the limit leaves; gone, the room below the limit is whole again. */
Test(pool_limit, a_limit_inside_a_slab_trims_it)
{
    for (unsigned left = 1; left < SLAB_BLOCKS; left = left * 3 + 1) {
        pool->limit = SLAB_BLOCKS + left;
        add_slab();
        cr_assert_eq(add_slab()->blocks, left);
        cr_assert_eq(pool_grow(pool), POOL_LIMITED);
        check_books(pool->limit, 0);
        void *block[2 * SLAB_BLOCKS];
        for (unsigned i = 0; i < pool->limit; i++)
            cr_assert_not_null(block[i] = pool_take_one(pool));
        cr_assert_null(pool_take_one(pool));
        check_books(pool->limit, pool->limit);
        for (unsigned i = 0; i < pool->limit; i++)
            pool_give_one(pool, block[i], &news);
        cr_assert_eq(news.bad_count, 0);
        pool_collect(pool, 0, &news);
        release_surplus();
        check_books(0, 0);
    }
}

static void *add_many(void *unused)
{
    for (int i = 0; i < 200; i++)
        pool_grow(pool);
    return unused;
}

Test(pool_limit, racing_threads_never_exceed_the_limit)
{
    pthread_t thread[RACERS];
    pool->limit = 100 * SLAB_BLOCKS;
    for (int i = 0; i < RACERS; i++)
        pthread_create(&thread[i], NULL, add_many, NULL);
    for (int i = 0; i < RACERS; i++)
        pthread_join(thread[i], NULL);
    check_books(100 * SLAB_BLOCKS, 0);
}

Test(pool_limit, collect_empties_the_depot_and_unlinks_every_empty_slab)
{
    struct magazine *m[8];
    for (int i = 0; i < 8; i++)
        m[i] = take(batch);
    uint64_t slabs = pool->slabs;
    void *block = m[0]->slot[0];
    for (int i = 0; i < 8; i++)
        pool_give(pool, m[i], &news);
    cr_assert_gt(pool->depot_count, 0);
    pool_collect(pool, pool->minavail, &news);
    cr_assert_eq(pool->depot_count, 0);
    cr_assert_null(pool->spares);
    cr_assert_eq(surplus(), slabs);
    cr_assert_eq(region_class(block), CLASS_NONE);
    cr_assert_eq(news.bad_count, 0);
    check_books(0, 0);
}

Test(pool_limit, collect_leaves_what_is_in_use)
{
    struct magazine *a = take(batch), *b = take(batch);
    while (pool->allocated < 4 * SLAB_BLOCKS)
        add_slab();
    pool_give(pool, b, &news);
    pool_collect(pool, pool->minavail, &news);
    check_books(pool->allocated, batch);
    cr_assert_leq(pool->allocated, (uint64_t)SLAB_BLOCKS * ((batch + SLAB_BLOCKS - 1) / SLAB_BLOCKS));
    for (unsigned i = 0; i < batch; i++) {
        cr_assert_eq(region_class(a->slot[i]), pool->id);
        memset(a->slot[i], 1, SIZE);
    }
}

/* min(minavail, free) blocks stay, and no whole slab more. */
Test(pool_limit, collect_leaves_minavail)
{
    const uint64_t wanted[] = {0, 1, 63, 64, 65, 200, 640, 641, 100000};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        while (pool->allocated < 10 * SLAB_BLOCKS)
            add_slab();
        struct magazine *m = take(5);
        pool->minavail = wanted[i];
        uint64_t before = pool->allocated - pool->used;
        pool_collect(pool, pool->minavail, &news);
        uint64_t after = pool->allocated - pool->used;
        cr_assert_geq(after, wanted[i] < before ? wanted[i] : before);
        cr_assert_lt(after, wanted[i] + SLAB_BLOCKS);
        pool_check(pool);
        pool_give(pool, m, &news);
    }
}

Test(pool_limit, minavail_holds_where_slabs_are_given_up_unasked)
{
    void *block[4 * SLAB_BLOCKS];
    pool->minavail = 3 * SLAB_BLOCKS;
    for (int i = 0; i < 4; i++)
        add_slab();
    for (int i = 0; i < 4 * SLAB_BLOCKS; i++)
        block[i] = pool_take_one(pool);
    for (int i = 0; i < 4 * SLAB_BLOCKS; i++)
        pool_give_one(pool, block[i], &news);
    check_books(3 * SLAB_BLOCKS, 0);
}

Test(pool_limit, empty_slabs_are_surplus_but_for_one)
{
    void *block[3 * SLAB_BLOCKS];
    for (int i = 0; i < 3; i++)
        add_slab();
    for (int i = 0; i < 3 * SLAB_BLOCKS; i++)
        cr_assert_not_null(block[i] = pool_take_one(pool));
    for (int i = 0; i < 3 * SLAB_BLOCKS; i++)
        pool_give_one(pool, block[i], &news);
    check_books(SLAB_BLOCKS, 0);
    cr_assert_eq(surplus(), 2);
    for (struct list *l = news.surplus.next; l != &news.surplus; l = l->next)
        cr_assert_eq(region_class(container_of(l, struct slab, link)->base), CLASS_NONE);
}
