/* Stands before functions of libc's that a malloc calls, as a tracer's or a proxy's library does, and allocates in each:
   glibc's malloc calls none of them by name, so it never meets itself there. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread volatile bool
    within; /* volatile: the compiler takes it that malloc does not come back here */

static void note(void)
{
    if (within)
        return;
    within = true;
    char *small = malloc(200), *large = malloc(100000);
    if (small == NULL || large == NULL)
        abort();
    memset(small, 's', 200);
    memset(large, 'l', 100000);
    small = realloc(small, 5000);
    if (small == NULL || small[199] != 's' || large[99999] != 'l')
        abort();
    free(small);
    free(large);
    within = false;
}

static void *libcs(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    note();
    return found;
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    note();
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

int munmap(void *at, size_t bytes)
{
    note();
    return (int)syscall(SYS_munmap, at, bytes);
}

int madvise(void *at, size_t bytes, int advice)
{
    note();
    return (int)syscall(SYS_madvise, at, bytes, advice);
}

int pthread_mutex_lock(pthread_mutex_t *m)
{
    int (*real)(pthread_mutex_t *) = libcs("pthread_mutex_lock");
    return real(m);
}

int pthread_key_create(pthread_key_t *key, void (*end)(void *))
{
    int (*real)(pthread_key_t *, void (*)(void *)) = libcs("pthread_key_create");
    return real(key, end);
}
