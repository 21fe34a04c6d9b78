/*
 * glibc (2.35 and later) registers each thread's struct rseq, and says where it lies; we write in one of its words. Without
 * such a libc the word is one of our own that nobody reads; where the kernel refused (valgrind, an old kernel), it is
 * glibc's all the same. Either way the hot path is the same, and only restart_barrier knows.
 *
 * The membarrier of restartable sequences makes the kernel interrupt every thread of ours that runs now; one that does
 * not run was interrupted when it stopped. It must be asked for once; among threads that takes some ms, and one
 * process in a thousand needs it: at the first barrier, not at the start.
 */
#include "restart.h"

#include "check.h"
#include "lock.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)

#include <linux/rseq.h>

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));

CONSTANT ptrdiff_t restart_word;
static __thread uint64_t unread;

void restart_start(void)
{
    restart_word = &__rseq_offset != NULL ? __rseq_offset + (ptrdiff_t)offsetof(struct rseq, rseq_cs)
                                          : (char *)&unread - (char *)__builtin_thread_pointer();
}

static bool supported(void)
{
    return &__rseq_size != NULL && __rseq_size > 0;
}

#else

void restart_start(void) {}

static bool supported(void)
{
    return false;
}

#endif

static bool given_up;
static unsigned asking; /* threads between the look at given_up and the kernel's answer */
static __thread bool asks;

bool restart_possible(void)
{
    return supported() && !__atomic_load_n(&given_up, __ATOMIC_SEQ_CST);
}

void restart_give_up(void)
{
    if (__atomic_exchange_n(&given_up, true, __ATOMIC_SEQ_CST))
        return; /* by now the kernel may allow no sched_yield either */
    while (__atomic_load_n(&asking, __ATOMIC_SEQ_CST) > asks) /* a handler's own thread may */
        sched_yield();
}

void restart_reset(void)
{
    asking = asks;
}

static bool membarrier(int command)
{
    int before = errno;
    bool done = syscall(SYS_membarrier, command, 0, 0) == 0;
    errno = before;
    return done;
}

bool restart_barrier(void)
{
    debug_check(lock_none_held());
    asks = true;
    __atomic_fetch_add(&asking, 1, __ATOMIC_SEQ_CST);
    bool done = restart_possible() && (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ) ||
                                       (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ) &&
                                        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ)));
    __atomic_fetch_sub(&asking, 1, __ATOMIC_SEQ_CST);
    asks = false;
    return done;
}
