/*
 * A program that confines itself, and then works; says "done", or exits with 77 and the reason on standard output.
 *   nproc          no user may have more threads than it has: RLIMIT_NPROC
 *   stack          its first stack and those of its threads are small: RLIMIT_STACK
 *   maps           it has as many mappings as vm.max_map_count allows, but for a few, and then for none
 *   seccomp HOW    only the calls that a program may make which computes and prints: others are told ("trap") or ENOSYS;
 *                  meanwhile other threads sleep, with blocks in their caches
 *   alone          the same for a program that makes no threads, and is told
 *   locked MODE    mlockall; prints "locked N", its bytes resident at the end
 *   little         the same for a program that has little more than libc
 *   chroot DIR     in DIR, which is empty, and as another user
 *   noproc         without /proc
 *   closed FILE    its standard descriptors are closed, and then FILE's; frees what it must not, and FILE stays as it is
 *   secure         started set-uid: no setting may count
 *   rounds         40 MB of blocks of one size after another, within a memory cgroup
 *   work           no more than that
 */
#include "confined.h"
#include "victim.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NOBODY = 65534 };

/* Is tarn there? Only it exports this name. */
extern void tarn_gc(void) __attribute__((weak));

static void skip(const char *why)
{
    printf("%s: %s\n", why, strerror(errno));
    exit(77);
}

/* ---- limits ------------------------------------------------------------------------------------------ */

static void *wait_for_end(void *context)
{
    pthread_mutex_lock(context);
    pthread_mutex_unlock(context);
    return malloc(100);
}

static void nproc(void)
{
    enum { MOST = 400 };
    static pthread_t thread[MOST];
    pthread_mutex_t end = PTHREAD_MUTEX_INITIALIZER;
    unsigned made = 0;
    if (getuid() == 0 && setuid(NOBODY) != 0)
        skip("setuid"); /* root may have more */
    setrlimit(RLIMIT_NPROC, &(struct rlimit){200, 200});
    pthread_mutex_lock(&end);
    while (made < MOST && pthread_create(&thread[made], NULL, wait_for_end, &end) == 0)
        made++;
    expect(made < MOST);
    expect(confined_work(30000, 300000)); /* at the limit, with the helper or without */
    malloc_trim(0);
    pthread_mutex_unlock(&end);
    for (unsigned t = 0; t < made; t++) {
        void *block = NULL;
        pthread_join(thread[t], &block);
        free(block);
    }
    expect(confined_threads(4) && confined_work(30000, 300000));
}

static void stack(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_STACK, &limit);
    if (limit.rlim_cur > 128 << 10) { /* which counts from the next start */
        limit.rlim_cur = 96 << 10;
        expect(setrlimit(RLIMIT_STACK, &limit) == 0);
        execl("/proc/self/exe", "confined", "stack", NULL);
        skip("exec");
    }
    expect(confined_work(50000, 500000) && confined_threads(8));
    malloc_trim(0);
    free(malloc(1 << 30));
}

/* Mappings that cannot become one, until the kernel has no more. */
static size_t take_all_maps(char *place, size_t pages, size_t page)
{
    size_t n = 1;
    while (n < pages && mprotect(place + n * page, page, PROT_READ) == 0)
        n += 2;
    return n;
}

static void maps(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = 400000;
    char *place = mmap(NULL, pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *before = malloc(100000);
    size_t taken = take_all_maps(place, pages, page);
    if (taken >= pages)
        skip("vm.max_map_count is above 400000");
    unsigned refused = 0;
    for (int i = 0; i < 2000; i++) { /* none is left: what can't be had is NULL, and no harm */
        size_t n = (size_t)1 << i % 24;
        char *p = malloc(n), *q = realloc(malloc(n), 2 * n);
        refused += p == NULL;
        if (p != NULL)
            p[0] = p[n - 1] = 'p';
        free(p);
        free(q);
    }
    memset(before, 1, 100000);
    free(before);
    munmap(place + 1 * page, 40 * page); /* a few are back */
    expect(confined_work(50000, 500000));
    munmap(place + 41 * page, (pages - 41) * page); /* in between may lie what malloc has mapped since */
    expect(confined_work(50000, 500000) && confined_threads(4));
    fprintf(stdout, "%u of 2000 refused\n", refused);
}

static void lock_all(int what)
{
    if (!victim_lock_all(what))
        skip("mlockall");
}

/* Resident, when nothing that is mapped may be absent: once most of a large block is back, or after ten seconds. */
static void locked(const char *mode)
{
    enum { LARGE = 20 << 20 };
    lock_all(strcmp(mode, "onfault") == 0 ? MCL_FUTURE | MCL_ONFAULT : MCL_FUTURE | MCL_CURRENT);
    expect(confined_work(100000, 300000) && confined_threads(1));
    void *large = malloc(LARGE);
    expect(large != NULL);
    memset(large, 1, LARGE);
    size_t full = victim_memory("VmRSS: %zu");
    free(large);
    for (int i = 0; i < 100 && victim_memory("VmRSS: %zu") > full - LARGE / 4 * 3; i++) {
        usleep(100000);
        expect(confined_work(100, 2000));
    }
    printf("locked %zu\n", victim_memory("VmRSS: %zu"));
}

static void locked_little(void)
{
    char *block[1000], *large;
    lock_all(MCL_FUTURE | MCL_CURRENT);
    for (size_t i = 0; i < 1000; i++)
        memset(block[i] = malloc(16 + i), 1, 16 + i);
    memset(large = malloc(200000), 1, 200000);
    printf("locked %zu\n", victim_memory("VmRSS: %zu"));
    for (size_t i = 0; i < 1000; i++)
        free(block[i]);
    free(large);
    expect(confined_work(100000, 300000));
}

/* Much of one size after much of another: a memory cgroup kills who does not reuse what was freed. */
static void rounds(void)
{
    enum { BYTES = 40 << 20 };
    static const size_t sizes[] = {48, 600, 5000, 30000, 100000, 1000000};
    char **block =
        mmap(NULL, BYTES / 48 * sizeof *block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (unsigned round = 0; round < 12; round++) {
        size_t size = sizes[round * 5 % 6], count = BYTES / size;
        for (size_t i = 0; i < count; i++)
            memset(block[i] = malloc(size), 'r', size);
        for (size_t i = 0; i < count; i++)
            free(block[i]);
    }
}

/* ---- what may be asked of the kernel ----------------------------------------------------------------- */

/* First what tarn may use, then what libc needs for malloc and exit, and from mprotect on, for threads. */
static const int allowed[] = {
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_futex,
    SYS_write,
    SYS_exit,
    SYS_exit_group,
    SYS_brk,
    SYS_getrandom,
    SYS_clock_gettime,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_mprotect,
    SYS_rt_sigprocmask,
    SYS_clone3,
    SYS_clone,
    SYS_rseq,
    SYS_set_robust_list,
};
enum { ALLOWED = sizeof allowed / sizeof allowed[0], ALLOWED_ALONE = 13 };

static void told(int signal, siginfo_t *info, void *context)
{
    char line[64];
    (void)signal, (void)context;
    int n = snprintf(line, sizeof line, "system call %d\n", info->si_syscall);
    syscall(SYS_write, 2, line, n);
    _exit(1);
}

static void confine(unsigned count, unsigned otherwise)
{
    struct sock_filter filter[ALLOWED + 3];
    unsigned n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < count; i++)
        filter[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], count - i, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    sigaction(SIGSYS, &(struct sigaction){.sa_sigaction = told, .sa_flags = SA_SIGINFO}, NULL);
    mallopt(M_ARENA_MAX, 2); /* or glibc looks in /sys how many processors there are */
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    struct sock_fprog program = {(unsigned short)n, filter};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        skip("seccomp");
}

enum { SLEEPERS = 3 };
static pthread_barrier_t asleep;
static pthread_mutex_t morning = PTHREAD_MUTEX_INITIALIZER;

static void *work_and_sleep(void *unused)
{
    bool good = confined_work(20000, 200000);
    pthread_barrier_wait(&asleep);
    pthread_mutex_lock(&morning);
    pthread_mutex_unlock(&morning);
    return good && confined_work(20000, 200000) ? &morning : unused;
}

/* Much is spare, of small blocks, which glibc need not ask anybody to free. */
static void free_much(void)
{
    void **chain = NULL, **next;
    for (unsigned i = 0; i < 100000; i++) {
        next = malloc(300);
        *next = chain;
        chain = next;
    }
    for (; chain != NULL; chain = next) {
        next = *chain;
        free(chain);
    }
}

/* Time for the helper to wake and tidy up: no sleep is allowed. */
static void work_for_a_while(void)
{
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    do {
        expect(confined_work(1000, 500000));
        free_much();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec + 2);
    free(malloc(100 << 20));
}

static void seccomp(unsigned otherwise)
{
    pthread_t sleeper[SLEEPERS];
    pthread_barrier_init(&asleep, NULL, SLEEPERS + 1);
    pthread_mutex_lock(&morning);
    for (int i = 0; i < SLEEPERS; i++)
        pthread_create(&sleeper[i], NULL, work_and_sleep, NULL);
    pthread_barrier_wait(&asleep);
    confine(ALLOWED, otherwise);
    expect(confined_work(100000, 500000) && confined_threads(4));
    malloc_trim(0);
    work_for_a_while();
    pthread_mutex_unlock(&morning);
    for (int i = 0; i < SLEEPERS; i++) {
        void *good;
        pthread_join(sleeper[i], &good);
        expect(good != NULL);
    }
}

static void seccomp_alone(void)
{
    confine(ALLOWED_ALONE, SECCOMP_RET_TRAP);
    expect(confined_work(100000, 500000));
    work_for_a_while();
}

/* ---- users and places -------------------------------------------------------------------------------- */

static void in_a_root(const char *place)
{
    if (geteuid() != 0)
        errno = EPERM, skip("chroot");
    if (chroot(place) != 0 || chdir("/") != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        skip("chroot");
    expect(confined_work(50000, 500000) && confined_threads(4));
    malloc_trim(0);
    malloc_info(0, stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(!confined_work(1000, 500000));
    expect(child > 0);
    if (tarn_gc != NULL)
        raise(SIGQUIT);
}

static void noproc(void)
{
    if (access("/proc/self", F_OK) == 0) {
        static char self[4096];
        ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
        if (length < 0 || unshare(CLONE_NEWNS) != 0 ||
            mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("none", "/proc", "tmpfs", 0, NULL) != 0)
            skip("unshare, mount");
        execl(self, self, "noproc", NULL);
        skip("exec");
    }
    expect(confined_work(50000, 500000) && confined_threads(4));
    malloc_trim(0);
    mallinfo2();
    malloc_info(0, stdout);
    free(malloc(1 << 30));
}

/* The file has the numbers of the standard descriptors. */
static void closed(const char *path)
{
    static int on_stack;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    for (int fd = 0; fd < 3; fd++)
        if (open(path, O_RDWR | O_CREAT | O_APPEND, 0600) != fd)
            _exit(3);
    bool good = confined_work(50000, 500000) && confined_threads(2);
    if (tarn_gc != NULL) { /* it has something to say, but nobody to say it to */
        free(&on_stack);
        raise(SIGQUIT);
    }
    good = good && confined_work(1000, 500000);
    struct stat status;
    _exit(!good ? 1 : fstat(2, &status) != 0 || status.st_size != 0 ? 2 : 0);
}

static void secure(void)
{
    printf("secure %lu\n", getauxval(AT_SECURE));
    expect(confined_work(50000, 500000) && confined_threads(2));
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "", *value = argc > 2 ? argv[2] : "";
    setvbuf(stdout, NULL, _IONBF, 0);
    if (strcmp(mode, "nproc") == 0)
        nproc();
    else if (strcmp(mode, "stack") == 0)
        stack();
    else if (strcmp(mode, "maps") == 0)
        maps();
    else if (strcmp(mode, "seccomp") == 0)
        seccomp(strcmp(value, "trap") == 0 ? SECCOMP_RET_TRAP : SECCOMP_RET_ERRNO | ENOSYS);
    else if (strcmp(mode, "alone") == 0)
        seccomp_alone();
    else if (strcmp(mode, "locked") == 0)
        locked(value);
    else if (strcmp(mode, "little") == 0)
        locked_little();
    else if (strcmp(mode, "chroot") == 0)
        in_a_root(value);
    else if (strcmp(mode, "noproc") == 0)
        noproc();
    else if (strcmp(mode, "closed") == 0)
        closed(value);
    else if (strcmp(mode, "secure") == 0)
        secure();
    else if (strcmp(mode, "rounds") == 0)
        rounds();
    else if (strcmp(mode, "work") == 0)
        expect(confined_work(100000, 500000) && confined_threads(4));
    else
        return 2;
    printf("done\n");
    return victim_verdict();
}
