/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pair64.c - what may change between a call and its return: the page that is returned to, by INVLPG, MOV CR3 or another
 * PCID; the mode; the stack; the return address.  Each call has been made and returned from before, so that whatever
 * is remembered of it is.  (SDM vol. 2, CALL and RET; vol. 3, 4.10.)
 */
#define SYS_MAIN
#include "lib64.h"

#define LIN    0x8000000000ull
#define PML4   ((volatile u64 *)0x200000)
#define PDPT   ((volatile u64 *)0x210000)
#define PT     ((volatile u64 *)0x212000)
#define OTHER  ((volatile u64 *)0x213000)      /* PML4 and tables of the second address space */
#define PAGE(n) (0x320000ull + (n) * 0x1000)

static volatile u32 ticks;

/* In page n: call rdi; mov eax, n; ret. */
static void make_pages(void)
{
    static const u8 code[] = { 0xff, 0xd7, 0xb8, 0, 0, 0, 0, 0xc3 };

    for (u32 n = 0; n < 2; n++) {
        for (u32 i = 0; i < sizeof(code); i++) {
            ((volatile u8 *)PAGE(n))[i] = code[i];
        }
        ((volatile u8 *)PAGE(n))[3] = (u8)n;
    }
}

static void map(volatile u64 *tables, u32 page)
{
    for (u32 i = 0; i < 4 * 512; i++) {
        tables[i] = i < 512 ? PML4[i] : 0;
    }
    tables[1] = (u64)(tables + 512) | 7;
    tables[512] = (u64)(tables + 1024) | 7;
    tables[1024] = (u64)(tables + 1536) | 7;
    tables[1536] = PAGE(page) | 3;
}

static u32 call_page(const void *function, u64 arg)
{
    u32 r;
    __asm__ volatile("call *%1" : "=a"(r) : "r"(LIN), "D"(function), "S"(arg) : "rcx", "rdx", "memory", "cc");
    return r;
}

/* With rsi = 0 nothing happens. */
#define FUNCTION(name, text) extern u8 name[]; __asm__(".text; " #name ": test %rsi, %rsi; jz 1f; " text "; 1: ret")
FUNCTION(by_invlpg, "mov %rsi, 0x212000; mov $0x8000000000, %rdx; invlpg (%rdx)");
FUNCTION(by_cr3, "mov %rsi, 0x212000; mov %cr3, %rax; mov %rax, %cr3");
FUNCTION(by_other_cr3, "mov %rsi, %cr3");
FUNCTION(sets_ts, "mov %cr0, %rax; or $8, %rax; mov %rax, %cr0");
FUNCTION(moves_return, "mov %rsi, (%rsp)");

static void expect(const char *name, u32 got_page, u32 page)
{
    if (got_page != page) {
        line(name, got_page);
    }
}

static void test_remap(void)
{
    put("remapped\n");
    for (u32 way = 0; way < 2; way++) {
        const void *f = way ? by_cr3 : by_invlpg;
        for (u32 i = 0; i < 12; i++) {
            PT[0] = PAGE(0) | 3;
            set_cr3(get_cr3());
            expect("same", call_page(f, 0), 0);
            expect("same again", call_page(f, 0), 0);
            expect("changed", call_page(f, PAGE(1) | 3), 1);
            expect("same", call_page(f, 0), 1);
            expect("changed back", call_page(f, PAGE(0) | 3), 0);
        }
    }
}

static void test_spaces(void)
{
    u64 cr3 = get_cr3(), cr4 = get_cr4(), keep = 1ull << 63;

    put("other address space\n");
    PT[0] = PAGE(0) | 3;
    set_cr3(cr3);
    for (u32 i = 0; i < 12; i++) {
        expect("same", call_page(by_other_cr3, 0), 0);
        expect("other", call_page(by_other_cr3, (u64)OTHER), 1);
        expect("same", call_page(by_other_cr3, 0), 1);
        expect("back", call_page(by_other_cr3, cr3), 0);
    }
    set_cr4(cr4 | 0x20000);
    for (u32 i = 0; i < 12; i++) {
        expect("pcid same", call_page(by_other_cr3, 0), 0);
        expect("pcid other", call_page(by_other_cr3, (u64)OTHER | 1 | keep), 1);
        expect("pcid same", call_page(by_other_cr3, 0), 1);
        expect("pcid back", call_page(by_other_cr3, cr3 | keep), 0);
    }
    set_cr4(cr4);
    set_cr3(cr3);
}

static void test_mode(void)
{
    put("other mode\n");
    for (u64 i = 0; i < 8; i++) {
        TRY("call *%1; fnop", "S"(i & 4), "D"(sets_ts));
        set_cr0(get_cr0() & ~CR0_TS);
        if (got.vector != (i & 4 ? 7 : -1)) {
            line("vector", (u64)got.vector);
        }
    }
}

static void test_out_of_reach(void)
{
    put("return to nowhere\n");
    for (u64 i = 0; i < 8; i++) {
        u64 to = i & 4 ? 0x0000900000000000ull : 0;
        TRY("mov %1, base_ip; call *%1", "S"(to), "D"(moves_return));
        if (got.vector != (i & 4 ? 13 : -1) || (i & 4 && got.ip != 9)) {
            line("vector", (u64)got.vector);
            line("at", got.ip);
        }
    }
}

/* The last instruction of the lower half is a call: the function's RET faults. */
static void test_end_of_half(void)
{
    put("return across the hole\n");
    ((volatile u8 *)PAGE(2))[0xffe] = 0xff;
    ((volatile u8 *)PAGE(2))[0xfff] = 0xd7;
    PML4[255] = 0x210007;
    PDPT[511] = 0x211007;
    ((volatile u64 *)0x211000)[511] = 0x212007;
    PT[511] = PAGE(2) | 3;
    for (u32 i = 0; i < 4; i++) {
        TRY("mov %1, base_ip; mov $0x7ffffffffffe, %%rax; jmp *%%rax", "S"(0), "D"(moves_return));
        if (got.vector != 13 || got.ip != 9) {
            line("vector", (u64)got.vector);
            line("at", got.ip);
        }
    }
}

/* sum(n) through two calls of its own, each return address in turn; deeper than anything that remembers calls. */
__asm__(".text; sum: test %edi, %edi; jz 2f; dec %edi; test $1, %edi; jz 1f; push %rcx; call sum; pop %rcx; inc %eax;"
        "inc %edi; ret; 1: call sum; add $0x100, %rax; inc %edi; ret; 2: xor %eax, %eax; ret");

static void test_depth(void)
{
    u64 r, n = 20000;

    __asm__ volatile("mov %%rsp, %%rbx; mov $0x400000, %%esp; call sum; mov %%rbx, %%rsp"
                     : "=a"(r), "+D"(n) : : "rbx", "rcx", "memory", "cc");
    line("deep recursion", r);
    line("and back", n);
}

/* A second stack whose addresses are those of the first plus 64 KiB, 128 KiB...: calls there do not disturb. */
__asm__(".text; nested: push %rbx; mov %rsp, %rbx; lea (%rsp, %rsi), %rsp; call 3f; call 4f;"
        "mov %rbx, %rsp; pop %rbx; ret; 3: add $1, %eax; ret; 4: add $0x10, %eax; ret");

static void test_stacks(void)
{
    u32 r = 0;

    for (u64 i = 0; i < 40; i++) {
        __asm__ volatile("mov %%rsp, %%rdx; mov $0x340000, %%esp; call nested; add $0x100, %%eax; call nested;"
                         "mov %%rdx, %%rsp"
                         : "+a"(r) : "S"((i & 3) * 0x10000 + 16 * (i & 4)) : "rbx", "rcx", "rdx", "memory", "cc");
    }
    line("stacks", r);
}

static int tick(struct frame *f)
{
    if (f->vector != 0x20) {
        return 0;
    }
    outb(0x20, 0x20);
    if (++ticks >= 3) {
        f->ip = resume_ip;
        f->sp = resume_sp;
        f->flags &= ~(u64)FL_IF;
    }
    return 1;
}

/* A loop of nothing but returns to one place must see an interrupt. */
static void test_interrupt(void)
{
    static const u8 init[] = { 0x11, 0x20, 4, 1 };

    put("loop of returns\n");
    for (u32 i = 0; i < 4; i++) {
        outb(i ? 0x21 : 0x20, init[i]);
    }
    outb(0x21, 0xfe);
    ((volatile u64 *)0x201000)[3] = 0x206003;   /* the local APIC, which lets the PIC's interrupts through */
    ((volatile u64 *)0x206000)[0x1f7] = 0xfee00093ull;
    *(volatile u32 *)0xfee000f0ull = 0x1ff;
    *(volatile u32 *)0xfee00350ull = 0x700;
    outb(0x43, 0x34);
    outb(0x40, 0xa9);
    outb(0x40, 0x04);
    on_trap = tick;
    TRY("mov $4, %%ecx; 2: call 4f; 3: lea 3b(%%rip), %%rax; dec %%ecx; jz 5f; jns 2b; push %%rax; 4: ret;"
        "5: sti; push %%rax; ret", "i"(0));
    on_trap = 0;
    outb(0x21, 0xff);
    line("ticks", ticks);
}

void test_main(void);
void test_main(void)
{
    make_pages();
    PML4[1] = 0x210007;
    PDPT[0] = 0x211007;
    ((volatile u64 *)0x211000)[0] = 0x212007;
    PT[0] = PAGE(0) | 3;
    set_cr3(get_cr3());
    map(OTHER, 1);
    test_remap();
    test_spaces();
    test_mode();
    test_out_of_reach();
    test_end_of_half();
    test_depth();
    test_stacks();
    test_interrupt();
}
