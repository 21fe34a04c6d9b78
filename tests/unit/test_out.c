#include "out.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The program's own syscall comes before libc's: it counts the writes, and can make each of them a short one. */
static size_t most = SIZE_MAX;
static unsigned writes;

long syscall(long number, ...)
{
    long a, b, c, d;
    va_list list;
    va_start(list, number);
    a = va_arg(list, long);
    b = va_arg(list, long);
    c = va_arg(list, long);
    d = va_arg(list, long);
    va_end(list);
    if (number == SYS_write) {
        c = (size_t)c < most ? c : (long)most;
        writes++;
    }
    static long (*real)(long, ...);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a, b, c, d);
}

/* What was written to the file `fd`, from its begin. */
static const char *written(int fd)
{
    static char text[20000];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    cr_assert_geq(n, 0);
    text[n] = 0;
    return text;
}

static int file(void)
{
    int fd = memfd_create("out", 0);
    cr_assert_geq(fd, 0);
    return fd;
}

#define EXPECT(text, ...)                                                                                    \
    do {                                                                                                     \
        struct out expect_out;                                                                               \
        int expect_fd = file();                                                                              \
        out_start(&expect_out, expect_fd);                                                                   \
        out_print(&expect_out, __VA_ARGS__);                                                                 \
        out_flush(&expect_out);                                                                              \
        cr_expect_str_eq(written(expect_fd), text);                                                          \
        close(expect_fd);                                                                                    \
    } while (0)

Test(out, text)
{
    EXPECT("", "");
    EXPECT("plain", "plain");
    EXPECT("100% of a", "100%% of %c", 'a');
    EXPECT("[word] [(null)] []", "[%s] [%s] [%s]", "word", (char *)NULL, "");
    EXPECT("a y", "a %y");
}

Test(out, numbers)
{
    EXPECT("0 7 -7 2147483647 -2147483648", "%d %d %d %d %d", 0, 7, -7, INT_MAX, INT_MIN);
    EXPECT("0 4294967295", "%u %u", 0u, UINT_MAX);
    EXPECT("18446744073709551615 18446744073709551615 9", "%lu %llu %lu", UINT64_MAX, UINT64_MAX,
           (uint64_t)9);
    EXPECT("18446744073709551615", "%zu", SIZE_MAX);
    EXPECT("0 ff ffffffff", "%x %x %x", 0u, 255u, UINT_MAX);
    EXPECT("0x0 0x7ffd12ab 0xffffffffffffffff", "%p %p %p", NULL, (void *)0x7ffd12ab, (void *)UINTPTR_MAX);
    EXPECT("1 22 3", "%d %zu %s", 1, (size_t)22, "3"); /* each takes exactly its own argument */
}

Test(out, widths)
{
    EXPECT("[   ab] [ab   ] [abcdef]", "[%5s] [%-5s] [%5s]", "ab", "ab", "abcdef");
    EXPECT("[   -7] [-7   ] [         1]", "[%5d] [%-5d] [%10lu]", -7, -7, (uint64_t)1);
    EXPECT("[   0x1f] [ 1.0k] [  x]", "[%7p] [%5b] [%3c]", (void *)0x1f, (size_t)1024, 'x');
    char wide[301];
    memset(wide, ' ', 300);
    strcpy(wide + 299, "x");
    EXPECT(wide, "%300s", "x");
}

Test(out, bytes_for_people)
{
    static const struct {
        size_t n;
        const char *text;
    } table[] = {
        {0, "0"},
        {512, "512"},
        {1023, "1023"},
        {1024, "1.0k"},
        {1075, "1.0k"}, /* 1.0498 */
        {1076, "1.1k"}, /* 1.0508 */
        {65536, "64.0k"},
        {1048524, "1023.9k"},
        {1048525, "1.0M"}, /* rounds up to 1024.0k */
        {1048576, "1.0M"},
        {1572864, "1.5M"},
        {(size_t)2 << 30, "2.0G"},
        {(size_t)3 << 40, "3.0T"},
        {(size_t)5 << 50, "5.0P"},
        {(size_t)1 << 60, "1.0E"},
        {SIZE_MAX, "16.0E"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++)
        EXPECT(table[i].text, "%b", table[i].n);
}

Test(out, longer_than_the_buffer_is_never_cut)
{
    struct out o;
    char expected[5001];
    int fd = file();
    out_start(&o, fd);
    for (int i = 0; i < 1000; i++) {
        out_print(&o, "%5d", i);
        for (int k = 0, n = i; k < 5; k++, n /= 10)
            expected[i * 5 + 4 - k] = (char)(n > 0 || k == 0 ? '0' + n % 10 : ' ');
    }
    expected[5000] = 0;
    out_flush(&o);
    cr_expect_str_eq(written(fd), expected);
    out_flush(&o); /* nothing is waiting any more */
    cr_expect_eq(lseek(fd, 0, SEEK_END), 5000);

    fd = file();
    out_start(&o, fd);
    out_print(&o, "<%s>", expected);
    out_flush(&o);
    cr_expect_eq(strlen(written(fd)), 5002);
}

Test(out, nothing_is_written_before_the_flush)
{
    struct out o;
    int fd = file();
    out_start(&o, fd);
    out_print(&o, "waiting");
    cr_expect_str_eq(written(fd), "");
    out_flush(&o);
    cr_expect_str_eq(written(fd), "waiting");
}

Test(out, without_a_descriptor_it_goes_nowhere)
{
    struct out o;
    int before = errno = 0;
    out_start(&o, -1);
    for (int i = 0; i < 500; i++)
        out_print(&o, "%100s", "x");
    out_flush(&o);
    cr_expect_eq(o.used, 0);
    cr_expect_eq(errno, before);
    cr_expect_eq(writes, 0);
}

Test(out, errno_is_kept_and_what_can_not_be_written_is_dropped)
{
    struct out o;
    int closed = file();
    close(closed);
    errno = ERANGE;
    out_start(&o, closed);
    out_print(&o, "lost %d", 1);
    out_flush(&o);
    cr_expect_eq(errno, ERANGE);
    cr_expect_eq(o.used, 0);

    int full[2];
    cr_assert_eq(pipe2(full, O_NONBLOCK), 0);
    out_start(&o, full[1]);
    errno = ERANGE;
    for (int i = 0; i < 20000; i++)
        out_print(&o, "more than a pipe holds %d ", i);
    out_flush(&o);
    cr_expect_eq(errno, ERANGE);
}

/* A pipe whose reader has gone raises SIGPIPE, which would end the program. */
Test(out, a_reader_that_has_gone_does_not_end_the_program)
{
    int broken[2];
    sigset_t pending, pipe_only, now;
    cr_assert_eq(pipe(broken), 0);
    close(broken[0]);
    struct out o;
    out_start(&o, broken[1]);
    out_print(&o, "nobody reads this");
    signal(SIGPIPE, SIG_DFL);
    out_flush(&o);
    sigpending(&pending);
    cr_expect_not(sigismember(&pending, SIGPIPE));
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    cr_expect_not(sigismember(&now, SIGPIPE), "the mask is as it was");

    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
    raise(SIGPIPE); /* the program's own */
    out_print(&o, "nobody reads this");
    out_flush(&o);
    sigpending(&pending);
    cr_expect(sigismember(&pending, SIGPIPE), "a signal that was waiting before still waits");
}

static volatile sig_atomic_t alarms;

static void count_alarm(int signal)
{
    (void)signal;
    alarms++;
}

static void *read_slowly(void *pipe_end)
{
    static char text[200000];
    size_t used = 0;
    for (ssize_t n; usleep(2000), (n = read(*(int *)pipe_end, text + used, 4000)) > 0;)
        used += (size_t)n;
    text[used] = 0;
    return text;
}

Test(out, short_writes_are_continued)
{
    most = 7;
    EXPECT("twenty letters, as it happens", "%s letters, as it %s", "twenty", "happens");
    cr_expect_eq(writes, 5);
}

/* A slow reader makes write(2) wait, and a timer's signals make it end with EINTR. */
Test(out, interruptions_are_continued, .timeout = 30)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 4096);
    pthread_t reader;
    sigset_t alarm_only;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, NULL); /* the reader inherits this: the writer gets them all */
    cr_assert_eq(pthread_create(&reader, NULL, read_slowly, &ends[0]), 0);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = count_alarm}, NULL); /* without SA_RESTART */
    timer_t timer;
    struct itimerspec often = {.it_interval = {0, 300000}, .it_value = {0, 300000}};
    cr_assert_eq(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
    cr_assert_eq(timer_settime(timer, 0, &often, NULL), 0);

    struct out o;
    out_start(&o, ends[1]);
    for (int i = 0; i < 10000; i++)
        out_print(&o, "%-9d\n", i);
    out_flush(&o);
    timer_delete(timer);
    close(ends[1]);
    char *text;
    pthread_join(reader, (void **)&text);
    cr_expect_gt(alarms, 10);
    cr_expect_eq(strlen(text), 100000);
    for (int i = 0; i < 10000; i++)
        cr_assert_eq(atoi(text + i * 10L), i);
}

/* write(2) is a cancellation point; free() must not be one. */
static void *print_while_cancelled(void *fd)
{
    struct out o;
    pthread_cancel(pthread_self());
    out_start(&o, *(int *)fd);
    out_print(&o, "still here");
    out_flush(&o);
    return fd;
}

Test(out, no_cancellation_point)
{
    int fd = file();
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, print_while_cancelled, &fd), 0);
    pthread_join(thread, &result);
    cr_expect_eq(result, &fd);
    cr_expect_str_eq(written(fd), "still here");
}

Test(out, a_complaint_is_one_line_on_descriptor_2_by_one_write)
{
    /* A packet-mode pipe keeps writes apart. */
    int ends[2];
    char text[2000];
    cr_assert_eq(pipe2(ends, O_DIRECT), 0);
    int real = dup(2);
    dup2(ends[1], 2);
    errno = ERANGE;
    out_complain("%s is %d", "it", 3);
    int error = errno;
    dup2(real, 2);
    ssize_t n = read(ends[0], text, sizeof text);
    cr_assert_gt(n, 0);
    cr_expect_eq(error, ERANGE);
    cr_expect_eq(n, (ssize_t)strlen("tarn: it is 3\n"));
    cr_expect_arr_eq(text, "tarn: it is 3\n", (size_t)n);
}
