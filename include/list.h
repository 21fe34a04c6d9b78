/*
 * list: the one doubly linked list.
 *
 * Owns:       nothing; a link lives inside the thing that is linked.
 * Promises:   O(1) everything; a link that is in no list points to itself.
 * Guarded by: whatever guards the list's head.
 * Never:      allocates.
 */
#ifndef TARN_LIST_H
#define TARN_LIST_H

#include "base.h"
#include "check.h"

struct list {
    struct list *next, *prev;
};

INLINE void list_init(struct list *l)
{
    l->next = l->prev = l;
}

INLINE bool list_empty(const struct list *l)
{
    return l->next == l;
}

/* Puts `l`, which is in no list, right behind `head`: the first to be found. */
INLINE void list_push(struct list *head, struct list *l)
{
    debug_check(list_empty(l));
    l->next = head->next;
    l->prev = head;
    head->next->prev = l;
    head->next = l;
}

/* Puts `l`, which is in no list, right before `head`: the last to be found. */
INLINE void list_append(struct list *head, struct list *l)
{
    list_push(head->prev, l);
}

/* Takes `l` out of its list; harmless on one that is in none. */
INLINE void list_remove(struct list *l)
{
    l->next->prev = l->prev;
    l->prev->next = l->next;
    list_init(l);
}

#endif
