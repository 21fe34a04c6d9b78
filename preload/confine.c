/*
 * A program is about to confine itself: some calls of the kernel may be its end from then on, and even the question
 * whether a filter stands. So we learn of it beforehand, by prctl: who installs a seccomp filter without
 * PR_SET_NO_NEW_PRIVS must be root, and libseccomp says it even then. Afterwards tarn makes no calls but mmap, munmap,
 * mremap, madvise and futex; and those for a thread only where the program itself has just made one.
 *
 * What stood already when the program was started let the loader open libraries; it is a container's, which refuses and
 * does not kill.
 */
#include "base.h"
#include "helper.h"
#include "restart.h"

#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
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
