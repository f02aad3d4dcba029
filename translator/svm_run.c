/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svm_run.c - the world switch: VMRUN and #VMEXIT (APM vol. 2, 15.5 and 15.6).
 *
 * The host's state is kept in its save area in guest memory, in the layout of a VMCB, so that it migrates with the
 * memory.  The hypervisor can write there: what comes back is checked like a nested guest's, and a state that no
 * processor can be in shuts the machine down.
 *
 * VMRUN loads nothing before everything has been checked.  #VMEXIT comes from wherever the vCPU is: generated code, a
 * helper, a page walk, the loop; afterwards the loop goes on with the host.
 */
#include "tb-store/tb.h"
#include "translator/desc.h"
#include "translator/help_msr.h"
#include "translator/svm.h"

#define CR0_KNOWN                                                                                          \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define RFLAGS_KNOWN 0x3f7fd5u
#define DR7_RESET 0x400u
#define DR6_ONES  0xffff0ff0u
#define DR6_VALID 0x0000e00fu
#define DR7_VALID 0xffff23ffu
#define DR6_BS    (1u << 14)
#define INT_SHADOW 1u
#define BITMAP_PAGES 0x2000u

/* ---- registers that both sides have ---- */

struct world {
    uint64_t efer, cr0, cr3, cr4, rflags, rip, rsp, rax;
    uint32_t cs_attr;
};

static void world_read(struct guest_cpu *c, const struct svm_page *p, struct world *w)
{
    w->efer = svm_ld(c, p, VMCB_EFER, 8);
    w->cr0 = svm_ld(c, p, VMCB_CR0, 8);
    w->cr3 = svm_ld(c, p, VMCB_CR3, 8);
    w->cr4 = svm_ld(c, p, VMCB_CR4, 8);
    w->rflags = svm_ld(c, p, VMCB_RFLAGS, 8);
    w->rip = svm_ld(c, p, VMCB_RIP, 8);
    w->rsp = svm_ld(c, p, VMCB_RSP, 8);
    w->rax = svm_ld(c, p, VMCB_RAX, 8);
    w->cs_attr = (uint32_t)svm_ld(c, p, VMCB_CS + 2, 2);
}

static void world_write(struct guest_cpu *c, const struct svm_page *p, uint64_t rip)
{
    svm_st_seg(c, p, VMCB_ES, S_ES);
    svm_st_seg(c, p, VMCB_CS, S_CS);
    svm_st_seg(c, p, VMCB_SS, S_SS);
    svm_st_seg(c, p, VMCB_DS, S_DS);
    svm_st(c, p, VMCB_GDTR + 8, 8, c->gdt.base);
    svm_st(c, p, VMCB_GDTR + 4, 4, c->gdt.limit);
    svm_st(c, p, VMCB_IDTR + 8, 8, c->idt.base);
    svm_st(c, p, VMCB_IDTR + 4, 4, c->idt.limit);
    svm_st(c, p, VMCB_EFER, 8, c->efer);
    svm_st(c, p, VMCB_CR0, 8, c->cr[0]);
    svm_st(c, p, VMCB_CR3, 8, c->cr[3]);
    svm_st(c, p, VMCB_CR4, 8, c->cr[4]);
    svm_st(c, p, VMCB_RFLAGS, 8, cpu_get_eflags(c));
    svm_st(c, p, VMCB_RIP, 8, rip);
    svm_st(c, p, VMCB_RSP, 8, GPR(c, R_RSP));
    svm_st(c, p, VMCB_RAX, 8, GPR(c, R_RAX));
}

/* 15.5.1: combinations that are illegal.  CR0.PG without PE is not ("paged real mode", 15.19). */
static bool world_ok(const struct guest_cpu *c, const struct world *w)
{
    bool lme = w->efer & EFER_LME, pg = w->cr0 & CR0_PG, pae = w->cr4 & CR4_PAE;

    if (!(w->efer & EFER_SVME) || (w->efer & ~efer_valid(c))) {
        return false;
    }
    if (w->cr0 >> 32 || (w->cr0 & (CR0_CD | CR0_NW)) == CR0_NW || (w->cr4 & ~cr4_valid(c))) {
        return false;
    }
    if (lme && pg && (!pae || !(w->cr0 & CR0_PE) || (w->cs_attr & 0x600) == 0x600)) {
        return false;
    }
    return !(lme && pg) || !(w->cr3 >> c->model.phys_bits);
}

static void world_load(struct guest_cpu *c, const struct svm_page *p, const struct world *w, unsigned cpl)
{
    bool lma = (w->efer & EFER_LME) && (w->cr0 & CR0_PG);
    uint32_t flags = (uint32_t)w->rflags & RFLAGS_KNOWN;

    c->efer = (w->efer & ~(uint64_t)EFER_LMA) | (lma ? EFER_LMA : 0);
    c->cr[0] = (w->cr0 & CR0_KNOWN) | CR0_ET;
    c->cr[3] = lma ? w->cr3 : (uint32_t)w->cr3;
    c->cr[4] = w->cr4;
    if (!(w->cr0 & CR0_PE) || lma) {
        flags &= ~FL_VM;
    }
    cpu_set_eflags(c, flags, ~0u);
    svm_ld_seg(c, p, VMCB_ES, S_ES);
    svm_ld_seg(c, p, VMCB_CS, S_CS);
    svm_ld_seg(c, p, VMCB_SS, S_SS);
    svm_ld_seg(c, p, VMCB_DS, S_DS);
    c->gdt.base = svm_ld(c, p, VMCB_GDTR + 8, 8);
    c->gdt.limit = svm_ld(c, p, VMCB_GDTR + 4, 4) & 0xffff;
    c->idt.base = svm_ld(c, p, VMCB_IDTR + 8, 8);
    c->idt.limit = svm_ld(c, p, VMCB_IDTR + 4, 4) & 0xffff;
    c->cpl = !(w->cr0 & CR0_PE) ? 0 : flags & FL_VM ? 3 : (uint8_t)(cpl & 3);
    c->rip = lma && (c->seg[S_CS].attr & DESC_L) ? w->rip : (uint32_t)w->rip;
    GPR(c, R_RSP) = w->rsp;
    GPR(c, R_RAX) = w->rax;
    /* Segment ranges depend on the mode, which is complete only now. */
    c->hflags = (c->hflags & ~(HF_PE | HF_VM)) | (c->cr[0] & CR0_PE ? HF_PE : 0) | (flags & FL_VM ? HF_VM : 0);
    for (unsigned i = 0; i < S_COUNT; i++) {
        cpu_seg_update(c, i);
    }
}

/* Debug registers 6 and 7, and the flushes they need (debug.c). */
static bool load_debug(struct guest_cpu *c, uint64_t dr7)
{
    bool armed = (c->dr[7] | dr7) & 0xff;

    c->dr[7] = (dr7 & DR7_VALID) | DR7_RESET;
    return armed;
}

/* After the registers: TLB, hflags. */
static void world_entered(struct guest_cpu *c, enum tlb_world_flush flush, bool armed)
{
    tlb_world_enter(c, armed ? TLBW_ALL : flush);
    if (armed) {
        debug_registers_changed(c);
    }
    cpu_update_hflags(c);
}

/* ---- what the control area says ---- */

static void read_control(struct guest_cpu *c, const struct svm_page *p)
{
    struct guest_svm *s = &c->svm;

    for (unsigned i = 0; i < SVM_ICPT_WORDS; i++) {
        s->icpt[i] = (uint32_t)svm_ld(c, p, VMCB_INTERCEPT + 4 * i, 4);
    }
    s->tsc_offset = svm_ld(c, p, VMCB_TSC_OFFSET, 8);
    s->asid = (uint32_t)svm_ld(c, p, VMCB_ASID, 4);
    s->int_ctl = (uint32_t)svm_ld(c, p, VMCB_INT_CTL, 4);
    s->int_vector = (uint8_t)svm_ld(c, p, VMCB_INT_VECTOR, 1);
    s->npt = svm_ld(c, p, VMCB_NP_ENABLE, 1) & 1;
    s->ncr3 = s->npt ? svm_ld(c, p, VMCB_NCR3, 8) : 0;
}

static bool injection_ok(uint64_t e)
{
    unsigned vector = e & 0xff;

    if (!(e & EVENT_VALID)) {
        return true;
    }
    switch (EVENT_TYPE(e)) {
    case EVENT_INTR: case EVENT_NMI: case EVENT_SOFT:
        return true;
    case EVENT_EXCEPTION:
        return vector != EXC_NMI && vector < 32;
    default:
        return false;
    }
}

static bool bitmap_ok(const struct guest_cpu *c, uint64_t base)
{
    uint64_t end = (base & ~0xfffull) + BITMAP_PAGES;

    return end >= BITMAP_PAGES && !(end >> c->model.phys_bits);
}

static bool pat_ok(uint64_t pat)
{
    for (unsigned i = 0; i < 8; i++, pat >>= 8) {
        unsigned t = pat & 0xff;
        if (t > 7 || t == 2 || t == 3) {
            return false;
        }
    }
    return true;
}

static bool control_ok(struct guest_cpu *c, const struct svm_page *p, uint64_t inject)
{
    const struct guest_svm *s = &c->svm;

    if (!svm_wants(c, VMEXIT_VMRUN) || !s->asid || !injection_ok(inject)) {
        return false;
    }
    if (svm_wants(c, VMEXIT_MSR) && !bitmap_ok(c, svm_ld(c, p, VMCB_MSRPM, 8))) {
        return false;
    }
    if (svm_wants(c, VMEXIT_IOIO) && !bitmap_ok(c, svm_ld(c, p, VMCB_IOPM, 8))) {
        return false;
    }
    if (s->npt && (!(c->cr[0] & CR0_PG) || s->ncr3 >> c->model.phys_bits ||
                   !pat_ok(svm_ld(c, p, VMCB_G_PAT, 8)))) {
        return false;
    }
    return !(svm_ld(c, p, VMCB_DR6, 8) >> 32) && !(svm_ld(c, p, VMCB_DR7, 8) >> 32);
}

/* ---- #VMEXIT ---- */

static void save_guest(struct guest_cpu *c, const struct svm_page *p)
{
    const struct guest_svm *s = &c->svm;

    world_write(c, p, c->rip);
    svm_st(c, p, VMCB_CR2, 8, c->cr[2]);
    svm_st(c, p, VMCB_DR6, 8, c->dr[6]);
    svm_st(c, p, VMCB_DR7, 8, c->dr[7]);
    svm_st(c, p, VMCB_CPL, 1, c->cpl);
    svm_st(c, p, VMCB_INT_CTL, 4, s->int_ctl);
    svm_st(c, p, VMCB_INT_STATE, 8, (svm_ld(c, p, VMCB_INT_STATE, 8) & ~(uint64_t)INT_SHADOW) |
                                        (c->shadow ? INT_SHADOW : 0));
    if (s->npt) {
        svm_st(c, p, VMCB_G_PAT, 8, c->pat);
    }
}

/* Nothing of the nested guest is in flight any more. */
static void drop_events(struct guest_cpu *c)
{
    c->exc_vector = -1;
    c->exc_delivering = c->exc_is_int = 0;
    c->exc_dr6 = 0;
    c->shadow = c->halted = c->rep_partial = 0;
    c->special_tf = c->in_special = c->dbg_step = c->dbg_restart = 0;
    c->commit.active = c->commit.exit_after = 0;
    c->intr_pending &= INTR_PHYSICAL;
    c->exit_from = NULL;
    c->slow_flags = 0;
}

static void shut_down(struct guest_cpu *c)
{
    c->exc_delivering = EXC_DF + 1;
    c->exc_vector = EXC_GP; /* the loop makes a triple fault of it */
    c->exc_has_error = 0;
}

/* The control registers of a processor that cannot be: keep what the engine can work with. */
static void make_sane(struct world *w, const struct guest_cpu *c)
{
    w->efer = EFER_SVME;
    w->cr0 = CR0_ET;
    w->cr4 &= cr4_valid(c) & ~(uint64_t)(CR4_PCIDE | CR4_LA57);
    w->cr3 = 0;
}

static void load_host(struct guest_cpu *c)
{
    struct svm_page h = svm_page(c, c->svm.hsave, false);
    bool npt = c->svm.npt, tf = c->svm.host_tf, armed, ok;
    struct world w;

    world_read(c, &h, &w);
    /* EFER.LMA follows from the rest, paging needs protection here: a host is never in paged real mode. */
    ok = world_ok(c, &w) && (w.cr0 & (CR0_PG | CR0_PE)) != CR0_PG;
    if (!ok) {
        make_sane(&w, c);
    }
    tlb_world_leave(c);
    c->svm.nested = c->svm.gif = c->svm.npt = c->svm.host_tf = 0;
    c->svm.asid = 0;
    c->svm.tsc_offset = c->svm.event = c->svm.inject = 0;
    if (npt) {
        c->pat = svm_ld(c, &h, VMCB_G_PAT, 8);
    }
    drop_events(c);
    world_load(c, &h, &w, 0);
    c->eflags &= ~(FL_VM | FL_RF);
    armed = load_debug(c, 0);
    world_entered(c, TLBW_KEEP, armed);
    if (!ok) {
        shut_down(c);
    } else if (tf) {
        c->exc_dr6 |= DR6_BS; /* VMRUN was single-stepped (15.5.1) */
        c->exc_vector = EXC_DB;
        c->exc_has_error = c->exc_soft = 0;
    }
}

static void exit_to_host(struct guest_cpu *c, const struct svm_page *p, uint64_t code, uint64_t info1, uint64_t info2)
{
    svm_st(c, p, VMCB_EXITCODE, 8, code);
    svm_st(c, p, VMCB_EXITINFO1, 8, info1);
    svm_st(c, p, VMCB_EXITINFO2, 8, info2);
    svm_st(c, p, VMCB_EXITINTINFO, 8, c->svm.event);
    svm_st(c, p, VMCB_EVENTINJ, 8, 0);
    svm_st(c, p, VMCB_NEXT_RIP, 8, c->svm.next_rip);
    c->svm.next_rip = 0;
    load_host(c);
}

void svm_exit_now(struct guest_cpu *c, uint64_t code, uint64_t info1, uint64_t info2)
{
    struct svm_page p = svm_page(c, c->svm.vmcb, true);

    c->stat[ST_SVM_EXITS]++;
    save_guest(c, &p);
    exit_to_host(c, &p, code, info1, info2);
}

_Noreturn void svm_exit(struct guest_cpu *c, uint64_t code, uint64_t info1, uint64_t info2)
{
    cpu_sync(c);
    if (c->in_special) { /* the instruction has not been executed: the conditions before it hold still */
        c->shadow = c->old_shadow;
        c->eflags |= c->old_rf ? FL_RF : 0;
    }
    svm_exit_now(c, code, info1, info2);
    cpu_exit_loop(c);
}

/* ---- VMRUN ---- */

/* TLB_CONTROL: 0 nothing, 3 and 7 (without global pages) this ASID, 1 and what is reserved all (15.16.2). */
static enum tlb_world_flush control_flushes(uint64_t control)
{
    return control == 0 ? TLBW_KEEP : control == 3 || control == 7 ? TLBW_ASID : TLBW_ALL;
}

static void load_guest(struct guest_cpu *c, const struct svm_page *p, const struct world *w)
{
    struct guest_svm *s = &c->svm;
    uint64_t dr7 = svm_ld(c, p, VMCB_DR7, 8);
    bool armed;

    drop_events(c);
    world_load(c, p, w, (unsigned)svm_ld(c, p, VMCB_CPL, 1));
    c->cr[2] = svm_ld(c, p, VMCB_CR2, 8);
    c->dr[6] = (svm_ld(c, p, VMCB_DR6, 8) & DR6_VALID) | DR6_ONES;
    armed = load_debug(c, dr7);
    c->shadow = svm_ld(c, p, VMCB_INT_STATE, 1) & INT_SHADOW;
    c->intr_pending |= s->int_ctl & V_IRQ_PENDING ? INTR_VIRTUAL : 0;
    if (s->npt) {
        c->pat = svm_ld(c, p, VMCB_G_PAT, 8);
    }
    world_entered(c, control_flushes(svm_ld(c, p, VMCB_TLB_CONTROL, 1)), armed);
}

static void save_host(struct guest_cpu *c, uint64_t next)
{
    struct svm_page h = svm_page(c, c->svm.hsave, true);

    world_write(c, &h, next);
    svm_st(c, &h, VMCB_G_PAT, 8, c->pat);
    c->svm.host_if = (c->eflags & FL_IF) != 0;
    c->svm.host_tf = c->special_tf;
    c->svm.host_cr4 = c->cr[4];
    c->svm.host_efer = c->efer;
}

void svm_vmrun(struct guest_cpu *c, uint64_t vmcb, uint64_t next)
{
    struct svm_page p = svm_page(c, vmcb, true);
    struct guest_svm *s = &c->svm;
    uint64_t inject = svm_ld(c, &p, VMCB_EVENTINJ, 8);
    struct world w;

    c->stat[ST_SVM_RUNS]++;
    save_host(c, next);
    read_control(c, &p);
    world_read(c, &p, &w);
    s->vmcb = vmcb;
    s->event = s->next_rip = 0;
    if (!control_ok(c, &p, inject) || !world_ok(c, &w)) {
        s->npt = s->asid = 0;
        exit_to_host(c, &p, VMEXIT_INVALID, 0, 0);
        return;
    }
    uint32_t asid = s->asid;
    s->asid = 0;
    tlb_world_leave(c);
    s->asid = asid;
    s->nested = s->gif = 1;
    s->inject = inject & EVENT_VALID ? inject : 0;
    c->unwind_pc = 0;
    c->in_code = 0;
    load_guest(c, &p, &w);
    if (s->inject) {
        svm_inject(c); /* here and not in the loop: nothing outside ever sees a state with it pending */
    }
}

/* ---- the embedder ---- */

void svm_state_loaded(struct guest_cpu *c)
{
    struct guest_svm *s = &c->svm;
    uint32_t int_ctl = s->int_ctl, moves = V_TPR_BITS | V_IRQ_PENDING;

    s->npt = 0;
    s->asid = 0;
    s->tsc_offset = s->event = s->inject = 0;
    s->host_tf = 0;
    c->intr_pending &= INTR_PHYSICAL;
    if (!s->nested) {
        return;
    }
    struct svm_page p = svm_page(c, s->vmcb, false), h = svm_page(c, s->hsave, false);
    struct world w;

    read_control(c, &p);
    world_read(c, &h, &w);
    moves |= s->int_ctl & V_GIF_ON ? V_GIF_VALUE : 0;
    s->int_ctl = (s->int_ctl & ~moves) | (int_ctl & moves);
    if (!s->asid || !world_ok(c, &w)) {
        s->asid = 1; /* the memory is not what it was when the state was saved */
        s->npt = 0;
    }
    s->host_cr4 = w.cr4;
    s->host_efer = w.efer;
    if (int_ctl & V_IRQ_PENDING) {
        c->intr_pending |= INTR_VIRTUAL;
    }
}
