/* A program with its own SIGQUIT: handler, later the default again. It must get what it asked for. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static volatile sig_atomic_t heard;

static void own(int signal)
{
    heard += signal;
}

int main(void)
{
    free(malloc(100));
    signal(SIGQUIT, own);
    raise(SIGQUIT);
    free(malloc(100));
    if (heard != SIGQUIT)
        return 1;
    puts("heard");
    fflush(stdout);
    signal(SIGQUIT, SIG_DFL);
    raise(SIGQUIT);
    return 2;
}
