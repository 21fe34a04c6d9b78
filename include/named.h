/*
 * named: pools that the program makes.
 *
 * Owns:       which places of pools[] behind CLASS_NAMED are whose, names, users, registrations; the rule of merging
 *             (tarn.h: tarn_pool_create).
 * Promises:   pools come and go while others allocate, dump and collect: a pool's place is used again only when its
 *             slabs are gone and no thread's cache has a magazine of it; its lock is made once and for all.
 * Guarded by: LOCK_NAMES; what readers without it see of a pool (name, size, registrations) is whole or a moment old.
 * Never:      moves a block; asks the kernel with its lock held.
 *
 *     users == registrations, and 1 more for malloc's pools       users == 0: nobody's
 */
#ifndef TARN_NAMED_H
#define TARN_NAMED_H

#include "base.h"
#include "pool.h"

/* What a pool is asked for with. */
struct wish {
    const char *name, *file; /* NULL: none */
    size_t size, align;      /* bytes; align 0: any */
    unsigned line, flags;    /* POOL_SHARED, POOL_EXACT */
};

/* A pool for the wish, new or one that exists; NULL: *error says why (EINVAL, ENOSPC, ENOMEM). */
struct pool *named_create(const struct wish *wish, int *error);

/* Drops a user. False: it is the last, and blocks are used, or malloc alone is left. */
bool named_destroy(struct pool *pool);

/* A block that is free already, in the caller's cache or the pool; NULL: none. */
void *named_first(struct pool *pool);

/* A block, with at least `avail` free ones left in the pool; NULL: at its limit, or no memory after a collection. */
void *named_refill(struct pool *pool, uint64_t avail);

/* Gives back what is free, minavail or not. */
void named_flush(struct pool *pool);

/* False: malloc is a user too. */
bool named_limit(struct pool *pool, uint64_t blocks);

/* fork. */
void named_lock(void);
void named_unlock(void);
void named_reset_lock(void);

#endif
