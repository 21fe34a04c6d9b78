#include "fake_system.h"

#include "base.h"
#include "check.h"
#include "lock.h"
#include "system.h"

#include <pthread.h>
#include <sys/mman.h>

static struct {
    size_t calls, refused, from, until, occupied, limit;
    uint64_t now;
    bool fills, tears;
} fake = {.limit = SIZE_MAX, .now = 1000};

void fake_refuse(size_t after, size_t count)
{
    fake.from = fake.calls + after;
    fake.until = count > SIZE_MAX - fake.from ? SIZE_MAX : fake.from + count;
}

void fake_refuse_none(void)
{
    fake.from = fake.until = 0;
}

void fake_occupy(size_t count)
{
    fake.occupied = count;
}

size_t fake_calls(void)
{
    return READ_ONCE(fake.calls);
}

size_t fake_refused(void)
{
    return READ_ONCE(fake.refused);
}

void fake_tear(bool tears)
{
    fake.tears = tears;
}

void fake_limit(size_t bytes)
{
    fake.limit = bytes;
}

void fake_advance(size_t ms)
{
    __atomic_fetch_add(&fake.now, ms, __ATOMIC_RELAXED);
}

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    bool closed;
    size_t waiting;
} gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};

static size_t discards;

void fake_gate(bool closed)
{
    pthread_mutex_lock(&gate.mutex);
    gate.closed = closed;
    pthread_cond_broadcast(&gate.opened);
    pthread_mutex_unlock(&gate.mutex);
}

size_t fake_waiting(void)
{
    pthread_mutex_lock(&gate.mutex);
    size_t waiting = gate.waiting;
    pthread_mutex_unlock(&gate.mutex);
    return waiting;
}

size_t fake_discards(void)
{
    return __atomic_load_n(&discards, __ATOMIC_RELAXED);
}

static void pass_gate(void)
{
    pthread_mutex_lock(&gate.mutex);
    gate.waiting++;
    while (gate.closed)
        pthread_cond_wait(&gate.opened, &gate.mutex);
    gate.waiting--;
    pthread_mutex_unlock(&gate.mutex);
}

static bool refuses(void)
{
    check(lock_none_held()); /* the contract of this door */
    size_t call = __atomic_fetch_add(&fake.calls, 1, __ATOMIC_RELAXED);
    bool refused = call >= fake.from && call < fake.until;
    if (refused)
        __atomic_fetch_add(&fake.refused, 1, __ATOMIC_RELAXED);
    return refused;
}

size_t system_page(void)
{
    return 4096;
}

void *system_map_anytime(size_t bytes)
{
    return system_map(bytes);
}

void *system_map(size_t bytes)
{
    if (refuses())
        return NULL;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

enum system_map_result system_map_at(void *at, size_t bytes)
{
    pass_gate();
    if (refuses())
        return SYSTEM_REFUSED;
    if (fake.occupied > 0) {
        fake.occupied--;
        return SYSTEM_OCCUPIED;
    }
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    void *p = mmap(at, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == at)
        return SYSTEM_MAPPED;
    if (p != MAP_FAILED)
        munmap(p, bytes);
    return SYSTEM_OCCUPIED;
}

bool system_map_over(void *at, size_t bytes)
{
    return !refuses() &&
           mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at;
}

bool system_unmap(void *at, size_t bytes)
{
    return !refuses() && munmap(at, bytes) == 0;
}

bool system_discard(void *at, size_t bytes)
{
    pass_gate();
    __atomic_fetch_add(&discards, 1, __ATOMIC_RELAXED);
    return !refuses() && madvise(at, bytes, MADV_DONTNEED) == 0;
}

void system_expect_fill(bool fill)
{
    WRITE_ONCE(fake.fills, fill);
}

bool system_fills(void)
{
    return READ_ONCE(fake.fills);
}

bool system_unfill(void *at, size_t bytes)
{
    return system_fills() && system_discard(at, bytes);
}

/* The kernel goes mapping by mapping, and may find only at the second that it must refuse. */
enum system_move_result system_move(void *to, void *from, size_t bytes)
{
    if (refuses()) {
        if (fake.tears)
            munmap(to, bytes);
        return fake.tears ? SYSTEM_TORN : SYSTEM_STAYED;
    }
    bool moved = mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to;
    return moved ? SYSTEM_MOVED : SYSTEM_STAYED;
}

bool system_protect(void *at, size_t bytes, bool accessible)
{
    bool refused = refuses();
    size_t part = refused ? ALIGN_DOWN(bytes / 2, system_page()) : bytes;
    return mprotect(at, part, accessible ? PROT_READ | PROT_WRITE : PROT_NONE) == 0 && !refused;
}

bool system_set_writable(void *at, size_t bytes, bool writable)
{
    return !refuses() && mprotect(at, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ) == 0;
}

size_t system_resident(const void *at, size_t bytes)
{
    (void)at;
    return bytes;
}

size_t system_limit(void)
{
    return fake.limit;
}

uint64_t system_now(void)
{
    return READ_ONCE(fake.now);
}

size_t system_memory(void)
{
    return (size_t)4 << 30;
}
