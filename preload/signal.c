#include "signal.h"

#include "arch.h"
#include "base.h"
#include "gc.h"
#include "options.h"
#include "out.h"
#include "stats.h"
#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Where TARN_DUMP is a descriptor: which file it was at start. */
static struct out_file target = {.fd = -1};

/*
 * What a dump works on. Not on the stack: the signal may arrive on an alternate stack of a few KiB. Whoever
 * dumps has put its process id in `dumper`; a fork's child that finds another one there knows that the dumper
 * did not come along.
 */
static struct {
    int dumper; /* 0: nobody */
    char path[1024];
    char occasion[48]; /* the end of the heading */
} scene;

/*
 * A program that closes descriptor 2 on its way out (all of coreutils does) would leave the dump at exit
 * nowhere to go, so where one is wished for, we keep a duplicate, high up where no program counts on a
 * number.
 */
static int keep_for_exit(int fd)
{
    enum { HIGH = 200 };
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, HIGH);
    return copy >= 0 ? copy : fd;
}

/* The descriptor to write to, or -1. Without O_NONBLOCK a pipe that nobody reads would hang the program. */
static int open_target(void)
{
    if (options.dump_fd >= 0)
        return out_is_same(&target) ? target.fd : -1;
    if (!options_dump_path(scene.path, sizeof scene.path))
        return -1;
    return open(scene.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
}

static void close_target(int fd)
{
    if (options.dump_fd < 0)
        close(fd);
}

/* False: another dump is on, in this process. */
static bool enter_scene(void)
{
    int self = (int)getpid(), other = __atomic_load_n(&scene.dumper, __ATOMIC_RELAXED);
    return other != self && __atomic_compare_exchange_n(&scene.dumper, &other, self, false, __ATOMIC_ACQUIRE,
                                                        __ATOMIC_RELAXED);
}

static void leave_scene(void)
{
    __atomic_store_n(&scene.dumper, 0, __ATOMIC_RELEASE);
}

static COLD const char *name_occasion(int signal)
{
    if (signal == 0)
        return "as the process exits";
    const char *name = sigabbrev_np(signal);
    struct out o;
    out_start(&o, -1);
    if (name != NULL)
        out_print(&o, "SIG%s also flushes them", name);
    else
        out_print(&o, "Signal %d also flushes them", signal);
    size_t length = o.used < sizeof scene.occasion ? o.used : sizeof scene.occasion - 1;
    memcpy(scene.occasion, o.text, length);
    scene.occasion[length] = 0;
    return scene.occasion;
}

static COLD void dump_to_target(int signal)
{
    int fd = open_target();
    if (fd < 0)
        return;
    struct query query;
    query_parse(options.pools, &query);
    stats_print(fd, name_occasion(signal), &query);
    close_target(fd);
}

/* For a signal, or 0: at exit. open, read and close are cancellation points, and the place where a signal struck may not
   be one. */
static COLD void dump(int signal)
{
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    if (enter_scene()) {
        dump_to_target(signal);
        leave_scene();
    }
    pthread_setcancelstate(cancel, &cancel);
}

/* Was the thread interrupted outside of tarn? Not in code of ours, nor in what our slow path called. */
static bool outside(const void *context)
{
    extern const char __ehdr_start[],
        etext[]; /* the linker's: where this library begins, where its code ends */
    uintptr_t at = arch_interrupted_at(context);
    return thread_busy == 0 && (at < (uintptr_t)__ehdr_start || at >= (uintptr_t)etext);
}

/* The cache of a thread that then idles would pin slabs for as long as it does: so it leaves it behind. */
static COLD void answer(int signal, siginfo_t *info, void *context)
{
    (void)info;
    int kept = errno;
    dump(signal);
    if (outside(context))
        thread_abandon();
    gc_request();
    errno = kept;
}

/* Whose is it now? A handler stays; ignored (nohup, a shell's background job) stays unless the user named it.
 */
static bool ours_to_take(int signal)
{
    struct sigaction now;
    if (signal == 0 || sigaction(signal, NULL, &now) != 0 || (now.sa_flags & SA_SIGINFO))
        return false;
    return now.sa_handler == SIG_DFL || (now.sa_handler == SIG_IGN && options.signal_named);
}

void signal_start(void)
{
    out_remember(&target, options.dump_fd);
    if (options.stats_at_exit && target.fd >= 0)
        target.fd = keep_for_exit(target.fd);
    if (!ours_to_take(options.signal))
        return;
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    sigaction(options.signal, &action, NULL);
}

__attribute__((destructor)) static void dump_at_exit(void)
{
    if (options.stats_at_exit)
        dump(0);
}
