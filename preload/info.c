/*
 * Questions about glibc's heap, answered for tarn's.
 *
 *     glibc's word        here
 *     arena               bytes of all blocks that pools have
 *     ordblks, fordblks   of these, free blocks and their bytes
 *     smblks, fsmblks     of the free ones, what lies in caches and depots: our fast bins
 *     uordblks            bytes of blocks in use; arena == uordblks + fordblks, as in glibc
 *     hblks, hblkhd       large blocks in use, and their bytes: not part of the above
 *     keepcost            bytes that malloc_trim would give back at once: spare units with pages behind them
 *
 * All zeroes where there is no memory to count in (stats_take).
 */
#include "constant.h"
#include "family.h"
#include "gc.h"
#include "options.h"
#include "out.h"
#include "stats.h"
#include "trace.h"

#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* mallinfo is, and programs still call it */

EXPORT struct mallinfo2 mallinfo2(void)
{
    struct stats *s = stats_take();
    if (s == NULL)
        return (struct mallinfo2){0};
    struct mallinfo2 info = {
        .arena = s->pool_bytes,
        .hblks = s->large.blocks + s->guarded,
        .hblkhd = s->large.bytes + s->guarded_bytes,
        .fsmblks = s->cached_bytes,
        .uordblks = s->used_bytes,
        .fordblks = s->pool_bytes - s->used_bytes,
        .keepcost = s->dirty,
    };
    for (unsigned i = 0; i < s->count; i++) {
        info.ordblks += s->pool[i].allocated - s->pool[i].used;
        info.smblks += s->pool[i].cached;
    }
    stats_drop(s);
    return info;
}

/* The old mallinfo counts in int: a number that does not fit stays at the top, where glibc's would wrap. */
static int saturated(size_t n)
{
    return n > INT_MAX ? INT_MAX : (int)n;
}

EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 info = mallinfo2();
    return (struct mallinfo){
        .arena = saturated(info.arena),
        .ordblks = saturated(info.ordblks),
        .smblks = saturated(info.smblks),
        .hblks = saturated(info.hblks),
        .hblkhd = saturated(info.hblkhd),
        .fsmblks = saturated(info.fsmblks),
        .uordblks = saturated(info.uordblks),
        .fordblks = saturated(info.fordblks),
        .keepcost = saturated(info.keepcost),
    };
}

static void write_text(const char *text, void *stream)
{
    fputs(text, stream);
}

EXPORT int malloc_info(int flags, FILE *stream)
{
    if (flags != 0) {
        errno = EINVAL;
        return -1;
    }
    if (!stats_xml(write_text, stream)) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

EXPORT void malloc_stats(void)
{
    int before = errno;
    struct query query;
    query_parse(options.pools, &query);
    if (!stats_print(STDERR_FILENO, "as malloc_stats was called", &query))
        out_complain("malloc_stats: no memory for a second dump at one time");
    errno = before;
}

/* Which `pad` bytes to leave for later is not the caller's choice here but TARN_MINAVAIL's, class by class.
 */
EXPORT int malloc_trim(size_t pad)
{
    (void)pad;
    int before = errno;
    bool gave_back = gc_run() > 0;
    errno = before;
    return gave_back;
}

EXPORT int mallopt(int parameter, int value)
{
    switch (parameter) {
    case M_ARENA_MAX: /* there is one arena, so any limit is kept */
    case M_ARENA_TEST:
        return value >= 1;
    case M_CHECK_ACTION: /* bits: 1 prints a line, 2 aborts */
        heap_start();    /* which would set it again */
        constant_open();
        if (value & 2)
            trace_start();
        WRITE_ONCE(options.misuse, value & 2 ? MISUSE_ABORT : value & 1 ? MISUSE_WARN : MISUSE_IGNORE);
        constant_close();
        return 1;
    default:
        return 0; /* what tunes glibc's bins, top and mmap has nothing to tune here */
    }
}

ALSO_KNOWN_AS(mallinfo, __libc_mallinfo);
ALSO_KNOWN_AS(mallopt, __libc_mallopt);
