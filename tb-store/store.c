/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.c - life of the store as a whole, and what queries see of it.
 */
#include "tb-store/store.h"

struct tb_store *tb_store_new(struct xbt_vm *vm, const struct tb_hash_ops *ops, const char **why)
{
    struct tb_store *s = calloc(1, sizeof(*s));

    *why = "out of memory for the code cache's tables";
    if (!s) {
        return NULL;
    }
    s->vm = vm;
    s->ops = ops;
    xbt_lock_init(&s->lock, RANK_STORE);
    if (!pages_init(s) || !watch_init(s) || !(s->hash = ops->create()) || !twins_init(s) || !regions_init(s, why)) {
        tb_store_free(s);
        return NULL;
    }
    *why = NULL;
    return s;
}

void tb_store_free(struct tb_store *s)
{
    if (!s) {
        return;
    }
    regions_free(s);
    if (s->hash) {
        s->ops->destroy(s->hash);
    }
    twins_free(s);
    watch_free(s);
    pages_free(s);
    free(s);
}

void tb_store_info(struct tb_store *s, struct tb_store_info *out)
{
    xbt_lock(&s->lock);
    out->size = s->size;
    out->used = __atomic_load_n(&s->used, __ATOMIC_RELAXED);
    out->high_water = __atomic_load_n(&s->high_water, __ATOMIC_RELAXED);
    out->regions = s->n_regions;
    out->regions_used = s->n_hot + s->n_cold;
    out->tbs_live = s->live;
    out->tbs_made = __atomic_load_n(&s->made, __ATOMIC_RELAXED);
    out->flushes = s->flushes;
    out->code_bytes = s->code_bytes;
    out->guest_insns = __atomic_load_n(&s->guest_insns, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < TBD_CAUSES; i++) {
        out->invalidated[i] = s->invalidated[i];
    }
    xbt_unlock(&s->lock);
}

/* A flush takes the lock to empty the regions, so the TBs seen here stay what they are while fn looks
 * at them. */
void tb_foreach(struct tb_store *s, void (*fn)(struct tb *tb, void *arg), void *arg)
{
    xbt_lock(&s->lock);
    for (unsigned i = 0; i < s->n_regions; i++) {
        const struct tb_region *r = &s->regions[i];
        uint32_t n = __atomic_load_n(&r->n_tbs, __ATOMIC_ACQUIRE);

        for (uint32_t j = 0; r->cold && j < n; j++) {
            struct tb *tb = (struct tb *)(s->base + r->index[j].tb);

            if (tb->inserted && !tb->invalid) {
                fn(tb, arg);
            }
        }
    }
    xbt_unlock(&s->lock);
}
