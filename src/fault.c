#include "fault.h"

#include "options.h"
#include "out.h"
#include "trace.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t counts[FAULT_KINDS];

/* What was told already: kind and address in one word, so that one compare-and-swap enters it. 0: a free place. */
static uint64_t told[FAULT_LINES];
static bool foreign_told, end_told;

uint64_t fault_count(enum fault_kind kind)
{
    return READ_ONCE(counts[kind]);
}

static bool first_time(bool *flag)
{
    return !__atomic_exchange_n(flag, true, __ATOMIC_RELAXED);
}

/* True if `f` is to be told; says once that from now on nothing will be. */
static bool worth_telling(const struct fault *f)
{
    if (f->kind == FAULT_FOREIGN)
        return first_time(&foreign_told);
    uint64_t key =
        (uint64_t)(uintptr_t)f->pointer << 2 | f->kind; /* no user address needs the top two bits */
    for (unsigned i = 0; i < FAULT_LINES; i++) {
        uint64_t expected = 0;
        if (__atomic_compare_exchange_n(&told[i], &expected, key, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return true;
        if (expected == key)
            return false;
    }
    if (first_time(&end_told))
        out_complain("further misuse reports are not printed");
    return false;
}

static void describe_block(struct out *o, const struct fault *f)
{
    if (f->pool_size > 0)
        out_print(o, "block of pool %zu", f->pool_size);
    else
        out_print(o, "large block");
}

static void print_line(const struct fault *f, const char *end)
{
    struct out o;
    bool later = strcmp(f->call, "flush") == 0;
    out_start(&o, out_stderr());
    out_print(&o, "tarn: %s(%p): ", later ? "free" : f->call, f->pointer);
    switch (f->kind) {
    case FAULT_INSIDE:
        out_print(&o, "inside a ");
        describe_block(&o, f);
        if (f->expected != NULL)
            out_print(&o, " that starts at %p", f->expected);
        break;
    case FAULT_TWICE:
        describe_block(&o, f);
        out_print(&o, " was free already");
        break;
    case FAULT_FREE_SPACE:
        out_print(&o, "in tarn's memory, but no block is there now");
        break;
    default:
        out_print(&o, "not a block of this process's malloc (foreign pointer)");
    }
    out_print(&o, "%s; %s\n", later ? " (found at flush)" : "", end);
    out_flush(&o);
}

/* A handler of the program's for SIGABRT could allocate, and return; the core is wanted as it is now. */
static _Noreturn COLD void end_process(void)
{
    trace_print(out_stderr());
    signal(SIGABRT, SIG_DFL);
    abort();
}

void fault_report(const struct fault *f)
{
    __atomic_fetch_add(&counts[f->kind], 1, __ATOMIC_RELAXED);
    switch (READ_ONCE(options.misuse)) {
    case MISUSE_IGNORE:
        break;
    case MISUSE_WARN:
        if (worth_telling(f))
            print_line(f, "ignored");
        break;
    case MISUSE_ABORT:
        print_line(f, "aborting");
        end_process();
    }
}
