#include "sample.h"

#include "guard.h"
#include "heap.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 100, REQUESTS = 40000, EXPECTED = REQUESTS / RATE };

static void start(void)
{
    setenv("TARN_GUARD_SAMPLE", "100", 1);
    heap_start();
}

TestSuite(sample, .init = start, .timeout = 60);

/* Allocates and frees so many; how many of them were guarded, and after how many others at least and at most. */
static unsigned sampled(unsigned requests, size_t size(unsigned), unsigned *least, unsigned *most)
{
    unsigned count = 0, last = 0;
    *least = requests;
    *most = 0;
    for (unsigned i = 0; i < requests; i++) {
        void *p = heap_alloc(size(i));
        if (region_class(p) == CLASS_GUARDED) {
            *least = i - last < *least ? i - last : *least;
            *most = i - last > *most ? i - last : *most;
            last = i;
            count++;
        }
        heap_free(p, "free");
    }
    return count;
}

static size_t always_64(unsigned i)
{
    (void)i;
    return 64;
}

static size_t any(unsigned i)
{
    return i * 37 % 3000;
}

static size_t far_too_big(unsigned i)
{
    (void)i;
    return POOLED_MAX + 1;
}

/* A block that comes and goes in one place of the thread's cache is counted as often as all others. */
Test(sample, one_in_so_many_whatever_hits)
{
    unsigned least, most, of_one = sampled(REQUESTS, always_64, &least, &most);
    cr_expect(of_one > EXPECTED * 3 / 4 && of_one < EXPECTED * 5 / 4, "%u", of_one);
    cr_expect(least < RATE / 4 && most > RATE * 3 / 2, "from %u to %u", least, most);
    unsigned of_any = sampled(REQUESTS, any, &least, &most);
    cr_expect(of_any > EXPECTED * 3 / 4 && of_any < EXPECTED * 5 / 4, "%u", of_any);
    cr_expect_eq(guard_count(), 0);
    heap_check();
}

Test(sample, big_blocks_are_not)
{
    unsigned least, most;
    cr_expect_eq(sampled(1000, far_too_big, &least, &most), 0);
}

Test(sample, others_are_served_by_the_threads_cache)
{
    sample_left = RATE;
    void *p = heap_alloc(64);
    heap_free(p, "free");
    uint64_t before = sample_left;
    cr_expect_eq(heap_alloc(64), p);
    cr_expect_eq(sample_left, before - 1);
}

/* As in a signal handler that strikes its thread on a slow path. */
Test(sample, a_handler_may_resize_and_free_them)
{
    options.guard_sample = 1;
    for (size_t n = 1; n < 5000; n = n * 2 + 1) {
        sample_left = 1;
        char *p = heap_alloc(n), *q = heap_alloc(n);
        cr_assert(region_class(p) == CLASS_GUARDED && region_class(q) == CLASS_GUARDED);
        memset(p, 7, n);
        thread_enter();
        cr_expect_eq(heap_usable(p), n);
        char *moved = heap_realloc(p, n + 100);
        cr_expect(moved[0] == 7 && moved[n - 1] == 7);
        heap_free(q, "free");
        thread_leave();
        heap_free(moved, "free");
        cr_expect_eq(heap_usable(p), 0);
        cr_expect_eq(guard_count(), 0, "%zu", n);
        for (enum fault_kind kind = 0; kind < FAULT_KINDS; kind++)
            cr_expect_eq(fault_count(kind), 0);
    }
}

/* The first request of a thread is no likelier than others, nor is any other. */
static void *a_few(void *count)
{
    for (int i = 0; i < 10; i++) {
        void *p = heap_alloc(64);
        *(unsigned *)count += region_class(p) == CLASS_GUARDED;
        heap_free(p, "free");
    }
    return NULL;
}

Test(sample, threads_that_make_few_requests_are_in_it)
{
    unsigned count = 0;
    for (int i = 0; i < 2000; i++) {
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, a_few, &count), 0);
        pthread_join(thread, NULL);
    }
    unsigned expected = 2000 * 10 / RATE;
    cr_expect(count > expected * 2 / 3 && count < expected * 3 / 2, "%u", count);
}
