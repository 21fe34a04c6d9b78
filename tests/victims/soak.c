/*
 * soak SECONDS SEED [SLACK]: all that a program may do with memory, for so long, in rounds: threads that are born and die
 * and free each other's blocks, of all sizes and by all calls; forks, whose children go on under a tight RLIMIT_AS;
 * refusals; with SLACK, SIGQUIT 50 times a second. After each round all is freed: then (with SLACK: glibc keeps some)
 * no block is left but for SLACK bytes, and what is resident does not grow from round to round. Prints that, and "done".
 */
#include "../tools/random.h"
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 3, BOXES = 256, HELD = 150, ROUNDS_LEAST = 10, ROUND_MOST = 5000, WARM = 3 };

/* What a block begins and ends with. */
struct stamp {
    size_t size;
    uintptr_t sum; /* of size and address */
};

static struct stamp *box[BOXES]; /* where threads leave blocks for each other */
static bool stop;
static uint64_t steps, refused, children, quits;

static void fail(const char *what)
{
    fprintf(stderr, "soak: %s\n", what);
    abort();
}

static bool stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void pause_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) /* SIGQUIT */
        continue;
}

/* ---- blocks ----------------------------------------------------------------------------------------- */

static struct stamp *last_stamp(struct stamp *p)
{
    return (struct stamp *)((char *)p + (p->size - sizeof *p) / 16 * 16);
}

static struct stamp *sign(struct stamp *p, size_t size)
{
    *p = (struct stamp){size, size + (uintptr_t)p};
    *last_stamp(p) = *p;
    return p;
}

static void check_signed(struct stamp *p)
{
    if (p->sum != p->size + (uintptr_t)p || last_stamp(p)->sum != p->sum || malloc_usable_size(p) < p->size)
        fail("a block was spoilt");
}

static size_t random_size(uint64_t *seed)
{
    size_t dice = random_below(seed, 1000);
    return 2 * sizeof(struct stamp) + random_below(seed, dice < 2     ? 30000000
                                                         : dice < 20  ? 1000000
                                                         : dice < 100 ? 40000
                                                                      : 600);
}

static struct stamp *make(uint64_t *seed)
{
    size_t size = random_size(seed), way = random_below(seed, 16);
    void *p = NULL;
    if (way == 0 && posix_memalign(&p, (size_t)16 << random_below(seed, 10), size) != 0)
        p = NULL;
    else if (way > 0)
        p = way == 1 ? calloc(1, size) : malloc(size);
    if (way == 1 && p != NULL && (((char *)p)[size / 2] != 0 || ((char *)p)[size - 1] != 0))
        fail("a block is not zeroed");
    if (p == NULL)
        __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
    return p != NULL ? sign(p, size) : NULL;
}

static struct stamp *resize(struct stamp *p, uint64_t *seed)
{
    check_signed(p);
    struct stamp before = *p;
    size_t size = random_below(seed, 2) == 0 ? random_size(seed) : p->size + random_below(seed, p->size);
    struct stamp *q = realloc(p, size);
    if (q == NULL)
        return p;
    if (q->sum != before.sum || q->size != before.size)
        fail("realloc lost contents");
    return sign(q, size);
}

static void give(struct stamp *p)
{
    if (p == NULL)
        return;
    check_signed(p);
    p->sum = 0; /* freed twice would show */
    free(p);
}

static void swap(struct stamp **p, uint64_t *seed)
{
    *p = __atomic_exchange_n(&box[random_below(seed, BOXES)], *p, __ATOMIC_ACQ_REL);
}

/* ---- who takes part --------------------------------------------------------------------------------- */

static void *work(void *seed_of)
{
    uint64_t seed = (uintptr_t)seed_of, done = 0, life = 1000 + random_below(&seed, 100000);
    struct stamp *held[HELD] = {NULL};
    for (; !stopped() && done < life; done++) {
        struct stamp **p = &held[random_below(&seed, HELD)];
        size_t dice = random_below(&seed, 10);
        if (*p == NULL) {
            *p = make(&seed);
        } else if (dice < 2) {
            *p = resize(*p, &seed);
        } else if (dice < 5) {
            swap(p, &seed);
        } else {
            give(*p);
            *p = NULL;
        }
    }
    for (int i = 0; i < HELD; i++)
        give(held[i]);
    __atomic_fetch_add(&steps, done, __ATOMIC_RELAXED);
    return NULL;
}

/* One worker after the other. */
static void *employ(void *seed_of)
{
    for (uintptr_t seed = (uintptr_t)seed_of; !stopped(); seed += 1000) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)seed) != 0)
            fail("no thread");
        pthread_join(thread, NULL);
    }
    return NULL;
}

/* The boxes are a child's own, as they were at the fork; its address space is as good as full. */
static void live_as_child(uint64_t seed)
{
    struct rlimit tight = {victim_memory("VmSize: %zu") + (8 << 20), RLIM_INFINITY};
    alarm(60);
    setrlimit(RLIMIT_AS, &tight);
    for (int i = 0; i < 500; i++) {
        struct stamp **p = &box[random_below(&seed, BOXES)];
        give(*p);
        *p = make(&seed);
    }
    for (int i = 0; i < BOXES; i++)
        give(box[i]);
    _exit(0);
}

static void *bear_children(void *seed_of)
{
    for (uintptr_t seed = (uintptr_t)seed_of; !stopped(); seed++, pause_ms(30)) {
        int status = 0;
        pid_t child = fork();
        if (child == 0)
            live_as_child(seed);
        if (child > 0 && (waitpid(child, &status, 0) != child || status != 0))
            fail("a child did not live");
        children += child > 0;
    }
    return NULL;
}

static void *quit(void *wanted)
{
    for (; *(bool *)wanted && !stopped(); pause_ms(20), quits++)
        kill(getpid(), SIGQUIT);
    return NULL;
}

/* ---- rounds ----------------------------------------------------------------------------------------- */

static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void take_round(long ms, uint64_t seed, bool quits_too)
{
    pthread_t thread[WORKERS + 2];
    stop = false;
    for (uintptr_t i = 0; i < WORKERS; i++)
        pthread_create(&thread[i], NULL, employ, (void *)(seed * 100 + i + 1));
    pthread_create(&thread[WORKERS], NULL, bear_children, (void *)(seed * 100 + 50));
    pthread_create(&thread[WORKERS + 1], NULL, quit, &quits_too);
    pause_ms(ms);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < WORKERS + 2; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < BOXES; i++) {
        give(box[i]);
        box[i] = NULL;
    }
    malloc_trim(0);
}

int main(int count, char **arguments)
{
    long ms = atol(arguments[1]) * 1000,
         round = ms / ROUNDS_LEAST < ROUND_MOST ? ms / ROUNDS_LEAST : ROUND_MOST;
    uint64_t seed = strtoull(arguments[2], NULL, 10);
    size_t warm_rss = 0, warm_use = 0, rss = 0;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (int i = 0; i < ms / round; i++) {
        take_round(round, seed * 1000000 + (uint64_t)i, count > 3);
        rss = victim_memory("RssAnon: %zu");
        size_t use = in_use();
        printf("round %d: %zu KiB resident, %zu bytes in use\n", i, rss / 1024, use);
        if (i < WARM || count <= 3) {
            warm_rss = rss > warm_rss ? rss : warm_rss;
            warm_use = use > warm_use ? use : warm_use;
            continue;
        }
        expect(use <= warm_use + strtoull(arguments[3], NULL, 10));
        expect(rss <= warm_rss + warm_rss / 4 + (1 << 20));
    }
    printf("%llu steps, %llu refusals, %llu children, %llu signals\n", (unsigned long long)steps,
           (unsigned long long)refused, (unsigned long long)children, (unsigned long long)quits);
    expect(children > 0 && steps > 0);
    puts("done");
    return victim_verdict();
}
