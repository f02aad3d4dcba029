/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_syscall.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT.
 *
 * Hot paths of every guest: the flat segments are written straight into the
 * segment caches, no descriptor is read, and hflags are derived once.
 * Vendors differ (model.vendor_amd): AMD has SYSCALL in legacy and
 * compatibility mode and no SYSENTER in long mode; Intel the other way
 * round.
 *
 * Manuals: SDM vol. 2, SYSCALL, SYSRET, SYSENTER, SYSEXIT; SDM vol. 3, 5.8.7-5.8.8; APM vol. 2, 6.1;
 *          APM vol. 3.
 */
#include "translator/desc.h"
#include "translator/fpu_ptr.h"

#define ATTR_CODE (DESC_G | DESC_P | DESC_S | DESC_CS | DESC_R | DESC_A)
#define ATTR_DATA (DESC_G | DESC_B | DESC_P | DESC_S | DESC_W | DESC_A)

#define DR6_BS (1ull << 14)

/* EFLAGS that SYSRET takes from R11: all but RF and VM. */
#define SYSRET_FLAGS 0x003c7fd5u

static inline void set_flat_code(struct guest_cpu *c, unsigned sel, unsigned cpl, bool is64)
{
    struct guest_seg *s = &c->seg[S_CS];

    fpu_ptr_seg_changes(c, S_CS);
    s->sel = (uint16_t)(sel & ~3u) | (uint16_t)cpl;
    s->base = 0;
    s->limit = 0xffffffffu;
    s->attr = ATTR_CODE | (is64 ? DESC_L : DESC_B) | cpl << DESC_DPL_SHIFT;
    s->r_lo = 0;
    s->r_hi = 0xffffffffu;
    s->w_lo = 1;
    s->w_hi = 0;
    c->cs_base = 0;
    c->cpl = (uint8_t)cpl;
}

static inline void set_flat_stack(struct guest_cpu *c, unsigned sel, unsigned cpl)
{
    struct guest_seg *s = &c->seg[S_SS];

    fpu_ptr_seg_changes(c, S_SS);
    s->sel = (uint16_t)sel; /* as the instruction makes it: SYSCALL leaves an RPL of the MSR there */
    s->base = 0;
    s->limit = 0xffffffffu;
    s->attr = ATTR_DATA | cpl << DESC_DPL_SHIFT;
    s->r_lo = s->w_lo = 0;
    s->r_hi = s->w_hi = 0xffffffffu;
}

static int done(struct guest_cpu *c)
{
    cpu_update_hflags_same_cr(c);
    return HELP_JUMP;
}

/* ---- SYSCALL / SYSRET ---- */

static void check_sce(struct guest_cpu *c, const struct dec_insn *in)
{
    if (!(c->efer & EFER_SCE) || !cpu_pe(c) || (in->mode != 2 && !c->model.vendor_amd)) {
        cpu_raise(c, EXC_UD);
    }
}

int help_syscall(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned cs = (unsigned)(c->star >> 32) & 0xfffc;

    check_sce(c, in);
    if (cpu_lma(c)) {
        uint32_t flags = cpu_get_eflags(c) & ~FL_RF;

        GPR(c, R_RCX) = dec_next_ip(in);
        GPR(c, R_R11) = flags;
        cpu_set_eflags(c, flags & ~(uint32_t)c->fmask, ~0u);
        c->rip = in->mode == 2 ? c->lstar : c->cstar;
    } else {
        GPR(c, R_RCX) = (uint32_t)dec_next_ip(in);
        c->eflags &= ~(FL_VM | FL_IF | FL_RF);
        c->rip = (uint32_t)c->star;
    }
    if (!(c->eflags & FL_TF)) {
        c->special_tf = 0; /* masked by FMASK: no single-step trap on the kernel's first instruction */
    }
    set_flat_code(c, cs, 0, cpu_lma(c));
    set_flat_stack(c, (unsigned)(c->star >> 32) + 8, 0);
    return done(c);
}

int help_sysret(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned cs = (unsigned)(c->star >> 48);
    bool to64 = in->mode == 2 && in->opsize == 8;

    check_sce(c, in);
    if (c->cpl) {
        GP0(c);
    }
    if (to64 && !c->model.vendor_amd && !is_canonical(c, GPR(c, R_RCX))) {
        GP0(c); /* AMD faults at the target instead, at CPL 3 */
    }
    if (cpu_lma(c)) {
        eflags_load(c, (uint32_t)GPR(c, R_R11), SYSRET_FLAGS | FL_RF);
        c->eflags &= ~FL_RF;
    } else {
        eflags_load(c, FL_IF, FL_IF);
    }
    c->rip = to64 ? GPR(c, R_RCX) : (uint32_t)GPR(c, R_RCX);
    set_flat_code(c, to64 ? cs + 16 : cs, 3, to64);
    set_flat_stack(c, (cs + 8) | 3, 3);
    cpu_update_hflags_same_cr(c);
    c->special_tf = 0;
    if (c->eflags & FL_TF) {
        /* As if the SYSCALL had just completed: the trap comes before the program's first instruction. */
        c->exc_dr6 |= DR6_BS;
        cpu_raise(c, EXC_DB);
    }
    return HELP_JUMP;
}

/* ---- SYSENTER / SYSEXIT ---- */

static void check_sysenter(struct guest_cpu *c)
{
    if (c->model.vendor_amd && cpu_lma(c)) {
        cpu_raise(c, EXC_UD);
    }
    if (!cpu_pe(c) || !(c->sysenter_cs & 0xfffc)) {
        GP0(c);
    }
}

int help_sysenter(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned cs;

    (void)in;
    check_sysenter(c);
    cs = (unsigned)c->sysenter_cs & 0xfffc;
    c->eflags &= ~(FL_VM | FL_IF | FL_RF);
    if (cpu_lma(c)) {
        GPR(c, R_RSP) = c->sysenter_esp;
        c->rip = c->sysenter_eip;
    } else {
        GPR(c, R_RSP) = (uint32_t)c->sysenter_esp;
        c->rip = (uint32_t)c->sysenter_eip;
    }
    set_flat_code(c, cs, 0, cpu_lma(c));
    set_flat_stack(c, cs + 8, 0);
    return done(c);
}

int help_sysexit(struct guest_cpu *c, const struct dec_insn *in)
{
    bool to64 = in->mode == 2 && in->opsize == 8;
    uint64_t rip = GPR(c, R_RDX), rsp = GPR(c, R_RCX);
    unsigned cs;

    check_sysenter(c);
    if (c->cpl) {
        GP0(c);
    }
    if (to64 && (!is_canonical(c, rip) || !is_canonical(c, rsp))) {
        GP0(c);
    }
    cs = ((unsigned)c->sysenter_cs & 0xfffc) + (to64 ? 32 : 16);
    c->rip = to64 ? rip : (uint32_t)rip;
    GPR(c, R_RSP) = to64 ? rsp : (uint32_t)rsp;
    set_flat_code(c, cs, 3, to64);
    set_flat_stack(c, (cs + 8) | 3, 3);
    return done(c);
}
