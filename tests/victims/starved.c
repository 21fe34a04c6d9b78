/* Threads that make their first requests when there is no memory left. Each is refused, and nothing else happens: "done". */
#include "victim.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { THREADS = 4, REQUESTS = 1000 };

static pthread_barrier_t barrier;

static void *make_requests(void *unused)
{
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < REQUESTS; i++)
        free(malloc(100));
    return unused;
}

int main(void)
{
    pthread_t thread[THREADS];
    struct rlimit limit;
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, make_requests, NULL);
    pthread_barrier_wait(&barrier);
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = 1 << 20; /* there is more already */
    setrlimit(RLIMIT_AS, &limit);
    for (size_t size = 1 << 20; size >= 16; size /= 2)
        while (malloc(size) != NULL)
            continue;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    write(1, "done\n", 5);
    _exit(0);
}
