/* The tests in which a thread frees its own blocks. The timed loops hold the calls and as little else as they
 * can. */
#include "micro.h"

#include "../tools/random.h"

enum { SIZES_MASK = SIZES - 1, ORDER_LEAST = 4096, STEPS_MOST = 1024 };

void prepare_nothing(struct worker *w)
{
    (void)w;
}

static uint64_t work_pair(struct worker *w, uint64_t ops)
{
    const uint32_t *size = w->size;

    for (uint64_t i = 0; i < ops; i++)
        free(touched(malloc(size[i & SIZES_MASK])));
    return ops;
}

static uint64_t work_calloc(struct worker *w, uint64_t ops)
{
    const uint32_t *size = w->size;

    for (uint64_t i = 0; i < ops; i++)
        free(touched(calloc(1, size[i & SIZES_MASK])));
    return ops;
}

void prepare_slots(struct worker *w)
{
    w->slot = table_new(w->line->live * sizeof(*w->slot));
}

void prepare_live(struct worker *w)
{
    prepare_slots(w);
    for (size_t i = 0; i < w->line->live; i++)
        w->slot[i] = touched(malloc(w->size[(i + w->at) & SIZES_MASK]));
}

/* The oldest block dies, a new one takes its slot. */
static uint64_t work_fifo(struct worker *w, uint64_t ops)
{
    const uint32_t *size = w->size;
    void **oldest = w->slot + w->shift, **end = w->slot + w->line->live;
    size_t at = w->at;

    for (uint64_t i = 0; i < ops; i++) {
        free(*oldest);
        *oldest = touched(malloc(size[at++ & SIZES_MASK]));
        if (++oldest == end)
            oldest = w->slot;
    }
    w->shift = (size_t)(oldest - w->slot);
    w->at = at;
    return ops;
}

/* A stack that fills to `live` and empties, again and again. */
static uint64_t work_lifo(struct worker *w, uint64_t ops)
{
    const uint32_t *size = w->size;
    void **slot = w->slot;
    size_t live = w->line->live;
    uint64_t done = 0;

    do {
        for (size_t i = 0; i < live; i++)
            slot[i] = touched(malloc(size[i & SIZES_MASK]));
        for (size_t i = live; i-- > 0;)
            free(slot[i]);
        done += live;
    } while (done < ops);
    return done;
}

/* The same, emptied in the order in which it was filled. */
static uint64_t work_seq(struct worker *w, uint64_t ops)
{
    const uint32_t *size = w->size;
    void **slot = w->slot;
    size_t live = w->line->live;
    uint64_t done = 0;

    do {
        for (size_t i = 0; i < live; i++)
            slot[i] = touched(malloc(size[i & SIZES_MASK]));
        for (size_t i = 0; i < live; i++)
            free(slot[i]);
        done += live;
    } while (done < ops);
    return done;
}

void prepare_random(struct worker *w)
{
    size_t length = ORDER_LEAST;

    prepare_live(w);
    while (length < 2 * w->line->live)
        length *= 2;
    w->order = table_new(length * sizeof(*w->order));
    w->order_mask = length - 1;
    for (size_t i = 0; i < length; i++)
        w->order[i] = (uint32_t)random_below(&w->seed, w->line->live);
}

/* A block chosen at random dies, a new one takes its slot. */
uint64_t work_random(struct worker *w, uint64_t ops)
{
    const uint32_t *size = w->size, *order = w->order;
    void **slot = w->slot;
    size_t live = w->line->live, mask = w->order_mask, at = w->at, shift = w->shift;

    for (uint64_t i = 0; i < ops; i++, at++) {
        size_t pick = order[at & mask] + shift;

        pick -= pick >= live ? live : 0;
        free(slot[pick]);
        slot[pick] = touched(malloc(size[at & SIZES_MASK]));
        if ((at & mask) == mask)
            shift = order[shift & mask];
    }
    w->at = at;
    w->shift = shift;
    return ops;
}

void order_shuffle(struct worker *w, size_t count)
{
    w->order = table_new(count * sizeof(*w->order));
    for (size_t i = 0; i < count; i++) {
        size_t other = random_below(&w->seed, i + 1);

        w->order[i] = w->order[other];
        w->order[other] = (uint32_t)i;
    }
}

static void prepare_tide(struct worker *w)
{
    prepare_live(w);
    order_shuffle(w, w->line->live);
}

/* A random half of the live blocks dies, then as many new ones come: unlike in `random`, holes last. */
static uint64_t work_tide(struct worker *w, uint64_t ops)
{
    const uint32_t *size = w->size, *order = w->order;
    void **slot = w->slot;
    size_t live = w->line->live, half = (live + 1) / 2, at;
    uint64_t done = 0;

    do {
        at = w->shift;
        for (size_t i = 0; i < half; i++) {
            free(slot[order[at]]);
            at = at + 1 == live ? 0 : at + 1;
        }
        at = w->shift;
        for (size_t i = 0; i < half; i++) {
            slot[order[at]] = touched(malloc(size[w->at++ & SIZES_MASK]));
            at = at + 1 == live ? 0 : at + 1;
        }
        w->shift += order[w->shift];
        w->shift -= w->shift >= live ? live : 0;
        done += half;
    } while (done < ops);
    return done;
}

/* `live` buffers that grow side by side through the sizes in `order`, are freed, and start again. */
static uint64_t work_realloc(struct worker *w, uint64_t ops)
{
    size_t live = w->line->live;
    char **buffer = (char **)w->slot;
    uint64_t done = 0;

    do {
        for (size_t step = 0; step <= w->order_mask; step++) {
            for (size_t i = 0; i < live; i++) {
                buffer[i] = realloc(buffer[i], w->order[step]);
                *(volatile char *)(buffer[i] + w->order[step] - 1) = 1;
            }
        }
        for (size_t i = 0; i < live; i++) {
            free(buffer[i]);
            buffer[i] = NULL;
        }
        done += live * (w->order_mask + 1);
    } while (done < ops);
    return done;
}

/* A mixed line grows as far as the largest mixed size. */
static void steps_fill(struct worker *w, uint32_t first, uint32_t (*next)(uint32_t))
{
    size_t end = w->line->size == MIXED ? MIXED_MAX : w->line->size, steps = 0;

    prepare_slots(w);
    w->order = table_new(STEPS_MOST * sizeof(*w->order));
    for (uint32_t size = first; size < end && steps < STEPS_MOST - 1; size = next(size))
        w->order[steps++] = size;
    w->order[steps] = (uint32_t)end;
    w->order_mask = steps;
}

static uint32_t half_more(uint32_t size)
{
    return size + size / 2;
}

static uint32_t line_more(uint32_t size)
{
    return size + 64;
}

static void prepare_grow(struct worker *w)
{
    steps_fill(w, 16, half_more);
}

static void prepare_append(struct worker *w)
{
    steps_fill(w, 64, line_more);
}

const struct test test_pair = {.help = "malloc, write, free", .prepare = prepare_nothing, .work = work_pair};
const struct test test_calloc = {
    .help = "calloc, write, free", .prepare = prepare_nothing, .work = work_calloc};
const struct test test_fifo = {
    .help = "the oldest of the live blocks replaced", .prepare = prepare_live, .work = work_fifo};
const struct test test_lifo = {
    .help = "a stack filled and emptied", .prepare = prepare_slots, .work = work_lifo};
const struct test test_seq = {
    .help = "a queue filled and emptied", .prepare = prepare_slots, .work = work_seq};
const struct test test_random = {.help = "a random one of each thread's live blocks replaced",
                                 .prepare = prepare_random,
                                 .work = work_random};
const struct test test_tide = {.help = "a random half of the live blocks freed, then replaced",
                               .prepare = prepare_tide,
                               .work = work_tide};
const struct test test_grow = {.help = "one realloc by half, 16 bytes to the size, 64 buffers side by side",
                               .prepare = prepare_grow,
                               .work = work_realloc};
const struct test test_append = {.help = "one realloc by 64 bytes, 64 buffers side by side",
                                 .prepare = prepare_append,
                                 .work = work_realloc};
