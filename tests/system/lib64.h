/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lib64.h - for 64-bit tests: run a piece of code in ring 0 or ring 3 and learn how it ended.
 *
 * TRY(code, operands...) runs assembly in place; a fault ends it.  run_user(ip, rdi) runs code at CPL 3 until it faults
 * or executes INT 81h.  Afterwards `got` holds the vector (-1: none), error code, CR2 and where it was.
 */
#ifndef XBT_TEST_LIB64_H
#define XBT_TEST_LIB64_H

#include "sys.h"

#define CR0_MP 2ull
#define CR0_EM 4ull
#define CR0_TS 8ull
#define CR0_NE 0x20ull
#define CR0_WP 0x10000ull
#define CR0_AM 0x40000ull
#define CR0_PG 0x80000000ull
#define FL_TF  0x100u
#define FL_IF  0x200u
#define FL_RF  0x10000u
#define FL_AC  0x40000u

#define TSS64      0x6000       /* entry64.S */
#define RSP0_TOP   0x7a000
#define USER_STACK 0x30f000     /* a user page, also in tests that take the rest from the user */
#define USER_CODE  0x300000

#define GETTER(name, insn) \
    static inline u64 name(void) { u64 v; __asm__ volatile(insn : "=r"(v)); return v; }
#define SETTER(name, insn) \
    static inline void name(u64 v) { __asm__ volatile(insn : : "r"(v) : "memory"); }
GETTER(get_cr0, "mov %%cr0, %0") GETTER(get_cr2, "mov %%cr2, %0") GETTER(get_cr3, "mov %%cr3, %0")
GETTER(get_cr4, "mov %%cr4, %0") GETTER(get_cr8, "mov %%cr8, %0") GETTER(get_dr6, "mov %%dr6, %0")
GETTER(get_dr7, "mov %%dr7, %0") GETTER(get_flags, "pushf; pop %0")
SETTER(set_cr0, "mov %0, %%cr0") SETTER(set_cr3, "mov %0, %%cr3") SETTER(set_cr4, "mov %0, %%cr4")
SETTER(set_cr8, "mov %0, %%cr8") SETTER(set_dr6, "mov %0, %%dr6") SETTER(set_dr7, "mov %0, %%dr7")
SETTER(set_dr0, "mov %0, %%dr0") SETTER(set_dr1, "mov %0, %%dr1") SETTER(set_dr2, "mov %0, %%dr2")
SETTER(set_dr3, "mov %0, %%dr3") SETTER(set_flags, "push %0; popf")

static inline void invlpg(u64 lin) { __asm__ volatile("invlpg (%0)" : : "r"(lin) : "memory"); }

static inline void cpuid(u32 leaf, u32 sub, u32 r[4])
{
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

struct got {
    int vector;
    u64 error, cr2, ip, flags, rcx, rax;
};
static volatile struct got got;
static volatile u64 resume_ip, resume_sp, base_ip, in_user;
/* First look at each exception: non-zero means that it was dealt with and the code goes on. */
static int (*volatile on_trap)(struct frame *f);

void trap(struct frame *f)
{
    if (on_trap && on_trap(f)) {
        return;
    }
    got.vector = (int)f->vector;
    got.error = f->error;
    got.ip = f->ip - base_ip;
    got.flags = f->flags;
    got.rcx = f->rcx;
    got.rax = f->rax;
    got.cr2 = f->vector == 14 ? get_cr2() : 0;
    if (!resume_ip) {
        line("unexpected", f->vector);
        line("at", f->ip);
        line("error", f->error);
        line("cr2", got.cr2);
        sys_exit(1);
    }
    f->flags &= ~(u64)(FL_TF | FL_RF | FL_AC | FL_IF);
    f->ip = resume_ip;
    f->sp = resume_sp;
    if (in_user) {
        if (f->vector == 0x81) {
            got.vector = -1;
        }
        f->cs = 8;
        f->ss = 0x10;
        in_user = 0;
    }
}

#define TRY(code, ...)                                                               \
    do {                                                                             \
        got.vector = -1;                                                             \
        got.error = got.cr2 = got.ip = 0;                                            \
        __asm__ volatile("lea 9f(%%rip), %%r8; mov %%r8, resume_ip(%%rip);"          \
                         "mov %%rsp, resume_sp(%%rip);"                               \
                         "lea 8f(%%rip), %%r8; mov %%r8, base_ip(%%rip);\n"          \
                         "8: " code "\n9: movq $0, resume_ip(%%rip)\n"                \
                         : : __VA_ARGS__ : "r8", "rax", "rcx", "rdx", "memory", "cc"); \
    } while (0)

/* Code at `ip` runs at CPL 3 with rdi = arg, rsp = USER_STACK and these flags. */
static inline void run_user_flags(u64 ip, u64 arg, u64 flags)
{
    got.vector = -1;
    got.error = got.cr2 = got.ip = 0;
    base_ip = ip;
    *(volatile u64 *)(TSS64 + 4) = RSP0_TOP;
    __asm__ volatile("push %%rbx; push %%rbp; mov %%rsp, resume_sp(%%rip);"
                     "lea 9f(%%rip), %%r8; mov %%r8, resume_ip(%%rip); movq $1, in_user(%%rip);"
                     "pushq $0x1b; pushq $0x30f000; pushq %2; pushq $0x23; pushq %0; iretq;"
                     "9: movq $0, resume_ip(%%rip); pop %%rbp; pop %%rbx; mov $0x10, %%eax; mov %%eax, %%ds; mov %%eax, %%es"
                     : : "r"(ip), "D"(arg), "r"(flags)
                     : "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
                       "cc");
}

static inline void run_user(u64 ip, u64 arg) { run_user_flags(ip, arg, 2); }

/* Take all pages but 300000..30ffff from the user. */
static inline void user_split(void)
{
    volatile u64 *pt = (volatile u64 *)0x203000;

    for (u32 i = 0; i < 1024; i++) {
        pt[i] &= i >= 0x300 && i < 0x310 ? ~0ull : ~4ull;
    }
    set_cr3(get_cr3());
}

/* Copy code between two labels of this image to where the user may run it; returns the place behind it. */
static inline u64 user_copy(u64 to, const void *from, const void *end)
{
    const u8 *s = from;
    while (s != end) {
        *(volatile u8 *)to++ = *s++;
    }
    return to;
}

/* "name: #v err e cr2 c at i" */
static inline void show(const char *name)
{
    put(name);
    if (got.vector < 0) {
        put(": ok\n");
        return;
    }
    put(": #");
    put_hex((u64)got.vector);
    put(" err ");
    put_hex(got.error);
    if (got.vector == 14) {
        put(" cr2 ");
        put_hex(got.cr2);
    }
    put(" at ");
    put_hex(got.ip);
    put("\n");
}

static inline void check(const char *name, u64 value, u64 want)
{
    if (value != want) {
        put("WRONG ");
        put(name);
        put(": ");
        put_hex(value);
        put(" want ");
        put_hex(want);
        put("\n");
    }
}

#endif
