/*
 * pool: all memory of one class behind one lock.
 *
 * Owns:       a depot of full magazines, the slabs of the class with their bitmaps, the counters.
 * Promises:   a magazine goes in or out in O(1) while the depot has any; `allocated` and `used` are exact.
 * Guarded by: LOCK_POOL of that pool; counters may be read by anyone at any time (READ_ONCE).
 * Never:      calls up, asks the kernel, touches a block, or allocates with its lock held: what it finds out on
 *             the way (a bad pointer, an empty slab) it returns as news, to be acted on after the lock.
 *
 *     allocated == sum of slab.blocks              blocks that exist; never grows beyond limit
 *     out       == sum of slab.used                blocks that are not in a bitmap
 *     used      == out - blocks in the depot       with threads: in the program's hands or in a cache
 *     used <= allocated;  failed counts refusals of memory: 1 for a request that gc rescued, 2 for a lost one
 *
 * The model is HAProxy's pools; names and meaning of the six counters are theirs.
 */
#ifndef TARN_POOL_H
#define TARN_POOL_H

#include "base.h"
#include "list.h"
#include "lock.h"
#include "magazine.h"
#include "sizeclass.h"
#include "slab.h"

enum { POOL_NAME = 32, POOL_FILE = 48, POOL_SHARED = 1, POOL_EXACT = 2 };

/* One who asked for the pool. Linked once and for good, so a walk needs no lock; the texts always end. */
struct registration {
    struct registration *next; /* a later one */
    char name[POOL_NAME];
    char file[POOL_FILE]; /* "": not known */
    size_t size, align;   /* as asked for */
    unsigned line, flags; /* POOL_SHARED, POOL_EXACT */
};

struct pool {
    /* Read mostly. */
    unsigned id;
    uint32_t place; /* of its class in a cache */
    unsigned flags; /* POOL_SHARED, POOL_EXACT */
    size_t size;  /* bytes of a block, as users know it: the class's, or for POOL_EXACT what was asked for */
    size_t align; /* of its blocks */
    uint64_t minavail;    /* gc leaves at least as many free blocks, as far as there are */
    uint64_t limit;       /* most blocks that may be allocated; 0: no limit */
    uint64_t users;       /* registrations, and 1 for malloc; 0: nobody's, a free place in pools[] */
    bool uncached;        /* blocks go singly, through no thread's cache */
    char name[POOL_NAME]; /* the first registration's; malloc's: size-64 */
    struct registration *registrations; /* the first first; malloc has none */

    /* Under the lock, on lines of their own. */
    struct lock lock __attribute__((aligned(CACHE_LINE)));
    uint64_t allocated, used, failed;
    uint64_t limited;        /* requests that the limit refused */
    uint64_t trimmed;        /* blocks that its slabs lack, for the limit's sake */
    bool sealed;             /* had, or is about to have, a slab: its size is fixed */
    struct magazine *depot;  /* full ones, the last given first */
    struct magazine *spares; /* empty ones */
    uint32_t depot_count, depot_max;
    struct list partial; /* slabs with free blocks, not empty; the one to take from first */
    struct list empty;   /* slabs with nothing out */
    uint32_t empty_count, slabs;
};

/* The pool of each class: malloc's 1 .. class_count, then named ones. */
extern HIDDEN struct pool pools[CLASS_MAX];

/* Every lock of this room in class order, for fork. */
void pool_lock_all(void);
void pool_unlock_all(void);
void pool_reset_locks(void);

enum { POOL_NEWS = 8 };

/* What a call found out; to be acted on when no lock is held. */
struct pool_news {
    struct list surplus; /* empty slabs, unlinked: region_release_slab each */
    unsigned bad_count;  /* bad pointers; the first POOL_NEWS are named */
    struct {
        void *block;
        unsigned pool; /* whose */
        enum slab_verdict verdict;
    } bad[POOL_NEWS];
};

void pool_news_init(struct pool_news *news);

/* Readies pools[1 .. class_count]. Once, before any other call. */
void pool_start(void);

/* Readies pools[c] for the class of class_table[c], with no user, name or block yet. Once for each c: others may hold
   the lock of a pool that was used before. */
void pool_init(unsigned c);

/* Gives a pool that has no blocks the size of class_table[c] again, after it changed. Under its lock, or while nobody
   uses it. */
void pool_fit(struct pool *p);

/*
 * A magazine with at least one block for the empty one in `m`: a full one out of the depot, or `m` itself,
 * filled from the slabs, lowest address first within each. NULL if there is neither: the caller
 * calls pool_grow and tries again. `want` bounds how many come from slabs.
 */
struct magazine *pool_take(struct pool *p, struct magazine *m, unsigned want);

/*
 * Gives the blocks of `m` back. Returns an empty magazine for it (`m` itself, or another), or NULL where `m`
 * went to the depot and there was no spare.
 */
struct magazine *pool_give(struct pool *p, struct magazine *m, struct pool_news *news);

/* The same past the depot, into the slabs: `m` stays the caller's, empty. */
void pool_empty(struct pool *p, struct magazine *m, struct pool_news *news);

/* One more slab, as far as the limit allows. The kernel is asked without the lock. */
enum pool_growth { POOL_GREW, POOL_LIMITED, POOL_NO_MEMORY };
enum pool_growth pool_grow(struct pool *p);

/* One block, for who has no cache: out of the depot or the slabs; NULL if there is none. */
void *pool_take_one(struct pool *p);
void pool_give_one(struct pool *p, void *block, struct pool_news *news);

/* Counts one refusal of memory, or by the limit. */
void pool_fail(struct pool *p);
void pool_refuse(struct pool *p);

/* Blocks in the depot and the slabs: free, and in nobody's cache. */
uint64_t pool_unused(struct pool *p);

/*
 * Returns every depot magazine's blocks to the slabs, and unlinks the empty slabs into `news`, as long as the
 * blocks still free (allocated - used) stay at or above `keep`. Spare magazines are deleted after the lock.
 */
void pool_collect(struct pool *p, uint64_t keep, struct pool_news *news);

/*
 * The pool's next slab, if it is partly in use, at most by half, and blocks came back since it was looked at last: all
 * its free blocks are out then, `held` says which, until pool_restore puts them back. NULL: not this one.
 */
struct slab *pool_withdraw(struct pool *p, uint64_t held[SLAB_WORDS_MAX]);
void pool_restore(struct pool *p, struct slab *s, const uint64_t held[SLAB_WORDS_MAX]);

/* The invariants above; takes the lock. */
void pool_check(struct pool *p);

#endif
