/* large among threads, forks and limits that the program set; every test runs in a process of its own, where jemalloc
   has not started yet. */
#include "../tools/large_now.h"

#include "lock.h"
#include "system.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ThreadSanitizer's own state does not survive a fork of a threaded process, nor the last round of key destructors;
   and a sanitizer has address space and system calls of its own. */
#ifdef __SANITIZE_THREAD__
enum { FORKS_AND_LATE_ENDS_WORK = false };
#else
enum { FORKS_AND_LATE_ENDS_WORK = true };
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { PROCESS_IS_OURS_ALONE = false };
#else
enum { PROCESS_IS_OURS_ALONE = true };
#endif

TestSuite(large_world, .init = start, .timeout = 60);

static size_t address_space(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert(f != NULL && fscanf(f, "%lu", &pages) == 1);
    fclose(f);
    return pages * system_page();
}

/* More and more address space, until jemalloc gets all it wants: whatever it is refused on the way (its first base
   block, a leaf of its page map after it had the extent), nothing is lost, and the block is served bare. */
Test(large_world, no_memory_for_its_books)
{
    bool zeroed, jemalloc_serves = false;
    unsigned bare = 0;
    void *room = region_claim(16, 1, &zeroed); /* so that it is not the region that is refused */
    cr_assert(room != NULL && region_note(room) != NULL);
    region_release(room, 16);
    for (size_t more = 0; !jemalloc_serves && more < 64 * MIB; more += 256 * KIB) {
        struct rlimit limit = {address_space() + more, RLIM_INFINITY};
        cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
        char *p = large_alloc(3 * UNIT, 16, true);
        cr_assert_not_null(p);
        for (size_t i = 0; i < 3 * UNIT; i++)
            cr_assert_eq(p[i], 0);
        memset(p, 'x', 3 * UNIT);
        cr_expect_eq(large_usable(p), 3 * UNIT);
        cr_expect_eq(large_usable(p + UNIT), 0);
        p = large_realloc(p, 4 * UNIT);
        cr_assert(p != NULL && p[3 * UNIT - 1] == 'x' && large_usable(p) == 4 * UNIT);
        jemalloc_serves = region_class(p) == CLASS_LARGE;
        bare += region_class(p) == CLASS_BARE;
        cr_expect(large_free(p) && !large_free(p));
        limit.rlim_cur = RLIM_INFINITY;
        cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
        expect_empty();
    }
    cr_expect(jemalloc_serves);
    cr_expect_gt(bare, 2);
}

/* ---- threads ---- */

static pthread_key_t late;

static void allocate_late(void *round)
{
    char *p = large_alloc(UNIT, 16, true);
    cr_assert(p != NULL && large_free(p));
    if ((uintptr_t)round < 4)
        pthread_setspecific(late, (void *)((uintptr_t)round + 1));
}

static void *use_large(void *only_late)
{
    pthread_setspecific(late, (void *)1);
    if (only_late != NULL)
        return NULL;
    char *p = large_alloc(200 * KIB, 16, false);
    p[0] = 1;
    return p;
}

Test(large_world, threads_leave_nothing_behind, .disabled = !FORKS_AND_LATE_ENDS_WORK)
{
    pthread_key_create(&late, allocate_late);
    size_t space = 0;
    for (unsigned i = 0; i < 3000; i++) {
        pthread_t t;
        void *block;
        cr_assert_eq(pthread_create(&t, NULL, use_large, i % 2 ? &late : NULL), 0);
        pthread_join(t, &block);
        cr_assert(block == NULL || large_free(block)); /* by another thread than its own */
        if (i == 100)
            space = address_space();
    }
    cr_expect(!PROCESS_IS_OURS_ALONE || address_space() <= space);
    expect_empty();
}

enum { EXCHANGES = 16 };
static char *exchange[EXCHANGES];

static void *storm(void *rounds)
{
    unsigned mine = (unsigned)syscall(SYS_gettid);
    for (size_t i = 0; i < (size_t)rounds; i++) {
        mine = mine * 1103515245 + 12345;
        char *p = large_alloc(1 + (mine >> 8) % (1 * MIB), 16, false);
        if (p != NULL && mine >> 30 == 0)
            p = large_realloc(p, 1 + (mine >> 4) % (2 * MIB));
        p = __atomic_exchange_n(&exchange[(mine >> 16) % EXCHANGES], p, __ATOMIC_ACQ_REL);
        cr_assert(p == NULL || large_free(p));
    }
    return NULL;
}

Test(large_world, many_threads_exchange_blocks)
{
    pthread_t t[8];
    for (unsigned i = 0; i < 8; i++)
        pthread_create(&t[i], NULL, storm, (void *)5000);
    for (unsigned i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    for (unsigned i = 0; i < EXCHANGES; i++)
        cr_expect(exchange[i] == NULL || large_free(exchange[i]));
    large_purge();
    expect_empty();
}

static char *contended;
static unsigned arrivals;

/* Leaves when both threads have come for the `round`th time: spinning, so that they leave within nanoseconds. */
static void meet(unsigned round)
{
    __atomic_fetch_add(&arrivals, 1, __ATOMIC_ACQ_REL);
    for (unsigned spins = 0; __atomic_load_n(&arrivals, __ATOMIC_ACQUIRE) < 2 * round; spins++)
        if (spins > 10000)
            sched_yield();
}

enum { CONTESTS = 100000 };

static void *free_contended(void *wins)
{
    for (unsigned i = 0;; i++) {
        meet(2 * i + 1);
        if (contended == NULL)
            return NULL;
        *(unsigned *)wins += large_free(contended);
        meet(2 * i + 2);
    }
}

Test(large_world, of_two_frees_one_wins)
{
    unsigned wins = 0, theirs = 0, i = 0;
    time_t end = time(NULL) + 10; /* two on one busy processor may need a millisecond for a round */
    pthread_t t;
    pthread_create(&t, NULL, free_contended, &theirs);
    for (; i < CONTESTS && time(NULL) < end; i++) {
        contended = large_alloc(UNIT, 16, false);
        meet(2 * i + 1);
        for (volatile unsigned lag = 0; lag < i % 256;
             lag++) /* it is the last to come, so the first to leave */
            ;
        wins += large_free(contended);
        meet(2 * i + 2);
        cr_assert_eq(wins + theirs, i + 1);
    }
    contended = NULL;
    meet(2 * i + 1);
    pthread_join(t, NULL);
    expect_empty();
}

/* ---- the world around ---- */

static bool succeeds(pid_t child)
{
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Makes jemalloc extend its page map, which it does once for each GiB; where that much can't be had, be it so. */
static void *sprawl(void *unused)
{
    enum { BLOCKS = 8 };
    char *p[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++)
        p[i] = large_alloc((size_t)1 << 30, 16, false);
    for (unsigned i = 0; i < BLOCKS; i++)
        large_free(p[i]);
    return unused;
}

static bool child_uses_large(void)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        char *p = large_alloc(MIB, 16, true);
        sprawl(NULL);
        _exit(p != NULL && large_free(p) ? 0 : 1);
    }
    return succeeds(child);
}

static void before_fork(void)
{
    large_prefork();
    region_lock();
}

static void after_fork_in_parent(void)
{
    region_unlock();
    large_postfork_parent();
}

static void after_fork_in_child(void)
{
    lock_forget_held();
    region_reset_lock();
    large_postfork_child();
}

static void *allocate_and_tell(void *done)
{
    char *p = large_alloc(MIB, 16, false);
    __atomic_store_n((bool *)done, true, __ATOMIC_RELEASE);
    return p;
}

Test(large_world, others_wait_while_a_fork_is_on, .disabled = !FORKS_AND_LATE_ENDS_WORK)
{
    bool done = false;
    pthread_t t;
    void *p;
    cr_assert(large_free(large_alloc(MIB, 16, false)));
    large_prefork();
    pthread_create(&t, NULL, allocate_and_tell, &done);
    usleep(50000);
    cr_expect_not(__atomic_load_n(&done, __ATOMIC_ACQUIRE));
    large_postfork_parent();
    pthread_join(t, &p);
    cr_expect(large_free(p));
    expect_empty();
}

Test(large_world, fork_amid_a_storm, .disabled = !FORKS_AND_LATE_ENDS_WORK)
{
    pthread_t t[3];
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    cr_expect(child_uses_large()); /* before jemalloc has started */
    for (unsigned i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, storm, (void *)4000);
    for (unsigned i = 0; i < 100; i++)
        cr_assert(child_uses_large());
    for (unsigned i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
}

Test(large_world, fork_amid_growth, .disabled = !FORKS_AND_LATE_ENDS_WORK)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    for (unsigned i = 0; i < 40; i++) {
        pid_t fresh = fork();
        if (fresh == 0) {
            pthread_t t[3];
            bool well = true;
            for (unsigned j = 0; j < 3; j++)
                pthread_create(&t[j], NULL, sprawl, NULL);
            for (unsigned j = 0; j < 5; j++)
                well &= child_uses_large();
            for (unsigned j = 0; j < 3; j++)
                pthread_join(t[j], NULL);
            _exit(well ? 0 : 1);
        }
        cr_assert(succeeds(fresh));
    }
}

static void first_request(void)
{
    char *p = large_alloc(MIB, 16, false);
    cr_assert(p != NULL && large_free(p));
}

Test(large_world, first_request_inside_a_fork_handler)
{
    alarm(10);
    pthread_atfork(first_request, NULL, NULL);
    cr_expect(child_uses_large());
}

Test(large_world, no_pthread_key_left)
{
    pthread_key_t key;
    while (pthread_key_create(&key, NULL) == 0)
        ;
    first_request();
}

Test(large_world, first_request_behind_a_seccomp_filter, .disabled = !PROCESS_IS_OURS_ALONE)
{
    /* Memory, futexes and exit are all that a first request may ask for. */
    const unsigned allowed[] = {SYS_mmap, SYS_munmap, SYS_madvise, SYS_futex, SYS_exit, SYS_exit_group};
    struct sock_filter filter[2 * ARRAY_LENGTH(allowed) + 2] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    unsigned n = 1;
    for (unsigned i = 0; i < ARRAY_LENGTH(allowed); i++) {
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = filter};
    pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
            _exit(2);
        char *p = large_alloc(MIB, 16, false);
        _exit(p != NULL && large_free(p) ? 0 : 1);
    }
    cr_expect(succeeds(child));
}
