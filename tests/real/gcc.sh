#!/bin/bash
# gcc -O2 under tarn: the object file of a large source is the same to the byte.
. "$(dirname "$0")/lib.sh"
need gcc awk cmp

awk 'BEGIN {
    print "struct node { struct node *next; int key; double weight; char name[24]; };"
    for (i = 0; i < 3000; i++) {
        if (i >= 600) {
            printf "long small%d(long a, long b) { return (a * %d + b) %% (a ^ %d ? a ^ %d : %d); }\n", i, i, i, i, i
            continue
        }
        printf "static int table%d[%d] = { %d, %d, %d };\n", i, 4 + i % 60, i, i * 3 % 101, i * 7 % 13
        printf "int work%d(struct node *list, int n)\n{\n    int sum = %d;\n", i, i
        printf "    for (struct node *p = list; p; p = p->next) {\n"
        printf "        if (p->key %% %d == n) sum += table%d[n & 3] * p->key;\n", 2 + i % 17, i
        printf "        else if (p->name[%d] > n) sum -= (int)(p->weight * %d.5);\n", i % 24, i % 31
        if (i % 4 == 0) printf "        switch (p->key & 7) { case 0: sum ^= n; break; case %d: sum += %d; break; }\n", 1 + i % 7, i
        print "    }"
        if (i > 0) printf "    return n > %d ? work%d(list, n - 1) + sum : sum;\n}\n", i % 9, i - 1
        else print "    return sum;\n}"
    }
}' >large.c

compile() { # HOW: the object file keeps its name, which it may hold
    "$1" work gcc -O2 -c large.c -o large.o
    mv large.o "$1.o"
}
compile plain
compile tarn
expect "gcc: compiles without tarn" same_text "$(cat work.plain.status)" 0
alike work 4000000
expect "the object files are the same" cmp plain.o tarn.o
expect "and not small" at_least "$(wc -c <tarn.o)" 200000

exit $failed
