#include "out.h"
#include "trace.h"

#include <dlfcn.h>

/* One byte before `address` lies the call, which may be a function's last instruction. Where no function is known, the
   offset in the file is what addr2line wants. */
void trace_name(struct out *o, const void *address)
{
    Dl_info info;
    if (dladdr((const char *)address - 1, &info) == 0)
        out_print(o, "(no object)");
    else if (info.dli_sname != NULL)
        out_print(o, "%s+0x%x (%s)", info.dli_sname,
                  (unsigned)((const char *)address - (const char *)info.dli_saddr), info.dli_fname);
    else
        out_print(o, "(%s+%p)", info.dli_fname,
                  (const void *)((const char *)address - (const char *)info.dli_fbase));
}
