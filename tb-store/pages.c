/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pages.c - which TBs lie in which RAM page.
 *
 * A two-level table indexed by ram_addr >> 12: a sparse array of nodes, each with the descriptors of 64
 * MiB of RAM.  Nodes are made on first use and stay until the store goes, so pointers to descriptors
 * are stable and readers need no lock. A TB is in the list of each of its (one or two) pages; list
 * pointers carry in bit 0 which of the TB's pages the list belongs to, so that a TB whose two pages are
 * the same RAM page is simply in that list twice.
 *
 * Left to others: write tables (tlb/), DMA marks (watch.c), what dying means for a TB (invalidate.c).
 */
#include "tb-store/store.h"

#include <sys/mman.h>

bool pages_init(struct tb_store *s)
{
    s->node = store_reserve(NODE_COUNT * sizeof(*s->node));
    s->fine = store_reserve((FINE_MAX + 1) * sizeof(*s->fine)); /* without it all works, slower */
    return s->node != NULL;
}

void pages_free(struct tb_store *s)
{
    if (!s->node) {
        return;
    }
    for (unsigned i = 0; i < NODE_COUNT; i++) {
        if (s->node[i]) {
            munmap(s->node[i], sizeof(*s->node[i]));
        }
    }
    munmap(s->node, NODE_COUNT * sizeof(*s->node));
    s->node = NULL;
    if (s->fine) {
        munmap(s->fine, (FINE_MAX + 1) * sizeof(*s->fine));
        s->fine = NULL;
    }
}

struct tb_page_node *page_node(const struct tb_store *s, uint64_t ram_addr)
{
    if (ram_addr >> RAM_ADDR_BITS) {
        return NULL;
    }
    return __atomic_load_n(&s->node[ram_addr >> (PAGE_BITS + NODE_BITS)], __ATOMIC_ACQUIRE);
}

struct tb_page_node *page_node_make_locked(struct tb_store *s, uint64_t ram_addr)
{
    struct tb_page_node *n = page_node(s, ram_addr);

    xbt_assert_locked(&s->lock);
    if (!n && !(ram_addr >> RAM_ADDR_BITS)) {
        n = store_reserve(sizeof(*n));
        __atomic_store_n(&s->node[ram_addr >> (PAGE_BITS + NODE_BITS)], n, __ATOMIC_RELEASE);
    }
    return n;
}

struct tb_page *page_get(const struct tb_store *s, uint64_t ram_addr)
{
    struct tb_page_node *n = page_node(s, ram_addr);

    return n ? &n->page[(ram_addr >> PAGE_BITS) & ((1u << NODE_BITS) - 1)] : NULL;
}

/* The bytes [lo, hi] of its page `which` that the TB was made from.  Never empty: at least one byte. */
void tb_part(const struct tb *tb, unsigned which, unsigned *lo, unsigned *hi)
{
    unsigned off = tb->key.phys_pc & (PAGE_BYTES - 1);
    unsigned size = tb->guest_size ? tb->guest_size : 1;
    unsigned in_first = size < PAGE_BYTES - off ? size : PAGE_BYTES - off;
    unsigned rest = size - in_first;

    if (which == 0) {
        *lo = off - tb->guest_before;
        *hi = off + in_first - 1;
    } else {
        *lo = 0;
        *hi = rest == 0 ? 0 : rest > PAGE_BYTES ? PAGE_BYTES - 1 : rest - 1;
    }
}

/* Map bits of the bytes [lo, hi] of a page. */
uint64_t page_bits(unsigned lo, unsigned hi)
{
    return (~0ull >> (63 - (hi >> 6))) & (~0ull << (lo >> 6));
}

/* ---- who may store to a page unnoticed ---- */

static inline uint16_t *writers_of(struct tb_page_node *n, uint64_t ram_addr)
{
    return &n->writers[(ram_addr >> PAGE_BITS) & ((1u << NODE_BITS) - 1)];
}

static inline uint16_t writer_bit(const struct guest_cpu *c) { return (uint16_t)(1u << (c->index & 15)); }

void tb_note_writer_slow(struct guest_cpu *c, uint64_t ram_addr)
{
    struct tb_store *s = c->vm->store;
    struct tb_page_node *n = page_node(s, ram_addr);

    if (!n) {
        xbt_lock(&s->lock);
        n = page_node_make_locked(s, ram_addr);
        xbt_unlock(&s->lock);
    }
    /* The caller looks at tb_page_has_code() next.  Where the bit was set already, whoever begins to watch the page will
     * ask this vCPU, which answers after it has entered the page. */
    if (n && !(__atomic_load_n(writers_of(n, ram_addr), __ATOMIC_RELAXED) & writer_bit(c))) {
        __atomic_fetch_or(writers_of(n, ram_addr), writer_bit(c), __ATOMIC_SEQ_CST);
    }
}

void tb_clear_writer(struct guest_cpu *c, uint64_t ram_addr)
{
    struct tb_page_node *n = page_node(c->vm->store, ram_addr);

    if (n && c->vm->max_cpus <= 16) {
        __atomic_fetch_and(writers_of(n, ram_addr), (uint16_t)~writer_bit(c), __ATOMIC_SEQ_CST);
    }
}

bool tb_is_writer(const struct guest_cpu *c, uint64_t ram_addr)
{
    struct tb_page_node *n = page_node(c->vm->store, ram_addr);

    return n && (__atomic_load_n(writers_of(n, ram_addr), __ATOMIC_SEQ_CST) & writer_bit(c));
}

/* ---- byte maps ---- */

/* The bits of bytes [lo, hi] in word w. */
static uint64_t fine_mask(unsigned w, unsigned lo, unsigned hi)
{
    return (w == lo / 64 ? ~0ull << (lo % 64) : ~0ull) & (w == hi / 64 ? ~0ull >> (63 - hi % 64) : ~0ull);
}

static void fine_set(uint64_t *bits, unsigned lo, unsigned hi)
{
    for (unsigned w = lo / 64; w <= hi / 64; w++) {
        __atomic_store_n(&bits[w], bits[w] | fine_mask(w, lo, hi), __ATOMIC_RELEASE);
    }
}

/* The bytes of page `which` that the TB depends on. */
static void fine_add(uint64_t *bits, const struct tb *tb, unsigned which)
{
    unsigned lo, hi, start = tb->key.phys_pc & (PAGE_BYTES - 1);

    tb_part(tb, which, &lo, &hi);
    for (unsigned i = 0; which == 0 && i < tb->n_holes; i++) { /* in ascending order, none at the start */
        fine_set(bits, lo, start + tb_holes(tb)[i].off - 1);
        lo = start + tb_holes(tb)[i].off + tb_holes(tb)[i].len;
    }
    if (lo <= hi) {
        fine_set(bits, lo, hi);
    }
}

static bool fine_any(const uint64_t *bits, unsigned lo, unsigned hi)
{
    for (unsigned w = lo / 64; w <= hi / 64; w++) {
        if (__atomic_load_n(&bits[w], __ATOMIC_ACQUIRE) & fine_mask(w, lo, hi)) {
            return true;
        }
    }
    return false;
}

/* Whoever reads meanwhile sees an old or a new word: no byte of a TB that stays is missing in either. */
static void fine_publish_locked(struct tb_store *s, unsigned index, const uint64_t *bits)
{
    for (unsigned w = 0; w < PAGE_BYTES / 64; w++) {
        __atomic_store_n(&s->fine[index].bits[w], bits[w], __ATOMIC_RELEASE);
    }
}

/* Exactly the bytes of the page's live TBs. */
static void fine_fill_locked(struct tb_store *s, const struct tb_page *d, unsigned index)
{
    uint64_t bits[PAGE_BYTES / 64];

    xbt_zero(bits, sizeof(bits));
    for (struct tb *e = d->first; e; e = tb_next(s, e)) {
        if (!tb_untag(e)->invalid) {
            fine_add(bits, tb_untag(e), tb_tag(e));
        }
    }
    fine_publish_locked(s, index, bits);
}

static void fine_make_locked(struct tb_store *s, uint64_t page, struct tb_page *d)
{
    if (d->fine || !s->fine || s->n_fine == FINE_MAX || s->vm->opt.no_byte_maps) {
        return;
    }
    struct tb_fine *f = &s->fine[s->n_fine + 1];
    f->page = page;
    uint16_t i = (uint16_t)++s->n_fine;
    fine_fill_locked(s, d, i);
    __atomic_store_n(&d->fine, i, __ATOMIC_RELEASE);
}

/* All vCPUs are out of generated code. */
void pages_forget_fine_locked(struct tb_store *s)
{
    for (uint32_t i = 1; i <= s->n_fine; i++) {
        page_get(s, s->fine[i].page)->fine = 0;
    }
    s->n_fine = 0;
}

void pages_add_locked(struct tb_store *s, struct tb *tb)
{
    xbt_assert_locked(&s->lock);
    for (unsigned i = 0; i < tb->n_pages; i++) {
        struct tb_page *d = page_get(s, tb_page(tb, i));
        unsigned lo, hi;

        tb_part(tb, i, &lo, &hi);
        struct tb *e = (struct tb *)((uintptr_t)tb | i);
        tb_set_next(s, e, d->first);
        d->first = e;
        if (d->fine) {
            fine_add(s->fine[d->fine].bits, tb, i);
        }
        __atomic_store_n(&d->map, d->map | page_bits(lo, hi), __ATOMIC_RELEASE);
    }
}

void page_sweep_locked(struct tb_store *s, uint64_t page, struct tb_page *d, struct tb_offs *offs,
                       unsigned cap)
{
    struct tb *last = NULL, *next;
    uint64_t map = 0, bits[PAGE_BYTES / 64];

    if (d->fine) {
        xbt_zero(bits, sizeof(bits));
    }
    xbt_assert_locked(&s->lock);
    for (struct tb *e = d->first; e; e = next) {
        struct tb *tb = tb_untag(e);
        unsigned which = tb_tag(e), lo, hi;

        next = tb_next(s, e);
        if (tb->invalid && last) {
            tb_set_next(s, last, next);
        } else if (tb->invalid) {
            d->first = next;
        } else {
            tb_part(tb, which, &lo, &hi);
            map |= page_bits(lo, hi);
            if (d->fine) {
                fine_add(bits, tb, which);
            }
            last = e;
        }
    }
    __atomic_store_n(&d->map, map, __ATOMIC_RELEASE);
    if (d->fine) {
        fine_publish_locked(s, d->fine, bits);
    }
    if (!d->first && d->watch == PW_ON && offs->n < cap) {
        watch_remove_locked(s, page);
        __atomic_add_fetch(&d->gen, 1, __ATOMIC_SEQ_CST); /* stores go unseen from now on */
        __atomic_store_n(&d->watch, PW_NONE, __ATOMIC_RELEASE);
        offs->page[offs->n++] = page & ~(uint64_t)(PAGE_BYTES - 1);
    }
}

bool tb_page_has_code(struct tb_store *s, uint64_t ram_addr)
{
    const struct tb_page *d = page_get(s, ram_addr);

    return d && __atomic_load_n(&d->watch, __ATOMIC_ACQUIRE) != PW_NONE;
}

static bool page_range_has_code(struct tb_store *s, uint64_t ram_addr, unsigned lo, unsigned hi)
{
    struct tb_page *d = page_get(s, ram_addr);
    bool found = false;
    unsigned fine;

    if (!d || !(__atomic_load_n(&d->map, __ATOMIC_ACQUIRE) & page_bits(lo, hi))) {
        return false;
    }
    fine = __atomic_load_n(&d->fine, __ATOMIC_ACQUIRE);
    if (fine) {
        return fine_any(s->fine[fine].bits, lo, hi);
    }
    xbt_lock(&s->lock);
    for (struct tb *e = d->first; e && !found; e = tb_next(s, e)) {
        unsigned a, b;

        tb_part(tb_untag(e), tb_tag(e), &a, &b);
        found = !tb_untag(e)->invalid && a <= hi && b >= lo && !tb_in_hole(tb_untag(e), tb_tag(e), lo, hi);
    }
    if (!found) {
        fine_make_locked(s, ram_addr & ~(uint64_t)(PAGE_BYTES - 1), d);
    }
    xbt_unlock(&s->lock);
    return found;
}

bool tb_range_has_code(struct tb_store *s, uint64_t ram_addr, unsigned len)
{
    while (len) {
        unsigned lo = ram_addr & (PAGE_BYTES - 1);
        unsigned n = len < PAGE_BYTES - lo ? len : PAGE_BYTES - lo;

        if (page_range_has_code(s, ram_addr, lo, lo + n - 1)) {
            return true;
        }
        ram_addr += n;
        len -= n;
    }
    return false;
}
