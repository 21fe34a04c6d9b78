/*
 * Processes that share the memory of the one that made them, by clone(CLONE_VM): the child works on its maker's heap,
 * as its maker, who waits. From main, and from threads while others allocate. Says "done".
 */
#include "confined.h"
#include "victim.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK = 256 * 1024, TURNS = 25 };

struct errand {
    char *from_parent, *from_child;
    int kill_at_end;
};

static int run_errand(void *context)
{
    struct errand *e = context;
    bool good = e->from_parent[0] == 'p' && e->from_parent[49999] == 'p';
    free(e->from_parent);
    good = confined_work(3000, 300000) && good;
    e->from_child = memset(malloc(40000), 'c', 40000);
    if (e->kill_at_end)
        kill(getpid(), SIGKILL);
    _exit(good ? 0 : 1);
}

static bool turn(int flags, int kill_at_end)
{
    struct errand e = {.from_parent = memset(malloc(50000), 'p', 50000), .kill_at_end = kill_at_end};
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status = -1, wanted = kill_at_end ? SIGKILL : 0;
    pid_t child = clone(run_errand, stack + STACK, CLONE_VM | SIGCHLD | flags, &e);
    bool good = child > 0 && waitpid(child, &status, 0) == child && status == wanted;
    good = good && e.from_child[0] == 'c' && e.from_child[39999] == 'c';
    e.from_child = realloc(e.from_child, 100000);
    good = good && e.from_child[39999] == 'c' && confined_work(1000, 300000);
    free(e.from_child);
    munmap(stack, STACK);
    return good;
}

static void *turns(void *context)
{
    static const int flags[] = {CLONE_VFORK, 0, CLONE_VFORK | CLONE_FILES | CLONE_FS, CLONE_FILES};
    for (int i = 0; i < TURNS; i++)
        if (!turn(flags[i % 4], i % 5 == 4))
            return NULL;
    return context;
}

int main(void)
{
    pthread_t thread[4];
    expect(turns(thread) != NULL);
    for (int t = 0; t < 4; t++)
        pthread_create(&thread[t], NULL, t < 2 ? turns : confined_thread, thread);
    for (int t = 0; t < 4; t++) {
        void *result = NULL;
        pthread_join(thread[t], &result);
        expect(result != NULL);
    }
    expect(turns(thread) != NULL);
    printf("done\n");
    return victim_verdict();
}
