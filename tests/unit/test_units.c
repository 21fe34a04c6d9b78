#include "units.h"

#include "../tools/dies.h"
#include "../tools/random.h"

#include <criterion/criterion.h>
#include <string.h>

/* A plain picture of the same: one struct a unit. */
enum { GROUPS = 8, UNITS = GROUPS * GROUP_UNITS };
static struct {
    bool mapped, taken, dirty, lost;
} plain[UNITS];

static struct units_group groups[GROUPS];
static struct units units;

static void start(void)
{
    memset(plain, 0, sizeof plain);
    memset(groups, 0, sizeof groups);
    units = (struct units){.group = groups, .groups = GROUPS};
}

TestSuite(units, .init = start);

static bool is_free(enum units_kind kind, size_t unit)
{
    if (unit >= UNITS || plain[unit].taken)
        return false;
    return kind == FREE_DIRTY ? plain[unit].dirty : plain[unit].mapped == (kind == FREE_MAPPED);
}

static size_t plain_run(enum units_kind kind, size_t unit, size_t most)
{
    size_t n = 0;
    while (n < most && is_free(kind, unit + n))
        n++;
    return n;
}

static size_t plain_find(enum units_kind kind, size_t count, size_t align)
{
    for (size_t unit = 0; unit + count <= UNITS; unit++)
        if ((units.first + unit) % align == 0 && plain_run(kind, unit, count) == count)
            return unit;
    return UNITS_NONE;
}

static void check_same(void)
{
    size_t taken = 0, dirty = 0, mapped = 0;
    for (size_t unit = 0; unit < UNITS; unit++) {
        uint64_t bit = (uint64_t)1 << unit % GROUP_UNITS;
        cr_assert_eq((groups[unit / GROUP_UNITS].row[ROW_TAKEN] & bit) != 0, plain[unit].taken);
        cr_assert_eq((groups[unit / GROUP_UNITS].row[ROW_DIRTY] & bit) != 0, plain[unit].dirty);
        cr_assert_eq((groups[unit / GROUP_UNITS].row[ROW_MAPPED] & bit) != 0, plain[unit].mapped);
        taken += plain[unit].taken && !plain[unit].lost;
        dirty += plain[unit].dirty;
        mapped += plain[unit].mapped;
    }
    cr_assert_eq(units.taken, taken);
    cr_assert_eq(units.dirty, dirty);
    cr_assert_eq(units.mapped, mapped);
    units_check(&units);
}

static void take(size_t unit, size_t count)
{
    bool clean = true;
    for (size_t i = unit; i < unit + count; i++) {
        clean &= !plain[i].dirty;
        plain[i].taken = true;
        plain[i].dirty = false;
    }
    cr_assert_eq(units_take(&units, unit, count), clean);
}

static void set_mapped(size_t unit, size_t count)
{
    for (size_t i = unit; i < unit + count; i++)
        plain[i].mapped = true;
    units_set_mapped(&units, unit, count);
}

static void set_free(size_t unit, size_t count, bool dirty)
{
    for (size_t i = unit; i < unit + count; i++) {
        plain[i].taken = false;
        plain[i].dirty |= dirty;
    }
    units_free(&units, unit, count, dirty);
}

/* On their way, and free again; in between mapped or absent, or neither. */
static void pass_through(size_t unit, size_t count, bool change)
{
    bool clean = true, absent = !plain[unit].mapped;
    size_t taken = units.taken;
    for (size_t i = unit; i < unit + count; i++)
        clean &= !plain[i].dirty;
    cr_assert_eq(units_withdraw(&units, unit, count), clean);
    cr_assert_eq(units.taken, taken);
    for (enum units_kind kind = 0; kind < KINDS; kind++)
        cr_assert_eq(units_run(&units, kind, unit, 1), 0);
    if (change && absent)
        units_set_mapped(&units, unit, count);
    if (change && !absent)
        units_set_absent(&units, unit, count);
    units_restore(&units, unit, count);
    for (size_t i = unit; i < unit + count; i++) {
        plain[i].mapped = change ? absent : !absent;
        plain[i].dirty = false;
    }
}

static void lose(size_t unit, size_t count)
{
    for (size_t i = unit; i < unit + count; i++)
        plain[i].lost = true;
    units_lose(&units, unit, count);
}

/* The highest dirty unit is the last of those withdrawn; the run goes down no further than its group. Then they are free,
   dirty or not. */
static void pass_dirty(size_t most, bool still_dirty)
{
    size_t unit = 12345, last = UNITS, taken = units.taken, expected = 0;
    size_t count = units_withdraw_dirty(&units, most, &unit);
    while (last-- > 0 && !plain[last].dirty)
        ;
    if (last == SIZE_MAX) {
        cr_assert_eq(count, 0);
        return;
    }
    do
        expected++;
    while (expected < most && expected <= last % GROUP_UNITS && plain[last - expected].dirty);
    cr_assert_eq(count, expected);
    cr_assert_eq(unit, last + 1 - count);
    cr_assert_eq(units.taken, taken);
    for (size_t i = unit; i <= last; i++) {
        cr_assert_eq(units_run(&units, FREE_MAPPED, i, 1), 0);
        plain[i].dirty = still_dirty;
    }
    units_restore(&units, unit, count);
    if (still_dirty)
        units_set_dirty(&units, unit, count);
}

/* ---- one by one ---- */

Test(units, at_first_all_are_absent)
{
    check_same();
    cr_assert_eq(units_find(&units, FREE_ABSENT, 1, 1), 0);
    cr_assert_eq(units_find(&units, FREE_ABSENT, UNITS, 1), 0);
    cr_assert_eq(units_find(&units, FREE_ABSENT, UNITS + 1, 1), UNITS_NONE);
    cr_assert_eq(units_find(&units, FREE_MAPPED, 1, 1), UNITS_NONE);
    cr_assert_eq(units_find(&units, FREE_DIRTY, 1, 1), UNITS_NONE);
}

Test(units, runs_cross_groups)
{
    take(0, UNITS);
    set_mapped(0, UNITS);
    set_free(60, 140, false);
    check_same();
    cr_assert_eq(units_find(&units, FREE_MAPPED, 140, 1), 60);
    cr_assert_eq(units_find(&units, FREE_MAPPED, 141, 1), UNITS_NONE);
    cr_assert_eq(units_run(&units, FREE_MAPPED, 60, SIZE_MAX), 140);
    cr_assert_eq(units_run(&units, FREE_MAPPED, 59, 10), 0);
    cr_assert_eq(units_run(&units, FREE_MAPPED, 100, 7), 7);
}

Test(units, alignment_counts_from_address_zero)
{
    units.first = 1000 * GROUP_UNITS + 3;
    for (size_t align = 1; align <= UNITS; align *= 2)
        for (size_t count = 1; count < 200; count += 13)
            cr_assert_eq(units_find(&units, FREE_ABSENT, count, align), plain_find(FREE_ABSENT, count, align),
                         "%zu at %zu", count, align);
}

Test(units, lost_places_stay_taken_and_are_not_counted)
{
    take(0, 10);
    lose(0, 4);
    check_same();
    cr_assert_eq(units.taken, 6);
    cr_assert_eq(units_find(&units, FREE_ABSENT, 1, 1), 10);
    units_restore(&units, 0, 4);
    cr_assert_eq(units.taken, 6);
    cr_assert_eq(units_find(&units, FREE_ABSENT, 1, 1), 0);
    units_check(&units);
}

Test(units, the_last_unit_of_the_window_is_as_good_as_any)
{
    take(0, UNITS - 1);
    cr_assert_eq(units_find(&units, FREE_ABSENT, 1, 1), UNITS - 1);
    cr_assert_eq(units_find(&units, FREE_ABSENT, 2, 1), UNITS_NONE);
    cr_assert_eq(units_run(&units, FREE_ABSENT, UNITS - 1, 5), 1);
    take(UNITS - 1, 1);
    check_same();
    cr_assert_eq(units_find(&units, FREE_ABSENT, 1, 1), UNITS_NONE);
}

/* ---- any steps ---- */

/* A run of taken units, not lost, from somewhere on; 0: none there. */
static size_t taken_run(uint64_t *seed, size_t *unit)
{
    size_t n = 0, most = 1 + random_below(seed, random_below(seed, 4) == 0 ? 150 : 8);
    *unit = random_below(seed, UNITS);
    while (n < most && *unit + n < UNITS && plain[*unit + n].taken && !plain[*unit + n].lost)
        n++;
    return n;
}

static void claim(uint64_t *seed)
{
    enum units_kind kind = (enum units_kind)random_below(seed, KINDS);
    size_t count = 1 + random_below(seed, random_below(seed, 3) == 0 ? 150 : 4);
    size_t align = random_below(seed, 2) == 0 ? 1 : (size_t)1 << random_below(seed, 9);
    size_t unit = units_find(&units, kind, count, align);
    cr_assert_eq(unit, plain_find(kind, count, align), "kind %d, %zu at %zu", kind, count, align);
    if (unit == UNITS_NONE)
        return;
    if (random_below(seed, 5) == 0) {
        pass_through(unit, count, random_below(seed, 2) == 0);
        return;
    }
    take(unit, count);
    if (kind != FREE_ABSENT)
        return;
    if (random_below(seed, 40) == 0)
        lose(unit, count < 3 ? count : 3);
    else if (random_below(seed, 4) > 0)
        set_mapped(unit, count);
    else
        set_free(unit, count, false);
}

static void give(uint64_t *seed)
{
    size_t unit, count = taken_run(seed, &unit);
    bool mapped = true;
    for (size_t i = 0; i < count; i++)
        mapped &= plain[unit + i].mapped;
    if (count > 0)
        set_free(unit, count, mapped && random_below(seed, 3) > 0);
}

Test(units, any_steps_agree_with_a_plain_array, .timeout = 60)
{
    for (uint64_t round = 1; round <= 12; round++) {
        uint64_t seed = round;
        start();
        units.first = round % 3 == 0 ? random_below(&seed, 1000) : GROUP_UNITS * round;
        for (int step = 0; step < 1500; step++) {
            size_t action = random_below(&seed, 10);
            if (action < 5)
                claim(&seed);
            else if (action < 9)
                give(&seed);
            else
                pass_dirty(1 + random_below(&seed, 100), random_below(&seed, 4) == 0);
            size_t unit = random_below(&seed, UNITS), most = random_below(&seed, UNITS);
            for (enum units_kind kind = 0; kind < KINDS; kind++)
                cr_assert_eq(units_run(&units, kind, unit, most), plain_run(kind, unit, most));
            check_same();
        }
    }
}

/* ---- the check itself ---- */

static void miscount(void)
{
    units.dirty++;
    units_check(&units);
}

static void dirty_absent(void)
{
    groups[1].row[ROW_DIRTY] = 1;
    units.dirty++;
    units_check(&units);
}

static void start_too_late(void)
{
    units.low[FREE_ABSENT] = 3;
    units_check(&units);
}

Test(units, check_traps_what_is_broken)
{
    take(0, 100);
    units_check(&units);
    cr_assert(dies(miscount, "u->dirty"));
    cr_assert(dies(dirty_absent, "ROW_DIRTY"));
    cr_assert(dies(start_too_late, "u->low[kind]"));
}
