/* The words of TARN_DEBUG. */
#include "options.h"

#include "../tools/settings.h"

#include <errno.h>
#include <stdlib.h>

TestSuite(options_debug, .init = catch_lines);

Test(options_debug, debugging_words)
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

Test(options_debug, every_debugging_word_has_an_opposite)
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

Test(options_debug, what_is_no_debugging_word)
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
Test(options_debug, the_list_of_debugging_words)
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

Test(options_debug, hardening_words)
{
    static const struct {
        const char *text;
        unsigned words;
        const char *shown; /* NULL: as it is written */
    } table[] = {
        {"none", 0, NULL},
        {"0", 0, "none"},
        {"1", HARDEN_ALL, NULL},
        {"ALL", HARDEN_ALL, "1"},
        {"double-free", HARDEN_DOUBLE_FREE, NULL},
        {"quarantine", HARDEN_QUARANTINE, NULL},
        {"zero", HARDEN_ZERO, NULL},
        {"canary", HARDEN_CANARY, NULL},
        {"random", HARDEN_RANDOM, NULL},
        {"guard-pages", HARDEN_GUARD_PAGES, NULL},
        {"aslr", HARDEN_ASLR, NULL},
        {"read-only", HARDEN_READ_ONLY, NULL},
        {"canary,zero", HARDEN_ZERO | HARDEN_CANARY, "zero,canary"},
        {"1,no-zero", HARDEN_ALL & ~HARDEN_ZERO,
         "double-free,quarantine,canary,random,guard-pages,aslr,read-only"},
        {"1,no-all,zero", HARDEN_ZERO, "zero"},
        {"no-zero,zero", HARDEN_ZERO, "zero"},
        {"zero,none", 0, "none"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        char entry[100], wanted[100];
        snprintf(entry, sizeof entry, "TARN_HARDEN=%s", table[i].text);
        snprintf(wanted, sizeof wanted, "* %s", table[i].shown != NULL ? table[i].shown : table[i].text);
        cr_expect(START(entry, "TARN_DEBUG=tag"));
        cr_expect_str_eq(printed(), "");
        cr_expect_eq(options.harden, table[i].words, "%s: %#x", entry, options.harden);
        cr_expect_eq(options.debug.words, DEBUG_TAG | (table[i].words & HARDEN_HOOKS ? DEBUG_HARDEN : 0),
                     "%s", entry);
        cr_expect_str_eq(shown("TARN_HARDEN"), wanted);
        cr_expect_str_eq(shown("TARN_DEBUG"), "* tag");
    }
    static const char *const bad[] = {"", "2", "zeroes", "zero,", "zero=1", "no-none", "no-", "double free"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        char entry[100];
        snprintf(entry, sizeof entry, "TARN_HARDEN=%s", bad[i]);
        cr_expect(START(entry));
        cr_expect_eq(options.harden, 0);
        cr_expect_neq(strlen(printed()), 0, "%s", entry);
    }
}

Test(options_debug, a_count)
{
    cr_expect(START("TARN_GUARD_SAMPLE=10000"));
    cr_expect_eq(options.guard_sample, 10000);
    cr_expect_str_eq(shown("TARN_GUARD_SAMPLE"), "* 10000");
    cr_expect(START("TARN_GUARD_SAMPLE=4294967295"));
    cr_expect_eq(options.guard_sample, UINT32_MAX);
    cr_expect(START("TARN_GUARD_SAMPLE=on"));
    cr_expect_eq(options.guard_sample, 100000);
    cr_expect_str_eq(shown("TARN_GUARD_SAMPLE"), "* 100000");
    static const char *const bad[] = {"", "one", "4294967296", "-1", "1k", "1 ", "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        char entry[100];
        snprintf(entry, sizeof entry, "TARN_GUARD_SAMPLE=%s", bad[i]);
        printed();
        cr_expect(START(entry));
        cr_expect_eq(options.guard_sample, 0);
        cr_expect_neq(strlen(printed()), 0, "%s", entry);
    }
}
