/*
 * accuse: what is wrong with a pointer, found out and reported.
 *
 * Owns:       nothing.
 * Promises:   a report says all that the region's books, the guarded blocks' and TARN_DEBUG's notes know.
 * Guarded by: nothing.
 * Never:      touches what the pointer points to.
 */
#ifndef TARN_ACCUSE_H
#define TARN_ACCUSE_H

#include "base.h"
#include "fault.h"
#include "pool.h"

/* Who calls tarn (debug_caller), for reports and guarded blocks: its whole stack where few blocks are guarded. */
struct trace accuse_caller(void);

/* `p` was given to `call`, and is no live block's start. */
void accuse(const void *p, const char *call);

/* `p`, a block of the pool `owner`, was given to another. */
void accuse_stranger(const void *p, const char *call, unsigned owner, const struct pool *other);

/* `p` was given back by `call` as a block of `n` bytes, which it may have been `resized` to: reported if it can't be. */
void accuse_size(const void *p, size_t n, bool resized, const char *call);

#endif
