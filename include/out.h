/*
 * out: text for people, without memory of its own making.
 *
 * Owns:       nothing; a line being built lives in the caller's frame.
 * Promises:   async-signal-safe; allocates nothing, takes no lock, keeps errno; 64-bit numbers; a text longer
 *             than the buffer is written in pieces, never cut. A reader that has gone does not end the program
 *             by SIGPIPE, and a thread's cancellation does not happen here.
 * Guarded by: nothing: an `out` belongs to one caller.
 * Never:      writes to a descriptor it was not given.
 */
#ifndef TARN_OUT_H
#define TARN_OUT_H

#include "base.h"

#include <sys/types.h>

struct out {
    int fd;          /* -1: the text goes nowhere                  */
    unsigned used;   /* bytes waiting in `text`                    */
    char text[1000]; /* small enough for a signal handler's stack  */
};

/* Begins an empty text for `fd`. */
void out_start(struct out *o, int fd);

/*
 * Appends. The format knows: %s (NULL prints "(null)"), %c, %d (int), %u (unsigned), %lu and %llu (uint64_t),
 * %zu, %p (0x...), %x (unsigned), %b (size_t: bytes for people: 512, 64.0k, 1.5M, 2.0G), %%, and a width
 * before any of them, with '-' for left alignment: "%-12s", "%10lu".
 */
void out_print(struct out *o, const char *format, ...);

/* Writes what is waiting. Short writes and EINTR are continued; another error drops the rest. */
void out_flush(struct out *o);

/*
 * Which file a descriptor was. A daemon closes its descriptors and opens files in their place: what is remembered
 * at start is compared before every line, and a number that means something else now gets none.
 */
struct out_file {
    int fd; /* -1: there was none */
    dev_t device, special;
    ino_t inode;
};

void out_remember(struct out_file *file, int fd);
bool out_is_same(const struct out_file *file);

/* Descriptor 2 is remembered from here on; before, out_complain trusts it. Once, at start. */
void out_remember_stderr(void);

/* The remembered descriptor 2, or -1 where it is no longer the same. */
int out_stderr(void);

/* One whole line "tarn: ..." on descriptor 2, by one write(2) where it fits; the format is out_print's. */
void out_complain(const char *format, ...);

#endif
