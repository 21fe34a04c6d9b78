#include "sample.h"

#include "dice.h"
#include "guard.h"

enum { SAMPLED_BYTES = POOLED_MAX, SAMPLED_MAX = 4096 };

__thread uint64_t sample_left;

/* A thread's first request is no likelier than others: some threads make few. */
COLD bool sample_draw(size_t n)
{
    bool first = sample_left == 0;
    sample_left = 1 + dice_roll() % (2 * options.guard_sample - 1);
    return (!first || options.guard_sample == 1) && n <= SAMPLED_BYTES && guard_count() < SAMPLED_MAX;
}
