/* What loaded.c loads and unloads again: it allocates as it comes, in use, and as it goes. */
#include "confined.h"

#include <stdio.h>

static char *held[200];
static char *crossing;

static void at_exit(void)
{
    free(malloc(5000));
}

__attribute__((constructor)) static void come(void)
{
    for (unsigned i = 0; i < 200; i++)
        held[i] = memset(malloc(i * 37 + 1), 'p', i * 37 + 1);
    free(malloc(300000));
    atexit(at_exit); /* runs when this is unloaded */
}

__attribute__((destructor)) static void go(void)
{
    void *late = malloc(70000);
    for (unsigned i = 0; i < 200; i++) {
        if (held[i][i * 37] != 'p')
            abort();
        free(held[i]);
    }
    free(late);
    free(crossing);
}

/* Its own pairs alone, with its thread-local memory. */
int plugin_work(void)
{
    static __thread char *mine;
    free(mine);
    mine = malloc(1000);
    bool good = confined_work(2000, 100000);
    free(mine);
    mine = NULL;
    return good;
}

/* Blocks that the program made, or libc. */
int plugin_cross(char *of_program)
{
    char *line = NULL;
    if (asprintf(&line, "%s, and more", of_program) < 0)
        return 0;
    free(of_program);
    free(line);
    crossing = strdup("freed as it goes");
    return 1;
}

/* For the program to free. */
char *plugin_gift(void)
{
    return strdup("a gift");
}
