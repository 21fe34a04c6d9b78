/* malloc_info's XML. */
#include "stats.h"

#include "check.h"
#include "out.h"

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

/* Nothing needs escaping: names are letters, digits and a few signs (tarn.h). */
static void xml_pool(struct out *o, const struct pool_stats *p)
{
    out_print(o, "<pool name=\"%s\" size=\"%lu\" allocated=\"%lu\" bytes=\"%lu\" used=\"%lu\" cached=\"%lu\"",
              p->name, p->size, p->allocated, p->size * p->allocated, p->used, p->cached);
    out_print(
        o, " failures=\"%lu\" users=\"%lu\" minavail=\"%lu\" limit=\"%lu\" limited=\"%lu\" slabs=\"%u\"/>\n",
        p->failed, p->users, p->minavail, p->limit, p->limited, p->slabs);
}

/*
 * The outer shape and the elements total, system and aspace are glibc's, so that its readers find what they
 * look for: fast = free blocks at hand (cached), rest = the other free ones, mmap = large.
 */
bool stats_xml(void (*write_text)(const char *, void *), void *context)
{
    const struct sink sink = {write_text, context};
    struct out o;
    uint64_t cached = 0, unused = 0;
    struct stats *s = stats_take();
    if (s == NULL)
        return false;
    out_start(&o, -1);
    out_print(&o, "<malloc version=\"1\">\n<heap nr=\"0\">\n");
    for (const struct pool_stats *p = s->pool; p < s->pool + s->count; p++) {
        cached += p->cached;
        unused += p->allocated - p->used - p->cached;
        if (stats_tells_of(p))
            xml_pool(&o, p);
        hand_on(&o, &sink);
    }
    out_print(&o, "</heap>\n<total type=\"fast\" count=\"%lu\" size=\"%lu\"/>\n", cached, s->cached_bytes);
    out_print(&o, "<total type=\"rest\" count=\"%lu\" size=\"%lu\"/>\n", unused,
              s->pool_bytes - s->used_bytes - s->cached_bytes);
    out_print(&o, "<total type=\"mmap\" count=\"%lu\" size=\"%lu\"/>\n", s->large.blocks, s->large.bytes);
    out_print(&o, "<pools allocated=\"%lu\" used=\"%lu\" cached=\"%lu\" failures=\"%lu\" threads=\"%u\"/>\n",
              s->pool_bytes, s->used_bytes, s->cached_bytes, s->failed, s->threads);
    out_print(&o, "<large blocks=\"%lu\" bytes=\"%lu\" held=\"%lu\" failures=\"%lu\"/>\n", s->large.blocks,
              s->large.bytes, s->large.held, s->large.failed);
    out_print(&o, "<spare bytes=\"%lu\"/>\n<books bytes=\"%lu\"/>\n", s->dirty, s->meta);
    out_print(&o, "<system type=\"current\" size=\"%lu\"/>\n", s->mapped);
    hand_on(&o, &sink);
    out_print(&o, "<aspace type=\"total\" size=\"%lu\"/>\n</malloc>\n", s->mapped);
    hand_on(&o, &sink);
    stats_drop(s);
    return true;
}
