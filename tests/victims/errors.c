/* What the malloc family owes when it refuses, and that errno is the program's otherwise; as glibc's. */
#include "victim.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static bool under_tarn;

/* `call` gives NULL and ENOMEM. */
#define refused(call) (errno = ERRNO_MARK, expect((call) == NULL), expect(errno == ENOMEM))

/* `call` leaves errno alone, whatever it does to memory. */
#define quiet(call) (errno = ERRNO_MARK, (call), expect(errno == ERRNO_MARK))

static const size_t too_much[] = {
    SIZE_MAX,         SIZE_MAX - 1,   SIZE_MAX - 15,    SIZE_MAX - 16, SIZE_MAX - 4095,
    SIZE_MAX - 65536, SIZE_MAX / 2,   SIZE_MAX / 2 + 1, PTRDIFF_MAX,   (size_t)PTRDIFF_MAX + 1,
    PTRDIFF_MAX - 15, (size_t)1 << 62};

static void too_much_is_refused(void)
{
    for (size_t i = 0; i < sizeof too_much / sizeof too_much[0]; i++) {
        size_t n = too_much[i];
        refused(malloc(n));
        refused(calloc(1, n));
        refused(calloc(n, 1));
        refused(realloc(NULL, n));
        refused(reallocarray(NULL, 1, n));
        refused(memalign(64, n));
        refused(memalign((size_t)1 << 30, n));
        refused(aligned_alloc(4096, n));
        refused(valloc(n));
        refused(pvalloc(n));
        void *p = (void *)(uintptr_t)0x1234;
        errno = ERRNO_MARK;
        expect(posix_memalign(&p, 64, n) == ENOMEM);
        expect(p == (void *)(uintptr_t)0x1234);
        expect(errno == ERRNO_MARK || !under_tarn); /* POSIX leaves it open, and glibc sets it */
    }
}

static void products_that_overflow_are_refused(void)
{
    volatile size_t most = SIZE_MAX, root = (size_t)1 << 32; /* volatile: gcc would warn */
    refused(calloc(most / 2, 3));
    refused(calloc(most, most));
    refused(calloc(root, root)); /* 0 if it wrapped */
    refused(reallocarray(NULL, root, root));
    refused(reallocarray(NULL, root + 1, root));
}

static void a_refused_realloc_leaves_the_block(void)
{
    static const size_t sizes[] = {1, 100, 5000, 40000, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *volatile p = malloc(sizes[i]); /* volatile: gcc thinks that a refused realloc frees */
        memset(p, 'x', sizes[i]);
        for (size_t j = 0; j < sizeof too_much / sizeof too_much[0]; j++)
            refused(realloc(p, too_much[j]));
        volatile size_t most = SIZE_MAX;
        refused(reallocarray(p, most, 3));
        expect(p[0] == 'x' && p[sizes[i] - 1] == 'x');
        free(p);
    }
}

static void bad_alignments(void)
{
    static const size_t bad[] = {0, 1, 2, 3, 4, 7, 9, 12, 24, 48, 100, SIZE_MAX, SIZE_MAX / 2 + 2};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        void *p = (void *)(uintptr_t)0x1234;
        errno = ERRNO_MARK;
        expect(posix_memalign(&p, bad[i], 100) == EINVAL);
        expect(p == (void *)(uintptr_t)0x1234 && errno == ERRNO_MARK);
    }
    volatile size_t huge = SIZE_MAX / 2 + 1; /* volatile: clang 14 falls over such an alignment */
    errno = ERRNO_MARK;
    expect(memalign(huge + 1, 100) == NULL && errno == EINVAL);
    refused(memalign(huge, 100));
    refused(aligned_alloc(huge / 2, 100));
}

/* Long enough for every slow path: magazines filled and flushed, slabs claimed and given back. */
static void success_and_free_keep_errno(void)
{
    enum { BLOCKS = 3000 };
    static void *p[BLOCKS];
    static const size_t sizes[] = {0, 16, 700, 9000, 30000, 300000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t n = sizes[s], blocks = n > 5000 ? 300 : BLOCKS;
        for (size_t i = 0; i < blocks; i++)
            switch (i % 5) {
            case 0:
                quiet(p[i] = calloc(n, 1));
                break;
            case 1:
                quiet(p[i] = realloc(malloc(8), n + 1));
                break;
            case 2:
                quiet(p[i] = memalign(64, n));
                break;
            case 3:
                quiet(posix_memalign(&p[i], 32, n));
                break;
            default:
                quiet(p[i] = malloc(n));
            }
        for (size_t i = 0; i < blocks; i++)
            quiet(free(p[i]));
    }
    quiet(free(NULL));
    quiet(expect(realloc(malloc(10), 0) == NULL));
    quiet(free(valloc(1)));
    quiet(free(pvalloc(1)));
    quiet(malloc_usable_size(NULL));
    quiet(malloc_trim(0));
}

/* The kernel does not give locked pages back (madvise: EINVAL): what it said must not come through. */
static void a_refusing_kernel_is_kept_quiet(void)
{
    enum { BLOCKS = 2000 };
    static void *p[BLOCKS];
    if (!victim_lock_all(MCL_CURRENT | MCL_FUTURE)) {
        printf("mlockall: %s\n", strerror(errno));
        exit(77);
    }
    for (size_t n = 20000; n <= 80000; n += 30000) {
        for (int i = 0; i < BLOCKS; i++)
            quiet(p[i] = malloc(n));
        for (int i = 0; i < BLOCKS; i++)
            quiet(free(p[i]));
    }
    quiet(malloc_trim(0));
}

int main(int argc, char **argv)
{
    under_tarn = argc > 1 && strcmp(argv[1], "tarn") == 0;
    if (argc > 1 && strcmp(argv[1], "locked") == 0) {
        a_refusing_kernel_is_kept_quiet();
        return victim_verdict();
    }
    too_much_is_refused();
    products_that_overflow_are_refused();
    a_refused_realloc_leaves_the_block();
    bad_alignments();
    success_and_free_keep_errno();
    return victim_verdict();
}
