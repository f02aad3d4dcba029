/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svm_vmcb.c - the VMCB and the host save area in guest-physical memory; VMLOAD and VMSAVE.
 *
 * Addresses are the host's: nested paging does not apply.  What they name may be anything, device memory too; a
 * store goes the way of any other store (dirty logging, translated code).
 *
 * APM vol. 2, 15.5.1 (canonicalization), appendix B.
 */
#include "tb-store/tb.h"
#include "translator/desc.h"
#include "translator/svm.h"

typedef uint16_t __attribute__((may_alias)) u16a;
typedef uint32_t __attribute__((may_alias)) u32a;
typedef uint64_t __attribute__((may_alias)) u64a;

struct svm_page svm_page(struct guest_cpu *c, uint64_t gpa, bool write)
{
    struct svm_page p = { .gpa = gpa & ~0xfffull & c->a20_mask };
    struct phys_page pg = physmap_lookup(c->vm->phys, p.gpa);
    bool hit;

    if (!pg.host || (write && !(pg.flags & PHYS_RAM))) {
        return p;
    }
    p.host = pg.host;
    if (!write) {
        return p;
    }
    if (pg.flags & PHYS_LOG) {
        fpu_park(c);
        c->host->mark_dirty(c, pg.ram_addr, 4096);
    }
    if (tb_page_has_code(c->vm->store, pg.ram_addr)) {
        tb_invalidate_range(c, pg.ram_addr, 4096, TBD_SMC_OTHER, &hit);
        c->stat[ST_SLOW_WRITE_CODE]++; /* the running block may be one of them */
    }
    return p;
}

uint64_t svm_ld(struct guest_cpu *c, const struct svm_page *p, unsigned off, unsigned size)
{
    uint64_t v = ~0ull;

    if (__builtin_expect(!p->host, 0)) {
        fpu_park(c);
        c->host->mmio_read(c, p->gpa + off, size, &v);
        return size == 8 ? v : v & ((1ull << size * 8) - 1);
    }
    switch (size) {
    case 1: return p->host[off];
    case 2: return *(const u16a *)(p->host + off);
    case 4: return *(const u32a *)(p->host + off);
    default: return *(const u64a *)(p->host + off);
    }
}

void svm_st(struct guest_cpu *c, const struct svm_page *p, unsigned off, unsigned size, uint64_t v)
{
    if (__builtin_expect(!p->host, 0)) {
        fpu_park(c);
        c->host->mmio_write(c, p->gpa + off, size, v);
        return;
    }
    switch (size) {
    case 1: p->host[off] = (uint8_t)v; break;
    case 2: *(u16a *)(p->host + off) = (uint16_t)v; break;
    case 4: *(u32a *)(p->host + off) = (uint32_t)v; break;
    default: *(u64a *)(p->host + off) = v;
    }
}

/* ---- segments: selector, attributes (bits 47:40 and 55:52 of the descriptor), limit in bytes, base ---- */

static uint64_t canonical(const struct guest_cpu *c, uint64_t a)
{
    unsigned sh = c->cr[4] & CR4_LA57 ? 7 : 16;
    return (uint64_t)((int64_t)(a << sh) >> sh);
}

void svm_ld_seg(struct guest_cpu *c, const struct svm_page *p, unsigned off, unsigned seg)
{
    uint32_t attr = (uint32_t)svm_ld(c, p, off + 2, 2);
    uint64_t base = svm_ld(c, p, off + 8, 8);

    seg_set(c, seg, (uint16_t)svm_ld(c, p, off, 2), seg <= S_DS ? (uint32_t)base : canonical(c, base),
            (uint32_t)svm_ld(c, p, off + 4, 4), (attr & 0xff) << 8 | (attr & 0xf00) << 12);
}

void svm_st_seg(struct guest_cpu *c, const struct svm_page *p, unsigned off, unsigned seg)
{
    const struct guest_seg *s = &c->seg[seg];

    svm_st(c, p, off, 2, s->sel);
    svm_st(c, p, off + 2, 2, (s->attr >> 8 & 0xff) | (s->attr >> 12 & 0xf00));
    svm_st(c, p, off + 4, 4, s->limit);
    svm_st(c, p, off + 8, 8, s->base);
}

/* ---- VMLOAD, VMSAVE ---- */

static const struct { uint16_t off, seg; } moved_segs[] = {
    { VMCB_FS, S_FS }, { VMCB_GS, S_GS }, { VMCB_TR, S_TR }, { VMCB_LDTR, S_LDT },
};

#define REG(name) offsetof(struct guest_cpu, name)
static const struct { uint16_t off; bool canon; uint32_t reg; } moved_msrs[] = {
    { VMCB_STAR, false, REG(star) },                { VMCB_LSTAR, true, REG(lstar) },
    { VMCB_CSTAR, true, REG(cstar) },               { VMCB_SFMASK, false, REG(fmask) },
    { VMCB_KERNEL_GS, true, REG(kernelgsbase) },    { VMCB_SYSENTER_CS, false, REG(sysenter_cs) },
    { VMCB_SYSENTER_ESP, true, REG(sysenter_esp) }, { VMCB_SYSENTER_EIP, true, REG(sysenter_eip) },
};
#undef REG
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

void svm_vmload(struct guest_cpu *c, uint64_t gpa)
{
    struct svm_page p = svm_page(c, gpa, false);

    for (unsigned i = 0; i < COUNT(moved_segs); i++) {
        svm_ld_seg(c, &p, moved_segs[i].off, moved_segs[i].seg);
    }
    for (unsigned i = 0; i < COUNT(moved_msrs); i++) {
        uint64_t v = svm_ld(c, &p, moved_msrs[i].off, 8);
        *(uint64_t *)(void *)((char *)c + moved_msrs[i].reg) = moved_msrs[i].canon ? canonical(c, v) : v;
    }
}

void svm_vmsave(struct guest_cpu *c, uint64_t gpa)
{
    struct svm_page p = svm_page(c, gpa, true);

    for (unsigned i = 0; i < COUNT(moved_segs); i++) {
        svm_st_seg(c, &p, moved_segs[i].off, moved_segs[i].seg);
    }
    for (unsigned i = 0; i < COUNT(moved_msrs); i++) {
        svm_st(c, &p, moved_msrs[i].off, 8, *(uint64_t *)(void *)((char *)c + moved_msrs[i].reg));
    }
}
