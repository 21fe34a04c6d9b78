#include "helper.h"

#include "base.h"
#include "debug.h"
#include "gc.h"
#include "heap.h"
#include "options.h"
#include "system.h"
#include "thread.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <unistd.h>

typedef int create(pthread_t *restrict, const pthread_attr_t *restrict, void *(*)(void *), void *restrict);

enum {
    PATIENCE =
        1000, /* ms without anything to give, after which the helper of a program with one thread goes */
    ENOUGH = 1024 * 1024, /* bytes: less is not worth its staying: a program at work always has some */
    AFTER_FORK =
        1000, /* ms: most children end, or become another program, before that; and the handlers have run */
    AFTER_REFUSAL = 1000,
    AFTER_LIBC = 10
};

enum state { ABSENT, FOR_A_WHILE, FOR_GOOD, DISMISSED };

/* Not a struct lock: a thread is made, and waited for, with it held. Who may be the helper, or in a signal handler, only
   tries. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static __thread bool is_helper;

static struct {
    enum state state; /* written under `turn` */
    pthread_t thread;
    pid_t process;
    uint64_t not_before; /* ms */
    bool unwelcome;
    unsigned creating; /* threads in pthread_create: a handler that strikes there finds its locks held */
} helper;

static create *real_create(void)
{
    static create *found;
    create *real = READ_ONCE(found);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
        WRITE_ONCE(found, real);
    }
    return real;
}

static enum state state(void)
{
    return __atomic_load_n(&helper.state, __ATOMIC_ACQUIRE);
}

static void set_state(enum state to)
{
    __atomic_store_n(&helper.state, to, __ATOMIC_RELEASE);
}

/* To go? Who dismissed it has the turn, and waits for it. It is advertised first: once the state says ABSENT, another may
   have been made. */
static bool leaves(void)
{
    if (pthread_mutex_trylock(&turn) != 0)
        return state() == DISMISSED;
    bool goes = state() == FOR_A_WHILE;
    gc_advertise();
    if (goes) {
        pthread_detach(pthread_self());
        set_state(ABSENT);
    }
    pthread_mutex_unlock(&turn);
    return goes;
}

/* Without a name: to take one is a system call that a program's seccomp filter may end it for. */
static void *tend(void *unused)
{
    is_helper = true;
    do
        while (state() == FOR_GOOD ? gc_tend(GC_FOREVER, 0) : gc_tend(PATIENCE, ENOUGH))
            continue;
    while (!leaves());
    return unused;
}

static size_t stack_bytes(void)
{
    const size_t enough = (size_t)64 * 1024; /* beyond what the program's thread-local variables take of it */
    return enough + (size_t)PTHREAD_STACK_MIN;
}

static bool make_helper(create *real)
{
    pthread_attr_t attr;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, stack_bytes());
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool made = real(&helper.thread, &attr, tend, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return made;
}

/* With the turn. The state comes first: it says how the helper is to begin. */
static void appoint(enum state as)
{
    create *real = real_create();
    set_state(as);
    if (real != NULL && make_helper(real))
        return;
    set_state(ABSENT);
    WRITE_ONCE(helper.not_before, system_now() + AFTER_REFUSAL);
}

/* The process is to end with its last thread, not to wait for ours; and not in ours, whose stack is small for what exit
   calls. */
static void dismiss(void)
{
    if (is_helper || state() == ABSENT)
        return;
    pthread_mutex_lock(&turn);
    if (state() != ABSENT) {
        set_state(DISMISSED);
        gc_dismiss();
        pthread_join(helper.thread, NULL);
        set_state(ABSENT);
    }
    pthread_mutex_unlock(&turn);
}

static void advertise(void)
{
    if (options.helper == HELPER_AUTO)
        gc_advertise();
}

bool helper_step_aside(void)
{
    if (state() == ABSENT)
        return false;
    dismiss();
    advertise();
    return true;
}

void helper_start(void)
{
    helper.process = getpid();
    heap_on_last_thread(dismiss);
    advertise();
}

void helper_forget(void)
{
    helper.process = getpid();
    helper.not_before = system_now() + AFTER_FORK;
    helper.state = ABSENT;
    helper.creating = 0;
    turn = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    advertise();
}

/* libc and the loader free with locks held that pthread_create takes. */
static bool called_by_libc(void)
{
    Dl_info caller, libc;
    return dladdr(debug_caller, &caller) == 0 || dladdr((void *)(uintptr_t)real_create(), &libc) == 0 ||
           caller.dli_fbase == libc.dli_fbase || (uintptr_t)caller.dli_fbase == getauxval(AT_BASE);
}

/* As it is in most signal handlers: one may have interrupted pthread_create, or the loader. */
static bool blocks_signals(void)
{
    sigset_t now;
    return pthread_sigmask(SIG_BLOCK, NULL, &now) != 0 || !sigisemptyset(&now);
}

void helper_hire_no_more(void)
{
    WRITE_ONCE(helper.unwelcome, true);
}

void helper_hire(void)
{
    uint64_t now = system_now();
    if (READ_ONCE(helper.unwelcome) || READ_ONCE(helper.creating) > 0 || thread_busy > 0 ||
        now < READ_ONCE(helper.not_before) || state() != ABSENT)
        return;
    WRITE_ONCE(helper.not_before, now + AFTER_LIBC);
    if (getpid() != helper.process || blocks_signals() || called_by_libc() ||
        pthread_mutex_trylock(&turn) != 0)
        return;
    if (state() == ABSENT)
        appoint(FOR_A_WHILE);
    pthread_mutex_unlock(&turn);
}

/* In a program with threads it stays, so as not to be made time and again. Refused: with the next thread then. */
static COLD void hire_for_good(void)
{
    pthread_mutex_lock(&turn);
    if (state() == FOR_A_WHILE)
        set_state(FOR_GOOD);
    else if (state() == ABSENT)
        appoint(FOR_GOOD);
    pthread_mutex_unlock(&turn);
}

EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
                          void *(*run)(void *), void *restrict argument)
{
    create *real = real_create();
    __atomic_fetch_add(&helper.creating, 1, __ATOMIC_RELAXED);
    int result = real == NULL ? EAGAIN : real(thread, attr, run, argument);
    __atomic_fetch_sub(&helper.creating, 1, __ATOMIC_RELAXED);
    int before = errno;
    if (result == 0 && options.helper != HELPER_NONE && state() != FOR_GOOD)
        hire_for_good();
    errno = before;
    return result;
}
