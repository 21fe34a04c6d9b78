/* What the heap says of itself: info MODE. The mode "grows" holds with glibc's malloc too. */
#include "victim.h"

#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 5000, SIZE = 1000, BIG = 50 << 20 };

static void *block[BLOCKS];

static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* What the program takes is seen, to the byte or a little above, and seen to go. */
static void grows(void)
{
    size_t before = in_use();
    for (int i = 0; i < BLOCKS; i++)
        block[i] = malloc(SIZE);
    size_t grown = in_use() - before;
    expect(grown >= (size_t)BLOCKS * SIZE && grown < (size_t)BLOCKS * SIZE * 5 / 4);
    struct mallinfo2 info = mallinfo2();
    expect(info.arena >= (size_t)BLOCKS * SIZE);
    struct mallinfo old = mallinfo();
    expect((size_t)old.arena == info.arena && (size_t)old.uordblks == info.uordblks);

    void *big = malloc(BIG);
    expect(mallinfo2().hblks == info.hblks + 1);
    expect(mallinfo2().hblkhd >= info.hblkhd + BIG && mallinfo2().hblkhd < info.hblkhd + BIG + BIG / 4);
    free(big);
    expect(mallinfo2().hblks == info.hblks);
    expect(mallinfo2().hblkhd == info.hblkhd);

    for (int i = 0; i < BLOCKS; i++)
        free(block[i]);
    expect(in_use() < before + 100000);
    malloc_trim(0);
    expect(in_use() < before + 100000);
}

/* What only tarn promises of the parts. */
static void parts(void)
{
    for (int i = 0; i < BLOCKS; i++)
        block[i] = malloc(SIZE);
    for (int i = 0; i < BLOCKS; i += 2)
        free(block[i]);
    struct mallinfo2 info = mallinfo2();
    expect(info.ordblks >= BLOCKS / 2); /* free blocks, those in caches among them */
    expect(info.fordblks >= (size_t)BLOCKS / 2 * SIZE);
    expect(info.smblks > 0 && info.smblks <= info.ordblks);
    expect(info.fsmblks > 0 && info.fsmblks <= info.fordblks);
    expect(info.arena == info.uordblks + info.fordblks);
    expect(info.usmblks == 0);
}

/* More than an int can say: the old mallinfo stays at the top, and does not wrap. */
static void saturates(void)
{
    void *huge = malloc((size_t)5 << 30);
    if (huge == NULL)
        exit(77);
    expect(mallinfo2().hblkhd >= (size_t)5 << 30);
    expect(mallinfo().hblkhd == INT_MAX);
    free(huge);
}

static void trims(void)
{
    for (int i = 0; i < BLOCKS; i++)
        memset(block[i] = malloc(SIZE), 1, SIZE);
    for (int i = 0; i < BLOCKS; i++)
        free(block[i]);
    expect(malloc_trim(0) == 1);
    expect(mallinfo2().arena < (size_t)BLOCKS * SIZE / 2);
    malloc_trim(0);
    expect(malloc_trim(0) == 0); /* nothing left to give */
}

/* With blocks of two sizes, so that there is something to choose from. */
static void stats(void)
{
    block[0] = malloc(SIZE);
    block[1] = malloc(2 * SIZE);
    malloc_stats();
}

static void options(void)
{
    expect(mallopt(M_ARENA_MAX, 1) == 1 && mallopt(M_ARENA_MAX, 8) == 1 && mallopt(M_ARENA_TEST, 2) == 1);
    expect(mallopt(M_ARENA_MAX, 0) == 0 && mallopt(M_ARENA_TEST, -1) == 0);
    expect(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 0 && mallopt(M_TRIM_THRESHOLD, 1 << 20) == 0);
    expect(mallopt(M_MXFAST, 64) == 0 && mallopt(M_PERTURB, 1) == 0 && mallopt(12345, 1) == 0);
}

/* mallopt(M_CHECK_ACTION, argv[2]), then a foreign free. */
static void action(int value)
{
    int on_stack = 0;
    void *volatile p = &on_stack;
    expect(mallopt(M_CHECK_ACTION, value) == 1);
    free(p);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IONBF, 0);
    if (strcmp(mode, "grows") == 0)
        grows();
    else if (strcmp(mode, "parts") == 0)
        parts();
    else if (strcmp(mode, "saturates") == 0)
        saturates();
    else if (strcmp(mode, "trims") == 0)
        trims();
    else if (strcmp(mode, "options") == 0)
        options();
    else if (strcmp(mode, "action") == 0)
        action(atoi(argv[2]));
    else if (strcmp(mode, "stats") == 0)
        stats();
    else if (strcmp(mode, "xml") == 0)
        expect(malloc_info(0, stdout) == 0);
    else if (strcmp(mode, "xml-refused") == 0)
        expect(malloc_info(1, stdout) != 0 && errno == EINVAL);
    else
        return 2;
    return victim_verdict();
}
