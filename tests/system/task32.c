/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * task32.c - task switches by CALL, JMP, INT, exception and IRET, with TSSs of both sizes: what is saved and loaded,
 * busy bits, back link, NT, TS, the T bit, CR3; every check on the new TSS and on what it holds, and whose fault it is.
 * (SDM vol. 3, 7.2 to 7.4, table 7-1.)
 */
/* with: ring32.S */
#define SYS_MAIN
#include "ring32.h"

CODE(target, "nop");
CODE(call_task, "lcall *(%ebx)");
CODE(jump_task, "ljmp *(%ebx)");
CODE(int_60, "int $0x60");
CODE(bad_load, "mov %eax, %ds");
CODE(undefined, "ud2");
CODE(iret_nt, "iretl; nop; hlt");

enum { TASK32 = SCRATCH, TASK16 = SCRATCH + 8, GATE = SCRATCH + 16, LDTSEL = SCRATCH + 24, LIMITED = SCRATCH + 32,
       THIRD = SCRATCH + 40, TEMP = SCRATCH + 48 };

static u32 t32[64];
static u16 t16[32];
static u32 third[64];
static u64 ldt[4];
static struct far {
    u32 off;
    u16 sel;
} __attribute__((packed)) far_ptr;

enum { T_LINK, T_ESP0, T_SS0, T_CR3 = 7, T_EIP, T_EFLAGS, T_EAX, T_ESP = 14, T_ES = 18, T_CS, T_SS, T_DS, T_FS, T_GS,
       T_LDT, T_TRAP };

static void make32(u32 *t)
{
    for (u32 i = 0; i < 26; i++) {
        t[i] = i >= T_EAX && i < T_ES ? 0x1010101 * i : 0;
    }
    t[T_ESP0] = STACK(0);
    t[T_SS0] = DATA0;
    t[T_EIP] = (u32)target;
    t[T_EFLAGS] = 0x402;
    t[T_ESP] = 0x7e000;
    t[T_ES] = t[T_SS] = t[T_DS] = DATA0;
    t[T_FS] = DATA3;
    t[T_CS] = CODE0;
    t[T_TRAP] = 0x680000;
}

static void make16(void)
{
    for (u32 i = 0; i < 22; i++) {
        t16[i] = (u16)(0x101 * i);
    }
    t16[0] = 0;
    t16[7] = 0;
    t16[8] = 0x402;
    t16[13] = 0xe000;
    t16[17] = t16[19] = t16[20] = DATA0;
    t16[18] = LIMITED;
    t16[21] = 0;
}

/* All tasks as new, this one current. */
static void reset_tasks(void)
{
    make32(t32);
    make32(third);
    make16();
    set_gdt(TSS0, seg_desc((u32)tss, 0x67, 0x89, 0));
    set_gdt(TASK32, seg_desc((u32)t32, 0x67, 0x89, 0));
    set_gdt(THIRD, seg_desc((u32)third, 0x67, 0x89, 0));
    set_gdt(TASK16, seg_desc((u32)t16, 0x2b, 0x81, 0));
    set_gdt(GATE, gate_desc(TASK32, 0, 0xe5, 0));
    set_gdt(LIMITED, seg_desc((u32)target, 0xff, 0x9b, 4));
    set_gdt(LDTSEL, seg_desc((u32)ldt, sizeof(ldt) - 1, 0x82, 0));
    set_idt(0x60, gate_desc(TASK32, 0, 0xe5, 0));
    for (u32 i = 7; i < 26; i++) {
        tss[i] = 0;
    }
    tss[0] = 0;
    tss[25] = 0x680000;
    __asm__ volatile("ltr %w0; clts; lldt %w1" : : "r"(TSS0), "r"(0));
    far_ptr.off = 0xf4f4f4f4;
}

static u32 task_register(void)
{
    u32 tr;

    __asm__ volatile("str %0" : "=r"(tr));
    return tr & 0xffff;
}

static u32 cr0(void)
{
    u32 v;

    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}

static void tasks(const char *name)
{
    u32 ldtr;

    __asm__ volatile("sldt %0" : "=r"(ldtr));
    show(name);
    put_word(" ss ", out.cs & 3 || out.eflags & 0x20000 ? out.ss : ring_ss);
    put_long(" fl ", out.eflags);
    put_long("\n   tr ", task_register());
    put_word(" ldt ", ldtr);
    put(cr0() & 8 ? " TS" : "");
    put_long(" busy ", access_byte(TSS0));
    put_long(" ", access_byte(TASK32));
    put_long(" ", access_byte(TASK16));
    put_word(" links ", tss[0]);
    put_word(" ", t32[0]);
    put_word(" ", t16[0]);
    put("\n");
}

static void begin_task(u32 ring, u32 sel)
{
    reset_tasks();
    far_ptr.sel = (u16)sel;
    begin(ring);
    start.eax = 0x11111111;
    start.ebx = (u32)&far_ptr;
    start.ecx = 0x33333333;
    start.edx = 0x44444444;
    start.esi = 0x66666666;
    start.edi = 0x77777777;
    start.ebp = 0x88888888;
    start.eflags = 0xcd7 & ~0x100u;
    start.fs = DATA3;
}

static void saved32(void)
{
    put_long("   saved: eip +", tss[T_EIP] - start.eip);
    put_long(" flags ", tss[T_EFLAGS]);
    for (u32 i = T_EAX; i < T_LDT; i++) {
        put_long(i == T_EAX + 3 ? " ebx ok:" : " ", i == T_EAX + 3 ? tss[i] == (u32)&far_ptr : tss[i]);
    }
    put_long(" ldt ", tss[T_LDT]);
    put("\n");
}

/* A 16-bit TSS says nothing about the upper halves. */
static void loaded(u32 mask)
{
    put_long("   loaded: eax ", out.eax & mask);
    put_long(" ", out.ecx & mask);
    put_long(" ", out.edx & mask);
    put_long(" ", out.ebx & mask);
    put_long(" esp ", (out.cs & 3 ? out.esp : out_esp + 68) & mask);
    put_long(" ", out.ebp & mask);
    put_long(" ", out.esi & mask);
    put_long(" ", out.edi & mask);
    put_word(" es ", out.es);
    put_word(" ds ", out.ds);
    put_word(" fs ", out.fs);
    put_word(" gs ", out.gs);
    put("\n");
}

static void good_switches(void)
{
    begin_task(0, TASK32);
    go(call_task);
    tasks("call");
    saved32();
    loaded(~0u);
    begin_task(3, TASK32);
    go(call_task);
    tasks("call from ring 3");
    begin_task(0, TASK32);
    go(jump_task);
    tasks("jmp");
    saved32();
    begin_task(0, GATE);
    go(jump_task);
    tasks("jmp gate");
    begin_task(3, GATE | 3);
    go(call_task);
    tasks("call gate");
    saved32();
    begin_task(3, 0);
    go(int_60);
    tasks("int");
    saved32();
    begin_task(0, TASK16);
    t16[4] = 0;
    go(call_task);
    tasks("call 16");
    saved32();
    loaded(0xffff);
    begin_task(0, TASK32);
    t32[T_CS] = CODE3 | 3;
    t32[T_SS] = t32[T_DS] = t32[T_ES] = DATA3 | 3;
    t32[T_EFLAGS] = 0x3ed7;
    t32[T_LDT] = LDTSEL;
    t32[T_GS] = 0xf;
    ldt[1] = seg_desc(0, 0xfffff, 0xf2, 12);
    go(call_task);
    tasks("call to ring 3");
    loaded(~0u);
    put_long("   ldt entry ", ((u8 *)ldt)[13]);
    put("\n");
}

/* 16-bit TSS as the old one. */
static void from_small(void)
{
    begin_task(0, TASK16);
    set_gdt(LIMITED, seg_desc((u32)call_task & ~0xfu, 0xff, 0x9b, 4));
    t16[7] = (u32)call_task & 0xf;
    t16[12] = (u16)(u32)&far_ptr;           /* BX: the segment has its base there */
    set_gdt(TEMP, seg_desc((u32)&far_ptr & ~0xffffu, 0xffff, 0x93, 4));
    t16[20] = TEMP;
    t16[8] = 0xcd7 & ~0x100;
    __asm__ volatile("ltr %w0" : : "r"(THIRD));
    go(jump_task);                          /* to the 16-bit task, which calls TASK16: busy */
    tasks("16-bit task calls itself");
    begin_task(0, TASK16);
    set_gdt(LIMITED, seg_desc((u32)int_60 & ~0xfu, 0xff, 0x9b, 4));
    t16[7] = (u32)int_60 & 0xf;
    t16[8] = 0xcd7 & ~0x100;
    start.eip = (u32)int_60;
    go(jump_task);                          /* the 16-bit task executes INT 60h, a gate to the 32-bit one */
    start.eip = (u32)target;
    tasks("16 to 32");
    put_long("   saved: ip +", t16[7] - ((u32)int_60 & 0xf));
    for (u32 i = 8; i < 21; i++) {
        put_long(" ", t16[i]);
    }
    put_long(" ldt ", t16[21]);
    put("\n");
}

/* IRET with NT: to the task of the back link. */
static void returns(void)
{
    static const u8 types[] = { 0x8b, 0x89, 0x0b, 0x09, 0x93 };

    for (u32 i = 0; i < sizeof(types); i++) {
        begin_task(0, 0);
        start.eflags = 0x4002;
        tss[0] = TASK32;
        set_gdt(TASK32, seg_desc((u32)t32, 0x67, types[i], 0));
        go(iret_nt);
        put_long("link to type ", types[i]);
        tasks("");
        put_long("   saved flags ", tss[T_EFLAGS]);
        put("\n");
    }
    for (u32 i = 0; i < 4; i++) {
        static const u16 links[4] = { 0, 0x204, TASK32 | 4, 0xfff8 };
        begin_task(0, 0);
        start.eflags = 0x4002;
        tss[0] = links[i];
        go(iret_nt);
        put_long("link ", links[i]);
        tasks("");
    }
    begin_task(0, TASK32);      /* there and back, and on behind the IRET when called again */
    t32[T_EIP] = (u32)iret_nt;
    go(call_task);
    tasks("call and return");
    put_long("   continues at +", t32[T_EIP] - (u32)iret_nt);
    put_long(" flags ", t32[T_EFLAGS]);
    put("\n");
}

static void bad_tss(void)
{
    static const struct {
        const char *name;
        u32 ring, sel, type, limit;
    } list[] = {
        { "not present", 0, TASK32, 0x09, 0x67 },
        { "busy", 0, TASK32, 0x8b, 0x67 },
        { "busy, not present", 0, TASK32, 0x0b, 0x67 },
        { "limit 66", 0, TASK32, 0x89, 0x66 },
        { "dpl 2", 3, TASK32 | 3, 0xc9, 0x67 },
        { "dpl 3", 3, TASK32 | 3, 0xe9, 0x67 },
        { "rpl 3", 0, TASK32 | 3, 0xc9, 0x67 },
        { "16-bit limit 2a", 0, TASK32, 0x81, 0x2a },
        { "in the ldt", 0, 0xc, 0x89, 0x67 },
    };

    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        for (u32 k = 0; k < 3; k++) {
            begin_task(list[i].ring, k == 1 ? GATE | (list[i].sel & 3) : list[i].sel);
            set_gdt(TASK32, seg_desc((u32)t32, list[i].limit, list[i].type, 0));
            if (list[i].sel == 0xc) {
                ldt[1] = seg_desc((u32)t32, 0x67, 0x89, 0);
                __asm__ volatile("lldt %w0" : : "r"(LDTSEL));
                set_gdt(GATE, gate_desc(0xc, 0, 0xe5, 0));
                set_idt(0x60, gate_desc(0xc, 0, 0xe5, 0));
            }
            go(k == 2 ? int_60 : call_task);
            put(list[i].name);
            tasks(k == 0 ? ": call" : k == 1 ? ": gate" : ": int");
        }
    }
    begin_task(3, GATE | 3);
    set_gdt(GATE, gate_desc(TASK32, 0, 0xc5, 0));
    go(call_task);
    show("gate dpl 2");
    begin_task(3, GATE | 3);
    set_gdt(GATE, gate_desc(TASK32, 0, 0x65, 0));
    go(call_task);
    show(" not present");
    begin_task(3, GATE | 3);
    set_gdt(GATE, gate_desc(0, 0, 0xe5, 0));
    go(call_task);
    show_line(" null");
    begin_task(3, 0);
    set_idt(0x60, gate_desc(TASK32, 0, 0xc5, 0));
    go(int_60);
    show("idt gate dpl 2");
    begin_task(3, 0);
    set_idt(0x60, gate_desc(TASK32, 0, 0x65, 0));
    go(int_60);
    show(" not present");
    begin_task(3, 0);
    set_idt(6, gate_desc(0x200, 0, 0xe5, 0));
    go(undefined);
    show_line(" #ud");
    default_gate(6);
    begin_task(0, TASK32);          /* the old TSS is too short to be saved in */
    set_gdt(TSS0, seg_desc((u32)tss, 0x5e, 0x89, 0));
    __asm__ volatile("ltr %w0" : : "r"(TSS0));
    go(call_task);
    tasks("old tss limit 5e");
}

/* What the new TSS holds is wrong: the fault is the new task's. */
static void bad_contents(void)
{
    static const struct {
        const char *name;
        u8 field;
        u16 sel;
        u8 type;
    } list[] = {
        { "ldt not an ldt", T_LDT, TEMP, 0x92 }, { "ldt absent", T_LDT, TEMP, 0x02 }, { "ldt in ldt", T_LDT, 0xc, 0 },
        { "ldt far", T_LDT, 0x1000, 0 }, { "ldt 3", T_LDT, 3, 0 },
        { "cs null", T_CS, 0, 0 }, { "cs data", T_CS, TEMP, 0x92 }, { "cs dpl 3", T_CS, TEMP, 0xfa },
        { "cs absent", T_CS, TEMP, 0x1a }, { "cs far", T_CS, 0x1000, 0 }, { "cs rpl 3", T_CS, TEMP | 3, 0x9a },
        { "cs conforming 0, rpl 3", T_CS, TEMP | 3, 0x9e }, { "cs conforming 3, rpl 0", T_CS, TEMP, 0xfe },
        { "ss null", T_SS, 0, 0 }, { "ss rpl 3", T_SS, TEMP | 3, 0x92 }, { "ss dpl 3", T_SS, TEMP, 0xf2 },
        { "ss read-only", T_SS, TEMP, 0x90 }, { "ss code", T_SS, TEMP, 0x9a }, { "ss absent", T_SS, TEMP, 0x12 },
        { "ss far", T_SS, 0x1003, 0 },
        { "ds null", T_DS, 0, 0 }, { "ds 3", T_DS, 3, 0 }, { "ds system", T_DS, TEMP, 0x82 },
        { "ds execute-only", T_DS, TEMP, 0x98 }, { "ds absent", T_DS, TEMP, 0x12 },
        { "ds rpl 3", T_DS, TEMP | 3, 0x92 },
        { "es far", T_ES, 0x1001, 0 }, { "fs absent", T_FS, TEMP, 0x1a }, { "gs in no ldt", T_GS, 7, 0 },
    };

    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        begin_task(0, TASK32);
        set_gdt(TEMP, seg_desc(0, 0xfffff, list[i].type, 12));
        t32[list[i].field] = list[i].sel;
        if (list[i].field == T_CS && list[i].sel == (TEMP | 3) && list[i].type == 0x9e) {
            t32[T_SS] = DATA3 | 3;
        }
        start.eip = (u32)target;
        if (list[i].field == T_SS || list[i].field == T_CS || list[i].field == T_LDT) {
            set_idt(10, gate_desc(THIRD, 0, 0xe5, 0));      /* no stack to use there */
            set_idt(11, gate_desc(THIRD, 0, 0xe5, 0));
            set_idt(12, gate_desc(THIRD, 0, 0xe5, 0));
        }
        go(call_task);
        start.eip = (u32)target;
        put(list[i].name);
        tasks(":");
        if (task_register() == THIRD) {
            put_long("   by link ", third[0]);
            put_long(" error ", *(u32 *)(out_esp + 68));
            put_long(" eip +", t32[T_EIP] - (u32)target);
            put_long(" cs ", t32[T_CS]);
            put_long(" ss ", t32[T_SS]);
            put_long(" flags ", t32[T_EFLAGS]);
            put("\n");
        }
        default_gate(10);
        default_gate(11);
        default_gate(12);
    }
    begin_task(0, TASK32);
    t32[T_CS] = LIMITED;
    t32[T_EIP] = 0x100;
    go(call_task);
    start.eip = 0x100;
    tasks("eip behind the limit");
}

/* Exceptions with an error code through task gates; #DF when there is no stack for ring 0. */
static void exceptions(void)
{
    for (u32 size = 0; size < 2; size++) {
        begin_task(3, 0);
        set_idt(13, gate_desc(size ? TASK16 : TASK32, 0, 0x85, 0));
        start.eax = CODE0;
        go(bad_load);
        tasks(size ? "#gp to a 16-bit task" : "#gp to a 32-bit task");
        put_long("   esp ", out_esp + 68);
        put_long(" error ", *(u32 *)((out_esp + 68) & 0xffff ? out_esp + 68 : 0x7e000));
        put_long(" eip +", tss[T_EIP] - start.eip);
        put_long(" flags ", tss[T_EFLAGS]);
        put("\n");
        default_gate(13);
    }
    begin_task(3, 0);
    set_idt(8, gate_desc(TASK32, 0, 0x85, 0));
    tss[T_SS0] = 0;
    go(undefined);
    tss[T_SS0] = DATA0;
    tasks("no stack: #df");
    put_long("   error ", *(u32 *)(out_esp + 68));
    put_long(" eip +", tss[T_EIP] - start.eip);
    put_long(" flags ", tss[T_EFLAGS]);
    put_long(" cs ", tss[T_CS]);
    put("\n");
    begin_task(3, 0);
    set_idt(14, gate_desc(0x80, 0, 0xf0, 0));
    set_idt(13, gate_desc(TASK32, 0, 0x05, 0));             /* not present */
    start.eax = CODE0;
    go(bad_load);
    tasks("#gp whose task gate is absent: #df");
    put_long("   error ", *(u32 *)(out_esp + 68));
    put("\n");
    default_gate(8);
    default_gate(13);
    default_gate(14);
}

static void debug_trap(void)
{
    u32 dr6, dr7 = 0x4ff | 0x300;

    begin_task(0, TASK32);
    t32[T_TRAP] |= 1;
    __asm__ volatile("mov %0, %%dr6" : : "r"(0));
    go(call_task);
    start.eip = (u32)target;
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    tasks("T bit");
    put_long("   dr6 ", dr6);
    put_long(" eip +", out.eip - (u32)target);
    put("\n");
    begin_task(0, TASK32);
    __asm__ volatile("mov %0, %%dr0; mov %0, %%dr1; mov %0, %%dr2; mov %0, %%dr3; mov %1, %%dr7"
                     : : "r"(0x500000), "r"(dr7));
    go(call_task);
    __asm__ volatile("mov %%dr7, %0; mov %1, %%dr7" : "=&r"(dr7) : "r"(0x400));
    put_long("dr7 ", dr7);
    put("\n");
    begin_task(0, TASK32);
    t32[T_EFLAGS] = 0x102;
    go(call_task);
    start.eip = (u32)target;
    show_line("TF in the new task");
}

static void to_v86(void)
{
    begin_task(0, TASK32);
    ((u8 *)0x20000)[0] = 0x0f;
    ((u8 *)0x20000)[1] = 0x0b;
    t32[T_EFLAGS] = 0x20002;
    t32[T_CS] = 0x2000;
    t32[T_EIP] = 0;
    t32[T_SS] = 0x1000;
    t32[T_ESP] = 0x100;
    t32[T_DS] = 0x1234;
    t32[T_ES] = 0x2345;
    t32[T_FS] = 0x3;
    t32[T_GS] = 0xffff;
    go(call_task);
    start.eip = 0;
    tasks("to v86");
    put_word("   es ", out.v86_es);
    put_word(" ds ", out.v86_ds);
    put_word(" fs ", out.v86_fs);
    put_word(" gs ", out.v86_gs);
    put_word(" ss ", out.ss);
    put_word(" sp ", out.esp);
    put("\n");
}

/* With paging on CR3 comes from the new TSS: page 200000 reads differently there. */
CODE(read_page, "mov 0x400000, %edi");

static void paging(void)
{
    static u32 dir[2][1024] __attribute__((aligned(4096)));

    for (u32 i = 0; i < 2; i++) {
        dir[i][0] = 0x83;
        dir[i][1] = i ? 0x000083 : 0x400083;    /* 400000: itself, or 0 */
    }
    *(volatile u32 *)0x400000 = 0xaaaa;
    *(volatile u32 *)0 = 0x5555;
    __asm__ volatile("mov %%cr4, %%eax; or $0x10, %%eax; mov %%eax, %%cr4; mov %0, %%cr3; mov %%cr0, %%eax;"
                     "or $0x80000000, %%eax; mov %%eax, %%cr0" : : "r"(dir[0]) : "eax", "memory");
    for (u32 i = 0; i < 2; i++) {
        u32 cr3, mem;
        begin_task(0, TASK32);
        t32[T_CR3] = (u32)dir[i];
        t32[T_EIP] = (u32)read_page;
        mem = *(volatile u32 *)0x400000;
        go(call_task);
        __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
        put_long("paging: before ", mem);
        put_long(" in the task ", out.edi);
        put_long(" after ", *(volatile u32 *)0x400000);
        put(cr3 == (u32)dir[i] ? " cr3 ok" : " cr3 wrong");
        put_long(" saved ", tss[T_CR3]);
        put("\n");
        __asm__ volatile("mov %0, %%cr3" : : "r"(dir[0]) : "memory");
    }
    __asm__ volatile("mov %%cr0, %%eax; and $0x7fffffff, %%eax; mov %%eax, %%cr0" : : : "eax", "memory");
}

__attribute__((used)) void test_main(void)
{
    ring_setup();
    good_switches();
    from_small();
    returns();
    bad_tss();
    bad_contents();
    exceptions();
    debug_trap();
    to_v86();
    paging();
}
