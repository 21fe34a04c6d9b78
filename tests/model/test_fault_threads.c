/*
 * Threads that allocate, hand blocks to each other, resize, collect, are born and end, fork, and make and destroy pools,
 * with a helper beside them, while the kernel refuses: whatever comes of it, no block is spoilt, no book is wrong, and
 * afterwards every request is served, and all of it can be given back.
 */
#include "../tools/random.h"
#include "../tools/refused.h"
#include "fork.h"
#include "gc.h"
#include "guard.h"
#include "heap.h"
#include "large.h"
#include "named.h"
#include "region.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#ifdef __SANITIZE_THREAD__ /* as in test_fork.c */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "report_mutex_bugs=0:detect_deadlocks=0";
}
#endif

enum { THREADS = 3, STEPS = 150, HELD = 40, HANDED = 24, OWN_POOL = 5000 };

/* The first word of a block says how long it is, the others tell whether it is whole. */
struct block {
    size_t size;
    unsigned char bytes[];
};

static struct block *handed[HANDED]; /* from any thread to any other */
static size_t nulls;
static bool calm; /* nothing is refused */

struct worker {
    pthread_t thread;
    uint64_t seed;
    size_t step;
    struct block *held[HELD];
};

static struct block *write_block(void *p, size_t size)
{
    if (p == NULL) {
        __atomic_fetch_add(&nulls, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    if (heap_usable(p) < size)
        refused_fail("a block is too small", 0);
    struct block *b = p;
    b->size = size;
    memset(b->bytes, (int)size, size - sizeof *b);
    return b;
}

static void check_block(const struct block *b, size_t size)
{
    for (size_t i = 0, n = size - sizeof *b; i < n; i += 1 + n / 499)
        if (b->bytes[i] != (unsigned char)b->size)
            refused_fail("a block was spoilt", b->size);
}

static void give(struct block *b)
{
    if (b == NULL)
        return;
    check_block(b, b->size);
    heap_free(b, "free");
}

static size_t any_size(uint64_t *seed)
{
    size_t dice = random_below(seed, 8);
    size_t most = dice == 0 ? 3 << 20 : dice < 3 ? 60000 : 2000;
    return sizeof(struct block) + 1 + random_below(seed, most);
}

static struct block *take(uint64_t *seed)
{
    size_t size = any_size(seed), way = random_below(seed, 4), align = (size_t)1 << (4 + size % 10);
    unsigned char *p = way == 0   ? heap_alloc_zeroed(size)
                       : way == 1 ? heap_alloc_aligned(align, size)
                                  : heap_alloc(size);
    for (size_t i = 0; way == 0 && p != NULL && i < size; i += 1 + i / 99)
        if (p[i] != 0)
            refused_fail("not zeroed", size);
    if (way == 1 && (uintptr_t)p % align != 0)
        refused_fail("a block lies askew", size);
    return write_block(p, size);
}

static struct block *resize(struct block *b, uint64_t *seed)
{
    size_t before = b->size, size = any_size(seed);
    check_block(b, before);
    struct block *moved = heap_realloc(b, size);
    if (moved == NULL) {
        __atomic_fetch_add(&nulls, 1, __ATOMIC_RELAXED);
        check_block(b, before);
        return b;
    }
    check_block(moved, before < size ? before : size);
    return write_block(moved, size);
}

/* A pool of its own: some blocks, and away with it. */
static void have_a_pool(struct worker *w)
{
    struct block *b[12];
    int error = 0;
    const struct wish wish = {.name = "own", .size = OWN_POOL + w->step % 5 * 64};
    struct pool *pool = named_create(&wish, &error);
    if (pool == NULL) {
        if (calm || error != ENOMEM)
            refused_fail("no pool", (size_t)error);
        return;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(b); i++)
        b[i] = write_block(i % 4 == 0 ? named_refill(pool, 10)
                                      : heap_pool_alloc(pool, pool->size, BLOCK_ALIGN, true),
                           wish.size);
    for (size_t i = 0; i < ARRAY_LENGTH(b); i++)
        give(b[i]);
    if (!named_destroy(pool))
        refused_fail("an empty pool is in use", w->step);
}

/* A thread that leaves blocks behind. */
static void *briefly(void *seed)
{
    for (int i = 0; i < 6; i++) {
        struct block *b = take(seed);
        give(__atomic_exchange_n(&handed[random_below(seed, HANDED)], b, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static void give_birth(struct worker *w)
{
    pthread_t thread;
    uint64_t seed = w->seed | 1;
    if (pthread_create(&thread, NULL, briefly, &seed) == 0)
        pthread_join(thread, NULL);
}

/* A child allocates, and finds what this thread holds as it was. */
static void fork_once(struct worker *w)
{
    fork_prepare();
    pid_t child = fork();
    if (child != 0) {
        fork_parent();
        int status = 0;
        waitpid(child, &status, 0);
        if (status != 0)
            refused_fail("a fork's child is not well", (size_t)status);
        return;
    }
    fork_child();
    alarm(30);
    for (int i = 0; i < 10; i++)
        give(take(&w->seed));
    for (size_t i = 0; i < HELD; i++)
        give(w->held[i]);
    gc_run();
    heap_check();
    _exit(0);
}

static void act(struct worker *w)
{
    uint64_t *seed = &w->seed;
    size_t dice = random_below(seed, 200);
    struct block **place = &w->held[random_below(seed, HELD)];
    if (dice == 0)
        fork_once(w);
    else if (dice < 4)
        gc_run();
    else if (dice < 6)
        gc_request();
    else if (dice < 8)
        give_birth(w);
    else if (dice < 11)
        have_a_pool(w);
    else if (dice < 60)
        *place = __atomic_exchange_n(&handed[random_below(seed, HANDED)], *place, __ATOMIC_ACQ_REL);
    else if (*place == NULL)
        *place = take(seed);
    else if (dice < 110)
        *place = resize(*place, seed);
    else
        give(__atomic_exchange_n(place, NULL, __ATOMIC_RELAXED));
    if (dice == 199)
        heap_check();
}

static void *work(void *context)
{
    struct worker *w = context;
    for (w->step = 0; w->step < STEPS; w->step++) {
        act(w);
        if (w->step % 4 == 0)
            fake_advance(30);
    }
    for (size_t i = 0; i < HELD; i++)
        give(w->held[i]);
    return NULL;
}

static void *help(void *unused)
{
    while (gc_tend(GC_FOREVER, 0))
        continue;
    return unused;
}

static void script(void)
{
    static struct worker worker[THREADS];
    pthread_t helper;
    heap_start(); /* as preload/ does before there are threads */
    pthread_create(&helper, NULL, help, NULL);
    for (size_t t = 0; t < THREADS; t++) {
        worker[t] = (struct worker){.seed = 7 + t};
        pthread_create(&worker[t].thread, NULL, work, &worker[t]);
    }
    for (size_t t = 0; t < THREADS; t++)
        pthread_join(worker[t].thread, NULL);
    gc_dismiss();
    pthread_join(helper, NULL);
    gc_advertise();
    heap_check();
}

static void check_cache(const struct cache *cache, void *unused)
{
    (void)unused;
    cache_check(cache);
}

static void recover(void)
{
    for (size_t i = 0; i < HANDED; i++) {
        give(handed[i]);
        handed[i] = NULL;
    }
    calm = true;
    nulls = 0;
    script();
    if (nulls > 0)
        refused_fail("did not recover", nulls);
    for (size_t i = 0; i < HANDED; i++)
        give(handed[i]);
    guard_collect();
    gc_run();
    heap_check();
    guard_check();
    thread_each(check_cache, NULL);
    struct large_stats large;
    struct region_stats region;
    large_stats(&large);
    region_stats(&region);
    EACH_CLASS (c)
        if (pools[c].used != 0 || pools[c].allocated != 0)
            refused_fail("slabs are lost", c);
    if (large.blocks != 0 || large.held != 0 || region.taken != 0)
        refused_fail("large blocks are lost", large.blocks);
}

static const struct refused_run threads = {script, recover};

#ifdef __SANITIZE_THREAD__ /* half a second each */
enum { RUNS = 12 };
#else
enum { RUNS = 40 };
#endif

/* RUNS children, from the first call of a run to its last; the threads take their calls in another order each time. */
static void sweep(size_t count)
{
    size_t calls = 0, runs = RUNS * refused_thorough();
    cr_assert(refused_survives(&threads, SIZE_MAX / 2, 0, &calls));
    cr_assert_gt(calls, 20);
    for (size_t i = 0; i < runs; i++) {
        size_t n = i * calls / runs;
        cr_assert(refused_survives(&threads, n, count, NULL), "%zu calls from %zu of %zu refused", count, n,
                  calls);
    }
}

TestSuite(fault_threads, .timeout = 3000);

Test(fault_threads, any_one_call_may_be_refused)
{
    sweep(1);
}

Test(fault_threads, three_calls_in_a_row_may_be_refused)
{
    sweep(3);
}

Test(fault_threads, the_kernel_may_refuse_for_a_while)
{
    sweep(40);
}

Test(fault_threads, the_kernel_may_refuse_until_it_recovers)
{
    sweep(SIZE_MAX);
}
