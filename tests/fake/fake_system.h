/*
 * fake_system: the door to the kernel, which refuses on order, and counts.
 *
 * Linked in place of src/system.c. Beyond the orders it behaves as the real one, limits and page size of the
 * machine aside: it claims 4 GiB of memory and no limit.
 */
#ifndef TARN_FAKE_SYSTEM_H
#define TARN_FAKE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>

/* From now on the `after`th call that could refuse (0: the next) does, and the `count - 1` behind it too;
   system_protect refuses half-way, system_move leaves everything as it was. */
void fake_refuse(size_t after, size_t count);
void fake_refuse_none(void);

/* Then a system_move that is refused tears the place that it was to move to. */
void fake_tear(bool tears);

/* The next `count` calls of system_map_at find the place occupied. */
void fake_occupy(size_t count);

/* Calls that could have refused so far, and those that did. */
size_t fake_calls(void);
size_t fake_refused(void);

/* What system_limit answers; SIZE_MAX at first. */
void fake_limit(size_t bytes);

/* The clock of system_now, ms: it stands still unless moved. */
void fake_advance(size_t ms);

/* While the gate is closed, whoever calls system_map_at or system_discard waits before it; fake_waiting says how many
   do. */
void fake_gate(bool closed);
size_t fake_waiting(void);

/* Calls of system_discard so far. */
size_t fake_discards(void);

#endif
