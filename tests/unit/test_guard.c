#include "guard.h"

#include "../tools/random.h"
#include "fake_system.h"
#include "meta.h"
#include "pool.h"
#include "region.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, POOL = 5, MEBIBYTE = 1 << 20 };

static int file = -1; /* what is written to it, the kernel reads: it says whether an address may be touched */

static void start(void)
{
    file = memfd_create("file", 0);
    cr_assert_geq(file, 0);
    sizeclass_start(NULL, 0, 32768);
    pool_start();
    cr_assert(region_start());
}

TestSuite(guard, .init = start, .timeout = 60);

static const struct trace maker = {.frame = {(void *)0x1111}}, killer = {.frame = {(void *)0x2222}};

static bool touchable(const char *p)
{
    return pwrite(file, p, 1, 0) == 1;
}

static char *alloc(size_t n)
{
    return guard_alloc(n, BLOCK_ALIGN, POOL, &maker);
}

/* NULL: it was taken back, and nothing is wrong. */
static const struct fault *give(void *p)
{
    static __thread struct fault fault;
    return guard_free(p, "free", &killer, &fault) ? NULL : &fault;
}

static size_t taken(void)
{
    struct region_stats s;
    region_check();
    guard_check();
    region_stats(&s);
    return s.taken >> UNIT_SHIFT;
}

static bool is_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* The units of a block of up to 14 pages, freed again and again: the queue goes round. */
static void free_others(size_t count)
{
    for (size_t i = 0; i < count; i++)
        cr_assert_null(give(alloc(1)));
}

/* ---- the block ---- */

Test(guard, a_block_ends_where_its_page_ends)
{
    static const size_t sizes[] = {1,    15,   16,    100,   4080,  4095,   4096,
                                   4097, 5000, 40000, 57344, 65536, 1000000};
    for (size_t asked = 1; asked <= UNIT; asked *= 2)
        for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
            size_t n = sizes[i], align = asked > BLOCK_ALIGN ? asked : BLOCK_ALIGN;
            char *p = guard_alloc(n, asked, POOL, &maker);
            cr_assert_not_null(p);
            cr_assert_eq((uintptr_t)p % align, 0, "%zu at %zu", n, align);
            char *end = (char *)ALIGN_UP((uintptr_t)p + n, PAGE);
            cr_assert_lt(end - (p + n), align < PAGE ? (ptrdiff_t)align : PAGE, "%zu at %zu", n, align);
            cr_assert(is_zero(p, n));
            memset(p, 1, n);
            cr_assert(!touchable(end) && touchable(end - 1));
            char *first = (char *)ALIGN_DOWN((uintptr_t)p, PAGE);
            cr_assert(!touchable(first - 1) && touchable(first));
            for (char *at = first - 1; at < end + PAGE; at += PAGE)
                cr_assert_eq(region_class(at), CLASS_GUARDED);
            cr_assert_eq(guard_usable(p), n);
            cr_assert_eq(guard_pool(p), POOL);
            cr_assert_eq(guard_usable(p + 1), 0);
            cr_assert_null(give(p));
            cr_assert(!touchable(first) && !touchable(end - 1));
            cr_assert_eq(guard_usable(p), 0);
        }
}

Test(guard, nothing_asked_is_a_block_of_one_byte)
{
    char *p = alloc(0), *q = alloc(0);
    cr_assert(p != NULL && q != NULL && p != q);
    cr_assert_eq(guard_usable(p), 1);
    p[0] = 1;
    cr_assert_null(give(p));
}

Test(guard, counts_blocks_and_the_bytes_of_their_pages)
{
    char *a = alloc(100), *b = alloc(5000);
    cr_assert_eq(guard_count(), 2);
    cr_assert_eq(guard_bytes(), 3 * PAGE);
    give(a);
    give(a);
    cr_assert_eq(guard_count(), 1);
    give(b);
    cr_assert_eq(guard_count(), 0);
    cr_assert_eq(guard_bytes(), 0);
}

Test(guard, what_can_not_be_is_null)
{
    cr_assert_null(alloc(SIZE_MAX));
    cr_assert_null(alloc(PTRDIFF_MAX));
    cr_assert_null(alloc(region.units * (size_t)UNIT));
    cr_assert_null(guard_alloc(16, 2 * UNIT, POOL, &maker));
    cr_assert_eq(taken(), 0);
    cr_assert_eq(guard_count(), 0);
}

/* The program needs mappings too. */
Test(guard, there_is_a_most)
{
    static char *p[GUARD_MAX];
    for (size_t i = 0; i < GUARD_MAX; i++)
        cr_assert_not_null(p[i] = alloc(1));
    cr_assert_null(alloc(1));
    char *mapping = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(mapping, MAP_FAILED);
    give(p[GUARD_MAX / 2]);
    cr_assert_not_null(alloc(1));
    cr_assert_null(alloc(1));
}

/* ---- wrong pointers ---- */

Test(guard, a_second_free_is_told_with_the_callers_of_both)
{
    char *p = alloc(100);
    cr_assert_null(give(p));
    const struct fault *f = give(p);
    cr_assert_not_null(f);
    cr_assert_eq(f->kind, FAULT_TWICE);
    cr_assert_str_eq(f->call, "free");
    cr_assert(f->pointer == p && f->expected == p);
    cr_assert(f->allocated.frame[0] == maker.frame[0] && f->freed.frame[0] == killer.frame[0]);
    cr_assert_eq(f->pool_size, class_table[POOL].size);
    cr_assert_eq(f->pool, pools[POOL].name);
}

Test(guard, a_pointer_into_a_block_is_no_block)
{
    char *p = alloc(100);
    const struct fault *f = give(p + 1);
    cr_assert_eq(f->kind, FAULT_INSIDE);
    cr_assert(f->pointer == p + 1 && f->expected == p && f->allocated.frame[0] == maker.frame[0] &&
              f->freed.frame[0] == NULL);
    cr_assert_eq(give(p + 99)->kind, FAULT_INSIDE);
    cr_assert_eq(give(p + 100)->kind, FAULT_FREE_SPACE);
    cr_assert_eq(give(p - 1)->kind, FAULT_FREE_SPACE);
    cr_assert_null(give(p)); /* none of which did harm */
    cr_assert_eq(give(p + 1)->kind, FAULT_FREE_SPACE);
}

Test(guard, of_units_that_are_the_regions_again_nothing_is_known)
{
    char *p = alloc(100);
    give(p);
    guard_collect();
    cr_assert_eq(taken(), 0);
    cr_assert_eq(give(p)->kind, FAULT_FREE_SPACE);
    cr_assert_eq(guard_usable(p), 0);
    struct fault fault;
    cr_assert_not(guard_explain(p, &fault));
}

/* A block of many units is known by its last as by its first. */
Test(guard, every_unit_knows_its_block)
{
    char *before = alloc(1), *p = alloc(20 * (size_t)MEBIBYTE), *behind = alloc(1);
    struct fault fault;
    for (char *at = p + 1; at < p + 20 * (size_t)MEBIBYTE; at += UNIT)
        cr_assert_eq(give(at)->expected, p);
    give(p);
    for (char *at = p; at < p + 20 * (size_t)MEBIBYTE; at += UNIT)
        cr_assert(guard_explain(at, &fault) && fault.expected == p);
    cr_assert_eq(guard_usable(before), 1);
    cr_assert_eq(guard_usable(behind), 1);
}

/* ---- bytes beyond the block, within its pages ---- */

static void expect_damage(size_t n, ptrdiff_t offset)
{
    char *p = alloc(n);
    p[offset] ^= 1;
    const struct fault *f = give(p);
    cr_assert_not_null(f, "%zu at %td", n, offset);
    cr_assert_eq(f->kind, FAULT_OVERRUN);
    cr_assert_eq(f->offset, offset);
    cr_assert(f->pointer == p && f->expected == p && f->allocated.frame[0] == maker.frame[0] &&
              f->freed.frame[0] == killer.frame[0]);
    cr_assert_eq(give(p)->kind, FAULT_TWICE); /* it was taken back */
}

Test(guard, written_bytes_around_the_block_are_found_at_its_free)
{
    expect_damage(100, 100);
    expect_damage(100, 111);
    expect_damage(100, -1);
    expect_damage(100, -(PAGE - 112));
    expect_damage(16, -1);
    expect_damage(5000, 5000);
    expect_damage(5000, 5007);
    expect_damage(40000, -1);
}

Test(guard, the_written_byte_that_is_nearest_is_named)
{
    char *p = alloc(100);
    memset(p - 8, 0, 8);
    cr_assert_eq(give(p)->offset, -1);
    p = alloc(100);
    memset(p + 102, 0, 8);
    cr_assert_eq(give(p)->offset, 102);
}

/* ---- what an address belongs to ---- */

Test(guard, explains_the_pages_that_nobody_may_touch)
{
    struct fault f;
    char *p = alloc(100), *end = (char *)ALIGN_UP((uintptr_t)p + 100, PAGE);
    cr_assert(guard_explain(end + 7, &f));
    cr_assert_eq(f.kind, FAULT_TOUCHED);
    cr_assert(f.pointer == end + 7 && f.expected == p && f.offset == end + 7 - p && f.live);
    cr_assert(f.allocated.frame[0] == maker.frame[0] && f.freed.frame[0] == NULL &&
              f.pool == pools[POOL].name);
    cr_assert(guard_explain((char *)ALIGN_DOWN((uintptr_t)p, PAGE) - 1, &f));
    cr_assert(f.offset < 0 && f.expected == p);
    cr_assert_not(guard_explain(p, &f)); /* no fault of ours */
    cr_assert_not(guard_explain(end - 1, &f));
    give(p);
    cr_assert(guard_explain(p + 3, &f));
    cr_assert(f.offset == 3 && !f.live && f.allocated.frame[0] == maker.frame[0] &&
              f.freed.frame[0] == killer.frame[0]);
}

Test(guard, explains_nothing_else)
{
    struct fault f;
    bool zeroed;
    cr_assert_not(guard_explain(&file, &f));
    cr_assert_not(guard_explain(NULL, &f));
    cr_assert_not(guard_explain((void *)region.base, &f));
    alloc(1);
    cr_assert_not(guard_explain(region_claim(1, 1, &zeroed), &f));
}

/* ---- the queue ---- */

Test(guard, addresses_are_not_used_again_before_the_others_were)
{
    char *p = alloc(100);
    memset(p, 1, 100);
    cr_assert_null(give(p));
    for (size_t i = 0; i < GUARD_QUARANTINE - 1; i++) {
        char *other = alloc(100);
        cr_assert_neq(other, p);
        cr_assert_null(give(other));
    }
    cr_assert_not(touchable(p));
    char *again = alloc(100);
    cr_assert_eq(again, p);
    cr_assert(is_zero(p, 100));
    cr_assert_eq(taken(), GUARD_QUARANTINE);
}

Test(guard, the_queue_is_bounded_whatever_the_sizes)
{
    uint64_t seed = 3;
    for (int i = 0; i < 10000; i++) {
        size_t n = random_below(&seed, random_below(&seed, 20) == 0 ? 3 * MEBIBYTE : 60000);
        char *p = guard_alloc(n, (size_t)16 << random_below(&seed, 10), POOL, &maker);
        cr_assert_not_null(p);
        cr_assert_null(give(p));
    }
    cr_assert_leq(taken(), GUARD_QUARANTINE);
    cr_assert_gt(taken(), GUARD_QUARANTINE - 100);
    give(alloc((size_t)GUARD_QUARANTINE * UNIT));
    cr_assert_eq(taken(), 0);
}

Test(guard, gives_way_to_a_limit)
{
    region_limit(100 * UNIT);
    free_others(1000);
    char *p = alloc(60 * UNIT);
    cr_assert_not_null(p);
    cr_assert_null(alloc(60 * UNIT));
    cr_assert_not_null(alloc(10 * UNIT));
}

Test(guard, what_the_kernel_would_not_discard_is_cleared)
{
    char *p = alloc(PAGE), *q = alloc(50000);
    memset(p, 1, PAGE);
    memset(q, 1, 50000);
    fake_refuse(1, 1);
    cr_assert_null(give(p));
    fake_refuse(1, 1);
    cr_assert_null(give(q));
    cr_assert_eq(fake_refused(), 2);
    cr_assert_not(touchable(p));
    free_others(GUARD_QUARANTINE - 2);
    cr_assert_eq(alloc(PAGE), p);
    cr_assert(is_zero(p, PAGE));
    free_others(1);
    cr_assert_eq(alloc(50000), q);
    cr_assert(is_zero(q, 50000));
}

/* Also of units that come from the region, where pages of another use lie behind them. */
Test(guard, a_block_reads_as_zeroes_wherever_it_comes_from)
{
    bool zeroed;
    size_t units = 200;
    char *dirty = region_claim(units, 1, &zeroed);
    memset(dirty, 1, units * UNIT);
    region_release(dirty, units);
    char *p = alloc(100), *q = alloc(100 * UNIT);
    cr_assert(p > dirty && p < dirty + units * UNIT && is_zero(p, 100));
    cr_assert(q > dirty && q < dirty + units * UNIT && is_zero(q, 100 * UNIT));
}

/* ---- refusals ---- */

/* What the region has is whole: no page of it stayed out of reach. */
static void expect_whole_region(void)
{
    bool zeroed;
    struct region_stats s;
    cr_assert_eq(taken(), 0);
    region_stats(&s);
    char *p = region_claim(s.mapped >> UNIT_SHIFT, 1, &zeroed);
    for (size_t i = 0; i < s.mapped; i += PAGE)
        p[i] = 1;
    region_release(p, s.mapped >> UNIT_SHIFT);
}

/* `count` calls of an alloc, a free, or the end of a wait are refused, from the `after`th on. */
static void refuse(size_t after, size_t count, size_t n)
{
    fake_refuse(after, count);
    char *p = alloc(n);
    if (p != NULL) {
        memset(p, 1, n);
        cr_assert_null(give(p));
        cr_assert_eq(give(p)->kind, FAULT_TWICE);
    }
    guard_collect();
    fake_refuse_none();
    cr_assert_eq(guard_count(), 0);
    cr_assert_eq(guard_bytes(), 0);
    guard_collect();
    expect_whole_region();
}

Test(guard, a_refusal_is_null_and_leaves_nothing)
{
    static const size_t sizes[] = {100, 40000, 6 * MEBIBYTE};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
        for (size_t after = 0; after < 12; after++) {
            refuse(after, 1, sizes[i]);
            refuse(after, SIZE_MAX, sizes[i]);
        }
    cr_assert_gt(fake_refused(), 36);
}

Test(guard, what_stays_out_of_reach_is_not_lost)
{
    char *p = alloc(100);
    cr_assert_null(give(p));
    fake_refuse(0, 1);
    guard_collect();
    cr_assert_not(touchable(p));
    cr_assert_eq(taken(), 1);
    guard_collect();
    expect_whole_region();
}

/* ---- threads ---- */

static void *churn(void *seed_of)
{
    uint64_t seed = (uintptr_t)seed_of;
    char *held[20] = {0};
    for (int i = 0; i < 4000; i++) {
        size_t at = random_below(&seed, ARRAY_LENGTH(held)), n = 1 + random_below(&seed, 100000);
        if (held[at] != NULL)
            cr_assert_null(give(held[at]));
        held[at] = alloc(n);
        cr_assert(held[at] != NULL && held[at][0] == 0 && held[at][n - 1] == 0);
        held[at][0] = held[at][n - 1] = 1;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(held); i++)
        cr_assert_null(give(held[i]));
    return NULL;
}

Test(guard, threads)
{
    pthread_t thread[4];
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, churn, (void *)(i + 1));
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    cr_assert_eq(guard_count(), 0);
    cr_assert_leq(taken(), GUARD_QUARANTINE);
    guard_collect();
    cr_assert_eq(taken(), 0);
}

enum { ROUNDS = 3000 };
static char *given[ROUNDS];
static unsigned arrived, taken_back;

/* Two threads leave it at once. */
static void meet(unsigned round)
{
    __atomic_fetch_add(&arrived, 1, __ATOMIC_RELAXED);
    for (int spins = 0; __atomic_load_n(&arrived, __ATOMIC_RELAXED) < 2 * (round + 1); spins++)
        if (spins > 1000)
            sched_yield();
}

static void *free_all(void *unused)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        meet(i);
        if (give(given[i]) == NULL)
            __atomic_fetch_add(&taken_back, 1, __ATOMIC_RELAXED);
    }
    return unused;
}

Test(guard, of_two_frees_at_once_one_is_told)
{
    pthread_t thread[2];
    for (int i = 0; i < ROUNDS; i++)
        given[i] = alloc(1);
    for (int i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, free_all, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    cr_assert_eq(taken_back, ROUNDS);
}
