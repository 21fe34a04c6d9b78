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

/* The address of the instruction that a signal interrupted, out of its handler's third argument. */
#if defined(__x86_64__)
INLINE uintptr_t arch_interrupted_at(const void *context)
{
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
}
#elif defined(__aarch64__)
INLINE uintptr_t arch_interrupted_at(const void *context)
{
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
}
#else /* somewhere in this library: nothing may be touched */
INLINE uintptr_t arch_interrupted_at(const void *context)
{
    extern const char __ehdr_start[];
    (void)context;
    return (uintptr_t)__ehdr_start;
}
#endif

#endif
