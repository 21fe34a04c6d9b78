/*
 * whole_heap: malloc and free as tests call them, and what the books say then.
 */
#ifndef TARN_TESTS_WHOLE_HEAP_H
#define TARN_TESTS_WHOLE_HEAP_H

#include "fault.h"
#include "heap.h"
#include "large.h"
#include "pool.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { KIBIBYTE = 1024, MEBIBYTE = 1024 * KIBIBYTE };

static inline void start(void)
{
    setenv("TARN_MISUSE", "ignore", 1);
    heap_start();
}

static inline void *alloc(size_t n)
{
    return heap_alloc(n);
}

static inline void give(void *p)
{
    heap_free(p, "free");
}

static inline uint64_t total_used(void)
{
    uint64_t used = 0;
    for (unsigned c = 1; c <= class_count; c++)
        used += pools[c].used;
    return used;
}

static inline struct large_stats large_now(void)
{
    struct large_stats s;
    large_stats(&s);
    return s;
}

static inline void check_faults(uint64_t foreign, uint64_t inside, uint64_t twice, uint64_t free_space)
{
    cr_assert_eq(fault_count(FAULT_FOREIGN), foreign);
    cr_assert_eq(fault_count(FAULT_INSIDE), inside);
    cr_assert_eq(fault_count(FAULT_TWICE), twice);
    cr_assert_eq(fault_count(FAULT_FREE_SPACE), free_space);
    heap_check();
}

#endif
