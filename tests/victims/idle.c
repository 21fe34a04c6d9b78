/*
 * A program with one thread that frees a lot and then calls nothing: tarn's helper comes, gives the memory back, and goes.
 * What the waiting needs allocates nothing.
 */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BLOCK = 200,
    BLOCKS = 300000,
    LOADED = BLOCK * BLOCKS,
    LEFT = 12 * 1024 * 1024, /* each of 1200 blocks in quarantine keeps a page */
    WAIT = 200,
    STEP = 50000 /* us */
};

extern void tarn_gc(void) __attribute__((weak)); /* only tarn has it */

static void *block[BLOCKS];

/* The number behind `name` in /proc/thread-self/status. */
static size_t status(const char *name)
{
    char text[4096] = "";
    int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    const char *line = length > 0 ? strstr(text, name) : NULL;
    return line == NULL ? 0 : strtoul(line + strlen(name), NULL, 10);
}

static size_t resident(void)
{
    return status("VmRSS:") * 1024;
}

static size_t threads(void)
{
    return status("Threads:");
}

static void take_all(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        block[i] = memset(malloc(BLOCK), 1, BLOCK);
    expect(resident() > LOADED);
}

static void free_all(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        free(block[i]);
}

static bool becomes_small(void)
{
    for (int i = 0; i < WAIT && resident() > LEFT; i++)
        usleep(STEP);
    return resident() <= LEFT;
}

static bool becomes_alone(void)
{
    for (int i = 0; i < WAIT && threads() > 1; i++)
        usleep(STEP);
    return threads() == 1;
}

static void shuffle(void)
{
    uint64_t seed = 1;
    for (size_t i = BLOCKS - 1; i > 0; i--) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t other = (size_t)(seed >> 33) % (i + 1);
        void *p = block[i];
        block[i] = block[other];
        block[other] = p;
    }
}

static void give_back_twice(void)
{
    for (int round = 0; round < 2; round++) {
        take_all();
        if (round > 0)
            shuffle();
        expect(threads() == 1);
        errno = ERRNO_MARK;
        free_all();
        expect(errno == ERRNO_MARK);
        expect(becomes_small());
        expect(becomes_alone());
    }
}

/* The child has no helper at first, as it has no thread but its own; later it gets one of its own. */
static void fork_while_it_works(void)
{
    int ended;
    take_all();
    free_all();
    pid_t child = fork();
    if (child == 0) {
        expect(threads() == 1);
        take_all();
        usleep(1200000);
        free_all();
        expect(becomes_small());
        expect(becomes_alone());
        _exit(victim_verdict());
    }
    expect(becomes_small());
    expect(waitpid(child, &ended, 0) == child && ended == 0);
}

/* A child of vfork has its parent's memory: a thread made there would tend it, and die with the child. */
static void free_in_vfork(void)
{
    int ended;
    take_all();
    void *one = malloc(BLOCK * 4096);
    pid_t child = vfork();
    if (child == 0) {
        free_all();
        _exit(threads() == 1 ? 0 : 1);
    }
    expect(waitpid(child, &ended, 0) == child && ended == 0);
    expect(threads() == 1);
    sleep(2);
    free(one);
    expect(becomes_small());
}

static void free_at_exit(void)
{
    take_all();
    free_all();
}

static void exit_while_it_works(void)
{
    atexit(free_at_exit);
    take_all();
    free_all();
}

static void *end_last(void *unused)
{
    usleep(300000);
    exit_while_it_works();
    return unused;
}

/* The process ends with its own last thread. */
static void end_by_pthread_exit(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, end_last, NULL);
    pthread_detach(thread);
    printf("done\n");
    pthread_exit(NULL);
}

/* RLIMIT_NPROC refuses: without a word, and not for ever. It does not bind root, so another user is taken. */
static void be_refused(void)
{
    struct rlimit before, none;
    getrlimit(RLIMIT_NPROC, &before);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    if (getuid() == 0)
        expect(setresuid(54321, 54321, 54321) == 0);
    if (access("/proc/self/status", R_OK) != 0) {
        printf("another user can't look at /proc here\n");
        exit(77);
    }
    setrlimit(RLIMIT_NPROC, &none);
    take_all();
    errno = ERRNO_MARK;
    free_all();
    expect(errno == ERRNO_MARK);
    expect(threads() == 1);
    setrlimit(RLIMIT_NPROC, &before);
    take_all();
    sleep(2);
    free_all();
    expect(becomes_small());
}

static void keep_alone(void)
{
    take_all();
    free_all();
    expect(threads() == 1);
}

static int child_of(void (*run)(void))
{
    int ended;
    pid_t child = fork();
    if (child == 0)
        run();
    expect(waitpid(child, &ended, 0) == child);
    return ended;
}

static void unshare_at_once(void)
{
    _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : 77);
}

/* Then there is a helper again. */
static void unshare_beside_helper(void)
{
    usleep(1000000); /* a fork's child has none before */
    take_all();
    free_all();
    expect(tarn_gc == NULL || threads() == 2);
    errno = 0;
    expect(unshare(CLONE_NEWUSER) == 0 && errno == 0);
    expect(threads() == 1);
    usleep(100000);
    take_all();
    free_all();
    expect(becomes_small());
    _exit(victim_verdict());
}

/* A descriptor of the user namespace of a child that has its own. */
static int others_namespace(pid_t *other)
{
    int ready[2];
    char path[40], byte;
    expect(pipe(ready) == 0);
    *other = fork();
    if (*other == 0) {
        expect(unshare(CLONE_NEWUSER) == 0 && write(ready[1], "", 1) == 1);
        pause();
    }
    expect(read(ready[0], &byte, 1) == 1);
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)*other);
    return open(path, O_RDONLY);
}

static void setns_beside_helper(void)
{
    pid_t other;
    int namespace = others_namespace(&other);
    usleep(1000000);
    take_all();
    free_all();
    expect(tarn_gc == NULL || threads() == 2);
    errno = 0;
    expect(setns(namespace, CLONE_NEWUSER) == 0 && errno == 0);
    expect(threads() == 1);
    expect(kill(other, SIGKILL) == 0 && waitpid(other, NULL, 0) == other);
    _exit(victim_verdict());
}

/* The kernel grants it only to a program with one thread. */
static void unshare_while_it_works(void)
{
    if (child_of(unshare_at_once) != 0) {
        printf("no user namespaces here\n");
        exit(77);
    }
    for (int i = 0; i < 3; i++)
        expect(child_of(unshare_beside_helper) == 0);
    expect(child_of(setns_beside_helper) == 0);
}

static void collect(void)
{
    alarm(10);
    malloc_trim(0);
    take_all();
    free_all();
    _exit(0);
}

/* A fork without handlers, which a handler of a signal may call, in the middle of the helper's work. */
static void fork_without_handlers(void)
{
    for (int i = 0; i < 10; i++) {
        take_all();
        size_t before = resident();
        free_all();
        for (int turn = 0; turn < 20000 && resident() > before - (1 << 20); turn++)
            usleep(50);
        int ended;
        pid_t child = _Fork();
        if (child == 0)
            collect();
        expect(waitpid(child, &ended, 0) == child && ended == 0);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } way[] = {
        {"back", give_back_twice},     {"fork", fork_while_it_works},       {"vfork", free_in_vfork},
        {"exit", exit_while_it_works}, {"last", end_by_pthread_exit},       {"refused", be_refused},
        {"alone", keep_alone},         {"unshare", unshare_while_it_works}, {"_Fork", fork_without_handlers},
    };
    for (size_t i = 0; i < sizeof way / sizeof *way; i++)
        if (argc > 1 && strcmp(argv[1], way[i].name) == 0)
            way[i].run();
    if (victim_verdict() == 0)
        printf("done\n");
    return victim_verdict();
}
