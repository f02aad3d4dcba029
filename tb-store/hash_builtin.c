/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hash_builtin.c - a TB hash of our own, for tests and for embedders without one.
 *
 * Separate chaining with nodes from an arena that is emptied only by reset().  Readers take no lock:
 * nodes and TBs live until the reset, at which no reader runs, so a reader standing on a removed or
 * moved node follows valid pointers and at worst misses a TB that is there; the caller then translates
 * a duplicate, which is harmless.  The arena cannot outgrow the code cache by much: every node belongs
 * to a TB that still takes its memory there. Writers serialise on `lock`.  The bucket array doubles
 * when there are more TBs than buckets; old arrays are kept until the reset, since a reader may be in
 * one (their sizes sum up to less than the newest).
 */
#include "tb-store/hash.h"
#include "tb-store/store.h"

#include <sys/mman.h>

#define FIRST_BITS 10
#define LAST_BITS 24

struct node {
    struct tb *tb;
    struct node *next;
    uint32_t hash;
};

#define ARENA_BYTES (64u << 10)
struct arena {
    struct arena *next;
    struct node node[(ARENA_BYTES - sizeof(void *)) / sizeof(struct node)];
};
#define ARENA_NODES (sizeof(((struct arena *)0)->node) / sizeof(struct node))

struct buckets {
    uint32_t bits;
    struct buckets *older;
    struct node *head[];
};

struct hash {
    struct xbt_lock lock;
    struct buckets *b;
    uint32_t count;
    struct arena *first, *cur;  /* arenas before cur are full */
    uint32_t cur_used;
};

static size_t buckets_bytes(unsigned bits)
{
    return sizeof(struct buckets) + ((size_t)1 << bits) * sizeof(struct node *);
}

static struct buckets *buckets_new(unsigned bits)
{
    struct buckets *b = store_reserve(buckets_bytes(bits));

    if (b) {
        b->bits = bits;
    }
    return b;
}

static void buckets_free(struct buckets *b)
{
    while (b) {
        struct buckets *older = b->older;

        munmap(b, buckets_bytes(b->bits));
        b = older;
    }
}

static inline struct node **bucket(struct buckets *b, uint32_t hash)
{
    return &b->head[hash & ((1u << b->bits) - 1)];
}

static void *builtin_create(void)
{
    struct hash *h = calloc(1, sizeof(*h));

    if (h) {
        xbt_lock_init(&h->lock, RANK_HASH);
        h->b = buckets_new(FIRST_BITS);
        if (!h->b) {
            free(h);
            h = NULL;
        }
    }
    return h;
}

static void builtin_destroy(void *p)
{
    struct hash *h = p;

    buckets_free(h->b);
    while (h->first) {
        struct arena *next = h->first->next;

        munmap(h->first, sizeof(*h->first));
        h->first = next;
    }
    free(h);
}

static struct tb *builtin_lookup(void *p, uint32_t hash, const struct tb_key *key)
{
    struct hash *h = p;
    struct buckets *b = __atomic_load_n(&h->b, __ATOMIC_ACQUIRE);
    struct node *n = __atomic_load_n(bucket(b, hash), __ATOMIC_ACQUIRE);

    for (; n; n = __atomic_load_n(&n->next, __ATOMIC_ACQUIRE)) {
        if (n->hash == hash && tb_key_eq(&n->tb->key, key) &&
            !__atomic_load_n(&n->tb->invalid, __ATOMIC_ACQUIRE)) {
            return n->tb;
        }
    }
    return NULL;
}

static void grow_locked(struct hash *h)
{
    struct buckets *old = h->b, *b;

    if (old->bits == LAST_BITS || !(b = buckets_new(old->bits + 1))) {
        return;
    }
    b->older = old;
    for (uint32_t i = 0; i < 1u << old->bits; i++) {
        struct node *n = old->head[i];

        while (n) {
            struct node *next = n->next, **to = bucket(b, n->hash);

            __atomic_store_n(&n->next, *to, __ATOMIC_RELEASE);
            *to = n;
            n = next;
        }
    }
    __atomic_store_n(&h->b, b, __ATOMIC_RELEASE);
}

static struct node *node_new_locked(struct hash *h)
{
    if (!h->cur || h->cur_used == ARENA_NODES) {
        struct arena *a = h->cur ? h->cur->next : h->first;

        if (!a) {
            a = store_reserve(sizeof(*a));
            if (!a) {
                return NULL;
            }
            *(h->cur ? &h->cur->next : &h->first) = a;
        }
        h->cur = a;
        h->cur_used = 0;
    }
    return &h->cur->node[h->cur_used++];
}

static void builtin_insert(void *p, uint32_t hash, struct tb *tb)
{
    struct hash *h = p;
    struct node *n, **to;

    xbt_lock(&h->lock);
    n = node_new_locked(h);
    if (n) { /* without memory the TB just cannot be found again */
        if (++h->count > 1u << h->b->bits) {
            grow_locked(h);
        }
        to = bucket(h->b, hash);
        n->tb = tb;
        n->hash = hash;
        n->next = *to;
        __atomic_store_n(to, n, __ATOMIC_RELEASE);
    }
    xbt_unlock(&h->lock);
}

static void builtin_remove(void *p, uint32_t hash, struct tb *tb)
{
    struct hash *h = p;
    struct node **at;

    xbt_lock(&h->lock);
    for (at = bucket(h->b, hash); *at; at = &(*at)->next) {
        if ((*at)->tb == tb) {
            __atomic_store_n(at, (*at)->next, __ATOMIC_RELEASE);
            h->count--;
            break;
        }
    }
    xbt_unlock(&h->lock);
}

static void builtin_reset(void *p)
{
    struct hash *h = p;

    xbt_lock(&h->lock);
    buckets_free(h->b->older);
    h->b->older = NULL;
    xbt_zero(h->b->head, buckets_bytes(h->b->bits) - sizeof(struct buckets));
    h->count = 0;
    h->cur = NULL;
    xbt_unlock(&h->lock);
}

const struct tb_hash_ops tb_hash_builtin = {
    .create = builtin_create,
    .destroy = builtin_destroy,
    .lookup = builtin_lookup,
    .insert = builtin_insert,
    .remove = builtin_remove,
    .reset = builtin_reset,
    .uses_vector_regs = false,
};
