/*
 * What jemalloc asks of the world, answered. scripts/rename-jemalloc.sh turns its outside reference NAME into
 * large_shim_NAME; the prototypes are those of libc.
 *
 * jemalloc wants memory here only for its own books (base blocks, from 2 MiB up, sparsely touched); blocks come
 * through the extent hooks in large.c.
 *
 * Why not the real ones: its pthread key is one that the program may have taken (jemalloc aborts then); its
 * pthread_atfork, on the first large request inside the program's own fork handler, waits for a lock that glibc
 * holds around that very handler; and its probing of the machine (files, affinity) trips a seccomp filter
 * that the program set up long before that request.
 */
#include "large_jemalloc.h"

#include "base.h"
#include "check.h"
#include "system.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

struct large_registered large_registered;
__thread void *large_tsd;

/* ---- memory: the system door ------------------------------------------------------------------------ */

void *large_shim_mmap(void *at, size_t bytes, int protection, int flags, int fd, long offset);
void *large_shim_mmap(void *at, size_t bytes, int protection, int flags, int fd, long offset)
{
    (void)protection, (void)flags, (void)fd, (void)offset;
    void *p = at == NULL ? system_map(bytes) : NULL; /* nothing that we want from it maps at a chosen place */
    if (p == NULL)
        return MAP_FAILED;
    system_unfill(p, bytes);
    return p;
}

int large_shim_munmap(void *at, size_t bytes);
int large_shim_munmap(void *at, size_t bytes)
{
    system_unmap(at, bytes);
    return 0;
}

/* jemalloc writes a word of it for each GiB of addresses: of 2 MiB. */
bool large_page_map(bool (*change)(void *at, size_t bytes))
{
    size_t page = system_page();
    char *first = (char *)ALIGN_UP((uintptr_t)&tarn_je_arena_emap_global, page);
    char *end = (char *)ALIGN_DOWN((uintptr_t)tarn_je_arena_emap_end, page);
    return change(first, (size_t)(end - first));
}

/* ---- threads and forks: told by us (large.c) -------------------------------------------------------- */

int large_shim_pthread_key_create(pthread_key_t *key, void (*thread_end)(void *));
int large_shim_pthread_key_create(pthread_key_t *key, void (*thread_end)(void *))
{
    *key = 0;
    large_registered.thread_end = thread_end;
    return 0;
}

int large_shim_pthread_setspecific(pthread_key_t key, void *tsd);
int large_shim_pthread_setspecific(pthread_key_t key, void *tsd)
{
    (void)key;
    large_tsd = tsd;
    return 0;
}

int large_shim_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int large_shim_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    large_registered.prefork = prepare;
    large_registered.postfork_parent = parent;
    large_registered.postfork_child = child;
    return 0;
}

/* Asked only while it starts. One thread at a time does that (large.c): always the same one, as far as jemalloc is told, or
   it would wait for the end of another's start, which was for want of memory, for ever. */
pthread_t large_shim_pthread_self(void);
pthread_t large_shim_pthread_self(void)
{
    return 1;
}

/* ---- the machine: one constant. All that follows from it is that a waiter spins briefly before it sleeps.  */

int large_shim_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *set);
int large_shim_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *set)
{
    (void)pid;
    CPU_ZERO_S(bytes, set);
    CPU_SET_S(0, bytes, set);
    CPU_SET_S(1, bytes, set);
    return 0;
}

/* ---- everything else: refused, with an answer that it takes for an ordinary failure ----------------- */

/* -1 says no whether the caller expects an int, a long, or sbrk's pointer. */
#define REFUSES(name)                                                                                        \
    long large_shim_##name(void);                                                                            \
    long large_shim_##name(void)                                                                             \
    {                                                                                                        \
        errno = ENOSYS;                                                                                      \
        return -1;                                                                                           \
    }
REFUSES(madvise)  /* probes; blocks are purged by the region */
REFUSES(mprotect) /* guard pages */
REFUSES(sbrk)
REFUSES(syscall) /* reads /proc and /sys; writes messages: tarn prints nothing unasked */
REFUSES(open)
REFUSES(creat)
REFUSES(close)
REFUSES(readlink)          /* /etc/malloc.conf */
REFUSES(sched_setaffinity) /* background threads, which we do not allow */
REFUSES(pthread_create)    /* the same */
REFUSES(atexit)            /* statistics at exit */

#define KNOWS_NOTHING(name)                                                                                  \
    void *large_shim_##name(void);                                                                           \
    void *large_shim_##name(void)                                                                            \
    {                                                                                                        \
        return NULL;                                                                                         \
    }
KNOWS_NOTHING(secure_getenv) /* MALLOC_CONF is meant for the program's own jemalloc, if any */
KNOWS_NOTHING(dlsym)

/* ---- parts of jemalloc that were left out: mallctl, statistics -------------------------------------- */

/* false: it is up. */
KNOWS_NOTHING(je_ctl_boot)
KNOWS_NOTHING(je_ctl_prefork)
KNOWS_NOTHING(je_ctl_postfork_parent)
KNOWS_NOTHING(je_ctl_postfork_child)
KNOWS_NOTHING(je_stats_boot)
KNOWS_NOTHING(je_stats_prefork)
KNOWS_NOTHING(je_stats_postfork_parent)
KNOWS_NOTHING(je_stats_postfork_child)

/* Its settings: read, and never set. */
bool large_shim_je_opt_stats_print;
char large_shim_je_opt_stats_print_opts[1], large_shim_je_opt_stats_interval_opts[1];
int64_t large_shim_je_opt_stats_interval = -1;

/* ---- reached only when its books are broken (abort), from what was left out, or by profiling and by background
   threads, which are never switched on ---------------------------------------------------------------- */

#define DIES(name)                                                                                           \
    _Noreturn void large_shim_##name(void);                                                                  \
    void large_shim_##name(void)                                                                             \
    {                                                                                                        \
        check_failed("jemalloc", 0, #name);                                                                  \
    }
DIES(abort)
DIES(_exit)
DIES(exp)
DIES(log)
DIES(round)
DIES(_Unwind_Backtrace)
DIES(_Unwind_GetIP)
DIES(
    gettimeofday) /* to bind it, the loader calls a function of libc's that lies far from all others: 64 KiB, 4 us */
DIES(pthread_cond_wait)
DIES(pthread_cond_timedwait)
DIES(pthread_join)
DIES(pthread_setname_np)
DIES(je_ctl_byname)
DIES(je_ctl_bymib)
DIES(je_ctl_nametomib)
DIES(je_ctl_mtx_assert_held)
DIES(je_stats_print)
DIES(je_stats_interval_event_handler)
DIES(je_stats_interval_new_event_wait)
DIES(je_stats_interval_postponed_event_wait)
