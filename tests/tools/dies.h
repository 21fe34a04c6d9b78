/*
 * dies: "this ends the process by a failed check", as a test's condition.
 *
 * In a child of its own, because a sanitizer's handler would turn the trap into an exit code of its own.
 */
#ifndef TARN_TESTS_DIES_H
#define TARN_TESTS_DIES_H

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* True if `act` dies by a trap, with one line that blames tarn and contains `expected`. */
static inline bool dies(void (*act)(void), const char *expected)
{
    char text[512] = {0};
    int told = memfd_create("told", 0), status = 0;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGILL, SIG_DFL);
        signal(SIGTRAP, SIG_DFL);
        dup2(told, STDERR_FILENO);
        act();
        _exit(0);
    }
    waitpid(child, &status, 0);
    ssize_t length = pread(told, text, sizeof text - 1, 0);
    close(told);
    if (!WIFSIGNALED(status) || (WTERMSIG(status) != SIGILL && WTERMSIG(status) != SIGTRAP))
        return false;
    return length > 0 && strncmp(text, "tarn: internal error: ", 22) == 0 && strstr(text, expected) != NULL;
}

#endif
