/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dirty64.c - the guest of tests/qtest/test_dirty.py: writes to memory in every way there is, for ever, while it is moved
 * from one QEMU to the next.  It wants 20 MiB.
 *
 * Most writers have pages of their own, so that a page that a migration forgets is not saved by its neighbours.  Pages of
 * words are checked before they are written again.  A byte on the serial port is answered by `+`, after what is WRONG.
 */
#define SYS_MAIN
#include "lib64.h"

#define LARGE 0x800000ull       /* 8..10 MiB, large pages */
#define SMALL 0x40000000ull     /* 10..12 MiB, small pages at 1 GiB */
#define SMALL_AT 0xa00000ull
#define USER_AT 0xc00000ull     /* 12..14 MiB in a large and 14..16 MiB in small pages, of the user, at 2 GiB */
#define PAGES 512
#define OWN 0x1000000ull        /* 16 MiB: pages that one writer has for itself */
#define own(n) (OWN + (u64)(n) * 0x2000)

static u32 count[2 * PAGES];
static u64 seed = 88172645463325252ull, rounds;

static u64 next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void map(u64 pdpt_entry, u64 pd, u64 n_large, u64 phys, u64 n_small, u64 bits)
{
    u64 pt = pd + 0x1000;

    *(volatile u64 *)(0x201000 + 8 * pdpt_entry) = pd | 7;
    for (u64 i = 0; i < n_large; i++, phys += 0x200000) {
        ((volatile u64 *)pd)[i] = phys | 0x80 | bits;
    }
    for (u64 i = 0; i < n_small; i++, phys += 0x1000) {
        ((volatile u64 *)pd)[n_large + i / 512] = (pt + i / 512 * 0x1000) | 7;
        ((volatile u64 *)pt)[i] = phys | bits;
    }
}

/* ---- words that are checked ---- */

static u64 word_of(u64 page, u64 n) { return (page << 32 | n) * 0x9e3779b97f4a7c15ull; }

static void step(u64 base, u32 page, u32 slot)
{
    volatile u64 *p = (volatile u64 *)(base + (u64)page * 0x1000 + (slot + page) % 511 * 8);

    if (count[slot] && *p != word_of(slot, count[slot])) {
        line("WRONG page", slot);
    }
    *p = word_of(slot, ++count[slot]);
}

static void words(void)
{
    u32 first = (u32)next() % (PAGES - 64);

    for (u32 i = 0; i < 64; i++) {          /* in order */
        step(SMALL, first + i, first + i);
    }
    for (u32 i = 0; i < 32; i++) {          /* here and there */
        u32 page = (u32)next() % PAGES;
        step(LARGE, page, PAGES + page);
        step(SMALL, (u32)seed % 100, (u32)seed % 100);
    }
    for (u32 i = 0; i < 1000; i++) {        /* one page */
        ((volatile u64 *)own(0))[i % 512]++;
    }
}

/* ---- CPL 3: host mappings ---- */

extern const u8 user_code[], user_end[];
__asm__(".text; user_code: mov %rdi, %rax; mov $0x80000000, %ebx; mov $3000, %ecx;"
        "1: imul $1103515245, %rax, %rax; add $12345, %rax; mov %rax, %rdx; shr $16, %rdx; and $0x3fffff, %edx;"
        "and $~7, %edx; add %rax, (%rbx,%rdx); lea (%rbx,%rcx,8), %rsi; mov %rax, 0x280000(%rsi);"
        "loop 1b; mov %rbx, %rdi; add $0x10ff0, %rdi; mov $0x40, %ecx; rep stosq; int $0x81; user_end:");

static void user(void)
{
    run_user(USER_CODE, seed);
}

/* ---- code that changes ---- */

static void code(void)
{
    static u32 value;
    u64 at = own(2) + next() % 16 * 0x200;
    u32 (*f)(void) = (u32 (*)(void))at;

    *(volatile u8 *)at = 0xb8;
    *(volatile u8 *)(at + 5) = 0xc3;
    *(volatile u32 *)(at + 1) = ++value;
    check("code", f(), value);
}

/* ---- accessed and dirty bits: a table that only the walk writes to, now and then ---- */

static void walked(void)
{
    volatile u64 *pt = (volatile u64 *)own(4), *pd = (volatile u64 *)own(5);
    u64 n = next() % 512, lin = 0xc0000000ull + n * 0x1000;

    *(volatile u64 *)0x201018 = (u64)pd | 7;
    pd[0] = (u64)pt | 7;
    if (rounds % 64 == 0) {
        for (u32 i = 0; i < 512; i++) {
            pt[i] = (0x1200000ull + i * 0x1000) | 3;
        }
        set_cr3(get_cr3());
    }
    if (n & 1) {
        *(volatile u64 *)(lin + n * 4 / 8 * 8) = seed;
    } else {
        (void)*(volatile u64 *)lin;
    }
}

/* ---- instructions that store in their own ways ---- */

static void strings(void)
{
    u64 to = own(6) + next() % 0x1000, from = LARGE + next() % 0x10000, n = 0x700 + next() % 0x100;

    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    to = own(7) + next() % 512 * 8;
    n = 300;
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(seed) : "memory");
    to = own(8) + 0x1fff;
    n = 40;
    __asm__ volatile("std; rep stosb; cld" : "+D"(to), "+c"(n) : "a"(seed) : "memory");
}

static void vectors(void)
{
    __asm__ volatile("movq %0, %%xmm0; movq %0, %%xmm1; pslldq $8, %%xmm0; pcmpeqb %%xmm2, %%xmm2" : : "r"(seed) : "memory");
    __asm__ volatile("fxsave64 (%0)" : : "r"(own(9) + next() % 200 * 16) : "memory");
    __asm__ volatile("movups %%xmm0, (%0)" : : "r"(own(10) + 0xff8) : "memory");
    __asm__ volatile("movntps %%xmm1, (%0)" : : "r"(own(11) + next() % 512 * 16) : "memory");
    __asm__ volatile("maskmovdqu %%xmm2, %%xmm1" : : "D"(own(12) + next() % 0x1ff0) : "memory");
    __asm__ volatile("fnstenv (%0); fldenv (%0)" : : "r"(own(13) + next() % 0x1000) : "memory");
    __asm__ volatile("fld1; fstpt (%0)" : : "r"(own(14) + next() % 0x1ff0) : "memory");
    *(volatile u64 *)(own(15) + 0xffb) = seed;                   /* across two pages */
}

static void locked(void)
{
    u64 at = own(16) + next() % 1024 * 8;

    __asm__ volatile("lock xadd %1, (%0)" : : "r"(at), "r"(seed) : "memory", "cc");
    __asm__ volatile("xchg %1, 0x2000(%0)" : : "r"(at), "r"(seed) : "memory");
    __asm__ volatile("lock btsq %1, 0x4000(%0)" : : "r"(at & ~0x3ffull), "r"(seed & 4095) : "memory", "cc");
    __asm__ volatile("lock cmpxchg16b (%0)" : : "r"(own(19) + next() % 512 * 16), "a"(0), "d"(0), "b"(seed), "c"(1)
                     : "memory", "cc");
}

static void tables(void)
{
    u64 at = own(20) + next() % 0x1ff0;

    __asm__ volatile("sgdt (%0)" : : "r"(at) : "memory");
    __asm__ volatile("sidt (%0)" : : "r"(own(21) + seed % 0x1ff0) : "memory");
    __asm__ volatile("str (%0); smsw 16(%0)" : : "r"(own(22) + seed % 0x1f00) : "memory");
    __asm__ volatile("mov %%ds, (%0)" : : "r"(own(23) + seed % 0x1ff0) : "memory");
}

/* A stack of its own for pushes, an interrupt's frame and 32-bit PUSHA; the descriptor gets its accessed bit. */
static void stacks(void)
{
    u64 sp = own(24) + 0x400 + next() % 880 * 8, sp2 = own(25) + 0x400 + next() % 880 * 8;

    __asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push %0; pushf; mov %%rsp, %%rbp; enter $64, $3; int $0x80; mov %%rbx, %%rsp"
                     : : "r"(sp) : "rbx", "rbp", "memory", "cc");
    __asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; lea 1f(%%rip), %%rax; pushq $0x38; push %%rax; lretq;"
                     ".code32; 1: pushal; popal; lcall $0x38, $3f; pushal; popal; ljmp $8, $2f; 3: lret;"
                     ".code64; 2: mov %%rbx, %%rsp"
                     : : "r"(sp2) : "rbx", "rax", "memory", "cc");
}

static void descriptors(void)
{
    volatile u64 *gdt = (volatile u64 *)own(26);
    struct { u16 limit; u64 base; } __attribute__((packed)) old, new = { 0x1fff, (u64)gdt };
    u32 n = 16 + (u32)next() % 1000;

    __asm__ volatile("sgdt %0" : "=m"(old));
    if (rounds % 50 == 0) {
        for (u32 i = 0; i < 1024; i++) {
            gdt[i] = i < 9 ? ((volatile u64 *)old.base)[i] : 0x00cf92000000ffffull;
        }
    }
    __asm__ volatile("lgdt %0; mov %1, %%es; mov %2, %%es; lgdt %3" : : "m"(new), "r"(n * 8), "r"(0x10), "m"(old));
}

/* ---- a device: fw_cfg copies its signature ---- */

static u32 swap(u32 v) { return __builtin_bswap32(v); }

static void device(void)
{
    static volatile struct { u32 control, length; u64 address; } __attribute__((packed, aligned(16))) dma;
    u64 to = own(30) + next() % 0x1ff0;

    *(volatile u32 *)to = 0;
    dma.control = swap(0 << 16 | 8 | 2);    /* select entry 0, read */
    dma.length = swap(4);
    dma.address = (u64)swap((u32)to) << 32;
    __asm__ volatile("outl %0, %1" : : "a"(0), "d"((u16)0x514));
    __asm__ volatile("outl %0, %1" : : "a"(swap((u32)(u64)&dma)), "d"((u16)0x518));
    check("device", *(volatile u32 *)to, 0x554d4551);
}

static int interrupted(struct frame *f) { return f->vector == 0x80; }

__attribute__((used)) void test_main(void)
{
    on_trap = interrupted;
    map(1, 0x209000, 0, SMALL_AT, PAGES, 3);
    map(2, 0x210000, 1, USER_AT, 512, 7);
    for (u64 i = 4; i < 10; i++) {
        ((volatile u64 *)0x202000)[i] = i << 21 | 0x83;
    }
    set_cr3(get_cr3());
    user_copy(USER_CODE, user_code, user_end);
    put("ready\n");
    for (;; rounds++) {
        words();
        user();
        code();
        walked();
        strings();
        vectors();
        locked();
        tables();
        stacks();
        descriptors();
        device();
        if (inb(0x3fd) & 1) {
            inb(0x3f8);
            put("+");
        }
    }
}
