/* Pointers that are no block of tarn's, one way of misuse a run; prints "done" if it lived. */
#include "victim.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static char fixed[64];

/* A block of glibc's own malloc, as made before tarn was there, or by a library that binds to it. */
static void *of_glibc(size_t n)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *(*theirs)(size_t);
    *(void **)&theirs = dlsym(libc, "malloc");
    return theirs(n);
}

static void *foreign(const char *kind, char *stack)
{
    if (strcmp(kind, "stack") == 0)
        return stack + 16;
    if (strcmp(kind, "static") == 0)
        return fixed + 16;
    if (strcmp(kind, "glibc") == 0)
        return of_glibc(100);
    if (strcmp(kind, "mapped") == 0)
        return mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (strcmp(kind, "small-integer") == 0)
        return (void *)(uintptr_t)8;
    if (strcmp(kind, "top") == 0)
        return (void *)(UINTPTR_MAX - 15);
    if (strcmp(kind, "inside-large") == 0)
        return (char *)malloc(4 << 20) + (1 << 20);
    fprintf(stderr, "foreign: unknown kind %s\n", kind);
    exit(2);
}

int main(int argc, char **argv)
{
    char stack[64] = "untouched";
    if (argc < 3)
        return 2;
    void *volatile p = foreign(argv[2], stack);
    for (int round = 0; round < 3; round++) {
        errno = ERRNO_MARK;
        if (strcmp(argv[1], "free") == 0)
            free(p);
        else if (strcmp(argv[1], "realloc") == 0)
            expect(realloc(p, 100) == NULL);
        else if (strcmp(argv[1], "usable") == 0)
            expect(malloc_usable_size(p) == 0);
        else if (strcmp(argv[1], "both") == 0)
            free(round % 2 ? p : (void *)(stack + 32));
        if (strcmp(argv[1], "realloc") != 0)
            expect(errno == ERRNO_MARK);
    }
    expect(strcmp(stack, "untouched") == 0);
    char *q = malloc(100); /* the heap goes on */
    expect(q != NULL);
    memset(q, 1, 100);
    free(q);
    puts("done");
    return victim_verdict();
}
