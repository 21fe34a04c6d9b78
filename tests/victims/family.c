/* What the malloc family owes when all goes well; the same with glibc's malloc and with tarn. */
#include "victim.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void __libc_free(void *p);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void *__libc_valloc(size_t n);
void *__libc_pvalloc(size_t n);

#define ALIGNED(p, align) ((uintptr_t)(p) % (align) == 0)

/* Around each edge that a class, a slab or the large limit may have. */
static const size_t edges[] = {0,     1,     7,     8,      9,      15,     16,    17,    24,
                               64,    100,   127,   128,    129,    1000,   1024,  1025,  4095,
                               4096,  4097,  8192,  16384,  20000,  32767,  32768, 32769, 40000,
                               65535, 65536, 65537, 100000, 131072, 1 << 20};
#define EDGES (sizeof edges / sizeof edges[0])

static void filled(void *p, int byte, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((unsigned char *)p)[i] != byte) {
            fprintf(stderr, "byte %zu of %zu is %#x, not %#x\n", i, n, ((unsigned char *)p)[i], byte);
            expect(!"the block holds what was written");
            return;
        }
}

static void every_size_is_aligned_usable_and_apart(void)
{
    void *p[EDGES];
    for (size_t i = 0; i < EDGES; i++) {
        p[i] = malloc(edges[i]);
        size_t usable = malloc_usable_size(p[i]);
        expect(p[i] != NULL && ALIGNED(p[i], 16));
        expect(usable >= edges[i]);
        memset(p[i], (int)i + 1, usable);
        expect(malloc_usable_size(p[i]) == usable);
    }
    for (size_t i = 0; i < EDGES; i++)
        filled(p[i], (int)i + 1, malloc_usable_size(p[i]));
    for (size_t i = 0; i < EDGES; i++)
        free(p[i]);
    expect(malloc_usable_size(NULL) == 0);
}

static void nothing_is_unique_and_freeable(void)
{
    void *p[100];
    for (int i = 0; i < 100; i++) {
        p[i] = i % 2 ? malloc(0) : calloc(i % 3, 0);
        expect(p[i] != NULL);
        for (int j = 0; j < i; j++)
            expect(p[i] != p[j]);
    }
    for (int i = 0; i < 100; i++)
        free(p[i]);
    free(NULL);
}

static void calloc_zeroes_what_was_used(void)
{
    for (size_t i = 0; i < EDGES; i++)
        for (int round = 0; round < 3; round++) {
            void *p = calloc(edges[i], 1);
            expect(p != NULL && ALIGNED(p, 16));
            filled(p, 0, edges[i]);
            memset(p, 0xa5, malloc_usable_size(p));
            free(p);
        }
}

static void realloc_keeps_the_content(void)
{
    for (size_t i = 0; i < EDGES; i++)
        for (size_t j = 0; j < EDGES; j++) {
            size_t kept = edges[i] < edges[j] ? edges[i] : edges[j];
            if (edges[j] == 0)
                continue;
            void *p = malloc(edges[i]);
            memset(p, 0x5a, edges[i]);
            void *q = (i + j) % 2 ? realloc(p, edges[j]) : reallocarray(p, 1, edges[j]);
            expect(q != NULL && ALIGNED(q, 16));
            filled(q, 0x5a, kept);
            memset(q, 1, malloc_usable_size(q));
            free(q);
        }
    void *p = realloc(NULL, 100), *q = reallocarray(NULL, 10, 10);
    expect(p != NULL && q != NULL && p != q);
    free(p);
    free(q);
}

static void realloc_to_nothing_frees(void)
{
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 20000; i++) {
        expect(realloc(malloc(1000), 0) == NULL);
        expect(reallocarray(malloc(1000), 0, 7) == NULL);
    }
    expect(mallinfo2().uordblks < before + 1000000);
}

static void every_alignment_at_any_size(void)
{
    for (size_t align = 1; align <= (size_t)64 << 20; align *= 2)
        for (size_t i = 0; i < EDGES; i++) {
            void *p = NULL;
            if (align >= sizeof(void *))
                expect(posix_memalign(&p, align, edges[i]) == 0 && p != NULL && ALIGNED(p, align));
            void *q = memalign(align, edges[i]), *r = aligned_alloc(align, edges[i]);
            expect(q != NULL && ALIGNED(q, align) && ALIGNED(q, 16));
            expect(r != NULL && ALIGNED(r, align) && ALIGNED(r, 16) && r != q);
            if (align <= 4096 && q != NULL && r != NULL) {
                memset(q, 1, malloc_usable_size(q));
                memset(r, 2, malloc_usable_size(r));
                filled(q, 1, edges[i]);
                q = realloc(q, edges[i] + 1000);
                filled(q, 1, edges[i]);
            }
            free(p);
            free(q);
            free(r);
        }
}

static void odd_alignments_are_rounded_up(void)
{
    static const struct {
        size_t align, means;
    } odd[] = {{0, 16}, {1, 16}, {3, 16}, {33, 64}, {48, 64}, {3000, 4096}, {70000, 131072}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        void *p = memalign(odd[i].align, 10), *q = aligned_alloc(odd[i].align, 10);
        expect(p != NULL && ALIGNED(p, odd[i].means));
        expect(q != NULL && ALIGNED(q, odd[i].means));
        free(p);
        free(q);
    }
}

static void pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < EDGES; i++) {
        void *p = valloc(edges[i]), *q = pvalloc(edges[i]);
        expect(p != NULL && ALIGNED(p, page) && malloc_usable_size(p) >= edges[i]);
        expect(q != NULL && ALIGNED(q, page));
        expect(malloc_usable_size(q) >= (edges[i] + page - 1) / page * page);
        free(p);
        free(q);
    }
}

static void second_names_are_the_same_heap(void)
{
    void *p[] = {__libc_malloc(50), __libc_calloc(5, 10), __libc_memalign(256, 50),
                 __libc_valloc(50), __libc_pvalloc(50),   __libc_realloc(NULL, 50)};
    for (size_t i = 0; i < sizeof p / sizeof p[0]; i++) {
        expect(p[i] != NULL && malloc_usable_size(p[i]) >= 50);
        free(p[i]);
    }
    __libc_free(malloc(50));
    __libc_free(malloc(1 << 20));
}

int main(void)
{
    every_size_is_aligned_usable_and_apart();
    nothing_is_unique_and_freeable();
    calloc_zeroes_what_was_used();
    realloc_keeps_the_content();
    realloc_to_nothing_frees();
    every_alignment_at_any_size();
    odd_alignments_are_rounded_up();
    pages();
    second_names_are_the_same_heap();
    return victim_verdict();
}
