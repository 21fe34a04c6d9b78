/*
 * confined: the ordinary work of a program, for those that do it in odd surroundings.
 *
 * Owns:       nothing that outlives a call.
 * Promises:   confined_work returns true if every block was granted and held what was written, small and large, by this
 *             thread and by others.
 * Guarded by: nothing to guard.
 * Never:      calls the kernel but through malloc, free, and threads.
 */
#ifndef TARN_CONFINED_H
#define TARN_CONFINED_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Random sizes up to 2000, one in 64 up to `largest`; contents checked. */
static inline bool confined_work(unsigned rounds, size_t largest)
{
    enum { HELD = 300 };
    unsigned char *held[HELD] = {NULL};
    size_t size[HELD] = {0};
    uint32_t x = rounds;
    bool good = true;
    for (unsigned n = 0; good && n < rounds; n++) {
        x = x * 1664525 + 1013904223;
        unsigned h = (x >> 10) % HELD;
        if (held[h] != NULL)
            good = held[h][0] == (unsigned char)h && held[h][size[h] - 1] == (unsigned char)h;
        size[h] = 1 + (n % 64 == 0 ? (x >> 8) % largest : (x >> 8) % 2000);
        if (n % 3 == 0) {
            free(held[h]);
            held[h] = NULL;
        }
        unsigned char *p = realloc(held[h], size[h]);
        if (p == NULL)
            good = false;
        else
            held[h] = memset(p, (int)h, size[h]);
    }
    for (unsigned h = 0; h < HELD; h++)
        free(held[h]);
    return good;
}

static inline void *confined_thread(void *context)
{
    return confined_work(20000, 200000) ? context : NULL;
}

/* The same by `n` threads at once, at most 64; those that can't be made are not missed. */
static inline bool confined_threads(unsigned n)
{
    pthread_t thread[64];
    unsigned made = 0;
    bool good = true;
    while (made < n && pthread_create(&thread[made], NULL, confined_thread, &made) == 0)
        made++;
    for (unsigned t = 0; t < made; t++) {
        void *result = NULL;
        pthread_join(thread[t], &result);
        good = good && result != NULL;
    }
    return good;
}

#endif
