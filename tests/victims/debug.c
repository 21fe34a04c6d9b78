/* What TARN_DEBUG's words are for: one misuse, or one thing to see, for each. Tells its block, and ends with "done". */
#include "../../include/tarn.h"
#include "victim.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 40 }; /* the pool's blocks have 48 */

/* Callers that reports are to name: these and all that are not static. */
static void *last;

__attribute__((noinline)) void *allocate(size_t n)
{
    last = malloc(n);
    return last; /* no tail call: it would be our caller's */
}

__attribute__((noinline)) void release(void *p)
{
    free(p);
    last = p;
}

static char *told_block(void)
{
    char *p = allocate(SIZE);
    dprintf(1, "block %p\n", (void *)p);
    return p;
}

/* ---- misuse ---- */

static void overrun(void)
{
    char *p = told_block();
    p[SIZE + 2] ^= 1;
    release(p);
}

static void twice(void)
{
    char *p = told_block();
    release(p);
    release(p);
    dprintf(2, "later\n"); /* what comes before was found at once */
}

/* Written at offset 7 while free, and then given out again. */
static void written(void)
{
    char *p = told_block();
    release(p);
    p[7] ^= 1;
    for (int i = 0; i < 1000 && allocate(SIZE) != p; i++) {
    }
    expect(last == p);
}

/* So many that a thread without TARN_CACHE can't keep those it freed first: they go to a stock for all, or to slabs. */
static void twice_among_many(void)
{
    enum { MANY = 5000 };
    static char *p[MANY];
    p[0] = told_block();
    for (int i = 1; i < MANY; i++)
        p[i] = allocate(SIZE);
    release(p[0]);
    for (int i = 0; i < MANY; i++)
        release(p[i]);
    dprintf(2, "later\n");
}

/* ---- things to see ---- */

static void poison(void)
{
    unsigned char *p = allocate(SIZE), *zeroed = calloc(1, SIZE);
    for (int i = 0; i < SIZE; i++)
        expect(zeroed[i] == 0);
    dprintf(1, "byte %x\n", p[0]);
    for (int i = 0; i < SIZE; i++)
        expect(p[i] == p[0]);
    p = realloc(p, 30 * SIZE);
    for (int i = SIZE + 8; i < 30 * SIZE; i++) /* the old block had 8 more */
        expect(p[i] == p[0]);
}

/* In which order three free blocks come again. */
static void order(void)
{
    enum { BLOCKS = 3 };
    void *p[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        p[i] = allocate(SIZE);
    for (int i = 0; i < BLOCKS; i++)
        release(p[i]);
    dprintf(1, "order:");
    for (int i = 0; i < 10000; i++) {
        void *again = allocate(SIZE);
        for (int k = 0; k < BLOCKS; k++)
            if (again == p[k])
                dprintf(1, " %d", k + 1);
    }
    dprintf(1, "\n");
}

static void failures(void)
{
    int pooled = 0, large = 0;
    for (int i = 0; i < 1000; i++) {
        void *p = allocate(SIZE), *q = allocate(100000);
        pooled += p == NULL;
        large += q == NULL;
        free(p);
        free(q);
    }
    dprintf(1, "%s %s\n",
            pooled == 0                    ? "none"
            : pooled > 400 && pooled < 600 ? "half"
                                           : "some",
            large == 0                   ? "none"
            : large > 400 && large < 600 ? "half"
                                         : "some");
}

/* ---- named pools; this program does not know the library that it runs under ---- */

static void *named(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

#define NAMED(function) ((__typeof__(&function))named(#function))

static void merge(void)
{
    struct tarn_pool *one = NAMED(tarn_pool_create)("one", 5000, 0, TARN_SHARED);
    struct tarn_pool *two = NAMED(tarn_pool_create)("two", 5000, 0, TARN_SHARED);
    struct tarn_pool *again = NAMED(tarn_pool_create)("one", 5000, 0, TARN_SHARED);
    expect(again == one);
    dprintf(1, "%s\n", one == two ? "one pool" : "two pools");
}

__attribute__((noinline)) void wrong_pool(void)
{
    struct tarn_pool *one = NAMED(tarn_pool_create)("one", SIZE, 0, 0);
    struct tarn_pool *two = NAMED(tarn_pool_create)("two", SIZE, 0, 0);
    void *p = NAMED(tarn_pool_alloc)(one);
    dprintf(1, "block %p\n", p);
    NAMED(tarn_pool_free)(two, p);
    NAMED(tarn_pool_free)(one, p);
}

__attribute__((noinline)) void named_overrun(void)
{
    struct tarn_pool *pool = NAMED(tarn_pool_create)("session", SIZE, 0, TARN_EXACT);
    char *p = NAMED(tarn_pool_alloc)(pool);
    dprintf(1, "block %p\n", p);
    p[SIZE] ^= 1;
    NAMED(tarn_pool_free)(pool, p);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } kinds[] = {
        {"overrun", overrun},       {"twice", twice},
        {"written", written},       {"twice-among-many", twice_among_many},
        {"poison", poison},         {"order", order},
        {"failures", failures},     {"merge", merge},
        {"wrong-pool", wrong_pool}, {"named-overrun", named_overrun},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (argc > 1 && strcmp(argv[1], kinds[i].name) == 0)
            kinds[i].run();
    dprintf(1, "done\n");
    return victim_verdict();
}
