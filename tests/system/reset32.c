/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reset32.c - exceptions while exceptions are delivered: which become a double fault, and shutdown, which resets the
 * machine; the other ways to a reset.  Each boot does one of them: the number is kept in RAM, which a reset leaves
 * alone.  (SDM vol. 3, 6.15 table 6-5, 9.1.1.)
 */
/* with: ring32.S */
/* reboots */
#define SYS_MAIN
#include "ring32.h"

CODE(nothing, "nop");
CODE(divide, "xor %ecx, %ecx; div %ecx");
CODE(bound, "mov $0x70000, %ebx; movl $5, (%ebx); movl $6, 4(%ebx); bound %ecx, (%ebx)");
CODE(invalid, "ud2");
CODE(no_fpu, "mov %cr0, %eax; or $8, %eax; mov %eax, %cr0; fnop");
CODE(protection, "mov $0x1000, %eax; mov %eax, %fs");
CODE(absent, "mov $0x50, %eax; mov %eax, %fs");
CODE(stack, "mov $0x50, %eax; mov %eax, %ss");
CODE(breakpoint, "int3");
CODE(page, "mov 0x800000, %eax");

static const struct {
    const char *name;
    const u8 *code;
    u32 vector;
} list[] = {
    { "#de", divide, 0 }, { "#bp", breakpoint, 3 }, { "#br", bound, 5 }, { "#ud", invalid, 6 }, { "#nm", no_fpu, 7 },
    { "#np", absent, 11 }, { "#ss", stack, 12 }, { "#gp", protection, 13 }, { "#pf", page, 14 },
};

static void set_paging(void)
{
    static u32 dir[1024] __attribute__((aligned(4096)));

    dir[0] = 0x83;
    dir[1] = 0x400083;
    __asm__ volatile("mov %%cr4, %%eax; or $0x10, %%eax; mov %%eax, %%cr4; mov %0, %%cr3; mov %%cr0, %%eax;"
                     "or $0x80000000, %%eax; mov %%eax, %%cr0" : : "r"(dir) : "eax", "memory");
}

/* `second`: 0 the gate is absent, 1 it leads to a bad segment. */
static void pairs(void)
{
    for (u32 second = 0; second < 2; second++) {
        for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
            u32 v = list[i].vector;
            set_gdt(SCRATCH, seg_desc(0, 0xfffff, 0x13, 12));
            set_idt(v, gate_desc(second ? 0x1000 : CODE0, (u32)ring_stubs + 16 * v, second ? 0xee : 0x6e, 0));
            begin(0);
            go(list[i].code);
            __asm__ volatile("clts");
            put(list[i].name);
            show_line(second ? " bad segment:" : " absent gate:");
            default_gate(v);
        }
    }
    /* A third step: the #NP or #GP of a benign exception's delivery has no gate either. */
    set_idt(6, gate_desc(CODE0, 0, 0x6e, 0));
    set_idt(11, gate_desc(CODE0, 0, 0x6e, 0));
    begin(0);
    go(invalid);
    show_line("#ud, no #np:");
    default_gate(6);
    default_gate(11);
    set_idt(14, gate_desc(0x1000, 0, 0xee, 0));
    begin(3);
    go(page);
    show_line("#pf in ring 3, bad segment:");
    default_gate(14);
}

static void boot_state(u32 boot)
{
    u32 cr4, dr7, efer;

    __asm__ volatile("mov %%cr4, %0; mov %%dr7, %1" : "=r"(cr4), "=r"(dr7));
    __asm__ volatile("rdmsr" : "=a"(efer) : "c"(0xc0000080) : "edx");
    put_long("boot ", boot);
    put_long(" cr4 ", cr4);
    put_long(" dr7 ", dr7);
    put_long(" efer ", efer);
    put("\n");
}

static void set_limit(u32 limit)
{
    struct table t = { (u16)limit, (u32)idt };

    __asm__ volatile("lidt %0" : : "m"(t));
}

void real_mode(void);
__asm__(".text; .code16; .globl real_start, real_end; real_start: lidtw %cs:0x7c00 + 1f - real_start; int3;"
        "2: jmp 2b; 1: .word 7; .long 0; real_end: .code32");

static void triple_in_real_mode(void)
{
    static const u8 code[] = { 0xb8, 0x50, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8,
                               0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0, 0xea, 0x00, 0x7c, 0x00, 0x00 };

    for (u32 i = 0; i < sizeof(code); i++) {
        ((u8 *)0x7b00)[i] = code[i];
    }
    real_mode();
}

__attribute__((used)) void test_main(void)
{
    volatile u32 *magic = (volatile u32 *)0x9000, *boot = (volatile u32 *)0x9004;

    if (*magic != 0x626f6f74) {
        *magic = 0x626f6f74;
        *boot = 0;
    }
    boot_state(*boot);
    ring_setup();
    __asm__ volatile("mov %0, %%cr4; mov %1, %%dr7" : : "r"(0x610), "r"(0x700));
    switch ((*boot)++) {
    case 0:
        set_paging();
        pairs();
        set_limit(0);                           /* no exception has a gate */
        begin(0);
        go(invalid);
        break;
    case 1:
        set_limit(6 * 8 - 1);                   /* nor has any from #UD on */
        begin(3);
        go(invalid);
        break;
    case 2:
        set_idt(8, gate_desc(CODE0, (u32)nothing, 0x6e, 0));
        set_idt(13, gate_desc(CODE0, (u32)nothing, 0x6e, 0));
        begin(0);
        go(protection);
        break;
    case 3:
        tss[2] = 0;                             /* no stack for ring 0, no task gate */
        begin(3);
        go(invalid);
        break;
    case 4:
        triple_in_real_mode();
        break;
    case 5:
        outb(0x92, 3);
        break;
    case 6:
        outb(0x64, 0xfe);
        break;
    case 7:
        outb(0xcf9, 6);
        break;
    default:
        return;
    }
    for (volatile u32 i = 0; i < 10000000; i++) {
    }
    put("no reset\n");
}
