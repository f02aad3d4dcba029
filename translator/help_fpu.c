/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_fpu.c - the instructions that show the x87/SSE/AVX state to the guest as bytes in memory:
 * FXSAVE FXRSTOR, XSAVE XRSTOR XSAVEOPT XSAVEC, FNSTENV FLDENV FNSAVE FRSTOR FNINIT.
 *
 * SDM vol. 1, 8.1.10 and 10.5 (formats), chapter 13 (XSAVE); APM vol. 2, 11.4-11.5.  The state itself is
 * in the host's registers (fpu.c); nothing here computes on it.
 *
 * The x87 instruction and operand pointers and the opcode are fpu_ptr.c's.
 *
 * The order of the checks is #UD, #NM, #GP (alignment), #PF, #GP (contents); no register changes before
 * all pass.
 */
#include "translator/fpu.h"
#include "translator/fpu_ptr.h"
#include "translator/help_msr.h"

#define XCOMP_COMPACT (1ull << 63)

/* ---- FXSAVE, FXRSTOR ---- */

static bool mode64(const struct dec_insn *in)
{
    return in->mode == 2;
}

/* XMM registers that this mode has, in bytes. */
static unsigned xmm_bytes(const struct dec_insn *in)
{
    return mode64(in) ? 256 : 128;
}

static uint64_t fx_operand(struct guest_cpu *c, const struct dec_insn *in, bool write)
{
    uint64_t lin;

    if (c->cr[0] & (CR0_EM | CR0_TS))
        cpu_raise(c, EXC_NM);
    lin = opnd_lin(c, in, FX_SIZE, write);
    if (lin & 15)
        GP0(c);
    return lin;
}

/* Are the XMM registers part of the image?  EFER.FFXSR leaves them out at CPL 0 (APM vol. 2, 11.4.4). */
static bool fx_has_xmm(const struct guest_cpu *c, const struct dec_insn *in)
{
    return (c->cr[4] & CR4_OSFXSR) && !((c->efer & EFER_FFXSR) && mode64(in) && c->cpl == 0);
}

int help_fxsave(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t lin = fx_operand(c, in, true), mark = help_mark(c);
    enum mmu_mode m = c->mmu_mode;

    fpu_capture(c);
    fpu_ptr_to_fx(c, c->fpu, in->vex_w);
    fpu_put32(c->fpu, FX_MXCSR_MASK, fpu_mxcsr_mask());
    if (c->cr[4] & CR4_OSFXSR) {
        guest_write(c, lin, c->fpu, fx_has_xmm(c, in) ? FX_XMM + xmm_bytes(in) : FX_XMM, m);
    } else {
        guest_probe(c, lin, FX_XMM, ACC_WRITE, m);
        guest_write(c, lin, c->fpu, FX_MXCSR, m);
        guest_write(c, lin + FX_ST, c->fpu + FX_ST, FX_XMM - FX_ST, m);
    }
    return help_stored(c, in, mark);
}

/* x87 state from a legacy image. */
static void take_x87(struct guest_cpu *c, const struct dec_insn *in, const uint8_t *img)
{
    fpu_ptr_from_fx(c, img, in->vex_w);
    xbt_copy(c->fpu, img, FX_FTW + 1);
    xbt_zero(c->fpu + FX_FTW + 1, FX_MXCSR - FX_FTW - 1);
    xbt_copy(c->fpu + FX_ST, img + FX_ST, FX_XMM - FX_ST);
}

static void mark_in_use(struct guest_cpu *c, uint64_t bits, bool on)
{
    uint64_t bv = fpu_get64(c->fpu, XS_BV);

    fpu_put64(c->fpu, XS_BV, on ? bv | bits : bv & ~bits);
}

int help_fxrstor(struct guest_cpu *c, const struct dec_insn *in)
{
    uint8_t img[FX_SIZE];
    uint64_t lin = fx_operand(c, in, false);

    guest_read(c, lin, img, FX_SIZE, c->mmu_mode);
    if ((c->cr[4] & CR4_OSFXSR) && (fpu_get32(img, FX_MXCSR) & ~fpu_mxcsr_mask()))
        GP0(c);
    fpu_capture(c);
    take_x87(c, in, img);
    mark_in_use(c, XF_X87, true);
    if (c->cr[4] & CR4_OSFXSR)
        fpu_put32(c->fpu, FX_MXCSR, fpu_get32(img, FX_MXCSR));
    if (fx_has_xmm(c, in)) {
        xbt_copy(c->fpu + FX_XMM, img + FX_XMM, xmm_bytes(in));
        mark_in_use(c, XF_SSE, true);
    }
    fpu_changed(c);
    return HELP_NEXT;
}

/* ---- XSAVE and its variants ---- */

struct xs {
    uint64_t lin, rfbm;
};

static struct xs xs_operand(struct guest_cpu *c, const struct dec_insn *in, bool write)
{
    uint64_t mask = (GPR(c, R_RDX) << 32 | (uint32_t)GPR(c, R_RAX)) & c->xcr0;
    struct xs x;

    if (!(c->cr[4] & CR4_OSXSAVE))
        cpu_raise(c, EXC_UD);
    if (c->cr[0] & CR0_TS)
        cpu_raise(c, EXC_NM);
    x.rfbm = mask & XF_ALL;
    x.lin = opnd_lin(c, in, XS_AVX, write);
    if (x.lin & 63)
        GP0(c);
    return x;
}

/* Bring c->fpu up to date and into the form that software sees. */
static void xs_capture(struct guest_cpu *c, const struct dec_insn *in)
{
    fpu_capture(c);
    fpu_ptr_to_fx(c, c->fpu, in->vex_w);
    fpu_put32(c->fpu, FX_MXCSR_MASK, fpu_mxcsr_mask());
}

/* Components that are not in their initial state; the x87 pointers are part of theirs. */
static uint64_t xinuse(const struct guest_cpu *c)
{
    uint64_t bv = fpu_get64(c->fpu, XS_BV) & (XF_X87 | XF_SSE | XF_AVX);

    if (c->fptr.ip | c->fptr.dp | c->fptr.op | c->fptr.cs | c->fptr.ds)
        bv |= XF_X87;
    return bv | (c->pkru ? XF_PKRU : 0);
}

/* Offset of PKRU in an area of this format. */
static unsigned pkru_offset(uint64_t xcomp)
{
    if (!(xcomp & XCOMP_COMPACT))
        return XS_PKRU;
    return xcomp & XF_AVX ? XS_AVX_END : XS_AVX;
}

/* Fault before anything is written: the pages of the header and of each extended component. */
static void xs_probe(struct guest_cpu *c, const struct dec_insn *in, struct xs x, uint64_t parts,
                     uint64_t xcomp)
{
    unsigned end = XS_AVX;

    if (parts & XF_AVX)
        end = XS_AVX + xmm_bytes(in);
    if (parts & XF_PKRU)
        end = pkru_offset(xcomp) + 8;
    if (end > XS_AVX && !mode64(in))
        x.lin = opnd_lin(c, in, end, true); /* the limit, too */
    guest_probe(c, x.lin, end, ACC_WRITE, c->mmu_mode);
}

/* Write `parts`; MXCSR goes with SSE, and with AVX in standard format. */
static void xs_write(struct guest_cpu *c, const struct dec_insn *in, struct xs x, uint64_t parts, bool mxcsr,
                     uint64_t xcomp)
{
    enum mmu_mode m = c->mmu_mode;
    unsigned xmm = xmm_bytes(in);

    if ((parts & (XF_X87 | XF_SSE)) == (XF_X87 | XF_SSE) && mxcsr) {
        guest_write(c, x.lin, c->fpu, FX_XMM + xmm, m);
    } else {
        if (parts & XF_X87) {
            guest_write(c, x.lin, c->fpu, FX_MXCSR, m);
            guest_write(c, x.lin + FX_ST, c->fpu + FX_ST, FX_XMM - FX_ST, m);
        }
        if (mxcsr)
            guest_write(c, x.lin + FX_MXCSR, c->fpu + FX_MXCSR, 8, m);
        if (parts & XF_SSE)
            guest_write(c, x.lin + FX_XMM, c->fpu + FX_XMM, xmm, m);
    }
    if (parts & XF_AVX)
        guest_write(c, x.lin + XS_AVX, c->fpu + XS_AVX, xmm, m);
    if (parts & XF_PKRU) {
        uint64_t v = c->pkru;
        guest_write(c, x.lin + pkru_offset(xcomp), &v, 8, m);
    }
}

static int xsave_standard(struct guest_cpu *c, const struct dec_insn *in, bool opt)
{
    struct xs x = xs_operand(c, in, true);
    uint64_t mark = help_mark(c), parts, bv;

    xs_capture(c, in);
    parts = opt ? x.rfbm & xinuse(c) : x.rfbm;
    xs_probe(c, in, x, parts, 0);
    guest_read(c, x.lin + XS_BV, &bv, 8, c->mmu_mode);
    bv = (bv & ~x.rfbm) | (xinuse(c) & x.rfbm);
    xs_write(c, in, x, parts, x.rfbm & (XF_SSE | XF_AVX), 0);
    guest_write(c, x.lin + XS_BV, &bv, 8, c->mmu_mode);
    return help_stored(c, in, mark);
}

int help_xsave(struct guest_cpu *c, const struct dec_insn *in)
{
    return xsave_standard(c, in, false);
}

int help_xsaveopt(struct guest_cpu *c, const struct dec_insn *in)
{
    return xsave_standard(c, in, true);
}

int help_xsavec(struct guest_cpu *c, const struct dec_insn *in)
{
    struct xs x = xs_operand(c, in, true);
    uint64_t mark = help_mark(c), hdr[2];

    xs_capture(c, in);
    hdr[0] = x.rfbm & xinuse(c);
    if ((x.rfbm & XF_SSE) && fpu_get32(c->fpu, FX_MXCSR) != MXCSR_INIT)
        hdr[0] |= XF_SSE;
    hdr[1] = x.rfbm | XCOMP_COMPACT;
    xs_probe(c, in, x, hdr[0], hdr[1]);
    xs_write(c, in, x, hdr[0], hdr[0] & XF_SSE, hdr[1]);
    guest_write(c, x.lin + XS_BV, hdr, 16, c->mmu_mode);
    return help_stored(c, in, mark);
}

/* ---- XRSTOR ---- */

/* What was read of the guest's area before anything is changed. */
struct xr {
    uint8_t legacy[FX_SIZE], avx[256];
    uint64_t hdr[8], pkru, rfbm, load;
    bool compact, mxcsr;
};

static void xr_check_header(struct guest_cpu *c, const struct xr *r)
{
    uint64_t bad;

    if (r->compact) {
        uint64_t comp = r->hdr[1] & ~XCOMP_COMPACT;
        bad = (comp & ~c->xcr0) | (r->hdr[0] & ~comp);
        for (unsigned i = 2; i < 8; i++)
            bad |= r->hdr[i];
        if (!(c->model.fd1_eax & 2))
            bad = 1; /* no XSAVEC: the format does not exist */
    } else {
        bad = (r->hdr[0] & ~c->xcr0) | r->hdr[1] | r->hdr[2];
    }
    if (bad)
        GP0(c);
}

static void xr_read(struct guest_cpu *c, const struct dec_insn *in, struct xs x, struct xr *r)
{
    enum mmu_mode m = c->mmu_mode;

    guest_read(c, x.lin + XS_BV, r->hdr, sizeof(r->hdr), m);
    r->rfbm = x.rfbm;
    r->compact = r->hdr[1] & XCOMP_COMPACT;
    xr_check_header(c, r);
    r->load = r->rfbm & r->hdr[0];
    /* Standard format: MXCSR is loaded whatever XSTATE_BV says; compacted: it belongs to SSE. */
    r->mxcsr = r->compact ? r->load & XF_SSE : r->rfbm & (XF_SSE | XF_AVX);
    if ((r->load & (XF_X87 | XF_SSE)) || r->mxcsr)
        guest_read(c, x.lin, r->legacy, FX_SIZE, m);
    if (r->mxcsr && (fpu_get32(r->legacy, FX_MXCSR) & ~fpu_mxcsr_mask()))
        GP0(c);
    if (r->load & XF_AVX)
        guest_read(c, x.lin + XS_AVX, r->avx, xmm_bytes(in), m);
    if (r->load & XF_PKRU)
        guest_read(c, x.lin + pkru_offset(r->compact ? r->hdr[1] : 0), &r->pkru, 8, m);
}

/* One vector component: loaded, or initialised, for the registers this mode has. */
static void xr_vector(struct guest_cpu *c, const struct dec_insn *in, uint64_t comp, unsigned off,
                      const uint8_t *src, bool load)
{
    if (load)
        xbt_copy(c->fpu + off, src, xmm_bytes(in));
    else
        xbt_zero(c->fpu + off, xmm_bytes(in));
    if (load || mode64(in))
        mark_in_use(c, comp, load);
}

static void xr_commit(struct guest_cpu *c, const struct dec_insn *in, const struct xr *r)
{
    static const uint8_t init[FX_SIZE] = { FCW_INIT & 0xff, FCW_INIT >> 8 };

    if (r->rfbm & XF_X87) {
        take_x87(c, in, r->load & XF_X87 ? r->legacy : init);
        if (!(r->load & XF_X87))
            fpu_ptr_clear(c);
        mark_in_use(c, XF_X87, r->load & XF_X87);
    }
    if (r->mxcsr)
        fpu_put32(c->fpu, FX_MXCSR, fpu_get32(r->legacy, FX_MXCSR));
    else if (r->compact && (r->rfbm & XF_SSE))
        fpu_put32(c->fpu, FX_MXCSR, MXCSR_INIT);
    if (r->rfbm & XF_SSE)
        xr_vector(c, in, XF_SSE, FX_XMM, r->legacy + FX_XMM, r->load & XF_SSE);
    if (r->rfbm & XF_AVX)
        xr_vector(c, in, XF_AVX, XS_AVX, r->avx, r->load & XF_AVX);
}

int help_xrstor(struct guest_cpu *c, const struct dec_insn *in)
{
    struct xs x = xs_operand(c, in, false);
    struct xr r;

    xr_read(c, in, x, &r);
    fpu_capture(c);
    xr_commit(c, in, &r);
    fpu_changed(c);
    if (r.rfbm & XF_PKRU)
        cpu_set_pkru(c, r.load & XF_PKRU ? (uint32_t)r.pkru : 0);
    return HELP_NEXT;
}

/* ---- x87 environment ---- */

/*
 * The host executes the instruction on a buffer in its own 32-bit protected-mode format (that is what
 * 64-bit code gets); here it is converted to and from the guest's.  Fields are dwords or words by operand
 * size; the pointers, whose form depends on the mode, are fpu_ptr.c's.
 */
struct x87_env {
    uint32_t fcw, fsw, ftw, fip, fcs_fop, fdp, fds;
};
struct x87_save {
    struct x87_env env;
    uint8_t st[80];
};

static void check_nm(struct guest_cpu *c)
{
    if (c->cr[0] & (CR0_EM | CR0_TS))
        cpu_raise(c, EXC_NM);
}

static bool env32(const struct dec_insn *in)
{
    return in->opsize != 2;
}

/* The guest's bytes of an environment: 28 or 14. */
static unsigned env_to_guest(struct guest_cpu *c, const struct dec_insn *in, const struct x87_env *e, uint8_t *out)
{
    xbt_zero(out, 28);
    fpu_ptr_to_env(c, out, env32(in));
    if (env32(in)) {
        fpu_put32(out, 0, e->fcw | 0xffff0000u);
        fpu_put32(out, 4, e->fsw | 0xffff0000u);
        fpu_put32(out, 8, e->ftw | 0xffff0000u);
        return 28;
    }
    fpu_put32(out, 0, (e->fcw & 0xffff) | e->fsw << 16);
    out[4] = (uint8_t)e->ftw;
    out[5] = (uint8_t)(e->ftw >> 8);
    return 14;
}

static void env_from_guest(const struct dec_insn *in, const uint8_t *src, struct x87_env *e)
{
    xbt_zero(e, sizeof(*e));
    if (env32(in)) {
        e->fcw = fpu_get32(src, 0) & 0xffff;
        e->fsw = fpu_get32(src, 4) & 0xffff;
        e->ftw = fpu_get32(src, 8) & 0xffff;
    } else {
        e->fcw = fpu_get32(src, 0) & 0xffff;
        e->fsw = fpu_get32(src, 0) >> 16;
        e->ftw = fpu_get32(src, 4) & 0xffff;
    }
}

/*
 * FLDENV and FRSTOR wait: a pending unmasked exception is delivered first.  With CR0.NE = 0 it is
 * signalled on FERR# instead and dropped, as both instructions replace the status; the host must not see
 * it in any case.
 */
void fpu_wait(struct guest_cpu *c)
{
    uint16_t fsw;

    fpu_unpark(c);
    __asm__ volatile("fnstsw %0" : "=a"(fsw));
    if (!(fsw & 0x80))
        return;
    if (c->cr[0] & CR0_NE)
        cpu_raise(c, EXC_MF);
    if (c->host->set_ferr) {
        fpu_park(c);
        c->host->set_ferr(c, true);
        fpu_unpark(c);
    }
    __asm__ volatile("fnclex");
}

int help_fnstenv(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned size = env32(in) ? 28 : 14;
    uint64_t mark = help_mark(c), lin;
    struct x87_env e;
    uint8_t out[28];

    check_nm(c);
    lin = opnd_lin(c, in, size, true);
    guest_probe(c, lin, size, ACC_WRITE, c->mmu_mode);
    fpu_unpark(c);
    __asm__ volatile("fnstenv %0" : "=m"(e)); /* masks all exceptions */
    env_to_guest(c, in, &e, out);
    guest_write(c, lin, out, size, c->mmu_mode);
    return help_stored(c, in, mark);
}

int help_fldenv(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned size = env32(in) ? 28 : 14;
    struct x87_env e;
    uint8_t src[28];
    uint64_t lin;

    check_nm(c);
    fpu_wait(c);
    lin = opnd_lin(c, in, size, false);
    guest_read(c, lin, src, size, c->mmu_mode);
    env_from_guest(in, src, &e);
    fpu_unpark(c);
    __asm__ volatile("fldenv %0" : : "m"(e));
    fpu_ptr_from_env(c, src, env32(in));
    return HELP_NEXT;
}

int help_fnsave(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned size = (env32(in) ? 28 : 14) + 80, n;
    uint64_t mark = help_mark(c), lin;
    struct x87_save s;
    uint8_t out[28 + 80];

    check_nm(c);
    lin = opnd_lin(c, in, size, true);
    guest_probe(c, lin, size, ACC_WRITE, c->mmu_mode);
    fpu_unpark(c);
    __asm__ volatile("fnsave %0" : "=m"(s)); /* and initialises */
    n = env_to_guest(c, in, &s.env, out);
    xbt_copy(out + n, s.st, sizeof(s.st));
    fpu_ptr_clear(c);
    guest_write(c, lin, out, size, c->mmu_mode);
    return help_stored(c, in, mark);
}

int help_frstor(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned n = env32(in) ? 28 : 14;
    struct x87_save s;
    uint8_t src[28 + 80];
    uint64_t lin;

    check_nm(c);
    fpu_wait(c);
    lin = opnd_lin(c, in, n + 80, false);
    guest_read(c, lin, src, n + 80, c->mmu_mode);
    env_from_guest(in, src, &s.env);
    xbt_copy(s.st, src + n, sizeof(s.st));
    fpu_unpark(c);
    __asm__ volatile("frstor %0" : : "m"(s));
    fpu_ptr_from_env(c, src, env32(in));
    return HELP_NEXT;
}

int help_fninit(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    check_nm(c);
    fpu_unpark(c);
    __asm__ volatile("fninit");
    fpu_ptr_clear(c);
    return HELP_NEXT;
}
