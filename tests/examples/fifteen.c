#include <tarn.h>

int main(void)
{
    struct tarn_pool *sessions = tarn_pool_create("session", 200, 0, 0); /* bytes, alignment, flags */
    struct tarn_pool_stats now = {.version = TARN_POOL_STATS_VERSION};
    void *first = tarn_pool_alloc(sessions), *second = tarn_pool_zalloc(sessions);

    tarn_pool_free(sessions, first);
    tarn_pools_dump(1, "match session"); /* on stdout: 208 bytes each, 1 used */
    tarn_pool_free(sessions, second);
    tarn_pool_stats(sessions, &now);
    tarn_pool_destroy(sessions);
    return now.used == 0 ? 0 : 1;
}
