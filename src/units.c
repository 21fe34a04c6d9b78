#include "units.h"

#include "check.h"

/* Sets or clears [unit, unit + count) in a row, but that absent ones are not dirty; returns how many bits changed. */
static size_t set_bits(struct units *u, enum units_row row, size_t unit, size_t count, bool on)
{
    size_t changed = 0, end = unit + count;
    while (unit < end) {
        uint64_t *word = &u->group[unit / GROUP_UNITS].row[row], mask = bits_in_word(unit, end);
        if (row == ROW_DIRTY)
            mask &= u->group[unit / GROUP_UNITS].row[ROW_MAPPED];
        uint64_t after = on ? *word | mask : *word & ~mask;
        changed += (size_t)popcount(after ^ *word);
        WRITE_ONCE(*word, after);
        unit = (unit | (GROUP_UNITS - 1)) + 1;
    }
    return changed;
}

static uint64_t free_word(const struct units *u, enum units_kind kind, size_t group)
{
    uint64_t unused = ~u->group[group].row[ROW_TAKEN], mapped = u->group[group].row[ROW_MAPPED];
    switch (kind) {
    case FREE_DIRTY:
        return unused & u->group[group].row[ROW_DIRTY];
    case FREE_MAPPED:
        return unused & mapped;
    default:
        return unused & ~mapped;
    }
}

/* One unit, a word at a time: nearly every search. */
static size_t find_one(struct units *u, enum units_kind kind, size_t end)
{
    for (size_t group = u->low[kind]; group < end; group++) {
        uint64_t word = free_word(u, kind, group);
        u->low[kind] = group;
        if (word != 0)
            return group * GROUP_UNITS + (size_t)__builtin_ctzll(word);
    }
    return UNITS_NONE;
}

/* How many ones follow each other from bit `at` of the word on. */
static size_t ones_from(uint64_t word, size_t at)
{
    uint64_t zeroes = ~word >> at;
    return zeroes == 0 ? GROUP_UNITS - at : (size_t)__builtin_ctzll(zeroes);
}

/* The run that is being looked at. */
struct run {
    size_t start, length;
};

/* The run goes on with `ones` units from `unit` on, or begins at the first aligned one of them. */
static void run_extend(struct run *run, const struct units *u, size_t unit, size_t ones, size_t align)
{
    if (run->length == 0) {
        run->start = ALIGN_UP(u->first + unit, align) - u->first;
        run->length = run->start < unit + ones ? unit + ones - run->start : 0;
    } else {
        run->length += ones;
    }
}

/* By stretches of ones, not by units: blocks of several MiB among others took 28 % of their time here. */
static size_t find_run(const struct units *u, enum units_kind kind, size_t count, size_t align, size_t end)
{
    struct run run = {0};
    for (size_t group = u->low[kind]; group < end; group++) {
        uint64_t word = free_word(u, kind, group);
        for (size_t at = 0; at < GROUP_UNITS;) {
            uint64_t rest = word >> at;
            size_t zeroes = rest == 0 ? GROUP_UNITS - at : (size_t)__builtin_ctzll(rest);
            if (zeroes > 0)
                run.length = 0;
            at += zeroes;
            if (at == GROUP_UNITS)
                break;
            size_t ones = ones_from(word, at);
            run_extend(&run, u, group * GROUP_UNITS + at, ones, align);
            if (run.length >= count)
                return run.start;
            at += ones;
        }
    }
    return UNITS_NONE;
}

size_t units_find(struct units *u, enum units_kind kind, size_t count, size_t align)
{
    size_t end = kind == FREE_ABSENT ? u->groups : u->top;
    return count == 1 && align == 1 ? find_one(u, kind, end) : find_run(u, kind, count, align, end);
}

size_t units_run(const struct units *u, enum units_kind kind, size_t unit, size_t most)
{
    size_t end = u->groups * GROUP_UNITS, n = 0;
    while (n < most && unit + n < end) {
        size_t at = (unit + n) % GROUP_UNITS;
        size_t ones = ones_from(free_word(u, kind, (unit + n) / GROUP_UNITS), at);
        n += ones;
        if (ones < GROUP_UNITS - at)
            break;
    }
    return n < most ? n : most;
}

bool units_withdraw(struct units *u, size_t unit, size_t count)
{
    set_bits(u, ROW_TAKEN, unit, count, true);
    size_t were_dirty = set_bits(u, ROW_DIRTY, unit, count, false);
    WRITE_ONCE(u->dirty, u->dirty - were_dirty);
    size_t top = (unit + count + GROUP_UNITS - 1) / GROUP_UNITS;
    if (top > u->top)
        WRITE_ONCE(u->top, top);
    return were_dirty == 0;
}

void units_restore(struct units *u, size_t unit, size_t count)
{
    set_bits(u, ROW_TAKEN, unit, count, false);
    for (enum units_kind kind = 0; kind < KINDS; kind++)
        if (unit / GROUP_UNITS < u->low[kind])
            u->low[kind] = unit / GROUP_UNITS;
}

bool units_take(struct units *u, size_t unit, size_t count)
{
    WRITE_ONCE(u->taken, u->taken + count);
    return units_withdraw(u, unit, count);
}

void units_free(struct units *u, size_t unit, size_t count, bool dirty)
{
    WRITE_ONCE(u->taken, u->taken - count);
    units_restore(u, unit, count);
    if (dirty)
        units_set_dirty(u, unit, count);
}

void units_set_mapped(struct units *u, size_t unit, size_t count)
{
    WRITE_ONCE(u->mapped, u->mapped + set_bits(u, ROW_MAPPED, unit, count, true));
}

void units_set_dirty(struct units *u, size_t unit, size_t count)
{
    WRITE_ONCE(u->dirty, u->dirty + set_bits(u, ROW_DIRTY, unit, count, true));
}

void units_set_absent(struct units *u, size_t unit, size_t count)
{
    WRITE_ONCE(u->mapped, u->mapped - set_bits(u, ROW_MAPPED, unit, count, false));
}

void units_lose(struct units *u, size_t unit, size_t count)
{
    set_bits(u, ROW_TAKEN, unit, count, true);
    WRITE_ONCE(u->taken, u->taken - count);
}

size_t units_withdraw_dirty(struct units *u, size_t most, size_t *unit)
{
    for (size_t group = u->dirty == 0 ? 0 : u->top; group-- > 0;) {
        uint64_t word = free_word(u, FREE_DIRTY, group);
        if (word == 0)
            continue;
        size_t last = GROUP_UNITS - 1 - (size_t)__builtin_clzll(word), count = 1;
        while (count < most && count <= last && (word >> (last - count) & 1) != 0)
            count++;
        *unit = group * GROUP_UNITS + last + 1 - count;
        units_withdraw(u, *unit, count);
        return count;
    }
    return 0;
}

COLD void units_check(const struct units *u)
{
    size_t count[ROWS] = {0};
    for (size_t group = 0; group < u->groups; group++) {
        for (unsigned r = 0; r < ROWS; r++)
            count[r] += (size_t)popcount(u->group[group].row[r]);
        check((u->group[group].row[ROW_DIRTY] & ~u->group[group].row[ROW_MAPPED]) == 0);
        check((u->group[group].row[ROW_DIRTY] & u->group[group].row[ROW_TAKEN]) == 0);
        check(group < u->top || (u->group[group].row[ROW_MAPPED] | u->group[group].row[ROW_TAKEN]) == 0);
        for (enum units_kind kind = 0; kind < KINDS; kind++)
            check(group >= u->low[kind] || free_word(u, kind, group) == 0);
    }
    check(count[ROW_MAPPED] == u->mapped && count[ROW_DIRTY] == u->dirty);
    check(count[ROW_TAKEN] >= u->taken); /* places lost to others stay taken */
}
