#include "guard.h"
#include "heap.h"
#include "pool.h"
#include "region.h"
#include "stats.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Snapshots are big; the tests compare one with the next. */
static struct stats before, after;

static const struct pool_stats *find(const struct stats *s, unsigned id)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->pool[i].id == id)
            return &s->pool[i];
    return NULL;
}

static const struct pool_stats *pool_of(const struct stats *s, size_t n)
{
    return find(s, (unsigned)class_of(n));
}

static void check_snapshot(const struct stats *s)
{
    uint64_t bytes = 0, used = 0, cached = 0, failed = 0;
    for (unsigned i = 0; i < s->count; i++) {
        const struct pool_stats *p = &s->pool[i];
        cr_assert(i == 0 || s->pool[i - 1].size < p->size ||
                  (s->pool[i - 1].size == p->size && s->pool[i - 1].id < p->id));
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
    cr_assert_eq(before.count, class_count);
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

/* ---- named pools, made by hand ---- */

static struct pool *make_pool(unsigned c, const char *name, size_t size)
{
    sizeclass_define(c, (uint32_t)ALIGN_UP(size, 16));
    pool_init(c);
    if (class_end <= c)
        class_end = c + 1;
    struct pool *p = &pools[c];
    strcpy(p->name, name);
    p->size = size;
    p->users = 1;
    return p;
}

Test(stats_read, named_pools_stand_by_size_and_those_of_one_size_by_age)
{
    heap_start();
    make_pool(CLASS_NAMED, "big", 4 << 20);
    make_pool(CLASS_NAMED + 1, "first", 64);
    make_pool(CLASS_NAMED + 2, "gone", 64)->users = 0;
    make_pool(CLASS_NAMED + 3, "second", 64);
    make_pool(CLASS_NAMED + 4, "tiny", 1);
    stats_read(&after);
    check_snapshot(&after);
    cr_assert_eq(after.count, class_count + 4);
    cr_assert_str_eq(after.pool[0].name, "tiny");
    cr_assert_str_eq(after.pool[after.count - 1].name, "big");
    const struct pool_stats *p = pool_of(&after, 64);
    cr_assert_str_eq(p[0].name, "size-64");
    cr_assert_str_eq(p[1].name, "first");
    cr_assert_str_eq(p[2].name, "second");
    cr_assert_gt(p[3].size, 64);
    cr_assert_null(find(&after, CLASS_NAMED + 2));
}

Test(stats_read, as_many_as_there_can_be)
{
    heap_start();
    for (unsigned c = CLASS_NAMED; c < CLASS_MAX; c++)
        make_pool(c, "one", 10000 - 10 * c);
    stats_read(&after);
    check_snapshot(&after);
    cr_assert_eq(after.count, class_count + CLASS_MAX - CLASS_NAMED);
    cr_assert_leq(after.count, (unsigned)STATS_POOLS);
    cr_assert_leq(sizeof after, 32768);
}

/* What is told of a pool is the pool's own; the sums are of what a user takes for its size. */
Test(stats_read, copies_every_field)
{
    heap_start();
    stats_read(&before);
    static struct registration registration;
    struct pool *p = make_pool(CLASS_NAMED, "session", 4 << 20);
    p->size = (4 << 20) - 9;
    p->align = 4096;
    p->flags = POOL_SHARED | POOL_EXACT;
    p->allocated = 1000000;
    p->used = 900000;
    p->depot_count = 3;
    p->failed = 5, p->limited = 6, p->users = 7, p->minavail = 8, p->limit = 9, p->slabs = 10;
    p->registrations = &registration;
    stats_read(&after);
    check_snapshot(&after);
    const struct pool_stats *s = find(&after, CLASS_NAMED);
    cr_assert_str_eq(s->name, "session");
    cr_assert_eq(s->size, (4 << 20) - 9);
    cr_assert_eq(s->block, 4 << 20);
    cr_assert_eq(s->align, 4096);
    cr_assert_eq(s->flags, POOL_SHARED | POOL_EXACT);
    cr_assert(s->allocated == 1000000 && s->used == 900000 &&
              s->cached == 3 * class_table[CLASS_NAMED].batch);
    cr_assert(s->failed == 5 && s->limited == 6 && s->users == 7 && s->minavail == 8 && s->limit == 9);
    cr_assert_eq(s->slabs, 10);
    cr_assert_eq(s->registrations, &registration);
    cr_assert_eq(after.pool_bytes - before.pool_bytes, 4194295000000u); /* above 2^32 */
    cr_assert_eq(after.used_bytes - before.used_bytes, 3774865500000u);
    cr_assert_eq(after.failed - before.failed, 5);
}

/* ---- resident memory ---- */

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

/* The blocks are 20 MB; of files the kernel maps 64 KiB around what is touched, and statm is behind: up to .4 MB seen. */
enum { MEBIBYTE = 1 << 20, NOISE = 4 * MEBIBYTE };

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
    cr_assert(HAS_SHADOW || in_use.other <= at_first.other + NOISE);
    give(BLOCKS);
    struct residence given = residence_now();
    cr_assert_leq(given.live, at_first.live + MEBIBYTE);
    cr_assert_gt(given.cached, at_first.cached);
    cr_assert(HAS_SHADOW || given.other <= at_first.other + NOISE);
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

Test(stats_read, counts_guarded_blocks)
{
    heap_start();
    stats_read(&before);
    cr_assert(before.guarded == 0 && before.guarded_bytes == 0);
    cr_assert_not_null(guard_alloc(100, 16, 1, &(struct trace){0}));
    cr_assert_not_null(guard_alloc(5000, 16, 1, &(struct trace){0}));
    stats_read(&after);
    cr_assert_eq(after.guarded, 2);
    cr_assert_eq(after.guarded_bytes, guard_bytes());
    cr_assert_geq(after.guarded_bytes, 3 * 4096);
}

/* A block of its own between guard pages is the program's, whatever pool it was asked from. */
Test(stats_residence, guarded_blocks_are_live)
{
    take(1000, BLOCKS);
    struct residence in_pool = residence_now();
    unsigned class = region_class(block[0]);
    struct slab *slab = region_slab(block[0]);
    region_set_class(slab->base, slab->units, CLASS_GUARDED);
    struct residence guarded = residence_now();
    region_set_class(slab->base, slab->units, class);
    cr_assert_geq(guarded.live, in_pool.live);
    give(BLOCKS);
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
    struct pool *named = make_pool(CLASS_NAMED, "app.session", 96);
    named->limited = 3;
    stats_read(&after);
    cr_assert(stats_xml(gather, &xml));
    check_well_formed(xml);
    cr_assert_eq(strncmp(xml, "<malloc version=\"1\">\n", 21), 0);
    char expected[256];
    const struct pool_stats *p = pool_of(&after, 64);
    snprintf(expected, sizeof expected,
             "<pool name=\"size-64\" size=\"64\" allocated=\"%lu\" bytes=\"%lu\" used=\"%lu\"", p->allocated,
             p->allocated * 64, p->used);
    cr_assert_not_null(strstr(xml, expected));
    cr_assert_not_null(strstr(xml, "<pool name=\"app.session\" size=\"96\" allocated=\"0\" "));
    cr_assert_not_null(strstr(xml, " limited=\"3\" "));
    give(500);
}
