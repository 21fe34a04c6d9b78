/*
 * stats: where every byte is.
 *
 * Owns:       the snapshot, and how it is printed.
 * Promises:   async-signal-safe (but for stats_xml's writer): takes no lock, allocates nothing, calls neither
 *             jemalloc nor libunwind; 64-bit throughout; approximate while other threads run, exact at rest
 *             (cached: to within a magazine), and never absurd: used + cached <= allocated in each pool, and the
 *             parts of RSS add up to it.
 * Guarded by: nothing: relaxed reads only.
 * Never:      changes anything (errno apart).
 */
#ifndef TARN_STATS_H
#define TARN_STATS_H

#include "base.h"
#include "large.h"
#include "pool.h"
#include "query.h"
#include "sizeclass.h"

enum { STATS_POOLS = CLASS_POOLS - 1 + CLASS_MAX - CLASS_NAMED }; /* the most there can be */

/* What pool.h says of each field, but for the few explained here. */
struct pool_stats {
    char name[POOL_NAME];
    uint8_t id, flags;
    uint32_t align;
    uint32_t slabs;
    uint32_t block;     /* bytes of memory that one takes: the class's size */
    uint64_t size;      /* bytes of a block as its users know it; sums are of these */
    uint64_t allocated; /* blocks that exist */
    uint64_t used;      /* blocks in the program's hands */
    uint64_t cached;    /* blocks in threads' caches and in the depot */
    uint64_t failed, limited, users, minavail, limit;
    const struct registration *registrations;
};

struct stats {
    unsigned count; /* of pools: malloc's, and the named ones that have users */
    unsigned threads;
    int cancel;                          /* stats_take's: what the thread's state was */
    struct pool_stats pool[STATS_POOLS]; /* ascending by size; of one size malloc's first, then by id */
    struct large_stats large;
    uint64_t pool_bytes, used_bytes, cached_bytes; /* sums over pools: size * allocated, ... */
    uint64_t failed;                               /* sum over pools; large has its own */
    uint64_t guarded, guarded_bytes;               /* blocks that stand alone, and bytes of their pages */
    uint64_t dirty, mapped, meta; /* bytes: spare units with pages, window mapped, our books */
};

/* One pool's. On entry `id` and `size` say which, and `cached` the blocks in threads' caches, which the pool counts as
   used. */
void stats_read_pool(struct pool_stats *s);

/* 32 KiB: not for a stack. */
void stats_read(struct stats *s);

/*
 * The same into memory of ours, until stats_drop. One at a time needs no fresh memory; for more at once some is mapped:
 * NULL if the kernel refuses. Until it is dropped the calling thread is not cancelled.
 */
struct stats *stats_take(void);
void stats_drop(struct stats *s);

/*
 * Where resident memory is, bytes:
 *
 *     rss == live + cached + free_in_slabs + large + spare + meta + other
 *
 * Pages of a pool are given to live blocks first, then to cached ones. rss == 0: the kernel won't tell (no
 * /proc); then other is 0 too, and the rest stands. Asks the kernel, slow on big heaps (about 10 us a 4 MiB).
 */
struct residence {
    uint64_t rss, live, cached, free_in_slabs, large, spare, meta, other;
};
void stats_residence(const struct stats *s, struct residence *r);

/* Malloc's classes are many: one that is the program's malloc's alone, and never had a block, is passed over. A pool
   that someone made is told of even if it was never used. */
INLINE bool stats_tells_of(const struct pool_stats *p)
{
    return p->id >= CLASS_NAMED || p->users > 1 || p->allocated != 0 || p->failed != 0;
}

/*
 * The dump, on `fd`: a heading, a line for each pool that `q` chooses, totals of the chosen (also where q->lines
 * leaves out their lines), large memory, how RSS divides. `occasion` ends the heading, "Dumping pools usage of tarn,
 * pid 4711, 3 threads: " and a full stop: why it is printed now. Reads nothing but its arguments.
 */
void stats_report(int fd, const char *occasion, const struct query *q, const struct stats *s,
                  const struct residence *r);

/* stats_take and all that. False: nothing was printed, as a dump is on already and there is no memory for another. */
bool stats_print(int fd, const char *occasion, const struct query *q);

/* malloc_info's XML, through `write_text` (a NUL-terminated piece at a time). False as stats_print. */
bool stats_xml(void (*write_text)(const char *, void *), void *context);

#endif
