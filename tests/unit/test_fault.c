#include "fault.h"

#include "../tools/lines.h"
#include "options.h"
#include "trace.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <search.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* The program's own dladdr comes before libc's: so something can go wrong while a stack is being printed. */
static bool wrong;

int dladdr(const void *address, Dl_info *info)
{
    if (wrong)
        trace_print(2);
    int (*real)(const void *, Dl_info *);
    *(void **)&real = dlsym(RTLD_NEXT, "dladdr");
    return real(address, info);
}

static bool have_libunwind(void)
{
    return dlopen("libunwind.so.8", RTLD_NOW) != NULL;
}

static void start(void)
{
    catch_lines();
    options_start(NULL);
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned n = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        n++;
    return n;
}

static void report(enum fault_kind kind, const char *call, uintptr_t p, size_t pool_size, uintptr_t expected)
{
    fault_report(&(struct fault){.kind = kind,
                                 .call = call,
                                 .pointer = (const void *)p,
                                 .pool_size = pool_size,
                                 .expected = (const void *)expected});
}

TestSuite(fault, .init = start);

Test(fault, the_wording)
{
    static const struct {
        struct fault fault;
        const char *line;
    } table[] = {
        {{.kind = FAULT_FOREIGN,
          .call = "free",
          .pointer = (void *)0x7ffd10,
          .pool_size = 0,
          .expected = NULL},
         "tarn: free(0x7ffd10): not a block of this process's malloc (foreign pointer); ignored\n"},
        {{.kind = FAULT_INSIDE,
          .call = "realloc",
          .pointer = (void *)0x1010,
          .pool_size = 64,
          .expected = (void *)0x1000},
         "tarn: realloc(0x1010): inside a block of pool 64 that starts at 0x1000; ignored\n"},
        {{.kind = FAULT_INSIDE, .call = "free", .pointer = (void *)0x2010, .pool_size = 64, .expected = NULL},
         "tarn: free(0x2010): inside a block of pool 64; ignored\n"},
        {{.kind = FAULT_INSIDE, .call = "free", .pointer = (void *)0x3010, .pool_size = 0, .expected = NULL},
         "tarn: free(0x3010): inside a large block; ignored\n"},
        {{.kind = FAULT_INSIDE,
          .call = "flush",
          .pointer = (void *)0x4010,
          .pool_size = 96,
          .expected = (void *)0x4000},
         "tarn: free(0x4010): inside a block of pool 96 that starts at 0x4000 (found at flush); ignored\n"},
        {{.kind = FAULT_TWICE,
          .call = "free",
          .pointer = (void *)0x5000,
          .pool_size = 64,
          .expected = (void *)0x5000},
         "tarn: free(0x5000): block of pool 64 was free already; ignored\n"},
        {{.kind = FAULT_TWICE,
          .call = "flush",
          .pointer = (void *)0x6000,
          .pool_size = 32768,
          .expected = (void *)0x6000},
         "tarn: free(0x6000): block of pool 32768 was free already (found at flush); ignored\n"},
        {{.kind = FAULT_TWICE, .call = "free", .pointer = (void *)0x7000, .pool_size = 0, .expected = NULL},
         "tarn: free(0x7000): large block was free already; ignored\n"},
        {{.kind = FAULT_FREE_SPACE, .call = "malloc_usable_size", .pointer = (void *)0x8000},
         "tarn: malloc_usable_size(0x8000): in tarn's memory, but no block is there now; ignored\n"},
        {{.kind = FAULT_TWICE, .call = "free", .pointer = (void *)0x9000, .pool_size = 64, .pool = ""},
         "tarn: free(0x9000): block of pool 64 was free already; ignored\n"},
        {{.kind = FAULT_TWICE, .call = "free", .pointer = (void *)0xa000, .pool_size = 64, .pool = "session"},
         "tarn: free(0xa000): block of pool \"session\" (64 bytes) was free already; ignored\n"},
        {{.kind = FAULT_INSIDE,
          .call = "free",
          .pointer = (void *)0xb010,
          .pool_size = 64,
          .pool = "session",
          .expected = (void *)0xb000},
         "tarn: free(0xb010): inside a block of pool \"session\" (64 bytes) that starts at 0xb000; "
         "ignored\n"},
        {{.kind = FAULT_OVERRUN, .call = "free", .pointer = (void *)0xc000, .pool_size = 64, .offset = 41},
         "tarn: free(0xc000): block of pool 64 was written at offset 41, behind its end; going on\n"},
        {{.kind = FAULT_OVERRUN,
          .call = "realloc",
          .pointer = (void *)0xd000,
          .pool_size = 64,
          .pool = "session",
          .expected = (void *)0xd000,
          .offset = -8},
         "tarn: realloc(0xd000): block of pool \"session\" (64 bytes) was written at offset -8, in front of "
         "its "
         "start; going on\n"},
        {{.kind = FAULT_WRITTEN, .pointer = (void *)0xe000, .pool_size = 64, .pool = "session", .offset = 0},
         "tarn: 0xe000: block of pool \"session\" (64 bytes) was written at offset 0 while it was free; "
         "going on\n"},
        {{.kind = FAULT_WRONG_POOL,
          .call = "tarn_pool_free",
          .pointer = (void *)0xf000,
          .pool_size = 64,
          .pool = "session",
          .other = "buffer"},
         "tarn: tarn_pool_free(0xf000): block of pool \"session\" (64 bytes) was given to pool \"buffer\"; "
         "ignored\n"},
        {{.kind = FAULT_TOUCHED,
          .pointer = (void *)0x11000,
          .pool_size = 64,
          .expected = (void *)0x10fc0,
          .offset = 64,
          .live = true},
         "tarn: 0x11000: at offset 64 of the block of pool 64 at 0x10fc0, which is in use; the process "
         "ends\n"},
        {{.kind = FAULT_TOUCHED,
          .call = "SIGSEGV",
          .pointer = (void *)0x12fc8,
          .pool_size = 64,
          .pool = "session",
          .expected = (void *)0x12fc0,
          .offset = 8},
         "tarn: SIGSEGV(0x12fc8): at offset 8 of the block of pool \"session\" (64 bytes) at 0x12fc0, which "
         "was free "
         "already; the process ends\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        errno = ERANGE;
        fault_report(&table[i].fault);
        cr_expect_eq(errno, ERANGE);
        cr_expect_str_eq(printed(), table[i].line);
    }
}

Test(fault, the_last_two_callers_are_named)
{
    struct fault fault = {.kind = FAULT_TWICE, .call = "free", .pointer = (void *)0x1000, .pool_size = 64};
    const char *exit_address = dlsym(RTLD_DEFAULT, "exit");
    const char line[] = "tarn: free(0x1000): block of pool 64 was free already; ignored\n";

    fault.allocated.frame[0] = exit_address + 5;
    fault_report(&fault);
    const char *text = printed();
    cr_expect_eq(strncmp(text, line, strlen(line)), 0, "%s", text);
    cr_expect(strstr(text, "\n  allocated by exit+0x5 (") && strstr(text, "libc.so"), "%s", text);
    cr_expect_eq(count_of(text, "\n"), 2);

    fault.pointer = (void *)0x2000;
    fault.freed.frame[0] = (void *)0x10;
    fault_report(&fault);
    text = printed();
    cr_expect(strstr(text, "ignored\n  allocated by exit+0x5 ("), "%s", text);
    cr_expect(strstr(text, ")\n  freed by (no object)\n"), "%s", text);
    cr_expect_eq(count_of(text, "\n"), 3);

    fault.pointer = (void *)0x3000;
    fault.allocated.frame[0] = NULL;
    fault_report(&fault);
    text = printed();
    cr_expect(strstr(text, "ignored\n  freed by (no object)\n"), "%s", text);
    cr_expect_eq(count_of(text, "\n"), 2);
}

/* It is the last the process says, from whatever it died. */
Test(fault, what_ends_the_process_is_told_always)
{
    for (unsigned i = 0; i < FAULT_LINES + 1; i++)
        report(FAULT_TWICE, "free", 0x1000 + i * 16, 64, 0);
    printed();
    for (int i = 0; i < 2; i++) {
        report(FAULT_TOUCHED, "SIGSEGV", 0x1000, 64, 0x1000);
        cr_expect(strstr(printed(), "; the process ends\n"));
    }
}

Test(fault, a_foreign_pointer_is_told_the_first_time_only)
{
    report(FAULT_FOREIGN, "free", 0x1000, 0, 0);
    cr_expect_str_neq(printed(), "");
    report(FAULT_FOREIGN, "free", 0x1000, 0, 0);
    report(FAULT_FOREIGN, "realloc", 0x2000, 0, 0);
    cr_expect_str_eq(printed(), "");
    report(FAULT_TWICE, "free", 0x1000, 64, 0);
    cr_expect_str_neq(printed(), "", "other kinds are told still");
}

Test(fault, each_kind_and_address_is_told_once)
{
    report(FAULT_TWICE, "free", 0x1000, 64, 0);
    report(FAULT_TWICE, "free", 0x1000, 64, 0);
    cr_expect_str_eq(printed(), "tarn: free(0x1000): block of pool 64 was free already; ignored\n");
    report(FAULT_INSIDE, "free", 0x1000, 64, 0);
    cr_expect_str_eq(printed(), "tarn: free(0x1000): inside a block of pool 64; ignored\n");
    report(FAULT_TWICE, "free", 0x1001, 64, 0);
    cr_expect_str_eq(printed(), "tarn: free(0x1001): block of pool 64 was free already; ignored\n");
    report(FAULT_WRONG_POOL, "tarn_pool_free", 0x1000, 64, 0);
    cr_expect_str_neq(printed(), "", "the last kind that shares a word with an address");
    report(FAULT_TWICE, "free", 0, 64, 0);
    cr_expect_str_neq(printed(), "", "even NULL");
}

Test(fault, there_is_an_end_to_it)
{
    for (uintptr_t i = 0; i < FAULT_LINES; i++) {
        report(FAULT_TWICE, "free", 0x1000 + i * 16, 64, 0);
        cr_expect(strstr(printed(), "was free already"));
    }
    report(FAULT_TWICE, "free", 0x9000, 64, 0);
    cr_expect_str_eq(printed(), "tarn: further misuse reports are not printed\n");
    report(FAULT_INSIDE, "free", 0x9000, 64, 0);
    report(FAULT_TWICE, "free", 0xa000, 64, 0);
    cr_expect_str_eq(printed(), "");
    report(FAULT_FOREIGN, "free", 0xb000, 0, 0);
    cr_expect(strstr(printed(), "foreign"), "the first foreign pointer has a line of its own");
    cr_expect_eq(fault_count(FAULT_TWICE), FAULT_LINES + 2);
}

Test(fault, ignored_ones_are_counted)
{
    options.misuse = MISUSE_IGNORE;
    for (int i = 0; i < 5; i++)
        report(FAULT_INSIDE, "free", 0x1000 + 16U * (unsigned)i, 64, 0);
    report(FAULT_FOREIGN, "free", 0x1000, 0, 0);
    cr_expect_str_eq(printed(), "");
    cr_expect_eq(fault_count(FAULT_INSIDE), 5);
    cr_expect_eq(fault_count(FAULT_FOREIGN), 1);
    cr_expect_eq(fault_count(FAULT_TWICE), 0);
    options.misuse = MISUSE_WARN;
    report(FAULT_FOREIGN, "free", 0x1000, 0, 0);
    cr_expect_str_neq(printed(), "", "what was ignored was not told");
}

enum { STORM_THREADS = 8, STORM_ROUNDS = 2000 };

static void *storm(void *barrier)
{
    pthread_barrier_wait(barrier);
    for (unsigned i = 0; i < STORM_ROUNDS; i++) {
        report(FAULT_FOREIGN, "free", i * 16, 0, 0);
        report(FAULT_TWICE, "free", 0x100000 + i * 16, 64, 0);
    }
    return NULL;
}

Test(fault, threads_count_exactly_and_tell_once)
{
    pthread_barrier_t barrier;
    pthread_t threads[STORM_THREADS];
    pthread_barrier_init(&barrier, NULL, STORM_THREADS);
    fcntl(lines, F_SETFL, O_APPEND);
    for (int i = 0; i < STORM_THREADS; i++)
        pthread_create(&threads[i], NULL, storm, &barrier);
    for (int i = 0; i < STORM_THREADS; i++)
        pthread_join(threads[i], NULL);
    const char *text = printed();
    cr_expect_eq(fault_count(FAULT_FOREIGN), STORM_THREADS * STORM_ROUNDS);
    cr_expect_eq(fault_count(FAULT_TWICE), STORM_THREADS * STORM_ROUNDS);
    cr_expect_eq(count_of(text, "foreign pointer"), 1);
    cr_expect_eq(count_of(text, "was free already"), FAULT_LINES);
    cr_expect_eq(count_of(text, "further misuse"), 1);
    cr_expect_eq(count_of(text, "\n"), FAULT_LINES + 2);
    for (unsigned i = 0; i < FAULT_LINES; i++) {
        char pointer[32];
        sprintf(pointer, "free(%#x): block", 0x100000 + i * 16);
        cr_expect_leq(count_of(text, pointer), 1);
    }
}

static void handle_abort(int signal)
{
    (void)signal;
    _exit(3);
}

/* Runs `what` in a child, which is to end by SIGABRT; returns what it printed. */
static const char *aborting(void (*what)(void))
{
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, handle_abort);
        options.misuse = MISUSE_ABORT;
        what();
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %#x", (unsigned)status);
    return printed();
}

static void free_foreign(void)
{
    report(FAULT_FOREIGN, "free", 0x7ffd10, 0, 0);
}

static void free_foreign_with_stacks(void)
{
    trace_start();
    free_foreign();
}

#define ABORT_LINE "tarn: free(0x7ffd10): not a block of this process's malloc (foreign pointer); aborting\n"

Test(fault, abort_prints_the_line_and_then_ends_the_process)
{
    const char *text = aborting(free_foreign);
    cr_expect_str_eq(text, ABORT_LINE "  (no stack: libunwind.so.8 is not loaded)\n");
    cr_expect_eq(strncmp(aborting(free_foreign), ABORT_LINE, strlen(ABORT_LINE)), 0,
                 "not only the first time");
}

Test(fault, abort_prints_the_stack)
{
    if (!have_libunwind())
        cr_skip_test("no libunwind");
    const char *text = aborting(free_foreign_with_stacks);
    cr_assert_eq(strncmp(text, ABORT_LINE, strlen(ABORT_LINE)), 0);
    text += strlen(ABORT_LINE);
    cr_expect_eq(strncmp(text, "  #0  0x", 8), 0);
    cr_expect_geq(count_of(text, "\n"), 5);
    cr_expect(strstr(text, "__libc_start_main"), "%s", text);
}

/* ------------------------------------------------------------------------------------------------ trace */

Test(trace, without_a_start_it_says_so, .init = start)
{
    errno = ERANGE;
    trace_print(2);
    cr_expect_eq(errno, ERANGE);
    const char *text = printed();
    cr_expect_eq(strncmp(text, "  (no stack: ", 13), 0);
    cr_expect_eq(count_of(text, "\n"), 1);
}

__attribute__((noinline)) static void third(void)
{
    trace_print(2);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

static int compare(const void *a, const void *b)
{
    (void)a;
    (void)b;
    third();
    return 0;
}

Test(trace, frames_have_numbers_addresses_symbols_and_objects, .init = start)
{
    if (!have_libunwind())
        cr_skip_test("no libunwind");
    int key = 1, one[1] = {1};
    size_t count = 1;
    errno = ERANGE;
    trace_start();
    cr_expect_eq(errno, ERANGE);
    trace_start();
    errno = ERANGE;
    lfind(&key, one, &count, sizeof *one, compare);
    cr_expect_eq(errno, ERANGE);
    const char *text = printed();
    /* The innermost frame is `third`; trace_print itself is left out. */
    void *address;
    char object[500];
    cr_assert_eq(sscanf(text, "  #0 %p %499[^\n]", &address, object), 2);
    cr_expect_lt((uintptr_t)address - (uintptr_t)third, 100);
    const char *line = strstr(text, " lfind+0x");
    cr_assert(line != NULL, "%s", text);
    cr_assert_eq(sscanf(line, " lfind+0x%*x (%499[^)])", object), 1);
    cr_expect(strstr(object, "libc.so"));
    int number = 0;
    for (const char *l = text; *l != 0; l = strchr(l, '\n') + 1) {
        int n;
        cr_assert_eq(sscanf(l, "  #%d 0x%p", &n, &address), 2);
        cr_expect_eq(n, number, "%s", text);
        number++;
    }
}

static void print_deeply(int depth)
{
    if (depth > 0)
        print_deeply(depth - 1);
    else
        trace_print(2);
    __asm__ volatile("" ::: "memory");
}

Test(trace, a_deep_stack_ends, .init = start)
{
    if (!have_libunwind())
        cr_skip_test("no libunwind");
    trace_start();
    print_deeply(1000);
    const char *text = printed();
    cr_expect_gt(count_of(text, "\n"), 40);
    cr_expect_lt(count_of(text, "\n"), 70);
}

Test(trace, what_happens_while_unwinding_has_no_stack, .init = start)
{
    if (!have_libunwind())
        cr_skip_test("no libunwind");
    trace_start();
    wrong = true;
    trace_print(2);
    wrong = false;
    const char *text = printed();
    cr_expect_geq(count_of(text, "  (no stack: this happened while another was being printed)\n"), 3);
    cr_expect_geq(count_of(text, "  #"), 3);
    trace_print(2);
    cr_expect_eq(count_of(printed(), "(no stack"), 0);
}
