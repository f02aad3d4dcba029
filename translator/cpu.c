/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpu.c - derived CPU state, reset, and the way out of a helper.
 *
 * hflags and the segments' access ranges are functions of the architectural
 * state; this file is the only one that computes them.  It does not load
 * segments (desc.c, help_seg.c), write control registers (help_sys.c) or
 * deliver exceptions (help_int.c).
 *
 * Manuals: SDM vol. 3, 9.1.1 (table 9-1, state after RESET), 5.3 (segment
 * limits), 4.6 (access rights by mode); SDM vol. 1, 13.4 (XSAVE area).
 */
#include "translator/desc.h"
#include "translator/exec.h"
#include "translator/help.h"

/* hflags bits that depend on CR0, CR4, EFER and XCR0 alone. */
#define HF_FROM_CR (HF_PE | HF_LMA | HF_NM_FPU | HF_NM_SSE | HF_UD_SSE | HF_AVX | HF_UD_MMX | HF_MP_TS)

_Static_assert(!(HF_DF & (HF_DBG | HF_BP | HF_CSLIM)) && !(HF_DBG & (HF_BP | HF_CSLIM)), "hflags bits are distinct");
_Static_assert(FL_IOPL >> 4 == HF_IOPL_MASK, "IOPL moves by 4");
_Static_assert(FL_TF << 2 == HF_TF, "TF moves by 2");
_Static_assert(FL_RF << 4 == HF_RF, "RF moves by 4");
_Static_assert(FL_VM >> 10 == HF_VM, "VM moves by 10");

static uint32_t hflags_from_cr(const struct guest_cpu *c)
{
    uint64_t cr0 = c->cr[0], cr4 = c->cr[4];
    uint32_t h = 0;

    h |= cr0 & CR0_PE ? HF_PE : 0;
    h |= c->efer & EFER_LMA ? HF_LMA : 0;
    h |= cr0 & (CR0_EM | CR0_TS) ? HF_NM_FPU : 0;
    h |= cr0 & CR0_TS ? HF_NM_SSE : 0;
    h |= (cr0 & CR0_EM) || !(cr4 & CR4_OSFXSR) ? HF_UD_SSE : 0;
    h |= (cr4 & CR4_OSXSAVE) && (c->xcr0 & 6) == 6 ? HF_AVX : 0;
    h |= cr0 & CR0_EM ? HF_UD_MMX : 0;
    h |= (cr0 & CR0_MP) && (cr0 & CR0_TS) ? HF_MP_TS : 0;
    return h;
}

/* Base 0, every offset readable and writable. */
static inline bool seg_is_flat(const struct guest_seg *s)
{
    return !(s->base | s->r_lo | s->w_lo | (uint32_t)~s->r_hi | (uint32_t)~s->w_hi);
}

/* What CS, SS, DS and ES contribute.  64-bit code ignores all but CS.L: equal code gets equal keys there. */
static uint32_t hflags_from_segs(const struct guest_cpu *c)
{
    uint32_t cs = c->seg[S_CS].attr;
    uint32_t h;

    if ((c->efer & EFER_LMA) && (cs & DESC_L)) {
        return HF_CODE64;
    }
    h = cs & DESC_B ? HF_CODE32 : HF_CODE16;
    h |= c->seg[S_SS].attr & DESC_B ? HF_SS32 : 0;
    h |= c->seg[S_CS].limit != 0xffffffffu ? HF_CSLIM : 0;
    if (!seg_is_flat(&c->seg[S_DS]) || !seg_is_flat(&c->seg[S_ES]) || !seg_is_flat(&c->seg[S_SS])) {
        h |= HF_SEGS;
    }
    return h;
}

static uint32_t hflags_from_eflags(const struct guest_cpu *c)
{
    uint32_t e = c->eflags;
    uint32_t h;

    h = (e & FL_IOPL) >> 4 | (e & FL_TF) << 2 | (e & FL_RF) << 4 | (e & FL_VM) >> 10;
    h |= e & FL_DF ? HF_DF : 0;
    h |= c->shadow ? HF_SHADOW : 0;
    h |= c->dbg_step ? HF_DBG : 0;
    if (__builtin_expect(c->dr[7] & 0xff, 0) && debug_exec_mask(c)) {
        h |= HF_BP;
    }
    h |= c->svm.nested ? HF_NESTED : 0;
    h |= c->cpl == 3 && (e & FL_AC) && (c->cr[0] & CR0_AM) ? HF_AC : 0;
    return h;
}

static inline uint8_t mode_from_cpl(const struct guest_cpu *c)
{
    if (c->cpl == 3) {
        return MMU_USER;
    }
    return (c->eflags & FL_AC) || !c->smap_on ? MMU_KERNEL_NOSMAP : MMU_KERNEL;
}

/* Compose hflags from `cr` (HF_FROM_CR bits) and the rest of the state. */
static void hflags_compose(struct guest_cpu *c, uint32_t cr)
{
    uint32_t old = c->hflags;

    if (!(cr & HF_PE)) {
        c->cpl = 0;
    } else if (c->eflags & FL_VM) {
        c->cpl = 3;
    }
    if (((old ^ cr) & HF_PE) || (!(old & HF_VM)) != !(c->eflags & FL_VM)) {
        /* Descriptor types count in protected mode only: the ranges change with the mode. */
        for (unsigned i = 0; i < S_COUNT; i++) {
            cpu_seg_update(c, i);
        }
    }
    c->hflags = cr | c->cpl | hflags_from_segs(c) | hflags_from_eflags(c);
    if (c->hm_on && c->cpl == 3 && !(c->hflags & HF_VM)) {
        c->hflags |= HF_HM;
    }
}

void cpu_update_hflags(struct guest_cpu *c)
{
    c->smap_on = !!(c->cr[4] & CR4_SMAP);
    hflags_compose(c, hflags_from_cr(c));
    c->mmu_mode = mode_from_cpl(c);
    tlb_set_mode(c);
}

/* The hot variant: CR0, CR4, EFER and XCR0 have not changed since the last update. */
void cpu_update_hflags_same_cr(struct guest_cpu *c)
{
    hflags_compose(c, c->hflags & HF_FROM_CR);
    c->mmu_mode = mode_from_cpl(c);
    tlb_set_mode(c);   /* also when only the code segment changed: the jump cache belongs to one such mode */
}

void cpu_set_cpl(struct guest_cpu *c, unsigned cpl)
{
    c->cpl = (uint8_t)cpl;
    cpu_update_hflags_same_cr(c);
}

void cpu_seg_update(struct guest_cpu *c, unsigned seg)
{
    struct guest_seg *s = &c->seg[seg];
    bool typed = cpu_pe(c) && !cpu_vm86(c); /* types are enforced */
    bool down = !(s->attr & DESC_CS) && (s->attr & DESC_E);
    uint32_t lo = 0, hi = s->limit;
    bool r, w;

    if (down) {
        lo = s->limit + 1;
        hi = s->attr & DESC_B ? 0xffffffffu : 0xffffu;
    }
    r = (s->attr & DESC_P) && !(down && (s->limit == 0xffffffffu || lo > hi));
    w = r;
    if (typed) {
        r = r && (s->attr & DESC_S) && (!(s->attr & DESC_CS) || (s->attr & DESC_R));
        w = w && (s->attr & DESC_S) && !(s->attr & DESC_CS) && (s->attr & DESC_W);
    }
    s->r_lo = r ? lo : 1;
    s->r_hi = r ? hi : 0;
    s->w_lo = w ? lo : 1;
    s->w_hi = w ? hi : 0;
    if (seg == S_CS) {
        c->cs_base = cpu_lma(c) && (s->attr & DESC_L) ? 0 : s->base;
    }
}

/* ---- leaving a helper ---- */

void cpu_sync(struct guest_cpu *c)
{
    if (c->unwind_pc) {
        tb_restore_state(c, c->unwind_pc);
        c->unwind_pc = 0;
    }
}

/* One landing point for every way out; state must be in sync after it. */
static _Noreturn void unwind(struct guest_cpu *c)
{
    cpu_sync(c);
    __builtin_longjmp(c->jmpbuf, 1);
}

_Noreturn void cpu_raise(struct guest_cpu *c, unsigned vector)
{
    c->exc_vector = (int32_t)vector;
    c->exc_error = 0;
    c->exc_has_error = 0;
    c->exc_soft = 0;
    c->exc_is_int = 0;
    unwind(c);
}

_Noreturn void cpu_raise_err(struct guest_cpu *c, unsigned vector, uint32_t error)
{
    c->exc_vector = (int32_t)vector;
    c->exc_error = error;
    c->exc_has_error = 1;
    c->exc_soft = 0;
    c->exc_is_int = 0;
    unwind(c);
}

_Noreturn void cpu_exit_loop(struct guest_cpu *c)
{
    unwind(c);
}

/* ---- reset ---- */

static void reset_seg(struct guest_cpu *c, unsigned seg, uint16_t sel, uint64_t base, uint32_t attr)
{
    seg_set(c, seg, sel, base, 0xffff, attr);
}

static void reset_segs(struct guest_cpu *c)
{
    const uint32_t data = DESC_P | DESC_S | DESC_W | DESC_A;

    reset_seg(c, S_CS, 0xf000, 0xffff0000u, DESC_P | DESC_S | DESC_CS | DESC_R | DESC_A);
    reset_seg(c, S_DS, 0, 0, data);
    reset_seg(c, S_ES, 0, 0, data);
    reset_seg(c, S_SS, 0, 0, data);
    reset_seg(c, S_FS, 0, 0, data);
    reset_seg(c, S_GS, 0, 0, data);
    reset_seg(c, S_LDT, 0, 0, DESC_P | SYS_LDT << DESC_TYPE_SHIFT);
    reset_seg(c, S_TR, 0, 0, DESC_P | SYS_TSS32_BUSY << DESC_TYPE_SHIFT);
    c->gdt.base = c->idt.base = 0;
    c->gdt.limit = c->idt.limit = 0xffff;
}

static void reset_msrs(struct guest_cpu *c)
{
    c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
    c->star = c->lstar = c->cstar = c->fmask = c->kernelgsbase = 0;
    c->tsc_aux = c->tsc_adjust = c->tsc_deadline = 0;
    c->pat = 0x0007040600070406ull;
    c->misc_enable = 1; /* fast strings */
    c->mtrr_def_type = 0;
    xbt_zero(c->mtrr_fixed, sizeof(c->mtrr_fixed));
    xbt_zero(c->mtrr_var, sizeof(c->mtrr_var));
    c->mcg_status = 0;
    c->a20_mask = ~0ull;
}

/* x87 and SSE initialised, everything else in its initial configuration (absent from XSTATE_BV). */
static void reset_fpu(struct guest_cpu *c)
{
    const uint16_t fcw = 0x37f;
    const uint32_t mxcsr = 0x1f80;
    const uint64_t xstate_bv = 3;

    fpu_park(c);
    xbt_zero(c->fpu, sizeof(c->fpu));
    xbt_copy(c->fpu + 0, &fcw, sizeof(fcw));
    xbt_copy(c->fpu + 24, &mxcsr, sizeof(mxcsr));
    xbt_copy(c->fpu + 512, &xstate_bv, sizeof(xstate_bv));
    xbt_zero(&c->fptr, sizeof(c->fptr));
    c->xcr0 = 1;
    c->pkru = c->pkrs = 0;
}

static void reset_events(struct guest_cpu *c)
{
    c->shadow = c->nmi_masked = c->halted = c->intr_pending = c->shutdown = 0;
    c->exc_vector = -1;
    c->exc_error = 0;
    c->exc_has_error = c->exc_soft = c->exc_delivering = c->exc_is_int = 0;
    c->exc_next_rip = c->exc_dr6 = 0;
    c->rep_partial = c->dbg_step = c->dbg_restart = c->in_code = 0;
    c->unwind_pc = 0;
    c->commit.active = c->commit.exit_after = c->commit.compare = c->commit.in_place = 0;
    xbt_zero(&c->svm, sizeof(c->svm));
    c->svm.gif = 1;
}

void cpu_reset(struct guest_cpu *c)
{
    for (unsigned i = 0; i < 16; i++) {
        GPR(c, i) = 0;
    }
    c->eflags = 0;
    c->fl = 0;
    c->rip = 0xfff0;
    c->cr[0] = CR0_CD | CR0_NW | CR0_ET;
    c->cr[1] = c->cr[2] = c->cr[3] = c->cr[4] = 0;
    c->cr8 = 0;
    c->efer = 0;
    for (unsigned i = 0; i < 6; i++) {
        c->dr[i] = 0;
    }
    c->dr[6] = 0xffff0ff0u;
    c->dr[7] = 0x400;
    c->cpl = 0;
    c->hflags = 0;
    reset_events(c);
    reset_msrs(c);
    reset_fpu(c);
    reset_segs(c);
    if (c->tlb) {
        tlb_flush_all(c, TLBF_RESET);
    }
    cpu_update_hflags(c);
}
