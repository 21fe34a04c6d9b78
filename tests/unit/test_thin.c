#include "thin.h"

#include "fake_system.h"
#include "fork.h"
#include "gc.h"
#include "heap.h"
#include "named.h"
#include "options.h"
#include "region.h"
#include "system.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 2000, MARK = 0x5A };
static unsigned char *block[MANY];

static void start(void)
{
    setenv("TARN_CACHE", "0", 1);
    heap_start();
}

TestSuite(thin, .init = start);

/* MANY blocks, of which one in `stays` is left. */
static struct pool *prepare(size_t size, int stays)
{
    for (int i = 0; i < MANY; i++) {
        block[i] = heap_alloc(size);
        memset(block[i], MARK, size);
    }
    for (int i = 0; i < MANY; i++)
        if (i % stays != 0)
            heap_free(block[i], "free");
    struct pool *pool = &pools[class_of(size)];
    struct pool_news news;
    pool_news_init(&news);
    cache_drain(READ_ONCE(cache_self), pool->id, &news);
    pool_collect(pool, 0, &news);
    return pool;
}

static bool is_all(const unsigned char *p, size_t n, unsigned char c)
{
    while (n > 0 && *p == c)
        p++, n--;
    return n == 0;
}

/* What is in use is as it was; a free block of whole pages reads as zeroes; and the pool can use it all again. */
Test(thin, gives_whole_pages_of_free_blocks_alone)
{
    static const size_t sizes[] = {80, 512, 1024, 2048, 4096, 5000, 12288, 20000, 32768};
    for (size_t k = 0; k < ARRAY_LENGTH(sizes); k++) {
        size_t size = sizes[k], page = system_page();
        struct pool *pool = prepare(size, 7);
        uint64_t allocated = pool->allocated, used = pool->used;
        size_t bytes = thin_pool(pool);
        pool_check(pool);
        cr_assert_eq(pool->allocated, allocated);
        cr_assert_eq(pool->used, used);
        if (size >= page)
            cr_assert_geq(bytes, MANY / 7 * 6 * (size - page) / 4);
        for (int i = 0; i < MANY; i += 7)
            cr_assert(is_all(block[i], size, MARK), "%zu", size);
        if (size % page == 0)
            for (int i = 1; i < MANY; i += 7)
                cr_assert(is_all(block[i], size, region_class(block[i]) == pool->id ? 0 : MARK), "%zu", size);
        for (int i = 0; i < MANY; i += 7)
            heap_free(block[i], "free");
        heap_check();
    }
}

Test(thin, looks_again_where_a_block_came_back)
{
    struct pool *pool = prepare(4096, 3);
    cr_assert_gt(thin_pool(pool), 0);
    size_t before = fake_discards();
    cr_assert_eq(thin_pool(pool), 0);
    cr_assert_eq(fake_discards(), before);
    struct pool_news news;
    pool_news_init(&news);
    pool_give_one(pool, block[0], &news);
    cr_assert_gt(thin_pool(pool), 0);
}

Test(thin, leaves_a_slab_that_is_more_than_half_in_use)
{
    cr_assert_gt(thin_pool(prepare(4096, 2)), 0);
    struct pool *pool = prepare(8192, 1);
    struct pool_news news;
    pool_news_init(&news);
    pool_give_one(pool, block[0], &news);
    cr_assert_eq(thin_pool(pool), 0);
}

/* mlockall: it stops at the first. */
Test(thin, the_kernel_may_refuse)
{
    struct pool *pool = prepare(4096, 3);
    fake_refuse(0, SIZE_MAX);
    cr_assert_eq(thin_pool(pool), 0);
    cr_assert_eq(fake_refused(), 1);
    pool_check(pool);
    for (unsigned i = 0; i < pool->slabs; i++) /* each slab comes up once */
        cr_assert_eq(thin_pool(pool), 0);
    fake_refuse_none();
    cr_assert_gt(thin_pool(pool), 0);
    cr_assert_eq(thin_pool(pool), 0);
}

/* A pattern in a free block must still be there, or a copy's like, or a canary; zero is what the kernel gives. */
Test(thin, not_where_free_blocks_are_looked_at)
{
    struct pool *pool = prepare(4096, 3);
    options.debug.words = DEBUG_INTEGRITY;
    cr_assert_eq(thin_pool(pool), 0);
    options.debug.words = DEBUG_BACKUP;
    cr_assert_eq(thin_pool(pool), 0);
    options.debug.words = DEBUG_HARDEN;
    options.harden = HARDEN_CANARY;
    cr_assert_eq(thin_pool(pool), 0);
    options.harden = HARDEN_ALL;
    cr_assert_gt(thin_pool(pool), 0);
}

static struct pool *name_and_prepare(void **last)
{
    int error;
    struct pool *pool = named_create(&(struct wish){.name = "thin", .size = 4096}, &error);
    for (int i = 0; i < MANY; i++)
        block[i] = heap_pool_alloc(pool, 4096, BLOCK_ALIGN, true);
    for (int i = 1; i < MANY; i++)
        heap_pool_free(pool, block[i], "free");
    *last = block[0];
    return pool;
}

static void *thin(void *pool)
{
    thin_pool(pool);
    return pool;
}

/* Those in our hands are nobody's. */
Test(thin, meanwhile_free_blocks_count_as_free, .timeout = 60)
{
    void *last;
    pthread_t thread;
    struct pool *pool = name_and_prepare(&last);
    named_flush(pool);
    uint64_t used = pool->used;
    fake_gate(true);
    pthread_create(&thread, NULL, thin, pool);
    while (fake_waiting() == 0)
        sched_yield();
    pool_check(pool);
    cr_assert_eq(pool->used, used);
    heap_pool_free(pool, last, "free");
    cr_assert(named_destroy(pool));
    fake_gate(false);
    pthread_join(thread, NULL);
    pool_check(pool);
    gc_run();
    cr_assert_eq(pool->allocated, 0);
}

static bool can_have_all(struct pool *pool)
{
    uint64_t unused = pool_unused(pool), had = 0;
    pool_check(pool);
    while (pool_take_one(pool) != NULL)
        had++;
    return unused > 0 && had == unused && pool->withdrawn == 0;
}

Test(thin, a_forks_child_has_the_blocks_that_were_in_our_hands, .timeout = 60)
{
    pthread_t thread;
    int status = -1;
    struct pool *pool = prepare(4096, 7);
    fake_gate(true);
    pthread_create(&thread, NULL, thin, pool);
    while (fake_waiting() == 0)
        sched_yield();
    fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        fork_child();
        fake_gate(false);
        _exit(!can_have_all(pool));
    }
    fork_parent();
    fake_gate(false);
    pthread_join(thread, NULL);
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
    cr_assert(can_have_all(pool));
}

/* Who finds no block, and a limit reached, is refused at once. */
Test(thin, not_where_a_limit_is_set)
{
    void *last;
    struct pool *pool = name_and_prepare(&last);
    cr_assert(named_limit(pool, MANY * 2));
    named_flush(pool);
    size_t before = fake_discards();
    cr_assert_eq(thin_pool(pool), 0);
    cr_assert_eq(fake_discards(), before);
    heap_pool_free(pool, last, "free");
    cr_assert(named_destroy(pool));
}
