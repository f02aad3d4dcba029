/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-qht.c - the block hash of tb-store/ on QEMU's qht.
 *
 * qht is a concurrent hash table: lookups take no lock but run inside an RCU
 * read section (a resize frees the old map after a grace period); insertions and
 * removals lock one bucket.  QEMU's code uses vector registers, hence
 * uses_vector_regs: the store parks the guest's FP state around these calls.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

#define START_SIZE (1 << 10) /* grows by itself; small, as a flush allocates it anew */

/* Two blocks with one key may coexist while the older is being invalidated. */
static bool same_block(const void *a, const void *b)
{
    return a == b;
}

static bool block_has_key(const void *block, const void *key)
{
    const struct tb *tb = block;

    return tb_key_eq(&tb->key, key) && !qatomic_read(&tb->invalid);
}

static void *hash_create(void)
{
    struct qht *ht = g_new0(struct qht, 1);

    qht_init(ht, same_block, START_SIZE, QHT_MODE_AUTO_RESIZE);
    return ht;
}

static void hash_destroy(void *h)
{
    qht_destroy(h);
    g_free(h);
}

static struct tb *hash_lookup(void *h, uint32_t hash, const struct tb_key *key)
{
    RCU_READ_LOCK_GUARD();
    return qht_lookup_custom(h, key, hash, block_has_key);
}

static void hash_insert(void *h, uint32_t hash, struct tb *tb)
{
    qht_insert(h, tb, hash, NULL);
}

static void hash_remove(void *h, uint32_t hash, struct tb *tb)
{
    qht_remove(h, tb, hash);
}

static void hash_reset(void *h)
{
    qht_reset_size(h, START_SIZE);
}

const struct tb_hash_ops xbt_hash_qht = {
    .create = hash_create,
    .destroy = hash_destroy,
    .lookup = hash_lookup,
    .insert = hash_insert,
    .remove = hash_remove,
    .reset = hash_reset,
    .uses_vector_regs = true,
};
