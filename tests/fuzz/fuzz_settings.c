/*
 * Settings and queries out of any text. What took effect is sound, is told in lines of printable letters, and told to
 * tarn again, in the words of TARN_SHOW, is the same.
 *
 * The input's lines are the environment's entries; a line without "=" is a query.
 */
#include "fuzz.h"
#include "options.h"
#include "query.h"
#include "sizeclass.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ENTRIES = 64, TEXT = 1 << 16, MARK = 2, VALUE = 22 /* columns of TARN_SHOW */ };

static int screen, spoken = -1; /* descriptor 2 as it was, and a file in its place */
static char said[TEXT];

static void begin_listening(void)
{
    expect(ftruncate(spoken, 0) == 0 && lseek(spoken, 0, SEEK_SET) == 0);
    dup2(spoken, STDERR_FILENO);
}

/* What was printed since, in `said`. */
static void end_listening(void)
{
    dup2(screen, STDERR_FILENO);
    ssize_t length = pread(spoken, said, sizeof said - 1, 0);
    expect(length >= 0 && length < TEXT - 1);
    said[length] = 0;
    for (const char *p = said; *p != 0; p++)
        expect((*p >= ' ' && *p <= '~') || *p == '\n' || *p == '\t'); /* a query may have tabs */
    expect(length == 0 || said[length - 1] == '\n');
}

static void check_complaints(void)
{
    for (const char *line = said; *line != 0; line = strchr(line, '\n') + 1)
        expect(strncmp(line, "tarn: ", 6) == 0 && strchr(line, '\n') - line < 500);
}

static void check_sound(void)
{
    struct query q;
    for (unsigned i = 0; i < options.classes_count; i++) {
        expect(options.classes[i] % BLOCK_ALIGN == 0 && options.classes[i] <= POOLED_MAX);
        expect(options.classes[i] > (i > 0 ? options.classes[i - 1] : 0));
    }
    expect(options.max_pooled >= BLOCK_ALIGN && options.max_pooled <= POOLED_MAX);
    for (unsigned i = 0; i < options.minavail_count; i++)
        expect(options.minavail[i].size <= options.max_pooled);
    expect(options.limit >= 1 << 20 && options.dump_fd >= -1);
    expect(options.debug.fail_percent <= 100);
    expect(strlen(options.pools) < sizeof options.pools && query_parse(options.pools, &q));
    sizeclass_start(options.classes, options.classes_count, options.max_pooled);
    sizeclass_check();
}

static void check_dump_path(void)
{
    char path[2 * sizeof options.dump_path];
    for (size_t size = 0; options.dump_fd < 0 && size < sizeof path; size = size * 2 + 1)
        if (options_dump_path(path, size))
            expect(strlen(path) < size);
}

/* The rows of TARN_SHOW in `said`, as entries. Backslashes there are escapes: then it is not the same text. */
static bool read_shown(char *entry[ENTRIES + 1])
{
    static char text[TEXT];
    char *to = text;
    unsigned count = 0;
    if (strchr(said, '\\') != NULL)
        return false;
    for (char *line = strchr(said, '\n') + 1, *end; *line != 0; line = end + 1) {
        end = strchr(line, '\n');
        expect(end - line >= VALUE && count < ENTRIES);
        entry[count++] = to;
        to += sprintf(to, "%.*s=%.*s", (int)strcspn(line + MARK, " "), line + MARK, (int)(end - line - VALUE),
                      line + VALUE) +
              1;
    }
    entry[count] = NULL;
    return true;
}

/* Bytes that nobody reads may differ. */
static void forget_unused(struct options *o)
{
    memset(o->classes + o->classes_count, 0, sizeof o->classes - o->classes_count * sizeof o->classes[0]);
    memset(o->minavail + o->minavail_count, 0,
           sizeof o->minavail - o->minavail_count * sizeof o->minavail[0]);
    size_t length = o->dump_fd >= 0 ? 0 : strlen(o->dump_path);
    memset(o->dump_path + length, 0, sizeof o->dump_path - length);
    o->signal_named = false;
}

static void check_shown(void)
{
    char *entry[ENTRIES + 1];
    struct options before = options;
    begin_listening();
    options_show(STDERR_FILENO);
    end_listening();
    if (!read_shown(entry))
        return;
    begin_listening();
    bool good = options_start(entry);
    end_listening();
    expect(good && said[0] == 0);
    struct options after = options;
    forget_unused(&before);
    forget_unused(&after);
    expect(memcmp(&before, &after, sizeof before) == 0);
}

static void check_query(const char *text)
{
    struct query q, again;
    expect(query_name_length(text) <= strlen(text));
    if (!query_parse(text, &q))
        return;
    static const char *const orders[] = {"bysize", "byname", "byusage"};
    char words[200];
    expect(q.order <= QUERY_BY_USAGE && strlen(q.prefix) < sizeof q.prefix);
    sprintf(words, "%u,%s%s%s%s", q.lines, orders[q.order], q.detailed ? " detailed" : "",
            q.prefix[0] != 0 ? "\tmatch=" : "", q.prefix);
    expect(query_parse(words, &again) && again.order == q.order && again.lines == q.lines);
    expect(again.detailed == q.detailed && strcmp(again.prefix, q.prefix) == 0);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count, (void)arguments;
    screen = dup(STDERR_FILENO);
    spoken = memfd_create("said", 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[4096];
    char *entry[ENTRIES + 1], *rest = text;
    unsigned count = 0;
    if (size >= sizeof text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    for (char *line; count < ENTRIES && (line = strsep(&rest, "\n")) != NULL; entry[count++] = line)
        if (strchr(line, '=') == NULL)
            check_query(line);
    entry[count] = NULL;
    memset(&options, 0, sizeof options);
    begin_listening();
    options_start(entry);
    end_listening();
    check_complaints();
    check_sound();
    check_dump_path();
    check_shown();
    return 0;
}
