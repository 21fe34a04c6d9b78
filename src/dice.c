#include "dice.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

/* Every bit of the result hangs on every bit of `n`: MurmurHash3's last step. */
static uint64_t scramble(uint64_t n)
{
    n = (n ^ n >> 33) * 0xff51afd7ed558ccd;
    n = (n ^ n >> 33) * 0xc4ceb9fe1a85ec53;
    return n ^ n >> 33;
}

/* The kernel's own; where it won't (a seccomp filter), what it gave the program at its start. */
static COLD uint64_t seed(void)
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        memcpy(&random, (const void *)getauxval(AT_RANDOM), sizeof random);
    return scramble(random) | 1;
}

/* A Weyl sequence, scrambled. Two threads that seed at once leave one seed, and each goes on from its own place. */
uint64_t dice_roll(void)
{
    static uint64_t shared;
    static __thread uint64_t state, step;
    if (unlikely(step == 0)) {
        if (READ_ONCE(shared) == 0)
            WRITE_ONCE(shared, seed());
        step = scramble(READ_ONCE(shared)) | 1;
        state = scramble(step ^ (uintptr_t)&state);
    }
    state += step;
    return scramble(state);
}
