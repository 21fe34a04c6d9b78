/*
 * signal: a running process shows where its memory is, and goes on.
 *
 * Owns:       the disposition of one signal (SIGQUIT, or what TARN_SIGNAL says) where nobody else wants it;
 *             which file the dump goes to.
 * Promises:   the interrupted program notices nothing: errno, cancellation and SIGPIPE stay as they were,
 *             system calls are restarted where the kernel can; the dump shows the state before the flush; one
 *             dump at a time. Only the file that stood at the dump's descriptor at start is ever written to:
 *             a daemon that closed and reused the number gets no line of ours in its data.
 * Guarded by: an atomic flag.
 * Never:      takes a lock, allocates, calls jemalloc or libunwind; replaces a handler.
 *
 * Never put preload/ on the include path: this file would stand in for the system's <signal.h>.
 */
#ifndef TARN_PRELOAD_SIGNAL_H
#define TARN_PRELOAD_SIGNAL_H

/*
 * Installs the handler, if the signal stands at its default (or is ignored and the user named it), and
 * recalls what the dump's descriptor is. Once, from the constructor, after options_start. TARN_STATS_AT_EXIT
 * needs no further call: signal.c has its own destructor.
 */
void signal_start(void);

#endif
