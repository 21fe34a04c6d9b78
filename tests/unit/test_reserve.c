#include "reserve.h"

#include "fake_system.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

static const size_t size[] = {1, 32, 33, 100, 4096, 5000, 65536, 65537, 3 << 20};

Test(reserve, blocks_are_apart_and_as_large_as_asked)
{
    enum { EACH = 40 };
    unsigned char *p[ARRAY_LENGTH(size)][EACH];
    for (size_t s = 0; s < ARRAY_LENGTH(size); s++)
        for (int i = 0; i < EACH; i++) {
            cr_assert_not_null(p[s][i] = reserve_alloc(size[s], 16));
            cr_assert_geq(reserve_usable(p[s][i]), size[s]);
            memset(p[s][i], (int)(s * EACH + (size_t)i), size[s]);
        }
    for (size_t s = 0; s < ARRAY_LENGTH(size); s++)
        for (int i = 0; i < EACH; i++) {
            cr_assert_eq(p[s][i][0], (unsigned char)(s * EACH + (size_t)i));
            cr_assert_eq(p[s][i][size[s] - 1], (unsigned char)(s * EACH + (size_t)i));
            cr_assert(reserve_free(p[s][i]));
        }
}

Test(reserve, what_was_freed_serves_the_next)
{
    size_t bytes = 0;
    for (int round = 0; round < 100; round++) {
        void *p[ARRAY_LENGTH(size)];
        for (size_t s = 0; s < ARRAY_LENGTH(size); s++)
            cr_assert_not_null(p[s] = reserve_alloc(size[s], 16));
        bytes = round == 0 ? reserve_bytes() : bytes;
        for (size_t s = 0; s < ARRAY_LENGTH(size); s++)
            cr_assert(reserve_free(p[s]));
    }
    cr_assert_gt(bytes, 0);
    cr_assert_eq(reserve_bytes(), bytes);
}

Test(reserve, blocks_are_aligned)
{
    for (size_t align = 16; align <= 1 << 20; align *= 2)
        for (size_t s = 0; s < ARRAY_LENGTH(size); s++) {
            char *p = reserve_alloc(size[s], align);
            cr_assert_eq((uintptr_t)p % align, 0);
            cr_assert_geq(reserve_usable(p), size[s]);
            memset(p, 1, size[s]);
            cr_assert(reserve_free(p));
        }
}

Test(reserve, only_its_own_live_blocks_are_taken_back)
{
    static char stranger[64];
    char *p = reserve_alloc(100, 16);
    cr_assert_not(reserve_free(stranger));
    cr_assert_not(reserve_free(NULL));
    cr_assert_eq(reserve_usable(stranger), 0);
    cr_assert(reserve_free(p));
    cr_assert_not(reserve_free(p));
    cr_assert_eq(reserve_usable(p), 0);
    cr_assert_not(reserve_free(p + 256)); /* never handed out */
}

Test(reserve, no_memory_is_null)
{
    cr_assert_null(reserve_alloc(((size_t)1 << 30) + 1, 16));
    cr_assert_null(reserve_alloc(SIZE_MAX, 16));
    cr_assert_null(reserve_alloc(1, (size_t)1 << 62));
    fake_refuse(0, SIZE_MAX);
    cr_assert_null(reserve_alloc(100, 16));
    fake_refuse_none();
    cr_assert_not_null(reserve_alloc(100, 16));
}

Test(reserve, deferred_blocks_are_a_chain_and_not_written_to)
{
    char block[3] = {1, 2, 3};
    cr_assert_not(reserve_has_deferred());
    for (int i = 0; i < 3; i++)
        reserve_defer(&block[i]);
    cr_assert(reserve_has_deferred());
    struct deferred *list = reserve_take_deferred();
    cr_assert_not(reserve_has_deferred());
    for (int i = 2; i >= 0; i--) {
        char *p = reserve_next_deferred(&list);
        cr_assert_eq(p, &block[i]);
        cr_assert_eq(*p, i + 1);
    }
    cr_assert_null(reserve_next_deferred(&list));
}

/* Each block has its taker's mark in it as long as it is his. */
static void *take_and_give(void *number)
{
    uintptr_t *mine[8] = {NULL};
    for (unsigned i = 0; i < 200000; i++) {
        uintptr_t **p = &mine[i * 5 % 8];
        if (*p != NULL) {
            if (**p != (uintptr_t)number || !reserve_free(*p))
                return NULL;
            *p = NULL;
        } else if ((*p = reserve_alloc(i % 3 == 0 ? 500 : 40, 16)) != NULL) {
            **p = (uintptr_t)number;
        }
    }
    return number;
}

Test(reserve, threads_get_blocks_of_their_own, .timeout = 60)
{
    pthread_t thread[4];
    void *result;
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, take_and_give, (void *)(i + 1));
    for (uintptr_t i = 0; i < 4; i++) {
        pthread_join(thread[i], &result);
        cr_assert_eq(result, (void *)(i + 1));
    }
    cr_assert_leq(reserve_bytes(), 4 * 2 * 65536); /* each may have made the first chunk of either size */
}
