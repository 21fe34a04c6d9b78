/*
 * A miss, and what it costs. Pop misses when the loaded magazine is empty:
 *     1. a full magazine of the own stack           no lock
 *     2. a full magazine of the pool's depot        one lock, O(1)
 *     3. the own empty one, filled from bitmaps     one lock, about 1 ns a block
 *     4. a fresh slab, then 3                       region's lock, perhaps the kernel
 * Push misses when it is full:
 *     1. on the own stack, while the byte budget holds
 *     2. to the depot, for a spare                  one lock, O(1)
 *     3. its blocks to the bitmaps                  one lock, about 2 ns a block; of many, all (pool_passed)
 *
 * The own stack is what keeps threads apart: with mixed lifetimes over 8 threads and no stack, blocks
 * ping-ponged through the depot (.607 s; .234 s with 64 KiB of stack a class). It is bounded per class and in
 * all.
 *
 * An interrupted thread (a fork's child sees such ones) leaves at worst a magazine that nobody holds: blocks
 * go out of the count before they go anywhere else, and into it last.
 */
#include "cache.h"

#include "check.h"
#include "region.h"

#include <string.h>

enum {
    STACK_BYTES = 128 * 1024, /* of blocks in the stack of one class */
    WANT_FIRST = 8,
    THREADS_FREE = 16, /* as many threads may use their whole budget; more share what these could have */
};

struct cache cache_none;
__thread struct cache *cache_self = &cache_none;

/* Bytes: of one thread, alone and among all there are. */
CONSTANT static size_t budget;
static size_t share;

void cache_budget(size_t bytes)
{
    budget = share = bytes;
}

/* Sixty-four threads that hand blocks of mixed sizes on: 63 -> 38 MB at the peak, and 40 -> 33 ns. With a share from four
   threads on 31 MB, but eight producers and eight consumers then take 49 ns instead of 27. Smaller magazines as well, a
   quarter with 64 threads: 0.97 of the memory, but churn and swap take 1.3 and 1.4 of the time. */
void cache_share(unsigned threads)
{
    WRITE_ONCE(share, threads > THREADS_FREE ? budget / threads * THREADS_FREE : budget);
}

/* Blocks in the loaded magazine. A thread may be interrupted while it loads or unloads: without a top, the count that
   the magazine has of itself is right. Another thread may read a top and a base that do not belong together. */
static uint32_t loaded_count(const struct bin *bin)
{
    void **top = __atomic_load_n(&bin->top, __ATOMIC_ACQUIRE);
    void **base = __atomic_load_n(&bin->base, __ATOMIC_ACQUIRE);
    size_t count = (size_t)(top - base);
    return top == NULL || count > MAGAZINE_MAX ? 0 : (uint32_t)count;
}

/* Takes the loaded magazine out, its count put right; NULL if none is loaded. Here and in unstack the blocks leave the
   count by a release: who misses them sees what the thread wrote before, `draining`. */
static struct magazine *unload(struct bin *bin)
{
    struct magazine *m = bin->loaded;
    if (m != NULL && bin->top != NULL)
        m->count = loaded_count(bin);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&bin->top, NULL, __ATOMIC_RELEASE);
    __atomic_store_n(&bin->base, NULL, __ATOMIC_RELEASE);
    WRITE_ONCE(bin->limit, NULL);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    WRITE_ONCE(bin->loaded, NULL);
    return m;
}

static void load(struct bin *bin, struct magazine *m)
{
    WRITE_ONCE(bin->loaded, m);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    WRITE_ONCE(bin->base, m->slot);
    WRITE_ONCE(bin->limit, m->slot + m->batch);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    WRITE_ONCE(bin->top, m->slot + m->count);
}

static size_t magazine_weight(unsigned c)
{
    return (size_t)class_table[c].batch * class_table[c].size;
}

/* Keeps an empty magazine for later. One is enough: with four, 0.96 to 1.08 of the time, no gain on the whole. */
static void keep_spare(struct bin *bin, struct magazine *m)
{
    if (bin->spare == NULL)
        WRITE_ONCE(bin->spare, m);
    else
        magazine_delete(m);
}

/* The least that a magazine may have to hold `want` blocks; a class's own is the most. A thread begins small: a thousand
   that allocated a bit of everything and went to sleep hold 82 KB each, and held 93 with magazines of full size. */
static unsigned batch_for(unsigned c, unsigned want)
{
    unsigned batch = MAGAZINE_MIN, most = class_table[c].batch;
    while (batch < want)
        batch = magazine_next(batch);
    return batch < most ? batch : most;
}

/* An empty magazine for `want` blocks: the spare one if it will do, else a new one. */
static struct magazine *get_spare(struct bin *bin, unsigned c, unsigned want)
{
    struct magazine *m = bin->spare;
    unsigned batch = batch_for(c, want);
    if (m == NULL || m->batch < batch)
        return magazine_new(batch);
    WRITE_ONCE(bin->spare, NULL);
    return m;
}

/* `m`, or a magazine that can hold `want` blocks, with what was in it; NULL: there was none, and there is no memory. */
static struct magazine *enlarge(struct bin *bin, unsigned c, struct magazine *m, unsigned want)
{
    if (m != NULL && m->batch >= batch_for(c, want))
        return m;
    struct magazine *bigger = get_spare(bin, c, want);
    if (bigger == NULL || m == NULL)
        return bigger != NULL ? bigger : m;
    bigger->count = m->count;
    memcpy(bigger->slot, m->slot, m->count * sizeof *m->slot);
    magazine_delete(m);
    return bigger;
}

static struct magazine *unstack(struct cache *cache, unsigned c)
{
    struct bin *bin = &cache->bin[c];
    struct magazine *m = bin->full;
    WRITE_ONCE(bin->full, m->next);
    __atomic_store_n(&bin->full_count, bin->full_count - 1, __ATOMIC_RELEASE);
    cache->stacked -= magazine_weight(c);
    return m;
}

/*
 * Who only frees blocks of a class has no use for a stack of them: they go on at once to who allocates. With stacks, eight
 * threads that allocate and eight that free held 18.4 MB and hold 9.8 (blocks of up to 1000 bytes: 22.5 and 15.0),
 * 32 of each 36.7 and 27.0, in 0.97 to 1.05 of the time.
 */
static bool may_stack(const struct cache *cache, unsigned c)
{
    size_t weight = magazine_weight(c);
    const struct bin *bin = &cache->bin[c];
    return bin->want > 0 && cache->stacked + weight <= READ_ONCE(share) &&
           (bin->full_count + 1) * weight <= STACK_BYTES;
}

static void stack(struct cache *cache, unsigned c, struct magazine *m)
{
    struct bin *bin = &cache->bin[c];
    m->next = bin->full;
    WRITE_ONCE(bin->full, m);
    WRITE_ONCE(bin->full_count, bin->full_count + 1);
    cache->stacked += magazine_weight(c);
}

/*
 * How many blocks to take out of slabs: few at first, and twice as many each time. What a thread takes in a row lies
 * in a row, so a full magazine of each of forty classes is forty stretches of memory in which it writes a block or
 * two: 2000 threads that allocated a little of everything held 263 KiB each, and hold 198 so.
 */
static unsigned next_want(struct bin *bin, unsigned batch)
{
    unsigned want = bin->want > 0 ? bin->want : WANT_FIRST;
    bin->want = 2 * want < batch ? 2 * want : batch;
    return want < batch ? want : batch;
}

/*
 * Slabs begin at multiples of 64 KiB. If the first block of each were the first to go, it would also be the one that a
 * program frees and gets again and again, and forty classes' would fight for one set of the machine's cache: pairs of
 * malloc and free of random sizes took 10.9 ns, and take 7.5. So of a thread's first few blocks of a class another one is
 * the first in each class.
 */
static void stagger(struct magazine *m, unsigned c)
{
    void *slot[WANT_FIRST];
    if (m->count > WANT_FIRST)
        return;
    memcpy(slot, m->slot, m->count * sizeof *slot);
    for (unsigned i = 0; i < m->count; i++)
        m->slot[i] = slot[(i + c) % m->count];
}

bool cache_refill(struct cache *cache, unsigned c, bool grow)
{
    struct bin *bin = &cache->bin[c];
    debug_check(bin->top == bin->base);
    struct magazine *m = unload(bin);
    if (bin->full != NULL) {
        if (m != NULL)
            keep_spare(bin, m);
        load(bin, unstack(cache, c));
        return true;
    }
    bool first = bin->want == 0;
    unsigned want = next_want(bin, class_table[c].batch);
    m = enlarge(bin, c, m, want);
    if (m == NULL)
        return false;
    want = want < m->batch ? want : m->batch;
    for (;;) {
        struct magazine *filled = pool_take(&pools[c], m, want);
        if (filled != NULL) {
            if (first)
                stagger(filled, c);
            load(bin, filled);
            return true;
        }
        /* The loop ends: either the slab's blocks are ours to take, or others took them all and went on. */
        if (!grow || pool_grow(&pools[c]) != POOL_GREW) {
            load(bin, m);
            return false;
        }
    }
}

bool cache_pop_coldest(struct cache *cache, unsigned c, void **block)
{
    struct bin *bin = &cache->bin[c];
    size_t count = (size_t)(bin->top - bin->base);
    if (count == 0)
        return false;
    *block = bin->base[0];
    memmove(bin->base, bin->base + 1, (count - 1) * sizeof *bin->base);
    WRITE_ONCE(bin->top, bin->top - 1);
    return true;
}

/*
 * An empty magazine comes first: without memory for one, a full one is emptied in its place. Stacked away, it would be
 * missing from then on, and each free would ask the kernel in vain (RLIMIT_AS of 256 MiB full of blocks of 48: freeing
 * them took 30 s).
 */
bool cache_flush(struct cache *cache, unsigned c, struct pool_news *news)
{
    struct bin *bin = &cache->bin[c];
    struct magazine *m = unload(bin), *empty = NULL;
    uint32_t most = class_table[c].batch;
    if (m == NULL) {
        empty = get_spare(bin, c, WANT_FIRST);
    } else if (m->batch < most) {
        empty = enlarge(bin, c, m, m->batch + 1);
        if (empty == m)
            pool_empty(&pools[c], m, news);
    } else if ((empty = get_spare(bin, c, most)) == NULL) {
        pool_empty(&pools[c], m, news);
        empty = m;
    } else if (may_stack(cache, c) && !pool_passed(&pools[c])) {
        stack(cache, c, m);
    } else {
        m = pool_give(&pools[c], m, news);
        if (m != NULL)
            keep_spare(bin, m);
        while (bin->full != NULL && pool_passed(&pools[c])) {
            m = unstack(cache, c);
            pool_empty(&pools[c], m, news);
            keep_spare(bin, m);
        }
    }
    if (empty != NULL)
        load(bin, empty);
    return empty != NULL;
}

void cache_drain(struct cache *cache, unsigned c, struct pool_news *news)
{
    struct bin *bin = &cache->bin[c];
    WRITE_ONCE(cache->draining, (uint8_t)c);
    struct magazine *m = unload(bin);
    if (m == NULL && bin->full != NULL)
        m = unstack(cache, c);
    while (m != NULL) {
        struct magazine *empty = pool_give(&pools[c], m, news);
        if (empty != NULL)
            magazine_delete(empty);
        m = bin->full != NULL ? unstack(cache, c) : NULL;
    }
    if (bin->spare != NULL) {
        magazine_delete(bin->spare);
        WRITE_ONCE(bin->spare, NULL);
    }
    bin->want = 0;
    WRITE_ONCE(bin->full_count, 0); /* of a thread that was interrupted, the count may be one off, */
    __atomic_store_n(&cache->draining, 0, __ATOMIC_RELEASE);
}

void cache_drain_all(struct cache *cache, struct pool_news *news)
{
    EACH_CLASS (c)
        cache_drain(cache, c, news);
    cache->stacked = 0; /* and so may the sum */
}

uint64_t cache_held(const struct cache *cache, unsigned c)
{
    const struct bin *bin = &cache->bin[c];
    uint64_t full = __atomic_load_n(&bin->full_count, __ATOMIC_ACQUIRE);
    uint32_t waiting = __atomic_load_n(&bin->waiting, __ATOMIC_ACQUIRE);
    return loaded_count(bin) + full * READ_ONCE(class_table[c].batch) + waiting;
}

bool cache_has_magazines(const struct cache *cache, unsigned c)
{
    const struct bin *bin = &cache->bin[c];
    return READ_ONCE(bin->loaded) != NULL || READ_ONCE(bin->full) != NULL || READ_ONCE(bin->spare) != NULL;
}

static COLD void check_bin(const struct bin *bin, unsigned c)
{
    const struct magazine *m = bin->loaded;
    check(m == NULL ? bin->base == NULL && bin->limit == NULL
                    : bin->base == m->slot && bin->limit == m->slot + m->batch);
    check(bin->base <= bin->top && bin->top <= bin->limit);
    for (void **slot = bin->base; slot < bin->top; slot++)
        check(region_class(*slot) == c);
    uint32_t full = 0;
    for (m = bin->full; m != NULL; m = m->next, full++)
        check(m->count == m->batch && m->batch == class_table[c].batch);
    check(full == bin->full_count);
}

COLD void cache_check(const struct cache *cache)
{
    size_t stacked = 0;
    for (unsigned c = 0; c < CLASS_MAX; c++) {
        check_bin(&cache->bin[c], c);
        check((class_is_pool(c) && class_table[c].size > 0) || !cache_has_magazines(cache, c));
        stacked += cache->bin[c].full_count * magazine_weight(c);
    }
    check(stacked == cache->stacked && stacked <= budget);
}
