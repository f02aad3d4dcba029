/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_help_fpu.c - who owns the FP state, and the instructions that show it to the guest, against the
 * host CPU.
 *
 * This program is compiled without vector registers; the guest's state is loaded just before a helper
 * runs and saved right after it, so that the C library sees its own state.
 */
#include "test_help_env.h"
#include "translator/fpu_ptr.h"

#include <cpuid.h>

typedef uint8_t area[XBT_FPU_AREA] __attribute__((aligned(64)));

static uint64_t host_mask; /* XCR0 & 7 */
static bool host_xsavec, host_xgetbv1;
static const area c_state = { [FX_FCW] = 0x7f, 3, [FX_MXCSR] = 0x80, 0x1f };

static inline void load_state(const uint8_t *img)
{
    __asm__ volatile("xrstor64 %0" : : "m"(*(const area *)img), "a"((uint32_t)host_mask), "d"(0));
}
static inline void save_state(uint8_t *img)
{
    __asm__ volatile("xsave64 %0" : "+m"(*(area *)img) : "a"((uint32_t)host_mask), "d"(0));
}
static inline void scrub(uint8_t *img)
{
    xbt_zero(img + FX_FOP, FX_MXCSR - FX_FOP);
}

static void put16(uint8_t *p, unsigned v) { memcpy(p, &v, 2); }

/* A legal image with random contents; nothing pending and unmasked unless asked for. */
static void random_image(uint8_t *img, bool pending)
{
    memset(img, 0, XBT_FPU_AREA);
    for (unsigned i = FX_ST; i < FX_END; i += 8)
        fpu_put64(img, i, rnd());
    for (unsigned i = FX_ST; i < FX_XMM; i += 16) {
        fpu_put64(img, i + 8, rnd() & 0xffff);
        if (rnd() % 3 == 0) { /* zeros, denormals, infinities, unnormals */
            fpu_put64(img, i, rnd() & 1 ? 0 : rnd() >> 2);
            fpu_put64(img, i + 8, rnd() & 1 ? 0 : rnd() & 0x8000 ? 0x7fff : rnd() & 0xffff);
        }
    }
    for (unsigned i = XS_AVX; i < XS_AVX_END; i += 8)
        fpu_put64(img, i, rnd());
    put16(img + FX_FCW, pending ? 0x340 | (rnd() & 0xc3f) : 0x37f | (rnd() & 0xc00));
    put16(img + FX_FSW, (unsigned)(rnd() & (pending ? 0x7f7f : 0x7f40)));
    img[FX_FTW] = (uint8_t)rnd();
    if (pending && (img[FX_FSW] & ~img[FX_FCW] & 0x3f))
        put16(img + FX_FSW, (unsigned)fpu_get32(img, FX_FSW) | 0x8080);
    fpu_put32(img, FX_MXCSR, 0x1f80 | (rnd() & 0xe07f));
    fpu_put64(img, XS_BV, host_mask & (rnd() & 1 ? 7 : rnd()));
}

/* Run a helper with `before` live; `after` is what it left, live or parked. */
static int run_live(const uint8_t *bytes, unsigned n, const uint8_t *before, uint8_t *after)
{
    struct dec_insn in;
    int r;

    decode_bytes(bytes, n, &in);
    xbt_zero(after, XBT_FPU_AREA);
    load_state(before);
    c->fpu_live = 1;
    r = do_insn(&in);
    fpu_unpark(c);
    save_state(after);
    load_state(c_state);
    c->fpu_live = 0;
    return r;
}

/* The same by the host itself: the code gets rdi = operand, edx:eax = mask. */
static uint8_t *code_buf;
static void run_native(const uint8_t *bytes, unsigned n, const uint8_t *before, uint8_t *after, void *rdi,
                       uint32_t eax)
{
    memcpy(code_buf, bytes, n);
    code_buf[n] = 0xc3;
    xbt_zero(after, XBT_FPU_AREA);
    load_state(before);
    __asm__ volatile("xor %%edx, %%edx\n\tcall *%2"
                     : "+a"(eax), "+D"(rdi) : "r"((void *)code_buf) : "rdx", "memory", "cc");
    save_state(after);
    load_state(c_state);
}

static void check_same_state(uint8_t *a, uint8_t *b)
{
    scrub(a);
    scrub(b);
    for (unsigned i = 0; i < XS_AVX_END; i++)
        if (a[i] != b[i] && !(i >= FX_END && i < XS_AVX) && i != FX_FSW + 1) {
            fprintf(stderr, "state differs at %u: %02x %02x (%s)\n", i, a[i], b[i], env_what);
            abort();
        }
    CHECK_EQ(a[FX_FSW + 1], b[FX_FSW + 1]);
}

/* ---- ownership ---- */

static void park_gives_c_its_defaults(void)
{
    static area img, got;
    uint16_t fcw = 0;
    uint32_t mxcsr = 0;

    for (unsigned i = 0; i < 200; i++) {
        random_image(img, true);
        memset(c->fpu, 0, sizeof(c->fpu));
        load_state(img);
        c->fpu_live = 1;
        fpu_park(c);
        __asm__ volatile("fnstcw %0\n\tstmxcsr %1" : "=m"(fcw), "=m"(mxcsr));
        save_state(got);
        load_state(c_state);
        CHECK(!c->fpu_live);
        CHECK_EQ(fcw, 0x37f);
        CHECK_EQ(mxcsr, 0x1f80);
        CHECK_EQ(got[FX_FTW], 0);
        CHECK_EQ(fpu_get32(got, FX_FSW) & 0xffff, 0);
        for (unsigned k = XS_AVX; k < XS_AVX_END && (fpu_get64(got, XS_BV) & XF_AVX); k++)
            CHECK_EQ(got[k], 0);
        fpu_unpark(c);
        save_state(got);
        load_state(c_state);
        c->fpu_live = 0;
        CHECK_EQ(fpu_get32(got, FX_MXCSR), fpu_get32(img, FX_MXCSR));
        if (fpu_get64(img, XS_BV) & XF_SSE)
            CHECK(!memcmp(got + FX_XMM, img + FX_XMM, FX_END - FX_XMM));
        if (fpu_get64(img, XS_BV) & host_mask & XF_AVX)
            CHECK(!memcmp(got + XS_AVX, img + XS_AVX, 256));
    }
    CHECK(c->stat[ST_FPU_PARKS] >= 200);
}

/* What C code leaves in x87 while the guest's is initial must not reach the guest. */
static void long_double_in_between(void)
{
    static area img, got;

    random_image(img, false);
    fpu_put64(img, XS_BV, host_mask & ~XF_X87);
    load_state(img);
    c->fpu_live = 1;
    fpu_park(c);
    __asm__ volatile("fldpi\n\tfsqrt\n\tfstp %st(0)");
    fpu_unpark(c);
    save_state(got);
    load_state(c_state);
    c->fpu_live = 0;
    CHECK_EQ(fpu_get64(got, FX_FCW) & 0xffffffffff, 0x37f);
    for (unsigned i = FX_ST; i < FX_XMM; i++)
        CHECK_EQ(got[i], 0);
    CHECK(!memcmp(got + FX_XMM, img + FX_XMM, 256));
}

/* A reset or a guest's FNINIT leaves x87 marked as in use; it is found to be initial: parking gets cheap. */
static void initial_x87_is_noticed(void)
{
    uint32_t lo, hi;

    if (!host_xgetbv1)
        return;
    memset(c->fpu, 0, sizeof(c->fpu));
    fpu_put64(c->fpu, FX_FCW, FCW_INIT);
    fpu_put64(c->fpu, FX_FIP, 0x1234);
    fpu_put32(c->fpu, FX_MXCSR, MXCSR_INIT);
    fpu_put64(c->fpu, XS_BV, 3);
    fpu_unpark(c);
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(1));
    CHECK_EQ(lo & XF_X87, 0);
    fpu_park(c);
}

static void hostile_images_do_not_fault(void)
{
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned k = 0; k < sizeof(c->fpu); k += 8)
            fpu_put64(c->fpu, k, i & 1 ? ~0ull : rnd());
        fpu_unpark(c);
        fpu_park(c);
    }
}

/* ---- FXSAVE, FXRSTOR, XSAVE... ---- */

#define OPERAND (DATA + 0x1000)

static void both_operands(const void *p, unsigned n)
{
    memset(host_data, 0xcc, 0x3000);
    if (p)
        memcpy(host_data + 0x1000, p, n);
    memcpy(guest_data, host_data, 0x3000);
}

static void native_and_helper(const uint8_t *bytes, unsigned n, const uint8_t *state, uint32_t eax,
                              const char *what)
{
    static area a, b;
    int r;

    env_what = what;
    fpu_ptr_clear(c); /* test_help_fptr.c's business */
    GPR(c, R_RDI) = OPERAND;
    GPR(c, R_RAX) = eax;
    GPR(c, R_RDX) = 0;
    r = run_live(bytes, n, state, a);
    CHECK_EQ(r, HELP_NEXT);
    run_native(bytes, n, state, b, (void *)OPERAND, eax);
    check_same_state(a, b);
}

static bool same_memory(unsigned from, unsigned to, unsigned skip_from, unsigned skip_to)
{
    for (unsigned i = from; i < to; i++)
        if (host_data[0x1000 + i] != guest_data[0x1000 + i] && !(i >= skip_from && i < skip_to))
            return false;
    return true;
}

static void check_same_memory(unsigned from, unsigned to, unsigned skip_from, unsigned skip_to)
{
    for (unsigned i = from; i < to; i++)
        if (host_data[0x1000 + i] != guest_data[0x1000 + i] && !(i >= skip_from && i < skip_to)) {
            fprintf(stderr, "memory differs at %u: host %02x helper %02x (%s)\n", i, host_data[0x1000 + i],
                    guest_data[0x1000 + i], env_what);
            abort();
        }
    CHECK(!memcmp(host_data, guest_data, 0x1000));
}

/* Bytes 6..23 are FOP, FIP, FDP: the host writes its own; 464..511 are the program's. */
static void fxsave_as_the_host(void)
{
    static area img;

    for (unsigned i = 0; i < 200; i++) {
        random_image(img, i & 1);
        both_operands(NULL, 0);
        native_and_helper((const uint8_t[]){ 0x48, 0x0f, 0xae, 0x07 }, 4, img, 0, "fxsave64");
        for (unsigned k = FX_FOP; k < FX_MXCSR; k++)
            CHECK_EQ(guest_data[0x1000 + k], 0);
        check_same_memory(0, FX_END, FX_FOP, FX_MXCSR);
        check_same_memory(464, 0x2000, 0, 0);
    }
}

static void fxrstor_as_the_host(void)
{
    static area img, mem;

    for (unsigned i = 0; i < 200; i++) {
        random_image(img, false);
        random_image(mem, i & 1);
        both_operands(mem, FX_SIZE);
        native_and_helper((const uint8_t[]){ 0x0f, 0xae, 0x0f }, 3, img, 0, "fxrstor");
    }
    /* Reserved MXCSR bits, alignment, device not available. */
    static area out;
    fpu_put32(guest_data, 0x1000 + FX_MXCSR, 0xffffffff);
    GPR(c, R_RDI) = OPERAND;
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x0f }, 3, img, out), RAISES(EXC_GP));
    scrub(img);
    GPR(c, R_RDI) = OPERAND + 8;
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x07 }, 3, img, out), RAISES(EXC_GP));
    c->cr[0] |= CR0_TS;
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x07 }, 3, img, out), RAISES(EXC_NM));
    c->cr[0] &= ~(uint64_t)CR0_TS;
}

static void xsave_as_the_host(void)
{
    static const struct { uint8_t b[4]; const char *name; } op[] = {
        { { 0x48, 0x0f, 0xae, 0x27 }, "xsave64" }, { { 0x48, 0x0f, 0xae, 0x37 }, "xsaveopt64" },
        { { 0x48, 0x0f, 0xc7, 0x27 }, "xsavec64" },
    };
    static area img, hdr;

    for (unsigned i = 0; i < 600; i++) {
        unsigned k = i % (host_xsavec ? 3 : 1);
        uint32_t rfbm = (uint32_t)(i & 64 ? 7 : rnd() & 7) & (uint32_t)host_mask;

        random_image(img, false);
        memset(hdr, 0xcc, sizeof(hdr));
        xbt_zero(hdr + XS_BV, 64);
        fpu_put64(hdr, XS_BV, rnd() & 7);
        /* A task switch of the host in between may change what counts as in use (XINUSE): not twice in a row. */
        for (unsigned attempt = 0; attempt < 5; attempt++) {
            both_operands(hdr, XS_AVX);
            native_and_helper(op[k].b, 4, img, rfbm, op[k].name);
            if (same_memory(0, FX_END, FX_FOP, FX_MXCSR) && same_memory(464, 0x2000, 0, 0))
                break;
        }
        check_same_memory(0, FX_END, FX_FOP, FX_MXCSR);
        check_same_memory(464, 0x2000, 0, 0);
    }
}

static void xrstor_as_the_host(void)
{
    static area img, mem;

    for (unsigned i = 0; i < 600; i++) {
        uint32_t rfbm = (uint32_t)(rnd() & 7);
        bool compact = host_xsavec && (i & 1);

        random_image(img, false);
        random_image(mem, i & 2);
        if (compact)
            fpu_put64(mem, XS_COMP, 1ull << 63 | fpu_get64(mem, XS_BV) | (rnd() & host_mask));
        if (compact && !(fpu_get64(mem, XS_COMP) & XF_AVX))
            fpu_put64(mem, XS_BV, fpu_get64(mem, XS_BV) & ~XF_AVX);
        both_operands(mem, XS_AVX_END);
        native_and_helper((const uint8_t[]){ 0x48, 0x0f, 0xae, 0x2f }, 4, img, rfbm & (uint32_t)host_mask,
                          compact ? "xrstor64 compacted" : "xrstor64");
    }
}

static void bad_xrstor_headers(void)
{
    static const struct { unsigned off; uint64_t val; } bad[] = {
        { XS_BV, 1 << 5 }, { XS_BV, 1ull << 63 }, { XS_COMP, 1 }, { XS_COMP + 8, 1 },
        { XS_COMP, 1ull << 63 | 1 << 5 }, { FX_MXCSR, 1 << 20 },
    };
    static area img, mem, out;

    random_image(img, false);
    fpu_put64(img, XS_BV, host_mask);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        random_image(mem, false);
        fpu_put64(mem, XS_BV, 3);
        fpu_put64(mem, bad[i].off, bad[i].val);
        both_operands(mem, XS_AVX_END);
        GPR(c, R_RAX) = 7;
        GPR(c, R_RDX) = 0;
        GPR(c, R_RDI) = OPERAND;
        CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x2f }, 3, img, out), RAISES(EXC_GP));
        CHECK(!memcmp(out + FX_XMM, img + FX_XMM, 256));
    }
    /* Compacted: XSTATE_BV within XCOMP_BV, the rest of the header zero. */
    random_image(mem, false);
    fpu_put64(mem, XS_BV, 3);
    fpu_put64(mem, XS_COMP, 1ull << 63 | 1);
    both_operands(mem, XS_AVX_END);
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x2f }, 3, img, out), RAISES(EXC_GP));
    fpu_put64(guest_data, 0x1000 + XS_COMP, 1ull << 63 | 3);
    fpu_put64(guest_data, 0x1000 + XS_COMP + 40, 1);
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x2f }, 3, img, out), RAISES(EXC_GP));
    GPR(c, R_RDI) = OPERAND + 32;
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x27 }, 3, img, out), RAISES(EXC_GP));
    c->cr[4] &= ~(uint64_t)CR4_OSXSAVE;
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x27 }, 3, img, out), RAISES(EXC_UD));
    c->cr[4] |= CR4_OSXSAVE;
}

static void pkru_component(void)
{
    static area img, out;

    random_image(img, false);
    both_operands(NULL, 0);
    memset(guest_data + 0x1000 + XS_BV, 0, 64);
    c->xcr0 = 0x207;
    c->pkru = 0x12345678;
    GPR(c, R_RDI) = OPERAND;
    GPR(c, R_RAX) = 0x200;
    GPR(c, R_RDX) = 0;
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x27 }, 3, img, out), HELP_NEXT);
    CHECK_EQ(fpu_get64(guest_data, 0x1000 + XS_PKRU), 0x12345678);
    CHECK_EQ(fpu_get64(guest_data, 0x1000 + XS_BV), 0x200);
    CHECK_EQ(guest_data[0x1000], 0xcc);
    c->pkru = 0;
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x2f }, 3, img, out), HELP_NEXT);
    CHECK_EQ(c->pkru, 0x12345678);
    /* Compacted: right behind the header when AVX is not in the format. */
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xc7, 0x27 }, 3, img, out), HELP_NEXT);
    CHECK_EQ(fpu_get64(guest_data, 0x1000 + XS_AVX), 0x12345678);
    CHECK_EQ(fpu_get64(guest_data, 0x1000 + XS_COMP), 1ull << 63 | 0x200);
    fpu_put64(guest_data, 0x1000 + XS_AVX, 7);
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x2f }, 3, img, out), HELP_NEXT);
    CHECK_EQ(c->pkru, 7);
    c->xcr0 = 7;
    c->pkru = 0;
}

static void thirty_two_bit_modes_have_eight(void)
{
    static area img, out;

    env_mode(1, 0);
    random_image(img, false);
    fpu_put64(img, XS_BV, host_mask);
    both_operands(NULL, 0);
    GPR(c, R_RDI) = OPERAND;
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x07 }, 3, img, out), HELP_NEXT);
    CHECK(!memcmp(guest_data + 0x1000 + FX_XMM, img + FX_XMM, 128));
    CHECK_EQ(guest_data[0x1000 + FX_XMM + 128], 0xcc);
    memset(guest_data + 0x1000 + FX_XMM, 0x11, 256);
    CHECK_EQ(run_live((const uint8_t[]){ 0x0f, 0xae, 0x0f }, 3, img, out), HELP_NEXT);
    CHECK_EQ(out[FX_XMM], 0x11);
    CHECK_EQ(out[FX_XMM + 127], 0x11);
    CHECK(!memcmp(out + FX_XMM + 128, img + FX_XMM + 128, 128));
    env_mode(2, 0);
}

/* ---- x87 environment ---- */

static void environment_as_the_host(void)
{
    static const struct { uint8_t b[3], n, size, store; const char *name; } op[] = {
        { { 0xd9, 0x37 }, 2, 28, 1, "fnstenv" },       { { 0x66, 0xd9, 0x37 }, 3, 14, 1, "fnstenvw" },
        { { 0xdd, 0x37 }, 2, 108, 1, "fnsave" },       { { 0x66, 0xdd, 0x37 }, 3, 94, 1, "fnsavew" },
        { { 0xd9, 0x27 }, 2, 28, 0, "fldenv" },        { { 0x66, 0xd9, 0x27 }, 3, 14, 0, "fldenvw" },
        { { 0xdd, 0x27 }, 2, 108, 0, "frstor" },       { { 0x66, 0xdd, 0x27 }, 3, 94, 0, "frstorw" },
    };
    static area img;
    uint8_t mem[108];

    for (unsigned i = 0; i < 800; i++) {
        unsigned k = i % 8, env = op[k].size == 28 || op[k].size == 108 ? 28 : 14;

        random_image(img, op[k].store && (i & 8));
        for (unsigned j = 0; j < sizeof(mem); j++)
            mem[j] = (uint8_t)rnd();
        /* The host's own pointers are no matter of comparison. */
        both_operands(op[k].store ? NULL : mem, op[k].size);
        native_and_helper(op[k].b, op[k].n, img, 0, op[k].name);
        check_same_memory(0, 0x1000, env == 28 ? 12 : 6, env == 28 ? 24 : 14);
        if (op[k].store)
            for (unsigned j = env == 28 ? 12 : 6; j < (env == 28 ? 24u : 14u); j++)
                CHECK_EQ(guest_data[0x1000 + j], 0);
    }
}

static void pending_errors_come_first(void)
{
    static area img, out;

    random_image(img, false);
    put16(img + FX_FCW, 0x37b);         /* zero-divide unmasked... */
    put16(img + FX_FSW, 0x8084);        /* ...and pending */
    fpu_put64(img, XS_BV, host_mask);
    GPR(c, R_RDI) = OPERAND;
    CHECK_EQ(run_live((const uint8_t[]){ 0xd9, 0x27 }, 2, img, out), RAISES(EXC_MF));
    c->cr[0] &= ~(uint64_t)CR0_NE;
    memset(guest_data + 0x1000, 0, 28);
    guest_data[0x1000] = 0x7f;
    CHECK_EQ(run_live((const uint8_t[]){ 0xd9, 0x27 }, 2, img, out), HELP_NEXT);
    CHECK_EQ(env_ferr, 1);
    CHECK_EQ(out[FX_FSW], 0);
    c->cr[0] |= CR0_NE;
}

/* ---- MASKMOV, gathers, CMPXCHG ---- */

static void masks_for(uint8_t *img, unsigned reg)
{
    for (unsigned i = 0; i < 32; i += 4)
        fpu_put32(img, (i < 16 ? FX_XMM + i : XS_AVX + i - 16) + 16 * reg, (uint32_t)rnd());
}

static void maskmov_as_the_host(void)
{
    static const struct { uint8_t b[5], n; const char *name; } op[] = {
        { { 0x0f, 0xf7, 0xca }, 3, "maskmovq mm1, mm2" },
        { { 0x66, 0x0f, 0xf7, 0xca }, 4, "maskmovdqu xmm1, xmm2" },
        { { 0xc5, 0xf9, 0xf7, 0xca }, 4, "vmaskmovdqu xmm1, xmm2" },
        { { 0xc4, 0xe2, 0x69, 0x2c, 0x0f }, 5, "vmaskmovps xmm1, xmm2, [rdi]" },
        { { 0xc4, 0xe2, 0x6d, 0x2c, 0x0f }, 5, "vmaskmovps ymm1, ymm2, [rdi]" },
        { { 0xc4, 0xe2, 0x6d, 0x2d, 0x0f }, 5, "vmaskmovpd ymm1, ymm2, [rdi]" },
        { { 0xc4, 0xe2, 0x6d, 0x2e, 0x0f }, 5, "vmaskmovps [rdi], ymm2, ymm1" },
        { { 0xc4, 0xe2, 0x69, 0x2f, 0x0f }, 5, "vmaskmovpd [rdi], xmm2, xmm1" },
        { { 0xc4, 0xe2, 0x6d, 0x8c, 0x0f }, 5, "vpmaskmovd ymm1, ymm2, [rdi]" },
        { { 0xc4, 0xe2, 0xed, 0x8c, 0x0f }, 5, "vpmaskmovq ymm1, ymm2, [rdi]" },
        { { 0xc4, 0xe2, 0xed, 0x8e, 0x0f }, 5, "vpmaskmovq [rdi], ymm2, ymm1" },
        { { 0xc4, 0xe2, 0x69, 0x8e, 0x0f }, 5, "vpmaskmovd [rdi], xmm2, xmm1" },
    };
    static area img;
    uint8_t mem[64];

    for (unsigned i = 0; i < 50 * 12; i++) {
        unsigned k = i % 12;

        if (k >= 2 && !(host_mask & XF_AVX))
            continue;
        random_image(img, false);
        fpu_put64(img, XS_BV, host_mask);
        for (unsigned j = 0; j < sizeof(mem); j++)
            mem[j] = (uint8_t)rnd();
        both_operands(mem, sizeof(mem));
        native_and_helper(op[k].b, op[k].n, img, 0, op[k].name);
        check_same_memory(0, 0x1000, 0, 0);
    }
}

static void gather_as_the_host(void)
{
    static area img;
    static char what[64];

    if (!(host_mask & XF_AVX))
        return;
    for (unsigned i = 0; i < 800; i++) {
        unsigned op = 0x90 + (i & 3), w = i >> 2 & 1, l = i >> 3 & 1;
        /* vgather ymm1, [rdi + ymm3 * 2 + 4], ymm2 */
        uint8_t b[] = { 0xc4, 0xe2, (uint8_t)(w << 7 | 0x69 | l << 2), (uint8_t)op, 0x4c, 0x5f, 0x04 };

        random_image(img, false);
        fpu_put64(img, XS_BV, host_mask);
        masks_for(img, 2);
        for (unsigned j = 0; j < 32; j += op & 1 ? 8 : 4) {
            uint8_t *p = j < 16 ? img + FX_XMM + 48 + j : img + XS_AVX + 48 + j - 16;
            int32_t v = (int32_t)(rnd() % 1000) - 500;
            if (op & 1)
                fpu_put64(p, 0, (uint64_t)(int64_t)v);
            else
                fpu_put32(p, 0, (uint32_t)v);
        }
        both_operands(NULL, 0);
        for (unsigned j = 0; j < 0x3000; j++)
            host_data[j] = guest_data[j] = (uint8_t)rnd();
        snprintf(what, sizeof(what), "gather %02x w%u l%u", op, w, l);
        native_and_helper(b, sizeof(b), img, 0, what);
    }
}

/* Elements below the faulting one are done and their mask bits clear. */
static void gather_faults_element_by_element(void)
{
    static area img, out;
    const uint8_t b[] = { 0xc4, 0xe2, 0xed, 0x91, 0x0c, 0x1f }; /* vpgatherqq ymm1, [rdi + ymm3], ymm2 */

    if (!(host_mask & XF_AVX))
        return;
    random_image(img, false);
    fpu_put64(img, XS_BV, host_mask);
    for (unsigned i = 0; i < 4; i++) {
        unsigned at = i < 2 ? FX_XMM + 8 * i : XS_AVX + 8 * i - 16;

        fpu_put64(img, at + 32, i == 1 ? 0 : 1ull << 63);
        fpu_put64(img, at + 48, i == 2 ? 1ull << 60 : 8 * i);
        fpu_put64(guest_data, 0x1000 + 8 * i, i + 1);
    }
    GPR(c, R_RDI) = OPERAND;
    CHECK_EQ(run_live(b, sizeof(b), img, out), RAISES(EXC_GP));
    CHECK_EQ(fpu_get64(out, FX_XMM + 16), 1);
    CHECK_EQ(fpu_get64(out, FX_XMM + 24), fpu_get64(img, FX_XMM + 24));
    CHECK_EQ(fpu_get64(out, XS_AVX + 16), fpu_get64(img, XS_AVX + 16));
    CHECK_EQ(fpu_get64(out, FX_XMM + 32), 0);
    CHECK_EQ(fpu_get64(out, FX_XMM + 40), 0);
    CHECK_EQ(fpu_get64(out, XS_AVX + 32), 1ull << 63); /* not done: as they were */
    CHECK_EQ(fpu_get64(out, XS_AVX + 40), 1ull << 63);
}

/* The row is native; the helper is what the lifter falls back on. */
static void cmpxchg_wide(void)
{
    struct dec_insn in;
    struct insn_row row;

    for (unsigned w = 0; w < 2; w++)
        for (unsigned equal = 0; equal < 2; equal++)
            for (unsigned code = 0; code < 2; code++) {
                env_code[OPERAND >> 12] = (uint8_t)code;
                tlb_flush_all(c, TLBF_OTHER);
                const char *b = w ? "\xf0\x48\x0f\xc7\x0f" : "\xf0\x0f\xc7\x0f";
                CHECK_EQ(dec_decode((const uint8_t *)b, 4 + w, c->rip, 2, false, &in), DEC_OK);
                row = *in.row;
                row.helper = help_cmpxchg_wide;
                in.row = &row;
                uint64_t *m = (uint64_t *)(guest_data + 0x1000);
                m[0] = 0x1111111122222222;
                m[1] = 0x3333333344444444;
                GPR(c, R_RDI) = OPERAND;
                GPR(c, R_RAX) = w ? m[0] : 0x22222222;
                GPR(c, R_RDX) = (w ? m[1] : 0x11111111) + !equal;
                GPR(c, R_RBX) = 0x5555555566666666;
                GPR(c, R_RCX) = 0x7777777788888888;
                c->fl = eflags_to_fl(FL_CF | (equal ? 0 : FL_ZF));
                CHECK_EQ(do_insn(&in), code ? HELP_LOOP : HELP_NEXT);
                CHECK_EQ(fl_to_eflags(c->fl), FL_CF | (equal ? FL_ZF : 0));
                CHECK_EQ(m[0], !equal ? 0x1111111122222222 : w ? 0x5555555566666666 : 0x8888888866666666);
                CHECK_EQ(m[1], equal && w ? 0x7777777788888888 : 0x3333333344444444);
                CHECK_EQ(GPR(c, R_RDX), w ? 0x3333333344444444 + (equal ? 0 : 0) : 0x11111111);
            }
    env_code[OPERAND >> 12] = 0;
    tlb_flush_all(c, TLBF_OTHER);
    GPR(c, R_RDI) = OPERAND + 8;
    CHECK_EQ(do_insn(&in), RAISES(EXC_GP));
}

int main(void)
{
    uint32_t a, b, cx, d;

    if (!__get_cpuid(1, &a, &b, &cx, &d) || !(cx & 1u << 27)) {
        puts("no XSAVE on this host: skipped");
        return 77;
    }
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    host_mask = a & 7;
    host_xsavec = __get_cpuid_count(0xd, 1, &a, &b, &cx, &d) && (a & 3) == 3;
    host_xgetbv1 = host_xsavec && (a & 4);
    env_start();
    code_buf = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    env_mode(2, 0);
    park_gives_c_its_defaults();
    long_double_in_between();
    initial_x87_is_noticed();
    hostile_images_do_not_fault();
    fxsave_as_the_host();
    fxrstor_as_the_host();
    xsave_as_the_host();
    xrstor_as_the_host();
    bad_xrstor_headers();
    pkru_component();
    thirty_two_bit_modes_have_eight();
    environment_as_the_host();
    pending_errors_come_first();
    maskmov_as_the_host();
    gather_as_the_host();
    gather_faults_element_by_element();
    cmpxchg_wide();
    puts("FP helpers: ok");
    return 0;
}
