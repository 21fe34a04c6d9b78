/*
 * What options.c, options_types.c and options_debug.c share, and nobody else: the shape of a row of options.def, the
 * verbs of its type, and the pieces of text that a parser meets.
 */
#ifndef TARN_OPTIONS_TYPES_H
#define TARN_OPTIONS_TYPES_H

#include "base.h"

struct out;

enum type {
    TYPE_BOOL,
    TYPE_SIZE,
    TYPE_LIMIT,
    TYPE_CLASSES,
    TYPE_PER_CLASS,
    TYPE_SIGNAL,
    TYPE_TARGET,
    TYPE_MISUSE,
    TYPE_HELPER,
    TYPE_WORDS,
    TYPE_HARDEN,
    TYPE_SAMPLE,
    TYPE_QUERY
};

struct row {
    const char *name;
    size_t field; /* offset in struct options; a list's length and the like lie next to it */
    enum type type;
    size_t low, high;
    const char *initial, *accepts, *help;
};

/* The parser writes straight into `options`; false: what it wrote is spoilt, and is to be set again. Whatever the
   printer prints, the parser reads back. */
struct type_verbs {
    bool (*parse)(const struct row *row, const char *text);
    void (*print)(const struct row *row, struct out *o);
};
extern const struct type_verbs option_types[];

/* TARN_DEBUG's (options_debug.c). */
bool options_parse_words(const struct row *row, const char *text);
void options_print_words(const struct row *row, struct out *o);

/* TARN_HARDEN's (options_harden.c). */
bool options_parse_harden(const struct row *row, const char *text);
void options_print_harden(const struct row *row, struct out *o);

/* What follows `word` at the begin of `text`, in whatever case; NULL if something else stands there. */
const char *options_scan_word(const char *text, const char *word);

/* Reads decimal digits; returns what follows, or NULL if there is none or `n` can't hold them. */
const char *options_scan_number(const char *text, size_t *n);

/* Items with a comma between two; `scan` returns what follows an item, or NULL. */
bool options_parse_list(const struct row *row, const char *text,
                        const char *(*scan)(const struct row *, const char *));

/* What follows `name` where it stands whole, before a comma, a "=" or the end; else NULL. */
const char *options_scan_name(const char *text, const char *name);

/* A size, exact, in the biggest unit that allows it. */
void options_print_bytes(struct out *o, size_t n);

/* The first `length` bytes of `text`, so that no terminal obeys them; what is longer than `most` is cut. */
void options_print_escaped(struct out *o, const char *text, size_t length, size_t most);

#endif
