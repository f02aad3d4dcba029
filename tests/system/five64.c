/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * five64.c - 5-level paging: entering it, 57-bit addresses for data, code, stack and bases, the PML5E, canonical checks,
 * alignment checks at CPL 3 (SDM vol. 3, 4.5, 5.13.5, 6.15; vol. 1, 3.3.7.1).  Run where LA57 is offered (tlb=tagged).
 */
#define SYS_MAIN
#include "lib64.h"

#define P 1ull
#define W 2ull
#define U 4ull
#define A 0x20ull

#define PML5 ((volatile u64 *)0x220000)
#define PML4 ((volatile u64 *)0x210000)
#define PDPT ((volatile u64 *)0x211000)
#define PD   ((volatile u64 *)0x212000)
#define PT   ((volatile u64 *)0x213000)
#define HIGH 0x00ab000000000000ull          /* PML5 entry ab */

static volatile u64 val;

/* Through compatibility mode: CR4.LA57 changes only while paging is off. */
__asm__("five_on: push %rbx; pushq $0x38; lea 1f(%rip), %rax; push %rax; lretq\n"
        ".code32\n"
        "1: mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
        "mov %cr4, %eax; xor $0x1000, %eax; mov %eax, %cr4\n"
        "mov %edi, %eax; mov %eax, %cr3\n"
        "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
        "ljmp $8, $2f\n"
        ".code64\n"
        "2: pop %rbx; ret\n");
void five_on(u64 cr3);

static void test_access(void)
{
    PML5[0] = 0x200000 | P | W | U;
    PML5[0xab] = 0x210000 | P | W | U;
    PML4[0] = 0x211000 | P | W | U;
    PDPT[0] = 0x212000 | P | W | U;
    PD[0] = 0x213000 | P | W | U;
    PT[0] = 0x320000 | P | W | U;
    PT[1] = 0;
    *(volatile u64 *)0x320000 = 0x1122334455667788ull;
    *(volatile u8 *)0x320080 = 0xc3;
    line("high", *(volatile u64 *)HIGH);
    line("pml5e", PML5[0xab] & 0xfff);
    TRY("mov %%rax, (%0)", "D"(HIGH)); show("store");
    TRY("call *%0", "D"(HIGH + 0x80)); show("call");
    TRY("mov %%rsp, %%rcx; mov %0, %%rsp; push %%rcx; pop %%rcx; mov %%rcx, %%rsp", "D"(HIGH + 0x800)); show("stack");
    TRY("mov 0x1000(%0), %%eax", "D"(HIGH)); show("not present");
    TRY("mov %%rax, 0xffd(%0)", "D"(HIGH)); show("across");
    TRY("mov (%0), %%eax", "D"(0x0100000000000000ull)); show("not canonical");
    TRY("mov (%0), %%eax", "D"(0xfe00000000000000ull)); show("not canonical");
    TRY("mov (%0), %%eax", "D"(0x00ff000000000000ull)); show("no pml5e");
    TRY("mov (%0), %%eax", "D"(0xff00000000000000ull)); show("upper half, no pml5e");
    TRY("mov (%0), %%eax", "D"(0xffff800000000000ull)); show("upper half, no pml5e");
    TRY("jmp *%0", "D"(0x0100000000000000ull)); show("jump not canonical");
    PML5[0xac] = 0x210000 | P | W | U | 0x80;
    TRY("mov (%0), %%eax", "D"(0x00ac000000000000ull)); show("pml5e with ps");
    PML5[0xac] = 0x210000 | P | U;
    TRY("mov %%eax, (%0)", "D"(0x00ac000000000000ull)); show("pml5e read-only");
    PML5[0xac] = 0x210000 | P | W | 1ull << 63;
    invlpg(0x00ac000000000000ull);
    TRY("mov %0, base_ip(%%rip); call *%0", "D"(0x00ac000000000080ull)); show("pml5e nx");
    *(volatile u8 *)USER_CODE = 0x8b;                       /* mov (%rdi), %eax; int 81h */
    *(volatile u8 *)(USER_CODE + 1) = 0x07;
    *(volatile u16 *)(USER_CODE + 2) = 0x81cd;
    run_user(USER_CODE, HIGH); show("user");
    run_user(USER_CODE, 0x00ac000000000000ull); show("user, pml5e of the supervisor");
    PT[0] = 0x321000 | P | W | U;
    *(volatile u64 *)0x321000 = 5;
    invlpg(HIGH);
    check("invlpg", *(volatile u64 *)HIGH, 5);
    PT[0] = 0x320000 | P | W | U;
    set_cr3(get_cr3());
    check("cr3", *(volatile u64 *)HIGH, *(volatile u64 *)0x320000);
}

static void test_bases(void)
{
    put("bases\n");
    TRY("mov $0xc0000100, %%ecx; mov %%edi, %%eax; mov %0, %%rdx; shr $32, %%rdx; wrmsr; mov %%fs:0, %%rax;"
        "mov %%rax, val(%%rip)", "D"(HIGH)); show("fs");
    check("fs", val, *(volatile u64 *)HIGH);
    TRY("mov $0xc0000100, %%ecx; xor %%eax, %%eax; mov $0x01000000, %%edx; wrmsr", "D"(0)); show("fs not canonical");
    TRY("mov $0xc0000082, %%ecx; xor %%eax, %%eax; mov $0x00ab0000, %%edx; wrmsr", "D"(0)); show("lstar");
    wrmsr(0xc0000100, 0);
    TRY("mov %%cr4, %%rax; xor $0x1000, %%eax; mov %%rax, %%cr4", "D"(0)); show("la57 off in long mode");
}

/* 8-byte and smaller references that are not aligned, at CPL 3 with CR0.AM and EFLAGS.AC. */
static void ac(const char *name, u64 flags, u64 arg)
{
    run_user_flags(USER_CODE, arg, flags);
    show(name);
}

static void test_ac(void)
{
    put("alignment check\n");
    ac("aligned", 2 | FL_AC, 0x30e000);
    ac("misaligned", 2 | FL_AC, 0x30e001);
    ac("ac clear", 2, 0x30e001);
    ac("not canonical", 2 | FL_AC, 0x0100000000000001ull);
    ac("not present", 2 | FL_AC, HIGH + 0x1001);
    set_cr0(get_cr0() & ~CR0_AM);
    ac("am clear", 2 | FL_AC, 0x30e001);
    set_cr0(get_cr0() | CR0_AM);
    TRY("pushf; orl $0x40000, (%%rsp); popf; mov (%0), %%eax", "D"(0x30e001ull)); show("cpl 0");
    set_flags(2);
    /* The frame of an interrupt is the supervisor's. */
    *(volatile u16 *)USER_CODE = 0x81cd;
    ac("int with ac", 2 | FL_AC, 0);
}

__attribute__((used)) void test_main(void)
{
    u32 r[4];

    cpuid(7, 0, r);
    if (!(r[2] >> 16 & 1)) {
        put("no la57\n");
        return;
    }
    user_split();
    PML5[0] = 0x200000 | P | W | U;
    for (u32 i = 1; i < 512; i++) {
        PML5[i] = 0;
    }
    five_on(0x220000);
    line("cr4", get_cr4() & 0x1000);
    test_access();
    test_bases();
    test_ac();
    PML5[0] = 0;                                            /* and back */
    five_on(0x200000);
    line("cr4", get_cr4() & 0x1000);
    TRY("mov (%0), %%eax", "D"(HIGH)); show("high address");
}
