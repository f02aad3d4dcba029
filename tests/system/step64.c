/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * step64.c - #DB in the company of other things: single steps over MOV SS, STI, HLT, CPUID, ICEBP and REP, in ring 0
 * and 3; breakpoints held back by MOV SS; DR6, DR7.GD; instruction breakpoints before fetch faults, with RF
 * (SDM vol. 3, 6.8.3, 6.9, 17.2, 17.3).
 *
 * Each line lists the traps: offset from the first instruction, DR6, and RF of the pushed flags.
 */
#define SYS_MAIN
#include "lib64.h"

static volatile u32 limit, stop_tf;
static u64 data[8] __attribute__((aligned(64)));

static int traps(struct frame *f)
{
    u64 dr6;

    if (f->vector >= 0x20 && f->vector != 0x81) {
        put(" i");
        put_hex(f->vector);
        *(volatile u32 *)0xfee000b0ull = 0;
        return 1;
    }
    if (f->vector != 1 && f->vector != 3 && f->vector != 2) {
        return 0;
    }
    dr6 = get_dr6();
    put(f->vector == 1 ? " +" : f->vector == 3 ? " bp+" : " nmi+");
    if (f->ip - base_ip < 0x1000) {
        put_hex(f->ip - base_ip);
    } else {
        put("handler");
    }
    put("/");
    put_hex(dr6 ^ 0xffff0ff0);
    if (f->flags & FL_RF) {
        put("r");
    }
    check("dr7.gd", get_dr7() & 0x2000, 0);
    set_dr6(0);
    if (f->vector == 1 && (dr6 & 15)) {
        f->flags |= FL_RF;
    }
    if (!--limit) {
        put(" too many");
        f->flags &= ~(u64)FL_TF;
        set_dr7(0x400);
    }
    return 1;
}

/* Code between two labels of its own, run in ring 0 and, copied, in ring 3 with IOPL 3. */
#define STEP(name, code) __asm__(".globl s_" #name ", e_" #name "; s_" #name ": " code "; e_" #name ": ret;");  \
    extern u8 s_##name[], e_##name[]
#define TF_ON  "pushf; orl $0x100, (%rsp); popf; "
#define TF_OFF "pushf; andl $~0x100, (%rsp); popf; "

static void both(const char *name, u8 *s, u8 *e, int rings)
{
    for (int user = 0; user < 2; user++) {
        if (!(rings >> user & 1)) {
            continue;
        }
        put(name);
        put(user ? " user:" : ":");
        limit = 20;
        set_dr6(0);
        if (user) {
            u64 end = user_copy(USER_CODE, s, e);
            *(volatile u16 *)end = 0x81cd;
            run_user_flags(USER_CODE, 0x30e000, 0x3002);
        } else {
            TRY("mov %0, base_ip(%%rip); push %%rbx; push %%rsi; push %%rdi; call *%0; pop %%rdi; pop %%rsi; pop %%rbx",
                "S"(s), "D"(data));
        }
        set_dr7(0x400);
        if (got.vector >= 0) {
            show(" end");
        }
        put("\n");
    }
}

STEP(basic, TF_ON "nop; nop; " TF_OFF);
STEP(emulated, "mov $0, %eax; " TF_ON "cpuid; mov $0x3fd, %edx; inb %dx, %al; rdtsc; str %eax; " TF_OFF);
STEP(sti, "cli; " TF_ON "sti; nop; " TF_OFF "cli");
STEP(movss, "mov %ss, %ecx; " TF_ON "mov %ecx, %ss; nop; nop; " TF_OFF);
STEP(popss, "mov %ss, %ecx; push %rcx; " TF_ON "mov %ecx, %ss; nop; " TF_OFF "pop %rcx");
STEP(movssicebp, "mov %ss, %ecx; " TF_ON "mov %ecx, %ss; .byte 0xf1; .byte 0xf1; nop; " TF_OFF);
STEP(movssgd, "mov $0x2400, %eax; mov %rax, %dr7; xor %edx, %edx; mov %ss, %ecx; " TF_ON
     "mov %ecx, %ss; mov %rdx, %dr6; nop; " TF_OFF);
STEP(stihlt, "cli; mov $0xfee00000, %edx; movl $0x40, 0x320(%rdx); movl $0xb, 0x3e0(%rdx);"
     "movl $100000000, 0x380(%rdx); " TF_ON "sti; hlt; nop; " TF_OFF "cli; movl $0x10000, 0x320(%rdx)");
STEP(int3, TF_ON "int3; nop; " TF_OFF);
STEP(rep, "mov %rdi, %rsi; mov $3, %ecx; " TF_ON "rep lodsb; nop; " TF_OFF);
STEP(rep0, "mov %rdi, %rsi; xor %ecx, %ecx; " TF_ON "rep lodsb; nop; " TF_OFF);
STEP(call, TF_ON "call 1f; jmp 2f; 1: ret; 2: loop 3f; 3: nop; " TF_OFF);
STEP(popfoff, TF_ON "nop; " TF_OFF "nop; nop");
STEP(ud, TF_ON "ud2");
STEP(iret, "mov %rsp, %rdx; mov %ss, %eax; push %rax; push %rdx; pushf; orl $0x100, (%rsp); mov %cs, %eax; push %rax;"
     "lea 1f(%rip), %rax; push %rax; iretq; 1: nop; nop; " TF_OFF);

/* Data watchpoints. */
STEP(watch, "movl $1, (%rdi); nop; movl $2, 4(%rdi); nop; mov (%rdi), %eax; nop");
STEP(watchss, "mov (%rdi), %ss; nop; nop");
STEP(watchssicebp, "mov (%rdi), %ss; .byte 0x2e, 0x2e, 0xf1; nop");
STEP(watchssint1, "mov (%rdi), %ss; int $1; nop");
STEP(watchssint3, "mov (%rdi), %ss; .byte 0x2e, 0x2e, 0xcc; nop");
STEP(watchssud, "mov (%rdi), %ss; ud2");
STEP(watchstep, TF_ON "movl $1, (%rdi); nop; " TF_OFF);
STEP(watchrep, "mov $4, %ecx; mov %rdi, %rsi; rep lodsl; nop");
STEP(watchfault, "movl $5, %ss:(%rdi); mov %eax, 0x3f0000; nop");
STEP(gd, "mov $0x2400, %eax; mov %rax, %dr7; mov %dr0, %rax; nop; mov %dr0, %rax");
STEP(execbp, "nop; nop; mov %ss, %ecx; nop; nop");
STEP(execss, "mov %ss, %ecx; mov %ecx, %ss; nop; nop; nop");

static void test_watch(void)
{
    data[0] = 0x10;
    set_dr0((u64)data);
    set_dr6(0x4002);
    set_dr7(0x400 | 2 | 0xd0000);
    both("write", s_watch, e_watch, 1);
    set_dr7(0x400 | 2 | 0xf0000);
    both("read or write", s_watch, e_watch, 1);
    data[0] = 0x10;
    set_dr7(0x400 | 2 | 0xf0000);
    both("mov ss", s_watchss, e_watchss, 1);
    set_dr7(0x400 | 2 | 0xf0000);
    both("mov ss, icebp", s_watchssicebp, e_watchssicebp, 1);
    set_dr7(0x400 | 2 | 0xf0000);
    both("mov ss, int 1", s_watchssint1, e_watchssint1, 1);
    set_dr7(0x400 | 2 | 0xf0000);
    both("mov ss, int3", s_watchssint3, e_watchssint3, 1);
    set_dr7(0x400 | 2 | 0xf0000);
    both("mov ss, ud2", s_watchssud, e_watchssud, 1);
    set_dr7(0x400 | 2 | 0xf0000);
    both("with tf", s_watchstep, e_watchstep, 1);
    set_dr7(0x400 | 2 | 0xf0000);
    both("rep", s_watchrep, e_watchrep, 1);
    set_dr0(0x30e000);
    set_dr7(0x400 | 2 | 0xf0000);
    both("write", s_watch, e_watch, 2);
    set_dr7(0x400 | 2 | 0xf0000);
    both("fault behind", s_watchfault, e_watchfault, 2);
}

static void test_gd(void)
{
    put("general detect\n");
    both("mov", s_gd, e_gd, 1);
    both("mov ss", s_movssgd, e_movssgd, 1);
}

static void test_exec(void)
{
    put("instruction breakpoints\n");
    set_dr1((u64)s_execbp + 1);
    set_dr2((u64)s_execbp + 4);
    set_dr7(0x400 | 0x8 | 0x20);
    both("two", s_execbp, e_execbp, 1);
    set_dr1((u64)s_execss + 4);
    set_dr2((u64)s_execss + 5);
    set_dr7(0x400 | 0x8 | 0x20);
    both("behind mov ss", s_execss, e_execss, 1);
    /* Before the page fault of its own fetch. */
    ((volatile u64 *)0x203000)[0x3f1] = 0;
    invlpg(0x3f1000);
    set_dr1(0x3f1000);
    set_dr7(0x400 | 0x8);
    put("page fault:");
    limit = 4;
    TRY("mov $0x3f1000, %%eax; mov %%rax, base_ip(%%rip); jmp *%%rax", "D"(0));
    set_dr7(0x400);
    show("");
}

__attribute__((used)) void test_main(void)
{
    volatile u64 *pdpt = (volatile u64 *)0x201000, *pd = (volatile u64 *)0x206000;

    pdpt[3] = 0x206003;
    pd[0x1f7] = 0xfee00093ull;
    *(volatile u32 *)0xfee000f0ull = 0x1ff;
    user_split();
    on_trap = traps;
    both("basic", s_basic, e_basic, 3);
    both("emulated", s_emulated, e_emulated, 3);
    both("sti", s_sti, e_sti, 3);
    both("mov ss", s_movss, e_movss, 3);
    both("pop ss", s_popss, e_popss, 3);
    both("mov ss, icebp", s_movssicebp, e_movssicebp, 3);
    both("sti hlt", s_stihlt, e_stihlt, 1);
    both("int3", s_int3, e_int3, 3);
    both("rep", s_rep, e_rep, 1);
    both("rep, count 0", s_rep0, e_rep0, 1);
    both("calls", s_call, e_call, 3);
    both("popf", s_popfoff, e_popfoff, 3);
    both("ud", s_ud, e_ud, 3);
    both("iret", s_iret, e_iret, 3);
    test_watch();
    test_gd();
    test_exec();
}
