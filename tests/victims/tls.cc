/*
 * thread_local objects whose destructors allocate and free, in threads and in main, also after those of other objects
 * that they outlive.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

static unsigned long destructed;

struct last_word {
    std::map<std::string, std::vector<int>> book;
    char *raw = nullptr;

    void write(unsigned n)
    {
        for (unsigned i = 0; i < n; i++)
            book[std::to_string(i * 7919)].resize(i % 50 + 1, (int)i);
        raw = (char *)std::realloc(raw, n * 1000 + 1);
        std::memset(raw, 'w', n * 1000 + 1);
    }

    ~last_word()
    {
        std::string sum;
        for (auto &entry : book)
            sum += entry.first + ",";
        std::vector<std::unique_ptr<std::string>> copies;
        for (int i = 0; i < 40; i++)
            copies.push_back(std::make_unique<std::string>(sum));
        char *large = new char[200000];
        std::memset(large, 'x', 200000);
        if (raw != nullptr && raw[0] != 'w')
            std::abort();
        delete[] large;
        std::free(raw);
        __atomic_fetch_add(&destructed, 1, __ATOMIC_RELAXED);
    }
};

static thread_local last_word first_made;
static thread_local std::unique_ptr<last_word> held;
static thread_local last_word later_made;

static void use(unsigned n)
{
    first_made.write(n % 37 + 1);
    held = std::make_unique<last_word>();
    held->write(n % 11 + 1);
    later_made.write(n % 5 + 1);
}

int main()
{
    for (unsigned round = 0; round < 60; round++) {
        std::vector<std::thread> threads;
        for (unsigned t = 0; t < 8; t++)
            threads.emplace_back(use, round * 8 + t);
        for (auto &thread : threads)
            thread.join();
    }
    use(1000);
    if (destructed != 60 * 8 * 3) {
        std::fprintf(stderr, "%lu destructors ran\n", destructed);
        return 1;
    }
    std::puts("done");
    return 0;
}
