/* malloc(3), malloc_usable_size(3): malloc, calloc, realloc, reallocarray, free, and what libc hands out to be freed.
   family.c and errors.c go through sizes and refusals; here is what they leave out. */
#include "conform.h"

#include <dirent.h>
#include <limits.h>
#include <malloc.h>
#include <regex.h>
#include <search.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <wchar.h>

#define ALIGNED(p, align) ((uintptr_t)(p) % (align) == 0)

static uint32_t random_state = 1;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)random_state * below) >> 32);
}

/* Any size, small ones more often. */
static size_t draw_size(void)
{
    return draw(2u << draw(18));
}

static bool filled(const void *p, int byte, size_t n)
{
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i++)
        if (c[i] != (unsigned char)byte)
            return false;
    return true;
}

struct extent {
    char *start;
    size_t bytes;
};

static int by_address(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

static void blocks_do_not_overlap(void)
{
    enum { BLOCKS = 20000 };
    static struct extent block[BLOCKS];
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = round == 0 ? 0 : draw(2); i < BLOCKS; i += round == 0 ? 1 : 2) {
            free(block[i].start);
            size_t n = draw_size();
            block[i].start = draw(3) == 0   ? calloc(1, n)
                             : draw(3) == 0 ? memalign(16u << draw(8), n)
                                            : malloc(n);
            block[i].bytes = malloc_usable_size(block[i].start);
            expect(block[i].start != NULL && block[i].bytes >= n && ALIGNED(block[i].start, 16));
        }
        qsort(block, BLOCKS, sizeof block[0], by_address);
        for (unsigned i = 1; i < BLOCKS; i++)
            expect(block[i - 1].start + block[i - 1].bytes <= block[i].start);
    }
}

static void blocks_fit_any_type(void)
{
    for (size_t n = 0; n < 5000; n += n / 16 + 1)
        for (int i = 0; i < 20; i++)
            expect(ALIGNED(malloc(n), _Alignof(max_align_t)) &&
                   ALIGNED(calloc(1, n), _Alignof(max_align_t)) &&
                   ALIGNED(realloc(malloc(1), n + 1), _Alignof(max_align_t)));
}

static void all_that_is_usable_is_the_programs(void)
{
    enum { BLOCKS = 4000 };
    static void *p[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        p[i] = malloc(draw_size());
        memset(p[i], i, malloc_usable_size(p[i]));
    }
    for (int i = 0; i < BLOCKS; i++) {
        expect(filled(p[i], i, malloc_usable_size(p[i])));
        free(p[i]);
    }
}

static void calloc_is_zero_whatever_was_there(void)
{
    enum { BLOCKS = 500 };
    static void *p[BLOCKS];
    for (int round = 0; round < 30; round++)
        for (int i = 0; i < BLOCKS; i++) {
            free(p[i]);
            size_t n = draw(40) == 0 ? draw(3000000) : draw_size(), parts = draw(7) + 1;
            p[i] = draw(2) ? calloc(n / parts, parts) : calloc(parts, n / parts);
            expect(p[i] != NULL && filled(p[i], 0, n / parts * parts));
            memset(p[i], 0xc5, malloc_usable_size(p[i]));
        }
}

static void calloc_of_gigabytes_takes_no_memory(void)
{
    char *p = calloc(1 << 20, 4096);
    if (p == NULL)
        _exit(CONFORM_SKIPPED);
    for (size_t i = 0; i < (size_t)4 << 30; i += 64 << 20)
        expect(p[i] == 0);
    expect(victim_memory("VmRSS: %zu") < 64 << 20);
    memset(p, 1, 300 << 20);
    free(p);
    malloc_trim(0);
    expect(victim_memory("VmRSS: %zu") < 64 << 20);
}

static void products_just_below_and_above_overflow(void)
{
    for (unsigned shift = 1; shift < 64; shift++) {
        volatile size_t a = (size_t)1 << shift, b = (size_t)1 << (64 - shift); /* a * b is 2^64 */
        for (int more = 0; more < 3; more++) {
            errno = 0;
            expect(calloc(a, b + more) == NULL && errno == ENOMEM);
            errno = 0;
            expect(calloc(a, b - 1) == NULL && errno == ENOMEM); /* no wrap, but above PTRDIFF_MAX */
            errno = 0;
            expect(reallocarray(NULL, a, b + more) == NULL && errno == ENOMEM);
        }
    }
    free(calloc(SIZE_MAX, 0));
    free(calloc(0, SIZE_MAX));
    free(reallocarray(NULL, 0, SIZE_MAX));
}

static void the_limit_is_ptrdiff_max(void)
{
    volatile size_t most = PTRDIFF_MAX;
    void *(*calls[])(size_t) = {malloc, valloc, pvalloc};
    for (size_t i = 0; i < 3; i++)
        for (size_t n = 0; n < 3; n++) {
            errno = 0;
            expect(calls[i](most + n) == NULL && errno == ENOMEM);
        }
}

static void realloc_grows_and_shrinks_byte_by_byte(void)
{
    unsigned char *p = NULL;
    for (size_t n = 1; n < 40000; n += n / 300 + 1) {
        p = realloc(p, n);
        expect(p != NULL && ALIGNED(p, 16) && malloc_usable_size(p) >= n && filled(p, 'r', n - 1 - n / 301));
        memset(p, 'r', n);
    }
    for (size_t n = 40000; n-- > 1;) {
        p = realloc(p, n);
        expect(p != NULL && malloc_usable_size(p) >= n && p[0] == 'r' && p[n < 39000 ? n - 1 : 0] == 'r');
    }
    expect(realloc(p, 0) == NULL);
}

static void realloc_walks_at_random(void)
{
    enum { BLOCKS = 200 };
    static unsigned char *p[BLOCKS];
    static size_t size[BLOCKS];
    for (int i = 0; i < 60000; i++) {
        unsigned b = draw(BLOCKS);
        size_t n = draw(500) == 0 ? draw(5000000) : draw_size() + 1, kept = size[b] < n ? size[b] : n;
        unsigned char *q = realloc(p[b], n + 1);
        expect(q != NULL && ALIGNED(q, 16) && filled(q, (int)b, kept));
        memset(q, (int)b, n);
        p[b] = q;
        size[b] = n;
    }
}

static void realloc_takes_aligned_blocks(void)
{
    for (size_t align = 16; align <= 1 << 20; align *= 4)
        for (size_t n = 1; n < 1 << 21; n *= 5) {
            char *p = memalign(align, n);
            memset(p, 'a', n);
            p = realloc(p, n * 3);
            expect(p != NULL && filled(p, 'a', n));
            p = realloc(p, n / 2 + 1);
            expect(p != NULL && filled(p, 'a', n / 2 + 1));
            free(p);
        }
}

static void realloc_of_nothing_to_nothing_is_a_block(void)
{
    void *p = realloc(NULL, 0), *q = reallocarray(NULL, 0, 0);
    expect(p != NULL && q != NULL && p != q);
    free(p);
    free(q);
}

static void realloc_to_nothing_says_null_without_errno(void)
{
    errno = ERRNO_MARK;
    expect(realloc(malloc(100), 0) == NULL && errno == ERRNO_MARK);
    expect(realloc(malloc(1 << 20), 0) == NULL && errno == ERRNO_MARK);
    expect(reallocarray(malloc(100), 0, SIZE_MAX) == NULL && errno == ERRNO_MARK);
}

static void free_keeps_errno_of_unmapped_blocks(void)
{
    static void *p[300];
    for (size_t n = 64 << 10; n <= 64 << 20; n *= 4) {
        int count = n > 1 << 20 ? 10 : 300;
        for (int i = 0; i < count; i++)
            memset(p[i] = malloc(n), 1, 100);
        for (int i = 0; i < count; i++) {
            errno = ERRNO_MARK;
            free(p[i]);
            expect(errno == ERRNO_MARK);
        }
    }
}

/* Other functions' memory is mapped around ours: they must not be harmed by what we give back. */
static void the_programs_own_mappings_are_left_alone(void)
{
    enum { MAPS = 200, BYTES = 100000 };
    static char *map[MAPS], *block[MAPS];
    for (int i = 0; i < MAPS; i++) {
        map[i] = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(map[i], i, BYTES);
        block[i] = malloc(BYTES * 3);
        memset(block[i], ~i, BYTES * 3);
    }
    void *top = sbrk(4096); /* nor is the break ours alone */
    memset(top, 'b', 4096);
    for (int i = 0; i < MAPS; i++)
        free(block[i]);
    malloc_trim(0);
    for (int i = 0; i < MAPS; i++)
        expect(filled(map[i], i, BYTES) && munmap(map[i], BYTES) == 0);
    expect(filled(top, 'b', 4096));
}

static void libc_hands_out_blocks_to_free(void)
{
    char *line = NULL, *text = NULL, *stream_text = NULL, *path = realpath("/proc/self/exe", NULL);
    size_t room = 0, stream_size = 0;
    FILE *stream = open_memstream(&stream_text, &stream_size);
    for (int i = 0; i < 20000; i++)
        fprintf(stream, "line %d\n", i);
    fclose(stream);
    stream = fmemopen(stream_text, stream_size, "r");
    int lines = 0;
    while (getline(&line, &room, stream) > 0)
        lines++;
    fclose(stream);
    expect(lines == 20000 && stream_size > 200000);
    expect(asprintf(&text, "%*d", 100000, 7) == 100000 && text[99999] == '7');
    char *copy = strdup(text), *short_copy = strndup(text, 10), *here = getcwd(NULL, 0);
    wchar_t *wide = wcsdup(L"wide");
    expect(strcmp(copy, text) == 0 && strlen(short_copy) == 10 && here != NULL && wcslen(wide) == 4);
    struct dirent **names;
    int count = scandir("/", &names, NULL, alphasort);
    expect(count > 2);
    while (count-- > 0)
        free(names[count]);
    void *all[] = {names, line, text, stream_text, path, copy, short_copy, here, wide};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int by_value(const void *a, const void *b)
{
    const unsigned *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void libc_frees_what_it_took_itself(void)
{
    regex_t pattern;
    regmatch_t match;
    void *tree = NULL;
    for (int i = 0; i < 200; i++) {
        expect(regcomp(&pattern, "(a|b)*c{2,40}[^d]+$", REG_EXTENDED) == 0);
        expect(regexec(&pattern, "abababccccx", 1, &match, 0) == 0);
        regfree(&pattern);
        char *key = NULL, name[32];
        expect(asprintf(&key, "key%d", i) > 0);
        expect(tsearch(key, &tree, by_text) != NULL);
        snprintf(name, sizeof name, "CONFORM_%d", i);
        expect(setenv(name, "value", 1) == 0);
    }
    tdestroy(tree, free);
    expect(strcmp(getenv("CONFORM_199"), "value") == 0 && clearenv() == 0);
    static unsigned numbers[300000]; /* beyond what qsort sorts on the stack */
    for (size_t i = 0; i < 300000; i++)
        numbers[i] = draw(1000);
    qsort(numbers, 300000, sizeof numbers[0], by_value);
    for (size_t i = 1; i < 300000; i++)
        expect(numbers[i - 1] <= numbers[i]);
}

static const struct conform_case cases[] = {
    {blocks_do_not_overlap, "blocks do not overlap, however they were made"},
    {blocks_fit_any_type, "a block is aligned for any built-in type"},
    {all_that_is_usable_is_the_programs, "malloc_usable_size: all of it may be written"},
    {calloc_is_zero_whatever_was_there, "calloc: zero, also where blocks were used before"},
    {calloc_of_gigabytes_takes_no_memory, "calloc: gigabytes of zeroes take no memory until touched"},
    {products_just_below_and_above_overflow,
     "calloc, reallocarray: products that overflow, and all but do, are refused"},
    {the_limit_is_ptrdiff_max, "nothing above PTRDIFF_MAX"},
    {realloc_grows_and_shrinks_byte_by_byte, "realloc: a little at a time keeps the content"},
    {realloc_walks_at_random, "realloc: from any size to any other"},
    {realloc_takes_aligned_blocks, "realloc: takes memalign's blocks"},
    {realloc_of_nothing_to_nothing_is_a_block, "realloc(NULL, 0) is malloc(0)"},
    {realloc_to_nothing_says_null_without_errno, "realloc(p, 0) frees: NULL, and errno as before"},
    {free_keeps_errno_of_unmapped_blocks, "free: errno as before, also where memory goes back to the kernel"},
    {the_programs_own_mappings_are_left_alone, "the program's mappings and its break are its own"},
    {libc_hands_out_blocks_to_free, "free: takes what libc hands out"},
    {libc_frees_what_it_took_itself, "libc's own pairs of malloc and free"},
};
CONFORM_MAIN(cases)
