/* SIGQUIT as a library begins and ends. As an auditor, it begins before all others. */
#include <signal.h>
#include <stdlib.h>

static void quit_and_allocate(void)
{
    free(malloc(100));
    raise(SIGQUIT);
    free(malloc(100));
}

unsigned la_version(unsigned version)
{
    raise(SIGQUIT);
    return version;
}

__attribute__((constructor)) static void begin(void)
{
    if (getenv("LD_AUDIT") == NULL)
        quit_and_allocate();
}

__attribute__((destructor)) static void end(void)
{
    if (getenv("LD_AUDIT") == NULL)
        quit_and_allocate();
}
