/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-fpu.c - x87/SSE/AVX state: XSAVE image of the engine <-> CPUX86State.
 *
 * The image has the standard format (SDM vol. 1, 13.4): legacy region with the
 * x87 registers in stack order, header, AVX component at 576.  CPUX86State has
 * the x87 registers in physical order with the stack top apart, as QEMU migrates
 * them.  A component whose XSTATE_BV bit is clear is in its initial state,
 * whatever its bytes are.  The x87 pointers are not in the image (translator/fpu_ptr.h).
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_MXCSR = 24,
    FX_MXCSR_MASK = 28,
    FX_ST = 32,
    FX_XMM = 160,
    XS_BV = 512,
    XS_XCOMP = 520,
    XS_YMMH = 576,
};
#define BV_X87 1u
#define BV_SSE 2u
#define BV_AVX 4u
#define FSW_TOP_SHIFT 11
#define FSW_TOP (7u << FSW_TOP_SHIFT)

static uint64_t load(const uint8_t *image, unsigned at, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, image + at, size);
    return v;
}

static void store(uint8_t *image, unsigned at, unsigned size, uint64_t v)
{
    memcpy(image + at, &v, size);
}

static void x87_get(CPUX86State *env, const uint8_t *image, bool init)
{
    unsigned fsw = init ? 0 : load(image, FX_FSW, 2);
    unsigned tags = init ? 0 : load(image, FX_FTW, 1); /* 1 = not empty, by physical register */

    env->fpuc = init ? 0x37f : load(image, FX_FCW, 2);
    env->fpstt = (fsw & FSW_TOP) >> FSW_TOP_SHIFT;
    env->fpus = fsw & ~FSW_TOP;
    for (unsigned i = 0; i < 8; i++) {
        FPReg *r = &env->fpregs[(env->fpstt + i) & 7];

        env->fptags[i] = !((tags >> i) & 1);
        memset(r, 0, sizeof(*r));
        if (!init) {
            memcpy(r, image + FX_ST + 16 * i, 10);
        }
    }
}

static void x87_put(const CPUX86State *env, uint8_t *image)
{
    unsigned tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        tags |= !env->fptags[i] << i;
        memset(image + FX_ST + 16 * i, 0, 16);
        memcpy(image + FX_ST + 16 * i, &env->fpregs[(env->fpstt + i) & 7], 10);
    }
    store(image, FX_FCW, 2, env->fpuc);
    store(image, FX_FSW, 2, (env->fpus & ~FSW_TOP) | (env->fpstt & 7) << FSW_TOP_SHIFT);
    store(image, FX_FTW, 2, tags);
}

void xbt_fpu_get(CPUX86State *env, const uint8_t *image)
{
    uint64_t bv = load(image, XS_BV, 8);

    x87_get(env, image, !(bv & BV_X87));
    env->mxcsr = load(image, FX_MXCSR, 4);
    for (unsigned i = 0; i < 16; i++) {
        uint8_t *reg = (uint8_t *)&env->xmm_regs[i];

        memset(reg, 0, sizeof(env->xmm_regs[i]));
        if (bv & BV_SSE) {
            memcpy(reg, image + FX_XMM + 16 * i, 16);
        }
        if (bv & BV_AVX) {
            memcpy(reg + 16, image + XS_YMMH + 16 * i, 16);
        }
    }
    env->xstate_bv = bv & (BV_X87 | BV_SSE | BV_AVX);
}

void xbt_fpu_put(const CPUX86State *env, uint8_t *image)
{
    uint64_t bv = BV_X87 | BV_SSE;

    x87_put(env, image);
    store(image, FX_MXCSR, 4, env->mxcsr & 0xffff); /* a reserved bit would fault on the host */
    if (!load(image, FX_MXCSR_MASK, 4)) {
        store(image, FX_MXCSR_MASK, 4, 0xffff);
    }
    for (unsigned i = 0; i < 16; i++) {
        const uint8_t *reg = (const uint8_t *)&env->xmm_regs[i];

        memcpy(image + FX_XMM + 16 * i, reg, 16);
        memcpy(image + XS_YMMH + 16 * i, reg + 16, 16);
        if (xbt_vm.opt.host_avx && (env->xmm_regs[i].ZMM_Q(2) | env->xmm_regs[i].ZMM_Q(3))) {
            bv |= BV_AVX;
        }
    }
    memset(image + XS_BV, 0, 64);
    store(image, XS_BV, 8, bv);
}
