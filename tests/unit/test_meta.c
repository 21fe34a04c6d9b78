#include "../tools/random.h"
#include "base.h"
#include "fake_system.h"
#include "lock.h"
#include "meta.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

static size_t rounded(size_t bytes)
{
    size_t size = META_MIN;
    while (size < bytes)
        size *= 2;
    return size;
}

Test(meta, pieces_are_zero_at_first_and_aligned_to_their_size_up_to_a_page)
{
    for (size_t bytes = 1; bytes <= META_MAX; bytes += bytes < 200 ? 1 : 977) {
        size_t align = rounded(bytes) < 4096 ? rounded(bytes) : 4096;
        char *piece = meta_alloc(bytes);
        cr_assert_not_null(piece);
        cr_assert_eq((uintptr_t)piece % align, 0);
        for (size_t i = 0; i < bytes; i++)
            cr_assert_eq(piece[i], 0);
        memset(piece, 0x5A, rounded(bytes));
    }
}

Test(meta, used_counts_whole_pieces)
{
    void *piece[3];
    const size_t bytes[3] = {1, 65, META_MAX};
    size_t expected = 0;
    cr_assert_eq(meta_used(), 0);
    cr_assert_eq(meta_mapped(), 0);
    for (int i = 0; i < 3; i++) {
        piece[i] = meta_alloc(bytes[i]);
        expected += rounded(bytes[i]);
        cr_assert_eq(meta_used(), expected);
    }
    cr_assert_geq(meta_mapped(), expected);
    for (int i = 0; i < 3; i++)
        meta_free(piece[i], bytes[i]);
    cr_assert_eq(meta_used(), 0);
}

Test(meta, what_comes_back_is_used_again)
{
    enum { PIECES = 3000 };
    static void *piece[PIECES];
    size_t mapped = 0;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < PIECES; i++)
            cr_assert_not_null(piece[i] = meta_alloc(1024));
        if (round == 0)
            mapped = meta_mapped();
        for (int i = 0; i < PIECES; i++)
            meta_free(piece[i], 1000);
    }
    cr_assert_eq(meta_mapped(), mapped);
}

Test(meta, is_null_without_memory_and_recovers)
{
    fake_refuse(0, SIZE_MAX);
    cr_assert_null(meta_alloc(64));
    cr_assert_null(meta_alloc(META_MAX));
    cr_assert_eq(meta_used(), 0);
    fake_refuse_none();
    cr_assert_not_null(meta_alloc(META_MAX));
}

Test(meta, asks_for_little_where_much_is_refused)
{
    fake_refuse(0, 1);
    cr_assert_not_null(meta_alloc(META_MAX));
    cr_assert_eq(meta_mapped(), META_MAX);
}

/* Each piece is filled with its own pattern: an overlap would show in a neighbour. */
enum { THREADS = 4, PIECES = 200, ROUNDS = 20000 };

static void *churn(void *number)
{
    struct {
        unsigned char *at, fill;
        size_t bytes;
    } piece[PIECES] = {0};
    uint64_t seed = 77 + (uintptr_t)number;
    uintptr_t damaged = 0;
    for (int round = 0; round < ROUNDS; round++) {
        size_t i = random_below(&seed, PIECES);
        if (piece[i].at != NULL) {
            damaged += piece[i].at[0] != piece[i].fill || piece[i].at[piece[i].bytes - 1] != piece[i].fill;
            meta_free(piece[i].at, piece[i].bytes);
        }
        piece[i].bytes = 1 + random_below(&seed, random_below(&seed, 50) == 0 ? META_MAX : 2000);
        piece[i].fill = (unsigned char)random_next(&seed);
        piece[i].at = meta_alloc(piece[i].bytes);
        memset(piece[i].at, piece[i].fill, rounded(piece[i].bytes));
    }
    for (size_t i = 0; i < PIECES; i++)
        if (piece[i].at != NULL)
            meta_free(piece[i].at, piece[i].bytes);
    return (void *)damaged;
}

Test(meta, threads_never_share_a_piece)
{
    pthread_t thread[THREADS];
    void *damaged;
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, churn, (void *)i);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], &damaged);
        cr_assert_null(damaged);
    }
    cr_assert_eq(meta_used(), 0);
}

Test(meta, its_lock_is_forks_to_hold_and_to_renew)
{
    meta_alloc(64);
    meta_lock();
    meta_unlock();
    cr_assert_not_null(meta_alloc(64));
    meta_lock();
    lock_forget_held();
    meta_reset_lock();
    cr_assert_not_null(meta_alloc(64)); /* would wait for ever */
}
