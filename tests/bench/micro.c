/*
 * micro: what one malloc and one free cost, in nanoseconds, under whichever allocator is preloaded.
 *
 *     micro --list                                   the lines there are
 *     micro LINE [--size N] [--live N] [--threads N] [--ops N] [--idle SECONDS]
 *
 * One process runs one line and prints one row: CPU time and wall time of an operation, and peak RSS; then the
 * line's figure and its unit, which is CPU time again if the line is about time. The library that malloc
 * really came from is printed too: a preload that failed must not pass for a measurement.
 */
#include "micro.h"

#include "../tools/random.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, SEED = 88172645 };

unsigned idle_seconds = 1;

static uint64_t cpu_ns, wall_ns, ops_done;
static size_t table_bytes;
static long resident = -1; /* KiB */
static char details[1024];

void *table_new(size_t bytes)
{
    void *table =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (table == MAP_FAILED) {
        perror("micro: mmap");
        exit(1);
    }
    __atomic_fetch_add(&table_bytes, (bytes + PAGE - 1) & ~(size_t)(PAGE - 1), __ATOMIC_RELAXED);
    return table;
}

/* 16 * 2^(6 * min(u, v)): the median is 55 bytes, the mean 113, the largest just below 1024. */
static uint32_t size_mixed(uint64_t *seed)
{
    uint32_t u = (uint32_t)random_below(seed, 6 * 256), v = (uint32_t)random_below(seed, 6 * 256);
    uint32_t log = u < v ? u : v;

    return (16u << (log >> 8)) + (((16u << (log >> 8)) * (log & 255)) >> 8);
}

/* One fixed seed: every allocator gets the same requests. */
static uint32_t *size_table(const struct line *line)
{
    uint32_t (*draw)(uint64_t *) = line->test->draw ? line->test->draw : size_mixed;
    uint32_t *table = table_new(SIZES * sizeof(*table));
    uint64_t seed = SEED;

    for (int i = 0; i < SIZES; i++)
        table[i] = line->size == MIXED ? draw(&seed) : (uint32_t)line->size;
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
    if (!(w->line->test->kind & ONCE))
        w->line->test->work(w, warm_ops(w, w->line->ops));
    clocks_start();
    ops_done = w->line->test->work(w, w->line->ops);
    clocks_stop();
}

pthread_t thread_new(void *(*run)(void *), void *arg)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, arg) != 0) {
        fprintf(stderr, "micro: no thread\n");
        exit(1);
    }
    return thread;
}

static pthread_barrier_t barrier;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/*
 * Worker i stays on processor i. Left to the scheduler, a producer and its consumer share one in some runs
 * and not in others, and a hand-over costs 2 ns or 9.
 */
void stay_on_processor(unsigned id)
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
    for (unsigned i = 0; i < threads; i++)
        thread[i] = thread_new(run_one_of_many, &workers[i]);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    clocks_start();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    clocks_stop();
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
}

static const char *file_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, text, size - 1);

    text[got > 0 ? got : 0] = '\0';
    close(fd);
    return text;
}

long rss_kib(void)
{
    char text[256];
    const char *pages = strchr(file_text("/proc/self/statm", text, sizeof(text)), ' ');

    return pages ? (strtol(pages, NULL, 10) * PAGE - (long)table_bytes) / 1024 : -1;
}

/* Not getrusage: its maximum survives exec, so a small process would inherit its parent's. */
long peak_kib(void)
{
    char text[4096];
    const char *line = strstr(file_text("/proc/self/status", text, sizeof(text)), "VmHWM:");

    return line ? strtol(line + 6, NULL, 10) - (long)table_bytes / 1024 : -1;
}

void resident_set(long kib)
{
    resident = kib;
}

/* In the line's unit. */
static double figure(const struct line *line)
{
    if (!line->test->unit)
        return (double)cpu_ns / (double)ops_done;
    if (strcmp(line->test->unit, "MiB") == 0)
        return (double)resident / 1024;
    return (double)resident * 1024 / line->threads;
}

void detail_add(const char *name, double value)
{
    size_t used = strlen(details);

    snprintf(details + used, sizeof(details) - used, "%s%s=%.1f", used ? " " : "", name, value);
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
    printf("#line\tsize\tlive\tthreads\tops\tcpu_ns\twall_ns\tpeak_kib\tmalloc\tidle_"
           "kib\tfigure\tunit\tdetails\n");
    printf("%s\t%zu\t%zu\t%u\t%llu\t%.3f\t%.3f\t%ld\t%s\t", line->name, line->size, line->live, line->threads,
           (unsigned long long)ops_done, (double)cpu_ns / (double)ops_done,
           (double)wall_ns / (double)ops_done, kib, from.dli_fname ? from.dli_fname : "?");
    printf("%ld\t%.3f\t%s\t%s\n", resident, figure(line), line->test->unit ? line->test->unit : "ns",
           details);
}

static void list(void)
{
    printf("#line\tsize\tlive\tthreads\tops\tbaseline\thelp\tgroup\tunit\n");
    for (size_t i = 0; i < lines_count; i++)
        printf("%s\t%zu\t%zu\t%u\t%llu\t%d\t%s\t%s\t%s\n", lines[i].name, lines[i].size, lines[i].live,
               lines[i].threads, (unsigned long long)lines[i].ops, (lines[i].test->kind & BASELINE) != 0,
               lines[i].test->help, lines[i].group, lines[i].test->unit ? lines[i].test->unit : "ns");
}

static int usage(void)
{
    fprintf(stderr, "usage: micro --list | micro LINE [--size N] [--live N] [--threads N] [--ops N]\n"
                    "       [--idle SECONDS]; --size 0 is the line's own mix\n");
    return 2;
}

/* Fills `line` from the arguments; 0 when they make no sense. */
static int line_parse(struct line *line, int argc, char **argv)
{
    size_t i = 0;

    while (i < lines_count && strcmp(lines[i].name, argv[1]) != 0)
        i++;
    if (i == lines_count || argc % 2 != 0)
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
        else if (strcmp(argv[arg], "--idle") == 0)
            idle_seconds = (unsigned)value;
        else
            return 0;
    }
    return line->live > 0 && line->live <= UINT32_MAX / 4 && line->threads > 0 &&
           line->ops >= line->threads &&
           (line->size == MIXED || (line->size >= sizeof(uintptr_t) && line->size <= UINT32_MAX)) &&
           (!(line->test->kind & PAIRED) || line->threads % 2 == 0);
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
    sizes = size_table(&line);
    workers = table_new(line.threads * sizeof(*workers));
    for (unsigned i = 0; i < line.threads; i++)
        workers[i] = (struct worker){.line = &line, .id = i, .seed = SEED + i, .size = sizes, .at = i * 101};
    if (line.threads == 1 || line.test->kind & OWN_THREADS)
        run_alone(&workers[0]);
    else
        run_many(workers, line.threads);
    report(&line);
    return 0; /* what is still live is the point of the test: no time spent on freeing it */
}
