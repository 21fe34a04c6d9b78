/*
 * session: a pool of that name, and blocks that come out of its slabs for the first time.
 */
#ifndef TARN_TESTS_SESSION_H
#define TARN_TESTS_SESSION_H

#include "region.h"

#include <criterion/criterion.h>
#include <string.h>

enum { SIZE = 64 };
static struct pool *pool;
static char *block;

static inline char *new_block(struct pool *of)
{
    char *p = pool_take_one(of);
    if (p == NULL) {
        cr_assert_eq(pool_grow(of), POOL_GREW);
        p = pool_take_one(of);
    }
    cr_assert_not_null(p);
    return p;
}

static inline void start_session(void)
{
    pool = &pools[class_of(SIZE)];
    strcpy(pool->name, "session");
    block = new_block(pool);
}

#endif
