/*
 * crash: a program that touches what no one may touch dies with a line that says what it was.
 *
 * Owns:       SIGSEGV and SIGBUS under TARN_DEBUG=uaf, where they stand at their default.
 * Promises:   an access to a guarded block's surroundings, or to the block after its free, is reported
 *             (FAULT_TOUCHED); then, and after any other crash at once, the access is made again with the signal at its
 *             default: the process dies of it, with its core and its status, as it would without tarn.
 * Guarded by: nothing: whichever thread crashes reads records that need no lock.
 * Never:      returns to a program that then goes on; replaces a handler; makes an alternate stack: where a stack
 *             overflows and the program has none, the kernel kills it as ever.
 */
#ifndef TARN_PRELOAD_CRASH_H
#define TARN_PRELOAD_CRASH_H

/* Once, from the constructor, after options_start. */
void crash_start(void);

#endif
