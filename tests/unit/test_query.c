#include "query.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <string.h>

Test(query, good_ones)
{
    static const struct {
        const char *text;
        struct query query;
    } table[] = {
        {NULL, {.lines = UINT_MAX}},
        {"", {.lines = UINT_MAX}},
        {" ,\t,", {.lines = UINT_MAX}},
        {"bysize", {.lines = UINT_MAX}},
        {"byname", {.order = QUERY_BY_NAME, .lines = UINT_MAX}},
        {"byusage", {.order = QUERY_BY_USAGE, .lines = UINT_MAX}},
        {"detailed", {.detailed = true, .lines = UINT_MAX}},
        {"0", {.lines = 0}},
        {"10", {.lines = 10}},
        {"0010", {.lines = 10}},
        {"4294967295", {.lines = UINT_MAX}},
        {"match ssl", {.prefix = "ssl", .lines = UINT_MAX}},
        {"match=ssl", {.prefix = "ssl", .lines = UINT_MAX}},
        {"match,ssl", {.prefix = "ssl", .lines = UINT_MAX}},
        {"match=a-Z_0.:+/", {.prefix = "a-Z_0.:+/", .lines = UINT_MAX}},
        {"match bysize", {.prefix = "bysize", .lines = UINT_MAX}},
        {"match match", {.prefix = "match", .lines = UINT_MAX}},
        {"match 5", {.prefix = "5", .lines = UINT_MAX}},
        {"match 5,6", {.prefix = "5", .lines = 6}},
        {"match=1234567890123456789012345678901",
         {.prefix = "1234567890123456789012345678901", .lines = UINT_MAX}},
        {"byusage,5", {.order = QUERY_BY_USAGE, .lines = 5}},
        {"  5 ,, byname\tdetailed  match=x ",
         {.order = QUERY_BY_NAME, .lines = 5, .detailed = true, .prefix = "x"}},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        struct query q;
        memset(&q, 0x5a, sizeof q);
        const struct query *expected = &table[i].query;
        cr_expect(query_parse(table[i].text, &q), "%s", table[i].text);
        cr_expect_eq(q.order, expected->order, "%s", table[i].text);
        cr_expect_eq(q.detailed, expected->detailed, "%s", table[i].text);
        cr_expect_eq(q.lines, expected->lines, "%s", table[i].text);
        cr_expect_str_eq(q.prefix, expected->prefix, "%s", table[i].text);
    }
}

Test(query, bad_ones)
{
    static const char *const table[] = {
        "bycolour", "by", "bysizes", "Byname", "detail", "detailed=1", "size-64", "-1", "+1", "1k", "0x10",
        "5.", "4294967296", "42949672950", "99999999999999999999", "byname;detailed", "byname\n",
        /* a prefix that is missing, or that no name has */
        "match", "match ", "match=", "match=,byname", "byname match", "matchx", "match=*", "match=size*",
        "match=\xc3\xa4", "match=a=b", "match=12345678901234567890123456789012",
        /* twice */
        "5 6", "5 5", "byname bysize", "bysize,bysize", "detailed detailed", "match a match b",
        "match=a match=a"};
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        struct query q;
        cr_expect_not(query_parse(table[i], &q), "%s", table[i]);
    }
}
