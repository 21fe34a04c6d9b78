/*
 * Threads that want more than there is: all run into TARN_LIMIT, collect, wait for each other's collection and try
 * again. The limit is never passed by more than nothing, who gets NULL gets it after a collection, and when all is
 * given back, all of it can be had again.
 */
#include "../tools/random.h"
#include "gc.h"
#include "heap.h"
#include "large.h"
#include "region.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS = 4, HELD = 4000, LIMIT = 16 << 20 };

static bool stop;
static uint64_t served, refused;

static void fail(const char *what)
{
    fprintf(stderr, "stress: %s\n", what);
    abort();
}

static void check_limit(void)
{
    struct region_stats s;
    region_stats(&s);
    if (s.taken > LIMIT)
        fail("the limit was passed");
}

/* Takes until it is refused, gives some or all back, takes another size. */
static void *want(void *number)
{
    static __thread unsigned char *held[HELD];
    uint64_t seed = 31 + (uintptr_t)number;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        size_t size = (size_t)16 << random_below(&seed, 14), got = 0, start = random_below(&seed, HELD);
        for (size_t i = 0; i < HELD; i++) {
            unsigned char **place = &held[(start + i) % HELD];
            if (*place != NULL)
                continue;
            if ((*place = heap_alloc(size)) == NULL) {
                __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
                break;
            }
            memset(*place, (int)(uintptr_t)number, size < 64 ? size : 64);
            got++;
        }
        __atomic_fetch_add(&served, got, __ATOMIC_RELAXED);
        check_limit();
        for (size_t i = 0, some = random_below(&seed, 3); i < HELD; i++) {
            if (held[i] == NULL || random_below(&seed, 8) < some)
                continue;
            if (held[i][0] != (unsigned char)(uintptr_t)number || held[i][15] != held[i][0])
                fail("a block was spoilt");
            heap_free(held[i], "free");
            held[i] = NULL;
        }
    }
    for (size_t i = 0; i < HELD; i++)
        heap_free(held[i], "free");
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t thread[THREADS];
    long ms = count > 1 ? atol(arguments[1]) : 1500;
    char limit[32];
    snprintf(limit, sizeof limit, "%d", LIMIT);
    setenv("TARN_LIMIT", limit, 1);
    heap_start();
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, want, (void *)(i + 1));
    do
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    while (__atomic_load_n(&refused, __ATOMIC_RELAXED) == 0); /* else the limit tests nothing */
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    heap_check();
    void *nearly_all = heap_alloc(LIMIT - (LIMIT >> 3));
    if (nearly_all == NULL)
        fail("memory is lost");
    heap_free(nearly_all, "free");
    printf("stress: %llu served, %llu refused\n", (unsigned long long)served, (unsigned long long)refused);
    return 0;
}
