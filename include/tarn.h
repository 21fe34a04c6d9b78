/*
 * tarn.h: named pools for applications, on the pools that serve malloc in the same process.
 *
 * Owns:       nothing: the public face of tarn; compile against it and link with -ltarn, from C or C++.
 * Promises:   every name begins with tarn_ or TARN_; what is here keeps its meaning and its shape. A function that
 *             fails says so by its value and by errno; one that succeeds leaves errno alone.
 * Guarded by: every function may be called by any thread at any time, also while others create, destroy, dump and
 *             collect; what a function asks beyond that, its comment says. None may be called in a signal handler,
 *             except tarn_pools_dump.
 * Never:      prints unasked.
 *
 * A pool hands out blocks of one size. Blocks of a pool lie together, are counted under the pool's name, and are kept
 * for the pool when they are freed: by each thread for itself first (the last freed is the first to go out again, and
 * neither takes a lock), then in the pool. The model is HAProxy's pools.
 *
 *     allocated  blocks that exist              used  blocks in the program's hands
 *     limit      most blocks that may exist     minavail  free blocks that a collection leaves
 *     users      registrations of the pool      failed  refusals for want of memory; limited  for the limit
 *
 * A block of a pool may also be given to free(), and malloc_usable_size() knows it; realloc() moves it out of the pool
 * where it must grow.
 */
#ifndef TARN_H
#define TARN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tarn_pool;

/* What a pool is made with. */
enum {
    /* The pool may be one with others of its size: with SHARED pools, and with malloc's own pool of that size. */
    TARN_SHARED = 1,
    /* A block has exactly the size that was asked for, which is then what statistics and malloc_usable_size say. */
    TARN_EXACT = 2
};

/* Bytes in a name, with its end; the biggest block; the most pools that are not malloc's at one time. */
enum { TARN_NAME_MAX = 32, TARN_SIZE_MAX = 4 * 1024 * 1024, TARN_POOLS_MAX = 189 };

/* ---- making and unmaking ----------------------------------------------------------------------------- */

/*
 * A pool of blocks of `size` bytes (1 to TARN_SIZE_MAX), aligned to `align` (a power of two up to TARN_SIZE_MAX; 0: to
 * 16, as malloc). Unless TARN_EXACT is given, the size is rounded up to a multiple of 16. `name`: 1 to 31 letters,
 * digits and any of "-_.:+/", or NULL.
 *
 * With TARN_SHARED it may return a pool that exists (one more user): of those made with TARN_SHARED and of malloc's,
 *   1. the one of exactly this size; else, if neither was made with TARN_EXACT,
 *   2. the smallest that is bigger by no more than 16 bytes or 1 % (of the mean of the sizes it was asked for);
 *   3. the biggest that is smaller by no more than that, if nothing was ever allocated from it: it grows.
 * A pool without TARN_SHARED stands alone. The first name is the pool's; tarn_pools_dump's "detailed" lists them all.
 *
 * NULL with errno EINVAL (an argument is out of bounds), ENOSPC (TARN_POOLS_MAX are there), ENOMEM.
 */
struct tarn_pool *tarn_pool_create(const char *name, size_t size, size_t align, unsigned flags);

/* The same, and remembers where: `file` (its last 47 bytes) and `line` are shown by "detailed". */
struct tarn_pool *tarn_pool_create_at(const char *name, size_t size, size_t align, unsigned flags,
                                      const char *file, unsigned line);

/*
 * Drops one user, after a flush. At the last one the pool goes: then no thread may use it any more, and none of its
 * blocks may be out. NULL: done, or `pool` was NULL. `pool`, with errno EBUSY: the last user, and blocks are used; or
 * malloc is the only user left. The pool then is as it was, its free blocks flushed.
 */
struct tarn_pool *tarn_pool_destroy(struct tarn_pool *pool);

/*
 * At file level: TARN_POOL(sessions, "session", sizeof(struct session), TARN_SHARED);
 * defines `struct tarn_pool *sessions` (put `static` before for a private one) and creates the pool, with file and
 * line, before main. If that fails the program ends with a line on stderr and status 1.
 */
#define TARN_POOL_ALIGNED(variable, name, size, align, flags)                                                \
    struct tarn_pool *variable;                                                                              \
    __attribute__((constructor)) static void tarn_register_##variable(void)                                  \
    {                                                                                                        \
        tarn_pool_register(&(variable), name, size, align, flags, __FILE__, __LINE__);                       \
    }                                                                                                        \
    struct tarn_pool
#define TARN_POOL(variable, name, size, flags) TARN_POOL_ALIGNED(variable, name, size, 0, flags)

/* What TARN_POOL calls. Ends the program where tarn_pool_create_at fails. */
void tarn_pool_register(struct tarn_pool **variable, const char *name, size_t size, size_t align,
                        unsigned flags, const char *file, unsigned line);

/* ---- allocating -------------------------------------------------------------------------------------- */

/* A block, its contents undefined (poisoned under TARN_DEBUG=poison). NULL with errno ENOMEM: there is no memory even
   after a collection, or the pool is at its limit. */
void *tarn_pool_alloc(struct tarn_pool *pool);

/* The same, all bytes zero. */
void *tarn_pool_zalloc(struct tarn_pool *pool);

/* The same, never poisoned: for who overwrites all of it anyway. */
void *tarn_pool_alloc_dirty(struct tarn_pool *pool);

/* A block that is free already, never poisoned; NULL if there is none (errno as it was). Never asks for memory, never
   collects. */
void *tarn_pool_get_first(struct tarn_pool *pool);

/*
 * A block, never poisoned, with at least `avail` free ones left in the pool; what is missing is asked for now. To fill
 * a pool in advance, so that collections leave it filled:
 *     tarn_pool_set_minavail(pool, n);  tarn_pool_free(pool, tarn_pool_refill(pool, n - 1));
 * NULL with errno ENOMEM: at its limit, or memory ran out twice (once is followed by a collection and another try);
 * what was got until then stays in the pool. Several times the machine's memory is refused at once, and not counted.
 */
void *tarn_pool_refill(struct tarn_pool *pool, size_t avail);

/* Takes a block of this pool back; NULL is none. From any thread. A block that is not this pool's is reported, as
   TARN_MISUSE says, and left alone. */
void tarn_pool_free(struct tarn_pool *pool, void *block);

/* ---- giving memory back ------------------------------------------------------------------------------ */

/*
 * Gives back what is free in the pool, minavail or not: at once the calling thread's blocks and the pool's own, other
 * threads' when they next allocate or free. Memory goes back by slabs (64 KiB or more): one that has a used block
 * stays. NULL is none. Ends even while others fill the pool.
 */
void tarn_pool_flush(struct tarn_pool *pool);

/* A collection: every pool gives back what is free beyond its minavail, then jemalloc does. If one is on already,
   waits for it. Returns bytes given back to the kernel. */
size_t tarn_gc(void);

/* ---- tuning ------------------------------------------------------------------------------------------ */

/*
 * The most blocks that may exist, 0: any number. Exact, so threads keep no blocks of such a pool for themselves: an
 * allocation then costs a lock. Blocks that exist already stay. 0, or -1 with errno EPERM: malloc uses this pool too.
 */
int tarn_pool_set_limit(struct tarn_pool *pool, size_t blocks);

/* Free blocks that a collection leaves, as far as there are so many. */
void tarn_pool_set_minavail(struct tarn_pool *pool, size_t blocks);

/* ---- looking ----------------------------------------------------------------------------------------- */

enum { TARN_POOL_STATS_VERSION = 1 };

/* Exact while no thread uses the pool, near otherwise. */
struct tarn_pool_stats {
    unsigned version; /* in: TARN_POOL_STATS_VERSION, what the caller was compiled with */
    unsigned flags; /* TARN_SHARED, TARN_EXACT: of the first registration; malloc's own pools: TARN_SHARED */
    char name[TARN_NAME_MAX]; /* of the first; malloc's: "size-64"; "" if it has none */
    size_t size, align;       /* bytes */
    uint64_t allocated;       /* blocks that exist */
    uint64_t used;            /* blocks in the program's hands */
    uint64_t cached;          /* free ones in threads' hands, or ready for them */
    uint64_t limit, minavail, users;
    uint64_t
        failed; /* refusals for want of memory: 1 for a request that a collection saved, 2 for a lost one */
    uint64_t limited; /* requests that the limit refused */
    uint64_t slabs;   /* pieces of memory it has */
};

/* 0, or -1 with errno EINVAL: a version that this tarn does not know. */
int tarn_pool_stats(const struct tarn_pool *pool, struct tarn_pool_stats *stats);

/*
 * Calls visit(pool, context) for each pool, malloc's own too, by ascending size, until it returns something else than
 * 0, which is then the result. `visit` may call everything here; pools made meanwhile may be left out.
 */
int tarn_pools_each(int (*visit)(struct tarn_pool *pool, void *context), void *context);

/*
 * Prints the pools on descriptor `fd`: what SIGQUIT prints. `query` chooses, as HAProxy's "show pools" does; NULL: as
 * TARN_POOLS says. Words, in any order, with blanks or commas between: byname | bysize | byusage (most bytes used
 * first, unused pools left out); match PREFIX (of the name); detailed (every registration, limits); a number: the
 * first so many, with the totals of all that match. 0, or -1 with errno EINVAL: not a query; ENOMEM: other threads are
 * dumping, and there is no memory for one dump more. May be called in a signal handler.
 */
int tarn_pools_dump(int fd, const char *query);

#ifdef __cplusplus
}
#endif

#endif
