/*
 * helper: a thread of ours that gives memory back while the program calls nothing.
 *
 * Owns:       the one thread of tarn's, and pthread_create, which tells us that the program has made one.
 * Promises:   a program with threads has it for as long as it has them, a program with one only while there is much to
 *             give back, and a second longer; it takes no signal, and holds nothing that a fork's child would miss; the
 *             process ends with its last own thread.
 * Guarded by: a mutex; who only looks, and the helper itself, wait for nobody.
 * Never:      is made where the loader or libpthread may hold a lock: not before the program starts, not in a call of
 *             libc's, not in a handler that struck pthread_create; nor in a child of vfork, whose memory is the parent's.
 */
#ifndef TARN_PRELOAD_HELPER_H
#define TARN_PRELOAD_HELPER_H

#include <stdbool.h>

/* Once the program may have threads; with TARN_HELPER=auto. */
void helper_start(void);

/* For what only a program with one thread may do: waits until there is none. False: there was none. With the next wish, or
   thread, there is one again. */
bool helper_step_aside(void);

/* In a fork's child, which does not have the thread. */
void helper_forget(void);

/* Makes one, if that is safe here: where gc_wants_helper, after a free of the program's, with no lock held. */
void helper_hire(void);

/* None is made from now on where the program has not made a thread just before. */
void helper_hire_no_more(void);

#endif
