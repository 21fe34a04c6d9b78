/*
 * refuser: a kernel that refuses: the calls of a child for memory, threads and waiting come to us first (seccomp's user
 * notification), and the Nth gets an error.
 *
 * Owns:       the child, and the order that both see.
 * Promises:   what is not refused is the kernel's; refused calls get what the kernel might answer: ENOMEM, and EAGAIN where a
 *             thread was to be made, or to wait.
 * Guarded by: nothing: the child writes `on`, this process the counts.
 * Never:      refuses while `on` is false.
 */
#ifndef TARN_VICTIM_REFUSER_H
#define TARN_VICTIM_REFUSER_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct refuser_call {
    const char *name;
    int number, error;
} refuser_calls[] = {
    {"mmap", SYS_mmap, ENOMEM},     {"munmap", SYS_munmap, ENOMEM},     {"madvise", SYS_madvise, EAGAIN},
    {"mremap", SYS_mremap, ENOMEM}, {"mprotect", SYS_mprotect, ENOMEM}, {"membarrier", SYS_membarrier, EPERM},
    {"futex", SYS_futex, EAGAIN},   {"clone3", SYS_clone3, EAGAIN},
};
enum { REFUSER_CALLS = sizeof refuser_calls / sizeof refuser_calls[0] };

static struct refuser {
    volatile bool on;
    volatile int listener; /* its number in the child; 0: none yet, -1: it can't be had */
    volatile bool ready;
    const char *name; /* of the one call that counts; NULL: all do */
    unsigned long after, count, calls, refused;
} * refuser;

static inline void refuser_install(void)
{
    struct sock_filter filter[REFUSER_CALLS + 3];
    unsigned n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < REFUSER_CALLS; i++)
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                   (unsigned)refuser_calls[i].number, REFUSER_CALLS - i, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {(unsigned short)n, filter};
    syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0,
            0); /* tarn would see prctl, and not call what it may not */
    refuser->listener =
        (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    while (refuser->listener > 0 && !refuser->ready)
        usleep(100);
}

/* Memory that is a file's is the loader's affair, and who wakes others must not fail. */
static inline bool refuser_may(const struct refuser_call *call, const struct seccomp_data *data)
{
    if (call->number == SYS_mmap && !(data->args[3] & MAP_ANONYMOUS))
        return false;
    int operation = (int)data->args[1] & FUTEX_CMD_MASK;
    if (call->number == SYS_futex && operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET)
        return false;
    return refuser->on && (refuser->name == NULL || strcmp(refuser->name, call->name) == 0);
}

static inline void refuser_answer(int listener)
{
    struct seccomp_notif asked = {0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0)
        return; /* a signal ended it */
    struct seccomp_notif_resp answer = {.id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    const struct refuser_call *call = refuser_calls;
    while (call->number != asked.data.nr)
        call++;
    if (refuser_may(call, &asked.data)) {
        unsigned long n = refuser->calls++;
        if (n >= refuser->after && n - refuser->after < refuser->count) {
            refuser->refused++;
            answer.flags = 0;
            answer.error = -call->error;
        }
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

static inline void refuser_serve(pid_t child)
{
    while (refuser->listener == 0)
        usleep(100);
    int pid = (int)syscall(SYS_pidfd_open, child, 0);
    int listener = refuser->listener < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pid, refuser->listener, 0);
    if (listener < 0) {
        printf("no notifications of system calls: %s\n", strerror(errno));
        kill(child, SIGKILL);
        exit(77);
    }
    refuser->ready = true;
    struct pollfd events = {.fd = listener, .events = POLLIN};
    while (poll(&events, 1, -1) == 1 && (events.revents & POLLIN) != 0)
        refuser_answer(listener);
    close(listener);
    close(pid);
}

/* `act` in a child; of the calls named (NULL: of all) that it makes while `on`, the `after`th and `count - 1` more are
   refused. Its exit status, or 1000 and the signal. */
static inline int refuser_run(void (*act)(void), const char *name, unsigned long after, unsigned long count)
{
    if (refuser == NULL)
        refuser = mmap(NULL, sizeof *refuser, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *refuser = (struct refuser){.name = name, .after = after, .count = count};
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        refuser_install();
        act();
        _exit(2);
    }
    refuser_serve(child);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#endif
