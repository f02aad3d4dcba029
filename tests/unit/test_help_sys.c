/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_help_sys.c - flag, decimal, port and system instructions, control registers and MSRs: what the
 * manual says, case by case; the decimal ones against the host CPU in compatibility mode where the host
 * kernel has it.
 */
#include "test_help_env.h"

#include <setjmp.h>
#include <signal.h>

/* ---- decimal arithmetic ---- */

static uint8_t *low; /* code and stack below 4 GiB */
static sigjmp_buf no_compat;
static void on_signal(int sig)
{
    siglongjmp(no_compat, sig);
}

/* Execute one instruction in 32-bit code: eax and flags in and out. */
static void native32(const uint8_t *b, unsigned n, uint32_t *eax, uint32_t *flags)
{
    uint32_t *far = (uint32_t *)(low + 0x800);
    uint8_t *p = low;
    uint64_t sp = (uint64_t)(low + 0x2000);

    /* push ebx; popf; the instruction; pushf; pop ebx; retf */
    memcpy(p, "\x53\x9d", 2), p += 2;
    memcpy(p, b, n), p += n;
    memcpy(p, "\x9c\x5b\xcb", 3);
    /* 64-bit code, low as well, for the far return to find: call far [rcx]; ret */
    memcpy(low + 0xa00, "\xff\x19\xc3", 3);
    far[0] = (uint32_t)(uintptr_t)low;
    *(uint16_t *)&far[1] = 0x23;
    __asm__ volatile("mov %%rsp, %%r12\n\tmov %2, %%rsp\n\tcall *%3\n\tmov %%r12, %%rsp\n\tcld"
                     : "+a"(*eax), "+b"(*flags) : "r"(sp), "r"((uint64_t)(low + 0xa00)), "c"(far)
                     : "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "memory", "cc");
}

static void decimal_as_the_host(void)
{
    static const struct { uint8_t b[2], n; uint32_t defined; const char *name; } op[] = {
        { { 0x37 }, 1, FL_CF | FL_AF, "aaa" },
        { { 0x3f }, 1, FL_CF | FL_AF, "aas" },
        { { 0x27 }, 1, FL_STATUS & ~FL_OF, "daa" },
        { { 0x2f }, 1, FL_STATUS & ~FL_OF, "das" },
        { { 0xd4, 10 }, 2, FL_SF | FL_ZF | FL_PF, "aam" },
        { { 0xd5, 10 }, 2, FL_SF | FL_ZF | FL_PF, "aad" },
        { { 0xd4, 7 }, 2, FL_SF | FL_ZF | FL_PF, "aam 7" },
        { { 0xd5, 0x93 }, 2, FL_SF | FL_ZF | FL_PF, "aad 93" },
        { { 0xd6 }, 1, FL_STATUS, "salc" },
    };
    bool oracle = !sigsetjmp(no_compat, 1);

    if (oracle) {
        signal(SIGSEGV, on_signal);
        signal(SIGILL, on_signal);
        signal(SIGBUS, on_signal);
        native32((const uint8_t[]){ 0x90 }, 1, &(uint32_t){ 0 }, &(uint32_t){ 2 });
    } else {
        puts("no compatibility mode on this host: decimal instructions not compared");
    }
    signal(SIGSEGV, SIG_DFL);
    signal(SIGILL, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    env_mode(1, 0);
    for (unsigned i = 0; i < 9 * 8192 && oracle; i++) {
        unsigned k = i % 9;
        uint32_t eax = (uint32_t)rnd(), fl = 2 | (rnd() & FL_STATUS);

        env_what = op[k].name;
        GPR(c, R_RAX) = eax;
        cpu_set_eflags(c, fl, FL_STATUS);
        CHECK_EQ(run_bytes(op[k].b, op[k].n), HELP_NEXT);
        native32(op[k].b, op[k].n, &eax, &fl);
        CHECK_EQ(GPR(c, R_RAX), eax);
        CHECK_EQ(fl_to_eflags(c->fl) & op[k].defined, fl & op[k].defined);
    }
    env_what = "";
    CHECK_EQ(INSN(0xd4, 0x00), RAISES(EXC_DE));
}

/* ---- BOUND, XLAT, PUSHA, POPA, ENTER ---- */

static void odds_and_ends(void)
{
    uint32_t *d = (uint32_t *)guest_data;

    env_mode(1, 0);
    d[0] = (uint32_t)-5;
    d[1] = 10;
    GPR(c, R_RBX) = DATA;
    GPR(c, R_RAX) = (uint32_t)-5;
    CHECK_EQ(INSN(0x62, 0x03), HELP_NEXT);
    GPR(c, R_RAX) = 11;
    CHECK_EQ(INSN(0x62, 0x03), RAISES(EXC_BR));
    GPR(c, R_RAX) = (uint32_t)-6;
    CHECK_EQ(INSN(0x62, 0x03), RAISES(EXC_BR));
    guest_data[0x80] = 0x42;
    GPR(c, R_RAX) = 0xffffff80;
    CHECK_EQ(INSN(0xd7), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RAX), 0xffffff42);

    for (unsigned i = 0; i < 8; i++)
        GPR(c, i) = 0x1000 + i;
    GPR(c, R_RSP) = DATA + 0x100;
    CHECK_EQ(INSN(0x60), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RSP), DATA + 0xe0);
    CHECK_EQ(*(uint32_t *)(guest_data + 0xfc), 0x1000);
    CHECK_EQ(*(uint32_t *)(guest_data + 0xec), DATA + 0x100); /* ESP from before */
    CHECK_EQ(*(uint32_t *)(guest_data + 0xe0), 0x1007);
    for (unsigned i = 0; i < 8; i++)
        if (i != R_RSP)
            GPR(c, i) = 0;
    CHECK_EQ(INSN(0x61), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RSP), DATA + 0x100);
    CHECK_EQ(GPR(c, R_RDI), 0x1007);
    CHECK_EQ(GPR(c, R_RAX), 0x1000);

    /* ENTER 16, 3: the old EBP, two frame pointers copied, the new one. */
    GPR(c, R_RBP) = DATA + 0x200;
    d[(0x200 - 4) / 4] = 0xaaaa;
    d[(0x200 - 8) / 4] = 0xbbbb;
    CHECK_EQ(INSN(0xc8, 0x10, 0x00, 0x03), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RBP), DATA + 0xfc);
    CHECK_EQ(GPR(c, R_RSP), DATA + 0x100 - 16 - 16);
    CHECK_EQ(d[0xfc / 4], DATA + 0x200);
    CHECK_EQ(d[0xf8 / 4], 0xaaaa);
    CHECK_EQ(d[0xf4 / 4], 0xbbbb);
    CHECK_EQ(d[0xf0 / 4], DATA + 0xfc);
}

/* ---- flags ---- */

static uint32_t popf(uint32_t val)
{
    GPR(c, R_RSP) = DATA + 0x100;
    *(uint64_t *)(guest_data + 0x100) = val;
    CHECK_EQ(INSN(0x9d), HELP_NEXT);
    return cpu_get_eflags(c);
}
static uint32_t pushf(void)
{
    GPR(c, R_RSP) = DATA + 0x100;
    CHECK_EQ(INSN(0x9c), HELP_NEXT);
    return *(uint32_t *)(guest_data + (GPR(c, R_RSP) - DATA));
}

static void popf_by_privilege(void)
{
    const uint32_t all = FL_STATUS | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_AC | FL_ID | 2;

    env_mode(1, 0);
    CHECK_EQ(popf(~0u), all);
    CHECK(c->hflags & HF_TF);
    CHECK_EQ(c->hflags & HF_IOPL_MASK, HF_IOPL_MASK);
    CHECK_EQ(pushf(), all);
    CHECK_EQ(popf(0), 2);
    env_mode(1, 3);
    CHECK_EQ(popf(~0u), all & ~(FL_IF | FL_IOPL));
    c->eflags = FL_IOPL;
    cpu_update_hflags(c);
    CHECK_EQ(popf(~0u & ~FL_IOPL), all); /* IF by IOPL, IOPL itself stays */
    env_mode(2, 0);
    CHECK_EQ(popf(FL_RF | FL_VM | FL_VIF | FL_VIP), 2);
    /* 16-bit operand: the upper half stays. */
    c->eflags = FL_AC | FL_ID;
    GPR(c, R_RSP) = DATA + 0x100;
    CHECK_EQ(INSN(0x66, 0x9d), HELP_NEXT);
    CHECK_EQ(c->eflags & (FL_AC | FL_ID), FL_AC | FL_ID);
    CHECK_EQ(GPR(c, R_RSP), DATA + 0x102);
    /* IF from 0 to 1 with an interrupt waiting. */
    c->intr_pending = 1;
    c->exit_request = 0;
    popf(FL_IF);
    CHECK_EQ(c->exit_request, XREQ_IRQ_WINDOW);
    c->exit_request = 0;
    popf(FL_IF);
    CHECK_EQ(c->exit_request, 0);
    c->intr_pending = 0;
}

static void v86(uint32_t iopl, bool vme)
{
    env_real();
    c->cr[0] |= CR0_PE;
    c->cr[4] = vme ? CR4_VME : 0;
    c->eflags = FL_VM | iopl << 12;
    for (unsigned s = 0; s < S_COUNT; s++) {
        c->seg[s].base = 0;
        c->seg[s].attr = DESC_P | DESC_S | DESC_W | DESC_A | DESC_DPL;
        cpu_seg_update(c, s);
    }
    cpu_update_hflags(c);
    GPR(c, R_RSP) = 0x8000;
}

static void flags_in_v86(void)
{
    v86(0, false);
    CHECK_EQ(INSN(0x9c), RAISES(EXC_GP));
    CHECK_EQ(INSN(0x9d), RAISES(EXC_GP));
    CHECK_EQ(INSN(0xfa), RAISES(EXC_GP));
    v86(3, false);
    CHECK_EQ(INSN(0xfb), HELP_NEXT);
    CHECK(c->eflags & FL_IF);
    CHECK_EQ(INSN(0x9c), HELP_NEXT);
    CHECK_EQ(*(uint16_t *)(ram + 0x7ffe), 0x3202);
    /* VME: IF is VIF. */
    v86(0, true);
    CHECK_EQ(INSN(0xfb), HELP_NEXT);
    CHECK_EQ(c->eflags & (FL_VIF | FL_IF), FL_VIF);
    CHECK_EQ(INSN(0x9c), HELP_NEXT);
    CHECK_EQ(*(uint16_t *)(ram + 0x7ffe), 0x3202);
    CHECK_EQ(INSN(0x66, 0x9c), RAISES(EXC_GP));
    *(uint16_t *)(ram + 0x7ffe) = 0;
    CHECK_EQ(INSN(0x9d), HELP_NEXT);
    CHECK_EQ(c->eflags & (FL_VIF | FL_IF | FL_VM), FL_VM);
    c->eflags |= FL_VIP;
    *(uint16_t *)(ram + 0x8000) = FL_IF;
    CHECK_EQ(INSN(0x9d), RAISES(EXC_GP));
    CHECK_EQ(INSN(0xfb), RAISES(EXC_GP));
    *(uint16_t *)(ram + 0x8000) = FL_TF;
    CHECK_EQ(INSN(0x9d), RAISES(EXC_GP));
    CHECK_EQ(GPR(c, R_RSP), 0x8000);
}

static void sti_shadow_and_stac(void)
{
    env_mode(2, 0);
    CHECK_EQ(INSN(0xfb), HELP_NEXT);
    CHECK_EQ(c->shadow, 1);
    CHECK(c->hflags & HF_SHADOW);
    uint32_t h = c->hflags;
    cpu_update_hflags(c);
    CHECK_EQ(h, c->hflags);
    c->shadow = 0;
    CHECK_EQ(INSN(0xfb), HELP_NEXT); /* IF was 1: no shadow */
    CHECK_EQ(c->shadow, 0);
    cpu_update_hflags(c);

    cpu_write_cr4(c, c->cr[4] | CR4_SMAP);
    CHECK_EQ(c->mmu_mode, MMU_KERNEL);
    CHECK_EQ(INSN(0x0f, 0x01, 0xcb), HELP_NEXT);
    CHECK_EQ(c->mmu_mode, MMU_KERNEL_NOSMAP);
    void *r = c->rtab;
    cpu_update_hflags(c);
    CHECK(r == c->rtab);
    CHECK_EQ(c->mmu_mode, MMU_KERNEL_NOSMAP);
    CHECK_EQ(INSN(0x0f, 0x01, 0xca), HELP_NEXT);
    CHECK_EQ(c->mmu_mode, MMU_KERNEL);
    CHECK(!(c->eflags & FL_AC));
    env_mode(2, 3);
    CHECK_EQ(INSN(0x0f, 0x01, 0xcb), RAISES(EXC_UD));

    c->fl = eflags_to_fl(FL_OF | FL_ZF);
    GPR(c, R_RAX) = 0xff00;
    help_sahf(c, NULL); /* rows are native */
    CHECK_EQ(fl_to_eflags(c->fl), FL_STATUS);
    GPR(c, R_RAX) = 0;
    help_lahf(c, NULL);
    CHECK_EQ(GPR(c, R_RAX), 0xd700);
}

/* ---- ports ---- */

static void port_permission(void)
{
    env_mode(1, 3);
    c->seg[S_TR].base = DATA;
    c->seg[S_TR].limit = 0x68 + 8192;
    c->seg[S_TR].attr = DESC_P | SYS_TSS32_BUSY << DESC_TYPE_SHIFT;
    memset(guest_data, 0, 0x4000);
    *(uint16_t *)(guest_data + 0x66) = 0x68;
    guest_data[0x68 + 8192] = 0xff;
    pio_n = 0;
    GPR(c, R_RDX) = 0x3f8;
    CHECK_EQ(INSN(0xee), HELP_NEXT);
    guest_data[0x68 + 0x3f8 / 8] = 1;
    CHECK_EQ(INSN(0xee), RAISES(EXC_GP));
    CHECK_EQ(c->exc_error, 0);
    GPR(c, R_RDX) = 0x3f7; /* a word that touches the forbidden port, across a byte of the map */
    CHECK_EQ(INSN(0xee), HELP_NEXT);
    CHECK_EQ(INSN(0x66, 0xef), RAISES(EXC_GP));
    GPR(c, R_RDX) = 0xffff; /* the last bit needs the byte behind it */
    CHECK_EQ(INSN(0xec), HELP_NEXT);
    CHECK_EQ(INSN(0x66, 0xed), RAISES(EXC_GP)); /* which is all ones */
    c->seg[S_TR].limit--;
    CHECK_EQ(INSN(0xec), RAISES(EXC_GP));
    c->seg[S_TR].limit = 0x68 + 8192;
    c->seg[S_TR].attr = DESC_P | SYS_TSS16_BUSY << DESC_TYPE_SHIFT;
    GPR(c, R_RDX) = 0;
    CHECK_EQ(INSN(0xec), RAISES(EXC_GP));
    c->eflags |= FL_IOPL; /* IOPL 3: no bitmap */
    CHECK_EQ(INSN(0xec), HELP_NEXT);
    c->eflags |= FL_VM;   /* but in v86 mode it is always asked */
    CHECK_EQ(INSN(0xec), RAISES(EXC_GP));
    c->eflags = 0;
    CHECK_EQ(pio_n, 4);
}

static void port_values(void)
{
    env_mode(1, 0);
    pio_n = env_dma_checks = 0;
    GPR(c, R_RAX) = 0xffffffffffffffff;
    CHECK_EQ(INSN(0xe4, 0xf0), HELP_NEXT);
    CHECK_EQ(pio_log[0].port, 0xf0);
    CHECK_EQ(GPR(c, R_RAX), 0xffffffffffffff00 | (pio_log[0].val & 0xff));
    GPR(c, R_RDX) = 0xabcd1234;
    CHECK_EQ(INSN(0xed), HELP_NEXT);
    CHECK_EQ(pio_log[1].port, 0x1234);
    CHECK_EQ(GPR(c, R_RAX), pio_log[1].val);
    CHECK_EQ(INSN(0x66, 0xef), HELP_NEXT);
    CHECK_EQ(pio_log[2].val, pio_log[1].val & 0xffff);
    CHECK_EQ(pio_log[2].size, 2);
    CHECK_EQ(env_dma_checks, 3);
    c->exit_request = XREQ_POLL;
    CHECK_EQ(INSN(0xee), HELP_LOOP);
    CHECK_EQ(c->rip, 0xfff1);
    c->exit_request = 0;
}

static void port_strings(void)
{
    env_mode(1, 0);
    pio_n = 0;
    GPR(c, R_RDX) = 0x1f0;
    GPR(c, R_RCX) = 256;
    GPR(c, R_RDI) = DATA + 0xff1;
    CHECK_EQ(INSN(0xf3, 0x66, 0x6d), HELP_NEXT);
    CHECK_EQ(pio_n, 256);
    for (unsigned i = 0; i < 256; i++)
        CHECK_EQ(*(any16 *)(guest_data + 0xff1 + 2 * i), pio_log[i].val & 0xffff);
    CHECK_EQ(GPR(c, R_RCX), 0);
    CHECK_EQ(GPR(c, R_RDI), DATA + 0xff1 + 512);
    /* A destination that faults does not touch the port. */
    c->seg[S_ES].limit = DATA + 0x7ff;
    cpu_seg_update(c, S_ES);
    cpu_update_hflags(c);
    pio_n = 0;
    GPR(c, R_RCX) = 4;
    GPR(c, R_RDI) = DATA + 0x7f8;
    CHECK_EQ(INSN(0xf3, 0x6d), RAISES(EXC_GP));
    CHECK_EQ(pio_n, 2);
    CHECK_EQ(GPR(c, R_RCX), 2);
    CHECK_EQ(GPR(c, R_RDI), DATA + 0x800);
    /* Downwards, and interrupted after each element. */
    pio_n = 0;
    c->eflags |= FL_DF;
    c->exit_request = XREQ_POLL;
    GPR(c, R_RSI) = DATA + 1;
    GPR(c, R_RCX) = 2;
    guest_data[0] = 0x10;
    guest_data[1] = 0x11;
    CHECK_EQ(INSN(0xf3, 0x6e), HELP_LOOP);
    CHECK_EQ(c->rip, 0xfff0);
    CHECK_EQ(INSN(0xf3, 0x6e), HELP_LOOP);
    CHECK_EQ(c->rip, 0xfff2);
    CHECK_EQ(pio_log[0].val, 0x11);
    CHECK_EQ(pio_log[1].val, 0x10);
    c->exit_request = 0;
}

/* ---- control registers ---- */

#define REJECTED(call)                                                \
    ({                                                                \
        c->exc_vector = -1;                                           \
        if (!__builtin_setjmp(c->jmpbuf))                             \
            call;                                                     \
        c->exc_vector == EXC_GP;                                      \
    })

static __attribute__((noinline)) bool cr0_rejected(uint64_t v) { return REJECTED(cpu_write_cr0(c, v)); }
static __attribute__((noinline)) bool cr3_rejected(uint64_t v) { return REJECTED(cpu_write_cr3(c, v)); }
static __attribute__((noinline)) bool cr4_rejected(uint64_t v) { return REJECTED(cpu_write_cr4(c, v)); }

static void cr0_rules(void)
{
    env_mode(1, 0);
    c->efer = 0;
    c->cr[4] = 0;
    CHECK(cr0_rejected(CR0_PG));
    CHECK(cr0_rejected(CR0_PE | CR0_NW));
    CHECK(cr0_rejected(1ull << 32 | CR0_PE));
    CHECK(!cr0_rejected(CR0_PE | 0x1ff00 * 0 | 0x40 | CR0_CD | CR0_NW)); /* reserved low bits are ignored */
    CHECK_EQ(c->cr[0], CR0_PE | CR0_ET | CR0_CD | CR0_NW);
    CHECK(!cr0_rejected(CR0_PE | CR0_PG));
    CHECK(!cr0_rejected(CR0_PE));
    /* Long mode needs PAE, and a code segment that is not 64-bit. */
    CHECK(msr_write(c, 0xc0000080, EFER_LME | EFER_NXE));
    CHECK(cr0_rejected(CR0_PE | CR0_PG));
    cpu_write_cr4(c, CR4_PAE);
    c->seg[S_CS].attr |= DESC_L;
    CHECK(cr0_rejected(CR0_PE | CR0_PG));
    c->seg[S_CS].attr &= ~DESC_L;
    CHECK(!cr0_rejected(CR0_PE | CR0_PG));
    CHECK_EQ(c->efer, EFER_LME | EFER_LMA | EFER_NXE);
    CHECK(c->hflags & HF_LMA);
    /* In it: LME and PAE stay, PCIDE needs CR3[11:0] = 0 and forbids leaving. */
    CHECK(!msr_write(c, 0xc0000080, 0));
    CHECK(cr4_rejected(0));
    CHECK(cr4_rejected(CR4_PAE | CR4_LA57));
    CHECK(!cr3_rejected(0x1018));
    CHECK(cr4_rejected(CR4_PAE | CR4_PCIDE));
    CHECK(!cr3_rejected(0x1000));
    CHECK(cr3_rejected(1ull << 63 | 0x1000));
    CHECK(cr3_rejected(1ull << 40 | 0x1000));
    CHECK(!cr4_rejected(CR4_PAE | CR4_PCIDE));
    CHECK(!cr3_rejected(1ull << 63 | 0x1003));
    CHECK_EQ(c->cr[3], 0x1003);
    CHECK(cr0_rejected(CR0_PE));
    CHECK(!cr4_rejected(CR4_PAE));
    CHECK(!cr0_rejected(CR0_PE));
    CHECK_EQ(c->efer, EFER_LME | EFER_NXE);
    /* CR4 by model. */
    c->model.f7_ecx = 0;
    CHECK(cr4_rejected(CR4_PKE));
    CHECK(cr4_rejected(CR4_UMIP));
    c->model.f7_ecx = ~0u;
    CHECK(cr4_rejected(1u << 13)); /* VMXE */
    CHECK(cr4_rejected(1ull << 32));
}

static void pdptes_are_checked(void)
{
    uint64_t *t = (uint64_t *)(ram + 0x5020);

    env_mode(1, 0);
    c->efer = 0;
    memset(t, 0, 32);
    t[3] = 0x6001;
    cpu_write_cr4(c, CR4_PAE);
    CHECK(!cr3_rejected(0x5020));
    CHECK(!cr0_rejected(CR0_PE | CR0_PG));
    t[2] = 0x7003; /* R/W is reserved in a PDPTE */
    CHECK(cr3_rejected(0x5020));
    CHECK(cr4_rejected(CR4_PAE | CR4_PGE));
    t[2] = 0x7002; /* not present */
    CHECK(!cr3_rejected(0x5020));
    t[2] = 1ull << 41 | 1;
    CHECK(cr3_rejected(0x5020));
    CHECK(cr3_rejected(0xf0000000)); /* nothing there */
}

static void cr_and_dr_instructions(void)
{
    env_mode(2, 0);
    GPR(c, R_RAX) = 0x123456789;
    CHECK_EQ(INSN(0x0f, 0x22, 0xd0), HELP_NEXT);       /* mov cr2, rax */
    CHECK_EQ(INSN(0x0f, 0x20, 0xd1), HELP_NEXT);       /* mov rcx, cr2 */
    CHECK_EQ(GPR(c, R_RCX), 0x123456789);
    GPR(c, R_RAX) = 0x10;
    CHECK_EQ(INSN(0x44, 0x0f, 0x22, 0xc0), RAISES(EXC_GP)); /* mov cr8, rax */
    GPR(c, R_RAX) = 0xf;
    CHECK_EQ(INSN(0x44, 0x0f, 0x22, 0xc0), HELP_NEXT);
    CHECK_EQ(c->cr8, 0xf);
    GPR(c, R_RAX) = CR0_TS;                             /* lmsw cannot clear PE */
    CHECK_EQ(INSN(0x0f, 0x01, 0xf0), HELP_NEXT);
    CHECK_EQ(c->cr[0] & 15, CR0_PE | CR0_TS);
    CHECK(c->hflags & HF_NM_SSE);
    CHECK_EQ(INSN(0x0f, 0x06), HELP_NEXT);
    CHECK(!(c->hflags & HF_NM_SSE));
    CHECK_EQ(INSN(0x0f, 0x01, 0xe0), HELP_NEXT);       /* smsw eax */
    CHECK_EQ(GPR(c, R_RAX), c->cr[0]);

    GPR(c, R_RAX) = 0xffffffff;
    CHECK_EQ(INSN(0x0f, 0x23, 0xf0), HELP_NEXT);       /* dr6 */
    CHECK_EQ(c->dr[6], 0xffffefff);
    GPR(c, R_RAX) = 0;
    CHECK_EQ(INSN(0x0f, 0x23, 0xe8), HELP_NEXT);       /* dr5 is dr7 */
    CHECK_EQ(c->dr[7], 0x400);
    c->cr[4] |= CR4_DE;
    CHECK_EQ(INSN(0x0f, 0x23, 0xe8), RAISES(EXC_UD));
    GPR(c, R_RAX) = 1ull << 32;
    CHECK_EQ(INSN(0x0f, 0x23, 0xf8), RAISES(EXC_GP));
    GPR(c, R_RAX) = 1u << 13;                           /* GD */
    CHECK_EQ(INSN(0x0f, 0x23, 0xf8), HELP_NEXT);
    CHECK_EQ(INSN(0x0f, 0x21, 0xc0), RAISES(EXC_DB));
    CHECK_EQ(c->exc_dr6, 1u << 13);
    c->exc_dr6 = 0;
    c->dr[7] = 0x400;
}

/* ---- MSRs and the rest ---- */

static uint64_t rd(uint32_t msr)
{
    uint64_t v = 0xdeaddeaddeaddead;

    CHECK(msr_read(c, msr, &v));
    return v;
}

static void msr_rules(void)
{
    uint64_t v;

    env_mode(2, 0);
    CHECK(msr_write(c, 0xc0000082, 0xffff800000001234));
    CHECK_EQ(rd(0xc0000082), 0xffff800000001234);
    c->model.f7_ecx &= ~(1u << 16);
    CHECK(!msr_write(c, 0xc0000082, 0x800000000000));
    c->model.f7_ecx |= 1u << 16; /* LA57, used or not */
    CHECK(msr_write(c, 0xc0000082, 0x800000000000));
    CHECK(!msr_write(c, 0xc0000082, 0x100000000000000));
    CHECK(msr_write(c, 0xc0000082, 0xffff800000001234));
    c->model.f7_ecx &= ~(1u << 16);
    CHECK(!msr_write(c, 0xc0000100, 0x800000000000));
    CHECK(msr_write(c, 0xc0000101, 0xffff888000000000));
    CHECK_EQ(c->seg[S_GS].base, 0xffff888000000000);
    CHECK(!msr_write(c, 0xc0000103, 1ull << 32));
    CHECK(msr_write(c, 0x277, 0x0007040600070406));
    CHECK(!msr_write(c, 0x277, 0x0007040600070402));
    CHECK(!msr_write(c, 0x277, 0x0807040600070406));
    CHECK(msr_write(c, 0x250, 0x0606060606060606));
    CHECK(!msr_write(c, 0x250, 0x0606060606060607));
    CHECK(msr_write(c, 0x26f, 0x0505050505050505));
    CHECK_EQ(rd(0x26f), 0x0505050505050505);
    CHECK_EQ(c->mtrr_fixed[10], 0x0505050505050505);
    CHECK(msr_write(c, 0x20e, 0xc0000006));
    CHECK(msr_write(c, 0x20f, 0xffc0000800));
    CHECK_EQ(rd(0x20f), 0xffc0000800);
    CHECK(!msr_write(c, 0x20f, 1ull << 40));
    CHECK(!msr_write(c, 0x20e, 0x102));
    CHECK(!msr_write(c, 0x210, 0));
    CHECK(msr_write(c, 0x2ff, 0xc06));
    CHECK(!msr_write(c, 0x2ff, 0x1c06));
    CHECK_EQ(rd(0xfe), 0x508);
    CHECK(!msr_write(c, 0xfe, 0));
    CHECK_EQ(rd(0x179) & 0xff, 10);
    CHECK(msr_write(c, 0x400, ~0ull));
    CHECK_EQ(rd(0x400), ~0ull);
    CHECK(msr_write(c, 0x427, 5));
    CHECK_EQ(rd(0x427), 5);
    CHECK(!msr_read(c, 0x428, &v));
    CHECK_EQ(rd(0x802), 0x802); /* the embedder's */
    CHECK(msr_write(c, 0x802, 1));
    CHECK(!msr_read(c, 0x12345, &v));
    CHECK(!msr_write(c, 0x12345, 0));
    CHECK(!msr_write(c, 0xc0000080, 1ull << 20));
    CHECK(!msr_write(c, 0xda0, 1));
    CHECK(!msr_write(c, 0x400, 5));
    CHECK(msr_write(c, 0x400, ~0x400ull));
    CHECK(msr_write(c, 0x401, 0));
    CHECK(!msr_write(c, 0x401, 1));
    c->model.f81_edx &= ~(1u << 29); /* no long mode: no registers of it */
    CHECK(!msr_write(c, 0xc0000082, 0));
    CHECK(!msr_read(c, 0xc0000101, &v));
    c->model.f81_edx |= 1u << 29;
    CHECK(!msr_write(c, 0x1b, 1ull << 41));
    CHECK(!msr_write(c, 0x1b, 0xfee00000 | 1 << 10)); /* x2APIC without enable */
    /* Time: the counter goes on from what was written, TSC_ADJUST follows. */
    uint64_t adjust = rd(0x3b);
    CHECK(msr_write(c, 0x10, 1000));
    v = rd(0x10);
    CHECK(v >= 1000 && v < 1000 + (1ull << 32));
    CHECK(rd(0x3b) != adjust);
    CHECK(msr_write(c, 0x3b, rd(0x3b) + (1ull << 50)));
    CHECK(rd(0x10) >> 50 == 1);
    GPR(c, R_RCX) = 0x12345;
    CHECK_EQ(INSN(0x0f, 0x32), RAISES(EXC_GP));
    GPR(c, R_RCX) = 0xc0000082;
    CHECK_EQ(INSN(0x0f, 0x32), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RDX), 0xffff8000);
    CHECK_EQ(GPR(c, R_RAX), 0x1234);
}

static void system_instructions(void)
{
    env_mode(2, 0);
    CHECK_EQ(INSN(0xf4), HELP_LOOP);
    CHECK_EQ(c->halted, 1);
    CHECK_EQ(c->rip, 0xfff1);
    env_mode(2, 0);
    /* CPUID shows CR4.OSXSAVE and the size for XCR0. */
    GPR(c, R_RAX) = 1;
    CHECK_EQ(INSN(0x0f, 0xa2), HELP_NEXT);
    CHECK(GPR(c, R_RCX) & 1u << 27);
    cpu_write_cr4(c, c->cr[4] & ~(uint64_t)CR4_OSXSAVE);
    GPR(c, R_RAX) = 1;
    CHECK_EQ(INSN(0x0f, 0xa2), HELP_NEXT);
    CHECK(!(GPR(c, R_RCX) & 1u << 27));
    CHECK_EQ(INSN(0x0f, 0x01, 0xd0), RAISES(EXC_UD));
    cpu_write_cr4(c, c->cr[4] | CR4_OSXSAVE);
    GPR(c, R_RAX) = 0xd;
    GPR(c, R_RCX) = 0;
    CHECK_EQ(INSN(0x0f, 0xa2), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RBX), 832);
    /* XSETBV */
    GPR(c, R_RCX) = GPR(c, R_RDX) = 0;
    static const struct { uint64_t v; bool ok; } x[] = {
        { 1, 1 }, { 3, 1 }, { 5, 0 }, { 6, 0 }, { 0, 0 }, { 0xe7, 0 }, { 0x207, 1 }, { 7, 1 },
    };
    for (unsigned i = 0; i < 8; i++) {
        GPR(c, R_RAX) = x[i].v;
        CHECK_EQ(INSN(0x0f, 0x01, 0xd1), x[i].ok ? HELP_NEXT : RAISES(EXC_GP));
        CHECK(!x[i].ok || c->xcr0 == x[i].v);
    }
    CHECK(c->hflags & HF_AVX);
    GPR(c, R_RCX) = 1;
    CHECK_EQ(INSN(0x0f, 0x01, 0xd0), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RAX) & ~7ull, 0);
    /* FS base */
    CHECK_EQ(INSN(0xf3, 0x48, 0x0f, 0xae, 0xd0), RAISES(EXC_UD));
    cpu_write_cr4(c, c->cr[4] | CR4_FSGSBASE);
    GPR(c, R_RAX) = 0x7fff12345678;
    CHECK_EQ(INSN(0xf3, 0x48, 0x0f, 0xae, 0xd0), HELP_NEXT);
    CHECK_EQ(c->seg[S_FS].base, 0x7fff12345678);
    CHECK_EQ(INSN(0xf3, 0x0f, 0xae, 0xc1), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RCX), 0x12345678);
    GPR(c, R_RAX) = 1ull << 60;
    CHECK_EQ(INSN(0xf3, 0x48, 0x0f, 0xae, 0xd0), RAISES(EXC_GP));
    /* PKRU */
    GPR(c, R_RCX) = GPR(c, R_RDX) = 0;
    GPR(c, R_RAX) = 0x55555554;
    CHECK_EQ(INSN(0x0f, 0x01, 0xef), RAISES(EXC_UD));
    cpu_write_cr4(c, c->cr[4] | CR4_PKE);
    CHECK_EQ(INSN(0x0f, 0x01, 0xef), HELP_NEXT);
    CHECK_EQ(INSN(0x0f, 0x01, 0xee), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RAX), 0x55555554);
    /* INVPCID */
    GPR(c, R_RBX) = DATA;
    memset(guest_data, 0, 16);
    for (unsigned t = 0; t < 4; t++) {
        GPR(c, R_RAX) = t;
        CHECK_EQ(INSN(0x66, 0x0f, 0x38, 0x82, 0x03), HELP_NEXT);
    }
    GPR(c, R_RAX) = 4;
    CHECK_EQ(INSN(0x66, 0x0f, 0x38, 0x82, 0x03), RAISES(EXC_GP));
    GPR(c, R_RAX) = 1;
    guest_data[0] = 1; /* a PCID without CR4.PCIDE */
    CHECK_EQ(INSN(0x66, 0x0f, 0x38, 0x82, 0x03), RAISES(EXC_GP));
    CHECK_EQ(INSN(0x0f, 0x01, 0x3b), HELP_NEXT); /* invlpg [rbx] */
    /* TSC */
    uint64_t t0 = rd(0x10);
    CHECK_EQ(INSN(0x0f, 0x31), HELP_NEXT);
    CHECK((GPR(c, R_RDX) << 32 | GPR(c, R_RAX)) >= t0);
    c->tsc_aux = 0x77;
    CHECK_EQ(INSN(0x0f, 0x01, 0xf9), HELP_NEXT);
    CHECK_EQ(GPR(c, R_RCX), 0x77);
    env_mode(2, 3);
    c->cr[4] |= CR4_TSD;
    CHECK_EQ(INSN(0x0f, 0x31), RAISES(EXC_GP));
    CHECK_EQ(INSN(0x0f, 0x01, 0xc9), RAISES(EXC_UD)); /* mwait */
    CHECK_EQ(INSN(0x0f, 0x01, 0xc1), RAISES(EXC_UD)); /* vmcall */
}

int main(void)
{
    env_start();
    low = mmap((void *)0x20000000, 0x4000, PROT_READ | PROT_WRITE | PROT_EXEC,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(low == (void *)0x20000000);
    decimal_as_the_host();
    odds_and_ends();
    popf_by_privilege();
    flags_in_v86();
    sti_shadow_and_stac();
    port_permission();
    port_values();
    port_strings();
    cr0_rules();
    pdptes_are_checked();
    cr_and_dr_instructions();
    msr_rules();
    system_instructions();
    puts("system helpers: ok");
    return 0;
}
