/*
 * The heap against a plain picture of itself: an array of what the program holds, each block with a pattern of its
 * own. After any step a block lies where nobody else's does, holds what was written, and is as big as asked.
 */
#include "../tools/random.h"
#include "gc.h"
#include "heap.h"
#include "large.h"
#include "region.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELD = 3000, STEPS = 60000, CHECK_EVERY = 2500, LARGE_MOST = 1 << 20 };

struct held {
    unsigned char *at;
    size_t size;
    uint64_t pattern;
};

static struct held held[HELD];
static uint64_t seed, first_seed;
static int step;
static bool limited; /* then NULL is an answer */

#define expect(condition, ...)                                                                               \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            printf("model: MODEL_SEED=%llu, step %d: %s: ", (unsigned long long)first_seed, step,            \
                   #condition);                                                                              \
            printf(__VA_ARGS__);                                                                             \
            printf("\n");                                                                                    \
            fflush(stdout);                                                                                  \
            cr_assert_fail("%s", #condition);                                                                \
        }                                                                                                    \
    } while (0)

/* ---- patterns: all of a small block, the edges of a big one ---- */

enum { EDGE = 512 };

static unsigned char pattern_byte(uint64_t pattern, size_t i)
{
    return (unsigned char)((pattern >> i % 7 * 8) + i);
}

static void fill(struct held *h)
{
    for (size_t i = 0; i < h->size; i++) {
        if (i == EDGE && h->size > 2 * EDGE)
            i = h->size - EDGE;
        h->at[i] = pattern_byte(h->pattern, i);
    }
}

/* The bytes in front that fill wrote of a block of `size` bytes. */
static size_t written(size_t size)
{
    return size > 2 * EDGE ? EDGE : size;
}

static void check_front(const struct held *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect(h->at[i] == pattern_byte(h->pattern, i), "byte %zu of %zu at %p", i, h->size, (void *)h->at);
}

static void check_contents(const struct held *h)
{
    check_front(h, written(h->size));
    for (size_t i = h->size > 2 * EDGE ? h->size - EDGE : h->size; i < h->size; i++)
        expect(h->at[i] == pattern_byte(h->pattern, i), "byte %zu of %zu at %p", i, h->size, (void *)h->at);
}

/* ---- all blocks at once ---- */

static int by_address(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void check_no_overlap(void)
{
    static struct held sorted[HELD];
    size_t count = 0;
    for (size_t i = 0; i < HELD; i++)
        if (held[i].at != NULL)
            sorted[count++] = held[i];
    qsort(sorted, count, sizeof sorted[0], by_address);
    for (size_t i = 0; i + 1 < count; i++)
        expect(sorted[i].at + heap_usable(sorted[i].at) <= sorted[i + 1].at, "%p of %zu and %p",
               (void *)sorted[i].at, sorted[i].size, (void *)sorted[i + 1].at);
}

/* What the pools count is what we hold and what caches hold. */
static void check_counts(void)
{
    uint64_t out[CLASS_MAX] = {0}, large = 0;
    for (size_t i = 0; i < HELD; i++)
        if (held[i].at != NULL) {
            out[region_class(held[i].at)]++;
            large += !class_is_pool(region_class(held[i].at));
        }
    EACH_CLASS (c)
        expect(pools[c].used == out[c] + cache_held(thread_cache(), c), "class %u: %llu used, %llu out", c,
               (unsigned long long)pools[c].used, (unsigned long long)out[c]);
    struct large_stats s;
    large_stats(&s);
    expect(s.blocks == large, "%llu, not %llu", (unsigned long long)s.blocks, (unsigned long long)large);
}

static void check_all(void)
{
    for (size_t i = 0; i < HELD; i++)
        if (held[i].at != NULL)
            check_contents(&held[i]);
    check_no_overlap();
    check_counts();
    heap_check();
}

/* ---- steps ---- */

static size_t random_size(void)
{
    switch (random_below(&seed, 20)) {
    case 0:
        return random_below(&seed, LARGE_MOST);
    case 1:
    case 2:
        return random_below(&seed, 70000);
    case 3:
    case 4:
    case 5:
        return random_below(&seed, 5000);
    default:
        return random_below(&seed, 300);
    }
}

/* Keeps what was got, if anything; it must be good for `size` bytes at `align`. */
static void keep(struct held *h, void *p, size_t size, size_t align)
{
    expect(p != NULL || limited, "%zu bytes at %zu", size, align);
    if (p == NULL)
        return;
    expect((uintptr_t)p % align == 0, "%p at %zu", p, align);
    expect(heap_usable(p) >= size, "%p: %zu for %zu", p, heap_usable(p), size);
    *h = (struct held){p, size, random_next(&seed)};
    fill(h);
}

static void allocate(struct held *h)
{
    size_t size = random_size();
    keep(h, heap_alloc(size), size, BLOCK_ALIGN);
}

static void allocate_zeroed(struct held *h)
{
    size_t size = random_size();
    unsigned char *p = heap_alloc_zeroed(size);
    for (size_t i = 0; p != NULL && i < size; i += i < 4096 ? 1 : 61)
        expect(p[i] == 0, "byte %zu of %zu", i, size);
    keep(h, p, size, BLOCK_ALIGN);
}

static void allocate_aligned(struct held *h)
{
    size_t size = random_size(), align = (size_t)1 << random_below(&seed, 21);
    keep(h, heap_alloc_aligned(align, size), size, align < BLOCK_ALIGN ? BLOCK_ALIGN : align);
}

static void release(struct held *h)
{
    check_contents(h);
    heap_free(h->at, "free");
    h->at = NULL;
}

static void resize(struct held *h)
{
    size_t size = random_below(&seed, 2) == 0 ? random_size() : h->size + random_below(&seed, 64);
    size += size == 0;
    unsigned char *p = heap_realloc(h->at, size);
    expect(p != NULL || limited, "%zu to %zu", h->size, size);
    if (p == NULL) {
        check_contents(h); /* as it was */
        return;
    }
    struct held moved = {p, h->size, h->pattern};
    check_front(&moved, written(h->size) < size ? written(h->size) : size);
    keep(h, p, size, BLOCK_ALIGN);
}

static void change_limit(void)
{
    struct region_stats s;
    region_stats(&s);
    limited = random_below(&seed, 2) == 0;
    region_limit(limited ? s.taken + random_below(&seed, LARGE_MOST) : SIZE_MAX);
}

static void take_step(void)
{
    struct held *h = &held[random_below(&seed, HELD)];
    size_t dice = random_below(&seed, 10000);
    if (dice < 4) {
        gc_run();
    } else if (dice < 8) {
        gc_request();
    } else if (dice < 20) {
        change_limit();
    } else if (h->at == NULL) {
        void (*const ways[])(struct held *) = {allocate, allocate, allocate, allocate_zeroed,
                                               allocate_aligned};
        ways[random_below(&seed, 5)](h);
    } else if (dice < 2500) {
        resize(h);
    } else {
        release(h);
    }
}

static void release_all(void)
{
    for (size_t i = 0; i < HELD; i++)
        if (held[i].at != NULL)
            release(&held[i]);
    region_limit(SIZE_MAX);
    gc_run();
    check_all();
    EACH_CLASS (c)
        expect(pools[c].allocated == 0, "class %u keeps %llu", c, (unsigned long long)pools[c].allocated);
}

static void run(uint64_t with_seed)
{
    first_seed = seed = with_seed;
    heap_start();
    for (step = 0; step < STEPS; step++) {
        take_step();
        if (step % CHECK_EVERY == 0)
            check_all();
    }
    check_all();
    release_all();
}

TestSuite(model_heap, .timeout = 120);

Test(model_heap, seed_1)
{
    run(1);
}

Test(model_heap, seed_2)
{
    run(20260711);
}

Test(model_heap, without_caches)
{
    setenv("TARN_CACHE", "0", 1);
    run(3);
}

Test(model_heap, with_classes_far_apart)
{
    setenv("TARN_CLASSES", "48,1k,3k,64k", 1);
    run(4);
}

Test(model_heap, seed_from_the_environment)
{
    const char *text = getenv("MODEL_SEED");
    uint64_t number = text != NULL ? strtoull(text, NULL, 10) : 0;
    run(number != 0 ? number : 5);
}

/* ---- the same, each step by another thread: blocks are freed where they were not allocated ---- */

enum { THREADS = 4 };
static pthread_barrier_t turn;

static void *step_in_turn(void *number)
{
    for (int i = 0; i < STEPS / 4 / THREADS; i++)
        for (uintptr_t t = 0; t < THREADS; t++) {
            if (t == (uintptr_t)number)
                for (int k = 0; k < 4; k++, step++)
                    take_step();
            pthread_barrier_wait(&turn);
        }
    return NULL;
}

static void check_contents_of_all(void)
{
    for (size_t i = 0; i < HELD; i++)
        if (held[i].at != NULL)
            check_contents(&held[i]);
    check_no_overlap();
    heap_check();
}

Test(model_heap, threads_in_turn)
{
    first_seed = seed = 6;
    heap_start();
    pthread_barrier_init(&turn, NULL, THREADS);
    for (int generation = 0; generation < 4; generation++) { /* each inherits what the last left */
        pthread_t thread[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
            pthread_create(&thread[i], NULL, step_in_turn, (void *)i);
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
        check_contents_of_all();
    }
    release_all();
}
