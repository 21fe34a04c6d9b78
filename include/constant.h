/*
 * constant: what is written at the start and then no more: settings, classes, where the region lies, secrets.
 *
 * Owns:       the pages of the variables that are marked CONSTANT (base.h), with class_map and malloc's rows of
 *             class_table: preload/layout.ld lays them side by side.
 * Promises:   under TARN_HARDEN=read-only a write to them ends the process, from constant_close on, if the region is
 *             placed by then.
 * Guarded by: nothing: who opens them, closes them again.
 * Never:      is laid out, and so does nothing, in a program that is linked with the rooms themselves (our tests).
 */
#ifndef TARN_CONSTANT_H
#define TARN_CONSTANT_H

/* When all is started. */
void constant_close(void);

/* For what the program may change later, seldom (mallopt). */
void constant_open(void);

#endif
