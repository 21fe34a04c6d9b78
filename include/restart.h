/*
 * restart: the instructions of the hot path: the kernel has them start again if it interrupts them.
 *
 * Owns:       what a thread tells the kernel about them (the word rseq_cs of its restartable sequences, see rseq(2)).
 * Promises:   a pop or a push has wholly happened or not at all, wherever a signal or another thread comes between: so a
 *             handler may allocate, and after restart_barrier no thread is still at work with a cache that it found in
 *             cache_self before.
 * Guarded by: nothing: a thread's own cache, and one store at the end.
 * Never:      is needed for an ordinary program: where the kernel or libc has no restartable sequences, or the machine
 *             is not an x86-64, restart_barrier says no, and handlers and caches of sleeping threads go without.
 *
 *      tell:   rseq_cs = this sequence        the kernel forgets it when it next interrupts us elsewhere
 *      begin:  cache = cache_self
 *              bin->top -> the block          (push: the block -> *bin->top)
 *              bin->top = the new top         the store that does it
 *      end:
 *
 * A thread that loses its processor or gets a signal between begin and end goes on at tell. A flag set before and cleared
 * behind costs 4.5 % over six lines of micro, and does not help the handler. The store of tell costs 3 % there, and a sixth
 * where blocks are cold: malloc, free, new and delete are one sequence, and ask whether it is told already
 * (preload/hit.S). The two below are for all who seldom come by.
 */
#ifndef TARN_RESTART_H
#define TARN_RESTART_H

#include "base.h"
#include "cache.h"

/* Before the first pop or push that may hit. */
void restart_start(void);

/* Makes every other thread of the process start its pop or push again, if it is at one. False: can't be done here. */
bool restart_barrier(void);

/* Can it be done? */
bool restart_possible(void);

/* From the return of this on, restart_barrier asks the kernel no more: whoever asks may be killed for it. */
void restart_give_up(void);

/* In a fork's child: whoever was asking is not there. */
void restart_reset(void);

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)

/* Where rseq_cs lies, from the thread's pointer. */
extern HIDDEN ptrdiff_t restart_word;

/* cache_self in the same way. */
#define RESTART_SELF ((char *)&cache_self - (char *)__builtin_thread_pointer())

/* The kernel's struct rseq_cs of the sequence from 1 to 2, and the place it goes on at, which must follow a signature. */
#define RESTART_BEGIN                                                                                        \
    ".pushsection .data.rel.ro.restart, \"aw\"\n"                                                            \
    ".balign 32\n"                                                                                           \
    "9: .long 0, 0\n"                                                                                        \
    ".quad 1f, 2f - 1f, 4f\n"                                                                                \
    ".popsection\n"                                                                                          \
    ".pushsection .text.restart, \"ax\"\n"                                                                   \
    ".byte 0x0f, 0xb9, 0x3d\n" /* with the signature, an instruction that traps */                           \
    ".long 0x53053053\n"                                                                                     \
    "4: jmp 3f\n"                                                                                            \
    ".popsection\n"                                                                                          \
    "3: movq %[word], %[cache]\n"                                                                            \
    "leaq 9b(%%rip), %[top]\n"                                                                               \
    "movq %[top], %%fs:(%[cache])\n"                                                                         \
    "1: movq %%fs:(%[self]), %[cache]\n"
#define RESTART_END "2:\n"

#define RESTART_BIN(field) (offsetof(struct cache, bin) + offsetof(struct bin, field))

/* A block of the class with that place out of the thread's cache; false: a miss. */
INLINE bool restart_pop(size_t place, void **block)
{
    struct cache *cache;
    void **top, *p;
    __asm__ goto volatile(RESTART_BEGIN "movq %c[bin_top](%[cache], %[place]), %[top]\n"
                                        "cmpq %c[bin_base](%[cache], %[place]), %[top]\n"
                                        "je %l[miss]\n"
                                        "movq -8(%[top]), %[p]\n"
                                        "subq $8, %[top]\n"
                                        "movq %[top], %c[bin_top](%[cache], %[place])\n" RESTART_END
                          : [cache] "=&r"(cache), [top] "=&r"(top), [p] "=&r"(p)
                          : [place] "r"(place), [word] "m"(restart_word), [self] "r"(RESTART_SELF),
                            [bin_top] "i"(RESTART_BIN(top)), [bin_base] "i"(RESTART_BIN(base))
                          : "memory", "cc"
                          : miss);
    *block = p;
    return true;
miss:
    return false;
}

/* Keeps `block` of the class with that place in the thread's cache; false: a miss, nothing was kept. */
INLINE bool restart_push(size_t place, void *block)
{
    struct cache *cache;
    void **top;
    __asm__ goto volatile(
        RESTART_BEGIN "movq %c[bin_top](%[cache], %[place]), %[top]\n"
                      "cmpq %c[bin_limit](%[cache], %[place]), %[top]\n"
                      "je %l[miss]\n"
                      "movq %[block], (%[top])\n" /* above the top: nobody's until the next store */
                      "addq $8, %[top]\n"
                      "movq %[top], %c[bin_top](%[cache], %[place])\n" RESTART_END
        : [cache] "=&r"(cache), [top] "=&r"(top)
        : [block] "r"(block), [place] "r"(place), [word] "m"(restart_word), [self] "r"(RESTART_SELF),
          [bin_top] "i"(RESTART_BIN(top)), [bin_limit] "i"(RESTART_BIN(limit))
        : "memory", "cc"
        : miss);
    return true;
miss:
    return false;
}

#else

INLINE bool restart_pop(size_t place, void **block)
{
    return cache_pop(READ_ONCE(cache_self), place, block);
}

INLINE bool restart_push(size_t place, void *block)
{
    return cache_push(READ_ONCE(cache_self), place, block);
}

#endif

#endif
