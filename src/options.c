/*
 * Everything known about a setting is its row in options.def; everything known about a type is its row of verbs
 * in options_types.c. Here the environment is read and the rows are shown.
 */
#include "options.h"

#include "options_types.h"
#include "out.h"

#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

CONSTANT struct options options;

static const struct row rows[] = {
#define OPTION(name, field, type, low, high, initial, accepts, help)                                         \
    {name, offsetof(struct options, field), TYPE_##type, low, high, initial, accepts, help},
#include "options.def"
#undef OPTION
};

enum {
    ROWS = ARRAY_LENGTH(rows),
    PREFIX = sizeof "TARN_" - 1,
    SHOWN_MAX = 60, /* bytes of a name or value in a complaint */
    NAME_MAX_LENGTH = 32
};

static bool given[ROWS]; /* a good value stood in the environment */

static bool is_given(size_t field)
{
    for (unsigned i = 0; i < ROWS; i++)
        if (rows[i].field == field)
            return given[i];
    return false;
}

/* -------------------------------------------------------------------------------------------- complaints */

static void begin_line(struct out *o)
{
    out_start(o, STDERR_FILENO);
    out_print(o, "tarn: ");
}

/* Under TARN_STRICT nothing is used instead: the program stops. */
static void end_line(struct out *o, const char *instead, const char *what)
{
    if (!options.strict)
        out_print(o, "; %s%s", instead, what);
    out_print(o, "\n");
    out_flush(o);
}

/* How many letters must be put in, taken out or changed to make `b` of `a`. Each pass of the outer loop turns the
   distances from a[0..i) to every begin of `b` into those from a[0..i]. */
static unsigned distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned steps[NAME_MAX_LENGTH + 1];
    for (unsigned k = 0; k <= b_length; k++)
        steps[k] = k;
    for (unsigned i = 0; i < a_length; i++) {
        unsigned diagonal = steps[0];
        steps[0] = i + 1;
        for (unsigned k = 0; k < b_length; k++) {
            unsigned changed = diagonal + (a[i] != b[k]);
            unsigned shorter = (steps[k] < steps[k + 1] ? steps[k] : steps[k + 1]) + 1;
            diagonal = steps[k + 1];
            steps[k + 1] = changed < shorter ? changed : shorter;
        }
    }
    return steps[b_length];
}

/* The setting whose name is closest; NULL if none is close: three letters off, or half of a short name, is another
   word. */
static const char *meant(const char *name, size_t length)
{
    const char *best = NULL;
    unsigned best_distance = 4;
    for (const struct row *row = rows; length <= NAME_MAX_LENGTH && row < rows + ROWS; row++) {
        size_t row_length = strlen(row->name);
        unsigned d = distance(name, length, row->name, row_length);
        if (d < best_distance && d <= (row_length - PREFIX) / 2) {
            best = row->name;
            best_distance = d;
        }
    }
    return best;
}

static COLD void complain_of_name(const char *name, size_t length)
{
    struct out o;
    const char *other = meant(name, length);
    begin_line(&o);
    options_print_escaped(&o, name, length, SHOWN_MAX);
    if (other != NULL)
        out_print(&o, " is not a setting; did you mean %s?\n", other);
    else
        out_print(&o, " is not a setting; TARN_HELP=1 lists them\n");
    out_flush(&o);
}

static COLD void complain_of_value(const struct row *row, const char *value)
{
    struct out o;
    begin_line(&o);
    out_print(&o, "%s=", row->name);
    options_print_escaped(&o, value, strlen(value), SHOWN_MAX);
    out_print(&o, ": expected %s", row->accepts);
    end_line(&o, "using ", row->initial);
}

/* ----------------------------------------------------------------------------------------------- reading */

static void set_default(unsigned i)
{
    option_types[rows[i].type].parse(&rows[i], rows[i].initial);
}

/* Reads one "NAME=value" of the environment. A refused value waits in `refused`, because the line about it depends
   on TARN_STRICT, which may come later. False: the name is not a setting, and that was said. */
static bool read_entry(const char *entry, const char *refused[ROWS])
{
    const char *value = strchr(entry, '=');
    if (value == NULL || strncmp(entry, "TARN_", PREFIX) != 0)
        return true;
    size_t length = (size_t)(value++ - entry);
    for (unsigned i = 0; i < ROWS; i++) {
        if (strncmp(entry, rows[i].name, length) != 0 || rows[i].name[length] != 0)
            continue;
        if (given[i] || refused[i] != NULL)
            return true;
        given[i] = option_types[rows[i].type].parse(&rows[i], value);
        if (!given[i]) {
            refused[i] = value;
            set_default(i);
        }
        return true;
    }
    complain_of_name(entry, length);
    return false;
}

/* TARN_CLASSES says which is the biggest class, whatever TARN_MAX_POOLED says. */
static bool agree_on_max_pooled(void)
{
    size_t wanted = options.max_pooled;
    if (options.classes_count == 0)
        return true;
    options.max_pooled = options.classes[options.classes_count - 1];
    if (wanted == options.max_pooled || !is_given(offsetof(struct options, max_pooled)))
        return true;
    struct out o;
    begin_line(&o);
    out_print(&o, "TARN_MAX_POOLED=");
    options_print_bytes(&o, wanted);
    out_print(&o, ": TARN_CLASSES ends at ");
    options_print_bytes(&o, options.max_pooled);
    end_line(&o, "using TARN_CLASSES", "");
    return false;
}

/* Leaves out what TARN_MINAVAIL wants of pools that there will not be. */
static bool agree_on_minavail(void)
{
    unsigned kept = 0, count = options.minavail_count;
    for (unsigned i = 0; i < count; i++) {
        if (options.minavail[i].size <= options.max_pooled) {
            options.minavail[kept++] = options.minavail[i];
            continue;
        }
        struct out o;
        begin_line(&o);
        out_print(&o, "TARN_MINAVAIL=");
        options_print_bytes(&o, options.minavail[i].size);
        out_print(&o, ":%lu: no pool serves more than ", options.minavail[i].blocks);
        options_print_bytes(&o, options.max_pooled);
        end_line(&o, "left out", "");
    }
    options.minavail_count = kept;
    return kept == count;
}

bool options_start(char *const *environment)
{
    const char *refused[ROWS] = {NULL};
    bool good = true;
    for (unsigned i = 0; i < ROWS; i++) {
        given[i] = false;
        set_default(i);
    }
    options.signal_named = false;
    if (environment == NULL || getauxval(AT_SECURE) != 0)
        return true;

    for (; *environment != NULL; environment++)
        good &= read_entry(*environment, refused);
    for (unsigned i = 0; i < ROWS; i++)
        if (refused[i] != NULL) {
            complain_of_value(&rows[i], refused[i]);
            good = false;
        }
    good &= agree_on_max_pooled();
    good &= agree_on_minavail();
    options.signal_named = is_given(offsetof(struct options, signal));
    if (options.harden & HARDEN_HOOKS)
        options.debug.words |= DEBUG_HARDEN;
    return good || !options.strict;
}

/* ------------------------------------------------------------------------------------------------ telling */

static COLD void help_text(struct out *o)
{
    out_print(o, "tarn: settings, read from the environment at start\n");
    out_print(o, "  %-18s  %-7s  %s\n", "Setting", "Default", "Accepts, and what it does");
    for (const struct row *row = rows; row < rows + ROWS; row++) {
        out_print(o, "  %-18s  %-7s  %s\n", row->name, row->initial, row->accepts);
        out_print(o, "  %-18s  %-7s    %s\n", "", "", row->help);
    }
}

static COLD void help_markdown(struct out *o)
{
    out_print(o, "| Setting | Default | Accepts | What it does |\n|---|---|---|---|\n");
    for (const struct row *row = rows; row < rows + ROWS; row++)
        out_print(o, "| `%s` | `%s` | %s | %s |\n", row->name, row->initial, row->accepts, row->help);
}

COLD void options_help(int fd, bool markdown)
{
    struct out o;
    out_start(&o, fd);
    if (markdown)
        help_markdown(&o);
    else
        help_text(&o);
    out_flush(&o);
}

COLD void options_show(int fd)
{
    struct out o;
    out_start(&o, fd);
    out_print(&o, "tarn: settings in effect (* from the environment)\n");
    for (unsigned i = 0; i < ROWS; i++) {
        out_print(&o, "%c %-18s  ", given[i] ? '*' : ' ', rows[i].name);
        option_types[rows[i].type].print(&rows[i], &o);
        out_print(&o, "\n");
    }
    out_flush(&o);
}

bool options_dump_path(char *path, size_t size)
{
    char digits[12], *pid = digits + sizeof digits;
    for (unsigned n = (unsigned)getpid(); n > 0; n /= 10)
        *--pid = (char)('0' + n % 10);

    size_t used = 0;
    for (const char *p = options.dump_path; *p != 0; p++) {
        bool directive = *p == '%';
        p += directive;
        const char *piece = directive && *p == 'p' ? pid : p;
        size_t length = piece == pid ? (size_t)(digits + sizeof digits - pid) : 1;
        if (length > size - used)
            return false;
        memcpy(path + used, piece, length);
        used += length;
    }
    if (used == size)
        return false;
    path[used] = 0;
    return true;
}
