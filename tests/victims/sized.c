/* C23's free_sized and free_aligned_sized, which glibc 2.36 does not have; and cfree, which it no longer shows. */
#include "victim.h"

#include <malloc.h>
#include <stdlib.h>

void free_sized(void *p, size_t n) __attribute__((weak));
void free_aligned_sized(void *p, size_t align, size_t n) __attribute__((weak));
void cfree(void *p) __attribute__((weak));

int main(void)
{
    if (free_sized == NULL || free_aligned_sized == NULL || cfree == NULL)
        return 2;
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 100000; i++) { /* a leak would show */
        errno = ERRNO_MARK;
        free_sized(malloc(100), 100);
        free_sized(malloc(100000), 100000);
        free_aligned_sized(aligned_alloc(64, 128), 64, 128);
        cfree(calloc(10, 10));
        free_sized(NULL, 0);
        free_aligned_sized(NULL, 16, 0);
        expect(errno == ERRNO_MARK);
    }
    expect(mallinfo2().uordblks < before + 1000000);
    return victim_verdict();
}
