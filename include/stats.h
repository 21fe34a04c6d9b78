/*
 * stats: where every byte is.
 *
 * Owns:       the snapshot, and how it is printed.
 * Promises:   async-signal-safe: takes no lock, allocates nothing, calls neither jemalloc nor libunwind; 64-bit
 *             throughout; approximate while other threads run, exact at rest.
 * Guarded by: nothing: relaxed reads only.
 * Never:      changes anything.
 */
#ifndef TARN_STATS_H
#define TARN_STATS_H

#include "base.h"
#include "large.h"
#include "sizeclass.h"

struct pool_stats {
    size_t size;         /* bytes in a block */
    uint64_t allocated;  /* blocks that exist */
    uint64_t used;       /* blocks in the program's hands */
    uint64_t cached;     /* blocks in threads' caches and in the depot */
    uint64_t failed, users, minavail, limit;
    uint64_t slabs;
};

struct stats {
    unsigned count; /* pools[0..count), ascending by size */
    struct pool_stats pool[CLASS_POOLS];
    struct large_stats large;
    uint64_t pool_bytes, used_bytes, cached_bytes; /* sums over pools: size * allocated, ... */
    uint64_t dirty, mapped, meta;                  /* bytes: spare units with pages, window mapped, our books */
    uint64_t failed;
    unsigned threads;
};

void stats_read(struct stats *s);

/* Where resident memory is, bytes; asks the kernel, slow on big heaps (about 10 us a 4 MiB). */
struct residence {
    uint64_t rss, live, cached, free_in_slabs, large, spare, meta, other;
};
void stats_residence(const struct stats *s, struct residence *r);

/*
 * The dump, on `fd`: a heading, a line a pool that was ever used, totals, large memory, how RSS divides.
 * `occasion` completes the heading "tarn: dumping pools usage ...": why it is printed now.
 */
void stats_print(int fd, const char *occasion);

/* malloc_info's XML, through `write_text` (a NUL-terminated piece at a time). */
void stats_xml(void (*write_text)(const char *, void *), void *context);

#endif
