/*
 * A program and what is loaded beside it; says "done".
 *   plugins N      loads and unloads a library that allocates in constructors and destructors, N times, among threads
 *   deep           the same library with RTLD_DEEPBIND, which then has libc's malloc: its own pairs
 *   deep-cross     the same: blocks that cross between it and the program
 *   itself LIB     loads LIB, which is tarn, and unloads it; prints whether it came, and uses a pool of its
 */
#include "confined.h"
#include "victim.h"

#include <dlfcn.h>
#include <malloc.h>

static char plugin[4096];

static void *load(int mode)
{
    void *library = dlopen(plugin, mode);
    if (library == NULL) {
        printf("%s\n", dlerror());
        exit(77);
    }
    return library;
}

static void *function(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (found == NULL)
        abort();
    return found;
}

static bool use(void *library, bool crossing)
{
    int (*work)(void) = (int (*)(void))function(library, "plugin_work");
    int (*cross)(char *) = (int (*)(char *))function(library, "plugin_cross");
    char *(*gift)(void) = (char *(*)(void))function(library, "plugin_gift");
    if (work() != 1)
        return false;
    if (!crossing)
        return true;
    char *given = gift();
    bool good = strcmp(given, "a gift") == 0;
    given = realloc(given, 1000);
    good = good && given != NULL && strcmp(given, "a gift") == 0;
    free(given);
    return cross(strdup("the program's")) == 1 && good;
}

static volatile bool over;

static void *churn(void *context)
{
    while (!over)
        if (!confined_work(2000, 100000))
            abort();
    return context;
}

static void *load_and_unload(void *context)
{
    for (size_t i = 0; i < *(size_t *)context; i++) {
        void *library = load(i % 2 ? RTLD_NOW : RTLD_LAZY | RTLD_GLOBAL);
        if (!use(library, true) || dlclose(library) != 0)
            abort();
    }
    return context;
}

static void plugins(size_t n)
{
    pthread_t thread[4];
    load_and_unload(&n);
    malloc_trim(0);
    size_t before = mallinfo2().uordblks;
    load_and_unload(&n);
    expect(mallinfo2().uordblks < before + 500000);
    for (int t = 0; t < 4; t++)
        pthread_create(&thread[t], NULL, t < 2 ? churn : load_and_unload, &n);
    for (int t = 2; t < 4; t++)
        pthread_join(thread[t], NULL);
    over = true;
    for (int t = 0; t < 2; t++)
        pthread_join(thread[t], NULL);
}

static void deep(bool crossing)
{
    void *library = load(RTLD_NOW | RTLD_DEEPBIND);
    for (int i = 0; i < 20; i++)
        expect(use(library, crossing));
    dlclose(library);
}

static void itself(const char *path)
{
    void *before = memset(malloc(1000), 'b', 1000), *large = malloc(1 << 20);
    void *library = dlopen(path, RTLD_NOW);
    printf("%s\n", library == NULL ? dlerror() : "came");
    expect(confined_work(20000, 300000) && confined_threads(4));
    if (library != NULL) {
        void *(*create)(const char *, size_t, size_t, unsigned) = dlsym(library, "tarn_pool_create");
        void *(*alloc)(void *) = dlsym(library, "tarn_pool_alloc");
        void (*give)(void *, void *) = dlsym(library, "tarn_pool_free");
        void *pool = create("loaded", 100, 0, 0), *block = alloc(pool);
        expect(pool != NULL && block != NULL);
        memset(block, 1, 100);
        give(pool, block);
        dlclose(library);
    }
    expect(confined_work(20000, 300000) && confined_threads(4));
    before = realloc(before, 3000);
    expect(((char *)before)[999] == 'b');
    free(before);
    free(large);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "", *value = argc > 2 ? argv[2] : "";
    setvbuf(stdout, NULL, _IONBF, 0);
    snprintf(plugin, sizeof plugin, "%.*slibplugin.so", (int)(strrchr(argv[0], '/') + 1 - argv[0]), argv[0]);
    if (strcmp(mode, "plugins") == 0)
        plugins((size_t)atoi(value));
    else if (strcmp(mode, "deep") == 0)
        deep(false);
    else if (strcmp(mode, "deep-cross") == 0)
        deep(true);
    else if (strcmp(mode, "itself") == 0)
        itself(value);
    else
        return 2;
    printf("done\n");
    return victim_verdict();
}
