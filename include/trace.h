/*
 * trace: libunwind behind two functions, and names of addresses.
 *
 * Owns:       the handle of libunwind, loaded by trace_start and not before.
 * Promises:   without libunwind (not installed, or not built in: trace_none.c) a trace is one line that says so.
 *             Keeps errno.
 * Guarded by: a thread-local flag: a fault while unwinding prints without a trace.
 * Never:      runs with a lock of ours held, or in the SIGQUIT handler: unwinding takes the loader's lock.
 */
#ifndef TARN_TRACE_H
#define TARN_TRACE_H

#include "base.h"

struct out;

/* Where in the program something was called from: the caller, its caller, ...; NULL: no more are known. */
enum { TRACE_DEPTH = 8 };
struct trace {
    const void *frame[TRACE_DEPTH];
};

/* Loads libunwind, once; called at start only by a setting that needs stacks. May allocate. */
void trace_start(void);

/* No stacks from now on: for the child of a fork, where a thread that did not come along may have held the loader's lock. */
void trace_forget(void);

/* Prints the calling thread's stack on `fd`, a line a frame: address, symbol+offset, object. */
void trace_print(int fd);

/* The stack from `caller` on, a return address into the program; without libunwind, or where that is not found on it,
   the caller alone. Must not be called with a lock held. */
struct trace trace_take(const void *caller);

/* Appends what lies just before `address`, where a call returns to: "symbol+0x12 (object)", or "(object+0x1234)".
   Takes the loader's lock. */
void trace_name(struct out *o, const void *address);

#endif
