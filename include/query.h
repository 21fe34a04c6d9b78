/*
 * query: what a dump of the pools shows, in words.
 *
 * Owns:       the grammar of TARN_POOLS and of tarn_pools_dump's query, after HAProxy's "show pools".
 * Promises:   async-signal-safe; allocates nothing.
 * Guarded by: nothing to guard.
 * Never:      knows a pool.
 *
 * Words in any order, blanks or commas between, each kind at most once:
 *
 *     byname | bysize | byusage    the order; bysize (ascending) if none is named. byusage is by bytes used, the most
 *                                  first, and leaves out pools with nothing used
 *     match PREFIX, match=PREFIX   only pools whose name begins so
 *     detailed                     limits and registrations, too
 *     a number                     at most so many lines; 0 leaves the totals alone
 */
#ifndef TARN_QUERY_H
#define TARN_QUERY_H

#include "base.h"

enum query_order { QUERY_BY_SIZE, QUERY_BY_NAME, QUERY_BY_USAGE };

enum { QUERY_PREFIX = 32 }; /* bytes of a prefix, with its end: it is no longer than a name */

struct query {
    enum query_order order;
    bool detailed;
    unsigned lines;
    char prefix[QUERY_PREFIX];
};

/* NULL and "" are the default: all pools by size. False: not a query, and *q is undefined. */
bool query_parse(const char *text, struct query *q);

/* How many bytes at the start of `text` are such as a pool's name is made of (tarn.h). */
size_t query_name_length(const char *text);

#endif
