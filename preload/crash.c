#include "crash.h"

#include "arch.h"
#include "base.h"
#include "fault.h"
#include "guard.h"
#include "harden.h"
#include "options.h"

#include <errno.h>
#include <signal.h>

static const int signals[] = {SIGSEGV, SIGBUS};

/*
 * The default is restored last: until then another thread that crashes comes here too, instead of ending the process
 * in the middle of the line. A crash in here ends it by itself, since the signal is blocked.
 */
static void explain(int signal_number, siginfo_t *info, void *context)
{
    struct fault fault;
    int kept = errno;
    bool sent = info->si_code <= 0; /* by kill and the like: it would not come again */
    if (!sent && (guard_explain(info->si_addr, &fault) || harden_explain(info->si_addr, &fault))) {
        fault.call = arch_access(context);
        fault.touched = (const char *)arch_interrupted_at(context) + 1;
        fault_report(&fault);
    }
    signal(signal_number, SIG_DFL);
    if (sent)
        raise(signal_number);
    errno = kept;
}

void crash_start(void)
{
    struct sigaction action = {.sa_sigaction = explain, .sa_flags = SA_SIGINFO | SA_ONSTACK}, now;
    if (!debug_on(DEBUG_UAF) && !harden_on(HARDEN_GUARD_PAGES) && options.guard_sample == 0)
        return;
    for (size_t i = 0; i < ARRAY_LENGTH(signals); i++)
        if (sigaction(signals[i], NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
            now.sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
}
