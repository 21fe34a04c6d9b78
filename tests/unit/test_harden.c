#include "harden.h"

#include "../tools/random.h"
#include "fake_system.h"
#include "gc.h"
#include "region.h"
#include "restart.h"
#include "system.h"
#include "thread.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 64 };
static struct pool *pool;
static char *block;
static int lines = -1; /* a file in the place of descriptor 2 */

static char *new_block(struct pool *of)
{
    char *p = pool_take_one(of);
    if (p == NULL) {
        cr_assert_eq(pool_grow(of), POOL_GREW);
        p = pool_take_one(of);
    }
    cr_assert_not_null(p);
    return p;
}

static void end(void *cache)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_end(cache, &news);
    gc_news(&news);
}

static void start_with(unsigned words)
{
    lines = memfd_create("lines", 0);
    cr_assert_geq(lines, 0);
    dup2(lines, 2);
    options_start(NULL);
    harden_start();
    options.harden = words;
    options.debug.words = words & HARDEN_HOOKS ? DEBUG_HARDEN : 0;
    class_fence = words & HARDEN_GUARD_PAGES ? system_page() : 0;
    sizeclass_start(NULL, 0, 32768);
    pool_start();
    thread_start(end);
    cr_assert(region_start());
    pool = &pools[class_of(SIZE)];
    strcpy(pool->name, "session");
    block = new_block(pool);
}

TestSuite(harden, .timeout = 60);

static const char *printed(void)
{
    static char text[20000];
    ssize_t n = pread(lines, text, sizeof text - 1, 0);
    cr_assert_geq(n, 0);
    text[n] = 0;
    cr_assert_eq(ftruncate(lines, 0), 0);
    lseek(lines, 0, SEEK_SET);
    return text;
}

/* The report's line about the block, in the name of free or of nobody, says `what`. */
static void expect_told(const char *call, const char *what)
{
    char wanted[300];
    snprintf(wanted, sizeof wanted,
             call != NULL ? "tarn: %s(%p): " : "tarn: %s%p: ", call != NULL ? call : "", (void *)block);
    snprintf(wanted + strlen(wanted), 200, "block of pool \"session\" (%d bytes) %s\n", SIZE, what);
    const char *got = printed();
    cr_expect_eq(strncmp(got, wanted, strlen(wanted)), 0, "%s, not %s", got, wanted);
}

static void expect_silence(void)
{
    cr_expect_str_eq(printed(), "");
}

static void give_out(size_t n)
{
    harden_give_out(pool, block, n, false);
}

static bool take_back(void)
{
    return harden_take_back(pool, region_slab(block), block, "free");
}

/* ---- double-free ---- */

Test(harden, a_second_free_is_refused_at_once)
{
    start_with(HARDEN_DOUBLE_FREE);
    for (int i = 0; i < 3; i++) {
        give_out(SIZE);
        cr_expect(take_back());
    }
    expect_silence();
    cr_expect_not(take_back());
    expect_told("free", "was free already; ignored");
}

Test(harden, a_block_that_was_never_out_is_refused)
{
    start_with(HARDEN_DOUBLE_FREE);
    cr_expect_not(take_back());
    expect_told("free", "was free already; ignored");
}

Test(harden, without_the_word_the_slab_finds_it)
{
    start_with(HARDEN_ZERO);
    give_out(SIZE);
    cr_expect(take_back());
    cr_expect(take_back());
    expect_silence();
}

Test(harden, a_new_slab_knows_nothing_of_the_last)
{
    start_with(HARDEN_ALL & ~HARDEN_RANDOM);
    struct slab *s = region_claim_slab(pool->id);
    block = s->base;
    give_out(20);
    cr_expect(take_back());
    region_release_slab(s);
    s = region_claim_slab(pool->id);
    cr_assert_eq(s->base, block);
    memset(block, 1, SIZE);
    give_out(20);
    expect_silence();
}

/* ---- zero ---- */

Test(harden, a_free_block_is_zero_and_stays_so)
{
    start_with(HARDEN_ZERO);
    memset(block, 'x', SIZE);
    give_out(SIZE);
    cr_expect_eq(block[5], 'x', "what was never free is the program's as it is");
    cr_expect(take_back());
    for (int i = 0; i < SIZE; i++)
        cr_expect_eq(block[i], 0);
    give_out(SIZE);
    expect_silence();
}

Test(harden, a_write_to_a_free_block_is_told_wherever_it_was)
{
    start_with(HARDEN_ZERO);
    for (int at = 0; at < SIZE; at++) {
        char what[100];
        uint64_t before = fault_count(FAULT_WRITTEN);
        give_out(SIZE);
        cr_expect(take_back());
        block[at] = 1;
        give_out(SIZE);
        cr_expect_eq(fault_count(FAULT_WRITTEN), before + 1);
        cr_expect_eq(block[at], 0);
        cr_expect(take_back());
        snprintf(what, sizeof what, "was written at offset %d while it was free; going on", at);
        if (at == 0)
            expect_told(NULL, what);
    }
}

/* ---- canary ---- */

/* One byte behind what was asked for, whatever that was, is found, and named if it is not the canary's own. */
Test(harden, an_overrun_by_one_byte_is_found)
{
    start_with(HARDEN_CANARY);
    cr_expect_eq(harden_extra(), 8);
    for (int n = 0; n <= SIZE - 8; n++) {
        size_t end = n > 0 ? (size_t)n : 1;
        uint64_t before = fault_count(FAULT_OVERRUN);
        give_out((size_t)n);
        cr_expect_eq(harden_usable(block), end);
        cr_expect_eq(harden_asked(block), end);
        cr_expect(take_back());
        cr_expect_eq(fault_count(FAULT_OVERRUN), before);
        cr_expect_eq(harden_asked(block), 0);
        give_out((size_t)n);
        block[end] ^= 1;
        cr_expect(take_back());
        cr_expect_eq(fault_count(FAULT_OVERRUN), before + 1, "%d", n);
    }
}

Test(harden, every_byte_behind_the_end_is_watched)
{
    start_with(HARDEN_CANARY);
    for (int at = 20; at < SIZE; at++) {
        uint64_t before = fault_count(FAULT_OVERRUN);
        give_out(20);
        block[at] ^= 0x40;
        cr_expect(take_back());
        cr_expect_eq(fault_count(FAULT_OVERRUN), before + 1, "%d", at);
    }
}

Test(harden, an_overrun_is_told_with_the_neighbour)
{
    start_with(HARDEN_CANARY);
    char *next = new_block(pool), what[200];
    cr_assert_eq(next, block + SIZE);
    for (int live = 0; live < 2; live++) {
        uint64_t told = fault_count(FAULT_OVERRUN);
        if (live)
            harden_give_out(pool, next, 1, false);
        give_out(20);
        block[22] = 0;
        cr_expect(take_back());
        cr_expect_eq(fault_count(FAULT_OVERRUN), told + 1);
        snprintf(what, sizeof what,
                 "was written at offset 22, behind its end (the next one, %p, is free); going on",
                 (void *)next);
        if (!live) /* the same block and kind a second time is not told */
            expect_told("free", what);
    }
}

Test(harden, the_last_block_has_no_neighbour)
{
    start_with(HARDEN_CANARY);
    const struct slab *s = region_slab(block);
    block = s->base + (size_t)(s->blocks - 1) * SIZE;
    give_out(20);
    block[21] = 0;
    cr_expect(take_back());
    expect_told("free", "was written at offset 21, behind its end; going on");
}

Test(harden, a_canary_is_another_one_for_each_block)
{
    start_with(HARDEN_CANARY);
    char *next = new_block(pool);
    give_out(SIZE - 8);
    harden_give_out(pool, next, SIZE - 8, false);
    cr_expect_neq(memcmp(block + SIZE - 8, next + SIZE - 8, 8), 0);
    memcpy(block + SIZE - 8, next + SIZE - 8, 8); /* so one that was read can't be written elsewhere */
    cr_expect(take_back());
    cr_expect_eq(fault_count(FAULT_OVERRUN), 1);
}

Test(harden, without_zero_the_canary_watches_the_free_block_too)
{
    start_with(HARDEN_CANARY);
    give_out(20);
    cr_expect(take_back());
    give_out(20);
    expect_silence();
    cr_expect(take_back());
    block[30] ^= 1;
    give_out(20);
    expect_told(NULL, "was written at offset 30 while it was free; going on");
}

Test(harden, blocks_of_every_size)
{
    start_with(HARDEN_ALL);
    uint64_t seed = 1;
    for (unsigned c = 1; c <= class_count; c++) {
        size_t most = class_table[c].size - harden_extra(), n = 1 + random_below(&seed, most);
        char *p = new_block(&pools[c]);
        harden_give_out(&pools[c], p, n, false);
        cr_expect_eq(harden_usable(p), n);
        memset(p, 0xB7, n);
        cr_expect(harden_take_back(&pools[c], region_slab(p), p, "free"));
        expect_silence();
        harden_give_out(&pools[c], p, n, false);
        p[n] ^= 1;
        cr_expect(harden_take_back(&pools[c], region_slab(p), p, "free"));
        cr_expect_eq(fault_count(FAULT_OVERRUN), c);
        printed();
    }
}

/* TARN_DEBUG's words write into free blocks as well. */
Test(harden, gets_along_with_debugging_words)
{
    static const unsigned words[] = {DEBUG_INTEGRITY, DEBUG_BACKUP, DEBUG_TAG, DEBUG_CALLER, DEBUG_POISON};
    start_with(HARDEN_ALL);
    for (unsigned all = 0; all < 1 << ARRAY_LENGTH(words); all++) {
        options.debug.words = DEBUG_HARDEN;
        for (size_t i = 0; i < ARRAY_LENGTH(words); i++)
            options.debug.words |= all >> i & 1 ? words[i] : 0;
        block = new_block(pool);
        for (int i = 0; i < 3; i++) {
            give_out(20);
            cr_expect_eq(harden_usable(block), 20);
            memset(block, i, 20);
            cr_expect(take_back());
            expect_silence();
        }
        cr_expect_not(take_back());
        cr_expect_eq(fault_count(FAULT_TWICE), all + 1);
        printed();
    }
}

/* ---- quarantine ---- */

Test(harden, a_block_waits_until_others_were_freed)
{
    start_with(HARDEN_QUARANTINE);
    struct cache *cache = thread_cache();
    unsigned c = class_of(32768);
    enum { FIT = QUARANTINE_BYTES / 32768 };
    char *p[FIT + 1];
    for (int i = 0; i <= FIT; i++) {
        cr_expect_null(cache_release(cache));
        p[i] = new_block(&pools[c]);
        cr_expect(cache_detain(cache, c, p[i]));
        cr_expect_eq(cache_held(cache, c), (uint64_t)i + 1);
    }
    cr_expect_eq(cache_release(cache), p[0]);
    cr_expect(thread_drains(c), "it is on its way");
    cr_expect_null(cache_release(cache));
    cr_expect_not(thread_drains(c));
    cr_expect_eq(cache_held(cache, c), FIT);
    struct pool_news news;
    pool_news_init(&news);
    cache_end_wait(cache, &news);
    gc_news(&news);
    cr_expect_eq(cache_held(cache, c) + pools[c].used, 1, "what was released");
    cr_expect_not(thread_drains(c));
}

static void fill_quarantine(unsigned count)
{
    struct pool_news news;
    pool_news_init(&news);
    for (unsigned i = 0; i < count; i++) {
        cr_assert(cache_detain(thread_cache(), pool->id, new_block(pool)));
        for (void *p; (p = cache_release(thread_cache())) != NULL;)
            pool_give_one(&pools[region_class(p)], p, &news);
        gc_news(&news);
    }
}

Test(harden, the_quarantine_is_bounded_in_blocks_too)
{
    start_with(HARDEN_QUARANTINE);
    fill_quarantine(10000);
    cr_expect_geq(pool->used, 2000);
    cr_expect_leq(pool->used, 2100);
    cr_expect_eq(pool->used, 1 + thread_held(pool->id));
}

static void *fill_and_end(void *unused)
{
    fill_quarantine(500);
    return unused;
}

static uint64_t in_warm_caches(void)
{
    struct pool_news news;
    uint64_t held = thread_held(pool->id);
    pool_news_init(&news);
    thread_drain_idle(&news);
    gc_news(&news);
    return held;
}

Test(harden, what_a_thread_leaves_in_quarantine_waits_in_the_next_ones)
{
    start_with(HARDEN_QUARANTINE);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, fill_and_end, NULL);
        pthread_join(thread, NULL);
    }
    cr_expect_eq(in_warm_caches(), 2045);
    cr_expect_eq(pool->used, 1);
}

static pthread_barrier_t filled, done;

static void *fill_and_wait(void *unused)
{
    fill_quarantine(500);
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&done);
    return unused;
}

static void start_who_fills_and_waits(pthread_t *thread)
{
    thread_cache();
    fill_quarantine(5);
    pthread_barrier_init(&filled, NULL, 2);
    pthread_barrier_init(&done, NULL, 2);
    pthread_create(thread, NULL, fill_and_wait, NULL);
    pthread_barrier_wait(&filled);
    cr_expect_eq(pool->used, 1 + 5 + 500);
}

static void leave(pthread_t thread)
{
    pthread_barrier_wait(&done);
    pthread_join(thread, NULL);
}

Test(harden, a_forks_child_takes_over_what_others_detained)
{
    start_with(HARDEN_QUARANTINE);
    pthread_t thread;
    start_who_fills_and_waits(&thread);
    pid_t child = fork();
    if (child == 0) {
        struct pool_news news;
        pool_news_init(&news);
        thread_adopt_orphans(&news);
        gc_news(&news);
        _exit(pool->used == 1 + 5 && thread_held(pool->id) == 5 ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0);
    leave(thread);
}

Test(harden, a_collection_ends_the_wait_of_all_threads_but_no_idle_look_does)
{
    start_with(HARDEN_QUARANTINE);
    pthread_t thread;
    struct pool_news news;
    pool_news_init(&news);
    start_who_fills_and_waits(&thread);
    thread_drain_others(THREAD_IDLE, &news, gc_news);
    thread_drain_others(THREAD_IDLE, &news, gc_news);
    thread_drain_others(THREAD_ALL, &news, gc_news);
    cr_expect_eq(pool->used, 1 + 5 + 500);
    gc_run();
    cr_expect_eq(pool->used, restart_possible() ? 1 : 1 + 500);
    leave(thread);
}

/* ---- random ---- */

Test(harden, blocks_come_from_anywhere_and_no_block_twice)
{
    start_with(HARDEN_RANDOM);
    static bool seen[UNIT / SIZE];
    const struct slab *s = region_slab(block);
    size_t before = (size_t)(block - s->base) / SIZE, ascending = 0;
    seen[before] = true;
    for (unsigned i = 1; i < s->blocks; i++) {
        char *p = pool_take_one(pool);
        cr_assert_eq(region_slab(p), s);
        size_t at = (size_t)(p - s->base) / SIZE;
        cr_assert_not(seen[at]);
        seen[at] = true;
        ascending += at == before + 1;
        before = at;
    }
    pool_check(pool);
    cr_expect_lt(ascending, s->blocks / 4);
}

/* ---- guard pages ---- */

Test(harden, the_last_page_of_a_slab_is_out_of_reach)
{
    start_with(HARDEN_GUARD_PAGES);
    int file = memfd_create("file", 0);
    size_t page = system_page();
    struct fault f;
    for (unsigned c = 1; c <= class_count; c++) {
        struct slab *s = region_claim_slab(c);
        char *end = s->base + s->units * (size_t)UNIT, *last = s->base + (size_t)(s->blocks - 1) * s->size;
        cr_assert_eq(s->blocks, class_table[c].blocks);
        cr_assert_leq(last + s->size, end - page);
        cr_assert_eq(pwrite(file, end - page - 1, 1, 0), 1);
        cr_assert_eq(pwrite(file, end - page, 1, 0), -1);
        cr_assert_eq(pwrite(file, end - 1, 1, 0), -1);
        cr_expect(harden_explain(end - page, &f));
        cr_expect_eq(f.expected, last);
        cr_expect_eq(f.offset, end - page - last);
        cr_expect_not(harden_explain(last, &f));
        region_release_slab(s);
        cr_assert_eq(pwrite(file, end - page, 1, 0), 1);
    }
}

Test(harden, an_underrun_is_told_of_the_block_behind)
{
    start_with(HARDEN_GUARD_PAGES);
    struct slab *s = region_claim_slab(pool->id);
    struct fault f;
    cr_assert(harden_explain(s->base - 3, &f));
    cr_expect_eq(f.expected, s->base);
    cr_expect_eq(f.offset, -3);
}

Test(harden, so_is_one_below_the_window)
{
    start_with(HARDEN_GUARD_PAGES);
    char *window = (char *)region.base;
    struct fault f;
    cr_assert_eq(region_class(window), pool->id);
    cr_assert(harden_explain(window - 3, &f));
    cr_expect_eq(f.expected, window);
    cr_expect_eq(f.offset, -3);
    cr_expect_not(harden_explain(window - system_page() - 1, &f));
}

Test(harden, a_fence_that_the_kernel_refuses_is_none)
{
    start_with(HARDEN_GUARD_PAGES);
    struct fault f;
    region_claim_slab(pool->id); /* what it needs once is there */
    fake_refuse(0, 1);
    struct slab *s = region_claim_slab(pool->id);
    fake_refuse_none();
    cr_assert_not_null(s);
    char *end = s->base + UNIT;
    end[-1] = 1;
    cr_expect_not(harden_explain(end - 1, &f));
    region_release_slab(s);
}

/* As where RLIMIT_DATA has no room for the page: all of the slab is unmapped, and can be had again. */
Test(harden, a_fence_that_the_kernel_keeps_goes_with_its_slab)
{
    start_with(HARDEN_GUARD_PAGES);
    struct slab *s = region_claim_slab(pool->id);
    char *base = s->base;
    *base = 1;
    fake_refuse(0, 1);
    region_release_slab(s);
    fake_refuse_none();
    cr_expect_eq(region_class(base), CLASS_NONE);
    for (int i = 0; i < 100 && region_class(base) == CLASS_NONE; i++)
        region_claim_slab(pool->id);
    cr_expect_eq(region_class(base), pool->id);
    cr_expect_eq(*base, 0);
    base[UNIT - system_page() - 1] = 1;
    region_check();
}

Test(harden, units_whose_fence_stays_are_not_used_again)
{
    start_with(HARDEN_GUARD_PAGES);
    struct slab *s = region_claim_slab(pool->id);
    char *base = s->base;
    fake_refuse(0, 2); /* not unmapped either */
    region_release_slab(s);
    fake_refuse_none();
    cr_expect_eq(region_class(base), CLASS_NONE);
    for (int i = 0; i < 100; i++)
        cr_expect_neq(region_claim_slab(pool->id)->base, base);
    region_check();
}

/* ---- refusals ---- */

Test(harden, without_memory_for_its_books_there_is_no_slab)
{
    start_with(HARDEN_ALL);
    for (size_t after = 0; after < 4; after++)
        for (unsigned c = 1; c <= class_count; c++) {
            fake_refuse(after, SIZE_MAX);
            struct slab *s = region_claim_slab(c);
            fake_refuse_none();
            if (s != NULL)
                region_release_slab(s);
            region_check();
        }
}
