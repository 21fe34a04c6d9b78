/* Every room is started here, in the order in which they need each other; and a thread's end goes through here. */
#include "heap.h"

#include "debug.h"
#include "dice.h"
#include "gc.h"
#include "harden.h"
#include "large.h"
#include "options.h"
#include "out.h"
#include "pool.h"
#include "region.h"
#include "sample.h"
#include "system.h"
#include "thread.h"

#include <pthread.h>
#include <unistd.h>

CONSTANT static void (*last_thread)(void);

void heap_on_last_thread(void (*call)(void))
{
    last_thread = call;
}

static void end_thread(void *cache)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_enter(); /* or a signal handler that strikes in the slabs' release waits for our own lock */
    thread_end(cache, &news);
    gc_news(&news);
    thread_leave();
    if (thread_count() == 0 && last_thread != NULL)
        last_thread();
}

static bool started;

/* Every realloc is to come by, and a tag belongs to no one's block. */
static COLD void make_hooked(void)
{
    EACH_CLASS (c) {
        class_table[c].stays = 0;
        pools[c].size -= harden_extra();
    }
}

static void start(void)
{
    restart_start();
    out_remember_stderr();
    if (!options_start(environ))
        _exit(2);
    if (sample_on())
        dice_roll(); /* asks the kernel the first time, */
    if (options.harden != 0)
        harden_start(); /* and so does this */
    if (harden_on(HARDEN_GUARD_PAGES))
        class_fence = system_page();
    sizeclass_start(options.classes, options.classes_count, options.max_pooled);
    cache_budget(debug_on(DEBUG_COLD_FIRST) ? 0
                                            : options.cache); /* the coldest is in the loaded magazine then */
    pool_start();
    if (debug_on(DEBUG_HOOKS))
        make_hooked();
    if (sample_on())
        pooled_end = 0;
    for (unsigned i = 0; i < options.minavail_count; i++)
        if (options.minavail[i].size <= pooled_max)
            pools[class_of(options.minavail[i].size)].minavail = options.minavail[i].blocks;
    thread_start(end_thread);
    region_limit(options.limit);
    region_start();
    if (region.room != SIZE_MAX)
        large_rest();
    __atomic_store_n(&started, true, __ATOMIC_RELEASE);
}

/*
 * Something may stand before a function of libc's that the start calls, and allocate (a tracer's mmap): then its thread is
 * on a slow path already, and what it wants is the reserve's. (COLD code lies 64 KiB away: a page fault of every start.)
 */
static NOINLINE void start_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (thread_busy > 0)
        return;
    thread_enter();
    pthread_once(&once, start);
    thread_leave();
}

void heap_start(void)
{
    if (unlikely(!__atomic_load_n(&started, __ATOMIC_ACQUIRE)))
        start_once();
}
