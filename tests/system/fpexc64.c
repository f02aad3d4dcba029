/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fpexc64.c - when floating-point and vector instructions fault: CR0.EM, MP, TS, NE, CR4.OSFXSR, OSXMMEXCPT, OSXSAVE;
 * #MF late, FERR# and IRQ 13, #XM at once; MXCSR; FXSAVE, XSAVE, XSAVEC, XSAVEOPT, XRSTOR, XCR0 (SDM vol. 1, 8.6, 8.7, 11.5,
 * ch. 13; vol. 3, 2.5, 9.2, 13.1; APM vol. 2, 11.4).
 */
#define SYS_MAIN
#include "lib64.h"

static u8 area[4096] __attribute__((aligned(64))), area2[1024] __attribute__((aligned(64)));
static volatile u64 val;
static volatile u32 irq13;

#define U64(p, off) (*(volatile u64 *)((p) + (off)))
#define U32(p, off) (*(volatile u32 *)((p) + (off)))
#define U16(p, off) (*(volatile u16 *)((p) + (off)))

static void fill(u8 *p, u32 n, u8 v)
{
    for (u32 i = 0; i < n; i++) {
        ((volatile u8 *)p)[i] = v;
    }
}

/* One column per instruction: the vector, or -. */
#define COL(code)                                              \
    do {                                                       \
        TRY(code, "D"(area), "S"(area2));                      \
        if (got.vector < 0) {                                  \
            put(" -");                                         \
        } else {                                               \
            put(" ");                                          \
            put_hex((u64)got.vector);                          \
        }                                                      \
        __asm__ volatile("clts");                              \
    } while (0)

static void set_ts_em(u64 bits)
{
    set_cr0((get_cr0() & ~(CR0_MP | CR0_EM | CR0_TS)) | bits);
}

#define EACH(code) do { set_ts_em(bits); COL(code); } while (0)

static void matrix_row(u64 bits)
{
    put_hex(bits);
    put(":");
    EACH("fld1; fstp %%st(0)");
    EACH("fnclex");
    EACH("fwait");
    EACH("fnstsw %%ax");
    EACH("pxor %%mm0, %%mm0");
    EACH("emms");
    EACH("xorps %%xmm0, %%xmm0");
    EACH("ldmxcsr (%%rdi)");
    EACH("movnti %%eax, (%%rdi)");
    EACH("sfence; lfence; mfence; prefetcht0 (%%rdi); clflush (%%rdi)");
    EACH("fxsave (%%rsi)");
    EACH("fxrstor (%%rsi)");
    EACH("cvtpi2ps %%mm0, %%xmm0");
    EACH("movdq2q %%xmm0, %%mm0");
    EACH("xor %%edx, %%edx; mov $7, %%eax; xsave (%%rsi)");
    EACH("xor %%ecx, %%ecx; xgetbv");
    EACH("vxorps %%ymm0, %%ymm0, %%ymm0");
    EACH("pshufb %%mm0, %%mm0");
    EACH("crc32b %%al, %%eax; popcnt %%eax, %%eax");
    set_ts_em(CR0_MP);
    put("\n");
}

static void test_matrix(void)
{
    u64 cr4 = get_cr4();

    U32(area, 0) = 0x1f80;
    put("cr0 ts em mp: x87 fnclex fwait fnstsw mmx emms sse ldmxcsr movnti fences fxsave fxrstor cvtpi2ps movdq2q "
        "xsave xgetbv avx pshufb crc32\n");
    put("cr4 osfxsr osxsave\n");
    set_cr4(cr4 | 1 << 18);
    __asm__ volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
    __asm__ volatile("fxsave (%0)" : : "S"(area2) : "memory");
    for (u64 i = 0; i < 8; i++) {
        matrix_row(i << 1);
    }
    put("cr4 osxsave\n");
    set_cr4((cr4 | 1 << 18) & ~0x200ull);
    matrix_row(0);
    matrix_row(CR0_TS | CR0_MP);
    put("cr4 osfxsr\n");
    set_cr4(cr4);
    matrix_row(0);
    matrix_row(CR0_EM);
    put("cr4\n");
    set_cr4(cr4 & ~0x600ull);
    matrix_row(0);
    set_cr4(cr4 | 1 << 18);
    put("xcr0 3\n");
    __asm__ volatile("xsetbv" : : "a"(3), "d"(0), "c"(0));
    matrix_row(0);
    __asm__ volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
    set_cr4(cr4);
}

#define DIV0 "fninit; fldcw (%%rdi); fld1; fldz; fdivrp %%st, %%st(1); "

static int irq(struct frame *f)
{
    if (f->vector != 0x2d) {
        return 0;
    }
    irq13++;
    got.ip = f->ip - base_ip;
    outb(0xf0, 0);
    __asm__ volatile("fnclex");
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    return 1;
}

static void test_mf(void)
{
    U16(area, 0) = 0x37b;
    put("x87\n");
    TRY(DIV0 "nop; nop", "D"(area)); show("pending");
    TRY("fnstsw %%ax; mov %%rax, val(%%rip)", "D"(area)); show("fnstsw");
    line("status", val & 0xffff);
    TRY("fnop", "D"(area)); show("fnop");
    TRY("fwait", "D"(area)); show("fwait");
    TRY("fld1", "D"(area)); show("fld1");
    TRY("fstl 8(%%rdi)", "D"(area)); show("fst");
    TRY("fldl 0x3f1000", "D"(area)); show("load from nowhere");
    TRY("paddb %%mm0, %%mm1", "D"(area)); show("mmx");
    TRY("emms", "D"(area)); show("emms");
    TRY("cvtps2pi %%xmm0, %%mm0", "D"(area)); show("cvtps2pi");
    TRY("movdq2q %%xmm0, %%mm0", "D"(area)); show("movdq2q");
    TRY("addps %%xmm0, %%xmm1", "D"(area)); show("sse");
    TRY("fnstcw 8(%%rdi); fnstsw 8(%%rdi); fxsave (%%rsi)", "D"(area), "S"(area2)); show("not waiting");
    TRY("fstcw 8(%%rdi)", "D"(area)); show("fstcw");
    TRY("fsave (%%rdi)", "D"(area + 64)); show("fsave");
    TRY("ffree %%st(0)", "D"(area)); show("ffree");
    set_ts_em(CR0_TS | CR0_MP);
    TRY("fld1", "D"(area)); show("with ts");
    TRY("fwait", "D"(area)); show("with ts");
    set_ts_em(CR0_MP);
    TRY("fnstenv 64(%%rdi); fnop", "D"(area)); show("fnstenv masks");
    U16(area, 0) = 0x37b;
    TRY("fldcw (%%rdi); fnop", "D"(area)); show("fldcw unmasks");
    TRY("fnclex; fnop", "D"(area)); show("fnclex");
    TRY("fxrstor (%%rsi)", "S"(area2)); show("fxrstor of a pending one");
    TRY("fnop", "D"(area)); show("fnop");
    TRY("fninit; fnop", "D"(area)); show("fninit");
    put("ferr\n");
    outb(0x20, 0x11); outb(0x21, 0x20); outb(0x21, 4); outb(0x21, 1);
    outb(0xa0, 0x11); outb(0xa1, 0x28); outb(0xa1, 2); outb(0xa1, 1);
    outb(0x21, 0xfb); outb(0xa1, 0xdf);
    on_trap = irq;
    set_cr0(get_cr0() & ~CR0_NE);
    U16(area, 0) = 0x37b;
    TRY("sti; " DIV0 "nop; nop; nop", "D"(area)); show("nothing yet");
    line("irqs", irq13);
    TRY("nop; fnop; nop; cli", "D"(area));
    line("irqs", irq13);
    line("at", got.ip);
    set_cr0(get_cr0() | CR0_NE);
    outb(0x21, 0xff); outb(0xa1, 0xff);
    __asm__ volatile("fninit");
    on_trap = 0;
}

static void mx(const char *name, u32 mxcsr)
{
    U32(area, 0) = mxcsr;
    TRY("ldmxcsr (%%rdi); movups 64(%%rdi), %%xmm0; divps 80(%%rdi), %%xmm0; movups %%xmm0, 128(%%rdi)", "D"(area));
    show(name);
    TRY("stmxcsr 4(%%rdi)", "D"(area));
    line("  mxcsr", U32(area, 4));
}

static void test_xm(void)
{
    u64 cr4 = get_cr4();

    put("mxcsr\n");
    fill(area, 256, 0);
    for (u32 i = 0; i < 4; i++) {
        U32(area, 64 + 4 * i) = 0x3f800000;
    }
    U32(area, 80) = 0x40400000;
    U32(area, 84) = 0x40000000;
    U32(area, 92) = 0x00000001;
    mx("masked", 0x1f80);
    mx("zero divide", 0x1d80);
    mx("precision", 0x0f80);
    mx("denormal", 0x1e80);
    mx("daz", 0x1d80 | 0x40);
    mx("all open", 0);
    set_cr4(cr4 & ~0x400ull);
    mx("zero divide without osxmmexcpt", 0x1d80);
    set_cr4(cr4);
    mx("all masked", 0xffff);
    mx("reserved", 0x11f80);
    mx("reserved", 0x80001f80);
    U32(area, 0) = 0x1f80;
    TRY("ldmxcsr (%%rdi)", "D"(area));
}

#define XS(insn, rfbm) TRY("mov $" #rfbm ", %%eax; xor %%edx, %%edx; " insn, "D"(area), "S"(area2))
#define XSA(insn, rfbm, p) TRY("mov $" #rfbm ", %%eax; xor %%edx, %%edx; " insn, "D"(p))

static u64 inuse(void)
{
    TRY("mov $1, %%ecx; xgetbv; mov %%rax, val(%%rip)", "D"(0));
    return val;
}

static void sums(const char *name)
{
    static const struct { const char *name; u32 from, to; } part[] = {
        { " x87", 0, 5 }, { " mxcsr", 24, 28 }, { " st", 32, 160 }, { " xmm", 160, 416 }, { " rest", 416, 512 },
        { " bv", 512, 520 }, { " comp", 520, 528 }, { " hdr", 528, 576 }, { " ymm", 576, 832 },
        { " more", 832, 2688 }, { " pkru", 2688, 2696 }, { " end", 2696, 4096 },
    };

    put(name);
    for (u32 i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
        u32 same = 1, sum = 0;
        for (u32 j = part[i].from; j < part[i].to; j++) {
            same &= ((volatile u8 *)area)[j] == 0xee;
            sum = sum * 31 + ((volatile u8 *)area)[j];
        }
        if (!same) {
            put(part[i].name);
            put("=");
            put_hex(sum);
        }
    }
    put("\n");
}

static void load_state(void)
{
    for (u32 i = 0; i < 64; i++) {
        area2[i] = (u8)(i * 7 + 1);
    }
    __asm__ volatile("fninit; fld1; fldpi; vmovups (%0), %%ymm1; vmovups 32(%0), %%ymm15; vmovaps %%xmm1, %%xmm2"
                     : : "r"(area2) : "memory");
}

static void test_xsave(void)
{
    u64 cr4 = get_cr4();
    u32 r[4];

    put("xsave\n");
    set_cr4(cr4 | 1 << 18 | 1 << 22);
    TRY("xor %%ecx, %%ecx; mov $0x207, %%eax; xor %%edx, %%edx; xsetbv", "D"(0)); show("xsetbv 207");
    for (u32 x = 0; x < 8; x++) {
        TRY("xor %%ecx, %%ecx; mov %%edi, %%eax; xor %%edx, %%edx; xsetbv", "D"(x));
        put_hex(x);
        show(" xsetbv");
        cpuid(0xd, 0, r);
        line("  size", r[1]);
        cpuid(0xd, 1, r);
        line("  compact", r[1]);
    }
    TRY("xor %%ecx, %%ecx; mov $0x207, %%eax; xor %%edx, %%edx; xsetbv", "D"(0));
    cpuid(0xd, 0, r);
    line("supported", r[0]);
    line("size", r[1]);
    line("max", r[2]);
    cpuid(0xd, 2, r);
    line("ymm", (u64)r[0] << 32 | r[1]);
    cpuid(0xd, 9, r);
    line("pkru", (u64)r[0] << 32 | r[1]);
    TRY("xor %%ecx, %%ecx; mov $0x407, %%eax; xor %%edx, %%edx; xsetbv", "D"(0)); show("xsetbv 407");
    TRY("mov $1, %%ecx; mov $7, %%eax; xor %%edx, %%edx; xsetbv", "D"(0)); show("xsetbv of xcr1");
    TRY("mov $2, %%ecx; xgetbv", "D"(0)); show("xgetbv of xcr2");
    TRY("xor %%ecx, %%ecx; bts $40, %%rcx; xgetbv", "D"(0)); show("upper rcx");
    TRY("xor %%ecx, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrpkru", "D"(0));
    fill(area, 832, 0);
    U32(area, 24) = 0x1f80;
    XS("xrstor (%%rdi)", -1); show("xrstor of zeros");
    line("in use", inuse() & ~2ull);            /* AMD processors: SSE always is */
    load_state();
    line("in use", inuse());
    TRY("vzeroupper", "D"(0));
    TRY("xor %%ecx, %%ecx; mov $0x40, %%eax; xor %%edx, %%edx; wrpkru", "D"(0));
    line("in use", inuse() & 0x200);
    load_state();
    fill(area, 4096, 0xee); fill(area + 512, 64, 0); XS("xsave (%%rdi)", -1); show("xsave"); sums(" all");
    fill(area, 4096, 0xee); fill(area + 512, 64, 0); XS("xsave (%%rdi)", 1); sums("x87");
    fill(area, 4096, 0xee); fill(area + 512, 64, 0); XS("xsave (%%rdi)", 2); sums("sse");
    fill(area, 4096, 0xee); fill(area + 512, 64, 0); XS("xsave (%%rdi)", 4); sums("avx");
    fill(area, 4096, 0xee); fill(area + 512, 64, 0); XS("xsave (%%rdi)", 0x200); sums("pkru");
    fill(area, 4096, 0xee); XS("xsave (%%rdi)", 4); sums("header kept");
    fill(area, 4096, 0xee); XS("xsavec (%%rdi)", -1); show("xsavec"); sums(" all");
    fill(area, 4096, 0xee); XS("xsavec (%%rdi)", 0x202); sums("xmm pkru");
    fill(area, 4096, 0xee); fill(area + 512, 64, 0); XS("fxsave (%%rdi)", 0); show("fxsave"); sums(" all");
    TRY("fninit; vzeroall", "D"(0));
    fill(area, 832, 0);
    U32(area, 24) = 0x1f80;
    XS("xrstor (%%rdi)", 7);
    fill(area, 4096, 0xee); fill(area + 512, 64, 0); XS("xsaveopt (%%rdi)", 0x205); show("xsaveopt of nothing");
    sums(" all");
    fill(area, 4096, 0xee); XS("xsavec (%%rdi)", 5); show("xsavec of nothing"); sums(" all");

    put("xrstor faults\n");
    fill(area, 4096, 0); U64(area, 512) = 8; XS("xrstor (%%rdi)", -1); show("bv 8");
    U64(area, 512) = 0x400; XS("xrstor (%%rdi)", 1); show("bv 400");
    U64(area, 512) = 0; U64(area, 520) = 1; XS("xrstor (%%rdi)", -1); show("comp 1");
    U64(area, 520) = 0; U64(area, 528) = 1; XS("xrstor (%%rdi)", -1); show("reserved 528");
    U64(area, 528) = 0; U64(area, 536) = 1; XS("xrstor (%%rdi)", -1); show("byte 536");
    U64(area, 536) = 0; U64(area, 520) = 1ull << 63 | 8; XS("xrstor (%%rdi)", -1); show("compact, comp 8");
    U64(area, 520) = 1ull << 63 | 3; U64(area, 512) = 4; XS("xrstor (%%rdi)", -1); show("compact, bv not in comp");
    U64(area, 512) = 0; U64(area, 560) = 1; XS("xrstor (%%rdi)", -1); show("compact, byte 560");
    U64(area, 560) = 0; XS("xrstor (%%rdi)", -1); show("compact");
    U64(area, 520) = 0; U32(area, 24) = 0x10000; U64(area, 512) = 2; XS("xrstor (%%rdi)", -1); show("mxcsr");
    XS("xrstor (%%rdi)", 1); show("mxcsr not asked for");
    U32(area, 24) = 0x1f80;
    XSA("xrstor (%%rdi)", -1, area + 16); show("misaligned");
    XSA("xsave (%%rdi)", -1, area + 32); show("misaligned");
    XSA("fxsave (%%rdi)", -1, area + 8); show("misaligned");
    XSA("fxrstor (%%rdi)", -1, area + 8); show("misaligned");
    XSA("xsave (%%rdi)", -1, (u8 *)0x3f1000 - 576); show("across");
    ((volatile u64 *)0x203000)[0x3f1] = 0;
    invlpg(0x3f1000);
    XSA("xsave (%%rdi)", -1, (u8 *)0x3f1000 - 576); show("into nowhere");
    XSA("xsave (%%rdi)", 3, (u8 *)0x3f1000 - 576); show("just before");
    XSA("fxsave (%%rdi)", 3, (u8 *)0x3f1000 - 256); show("fxsave into nowhere");
    XSA("xrstor (%%rdi)", -1, (u8 *)0x3f1000 - 512); show("xrstor header in nowhere");
    TRY("lock; .byte 0x0f, 0xae, 0x27", "D"(area)); show("lock xsave");

    put("ffxsr\n");
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x4000);
    load_state();
    fill(area, 4096, 0xee); XS("fxsave (%%rdi)", 0); sums("cpl 0");
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x4000ull);
    set_cr4(cr4);
}

__attribute__((used)) void test_main(void)
{
    volatile u64 *pdpt = (volatile u64 *)0x201000, *pd = (volatile u64 *)0x206000;

    pdpt[3] = 0x206003;
    pd[0x1f7] = 0xfee00093ull;
    user_split();
    *(volatile u32 *)0xfee000f0ull = 0x1ff;
    *(volatile u32 *)0xfee00350ull = 0x700;     /* the 8259s come through LINT0 */
    test_matrix();
    test_mf();
    test_xm();
    test_xsave();
}
