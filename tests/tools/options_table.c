/* Prints the table of settings as the README has it; scripts/check-options.sh compares the two. */
#include "options.h"

int main(void)
{
    options_help(1, true);
    return 0;
}
