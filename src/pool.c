/*
 * Where a block can be, and who counts it:
 *
 *     slab bitmap  --slab_take-->  magazine  --whole-->  cache  -->  the program
 *         ^                           |  ^                |
 *         |                           v  |                |
 *         +--------slab_give------- depot  <----whole-----+
 *
 *     allocated  counts all of them;  used  counts what is to the right of the depot
 *
 * The depot takes what one thread frees and hands it to the next that asks, in O(1) and without a look at the blocks.
 * It is short: what it can't hold goes to the bitmaps at about 2 ns a block, from where it comes back in address order,
 * and that order is what makes a program's next walk over its data fast (7 times, measured).
 */
#include "pool.h"

#include "dice.h"
#include "options.h"
#include "region.h"

#include <string.h>

struct pool pools[CLASS_MAX];

/* With a half or a quarter of DEPOT_BYTES hand-offs between threads take 1.0 to 1.1 of the time, and no less memory. */
enum {
    DEPOT_BYTES = 512 * 1024, /* of blocks, at most; */
    DEPOT_MIN = 2,            /* magazines, at least; */
    DEPOT_MAX = 128,          /* magazines, at most */
    PASSES = 16,    /* times its magazines that must pass it by until it is emptied too (pool_passed) */
    EMPTY_KEPT = 1, /* empty slabs that a pool keeps: one block freed and asked for again costs nothing */
};

static uint32_t depot_max(const struct sizeclass *class)
{
    if (options.debug.words & DEBUG_NO_GLOBAL)
        return 0;
    size_t most = DEPOT_BYTES / ((size_t) class->batch * class->size);
    return most < DEPOT_MIN ? DEPOT_MIN : most > DEPOT_MAX ? DEPOT_MAX : (uint32_t)most;
}

void pool_fit(struct pool *p)
{
    const struct sizeclass *class = &class_table[p->id];
    WRITE_ONCE(p->size, class->size);
    WRITE_ONCE(p->uncached, class->size > POOLED_MAX); /* a magazine of such would be megabytes */
    p->depot_max = depot_max(class);
}

void pool_init(unsigned c)
{
    struct pool *p = &pools[c];
    p->id = c;
    p->place = (uint32_t)class_place(c);
    lock_init(&p->lock, LOCK_POOL, c);
    list_init(&p->partial);
    list_init(&p->empty);
    pool_fit(p);
}

/* malloc's pools have names as HAProxy's would. By hand: out_print took 17 600 instructions of every start, this 3 000. */
static void name_by_size(struct pool *p)
{
    static const char prefix[] = "size-";
    char *end = p->name + sizeof prefix - 1;
    memcpy(p->name, prefix, sizeof prefix - 1);
    for (uint32_t n = (uint32_t)p->size; n > 0; n /= 10)
        end++;
    for (uint32_t n = (uint32_t)p->size; n > 0; n /= 10)
        *--end = (char)('0' + n % 10);
}

void pool_start(void)
{
    for (unsigned c = 1; c <= class_count; c++) {
        struct pool *p = &pools[c];
        pool_init(c);
        p->users = 1;
        p->flags = POOL_SHARED;
        p->align = BLOCK_ALIGN;
        name_by_size(p);
    }
}

void pool_news_init(struct pool_news *news)
{
    list_init(&news->surplus);
    news->bad_count = 0;
}

static void count_used_locked(struct pool *p, int64_t change)
{
    WRITE_ONCE(p->used, p->used + (uint64_t)change);
}

/* ---- out of the slabs ------------------------------------------------------------------------------- */

/* The slab to take from next; NULL: none has a free block. */
static struct slab *open_slab_locked(struct pool *p)
{
    if (list_empty(&p->partial)) {
        if (list_empty(&p->empty))
            return NULL;
        struct list *l = p->empty.next;
        list_remove(l);
        p->empty_count--;
        list_push(&p->partial, l);
    }
    return container_of(p->partial.next, struct slab, link);
}

static unsigned take_from(struct slab *s, void **out, unsigned n)
{
    return likely(!(options.harden & HARDEN_RANDOM)) ? slab_take(s, out, n)
                                                     : slab_take_anywhere(s, out, n, dice_roll());
}

/* `s` has no more: on with the one above it, if that has (a walk over what is made so takes 0.6 of the time). */
static void go_on_above_locked(struct pool *p, struct slab *s)
{
    struct slab *above = region_slab_above(s);
    list_remove(&s->link);
    if (above != NULL && !list_empty(&above->link) && above->used > 0) {
        list_remove(&above->link);
        list_push(&p->partial, &above->link);
    }
}

/* Fills out[0..n) from the slabs, the first to be used last; returns how many, which lie at out[0..]. */
static unsigned fill_locked(struct pool *p, void **out, unsigned n)
{
    unsigned missing = n;
    struct slab *s;
    while (missing > 0 && (s = open_slab_locked(p)) != NULL) {
        missing -= take_from(s, out, missing);
        if (s->used == s->blocks)
            go_on_above_locked(p, s);
    }
    if (missing > 0)
        memmove(out, out + missing, (n - missing) * sizeof *out);
    return n - missing;
}

struct magazine *pool_take(struct pool *p, struct magazine *m, unsigned want)
{
    lock_acquire(&p->lock);
    WRITE_ONCE(p->passed, 0);
    struct magazine *full = p->depot;
    if (full != NULL) {
        p->depot = full->next;
        WRITE_ONCE(p->depot_count, p->depot_count - 1);
        m->next = p->spares;
        p->spares = m;
    } else {
        m->count = fill_locked(p, m->slot, want);
        if (unlikely(options.harden & HARDEN_RANDOM))
            magazine_shuffle(m, class_table[p->id].size);
        full = m->count > 0 ? m : NULL;
    }
    if (full != NULL)
        count_used_locked(p, full->count);
    lock_release(&p->lock);
    return full;
}

void *pool_take_one(struct pool *p)
{
    void *block = NULL;
    lock_acquire(&p->lock);
    struct magazine *m = p->depot;
    if (fill_locked(p, &block, 1) == 0 && m != NULL) {
        block = m->slot[--m->count];
        if (m->count == 0) {
            p->depot = m->next;
            WRITE_ONCE(p->depot_count, p->depot_count - 1);
            m->next = p->spares;
            p->spares = m;
        }
    }
    if (block != NULL)
        count_used_locked(p, 1);
    lock_release(&p->lock);
    return block;
}

/* Makes a described slab the pool's, or as much of it as the limit leaves room for; false if there is none. */
static bool add_slab(struct pool *p, struct slab *s)
{
    lock_acquire(&p->lock);
    uint64_t room = p->limit == 0 ? UINT64_MAX : p->limit > p->allocated ? p->limit - p->allocated : 0;
    if (room > 0) {
        if (room < s->blocks)
            slab_trim(s, (unsigned)room);
        p->trimmed += class_table[p->id].blocks - s->blocks;
        list_push(&p->empty, &s->link);
        p->empty_count++;
        WRITE_ONCE(p->slabs, p->slabs + 1);
        WRITE_ONCE(p->allocated, p->allocated + s->blocks);
    }
    lock_release(&p->lock);
    return room > 0;
}

/* Is there room below the limit? And from here on the pool keeps its size. */
static bool may_grow(struct pool *p)
{
    lock_acquire(&p->lock);
    bool may = p->limit == 0 || p->allocated < p->limit;
    p->sealed = true;
    lock_release(&p->lock);
    return may;
}

enum pool_growth pool_grow(struct pool *p)
{
    if (!may_grow(p))
        return POOL_LIMITED;
    struct slab *s = region_claim_slab(p->id);
    if (s == NULL)
        return POOL_NO_MEMORY;
    if (add_slab(p, s))
        return POOL_GREW;
    region_release_slab(s); /* others were faster */
    return POOL_LIMITED;
}

/* ---- back into the slabs ---------------------------------------------------------------------------- */

static void note_bad(struct pool_news *news, unsigned pool, void *block, enum slab_verdict verdict)
{
    if (news->bad_count < POOL_NEWS) {
        news->bad[news->bad_count].block = block;
        news->bad[news->bad_count].start =
            verdict == SLAB_MISALIGNED ? slab_block_of(region_slab(block), block) : block;
        news->bad[news->bad_count].pool = pool;
        news->bad[news->bad_count].verdict = verdict;
    }
    news->bad_count++;
}

/* Unlinks empty slabs into the news, as long as `slabs` of them and `blocks` free blocks stay. From here on nothing in
   the pool points to them, and a stale pointer into them is seen to be stale: their class is gone. */
static void release_empty_locked(struct pool *p, unsigned slabs, uint64_t blocks, struct pool_news *news)
{
    while (p->empty_count > slabs) {
        struct slab *s = container_of(p->empty.prev, struct slab, link);
        if (p->allocated - p->used - s->blocks < blocks) /* in this order nothing overflows */
            break;
        list_remove(&s->link);
        p->empty_count--;
        p->trimmed -= class_table[p->id].blocks - s->blocks;
        WRITE_ONCE(p->slabs, p->slabs - 1);
        WRITE_ONCE(p->allocated, p->allocated - s->blocks);
        region_set_class(s->base, s->units, CLASS_NONE);
        list_push(&news->surplus, &s->link);
    }
}

/* On the right list after `n` blocks came home. */
static void file_slab_locked(struct pool *p, struct slab *s, unsigned n)
{
    if (s->used == 0) {
        list_remove(&s->link);
        list_push(&p->empty, &s->link);
        p->empty_count++;
    } else if (s->used + n == s->blocks) { /* it was full, and on none */
        list_append(&p->partial, &s->link);
    }
}

/* Returns blocks to their slabs; how many were good. */
static unsigned give_blocks_locked(struct pool *p, void *const *blocks, unsigned n, struct pool_news *news)
{
    unsigned good = 0;
    for (unsigned i = 0; i < n;) {
        enum slab_verdict verdict = SLAB_NOT_OUT;
        if (region_class(blocks[i]) == p->id) {
            struct slab *s = region_slab(blocks[i]);
            unsigned run = slab_give_run(s, blocks + i, n - i, &verdict);
            if (run > 0)
                file_slab_locked(p, s, run);
            good += run;
            i += run;
        }
        if (unlikely(verdict != SLAB_OK))
            note_bad(news, p->id, blocks[i++], verdict);
    }
    return good;
}

static void empty_locked(struct pool *p, struct magazine *m, struct pool_news *news)
{
    count_used_locked(p, -(int64_t)give_blocks_locked(p, m->slot, m->count, news));
    release_empty_locked(p, EMPTY_KEPT, READ_ONCE(p->minavail), news);
    m->count = 0;
}

static void delete_magazines(struct magazine *m)
{
    while (m != NULL) {
        struct magazine *next = m->next;
        magazine_delete(m);
        m = next;
    }
}

/* Its blocks go to the slabs; the magazines are the caller's, to be deleted after the lock. */
static struct magazine *empty_depot_locked(struct pool *p, struct pool_news *news)
{
    struct magazine *depot = p->depot;
    for (struct magazine *m = depot; m != NULL; m = m->next) {
        unsigned good = give_blocks_locked(p, m->slot, m->count, news);
        count_used_locked(p, m->count - good); /* what was never out, was never in the depot either */
    }
    p->depot = NULL;
    WRITE_ONCE(p->depot_count, 0);
    return depot;
}

/* What a depot and a stack hold is in the order in which it was freed, and they are emptied last: after a program had
   freed a million blocks, the first two in a hundred that it got again lay anywhere, and cost a walk over its next list
   as much time as all the others (10.1 -> 5.1 ns a node). With 1 for PASSES, queues and stacks of 10^5 blocks take 6 %
   more time, as a tenth of their blocks goes through the bitmaps in addition. */
bool pool_passed(const struct pool *p)
{
    return READ_ONCE(p->passed) > PASSES * p->depot_max;
}

struct magazine *pool_give(struct pool *p, struct magazine *m, struct pool_news *news)
{
    struct magazine *empty = m, *depot = NULL;
    lock_acquire(&p->lock);
    bool passed = pool_passed(p);
    if (m->count == class_table[p->id].batch && p->depot_count < p->depot_max && !passed) {
        count_used_locked(p, -(int64_t)m->count);
        m->next = p->depot;
        p->depot = m;
        WRITE_ONCE(p->depot_count, p->depot_count + 1);
        empty = p->spares;
        if (empty != NULL)
            p->spares = empty->next;
    } else {
        if (passed)
            depot = empty_depot_locked(p, news);
        else
            WRITE_ONCE(p->passed, p->passed + 1);
        empty_locked(p, m, news);
    }
    lock_release(&p->lock);
    delete_magazines(depot);
    return empty;
}

void pool_empty(struct pool *p, struct magazine *m, struct pool_news *news)
{
    lock_acquire(&p->lock);
    empty_locked(p, m, news);
    lock_release(&p->lock);
}

void pool_give_one(struct pool *p, void *block, struct pool_news *news)
{
    lock_acquire(&p->lock);
    count_used_locked(p, -(int64_t)give_blocks_locked(p, &block, 1, news));
    release_empty_locked(p, EMPTY_KEPT, READ_ONCE(p->minavail), news);
    lock_release(&p->lock);
}

void pool_collect(struct pool *p, uint64_t keep, struct pool_news *news)
{
    lock_acquire(&p->lock);
    struct magazine *depot = empty_depot_locked(p, news), *spares = p->spares;
    p->spares = NULL;
    release_empty_locked(p, 0, keep, news);
    lock_release(&p->lock);
    delete_magazines(depot);
    delete_magazines(spares);
}

/* Filed last, a slab comes up again when all the others have: who calls as often as there are slabs has seen each. With a
   limit, somebody might be refused who asks meanwhile. */
COLD bool pool_withdraw(struct pool *p, struct pool_hand *hand)
{
    lock_acquire(&p->lock);
    bool worth = false;
    if (!list_empty(&p->partial) && p->minavail == 0 && p->limit == 0) {
        struct list *l = p->partial.next;
        list_remove(l);
        struct slab *s = container_of(l, struct slab, link);
        worth = !s->thin && s->used <= s->blocks / 2;
        if (worth) {
            s->thin = true;
            p->withdrawn = (uint16_t)slab_withdraw(s, hand->held);
            hand->slab = s;
        } else {
            list_append(&p->partial, l);
        }
    }
    lock_release(&p->lock);
    return worth;
}

COLD void pool_restore(struct pool *p, struct pool_hand *hand, bool again)
{
    struct slab *s = hand->slab;
    lock_acquire(&p->lock);
    file_slab_locked(p, s, slab_restore(s, hand->held));
    s->thin = s->thin && !again;
    p->withdrawn = 0;
    hand->slab = NULL;
    lock_release(&p->lock);
}

void pool_fail(struct pool *p)
{
    __atomic_fetch_add(&p->failed, 1, __ATOMIC_RELAXED);
}

void pool_refuse(struct pool *p)
{
    __atomic_fetch_add(&p->limited, 1, __ATOMIC_RELAXED);
}

uint64_t pool_unused(struct pool *p)
{
    lock_acquire(&p->lock);
    uint64_t unused = p->allocated - p->used;
    lock_release(&p->lock);
    return unused;
}

/* ---- fork -------------------------------------------------------------------------------------------- */

COLD void pool_lock_all(void)
{
    EACH_CLASS (c)
        lock_acquire(&pools[c].lock);
}

COLD void pool_unlock_all(void)
{
    EACH_CLASS (c)
        lock_release(&pools[c].lock);
}

COLD void pool_reset_locks(void)
{
    EACH_CLASS (c)
        lock_init(&pools[c].lock, LOCK_POOL, c);
}
