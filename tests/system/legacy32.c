/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * legacy32.c - SYSENTER and SYSEXIT, AMD's SYSCALL and SYSRET in legacy mode; UMIP; limits of segments of all kinds;
 * code of one size on a stack of another.  (SDM vol. 2; vol. 3, 5.3, 5.8.7; APM vol. 2, 6.1.)
 */
/* with: ring32.S */
/* cpu: max,vendor=AuthenticAMD */
#define SYS_MAIN
#include "ring32.h"

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081

static void wrmsr(u32 n, u64 v)
{
    __asm__ volatile("wrmsr" : : "c"(n), "A"(v));
}

#define SPACE __asm__(".skip 64, 0xcc")
CODE(do_sysenter, "sysenter");
CODE(do_sysexit, "sysexit");
CODE(do_syscall, "syscall");
CODE(do_sysret, "sysret");
SPACE;
CODE(kernel, "nop");
SPACE;
CODE(user, "nop");

static u32 final_esp(void)
{
    return out.cs & 3 ? out.esp : out_esp + 68;
}

static void state(const char *name)
{
    put(name);
    put_long(": #", out.vector);
    put_long(" err ", out.error);
    put(out.eip == (u32)kernel + 3 ? " kernel" : out.eip == (u32)user + 3 ? " user" : out.eip == (u32)user ? " user 0" :
        out.eip == start.eip ? " there" : " ?");
    put_word(" cs ", out.cs);
    put_word(" ss ", out.cs & 3 ? out.ss : ring_ss);
    put_long(" fl ", out.eflags);
    put_long(" esp ", final_esp());
    put(out.ecx == start.eip + 2 ? " ecx next\n" : "\n");
}

static void fast_calls(void)
{
    begin(3);
    go(do_sysenter);
    state("sysenter, cs 0");
    wrmsr(0x174, CODE0 | 3);
    wrmsr(0x175, 0x0000567800000000ull | 0x7a000);
    wrmsr(0x176, (u32)kernel);
    set_gdt(CODE0 + 8, seg_desc(0, 0xfffff, 0x93, 12));
    begin(3);
    start.eflags = 0x3ed7 & ~0x100u;
    go(do_sysenter);
    state("sysenter");
    begin(0);
    start.edx = (u32)user;
    start.ecx = 0x7e000;
    start.eflags = 0x3202;
    go(do_sysexit);
    state("sysexit");
    begin(3);
    start.edx = (u32)user;
    go(do_sysexit);
    state("sysexit in ring 3");
    begin(3);
    go(do_syscall);
    state("syscall, SCE off");
    wrmsr(MSR_EFER, 1);
    wrmsr(MSR_STAR, (u64)0x13 << 48 | (u64)CODE0 << 32 | (u32)kernel);
    begin(3);
    start.eflags = 0x3ed7 & ~0x100u;
    go(do_syscall);
    state("syscall");
    begin(0);
    start.ecx = (u32)user;
    start.eflags = 0x3002;
    go(do_sysret);
    state("sysret");
    begin(0);
    start.ecx = (u32)user;
    start.eflags = 0x102;
    go(do_sysret);
    state("sysret, TF");
    begin(3);
    start.ecx = (u32)user;
    go(do_sysret);
    state("sysret in ring 3");
    wrmsr(MSR_EFER, 0);
}

/* ---- limits ---- */

CODE(read1, "mov %fs:(%ebx), %al");
CODE(read4, "mov %fs:(%ebx), %eax");
CODE(write2, "movw %ax, %fs:(%ebx)");
CODE(rmw4, "addl $1, %fs:(%ebx)");
CODE(read16, "movups %fs:(%ebx), %xmm0");
CODE(string2, "push %ds; push %fs; pop %ds; mov %ebx, %esi; lodsw; pop %ds");

static void limits(void)
{
    static const struct {
        u32 limit;
        u8 type, flags;
    } segs[] = {
        { 0xfff, 0x93, 4 }, { 0xfff, 0x97, 4 }, { 0xfff, 0x97, 0 }, { 0, 0x93, 12 }, { 0, 0x97, 12 }, { 0, 0x97, 8 },
        { 0, 0x93, 4 }, { 0xfffff, 0x93, 12 }, { 0xfff, 0x9b, 4 }, { 0xfff, 0x9f, 0 }, { 0xfff, 0x91, 4 },
    };
    static const u32 offs[] = { 0, 0xff0, 0xff1, 0xffc, 0xffd, 0xfff, 0x1000, 0xfff0, 0xfffd, 0xffff, 0x10000 };
    static const u8 *const codes[] = { read1, read4, write2, rmw4, read16, string2 };

    for (u32 i = 0; i < sizeof(segs) / sizeof(segs[0]); i++) {
        put_long("limit ", segs[i].limit);
        put_long(" type ", segs[i].type);
        put_long(" flags ", segs[i].flags);
        put(":");
        set_gdt(SCRATCH, seg_desc(0x60000, segs[i].limit, segs[i].type, segs[i].flags));
        for (u32 k = 0; k < sizeof(offs) / 4; k++) {
            put(" ");
            for (u32 j = 0; j < 6; j++) {
                begin(0);
                start.fs = SCRATCH;
                start.ebx = offs[k];
                go(codes[j]);
                put(out.vector == 0x81 ? "." : out.vector == 13 && out.error == 0 ? "G" : "?");
            }
        }
        put("\n");
    }
}

/* 16-bit code in a 32-bit task and back; prefixes; the stack's own size. */
CODE16(small, "movw %cs, %dx; movl $0x12345678, %eax; pushw %ax; popw %cx; addr32 movw %ax, (%ebx)");
CODE16(small_push, "pushw $0x1111; pushl $0x22222222; movw %sp, %dx");
CODE16(small_call, "call 1f; 1: popw %dx; calll 2f; 2: popl %ecx; subw %dx, %cx");
CODE16(small_leave, "enterw $8, $0; leavew");
CODE(big_on_small, "push $0x33333333; pushw $0x4444; mov %esp, %edx; call 1f; 1: pop %ecx");
CODE(enter_big, "enter $16, $3; mov %esp, %ecx; leave");

static void sizes(void)
{
    static const struct {
        const char *name;
        const u8 *code;
    } list[] = { { "16-bit code", small }, { "pushes", small_push }, { "calls", small_call }, { "enter", small_leave },
                 { "32-bit code", big_on_small }, { "enter 3", enter_big } };
    static u32 cell;

    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        for (u32 big = 0; big < 2; big++) {
            set_gdt(SCRATCH, seg_desc((u32)list[i].code, 0xffff, 0xfa, i < 4 ? 0 : 4));
            set_gdt(SCRATCH + 8, seg_desc(0x60000, 0xffff, 0xf2, big ? 4 : 0));
            begin(3);
            start.cs = SCRATCH | 3;
            start.ss = (SCRATCH + 8) | 3;
            start.esp = big ? 0x8000 : 0xabcd8000;
            start.ebp = big ? 0x9000 : 0xabcd9000;
            start.ebx = (u32)&cell;
            start.eip = 0;
            ring_go();
            put(list[i].name);
            put(big ? " big: #" : " small: #");
            put_hex(out.vector);
            put_long(" eip ", out.eip);
            put_long(" eax ", out.eax);
            put_long(" ecx ", out.ecx);
            put_long(" edx ", out.edx);
            put_long(" esp ", out.esp);
            put_long(" ebp ", out.ebp);
            put_long(" cell ", cell);
            put("\n");
        }
    }
}

/* ---- UMIP ---- */

CODE(do_sgdt, "sgdt -16(%esp)");
CODE(do_sidt, "sidt -16(%esp)");
CODE(do_sldt, "sldt %eax");
CODE(do_str, "str -16(%esp)");
CODE(do_smsw, "smsw %eax");

static void umip(void)
{
    static const u8 *const codes[] = { do_sgdt, do_sidt, do_sldt, do_str, do_smsw };
    u32 cr4;

    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    for (u32 on = 0; on < 2; on++) {
        __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | on << 11));
        put_long("umip ", on);
        for (u32 ring = 0; ring < 4; ring++) {
            put(" ");
            for (u32 i = 0; i < 5; i++) {
                begin(ring);
                go(codes[i]);
                put(out.vector == 0x81 ? "." : out.vector == 13 && !out.error ? "G" : "?");
            }
        }
        put("\n");
    }
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
}

__attribute__((used)) void test_main(void)
{
    ring_setup();
    __asm__ volatile("mov %%cr4, %%eax; or $0x600, %%eax; mov %%eax, %%cr4" ::: "eax");
    fast_calls();
    limits();
    sizes();
    umip();
}
