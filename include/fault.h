/*
 * fault: what the program did wrong, told.
 *
 * Owns:       the wording of every report, and the memory of what was reported already.
 * Promises:   by TARN_MISUSE: nothing; one line (for a foreign pointer the first time only; for the other kinds
 *             once for each kind and address, FAULT_LINES of them in all; FAULT_TOUCHED always); or the line, a
 *             backtrace, and SIGABRT. A line more for each of the callers, now and of the block's last alloc and
 *             free, that is known, or for each of its frames.
 *             A report allocates nothing and keeps errno.
 * Guarded by: atomic variables.
 * Never:      runs with a lock of ours held, and never acts on the pointer.
 */
#ifndef TARN_FAULT_H
#define TARN_FAULT_H

#include "base.h"
#include "trace.h"

enum fault_kind {
    FAULT_FOREIGN,    /* not from tarn, nor from its jemalloc */
    FAULT_INSIDE,     /* inside a block, not its start */
    FAULT_TWICE,      /* free already */
    FAULT_FREE_SPACE, /* tarn's address range, but no block there now */
    FAULT_OVERRUN,    /* written behind (offset >= size asked for) or in front of (offset < 0) the block */
    FAULT_WRITTEN,    /* a free block was written to */
    FAULT_WRONG_POOL, /* given to a pool that it is not of */
    FAULT_SIZE,       /* given back as a block of another size */
    FAULT_TOUCHED,    /* a guarded block's guard page, or the block after its free, was read or written */
    FAULT_KINDS
};

enum { FAULT_LINES = 16 };

struct fault {
    enum fault_kind kind;
    const char *call; /* "free", "realloc", ... or "flush" where it was found later; NULL: no call's doing */
    const void *pointer;  /* as given */
    size_t pool_size;     /* block size of the pool it lies in; 0: none, or large */
    const char *pool;     /* that pool's name; NULL or "": told by its size alone */
    const char *other;    /* FAULT_WRONG_POOL: the name of the pool it was given to */
    const void *expected; /* where the block starts; NULL: not known */
    ptrdiff_t offset; /* FAULT_OVERRUN, FAULT_WRITTEN, FAULT_TOUCHED: of the first bad byte, from the start */
    bool live;        /* FAULT_TOUCHED: the block is in use */
    size_t given;     /* FAULT_SIZE: that size */
    const void *neighbour; /* FAULT_OVERRUN: the block behind it; NULL: not known */
    bool neighbour_live;
    struct trace called;           /* who calls now; with allocated and freed: all NULL where not known */
    struct trace allocated, freed; /* its last alloc and free */
    const void *touched; /* FAULT_TOUCHED: just behind where the instruction starts; NULL: not known */
};

void fault_report(const struct fault *f);

/* How many of each kind so far. Any time, signal-safe. */
uint64_t fault_count(enum fault_kind kind);

#endif
