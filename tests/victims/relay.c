/*
 * relay TIMES: threads that have just given up their caches (SIGQUIT) make others, which allocate and end: so each of
 * these may be the last one with a cache, and takes our helper with it, while the next are made. Must come to its end;
 * prints "done".
 */
#include "victim.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { EMPLOYERS = 3 };

/* Tarn's calls of these, when it sends its helper away, and before it makes one: both take their time. */
int sem_post(sem_t *sem)
{
    static int (*real)(sem_t *);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "sem_post");
    usleep(1000);
    return real(sem);
}

int pthread_attr_setstacksize(pthread_attr_t *attr, size_t size)
{
    static int (*real)(pthread_attr_t *, size_t);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_attr_setstacksize");
    usleep(1000);
    return real(attr, size);
}

static void *work(void *unused)
{
    free(malloc(100));
    return unused;
}

static void give_up_cache(void)
{
    raise(SIGQUIT);
    malloc_trim(0); /* it is counted until it is empty */
}

static void *employ(void *times)
{
    for (long i = 0; i < *(long *)times; i++) {
        pthread_t thread;
        give_up_cache();
        expect(pthread_create(&thread, NULL, work, NULL) == 0 && pthread_join(thread, NULL) == 0);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    long times = argc > 1 ? atol(argv[1]) : 300;
    pthread_t thread[EMPLOYERS];
    for (int i = 0; i < EMPLOYERS; i++)
        pthread_create(&thread[i], NULL, employ, &times);
    give_up_cache();
    for (int i = 0; i < EMPLOYERS; i++)
        pthread_join(thread[i], NULL);
    puts("done");
    return victim_verdict();
}
