/*
 * All of tarn.h, by two threads, against a picture of it: which pools there are, how many users and blocks each has.
 * At an input's end every pool is destroyed, and nothing may be left.
 */
#include "../tools/random.h"
#include "fuzz.h"
#include "gc.h"
#include "heap.h"
#include "options.h"
#include "other.h"
#include "query.h"
#include "region.h"
#include "tarn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { POOLS_KEPT = 256, HELD = 1024, USERS_MOST = 400, ERRNO = 77, EDGE = 32, ROOM = 1 << 24 };

/* A pool as its users know it. */
struct kind {
    struct tarn_pool *pool; /* NULL: none */
    bool mallocs;
    unsigned flags, users;
    size_t size, align; /* the most that was asked for */
    uint64_t out, limit, minavail;
};

static struct held {
    struct kind *kind; /* NULL: nothing held */
    unsigned char *at;
    size_t size;
    uint64_t pattern;
} held[HELD];

static struct kind kinds[POOLS_KEPT];
static unsigned named, users; /* pools that are not malloc's; registrations */
static struct other other;
static uint64_t seed;
static bool limited;
static int nowhere;

static struct tarn_pool_stats stats_of(const struct kind *k)
{
    struct tarn_pool_stats s = {.version = TARN_POOL_STATS_VERSION};
    expect(tarn_pool_stats(k->pool, &s) == 0);
    return s;
}

static void check_kind(const struct kind *k)
{
    struct tarn_pool_stats s = stats_of(k);
    expect(s.used == k->out && s.used + s.cached <= s.allocated);
    expect(s.users == k->users + k->mallocs);
    expect(s.limit == k->limit && s.minavail == k->minavail && s.flags == k->flags);
    expect(s.size >= k->size && s.align >= k->align);
    expect((s.allocated == 0) == (s.slabs == 0) || s.limit != 0);
}

/* ---- pools ------------------------------------------------------------------------------------------ */

static struct kind *kind_of(struct tarn_pool *pool)
{
    struct kind *empty = NULL;
    for (struct kind *k = kinds; k < kinds + POOLS_KEPT; k++) {
        if (k->pool == pool)
            return k;
        if (k->pool == NULL && empty == NULL)
            empty = k;
    }
    expect(empty != NULL);
    *empty = (struct kind){.pool = pool, .mallocs = tarn_pool_set_limit(pool, 0) != 0};
    empty->flags = stats_of(empty).flags;
    named += !empty->mallocs;
    return empty;
}

static bool is_good(const char *name, size_t size, size_t align, unsigned flags)
{
    size_t length = strlen(name);
    return length > 0 && length < TARN_NAME_MAX && query_name_length(name) == length && size > 0 &&
           (align == 0 || (align & (align - 1)) == 0) && align <= TARN_SIZE_MAX && flags <= 3;
}

static void create(const char *name, size_t size, size_t align, unsigned flags)
{
    if (users == USERS_MOST)
        return;
    unsigned before = named;
    errno = ERRNO;
    struct tarn_pool *pool = tarn_pool_create(name, size, align, flags);
    if (pool == NULL) {
        expect(errno == EINVAL || errno == ENOSPC || (errno == ENOMEM && limited));
        expect(errno != EINVAL || !is_good(name, size, align, flags) || size + 64 + align > TARN_SIZE_MAX);
        expect(errno != ENOSPC || named == TARN_POOLS_MAX);
        return;
    }
    expect(errno == ERRNO && is_good(name, size, align, flags) && size <= TARN_SIZE_MAX);
    struct kind *k = kind_of(pool);
    users++;
    k->users++;
    k->size = size > k->size ? size : k->size;
    k->align = align > k->align ? align : k->align;
    expect((flags & TARN_SHARED) || (named == before + 1 && k->users == 1));
    expect(k->users == 1 || (k->flags & TARN_SHARED));
    expect(!(flags & TARN_EXACT) || stats_of(k).size == size);
    check_kind(k);
}

static void destroy(struct kind *k)
{
    bool may = k->users > 1 || (k->users == 1 && (k->mallocs || k->out == 0));
    errno = ERRNO;
    struct tarn_pool *left = tarn_pool_destroy(k->pool);
    expect(left == (may ? NULL : k->pool) && errno == (may ? ERRNO : EBUSY));
    users -= may;
    k->users -= may;
    if (k->users > 0 || k->out > 0) {
        check_kind(k);
        return;
    }
    named -= !k->mallocs;
    if (k->mallocs)
        tarn_pool_set_minavail(k->pool, 0);
    k->pool = NULL;
}

/* ---- blocks ----------------------------------------------------------------------------------------- */

static size_t edge(const struct held *h)
{
    return h->size < EDGE ? h->size : EDGE;
}

static void check_contents(const struct held *h)
{
    for (size_t i = 0; i < edge(h); i++) {
        expect(h->at[i] == (unsigned char)(h->pattern + i));
        expect(h->at[h->size - 1 - i] == (unsigned char)(h->pattern + (h->size - 1 - i)));
    }
}

/* Bytes from one block to the next, at least. */
static size_t apart(const struct kind *k)
{
    return k->size > k->align ? k->size : k->align;
}

static void *get(struct kind *k, unsigned way, size_t avail)
{
    unsigned char *p;
    switch (way) {
    case 0:
        return tarn_pool_alloc_dirty(k->pool);
    case 1:
        p = tarn_pool_zalloc(k->pool);
        for (size_t i = 0; p != NULL && i < k->size; i += i < 512 ? 1 : 509)
            expect(p[i] == 0);
        return p;
    case 2:
        return tarn_pool_get_first(k->pool);
    case 3:
        return tarn_pool_refill(k->pool, avail);
    default:
        return tarn_pool_alloc(k->pool);
    }
}

static void check_got(const struct kind *k, const void *p, unsigned way, size_t avail,
                      const struct tarn_pool_stats *before)
{
    struct tarn_pool_stats now = stats_of(k);
    uint64_t spare = before->allocated - before->used;
    expect(k->limit == 0 || now.allocated <= k->limit || now.allocated <= before->allocated);
    bool waits = (options.harden & HARDEN_QUARANTINE) != 0; /* and is spare, but not to be had */
    expect(way != 2 || (p != NULL ? spare > 0 : spare == 0 || other.is_there || waits));
    if (p != NULL) {
        expect(way != 3 || now.allocated - now.used >= avail);
        expect((uintptr_t)p % now.align == 0);
        expect(heap_usable(p) >= now.size);
        /* What a canary (TARN_HARDEN) can tell of ends at 64 KiB. */
        expect(!(now.flags & TARN_EXACT) || heap_usable(p) == now.size || now.align > UNIT);
    } else if (way != 2) {
        expect(errno == ENOMEM);
        expect(limited || (k->limit > 0 && (now.limited > before->limited || way == 3)) ||
               (way == 3 && avail > 1000));
    }
}

static void take(struct held *h, struct kind *k, unsigned way, size_t avail)
{
    struct tarn_pool_stats before = stats_of(k);
    if (avail > ROOM / apart(k) && avail < SIZE_MAX / 2)
        avail = ROOM / apart(k);
    errno = ERRNO;
    void *p = get(k, way, avail);
    k->out += p != NULL;
    check_got(k, p, way, avail, &before);
    if (p == NULL)
        return;
    expect(errno == ERRNO);
    *h = (struct held){k, p, stats_of(k).size, random_next(&seed)};
    for (size_t i = 0; i < edge(h); i++) {
        h->at[i] = (unsigned char)(h->pattern + i);
        h->at[h->size - 1 - i] = (unsigned char)(h->pattern + (h->size - 1 - i));
    }
}

/* Grows out of its pool, or stays. */
static void move_out(struct held *h, size_t n)
{
    unsigned char *q = heap_realloc(h->at, n + 1);
    if (q == NULL) {
        expect(limited);
        q = h->at;
    }
    for (size_t i = 0; i < edge(h) && i <= n; i++)
        expect(q[i] == (unsigned char)(h->pattern + i));
    heap_free(q, "free");
}

static void give(struct held *h, unsigned way, size_t n)
{
    struct kind *k = h->kind, *wrong = &kinds[n % POOLS_KEPT];
    check_contents(h);
    errno = ERRNO;
    if (wrong->pool != NULL && wrong != k)
        tarn_pool_free(wrong->pool, h->at); /* is refused */
    check_contents(h);
    h->kind = NULL;
    if (way == 0)
        heap_free(h->at, "free");
    else if (way == 1)
        move_out(h, n);
    else
        tarn_pool_free(k->pool, h->at);
    k->out--;
    expect(way == 1 || errno == ERRNO);
}

struct step {
    unsigned what, first, count;
    size_t number;
    struct kind *kind;
};

static void take_row(const void *step)
{
    const struct step *s = step;
    for (unsigned i = 0; i < s->count; i++) {
        struct held *h = &held[(s->first + i) % HELD];
        if (h->kind != NULL)
            give(h, s->what % 8, s->number % 70000);
        else if (s->kind != NULL && s->kind->out * apart(s->kind) < ROOM)
            take(h, s->kind, s->what % 8, s->number);
    }
}

/* ---- what concerns a pool, or all ------------------------------------------------------------------- */

static int count_known(struct tarn_pool *pool, void *count)
{
    for (struct kind *k = kinds; k < kinds + POOLS_KEPT; k++)
        *(unsigned *)count += k->pool == pool;
    return 0;
}

static void check_all(void)
{
    unsigned known = 0, there = 0;
    for (struct held *h = held; h < held + HELD; h++)
        if (h->kind != NULL)
            check_contents(h);
    for (struct kind *k = kinds; k < kinds + POOLS_KEPT; k++)
        if (k->pool != NULL) {
            there++;
            check_kind(k);
        }
    expect(tarn_pools_each(count_known, &known) == 0 && known == there);
    heap_check();
}

static void flush(struct kind *k)
{
    errno = ERRNO;
    tarn_pool_flush(k->pool);
    expect(errno == ERRNO);
    expect(k->out > 0 || other.is_there || stats_of(k).allocated == 0);
}

static void collect(void)
{
    struct tarn_pool_stats before[POOLS_KEPT];
    for (size_t i = 0; i < POOLS_KEPT; i++)
        if (kinds[i].pool != NULL)
            before[i] = stats_of(&kinds[i]);
    tarn_gc();
    for (size_t i = 0; i < POOLS_KEPT; i++)
        if (kinds[i].pool != NULL) {
            struct tarn_pool_stats now = stats_of(&kinds[i]);
            uint64_t spare = before[i].allocated - before[i].used;
            expect(now.used == kinds[i].out && now.allocated <= before[i].allocated);
            expect(now.allocated - now.used >= (spare < now.minavail ? spare : now.minavail));
        }
}

static void dump(struct input *in)
{
    char query[40];
    struct query unused;
    size_t length = input_byte(in) % sizeof query;
    for (size_t i = 0; i < length; i++)
        query[i] = (char)input_byte(in);
    query[length] = 0;
    errno = ERRNO;
    bool good = query_parse(query, &unused);
    expect((tarn_pools_dump(nowhere, query) == 0) == good && errno == (good ? ERRNO : EINVAL));
}

static void change_memory(size_t more)
{
    struct region_stats s;
    region_stats(&s);
    limited = more % 2 == 1;
    region_limit(limited ? s.taken + more : SIZE_MAX);
}

/* Up to 32 at once, of sizes that go up by a step. */
static void create_row(struct input *in)
{
    static const char letters[] = "abcdeF0-:_./+ *\n";
    char name[36];
    size_t byte = input_byte(in), length = byte & 3 ? byte & 3 : input_byte(in) % sizeof name;
    size_t size = input_number(in, byte & 4   ? 3
                                   : byte & 8 ? 1
                                              : 2),
           align = input_byte(in), step = 0, count = 1;
    for (size_t i = 0; i < length; i++)
        name[i] = letters[input_byte(in) % 16];
    name[length] = 0;
    if (byte & 16) {
        step = input_byte(in);
        count = input_byte(in) % 32;
    }
    align = align < 128 ? 0 : align < 250 ? (size_t)1 << align % 23 : align;
    for (size_t i = 0; i < count; i++)
        create(name, size + i * step, align, (unsigned)byte >> 5 == 7 ? 4 : byte >> 5 & 3);
}

static void tune(struct kind *k, unsigned what, size_t number)
{
    if (what == 0) {
        errno = ERRNO;
        int result = tarn_pool_set_limit(k->pool, number % 500);
        expect(result == (k->mallocs ? -1 : 0) && errno == (k->mallocs ? EPERM : ERRNO));
        k->limit = k->mallocs ? 0 : number % 500;
    } else {
        tarn_pool_set_minavail(k->pool, number);
        k->minavail = number;
    }
    check_kind(k);
}

static void take_common(struct input *in, unsigned what)
{
    struct kind *k = &kinds[input_byte(in)];
    if (k->pool == NULL && what < 4) /* most are */
        k = &kinds[0];
    if (what < 2 && k->pool != NULL)
        tune(k, what, input_number(in, 2));
    else if (what == 2 && k->pool != NULL)
        flush(k);
    else if (what == 3 && k->pool != NULL)
        destroy(k);
    else if (what == 4)
        collect();
    else if (what == 5)
        dump(in);
    else if (what == 6)
        change_memory(input_number(in, 3));
    else if (what == 7)
        check_all();
}

static void take_step(struct input *in)
{
    size_t byte = input_byte(in);
    if ((byte & 15) < 3) {
        create_row(in);
    } else if ((byte & 15) < 8) {
        take_common(in, byte >> 4 & 7);
    } else {
        struct step s = {.what = byte & 7, .first = (unsigned)input_byte(in) * 4, .count = 1};
        s.kind = &kinds[input_byte(in)];
        if (s.kind->pool == NULL)
            s.kind = kinds[0].pool != NULL ? &kinds[0] : NULL;
        s.number = input_number(in, 2);
        s.number = s.number == 0xffff ? SIZE_MAX : s.number;
        if (byte & 16)
            s.count = (unsigned)input_byte(in) + 1;
        if (byte & 32)
            other_do(&other, take_row, &s);
        else
            take_row(&s);
    }
}

/* ---- libFuzzer's part -------------------------------------------------------------------------------- */

static void end_all(void)
{
    region_limit(SIZE_MAX);
    limited = false;
    for (struct held *h = held; h < held + HELD; h++)
        if (h->kind != NULL)
            give(h, 2, POOLS_KEPT - 1);
    for (struct kind *k = kinds; k < kinds + POOLS_KEPT; k++)
        while (k->pool != NULL)
            destroy(k);
    expect(users == 0 && named == 0);
    gc_run();
    heap_check();
    EACH_CLASS (c)
        expect(pools[c].used == 0 && pools[c].allocated == 0);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count, (void)arguments;
    nowhere = open("/dev/null", O_WRONLY);
    heap_start();
    options.misuse = MISUSE_IGNORE; /* it is meant here */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    seed = size + 1;
    while (in.at < in.end)
        take_step(&in);
    check_all();
    other_end(&other);
    end_all();
    return 0;
}
