#include "sample.h"

#include "dice.h"
#include "guard.h"

enum { SAMPLED_BYTES = POOLED_MAX, SAMPLED_MAX = 4096 };

__thread uint64_t sample_left;

/* So many others come before the next one. */
static uint64_t gap(void)
{
    return dice_roll() % (2 * options.guard_sample - 1);
}

/* A thread begins in the midst of a gap (what is left of one is as the lesser of two), so that each of its requests is as
   likely as any other: some threads make few. */
COLD bool sample_draw(size_t n)
{
    if (sample_left == 0) {
        uint64_t a = gap(), b = gap();
        sample_left = a < b ? a : b;
        if (sample_left > 0)
            return false;
    }
    sample_left = 1 + gap();
    return n <= SAMPLED_BYTES && guard_count() < SAMPLED_MAX;
}
