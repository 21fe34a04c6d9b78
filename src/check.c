#include "check.h"

#include <string.h>
#include <unistd.h>

static size_t append(char *line, size_t used, size_t size, const char *text)
{
    size_t length = strlen(text);
    if (length > size - used)
        length = size - used;
    memcpy(line + used, text, length);
    return used + length;
}

void check_failed(const char *file, int line, const char *what)
{
    char text[512], digits[12];
    size_t n = 0, d = sizeof digits;
    digits[--d] = 0;
    do
        digits[--d] = (char)('0' + line % 10);
    while ((line /= 10) > 0);
    n = append(text, n, sizeof text, "tarn: internal error: ");
    n = append(text, n, sizeof text, file);
    n = append(text, n, sizeof text, ":");
    n = append(text, n, sizeof text, digits + d);
    n = append(text, n, sizeof text, ": ");
    n = append(text, n, sizeof text, what);
    n = append(text, n, sizeof text, "\n");
    ssize_t ignored = write(STDERR_FILENO, text, n);
    (void)ignored;
    __builtin_trap();
}
