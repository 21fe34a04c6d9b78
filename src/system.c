#include "system.h"

#include "check.h"
#include "lock.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>

enum { DONTNEED_LOCKED = 24 }; /* MADV_DONTNEED_LOCKED of Linux 5.18, newer than our oldest headers */
enum { PROTECTION = PROT_READ | PROT_WRITE, FLAGS = MAP_PRIVATE | MAP_ANONYMOUS };

size_t system_page(void)
{
    static size_t page;
    if (READ_ONCE(page) == 0)
        WRITE_ONCE(page, (size_t)getauxval(AT_PAGESZ));
    return page;
}

void *system_map_anytime(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROTECTION, FLAGS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void *system_map(size_t bytes)
{
    debug_check(lock_none_held());
    return system_map_anytime(bytes);
}

enum system_map_result system_map_at(void *at, size_t bytes)
{
    debug_check(lock_none_held());
    void *p = mmap(at, bytes, PROTECTION, FLAGS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == at)
        return SYSTEM_MAPPED;
    if (p == MAP_FAILED)
        return errno == EEXIST ? SYSTEM_OCCUPIED : SYSTEM_REFUSED;
    /* A kernel before 4.17, or valgrind, took the address for a hint. */
    munmap(p, bytes);
    return SYSTEM_OCCUPIED;
}

bool system_map_over(void *at, size_t bytes)
{
    debug_check(lock_none_held());
    return mmap(at, bytes, PROTECTION, FLAGS | MAP_FIXED, -1, 0) == at;
}

bool system_unmap(void *at, size_t bytes)
{
    debug_check(lock_none_held());
    return munmap(at, bytes) == 0;
}

/* What the program has locked (mlockall) the kernel gives up only where told so in so many words. */
bool system_discard(void *at, size_t bytes)
{
    debug_check(lock_none_held());
    return madvise(at, bytes, MADV_DONTNEED) == 0 ||
           (errno == EINVAL && madvise(at, bytes, DONTNEED_LOCKED) == 0);
}

static bool fills;

void system_expect_fill(bool fill)
{
    WRITE_ONCE(fills, fill);
}

bool system_fills(void)
{
    return READ_ONCE(fills);
}

bool system_unfill(void *at, size_t bytes)
{
    return system_fills() && system_discard(at, bytes);
}

enum system_move_result system_move(void *to, void *from, size_t bytes)
{
    debug_check(lock_none_held());
    if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to)
        return SYSTEM_MOVED;
    if (system_map_over(to, bytes)) /* it may have cleared the place before it refused */
        return SYSTEM_STAYED;
    munmap(to, bytes);
    return SYSTEM_TORN;
}

bool system_protect(void *at, size_t bytes, bool accessible)
{
    debug_check(lock_none_held());
    return mprotect(at, bytes, accessible ? PROTECTION : PROT_NONE) == 0;
}

bool system_set_writable(void *at, size_t bytes, bool writable)
{
    debug_check(lock_none_held());
    return mprotect(at, bytes, writable ? PROTECTION : PROT_READ) == 0;
}

COLD size_t system_resident(const void *at, size_t bytes)
{
    enum { BATCH = 512 }; /* pages a call: small enough for a signal handler's stack */
    unsigned char pages[BATCH];
    size_t page = system_page(), resident = 0;
    for (size_t done = 0; done < bytes; done += BATCH * page) {
        size_t part = bytes - done < BATCH * page ? bytes - done : BATCH * page;
        if (mincore((char *)(uintptr_t)at + done, part, pages) != 0)
            continue;
        for (size_t i = 0; i < (part + page - 1) / page; i++)
            resident += (pages[i] & 1) * page;
    }
    return resident;
}

static size_t soft_limit(int resource)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return limit.rlim_cur;
}

size_t system_limit(void)
{
    size_t space = soft_limit(RLIMIT_AS), data = soft_limit(RLIMIT_DATA);
    return space < data ? space : data;
}

uint64_t system_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

size_t system_memory(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 ? (size_t)info.totalram * info.mem_unit : (size_t)1 << 34;
}
