/* Asked twice by the signal in argv[1] (SIGQUIT) where its memory is; goes on, and ends by itself with 42. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 100000, KEPT = 100, SIZE = 64 };
static unsigned char *block[BLOCKS];
static const size_t other_size[3] = {300, 5000, 1 << 20};

int main(int argc, char **argv)
{
    int signal = argc > 1 ? atoi(argv[1]) : SIGQUIT;
    static char *other[3];
    for (int i = 0; i < 3; i++)
        other[i] = strcpy(malloc(other_size[i]), "kept");
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = malloc(SIZE);
        memset(block[i], i, SIZE);
    }
    for (int i = KEPT; i < BLOCKS; i++)
        free(block[i]);
    raise(signal);
    free(malloc(SIZE)); /* the place where the flush may happen */
    raise(signal);
    for (int i = 0; i < KEPT; i++)
        for (int j = 0; j < SIZE; j++)
            if (block[i][j] != (unsigned char)i)
                return 1;
    for (int i = 0; i < 3; i++)
        if (strcmp(other[i], "kept") != 0)
            return 2;
    puts("finished");
    return 42;
}
