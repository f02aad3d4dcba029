/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * move64.c - the guest of tests/qtest/test_move.py: fills every register, waits while the machine moves to another QEMU,
 * and says what is not as it was.
 *
 * A letter on the serial port says how it waits: k in the kernel, u at CPL 3 (both in a loop of one jump), h halted with
 * interrupts off: an NMI ends these.  m: inside of an NMI's handler until a byte comes; another NMI is pending then.
 * t: reads its clock until a byte comes.  It prints `>` when it waits.
 */
#define SYS_MAIN
#include "lib64.h"

#define REGS __attribute__((target("general-regs-only")))
#define AREA_SIZE 2752
#define LDT_AT 0x6800
#define WATCHED 0x302000
#define SCRATCH_PORT 0x3ff
#define NOWHERE 0x123456789abcull

static u8 loaded[AREA_SIZE] __attribute__((aligned(64))), saved[AREA_SIZE] __attribute__((aligned(64)));
static u32 have_xsave, have_avx, have_pku, have_smap, have_umip;
static u32 xmask;
static u8 mode;
static volatile u32 nmis, debugs;
static u64 want_flags, want_ip, want_sp;

/* SMAP or not, the kernel here reaches pages of the user (or not). */
static void user_pages(int on) { set_flags(on ? get_flags() | FL_AC : get_flags() & ~(u64)FL_AC); }

/* ---- what is not among the general registers ---- */

static const u32 msrs[] = {
    0x174, 0x175, 0x176, 0x277, 0x1a0, 0x2ff, 0x250, 0x258, 0x268, 0x26f, 0x200, 0x201, 0x20e, 0x20f, 0x17b, 0x404, 0x3a,
    0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103,
};
#define N_MSRS (sizeof(msrs) / sizeof(msrs[0]))

struct tables {
    u16 limit;
    u64 base;
} __attribute__((packed));

struct control {
    u64 cr0, cr2, cr3, cr4, cr8, xcr0, pkru, dr[8], msr[N_MSRS];
    u16 sel[8];
    struct tables gdt, idt;
};
static struct control before, after;

#define SEL(c, i, name) __asm__ volatile("mov %%" name ", %0" : "=r"((c)->sel[i]))
#define DR(c, n) __asm__ volatile("mov %%dr" #n ", %0" : "=r"((c)->dr[n]))

static u64 msr_or_nothing(u32 msr)
{
    static volatile u32 v[2];

    TRY("mov %%edi, %%ecx; rdmsr; mov %%eax, (%%rsi); mov %%edx, 4(%%rsi)", "D"(msr), "S"(v));
    return got.vector < 0 ? (u64)v[1] << 32 | v[0] : NOWHERE;
}

static void control_get(struct control *c)
{
    u32 lo = 0, hi = 0;

    c->cr0 = get_cr0();
    c->cr2 = get_cr2();
    c->cr3 = get_cr3();
    c->cr4 = get_cr4();
    c->cr8 = get_cr8();
    if (have_xsave) {
        __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
        c->xcr0 = (u64)hi << 32 | lo;
    }
    if (have_pku) {
        __asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(lo), "=d"(hi) : "c"(0));
        c->pkru = lo;
    }
    DR(c, 0); DR(c, 1); DR(c, 2); DR(c, 3);
    c->dr[6] = get_dr6();
    c->dr[7] = get_dr7();
    SEL(c, 0, "es"); SEL(c, 1, "cs"); SEL(c, 2, "ss"); SEL(c, 3, "ds"); SEL(c, 4, "fs"); SEL(c, 5, "gs");
    __asm__ volatile("sldt %0" : "=r"(c->sel[6]));
    __asm__ volatile("str %0" : "=r"(c->sel[7]));
    __asm__ volatile("sgdt %0" : "=m"(c->gdt));
    __asm__ volatile("sidt %0" : "=m"(c->idt));
    for (u32 i = 0; i < N_MSRS; i++) {
        c->msr[i] = msr_or_nothing(msrs[i]);
    }
}

static void control_check(const char *what, const void *a, const void *b, u32 n)
{
    const u8 *x = a, *y = b;

    for (u32 i = 0; i < n; i++) {
        if (x[i] != y[i]) {
            put("WRONG ");
            put(what);
            put(" at ");
            put_hex(i);
            put(": ");
            put_hex(y[i]);
            put(" want ");
            put_hex(x[i]);
            put("\n");
        }
    }
}

static void try_msr(u32 msr, u64 v)
{
    TRY("mov %%edi, %%ecx; mov %%rsi, %%rax; mov %%rsi, %%rdx; shr $32, %%rdx; wrmsr", "D"(msr), "S"(v));
}

extern const u8 bp_target[];
__asm__(".text; bp_target: nop; ret");

static void control_fill(void)
{
    static const u64 value[N_MSRS] = {
        0x1234, 0xffff800000123458, 0xffff800000765432, 0x0001050600070406, 0x850088, 0xc06, 0x0606060606060606,
        0x0505050505050505, 0x0404040404040404, 0x0101010101010101, 0x80000006, 0xffc0000800, 0xe0000000, 0xfff0000800,
        0xffffffffffffffff, 0xffffffffffffffff, 5, 0xd01, 0x0013000800000000, 0xffff800011112222, 0x333344445555,
        0x47700, 0x7f1234567000, 0x301000, 0xffff888012345000, 0x12345678,
    };

    /* an LDT: TYPE 2 at 38h of a GDT copy; its entry 1 is data */
    static u64 gdt_copy[16];
    struct tables g;
    __asm__ volatile("sgdt %0" : "=m"(g));
    for (u32 i = 0; i < 9; i++) {
        gdt_copy[i] = ((volatile u64 *)g.base)[i];
    }
    gdt_copy[5] &= ~0x20000000000ull;                        /* the TSS is busy: load it anew */
    gdt_copy[10] = 0x0000820000000000ull | (u64)LDT_AT << 16 | 0x17;
    ((volatile u64 *)LDT_AT)[1] = 0x00cff3000000ffffull;
    g.base = (u64)gdt_copy;
    g.limit = sizeof(gdt_copy) - 1;
    __asm__ volatile("lgdt %0; lldt %w1; ltr %w2" : : "m"(g), "r"(0x50), "r"(0x28) : "memory");
    __asm__ volatile("mov %0, %%es; mov %1, %%ds; mov %1, %%fs; mov %1, %%gs" : : "r"(0x0f), "r"(0x1b));

    for (u32 i = 0; i < N_MSRS; i++) {
        try_msr(msrs[i], value[i]);
    }
    __asm__ volatile("mov %0, %%cr2" : : "r"(0xffff812345678abcull));
    set_cr8(6);
    set_dr0((u64)bp_target);
    set_dr1(WATCHED);
    set_dr2(SCRATCH_PORT);
    set_dr3(0x7fff00001230);
    set_dr6(0xffff4ff5);
    set_dr7(0x2d0040f);     /* 0: execution, 1: writes of 4 bytes, 2: a port, not enabled */
    if (have_pku) {
        __asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(0x55aa5550), "c"(0), "d"(0));
    }
}

/* ---- x87, SSE, AVX ---- */

static void area_fill(u8 *a)
{
    for (u32 i = 0; i < AREA_SIZE; i++) {
        a[i] = 0;
    }
    *(u16 *)(a + 0) = 0x0e7f & ~0x200;      /* round to zero, 53... all masked */
    *(u16 *)(a + 2) = 0x1800 | 0x4761;      /* TOP 3, conditions, ES off: some exceptions */
    *(u16 *)(a + 2) &= (u16)~0x8080;
    a[4] = 0xb6;
    *(u16 *)(a + 6) = 0x123;
    *(u64 *)(a + 8) = 0x401234;
    *(u64 *)(a + 16) = 0x7ffd1238;
    *(u32 *)(a + 24) = 0x7fbd & ~0x40u;     /* FTZ, round to zero, masked, flags */
    for (u32 r = 0; r < 8; r++) {
        *(u64 *)(a + 32 + 16 * r) = 0x8123456789abcd00ull + r;
        *(u16 *)(a + 40 + 16 * r) = (u16)(r == 2 ? 0x7fff : r == 5 ? 0 : 0xbfff + r);
    }
    for (u32 i = 160; i < 416; i++) {
        a[i] = (u8)(i * 7 + 1);
    }
    if (have_avx) {
        for (u32 i = 576; i < 832; i++) {
            a[i] = (u8)(i * 5 + 3);
        }
    }
    *(u64 *)(a + 512) = xmask & 7;
}

#define RESTORE                                                                                       \
    "mov $7, %%eax; xor %%edx, %%edx; and xmask(%%rip), %%eax; cmpl $0, have_xsave(%%rip); je 1f;"     \
    "xrstor64 loaded(%%rip); jmp 2f; 1: fxrstor64 loaded(%%rip); 2:"

REGS static void area_save(u8 *a)
{
    if (have_xsave) {
        __asm__ volatile("xsave64 (%0)" : : "r"(a), "a"(xmask & 7), "d"(0) : "memory");
    } else {
        __asm__ volatile("fxsave64 (%0)" : : "r"(a) : "memory");
    }
}

/* What was loaded may not all be there (AMD keeps the x87 pointers only with an exception pending). */
REGS static void area_settle(void)
{
    __asm__ volatile(RESTORE : : : "rax", "rdx", "memory");
    area_save(loaded);
    *(u32 *)(loaded + 28) = 0;
}

static void area_check(void)
{
    *(u32 *)(saved + 28) = 0;               /* MXCSR_MASK */
    control_check("x87", loaded, saved, 6);
    control_check("fop", loaded + 6, saved + 6, 18);
    control_check("mxcsr", loaded + 24, saved + 24, 4);
    for (u32 r = 0; r < 8; r++) {
        control_check("st", loaded + 32 + 16 * r, saved + 32 + 16 * r, 10);
    }
    control_check("xmm", loaded + 160, saved + 160, 256);
    if (have_avx) {
        control_check("ymm", loaded + 576, saved + 576, 256);
    }
}

/* ---- waiting ---- */

#define V(n) (0x1111111111111111ull * (n) + 0xfedcba9876543210ull)
static const u64 want_gpr[15] = { /* order of struct frame */
    V(15), V(14), V(13), V(12), V(11), V(10), V(9), V(8), V(7), V(6), V(5), V(3), V(2), V(1), V(0),
};
static struct frame seen;

/* Fill the vector registers, and the general ones. */
#define LOAD                                                                                          \
    "lea want_gpr(%%rip), %%rax; mov (%%rax), %%r15; mov 8(%%rax), %%r14; mov 16(%%rax), %%r13;"       \
    "mov 24(%%rax), %%r12; mov 32(%%rax), %%r11; mov 40(%%rax), %%r10; mov 48(%%rax), %%r9;"           \
    "mov 56(%%rax), %%r8; mov 64(%%rax), %%rdi; mov 72(%%rax), %%rsi; mov 80(%%rax), %%rbp;"           \
    "mov 88(%%rax), %%rbx; mov 96(%%rax), %%rdx; mov 104(%%rax), %%rcx; mov 112(%%rax), %%rax;"

extern const u8 spin_k[], spin_h[];

static void wait_kernel(void)
{
    want_flags = 0x247cd7 & ~0x300ull;      /* ID, AC, NT, IOPL 3, DF and all status bits but OF */
    want_ip = (u64)spin_k;
    want_sp = 0x7d010;
    __asm__ volatile(RESTORE "mov $0x7d010, %%esp;" LOAD "pushq want_flags(%%rip);"
                     "movb $'>', saved(%%rip);"
                     "push %%rax; push %%rdx; mov $'>', %%al; mov $0x3f8, %%edx; outb %%al, %%dx; pop %%rdx; pop %%rax;"
                     "popfq; spin_k: jmp spin_k" : : : "memory");
}

static void wait_halted(void)
{
    want_flags = 0x893;                     /* OF, and IF is off */
    want_ip = (u64)spin_h;
    want_sp = 0x7d020;
    __asm__ volatile(RESTORE "mov $0x7d020, %%esp;" LOAD "pushq want_flags(%%rip);"
                     "push %%rax; push %%rdx; mov $'>', %%al; mov $0x3f8, %%edx; outb %%al, %%dx; pop %%rdx; pop %%rax;"
                     "popfq; hlt; spin_h: jmp spin_h" : : : "memory");
}

static void wait_user(void)
{
    want_flags = 0x250ed7 & ~0x10300ull;
    want_ip = USER_CODE;
    want_sp = USER_STACK - 5;
    user_pages(1);
    *(volatile u16 *)USER_CODE = 0xfeeb;    /* jmp . */
    *(volatile u64 *)(TSS64 + 4) = RSP0_TOP;
    __asm__ volatile(RESTORE "pushq $0x1b; pushq want_sp(%%rip); pushq want_flags(%%rip); pushq $0x23;"
                     "pushq want_ip(%%rip);" LOAD
                     "push %%rax; push %%rdx; mov $'>', %%al; mov $0x3f8, %%edx; outb %%al, %%dx; pop %%rdx; pop %%rax;"
                     "iretq" : : : "memory");
}

static void general_check(void)
{
    const u64 *have = &seen.r15;

    for (u32 i = 0; i < 15; i++) {
        check("register", have[i], want_gpr[i]);
    }
    check("ip", seen.ip, want_ip);
    check("flags", seen.flags, want_flags);
    check("sp", seen.sp, want_sp);
    check("cs", seen.cs, mode == 'u' ? 0x23 : 8);
    check("ss", seen.ss, mode == 'u' ? 0x1b : 0x10);
}

/* ---- what follows from the state: is it in force? ---- */

static void in_force(void)
{
    debugs = 0;
    user_pages(1);
    __asm__ volatile("call bp_target" : : : "memory");
    check("#DB of execution", debugs, 1);
    *(volatile u32 *)WATCHED = 1;
    check("#DB of a store", debugs, 2);
    set_dr7(get_dr7() | 0x30);
    outb(SCRATCH_PORT, 1);
    check("#DB of a port", debugs, 3);
    set_dr7(0x400);
    TRY("mov $0x0f, %%eax; mov %%eax, %%fs", "i"(0));
    check("load from the LDT", (u64)got.vector, ~0ull);
    if (have_avx) {
        TRY("vpxor %%ymm0, %%ymm0, %%ymm0", "i"(0));
        check("AVX", (u64)got.vector, ~0ull);
    }
    if (have_smap) {
        TRY("clac; mov 0x303000, %%eax", "i"(0));
        check("SMAP", (u64)got.vector, 14);
        check("SMAP's error", got.error, 1);
        TRY("stac; mov 0x303000, %%eax; clac", "i"(0));
        check("SMAP off", (u64)got.vector, ~0ull);
    }
    if (have_umip) {
        static const u8 str[] = { 0x48, 0x0f, 0x00, 0xc8, 0xcd, 0x81 };
        user_pages(1);
        user_copy(USER_CODE, str, str + sizeof(str));
        run_user(USER_CODE, 0);
        check("UMIP", (u64)got.vector, 13);
    }
}

static void finish(void)
{
    control_get(&after);
    general_check();
    area_check();
    control_check("cr", &before.cr0, &after.cr0, 7 * 8);
    control_check("dr", before.dr, after.dr, sizeof(before.dr));
    for (u32 i = 0; i < N_MSRS; i++) {
        if (before.msr[i] != after.msr[i]) {
            put("msr ");
            put_hex(msrs[i]);
            put(": ");
            check("value", after.msr[i], before.msr[i]);
        }
    }
    control_check("selectors", before.sel, after.sel, sizeof(before.sel));
    control_check("tables", &before.gdt, &after.gdt, 20);
    in_force();
    put("moved\n");
    sys_exit(0);
}

REGS static int interrupted(struct frame *f)
{
    if (f->vector == 1) {
        debugs++;
        f->flags |= FL_RF;
        return 1;
    }
    if (f->vector != 2) {
        return 0;
    }
    nmis++;
    if (mode == 'm') {
        return 1;
    }
    area_save(saved);
    seen = *f;
    f->ip = (u64)finish;
    f->cs = 8;
    f->ss = 0x10;
    f->sp = 0x7c008;
    f->flags = 2;
    return 1;
}

/* ---- an NMI that waits for IRET ---- */

static void byte_wait(void)
{
    put(">");
    while (!(inb(0x3fd) & 1)) {
    }
    inb(0x3f8);
}

REGS static int masked(struct frame *f)
{
    if (f->vector != 2) {
        return 0;
    }
    if (nmis++ == 0) {
        byte_wait();
        check("NMIs in the handler", nmis, 1);
    }
    return 1;
}

static void wait_masked(void)
{
    on_trap = masked;
    put("!");       /* the first NMI is asked for now, the second at > */
    while (!nmis) {
    }
    check("NMIs", nmis, 2);
    put("moved\n");
}

static void wait_clock(void)
{
    u64 last = 0, now, back = 0, start = 0, longest = 0;
    u32 lo, hi;

    wrmsr(0x10, 0x100000000);   /* the guest has set its counter */
    put(">");
    while (!(inb(0x3fd) & 1)) {
        for (u32 i = 0; i < 100; i++) {
            __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
            now = (u64)hi << 32 | lo;
            start = start ? start : now;
            back += now < last;
            longest = now - last > longest && last ? now - last : longest;
            last = now;
        }
    }
    check("times the clock went back", back, 0);
    check("start of the clock", start - 0x100000000 < 1000000000, 1);
    check("years passed", (last - start) >> 40, 0);
    put("moved\n");
}

/* The NMI button is LINT1. */
static void apic_on(void)
{
    *(volatile u64 *)0x201018 = 0x207003;
    *(volatile u64 *)0x207fb8 = 0xfee0009b;
    set_cr3(get_cr3());
    *(volatile u32 *)0xfee000f0 = 0x1ff;
    *(volatile u32 *)0xfee00360 = 0x400;
}

static void features(void)
{
    u32 r[4];

    cpuid(1, 0, r);
    have_xsave = r[2] >> 26 & 1;
    have_avx = have_xsave && (r[2] >> 28 & 1);
    cpuid(0, 0, r);
    if (r[0] >= 7) {
        cpuid(7, 0, r);
        have_smap = r[1] >> 20 & 1;
        have_umip = r[2] >> 2 & 1;
        have_pku = have_xsave && (r[2] >> 3 & 1);
    }
    xmask = have_avx ? 7 : 3;
    if (have_xsave) {
        set_cr4(get_cr4() | 0x40000);
        __asm__ volatile("xsetbv" : : "a"(xmask | have_pku << 9), "d"(0), "c"(0));
    }
    set_cr4(get_cr4() | have_smap << 21 | have_umip << 11 | have_pku << 22);
}

__attribute__((used)) void test_main(void)
{
    while (!(inb(0x3fd) & 1)) {
    }
    mode = inb(0x3f8);
    user_split();
    features();
    apic_on();
    if (mode == 't') {
        wait_clock();
        return;
    }
    if (mode == 'm') {
        wait_masked();
        return;
    }
    on_trap = interrupted;
    control_fill();
    area_fill(loaded);
    area_settle();
    control_get(&before);
    mode == 'k' ? wait_kernel() : mode == 'u' ? wait_user() : wait_halted();
}
