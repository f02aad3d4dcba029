/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * feat64.c - CPUID tells the truth: an instruction raises #UD exactly when its feature is not there, and so do the bits
 * of CR4, EFER and XCR0 and the MSRs that come with features (SDM vol. 2, CPUID; APM vol. 3, appendix D).  Run with
 * several CPU models; only differences are printed.
 */
#define SYS_MAIN
#include "lib64.h"

enum { L1C, L1D, L7B, L7C, L7D, X1C, X1D, D1A, X8B, WORDS };
static u32 word[WORDS];
static u8 area[4096] __attribute__((aligned(64)));

static const struct insn {
    const char *name;
    u8 feature_word, bit, len, code[9];
} insns[] = {
#define I(name, w, bit, ...) { name, w, bit, sizeof((u8[]){ __VA_ARGS__ }), { __VA_ARGS__ } },
    I("rdtsc", L1D, 4, 0x0f, 0x31)
    I("cmpxchg8b", L1D, 8, 0x0f, 0xc7, 0x0f)
    I("cmov", L1D, 15, 0x0f, 0x44, 0xc0)
    I("clflush", L1D, 19, 0x0f, 0xae, 0x3f)
    I("mmx", L1D, 23, 0x0f, 0xef, 0xc0)
    I("fxsave", L1D, 24, 0x0f, 0xae, 0x07)
    I("sse", L1D, 25, 0x0f, 0x57, 0xc0)
    I("sfence", L1D, 25, 0x0f, 0xae, 0xf8)
    I("sse2", L1D, 26, 0x66, 0x0f, 0x57, 0xc0)
    I("lfence", L1D, 26, 0x0f, 0xae, 0xe8)
    I("mfence", L1D, 26, 0x0f, 0xae, 0xf0)
    I("movnti", L1D, 26, 0x0f, 0xc3, 0x07)
    I("addsubps", L1C, 0, 0xf2, 0x0f, 0xd0, 0xc0)
    I("fisttp", L1C, 0, 0xdf, 0x0f)
    I("pclmulqdq", L1C, 1, 0x66, 0x0f, 0x3a, 0x44, 0xc0, 0)
    I("monitor", L1C, 3, 0x0f, 0x01, 0xc8)
    I("mwait", L1C, 3, 0x0f, 0x01, 0xc9)
    I("pshufb", L1C, 9, 0x66, 0x0f, 0x38, 0x00, 0xc0)
    I("pshufb mmx", L1C, 9, 0x0f, 0x38, 0x00, 0xc0)
    I("fma", L1C, 12, 0xc4, 0xe2, 0x7d, 0x98, 0xc0)
    I("cmpxchg16b", L1C, 13, 0x48, 0x0f, 0xc7, 0x0f)
    I("ptest", L1C, 19, 0x66, 0x0f, 0x38, 0x17, 0xc0)
    I("dpps", L1C, 19, 0x66, 0x0f, 0x3a, 0x40, 0xc0, 0)
    I("pcmpgtq", L1C, 20, 0x66, 0x0f, 0x38, 0x37, 0xc0)
    I("crc32", L1C, 20, 0xf2, 0x0f, 0x38, 0xf1, 0xc0)
    I("pcmpistri", L1C, 20, 0x66, 0x0f, 0x3a, 0x63, 0xc0, 0)
    I("movbe", L1C, 22, 0x0f, 0x38, 0xf0, 0x07)
    I("popcnt", L1C, 23, 0xf3, 0x0f, 0xb8, 0xc0)
    I("aesenc", L1C, 25, 0x66, 0x0f, 0x38, 0xdc, 0xc0)
    I("xsave", L1C, 26, 0x0f, 0xae, 0x27)
    I("xgetbv", L1C, 26, 0x31, 0xc9, 0x0f, 0x01, 0xd0)
    I("avx", L1C, 28, 0xc5, 0xfc, 0x57, 0xc0)
    I("f16c", L1C, 29, 0xc4, 0xe2, 0x7d, 0x13, 0xc0)
    I("rdrand", L1C, 30, 0x0f, 0xc7, 0xf0)
    I("rdfsbase", L7B, 0, 0xf3, 0x48, 0x0f, 0xae, 0xc0)
    I("andn", L7B, 3, 0xc4, 0xe2, 0x78, 0xf2, 0xc0)
    I("blsr", L7B, 3, 0xc4, 0xe2, 0x78, 0xf3, 0xc8)
    I("avx2", L7B, 5, 0xc5, 0xfd, 0xfe, 0xc0)
    I("pdep", L7B, 8, 0xc4, 0xe2, 0x7b, 0xf5, 0xc0)
    I("rorx", L7B, 8, 0xc4, 0xe3, 0x7b, 0xf0, 0xc0, 1)
    I("invpcid", L7B, 10, 0x66, 0x0f, 0x38, 0x82, 0x07)
    I("xbegin", L7B, 11, 0xc7, 0xf8, 0, 0, 0, 0)
    I("xtest", L7B, 11, 0x0f, 0x01, 0xd6)
    I("avx512f", L7B, 16, 0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc0)
    I("rdseed", L7B, 18, 0x0f, 0xc7, 0xf8)
    I("adcx", L7B, 19, 0x66, 0x0f, 0x38, 0xf6, 0xc0)
    I("clac", L7B, 20, 0x0f, 0x01, 0xca)
    I("clflushopt", L7B, 23, 0x66, 0x0f, 0xae, 0x3f)
    I("clwb", L7B, 24, 0x66, 0x0f, 0xae, 0x37)
    I("sha1nexte", L7B, 29, 0x0f, 0x38, 0xc8, 0xc0)
    I("rdpkru", L7C, 3, 0x31, 0xc9, 0x0f, 0x01, 0xee)
    I("tpause", L7C, 5, 0x66, 0x0f, 0xae, 0xf0)
    I("umonitor", L7C, 5, 0xf3, 0x0f, 0xae, 0xf7)
    I("gf2p8mulb", L7C, 8, 0x66, 0x0f, 0x38, 0xcf, 0xc0)
    I("vaesenc", L7C, 9, 0xc4, 0xe2, 0x7d, 0xdc, 0xc0)
    I("vpclmulqdq", L7C, 10, 0xc4, 0xe3, 0x7d, 0x44, 0xc0, 0)
    I("rdpid", L7C, 22, 0xf3, 0x0f, 0xc7, 0xf8)
    I("movdiri", L7C, 27, 0x0f, 0x38, 0xf9, 0x07)
    I("movdir64b", L7C, 28, 0x66, 0x0f, 0x38, 0xf8, 0x3f)
    I("enqcmd", L7C, 29, 0xf2, 0x0f, 0x38, 0xf8, 0x3f)
    I("serialize", L7D, 14, 0x0f, 0x01, 0xe8)
    I("lahf", X1C, 0, 0x9f)
    I("extrq", X1C, 6, 0x66, 0x0f, 0x79, 0xc0)
    I("movntss", X1C, 6, 0xf3, 0x0f, 0x2b, 0x07)
    I("xop", X1C, 11, 0x8f, 0xe9, 0x78, 0x80, 0xc0)
    I("lwp", X1C, 15, 0x8f, 0xe9, 0xf8, 0x12, 0xc0)
    I("fma4", X1C, 16, 0xc4, 0xe3, 0x79, 0x68, 0xc0, 0)
    I("tbm", X1C, 21, 0x8f, 0xe9, 0xf8, 0x01, 0xc8)
    I("monitorx", X1C, 29, 0x0f, 0x01, 0xfa)
    I("rdtscp", X1D, 27, 0x0f, 0x01, 0xf9)
    I("pswapd", X1D, 30, 0x0f, 0x0f, 0xc0, 0xbb)
    I("pfadd", X1D, 31, 0x0f, 0x0f, 0xc0, 0x9e)
    I("femms", X1D, 31, 0x0f, 0x0e)
    I("xsaveopt", D1A, 0, 0x0f, 0xae, 0x37)
    I("xsavec", D1A, 1, 0x0f, 0xc7, 0x27)
    I("xsaves", D1A, 3, 0x0f, 0xc7, 0x2f)
    I("xrstors", D1A, 3, 0x0f, 0xc7, 0x1f)
    I("clzero", X8B, 0, 0x0f, 0x01, 0xfc)
    I("rdpru", X8B, 4, 0x0f, 0x01, 0xfd)
};

static u32 has(u32 w, u32 bit) { return word[w] >> bit & 1; }

static void words(void)
{
    u32 r[4], max, xmax;

    cpuid(0, 0, r);
    max = r[0];
    cpuid(0x80000000, 0, r);
    xmax = r[0];
    cpuid(1, 0, r);
    word[L1C] = r[2];
    word[L1D] = r[3];
    if (max >= 7) {
        cpuid(7, 0, r);
        word[L7B] = r[1];
        word[L7C] = r[2];
        word[L7D] = r[3];
    }
    if (max >= 13) {
        cpuid(13, 1, r);
        word[D1A] = r[0];
    }
    cpuid(0x80000001, 0, r);
    word[X1C] = r[2];
    word[X1D] = r[3];
    if (xmax >= 0x80000008) {
        cpuid(0x80000008, 0, r);
        word[X8B] = r[1];
    }
}

static void test_insns(void)
{
    for (u32 i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
        const struct insn *n = &insns[i];
        u64 end = user_copy(USER_CODE, n->code, n->code + n->len);
        *(volatile u8 *)end = 0xc3;
        for (u32 j = 0; j < 64; j++) {
            *(volatile u64 *)(area + 8 * j) = 0;
        }
        TRY("xor %%ecx, %%ecx; xor %%edx, %%edx; mov $1, %%eax; call *%0",
            "S"((u64)USER_CODE), "D"(area));
        if ((got.vector == 6) == (int)has(n->feature_word, n->bit)) {
            put(n->name);
            put(has(n->feature_word, n->bit) ? " is offered and raises #UD\n" : " is not offered and works\n");
        }
    }
}

/* A bit of CR4 can be set exactly when the feature is there. */
static void test_cr4(void)
{
    static const struct { u8 cr4, w, bit; } bits[] = {
        { 0, L1D, 1 }, { 1, L1D, 1 }, { 2, L1D, 4 }, { 3, L1D, 2 }, { 4, L1D, 3 }, { 6, L1D, 7 }, { 7, L1D, 13 },
        { 9, L1D, 24 }, { 10, L1D, 25 }, { 11, L7C, 2 }, { 12, WORDS, 0 }, { 13, L1C, 5 }, { 14, L1C, 6 },
        { 15, WORDS, 0 }, { 16, L7B, 0 }, { 17, L1C, 17 }, { 18, L1C, 26 }, { 19, L7C, 23 }, { 20, L7B, 7 },
        { 21, L7B, 20 }, { 22, L7C, 3 }, { 23, L7C, 7 }, { 24, L7C, 31 }, { 25, WORDS, 0 }, { 28, WORDS, 0 },
    };
    u64 cr4 = get_cr4();

    for (u32 i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        u32 want = bits[i].w < WORDS && has(bits[i].w, bits[i].bit);
        TRY("mov %0, %%cr4", "D"(cr4 | 1ull << bits[i].cr4));
        if ((got.vector < 0) != (int)want) {
            line("cr4 bit", bits[i].cr4);
        }
        set_cr4(cr4);
    }
}

static int wr(u32 msr, u64 v)
{
    TRY("mov %%edi, %%ecx; mov %%rsi, %%rax; mov %%rsi, %%rdx; shr $32, %%rdx; wrmsr", "D"(msr), "S"(v));
    return got.vector < 0;
}

static int rd(u32 msr)
{
    TRY("mov %%edi, %%ecx; rdmsr", "D"(msr));
    return got.vector < 0;
}

static void test_msrs(void)
{
    static const struct { u32 msr; u8 w, bit; } msrs[] = {
        { 0x10, L1D, 4 }, { 0x1b, L1D, 9 }, { 0x174, L1D, 11 }, { 0x176, L1D, 11 }, { 0xfe, L1D, 12 }, { 0x200, L1D, 12 },
        { 0x2ff, L1D, 12 }, { 0x26f, L1D, 12 }, { 0x277, L1D, 16 }, { 0x179, L1D, 14 }, { 0x400, L1D, 14 },
        { 0x3b, L7B, 1 }, { 0x48, L7D, 26 }, { 0x6e0, L1C, 24 }, { 0x6e1, L7C, 31 }, { 0x802, L1C, 21 }, { 0xda0, D1A, 3 },
        { 0xc0000081, X1D, 11 }, { 0xc0000082, X1D, 29 }, { 0xc0000084, X1D, 29 }, { 0xc0000102, X1D, 29 },
        { 0xc0010117, X1C, 2 },
    };
    u64 efer = rdmsr(0xc0000080);

    for (u32 i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
        if (rd(msrs[i].msr) != (int)has(msrs[i].w, msrs[i].bit)) {
            line("msr", msrs[i].msr);
        }
    }
    if (rd(0xc0000103) != (int)(has(X1D, 27) | has(L7C, 22))) {
        line("msr", 0xc0000103);
    }
    check("efer.nxe", (u64)wr(0xc0000080, efer | 0x800), has(X1D, 20));
    check("efer.ffxsr", (u64)wr(0xc0000080, efer | 0x4000), has(X1D, 25));
    check("efer.svme", (u64)wr(0xc0000080, efer | 0x1000), has(X1C, 2));
    wrmsr(0xc0000080, efer);
}

static void test_xcr0(void)
{
    u32 r[4];

    if (!has(L1C, 26)) {
        return;
    }
    cpuid(13, 0, r);
    for (u32 v = 0; v < 1024; v++) {
        u32 want = (v & 1) && !(v & ~r[0]) && (v & 6) != 4 && (!(v & 0x18) || (v & 0x18) == 0x18) && !(v & 0xe0);
        TRY("xor %%ecx, %%ecx; xor %%edx, %%edx; mov %%edi, %%eax; xsetbv", "D"(v));
        if ((got.vector < 0) != (int)want) {
            line("xcr0", v);
        }
    }
    TRY("xor %%ecx, %%ecx; xor %%edx, %%edx; mov %%edi, %%eax; xsetbv", "D"(r[0]));
}

__attribute__((used)) void test_main(void)
{
    u64 cr4;

    user_split();
    words();
    cr4 = get_cr4() | has(L1C, 26) << 18 | has(L7B, 0) << 16 | has(L7C, 3) << 22;
    test_cr4();
    set_cr4(cr4);
    test_xcr0();
    test_insns();
    test_msrs();
}
