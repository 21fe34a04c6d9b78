/* Blocks of 64 KiB to 32 MiB, where the allocator's dealings with the kernel are what counts. */
#include "micro.h"

#include "../tools/random.h"

enum {
    PAGE = 4096,
    SIZES_MASK = SIZES - 1,
    LOG_LEAST = 16,
    DOUBLINGS = 9,
    STEPS_MOST = 128,
    STEP = 256 * 1024
};

/* One write a page: what a program pays that uses what it asked for. */
static void pages_touch(char *block, size_t from, size_t to)
{
    for (size_t at = from; at < to; at += PAGE)
        *(volatile char *)(block + at) = 1;
}

static uint64_t work_pages(struct worker *w, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++, w->at++) {
        void **mine = &w->slot[w->order[w->at & w->order_mask]];
        size_t size = w->size[w->at & SIZES_MASK];

        free(*mine);
        *mine = malloc(size);
        pages_touch(*mine, 0, size);
    }
    return ops;
}

/* 64 KiB to 32 MiB, each doubling as likely as any other. */
static uint32_t size_large(uint64_t *seed)
{
    uint32_t log = (uint32_t)random_below(seed, DOUBLINGS * 256), power = 1u << (LOG_LEAST + (log >> 8));

    return power + (power >> 8) * (log & 255);
}

static uint32_t size_pages(uint64_t *seed)
{
    return (1 << 20) + (uint32_t)random_below(seed, 7 << 20);
}

/* `live` buffers grow side by side, each filled as it grows, and are freed. */
static uint64_t work_swell(struct worker *w, uint64_t ops)
{
    size_t live = w->line->live;
    uint64_t done = 0;

    do {
        for (size_t step = 0; step <= w->order_mask; step++) {
            for (size_t i = 0; i < live; i++) {
                w->slot[i] = realloc(w->slot[i], w->order[step]);
                pages_touch(w->slot[i], step ? w->order[step - 1] : 0, w->order[step]);
            }
        }
        for (size_t i = 0; i < live; i++) {
            free(w->slot[i]);
            w->slot[i] = NULL;
        }
        done += live * (w->order_mask + 1);
    } while (done < ops);
    return done;
}

/* By half if `step` is 0. */
static void steps_fill(struct worker *w, uint32_t size, uint32_t step)
{
    size_t steps = 0;

    prepare_slots(w);
    w->order = table_new(STEPS_MOST * sizeof(*w->order));
    for (; size < w->line->size && steps < STEPS_MOST - 1; size += step ? step : size / 2)
        w->order[steps++] = size;
    w->order[steps] = (uint32_t)w->line->size;
    w->order_mask = steps;
}

static void prepare_swell(struct worker *w)
{
    steps_fill(w, PAGE, 0);
}

static void prepare_swell_slow(struct worker *w)
{
    steps_fill(w, STEP, STEP);
}

const struct test test_large = {.help = "64 KiB to 32 MiB, a random one replaced, its first word written",
                                .prepare = prepare_random,
                                .work = work_random,
                                .draw = size_large};
const struct test test_large_pages = {.help = "1 to 8 MiB, a random one replaced, each of its pages written",
                                      .prepare = prepare_random,
                                      .work = work_pages,
                                      .draw = size_pages};
const struct test test_swell = {.help = "one realloc by half, 4 KiB to the size, what is new being written",
                                .prepare = prepare_swell,
                                .work = work_swell};
const struct test test_swell_slow = {.help = "one realloc by 256 KiB, what is new being written",
                                     .prepare = prepare_swell_slow,
                                     .work = work_swell};
