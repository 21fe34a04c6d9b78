#include "query.h"

#include <limits.h>
#include <string.h>

/* Kinds of words; none may come twice. */
enum { BAD = 0, ORDER = 1 << 0, MATCH = 1 << 1, DETAILED = 1 << 2, LINES = 1 << 3 };

struct word {
    const char *at;
    size_t length; /* 0: the text ends */
};

static bool is_between(char c)
{
    return c == ' ' || c == '\t' || c == ',';
}

/* The first word of *text, which goes on behind it. */
static struct word next_word(const char **text)
{
    const char *at = *text;
    while (is_between(*at))
        at++;
    *text = at;
    while (**text != 0 && !is_between(**text))
        ++*text;
    return (struct word){at, (size_t)(*text - at)};
}

static bool is(struct word w, const char *text)
{
    return w.length == strlen(text) && memcmp(w.at, text, w.length) == 0;
}

size_t query_name_length(const char *text)
{
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:+/");
}

/* Letters that no name has would match nothing: "size*" is better refused. */
static unsigned read_prefix(struct query *q, struct word w)
{
    if (w.length == 0 || w.length >= sizeof q->prefix || query_name_length(w.at) < w.length)
        return BAD;
    memcpy(q->prefix, w.at, w.length); /* behind it all is zero */
    return MATCH;
}

static unsigned read_lines(struct query *q, struct word w)
{
    q->lines = 0;
    for (size_t i = 0; i < w.length; i++)
        if (w.at[i] < '0' || w.at[i] > '9' || __builtin_mul_overflow(q->lines, 10, &q->lines) ||
            __builtin_add_overflow(q->lines, (unsigned)(w.at[i] - '0'), &q->lines))
            return BAD;
    return LINES;
}

static unsigned read_word(struct query *q, struct word w, const char **rest)
{
    static const char *const orders[] = {
        [QUERY_BY_SIZE] = "bysize", [QUERY_BY_NAME] = "byname", [QUERY_BY_USAGE] = "byusage"};
    const char *equals = "match=";
    for (unsigned i = 0; i < ARRAY_LENGTH(orders); i++)
        if (is(w, orders[i])) {
            q->order = i;
            return ORDER;
        }
    if (is(w, "detailed")) {
        q->detailed = true;
        return DETAILED;
    }
    if (is(w, "match"))
        return read_prefix(q, next_word(rest));
    size_t length = strlen(equals);
    if (w.length >= length && memcmp(w.at, equals, length) == 0)
        return read_prefix(q, (struct word){w.at + length, w.length - length});
    return read_lines(q, w);
}

bool query_parse(const char *text, struct query *q)
{
    unsigned seen = 0;
    *q = (struct query){.order = QUERY_BY_SIZE, .lines = UINT_MAX};
    if (text == NULL)
        return true;
    for (struct word w = next_word(&text); w.length > 0; w = next_word(&text)) {
        unsigned kind = read_word(q, w, &text);
        if (kind == BAD || (seen & kind) != 0)
            return false;
        seen |= kind;
    }
    return true;
}
