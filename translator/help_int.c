/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_int.c - delivery of interrupts and exceptions, the INT family, IRET.
 *
 * The vCPU loop decides that something is to be delivered (exec.c); page
 * faults have set CR2 already (tlb/walk.c).  Task gates end in help_task.c,
 * the protected-mode part of IRET is far_return() in help_far.c.
 *
 * A delivery reads everything and pushes the frame first and commits the
 * registers last, so a fault in between leaves the interrupted state intact.
 *
 * Manuals: SDM vol. 3, ch. 6 (6.12 gates, 6.13 error codes, 6.14 64-bit mode, 6.15 double fault), 17.3.1.1
 *          (RF), 20.1.4 (real mode), 20.2-20.3 (virtual-8086 mode, VME); SDM vol. 2, INT n, IRET.
 */
#include "translator/desc.h"
#include "translator/exec.h"
#include "translator/svm.h"

#define DR6_BS_BT_BD (7u << 13)
#define DR6_BD       (1u << 13)
#define DR7_GD       (1u << 13)

/* Something to deliver. */
struct event {
    unsigned vector;
    bool soft;         /* INT n, INT3, INTO: the gate's DPL counts */
    bool has_error;
    uint32_t error;
    uint64_t rip;      /* return address */
    uint32_t eflags;   /* image for the frame */
    unsigned ext;
};

static inline unsigned event_cpl(const struct guest_cpu *c)
{
    return cpu_vm86(c) ? 3 : c->cpl;
}

/* Error code that names the gate. */
static _Noreturn void raise_gate(struct guest_cpu *c, const struct event *e, unsigned vector)
{
    cpu_raise_err(c, vector, e->vector * 8 + 2 + e->ext);
}

static inline enum mmu_mode frame_mode(const struct guest_cpu *c, unsigned cpl)
{
    return cpl == 3 ? MMU_USER : sys_mode(c);
}

/* ---- real-address mode ---- */

static void deliver_real(struct guest_cpu *c, const struct event *e)
{
    uint64_t sp = GPR(c, R_RSP) & stack_mask(c);
    uint32_t vec;

    if (e->vector * 4 + 3 > c->idt.limit) {
        cpu_raise_err(c, EXC_GP, e->vector * 8 + 2 + e->ext);
    }
    vec = (uint32_t)guest_ld_mode(c, (uint32_t)(c->idt.base + e->vector * 4), 4, sys_mode(c));
    stack_push_at(c, &sp, e->eflags, 2);
    stack_push_at(c, &sp, c->seg[S_CS].sel, 2);
    stack_push_at(c, &sp, e->rip, 2);
    set_rsp(c, sp);
    c->eflags &= ~(FL_IF | FL_TF | FL_AC | FL_RF);
    seg_load_real(c, S_CS, (uint16_t)(vec >> 16));
    c->rip = vec & 0xffff;
}

/* ---- protected mode: 16- and 32-bit gates ---- */

/* What an interrupt or trap gate leads to. */
struct int_target {
    uint16_t sel;
    unsigned type, size, cpl;
    uint64_t off;
    bool inner;
    struct desc code;
    struct inner_stack stk;
};

/* Old stack pointer, flags, return address, error code; data segments come first when leaving v86 mode. */
static void push_frame(struct guest_cpu *c, const struct event *e, const struct int_target *t,
                       struct frame *f)
{
    unsigned size = t->size;

    if (cpu_vm86(c)) {
        frame_push(c, f, c->seg[S_GS].sel, size);
        frame_push(c, f, c->seg[S_FS].sel, size);
        frame_push(c, f, c->seg[S_DS].sel, size);
        frame_push(c, f, c->seg[S_ES].sel, size);
    }
    if (t->inner) {
        frame_push(c, f, c->seg[S_SS].sel, size);
        frame_push(c, f, GPR(c, R_RSP), size);
    }
    frame_push(c, f, e->eflags, size);
    frame_push(c, f, c->seg[S_CS].sel, size);
    frame_push(c, f, e->rip, size);
    if (e->has_error) {
        frame_push(c, f, e->error, size);
    }
}

static void commit_eflags(struct guest_cpu *c, unsigned type)
{
    bool interrupt = !(type & 1);

    c->eflags &= ~(FL_TF | FL_VM | FL_RF | FL_NT | (interrupt ? FL_IF : 0));
}

static void deliver_gate(struct guest_cpu *c, const struct event *e, struct int_target *t)
{
    bool vm86 = cpu_vm86(c);
    unsigned items = (vm86 ? 9 : 3) + (e->has_error ? 1 : 0);
    struct frame f;

    t->cpl = gate_code(c, t->sel, e->ext, &t->code);
    t->inner = t->cpl < c->cpl;
    if (vm86 && t->cpl != 0) {
        cpu_raise_err(c, EXC_GP, sel_err(t->sel, e->ext));
    }
    if (t->inner) {
        tss_inner_stack(c, t->cpl, e->ext, &t->stk);
        frame_inner(c, &f, &t->stk, frame_mode(c, t->cpl), sel_err(t->stk.ss, e->ext));
        items += vm86 ? 0 : 2;
    } else {
        frame_current(c, &f, frame_mode(c, t->cpl), e->ext);
    }
    frame_room(c, &f, items, t->size);
    code_check_ip(c, &t->code, t->off, e->ext);
    desc_set_accessed(c, &t->code);
    if (t->inner) {
        desc_set_accessed(c, &t->stk.d);
    }
    push_frame(c, e, t, &f);

    /* commit */
    commit_eflags(c, t->type);
    code_commit(c, t->sel, &t->code, t->cpl, t->off);
    if (t->inner) {
        seg_set_desc(c, S_SS, t->stk.ss, &t->stk.d);
    }
    GPR(c, R_RSP) = frame_rsp(&f, t->inner ? t->stk.sp : GPR(c, R_RSP));
    if (vm86) {
        seg_set_null(c, S_ES, 0);
        seg_set_null(c, S_DS, 0);
        seg_set_null(c, S_FS, 0);
        seg_set_null(c, S_GS, 0);
    }
}

static void deliver_task_gate(struct guest_cpu *c, const struct event *e, uint16_t tss)
{
    const struct task_switch t = {
        .why = TASK_EVENT,
        .ext = e->ext,
        .has_error = e->has_error,
        .error = e->error,
        .return_ip = e->rip,
        .eflags = e->eflags,
    };

    task_switch_to(c, tss, &t);
}

/* Read the gate and do the checks on it; its type in t. */
static struct desc idt_read(struct guest_cpu *c, const struct event *e, unsigned entry_size, unsigned types)
{
    struct desc g;
    uint64_t v;

    if (e->vector * entry_size + entry_size - 1 > c->idt.limit) {
        raise_gate(c, e, EXC_GP);
    }
    g.lin = lin_wrap(c, c->idt.base + e->vector * entry_size);
    v = guest_ld_mode(c, g.lin, 8, sys_mode(c));
    g.lo = (uint32_t)v;
    g.hi = (uint32_t)(v >> 32);
    if ((g.hi & DESC_S) || !(types >> desc_type(&g) & 1)) {
        raise_gate(c, e, EXC_GP);
    }
    if (e->soft && desc_dpl(&g) < event_cpl(c)) {
        raise_gate(c, e, EXC_GP);
    }
    if (!(g.hi & DESC_P)) {
        raise_gate(c, e, EXC_NP);
    }
    return g;
}

static void deliver_protected(struct guest_cpu *c, const struct event *e)
{
    const unsigned types = 1u << SYS_TASK | 1u << SYS_INT16 | 1u << SYS_TRAP16 | 1u << SYS_INT32 |
                           1u << SYS_TRAP32;
    struct desc g = idt_read(c, e, 8, types);
    struct int_target t;

    t.sel = (uint16_t)(g.lo >> 16);
    t.type = desc_type(&g);
    if (t.type == SYS_TASK) {
        deliver_task_gate(c, e, t.sel);
        return;
    }
    t.size = t.type & 8 ? 4 : 2;
    t.off = g.lo & 0xffff;
    if (t.size == 4) {
        t.off |= g.hi & 0xffff0000u;
    }
    deliver_gate(c, e, &t);
}

/* ---- IA-32e mode ---- */

static void deliver_long(struct guest_cpu *c, const struct event *e)
{
    struct desc g = idt_read(c, e, 16, 1u << SYS_INT32 | 1u << SYS_TRAP32);
    uint64_t upper = guest_ld_mode(c, g.lin + 8, 8, sys_mode(c));
    unsigned ist = g.hi & 7;
    struct int_target t;
    struct frame f;
    uint64_t rsp;

    t.sel = (uint16_t)(g.lo >> 16);
    t.type = desc_type(&g);
    t.size = 8;
    t.off = (g.lo & 0xffff) | (g.hi & 0xffff0000u) | upper << 32;
    t.cpl = gate_code(c, t.sel, e->ext, &t.code);
    t.inner = true; /* SS:RSP is always pushed */
    if (ist || t.cpl < c->cpl) {
        rsp = tss_inner_rsp(c, t.cpl, ist, e->ext);
    } else {
        rsp = GPR(c, R_RSP);
    }
    frame_64(&f, rsp & ~15ull, frame_mode(c, t.cpl), e->ext);
    frame_room(c, &f, e->has_error ? 6 : 5, 8);
    code_check_ip(c, &t.code, t.off, e->ext);
    desc_set_accessed(c, &t.code);
    push_frame(c, e, &t, &f);

    /* commit */
    commit_eflags(c, t.type);
    rsp = t.cpl < c->cpl;
    code_commit(c, t.sel, &t.code, t.cpl, t.off);
    if (rsp) {
        seg_set_null(c, S_SS, (uint16_t)t.cpl);
    }
    GPR(c, R_RSP) = f.sp;
}

/* ---- delivery ---- */

static void deliver(struct guest_cpu *c, const struct event *e)
{
    if (!cpu_pe(c)) {
        deliver_real(c, e);
    } else if (cpu_lma(c)) {
        deliver_long(c, e);
    } else {
        deliver_protected(c, e);
    }
    c->shadow = 0;
    c->rep_partial = 0;
    c->special_tf = 0; /* no single-step trap after INT n: the handler runs with TF clear */
    cpu_update_hflags_same_cr(c);
}

static void log_event(struct guest_cpu *c, const struct event *e)
{
    if (c->host && c->host->log_int) {
        fpu_park(c);
        c->host->log_int(c, (int)e->vector, e->error, e->has_error, e->soft);
    }
}

/* How a hypervisor sees it (APM vol. 2, 15.20): INT3, INTO and INT1 are exceptions. */
static uint64_t event_type(unsigned vector, bool soft)
{
    if (soft) {
        return vector == EXC_BP || vector == EXC_OF ? EVENT_EXCEPTION : EVENT_SOFT;
    }
    return vector == EXC_NMI ? EVENT_NMI : vector == EXC_DB ? EVENT_EXCEPTION : EVENT_INTR;
}

void cpu_interrupt(struct guest_cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error,
                   uint64_t return_rip)
{
    struct event e = {
        .vector = vector & 0xff,
        .soft = soft,
        .has_error = has_error,
        .error = error,
        .rip = return_rip,
        .eflags = cpu_get_eflags(c),
        .ext = !soft,
    };

    if (c->rep_partial) {
        e.eflags |= FL_RF; /* between the iterations of a string instruction (SDM vol. 3, 17.3.1.1) */
    }
    if (soft) {
        e.eflags &= ~FL_RF;
    } else if (e.vector == EXC_NMI) {
        c->nmi_masked = 1;
    }
    log_event(c, &e);
    c->int_count[e.vector]++;
    if (__builtin_expect(c->svm.nested, 0)) {
        svm_event_begin(c, e.vector, event_type(vector, soft), has_error, error);
    }
    deliver(c, &e);
    svm_event_end(c);
}

#define V(x) (1u << (x))
/* Exceptions that combine to a double fault (SDM vol. 3, table 6-4): page faults count separately. */
static const uint32_t contributory = V(EXC_DE) | V(EXC_TS) | V(EXC_NP) | V(EXC_SS) | V(EXC_GP) | V(21);
static const uint32_t page_faults = V(EXC_PF) | V(20);
/* Fault class: the pushed EFLAGS.RF is 1, so that the restarted instruction meets no breakpoint. */
static const uint32_t faults = V(EXC_DE) | V(EXC_BR) | V(EXC_UD) | V(EXC_NM) | V(EXC_TS) | V(EXC_NP) |
                               V(EXC_SS) | V(EXC_GP) | V(EXC_PF) | V(EXC_MF) | V(EXC_AC) |
                               V(EXC_XM) | V(20) | V(21);

/* The second exception while the first is being delivered (SDM vol. 3, table 6-5). */
static bool makes_double_fault(unsigned first, unsigned second)
{
    if (V(first) & page_faults) {
        return V(second) & (contributory | page_faults);
    }
    return (V(first) & contributory) && (V(second) & contributory);
}

/* #DB: report the causes; DR7.GD off so that the handler may use the debug registers. */
static void note_debug(struct guest_cpu *c)
{
    uint64_t causes = c->exc_dr6;

    if (causes & 0xf) {
        c->dr[6] &= ~0xfull;
    }
    c->dr[6] |= causes & (0xf | DR6_BS_BT_BD);
    c->dr[7] &= ~(uint64_t)DR7_GD;
    c->exc_dr6 = 0;
}

/* Does the hypervisor take it?  #DB is in DR6 already then (APM vol. 2, 15.12.2). */
static bool intercepted(struct guest_cpu *c, const struct event *e)
{
    if (e->vector == EXC_DB && svm_wants(c, VMEXIT_EXCEPTION + EXC_DB)) {
        note_debug(c);
    }
    return svm_exception(c, e->vector, e->has_error, e->error);
}

static void shut_down(struct guest_cpu *c)
{
    c->exc_delivering = 0;
    if (c->svm.nested && svm_wants(c, VMEXIT_SHUTDOWN)) {
        svm_exit_now(c, VMEXIT_SHUTDOWN, 0, 0);
    } else {
        c->shutdown = 1;
    }
}

static void deliver_exception(struct guest_cpu *c, const struct event *e)
{
    c->exc_delivering = (uint8_t)(e->vector + 1);
    log_event(c, e);
    if (__builtin_expect(c->svm.nested, 0)) {
        svm_event_begin(c, e->vector, EVENT_EXCEPTION, e->has_error, e->error);
    }
    deliver(c, e);
    c->exc_delivering = 0;
    svm_event_end(c);
}

void cpu_deliver_exception(struct guest_cpu *c)
{
    struct event e = {
        .vector = (unsigned)c->exc_vector & 31,
        .has_error = c->exc_has_error,
        .error = c->exc_error,
        .rip = c->rip,
        .eflags = cpu_get_eflags(c),
        .ext = 1,
    };
    unsigned first = c->exc_delivering;

    c->exc_vector = -1;
    if (__builtin_expect(c->svm.nested, 0) && intercepted(c, &e)) {
        return;
    }
    if (first) {
        first--;
        if (first == EXC_DF) {
            shut_down(c);
            return;
        }
        if (makes_double_fault(first, e.vector)) {
            e.vector = EXC_DF;
            e.has_error = true;
            e.error = 0;
            if (c->svm.nested && intercepted(c, &e)) {
                return;
            }
        }
    }
    if ((V(e.vector) & faults) || (e.vector == EXC_DB && (c->exc_dr6 & (DR6_BD | DB_IS_FAULT))) ||
        c->rep_partial) {
        e.eflags |= FL_RF;
    }
    if (e.vector == EXC_DB) {
        note_debug(c);
    }
    c->exc_count[e.vector]++;
    deliver_exception(c, &e);
}
#undef V

void cpu_deliver_injected(struct guest_cpu *c, unsigned vector, bool has_error, uint32_t error, uint64_t return_rip)
{
    const struct event e = {
        .vector = vector,
        .has_error = has_error,
        .error = error,
        .rip = return_rip,
        .eflags = cpu_get_eflags(c),
        .ext = 1,
    };

    deliver_exception(c, &e);
}

/* ---- INT n, INT3, INT1, INTO ---- */

/* VME: is this vector to be handled by the 8086 program itself?  (SDM vol. 3, 20.3.3; the bit is 0 then.) */
static bool vme_redirected(struct guest_cpu *c, unsigned vector)
{
    const struct guest_seg *tr = &c->seg[S_TR];
    unsigned off;

    if (!(tr->attr & DESC_P) || !(tr->attr & (8u << DESC_TYPE_SHIFT)) || tr->limit < 0x67) {
        GP0(c);
    }
    off = (unsigned)tss_ld(c, 0x66, 2) - 32 + vector / 8;
    if (off > tr->limit) {
        GP0(c);
    }
    return !(tss_ld(c, off, 1) >> (vector & 7) & 1);
}

/* INT n through the 8086 program's own vector table at linear address 0. */
static void deliver_vme(struct guest_cpu *c, unsigned vector, uint64_t next)
{
    uint64_t sp = GPR(c, R_RSP) & 0xffff;
    uint32_t flags = cpu_get_eflags(c);
    uint32_t clear = FL_TF | FL_RF;
    uint32_t vec;

    if (cpu_iopl(c) == 3) {
        clear |= FL_IF;
    } else {
        flags = (flags & ~FL_IF) | FL_IOPL | (flags & FL_VIF ? FL_IF : 0);
        clear |= FL_VIF;
    }
    vec = guest_ld32(c, vector * 4);
    stack_push_at(c, &sp, flags, 2);
    stack_push_at(c, &sp, c->seg[S_CS].sel, 2);
    stack_push_at(c, &sp, next, 2);
    set_rsp(c, sp);
    c->eflags &= ~clear;
    seg_load_real(c, S_CS, (uint16_t)(vec >> 16));
    c->rip = vec & 0xffff;
    c->int_count[vector]++;
    cpu_update_hflags_same_cr(c);
}

int help_int_n(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned vector = (uint8_t)in->imm;
    uint64_t next = dec_next_ip(in);

    if (cpu_pe(c) && cpu_vm86(c)) {
        if ((c->cr[4] & CR4_VME) && vme_redirected(c, vector)) {
            deliver_vme(c, vector, next);
            return HELP_JUMP;
        }
        if (cpu_iopl(c) < 3) {
            GP0(c);
        }
    }
    cpu_interrupt(c, vector, true, false, 0, next);
    return HELP_JUMP;
}

int help_int3(struct guest_cpu *c, const struct dec_insn *in)
{
    cpu_interrupt(c, EXC_BP, true, false, 0, dec_next_ip(in));
    return HELP_JUMP;
}

/* INT1 (ICEBP): a #DB of trap kind; the gate's DPL does not count.  DR6 tells of nothing but breakpoints that a MOV SS
 * before it has held back: they need no second #DB. */
int help_int1(struct guest_cpu *c, const struct dec_insn *in)
{
    note_debug(c);
    cpu_interrupt(c, EXC_DB, false, false, 0, dec_next_ip(in));
    return HELP_JUMP;
}

int help_into(struct guest_cpu *c, const struct dec_insn *in)
{
    if (!(c->fl & 1)) {
        return HELP_NEXT;
    }
    cpu_interrupt(c, EXC_OF, true, false, 0, dec_next_ip(in));
    return HELP_JUMP;
}

/* ---- IRET ---- */

#define IRET16_FLAGS (FL_STATUS | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT)
#define IRET32_FLAGS (IRET16_FLAGS | FL_RF | FL_AC | FL_ID)

/* Real-address mode, and virtual-8086 mode where IOPL or VME allow it. */
static void iret_real(struct guest_cpu *c, unsigned size)
{
    uint64_t ip = stack_peek(c, 0, size);
    uint16_t cs = (uint16_t)stack_peek(c, size, size);
    uint32_t flags = (uint32_t)stack_peek(c, 2 * size, size);
    uint32_t mask = size == 2 ? IRET16_FLAGS : IRET32_FLAGS;

    if (cpu_vm86(c)) {
        mask &= ~FL_IOPL;
        if (cpu_iopl(c) < 3) {
            /* VME: the virtual interrupt flag stands in for IF */
            if (((flags & FL_IF) && (c->eflags & FL_VIP)) || (flags & FL_TF)) {
                GP0(c);
            }
            flags = (flags & ~FL_VIF) | (flags & FL_IF ? FL_VIF : 0);
            mask = (mask & ~FL_IF) | FL_VIF;
        }
    }
    if (ip > c->seg[S_CS].limit) {
        GP0(c);
    }
    set_rsp(c, GPR(c, R_RSP) + 3 * size);
    eflags_load(c, flags, mask);
    seg_load_real(c, S_CS, cs);
    c->rip = ip;
}

void iret_to_v86(struct guest_cpu *c, uint32_t eip, uint16_t cs, uint32_t eflags)
{
    static const uint8_t order[] = { S_ES, S_DS, S_FS, S_GS };
    uint32_t esp = (uint32_t)stack_peek(c, 12, 4);
    uint16_t ss = (uint16_t)stack_peek(c, 16, 4);
    uint16_t sel[4];

    for (unsigned i = 0; i < 4; i++) {
        sel[i] = (uint16_t)stack_peek(c, 20 + 4 * i, 4);
    }
    if (eip > 0xffff) {
        GP0(c);
    }
    eflags_load(c, eflags, IRET32_FLAGS | FL_VM | FL_VIF | FL_VIP);
    c->cpl = 3;
    seg_set_v86(c, S_CS, cs);
    seg_set_v86(c, S_SS, ss);
    for (unsigned i = 0; i < 4; i++) {
        seg_set_v86(c, order[i], sel[i]);
    }
    GPR(c, R_RSP) = esp;
    c->rip = eip;
}

/* NT = 1: back to the task that the back link names (SDM vol. 3, 7.4). */
static void iret_nested(struct guest_cpu *c, const struct dec_insn *in)
{
    const struct task_switch t = {
        .why = TASK_IRET,
        .return_ip = dec_next_ip(in),
        .eflags = cpu_get_eflags(c) & ~(FL_RF | FL_NT),
    };

    task_switch_to(c, (uint16_t)tss_ld(c, 0, 2), &t);
}

int help_iret(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned size = in->opsize;

    if (!cpu_pe(c)) {
        iret_real(c, size);
    } else if (cpu_vm86(c)) {
        if (cpu_iopl(c) < 3 && !((c->cr[4] & CR4_VME) && size == 2)) {
            GP0(c);
        }
        iret_real(c, size);
    } else if (c->eflags & FL_NT) {
        if (cpu_lma(c)) {
            GP0(c);
        }
        iret_nested(c, in);
    } else {
        far_return(c, size, 0, true);
    }
    if (c->nmi_masked) {
        c->nmi_masked = 0;
        cpu_kick(c, XREQ_POLL); /* one may have been held back */
    }
    cpu_update_hflags_same_cr(c);
    return HELP_JUMP;
}
