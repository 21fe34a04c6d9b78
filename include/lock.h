/*
 * lock: mutual exclusion, and the one written lock order.
 *
 * Owns:       the order of all locks (enum lock_rank) and, in debug builds, which of them a thread holds.
 * Promises:   a waiter spins briefly and then sleeps in the kernel (glibc's adaptive mutex: never a pure spin,
 *             which collapses with more threads than cores); no call here allocates or touches errno.
 * Guarded by: itself.
 * Never:      held across a system call, jemalloc, libunwind, a write, or the first touch of fresh memory.
 *
 * A thread that holds a lock may take only one that comes later: higher rank, or, between pools, higher class
 * (which only fork does). Debug builds check that at each acquisition and name the two locks that clash.
 */
#ifndef TARN_LOCK_H
#define TARN_LOCK_H

#include "base.h"

#include <pthread.h>

/* The lock order. What each guards:                                                         */
enum lock_rank {
    LOCK_GC = 1,  /* whose turn it is to collect (gc.c); not held while collecting            */
    LOCK_NAMES,   /* which named pools there are (named.c)                                    */
    LOCK_THREADS, /* the registry of caches, and which thread owns which (thread.c)           */
    LOCK_GUARD,   /* the queue of freed guarded blocks (guard.c)                              */
    LOCK_POOL,    /* a pool's depot, its slabs' bitmaps and lists, its counters (pool.c)      */
    LOCK_REGION,  /* which units are taken, mapped, dirty (region.c); jemalloc's own come before it */
    LOCK_META,    /* free lists of bookkeeping memory (meta.c)                                */
    LOCK_RANKS
};

struct lock {
    pthread_mutex_t mutex;
    unsigned order; /* rank << 16 | index: strictly ascending along what one thread holds */
};

#define LOCK_INITIALIZER(rank)                                                                               \
    {                                                                                                        \
        .mutex = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP, .order = (unsigned)(rank) << 16                      \
    }

/* Makes `l` a free lock, whatever it was: at birth, and in a fork's child for a lock that the parent held. */
void lock_init(struct lock *l, enum lock_rank rank, unsigned index);

void lock_acquire(struct lock *l);
bool lock_try(struct lock *l);
void lock_release(struct lock *l);

/* Waits on `c` with `l` released meanwhile; spurious wake-ups happen. */
void lock_wait(struct lock *l, pthread_cond_t *c);

/* True if this thread holds `l`; only debug builds know, others answer true. */
bool lock_held(const struct lock *l);

/* True if this thread holds no lock of ours; only debug builds know, others answer true. */
bool lock_none_held(void);

/*
 * Between a fork's prepare and its end this thread holds every lock: whatever the program's own atfork handlers
 * allocate there must not wait for itself. While on, the calling thread acquires nothing and releases nothing.
 */
void lock_exclusive(bool on);

/* Forgets what this (only) thread of a fork's child holds; the child then re-initialises each lock. */
void lock_forget_held(void);

#endif
