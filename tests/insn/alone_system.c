/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * alone_system.c - instructions that answer differently from host to host or
 * belong to the host's kernel, in every mode (SDM vol. 2, each instruction).
 */
#include <cpuid.h>
#include <string.h>

#include "tests/insn/alone.h"

static bool in_protected(enum snip_mode mode)
{
    return mode < SM_REAL;
}

static uint64_t low(unsigned n, unsigned size)
{
    uint64_t v;

    if (size == 8)
        return alone.out.gpr[n];
    v = alone.out.gpr[n] & (size == 4 ? 0xffffffffull : 0xffffull);
    return v;
}

static void time_stamp(enum snip_mode mode)
{
    uint64_t before = __builtin_ia32_rdtsc(), after, got;

    alone_start(mode, "rdtsc");
    RUN("\x0f\x31");
    after = __builtin_ia32_rdtsc();
    got = alone.out.gpr[R_RDX] << 32 | (uint32_t)alone.out.gpr[R_RAX];
    ENDS(3, 3);
    CHECK(got >= before && got <= after);
    EQ(alone.out.gpr[R_RDX] >> 32, 0);
    EQ(alone.out.gpr[R_RAX] >> 32, 0);
    EQ(alone.out.rflags & 0xed7, 0x202);

    alone_start(mode, "rdtscp");
    alone.c->tsc_aux = 0x12345678;
    RUN("\x0f\x01\xf9");
    if (alone.c->model.f81_edx >> 27 & 1) {
        ENDS(3, 4);
        EQ(low(R_RCX, 8), 0x12345678);
        CHECK((low(R_RDX, 8) << 32 | low(R_RAX, 4)) >= after);
    } else {
        ENDS(6, 0);
    }

    alone_start(mode, "rdpid");
    RUN("\xf3\x0f\xc7\xfb");
    if (alone.c->model.f7_ecx >> 22 & 1) {
        ENDS(3, 5);
        EQ(low(R_RBX, 8), 0x12345678);
    } else {
        ENDS(6, 0);
    }

    alone_start(mode, "rdtsc, CR4.TSD");
    alone.c->cr[4] |= CR4_TSD;
    RUN("\x0f\x31");
    alone.c->cr[4] &= ~(uint64_t)CR4_TSD;
    ENDS(mode == SM_REAL ? 3 : 13, mode == SM_REAL ? 3 : 0);

    alone_start(mode, "rdpmc");
    alone.in.gpr[R_RCX] = 0xffff;
    RUN("\x0f\x33");
    ENDS(13, 0); /* CR4.PCE = 0 at CPL 3; no such counter in real mode */
}

static void identification(enum snip_mode mode)
{
    unsigned a, b, c, d;

    alone_start(mode, "cpuid 0");
    alone.in.gpr[R_RAX] = mode == SM_64 ? 0xffffffff00000000ull : 0;
    RUN("\x0f\xa2");
    __cpuid(0, a, b, c, d);
    ENDS(3, 3);
    EQ(alone.out.gpr[R_RBX], b);
    EQ(alone.out.gpr[R_RCX], c);
    EQ(alone.out.gpr[R_RDX], d);
    EQ(alone.out.gpr[R_RAX], a);

    alone_start(mode, "xgetbv 0");
    alone.in.gpr[R_RCX] = 0;
    RUN("\x0f\x01\xd0");
    ENDS(3, 4);
    EQ(alone.out.gpr[R_RAX], 7);
    EQ(alone.out.gpr[R_RDX], 0);
    alone_start(mode, "xgetbv 2");
    alone.in.gpr[R_RCX] = 2;
    RUN("\x0f\x01\xd0");
    ENDS(13, 0);
    alone_start(mode, "xgetbv without OSXSAVE");
    alone.c->cr[4] &= ~(uint64_t)CR4_OSXSAVE;
    RUN("\x0f\x01\xd0");
    alone.c->cr[4] |= CR4_OSXSAVE;
    ENDS(6, 0);
}

/* RDRAND and RDSEED, three sizes: CF alone is set, or everything is zero. */
static void random_numbers(enum snip_mode mode)
{
    static const struct {
        const char *bytes;
        unsigned len;
        bool only64;
        unsigned size;
    } forms[] = {
        {"\x0f\xc7\xf3", 3, false, 0},     {"\x66\x0f\xc7\xf3", 4, false, 1},
        {"\x48\x0f\xc7\xf3", 4, true, 8},  {"\x0f\xc7\xfb", 3, false, 0},
        {"\x66\x0f\xc7\xfb", 4, false, 1}, {"\x48\x0f\xc7\xfb", 4, true, 8},
    };
    bool have[2] = {alone.c->model.f1_ecx >> 30 & 1,
                    alone.c->model.f7_ebx >> 18 & 1};

    for (unsigned i = 0; i < 6; i++) {
        unsigned size = forms[i].size == 8                 ? 8
                        : (mode < SM_16) == !forms[i].size ? 4
                                                           : 2;
        uint64_t changed = size == 8 ? ~0ull : size == 4 ? ~0ull : 0xffffull;
        unsigned zeroes = 0;
        if (forms[i].only64 && mode != SM_64)
            continue;
        for (unsigned k = 0; k < 6; k++) {
            alone_start(mode, i < 3 ? "rdrand" : "rdseed");
            alone.in.rflags = 0xad7;
            alone_run(forms[i].bytes, forms[i].len);
            if (!have[i / 3]) {
                ENDS(6, 0);
                continue;
            }
            ENDS(3, forms[i].len + 1);
            EQ((alone.out.gpr[R_RBX] ^ alone_gpr(R_RBX)) & ~changed, 0);
            if (size == 4)
                EQ(alone.out.gpr[R_RBX] >> 32, 0);
            EQ(alone.out.rflags & 0x8d4, 0);
            if (!(alone.out.rflags & FL_CF))
                EQ(low(R_RBX, size), 0);
            zeroes += low(R_RBX, size) == 0;
        }
        CHECK(!have[i / 3] || zeroes < 6);
    }
}

/* Mode, descriptor tables and task register. */
static void tables(enum snip_mode mode)
{
    unsigned base = mode == SM_64 || mode == SM_COMPAT ? 8 : 4;
    uint64_t want = alone.c->gdt.base;

    alone_start(mode, "sgdt");
    want = alone.c->gdt.base;
    alone.in.gpr[R_RBX] = snip_is16(mode) ? 0x100 : LIN_DATA + 0x100;
    memset(alone_data(0x100), 0xee, 16);
    if (snip_is16(mode))
        RUN("\x0f\x01\x07"); /* [bx] */
    else
        RUN("\x0f\x01\x03");
    ENDS(3, 4);
    base = mode == SM_64 ? 8 : 4;
    EQ(alone_data(0x100)[0] | alone_data(0x100)[1] << 8, 0xfff);
    CHECK(memcmp(alone_data(0x102), &want, base) == 0);
    EQ(*alone_data(0x102 + base), 0xee);

    alone_start(mode, "sidt");
    want = alone.c->idt.base;
    alone.in.gpr[R_RBX] = snip_is16(mode) ? 0x100 : LIN_DATA + 0x100;
    memset(alone_data(0x100), 0xee, 16);
    if (snip_is16(mode))
        RUN("\x66\x0f\x01\x0f");
    else
        RUN("\x66\x0f\x01\x0b"); /* the operand size does not matter (APM vol.
                                    3, SIDT) */
    ENDS(3, 5);
    EQ(alone_data(0x100)[0] | alone_data(0x100)[1] << 8, alone.c->idt.limit);
    CHECK(memcmp(alone_data(0x102), &want, base) == 0);
    EQ(*alone_data(0x102 + base), 0xee);

    for (unsigned i = 0; i < 2; i++) {
        uint64_t sel = i ? SEL_TSS : SEL_LDT;
        alone_start(mode, i ? "str" : "sldt");
        if (i)
            RUN("\x0f\x00\xcb");
        else
            RUN("\x0f\x00\xc3");
        if (!in_protected(mode)) {
            ENDS(6, 0);
            continue;
        }
        ENDS(3, 4);
        EQ(alone.out.gpr[R_RBX],
           mode < SM_16 ? sel : (alone_gpr(R_RBX) & 0xffff0000u) | sel);
        alone_start(mode, i ? "str m16" : "sldt m16");
        alone.in.gpr[R_RBX] = snip_is16(mode) ? 0x100 : LIN_DATA + 0x100;
        memset(alone_data(0x100), 0xee, 8);
        if (snip_is16(mode))
            alone_run(i ? "\x0f\x00\x0f" : "\x0f\x00\x07", 3);
        else
            alone_run(i ? "\x0f\x00\x0b" : "\x0f\x00\x03", 3);
        ENDS(3, 4);
        EQ(alone_data(0x100)[0], sel);
        EQ(alone_data(0x100)[1], 0);
        EQ(alone_data(0x100)[2], 0xee);
    }
}

static void machine_status(enum snip_mode mode)
{
    alone_start(mode, "smsw");
    RUN("\x0f\x01\xe3");
    ENDS(3, 4);
    EQ(low(R_RBX, snip_is16(mode) ? 2 : 4),
       alone.c->cr[0] & (snip_is16(mode) ? 0xffff : 0xffffffff));
    alone_start(mode, "smsw, other size");
    RUN("\x66\x0f\x01\xe3");
    ENDS(3, 5);
    EQ(low(R_RBX, snip_is16(mode) ? 4 : 2),
       alone.c->cr[0] & (snip_is16(mode) ? 0xffffffff : 0xffff));
    if (!snip_is16(mode))
        EQ(alone.out.gpr[R_RBX] >> 16, alone_gpr(R_RBX) >> 16);
    if (alone.c->model.f7_ecx >> 2 & 1) {
        static const char *const umip[] = {"\x0f\x01\xe3", "\x0f\x00\xc3",
                                           "\x0f\x00\xcb"};
        for (unsigned i = 0; i < 3; i++) {
            alone_start(mode, "UMIP");
            alone.c->cr[4] |= CR4_UMIP;
            alone_run(umip[i], 3);
            alone.c->cr[4] &= ~(uint64_t)CR4_UMIP;
            if (mode == SM_REAL && i == 0)
                ENDS(3, 4); /* CPL 0 */
            else
                ENDS(i && !in_protected(mode) ? 6 : 13, 0);
        }
    }
}

static void refused(enum snip_mode mode)
{
    static const struct {
        const char *name, *bytes;
        unsigned len;
    } insns[] = {
        {"vmcall", "\x0f\x01\xc1", 3},  {"vmmcall", "\x0f\x01\xd9", 3},
        {"vmrun", "\x0f\x01\xd8", 3},   {"vmload", "\x0f\x01\xda", 3},
        {"vmsave", "\x0f\x01\xdb", 3},  {"stgi", "\x0f\x01\xdc", 3},
        {"clgi", "\x0f\x01\xdd", 3},    {"skinit", "\x0f\x01\xde", 3},
        {"invlpga", "\x0f\x01\xdf", 3},
    };

    for (unsigned i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
        alone_start(mode, insns[i].name); /* no hypervisor, EFER.SVME = 0 */
        alone_run(insns[i].bytes, insns[i].len);
        ENDS(6, 0);
    }
    alone_start(mode, "int1");
    RUN("\xf1");
    ENDS(1, 1);
    alone_start(mode, "int1 with a prefix");
    RUN("\x66\xf1");
    ENDS(1, 2);
}

/* At LSTAR and in SYSENTER_EIP is the handler of vector 0x50: one HLT. */
static void calls(void)
{
    const uint64_t handler = 0xffff800000000000ull + 0xe000 + 16 * 0x50;
    struct guest_cpu *c = alone.c;

    alone_start(SM_64, "syscall");
    c->star = (uint64_t)SEL_KCS << 32;
    c->lstar = handler;
    c->fmask = 0x600;
    alone.in.rflags = 0x6c7;
    RUN("\x0f\x05");
    EQ(c->rip, handler + 1);
    EQ(c->seg[S_CS].sel, SEL_KCS);
    EQ(c->seg[S_SS].sel, SEL_KDS);
    EQ(c->cpl, 0);
    EQ(alone.out.gpr[R_RCX], alone_ip() + 2);
    EQ(alone.out.gpr[R_R11], 0x6c7);
    EQ(cpu_get_eflags(c) & 0x6c7, 0x0c7);
    EQ(alone.out.gpr[R_RSP], LIN_STACK + 0x2000);

    alone_start(SM_64, "syscall, EFER.SCE = 0");
    c->efer &= ~(uint64_t)EFER_SCE;
    RUN("\x0f\x05");
    c->efer |= EFER_SCE;
    ENDS(6, 0);

    for (unsigned i = 0; i < 2; i++) {
        enum snip_mode mode = i ? SM_32 : SM_64;
        uint64_t to = i ? 0xc000e000u + 16 * 0x50 : handler;
        alone_start(mode, "sysenter without SYSENTER_CS");
        c->sysenter_cs = 0;
        RUN("\x0f\x34");
        bool none = !(c->model.f1_edx >> 11 & 1) ||
                    (mode == SM_64 && c->model.vendor_amd);
        ENDS(none ? 6 : 13, 0);
        alone_start(mode, "sysenter");
        c->sysenter_cs = SEL_KCS;
        c->sysenter_eip = to;
        c->sysenter_esp = 0x1234;
        RUN("\x0f\x34");
        c->sysenter_cs = 0;
        if (none) {
            ENDS(6, 0);
            continue;
        }
        EQ(c->rip, to + 1);
        EQ(c->seg[S_CS].sel, SEL_KCS);
        EQ(c->seg[S_SS].sel, SEL_KDS);
        EQ(c->cpl, 0);
        EQ(alone.out.gpr[R_RSP], 0x1234);
        EQ(cpu_get_eflags(c) & FL_IF, 0);
    }
    alone_start(SM_REAL, "sysenter");
    RUN("\x0f\x34");
    ENDS(c->model.f1_edx >> 11 & 1 ? 13 : 6, 0);
    alone_start(SM_REAL, "syscall");
    RUN("\x0f\x05");
    ENDS(6, 0);
}

void alone_system(void)
{
    for (enum snip_mode mode = 0; mode < SM_COUNT; mode++) {
        time_stamp(mode);
        identification(mode);
        random_numbers(mode);
        tables(mode);
        machine_status(mode);
        refused(mode);
    }
    calls();
}
