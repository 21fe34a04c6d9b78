/*
 * An ordinary program with threads, births and forks, of whose system calls the Nth is refused, for one N after another:
 *
 *     refused CALL COUNT RUNS    CALL: one of refuser.h's, or all; COUNT of them in a row, 0: all from there on;
 *                                RUNS children, from the first call of a run to its last
 *
 * What is refused is NULL and ENOMEM, what was allocated stays as it was, and when the kernel is well again, so is the
 * program. Says how many calls a run makes and how many were refused.
 */
#include "refuser.h"
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>

enum { THREADS = 2, STEPS = 120, HELD = 30, LARGE = 3 << 20 };

extern void tarn_gc(void) __attribute__((weak)); /* only tarn has it */

static unsigned long nulls;

static unsigned next(unsigned *seed)
{
    return (*seed = *seed * 1664525 + 1013904223) >> 8;
}

/* The answer of a call of the family: if it is NULL, errno says so; else it is as it was. */
static void *answer(void *p)
{
    int error = errno;
    if (p == NULL) {
        __atomic_fetch_add(&nulls, 1, __ATOMIC_RELAXED);
        expect(error == ENOMEM);
    } else if (tarn_gc != NULL) {
        expect(error == ERRNO_MARK);
    }
    errno = ERRNO_MARK;
    return p;
}

struct block {
    unsigned char *at;
    size_t size;
    unsigned char fill;
};

static void check_block(const struct block *b, const unsigned char *at, size_t size)
{
    for (size_t k = 0; k < size; k += 1 + k / 63)
        if (at[k] != b->fill)
            abort(); /* spoilt: nothing else matters */
}

/* Writes what check_block reads: whole blocks would be page faults, and three times the time. */
static void set(struct block *b, void *p, size_t size, unsigned fill)
{
    if (p == NULL)
        return;
    *b = (struct block){p, size, (unsigned char)fill};
    for (size_t k = 0; k < size; k += 1 + k / 63)
        b->at[k] = b->fill;
}

static void take(struct block *b, size_t size, unsigned way)
{
    void *p = NULL;
    size_t align = 64 << way % 7;
    if (way % 4 == 0) {
        int result = posix_memalign(&p, align, size);
        expect(result == (p == NULL ? ENOMEM : 0));
        errno = p == NULL ? ENOMEM : errno;
        answer(p);
        expect((uintptr_t)p % align == 0);
    } else if (way % 4 == 1) {
        unsigned char *zeroed = p = answer(calloc(1, size));
        for (size_t k = 0; p != NULL && k < size; k += 1 + k / 63)
            expect(zeroed[k] == 0);
    } else {
        p = answer(malloc(size));
    }
    set(b, p, size, way);
}

static void resize(struct block *b, size_t size, unsigned fill)
{
    check_block(b, b->at, b->size);
    unsigned char *p = answer(realloc(b->at, size));
    check_block(b, p != NULL ? p : b->at, p != NULL && size < b->size ? size : b->size);
    set(b, p, size, fill);
}

static void give(struct block *b)
{
    check_block(b, b->at, b->size);
    free(b->at);
    expect(errno == ERRNO_MARK || tarn_gc == NULL);
    b->at = NULL;
}

static void *be_brief(void *context)
{
    struct block b = {NULL};
    errno = ERRNO_MARK;
    take(&b, 100 + *(unsigned *)context % 5000, *(unsigned *)context | 2);
    return b.at; /* for the other to free */
}

static int create(pthread_t *thread, void *(*run)(void *), void *context)
{
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    int result = pthread_create(thread, &small, run, context);
    pthread_attr_destroy(&small);
    return result;
}

static void give_birth(unsigned seed)
{
    pthread_t thread;
    void *left = NULL;
    int result = create(&thread, be_brief, &seed);
    if (result != 0)
        __atomic_fetch_add(&nulls, 1, __ATOMIC_RELAXED);
    else if (pthread_join(thread, &left) == 0)
        free(left);
    errno = ERRNO_MARK;
}

static void fork_once(struct block *held)
{
    pid_t child = fork();
    if (child == 0) {
        errno = ERRNO_MARK;
        for (unsigned h = 0; h < HELD; h++)
            if (held[h].at != NULL)
                give(&held[h]);
        for (unsigned h = 0; h < HELD; h++)
            take(&held[h], 10 << h % 14, h);
        _exit(victim_verdict());
    }
    int status = 0;
    expect(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    errno = ERRNO_MARK;
}

/* Two blocks that are in each other's way, so that they move. */
static void grow(unsigned fill)
{
    struct block pair[2] = {{NULL}};
    take(&pair[0], LARGE / 3, fill | 2);
    take(&pair[1], LARGE / 3, fill | 2);
    for (size_t size = LARGE / 2; size < 4 * LARGE; size *= 2)
        for (int i = 0; i < 2; i++)
            if (pair[i].at != NULL)
                resize(&pair[i], size, fill + (unsigned)i);
    for (int i = 0; i < 2; i++)
        if (pair[i].at != NULL)
            give(&pair[i]);
}

static void *work(void *context)
{
    struct block held[HELD] = {{NULL}};
    unsigned seed = *(unsigned *)context;
    errno = ERRNO_MARK;
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned dice = next(&seed) % 100, way = next(&seed);
        struct block *b = &held[next(&seed) % HELD];
        size_t size = 1 + next(&seed) % (dice % 5 == 0 ? LARGE : dice % 5 == 1 ? 60000 : 3000);
        if (dice == 0)
            fork_once(held);
        else if (dice < 3)
            malloc_trim(0), errno = ERRNO_MARK;
        else if (dice < 6)
            give_birth(way);
        else if (dice == 6)
            grow(way);
        else if (b->at == NULL)
            take(b, size, way);
        else if (dice < 50)
            resize(b, size, way);
        else
            give(b);
    }
    for (unsigned h = 0; h < HELD; h++)
        if (held[h].at != NULL)
            give(&held[h]);
    return context;
}

static void work_all(void)
{
    pthread_t thread[THREADS];
    unsigned seed[THREADS + 1] = {11, 22, 33};
    bool made[THREADS];
    for (unsigned t = 0; t < THREADS; t++)
        if (!(made[t] = create(&thread[t], work, &seed[t]) == 0))
            nulls++;
    work(&seed[THREADS]);
    for (unsigned t = 0; t < THREADS; t++)
        if (made[t])
            pthread_join(thread[t], NULL);
}

static void act(void)
{
    refuser->on = true;
    work_all();
    refuser->on = false;
    nulls = 0;
    work_all();
    expect(nulls == 0); /* it has recovered */
    malloc_trim(0);
    _exit(victim_verdict());
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    const char *name = strcmp(argv[1], "all") == 0 ? NULL : argv[1];
    unsigned long count = strtoul(argv[2], NULL, 10), runs = strtoul(argv[3], NULL, 10), refused = 0;
    expect(refuser_run(act, name, 0, 0) == 0);
    unsigned long calls = refuser->calls;
    runs = runs < calls ? runs : calls;
    for (unsigned long i = 0; i < runs && victim_failures == 0; i++) {
        unsigned long n = i * calls / runs;
        int status = refuser_run(act, name, n, count > 0 ? count : -1ul);
        if (status != 0) {
            victim_failures++;
            fprintf(stderr, "%s %lu of %lu refused: status %d\n", argv[1], n, calls, status);
        }
        refused += refuser->refused;
    }
    printf("%s: %lu calls, %lu runs, %lu refused\n", argv[1], calls, runs, refused);
    return victim_verdict();
}
