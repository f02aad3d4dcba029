/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * walk.c - the page-table walk: linear address -> guest-physical address, rights, fault code.
 *
 * Does:    every paging mode (SDM vol. 3, 4.3 to 4.5), access rights (4.6), page-fault error codes (4.7),
 *          accessed and dirty bits by compare-and-swap (4.8), protection keys (4.6.2), A20 on every physical
 *          address.
 * Leaves:  raising faults and filling tables to slow.c; canonical checks to the callers; the PDPTE check of
 *          MOV CR3 to the helper, through tlb_pdptes_ok().
 *
 * PAE page-directory-pointer entries are read from memory at each walk, where Intel processors hold them in
 * registers loaded with CR3.  Software that changes one must reload CR3 to be sure of an effect, so it
 * cannot tell.
 */
#include "tlb/tlb_int.h"

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_G 0x100ull
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_RSVD 8u
#define PF_ID 16u
#define PF_PK 32u

/* An entry that was read, and where. */
struct entry {
    uint64_t val, gpa, ram_addr;
    uint8_t *host; /* NULL: device memory, or ROM: cannot be updated */
    uint32_t flags;
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
};

static inline uint64_t phys_limit_mask(const struct guest_cpu *c)
{
    unsigned bits = c->model.phys_bits ? c->model.phys_bits : 40;
    return bits >= 52 ? PTE_ADDR | 0xfff : (1ull << bits) - 1;
}

static void entry_read(struct guest_cpu *c, struct entry *e, uint64_t gpa, unsigned size, bool quiet)
{
    gpa &= c->a20_mask;
    struct phys_page pg = physmap_lookup(c->vm->phys, gpa);

    e->gpa = gpa;
    e->ram_addr = pg.ram_addr + (gpa & 0xfff);
    e->flags = pg.flags;
    e->host = NULL;
    if (likely(pg.host != NULL)) {
        uint8_t *h = pg.host + (gpa & 0xfff);
        e->val = size == 8 ? __atomic_load_n((uint64_t *)h, __ATOMIC_RELAXED)
                           : __atomic_load_n((uint32_t *)h, __ATOMIC_RELAXED);
        e->host = pg.flags & PHYS_RAM ? h : NULL;
        return;
    }
    e->val = 0;
    if (!quiet) { /* tables in device memory */
        uint64_t v = ~0ull;
        fpu_park(c);
        if (!c->host->mmio_read(c, gpa, size, &v)) {
            v = ~0ull;
        }
        e->val = size == 8 ? v : (uint32_t)v;
    }
}

/* Set bits in an entry.  False: it changed since it was read. */
static bool entry_set(struct guest_cpu *c, struct entry *e, uint64_t bits, unsigned size)
{
    bool ok, hit;

    if (!e->host) {
        return true;
    }
    if (unlikely(e->flags & PHYS_LOG)) {
        fpu_park(c);
        c->host->mark_dirty(c, e->ram_addr, size);
    }
    if (unlikely(tb_page_has_code(c->vm->store, e->ram_addr & PAGE_MASK))) {
        tb_invalidate_range(c, e->ram_addr, size, TBD_SMC_OTHER, &hit);
    }
    if (size == 8) {
        uint64_t old = e->val;
        ok = __atomic_compare_exchange_n((uint64_t *)e->host, &old, old | bits, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST);
    } else {
        uint32_t old = (uint32_t)e->val;
        ok = __atomic_compare_exchange_n((uint32_t *)e->host, &old, old | (uint32_t)bits, false,
                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    e->val |= bits;
    return ok;
}

/* 32-bit paging, SDM vol. 3, 4.3. */
static void path_32(struct guest_cpu *c, struct path *p, uint64_t lin, bool quiet)
{
    p->size = 4;
    p->has_a = 3;
    p->n = 1;
    entry_read(c, &p->e[0], (c->cr[3] & 0xfffff000u) + ((lin >> 22) & 1023) * 4, 4, quiet);
    uint64_t pde = p->e[0].val;
    if (!(pde & PTE_P)) {
        return;
    }
    p->rights = pde & (PTE_W | PTE_U);
    if ((pde & PTE_PS) && (c->cr[4] & CR4_PSE)) {
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
    entry_read(c, &p->e[1], (pde & 0xfffff000u) + ((lin >> 12) & 1023) * 4, 4, quiet);
    uint64_t pte = p->e[1].val;
    p->rights &= pte;
    p->present = pte & PTE_P;
    p->page_size = PAGE_SIZE;
    p->gpa = (pte & 0xfffff000u) | (lin & 0xfff);
}

/* Reserved bits of one entry of PAE, 4- and 5-level paging (SDM vol. 3, tables 4-8 to 4-20). */
static bool entry_reserved(const struct guest_cpu *c, uint64_t e, unsigned level, bool lma, bool leaf)
{
    uint64_t rsvd = PTE_ADDR & ~phys_limit_mask(c);

    if (!lma) {
        rsvd |= 0x7ffull << 52;
        if (level == 3) {
            return e & (rsvd | PTE_NX | 0x1e6);
        }
    }
    if (!(c->efer & EFER_NXE)) {
        rsvd |= PTE_NX;
    }
    if (level >= 4 || (level == 3 && !(c->model.f81_edx & (1u << 26)))) {
        rsvd |= PTE_PS;
    } else if (leaf && level == 3) {
        rsvd |= 0x3fffe000;
    } else if (leaf && level == 2) {
        rsvd |= 0x1fe000;
    }
    return e & rsvd;
}

static void path_64(struct guest_cpu *c, struct path *p, uint64_t lin, bool quiet)
{
    bool lma = cpu_lma(c);
    unsigned top = !lma ? 3 : c->cr[4] & CR4_LA57 ? 5 : 4;
    uint64_t table = c->cr[3] & (lma ? PTE_ADDR : 0xffffffe0u);

    p->size = 8;
    p->rights = PTE_W | PTE_U;
    for (unsigned level = top;; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t index = lin >> shift & (!lma && level == 3 ? 3 : 511);
        struct entry *e = &p->e[p->n];
        entry_read(c, e, table + index * 8, 8, quiet);
        uint64_t v = e->val;
        if (!(v & PTE_P)) {
            p->n++;
            return;
        }
        bool leaf = level == 1 || ((v & PTE_PS) && (level == 2 || (level == 3 && lma)));
        if (unlikely(entry_reserved(c, v, level, lma, leaf))) {
            p->n++;
            p->present = p->reserved = true;
            return;
        }
        if (lma || level < 3) {
            p->has_a |= 1u << p->n;
            p->rights = (p->rights & v & (PTE_W | PTE_U)) | ((p->rights | v) & PTE_NX);
        }
        p->n++;
        if (leaf) {
            p->present = true;
            p->page_size = 1ull << shift;
            p->gpa = (v & PTE_ADDR & ~(p->page_size - 1)) | (lin & (p->page_size - 1));
            return;
        }
        table = v & PTE_ADDR;
    }
}

static inline void path_get(struct guest_cpu *c, struct path *p, uint64_t lin, bool quiet)
{
    p->n = 0;
    p->has_a = 0;
    p->rights = 0;
    p->present = p->reserved = false;
    if (c->cr[4] & CR4_PAE) {
        path_64(c, p, lin, quiet);
    } else {
        path_32(c, p, lin, quiet);
    }
}

/* Protection keys: does the key of a user page deny this data access?  SDM vol. 3, 4.6.2. */
static bool pkey_denies(const struct guest_cpu *c, uint64_t pte, bool write, bool user)
{
    if (!(c->cr[4] & CR4_PKE) || !cpu_lma(c)) {
        return false;
    }
    unsigned bits = c->pkru >> (2 * (pte >> 59 & 15)) & 3;
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
    if (user_page && acc != ACC_EXEC && pkey_denies(c, p->e[p->n - 1].val, acc == ACC_WRITE, user)) {
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

struct walk_result tlb_walk(struct guest_cpu *c, uint64_t lin, enum access acc, enum mmu_mode mode,
                            bool set_ad)
{
    struct walk_result r = { .page_size = PAGE_SIZE };
    struct path p;
    uint32_t err;

    lin = tlb_lin(c, lin);
    if (!(c->cr[0] & CR0_PG)) {
        r.gpa = lin & c->a20_mask;
        r.writable = r.user = r.ok = true;
        return r;
    }
    do {
        path_get(c, &p, lin, false);
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
    r.writable = (leaf & PTE_D) && (acc == ACC_WRITE || !rights_error(c, &p, ACC_WRITE, mode));
    r.ok = true;
    return r;
}

uint64_t tlb_debug_phys(struct guest_cpu *c, uint64_t lin)
{
    struct path p;

    lin = tlb_lin(c, lin);
    if (!(c->cr[0] & CR0_PG)) {
        return lin & c->a20_mask;
    }
    if (!tlb_canonical(c, lin)) {
        return ~0ull;
    }
    path_get(c, &p, lin, true);
    return p.present && !p.reserved ? p.gpa & c->a20_mask : ~0ull;
}

bool tlb_pdptes_ok(struct guest_cpu *c, uint64_t cr3)
{
    struct entry e;

    for (unsigned i = 0; i < 4; i++) {
        entry_read(c, &e, (cr3 & 0xffffffe0u) + i * 8, 8, false);
        if ((e.val & PTE_P) && entry_reserved(c, e.val, 3, false, false)) {
            return false;
        }
    }
    return true;
}
