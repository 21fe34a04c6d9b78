/*
 * harden_session: a session under words of TARN_HARDEN.
 */
#ifndef TARN_TESTS_HARDEN_SESSION_H
#define TARN_TESTS_HARDEN_SESSION_H

#include "gc.h"
#include "harden.h"
#include "lines.h"
#include "options.h"
#include "session.h"
#include "system.h"
#include "thread.h"

static inline void end_thread(void *cache)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_end(cache, &news);
    gc_news(&news);
}

static inline void start_with(unsigned words)
{
    catch_lines();
    options_start(NULL);
    harden_start();
    options.harden = words;
    options.debug.words = words & HARDEN_HOOKS ? DEBUG_HARDEN : 0;
    class_fence = words & HARDEN_GUARD_PAGES ? system_page() : 0;
    sizeclass_start(NULL, 0, 32768);
    pool_start();
    thread_start(end_thread);
    cr_assert(region_start());
    start_session();
}

#endif
