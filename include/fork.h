/*
 * fork: every lock through a fork.
 *
 * Owns:       the one walk over all locks, which is enum lock_rank read downwards, jemalloc's before the region's.
 * Promises:   the child allocates at once, whatever the parent's other threads were doing; it takes over the
 *             blocks that lay in their caches; blocks that were on their way between a cache and a pool are lost
 *             to it (at most one magazine a thread).
 * Guarded by: all of them.
 * Never:      allocates.
 */
#ifndef TARN_FORK_H
#define TARN_FORK_H

void fork_prepare(void);
void fork_parent(void);
void fork_child(void);

#endif
