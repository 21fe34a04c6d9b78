/*
 * stack: room for a deep call in a thread whose own stack may be short.
 *
 * Owns:       a stack, for the length of one call.
 * Promises:   stack_run calls `run` once, on the calling thread and with its signal mask: on a new stack of STACK_BYTES,
 *             or on the present one, if that is the first thread's and nearly empty, or if the kernel refuses another.
 * Guarded by: nothing; the caller has no `struct lock`, for memory is mapped.
 * Never:      takes more than a few hundred bytes of the caller's stack.
 */
#ifndef TARN_STACK_H
#define TARN_STACK_H

enum { STACK_BYTES = 64 * 1024 };

void stack_run(void (*run)(void));

#endif
