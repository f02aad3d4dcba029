/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_far.c - far JMP, CALL and RET in all modes, through code segments,
 *              call gates, task gates and TSSs.
 *
 * IRET shares the protected-mode return here but is decided in help_int.c;
 * the task switch itself is help_task.c.
 *
 * Manuals: SDM vol. 2, CALL, JMP, RET, IRET; SDM vol. 3, 5.8 (transfers of control), 7.3 (task switching),
 *          20.1 (real-address mode); APM vol. 3 (no m16:64 far pointers on AMD).
 */
#include <inttypes.h>

#include "translator/desc.h"

/* One far JMP or CALL. */
struct far {
    uint16_t sel;
    uint64_t off;
    uint64_t next;   /* return address of a CALL */
    unsigned size;   /* operand size */
    bool call;
};

/* ---- real-address and virtual-8086 mode ---- */

static void far_real(struct guest_cpu *c, const struct far *f)
{
    uint64_t sp = GPR(c, R_RSP) & stack_mask(c);

    if (f->off > c->seg[S_CS].limit) {
        GP0(c);
    }
    if (f->call) {
        stack_push_at(c, &sp, c->seg[S_CS].sel, f->size);
        stack_push_at(c, &sp, f->next, f->size);
        set_rsp(c, sp);
    }
    seg_load_real(c, S_CS, f->sel);
    c->rip = f->off;
}

/* ---- to a code segment ---- */

static void far_code(struct guest_cpu *c, const struct far *f, struct desc *d)
{
    uint32_t err = sel_err(f->sel, 0);
    unsigned dpl = desc_dpl(d);
    struct frame fr;

    if (cpu_lma(c) && (d->hi & DESC_L) && (d->hi & DESC_B)) {
        cpu_raise_err(c, EXC_GP, err);
    }
    if (desc_is_conforming(d) ? dpl > c->cpl : ((f->sel & 3u) > c->cpl || dpl != c->cpl)) {
        cpu_raise_err(c, EXC_GP, err);
    }
    if (!(d->hi & DESC_P)) {
        cpu_raise_err(c, EXC_NP, err);
    }
    frame_current(c, &fr, c->mmu_mode, 0);
    if (f->call) {
        frame_room(c, &fr, 2, f->size);
    }
    code_check_ip(c, d, f->off, 0);
    desc_set_accessed(c, d);
    if (f->call) {
        frame_push(c, &fr, c->seg[S_CS].sel, f->size);
        frame_push(c, &fr, f->next, f->size);
        GPR(c, R_RSP) = frame_rsp(&fr, GPR(c, R_RSP));
    }
    code_commit(c, f->sel, d, c->cpl, f->off);
}

/* ---- through a call gate ---- */

struct gate {
    uint16_t sel;       /* of the code segment */
    uint64_t off;
    unsigned size;      /* 2, 4 or 8: of everything pushed */
    unsigned params;
};

static void gate_read(struct guest_cpu *c, const struct far *f, const struct desc *d, struct gate *g)
{
    g->sel = (uint16_t)(d->lo >> 16);
    g->off = d->lo & 0xffff;
    g->size = 2;
    g->params = d->hi & 31;
    if (desc_type(d) == SYS_CALL32) {
        g->off |= d->hi & 0xffff0000u;
        g->size = 4;
    }
    if (cpu_lma(c)) {
        struct desc up;

        if (!desc_read_upper(c, f->sel, d, &up) || (up.hi & 0x1f00)) {
            cpu_raise_err(c, EXC_GP, sel_err(f->sel, 0));
        }
        g->off |= (uint64_t)up.lo << 32;
        g->size = 8;
        g->params = 0;
    }
}

static void gate_jmp(struct guest_cpu *c, const struct gate *g)
{
    struct desc d;
    bool ok;

    if (sel_is_null(g->sel)) {
        GP0(c);
    }
    ok = desc_read(c, g->sel, &d) && desc_is_code(&d) &&
         (desc_is_conforming(&d) ? desc_dpl(&d) <= c->cpl : desc_dpl(&d) == c->cpl);
    if (!ok || (cpu_lma(c) && (d.hi & (DESC_L | DESC_B)) != DESC_L)) {
        cpu_raise_err(c, EXC_GP, sel_err(g->sel, 0));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise_err(c, EXC_NP, sel_err(g->sel, 0));
    }
    code_check_ip(c, &d, g->off, 0);
    desc_set_accessed(c, &d);
    code_commit(c, g->sel, &d, c->cpl, g->off);
}

static void gate_call_same(struct guest_cpu *c, const struct far *f, const struct gate *g, struct desc *d)
{
    struct frame fr;

    if (g->size == 8) {
        frame_64(&fr, GPR(c, R_RSP), c->mmu_mode, 0);
    } else {
        frame_current(c, &fr, c->mmu_mode, 0);
    }
    frame_room(c, &fr, 2, g->size);
    code_check_ip(c, d, g->off, 0);
    desc_set_accessed(c, d);
    frame_push(c, &fr, c->seg[S_CS].sel, g->size);
    frame_push(c, &fr, f->next, g->size);
    GPR(c, R_RSP) = frame_rsp(&fr, GPR(c, R_RSP));
    code_commit(c, g->sel, d, c->cpl, g->off);
}

/* The frame of a call to an inner level: old stack pointer, parameters, return address. */
static void gate_push_inner(struct guest_cpu *c, const struct far *f, const struct gate *g, struct frame *fr)
{
    uint32_t param[31];

    for (unsigned i = 0; i < g->params; i++) {
        param[i] = (uint32_t)stack_peek(c, i * g->size, g->size);
    }
    frame_push(c, fr, c->seg[S_SS].sel, g->size);
    frame_push(c, fr, GPR(c, R_RSP), g->size);
    for (unsigned i = g->params; i-- > 0;) {
        frame_push(c, fr, param[i], g->size);
    }
    frame_push(c, fr, c->seg[S_CS].sel, g->size);
    frame_push(c, fr, f->next, g->size);
}

static void gate_call_inner(struct guest_cpu *c, const struct far *f, const struct gate *g, struct desc *d,
                            unsigned cpl)
{
    struct inner_stack n = { 0 };
    struct frame fr;

    if (g->size == 8) {
        frame_64(&fr, tss_inner_rsp(c, cpl, 0, 0), sys_mode(c), 0);
    } else {
        tss_inner_stack(c, cpl, 0, &n);
        frame_inner(c, &fr, &n, sys_mode(c), sel_err(n.ss, 0));
    }
    frame_room(c, &fr, 4 + g->params, g->size);
    code_check_ip(c, d, g->off, 0);
    desc_set_accessed(c, d);
    if (g->size != 8) {
        desc_set_accessed(c, &n.d);
    }
    gate_push_inner(c, f, g, &fr);
    code_commit(c, g->sel, d, cpl, g->off);
    if (g->size == 8) {
        seg_set_null(c, S_SS, (uint16_t)cpl);
    } else {
        seg_set_desc(c, S_SS, n.ss, &n.d);
    }
    GPR(c, R_RSP) = frame_rsp(&fr, n.sp);
}

static void far_gate(struct guest_cpu *c, const struct far *f, const struct desc *d)
{
    struct gate g;
    struct desc code;
    unsigned cpl;

    gate_read(c, f, d, &g);
    if (!f->call) {
        gate_jmp(c, &g);
        return;
    }
    cpl = gate_code(c, g.sel, 0, &code);
    if (cpl < c->cpl) {
        gate_call_inner(c, f, &g, &code, cpl);
    } else {
        gate_call_same(c, f, &g, &code);
    }
}

/* ---- protected mode: what does the selector name? ---- */

static void far_task(struct guest_cpu *c, const struct far *f, uint16_t tss)
{
    const struct task_switch t = {
        .why = f->call ? TASK_CALL : TASK_JMP,
        .return_ip = f->next,
        .eflags = cpu_get_eflags(c) & ~FL_RF,
    };

    task_switch_to(c, tss, &t);
}

static void far_system(struct guest_cpu *c, const struct far *f, const struct desc *d)
{
    unsigned type = desc_type(d);
    bool gate = type == SYS_CALL32 || ((type == SYS_CALL16 || type == SYS_TASK) && !cpu_lma(c));
    bool tss = (type == SYS_TSS16 || type == SYS_TSS32) && !cpu_lma(c);

    if (!gate && !tss) {
        cpu_raise_err(c, EXC_GP, sel_err(f->sel, 0));
    }
    if (desc_dpl(d) < c->cpl || desc_dpl(d) < (f->sel & 3u)) {
        cpu_raise_err(c, EXC_GP, sel_err(f->sel, 0));
    }
    if (tss) {
        far_task(c, f, f->sel);
        return;
    }
    if (!(d->hi & DESC_P)) {
        cpu_raise_err(c, EXC_NP, sel_err(f->sel, 0));
    }
    if (type == SYS_TASK) {
        far_task(c, f, (uint16_t)(d->lo >> 16));
    } else {
        far_gate(c, f, d);
    }
}

static int far_transfer(struct guest_cpu *c, struct far *f)
{
    struct desc d;

    if (f->size == 2) {
        f->off &= 0xffff;
    }
    if (cpu_real_or_v86(c)) {
        far_real(c, f);
        cpu_update_hflags_same_cr(c);
        return HELP_JUMP;
    }
    if (dump_wanted(c, DUMP_FAR)) {
        dump_event(c, "%s %04x:%" PRIx64 " s=%d\n", f->call ? "lcall" : "ljmp", f->sel, f->off, f->size);
    }
    if (sel_is_null(f->sel)) {
        GP0(c);
    }
    if (!desc_read(c, f->sel, &d)) {
        cpu_raise_err(c, EXC_GP, sel_err(f->sel, 0));
    }
    if (!(d.hi & DESC_S)) {
        far_system(c, f, &d);
    } else if (desc_is_code(&d)) {
        far_code(c, f, &d);
    } else {
        cpu_raise_err(c, EXC_GP, sel_err(f->sel, 0));
    }
    cpu_update_hflags_same_cr(c);
    return HELP_JUMP;
}

/* ---- the instructions ---- */

static int far_ptr(struct guest_cpu *c, const struct dec_insn *in, bool call)
{
    struct far f = {
        .sel = (uint16_t)in->imm2,
        .off = (uint32_t)in->imm,
        .next = dec_next_ip(in),
        .size = in->opsize,
        .call = call,
    };

    return far_transfer(c, &f);
}

static int far_mem(struct guest_cpu *c, const struct dec_insn *in, bool call)
{
    struct far f = { .next = dec_next_ip(in), .size = in->opsize, .call = call };

    if (!in->has_mem) {
        cpu_raise(c, EXC_UD);
    }
    if (f.size == 8 && c->model.vendor_amd) {
        f.size = 4;
    }
    f.off = opnd_far(c, in, f.size, &f.sel);
    return far_transfer(c, &f);
}

int help_jmp_far_ptr(struct guest_cpu *c, const struct dec_insn *in)
{
    return far_ptr(c, in, false);
}

int help_call_far_ptr(struct guest_cpu *c, const struct dec_insn *in)
{
    return far_ptr(c, in, true);
}

int help_jmp_far_mem(struct guest_cpu *c, const struct dec_insn *in)
{
    return far_mem(c, in, false);
}

int help_call_far_mem(struct guest_cpu *c, const struct dec_insn *in)
{
    return far_mem(c, in, true);
}

/* ---- returns ---- */

/* What a protected-mode RETF or IRET found on the stack. */
struct ret {
    uint64_t ip, sp;
    uint32_t eflags;
    uint16_t cs, ss;
    unsigned size, imm;
    unsigned popped;    /* bytes on the old stack */
    bool iret;
    struct desc csd, ssd;
};

static void ret_check_cs(struct guest_cpu *c, struct ret *r)
{
    unsigned rpl = r->cs & 3;
    uint32_t err = sel_err(r->cs, 0);

    if (sel_is_null(r->cs)) {
        GP0(c);
    }
    if (!desc_read(c, r->cs, &r->csd) || !desc_is_code(&r->csd) || rpl < c->cpl) {
        cpu_raise_err(c, EXC_GP, err);
    }
    if (desc_is_conforming(&r->csd) ? desc_dpl(&r->csd) > rpl : desc_dpl(&r->csd) != rpl) {
        cpu_raise_err(c, EXC_GP, err);
    }
    if (cpu_lma(c) && (r->csd.hi & DESC_L) && (r->csd.hi & DESC_B)) {
        cpu_raise_err(c, EXC_GP, err);
    }
    if (!(r->csd.hi & DESC_P)) {
        cpu_raise_err(c, EXC_NP, err);
    }
}

/* The stack segment to return to: false when it is null and that is allowed (64-bit code, not CPL 3). */
static bool ret_check_ss(struct guest_cpu *c, struct ret *r)
{
    unsigned rpl = r->cs & 3;
    uint32_t err = sel_err(r->ss, 0);

    if (sel_is_null(r->ss)) {
        if (!cpu_lma(c) || !(r->csd.hi & DESC_L) || rpl == 3 || (r->ss & 3u) != rpl) {
            GP0(c);
        }
        return false;
    }
    if (!desc_read(c, r->ss, &r->ssd) || (r->ss & 3u) != rpl || !desc_is_writable_data(&r->ssd) ||
        desc_dpl(&r->ssd) != rpl) {
        cpu_raise_err(c, EXC_GP, err);
    }
    if (!(r->ssd.hi & DESC_P)) {
        cpu_raise_err(c, EXC_SS, err);
    }
    return true;
}

/* EFLAGS that an IRET at the current CPL may change (SDM vol. 2, IRET). */
static uint32_t iret_mask(struct guest_cpu *c, unsigned size)
{
    uint32_t m = FL_STATUS | FL_TF | FL_DF | FL_NT;

    if (size > 2) {
        m |= FL_RF | FL_AC | FL_ID;
    }
    if (c->cpl <= cpu_iopl(c)) {
        m |= FL_IF;
    }
    if (c->cpl == 0) {
        m |= FL_IOPL | (size > 2 ? FL_VIF | FL_VIP : 0);
    }
    return m;
}

static void ret_same_stack(struct guest_cpu *c, struct ret *r)
{
    code_check_ip(c, &r->csd, r->ip, 0);
    desc_set_accessed(c, &r->csd);
    set_rsp(c, GPR(c, R_RSP) + r->popped + r->imm);
    if (r->iret) {
        eflags_load(c, r->eflags, iret_mask(c, r->size));
    }
    code_commit(c, r->cs, &r->csd, c->cpl, r->ip);
}

static void ret_new_stack(struct guest_cpu *c, struct ret *r)
{
    unsigned rpl = r->cs & 3;
    bool outer = rpl > c->cpl;
    bool have_ss = ret_check_ss(c, r);

    code_check_ip(c, &r->csd, r->ip, 0);
    desc_set_accessed(c, &r->csd);
    if (have_ss) {
        desc_set_accessed(c, &r->ssd);
    }
    if (r->iret) {
        eflags_load(c, r->eflags, iret_mask(c, r->size));
    }
    code_commit(c, r->cs, &r->csd, rpl, r->ip);
    if (have_ss) {
        seg_set_desc(c, S_SS, r->ss, &r->ssd);
    } else {
        seg_set_null(c, S_SS, r->ss);
    }
    if (cpu_lma(c) && (r->csd.hi & DESC_L)) {
        GPR(c, R_RSP) = r->sp + r->imm;
    } else {
        gpr_write(c, R_RSP, r->ssd.hi & DESC_B ? 4 : 2, false, r->sp + r->imm);
    }
    if (outer) {
        seg_null_inner(c);
    }
}

void far_return(struct guest_cpu *c, unsigned size, unsigned imm, bool iret)
{
    struct ret r;

    r.size = size;
    r.imm = imm;
    r.iret = iret;
    r.ip = stack_peek(c, 0, size);
    r.cs = (uint16_t)stack_peek(c, size, size);
    r.eflags = 0;
    r.popped = 2 * size;
    if (iret) {
        r.eflags = (uint32_t)stack_peek(c, r.popped, size);
        r.popped += size;
    }
    if (iret && size == 4 && (r.eflags & FL_VM) && c->cpl == 0 && !cpu_lma(c)) {
        iret_to_v86(c, (uint32_t)r.ip, r.cs, r.eflags);
        return;
    }
    if (dump_wanted(c, DUMP_FAR)) {
        dump_event(c, "%s new %04x:%" PRIx64 " s=%d addend=0x%x\n", iret ? "iret" : "lret", r.cs, r.ip, size, imm);
    }
    ret_check_cs(c, &r);
    if ((r.cs & 3u) == c->cpl && !(iret && cpu_code64(c))) {
        ret_same_stack(c, &r);
        return;
    }
    r.sp = stack_peek(c, r.popped + imm, size);
    r.ss = (uint16_t)stack_peek(c, r.popped + imm + size, size);
    ret_new_stack(c, &r);
}

int help_ret_far(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned size = in->opsize;
    unsigned imm = in->opcode == 0xca ? (uint16_t)in->imm : 0;

    if (cpu_real_or_v86(c)) {
        uint64_t ip = stack_peek(c, 0, size);
        uint16_t cs = (uint16_t)stack_peek(c, size, size);

        if (ip > c->seg[S_CS].limit) {
            GP0(c);
        }
        set_rsp(c, GPR(c, R_RSP) + 2 * size + imm);
        seg_load_real(c, S_CS, cs);
        c->rip = ip;
    } else {
        far_return(c, size, imm, false);
    }
    cpu_update_hflags_same_cr(c);
    return HELP_JUMP;
}
