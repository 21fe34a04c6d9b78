/*
 * The whole malloc family as preload/ has it, by three threads, with collections, limits and forks between, against a
 * picture of what the program holds: each block with a pattern of its own.
 *
 * A step is a byte that says what, by whom and whether to many blocks in a row, a byte for the first of these, and then
 * what it needs. At an input's end everything is freed, and must then be back with the kernel.
 */
#include "../tools/random.h"
#include "fork.h"
#include "fuzz.h"
#include "gc.h"
#include "heap.h"
#include "helper.h"
#include "large.h"
#include "other.h"
#include "thread.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void free_sized(void *p, size_t n);
void free_aligned_sized(void *p, size_t align, size_t n);

enum { HELD = 1024, EDGE = 48, ERRNO = 77, MANY = 1 << 26, OTHERS = 2 };

struct held {
    unsigned char *at;
    size_t size, align;
    uint64_t pattern;
};

static struct held held[HELD];
static uint64_t seed;
static struct other other[OTHERS];
static bool limited; /* then NULL is an answer */
static bool forked;  /* it takes long: once an input */

/* ---- patterns: the edges of a block ----------------------------------------------------------------- */

static unsigned char pattern_byte(uint64_t pattern, size_t i)
{
    return (unsigned char)((pattern >> i % 7 * 8) + i);
}

static void fill(struct held *h)
{
    for (size_t i = 0; i < h->size; i++) {
        if (i == EDGE && h->size > 2 * EDGE)
            i = h->size - EDGE;
        h->at[i] = pattern_byte(h->pattern, i);
    }
}

static void check_front(const unsigned char *at, uint64_t pattern, size_t size)
{
    for (size_t i = 0; i < size && i < EDGE; i++)
        expect(at[i] == pattern_byte(pattern, i));
}

static void check_contents(const struct held *h)
{
    check_front(h->at, h->pattern, h->size);
    for (size_t i = h->size > 2 * EDGE ? h->size - EDGE : 0; i < h->size; i++)
        expect(h->at[i] == pattern_byte(h->pattern, i));
}

/* ---- all at once ------------------------------------------------------------------------------------ */

static int by_address(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void check_all(void)
{
    static struct held sorted[HELD];
    uint64_t out[CLASS_MAX] = {0};
    size_t count = 0;
    struct large_stats s;
    for (struct held *h = held; h < held + HELD; h++)
        if (h->at != NULL) {
            check_contents(h);
            out[region_class(h->at)]++;
            sorted[count++] = *h;
        }
    qsort(sorted, count, sizeof sorted[0], by_address);
    for (size_t i = 0; i + 1 < count; i++)
        expect(sorted[i].at + malloc_usable_size(sorted[i].at) <= sorted[i + 1].at);
    EACH_CLASS (c)
        expect(pools[c].used == out[c] + thread_held(c));
    large_stats(&s);
    expect(s.blocks == out[CLASS_LARGE] + out[CLASS_BARE]);
    heap_check();
}

/* What malloc's own numbers say is what there is. */
static void check_info(void)
{
    size_t pooled = 0;
    struct mallinfo2 info = mallinfo2();
    for (struct held *h = held; h < held + HELD; h++)
        if (h->at != NULL && class_is_pool(region_class(h->at)))
            pooled += pools[region_class(h->at)].size;
    expect(info.uordblks == pooled);
    expect(info.arena == info.uordblks + info.fordblks);
}

/* ---- steps ------------------------------------------------------------------------------------------ */

struct step {
    unsigned what, first, count;
    size_t size, align;
};

/* Bytes of addresses that are held, or about that: beyond some, none may be left (other.h). */
static size_t spread(void)
{
    size_t bytes = 0;
    for (struct held *h = held; h < held + HELD; h++)
        bytes += h->at != NULL ? h->size + h->align : 0;
    return bytes;
}

/* `p` was got for it, if anything was. */
static void keep(struct held *h, void *p, size_t size, size_t align)
{
    if (p == NULL) {
        expect(errno == ENOMEM);
        expect(limited || size > MANY || align > MANY || spread() > MANY);
        return;
    }
    expect(errno == ERRNO);
    expect((uintptr_t)p % align == 0 && (uintptr_t)p % BLOCK_ALIGN == 0);
    expect(size <= PTRDIFF_MAX && malloc_usable_size(p) >= size);
    *h = (struct held){p, size, align, random_next(&seed)};
    fill(h);
}

static void release(struct held *h, const struct step *s)
{
    void *p = h->at;
    if (p != NULL)
        check_contents(h);
    h->at = NULL;
    switch (s->align % 5) {
    case 0:
        free_sized(p, p != NULL ? h->size : 0);
        break;
    case 1:
        free_aligned_sized(p, h->align, p != NULL ? h->size : 0);
        break;
    case 2:
        if (p != NULL) {
            expect(realloc(p, 0) == NULL);
            break;
        } /* fallthrough */
    default:
        free(p);
    }
    expect(errno == ERRNO);
}

static void allocate(struct held *h, const struct step *s)
{
    keep(h, malloc(s->size), s->size, 1);
}

static void allocate_zeroed(struct held *h, const struct step *s)
{
    size_t count = s->align % 9;
    bool overflows = count > 0 && s->size > SIZE_MAX / count;
    unsigned char *p = calloc(count, s->size);
    expect(p == NULL || !overflows);
    size_t size = overflows ? SIZE_MAX : count * s->size;
    for (size_t i = 0; p != NULL && i < size; i += i < 4096 ? 1 : size / 4096 + 1)
        expect(p[i] == 0);
    keep(h, p, size, 1);
}

static void allocate_aligned(struct held *h, const struct step *s)
{
    void *p = h;
    int error = posix_memalign(&p, s->align, s->size);
    expect(errno == ERRNO);
    expect((error == EINVAL) == (!IS_POWER_OF_2(s->align) || s->align < sizeof(void *)));
    expect(error == 0 || p == h);
    if (error == EINVAL)
        return;
    errno = error != 0 ? error : ERRNO;
    keep(h, error != 0 ? NULL : p, s->size, s->align);
}

static void allocate_aligned_as_before(struct held *h, const struct step *s)
{
    size_t power = 1;
    while (power < s->align)
        power *= 2;
    keep(h, s->what % 2 == 0 ? memalign(s->align, s->size) : aligned_alloc(s->align, s->size), s->size,
         power);
}

static void allocate_pages(struct held *h, const struct step *s)
{
    keep(h, s->align % 2 == 0 ? valloc(s->size) : pvalloc(s->size), s->size, (size_t)sysconf(_SC_PAGESIZE));
}

static void resize(struct held *h, const struct step *s)
{
    struct held before = *h;
    if (h->at != NULL && s->size == 0) {
        release(h, s);
        return;
    }
    unsigned char *p = s->align % 2 == 0 ? realloc(h->at, s->size) : reallocarray(h->at, 1, s->size);
    if (before.at != NULL && p != NULL)
        check_front(p, before.pattern, before.size < s->size ? before.size : s->size);
    keep(h, p, s->size, 1);
    if (p == NULL && before.at != NULL)
        check_contents(h); /* as it was */
}

/* By a little, time and again. */
static void grow(struct held *h, const struct step *s)
{
    for (size_t i = 0; i < 20 && h->size < MANY; i++)
        resize(h, &(struct step){.size = (h->at != NULL ? h->size : 0) + s->size % 5000 + 1, .align = i});
}

/* Pointers that nobody got are left alone. */
static void misuse(struct held *h, const struct step *s)
{
    static char foreign[64];
    char local[64];
    char *p = s->align % 2 == 0 ? foreign : local;
    if (h->at != NULL && !class_is_pool(region_class(h->at)))
        p = (char *)h->at + 16;
    expect(malloc_usable_size(p) == 0);
    expect(realloc(p, s->size + 1) == NULL);
    errno = ERRNO;
    free(p);
}

static void take(struct held *h, const struct step *s)
{
    static void (*const ways[])(struct held *, const struct step *) = {release,
                                                                       resize,
                                                                       misuse,
                                                                       allocate,
                                                                       allocate_zeroed,
                                                                       allocate_aligned,
                                                                       allocate_aligned_as_before,
                                                                       allocate_pages,
                                                                       grow};
    enum { WAYS = sizeof ways / sizeof ways[0], RELEASES = 4 };
    unsigned way = s->what < RELEASES ? 0 : s->what % WAYS;
    errno = ERRNO;
    if (way > 2 && h->at != NULL)
        release(h, &(struct step){.align = 4});
    ways[way](h, s);
}

static void take_row(const void *step)
{
    const struct step *s = step;
    for (unsigned i = 0; i < s->count; i++)
        take(&held[(s->first + i) % HELD], s);
}

/* ---- what concerns all ------------------------------------------------------------------------------- */

static void release_all(void)
{
    struct large_stats s;
    region_limit(SIZE_MAX);
    errno = ERRNO;
    for (struct held *h = held; h < held + HELD; h++)
        release(h, &(struct step){.align = 4});
    gc_run();
    heap_check();
    EACH_CLASS (c)
        expect(pools[c].used == 0 && pools[c].allocated == 0);
    large_stats(&s);
    expect(s.blocks == 0 && s.bytes == 0);
}

static void change_limit(size_t more)
{
    struct region_stats s;
    region_stats(&s);
    limited = more % 2 == 1;
    region_limit(limited ? s.taken + more : SIZE_MAX);
}

static void fork_child_and_wait(void)
{
    int status = 1;
    if (forked)
        return;
    forked = true;
    pid_t child = fork();
    if (child == 0) {
        release_all();
        _exit(0);
    }
    waitpid(child, &status, 0);
    expect(child > 0 && status == 0);
}

static void take_common(struct input *in, unsigned what)
{
    switch (what) {
    case 0:
        malloc_trim(0);
        break;
    case 1:
        gc_request();
        break;
    case 2:
        change_limit(input_number(in, 3));
        break;
    case 3:
        other_end(&other[input_byte(in) % OTHERS]);
        break;
    case 4:
        check_info();
        break;
    case 5:
        fork_child_and_wait();
        break;
    case 6:
        expect(mallopt(M_MMAP_THRESHOLD, 1) == 0);
        break;
    default:
        check_all();
    }
}

static size_t read_size(struct input *in)
{
    static const size_t edges[] = {0,
                                   1,
                                   16,
                                   128,
                                   4096,
                                   32768,
                                   UNIT,
                                   1 << 20,
                                   1 << 22,
                                   PTRDIFF_MAX,
                                   SIZE_MAX,
                                   (size_t)1 << 40,
                                   (size_t)1 << 47,
                                   SIZE_MAX / 2,
                                   SIZE_MAX / 4,
                                   POOLED_MAX};
    size_t byte = input_byte(in), low = byte & 63;
    switch (byte >> 6) {
    case 0:
        return low * 17;
    case 1:
        return low << 8 | input_byte(in);
    case 2:
        return (low & 31) << 16 | input_number(in, 2);
    default:
        return edges[low & 15] + (low >> 4) - 2; /* from 2 below to 1 above */
    }
}

/* 1 to 2^31, or no power of two. */
static size_t read_align(struct input *in)
{
    size_t byte = input_byte(in);
    return byte < 224 ? (size_t)1 << (byte & 31) % 25 : byte < 240 ? (size_t)1 << (byte & 31) : byte - 240;
}

static void take_step(struct input *in)
{
    enum { COMMON = 28 };
    size_t byte = input_byte(in);
    if ((byte & 31) >= COMMON) {
        take_common(in, byte >> 5);
        return;
    }
    struct step s = {.what = byte & 31, .first = (unsigned)input_byte(in) * (HELD / 256), .count = 1};
    if (byte & 32)
        s.count += (unsigned)input_byte(in);
    s.size = read_size(in);
    s.align = read_align(in);
    while (s.count > 4 && s.count * s.size > MANY / 4)
        s.count /= 2;
    if (byte >> 6 < OTHERS)
        other_do(&other[byte >> 6], take_row, &s);
    else
        take_row(&s);
}

/* ---- libFuzzer's part -------------------------------------------------------------------------------- */

/* What family.h would have where the library has its helper thread. */
void helper_hire(void)
{
    abort();
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count, (void)arguments;
    heap_start();
    mallopt(M_CHECK_ACTION, 0); /* misuse is meant here */
    return pthread_atfork(fork_prepare, fork_parent, fork_child);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    seed = size + 1;
    forked = limited = false;
    while (in.at < in.end)
        take_step(&in);
    check_all();
    for (struct other *o = other; o < other + OTHERS; o++)
        other_end(o);
    release_all();
    return 0;
}
