// A program that replaces plain new and delete alone. Every other form must go through its own, as the standard
// says: its blocks carry a header, so a form that ends elsewhere would free what is no block.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

void operator delete(void *, std::size_t) noexcept; // clang declares these only on -fsized-deallocation
void operator delete[](void *, std::size_t) noexcept;

static size_t taken, given;

void *operator new(size_t n)
{
    auto *p = static_cast<size_t *>(malloc(n + 64));
    if (p == nullptr)
        throw std::bad_alloc();
    p[0] = 0x5ca1ab1e;
    taken++;
    return p + 8;
}

void operator delete(void *block) noexcept
{
    if (block == nullptr)
        return;
    auto *p = static_cast<size_t *>(block) - 8;
    if (p[0] != 0x5ca1ab1e) {
        fputs("a block of another operator new\n", stderr);
        exit(1);
    }
    p[0] = 0;
    given++;
    free(p);
}

template <typename T> static T *seen(T *block)
{
    static T *volatile sink; // or the compiler drops a pair of new and delete
    sink = block;
    return sink;
}

int main()
{
    enum { FORMS = 7 };
    delete seen(new int);
    delete[] seen(new int[100]);
    operator delete[](operator new[](50), size_t(50));
    operator delete(operator new(50), size_t(50));
    operator delete(operator new(50, std::nothrow), std::nothrow);
    operator delete[](operator new[](50, std::nothrow), std::nothrow);
    operator delete(operator new[](50, std::nothrow));
    if (taken != FORMS || given != FORMS) {
        fprintf(stderr, "%d forms, but %zu taken and %zu given\n", FORMS, taken, given);
        return 1;
    }
    std::vector<int> v;
    for (int i = 0; i < 100000; i++)
        v.push_back(i * 7919 % 10007);
    std::stable_sort(v.begin(), v.end()); // takes its buffer by nothrow new
    v = {};
    v.shrink_to_fit();
    return taken != given || taken < FORMS + 10;
}
