/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flush.c - what each invalidation of the architecture removes (SDM vol. 3, 4.10.4).
 *
 * Does:    whole, non-global, per-PCID and single-address flushes of tables and code contexts.
 * Leaves:  which instruction asks for which to the helpers; CR3 writes to tlb.c.
 *
 * A single-address flush must drop every 4 KiB entry that came from the same large page.  The logs' filters
 * say whether a large page was ever filled near that address; then the whole 2 or 4 MiB (rarely the 1 GiB)
 * around it goes. Flushing more than asked for is always allowed.
 */
#include "tlb/tlb_int.h"

static void stat_flush(struct guest_cpu *c, enum tlb_flush_cause why)
{
    static const uint8_t st[TLBF_CAUSES] = {
        [TLBF_CR3] = ST_FLUSH_CR3,     [TLBF_CR0] = ST_FLUSH_CR0,       [TLBF_CR4] = ST_FLUSH_CR4,
        [TLBF_EFER] = ST_FLUSH_EFER,   [TLBF_INVLPG] = ST_FLUSH_INVLPG, [TLBF_INVPCID] = ST_FLUSH_INVPCID,
        [TLBF_A20] = ST_FLUSH_A20,     [TLBF_MEMMAP] = ST_FLUSH_MEMMAP, [TLBF_RESET] = ST_FLUSH_RESET,
        [TLBF_OTHER] = ST_FLUSH_OTHER, [TLBF_PKRU] = ST_FLUSH_PKRU,     [TLBF_LOG] = ST_FLUSH_LOG,
        [TLBF_SVM] = ST_FLUSH_SVM,     [TLBF_ASID] = ST_FLUSH_SVM,
    };
    c->stat[st[why]]++;
}

void tlb_space_flush(struct guest_cpu *c, struct tlb_space *s)
{
    tlb_log_flush(c, s, 0);
    tlb_log_flush(c, s, 1);
    s->n_keyed = 0;
    tlb_user_clear(s);
}

/* Registers of its own that a guest changed: other ASIDs do not depend on them. */
static bool own_world(enum tlb_flush_cause why)
{
    return why == TLBF_CR3 || why == TLBF_CR0 || why == TLBF_CR4 || why == TLBF_EFER || why == TLBF_INVPCID ||
           why == TLBF_PKRU || why == TLBF_ASID;
}

/* May mappings in the host be kept whose page-table entries are unchanged? */
static bool keeps_pages(enum tlb_flush_cause why)
{
    return why == TLBF_CR3 || why == TLBF_CR4 || why == TLBF_INVPCID || why == TLBF_PKRU;
}

void tlb_flush_all(struct guest_cpu *c, enum tlb_flush_cause why)
{
    struct tlb_vcpu *v = c->tlb;

    if (!v) {
        return;
    }
    stat_flush(c, why);
    bool own = v->nested && own_world(why);
    if (!keeps_pages(why)) {
        hm_reset(c);
    }
    for (unsigned i = 0; i < v->max_spaces; i++) {
        struct tlb_space *s = &v->space[i];
        if (s->mapped && !(own && s->asid != c->svm.asid)) {
            tlb_space_flush(c, s);
            s->live = false;
        }
    }
    tlb_cc_clear(v->sup);
    if (!own) {
        v->sup = c->svm.nested && v->guest.jc ? &v->guest : &v->kernel; /* reset leaves a nested guest */
        tlb_cc_clear(&v->kernel);
        tlb_cc_clear(&v->guest);
        filter_clear(&v->global);
        large_clear(&v->global_large);
        tlb_npt_clear(v);
    }
    tlb_pt_clear(v);
    v->gen++;
    tlb_space_select(c);
    tlb_set_mode(c);
}

void tlb_flush_nonglobal(struct guest_cpu *c, enum tlb_flush_cause why)
{
    struct tlb_vcpu *v = c->tlb;

    if (!v) {
        return;
    }
    stat_flush(c, why);
    for (unsigned i = 0; i < v->max_spaces; i++) {
        if (v->space[i].mapped && v->space[i].asid == c->svm.asid) {
            tlb_log_flush(c, &v->space[i], 0);
            tlb_user_clear(&v->space[i]);
        }
    }
    tlb_cc_clear_nonglobal(v->sup);
    v->gen++;
    tlb_space_select(c);
    tlb_set_mode(c);
}


void tlb_flush_pcid(struct guest_cpu *c, unsigned pcid)
{
    struct tlb_vcpu *v = c->tlb;
    struct tlb_space *s = tlb_space_find(c, pcid);

    stat_flush(c, TLBF_INVPCID);
    if (!s) {
        return;
    }
    tlb_log_flush(c, s, 0);
    tlb_user_clear(s);
    if (s == c->space) {
        tlb_cc_clear_nonglobal(v->sup);
    }
    v->gen++;
}

/* ---- single addresses ---- */
static void region_clear_flat(struct tlb_space *s, uint64_t region)
{
    uint32_t mask = tlb_touched_mask(s, region);

    for (unsigned t = 0; t < TLB_TABLES; t++) {
        if (mask >> t & 1) {
            xbt_zero(&s->tab[t][(region << 9) & (FLAT_PAGES - 1)], PAGE_SIZE);
        }
    }
}

/* All entries whose linear address agrees with lin above bit `shift`. */
static void range_clear(struct tlb_vcpu *v, struct tlb_space *s, uint64_t lin, unsigned shift)
{
    if (v->format == TLB_FLAT) {
        uint64_t first = lin >> shift << (shift - 21);
        for (uint64_t i = 0; i < 1ull << (shift - 21); i++) {
            region_clear_flat(s, first + i);
        }
        return;
    }
    for (unsigned t = 0; t < TLB_TABLES; t++) {
        struct tlb_tagged *g = (void *)s->tab[t];
        for (unsigned i = 0; i < TLB_TAGGED_SIZE; i++) {
            if (g->tag[i] >> shift == lin >> shift) {
                g->tag[i] = TAG_INVALID;
            }
        }
    }
}

static void page_clear(struct tlb_vcpu *v, struct tlb_space *s, uint64_t lin)
{
    unsigned a = tlb_large_near(&s->log[0].large, lin), b = tlb_large_near(&s->log[1].large, lin);

    if (unlikely(a | b)) {
        range_clear(v, s, lin, a > b ? a : b);
        return;
    }
    uint32_t mask = v->format == TLB_FLAT ? tlb_touched_mask(s, lin >> 21) : ~0u;
    for (unsigned t = 0; t < TLB_TABLES; t++) {
        if (mask >> t & 1) {
            tlb_entry_clear(v, s, t, lin);
        }
    }
}

static void keyed_flush(struct guest_cpu *c, struct tlb_space *s, uint32_t denied)
{
    uint32_t kept = 0;

    if (s->n_keyed > KEYED_MAX) {
        tlb_log_flush(c, s, 0);
        tlb_log_flush(c, s, 1);
        s->n_keyed = 0;
    }
    for (uint32_t i = 0; i < s->n_keyed; i++) {
        if (denied >> (2 * (s->keyed[i] & 15)) & 3) {
            page_clear(c->tlb, s, s->keyed[i] & PAGE_MASK);
        } else {
            s->keyed[kept++] = s->keyed[i];
        }
    }
    s->n_keyed = kept;
}

/* Guests that guard their code with a key (V8) write PKRU hundreds of times a second. */
void tlb_flush_pkru(struct guest_cpu *c, uint32_t denied)
{
    struct tlb_vcpu *v = c->tlb;

    if (!v || !denied) {
        return;
    }
    if ((denied & 3) || v->nested) { /* nearly all pages have key 0; spaces of ASIDs know PKRU by their sig */
        tlb_flush_all(c, TLBF_PKRU);
        return;
    }
    stat_flush(c, TLBF_PKRU);
    for (unsigned i = 0; i < v->max_spaces; i++) {
        if (v->space[i].mapped) {
            keyed_flush(c, &v->space[i], denied);
        }
    }
    v->gen++;
}

/* One address in one space, and the global mappings of it everywhere. */
static void flush_address(struct guest_cpu *c, struct tlb_space *s, uint64_t lin)
{
    struct tlb_vcpu *v = c->tlb;

    lin = tlb_lin(c, lin);
    bool global = filter_has(&v->global, lin >> 21) || tlb_large_near(&v->global_large, lin);
    for (unsigned i = 0; i < v->max_spaces; i++) {
        struct tlb_space *o = &v->space[i];
        if (o->mapped && (o == s || global)) {
            page_clear(v, o, lin);
            hm_flush_page(c, o, lin);
            tlb_cc_clear_page(&o->user[0], lin);
            tlb_cc_clear_page(&o->user[1], lin);
        }
    }
    tlb_cc_clear_page(v->sup, lin);
    v->gen++;
}

void tlb_flush_page(struct guest_cpu *c, uint64_t lin)
{
    if (unlikely(c->vm->opt.no_exact)) {
        tlb_flush_all(c, TLBF_INVLPG);
        return;
    }
    stat_flush(c, TLBF_INVLPG);
    flush_address(c, c->space, lin);
}

void tlb_flush_pcid_page(struct guest_cpu *c, unsigned pcid, uint64_t lin)
{
    stat_flush(c, TLBF_INVPCID);
    flush_address(c, tlb_space_find(c, pcid), lin);
}

/* Entries of another ASID are found by its number alone: all its PCIDs, and its supervisor context if it is at hand. */
void tlb_flush_asid_page(struct guest_cpu *c, uint32_t asid, uint64_t lin)
{
    struct tlb_vcpu *v = c->tlb;

    stat_flush(c, TLBF_INVLPG);
    for (unsigned i = 0; i < v->max_spaces; i++) {
        struct tlb_space *s = &v->space[i];
        if (s->mapped && s->asid == asid) {
            page_clear(v, s, lin);
            hm_flush_page(c, s, lin);
            tlb_cc_clear_page(&s->user[0], lin);
            tlb_cc_clear_page(&s->user[1], lin);
        }
    }
    tlb_cc_clear_page(&v->kernel, lin);
    if (v->guest.jc) {
        tlb_cc_clear_page(&v->guest, lin);
    }
    v->gen++;
}
