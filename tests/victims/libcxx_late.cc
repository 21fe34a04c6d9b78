// The plugin of cxx_late.c: the only C++ in that process.
#include <cstdint>
#include <new>
#include <string>

static int handled;

static void handler()
{
    if (++handled == 2)
        std::set_new_handler(nullptr);
}

static volatile size_t too_much = SIZE_MAX / 4;
static void *volatile sink; // or the compiler drops a new whose block is not used

// 0, or the number of what went wrong.
extern "C" int run()
{
    std::string s(1000, 'x');
    try {
        sink = operator new(too_much);
        return 1;
    } catch (const std::bad_alloc &) {
    }
    std::set_new_handler(handler);
    try {
        sink = operator new[](too_much);
        return 2;
    } catch (const std::bad_alloc &) {
    }
    if (handled != 2)
        return 3;
    if (operator new(too_much, std::nothrow) != nullptr)
        return 4;
    return s.size() == 1000 ? 0 : 5;
}
