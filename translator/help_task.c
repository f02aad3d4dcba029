/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_task.c - hardware task switches, with 16- and 32-bit TSSs.
 *
 * Callers (help_far.c, help_int.c) have checked the gate or the privilege to
 * use the TSS; from the TSS selector on everything is here.  Up to the commit
 * point faults belong to the old task; the loads of LDTR and the segment
 * registers fault in the new one.
 *
 * Manuals: SDM vol. 3, 7.2 (TSS), 7.3 (task switching, table 7-1 for the checks), 7.4 (nesting).
 */
#include "translator/desc.h"
#include "translator/svm.h"

#define TSS_LINK       0x00
#define TSS32_CR3      0x1c
#define TSS32_EIP      0x20
#define TSS32_EFLAGS   0x24
#define TSS32_EAX      0x28
#define TSS32_ES       0x48
#define TSS32_LDT      0x60
#define TSS32_TRAP     0x64
#define TSS32_LIMIT    0x67
#define TSS16_IP       0x0e
#define TSS16_FLAGS    0x10
#define TSS16_AX       0x12
#define TSS16_ES       0x22
#define TSS16_LDT      0x2a
#define TSS16_LIMIT    0x2b
#define DR6_BT         (1u << 15)
#define DR7_LOCAL      0x155u /* L0..L3 and LE */

/* The part of a TSS that a switch loads. */
struct tss_state {
    uint32_t cr3, eip, eflags;
    uint32_t gpr[8];
    uint16_t sel[S_COUNT], ldt;
    bool is32, trap;
};

static bool type_is_32(uint32_t attr)
{
    return attr & (8u << DESC_TYPE_SHIFT);
}

/* ---- the new TSS: checks and contents ---- */

static void check_new_tss(struct guest_cpu *c, uint16_t sel, const struct task_switch *t, struct desc *d)
{
    unsigned bad = t->why == TASK_IRET ? EXC_TS : EXC_GP;
    unsigned want = t->why == TASK_IRET ? SYS_TSS16_BUSY : SYS_TSS16;

    if ((sel & 4) || sel_is_null(sel) || !desc_read(c, sel, d)) {
        cpu_raise_err(c, bad, sel_err(sel, t->ext));
    }
    if ((d->hi & DESC_S) || (desc_type(d) & ~8u) != want) {
        cpu_raise_err(c, bad, sel_err(sel, t->ext));
    }
    if (!(d->hi & DESC_P)) {
        cpu_raise_err(c, EXC_NP, sel_err(sel, t->ext));
    }
    if (desc_limit(d) < (type_is_32(d->hi) ? TSS32_LIMIT : TSS16_LIMIT)) {
        cpu_raise_err(c, EXC_TS, sel_err(sel, t->ext));
    }
}

static uint32_t new_ld(struct guest_cpu *c, const struct desc *d, unsigned off, unsigned size)
{
    return (uint32_t)guest_ld_mode(c, lin_wrap(c, (uint64_t)desc_base(d) + off), size, sys_mode(c));
}

static void read_new_tss(struct guest_cpu *c, const struct desc *d, struct tss_state *s)
{
    s->is32 = type_is_32(d->hi);
    s->cr3 = 0;
    s->trap = false;
    if (s->is32) {
        s->cr3 = new_ld(c, d, TSS32_CR3, 4);
        s->eip = new_ld(c, d, TSS32_EIP, 4);
        s->eflags = new_ld(c, d, TSS32_EFLAGS, 4);
        s->ldt = (uint16_t)new_ld(c, d, TSS32_LDT, 2);
        s->trap = new_ld(c, d, TSS32_TRAP, 2) & 1;
    } else {
        s->eip = new_ld(c, d, TSS16_IP, 2);
        s->eflags = new_ld(c, d, TSS16_FLAGS, 2);
        s->ldt = (uint16_t)new_ld(c, d, TSS16_LDT, 2);
    }
    for (unsigned i = 0; i < 8; i++) {
        s->gpr[i] = s->is32 ? new_ld(c, d, TSS32_EAX + 4 * i, 4) : new_ld(c, d, TSS16_AX + 2 * i, 2);
    }
    for (unsigned i = 0; i < S_COUNT; i++) {
        if (s->is32) {
            s->sel[i] = (uint16_t)new_ld(c, d, TSS32_ES + 4 * i, 2);
        } else {
            s->sel[i] = i < S_FS ? (uint16_t)new_ld(c, d, TSS16_ES + 2 * i, 2) : 0;
        }
    }
}

/* ---- the old TSS ---- */

static void old_st(struct guest_cpu *c, unsigned off, unsigned size, uint32_t v)
{
    guest_st_mode(c, lin_wrap(c, c->seg[S_TR].base + off), size, v, sys_mode(c));
}

/* Everything that the commit writes must be writable, before anything is written. */
static void probe_writes(struct guest_cpu *c, const struct task_switch *t, const struct desc *new_d,
                         const struct desc *old_d)
{
    const struct guest_seg *tr = &c->seg[S_TR];
    bool is32 = type_is_32(tr->attr);
    unsigned first = is32 ? TSS32_EIP : TSS16_IP;
    unsigned end = is32 ? TSS32_LDT : TSS16_LDT;

    if (tr->limit < end - 1) {
        cpu_raise_err(c, EXC_TS, sel_err(tr->sel, t->ext));
    }
    guest_probe(c, lin_wrap(c, tr->base + first), end - first, ACC_WRITE, sys_mode(c));
    guest_probe(c, lin_wrap(c, new_d->lin), 8, ACC_WRITE, sys_mode(c));
    if (old_d) {
        guest_probe(c, lin_wrap(c, old_d->lin), 8, ACC_WRITE, sys_mode(c));
    }
    if (t->why == TASK_CALL || t->why == TASK_EVENT) {
        guest_probe(c, desc_base(new_d) + TSS_LINK, 2, ACC_WRITE, sys_mode(c));
    }
}

static void save_old_task(struct guest_cpu *c, const struct task_switch *t)
{
    bool is32 = type_is_32(c->seg[S_TR].attr);

    if (is32) {
        old_st(c, TSS32_EIP, 4, (uint32_t)t->return_ip);
        old_st(c, TSS32_EFLAGS, 4, t->eflags);
    } else {
        old_st(c, TSS16_IP, 2, (uint32_t)t->return_ip);
        old_st(c, TSS16_FLAGS, 2, t->eflags);
    }
    for (unsigned i = 0; i < 8; i++) {
        uint32_t v = (uint32_t)GPR(c, i);

        old_st(c, is32 ? TSS32_EAX + 4 * i : TSS16_AX + 2 * i, is32 ? 4 : 2, v);
    }
    for (unsigned i = 0; i < (is32 ? S_COUNT : S_FS); i++) {
        old_st(c, is32 ? TSS32_ES + 4 * i : TSS16_ES + 2 * i, 2, c->seg[i].sel);
    }
}

/* ---- loading the new task: faults are the new task's ---- */

static _Noreturn void bad_sel(struct guest_cpu *c, unsigned vector, uint16_t sel, unsigned ext)
{
    cpu_raise_err(c, vector, sel_err(sel, ext));
}

static void load_ldt(struct guest_cpu *c, uint16_t sel, unsigned ext)
{
    struct desc d;

    if (sel_is_null(sel)) {
        return;
    }
    if ((sel & 4) || !desc_read(c, sel, &d) || (d.hi & DESC_S) || desc_type(&d) != SYS_LDT ||
        !(d.hi & DESC_P)) {
        bad_sel(c, EXC_TS, sel, ext);
    }
    seg_set_desc(c, S_LDT, sel, &d);
}

static void load_cs(struct guest_cpu *c, uint16_t sel, unsigned ext)
{
    struct desc d;
    bool ok = !sel_is_null(sel) && desc_read(c, sel, &d) && desc_is_code(&d);

    if (!ok || (desc_is_conforming(&d) ? desc_dpl(&d) > c->cpl : desc_dpl(&d) != c->cpl)) {
        bad_sel(c, EXC_TS, sel, ext);
    }
    if (!(d.hi & DESC_P)) {
        bad_sel(c, EXC_NP, sel, ext);
    }
    desc_set_accessed(c, &d);
    seg_set_desc(c, S_CS, sel, &d);
}

static void load_ss(struct guest_cpu *c, uint16_t sel, unsigned ext)
{
    struct desc d;

    if (sel_is_null(sel) || !desc_read(c, sel, &d) || !desc_is_writable_data(&d) || (sel & 3u) != c->cpl ||
        desc_dpl(&d) != c->cpl) {
        bad_sel(c, EXC_TS, sel, ext);
    }
    if (!(d.hi & DESC_P)) {
        bad_sel(c, EXC_SS, sel, ext);
    }
    desc_set_accessed(c, &d);
    seg_set_desc(c, S_SS, sel, &d);
}

static void load_data(struct guest_cpu *c, unsigned seg, uint16_t sel, unsigned ext)
{
    struct desc d;
    bool conforming;

    if (sel_is_null(sel)) {
        return;
    }
    if (!desc_read(c, sel, &d) || !desc_is_readable(&d)) {
        bad_sel(c, EXC_TS, sel, ext);
    }
    conforming = desc_is_code(&d) && desc_is_conforming(&d);
    if (!conforming && ((sel & 3u) > desc_dpl(&d) || c->cpl > desc_dpl(&d))) {
        bad_sel(c, EXC_TS, sel, ext);
    }
    if (!(d.hi & DESC_P)) {
        bad_sel(c, EXC_NP, sel, ext);
    }
    desc_set_accessed(c, &d);
    seg_set_desc(c, seg, sel, &d);
}

/* Selectors visible but unusable, so that a fault on the way finds a consistent state. */
static void set_selectors(struct guest_cpu *c, const struct tss_state *s)
{
    bool v86 = s->eflags & FL_VM;

    c->cpl = v86 ? 3 : s->sel[S_CS] & 3;
    for (unsigned i = 0; i < S_COUNT; i++) {
        if (v86) {
            seg_set_v86(c, i, s->sel[i]);
        } else {
            seg_set_null(c, i, s->sel[i]);
        }
    }
    seg_set_null(c, S_LDT, s->ldt);
}

static void load_new_task(struct guest_cpu *c, const struct tss_state *s, unsigned ext)
{
    static const uint8_t data[] = { S_ES, S_DS, S_FS, S_GS };

    if (s->is32 && (c->cr[0] & CR0_PG) && c->cr[3] != s->cr3) {
        c->cr[3] = s->cr3;
        tlb_cr3_written(c, false);
    }
    c->rip = s->eip;
    eflags_load(c, s->eflags, 0x003f7fd5u);
    for (unsigned i = 0; i < 8; i++) {
        GPR(c, i) = s->gpr[i];
    }
    c->shadow = 0;
    set_selectors(c, s);
    cpu_update_hflags(c);
    load_ldt(c, s->ldt, ext);
    if (!(s->eflags & FL_VM)) {
        load_cs(c, s->sel[S_CS], ext);
        load_ss(c, s->sel[S_SS], ext);
        for (unsigned i = 0; i < sizeof(data); i++) {
            load_data(c, data[i], s->sel[data[i]], ext);
        }
        cpu_update_hflags(c);
    }
}

static void push_error_code(struct guest_cpu *c, const struct task_switch *t, bool is32)
{
    struct frame f;

    frame_current(c, &f, c->cpl == 3 ? MMU_USER : sys_mode(c), t->ext);
    frame_push(c, &f, t->error, is32 ? 4 : 2);
    GPR(c, R_RSP) = frame_rsp(&f, GPR(c, R_RSP));
}

/* The commit point: from here on the new task is running. */
static void commit_descriptors(struct guest_cpu *c, uint16_t sel, const struct task_switch *t,
                               struct desc *new_d, struct desc *old_d)
{
    bool nested = t->why == TASK_CALL || t->why == TASK_EVENT;

    if (old_d) {
        desc_set_busy(c, old_d, false);
    }
    save_old_task(c, t);
    if (nested) {
        guest_st_mode(c, desc_base(new_d) + TSS_LINK, 2, c->seg[S_TR].sel, sys_mode(c));
    }
    if (t->why != TASK_IRET) {
        desc_set_busy(c, new_d, true);
    }
    seg_set_desc(c, S_TR, sel, new_d);
    c->cr[0] |= CR0_TS;
    c->dr[7] &= ~(uint64_t)DR7_LOCAL; /* HF_BP is refreshed with the other hflags */
}

void task_switch_to(struct guest_cpu *c, uint16_t sel, const struct task_switch *t)
{
    bool leaves_old = t->why == TASK_JMP || t->why == TASK_IRET; /* the old task is not busy any more */
    struct desc new_d, old_d;
    struct tss_state s;
    bool have_old;

    if (dump_wanted(c, DUMP_FAR)) {
        dump_event(c, "switch_tss: sel=0x%04x why=%d\n", sel, t->why);
    }
    check_new_tss(c, sel, t, &new_d);
    if (__builtin_expect(c->svm.nested, 0)) {
        svm_check_task(c, sel, (t->why == TASK_IRET ? TASK_INFO_IRET : 0) | (t->why == TASK_JMP ? TASK_INFO_JMP : 0) |
                                   (t->has_error ? TASK_INFO_ERROR | t->error : 0) |
                                   (t->eflags & FL_RF ? TASK_INFO_RF : 0));
    }
    read_new_tss(c, &new_d, &s);
    have_old = leaves_old && desc_read(c, c->seg[S_TR].sel, &old_d);
    probe_writes(c, t, &new_d, have_old ? &old_d : NULL);

    commit_descriptors(c, sel, t, &new_d, have_old ? &old_d : NULL);
    if (t->why == TASK_CALL || t->why == TASK_EVENT) {
        s.eflags |= FL_NT;
    }
    load_new_task(c, &s, t->ext);
    if (t->has_error) {
        push_error_code(c, t, s.is32);
    }
    if (c->rip > c->seg[S_CS].limit) {
        cpu_raise_err(c, EXC_GP, t->ext);
    }
    if (s.trap) {
        c->exc_delivering = 0;
        c->exc_dr6 |= DR6_BT;
        cpu_raise(c, EXC_DB);
    }
}
