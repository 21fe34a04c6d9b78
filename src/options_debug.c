/* TARN_DEBUG: HAProxy's debugging words, read as its -dM reads them. What a word does, debug.h says. */
#include "options.h"
#include "options_types.h"
#include "out.h"

#include <string.h>

struct word {
    const char *name, *opposite;
    unsigned bit;     /* of enum debug_word */
    unsigned implies; /* set with it, unless a later word clears it again */
    uint8_t *value;   /* what NAME=VALUE sets; NULL: the word takes none */
    uint8_t most, initial;
    const char *help; /* follows the name in the list */
};

static const struct word words[] = {
    {"fail", "no-fail", DEBUG_FAIL, 0, &options.debug.fail_percent, 100, 1,
     "fail=P: P per cent of requests (1) get NULL, once the program's own code runs"},
    {"no-merge", "merge", DEBUG_NO_MERGE, 0, NULL, 0, 0, "shared pools are one only where their names are"},
    {"cold-first", "hot-first", DEBUG_COLD_FIRST, 0, NULL, 0, 0,
     "of a thread's free blocks the one freed first goes out, not the last"},
    {"integrity", "no-integrity", DEBUG_INTEGRITY, 0, NULL, 0, 0,
     "free blocks hold a pattern, which is checked when they go out"},
    {"no-global", "global", DEBUG_NO_GLOBAL, 0, NULL, 0, 0,
     "what a thread can't keep goes back to its slab, not to a stock for all"},
    {"no-cache", "cache", DEBUG_NO_CACHE, 0, NULL, 0, 0, "no thread keeps free blocks for itself"},
    {"caller", "no-caller", DEBUG_CALLER, 0, NULL, 0, 0, "reports tell who allocated and who freed a block"},
    {"tag", "no-tag", DEBUG_TAG, 0, NULL, 0, 0,
     "8 bytes behind each block show, when it is freed, what ran over"},
    {"poison", "no-poison", DEBUG_POISON, 0, &options.debug.poison, 255, 0x50,
     "poison=B: a block that goes out is filled with byte B (0x50)"},
    {"uaf", "no-uaf", DEBUG_UAF, DEBUG_NO_CACHE, NULL, 0, 0,
     "each block on pages of its own, gone once it is freed; no-cache with it"},
    {"backup", "no-backup", DEBUG_BACKUP, 0, NULL, 0, 0,
     "free blocks are copied aside, and compared when they go out"},
};

// NOLINTNEXTLINE(bugprone-macro-parentheses): no declaration has them
#define EACH_WORD(w) for (const struct word *w = words; (w) < words + ARRAY_LENGTH(words); (w)++)

static bool is_on(const struct word *w)
{
    return (options.debug.words & w->bit) != 0;
}

/* ---------------------------------------------------------------------------------------------- reading */

static const char *scan_hex(const char *text, size_t *n)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *end = text;
    for (*n = 0; *end != 0 && *n <= UINT8_MAX; end++) {
        const char *digit = strchr(digits, *end);
        if (digit == NULL)
            break;
        size_t value = (size_t)(digit - digits);
        *n = *n * 16 + (value < 16 ? value : value - 6);
    }
    return end > text ? end : NULL;
}

static const char *scan_value(const struct word *w, const char *text)
{
    size_t n = w->initial;
    if (*text == '=') {
        const char *hex = options_scan_word(text + 1, "0x");
        text = hex != NULL ? scan_hex(hex, &n) : options_scan_number(text + 1, &n);
    }
    if (text == NULL || n > w->most)
        return NULL;
    *w->value = (uint8_t)n;
    return text;
}

static void clear(const struct word *w)
{
    options.debug.words &= ~w->bit;
    if (w->value != NULL)
        *w->value = w->initial;
}

static void clear_all(void)
{
    EACH_WORD (w)
        clear(w);
    options.debug.words = 0;
    options.debug.help = false;
}

static const char *scan_item(const struct row *row, const char *text)
{
    const char *end;
    (void)row;
    EACH_WORD (w) {
        if ((end = options_scan_name(text, w->opposite)) != NULL) {
            clear(w);
            return end;
        }
        if ((end = options_scan_name(text, w->name)) != NULL) {
            options.debug.words |= w->bit | w->implies;
            return w->value != NULL ? scan_value(w, end) : end;
        }
    }
    if ((end = options_scan_name(text, "none")) != NULL)
        clear_all();
    else if ((end = options_scan_name(text, "help")) != NULL)
        options.debug.help = true;
    return end;
}

bool options_parse_words(const struct row *row, const char *text)
{
    clear_all();
    return options_parse_list(row, text, scan_item);
}

/* ---------------------------------------------------------------------------------------------- telling */

/* An item of the list, behind a comma if it is not the first. */
static void print_item(struct out *o, bool *first, const char *name)
{
    out_print(o, *first ? "%s" : ",%s", name);
    *first = false;
}

COLD void options_print_words(const struct row *row, struct out *o)
{
    bool first = true;
    unsigned undone = 0; /* what a word implies and another cleared again */
    (void)row;
    EACH_WORD (w) {
        if (!is_on(w))
            continue;
        print_item(o, &first, w->name);
        if (w->value != NULL)
            out_print(o, w->most == UINT8_MAX ? "=0x%x" : "=%u", *w->value);
        undone |= w->implies & ~options.debug.words;
    }
    EACH_WORD (w)
        if ((undone & w->bit) != 0)
            print_item(o, &first, w->opposite);
    if (options.debug.help)
        print_item(o, &first, "help");
    if (first)
        out_print(o, "none");
}

COLD void options_debug_help(int fd)
{
    struct out o;
    out_start(&o, fd);
    out_print(&o, "tarn: words of TARN_DEBUG (* on), later ones win; none clears all\n");
    EACH_WORD (w)
        out_print(&o, "%c %-10s  %-12s  %s\n", is_on(w) ? '*' : ' ', w->name, w->opposite, w->help);
    out_flush(&o);
}
