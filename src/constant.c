#include "constant.h"

#include "options.h"
#include "region.h"
#include "sizeclass.h"
#include "system.h"

/* The linker's; NULL where there is no such layout. */
extern HIDDEN char constant_begin[] __attribute__((weak));

/* As far as whole pages go: behind malloc's classes come those of named pools. */
static void set_writable(bool writable)
{
    uintptr_t page = system_page(), begin = ALIGN_UP((uintptr_t)constant_begin, page);
    uintptr_t end = ALIGN_DOWN((uintptr_t)&class_table[CLASS_NAMED], page);
    if ((options.harden & HARDEN_READ_ONLY) != 0 && constant_begin != NULL && begin < end)
        system_set_writable(constant_begin, end - begin, writable);
}

/* Where memory was short at the start, it is still to be seen where the region lies. */
void constant_close(void)
{
    if (READ_ONCE(region.units) > 0)
        set_writable(false);
}

void constant_open(void)
{
    set_writable(true);
}
