/* operator new in a process without a C++ runtime, as plugins in odd languages find it: it works, and where it
   should throw, it says why it can't, and aborts. */
#include "victim.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    void *(*new)(size_t), *(*new_nothrow)(size_t, const void *);
    void (*delete)(void *);
    *(void **)&new = dlsym(RTLD_DEFAULT, "_Znwm");
    *(void **)&new_nothrow = dlsym(RTLD_DEFAULT, "_ZnwmRKSt9nothrow_t");
    *(void **)&delete = dlsym(RTLD_DEFAULT, "_ZdlPv");
    if (new == NULL || new_nothrow == NULL || delete == NULL)
        return 2;
    delete (memset(new (100), 1, 100));
    delete (new_nothrow(100, ""));
    errno = ERRNO_MARK;
    expect(new_nothrow(SIZE_MAX, "") == NULL && errno == ENOMEM);
    puts("done");
    fflush(stdout);
    if (argc > 1)
        new ((size_t)atoll(argv[1]) << 40); /* ends here */
    return victim_verdict();
}
