/*
 * The dump's form, after HAProxy's; here and nowhere else (tests/unit/test_stats.c holds it):
 *
 *   Dumping pools usage of tarn, pid 4711, 3 threads: SIGQUIT also flushes them.
 *     - Pool size-64 (64 bytes)   : 1024 allocated  (65536 bytes), 900 used, ~100 cached, [and on this line]
 *                                   0 failures, 1 users,  12% waste
 *     - Pool size-512 (512 bytes) :  256 allocated (131072 bytes), 250 used,   ~0 cached, ...
 *   Total: 2 pools, 196608 bytes allocated, 185600 used, ~6400 cached, 0 failures.
 *   Large: 3 blocks, 1048576 bytes, 2097152 held by jemalloc, 0 failures.
 *   Resident: 4194304 bytes, of which
 *     - live           :  184320 bytes   180.0k    4%
 *     - ...
 *     - not ours       : 1785856 bytes     1.7M   42%
 *
 * A person finds columns, grep finds words with one space between: numbers are padded in front of whatever
 * belongs to them, and as wide as this dump needs. Waste is what the pool has and the program does not use.
 */
#include "stats.h"

#include "check.h"
#include "out.h"

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

static bool worth_a_line(const struct pool_stats *p)
{
    return p->allocated != 0 || p->failed != 0;
}

struct widths {
    unsigned size, allocated, bytes, used, cached, failed, users;
};

static unsigned measure(const struct stats *s, struct widths *w)
{
    unsigned lines = 0;
    *w = (struct widths){0};
    for (const struct pool_stats *p = s->pool; p < s->pool + s->count; p++) {
        if (!worth_a_line(p))
            continue;
        widen(&w->size, p->size);
        widen(&w->allocated, p->allocated);
        widen(&w->bytes, p->size * p->allocated);
        widen(&w->used, p->used);
        widen(&w->cached, p->cached);
        widen(&w->failed, p->failed);
        widen(&w->users, p->users);
        lines++;
    }
    return lines;
}

static void print_pool(struct out *o, const struct pool_stats *p, const struct widths *w)
{
    out_print(o, "  - Pool size-%zu (%zu bytes)", p->size, p->size);
    pad(o, 2 * (w->size - digits(p->size)));
    out_print(o, " :");
    number(o, w->allocated, " ", p->allocated, " allocated");
    number(o, w->bytes, " (", p->size * p->allocated, " bytes),");
    number(o, w->used, " ", p->used, " used,");
    number(o, w->cached, " ~", p->cached, " cached,");
    number(o, w->failed, " ", p->failed, " failures,");
    number(o, w->users, " ", p->users, " users,");
    number(o, 3, " ", percent(p->allocated - p->used, p->allocated), "% waste\n");
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

void stats_report(int fd, const char *occasion, const struct stats *s, const struct residence *r)
{
    struct out o;
    struct widths w;
    unsigned lines = measure(s, &w);
    out_start(&o, fd);
    out_print(&o, "Dumping pools usage of tarn, pid %d, %u thread%s: %s.\n", (int)getpid(), s->threads,
              s->threads == 1 ? "" : "s", occasion);
    for (const struct pool_stats *p = s->pool; p < s->pool + s->count; p++)
        if (worth_a_line(p))
            print_pool(&o, p, &w);
    out_print(&o, "Total: %u pools, %lu bytes allocated, %lu used, ~%lu cached, %lu failures.\n", lines,
              s->pool_bytes, s->used_bytes, s->cached_bytes, s->failed);
    out_print(&o, "Large: %lu blocks, %lu bytes, %lu held by jemalloc, %lu failures.\n", s->large.blocks,
              s->large.bytes, s->large.held, s->large.failed);
    print_residence(&o, r);
    out_flush(&o);
}

void stats_print(int fd, const char *occasion)
{
    struct stats s;
    struct residence r;
    stats_read(&s);
    stats_residence(&s, &r);
    stats_report(fd, occasion, &s, &r);
}

struct sink {
    void (*write_text)(const char *, void *);
    void *context;
};

/* Hands on what `o`, which has no descriptor, has gathered: an element, far shorter than its buffer. */
static void hand_on(struct out *o, const struct sink *sink)
{
    debug_check(o->used < sizeof o->text);
    o->text[o->used] = '\0';
    sink->write_text(o->text, sink->context);
    o->used = 0;
}

static void xml_pool(struct out *o, const struct pool_stats *p)
{
    out_print(
        o, "<pool name=\"size-%zu\" size=\"%zu\" allocated=\"%lu\" bytes=\"%lu\" used=\"%lu\" cached=\"%lu\"",
        p->size, p->size, p->allocated, p->size * p->allocated, p->used, p->cached);
    out_print(o, " failures=\"%lu\" users=\"%lu\" minavail=\"%lu\" limit=\"%lu\" slabs=\"%lu\"/>\n",
              p->failed, p->users, p->minavail, p->limit, p->slabs);
}

/*
 * The outer shape and the elements total, system and aspace are glibc's, so that its readers find what they
 * look for: fast = free blocks at hand (cached), rest = the other free ones, mmap = large.
 */
void stats_xml(void (*write_text)(const char *, void *), void *context)
{
    const struct sink sink = {write_text, context};
    struct stats s;
    struct out o;
    uint64_t cached = 0, unused = 0;
    stats_read(&s);
    out_start(&o, -1);
    out_print(&o, "<malloc version=\"1\">\n<heap nr=\"0\">\n");
    for (const struct pool_stats *p = s.pool; p < s.pool + s.count; p++) {
        cached += p->cached;
        unused += p->allocated - p->used - p->cached;
        if (worth_a_line(p))
            xml_pool(&o, p);
        hand_on(&o, &sink);
    }
    out_print(&o, "</heap>\n<total type=\"fast\" count=\"%lu\" size=\"%lu\"/>\n", cached, s.cached_bytes);
    out_print(&o, "<total type=\"rest\" count=\"%lu\" size=\"%lu\"/>\n", unused,
              s.pool_bytes - s.used_bytes - s.cached_bytes);
    out_print(&o, "<total type=\"mmap\" count=\"%lu\" size=\"%lu\"/>\n", s.large.blocks, s.large.bytes);
    out_print(&o, "<pools allocated=\"%lu\" used=\"%lu\" cached=\"%lu\" failures=\"%lu\" threads=\"%u\"/>\n",
              s.pool_bytes, s.used_bytes, s.cached_bytes, s.failed, s.threads);
    out_print(&o, "<large blocks=\"%lu\" bytes=\"%lu\" held=\"%lu\" failures=\"%lu\"/>\n", s.large.blocks,
              s.large.bytes, s.large.held, s.large.failed);
    out_print(&o, "<spare bytes=\"%lu\"/>\n<books bytes=\"%lu\"/>\n", s.dirty, s.meta);
    out_print(&o, "<system type=\"current\" size=\"%lu\"/>\n", s.mapped);
    hand_on(&o, &sink);
    out_print(&o, "<aspace type=\"total\" size=\"%lu\"/>\n</malloc>\n", s.mapped);
    hand_on(&o, &sink);
}
