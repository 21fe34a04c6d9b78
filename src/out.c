#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DIGITS_MAX = 24 }; /* 2^64 in decimal, or 0x and 16 hexadecimal digits, or a size for people */

/* How one directive of a format wants its text laid out. */
struct layout {
    bool left;
    unsigned width;
};

void out_start(struct out *o, int fd)
{
    o->fd = fd;
    o->used = 0;
}

/* syscall(), because write() is a cancellation point: a thread that is being cancelled must not end inside free. */
static bool write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        long done = syscall(SYS_write, fd, text, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        text += done;
        n -= (size_t)done;
    }
    return true;
}

/* If the reader of a pipe has gone, or a file is as long as it may be (RLIMIT_FSIZE), the signal is ours and not the
   program's: it is taken back. */
static void write_unharmed(int fd, const char *text, size_t n)
{
    sigset_t ours, before, pending;
    sigemptyset(&ours);
    sigaddset(&ours, SIGPIPE);
    sigaddset(&ours, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    sigpending(&pending);
    bool failed = !write_all(fd, text, n);
    int signal = failed && errno == EPIPE ? SIGPIPE : failed && errno == EFBIG ? SIGXFSZ : 0;
    if (signal != 0 && !sigismember(&pending, signal)) {
        sigemptyset(&ours);
        sigaddset(&ours, signal);
        syscall(SYS_rt_sigtimedwait, &ours, NULL, &(struct timespec){0}, _NSIG / 8);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void out_flush(struct out *o)
{
    if (o->fd >= 0 && o->used > 0) {
        int error = errno;
        write_unharmed(o->fd, o->text, o->used);
        errno = error;
    }
    o->used = 0;
}

static void put(struct out *o, const char *text, size_t n)
{
    while (n > 0) {
        if (o->used == sizeof o->text)
            out_flush(o);
        size_t room = sizeof o->text - o->used;
        size_t piece = n < room ? n : room;
        memcpy(o->text + o->used, text, piece);
        o->used += (unsigned)piece;
        text += piece;
        n -= piece;
    }
}

static void pad(struct out *o, size_t n, unsigned width)
{
    for (; n < width; n++)
        put(o, " ", 1);
}

static void put_field(struct out *o, struct layout layout, const char *text, size_t n)
{
    if (!layout.left)
        pad(o, n, layout.width);
    put(o, text, n);
    if (layout.left)
        pad(o, n, layout.width);
}

/* Writes the digits of `n` so that they end before `end`; returns the first. */
static char *digits(char *end, uint64_t n, unsigned base)
{
    do
        *--end = "0123456789abcdef"[n % base];
    while ((n /= base) > 0);
    return end;
}

static void put_number(struct out *o, struct layout layout, const char *sign, uint64_t n, unsigned base)
{
    char text[DIGITS_MAX], *end = text + sizeof text, *first = digits(end, n, base);
    size_t length = strlen(sign);
    first -= length;
    memcpy(first, sign, length);
    put_field(o, layout, first, (size_t)(end - first));
}

/* One rounded decimal; what rounds up to 1024 is one of the next unit. */
static void put_bytes(struct out *o, struct layout layout, size_t n)
{
    static const char units[] = "kMGTPE";
    if (n < 1024) {
        put_number(o, layout, "", n, 10);
        return;
    }
    unsigned unit = 0;
    while (unit < 5 && n >> (10 * unit + 20) > 0)
        unit++;
    size_t one = (size_t)1 << (10 * unit + 10);
    size_t whole = n / one, tenths = (n % one * 10 + one / 2) / one;
    whole += tenths / 10;
    tenths %= 10;
    if (whole == 1024 && unit < 5) {
        whole = 1;
        unit++;
    }
    char text[DIGITS_MAX], *end = text + sizeof text, *first = end;
    *--first = units[unit];
    *--first = (char)('0' + tenths);
    *--first = '.';
    first = digits(first, whole, 10);
    put_field(o, layout, first, (size_t)(end - first));
}

/* Reads "-12" of "%-12s"; returns what follows. */
static const char *read_layout(const char *format, struct layout *layout)
{
    *layout = (struct layout){.left = *format == '-'};
    format += layout->left;
    for (; *format >= '0' && *format <= '9'; format++)
        layout->width = layout->width * 10 + (unsigned)(*format - '0');
    return format;
}

static void print_list(struct out *o, const char *format, va_list list)
{
    while (*format != 0) {
        size_t plain = (size_t)(strchrnul(format, '%') - format);
        put(o, format, plain);
        format += plain;
        if (*format == 0)
            break;
        struct layout layout;
        format = read_layout(format + 1, &layout);
        bool wide = *format == 'l' || *format == 'z'; /* on every machine we know, as wide as a size_t */
        while (*format == 'l' || *format == 'z')
            format++;
        switch (*format) {
        case 's': {
            const char *text = va_arg(list, const char *);
            text = text != NULL ? text : "(null)";
            put_field(o, layout, text, strlen(text));
            break;
        }
        case 'c': {
            char c = (char)va_arg(list, int);
            put_field(o, layout, &c, 1);
            break;
        }
        case 'd': {
            int n = va_arg(list, int);
            put_number(o, layout, n < 0 ? "-" : "", n < 0 ? -(uint64_t)n : (uint64_t)n, 10);
            break;
        }
        case 'u':
            put_number(o, layout, "", wide ? va_arg(list, uint64_t) : va_arg(list, unsigned), 10);
            break;
        case 'x':
            put_number(o, layout, "", va_arg(list, unsigned), 16);
            break;
        case 'p':
            put_number(o, layout, "0x", (uintptr_t)va_arg(list, const void *), 16);
            break;
        case 'b':
            put_bytes(o, layout, va_arg(list, size_t));
            break;
        default: /* "%%", or a mistake, which is better seen than read */
            put(o, format, *format != 0);
        }
        format += *format != 0;
    }
}

void out_print(struct out *o, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_list(o, format, list);
    va_end(list);
}

/* fstat by another name: glibc's own hands the kernel an empty string of its own, where nothing else is read at a start,
   and that is a page fault of 64 KiB (3 us). */
static bool look(int fd, struct stat *now)
{
    return fd >= 0 && fstatat(fd, "", now, AT_EMPTY_PATH) == 0;
}

void out_remember(struct out_file *file, int fd)
{
    struct stat now;
    file->fd = -1;
    if (!look(fd, &now))
        return;
    *file = (struct out_file){fd, now.st_dev, now.st_rdev, now.st_ino};
}

bool out_is_same(const struct out_file *file)
{
    struct stat now;
    return look(file->fd, &now) && now.st_dev == file->device && now.st_ino == file->inode &&
           now.st_rdev == file->special;
}

static struct out_file standard_error;
static bool remembered;

void out_remember_stderr(void)
{
    int before = errno;
    out_remember(&standard_error, STDERR_FILENO);
    remembered = true;
    errno = before;
}

int out_stderr(void)
{
    int before = errno;
    int fd = !remembered || out_is_same(&standard_error) ? STDERR_FILENO : -1;
    errno = before;
    return fd;
}

void out_complain(const char *format, ...)
{
    struct out o;
    va_list list;
    out_start(&o, out_stderr());
    out_print(&o, "tarn: ");
    va_start(list, format);
    print_list(&o, format, list);
    va_end(list);
    out_print(&o, "\n");
    out_flush(&o);
}
