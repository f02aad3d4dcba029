/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fill.c - making table entries, and the records by which they are found again.
 *
 * Does:    fill an entry, log it, chain write entries by RAM page, keep the set of touched table regions,
 *          bound the host memory that a guest can make a vCPU use.
 * Leaves:  whether a page may be entered to slow.c; what a flush means to flush.c.
 */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "tlb/tlb_int.h"

/* ---- references to log records ---- */
static inline uint32_t rec_ref(const struct tlb_space *s, unsigned log, uint32_t index)
{
    return ((s->id * 2u + log) << LOG_BITS | index) + 1;
}

static inline struct fill_rec *rec_get(struct tlb_vcpu *v, uint32_t ref, struct tlb_space **s)
{
    ref--;
    unsigned which = ref >> LOG_BITS;
    *s = &v->space[which / 2];
    return &(*s)->log[which % 2].rec[ref & ((1u << LOG_BITS) - 1)];
}

static inline unsigned rev_bucket(uint64_t ram_addr)
{
    return (unsigned)(ram_addr >> 12) & ((1u << REV_BITS) - 1);
}

static void rev_link(struct tlb_vcpu *v, struct fill_rec *r, uint32_t ref, uint64_t ram_addr)
{
    unsigned b = rev_bucket(ram_addr);
    struct tlb_space *s;

    r->next = v->rev[b];
    r->prev = REV_HEAD | b;
    if (r->next) {
        rec_get(v, r->next, &s)->prev = ref;
    }
    v->rev[b] = ref;
}

static inline void rev_unlink(struct tlb_vcpu *v, struct fill_rec *r)
{
    struct tlb_space *s;

    if (r->prev & REV_HEAD) {
        v->rev[r->prev & ~REV_HEAD] = r->next;
    } else {
        rec_get(v, r->prev, &s)->next = r->next;
    }
    if (r->next) {
        rec_get(v, r->next, &s)->prev = r->prev;
    }
    r->prev = 0;
}

/* ---- touched regions ---- */
static inline unsigned touch_hash(uint64_t region)
{
    return (unsigned)((region * 0x9e3779b97f4a7c15ull) >> 40) & (TOUCH_SLOTS - 1);
}

/* In a flat table region numbers are those of the index: 27 bits. */
static inline uint64_t flat_region(uint64_t lin) { return FLAT_INDEX(lin) >> 9; }

static uint64_t *touch_find(const struct tlb_space *s, uint64_t region)
{
    unsigned i = touch_hash(region);

    while (s->touched[i] && s->touched[i] >> 8 != region) {
        i = (i + 1) & (TOUCH_SLOTS - 1);
    }
    return &s->touched[i];
}

uint32_t tlb_touched_mask(const struct tlb_space *s, uint64_t region)
{
    return *touch_find(s, region & (FLAT_PAGES / 512 - 1)) & 0xff;
}

/* Over the bounds: take memory from the space that was not used for longest, at last from the current one. */
static void touch_reclaim(struct guest_cpu *c)
{
    struct tlb_vcpu *v = c->tlb;
    struct tlb_space *victim = NULL;

    if (c->space->n_regions >= TOUCH_REGIONS_MAX) {
        victim = c->space;
    }
    for (unsigned i = 0; !victim && i < v->max_spaces; i++) {
        struct tlb_space *s = &v->space[i];
        if (s->mapped && s != c->space && s->n_pages && (!victim || s->lru < victim->lru)) {
            victim = s;
        }
    }
    tlb_space_reclaim(c, victim ? victim : c->space);
}

void tlb_touch(struct guest_cpu *c, uint64_t lin, unsigned table)
{
    struct tlb_vcpu *v = c->tlb;
    uint64_t region = flat_region(lin);

    if (v->format != TLB_FLAT) {
        return;
    }
    uint64_t *t = touch_find(c->space, region);
    if (likely(*t >> table & 1)) {
        return;
    }
    if (unlikely((!*t && c->space->n_regions >= TOUCH_REGIONS_MAX) || v->touch_total >= TOUCH_PAGES_MAX)) {
        touch_reclaim(c);
        t = touch_find(c->space, region);
    }
    if (!*t) {
        c->space->n_regions++;
    }
    *t |= region << 8 | 1u << table;
    c->space->n_pages++;
    v->touch_total++;
}

void tlb_space_reclaim(struct guest_cpu *c, struct tlb_space *s)
{
    struct tlb_vcpu *v = c->tlb;

    tlb_log_flush(c, s, 0);
    tlb_log_flush(c, s, 1);
    if (v->format != TLB_FLAT || !s->n_pages) {
        return;
    }
    fpu_park(c);
    /* Mapping anew frees the host's page tables too, which MADV_DONTNEED does not. */
    size_t bytes = TLB_TABLES * TLB_FLAT_BYTES;
    void *p = mmap(s->tab[0], bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (p == MAP_FAILED) {
        madvise(s->tab[0], bytes, MADV_DONTNEED);
    } else {
        madvise(p, bytes, MADV_DONTDUMP);
        madvise(p, bytes, MADV_DONTFORK);
        madvise(p, bytes, MADV_NOHUGEPAGE);
    }
    v->touch_total -= s->n_pages;
    s->n_pages = s->n_regions = 0;
    xbt_zero(s->touched, TOUCH_SLOTS * sizeof(uint64_t));
}

/* ---- entries ---- */
static inline void entry_put(struct tlb_vcpu *v, struct tlb_space *s, unsigned table, uint64_t lin,
                             uint8_t *host)
{
    uint64_t *t = s->tab[table];
    uint64_t page = lin & PAGE_MASK, addend = ((uint64_t)(uintptr_t)host & PAGE_MASK) - page;

    if (v->format == TLB_FLAT) {
        t[FLAT_INDEX(lin)] = addend;
    } else {
        struct tlb_tagged *g = (void *)t;
        unsigned i = (lin >> 12) & (TLB_TAGGED_SIZE - 1);
        g->tag[i] = page;
        g->addend[i] = addend;
    }
}

void tlb_entry_clear(struct tlb_vcpu *v, struct tlb_space *s, unsigned table, uint64_t lin)
{
    uint64_t *t = s->tab[table];

    if (v->format == TLB_FLAT) {
        t[FLAT_INDEX(lin)] = 0;
    } else {
        struct tlb_tagged *g = (void *)t;
        unsigned i = (lin >> 12) & (TLB_TAGGED_SIZE - 1);
        if (g->tag[i] == (lin & PAGE_MASK)) {
            g->tag[i] = TAG_INVALID;
        }
    }
}

/* Room in the log for one more record; a full log empties the space, too many records empty all. */
static struct tlb_log *log_room(struct guest_cpu *c, bool global)
{
    struct tlb_vcpu *v = c->tlb;
    struct tlb_log *l = &c->space->log[global];

    if (unlikely(l->count >= v->log_cap)) {
        tlb_log_flush(c, c->space, 0);
        tlb_log_flush(c, c->space, 1);
    } else if (unlikely(v->log_total >= LOG_TOTAL_MAX)) {
        for (unsigned i = 0; i < v->max_spaces; i++) {
            if (v->space[i].mapped) {
                tlb_log_flush(c, &v->space[i], 0);
                tlb_log_flush(c, &v->space[i], 1);
            }
        }
    }
    return l;
}

static void note_key(struct tlb_space *s, uint64_t lin, unsigned key)
{
    uint64_t k = (lin & PAGE_MASK) | key;

    for (uint32_t i = 0; i < s->n_keyed && i < KEYED_MAX; i++) {
        if (s->keyed[i] == k) {
            return;
        }
    }
    if (s->n_keyed < KEYED_MAX) {
        s->keyed[s->n_keyed] = k;
    }
    s->n_keyed += s->n_keyed <= KEYED_MAX;
}

void tlb_fill(struct guest_cpu *c, uint64_t lin, unsigned table, uint8_t *host, const struct walk_result *w,
              uint64_t ram_addr)
{
    struct tlb_vcpu *v = c->tlb;

    tlb_touch(c, lin, table);
    struct tlb_log *l = log_room(c, w->global);
    struct tlb_space *s = c->space;
    uint32_t i = l->count++;
    struct fill_rec *r = &l->rec[i];

    v->log_total++;
    r->key = (lin >> 12) << 4 | table;
    r->prev = 0;
    if (table & 1) {
        rev_link(v, r, rec_ref(s, w->global, i), ram_addr);
        c->stat[ST_TLB_FILL_WRITE]++;
    } else {
        c->stat[ST_TLB_FILL_READ]++;
    }
    tlb_note_size(&l->large, lin, w->page_size);
    if (w->global) {
        filter_add(&v->global, lin >> 21);
        tlb_note_size(&v->global_large, lin, w->page_size);
    }
    if (unlikely(w->key)) {
        note_key(s, lin, w->key);
    }
    entry_put(v, s, table, lin, host);
}

void tlb_log_flush(struct guest_cpu *c, struct tlb_space *s, unsigned which)
{
    struct tlb_vcpu *v = c->tlb;
    struct tlb_log *l = &s->log[which];
    uint32_t n = l->count;

    for (uint32_t i = 0; i < n; i++) {
        struct fill_rec *r = &l->rec[i];
        if (r->prev) {
            rev_unlink(v, r);
        }
        tlb_entry_clear(v, s, REC_TABLE(r->key), REC_LIN(r->key));
    }
    l->count = 0;
    v->log_total -= n;
    c->stat[ST_FLUSHED_ENTRIES] += n;
    large_clear(&l->large);
    if (!which) {
        s->hm_seen = 0;
        hm_flush(c, s);
    }
    if (n > LOG_KEEP) {
        fpu_park(c);
        madvise(l->rec + LOG_KEEP, (v->log_cap - LOG_KEEP) * sizeof(struct fill_rec), MADV_DONTNEED);
    }
}

/* SMC and dirty logging: the page's write entries, wherever they are. */
void tlb_unwrite_page(struct guest_cpu *c, uint64_t ram_addr)
{
    struct tlb_vcpu *v = c->tlb;

    if (!v) {
        return;
    }
    unsigned b = rev_bucket(ram_addr);
    for (uint32_t ref = v->rev[b]; ref;) {
        struct tlb_space *s;
        struct fill_rec *r = rec_get(v, ref, &s);
        tlb_entry_clear(v, s, REC_TABLE(r->key), REC_LIN(r->key));
        ref = r->next;
        r->prev = 0;
    }
    v->rev[b] = 0;
    v->gen++;
    hm_unwrite_page(c, ram_addr);
}
