/*
 * large_jemalloc: what large.c and large_shims.c know of jemalloc, and of each other. Nobody else includes it.
 *
 * The names are those that scripts/rename-jemalloc.sh gives; the types are those of Debian's header.
 */
#ifndef TARN_LARGE_JEMALLOC_H
#define TARN_LARGE_JEMALLOC_H

#define JEMALLOC_NO_RENAME
#define JEMALLOC_NO_DEMANGLE
#define JEMALLOC_EXPORT __attribute__((visibility("hidden")))
#define je_malloc_conf  tarn_je_malloc_conf
#define je_mallocx      tarn_je_mallocx
#define je_xallocx      tarn_je_xallocx
#define je_sallocx      tarn_je_sallocx
#define je_dallocx      tarn_je_dallocx
#include <jemalloc/jemalloc.h>

#pragma GCC visibility push(hidden)

/* Without the "pure" of jemalloc's header: called for its effect, which is that jemalloc starts, or meets the
   calling thread. 0: it could not start. */
size_t tarn_je_nallocx(size_t bytes, int flags);

/* Pads each block by a page, to spread them over cache sets: no block would end on a unit. 5.3.0 has this as an
   option, but does not read it from malloc_conf. */
extern bool tarn_je_opt_cache_oblivious;

/* What arena 0 takes, when it is made, for the size from which a freed extent is given back at once. By name, like
   what follows: mallctl is not linked in. */
extern size_t tarn_je_oversize_threshold;

extern void *tarn_je_arenas[];
extent_hooks_t *tarn_je_arena_set_extent_hooks(void *tsd, void *arena, extent_hooks_t *hooks);
void tarn_je_arena_decay(void *tsd, void *arena, bool is_background_thread, bool all);

/* The page map. Its lock is held while a part of the map is made, once for each GiB (arm64: 4) of addresses, and
   5.3.0 forgets it in a fork. What it guards is in order at any moment, so a child may have it anew. */
struct large_page_map {
    void *base;
    char lock[];
};
extern struct large_page_map tarn_je_arena_emap_global;
extern char tarn_je_arena_emap_end[];
void tarn_je_malloc_mutex_postfork_child(void *tsd, void *mutex);

#pragma GCC visibility pop

/* What `change` makes of the page map's whole pages. */
bool large_page_map(bool (*change)(void *at, size_t bytes));

/* What jemalloc registered, or thought it did, while it started. Written once, before anyone reads it. */
struct large_registered {
    void (*thread_end)(void *tsd);
    void (*prefork)(void);
    void (*postfork_parent)(void);
    void (*postfork_child)(void);
};
extern struct large_registered large_registered;

/* What jemalloc wants thread_end to be called with for this thread; NULL: it has not met this thread. */
extern __thread void *large_tsd;

#endif
