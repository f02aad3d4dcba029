/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * intr64.c - interrupts from the PIT and the local APIC, interrupt shadows, HLT, NMI, page tables' A and D bits,
 * self-modifying code, double fault (SDM vol. 3, 6.7 to 6.9, 4.8, 8.1.3, 10.5).
 */
#define SYS_MAIN
#include "sys.h"

extern u8 idt[];
static volatile u32 ticks, nmis, apic_ticks;
static volatile u64 last_ip;
static u64 resume;

static volatile u32 *apic(u32 reg) { return (volatile u32 *)(0xfee00000ull + reg); }

void trap(struct frame *f)
{
    switch (f->vector) {
    case 0x20:
        ticks++;
        last_ip = f->ip;
        outb(0x20, 0x20);
        return;
    case 0x30:
        apic_ticks++;
        *apic(0xb0) = 0;
        return;
    case 2:
        nmis++;
        return;
    default:
        put("  #");
        put_hex(f->vector);
        put(" err ");
        put_hex(f->error);
        if (f->vector == 14) {
            u64 cr2;
            __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
            line(" cr2", cr2);
        } else {
            put("\n");
        }
        f->ip = resume;
    }
}

#define RUN(code)                                                                                \
    __asm__ volatile("lea 9f(%%rip), %%rax; mov %%rax, %0; " code "; 9:"                         \
                     : "=m"(resume) : : "rax", "rcx", "rdx", "rsi", "rdi", "memory", "cc")

static void pic_init(void)
{
    outb(0x20, 0x11);
    outb(0x21, 0x20);
    outb(0x21, 4);
    outb(0x21, 1);
    outb(0xa0, 0x11);
    outb(0xa1, 0x28);
    outb(0xa1, 2);
    outb(0xa1, 1);
    outb(0x21, 0xfe);
    outb(0xa1, 0xff);
}

static void pit(u32 mode, u32 count)
{
    outb(0x43, (u8)(0x30 | mode << 1));
    outb(0x40, (u8)count);
    outb(0x40, (u8)(count >> 8));
}

/* Page tables of entry64.S: PML4 200000, PDPT 201000, PD 202000, PT 203000; 1 GiB at 40000000 is not mapped. */
static void map_apic(void)
{
    volatile u64 *pdpt = (volatile u64 *)0x201000, *pd = (volatile u64 *)0x206000;

    pdpt[3] = 0x206003;
    pd[0x1f7] = 0xfee00093ull;
    *apic(0xf0) = 0x1ff;
    *apic(0x350) = 0x700;            /* the PIC's interrupts come through LINT0 */
}

/* IF = 0; until the PIC has a request of the PIT. */
#define UNTIL_PENDING "movl $0, ticks; mov $0xa, %%al; outb %%al, $0x20; 1: inb $0x20, %%al; test $1, %%al; jz 1b; "

static void test_pit(void)
{
    put("pit ticks end loops\n");
    pic_init();
    pit(2, 1193);
    RUN("sti; movl $0, ticks; 1: cmpl $3, ticks; jb 1b; cli");
    RUN("sti; movl $0, ticks; 1: jmp 2f; 2: incq %%rcx; cmpl $3, ticks; jae 3f; jmp 1b; 3: cli");
    /* A block that goes on at a target in front of it and is left forward, to its start. */
    RUN("movl $0, ticks; sti; jmp 2f; 1: movl $0, nmis; cmpl $2, ticks; jb 2f; jmp 3f; 2: nop; jmp 1b; 3: cli");
    /* A loop that nothing but the handler ends. */
    put("loop of one jump\n");
    RUN("movl $0, ticks; lea 1f(%%rip), %%rdx; lea 2f(%%rip), %%rsi; sti; 1: mov ticks, %%eax; test %%eax, %%eax;"
        "jz 1b; 2: cli");
    put("indirect loop\n");
    RUN("movl $0, ticks; lea 1f(%%rip), %%rdx; sti; 1: cmpl $2, ticks; ja 2f; jmp *%%rdx; 2: cli");
    put("rep movsb is interrupted\n");
    RUN("movl $0, ticks; sti; 1: mov $0x300000, %%esi; mov $0x340000, %%edi; mov $0x20000, %%ecx; rep movsb;"
        "cmpl $2, ticks; jb 1b; cli");
    put("hlt wakes\n");
    RUN("movl $0, ticks; 1: sti; hlt; cli; cmpl $2, ticks; jb 1b");
    put("hlt after sti is not missed\n");
    pit(0, 200);
    RUN(UNTIL_PENDING "sti; hlt; cli");
    line("ticks", ticks);
    put("shadow of sti\n");
    pit(0, 200);
    RUN(UNTIL_PENDING "sti; cli; mov ticks, %%ecx; mov %%ecx, nmis;"
        "sti; nop; nop; cli");
    line("before", nmis);
    line("after", ticks);
    nmis = 0;
    pit(0, 200);
    RUN(UNTIL_PENDING "lea 2f(%%rip), %%rdx; sti; nop; 2: nop; cli;"
        "sub last_ip, %%rdx; mov %%edx, ticks");
    line("ip", ticks);
    outb(0x21, 0xff);
}

static void test_apic(void)
{
    put("apic timer\n");
    *apic(0x3e0) = 0xb;
    *apic(0x320) = 0x20030;
    *apic(0x380) = 100000;
    RUN("sti; 1: cmpl $3, apic_ticks; jb 1b; cli");
    *apic(0x320) = 0x10030;
    put("self ipi\n");
    apic_ticks = 0;
    *apic(0x300) = 0x40030;
    RUN("sti; nop; nop; cli");
    line("ipis", apic_ticks);
    put("nmi\n");
    *apic(0x310) = 0;
    *apic(0x300) = 0x4400;
    RUN("1: cmpl $0, nmis; jz 1b");
    line("nmis", nmis);
}

static void bits(const char *name)
{
    put(name);
    for (u32 i = 0; i < 3; i++) {
        put(" ");
        put_hex(((volatile u64 *)0x203000)[0x3f0 + i] & 0xfff);
    }
    put("\n");
}

static void test_ad(void)
{
    volatile u64 *pte = (volatile u64 *)0x203000 + 0x3f0;      /* linear 3f0000 */

    put("accessed and dirty\n");
    bits("start");
    RUN("mov 0x3f0000, %%eax");
    bits("read");
    RUN("movl %%eax, 0x3f1000");
    bits("write");
    RUN("movq %%rax, 0x3f0ffc");
    bits("across");
    RUN("mov $0x3f2000, %%ecx; lock cmpxchg %%ecx, (%%rcx)");
    bits("cmpxchg");
    put("read-only, not present, supervisor, reserved, nx\n");
    pte[0] = 0x3f0001;
    pte[1] = 0;
    pte[2] = 0x80000000003f2003ull;
    __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
    RUN("movl %%eax, 0x3f0000");
    RUN("mov 0x3f1000, %%eax");
    RUN("movq %%rax, 0x3f0ffc");
    RUN("mov 0x3f0ffc, %%rax");
    RUN("mov $0x3f2000, %%eax; jmp *%%rax");
    pte[2] = 0x80000003f2003ull;
    __asm__ volatile("invlpg 0x3f2000" ::: "memory");
    RUN("mov 0x3f2000, %%eax");
}

static void test_smc(void)
{
    put("self-modifying code\n");
    __asm__ volatile("movl $5, %%ecx; xor %%eax, %%eax; 1: addl $1, %%eax; 2: incb 1b + 2; dec %%ecx; jnz 1b;"
                     "mov %%eax, ticks; movb $1, 1b + 2" ::: "rax", "rcx", "memory", "cc");
    line("running block", ticks);
    __asm__ volatile("movl $9f, %%edx; movb $0xc3, (%%rdx); call 9f; movl $0xc3c0ff, (%%rdx); xor %%eax, %%eax;"
                     "call 9f; mov %%eax, ticks; jmp 8f; 9: nop; nop; nop; nop; ret; 8:" ::: "rax", "rdx", "memory", "cc");
    line("called", ticks);
    /* Next instruction of the same block, by a string instruction. */
    __asm__ volatile("mov $7f, %%edi; mov $6f, %%esi; mov $2, %%ecx; xor %%eax, %%eax; rep movsb; 7: nop; nop; "
                     "mov %%eax, ticks; jmp 8f; 6: .byte 0xff, 0xc0; 8:"
                     ::: "rax", "rcx", "rsi", "rdi", "memory", "cc");
    line("next instruction", ticks);
    /* Through another linear address: 4 MiB page at 400000 maps 400000; page 3f3 is pointed at the code. */
    ((volatile u64 *)0x203000)[0x3f3] = 0x150003;
    __asm__ volatile("invlpg 0x3f3000; mov $0x150000, %%edx; movl $0xc3c0ff90, (%%rdx); xor %%eax, %%eax; call *%%rdx;"
                     "movb $0x48, 0x3f3000; movb $0xc8, 0x3f3002; call *%%rdx; mov %%eax, ticks"
                     ::: "rax", "rdx", "memory", "cc");
    line("alias", ticks);
    /* Across a page boundary. */
    __asm__ volatile("mov $0x150ffe, %%edx; movb $0xb8, (%%rdx); movl $0x11223344, 1(%%rdx); movb $0xc3, 5(%%rdx);"
                     "call *%%rdx; movb $0x55, 4(%%rdx); call *%%rdx; mov %%eax, ticks"
                     ::: "rax", "rdx", "memory", "cc");
    line("across pages", ticks);
}

static void test_double(void)
{
    put("double fault\n");
    idt[13 * 16 + 5] = 0x0e;                                /* #GP not present: #NP; contributory twice */
    RUN("mov $0x1234, %%eax; mov %%eax, %%ds");
    idt[14 * 16 + 5] = 0x0e;
    RUN("mov 0x3f1000, %%eax");
    put("triple fault\n");
    idt[8 * 16 + 5] = 0x0e;
    RUN("mov 0x3f1000, %%eax");
}

__attribute__((used)) void test_main(void)
{
    map_apic();
    test_pit();
    test_apic();
    test_ad();
    test_smc();
    test_double();
}
