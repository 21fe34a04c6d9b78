/*
 * lines: what tarn says on descriptor 2, as tests read it.
 */
#ifndef TARN_TESTS_LINES_H
#define TARN_TESTS_LINES_H

#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

static int lines = -1; /* a file in the place of descriptor 2 */

static inline void catch_lines(void)
{
    lines = memfd_create("lines", 0);
    cr_assert_geq(lines, 0);
    dup2(lines, 2);
}

/* What was written since the last call. */
static inline const char *printed(void)
{
    static char text[20000];
    ssize_t n = pread(lines, text, sizeof text - 1, 0);
    cr_assert_geq(n, 0);
    text[n] = 0;
    cr_assert_eq(ftruncate(lines, 0), 0);
    lseek(lines, 0, SEEK_SET);
    return text;
}

#endif
