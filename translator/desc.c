/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * desc.c - descriptor tables, segment caches, TSS stacks and frames.
 *
 * The steps that segment loads, far transfers, interrupts and task switches
 * have in common.  Which step comes when, and with which error code, is
 * decided by the callers (help_*.c).
 *
 * Manuals: SDM vol. 3, 3.4.5, 3.5, 5.8, 6.12-6.14, 7.2.
 */
#include "translator/desc.h"
#include "translator/fpu_ptr.h"

/* ---- descriptor tables ---- */

bool desc_read(struct guest_cpu *c, uint16_t sel, struct desc *d)
{
    uint64_t base = c->gdt.base;
    uint32_t limit = c->gdt.limit;
    uint64_t v;

    if (sel & 4) {
        const struct guest_seg *ldt = &c->seg[S_LDT];

        if (!(ldt->attr & DESC_P)) {
            return false;
        }
        base = ldt->base;
        limit = ldt->limit;
    }
    if ((sel | 7u) > limit) {
        return false;
    }
    d->lin = lin_wrap(c, base + (sel & ~7u));
    v = guest_ld_mode(c, d->lin, 8, sys_mode(c));
    d->lo = (uint32_t)v;
    d->hi = (uint32_t)(v >> 32);
    return true;
}

bool desc_read_upper(struct guest_cpu *c, uint16_t sel, const struct desc *d, struct desc *hi)
{
    uint32_t limit = sel & 4 ? c->seg[S_LDT].limit : c->gdt.limit;
    uint64_t v;

    if ((sel & ~7u) + 15 > limit) {
        return false;
    }
    hi->lin = d->lin + 8;
    v = guest_ld_mode(c, hi->lin, 8, sys_mode(c));
    hi->lo = (uint32_t)v;
    hi->hi = (uint32_t)(v >> 32);
    return true;
}

/* The byte with type, S, DPL and P. */
static void desc_write_type(struct guest_cpu *c, const struct desc *d)
{
    guest_st_mode(c, lin_wrap(c, d->lin + 5), 1, d->hi >> 8 & 0xff, sys_mode(c));
}

void desc_set_accessed(struct guest_cpu *c, struct desc *d)
{
    if (!(d->hi & DESC_A)) {
        d->hi |= DESC_A;
        desc_write_type(c, d);
    }
}

void desc_set_busy(struct guest_cpu *c, struct desc *d, bool busy)
{
    d->hi = busy ? d->hi | DESC_TSS_BUSY : d->hi & ~DESC_TSS_BUSY;
    desc_write_type(c, d);
}

/* ---- segment registers ---- */

void seg_set(struct guest_cpu *c, unsigned seg, uint16_t sel, uint64_t base, uint32_t limit, uint32_t attr)
{
    struct guest_seg *s = &c->seg[seg];

    fpu_ptr_seg_changes(c, seg);
    s->sel = sel;
    s->base = base;
    s->limit = limit;
    s->attr = attr;
    cpu_seg_update(c, seg);
}

void seg_set_desc(struct guest_cpu *c, unsigned seg, uint16_t sel, const struct desc *d)
{
    seg_set(c, seg, sel, desc_base(d), desc_limit(d), d->hi & DESC_ATTR_MASK);
}

void seg_set_null(struct guest_cpu *c, unsigned seg, uint16_t sel)
{
    /* SS keeps its DPL = CPL: that is where the embedder and state loads find the CPL. */
    seg_set(c, seg, sel, 0, 0, seg == S_SS ? (uint32_t)c->cpl << DESC_DPL_SHIFT : 0);
}

void seg_set_v86(struct guest_cpu *c, unsigned seg, uint16_t sel)
{
    seg_set(c, seg, sel, (uint32_t)sel << 4, 0xffff, DESC_P | DESC_DPL | DESC_S | DESC_W | DESC_A);
}

/* Only the selectors become 0, also of those that were null with an RPL: the bases of FS and GS stay, as 64-bit code
 * uses them whatever the selector (SDM vol. 2, RET: "segment register invalid"). */
void seg_null_inner(struct guest_cpu *c)
{
    static const uint8_t segs[] = { S_ES, S_DS, S_FS, S_GS };

    for (unsigned i = 0; i < sizeof(segs); i++) {
        const struct guest_seg *s = &c->seg[segs[i]];
        bool conforming = (s->attr & (DESC_CS | DESC_C)) == (DESC_CS | DESC_C);

        if (!(s->attr & DESC_P) || (!conforming && (s->attr >> DESC_DPL_SHIFT & 3) < c->cpl)) {
            seg_set(c, segs[i], 0, s->base, s->limit, s->attr & ~DESC_P);
        }
    }
}

/* ---- the current TSS ---- */

uint64_t tss_ld(struct guest_cpu *c, unsigned off, unsigned size)
{
    return guest_ld_mode(c, lin_wrap(c, c->seg[S_TR].base + off), size, sys_mode(c));
}

void tss_inner_stack(struct guest_cpu *c, unsigned dpl, unsigned ext, struct inner_stack *n)
{
    const struct guest_seg *tr = &c->seg[S_TR];
    bool tss32 = tr->attr & (8u << DESC_TYPE_SHIFT);
    unsigned off = tss32 ? dpl * 8 + 4 : dpl * 4 + 2;

    if (!(tr->attr & DESC_P) || off + (tss32 ? 5 : 3) > tr->limit) {
        cpu_raise_err(c, EXC_TS, sel_err(tr->sel, ext));
    }
    n->sp = (uint32_t)tss_ld(c, off, tss32 ? 4 : 2);
    n->ss = (uint16_t)tss_ld(c, off + (tss32 ? 4 : 2), 2);
    if (sel_is_null(n->ss)) {
        cpu_raise_err(c, EXC_TS, ext);
    }
    if (!desc_read(c, n->ss, &n->d) || (n->ss & 3u) != dpl || desc_dpl(&n->d) != dpl ||
        !desc_is_writable_data(&n->d)) {
        cpu_raise_err(c, EXC_TS, sel_err(n->ss, ext));
    }
    if (!(n->d.hi & DESC_P)) {
        cpu_raise_err(c, EXC_SS, sel_err(n->ss, ext));
    }
}

uint64_t tss_inner_rsp(struct guest_cpu *c, unsigned dpl, unsigned ist, unsigned ext)
{
    const struct guest_seg *tr = &c->seg[S_TR];
    unsigned off = ist ? ist * 8 + 28 : dpl * 8 + 4;

    if (!(tr->attr & DESC_P) || off + 7 > tr->limit) {
        cpu_raise_err(c, EXC_TS, sel_err(tr->sel, ext));
    }
    return tss_ld(c, off, 8);
}

/* ---- frames ---- */

void frame_64(struct frame *f, uint64_t rsp, enum mmu_mode mode, uint32_t err)
{
    f->base = 0;
    f->sp = rsp;
    f->mask = ~0ull;
    f->lo = 0;
    f->hi = 0xffffffffu;
    f->err = err;
    f->mode = (uint8_t)mode;
    f->is64 = true;
}

void frame_current(struct guest_cpu *c, struct frame *f, enum mmu_mode mode, uint32_t err)
{
    const struct guest_seg *ss = &c->seg[S_SS];

    if (cpu_code64(c)) {
        frame_64(f, GPR(c, R_RSP), mode, err);
        return;
    }
    f->base = ss->base;
    f->mask = stack_mask(c);
    f->sp = GPR(c, R_RSP) & f->mask;
    f->lo = ss->w_lo;
    f->hi = ss->w_hi;
    f->err = err;
    f->mode = (uint8_t)mode;
    f->is64 = false;
}

void frame_inner(struct guest_cpu *c, struct frame *f, const struct inner_stack *n, enum mmu_mode mode,
                 uint32_t err)
{
    uint32_t limit = desc_limit(&n->d);
    bool big = n->d.hi & DESC_B;

    (void)c;
    f->base = desc_base(&n->d);
    f->mask = big ? 0xffffffffu : 0xffffu;
    f->sp = n->sp & f->mask;
    f->lo = 0;
    f->hi = limit;
    if (n->d.hi & DESC_E) {
        f->lo = limit + 1;
        f->hi = big ? 0xffffffffu : 0xffffu;
        if (limit == 0xffffffffu || f->lo > f->hi) {
            f->lo = 1;
            f->hi = 0;
        }
    }
    f->err = err;
    f->mode = (uint8_t)mode;
    f->is64 = false;
}

/* Linear address of `size` bytes at offset off of the frame's stack, or #SS. */
static uint64_t frame_lin(struct guest_cpu *c, const struct frame *f, uint64_t off, unsigned size)
{
    if (f->is64) {
        if (!is_canonical(c, off) || !is_canonical(c, off + size - 1)) {
            cpu_raise_err(c, EXC_SS, f->err);
        }
        return off;
    }
    if (off < f->lo || off + size - 1 > f->hi) {
        cpu_raise_err(c, EXC_SS, f->err);
    }
    return (uint32_t)(f->base + off);
}

void frame_room(struct guest_cpu *c, const struct frame *f, unsigned n, unsigned size)
{
    uint64_t sp = f->sp;

    while (n--) {
        sp = (sp - size) & f->mask;
        frame_lin(c, f, sp, size);
    }
}

void frame_push(struct guest_cpu *c, struct frame *f, uint64_t val, unsigned size)
{
    uint64_t sp = (f->sp - size) & f->mask;

    guest_st_mode(c, frame_lin(c, f, sp, size), size, val, f->mode);
    f->sp = sp;
}

/* ---- code segments ---- */

unsigned gate_code(struct guest_cpu *c, uint16_t sel, unsigned ext, struct desc *d)
{
    if (sel_is_null(sel)) {
        cpu_raise_err(c, EXC_GP, ext);
    }
    if (!desc_read(c, sel, d) || !desc_is_code(d) || desc_dpl(d) > c->cpl) {
        cpu_raise_err(c, EXC_GP, sel_err(sel, ext));
    }
    if (cpu_lma(c) && (d->hi & (DESC_L | DESC_B)) != DESC_L) {
        cpu_raise_err(c, EXC_GP, sel_err(sel, ext)); /* gates lead to 64-bit code only */
    }
    if (!(d->hi & DESC_P)) {
        cpu_raise_err(c, EXC_NP, sel_err(sel, ext));
    }
    return desc_is_conforming(d) ? c->cpl : desc_dpl(d);
}

void code_check_ip(struct guest_cpu *c, const struct desc *d, uint64_t ip, uint32_t err)
{
    bool ok = cpu_lma(c) && (d->hi & DESC_L) ? is_canonical(c, ip) : ip <= desc_limit(d);

    if (!ok) {
        cpu_raise_err(c, EXC_GP, err);
    }
}

void code_commit(struct guest_cpu *c, uint16_t sel, const struct desc *d, unsigned cpl, uint64_t ip)
{
    c->cpl = (uint8_t)cpl;
    seg_set_desc(c, S_CS, (uint16_t)((sel & 0xfffc) | cpl), d);
    c->rip = ip;
}

void eflags_load(struct guest_cpu *c, uint32_t val, uint32_t mask)
{
    bool rises = (val & mask & ~c->eflags) & FL_IF;

    cpu_set_eflags(c, val, mask);
    if (rises && c->intr_pending) {
        cpu_kick(c, XREQ_IRQ_WINDOW);
    }
}
