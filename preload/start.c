/*
 * What needs a running process rather than a first malloc: the fork handlers, the signal, stacks for reports, the
 * tables a user asked to see. The heap itself has mostly started before, at the loader's or a library's first miss.
 *
 * We are linked with -z initfirst: our constructor comes before all others, even libc's. So our fork handlers are the
 * first to be registered, and everybody else's prepare, also that of a library the program is linked with, runs before
 * ours, with malloc still whole.
 */
#include "crash.h"
#include "fork.h"
#include "heap.h"
#include "helper.h"
#include "options.h"
#include "signal.h"
#include "trace.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static void after_fork(void)
{
    fork_child();
    helper_forget();
}

__attribute__((constructor(101))) static void start(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv;
    int before = errno;
    if (environ == NULL) /* libc's constructor sets it, to the same */
        environ = environment;
    heap_start();
    helper_start();
    pthread_atfork(fork_prepare, fork_parent, after_fork);
    if (options.misuse == MISUSE_ABORT)
        trace_start();
    if (options.help)
        options_help(STDERR_FILENO, false);
    if (options.debug.help)
        options_debug_help(STDERR_FILENO);
    if (options.show)
        options_show(STDERR_FILENO);
    signal_start();
    crash_start();
    errno = before;
}
