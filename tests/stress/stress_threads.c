/*
 * Threads that free each other's blocks, are born and die, while one collects and (where the sanitizer survives it)
 * one forks. Each block carries the sum of what it should be: a block handed out twice is seen by its contents.
 *
 * stress_threads [MILLISECONDS]; 0: all good.
 */
#include "../tools/random.h"
#include "fork.h"
#include "gc.h"
#include "heap.h"
#include "large.h"
#include "stats.h"
#include "thread.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, BOXES = 512, HELD = 100, LARGE_MOST = 300000 };

#ifdef __SANITIZE_THREAD__
enum { FORKS = false };
#else
enum { FORKS = true };
#endif

/* What every block begins and ends with. */
struct stamp {
    size_t size;
    uintptr_t sum; /* of size and address */
};

static struct stamp *box[BOXES]; /* where threads leave blocks for each other */
static bool stop;
static uint64_t steps;

static bool stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void fail(const char *what)
{
    fprintf(stderr, "stress: %s\n", what);
    abort();
}

static struct stamp *last_stamp(struct stamp *p, size_t size)
{
    return (struct stamp *)(void *)((char *)p + (size - sizeof *p) / 16 * 16);
}

static struct stamp *make(size_t size, uint64_t *seed)
{
    size += 2 * sizeof(struct stamp);
    size_t way = random_below(seed, 16), align = (size_t)1 << (4 + random_below(seed, 9));
    struct stamp *p = way == 0   ? heap_alloc_aligned(align, size)
                      : way == 1 ? heap_alloc_zeroed(size)
                                 : heap_alloc(size);
    if (p == NULL)
        fail("no memory");
    if (way == 0 && (uintptr_t)p % align != 0)
        fail("a block lies askew");
    for (size_t i = 0; way == 1 && i < size; i += 32)
        if (((char *)p)[i] != 0)
            fail("a block is not zeroed");
    *p = (struct stamp){size, size + (uintptr_t)p};
    *last_stamp(p, size) = *p;
    return p;
}

static void check_stamp(struct stamp *p)
{
    if (p->sum != p->size + (uintptr_t)p || last_stamp(p, p->size)->sum != p->sum)
        fail("a block was spoilt");
    if (heap_usable(p) < p->size)
        fail("a block is too small");
}

static void give(struct stamp *p)
{
    if (p == NULL)
        return;
    check_stamp(p);
    p->sum = 0; /* freed twice would show */
    heap_free(p, "free");
}

static struct stamp *resize(struct stamp *p, size_t size)
{
    check_stamp(p);
    struct stamp before = *p;
    size += 2 * sizeof(struct stamp);
    struct stamp *q = heap_realloc(p, size);
    if (q == NULL)
        fail("no memory for realloc");
    if (q->sum != before.sum || q->size != before.size)
        fail("realloc lost contents");
    *q = (struct stamp){size, size + (uintptr_t)q};
    *last_stamp(q, size) = *q;
    return q;
}

static size_t random_size(uint64_t *seed)
{
    return random_below(seed, random_below(seed, 100) == 0 ? LARGE_MOST
                              : random_below(seed, 8) == 0 ? 9000
                                                           : 400);
}

/* ---- who takes part ---- */

/* Swaps a block of its own for what lies in a box: mostly another thread's. */
static void *work(void *number)
{
    struct stamp *held[HELD] = {NULL};
    uint64_t seed = 0x9E3779B9 + (uintptr_t)number, done = 0;
    for (; !stopped(); done++) {
        size_t i = random_below(&seed, HELD), dice = random_below(&seed, 10);
        if (held[i] == NULL)
            held[i] = make(random_size(&seed), &seed);
        else if (dice == 0)
            held[i] = resize(held[i], random_size(&seed));
        else if (dice < 5)
            held[i] = __atomic_exchange_n(&box[random_below(&seed, BOXES)], held[i], __ATOMIC_ACQ_REL);
        else {
            give(held[i]);
            held[i] = NULL;
        }
    }
    for (size_t i = 0; i < HELD; i++)
        give(held[i]);
    __atomic_fetch_add(&steps, done, __ATOMIC_RELAXED);
    return NULL;
}

static void *short_life(void *number)
{
    uint64_t seed = 7 + (uintptr_t)number;
    for (int i = 0; i < 60; i++)
        give(__atomic_exchange_n(&box[random_below(&seed, BOXES)], make(random_size(&seed), &seed),
                                 __ATOMIC_ACQ_REL));
    return NULL;
}

static void *bear_threads(void *unused)
{
    for (uintptr_t born = 0; !stopped(); born += 5) {
        pthread_t thread[5];
        for (uintptr_t i = 0; i < 5; i++)
            if (pthread_create(&thread[i], NULL, short_life, (void *)(born + i)) != 0)
                fail("no thread");
        for (int i = 0; i < 5; i++)
            pthread_join(thread[i], NULL);
    }
    return unused;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void *collect(void *unused)
{
    for (int i = 0; !stopped(); i++, pause_ms(5)) {
        if (i % 2 == 0)
            gc_run();
        else
            gc_request();
        heap_free(heap_alloc(100), "free");
    }
    return unused;
}

/* The dump is read while all this goes on, and is never absurd. */
static void *look(void *unused)
{
    static struct stats s;
    for (; !stopped(); pause_ms(3)) {
        stats_read(&s);
        for (unsigned i = 0; i < s.count; i++)
            if (s.pool[i].used + s.pool[i].cached > s.pool[i].allocated)
                fail("the dump is absurd");
    }
    return unused;
}

static void in_child(void)
{
    uint64_t seed = 11;
    struct stamp *p[100];
    alarm(30);
    for (int i = 0; i < 100; i++)
        p[i] = make(random_size(&seed), &seed);
    for (int i = 0; i < 100; i++)
        give(p[i]);
    gc_run();
    heap_check();
    _exit(0);
}

static void *fork_children(void *unused)
{
    for (; FORKS && !stopped(); pause_ms(10)) {
        int status = 0;
        fork_prepare();
        pid_t child = fork();
        if (child == 0) {
            fork_child();
            in_child();
        }
        fork_parent();
        waitpid(child, &status, 0);
        if (status != 0)
            fail("a child did not live");
    }
    return unused;
}

/* ---- the end: nothing may be lost ---- */

static void check_nothing_is_lost(void)
{
    struct large_stats large;
    for (int i = 0; i < BOXES; i++)
        give(box[i]);
    gc_run();
    heap_check();
    EACH_CLASS (c)
        if (pools[c].used != 0 || pools[c].allocated != 0) {
            fprintf(stderr, "stress: class %u: %llu used of %llu\n", c, (unsigned long long)pools[c].used,
                    (unsigned long long)pools[c].allocated);
            fail("blocks are lost");
        }
    large_stats(&large);
    if (large.blocks != 0 || large.bytes != 0)
        fail("large blocks are lost");
}

int main(int count, char **arguments)
{
    void *(*const others[])(void *) = {bear_threads, collect, look, fork_children};
    enum { OTHERS = sizeof others / sizeof others[0] };
    pthread_t thread[WORKERS + OTHERS];
    heap_start();
    for (uintptr_t i = 0; i < WORKERS; i++)
        pthread_create(&thread[i], NULL, work, (void *)i);
    for (int i = 0; i < OTHERS; i++)
        pthread_create(&thread[WORKERS + i], NULL, others[i], NULL);
    pause_ms(count > 1 ? atol(arguments[1]) : 2500);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < WORKERS + OTHERS; i++)
        pthread_join(thread[i], NULL);
    check_nothing_is_lost();
    printf("stress: %llu steps\n", (unsigned long long)steps);
    return 0;
}
