/*
 * Forks while 8 threads allocate.
 *   storm N      N times: the child allocates, frees, resizes, starts a thread that does, and exits; its blocks and
 *                the parent's are what they were; a child that has not ended in 20 seconds is counted as hung
 *   nested N     forks from all threads at once, and forks in forks
 *   spawn N      posix_spawn, vfork and exec, popen, system
 *   handlers N   with atfork handlers that allocate; add libfork_early.so to LD_PRELOAD for such that run when all
 *                of malloc's locks are held
 */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, HELD = 256, BOUND = 20 /* seconds for one child */ };

extern char **environ;
static atomic_bool stop;
static atomic_ulong wrong, turns;

struct held {
    unsigned char *block[HELD];
    size_t size[HELD];
};

static void drop(struct held *h, unsigned i)
{
    unsigned char fill = (unsigned char)(h->size[i] % 251);
    for (size_t k = 0; k < h->size[i]; k += 13)
        if (h->block[i][k] != fill) {
            atomic_fetch_add(&wrong, 1);
            break;
        }
    free(h->block[i]);
    h->block[i] = NULL;
    h->size[i] = 0;
}

static void churn(struct held *h, unsigned *seed, unsigned rounds)
{
    for (unsigned n = 0; n < rounds; n++) {
        unsigned i = (unsigned)rand_r(seed) % HELD;
        drop(h, i);
        h->size[i] = 1 + (unsigned)rand_r(seed) % (rand_r(seed) % 50 == 0 ? 200000 : 900);
        h->block[i] = malloc(h->size[i]);
        if (h->block[i] == NULL)
            abort();
        memset(h->block[i], (int)(h->size[i] % 251), h->size[i]);
    }
}

static void drop_all(struct held *h)
{
    for (unsigned i = 0; i < HELD; i++)
        drop(h, i);
}

static void *storm_thread(void *context)
{
    unsigned seed = (unsigned)(size_t)context + 1;
    struct held *h = calloc(1, sizeof *h);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        churn(h, &seed, 50);
        atomic_fetch_add_explicit(&turns, 50, memory_order_relaxed);
    }
    drop_all(h);
    free(h);
    return NULL;
}

static void *child_thread(void *context)
{
    struct held *h = calloc(1, sizeof *h);
    unsigned seed = 4711;
    churn(h, &seed, 200);
    drop_all(h);
    free(h);
    return malloc(100);
}

/* What a child does with its heap; returns its exit status. */
static int live_as_child(struct held *inherited, unsigned seed)
{
    pthread_t thread;
    void *result = NULL;
    alarm(BOUND);
    churn(inherited, &seed, 300);
    char *grown = NULL;
    for (size_t n = 1; n < 300000; n *= 3) {
        grown = realloc(grown, n);
        if (grown == NULL)
            return 2;
        grown[n - 1] = 'x';
    }
    free(grown);
    if (pthread_create(&thread, NULL, child_thread, NULL) != 0)
        return 3;
    pthread_join(thread, &result);
    free(result);
    drop_all(inherited);
    return result == NULL ? 4 : atomic_load(&wrong) == 0 ? 0 : 5;
}

static atomic_ulong hung; /* children that the watchdog ended */

static bool ended_well(pid_t child)
{
    int status = -1;
    if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    hung += WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
    fprintf(stderr, "child: %s %d\n", WIFSIGNALED(status) ? "signal" : "status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return false;
}

static void fork_children(int n, unsigned seed)
{
    struct held *h = calloc(1, sizeof *h);
    for (int i = 0; i < n; i++) {
        churn(h, &seed, 100);
        pid_t child = fork();
        if (child == 0)
            _exit(live_as_child(h, seed));
        if (!ended_well(child))
            atomic_fetch_add(&wrong, 1);
    }
    drop_all(h);
    free(h);
}

static void *forking_thread(void *context)
{
    fork_children(*(int *)context, 99);
    return NULL;
}

static void nested(int n)
{
    pthread_t thread[4];
    for (unsigned t = 0; t < 4; t++)
        pthread_create(&thread[t], NULL, forking_thread, &n);
    for (int i = 0; i < n; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(BOUND);
            free(malloc(1000));
            pid_t grandchild = fork();
            if (grandchild == 0) {
                struct held h = {0};
                _exit(live_as_child(&h, 5));
            }
            free(malloc(100000));
            _exit(!ended_well(grandchild));
        }
        expect(ended_well(child));
    }
    for (unsigned t = 0; t < 4; t++)
        pthread_join(thread[t], NULL);
}

static void spawn(int n)
{
    char *const command[] = {"/bin/sh", "-c", "exit 0", NULL};
    for (int i = 0; i < n; i++) {
        pid_t child;
        expect(posix_spawn(&child, command[0], NULL, NULL, command, environ) == 0 && ended_well(child));
        child = vfork();
        if (child == 0) {
            execve(command[0], command, environ);
            _exit(127);
        }
        expect(ended_well(child));
        char line[32] = "";
        FILE *pipe = popen("echo hello", "r");
        expect(pipe != NULL && fgets(line, sizeof line, pipe) != NULL && strcmp(line, "hello\n") == 0);
        expect(pipe != NULL && pclose(pipe) == 0);
        expect(WEXITSTATUS(system("exit 3")) == 3);
    }
}

static unsigned handled;

static void handler(void)
{
    char *small = malloc(40), *middle = calloc(1, 5000), *large = malloc(300000);
    small[39] = middle[4999] = large[299999] = 'h';
    large = realloc(large, 900000);
    if (small[39] != 'h' || middle[4999] != 'h' || large[299999] != 'h')
        abort();
    free(small);
    free(middle);
    free(large);
    handled++;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int n = argc > 2 ? atoi(argv[2]) : 10;
    pthread_t thread[THREADS];
    if (strcmp(mode, "handlers") == 0)
        pthread_atfork(handler, handler, handler);
    for (size_t t = 0; t < THREADS; t++)
        pthread_create(&thread[t], NULL, storm_thread, (void *)t);
    if (strcmp(mode, "storm") == 0 || strcmp(mode, "handlers") == 0)
        fork_children(n, 1);
    else if (strcmp(mode, "nested") == 0)
        nested(n);
    else if (strcmp(mode, "spawn") == 0)
        spawn(n);
    else
        return 2;
    expect(handled == (strcmp(mode, "handlers") == 0 ? 2u * (unsigned)n : 0));
    atomic_store(&stop, true);
    for (unsigned t = 0; t < THREADS; t++)
        pthread_join(thread[t], NULL);
    expect(atomic_load(&wrong) == 0 && atomic_load(&hung) == 0 && atomic_load(&turns) > 0);
    printf("done\n");
    return victim_verdict();
}
