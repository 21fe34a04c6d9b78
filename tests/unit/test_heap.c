#include "../tools/whole_heap.h"
#include "fake_system.h"
#include "gc.h"
#include "meta.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

TestSuite(heap, .init = start);

/* ---- start ---- */

Test(heap_start, the_first_call_starts_tarn_whatever_it_is)
{
    cr_assert_eq(pooled_max, 0);
    void *p = alloc(100);
    cr_assert_not_null(p);
    cr_assert_gt(pooled_max, 0);
    cr_assert_eq(heap_usable(p), 112);
    heap_check();
}

Test(heap_start, zero_bytes_may_be_the_first_request)
{
    void *p = alloc(0), *q = alloc(0);
    cr_assert(p != NULL && q != NULL && p != q);
    give(p);
    give(q);
}

Test(heap_start, a_foreign_free_may_be_the_first_call)
{
    int local = 0;
    setenv("TARN_MISUSE", "ignore", 1);
    give(NULL);
    give(&local);
    cr_assert_eq(fault_count(FAULT_FOREIGN), 1);
}

Test(heap_start, classes_come_from_the_environment)
{
    setenv("TARN_CLASSES", "32,1k,48k", 1);
    void *p = alloc(33);
    cr_assert_eq(class_count, 3);
    cr_assert_eq(heap_usable(p), KIBIBYTE);
    cr_assert_eq(heap_usable(alloc(KIBIBYTE + 1)), 48 * KIBIBYTE);
    heap_check();
}

static void *start_and_alloc(void *unused)
{
    (void)unused;
    heap_start();
    return alloc(64);
}

Test(heap_start, a_block_that_ends_at_its_fence_is_aligned_as_any)
{
    setenv("TARN_HARDEN", "guard-pages", 1);
    for (size_t n = 300001; n < 300001 + 16; n++) {
        char *p = heap_alloc_aligned(8, n);
        cr_assert_eq((uintptr_t)p % BLOCK_ALIGN, 0, "%zu", n);
        cr_assert_eq(region_class(p), CLASS_GUARDED);
        heap_free(p, "free");
    }
}

Test(heap_start, many_threads_may_start_it_at_once)
{
    pthread_t thread[8];
    void *p[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&thread[i], NULL, start_and_alloc, NULL);
    for (int i = 0; i < 8; i++) {
        pthread_join(thread[i], &p[i]);
        cr_assert_eq(heap_usable(p[i]), 64);
        for (int k = 0; k < i; k++)
            cr_assert_neq(p[k], p[i]);
    }
    heap_check();
}

/* ---- alloc ---- */

Test(heap, every_size_is_served_usable_and_aligned)
{
    for (size_t n = 0; n < 3 * MEBIBYTE; n += n < 70000 ? 1 + n / 97 : 99991) {
        char *p = alloc(n);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % BLOCK_ALIGN, 0);
        cr_assert_geq(heap_usable(p), n);
        memset(p, 0x77, heap_usable(p));
        give(p);
    }
    heap_check();
}

Test(heap, more_than_ptrdiff_max_is_null_and_no_failure_of_memory)
{
    cr_assert_null(alloc((size_t)PTRDIFF_MAX + 1));
    cr_assert_null(alloc(SIZE_MAX));
    cr_assert_null(heap_alloc_zeroed(SIZE_MAX));
    cr_assert_null(heap_alloc_aligned(4096, SIZE_MAX));
    cr_assert_null(heap_alloc_aligned((size_t)1 << 63, 1));
    cr_assert_null(alloc(PTRDIFF_MAX));
    void *p = alloc(50);
    cr_assert_null(heap_realloc(p, SIZE_MAX));
    cr_assert_eq(heap_usable(p), 64);
    heap_check();
}

Test(heap, zeroed_blocks_are_zero_even_where_they_were_used)
{
    const size_t sizes[] = {1, 16, 100, 4000, 32768, 100000, 3 * MEBIBYTE};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int round = 0; round < 4; round++) {
            char *p = heap_alloc_zeroed(sizes[i]);
            for (size_t k = 0; k < sizes[i]; k++)
                cr_assert_eq(p[k], 0, "byte %zu of %zu, round %d", k, sizes[i], round);
            memset(p, 0xFF, heap_usable(p));
            give(p);
        }
}

Test(heap, any_power_of_two_is_honoured_at_any_size)
{
    for (size_t align = 1; align <= 4 * MEBIBYTE; align *= 2)
        for (size_t n = 0; n <= 2 * MEBIBYTE; n = n * 3 + 1) {
            char *p = heap_alloc_aligned(align, n);
            cr_assert_not_null(p, "%zu at %zu", n, align);
            cr_assert_eq((uintptr_t)p % align, 0, "%zu at %zu", n, align);
            cr_assert_eq((uintptr_t)p % BLOCK_ALIGN, 0);
            cr_assert_geq(heap_usable(p), n);
            memset(p, 1, n);
            if (n % 2 == 0)
                give(p);
        }
    heap_check();
}

Test(heap, used_is_exact)
{
    enum { MANY = 5000 };
    static void *p[MANY];
    uint64_t before = total_used() - cache_held(thread_cache(), class_of(200));
    for (int i = 0; i < MANY; i++)
        p[i] = alloc(200);
    cr_assert_eq(total_used() - cache_held(cache_self, class_of(200)), before + MANY);
    for (int i = 0; i < MANY; i++)
        give(p[i]);
    gc_run();
    cr_assert_eq(total_used(), before);
}

/* ---- realloc ---- */

static void fill(unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 7 + i / 251);
}

static void check_filled(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(p[i], (unsigned char)(i * 7 + i / 251), "byte %zu of %zu", i, n);
}

Test(heap, realloc_keeps_contents_between_any_two_sizes)
{
    const size_t sizes[] = {1,     16,    17,    200,    1000,   4096,        30000,
                            32768, 32769, 65536, 100000, 300000, 2 * MEBIBYTE};
    enum { N = sizeof sizes / sizeof sizes[0] };
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < N; k++) {
            unsigned char *p = alloc(sizes[i]);
            fill(p, sizes[i]);
            p = heap_realloc(p, sizes[k]);
            cr_assert_not_null(p);
            cr_assert_geq(heap_usable(p), sizes[k]);
            check_filled(p, sizes[i] < sizes[k] ? sizes[i] : sizes[k]);
            give(p);
        }
    heap_check();
    cr_assert_eq(large_now().blocks, 0);
}

static void *large_in_vain(void *unused)
{
    cr_assert_null(alloc(MEBIBYTE));
    return unused;
}

/* jemalloc waits for whoever it takes to be starting it. */
Test(heap, another_thread_starts_jemalloc_than_the_one_that_could_not, .timeout = 30)
{
    pthread_t thread;
    fake_refuse(0, SIZE_MAX);
    pthread_create(&thread, NULL, large_in_vain, NULL);
    pthread_join(thread, NULL);
    cr_assert_gt(fake_refused(), 0);
    fake_refuse_none();
    void *p = alloc(MEBIBYTE);
    cr_assert_not_null(p);
    cr_assert_eq(region_class(p), CLASS_LARGE);
    give(p);
}

/* The thread has a cache; what it carries blocks in can't be had. */
Test(heap, a_free_block_needs_no_memory_for_a_magazine)
{
    struct pool *pool = &pools[class_of(200)];
    give(alloc(16));
    cr_assert_eq(pool_grow(pool), POOL_GREW);
    fake_refuse(0, SIZE_MAX);
    while (meta_alloc(META_MIN) != NULL)
        continue;
    void *p = alloc(200);
    cr_assert_not_null(p);
    cr_assert_eq(pool->failed, 0);
    give(p);
    fake_refuse_none();
    heap_check();
}

Test(heap, realloc_stays_where_the_class_stays_or_shrinks_to_half)
{
    void *p = alloc(1000); /* class 1024 */
    cr_assert_eq(heap_usable(p), 1024);
    cr_assert_eq(heap_realloc(p, 1024), p);
    cr_assert_eq(heap_realloc(p, 897), p);
    cr_assert_eq(heap_realloc(p, 512), p);
    cr_assert_eq(heap_usable(p), 1024);
    void *q = heap_realloc(p, 511);
    cr_assert_neq(q, p);
    cr_assert_eq(heap_usable(q), 512);
    void *tiny = alloc(1);
    cr_assert_eq(heap_realloc(tiny, 1), tiny);
}

/* A byte at a time: the moves are few. */
Test(heap, a_growing_buffer_seldom_moves)
{
    unsigned char *p = alloc(1);
    int moves = 0;
    for (size_t n = 1; n < 64 * KIBIBYTE; n++) {
        p[n - 1] = (unsigned char)((n - 1) * 7 + (n - 1) / 251);
        unsigned char *q = heap_realloc(p, n + 1);
        moves += q != p;
        p = q;
    }
    check_filled(p, 64 * KIBIBYTE - 1);
    cr_assert_lt(moves, 30);
}

Test(heap, a_block_that_grew_by_little_before_gets_room)
{
    void *p = heap_realloc(alloc(1000), 1100);
    cr_assert_eq(heap_usable(p), 1280);
    p = heap_realloc(p, 1281);
    cr_assert_eq(heap_usable(p), 2048);
    p = heap_realloc(p, 3000); /* by much: it knows what it needs */
    cr_assert_eq(heap_usable(p), 3072);
    give(p);
}

Test(heap, large_blocks_may_grow_in_place)
{
    unsigned char *p = alloc(MEBIBYTE);
    fill(p, MEBIBYTE);
    int moves = 0;
    for (size_t n = 2; n <= 32; n++) {
        unsigned char *q = heap_realloc(p, n * MEBIBYTE);
        moves += q != p;
        p = q;
    }
    check_filled(p, MEBIBYTE);
    cr_assert_lt(moves, 16);
    cr_assert_geq(large_now().bytes, 32 * (uint64_t)MEBIBYTE);
    p = heap_realloc(p, MEBIBYTE);
    cr_assert_lt(large_now().bytes, 2 * (uint64_t)MEBIBYTE);
    check_filled(p, MEBIBYTE);
    give(p);
    cr_assert_eq(large_now().bytes, 0);
}

/* ---- the end of a thread ---- */

static pthread_key_t late_key;
static bool late_worked;

static void late(void *round)
{
    char *p[300];
    for (int i = 0; i < 300; i++)
        memset(p[i] = alloc(1000), i & 0x7F, 1000);
    char *large = alloc(MEBIBYTE);
    memset(large, 1, MEBIBYTE);
    bool good = true;
    for (int i = 0; i < 300; i++) {
        good &= p[i][0] == (i & 0x7F) && p[i][999] == (i & 0x7F);
        give(p[i]);
    }
    p[0] = heap_realloc(alloc(10), 10000);
    give(p[0]);
    give(large);
    late_worked = good;
    if ((uintptr_t)round > 1)
        pthread_setspecific(late_key, (void *)((uintptr_t)round - 1));
}

static void *die_slowly(void *unused)
{
    give(alloc(1000));
    pthread_setspecific(late_key, (void *)3);
    return unused;
}

Test(heap, malloc_and_free_work_in_later_destructors_and_lose_nothing)
{
    pthread_key_create(&late_key, late);
    for (int i = 0; i < 10; i++) {
        pthread_t thread;
        late_worked = false;
        pthread_create(&thread, NULL, die_slowly, NULL);
        pthread_join(thread, NULL);
        cr_assert(late_worked);
    }
    gc_run();
    cr_assert_eq(total_used(), 0);
    cr_assert_eq(large_now().blocks, 0);
    check_faults(0, 0, 0, 0);
}

Test(heap_without_key, threads_go_without_a_cache)
{
    pthread_key_t key;
    while (pthread_key_create(&key, NULL) == 0)
        ;
    late(NULL);
    for (int i = 0; i < 5; i++) {
        pthread_t thread;
        void *p;
        pthread_create(&thread, NULL, start_and_alloc, NULL);
        pthread_join(thread, &p);
        give(p);
    }
    gc_run();
    cr_assert(late_worked);
    cr_assert_eq(total_used(), 0);
    heap_check();
}
