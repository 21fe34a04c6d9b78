/*
 * What a program is about to do to its own process, and tarn must know before.
 *
 * prctl: it confines itself: some calls of the kernel may be its end from then on, and even the question whether a filter
 * stands. Who installs a seccomp filter without PR_SET_NO_NEW_PRIVS must be root, and libseccomp says it even then.
 * Afterwards tarn makes no calls but mmap, munmap, mremap, madvise and futex; and those for a thread only where the program
 * itself has just made one. What stood already when the program was started let the loader open libraries; it is a
 * container's, which refuses and does not kill.
 *
 * unshare, setns: the kernel grants a user namespace only to a program with one thread. If it refuses, the helper goes.
 *
 * mlockall: all memory is to be filled, that there is and that comes: of a program of 2.4 MB, tarn's tables made 11.7.
 */
#include "base.h"
#include "helper.h"
#include "large.h"
#include "region.h"
#include "restart.h"
#include "system.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

EXPORT int prctl(int option, ...)
{
    unsigned long value[4];
    va_list rest;
    va_start(rest, option);
    for (size_t i = 0; i < ARRAY_LENGTH(value); i++)
        value[i] = va_arg(rest, unsigned long);
    va_end(rest);
    if (option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP) {
        helper_hire_no_more();
        restart_give_up();
    }
    return (int)syscall(SYS_prctl, option, value[0], value[1], value[2], value[3]);
}

/* A thread that was waited for still counts for some microseconds. Sleeps by a bare call: nanosleep is a cancellation
   point, and unshare is none. */
static int call_alone(long number, long first, long second)
{
    static const struct timespec nap = {.tv_nsec = 100000};
    int before = errno;
    long result = syscall(number, first, second);
    if (result == 0 || errno != EINVAL || !helper_step_aside())
        return (int)result;
    for (int tries = 0; tries < 100 && result != 0 && errno == EINVAL; tries++) {
        syscall(SYS_nanosleep, &nap, NULL);
        result = syscall(number, first, second);
    }
    if (result == 0)
        errno = before;
    return (int)result;
}

EXPORT int unshare(int flags)
{
    return call_alone(SYS_unshare, flags, 0);
}

EXPORT int setns(int fd, int kind)
{
    return call_alone(SYS_setns, fd, kind);
}

EXPORT int mlockall(int flags)
{
    bool before = system_fills();
    if ((flags & MCL_ONFAULT) == 0) {
        region_thin();
        large_rest();
        system_expect_fill(true);
    }
    int result = (int)syscall(SYS_mlockall, flags);
    if (result != 0) /* who may not goes on as if nothing had been said, as a rule */
        system_expect_fill(before);
    return result;
}
