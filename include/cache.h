/*
 * cache: one thread's magazines: the hot path.
 *
 * Owns:       for each class a loaded magazine, a short stack of full ones, and a spare empty one.
 * Promises:   pop and push take no lock, make no call, and do not touch the block; what is held is bounded in bytes
 *             (TARN_CACHE).
 * Guarded by: its thread alone writes it. Others read counts (READ_ONCE) for the dump; a fork's child takes over
 *             the caches of the threads that it does not have.
 * Never:      knows how memory is got: a miss goes to refill and flush, and these to the pool.
 *
 *     slots[c] -> [ b0 b1 b2 b3 .  .  .  . ]
 *                              ^ count[c]   ^ limit[c]
 *                 pop takes b3; push puts behind it
 *
 *     0 <= count <= limit <= loaded->batch          slots[c] == loaded->slot
 *
 * All zeroes is a good cache: empty (count == 0) and full (count == limit == 0) at once, so every pop and push
 * misses. A thread that has no cache yet, or none any more, points at such a one; class 0 and large blocks have
 * such a row for ever. That is why nothing on the hot path asks "am I initialised?".
 */
#ifndef TARN_CACHE_H
#define TARN_CACHE_H

#include "base.h"
#include "magazine.h"
#include "pool.h"
#include "sizeclass.h"

struct bin {
    struct magazine *loaded;
    struct magazine *full;  /* stack of full ones */
    struct magazine *spare; /* an empty one, or NULL */
    uint32_t full_count;
    uint32_t want; /* blocks that the next refill takes from slabs; 0: as few as at first */
};

struct cache {
    /* Hot. Three rows of full words: gcc then addresses each with the class and no further instruction. */
    size_t count[CLASS_MAX]; /* blocks in the loaded magazine */
    size_t limit[CLASS_MAX]; /* how many may be */
    void **slots[CLASS_MAX];
    /* Slow path only. */
    struct bin bin[CLASS_MAX];
    size_t stacked;      /* bytes of blocks in the stacks of full magazines */
    uint32_t epoch;      /* gc.c: the last collection that this thread took part in */
    struct cache *made;  /* thread.c: the one made before this; fixed once it can be seen */
    struct cache *idle;  /* thread.c: the next one without a thread; under LOCK_THREADS */
    struct cache **self; /* thread.c: its thread's cache_self; NULL: it has no thread; under LOCK_THREADS */
};

/* The cache of this thread; at first, and after the thread's end, the constant cache that always misses. */
extern __thread struct cache *cache_self TLS_INITIAL;
extern HIDDEN struct cache cache_none;

/* A block of class `c` in *block; false: a miss. Any thread, for its own cache. */
INLINE bool cache_pop(struct cache *cache, size_t c, void **block)
{
    size_t count = cache->count[c];
    if (unlikely(count == 0))
        return false;
    WRITE_ONCE(cache->count[c], count - 1);
    *block = cache->slots[c][count - 1];
    return true;
}

/* Keeps `block` of class `c`; false: a miss, nothing was kept. */
INLINE bool cache_push(struct cache *cache, size_t c, void *block)
{
    size_t count = cache->count[c];
    if (unlikely(count >= cache->limit[c]))
        return false;
    cache->slots[c][count] = block;
    WRITE_ONCE(cache->count[c], count + 1);
    return true;
}

/* After a miss of pop: loads a magazine with at least one block of class `c`. False: no memory (or no cache
   memory): nothing changed. May ask the region for a slab. */
bool cache_refill(struct cache *cache, unsigned c);

/* After a miss of push: makes room in class `c`. False: no memory for an empty magazine. Bad pointers and
   empty slabs found on the way are in `news`. */
bool cache_flush(struct cache *cache, unsigned c, struct pool_news *news);

/* Gives every block of class `c` back to its pool's slabs, and the magazines to meta. */
void cache_drain(struct cache *cache, unsigned c, struct pool_news *news);

/* The same for all classes. */
void cache_drain_all(struct cache *cache, struct pool_news *news);

/* Blocks of class `c` that the cache holds; approximate from another thread. */
uint64_t cache_held(const struct cache *cache, unsigned c);

/* Most bytes of blocks that the stacks of one thread may hold, besides the loaded magazines. */
void cache_budget(size_t bytes);

void cache_check(const struct cache *cache);

#endif
