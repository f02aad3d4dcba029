/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_int.c - delivery of interrupts and exceptions and the way back by IRET, in every mode. */
#include "test_seg_env.h"

enum { FLAGS_IF = FL_IF | 2 };

static void idt_gate(unsigned vector, uint16_t sel, uint32_t off, unsigned type, unsigned dpl)
{
    put_gate(IDT + vector * 8, sel, off, type, dpl, 0);
}
static void idt_gate64(unsigned vector, uint16_t sel, uint64_t off, unsigned type, unsigned dpl, unsigned ist)
{
    put_gate(IDT + vector * 16, sel, off, type, dpl, ist);
    put(IDT + vector * 16 + 8, 8, off >> 32);
}
static struct dec_insn int_n(unsigned vector)
{
    struct dec_insn in = insn(0x10, 4);

    in.imm = vector;
    return in;
}
static void set_flags(uint32_t f)
{
    cpu_set_eflags(c, f, ~0u);
    cpu_update_hflags(c);
}

static unsigned ext_vector;
static void do_external(void)
{
    cpu_interrupt(c, ext_vector, false, false, 0, c->rip);
}
static int external(unsigned vector, uint64_t rip)
{
    ext_vector = vector;
    c->rip = rip;
    return call(do_external);
}

/* ---- real-address mode ---- */

static void test_real(void)
{
    struct dec_insn in, ret;

    setup_real();
    put(IDT + 0x21 * 4, 4, 0x12345678);
    set_flags(FL_IF | FL_TF | FL_CF | FL_AC);
    in = int_n(0x21);
    RUN(help_int_n, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x5678);
    CHECK_EQ(c->seg[S_CS].sel, 0x1234);
    CHECK_EQ(GPR(c, R_RSP), 0x5ffa);
    CHECK_EQ(get(0x7ffa, 2), 0x12);
    CHECK_EQ(get(0x7ffc, 2), 0x100);
    CHECK_EQ(get(0x7ffe, 2), FL_IF | FL_TF | FL_CF | 2);
    CHECK_EQ(cpu_get_eflags(c), FL_CF | 2);
    CHECK_EQ(c->int_count[0x21], 1);

    /* IRET: IF goes up while an interrupt waits; NMIs are let through again */
    c->intr_pending = 1;
    c->nmi_masked = 1;
    c->exit_request = 0;
    ret = insn(0x20, 2);
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK_EQ(c->rip, 0x12);
    CHECK_EQ(c->cs_base, 0x1000);
    CHECK_EQ(GPR(c, R_RSP), 0x6000);
    CHECK_EQ(cpu_get_eflags(c), FL_IF | FL_TF | FL_CF | 2);
    CHECK_EQ(c->exit_request, XREQ_IRQ_WINDOW | XREQ_POLL);
    CHECK_EQ(c->nmi_masked, 0);

    /* beyond the limit of the IDT */
    c->idt.limit = 0x21 * 4 + 2;
    RAISES(help_int_n, &in, EXC_GP, 0x21 * 8 + 2);
    CHECK_EQ(GPR(c, R_RSP), 0x6000);
    /* no vector table at all: shutdown */
    c->idt.limit = 0;
    deliver_all(EXC_UD, false, 0);
    CHECK_EQ(c->shutdown, 1);
    CHECK_EQ(c->exc_count[EXC_DF], 1);
}

/* ---- protected mode ---- */

static void test_same_level(void)
{
    struct dec_insn in, ret;

    setup_32(0);
    idt_gate(0x80, KCODE, 0x12345, SYS_TRAP32, 0);
    set_flags(FL_IF | FL_NT | FL_TF);
    in = int_n(0x80);
    RUN(help_int_n, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x12345);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 0x400 - 12);
    CHECK_EQ(get(GPR(c, R_RSP), 8), (uint64_t)KCODE << 32 | 0x12);
    CHECK_EQ(get(GPR(c, R_RSP) + 8, 4), FL_IF | FL_NT | FL_TF | 2);
    CHECK_EQ(cpu_get_eflags(c), FLAGS_IF); /* a trap gate keeps IF */
    put(GPR(c, R_RSP) + 8, 4, 0xffffffffu & ~(FL_VM | FL_NT));
    ret = insn(0x20, 4);
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK_EQ(c->rip, 0x12);
    CHECK_EQ(cpu_get_eflags(c), (0x003f7fd7u & ~(FL_VM | FL_NT)));

    setup_32(0);
    idt_gate(0x20, KCODE, 0x12345, SYS_INT32, 0);
    set_flags(FL_IF | FL_RF);
    CHECK_EQ(external(0x20, 0x555), NONE);
    CHECK_EQ(cpu_get_eflags(c), 2);
    CHECK_EQ(get(GPR(c, R_RSP) + 8, 4), FL_IF | FL_RF | 2); /* RF as it was */
    CHECK_EQ(get(GPR(c, R_RSP), 4), 0x555);
    CHECK_EQ(last_mode, MMU_KERNEL_NOSMAP);
}

static void test_inner_level(void)
{
    struct dec_insn in, ret;

    setup_32(3);
    c->cr[4] |= CR4_SMAP;
    idt_gate(0x80, KCODE, 0x12345, SYS_INT32, 3);
    set_flags(FL_IF);
    in = int_n(0x80);
    RUN(help_int_n, &in, HELP_JUMP);
    CHECK_EQ(c->cpl, 0);
    CHECK_EQ(c->seg[S_SS].sel, KDATA);
    CHECK_EQ(c->mmu_mode, MMU_KERNEL);
    CHECK_EQ(last_mode, MMU_KERNEL);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 20);
    CHECK_EQ(get(KSTACK - 20, 8), (uint64_t)UCODE << 32 | 0x12);
    CHECK_EQ(get(KSTACK - 12, 8), (uint64_t)USTACK << 32 | FLAGS_IF);
    CHECK_EQ(get(KSTACK - 4, 4), UDATA);
    force_seg(S_DS, KDATA);
    ret = insn(0x20, 4);
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(c->seg[S_CS].sel, UCODE);
    CHECK_EQ(c->seg[S_SS].sel, UDATA);
    CHECK_EQ(c->seg[S_DS].sel, 0);
    CHECK_EQ(GPR(c, R_RSP), USTACK);
    CHECK_EQ(cpu_get_eflags(c), FLAGS_IF);

    /* IRET at CPL 3 changes neither IOPL nor IF */
    set_flags(FL_IF);
    put(USTACK, 4, 0x77);
    put(USTACK + 4, 4, UCODE);
    put(USTACK + 8, 4, FL_IOPL | FL_ID);
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK_EQ(cpu_get_eflags(c), FL_IF | FL_ID | 2);
    CHECK_EQ(GPR(c, R_RSP), USTACK + 12);

    /* no single-step trap is left over from INT n */
    put(TSS + 4, 4, KSTACK);
    c->special_tf = 1;
    RUN(help_int_n, &in, HELP_JUMP);
    CHECK_EQ(c->special_tf, 0);
}

static void test_gate_errors(void)
{
    struct dec_insn in = int_n(0x80);

    setup_32(3);
    in = int_n(0x80);
    RAISES(help_int_n, &in, EXC_GP, 0x80 * 8 + 2); /* not a gate */
    CHECK_EQ(external(0x80, 0x10), EXC_GP);
    CHECK_EQ(c->exc_error, 0x80 * 8 + 3);          /* EXT */
    idt_gate(0x80, KCODE, 0, SYS_INT32, 0);
    RAISES(help_int_n, &in, EXC_GP, 0x80 * 8 + 2); /* DPL */
    CHECK_EQ(external(0x80, 0x10), NONE);

    setup_32(3);
    idt_gate(0x80, KCODE, 0, SYS_INT32, 3);
    put(IDT + 0x80 * 8 + 5, 1, 0x6e);
    RAISES(help_int_n, &in, EXC_NP, 0x80 * 8 + 2);
    idt_gate(0x80, 0, 0, SYS_INT32, 3);
    RAISES(help_int_n, &in, EXC_GP, 0);
    CHECK_EQ(external(0x80, 0x10), EXC_GP);
    CHECK_EQ(c->exc_error, 1);
    idt_gate(0x80, KDATA, 0, SYS_INT32, 3);
    RAISES(help_int_n, &in, EXC_GP, KDATA);
    idt_gate(0x80, KCODE, 0, SYS_INT32, 3);
    put(TSS + 8, 2, UDATA);
    CHECK_EQ(external(0x80, 0x10), EXC_TS);
    CHECK_EQ(c->exc_error, (UDATA & ~3) | 1);
    put(TSS + 8, 2, KDATA);
    bad_page = KSTACK - 0x1000;
    RAISES(help_int_n, &in, EXC_PF, 2);
    CHECK_EQ(GPR(c, R_RSP), USTACK);
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(c->rip, 0x10);
    bad_page = NO_PAGE;
    idt_gate(0x80, KCODE16, 0x10000, SYS_INT32, 3);
    RAISES(help_int_n, &in, EXC_GP, 0); /* offset beyond the code segment */
}

static void test_gate_16(void)
{
    struct dec_insn in;

    setup_32(0);
    idt_gate(4, KCODE16, 0x1234, SYS_INT16, 0);
    in = insn(0x10, 4);
    RUN(help_into, &in, HELP_NEXT);
    c->fl = 1;
    RUN(help_into, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x1234);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 0x406);
    CHECK_EQ(get(KSTACK - 0x406, 6), (uint64_t)(FL_OF | 2) << 32 | KCODE << 16 | 0x12);
}

/* ---- exceptions ---- */

static void test_exceptions(void)
{
    setup_32(0);
    idt_gate(EXC_UD, KCODE, 0x600, SYS_INT32, 0);
    idt_gate(EXC_GP, KCODE, 0xd00, SYS_INT32, 0);
    idt_gate(EXC_DB, KCODE, 0x100, SYS_INT32, 0);
    idt_gate(EXC_DF, KCODE, 0x800, SYS_INT32, 0);
    c->rip = 0x99;
    deliver_all(EXC_UD, false, 0);
    CHECK_EQ(c->rip, 0x600);
    CHECK_EQ(get(GPR(c, R_RSP), 4), 0x99);
    CHECK_EQ(get(GPR(c, R_RSP) + 8, 4), FL_RF | 2);
    CHECK_EQ(c->exc_count[EXC_UD], 1);
    deliver_all(EXC_GP, true, 0x1234);
    CHECK_EQ(get(GPR(c, R_RSP), 4), 0x1234);
    CHECK_EQ(get(GPR(c, R_RSP) + 4, 4), 0x600);
    CHECK_EQ(c->exc_delivering, 0);

    /* #DB: a trap leaves RF alone, DR6 reports, GD is cleared */
    c->exc_dr6 = 1u << 14;
    c->dr[6] = 0xffff0ff1u;
    c->dr[7] |= 1u << 13;
    deliver_all(EXC_DB, false, 0);
    CHECK_EQ(c->dr[6], 0xffff4ff1u);
    CHECK_EQ(c->dr[7], 0x400);
    CHECK_EQ(get(GPR(c, R_RSP) + 8, 4), 2);
    c->exc_dr6 = 2;
    deliver_all(EXC_DB, false, 0);
    CHECK_EQ(c->dr[6], 0xffff4ff2u);

    /* benign, then contributory: one after the other.  #NM has no gate: #GP with EXT names it */
    deliver_all(EXC_NM, false, 0);
    CHECK_EQ(c->rip, 0xd00);
    CHECK_EQ(get(GPR(c, R_RSP), 4), EXC_NM * 8 + 3);
    CHECK_EQ(c->exc_count[EXC_DF], 0);

    /* contributory during contributory: #DF with error code 0 */
    deliver_all(EXC_NP, true, 0x55);
    CHECK_EQ(c->rip, 0x800);
    CHECK_EQ(get(GPR(c, R_RSP), 4), 0);
    CHECK_EQ(c->exc_count[EXC_DF], 1);
    /* page fault, then contributory */
    deliver_all(EXC_PF, true, 7);
    CHECK_EQ(c->rip, 0x800);
    CHECK_EQ(c->exc_count[EXC_DF], 2);
    CHECK_EQ(c->shutdown, 0);
    /* no gate for #DF: shutdown */
    idt_gate(EXC_DF, KDATA, 0x800, SYS_INT32, 0);
    deliver_all(EXC_PF, true, 7);
    CHECK_EQ(c->shutdown, 1);
}

static void test_pf_during_contributory(void)
{
    /* the stack of the #GP handler is not mapped: a plain page fault, not a double fault */
    setup_32(0);
    idt_gate(EXC_GP, KCODE, 0xd00, SYS_INT32, 0);
    put(IDT + EXC_PF * 8, 8, 0);
    put_gate(IDT + EXC_PF * 8, KCODE, 0xe00, SYS_INT32, 0, 0);
    bad_page = KSTACK - 0x1000;
    deliver_all(EXC_GP, true, 0);
    CHECK_EQ(c->exc_count[EXC_PF], 1);
    CHECK_EQ(c->exc_count[EXC_DF], 1); /* its own frame faults too */
    CHECK_EQ(c->shutdown, 1);
    CHECK_EQ(c->cr[2], KSTACK - 0x404);
}

static void test_icebp(void)
{
    struct dec_insn in;

    setup_32(3);
    idt_gate(EXC_DB, KCODE, 0x100, SYS_INT32, 0);
    idt_gate(EXC_BP, KCODE, 0x300, SYS_INT32, 0);
    in = insn(0x10, 4);
    RAISES(help_int3, &in, EXC_GP, EXC_BP * 8 + 2);
    c->dr[6] = 0xffff0ff0u;
    RUN(help_int1, &in, HELP_JUMP); /* the DPL does not count */
    CHECK_EQ(c->rip, 0x100);
    CHECK_EQ(c->dr[6], 0xffff0ff0u);
    CHECK_EQ(get(KSTACK - 20, 4), 0x12);
}

/* ---- IA-32e mode ---- */

static void test_long(void)
{
    struct dec_insn in, ret;

    setup_64(3);
    idt_gate64(0x80, KCODE64, 0x12345678, SYS_INT32, 3, 0);
    idt_gate64(EXC_PF, KCODE64, 0xffff800000000e00ull, SYS_INT32, 0, 1);
    put(TSS + 4, 8, KSTACK - 8); /* gets aligned */
    set_flags(FL_IF);
    in = int_n(0x80);
    RUN(help_int_n, &in, HELP_JUMP);
    CHECK_EQ(c->cpl, 0);
    CHECK_EQ(c->seg[S_CS].sel, KCODE64);
    CHECK_EQ(c->seg[S_SS].sel, 0);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 0x10 - 40);
    CHECK_EQ(get(GPR(c, R_RSP), 8), 0x12);
    CHECK_EQ(get(GPR(c, R_RSP) + 8, 8), UCODE64);
    CHECK_EQ(get(GPR(c, R_RSP) + 16, 8), FLAGS_IF);
    CHECK_EQ(get(GPR(c, R_RSP) + 24, 8), USTACK);
    CHECK_EQ(get(GPR(c, R_RSP) + 32, 8), UDATA);

    /* nested, on the IST stack, same level: SS stays, SS:RSP is pushed all the same */
    c->rip = 0x4444;
    c->cr[2] = 0x1111;
    deliver_all(EXC_PF, true, 2);
    CHECK_EQ(c->rip, 0xffff800000000e00ull);
    CHECK_EQ(GPR(c, R_RSP), IST1 - 48);
    CHECK_EQ(get(IST1 - 48, 8), 2);
    CHECK_EQ(get(IST1 - 40, 8), 0x4444);
    CHECK_EQ(get(IST1 - 8, 8), 0);
    CHECK_EQ(get(IST1 - 16, 8), KSTACK - 0x10 - 40);
    GPR(c, R_RSP) += 8;
    ret = insn(0x20, 8);
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 0x10 - 40);
    CHECK_EQ(c->rip, 0x4444);
    CHECK_EQ(c->cpl, 0);
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(c->rip, 0x12);
    CHECK_EQ(GPR(c, R_RSP), USTACK);
    CHECK_EQ(c->seg[S_SS].sel, UDATA);
    CHECK_EQ(c->hflags & (HF_CODE_MASK | HF_CPL_MASK), HF_CODE64 | 3);
}

static void frame64(uint64_t rip, uint16_t cs, uint32_t flags, uint64_t rsp, uint16_t ss)
{
    uint64_t at_rsp = GPR(c, R_RSP);

    put(at_rsp, 8, rip);
    put(at_rsp + 8, 8, cs);
    put(at_rsp + 16, 8, flags);
    put(at_rsp + 24, 8, rsp);
    put(at_rsp + 32, 8, ss);
}

static void test_iret_long(void)
{
    struct dec_insn ret;

    setup_64(0);
    ret = insn(0x20, 8);
    frame64(0x5000, UCODE, FL_IF, 0xfff000, UDATA); /* to compatibility mode */
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK_EQ(c->hflags & (HF_CODE_MASK | HF_CPL_MASK), HF_CODE32 | 3);
    CHECK_EQ(GPR(c, R_RSP), 0xfff000);

    setup_64(0);
    /* null SS is fine below CPL 3; RSP is not checked */
    frame64(0x5000, KCODE64, FL_IF, 0x123456789abcdef0ull, 0);
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK_EQ(GPR(c, R_RSP), 0x123456789abcdef0ull);

    setup_64(0);
    frame64(0x5000, UCODE64, FL_IF, 0, 3);
    RAISES(help_iret, &ret, EXC_GP, 0);
    frame64(0x5000, KCODE64, FL_IF, 0, 3);
    RAISES(help_iret, &ret, EXC_GP, 0);
    frame64(0x5000, UCODE64, FL_IF, 0, KDATA);
    RAISES(help_iret, &ret, EXC_GP, KDATA);
    frame64(0x0000800000000000ull, UCODE64, FL_IF, 0, UDATA);
    RAISES(help_iret, &ret, EXC_GP, 0);
    frame64(0x5000, 0x1003, FL_IF, 0, UDATA);
    RAISES(help_iret, &ret, EXC_GP, 0x1000);
    c->eflags |= FL_NT;
    RAISES(help_iret, &ret, EXC_GP, 0);
    CHECK_EQ(c->cpl, 0);

    /* interrupt from compatibility mode, gates must be 64-bit and lead to 64-bit code */
    setup_64(3);
    force_seg(S_CS, UCODE);
    cpu_update_hflags(c);
    idt_gate64(0x80, KCODE64, 0x1000, SYS_INT32, 3, 0);
    ret = int_n(0x80);
    RUN(help_int_n, &ret, HELP_JUMP);
    CHECK(cpu_code64(c));
    CHECK_EQ(get(KSTACK - 32, 8), UCODE);
    setup_64(3);
    idt_gate64(0x80, KCODE, 0x1000, SYS_INT32, 3, 0);
    RAISES(help_int_n, &ret, EXC_GP, KCODE);
    idt_gate64(0x80, KCODE64, 0x1000, SYS_INT16, 3, 0);
    RAISES(help_int_n, &ret, EXC_GP, 0x80 * 8 + 2);
    idt_gate64(0x80, KCODE64, 0x0000800000000000ull, SYS_INT32, 3, 0);
    RAISES(help_int_n, &ret, EXC_GP, 0);
    idt_gate64(0x80, KCODE64, 0x1000, SYS_INT32, 3, 0);
    put(TSS + 4, 8, 0x0000900000000000ull);
    RAISES(help_int_n, &ret, EXC_SS, 0);
    c->idt.limit = 0x80 * 16 + 14;
    RAISES(help_int_n, &ret, EXC_GP, 0x80 * 8 + 2);
}

/* ---- virtual-8086 mode ---- */

static void test_v86(void)
{
    struct dec_insn in, ret;

    setup_v86(3);
    idt_gate(0x21, KCODE, 0x12345, SYS_INT32, 3);
    in = int_n(0x21);
    RUN(help_int_n, &in, HELP_JUMP);
    CHECK_EQ(c->cpl, 0);
    CHECK(!cpu_vm86(c));
    CHECK_EQ(c->seg[S_CS].sel, KCODE);
    CHECK_EQ(c->seg[S_DS].sel, 0);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 36);
    CHECK_EQ(get(KSTACK - 4, 4), 0x600);  /* GS */
    CHECK_EQ(get(KSTACK - 16, 4), 0x100); /* ES */
    CHECK_EQ(get(KSTACK - 20, 4), 0x300); /* SS */
    CHECK_EQ(get(KSTACK - 24, 4), 0x6000);
    CHECK_EQ(get(KSTACK - 28, 4), FL_VM | FL_IOPL | FL_IF | 2);
    CHECK_EQ(get(KSTACK - 36, 8), 0x20000000012ull);
    ret = insn(0x20, 4);
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK(cpu_vm86(c));
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(c->hflags & (HF_VM | HF_CODE_MASK | HF_CPL_MASK), HF_VM | HF_CODE16 | 3);
    CHECK_EQ(c->seg[S_GS].base, 0x6000);
    CHECK_EQ(c->seg[S_ES].sel, 0x100);
    CHECK_EQ(c->seg[S_CS].base, 0x2000);
    CHECK_EQ(GPR(c, R_RSP), 0x6000);
    CHECK_EQ(c->rip, 0x12);

    /* IOPL < 3 */
    setup_v86(0);
    RAISES(help_int_n, &in, EXC_GP, 0);
    ret = insn(0x20, 2);
    RAISES(help_iret, &ret, EXC_GP, 0);
    /* INT3 goes through the IDT whatever IOPL is */
    idt_gate(EXC_BP, KCODE, 0x300, SYS_INT32, 3);
    RUN(help_int3, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x300);
    /* the handler must run at CPL 0 */
    setup_v86(3);
    idt_gate(0x21, UCODE, 0x12345, SYS_INT32, 3);
    RAISES(help_int_n, &in, EXC_GP, UCODE & ~3);
}

static void test_vme(void)
{
    struct dec_insn in, ret;

    setup_v86(0);
    c->cr[4] |= CR4_VME;
    cpu_set_eflags(c, FL_VIF, FL_VIF | FL_IF);
    put(TSS + 0x66, 2, 0x88);
    put(0x21 * 4, 4, 0x07770123);
    in = int_n(0x21);
    RUN(help_int_n, &in, HELP_JUMP);
    CHECK(cpu_vm86(c));
    CHECK_EQ(c->rip, 0x123);
    CHECK_EQ(c->seg[S_CS].base, 0x7770);
    CHECK_EQ(get(0x3000 + 0x5ffa, 6), (uint64_t)(FL_IOPL | FL_IF | 2) << 32 | 0x02000012);
    CHECK(!(c->eflags & FL_VIF));
    ret = insn(0x20, 2);
    RUN(help_iret, &ret, HELP_JUMP);
    CHECK_EQ(c->eflags & (FL_VIF | FL_IF | FL_IOPL), FL_VIF);
    CHECK_EQ(c->rip, 0x12);
    /* a virtual interrupt is pending and IRET would enable it */
    GPR(c, R_RSP) = 0x5ffa;
    c->eflags |= FL_VIP;
    RAISES(help_iret, &ret, EXC_GP, 0);
    CHECK_EQ(GPR(c, R_RSP), 0x5ffa);
    /* redirection bit set: to the monitor */
    put(TSS + 0x68 + 4, 1, 1 << 1);
    RAISES(help_int_n, &in, EXC_GP, 0);
    /* with IOPL 3 the real IF is used */
    put(TSS + 0x68 + 4, 1, 0);
    set_flags(FL_VM | FL_IOPL | FL_IF);
    RUN(help_int_n, &in, HELP_JUMP);
    CHECK_EQ(c->eflags, FL_VM | FL_IOPL);
}

static void test_nmi(void)
{
    setup_32(0);
    idt_gate(2, KCODE, 0x200, SYS_INT32, 0);
    CHECK_EQ(external(2, 0x10), NONE);
    CHECK_EQ(c->nmi_masked, 1);
}

int main(void)
{
    test_real();
    test_same_level();
    test_inner_level();
    test_gate_errors();
    test_gate_16();
    test_exceptions();
    test_pf_during_contributory();
    test_icebp();
    test_long();
    test_iret_long();
    test_v86();
    test_vme();
    test_nmi();
    return 0;
}
