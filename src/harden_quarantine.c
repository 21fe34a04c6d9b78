/*
 * A thread's quarantine is a ring of blocks, a piece of meta that is never given back: the next thread gets it. It is the
 * thread's alone, so nothing here takes a lock; a fork's child finds a ring as its thread left it, at worst with one block
 * less.
 */
#include "gc.h"
#include "harden.h"
#include "meta.h"
#include "region.h"
#include "thread.h"

enum { PIECE = 16 * 1024, SLOTS = PIECE / sizeof(void *) - 4 };

struct quarantine {
    struct quarantine *made; /* the one made before this */
    size_t bytes;
    uint32_t first, next; /* blocks ever let go, and ever detained */
    bool taken;           /* by a living thread */
    void *slot[SLOTS];
};
_Static_assert(sizeof(struct quarantine) <= PIECE, "no byte is wasted");

static struct quarantine *made; /* the last one; the others behind it */
static __thread struct quarantine *mine;

static bool take(struct quarantine *q)
{
    return !__atomic_exchange_n(&q->taken, true, __ATOMIC_ACQUIRE);
}

/* One that no thread has, or a new one; NULL without memory. */
static struct quarantine *obtain(void)
{
    struct quarantine *q = __atomic_load_n(&made, __ATOMIC_ACQUIRE);
    for (; q != NULL; q = q->made)
        if (!READ_ONCE(q->taken) && take(q))
            return q;
    q = meta_alloc_zeroed(sizeof *q);
    if (q == NULL)
        return NULL;
    q->taken = true;
    q->made = __atomic_load_n(&made, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&made, &q->made, q, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        continue;
    return q;
}

/* The oldest block; NULL: none waits. */
static void *let_go(struct quarantine *q)
{
    if (q->first == q->next)
        return NULL;
    void *p = q->slot[q->first % SLOTS];
    q->first++;
    q->bytes -= class_table[region_class(p)].size;
    return p;
}

/* A thread that has no cache is at its end, or never told of it: nobody would empty the ring. */
bool harden_detain(void *p, size_t bytes)
{
    if (unlikely(mine == NULL) && (thread_own() == NULL || (mine = obtain()) == NULL))
        return false;
    mine->slot[mine->next % SLOTS] = p;
    mine->bytes += bytes;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    mine->next++;
    return true;
}

void *harden_release(bool all)
{
    struct quarantine *q = mine;
    if (q == NULL)
        return NULL;
    bool full = q->bytes > QUARANTINE_BYTES || q->next - q->first == SLOTS;
    return full || all ? let_go(q) : NULL;
}

static void empty(struct quarantine *q, struct pool_news *news)
{
    void *p;
    while ((p = let_go(q)) != NULL)
        pool_give_one(&pools[region_class(p)], p, news);
    q->bytes = 0;
}

void harden_empty(bool ends, struct pool_news *news)
{
    struct quarantine *q = mine;
    if (q == NULL)
        return;
    empty(q, news);
    if (!ends)
        return;
    mine = NULL;
    __atomic_store_n(&q->taken, false, __ATOMIC_RELEASE);
}

void harden_adopt_orphans(struct pool_news *news)
{
    for (struct quarantine *q = made; q != NULL; q = q->made)
        if (q != mine && q->taken) {
            empty(q, news);
            q->taken = false;
        }
}
