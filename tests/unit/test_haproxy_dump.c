/*
 * The end of a pool, and what a dump shows: HAProxy's sentences X1-X3 and B4 of 1.9, P1-P5 and B5 of 1.10, Q1-Q4 of
 * 1.11.
 *
 * Not tested as written:
 *     X3  the lock is destroyed, the head freed  heads are static: who walks over the pools never reads what is gone
 *     B4  no user can leave while blocks are     only the last one cannot
 *         used
 *     P1  pools never used have a line           malloc's of no use have none: a line is worth reading
 *     P3  cut off after 16 kB                    it is written piece by piece
 *     P4  nothing where stderr is closed         to the descriptor that it is given
 *     P5  totals are read without a lock         all of it is, and exact at rest
 *     Q1  SIGQUIT's order                        tests/victims/signal.sh; here that to look is not to flush
 *     Q2  the process goes on                    tests/victims/signal.sh
 *     Q3  the handler only queues                it dumps, and wishes for the collection (G6 in test_haproxy_gc.c)
 */
#include "../tools/one_pool.h"
#include "fork.h"
#include "meta.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

TestSuite(haproxy_dump, .init = start_pool, .timeout = 30);

/* ---- 1.9: destroy ----------------------------------------------------------------------------------- */

static int is_this(struct tarn_pool *each, void *one)
{
    return each == one;
}

Test(haproxy_dump, X1_destroy_flushes_first_even_where_it_refuses)
{
    cr_assert_null(tarn_pool_destroy(NULL));
    cr_assert_eq(errno, ERRNO);
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    free_many(pool, block + 1, MANY - 1);
    cr_assert_eq(tarn_pool_destroy(pool), pool);
    cr_assert_eq(pool_now(pool).slabs, 1);
    cr_assert_eq(pool_now(pool).cached, 0);
}

Test(haproxy_dump, X2_destroy_refuses_while_blocks_are_used)
{
    void *p = tarn_pool_alloc(pool);
    cr_assert_eq(tarn_pool_destroy(pool), pool);
    cr_assert_eq(errno, EBUSY);
    cr_assert_eq(pool_now(pool).users, 1);
    cr_assert_eq(pool_now(pool).used, 1);
    void *q = tarn_pool_alloc(pool);
    cr_assert(q != NULL && q != p);
    tarn_pool_free(pool, p);
    tarn_pool_free(pool, q);
    errno = ERRNO;
    cr_assert_null(tarn_pool_destroy(pool));
    cr_assert_eq(errno, ERRNO);
    heap_check();
}

Test(haproxy_dump, X3_the_last_user_takes_the_pool_along)
{
    struct tarn_pool *shared = tarn_pool_create("shared", 288, 0, TARN_SHARED);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(tarn_pool_create("another", 288, 0, TARN_SHARED), shared);
    tarn_pool_free(shared, tarn_pool_alloc(shared));
    for (unsigned users = 4; users-- > 1;) {
        cr_assert_null(tarn_pool_destroy(shared));
        cr_assert_eq(pool_now(shared).users, users);
        cr_assert_eq(tarn_pools_each(is_this, shared), 1);
    }
    cr_assert_null(tarn_pool_destroy(shared));
    cr_assert_eq(tarn_pools_each(is_this, shared), 0);
    cr_assert_null(strstr(dump("detailed"), "shared "));
    struct tarn_pool *late = tarn_pool_create("late", 288, 0, TARN_SHARED);
    cr_assert_eq(pool_now(late).users, 1);
    cr_assert_str_eq(pool_now(late).name, "late");
}

Test(haproxy_dump, X3_malloc_is_a_user_that_stays)
{
    struct tarn_pool *mallocs = tarn_pool_create("mine", 64, 0, TARN_SHARED);
    void *p = heap_alloc(64);
    memset(p, 9, 64);
    cr_assert_null(tarn_pool_destroy(mallocs));
    cr_assert_eq(errno, ERRNO);
    cr_assert_eq(pool_now(mallocs).users, 1);
    cr_assert_eq(tarn_pool_destroy(mallocs), mallocs);
    cr_assert_eq(errno, EBUSY);
    cr_assert_eq(pool_now(mallocs).users, 1);
    heap_free(p, "free");
    cr_assert_eq(tarn_pool_destroy(mallocs), mallocs);
    cr_assert_not_null(heap_alloc(64));
    cr_assert_eq(heap_usable(heap_alloc(60)), 64);
}

static unsigned given; /* how many of block[] are to be freed by the other */
static bool stop;

/* Frees what it is given into its own cache, and is busy with malloc otherwise: it obeys every recall. */
static void *free_for_others(void *unused)
{
    void *p[20];
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        unsigned count = __atomic_load_n(&given, __ATOMIC_ACQUIRE);
        for (unsigned i = 0; i < count; i++)
            heap_free(block[i], "free");
        if (count > 0)
            __atomic_store_n(&given, 0, __ATOMIC_RELEASE);
        for (size_t i = 0; i < 20; i++)
            p[i] = heap_alloc(16 << i % 8);
        for (size_t i = 0; i < 20; i++)
            heap_free(p[i], "free");
    }
    return unused;
}

Test(haproxy_dump, X3_what_other_threads_have_cached_is_not_used)
{
    pthread_t thread;
    pthread_create(&thread, NULL, free_for_others, NULL);
    time_t end = time(NULL) + 10; /* two on one busy processor need milliseconds for a round */
    for (int i = 0; i < 1500 && time(NULL) < end; i++) {
        struct tarn_pool *mayfly = tarn_pool_create("mayfly", 288 + 32 * (size_t)(i % 5), 0, 0);
        cr_assert_not_null(mayfly);
        cr_assert_eq(alloc_many(mayfly, block, 3), 3);
        __atomic_store_n(&given, 3, __ATOMIC_RELEASE);
        while (__atomic_load_n(&given, __ATOMIC_ACQUIRE) != 0)
            sched_yield();
        cr_assert_null(tarn_pool_destroy(mayfly), "round %d", i);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    heap_check();
}

Test(haproxy_dump, B4_a_user_may_leave_while_another_has_blocks)
{
    struct tarn_pool *shared = tarn_pool_create("a", 288, 0, TARN_SHARED);
    cr_assert_eq(tarn_pool_create("b", 288, 0, TARN_SHARED), shared);
    void *bs = tarn_pool_alloc(shared);
    cr_assert_null(tarn_pool_destroy(shared)); /* a goes */
    cr_assert_eq(pool_now(shared).users, 1);
    cr_assert_eq(tarn_pool_destroy(shared), shared);
    tarn_pool_free(shared, bs);
    cr_assert_null(tarn_pool_destroy(shared));
}

/* ---- 1.10: the dump --------------------------------------------------------------------------------- */

/* What `text` says in the line that begins with `start` about `word`: the number in front of it. */
static uint64_t number(const char *text, const char *start, const char *word)
{
    const char *line = strstr(text, start);
    cr_assert_not_null(line, "no line \"%s\" in\n%s", start, text);
    const char *end = strchr(line, '\n'), *at = strstr(line, word);
    cr_assert(at != NULL && at < end, "no \"%s\" in \"%s\"", word, start);
    while (strchr("0123456789", at[-1]) != NULL)
        at--;
    return strtoull(at, NULL, 10);
}

static void check_line(struct tarn_pool *each)
{
    struct tarn_pool_stats s = pool_now(each);
    char start[64];
    snprintf(start, sizeof start, "Pool %s (%zu bytes)", s.name, s.size);
    const char *text = dump(NULL);
    cr_assert_eq(number(text, start, " allocated"), s.allocated);
    cr_assert_eq(number(text, start, " bytes),"), s.allocated * s.size);
    cr_assert_eq(number(text, start, " used"), s.used);
    cr_assert_eq(number(text, start, " failures"), s.failed);
    cr_assert_eq(number(text, start, " users"), s.users);
    const char *line = strstr(text, start), *shared = strstr(line, "[SHARED]");
    cr_assert_eq(shared != NULL && shared < strchr(line, '\n'), (s.flags & TARN_SHARED) != 0);
}

Test(haproxy_dump, P1_a_line_for_each_pool_by_ascending_size)
{
    struct tarn_pool *shared = tarn_pool_create("shared", 288, 0, TARN_SHARED);
    struct tarn_pool *exact = tarn_pool_create("exact", 333, 0, TARN_EXACT);
    tarn_pool_create("shared", 288, 0, TARN_SHARED);
    cr_assert_eq(alloc_many(pool, block, 100), 100);
    cr_assert_eq(alloc_many(shared, block, 100), 100);
    cr_assert_eq(alloc_many(exact, block, 100), 100);
    free_many(exact, block, 40);
    heap_alloc(5000);
    check_line(pool);
    check_line(shared);
    check_line(exact);
    size_t before = 0, lines = 0;
    for (const char *at = dump(NULL); (at = strstr(at, "- Pool ")) != NULL; lines++) {
        at = strchr(at, '(') + 1;
        size_t size = strtoull(at, NULL, 10);
        cr_assert_geq(size, before);
        before = size;
    }
    cr_assert_eq(lines, 5); /* and malloc's for 16 and for 5120 */
}

Test(haproxy_dump, P1_a_pool_that_was_never_used_has_its_line)
{
    cr_assert_eq(number(dump(NULL), "Pool tested (1008 bytes)", " allocated"), 0);
    cr_assert_not_null(strstr(dump("detailed"), "Pool tested (1008 bytes)"));
    cr_assert_null(strstr(dump("byusage"), "Pool tested "));
}

Test(haproxy_dump, P2_totals_are_the_sums)
{
    struct tarn_pool *exact = tarn_pool_create("test_too", 333, 0, TARN_EXACT);
    cr_assert_eq(alloc_many(pool, block, 700), 700);
    cr_assert_eq(alloc_many(exact, block, 500), 500);
    free_many(exact, block, 123);
    struct tarn_pool_stats a = pool_now(pool), b = pool_now(exact);
    const char *text = dump("match test");
    cr_assert_eq(number(text, "Total:", " pools"), 2);
    cr_assert_eq(number(text, "Total:", " bytes allocated"), a.allocated * a.size + b.allocated * b.size);
    cr_assert_eq(number(text, "Total:", " used"), 700 * a.size + 377 * 333);
    text = dump(NULL);
    uint64_t bytes = 0, used = 0;
    for (const char *at = text; (at = strstr(at, "- Pool ")) != NULL; at++) {
        size_t size = strtoull(strchr(at, '(') + 1, NULL, 10);
        bytes += number(at, "- Pool ", " allocated") * size;
        used += number(at, "- Pool ", " used") * size;
    }
    cr_assert_eq(number(text, "Total:", " bytes allocated"), bytes);
    cr_assert_eq(number(text, "Total:", " used"), used);
}

Test(haproxy_dump, P3_no_pool_is_cut_off)
{
    char name[48];
    for (int i = 1; i < TARN_POOLS_MAX; i++) {
        snprintf(name, sizeof name, "pool_with_quite_a_long_name%d", i);
        cr_assert_not_null(tarn_pool_alloc(tarn_pool_create(name, 64 * (size_t)i, 0, 0)), "%d", i);
    }
    const char *text = dump(NULL);
    cr_assert_gt(strlen(text), 16384);
    for (int i = 1; i < TARN_POOLS_MAX; i++) {
        snprintf(name, sizeof name, "quite_a_long_name%d ", i);
        cr_assert_not_null(strstr(text, name));
    }
    cr_assert_geq(number(text, "Total:", " pools"), TARN_POOLS_MAX - 1);
}

Test(haproxy_dump, P4_to_the_descriptor_that_is_given)
{
    int to[2];
    cr_assert_eq(pipe(to), 0);
    cr_assert_eq(tarn_pools_dump(to[1], NULL), 0);
    char text[4096] = {0};
    cr_assert_gt(read(to[0], text, sizeof text - 1), 0);
    cr_assert_eq(strncmp(text, "Dumping pools usage", 19), 0);
    cr_assert_eq(errno, ERRNO);
    cr_assert_eq(tarn_pools_dump(to[1], "by size"), -1);
    cr_assert_eq(errno, EINVAL);
    fcntl(to[0], F_SETFL, O_NONBLOCK);
    cr_assert_eq(read(to[0], text, sizeof text), -1); /* what is no query prints nothing */
}

static int add(struct tarn_pool *each, void *sum)
{
    struct tarn_pool_stats s = pool_now(each);
    ((uint64_t *)sum)[0] += s.allocated * s.size;
    ((uint64_t *)sum)[1] += s.used * s.size;
    ((uint64_t *)sum)[2] += s.failed;
    return 0;
}

Test(haproxy_dump, P5_the_totals_are_those_of_the_statistics)
{
    uint64_t sum[3] = {0};
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    leave_units(0);
    cr_assert_null(heap_alloc(20000));
    cr_assert_eq(tarn_pools_each(add, sum), 0);
    const char *text = dump(NULL);
    cr_assert_eq(number(text, "Total:", " bytes allocated"), sum[0]);
    cr_assert_eq(number(text, "Total:", " used"), sum[1]);
    cr_assert_eq(number(text, "Total:", " failures"), sum[2]);
    cr_assert_eq(sum[2], 2);
}

Test(haproxy_dump, B5_more_than_4_GiB_are_counted)
{
    enum { HUGE = 1100 };
    struct tarn_pool *huge = tarn_pool_create("huge", TARN_SIZE_MAX, 0, 0);
    cr_assert_eq(alloc_many(huge, block, HUGE), HUGE); /* untouched, so no memory */
    uint64_t bytes = pool_now(huge).allocated * TARN_SIZE_MAX;
    cr_assert_gt(bytes, UINT32_MAX);
    cr_assert_eq(number(dump(NULL), "Pool huge ", " bytes),"), bytes);
    cr_assert_geq(number(dump(NULL), "Total:", " bytes allocated"), bytes);
    cr_assert_geq(number(dump(NULL), "Total:", " used"), (uint64_t)HUGE * TARN_SIZE_MAX);
    cr_assert_eq(tarn_pool_set_limit(huge, (size_t)1 << 40), 0);
    tarn_pool_set_minavail(huge, (size_t)1 << 41);
    cr_assert_eq(pool_now(huge).limit, (uint64_t)1 << 40);
    cr_assert_eq(pool_now(huge).minavail, (uint64_t)1 << 41);
}

/* ---- 1.11: SIGQUIT ---------------------------------------------------------------------------------- */

Test(haproxy_dump, Q1_a_look_changes_nothing_a_collection_does)
{
    cr_assert_eq(alloc_many(pool, block, MANY), MANY);
    free_many(pool, block, MANY - 1);
    const char *before = strdup(strstr(dump(NULL), "Pool tested"));
    cr_assert_str_eq(strtok(strstr(dump(NULL), "Pool tested"), "\n"),
                     strtok((char *)(uintptr_t)before, "\n"));
    tarn_gc();
    const char *after = dump(NULL);
    cr_assert_eq(number(after, "Pool tested", " used"), 1);
    cr_assert_leq(number(after, "Pool tested", " allocated"), UNIT / ROUNDED);
    cr_assert_eq(number(after, "Pool tested", " cached"), 0);
}

static pthread_barrier_t locked, dumped;

static void *hold_every_lock(void *unused)
{
    fork_prepare();
    pthread_barrier_wait(&locked);
    pthread_barrier_wait(&dumped);
    fork_parent();
    return unused;
}

/* A handler may strike a thread that holds any lock of ours; and memory may be short just then. */
Test(haproxy_dump, Q3_Q4_a_dump_takes_no_lock_and_no_memory)
{
    pthread_t thread;
    size_t calls, books;
    cr_assert_eq(alloc_many(pool, block, 10), 10);
    pthread_barrier_init(&locked, NULL, 2);
    pthread_barrier_init(&dumped, NULL, 2);
    pthread_create(&thread, NULL, hold_every_lock, NULL);
    pthread_barrier_wait(&locked);
    calls = fake_calls(), books = meta_used();
    fake_refuse(0, SIZE_MAX);
    const char *const query[] = {NULL, "byname", "bysize 5", "byusage", "match test", "detailed"};
    for (size_t i = 0; i < sizeof query / sizeof query[0]; i++)
        cr_assert_not_null(strstr(dump(query[i]), "Pool "), "%zu", i);
    cr_assert_eq(fake_calls(), calls);
    cr_assert_eq(meta_used(), books);
    cr_assert_eq(errno, ERRNO);
    fake_refuse_none();
    pthread_barrier_wait(&dumped);
    pthread_join(thread, NULL);
    heap_check();
}
