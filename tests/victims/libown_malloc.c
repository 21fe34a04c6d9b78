/*
 * A malloc of one's own, as a library to preload or, in own_malloc.c, as a part of the program. It cuts blocks off one
 * piece of memory, each behind its size and a mark, and takes none back; a block without the mark is another's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HEADER = 16 };
static const size_t whole = (size_t)4 << 30, mark = 0x0e11a1100cull;

unsigned long own_served;

static void *cut(size_t align, size_t n)
{
    static char *start;
    static size_t used;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    void *p = NULL;
    pthread_mutex_lock(&lock);
    if (start == NULL)
        start = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t at = (used + HEADER + align - 1) / align * align;
    if (start != MAP_FAILED && n < whole && at < whole - n) {
        used = (at + n + 15) / 16 * 16;
        p = start + at;
        ((size_t *)p)[-1] = n;
        ((size_t *)p)[-2] = mark;
        own_served++;
    }
    pthread_mutex_unlock(&lock);
    if (p == NULL)
        errno = ENOMEM;
    return p;
}

static size_t size_of(void *p)
{
    if (((size_t *)p)[-2] != mark) {
        static const char why[] = "own_malloc: another's block\n";
        write(2, why, sizeof why - 1);
        _exit(9);
    }
    return ((size_t *)p)[-1];
}

void *malloc(size_t n)
{
    return cut(16, n);
}

void free(void *p)
{
    if (p != NULL)
        size_of(p);
}

void *calloc(size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return errno = ENOMEM, NULL;
    return cut(16, n); /* fresh from the kernel */
}

void *realloc(void *p, size_t n)
{
    void *q = cut(16, n);
    if (p != NULL && q != NULL)
        memcpy(q, p, size_of(p) < n ? size_of(p) : n);
    return q;
}

void *memalign(size_t align, size_t n)
{
    return cut(align < 16 ? 16 : align, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return memalign(align, n);
}

int posix_memalign(void **result, size_t align, size_t n)
{
    *result = memalign(align, n);
    return *result == NULL ? ENOMEM : 0;
}

void *valloc(size_t n)
{
    return memalign(4096, n);
}

void *pvalloc(size_t n)
{
    return memalign(4096, (n + 4095) / 4096 * 4096);
}

void *reallocarray(void *p, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return errno = ENOMEM, NULL;
    return realloc(p, n);
}

size_t malloc_usable_size(void *p)
{
    return p == NULL ? 0 : size_of(p);
}
