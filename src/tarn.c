/*
 * The public face: handles become pools, refusals become errno. A hit is served here, as malloc's is in preload/: the
 * pool knows its place in a cache, and nothing else is looked at.
 */
#include "tarn.h"

#include "debug.h"
#include "gc.h"
#include "heap.h"
#include "named.h"
#include "options.h"
#include "out.h"
#include "stats.h"
#include "thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert((int)TARN_SHARED == (int)POOL_SHARED && (int)TARN_EXACT == (int)POOL_EXACT, "one meaning");
_Static_assert((int)TARN_NAME_MAX == (int)POOL_NAME && (int)TARN_SIZE_MAX == (int)BLOCK_MAX, "one bound");
_Static_assert((int)TARN_POOLS_MAX == (int)CLASS_MAX - (int)CLASS_NAMED, "one bound");

static struct pool *pool_of(const struct tarn_pool *handle)
{
    return (struct pool *)(uintptr_t)handle;
}

static struct tarn_pool *handle_of(struct pool *p)
{
    return (struct tarn_pool *)p;
}

/* ---- making and unmaking ------------------------------------------------------------------------------ */

EXPORT struct tarn_pool *tarn_pool_create_at(const char *name, size_t size, size_t align, unsigned flags,
                                             const char *file, unsigned line)
{
    struct wish wish = {
        .name = name, .file = file, .size = size, .align = align, .line = line, .flags = flags};
    int before = errno, error;
    struct pool *p = named_create(&wish, &error);
    errno = p != NULL ? before : error;
    return handle_of(p);
}

EXPORT struct tarn_pool *tarn_pool_create(const char *name, size_t size, size_t align, unsigned flags)
{
    return tarn_pool_create_at(name, size, align, flags, NULL, 0);
}

EXPORT void tarn_pool_register(struct tarn_pool **variable, const char *name, size_t size, size_t align,
                               unsigned flags, const char *file, unsigned line)
{
    *variable = tarn_pool_create_at(name, size, align, flags, file, line);
    if (*variable != NULL)
        return;
    out_complain("%s:%u: no pool \"%s\" of %zu bytes: %s", file, line, name, size, strerrordesc_np(errno));
    _exit(1);
}

EXPORT struct tarn_pool *tarn_pool_destroy(struct tarn_pool *pool)
{
    int before = errno;
    bool gone = pool == NULL || named_destroy(pool_of(pool));
    errno = gone ? before : EBUSY;
    return gone ? NULL : pool;
}

/* ---- allocating --------------------------------------------------------------------------------------- */

static COLD void *alloc_missed(struct pool *p, bool raw)
{
    debug_caller = __builtin_return_address(0); /* as preload/family.h does */
    int before = errno;
    void *block = heap_pool_alloc(p, p->size, p->align, raw);
    errno = block != NULL ? before : ENOMEM;
    return block;
}

INLINE void *alloc(struct tarn_pool *pool, bool raw)
{
    struct pool *p = pool_of(pool);
    void *block;
    return likely(restart_pop(p->place, &block)) ? block : alloc_missed(p, raw);
}

EXPORT void *tarn_pool_alloc(struct tarn_pool *pool)
{
    return alloc(pool, false);
}

EXPORT void *tarn_pool_alloc_dirty(struct tarn_pool *pool)
{
    return alloc(pool, true);
}

EXPORT void *tarn_pool_zalloc(struct tarn_pool *pool)
{
    void *block = alloc(pool, true);
    return block == NULL ? NULL : memset(block, 0, pool_of(pool)->size);
}

EXPORT void *tarn_pool_get_first(struct tarn_pool *pool)
{
    debug_caller = __builtin_return_address(0);
    int before = errno;
    void *block = named_first(pool_of(pool));
    errno = before;
    return block;
}

EXPORT void *tarn_pool_refill(struct tarn_pool *pool, size_t avail)
{
    debug_caller = __builtin_return_address(0);
    int before = errno;
    void *block = named_refill(pool_of(pool), avail);
    errno = block != NULL ? before : ENOMEM;
    return block;
}

static COLD void free_missed(struct pool *p, void *block)
{
    debug_caller = __builtin_return_address(0); /* as preload/family.h does */
    int before = errno;
    heap_pool_free(p, block, "tarn_pool_free");
    errno = before;
}

EXPORT void tarn_pool_free(struct tarn_pool *pool, void *block)
{
    struct pool *p = pool_of(pool);
    if (unlikely(region_place(block) != p->place || !restart_push(p->place, block)))
        free_missed(p, block);
}

/* ---- giving back, tuning ------------------------------------------------------------------------------ */

EXPORT void tarn_pool_flush(struct tarn_pool *pool)
{
    int before = errno;
    if (pool != NULL)
        named_flush(pool_of(pool));
    errno = before;
}

EXPORT size_t tarn_gc(void)
{
    int before = errno;
    heap_start();
    size_t bytes = gc_run();
    errno = before;
    return bytes;
}

EXPORT int tarn_pool_set_limit(struct tarn_pool *pool, size_t blocks)
{
    int before = errno;
    bool may = named_limit(pool_of(pool), blocks);
    errno = may ? before : EPERM;
    return may ? 0 : -1;
}

EXPORT void tarn_pool_set_minavail(struct tarn_pool *pool, size_t blocks)
{
    WRITE_ONCE(pool_of(pool)->minavail, blocks);
}

/* ---- looking ------------------------------------------------------------------------------------------ */

EXPORT int tarn_pool_stats(const struct tarn_pool *pool, struct tarn_pool_stats *stats)
{
    const struct pool *p = pool_of(pool);
    if (stats->version != TARN_POOL_STATS_VERSION) {
        errno = EINVAL;
        return -1;
    }
    struct pool_stats now = {.id = (uint8_t)p->id, .size = READ_ONCE(p->size), .cached = thread_held(p->id)};
    stats_read_pool(&now);
    *stats = (struct tarn_pool_stats){
        .version = TARN_POOL_STATS_VERSION,
        .flags = now.flags,
        .size = now.size,
        .align = now.align,
        .allocated = now.allocated,
        .used = now.used,
        .cached = now.cached,
        .limit = now.limit,
        .minavail = now.minavail,
        .users = now.users,
        .failed = now.failed,
        .limited = now.limited,
        .slabs = now.slabs,
    };
    memcpy(stats->name, now.name, sizeof stats->name);
    return 0;
}

/* Is `a` before `b` where pools are shown by size? */
static bool is_before(const struct pool *a, const struct pool *b)
{
    size_t size_a = READ_ONCE(a->size), size_b = READ_ONCE(b->size);
    return size_a != size_b ? size_a < size_b : a->id < b->id;
}

EXPORT int tarn_pools_each(int (*visit)(struct tarn_pool *pool, void *context), void *context)
{
    uint8_t ids[CLASS_MAX];
    unsigned count = 0;
    heap_start();
    EACH_CLASS (c) {
        if (READ_ONCE(pools[c].users) == 0)
            continue;
        unsigned i = count++;
        for (; i > 0 && is_before(&pools[c], &pools[ids[i - 1]]); i--)
            ids[i] = ids[i - 1];
        ids[i] = (uint8_t)c;
    }
    int result = 0;
    for (unsigned i = 0; i < count && result == 0; i++)
        if (READ_ONCE(pools[ids[i]].users) > 0)
            result = visit(handle_of(&pools[ids[i]]), context);
    return result;
}

EXPORT int tarn_pools_dump(int fd, const char *query)
{
    struct query q;
    if (!query_parse(query != NULL ? query : options.pools, &q)) {
        errno = EINVAL;
        return -1;
    }
    int before = errno;
    if (!stats_print(fd, "as tarn_pools_dump was called", &q)) {
        errno = ENOMEM;
        return -1;
    }
    errno = before;
    return 0;
}
