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
 *
 * On machines bigger than two processors (counted with libtarn_locks.so, the rest simulated by tests/bench/locks.py): the
 * lock is held 15 to 75 ns on average, three times that where the two processors are far apart, and waited for in one of a
 * hundred cases, one of fifteen if all threads use one class.
 *   - Threads that replace their own blocks take it 600 to 1400 times in a million operations: 1.02 with 128 processors.
 *   - Blocks of mixed sizes that one thread allocates and another frees, or of 5 to 16 KiB at random: 19 000 to 51 000
 *     times, over twenty or thirty pools; an operation takes 1.03 to 1.06 with 16 processors, 1.04 to 1.3 with 32, 1.1 to
 *     3.2 with 64, 2.2 to 7 with 128.
 *   - One size for all, and every block freed by another thread: 17 000 times, one pool. At 20 ns an operation that is
 *     850 000 trips a second and processor, each of 18 cache lines (1 GB/s), and 4 to 6 % of the lock's time: 1.1 to 1.2 with
 *     16 processors, 2 to 3.8 with 32; some twenty are all that it serves.
 * One depot for each 16 processors that share a cache would hold all of these at 1.2 or less, for as many times the free
 * blocks in depots. It begins to pay between 16 and 32 processors that do nothing but hand on; not done.
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
    /* Read mostly, or seldom written. */
    unsigned id;
    uint32_t place; /* of its class in a cache */
    unsigned flags; /* POOL_SHARED, POOL_EXACT */
    uint32_t depot_max;
    size_t size;  /* bytes of a block, as users know it: the class's, or for POOL_EXACT what was asked for */
    size_t align; /* of its blocks */
    uint64_t minavail; /* gc leaves at least as many free blocks, as far as there are */
    uint64_t limit;    /* most blocks that may be allocated; 0: no limit */
    uint64_t users;    /* registrations, and 1 for malloc; 0: nobody's, a free place in pools[] */
    bool uncached;     /* blocks go singly, through no thread's cache */
    bool sealed;       /* had, or is about to have, a slab: its size is fixed; under the lock, as the rest */
    char name[POOL_NAME];               /* the first registration's; malloc's: size-64 */
    struct registration *registrations; /* the first first; malloc has none */
    uint64_t failed;
    uint64_t limited; /* requests that the limit refused */
    uint64_t trimmed; /* blocks that its slabs lack, for the limit's sake */

    /* Under the lock, on lines of their own. */
    struct lock lock __attribute__((aligned(CACHE_LINE)));
    uint64_t allocated, used;
    struct magazine *depot;  /* full ones, the last given first */
    struct magazine *spares; /* empty ones */
    struct list partial;     /* slabs with free blocks, not empty; the one to take from first */
    struct list empty;       /* slabs with nothing out */
    uint16_t depot_count;
    uint16_t withdrawn; /* blocks that are free, and out: pool_withdraw */
    uint32_t empty_count, slabs;
    uint32_t passed; /* magazines that went to the slabs since the last take; pool_passed */
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
        void *block, *start; /* as given; where the block starts, NULL: not known */
        unsigned pool;       /* whose */
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

/* Have so many blocks come back, and none gone out, that those in the depot and in stacks are few among them? Then all go
   to the slabs until one is taken, so that it and the next come in address order. Any time. */
bool pool_passed(const struct pool *p);

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

/* The free blocks of one slab, out of its pool. Written under the pool's lock: a fork's child finds them as they were. */
struct pool_hand {
    struct slab *slab; /* NULL: none */
    uint64_t held[SLAB_WORDS_MAX];
};

/*
 * Takes those of the pool's next slab, if it is partly in use, at most by half, and blocks came back since it was looked at
 * last, until pool_restore puts them back; if they are to come up `again`, it has not been looked at. False: not this one.
 */
bool pool_withdraw(struct pool *p, struct pool_hand *hand);
void pool_restore(struct pool *p, struct pool_hand *hand, bool again);

/* The invariants above; takes the lock. */
void pool_check(struct pool *p);

#endif
