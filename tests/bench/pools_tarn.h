/*
 * A named pool in the place of malloc. bench.sh --pools puts one of the pools_*.h before each file of micro, whose
 * timed loops then call the pool directly, as a program written for it would. BLOCK is the pool's size, whatever size
 * micro asks for. The pool is static, so each file has its own: a line runs within one file.
 */
#pragma once

#include "tarn.h"
#include <malloc.h>

#include <stdlib.h>

static TARN_POOL(bench_pool, "bench", BLOCK, 0);

#define malloc(size) ((void)(size), tarn_pool_alloc(bench_pool))
#define free(block)  tarn_pool_free(bench_pool, block)
