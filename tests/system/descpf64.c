/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * descpf64.c - page faults on what the processor reads and writes by itself: descriptor tables, the accessed and busy
 * bits, the IDT, the TSS with its I/O map, the stack of a handler.  All are supervisor accesses, whatever the CPL.
 * (SDM vol. 3, 4.6.1, 4.7, 5.11.5, 6.15 table 6-5.)
 */
/* with: ring64.S */
#define SYS_MAIN
#include "ring64.h"

CODE(load_es, "mov %eax, %es");
CODE(int_n, "int $0x90");
CODE(int_60, "int $0x60");
CODE(undefined, "ud2");
CODE(protection, "mov $0x1000, %eax; mov %eax, %fs");
CODE(read_it, "mov (%rbx), %rax");
CODE(port, "in %dx, %al");
CODE(call_far, "lcall *(%rbx)");
CODE(push_far, "mov %rcx, %rsp; lcall *(%rbx)");
CODE(return_far, "mov %rcx, %rsp; lretq");
CODE(return_int, "mov %rcx, %rsp; iretq");
CODE(lar_it, "lar %eax, %ecx");
CODE(ltr_it, "ltr %ax");
CODE(target, "nop");

/* Pages at 500000 and up, made of small pages instead of entry64.S's large one: present, absent, read-only, supervisor. */
enum { GOOD = 0x500000, NEXT = 0x501000, ABSENT = 0x502000, READONLY = 0x503000, SUPER = 0x504000, TABLE = 0x506000 };

static u64 table[512] __attribute__((aligned(4096)));

static void set_page(u64 at, u64 bits)
{
    table[(at >> 12) & 511] = bits ? at | bits : 0;
    __asm__ volatile("invlpg (%0)" : : "r"(at) : "memory");
}

static void pages(void)
{
    for (u32 i = 0; i < 512; i++) {
        table[i] = (0x400000 + 0x1000 * i) | 7;
    }
    ((u64 *)0x202000)[2] = (u64)table | 7;
    __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
    set_page(ABSENT, 0);
    set_page(READONLY, 5);
    set_page(SUPER, 3);
}

static void result(const char *name)
{
    u64 cr2;

    __asm__ volatile("mov %%cr2, %0; mov %1, %%cr2" : "=&r"(cr2) : "r"(0ul));
    show(name);
    put_long(" cr2 ", cr2 & ~7ul);      /* the byte or the word with the accessed bit */
    put_long(" rsp ", out.rsp);
    put("\n");
}

static void gdt_at(u64 base, u32 limit)
{
    struct table t = { (u16)limit, base };

    __asm__ volatile("lgdt %0" : : "m"(t));
}

/* The GDT's first page is good, its second is `bits`. */
static void tables(void)
{
    u64 *g = (u64 *)NEXT - 64;

    for (u32 k = 0; k < 4; k++) {
        static const char *const names[4] = { "absent", "read-only", "supervisor", "user" };
        static const u8 bits[4] = { 0, 5, 3, 7 };
        for (u32 ring = 0; ring < 4; ring += 3) {
            set_page(NEXT, 7);
            for (u32 i = 0; i < 64; i++) {
                g[i] = ring_gdt[i];
            }
            g[64] = seg_desc(0, 0xfffff, 0xf2, 12);     /* selector 200: not accessed */
            g[65] = seg_desc(0, 0xfffff, 0xf3, 12);
            g[66] = gate_desc(CODE0, (u64)target, 0xec, 0);
            g[67] = 0;
            set_page(NEXT, bits[k]);
            gdt_at((u64)g, 0x21f);
            put(names[k]);
            put_long(" ring ", ring);
            begin(ring);
            start.rax = 0x203;
            go(load_es);
            result(" load");
            begin(ring);
            start.rax = 0x20b;
            go(load_es);
            result("   accessed");
            begin(ring);
            start.rax = 0x203;
            go(lar_it);
            result("   lar");
            {
                static struct {
                    u32 off;
                    u16 sel;
                } __attribute__((packed)) p = { 0, 0x210 };
                begin(ring);
                start.rbx = (u64)&p;
                go(call_far);
                result("   gate");
            }
        }
    }
    set_page(NEXT, 7);
    load_gdt(sizeof(ring_gdt) - 1);
}

static void idt_pages(void)
{
    u64 base = NEXT - 0x800;    /* vectors from 80h on are in the next page */
    struct table t = { 0xfff, base };

    for (u32 i = 0; i < 512; i++) {
        ((u64 *)base)[i] = ((u64 *)idt)[i];
    }
    /* INT 81h is there too: the snippets do not get to it. */
    set_page(NEXT, 0);
    __asm__ volatile("lidt %0" : : "m"(t));
    begin(3);
    go(int_n);
    t.base = (u64)idt;
    __asm__ volatile("lidt %0" : : "m"(t));
    set_page(NEXT, 7);
    result("idt");
}

static void ist(u32 vector, u32 n)
{
    set_idt(vector, CODE0, (u64)ring_stubs + 16 * vector, 0xee, n);
}

static void handler_stack(void)
{
    static const struct {
        const char *name;
        const u8 *code;
        u64 rbx;
    } list[] = { { "int", int_60, 0 }, { "#ud", undefined, 0 }, { "#gp", protection, 0 }, { "#pf", read_it, ABSENT + 8 } };
    static const u64 stacks[] = { ABSENT + 0x800, ABSENT + 0x1010, READONLY + 0x100, SUPER + 0x100 };

    ist(8, 2);
    for (u32 k = 0; k < 4; k++) {
        for (u32 i = 0; i < 4; i++) {
            set_tss64(4, stacks[k]);
            ist(14, list[i].code == read_it ? 0 : 1);
            begin(3);
            start.rbx = list[i].rbx;
            go(list[i].code);
            put_long("stack ", stacks[k]);
            put(" ");
            result(list[i].name);
        }
    }
    set_tss64(4, STACK(0));
    default_gate(14);
    default_gate(8);
}

static void io_map(void)
{
    /* The map is in a page that is absent: port 80h is looked for at ABSENT + 10h. */
    u32 *t = (u32 *)(ABSENT - 0x68);
    u64 lo, hi;

    for (u32 i = 0; i < 25; i++) {
        t[i] = tss[i];
    }
    t[25] = 0x680000;
    set_system(TSS0, (u64)t, 0x2068, 0x89);
    __asm__ volatile("ltr %w0" : : "r"(TSS0));
    begin(3);
    start.rdx = 0x80;
    go(port);
    result("i/o map");
    load_tss(0x67);
    lo = seg_desc(READONLY, 0x67, 0x89, 0);
    set_page(NEXT, 7);
    for (u32 i = 0; i < 64; i++) {
        ((u64 *)NEXT)[i] = ring_gdt[i];
    }
    ((u64 *)NEXT)[SCRATCH / 8] = lo;
    ((u64 *)NEXT)[SCRATCH / 8 + 1] = 0;
    set_page(NEXT, 5);
    gdt_at(NEXT, 0x1ff);
    begin(0);
    start.rax = SCRATCH;
    go(ltr_it);
    result("busy bit");
    hi = ((volatile u64 *)NEXT)[SCRATCH / 8];
    put(hi == lo ? "as it was\n" : "changed\n");
    load_gdt(sizeof(ring_gdt) - 1);
    set_page(NEXT, 7);
}

static void stacks_of_returns(void)
{
    static struct {
        u32 off;
        u16 sel;
    } __attribute__((packed)) p = { 0, CODE3 | 3 };

    p.off = (u32)(u64)target;
    ist(14, 1);
    for (u32 ring = 0; ring < 4; ring += 3) {
        p.sel = ring ? CODE3 | 3 : CODE0;
        begin(ring);
        start.rbx = (u64)&p;
        start.rcx = ABSENT + 0x1008;        /* its page is read-only */
        go(push_far);
        result("far call");
        begin(ring);
        start.rcx = ABSENT - 8;
        go(return_far);
        result("far ret");
        begin(ring);
        start.rcx = ABSENT - 16;
        go(return_int);
        result("iret");
    }
    default_gate(14);
}

__attribute__((used)) void test_main(void)
{
    ring_setup();
    pages();
    tables();
    idt_pages();
    handler_stack();
    io_map();
    stacks_of_returns();
}
