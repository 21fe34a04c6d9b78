/*
 * A signal handler that blocks no signal strikes pthread_create, and frees much there: whoever made a thread of his own for
 * that would find locks of pthread_create's held. Says how many threads there are then, and "done".
 */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_calloc(size_t count, size_t size);

enum { BLOCKS = 200, BYTES = 200000 };
static void *block[BLOCKS];
static volatile bool within;

/* pthread_create's way to memory for a thread's variables. */
void *calloc(size_t count, size_t size)
{
    if (within)
        raise(SIGUSR1);
    return __libc_calloc(count, size);
}

static size_t threads(void)
{
    return victim_memory("Threads: %zu") / 1024;
}

static void free_much(int signal)
{
    (void)signal;
    within = false;
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
    printf("%zu threads\n", threads());
}

static void *wait_for_end(void *context)
{
    pthread_mutex_lock(context);
    pthread_mutex_unlock(context);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    pthread_mutex_t end = PTHREAD_MUTEX_INITIALIZER;
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = free_much, .sa_flags = SA_NODEFER}, NULL);
    for (unsigned i = 0; i < BLOCKS; i++)
        memset(block[i] = malloc(BYTES), 1, BYTES);
    threads();
    pthread_mutex_lock(&end);
    within = true;
    expect(pthread_create(&thread, NULL, wait_for_end, &end) == 0);
    expect(!within);
    pthread_mutex_unlock(&end);
    pthread_join(thread, NULL);
    printf("done\n");
    return victim_verdict();
}
