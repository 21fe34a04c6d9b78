/*
 * Atfork handlers registered before tarn's, as those of a library that the program is linked with are: its prepare
 * handler runs when every lock of malloc is held, its parent and child handlers before any is released.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void allocate(void)
{
    char *small[300], *large = malloc(500000);
    for (unsigned i = 0; i < 300; i++) {
        small[i] = malloc(i * 8 + 1);
        if (small[i] == NULL)
            abort();
        memset(small[i], 'e', i * 8 + 1);
    }
    if (large == NULL)
        abort();
    memset(large, 'e', 500000);
    large = realloc(large, 800000);
    for (unsigned i = 0; i < 300; i++)
        free(small[i]);
    free(large);
}

__attribute__((constructor)) static void start(void)
{
    pthread_atfork(allocate, allocate, allocate);
}
