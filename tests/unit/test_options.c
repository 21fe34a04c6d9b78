#include "options.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

/* The program's own getauxval comes before libc's: so a test can say that the process is a setuid one. */
static bool secure;

unsigned long getauxval(unsigned long what)
{
    if (what == AT_SECURE)
        return secure;
    unsigned long (*real)(unsigned long);
    *(void **)&real = dlsym(RTLD_NEXT, "getauxval");
    return real(what);
}

static int lines = -1; /* a file in the place of descriptor 2 */

static void catch_lines(void)
{
    lines = memfd_create("lines", 0);
    cr_assert_geq(lines, 0);
    dup2(lines, 2);
}

/* What was written since the last call. */
static const char *printed(void)
{
    static char text[20000];
    ssize_t n = pread(lines, text, sizeof text - 1, 0);
    cr_assert_geq(n, 0);
    text[n] = 0;
    cr_assert_eq(ftruncate(lines, 0), 0);
    lseek(lines, 0, SEEK_SET);
    return text;
}

/* Starts with an environment of these entries. */
#define START(...) options_start((char *[]){"HOME=/root", __VA_ARGS__, NULL})

/* The value of the setting `name` as TARN_SHOW prints it, with its mark: "* 64k". */
static const char *shown(const char *name)
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

TestSuite(options, .init = catch_lines);

static void expect_defaults(void)
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

#define CLASSES_ACCEPTS                                                                                      \
    "default, or up to 61 ascending multiples of 16 up to 64k: sizes and FROM-TO/STEP; using default"
#define CACHE_ACCEPTS    "a size from 0 to 1G (k, M, G); using 1M"
#define POOLED_ACCEPTS   "a size from 16 to 64k; using 32k"
#define LIMIT_ACCEPTS    "none, or a size from 1M up (k, M, G, T); using none"
#define MINAVAIL_ACCEPTS "none, or SIZE:BLOCKS,... with sizes up to 64k; using none"
#define SIGNAL_ACCEPTS                                                                                       \
    "none, a name such as USR2 or RTMIN+1, or a number; not KILL, STOP, or one that reports a crash; using " \
    "QUIT"
#define DUMP_ACCEPTS   "a descriptor's number, or a file's path (%p is the pid, %% is %); using 2"
#define POOLS_ACCEPTS  "byname, bysize or byusage, match=PREFIX, detailed, a number of lines; using bysize"
#define MISUSE_ACCEPTS "ignore, warn or abort; using warn"
#define HELPER_ACCEPTS "0, threads, auto, or 1 for auto; using auto"

Test(options, bad_values)
{
    static const struct {
        const char *entry, *accepts;
    } table[] = {
        {"TARN_CACHE=12q", CACHE_ACCEPTS},
        {"TARN_CACHE=", CACHE_ACCEPTS},
        {"TARN_CACHE=k", CACHE_ACCEPTS},
        {"TARN_CACHE=-1", CACHE_ACCEPTS},
        {"TARN_CACHE=+1", CACHE_ACCEPTS},
        {"TARN_CACHE= 1", CACHE_ACCEPTS},
        {"TARN_CACHE=1 ", CACHE_ACCEPTS},
        {"TARN_CACHE=1kk", CACHE_ACCEPTS},
        {"TARN_CACHE=1kB", CACHE_ACCEPTS},
        {"TARN_CACHE=0x10", CACHE_ACCEPTS},
        {"TARN_CACHE=1.5M", CACHE_ACCEPTS},
        {"TARN_CACHE=none", CACHE_ACCEPTS},
        {"TARN_CACHE=1073741825", CACHE_ACCEPTS},
        {"TARN_CACHE=2G", CACHE_ACCEPTS},
        {"TARN_CACHE=1T", CACHE_ACCEPTS},
        {"TARN_CACHE=18446744073709551616", CACHE_ACCEPTS},
        {"TARN_CACHE=18446744073709551626", CACHE_ACCEPTS},
        {"TARN_CACHE=184467440737095516150", CACHE_ACCEPTS},
        {"TARN_CACHE=18014398509481985k", CACHE_ACCEPTS}, /* would wrap to 1k */
        {"TARN_CACHE=17179869184G", CACHE_ACCEPTS},       /* would wrap to 0 */
        {"TARN_MAX_POOLED=15", POOLED_ACCEPTS},
        {"TARN_MAX_POOLED=65537", POOLED_ACCEPTS},
        {"TARN_LIMIT=1048575", LIMIT_ACCEPTS},
        {"TARN_LIMIT=0", LIMIT_ACCEPTS},
        {"TARN_LIMIT=nonee", LIMIT_ACCEPTS},
        {"TARN_LIMIT=16777216T", LIMIT_ACCEPTS},
        {"TARN_CLASSES=", CLASSES_ACCEPTS},
        {"TARN_CLASSES=0", CLASSES_ACCEPTS},
        {"TARN_CLASSES=8", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16,", CLASSES_ACCEPTS},
        {"TARN_CLASSES=,16", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16,,32", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16 32", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16,24", CLASSES_ACCEPTS},
        {"TARN_CLASSES=32,16", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16,16", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16,65552", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16,4294967312", CLASSES_ACCEPTS}, /* 16 more than 32 bits hold */
        {"TARN_CLASSES=16-64", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16-64/", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16-64/0", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16-64/8", CLASSES_ACCEPTS},
        {"TARN_CLASSES=64-16/16", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16-/16", CLASSES_ACCEPTS},
        {"TARN_CLASSES=-64/16", CLASSES_ACCEPTS},
        {"TARN_CLASSES=0-64/16", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16-64/16,64", CLASSES_ACCEPTS},
        {"TARN_CLASSES=16-992/16", CLASSES_ACCEPTS},    /* 62 classes */
        {"TARN_CLASSES=16-976/16,1k", CLASSES_ACCEPTS}, /* 62 classes */
        {"TARN_CLASSES=32-18446744073709551615/18446744073709551600", CLASSES_ACCEPTS},
        {"TARN_CLASSES=default,16", CLASSES_ACCEPTS},
        {"TARN_MINAVAIL=64", MINAVAIL_ACCEPTS},
        {"TARN_MINAVAIL=64:", MINAVAIL_ACCEPTS},
        {"TARN_MINAVAIL=:5", MINAVAIL_ACCEPTS},
        {"TARN_MINAVAIL=0:5", MINAVAIL_ACCEPTS},
        {"TARN_MINAVAIL=64:5,", MINAVAIL_ACCEPTS},
        {"TARN_MINAVAIL=64:5k", MINAVAIL_ACCEPTS},
        {"TARN_MINAVAIL=64=5", MINAVAIL_ACCEPTS},
        {"TARN_MINAVAIL=65537:5", MINAVAIL_ACCEPTS},
        {"TARN_MINAVAIL=64:18446744073709551616", MINAVAIL_ACCEPTS},
        {"TARN_SIGNAL=", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=SIG", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=QUI", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=QUITT", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=0", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=-3", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=65", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=3x", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=32", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=33", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=4294967299", SIGNAL_ACCEPTS}, /* 3 more than 32 bits hold */
        {"TARN_SIGNAL=RTMIN+31", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=RTMIN+", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=RTMIN-1", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=KILL", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=SIGSTOP", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=9", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=19", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=SEGV", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=BUS", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=FPE", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=ILL", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=TRAP", SIGNAL_ACCEPTS},
        {"TARN_SIGNAL=ABRT", SIGNAL_ACCEPTS},
        {"TARN_DUMP=", DUMP_ACCEPTS},
        {"TARN_DUMP=2147483648", DUMP_ACCEPTS},
        {"TARN_DUMP=99999999999999999999999", DUMP_ACCEPTS},
        {"TARN_DUMP=/tmp/%d", DUMP_ACCEPTS},
        {"TARN_DUMP=/tmp/%", DUMP_ACCEPTS},
        {"TARN_DUMP=%%%", DUMP_ACCEPTS},
        {"TARN_STATS_AT_EXIT=2", "0 or 1; using 0"},
        {"TARN_STATS_AT_EXIT=11", "0 or 1; using 0"},
        {"TARN_STATS_AT_EXIT=yes", "0 or 1; using 0"},
        {"TARN_STATS_AT_EXIT=", "0 or 1; using 0"},
        {"TARN_GC=off", "0 or 1; using 1"},
        {"TARN_STRICT=yes", "0 or 1; using 0"},
        {"TARN_POOLS=bycolour", POOLS_ACCEPTS},
        {"TARN_POOLS=byname,byname", POOLS_ACCEPTS},
        {"TARN_POOLS=match", POOLS_ACCEPTS},
        {"TARN_MISUSE=", MISUSE_ACCEPTS},
        {"TARN_MISUSE=war", MISUSE_ACCEPTS},
        {"TARN_MISUSE=warning", MISUSE_ACCEPTS},
        {"TARN_MISUSE=1", MISUSE_ACCEPTS},
        {"TARN_HELPER=2", HELPER_ACCEPTS},
        {"TARN_HELPER=", HELPER_ACCEPTS},
        {"TARN_HELPER=thread", HELPER_ACCEPTS},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char expected[500];
        snprintf(expected, sizeof expected, "tarn: %s: expected %s\n", table[i].entry, table[i].accepts);
        errno = ERANGE;
        cr_expect(START((char *)table[i].entry), "without TARN_STRICT the program goes on");
        cr_expect_eq(errno, ERANGE);
        cr_expect_str_eq(printed(), expected);
        expect_defaults();
    }
}

Test(options, values_are_shown_harmless_and_cut)
{
    START("TARN_CACHE=\x1b[31m\n\\\x80\x07");
    cr_expect_str_eq(printed(),
                     "tarn: TARN_CACHE=\\x1b[31m\\x0a\\\\\\x80\\x07: expected " CACHE_ACCEPTS "\n");

    char entry[5000] = "TARN_CACHE=", expected[500] = "tarn: TARN_CACHE=";
    memset(entry + 11, 'a', sizeof entry - 12);
    memset(expected + 17, 'a', 60);
    strcpy(expected + 77, "...: expected " CACHE_ACCEPTS "\n");
    START(entry);
    cr_expect_str_eq(printed(), expected);

    entry[11 + 60] = 0; /* just not cut */
    strcpy(expected + 77, ": expected " CACHE_ACCEPTS "\n");
    START(entry);
    cr_expect_str_eq(printed(), expected);
}

Test(options, unknown_names)
{
    static const struct {
        const char *entry, *line;
    } table[] = {
        {"TARN_CASHE=1M", "TARN_CASHE is not a setting; did you mean TARN_CACHE?"},
        {"TARN_CACH=1M", "TARN_CACH is not a setting; did you mean TARN_CACHE?"},
        {"TARN_CACHES=1M", "TARN_CACHES is not a setting; did you mean TARN_CACHE?"},
        {"TARN_CACEH=1M", "TARN_CACEH is not a setting; did you mean TARN_CACHE?"},
        {"TARN_MAXPOOLED=1", "TARN_MAXPOOLED is not a setting; did you mean TARN_MAX_POOLED?"},
        {"TARN_STAT_ATEXIT=1", "TARN_STAT_ATEXIT is not a setting; did you mean TARN_STATS_AT_EXIT?"},
        {"TARN_LIMITS=1M", "TARN_LIMITS is not a setting; did you mean TARN_LIMIT?"},
        {"TARN_CLASS=16", "TARN_CLASS is not a setting; did you mean TARN_CLASSES?"},
        {"TARN_MINAVAL=1", "TARN_MINAVAL is not a setting; did you mean TARN_MINAVAIL?"},
        {"TARN_G=1", "TARN_G is not a setting; did you mean TARN_GC?"},
        {"TARN_STATS_ON_EXITS=1", "TARN_STATS_ON_EXITS is not a setting; did you mean TARN_STATS_AT_EXIT?"},
        {"TARN_STAT_ON_EXITS=1", "TARN_STAT_ON_EXITS is not a setting; TARN_HELP=1 lists them"},
        {"TARN_FOO=1", "TARN_FOO is not a setting; TARN_HELP=1 lists them"},
        {"TARN_LIB=/usr/lib/libtarn.so", "TARN_LIB is not a setting; TARN_HELP=1 lists them"},
        {"TARN_BUILD=/build", "TARN_BUILD is not a setting; TARN_HELP=1 lists them"},
        {"TARN_=1", "TARN_ is not a setting; TARN_HELP=1 lists them"},
        {"TARN_cache=1", "TARN_cache is not a setting; TARN_HELP=1 lists them"},
        {"TARN_A\x1b=1", "TARN_A\\x1b is not a setting; TARN_HELP=1 lists them"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char expected[500];
        snprintf(expected, sizeof expected, "tarn: %s\n", table[i].line);
        cr_expect(START((char *)table[i].entry));
        cr_expect_str_eq(printed(), expected);
        expect_defaults();
    }
    char entry[3000] = "TARN_", expected[200] = "tarn: TARN_";
    memset(entry + 5, 'B', 2000);
    memset(expected + 11, 'B', 55);
    strcpy(expected + 66, "... is not a setting; TARN_HELP=1 lists them\n");
    strcpy(entry + 2005, "=1");
    START(entry);
    cr_expect_str_eq(printed(), expected);
}

Test(options, of_two_the_first_counts)
{
    START("TARN_CACHE=1k", "TARN_CACHE=2k", "TARN_CACHE=bad");
    cr_expect_eq(options.cache, 1024);
    cr_expect_str_eq(printed(), "");
    START("TARN_CACHE=bad", "TARN_CACHE=2k");
    cr_expect_eq(options.cache, 1 << 20);
    cr_expect_str_eq(printed(), "tarn: TARN_CACHE=bad: expected " CACHE_ACCEPTS "\n");
}

Test(options, a_bad_value_leaves_the_others)
{
    START("TARN_CLASSES=16,32,47", "TARN_MINAVAIL=16:1,16", "TARN_CACHE=3k", "TARN_SIGNAL=KILL");
    cr_expect_eq(options.cache, 3072);
    cr_expect_eq(options.classes_count, 0);
    cr_expect_eq(options.minavail_count, 0);
    cr_expect_eq(options.signal, SIGQUIT);
    cr_expect_not(options.signal_named);
    cr_expect_str_eq(shown("TARN_CLASSES"), "  default");
    cr_expect_str_eq(shown("TARN_CACHE"), "* 3k");
}

Test(options, strict)
{
    cr_expect(START("TARN_STRICT=1", "TARN_CACHE=1k"));
    cr_expect_str_eq(printed(), "");
    /* All the lines, wherever TARN_STRICT stands; and no promise of what is used instead. */
    cr_expect_not(START("TARN_CACHE=12q", "TARN_GC=2", "TARN_STRICT=1", "TARN_CASHE=1", "TARN_FOO=1"));
    cr_expect_str_eq(printed(), "tarn: TARN_CASHE is not a setting; did you mean TARN_CACHE?\n"
                                "tarn: TARN_FOO is not a setting; TARN_HELP=1 lists them\n"
                                "tarn: TARN_CACHE=12q: expected a size from 0 to 1G (k, M, G)\n"
                                "tarn: TARN_GC=2: expected 0 or 1\n");
    cr_expect_not(START("TARN_STRICT=1", "TARN_FOO=1"));
    cr_expect_not(START("TARN_STRICT=1", "TARN_GC=2"));
    cr_expect_not(START("TARN_STRICT=1", "TARN_MINAVAIL=64k:1"));
    cr_expect_not(START("TARN_STRICT=1", "TARN_CLASSES=16", "TARN_MAX_POOLED=32"));
    cr_expect(START("TARN_STRICT=0", "TARN_FOO=1"));
}

Test(options, the_last_class_decides_max_pooled)
{
    START("TARN_CLASSES=16,4k");
    cr_expect_eq(options.max_pooled, 4096);
    START("TARN_CLASSES=16,4k", "TARN_MAX_POOLED=4k");
    cr_expect_eq(options.max_pooled, 4096);
    cr_expect_str_eq(printed(), "");
    START("TARN_MAX_POOLED=8k", "TARN_CLASSES=16,4k");
    cr_expect_eq(options.max_pooled, 4096);
    cr_expect_eq(options.classes_count, 2);
    cr_expect_str_eq(printed(), "tarn: TARN_MAX_POOLED=8k: TARN_CLASSES ends at 4k; using TARN_CLASSES\n");
    START("TARN_MAX_POOLED=8k", "TARN_CLASSES=default");
    cr_expect_eq(options.max_pooled, 8192);
    cr_expect_str_eq(printed(), "");
}

Test(options, minavail_of_no_pool_is_left_out)
{
    START("TARN_MINAVAIL=64:1,33k:2,128:3,64k:4");
    cr_expect_str_eq(printed(), "tarn: TARN_MINAVAIL=33k:2: no pool serves more than 32k; left out\n"
                                "tarn: TARN_MINAVAIL=64k:4: no pool serves more than 32k; left out\n");
    cr_expect_str_eq(shown("TARN_MINAVAIL"), "* 64:1,128:3");
    START("TARN_MINAVAIL=4k:1", "TARN_CLASSES=16-64/16");
    cr_expect_str_eq(printed(), "tarn: TARN_MINAVAIL=4k:1: no pool serves more than 64; left out\n");
    START("TARN_MINAVAIL=64k:1", "TARN_CLASSES=64k");
    cr_expect_eq(options.minavail_count, 1);
    cr_expect_str_eq(printed(), "");
}

Test(options, more_minavail_than_there_is_room_for)
{
    char entry[1000] = "TARN_MINAVAIL=1:1";
    for (unsigned i = 1; i < ARRAY_LENGTH(options.minavail); i++)
        strcat(entry, ",1:1");
    START(entry);
    cr_expect_eq(options.minavail_count, ARRAY_LENGTH(options.minavail));
    cr_expect_str_eq(printed(), "");
    strcat(entry, ",1:1");
    START(entry);
    cr_expect_eq(options.minavail_count, 0);
    cr_expect(strstr(printed(), "...: expected " MINAVAIL_ACCEPTS "\n"));
}

Test(options, nothing_is_read_in_a_setuid_process)
{
    secure = true;
    cr_expect(START("TARN_CACHE=1k", "TARN_DUMP=/etc/passwd", "TARN_FOO=1", "TARN_GC=bad", "TARN_STRICT=1"));
    cr_expect_str_eq(printed(), "");
    expect_defaults();
}

/* --------------------------------------------------------------------------------------------- the dump's path */

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

Test(options, the_longest_dump_path)
{
    char entry[10 + 513] = "TARN_DUMP=", path[600];
    memset(entry + 10, 'd', 511);
    START(entry);
    cr_expect_str_eq(printed(), "");
    cr_expect_str_eq(options.dump_path, entry + 10);
    cr_expect(options_dump_path(path, 512));
    cr_expect_str_eq(path, entry + 10);
    entry[10 + 511] = 'd';
    START(entry);
    cr_expect_eq(options.dump_fd, 2);
    cr_expect(strstr(printed(), "...: expected " DUMP_ACCEPTS "\n"));
}

/* ---------------------------------------------------------------------------------------------- TARN_DEBUG */

Test(options, debugging_words)
{
    static const struct {
        const char *text;
        unsigned words;
        const char *shown; /* NULL: as it is written */
    } table[] = {
        {"none", 0, NULL},
        {"fail=1", DEBUG_FAIL, NULL},
        {"no-merge", DEBUG_NO_MERGE, NULL},
        {"cold-first", DEBUG_COLD_FIRST, NULL},
        {"integrity", DEBUG_INTEGRITY, NULL},
        {"no-global", DEBUG_NO_GLOBAL, NULL},
        {"no-cache", DEBUG_NO_CACHE, NULL},
        {"caller", DEBUG_CALLER, NULL},
        {"tag", DEBUG_TAG, NULL},
        {"poison=0x50", DEBUG_POISON, NULL},
        {"uaf", DEBUG_UAF | DEBUG_NO_CACHE, "no-cache,uaf"},
        {"backup", DEBUG_BACKUP, NULL},
        {"help", 0, NULL},
        {"backup,Tag,INTEGRITY,tag", DEBUG_BACKUP | DEBUG_TAG | DEBUG_INTEGRITY, "integrity,tag,backup"},
        {"tag,no-tag", 0, "none"},
        {"no-tag,tag", DEBUG_TAG, "tag"},
        {"tag,backup,help,none", 0, "none"},
        {"tag,none,backup", DEBUG_BACKUP, "backup"},
        {"uaf,cache", DEBUG_UAF, NULL},
        {"cache,uaf", DEBUG_UAF | DEBUG_NO_CACHE, "no-cache,uaf"},
        {"uaf,no-uaf", DEBUG_NO_CACHE, "no-cache"},
        {"fail=0", DEBUG_FAIL, NULL},
        {"fail=100", DEBUG_FAIL, NULL},
        {"fail=100,fail", DEBUG_FAIL, "fail=1"},
        {"poison=0", DEBUG_POISON, "poison=0x0"},
        {"poison=255", DEBUG_POISON, "poison=0xff"},
        {"poison=0xaB", DEBUG_POISON, "poison=0xab"},
        {"poison=0x0f,poison", DEBUG_POISON, "poison=0x50"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char entry[100], wanted[100];
        snprintf(entry, sizeof entry, "TARN_DEBUG=%s", table[i].text);
        snprintf(wanted, sizeof wanted, "* %s", table[i].shown != NULL ? table[i].shown : table[i].text);
        cr_expect(START(entry));
        cr_expect_str_eq(printed(), "");
        cr_expect_eq(options.debug.words, table[i].words, "%s: %#x", entry, options.debug.words);
        cr_expect_str_eq(shown("TARN_DEBUG"), wanted);
    }
}

Test(options, every_debugging_word_has_an_opposite)
{
    static const char *const opposites[] = {"no-fail",   "merge",  "hot-first", "no-integrity",
                                            "global",    "cache",  "no-caller", "no-tag",
                                            "no-poison", "no-uaf", "no-backup"};
    unsigned all = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(opposites); i++) {
        char entry[200];
        snprintf(entry, sizeof entry,
                 "TARN_DEBUG=fail=3,no-merge,cold-first,integrity,no-global,no-cache,caller,tag,poison=4,uaf,"
                 "backup,%s",
                 opposites[i]);
        cr_expect(START(entry));
        cr_expect_eq(options.debug.words, 0x7ff & ~(1U << i), "%s: %#x", opposites[i], options.debug.words);
        all |= ~options.debug.words & 0x7ff;
    }
    cr_expect_eq(all, 0x7ff);
    START("TARN_DEBUG=fail=3,poison=4");
    cr_expect_eq(options.debug.fail_percent, 3);
    cr_expect_eq(options.debug.poison, 4);
}

Test(options, what_is_no_debugging_word)
{
    static const char *const bad[] = {
        "",        "tags",       "ta",        "tag,",     ",tag",    "tag,,backup", "tag=1",     "no-tag=",
        "none=",   "help=1",     "fail=",     "fail=101", "fail=-1", "fail=1x",     "fail=0x1g", "no-fail=3",
        "poison=", "poison=256", "poison=0x", "tag help", "not-tag", "poison=0x100"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        char entry[60], line[200];
        snprintf(entry, sizeof entry, "TARN_DEBUG=%s", bad[i]);
        snprintf(
            line, sizeof line,
            "tarn: %s: expected none, help, or words as in integrity,tag,poison=0x50,no-cache; using none\n",
            entry);
        START(entry);
        cr_expect_str_eq(printed(), line);
        cr_expect_eq(options.debug.words, 0, "%s", entry);
        cr_expect_eq(options.debug.fail_percent, 1);
        cr_expect_eq(options.debug.poison, 0x50);
        cr_expect_not(options.debug.help);
    }
}

/* A line a word under a heading, with what is on marked. */
Test(options, the_list_of_debugging_words)
{
    static const char *const begins[] = {
        "  fail        no-fail       fail=P",   "  no-merge    merge         ",
        "* cold-first  hot-first     ",         "  integrity   no-integrity  ",
        "  no-global   global        ",         "* no-cache    cache         ",
        "  caller      no-caller     ",         "  tag         no-tag        ",
        "* poison      no-poison     poison=B", "* uaf         no-uaf        ",
        "  backup      no-backup     "};
    START("TARN_DEBUG=help,uaf,poison,cold-first");
    cr_expect(options.debug.help);
    errno = ERANGE;
    options_debug_help(2);
    cr_expect_eq(errno, ERANGE);
    const char *line = printed();
    cr_expect_eq(strncmp(line, "tarn: words of TARN_DEBUG (* on)", 32), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(begins); i++) {
        line = strchr(line, '\n') + 1;
        cr_expect_eq(strncmp(line, begins[i], strlen(begins[i])), 0, "%.40s", line);
        cr_expect_leq(strchr(line, '\n') - line, 110);
    }
    cr_expect_str_eq(strchr(line, '\n'), "\n");
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
