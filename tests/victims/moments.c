/*
 * moments WHEN: SIGQUIT at odd moments of a process's life, which ends with 42 all the same.
 *   constructor          in the program's constructor; libmoments.so has one of a library, and a destructor
 *   child, child-threads to a fork's child, by itself and by its parent, while that gets one too
 *   vfork N              to N children that have our memory, by themselves, while threads allocate
 *   forking N, forking-threads N   from another process, N forks long
 *   thread N             in the destructors of N threads' variables and keys, and by main until each is gone
 *   exit, quick-exit     in atexit handlers, as stdio writes its buffers, in the program's destructor
 *   exit-thread, _exit   ends by exit in a thread, by _exit, while threads allocate
 *   born N HOW           N processes of this program that end so (HOW as the last four, or "main"): sent by this one from
 *                        their constructor on, until they are gone
 *   unborn N             N, once, at any time after execve: it ends with 42 or by the signal, as the moment may be
 */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FINE = 42, BOUND = 60, THREADS = 3, BLOCKS = 200 };

static const char *mode = "";
static int rounds;

static void churn(unsigned seed)
{
    unsigned char *held[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t size = 1 + (unsigned)rand_r(&seed) % (i % 32 == 0 ? 100000 : 800);
        held[i] = malloc(size);
        if (held[i] == NULL)
            abort();
        memset(held[i], (int)i, size);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (held[i][0] != (unsigned char)i)
            abort();
        free(held[i]);
    }
}

static void quit_and_churn(void)
{
    raise(SIGQUIT);
    churn(1);
    raise(SIGQUIT);
}

static void *churn_for_ever(void *unused)
{
    for (unsigned seed = (unsigned)(size_t)unused;; seed++)
        churn(seed);
    return unused;
}

static void start_threads(void)
{
    pthread_t thread;
    for (size_t t = 0; t < THREADS; t++)
        pthread_create(&thread, NULL, churn_for_ever, (void *)t);
}

static bool is_mode(const char *what)
{
    return strcmp(mode, what) == 0;
}

static void pause_us(long us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

/* Between two signals: 10 us to 20 ms. A process that has the next before it has answered the last comes to nothing else. */
static void pause_between(unsigned i)
{
    pause_us(10l << i % 12);
}

/* ---- children ---------------------------------------------------------------------------------------- */

static int status_of(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

static bool is_fine(int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == FINE)
        return true;
    fprintf(stderr, "%s %d\n", WIFSIGNALED(status) ? "signal" : "status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return false;
}

static void be_child(void *inherited)
{
    alarm(BOUND / 2);
    quit_and_churn();
    free(inherited);
    pid_t grandchild = fork();
    if (grandchild == 0) {
        quit_and_churn();
        _exit(FINE);
    }
    _exit(is_fine(status_of(grandchild)) ? FINE : 1);
}

/* Each gets two of its own, some of ours, and we one. */
static bool fork_children(int n)
{
    for (int i = 0; i < n; i++) {
        void *block = malloc(1000);
        pid_t child = fork();
        if (child == 0)
            be_child(block);
        for (int k = 0; k < 5; k++, pause_us(20 * (i % 10)))
            kill(child, SIGQUIT);
        raise(SIGQUIT);
        churn((unsigned)i);
        free(block);
        if (!is_fine(status_of(child)))
            return false;
    }
    return true;
}

static bool vfork_children(int n)
{
    start_threads();
    for (int i = 0; i < n; i++) {
        pid_t child = vfork();
        if (child == 0) {
            raise(SIGQUIT);
            raise(SIGQUIT);
            _exit(FINE);
        }
        churn((unsigned)i);
        if (!is_fine(status_of(child)))
            return false;
    }
    return true;
}

/* Sends them to us until it is killed. */
static pid_t start_sender(void)
{
    pid_t us = getpid(), sender = fork();
    if (sender == 0) {
        alarm(BOUND);
        for (unsigned i = 0; kill(us, SIGQUIT) == 0 && getppid() == us; i++)
            pause_between(i);
        _exit(0);
    }
    return sender;
}

static bool fork_under_fire(int n)
{
    pid_t sender = start_sender();
    bool good = fork_children(n);
    kill(sender, SIGKILL);
    return status_of(sender) == SIGKILL && good;
}

/* ---- threads' ends ----------------------------------------------------------------------------------- */

extern int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *library);
extern void *__dso_handle;

enum { KEYS = 4 };
static pthread_key_t keys[KEYS];

static void destroy_variable(void *block)
{
    quit_and_churn();
    free(block);
}

static void destroy_value(void *block)
{
    quit_and_churn();
    char *rest = block;
    if (*rest-- > 0) /* once more, in a later round */
        pthread_setspecific(keys[0], memset(malloc(10), rest[1] - 1, 10));
    free(block);
}

static void *die(void *unused)
{
    churn(3);
    for (int k = 0; k < KEYS; k++)
        pthread_setspecific(keys[k], memset(malloc(10), k, 10));
    __cxa_thread_atexit_impl(destroy_variable, malloc(10), &__dso_handle);
    return unused;
}

static void end_threads(int n)
{
    for (int k = 0; k < KEYS; k++)
        pthread_key_create(&keys[k], destroy_value);
    for (int i = 0; i < n; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, die, NULL) != 0)
            abort();
        for (unsigned k = (unsigned)i; pthread_tryjoin_np(thread, NULL) == EBUSY; pause_between(k++))
            pthread_kill(thread, SIGQUIT);
    }
}

/* ---- beginnings -------------------------------------------------------------------------------------- */

static char self[4096];
static const char *ending;

/* This program once more, to end as `ending` says. Its constructor writes to the pipe. */
static pid_t bear(int *ready)
{
    int ends[2];
    if (pipe(ends) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 9);
        close(ends[0]);
        close(ends[1]);
        execl(self, self, ending, "1", "ready", NULL);
        _exit(1);
    }
    close(ends[1]);
    *ready = ends[0];
    return child;
}

static bool bear_under_fire(int n)
{
    for (int i = 0; i < n; i++) {
        int ready, status;
        char byte;
        pid_t child = bear(&ready);
        if (read(ready, &byte, 1) != 1)
            return false;
        for (unsigned k = (unsigned)i; waitpid(child, &status, WNOHANG) == 0; pause_between(k++))
            kill(child, SIGQUIT);
        close(ready);
        if (!is_fine(status))
            return false;
    }
    return true;
}

static bool bear_and_shoot(int n)
{
    unsigned seed = 1, fine = 0;
    for (int i = 0; i < n; i++) {
        int ready;
        pid_t child = bear(&ready);
        pause_us(rand_r(&seed) % 4000);
        kill(child, SIGQUIT);
        int status = status_of(child);
        close(ready);
        bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT;
        if (!killed && !is_fine(status))
            return false;
        fine += !killed;
    }
    printf("%u of %d lived\n", fine, n);
    return true;
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
    if (argc > 1)
        mode = argv[1];
    if (argc > 3 && strcmp(argv[3], "ready") == 0 && write(9, "r", 1) != 1)
        abort();
    if (is_mode("constructor"))
        quit_and_churn();
}

/* ---- ends -------------------------------------------------------------------------------------------- */

static bool ends_here(void)
{
    return is_mode("exit") || is_mode("quick-exit");
}

static void at_exit(void)
{
    if (ends_here())
        quit_and_churn();
    churn(7);
}

__attribute__((destructor)) static void end(void)
{
    at_exit();
}

/* A stream whose buffer is written when all else is done. */
static ssize_t write_late(void *unused, const char *text, size_t n)
{
    (void)unused, (void)text;
    at_exit();
    return (ssize_t)n;
}

static void *exit_in_thread(void *unused)
{
    exit(FINE);
    return unused;
}

static int end_process(void)
{
    pthread_t thread;
    FILE *late = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_late});
    fputs("late", late);
    atexit(at_exit);
    at_quick_exit(at_exit);
    churn(5);
    if (is_mode("exit-thread") || is_mode("_exit"))
        start_threads();
    if (is_mode("exit-thread") && pthread_create(&thread, NULL, exit_in_thread, NULL) == 0)
        pthread_join(thread, NULL);
    if (is_mode("quick-exit"))
        quick_exit(FINE);
    if (is_mode("_exit"))
        _exit(FINE);
    return FINE;
}

int main(int argc, char **argv)
{
    rounds = argc > 2 ? atoi(argv[2]) : 1;
    ending = argc > 3 ? argv[3] : "main";
    alarm(BOUND);
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return 77;
    if (is_mode("child-threads") || is_mode("forking-threads"))
        start_threads();
    if (is_mode("child") || is_mode("child-threads"))
        return fork_children(rounds) ? FINE : 1;
    if (is_mode("vfork"))
        return vfork_children(rounds) ? FINE : 1;
    if (is_mode("forking") || is_mode("forking-threads"))
        return fork_under_fire(rounds) ? FINE : 1;
    if (is_mode("thread"))
        end_threads(rounds);
    if (is_mode("born"))
        return bear_under_fire(rounds) ? FINE : 1;
    if (is_mode("unborn"))
        return bear_and_shoot(rounds) ? FINE : 1;
    return end_process();
}
