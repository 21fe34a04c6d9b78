/*
 * family: what the C face (malloc.c) and the C++ face (new.c) of the heap share.
 *
 * Owns:       nothing.
 * Promises:   errno is the program's: only a refusal sets it.
 * Guarded by: nothing.
 * Never:      calls an exported name: a program may have its own malloc, and ours would recurse into it.
 */
#ifndef TARN_FAMILY_H
#define TARN_FAMILY_H

#include "debug.h"
#include "gc.h"
#include "heap.h"
#include "helper.h"

#include <errno.h>

/* A second exported name for the same code; gcc wants it to promise what the first one promises. */
#if __has_attribute(copy)
#define ALIAS_OF(target) __attribute__((alias(#target), copy(target)))
#else
#define ALIAS_OF(target) __attribute__((alias(#target)))
#endif
#define ALSO_KNOWN_AS(target, name) EXPORT __typeof__(target) name ALIAS_OF(target)

/* Remembers the program's place that called, for TARN_DEBUG=caller: in an exported function, or in the helper in which it
   ends by a jump (an unoptimised build calls those helpers that C reaches, and remembers itself). */
INLINE void family_called(void)
{
    debug_caller = __builtin_return_address(0);
}

/* `p` comes back as a block of `n` bytes that it can't have, or whose size is not looked up so quickly. */
COLD void family_accuse(const void *p, size_t n, bool resized, const char *call, const void *caller);

/* What an allocating call returns: `block`, with the errno from before it, or NULL with ENOMEM. */
INLINE void *family_answer(void *block, int errno_before)
{
    errno = block ? errno_before : ENOMEM;
    return block;
}

/* A free that took the slow path, in the name of `call`. */
INLINE void family_free(void *p, const char *call)
{
    int before = errno;
    heap_free_slow(p, call);
    if (unlikely(gc_wants_helper()))
        helper_hire();
    errno = before;
}

#endif
