/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_int_syscall.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT on both vendors. */
#include "test_seg_env.h"

static void msrs(void)
{
    c->star = (uint64_t)0x63 << 48 | (uint64_t)KCODE << 32 | 0x1234;
    c->lstar = 0xffffffff80001000ull;
    c->cstar = 0xffffffff80002000ull;
    c->fmask = FL_TF | FL_IF | FL_DF;
    c->sysenter_cs = KCODE;
    c->sysenter_esp = 0xffff800000007000ull;
    c->sysenter_eip = 0xffff800000006000ull;
}
static void set_flags(uint32_t f)
{
    cpu_set_eflags(c, f, ~0u);
    cpu_update_hflags(c);
}

static void test_syscall_64(void)
{
    struct dec_insn in;

    setup_64(3);
    msrs();
    set_flags(FL_IF | FL_CF | FL_RF | FL_TF | FL_ID);
    c->special_tf = 1;
    in = insn(0x1000, 4);
    RUN(help_syscall, &in, HELP_JUMP);
    CHECK_EQ(c->rip, c->lstar);
    CHECK_EQ(GPR(c, R_RCX), 0x1002);
    CHECK_EQ(GPR(c, R_R11), FL_IF | FL_CF | FL_TF | FL_ID | 2);
    CHECK_EQ(cpu_get_eflags(c), FL_CF | FL_ID | 2);
    CHECK_EQ(c->cpl, 0);
    CHECK_EQ(c->special_tf, 0);
    CHECK_EQ(c->seg[S_CS].sel, KCODE);
    CHECK_EQ(c->seg[S_SS].sel, KDATA);
    CHECK_EQ(c->seg[S_CS].attr, A_CODE | DESC_A | DESC_G | DESC_L);
    CHECK_EQ(c->seg[S_SS].attr, A_DATA | DESC_A | DESC_G | DESC_B);
    CHECK_EQ(c->hflags, HF_CODE64 | HF_PE | HF_LMA | HF_UD_SSE);
    CHECK_EQ(c->mmu_mode, MMU_KERNEL_NOSMAP);
    /* the derived state is what a full update gives */
    cpu_seg_update(c, S_CS);
    cpu_seg_update(c, S_SS);
    CHECK_EQ(c->seg[S_SS].w_hi, 0xffffffffu);
    cpu_update_hflags(c);
    CHECK_EQ(c->hflags, HF_CODE64 | HF_PE | HF_LMA | HF_UD_SSE);

    /* back, with an interrupt waiting */
    c->intr_pending = 1;
    c->exit_request = 0;
    GPR(c, R_R11) |= FL_VM | FL_RF | FL_NT;
    in = insn(0x2000, 8);
    RAISES(help_sysret, &in, EXC_DB, 0); /* TF comes from R11: the trap is SYSRET's */
    CHECK_EQ(c->exc_dr6, 1u << 14);
    CHECK_EQ(c->rip, 0x1002);
    CHECK_EQ(cpu_get_eflags(c), FL_IF | FL_CF | FL_TF | FL_ID | FL_NT | 2);
    CHECK_EQ(c->exit_request, XREQ_IRQ_WINDOW);
    CHECK_EQ(c->cpl, 3);
    CHECK_EQ(c->seg[S_CS].sel, 0x73);
    CHECK_EQ(c->seg[S_SS].sel, 0x6b);
    CHECK_EQ(c->mmu_mode, MMU_USER);
    CHECK_EQ(c->hflags & (HF_CODE_MASK | HF_CPL_MASK | HF_TF), HF_CODE64 | 3 | HF_TF);
    RAISES(help_sysret, &in, EXC_GP, 0); /* CPL 3 */
}

static void test_sysret_32(void)
{
    struct dec_insn in;

    setup_64(0);
    msrs();
    GPR(c, R_RCX) = 0xffffffff12345678ull;
    GPR(c, R_R11) = FL_IF | 2;
    in = insn(0x2000, 4);
    RUN(help_sysret, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x12345678);
    CHECK_EQ(c->seg[S_CS].sel, 0x63);
    CHECK_EQ(c->hflags & (HF_CODE_MASK | HF_CPL_MASK), HF_CODE32 | 3);
    CHECK_EQ(c->hflags & HF_SS32, HF_SS32);

    /* a non-canonical return address: Intel faults in the kernel, AMD in the program */
    setup_64(0);
    msrs();
    GPR(c, R_RCX) = 0x0000800000000000ull;
    in = insn(0x2000, 8);
    RAISES(help_sysret, &in, EXC_GP, 0);
    CHECK_EQ(c->cpl, 0);
    c->model.vendor_amd = 1;
    RUN(help_sysret, &in, HELP_JUMP);
    CHECK_EQ(c->cpl, 3);
}

static void test_syscall_vendors(void)
{
    struct dec_insn in;

    setup_64(3);
    msrs();
    force_seg(S_CS, UCODE);
    cpu_update_hflags(c);
    in = insn(0x1000, 4);
    RAISES(help_syscall, &in, EXC_UD, 0); /* compatibility mode: AMD only */
    c->model.vendor_amd = 1;
    RUN(help_syscall, &in, HELP_JUMP);
    CHECK_EQ(c->rip, c->cstar);
    CHECK(cpu_code64(c));
    c->efer &= ~(uint64_t)EFER_SCE;
    RAISES(help_syscall, &in, EXC_UD, 0);

    /* legacy mode */
    setup_32(3);
    msrs();
    c->efer = EFER_SCE;
    c->model.vendor_amd = 1;
    set_flags(FL_IF | FL_CF);
    in = insn(0x1000, 4);
    RUN(help_syscall, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x1234);
    CHECK_EQ(GPR(c, R_RCX), 0x1002);
    CHECK_EQ(cpu_get_eflags(c), FL_CF | 2);
    CHECK_EQ(c->hflags & (HF_CODE_MASK | HF_CPL_MASK), HF_CODE32);
    RUN(help_sysret, &in, HELP_JUMP);
    CHECK_EQ(c->cpl, 3);
    CHECK(c->eflags & FL_IF);
}

static void test_sysenter(void)
{
    struct dec_insn in;

    setup_32(3);
    msrs();
    set_flags(FL_IF);
    in = insn(0x1000, 4);
    RUN(help_sysenter, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x6000);
    CHECK_EQ(GPR(c, R_RSP), 0x7000);
    CHECK_EQ(c->cpl, 0);
    CHECK_EQ(cpu_get_eflags(c), 2);
    GPR(c, R_RDX) = 0x1111;
    GPR(c, R_RCX) = 0x2222;
    RUN(help_sysexit, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x1111);
    CHECK_EQ(GPR(c, R_RSP), 0x2222);
    CHECK_EQ(c->seg[S_CS].sel, KCODE + 16 + 3);
    CHECK_EQ(c->seg[S_SS].sel, KCODE + 24 + 3);
    RAISES(help_sysexit, &in, EXC_GP, 0);
    c->sysenter_cs = 3;
    RAISES(help_sysenter, &in, EXC_GP, 0);

    setup_64(3);
    msrs();
    in = insn(0x1000, 4);
    RUN(help_sysenter, &in, HELP_JUMP);
    CHECK_EQ(c->rip, c->sysenter_eip);
    CHECK_EQ(GPR(c, R_RSP), c->sysenter_esp);
    CHECK(cpu_code64(c));
    in.opsize = 8;
    GPR(c, R_RDX) = 0x0000800000000000ull;
    RAISES(help_sysexit, &in, EXC_GP, 0);
    GPR(c, R_RDX) = 0x7fff00000000ull;
    RUN(help_sysexit, &in, HELP_JUMP);
    CHECK_EQ(c->rip, 0x7fff00000000ull);
    CHECK_EQ(c->seg[S_CS].sel, KCODE + 32 + 3);
    c->model.vendor_amd = 1;
    RAISES(help_sysenter, &in, EXC_UD, 0);
}

int main(void)
{
    test_syscall_64();
    test_sysret_32();
    test_syscall_vendors();
    test_sysenter();
    return 0;
}
