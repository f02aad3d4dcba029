/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * invalidate.c - death of TBs: one, all in a range of RAM, or everything.
 *
 * A dead TB is out of the hash, the page lists, the links and the jump caches, so nobody enters it any
 * more; a vCPU that is inside leaves at the TB's next exit.  Its memory stays until the next flush, so
 * its state map and its host code stay valid for that vCPU, and tb_find_host_pc() still finds it.
 *
 * Left to others: ending the running instruction when its own TB died (tlb/slow.c, by *hit_running).
 */
#include "tb-store/hash.h"
#include "tb-store/store.h"

static void kill_locked(struct tb_store *s, struct tb *tb, enum tb_death why)
{
    xbt_assert_locked(&s->lock);
    __atomic_store_n(&tb_w(s, tb)->invalid, 1, __ATOMIC_RELEASE);
    s->ops->remove(s->hash, tb_key_hash(&tb->key), tb);
    unlink_in_locked(s, tb);
    unlink_out_locked(s, tb);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* invalid before its slots are looked at: tlb_jc_insert() */
    for (unsigned i = 0; i < s->vm->n_cpus; i++) {
        if (vm_cpu(s->vm, i)) {
            tlb_jc_remove(vm_cpu(s->vm, i), tb->key.lip, tb_entry(tb));
        }
    }
    s->live--;
    s->code_bytes -= tb_host_size(tb);
    s->invalidated[why]++;
}

void tb_invalidate(struct guest_cpu *c, struct tb *tb, enum tb_death why)
{
    struct tb_store *s = c->vm->store;
    struct tb_offs offs = {.n = 0};

    hash_prepare(s, c);
    xbt_lock(&s->lock);
    if (tb->inserted && !tb->invalid) {
        kill_locked(s, tb, why);
        for (unsigned i = 0; i < tb->n_pages; i++) {
            page_sweep_locked(s, tb_page(tb, i), page_get(s, tb_page(tb, i)), &offs, OFFS_MAX);
        }
    }
    xbt_unlock(&s->lock);
    watch_off(c, s, &offs);
}

/* Kill what overlaps bytes [lo, hi] of this page.  The last slot of offs is kept for the page itself. */
static unsigned kill_in_page_locked(struct tb_store *s, uint64_t page, struct tb_page *d, unsigned lo,
                                    unsigned hi, enum tb_death why, struct tb_offs *offs,
                                    const struct tb *run, bool *hit)
{
    unsigned killed = 0;

    for (struct tb *e = d->first; e; e = tb_next(s, e)) {
        struct tb *tb = tb_untag(e);
        unsigned a, b;

        tb_part(tb, tb_tag(e), &a, &b);
        if (tb->invalid || b < lo || a > hi || tb_in_hole(tb, tb_tag(e), lo, hi)) {
            continue;
        }
        kill_locked(s, tb, why);
        killed++;
        *hit |= tb == run;
        if (tb->n_pages == 2) {
            uint64_t other = tb_page(tb, !tb_tag(e));

            if (other >> PAGE_BITS != page >> PAGE_BITS) {
                page_sweep_locked(s, other, page_get(s, other), offs, OFFS_MAX - 1);
            }
        }
    }
    if (killed || !d->first) {
        page_sweep_locked(s, page, d, offs, OFFS_MAX);
    }
    return killed;
}

static unsigned invalidate_in_page(struct guest_cpu *c, struct tb_store *s, uint64_t ram_addr, unsigned n,
                                   enum tb_death why, const struct tb *run, bool *hit)
{
    struct tb_page *d = page_get(s, ram_addr);
    unsigned lo = ram_addr & (PAGE_BYTES - 1), hi = lo + n - 1, killed;
    struct tb_offs offs = {.n = 0};
    uint64_t map;

    if (!d || __atomic_load_n(&d->watch, __ATOMIC_ACQUIRE) == PW_NONE) {
        return 0;
    }
    /* A translation of this page that is under way elsewhere must not be published. */
    __atomic_add_fetch(&d->gen, 1, __ATOMIC_SEQ_CST);
    map = __atomic_load_n(&d->map, __ATOMIC_ACQUIRE);
    if (map && !(map & page_bits(lo, hi))) {
        return 0;
    }
    hash_prepare(s, c);
    xbt_lock(&s->lock);
    killed = kill_in_page_locked(s, ram_addr, d, lo, hi, why, &offs, run, hit);
    if (killed) {
        /* Nor what another vCPU has begun since, as a copy of a block that has died now (relocate.c). */
        __atomic_add_fetch(&d->gen, 1, __ATOMIC_SEQ_CST);
    }
    if (killed && (why == TBD_SMC_SELF || why == TBD_SMC_OTHER)) {
        rewrite_note_locked(s, d, ram_addr, n);
    }
    xbt_unlock(&s->lock);
    watch_off(c, s, &offs);
    return killed;
}

unsigned tb_invalidate_range(struct guest_cpu *c, uint64_t ram_addr, unsigned len, enum tb_death why,
                             bool *hit_running)
{
    struct tb_store *s = c->vm->store;
    struct tb *run = c->unwind_pc ? tb_find_host_pc(s, (void *)c->unwind_pc) : NULL;
    uint64_t end = ram_addr + len;
    unsigned killed = 0;
    bool hit = false;

    while (ram_addr < end) {
        uint64_t step = PAGE_BYTES - (ram_addr & (PAGE_BYTES - 1));

        if (!page_node(s, ram_addr)) {
            /* No code in these 64 MiB. */
            step = NODE_BYTES - (ram_addr & (NODE_BYTES - 1));
        } else {
            unsigned n = end - ram_addr < step ? (unsigned)(end - ram_addr) : (unsigned)step;

            killed += invalidate_in_page(c, s, ram_addr, n, why, run, &hit);
        }
        ram_addr += step;
    }
    if (hit_running) {
        *hit_running = hit;
    }
    return killed;
}

bool tb_stored(struct guest_cpu *c, uint64_t ram_addr, unsigned len, enum tb_death why)
{
    struct tb_store *s = c->vm->store;
    bool hit = false;

    for (uint64_t at = ram_addr; s->vm->max_cpus > 1 && at < ram_addr + len; at = (at | (PAGE_BYTES - 1)) + 1) {
        struct tb_page *d = page_get(s, at);
        if (d) {
            __atomic_add_fetch(&d->gen, 1, __ATOMIC_SEQ_CST);
        }
    }
    if (tb_range_has_code(s, ram_addr, len)) {
        c->stat[ST_SLOW_WRITE_DEAD]++;
        tb_invalidate_range(c, ram_addr, len, why, &hit);
    }
    return hit;
}

/* The continuations are gone. */
static void ret_clear(struct guest_cpu *c)
{
    for (unsigned i = 0; i < RET_SLOTS; i++) {
        c->ret[i] = c->ret_none;
    }
}

void tb_flush(struct guest_cpu *c)
{
    struct tb_store *s = c->vm->store;

    __atomic_add_fetch(&s->vm->flushes, 1, __ATOMIC_RELEASE);
    hash_prepare(s, c);
    xbt_lock(&s->lock);
    s->ops->reset(s->hash);
    regions_reset_locked(s);
    s->invalidated[TBD_FLUSH] += s->live;
    s->live = 0;
    s->code_bytes = 0;
    s->flushes++;
    pages_forget_fine_locked(s);
    watch_forget_locked(s);
    xbt_unlock(&s->lock);
    c->stat[ST_CACHE_FLUSHES]++;
    watch_reset(c, s);
    for (unsigned i = 0; i < s->vm->n_cpus; i++) {
        if (vm_cpu(s->vm, i)) {
            tlb_jc_clear(vm_cpu(s->vm, i));
            ret_clear(vm_cpu(s->vm, i));
        }
    }
    if (s->vm->opt.perfmap) {
        fpu_park(c);
        c->host->code_flushed(c);
    }
}

/* ---- by linear address ---- */

#define AT_ONCE 64u

struct doomed {
    const uint64_t *lin;
    unsigned n_lin, n;
    struct tb *tb[AT_ONCE];
};

static void consider(struct tb *tb, void *arg)
{
    struct doomed *d = arg;

    for (unsigned i = 0; i < d->n_lin && d->n < AT_ONCE; i++) {
        if (d->lin[i] - (tb->key.lip - tb->guest_before) < (uint64_t)tb->guest_size + tb->guest_before) {
            d->tb[d->n++] = tb;
            return;
        }
    }
}

void tb_invalidate_lin(struct guest_cpu *c, const uint64_t *lin, unsigned n, enum tb_death why)
{
    struct doomed d = { .lin = lin, .n_lin = n };

    do {
        d.n = 0;
        tb_foreach(c->vm->store, consider, &d);
        for (unsigned i = 0; i < d.n; i++) {
            tb_invalidate(c, d.tb[i], why);
        }
    } while (d.n == AT_ONCE);
}
