#include "../tools/debug_block.h"
#include "fake_system.h"
#include "fault.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

static char here[8]; /* addresses in this program, for callers */

TestSuite(debug, .init = start, .timeout = 30);

static const char *overrun(const char *call, int offset)
{
    char what[100];
    snprintf(what, sizeof what, "was written at offset %d, behind its end; going on", offset);
    return line(call, what);
}

/* ---- nothing ---- */

Test(debug, without_a_word_nothing_is_done)
{
    const void *allocated, *freed;
    size_t calls = fake_calls();
    memset(block, 'x', SIZE);
    for (int i = 0; i < 2; i++) {
        give_out(20);
        cr_expect(take_back());
        cr_expect(take_back());
    }
    for (int i = 0; i < SIZE; i++)
        cr_expect_eq(block[i], 'x');
    debug_callers(block, &allocated, &freed);
    cr_expect(allocated == NULL && freed == NULL);
    cr_expect_eq(debug_extra(), 0);
    cr_expect_eq(debug_usable(block), SIZE);
    cr_expect_not(debug_fails());
    cr_expect_eq(fake_calls(), calls);
    cr_expect_str_eq(printed(), "");
}

/* ---- tag ---- */

Test(debug, a_tag_lies_right_behind_the_bytes_asked_for)
{
    options.debug.words = DEBUG_TAG;
    cr_assert_eq(debug_extra(), 8);
    for (int n = 1; n <= SIZE - 8; n++) {
        block = new_block(pool);
        memset(block, 'x', SIZE);
        give_out((size_t)n);
        cr_expect_eq(debug_usable(block), (size_t)n);
        for (int i = 0; i < n; i++)
            cr_assert_eq(block[i], 'x');
        for (int i = n + 8; i < SIZE; i++)
            cr_assert_eq(block[i], 'x');
        memset(block, 'y', (size_t)n);
        cr_expect(take_back());
        cr_expect_eq(fault_count(FAULT_OVERRUN), 0);
    }
    cr_expect_str_eq(printed(), "");
}

Test(debug, the_first_byte_behind_the_end_is_named)
{
    options.debug.words = DEBUG_TAG;
    for (int i = 0; i < 8; i++) {
        block = new_block(pool);
        give_out(20);
        block[20 + i]++;
        block[27] += i < 7;
        cr_expect(debug_take_back(pool, block, "realloc"), "the block can be used again");
        cr_expect_str_eq(printed(), overrun("realloc", 20 + i));
    }
    cr_expect_eq(fault_count(FAULT_OVERRUN), 8);
}

/* So that a copy of the neighbour, its tag with it, is no good. */
Test(debug, tags_differ_from_block_to_block_and_from_pool_to_pool)
{
    char tag[8], *first = block;
    options.debug.words = DEBUG_TAG;
    give_out(20);
    memcpy(tag, block + 20, 8);
    block = new_block(pool);
    give_out(20);
    cr_expect_neq(memcmp(tag, block + 20, 8), 0);
    block = first;
    debug_give_out(&pools[pool->id + 1], block, 20, false);
    cr_expect_neq(memcmp(tag, block + 20, 8), 0);
}

/* 0 bytes are told from no block; where no room was asked for, none is taken. */
Test(debug, tags_of_the_smallest_and_the_biggest)
{
    options.debug.words = DEBUG_TAG;
    give_out(0);
    cr_expect_eq(debug_usable(block), 1);
    block[0] = 'x';
    cr_expect(take_back());
    cr_expect_eq(debug_usable(block), SIZE, "a free block has no tag");
    memset(block, 'x', SIZE);
    give_out(SIZE - 7);
    for (int i = 0; i < SIZE; i++)
        cr_expect_eq(block[i], 'x');
    cr_expect(take_back());
    cr_expect_str_eq(printed(), "");
}

/* ---- twice ---- */

Test(debug, words_that_keep_notes_find_a_double_free_at_once)
{
    static const unsigned words[] = {DEBUG_INTEGRITY, DEBUG_CALLER, DEBUG_TAG, DEBUG_BACKUP};
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        options.debug.words = words[i];
        block = new_block(pool);
        give_out(20);
        cr_expect(take_back());
        cr_expect_not(take_back());
        cr_expect_str_eq(printed(), line("free", "was free already; ignored"));
        give_out(20);
        cr_expect(take_back());
    }
    cr_expect_eq(fault_count(FAULT_TWICE), ARRAY_LENGTH(words));
}

enum { THREADS = 4, ROUNDS = 2000 };
static pthread_barrier_t barrier;
static unsigned taken_back;

static void *free_too(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            give_out(20);
        pthread_barrier_wait(&barrier);
        if (take_back())
            __atomic_fetch_add(&taken_back, 1, __ATOMIC_RELAXED);
    }
    return unused;
}

Test(debug, of_threads_that_free_a_block_at_once_one_does)
{
    pthread_t threads[THREADS];
    options.debug.words = DEBUG_CALLER;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, free_too, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_expect_eq(taken_back, ROUNDS);
    cr_expect_eq(fault_count(FAULT_TWICE), ROUNDS * (THREADS - 1));
}

/* ---- caller ---- */

static void expect_callers(const void *allocated, const void *freed)
{
    const void *a, *f;
    debug_callers(block, &a, &f);
    cr_expect(a == allocated && f == freed, "%p %p", a, f);
}

Test(debug, callers_are_remembered)
{
    const char *one = here, *two = here + 4;
    options.debug.words = DEBUG_CALLER;
    expect_callers(NULL, NULL);
    debug_caller = one + 1;
    give_out(20);
    expect_callers(one + 1, NULL);
    debug_caller = two + 1;
    cr_expect(take_back());
    expect_callers(one + 1, two + 1);
    debug_caller = two + 2;
    give_out(20);
    expect_callers(two + 2, NULL);
    const void *a, *f;
    debug_callers(&barrier, &a, &f);
    cr_expect(a == NULL && f == NULL);
}

Test(debug, reports_name_the_callers)
{
    options.debug.words = DEBUG_CALLER | DEBUG_TAG | DEBUG_INTEGRITY;
    debug_caller = here;
    give_out(20);
    block[20]++;
    cr_expect(take_back());
    const char *text = printed();
    cr_expect(strstr(text, "going on\n  allocated by ") && !strstr(text, "freed by"), "%s", text);
    block[20]++;
    cr_expect_not(take_back());
    text = printed();
    cr_expect(strstr(text, "ignored\n  allocated by ") && strstr(text, ")\n  freed by "), "%s", text);
    give_out(20);
    text = printed();
    cr_expect(strstr(text, "going on\n  allocated by ") && strstr(text, ")\n  freed by "), "%s", text);
}

Test(debug, only_the_word_keeps_callers)
{
    options.debug.words = DEBUG_TAG;
    debug_caller = block;
    give_out(20);
    cr_expect(take_back());
    expect_callers(NULL, NULL);
}

/* ---- poison ---- */

Test(debug, poison_fills_what_was_asked_for)
{
    options.debug.words = DEBUG_POISON;
    options.debug.poison = 0xa5;
    memset(block, 'x', SIZE);
    give_out(20);
    for (int i = 0; i < SIZE; i++)
        cr_expect_eq((uint8_t)block[i], i < 20 ? 0xa5 : 'x');
    memset(block, 'x', SIZE);
    debug_give_out(pool, block, 20, true);
    for (int i = 0; i < SIZE; i++)
        cr_expect_eq(block[i], 'x', "raw");
}

Test(debug, all_words_get_along)
{
    options.debug.words = DEBUG_POISON | DEBUG_TAG | DEBUG_INTEGRITY | DEBUG_BACKUP | DEBUG_CALLER;
    for (int i = 0; i < 10; i++) {
        give_out(30);
        for (int k = 0; k < 30; k++)
            cr_expect_eq(block[k], 0x50);
        memset(block, i, 30);
        cr_expect(take_back());
    }
    cr_expect_str_eq(printed(), "");
}

/* ---- fail ---- */

static unsigned failures_of(unsigned requests)
{
    unsigned n = 0;
    for (unsigned i = 0; i < requests; i++)
        n += debug_fails();
    return n;
}

Test(debug, fail_hits_as_many_as_it_says)
{
    static const unsigned percents[] = {0, 1, 10, 50, 100};
    options.debug.words = DEBUG_FAIL;
    debug_caller = here;
    for (size_t i = 0; i < ARRAY_LENGTH(percents); i++) {
        unsigned hits, wanted = percents[i] * 1000;
        options.debug.fail_percent = (uint8_t)percents[i];
        hits = failures_of(100000);
        cr_expect_geq(hits * 10, wanted * 9);
        cr_expect_leq(hits * 10, wanted * 11);
    }
    options.debug.words = 0;
    cr_expect_eq(failures_of(1000), 0);
}

/* The loader and the constructors of libraries come before anything of the program's own. */
Test(debug, fail_waits_for_the_program_and_spares_the_loader)
{
    const char *libc = dlsym(RTLD_DEFAULT, "setvbuf"), *loader = (const char *)getauxval(AT_BASE);
    options.debug.words = DEBUG_FAIL;
    options.debug.fail_percent = 100;
    const char *before[] = {NULL, libc, loader + 0x1000, block, (char *)&libc};
    for (size_t i = 0; i < ARRAY_LENGTH(before); i++) {
        debug_caller = before[i];
        cr_expect_eq(failures_of(10), 0, "%zu", i);
    }
    debug_caller = here;
    cr_expect_eq(failures_of(10), 10);
    debug_caller = libc;
    cr_expect_eq(failures_of(10), 10);
    debug_caller = loader + 0x1000;
    cr_expect_eq(failures_of(10), 0);
}

/* ---- no memory for it ---- */

Test(debug, what_can_not_be_noted_is_not_checked)
{
    options.debug.words = DEBUG_TAG | DEBUG_INTEGRITY | DEBUG_BACKUP | DEBUG_CALLER;
    for (int refused = 0; refused < 2; refused++) { /* the table, then what it points to */
        fake_refuse((size_t)refused, 1000);
        give_out(20);
        cr_expect_eq(debug_usable(block), SIZE);
        cr_expect(take_back());
        cr_expect(take_back());
        give_out(20);
        cr_expect(fake_refused() > 0);
        expect_callers(NULL, NULL);
    }
    fake_refuse_none();
    cr_expect(take_back(), "not noted either");
    give_out(20);
    cr_expect(take_back());
    cr_expect_not(take_back());
    cr_expect_str_eq(printed(), line("free", "was free already; ignored"));
}

Test(debug, a_copy_that_can_not_be_made_is_not_compared)
{
    options.debug.words = DEBUG_BACKUP;
    give_out(SIZE);
    memset(block, 'x', SIZE);
    fake_refuse(0, 1000);
    cr_expect(take_back());
    fake_refuse_none();
    char *first = block;
    block = new_block(pool); /* of the same unit, with a copy now */
    give_out(SIZE);
    cr_expect(take_back());
    block = first;
    give_out(SIZE);
    cr_expect_str_eq(printed(), "");
}
