/*
 * names: preload/malloc.c and preload/info.c beside the sanitizer's malloc: the same code by other names. Put before
 * all else by the compiler's -include.
 */
#ifndef TARN_TESTS_NAMES_H
#define TARN_TESTS_NAMES_H

#define HIT_IN_C

#define malloc              our_malloc
#define free                our_free
#define calloc              our_calloc
#define realloc             our_realloc
#define reallocarray        our_reallocarray
#define posix_memalign      our_posix_memalign
#define memalign            our_memalign
#define aligned_alloc       our_aligned_alloc
#define valloc              our_valloc
#define pvalloc             our_pvalloc
#define cfree               our_cfree
#define free_sized          our_free_sized
#define free_aligned_sized  our_free_aligned_sized
#define malloc_usable_size  our_malloc_usable_size
#define mallinfo            our_mallinfo
#define mallinfo2           our_mallinfo2
#define malloc_info         our_malloc_info
#define malloc_stats        our_malloc_stats
#define malloc_trim         our_malloc_trim
#define mallopt             our_mallopt
#define __libc_malloc       our_libc_malloc
#define __libc_free         our_libc_free
#define __libc_calloc       our_libc_calloc
#define __libc_realloc      our_libc_realloc
#define __libc_reallocarray our_libc_reallocarray
#define __libc_memalign     our_libc_memalign
#define __libc_valloc       our_libc_valloc
#define __libc_pvalloc      our_libc_pvalloc
#define __libc_mallinfo     our_libc_mallinfo
#define __libc_mallopt      our_libc_mallopt
#define __posix_memalign    our_posix_memalign_too

#endif
