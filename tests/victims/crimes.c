/*
 * One crime against the heap: crimes CRIME SIZE. Tells its block ("block ADDRESS"), commits it ("committed" behind it, if
 * it is still alive), frees what is left, allocates and frees so much that the block goes round, has everything given back
 * (malloc_trim), and ends with "done". What it saw that it should not have is told as "saw old data", or "saw zeroes".
 */
#include "../../include/tarn.h"
#include "victim.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST = 1000, PAGE = 4096, MARK = 0x5A };

static size_t size;
static char *block, *around[2 * MOST]; /* so many, that its neighbours are in use, wherever it lies */
static int most = MOST;
static bool is_gone; /* the crime freed it already */

__attribute__((noinline)) void *allocate(size_t n)
{
    void *volatile p = malloc(n); /* no tail call: reports shall name this function */
    return p;
}

__attribute__((noinline)) void release(void *p)
{
    free(p);
    __asm__ volatile("" ::: "memory");
}

static void say(const char *text)
{
    write(1, text, strlen(text));
}

static void saw(const char *p, size_t n)
{
    size_t zeroes = 0;
    for (size_t i = 0; i < n; i++)
        zeroes += p[i] == 0;
    if (zeroes < n / 2)
        say("saw old data\n");
    else
        say("saw zeroes\n");
}

/* ---- crimes ---- */

static void over(size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((volatile char *)block)[from + i] ^= MARK;
}

static void over_1(void)
{
    over(size, 1);
}

static void over_8(void)
{
    over(size, 8);
}

static void over_page(void)
{
    over(size, PAGE);
}

static void over_neighbour(void)
{
    over(size, malloc_usable_size(block) - size + 32);
}

static void under_1(void)
{
    over(-1, 1);
}

static void under_8(void)
{
    over(-8, 8);
}

static void under_page(void)
{
    over(-PAGE, PAGE);
}

static void gone(void)
{
    release(block);
    is_gone = true;
}

static void uaf_read(void)
{
    gone();
    saw(block + 16, 16);
}

static void uaf_write(void)
{
    gone();
    over(16, 1);
}

static void twice(void)
{
    gone();
    release(block);
}

static void twice_between(void)
{
    gone();
    for (int i = 0; i < 8; i++) {
        release(around[i]);
        around[i] = NULL;
    }
    release(block);
}

static void free_inside(void)
{
    release(block + 16);
}

static void free_misaligned(void)
{
    release(block + 3);
}

static void free_foreign(void)
{
    char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    release(p + (1 << 19) + 16);
}

static void free_stack(void)
{
    _Alignas(16) char here[64];
    release(here + 16);
}

static void free_unmapped(void)
{
    release((char *)0x123456780000);
}

static void free_small(void)
{
    release((char *)NULL + 8);
}

static void uninitialised(void)
{
    memset(block, MARK, size);
    gone();
    for (int i = 0; i < 20000 / (1 + (int)(size / 1000)); i++) {
        char *p = allocate(size);
        if (p == block || i == 0) {
            saw(p + 16, 16);
            return;
        }
    }
    say("saw zeroes\n");
}

void sized_delete(void)
{
    void (*unmake)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "_ZdlPvm");
    void *(*make)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znwm");
    unmake(make(size), size < 20000 ? 3 * size : 40);
    __asm__ volatile("" ::: "memory");
}

void realloc_freed(void)
{
    gone();
    void *p = realloc(block, 2 * size);
    memset(p != NULL ? p : around[0], 1, size);
}

#define NAMED(function) ((__typeof__(&function))dlsym(RTLD_DEFAULT, #function))

static void pool_mismatch(void)
{
    if (NAMED(tarn_pool_create) == NULL) {
        say("no pools\n");
        return;
    }
    struct tarn_pool *one = NAMED(tarn_pool_create)("one", size, 0, 0);
    struct tarn_pool *two = NAMED(tarn_pool_create)("two", size, 0, 0);
    NAMED(tarn_pool_free)(two, NAMED(tarn_pool_alloc)(one));
}

/* ---- afterwards ---- */

static void go_round(void)
{
    enum { MANY = 40000 };
    static char *p[MANY];
    size_t many = size < 1000 ? MANY : size < 100000 ? 4000 : 100;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < many; i++)
            p[i] = allocate(size);
        for (size_t i = 0; i < many; i++)
            release(p[i]);
    }
}

static const struct {
    const char *name;
    void (*commit)(void);
} crimes[] = {
    {"over-1", over_1},
    {"over-8", over_8},
    {"over-page", over_page},
    {"over-neighbour", over_neighbour},
    {"under-1", under_1},
    {"under-8", under_8},
    {"under-page", under_page},
    {"uaf-read", uaf_read},
    {"uaf-write", uaf_write},
    {"double-free", twice},
    {"double-free-between", twice_between},
    {"free-inside", free_inside},
    {"free-misaligned", free_misaligned},
    {"free-foreign", free_foreign},
    {"free-stack", free_stack},
    {"free-unmapped", free_unmapped},
    {"free-small", free_small},
    {"uninitialised", uninitialised},
    {"sized-delete", sized_delete},
    {"realloc-freed", realloc_freed},
    {"pool-mismatch", pool_mismatch},
};

static void commit(const char *name)
{
    for (size_t i = 0; i < sizeof crimes / sizeof crimes[0]; i++)
        if (strcmp(name, crimes[i].name) == 0)
            crimes[i].commit();
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        for (size_t i = 0; i < sizeof crimes / sizeof crimes[0]; i++)
            printf("%s\n", crimes[i].name);
        return 0;
    }
    size = (size_t)atol(argv[2]);
    most = size < 1000 ? MOST : size < 100000 ? 100 : 8;
    dlopen("libstdc++.so.6",
           RTLD_NOW | RTLD_GLOBAL); /* who has no operator delete of its own gets this one */
    for (int i = 0; i < most; i++)
        around[i] = allocate(size);
    block = allocate(size);
    for (int i = most; i < 2 * most; i++)
        around[i] = allocate(size);
    memset(block, MARK, size);
    char text[64];
    snprintf(text, sizeof text, "block %p\n", (void *)block);
    say(text);
    commit(argv[1]);
    say("committed\n");
    for (int i = 0; i < 2 * most; i++)
        release(around[i]);
    if (!is_gone)
        release(block);
    go_round();
    malloc_trim(0);
    say("done\n");
    _exit(0);
}
