/*
 * Criterion's tests without Criterion's runner, for ThreadSanitizer: the runner maps its shared arena where TSan
 * has its shadow, and aborts. Linked into a test program, the names below take the place of the library's; the
 * program's tests are found as the library finds them, and each runs in a child of its own.
 *
 * Knows what our tests use: init and fini (a suite's too), signal, exit_code, timeout, disabled. Not theories and
 * not parameters: those count as failed.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak)), *__stop_cr_sts[] __attribute__((weak));

static const struct criterion_test_extra_data *test, *suite;

void criterion_internal_test_setup(void)
{
    if (suite->init)
        suite->init();
    if (test->init)
        test->init();
}

void criterion_internal_test_main(void (*body)(void))
{
    body();
}

void criterion_internal_test_teardown(void)
{
    if (test->fini)
        test->fini();
    if (suite->fini)
        suite->fini();
}

void criterion_send_assert(struct criterion_assert_stats *assertion)
{
    if (!assertion->passed)
        printf("%s:%u: %s\n", assertion->file, assertion->line, assertion->message);
}

void cri_asserts_passed_incr(void) {}

void criterion_abort_test(void)
{
    fflush(stdout);
    _exit(1);
}

static int continued; /* past an expectation that was not met */

void criterion_continue_test(void)
{
    continued = 1;
}

static const struct criterion_test_extra_data *suite_of(const struct criterion_test *t)
{
    static const struct criterion_test_extra_data none;
    for (struct criterion_suite **s = __start_cr_sts; s < __stop_cr_sts; s++)
        if (*s && (*s)->data && strcmp((*s)->name, t->category) == 0)
            return (*s)->data;
    return &none;
}

static int run(const struct criterion_test *t)
{
    if (test->kind_ != CR_TEST_NORMAL)
        return 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        double timeout = test->timeout > 0 ? test->timeout : suite->timeout;
        alarm((unsigned)(timeout > 0 ? 4 * timeout + 1 : 0)); /* TSan takes its time */
        t->test();
        exit(continued);
    }
    int status = 0, signal = test->signal ? test->signal : suite->signal;
    waitpid(child, &status, 0);
    if (signal)
        return WIFSIGNALED(status) && WTERMSIG(status) == signal;
    return WIFEXITED(status) && WEXITSTATUS(status) == test->exit_code;
}

int main(void)
{
    int passing = 0, failing = 0;
    for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
        if (!*t || (*t)->data->disabled)
            continue;
        test = (*t)->data;
        suite = suite_of(*t);
        if (run(*t)) {
            passing++;
        } else {
            failing++;
            printf("[FAIL] %s::%s\n", (*t)->category, (*t)->name);
        }
    }
    printf("Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: 0\n", passing + failing, passing,
           failing);
    return failing != 0;
}
