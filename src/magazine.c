#include "magazine.h"

#include "check.h"
#include "meta.h"

static size_t magazine_bytes(unsigned batch)
{
    return sizeof(struct magazine) + batch * sizeof(void *);
}

_Static_assert(sizeof(struct magazine) + MAGAZINE_MIN * sizeof(void *) == META_MIN, "no byte left over");
_Static_assert(sizeof(struct magazine) == 2 * sizeof(void *), "nor of the bigger ones (magazine_next)");

struct magazine *magazine_new(unsigned batch)
{
    struct magazine *m = meta_alloc(magazine_bytes(batch));
    if (m == NULL)
        return NULL;
    m->next = NULL;
    m->count = 0;
    m->batch = batch;
    return m;
}

void magazine_delete(struct magazine *m)
{
    meta_free(m, magazine_bytes(m->batch));
}

unsigned magazine_batch(size_t size, size_t bytes)
{
    unsigned batch = MAGAZINE_MIN;
    for (;;) {
        unsigned twice = magazine_next(batch);
        if (twice > MAGAZINE_MAX || (twice > MAGAZINE_FULL && twice * size > bytes))
            return batch;
        batch = twice;
    }
}
