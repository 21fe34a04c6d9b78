/*
 * ThreadSanitizer leaves a program two parts of the address space, and ends one that maps elsewhere; region looks
 * for its place by trying. Linked in by --wrap=mmap, this refuses what TSan would not survive.
 */
#include "base.h"

#include <errno.h>
#include <sys/mman.h>

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);

static bool allowed(uintptr_t at)
{
    return (at >= 0x550000000000 && at < 0x568000000000) || (at >= 0x7e8000000000 && at < 0x800000000000);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    uintptr_t first = (uintptr_t)at;
    if (flags & MAP_FIXED_NOREPLACE && !(allowed(first) && allowed(first + bytes - 1))) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(at, bytes, protection, flags, fd, offset);
}
