#include "guard.h"
void *guard_alloc(size_t n, size_t align, unsigned pool)
{
    (void)n, (void)align, (void)pool;
    return NULL;
}
bool guard_free(void *p, const char *call, struct fault *fault)
{
    (void)p, (void)call, (void)fault;
    return true;
}
size_t guard_usable(const void *p)
{
    (void)p;
    return 0;
}
unsigned guard_pool(const void *p)
{
    (void)p;
    return 0;
}
void guard_lock(void) {}
void guard_unlock(void) {}
void guard_reset_lock(void) {}
