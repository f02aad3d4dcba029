/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tlb.c - life of a vCPU's TLB: format, reservations, address spaces, the mode in force.
 *
 * Does:    choice of the flat or tagged format and fall-back, one reservation per address space, PCID ->
 *          space with LRU eviction, the table/jump-cache pointers in struct guest_cpu.
 * Leaves:  filling and flushing entries to fill.c and flush.c, code contexts to code.c.
 *
 * Reservations are private anonymous MAP_NORESERVE memory: only touched table pages cost.  They are kept out
 * of core dumps, of children and of transparent huge pages (one entry would cost 2 MiB).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tlb/tlb_int.h"

/* CR4 bits that translations depend on. */
#define CR4_IN_SIG                                                                                         \
    (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE | (1u << 24))
#define JC_BYTES ((size_t)sizeof(struct jc_entry) << JC_BITS)

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    madvise(p, bytes, MADV_DONTDUMP);
    madvise(p, bytes, MADV_DONTFORK);
    madvise(p, bytes, MADV_NOHUGEPAGE);
    return p;
}

static size_t table_bytes(const struct tlb_vcpu *v)
{
    return v->format == TLB_FLAT ? TLB_FLAT_BYTES : sizeof(struct tlb_tagged);
}

static size_t log_bytes(const struct tlb_vcpu *v) { return v->log_cap * sizeof(struct fill_rec); }

/* Tables, logs, the touched set and the user jump caches, in one reservation. */
static size_t space_bytes(const struct tlb_vcpu *v)
{
    return TLB_TABLES * table_bytes(v) + 2 * log_bytes(v) + TOUCH_SLOTS * sizeof(uint64_t) + 2 * JC_BYTES;
}

bool tlb_space_map(struct guest_cpu *c, struct tlb_space *s)
{
    struct tlb_vcpu *v = c->tlb;
    uint8_t *p = reserve(space_bytes(v));

    if (!p) {
        return false;
    }
    for (unsigned t = 0; t < TLB_TABLES; t++) {
        s->tab[t] = (uint64_t *)p;
        p += table_bytes(v);
        if (v->format == TLB_TAGGED) {
            struct tlb_tagged *g = (void *)s->tab[t];
            for (unsigned i = 0; i < TLB_TAGGED_SIZE; i++) {
                g->tag[i] = TAG_INVALID;
            }
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        s->log[i].rec = (void *)p;
        p += log_bytes(v);
    }
    s->touched = (void *)p;
    p += TOUCH_SLOTS * sizeof(uint64_t);
    tlb_cc_init(&s->user[0], (void *)p);
    tlb_cc_init(&s->user[1], (void *)(p + JC_BYTES));
    s->mapped = true;
    v->n_mapped++;
    return true;
}

void tlb_space_unmap(struct guest_cpu *c, struct tlb_space *s)
{
    if (s->mapped) {
        munmap(s->tab[0], space_bytes(c->tlb));
        s->mapped = false;
        c->tlb->n_mapped--;
    }
}

/* A huge private mapping is refused or would be counted or populated: do not even try. */
static const char *flat_refused(void)
{
    char line[128];
    const char *why = NULL;
    FILE *f = fopen("/proc/sys/vm/overcommit_memory", "r");

    if (f) {
        if (fgets(line, sizeof(line), f) && line[0] == '2') {
            why = "vm.overcommit_memory is 2";
        }
        fclose(f);
    }
    f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof(line), f)) {
        if (!strncmp(line, "VmLck:", 6) && strtoul(line + 6, NULL, 10) > 0) {
            why = "memory of the process is locked";
        }
    }
    if (f) {
        fclose(f);
    }
    return why;
}

/* What a vCPU may reserve: all of them share the 128 TiB of the host's address space.  Three quarters are for tables. */
#define HOST_SPAN_TIB 112u
#define SPACE_TIB (TLB_TABLES * (unsigned)(TLB_FLAT_BYTES >> 39) / 2)
_Static_assert(SPACE_TIB == 3 && TLB_FLAT_BYTES == 1ull << 39, "tables of a space take 3 TiB");

static unsigned span_tib(const struct guest_cpu *c)
{
    unsigned n = c->vm->max_cpus;

    return HOST_SPAN_TIB / (n ? n : 1);
}

static unsigned flat_spaces(const struct guest_cpu *c)
{
    unsigned n = span_tib(c) * 3 / 4 / SPACE_TIB;

    return n < TLB_SPACES ? n : TLB_SPACES;
}

unsigned tlb_spare_tib(const struct guest_cpu *c)
{
    return c->tlb->format == TLB_FLAT ? span_tib(c) - flat_spaces(c) * SPACE_TIB : span_tib(c);
}

static bool format_try(struct guest_cpu *c, enum tlb_format f)
{
    struct tlb_vcpu *v = c->tlb;

    v->format = f;
    v->log_cap = f == TLB_FLAT ? LOG_CAP_FLAT : LOG_CAP_TAGGED;
    v->max_spaces = f == TLB_FLAT ? flat_spaces(c) : TLB_SPACES;
    return tlb_space_map(c, &v->space[0]);
}

void tlb_pt_clear(struct tlb_vcpu *v)
{
    for (unsigned i = 0; i < PT_PAGES; i++) {
        v->pt[i].gpa = 1;
    }
}

int tlb_init(struct guest_cpu *c, int force, const char **why)
{
    const char *refused = force == TLB_TAGGED ? "the tagged format was asked for"
                          : !flat_spaces(c)   ? "so many vCPUs do not fit into the host's address space"
                                              : flat_refused();
    struct tlb_vcpu *v = calloc(1, sizeof(*v));
    struct jc_entry *jc = reserve(JC_BYTES);
    uint32_t *rev = reserve(sizeof(uint32_t) << REV_BITS);
    bool ok = v && jc && rev;

    c->tlb = v;
    if (ok) {
        v->rev = rev;
        tlb_pt_clear(v);
        for (unsigned i = 0; i < TLB_SPACES; i++) {
            v->space[i].id = (uint8_t)i;
        }
        tlb_npt_clear(v);
        tlb_cc_init(&v->kernel, jc);
        v->sup = &v->kernel;
        ok = (!refused && format_try(c, TLB_FLAT)) || (force != TLB_FLAT && format_try(c, TLB_TAGGED));
    }
    if (!ok) {
        if (why) {
            *why = force != TLB_FLAT ? "no memory for the TLB"
                   : refused         ? refused
                                     : "a reservation of 3 TiB of address space was refused (ulimit -v?); use tlb=auto or tlb=tagged";
        }
        if (jc) {
            munmap(jc, JC_BYTES);
        }
        if (rev) {
            munmap(rev, sizeof(uint32_t) << REV_BITS);
        }
        free(v);
        c->tlb = NULL;
        return -1;
    }
    c->ea_mask = v->format == TLB_FLAT ? EA_MASK_FLAT : EA_MASK_TAGGED;
    hm_init(c); /* without memory for it all spaces stay cold */
    tlb_space_select(c);
    tlb_set_mode(c);
    return v->format;
}

void tlb_destroy(struct guest_cpu *c)
{
    struct tlb_vcpu *v = c->tlb;

    if (!v) {
        return;
    }
    for (unsigned i = 0; i < TLB_SPACES; i++) {
        tlb_space_unmap(c, &v->space[i]);
    }
    hm_destroy(c);
    munmap(v->kernel.jc, JC_BYTES);
    if (v->guest.jc) {
        munmap(v->guest.jc, JC_BYTES);
    }
    munmap(v->rev, sizeof(uint32_t) << REV_BITS);
    free(v);
    c->tlb = NULL;
    c->space = NULL;
    c->rtab = c->wtab = NULL;
    c->jc = NULL;
    c->cp = NULL;
}

enum tlb_format tlb_format(const struct guest_cpu *c) { return c->tlb->format; }
bool tlb_can_la57(const struct guest_cpu *c) { return c->tlb->format == TLB_TAGGED; }

/* ---- address spaces (SDM vol. 3, 4.10.1) ---- */
struct tlb_space *tlb_space_find(struct guest_cpu *c, unsigned pcid)
{
    struct tlb_vcpu *v = c->tlb;

    for (unsigned i = 0; i < v->max_spaces; i++) {
        struct tlb_space *s = &v->space[i];
        if (s->live && s->pcid == pcid && s->asid == c->svm.asid) {
            return s;
        }
    }
    return NULL;
}

/* A free space, a new one, or the least recently used one, emptied. */
static struct tlb_space *space_new(struct guest_cpu *c, unsigned pcid)
{
    struct tlb_vcpu *v = c->tlb;
    struct tlb_space *old = NULL;

    for (unsigned i = 0; i < v->max_spaces; i++) { /* the one it had: what is mapped into the host is still good */
        struct tlb_space *s = &v->space[i];
        if (s->mapped && !s->live && s->hm && s->pcid == pcid && s->asid == c->svm.asid &&
            s->cr3_base == (c->cr[3] & PAGE_MASK)) {
            return s;
        }
    }
    for (unsigned i = 0; i < v->max_spaces; i++) {
        struct tlb_space *s = &v->space[i];
        if (s->mapped && !s->live) {
            return s;
        }
        if (!s->mapped) {
            fpu_park(c);
            if (tlb_space_map(c, s)) {
                return s;
            }
            v->max_spaces = i; /* the host gives no more; space 0 exists since tlb_init() */
            break;
        }
        if (!old || s->lru < old->lru) {
            old = s;
        }
    }
    c->stat[ST_SPACE_EVICT]++;
    hm_detach(old);
    tlb_space_flush(c, old);
    return old;
}

static inline bool pcid_on(const struct guest_cpu *c) { return (c->cr[4] & CR4_PCIDE) && cpu_lma(c); }

static struct tlb_sig sig_get(const struct guest_cpu *c)
{
    struct tlb_sig s = { .cr0 = c->cr[0] & (CR0_PG | CR0_WP | CR0_PE),
                         .cr4 = c->cr[4] & CR4_IN_SIG, .efer = c->efer & (EFER_NXE | EFER_LMA),
                         .pkru = c->cr[4] & CR4_PKE ? c->pkru : 0, .pkrs = c->pkrs };

    if (c->svm.npt) {
        s.ncr3 = c->svm.ncr3 | 1;
        s.host_cr4 = c->svm.host_cr4;
        s.host_efer = c->svm.host_efer;
    }
    return s;
}

static bool sig_eq(const struct tlb_sig *a, const struct tlb_sig *b)
{
    return a->cr0 == b->cr0 && a->cr4 == b->cr4 && a->efer == b->efer && a->ncr3 == b->ncr3 &&
           a->host_cr4 == b->host_cr4 && a->host_efer == b->host_efer && a->pkru == b->pkru && a->pkrs == b->pkrs;
}

void tlb_space_select(struct guest_cpu *c)
{
    struct tlb_vcpu *v = c->tlb;
    unsigned pcid = pcid_on(c) ? c->cr[3] & 0xfff : 0;
    struct tlb_space *s = tlb_space_find(c, pcid);

    if (!s) {
        s = space_new(c, pcid);
        if (s->pcid != pcid || s->asid != c->svm.asid || s->cr3_base != (c->cr[3] & PAGE_MASK)) {
            hm_detach(s);
        }
        s->live = true;
        s->pcid = (uint16_t)pcid;
        s->asid = c->svm.asid;
        s->cr3_base = c->cr[3] & PAGE_MASK;
        s->sig = sig_get(c);
    } else if (unlikely(v->nested)) {
        struct tlb_sig sig = sig_get(c);
        if (!sig_eq(&s->sig, &sig)) {
            tlb_space_flush(c, s);
            s->sig = sig;
        }
    }
    s->lru = ++v->tick;
    c->space = s;
    hm_space_selected(c);
}

void tlb_cr3_written(struct guest_cpu *c, bool noflush)
{
    struct tlb_vcpu *v = c->tlb;
    struct tlb_space *from = c->space;
    uint64_t base = c->cr[3] & PAGE_MASK;

    tlb_space_select(c);
    struct tlb_space *s = c->space;
    /* Entries kept for another page directory would be legal (they are the PCID's), but help nobody. */
    if (!noflush || !pcid_on(c) || s->cr3_base != base || c->vm->opt.no_pcid) {
        if (s->cr3_base != base) {
            hm_detach(s);
        }
        tlb_log_flush(c, s, 0);
        tlb_user_clear(s);
        if (unlikely(c->vm->opt.no_global)) {
            tlb_log_flush(c, s, 1);
            tlb_cc_clear(v->sup);
        }
        c->stat[ST_FLUSH_CR3]++;
    } else {
        c->stat[ST_SPACE_SWITCH]++;
        if (s == from) {
            return;
        }
    }
    s->cr3_base = base;
    hm_space_selected(c);
    tlb_cc_clear_nonglobal(v->sup);
    v->gen++;
    tlb_set_mode(c);
}

/* ---- the worlds of AMD SVM (APM vol. 2, 15.16) ---- */
static inline struct tlb_world *world_of(struct guest_cpu *c) { return &c->tlb->world[c->svm.nested != 0]; }

void tlb_world_leave(struct guest_cpu *c)
{
    *world_of(c) = (struct tlb_world){ c->svm.asid, c->cr[3], sig_get(c) };
}

/* The first VMRUN: a supervisor context for the nested guest.  Without memory both worlds share one. */
static void guest_context(struct guest_cpu *c)
{
    struct tlb_vcpu *v = c->tlb;

    fpu_park(c);
    struct jc_entry *jc = reserve(JC_BYTES);
    if (jc) {
        tlb_cc_init(&v->guest, jc);
    }
    v->nested = true;
}

void tlb_world_enter(struct guest_cpu *c, enum tlb_world_flush flush)
{
    struct tlb_vcpu *v = c->tlb;
    struct tlb_world *w = world_of(c);
    struct tlb_sig sig = sig_get(c);

    if (unlikely(!v->nested)) {
        guest_context(c);
    }
    v->sup = c->svm.nested && v->guest.jc ? &v->guest : &v->kernel;
    if (w->asid != c->svm.asid || w->cr3 != c->cr[3] || !sig_eq(&w->sig, &sig) || !v->guest.jc) {
        tlb_cc_clear(v->sup);
    }
    if (c->svm.npt && (w->asid != c->svm.asid || !sig_eq(&w->sig, &sig))) {
        tlb_npt_clear(v);
    }
    if (flush != TLBW_KEEP) {
        tlb_npt_clear(v);
        tlb_flush_all(c, flush == TLBW_ASID ? TLBF_ASID : TLBF_SVM);
        return;
    }
    v->gen++;
    tlb_space_select(c);
    if (c->space->cr3_base != (c->cr[3] & PAGE_MASK)) {
        hm_detach(c->space);
        tlb_space_flush(c, c->space);
        c->space->cr3_base = c->cr[3] & PAGE_MASK;
        hm_space_selected(c);
    }
}

/* ---- the mode in force ---- */
/* hflags that hold for a few instructions: not worth emptying a jump cache for. */
#define HF_PASSING (HF_TF | HF_SHADOW | HF_RF | HF_DBG | HF_DF)

void tlb_set_mode(struct guest_cpu *c)
{
    struct tlb_vcpu *v = c->tlb;

    if (unlikely(!v)) {
        return;
    }
    struct tlb_space *s = c->space;
    struct tlb_cc *cc = (c->hflags & HF_CPL_MASK) == 3 ? &s->user[c->hflags & HF_HM ? 1 : 0] : v->sup;

    c->rtab = s->tab[tlb_table(c->mmu_mode, false)];
    c->wtab = s->tab[tlb_table(c->mmu_mode, true)];
    c->cp = cc->cp;
    v->cc = cc;
    if (unlikely(c->hflags & HF_PASSING)) {
        c->jc = tlb_jc_none();
        return;
    }
    uint32_t limit = c->hflags & HF_CSLIM ? c->seg[S_CS].limit : ~0u; /* as in the block's key */
    if (unlikely(cc->key_hflags != c->hflags || cc->key_cs_base != c->cs_base || cc->key_cs_limit != limit)) {
        tlb_cc_jc_clear(cc);
        cc->key_hflags = c->hflags;
        cc->key_cs_base = c->cs_base;
        cc->key_cs_limit = limit;
    }
    c->jc = cc->jc;
}
