/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_int_task.c - hardware task switches: JMP, CALL, IRET, task gates, 16-bit TSSs, faults. */
#include "test_seg_env.h"

static struct dec_insn far_ptr(uint16_t sel)
{
    struct dec_insn in = insn(0x10, 4);

    in.imm2 = sel;
    return in;
}

/* A task ready to run at 0x9999 in TSS2. */
static void make_task(uint32_t eflags)
{
    put(TSS2 + 0x20, 4, 0x9999);
    put(TSS2 + 0x24, 4, eflags);
    for (unsigned i = 0; i < 8; i++) {
        put(TSS2 + 0x28 + 4 * i, 4, 0x100 + i);
    }
    put(TSS2 + 0x38, 4, STACK2);
    put(TSS2 + 0x48, 2, KDATA);  /* ES */
    put(TSS2 + 0x4c, 2, KCODE);
    put(TSS2 + 0x50, 2, KDATA);
    put(TSS2 + 0x54, 2, KDATA);
    put(TSS2 + 0x58, 2, 0);
    put(TSS2 + 0x5c, 2, UDATA);
    put(TSS2 + 0x60, 2, SEL_LDT);
}

static void check_in_task(void)
{
    CHECK_EQ(c->rip, 0x9999);
    CHECK_EQ(c->cpl, 0);
    CHECK_EQ(GPR(c, R_RAX), 0x100);
    CHECK_EQ(GPR(c, R_RDI), 0x107);
    CHECK_EQ(c->seg[S_CS].sel, KCODE);
    CHECK_EQ(c->seg[S_SS].sel, KDATA);
    CHECK_EQ(c->seg[S_FS].sel, 0);
    CHECK_EQ(c->seg[S_GS].sel, UDATA);
    CHECK_EQ(c->seg[S_LDT].base, LDT);
    CHECK_EQ(c->seg[S_TR].sel, SEL_TSS2);
    CHECK(c->cr[0] & CR0_TS);
    CHECK(c->hflags & HF_NM_SSE);
    CHECK_EQ(get_attr(SEL_TSS2), A_SYS(SYS_TSS32_BUSY));
}

static void test_jmp(void)
{
    struct dec_insn in;

    setup_32(0);
    make_task(FL_IF | 2);
    GPR(c, R_RBX) = 0xb0b0;
    c->dr[7] = 0x7ff;
    in = far_ptr(SEL_TSS2);
    RUN(help_jmp_far_ptr, &in, HELP_JUMP);
    check_in_task();
    CHECK_EQ(cpu_get_eflags(c), FL_IF | 2);
    CHECK_EQ(GPR(c, R_RSP), STACK2);
    CHECK_EQ(get_attr(SEL_TSS), A_SYS(SYS_TSS32)); /* not busy any more */
    CHECK_EQ(get(TSS + 0x20, 4), 0x12);
    CHECK_EQ(get(TSS + 0x24, 4), 2);
    CHECK_EQ(get(TSS + 0x34, 4), 0xb0b0);
    CHECK_EQ(get(TSS + 0x4c, 2), KCODE);
    CHECK_EQ(c->dr[7], 0x6aa);
    /* back */
    in = far_ptr(SEL_TSS);
    RUN(help_jmp_far_ptr, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x12);
    CHECK_EQ(GPR(c, R_RBX), 0xb0b0);
    CHECK_EQ(c->seg[S_DS].sel, UDATA);
}

static void test_call_iret(void)
{
    struct dec_insn in;

    setup_32(3);
    make_task(2);
    in = far_ptr(TASKGATE);
    RUN(help_call_far_ptr, &in, HELP_JUMP);
    check_in_task();
    CHECK(c->eflags & FL_NT);
    CHECK_EQ(get(TSS2, 2), SEL_TSS);
    CHECK_EQ(get_attr(SEL_TSS), A_SYS(SYS_TSS32_BUSY));
    in = insn(0x9999, 4);
    RUN(help_iret, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x12);
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(c->mmu_mode, MMU_USER);
    CHECK(!(c->eflags & FL_NT));
    CHECK_EQ(GPR(c, R_RSP), USTACK);
    CHECK_EQ(get_attr(SEL_TSS2), A_SYS(SYS_TSS32));
    CHECK_EQ(get(TSS2 + 0x20, 4), 0x999b);
    CHECK(!(get(TSS2 + 0x24, 4) & FL_NT));
}

static void test_interrupt_gate(void)
{
    setup_32(3);
    make_task(2);
    put_gate(IDT + EXC_GP * 8, SEL_TSS2, 0, SYS_TASK, 0, 0);
    c->rip = 0x77;
    deliver_all(EXC_GP, true, 0x1234);
    check_in_task();
    CHECK_EQ(GPR(c, R_RSP), STACK2 - 4);
    CHECK_EQ(get(STACK2 - 4, 4), 0x1234);
    CHECK_EQ(get(TSS + 0x20, 4), 0x77);
    CHECK_EQ(get(TSS + 0x24, 4), FL_RF | 2);
    CHECK_EQ(c->exc_delivering, 0);
    CHECK_EQ(c->shutdown, 0);
}

static void test_v86_task(void)
{
    struct dec_insn in;

    setup_32(0);
    make_task(FL_VM | FL_IOPL | 2);
    put(TSS2 + 0x4c, 2, 0x1234);
    in = far_ptr(SEL_TSS2);
    RUN(help_jmp_far_ptr, &in, HELP_JUMP);
    CHECK(cpu_vm86(c));
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(c->seg[S_CS].base, 0x12340);
    CHECK_EQ(c->hflags & (HF_VM | HF_CODE_MASK), HF_VM | HF_CODE16);
}

static void test_16bit(void)
{
    struct dec_insn in;

    setup_32(0);
    put_desc(SEL_TSS2, TSS2, 0x2b, A_SYS(SYS_TSS16));
    put(TSS2 + 0x0e, 2, 0x4321);
    put(TSS2 + 0x10, 2, FL_IF);
    for (unsigned i = 0; i < 8; i++) {
        put(TSS2 + 0x12 + 2 * i, 2, 0xa0 + i);
    }
    put(TSS2 + 0x22, 2, KDATA);
    put(TSS2 + 0x24, 2, KCODE);
    put(TSS2 + 0x26, 2, KDATA);
    put(TSS2 + 0x28, 2, KDATA);
    in = far_ptr(SEL_TSS2);
    RUN(help_call_far_ptr, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x4321);
    CHECK_EQ(GPR(c, R_RCX), 0xa1);
    CHECK_EQ(c->eflags, FL_IF | FL_NT);
    CHECK_EQ(get(TSS2, 2), SEL_TSS);
    in = insn(0x50, 4);
    RUN(help_iret, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x12);
    CHECK_EQ(get(TSS2 + 0x0e, 2), 0x52);
    CHECK_EQ(get(TSS2 + 0x14, 2), 0xa1);
}

static void test_faults_before(void)
{
    struct dec_insn in;

    setup_32(0);
    make_task(2);
    in = far_ptr(SEL_TSS2);
    put_desc(SEL_TSS2, TSS2, 0x66, A_SYS(SYS_TSS32));
    RAISES(help_jmp_far_ptr, &in, EXC_TS, SEL_TSS2);
    put_desc(SEL_TSS2, TSS2, 0x67, A_SYS(SYS_TSS32) & ~DESC_P);
    RAISES(help_jmp_far_ptr, &in, EXC_NP, SEL_TSS2);
    put_desc(SEL_TSS2, TSS2, 0x67, A_SYS(SYS_TSS32));
    bad_page = TSS2;
    RAISES(help_jmp_far_ptr, &in, EXC_PF, 0);
    bad_page = TSS;
    RAISES(help_jmp_far_ptr, &in, EXC_PF, 2);
    bad_page = NO_PAGE;
    CHECK_EQ(c->rip, 0x10);
    CHECK_EQ(get_attr(SEL_TSS), A_SYS(SYS_TSS32_BUSY));
    CHECK_EQ(get_attr(SEL_TSS2), A_SYS(SYS_TSS32));
    /* the back link */
    c->eflags |= FL_NT;
    put(TSS, 2, SEL_TSS2);
    in = insn(0x10, 4);
    RAISES(help_iret, &in, EXC_TS, SEL_TSS2); /* not busy */
    put(TSS, 2, 0);
    RAISES(help_iret, &in, EXC_TS, 0);
    put(TSS, 2, SEL_TSS2 | 4);
    RAISES(help_iret, &in, EXC_TS, SEL_TSS2 | 4);
    /* from an interrupt: EXT */
    put_gate(IDT + EXC_UD * 8, KDATA, 0, SYS_TASK, 0, 0);
    put_gate(IDT + EXC_GP * 8, KCODE, 0xd00, SYS_INT32, 0, 0);
    deliver_all(EXC_UD, false, 0);
    CHECK_EQ(c->rip, 0xd00);
    CHECK_EQ(get(GPR(c, R_RSP), 4), KDATA | 1);
}

static void test_faults_after(void)
{
    struct dec_insn in;

    setup_32(0);
    make_task(2);
    in = far_ptr(SEL_TSS2);
    put(TSS2 + 0x4c, 2, KDATA);
    RAISES(help_jmp_far_ptr, &in, EXC_TS, KDATA); /* not a code segment */
    CHECK_EQ(c->rip, 0x9999);                     /* in the new task */
    CHECK_EQ(c->seg[S_TR].sel, SEL_TSS2);

    setup_32(0);
    make_task(2);
    put(TSS2 + 0x50, 2, UDATA);
    RAISES(help_jmp_far_ptr, &in, EXC_TS, UDATA & ~3);
    CHECK_EQ(c->seg[S_CS].sel, KCODE);

    setup_32(0);
    make_task(2);
    put(TSS2 + 0x54, 2, ABSENT);
    RAISES(help_jmp_far_ptr, &in, EXC_NP, ABSENT);

    setup_32(0);
    make_task(2);
    put(TSS2 + 0x60, 2, KDATA);
    RAISES(help_jmp_far_ptr, &in, EXC_TS, KDATA);

    setup_32(0);
    make_task(2);
    put(TSS2 + 0x64, 2, 1); /* T */
    RAISES(help_jmp_far_ptr, &in, EXC_DB, 0);
    CHECK_EQ(c->exc_dr6, 1u << 15);
    check_in_task();

    /* #DF through a task gate saves a kernel whose stack is gone */
    setup_32(0);
    make_task(2);
    put_gate(IDT + EXC_DF * 8, SEL_TSS2, 0, SYS_TASK, 0, 0);
    put_gate(IDT + EXC_PF * 8, KCODE, 0xe00, SYS_INT32, 0, 0);
    bad_page = KSTACK - 0x1000;
    c->rip = 0x42;
    deliver_all(EXC_PF, true, 0);
    CHECK_EQ(c->shutdown, 0);
    check_in_task();
    CHECK_EQ(get(TSS + 0x20, 4), 0x42);
    CHECK_EQ(get(STACK2 - 4, 4), 0);
}

int main(void)
{
    test_jmp();
    test_call_iret();
    test_interrupt_gate();
    test_v86_task();
    test_16bit();
    test_faults_before();
    test_faults_after();
    return 0;
}
