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

/* What a thread's numbers come from. The next one gets another, even where its memory is that of a thread that ended. */
static COLD uint64_t thread_seed(void)
{
    static uint64_t shared;
    uint64_t none = 0;
    if (READ_ONCE(shared) == 0)
        __atomic_compare_exchange_n(&shared, &none, seed(), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return scramble(__atomic_fetch_add(&shared, 0x9E3779B97F4A7C15, __ATOMIC_RELAXED));
}

/* A Weyl sequence, scrambled. */
uint64_t dice_roll(void)
{
    static __thread uint64_t state, step;
    if (unlikely(step == 0)) {
        state = thread_seed();
        step = scramble(state) | 1;
    }
    state += step;
    return scramble(state);
}
