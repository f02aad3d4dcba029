/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * modes64.c - into IA-32e mode and out of it: what CR0, CR4 and EFER allow when, the steps through compatibility mode,
 * legacy paging in between, 16-bit code and real mode reached from 64-bit code.
 * (SDM vol. 3, 4.1.2, 9.8.5; vol. 2, MOV CR; APM vol. 2, 14.6, 14.7.)
 */
/* with: ring64.S */
#define SYS_MAIN
#include "ring64.h"

#define PG 0x80000000u

CODE(write_cr0, "mov %rax, %cr0");
CODE(write_cr4, "mov %rax, %cr4");
CODE(write_cr3, "mov %rax, %cr3");
CODE(write_efer, "mov $0xc0000080, %ecx; wrmsr");

/* Compatibility mode, ring 0. */
CODE32(off_and_on, "mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0;"
                   "mov $0xc0000080, %ecx; rdmsr; mov %eax, %esi;"         /* LMA is off */
                   "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0;"
                   "rdmsr; mov %eax, %edi");
/* Out of long mode for good: LME off, 32-bit paging on, 64-bit paging again. */
CODE32(legacy_paging, "mov %cr3, %ebp; mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0;"
                      "mov $0xc0000080, %ecx; rdmsr; and $0xfffffeff, %eax; wrmsr;"
                      "mov %cr4, %eax; and $0xffffffdf, %eax; or $0x10, %eax; mov %eax, %cr4;"
                      "mov %ebx, %cr3; mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0;"
                      "mov 0x800000, %esi; str %edi; lar %edi, %ebx;"
                      "mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0;"
                      "mov %cr4, %eax; and $0xffffffef, %eax; or $0x20, %eax; mov %eax, %cr4;"
                      "mov %ebp, %cr3; rdmsr; or $0x100, %eax; wrmsr;"
                      "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0");
/* LME goes off and on while paging is off; LMA follows PG. */
CODE32(lme_with_pg, "mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0;"
                    "mov $0xc0000080, %ecx; rdmsr; and $0xfffffeff, %eax; wrmsr; rdmsr; mov %eax, %esi;"
                    "or $0x100, %eax; wrmsr; rdmsr; mov %eax, %edi;"
                    "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0; rdmsr; mov %eax, %ebx");
/* To real mode and back: through a 16-bit code segment, paging and protection off. */
CODE16(to_real, "movl %cr0, %eax; andl $0x7ffffffe, %eax; movl %eax, %cr0;"
                "ljmpw *%cs:1f - to_real; 1: .word 2f - to_real, 0x700;"
                "2: movw %cs, %si; movw $0x1234, %ax; movw %ax, %ds; movw %ds, %di; movl %cr0, %edx;"
                "movl %cr0, %eax; orl $0x80000001, %eax; movl %eax, %cr0;"
                "data32 ljmp *%cs:3f - to_real; 3: .long to_real_back; .word 0x38");
CODE32(to_real_back, "mov $0x10, %eax; mov %eax, %ds; mov %eax, %ss; mov $0x7c000, %esp");

static void line2(const char *name)
{
    put(name);
    put_long(": #", out.vector);
    put_long(" err ", out.error);
    put_long(" esi ", out.rsi);
    put_long(" edi ", out.rdi);
    put_long(" ebx ", out.rbx);
    put_long(" edx ", out.rdx);
    put_word(" cs ", out.cs);
    put("\n");
}

static void refused(const char *name, const u8 *code, u64 value, u32 kind)
{
    begin(0);
    if (kind) {
        begin_compat(0);
    }
    start.rax = value;
    start.rdx = value >> 32;
    go(code);
    put(name);
    show_line("");
}

static u64 cr0, cr4;

static void rules(void)
{
    __asm__ volatile("mov %%cr0, %0; mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
    refused("PG off in 64-bit code", write_cr0, cr0 & ~(u64)PG, 0);
    refused("PE off", write_cr0, cr0 & ~(u64)(PG | 1), 0);
    refused("PE off, PG on", write_cr0, cr0 & ~1ul, 0);
    refused("NW without CD", write_cr0, (cr0 & ~0x40000000ul) | 0x20000000, 0);
    refused("high bit of CR0", write_cr0, cr0 | 1ul << 32, 0);
    refused("reserved bit of CR0", write_cr0, cr0 | 1ul << 6, 0);
    refused("PAE off", write_cr4, cr4 & ~0x20ul, 0);
    refused("reserved bit of CR4", write_cr4, cr4 | 1ul << 15, 0);
    refused("high bit of CR4", write_cr4, cr4 | 1ul << 32, 0);
    refused("LA57 on", write_cr4, cr4 ^ 1ul << 12, 0);
    refused("CR3 beyond the address width", write_cr3, 0x200000 | 1ul << 62, 0);
    refused("LME off", write_efer, rdmsr(0xc0000080) & ~0x100ul, 0);
    refused("LMA off", write_efer, rdmsr(0xc0000080) & ~0x400ul, 0);
    refused("reserved bit of EFER", write_efer, rdmsr(0xc0000080) | 1ul << 9, 0);
    put_long("efer ", rdmsr(0xc0000080));
    put("\n");
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0));
}

__attribute__((used)) void test_main(void)
{
    static u32 dir[1024] __attribute__((aligned(4096)));

    ring_setup();
    rules();
    begin_compat(0);
    go(off_and_on);
    line2("paging off and on");
    dir[0] = 0x83;
    dir[1] = 0x400083;
    dir[2] = 0x400083;                  /* 800000 is 400000 */
    *(volatile u32 *)0x400000 = 0x600dcafe;
    begin_compat(0);
    start.rbx = (u64)dir;
    go(legacy_paging);
    line2("32-bit paging");
    begin_compat(0);
    go(lme_with_pg);
    line2("lme off and on");
    for (u32 i = 0; i < 0x80; i++) {
        ((u8 *)0x7000)[i] = to_real[i];
    }
    set_gdt(SCRATCH, seg_desc(0x7000, 0xffff, 0x9b, 0));
    set_gdt(SCRATCH + 8, seg_desc(0, 0xffff, 0x93, 0));
    begin(0);
    start.cs = SCRATCH;
    start.ds = start.es = start.ss = SCRATCH + 8;
    start.rsp = 0x6000;
    go((void *)0);
    line2("real mode and back");
    rules();
}
