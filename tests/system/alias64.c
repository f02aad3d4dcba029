/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * alias64.c - the same two pages of code at many linear addresses, as shared libraries are in many processes.
 *
 * Whatever depends on RIP must be that of the address in use: operands, pushed return addresses, branches into the other
 * page, the addresses of faults and of x87 instructions.  A store to the code is seen at all of them, and another page
 * behind one of them by that one only.  (SDM vol. 1, 3.5.1 and 3.7.5.1; vol. 3, 4.10 and 11.6.)
 */
#define SYS_MAIN
#include "lib64.h"

#define PML4    ((volatile u64 *)0x200000)
#define PDPT    ((volatile u64 *)0x210000)
#define PT      ((volatile u64 *)0x212000)
#define PAGE(n) (0x330000ull + (n) * 0x1000)    /* 0, 1: the code; 2: another second page */
#define FAR     0x1000
#define SPACES  3u
#define PLACES  5u

/* Page 0: functions, each at a multiple of 64.  Page 1: what they reach there. */
__asm__(".text; .balign 4096; code:"
        "where: lea where(%rip), %rax; ret;"
        ".balign 64; load: mov value(%rip), %eax; add more(%rip), %eax; movb $7, seen(%rip); add seen(%rip), %eax; ret;"
        ".balign 64; pushed: call 1f; 1: pop %rax; ret;"
        ".balign 64; returned: call inner; ret;"
        ".balign 64; inner: mov (%rsp), %rax; ret;"
        ".balign 64; called: lea inner(%rip), %rcx; call *%rcx; ret;"
        ".balign 64; loops: xor %eax, %eax; mov $5, %ecx; back: add %ecx, %eax; cmp $100, %ecx; ja far_end; jmp far_loop;"
        ".balign 64; number: mov $0x11223344, %eax; cmp $1, %eax; je far_end; ret;"
        ".balign 64; faults: mov $3, %eax; nop; ud2; ret;"
        ".balign 64; divides: xor %ecx, %ecx; mov $1, %eax; xor %edx, %edx; div %ecx; ret;"
        ".balign 64; reads: movabs $0x123456789000, %rcx; test %ecx, %ecx; mov (%rcx), %eax; ret;"
        ".balign 64; refused: mov $0x7fffffff, %ecx; rdmsr; ret;"
        ".balign 64; leaves: nop; int $0x81; ret;"
        ".balign 64; x87: fld1; fstp %st(0); fnstenv -64(%rsp); mov -52(%rsp), %eax; ret;"
        ".balign 4096; far: "
        "far_loop: dec %ecx; jnz back; "
        "far_end: ret;"
        ".balign 64; value: .long 0x1000; more: .long 0x234; seen: .long 0; code_end:");
extern u8 code[], code_end[], where[], load[], pushed[], returned[], inner[], called[], loops[], number[], faults[],
    divides[], reads[], refused[], leaves[], x87[], value[];

/* The first is at the beginning of its 2 MiB, the others are not: page numbers of some and of more bits. */
static u32 entry(u32 n) { return n ? 0x100 + 2 * n : 0; }
static u64 place(u32 space, u32 n) { return (u64)(space + 1) << 39 | (u64)entry(n) << 12; }

static void map(void)
{
    for (u32 i = 0; i < SPACES; i++) {
        PML4[1 + i] = (u64)PDPT | 7;
    }
    PDPT[0] = (u64)(PDPT + 512) | 7;
    PDPT[512] = (u64)PT | 7;
    for (u32 i = 0; i < PLACES; i++) {
        PT[entry(i)] = PAGE(0) | 3;
        PT[entry(i) + 1] = PAGE(1) | 3;
    }
    set_cr3(get_cr3());
}

static u64 run(u64 at, const u8 *f)
{
    u64 rax;
    __asm__ volatile("call *%1" : "=a"(rax) : "r"(at + (u64)(f - code)) : "rcx", "rdx", "memory", "cc");
    return rax;
}

/* Where it faulted, from the function's start; the vector in *vector. */
static u64 fault(u64 at, const u8 *f, int *vector)
{
    u64 ip = at + (u64)(f - code);

    TRY("call *%0", "D"(ip));
    *vector = got.vector;
    return got.ip + base_ip - ip;
}

static void check_fault(const char *name, u64 at, const u8 *f, int vector, u64 off)
{
    int v;
    u64 o = fault(at, f, &v);

    check(name, (u64)v, (u64)vector);
    check(name, o, off);
}

static void visit(u64 at, u32 num)
{
    check("lea", run(at, where), at);
    check("operands", run(at, load), 0x123b);
    check("pushed", run(at, pushed), at + (u64)(pushed - code) + 5);
    check("return address", run(at, returned), at + (u64)(returned - code) + 5);
    check("indirect call", run(at, called), at + (u64)(called - code) + 9);
    check("loop", run(at, loops), 15);
    check("number", run(at, number), num);
    check_fault("#UD", at, faults, 6, 6);
    check_fault("#DE", at, divides, 0, 9);
    check_fault("#PF", at, reads, 14, 12);
    check_fault("#GP", at, refused, 13, 5);
    check_fault("int", at, leaves, 0x81, 3);
    check("x87", run(at, x87) & 0xffffffff, (at + (u64)(x87 - code) + 2) & 0xffffffff);
}

static void visit_all(u32 num)
{
    for (u32 s = 0; s < SPACES; s++) {
        for (u32 n = 0; n < PLACES; n++) {
            visit(place(s, n), num);
        }
    }
}

/* The second page of one place becomes another page: its loop counts differently. */
static void test_remap(void)
{
    put("another page\n");
    for (u32 i = 0; i < 4096; i++) {
        ((volatile u8 *)PAGE(2))[i] = ((volatile u8 *)PAGE(1))[i];
    }
    *(volatile u16 *)PAGE(2) = 0xe983;           /* sub $2, %ecx in the place of dec and the jump's opcode */
    ((volatile u8 *)PAGE(2))[2] = 2;
    ((volatile u8 *)PAGE(2))[3] = 0xc3;
    *(volatile u32 *)(PAGE(2) + (u64)(value - code) - FAR) = 0x2000;
    for (u32 i = 0; i < 4; i++) {
        PT[entry(1) + 1] = PAGE(2) | 3;
        for (u32 s = 0; s < SPACES; s++) {
            invlpg(place(s, 1) + FAR);
        }
        for (u32 s = 0; s < SPACES; s++) {
            for (u32 n = 0; n < PLACES; n++) {
                check("loop", run(place(s, n), loops), n == 1 ? 5 : 15);
                check("operands", run(place(s, n), load), n == 1 ? 0x223b : 0x123b);
            }
        }
        PT[entry(1) + 1] = PAGE(1) | 3;
        for (u32 s = 0; s < SPACES; s++) {
            invlpg(place(s, 1) + FAR);
        }
        visit_all(0x11223344);
    }
}

/* A store through one place is seen at all. */
static void test_stores(void)
{
    put("stores\n");
    for (u32 i = 0; i < SPACES * PLACES; i++) {
        *(volatile u32 *)(place(i % SPACES, i / SPACES) + (u64)(number - code) + 1) = 0x11223344 + i;
        visit_all(0x11223344 + i);
    }
}

void test_main(void);
void test_main(void)
{
    for (u64 i = 0; i < (u64)(code_end - code); i++) {
        ((volatile u8 *)PAGE(0))[i] = code[i];
    }
    map();
    put("places\n");
    for (u32 i = 0; i < 3; i++) {
        visit_all(0x11223344);
    }
    test_remap();
    test_stores();
}
