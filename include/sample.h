/*
 * sample: which allocations TARN_GUARD_SAMPLE has guarded.
 *
 * Owns:       each thread's count of requests until the next one is due.
 * Promises:   one in so many on average, after a number of others that nobody can foretell; bigger blocks than
 *             SAMPLED_BYTES are not, nor more than SAMPLED_MAX at one time. Nothing is counted on the hot path: where
 *             there is a sample, pooled_end is 0, and every request comes by a second one (heap_pop_counted), ten
 *             instructions longer. A free needs nothing: a guarded block's misses anyway.
 * Guarded by: a count is its thread's.
 * Never:      allocates.
 */
#ifndef TARN_SAMPLE_H
#define TARN_SAMPLE_H

#include "base.h"
#include "options.h"

INLINE bool sample_on(void)
{
    return unlikely(options.guard_sample > 0);
}

/* Requests of this thread until the next one is due; 0: it made none yet. */
extern __thread uint64_t sample_left TLS_INITIAL;

/* The next one was due: draws another. False: the one that was, for `n` bytes, is not to be guarded. */
bool sample_draw(size_t n);

/* Is this request, for `n` bytes, one of the sample? */
INLINE bool sample_due(size_t n)
{
    if (unlikely(sample_left <= 1))
        return sample_draw(n);
    sample_left--;
    return false;
}

#endif
