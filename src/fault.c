#include "fault.h"

#include "options.h"
#include "out.h"
#include "trace.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t counts[FAULT_KINDS];

enum { KIND_BITS = 4 };
_Static_assert(FAULT_KINDS <= 1 << KIND_BITS,
               "kind and address share a word: no user address has the top bits");

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

/* True if `f` is to be told; says once that from now on nothing will be. The last line of a process always is. */
static bool worth_telling(const struct fault *f)
{
    if (f->kind == FAULT_FOREIGN)
        return first_time(&foreign_told);
    if (f->kind == FAULT_TOUCHED)
        return true;
    const void *site =
        f->kind == FAULT_SIZE ? f->called.frame[0] : f->pointer; /* many blocks, one wrong type */
    uint64_t key = (uint64_t)(uintptr_t)site << KIND_BITS | f->kind;
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
    if (f->pool != NULL && f->pool[0] != 0)
        out_print(o, "block of pool \"%s\" (%zu bytes)", f->pool, f->pool_size);
    else if (f->pool_size > 0)
        out_print(o, "block of pool %zu", f->pool_size);
    else
        out_print(o, "large block");
    if (f->kind == FAULT_INSIDE && f->expected != NULL)
        out_print(o, " that starts at %p", f->expected);
}

static void describe(struct out *o, const struct fault *f)
{
    switch (f->kind) {
    case FAULT_INSIDE:
        out_print(o, "inside a ");
        describe_block(o, f);
        break;
    case FAULT_TWICE:
        describe_block(o, f);
        out_print(o, " was free already");
        break;
    case FAULT_FREE_SPACE:
        out_print(o, "in tarn's memory, but no block is there now");
        break;
    case FAULT_OVERRUN:
        describe_block(o, f);
        out_print(o, " was written at offset %d, %s", (int)f->offset,
                  f->offset < 0 ? "in front of its start" : "behind its end");
        if (f->neighbour != NULL)
            out_print(o, " (the next one, %p, is %s)", f->neighbour, f->neighbour_live ? "in use" : "free");
        break;
    case FAULT_WRITTEN:
        describe_block(o, f);
        out_print(o, " was written at offset %d while it was free", (int)f->offset);
        break;
    case FAULT_WRONG_POOL:
        describe_block(o, f);
        out_print(o, " was given to pool \"%s\"", f->other);
        break;
    case FAULT_SIZE:
        describe_block(o, f);
        out_print(o, " was given back as one of %zu bytes", f->given);
        break;
    case FAULT_TOUCHED:
        out_print(o, "at offset %d of the ", (int)f->offset);
        describe_block(o, f);
        out_print(o, " at %p, which %s", f->expected, f->live ? "is in use" : "was free already");
        break;
    default:
        out_print(o, "not a block of this process's malloc (foreign pointer)");
    }
}

static void print_caller(struct out *o, const char *what, const struct trace *by)
{
    for (unsigned i = 0; i < TRACE_DEPTH && by->frame[i] != NULL; i++) {
        out_print(o, i == 0 ? "  %s by " : "    called by ", what);
        trace_name(o, by->frame[i]);
        out_print(o, "\n");
    }
}

static void print_lines(const struct fault *f, const char *end)
{
    struct out o;
    bool later = f->call != NULL && strcmp(f->call, "flush") == 0;
    out_start(&o, out_stderr());
    if (f->call != NULL)
        out_print(&o, "tarn: %s(%p): ", later ? "free" : f->call, f->pointer);
    else
        out_print(&o, "tarn: %p: ", f->pointer);
    describe(&o, f);
    out_print(&o, "%s; %s\n", later ? " (found at flush)" : "", end);
    print_caller(&o, "touched", &(struct trace){.frame = {f->touched}});
    print_caller(&o, "called", &f->called);
    print_caller(&o, "allocated", &f->allocated);
    print_caller(&o, "freed", &f->freed);
    out_flush(&o);
}

/* What becomes of the call, where the process is not ended for it. */
static const char *end_of(enum fault_kind kind)
{
    switch (kind) {
    case FAULT_OVERRUN:
    case FAULT_WRITTEN:
    case FAULT_SIZE:
        return "going on";
    case FAULT_TOUCHED:
        return "the process ends";
    default:
        return "ignored";
    }
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
            print_lines(f, end_of(f->kind));
        break;
    case MISUSE_ABORT:
        print_lines(f, "aborting");
        end_process();
    }
}
