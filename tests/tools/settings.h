/*
 * settings: tarn's options as tests set and see them.
 */
#ifndef TARN_TESTS_SETTINGS_H
#define TARN_TESTS_SETTINGS_H

#include "lines.h"
#include "options.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Starts with an environment of these entries. */
#define START(...) options_start((char *[]){"HOME=/root", __VA_ARGS__, NULL})

/* The value of the setting `name` as TARN_SHOW prints it, with its mark: "* 64k". */
static inline const char *shown(const char *name)
{
    static char value[2000];
    printed();
    options_show(2);
    for (const char *line = printed(); *line != 0; line = strchr(line, '\n') + 1) {
        char mark, row[50];
        if (sscanf(line, "%c %49s %1990[^\n]", &mark, row, value + 2) == 3 && strcmp(row, name) == 0) {
            value[0] = mark;
            value[1] = ' ';
            return value;
        }
    }
    return "not shown";
}

static inline void expect_defaults(void)
{
    cr_expect_eq(options.classes_count, 0);
    cr_expect_eq(options.max_pooled, 32 * 1024);
    cr_expect_eq(options.cache, 1 << 20);
    cr_expect_eq(options.minavail_count, 0);
    cr_expect_eq(options.limit, SIZE_MAX);
    cr_expect_eq(options.signal, SIGQUIT);
    cr_expect_not(options.signal_named);
    cr_expect_eq(options.dump_fd, 2);
    cr_expect_not(options.stats_at_exit);
    cr_expect(options.gc);
    cr_expect_not(options.strict);
    cr_expect_not(options.show);
    cr_expect_not(options.help);
    cr_expect_eq(options.misuse, MISUSE_WARN);
    cr_expect_eq(options.helper, HELPER_AUTO);
    cr_expect_eq(options.debug.words, 0);
    cr_expect_eq(options.debug.fail_percent, 1);
    cr_expect_eq(options.debug.poison, 0x50);
    cr_expect_not(options.debug.help);
    cr_expect_str_eq(options.pools, "bysize");
}

#endif
