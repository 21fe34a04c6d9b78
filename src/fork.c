/*
 * prepare takes every lock, in the order of enum lock_rank; jemalloc's come between the pools' and the
 * region's, because its extent hooks take the region's lock with its own held. The parent lets go in exact
 * reverse. The child has one thread and nobody to hand a lock back, so it makes each a new one.
 *
 * The wish to collect (gc.lock) is first: a collector at work in another thread is not waited for (it may be long, or
 * stopped by whoever forks); in the child its turn is over, caches and blocks that it had in hand are free again, and at
 * most one magazine of blocks and the empty slabs on their way to the region are lost to the child.
 */
#include "fork.h"

#include "gc.h"
#include "guard.h"
#include "harden.h"
#include "large.h"
#include "lock.h"
#include "meta.h"
#include "named.h"
#include "pool.h"
#include "region.h"
#include "restart.h"
#include "thin.h"
#include "thread.h"

/*
 * By a signal handler that struck its thread on a slow path: parent and child go on with the locks that it holds, and no
 * other can be waited for. A lock that another thread holds then stays taken in the child.
 */
static __thread bool within;

void fork_prepare(void)
{
    within = thread_busy > 0;
    if (within)
        return;
    thread_enter();
    thread_settle();
    gc_lock();
    named_lock();
    thread_lock();
    guard_lock();
    pool_lock_all();
    large_prefork();
    region_lock();
    meta_lock();
    lock_exclusive(true);
}

void fork_parent(void)
{
    if (within)
        return;
    lock_exclusive(false);
    meta_unlock();
    region_unlock();
    large_postfork_parent();
    pool_unlock_all();
    guard_unlock();
    thread_unlock();
    named_unlock();
    gc_unlock();
    thread_leave();
}

void fork_child(void)
{
    restart_reset();
    if (within)
        return;
    lock_exclusive(false);
    lock_forget_held();
    meta_reset_lock();
    region_reset_lock();
    large_postfork_child();
    pool_reset_locks();
    guard_reset_lock();
    thread_reset_lock();
    named_reset_lock();
    gc_reset_lock();
    struct pool_news news;
    pool_news_init(&news);
    thin_adopt_orphans();
    thread_adopt_orphans(&news);
    gc_news(&news);
    thread_leave();
}
