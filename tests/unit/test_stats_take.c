#include "fake_system.h"
#include "heap.h"
#include "stats.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/* The calling thread's state; reading it changes nothing. */
static int cancel_state(void)
{
    int state, ignored;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_setcancelstate(state, &ignored);
    return state;
}

Test(stats_take, one_needs_no_memory_and_more_are_mapped)
{
    heap_start();
    size_t calls = fake_calls();
    struct stats *one = stats_take();
    cr_assert_eq(fake_calls(), calls);
    struct stats *two = stats_take(), *three = stats_take();
    cr_assert(one != NULL && two != NULL && three != NULL && one != two && two != three && one != three);
    cr_assert_gt(fake_calls(), calls);
    cr_assert(one->count == class_count && two->count == class_count && three->count == class_count);
    stats_drop(one);
    struct stats *again = stats_take();
    cr_assert_eq(again, one);
    stats_drop(two);
    stats_drop(three);
    stats_drop(again);
}

Test(stats_take, without_memory_the_second_is_refused)
{
    struct query q;
    heap_start();
    query_parse(NULL, &q);
    int fd = memfd_create("dump", 0);
    struct stats *one = stats_take();
    fake_refuse(0, 100);
    cr_assert_null(stats_take());
    cr_assert_not(stats_print(fd, "now", &q));
    cr_assert_not(stats_xml(NULL, NULL));
    cr_assert_eq(lseek(fd, 0, SEEK_END), 0);
    stats_drop(one);
    cr_assert(stats_print(fd, "now", &q));
    cr_assert_gt(lseek(fd, 0, SEEK_END), 0);
    cr_assert(stats_print(fd, "now", &q));
    cr_assert_eq(cancel_state(), PTHREAD_CANCEL_ENABLE);
}

/* Cancelled in between, nobody would drop it. */
Test(stats_take, its_thread_is_not_cancelled)
{
    heap_start();
    struct stats *one = stats_take(), *two = stats_take();
    cr_assert_eq(cancel_state(), PTHREAD_CANCEL_DISABLE);
    stats_drop(two);
    cr_assert_eq(cancel_state(), PTHREAD_CANCEL_DISABLE);
    stats_drop(one);
    cr_assert_eq(cancel_state(), PTHREAD_CANCEL_ENABLE);
}
