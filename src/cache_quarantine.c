/*
 * Blocks that wait before they can be used again (TARN_HARDEN=quarantine): a ring, a piece of meta which its cache keeps
 * for good. It is as much the thread's own as the rest of the cache, and counts with it: so pools can be destroyed though
 * blocks of theirs wait, and who may empty another thread's cache may end the wait there.
 *
 *     cache --detain--> ring --release--> cache or pool        bin.waiting == blocks of the class in the ring
 *
 * An interrupted thread (a fork's child sees such ones) leaves at worst one block less than it counted.
 */
#include "cache.h"

#include "meta.h"
#include "region.h"

enum { PIECE = 16 * 1024, SLOTS = PIECE / sizeof(void *) - 2 };

struct quarantine {
    size_t bytes;
    uint32_t first, next; /* blocks ever let go, and ever detained */
    void *slot[SLOTS];
};
_Static_assert(sizeof(struct quarantine) == PIECE, "no byte is wasted");

static void let_in(struct quarantine *q, struct bin *bin, void *block, size_t bytes)
{
    WRITE_ONCE(bin->waiting, bin->waiting + 1);
    q->slot[q->next % SLOTS] = block;
    q->bytes += bytes;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    q->next++;
}

/* The oldest block, or none if it is not `due`. Until the next call it is seen to be on its way. */
static void *let_go(struct cache *cache, bool due)
{
    struct quarantine *q = cache->quarantine;
    void *block = due ? q->slot[q->first % SLOTS] : NULL;
    unsigned c = due ? region_class(block) : 0;
    __atomic_store_n(&cache->draining, (uint8_t)c, __ATOMIC_RELEASE);
    if (!due)
        return NULL;
    q->first++;
    q->bytes -= class_table[c].size;
    __atomic_store_n(&cache->bin[c].waiting, cache->bin[c].waiting - 1, __ATOMIC_RELEASE);
    return block;
}

bool cache_detain(struct cache *cache, unsigned c, void *block)
{
    size_t bytes = class_table[c].size;
    if (bytes > QUARANTINE_BYTES)
        return false;
    if (unlikely(cache->quarantine == NULL))
        cache->quarantine = meta_alloc_zeroed(sizeof *cache->quarantine);
    if (unlikely(cache->quarantine == NULL))
        return false;
    let_in(cache->quarantine, &cache->bin[c], block, bytes);
    return true;
}

void *cache_release(struct cache *cache)
{
    const struct quarantine *q = cache->quarantine;
    return let_go(cache, q != NULL && (q->bytes > QUARANTINE_BYTES || q->next - q->first == SLOTS));
}

void cache_end_wait(struct cache *cache, struct pool_news *news)
{
    const struct quarantine *q = cache->quarantine;
    void *block;
    while ((block = let_go(cache, q != NULL && q->first != q->next)) != NULL)
        pool_give_one(&pools[region_class(block)], block, news);
}
