/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * walk.c - the page-table walk: linear address -> guest-physical address, rights, fault code.
 *
 * Does:    every paging mode (SDM vol. 3, 4.3 to 4.5), access rights (4.6), page-fault error codes (4.7),
 *          accessed and dirty bits by compare-and-swap (4.8), protection keys (4.6.2), A20 on every physical
 *          address; nested paging (APM vol. 2, 15.25): the guest's table entries and the result go through
 *          the host's tables.
 * Leaves:  raising faults and filling tables to slow.c; canonical checks to the callers; the PDPTE check of
 *          MOV CR3 to the helper, through tlb_pdptes_ok().
 *
 * PAE page-directory-pointer entries are read from memory at each walk, where Intel processors hold them in
 * registers loaded with CR3.  Software that changes one must reload CR3 to be sure of an effect, so it
 * cannot tell.
 */
#include "tlb/tlb_int.h"
#include "translator/smp.h"

#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_RSVD 8u
#define PF_ID 16u
#define PF_PK 32u

/* Error codes of nested page faults (APM vol. 2, 15.25.6): what was being translated. */
#define NPF_FINAL (1ull << 32)
#define NPF_TABLE (1ull << 33)

/* The registers a set of page tables depends on. */
struct root {
    uint64_t cr3, cr4, efer;
    bool nested;   /* its addresses go through nested page tables */
};

/* An entry that was read, and where (after nested paging). */
struct entry {
    uint64_t val, gpa;
    uint8_t *host; /* NULL: device memory */
};

/* The path of one walk. */
struct path {
    struct entry e[5];
    unsigned n;      /* entries read; the last is the leaf */
    unsigned has_a;  /* mask of entries that have accessed bits */
    unsigned size;   /* bytes per entry, 4 or 8 */
    uint64_t rights; /* AND of the W and U bits, NX if any has it */
    uint64_t gpa, page_size;
    bool present, reserved;
    bool npf;        /* a table is not accessible: nested page fault */
    uint64_t npf_gpa, npf_info;
};

/* The host page of a table, from a small cache that every full flush empties. */
static inline uint8_t *table_page(struct guest_cpu *c, uint64_t gpa)
{
    struct pt_page *e = &c->tlb->pt[(gpa >> 12) & (PT_PAGES - 1)];

    if (unlikely(e->gpa != (gpa & PAGE_MASK) || c->vm->opt.no_walk_cache)) {
        struct phys_page pg = physmap_lookup(c->vm->phys, gpa);
        if (!pg.host) {
            return NULL;
        }
        e->gpa = gpa & PAGE_MASK;
        e->host = pg.host;
    }
    return e->host;
}

static uint64_t __attribute__((noinline)) entry_device(struct guest_cpu *c, uint64_t gpa, unsigned size)
{
    uint64_t v = ~0ull;

    fpu_park(c);
    unsigned old = smp_rest(c, SMP_PAUSED);
    if (!c->host->mmio_read(c, gpa, size, &v)) {
        v = ~0ull;
    }
    smp_wake(c, old);
    return size == 8 ? v : (uint32_t)v;
}

static bool nested_translate(struct guest_cpu *c, uint64_t *gpa, enum access acc, bool set_ad, bool quiet,
                             struct path *guest);

/* False: nested page fault, described in p.  Accesses to the guest's tables count as writes, because they may set
 * accessed and dirty bits. */
static inline bool entry_read(struct guest_cpu *c, const struct root *r, struct path *p, struct entry *e,
                              uint64_t gpa, unsigned size, bool quiet)
{
    if (unlikely(r->nested) && !nested_translate(c, &gpa, ACC_WRITE, !quiet, quiet, p)) {
        p->npf_info |= NPF_TABLE;
        return false;
    }
    gpa &= c->a20_mask;
    /* The debugger may ask from another thread: it leaves the cache alone, and devices. */
    uint8_t *h = quiet ? physmap_lookup(c->vm->phys, gpa).host : table_page(c, gpa);

    e->gpa = gpa;
    e->host = h;
    if (likely(h != NULL)) {
        h += gpa & 0xfff;
        e->host = h;
        e->val = size == 8 ? __atomic_load_n((uint64_t *)h, __ATOMIC_RELAXED)
                           : __atomic_load_n((uint32_t *)h, __ATOMIC_RELAXED);
    } else {
        e->val = quiet ? 0 : entry_device(c, gpa, size);
    }
    return true;
}

/* Set bits in an entry.  False: it changed since it was read. */
static bool __attribute__((noinline))
entry_set(struct guest_cpu *c, struct entry *e, uint64_t bits, unsigned size)
{
    struct phys_page pg = physmap_lookup(c->vm->phys, e->gpa);
    uint64_t ram_addr = pg.ram_addr + (e->gpa & 0xfff);
    bool ok;

    if (!e->host || !(pg.flags & PHYS_RAM)) {
        return true; /* tables in ROM or device memory stay as they are */
    }
    if (unlikely(pg.flags & PHYS_LOG)) {
        fpu_park(c);
        c->host->mark_dirty(c, ram_addr, size);
    }
    tb_note_writer(c, pg.ram_addr);
    bool code = tb_page_has_code(c->vm->store, pg.ram_addr);
    if (size == 8) {
        uint64_t old = e->val;
        ok = __atomic_compare_exchange_n((uint64_t *)e->host, &old, old | bits, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST);
    } else {
        uint32_t old = (uint32_t)e->val;
        ok = __atomic_compare_exchange_n((uint32_t *)e->host, &old, old | (uint32_t)bits, false,
                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    if (unlikely(code)) {
        tb_stored(c, ram_addr, size, TBD_SMC_OTHER);
    }
    e->val |= bits;
    return ok;
}

/* 32-bit paging, SDM vol. 3, 4.3. */
static void path_32(struct guest_cpu *c, const struct root *r, struct path *p, uint64_t lin, bool quiet)
{
    p->size = 4;
    p->has_a = 3;
    p->n = 1;
    if (!entry_read(c, r, p, &p->e[0], (r->cr3 & 0xfffff000u) + ((lin >> 22) & 1023) * 4, 4, quiet)) {
        return;
    }
    uint64_t pde = p->e[0].val;
    if (!(pde & PTE_P)) {
        return;
    }
    p->rights = pde & (PTE_W | PTE_U);
    if ((pde & PTE_PS) && (r->cr4 & CR4_PSE)) {
        /* PSE-36: bits 20:13 are address bits 39:32; those above the physical width, and bit 21, are
         * reserved. */
        uint64_t high = (pde >> 13 & 0x1ff) << 32;
        uint64_t ok = c->model.f1_edx & (1u << 17) ? phys_limit_mask(c) & 0xff00000000ull : 0;
        p->present = true;
        p->reserved = high & ~ok;
        p->page_size = 1u << 22;
        p->gpa = high | (pde & 0xffc00000u) | (lin & 0x3fffff);
        return;
    }
    p->n = 2;
    if (!entry_read(c, r, p, &p->e[1], (pde & 0xfffff000u) + ((lin >> 12) & 1023) * 4, 4, quiet)) {
        return;
    }
    uint64_t pte = p->e[1].val;
    p->rights &= pte;
    p->present = pte & PTE_P;
    p->page_size = PAGE_SIZE;
    p->gpa = (pte & 0xfffff000u) | (lin & 0xfff);
}

/* Reserved bits of every entry of PAE, 4- and 5-level paging (SDM vol. 3, tables 4-8 to 4-20). */
static inline uint64_t reserved_mask(const struct guest_cpu *c, const struct root *r, bool lma)
{
    uint64_t rsvd = PTE_ADDR & ~phys_limit_mask(c);

    return rsvd | (lma ? 0 : 0x7ffull << 52) | (r->efer & EFER_NXE ? 0 : PTE_NX);
}

/* Those of a PDPTE of PAE paging, which has no rights. */
static inline uint64_t reserved_pdpte(uint64_t rsvd) { return rsvd | PTE_NX | 0x1e6; }

/* Those that depend on the level, for an entry that has PS set above the lowest one. */
static uint64_t reserved_ps(const struct guest_cpu *c, unsigned level)
{
    if (level >= 4 || (level == 3 && !(c->model.f81_edx & (1u << 26)))) {
        return PTE_PS;
    }
    return level == 3 ? 0x3fffe000 : 0x1fe000;
}

static void path_64(struct guest_cpu *c, const struct root *r, struct path *p, uint64_t lin, bool quiet)
{
    bool lma = r->efer & EFER_LMA;
    unsigned level = !lma ? 3 : r->cr4 & CR4_LA57 ? 5 : 4;
    unsigned shift = 12 + 9 * (level - 1), n = 0;
    uint64_t table = r->cr3 & (lma ? PTE_ADDR : 0xffffffe0u);
    uint64_t rsvd = reserved_mask(c, r, lma), rights = PTE_W | PTE_U, nx = 0, v;

    p->size = 8;
    for (;; level--, shift -= 9) {
        if (!entry_read(c, r, p, &p->e[n], table + (lin >> shift & 511) * 8, 8, quiet)) {
            return;
        }
        v = p->e[n++].val;
        if (!(v & PTE_P)) {
            break;
        }
        if (unlikely(!lma && level == 3)) { /* a PDPTE; bits 63:32 of lin are 0, so its index is 0 to 3 */
            p->reserved = v & reserved_pdpte(rsvd);
        } else {
            p->has_a |= 1u << (n - 1);
            rights &= v;
            nx |= v & PTE_NX;
            p->reserved = v & (level > 1 && (v & PTE_PS) ? rsvd | reserved_ps(c, level) : rsvd);
            if (level == 1 || (v & PTE_PS)) {
                p->present = true;
                break;
            }
        }
        if (unlikely(p->reserved)) {
            p->present = true;
            break;
        }
        table = v & PTE_ADDR;
    }
    p->n = n;
    p->rights = (rights & (PTE_W | PTE_U)) | nx;
    p->page_size = 1ull << shift;
    p->gpa = (v & PTE_ADDR & ~(p->page_size - 1)) | (lin & (p->page_size - 1));
}

static inline void path_get(struct guest_cpu *c, const struct root *r, struct path *p, uint64_t lin, bool quiet)
{
    p->n = 0;
    p->has_a = 0;
    p->rights = 0;
    p->present = p->reserved = p->npf = false;
    if (r->cr4 & CR4_PAE) {
        path_64(c, r, p, lin, quiet);
    } else {
        path_32(c, r, p, lin, quiet);
    }
}

static inline struct root root_get(const struct guest_cpu *c)
{
    return (struct root){ c->cr[3], c->cr[4], c->efer, c->svm.npt };
}

/* Protection keys: does the key of the page deny this data access?  SDM vol. 3, 4.6.2. */
static bool pkey_denies(const struct guest_cpu *c, const struct path *p, bool write, bool user)
{
    bool user_page = p->rights & PTE_U;

    if (!(c->cr[4] & (user_page ? CR4_PKE : CR4_PKS)) || !cpu_lma(c)) {
        return false;
    }
    unsigned bits = (user_page ? c->pkru : c->pkrs) >> (2 * (p->e[p->n - 1].val >> 59 & 15)) & 3;
    return (bits & 1) || (write && (bits & 2) && (user || (c->cr[0] & CR0_WP)));
}

/* The bits to add to the error code: 0 = allowed.  SDM vol. 3, 4.6.1. */
static uint32_t rights_error(const struct guest_cpu *c, const struct path *p, enum access acc,
                             enum mmu_mode mode)
{
    bool user = mode == MMU_USER, user_page = p->rights & PTE_U;
    uint32_t err = 0;

    if (user ? !user_page
             : user_page &&
                   (acc == ACC_EXEC ? (c->cr[4] & CR4_SMEP) != 0 : mode == MMU_KERNEL && c->smap_on)) {
        err = PF_P;
    }
    if (acc == ACC_EXEC && (p->rights & PTE_NX)) {
        err = PF_P;
    }
    if (acc == ACC_WRITE && !(p->rights & PTE_W) && (user || (c->cr[0] & CR0_WP))) {
        err = PF_P;
    }
    if (acc != ACC_EXEC && pkey_denies(c, p, acc == ACC_WRITE, user)) {
        err = PF_P | PF_PK;
    }
    return err;
}

static uint32_t access_bits(const struct guest_cpu *c, enum access acc, enum mmu_mode mode)
{
    uint32_t e = (acc == ACC_WRITE ? PF_W : 0) | (mode == MMU_USER ? PF_U : 0);

    if (acc == ACC_EXEC && (((c->cr[4] & CR4_PAE) && (c->efer & EFER_NXE)) || (c->cr[4] & CR4_SMEP))) {
        e |= PF_ID;
    }
    return e;
}

/* Accessed and dirty bits.  False: an entry changed under us, walk again. */
static bool path_set_ad(struct guest_cpu *c, struct path *p, bool write)
{
    for (unsigned i = 0; i < p->n; i++) {
        uint64_t need = p->has_a >> i & 1 ? PTE_A : 0;
        if (write && i == p->n - 1) {
            need |= PTE_D;
        }
        if (unlikely((p->e[i].val & need) != need) && !entry_set(c, &p->e[i], need, p->size)) {
            return false;
        }
    }
    return true;
}

/* ---- nested page tables (APM vol. 2, 15.25) ---- */

/* Their rights: every access is a user access; CR0.WP, SMEP, SMAP and protection keys do not count. */
static uint32_t nested_error(const struct path *p, enum access acc)
{
    if (!p->present) {
        return 0;
    }
    if (p->reserved) {
        return PF_P | PF_RSVD;
    }
    if (!(p->rights & PTE_U) || (acc == ACC_EXEC && (p->rights & PTE_NX)) ||
        (acc == ACC_WRITE && !(p->rights & PTE_W))) {
        return PF_P;
    }
    return ~0u;
}

static uint32_t nested_access_bits(const struct guest_cpu *c, enum access acc)
{
    uint32_t e = PF_U | (acc == ACC_WRITE ? PF_W : 0);

    if (acc == ACC_EXEC &&
        (((c->svm.host_cr4 & CR4_PAE) && (c->svm.host_efer & EFER_NXE)) || (c->svm.host_cr4 & CR4_SMEP))) {
        e |= PF_ID;
    }
    return e;
}

/* One translation of a page that the nested tables allow.  Writable: and its dirty bit is set. */
static void nested_walk(struct guest_cpu *c, uint64_t gpa, enum access acc, bool set_ad, bool quiet,
                        struct npt_page *out, struct path *fault)
{
    const struct root r = { c->svm.ncr3, c->svm.host_cr4, c->svm.host_efer, false };
    struct path p;
    uint32_t err;

    do {
        path_get(c, &r, &p, gpa, quiet);
        err = nested_error(&p, acc);
        if (quiet && p.present && !p.reserved) {
            err = ~0u;
        }
        if (err != ~0u) {
            fault->npf = true;
            fault->npf_gpa = gpa;
            fault->npf_info = err | nested_access_bits(c, acc);
            return;
        }
    } while (set_ad && !path_set_ad(c, &p, acc == ACC_WRITE));
    out->gpa = gpa & PAGE_MASK;
    out->to = p.gpa & PAGE_MASK;
    out->writable = (p.rights & PTE_W) && (p.e[p.n - 1].val & PTE_D);
    out->exec = !(p.rights & PTE_NX);
}

/* Replaces *gpa by the host's physical address; false: fault noted in `guest`. */
static bool nested_translate(struct guest_cpu *c, uint64_t *gpa, enum access acc, bool set_ad, bool quiet,
                             struct path *guest)
{
    struct npt_page *e = &c->tlb->npt[(*gpa >> 12) & (NPT_PAGES - 1)], tmp;

    if (quiet || e->gpa != (*gpa & PAGE_MASK) || (acc == ACC_WRITE && !e->writable) ||
        (acc == ACC_EXEC && !e->exec)) {
        nested_walk(c, *gpa, acc, set_ad, quiet, &tmp, guest);
        if (guest->npf) {
            return false;
        }
        if (quiet || !set_ad) {
            *gpa = tmp.to | (*gpa & 0xfff);
            return true;
        }
        *e = tmp;
    }
    *gpa = e->to | (*gpa & 0xfff);
    return true;
}

void tlb_npt_clear(struct tlb_vcpu *v)
{
    for (unsigned i = 0; i < NPT_PAGES; i++) {
        v->npt[i].gpa = 1;
    }
}

/* The last step of a nested walk: r->gpa, and what the nested tables say about it. */
static void __attribute__((noinline))
walk_nested(struct guest_cpu *c, enum access acc, bool set_ad, struct walk_result *r)
{
    struct path p = { .npf = false };
    uint64_t gpa = r->gpa;

    if (!nested_translate(c, &gpa, acc, set_ad, false, &p)) {
        r->ok = false;
        r->npf = true;
        r->npf_info = p.npf_info | NPF_FINAL;
        return;
    }
    const struct npt_page *e = &c->tlb->npt[(r->gpa >> 12) & (NPT_PAGES - 1)];
    r->writable = r->writable && e->gpa == (r->gpa & PAGE_MASK) && e->writable;
    r->gpa = gpa & c->a20_mask;
}

/* ---- the walk ---- */

struct walk_result tlb_walk(struct guest_cpu *c, uint64_t lin, enum access acc, enum mmu_mode mode,
                            bool set_ad)
{
    const struct root root = root_get(c);
    struct walk_result r = { .page_size = PAGE_SIZE };
    struct path p;
    uint32_t err;

    c->stat[ST_PAGE_WALKS]++;
    lin = tlb_lin(c, lin);
    if (!(c->cr[0] & CR0_PG)) {
        r.gpa = lin & c->a20_mask;
        r.writable = r.user = r.ok = true;
        if (unlikely(root.nested)) {
            walk_nested(c, acc, set_ad, &r);
        }
        return r;
    }
    do {
        path_get(c, &root, &p, lin, false);
        if (unlikely(p.npf)) {
            r.npf = true;
            r.gpa = p.npf_gpa;
            r.npf_info = p.npf_info;
            return r;
        }
        if (!p.present || p.reserved) {
            r.error = access_bits(c, acc, mode) | (p.reserved ? PF_P | PF_RSVD : 0);
            return r;
        }
        err = rights_error(c, &p, acc, mode);
        if (err) {
            r.error = access_bits(c, acc, mode) | err;
            return r;
        }
    } while (set_ad && !path_set_ad(c, &p, acc == ACC_WRITE));

    uint64_t leaf = p.e[p.n - 1].val;
    r.gpa = p.gpa & c->a20_mask;
    r.page_size = p.page_size;
    r.global = (leaf & PTE_G) && (c->cr[4] & CR4_PGE);
    r.user = p.rights & PTE_U;
    r.key = r.user && (c->cr[4] & CR4_PKE) && cpu_lma(c) ? leaf >> 59 & 15 : 0;
    r.writable = (leaf & PTE_D) && (acc == ACC_WRITE || !rights_error(c, &p, ACC_WRITE, mode));
    r.ok = true;
    if (unlikely(root.nested)) {
        r.gpa = p.gpa;
        walk_nested(c, acc, set_ad, &r);
    }
    return r;
}

uint64_t tlb_debug_phys(struct guest_cpu *c, uint64_t lin)
{
    const struct root root = root_get(c);
    struct path p = { .npf = false };
    uint64_t gpa;

    lin = tlb_lin(c, lin);
    if (!tlb_canonical(c, lin) && (c->cr[0] & CR0_PG)) {
        return ~0ull;
    }
    gpa = lin;
    if (c->cr[0] & CR0_PG) {
        path_get(c, &root, &p, lin, true);
        if (p.npf || !p.present || p.reserved) {
            return ~0ull;
        }
        gpa = p.gpa;
    }
    if (root.nested && !nested_translate(c, &gpa, ACC_READ, false, true, &p)) {
        return ~0ull;
    }
    return gpa & c->a20_mask;
}

bool tlb_pdptes_ok(struct guest_cpu *c, uint64_t cr3)
{
    const struct root r = { cr3, c->cr[4], c->efer, false };
    struct path p = { .npf = false };
    struct entry e;

    for (unsigned i = 0; i < 4; i++) {
        entry_read(c, &r, &p, &e, (cr3 & 0xffffffe0u) + i * 8, 8, false);
        if ((e.val & PTE_P) && (e.val & reserved_pdpte(reserved_mask(c, &r, false)))) {
            return false;
        }
    }
    return true;
}
