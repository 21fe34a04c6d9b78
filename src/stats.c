/*
 * The snapshot. Counters are read one by one while others count on, so that two of them may not fit together;
 * what would look absurd (more used than allocated) is clamped here, once, and the printers believe what they
 * are given.
 */
#include "stats.h"

#include "cache.h"
#include "meta.h"
#include "pool.h"
#include "region.h"
#include "system.h"
#include "thread.h"

#include <fcntl.h>
#include <unistd.h>

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

/* Adds the blocks of one cache to the pools' `cached`. */
static void count_cache(const struct cache *cache, void *context)
{
    struct stats *s = context;
    for (unsigned c = 1; c <= s->count; c++)
        s->pool[c - 1].cached += cache_held(cache, c);
}

/* On entry `cached` holds the blocks in threads' caches, which the pool counts as used. */
static void read_pool(struct pool_stats *s, unsigned c)
{
    const struct pool *p = &pools[c];
    uint64_t in_threads = s->cached;
    uint64_t in_depot = (uint64_t)READ_ONCE(p->depot_count) * class_table[c].batch;
    uint64_t out = READ_ONCE(p->used);

    s->size = class_table[c].size;
    s->allocated = READ_ONCE(p->allocated);
    s->used = at_most(out - at_most(in_threads, out), s->allocated);
    s->cached = at_most(in_threads + in_depot, s->allocated - s->used);
    s->failed = READ_ONCE(p->failed);
    s->users = READ_ONCE(p->users);
    s->minavail = READ_ONCE(p->minavail);
    s->limit = READ_ONCE(p->limit);
    s->slabs = READ_ONCE(p->slabs);
}

void stats_read(struct stats *s)
{
    *s = (struct stats){.count = class_count, .threads = thread_count(), .meta = meta_used()};
    thread_each(count_cache, s);
    for (unsigned i = 0; i < s->count; i++) {
        struct pool_stats *p = &s->pool[i];
        read_pool(p, i + 1);
        s->pool_bytes += p->size * p->allocated;
        s->used_bytes += p->size * p->used;
        s->cached_bytes += p->size * p->cached;
        s->failed += p->failed;
    }
    large_stats(&s->large);
    struct region_stats region;
    region_stats(&region);
    s->dirty = region.dirty;
    s->mapped = region.mapped;
}

/* The second number of /proc/self/statm, in bytes; 0 if there is none. */
static uint64_t resident_set(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text);
    close(fd);
    ssize_t i = 0;
    while (i < length && text[i] != ' ')
        i++;
    uint64_t pages = 0;
    for (i++; i < length && text[i] >= '0' && text[i] <= '9'; i++)
        pages = pages * 10 + (uint64_t)(text[i] - '0');
    return pages * system_page();
}

/* Takes `bytes`, or what is left, out of `*left`. */
static uint64_t part(uint64_t *left, uint64_t bytes)
{
    bytes = at_most(bytes, *left);
    *left -= bytes;
    return bytes;
}

void stats_residence(const struct stats *s, struct residence *r)
{
    size_t resident[CLASS_MAX];
    region_resident(resident);
    *r = (struct residence){.rss = resident_set()};
    uint64_t left = r->rss != 0 ? r->rss : UINT64_MAX;
    for (unsigned i = 0; i < s->count; i++) {
        const struct pool_stats *p = &s->pool[i];
        uint64_t pages = part(&left, resident[i + 1]);
        r->live += part(&pages, p->size * p->used);
        r->cached += part(&pages, p->size * p->cached);
        r->free_in_slabs += pages;
    }
    r->large = part(&left, resident[CLASS_LARGE] + resident[CLASS_BARE] + resident[CLASS_BODY]);
    r->spare = part(&left, resident[CLASS_NONE]);
    r->meta = part(&left, s->meta);
    r->other = r->rss != 0 ? left : 0;
}
