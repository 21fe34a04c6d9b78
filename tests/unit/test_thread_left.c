/* Caches that their threads leave, as they do in the handler of SIGQUIT, while others empty them, and while others fork. */
#include "fork.h"
#include "gc.h"
#include "heap.h"
#include "restart.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 300, HOARD = 500, OTHERS = 3 };

static void start(void)
{
    heap_start();
}

TestSuite(thread_left, .init = start);

static uint64_t total_used(void)
{
    uint64_t used = 0;
    EACH_CLASS (c)
        used += pools[c].used;
    return used;
}

/* ---- all at once ------------------------------------------------------------------------------------- */

static bool enough;

/* Few blocks, and their first words say whose they are: a cache that two threads have gives one of them to both. */
static void *leave_often(void *unused)
{
    enum { OUT = 32, LEAVES = 8 };
    void **out[OUT] = {NULL};
    for (unsigned i = 0; !__atomic_load_n(&enough, __ATOMIC_RELAXED); i++) {
        void ***slot = &out[i * 7 % OUT];
        cr_assert(*slot == NULL || **slot == slot);
        heap_free(*slot, "free");
        *slot = heap_alloc(SIZE);
        **slot = slot;
        if (i % LEAVES == 0)
            thread_abandon();
    }
    for (unsigned i = 0; i < OUT; i++)
        heap_free(out[i], "free");
    return unused;
}

static void *empty_others(void *unused)
{
    struct pool_news news;
    pool_news_init(&news);
    while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
        thread_enter();
        thread_drain_others(false, &news, gc_news);
        thread_leave();
    }
    return unused;
}

static void *collect(void *unused)
{
    while (!__atomic_load_n(&enough, __ATOMIC_RELAXED))
        gc_run();
    return unused;
}

Test(thread_left, while_others_empty_them_nothing_is_lost, .timeout = 60)
{
    void *(*const parts[])(void *) = {leave_often,  leave_often,  leave_often, leave_often,
                                      empty_others, empty_others, collect};
    enum { PARTS = sizeof parts / sizeof parts[0] };
    pthread_t thread[PARTS];
    for (int i = 0; i < PARTS; i++)
        pthread_create(&thread[i], NULL, parts[i], NULL);
    usleep(1500000);
    __atomic_store_n(&enough, true, __ATOMIC_RELAXED);
    for (int i = 0; i < PARTS; i++)
        pthread_join(thread[i], NULL);
    gc_run();
    cr_assert_eq(total_used(), 0);
    heap_check();
}

/* ---- a fork meanwhile -------------------------------------------------------------------------------- */

static pthread_barrier_t left, leave;
static void *kept[OTHERS];

static void *hoard_and_leave(void *number)
{
    void *p[HOARD];
    kept[(uintptr_t)number] = heap_alloc(SIZE);
    for (int i = 0; i < HOARD; i++)
        p[i] = heap_alloc(SIZE);
    for (int i = 0; i < HOARD; i++)
        heap_free(p[i], "free");
    thread_abandon();
    pthread_barrier_wait(&left);
    pthread_barrier_wait(&leave);
    return NULL;
}

static void *empty_those_left(void *unused)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_enter();
    thread_drain_idle(&news);
    gc_news(&news);
    thread_leave();
    return unused;
}

static bool nothing_is_lost(void)
{
    gc_run();
    heap_check();
    return thread_count() <= 1 && total_used() == OTHERS;
}

/* Forks when the one who empties has taken them, and waits for the registry's lock. */
static bool child_has_all(pthread_t *emptier)
{
    int status = -1;
    thread_enter();
    thread_lock();
    pthread_create(emptier, NULL, empty_those_left, NULL);
    usleep(100000);
    pid_t child = fork();
    if (child == 0) {
        fork_child();
        _exit(!nothing_is_lost());
    }
    thread_unlock();
    thread_leave();
    waitpid(child, &status, 0);
    return status == 0;
}

Test(thread_left, a_forks_child_takes_over_those_that_another_is_about_to_empty)
{
    pthread_t thread[OTHERS], emptier;
    pthread_barrier_init(&left, NULL, OTHERS + 1);
    pthread_barrier_init(&leave, NULL, OTHERS + 1);
    for (uintptr_t i = 0; i < OTHERS; i++)
        pthread_create(&thread[i], NULL, hoard_and_leave, (void *)i);
    pthread_barrier_wait(&left);
    bool good = child_has_all(&emptier);
    pthread_join(emptier, NULL);
    pthread_barrier_wait(&leave);
    for (int i = 0; i < OTHERS; i++)
        pthread_join(thread[i], NULL);
    cr_assert(good);
    cr_assert(nothing_is_lost());
}
