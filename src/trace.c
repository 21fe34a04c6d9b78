/* libunwind is not linked but loaded: a program that never asks for a stack never pays for it. */
#include "trace.h"

#include "out.h"
#include "reserve.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

enum { FRAMES_MAX = 64 };

typedef int backtrace_function(void **frames, int size);
CONSTANT static backtrace_function *backtrace_into;
static bool forgotten;
static __thread bool unwinding;

/* LLVM's library of the same name has no unw_backtrace, and is passed over. */
static backtrace_function *load(void)
{
    static const char *const names[] = {"libunwind.so.8", "libunwind.so.1", "libunwind.so"};
    for (unsigned i = 0; i < ARRAY_LENGTH(names); i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        void *function = library != NULL ? dlsym(library, "unw_backtrace") : NULL;
        if (function != NULL)
            return (backtrace_function *)(uintptr_t)function;
        if (library != NULL)
            dlclose(library);
    }
    return NULL;
}

void trace_start(void)
{
    if (backtrace_into != NULL)
        return;
    int error = errno;
    backtrace_into = load();
    if (backtrace_into != NULL) {
        void *frames[4];
        backtrace_into(frames, ARRAY_LENGTH(frames)); /* what it allocates, it allocates on its first use */
    }
    errno = error;
}

void trace_forget(void)
{
    forgotten = true;
}

/*
 * The first time in a thread libc allocates libunwind's thread-local variables, and ends a process that has no memory for
 * them. accuse_caller sees to it that it is the reserve which is asked: has it such a block, it stays there, and goes there.
 */
static bool has_variables(void)
{
    enum { VARIABLES = 32 }; /* bytes, as libunwind 1.6 has 16 of them, and of alignment */
    static __thread bool had;
    void *room = had ? NULL : reserve_alloc(VARIABLES, BLOCK_ALIGN);
    if (room != NULL)
        had = reserve_free(room);
    return had;
}

/* The first frames are ours, as many as it takes from the program's call to here. */
struct trace trace_take(const void *caller)
{
    enum { OURS_MAX = 12 };
    void *frames[OURS_MAX + TRACE_DEPTH];
    struct trace t = {.frame = {caller}};
    if (backtrace_into == NULL || forgotten || unwinding || !has_variables())
        return t;
    int error = errno, first = 0, state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE,
                           &state); /* the unwinder writes and reads, malloc does not */
    unwinding = true;
    int count = backtrace_into(frames, ARRAY_LENGTH(frames));
    unwinding = false;
    pthread_setcancelstate(state, NULL);
    errno = error;
    while (first < count && frames[first] != caller)
        first++;
    for (int i = 1; i < TRACE_DEPTH && first + i < count; i++)
        t.frame[i] = frames[first + i];
    return t;
}

NOINLINE void trace_print(int fd)
{
    struct out o;
    void *frames[FRAMES_MAX];
    int error = errno;
    out_start(&o, fd);
    if (unwinding) {
        out_print(&o, "  (no stack: this happened while another was being printed)\n");
    } else if (backtrace_into == NULL || forgotten) {
        out_print(&o, "  (no stack: libunwind.so.8 is not loaded)\n");
    } else {
        unwinding = true;
        int count = backtrace_into(frames, FRAMES_MAX);
        for (int i = 1; i < count; i++) { /* frame 0 is this function */
            out_print(&o, "  #%-2d %p ", i - 1, frames[i]);
            trace_name(&o, frames[i]);
            out_print(&o, "\n");
        }
        unwinding = false;
    }
    out_flush(&o);
    errno = error;
}
