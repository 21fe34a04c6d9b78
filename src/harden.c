/*
 * A canary's last eight bytes hold how many bytes were filled in front of it (SLACK_BITS of them, masked), under a hash
 * that hangs on the block's address, that number and a secret: so a block needs no book of its size, an overrun by one
 * byte is seen whatever was asked for, and who can read one canary can't write another block's. More than that number can
 * say are filled in blocks of EXACT pools alone, whose size is known.
 */
#include "harden.h"

#include "dice.h"
#include "meta.h"
#include "region.h"
#include "thread.h"

#include <string.h>

enum { SLACK_BITS = 16, SLACK_MAX = (1 << SLACK_BITS) - 1, FILL = 0xB7 };

static size_t block_bytes(const struct pool *pool)
{
    return class_table[pool->id].size;
}

/* ---- reports ---------------------------------------------------------------------------------------- */

/* The block behind `p`, if its slab has one. */
static void describe_neighbour(const struct pool *pool, const void *p, struct fault *f)
{
    const char *next = (const char *)p + block_bytes(pool);
    const struct slab *slab = region_slab(p);
    const uint8_t *state =
        next < slab->base + ((size_t)slab->units << UNIT_SHIFT) ? slab_state(slab, next) : NULL;
    f->neighbour = state != NULL ? next : NULL;
    f->neighbour_live = state != NULL && READ_ONCE(*state) == SLAB_LIVE;
}

static void report(enum fault_kind kind, const char *call, const struct pool *pool, const void *p,
                   size_t offset)
{
    struct fault fault = {
        .kind = kind,
        .call = call,
        .pointer = p,
        .pool_size = pool->size,
        .pool = pool->name,
        .expected = p,
        .offset = (ptrdiff_t)offset,
    };
    debug_callers(p, &fault.allocated.frame[0], &fault.freed.frame[0]);
    fault.called.frame[0] = debug_caller;
    if (kind == FAULT_OVERRUN)
        describe_neighbour(pool, p, &fault);
    fault_report(&fault);
}

/* ---- canaries --------------------------------------------------------------------------------------- */

CONSTANT static uint64_t secret;

void harden_start(void)
{
    secret = dice_roll();
}

static size_t mask_of(const void *p)
{
    return (secret ^ (uintptr_t)p >> GRAIN_SHIFT) & SLACK_MAX;
}

static uint64_t canary_of(const void *p, size_t slack)
{
    uint64_t hash = (secret ^ (uintptr_t)p ^ (uint64_t)slack << 48) * 0x9e3779b97f4a7c15;
    return ((hash ^ hash >> 29) & ~(uint64_t)SLACK_MAX) | (slack ^ mask_of(p));
}

/* How many filled bytes the canary tells of; SIZE_MAX: it is damaged. */
static size_t slack_of(const char *p, size_t size)
{
    uint64_t canary;
    memcpy(&canary, p + size - sizeof canary, sizeof canary);
    size_t slack = (canary & SLACK_MAX) ^ mask_of(p), room = size - sizeof canary;
    if (slack > room || canary != canary_of(p, slack))
        return SIZE_MAX;
    return slack < SLACK_MAX ? slack : room - debug_extra() - pools[region_class(p)].size;
}

static void write_canary(char *p, size_t size, size_t n)
{
    size_t slack = size - sizeof(uint64_t) - n;
    uint64_t canary = canary_of(p, slack < SLACK_MAX ? slack : SLACK_MAX);
    memset(p + n, FILL, slack);
    memcpy(p + size - sizeof canary, &canary, sizeof canary);
}

/* The offset of the first byte that was written behind the block's end; `size`: none was. */
static size_t find_damage(const char *p, size_t size)
{
    size_t end = size - sizeof(uint64_t), slack = slack_of(p, size);
    if (slack == SIZE_MAX)
        return end;
    for (size_t i = end - slack; i < end; i++)
        if (p[i] != (char)FILL)
            return i;
    return size;
}

size_t harden_usable(const void *p)
{
    size_t size = class_table[region_class(p)].size;
    if (debug_on(DEBUG_TAG))
        return debug_usable(p);
    size_t slack = harden_on(HARDEN_CANARY) ? slack_of(p, size) : 0;
    return size - harden_canary_bytes() - (slack != SIZE_MAX ? slack : 0);
}

/* ---- a block goes out, and comes back --------------------------------------------------------------- */

/* The offset of the first byte that is not zero; n: all are. */
static size_t find_written(const char *p, size_t n)
{
    uint64_t pair[2];
    for (size_t i = 0; i < n; i += sizeof pair) {
        memcpy(pair, p + i, sizeof pair);
        if (likely((pair[0] | pair[1]) == 0))
            continue;
        while (p[i] == 0)
            i++;
        return i;
    }
    return n;
}

static uint8_t *state_of(const struct slab *slab, const void *p)
{
    return harden_on(HARDEN_STATES) ? slab_state(slab, p) : NULL;
}

bool harden_is_live(const void *p)
{
    const uint8_t *state = state_of(region_slab(p), p);
    return state != NULL && READ_ONCE(*state) == SLAB_LIVE;
}

size_t harden_asked(const void *p)
{
    return harden_is_live(p) ? harden_usable(p) : 0;
}

/* Is a free block's content ours to choose? TARN_DEBUG's words that fill or copy it compare it themselves. */
static bool clears(void)
{
    return harden_on(HARDEN_ZERO) && !debug_on(DEBUG_INTEGRITY | DEBUG_BACKUP);
}

static void verify_freed(const struct pool *pool, char *p)
{
    size_t size = block_bytes(pool), same = size;
    if (clears())
        same = find_written(p, size);
    else if (harden_on(HARDEN_CANARY) && !debug_on(DEBUG_INTEGRITY))
        same = find_damage(p, size);
    if (likely(same == size))
        return;
    report(FAULT_WRITTEN, NULL, pool, p, same);
    if (clears())
        memset(p, 0, size);
}

void harden_give_out(const struct pool *pool, void *p, size_t n, bool raw)
{
    uint8_t *state = harden_on(HARDEN_STATES) ? slab_state(region_slab(p), p) : NULL;
    if (state != NULL && *state == SLAB_FREED)
        verify_freed(pool, p);
    debug_give_out(pool, p, n, raw);
    if (state != NULL)
        WRITE_ONCE(*state, SLAB_LIVE);
    if (harden_on(HARDEN_CANARY))
        write_canary(p, block_bytes(pool),
                     (n > 0 ? n : 1) + debug_extra()); /* a usable size of 0 means no block */
}

/* Of two threads that free a block in the same nanosecond both may pass; its slab finds the second then. */
bool harden_take_back(const struct pool *pool, const struct slab *slab, void *p, const char *call)
{
    uint8_t *state = state_of(slab, p);
    if (state != NULL && unlikely(READ_ONCE(*state) != SLAB_LIVE)) {
        if (harden_on(HARDEN_DOUBLE_FREE))
            report(FAULT_TWICE, call, pool, p, 0);
        return !harden_on(HARDEN_DOUBLE_FREE);
    }
    size_t size = block_bytes(pool), same = harden_on(HARDEN_CANARY) ? find_damage(p, size) : size;
    if (unlikely(same < size))
        report(FAULT_OVERRUN, call, pool, p, same);
    if (!debug_take_back(pool, p, call))
        return false;
    if (state != NULL)
        WRITE_ONCE(*state, SLAB_FREED);
    if (clears())
        memset(p, 0, size);
    else if (unlikely(same < size)) /* told once */
        write_canary(p, size, 0);
    return true;
}

/* ---- fences ----------------------------------------------------------------------------------------- */

/* The block that is nearest to `at` in a slab's fence: the last one in front, or the first one behind. NULL: no fence is
   there. What lies below the window is as good as one. */
static const char *blame(const char *at)
{
    const char *window = (const char *)region.base;
    bool below = at < window && at >= window - class_fence;
    if (class_fence == 0 || !class_is_pool(region_class(below ? window : at)))
        return NULL;
    if (below)
        return window;
    const struct slab *slab = region_slab(at);
    const char *end = slab->base + ((size_t)slab->units << UNIT_SHIFT);
    const char *last = slab->base + (size_t)(class_blocks(slab->size, slab->units) - 1) * slab->size;
    if (!slab->fenced || at < end - class_fence)
        return NULL;
    bool behind = at - (last + slab->size) > end - at && class_is_pool(region_class(end));
    return behind ? end : last;
}

bool harden_explain(const void *address, struct fault *fault)
{
    const char *at = address, *block = blame(at);
    if (block == NULL)
        return false;
    unsigned class = region_class(block);
    *fault = (struct fault){
        .kind = FAULT_TOUCHED,
        .pointer = at,
        .pool_size = pools[class].size,
        .pool = pools[class].name,
        .expected = block,
        .offset = at - block,
    };
    const uint8_t *state = state_of(region_slab(block), block);
    fault->live = state == NULL || READ_ONCE(*state) == SLAB_LIVE;
    debug_callers(block, &fault->allocated.frame[0], &fault->freed.frame[0]);
    return true;
}
