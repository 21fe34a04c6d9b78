/* Settings that are wrong, too long, unknown, or not to be listened to: what is said, and what holds then. */
#include "options.h"

#include "../tools/settings.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/auxv.h>

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

TestSuite(options_refused, .init = catch_lines);

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

Test(options_refused, bad_values)
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

Test(options_refused, values_are_shown_harmless_and_cut)
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

Test(options_refused, unknown_names)
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

Test(options_refused, of_two_the_first_counts)
{
    START("TARN_CACHE=1k", "TARN_CACHE=2k", "TARN_CACHE=bad");
    cr_expect_eq(options.cache, 1024);
    cr_expect_str_eq(printed(), "");
    START("TARN_CACHE=bad", "TARN_CACHE=2k");
    cr_expect_eq(options.cache, 1 << 20);
    cr_expect_str_eq(printed(), "tarn: TARN_CACHE=bad: expected " CACHE_ACCEPTS "\n");
}

Test(options_refused, a_bad_value_leaves_the_others)
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

Test(options_refused, strict)
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

Test(options_refused, the_last_class_decides_max_pooled)
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

Test(options_refused, minavail_of_no_pool_is_left_out)
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

Test(options_refused, more_minavail_than_there_is_room_for)
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

Test(options_refused, nothing_is_read_in_a_setuid_process)
{
    secure = true;
    cr_expect(START("TARN_CACHE=1k", "TARN_DUMP=/etc/passwd", "TARN_FOO=1", "TARN_GC=bad", "TARN_STRICT=1"));
    cr_expect_str_eq(printed(), "");
    expect_defaults();
}

Test(options_refused, the_longest_dump_path)
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
