#include "thin.h"

#include "options.h"
#include "system.h"

/* The first block from `i` on that is held, or is not; `blocks`: none. */
static unsigned next_block(const uint64_t *held, unsigned i, unsigned blocks, bool is_held)
{
    while (i < blocks) {
        uint64_t word = (is_held ? held[i / 64] : ~held[i / 64]) >> i % 64;
        if (word != 0) {
            i += (unsigned)__builtin_ctzll(word);
            return i < blocks ? i : blocks;
        }
        i = (i | 63) + 1;
    }
    return blocks;
}

/* The whole pages in each run of held blocks; the last run goes on to the slab's end. False: the kernel keeps them. */
static bool discard_runs(const struct slab *s, const uint64_t *held, size_t *bytes)
{
    size_t page = system_page();
    for (unsigned i = next_block(held, 0, s->blocks, true), end; i < s->blocks;
         i = next_block(held, end, s->blocks, true)) {
        end = next_block(held, i, s->blocks, false);
        size_t from = ALIGN_UP((size_t)i * s->size, page);
        size_t to = end == s->blocks ? (size_t)class_table[s->pool].units << UNIT_SHIFT
                                     : (size_t)end * s->size & ~(page - 1);
        if (from >= to)
            continue;
        if (!system_discard(s->base + from, to - from))
            return false;
        *bytes += to - from;
    }
    return true;
}

static struct pool_hand hand;

/* Is what free blocks hold looked at, and not for being zero? */
static bool contents_matter(void)
{
    return (options.debug.words & (DEBUG_INTEGRITY | DEBUG_BACKUP)) != 0 ||
           (options.harden & (HARDEN_CANARY | HARDEN_ZERO)) == HARDEN_CANARY;
}

size_t thin_pool(struct pool *p)
{
    size_t bytes = 0;
    bool gone = !contents_matter() && READ_ONCE(p->limit) == 0;
    for (unsigned left = READ_ONCE(p->slabs); gone && left > 0; left--) {
        if (!pool_withdraw(p, &hand))
            continue;
        gone = discard_runs(hand.slab, hand.held, &bytes);
        pool_restore(p, &hand, !gone);
    }
    return bytes;
}

void thin_adopt_orphans(void)
{
    if (hand.slab != NULL)
        pool_restore(&pools[hand.slab->pool], &hand, true);
}
