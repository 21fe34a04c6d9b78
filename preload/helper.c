#include "helper.h"

#include "base.h"
#include "gc.h"
#include "options.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>

typedef int create(pthread_t *restrict, const pthread_attr_t *restrict, void *(*)(void *), void *restrict);

static bool exists;

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

/* Without a name: to take one is a system call that a program's seccomp filter may end it for. */
static void *tend(void *unused)
{
    for (;;)
        gc_tend();
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
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, stack_bytes());
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool made = real(&thread, &attr, tend, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return made;
}

void helper_forget(void)
{
    WRITE_ONCE(exists, false);
}

EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
                          void *(*run)(void *), void *restrict argument)
{
    create *real = real_create();
    int result = real == NULL ? EAGAIN : real(thread, attr, run, argument);
    int before = errno;
    if (result == 0 && options.helper && !__atomic_exchange_n(&exists, true, __ATOMIC_RELAXED))
        WRITE_ONCE(exists, make_helper(real)); /* refused: with the next thread then */
    errno = before;
    return result;
}
