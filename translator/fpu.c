/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fpu.c - who owns the host's x87/SSE/AVX registers.
 *
 * While generated code runs, the guest's state is in them.  Before C code that may use them, fpu_park()
 * writes the state to c->fpu and loads what the C ABI expects (x87 empty with FCW 037F and nothing
 * pending, MXCSR 1F80, upper vector halves zero); fpu_unpark() is the way back.  Both are on the path of
 * every MMIO and port access. The instructions that show this state to the guest (FXSAVE, XSAVE...) are
 * in help_fpu.c.
 *
 * c->fpu may have been filled by the embedder from a migration stream, so XRSTOR never sees it unchecked:
 * MXCSR is masked and the header rewritten to a form that cannot fault (SDM vol. 1, 13.8.1 lists the #GP
 * conditions).
 *
 * XRSTOR alone costs some 250 cycles, and most guests never touch x87.  So where the host can say which
 * components are in use (XGETBV with ECX = 1) and x87 is not, the vector registers are moved one by one
 * instead, which is four times as fast, and x87 is left alone.
 *
 * AVX-512 state is never the guest's (no EVEX instruction is translated) and is neither saved nor cleared.
 */
#include <cpuid.h>

#include "tb-store/stats.h"
#include "translator/fpu.h"
#include "translator/mem.h"

/* Found once, when the module is loaded. */
static struct {
    uint32_t mask;       /* RFBM for XSAVE: XCR0 & 7; 0 = the host has no XSAVE */
    uint32_t mxcsr_mask;
    bool xinuse;         /* XGETBV(1) tells which components are in use, and the host has AVX */
} host;

__attribute__((constructor)) static void fpu_host_init(void)
{
    uint8_t img[FX_SIZE] __attribute__((aligned(64)));
    uint32_t a, b, c, d;

    xbt_zero(img, sizeof(img));
    __asm__ volatile("fxsave64 %0" : "+m"(img));
    host.mxcsr_mask = fpu_get32(img, FX_MXCSR_MASK);
    if (!host.mxcsr_mask)
        host.mxcsr_mask = 0xffbf; /* SDM vol. 1, 11.6.6 */
    if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 27))) {
        uint32_t lo, hi;
        __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
        host.mask = lo & (XF_X87 | XF_SSE | XF_AVX);
        host.xinuse = host.mask == (XF_X87 | XF_SSE | XF_AVX) &&
                      __get_cpuid_count(0xd, 1, &a, &b, &c, &d) && (a & 4);
    }
}

/* Nothing in use: XRSTOR from here initialises. */
static const uint8_t fpu_initial[XS_AVX] __attribute__((aligned(64))) = {
    [FX_FCW] = FCW_INIT & 0xff, FCW_INIT >> 8, [FX_MXCSR] = MXCSR_INIT & 0xff, MXCSR_INIT >> 8,
};

uint32_t fpu_mxcsr_mask(void)
{
    return host.mxcsr_mask;
}

/* ---- the vector registers one by one; the caller knows that the host has AVX ---- */

#define EACH_XMM(X)                                                                                        \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

static inline uint32_t components_in_use(void)
{
    uint32_t lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(1));
    return lo & host.mask;
}

static inline void vectors_save(uint8_t *img, bool upper)
{
#define X(n) "vmovdqu %%xmm" #n ", 160+16*" #n "(%0)\n\t"
    __asm__ volatile(EACH_XMM(X) "stmxcsr 24(%0)" : : "r"(img) : "memory");
#undef X
#define X(n) "vextractf128 $1, %%ymm" #n ", 576+16*" #n "(%0)\n\t"
    if (upper)
        __asm__ volatile(EACH_XMM(X) : : "r"(img) : "memory");
#undef X
}

static inline void vectors_load(const uint8_t *img, bool upper)
{
#define X(n) "vmovdqu 160+16*" #n "(%0), %%xmm" #n "\n\t"
    __asm__ volatile(EACH_XMM(X) "ldmxcsr 24(%0)" : : "r"(img) : "memory");
#undef X
#define X(n) "vinsertf128 $1, 576+16*" #n "(%0), %%ymm" #n ", %%ymm" #n "\n\t"
    if (upper)
        __asm__ volatile(EACH_XMM(X) : : "r"(img) : "memory");
#undef X
}

/* ---- the whole state ---- */

static inline void host_save(uint8_t *img)
{
    if (__builtin_expect(host.mask, 7)) {
        __asm__ volatile("xsave64 %0" : "+m"(*(uint8_t (*)[XBT_FPU_AREA])img) : "a"(host.mask), "d"(0));
    } else {
        __asm__ volatile("fxsave64 %0" : "+m"(*(uint8_t (*)[FX_SIZE])img));
        fpu_put64(img, XS_BV, XF_X87 | XF_SSE);
    }
}

/* Give every component that XSTATE_BV calls initial its initial contents. */
static void image_expand(uint8_t *img)
{
    uint64_t bv = fpu_get64(img, XS_BV);

    if (!(bv & XF_X87)) {
        xbt_zero(img, FX_MXCSR);
        xbt_zero(img + FX_ST, FX_XMM - FX_ST);
        fpu_put64(img, FX_FCW, FCW_INIT);
    }
    if (!(bv & XF_SSE))
        xbt_zero(img + FX_XMM, FX_END - FX_XMM);
    if (!(bv & XF_AVX))
        xbt_zero(img + XS_AVX, XS_AVX_END - XS_AVX);
}

/* Does the x87 component hold its initial state?  (The pointers are nobody's: they are never shown.) */
static bool x87_is_initial(const uint8_t *img)
{
    uint64_t st = 0;

    if ((fpu_get64(img, FX_FCW) & 0x000000ffffffffffull) != FCW_INIT)
        return false;
    for (unsigned i = FX_ST; i < FX_XMM; i += 8)
        st |= fpu_get64(img, i);
    return !st;
}

static inline void host_load(uint8_t *img)
{
    uint64_t bv = fpu_get64(img, XS_BV) & host.mask;

    fpu_put32(img, FX_MXCSR, fpu_get32(img, FX_MXCSR) & host.mxcsr_mask);
    if (__builtin_expect(host.mask, 7)) {
        /* Loaded as "in use", x87 would stay so, and every park would have to save it. */
        if ((bv & XF_X87) && x87_is_initial(img))
            bv &= ~XF_X87;
        fpu_put64(img, XS_BV, bv);
        fpu_put64(img, XS_COMP, 0);
        fpu_put64(img, XS_COMP + 8, 0);
        __asm__ volatile("xrstor64 %0" : : "m"(*(uint8_t (*)[XBT_FPU_AREA])img), "a"(host.mask), "d"(0));
    } else {
        image_expand(img);
        __asm__ volatile("fxrstor64 %0" : : "m"(*(uint8_t (*)[FX_SIZE])img));
    }
}

/* What C code expects.  The image just saved tells what of it is already so. */
static inline void host_defaults(const uint8_t *img)
{
    static const uint32_t mxcsr = MXCSR_INIT;

    if ((fpu_get64(img, FX_FCW) & 0x000000ffffffffffull) != FCW_INIT)
        __asm__ volatile("fninit");
    if (fpu_get32(img, FX_MXCSR) != MXCSR_INIT)
        __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    if (fpu_get64(img, XS_BV) & host.mask & XF_AVX)
        __asm__ volatile("vzeroupper");
}

/* x87 is in its initial state, which is also what C wants.  False = nothing done. */
static inline bool park_vectors(uint8_t *img)
{
    static const uint32_t mxcsr = MXCSR_INIT;
    uint32_t used = components_in_use();

    if (used & XF_X87)
        return false;
    vectors_save(img, used & XF_AVX);
    fpu_put64(img, FX_FCW, FCW_INIT);
    fpu_put64(img, XS_BV, XF_SSE | (used & XF_AVX));
    __asm__ volatile("vzeroupper");
    if (fpu_get32(img, FX_MXCSR) != MXCSR_INIT)
        __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    return true;
}

/* The way back, when the image says that x87 is initial. */
static inline void unpark_vectors(uint8_t *img, uint64_t bv)
{
    fpu_put32(img, FX_MXCSR, fpu_get32(img, FX_MXCSR) & host.mxcsr_mask);
    if (components_in_use() & XF_X87) /* C code used long double */
        __asm__ volatile("xrstor64 %0" : : "m"(fpu_initial), "a"((uint32_t)XF_X87), "d"(0));
    vectors_load(img, bv & XF_AVX);
}

void fpu_park(struct guest_cpu *c)
{
    if (!c->fpu_live)
        return;
    c->stat[ST_FPU_PARKS]++;
    c->fpu_live = 0;
    if (host.xinuse && park_vectors(c->fpu))
        return;
    host_save(c->fpu);
    host_defaults(c->fpu);
}

void fpu_unpark(struct guest_cpu *c)
{
    uint64_t bv = fpu_get64(c->fpu, XS_BV);

    if (c->fpu_live)
        return;
    c->fpu_live = 1;
    if (host.xinuse && (bv & (XF_X87 | XF_SSE)) == XF_SSE)
        unpark_vectors(c->fpu, bv);
    else
        host_load(c->fpu);
}

void fpu_image_expand(struct guest_cpu *c)
{
    const uint64_t all = XF_X87 | XF_SSE | XF_AVX;

    if ((fpu_get64(c->fpu, XS_BV) & all) != all)
        image_expand(c->fpu);
}

void fpu_capture(struct guest_cpu *c)
{
    if (c->fpu_live)
        host_save(c->fpu);
    fpu_image_expand(c);
    /* FOP, FIP, FDP: where the host executed the last x87 instruction, nothing the guest may know (fpu_ptr.h). */
    *(uint16_t *)(void *)(c->fpu + FX_FOP) = 0;
    fpu_put64(c->fpu, FX_FIP, 0);
    fpu_put64(c->fpu, FX_FDP, 0);
}

void fpu_changed(struct guest_cpu *c)
{
    if (c->fpu_live)
        host_load(c->fpu);
}
