/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * syscall64.h - SYSCALL, SYSRET, SYSENTER, SYSEXIT in IA-32e mode: sysamd64.c and sysintel64.c run it on a processor of
 * each vendor.  (SDM vol. 2, each instruction; vol. 3, 5.8.7, 5.8.8; APM vol. 2, 6.1; APM vol. 3.)
 */
#define SYS_MAIN
#include "ring64.h"

#define MSR_SYSENTER_CS  0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_EFER   0xc0000080
#define MSR_STAR   0xc0000081
#define MSR_LSTAR  0xc0000082
#define MSR_CSTAR  0xc0000083
#define MSR_FMASK  0xc0000084
#define MSR_KERNEL_GS 0xc0000102

CODE(do_syscall, "syscall; nop");
CODE32(c_syscall, "syscall; nop");
CODE(do_sysret, "sysretq");
CODE(do_sysretl, "sysretl");
CODE32(c_sysret, "sysret");
CODE(do_sysenter, "sysenter; nop");
CODE32(c_sysenter, "sysenter; nop");
CODE(do_sysexit, "sysexitq");
CODE(do_sysexitl, "sysexitl");
CODE32(c_sysexit, "sysexit");
#define SPACE __asm__(".skip 32, 0xcc")
SPACE;
CODE(kernel, "nop");
SPACE;
CODE(user, "nop");
SPACE;
CODE32(c_user, "nop");

/* Who is interrupted where: by name, as the addresses say nothing. */
static void state(const char *name)
{
    static const struct {
        const char *name;
        const u8 *at;
    } places[] = { { "kernel", kernel }, { "user", user }, { "compat user", c_user } };

    put(name);
    put_long(": #", out.vector);
    put_long(" err ", out.error);
    if (out.rip - start.rip < 0x20) {
        put_long(" +", out.rip - start.rip);
    } else {
        u32 i = 0;
        while (i < 3 && out.rip - (u64)places[i].at >= 0x10) {
            i++;
        }
        put(" ");
        put(i < 3 ? places[i].name : "at");
        put_long(" ", i < 3 ? out.rip - (u64)places[i].at : out.rip);
    }
    put_word(" cs ", out.cs);
    put_word(" ss ", out.ss);
    put_long(" fl ", out.rflags);
    put_long(" sp ", out.rsp);
}

static void state_line(const char *name)
{
    state(name);
    put("\n");
}

static void set_star(u32 call, u32 ret)
{
    wrmsr(MSR_STAR, (u64)ret << 48 | (u64)call << 32 | 0x12345678);
}

/* RCX is the return address, R11 the flags; nothing else changes. */
static void syscall_line(const char *name)
{
    state(name);
    if (out.rcx) {
        put_long(" rcx +", out.rcx - start.rip);
        put_long(" r11 ", out.r11);
    }
    put("\n");
}

static void test_syscall(void)
{
    set_star(CODE0, 0x13);
    wrmsr(MSR_LSTAR, (u64)kernel);
    wrmsr(MSR_CSTAR, (u64)kernel + 1);
    wrmsr(MSR_FMASK, 0);
    begin(3);
    start.rflags = 0x246ed7 & ~0x100u;
    go(do_syscall);
    syscall_line("syscall");
    wrmsr(MSR_FMASK, 0x47700);
    begin(3);
    start.rflags = 0x247ed7 & ~0x4100u;
    go(do_syscall);
    syscall_line("with a mask");
    wrmsr(MSR_FMASK, 0xffffffff);
    begin(3);
    start.rflags = 0x243ed7 & ~0x100u;
    go(do_syscall);
    syscall_line("with all masked");
    wrmsr(MSR_FMASK, 0);
    begin(0);
    go(do_syscall);
    syscall_line("from ring 0");
    begin_compat(3);
    go(c_syscall);
    syscall_line("from compatibility mode");
    set_star(CODE0 | 3, 0);
    begin(3);
    go(do_syscall);
    syscall_line("star with rpl");
    set_star(0, 0);
    begin(3);
    go(do_syscall);
    syscall_line("star 0");
    set_star(CODE0, 0x13);
    begin(3);
    start.rflags = 0x102;
    go(do_syscall);
    syscall_line("TF not masked");
    wrmsr(MSR_FMASK, 0x100);
    begin(3);
    start.rflags = 0x102;
    go(do_syscall);
    syscall_line("TF masked");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ul);
    begin(3);
    go(do_syscall);
    syscall_line("SCE off");
    begin(0);
    go(do_sysret);
    syscall_line("sysret, SCE off");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
}

static void begin_sysret(const void *to, u64 flags)
{
    begin(0);
    start.rcx = (u64)to;
    start.r11 = flags;
}

static void test_sysret(void)
{
    set_star(CODE0, 0x13);      /* 64-bit code 20, stack 18 */
    begin_sysret(user, 0x2);
    go(do_sysret);
    state_line("sysret");
    begin_sysret(user, 0xffffffff & ~0x4100u);
    go(do_sysret);
    state_line("all flags");
    begin_sysret(user, 0x10102);
    go(do_sysret);
    state_line("TF and RF");
    begin_sysret(user, 0x2);
    start.rflags = 0x102;
    start.rcx = (u64)user;
    go(do_sysret);
    state_line("TF before");
    begin_sysret(user, 0);
    start.rcx = 0x0000800000000000ul;
    go(do_sysret);
    state_line("rcx not canonical");
    begin_sysret(user, 0);
    start.rcx = 0xffff7fffffffffff;
    go(do_sysret);
    state_line("rcx not canonical");
    begin(3);
    start.rcx = (u64)user;
    go(do_sysret);
    state_line("in ring 3");
    set_star(CODE0, COMPAT3);
    set_gdt(COMPAT3 + 8, seg_desc(0, 0xfffff, 0xf3, 12));
    begin_sysret(c_user, 0x2);
    start.rcx = 0xabcd00000000ul | (u64)c_user;
    go(do_sysretl);
    state_line("sysretl");
    begin_sysret(c_user, 0x102);
    go(do_sysretl);
    state_line("sysretl TF");
    begin_compat(0);
    start.rcx = (u64)c_user;
    start.r11 = 0x40202;
    go(c_sysret);
    state_line("from compatibility mode");
    begin_compat(3);
    start.rcx = (u64)c_user;
    go(c_sysret);
    state_line("in ring 3");
    set_gdt(COMPAT3 + 8, seg_desc(0, 0xfffff, 0xb3, 12));
}

static void set_sysenter(u32 cs)
{
    wrmsr(MSR_SYSENTER_CS, cs);
    wrmsr(MSR_SYSENTER_ESP, STACK(2));
    wrmsr(MSR_SYSENTER_EIP, (u64)kernel);
}

static void test_sysenter(void)
{
    set_sysenter(CODE0 | 3);
    begin(3);
    start.rflags = 0x246ed7 & ~0x100u;
    go(do_sysenter);
    state_line("sysenter");
    begin_compat(3);
    start.rflags = 0x40202;
    go(c_sysenter);
    state_line("from compatibility mode");
    begin(0);
    go(do_sysenter);
    state_line("from ring 0");
    begin(3);
    start.rflags = 0x102;
    go(do_sysenter);
    state_line("TF");
    for (u32 cs = 0; cs < 5; cs++) {
        set_sysenter(cs);
        begin(3);
        go(do_sysenter);
        put_long("cs ", cs);
        state_line("");
    }
    set_sysenter(0x10000);
    begin(3);
    go(do_sysenter);
    state_line("cs 10000");
}

static void begin_sysexit(const void *to)
{
    begin(0);
    start.rdx = (u64)to;
    start.rcx = 0x7e000;
}

static void test_sysexit(void)
{
    set_sysenter(CODE0);
    begin_sysexit(user);
    go(do_sysexit);
    state_line("sysexit 64");
    begin_sysexit(c_user);
    start.rdx |= 0xabcd00000000ul;
    start.rcx |= 0xabcd00000000ul;
    start.rflags = 0x3246;
    go(do_sysexitl);
    state_line("sysexit");
    begin_compat(0);
    start.rdx = (u64)c_user;
    start.rcx = 0x7e000;
    go(c_sysexit);
    state_line("from compatibility mode");
    begin_sysexit(user);
    start.rdx = 0x0000800000000000ul;
    go(do_sysexit);
    state_line("rdx not canonical");
    begin_sysexit(user);
    start.rcx = 0x0000800000000000ul;
    go(do_sysexit);
    state_line("rcx not canonical");
    begin(3);
    start.rdx = (u64)user;
    go(do_sysexit);
    state_line("in ring 3");
    set_sysenter(0);
    begin_sysexit(user);
    go(do_sysexit);
    state_line("cs 0");
}

/* ---- MSRs that hold addresses ---- */

CODE(write_msr, "wrmsr");

static void test_msrs(void)
{
    static const u32 list[] = { MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_LSTAR, MSR_CSTAR, MSR_KERNEL_GS, 0xc0000100,
                                0xc0000101 };
    static const u64 values[] = { 0x00007fffffffffff, 0x0100000000000000, 0xfeffffffffffffff, 0xffff800000000000 };

    for (u32 i = 0; i < sizeof(list) / 4; i++) {
        put_long("msr ", list[i]);
        for (u32 k = 0; k < 4; k++) {
            wrmsr(list[i], 0);
            begin(0);
            start.rcx = list[i];
            start.rax = (u32)values[k];
            start.rdx = values[k] >> 32;
            go(write_msr);
            put_long(" #", out.vector);
            put(rdmsr(list[i]) == (out.vector == 0x81 ? values[k] : 0) ? "" : "!");
        }
        put("\n");
    }
    begin(3);
    start.rcx = MSR_LSTAR;
    go(write_msr);
    show_line("ring 3");
}

__attribute__((used)) void test_main(void)
{
    ring_setup();
    test_syscall();
    test_sysret();
    test_sysenter();
    test_sysexit();
    test_msrs();
}
