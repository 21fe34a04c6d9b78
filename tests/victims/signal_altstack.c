/*
 * Signals on an alternate stack of the customary 8 KiB, with nothing below it: the dump fits, or the program
 * dies. The descriptor of a page that can't be touched lies right under the stack.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { STACK = 8192, GUARD = 65536, PAINT = 0x5a };

int main(void)
{
    unsigned char *guard = mmap(NULL, GUARD + STACK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *bottom = guard + GUARD;
    stack_t stack = {.ss_sp = bottom, .ss_size = STACK};
    if (guard == MAP_FAILED || mprotect(bottom, STACK, PROT_READ | PROT_WRITE) != 0)
        return 1;
    memset(bottom, PAINT, STACK);
    if (sigaltstack(&stack, NULL) != 0)
        return 77; /* this processor's signal frame alone is bigger */
    free(malloc(100));
    raise(SIGQUIT);
    int untouched = 0;
    while (untouched < STACK && bottom[untouched] == PAINT)
        untouched++;
    printf("%d bytes of %d\n", STACK - untouched, STACK);
    return untouched == STACK ? 2 : 42; /* 2: the handler did not run there at all */
}
