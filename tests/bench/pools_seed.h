/*
 * HAProxy's pools as their first locked version had them, written from its description: a spinlock for each pool, and
 * the whole way to a block under one acquisition of it: the list of free blocks, the limit, the counts, and malloc.
 */
#pragma once

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

struct free_block {
    struct free_block *next;
};

static struct {
    pthread_spinlock_t lock;
    struct free_block *free;
    unsigned allocated, used, limit, failed;
} bench_pool;

__attribute__((constructor)) static void bench_start(void)
{
    pthread_spin_init(&bench_pool.lock, PTHREAD_PROCESS_PRIVATE);
}

/* The lock is held. */
static inline void *bench_refill(void)
{
    void *block;

    if (bench_pool.limit != 0 && bench_pool.allocated >= bench_pool.limit)
        return NULL;
    block = malloc(BLOCK);
    if (block == NULL) {
        bench_pool.failed++;
        return NULL;
    }
    bench_pool.allocated++;
    bench_pool.used++;
    return block;
}

static inline void *bench_alloc(void)
{
    struct free_block *block;

    pthread_spin_lock(&bench_pool.lock);
    block = bench_pool.free;
    if (block != NULL) {
        bench_pool.free = block->next;
        bench_pool.used++;
    } else {
        block = bench_refill();
    }
    pthread_spin_unlock(&bench_pool.lock);
    return block;
}

static inline void bench_free(void *freed)
{
    struct free_block *block = freed;

    pthread_spin_lock(&bench_pool.lock);
    block->next = bench_pool.free;
    bench_pool.free = block;
    bench_pool.used--;
    pthread_spin_unlock(&bench_pool.lock);
}

#define malloc(size) ((void)(size), bench_alloc())
#define free(block)  bench_free(block)
