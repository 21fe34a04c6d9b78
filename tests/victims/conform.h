/*
 * conform: tables of named cases, each a sentence of a manual page that a program may rely on.
 *
 * Owns:       whether the running case failed.
 * Promises:   each case runs in a process of its own, is killed after CONFORM_SECONDS, and gets one line:
 *             "ok NAME", "FAILED NAME", "skipped NAME", or "differs NAME: WHY" for what tarn does otherwise by design.
 *             Such a case must hold without tarn and must not hold with it, or its line in the table is wrong.
 * Guarded by: nothing: one thread expects; others abort.
 * Never:      runs a case before the ones above it.
 */
#ifndef TARN_CONFORM_H
#define TARN_CONFORM_H

#include "victim.h"

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONFORM_SECONDS = 60, CONFORM_SKIPPED = 77 };

struct conform_case {
    void (*run)(void);
    const char *name;    /* what is promised */
    const char *differs; /* why tarn does not; NULL: it does */
};

/* Is tarn there? Only it exports this name. */
#ifdef __cplusplus
extern "C"
#else
extern
#endif
    void
    tarn_gc(void) __attribute__((weak));

static inline int conform_alone(const struct conform_case *one)
{
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child == 0) {
        alarm(CONFORM_SECONDS);
        one->run();
        fflush(stdout);
        fflush(stderr);
        _exit(victim_verdict());
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: signal %d\n", one->name, WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The exit status of main. `only`: the name of the one case to run in this very process, for a debugger; or NULL. */
static inline int conform_main(const struct conform_case *cases, size_t count, const char *only)
{
    int bad = 0;
    for (size_t i = 0; i < count; i++) {
        const struct conform_case *one = &cases[i];
        if (only != NULL) {
            if (strcmp(only, one->name) == 0)
                return one->run(), victim_verdict();
            continue;
        }
        bool differs = one->differs != NULL && tarn_gc != NULL;
        int status = conform_alone(one);
        if (status == CONFORM_SKIPPED)
            printf("skipped %s\n", one->name);
        else if (differs && status == 1)
            printf("differs %s: %s\n", one->name, one->differs);
        else if (differs && status == 0)
            bad = printf("FAILED %s: holds, though it is said to differ\n", one->name);
        else if (status != 0)
            bad = printf("FAILED %s\n", one->name);
        else
            printf("ok %s\n", one->name);
    }
    fflush(stdout);
    return bad != 0;
}

#define CONFORM_MAIN(cases)                                                                                  \
    int main(int argc, char **argv)                                                                          \
    {                                                                                                        \
        return conform_main(cases, sizeof(cases) / sizeof(cases)[0], argc > 1 ? argv[1] : NULL);             \
    }

#endif
