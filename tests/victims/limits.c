/*
 * A program that lives within a limit, set by whoever starts it (RLIMIT_AS, RLIMIT_DATA, TARN_LIMIT).
 *   work SIZE          a small ordinary workload with some blocks of SIZE; prints a sum that depends on every byte
 *   exhaust SIZE       allocates until NULL: ENOMEM, and no harm; frees all; can allocate again, as much
 *   refuse             each call of the family at the limit: NULL or ENOMEM, the old block untouched
 *   refill A B         fills with blocks of A until NULL, frees all in random order, fills with blocks of B: nearly as
 *                      many bytes must fit
 *   raise              started within a limit that may be too low for any malloc, raises it: then all can be had
 *   threads A B        the same with 8 threads at once, the limit in bytes in argv[4]: nobody may see a NULL while
 *                      there is memory
 * Prints "peak N", its most bytes resident.
 */
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Blocks in a chain, so that the books need no memory of their own. */
struct block {
    struct block *next;
    size_t size;
};

static size_t peak_resident(void)
{
    return victim_memory("VmHWM: %zu");
}

static void write_all(void *p, size_t n, unsigned value)
{
    memset(p, (int)value, n);
}

static struct block *chain_one(struct block *chain, size_t size)
{
    struct block *b = malloc(size);
    if (b == NULL)
        return NULL;
    write_all(b, size, 0xA5);
    b->next = chain;
    b->size = size;
    return b;
}

/* Adds blocks until malloc fails; returns their bytes, as many as they are good for. */
static size_t fill(struct block **chain, size_t size)
{
    size_t bytes = 0;
    errno = 0;
    for (struct block *b; (b = chain_one(*chain, size)) != NULL; bytes += malloc_usable_size(b))
        *chain = b;
    expect(errno == ENOMEM);
    return bytes;
}

static void free_chain(struct block *chain)
{
    while (chain != NULL) {
        struct block *next = chain->next;
        free(chain);
        chain = next;
    }
}

/* Deals the chain on 4096 heaps and frees heap after heap: neighbours in memory part in time. */
static void free_scattered(struct block *chain)
{
    static struct block *heap[4096];
    uint32_t x = 1;
    while (chain != NULL) {
        struct block *next = chain->next;
        x = x * 1664525 + 1013904223;
        chain->next = heap[x >> 20];
        heap[x >> 20] = chain;
        chain = next;
    }
    for (unsigned i = 0; i < 4096; i++) {
        free_chain(heap[i]);
        heap[i] = NULL;
    }
}

static int work(size_t largest)
{
    enum { HELD = 2000 };
    static unsigned char *held[HELD];
    static size_t size[HELD];
    uint64_t sum = 0;
    uint32_t x = 7;
    for (unsigned i = 0; i < 60000; i++) {
        x = x * 1664525 + 1013904223;
        unsigned h = (x >> 8) % HELD;
        for (size_t k = 0; k < size[h]; k += 61)
            sum = sum * 31 + held[h][k];
        free(held[h]);
        size[h] = i % 1000 == 0 ? largest : 1 + (x >> 20) % 600;
        held[h] = malloc(size[h]);
        if (held[h] == NULL)
            return printf("no memory at %u\n", i), 1;
        write_all(held[h], size[h], i);
    }
    printf("%llx\n", (unsigned long long)sum);
    return 0;
}

static void exhaust(size_t size)
{
    struct block *chain = NULL;
    size_t first = fill(&chain, size);
    expect(first > 0);
    expect(malloc(size) == NULL && malloc(size) == NULL);
    free_chain(chain);
    chain = NULL;
    size_t again = fill(&chain, size);
    expect(again >= first / 100 * 95);
    free_chain(chain);
    fprintf(stderr, "first %zu, again %zu\n", first, again);
}

static void refuse(void)
{
    struct block *chain = NULL;
    char *kept = malloc(5000);
    write_all(kept, 5000, 'k');
    fill(&chain, 1 << 20);
    fill(&chain, 30000);
    fill(&chain, 5000); /* the class that `kept` would grow out of is not full, but the next is */
    errno = 0;
    expect(realloc(kept, 200 << 20) == NULL && errno == ENOMEM);
    errno = 0;
    expect(calloc(4 << 20, 16) == NULL && errno == ENOMEM);
    errno = 0;
    expect(aligned_alloc(4096, 64 << 20) == NULL && errno == ENOMEM);
    void *p = &chain;
    errno = ERRNO_MARK;
    expect(posix_memalign(&p, 4096, 64 << 20) == ENOMEM && p == &chain && errno == ERRNO_MARK);
    errno = 0;
    expect(reallocarray(kept, 64 << 20, 4) == NULL && errno == ENOMEM);
    for (unsigned i = 0; i < 5000; i++)
        if (kept[i] != 'k') {
            expect(!"the block that could not grow is as it was");
            break;
        }
    free_chain(chain);
    char *grown = realloc(kept, 8 << 20);
    expect(grown != NULL && grown[4999] == 'k');
    free(grown);
}

static void refill(size_t a, size_t b)
{
    struct block *chain = NULL;
    size_t first = fill(&chain, a);
    free_scattered(chain);
    chain = NULL;
    size_t second = fill(&chain, b);
    free_scattered(chain);
    fprintf(stderr, "%zu bytes in blocks of %zu, then %zu in blocks of %zu\n", first, a, second, b);
    expect(second >= first / 10 * 9);
}

/* Exits with 3 if something was refused before. */
static void raise_limit(void)
{
    bool refused = malloc(100) == NULL || malloc(30000) == NULL || malloc(300000) == NULL;
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = limit.rlim_max;
    expect(setrlimit(RLIMIT_AS, &limit) == 0);
    expect(work(100000) == 0);
    char *large = malloc((size_t)1200 << 20);
    expect(large != NULL);
    large[0] = large[((size_t)1200 << 20) - 1] = 'l';
    free(large);
    if (refused && victim_verdict() == 0)
        exit(3);
}

enum { THREADS = 8 };
static size_t share, sizes[2];
static pthread_barrier_t barrier;
static int nulls;

/* All fill together, hand their blocks to the next thread, which frees them, and do so again with the other size. */
static void *fill_share(void *context)
{
    static struct block *handed[THREADS];
    size_t self = (size_t)context;
    for (unsigned turn = 0; turn < 6; turn++) {
        struct block *chain = NULL;
        size_t size = sizes[turn % 2];
        for (size_t bytes = 0; bytes < share; bytes += malloc_usable_size(chain)) {
            struct block *b = chain_one(chain, size);
            if (b == NULL) {
                __atomic_fetch_add(&nulls, 1, __ATOMIC_RELAXED);
                break;
            }
            chain = b;
        }
        handed[self] = chain;
        pthread_barrier_wait(&barrier);
        free_chain(handed[(self + 1) % THREADS]);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void threads(size_t a, size_t b, size_t limit)
{
    pthread_t thread[THREADS];
    share = limit / 10 * 8 / THREADS;
    sizes[0] = a;
    sizes[1] = b;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (size_t t = 0; t < THREADS; t++)
        expect(pthread_create(&thread[t], NULL, fill_share, (void *)t) == 0);
    for (size_t t = 0; t < THREADS; t++)
        pthread_join(thread[t], NULL);
    fprintf(stderr, "%d NULLs\n", nulls);
    expect(nulls == 0);
}

int main(int argc, char **argv)
{
    size_t n[3] = {0};
    for (int i = 2; i < argc && i < 5; i++)
        n[i - 2] = strtoul(argv[i], NULL, 10);
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "work") == 0)
        return work(n[0]);
    if (strcmp(mode, "exhaust") == 0)
        exhaust(n[0]);
    else if (strcmp(mode, "refuse") == 0)
        refuse();
    else if (strcmp(mode, "raise") == 0)
        raise_limit();
    else if (strcmp(mode, "refill") == 0)
        refill(n[0], n[1]);
    else if (strcmp(mode, "threads") == 0)
        threads(n[0], n[1], n[2]);
    else
        return 2;
    printf("peak %zu\n", peak_resident());
    return victim_verdict();
}
