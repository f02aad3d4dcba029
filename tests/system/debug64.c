/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * debug64.c - debug registers, TF, RF, interrupt shadows, #SS and #AC in 64-bit mode (SDM vol. 3, 17.2, 17.3, 6.8).
 */
#define SYS_MAIN
#include "sys.h"

static volatile u64 data[64] __attribute__((aligned(64)));
static u64 base;            /* RIPs are shown relative to this */
static u64 resume;          /* where a fault continues */
static int show;

static u64 dr6(void)
{
    u64 v;
    __asm__ volatile("mov %%dr6, %0" : "=r"(v));
    __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
    return v;
}

#define SET_DR(n, v) __asm__ volatile("mov %0, %%dr" #n : : "r"((u64)(v)))

void trap(struct frame *f)
{
    put("  #");
    put_hex(f->vector);
    put(" err ");
    put_hex(f->error);
    put(" at ");
    put_hex(f->ip - base);
    put(f->flags & 0x10000 ? " RF" : "");
    if (f->vector == 1) {
        put(" dr6 ");
        put_hex(dr6() & 0xe00f);
        if (!(show & 2)) {
            f->flags |= 0x10000;    /* go on behind an instruction breakpoint */
        }
    } else if (f->vector != 2 && f->vector < 32) {
        f->ip = resume;
    }
    if (show & 1) {
        put(" rcx ");
        put_hex(f->rcx);
    }
    if (show & 4) {
        f->flags &= ~0x100ull;
    }
    put("\n");
}

#define RUN(code, ...)                                                      \
    __asm__ volatile("lea 9f(%%rip), %%rax\n\tmov %%rax, %0\n\t"             \
                     "lea 8f(%%rip), %%rax\n\tmov %%rax, %1\n\t"             \
                     "8: " code "\n\t9:\n\t"                                 \
                     : "=m"(resume), "=m"(base) : __VA_ARGS__                \
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "memory", "cc")

static void test_data(void)
{
    put("data write\n");
    SET_DR(0, &data[1]);
    SET_DR(7, 0x400 | 1 | 0xd0000);     /* L0, write, 4 bytes */
    RUN("movl $1, 12(%2); nop; movl $2, 8(%2); nop; movb $3, 11(%2); movl 8(%2), %%ecx; addl $1, 8(%2); nop",
        "b"(data));
    put("data write across, 8 bytes at 4\n");
    RUN("movq %%rax, 4(%2); nop; movups %%xmm0, (%2); nop; push %%rax; pop 8(%2); nop", "b"(data));
    put("data read\n");
    SET_DR(7, 0x400 | 1 | 0xf0000);     /* read or write */
    RUN("movl 8(%2), %%ecx; nop; cmpb $0, 11(%2); nop; lea 8(%2), %%rax; xchg %%ecx, 8(%2); nop", "b"(data));
    put("in a loop of one block\n");
    RUN("mov $3, %%ecx; 1: movl %%ecx, (%2, %%rcx, 4); dec %%ecx; jnz 1b; nop", "b"(data));
    put("two at once\n");
    SET_DR(1, (u64)&data[1] + 4);
    SET_DR(7, 0x400 | 5 | 0xdd0000);
    RUN("movq $0, 8(%2); nop", "b"(data));
    put("rep stosb\n");
    SET_DR(0, (u64)data + 5);
    SET_DR(7, 0x400 | 1 | 0x10000);
    show = 1;
    RUN("mov %2, %%rdi; mov $8, %%ecx; rep stosb; nop", "b"(data));
    show = 0;
    SET_DR(7, 0x400);
}

static void test_exec(void)
{
    u64 at;

    put("instruction\n");
    __asm__ volatile("lea 1f(%%rip), %0\n\tjmp 2f\n\t1: nop; inc %%ecx; ret\n\t2:" : "=r"(at));
    SET_DR(2, at);
    SET_DR(3, at + 1);
    SET_DR(7, 0x400 | 0x10);
    RUN("xor %%ecx, %%ecx; call *%2; call *%2; mov %%ecx, %%edx", "b"(at));
    put("two instructions in turn\n");
    SET_DR(7, 0x400 | 0x50);
    RUN("call *%2", "b"(at));
    SET_DR(7, 0x400);
    put("off\n");
    RUN("call *%2", "b"(at));
}

static void test_io(void)
{
    put("port\n");
    SET_DR(0, 0x80);
    SET_DR(7, 0x400 | 1 | 0x20000);
    RUN("mov $0x80, %%edx; outb %%al, %%dx; nop; inb $0x80, %%al; nop; mov $0x7f, %%edx; inw %%dx, %%ax; nop"
        , "b"(data));
    SET_DR(7, 0x400);
}

static void test_gd(void)
{
    put("general detect\n");
    SET_DR(7, 0x400 | 0x2000);
    show = 2;
    RUN("mov %%dr0, %%rax; nop", "b"(data));
    show = 0;
}

static void test_tf(void)
{
    put("single step\n");
    show = 4;
    RUN("pushf; orl $0x100, (%%rsp); popf; nop; nop; nop", "b"(data));
    put("single step over mov ss\n");
    RUN("mov %%ss, %%edx; pushf; orl $0x100, (%%rsp); popf; mov %%edx, %%ss; nop; nop", "b"(data));
    put("single step of rep movsb\n");
    show = 5;
    RUN("mov $data, %%esi; mov $data + 64, %%edi; mov $3, %%ecx; pushf; orl $0x100, (%%rsp); popf; rep movsb; nop"
        , "b"(data));
    show = 0;
    put("icebp int3 into ud2\n");
    RUN(".byte 0xf1; nop", "b"(data));
    RUN("int3; nop", "b"(data));
    RUN("ud2", "b"(data));
    RUN("int $0x42; nop", "b"(data));
}

static void test_faults(void)
{
    put("canonical\n");
    RUN("mov $0x800000000000, %%rcx; mov (%%rcx), %%eax", "b"(data));
    RUN("mov %%rsp, %%rdx; mov $0x800000000000, %%rcx; xchg %%rcx, %%rbp; mov (%%rbp), %%eax; 7: nop", "b"(data));
    put("#de #gp\n");
    RUN("xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx", "b"(data));
    RUN("mov $0x1234, %%ecx; mov %%ecx, %%ds", "b"(data));
    RUN("mov $0x12345678, %%ecx; rdmsr", "b"(data));
    RUN("mov $data + 1, %%ecx; movaps (%%rcx), %%xmm0", "b"(data));
    put("#pf\n");
    RUN("mov $0x40000000, %%ecx; mov (%%rcx), %%eax", "b"(data));
    RUN("mov $0x40000000, %%ecx; movl $1, (%%rcx)", "b"(data));
    RUN("mov $0x40000000, %%ecx; jmp *%%rcx", "b"(data));
    RUN("mov $0x5ffffc, %%ecx; movq $1, (%%rcx)", "b"(data));
}

/* Stack references with a stack pointer of their own; the handler runs on an IST stack. */
static void test_ss(void)
{
    extern u8 idt[];
    put("#ss\n");
    idt[12 * 16 + 4] = idt[13 * 16 + 4] = idt[14 * 16 + 4] = 1;
    *(volatile u64 *)(0x6000 + 0x24) = 0x7a000;
#define BAD(code)                                                                               \
    __asm__ volatile("mov %%rsp, %%r12; lea 9f(%%rip), %%rax; mov %%rax, %0; lea 8f(%%rip), %%rax; mov %%rax, %1; " \
                     "mov $0x8000000000f0, %%rsp; mov $data, %%ecx; 8: " code "; 9: mov %%r12, %%rsp"              \
                     : "=m"(resume), "=m"(base) :: "rax", "rcx", "r12", "memory", "cc")
    BAD("push %%rax");
    BAD("pop %%rax");
    BAD("mov (%%rsp), %%eax");
    BAD("mov %%ds:(%%rsp), %%eax");
    BAD("call 9f");
    BAD("ret");
    BAD("push (%%rcx)");
    BAD("addl $1, 8(%%rsp)");
    BAD("mov %%rsp, %%rcx; push (%%rcx)");
    BAD("mov %%rsp, %%rcx; addl $1, (%%rcx)");
    BAD("leave");
    BAD("enter $16, $0");
    idt[12 * 16 + 4] = idt[13 * 16 + 4] = idt[14 * 16 + 4] = 0;
}

__attribute__((used)) void test_main(void)
{
    dr6();
    test_data();
    test_exec();
    test_io();
    test_gd();
    test_tf();
    test_faults();
    test_ss();
}
