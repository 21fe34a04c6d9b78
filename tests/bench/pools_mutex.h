/* The pool that a program writes for itself in ten minutes: a list of free blocks, a mutex, and malloc behind them. */
#pragma once

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

struct free_block {
    struct free_block *next;
};

static struct {
    pthread_mutex_t lock;
    struct free_block *free;
} bench_pool = {PTHREAD_MUTEX_INITIALIZER, NULL};

static inline void *bench_alloc(void)
{
    struct free_block *block;

    pthread_mutex_lock(&bench_pool.lock);
    block = bench_pool.free;
    if (block != NULL)
        bench_pool.free = block->next;
    pthread_mutex_unlock(&bench_pool.lock);
    return block != NULL ? block : malloc(BLOCK);
}

static inline void bench_free(void *freed)
{
    struct free_block *block = freed;

    pthread_mutex_lock(&bench_pool.lock);
    block->next = bench_pool.free;
    bench_pool.free = block;
    pthread_mutex_unlock(&bench_pool.lock);
}

#define malloc(size) ((void)(size), bench_alloc())
#define free(block)  bench_free(block)
