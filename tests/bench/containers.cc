/*
 * containers: micro's harness with lines in C++, whose containers reach malloc through operator new.
 *
 * An operation is one element's way in and out, if the line's help doesn't say otherwise.
 */
#include "micro.h"

#include "../tools/random.h"

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace
{

using Map = std::map<uint64_t, uint64_t>;
using Strings = std::unordered_map<std::string, std::string>;

constexpr size_t NAME = 24; // longer than what a std::string holds without malloc
constexpr size_t SMALL_MAP = 32;

// What the running line keeps; the keys are the harness's. The harness leaves by _exit, so nothing of it is destroyed.
uint64_t *keys;
Map *walked;
Strings *strings;
std::vector<Map> *maps;
volatile uint64_t sum; // that walks are not left out

void keys_draw(struct worker *w, size_t count)
{
    keys = static_cast<uint64_t *>(table_new(count * sizeof(*keys)));
    for (size_t i = 0; i < count; i++)
        keys[i] = random_next(&w->seed);
}

// A name that differs in its first bytes and needs a block of its own.
std::string name_of(uint64_t key, size_t length)
{
    std::string name(length, 'x');

    for (size_t i = 0; i < 2 * sizeof(key); i++)
        name[i] = static_cast<char>('a' + (key >> 4 * i & 15));
    return name;
}

// Half of a first map goes, so that the next one's nodes come from holes.
void prepare_walk(struct worker *w)
{
    keys_draw(w, 2 * w->line->live);
    auto *first = new Map;
    for (size_t i = 0; i < 2 * w->line->live; i++)
        first->emplace(keys[i], i);
    for (size_t i = 0; i < 2 * w->line->live; i += 2)
        first->erase(keys[i]);
    walked = new Map;
    for (size_t i = 0; i < w->line->live; i++)
        walked->emplace(~keys[i], i);
}

uint64_t work_walk(struct worker *w, uint64_t ops)
{
    uint64_t done;

    for (done = 0; done < ops; done += w->line->live) {
        for (const auto &[key, value] : *walked)
            sum = sum + value;
    }
    return done;
}

void prepare_keys(struct worker *w)
{
    keys_draw(w, w->line->live);
}

uint64_t work_build(struct worker *w, uint64_t ops)
{
    uint64_t done;

    for (done = 0; done < ops; done += w->line->live) {
        Map map;

        for (size_t i = 0; i < w->line->live; i++)
            map.emplace(keys[i], i);
    }
    return done;
}

void prepare_strings(struct worker *w)
{
    keys_draw(w, w->line->live);
    strings = new Strings;
    for (size_t i = 0; i < w->line->live; i++)
        strings->emplace(name_of(keys[i], NAME), name_of(keys[i], NAME + keys[i] % NAME));
}

uint64_t work_strings(struct worker *w, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t &key = keys[w->at];

        strings->erase(name_of(key, NAME));
        key = key * 0x9E3779B97F4A7C15u + 1;
        strings->emplace(name_of(key, NAME), name_of(key, NAME + key % NAME));
        w->at = w->at + 1 == w->line->live ? 0 : w->at + 1;
    }
    return ops;
}

void prepare_maps(struct worker *w)
{
    keys_draw(w, SIZES);
    maps = new std::vector<Map>(w->line->live);
}

uint64_t work_maps(struct worker *w, uint64_t ops)
{
    uint64_t done;

    for (done = 0; done < ops; done += SMALL_MAP) {
        Map &map = (*maps)[keys[w->at++ % SIZES] % maps->size()];

        map.clear();
        for (size_t i = 0; i < SMALL_MAP; i++)
            map.emplace(keys[(w->at + i) % SIZES], i);
    }
    return done;
}

// Positional: C++17 has no designated members.
const struct test test_map_build = {
    "an element of a std::map that is filled and cleared", prepare_keys, work_build, nullptr, nullptr, 0};
const struct test test_map_walk = {
    "an element of a std::map built after churn is visited", prepare_walk, work_walk, nullptr, nullptr, 0};
const struct test test_strings = {"an element of a std::unordered_map of strings replaced",
                                  prepare_strings,
                                  work_strings,
                                  nullptr,
                                  nullptr,
                                  0};
const struct test test_maps = {"an element of one of many small std::maps that are filled and cleared",
                               prepare_maps,
                               work_maps,
                               nullptr,
                               nullptr,
                               0};

} // namespace

extern "C" {
extern const struct line lines[] = {
    {"map-build-1k", "structures", &test_map_build, MIXED, 1000, 1, 3000000},
    {"map-build-200k", "structures", &test_map_build, MIXED, 200000, 1, 600000},
    {"map-walk-300k", "structures", &test_map_walk, MIXED, 300000, 1, 3000000},
    {"strings-1k", "structures", &test_strings, MIXED, 1000, 1, 2000000},
    {"strings-200k", "structures", &test_strings, MIXED, 200000, 1, 800000},
    {"maps-10k", "structures", &test_maps, MIXED, 10000, 1, 3000000},
};
extern const size_t lines_count = sizeof(lines) / sizeof(lines[0]);
}
