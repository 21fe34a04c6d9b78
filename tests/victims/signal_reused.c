/* A daemon closes descriptor 2 and its data file gets the number: argv[1] must hold its data and nothing
 * else. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 2)
        return 3;
    free(malloc(100));
    close(2);
    if (dup2(open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600), 2) !=
        2) /* standard input may be closed, too */
        return 1;
    if (write(2, "data\n", 5) != 5)
        return 2;
    raise(SIGQUIT);
    free(malloc(100));
    raise(SIGQUIT);
    return 42;
}
