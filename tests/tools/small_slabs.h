/*
 * small_slabs: a pool as it comes, of blocks of 1 KiB, and what the books say of it.
 */
#ifndef TARN_TESTS_SMALL_SLABS_H
#define TARN_TESTS_SMALL_SLABS_H

#include "pool.h"
#include "region.h"

#include <criterion/criterion.h>

/* A class with one word a bitmap, so that a slab is soon full: 64 blocks of 1 KiB. */
enum { SIZE = 1024, SLAB_BLOCKS = 64 };
static struct pool *pool;
static unsigned batch;
static struct pool_news news;

enum { RACERS = 4 }; /* threads */

static inline void start(void)
{
    sizeclass_start(NULL, 0, 32768);
    pool_start();
    cr_assert(region_start());
    pool_news_init(&news);
    pool = &pools[class_of(SIZE)];
    batch = class_table[pool->id].batch;
    cr_assert_eq(class_table[pool->id].blocks, SLAB_BLOCKS);
}

static inline struct slab *add_slab(void)
{
    cr_assert_eq(pool_grow(pool), POOL_GREW);
    return container_of(pool->empty.next, struct slab, link);
}

/* A magazine of `n` blocks, slabs added as needed. */
static inline struct magazine *take(unsigned n)
{
    while (pool->allocated - pool->used < n)
        add_slab();
    struct magazine *m = pool_take(pool, magazine_new(batch), n);
    cr_assert(m != NULL && m->count >= n);
    return m;
}

static inline void check_books(uint64_t allocated, uint64_t used)
{
    pool_check(pool);
    cr_assert_eq(pool->allocated, allocated);
    cr_assert_eq(pool->used, used);
}

static inline unsigned surplus(void)
{
    unsigned n = 0;
    for (struct list *l = news.surplus.next; l != &news.surplus; l = l->next)
        n++;
    return n;
}

static inline void release_surplus(void)
{
    while (!list_empty(&news.surplus)) {
        struct list *l = news.surplus.next;
        list_remove(l);
        region_release_slab(container_of(l, struct slab, link));
    }
}

#endif
