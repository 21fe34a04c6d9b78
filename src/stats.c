/*
 * The snapshot. Counters are read one by one while others count on, so that two of them may not fit together;
 * what would look absurd (more used than allocated) is clamped here, once, and the printers believe what they
 * are given.
 */
#include "stats.h"

#include "cache.h"
#include "guard.h"
#include "lock.h"
#include "meta.h"
#include "pool.h"
#include "region.h"
#include "system.h"
#include "thread.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

/* A place in the order. Malloc's pools come in it, and named ones are few: what moves is little. */
static void add_pool(struct stats *s, unsigned c)
{
    size_t size = READ_ONCE(pools[c].size);
    unsigned i = s->count++;
    for (; i > 0 && s->pool[i - 1].size > size; i--)
        s->pool[i] = s->pool[i - 1];
    s->pool[i] = (struct pool_stats){.id = (uint8_t)c, .size = size};
}

/* Adds the blocks of one cache to the pools' `cached`. */
static void count_cache(const struct cache *cache, void *context)
{
    struct stats *s = context;
    for (struct pool_stats *p = s->pool; p < s->pool + s->count; p++)
        p->cached += cache_held(cache, p->id);
}

void stats_read_pool(struct pool_stats *s)
{
    const struct pool *p = &pools[s->id];
    uint64_t in_threads = s->cached;
    uint64_t in_depot = (uint64_t)READ_ONCE(p->depot_count) * READ_ONCE(class_table[s->id].batch);
    uint64_t out = READ_ONCE(p->used);

    for (size_t i = 0; i < sizeof s->name - 1; i++)
        s->name[i] = READ_ONCE(p->name[i]);
    s->flags = (uint8_t)READ_ONCE(p->flags);
    s->align = (uint32_t)READ_ONCE(p->align);
    s->block = READ_ONCE(class_table[s->id].size);
    s->allocated = READ_ONCE(p->allocated);
    s->used = at_most(out - at_most(in_threads, out), s->allocated);
    s->cached = at_most(in_threads + in_depot, s->allocated - s->used);
    s->failed = READ_ONCE(p->failed);
    s->limited = READ_ONCE(p->limited);
    s->users = READ_ONCE(p->users);
    s->minavail = READ_ONCE(p->minavail);
    s->limit = READ_ONCE(p->limit);
    s->slabs = READ_ONCE(p->slabs);
    s->registrations = __atomic_load_n(&p->registrations, __ATOMIC_ACQUIRE);
}

void stats_read(struct stats *s)
{
    memset(s, 0, sizeof *s); /* a literal would be on the stack first */
    s->threads = thread_count();
    s->meta = meta_used();
    EACH_CLASS (c)
        if (__atomic_load_n(&pools[c].users, __ATOMIC_ACQUIRE) != 0)
            add_pool(s, c);
    thread_each(count_cache, s);
    for (struct pool_stats *p = s->pool; p < s->pool + s->count; p++) {
        stats_read_pool(p);
        s->pool_bytes += p->size * p->allocated;
        s->used_bytes += p->size * p->used;
        s->cached_bytes += p->size * p->cached;
        s->failed += p->failed;
    }
    large_stats(&s->large);
    s->guarded = guard_count();
    s->guarded_bytes = guard_bytes();
    struct region_stats region;
    region_stats(&region);
    s->dirty = region.dirty;
    s->mapped = region.mapped;
}

/* ---- memory for one --------------------------------------------------------------------------------- */

/* A child forked while another thread had it finds it taken for ever, and maps. */
static struct {
    bool taken;
    struct stats stats;
} place;

static struct stats *find_place(void)
{
    if (!__atomic_exchange_n(&place.taken, true, __ATOMIC_ACQUIRE))
        return &place.stats;
    if (!lock_none_held()) /* in a handler of a signal that struck just there */
        return NULL;
    return system_map(ALIGN_UP(sizeof(struct stats), system_page()));
}

struct stats *stats_take(void)
{
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    struct stats *s = find_place();
    if (s == NULL) {
        pthread_setcancelstate(cancel, &cancel);
        return NULL;
    }
    stats_read(s);
    s->cancel = cancel;
    return s;
}

void stats_drop(struct stats *s)
{
    int cancel = s->cancel;
    if (s == &place.stats)
        __atomic_store_n(&place.taken, false, __ATOMIC_RELEASE);
    else
        system_unmap(s, ALIGN_UP(sizeof(struct stats), system_page()));
    pthread_setcancelstate(cancel, &cancel);
}

/* ---- where resident memory is ----------------------------------------------------------------------- */

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
    for (const struct pool_stats *p = s->pool; p < s->pool + s->count; p++) {
        uint64_t pages = part(&left, resident[p->id]);
        r->live += part(&pages, p->block * p->used);
        r->cached += part(&pages, p->block * p->cached);
        r->free_in_slabs += pages;
    }
    r->live += part(&left, resident[CLASS_GUARDED]);
    r->large = part(&left, resident[CLASS_LARGE] + resident[CLASS_BARE] + resident[CLASS_BODY]);
    r->spare = part(&left, resident[CLASS_NONE]);
    r->meta = part(&left, s->meta);
    r->other = r->rss != 0 ? left : 0;
}
