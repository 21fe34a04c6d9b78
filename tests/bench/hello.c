/*
 * hello: the smallest program that uses malloc, and what is resident of it at its end, in KiB.
 *
 * From smaps_rollup, which walks the pages: the kernel's counters behind VmRSS and ru_maxrss are off by up to
 * 128 KiB for each processor.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    char text[2048];
    const char *resident;
    ssize_t got;
    int fd;

    puts("hello");
    fd = open("/proc/self/smaps_rollup", O_RDONLY);
    got = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    text[got > 0 ? got : 0] = '\0';
    resident = strstr(text, "Rss:");
    printf("%ld\n", resident ? strtol(resident + 4, NULL, 10) : -1);
    return 0;
}
