/*
 * timed: runs a command N times, one after the other, and writes what each run cost.
 *
 *     timed FILE N COMMAND [ARGUMENT]...
 *
 * One line a run: status, wall µs, user µs, system µs, peak KiB, minor faults, voluntary and involuntary
 * switches. A small static program of its own, because a process starts with the peak memory of the one that
 * started it, which would be Python's, and because of the time that Python takes for a start. Being static,
 * it doesn't load what LD_PRELOAD names: only the command does.
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static long long now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static long long in_us(struct timeval time)
{
    return time.tv_sec * 1000000LL + time.tv_usec;
}

static void run(FILE *out, char **command)
{
    struct rusage used;
    long long begin = now_us();
    int status;
    pid_t pid;
    int error = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);

    if (error != 0) {
        fprintf(stderr, "timed: %s: %s\n", command[0], strerror(error));
        exit(127);
    }
    wait4(pid, &status, 0, &used);
    status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    fprintf(out, "%d %lld %lld %lld %ld %ld %ld %ld\n", status, now_us() - begin, in_us(used.ru_utime),
            in_us(used.ru_stime), used.ru_maxrss, used.ru_minflt, used.ru_nvcsw, used.ru_nivcsw);
}

int main(int argc, char **argv)
{
    FILE *out = argc < 4 ? NULL : fopen(argv[1], "we");

    if (out == NULL) {
        fprintf(stderr, "usage: timed FILE N COMMAND [ARGUMENT]...\n");
        return 127;
    }
    for (int left = atoi(argv[2]); left > 0; left--)
        run(out, argv + 3);
    return fclose(out) == 0 ? 0 : 127;
}
