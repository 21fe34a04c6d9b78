#include "heap.h"
#include "pool.h"
#include "stats.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What `stats_report` writes, in a buffer of the test's. */
static const char *reported(const struct stats *s, const struct residence *r)
{
    static char text[1 << 14];
    int fd = memfd_create("dump", 0);
    stats_report(fd, "SIGQUIT also flushes them", s, r);
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    cr_assert_geq(length, 0);
    text[length] = '\0';
    close(fd);
    return text;
}

static const struct residence some_residence = {.rss = 2000000,
                                                .live = 1000000,
                                                .cached = 20000,
                                                .free_in_slabs = 100000,
                                                .large = 262144,
                                                .spare = 0,
                                                .meta = 65536,
                                                .other = 552320};

/* The golden dump: whoever changes the form changes it here, in stats_print.c's comment and in the README. */
Test(stats_report, form)
{
    const struct stats s = {
        .count = 4,
        .pool = {{.size = 16, .users = 1},
                 {.size = 64, .allocated = 1024, .used = 900, .cached = 100, .users = 1, .slabs = 1},
                 {.size = 512, .allocated = 100256, .used = 100250, .users = 1, .slabs = 2},
                 {.size = 4096, .failed = 12, .users = 1}},
        .large = {.blocks = 3, .bytes = 1048576, .held = 2097152, .failed = 2},
        .pool_bytes = 51396608,
        .used_bytes = 51385600,
        .cached_bytes = 6400,
        .failed = 12,
        .threads = 3};
    char expected[2048];
    snprintf(expected, sizeof expected,
             "Dumping pools usage of tarn, pid %d, 3 threads: SIGQUIT also flushes them.\n"
             "  - Pool size-64 (64 bytes)     :   1024 allocated    (65536 bytes),    900 used, ~100 cached, "
             " 0 failures, 1 users,  12%% waste\n"
             "  - Pool size-512 (512 bytes)   : 100256 allocated (51331072 bytes), 100250 used,   ~0 cached, "
             " 0 failures, 1 users,   0%% waste\n"
             "  - Pool size-4096 (4096 bytes) :      0 allocated        (0 bytes),      0 used,   ~0 cached, "
             "12 failures, 1 users,   0%% waste\n"
             "Total: 3 pools, 51396608 bytes allocated, 51385600 used, ~6400 cached, 12 failures.\n"
             "Large: 3 blocks, 1048576 bytes, 2097152 held by jemalloc, 2 failures.\n"
             "Resident: 2000000 bytes, of which\n"
             "  - live           : 1000000 bytes   976.6k   50%%\n"
             "  - cached         :   20000 bytes    19.5k    1%%\n"
             "  - free in slabs  :  100000 bytes    97.7k    5%%\n"
             "  - large          :  262144 bytes   256.0k   13%%\n"
             "  - spare          :       0 bytes        0    0%%\n"
             "  - bookkeeping    :   65536 bytes    64.0k    3%%\n"
             "  - not ours       :  552320 bytes   539.4k   27%%\n",
             (int)getpid());
    cr_assert_str_eq(reported(&s, &some_residence), expected);
}

/* HAProxy's 32-bit products wrapped at 4 GiB. */
Test(stats_report, is_64_bit_throughout)
{
    const uint64_t many = (uint64_t)1 << 40;
    const struct stats s = {
        .count = 1,
        .pool = {{.size = 32768, .allocated = many, .used = many / 2 + 1, .failed = many, .users = many}},
        .pool_bytes = many << 15};
    const char *text = reported(&s, &some_residence);
    cr_assert_not_null(
        strstr(text, " 1099511627776 allocated (36028797018963968 bytes), 549755813889 used,"));
    cr_assert_not_null(strstr(text, " 1099511627776 failures, 1099511627776 users,  49% waste\n"));
    cr_assert_not_null(strstr(text, "Total: 1 pools, 36028797018963968 bytes allocated"));
}

Test(stats_report, without_proc_claims_no_rest)
{
    const struct stats s = {.count = 0};
    const struct residence r = {.live = 4096};
    const char *text = reported(&s, &r);
    cr_assert_not_null(strstr(text, "Resident: unknown"));
    cr_assert_not_null(strstr(text, "live           : 4096 bytes"));
    cr_assert_null(strstr(text, "not ours"));
    cr_assert_null(strstr(text, "%"));
}

/* Snapshots are big; the tests compare one with the next. */
static struct stats before, after;

static const struct pool_stats *pool_of(const struct stats *s, size_t n)
{
    return &s->pool[class_of(n) - 1];
}

static void check_snapshot(const struct stats *s)
{
    uint64_t bytes = 0, used = 0, cached = 0, failed = 0;
    cr_assert_eq(s->count, class_count);
    for (unsigned i = 0; i < s->count; i++) {
        const struct pool_stats *p = &s->pool[i];
        cr_assert(i == 0 || s->pool[i - 1].size < p->size);
        cr_assert_leq(p->used, p->allocated);
        cr_assert_leq(p->cached, p->allocated - p->used);
        bytes += p->size * p->allocated;
        used += p->size * p->used;
        cached += p->size * p->cached;
        failed += p->failed;
    }
    cr_assert_eq(s->pool_bytes, bytes);
    cr_assert_eq(s->used_bytes, used);
    cr_assert_eq(s->cached_bytes, cached);
    cr_assert_eq(s->failed, failed);
}

enum { BLOCKS = 20000 };
static void *block[BLOCKS];

static void take(size_t n, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        block[i] = heap_alloc(n);
        cr_assert_not_null(block[i]);
        memset(block[i], 1, n);
    }
}

static void give(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        heap_free(block[i], "free");
}

/* At rest the dump is exact: a block is used, cached or free in a slab, and nothing else. */
Test(stats_read, counts_blocks_exactly_at_rest)
{
    heap_free(heap_alloc(200), "free");
    stats_read(&before);
    check_snapshot(&before);
    take(200, BLOCKS);
    stats_read(&after);
    check_snapshot(&after);
    cr_assert_eq(pool_of(&after, 200)->used, pool_of(&before, 200)->used + BLOCKS);
    cr_assert_geq(pool_of(&after, 200)->allocated, BLOCKS);
    cr_assert_gt(pool_of(&after, 200)->slabs, 1);
    give(BLOCKS);
    stats_read(&after);
    check_snapshot(&after);
    cr_assert_eq(pool_of(&after, 200)->used, pool_of(&before, 200)->used);
    unsigned c = class_of(200);
    uint64_t in_depot = (uint64_t)pools[c].depot_count * class_table[c].batch;
    cr_assert_gt(in_depot, 0);
    cr_assert_eq(pool_of(&after, 200)->cached, in_depot + cache_held(cache_self, c));
}

static pthread_barrier_t arrived, leave;

/* Leaves freed blocks in its cache. */
static void *hoard(void *unused)
{
    void *mine[8];
    for (unsigned i = 0; i < ARRAY_LENGTH(mine); i++)
        mine[i] = heap_alloc(3000);
    for (unsigned i = 0; i < ARRAY_LENGTH(mine); i++)
        heap_free(mine[i], "free");
    pthread_barrier_wait(&arrived);
    pthread_barrier_wait(&leave);
    return unused;
}

Test(stats_read, sees_other_threads_caches)
{
    pthread_t thread;
    heap_free(heap_alloc(64), "free");
    stats_read(&before);
    pthread_barrier_init(&arrived, NULL, 2);
    pthread_barrier_init(&leave, NULL, 2);
    cr_assert_eq(pthread_create(&thread, NULL, hoard, NULL), 0);
    pthread_barrier_wait(&arrived);
    stats_read(&after);
    pthread_barrier_wait(&leave);
    pthread_join(thread, NULL);
    check_snapshot(&after);
    cr_assert_eq(after.threads, before.threads + 1);
    cr_assert_eq(pool_of(&after, 3000)->used, 0);
    cr_assert_geq(pool_of(&after, 3000)->cached, 8);
}

/* Counters read at different moments may not fit together; what is printed must. */
Test(stats_read, is_never_absurd)
{
    take(64, 100);
    give(100);
    struct pool *p = &pools[class_of(64)];
    uint64_t used = p->used, allocated = p->allocated;
    p->used = 0;
    stats_read(&after);
    check_snapshot(&after);
    cr_assert_eq(pool_of(&after, 64)->used, 0);
    p->used = allocated + 5000;
    stats_read(&after);
    check_snapshot(&after);
    p->used = used;
    p->allocated = 0;
    stats_read(&after);
    check_snapshot(&after);
    p->allocated = allocated;
}

static uint64_t sum(const struct residence *r)
{
    return r->live + r->cached + r->free_in_slabs + r->large + r->spare + r->meta + r->other;
}

static struct residence residence_now(void)
{
    struct residence r;
    stats_read(&after);
    stats_residence(&after, &r);
    cr_assert_gt(r.rss, 0);
    cr_assert_eq(sum(&r), r.rss);
    return r;
}

enum { MEBIBYTE = 1 << 20 };

/* A shadow of our memory is memory that is not ours, and grows with it. */
#ifdef __SANITIZE_THREAD__
enum { HAS_SHADOW = true };
#else
enum { HAS_SHADOW = false };
#endif

Test(stats_residence, follows_blocks_through_their_life)
{
    heap_free(heap_alloc(1000), "free");
    struct residence at_first = residence_now();
    take(1000, BLOCKS);
    struct residence in_use = residence_now();
    cr_assert_geq(in_use.live, at_first.live + BLOCKS * 1000);
    cr_assert(HAS_SHADOW || in_use.other <= at_first.other + MEBIBYTE);
    give(BLOCKS);
    struct residence given = residence_now();
    cr_assert_leq(given.live, at_first.live + MEBIBYTE);
    cr_assert_gt(given.cached, at_first.cached);
    cr_assert(HAS_SHADOW || given.other <= at_first.other + MEBIBYTE);
}

Test(stats_residence, knows_large_blocks)
{
    struct residence at_first = residence_now();
    volatile size_t n = 16 * MEBIBYTE; /* a constant would let gcc see past the end of the class map */
    char *p = heap_alloc(n);
    memset(p, 1, 16 * MEBIBYTE);
    struct residence in_use = residence_now();
    cr_assert_geq(in_use.large, at_first.large + 16 * MEBIBYTE);
    cr_assert_eq(after.large.blocks, 1);
    cr_assert_geq(after.large.bytes, 16 * MEBIBYTE);
    cr_assert_geq(after.large.held, after.large.bytes);
    heap_free(p, "free");
}

static char xml[1 << 16];

static void gather(const char *text, void *context)
{
    cr_assert_eq(context, (void *)&xml);
    cr_assert_lt(strlen(xml) + strlen(text), sizeof xml);
    strcat(xml, text);
}

/* Checks a tag's attributes, name="value" with a space before each; returns what follows them. */
static const char *skip_attributes(const char *p)
{
    while (*p == ' ') {
        size_t name = strspn(p + 1, "abcdefghijklmnopqrstuvwxyz");
        cr_assert_gt(name, 0);
        p += 1 + name;
        cr_assert_eq(strncmp(p, "=\"", 2), 0);
        p += 2;
        p += strcspn(p, "\"<&");
        cr_assert_eq(*p++, '"');
    }
    return p;
}

/* Well-formed, as far as this XML goes: elements with attributes, nested, no text but newlines. */
static void check_well_formed(const char *p)
{
    const char *open[8];
    size_t depth = 0;
    for (; *p != '\0'; p += *p == '\n') {
        cr_assert_eq(*p++, '<', "at: %s", p);
        bool closing = *p == '/';
        const char *name = p + closing;
        size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz");
        cr_assert_gt(length, 0);
        p = skip_attributes(name + length);
        bool empty = *p == '/';
        p += empty;
        cr_assert_eq(*p++, '>');
        if (closing)
            cr_assert(depth > 0 && strncmp(open[--depth], name, length) == 0);
        else if (!empty)
            open[depth++] = name;
    }
    cr_assert_eq(depth, 0);
}

Test(stats_xml, is_well_formed_and_true)
{
    take(64, 500);
    stats_read(&after);
    stats_xml(gather, &xml);
    check_well_formed(xml);
    cr_assert_eq(strncmp(xml, "<malloc version=\"1\">\n", 21), 0);
    char expected[256];
    const struct pool_stats *p = pool_of(&after, 64);
    snprintf(expected, sizeof expected,
             "<pool name=\"size-64\" size=\"64\" allocated=\"%lu\" bytes=\"%lu\" used=\"%lu\"", p->allocated,
             p->allocated * 64, p->used);
    cr_assert_not_null(strstr(xml, expected));
    give(500);
}
