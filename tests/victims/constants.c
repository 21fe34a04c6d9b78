/*
 * What tarn knows since its start. constants: does what makes it change some of that, and says "done"; constants OFFSET: a
 * stray write of one byte, so far into the library, and "written" if nobody minded.
 */
#include "victim.h"

#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int find(struct dl_phdr_info *object, size_t size, void *base)
{
    (void)size;
    if (strstr(object->dlpi_name, "libtarn") != NULL)
        *(uintptr_t *)base = object->dlpi_addr;
    return 0;
}

static void *nothing(void *unused)
{
    free(malloc(100));
    return unused;
}

static void change(void)
{
    pthread_t thread;
    int status;
    mallopt(M_CHECK_ACTION, 1);
    mallopt(M_CHECK_ACTION, 3);
    pthread_create(&thread, NULL, nothing, NULL);
    pid_t child = fork(); /* of a process with threads: no stacks in the child */
    if (child == 0) {
        free(malloc(300000));
        _exit(0);
    }
    waitpid(child, &status, 0);
    pthread_join(thread, NULL);
    if (status == 0)
        puts("done");
}

int main(int argc, char **argv)
{
    uintptr_t base = 0;
    dl_iterate_phdr(find, &base);
    if (argc == 1) {
        change();
        return 0;
    }
    volatile char *at = (volatile char *)(base + strtoul(argv[1], NULL, 16));
    *at = *at;
    puts("written");
    return 0;
}
