/* A C program that loads a C++ plugin with RTLD_LOCAL, as Python does: the C++ runtime comes late, and no global
   look-up finds it; operator new must throw all the same. */
#include "victim.h"

#include <dlfcn.h>
#include <string.h>

int main(int argc, char **argv)
{
    char path[4096];
    (void)argc;
    snprintf(path, sizeof path, "%.*slibcxx_late.so", (int)(strrchr(argv[0], '/') + 1 - argv[0]), argv[0]);
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 77;
    }
    int (*run)(void);
    *(void **)&run = dlsym(plugin, "run");
    int step = run();
    if (step != 0)
        fprintf(stderr, "the plugin's step %d went wrong\n", step);
    expect(dlsym(RTLD_DEFAULT, "_ZSt15get_new_handlerv") == NULL); /* or this proves nothing */
    return step != 0 || victim_verdict();
}
