/*
 * slab: an aligned run of blocks of one class, described out of line.
 *
 * Owns:       which of its blocks are free: a bitmap, one bit a block, 1 = free.
 * Promises:   free blocks leave in address order; a block that comes back wrongly changes nothing and is named.
 * Guarded by: the lock of the pool that holds the slab.
 * Never:      touches a block, locks, allocates, or asks the kernel.
 *
 *     used + popcount(bits) == blocks
 *     word  <= first word of bits that is not zero
 *
 * Out of line, because a program that overruns a block must not reach our books, and because 64-byte headers at
 * the same offset of every slab would fight for the same cache sets.
 */
#ifndef TARN_SLAB_H
#define TARN_SLAB_H

#include "base.h"
#include "list.h"

struct slab {
    struct list link;    /* in its pool's lists */
    uint64_t *bits;      /* one bit a block: a piece of meta, or only_word */
    char *base;          /* first block */
    uint64_t inverse;    /* of the block size (sizeclass.h) */
    uint32_t used;       /* blocks that are out */
    uint32_t size;       /* of a block */
    uint16_t blocks;     /* blocks in all: the class's, or fewer where the pool's limit said so */
    uint8_t pool;        /* class id */
    uint8_t word;        /* search starts here: 64 words at the most */
    uint32_t units : 7;  /* of the region */
    uint32_t thin : 1;   /* no block came back since its free blocks were last looked at for whole pages */
    uint32_t fenced : 1; /* its last page is out of reach (region_slab.c) */
    uint32_t
        serial : 23; /* of the slabs that were ever described: how many there were before, while it lasts */
    union {
        uint64_t only_word;
        uint8_t *states; /* of enum slab_state, one a block; under TARN_HARDEN, then only_word is not used */
    };
};

_Static_assert(sizeof(struct slab) == CACHE_LINE, "descriptors of neighbours share no line");

/* What hardening knows about a block; written by whoever holds it. */
enum slab_state {
    SLAB_NEW, /* was not given out since the slab is there */
    SLAB_LIVE,
    SLAB_FREED,
};

enum slab_verdict {
    SLAB_OK,
    SLAB_MISALIGNED, /* inside the slab, but not where a block starts */
    SLAB_NOT_OUT     /* a block that is free already: given back twice */
};

/* Words that the bitmap of a slab of `blocks` blocks needs. */
INLINE size_t slab_words(unsigned blocks)
{
    return (blocks + 63) / 64;
}

/* Describes a slab of class `pool` at `base`, all free, with `bits` for its bitmap. First touch of both: no
 * lock. */
void slab_init(struct slab *s, unsigned pool, char *base, uint64_t *bits);

/* Moves up to `n` free blocks, lowest address first, into out[0..n) downwards: out[n - 1] gets the lowest, so
   that a magazine hands them out in ascending order. Fewer than n fill the top end. Returns how many. */
unsigned slab_take(struct slab *s, void **out, unsigned n);

/* Takes back the first of blocks[0..n), n > 0, which lies in the slab, and those behind it, up to one that does not,
   or is bad, which *verdict then says, or up to the end of a row. Returns how many it took. */
unsigned slab_give_run(struct slab *s, void *const *blocks, unsigned n, enum slab_verdict *verdict);

/* Takes one block back. */
INLINE enum slab_verdict slab_give(struct slab *s, void *block)
{
    enum slab_verdict verdict;
    slab_give_run(s, &block, 1, &verdict);
    return verdict;
}

enum { SLAB_WORDS_MAX = 64 };

/* Takes all the free blocks out, into a bitmap, and puts them back; each returns how many there were. */
unsigned slab_withdraw(struct slab *s, uint64_t held[SLAB_WORDS_MAX]);
unsigned slab_restore(struct slab *s, const uint64_t held[SLAB_WORDS_MAX]);

/* Where the block that contains `p` (inside the slab) starts; NULL in the tail behind the last block. */
void *slab_block_of(const struct slab *s, const void *p);

/* The state of the block that starts at `p`, under TARN_HARDEN; NULL: none starts there. */
uint8_t *slab_state(const struct slab *s, const void *p);

/* As slab_take, beginning anywhere: `random` says where. */
unsigned slab_take_anywhere(struct slab *s, void **out, unsigned n, uint64_t random);

/* Leaves only the first `blocks` > 0 blocks of a slab with nothing out. */
void slab_trim(struct slab *s, unsigned blocks);

void slab_check(const struct slab *s);

#endif
