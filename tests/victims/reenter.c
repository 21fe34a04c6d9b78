/*
 * malloc and free in signal handlers that interrupt malloc and free, in every thread, at any instruction.
 *
 *   SECONDS THREADS [FORKS]: with FORKS, one signal in so many forks, and the child goes on for a while
 *   births N: N children, one after the other, in which the signals strike the first large block of the process
 *
 * Both go on for longer, or end sooner, where the machine is slow: what counts is that ENOUGH signals strike malloc.
 *
 * Each thread allocates, resizes and frees blocks of all sizes in one loop, and has a timer that signals it 20 us after it
 * has come back from the last signal. The handler does the same on a table of its own, and passes blocks to and from the
 * loop's. Every block bears the mark of who holds it, at both ends. Prints how many signals there were, and how many struck
 * in malloc itself.
 */
#define _GNU_SOURCE
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { SLOTS = 64, OWN = 16, THREADS_MAX = 16, ENOUGH = 1000, LONGEST = 40 /* seconds */ };

struct block {
    size_t size;
    uintptr_t mark;
};

static __thread struct block *volatile passed[OWN]; /* between the handler and the loop of one thread */
static __thread struct block *own[OWN];             /* the handler's */
static __thread uint64_t seed, handler_seed;
static __thread timer_t timer;

static uintptr_t code_begin, code_end;
static volatile bool stop;
static unsigned long forks;
static bool is_child;
static uint64_t signals, inside, operations, refused;

static uint64_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Mostly small ones; one of 32 is large. */
static size_t random_size(uint64_t *state)
{
    uint64_t r = random_next(state);
    size_t most = r % 32 == 0 ? 300000 : r % 8 == 0 ? 9000 : 400;
    return sizeof(struct block) + sizeof(uintptr_t) + random_next(state) % most;
}

static void sign(struct block *b, size_t size)
{
    b->size = size;
    b->mark = (uintptr_t)b ^ size;
    memcpy((char *)b + size - sizeof b->mark, &b->mark, sizeof b->mark);
}

static void fail(const char *complaint)
{
    if (write(STDERR_FILENO, complaint, strlen(complaint)) > 0)
        _exit(3);
    abort();
}

static void check_block(const struct block *b)
{
    uintptr_t end;
    memcpy(&end, (const char *)b + b->size - sizeof end, sizeof end);
    if (b->mark != ((uintptr_t)b ^ b->size) || end != b->mark)
        fail("a block was overwritten\n");
}

static bool is_zero(const char *p, size_t size)
{
    for (size_t i = 0; i < size; i += i < 4096 ? 1 : 511)
        if (p[i] != 0)
            return false;
    return true;
}

/* operator new and delete: tarn has them, libc has not. */
extern void *_Znwm(size_t n) __attribute__((weak));
extern void _ZdlPv(void *p) __attribute__((weak));

static struct block *allocate(size_t size, unsigned way)
{
    if (way == 0)
        return aligned_alloc(256, (size + 255) & ~(size_t)255);
    if (way < 4)
        return calloc(1, size);
    return way % 2 == 0 && _Znwm != NULL ? _Znwm(size) : malloc(size);
}

static struct block *make(uint64_t *state)
{
    size_t size = random_size(state);
    unsigned way = random_next(state) % 16;
    struct block *b = allocate(size, way);
    if (b == NULL) {
        __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    if (way == 0 && (uintptr_t)b % 256 != 0)
        fail("a block is not aligned\n");
    if (way > 0 && way < 4 && !is_zero((char *)b, size))
        fail("a block of calloc's is not zeroed\n");
    if (malloc_usable_size(b) < size)
        fail("a block is too small\n");
    sign(b, size);
    return b;
}

/* As grown from `before`. */
static void check_moved(const struct block *moved, const struct block *old, size_t size)
{
    if (moved->mark != ((uintptr_t)old ^ moved->size) || malloc_usable_size((void *)moved) < size)
        fail("realloc spoilt a block\n");
}

static struct block *change(struct block *b, uint64_t *state)
{
    check_block(b);
    uint64_t chance = random_next(state);
    if (chance % 8 != 0) {
        (chance % 2 == 0 && _ZdlPv != NULL ? _ZdlPv : free)(b);
        return NULL;
    }
    size_t size = random_size(state);
    struct block *moved = realloc(b, size);
    if (moved == NULL) {
        __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
        return b;
    }
    check_moved(moved, b, size);
    sign(moved, size);
    return moved;
}

static void fork_here(void)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        is_child = true;
    else if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        _exit(4);
}

/* Not every so often: a slow machine would do nothing else than answer. */
static void set_timer(void)
{
    timer_settime(timer, 0, &(struct itimerspec){.it_value.tv_nsec = 20000}, NULL);
}

static void handle(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    int kept = errno;
    uintptr_t at = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    __atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
    if (at >= code_begin && at < code_end)
        __atomic_fetch_add(&inside, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++) {
        size_t slot = random_next(&handler_seed) % OWN;
        own[slot] = own[slot] == NULL ? make(&handler_seed) : change(own[slot], &handler_seed);
    }
    size_t slot = random_next(&handler_seed) % OWN;
    struct block *mine = own[slot];
    own[slot] = passed[slot]; /* the loop takes its by an exchange */
    passed[slot] = mine;
    if (forks > 0 && !is_child && random_next(&handler_seed) % forks == 0)
        fork_here();
    set_timer(); /* a forked child has none */
    errno = kept;
}

static void start_timer(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    event._sigev_un._tid = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        abort();
    set_timer();
}

static void *work(void *number)
{
    struct block *held[SLOTS] = {NULL};
    seed = (uintptr_t)number;
    handler_seed = ~seed;
    start_timer();
    uint64_t done = 0;
    for (; !stop; done++) {
        size_t slot = random_next(&seed) % SLOTS;
        held[slot] = held[slot] == NULL ? make(&seed) : change(held[slot], &seed);
        if (is_child && random_next(&seed) % 1000 == 0)
            _exit(0);
        if (done % 16 == 0)
            held[slot] = __atomic_exchange_n(&passed[slot % OWN], held[slot], __ATOMIC_ACQ_REL);
    }
    __atomic_fetch_add(&operations, done, __ATOMIC_RELAXED);
    return NULL;
}

/* malloc's code: the mapping that malloc itself lies in. */
static void find_code(void)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t begin, end;
        if (sscanf(line, "%lx-%lx", &begin, &end) == 2 && (uintptr_t)malloc >= begin &&
            (uintptr_t)malloc < end)
            code_begin = begin, code_end = end;
    }
    if (maps != NULL)
        fclose(maps);
}

/* The children's signals count in memory that they share. */
static void be_born(unsigned births)
{
    uint64_t *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    time_t begin = time(NULL);
    unsigned n = 0;
    for (; n < births && (time(NULL) < begin + LONGEST / 4 || *shared < ENOUGH); n++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            handler_seed = n;
            start_timer();
            for (int i = 0; i < 20; i++) {
                struct block *b = change(make(&seed), &seed);
                char *large = realloc(calloc(1, 100000), 250000);
                if (large == NULL || !is_zero(large, 100000))
                    fail("a first large block is not zeroed\n");
                free(large);
                free(b);
            }
            __atomic_fetch_add(shared, inside, __ATOMIC_RELAXED);
            _exit(refused == 0 ? 0 : 5);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
            printf("child %u: status %d\n", n, status);
            exit(1);
        }
    }
    printf("%u births, %llu signals in malloc\n", n, (unsigned long long)*shared);
}

int main(int argc, char **argv)
{
    pthread_t thread[THREADS_MAX];
    int seconds = argc > 1 ? atoi(argv[1]) : 5, threads = argc > 2 ? atoi(argv[2]) : 2;
    forks = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    find_code();
    if (argc > 2 && strcmp(argv[1], "births") == 0) {
        be_born(strtoul(argv[2], NULL, 10));
        return 0;
    }
    for (uintptr_t i = 0; i < (uintptr_t)threads; i++)
        pthread_create(&thread[i], NULL, work, (void *)(i + 1));
    for (int i = 0; i < seconds || (i < LONGEST && __atomic_load_n(&inside, __ATOMIC_RELAXED) < ENOUGH); i++)
        sleep(1);
    stop = true;
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("%llu operations, %llu signals, %llu of them in malloc, %llu refused\n",
           (unsigned long long)operations, (unsigned long long)signals, (unsigned long long)inside,
           (unsigned long long)refused);
    return refused == 0 ? 0 : 1;
}
