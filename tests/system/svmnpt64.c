/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svmnpt64.c - nested paging (APM vol. 2, 15.25): faults and their error codes, accessed and dirty bits, guests in every
 * mode, ASIDs and flushes, G_PAT.
 */
#define SYS_MAIN
#include "svm.h"

#define PT(n) (NPT + 0x3000 + 0x1000 * (n))
static volatile u64 *npte(u64 gpa) { return (volatile u64 *)(PT(0) + (gpa >> 12) * 8); }
static u64 host_efer;

void trap(struct frame *f)
{
    put("  #");
    put_hex(f->vector);
    put(" err ");
    put_hex(f->error);
    put("\n");
    sys_exit(1);
}

/* 4 MiB identity, 4 KiB pages, no accessed bits. */
static void npt_reset(void)
{
    clear(NPT, 0x5000);
    *(volatile u64 *)NPT = NPT + 0x1007;
    *(volatile u64 *)(NPT + 0x1000) = NPT + 0x2007;
    *(volatile u64 *)(NPT + 0x2000) = PT(0) + 7;
    *(volatile u64 *)(NPT + 0x2008) = PT(1) + 7;
    for (u32 i = 0; i < 1024; i++) {
        *npte((u64)i << 12) = (u64)i << 12 | 7;
    }
}

static void nested(void)
{
    V64(C_NP) = 1;
    V64(C_NCR3) = NPT;
    V8(C_TLB) = 1;
}
#define NGUEST(code) do { npt_reset(); GUEST(code); nested(); } while (0)

static void show_info(const char *name)
{
    put(name);
    put(": exit ");
    put_hex(V64(C_CODE));
    put(" ");
    put_hex(V64(C_INFO1));
    put(" ");
    put_hex(V64(C_INFO2));
    put(" rcx ");
    put_hex(guest_rcx);
    if (V64(C_INTINFO)) {
        put(" event ");
        put_hex(V64(C_INTINFO));
    }
    put("\n");
}
static void go(const char *name)
{
    guest_rcx = 0;
    vmrun();
    show_info(name);
}

static void faults(void)
{
    *(volatile u64 *)SCRATCH = 0x1122334455667788;
    NGUEST("mov 0x340000, %%rcx");
    go("mapped");
    line("  A and D", *npte(SCRATCH) & 0xfff);
    NGUEST("mov 0x340000, %%rcx; mov %%rcx, 0x340000");
    go("written");
    line("  A and D", *npte(SCRATCH) & 0xfff);
    line("  of the guest's root table", *npte(0x200000) & 0xfff);
    NGUEST("mov 0x340008, %%rcx");
    *npte(SCRATCH) = 0;
    go("not present");
    NGUEST("mov %%rcx, 0x340010");
    *npte(SCRATCH) &= ~2ull;
    go("read only");
    NGUEST("mov 0x340010, %%rcx");
    *npte(SCRATCH) &= ~2ull;
    go("read of read only");
    NGUEST("mov 0x340000, %%rcx");
    *npte(SCRATCH) &= ~4ull;
    go("supervisor page");
    NGUEST("mov 0x340000, %%rcx");
    *npte(SCRATCH) |= 1ull << 51;
    go("reserved bit");
    NGUEST("mov $0x340000, %%eax; jmp *%%rax");
    *npte(SCRATCH) |= 1ull << 63;
    *(volatile u8 *)SCRATCH = 0x90;
    go("no execute");
    wrmsr(0xc0000080, host_efer & ~0x800ull);
    NGUEST("mov $0x340000, %%eax; jmp *%%rax");
    *npte(SCRATCH) = 0;
    go("no execute is off");
    wrmsr(0xc0000080, host_efer);
    NGUEST("nop");
    *npte(0x200000) &= ~2ull;
    go("root table read only");
    NGUEST("nop");
    *npte(0x202000) = 0;
    go("page directory not present");
    NGUEST("nop");
    *(volatile u64 *)(NPT + 0x1000) |= 1ull << 7 | 1ull << 13;
    go("reserved in a large page");
    NGUEST("nop");
    V64(S_CR3) = 0x7f000000;
    go("root table outside");
    NGUEST("int $0x50");
    V64(S_RSP) = SCRATCH + 0x1000;
    *npte(SCRATCH) = 0;
    go("stack of an interrupt");
    NGUEST("mov 0x340ffc, %%rcx");
    *npte(SCRATCH + 0x1000) = 0;
    go("second page");
    NGUEST("mov 0x600000, %%rcx");
    V32(C_EXC) = 1u << 14;
    go("the guest's own fault");
}

static void remapping(void)
{
    *(volatile u64 *)SCRATCH = 0xaaaa;
    *(volatile u64 *)(SCRATCH + 0x1000) = 0xbbbb;
    NGUEST("mov 0x340000, %%rcx; vmmcall; mov 0x340000, %%rcx; vmmcall; movq $0xcccc, 0x340000");
    go("before");
    *npte(SCRATCH) = (SCRATCH + 0x1000) | 7;
    V64(S_RIP) += 3;
    go("after, flushed");
    V64(S_RIP) += 3;
    V8(C_TLB) = 0;
    go("write");
    line("  in the first page", *(volatile u64 *)SCRATCH);
    line("  in the second page", *(volatile u64 *)(SCRATCH + 0x1000));
    /* another ASID, other tables: nothing of the first is left */
    *(volatile u64 *)(SCRATCH + 0x1000) = 0xbbbb;
    NGUEST("mov 0x340000, %%rcx; vmmcall; mov 0x340000, %%rcx");
    V8(C_TLB) = 0;
    V32(C_ASID) = 2;
    go("asid 2");
    *npte(SCRATCH) = (SCRATCH + 0x1000) | 7;
    V64(S_RIP) += 3;
    V32(C_ASID) = 3;
    go("asid 3");
    /* code behind a remapping */
    *(volatile u8 *)(SCRATCH + 0x20) = 0xb9;         /* mov $1, %ecx; vmmcall */
    *(volatile u32 *)(SCRATCH + 0x21) = 1;
    *(volatile u32 *)(SCRATCH + 0x25) = 0xd9010f;
    *(volatile u8 *)(SCRATCH + 0x1020) = 0xb9;
    *(volatile u32 *)(SCRATCH + 0x1021) = 2;
    *(volatile u32 *)(SCRATCH + 0x1025) = 0xd9010f;
    NGUEST("mov $0x340020, %%eax; jmp *%%rax");
    go("code");
    *npte(SCRATCH) = (SCRATCH + 0x1000) | 7;
    V64(S_RIP) = guest_entry;
    go("code, remapped");
    /* the host writes to the guest's code */
    *(volatile u32 *)(SCRATCH + 0x1021) = 3;
    V64(S_RIP) = guest_entry;
    go("code, written by the host");
    line("the host's view", *(volatile u64 *)SCRATCH);
}

/* A guest that starts in real-address mode at 0000:1000 of its own memory. */
static void real_guest(void)
{
    flat(S_CS, 0, 0x9b);
    flat(S_DS, 0, 0x93);
    flat(S_ES, 0, 0x93);
    flat(S_SS, 0, 0x93);
    V32(S_CS + 4) = V32(S_DS + 4) = V32(S_ES + 4) = V32(S_SS + 4) = 0xffff;
    V64(S_EFER) = 0x1000;
    V64(S_CR0) = 0x10;
    V64(S_CR4) = 0;
    V64(S_CR3) = 0;
    V64(S_RSP) = 0x8000;
    V64(S_RIP) = 0x1000;
    V64(S_IDTR + 8) = 0;
    V32(S_IDTR + 4) = 0x3ff;
}

static void put_code(u64 at, const u8 *p, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        *(volatile u8 *)(at + i) = p[i];
    }
}

static void modes(void)
{
    static const u8 real[] = {
        0xb8, 0x34, 0x12,                      /* mov $0x1234, %ax */
        0x66, 0x0f, 0xb7, 0xc8,                /* movzwl %ax, %ecx */
        0xa3, 0x00, 0x20,                      /* mov %ax, 0x2000 */
        0xcd, 0x21,                            /* int $0x21: returns */
        0x0f, 0x01, 0xd9,                      /* vmmcall */
        0x66, 0xb8, 0x11, 0x00, 0x00, 0x00,    /* mov $0x11, %eax; mov %eax, %cr0: protected mode */
        0x0f, 0x22, 0xc0,
        0xea, 0x00, 0x11, 0x08, 0x00,          /* ljmp $8, $0x1100 */
    };
    static const u8 prot[] = {
        0x8c, 0xc9,                            /* mov %cs, %ecx */
        0x0f, 0x01, 0xd9,                      /* vmmcall */
        0xb8, 0x00, 0x40, 0x00, 0x00,          /* mov $0x4000, %eax; mov %eax, %cr3 */
        0x0f, 0x22, 0xd8,
        0x0f, 0x20, 0xc0,                      /* paging on, 32-bit tables */
        0x0d, 0x00, 0x00, 0x00, 0x80,
        0x0f, 0x22, 0xc0,
        0x8b, 0x0d, 0x00, 0x00, 0x40, 0x00,    /* mov 0x400000, %ecx: linear 4 MiB is physical 0x2000 */
        0x0f, 0x01, 0xd9,
    };
    /* The guest's first 64 KiB are at 0x330000. */
    NGUEST("nop");
    for (u32 i = 0; i < 16; i++) {
        *npte((u64)i << 12) = (0x330000 + ((u64)i << 12)) | 7;
    }
    clear(0x330000, 0x10000);
    put_code(0x331000, real, sizeof(real));
    put_code(0x331100, prot, sizeof(prot));
    *(volatile u32 *)(0x330000 + 0x21 * 4) = 0x1080;
    *(volatile u8 *)0x331080 = 0xcf;
    *(volatile u64 *)0x333008 = 0x00cf9b000000ffff;
    *(volatile u32 *)0x334000 = 0x5007;        /* page directory at 0x4000: two tables */
    *(volatile u32 *)0x334004 = 0x6007;
    for (u32 i = 0; i < 16; i++) {
        *(volatile u32 *)(0x335000ull + 4 * i) = i << 12 | 7;
    }
    *(volatile u32 *)0x336000 = 0x2007;
    real_guest();
    V64(S_GDTR + 8) = 0x3000;
    V32(S_GDTR + 4) = 0xf;
    go("real mode");
    line("  stored", *(volatile u32 *)0x332000);
    line("  rip", V64(S_RIP));
    V64(S_RIP) += 3;
    go("protected mode");
    line("  rip", V64(S_RIP));
    line("  cs", V16(S_CS + 2));
    line("  cr0", V64(S_CR0));
    V64(S_RIP) += 3;
    V32(S_DS + 4) = 0xffffffff;
    go("32-bit paging");
    line("  cr0", V64(S_CR0));
    line("  guest's directory entry", *(volatile u32 *)0x334004);
    line("  guest's table entry", *(volatile u32 *)0x336000);
    NGUEST("nop");
    real_guest();
    *npte(0x1000) = 0;
    go("real mode, no page");
    /* without nested paging: paged real mode (15.19) through the host's tables */
    GUEST("nop");
    real_guest();
    V64(S_CR0) = 0x80000010;
    V64(S_CR3) = 0x4000 + 0x330000;
    V64(S_CR4) = 0;
    V8(C_TLB) = 1;
    V64(S_RIP) = 0x1000;
    for (u32 i = 0; i < 16; i++) {
        *(volatile u32 *)(0x335000ull + 4 * i) = (0x330000 + (i << 12)) | 7;
    }
    *(volatile u32 *)0x334000 = 0x335007;
    *(volatile u32 *)0x332000 = 0;
    go("paged real mode");
    line("  stored", *(volatile u32 *)0x332000);
    line("  rip", V64(S_RIP));
    line("  host's byte there", *(volatile u8 *)0x1000);
}

static void other(void)
{
    NGUEST("mov $0x277, %%ecx; rdmsr; mov %%eax, %%ecx");
    V64(S_PAT) = 0x0606060606060606ull;
    go("guest's pat");
    line("  host's", rdmsr(0x277) & 0xffffffff);
    NGUEST("nop");
    V64(S_PAT) = 2;
    go("bad pat");
    NGUEST("mov $0x277, %%ecx; rdmsr; mov $1, %%eax; wrmsr");
    go("guest writes pat");
    line("  guest's", V64(S_PAT) & 0xffffffff);
    line("  host's", rdmsr(0x277) & 0xffffffff);
    NGUEST("nop");
    V64(C_NCR3) = 1ull << 55;
    go("bad root");
}

__attribute__((used)) void test_main(void)
{
    svm_on();
    host_efer = rdmsr(0xc0000080);
    faults();
    remapping();
    modes();
    other();
}
