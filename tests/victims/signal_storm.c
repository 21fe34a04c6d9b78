/*
 * argv[1] signals while 8 threads allocate, check and free, and hand blocks to each other. Nothing may be
 * lost, nothing may hang (the caller bounds the time). Exit 42: all contents were right to the end.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, HELD = 512, SHARED = 64 };

struct block {
    size_t size;
    unsigned char fill[];
};

static _Atomic(struct block *) shared[SHARED];
static atomic_bool stop;
static atomic_ulong wrong, turns;

static struct block *make(unsigned *seed)
{
    size_t size = (size_t)rand_r(seed) % (rand_r(seed) % 64 == 0 ? 100000 : 700);
    struct block *b = malloc(sizeof *b + size);
    if (b == NULL)
        abort();
    b->size = size;
    memset(b->fill, (int)(size % 251), size);
    return b;
}

static void unmake(struct block *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->size; i++)
        if (b->fill[i] != b->size % 251) {
            atomic_fetch_add(&wrong, 1);
            break;
        }
    free(b);
}

static void *work(void *context)
{
    unsigned seed = *(unsigned *)context;
    struct block *held[HELD] = {NULL};
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        unsigned i = (unsigned)rand_r(&seed) % HELD;
        unmake(held[i]);
        held[i] = make(&seed);
        if (i < SHARED)
            held[i] = atomic_exchange(&shared[i], held[i]);
        atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
    }
    for (unsigned i = 0; i < HELD; i++)
        unmake(held[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    int signals = argc > 1 ? atoi(argv[1]) : 1000;
    const struct timespec pause = {.tv_nsec = 1000000};
    pthread_t thread[THREADS];
    unsigned seed[THREADS];
    for (unsigned t = 0; t < THREADS; t++) {
        seed[t] = t + 1;
        pthread_create(&thread[t], NULL, work, &seed[t]);
    }
    for (int i = 0; i < signals; i++) {
        /* By turns: whoever the kernel picks, one thread, and two threads at once. */
        if (i % 3 == 0)
            kill(getpid(), SIGQUIT);
        else
            pthread_kill(thread[i % THREADS], SIGQUIT);
        if (i % 3 == 2)
            pthread_kill(thread[(i + 1) % THREADS], SIGQUIT);
        nanosleep(&pause, NULL);
    }
    atomic_store(&stop, 1);
    for (unsigned t = 0; t < THREADS; t++)
        pthread_join(thread[t], NULL);
    for (unsigned i = 0; i < SHARED; i++)
        unmake(shared[i]);
    printf("%lu turns, %lu wrong\n", atomic_load(&turns), atomic_load(&wrong));
    return atomic_load(&wrong) == 0 && atomic_load(&turns) > 0 ? 42 : 1;
}
