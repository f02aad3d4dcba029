/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fpu_ptr.c - the x87 pointers in the formats that the guest sees and loads; see fpu_ptr.h. */
#include "translator/fpu_ptr.h"

#include "translator/fpu.h"

#define FSW_ES 0x80u
#define ERPTR  (1u << 2)   /* CPUID 80000008 EBX: FXRSTOR and XRSTOR always load the pointers */

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void put16(uint8_t *p, uint64_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void fpu_ptr_settle(struct guest_cpu *c)
{
    uint64_t dp = c->fptr.dp;

    fpu_ptr_seg_changes(c, S_CS);
    if (c->fptr.dseg) {
        fpu_ptr_seg_changes(c, c->fptr.dseg - 1);
    }
    if ((dp ^ dp << 1) >> 63) {
        c->fptr.dp = dp ^ 1ull << 63;   /* TH_FAR, of an operand that took the slow path */
    }
}

void fpu_ptr_clear(struct guest_cpu *c)
{
    c->fptr.ip = c->fptr.dp = 0;
    c->fptr.op = c->fptr.dseg = 0;
    c->fptr.cs = c->fptr.ds = 0;
}

/* AMD processors show the pointers of a pending unmasked exception only, and some load only those (APM vol. 2,
 * 11.4.4 and 11.5.9). */
static bool fx_has_pointers(const struct guest_cpu *c, const uint8_t *img)
{
    return !c->model.vendor_amd || (get16(img + FX_FSW) & FSW_ES);
}

void fpu_ptr_to_fx(struct guest_cpu *c, uint8_t *img, bool wide)
{
    put16(img + FX_FOP, 0);
    fpu_put64(img, FX_FIP, 0);
    fpu_put64(img, FX_FDP, 0);
    if (!fx_has_pointers(c, img)) {
        return;
    }
    fpu_ptr_settle(c);
    put16(img + FX_FOP, c->fptr.op & FPTR_FOP);
    if (wide) {
        fpu_put64(img, FX_FIP, c->fptr.ip);
        fpu_put64(img, FX_FDP, c->fptr.dp);
    } else {
        fpu_put64(img, FX_FIP, (uint32_t)c->fptr.ip | (uint64_t)c->fptr.cs << 32);
        fpu_put64(img, FX_FDP, (uint32_t)c->fptr.dp | (uint64_t)c->fptr.ds << 32);
    }
}

/* A 64-bit pointer is kept in as many bits as an address can have (Zen 4: 57, whether CPUID shows LA57 or not). */
static uint64_t canonical(uint64_t a)
{
    return (uint64_t)((int64_t)(a << 7) >> 7);
}

void fpu_ptr_from_fx(struct guest_cpu *c, const uint8_t *img, bool wide)
{
    if (!fx_has_pointers(c, img) && !(c->model.f88_ebx & ERPTR)) {
        return;
    }
    fpu_ptr_clear(c);
    c->fptr.op = get16(img + FX_FOP) & FPTR_FOP;
    c->fptr.ip = fpu_get64(img, FX_FIP);
    c->fptr.dp = fpu_get64(img, FX_FDP);
    if (wide) {
        c->fptr.ip = canonical(c->fptr.ip);
        c->fptr.dp = canonical(c->fptr.dp);
    } else {
        c->fptr.cs = (uint16_t)(c->fptr.ip >> 32);
        c->fptr.ds = (uint16_t)(c->fptr.dp >> 32);
        c->fptr.ip = (uint32_t)c->fptr.ip;
        c->fptr.dp = (uint32_t)c->fptr.dp;
    }
}

/* Real and v86 mode: linear addresses instead of selector and offset. */
static bool real_format(const struct guest_cpu *c)
{
    return !cpu_pe(c) || cpu_vm86(c);
}

static void to_env_real(const struct guest_cpu *c, uint8_t *env, bool wide)
{
    uint32_t ip = (uint32_t)c->fptr.ip + (uint32_t)(c->fptr.cs << 4);
    uint32_t dp = (uint32_t)c->fptr.dp + (uint32_t)(c->fptr.ds << 4);
    uint32_t fop = c->fptr.op & FPTR_FOP;

    if (wide) {
        fpu_put32(env, 12, (ip & 0xffff) | 0xffff0000u);
        fpu_put32(env, 16, ip >> 16 << 12 | fop);
        fpu_put32(env, 20, (dp & 0xffff) | 0xffff0000u);
        fpu_put32(env, 24, dp >> 16 << 12);
    } else {
        put16(env + 6, ip);
        put16(env + 8, ip >> 16 << 12 | fop);
        put16(env + 10, dp);
        put16(env + 12, dp >> 16 << 12);
    }
}

void fpu_ptr_to_env(struct guest_cpu *c, uint8_t *env, bool wide)
{
    fpu_ptr_settle(c);
    if (real_format(c)) {
        to_env_real(c, env, wide);
    } else if (wide) {
        fpu_put32(env, 12, (uint32_t)c->fptr.ip);
        fpu_put32(env, 16, c->fptr.cs | (c->fptr.op & FPTR_FOP) << 16);
        fpu_put32(env, 20, (uint32_t)c->fptr.dp);
        fpu_put32(env, 24, c->fptr.ds | 0xffff0000u);
    } else {
        put16(env + 6, c->fptr.ip);
        put16(env + 8, c->fptr.cs);
        put16(env + 10, c->fptr.dp);
        put16(env + 12, c->fptr.ds);
    }
}

void fpu_ptr_from_env(struct guest_cpu *c, const uint8_t *env, bool wide)
{
    bool real = real_format(c);

    fpu_ptr_clear(c);
    if (wide && real) {
        c->fptr.ip = get16(env + 12) | (fpu_get32(env, 16) >> 12 & 0xffff) << 16;
        c->fptr.op = fpu_get32(env, 16) & FPTR_FOP;
        c->fptr.dp = get16(env + 20) | (fpu_get32(env, 24) >> 12 & 0xffff) << 16;
    } else if (wide) {
        c->fptr.ip = fpu_get32(env, 12);
        c->fptr.cs = get16(env + 16);
        c->fptr.op = get16(env + 18) & FPTR_FOP;
        c->fptr.dp = fpu_get32(env, 20);
        c->fptr.ds = get16(env + 24);
    } else if (real) {
        c->fptr.ip = get16(env + 6) | (uint32_t)get16(env + 8) >> 12 << 16;
        c->fptr.op = get16(env + 8) & FPTR_FOP;
        c->fptr.dp = get16(env + 10) | (uint32_t)get16(env + 12) >> 12 << 16;
    } else {
        c->fptr.ip = get16(env + 6);
        c->fptr.cs = get16(env + 8);
        c->fptr.dp = get16(env + 10);
        c->fptr.ds = get16(env + 12);
    }
}
