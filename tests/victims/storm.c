/*
 * storm SECONDS: SIGQUIT a thousand times a second, while 8 threads allocate, check and free, and hand blocks to each
 * other. Nothing may be lost, nothing may hang (the caller bounds the time), each thread comes on in each second, errno
 * stays, and memory does not grow. Prints "done", and before it what there was.
 */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, HELD = 512, SHARED = 64, RATE = 1000 };

struct block {
    size_t size;
    unsigned char fill[];
};

static _Atomic(struct block *) shared[SHARED];
static atomic_bool stop;
static atomic_ulong wrong, disturbed, turns[THREADS];

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

static void *work(void *number)
{
    size_t self = (size_t)number;
    unsigned seed = (unsigned)self + 1;
    struct block *held[HELD] = {NULL};
    errno = ERRNO_MARK;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        unsigned i = (unsigned)rand_r(&seed) % HELD;
        unmake(held[i]);
        held[i] = make(&seed);
        if (i < SHARED)
            held[i] = atomic_exchange(&shared[i], held[i]);
        atomic_fetch_add_explicit(&turns[self], 1, memory_order_relaxed);
    }
    if (errno != ERRNO_MARK)
        atomic_fetch_add(&disturbed, 1);
    for (unsigned i = 0; i < HELD; i++)
        unmake(held[i]);
    return NULL;
}

/* By turns: whoever the kernel picks, one thread, and two threads at once. */
static void send(const pthread_t *thread, unsigned long i)
{
    if (i % 3 == 0)
        kill(getpid(), SIGQUIT);
    else
        pthread_kill(thread[i % THREADS], SIGQUIT);
    if (i % 3 == 2)
        pthread_kill(thread[(i + 1) % THREADS], SIGQUIT);
}

/* RATE signals, in a second where the machine is fast enough. */
static void storm_on(const pthread_t *thread)
{
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (unsigned long i = 0; i < RATE; i++) {
        send(thread, i);
        next.tv_nsec += 1000000000 / RATE;
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}

/* Turns since the last look of the thread that made the fewest; adds all to *sum. */
static unsigned long least_turns(unsigned long *sum)
{
    static unsigned long before[THREADS];
    unsigned long least = -1ul;
    for (unsigned t = 0; t < THREADS; t++) {
        unsigned long now = atomic_load(&turns[t]), made = now - before[t];
        before[t] = now;
        least = made < least ? made : least;
        *sum += made;
    }
    return least;
}

int main(int argc, char **argv)
{
    int seconds = argc > 1 ? atoi(argv[1]) : 3;
    pthread_t thread[THREADS];
    unsigned long made = 0, least = -1ul;
    sigset_t quit;
    time_t begin = time(NULL);
    size_t first = 0, last = 0;
    for (size_t t = 0; t < THREADS; t++)
        while (pthread_create(&thread[t], NULL, work, (void *)t) != 0)
            usleep(10000); /* another test may have as many as the machine allows */
    sigemptyset(&quit);
    sigaddset(&quit, SIGQUIT);
    pthread_sigmask(SIG_BLOCK, &quit, NULL); /* who sends is not to be held up */
    for (int s = 0; s < seconds; s++) {
        storm_on(thread);
        unsigned long now = least_turns(&made);
        least = now < least ? now : least;
        last = victim_memory("VmRSS: %zu");
        first = s == 0 ? last : first;
    }
    atomic_store(&stop, true);
    for (unsigned t = 0; t < THREADS; t++)
        pthread_join(thread[t], NULL);
    for (unsigned i = 0; i < SHARED; i++)
        unmake(shared[i]);
    printf("%d signals in %ld s, %lu turns, %lu at least of a thread in 1000; %zu KiB after 1000, %zu after "
           "the last\n",
           seconds * RATE, (long)(time(NULL) - begin), made, least, first / 1024, last / 1024);
    expect(atomic_load(&wrong) == 0);
    expect(atomic_load(&disturbed) == 0);
    expect(least > 0);
    expect(last <= first + first / 4 + (4 << 20));
    printf("done\n");
    return victim_verdict();
}
