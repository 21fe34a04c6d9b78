/*
 * operator new and delete, in C: the library needs no C++ runtime, and uses the program's if there is one.
 *
 * A program may replace plain new and delete alone; the standard then sends every other form through its own.
 * So only four forms have a body here: new and delete, plain and aligned. The others end in these by their
 * exported names, which are the program's own where it has some.
 *
 * How to build: -fsemantic-interposition, and no -Bsymbolic for these names, or the others would end in ours
 * whatever the program has; -fno-plt, to make of each one indirect jump; -fexceptions, for what new_handlers
 * throw, and std::bad_alloc, pass through these functions.
 *
 * The nothrow forms must catch what a new_handler throws, which C cannot: the runtime's own do it, around a
 * call of the plain form, which is ours again.
 */
#include "family.h"
#include "hit.h"
#include "out.h"

#include <dlfcn.h>
#include <stdlib.h>

_Static_assert(sizeof(size_t) == sizeof(unsigned long), "size_t is mangled as unsigned long: m");

typedef void new_handler(void);
typedef new_handler *get_new_handler(void);
typedef void throw_bad_alloc(void);

/* std::get_new_handler() and std::__throw_bad_alloc(), of a runtime that is there from the start. */
extern get_new_handler _ZSt15get_new_handlerv __attribute__((weak));
extern throw_bad_alloc _ZSt17__throw_bad_allocv __attribute__((weak));

/* `symbol` of a C++ runtime behind us, or of one that came later with a plugin (Python's modules), where no
   global look-up finds it; NULL: there is none. */
COLD static uintptr_t runtime_symbol(const char *symbol)
{
    static const char *const runtimes[] = {"libstdc++.so.6", "libc++.so.1"};
    void *found = dlsym(RTLD_NEXT, symbol);
    for (unsigned i = 0; found == NULL && i < ARRAY_LENGTH(runtimes); i++) {
        void *runtime = dlopen(runtimes[i], RTLD_LAZY | RTLD_NOLOAD); /* held for good: addresses are kept */
        if (runtime != NULL)
            found = dlsym(runtime, symbol);
    }
    return (uintptr_t)found;
}

_Noreturn COLD static void refuse(size_t n)
{
    throw_bad_alloc *throw = _ZSt17__throw_bad_allocv;
    if (throw == NULL)
        throw = (throw_bad_alloc *)runtime_symbol("_ZSt17__throw_bad_allocv");
    if (throw != NULL)
        throw();
    out_complain("operator new: no memory for %zu bytes, and no C++ runtime to throw std::bad_alloc", n);
    abort();
}

/* Returns if the program's new_handler says that it is worth trying again. That this ends is the handler's
   duty: it finds memory, throws, ends the program, or takes itself away. */
COLD static void call_new_handler(size_t n)
{
    get_new_handler *get = _ZSt15get_new_handlerv;
    if (get == NULL)
        get = (get_new_handler *)runtime_symbol("_ZSt15get_new_handlerv");
    new_handler *handler = get ? get() : NULL;
    if (handler == NULL)
        refuse(n);
    handler();
}

COLD static void *new_missed(size_t n)
{
    for (int before = errno;;) {
        void *p = family_answer(heap_alloc(n), before);
        if (p != NULL)
            return p;
        call_new_handler(n);
    }
}

NOINLINE void *new_counted(size_t n)
{
    void *p;
    if (heap_pop_counted(n, &p))
        return p;
    family_called();
    return new_missed(n);
}

#ifndef HIT_IN_ASSEMBLER
EXPORT NOINLINE void *_Znwm(size_t n)
{
    void *p;
    return likely(heap_pop(n, &p)) ? p : new_counted(n);
}
#endif

/* new(n, align) */
EXPORT NOINLINE void *_ZnwmSt11align_val_t(size_t n, size_t align)
{
    family_called();
    if (!IS_POWER_OF_2(align))
        refuse(n);
    for (int before = errno;;) {
        void *p = family_answer(heap_alloc_aligned(align, n), before);
        if (p != NULL)
            return p;
        call_new_handler(n);
    }
}

COLD void delete_missed(void *p)
{
    family_called();
    family_free(p, "delete");
}

#ifndef HIT_IN_ASSEMBLER
EXPORT NOINLINE void _ZdlPv(void *p)
{
    if (unlikely(!heap_push(p)))
        delete_missed(p);
}

void hit_delete(void *p) ALIAS_OF(_ZdlPv);
#endif

/* delete(p, align): any block may be aligned, so it is the same. */
EXPORT NOINLINE void _ZdlPvSt11align_val_t(void *p, size_t align)
{
    (void)align;
    if (unlikely(!heap_push(p)))
        delete_missed(p);
}

/* new[](n) */
EXPORT void *_Znam(size_t n)
{
    return _Znwm(n);
}

/* new[](n, align) */
EXPORT void *_ZnamSt11align_val_t(size_t n, size_t align)
{
    return _ZnwmSt11align_val_t(n, align);
}

/* delete[](p) */
EXPORT NOINLINE void _ZdaPv(void *p)
{
    _ZdlPv(p);
}

/* delete[](p, align) */
EXPORT NOINLINE void _ZdaPvSt11align_val_t(void *p, size_t align)
{
    _ZdlPvSt11align_val_t(p, align);
}

static void own_array_delete(void *p) ALIAS_OF(_ZdaPv);

/* clang takes it for granted that two names are two functions. */
static bool is_same(void (*now)(void *), void (*own)(void *))
{
    __asm__("" : "+r"(now));
    return now == own;
}

/* A program's own delete knows blocks that are not as long as ours. */
COLD static void accuse_unless_replaced(const void *p, size_t n, const char *call, const void *caller)
{
    if (is_same(_ZdlPv, hit_delete) && is_same(_ZdaPv, own_array_delete))
        family_accuse(p, n, false, call, caller);
}

COLD static void delete_unfit(void *p, size_t n)
{
    accuse_unless_replaced(p, n, "delete", __builtin_return_address(0));
    _ZdlPv(p);
}

COLD static void delete_array_unfit(void *p, size_t n)
{
    accuse_unless_replaced(p, n, "delete[]", __builtin_return_address(0));
    _ZdaPv(p);
}

/* delete(p, n): what C++14 calls most */
EXPORT void _ZdlPvm(void *p, size_t n)
{
    if (unlikely(!heap_size_fits(p, n)))
        delete_unfit(p, n);
    else
        _ZdlPv(p);
}

/* delete[](p, n) */
EXPORT void _ZdaPvm(void *p, size_t n)
{
    if (unlikely(!heap_size_fits(p, n)))
        delete_array_unfit(p, n);
    else
        _ZdaPv(p);
}

/* delete(p, n, align) */
EXPORT void _ZdlPvmSt11align_val_t(void *p, size_t n, size_t align)
{
    (void)n;
    _ZdlPvSt11align_val_t(p, align);
}

/* delete[](p, n, align) */
EXPORT void _ZdaPvmSt11align_val_t(void *p, size_t n, size_t align)
{
    (void)n;
    _ZdaPvSt11align_val_t(p, align);
}

/* The runtime's function `symbol`, looked up once and kept in `known`. */
static uintptr_t runtime_own(uintptr_t *known, const char *symbol)
{
    uintptr_t function = READ_ONCE(*known);
    if (unlikely(function == 0)) {
        function = runtime_symbol(symbol);
        WRITE_ONCE(*known, function);
    }
    return function;
}

/* As `symbol` says; without a runtime there is no new_handler either, and a refusal is NULL. */
static void *new_nothrow(size_t n, const void *nothrow, uintptr_t *known, const char *symbol)
{
    void *(*own)(size_t, const void *) = (void *(*)(size_t, const void *))runtime_own(known, symbol);
    if (likely(own != NULL))
        return own(n, nothrow);
    int before = errno;
    return family_answer(heap_alloc(n), before);
}

static void *new_aligned_nothrow(size_t n, size_t align, const void *nothrow, uintptr_t *known,
                                 const char *symbol)
{
    void *(*own)(size_t, size_t, const void *) =
        (void *(*)(size_t, size_t, const void *))runtime_own(known, symbol);
    if (likely(own != NULL))
        return own(n, align, nothrow);
    int before = errno;
    return family_answer(IS_POWER_OF_2(align) ? heap_alloc_aligned(align, n) : NULL, before);
}

/* new(n, nothrow) */
EXPORT void *_ZnwmRKSt9nothrow_t(size_t n, const void *nothrow)
{
    static uintptr_t known;
    return new_nothrow(n, nothrow, &known, "_ZnwmRKSt9nothrow_t");
}

/* new[](n, nothrow) */
EXPORT void *_ZnamRKSt9nothrow_t(size_t n, const void *nothrow)
{
    static uintptr_t known;
    return new_nothrow(n, nothrow, &known, "_ZnamRKSt9nothrow_t");
}

/* new(n, align, nothrow) */
EXPORT void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t n, size_t align, const void *nothrow)
{
    static uintptr_t known;
    return new_aligned_nothrow(n, align, nothrow, &known, "_ZnwmSt11align_val_tRKSt9nothrow_t");
}

/* new[](n, align, nothrow) */
EXPORT void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t n, size_t align, const void *nothrow)
{
    static uintptr_t known;
    return new_aligned_nothrow(n, align, nothrow, &known, "_ZnamSt11align_val_tRKSt9nothrow_t");
}

/* delete(p, nothrow): called where a constructor throws after a nothrow new, as are the other three. */
EXPORT void _ZdlPvRKSt9nothrow_t(void *p, const void *nothrow)
{
    (void)nothrow;
    _ZdlPv(p);
}

/* delete[](p, nothrow) */
EXPORT void _ZdaPvRKSt9nothrow_t(void *p, const void *nothrow)
{
    (void)nothrow;
    _ZdaPv(p);
}

/* delete(p, align, nothrow) */
EXPORT void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const void *nothrow)
{
    (void)nothrow;
    _ZdlPvSt11align_val_t(p, align);
}

/* delete[](p, align, nothrow) */
EXPORT void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const void *nothrow)
{
    (void)nothrow;
    _ZdaPvSt11align_val_t(p, align);
}
