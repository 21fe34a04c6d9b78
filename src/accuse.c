#include "accuse.h"

#include "debug.h"
#include "guard.h"
#include "harden.h"
#include "region.h"
#include "thread.h"

/* What the unwinder allocates must come from the reserve (trace.c). */
struct trace accuse_caller(void)
{
    if (options.guard_sample == 0)
        return (struct trace){.frame = {debug_caller}};
    thread_enter();
    struct trace by = trace_take(debug_caller);
    thread_leave();
    return by;
}

static void name_callers(const void *block, struct fault *fault)
{
    debug_callers(block, &fault->allocated.frame[0], &fault->freed.frame[0]);
}

/* What is wrong with a pointer that is no block's start. */
void accuse(const void *p, const char *call)
{
    unsigned class = region_class(p);
    struct fault fault = {.kind = FAULT_FOREIGN, .call = call, .pointer = p};
    if (options.harden != 0 || options.guard_sample > 0)
        fault.called = accuse_caller();
    if (class == CLASS_GUARDED) {
        guard_accuse(p, call, &fault);
    } else if (class_is_pool(class)) {
        fault.kind = slab_block_of(region_slab(p), p) == p ? FAULT_TWICE : FAULT_INSIDE;
        fault.pool = pools[class].name;
        fault.pool_size = pools[class].size;
        fault.expected = slab_block_of(region_slab(p), p);
        name_callers(fault.expected, &fault);
    } else if (class != CLASS_NONE) {
        fault.kind = FAULT_INSIDE;
    } else if (region_unit(p) < region.units) {
        fault.kind = FAULT_FREE_SPACE;
    }
    fault_report(&fault);
}

/* A block of the pool `owner` that was given to another. */
void accuse_stranger(const void *p, const char *call, unsigned owner, const struct pool *other)
{
    struct fault fault = {
        .kind = FAULT_WRONG_POOL,
        .call = call,
        .pointer = p,
        .pool = pools[owner].name,
        .pool_size = pools[owner].size,
        .other = other->name,
    };
    name_callers(p, &fault);
    fault_report(&fault);
}

/* Under a canary the size is known to the byte; else to the class, and a block that was made smaller where it is may have
   a bigger one. A named pool's block is the business of the program's own operators. */
static bool has_size(const void *p, unsigned class, size_t n, bool resized)
{
    size_t extra = harden_extra(), size = class_table[class].size;
    if (class == CLASS_GUARDED) {
        size_t usable = guard_usable(p);
        return usable == 0 || usable == (n > 0 ? n : 1);
    }
    if (class == CLASS_LARGE || class == CLASS_BARE)
        return n > pooled_max - extra || resized;
    if (!class_is_pool(class) || class >= CLASS_NAMED)
        return true;
    if (harden_on(HARDEN_CANARY)) {
        size_t asked = harden_asked(p);
        return asked == 0 || asked == (n > 0 ? n : 1);
    }
    return (n <= pooled_max - extra && class_of(n + extra) == class) ||
           (resized && n + extra <= size && n >= size / 2);
}

void accuse_size(const void *p, size_t n, bool resized, const char *call)
{
    unsigned class = region_class(p), owner = class == CLASS_GUARDED ? guard_pool(p) : class;
    if (has_size(p, class, n, resized))
        return;
    struct fault fault = {
        .kind = FAULT_SIZE,
        .call = call,
        .pointer = p,
        .given = n,
        .called = accuse_caller(),
    };
    if (class_is_pool(owner)) {
        fault.pool = pools[owner].name;
        fault.pool_size = pools[owner].size;
        name_callers(p, &fault);
    }
    fault_report(&fault);
}
