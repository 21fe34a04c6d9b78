/*
 * debug_block: a session's block, which goes out and comes back under TARN_DEBUG's words.
 */
#ifndef TARN_TESTS_DEBUG_BLOCK_H
#define TARN_TESTS_DEBUG_BLOCK_H

#include "debug.h"
#include "lines.h"
#include "options.h"
#include "session.h"

#include <criterion/criterion.h>
#include <stdio.h>

static inline void start(void)
{
    catch_lines();
    options_start(NULL);
    sizeclass_start(NULL, 0, 32768);
    pool_start();
    cr_assert(region_start());
    start_session();
}

/* A report's line about the block: CALL(BLOCK) or BLOCK, and `what`. */
static inline const char *line(const char *call, const char *what)
{
    static char text[300];
    const char *format = call != NULL ? "tarn: %s(%p): block of pool \"session\" (%zu bytes) %s\n"
                                      : "tarn: %s%p: block of pool \"session\" (%zu bytes) %s\n";
    snprintf(text, sizeof text, format, call != NULL ? call : "", block, pool->size, what);
    return text;
}

static inline void give_out(size_t n)
{
    debug_give_out(pool, block, n, false);
}

static inline bool take_back(void)
{
    return debug_take_back(pool, block, "free");
}

#endif
