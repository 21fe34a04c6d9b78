/* How much of each class is really there: the kernel is asked, and the books only read. */
#include "region.h"

#include "system.h"

void region_resident(size_t by_class[CLASS_MAX])
{
    struct region_stats stats;
    region_stats(&stats);
    size_t end = stats.groups * GROUP_UNITS, unit = 0;
    for (unsigned c = 0; c < CLASS_MAX; c++)
        by_class[c] = 0;
    while (unit < end) {
        uint64_t mapped = READ_ONCE(region.groups[unit / GROUP_UNITS].row[ROW_MAPPED]);
        unsigned place = READ_ONCE(region.places[unit]);
        size_t first = unit;
        /* As many as are alike, within the group, in one question. */
        do
            unit++;
        while (unit % GROUP_UNITS != 0 && READ_ONCE(region.places[unit]) == place &&
               ((mapped >> unit % GROUP_UNITS ^ mapped >> first % GROUP_UNITS) & 1) == 0);
        void *at = (void *)(region.base + (first << UNIT_SHIFT)); // NOLINT(performance-no-int-to-ptr)
        if ((mapped >> first % GROUP_UNITS & 1) != 0)
            by_class[place >> PLACE_SHIFT] += system_resident(at, (unit - first) << UNIT_SHIFT);
    }
}
