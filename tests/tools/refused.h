/*
 * refused: a scripted run in a child, in which the fake door refuses some calls.
 *
 * Owns:       the child, for the length of one run.
 * Promises:   refused_survives tells whether the script and the recovery ended well; what went wrong is printed.
 * Guarded by: nothing: one thread forks, before it has made others.
 * Never:      refuses once the script is over.
 */
#ifndef TARN_TESTS_REFUSED_H
#define TARN_TESTS_REFUSED_H

#include "fake_system.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child: the parent reads the exit code. */
static inline _Noreturn void refused_fail(const char *what, size_t step)
{
    printf("refused: step %zu: %s\n", step, what);
    fflush(stdout);
    _exit(1);
}

struct refused_run {
    void (*script)(void);  /* while calls are refused */
    void (*recover)(void); /* and afterwards */
};

/* Runs it with `count` calls from the `after`th on refused; true if all went well. `calls`: how many the script made. */
static inline bool refused_survives(const struct refused_run *run, size_t after, size_t count, size_t *calls)
{
    int out[2], status = 0;
    size_t made = 0;
    if (pipe(out) != 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        fake_refuse(after, count);
        run->script();
        made = fake_calls();
        fake_refuse_none();
        run->recover();
        _exit(write(out[1], &made, sizeof made) == sizeof made ? 0 : 1);
    }
    close(out[1]);
    waitpid(child, &status, 0);
    bool told = read(out[0], &made, sizeof made) == sizeof made;
    close(out[0]);
    if (calls != NULL)
        *calls = made;
    if (WIFSIGNALED(status))
        printf("refused: from call %zu on: signal %d\n", after, WTERMSIG(status));
    return told && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* So many times the usual number of runs: TEST_THOROUGH=20, say, for each single call and again and again. */
static inline size_t refused_thorough(void)
{
    const char *times = getenv("TEST_THOROUGH");
    return times != NULL && atoi(times) > 0 ? (size_t)atoi(times) : 1;
}

#endif
