/*
 * system: the only door to the kernel's memory.
 *
 * Owns:       how memory is asked for and given back; the count of what we hold mapped.
 * Promises:   a refusal is a value (NULL or false), never a crash; errno is left as the kernel set it, and
 *             preload/ keeps the program's.
 * Guarded by: nothing; every call is one system call or none, safe from any thread and in a signal handler.
 * Never:      is called with a lock of ours held (debug builds check).
 *
 * Tests link tests/fake/fake_system.c instead of system.c: the same door, which refuses on order.
 */
#ifndef TARN_SYSTEM_H
#define TARN_SYSTEM_H

#include "base.h"

/* Bytes in a page: a power of two, asked of the kernel at run time. */
size_t system_page(void);

/* Fresh zeroed, readable and writable private memory of `bytes` (a multiple of the page), anywhere; NULL if
   refused. */
void *system_map(size_t bytes);

/* The same for a signal handler's sake: whom it interrupted may hold locks. */
void *system_map_anytime(size_t bytes);

enum system_map_result {
    SYSTEM_MAPPED,
    SYSTEM_OCCUPIED, /* something else lies there: ask elsewhere */
    SYSTEM_REFUSED   /* no memory, or a limit */
};

/* The same, exactly at `at` (page-aligned). Replaces nothing that is there already. */
enum system_map_result system_map_at(void *at, size_t bytes);

/* The same in the place of what is mapped there; false if refused, and then nothing may be there. */
bool system_map_over(void *at, size_t bytes);

/* False if the kernel refused (a hole makes two mappings of one): nothing changed. */
bool system_unmap(void *at, size_t bytes);

/* Gives the pages back at once; they read as zeroes afterwards. False if the kernel refused: nothing changed. */
bool system_discard(void *at, size_t bytes);

/* From now on the kernel fills memory as it maps it (mlockall), or no more. Does it? Gives back what it filled of
   fresh memory that is to be used a little at a time (true: it did). */
void system_expect_fill(bool fill);
bool system_fills(void);
bool system_unfill(void *at, size_t bytes);

enum system_move_result {
    SYSTEM_MOVED,
    SYSTEM_STAYED, /* where they were; the other place reads as zeroes */
    SYSTEM_TORN    /* where they were; at the other place nothing is mapped any more */
};

/* Moves the pages of [from, from+bytes) to [to, to+bytes), whose own are lost; both stay mapped, the first reads as
   zeroes. The kernel can't where it is older than 5.7, or makes no more mappings. */
enum system_move_result system_move(void *to, void *from, size_t bytes);

/* Lets the program read and write these pages, or lets nobody touch them; what they hold stays. False if the kernel
   refused (it makes no more mappings): some of them may have changed. */
bool system_protect(void *at, size_t bytes, bool accessible);

/* The same, but these pages may be read in any case; and where they may not be written, mlockall does not fill them, nor
   RLIMIT_DATA count them. */
bool system_set_writable(void *at, size_t bytes, bool writable);

/* How many bytes of [at, at+bytes) are resident now. For the dump; a kernel that won't tell counts as none. */
size_t system_resident(const void *at, size_t bytes);

/* The tightest of RLIMIT_AS and RLIMIT_DATA in bytes; SIZE_MAX if neither limits. */
size_t system_limit(void);

/* A clock in ms that never goes back, coarse and cheap (no system call). */
uint64_t system_now(void);

/* Physical memory of the machine, bytes. */
size_t system_memory(void);

#endif
