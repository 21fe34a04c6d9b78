/*
 * options: the settings, read once from the environment.
 *
 * Owns:       `options`, and the one reading of TARN_* variables.
 * Promises:   a wrong value is one line on stderr (variable, value, what is accepted, what is used instead), and
 *             changes nothing else; an unknown TARN_* name gets a did-you-mean; of two entries with one name the
 *             first counts; nothing is read in a secure-execution process; allocates nothing, calls no libc
 *             function that does, or that asks the locale.
 * Guarded by: written once by options_start, before a second thread can know of tarn; read-only afterwards
 *             (but for `misuse`, which mallopt may change: READ_ONCE).
 * Never:      acts on a setting: the room concerned does. Never prints unasked.
 */
#ifndef TARN_OPTIONS_H
#define TARN_OPTIONS_H

#include "base.h"
#include "sizeclass.h"

enum misuse { MISUSE_IGNORE, MISUSE_WARN, MISUSE_ABORT };

struct options {
    uint32_t classes[CLASS_POOLS]; /* bytes, ascending, classes_count of them; none: the default */
    unsigned classes_count;
    size_t max_pooled; /* bytes; with classes: the last of them */
    size_t cache;      /* bytes */
    struct {
        size_t size;
        uint64_t blocks;
    } minavail[CLASS_POOLS];
    unsigned minavail_count;
    size_t limit;        /* bytes; SIZE_MAX: none */
    int signal;          /* 0: none */
    bool signal_named;   /* the user named it: take it even where it is ignored */
    int dump_fd;         /* -1: dump_path */
    char dump_path[512]; /* as written, with %p */
    bool stats_at_exit, gc, helper, strict, show, help;
    enum misuse misuse;
};
extern struct options options;

/* Sets every default, then reads `environment` (NULL-terminated, may be NULL) unless the process runs with more
   rights than its user. False: strict, and a setting was bad or unknown (all the lines are printed); the caller
   ends the program. */
bool options_start(char *const *environment);

/* The table, one row a setting, as text for people (TARN_HELP) or as Markdown (the README). */
void options_help(int fd, bool markdown);

/* What took effect, one row a setting. */
void options_show(int fd);

/* `options.dump_path` with %p replaced by the pid and %% by %, into path[0..size). False if it does not fit.
   Async-signal-safe. */
bool options_dump_path(char *path, size_t size);

#endif
