/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sys.h - what every system test has: output to the serial port, the end, and exceptions caught by trap().
 *
 * TRY(asm...) runs code that may fault: afterwards `got` says which vector was met first (-1 none), with error code,
 * offset of the saved RIP from the label in the code, and flags.  A trap inside TRY continues at `resume`.
 */
#ifndef XBT_TEST_SYS_H
#define XBT_TEST_SYS_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long ulong;

static inline void outb(u16 port, u8 v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline u8 inb(u16 port)
{
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void put(const char *s)
{
    while (*s) {
        outb(0x3f8, (u8)*s++);
    }
}

static inline void put_hex(u64 v)
{
    char b[17];
    int i = 16;

    b[16] = 0;
    do {
        b[--i] = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v);
    put(b + i);
}

static inline void line(const char *name, u64 v)
{
    put(name);
    put(" ");
    put_hex(v);
    put("\n");
}

void sys_exit(int code);
#ifdef SYS_MAIN
__attribute__((used)) void sys_exit(int code)
{
    put("end\n");
    outb(0xf4, (u8)code);
    for (;;) {
        __asm__ volatile("hlt");
    }
}
#endif

struct frame {
#ifdef __x86_64__
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error, ip, cs, flags, sp, ss;
#else
    u32 edi, esi, ebp, esp_, ebx, edx, ecx, eax;
    u32 vector, error, ip, cs, flags, sp, ss;
#endif
};
void trap(struct frame *f);

#endif
