/*
 * A pool's books: what its slabs say is what its counters say.
 *
 *     allocated == blocks of all slabs - trimmed
 *     used      == blocks that slabs have out - blocks in the depot - those withdrawn
 *     slabs     == partial + empty + those with nothing free, which are on no list
 */
#include "check.h"
#include "pool.h"

static uint64_t check_slabs_locked(const struct pool *p, const struct list *head, uint64_t *blocks,
                                   uint32_t *slabs)
{
    uint64_t out = 0;
    for (const struct list *l = head->next; l != head; l = l->next) {
        const struct slab *s = container_of(l, const struct slab, link);
        slab_check(s);
        check(s->pool == p->id && s->used < s->blocks);
        check((s->used == 0) == (head == &p->empty));
        out += s->used;
        *blocks += s->blocks;
        ++*slabs;
    }
    return out;
}

void pool_check(struct pool *p)
{
    lock_acquire(&p->lock);
    uint64_t blocks = 0, out = 0, depot_blocks = 0;
    uint32_t listed = 0, empties = 0, magazines = 0;
    out += check_slabs_locked(p, &p->partial, &blocks, &listed);
    check_slabs_locked(p, &p->empty, &blocks, &empties);
    uint64_t full = p->slabs - listed - empties; /* slabs with nothing free are on no list, */
    uint64_t all = (uint64_t)p->slabs * class_table[p->id].blocks - p->trimmed;
    out += all - blocks; /* and have all the other blocks */
    check((full == 0) == (all == blocks));
    blocks = all;
    for (const struct magazine *m = p->depot; m != NULL; m = m->next) {
        check(m->count > 0 && m->count <= m->batch);
        depot_blocks += m->count;
        magazines++;
    }
    check(empties == p->empty_count && magazines == p->depot_count);
    check(p->allocated == blocks && p->used <= p->allocated);
    check(p->used == out - depot_blocks - p->withdrawn);
    lock_release(&p->lock);
}
