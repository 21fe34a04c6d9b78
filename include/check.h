/*
 * check: our own mistakes, and only those, end the process.
 *
 * Owns:       nothing.
 * Promises:   a failed check prints one line with file and line, by one write(2), and traps.
 * Guarded by: nothing; async-signal-safe, allocates nothing.
 * Never:      judges what the program did: a user's mistake goes to fault.h.
 */
#ifndef TARN_CHECK_H
#define TARN_CHECK_H

#include "base.h"

/* Prints "tarn: internal error: FILE:LINE: WHAT" on descriptor 2 and traps. */
_Noreturn COLD void check_failed(const char *file, int line, const char *what);

/* Always on: cheap tests whose failure means that tarn's own state can't be trusted. */
#define check(condition) (likely(condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

/* On in debug builds (-DTARN_DEBUG), and then also what is too dear to ask always. */
#ifdef TARN_DEBUG
#define debug_check(condition) check(condition)
#else
#define debug_check(condition) ((void)sizeof((condition) ? 1 : 0))
#endif

#endif
