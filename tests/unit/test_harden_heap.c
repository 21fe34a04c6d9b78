#include "heap.h"

#include "fault.h"
#include "gc.h"
#include "harden.h"
#include "named.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 100, SIZE = 200 };

static struct pool *pool;
static void *blocks[2 * MANY];
static pthread_barrier_t freed, done;

static void start(void)
{
    setenv("TARN_HARDEN", "1", 1);
    int error;
    pool = named_create(&(struct wish){.name = "session", .size = SIZE}, &error);
    cr_assert_not_null(pool);
    for (int i = 0; i < 2 * MANY; i++)
        cr_assert_not_null(blocks[i] = heap_pool_alloc(pool, SIZE, BLOCK_ALIGN, false));
    pthread_barrier_init(&freed, NULL, 2);
    pthread_barrier_init(&done, NULL, 2);
}

TestSuite(harden_heap, .init = start, .timeout = 60);

static void *free_half_and_wait(void *unused)
{
    for (int i = MANY; i < 2 * MANY; i++)
        heap_pool_free(pool, blocks[i], "free");
    pthread_barrier_wait(&freed);
    pthread_barrier_wait(&done);
    return unused;
}

static void *free_half_and_go_on(void *unused)
{
    for (int i = MANY; i < 2 * MANY; i++)
        heap_pool_free(pool, blocks[i], "free");
    pthread_barrier_wait(&freed);
    for (int i = 0; i < 200000; i++)
        heap_free(heap_alloc(1 + (size_t)i % 3000), "free");
    pthread_barrier_wait(&done);
    return unused;
}

static void destroy_beside(void *(*other)(void *))
{
    pthread_t thread;
    pthread_create(&thread, NULL, other, NULL);
    pthread_barrier_wait(&freed);
    cr_expect_not(named_destroy(pool), "a hundred are in use");
    for (int i = 0; i < MANY; i++)
        heap_pool_free(pool, blocks[i], "free");
    cr_expect(named_destroy(pool), "what waits in quarantines is not");
    pthread_barrier_wait(&done);
    pthread_join(thread, NULL);
    gc_run();
    cr_expect_eq(pool->allocated, 0);
    heap_check();
}

Test(harden_heap, a_pool_is_destroyed_though_a_sleeping_threads_quarantine_has_blocks_of_it)
{
    destroy_beside(free_half_and_wait);
}

/* More than a canary can say lies behind what is asked for. */
Test(harden_heap, a_widely_aligned_block_of_an_exact_pool_has_no_byte_too_many)
{
    static const size_t sizes[] = {1, 100, 65536, 65537, 131000, 200000},
                        aligns[] = {16, 65536, 131072, 524288};
    uint64_t overruns = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(sizes) * ARRAY_LENGTH(aligns); i++) {
        size_t size = sizes[i % ARRAY_LENGTH(sizes)], align = aligns[i / ARRAY_LENGTH(sizes)];
        int error;
        struct pool *exact =
            named_create(&(struct wish){.size = size, .align = align, .flags = POOL_EXACT}, &error);
        cr_assert_not_null(exact);
        char *p = heap_pool_alloc(exact, size, align, false);
        cr_assert_eq((uintptr_t)p % align, 0);
        cr_expect_eq(heap_usable(p), size, "%zu at %zu", size, align);
        p[size] ^= 1;
        heap_pool_free(exact, p, "free");
        cr_expect_eq(fault_count(FAULT_OVERRUN), ++overruns, "%zu at %zu", size, align);
        p = heap_pool_alloc(exact, size, align, false);
        memset(p, 1, size);
        heap_pool_free(exact, p, "free");
        cr_expect_eq(fault_count(FAULT_OVERRUN), overruns);
    }
}

/* As in a signal handler that strikes its thread on a slow path: the second free is found later, too. */
Test(harden_heap, what_a_handler_frees_is_not_written_to)
{
    for (size_t n = 1; n < 300000; n = n * 2 + 1) {
        void *p = heap_alloc(n);
        thread_enter();
        heap_free(p, "free");
        heap_free(p, "free");
        thread_leave();
        heap_free(heap_alloc(1), "free");
        cr_expect_eq(fault_count(FAULT_OVERRUN), 0, "%zu", n);
        cr_expect_eq(fault_count(FAULT_WRITTEN), 0, "%zu", n);
    }
    cr_expect_gt(fault_count(FAULT_TWICE), 10);
}

Test(harden_heap, or_a_busy_threads)
{
    destroy_beside(free_half_and_go_on);
}
