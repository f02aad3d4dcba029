/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fpu.h - the guest's x87/SSE/AVX image and its moves to and from the host's registers (fpu.c).
 *
 * guest_cpu.fpu is always in XSAVE standard format: legacy area 0..511, header 512..575, AVX upper
 * halves 576..831 (SDM vol. 1, 13.4).  fpu_park() and fpu_unpark() are declared in guest_cpu.h.
 */
#ifndef XBT_FPU_H
#define XBT_FPU_H

#include "translator/guest_cpu.h"
#include "translator/mem.h"

/* Offsets in the image. */
enum {
    FX_FCW = 0, FX_FSW = 2, FX_FTW = 4, FX_FOP = 6, FX_FIP = 8, FX_FDP = 16,
    FX_MXCSR = 24, FX_MXCSR_MASK = 28, FX_ST = 32, FX_XMM = 160, FX_END = 416, FX_SIZE = 512,
    XS_BV = 512, XS_COMP = 520, XS_AVX = 576, XS_AVX_END = 832, XS_PKRU = 2688,
};

#define XF_X87  1ull
#define XF_SSE  2ull
#define XF_AVX  4ull
#define XF_PKRU (1ull << 9)
#define XF_ALL  (XF_X87 | XF_SSE | XF_AVX | XF_PKRU)  /* what xbt can offer in XCR0 */

#define MXCSR_INIT 0x1f80u
#define FCW_INIT   0x037fu

/*
 * Bring c->fpu up to date without giving up the host registers: all components are written out, also those in
 * their initial state; XSTATE_BV tells which are in use; FOP, FIP and FDP are zero (fpu_ptr.h has the guest's).
 */
void fpu_capture(struct guest_cpu *c);
/* c->fpu was changed after fpu_capture(): load it into the host registers if the state is live. */
void fpu_changed(struct guest_cpu *c);
/* Write out the components whose XSTATE_BV bit is clear (parked state, for who reads the image). */
void fpu_image_expand(struct guest_cpu *c);
/* Bits of MXCSR that may be set on this host. */
uint32_t fpu_mxcsr_mask(void);

/* A waiting x87 or MMX instruction done in C: raise a pending #MF (help_fpu.c). */
void fpu_wait(struct guest_cpu *c);

/* Fields of the image; any alignment. */
static inline uint64_t fpu_get64(const uint8_t *img, unsigned off)
{
    return *(const any64 *)(img + off);
}
static inline void fpu_put64(uint8_t *img, unsigned off, uint64_t v)
{
    *(any64 *)(img + off) = v;
}
static inline uint32_t fpu_get32(const uint8_t *img, unsigned off)
{
    return *(const any32 *)(img + off);
}
static inline void fpu_put32(uint8_t *img, unsigned off, uint32_t v)
{
    *(any32 *)(img + off) = v;
}

/* Byte `i` (0..31) of vector register `n`: low half in the legacy area, high half in the AVX component. */
static inline uint8_t *fpu_ymm(struct guest_cpu *c, unsigned n, unsigned i)
{
    return i < 16 ? c->fpu + FX_XMM + 16 * (n & 15) + i : c->fpu + XS_AVX + 16 * (n & 15) + (i - 16);
}

#endif
