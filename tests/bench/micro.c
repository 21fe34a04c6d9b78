/*
 * micro: what one malloc and one free cost, in nanoseconds, under whichever allocator is preloaded.
 *
 *     micro --list                                   the lines there are
 *     micro LINE [--size N] [--live N] [--threads N] [--ops N]
 *
 * One process runs one line and prints one row: CPU time and wall time of an operation, and peak RSS. The
 * library that malloc really came from is printed too: a preload that failed must not pass for a measurement.
 */
#include "micro.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Operations are chosen so that a line takes one to two tenths of a second. */
static const struct line lines[] = {
    /* name              test           size   live  threads  ops */
    {"pair-16", &test_pair, 16, 1, 1, 30000000},
    {"pair-64", &test_pair, 64, 1, 1, 30000000},
    {"pair-256", &test_pair, 256, 1, 1, 30000000},
    {"pair-1024", &test_pair, 1024, 1, 1, 30000000},
    {"pair-4096", &test_pair, 4096, 1, 1, 20000000},
    {"pair-16384", &test_pair, 16384, 1, 1, 10000000},
    {"pair-mixed", &test_pair, MIXED, 1, 1, 20000000},
    {"fifo-64-1k", &test_fifo, 64, 1000, 1, 15000000},
    {"fifo-64-10k", &test_fifo, 64, 10000, 1, 10000000},
    {"fifo-64-100k", &test_fifo, 64, 100000, 1, 10000000},
    {"fifo-64-1m", &test_fifo, 64, 1000000, 1, 6000000},
    {"fifo-mixed-1k", &test_fifo, MIXED, 1000, 1, 10000000},
    {"fifo-mixed-10k", &test_fifo, MIXED, 10000, 1, 10000000},
    {"fifo-mixed-100k", &test_fifo, MIXED, 100000, 1, 6000000},
    {"fifo-mixed-1m", &test_fifo, MIXED, 1000000, 1, 4000000},
    {"lifo-64-1k", &test_lifo, 64, 1000, 1, 15000000},
    {"lifo-64-10k", &test_lifo, 64, 10000, 1, 10000000},
    {"lifo-64-100k", &test_lifo, 64, 100000, 1, 8000000},
    {"lifo-64-1m", &test_lifo, 64, 1000000, 1, 4000000},
    {"lifo-mixed-1k", &test_lifo, MIXED, 1000, 1, 10000000},
    {"lifo-mixed-10k", &test_lifo, MIXED, 10000, 1, 8000000},
    {"lifo-mixed-100k", &test_lifo, MIXED, 100000, 1, 3000000},
    {"lifo-mixed-1m", &test_lifo, MIXED, 1000000, 1, 2000000},
    {"random-64-1k", &test_random, 64, 1000, 1, 12000000},
    {"random-64-10k", &test_random, 64, 10000, 1, 10000000},
    {"random-64-100k", &test_random, 64, 100000, 1, 6000000},
    {"random-64-1m", &test_random, 64, 1000000, 1, 3000000},
    {"random-mixed-1k", &test_random, MIXED, 1000, 1, 10000000},
    {"random-mixed-10k", &test_random, MIXED, 10000, 1, 8000000},
    {"random-mixed-100k", &test_random, MIXED, 100000, 1, 4000000},
    {"random-mixed-1m", &test_random, MIXED, 1000000, 1, 2000000},
    {"tide-64-10k", &test_tide, 64, 10000, 1, 8000000},
    {"tide-64-1m", &test_tide, 64, 1000000, 1, 3000000},
    {"tide-mixed-10k", &test_tide, MIXED, 10000, 1, 8000000},
    {"tide-mixed-1m", &test_tide, MIXED, 1000000, 1, 2000000},
    {"ring-2t", &test_ring, 64, 1, 2, 10000000},
    {"ring-8t", &test_ring, 64, 1, 8, 10000000},
    {"handoff-64-2t", &test_handoff, 64, 1, 2, 5000000},
    {"handoff-64-8t", &test_handoff, 64, 1, 8, 5000000},
    {"handoff-mixed-2t", &test_handoff, MIXED, 1, 2, 3000000},
    {"handoff-mixed-8t", &test_handoff, MIXED, 1, 8, 3000000},
    {"pair-64-2t", &test_pair, 64, 1, 2, 40000000},
    {"pair-64-8t", &test_pair, 64, 1, 8, 40000000},
    {"random-mixed-2t", &test_random, MIXED, 10000, 2, 10000000},
    {"random-mixed-8t", &test_random, MIXED, 10000, 8, 10000000},
    {"churn-mixed-2t", &test_churn, MIXED, 1000, 2, 10000000},
    {"churn-mixed-8t", &test_churn, MIXED, 1000, 8, 10000000},
    {"grow-16384", &test_grow, 16384, 64, 1, 600000},
    {"append-4096", &test_append, 4096, 64, 1, 4000000},
    {"calloc-64", &test_calloc, 64, 1, 1, 20000000},
    {"calloc-1024", &test_calloc, 1024, 1, 1, 8000000},
    {"calloc-16384", &test_calloc, 16384, 1, 1, 500000},
};

static uint64_t cpu_ns, wall_ns, ops_done;

void *table_new(size_t bytes)
{
    void *table =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (table == MAP_FAILED) {
        perror("micro: mmap");
        exit(1);
    }
    return table;
}

/* One fixed seed: every allocator gets the same requests. Used before threads start and in `prepare`, by
 * turns. */
uint32_t random_below(uint32_t bound)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(((state >> 32) * bound) >> 32);
}

/* 16 * 2^(6 * min(u, v)): the median is 55 bytes, the mean 113, the largest just below 1024. */
static uint32_t size_mixed(void)
{
    uint32_t u = random_below(6 * 256), v = random_below(6 * 256);
    uint32_t log = u < v ? u : v;

    return (16u << (log >> 8)) + (((16u << (log >> 8)) * (log & 255)) >> 8);
}

static uint32_t *size_table(size_t size)
{
    uint32_t *table = table_new(SIZES * sizeof(*table));

    for (int i = 0; i < SIZES; i++)
        table[i] = size == MIXED ? size_mixed() : (uint32_t)size;
    return table;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void clocks_start(void)
{
    wall_ns = clock_ns(CLOCK_MONOTONIC);
    cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void clocks_stop(void)
{
    cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
    wall_ns = clock_ns(CLOCK_MONOTONIC) - wall_ns;
}

/* Each live block is replaced about once before the clock runs. */
static uint64_t warm_ops(const struct worker *w, uint64_t share)
{
    uint64_t warm = share / 16;

    return warm > w->line->live ? warm : w->line->live;
}

static void run_alone(struct worker *w)
{
    w->line->test->prepare(w);
    w->line->test->work(w, warm_ops(w, w->line->ops));
    clocks_start();
    ops_done = w->line->test->work(w, w->line->ops);
    clocks_stop();
}

static pthread_barrier_t barrier;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/*
 * Worker i stays on processor i. Left to the scheduler, a producer and its consumer share one in some runs
 * and not in others, and a hand-over costs 2 ns or 9.
 */
static void stay_on_processor(unsigned id)
{
    cpu_set_t allowed, one;
    int cpu = -1;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        return;
    id %= (unsigned)CPU_COUNT(&allowed);
    do
        cpu++;
    while (!CPU_ISSET(cpu, &allowed) || id-- > 0);
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
}

/* Warm-up ends at one barrier, the clock starts before the next: no thread works while it isn't running. */
static void *run_one_of_many(void *arg)
{
    struct worker *w = arg;
    uint64_t share = w->line->ops / w->line->threads;

    stay_on_processor(w->id);
    pthread_mutex_lock(&turn);
    w->line->test->prepare(w);
    pthread_mutex_unlock(&turn);
    pthread_barrier_wait(&barrier);
    w->line->test->work(w, warm_ops(w, share));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    share = w->line->test->work(w, share);
    __atomic_fetch_add(&ops_done, share, __ATOMIC_RELAXED);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void run_many(struct worker *workers, unsigned threads)
{
    pthread_t *thread = table_new(threads * sizeof(*thread));

    pthread_barrier_init(&barrier, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, run_one_of_many, &workers[i]) != 0) {
            fprintf(stderr, "micro: no thread\n");
            exit(1);
        }
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    clocks_start();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    clocks_stop();
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
}

/* Not getrusage: its maximum survives exec, so a small process would inherit its parent's. */
static long peak_kib(void)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    char *line;

    text[got > 0 ? got : 0] = '\0';
    line = strstr(text, "VmHWM:");
    return line ? strtol(line + 6, NULL, 10) : -1;
}

static void report(const struct line *line)
{
    long kib = peak_kib();
    Dl_info from = {0};
    /* POSIX lets a function's address be read as an object's; ISO C has no cast for it. */
    void *(*function)(size_t) = malloc;
    void *address;

    memcpy(&address, &function, sizeof(address));
    dladdr(address, &from);
    printf("#line\tsize\tlive\tthreads\tops\tcpu_ns\twall_ns\tpeak_kib\tmalloc\n");
    printf("%s\t%zu\t%zu\t%u\t%llu\t%.3f\t%.3f\t%ld\t%s\n", line->name, line->size, line->live, line->threads,
           (unsigned long long)ops_done, (double)cpu_ns / (double)ops_done,
           (double)wall_ns / (double)ops_done, kib, from.dli_fname ? from.dli_fname : "?");
}

static void list(void)
{
    printf("#line\tsize\tlive\tthreads\tops\tbaseline\thelp\n");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        printf("%s\t%zu\t%zu\t%u\t%llu\t%d\t%s\n", lines[i].name, lines[i].size, lines[i].live,
               lines[i].threads, (unsigned long long)lines[i].ops, lines[i].test->baseline,
               lines[i].test->help);
}

static int usage(void)
{
    fprintf(stderr, "usage: micro --list | micro LINE [--size N] [--live N] [--threads N] [--ops N]\n"
                    "       --size 0 is mixed, 16 to 1024 bytes\n");
    return 2;
}

/* Fills `line` from the arguments; 0 when they make no sense. */
static int line_parse(struct line *line, int argc, char **argv)
{
    size_t i = 0;

    while (i < sizeof(lines) / sizeof(lines[0]) && strcmp(lines[i].name, argv[1]) != 0)
        i++;
    if (i == sizeof(lines) / sizeof(lines[0]) || argc % 2 != 0)
        return 0;
    *line = lines[i];
    for (int arg = 2; arg < argc; arg += 2) {
        char *end;
        unsigned long long value = strtoull(argv[arg + 1], &end, 10);

        if (*end != '\0' || end == argv[arg + 1])
            return 0;
        if (strcmp(argv[arg], "--size") == 0)
            line->size = value;
        else if (strcmp(argv[arg], "--live") == 0)
            line->live = value;
        else if (strcmp(argv[arg], "--threads") == 0)
            line->threads = (unsigned)value;
        else if (strcmp(argv[arg], "--ops") == 0)
            line->ops = value;
        else
            return 0;
    }
    return line->live > 0 && line->live <= UINT32_MAX / 4 && line->threads > 0 &&
           line->ops >= line->threads &&
           (line->size == MIXED || (line->size >= sizeof(uintptr_t) && line->size <= UINT32_MAX)) &&
           (line->test != &test_handoff || line->threads % 2 == 0) &&
           (line->test != &test_ring || line->threads % 2 == 0);
}

int main(int argc, char **argv)
{
    struct line line;
    struct worker *workers;
    const uint32_t *sizes;

    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
        return 0;
    }
    if (argc < 2 || !line_parse(&line, argc, argv))
        return usage();
    sizes = size_table(line.size);
    workers = table_new(line.threads * sizeof(*workers));
    for (unsigned i = 0; i < line.threads; i++)
        workers[i] = (struct worker){.line = &line, .id = i, .size = sizes, .at = i * 101};
    if (line.threads == 1)
        run_alone(&workers[0]);
    else
        run_many(workers, line.threads);
    report(&line);
    fflush(stdout);
    _exit(0); /* what is still live is the point of the test: no time spent on freeing it */
}
