/* malloc(3)'s attributes, pthreads(7), fork(2), signal-safety(7): the family among threads, forks, cancellations, small
   stacks, and at the process's end. threads.c and fork.c are the storms; here is one promise at a time. */
#include "conform.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

static const size_t sizes[] = {0, 1, 16, 100, 1000, 5000, 30000, 40000, 200000, 1000000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Start and end: all of each block would be page faults, and four times the time of these cases. */
static void touch(char *p, size_t size, int fill)
{
    memset(p, fill, size < 4096 ? size : 4096);
    p[size - 1] = (char)fill;
}

/* Every function that allocates, and every one that frees. */
static void call_them_all(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        void *p = NULL;
        size_t n = sizes[i];
        if (posix_memalign(&p, 64, n) != 0)
            abort();
        void *all[] = {p,
                       malloc(n),
                       calloc(1, n),
                       realloc(malloc(10), n + 1),
                       reallocarray(NULL, 2, n),
                       memalign(256, n),
                       aligned_alloc(64, n),
                       valloc(n),
                       pvalloc(n)};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
            if (all[k] == NULL)
                abort();
            touch(all[k], malloc_usable_size(all[k]), (int)k);
            free(all[k]);
        }
    }
    malloc_trim(0);
    mallinfo2();
}

static pthread_t start(void *(*run)(void *), void *context)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, context) != 0)
        _exit(CONFORM_SKIPPED);
    return thread;
}

static void *in_thread(void *(*run)(void *), void *context)
{
    void *result = NULL;
    pthread_join(start(run, context), &result);
    return result;
}

/* ---- threads ----------------------------------------------------------------------------------------- */

static void *make_lot(void *context)
{
    char **lot = malloc(SIZES * sizeof *lot);
    for (size_t i = 0; i < SIZES; i++)
        lot[i] = memset(malloc(sizes[i] + 1), 'L', sizes[i] + 1);
    (void)context;
    return lot;
}

static void *grow_lot(void *context)
{
    char **lot = context;
    for (size_t i = 0; i < SIZES; i++)
        lot[i] = realloc(lot[i], sizes[i] * 2 + 1);
    return lot;
}

static void *drop_lot(void *context)
{
    char **lot = context;
    uintptr_t good = 0;
    for (size_t i = 0; i < SIZES; i++) {
        good += lot[i][0] == 'L' && lot[i][sizes[i]] == 'L';
        free(lot[i]);
    }
    free(lot);
    return (void *)good;
}

static void blocks_outlive_their_threads(void)
{
    for (int i = 0; i < 50; i++) {
        void *lot = in_thread(make_lot, NULL);
        lot = in_thread(grow_lot, lot);
        expect(in_thread(drop_lot, lot) == (void *)(uintptr_t)SIZES);
    }
}

static pthread_barrier_t meeting;

static void *own_errno(void *context)
{
    errno = ERRNO_MARK;
    pthread_barrier_wait(&meeting);
    pthread_barrier_wait(&meeting);
    (void)context;
    return (void *)(uintptr_t)(errno == ERRNO_MARK);
}

static void errno_is_each_threads_own(void)
{
    volatile size_t most = SIZE_MAX;
    pthread_barrier_init(&meeting, NULL, 2);
    pthread_t other = start(own_errno, NULL);
    void *said = NULL;
    pthread_barrier_wait(&meeting);
    expect(malloc(most) == NULL && errno == ENOMEM);
    pthread_barrier_wait(&meeting);
    pthread_join(other, &said);
    expect(said != NULL);
}

static void *just_call(void *context)
{
    call_them_all();
    return context;
}

static void the_smallest_stacks_do(void)
{
    for (int i = 0; i < 20; i++) {
        pthread_attr_t attr;
        pthread_t thread;
        void *said = NULL;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN);
        expect(pthread_create(&thread, &attr, just_call, &attr) == 0);
        pthread_join(thread, &said);
        expect(said == &attr);
    }
}

static ucontext_t main_context, small_context;

static void on_small_stack(void)
{
    call_them_all();
    swapcontext(&small_context, &main_context);
    call_them_all();
}

static void coroutines_may_wander(void)
{
    enum { STACK = 16 * 1024 };
    getcontext(&small_context);
    small_context.uc_stack.ss_sp = malloc(STACK); /* a stack that is itself a block */
    small_context.uc_stack.ss_size = STACK;
    small_context.uc_link = &main_context;
    makecontext(&small_context, on_small_stack, 0);
    swapcontext(&main_context, &small_context);
    call_them_all();
    swapcontext(&main_context, &small_context);
    free(small_context.uc_stack.ss_sp);
}

/* ---- cancellation ------------------------------------------------------------------------------------ */

static atomic_int cancelled;

static void *no_cancellation_point(void *context)
{
    int state = -1, type = -1;
    while (!atomic_load(&cancelled))
        sched_yield();
    call_them_all();
    call_them_all();
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
    if (state != PTHREAD_CANCEL_ENABLE || type != PTHREAD_CANCEL_DEFERRED)
        abort();
    *(int *)context = 1; /* got here, with the cancellation pending all the while */
    pthread_testcancel();
    *(int *)context = 2;
    return NULL;
}

static void no_call_is_a_cancellation_point(void)
{
    for (int i = 0; i < 20; i++) {
        int got = 0;
        void *said = NULL;
        atomic_store(&cancelled, 0);
        pthread_t thread = start(no_cancellation_point, &got);
        pthread_cancel(thread);
        atomic_store(&cancelled, 1);
        pthread_join(thread, &said);
        expect(got == 1 && said == PTHREAD_CANCELED);
    }
}

static void clean_up(void *block)
{
    free(block);
    call_them_all();
}

static void *wait_with_a_block(void *context)
{
    void *volatile block = malloc(100000);
    pthread_cleanup_push(clean_up, block);
    pthread_barrier_wait(&meeting);
    for (;;)
        pause();
    pthread_cleanup_pop(1);
    return context;
}

static void cleanup_handlers_may_allocate(void)
{
    pthread_barrier_init(&meeting, NULL, 2);
    for (int i = 0; i < 50; i++) {
        void *said = NULL;
        pthread_t thread = start(wait_with_a_block, NULL);
        pthread_barrier_wait(&meeting);
        pthread_cancel(thread);
        pthread_join(thread, &said);
        expect(said == PTHREAD_CANCELED);
    }
}

static void *exits_inside(void *context)
{
    void *volatile block = malloc(5000);
    pthread_cleanup_push(clean_up, block);
    pthread_exit(context);
    pthread_cleanup_pop(0);
    return NULL;
}

static void pthread_exit_may_unwind_at_any_depth(void)
{
    for (int i = 0; i < 50; i++)
        expect(in_thread(exits_inside, &cancelled) == &cancelled);
}

/* ---- signals ----------------------------------------------------------------------------------------- */

static void the_signal_mask_is_kept(void)
{
    sigset_t some, after;
    sigemptyset(&some);
    sigaddset(&some, SIGUSR1);
    sigaddset(&some, SIGTERM);
    pthread_sigmask(SIG_SETMASK, &some, NULL);
    call_them_all();
    in_thread(just_call, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signal = 1; signal < 32; signal++)
        expect(sigismember(&after, signal) == (signal == SIGUSR1 || signal == SIGTERM));
}

static sigjmp_buf landing;

static void jump(int signal)
{
    siglongjmp(landing, signal);
}

/* The signal strikes outside malloc; the handler never returns. */
static void handlers_may_leave_by_a_jump(void)
{
    char *volatile kept = memset(malloc(1000), 'k', 1000);
    signal(SIGUSR1, jump);
    signal(SIGSEGV, jump);
    for (volatile int i = 0; i < 2000; i++) {
        char *volatile block = malloc(100 + (size_t)i);
        if (sigsetjmp(landing, 1) == 0)
            i % 2 ? raise(SIGUSR1) : (void)(*(volatile char *)16 = 1);
        free(block);
        expect(kept[999] == 'k');
    }
    call_them_all();
    free(kept);
}

static atomic_int strikes;

static void allocate_in_handler(int signal)
{
    (void)signal;
    call_them_all();
    atomic_fetch_add(&strikes, 1);
}

/* A handler that interrupted no function of malloc's may call it. */
static void handlers_may_allocate_where_malloc_was_not_struck(void)
{
    static char stack[64 * 1024];
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternative, NULL);
    sigaction(SIGUSR2, &(struct sigaction){.sa_handler = allocate_in_handler, .sa_flags = SA_ONSTACK}, NULL);
    for (int i = 0; i < 50; i++) {
        void *volatile p = malloc(100);
        raise(SIGUSR2);
        free(p);
    }
    expect(atomic_load(&strikes) == 50);
}

/* ---- fork, exit -------------------------------------------------------------------------------------- */

static int status_of(pid_t child)
{
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

static void parent_and_child_part(void)
{
    char **lot = make_lot(NULL);
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; i < SIZES; i++)
            memset(lot[i], 'C', sizes[i] + 1);
        in_thread(grow_lot, lot);
        call_them_all();
        _exit(lot[SIZES - 1][0] == 'C' ? 0 : 1);
    }
    expect(status_of(child) == 0);
    expect(drop_lot(lot) == (void *)(uintptr_t)SIZES);
}

static atomic_int storm_over;

static void *storm(void *context)
{
    while (!atomic_load(&storm_over))
        call_them_all();
    return context;
}

static void forks_of_forks_in_a_storm(void)
{
    pthread_t thread[3];
    for (int t = 0; t < 3; t++)
        thread[t] = start(storm, NULL);
    for (int i = 0; i < 30; i++) {
        pid_t child = fork();
        if (child == 0) {
            pid_t grandchild = fork();
            call_them_all();
            if (grandchild == 0)
                _exit(0);
            _exit(status_of(grandchild) != 0);
        }
        expect(status_of(child) == 0);
    }
    atomic_store(&storm_over, 1);
    for (int t = 0; t < 3; t++)
        pthread_join(thread[t], NULL);
}

static void *fork_in_thread(void *context)
{
    pid_t child = fork();
    if (child == 0) {
        call_them_all();
        exit(0); /* with all that exit does, from what is now the only thread */
    }
    *(int *)context = status_of(child);
    return NULL;
}

static void a_thread_may_fork_and_its_child_exit(void)
{
    for (int i = 0; i < 20; i++) {
        int status = -1;
        in_thread(fork_in_thread, &status);
        expect(status == 0);
    }
}

static void last_words(void)
{
    call_them_all();
}

static void exit_handlers_may_allocate_beside_threads(void)
{
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            atexit(last_words);
            start(storm, NULL);
            start(storm, NULL);
            call_them_all();
            exit(0);
        }
        expect(status_of(child) == 0);
    }
}

static void *outlives_main(void *main_thread)
{
    pthread_join(*(pthread_t *)main_thread, NULL);
    call_them_all();
    exit(0);
}

static void main_may_end_before_its_threads(void)
{
    for (int i = 0; i < 20; i++) {
        static pthread_t self;
        pid_t child = fork();
        if (child == 0) {
            self = pthread_self();
            call_them_all();
            start(outlives_main, &self);
            pthread_exit(NULL);
        }
        expect(status_of(child) == 0);
    }
}

static const struct conform_case cases[] = {
    {blocks_outlive_their_threads, "blocks outlive the thread that made them; any may resize and free them"},
    {errno_is_each_threads_own, "a refusal sets the calling thread's errno"},
    {the_smallest_stacks_do, "PTHREAD_STACK_MIN is enough for all of the family"},
    {coroutines_may_wander, "a stack may be a block, and the thread may change stacks"},
    {no_call_is_a_cancellation_point, "no call is a cancellation point; cancel state and type stay"},
    {cleanup_handlers_may_allocate, "cleanup handlers may allocate and free"},
    {pthread_exit_may_unwind_at_any_depth, "pthread_exit: through frames that hold blocks"},
    {the_signal_mask_is_kept, "the signal mask stays"},
    {handlers_may_leave_by_a_jump, "siglongjmp out of a handler"},
    {handlers_may_allocate_where_malloc_was_not_struck,
     "a handler that struck no malloc may call it, on its own stack"},
    {parent_and_child_part, "fork: each has its own blocks from then on"},
    {forks_of_forks_in_a_storm, "fork: in forks, while threads allocate"},
    {a_thread_may_fork_and_its_child_exit, "fork: from a thread, and exit"},
    {exit_handlers_may_allocate_beside_threads, "exit: its handlers allocate while threads do"},
    {main_may_end_before_its_threads, "pthread_exit: of main"},
};
CONFORM_MAIN(cases)
