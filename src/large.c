/*
 * jemalloc keeps the books of large blocks (sizes, splitting, merging, which free extent serves a request); the
 * memory is the region's, through extent hooks. Three decisions make that work:
 *
 * Units. Every request is rounded up to whole units before jemalloc sees it. jemalloc's sizes are four to a
 * doubling, so a multiple of a unit is rounded to a multiple of a unit, and all that it ever asks for, splits
 * or merges lies on unit boundaries. A unit is then either wholly jemalloc's or not at all, and its class byte
 * can say which: CLASS_BODY, or CLASS_LARGE where a block that the program holds starts. free() turns LARGE
 * into BODY with one compare-and-swap before it calls jemalloc: of two frees, one wins, the other is told.
 *
 * Nothing spare. What is freed goes back to the region at once, whose business it is to keep some of it for the
 * next claim: pools may have it, one limit and one clock rule all of it, and what jemalloc holds is what lives. So
 * one arena, no cache per thread, no decay. It costs 100 ns a block more than jemalloc's own spare would,
 * of the 1.4 us that touching the smallest takes. (So kept, 400 MB stayed after the last free.)
 *
 * No threads. jemalloc links each thread that it meets into a list, through the thread's own memory, and relies
 * on a pthread key to be told of its end: too late or never, when other destructors still allocate. But it
 * must serve such a thread after its end all the same, and then links nothing. So each thread is introduced
 * and at once declared dead (settle): from then on jemalloc serves it out of arena 0, and its end needs no care.
 */
#include "large.h"

#include "check.h"
#include "large_jemalloc.h"
#include "options.h"
#include "region.h"
#include "stack.h"
#include "system.h"

#include <pthread.h>
#include <string.h>

/* oversize_threshold: here, no arena of its own for big blocks. trust_madvise: no probe of the kernel. */
const char *je_malloc_conf = "narenas:1,tcache:false,retain:false,background_thread:false,abort_conf:false,"
                             "oversize_threshold:0,dirty_decay_ms:0,muzzy_decay_ms:0,trust_madvise:true";

enum {
    CLEAR_MAX = 1 << 20, /* bytes that are cleared by hand; more is given back to the kernel instead */
    MOVE_MIN = 1 << 20,  /* bytes from which realloc has the kernel move pages (carry_and_free) */
    GROW_MAX = 1 << 28,  /* and up to which it leaves addresses to grow into (align_to_grow) */
};

/* Not a struct lock: it is held while jemalloc starts, which maps memory. It comes just before jemalloc's own. */
static pthread_mutex_t start_mutex = PTHREAD_MUTEX_INITIALIZER;
static bool started;

static __thread bool settled;

/* What the hook gave jemalloc during this thread's present call of it. */
static __thread struct grant {
    void *at;
    size_t bytes;
    bool zeroed;
} grant;

/* The block that this thread is about to free, when its pages have moved away. */
static __thread struct {
    const void *at;
    size_t bytes;
} emptied;

static struct {
    uint64_t blocks, bytes, held, failed;
} books;

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static void uncount(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_sub(counter, n, __ATOMIC_RELAXED);
}

/* ---- extent hooks: called with locks of jemalloc's held --------------------------------------------- */

static void *hook_alloc(extent_hooks_t *hooks, void *at, size_t bytes, size_t align, bool *zero, bool *commit,
                        unsigned arena)
{
    (void)hooks, (void)arena;
    check(bytes % UNIT == 0);
    size_t units = bytes >> UNIT_SHIFT;
    bool zeroed = false;
    void *p = at != NULL ? region_claim_at(at, units, &zeroed)
                         : region_claim(units, align <= UNIT ? 1 : align >> UNIT_SHIFT, &zeroed);
    if (p == NULL)
        return NULL;
    region_set_class(p, units, CLASS_BODY);
    count(&books.held, bytes);
    grant = (struct grant){p, bytes, zeroed};
    *zero = zeroed;
    *commit = true;
    return p;
}

/* False means done, here and below. */
static bool hook_dalloc(extent_hooks_t *hooks, void *at, size_t bytes, bool committed, unsigned arena)
{
    (void)hooks, (void)committed, (void)arena;
    check(bytes % UNIT == 0);
    if (grant.at == at)
        grant.at = NULL;
    uncount(&books.held, bytes);
    region_release_as(at, bytes >> UNIT_SHIFT, at != emptied.at || bytes != emptied.bytes);
    return false;
}

static bool hook_split(extent_hooks_t *hooks, void *at, size_t bytes, size_t low, size_t high, bool committed,
                       unsigned arena)
{
    (void)hooks, (void)at, (void)bytes, (void)committed, (void)arena;
    return low % UNIT != 0 || high % UNIT != 0;
}

static bool hook_merge(extent_hooks_t *hooks, void *low, size_t low_bytes, void *high, size_t high_bytes,
                       bool committed, unsigned arena)
{
    (void)hooks, (void)low, (void)low_bytes, (void)high, (void)high_bytes, (void)committed, (void)arena;
    return false;
}

/* What is missing, jemalloc, which reads them only, does without: units are always committed, and purged once released. */
static const extent_hooks_t hooks = {
    .alloc = hook_alloc,
    .dalloc = hook_dalloc,
    .split = hook_split,
    .merge = hook_merge,
};

/* ---- entering jemalloc ------------------------------------------------------------------------------ */

/* Its books take 6 MiB, and what it gets of them before it is refused the rest it keeps: in a process that may have
   no more than this, it is not asked. */
static const size_t room_for_books = (size_t)32 << 20;

static bool frozen, woken;

static bool freeze(void *at, size_t bytes)
{
    return system_set_writable(at, bytes, false);
}

void large_rest(void)
{
    pthread_mutex_lock(&start_mutex);
    if (!frozen && !woken)
        frozen = large_page_map(freeze);
    pthread_mutex_unlock(&start_mutex);
}

static void wake(void)
{
    if (frozen && !large_page_map(system_map_over))
        return;
    if (!woken)
        large_page_map(system_unfill);
    frozen = false;
    woken = true;
    tarn_je_opt_cache_oblivious = false;
    tarn_je_oversize_threshold = 0;
    if (tarn_je_nallocx(UNIT, 0) != 0) {
        tarn_je_arena_set_extent_hooks(large_tsd, tarn_je_arenas[0], (extent_hooks_t *)&hooks);
        __atomic_store_n(&started, true, __ATOMIC_RELEASE);
    }
}

/* jemalloc's start takes 11 KB of stack, where a thread may have 16 of which its own variables are a part. */
static COLD bool start(void)
{
    if (READ_ONCE(region.room) < room_for_books)
        return false;
    pthread_mutex_lock(&start_mutex);
    if (!started)
        stack_run(wake);
    bool up = started;
    pthread_mutex_unlock(&start_mutex);
    return up;
}

static COLD void settle(void)
{
    tarn_je_nallocx(UNIT, 0);
    large_registered.thread_end(large_tsd);
    settled = true;
}

/* Before every call of jemalloc. False: it could not start, for want of memory; it may later. */
static bool enter(void)
{
    if (unlikely(!__atomic_load_n(&started, __ATOMIC_ACQUIRE)) && !start())
        return false;
    if (unlikely(!settled))
        settle();
    grant.at = NULL;
    return true;
}

/* jemalloc forgets an extent that the hook gave it when it then finds no memory for its own books. */
static COLD void take_back_grant(void)
{
    if (grant.at != NULL)
        hook_dalloc(NULL, grant.at, grant.bytes, true, 0);
}

/* ---- marks ------------------------------------------------------------------------------------------ */

/* CLASS_LARGE or CLASS_BARE if a block starts at `p`, else CLASS_NONE. */
static size_t starts_block(const void *p)
{
    size_t class = region_class(p);
    bool starts = (uintptr_t)p % UNIT == 0 && (class == CLASS_LARGE || class == CLASS_BARE);
    return starts ? class : CLASS_NONE;
}

/* To BODY; returns what it was, CLASS_NONE if no block starts there, or somebody else was first. */
static size_t unmark(void *p)
{
    size_t class = starts_block(p);
    if (class == CLASS_NONE)
        return CLASS_NONE;
    uint16_t place = (uint16_t)class_place((unsigned)class);
    bool ours = __atomic_compare_exchange_n(&region.places[region_unit(p)], &place, class_place(CLASS_BODY),
                                            false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    return ours ? class : CLASS_NONE;
}

/* ---- bare blocks ------------------------------------------------------------------------------------ */

/*
 * jemalloc's books take 6 MiB before its first block, and some limits (RLIMIT_DATA of 8 MiB) do not allow that. Where
 * it is not asked, or fails, a block is units of the region, and their number is noted there: correct, and not quick.
 * If the region is what failed, it does so again, and that is the failure which the caller sees.
 */
static void *bare_alloc(size_t bytes, size_t align, bool zero)
{
    size_t units = bytes >> UNIT_SHIFT;
    bool zeroed;
    void *p =
        units > UINT32_MAX ? NULL : region_claim(units, align <= UNIT ? 1 : align >> UNIT_SHIFT, &zeroed);
    if (p == NULL)
        return NULL;
    uint32_t *note = region_note(p);
    if (note == NULL) {
        region_release(p, units);
        return NULL;
    }
    *note = (uint32_t)units;
    if (zero && !zeroed)
        memset(p, 0, bytes);
    region_set_class(p, units, CLASS_BODY);
    region_set_class(p, 1, CLASS_BARE);
    count(&books.held, bytes);
    return p;
}

static size_t bare_bytes(const void *p)
{
    return (size_t)*region_note(p) << UNIT_SHIFT;
}

static void bare_free(void *p)
{
    uncount(&books.held, bare_bytes(p));
    region_release(p, *region_note(p));
}

/* ---- the contract ----------------------------------------------------------------------------------- */

/* Bytes to ask of jemalloc for a request; 0: more than there are addresses. It refuses what else is absurd. */
static size_t whole_units(size_t n)
{
    return n == 0 ? UNIT : ALIGN_UP(n, (size_t)UNIT);
}

static void clear(void *p, size_t bytes)
{
    if (bytes <= CLEAR_MAX || !system_discard(p, bytes))
        memset(p, 0, bytes);
}

static void *jemalloc_alloc(size_t bytes, size_t align, bool zero)
{
    void *p = je_mallocx(bytes, align > UNIT ? MALLOCX_LG_ALIGN(__builtin_ctzll(align)) : 0);
    if (p == NULL) {
        take_back_grant();
        return NULL;
    }
    bool fresh = grant.at == p && grant.zeroed;
    if (zero && !fresh)
        clear(p, bytes);
    region_set_class(p, 1, CLASS_LARGE);
    return p;
}

/* Of a block known to be of `class`. */
static size_t bytes_of(const void *p, size_t class)
{
    return class == CLASS_BARE ? bare_bytes(p) : je_sallocx(p, 0);
}

void *large_alloc(size_t n, size_t align, bool zero)
{
    size_t bytes = whole_units(n);
    if (bytes == 0)
        return NULL;
    void *p = enter() ? jemalloc_alloc(bytes, align, zero) : NULL;
    if (p == NULL && (p = bare_alloc(bytes, align, zero)) == NULL)
        return NULL;
    count(&books.blocks, 1);
    count(&books.bytes, bytes_of(p, region_class(p)));
    return p;
}

/* Of what was unmarked. */
static void let_go(void *p, size_t class)
{
    uncount(&books.blocks, 1);
    uncount(&books.bytes, bytes_of(p, class));
    if (class == CLASS_BARE)
        bare_free(p);
    else
        je_dallocx(p, 0);
}

bool large_free(void *p)
{
    size_t class = unmark(p);
    if (class == CLASS_NONE || (class == CLASS_LARGE && !enter()))
        return false;
    if (options.harden & HARDEN_ZERO)
        clear(p, bytes_of(p, class));
    let_go(p, class);
    return true;
}

size_t large_usable(const void *p)
{
    size_t class = starts_block(p);
    return class == CLASS_BARE || (class == CLASS_LARGE && enter()) ? bytes_of(p, class) : 0;
}

/* Makes a block of jemalloc's bigger or smaller where it is, as far as that goes; returns its bytes. */
static size_t resize_in_place(void *p, size_t before, size_t bytes)
{
    size_t after = je_xallocx(p, bytes, 0, 0);
    if (after == before)
        take_back_grant();
    count(&books.bytes, after - before); /* either sign: the counter wraps as the difference does */
    return after;
}

/*
 * The pages themselves move where there are many: eight buffers grown side by side to 32 MiB, 1.0 -> 0.5 ms a step. From
 * 1 MiB on, since each move may cost two of the 65530 mappings that a process has; and where no limit is set, for the
 * kernel counts what moves twice. The region is told that nothing stayed behind (.82 -> .60 ms a step): else it
 * takes empty units for spare memory, and gives back the real one.
 */
static bool carry_and_free(void *to, void *from, size_t bytes)
{
    enum system_move_result result = SYSTEM_STAYED;
    if (bytes >= MOVE_MIN && READ_ONCE(region.room) == SIZE_MAX)
        result = system_move(to, from, bytes);
    if (result == SYSTEM_TORN) {
        region_forget(to, bytes >> UNIT_SHIFT);
        let_go(to, unmark(to));
        return false;
    }
    if (result == SYSTEM_MOVED) {
        emptied.at = from;
        emptied.bytes = bytes;
    } else {
        memcpy(to, from, bytes);
    }
    large_free(from);
    emptied.at = NULL;
    return true;
}

/*
 * For a block that grows and had to move: addresses to grow into, with no memory behind them until then, since the next one
 * that is placed so lies beyond the next multiple. Four buffers grown side by side to 32 MiB by 256 KiB: 152 -> 101 us a
 * step, 66 with what is above. Where a limit is set, what is mapped for growth counts.
 */
static size_t align_to_grow(size_t bytes)
{
    size_t align = 1;
    while (READ_ONCE(region.room) == SIZE_MAX && align < bytes + bytes / 4 && align < GROW_MAX)
        align *= 2;
    return align;
}

void *large_realloc(void *p, size_t n)
{
    size_t bytes = whole_units(n), before = large_usable(p), after = before;
    if (bytes == 0)
        return NULL;
    if (starts_block(p) == CLASS_LARGE)
        after = resize_in_place(p, before, bytes);
    if (after >= bytes)
        return p;
    void *moved = large_alloc(n, align_to_grow(bytes), false);
    if (moved == NULL)
        moved = large_alloc(n, 1, false);
    return moved != NULL && carry_and_free(moved, p, before) ? moved : NULL;
}

/* There is something to give back only where two threads freed at once, and jemalloc's pages are as big as our units
   (arm64): it takes small blocks for parts of a slab then, and leaves one spare while another thread gives back. */
void large_purge(void)
{
    if (READ_ONCE(books.held) > READ_ONCE(books.bytes) && enter())
        tarn_je_arena_decay(large_tsd, tarn_je_arenas[0], false, true);
}

void large_stats(struct large_stats *s)
{
    s->blocks = READ_ONCE(books.blocks);
    s->bytes = READ_ONCE(books.bytes);
    s->held = READ_ONCE(books.held);
    s->failed = READ_ONCE(books.failed);
}

void large_count_failure(void)
{
    count(&books.failed, 1);
}

void large_prefork(void)
{
    pthread_mutex_lock(&start_mutex);
    if (started && enter()) /* settled before its locks are held */
        large_registered.prefork();
}

void large_postfork_parent(void)
{
    if (started)
        large_registered.postfork_parent();
    pthread_mutex_unlock(&start_mutex);
}

void large_postfork_child(void)
{
    if (started) {
        large_registered.postfork_child();
        tarn_je_malloc_mutex_postfork_child(large_tsd, tarn_je_arena_emap_global.lock);
    }
    start_mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
