/*
 * What needs a running process rather than a first malloc: the fork handlers, the signal, stacks for reports, the
 * tables a user asked to see. The heap itself has mostly started before, at the loader's or a library's first miss.
 *
 * We are linked with -z initfirst: our constructor comes before all others, even libc's. So our fork handlers are the
 * first to be registered, and everybody else's prepare, also that of a library the program is linked with, runs before
 * ours, with malloc still whole.
 */
#include "constant.h"
#include "crash.h"
#include "fork.h"
#include "heap.h"
#include "helper.h"
#include "options.h"
#include "signal.h"
#include "thread.h"
#include "trace.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* pthread_atfork hands it on, to say whose the handlers are. Of the compiler's own start files, which have one, we need
   nothing else: without them the loader has five names less to look up, and two functions less to call. */
HIDDEN extern void *__dso_handle;
void *__dso_handle;

static bool had_threads;

static void before_fork(void)
{
    had_threads = thread_count() > 1;
    fork_prepare();
}

static void after_fork(void)
{
    fork_child();
    if (had_threads)
        trace_forget();
    helper_forget();
}

/* fork without handlers, not even ours; a lock that the helper holds would stay taken in the child. */
EXPORT pid_t _Fork(void)
{
    static pid_t (*found)(void);
    pid_t (*real)(void) = READ_ONCE(found);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "_Fork");
        WRITE_ONCE(found, real);
    }
    before_fork();
    pid_t child = real();
    if (child == 0)
        after_fork();
    else
        fork_parent();
    return child;
}

/*
 * ThreadSanitizer's runtime stands before the functions of libc that a start needs, and can't serve before its own,
 * which comes after ours. Where its malloc is the program's, nothing is lost if we never start. Where ours hides it,
 * nothing can be had but a crash: its start allocates.
 */
extern void __tsan_init(void) __attribute__((weak));
extern void *__libc_malloc(size_t n);

COLD static void stand_down(void)
{
    static const char why[] = "tarn: hides ThreadSanitizer's malloc: run the program without tarn, or with "
                              "ThreadSanitizer's library first in LD_PRELOAD\n";
    void *(*theirs)(size_t) = malloc;
    __asm__("" : "+r"(theirs));  /* clang takes it for granted that two names are two functions */
    if (theirs != __libc_malloc) /* which is ours in any case */
        return;
    syscall(SYS_write, STDERR_FILENO, why, sizeof why - 1);
    syscall(SYS_exit_group, 1);
}

__attribute__((constructor(101))) static void start(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv;
    if (__tsan_init != NULL) {
        stand_down();
        return;
    }
    int before = errno;
    if (environ == NULL) /* libc's constructor sets it, to the same */
        environ = environment;
    heap_start();
    helper_start();
    pthread_atfork(before_fork, fork_parent, after_fork);
    if (options.misuse == MISUSE_ABORT || options.guard_sample > 0)
        trace_start();
    if (options.help)
        options_help(STDERR_FILENO, false);
    if (options.debug.help)
        options_debug_help(STDERR_FILENO);
    if (options.show)
        options_show(STDERR_FILENO);
    signal_start();
    crash_start();
    constant_close();
    errno = before;
}
