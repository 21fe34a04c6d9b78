#include "thread.h"

#include "region.h"
#include "restart.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 512 };
static unsigned c;

static void end(void *cache)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_end(cache, &news);
}

static void start(void)
{
    sizeclass_start(NULL, 0, 32768);
    pool_start();
    cr_assert(region_start());
    cache_budget(1 << 20);
    restart_start();
    thread_start(end);
    c = class_of(SIZE);
}

TestSuite(thread, .init = start);

/* A slow path that does nothing else: the thread's cache. */
static struct cache *look(void)
{
    thread_enter();
    struct cache *cache = thread_cache();
    if (cache != NULL)
        thread_recalled(cache);
    thread_leave();
    return cache;
}

static void *alloc(void)
{
    void *p = NULL;
    struct cache *cache = look();
    thread_enter();
    if (cache != NULL && !cache_pop(cache, class_place(c), &p) && cache_refill(cache, c, true))
        cache_pop(cache, class_place(c), &p);
    thread_leave();
    return p;
}

static void *in_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, run, argument), 0);
    pthread_join(thread, &result);
    return result;
}

static void count_one(const struct cache *cache, void *count)
{
    (void)cache;
    ++*(unsigned *)count;
}

static unsigned caches_made(void)
{
    unsigned count = 0;
    thread_each(count_one, &count);
    return count;
}

static void add_held(const struct cache *cache, void *sum)
{
    *(uint64_t *)sum += cache_held(cache, c);
}

static uint64_t held_in_all(void)
{
    uint64_t sum = 0;
    thread_each(add_held, &sum);
    return sum;
}

static void drain_idle(void)
{
    struct pool_news news;
    pool_news_init(&news);
    thread_drain_idle(&news);
}

Test(thread, a_cache_is_born_at_the_first_miss_and_stays)
{
    void *p;
    cr_assert_eq(cache_self, &cache_none);
    cr_assert_eq(thread_count(), 0);
    cr_assert_eq(caches_made(), 0);
    struct cache *cache = look();
    cr_assert_not_null(cache);
    cr_assert_eq(cache_self, cache);
    cr_assert_eq(look(), cache);
    cr_assert_eq(thread_count(), 1);
    cr_assert_eq(caches_made(), 1);
    cr_assert_not(cache_pop(cache, class_place(c), &p));
    cache_check(cache);
}

static void *own_cache(void *unused)
{
    (void)unused;
    return alloc() != NULL ? look() : NULL;
}

Test(thread, each_has_its_own_and_the_dead_leave_theirs_to_the_next)
{
    struct cache *mine = look();
    struct cache *first = in_thread(own_cache, NULL);
    cr_assert_not_null(first);
    cr_assert_neq(first, mine);
    cr_assert_eq(thread_count(), 1);
    cr_assert_eq(in_thread(own_cache, NULL), first);
    drain_idle();
    cr_assert_eq(in_thread(own_cache, NULL), first);
    cr_assert_eq(caches_made(), 2);
}

static void *allocate_two(void *unused)
{
    (void)unused;
    void *p = alloc();
    return p != NULL && alloc() != NULL ? p : NULL;
}

/* What a dead thread left is still counted, and goes back when the idle are drained. */
Test(thread, what_the_dead_leave_is_counted_and_can_be_drained)
{
    cr_assert_not_null(in_thread(allocate_two, NULL));
    cr_assert_eq(pools[c].used, 2 + held_in_all());
    drain_idle();
    cr_assert_eq(held_in_all(), 0);
    cr_assert_eq(pools[c].used, 2);
    pool_check(&pools[c]);
}

static pthread_barrier_t arrived, go_on;

/* Recalled between the barriers: the next look must miss, and a slow path puts it right with blocks intact. */
static void *be_recalled(void *unused)
{
    void *p = alloc();
    cache_push(cache_self, class_place(c), p);
    struct cache *cache = cache_self;
    pthread_barrier_wait(&arrived);
    pthread_barrier_wait(&go_on);
    bool turned = READ_ONCE(cache_self) == &cache_none && !cache_pop(cache_self, class_place(c), &p);
    bool right = look() == cache && cache_self == cache && cache_pop(cache_self, class_place(c), &p);
    return turned && right ? &pools : unused;
}

Test(thread, recall_makes_everyone_miss_once)
{
    pthread_t thread;
    void *result;
    pthread_barrier_init(&arrived, NULL, 2);
    pthread_barrier_init(&go_on, NULL, 2);
    struct cache *mine = look();
    pthread_create(&thread, NULL, be_recalled, NULL);
    pthread_barrier_wait(&arrived);
    cr_assert_eq(thread_count(), 2);
    thread_recall();
    cr_assert_eq(cache_self, &cache_none);
    pthread_barrier_wait(&go_on);
    pthread_join(thread, &result);
    cr_assert_eq(result, &pools);
    cr_assert_eq(look(), mine);
}

Test(thread, recall_self_recalls_only_this_one)
{
    struct cache *mine = look();
    thread_recall_self();
    cr_assert_eq(cache_self, &cache_none);
    cr_assert_eq(look(), mine);
    cr_assert_eq(cache_self, mine);
}

Test(thread, recall_does_not_reach_for_the_dead)
{
    in_thread(own_cache, NULL);
    drain_idle();
    in_thread(own_cache, NULL);
    thread_recall(); /* would write into a stack that is gone */
    cr_assert_eq(thread_count(), 0);
}

enum { THREADS = 2000, AT_ONCE = 40 };

Test(thread, thousands_of_threads_do_not_grow_the_registry, .timeout = 60)
{
    pthread_t thread[AT_ONCE];
    void *result;
    unsigned after_first = 0;
    for (int i = 0; i < THREADS; i += AT_ONCE) {
        for (int k = 0; k < AT_ONCE; k++)
            pthread_create(&thread[k], NULL, own_cache, NULL);
        for (int k = 0; k < AT_ONCE; k++) {
            pthread_join(thread[k], &result);
            cr_assert_not_null(result);
        }
        after_first = after_first == 0 ? caches_made() : after_first;
        cr_assert_leq(caches_made(), AT_ONCE);
    }
    cr_assert_gt(after_first, 0);
    cr_assert_eq(thread_count(), 0);
    drain_idle();
    cr_assert_eq(pools[c].used, THREADS); /* one block each was never given back */
    cr_assert_eq(held_in_all(), 0);
    pool_check(&pools[c]);
}

/* Each destructor runs after ours in some round: malloc and free go on there, without a cache. */
static pthread_key_t late_key;
static bool late_had_cache;

static void late(void *round)
{
    late_had_cache |= look() != NULL && (uintptr_t)round == 1;
    if ((uintptr_t)round > 1)
        pthread_setspecific(late_key, (void *)((uintptr_t)round - 1));
}

static void *outlive_the_cache(void *unused)
{
    pthread_setspecific(late_key, (void *)3);
    alloc();
    return unused;
}

Test(thread, later_destructors_find_none_and_make_none)
{
    pthread_key_create(&late_key, late);
    in_thread(outlive_the_cache, NULL);
    cr_assert_not(late_had_cache);
    cr_assert_eq(thread_count(), 0);
    cr_assert_eq(caches_made(), 1);
}

/* ---- other threads' caches ---- */

static uint64_t told;

static void tell(struct pool_news *news)
{
    (void)news;
    told++;
}

static void drain_others(void)
{
    struct pool_news news;
    pool_news_init(&news);
    told = 0;
    thread_drain_others(THREAD_ALL, &news, tell);
}

/* A cache with blocks in it, and a thread that sleeps; what it finds when it wakes up is right again. */
static void *sleep_with_blocks(void *unused)
{
    void *p[100], *q;
    for (int i = 0; i < 100; i++)
        p[i] = alloc();
    for (int i = 0; i < 90; i++)
        cache_push(cache_self, class_place(c), p[i]);
    struct cache *cache = cache_self;
    pthread_barrier_wait(&arrived);
    pthread_barrier_wait(&go_on);
    bool missed = !restart_pop(class_place(c), &q);
    bool right = look() == cache && cache_self == cache && alloc() != NULL;
    return missed && right ? &pools : unused;
}

Test(thread, those_asleep_can_be_emptied)
{
    pthread_t thread;
    void *result;
    if (!restart_possible()) /* here they can't */
        return;
    alloc();
    pthread_barrier_init(&arrived, NULL, 2);
    pthread_barrier_init(&go_on, NULL, 2);
    pthread_create(&thread, NULL, sleep_with_blocks, NULL);
    pthread_barrier_wait(&arrived);
    uint64_t mine = cache_held(cache_self, c);
    cr_assert_gt(held_in_all(), mine + 80);
    drain_others();
    cr_assert_eq(told, 1);
    cr_assert_eq(held_in_all(), mine);
    drain_others();
    cr_assert_eq(told, 0, "it was empty already");
    pthread_barrier_wait(&go_on);
    pthread_join(thread, &result);
    cr_assert_eq(result, &pools);
    pool_check(&pools[c]);
}

/* The kernel may kill for the question from now on. */
Test(thread, nobody_is_emptied_once_that_was_given_up)
{
    pthread_t thread;
    void *result;
    alloc();
    pthread_barrier_init(&arrived, NULL, 2);
    pthread_barrier_init(&go_on, NULL, 2);
    pthread_create(&thread, NULL, sleep_with_blocks, NULL);
    pthread_barrier_wait(&arrived);
    restart_give_up();
    restart_give_up();
    cr_assert_not(restart_barrier());
    cr_assert_not(thread_others_hold());
    drain_others();
    cr_assert_eq(told, 0);
    pthread_barrier_wait(&go_on);
    pthread_join(thread, &result);
    cr_assert_eq(result, NULL, "it found what it had left");
}

/* On a slow path it may be anywhere in its cache. */
static void *stay_on_a_slow_path(void *unused)
{
    alloc();
    thread_enter();
    struct cache *cache = thread_cache();
    pthread_barrier_wait(&arrived);
    pthread_barrier_wait(&go_on);
    uint64_t held = cache_held(cache, c);
    bool own = thread_own() == cache;
    thread_leave();
    return own && held > 0 && cache_self == cache ? &pools : unused;
}

Test(thread, those_on_a_slow_path_are_left_alone)
{
    pthread_t thread;
    void *result;
    pthread_barrier_init(&arrived, NULL, 2);
    pthread_barrier_init(&go_on, NULL, 2);
    pthread_create(&thread, NULL, stay_on_a_slow_path, NULL);
    pthread_barrier_wait(&arrived);
    drain_others();
    cr_assert_eq(told, 0);
    pthread_barrier_wait(&go_on);
    pthread_join(thread, &result);
    cr_assert_eq(result, &pools);
}

/* They work, their blocks' first words saying whose they are, while their caches are emptied again and again. */
enum { OUT = 64 };

static void *work(void *enough)
{
    void **out[OUT] = {NULL};
    bool right = true;
    for (unsigned i = 0; !__atomic_load_n((bool *)enough, __ATOMIC_RELAXED); i++) {
        void ***slot = &out[i * 7 % OUT], *p;
        if (*slot != NULL) {
            right = right && **slot == slot;
            **slot = NULL;
            if (!restart_push(class_place(c), *slot)) {
                thread_enter();
                struct pool_news news;
                pool_news_init(&news);
                pool_give_one(&pools[c], *slot, &news);
                thread_leave();
            }
            *slot = NULL;
        } else {
            p = NULL;
            if (!restart_pop(class_place(c), &p))
                p = alloc();
            if (p == NULL)
                continue; /* the cache is being emptied */
            right = right && *(void **)p == NULL;
            *slot = p;
            **slot = slot;
        }
    }
    return right ? &pools : NULL;
}

/* More of them than processors: most of the time one has lost its own somewhere between two instructions. */
Test(thread, those_at_work_can_be_emptied_any_time, .timeout = 60)
{
    enum { WORKERS = 6 };
    pthread_t thread[WORKERS];
    void *result;
    bool enough = false;
    uint64_t times = 0;
    alloc();
    for (int i = 0; i < WORKERS; i++)
        pthread_create(&thread[i], NULL, work, &enough);
    for (time_t end = time(NULL) + 20; times < 1000 && time(NULL) < end && restart_possible();) {
        drain_others();
        times += told;
    }
    __atomic_store_n(&enough, true, __ATOMIC_RELAXED);
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(thread[i], &result);
        cr_assert_eq(result, &pools);
    }
    cr_assert(times > 0 || !restart_possible());
    pool_check(&pools[c]);
}

/* ---- no key left ---- */

/* Nobody would tell of such a thread's end: a recall would then write where its stack was. */
Test(thread_without_key, nobody_gets_a_cache)
{
    pthread_key_t key;
    while (pthread_key_create(&key, NULL) == 0)
        ;
    start();
    cr_assert_null(look());
    cr_assert_eq(cache_self, &cache_none);
    cr_assert_eq(thread_count(), 0);
}

/* ---- fork ---- */

static void *leave_blocks(void *unused)
{
    void *p[100];
    for (int i = 0; i < 100; i++)
        p[i] = alloc();
    for (int i = 0; i < 90; i++)
        cache_push(cache_self, class_place(c), p[i]);
    pthread_barrier_wait(&arrived);
    pthread_barrier_wait(&go_on);
    return unused;
}

Test(thread, a_forks_child_takes_over_what_lay_in_the_others_caches)
{
    enum { OTHERS = 3 };
    pthread_t thread[OTHERS];
    struct pool_news news;
    pool_news_init(&news);
    alloc();
    pthread_barrier_init(&arrived, NULL, OTHERS + 1);
    pthread_barrier_init(&go_on, NULL, OTHERS + 1);
    for (int i = 0; i < OTHERS; i++)
        pthread_create(&thread[i], NULL, leave_blocks, NULL);
    pthread_barrier_wait(&arrived);
    uint64_t in_use = pools[c].used - held_in_all();
    cr_assert_eq(thread_count(), OTHERS + 1);
    thread_adopt_orphans(&news); /* as if they were gone; they sleep, and never look again */
    cr_assert_eq(thread_count(), 1);
    cr_assert_eq(held_in_all(), cache_held(cache_self, c));
    cr_assert_eq(pools[c].used, in_use + held_in_all());
    cache_check(cache_self);
    pool_check(&pools[c]);
    _exit(0);
}

Test(thread, its_lock_is_forks_to_hold_and_to_renew)
{
    thread_lock();
    thread_unlock();
    thread_lock();
    lock_forget_held();
    thread_reset_lock();
    cr_assert_not_null(look()); /* would wait for ever */
}
