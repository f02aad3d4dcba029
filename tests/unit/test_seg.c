/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_seg.c - hflags, access ranges, operand addresses, and the instructions of help_seg.c. */
#include "test_seg_env.h"

/* ---- cpu.c ---- */

static void test_reset(void)
{
    setup_real();
    cpu_reset(c);
    CHECK_EQ(c->rip, 0xfff0);
    CHECK_EQ(c->seg[S_CS].base, 0xffff0000u);
    CHECK_EQ(c->cs_base, 0xffff0000u);
    CHECK_EQ(c->cr[0], 0x60000010);
    CHECK_EQ(c->dr[6], 0xffff0ff0u);
    CHECK_EQ(c->dr[7], 0x400);
    CHECK_EQ(cpu_get_eflags(c), 2);
    CHECK_EQ(c->exc_vector, -1);
    CHECK_EQ(c->hflags, HF_CODE16 | HF_SEGS | HF_CSLIM | HF_UD_SSE);
    CHECK_EQ(c->mmu_mode, MMU_KERNEL_NOSMAP);
    CHECK_EQ(*(uint16_t *)c->fpu, 0x37f);
    CHECK_EQ(*(uint32_t *)(c->fpu + 24), 0x1f80);
}

static void test_hflags(void)
{
    setup_32(0);
    CHECK_EQ(c->hflags, HF_CODE32 | HF_SS32 | HF_PE | HF_UD_SSE);
    c->cr[0] |= CR0_TS | CR0_MP;
    c->cr[4] |= CR4_OSFXSR | CR4_OSXSAVE;
    c->xcr0 = 7;
    cpu_update_hflags(c);
    CHECK_EQ(c->hflags, HF_CODE32 | HF_SS32 | HF_PE | HF_NM_FPU | HF_NM_SSE | HF_AVX | HF_MP_TS);
    c->cr[0] = (c->cr[0] & ~(uint64_t)CR0_TS) | CR0_EM;
    cpu_update_hflags(c);
    CHECK_EQ(c->hflags & (HF_NM_FPU | HF_NM_SSE | HF_UD_SSE | HF_UD_MMX | HF_MP_TS),
             HF_NM_FPU | HF_UD_SSE | HF_UD_MMX);
    seg_set_null(c, S_ES, 0);
    cpu_update_hflags(c);
    CHECK(c->hflags & HF_SEGS);

    setup_32(3);
    c->cr[0] |= CR0_AM;
    cpu_set_eflags(c, FL_AC | FL_TF | FL_RF | FL_IOPL, FL_AC | FL_TF | FL_RF | FL_IOPL);
    cpu_update_hflags(c);
    CHECK_EQ(c->hflags, 3 | HF_CODE32 | HF_SS32 | HF_PE | HF_UD_SSE | HF_AC | HF_TF | HF_RF | HF_IOPL_MASK);
    CHECK_EQ(c->mmu_mode, MMU_USER);

    setup_64(0);
    CHECK_EQ(c->hflags, HF_CODE64 | HF_PE | HF_LMA | HF_UD_SSE);
    c->cr[4] |= CR4_SMAP;
    cpu_update_hflags(c);
    CHECK_EQ(c->mmu_mode, MMU_KERNEL);
    c->eflags |= FL_AC;
    c->shadow = 1;
    cpu_update_hflags(c);
    CHECK_EQ(c->mmu_mode, MMU_KERNEL_NOSMAP);
    CHECK(c->hflags & HF_SHADOW);

    setup_v86(3);
    CHECK_EQ(c->hflags, 3 | HF_CODE16 | HF_SEGS | HF_CSLIM | HF_PE | HF_VM | HF_IOPL_MASK | HF_UD_SSE);
}

static void test_ranges(void)
{
    const struct guest_seg *s;

    setup_32(0);
    s = &c->seg[S_DS];
    force_seg(S_DS, DOWN);
    CHECK_EQ(s->r_lo, 0x1000);
    CHECK_EQ(s->r_hi, 0xffffffffu);
    force_seg(S_DS, KCODE);
    CHECK_EQ(s->r_hi, 0xffffffffu);
    CHECK(s->w_lo > s->w_hi);
    force_seg(S_DS, XONLY);
    CHECK(s->r_lo > s->r_hi);
    force_seg(S_DS, ABSENT);
    CHECK(s->r_lo > s->r_hi && s->w_lo > s->w_hi);
    seg_set(c, S_DS, DOWN, 0, 0xffffffffu, A_DATA | DESC_E | DESC_B);
    CHECK(s->r_lo > s->r_hi);

    /* types count in protected mode only, and clearing PE is noticed */
    force_seg(S_DS, KCODE);
    c->cr[0] &= ~(uint64_t)CR0_PE;
    cpu_update_hflags(c);
    CHECK_EQ(s->w_hi, 0xffffffffu);
}

/* ---- opnd.c ---- */

static uint64_t lin_off;
static unsigned lin_seg, lin_size;
static bool lin_write;
static uint64_t lin_got;
static void do_seg_lin(void)
{
    lin_got = seg_lin(c, lin_seg, lin_off, lin_size, lin_write);
}
static int try_lin(unsigned seg, uint64_t off, unsigned size, bool write)
{
    lin_seg = seg;
    lin_off = off;
    lin_size = size;
    lin_write = write;
    return call(do_seg_lin);
}

static void test_seg_lin(void)
{
    setup_real();
    CHECK_EQ(try_lin(S_SS, 0xfffe, 2, true), NONE);
    CHECK_EQ(lin_got, 0x11ffe);
    CHECK_EQ(try_lin(S_SS, 0xffff, 2, true), EXC_SS);
    CHECK_EQ(try_lin(S_DS, 0x10000, 1, false), EXC_GP);
    CHECK_EQ(try_lin(S_CS, 0, 1, true), NONE);

    setup_32(0);
    seg_set(c, S_DS, KDATA, 0xfffff000u, 0xffffffffu, A_DATA | A_FLAT32);
    CHECK_EQ(try_lin(S_DS, 0x2000, 4, true), NONE);
    CHECK_EQ(lin_got, 0x1000);
    CHECK_EQ(try_lin(S_CS, 0, 1, true), EXC_GP);
    CHECK_EQ(try_lin(S_GS, 0, 1, false), EXC_GP);
    force_seg(S_DS, DOWN);
    CHECK_EQ(try_lin(S_DS, 0x0fff, 1, false), EXC_GP);
    CHECK_EQ(try_lin(S_DS, 0x1000, 1, false), NONE);

    setup_64(0);
    c->seg[S_GS].base = 0x7fffffffff00ull;
    CHECK_EQ(try_lin(S_GS, 0x10, 8, true), NONE);
    CHECK_EQ(lin_got, 0x7fffffffff10ull);
    CHECK_EQ(try_lin(S_GS, 0xfc, 8, true), EXC_GP);
    CHECK_EQ(try_lin(S_SS, 0x800000000000ull, 1, false), EXC_SS);
    CHECK_EQ(try_lin(S_DS, 0xffff800000000000ull, 8, false), NONE);
}

static void test_operands(void)
{
    struct dec_insn in;

    setup_real();
    in = insn_mem(0x10, 2, -2);
    in.base = R_RBX;
    in.index = R_RSI;
    GPR(c, R_RBX) = 0x12340001;
    GPR(c, R_RSI) = 0xffff;
    CHECK_EQ(opnd_ea(c, &in), 0xfffe);
    setup_64(0);
    in = insn_mem(0x1000, 4, 0x20);
    in.base = EA_RIP;
    CHECK_EQ(opnd_ea(c, &in), 0x1022);
    in.adsize = 4;
    in.base = R_R9;
    in.index = R_RAX;
    in.scale = 3;
    GPR(c, R_R9) = 0xffffffff00000000ull;
    GPR(c, R_RAX) = 2;
    CHECK_EQ(opnd_ea(c, &in), 0x30);

    GPR(c, R_RBX) = 0x1122334455667788ull;
    CHECK_EQ(gpr_read(c, 7, 1, true), 0x77);
    gpr_write(c, 7, 1, true, 0xaa);
    CHECK_EQ(GPR(c, R_RBX), 0x112233445566aa88ull);
    gpr_write(c, R_RBX, 2, false, 0xffff1234);
    CHECK_EQ(GPR(c, R_RBX), 0x1122334455661234ull);
    gpr_write(c, R_RBX, 4, false, 0xffffffff12345678ull);
    CHECK_EQ(GPR(c, R_RBX), 0x12345678);
}

/* ---- MOV, PUSH, POP, LxS ---- */

static void mov_sreg(unsigned seg, uint16_t sel, int vector, uint32_t error)
{
    struct dec_insn in = insn(0x10, 4);

    in.reg = (uint8_t)seg;
    in.rm = R_RAX;
    GPR(c, R_RAX) = sel;
    if (vector == NONE) {
        RUN(help_mov_sreg_rm, &in, HELP_NEXT);
        CHECK_EQ(c->seg[seg].sel, sel);
    } else {
        uint16_t old = c->seg[seg].sel;

        RAISES(help_mov_sreg_rm, &in, vector, error);
        CHECK_EQ(c->seg[seg].sel, old);
    }
}

static void test_mov_sreg(void)
{
    setup_32(0);
    mov_sreg(S_CS, KCODE, EXC_UD, 0);
    mov_sreg(6, KDATA, EXC_UD, 0);
    CHECK(!(get_attr(KDATA) & DESC_A));
    mov_sreg(S_DS, KDATA, NONE, 0);
    CHECK(get_attr(KDATA) & DESC_A);
    mov_sreg(S_DS, 0x100, EXC_GP, 0x100);       /* beyond the limit */
    mov_sreg(S_DS, SEL_TSS, EXC_GP, SEL_TSS);
    mov_sreg(S_DS, XONLY, EXC_GP, XONLY);
    mov_sreg(S_DS, ABSENT, EXC_NP, ABSENT);
    mov_sreg(S_DS, KDATA | 3, EXC_GP, KDATA);   /* RPL > DPL */
    mov_sreg(S_DS, CONF | 3, NONE, 0);          /* conforming: no privilege check */
    mov_sreg(S_DS, 3, NONE, 0);                 /* null */
    CHECK(c->hflags & HF_SEGS);
    mov_sreg(S_SS, 0, EXC_GP, 0);
    mov_sreg(S_SS, UDATA, EXC_GP, UDATA & ~3);
    mov_sreg(S_SS, KCODE, EXC_GP, KCODE);
    put_desc(ABSENT, 0, 0xfffff, A_DATA & ~DESC_P);
    mov_sreg(S_SS, ABSENT, EXC_SS, ABSENT);
    mov_sreg(S_SS, KDATA16, NONE, 0);
    CHECK_EQ(c->shadow, 2);
    CHECK(c->hflags & HF_SHADOW);
    CHECK(!(c->hflags & HF_SS32));

    setup_64(0);
    mov_sreg(S_SS, 0, NONE, 0);
    mov_sreg(S_SS, 3, EXC_GP, 0);
    setup_64(3);
    mov_sreg(S_SS, 3, EXC_GP, 0);
    mov_sreg(S_DS, KDATA, EXC_GP, KDATA);

    setup_real();
    c->seg[S_DS].limit = 0xffffffffu; /* "unreal" */
    mov_sreg(S_DS, 0x1234, NONE, 0);
    CHECK_EQ(c->seg[S_DS].base, 0x12340);
    CHECK_EQ(c->seg[S_DS].limit, 0xffffffffu);

    /* the accessed bit cannot be written: nothing is loaded */
    setup_32(0);
    bad_page = GDT;
    mov_sreg(S_DS, KDATA, EXC_PF, 0);
}

static void test_mov_from_sreg(void)
{
    struct dec_insn in;

    setup_64(0);
    in = insn(0x10, 2);
    in.reg = S_DS;
    in.rm = R_RBX;
    GPR(c, R_RBX) = ~0ull;
    RUN(help_mov_rm_sreg, &in, HELP_NEXT);
    CHECK_EQ(GPR(c, R_RBX), 0xffffffffffff0000ull | UDATA);
    in.opsize = 4;
    GPR(c, R_RBX) = ~0ull;
    RUN(help_mov_rm_sreg, &in, HELP_NEXT);
    CHECK_EQ(GPR(c, R_RBX), UDATA);
    in = insn_mem(0x10, 8, 0x9000);
    in.reg = S_DS;
    put(0x9000, 8, ~0ull);
    RUN(help_mov_rm_sreg, &in, HELP_NEXT);
    CHECK_EQ(get(0x9000, 8), 0xffffffffffff0000ull | UDATA);
}

static void test_push_pop(void)
{
    struct dec_insn in;

    setup_32(0);
    c->model.vendor_amd = 1;
    in = insn(0x10, 4);
    in.opcode = 0x1e;
    put(KSTACK - 0x404, 4, ~0ull);
    RUN(help_push_sreg, &in, HELP_NEXT);
    CHECK_EQ(get(KSTACK - 0x404, 4), UDATA);
    in.opcode = 0xa1;
    in.map = 1;
    RUN(help_pop_sreg, &in, HELP_NEXT);
    CHECK_EQ(c->seg[S_FS].sel, UDATA);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 0x400);
    /* Intel leaves the upper half of the slot alone */
    c->model.vendor_amd = 0;
    put(KSTACK - 0x404, 4, ~0ull);
    in.opcode = 0x1e;
    RUN(help_push_sreg, &in, HELP_NEXT);
    CHECK_EQ(get(KSTACK - 0x404, 4), 0xffff0000u | UDATA);
    /* POP SS to a 16-bit stack moves ESP by the old stack size */
    in.opcode = 0x17;
    put(KSTACK - 0x404, 4, KDATA16);
    RUN(help_pop_sreg, &in, HELP_NEXT);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 0x400);
    CHECK_EQ(c->shadow, 2);
    /* a bad selector leaves ESP */
    in.opcode = 0x1f;
    put(KSTACK - 0x400, 4, SEL_TSS);
    RAISES(help_pop_sreg, &in, EXC_GP, SEL_TSS);
    CHECK_EQ(GPR(c, R_RSP), KSTACK - 0x400);
}

static void test_lxs(void)
{
    struct dec_insn in;

    setup_32(0);
    put(0x9000, 4, 0x12345678);
    put(0x9004, 2, KDATA);
    in = insn_mem(0x10, 4, 0x9000);
    in.map = 1;
    in.opcode = 0xb5;
    in.reg = R_RBX;
    RUN(help_lxs, &in, HELP_NEXT);
    CHECK_EQ(c->seg[S_GS].sel, KDATA);
    CHECK_EQ(GPR(c, R_RBX), 0x12345678);
    in.map = 0;
    in.opcode = 0xc4;
    put(0x9004, 2, SEL_TSS);
    GPR(c, R_RBX) = 1;
    RAISES(help_lxs, &in, EXC_GP, SEL_TSS);
    CHECK_EQ(GPR(c, R_RBX), 1);
}

/* ---- system registers ---- */

static void test_tables(void)
{
    struct dec_insn in;

    setup_32(0);
    put(0x9000, 2, 0x7f);
    put(0x9002, 4, 0xff123456u);
    in = insn_mem(0x10, 2, 0x9000);
    RUN(help_lgdt, &in, HELP_NEXT);
    CHECK_EQ(c->gdt.base, 0x123456);
    in.opsize = 4;
    RUN(help_lidt, &in, HELP_NEXT);
    CHECK_EQ(c->idt.base, 0xff123456u);
    CHECK_EQ(c->idt.limit, 0x7f);
    put(0x9000, 8, 0);
    in.opsize = 2; /* the store ignores the operand size */
    RUN(help_sidt, &in, HELP_NEXT);
    CHECK_EQ(get(0x9000, 8), 0xff123456007full);

    setup_64(0);
    put(0x9002, 8, 0x0000800000000000ull);
    in = insn_mem(0x10, 8, 0x9000);
    RAISES(help_lgdt, &in, EXC_GP, 0);
    CHECK_EQ(c->gdt.base, GDT);
    put(0x9002, 8, 0xffff800000001000ull);
    RUN(help_lgdt, &in, HELP_NEXT);
    CHECK_EQ(c->gdt.base, 0xffff800000001000ull);

    setup_64(3);
    c->cr[4] |= CR4_UMIP;
    in = insn_mem(0x10, 8, 0x9000);
    RAISES(help_sgdt, &in, EXC_GP, 0);
    in = insn(0x10, 4);
    RAISES(help_sldt, &in, EXC_GP, 0);
    RAISES(help_str, &in, EXC_GP, 0);
    c->cr[4] &= ~(uint64_t)CR4_UMIP;
    in.rm = R_RDX;
    RUN(help_str, &in, HELP_NEXT);
    CHECK_EQ(GPR(c, R_RDX), SEL_TSS64);
}

static void load_sys(help_fn *fn, uint16_t sel, int vector, uint32_t error)
{
    struct dec_insn in = insn(0x10, 2);

    in.rm = R_RAX;
    GPR(c, R_RAX) = sel;
    if (vector == NONE) {
        RUN(fn, &in, HELP_NEXT);
    } else {
        RAISES(fn, &in, vector, error);
    }
}

static void test_ltr_lldt(void)
{
    setup_32(0);
    load_sys(help_ltr, 0, EXC_GP, 0);
    load_sys(help_ltr, SEL_TSS, EXC_GP, SEL_TSS); /* busy */
    load_sys(help_ltr, SEL_TSS2 | 4, EXC_GP, SEL_TSS2 | 4);
    load_sys(help_ltr, KDATA, EXC_GP, KDATA);
    load_sys(help_ltr, SEL_TSS2, NONE, 0);
    CHECK_EQ(get_attr(SEL_TSS2), A_SYS(SYS_TSS32_BUSY));
    CHECK_EQ(c->seg[S_TR].base, TSS2);
    load_sys(help_lldt, KDATA, EXC_GP, KDATA);
    load_sys(help_lldt, SEL_LDT, NONE, 0);
    load_sys(help_lldt, 0, NONE, 0);
    mov_sreg(S_DS, 4, EXC_GP, 4); /* no LDT */
    load_sys(help_lldt, SEL_LDT, NONE, 0);
    put(LDT, 8, get(GDT + KDATA, 8));
    mov_sreg(S_DS, 4, NONE, 0);

    setup_64(0);
    put(GDT + SEL_TSS64 + 8, 8, 0xffff8000u);
    load_sys(help_ltr, SEL_TSS64, NONE, 0);
    CHECK_EQ(c->seg[S_TR].base, 0xffff800000000000ull | TSS);
    put_desc(SEL_TSS64, TSS, 0x67, A_SYS(SYS_TSS32));
    put(GDT + SEL_TSS64 + 8, 8, 0x1f0000000000ull); /* type bits in the upper half */
    load_sys(help_ltr, SEL_TSS64, EXC_GP, SEL_TSS64);
    put(GDT + SEL_TSS64 + 8, 8, 0x8000); /* not canonical */
    load_sys(help_ltr, SEL_TSS64, EXC_GP, SEL_TSS64);
    CHECK_EQ(get_attr(SEL_TSS64), A_SYS(SYS_TSS32));
}

static bool lookup(help_fn *fn, uint16_t sel, uint64_t *result)
{
    struct dec_insn in = insn(0x10, 4);

    in.reg = R_RCX;
    in.rm = R_RAX;
    GPR(c, R_RAX) = sel;
    GPR(c, R_RCX) = 0x5555;
    c->fl = 0xff01;
    RUN(fn, &in, HELP_NEXT);
    CHECK_EQ(c->fl | FL_ZF << 8, 0xff01);
    *result = GPR(c, R_RCX);
    return c->fl & FL_ZF << 8;
}

static void test_lookups(void)
{
    uint64_t r;

    setup_32(3);
    CHECK(lookup(help_lar, UDATA, &r));
    CHECK_EQ(r & 0xf0ff00, (A_DATA | A_FLAT32 | A_DPL3) & 0xf0ff00); /* bits 19:16 are not defined */
    CHECK(!lookup(help_lar, KDATA, &r));
    CHECK_EQ(r, 0x5555);
    CHECK(lookup(help_lar, GATE, &r));
    CHECK(!lookup(help_lsl, GATE, &r));
    CHECK(lookup(help_lsl, CONF, &r));
    CHECK_EQ(r, 0xffffffffu);
    CHECK(!lookup(help_lsl, 0, &r));
    CHECK(!lookup(help_lsl, 0x1003, &r));
    CHECK(lookup(help_verr, UCODE, &r));
    CHECK(!lookup(help_verw, UCODE, &r));
    CHECK(!lookup(help_verr, XONLY | 3, &r));
    CHECK(lookup(help_verw, UDATA, &r));
    CHECK(!lookup(help_verr, GATE, &r));

    setup_64(0);
    CHECK(!lookup(help_lar, TASKGATE, &r));
    CHECK(lookup(help_lar, GATE64, &r));
    CHECK(lookup(help_lsl, SEL_TSS64, &r));
    CHECK_EQ(r, 0x67);
}

static void test_arpl_swapgs(void)
{
    struct dec_insn in;

    setup_32(3);
    in = insn(0x10, 2);
    in.reg = R_RCX;
    in.rm = R_RAX;
    GPR(c, R_RAX) = 0x10;
    GPR(c, R_RCX) = 3;
    RUN(help_arpl, &in, HELP_NEXT);
    CHECK_EQ(GPR(c, R_RAX), 0x13);
    CHECK(c->fl & FL_ZF << 8);
    RUN(help_arpl, &in, HELP_NEXT);
    CHECK(!(c->fl & FL_ZF << 8));

    setup_64(0);
    in = insn(0x10, 4);
    c->seg[S_GS].base = 1;
    c->kernelgsbase = 2;
    RUN(help_swapgs, &in, HELP_NEXT);
    CHECK_EQ(c->seg[S_GS].base, 2);
    CHECK_EQ(c->kernelgsbase, 1);
}

static void do_raise_unwinding(void)
{
    c->unwind_pc = 0x1234;
    cpu_raise(c, EXC_UD);
}

static void test_raise(void)
{
    setup_32(0);
    c->exc_has_error = 1;
    CHECK_EQ(call(do_raise_unwinding), EXC_UD);
    CHECK_EQ(restored_pc, 0x1234);
    CHECK_EQ(c->unwind_pc, 0);
    CHECK_EQ(c->exc_has_error, 0);
}

int main(void)
{
    test_reset();
    test_hflags();
    test_ranges();
    test_seg_lin();
    test_operands();
    test_mov_sreg();
    test_mov_from_sreg();
    test_push_pop();
    test_lxs();
    test_tables();
    test_ltr_lldt();
    test_lookups();
    test_arpl_swapgs();
    test_raise();
    return 0;
}
