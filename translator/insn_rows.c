/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * insn_rows.c - turns the rows of x86_insns.inc into insn_rows[].
 *
 * Here are the operand codes the rows use (SDM vol. 2 appendix A.2: letter = where, suffix = size); each
 * gets the access prefixes r, w, u, c, n.  How rows are searched is decode.c's business.
 */
#include "translator/decode.h"
#include "translator/guest_cpu.h"

#define HELPER(name) extern help_fn help_##name;
#include "translator/helpers.inc"
#undef HELPER

/* code, where, size */
#define OPERANDS(_) \
    _(Eb, RM, B) _(Ew, RM, W) _(Ed, RM, D) _(Ev, RM, V) _(Ey, RM, Y) _(Ez, RM, Z) \
    _(Gb, REG, B) _(Gw, REG, W) _(Gd, REG, D) _(Gv, REG, V) _(Gy, REG, Y) \
    _(Rb, OPREG, B) _(Rv, OPREG, V) _(By, VVVV, Y) \
    _(AL, ACC, B) _(AXw, ACC, W) _(AXv, ACC, V) _(AXz, ACC, Z) _(CL, CL, B) _(DX, DX, W) _(ONE, ONE, B) \
    _(Ib, IMM, B) _(Iw, IMM, W) _(Iz, IMM, Z) _(Iv, IMM, V) _(Jb, REL, B) _(Jz, REL, Z) _(FAR, FARPTR, P) \
    _(Ob, MOFFS, B) _(Ov, MOFFS, V) _(STRb, STR, B) _(STRv, STR, V) _(STRz, STR, Z) \
    _(Sw, SREG, W) _(CR, CREG, V) _(DR, DREG, V) _(ST, STREG, T) \
    _(M, MEM, NONE) _(Mb, MEM, B) _(Mw, MEM, W) _(Md, MEM, D) _(Mq, MEM, Q) _(Mdq, MEM, DQ) _(Mx, MEM, X) \
    _(Mt, MEM, T) _(Mv, MEM, V) _(My, MEM, Y) _(Mp, MEM, P) _(Ma, MEM, A) _(Ms, MEM, S) _(Mq2, MEM, Q2) \
    _(Menv, MEM, ENV) _(Mfsave, MEM, FSAVE) _(Mfx, MEM, FX) _(Mxs, MEM, XS) \
    _(VMd, VSIB, D) _(VMq, VSIB, Q) \
    _(Pq, MREG, Q) _(Qq, MRM, Q) _(Qd, MRM, D) \
    _(Vx, XREG, X) _(Vdq, XREG, DQ) _(Vqq, XREG, QQ) _(Hx, XVVVV, X) _(Hdq, XVVVV, DQ) _(Hqq, XVVVV, QQ) \
    _(Lx, XIS4, X) _(Wx, XRM, X) _(Wxh, XRM, XH) _(Wxq, XRM, XQ) _(Wxe, XRM, XE) _(Wdq, XRM, DQ) \
    _(Wqq, XRM, QQ) _(Wq, XRM, Q) _(Wd, XRM, D) _(Ww, XRM, W) _(Wb, XRM, B)
#define OPERAND(code, loc, size) \
    n##code = OL_##loc | OS_##size << 8, \
    r##code = n##code | OA_R << 16, \
    w##code = n##code | OA_W << 16, \
    u##code = n##code | OA_RW << 16, \
    c##code = n##code | OA_CW << 16,
enum { OPERANDS(OPERAND) };

/* Status flags, one letter each; A is all six, F the auxiliary carry. */
enum { fC = FL_CF, fP = FL_PF, fF = FL_AF, fZ = FL_ZF, fS = FL_SF, fO = FL_OF, fA = FL_STATUS };

/* Locations that are in a ModRM byte. */
#define MODRM_LOCS \
    (1u << OL_REG | 1u << OL_RM | 1u << OL_VVVV | 1u << OL_XREG | 1u << OL_XRM | 1u << OL_XVVVV | \
     1u << OL_XIS4 | 1u << OL_MREG | 1u << OL_MRM | 1u << OL_STREG | 1u << OL_MEM | 1u << OL_VSIB | \
     1u << OL_SREG | 1u << OL_CREG | 1u << OL_DREG)
#define IN_MODRM(o) (MODRM_LOCS >> ((o) & 0xff) & 1)
#define HAS_MODRM(ext, modrm, o0, o1) ((ext) >= 0 || (modrm) != -1 || IN_MODRM(o0) || IN_MODRM(o1))
#define OP(o) { (o) & 0xff, (o) >> 8 & 0xff, (o) >> 16 }

#define INSN(name, map, opcode, pfx, ext, modrm, cls, o0, o1, o2, o3, fr, fw, fu, attr, feat, helper) \
    { #name, map, opcode, pfx, ext, modrm, cls, { OP(o0), OP(o1), OP(o2), OP(o3) }, fr, (fw) | (fu), fu, \
      (attr) | (HAS_MODRM(ext, modrm, o0, o1) ? IA_MODRM : 0), feat, helper },

const struct insn_row insn_rows[] = {
#include "translator/x86_insns.inc"
};
const unsigned insn_row_count = sizeof(insn_rows) / sizeof(insn_rows[0]);
