/* What programs are made of: trees, lists, hash tables of strings; and what a walk through them costs later. */
#include "micro.h"

#include "../tools/random.h"

#include <string.h>

enum { SIZES_MASK = SIZES - 1, STAYS = 16, TEXT_MOST = 64, BUCKETS_LEAST = 16 };

struct node {
    struct node *left, *right;
    uint64_t key;
};

/* A balanced tree of `count` nodes, made in the order in which it is walked. */
static struct node *tree_build(struct worker *w, size_t count)
{
    struct node *node;

    if (count == 0)
        return NULL;
    node = malloc(w->size[w->at++ & SIZES_MASK]);
    node->key = count;
    node->left = tree_build(w, (count - 1) / 2);
    node->right = tree_build(w, count - 1 - (count - 1) / 2);
    return node;
}

static uint64_t tree_sum(const struct node *node)
{
    return node ? node->key + tree_sum(node->left) + tree_sum(node->right) : 0;
}

static void tree_free(struct node *node)
{
    if (!node)
        return;
    tree_free(node->left);
    tree_free(node->right);
    free(node);
}

static volatile uint64_t sum; /* that walks are not left out */

static uint64_t work_tree(struct worker *w, uint64_t ops)
{
    size_t live = w->line->live;
    uint64_t done;

    for (done = 0; done < ops; done += live) {
        struct node *root = tree_build(w, live);

        sum += tree_sum(root);
        tree_free(root);
    }
    return done;
}

/* A program that has run for a while: twice as many blocks came, and most of them went in random order. */
static void churn(struct worker *w)
{
    size_t count = 2 * w->line->live;

    w->slot = table_new(count * sizeof(*w->slot));
    order_shuffle(w, count);
    for (size_t i = 0; i < count; i++)
        w->slot[i] = touched(malloc(w->size[i & SIZES_MASK]));
    for (size_t i = 0; i < count; i++) {
        if (w->order[i] % STAYS != 0)
            free(w->slot[w->order[i]]);
    }
}

static void prepare_tree_walk(struct worker *w)
{
    churn(w);
    w->slot[0] = tree_build(w, w->line->live);
}

static uint64_t work_tree_walk(struct worker *w, uint64_t ops)
{
    uint64_t done;

    for (done = 0; done < ops; done += w->line->live)
        sum += tree_sum(w->slot[0]);
    return done;
}

static void prepare_list_walk(struct worker *w)
{
    struct node *head = NULL, **end = &head;

    churn(w);
    for (size_t i = 0; i < w->line->live; i++) {
        *end = malloc(w->size[i & SIZES_MASK]);
        (*end)->key = i;
        end = &(*end)->right;
    }
    *end = NULL;
    w->slot[0] = head;
}

static uint64_t work_list_walk(struct worker *w, uint64_t ops)
{
    uint64_t done;

    for (done = 0; done < ops; done += w->line->live) {
        for (const struct node *node = w->slot[0]; node; node = node->right)
            sum += node->key;
    }
    return done;
}

/* A hash table of strings: an entry, its name, its value; the bucket array doubles as the table fills. */
struct entry {
    struct entry *next;
    uint64_t key;
    char *name, *value;
};

struct hash {
    struct entry **bucket;
    size_t mask, count;
};

static struct entry **hash_place(struct hash *hash, uint64_t key)
{
    struct entry **at = &hash->bucket[(key * 0x9E3779B97F4A7C15u >> 32) & hash->mask];

    while (*at && (*at)->key != key)
        at = &(*at)->next;
    return at;
}

static void hash_double(struct hash *hash)
{
    struct hash wide = {.mask = hash->bucket ? 2 * hash->mask + 1 : BUCKETS_LEAST - 1};

    wide.bucket = calloc(wide.mask + 1, sizeof(*wide.bucket));
    for (size_t i = 0; hash->bucket && i <= hash->mask; i++) {
        for (struct entry *entry = hash->bucket[i], *next; entry; entry = next) {
            struct entry **place = &wide.bucket[(entry->key * 0x9E3779B97F4A7C15u >> 32) & wide.mask];

            next = entry->next;
            entry->next = *place;
            *place = entry;
        }
    }
    free(hash->bucket);
    hash->bucket = wide.bucket;
    hash->mask = wide.mask;
}

static char *text_new(uint64_t key, size_t length)
{
    static const char text[TEXT_MOST] = "........./the text that is a name or a value and never very long";
    char *copy = malloc(length);

    memcpy(copy, text, length);
    memcpy(copy, &key, sizeof(key));
    return copy;
}

static void hash_insert(struct worker *w, struct hash *hash, uint64_t key)
{
    struct entry *entry = malloc(sizeof(*entry)), **place;

    if (!hash->bucket || hash->count > hash->mask)
        hash_double(hash);
    place = hash_place(hash, key);
    *entry = (struct entry){.next = *place, .key = key};
    entry->name = text_new(key, w->size[w->at++ & SIZES_MASK]);
    entry->value = text_new(key, w->size[w->at++ & SIZES_MASK]);
    *place = entry;
    hash->count++;
}

/* Reads the name, as a comparison would. */
static void hash_remove(struct hash *hash, uint64_t key)
{
    struct entry **place = hash_place(hash, key), *entry = *place;

    *place = entry->next;
    sum += (unsigned char)entry->name[0];
    free(entry->name);
    free(entry->value);
    free(entry);
    hash->count--;
}

static struct hash table;

static void prepare_hash(struct worker *w)
{
    for (size_t i = 0; i < w->line->live; i++)
        hash_insert(w, &table, i);
    w->shift = w->line->live;
}

/* The oldest entry goes, a new one comes. */
static uint64_t work_hash(struct worker *w, uint64_t ops)
{
    size_t live = w->line->live;

    for (uint64_t i = 0; i < ops; i++, w->shift++) {
        hash_remove(&table, w->shift - live);
        hash_insert(w, &table, w->shift);
    }
    return ops;
}

static uint64_t work_hash_build(struct worker *w, uint64_t ops)
{
    size_t live = w->line->live;
    uint64_t done;

    for (done = 0; done < ops; done += live) {
        struct hash hash = {0};

        for (size_t i = 0; i < live; i++)
            hash_insert(w, &hash, i);
        for (size_t i = 0; i < live; i++)
            hash_remove(&hash, i);
        free(hash.bucket);
    }
    return done;
}

static uint32_t size_text(uint64_t *seed)
{
    return 8 + (uint32_t)random_below(seed, TEXT_MOST - 7);
}

const struct test test_tree = {.help = "a node of a tree that is built, walked and freed",
                               .prepare = prepare_nothing,
                               .work = work_tree};
const struct test test_tree_walk = {.help = "a node of a tree built after churn is visited",
                                    .prepare = prepare_tree_walk,
                                    .work = work_tree_walk};
const struct test test_list_walk = {.help = "a node of a list built after churn is visited",
                                    .prepare = prepare_list_walk,
                                    .work = work_list_walk};
const struct test test_hash = {.help = "the oldest entry of a hash table of strings replaced: three blocks",
                               .prepare = prepare_hash,
                               .work = work_hash,
                               .draw = size_text};
const struct test test_hash_build = {.help = "an entry of a hash table of strings that is filled and emptied",
                                     .prepare = prepare_nothing,
                                     .work = work_hash_build,
                                     .draw = size_text};
