/*
 * Crimes around one block, for uaf.sh: uaf CRIME [SIZE [POINTS]]. Prints the block's address first; a program that
 * lives through its crime prints "done".
 */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static size_t size = 100;
static long offset;
static volatile char sink;

/* Who allocates, and who frees: the report names them. */
__attribute__((noinline)) void *maker(size_t n)
{
    char *p = malloc(n);
    p[0] = 1;
    return p;
}

__attribute__((noinline)) void killer(char *p)
{
    free(p);
    sink = 1; /* no tail call: then the caller would be main */
}

static char *make(void)
{
    char *p = maker(size);
    printf("%p\n", (void *)p);
    fflush(stdout);
    memset(p, 1, size);
    return p;
}

static void read_freed(void)
{
    char *p = make();
    killer(p);
    sink = p[offset];
}

static void write_freed(void)
{
    char *p = make();
    killer(p);
    p[offset] = 1;
}

/* The block's memory must not serve another before many were freed. */
static void read_freed_late(void)
{
    char *p = make();
    killer(p);
    for (int i = 0; i < 2000; i++)
        free(malloc(size));
    sink = p[offset];
}

static void read_beyond(void)
{
    char *p = make();
    sink = p[offset];
    killer(p);
}

static void write_beyond(void)
{
    char *p = make();
    p[offset] = 2;
    killer(p);
}

static void free_twice(void)
{
    char *p = make();
    killer(p);
    killer(p);
}

static void free_inside(void)
{
    char *p = make();
    killer(p + offset);
    killer(p);
}

static void realloc_freed(void)
{
    char *p = make();
    killer(p);
    expect(realloc(p, 2 * size) == NULL);
}

/* ---- what is no crime of a block's, and must be as it is without tarn */

static void innocent(void)
{
    char *p = make();
    p = realloc(p, 3 * size);
    expect(p[size - 1] == 1);
    memset(p, 1, 3 * size);
    free(p);
    p = calloc(1, size);
    expect(p[0] == 0 && p[size - 1] == 0);
    free(p);
    expect(posix_memalign((void **)&p, 4096, size) == 0 && (size_t)p % 4096 == 0);
    memset(p, 1, size);
    free(p);
}

static void null_pointer(void)
{
    *(volatile char *)(size_t)offset = 1;
}

static void sent(void)
{
    kill(getpid(), SIGSEGV);
    pause();
}

static int overflow_stack(int depth)
{
    volatile char frame[4096];
    memset((void *)frame, depth, sizeof frame);
    return overflow_stack(depth + 1) + frame[5];
}

static void stack_overflow(void)
{
    struct rlimit limit = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_STACK, &limit);
    overflow_stack(0);
}

static void *stack_overflow_in_thread(void *unused)
{
    static char other[65536];
    sigaltstack(&(stack_t){.ss_sp = other, .ss_size = sizeof other}, NULL);
    overflow_stack(0);
    return unused;
}

static void stack_overflow_altstack(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, stack_overflow_in_thread, NULL);
    pthread_join(thread, NULL);
}

static void own_answer(int signal_number)
{
    (void)signal_number;
    _exit(42);
}

static void own_handler(void)
{
    signal(SIGSEGV, own_answer);
    read_freed();
}

/* Many more blocks live than the kernel has mappings for: what can't be guarded is served all the same. */
static void many(void)
{
    enum { MANY = 100000 };
    static char *p[MANY];
    for (int i = 0; i < MANY; i++) {
        expect((p[i] = malloc(size)) != NULL);
        memset(p[i], i, size);
    }
    pthread_t thread;
    expect(pthread_create(&thread, NULL, memset, NULL) == 0 && pthread_join(thread, NULL) == 0);
    for (int i = 0; i < MANY; i++) {
        expect(p[i][size - 1] == (char)i);
        free(p[i]);
    }
}

static void churn(void)
{
    for (int i = 0; i < 10000; i++) {
        char *p = malloc(size);
        expect(p != NULL);
        free(p);
    }
    char *p = malloc(8 << 20);
    expect(p != NULL);
    free(p);
}

static const struct {
    const char *name;
    void (*commit)(void);
} crimes[] = {
    {"read-freed", read_freed},
    {"write-freed", write_freed},
    {"read-freed-late", read_freed_late},
    {"read-beyond", read_beyond},
    {"write-beyond", write_beyond},
    {"free-twice", free_twice},
    {"free-inside", free_inside},
    {"realloc-freed", realloc_freed},
    {"innocent", innocent},
    {"null-pointer", null_pointer},
    {"sent", sent},
    {"stack-overflow", stack_overflow},
    {"stack-overflow-altstack", stack_overflow_altstack},
    {"own-handler", own_handler},
    {"many", many},
    {"churn", churn},
};

int main(int argc, char **argv)
{
    size = argc > 2 ? strtoul(argv[2], NULL, 0) : size;
    offset = argc > 3 ? atol(argv[3]) : 0;
    for (size_t i = 0; i < sizeof crimes / sizeof crimes[0]; i++)
        if (argc > 1 && strcmp(argv[1], crimes[i].name) == 0) {
            crimes[i].commit();
            puts("done");
            return victim_verdict();
        }
    return 2;
}
