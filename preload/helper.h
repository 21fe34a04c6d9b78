/*
 * helper: a thread of ours, in a program that has threads.
 *
 * Owns:       the one thread of tarn's, and pthread_create, which tells us that the program has made one.
 * Promises:   a program with one thread keeps one; ours takes no signal, sleeps while there is nothing to do, and
 *             holds nothing that a fork's child would miss.
 * Guarded by: an atomic flag.
 * Never:      is made from inside malloc: the loader or libpthread may hold locks there.
 */
#ifndef TARN_PRELOAD_HELPER_H
#define TARN_PRELOAD_HELPER_H

/* In a fork's child, which does not have the thread: the next pthread_create makes it a new one. */
void helper_forget(void);

#endif
