#include "options.h"

#include "../tools/settings.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

TestSuite(options, .init = catch_lines);

Test(options, defaults)
{
    memset(&options, 0x5a, sizeof options);
    cr_expect(options_start(NULL));
    expect_defaults();
    memset(&options, 0x5a, sizeof options);
    cr_expect(
        START("PATH=/bin", "XTARN_CACHE=1", "tarn_cache=1", "TARN=1", "TARN_CACHE", "=TARN_CACHE=1", ""));
    expect_defaults();
    cr_expect_str_eq(printed(), "");
}

Test(options, a_second_start_forgets_the_first)
{
    cr_expect(START("TARN_CACHE=7", "TARN_SIGNAL=USR1", "TARN_CLASSES=16,32", "TARN_MINAVAIL=16:1"));
    cr_expect(options_start(NULL));
    expect_defaults();
    cr_expect_str_eq(shown("TARN_CACHE"), "  1M");
}

Test(options, good_values_as_shown)
{
    static const struct {
        const char *entry, *shown; /* NULL: as written */
    } table[] = {
        {"TARN_CACHE=0", NULL},
        {"TARN_CACHE=1", NULL},
        {"TARN_CACHE=1023", NULL},
        {"TARN_CACHE=1025", NULL},
        {"TARN_CACHE=64k", NULL},
        {"TARN_CACHE=64K", "64k"},
        {"TARN_CACHE=65536", "64k"},
        {"TARN_CACHE=3m", "3M"},
        {"TARN_CACHE=1536k", NULL},
        {"TARN_CACHE=1g", "1G"},
        {"TARN_CACHE=00016", "16"},
        {"TARN_CACHE=1073741824", "1G"},
        {"TARN_MAX_POOLED=16", NULL},
        {"TARN_MAX_POOLED=64k", NULL},
        {"TARN_LIMIT=none", NULL},
        {"TARN_LIMIT=NONE", "none"},
        {"TARN_LIMIT=1M", NULL},
        {"TARN_LIMIT=1048577", NULL},
        {"TARN_LIMIT=2T", NULL},
        {"TARN_LIMIT=16777215T", NULL},
        {"TARN_CLASSES=default", NULL},
        {"TARN_CLASSES=16", NULL},
        {"TARN_CLASSES=16,32,48", NULL},
        {"TARN_CLASSES=32,64k", NULL},
        {"TARN_CLASSES=16-64/16", "16,32,48,64"},
        {"TARN_CLASSES=16-64/48,128", "16,64,128"},
        {"TARN_CLASSES=1k-8k/3k", "1k,4k,7k"},
        {"TARN_CLASSES=16-16/16", "16"},
        {"TARN_CLASSES=16,32-96/32,1k-2k/512", "16,32,64,96,1k,1536,2k"},
        {"TARN_CLASSES=16-32/1T", "16"},
        {"TARN_MINAVAIL=none", NULL},
        {"TARN_MINAVAIL=64:1000,256:200", NULL},
        {"TARN_MINAVAIL=1:0", NULL},
        {"TARN_MINAVAIL=4k:18446744073709551615", NULL},
        {"TARN_SIGNAL=none", NULL},
        {"TARN_SIGNAL=QUIT", NULL},
        {"TARN_SIGNAL=SIGUSR2", "USR2"},
        {"TARN_SIGNAL=sigusr2", "USR2"},
        {"TARN_SIGNAL=hup", "HUP"},
        {"TARN_SIGNAL=10", "USR1"},
        {"TARN_SIGNAL=RTMIN", "RTMIN+0"},
        {"TARN_SIGNAL=SIGRTMIN+3", "RTMIN+3"},
        {"TARN_SIGNAL=RTMIN+30", NULL},
        {"TARN_SIGNAL=64", "RTMIN+30"},
        {"TARN_DUMP=0", NULL},
        {"TARN_DUMP=2147483647", NULL},
        {"TARN_DUMP=/var/log/tarn.%p", NULL},
        {"TARN_DUMP=relative", NULL},
        {"TARN_DUMP=2.log", NULL},
        {"TARN_DUMP=100%%", NULL},
        {"TARN_DUMP=a b\x1b[31m", "a b\\x1b[31m"},
        {"TARN_STATS_AT_EXIT=1", NULL},
        {"TARN_STATS_AT_EXIT=0", NULL},
        {"TARN_POOLS=bysize", NULL},
        {"TARN_POOLS=byusage,5", NULL},
        {"TARN_POOLS=match=sess  detailed 5", NULL},
        {"TARN_MISUSE=ignore", NULL},
        {"TARN_MISUSE=warn", NULL},
        {"TARN_MISUSE=Abort", "abort"},
        {"TARN_HELPER=0", NULL},
        {"TARN_HELPER=Threads", "threads"},
        {"TARN_HELPER=auto", NULL},
        {"TARN_HELPER=1", "auto"},
        {"TARN_GC=0", NULL},
        {"TARN_SHOW=1", NULL},
        {"TARN_HELP=1", NULL},
        {"TARN_STRICT=1", NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char name[50], expected[600];
        const char *value = strchr(table[i].entry, '=') + 1;
        sscanf(table[i].entry, "%49[^=]", name);
        snprintf(expected, sizeof expected, "* %s", table[i].shown != NULL ? table[i].shown : value);
        errno = ERANGE;
        cr_expect(START((char *)table[i].entry));
        cr_expect_eq(errno, ERANGE);
        cr_expect_str_eq(printed(), "");
        cr_expect_str_eq(shown(name), expected, "%s", table[i].entry);
    }
}

Test(options, values_arrive_in_their_fields)
{
    cr_expect(START("TARN_CACHE=2k", "TARN_MAX_POOLED=1k", "TARN_LIMIT=3G", "TARN_MINAVAIL=64:1000,1k:2",
                    "TARN_SIGNAL=SIGRTMIN+1", "TARN_DUMP=/tmp/d", "TARN_STATS_AT_EXIT=1", "TARN_MISUSE=abort",
                    "TARN_HELPER=threads", "TARN_GC=0", "TARN_SHOW=1", "TARN_HELP=1", "TARN_POOLS=byname 3"));
    cr_expect_str_eq(printed(), "");
    cr_expect_str_eq(options.pools, "byname 3");
    cr_expect_eq(options.cache, 2048);
    cr_expect_eq(options.max_pooled, 1024);
    cr_expect_eq(options.limit, (size_t)3 << 30);
    cr_expect_eq(options.minavail_count, 2);
    cr_expect_eq(options.minavail[0].size, 64);
    cr_expect_eq(options.minavail[0].blocks, 1000);
    cr_expect_eq(options.minavail[1].size, 1024);
    cr_expect_eq(options.minavail[1].blocks, 2);
    cr_expect_eq(options.signal, SIGRTMIN + 1);
    cr_expect(options.signal_named);
    cr_expect_eq(options.dump_fd, -1);
    cr_expect_str_eq(options.dump_path, "/tmp/d");
    cr_expect(options.stats_at_exit);
    cr_expect_eq(options.misuse, MISUSE_ABORT);
    cr_expect_eq(options.helper, HELPER_THREADS);
    cr_expect_not(options.gc);
    cr_expect(options.show);
    cr_expect(options.help);
    cr_expect_not(options.strict);
}

Test(options, classes_are_the_biggest_number_and_the_biggest_size)
{
    cr_expect(START("TARN_CLASSES=16-976/16"));
    cr_expect_eq(options.classes_count, CLASS_POOLS - 1);
    cr_expect_eq(options.classes_count, 61);
    for (unsigned i = 0; i < options.classes_count; i++)
        cr_expect_eq(options.classes[i], 16 * (i + 1));
    cr_expect(START("TARN_CLASSES=16-960/16,64k"));
    cr_expect_eq(options.classes[60], POOLED_MAX);
    cr_expect_str_eq(printed(), "");
}

Test(options, dump_path)
{
    char path[600], expected[600];
    START("TARN_DUMP=/tmp/%p.%%p-%p%%");
    snprintf(expected, sizeof expected, "/tmp/%d.%%p-%d%%", getpid(), getpid());
    cr_expect(options_dump_path(path, sizeof path));
    cr_expect_str_eq(path, expected);

    size_t needed = strlen(expected) + 1;
    memset(path, 'x', sizeof path);
    cr_expect(options_dump_path(path, needed));
    cr_expect_str_eq(path, expected);
    for (size_t size = 0; size < needed; size++) {
        memset(path, 'x', sizeof path);
        cr_expect_not(options_dump_path(path, size));
        cr_expect_eq(path[size], 'x', "nothing is written beyond %zu", size);
    }
}

/* ---------------------------------------------------------------------------------------------------- tables */

static const char *const names[] = {
#define OPTION(name, ...) name,
#include "options.def"
#undef OPTION
};

static unsigned bars(const char *line)
{
    unsigned n = 0;
    for (; *line != '\n'; line++)
        n += *line == '|';
    return n;
}

Test(options, the_markdown_table)
{
    options_help(2, true);
    const char *line = printed();
    cr_expect_eq(strncmp(line, "| Setting | Default | Accepts | What it does |\n", 47), 0);
    line = strchr(line, '\n') + 1;
    cr_expect_eq(strncmp(line, "|---|---|---|---|\n", 18), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char begin[50];
        line = strchr(line, '\n') + 1;
        snprintf(begin, sizeof begin, "| `%s` | `", names[i]);
        cr_expect_eq(strncmp(line, begin, strlen(begin)), 0, "%.50s", line);
        cr_expect_eq(bars(line), 5);
    }
    cr_expect_str_eq(strchr(line, '\n'), "\n");
    options_help(2, true);
    cr_expect(
        strstr(printed(),
               "\n| `TARN_CACHE` | `1M` | a size from 0 to 1G (k, M, G) | free blocks that a thread stacks "
               "up besides its loaded magazines; over 16 threads share 16 times that |\n"));
}

/* Two lines a setting, the columns under their headings. */
Test(options, the_table_for_people)
{
    options_help(2, false);
    const char *line = printed(), *heading = strchr(line, '\n') + 1;
    cr_expect_eq(strncmp(line, "tarn: settings", 14), 0);
    long accepts = strstr(heading, "Accepts") - heading, initial = strstr(heading, "Default") - heading;
    cr_expect_eq(strncmp(heading, "  Setting ", 10), 0);
    line = heading;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        line = strchr(line, '\n') + 1;
        cr_expect_eq(strncmp(line + 2, names[i], strlen(names[i])), 0);
        cr_expect(line[initial - 1] == ' ' && line[initial] != ' ');
        cr_expect(line[accepts - 1] == ' ' && line[accepts] != ' ');
        line = strchr(line, '\n') + 1;
        cr_expect_eq(strspn(line, " "), (size_t)accepts + 2);
        cr_expect_leq(strchr(line, '\n') - line, 140);
    }
    cr_expect_str_eq(strchr(line, '\n'), "\n");
}

/* What is shown, given as the environment, has the same effect; for the defaults, too. */
Test(options, what_is_shown_can_be_read_back)
{
    char *rounds[][14] = {
        {NULL},
        {"TARN_CLASSES=16-512/16,1000000000000", "TARN_CACHE=100", NULL},
        {"TARN_DEBUG=fail=9,fail,poison=255,no-cache,uaf", NULL},
        {"TARN_DEBUG=fail=9,poison=1,no-fail,no-poison", NULL},
        {"TARN_CLASSES=16-512/16,1k-8k/512", "TARN_CACHE=100k", "TARN_MINAVAIL=7:8,4k:9", "TARN_LIMIT=5T",
         "TARN_SIGNAL=SIGRTMIN+4", "TARN_DUMP=/tmp/%p", "TARN_STATS_AT_EXIT=1", "TARN_MISUSE=abort",
         "TARN_GC=0", "TARN_SHOW=1", "TARN_POOLS=byname,match s",
         "TARN_DEBUG=help,fail=7,tag,poison=0,uaf,cache", NULL},
    };
    for (size_t r = 0; r < ARRAY_LENGTH(rounds); r++) {
        static char again[ARRAY_LENGTH(names)][700];
        char *environment[ARRAY_LENGTH(names) + 1];
        options_start(rounds[r]);
        struct options before = options;
        for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
            snprintf(again[i], sizeof again[i], "%s=%s", names[i], shown(names[i]) + 2);
            environment[i] = again[i];
        }
        environment[ARRAY_LENGTH(names)] = NULL;
        memset(&options, 0, sizeof options);
        cr_expect(options_start(environment));
        cr_expect_str_eq(printed(), "");
        cr_expect(options.signal_named);
        before.signal_named = true;
        memset(before.classes + before.classes_count, 0, sizeof before.classes - 4 * before.classes_count);
        memset(options.classes + options.classes_count, 0,
               sizeof options.classes - 4 * options.classes_count);
        cr_expect_arr_eq((char *)&before, (char *)&options, sizeof options);
    }
}

/* None is the default, and the longest that fits is kept whole. */
Test(options, the_shortest_and_the_longest_query)
{
    char entry[200] = "TARN_POOLS=";
    cr_expect(START(entry));
    cr_expect_str_eq(printed(), "");
    cr_expect_str_eq(options.pools, "");
    memset(entry + 11, ' ', sizeof options.pools - 1);
    cr_expect(START(entry));
    cr_expect_str_eq(printed(), "");
    cr_expect_str_eq(options.pools, entry + 11);
    entry[11 + sizeof options.pools - 1] = ' ';
    cr_expect(START(entry));
    cr_expect_neq(printed()[0], '\0');
    cr_expect_str_eq(options.pools, "bysize");
}

Test(options, show)
{
    START("TARN_CACHE=2k", "TARN_SIGNAL=bad");
    printed();
    errno = ERANGE;
    options_show(2);
    cr_expect_eq(errno, ERANGE);
    cr_expect_str_eq(printed(), "tarn: settings in effect (* from the environment)\n"
                                "  TARN_CLASSES        default\n"
                                "  TARN_MAX_POOLED     32k\n"
                                "* TARN_CACHE          2k\n"
                                "  TARN_MINAVAIL       none\n"
                                "  TARN_LIMIT          none\n"
                                "  TARN_SIGNAL         QUIT\n"
                                "  TARN_DUMP           2\n"
                                "  TARN_STATS_AT_EXIT  0\n"
                                "  TARN_POOLS          bysize\n"
                                "  TARN_MISUSE         warn\n"
                                "  TARN_DEBUG          none\n"
                                "  TARN_HARDEN         none\n"
                                "  TARN_GUARD_SAMPLE   0\n"
                                "  TARN_GC             1\n"
                                "  TARN_HELPER         auto\n"
                                "  TARN_STRICT         0\n"
                                "  TARN_SHOW           0\n"
                                "  TARN_HELP           0\n");
}

/* The numbers by which the parser judges and the text that a person reads are columns of one row. */
Test(options, the_bounds_of_a_size_are_those_that_the_table_tells)
{
    static const struct {
        const char *name, *accepts;
    } table[] = {
#define OPTION(name, field, type, low, high, initial, accepts, help) {name, accepts},
#include "options.def"
#undef OPTION
    };
    unsigned found = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char low[20], high[20], entry[60];
        if (sscanf(table[i].accepts, "a size from %19s to %19[0-9kMGT]", low, high) != 2)
            continue;
        found++;
        snprintf(entry, sizeof entry, "%s=%s", table[i].name, low);
        cr_expect(START("TARN_STRICT=1", entry), "%s", entry);
        snprintf(entry, sizeof entry, "%s=%s", table[i].name, high);
        cr_expect(START("TARN_STRICT=1", entry), "%s", entry);
    }
    cr_expect_eq(found, 2);
}

/* It runs inside the first malloc. */
Test(options, nothing_is_allocated)
{
    size_t before = mallinfo2().uordblks;
    START("TARN_CLASSES=16-64/16", "TARN_SIGNAL=USR2", "TARN_DUMP=/tmp/%p", "TARN_CASHE=1", "TARN_GC=no");
    options_show(2);
    options_help(2, false);
    cr_expect_eq(mallinfo2().uordblks, before);
}
