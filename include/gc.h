/*
 * gc: giving memory back.
 *
 * Owns:       whose turn it is to collect, and whether a collection is wished for.
 * Promises:   one collector at a time; who comes second waits for it and does not collect again; each pool keeps
 *             min(minavail, free) blocks; the caller's own cache is drained, and those of the threads that are not in
 *             malloc or free at the moment (thread_drain_others); who is drains its own at its next miss.
 * Guarded by: LOCK_GC for the turn, released while collecting; pools' locks one at a time.
 * Never:      starts with a lock of ours held: there is no "held pool" to skip, and the lock order checks it.
 */
#ifndef TARN_GC_H
#define TARN_GC_H

#include "base.h"
#include "cache.h"
#include "pool.h"

/* Collects, or waits for the collection that is on. Returns bytes given back to the kernel by this call (0
   where it only waited). Not for signal handlers. */
size_t gc_run(void);

/* Wishes for a collection: by the helper thread where there is one, else at the next slow path of any thread; the
   calling thread's next malloc or free is made one. Async-signal-safe, takes no lock. */
void gc_request(void);

/* On every slow path: serves a wish, takes part in a recall by draining `cache` (NULL: none), lets the region tidy
   up. Cheap when there is nothing to do. */
void gc_attend(struct cache *cache);

/* The helper thread's work, to be called again and again: sleeps until more than `enough` bytes are spare, or there is a
   wish, `patience` ms at the most, and sees to it for a while. False: nothing came up, or it was dismissed. Not for a
   thread that the program knows of. */
enum { GC_FOREVER = 0 };
bool gc_tend(unsigned patience, size_t enough);

/* From now on there is no helper, and gc_wants_helper tells when one would be worth its making. */
void gc_advertise(void);
bool gc_wants_helper(void);

/* The helper is to go: gc_tend returns as soon as it can. */
void gc_dismiss(void);

/* There may be more spare memory now, after a large block was freed: tells the helper thread, if it sleeps. */
void gc_spare(void);

/* Acts on what a pool found out: releases slabs, reports bad pointers. */
void gc_news(struct pool_news *news);

/* fork. */
void gc_lock(void);
void gc_unlock(void);
void gc_reset_lock(void);

#endif
