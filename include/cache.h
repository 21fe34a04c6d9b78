/*
 * cache: one thread's magazines: the hot path.
 *
 * Owns:       for each class a loaded magazine, a short stack of full ones, and a spare empty one; under TARN_HARDEN a
 *             queue of freed blocks that wait.
 * Promises:   pop and push take no lock, make no call, and do not touch the block; what is held is bounded in bytes
 *             (TARN_CACHE).
 * Guarded by: its thread alone writes it. Others read counts (READ_ONCE) for the dump; a fork's child takes over
 *             the caches of the threads that it does not have.
 * Never:      knows how memory is got: a miss goes to refill and flush, and these to the pool.
 *
 *     base -> [ b0 b1 b2 b3 .  .  .  . ]
 *                            ^ top         ^ limit
 *               pop takes b3; push puts behind it
 *
 *     base <= top <= limit        base == loaded->slot        limit == base + loaded->batch
 *
 * All zeroes is a good bin: empty (top == base) and full (top == limit) at once, so every pop and push misses. A thread
 * that has no cache yet, or none any more, points at a cache of such bins; class 0 and large blocks have one for ever,
 * and so do the pools whose blocks go singly. That is why nothing on the hot path asks "am I initialised?".
 *
 * What the tables of the hot path hold is not the class but its place in a cache, in bytes: one addition finds the bin,
 * and all that a hit needs lies on its one line. (With a count, a limit and a pointer in three rows by class: 10.1
 * ns for a pair of malloc and free whose classes alternate, 7.7 so; over 33 workloads 9.4 and 9.1. tcmalloc's 6.2 is
 * one load less between malloc and the block, as the head of its list is the block: who frees it at once, it seems,
 * waits for that, as where it frees to is not known before, and the next malloc waits for that.)
 */
#ifndef TARN_CACHE_H
#define TARN_CACHE_H

#include "base.h"
#include "magazine.h"
#include "pool.h"
#include "sizeclass.h"

struct bin {
    void **top;   /* behind the block that is the next to go */
    void **base;  /* of the loaded magazine's slots */
    void **limit; /* behind the last of them */
    struct magazine *loaded;
    struct magazine *full;  /* stack of full ones */
    struct magazine *spare; /* an empty one, or NULL */
    uint32_t full_count;
    uint32_t want;    /* blocks that the next refill takes from slabs; 0: as few as at first */
    uint32_t waiting; /* in the quarantine */
} __attribute__((aligned(CACHE_LINE)));

_Static_assert(sizeof(struct bin) == 1 << PLACE_SHIFT, "a class's place in a cache");

struct cache {
    size_t stacked;                /* bytes of blocks in the stacks of full magazines */
    struct quarantine *quarantine; /* NULL: no block ever waited here */
    struct cache *made;            /* thread.c: the one made before this; fixed once it can be seen */
    struct cache *idle;            /* thread.c: the next one without a thread; under LOCK_THREADS */
    struct cache **self; /* thread.c: its thread's cache_self; NULL: it has no thread; under LOCK_THREADS */
    unsigned *busy;      /* thread.c: its thread's thread_busy, as long as there is a self */
    uint32_t epoch;      /* gc.c: the last recall that this thread obeyed */
    uint16_t visits;     /* thread.c: how often its thread used it on a slow path */
    uint16_t emptied;    /* thread.c: visits when another thread last emptied it, */
    uint16_t seen;       /*           and when one last looked */
    uint8_t draining; /* the class whose blocks are on their way to the pool, in neither's count; 0: none */
    bool seized;      /* thread.c: another thread empties it, or is about to try */
    struct bin bin[CLASS_MAX];
};

_Static_assert(sizeof(struct cache) == 16384,
               "a piece of meta without waste; malloc's bins are its first page");

/* The cache of this thread; at first, and after the thread's end, the constant cache that always misses. */
extern __thread struct cache *cache_self TLS_INITIAL;
extern HIDDEN struct cache cache_none;

INLINE struct bin *cache_bin(struct cache *cache, size_t place)
{
    return (struct bin *)(void *)((char *)cache->bin + place);
}

/* A block of the class with that place in *block; false: a miss. Any thread, for its own cache. */
INLINE bool cache_pop(struct cache *cache, size_t place, void **block)
{
    struct bin *bin = cache_bin(cache, place);
    void **top = bin->top;
    if (unlikely(top == bin->base))
        return false;
    *block = top[-1];
    WRITE_ONCE(bin->top, top - 1);
    return true;
}

/* Keeps `block` of the class with that place; false: a miss, nothing was kept. */
INLINE bool cache_push(struct cache *cache, size_t place, void *block)
{
    struct bin *bin = cache_bin(cache, place);
    void **top = bin->top;
    if (unlikely(top == bin->limit))
        return false;
    *top = block;
    WRITE_ONCE(bin->top, top + 1);
    return true;
}

/* As cache_pop, the block that was pushed first of those in the loaded magazine; for TARN_DEBUG=cold-first. */
bool cache_pop_coldest(struct cache *cache, unsigned c, void **block);

/* After a miss of pop: loads a magazine with at least one block of class `c`. False: no memory (or no cache
   memory): nothing changed. May ask the region for a slab if the pool may `grow`. */
bool cache_refill(struct cache *cache, unsigned c, bool grow);

/* After a miss of push: makes room in class `c`. False: no memory for an empty magazine. Bad pointers and
   empty slabs found on the way are in `news`. */
bool cache_flush(struct cache *cache, unsigned c, struct pool_news *news);

/* Gives every block of class `c` back to its pool's slabs, and the magazines to meta. */
void cache_drain(struct cache *cache, unsigned c, struct pool_news *news);

/* The same for all classes. */
void cache_drain_all(struct cache *cache, struct pool_news *news);

/* TARN_HARDEN=quarantine: a freed block of class `c` waits in the cache until QUARANTINE_BYTES of others do, or there are
   too many. False: it can be used again at once, since it is bigger than that, or there is no memory. */
enum { QUARANTINE_BYTES = 256 * 1024 };
bool cache_detain(struct cache *cache, unsigned c, void *block);

/* The oldest, when its wait is over; NULL: none's is. After a block it is to be called again. */
void *cache_release(struct cache *cache);

/* All that wait go to their pools' slabs. */
void cache_end_wait(struct cache *cache, struct pool_news *news);

/* Blocks of class `c` that the cache holds, those that wait among them; approximate from another thread. */
uint64_t cache_held(const struct cache *cache, unsigned c);

/* Does it hold a magazine of class `c`, even an empty one? Approximate from another thread. */
bool cache_has_magazines(const struct cache *cache, unsigned c);

/* Most bytes of blocks that the stacks of one thread may hold, besides the loaded magazines. */
void cache_budget(size_t bytes);

/* How many threads there are: beyond sixteen each may stack less, so that all of them stack no more than sixteen would. */
void cache_share(unsigned threads);

void cache_check(const struct cache *cache);

#endif
