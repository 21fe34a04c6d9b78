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

enum state { ABSENT, FOR_A_WHILE, FOR_GOOD };

static struct {
    enum state state;
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

static bool move_state(enum state from, enum state to)
{
    return __atomic_compare_exchange_n(&helper.state, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* To go? It is advertised first: once the state says ABSENT, another may have been made. */
static bool leaves(void)
{
    if (__atomic_load_n(&helper.state, __ATOMIC_ACQUIRE) == ABSENT) /* dismissed, and waited for */
        return true;
    gc_advertise();
    if (!move_state(FOR_A_WHILE, ABSENT))
        return false;
    pthread_detach(pthread_self());
    return true;
}

/* Without a name: to take one is a system call that a program's seccomp filter may end it for. */
static void *tend(void *unused)
{
    do
        while (READ_ONCE(helper.state) == FOR_GOOD ? gc_tend(GC_FOREVER, 0) : gc_tend(PATIENCE, ENOUGH))
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

/* Makes what the state promises; not made, it promises nothing. */
static bool appoint(enum state state)
{
    create *real = real_create();
    if (real != NULL && make_helper(real))
        return true;
    WRITE_ONCE(helper.not_before, system_now() + AFTER_REFUSAL);
    move_state(state, ABSENT);
    return false;
}

/* The process is to end with its last thread, not to wait for ours; and not in ours, whose stack is small for what exit
   calls. */
static void dismiss(void)
{
    if (__atomic_exchange_n(&helper.state, ABSENT, __ATOMIC_ACQ_REL) == ABSENT)
        return;
    gc_dismiss();
    pthread_join(helper.thread, NULL);
}

static void advertise(void)
{
    if (options.helper == HELPER_AUTO)
        gc_advertise();
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
        now < READ_ONCE(helper.not_before) || READ_ONCE(helper.state) != ABSENT)
        return;
    WRITE_ONCE(helper.not_before, now + AFTER_LIBC);
    if (getpid() == helper.process && !blocks_signals() && !called_by_libc() &&
        move_state(ABSENT, FOR_A_WHILE))
        appoint(FOR_A_WHILE);
}

/* In a program with threads it stays, so as not to be made time and again. */
EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
                          void *(*run)(void *), void *restrict argument)
{
    create *real = real_create();
    __atomic_fetch_add(&helper.creating, 1, __ATOMIC_RELAXED);
    int result = real == NULL ? EAGAIN : real(thread, attr, run, argument);
    __atomic_fetch_sub(&helper.creating, 1, __ATOMIC_RELAXED);
    int before = errno;
    if (result == 0 && options.helper != HELPER_NONE && READ_ONCE(helper.state) != FOR_GOOD &&
        __atomic_exchange_n(&helper.state, FOR_GOOD, __ATOMIC_ACQ_REL) == ABSENT)
        appoint(FOR_GOOD); /* refused: with the next thread then */
    errno = before;
    return result;
}
