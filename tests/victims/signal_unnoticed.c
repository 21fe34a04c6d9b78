/*
 * What the signal interrupts must not notice it: errno stays (the handler meets EBADF: descriptor 2 is closed
 * when argv[1] says so), the signal mask stays, a read goes on, and a thread with a cancellation pending is not
 * cancelled in the handler.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile int went_on;

static void *cancelled_already(void *unused)
{
    pthread_cancel(pthread_self());
    pthread_kill(pthread_self(), SIGQUIT); /* no cancellation point, nor is what follows */
    went_on = 1;
    pthread_testcancel();
    return unused;
}

static int ends[2];

static void *write_late(void *reader)
{
    for (int i = 0; i < 3; i++) {
        usleep(20000);
        pthread_kill(*(pthread_t *)reader, SIGQUIT);
    }
    usleep(20000);
    return write(ends[1], "x", 1) == 1 ? NULL : reader;
}

/* A read that signals strike while it waits returns the byte that comes at last. */
static int reads_on(void)
{
    pthread_t writer, self = pthread_self();
    char byte;
    if (pipe(ends) != 0)
        return 0;
    pthread_create(&writer, NULL, write_late, &self);
    int got = read(ends[0], &byte, 1) == 1;
    pthread_join(writer, NULL);
    return got;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    sigset_t before, after;
    free(malloc(100));
    if (argc > 1 && strcmp(argv[1], "closed") == 0)
        close(2);
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    errno = 77;
    raise(SIGQUIT);
    if (errno != 77)
        return 1;
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    for (int signal = 1; signal < 65; signal++)
        if (sigismember(&before, signal) != sigismember(&after, signal))
            return 2;
    pthread_create(&thread, NULL, cancelled_already, NULL);
    pthread_join(thread, NULL);
    if (!went_on)
        return 3;
    return reads_on() ? 42 : 4;
}
