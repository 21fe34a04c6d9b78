/*
 * fuzz: what the fuzzers share: numbers out of libFuzzer's bytes, and an end that says what was wrong.
 */
#ifndef TARN_TESTS_FUZZ_H
#define TARN_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What libFuzzer calls; each input is to leave nothing behind. */
int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

/* Behind its end an input goes on with zeroes. */
static inline size_t input_byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static inline size_t input_number(struct input *in, int bytes)
{
    size_t n = 0;
    while (bytes-- > 0)
        n = n << 8 | input_byte(in);
    return n;
}

/* libFuzzer keeps the input of who aborts. */
#define expect(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                          \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#endif
