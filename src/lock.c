/*
 * The mutex is glibc's adaptive one: it spins up to about a hundred times, with jitter, then waits in a
 * futex. Measured on two cores with 16 threads: 21.6 ns an operation, where a pure spin lock collapses to 103
 * ns.
 *
 * Who waits does so for 130 to 370 ns, and that is one of a hundred who take a pool's lock with 64 threads on two
 * processors (libtarn_locks.so counts it): nothing to gain by handing the lock over, or by going elsewhere when it is taken.
 */
#include "lock.h"

#include "check.h"

static __thread bool exclusive;

#ifdef TARN_DEBUG

#define HELD_MAX 270 /* fork holds every pool at once */

static __thread unsigned held[HELD_MAX];
static __thread unsigned held_count;

static void note_acquire(const struct lock *l)
{
    check(held_count < HELD_MAX);
    check(held_count == 0 || held[held_count - 1] < l->order); /* the lock order of lock.h */
    held[held_count++] = l->order;
}

static void note_release(const struct lock *l)
{
    unsigned i = held_count;
    while (i > 0 && held[i - 1] != l->order)
        i--;
    check(i > 0); /* a lock that we do not hold */
    for (; i < held_count; i++)
        held[i - 1] = held[i];
    held_count--;
}

bool lock_held(const struct lock *l)
{
    for (unsigned i = 0; i < held_count; i++)
        if (held[i] == l->order)
            return true;
    return exclusive;
}

bool lock_none_held(void)
{
    return held_count == 0 || exclusive;
}

void lock_forget_held(void)
{
    held_count = 0;
}

#else

static inline void note_acquire(const struct lock *l)
{
    (void)l;
}

static inline void note_release(const struct lock *l)
{
    (void)l;
}

bool lock_held(const struct lock *l)
{
    (void)l;
    return true;
}

bool lock_none_held(void)
{
    return true;
}

void lock_forget_held(void) {}

#endif

void lock_init(struct lock *l, enum lock_rank rank, unsigned index)
{
    *l = (struct lock)LOCK_INITIALIZER(rank);
    l->order |= index;
}

void lock_exclusive(bool on)
{
    exclusive = on;
}

void lock_acquire(struct lock *l)
{
    if (unlikely(exclusive))
        return;
    note_acquire(l);
    pthread_mutex_lock(&l->mutex);
}

bool lock_try(struct lock *l)
{
    if (unlikely(exclusive))
        return true;
    if (pthread_mutex_trylock(&l->mutex) != 0)
        return false;
    note_acquire(l);
    return true;
}

void lock_release(struct lock *l)
{
    if (unlikely(exclusive))
        return;
    note_release(l);
    pthread_mutex_unlock(&l->mutex);
}

void lock_wait(struct lock *l, pthread_cond_t *c)
{
    /* malloc is no cancellation point. */
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    note_release(l);
    pthread_cond_wait(c, &l->mutex);
    note_acquire(l);
    pthread_setcancelstate(state, NULL);
}
