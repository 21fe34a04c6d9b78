/*
 * The dump's form, after HAProxy's; here and nowhere else (tests/unit/test_stats_print.c holds it):
 *
 *   Dumping pools usage of tarn, pid 4711, 3 threads: SIGQUIT also flushes them.
 *     - Pool size-64 (64 bytes)   : 1024 allocated  (65536 bytes), 900 used, ~100 cached, [and on this line]
 *                                   0 failures, 1 users,  12% waste
 *     - Pool size-512 (512 bytes) :  256 allocated (131072 bytes), 250 used,   ~0 cached, ...
 *     - Pool session (96 bytes)   :  682 allocated  (65472 bytes), 682 used,   ~0 cached, ... 0% waste [SHARED]
 *         blocks of 96 bytes, align 16, 1 slabs, limit none, 0 limit hits, minavail 0    [where detailed:]
 *         > session: 90 bytes, align 16, SHARED, src/conn.c:41                           [who asked for it]
 *   Total: 3 pools, 262080 bytes allocated, 251072 used, ~6400 cached, 0 failures.
 *   Large: 3 blocks, 1048576 bytes, 2097152 held by jemalloc, 0 failures.
 *   Resident: 4194304 bytes, of which
 *     - live           :  184320 bytes   180.0k    4%
 *     - ...
 *     - not ours       : 1785856 bytes     1.7M   42%
 *
 * A person finds columns, grep finds words with one space between: numbers are padded in front of whatever
 * belongs to them, and as wide as this dump needs. Waste is what the pool has and the program does not use. A pool
 * without a name is "-". Limit hits are no failures: those are for want of memory.
 */
#include "stats.h"

#include "out.h"

#include <string.h>
#include <unistd.h>

static unsigned digits(uint64_t value)
{
    unsigned n = 1;
    while ((value /= 10) > 0)
        n++;
    return n;
}

static void widen(unsigned *width, uint64_t value)
{
    unsigned n = digits(value);
    if (*width < n)
        *width = n;
}

static void pad(struct out *o, unsigned spaces)
{
    while (spaces-- > 0)
        out_print(o, " ");
}

/* `before`, the number and `after` without a gap, and spaces in front to fill `width` digits. */
static void number(struct out *o, unsigned width, const char *before, uint64_t value, const char *after)
{
    pad(o, width - digits(value));
    out_print(o, "%s%lu%s", before, value, after);
}

/* Share of `whole` in percent, rounded down. */
static uint64_t percent(uint64_t share, uint64_t whole)
{
    return whole == 0 ? 0 : share * 100 / whole;
}

static const char *shown(const char *name)
{
    return *name != '\0' ? name : "-";
}

/* ---- which, and how wide ---------------------------------------------------------------------------- */

_Static_assert((int)QUERY_PREFIX == (int)POOL_NAME, "a prefix is a name at most");

struct total {
    uint64_t bytes, used, cached, failed;
};

struct widths {
    unsigned label, allocated, bytes, used, cached, failed, users;
};

/* The pools that the query chooses, in its order. */
struct choice {
    struct total total;  /* of all of them */
    struct widths width; /* of those that get a line: pool[0..lines) */
    unsigned count, lines;
    uint8_t pool[STATS_POOLS];
};

static bool chosen(const struct query *q, const struct pool_stats *p)
{
    return stats_tells_of(p) && (q->order != QUERY_BY_USAGE || p->used != 0) &&
           strncmp(p->name, q->prefix, strlen(q->prefix)) == 0;
}

/* Does `a` come before `b`, which is the smaller? */
static bool overtakes(const struct query *q, const struct pool_stats *a, const struct pool_stats *b)
{
    switch (q->order) {
    case QUERY_BY_NAME:
        return strcmp(a->name, b->name) < 0;
    case QUERY_BY_USAGE:
        return a->size * a->used > b->size * b->used;
    default:
        return false;
    }
}

static void choose(struct choice *choice, const struct query *q, const struct stats *s)
{
    *choice = (struct choice){.count = 0};
    for (unsigned i = 0; i < s->count; i++) {
        const struct pool_stats *p = &s->pool[i];
        if (!chosen(q, p))
            continue;
        choice->total.bytes += p->size * p->allocated;
        choice->total.used += p->size * p->used;
        choice->total.cached += p->size * p->cached;
        choice->total.failed += p->failed;
        unsigned at = choice->count++;
        for (; at > 0 && overtakes(q, p, &s->pool[choice->pool[at - 1]]); at--)
            choice->pool[at] = choice->pool[at - 1];
        choice->pool[at] = (uint8_t)i;
    }
    choice->lines = choice->count < q->lines ? choice->count : q->lines;
}

static unsigned label_width(const struct pool_stats *p)
{
    return (unsigned)strlen(shown(p->name)) + digits(p->size);
}

static void measure(struct widths *w, const struct pool_stats *p)
{
    if (w->label < label_width(p))
        w->label = label_width(p);
    widen(&w->allocated, p->allocated);
    widen(&w->bytes, p->size * p->allocated);
    widen(&w->used, p->used);
    widen(&w->cached, p->cached);
    widen(&w->failed, p->failed);
    widen(&w->users, p->users);
}

/* ---- the lines -------------------------------------------------------------------------------------- */

/* Others may have it too, or do: malloc's own are open to all, but it is nothing to tell before someone comes. */
static bool is_shared(const struct pool_stats *p)
{
    return (p->flags & POOL_SHARED) != 0 && (p->id >= CLASS_NAMED || p->users > 1);
}

static void print_pool(struct out *o, const struct pool_stats *p, const struct widths *w)
{
    out_print(o, "  - Pool %s (%lu bytes)", shown(p->name), p->size);
    pad(o, w->label - label_width(p));
    out_print(o, " :");
    number(o, w->allocated, " ", p->allocated, " allocated");
    number(o, w->bytes, " (", p->size * p->allocated, " bytes),");
    number(o, w->used, " ", p->used, " used,");
    number(o, w->cached, " ~", p->cached, " cached,");
    number(o, w->failed, " ", p->failed, " failures,");
    number(o, w->users, " ", p->users, " users,");
    number(o, 3, " ", percent(p->allocated - p->used, p->allocated), "% waste");
    out_print(o, "%s\n", is_shared(p) ? " [SHARED]" : "");
}

/* A text that may be changing: a registration is used again when its pool is gone. */
static void copy_text(char *to, const char *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = READ_ONCE(from[i]);
    to[size - 1] = '\0';
}

static void print_registration(struct out *o, const struct registration *r)
{
    char name[sizeof r->name], file[sizeof r->file];
    unsigned flags = READ_ONCE(r->flags);
    copy_text(name, r->name, sizeof name);
    copy_text(file, r->file, sizeof file);
    out_print(o, "      > %s: %zu bytes, align %zu", shown(name), READ_ONCE(r->size), READ_ONCE(r->align));
    out_print(o, "%s%s", (flags & POOL_SHARED) != 0 ? ", SHARED" : "",
              (flags & POOL_EXACT) != 0 ? ", EXACT" : "");
    if (file[0] != '\0')
        out_print(o, ", %s:%u", file, READ_ONCE(r->line));
    out_print(o, "\n");
}

static void print_details(struct out *o, const struct pool_stats *p)
{
    out_print(o, "      blocks of %u bytes, align %u, %u slabs, limit ", p->block, p->align, p->slabs);
    if (p->limit != 0)
        out_print(o, "%lu", p->limit);
    else
        out_print(o, "none");
    out_print(o, ", %lu limit hits, minavail %lu\n", p->limited, p->minavail);
    /* Not more than there are users: one that is destroyed meanwhile goes on a list of others. */
    const struct registration *r = p->registrations;
    for (uint64_t n = 0; r != NULL && n < p->users; n++, r = __atomic_load_n(&r->next, __ATOMIC_ACQUIRE))
        print_registration(o, r);
}

static void print_pools(struct out *o, const struct query *q, const struct stats *s)
{
    struct choice choice;
    choose(&choice, q, s);
    for (unsigned i = 0; i < choice.lines; i++)
        measure(&choice.width, &s->pool[choice.pool[i]]);
    for (unsigned i = 0; i < choice.lines; i++) {
        print_pool(o, &s->pool[choice.pool[i]], &choice.width);
        if (q->detailed)
            print_details(o, &s->pool[choice.pool[i]]);
    }
    out_print(o, "Total: %u pools, %lu bytes allocated, %lu used, ~%lu cached, %lu failures.\n", choice.count,
              choice.total.bytes, choice.total.used, choice.total.cached, choice.total.failed);
}

static void print_part(struct out *o, const char *name, uint64_t bytes, const struct residence *r)
{
    unsigned width = 0;
    widen(&width, r->rss);
    widen(&width, bytes);
    out_print(o, "  - %-14s :", name);
    number(o, width, " ", bytes, " bytes");
    out_print(o, " %8b", (size_t)bytes);
    if (r->rss != 0)
        number(o, 3, "  ", percent(bytes, r->rss), "%");
    out_print(o, "\n");
}

static void print_residence(struct out *o, const struct residence *r)
{
    if (r->rss != 0)
        out_print(o, "Resident: %lu bytes, of which\n", r->rss);
    else
        out_print(o, "Resident: unknown (no /proc/self/statm), of which\n");
    print_part(o, "live", r->live, r);
    print_part(o, "cached", r->cached, r);
    print_part(o, "free in slabs", r->free_in_slabs, r);
    print_part(o, "large", r->large, r);
    print_part(o, "spare", r->spare, r);
    print_part(o, "bookkeeping", r->meta, r);
    if (r->rss != 0)
        print_part(o, "not ours", r->other, r);
}

void stats_report(int fd, const char *occasion, const struct query *q, const struct stats *s,
                  const struct residence *r)
{
    struct out o;
    out_start(&o, fd);
    out_print(&o, "Dumping pools usage of tarn, pid %d, %u thread%s: %s.\n", (int)getpid(), s->threads,
              s->threads == 1 ? "" : "s", occasion);
    print_pools(&o, q, s);
    out_print(&o, "Large: %lu blocks, %lu bytes, %lu held by jemalloc, %lu failures.\n", s->large.blocks,
              s->large.bytes, s->large.held, s->large.failed);
    if (s->guarded != 0)
        out_print(&o, "Guarded: %lu blocks, %lu bytes.\n", s->guarded, s->guarded_bytes);
    print_residence(&o, r);
    out_flush(&o);
}

bool stats_print(int fd, const char *occasion, const struct query *q)
{
    struct residence r;
    struct stats *s = stats_take();
    if (s == NULL)
        return false;
    stats_residence(s, &r);
    stats_report(fd, occasion, q, s, &r);
    stats_drop(s);
    return true;
}
