/* TARN_HARDEN: defences one by one, or all. What each does, harden.h says. */
#include "options.h"
#include "options_types.h"
#include "out.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned words; /* of enum harden_word */
} names[] = {
    {"double-free", HARDEN_DOUBLE_FREE},
    {"quarantine", HARDEN_QUARANTINE},
    {"zero", HARDEN_ZERO},
    {"canary", HARDEN_CANARY},
    {"random", HARDEN_RANDOM},
    {"guard-pages", HARDEN_GUARD_PAGES},
    {"aslr", HARDEN_ASLR},
    {"read-only", HARDEN_READ_ONLY},
    {"1", HARDEN_ALL},
    {"all", HARDEN_ALL},
};
enum { PARTS = ARRAY_LENGTH(names) - 2 };

static const char *scan_item(const struct row *row, const char *text)
{
    (void)row;
    const char *none = options_scan_name(text, "none"), *zero = options_scan_name(text, "0");
    if (none != NULL || zero != NULL) {
        options.harden = 0;
        return none != NULL ? none : zero;
    }
    const char *taken = options_scan_word(text, "no-");
    for (unsigned i = 0; i < ARRAY_LENGTH(names); i++) {
        const char *end = options_scan_name(taken != NULL ? taken : text, names[i].name);
        if (end == NULL)
            continue;
        options.harden = taken != NULL ? options.harden & ~names[i].words : options.harden | names[i].words;
        return end;
    }
    return NULL;
}

bool options_parse_harden(const struct row *row, const char *text)
{
    options.harden = 0;
    return options_parse_list(row, text, scan_item);
}

COLD void options_print_harden(const struct row *row, struct out *o)
{
    const char *comma = "";
    (void)row;
    if (options.harden == 0 || options.harden == HARDEN_ALL)
        out_print(o, "%s", options.harden == 0 ? "none" : "1");
    for (unsigned i = 0; i < PARTS && options.harden != HARDEN_ALL; i++)
        if (options.harden & names[i].words) {
            out_print(o, "%s%s", comma, names[i].name);
            comma = ",";
        }
}
