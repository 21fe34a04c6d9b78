/*
 * A miss, and what it costs. Pop misses when the loaded magazine is empty:
 *     1. a full magazine of the own stack           no lock
 *     2. a full magazine of the pool's depot        one lock, O(1)
 *     3. the own empty one, filled from bitmaps     one lock, about 1 ns a block
 *     4. a fresh slab, then 3                       region's lock, perhaps the kernel
 * Push misses when it is full:
 *     1. on the own stack, while the byte budget holds
 *     2. to the depot, for a spare                  one lock, O(1)
 *     3. its blocks to the bitmaps                  one lock, about 2 ns a block
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

enum {
    STACK_BYTES = 128 * 1024, /* of blocks in the stack of one class */
    WANT_FIRST = 8,
};

struct cache cache_none;
__thread struct cache *cache_self = &cache_none;

static size_t budget;

void cache_budget(size_t bytes)
{
    budget = bytes;
}

/* Takes the loaded magazine out, its count put right; NULL if none is loaded. */
static struct magazine *unload(struct cache *cache, unsigned c)
{
    struct magazine *m = cache->bin[c].loaded;
    uint32_t count = (uint32_t)cache->count[c];
    WRITE_ONCE(cache->count[c], 0);
    WRITE_ONCE(cache->limit[c], 0);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    cache->bin[c].loaded = NULL;
    if (m != NULL)
        m->count = count;
    return m;
}

static void load(struct cache *cache, unsigned c, struct magazine *m)
{
    cache->bin[c].loaded = m;
    cache->slots[c] = m->slot;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    WRITE_ONCE(cache->limit[c], m->batch);
    WRITE_ONCE(cache->count[c], m->count);
}

static size_t magazine_weight(unsigned c)
{
    return (size_t)class_table[c].batch * class_table[c].size;
}

/* Keeps an empty magazine for later. */
static void keep_spare(struct bin *bin, struct magazine *m)
{
    if (bin->spare == NULL)
        bin->spare = m;
    else
        magazine_delete(m);
}

static struct magazine *get_spare(struct bin *bin, unsigned c)
{
    struct magazine *m = bin->spare;
    bin->spare = NULL;
    return m != NULL ? m : magazine_new(class_table[c].batch);
}

static struct magazine *unstack(struct cache *cache, unsigned c)
{
    struct bin *bin = &cache->bin[c];
    struct magazine *m = bin->full;
    bin->full = m->next;
    WRITE_ONCE(bin->full_count, bin->full_count - 1);
    cache->stacked -= magazine_weight(c);
    return m;
}

static bool may_stack(const struct cache *cache, unsigned c)
{
    size_t weight = magazine_weight(c);
    return cache->stacked + weight <= budget && (cache->bin[c].full_count + 1) * weight <= STACK_BYTES;
}

static void stack(struct cache *cache, unsigned c, struct magazine *m)
{
    struct bin *bin = &cache->bin[c];
    m->next = bin->full;
    bin->full = m;
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

bool cache_refill(struct cache *cache, unsigned c)
{
    struct bin *bin = &cache->bin[c];
    debug_check(cache->count[c] == 0);
    struct magazine *m = unload(cache, c);
    if (bin->full != NULL) {
        if (m != NULL)
            keep_spare(bin, m);
        load(cache, c, unstack(cache, c));
        return true;
    }
    if (m == NULL && (m = get_spare(bin, c)) == NULL)
        return false;
    unsigned want = next_want(bin, m->batch);
    for (;;) {
        struct magazine *filled = pool_take(&pools[c], m, want);
        if (filled != NULL) {
            load(cache, c, filled);
            return true;
        }
        /* The loop ends: either the slab's blocks are ours to take, or others took them all and went on. */
        struct slab *s = region_claim_slab(c);
        if (s == NULL || !pool_add_slab(&pools[c], s)) {
            if (s != NULL)
                region_release_slab(s);
            load(cache, c, m);
            return false;
        }
    }
}

bool cache_flush(struct cache *cache, unsigned c, struct pool_news *news)
{
    struct bin *bin = &cache->bin[c];
    struct magazine *m = unload(cache, c), *empty = NULL;
    if (m != NULL && !may_stack(cache, c))
        empty = pool_give(&pools[c], m, news);
    else if (m != NULL)
        stack(cache, c, m);
    if (empty == NULL && (empty = get_spare(bin, c)) == NULL)
        return false;
    load(cache, c, empty);
    return true;
}

void cache_drain(struct cache *cache, unsigned c, struct pool_news *news)
{
    struct bin *bin = &cache->bin[c];
    struct magazine *m = unload(cache, c);
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
        bin->spare = NULL;
    }
    bin->want = 0;
    WRITE_ONCE(bin->full_count, 0); /* of a thread that was interrupted, the count may be one off, */
}

void cache_drain_all(struct cache *cache, struct pool_news *news)
{
    EACH_CLASS (c)
        cache_drain(cache, c, news);
    cache->stacked = 0; /* and so may the sum */
}

uint64_t cache_held(const struct cache *cache, unsigned c)
{
    return READ_ONCE(cache->count[c]) + (uint64_t)READ_ONCE(cache->bin[c].full_count) * class_table[c].batch;
}

void cache_check(const struct cache *cache)
{
    size_t stacked = 0;
    for (unsigned c = 1; c < CLASS_MAX; c++) {
        check(cache->count[c] <= cache->limit[c]);
        if (!class_is_pool(c) || class_table[c].size == 0) {
            check(cache->limit[c] == 0);
            continue;
        }
        const struct bin *bin = &cache->bin[c];
        check(bin->loaded == NULL
                  ? cache->limit[c] == 0
                  : cache->limit[c] == bin->loaded->batch && cache->slots[c] == bin->loaded->slot);
        uint32_t full = 0;
        for (const struct magazine *m = bin->full; m != NULL; m = m->next, full++)
            check(m->count == m->batch);
        check(full == bin->full_count);
        stacked += full * magazine_weight(c);
        for (size_t i = 0; i < cache->count[c]; i++)
            check(region_class(cache->slots[c][i]) == c);
    }
    check(stacked == cache->stacked && stacked <= budget);
}
