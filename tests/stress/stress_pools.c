/*
 * Named pools of every kind under all that may be done to them at once: threads free each other's blocks, race for a
 * limit, make and end pools, flush, collect, look. HAProxy's bugs of these kinds (1.13 of its history: 2, 3, 5, 6; C9,
 * R7, B1) would show as a spoilt block, a limit that was passed, a thread that never ends, or a block that is lost.
 *
 * stress_pools [MILLISECONDS]; 0: all good.
 */
#include "../tools/random.h"
#include "heap.h"
#include "tarn.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 3, BOXES = 256, HELD = 60, LIMIT = 50 };

/* What every block begins and ends with. */
struct stamp {
    struct tarn_pool *pool;
    uintptr_t sum; /* of pool and address */
};

static struct kind {
    const char *name;
    size_t size, align;
    unsigned flags;
    uint64_t limit;
    struct tarn_pool *pool;
    uint64_t live; /* of a limited one */
} kind[] = {
    {.name = "plain", .size = 96},
    {.name = "shared", .size = 288, .flags = TARN_SHARED},
    {.name = "mallocs", .size = 64, .flags = TARN_SHARED},
    {.name = "exact", .size = 333, .flags = TARN_EXACT},
    {.name = "aligned", .size = 1000, .align = 512},
    {.name = "limited", .size = 200, .limit = LIMIT},
    {.name = "big", .size = 100000},
    {.name = "both", .size = 70000, .limit = LIMIT, .flags = TARN_SHARED},
};
enum { POOLS = sizeof kind / sizeof kind[0] };

static struct stamp *box[BOXES]; /* where threads leave blocks for each other */
static bool stop;
static uint64_t steps, made, refused;

static bool stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void fail(const char *what, const char *pool)
{
    fprintf(stderr, "stress: %s: %s\n", pool, what);
    abort();
}

static struct tarn_pool_stats stats_of(const struct tarn_pool *pool)
{
    struct tarn_pool_stats s = {.version = TARN_POOL_STATS_VERSION};
    if (tarn_pool_stats(pool, &s) != 0)
        fail("no statistics", "?");
    return s;
}

/* ---- blocks ----------------------------------------------------------------------------------------- */

static struct stamp *last_stamp(struct stamp *p, size_t size)
{
    return (struct stamp *)(void *)((char *)p + (size - sizeof *p) / 16 * 16);
}

static struct stamp stamp_of(const void *p, struct tarn_pool *pool)
{
    return (struct stamp){pool, (uintptr_t)p + (uintptr_t)pool};
}

static struct kind *kind_of(const struct tarn_pool *pool)
{
    struct kind *k = kind;
    while (k->pool != pool)
        k++;
    return k;
}

static struct stamp *sign(struct stamp *p, struct tarn_pool *pool, size_t size)
{
    *p = *last_stamp(p, size) = stamp_of(p, pool);
    return p;
}

static void check_signed(struct stamp *p, struct tarn_pool *pool, size_t size)
{
    uintptr_t sum = stamp_of(p, pool).sum;
    if (p->pool != pool || p->sum != sum || last_stamp(p, size)->sum != sum)
        fail("a block was spoilt", "?");
    p->sum = 0; /* freed twice would show */
}

static void *get(struct kind *k, uint64_t *seed)
{
    switch (random_below(seed, 12)) {
    case 0:
        return tarn_pool_get_first(k->pool);
    case 1:
        return tarn_pool_refill(k->pool, random_below(seed, k->size > 4096 ? 8 : 300));
    case 2:
        return tarn_pool_zalloc(k->pool);
    default:
        return tarn_pool_alloc(k->pool);
    }
}

static struct stamp *take(uint64_t *seed)
{
    struct kind *k = &kind[random_below(seed, POOLS)];
    struct stamp *p = get(k, seed);
    if (p == NULL) {
        __atomic_fetch_add(&refused, k->limit != 0, __ATOMIC_RELAXED);
        return NULL;
    }
    if (k->limit != 0 && __atomic_add_fetch(&k->live, 1, __ATOMIC_SEQ_CST) > k->limit)
        fail("the limit was passed", k->name);
    if (k->align != 0 && (uintptr_t)p % k->align != 0)
        fail("a block lies askew", k->name);
    return sign(p, k->pool, k->size);
}

static void give(struct stamp *p, uint64_t *seed)
{
    if (p == NULL)
        return;
    struct kind *k = kind_of(p->pool);
    check_signed(p, k->pool, k->size);
    if (k->limit != 0)
        __atomic_sub_fetch(&k->live, 1, __ATOMIC_SEQ_CST);
    if (random_below(seed, 4) == 0)
        heap_free(p, "free");
    else
        tarn_pool_free(k->pool, p);
}

/* ---- who takes part --------------------------------------------------------------------------------- */

/* Swaps a block of its own for what lies in a box: mostly another thread's. */
static void *work(void *number)
{
    struct stamp *held[HELD] = {NULL};
    uint64_t seed = 0x9E3779B9 + (uintptr_t)number, done = 0;
    for (; !stopped(); done++) {
        size_t i = random_below(&seed, HELD), dice = random_below(&seed, 10);
        if (held[i] == NULL) {
            held[i] = take(&seed);
        } else if (dice < 4) {
            held[i] = __atomic_exchange_n(&box[random_below(&seed, BOXES)], held[i], __ATOMIC_ACQ_REL);
        } else {
            give(held[i], &seed);
            held[i] = NULL;
        }
    }
    for (size_t i = 0; i < HELD; i++)
        give(held[i], &seed);
    __atomic_fetch_add(&steps, done, __ATOMIC_RELAXED);
    return NULL;
}

/* A pool from its making to its end. SHARED ones merge with those that others hammer, malloc's and each other. */
static void one_life(uint64_t *seed)
{
    enum { MOST = 200 };
    struct stamp *p[MOST];
    size_t size = 32 + random_below(seed, random_below(seed, 8) == 0 ? 150000 : 400);
    unsigned flags = (unsigned)random_below(seed, 4), blocks = (unsigned)random_below(seed, MOST), got = 0;
    struct tarn_pool *pool = tarn_pool_create("mayfly", size, 0, flags);
    if (pool == NULL)
        fail("not made", "mayfly");
    while (got < blocks && (p[got] = tarn_pool_alloc(pool)) != NULL)
        sign(p[got++], pool, size);
    if (random_below(seed, 4) == 0)
        tarn_pool_flush(pool);
    while (got > 0) {
        check_signed(p[--got], pool, size);
        tarn_pool_free(pool, p[got]);
    }
    if (tarn_pool_destroy(pool) != NULL)
        fail("does not end", "mayfly");
}

static void *make_and_end(void *number)
{
    uint64_t seed = 101 + (uintptr_t)number;
    for (; !stopped(); __atomic_fetch_add(&made, 1, __ATOMIC_RELAXED))
        one_life(&seed);
    return NULL;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void *collect(void *unused)
{
    for (unsigned i = 0; !stopped(); i++, pause_ms(1)) {
        struct kind *k = &kind[i % POOLS];
        tarn_pool_set_minavail(k->pool, i / POOLS % 3 * 20);
        if (i % 3 == 0)
            tarn_gc();
        else
            tarn_pool_flush(k->pool);
    }
    return unused;
}

static int look_at(struct tarn_pool *pool, void *before)
{
    struct tarn_pool_stats s = stats_of(pool);
    if (s.used + s.cached > s.allocated)
        fail("the statistics are absurd", s.name);
    if (s.limit != 0 && s.allocated > s.limit)
        fail("more are allocated than may be", s.name);
    if (memchr(s.name, '\0', sizeof s.name) == NULL)
        fail("its name has no end", "?");
    ++*(unsigned *)before;
    return 0;
}

static void *look(void *unused)
{
    static const char *const query[] = {NULL, "byname", "bysize 10", "byusage", "match may", "detailed"};
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (unsigned i = 0; !stopped(); i++, pause_ms(2)) {
        unsigned seen = 0;
        tarn_pools_each(look_at, &seen);
        if (seen < POOLS || tarn_pools_dump(nowhere, query[i % 6]) != 0)
            fail("not shown", "all");
    }
    close(nowhere);
    return unused;
}

/* ---- the beginning and the end: nothing may be lost ------------------------------------------------- */

static void make_all(void)
{
    for (struct kind *k = kind; k < kind + POOLS; k++) {
        k->pool = tarn_pool_create(k->name, k->size, k->align, k->flags);
        if (k->pool == NULL || (k->limit != 0 && tarn_pool_set_limit(k->pool, k->limit) != 0))
            fail("not made", k->name);
    }
}

static void check_nothing_is_lost(void)
{
    uint64_t seed = 1;
    for (int i = 0; i < BOXES; i++)
        give(box[i], &seed);
    for (struct kind *k = kind; k < kind + POOLS; k++)
        tarn_pool_set_minavail(k->pool, 0);
    tarn_gc();
    heap_check();
    for (struct kind *k = kind; k < kind + POOLS; k++) {
        struct tarn_pool_stats s = stats_of(k->pool);
        if (s.used != 0 || s.allocated != 0 || s.failed != 0 || k->live != 0)
            fail("blocks are lost", k->name);
        if (s.users != 1 + (strncmp(s.name, "size-", 5) == 0))
            fail("users are miscounted", k->name);
        if (tarn_pool_destroy(k->pool) != NULL)
            fail("does not end", k->name);
    }
}

int main(int count, char **arguments)
{
    void *(*const others[])(void *) = {make_and_end, make_and_end, collect, look};
    enum { OTHERS = sizeof others / sizeof others[0] };
    pthread_t thread[WORKERS + OTHERS];
    heap_start();
    make_all();
    for (uintptr_t i = 0; i < WORKERS; i++)
        pthread_create(&thread[i], NULL, work, (void *)i);
    for (uintptr_t i = 0; i < OTHERS; i++)
        pthread_create(&thread[WORKERS + i], NULL, others[i], (void *)i);
    do
        pause_ms(count > 1 ? atol(arguments[1]) : 2500);
    while (__atomic_load_n(&refused, __ATOMIC_RELAXED) == 0 ||
           __atomic_load_n(&made, __ATOMIC_RELAXED) == 0); /* else the race tests nothing */
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < WORKERS + OTHERS; i++)
        pthread_join(thread[i], NULL);
    check_nothing_is_lost();
    printf("stress: %llu steps, %llu pools made, %llu refused\n", (unsigned long long)steps,
           (unsigned long long)made, (unsigned long long)refused);
    return 0;
}
