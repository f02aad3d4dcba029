/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svm.h - a small hypervisor for the system tests: a VMCB, one nested guest that shares the test's address space, and
 * a line of output per #VMEXIT (APM vol. 2, chapter 15 and appendices B, C).
 */
#ifndef XBT_TEST_SVM_H
#define XBT_TEST_SVM_H

#include "sys.h"

#define HSAVE   0x300000ull
#define VMCB    0x301000ull
#define IOPM    0x302000ull   /* three pages */
#define MSRPM   0x306000ull   /* two pages */
#define GSTACK  0x310000ull
#define NPT     0x320000ull   /* PML4, PDPT, PD, two PTs */
#define SCRATCH 0x340000ull   /* a page for guests to touch */

#define V8(off)  (*(volatile u8 *)(VMCB + (off)))
#define V16(off) (*(volatile u16 *)(VMCB + (off)))
#define V32(off) (*(volatile u32 *)(VMCB + (off)))
#define V64(off) (*(volatile u64 *)(VMCB + (off)))
enum {
    C_CR = 0, C_DR = 4, C_EXC = 8, C_MISC1 = 12, C_MISC2 = 16, C_MISC3 = 20, C_IOPM = 0x40, C_MSRPM = 0x48,
    C_TSC = 0x50, C_ASID = 0x58, C_TLB = 0x5c, C_INTCTL = 0x60, C_VECTOR = 0x64, C_STATE = 0x68, C_CODE = 0x70,
    C_INFO1 = 0x78, C_INFO2 = 0x80, C_INTINFO = 0x88, C_NP = 0x90, C_INJECT = 0xa8, C_NCR3 = 0xb0, C_NRIP = 0xc8,
    S_ES = 0x400, S_CS = 0x410, S_SS = 0x420, S_DS = 0x430, S_FS = 0x440, S_GS = 0x450, S_GDTR = 0x460,
    S_LDTR = 0x470, S_IDTR = 0x480, S_TR = 0x490, S_CPL = 0x4cb, S_EFER = 0x4d0, S_CR4 = 0x548, S_CR3 = 0x550,
    S_CR0 = 0x558, S_DR7 = 0x560, S_DR6 = 0x568, S_RFLAGS = 0x570, S_RIP = 0x578, S_RSP = 0x5d8, S_RAX = 0x5f8,
    S_KGS = 0x620, S_CR2 = 0x640, S_PAT = 0x668,
};

static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return lo | (u64)hi << 32;
}
static inline void wrmsr(u32 msr, u64 v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)));
}
#define READ_CR(n) ({ u64 v_; __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v_)); v_; })

static inline volatile u32 *apic(u32 reg) { return (volatile u32 *)(0xfee00000ull + reg); }
static inline void clear(u64 at, u32 bytes)
{
    for (u32 i = 0; i < bytes; i += 8) {
        *(volatile u64 *)(at + i) = 0;
    }
}

static inline void put_dtr(u32 off, const u8 *p)
{
    V32(off + 4) = *(const u16 *)p;
    V64(off + 8) = *(const u64 *)(p + 2);
}
static inline void flat(u32 off, u16 sel, u16 attr)
{
    V16(off) = sel;
    V16(off + 2) = attr;
    V32(off + 4) = 0xffffffff;
    V64(off + 8) = 0;
}

/* A guest like the host: 64-bit code at CPL 0, the same tables, interrupts off. */
static inline void guest_reset(u64 entry)
{
    u8 d[10];

    clear(VMCB, 4096);
    V32(C_MISC2) = 3;            /* VMRUN, VMMCALL */
    V32(C_ASID) = 1;
    V64(C_IOPM) = IOPM;
    V64(C_MSRPM) = MSRPM;
    flat(S_CS, 8, 0xa9b);
    flat(S_DS, 16, 0xc93);
    flat(S_ES, 16, 0xc93);
    flat(S_SS, 16, 0xc93);
    __asm__ volatile("sgdt %0" : "=m"(d));
    put_dtr(S_GDTR, d);
    __asm__ volatile("sidt %0" : "=m"(d));
    put_dtr(S_IDTR, d);
    V64(S_EFER) = rdmsr(0xc0000080);
    V64(S_CR0) = READ_CR(0);
    V64(S_CR3) = READ_CR(3);
    V64(S_CR4) = READ_CR(4);
    V64(S_DR6) = 0xffff0ff0;
    V64(S_DR7) = 0x400;
    V64(S_RFLAGS) = 2;
    V64(S_RIP) = entry;
    V64(S_RSP) = GSTACK;
    V64(S_PAT) = 0x0007040600070406ull;
    __asm__ volatile("vmsave" : : "a"(VMCB) : "memory");
}

/* Until the next #VMEXIT.  in[0..1]: the guest's RCX and RDX, which come back there. */
static u64 guest_rcx, guest_rdx;
static inline void vmrun(void)
{
    __asm__ volatile("push %%rbp; clgi; vmload; vmrun; vmsave; stgi; pop %%rbp"
                     : "+c"(guest_rcx), "+d"(guest_rdx)
                     : "a"(VMCB)
                     : "rbx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

static u64 guest_entry;
static inline void show_exit(const char *name)
{
    put(name);
    put(": exit ");
    put_hex(V64(C_CODE));
    put(" ");
    put_hex(V64(C_INFO1));
    put(" ");
    put_hex(V64(C_INFO2) - (V64(C_CODE) == 0x7b ? guest_entry : 0));
    if (V64(S_RIP) - guest_entry < 0x80) {
        put(" at ");
        put_hex(V64(S_RIP) - guest_entry);
    }
    if (V64(C_NRIP)) {
        put(" next ");
        put_hex(V64(C_NRIP) - V64(S_RIP));
    }
    if (V64(C_INTINFO)) {
        put(" event ");
        put_hex(V64(C_INTINFO));
    }
    if (V64(C_STATE)) {
        put(" shadow");
    }
    put("\n");
}

static inline void run(const char *name)
{
    vmrun();
    show_exit(name);
}

/* Where `code` lies; a VMMCALL follows it.  The guest starts there. */
#define GUEST(code)                                                                                        \
    do {                                                                                                   \
        __asm__ volatile("lea 771f(%%rip), %0; jmp 772f; 771: " code "; vmmcall; 772:" : "=r"(guest_entry)); \
        guest_reset(guest_entry);                                                                          \
    } while (0)

static inline void svm_on(void)
{
    static const u64 parts[][2] = { { IOPM, 0x3000 }, { MSRPM, 0x2000 }, { HSAVE, 0x1000 }, { SCRATCH, 0x1000 } };

    *(volatile u64 *)0x201018 = 0x207007;     /* PDPT[3]: the local APIC, above the test's tables */
    clear(0x207000, 4096);
    *(volatile u64 *)(0x207000 + 8 * 0x1f7) = 0xfee0009f;
    for (u32 i = 0; i < 4; i++) {
        clear(parts[i][0], (u32)parts[i][1]);
    }
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x1000);
    wrmsr(0xc0010117, HSAVE);
}

#endif
