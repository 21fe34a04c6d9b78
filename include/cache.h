/*
 * cache: one thread's magazines: the hot path.
 *
 * Owns:       for each class a loaded magazine, a short stack of full ones, and a spare empty one.
 * Promises:   pop and push take no lock, make no call, and do not touch the block; what is held is bounded in bytes
 *             (TARN_CACHE).
 * Guarded by: its thread alone writes it. Others read levels (READ_ONCE) for the dump; a fork's child takes over
 *             the caches of the threads that it does not have.
 * Never:      knows how memory is got: a miss goes to refill and flush, and these to the pool.
 *
 *       level[c].count                      level[c].room
 *     |<------------->|                   |<-- slots -->|
 *     [ b0 b1 b2 b3 .. ]                    [ . . . . . ]
 *                  ^ pop takes here, push puts behind it
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
#include "list.h"
#include "magazine.h"
#include "pool.h"
#include "sizeclass.h"

struct level {
    uint32_t count; /* blocks in the loaded magazine */
    uint32_t limit; /* how many may be */
};

struct bin {
    struct magazine *loaded;
    struct magazine *full;  /* stack of full ones */
    struct magazine *spare; /* an empty one, or NULL */
    uint32_t full_count;
};

struct cache {
    /* Hot: two lines a class at the most. */
    struct level level[CLASS_MAX];
    void **slots[CLASS_MAX];
    /* Slow path only. */
    struct bin bin[CLASS_POOLS];
    size_t stacked; /* bytes of blocks in the stacks of full magazines */
    uint32_t epoch; /* of the last gc that this thread took part in (thread.c) */
    bool busy;      /* inside refill, flush or drain: not to be entered again from a signal handler */
    struct list link;          /* thread.c: in the registry, under LOCK_THREADS */
    struct cache **owner;      /* thread.c: the owning thread's cache_self; NULL: nobody's */
};

/* The cache of this thread; at first, and after the thread's end, the constant cache that always misses. */
extern __thread struct cache *cache_self __attribute__((tls_model("initial-exec")));
extern struct cache cache_none;

/* A block of class `c`, or NULL: a miss. Any thread, for its own cache. */
INLINE void *cache_pop(struct cache *cache, unsigned c)
{
    uint32_t count = cache->level[c].count;
    if (unlikely(count == 0))
        return NULL;
    WRITE_ONCE(cache->level[c].count, count - 1);
    return cache->slots[c][count - 1];
}

/* Keeps block `p` of class `c`; false: a miss, nothing was kept. */
INLINE bool cache_push(struct cache *cache, unsigned c, void *p)
{
    uint32_t count = cache->level[c].count;
    if (unlikely(count >= cache->level[c].limit))
        return false;
    cache->slots[c][count] = p;
    WRITE_ONCE(cache->level[c].count, count + 1);
    return true;
}

/* After a miss of pop: loads a magazine with at least one block of class `c`. False: no memory (or no cache
   memory): nothing changed. May ask the region for a slab. */
bool cache_refill(struct cache *cache, unsigned c);

/* After a miss of push: makes room in class `c`. False: no memory for an empty magazine. Bad pointers and empty
   slabs found on the way are in `news`. */
bool cache_flush(struct cache *cache, unsigned c, struct pool_news *news);

/* Gives every block of class `c` back to its pool's slabs, and the magazines to meta. */
void cache_drain(struct cache *cache, unsigned c, struct pool_news *news);

/* Most bytes of blocks that the stacks of one thread may hold, besides the loaded magazines. */
void cache_budget(size_t bytes);

void cache_check(const struct cache *cache);

#endif
