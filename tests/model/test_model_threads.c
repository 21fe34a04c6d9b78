/*
 * The heap under threads that work at the same time, against what each knows that it holds; now and then all wait, and
 * one looks at everything together: no two blocks overlap, each has its contents, every count is right.
 *
 * Threads hand blocks to each other, so most are freed elsewhere than they were allocated. MODEL_SEED repeats a run's
 * requests, not its timing.
 */
#include "../tools/random.h"
#include "gc.h"
#include "heap.h"
#include "large.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_THREAD__ /* a second each */
enum { ROUNDS = 8 };
#else
enum { ROUNDS = 25 };
#endif
enum { THREADS = 4, HELD = 700, EXCHANGE = 64, STEPS = 2500, EDGE = 256 };

struct held {
    unsigned char *at;
    size_t size;
    uint64_t pattern;
};

static struct held held[THREADS][HELD];
static struct held exchange[EXCHANGE];
static pthread_mutex_t exchange_lock[EXCHANGE];
static pthread_barrier_t turn;
static uint64_t first_seed;

/* ---- patterns: all of a small block, the edges of a big one ------------------------------------------ */

static unsigned char pattern_byte(uint64_t pattern, size_t i)
{
    return (unsigned char)((pattern >> i % 7 * 8) + i);
}

/* The next index that has its byte of the pattern. */
static size_t after(size_t i, size_t size)
{
    return i + 1 == EDGE && size > 2 * EDGE ? size - EDGE : i + 1;
}

static void fill(struct held *h)
{
    for (size_t i = 0; i < h->size; i = after(i, h->size))
        h->at[i] = pattern_byte(h->pattern, i);
}

static void check_contents(const struct held *h)
{
    for (size_t i = 0; i < h->size; i = after(i, h->size))
        cr_assert_eq(h->at[i], pattern_byte(h->pattern, i), "MODEL_SEED=%llu: byte %zu of %zu at %p",
                     (unsigned long long)first_seed, i, h->size, (void *)h->at);
}

/* ---- steps ------------------------------------------------------------------------------------------ */

static size_t random_size(uint64_t *seed)
{
    size_t dice = random_below(seed, 100);
    return random_below(seed, dice == 0 ? 500000 : dice < 10 ? 70000 : dice < 30 ? 5000 : 300);
}

static void keep(struct held *h, void *p, size_t size, uint64_t *seed)
{
    cr_assert_not_null(p);
    cr_assert_geq(heap_usable(p), size);
    *h = (struct held){p, size, random_next(seed)};
    fill(h);
}

static void release(struct held *h)
{
    check_contents(h);
    memset(h->at, 0, h->size < EDGE ? h->size : EDGE); /* handed out twice it would show */
    heap_free(h->at, "free");
    h->at = NULL;
}

static void allocate(struct held *h, uint64_t *seed)
{
    size_t size = random_size(seed), align = (size_t)1 << random_below(seed, 14), way = random_below(seed, 8);
    unsigned char *p = way == 0   ? heap_alloc_aligned(align, size)
                       : way == 1 ? heap_alloc_zeroed(size)
                                  : heap_alloc(size);
    cr_assert(way != 0 || (uintptr_t)p % align == 0);
    for (size_t i = 0; way == 1 && i < size; i += 13)
        cr_assert_eq(p[i], 0);
    keep(h, p, size, seed);
}

static void resize(struct held *h, uint64_t *seed)
{
    size_t size = random_below(seed, 2) == 0 ? random_size(seed) + 1 : h->size + 1 + random_below(seed, 100);
    struct held before = *h;
    unsigned char *p = heap_realloc(h->at, size);
    for (size_t i = 0; p != NULL && i < before.size && i < size && i < EDGE - 1; i++)
        cr_assert_eq(p[i], pattern_byte(before.pattern, i));
    keep(h, p, size, seed);
}

/* For what another has put there. */
static void swap(struct held *h, uint64_t *seed)
{
    size_t i = random_below(seed, EXCHANGE);
    pthread_mutex_lock(&exchange_lock[i]);
    struct held other = exchange[i];
    exchange[i] = *h;
    pthread_mutex_unlock(&exchange_lock[i]);
    *h = other;
}

static void take_step(struct held *own, uint64_t *seed)
{
    struct held *h = &own[random_below(seed, HELD)];
    size_t dice = random_below(seed, 10000);
    if (dice < 2)
        gc_run();
    else if (dice < 6)
        gc_request();
    else if (h->at == NULL)
        allocate(h, seed);
    else if (dice < 2000)
        resize(h, seed);
    else if (dice < 5000)
        swap(h, seed);
    else
        release(h);
}

/* ---- all together ----------------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void check_all(void)
{
    static struct held sorted[THREADS * HELD + EXCHANGE];
    size_t all = THREADS * HELD, count = 0;
    uint64_t out[CLASS_MAX] = {0};
    struct large_stats s;
    memcpy(sorted, held, sizeof held);
    memcpy(sorted + all, exchange, sizeof exchange);
    for (size_t i = 0; i < all + EXCHANGE; i++)
        if (sorted[i].at != NULL) {
            check_contents(&sorted[i]);
            out[region_class(sorted[i].at)]++;
            sorted[count++] = sorted[i];
        }
    qsort(sorted, count, sizeof sorted[0], by_address);
    for (size_t i = 0; i + 1 < count; i++)
        cr_assert_leq(sorted[i].at + heap_usable(sorted[i].at), sorted[i + 1].at);
    EACH_CLASS (c)
        cr_assert_eq(pools[c].used, out[c] + thread_held(c), "class %u", c);
    large_stats(&s);
    cr_assert_eq(s.blocks, out[CLASS_LARGE] + out[CLASS_BARE]);
    heap_check();
}

/* One of those that come together here looks; the others wait for it. */
static void meet(void)
{
    if (pthread_barrier_wait(&turn) == PTHREAD_BARRIER_SERIAL_THREAD)
        check_all();
    pthread_barrier_wait(&turn);
}

static void *work(void *number)
{
    struct held *own = held[(uintptr_t)number];
    uint64_t seed = first_seed * 100 + (uintptr_t)number + 1;
    for (int round = 0; round < ROUNDS; round++, meet())
        for (int i = 0; i < STEPS; i++)
            take_step(own, &seed);
    return NULL;
}

static void run(uint64_t seed)
{
    first_seed = seed;
    heap_start();
    pthread_barrier_init(&turn, NULL, THREADS);
    for (int i = 0; i < EXCHANGE; i++)
        pthread_mutex_init(&exchange_lock[i], NULL);
    for (int generation = 0; generation < 2; generation++) { /* each inherits what the last left */
        pthread_t thread[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
            pthread_create(&thread[i], NULL, work, (void *)i);
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
    }
    for (int i = 0; i < THREADS * HELD; i++)
        if (held[i / HELD][i % HELD].at != NULL)
            release(&held[i / HELD][i % HELD]);
    for (int i = 0; i < EXCHANGE; i++)
        if (exchange[i].at != NULL)
            release(&exchange[i]);
    gc_run();
    check_all();
    EACH_CLASS (c)
        cr_assert_eq(pools[c].allocated, 0, "class %u", c);
}

TestSuite(model_threads, .timeout = 120);

Test(model_threads, as_tarn_comes)
{
    const char *text = getenv("MODEL_SEED");
    run(text != NULL && atoi(text) > 0 ? (uint64_t)atoi(text) : 1);
}

Test(model_threads, with_small_caches)
{
    setenv("TARN_CACHE", "8k", 1);
    run(2);
}

Test(model_threads, without_caches)
{
    setenv("TARN_CACHE", "0", 1);
    run(3);
}

Test(model_threads, hardened)
{
    setenv("TARN_HARDEN", "1", 1);
    run(4);
}
