/*
 * A scripted run, once for each call of the kernel that it makes, with that call refused: whatever comes of it, no
 * block is spoilt, no book is wrong, and the process recovers as soon as the kernel does.
 */
#include "../tools/random.h"
#include "fake_system.h"
#include "gc.h"
#include "heap.h"
#include "large.h"
#include "options.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HELD = 100, STEPS = 300, LARGE_MOST = 1 << 20 };

static struct {
    unsigned char *at;
    size_t size;
    unsigned char fill;
} held[HELD];
static int step, nulls;

/* In the child: the parent reads the exit code. */
static void fail(const char *what)
{
    printf("fault: step %d: %s\n", step, what);
    fflush(stdout);
    _exit(1);
}

static void check_block(size_t i)
{
    for (size_t k = 0; k < held[i].size; k += 1 + held[i].size / 997)
        if (held[i].at[k] != held[i].fill)
            fail("a block was spoilt");
}

static void check_all(void)
{
    for (size_t i = 0; i < HELD; i++)
        if (held[i].at != NULL)
            check_block(i);
    heap_check();
}

static void keep(size_t i, void *p, size_t size, size_t align)
{
    if (p == NULL) {
        nulls++;
        return;
    }
    if (heap_usable(p) < size || (uintptr_t)p % align != 0)
        fail("a block is too small, or lies askew");
    held[i].at = p;
    held[i].size = size;
    held[i].fill = (unsigned char)(step + 1);
    memset(p, held[i].fill, size);
}

static void allocate(size_t i, size_t size, size_t way)
{
    size_t align = way == 0 ? (size_t)1 << (4 + size % 15) : BLOCK_ALIGN;
    unsigned char *p = way == 0   ? heap_alloc_aligned(align, size)
                       : way == 1 ? heap_alloc_zeroed(size)
                                  : heap_alloc(size);
    for (size_t k = 0; way == 1 && p != NULL && k < size; k += k < 4096 ? 1 : 61)
        if (p[k] != 0)
            fail("not zeroed");
    keep(i, p, size, align);
}

static void resize(size_t i, size_t size)
{
    unsigned char *p = heap_realloc(held[i].at, size);
    if (p == NULL) {
        nulls++;
        return;
    }
    size_t kept = held[i].size < size ? held[i].size : size;
    for (size_t k = 0; k < kept; k += 1 + kept / 997)
        if (p[k] != held[i].fill)
            fail("realloc lost contents");
    keep(i, p, size, BLOCK_ALIGN);
}

static void *in_another_thread(void *unused)
{
    void *p = heap_alloc(2000);
    if (p != NULL)
        memset(p, 1, 2000);
    heap_free(p, "free");
    return unused;
}

static void script(void)
{
    uint64_t seed = 42;
    for (step = 0; step < STEPS; step++) {
        size_t i = random_below(&seed, HELD), dice = random_below(&seed, 100);
        size_t size = 1 + random_below(&seed, dice % 4 == 0 ? LARGE_MOST : dice % 4 == 1 ? 60000 : 3000);
        if (dice < 4) {
            gc_run();
        } else if (dice < 7) {
            pthread_t thread;
            pthread_create(&thread, NULL, in_another_thread, NULL);
            pthread_join(thread, NULL);
        } else if (held[i].at == NULL) {
            allocate(i, size, random_below(&seed, 4));
        } else if (dice < 40) {
            resize(i, size);
        } else {
            check_block(i);
            heap_free(held[i].at, "free");
            held[i].at = NULL;
        }
        fake_advance(30);
        if (step % 16 == 0)
            check_all();
    }
}

/* The kernel is well again: every request is served, and nothing is lost at the end. */
static void recover(void)
{
    fake_refuse_none();
    nulls = 0;
    script();
    if (nulls > 0)
        fail("did not recover");
    for (size_t i = 0; i < HELD; i++) {
        heap_free(held[i].at, "free");
        held[i].at = NULL;
    }
    gc_run();
    check_all();
    struct large_stats s;
    large_stats(&s);
    if (s.blocks != 0 || s.bytes != 0)
        fail("large blocks are lost");
    EACH_CLASS (c)
        if (pools[c].allocated != 0)
            fail("slabs are lost");
}

/* Runs the script in a child with `count` calls from the `after`th on refused; true if all went well. `calls`: how
   many it made. */
static bool survives(size_t after, size_t count, size_t *calls)
{
    int out[2], status = 0;
    size_t made = 0;
    cr_assert_eq(pipe(out), 0);
    pid_t child = fork();
    if (child == 0) {
        fake_refuse(after, count);
        script();
        made = fake_calls();
        recover();
        _exit(write(out[1], &made, sizeof made) == sizeof made ? 0 : 1);
    }
    close(out[1]);
    waitpid(child, &status, 0);
    bool told = read(out[0], &made, sizeof made) == sizeof made;
    close(out[0]);
    if (calls != NULL)
        *calls = made;
    if (WIFSIGNALED(status))
        printf("fault: call %zu: signal %d\n", after, WTERMSIG(status));
    return told && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#ifdef TARN_DEBUG /* in release, each */
enum { EVERY = 4 };
#else
enum { EVERY = 1 };
#endif

static size_t calls_of_a_good_run(void)
{
    size_t calls = 0;
    cr_assert(survives(SIZE_MAX / 2, 0, &calls));
    cr_assert_gt(calls, 40); /* else the script asks too little of the kernel */
    return calls;
}

TestSuite(fault_heap, .timeout = 170);

Test(fault_heap, any_one_call_may_be_refused)
{
    size_t calls = calls_of_a_good_run();
    for (size_t n = 0; n < calls; n += EVERY)
        cr_assert(survives(n, 1, NULL), "call %zu of %zu refused", n, calls);
}

Test(fault_heap, any_two_calls_in_a_row_may_be_refused)
{
    size_t calls = calls_of_a_good_run();
    for (size_t n = 0; n < calls; n += EVERY)
        cr_assert(survives(n, 2, NULL), "calls %zu and %zu of %zu refused", n, n + 1, calls);
}

Test(fault_heap, the_kernel_may_refuse_for_a_while)
{
    size_t calls = calls_of_a_good_run();
    for (size_t n = 0; n < calls; n += 2 * EVERY)
        cr_assert(survives(n, 25, NULL), "25 calls from %zu of %zu refused", n, calls);
}

Test(fault_heap, the_kernel_may_refuse_for_good_until_it_recovers)
{
    size_t calls = calls_of_a_good_run();
    for (size_t n = 0; n < calls; n += 3 * EVERY)
        cr_assert(survives(n, SIZE_MAX, NULL), "all calls from %zu of %zu refused", n, calls);
}

/* The first call maps the region's tables: there is no heap without them. */
Test(fault_heap, without_tables_every_request_is_null_until_they_can_be_had)
{
    fake_refuse(0, SIZE_MAX);
    script();
    cr_assert_gt(nulls, 0);
    for (size_t i = 0; i < HELD; i++)
        cr_assert_null(held[i].at);
    heap_free(NULL, "free");
    options.misuse = MISUSE_IGNORE;
    heap_free(&step, "free");
    recover();
}
