/*
 * victim: what the small programs that run under tarn share.
 *
 * Owns:       how many expectations failed.
 * Promises:   a failed expectation prints its line and text, and the program ends with status 1.
 * Guarded by: nothing: one thread expects.
 * Never:      lets the compiler see what becomes of a block: build with -fno-builtin.
 */
#ifndef TARN_VICTIM_H
#define TARN_VICTIM_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>

static int victim_failures;

#define expect(condition)                                                                                    \
    ((condition) ? (void)0                                                                                   \
                 : (void)(victim_failures++, fprintf(stderr, "%s:%d: expected: %s (errno %d)\n", __FILE__,   \
                                                     __LINE__, #condition, errno)))

/* The exit status of main: 0 if everything was as expected. */
static inline int victim_verdict(void)
{
    return victim_failures != 0;
}

/* Bytes that /proc/self/status tells: `line` reads its KiB, as in "VmHWM: %zu". 0: it does not say. */
static inline size_t victim_memory(const char *line)
{
    char text[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(text, sizeof text, file) != NULL)
        if (sscanf(text, line, &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

/* mlockall, where it can do no harm: within a container's RLIMIT_MEMLOCK of 8 MiB it is granted, and libc itself crashes. */
static inline bool victim_lock_all(int what)
{
    const size_t plenty = (size_t)1 << 30;
    void *place = mmap(NULL, plenty, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
    return place != MAP_FAILED && munmap(place, plenty) == 0 && mlockall(what) == 0;
}

/* What errno is set to before a call that must leave it alone. */
enum { ERRNO_MARK = 12321 };

#endif
