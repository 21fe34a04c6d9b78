/*
 * Pieces are cut from the front of the newest mapping, smallest waste first come; what comes back goes on a
 * list of its size. A piece is as aligned as it is big (up to a page), so the front is rounded up, and the
 * gap is lost once per mapping: under 1 %.
 *
 * The first mapping is small: most processes never need a second.
 */
#include "meta.h"

#include "check.h"
#include "lock.h"
#include "system.h"

#include <string.h>

enum { SIZES = 11, FIRST_MAPPING = 256 * 1024, NEXT_MAPPING = 1024 * 1024 };

_Static_assert(META_MIN << (SIZES - 1) == META_MAX, "one list for each power of two");

struct piece {
    struct piece *next;
};

static struct {
    struct lock lock;
    struct piece *unused[SIZES];
    char *front, *end; /* of the newest mapping */
    size_t mapped, used;
} meta = {.lock = LOCK_INITIALIZER(LOCK_META)};

static unsigned size_index(size_t bytes)
{
    debug_check(bytes > 0 && bytes <= META_MAX);
    unsigned i = 0;
    while ((size_t)META_MIN << i < bytes)
        i++;
    return i;
}

/* A piece off a list or off the front, which is all zeroes; NULL if neither has one. */
static void *cut_locked(unsigned i, bool *zeroed)
{
    size_t size = (size_t)META_MIN << i;
    struct piece *piece = meta.unused[i];
    *zeroed = piece == NULL;
    if (piece != NULL) {
        meta.unused[i] = piece->next;
    } else {
        size_t align = size < 4096 ? size : 4096;
        char *start = (char *)ALIGN_UP((uintptr_t)meta.front, align);
        if (meta.front == NULL || start > meta.end || (size_t)(meta.end - start) < size)
            return NULL;
        meta.front = start + size;
        piece = (struct piece *)(void *)start;
    }
    WRITE_ONCE(meta.used, meta.used + size);
    return piece;
}

/* Makes fresh memory the newest mapping; what the last had left over is cut up for the lists' sake by no one:
   it was never touched, so it costs address space only. */
static void adopt_locked(char *fresh, size_t bytes)
{
    meta.front = fresh;
    meta.end = fresh + bytes;
    WRITE_ONCE(meta.mapped, meta.mapped + bytes);
}

static void *alloc(unsigned i, bool *zeroed)
{
    for (;;) {
        lock_acquire(&meta.lock);
        void *piece = cut_locked(i, zeroed);
        size_t mapping = meta.mapped == 0 ? FIRST_MAPPING : NEXT_MAPPING;
        lock_release(&meta.lock);
        if (piece != NULL)
            return piece;
        char *fresh = system_map(mapping);
        if (fresh == NULL && (fresh = system_map(mapping = META_MAX)) == NULL)
            return NULL;
        system_unfill(fresh, mapping);
        /* Another thread may have done the same meanwhile: its mapping is then dropped with little used,
           which costs address space once in a race. The loop ends: the fresh mapping holds any piece. */
        lock_acquire(&meta.lock);
        adopt_locked(fresh, mapping);
        piece = cut_locked(i, zeroed);
        lock_release(&meta.lock);
        if (piece != NULL)
            return piece;
    }
}

void *meta_alloc(size_t bytes)
{
    bool zeroed;
    return alloc(size_index(bytes), &zeroed);
}

void *meta_alloc_zeroed(size_t bytes)
{
    bool zeroed;
    void *piece = alloc(size_index(bytes), &zeroed);
    return piece == NULL || zeroed ? piece : memset(piece, 0, bytes);
}

void meta_free(void *p, size_t bytes)
{
    unsigned i = size_index(bytes);
    struct piece *piece = p;
    lock_acquire(&meta.lock);
    piece->next = meta.unused[i];
    meta.unused[i] = piece;
    WRITE_ONCE(meta.used, meta.used - ((size_t)META_MIN << i));
    lock_release(&meta.lock);
}

size_t meta_mapped(void)
{
    return READ_ONCE(meta.mapped);
}

size_t meta_used(void)
{
    return READ_ONCE(meta.used);
}

void meta_lock(void)
{
    lock_acquire(&meta.lock);
}

void meta_unlock(void)
{
    lock_release(&meta.lock);
}

void meta_reset_lock(void)
{
    lock_init(&meta.lock, LOCK_META, 0);
}
