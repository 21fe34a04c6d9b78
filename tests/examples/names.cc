/*
 * Named pools from C++: classes that come from pools through their own operator new. `circle` and `square` have one
 * pool, since they are of one size and TARN_SHARED; a `row` begins a cache line.
 */
#include <tarn.h>

#include <cstdio>
#include <new>
#include <string>

/* At file level: it exists before main, and "detailed" shows this file and the line. */
static TARN_POOL_ALIGNED(rows, "row", 192, 64, 0);

/* The pool of a type: made when it is first asked for, once, by whichever thread asks. */
template <typename T> static struct tarn_pool *pool_of()
{
    static struct tarn_pool *const pool = tarn_pool_create_at(T::pool_name, sizeof(T), alignof(T),
                                                              TARN_SHARED | TARN_EXACT, __FILE__, __LINE__);
    return pool;
}

/* What comes from a pool: inherit from pooled<yourself>, and have a pool_name. */
template <typename T> struct pooled {
    static void *operator new(std::size_t)
    {
        struct tarn_pool *pool = pool_of<T>();
        void *block = pool == nullptr ? nullptr : tarn_pool_alloc(pool);

        if (block == nullptr)
            throw std::bad_alloc();
        return block;
    }
    static void operator delete(void *block)
    {
        tarn_pool_free(pool_of<T>(), block);
    }
};

struct circle : pooled<circle> {
    static constexpr const char *pool_name = "circle";
    double points[38] = {};
};

struct square : pooled<square> {
    static constexpr const char *pool_name = "square";
    std::string label = "a label that is too long to be kept within the string itself: it is malloc's";
    double points[34] = {};
};

static_assert(sizeof(circle) == sizeof(square), "one size, one pool");

static unsigned long used(const struct tarn_pool *pool)
{
    struct tarn_pool_stats now = {};

    now.version = TARN_POOL_STATS_VERSION;
    return tarn_pool_stats(pool, &now) == 0 ? static_cast<unsigned long>(now.used) : ~0ul;
}

int main()
{
    circle *one = new circle;
    square *two = new square;
    void *row = tarn_pool_alloc(rows);
    bool aligned = reinterpret_cast<std::uintptr_t>(row) % 64 == 0;

    std::printf("%s, %lu used; %s, %lu used\n",
                pool_of<circle>() == pool_of<square>() ? "one pool" : "two pools", used(pool_of<circle>()),
                aligned ? "aligned" : "not aligned", used(rows));
    std::fflush(stdout);
    tarn_pools_dump(1, "detailed match circle");
    tarn_pools_dump(1, "detailed match row");
    delete one;
    delete two;
    tarn_pool_free(rows, row);
    return used(pool_of<circle>()) == 0 && tarn_pool_destroy(rows) == nullptr ? 0 : 1;
}
