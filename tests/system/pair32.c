/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pair32.c - a near return in 32-bit code after the function has changed CS to a segment with another base, or the stack
 * to a 16-bit one: the offset that is returned to is the call's, the place is not.
 */
#define SYS_MAIN
#include "sys.h"

#define DELTA 0x200000u

extern volatile u64 gdt[];
extern u8 where[], where_end[];

void trap(struct frame *f)
{
    line("unexpected", f->vector);
    line("at", f->ip);
    sys_exit(1);
}

/* call_it: call eax, then say 1.  What is DELTA behind it says 2.  Selector 40h: base DELTA. */
__asm__(".text\n"
        "call_it: push %ebx; call *%eax; where: mov $1, %ebx; nop; nop; nop; nop; nop; nop; nop;"
        "back: mov %ebx, %eax; pop %ebx; ret; where_end:\n"
        "plain: ret\n"
        "change: ljmp $0x40, $1f - 0x200000; 1: ret\n");
extern u8 call_it[], plain[], change[], back[];

static u32 run(const void *function)
{
    u32 r;
    __asm__ volatile("call call_it" : "=a"(r) : "a"(function) : "ecx", "edx", "memory", "cc");
    return r;
}

void test_main(void);
void test_main(void)
{
    volatile u8 *there = where + DELTA;
    u32 base = DELTA;

    gdt[8] = 0x00cf9b000000ffffull | (u64)(base & 0xffffff) << 16 | (u64)(base >> 24) << 56;
    for (u32 i = 0; i < (u32)(where_end - where); i++) {
        there[i] = where[i];
    }
    there[1] = 2;                               /* mov $2, %ebx; ljmp $8, $back */
    there[5] = 0xea;
    *(volatile u32 *)(there + 6) = (u32)back;
    *(volatile u16 *)(there + 10) = 8;
    for (u32 i = 0; i < 12; i++) {
        u32 want = i & 4 ? 2 : 1, r = run(i & 4 ? change : plain);
        if (r != want) {
            line("went to", r);
        }
    }
}
