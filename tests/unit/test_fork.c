#include "fork.h"

#include "../tools/random.h"
#include "gc.h"
#include "guard.h"
#include "heap.h"
#include "large.h"
#include "meta.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A lock that is made anew while somebody holds it is what fork's child needs, and what TSan calls a bug; of locks that
   are held at once it can count 64. */
#ifdef __SANITIZE_THREAD__
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "report_mutex_bugs=0:detect_deadlocks=0";
}
#endif

enum { MEBIBYTE = 1 << 20 };

static void start(void)
{
    heap_start();
}

TestSuite(fork, .init = start);

static void give(void *p)
{
    heap_free(p, "free");
}

/* Forks as preload/ does; the child runs `act` and must find it good, within seconds. */
static pid_t fork_child_that(bool (*act)(void))
{
    fork_prepare();
    pid_t child = fork();
    if (child != 0) {
        fork_parent();
        return child;
    }
    fork_child();
    alarm(30);
    _exit(act() ? 0 : 1);
}

static bool went_well(pid_t child)
{
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printf("the child died of signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static uint64_t total_used(void)
{
    uint64_t used = 0;
    EACH_CLASS (c)
        used += pools[c].used;
    return used;
}

/* A bit of everything. */
static bool allocates(void)
{
    bool good = true;
    for (size_t n = 1; n < 4 * MEBIBYTE; n = n * 3 + 1) {
        char *p = heap_alloc(n), *q = heap_alloc_aligned(4096, n),
             *r = guard_alloc(n, 16, CLASS_LARGE, &(struct trace){0});
        good &= p != NULL && q != NULL && r != NULL;
        memset(p, 5, n);
        memset(q, 6, n);
        p = heap_realloc(p, n + 100);
        good &= p != NULL && p[n - 1] == 5;
        give(p);
        give(q);
        give(r);
    }
    return good;
}

static bool allocates_and_checks(void)
{
    bool good = allocates();
    gc_run();
    heap_check();
    return good;
}

Test(fork, both_sides_go_on)
{
    char *p = heap_alloc(100);
    strcpy(p, "before");
    give(heap_alloc(MEBIBYTE)); /* jemalloc has started */
    cr_assert(went_well(fork_child_that(allocates_and_checks)));
    cr_assert_str_eq(p, "before");
    cr_assert(allocates_and_checks());
    cr_assert(lock_none_held());
}

Test(fork, jemalloc_may_start_in_the_child)
{
    heap_alloc(100);
    cr_assert(went_well(fork_child_that(allocates_and_checks)));
    cr_assert(allocates_and_checks());
}

static bool forks_again(void)
{
    return allocates() && went_well(fork_child_that(allocates_and_checks)) && allocates_and_checks();
}

Test(fork, a_child_forks_again)
{
    cr_assert(went_well(fork_child_that(forks_again)));
}

/* ---- threads that the child does not have ---- */

enum { OTHERS = 3, HOARD = 500 };
static pthread_barrier_t hoarded, leave;
static void *kept[OTHERS];

static void *hoard(void *number)
{
    void *p[HOARD];
    kept[(uintptr_t)number] = heap_alloc(300);
    for (int i = 0; i < HOARD; i++)
        p[i] = heap_alloc(300);
    for (int i = 0; i < HOARD; i++)
        give(p[i]);
    pthread_barrier_wait(&hoarded);
    pthread_barrier_wait(&leave);
    return NULL;
}

static bool only_the_living_count(void)
{
    bool good = thread_count() == 1;
    gc_run();
    good &= total_used() == OTHERS; /* those kept, and nothing out of caches */
    heap_check();
    for (int i = 0; i < OTHERS; i++)
        give(kept[i]);
    gc_run();
    return good && total_used() == 0 && allocates_and_checks();
}

Test(fork, the_child_takes_over_the_others_caches)
{
    pthread_t thread[OTHERS];
    pthread_barrier_init(&hoarded, NULL, OTHERS + 1);
    pthread_barrier_init(&leave, NULL, OTHERS + 1);
    give(heap_alloc(300));
    for (uintptr_t i = 0; i < OTHERS; i++)
        pthread_create(&thread[i], NULL, hoard, (void *)i);
    pthread_barrier_wait(&hoarded);
    bool good = went_well(fork_child_that(only_the_living_count));
    cr_assert_eq(thread_count(), OTHERS + 1);
    pthread_barrier_wait(&leave);
    for (int i = 0; i < OTHERS; i++)
        pthread_join(thread[i], NULL);
    cr_assert(good);
    gc_run();
    cr_assert_eq(total_used(), OTHERS); /* the parent lost nothing either */
}

/* ---- the program's own handlers, between prepare and parent or child ---- */

Test(fork, who_forks_may_allocate_between_prepare_and_parent)
{
    void *p[200];
    fork_prepare();
    for (int i = 0; i < 200; i++)
        p[i] = heap_alloc(50);
    for (int i = 0; i < 200; i++)
        give(p[i]);
    fork_parent();
    cr_assert(allocates_and_checks());
}

/* Each wants one room's lock. */
static void want_gc(void)
{
    gc_run();
}

static void want_threads(void)
{
    thread_recall();
}

static void want_guard(void)
{
    guard_collect();
}

static void want_pool(void)
{
    pool_take_one(&pools[class_of(300)]);
}

static void want_large(void)
{
    heap_free(heap_alloc(2 * MEBIBYTE), "free");
}

static void want_region(void)
{
    region_limit(SIZE_MAX);
}

static void want_meta(void)
{
    meta_free(meta_alloc(64), 64);
}

static void (*const want[])(void) = {want_gc,    want_threads, want_guard, want_pool,
                                     want_large, want_region,  want_meta};
enum { WANTS = sizeof want / sizeof want[0] };
static bool got[WANTS];

static void *get(void *number)
{
    want[(uintptr_t)number]();
    __atomic_store_n(&got[(uintptr_t)number], true, __ATOMIC_RELEASE);
    return NULL;
}

Test(fork, prepare_keeps_everyone_else_out_of_every_room_and_parent_lets_them_in)
{
    pthread_t thread[WANTS];
    give(heap_alloc(MEBIBYTE));
    fork_prepare();
    for (uintptr_t i = 0; i < WANTS; i++)
        pthread_create(&thread[i], NULL, get, (void *)i);
    usleep(100000);
    for (int i = 0; i < WANTS; i++)
        cr_assert_not(__atomic_load_n(&got[i], __ATOMIC_ACQUIRE), "%d", i);
    fork_parent();
    for (int i = 0; i < WANTS; i++) {
        pthread_join(thread[i], NULL);
        cr_assert(got[i]);
    }
    cr_assert(allocates_and_checks());
}

/* ---- fork in a storm ---- */

#ifndef __SANITIZE_THREAD__ /* its own locks do not survive a fork of a threaded process */

enum { STORMERS = 4, FORKS = 200, HELD = 300 };
static bool stop;

static void *storm(void *number)
{
    void *held[HELD] = {NULL};
    uint64_t seed = 1000 + (uintptr_t)number;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        size_t i = random_below(&seed, HELD);
        give(held[i]);
        size_t n = 1 + random_below(&seed, random_below(&seed, 60) == 0 ? MEBIBYTE : 4000);
        held[i] = heap_alloc(n);
        memset(held[i], 1, n < 64 ? n : 64);
        if (random_below(&seed, 20000) == 0)
            gc_run();
    }
    for (size_t i = 0; i < HELD; i++)
        give(held[i]);
    return NULL;
}

static void *short_life(void *unused)
{
    for (int i = 0; i < 200; i++)
        give(heap_alloc(16 + 8 * (size_t)i));
    return unused;
}

static void *bear_threads(void *unused)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        pthread_t thread[6];
        for (int i = 0; i < 6; i++)
            pthread_create(&thread[i], NULL, short_life, NULL);
        for (int i = 0; i < 6; i++)
            pthread_join(thread[i], NULL);
    }
    return unused;
}

Test(fork, in_a_storm_of_allocation_every_child_is_usable_at_once, .timeout = 120)
{
    pthread_t thread[STORMERS + 1];
    for (uintptr_t i = 0; i < STORMERS; i++)
        pthread_create(&thread[i], NULL, storm, (void *)i);
    pthread_create(&thread[STORMERS], NULL, bear_threads, NULL);
    for (int i = 0; i < FORKS; i++)
        cr_assert(went_well(fork_child_that(allocates_and_checks)), "fork %d", i);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i <= STORMERS; i++)
        pthread_join(thread[i], NULL);
    gc_run();
    cr_assert_eq(total_used(), 0);
    heap_check();
}

#endif
