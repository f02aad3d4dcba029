/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_seg_far.c - far JMP, CALL and RET: real mode, code segments, call gates, outer returns, long mode. */
#include "test_seg_env.h"

static struct dec_insn far_ptr(uint16_t sel, uint64_t off, unsigned opsize)
{
    struct dec_insn in = insn(0x10, opsize);

    in.imm = (int64_t)off;
    in.imm2 = sel;
    return in;
}
static struct dec_insn far_ret(unsigned opsize, unsigned release)
{
    struct dec_insn in = insn(0x10, opsize);

    in.opcode = 0xca;
    in.imm = release;
    return in;
}
/* A far pointer in memory at 0x9000. */
static struct dec_insn far_mem(uint16_t sel, uint64_t off, unsigned opsize)
{
    put(0x9000, opsize, off);
    put(0x9000 + opsize, 2, sel);
    return insn_mem(0x10, opsize, 0x9000);
}

static void test_real(void)
{
    struct dec_insn in;

    setup_real();
    in = far_ptr(0x1234, 0x5678, 2);
    RUN(help_call_far_ptr, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x5678);
    CHECK_EQ(c->cs_base, 0x12340);
    CHECK_EQ(GPR(c, R_RSP), 0x5ffc);
    CHECK_EQ(get(0x7ffc, 4), 0x01000012); /* SS base 0x2000 */
    in = far_ret(2, 4);
    RUN(help_ret_far, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x12);
    CHECK_EQ(c->seg[S_CS].sel, 0x100);
    CHECK_EQ(GPR(c, R_RSP), 0x6004);
    in = far_ptr(0x1234, 0x10000, 4);
    RAISES(help_jmp_far_ptr, &in, EXC_GP, 0);
    CHECK_EQ(c->rip, 0x10);
    in = far_ptr(0x1234, 0xfff05678, 2);
    RUN(help_jmp_far_ptr, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x5678);
}

static void test_code_segment(void)
{
    struct dec_insn in;

    setup_32(0);
    in = far_ptr(KCODE, 0x5678, 4);
    RUN(help_call_far_ptr, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x5678);
    CHECK_EQ(get(GPR(c, R_RSP), 8), 0x0000000800000012ull);
    CHECK(get_attr(KCODE) & DESC_A);

    in = far_ptr(0, 0, 4);
    RAISES(help_jmp_far_ptr, &in, EXC_GP, 0);
    in = far_ptr(KDATA, 0, 4);
    RAISES(help_jmp_far_ptr, &in, EXC_GP, KDATA);
    in = far_ptr(UCODE, 0, 4);
    RAISES(help_jmp_far_ptr, &in, EXC_GP, UCODE & ~3);
    in = far_ptr(KCODE | 3, 0, 4);
    RAISES(help_jmp_far_ptr, &in, EXC_GP, KCODE); /* RPL > CPL */
    in = far_ptr(KCODE16, 0x10000, 4);
    RAISES(help_jmp_far_ptr, &in, EXC_GP, 0); /* beyond the limit */
    put_desc(ABSENT, 0, 0xfffff, A_CODE & ~DESC_P);
    in = far_ptr(ABSENT, 0, 4);
    RAISES(help_jmp_far_ptr, &in, EXC_NP, ABSENT);
    in = far_ptr(KCODE16, 0x100, 4);
    RUN(help_jmp_far_ptr, &in, HELP_JUMP);
    CHECK_EQ(c->hflags & HF_CODE_MASK, HF_CODE16);
    CHECK(c->hflags & HF_CSLIM);

    /* conforming: the CPL stays */
    setup_32(3);
    in = far_mem(CONF, 0x700, 4);
    RUN(help_jmp_far_mem, &in, HELP_JUMP);
    CHECK_EQ(c->seg[S_CS].sel, CONF | 3);
    CHECK_EQ(c->cpl, 3);

    /* the push faults: nothing has changed */
    setup_32(0);
    GPR(c, R_RSP) = 0x20000;
    bad_page = 0x1f000;
    in = far_ptr(KCODE16, 0x100, 4);
    RAISES(help_call_far_ptr, &in, EXC_PF, 2);
    CHECK_EQ(GPR(c, R_RSP), 0x20000);
    CHECK_EQ(c->seg[S_CS].sel, KCODE);
}

static void test_gate_inner(void)
{
    struct dec_insn in;

    setup_32(3);
    put(USTACK, 4, 0x11111111);
    put(USTACK + 4, 4, 0x22222222);
    in = far_ptr(GATE, 0xdead, 4); /* the offset is ignored */
    RUN(help_call_far_ptr, &in, HELP_JUMP);
    CHECK_EQ(c->cpl, 0);
    CHECK_EQ(c->seg[S_CS].sel, KCODE);
    CHECK_EQ(c->seg[S_SS].sel, KDATA);
    CHECK_EQ(c->rip, 0x12345);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 24);
    CHECK_EQ(get(KSTACK - 4, 4), UDATA);
    CHECK_EQ(get(KSTACK - 8, 4), USTACK);
    CHECK_EQ(get(KSTACK - 12, 4), 0x22222222);
    CHECK_EQ(get(KSTACK - 16, 4), 0x11111111);
    CHECK_EQ(get(KSTACK - 20, 4), UCODE);
    CHECK_EQ(get(KSTACK - 24, 4), 0x12);

    /* and back: DS of the inner level is not taken along */
    force_seg(S_DS, KDATA);
    force_seg(S_FS, CONF);
    in = far_ret(4, 8);
    RUN(help_ret_far, &in, HELP_JUMP);
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(c->rip, 0x12);
    CHECK_EQ(GPR(c, R_RSP), USTACK + 8);
    CHECK_EQ(c->seg[S_SS].sel, UDATA);
    CHECK_EQ(c->seg[S_DS].sel, 0);
    CHECK_EQ(c->seg[S_ES].sel, UDATA);
    CHECK_EQ(c->seg[S_FS].sel, CONF);
    CHECK_EQ(c->mmu_mode, MMU_USER);
}

static void test_gate_errors(void)
{
    struct dec_insn in;

    setup_32(3);
    in = far_ptr(GATE, 0, 4);
    RAISES(help_jmp_far_ptr, &in, EXC_GP, KCODE); /* JMP cannot change the CPL */
    put(TSS + 8, 2, KDATA | 1);
    RAISES(help_call_far_ptr, &in, EXC_TS, KDATA);
    put(TSS + 8, 2, 0);
    RAISES(help_call_far_ptr, &in, EXC_TS, 0);
    put(TSS + 8, 2, UDATA);
    RAISES(help_call_far_ptr, &in, EXC_TS, UDATA & ~3);
    put_desc(ABSENT, 0, 0xfffff, A_DATA & ~DESC_P);
    put(TSS + 8, 2, ABSENT);
    RAISES(help_call_far_ptr, &in, EXC_SS, ABSENT);
    put_desc(KDATA16, 0, KSTACK - 5, A_DATA);
    put(TSS + 8, 2, KDATA16);
    RAISES(help_call_far_ptr, &in, EXC_SS, KDATA16); /* no room */
    put(TSS + 8, 2, KDATA);
    c->seg[S_TR].limit = 8;
    RAISES(help_call_far_ptr, &in, EXC_TS, SEL_TSS);
    c->seg[S_TR].limit = 0x67;
    put_gate(GDT + (GATE & ~7), KCODE, 0x12345, SYS_CALL32, 2, 2);
    RAISES(help_call_far_ptr, &in, EXC_GP, GATE & ~3);
    put_gate(GDT + (GATE & ~7), 0, 0x12345, SYS_CALL32, 3, 2);
    RAISES(help_call_far_ptr, &in, EXC_GP, 0);
    put_gate(GDT + (GATE & ~7), KDATA, 0x12345, SYS_CALL32, 3, 2);
    RAISES(help_call_far_ptr, &in, EXC_GP, KDATA);
    put(GDT + (GATE & ~7) + 5, 1, 0x60 | SYS_CALL32);
    RAISES(help_call_far_ptr, &in, EXC_NP, GATE & ~3);
    in = far_ptr(SEL_TSS | 3, 0, 4);
    RAISES(help_jmp_far_ptr, &in, EXC_GP, SEL_TSS); /* busy */
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(GPR(c, R_RSP), USTACK);
}

static void test_gate_16(void)
{
    struct dec_insn in;

    setup_32(3);
    put(USTACK, 2, 0x1111);
    GPR(c, R_RSP) = USTACK;
    in = far_ptr(GATE16, 0, 4);
    RUN(help_call_far_ptr, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x2345);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 10);
    CHECK_EQ(get(KSTACK - 10, 8), 0x1111ull << 32 | (uint64_t)UCODE << 16 | 0x12 | (uint64_t)USTACK << 48);
    CHECK_EQ(get(KSTACK - 2, 2), UDATA);
}

static void test_ret_errors(void)
{
    struct dec_insn in;

    setup_32(3);
    in = far_ret(4, 0);
    put(USTACK, 4, 0x100);
    put(USTACK + 4, 4, KCODE);
    RAISES(help_ret_far, &in, EXC_GP, KCODE); /* to an inner level */
    put(USTACK + 4, 4, 0);
    RAISES(help_ret_far, &in, EXC_GP, 0);
    setup_32(0);
    put(GPR(c, R_RSP), 4, 0x100);
    put(GPR(c, R_RSP) + 4, 4, UCODE);
    put(GPR(c, R_RSP) + 12, 4, KDATA);
    RAISES(help_ret_far, &in, EXC_GP, KDATA);
    put(GPR(c, R_RSP) + 12, 4, 0);
    RAISES(help_ret_far, &in, EXC_GP, 0);
    put(GPR(c, R_RSP) + 12, 4, ABSENT | 3);
    RAISES(help_ret_far, &in, EXC_SS, ABSENT);
    CHECK_EQ(c->cpl, 0);
    /* stack limit */
    put_desc(KDATA16, 0, 0x7c05, A_DATA);
    force_seg(S_SS, KDATA16);
    cpu_update_hflags(c);
    RAISES(help_ret_far, &in, EXC_SS, 0);
}

static void test_long(void)
{
    struct dec_insn in;

    /* 64-bit call gate to the inner level */
    setup_64(3);
    in = far_mem(GATE64, 0, 4);
    RUN(help_call_far_mem, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x1100012345ull);
    CHECK_EQ(c->cpl, 0);
    CHECK_EQ(c->seg[S_SS].sel, 0);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 32);
    CHECK_EQ(get(KSTACK - 32, 8), 0x12);
    CHECK_EQ(get(KSTACK - 24, 8), UCODE64);
    CHECK_EQ(get(KSTACK - 16, 8), USTACK);
    CHECK_EQ(get(KSTACK - 8, 8), UDATA);
    in = far_ret(8, 0);
    c->seg[S_FS].base = 0x123456789aull; /* null selector, base set by MSR */
    RUN(help_ret_far, &in, HELP_JUMP);
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(GPR(c, R_RSP), USTACK);
    CHECK_EQ(c->seg[S_FS].base, 0x123456789aull);

    /* to compatibility mode and back */
    setup_64(0);
    in = far_mem(KCODE, 0x5000, 4);
    RUN(help_jmp_far_mem, &in, HELP_JUMP);
    CHECK(!cpu_code64(c));
    CHECK_EQ(c->hflags & HF_CODE_MASK, HF_CODE32);
    in = far_ptr(KCODE64, 0x6000, 4);
    RUN(help_jmp_far_ptr, &in, HELP_JUMP);
    CHECK(cpu_code64(c));
    CHECK_EQ(c->rip, 0x6000);

    /* m16:64 exists on Intel only */
    in = far_mem(KCODE64, 0x0000800000000000ull, 8);
    RAISES(help_jmp_far_mem, &in, EXC_GP, 0);
    in = far_mem(KCODE64, 0xffff800000000000ull, 8);
    RUN(help_jmp_far_mem, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0xffff800000000000ull);
    put_desc(KCODE64, 0, 0, A_CODE | DESC_L | DESC_B);
    in = far_mem(KCODE64, 0, 4);
    RAISES(help_jmp_far_mem, &in, EXC_GP, KCODE64);
    /* no TSS, task gate or 16-bit gate in long mode */
    in = far_mem(SEL_TSS2, 0, 4);
    RAISES(help_jmp_far_mem, &in, EXC_GP, SEL_TSS2);
    in = far_mem(TASKGATE, 0, 4);
    RAISES(help_jmp_far_mem, &in, EXC_GP, TASKGATE & ~3);
    /* upper half of the gate */
    put(GDT + (GATE64 & ~7) + 12, 4, 0x100);
    in = far_mem(GATE64, 0, 4);
    RAISES(help_call_far_mem, &in, EXC_GP, GATE64 & ~3);
    /* gate to 32-bit code */
    put(GDT + (GATE64 & ~7) + 12, 4, 0);
    put(GDT + (GATE64 & ~7) + 2, 2, KCODE);
    RAISES(help_call_far_mem, &in, EXC_GP, KCODE);
}

int main(void)
{
    test_real();
    test_code_segment();
    test_gate_inner();
    test_gate_errors();
    test_gate_16();
    test_ret_errors();
    test_long();
    return 0;
}
