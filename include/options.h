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

/* TARN_DEBUG's words (debug.h). */
enum debug_word {
    DEBUG_FAIL = 1 << 0,
    DEBUG_NO_MERGE = 1 << 1,
    DEBUG_COLD_FIRST = 1 << 2,
    DEBUG_INTEGRITY = 1 << 3,
    DEBUG_NO_GLOBAL = 1 << 4,
    DEBUG_NO_CACHE = 1 << 5,
    DEBUG_CALLER = 1 << 6,
    DEBUG_TAG = 1 << 7,
    DEBUG_POISON = 1 << 8,
    DEBUG_UAF = 1 << 9,
    DEBUG_BACKUP = 1 << 10,
    DEBUG_HARDEN = 1 << 11, /* no word: set where TARN_HARDEN needs every call */
    /* Those for which every malloc and free must come by the slow path. */
    DEBUG_HOOKS = DEBUG_FAIL | DEBUG_COLD_FIRST | DEBUG_INTEGRITY | DEBUG_CALLER | DEBUG_TAG | DEBUG_POISON |
                  DEBUG_UAF | DEBUG_BACKUP | DEBUG_HARDEN
};

/* TARN_HARDEN's words (harden.h). */
enum harden_word {
    HARDEN_DOUBLE_FREE = 1 << 0,
    HARDEN_QUARANTINE = 1 << 1,
    HARDEN_ZERO = 1 << 2,
    HARDEN_CANARY = 1 << 3,
    HARDEN_RANDOM = 1 << 4,
    HARDEN_GUARD_PAGES = 1 << 5,
    HARDEN_ASLR = 1 << 6,
    HARDEN_READ_ONLY = 1 << 7,
    HARDEN_ALL = (1 << 8) - 1,
    /* Those for which every malloc and free must come by the slow path; */
    HARDEN_HOOKS = HARDEN_DOUBLE_FREE | HARDEN_QUARANTINE | HARDEN_ZERO | HARDEN_CANARY,
    /* and that ask what state a block is in. */
    HARDEN_STATES = HARDEN_DOUBLE_FREE | HARDEN_ZERO | HARDEN_CANARY
};

enum helper { HELPER_NONE, HELPER_THREADS, HELPER_AUTO };

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
    bool stats_at_exit, gc, strict, show, help;
    enum misuse misuse;
    enum helper helper;
    struct {
        unsigned words;       /* of enum debug_word */
        uint8_t fail_percent; /* of DEBUG_FAIL */
        uint8_t poison;       /* of DEBUG_POISON */
        bool help;            /* the list of the words is wanted */
    } debug;
    unsigned harden;     /* of enum harden_word */
    size_t guard_sample; /* one in so many allocations is guarded; 0: none */
    char pools[128];     /* how the dump shows pools: a query (query.h) */
};
extern struct options options;

/* Sets every default, then reads `environment` (NULL-terminated, may be NULL) unless the process runs with more
   rights than its user. False: strict, and a setting was bad or unknown (all the lines are printed); the caller
   ends the program. */
bool options_start(char *const *environment);

/* The table, one row a setting, as text for people (TARN_HELP) or as Markdown (the README). */
void options_help(int fd, bool markdown);

/* TARN_DEBUG's words, a line each, with * where one is on. */
void options_debug_help(int fd);

/* What took effect, one row a setting. */
void options_show(int fd);

/* `options.dump_path` with %p replaced by the pid and %% by %, into path[0..size). False if it does not fit.
   Async-signal-safe. */
bool options_dump_path(char *path, size_t size);

#endif
