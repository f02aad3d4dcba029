/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lookup.c - finding TBs by guest address and publishing new ones.
 *
 * The hash itself is behind tb_hash_ops (hash_builtin.c).  The per-vCPU
 * jump cache in front of it is tlb/'s.
 */
#include "tb-store/hash.h"
#include "tb-store/store.h"

uint32_t tb_hash(const struct tb_key *k)
{
    return tb_key_hash(k);
}

struct tb *tb_lookup(struct guest_cpu *c, const struct tb_key *k)
{
    struct tb_store *s = c->vm->store;
    struct tb *tb;

    hash_prepare(s, c);
    tb = s->ops->lookup(s->hash, tb_key_hash(k), k);
    c->stat[tb ? ST_LOOKUP_HASH : ST_LOOKUP_MISS]++;
    return tb;
}

/* Was the page written, or its watch ended, since this vCPU called tb_watch_code() for it? */
static bool page_stale_locked(struct tb_store *s, struct tb_vcpu *v, uint64_t page)
{
    const struct tb_page *d = page_get(s, page);

    if (d->watch != PW_ON) {
        return true;
    }
    for (unsigned i = 0; i < v->n_seen; i++) {
        if (v->seen[i].page == page) {
            return v->seen[i].gen != __atomic_load_n(&d->gen, __ATOMIC_RELAXED);
        }
    }
    return true;
}

static bool stale_locked(struct tb_store *s, struct tb_vcpu *v, const struct tb *tb)
{
    bool stale = false;

    for (unsigned i = 0; i < tb->n_pages; i++) {
        stale |= page_stale_locked(s, v, tb_page(tb, i));
    }
    return stale;
}

/* First the pages' maps, then a look at their generations; who stores does the opposite (tb_stored()), so one of the two
 * sees the other. */
static bool add_unless_stale_locked(struct tb_store *s, struct tb_vcpu *v, struct tb *tb, struct tb_offs *offs)
{
    if (stale_locked(s, v, tb)) {
        return false;
    }
    pages_add_locked(s, tb);
    if (s->vm->max_cpus <= 1) {
        return true;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!stale_locked(s, v, tb)) {
        return true;
    }
    __atomic_store_n(&tb_w(s, tb)->invalid, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < tb->n_pages; i++) {
        page_sweep_locked(s, tb_page(tb, i), page_get(s, tb_page(tb, i)), offs, OFFS_MAX);
    }
    return false;
}

static bool can_keep(struct guest_cpu *c, struct tb *tb)
{
    for (unsigned i = 0; i < tb->n_pages; i++) {
        if (!tb_watch_code(c, tb_page(tb, i))) {
            return false;
        }
    }
    return tb->n_pages > 0;
}

void tb_insert(struct guest_cpu *c, struct tb *tb)
{
    struct tb_store *s = c->vm->store;
    struct tb_vcpu *v = &s->vcpu[c->index];
    struct tb_offs offs = {.n = 0};
    bool keep = can_keep(c, tb);

    XBT_ASSERT(!tb->inserted && !tb->invalid && tb->n_pages <= 2);
    hash_prepare(s, c);
    xbt_lock(&s->lock);
    keep = keep && add_unless_stale_locked(s, v, tb, &offs);
    v->n_seen = 0;
    if (keep) {
        tb_w(s, tb)->inserted = 1;
        s->live++;
        s->code_bytes += tb_host_size(tb);
        s->ops->insert(s->hash, tb_key_hash(&tb->key), tb);
        twin_note_locked(s, tb);
    } else {
        __atomic_store_n(&tb_w(s, tb)->invalid, 1, __ATOMIC_RELEASE);
    }
    xbt_unlock(&s->lock);
    watch_off(c, s, &offs);
}
