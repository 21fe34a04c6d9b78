/* The types of settings: one parser and one printer each, and the pieces of text that they are made of. */
#include "options_types.h"

#include "options.h"
#include "out.h"
#include "query.h"

#include <limits.h>
#include <signal.h>
#include <string.h>

static void *field_of(const struct row *row)
{
    return (char *)&options + row->field;
}

/* ---------------------------------------------------------------------------------------- pieces of text */

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

const char *options_scan_word(const char *text, const char *word)
{
    for (; *word != 0; text++, word++)
        if (lower(*text) != lower(*word))
            return NULL;
    return text;
}

const char *options_scan_name(const char *text, const char *name)
{
    text = options_scan_word(text, name);
    return text != NULL && (*text == 0 || *text == ',' || *text == '=') ? text : NULL;
}

static bool is_word(const char *text, const char *word)
{
    const char *end = options_scan_word(text, word);
    return end != NULL && *end == 0;
}

const char *options_scan_number(const char *text, size_t *n)
{
    const char *end = text;
    for (*n = 0; *end >= '0' && *end <= '9'; end++)
        if (__builtin_mul_overflow(*n, 10, n) || __builtin_add_overflow(*n, (size_t)(*end - '0'), n))
            return NULL;
    return end > text ? end : NULL;
}

static const char size_units[] = "kmgt";

static const char *scan_size(const char *text, size_t *n)
{
    text = options_scan_number(text, n);
    const char *unit = text != NULL && *text != 0 ? strchr(size_units, lower(*text)) : NULL;
    if (unit == NULL)
        return text;
    size_t one = (size_t)1 << 10 * (unit - size_units + 1);
    return __builtin_mul_overflow(*n, one, n) ? NULL : text + 1;
}

void options_print_bytes(struct out *o, size_t n)
{
    const char *unit = "\0kMGT";
    while (n != 0 && n % 1024 == 0 && unit[1] != 0) {
        n /= 1024;
        unit++;
    }
    out_print(o, *unit != 0 ? "%zu%c" : "%zu", n, *unit);
}

COLD void options_print_escaped(struct out *o, const char *text, size_t length, size_t most)
{
    for (size_t i = 0; i < length && i < most; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\\')
            out_print(o, "\\\\");
        else if (c >= ' ' && c <= '~')
            out_print(o, "%c", c);
        else
            out_print(o, c < 16 ? "\\x0%x" : "\\x%x", c);
    }
    if (length > most)
        out_print(o, "...");
}

bool options_parse_list(const struct row *row, const char *text,
                        const char *(*scan)(const struct row *, const char *))
{
    while ((text = scan(row, text)) != NULL && *text == ',')
        text++;
    return text != NULL && *text == 0;
}

/* ------------------------------------------------------------------------------------------------- types */

static bool parse_bool(const struct row *row, const char *text)
{
    *(bool *)field_of(row) = *text == '1';
    return (*text == '0' || *text == '1') && text[1] == 0;
}

static void print_bool(const struct row *row, struct out *o)
{
    out_print(o, "%d", *(bool *)field_of(row));
}

static bool parse_size(const struct row *row, const char *text)
{
    size_t *n = field_of(row);
    text = scan_size(text, n);
    return text != NULL && *text == 0 && *n >= row->low && *n <= row->high;
}

static void print_size(const struct row *row, struct out *o)
{
    options_print_bytes(o, *(size_t *)field_of(row));
}

static bool parse_limit(const struct row *row, const char *text)
{
    if (!is_word(text, "none"))
        return parse_size(row, text);
    *(size_t *)field_of(row) = SIZE_MAX;
    return true;
}

static void print_limit(const struct row *row, struct out *o)
{
    if (*(size_t *)field_of(row) == SIZE_MAX)
        out_print(o, "none");
    else
        print_size(row, o);
}

static bool add_class(const struct row *row, size_t size)
{
    unsigned n = options.classes_count;
    size_t before = n > 0 ? options.classes[n - 1] : 0;
    if (n == CLASS_POOLS - 1 || size <= before || size > row->high || size % BLOCK_ALIGN != 0)
        return false;
    options.classes[options.classes_count++] = (uint32_t)size;
    return true;
}

/* SIZE, or FROM-TO/STEP: FROM, FROM+STEP ... up to TO. Each is above the one before, so the loop ends even where
   the sum wraps. */
static const char *scan_classes(const struct row *row, const char *text)
{
    size_t from, to, step = BLOCK_ALIGN;
    text = scan_size(text, &from);
    to = from;
    if (text != NULL && *text == '-') {
        text = scan_size(text + 1, &to);
        text = text != NULL && *text == '/' ? scan_size(text + 1, &step) : NULL;
    }
    if (text == NULL || from > to)
        return NULL;
    for (size_t size = from; size <= to; size += step)
        if (!add_class(row, size))
            return NULL;
    return text;
}

static bool parse_classes(const struct row *row, const char *text)
{
    options.classes_count = 0;
    return is_word(text, "default") || options_parse_list(row, text, scan_classes);
}

static COLD void print_classes(const struct row *row, struct out *o)
{
    (void)row;
    if (options.classes_count == 0)
        out_print(o, "default");
    for (unsigned i = 0; i < options.classes_count; i++) {
        out_print(o, i > 0 ? "," : "");
        options_print_bytes(o, options.classes[i]);
    }
}

static const char *scan_minavail(const struct row *row, const char *text)
{
    size_t size, blocks;
    text = scan_size(text, &size);
    text = text != NULL && *text == ':' ? options_scan_number(text + 1, &blocks) : NULL;
    unsigned n = options.minavail_count;
    if (text == NULL || size < row->low || size > row->high || n == ARRAY_LENGTH(options.minavail))
        return NULL;
    options.minavail[n].size = size;
    options.minavail[n].blocks = blocks;
    options.minavail_count++;
    return text;
}

static bool parse_minavail(const struct row *row, const char *text)
{
    options.minavail_count = 0;
    return is_word(text, "none") || options_parse_list(row, text, scan_minavail);
}

static COLD void print_minavail(const struct row *row, struct out *o)
{
    (void)row;
    if (options.minavail_count == 0)
        out_print(o, "none");
    for (unsigned i = 0; i < options.minavail_count; i++) {
        out_print(o, i > 0 ? "," : "");
        options_print_bytes(o, options.minavail[i].size);
        out_print(o, ":%lu", options.minavail[i].blocks);
    }
}

/* 0: not a signal. */
static int scan_signal(const char *text)
{
    size_t n = 0;
    const char *end = options_scan_number(text, &n);
    if (end != NULL)
        return *end == 0 && n <= (size_t)SIGRTMAX ? (int)n : 0;
    const char *name = options_scan_word(text, "SIG");
    name = name != NULL ? name : text;
    if (is_word(name, "QUIT")) /* the default: libc's table and names are a page fault of 64 KiB (3 us) */
        return SIGQUIT;
    for (int signal = 1; signal < SIGRTMIN; signal++) {
        const char *other = sigabbrev_np(signal);
        if (other != NULL && is_word(name, other))
            return signal;
    }
    end = options_scan_word(name, "RTMIN");
    if (end != NULL && *end == '+')
        end = options_scan_number(end + 1, &n);
    return end != NULL && *end == 0 && n <= (size_t)(SIGRTMAX - SIGRTMIN) ? SIGRTMIN + (int)n : 0;
}

/* The two that no one can catch, and those by which the kernel reports a crash: a handler that returned from one
   would run into it again. Between the named and the real-time ones lie glibc's own. */
static bool signal_makes_sense(int signal)
{
    switch (signal) {
    case SIGQUIT:
        return true;
    case SIGKILL:
    case SIGSTOP:
    case SIGABRT:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGSEGV:
    case SIGSYS:
    case SIGTRAP:
        return false;
    default:
        return signal >= SIGRTMIN || sigabbrev_np(signal) != NULL;
    }
}

static bool parse_signal(const struct row *row, const char *text)
{
    int *signal = field_of(row);
    *signal = is_word(text, "none") ? 0 : scan_signal(text);
    return is_word(text, "none") || (*signal != 0 && signal_makes_sense(*signal));
}

static void print_signal(const struct row *row, struct out *o)
{
    int signal = *(int *)field_of(row);
    if (signal == 0)
        out_print(o, "none");
    else if (signal < SIGRTMIN)
        out_print(o, "%s", sigabbrev_np(signal));
    else
        out_print(o, "RTMIN+%d", signal - SIGRTMIN);
}

/* Digits alone are a descriptor. A path is kept as it is written, but each % in it must be one we know. */
static bool parse_target(const struct row *row, const char *text)
{
    size_t n;
    const char *end = options_scan_number(text, &n);
    (void)row;
    options.dump_fd = -1;
    const char *digits = text;
    while (*digits >= '0' && *digits <= '9')
        digits++;
    if (*digits == 0) {
        options.dump_fd = end != NULL && n <= INT_MAX ? (int)n : -1;
        return options.dump_fd >= 0;
    }
    for (const char *p = strchr(text, '%'); p != NULL; p = strchr(p + 2, '%'))
        if (p[1] != 'p' && p[1] != '%')
            return false;
    size_t length = strlen(text);
    if (length >= sizeof options.dump_path)
        return false;
    memcpy(options.dump_path, text, length + 1);
    return true;
}

static void print_target(const struct row *row, struct out *o)
{
    (void)row;
    if (options.dump_fd >= 0)
        out_print(o, "%d", options.dump_fd);
    else
        options_print_escaped(o, options.dump_path, strlen(options.dump_path), sizeof options.dump_path);
}

static const char *const misuse_words[] = {
    [MISUSE_IGNORE] = "ignore", [MISUSE_WARN] = "warn", [MISUSE_ABORT] = "abort"};

static const char *const helper_words[] = {
    [HELPER_NONE] = "0", [HELPER_THREADS] = "threads", [HELPER_AUTO] = "auto"};

/* Which of the words; `count`: none. */
static unsigned parse_word(const char *text, const char *const *words, unsigned count)
{
    unsigned i = 0;
    while (i < count && !is_word(text, words[i]))
        i++;
    return i;
}

static bool parse_misuse(const struct row *row, const char *text)
{
    enum misuse *misuse = field_of(row);
    *misuse = parse_word(text, misuse_words, ARRAY_LENGTH(misuse_words));
    return *misuse < ARRAY_LENGTH(misuse_words);
}

static bool parse_helper(const struct row *row, const char *text)
{
    enum helper *helper = field_of(row);
    *helper = is_word(text, "1") ? HELPER_AUTO : parse_word(text, helper_words, ARRAY_LENGTH(helper_words));
    return *helper < ARRAY_LENGTH(helper_words);
}

static void print_helper(const struct row *row, struct out *o)
{
    out_print(o, "%s", helper_words[*(enum helper *)field_of(row)]);
}

static void print_misuse(const struct row *row, struct out *o)
{
    out_print(o, "%s", misuse_words[*(enum misuse *)field_of(row)]);
}

/* Kept as it is written: whoever dumps parses it again. Zeroes fill the rest. */
static bool parse_query(const struct row *row, const char *text)
{
    struct query unused;
    if (!query_parse(text, &unused) || strlen(text) >= sizeof options.pools)
        return false;
    strncpy(field_of(row), text, sizeof options.pools);
    return true;
}

static void print_query(const struct row *row, struct out *o)
{
    out_print(o, "%s", (const char *)field_of(row));
}

/* `on` is for who has no reason to choose another number: then a sampled block's 8 us are .1 ns of each request's time. */
static bool parse_sample(const struct row *row, const char *text)
{
    enum { ON = 100000 };
    size_t *n = field_of(row);
    const char *end = options_scan_name(text, "on");
    if (end != NULL)
        *n = ON;
    else
        end = options_scan_number(text, n);
    return end != NULL && *end == 0 && *n >= row->low && *n <= row->high;
}

static void print_sample(const struct row *row, struct out *o)
{
    out_print(o, "%zu", *(size_t *)field_of(row));
}

const struct type_verbs option_types[] = {
    [TYPE_BOOL] = {parse_bool, print_bool},
    [TYPE_SIZE] = {parse_size, print_size},
    [TYPE_LIMIT] = {parse_limit, print_limit},
    [TYPE_CLASSES] = {parse_classes, print_classes},
    [TYPE_PER_CLASS] = {parse_minavail, print_minavail},
    [TYPE_SIGNAL] = {parse_signal, print_signal},
    [TYPE_TARGET] = {parse_target, print_target},
    [TYPE_MISUSE] = {parse_misuse, print_misuse},
    [TYPE_HELPER] = {parse_helper, print_helper},
    [TYPE_WORDS] = {options_parse_words, options_print_words},
    [TYPE_HARDEN] = {options_parse_harden, options_print_harden},
    [TYPE_SAMPLE] = {parse_sample, print_sample},
    [TYPE_QUERY] = {parse_query, print_query},
};
