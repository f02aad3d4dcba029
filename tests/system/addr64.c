/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * addr64.c - addresses at the edges: the canonical hole, the top of the address space, 4 GiB in compatibility mode;
 * SWAPGS, RDFSBASE and its kin, UMIP; far pointers with REX.W of both vendors' kinds.
 * (SDM vol. 1, 3.3.7.1; vol. 3, 2.5, 5.3.1, 6.15; vol. 2 under each mnemonic.)
 */
/* with: ring64.S */
/* cpu: max,vendor=GenuineIntel,la57=off */
#define SYS_MAIN
#include "ring64.h"

#define LOW_END 0x0000800000000000ul
#define HIGH_START 0xffff800000000000ul

/* The last page below the hole, the first above it, the last of all: one page of RAM each, with user access. */
static void map(u64 at, u64 to)
{
    static u64 pages[9][512] __attribute__((aligned(4096)));
    static u32 used;
    u64 *t = (u64 *)0x200000;

    for (u32 shift = 39; shift > 12; shift -= 9) {
        u64 *e = &t[at >> shift & 511];
        if (!(*e & 1)) {
            *e = (u64)pages[used++] | 7;
        }
        t = (u64 *)(*e & 0x000ffffffffff000ul);
    }
    t[at >> 12 & 511] = to | 7;
}

enum { PAGE_LOW = 0x400000, PAGE_HIGH = 0x401000, PAGE_TOP = 0x402000 };

CODE(read8, "mov (%rbx), %rax");
CODE(read4, "mov (%rbx), %eax");
CODE(write8, "mov %rax, (%rbx)");
CODE(add8, "add %rax, (%rbx)");
CODE(read_rbp, "mov (%rbp), %rax");
CODE(read_rsp, "mov %rbx, %rsp; mov (%rsp), %rax; mov $0x7c000, %esp");
CODE(push_it, "mov %rbx, %rsp; push %rax");
CODE(pop_it, "mov %rbx, %rsp; pop %rax");
CODE(call_it, "mov %rbx, %rsp; call 1f; 1: nop");
CODE(sse_read, "movups (%rbx), %xmm0");
CODE(fs_read, "mov %fs:0, %rax");
CODE(string, "mov %rbx, %rsi; lea -8(%rsp), %rdi; movsq");
CODE(rep_string, "mov %rbx, %rdi; mov $4, %ecx; rep stosq");
CODE(cmpxchg, "lock cmpxchg16b (%rbx)");
CODE(bit, "mov $-1, %eax; bt %rax, (%rbx)");
CODE(jump_it, "jmp *%rbx");
CODE(call_reg, "call *%rbx");
CODE(ret_it, "push %rbx; ret");
CODE(invlpg_it, "invlpg (%rbx)");
CODE(prefetch, "prefetcht0 (%rbx)");
CODE(lea_it, "lea 8(%rbx), %rax");

static void edges(void)
{
    static const struct {
        const char *name;
        const u8 *code;
    } list[] = {
        { "read 8", read8 }, { "read 4", read4 }, { "write 8", write8 }, { "add 8", add8 }, { "read rbp", read_rbp },
        { "read rsp", read_rsp }, { "push", push_it }, { "pop", pop_it }, { "call", call_it }, { "sse", sse_read },
        { "fs", fs_read }, { "movs", string }, { "rep stos", rep_string }, { "cmpxchg16b", cmpxchg }, { "bt", bit },
        { "invlpg", invlpg_it }, { "prefetch", prefetch }, { "lea", lea_it },
    };
    static const u64 at[] = { LOW_END - 16, LOW_END - 8, LOW_END - 7, LOW_END - 4, LOW_END - 3, LOW_END, LOW_END + 8,
                              0x1122334455667788, HIGH_START - 4, HIGH_START - 1, HIGH_START, HIGH_START + 4,
                              0xfffffffffffffff8, 0xfffffffffffffff9, 0xffffffffffffffff };

    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        put(list[i].name);
        for (u32 k = 0; k < sizeof(at) / 8; k++) {
            begin(list[i].code == invlpg_it ? 0 : 3);
            start.rbx = start.rbp = at[k];
            start.fs_base = list[i].code == fs_read && (at[k] < LOW_END || at[k] >= HIGH_START) ? at[k] : 0;
            go(list[i].code);
            put_long(k == 7 ? "  " : " ", out.vector);
            put(out.vector == 0x81 ? "" : out.error ? "(?)" : "");
        }
        put("\n");
    }
    /* What crossed the top really went to both ends. */
    *(volatile u64 *)PAGE_TOP = 0;
    begin(0);
    start.rbx = 0xfffffffffffffffc;
    start.rax = 0x1122334455667788;
    *(volatile u32 *)0 = 0;
    go(write8);
    put_long("across the top: ", *(volatile u32 *)(PAGE_TOP + 0xffc));
    put_long(" ", *(volatile u32 *)0);
    put("\n");
}

/* ---- branches to the edges; code that runs against them ---- */

static void branch(const char *name, const u8 *code, u64 to)
{
    begin(3);
    start.rbx = to;
    go(code);
    put(name);
    put_long(" ", to);
    put_long(": #", out.vector);
    put_long(" err ", out.error);
    put_long(" rip ", out.rip - start.rip < 0x20 ? out.rip - start.rip : out.rip);
    put_long(" rsp ", out.rsp);
    put("\n");
}

static void branches(void)
{
    u8 *low = (u8 *)PAGE_LOW + 0xffe, *top = (u8 *)PAGE_TOP + 0xffe;

    low[0] = low[1] = top[0] = top[1] = 0x90;
    branch("jmp", jump_it, LOW_END);
    branch("jmp", jump_it, HIGH_START - 1);
    branch("jmp", jump_it, 0x1111111111111111);
    branch("call", call_reg, LOW_END);
    branch("ret", ret_it, LOW_END);
    branch("run", jump_it, LOW_END - 2);
    low[1] = 0xb8;                              /* MOV EAX, imm32 across */
    branch("across", jump_it, LOW_END - 2);
    low[0] = 0xeb;                              /* JMP +10h from the end */
    low[1] = 0x10;
    branch("short jmp", jump_it, LOW_END - 2);
    low[0] = 0xe8;                              /* CALL across the edge */
    branch("call across", jump_it, LOW_END - 2);
    low[-3] = 0xe8;
    low[-2] = 0x00;
    low[-1] = 0x10;
    low[0] = low[1] = 0;
    branch("call over", jump_it, LOW_END - 5);
    low[0] = 0x73;                              /* JNC, LOOP and JRCXZ out of it, taken */
    low[1] = 0x40;
    branch("jnc", jump_it, LOW_END - 2);
    low[0] = 0xe2;
    branch("loop", jump_it, LOW_END - 2);
    put_long("  rcx ", out.rcx);
    put("\n");
    low[0] = 0xe3;
    branch("jrcxz", jump_it, LOW_END - 2);
    low[0] = 0x72;                              /* not taken: runs against the edge */
    branch("jc", jump_it, LOW_END - 2);
    *(volatile u32 *)0 = 0x81cd9090;            /* at 0: NOP NOP INT 81h */
    branch("over the top", jump_it, 0xfffffffffffffffe);
    top[1] = 0xb8;
    branch("insn over the top", jump_it, 0xfffffffffffffffe);
}

/* ---- compatibility mode wraps at 4 GiB, and at the segment's base ---- */

CODE32(c_read, "mov %fs:(%ebx), %eax");
CODE32(c_write, "mov %eax, %fs:(%ebx)");
CODE32(c_read_ds, "mov (%ebx), %eax");
CODE32(c_push, "mov %ebx, %esp; push %eax");

/* Branches behind the limit of the code segment fault themselves. */
CODE32(c_jmp, "jmp 1f; .skip 40, 0x90; 1: nop");
CODE32(c_jz, "test %eax, %eax; jz 1f; .skip 40, 0x90; 1: nop");
CODE32(c_loop, "loop 1f; .skip 40, 0x90; 1: nop");
CODE32(c_call, "call 1f; .skip 40, 0x90; 1: nop");
CODE32(c_jmp_reg, "lea 60(%ebx), %eax; jmp *%eax");
CODE32(c_call_reg, "lea 60(%ebx), %eax; call *%eax");
CODE32(c_run, "nop; nop; .skip 40, 0x90");

static void compat_branches(void)
{
    static const u8 *const codes[] = { c_jmp, c_jz, c_loop, c_call, c_jmp_reg, c_call_reg, c_run };

    for (u32 i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        set_gdt(SCRATCH, seg_desc((u32)(u64)codes[i] - 0x100, 0x100 + 20, 0xfa, 4));
        begin_compat(3);
        start.cs = SCRATCH | 3;
        start.rbx = 0x100;
        start.rcx = 5;
        go((void *)0x100);
        put_long("branch ", i);
        show("");
        put_long(" rcx ", out.rcx);
        put_long(" rsp ", out.rsp);
        put("\n");
    }
}

static void compat(void)
{
    static const struct {
        u32 base, limit, off;
        u8 type, flags;
    } list[] = {
        { 0xfffff000, 0xfffff, 0x1000, 0x93, 12 }, { 0xfffff000, 0xfffff, 0x5000, 0x93, 12 },
        { 0xfff00000, 0xfffff, 0x101234, 0x93, 12 }, { 0, 0xfffff, 0x1000, 0x93, 12 }, { 0, 0xfff, 0xffc, 0x93, 4 },
        { 0, 0xfff, 0xffd, 0x93, 4 }, { 0, 0xfff, 0x1000, 0x97, 4 }, { 0, 0xfff, 0xfff, 0x97, 4 },
        { 0, 0xfff, 0xfffc, 0x97, 0 }, { 0, 0xfff, 0xfffd, 0x97, 0 }, { 0, 0xfff, 0x10000, 0x97, 0 },
        { 0, 0xfff, 0x10, 0x91, 4 }, { 0, 0xfff, 0x10, 0x9b, 4 }, { 0, 0xfff, 0x10, 0x99, 4 },
    };

    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        u32 lin = list[i].base + list[i].off;
        set_gdt(SCRATCH, seg_desc(list[i].base, list[i].limit, list[i].type, list[i].flags));
        *(volatile u32 *)(u64)lin = 0x600d0000 + i;
        begin_compat(0);
        start.rbx = list[i].off;
        if (!(list[i].type & 8) || (list[i].type & 2)) {
            start.fs = SCRATCH;
            go(c_read);
            put_long("read #", out.vector);
            put(out.vector == 0x81 ? out.rax == 0x600d0000 + i ? " ok" : " wrong" : "");
            begin_compat(0);
            start.rbx = list[i].off;
            start.rax = 0x1111;
            start.fs = SCRATCH;
            go(c_write);
            put_long(" write #", out.vector);
            put_long(" now ", *(volatile u32 *)(u64)lin);
            put("\n");
        }
    }
    compat_branches();
    begin_compat(0);
    start.ds = 0;
    go(c_read_ds);
    show_line("null ds");
    begin_compat(0);
    start.ds = 0;
    start.rbx = 0x1000;
    start.cs = CODE0;
    go(read4);
    show_line("null ds in 64-bit code");
    begin_compat(0);
    start.rbx = 0xffff123400010000;     /* only EBX counts */
    go(c_read_ds);
    show_line("high halves");
    begin_compat(3);
    start.rbx = 0x7d000;
    set_gdt(SCRATCH, seg_desc(0, 0x7cffe, 0xf3, 4));
    start.ss = SCRATCH | 3;
    go(c_push);
    show_line("push behind the limit");
    begin_compat(3);
    start.rbx = 0x7cffe;
    start.ss = SCRATCH | 3;
    go(c_push);
    show_line("push before the limit");
}

/* ---- SWAPGS, FS and GS bases, UMIP ---- */

CODE(swap, "swapgs; swapgs");
CODE32(c_swap, ".byte 0x0f, 1, 0xf8");
CODE(rdfs, "rdfsbase %rax");
CODE(rdgs32, "rdgsbase %eax");
CODE(wrfs, "wrfsbase %rbx");
CODE(wrgs, "wrgsbase %rbx");
CODE(wrgs32, "wrgsbase %ebx");
CODE32(c_rdfs, ".byte 0xf3, 0x0f, 0xae, 0xc0");
CODE(smsw64, "smsw %rax");
CODE(smsw16, "smsw %ax");
CODE(smsw_mem, "smsw -8(%rsp)");
CODE(sldt64, "sldt %rax");
CODE(str32, "str %eax");
CODE(str_mem, "str -8(%rsp)");
CODE(sgdt_mem, "sgdt -16(%rsp)");
CODE(sidt_mem, "sidt -16(%rsp)");
CODE32(c_sgdt, "sgdt -16(%esp)");
CODE(lmsw0, "lmsw %ax");
CODE(clts0, "clts");

static void set_cr4(u64 clear, u64 set)
{
    u64 v;

    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    v = (v & ~clear) | set;
    __asm__ volatile("mov %0, %%cr4" : : "r"(v));
}

static void bases(void)
{
    static const u8 *const codes[] = { rdfs, rdgs32, wrfs, wrgs, wrgs32 };

    for (u32 on = 0; on < 2; on++) {
        set_cr4(1 << 16, on << 16);
        for (u32 ring = 0; ring < 4; ring += 3) {
            for (u32 i = 0; i < 5; i++) {
                begin(ring);
                start.rax = ~0ul;
                start.rbx = 0x00007f8899aabbcc;
                start.fs_base = 0x00007fffdeadbee0;
                start.gs_base = 0xffff8123456789a0;
                go(codes[i]);
                put_long(i ? " #" : "#", out.vector);
                put_long(" ", i < 2 ? out.rax : rdmsr(i == 2 ? 0xc0000100 : 0xc0000101));
            }
            put("\n");
        }
    }
    begin(0);
    start.rbx = LOW_END;
    go(wrfs);
    show_line("wrfsbase not canonical");
    begin_compat(0);
    go(c_rdfs);
    show_line("rdfsbase in compatibility mode");
    set_cr4(1 << 16, 0);
    wrmsr(0xc0000102, 0x1234);
    begin(0);
    start.gs_base = 0x5678;
    go(swap);
    show("swapgs");
    put_long(" ", rdmsr(0xc0000101));
    put_long(" ", rdmsr(0xc0000102));
    begin(3);
    go(swap);
    show(" ring 3");
    begin_compat(0);
    go(c_swap);
    show_line(" compatibility mode");
}

static void umip(void)
{
    static const u8 *const codes[] = { smsw64, smsw16, smsw_mem, sldt64, str32, str_mem, sgdt_mem, sidt_mem, lmsw0,
                                       clts0 };

    for (u32 on = 0; on < 2; on++) {
        set_cr4(1 << 11, on << 11);
        for (u32 ring = 0; ring < 4; ring += 3) {
            for (u32 i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
                begin(ring);
                start.rax = i == 8 ? 0x3b : 0x5555555555555555;
                for (u32 k = 0; k < 8; k++) {
                    ((u16 *)(RUN_STACK - 16))[k] = 0x7777;
                }
                go(codes[i]);
                put_long(i ? " #" : "#", out.vector);
                if (out.vector == 0x81) {
                    u64 *at = (u64 *)(RUN_STACK - 16);
                    put_long(" ", i < 2 || i == 3 || i == 4 ? out.rax : i == 2 || i == 5 ? at[1] : i < 8
                             ? at[0] == (i == 6 ? (u64)ring_gdt : (u64)idt) << 16 : 0);
                }
            }
            put("\n");
        }
    }
    set_cr4(1 << 11, 0);
    begin_compat(3);
    ((u64 *)(RUN_STACK - 16))[0] = 0x7777777777777777;
    go(c_sgdt);
    show("sgdt in compatibility mode");
    put_long(" ", ((u64 *)(RUN_STACK - 16))[0] >> 48);
    put("\n");
}

/* ---- m16:64 ---- */

CODE(jump_64, "rex.w ljmp *(%rbx)");
CODE(call_64, "rex.w lcall *(%rbx)");
CODE(load_64, ".byte 0x48, 0x0f, 0xb4, 0x0b");

static void wide_pointers(void)
{
    static struct {
        u64 off;
        u16 sel;
    } __attribute__((packed)) p;
    u8 *top = (u8 *)PAGE_TOP;

    top[0x10] = 0xcd;
    top[0x11] = 0x81;
    p.off = 0xfffffffffffff010;
    p.sel = CODE0;
    begin(0);
    start.rbx = (u64)&p;
    go(jump_64);
    put_long("jmp m16:64: #", out.vector);
    put_long(" rip ", out.rip);
    begin(0);
    start.rbx = (u64)&p;
    go(call_64);
    put_long(" call: #", out.vector);
    put_long(" rip ", out.rip);
    put_long(" rsp ", out.rsp);
    put_long(" pushed ", ((u64 *)out.rsp)[0] == (u64)call_64 + 3 && ((u64 *)out.rsp)[1] == CODE0);
    put("\n");
    p.off = LOW_END;
    begin(0);
    start.rbx = (u64)&p;
    go(jump_64);
    show_line("not canonical");
    p.off = 0x1234567812345678;
    p.sel = DATA3;
    begin(0);
    start.rbx = (u64)&p;
    go(load_64);
    put_long("lfs: ", out.rcx);
    put_long(" ", out.fs);
    put("\n");
}

__attribute__((used)) void test_main(void)
{
    ring_setup();
    map(LOW_END - 0x1000, PAGE_LOW);
    map(HIGH_START, PAGE_HIGH);
    map(0xfffffffffffff000, PAGE_TOP);
    edges();
    branches();
    compat();
    bases();
    umip();
    wide_pointers();
}
