/*
 * thread: a thread's cache, from its first miss to its end.
 *
 * Owns:       the registry of caches (memory that is never unmapped: readers may walk it at any time), and the
 *             thread's pointers to its own.
 * Promises:   the cache of a dead thread goes to the next one born, and all but the last few are emptied; malloc and
 *             free still work in whatever runs after our destructor: block by block, straight from the pools.
 * Guarded by: LOCK_THREADS for the registry; a thread's own pointers are its own, but others may turn cache_self
 *             to cache_none (thread_recall), which its owner takes as a wish to be looked after.
 * Never:      starts a thread.
 */
#ifndef TARN_THREAD_H
#define TARN_THREAD_H

#include "base.h"
#include "cache.h"

/* How deep the calling thread is in slow paths. */
extern __thread unsigned thread_busy TLS_INITIAL;

/*
 * Begin and end of a slow path: of whatever uses the thread's cache other than by restart_pop and restart_push, or holds
 * a lock. Between the two the hot path finds nothing, and nobody else empties the cache. One may lie within another.
 */
void thread_enter(void);
void thread_leave(void);

/* Between them: the thread's cache, made now if it has none. NULL: after the thread's end, without memory, or while
   another thread empties it; then blocks go singly. */
struct cache *thread_cache(void);

/* The same, but NULL if it has none. */
struct cache *thread_own(void);

/* Readies the pthread key: at a thread's end `end` is called with its cache, and must call thread_end. Once, after
   options_start: under some of TARN_DEBUG's words the hot path finds no cache, or there is none. */
void thread_start(void (*end)(void *cache));

/* Leaves the calling thread's cache to the next thread; whatever runs after that has none. */
void thread_end(struct cache *cache, struct pool_news *news);

/* Makes every living thread's next malloc or free take the slow path, where gc_attend looks after it. */
void thread_recall(void);

/* Between thread_enter and thread_leave: was there one since the last call of this? Then the cache is to be drained. */
bool thread_recalled(struct cache *cache);

/* The same for the calling thread alone; async-signal-safe, takes no lock. */
void thread_recall_self(void);

/*
 * Leaves the calling thread's cache, for gc to empty; its next malloc or free gets it another. Async-signal-safe, takes
 * no lock. Only where the thread is outside of tarn: thread_busy == 0, and not interrupted on the hot path.
 */
void thread_abandon(void);

/* Empties the caches that threads left. */
void thread_drain_idle(struct pool_news *news);

/* Empties the caches of living threads that are not on a slow path right now: only of those that have not been on one since
   the last such call, or of all, or of all and ends the wait of their blocks in quarantine. Calls tell(news) after each.
   Where restart_barrier can't be had, none. */
enum thread_drain { THREAD_IDLE, THREAD_ALL, THREAD_WAITING_TOO };
void thread_drain_others(enum thread_drain what, struct pool_news *news, void (*tell)(struct pool_news *));

/* Is there a thread's cache that this could empty? Approximate. */
bool thread_others_hold(void);

/* Calls visit(cache, context) for each cache ever made, dead ones too. Takes no lock: counts may
   change meanwhile, memory does not vanish. */
void thread_each(void (*visit)(const struct cache *, void *), void *context);

/* Blocks of class `c` in all caches; and whether one of them holds as much as an empty magazine of it. Exact while no
   thread uses the class. */
uint64_t thread_held(unsigned c);
bool thread_knows(unsigned c);

/* Is one of them being emptied of class `c` right now? What thread_held missed for that is seen here afterwards. */
bool thread_drains(unsigned c);

/* Threads that have a cache now. */
unsigned thread_count(void);

/* Between thread_enter and thread_leave: waits until no other thread is emptying the cache. */
void thread_settle(void);

/* fork: the registry's lock; the child takes over the blocks in the caches of threads that it does not have. */
void thread_lock(void);
void thread_unlock(void);
void thread_reset_lock(void);
void thread_adopt_orphans(struct pool_news *news);

#endif
