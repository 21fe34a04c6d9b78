// bank: a C++ program that is mostly maps, strings and small objects that own each other.
// Prints sums of what it holds, so that two runs can be compared. usage: bank N
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace
{

std::uint64_t state = 88172645463325252u;

std::uint32_t random_below(std::uint32_t bound)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<std::uint32_t>(((state >> 32) * bound) >> 32);
}

struct account {
    std::string owner;
    std::map<std::uint32_t, std::string> notes;
    std::list<std::uint32_t> history;
    std::vector<std::shared_ptr<account>> friends;
};

std::string name_of(std::uint32_t number)
{
    return "account number " + std::to_string(number) + std::string(number % 40, '.');
}

// An index by name, another by number, and entries that come and go.
std::uint64_t bank(std::uint32_t size, std::uint32_t steps)
{
    std::map<std::string, std::shared_ptr<account>> by_name;
    std::unordered_map<std::uint32_t, std::shared_ptr<account>> by_number;
    std::uint64_t sum = 0;

    for (std::uint32_t step = 0; step < steps; step++) {
        std::uint32_t number = random_below(size);
        auto found = by_number.find(number);
        if (found == by_number.end()) {
            auto made = std::make_shared<account>();
            made->owner = name_of(number);
            by_name[made->owner] = made;
            by_number[number] = made;
            continue;
        }
        account &entry = *found->second;
        entry.notes[random_below(16)] = std::string(random_below(100), 'n');
        entry.history.push_back(step);
        if (entry.history.size() > 8)
            entry.history.pop_front();
        if (auto other = by_number.find(random_below(size));
            other != by_number.end() && entry.friends.size() < 4)
            entry.friends.push_back(other->second);
        if (random_below(8) == 0) {
            entry.friends.clear(); // a ring of friends would never be freed
            by_name.erase(entry.owner);
            by_number.erase(number);
        }
    }
    for (auto &[name, entry] : by_name)
        sum =
            sum * 31 + name.size() + entry->notes.size() * 7 + entry->history.size() + entry->friends.size();
    for (auto &[name, entry] : by_name)
        entry->friends.clear();
    return sum;
}

// Words counted in a tree, then in order of their counts.
std::uint64_t words(std::uint32_t count)
{
    std::map<std::string, std::uint32_t> seen;
    std::multimap<std::uint32_t, std::string> ranked;
    std::uint64_t sum = 0;

    for (std::uint32_t i = 0; i < count; i++)
        seen["word " + std::to_string(random_below(count / 8 + 1)) + " of the book"]++;
    for (auto &[word, times] : seen)
        ranked.emplace(times, word);
    for (auto &[times, word] : ranked)
        sum = sum * 33 + times + word.size();
    return sum;
}

} // namespace

int main(int argc, char **argv)
{
    std::uint32_t size = argc > 1 ? static_cast<std::uint32_t>(std::atoi(argv[1])) : 100000;

    std::printf("%llu\n", static_cast<unsigned long long>(bank(size / 10, size * 6)));
    std::printf("%llu\n", static_cast<unsigned long long>(words(size * 4)));
    return 0;
}
