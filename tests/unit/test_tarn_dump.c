#include "options.h"
#include "tarn.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char text[1 << 16];

/* What the query prints; NULL as text where it is refused. */
static const char *dumped(const char *query)
{
    int fd = memfd_create("dump", 0);
    errno = ERANGE;
    int result = tarn_pools_dump(fd, query);
    cr_assert_eq(errno, result == 0 ? ERANGE : EINVAL);
    cr_assert(result == 0 || result == -1);
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    cr_assert_geq(length, 0);
    text[length] = '\0';
    cr_assert_eq(result == 0, length > 0);
    close(fd);
    return result == 0 ? text : NULL;
}

static bool has(const char *query, const char *name)
{
    char line[100] = "\n  - Pool ";
    return strstr(dumped(query), strcat(strcat(line, name), " ")) != NULL;
}

Test(tarn_pools_dump, shows_pools_that_were_made_and_malloc_s)
{
    struct tarn_pool *session = tarn_pool_create("session", 100, 0, 0),
                     *proxy = tarn_pool_create("proxy", 200, 0, 0);
    struct tarn_pool *merged = tarn_pool_create_at("later", 64, 0, TARN_SHARED, "src/later.c", 12);
    void *block = tarn_pool_alloc(session);
    cr_assert(block != NULL && proxy != NULL && merged != NULL);
    cr_expect(has("byname", "session") && has("byname", "proxy") && has("byname", "size-64"));
    cr_expect(has("byusage", "session") && !has("byusage", "proxy"));
    cr_expect(has("match s", "session") && has("match s", "size-64") && !has("match s", "proxy"));
    cr_expect_not_null(strstr(dumped("detailed match=size-64"),
                              "      > later: 64 bytes, align 0, SHARED, src/later.c:12\n"));
    cr_expect_not_null(strstr(dumped("match=session"), "Pool session (112 bytes) : "));
    tarn_pool_free(session, block);
    cr_expect(!has("byusage", "session"));
    cr_assert_null(tarn_pool_destroy(session));
    cr_expect(!has(NULL, "session") && has(NULL, "proxy"));
}

Test(tarn_pools_dump, without_a_query_asks_as_the_setting_says)
{
    cr_assert_not_null(tarn_pool_create("session", 100, 0, 0));
    cr_assert_not_null(tarn_pool_create("proxy", 100, 0, 0));
    strcpy(options.pools, "match=sess");
    cr_expect(has(NULL, "session") && !has(NULL, "proxy"));
    cr_expect(has("", "session") && has("", "proxy"));
}

Test(tarn_pools_dump, refuses_what_is_no_query)
{
    cr_expect_null(dumped("bycolour"));
    cr_expect_null(dumped("match"));
    cr_expect_null(dumped("1 2"));
}
