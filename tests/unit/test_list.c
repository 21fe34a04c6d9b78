#include "../tools/dies.h"
#include "list.h"

#include <criterion/criterion.h>

struct item {
    int number;
    struct list link;
};

static struct list head;
static struct item item[4];

static void setup(void)
{
    list_init(&head);
    for (int i = 0; i < 4; i++) {
        item[i].number = i;
        list_init(&item[i].link);
    }
}

TestSuite(list, .init = setup);

/* The numbers in the list, first to last, as decimal digits behind a 9; both directions must agree. */
static int contents(void)
{
    int forwards = 9, backwards = 0, digit = 1;
    for (struct list *l = head.next; l != &head; l = l->next)
        forwards = 10 * forwards + container_of(l, struct item, link)->number;
    for (struct list *l = head.prev; l != &head; l = l->prev, digit *= 10)
        backwards += digit * container_of(l, struct item, link)->number;
    cr_assert_eq(forwards, 9 * digit + backwards);
    return forwards;
}

Test(list, a_fresh_head_is_empty_and_points_to_itself)
{
    cr_assert(list_empty(&head));
    cr_assert(head.next == &head && head.prev == &head);
    cr_assert_eq(contents(), 9);
}

Test(list, push_goes_first)
{
    list_push(&head, &item[1].link);
    list_push(&head, &item[2].link);
    cr_assert_not(list_empty(&head));
    cr_assert_eq(contents(), 921);
}

Test(list, append_goes_last)
{
    list_append(&head, &item[1].link);
    list_append(&head, &item[2].link);
    list_push(&head, &item[3].link);
    cr_assert_eq(contents(), 9312);
}

Test(list, remove_leaves_the_others_and_a_link_that_points_to_itself)
{
    for (int i = 0; i < 4; i++)
        list_append(&head, &item[i].link);
    list_remove(&item[1].link);
    cr_assert_eq(contents(), 9023);
    cr_assert(list_empty(&item[1].link));
    list_remove(&item[0].link);
    list_remove(&item[3].link);
    cr_assert_eq(contents(), 92);
    list_remove(&item[2].link);
    cr_assert(list_empty(&head));
}

Test(list, remove_is_harmless_on_a_link_in_no_list)
{
    list_push(&head, &item[0].link);
    list_remove(&item[1].link);
    list_remove(&item[0].link);
    list_remove(&item[0].link);
    cr_assert(list_empty(&head));
    list_push(&head, &item[0].link);
    cr_assert_eq(contents(), 90);
}

#ifdef TARN_DEBUG

static void push_twice(void)
{
    list_push(&head, &item[0].link);
    list_push(&head, &item[1].link);
    list_push(&head, &item[0].link);
}

Test(list, a_debug_build_traps_a_link_that_is_put_in_twice)
{
    cr_assert(dies(push_twice, "list_empty(l)"));
}

#endif
