/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hash_builtin.c - the TB hash.
 *
 * Buckets of one cache line hold the hashes and addresses of five TBs; a full one goes on in a bucket from the array's
 * spare end.  So a lookup touches one line here, and the TB that it finds.  Only general registers are used: no caller
 * has to park the guest's vector state.
 *
 * Readers take no lock.  They compare the key in the TB itself, whose memory lives until the reset, at which no reader
 * runs: whatever mixture of old and new a reader sees of a bucket, it returns the right TB or none.  After a miss the
 * caller translates a duplicate, which is harmless.  Writers serialise on `lock`.  The array doubles when it is well
 * filled; old arrays are kept until the reset, since a reader may be in one (their sizes sum up to less than the
 * newest).
 */
#include "tb-store/hash.h"
#include "tb-store/store.h"

#include <sys/mman.h>

#define FIRST_BITS 8
#define LAST_BITS 22
#define CROWD_BITS 12          /* not more for the sake of a few buckets that many TBs share */
#define SLOTS 5u
#define HUGE_FROM ((size_t)2 << 20)

struct bucket {
    struct tb *tb[SLOTS];      /* NULL: free */
    uint32_t hash[SLOTS];
    uint32_t more;             /* index of the bucket that goes on; 0 = none */
};
_Static_assert(sizeof(struct bucket) == 64, "one cache line");

struct array {
    uint32_t bits, spare;      /* spare: next unused bucket behind the 2^bits */
    struct array *older;
    struct bucket b[] __attribute__((aligned(64)));
};
#define SPARE(bits) ((1u << (bits)) / 4)

struct hash {
    struct xbt_lock lock;
    struct array *a;
    uint32_t count;
};

static size_t array_bytes(unsigned bits)
{
    return sizeof(struct array) + ((1u << bits) + SPARE(bits)) * sizeof(struct bucket);
}

static struct array *array_new(unsigned bits)
{
    struct array *a = store_reserve(array_bytes(bits));

    if (a) {
        a->bits = bits;
        a->spare = 1u << bits;
    }
    return a;
}

static void arrays_free(struct array *a)
{
    while (a) {
        struct array *older = a->older;

        munmap(a, array_bytes(a->bits));
        a = older;
    }
}

static void *builtin_create(void)
{
    struct hash *h = calloc(1, sizeof(*h));

    if (h) {
        xbt_lock_init(&h->lock, RANK_HASH);
        h->a = array_new(FIRST_BITS);
        if (!h->a) {
            free(h);
            h = NULL;
        }
    }
    return h;
}

static void builtin_destroy(void *p)
{
    struct hash *h = p;

    arrays_free(h->a);
    free(h);
}

static inline struct bucket *first_bucket(struct array *a, uint32_t hash)
{
    return &a->b[hash & ((1u << a->bits) - 1)];
}

/* NULL behind the last. */
static inline struct bucket *next_bucket(struct array *a, const struct bucket *b)
{
    uint32_t more = __atomic_load_n(&b->more, __ATOMIC_ACQUIRE);

    return more ? &a->b[more] : NULL;
}

static struct tb *builtin_lookup(void *p, uint32_t hash, const struct tb_key *key)
{
    const struct hash *h = p;
    struct array *a = __atomic_load_n(&h->a, __ATOMIC_ACQUIRE);

    for (const struct bucket *b = first_bucket(a, hash); b; b = next_bucket(a, b)) {
        for (unsigned i = 0; i < SLOTS; i++) {
            struct tb *tb;

            if (__atomic_load_n(&b->hash[i], __ATOMIC_RELAXED) == hash &&
                (tb = __atomic_load_n(&b->tb[i], __ATOMIC_ACQUIRE)) && tb_key_eq(&tb->key, key) &&
                !__atomic_load_n(&tb->invalid, __ATOMIC_ACQUIRE)) {
                return tb;
            }
        }
    }
    return NULL;
}

/* false: no bucket is left. */
static bool put(struct array *a, uint32_t hash, struct tb *tb)
{
    struct bucket *b = first_bucket(a, hash), *more;

    for (;;) {
        for (unsigned i = 0; i < SLOTS; i++) {
            if (!b->tb[i]) {
                __atomic_store_n(&b->hash[i], hash, __ATOMIC_RELAXED);
                __atomic_store_n(&b->tb[i], tb, __ATOMIC_RELEASE);
                return true;
            }
        }
        more = next_bucket(a, b);
        if (!more) {
            if (a->spare == (1u << a->bits) + SPARE(a->bits)) {
                return false;
            }
            more = &a->b[a->spare];
            __atomic_store_n(&b->more, a->spare++, __ATOMIC_RELEASE);
        }
        b = more;
    }
}

/* false: no memory, or not larger than this. */
static bool grow_locked(struct hash *h)
{
    struct array *old = h->a, *a;
    bool fits = true;

    if (old->bits == LAST_BITS || !(a = array_new(old->bits + 1))) {
        return false;
    }
    if (sizeof(struct bucket) << a->bits >= HUGE_FROM) {
        madvise(a, sizeof(struct bucket) << a->bits, MADV_HUGEPAGE);    /* looked at in random order */
    }
    store_populate(a->b, sizeof(struct bucket) << a->bits);
    for (uint32_t i = 0; fits && i < old->spare; i++) {
        for (unsigned j = 0; fits && j < SLOTS; j++) {
            fits = !old->b[i].tb[j] || put(a, old->b[i].hash[j], old->b[i].tb[j]);
        }
    }
    if (!fits) {
        arrays_free(a);
        return false;
    }
    a->older = old;
    __atomic_store_n(&h->a, a, __ATOMIC_RELEASE);
    return true;
}

static void builtin_insert(void *p, uint32_t hash, struct tb *tb)
{
    struct hash *h = p;

    xbt_lock(&h->lock);
    if (++h->count >> h->a->bits >= SLOTS / 2) {
        grow_locked(h);
    }
    while (!put(h->a, hash, tb)) {
        if ((h->a->bits >= CROWD_BITS && h->count >> h->a->bits == 0) || !grow_locked(h)) {
            h->count--;         /* the TB just cannot be found again */
            break;
        }
    }
    xbt_unlock(&h->lock);
}

static void builtin_remove(void *p, uint32_t hash, struct tb *tb)
{
    struct hash *h = p;

    xbt_lock(&h->lock);
    for (struct bucket *b = first_bucket(h->a, hash); b; b = next_bucket(h->a, b)) {
        for (unsigned i = 0; i < SLOTS; i++) {
            if (b->tb[i] == tb) {
                __atomic_store_n(&b->tb[i], NULL, __ATOMIC_RELEASE);
                h->count--;
                xbt_unlock(&h->lock);
                return;
            }
        }
    }
    xbt_unlock(&h->lock);
}

static void builtin_reset(void *p)
{
    struct hash *h = p;

    xbt_lock(&h->lock);
    arrays_free(h->a->older);
    h->a->older = NULL;
    xbt_zero(h->a->b, h->a->spare * sizeof(struct bucket));
    h->a->spare = 1u << h->a->bits;
    h->count = 0;
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
