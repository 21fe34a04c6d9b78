/*
 * other: another thread, which does what it is told while who told it waits: what lies in whose cache is the input's
 * to say, and each run of it is the same.
 */
#ifndef TARN_TESTS_OTHER_H
#define TARN_TESTS_OTHER_H

#include "fuzz.h"
#include "system.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

/* system_memory, of a small machine: tarn's checks go through a map of all the addresses it has, at each input's end. */
size_t __wrap_system_memory(void); // NOLINT(bugprone-reserved-identifier)
size_t __wrap_system_memory(void)  // NOLINT(bugprone-reserved-identifier)
{
    return (size_t)1 << 28;
}

struct other {
    pthread_t thread;
    bool is_there;
    sem_t wanted, done;
    void (*what)(const void *); /* NULL: end */
    const void *argument;
};

/* libFuzzer has a timer. */
static void other_wait(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        continue;
}

static void *other_obey(void *argument)
{
    struct other *o = argument;
    for (; other_wait(&o->wanted), o->what != NULL; sem_post(&o->done))
        o->what(o->argument);
    return NULL;
}

/* Made when it is first needed. */
static void other_do(struct other *o, void (*what)(const void *), const void *argument)
{
    if (!o->is_there) {
        sem_init(&o->wanted, 0, 0);
        sem_init(&o->done, 0, 0);
        expect(pthread_create(&o->thread, NULL, other_obey, o) == 0);
        o->is_there = true;
    }
    o->what = what;
    o->argument = argument;
    sem_post(&o->wanted);
    other_wait(&o->done);
}

static void other_end(struct other *o)
{
    if (!o->is_there)
        return;
    o->what = NULL;
    sem_post(&o->wanted);
    pthread_join(o->thread, NULL);
    o->is_there = false;
}

#endif
