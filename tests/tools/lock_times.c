/*
 * What a lock costs: how often it is taken, how long it is held, how often somebody waits for it and how long. Linked by
 * --wrap into libtarn_locks.so, with which each process prints its table at its end:
 *
 *     LD_PRELOAD=build/libtarn_locks.so build/bench/micro remote-64t
 *
 * A row is written by who holds its lock, so nothing here needs a lock of its own. Times are those of the monotonic
 * clock, less what asking it costs. Where a holder lost its processor, the time is the scheduler's and not the lock's:
 * what took longer than LONG is counted apart. tests/bench/locks.py reads the table.
 */
#include "lock.h"
#include "out.h"
#include "pool.h"

#include <time.h>

enum { LONG = 10000, ROWS = LOCK_RANKS + CLASS_MAX };

struct times {
    uint64_t count, ns, most, longer; /* how many, their sum, the most; and how many took longer than LONG */
};

struct row {
    struct times held, waited;
    uint64_t since;
} __attribute__((aligned(CACHE_LINE)));

static struct row rows[ROWS];
static uint64_t clock_cost;

void __real_lock_acquire(struct lock *l);
bool __real_lock_try(struct lock *l);
void __real_lock_release(struct lock *l);
void __real_lock_wait(struct lock *l, pthread_cond_t *c);
void __wrap_lock_acquire(struct lock *l);
bool __wrap_lock_try(struct lock *l);
void __wrap_lock_release(struct lock *l);
void __wrap_lock_wait(struct lock *l, pthread_cond_t *c);

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void note(struct times *times, uint64_t from, uint64_t to)
{
    uint64_t ns = to - from > clock_cost ? to - from - clock_cost : 0;
    if (ns > LONG) {
        times->longer++;
        return;
    }
    times->count++;
    times->ns += ns;
    times->most = ns > times->most ? ns : times->most;
}

/* Pools are told apart by their class, other locks by their rank. */
static struct row *row_of(const struct lock *l)
{
    unsigned rank = l->order >> 16;
    return &rows[rank == LOCK_POOL ? LOCK_RANKS + (l->order & 0xffff) : rank];
}

void __wrap_lock_acquire(struct lock *l)
{
    if (!__wrap_lock_try(l)) {
        uint64_t start = now();
        __real_lock_acquire(l);
        row_of(l)->since = now();
        note(&row_of(l)->waited, start, row_of(l)->since);
    }
}

bool __wrap_lock_try(struct lock *l)
{
    bool taken = __real_lock_try(l);
    if (taken)
        row_of(l)->since = now();
    return taken;
}

void __wrap_lock_release(struct lock *l)
{
    note(&row_of(l)->held, row_of(l)->since, now());
    __real_lock_release(l);
}

void __wrap_lock_wait(struct lock *l, pthread_cond_t *c)
{
    note(&row_of(l)->held, row_of(l)->since, now());
    __real_lock_wait(l, c);
    row_of(l)->since = now();
}

static const char *name_of(unsigned i)
{
    static const char *const ranks[] = {"", "gc", "names", "threads", "guard", "pool", "region", "meta"};
    _Static_assert(sizeof ranks / sizeof *ranks == LOCK_RANKS, "a name for each");
    return i < LOCK_RANKS ? ranks[i] : pools[i - LOCK_RANKS].name;
}

__attribute__((constructor)) static void measure_clock(void)
{
    uint64_t first = now(), last = first;
    for (int i = 0; i < 1000; i++)
        last = now();
    clock_cost = (last - first) / 1000;
}

static uint64_t mean(const struct times *times)
{
    return times->count > 0 ? times->ns / times->count : 0;
}

__attribute__((destructor)) static void print_table(void)
{
    struct out o;
    out_start(&o, 2);
    out_print(&o, "#lock\ttaken\theld ns\tmost\tlong\twaited for\twaited ns\tmost\tlong\n");
    for (unsigned i = 0; i < ROWS; i++) {
        const struct times *held = &rows[i].held, *waited = &rows[i].waited;
        if (held->count > 0)
            out_print(&o, "%s\t%lu\t%lu\t%lu\t%lu\t%lu\t%lu\t%lu\t%lu\n", name_of(i),
                      held->count + held->longer, mean(held), held->most, held->longer,
                      waited->count + waited->longer, mean(waited), waited->most, waited->longer);
    }
    out_flush(&o);
}
