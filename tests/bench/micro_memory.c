/*
 * The tests whose figure is memory. Resident is what the process holds less the harness's own tables, so the
 * program itself and libc are in it: a little over 1 MiB. Live counts the bytes that were asked for.
 */
#include "micro.h"

#include "../tools/random.h"

#include <malloc.h>
#include <string.h>
#include <unistd.h>

enum {
    SIZES_MASK = SIZES - 1,
    STAYS = 10, /* one block in ten stays */
    PHASE_BYTES = 16 * 1024 * 1024,
    PHASES = 8,
    CYCLES = 2,
    MODEST_BYTES = 10 * 1024 * 1024,
    ASLEEP_BLOCKS = 256,
    RUN = 4096, /* half a megabyte of neighbours */
    STACK = 16 * 1024
};

/* What programs hold: most of it 24 to 200 bytes, some of it up to 8 KiB. */
static uint32_t size_asleep(uint64_t *seed)
{
    uint32_t log = (uint32_t)random_below(seed, 32) ? (uint32_t)random_below(seed, 4)
                                                    : 4 + (uint32_t)random_below(seed, 5);

    return (16u << log) + (uint32_t)random_below(seed, 16u << log);
}

/* Nobody calls malloc from here on. `scale` is what the details are told in, `before` what doesn't count. */
static void idle(long before, double scale)
{
    detail_add("0s", (double)(rss_kib() - before) / scale);
    for (unsigned second = 1; second <= idle_seconds; second++) {
        sleep(1);
        if (second == 1)
            resident_set(rss_kib() - before);
        if (second == 1 || second == idle_seconds)
            detail_add(second == 1 ? "1s" : "end", (double)(rss_kib() - before) / scale);
    }
}

static void idle_after(uint64_t live, uint64_t usable)
{
    detail_add("live", (double)live / (1 << 20));
    detail_add("usable", (double)usable / (1 << 20));
    idle(0, 1024);
}

struct left {
    uint64_t live, usable;
};

/*
 * `live` blocks, of which a tenth is left. They go in runs of neighbours, as what belongs together does: runs
 * are in random order, unless one holds all. In runs of one nearly every page keeps a block, so nobody can
 * give much back.
 */
static struct left tail_make(struct worker *w, size_t run)
{
    size_t live = w->line->live - w->line->live % run;
    struct left left = {0};

    prepare_slots(w);
    order_shuffle(w, live / run);
    for (size_t i = 0; i < live; i++)
        w->slot[i] = touched(malloc(w->size[i & SIZES_MASK]));
    for (size_t i = 0; i < live; i++) {
        size_t pick = w->order[i / run] * run + i % run;

        if (i < live - live / STAYS) {
            free(w->slot[pick]);
            continue;
        }
        left.live += w->size[pick & SIZES_MASK];
        left.usable += malloc_usable_size(w->slot[pick]);
    }
    return left;
}

static uint64_t tail_alone(struct worker *w, size_t run)
{
    struct left left = tail_make(w, run);

    idle_after(left.live, left.usable);
    return w->line->live;
}

static uint64_t work_tail_random(struct worker *w, uint64_t ops)
{
    (void)ops;
    return tail_alone(w, 1);
}

static uint64_t work_tail_runs(struct worker *w, uint64_t ops)
{
    (void)ops;
    return tail_alone(w, RUN);
}

static uint64_t work_tail_order(struct worker *w, uint64_t ops)
{
    (void)ops;
    return tail_alone(w, w->line->live);
}

static pthread_barrier_t all;
static struct left left_by_all;

static size_t run_of_all;

static void *tail_main(void *arg)
{
    struct left left = tail_make(arg, run_of_all);

    __atomic_fetch_add(&left_by_all.live, left.live, __ATOMIC_RELAXED);
    __atomic_fetch_add(&left_by_all.usable, left.usable, __ATOMIC_RELAXED);
    pthread_barrier_wait(&all);
    pause();
    return NULL;
}

static void threads_start(struct worker *w, void *(*run)(void *))
{
    struct worker *copies = table_new(w->line->threads * sizeof(*copies));

    pthread_barrier_init(&all, NULL, w->line->threads + 1);
    for (unsigned i = 0; i < w->line->threads; i++) {
        copies[i] = worker_copy(w, i);
        pthread_detach(thread_new(run, &copies[i]));
    }
}

static uint64_t tail_threads(struct worker *w, size_t run)
{
    run_of_all = run;
    threads_start(w, tail_main);
    pthread_barrier_wait(&all);
    idle_after(left_by_all.live, left_by_all.usable);
    return w->line->live * w->line->threads;
}

static uint64_t work_tail_threads(struct worker *w, uint64_t ops)
{
    (void)ops;
    return tail_threads(w, 1);
}

static uint64_t work_tail_threads_runs(struct worker *w, uint64_t ops)
{
    (void)ops;
    return tail_threads(w, RUN);
}

/* Its stack is there before anything is counted; all it allocates it frees. */
static void *asleep_main(void *arg)
{
    struct worker *w = arg;
    void *block[ASLEEP_BLOCKS];
    volatile char stack[STACK];

    memset((void *)stack, 1, sizeof(stack));
    pthread_barrier_wait(&all);
    pthread_barrier_wait(&all);
    for (size_t i = 0; i < ASLEEP_BLOCKS; i++)
        block[i] = touched(malloc(w->size[(w->at + i) & SIZES_MASK]));
    for (size_t i = 0; i < ASLEEP_BLOCKS; i++)
        free(block[i]);
    pthread_barrier_wait(&all);
    pause();
    return NULL;
}

/* What each thread holds that has no block any more, in bytes. */
static uint64_t work_asleep(struct worker *w, uint64_t ops)
{
    long before;

    (void)ops;
    threads_start(w, asleep_main);
    pthread_barrier_wait(&all);
    before = rss_kib();
    pthread_barrier_wait(&all);
    pthread_barrier_wait(&all);
    idle(before, w->line->threads / 1024.0);
    return (uint64_t)w->line->threads * ASLEEP_BLOCKS;
}

static uint64_t work_fresh(struct worker *w, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++)
        touched(malloc(w->size[i & SIZES_MASK]));
    return ops;
}

static uint64_t work_modest(struct worker *w, uint64_t ops)
{
    size_t bytes = 0, i;

    (void)ops;
    for (i = 0; bytes < MODEST_BYTES; bytes += w->size[i++ & SIZES_MASK])
        touched(malloc(w->size[i & SIZES_MASK]));
    resident_set(rss_kib());
    return i;
}

/*
 * A program that works through phases: 16 MiB of one size, a random tenth of it stays, then another size. What
 * stayed of a phase is freed when its turn comes again.
 */
struct phases {
    void **slot, **kept[PHASES];
    size_t keeps[PHASES];
    uint64_t seed, live, ops;
};

static void phase_run(struct phases *p, int phase, const uint32_t *size)
{
    size_t count, bytes = 0;

    for (size_t i = 0; i < p->keeps[phase]; i++)
        free(p->kept[phase][i]);
    p->keeps[phase] = 0;
    for (count = 0; bytes < PHASE_BYTES; bytes += size[count++ & SIZES_MASK])
        p->slot[count] = memset(malloc(size[count & SIZES_MASK]), 1, size[count & SIZES_MASK]);
    for (size_t i = 0; i < count; i++) {
        size_t other = i + random_below(&p->seed, count - i);
        void *block = p->slot[other];

        p->slot[other] = p->slot[i];
        if (i % STAYS == 0)
            p->kept[phase][p->keeps[phase]++] = block;
        else
            free(block);
    }
    p->ops += count;
}

/* Sizes within a quarter below the phase's own. */
static uint64_t phases_run(struct worker *w, const uint32_t *sizes)
{
    uint32_t *size = table_new(SIZES * sizeof(*size));
    size_t most = PHASE_BYTES / (sizes[0] / 4 * 3) + 1;
    struct phases p = {.slot = table_new(most * sizeof(void *)), .seed = w->seed};

    for (int i = 0; i < PHASES; i++)
        p.kept[i] = table_new((most / STAYS + 1) * sizeof(void *));
    for (int i = 0; i < PHASES * CYCLES; i++) {
        for (int j = 0; j < SIZES; j++)
            size[j] = sizes[i % PHASES] - (uint32_t)random_below(&p.seed, sizes[i % PHASES] / 4);
        phase_run(&p, i % PHASES, size);
    }
    resident_set(rss_kib());
    detail_add("live", (double)PHASES * PHASE_BYTES / STAYS / (1 << 20));
    detail_add("peak", (double)peak_kib() / 1024);
    return p.ops;
}

static uint64_t work_phases(struct worker *w, uint64_t ops)
{
    static const uint32_t sizes[PHASES] = {32, 48, 96, 64, 160, 128, 320, 256};

    (void)ops;
    return phases_run(w, sizes);
}

static uint64_t work_phases_wide(struct worker *w, uint64_t ops)
{
    static const uint32_t sizes[PHASES] = {64, 2048, 256, 12000, 512, 40000, 1024, 5000};

    (void)ops;
    return phases_run(w, sizes);
}

const struct test test_fresh = {.help = "a block that grows the heap: memory that nobody had before",
                                .prepare = prepare_nothing,
                                .work = work_fresh,
                                .kind = ONCE};
const struct test test_modest = {.help = "resident with 10 MiB live",
                                 .prepare = prepare_nothing,
                                 .work = work_modest,
                                 .unit = "MiB",
                                 .kind = ONCE};
const struct test test_phases = {.help = "resident after 16 phases of 16 MiB, 24 to 320 bytes, 13 MiB live",
                                 .prepare = prepare_nothing,
                                 .work = work_phases,
                                 .unit = "MiB",
                                 .kind = ONCE};
const struct test test_phases_wide = {
    .help = "resident after 16 phases of 16 MiB, 48 to 40000 bytes, 13 MiB live",
    .prepare = prepare_nothing,
    .work = work_phases_wide,
    .unit = "MiB",
    .kind = ONCE};
const struct test test_tail_random = {.help = "resident 1 s after a random nine tenths of 200 MB were freed",
                                      .prepare = prepare_nothing,
                                      .work = work_tail_random,
                                      .unit = "MiB",
                                      .kind = ONCE};
const struct test test_tail_order = {.help = "resident 1 s after the first nine tenths of 200 MB were freed",
                                     .prepare = prepare_nothing,
                                     .work = work_tail_order,
                                     .unit = "MiB",
                                     .kind = ONCE};
const struct test test_tail_threads = {
    .help = "resident 1 s after threads freed a random nine tenths of 200 MB and went to sleep",
    .prepare = prepare_nothing,
    .work = work_tail_threads,
    .unit = "MiB",
    .kind = ONCE | OWN_THREADS};
const struct test test_tail_runs = {.help =
                                        "resident 1 s after nine tenths of 200 MB were freed in runs of 4096",
                                    .prepare = prepare_nothing,
                                    .work = work_tail_runs,
                                    .unit = "MiB",
                                    .kind = ONCE};
const struct test test_tail_threads_runs = {
    .help = "resident 1 s after threads freed nine tenths of 200 MB in runs of 4096 and went to sleep",
    .prepare = prepare_nothing,
    .work = work_tail_threads_runs,
    .unit = "MiB",
    .kind = ONCE | OWN_THREADS};
const struct test test_asleep = {.help =
                                     "resident per thread, its stack apart, 1 s after all it had was freed",
                                 .prepare = prepare_nothing,
                                 .work = work_asleep,
                                 .draw = size_asleep,
                                 .unit = "bytes/thread",
                                 .kind = ONCE | OWN_THREADS};
