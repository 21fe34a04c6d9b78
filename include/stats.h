/*
 * stats: where every byte is.
 *
 * Owns:       the snapshot, and how it is printed.
 * Promises:   async-signal-safe: takes no lock, allocates nothing, calls neither jemalloc nor libunwind;
 *             64-bit throughout; approximate while other threads run, exact at rest (cached: to within a
 *             magazine), and never absurd: used + cached <= allocated in each pool, and the parts of RSS add
 *             up to it.
 * Guarded by: nothing: relaxed reads only.
 * Never:      changes anything (errno apart).
 */
#ifndef TARN_STATS_H
#define TARN_STATS_H

#include "base.h"
#include "large.h"
#include "sizeclass.h"

struct pool_stats {
    size_t size;        /* bytes in a block */
    uint64_t allocated; /* blocks that exist */
    uint64_t used;      /* blocks in the program's hands */
    uint64_t cached;    /* blocks in threads' caches and in the depot */
    uint64_t failed, users, minavail, limit;
    uint64_t slabs;
};

struct stats {
    unsigned count; /* pool[0..count), ascending by size: pool[i] is the pool of class i + 1 */
    struct pool_stats pool[CLASS_POOLS];
    struct large_stats large;
    uint64_t pool_bytes, used_bytes, cached_bytes; /* sums over pools: size * allocated, ... */
    uint64_t failed;                               /* sum over pools; large has its own */
    uint64_t dirty, mapped, meta; /* bytes: spare units with pages, window mapped, our books */
    unsigned threads;
};

/* About 5 KiB: a signal handler keeps it off its stack. */
void stats_read(struct stats *s);

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

/*
 * The dump, on `fd`: a heading, a line a pool that has blocks or had failures, totals, large memory, how RSS
 * divides. `occasion` ends the heading, "Dumping pools usage of tarn, pid 4711, 3 threads: " and a full stop:
 * why it is printed now. Reads nothing but its arguments.
 */
void stats_report(int fd, const char *occasion, const struct stats *s, const struct residence *r);

/* All three in a row, for callers with an ordinary stack. */
void stats_print(int fd, const char *occasion);

/* malloc_info's XML, through `write_text` (a NUL-terminated piece at a time). */
void stats_xml(void (*write_text)(const char *, void *), void *context);

#endif
