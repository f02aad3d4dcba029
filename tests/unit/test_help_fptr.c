/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_help_fptr.c - the x87 pointers (FIP, FCS, FDP, FDS, FOP) in every format that shows or loads them: SDM vol. 1,
 * figures 8-9 to 8-12 and table 10-2; APM vol. 2, 11.4.4 for what AMD processors hide.
 *
 * How generated code sets them is compared with the host in tests/insn/test_fptr.c.
 */
#include "test_help_env.h"
#include "translator/fpu_ptr.h"

#define OPERAND (DATA + 0x1000)
#define MEM (guest_data + 0x1000)

static uint32_t mem32(unsigned at) { return fpu_get32(MEM, at); }
static unsigned mem16(unsigned at) { return fpu_get32(MEM, at) & 0xffff; }

/* ES set or not, without anything unmasked for the host to complain about. */
static void set_fsw(unsigned fsw)
{
    memset(c->fpu, 0, sizeof(c->fpu));
    fpu_put64(c->fpu, FX_FCW, (fsw & 0x80 ? 0x37eu : 0x37fu) | (uint64_t)fsw << 16);
    fpu_put32(c->fpu, FX_MXCSR, MXCSR_INIT);
    fpu_put64(c->fpu, XS_BV, 3);
    c->fpu_live = 0;
}

static void run(const void *bytes, unsigned n)
{
    struct dec_insn in;

    GPR(c, R_RDI) = OPERAND;
    GPR(c, R_RAX) = 7;
    GPR(c, R_RDX) = 0;
    decode_bytes(bytes, n, &in);
    CHECK_EQ(do_insn(&in), HELP_NEXT);
    fpu_park(c);
}
#define RUN(...) run((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void set_pointers(uint64_t ip, uint64_t dp)
{
    fpu_ptr_set(c, ip, 0x5c9, S_DS + 1);
    c->fptr.dp = dp;
    fpu_ptr_settle(c);
}

static void environments_in_protected_mode(void)
{
    env_mode(1, 0);
    set_fsw(0);
    set_pointers(0x11223344, 0x55667788);
    RUN(0xd9, 0x37);
    CHECK_EQ(mem32(12), 0x11223344);
    CHECK_EQ(mem32(16), 0x05c90000u | c->seg[S_CS].sel);
    CHECK_EQ(mem32(20), 0x55667788);
    CHECK_EQ(mem32(24), 0xffff0000u | c->seg[S_DS].sel);
    RUN(0x66, 0xd9, 0x37);
    CHECK_EQ(mem16(6), 0x3344);
    CHECK_EQ(mem16(8), c->seg[S_CS].sel);
    CHECK_EQ(mem16(10), 0x7788);
    CHECK_EQ(mem16(12), c->seg[S_DS].sel);
    RUN(0xdd, 0x37); /* FNSAVE shows and forgets them */
    CHECK_EQ(mem32(12), 0x11223344);
    RUN(0xd9, 0x37);
    CHECK_EQ(mem32(12) | mem32(16) | mem32(20) | (mem32(24) & 0xffff), 0);
}

static void environments_are_loaded(void)
{
    env_mode(1, 0);
    set_fsw(0);
    memset(MEM, 0, 108);
    fpu_put32(MEM, 0, 0x37f);
    fpu_put32(MEM, 8, 0xffff);
    fpu_put32(MEM, 12, 0x12345678);
    fpu_put32(MEM, 16, 0xfabc0057);
    fpu_put32(MEM, 20, 0x9abcdef0);
    fpu_put32(MEM, 24, 0x12340063);
    for (unsigned k = 0; k < 2; k++) {
        fpu_ptr_clear(c);
        if (k)
            RUN(0xdd, 0x27);
        else
            RUN(0xd9, 0x27);
        CHECK_EQ(c->fptr.ip, 0x12345678);
        CHECK_EQ(c->fptr.cs, 0x57);
        CHECK_EQ(c->fptr.op, 0x2bc);
        CHECK_EQ(c->fptr.dp, 0x9abcdef0);
        CHECK_EQ(c->fptr.ds, 0x63);
    }
    RUN(0x66, 0xd9, 0x27);
    CHECK_EQ(c->fptr.op, 0); /* not in the 16-bit format */
    CHECK_EQ(c->fptr.ip, 0xffff >> 16 << 16 | mem16(6));
    CHECK_EQ(c->fptr.ds, mem16(12));
}

/* Linear addresses, and nothing left of the selectors when they come back. */
static void environments_in_real_mode(void)
{
    env_real();
    seg_set_v86(c, S_CS, 0xf123);
    seg_set_v86(c, S_DS, 0x2345);
    set_fsw(0);
    fpu_ptr_set(c, 0x4567, 0x7c9, S_DS + 1);
    c->fptr.dp = 0x89ab;
    struct dec_insn in;
    const uint8_t env32[] = { 0x66, 0xd9, 0x36, 0, 0x10 }, env16[] = { 0xd9, 0x36, 0, 0x10 };
    const uint8_t load32[] = { 0x66, 0xd9, 0x26, 0, 0x10 }, load16[] = { 0xd9, 0x26, 0, 0x10 };
    uint64_t ds = c->seg[S_DS].base;

    c->seg[S_DS].base = DATA;
    decode_bytes(env32, sizeof(env32), &in);
    CHECK_EQ(do_insn(&in), HELP_NEXT);
    CHECK_EQ(mem16(12), 0x5797);                    /* F1230 + 4567 = F5797 */
    CHECK_EQ(mem32(16), 0xf000 | 0x7c9);
    CHECK_EQ(mem16(20), 0xbdfb);                    /* 23450 + 89AB = 2BDFB */
    CHECK_EQ(mem32(24), 0x2000);
    decode_bytes(load32, sizeof(load32), &in);
    CHECK_EQ(do_insn(&in), HELP_NEXT);
    CHECK_EQ(c->fptr.ip, 0xf5797);
    CHECK_EQ(c->fptr.dp, 0x2bdfb);
    CHECK_EQ(c->fptr.op, 0x7c9);
    CHECK_EQ(c->fptr.cs | c->fptr.ds, 0);
    decode_bytes(env16, sizeof(env16), &in);
    CHECK_EQ(do_insn(&in), HELP_NEXT);
    CHECK_EQ(mem16(6), 0x5797);
    CHECK_EQ(mem16(8), 0xf7c9);
    CHECK_EQ(mem16(10), 0xbdfb);
    CHECK_EQ(mem16(12), 0x2000);
    fpu_ptr_clear(c);
    decode_bytes(load16, sizeof(load16), &in);
    CHECK_EQ(do_insn(&in), HELP_NEXT);
    CHECK_EQ(c->fptr.ip, 0xf5797);
    CHECK_EQ(c->fptr.dp, 0x2bdfb);
    CHECK_EQ(c->fptr.op, 0x7c9);
    fpu_park(c);
    c->seg[S_DS].base = ds;
}

static void images_of_64_bit_code(void)
{
    static const struct { uint8_t b[4], n, wide; } op[] = {
        { { 0x48, 0x0f, 0xae, 0x07 }, 4, 1 }, { { 0x0f, 0xae, 0x07 }, 3, 0 },   /* FXSAVE */
        { { 0x48, 0x0f, 0xae, 0x27 }, 4, 1 }, { { 0x0f, 0xae, 0x27 }, 3, 0 },   /* XSAVE */
        { { 0x48, 0x0f, 0xae, 0x37 }, 4, 1 }, { { 0x0f, 0xc7, 0x27 }, 3, 0 },   /* XSAVEOPT, XSAVEC */
    };

    for (unsigned k = 0; k < 2 * sizeof(op) / sizeof(op[0]); k++) {
        unsigned i = k / 2;
        env_mode(2, 0);
        c->model.vendor_amd = k & 1;
        for (unsigned es = 0; es < 2; es++) {
            set_fsw(es ? 0x8081 : 0);
            set_pointers(0x00007f1122334455, 0xffff8099aabbccdd);
            memset(MEM, 0, 4096);
            run(op[i].b, op[i].n);
            bool shown = es || !c->model.vendor_amd;
            uint64_t ip = op[i].wide ? 0x00007f1122334455 : 0x22334455 | (uint64_t)c->seg[S_CS].sel << 32;
            uint64_t dp = op[i].wide ? 0xffff8099aabbccdd : 0xaabbccdd | (uint64_t)c->seg[S_DS].sel << 32;
            CHECK_EQ(fpu_get64(MEM, FX_FIP), shown ? ip : 0);
            CHECK_EQ(fpu_get64(MEM, FX_FDP), shown ? dp : 0);
            CHECK_EQ(mem16(FX_FOP), shown ? 0x5c9 : 0);
            if (i >= 2)
                CHECK_EQ(MEM[XS_BV] & 1, 1); /* the pointers alone make x87 not initial */
        }
    }
    c->model.vendor_amd = 0;
}

static void images_are_loaded(void)
{
    for (unsigned k = 0; k < 16; k++) {
        bool wide = k & 1, amd = k & 2, erptr = k & 4, es = k & 8;
        env_mode(2, 0);
        c->model.vendor_amd = amd;
        c->model.f88_ebx = erptr ? 4 : 0;
        set_fsw(0);
        set_pointers(1, 2);
        memset(MEM, 0, 1024);
        fpu_put64(MEM, FX_FCW, es ? 0x8081037e : 0x37f);
        fpu_put32(MEM, FX_FOP - 2, 0xfabcu << 16);
        fpu_put64(MEM, FX_FIP, 0x00345f1122334455);
        fpu_put64(MEM, FX_FDP, 0x12a48099aabbccdd);
        fpu_put32(MEM, FX_MXCSR, MXCSR_INIT);
        if (wide)
            RUN(0x48, 0x0f, 0xae, 0x0f);
        else
            RUN(0x0f, 0xae, 0x0f);
        if (amd && !erptr && !es) {
            CHECK_EQ(c->fptr.ip, 1);
            continue;
        }
        CHECK_EQ(c->fptr.op, 0x2bc);
        CHECK_EQ(c->fptr.ip, wide ? 0x00345f1122334455 : 0x22334455); /* 57 bits */
        CHECK_EQ(c->fptr.dp, wide ? 0x00a48099aabbccdd : 0xaabbccdd);
        CHECK_EQ(c->fptr.cs, wide ? 0 : 0x5f11);
        CHECK_EQ(c->fptr.ds, wide ? 0 : 0x8099);
    }
    c->model.vendor_amd = 0;
    /* XRSTOR that initialises x87. */
    set_pointers(1, 2);
    memset(MEM + XS_BV, 0, 64);
    RUN(0x0f, 0xae, 0x2f);
    CHECK_EQ(c->fptr.ip | c->fptr.dp | c->fptr.op | c->fptr.cs | c->fptr.ds, 0);
}

/* The selectors are those of the time of the instruction, whenever somebody asks. */
static void selectors_are_noted_before_they_change(void)
{
    env_mode(1, 0);
    uint16_t cs = c->seg[S_CS].sel, es = c->seg[S_ES].sel;
    fpu_ptr_set(c, 0x1000, 0x5c9, S_ES + 1);
    seg_set(c, S_DS, 0x70, 0, 0, 0);
    CHECK(c->fptr.dseg);
    seg_set(c, S_CS, 0x80, 0, ~0u, c->seg[S_CS].attr);
    seg_set(c, S_ES, 0x78, 0, 0, 0);
    fpu_ptr_set(c, 0x2000, 0x1c0, 0);   /* no operand: FDS stays */
    seg_set(c, S_ES, 0x88, 0, 0, 0);
    fpu_ptr_settle(c);
    CHECK_EQ(c->fptr.cs, 0x80);
    CHECK_EQ(c->fptr.ds, es);
    fpu_ptr_set(c, 0x3000, 0x5c9, S_ES + 1);
    seg_set(c, S_CS, cs, 0, ~0u, c->seg[S_CS].attr);
    fpu_ptr_settle(c);
    CHECK_EQ(c->fptr.cs, 0x80);
    CHECK_EQ(c->fptr.ds, 0x88);
}

/* An operand that took the slow path leaves its address plus TH_FAR. */
static void far_operands(void)
{
    static const uint64_t addr[] = { 0, 0x7fffffffffff, 0xffff800000000000, 0xfffffffffffffff8, 0x00ffffffffffffff };

    for (unsigned i = 0; i < sizeof(addr) / sizeof(addr[0]); i++) {
        c->fptr.dp = addr[i];
        fpu_ptr_settle(c);
        CHECK_EQ(c->fptr.dp, addr[i]);
        c->fptr.dp = addr[i] + (1ull << 63);
        fpu_ptr_settle(c);
        CHECK_EQ(c->fptr.dp, addr[i]);
    }
}

int main(void)
{
    env_start();
    environments_in_protected_mode();
    environments_are_loaded();
    environments_in_real_mode();
    images_of_64_bit_code();
    images_are_loaded();
    selectors_are_noted_before_they_change();
    far_operands();
    return 0;
}
