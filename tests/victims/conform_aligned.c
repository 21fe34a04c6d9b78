/* posix_memalign(3), malloc_trim(3), mallopt(3), mallinfo(3), malloc_info(3), malloc_stats(3). family.c, errors.c and
   info.c go through alignments, refusals and what tarn alone promises; here is what they leave out. */
#include "conform.h"

#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ALIGNED(p, align) ((uintptr_t)(p) % (align) == 0)

static void *untouched(void)
{
    return (void *)(uintptr_t)0x1234;
}

/* ---- aligned blocks ---------------------------------------------------------------------------------- */

static void a_refused_posix_memalign_keeps_the_pointer(void)
{
    static const size_t crooked[] = {0, 1, 2, 4, 7, 12, 24, 40, 48, 4095, 4097, SIZE_MAX};
    for (size_t i = 0; i < sizeof crooked / sizeof crooked[0]; i++) {
        void *p = untouched();
        expect(posix_memalign(&p, crooked[i], 100) == EINVAL && p == untouched());
        expect(posix_memalign(&p, crooked[i], 0) == EINVAL && p == untouched());
    }
    for (size_t align = 8; align != 0; align *= 2) {
        volatile size_t most = SIZE_MAX;
        void *p = untouched();
        expect(posix_memalign(&p, align, most) == ENOMEM && p == untouched());
        expect(posix_memalign(&p, align, most - align) == ENOMEM && p == untouched());
        expect(posix_memalign(&p, align, most / 2 + 1) == ENOMEM && p == untouched());
    }
}

static void alignments_that_nobody_can_have_are_refused(void)
{
    for (size_t align = (size_t)1 << 48; align <= SIZE_MAX / 4; align *= 2) {
        void *p = untouched();
        errno = 0;
        expect(memalign(align, 1) == NULL && errno == ENOMEM);
        expect(posix_memalign(&p, align, 1) == ENOMEM && p == untouched());
    }
    free(malloc(1));
}

static void nothing_aligned_is_a_block(void)
{
    for (size_t align = 8; align <= 1 << 20; align *= 2) {
        void *p = NULL, *q = NULL, *r = memalign(align, 0);
        expect(posix_memalign(&p, align, 0) == 0 && posix_memalign(&q, align, 0) == 0);
        expect(p != NULL && q != NULL && r != NULL && p != q && q != r);
        expect(ALIGNED(p, align) && ALIGNED(q, align) && ALIGNED(r, align));
        free(p);
        free(q);
        free(r);
    }
    void *page = valloc(0), *pages = pvalloc(0);
    expect(page != NULL && pages != NULL && page != pages && ALIGNED(page, 4096) && ALIGNED(pages, 4096));
    free(page);
    free(pages);
}

static void gigabyte_alignments(void)
{
    size_t most = getenv("TARN_DEBUG") == NULL ? 1 << 30 : 1 << 24; /* poison touches all of a block */
    for (size_t align = 1 << 22; align <= most; align *= 2) {
        char *p = memalign(align, 100), *q = aligned_alloc(align, align);
        expect(p != NULL && q != NULL && ALIGNED(p, align) && ALIGNED(q, align));
        if (p == NULL || q == NULL)
            return;
        memset(p, 1, 100);
        q[0] = q[align - 1] = 1;
        expect(p[99] == 1 && malloc_usable_size(q) >= align);
        free(p);
        free(q);
    }
    expect(victim_memory("VmRSS: %zu") < 64 << 20);
}

static void aligned_blocks_go_and_come(void)
{
    enum { BLOCKS = 3000 };
    static unsigned char *p[BLOCKS];
    static size_t size[BLOCKS];
    unsigned seed = 1;
    for (int i = 0; i < 60000; i++) {
        unsigned b = (unsigned)rand_r(&seed) % BLOCKS;
        for (size_t k = 0; k < size[b]; k += 97)
            expect(p[b][k] == (unsigned char)b);
        free(p[b]);
        size_t align = (size_t)8 << rand_r(&seed) % 10;
        size[b] = (unsigned)rand_r(&seed) % (rand_r(&seed) % 20 ? 600 : 60000);
        void *fresh = NULL;
        expect(posix_memalign(&fresh, align, size[b]) == 0 && ALIGNED(fresh, align));
        expect(malloc_usable_size(fresh) >= size[b]);
        p[b] = memset(fresh, (int)b, size[b]);
    }
}

static void pvalloc_rounds_up_to_pages(void)
{
    for (size_t n = 1; n < 100000; n += 1021) {
        char *p = pvalloc(n);
        expect(p != NULL && ALIGNED(p, 4096));
        memset(p, 'p', (n + 4095) / 4096 * 4096);
        expect(mprotect(p, (n + 4095) / 4096 * 4096, PROT_READ) == 0); /* what valloc is for */
        expect(p[n - 1] == 'p');
        expect(mprotect(p, (n + 4095) / 4096 * 4096, PROT_READ | PROT_WRITE) == 0);
        free(p);
    }
}

/* ---- what the heap says of itself -------------------------------------------------------------------- */

static void trim_says_whether_memory_went(void)
{
    static void *p[20000];
    for (int i = 0; i < 20000; i++)
        memset(p[i] = malloc(3000), 1, 3000);
    size_t full = victim_memory("VmRSS: %zu");
    for (int i = 0; i < 20000; i++)
        free(p[i]);
    malloc_trim(0);
    expect(victim_memory("VmRSS: %zu") < full - (40 << 20));
}

static void trim_harms_no_block(void)
{
    enum { BLOCKS = 20000 };
    static unsigned char *p[BLOCKS];
    for (int round = 0; round < 5; round++) {
        for (int i = round % 2; i < BLOCKS; i += 1 + round % 3) {
            free(p[i]);
            p[i] = memset(malloc(1 + i % 5000), i, 1 + i % 5000);
        }
        errno = ERRNO_MARK;
        int said = malloc_trim(round * 100000);
        expect((said == 0 || said == 1) && errno == ERRNO_MARK);
        for (int i = 0; i < BLOCKS; i++)
            expect(p[i] == NULL || (p[i][0] == (unsigned char)i && p[i][i % 5000] == (unsigned char)i));
    }
}

static void mallinfo2_adds_up(void)
{
    struct mallinfo2 before = mallinfo2();
    void *small = malloc(10000), *large = malloc(100 << 20);
    struct mallinfo2 with = mallinfo2();
    expect(with.uordblks + with.hblkhd >= before.uordblks + before.hblkhd + (100 << 20) + 10000);
    expect(with.hblks == before.hblks + 1 && with.hblkhd >= before.hblkhd + (100 << 20));
    expect(with.uordblks + with.fordblks == with.arena);
    expect(with.usmblks == 0 && with.keepcost <= with.fordblks);
    free(large);
    free(small);
    expect(mallinfo2().hblkhd == before.hblkhd);
}

static void mallinfo_is_mallinfo2_cut_to_int(void)
{
    malloc(5000);
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo narrow = mallinfo();
    expect((size_t)narrow.arena == wide.arena && (size_t)narrow.ordblks == wide.ordblks);
    expect((size_t)narrow.uordblks == wide.uordblks && (size_t)narrow.fordblks == wide.fordblks);
    expect((size_t)narrow.hblks == wide.hblks && (size_t)narrow.hblkhd == wide.hblkhd);
}

static void info_goes_to_any_stream(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size); /* which allocates as it is written to */
    errno = ERRNO_MARK;
    expect(malloc_info(0, stream) == 0);
    expect(malloc_info(0, stream) == 0);
    fclose(stream);
    expect(strncmp(text, "<malloc version=\"1\">", 20) == 0 && strstr(text, "</malloc>") != NULL);
    expect(strcmp(text + size - 10, "</malloc>\n") == 0);
    free(text);
}

static void info_refuses_options(void)
{
    static const int bad[] = {1, -1, 2, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *stream = open_memstream(&text, &size);
        errno = 0;
        expect(malloc_info(bad[i], stream) != 0);
        fclose(stream);
        expect(size == 0);
        free(text);
    }
}

/* Under tarn info.c and family.sh say the same of its own tables. */
static void stats_go_to_standard_error(void)
{
    char out[] = "/tmp/conform.XXXXXX", err[] = "/tmp/conform.XXXXXX";
    int to_out = mkstemp(out), to_err = mkstemp(err), kept_out = dup(1), kept_err = dup(2);
    fflush(stdout);
    dup2(to_out, 1);
    dup2(to_err, 2);
    free(malloc(100));
    malloc_stats();
    dup2(kept_out, 1);
    dup2(kept_err, 2);
    expect(lseek(to_out, 0, SEEK_END) == 0);
    expect(lseek(to_err, 0, SEEK_END) > 50);
    unlink(out);
    unlink(err);
}

static void mallopt_takes_arenas(void)
{
    expect(mallopt(M_ARENA_MAX, 1) == 1 && mallopt(M_ARENA_TEST, 8) == 1 && mallopt(M_CHECK_ACTION, 3) == 1);
    free(malloc(100));
}

static void mallopt_takes_thresholds(void)
{
    expect(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1 && mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
    expect(mallopt(M_TOP_PAD, 1 << 16) == 1 && mallopt(M_MMAP_MAX, 100) == 1 && mallopt(M_MXFAST, 64) == 1);
}

static void mallopt_perturbs(void)
{
    expect(mallopt(M_PERTURB, 0x5a) == 1);
    unsigned char *p = malloc(1000);
    expect(p[0] == (unsigned char)~0x5a && p[999] == (unsigned char)~0x5a);
}

static void mallopt_refuses_too_large_a_fast_block(void)
{
    expect(mallopt(M_MXFAST, 161) == 0);
}

/* ---- the functions together -------------------------------------------------------------------------- */

static void *reporting_thread(void *context)
{
    for (int i = 0; i < 200; i++) {
        mallinfo2();
        malloc_trim(0);
        if (i % 10 == 0) {
            char *text = NULL;
            size_t size = 0;
            FILE *stream = open_memstream(&text, &size);
            if (malloc_info(0, stream) != 0)
                abort();
            fclose(stream);
            free(text);
        }
    }
    return context;
}

static void *churning_thread(void *context)
{
    unsigned char *held[500] = {NULL};
    unsigned seed = (unsigned)(uintptr_t)context;
    for (int i = 0; i < 200000; i++) {
        unsigned b = (unsigned)rand_r(&seed) % 500;
        size_t n = 1 + (unsigned)rand_r(&seed) % (rand_r(&seed) % 100 ? 900 : 200000);
        if (held[b] != NULL && held[b][0] != (unsigned char)b)
            abort();
        free(held[b]);
        held[b] = malloc(n);
        held[b][n - 1] = held[b][0] = (unsigned char)b;
    }
    for (unsigned b = 0; b < 500; b++)
        free(held[b]);
    return NULL;
}

static void reports_are_safe_among_threads(void)
{
    pthread_t thread[6];
    for (uintptr_t t = 0; t < 6; t++)
        expect(pthread_create(&thread[t], NULL, t < 2 ? reporting_thread : churning_thread,
                              (void *)(t + 1)) == 0);
    for (int t = 0; t < 6; t++)
        pthread_join(thread[t], NULL);
}

static const char no_tuning[] = "tarn has no bins, top or mmap threshold, and says so by 0 (README, Limits)";

static const struct conform_case cases[] = {
    {a_refused_posix_memalign_keeps_the_pointer, "posix_memalign: a refusal leaves the pointer alone"},
    {alignments_that_nobody_can_have_are_refused,
     "memalign, posix_memalign: an alignment beyond all memory: ENOMEM"},
    {nothing_aligned_is_a_block, "memalign and the others: 0 bytes are a block of their own"},
    {gigabyte_alignments, "memalign, aligned_alloc: up to 1 GiB, without its memory"},
    {aligned_blocks_go_and_come, "posix_memalign: at random"},
    {pvalloc_rounds_up_to_pages, "pvalloc: whole pages, which may be protected"},
    {trim_says_whether_memory_went, "malloc_trim: freed memory goes"},
    {trim_harms_no_block, "malloc_trim: 0 or 1, whatever the pad; blocks and errno stay"},
    {mallinfo2_adds_up, "mallinfo2: the parts add up"},
    {mallinfo_is_mallinfo2_cut_to_int, "mallinfo: as mallinfo2"},
    {info_goes_to_any_stream, "malloc_info: XML to a stream that allocates"},
    {info_refuses_options, "malloc_info: no options yet"},
    {stats_go_to_standard_error, "malloc_stats: to standard error"},
    {mallopt_takes_arenas, "mallopt: M_ARENA_MAX, M_ARENA_TEST, M_CHECK_ACTION"},
    {mallopt_takes_thresholds, "mallopt: thresholds", no_tuning},
    {mallopt_perturbs, "mallopt: M_PERTURB", "TARN_DEBUG=poison fills, from the start or not at all"},
    {mallopt_refuses_too_large_a_fast_block, "mallopt: 0 for what can't be"},
    {reports_are_safe_among_threads, "mallinfo2, malloc_info, malloc_trim: while others allocate"},
};
CONFORM_MAIN(cases)
