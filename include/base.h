/*
 * base: the words every room may use.
 *
 * Owns:       nothing; no state, no function with a side effect.
 * Promises:   every name here means the same in every file.
 * Guarded by: nothing to guard.
 * Never:      includes another header of tarn.
 */
#ifndef TARN_BASE_H
#define TARN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define COLD     __attribute__((cold, noinline))
#define NOINLINE __attribute__((noinline))
#define INLINE   static inline __attribute__((always_inline))
#define EXPORT   __attribute__((visibility("default")))
/* For data of the hot path: -fvisibility=hidden does not reach an `extern`, which then is read through the GOT. */
#define HIDDEN      __attribute__((visibility("hidden")))
#define TLS_INITIAL __attribute__((tls_model("initial-exec"), visibility("hidden")))

/* Written at the start, and then no more (constant.h). */
#define CONSTANT __attribute__((section(".bss.constant")))

/* The destructive interference size of the machines we know: two threads writing inside one line fight. */
#define CACHE_LINE 64

/* What the ABI asks of malloc: every block is aligned for any scalar type. */
#define BLOCK_ALIGN ((size_t)16)

/* `align` is a power of two. */
#define ALIGN_UP(n, align)   (((n) + ((align)-1)) & ~((align)-1))
#define ALIGN_DOWN(n, align) ((n) & ~((align)-1))
#define IS_POWER_OF_2(n)     ((n) != 0 && ((n) & ((n)-1)) == 0)

/* Bits that are 1. The compiler's own is a call into libgcc where the machine may lack the instruction: two more pages
   to touch at every start. */
INLINE unsigned popcount(uint64_t bits)
{
    bits -= bits >> 1 & 0x5555555555555555;
    bits = (bits & 0x3333333333333333) + (bits >> 2 & 0x3333333333333333);
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0F;
    return (unsigned)(bits * 0x0101010101010101 >> 56);
}

/* Of a row of bits, [bit, end), the mask of those that lie in bit's word. */
INLINE uint64_t bits_in_word(size_t bit, size_t end)
{
    size_t word_end = (bit | 63) + 1;
    size_t n = (end < word_end ? end : word_end) - bit;
    uint64_t ones = n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
    return ones << bit % 64;
}

#define ARRAY_LENGTH(a)               (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

/*
 * A counter that one thread (or the holder of one lock) writes and anyone may read: the reader sees some
 * recent value, never a torn one, and nobody pays for it: both compile to a plain load or store.
 */
#define READ_ONCE(x)     __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

#endif
