/*
 * What is remembered about a block lies in its note, one for each grain where a block may start. Notes are of a slab,
 * not of an address: a note that names another slab than the one that lies there now says nothing.
 */
#include "debug.h"

#include "fault.h"
#include "region.h"
#include "system.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

__thread const void *debug_caller TLS_INITIAL;

enum { NOTED = DEBUG_INTEGRITY | DEBUG_CALLER | DEBUG_TAG | DEBUG_BACKUP };

/* ---- memory beside the region ----------------------------------------------------------------------- */

/* Memory for each region unit, mapped when it is first wanted, and never unmapped: the unit's next slab wants it too. */
struct shadow {
    void *table;  /* a pointer for each unit; NULL: none yet */
    size_t bytes; /* for each unit */
};

/* Maps what `place` is to point to, unless another thread was faster; NULL without memory. */
static void *fill_place(void **place, size_t bytes)
{
    void *fresh = system_map(bytes), *there = NULL;
    if (fresh == NULL ||
        __atomic_compare_exchange_n(place, &there, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return fresh;
    system_unmap(fresh, bytes);
    return there;
}

/* What belongs to the unit of `p`; NULL if there is nothing yet, and `make` is not wanted or there is no memory. */
static void *shadow_at(struct shadow *s, const void *p, bool make)
{
    void **table = __atomic_load_n(&s->table, __ATOMIC_ACQUIRE);
    if (table == NULL && make)
        table = fill_place(&s->table, ALIGN_UP(region.units * sizeof(void *), system_page()));
    if (table == NULL)
        return NULL;
    void **place = &table[region_unit(p)];
    void *unit = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    return unit == NULL && make ? fill_place(place, s->bytes) : unit;
}

static size_t offset_in_unit(const void *p)
{
    return (uintptr_t)p % UNIT;
}

/* ---- notes ------------------------------------------------------------------------------------------ */

enum state { STATE_UNKNOWN, STATE_LIVE, STATE_FREE };

struct note {
    const void *allocated, *freed; /* callers; NULL: not known; a report may read them at any time */
    uint32_t slab;                 /* slab_at then */
    uint32_t asked;                /* bytes */
    uint32_t pattern;              /* what the block was last filled with */
    uint8_t state;
    bool copied; /* the copy is of this block */
};
_Static_assert(sizeof(struct note) == 32, "128 KiB for the notes of a unit");

static struct shadow notes = {.bytes = (UNIT >> GRAIN_SHIFT) * sizeof(struct note)};

static struct note *note_at(const void *p, bool make)
{
    struct note *unit = shadow_at(&notes, p, make);
    return unit == NULL ? NULL : &unit[offset_in_unit(p) >> GRAIN_SHIFT];
}

/* Tells the slab that `p` lies in from the unit's earlier ones; 0: no slab. */
static uint32_t slab_at(const void *p)
{
    return region_slab(p)->serial + 1;
}

/* The note of the block at `p`; NULL: it was not given out since its slab is there, or was not noted. */
static struct note *note_of(const void *p)
{
    struct note *note = note_at(p, false);
    return note != NULL && note->slab == slab_at(p) ? note : NULL;
}

/* The same, made now if need be; NULL without memory. */
static struct note *note_made(const void *p)
{
    struct note *note = note_at(p, true);
    uint32_t slab = slab_at(p);
    if (note != NULL && note->slab != slab)
        *note = (struct note){.slab = slab};
    return note;
}

static const void *caller(void)
{
    return debug_on(DEBUG_CALLER) ? debug_caller : NULL;
}

static size_t block_bytes(const struct pool *pool)
{
    return class_table[pool->id].size;
}

static void report(enum fault_kind kind, const char *call, const struct pool *pool, const struct note *note,
                   const void *p, size_t offset)
{
    fault_report(&(struct fault){.kind = kind,
                                 .call = call,
                                 .pointer = p,
                                 .pool_size = pool->size,
                                 .pool = pool->name,
                                 .expected = p,
                                 .offset = (ptrdiff_t)offset,
                                 .allocated.frame = {READ_ONCE(note->allocated)},
                                 .freed.frame = {READ_ONCE(note->freed)}});
}

/* ---- what a free block holds ------------------------------------------------------------------------ */

enum { CHUNK = 16 }; /* bytes; every block is a multiple */

/* Where a[0..n) and b[0..n) begin to differ; n: nowhere. */
static size_t difference(const char *a, const char *b, size_t n)
{
    size_t i = 0;
    if (memcmp(a, b, n) == 0)
        return n;
    while (a[i] == b[i])
        i++;
    return i;
}

static void make_chunk(char chunk[CHUNK], uint32_t pattern)
{
    for (size_t i = 0; i < CHUNK; i += sizeof pattern)
        memcpy(chunk + i, &pattern, sizeof pattern);
}

static void fill(char *p, size_t size, uint32_t pattern)
{
    char chunk[CHUNK];
    make_chunk(chunk, pattern);
    for (size_t i = 0; i < size; i += CHUNK)
        memcpy(p + i, chunk, CHUNK);
}

static size_t compare_pattern(const char *p, size_t size, uint32_t pattern)
{
    char chunk[CHUNK];
    make_chunk(chunk, pattern);
    for (size_t i = 0; i < size; i += CHUNK) {
        size_t same = difference(p + i, chunk, CHUNK);
        if (same < CHUNK)
            return i + same;
    }
    return size;
}

static struct shadow copies = {.bytes = UNIT};

/* How much of the `left` bytes at `p` lies in the same unit. */
static size_t piece_at(const char *p, size_t left)
{
    size_t room = UNIT - offset_in_unit(p);
    return left < room ? left : room;
}

/* False: there is no memory for all of the copy. */
static bool copy(const char *p, size_t size)
{
    for (size_t done = 0, piece; done < size; done += piece) {
        char *unit = shadow_at(&copies, p + done, true);
        if (unit == NULL)
            return false;
        piece = piece_at(p + done, size - done);
        memcpy(unit + offset_in_unit(p + done), p + done, piece);
    }
    return true;
}

static size_t compare_copy(const char *p, size_t size)
{
    for (size_t done = 0, piece; done < size; done += piece) {
        const char *unit = shadow_at(&copies, p + done, false);
        piece = piece_at(p + done, size - done);
        size_t same = difference(p + done, unit + offset_in_unit(p + done), piece);
        if (same < piece)
            return done + same;
    }
    return size;
}

/* ---- tags ------------------------------------------------------------------------------------------- */

/* Every bit of the result hangs on every bit of `n`: MurmurHash3's last step. */
static uint64_t scramble(uint64_t n)
{
    n = (n ^ n >> 33) * 0xff51afd7ed558ccd;
    n = (n ^ n >> 33) * 0xc4ceb9fe1a85ec53;
    return n ^ n >> 33;
}

static uint64_t tag_of(const struct pool *pool, const void *p)
{
    return scramble((uint64_t)(uintptr_t)p << 8 | pool->id);
}

static bool is_tagged(const struct pool *pool, const struct note *note)
{
    return debug_on(DEBUG_TAG) && note->asked + sizeof(uint64_t) <= block_bytes(pool);
}

static void write_tag(const struct pool *pool, const struct note *note, char *p)
{
    uint64_t tag = tag_of(pool, p);
    if (is_tagged(pool, note))
        memcpy(p + note->asked, &tag, sizeof tag);
}

static void check_tag(const struct pool *pool, const struct note *note, const char *p, const char *call)
{
    uint64_t tag = tag_of(pool, p);
    size_t same = is_tagged(pool, note) ? difference(p + note->asked, (char *)&tag, sizeof tag) : sizeof tag;
    if (same < sizeof tag)
        report(FAULT_OVERRUN, call, pool, note, p, note->asked + same);
}

/* ---- a block goes out, and comes back --------------------------------------------------------------- */

/* The copy is of the block when it had been filled, so that it shows what the pattern would. */
static void verify(const struct pool *pool, const struct note *note, const char *p)
{
    size_t size = block_bytes(pool), same = size;
    if (note->copied)
        same = compare_copy(p, size);
    else if (debug_on(DEBUG_INTEGRITY))
        same = compare_pattern(p, size, note->pattern);
    if (same < size)
        report(FAULT_WRITTEN, NULL, pool, note, p, same);
}

/* 0 bytes count as 1: a usable size of 0 means no block. */
static void note_out(const struct pool *pool, void *p, size_t n)
{
    struct note *note = note_made(p);
    if (note == NULL)
        return;
    if (note->state == STATE_FREE)
        verify(pool, note, p);
    WRITE_ONCE(note->allocated, caller());
    WRITE_ONCE(note->freed, NULL);
    note->asked = n > 0 ? (uint32_t)n : 1;
    write_tag(pool, note, p);
    __atomic_store_n(&note->state, STATE_LIVE, __ATOMIC_RELEASE);
}

void debug_give_out(const struct pool *pool, void *p, size_t n, bool raw)
{
    if (debug_on(NOTED))
        note_out(pool, p, n);
    if (debug_on(DEBUG_POISON) && !raw)
        memset(p, options.debug.poison, n);
}

bool debug_take_back(const struct pool *pool, void *p, const char *call)
{
    struct note *note = debug_on(NOTED) ? note_of(p) : NULL;
    if (note == NULL)
        return true;
    if (__atomic_exchange_n(&note->state, STATE_FREE, __ATOMIC_ACQ_REL) == STATE_FREE) {
        report(FAULT_TWICE, call, pool, note, p, 0);
        return false;
    }
    check_tag(pool, note, p, call);
    WRITE_ONCE(note->freed, caller());
    if (debug_on(DEBUG_INTEGRITY)) {
        note->pattern += UINT32_MAX / 3; /* another one from free to free: old data that comes back is seen */
        fill(p, block_bytes(pool), note->pattern);
    }
    note->copied = debug_on(DEBUG_BACKUP) && copy(p, block_bytes(pool));
    return true;
}

size_t debug_usable(const void *p)
{
    const struct note *note = debug_on(DEBUG_TAG) ? note_of(p) : NULL;
    return note != NULL && note->state == STATE_LIVE ? note->asked : class_table[region_class(p)].size;
}

void debug_callers(const void *p, const void **allocated, const void **freed)
{
    const struct note *note = debug_on(NOTED) && class_is_pool(region_class(p)) ? note_of(p) : NULL;
    *allocated = note != NULL ? READ_ONCE(note->allocated) : NULL;
    *freed = note != NULL ? READ_ONCE(note->freed) : NULL;
}

/* ---- failures on purpose ---------------------------------------------------------------------------- */

static bool lies_in(const void *p, const ElfW(Phdr) * headers, size_t count, uintptr_t bias)
{
    for (const ElfW(Phdr) *h = headers; h < headers + count; h++)
        if (h->p_type == PT_LOAD && (uintptr_t)p - bias - h->p_vaddr < h->p_memsz)
            return true;
    return false;
}

static bool lies_in_program(const void *p)
{
    const ElfW(Phdr) *headers = (const void *)getauxval(AT_PHDR);
    size_t count = getauxval(AT_PHNUM);
    uintptr_t bias = 0;
    for (const ElfW(Phdr) *h = headers; h < headers + count; h++)
        if (h->p_type == PT_PHDR)
            bias = (uintptr_t)headers - h->p_vaddr;
    return lies_in(p, headers, count, bias);
}

static bool lies_in_loader(const void *p)
{
    uintptr_t base = getauxval(AT_BASE);
    const ElfW(Ehdr) *file = (const void *)base;
    return file != NULL && lies_in(p, (const void *)(base + file->e_phoff), file->e_phnum, base);
}

/* Not random in truth: a program with one thread meets the same failures in each run. */
bool debug_fails(void)
{
    static bool armed;
    static uint64_t requests;
    if (!debug_on(DEBUG_FAIL))
        return false;
    if (!READ_ONCE(armed) && !lies_in_program(debug_caller))
        return false;
    WRITE_ONCE(armed, true);
    return !lies_in_loader(debug_caller) &&
           scramble(__atomic_add_fetch(&requests, 1, __ATOMIC_RELAXED)) % 100 < options.debug.fail_percent;
}
