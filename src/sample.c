#include "sample.h"

#include "dice.h"
#include "guard.h"

enum { SAMPLED_BYTES = POOLED_MAX, SAMPLED_MAX = 4096 };

bool sample_due(size_t n)
{
    static __thread uint64_t left; /* 0: the thread's first request; it is no likelier than others */
    if (likely(left > 1)) {
        left--;
        return false;
    }
    bool first = left == 0;
    left = 1 + dice_roll() % (2 * options.guard_sample - 1);
    return (!first || options.guard_sample == 1) && n <= SAMPLED_BYTES && guard_count() < SAMPLED_MAX;
}
