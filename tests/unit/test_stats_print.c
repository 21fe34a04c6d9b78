#include "stats.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What stats_report writes for a query, in a buffer of the test's. */
static const char *asked(const char *query, const struct stats *s, const struct residence *r)
{
    static char text[1 << 16];
    struct query q;
    cr_assert(query_parse(query, &q), "%s", query);
    int fd = memfd_create("dump", 0);
    stats_report(fd, "SIGQUIT also flushes them", &q, s, r);
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    cr_assert_geq(length, 0);
    text[length] = '\0';
    close(fd);
    return text;
}

static const struct residence some_residence = {.rss = 2000000,
                                                .live = 1000000,
                                                .cached = 20000,
                                                .free_in_slabs = 100000,
                                                .large = 262144,
                                                .spare = 0,
                                                .meta = 65536,
                                                .other = 552320};

/* The golden dump: whoever changes the form changes it here, in stats_print.c's comment and in the README. */
Test(stats_report, form)
{
    static const struct stats s = {
        .count = 4,
        .pool = {{.name = "size-16", .size = 16, .users = 1},
                 {.name = "size-64", .size = 64, .allocated = 1024, .used = 900, .cached = 100, .users = 1},
                 {.name = "size-512", .size = 512, .allocated = 100256, .used = 100250, .users = 1},
                 {.name = "size-4096", .size = 4096, .failed = 12, .users = 1}},
        .large = {.blocks = 3, .bytes = 1048576, .held = 2097152, .failed = 2},
        .threads = 3};
    char expected[2048];
    snprintf(expected, sizeof expected,
             "Dumping pools usage of tarn, pid %d, 3 threads: SIGQUIT also flushes them.\n"
             "  - Pool size-64 (64 bytes)     :   1024 allocated    (65536 bytes),    900 used, ~100 cached, "
             " 0 failures, 1 users,  12%% waste\n"
             "  - Pool size-512 (512 bytes)   : 100256 allocated (51331072 bytes), 100250 used,   ~0 cached, "
             " 0 failures, 1 users,   0%% waste\n"
             "  - Pool size-4096 (4096 bytes) :      0 allocated        (0 bytes),      0 used,   ~0 cached, "
             "12 failures, 1 users,   0%% waste\n"
             "Total: 3 pools, 51396608 bytes allocated, 51385600 used, ~6400 cached, 12 failures.\n"
             "Large: 3 blocks, 1048576 bytes, 2097152 held by jemalloc, 2 failures.\n"
             "Resident: 2000000 bytes, of which\n"
             "  - live           : 1000000 bytes   976.6k   50%%\n"
             "  - cached         :   20000 bytes    19.5k    1%%\n"
             "  - free in slabs  :  100000 bytes    97.7k    5%%\n"
             "  - large          :  262144 bytes   256.0k   13%%\n"
             "  - spare          :       0 bytes        0    0%%\n"
             "  - bookkeeping    :   65536 bytes    64.0k    3%%\n"
             "  - not ours       :  552320 bytes   539.4k   27%%\n",
             (int)getpid());
    cr_assert_str_eq(asked(NULL, &s, &some_residence), expected);
}

/* HAProxy's 32-bit products wrapped at 4 GiB. */
Test(stats_report, is_64_bit_throughout)
{
    const uint64_t many = (uint64_t)1 << 40;
    const struct stats s = {
        .count = 2,
        .pool = {
            {.name = "size-32768",
             .size = 32768,
             .allocated = many,
             .used = many / 2 + 1,
             .failed = many,
             .users = many},
            {.name = "pages", .id = CLASS_NAMED, .size = 4 << 20, .allocated = 1000000, .used = 999999}}};
    const char *text = asked(NULL, &s, &some_residence);
    cr_assert_not_null(
        strstr(text, " 1099511627776 allocated (36028797018963968 bytes), 549755813889 used,"));
    cr_assert_not_null(strstr(text, " 1099511627776 failures, 1099511627776 users,  49% waste\n"));
    cr_assert_not_null(strstr(text, " 1000000 allocated     (4194304000000 bytes), "));
    cr_assert_not_null(
        strstr(text, "Total: 2 pools, 36032991322963968 bytes allocated, 18018592809320448 used"));
    text = asked("byusage match=pages", &s, &some_residence);
    cr_assert_not_null(strstr(text, "Total: 1 pools, 4194304000000 bytes allocated, 4194299805696 used"));
}

Test(stats_report, without_proc_claims_no_rest)
{
    static const struct stats s = {.count = 0};
    const struct residence r = {.live = 4096};
    const char *text = asked(NULL, &s, &r);
    cr_assert_not_null(strstr(text, "Resident: unknown"));
    cr_assert_not_null(strstr(text, "live           : 4096 bytes"));
    cr_assert_null(strstr(text, "not ours"));
    cr_assert_null(strstr(text, "%"));
}

Test(stats_report, guarded_blocks_have_a_line_if_there_are_any)
{
    struct stats s = {.count = 0};
    cr_assert_null(strstr(asked(NULL, &s, &some_residence), "Guarded"));
    s.guarded = 3, s.guarded_bytes = 12288;
    cr_assert_not_null(
        strstr(asked(NULL, &s, &some_residence), "\nGuarded: 3 blocks, 12288 bytes.\nResident:"));
}

/* ---- queries ---- */

static struct registration third = {
    .name = "proxy", .file = "src/proxy.c", .line = 7, .size = 96, .align = 64};
static struct registration second = {.next = &third, .size = 91, .flags = POOL_SHARED | POOL_EXACT};
static struct registration first = {.next = &second,
                                    .name = "session",
                                    .file = "src/conn.c",
                                    .line = 41,
                                    .size = 90,
                                    .align = 16,
                                    .flags = POOL_SHARED};

/* Ascending by size, as stats_read makes it. */
static const struct stats some = {
    .count = 8,
    .pool = {
        {.id = 2,
         .name = "size-32",
         .size = 32,
         .allocated = 100,
         .used = 80,
         .users = 1,
         .flags = POOL_SHARED},
        {.id = 4, .name = "size-64", .size = 64, .users = 2, .flags = POOL_SHARED},
        {.id = 70, .name = "sess.b", .size = 64, .allocated = 10, .used = 5, .cached = 2, .failed = 1},
        {.id = 5, .name = "size-80", .size = 80, .users = 1, .flags = POOL_SHARED}, /* never used */
        {.id = CLASS_NAMED,
         .name = "session",
         .block = 112,
         .size = 96,
         .align = 64,
         .allocated = 50,
         .used = 50,
         .users = 3,
         .slabs = 2,
         .limit = 60,
         .minavail = 4,
         .limited = 9,
         .flags = POOL_SHARED,
         .registrations = &first},
        {.id = 67, .size = 128, .block = 128, .align = 16, .users = 1},
        {.id = 68, .name = "alpha", .size = 1000, .allocated = 3, .users = 1, .flags = POOL_SHARED},
        {.id = 6, .name = "size-2048", .size = 2048, .allocated = 8, .used = 2, .failed = 3, .users = 1}}};

/* The names of the pools that have lines, each with a blank behind, and the sums of the lines. */
static struct {
    char names[400];
    unsigned lines;
    uint64_t bytes, used, cached, failed;
} told;

static void tell(const char *query)
{
    memset(&told, 0, sizeof told);
    for (const char *line = asked(query, &some, &some_residence); *line != '\0';
         line = strchr(line, '\n') + 1) {
        char name[40];
        uint64_t size, allocated, bytes, used, cached, failed;
        if (sscanf(
                line,
                "  - Pool %39s (%lu bytes) : %lu allocated (%lu bytes), %lu used, ~%lu cached, %lu failures",
                name, &size, &allocated, &bytes, &used, &cached, &failed) != 7)
            continue;
        cr_assert_eq(bytes, size * allocated);
        strcat(strcat(told.names, name), " ");
        told.lines++;
        told.bytes += bytes;
        told.used += size * used;
        told.cached += size * cached;
        told.failed += failed;
    }
}

static void expect_lines(const char *query, const char *names)
{
    tell(query);
    cr_expect_str_eq(told.names, names, "%s: %s", query, told.names);
}

/* A pool that someone made has a line even if it was never used (HAProxy's P1); malloc's have to earn it. */
Test(stats_report, by_size)
{
    const char *all = "size-32 size-64 sess.b session - alpha size-2048 ";
    expect_lines(NULL, all);
    expect_lines("bysize", all);
}

Test(stats_report, by_name)
{
    expect_lines("byname", "- alpha sess.b session size-2048 size-32 size-64 ");
}

Test(stats_report, by_usage_the_most_first_and_the_unused_hidden)
{
    expect_lines("byusage", "session size-2048 size-32 sess.b "); /* 4800, 4096, 2560, 320 bytes */
}

Test(stats_report, a_prefix)
{
    expect_lines("match s", "size-32 size-64 sess.b session size-2048 ");
    expect_lines("match=sess", "sess.b session ");
    expect_lines("match=session", "session ");
    expect_lines("match=sessions", "");
    expect_lines("match ess", "");
    expect_lines("byusage match=size-", "size-2048 size-32 ");
}

Test(stats_report, the_first_so_many)
{
    expect_lines("2", "size-32 size-64 ");
    expect_lines("2 byusage", "session size-2048 ");
    expect_lines("100", "size-32 size-64 sess.b session - alpha size-2048 ");
    expect_lines("0", "");
}

/* HAProxy's P2. */
Test(stats_report, totals_are_the_sums_of_the_lines)
{
    static const char *const queries[] = {NULL,         "byname",  "byusage",
                                          "match=sess", "match=x", "byusage match size"};
    for (size_t i = 0; i < ARRAY_LENGTH(queries); i++) {
        char expected[200];
        tell(queries[i]);
        snprintf(expected, sizeof expected,
                 "\nTotal: %u pools, %lu bytes allocated, %lu used, ~%lu cached, %lu failures.\n", told.lines,
                 told.bytes, told.used, told.cached, told.failed);
        cr_expect_not_null(strstr(asked(queries[i], &some, &some_residence), expected), "%s: no %s",
                           queries[i], expected);
    }
}

/* How many lines there are is no matter of what matched. */
Test(stats_report, totals_are_of_all_that_matched)
{
    const char *total = "\nTotal: 4 pools, 25024 bytes allocated, 11776 used, ~128 cached, 4 failures.\n";
    cr_expect_not_null(strstr(asked("byusage", &some, &some_residence), total));
    cr_expect_not_null(strstr(asked("byusage 1", &some, &some_residence), total));
    cr_expect_not_null(strstr(asked("byusage 0", &some, &some_residence), total));
}

Test(stats_report, the_end_of_a_line_says_shared)
{
    const char *text = asked(NULL, &some, &some_residence);
    unsigned marks = 0;
    for (const char *mark = strstr(text, "[SHARED]"); mark != NULL; mark = strstr(mark + 1, "[SHARED]"))
        marks++;
    cr_expect_eq(marks, 3);
    cr_expect_not_null(strstr(text, " 2 users,   0% waste [SHARED]\n")); /* malloc's, with another */
    cr_expect_not_null(strstr(text, " 3 users,   0% waste [SHARED]\n")); /* a named one, merged */
    cr_expect_not_null(strstr(text, " 1 users, 100% waste [SHARED]\n")); /* a named one, open to others */
}

Test(stats_report, columns_fit_the_lines_that_are_shown)
{
    cr_expect_not_null(strstr(asked("match=sess", &some, &some_residence),
                              "  - Pool sess.b (64 bytes)  : 10 allocated  (640 bytes),  5 used, ~2 cached, "
                              "1 failures, 0 users,  50% waste\n"
                              "  - Pool session (96 bytes) : 50 allocated (4800 bytes), 50 used, ~0 cached, "
                              "0 failures, 3 users,   0% waste [SHARED]\n"));
    cr_expect_not_null(strstr(asked("match=sess 1", &some, &some_residence),
                              "  - Pool sess.b (64 bytes) : 10 allocated (640 bytes), 5 used, ~2 cached, "
                              "1 failures, 0 users,  50% waste\n"));
}

Test(stats_report, detailed)
{
    const char *text = asked("detailed match=session", &some, &some_residence);
    cr_expect_not_null(
        strstr(text, " [SHARED]\n"
                     "      blocks of 112 bytes, align 64, 2 slabs, limit 60, 9 limit hits, minavail 4\n"
                     "      > session: 90 bytes, align 16, SHARED, src/conn.c:41\n"
                     "      > -: 91 bytes, align 0, SHARED, EXACT\n"
                     "      > proxy: 96 bytes, align 64, src/proxy.c:7\n"
                     "Total: 1 pools, "),
        "%s", text);
    /* What was unlinked meanwhile, and leads elsewhere, is not followed for long. */
    static struct registration circle = {.name = "circle"};
    static struct stats s;
    s = some;
    circle.next = &circle;
    s.pool[5].registrations = &circle;
    text = strstr(asked("detailed", &s, &some_residence), "      > circle");
    cr_expect(text != NULL && strstr(text + 1, "      > circle") == NULL);
    text = asked("detailed", &some, &some_residence);
    cr_expect_not_null(
        strstr(text, "% waste\n"
                     "      blocks of 128 bytes, align 16, 0 slabs, limit none, 0 limit hits, minavail 0\n"
                     "  - Pool alpha (1000 bytes) "),
        "%s", text);
    cr_expect_null(strstr(asked(NULL, &some, &some_residence), "limit"));
}
