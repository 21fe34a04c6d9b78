/* What tarn.h says about pools of similar sizes (tarn_pool_create): its rules 1-3 of merging. */
#include "../tools/many_pools.h"

TestSuite(haproxy_similar, .init = start, .timeout = 30);

Test(haproxy_similar, rule_1_the_same_size_comes_before_a_similar_one)
{
    struct tarn_pool *small = make("small", BIG - 80, TARN_SHARED);
    tarn_pool_free(small, tarn_pool_alloc(small)); /* it grows no more */
    struct tarn_pool *big = make("big", BIG, TARN_SHARED);
    cr_assert_neq(big, small);
    cr_assert_eq(make("same", BIG - 80, TARN_SHARED), small);
    cr_assert_eq(make("between", BIG - 64, TARN_SHARED), big);
}

Test(haproxy_similar, rule_2_a_slightly_bigger_one_will_do)
{
    struct tarn_pool *pool = make("few", 608, TARN_SHARED), *big = make("big", BIG, TARN_SHARED);
    cr_assert_eq(make("16_less", 608 - 16, TARN_SHARED), pool);
    cr_assert_neq(make("32_less", 608 - 32, TARN_SHARED), pool);
    cr_assert_eq(make("1_percent_less", BIG - 80, TARN_SHARED), big);
    cr_assert_neq(make("more_less", BIG - 112, TARN_SHARED), big);
    cr_assert_eq(pool_now(big).size, BIG);
    cr_assert(is_malloc(make("nearly", APART + 16, TARN_SHARED), "size-320"));
}

Test(haproxy_similar, rule_2_and_3_are_not_for_exact_ones)
{
    struct tarn_pool *exact = make("exact", BIG, TARN_SHARED | TARN_EXACT);
    cr_assert_neq(make("less", BIG - 16, TARN_SHARED), exact);
    cr_assert_neq(make("more", BIG + 64, TARN_SHARED), exact);
    struct tarn_pool *pool = make("rounded", APART, TARN_SHARED);
    cr_assert_neq(make("less", APART - 16, TARN_SHARED | TARN_EXACT), pool);
    cr_assert_neq(make("more", APART + 16, TARN_SHARED | TARN_EXACT), pool);
    cr_assert_eq(pool_now(exact).size, BIG);
    cr_assert_eq(pool_now(pool).size, APART);
}

Test(haproxy_similar, rule_3_a_slightly_smaller_one_grows_while_nothing_came_out_of_it)
{
    struct tarn_pool *pool = make("grows", BIG, TARN_SHARED);
    cr_assert_eq(make("more", BIG + 80, TARN_SHARED), pool);
    cr_assert_eq(pool_now(pool).size, BIG + 80);
    void *block[20];
    cr_assert_eq(alloc_many(pool, block, 20), 20);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(heap_usable(block[i]), BIG + 80);
        memset(block[i], i, BIG + 80);
    }
    for (int i = 0; i < 20; i++)
        cr_assert(((char *)block[i])[0] == i && ((char *)block[i])[BIG + 79] == i);
    free_many(pool, block, 20);
    tarn_pool_flush(pool);
    cr_assert_eq(pool_now(pool).allocated, 0);
    cr_assert_neq(make("late", BIG + 160, TARN_SHARED), pool);
    cr_assert_eq(pool_now(pool).size, BIG + 80);
}

Test(haproxy_similar, rule_3_mallocs_own_never_grow)
{
    struct tarn_pool *pool = make("17_more", 256 + 16, TARN_SHARED);
    cr_assert_eq(pool_now(pool).size, 272);
    cr_assert_str_eq(pool_now(pool).name, "17_more");
    cr_assert_eq(heap_usable(heap_alloc(256)), 256);
    cr_assert_eq(heap_usable(heap_alloc(257)), 320);
}

Test(haproxy_similar, whatever_merges_keeps_its_alignment)
{
    for (size_t align = 16; align <= TARN_SIZE_MAX; align *= 4)
        for (size_t size = 64; size < 3000; size += 224) {
            struct tarn_pool *pool = tarn_pool_create("aligned", size, align, TARN_SHARED);
            cr_assert_not_null(pool);
            void *block[5];
            cr_assert_eq(alloc_many(pool, block, 5), 5);
            for (int i = 0; i < 5; i++) {
                cr_assert_eq((uintptr_t)block[i] % align, 0);
                cr_assert_geq(heap_usable(block[i]), size);
            }
            free_many(pool, block, 5);
            cr_assert_null(tarn_pool_destroy(pool));
        }
    heap_check();
}

Test(haproxy_similar, who_grows_keeps_the_alignment_of_all_its_users)
{
    struct tarn_pool *pool = make("plain", BIG - 16, TARN_SHARED); /* a multiple of 64 */
    cr_assert_eq(tarn_pool_create("lines", BIG - 16, 64, TARN_SHARED), pool);
    cr_assert_eq(pool_now(pool).align, 64);
    struct tarn_pool *more = make("more", BIG + 64, TARN_SHARED);
    cr_assert_neq(more, pool);
    void *block[5];
    cr_assert_eq(alloc_many(pool, block, 5), 5);
    for (int i = 0; i < 5; i++)
        cr_assert_eq((uintptr_t)block[i] % 64, 0);
}
