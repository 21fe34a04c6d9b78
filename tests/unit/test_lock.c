#include "../tools/dies.h"
#include "lock.h"

#include <criterion/criterion.h>
#include <pthread.h>

/* A lock that is made anew while somebody holds it is what fork's child needs, and what TSan calls a bug. */
#ifdef __SANITIZE_THREAD__
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "report_mutex_bugs=0";
}
#endif

static struct lock first, second, pool_3, pool_4;

static void setup(void)
{
    lock_init(&first, LOCK_GC, 0);
    lock_init(&second, LOCK_META, 0);
    lock_init(&pool_3, LOCK_POOL, 3);
    lock_init(&pool_4, LOCK_POOL, 4);
}

TestSuite(lock, .init = setup, .timeout = 20);

/* ---- mutual exclusion ---- */

enum { THREADS = 4, ROUNDS = 20000 };
static unsigned shared;

static void *count_up(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        lock_acquire(&first);
        shared++;
        lock_release(&first);
    }
    return unused;
}

Test(lock, keeps_others_out)
{
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, count_up, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    cr_assert_eq(shared, THREADS * ROUNDS);
}

/* True if another thread could take `l` just now. */
static void *try_once(void *l)
{
    if (!lock_try(l))
        return NULL;
    lock_release(l);
    return l;
}

static bool is_free(struct lock *l)
{
    pthread_t thread;
    void *got;
    pthread_create(&thread, NULL, try_once, l);
    pthread_join(thread, &got);
    return got != NULL;
}

Test(lock, try_fails_where_another_holds_it)
{
    cr_assert(is_free(&first));
    lock_acquire(&first);
    cr_assert_not(is_free(&first));
    lock_release(&first);
    cr_assert(is_free(&first));
    cr_assert(lock_try(&first));
    cr_assert_not(is_free(&first));
    lock_release(&first);
}

Test(lock, init_frees_a_lock_whoever_held_it)
{
    lock_acquire(&first);
    lock_init(&first, LOCK_GC, 0);
    cr_assert(is_free(&first));
}

Test(lock, the_static_initializer_is_a_free_lock_of_its_rank)
{
    struct lock l = LOCK_INITIALIZER(LOCK_REGION);
    cr_assert_eq(l.order >> 16, LOCK_REGION);
    cr_assert(is_free(&l));
}

/* ---- waiting ---- */

static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool asked, answered;

static void *answer(void *unused)
{
    for (bool done = false; !done;) {
        lock_acquire(&first);
        done = asked;
        if (done) {
            answered = true;
            pthread_cond_broadcast(&changed);
        }
        lock_release(&first);
    }
    return unused;
}

Test(lock, wait_lets_go_meanwhile_and_holds_afterwards)
{
    pthread_t thread;
    pthread_create(&thread, NULL, answer, NULL);
    lock_acquire(&first);
    asked = true;
    while (!answered)
        lock_wait(&first, &changed);
    cr_assert_not(is_free(&first));
    cr_assert(lock_held(&first));
    lock_release(&first);
    pthread_join(thread, NULL);
}

static void *wait_for_ever(void *unused)
{
    lock_acquire(&first);
    asked = true;
    while (!answered)
        lock_wait(&first, &changed);
    lock_release(&first);
    return unused;
}

/* malloc is no cancellation point: who is cancelled in here would hold the lock for good. */
Test(lock, wait_is_no_cancellation_point)
{
    pthread_t thread;
    void *result = &thread;
    pthread_create(&thread, NULL, wait_for_ever, &shared);
    for (bool waits = false; !waits; lock_release(&first)) {
        lock_acquire(&first);
        waits = asked;
    }
    pthread_cancel(thread);
    usleep(10000);
    lock_acquire(&first);
    answered = true;
    pthread_cond_broadcast(&changed);
    lock_release(&first);
    pthread_join(thread, &result);
    cr_assert_eq(result, &shared);
    cr_assert(is_free(&first));
}

/* ---- fork's exclusion ---- */

Test(lock, exclusive_acquires_and_releases_nothing)
{
    lock_acquire(&first);
    lock_acquire(&second);
    lock_exclusive(true);
    lock_acquire(&first); /* would wait for itself */
    cr_assert(lock_try(&second));
    cr_assert(lock_held(&pool_3));
    cr_assert(lock_none_held());
    lock_release(&second);
    lock_release(&first);
    cr_assert_not(
        is_free(&first)); /* is_free's thread is not exclusive: that is the calling thread's alone */
    lock_exclusive(false);
    lock_release(&second);
    lock_release(&first);
    cr_assert(is_free(&first));
    cr_assert(is_free(&second));
}

/* ---- the books of a debug build ---- */

#ifdef TARN_DEBUG

Test(lock, books_what_this_thread_holds)
{
    cr_assert(lock_none_held());
    lock_acquire(&first);
    cr_assert(lock_held(&first));
    cr_assert_not(lock_held(&second));
    cr_assert_not(lock_none_held());
    lock_acquire(&pool_3);
    lock_acquire(&pool_4);
    lock_acquire(&second);
    lock_release(&pool_3); /* letting go needs no order */
    cr_assert_not(lock_held(&pool_3));
    cr_assert(lock_held(&first) && lock_held(&pool_4) && lock_held(&second));
    lock_release(&second);
    lock_release(&first);
    lock_release(&pool_4);
    cr_assert(lock_none_held());
}

static void *ask_held(void *l)
{
    return lock_none_held() && !lock_held(l) ? l : NULL;
}

Test(lock, books_are_each_threads_own)
{
    pthread_t thread;
    void *result;
    lock_acquire(&first);
    pthread_create(&thread, NULL, ask_held, &first);
    pthread_join(thread, &result);
    cr_assert_eq(result, &first);
    lock_release(&first);
}

Test(lock, a_failed_try_books_nothing)
{
    pthread_t thread;
    void *result;
    lock_acquire(&second);
    pthread_create(&thread, NULL, try_once, &second);
    pthread_join(thread, &result);
    cr_assert_null(result);
    lock_release(&second);
    cr_assert(lock_none_held());
}

Test(lock, forget_held_clears_the_books)
{
    lock_acquire(&first);
    lock_acquire(&second);
    lock_forget_held();
    cr_assert(lock_none_held());
    cr_assert_not(lock_held(&first));
}

static void by_falling_rank(void)
{
    lock_acquire(&second);
    lock_acquire(&first);
}

static void by_falling_pool(void)
{
    lock_acquire(&pool_4);
    lock_acquire(&pool_3);
}

static void by_falling_try(void)
{
    lock_acquire(&second);
    lock_try(&first);
}

static void twice(void)
{
    lock_acquire(&pool_3);
    lock_acquire(&pool_3);
}

static void release_unheld(void)
{
    lock_acquire(&first);
    lock_release(&pool_3);
}

Test(lock, the_wrong_order_traps)
{
    cr_assert(dies(by_falling_rank, "held[held_count - 1] < l->order"));
    cr_assert(dies(by_falling_pool, "held[held_count - 1] < l->order"));
    cr_assert(dies(by_falling_try, "held[held_count - 1] < l->order"));
    cr_assert(dies(twice, "held[held_count - 1] < l->order"));
    cr_assert(dies(release_unheld, "i > 0"));
}

#else

Test(lock, a_release_build_answers_yes)
{
    cr_assert(lock_held(&first));
    lock_acquire(&first);
    cr_assert(lock_none_held());
    lock_release(&first);
}

#endif
