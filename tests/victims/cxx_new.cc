// operator new and delete in all their forms: cxx_new; the same with libstdc++'s own and with tarn's.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" size_t malloc_usable_size(void *);

void operator delete(void *, std::size_t) noexcept; // clang declares these only on -fsized-deallocation
void operator delete[](void *, std::size_t) noexcept;
void operator delete(void *, std::size_t, std::align_val_t) noexcept;
void operator delete[](void *, std::size_t, std::align_val_t) noexcept;

static int failures;
#define expect(condition)                                                                                    \
    ((condition) ? (void)0 : (void)(failures++, fprintf(stderr, "%d: expected: %s\n", __LINE__, #condition)))

static const size_t too_much = SIZE_MAX / 2 - 100;
static volatile size_t sizes[] = {0, 1, 8, 24, 100, 1000, 10000, 40000, 100000, 3000000};

static void *volatile sink; // or the compiler drops a new whose block is not used

template <typename Call> static bool throws_bad_alloc(Call call)
{
    try {
        sink = call();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static void good(void *p, size_t n, size_t align = 16)
{
    expect(p != nullptr && (uintptr_t)p % align == 0 && malloc_usable_size(p) >= n);
    memset(p, 0x77, n);
}

static void every_form_pairs_up()
{
    for (size_t n : sizes) {
        void *p[8] = {operator new(n),
                      operator new[](n),
                      operator new(n, std::nothrow),
                      operator new[](n, std::nothrow),
                      operator new(n),
                      operator new[](n),
                      operator new(n),
                      operator new[](n)};
        for (void *q : p)
            good(q, n);
        operator delete(p[0]);
        operator delete[](p[1]);
        operator delete(p[2], std::nothrow);
        operator delete[](p[3], std::nothrow);
        operator delete(p[4], n);
        operator delete[](p[5], n);
        operator delete(p[6]);
        operator delete[](p[7]);
        for (size_t a : {1, 2, 4, 8, 16, 32, 64, 512, 4096, 65536, 1 << 21}) {
            auto align = std::align_val_t(a);
            void *q[6] = {operator new(n, align),
                          operator new[](n, align),
                          operator new(n, align, std::nothrow),
                          operator new[](n, align, std::nothrow),
                          operator new(n, align),
                          operator new[](n, align)};
            for (void *r : q)
                good(r, n, a);
            operator delete(q[0], align);
            operator delete[](q[1], align);
            operator delete(q[2], align, std::nothrow);
            operator delete[](q[3], align, std::nothrow);
            operator delete(q[4], n, align);
            operator delete[](q[5], n, align);
        }
    }
    operator delete(nullptr);
    operator delete[](nullptr, 10);
    operator delete(nullptr, std::align_val_t(64));
}

static void refusals_throw_or_are_null()
{
    auto align = std::align_val_t(64), crooked = std::align_val_t(48), none = std::align_val_t(0);
    expect(throws_bad_alloc([] { return operator new(too_much); }));
    expect(throws_bad_alloc([] { return operator new[](too_much); }));
    expect(throws_bad_alloc([=] { return operator new(too_much, align); }));
    expect(throws_bad_alloc([=] { return operator new[](too_much, align); }));
    expect(throws_bad_alloc([=] { return operator new(100, crooked); }));
    expect(throws_bad_alloc([=] { return operator new(100, none); }));
    expect(operator new(too_much, std::nothrow) == nullptr);
    expect(operator new[](too_much, std::nothrow) == nullptr);
    expect(operator new(too_much, align, std::nothrow) == nullptr);
    expect(operator new[](too_much, align, std::nothrow) == nullptr);
    expect(operator new(100, crooked, std::nothrow) == nullptr);
}

static int calls;

static void give_up_on_the_third()
{
    if (++calls == 3)
        std::set_new_handler(nullptr);
}

static void throw_at_once()
{
    calls++;
    throw std::runtime_error("from the handler"); // not even a bad_alloc: the caller of new must see it
}

static bool sees_the_handlers(void *(*call)())
{
    try {
        sink = call();
    } catch (const std::runtime_error &) {
        return true;
    }
    return false;
}

static void handlers_are_called_until_they_give_up()
{
    auto handled = [](auto call) {
        calls = 0;
        std::set_new_handler(give_up_on_the_third);
        call();
        expect(calls == 3);
        expect(std::get_new_handler() == nullptr);
    };
    auto align = std::align_val_t(64);
    handled([] { expect(throws_bad_alloc([] { return operator new(too_much); })); });
    handled([] { expect(throws_bad_alloc([] { return operator new[](too_much); })); });
    handled([=] { expect(throws_bad_alloc([=] { return operator new(too_much, align); })); });
    handled([] { expect(operator new(too_much, std::nothrow) == nullptr); });
    handled([=] { expect(operator new[](too_much, align, std::nothrow) == nullptr); });

    std::set_new_handler(throw_at_once);
    expect(sees_the_handlers([] { return operator new(too_much); }));
    expect(sees_the_handlers([] { return operator new(too_much, std::align_val_t(32)); }));
    calls = 0;
    expect(operator new(too_much, std::nothrow) == nullptr); // which swallows it
    expect(operator new(too_much, std::align_val_t(32), std::nothrow) == nullptr);
    expect(calls == 2);
    std::set_new_handler(nullptr);
}

struct alignas(128) Wide {
    char text[200];
};

static void the_library_lives_on_it()
{
    std::vector<std::string> words;
    for (int i = 0; i < 20000; i++)
        words.push_back(std::string(i % 300, 'x'));
    for (int i = 0; i < 20000; i++)
        expect(words[i].size() == (size_t)i % 300);
    std::vector<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < 1000; i++) {
        wide.push_back(std::make_unique<Wide>());
        expect((uintptr_t)wide.back().get() % 128 == 0);
    }
    expect(throws_bad_alloc([] { return new std::vector<long>(too_much / 16); }));
}

int main()
{
    every_form_pairs_up();
    refusals_throw_or_are_null();
    handlers_are_called_until_they_give_up();
    the_library_lives_on_it();
    errno = 12321;
    delete new int(1);
    operator delete(operator new(10, std::align_val_t(4096)), std::align_val_t(4096));
    expect(errno == 12321);
    return failures != 0;
}
