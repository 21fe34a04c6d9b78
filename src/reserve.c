/*
 * Blocks of 2^order bytes lie side by side in chunks of one order. Free ones are a stack, whose head carries a number in
 * its upper bits that changes with each push: a thread that was interrupted between reading the head and replacing it can
 * tell that the same block came back meanwhile. It may then have read a word of a block in use, which is harmless:
 * nothing is ever unmapped.
 *
 *     live bit of a block == a program has it
 */
#include "reserve.h"

#include "check.h"
#include "system.h"

enum {
    ORDER_MIN = 5, /* 32 bytes */
    ORDER_MAX = 30,
    CHUNK_ORDER = 16,
    CHUNK_BYTES = 1 << CHUNK_ORDER,
    CHUNKS = 1024,
    NUMBER_SHIFT = 48, /* of a head; a program's addresses are below */
};

static struct chunk {
    char *base; /* NULL: being described */
    unsigned order;
    unsigned carved; /* blocks that were ever handed out, or more */
    uint64_t live[CHUNK_BYTES >> ORDER_MIN >> 6];
} chunks[CHUNKS];

static unsigned described; /* chunks; may be more than there are */
static uint64_t heads[ORDER_MAX + 1];
static size_t mapped;
struct deferred *reserve_deferred;

static size_t bytes_of(const struct chunk *c)
{
    return (size_t)1 << (c->order > CHUNK_ORDER ? c->order : CHUNK_ORDER);
}

/* ---- stacks ----------------------------------------------------------------------------------------- */

static void **block_of(uint64_t head)
{
    return (void **)(uintptr_t)(head << (64 - NUMBER_SHIFT) >> (64 - NUMBER_SHIFT));
}

static void push(uint64_t *head, void *p)
{
    uint64_t before = __atomic_load_n(head, __ATOMIC_RELAXED), after;
    do {
        __atomic_store_n((void **)p, (void *)block_of(before), __ATOMIC_RELAXED);
        after = (uint64_t)(uintptr_t)p | ((before >> NUMBER_SHIFT) + 1) << NUMBER_SHIFT;
    } while (!__atomic_compare_exchange_n(head, &before, after, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

/* The word of a block that may be in use by now: ThreadSanitizer need not mind. */
__attribute__((noinline, no_sanitize("thread"))) static void *word_of(void **block)
{
    return READ_ONCE(*block);
}

static void *pop(uint64_t *head)
{
    uint64_t before = __atomic_load_n(head, __ATOMIC_ACQUIRE), after;
    do {
        if (block_of(before) == NULL)
            return NULL;
        void *next = word_of(block_of(before));
        after = (before >> NUMBER_SHIFT << NUMBER_SHIFT) | (uint64_t)(uintptr_t)block_of((uintptr_t)next);
    } while (!__atomic_compare_exchange_n(head, &before, after, true, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE));
    return block_of(before);
}

/* ---- chunks ----------------------------------------------------------------------------------------- */

static struct chunk *next_chunk(struct chunk *c)
{
    unsigned count = __atomic_load_n(&described, __ATOMIC_ACQUIRE);
    struct chunk *end = chunks + (count < CHUNKS ? count : CHUNKS);
    for (c = c == NULL ? chunks : c + 1; c < end; c++)
        if (__atomic_load_n(&c->base, __ATOMIC_ACQUIRE) != NULL)
            return c;
    return NULL;
}

/* The chunk that `p` lies in; NULL: none. */
static struct chunk *chunk_of(const void *p)
{
    struct chunk *c = NULL;
    while ((c = next_chunk(c)) != NULL && (uintptr_t)p - (uintptr_t)c->base >= bytes_of(c))
        continue;
    return c;
}

/* Which of its blocks. */
static size_t index_of(const struct chunk *c, const void *p)
{
    return ((uintptr_t)p - (uintptr_t)c->base) >> c->order;
}

static bool set_live(struct chunk *c, size_t block, bool live)
{
    uint64_t bit = (uint64_t)1 << block % 64, *word = &c->live[block / 64];
    uint64_t before = live ? __atomic_fetch_or(word, bit, __ATOMIC_RELAXED)
                           : __atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED);
    return (before & bit) != 0;
}

static void *carve(struct chunk *c)
{
    unsigned blocks = (unsigned)(bytes_of(c) >> c->order);
    if (READ_ONCE(c->carved) >= blocks)
        return NULL;
    unsigned i = __atomic_fetch_add(&c->carved, 1, __ATOMIC_RELAXED);
    return i < blocks ? c->base + ((size_t)i << c->order) : NULL;
}

static struct chunk *add_chunk(unsigned order)
{
    if (READ_ONCE(described) >= CHUNKS)
        return NULL;
    size_t bytes = (size_t)1 << (order > CHUNK_ORDER ? order : CHUNK_ORDER);
    char *base = system_map_anytime(bytes);
    if (base == NULL)
        return NULL;
    unsigned i = __atomic_fetch_add(&described, 1, __ATOMIC_RELAXED);
    if (i >= CHUNKS) /* another thread took the last place: what was mapped is lost */
        return NULL;
    __atomic_fetch_add(&mapped, bytes, __ATOMIC_RELAXED);
    chunks[i].order = order;
    __atomic_store_n(&chunks[i].base, base, __ATOMIC_RELEASE);
    return &chunks[i];
}

static void *take(unsigned order)
{
    void *p = pop(&heads[order]);
    for (struct chunk *c = NULL; p == NULL && (c = next_chunk(c)) != NULL;)
        p = c->order == order ? carve(c) : NULL;
    while (p == NULL) { /* others may carve all of a new one */
        struct chunk *c = add_chunk(order);
        if (c == NULL)
            return NULL;
        p = carve(c);
    }
    return p;
}

/* ---- blocks ----------------------------------------------------------------------------------------- */

void *reserve_alloc(size_t n, size_t align)
{
    if (n > (size_t)1 << ORDER_MAX || align > (size_t)1 << ORDER_MAX)
        return NULL;
    size_t need = n > align ? n : align;
    if (align > system_page()) /* as far as blocks are aligned, and chunks */
        need = n + align;
    unsigned order = ORDER_MIN;
    while ((size_t)1 << order < need)
        order++;
    char *p = order <= ORDER_MAX ? take(order) : NULL;
    if (p == NULL)
        return NULL;
    struct chunk *c = chunk_of(p);
    check(c != NULL);
    set_live(c, index_of(c, p), true);
    return (char *)ALIGN_UP((uintptr_t)p, align);
}

bool reserve_free(void *p)
{
    struct chunk *c = chunk_of(p);
    if (c == NULL || !set_live(c, index_of(c, p), false))
        return false;
    push(&heads[c->order], c->base + (index_of(c, p) << c->order));
    return true;
}

size_t reserve_usable(const void *p)
{
    const struct chunk *c = chunk_of(p);
    size_t block = c == NULL ? 0 : index_of(c, p);
    if (c == NULL || (READ_ONCE(c->live[block / 64]) >> block % 64 & 1) == 0)
        return 0;
    return (size_t)(c->base + ((block + 1) << c->order) - (const char *)p);
}

struct deferred {
    struct deferred *next;
    void *block;
};

void reserve_defer(void *p)
{
    struct deferred *note = reserve_alloc(sizeof *note, BLOCK_ALIGN);
    if (note == NULL)
        return;
    note->block = p;
    note->next = READ_ONCE(reserve_deferred);
    while (!__atomic_compare_exchange_n(&reserve_deferred, &note->next, note, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        continue;
}

struct deferred *reserve_take_deferred(void)
{
    return __atomic_exchange_n(&reserve_deferred, NULL, __ATOMIC_ACQUIRE);
}

void *reserve_next_deferred(struct deferred **list)
{
    struct deferred *note = *list;
    if (note == NULL)
        return NULL;
    void *block = note->block;
    *list = note->next;
    reserve_free(note);
    return block;
}

size_t reserve_bytes(void)
{
    return READ_ONCE(mapped);
}
