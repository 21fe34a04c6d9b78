// operator new and delete as the standard has them ([new.delete], [mem.res]): what is beside the forms themselves and
// the handlers that give up or throw, which are cxx_new.cc's.
#include "conform.h"

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <malloc.h>
#include <map>
#include <memory>
#include <memory_resource>
#include <new>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unordered_map>
#include <vector>

static void *volatile sink; // or the compiler drops a new whose block is not used
static volatile size_t too_much = SIZE_MAX / 2 - 100;
static volatile long negative = -1;

template <typename Exception, typename Call> static bool throws(Call call)
{
    try {
        call();
    } catch (const Exception &) {
        return true;
    } catch (...) {
    }
    return false;
}

static void nothing_is_a_block_of_its_own()
{
    void *p[] = {operator new(0), operator new[](0), operator new(0, std::nothrow),
                                                     operator new(0, std::align_val_t(64)),
                                                     operator new[](0, std::align_val_t(4096))};
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < i; k++)
            expect(p[i] != nullptr && p[i] != p[k]);
    operator delete(p[0]);
    operator delete[](p[1]);
    operator delete(p[2]);
    operator delete(p[3], std::align_val_t(64));
    operator delete[](p[4], std::align_val_t(4096));
}

static void blocks_fit_the_default_alignment()
{
    for (size_t n = 0; n < 3000; n++)
        expect((uintptr_t) operator new(n) % __STDCPP_DEFAULT_NEW_ALIGNMENT__ == 0);
}

static void bad_lengths_throw_bad_array_new_length()
{
    volatile size_t huge = SIZE_MAX / 4;
    expect(throws<std::bad_alloc>([] { sink = new int[(size_t)negative]; }));
    expect(throws<std::bad_alloc>([&] { sink = new long[huge]; }));
    expect(throws<std::bad_alloc>([] { sink = new char[too_much]; }));
    expect(new (std::nothrow) char[too_much] == nullptr);
}

struct Thrower {
    static int constructed, destructed;
    char body[300];
    Thrower()
    {
        if (constructed == 5)
            throw 5;
        constructed++;
    }
    ~Thrower()
    {
        destructed++;
    }
};
int Thrower::constructed, Thrower::destructed;

static void a_throwing_constructor_gives_its_block_back()
{
    struct mallinfo2 before = {};
    for (int i = 0; i < 20000; i++) {
        if (i == 1000)
            before = mallinfo2();
        Thrower::constructed = i % 2 ? 5 : 0;
        try {
            sink = i % 2 ? new Thrower : new Thrower[10];
            expect(!"it threw");
        } catch (int) {
        }
    }
    expect(Thrower::destructed == 10000 * 5);
    expect(mallinfo2().uordblks < before.uordblks + 1000000);
}

struct alignas(256) Wide {
    static int thrown;
    char body[100];
    explicit Wide(bool bad)
    {
        if (bad)
            throw ++thrown;
    }
};
int Wide::thrown;

static void over_aligned_types_get_their_alignment()
{
    std::vector<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < 2000; i++) {
        wide.push_back(std::make_unique<Wide>(false));
        expect((uintptr_t)wide.back().get() % 256 == 0);
        expect(throws<int>([] { sink = new Wide(true); }));
        expect(throws<int>([] { sink = new (std::nothrow) Wide(true); }));
    }
    expect(Wide::thrown == 4000);
    std::list<Wide> list;
    std::map<int, Wide> map;
    for (int i = 0; i < 500; i++) {
        list.emplace_back(false);
        expect((uintptr_t)&list.back() % 256 == 0);
        expect((uintptr_t)&map.emplace(i, false).first->second % 256 == 0);
    }
}

struct Own {
    static int taken, given;
    static size_t given_size;
    char body[48];
    void *operator new(size_t n)
    {
        taken++;
        return ::operator new(n);
    }
    void operator delete(void *p, size_t n)
    {
        given++;
        given_size = n;
        ::operator delete(p, n);
    }
    virtual ~Own() = default;
};
int Own::taken, Own::given;
size_t Own::given_size;

struct Derived : Own {
    char more[1000];
};

static void a_class_may_have_its_own()
{
    Own *one = new Derived;
    delete one;
    expect(Own::taken == 1 && Own::given == 1 && Own::given_size == sizeof(Derived));
    one = ::new Own;
    ::delete one;
    expect(Own::taken == 1 && Own::given == 1);
}

static void *reserve;
static int handled;

static void give_the_reserve()
{
    handled++;
    if (reserve == nullptr)
        throw std::bad_alloc();
    free(reserve);
    reserve = nullptr;
}

// As a program does that keeps something for bad days.
static void a_handler_may_find_memory()
{
    struct rlimit limit = {(size_t)260 << 20, RLIM_INFINITY};
    reserve = malloc((size_t)150 << 20);
    expect(setrlimit(RLIMIT_AS, &limit) == 0);
    std::set_new_handler(give_the_reserve);
    char *p = (char *)operator new((size_t)140 << 20);
    expect(p != nullptr && handled == 1 && reserve == nullptr);
    p[(140 << 20) - 1] = 1;
    expect(throws<std::bad_alloc>([] { sink = operator new((size_t)200 << 20); }));
    expect(handled == 2);
    operator delete(p);
}

// libstdc++ keeps a little for exceptions that are thrown when there is nothing else.
static void exceptions_can_be_thrown_without_memory()
{
    struct rlimit limit = {(size_t)200 << 20, RLIM_INFINITY};
    std::vector<void *> all;
    all.reserve(8 << 20);
    expect(setrlimit(RLIMIT_AS, &limit) == 0);
    for (size_t n : {1 << 20, 10000, 1000, 100, 16})
        while (void *p = operator new(n, std::nothrow))
            all.push_back(p);
    for (int i = 0; i < 100; i++) {
        expect(throws<std::bad_alloc>([] { sink = operator new(1 << 20); }));
        try {
            throw std::runtime_error("short");
        } catch (const std::exception &) {
        }
    }
    for (void *p : all)
        operator delete(p);
    expect(!throws<std::bad_alloc>([] { operator delete(operator new(1 << 20)); }));
}

static void exceptions_cross_threads()
{
    for (int i = 0; i < 50; i++) {
        std::exception_ptr caught;
        std::thread([&] {
            try {
                sink = operator new(too_much);
            } catch (...) {
                caught = std::current_exception();
            }
        }).join();
        expect(throws<std::bad_alloc>([&] { std::rethrow_exception(caught); }));
    }
}

template <typename Resource> static void live_on(Resource &resource)
{
    std::pmr::vector<std::pmr::string> words(&resource);
    std::pmr::unordered_map<int, std::pmr::string> book(&resource);
    for (int i = 0; i < 5000; i++) {
        words.emplace_back(i % 200, 'x');
        book.emplace(i, words.back());
    }
    for (int i = 0; i < 5000; i++)
        expect(book.at(i).size() == (size_t)i % 200);
    void *p = resource.allocate(1000, 512);
    expect((uintptr_t)p % 512 == 0);
    resource.deallocate(p, 1000, 512);
}

static void memory_resources()
{
    live_on(*std::pmr::new_delete_resource());
    for (size_t align = 1; align <= 8192; align *= 2) {
        void *p = std::pmr::new_delete_resource()->allocate(100, align);
        expect((uintptr_t)p % align == 0);
        std::pmr::new_delete_resource()->deallocate(p, 100, align);
    }
    std::pmr::monotonic_buffer_resource monotonic;
    std::pmr::unsynchronized_pool_resource pool;
    std::pmr::synchronized_pool_resource shared;
    live_on(monotonic);
    live_on(pool);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++)
        threads.emplace_back([&] { live_on(shared); });
    for (auto &thread : threads)
        thread.join();
    expect(throws<std::bad_alloc>([] { sink = std::pmr::new_delete_resource()->allocate(too_much); }));
}

static void the_library_allocates_in_pairs()
{
    std::deque<std::string> queue;
    std::stringstream text;
    std::function<int()> deep = [] { return 0; };
    for (int i = 0; i < 20000; i++) {
        queue.push_back(std::to_string(i) + std::string(i % 40, '.'));
        if (i % 3 == 0)
            queue.pop_front();
        text << queue.back();
    }
    for (int i = 0; i < 500; i++)
        deep = [deep, padding = std::string(i, 'p')] { return deep() + (int)(padding.size() > 1); };
    expect(deep() == 498);
    auto shared = std::make_shared<std::vector<int>>(10000, 7);
    std::weak_ptr<std::vector<int>> weak = shared;
    std::thread([copy = std::move(shared)] { expect((*copy)[9999] == 7); }).join();
    expect(weak.expired() && text.str().size() > 100000);
}

static const struct conform_case cases[] = {
    {nothing_is_a_block_of_its_own, "new of 0 bytes is a block of its own"},
    {blocks_fit_the_default_alignment, "new: aligned to __STDCPP_DEFAULT_NEW_ALIGNMENT__"},
    {bad_lengths_throw_bad_array_new_length, "new[]: a bad length is std::bad_array_new_length"},
    {a_throwing_constructor_gives_its_block_back, "a constructor that throws gives its block back"},
    {over_aligned_types_get_their_alignment, "over-aligned types, alone and in containers"},
    {a_class_may_have_its_own, "a class may have its own new and sized delete"},
    {a_handler_may_find_memory, "a new_handler may find memory"},
    {exceptions_can_be_thrown_without_memory, "exceptions can be thrown when there is no memory"},
    {exceptions_cross_threads, "an exception is freed by another thread"},
    {memory_resources, "std::pmr: resources of every kind"},
    {the_library_allocates_in_pairs, "the library's containers, streams and functions"},
};
CONFORM_MAIN(cases)
