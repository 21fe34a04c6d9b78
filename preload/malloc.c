/*
 * The C malloc family: what C, POSIX and glibc 2.36 say about arguments and errno, and nothing about memory.
 *
 * malloc and free end at the first miss in a tail call of a cold helper; where they hit, they are hit.S's. Build with
 * -fno-builtin-malloc and the like: gcc makes a call of calloc out of the body of calloc.
 */
#include "accuse.h"
#include "family.h"
#include "hit.h"
#include "system.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* Newer than the headers of glibc 2.36 (C23), older than them, or in none. */
void free_sized(void *p, size_t n);
void free_aligned_sized(void *p, size_t align, size_t n);

COLD static void *malloc_missed(size_t n)
{
    int before = errno;
    return family_answer(heap_alloc_slow(n), before);
}

/* Under TARN_GUARD_SAMPLE the way that nearly all take: so it is not among the cold ones. */
NOINLINE void *malloc_counted(size_t n)
{
    void *p;
    if (heap_pop_counted(n, &p))
        return p;
    family_called();
    return malloc_missed(n);
}

COLD void free_missed(void *p)
{
    family_called();
    family_free(p, "free");
}

#ifdef HIT_IN_ASSEMBLER
_Static_assert(offsetof(struct cache, bin[0].top) == HIT_CACHE_TOP, "hit.S");
_Static_assert(offsetof(struct cache, bin[0].base) == HIT_CACHE_BASE, "hit.S");
_Static_assert(offsetof(struct cache, bin[0].limit) == HIT_CACHE_LIMIT, "hit.S");
_Static_assert(offsetof(struct region, base) == HIT_REGION_BASE, "hit.S");
_Static_assert(offsetof(struct region, units) == HIT_REGION_UNITS, "hit.S");
_Static_assert(offsetof(struct region, places) == HIT_REGION_PLACES, "hit.S");
_Static_assert(BLOCK_ALIGN == 16 && GRAIN_SHIFT == 4 && UNIT_SHIFT == 16, "hit.S");
_Static_assert(sizeof class_map[0] == 2 && sizeof region.places[0] == 2, "hit.S");
#else
EXPORT void *malloc(size_t n)
{
    void *p;
    return likely(heap_pop(n, &p)) ? p : malloc_counted(n);
}

EXPORT void free(void *p)
{
    if (unlikely(!heap_push(p)))
        free_missed(p);
}

/* As below, for the others. */
ALSO_KNOWN_AS(malloc, __libc_malloc);
ALSO_KNOWN_AS(free, __libc_free);
ALSO_KNOWN_AS(free, cfree);
#endif

COLD static void *calloc_missed(size_t n)
{
    int before = errno;
    return family_answer(heap_alloc_zeroed(n), before);
}

NOINLINE static void *calloc_counted(size_t n)
{
    void *p;
    if (heap_pop_counted(n, &p))
        return memset(p, 0, n);
    family_called();
    return calloc_missed(n);
}

EXPORT void *calloc(size_t count, size_t size)
{
    size_t n;
    void *p;
    if (unlikely(__builtin_mul_overflow(count, size, &n)))
        return family_answer(NULL, errno);
    return likely(heap_pop(n, &p)) ? memset(p, 0, n) : calloc_counted(n);
}

/* Nothing to start with is malloc; nothing to end with is free, and NULL with errno as it was: as glibc's. */
COLD static void *resize_missed(void *p, size_t n)
{
    family_called();
    int before = errno;
    if (p == NULL)
        return family_answer(heap_alloc(n), before);
    if (n > 0)
        return family_answer(heap_realloc(p, n), before);
    heap_free(p, "realloc");
    errno = before;
    return NULL;
}

INLINE void *resize(void *p, size_t n)
{
    return likely(heap_stays(p, n)) && n > 0 ? p : resize_missed(p, n);
}

EXPORT void *realloc(void *p, size_t n)
{
    return resize(p, n);
}

EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t n;
    if (unlikely(__builtin_mul_overflow(count, size, &n)))
        return family_answer(NULL, errno);
    return resize(p, n);
}

EXPORT int posix_memalign(void **result, size_t align, size_t n)
{
    family_called();
    if (!IS_POWER_OF_2(align) || align % sizeof(void *) != 0)
        return EINVAL;
    int before = errno;
    void *p = heap_alloc_aligned(align, n);
    errno = before; /* posix_memalign tells by its value alone */
    if (p == NULL)
        return ENOMEM;
    *result = p;
    return 0;
}

/* As glibc's, an alignment that is no power of two means the next one, and 0 means any. */
EXPORT void *memalign(size_t align, size_t n)
{
    family_called();
    int before = errno;
    size_t power = BLOCK_ALIGN;
    if (align > SIZE_MAX / 2 + 1) { /* has no next power of two */
        errno = EINVAL;
        return NULL;
    }
    while (power < align)
        power *= 2;
    return family_answer(heap_alloc_aligned(power, n), before);
}

EXPORT void *valloc(size_t n)
{
    family_called();
    int before = errno;
    return family_answer(heap_alloc_aligned(system_page(), n), before);
}

EXPORT void *pvalloc(size_t n)
{
    family_called();
    int before = errno;
    size_t page = system_page();
    if (n > PTRDIFF_MAX) /* or rounding up could arrive at 0 */
        return family_answer(NULL, before);
    return family_answer(heap_alloc_aligned(page, ALIGN_UP(n, page)), before);
}

EXPORT size_t malloc_usable_size(void *p)
{
    return heap_usable(p);
}

void family_accuse(const void *p, size_t n, bool resized, const char *call, const void *caller)
{
    int before = errno;
    debug_caller = caller;
    accuse_size(p, n, resized, call);
    errno = before;
}

/* The sizes are a promise of the program's, and looked at for its sake alone. */
EXPORT void free_sized(void *p, size_t n)
{
    if (unlikely(!heap_stays(p, n)) && p != NULL)
        family_accuse(p, n, true, "free_sized", __builtin_return_address(0));
    if (unlikely(!heap_push(p)))
        free_missed(p);
}

EXPORT void free_aligned_sized(void *p, size_t align, size_t n)
{
    (void)align, (void)n;
    if (unlikely(!heap_push(p)))
        free_missed(p);
}

ALSO_KNOWN_AS(memalign, aligned_alloc); /* glibc 2.36: the same function, multiple of the alignment or not */

/* Programs and libraries that mean glibc's malloc whatever is loaded: theirs must be ours too, for their
   blocks come back to our free. */
ALSO_KNOWN_AS(calloc, __libc_calloc);
ALSO_KNOWN_AS(realloc, __libc_realloc);
ALSO_KNOWN_AS(reallocarray, __libc_reallocarray);
ALSO_KNOWN_AS(memalign, __libc_memalign);
ALSO_KNOWN_AS(valloc, __libc_valloc);
ALSO_KNOWN_AS(pvalloc, __libc_pvalloc);
ALSO_KNOWN_AS(posix_memalign, __posix_memalign);
