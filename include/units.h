/*
 * units: which of the window's units are what: three rows of bits, searched by the word.
 *
 * Owns:       the rows and the counts that follow from them.
 * Promises:   a search finds the lowest run there is; counts are exact.
 * Guarded by: the lock of the region that holds it; counts and words may be read by anyone (READ_ONCE).
 * Never:      knows addresses beyond their alignment, locks, allocates, or asks the kernel.
 *
 *     mapped  1 1 1 1 1 1 1 1 1 1 0 0 0 0 ...        each column is a unit, each word of a row a group of 64:
 *     taken   1 1 0 1 1 0 0 1 1 0 0 0 0 0 ...            free and dirty    pages are there: claimed first
 *     dirty   0 0 1 0 0 0 1 0 0 0 0 0 0 0 ...            free and mapped   a page fault at each touch
 *                                                        free and absent   a system call first
 *
 *     dirty => mapped;   dirty => !taken;   groups from `top` on are all zero
 *     no free unit of kind k lies in a group below low[k]
 *
 * Lowest first keeps what is in use together at the low end, so that what is spare lies in long runs.
 */
#ifndef TARN_UNITS_H
#define TARN_UNITS_H

#include "base.h"

enum { GROUP_UNITS = 64 };

enum units_row { ROW_MAPPED, ROW_TAKEN, ROW_DIRTY, ROWS };

enum units_kind { FREE_DIRTY, FREE_MAPPED /* dirty or not */, FREE_ABSENT, KINDS };

/* A group's words lie together: one page holds the books of the first 128 groups, half a GiB. */
struct units_group {
    uint64_t row[ROWS];
    void *notes; /* the region's, about the group's units; NULL: none yet */
};

struct units {
    struct units_group *group;
    size_t groups;               /* in the window */
    size_t top;                  /* groups that were ever taken from */
    size_t low[KINDS];           /* searches start here */
    size_t first;                /* address of unit 0, in units: what alignment is counted from */
    size_t taken, dirty, mapped; /* units; taken: without the places lost to others */
};

#define UNITS_NONE SIZE_MAX

/* The lowest `count` free units of one kind in a row, the first aligned to `align`; UNITS_NONE. */
size_t units_find(struct units *u, enum units_kind kind, size_t count, size_t align);

/* How many units in a row from `unit` on, `most` at the most, are free and of a kind. */
size_t units_run(const struct units *u, enum units_kind kind, size_t unit, size_t most);

/* Takes free units; true if none of them was dirty. */
bool units_take(struct units *u, size_t unit, size_t count);

/* Frees taken units: as dirty ones where they are mapped, or as they were before they were taken. */
void units_free(struct units *u, size_t unit, size_t count, bool dirty);

/* The same for units that are only on their way, to be mapped or unmapped: nobody else finds them, nobody counts
   them. Lost ones can be restored too. */
bool units_withdraw(struct units *u, size_t unit, size_t count);
void units_restore(struct units *u, size_t unit, size_t count);

/* Restored units are dirty after all. */
void units_set_dirty(struct units *u, size_t unit, size_t count);

/* Taken, absent units are mapped now; taken, mapped ones absent. */
void units_set_mapped(struct units *u, size_t unit, size_t count);
void units_set_absent(struct units *u, size_t unit, size_t count);

/* Taken units turn out to be somebody else's place: they stay taken, and are counted no more. */
void units_lose(struct units *u, size_t unit, size_t count);

/* Withdraws the highest dirty units in a row, `most` at the most; returns how many, 0: none is dirty. */
size_t units_withdraw_dirty(struct units *u, size_t most, size_t *unit);

void units_check(const struct units *u);

#endif
