/*
 * A server's life in small: leaks SECONDS [THREADS]. A steady random load of mixed sizes, large blocks too, on slots
 * shared by all threads; what lives stays the same in all, so what is resident must too. The first third is for
 * growing up; then the highest of the second third and of the last one are compared.
 */
#include "victim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 20000, THREADS_MAX = 16, TURNS_LEAST = 200000, PAUSES_MOST = 3000 };

static _Atomic(unsigned char *) slot[SLOTS];
static atomic_bool stop;
static atomic_ulong turns;

static size_t resident(void)
{
    return victim_memory("RssAnon: %zu");
}

static uint32_t next(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

/* Mostly small; of slots 0..63 one in each is large, so that the load does not drift. */
static size_t choose_size(uint32_t *x, unsigned i)
{
    if (i < 64)
        return 40000 + next(x) % 900000;
    if (i < 1000)
        return 1000 + next(x) % 30000;
    return 16 + next(x) % (next(x) % 8 == 0 ? 3000 : 300);
}

static unsigned char *renew(unsigned char *old, size_t size, uint32_t *x)
{
    unsigned char *p;
    switch (next(x) % 8) {
    case 0:
        p = realloc(old, size);
        break;
    case 1:
        free(old);
        p = calloc(1, size);
        break;
    case 2:
        free(old);
        if (posix_memalign((void **)&p, 64, size) != 0)
            p = NULL;
        break;
    default:
        free(old);
        p = malloc(size);
    }
    if (p == NULL)
        abort();
    memset(p, 1, size);
    return p;
}

static void *work(void *context)
{
    uint32_t x = 2463534242u + (uint32_t)(size_t)context * 7919;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        unsigned i = next(&x) % SLOTS;
        if (next(&x) % 500 == 0)
            i = next(&x) % 64;
        unsigned char *old = atomic_exchange(&slot[i], NULL);
        old = atomic_exchange(&slot[i], renew(old, choose_size(&x, i), &x));
        free(old); /* another thread was faster */
        atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
    }
    return NULL;
}

/* For so long, and for longer where the machine is slow: then few slots would be renewed. */
static size_t highest_of(double seconds)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    unsigned long before = atomic_load(&turns);
    size_t highest = 0;
    for (int i = 0;
         i < (int)(seconds * 100) || (i < PAUSES_MOST && atomic_load(&turns) < before + TURNS_LEAST); i++) {
        nanosleep(&pause, NULL);
        size_t now = resident();
        highest = now > highest ? now : highest;
    }
    return highest;
}

int main(int argc, char **argv)
{
    double third = (argc > 1 ? atof(argv[1]) : 5) / 3;
    size_t threads = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    pthread_t thread[THREADS_MAX];
    if (threads > THREADS_MAX)
        return 2;
    for (size_t t = 0; t < threads; t++)
        pthread_create(&thread[t], NULL, work, (void *)t);
    size_t first = highest_of(third), second = highest_of(third), last = highest_of(third);
    atomic_store(&stop, true);
    for (size_t t = 0; t < threads; t++)
        pthread_join(thread[t], NULL);
    printf("%zu, %zu, %zu KiB; %lu turns\n", first / 1024, second / 1024, last / 1024, atomic_load(&turns));
    expect(last <= second + second / 10); /* the sizes drawn at one moment alone make 5 % now and then */
    expect(atomic_load(&turns) > TURNS_LEAST);
    return victim_verdict();
}
