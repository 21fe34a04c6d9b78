/*
 * What needs a running process rather than a first malloc: the fork handlers, the signal, stacks for reports, the
 * tables a user asked to see. The heap itself has mostly started before, at the loader's or a library's first miss.
 *
 * The fork handlers are registered as early as a preloaded library can: what is registered later (a program's own
 * handlers) runs its prepare before ours, with malloc still whole.
 */
#include "fork.h"
#include "heap.h"
#include "options.h"
#include "signal.h"
#include "trace.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

__attribute__((constructor(101))) static void start(void)
{
    int before = errno;
    heap_start();
    pthread_atfork(fork_prepare, fork_parent, fork_child);
    if (options.misuse == MISUSE_ABORT)
        trace_start();
    if (options.help)
        options_help(STDERR_FILENO, false);
    if (options.show)
        options_show(STDERR_FILENO);
    signal_start();
    errno = before;
}
