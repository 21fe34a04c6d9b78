/*
 * hit: malloc, free, operator new and delete where they hit.
 *
 * Owns:       these four names; on x86-64 in assembler (hit.S), elsewhere in C (malloc.c, new.c).
 * Promises:   as heap_pop and heap_push; a miss ends in a jump to who was called's helper, as if that had been called.
 * Guarded by: restart.h.
 * Never:      saves a register, makes a call, or touches the block (tests/golden/hotpath.txt).
 *
 * In assembler because all four are to be one restartable sequence: who finds rseq_cs set to it already need not set it.
 * One instruction more than with a store each, but two stores of nine less between a program's own first writes to cold
 * blocks, which a processor holds back in the order in which they came: queues of 10^5 blocks of mixed sizes 0.85 of the
 * time, random ones 0.7 to 1.0 (0.87 in the middle), handed on 0.89; seventeen lines of micro 0.92, pairs 0.95 to 1.0.
 */
#ifndef TARN_HIT_H
#define TARN_HIT_H

/* tests/fuzz has malloc.c beside the sanitizer's malloc, by other names. */
#if defined(__x86_64__) && !defined(HIT_IN_C)
#define HIT_IN_ASSEMBLER
#endif

/* What hit.S knows of the rooms' structs. */
#define HIT_CACHE_TOP     0x40
#define HIT_CACHE_BASE    0x48
#define HIT_CACHE_LIMIT   0x50
#define HIT_REGION_BASE   0
#define HIT_REGION_UNITS  8
#define HIT_REGION_PLACES 16

#ifndef __ASSEMBLER__

#include "base.h"

HIDDEN void *malloc_counted(size_t n); /* it is one of a sample, or a miss */
HIDDEN void free_missed(void *p);
HIDDEN void *new_counted(size_t n);
HIDDEN void delete_missed(void *p);

EXPORT void *_Znwm(size_t n);    /* new(n) */
EXPORT void _ZdlPv(void *p);     /* delete(p) */
HIDDEN void hit_delete(void *p); /* the same, ours, whatever the program has */

#endif

#endif
