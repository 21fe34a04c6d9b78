#include "cache.h"

#include "../tools/dies.h"
#include "../tools/random.h"
#include "fake_system.h"
#include "meta.h"
#include "region.h"

#include <criterion/criterion.h>

enum { SIZE = 1024, MANY = 4000, BUDGET = 1 << 20 };
static struct cache cache;
static struct pool_news news;
static unsigned c, batch;
static void *block[MANY];

static void start(void)
{
    sizeclass_start(NULL, 0, 32768);
    pool_start();
    cr_assert(region_start());
    pool_news_init(&news);
    cache_budget(BUDGET);
    c = class_of(SIZE);
    batch = class_table[c].batch;
}

TestSuite(cache, .init = start);

static void *alloc(void)
{
    void *p = NULL;
    if (!cache_pop(&cache, class_place(c), &p) && cache_refill(&cache, c, true))
        cr_assert(cache_pop(&cache, class_place(c), &p));
    return p;
}

static void give(void *p)
{
    if (cache_push(&cache, class_place(c), p))
        return;
    cr_assert(cache_flush(&cache, c, &news));
    cr_assert(cache_push(&cache, class_place(c), p));
}

static void alloc_many(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        cr_assert_not_null(block[i] = alloc());
}

static void give_many(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        give(block[i]);
}

static void check_misses(struct cache *empty)
{
    void *p = &cache;
    for (unsigned k = 0; k < CLASS_MAX; k++) {
        cr_assert_not(cache_pop(empty, class_place(k), &p));
        cr_assert_not(cache_push(empty, class_place(k), &cache));
        cr_assert_not(cache_pop(empty, class_place(k), &p));
    }
}

Test(cache, all_zeroes_is_a_cache_that_always_misses)
{
    cr_assert_eq(cache_self, &cache_none);
    check_misses(&cache_none);
    check_misses(&cache);
    cache_check(&cache);
    cr_assert_eq(cache_held(&cache, c), 0);
}

Test(cache, what_is_no_pools_always_misses)
{
    void *p;
    alloc_many(10);
    cr_assert_not(cache_pop(&cache, class_place(CLASS_NONE), &p) ||
                  cache_push(&cache, class_place(CLASS_NONE), block));
    cr_assert_not(cache_pop(&cache, class_place(CLASS_LARGE), &p) ||
                  cache_push(&cache, class_place(CLASS_LARGE), block));
    cr_assert_not(cache_pop(&cache, class_place(CLASS_BODY), &p) ||
                  cache_push(&cache, class_place(CLASS_BODY), block));
}

Test(cache, fresh_blocks_come_in_address_order_and_freed_ones_last_first)
{
    enum {
        STAGGERED = 8
    }; /* those that a thread begins a class with: they are a row, from somewhere on and round */
    alloc_many(100);
    char *begin = (char *)block[STAGGERED] - STAGGERED * SIZE;
    size_t turn = (size_t)((char *)block[0] - begin) / SIZE;
    for (unsigned i = 0; i < 64; i++)
        cr_assert_eq(block[i], begin + (i < STAGGERED ? (i + turn) % STAGGERED : i) * SIZE);
    give(block[5]);
    give(block[9]);
    cr_assert_eq(alloc(), block[9]);
    cr_assert_eq(alloc(), block[5]);
    cache_check(&cache);
}

/* Where slabs begin, the addresses of all classes look the same to the machine's cache. */
Test(cache, classes_begin_at_different_places)
{
    unsigned places[8] = {0};
    for (unsigned k = 1; k <= 16; k++) {
        void *p = NULL;
        cr_assert(cache_refill(&cache, k, true) && cache_pop(&cache, class_place(k), &p));
        places[(uintptr_t)p % UNIT / class_table[k].size % 8]++;
    }
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(places[i], 2);
}

Test(cache, refill_prefers_its_own_stack_to_the_pool)
{
    alloc_many(3 * batch);
    give_many(3 * batch);
    cr_assert_gt(cache.bin[c].full_count, 0);
    uint64_t used = pools[c].used;
    for (unsigned n = (unsigned)cache_held(&cache, c); n > 0; n--)
        cr_assert_not_null(alloc());
    cr_assert_eq(pools[c].used, used);
    cr_assert_eq(cache_held(&cache, c), 0);
}

Test(cache, held_is_exact)
{
    alloc_many(MANY);
    for (unsigned i = 0; i < MANY; i++) {
        give(block[i]);
        cr_assert_eq(pools[c].used, MANY - i - 1 + cache_held(&cache, c));
    }
}

/* ---- the bound ---- */

static size_t stacked_bytes(void)
{
    size_t bytes = 0;
    for (unsigned k = 1; k <= class_count; k++)
        bytes += (size_t)cache.bin[k].full_count * class_table[k].batch * class_table[k].size;
    return bytes;
}

/* Frees plenty of every class; the stacks never go beyond `most`. Returns the most there was. */
static size_t fill_stacks(size_t most)
{
    size_t peak = 0;
    for (unsigned k = class_count; k >= 1; k--) {
        c = k;
        unsigned n = 12 * class_table[c].batch;
        n = n < MANY ? n : MANY;
        alloc_many(n);
        for (unsigned i = 0; i < n; i++) {
            give(block[i]);
            cr_assert_leq(stacked_bytes(), most);
            cr_assert_eq(stacked_bytes(), cache.stacked);
            peak = cache.stacked > peak ? cache.stacked : peak;
        }
    }
    cache_check(&cache);
    return peak;
}

Test(cache, the_stacks_stay_within_the_budget)
{
    cr_assert_gt(fill_stacks(BUDGET), BUDGET / 2);
}

Test(cache, a_small_budget_is_kept_too)
{
    cache_budget(100000);
    cr_assert_gt(fill_stacks(100000), 0);
}

Test(cache, many_threads_share_what_sixteen_may_have)
{
    cache_share(16);
    cr_assert_gt(fill_stacks(BUDGET), BUDGET / 2);
    cache_drain_all(&cache, &news);
    cache_share(64);
    size_t peak = fill_stacks(BUDGET / 4);
    cr_assert(peak > 0 && peak <= BUDGET / 4);
    cache_drain_all(&cache, &news);
    cache_share(1);
    cr_assert_gt(fill_stacks(BUDGET), BUDGET / 2);
}

Test(cache, with_no_budget_nothing_is_stacked)
{
    cache_budget(0);
    cr_assert_eq(fill_stacks(0), 0);
}

/* The first to be freed are at the bottom of the stack, and would be the last to be seen. */
Test(cache, after_many_frees_in_a_row_the_stack_is_empty_and_blocks_come_in_address_order)
{
    enum { ALL = 40000 };
    static void *all[ALL];
    for (unsigned i = 0; i < ALL; i++)
        cr_assert_not_null(all[i] = alloc());
    for (unsigned i = 0; i < ALL; i++)
        give(all[i * 7919 % ALL]);
    cr_assert_eq(cache.bin[c].full_count, 0);
    cache_check(&cache);
    pool_check(&pools[c]);
    for (unsigned i = 0; i < batch; i++) /* what the loaded magazine held */
        alloc();
    unsigned neighbours = 0;
    char *last = alloc();
    for (unsigned i = 0; i < 10 * batch; i++) {
        char *p = alloc();
        neighbours += p == last + SIZE;
        last = p;
    }
    cr_assert_gt(neighbours, 8 * batch);
}

Test(cache, who_only_frees_stacks_nothing)
{
    alloc_many(4 * batch);
    cache_drain(&cache, c, &news); /* now as empty as another thread's */
    give_many(4 * batch);
    cr_assert_eq(cache.stacked, 0);
    cr_assert_geq(pools[c].depot_count, 2);
    alloc_many(4 * batch);
    give_many(4 * batch);
    cr_assert_gt(cache.stacked, 0);
}

Test(cache, no_class_takes_the_whole_budget)
{
    alloc_many(MANY);
    give_many(MANY);
    cr_assert_leq(cache.stacked, BUDGET / 4);
    cr_assert_gt(cache.stacked, 0);
}

/* ---- drain ---- */

Test(cache, drain_gives_everything_back)
{
    alloc_many(MANY);
    size_t before = meta_used();
    give_many(MANY);
    cache_drain(&cache, c, &news);
    cr_assert_eq(cache_held(&cache, c), 0);
    cr_assert_eq(cache.stacked, 0);
    cr_assert_eq(pools[c].used, 0);
    cr_assert(cache.bin[c].loaded == NULL && cache.bin[c].spare == NULL && cache.bin[c].full == NULL);
    cache_check(&cache);
    check_misses(&cache);
    pool_collect(&pools[c], pools[c].minavail, &news);
    pool_check(&pools[c]);
    cr_assert_eq(pools[c].allocated, 0);
    cr_assert_lt(meta_used(), before); /* every magazine went, with the bitmaps of the slabs still held */
    alloc_many(10);
}

Test(cache, drain_all_drains_each_class)
{
    for (c = 1; c <= class_count; c++) {
        alloc_many(3 * class_table[c].batch);
        give_many(2 * class_table[c].batch);
    }
    cache_drain_all(&cache, &news);
    for (c = 1; c <= class_count; c++) {
        cr_assert_eq(cache_held(&cache, c), 0);
        cr_assert_eq(pools[c].used, class_table[c].batch);
        pool_check(&pools[c]);
    }
    check_misses(&cache);
    cr_assert_eq(cache.stacked, 0);
}

Test(cache, flush_and_drain_tell_of_bad_pointers)
{
    cache_budget(0);
    alloc_many(2 * batch);
    give(block[0]);
    give(block[0]);
    cache_drain(&cache, c, &news);
    cr_assert_eq(news.bad_count, 1);
    cr_assert_eq(news.bad[0].block, block[0]);
    pool_check(&pools[c]);
}

/* A fork's child may find the cache of a thread that was interrupted between any two stores. */
Test(cache, drain_all_puts_an_interrupted_cache_right)
{
    alloc_many(4 * batch);
    give_many(4 * batch);
    cr_assert_gt(cache.bin[c].full_count, 0);
    cache.bin[c].full = cache.bin[c].full->next; /* taken off, not counted yet */
    cache_drain_all(&cache, &news);
    cr_assert_eq(cache_held(&cache, c), 0);
    cache_check(&cache);
    give(alloc());
    cache_check(&cache);
}

/* ---- without memory ---- */

Test(cache, a_refill_without_memory_changes_nothing)
{
    alloc_many(100);
    unsigned n = 100;
    fake_refuse(0, SIZE_MAX);
    void *p;
    while ((p = alloc()) != NULL && n < MANY)
        block[n++] = p;
    cr_assert_lt(n, MANY);
    cr_assert_not(cache_refill(&cache, c, true));
    cache_check(&cache);
    cr_assert_eq(pools[c].used, n);
    cr_assert_eq(pools[c].allocated, n);
    give_many(n); /* freeing needs none */
    fake_refuse_none();
    cr_assert_not_null(alloc());
    cache_check(&cache);
    pool_check(&pools[c]);
}

Test(cache, a_pools_limit_makes_refill_fail_and_leaks_no_slab)
{
    struct region_stats before, after;
    pools[c].limit = class_table[c].blocks;
    alloc_many(class_table[c].blocks);
    region_stats(&before);
    for (int i = 0; i < 10; i++)
        cr_assert_null(alloc());
    region_stats(&after);
    cr_assert_eq(after.taken, before.taken);
    region_check();
    give(block[0]);
    cr_assert_eq(alloc(), block[0]);
}

Test(cache, a_flush_without_memory_for_a_magazine_says_so)
{
    alloc_many(batch);
    cache_drain(&cache, c, &news);
    pool_collect(&pools[c], pools[c].minavail, &news);
    while (meta_used() > 0 && fake_refused() == 0) { /* take all bookkeeping memory there is */
        fake_refuse(0, SIZE_MAX);
        while (meta_alloc(META_MIN) != NULL)
            ;
    }
    for (size_t bytes = META_MIN; bytes <= META_MAX; bytes *= 2)
        while (meta_alloc(bytes) != NULL)
            ;
    cr_assert_not(cache_flush(&cache, c, &news));
    cr_assert_not(cache_refill(&cache, c, true));
    cache_check(&cache);
    fake_refuse_none();
    cr_assert(cache_flush(&cache, c, &news));
}

/* ---- any steps, and the check itself ---- */

Test(cache, any_steps_keep_the_books)
{
    uint64_t seed = 3, out[CLASS_MAX] = {0};
    static void *held[MANY];
    static unsigned class[MANY];
    for (int step = 0; step < 200000; step++) {
        size_t i = random_below(&seed, MANY);
        if (held[i] == NULL) {
            c = class[i] = 1 + (unsigned)random_below(&seed, class_count);
            cr_assert_not_null(held[i] = alloc());
            out[c]++;
        } else {
            c = class[i];
            give(held[i]);
            held[i] = NULL;
            out[c]--;
        }
        if (random_below(&seed, 3000) == 0) {
            c = 1 + (unsigned)random_below(&seed, class_count);
            cache_drain(&cache, c, &news);
        }
        while (!list_empty(&news.surplus)) {
            struct list *l = news.surplus.next;
            list_remove(l);
            region_release_slab(container_of(l, struct slab, link));
        }
        if (step % 2000 == 0)
            for (c = 1, cache_check(&cache); c <= class_count; c++) {
                pool_check(&pools[c]);
                cr_assert_eq(pools[c].used, out[c] + cache_held(&cache, c));
            }
    }
    cr_assert_eq(news.bad_count, 0);
}

static void miscount_stack(void)
{
    cache.bin[c].full_count++;
    cache_check(&cache);
}

static void miscount_bytes(void)
{
    cache.stacked += 16;
    cache_check(&cache);
}

static void hold_foreign_block(void)
{
    cache.bin[c].base[0] = &cache;
    cache_check(&cache);
}

Test(cache, check_traps_what_is_broken)
{
    alloc_many(3 * batch);
    give_many(3 * batch);
    cache_check(&cache);
    cr_assert(dies(miscount_stack, "bin->full_count"));
    cr_assert(dies(miscount_bytes, "stacked"));
    cr_assert(dies(hold_foreign_block, "region_class"));
}
