/*
 * Threads, their births and ends.
 *   alive N      N threads at once, each with memory of its own; after their end the memory is back
 *   short N      N threads, a few at a time, each short; memory does not grow with their number
 *   cross        blocks freed by another thread than the one that allocated them, in a ring; memory does not grow
 *   destructors  malloc and free in key destructors, through all rounds of them, at the end of each of many threads
 *   cancel N     cancellation in a storm of allocation, N times; no lock stays behind
 *   keys         all 1024 keys are taken by the program before its first thread
 *   detached N   detached threads that end while the process ends
 */
#include "victim.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STACK = 128 * 1024, MIB = 1 << 20 };

static pthread_attr_t small_stack;

static size_t resident(void)
{
    return victim_memory("RssAnon: %zu");
}

/* After the end of all threads what they had is back, but for a bound. */
static void expect_back(const char *when, size_t before, size_t peak, size_t most)
{
    malloc_trim(0);
    size_t after = resident();
    printf("%s: %zu KiB before, %zu at most, %zu after\n", when, before / 1024, peak / 1024, after / 1024);
    expect(after <= before + most);
}

/* Sizes of all kinds; contents checked. */
static void use_memory(unsigned seed, unsigned rounds)
{
    unsigned char *held[64] = {NULL};
    size_t size[64] = {0};
    for (unsigned n = 0; n < rounds + 64; n++) {
        unsigned i = n % 64;
        if (held[i] != NULL && (held[i][0] != (unsigned char)i || held[i][size[i] - 1] != (unsigned char)i))
            abort();
        free(held[i]);
        held[i] = NULL;
        if (n >= rounds)
            continue;
        size[i] = 1 + (unsigned)rand_r(&seed) % (rand_r(&seed) % 100 == 0 ? 150000 : 2000);
        held[i] = malloc(size[i]);
        if (held[i] == NULL)
            abort();
        memset(held[i], (int)i, size[i]);
    }
}

/* ---- alive, short ---- */

static pthread_barrier_t all_here;

static void *alive_thread(void *context)
{
    use_memory((unsigned)(size_t)context, 100);
    char *mine = malloc(20000);
    memset(mine, 'm', 20000);
    pthread_barrier_wait(&all_here);
    pthread_barrier_wait(&all_here); /* here main measures */
    free(mine);
    return NULL;
}

static void alive(size_t n)
{
    pthread_t *thread = calloc(n, sizeof *thread);
    size_t before = resident();
    pthread_barrier_init(&all_here, NULL, (unsigned)n + 1);
    for (size_t t = 0; t < n; t++)
        if (pthread_create(&thread[t], &small_stack, alive_thread, (void *)t) != 0)
            _exit(77); /* the machine does not allow so many */
    pthread_barrier_wait(&all_here);
    size_t peak = resident();
    pthread_barrier_wait(&all_here);
    for (size_t t = 0; t < n; t++)
        pthread_join(thread[t], NULL);
    free(thread);
    expect(peak > n * 20000);
    /* The books of threads, a magazine for each class that they used, are kept for the next ones. */
    expect_back("threads alive", before, peak, n * 32 * 1024 + 8 * MIB);
}

static void *short_thread(void *context)
{
    use_memory((unsigned)(size_t)context, 20);
    return malloc(100);
}

static void run_short(size_t n)
{
    pthread_t thread[10];
    for (size_t t = 0; t < n; t += 10) {
        for (unsigned i = 0; i < 10; i++)
            expect(pthread_create(&thread[i], &small_stack, short_thread, (void *)(t + i)) == 0);
        for (unsigned i = 0; i < 10; i++) {
            void *block = NULL;
            pthread_join(thread[i], &block);
            free(block);
        }
    }
}

static void shorts(size_t n)
{
    run_short(n / 10);
    size_t before = resident();
    run_short(n);
    expect_back("short threads", before, resident(), 2 * MIB);
}

/* ---- cross ---- */

enum { RING = 6, LOTS = 64, TURNS = 4000 };
/* Who waits sleeps: with sched_yield, beside three other busy programs, two rings took more than a minute. */
static struct {
    void **lot;
    sem_t empty, full;
} parcel[RING];

static void hand_over(unsigned slot, void **lot)
{
    sem_wait(&parcel[slot].empty);
    parcel[slot].lot = lot;
    sem_post(&parcel[slot].full);
}

static void **receive(unsigned slot)
{
    sem_wait(&parcel[slot].full);
    void **lot = parcel[slot].lot;
    sem_post(&parcel[slot].empty);
    return lot;
}

static void *ring_thread(void *context)
{
    unsigned self = (unsigned)(size_t)context, seed = self;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        void **lot = malloc(LOTS * sizeof *lot);
        for (unsigned i = 0; i < LOTS; i++) {
            size_t size = sizeof(size_t) + 1 + (unsigned)rand_r(&seed) % (turn % 64 == 0 ? 70000 : 1500);
            lot[i] = malloc(size);
            *(size_t *)lot[i] = size;
            ((char *)lot[i])[size - 1] = 'e';
        }
        hand_over((self + 1) % RING, lot);
        lot = receive(self);
        for (unsigned i = 0; i < LOTS; i++) {
            size_t size = *(size_t *)lot[i];
            if (size > 80000 || ((char *)lot[i])[size - 1] != 'e')
                abort();
            free(lot[i]);
        }
        free(lot);
    }
    return NULL;
}

static void run_ring(void)
{
    pthread_t thread[RING];
    for (size_t t = 0; t < RING; t++) {
        sem_init(&parcel[t].empty, 0, 1);
        sem_init(&parcel[t].full, 0, 0);
    }
    for (size_t t = 0; t < RING; t++)
        expect(pthread_create(&thread[t], NULL, ring_thread, (void *)t) == 0);
    for (size_t t = 0; t < RING; t++)
        pthread_join(thread[t], NULL);
}

static void cross(void)
{
    run_ring();
    malloc_trim(0);
    size_t before = resident();
    run_ring();
    /* glibc alone, beside a busy neighbour, was seen to keep 2.4 MiB. */
    bool tarn = getenv("LD_PRELOAD") != NULL;
    expect_back("ring", before, resident(), (tarn ? 2 : 4) * MIB);
}

/* ---- destructors ---- */

enum { KEYS = 60 }; /* beyond the 32 for which glibc needs no memory */
static pthread_key_t key[KEYS];
static atomic_uint destructed;

struct legacy {
    unsigned index, round;
    char *small, *large;
};

static struct legacy *bequeath(unsigned index, unsigned round)
{
    struct legacy *l = malloc(sizeof *l);
    *l = (struct legacy){index, round, malloc(200), malloc(100000)};
    memset(l->small, 's', 200);
    memset(l->large, 'l', 100000);
    return l;
}

static void destruct(void *value)
{
    struct legacy *old = value;
    atomic_fetch_add(&destructed, 1);
    if (old->small[199] != 's' || old->large[99999] != 'l')
        abort();
    use_memory(old->round, 10);
    old->small = realloc(old->small, 3000);
    /* The last round that the system grants leaves nothing. */
    if (old->round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(key[old->index], bequeath(old->index, old->round + 1));
    free(old->small);
    free(old->large);
    free(old);
}

static void *bequeathing_thread(void *context)
{
    for (unsigned i = 0; i < KEYS; i++)
        pthread_setspecific(key[i], bequeath(i, 0));
    return context;
}

/* A thread whose first and only allocation happens in a destructor. */
static void *late_thread(void *context)
{
    static struct legacy plain[4];
    (void)plain;
    pthread_setspecific(*(pthread_key_t *)context, context);
    return NULL;
}

static void late_destruct(void *value)
{
    (void)value;
    atomic_fetch_add(&destructed, 1);
    use_memory(1, 30);
}

static void run_destructors(unsigned n, pthread_key_t *late)
{
    for (unsigned t = 0; t < n; t++) {
        pthread_t a, b;
        expect(pthread_create(&a, &small_stack, bequeathing_thread, NULL) == 0);
        expect(pthread_create(&b, &small_stack, late_thread, late) == 0);
        pthread_join(a, NULL);
        pthread_join(b, NULL);
    }
}

static void destructors(void)
{
    enum { MANY = 150 };
    static pthread_key_t late;
    for (unsigned i = 0; i < KEYS; i++)
        expect(pthread_key_create(&key[i], destruct) == 0);
    expect(pthread_key_create(&late, late_destruct) == 0);
    run_destructors(MANY, &late);
    expect(atomic_load(&destructed) == MANY * (KEYS * PTHREAD_DESTRUCTOR_ITERATIONS + 1));
    malloc_trim(0);
    size_t before = resident();
    run_destructors(MANY, &late);
    expect_back("destructors", before, resident(), MIB);
}

/* ---- cancel ---- */

static void *cancelled_thread(void *context)
{
    for (unsigned seed = (unsigned)(size_t)context;; seed++) {
        use_memory(seed, 30);
        if (seed % 4 == 0)
            malloc_trim(0); /* which may wait for another collection */
        pthread_testcancel();
    }
    return NULL;
}

static void cancel(size_t n)
{
    enum { AT_ONCE = 8 };
    alarm(60);
    for (size_t turn = 0; turn < n; turn++) {
        pthread_t thread[AT_ONCE];
        for (size_t t = 0; t < AT_ONCE; t++)
            expect(pthread_create(&thread[t], &small_stack, cancelled_thread, (void *)(turn * 10 + t)) == 0);
        usleep(2000 + 100 * (turn % 30));
        for (unsigned t = 0; t < AT_ONCE; t++)
            pthread_cancel(thread[t]);
        for (unsigned t = 0; t < AT_ONCE; t++) {
            void *result = NULL;
            pthread_join(thread[t], &result);
            expect(result == PTHREAD_CANCELED);
        }
        use_memory((unsigned)turn, 50);
    }
}

/* ---- keys ---- */

static void keys(void)
{
    pthread_key_t any;
    unsigned taken = 0;
    while (pthread_key_create(&any, NULL) == 0)
        taken++;
    expect(taken >= 1000 && taken <= PTHREAD_KEYS_MAX);
    run_short(200);
    size_t before = resident();
    run_short(2000);
    expect_back("without a key left", before, resident(), 2 * MIB);
}

/* ---- detached ---- */

static void *detached_thread(void *context)
{
    for (unsigned seed = (unsigned)(size_t)context; seed < (unsigned)(size_t)context + 50; seed++)
        use_memory(seed, 20);
    return NULL;
}

static void detached(size_t n)
{
    pthread_attr_setdetachstate(&small_stack, PTHREAD_CREATE_DETACHED);
    for (size_t t = 0; t < n; t++) {
        pthread_t thread;
        while (pthread_create(&thread, &small_stack, detached_thread, (void *)t) != 0)
            usleep(1000);
        if (t % 16 == 0)
            usleep(1000);
    }
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    pthread_attr_init(&small_stack);
    pthread_attr_setstacksize(&small_stack, STACK);
    if (strcmp(mode, "alive") == 0)
        alive(n);
    else if (strcmp(mode, "short") == 0)
        shorts(n);
    else if (strcmp(mode, "cross") == 0)
        cross();
    else if (strcmp(mode, "destructors") == 0)
        destructors();
    else if (strcmp(mode, "cancel") == 0)
        cancel(n);
    else if (strcmp(mode, "keys") == 0)
        keys();
    else if (strcmp(mode, "detached") == 0)
        detached(n);
    else
        return 2;
    printf("done\n");
    return victim_verdict();
}
