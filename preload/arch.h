/*
 * arch: what no header of the system says in the same way for every machine.
 *
 * Owns:       the only lines of tarn that know a machine.
 * Promises:   elsewhere than on x86-64 and aarch64 an answer that is safe.
 * Guarded by: nothing to guard.
 * Never:      is needed for correctness elsewhere.
 */
#ifndef TARN_PRELOAD_ARCH_H
#define TARN_PRELOAD_ARCH_H

#include "base.h"

#include <ucontext.h>

/*
 * Out of a handler's third argument: arch_interrupted_at, the address of the instruction that the signal interrupted;
 * arch_access, what the access was that a SIGSEGV reports.
 */
#if defined(__x86_64__)
INLINE uintptr_t arch_interrupted_at(const void *context)
{
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
}
INLINE const char *arch_access(const void *context)
{
    enum { WRITE = 1 << 1 }; /* in the page fault's error code */
    return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & WRITE ? "write" : "read";
}
#elif defined(__aarch64__)
INLINE uintptr_t arch_interrupted_at(const void *context)
{
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
}
INLINE const char *arch_access(const void *context)
{
    (void)context; /* in a record whose form depends on the kernel */
    return "access";
}
#else /* somewhere in this library: nothing may be touched */
INLINE uintptr_t arch_interrupted_at(const void *context)
{
    extern const char __ehdr_start[];
    (void)context;
    return (uintptr_t)__ehdr_start;
}
INLINE const char *arch_access(const void *context)
{
    (void)context;
    return "access";
}
#endif

#endif
