/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emit.h - encoding of x86-64 host instructions (SDM vol. 2, chapter 2).
 *
 * Functions are named by mnemonic and operand kinds; they only encode, they never choose.  A buffer that is full sets
 * `overflow` and stays full: callers look once, at the end.  Addresses (`x64_here`) are execution addresses; bytes are
 * written through the writable mapping at distance rw_delta.
 *
 * What is between x64_begin() and x64_end() is written without looking at the limit, which is looked at behind it:
 * X64_SLACK bytes behind the limit belong to the buffer.
 *
 * Where the operands are constants the encoding is one, too: what is X64_INLINE becomes a store or two there.
 */
#ifndef XBT_X64_EMIT_H
#define XBT_X64_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "translator/mem.h"

enum x64_reg {
    X_RAX, X_RCX, X_RDX, X_RBX, X_RSP, X_RBP, X_RSI, X_RDI,
    X_R8, X_R9, X_R10, X_R11, X_R12, X_R13, X_R14, X_R15,
    X_NONE = 0x14   /* bits 2..0: no index in a SIB byte; bit 3: none in REX */
};

#define X64_INLINE static inline __attribute__((always_inline))
#define X64_CONST(x) __builtin_constant_p(x)

/* Fields that a copy of the code elsewhere, or for another linear address, must change (tb-store/relocate.c). */
#define X64_FIXES 512
enum { X64_FIX_COLD = 1, X64_FIX_ABS = 2, X64_FIX_KINDS = 4 };   /* as TB_FIX_* */
struct x64_fixes {
    const uint8_t *cold, *cold_limit;   /* part that moves by another distance than the rest */
    bool useless;                       /* there is something that is not recorded */
    unsigned n[X64_FIX_KINDS];
    /* rel32 into the other part, or (ABS) 64-bit linear address; in the one part or (COLD) in the other */
    uint8_t *at[X64_FIX_KINDS][X64_FIXES];
};

#define X64_SLACK 64
struct x64_buf {
    uint8_t *p;          /* next byte, execution address */
    uint8_t *limit;      /* X64_SLACK before the end */
    ptrdiff_t rw_delta;
    bool overflow;
    struct x64_fixes *fixes;    /* NULL: not wanted */
    bool alone;          /* nobody executes code while it is patched */
};

/* A memory operand of the host. */
struct x64_mem {
    uint8_t base, index, scale; /* X_NONE allowed; scale 0..3 */
    int32_t disp;
};

static inline uint8_t *x64_here(const struct x64_buf *b) { return b->p; }

/* ---- an instruction is written from x64_begin() to x64_end() ---- */
static inline uint8_t *x64_begin(const struct x64_buf *b)
{
    return b->p + b->rw_delta;
}
static inline void x64_end(struct x64_buf *b, const uint8_t *q)
{
    uint8_t *p = (uint8_t *)q - b->rw_delta;

    if (__builtin_expect(p > b->limit, 0)) {
        b->overflow = true;
        p = b->limit;
    }
    b->p = p;
}
static inline uint8_t *x64_put32(uint8_t *q, uint32_t v)
{
    *(any32 *)q = v;
    return q + 4;
}
/* The immediate of size 1, 2 or 4. */
static inline uint8_t *x64_put_imm(uint8_t *q, unsigned size, uint32_t v)
{
    *(any32 *)q = v;    /* what is too much is overwritten */
    return q + size;
}
/* REX if needed (force: 0x40 at least). */
X64_INLINE uint8_t *x64_put_rex(uint8_t *q, bool w, unsigned reg, unsigned index, unsigned base, bool force)
{
    unsigned rex = (unsigned)w << 3 | (reg & 8) >> 1 | (index & 8) >> 2 | (base & 8) >> 3;

    *q = (uint8_t)(0x40 | rex);
    return q + ((rex != 0) | force);
}
X64_INLINE uint8_t *x64_put_modrm_rr(uint8_t *q, unsigned reg, unsigned rm)
{
    *q = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
    return q + 1;
}
/* ModRM [+ SIB + disp] for reg field `reg` (low 3 bits used). */
X64_INLINE uint8_t *x64_put_modrm(uint8_t *q, unsigned reg, struct x64_mem m)
{
    unsigned r = (reg & 7) << 3, sib = (unsigned)m.scale << 6 | (m.index & 7u) << 3;

    if (m.base == X_NONE) {                       /* [index*scale + disp32] or [disp32] */
        *q++ = (uint8_t)(r | 4);
        *q++ = (uint8_t)(sib | 5);
        return x64_put32(q, (uint32_t)m.disp);
    }
    unsigned mod = m.disp == 0 && (m.base & 7) != 5 ? 0 : m.disp == (int8_t)m.disp ? 1 : 2;
    if (m.index != X_NONE || (m.base & 7) == 4) {
        *(any16 *)q = (uint16_t)(mod << 6 | r | 4 | (sib | (m.base & 7u)) << 8);
        q += 2;
    } else {
        *q++ = (uint8_t)(mod << 6 | r | (m.base & 7u));
    }
    *(any32 *)q = (uint32_t)m.disp;
    return q + mod * mod;                         /* 0, 1 or 4 bytes */
}
/* One or two opcode bytes: 0xXX, 0x0fXX. */
X64_INLINE uint8_t *x64_put_op(uint8_t *q, unsigned op)
{
    if (op > 0xff) {
        *q++ = (uint8_t)(op >> 8);
    }
    *q++ = (uint8_t)op;
    return q;
}
/* op r, r/m with a one-byte (op < 0x100) or 0F (op = 0x0fXX) opcode; size 1, 2, 4, 8 selects 66/REX.W only. */
X64_INLINE uint8_t *x64_put_rr(uint8_t *q, unsigned size, unsigned op, unsigned reg, unsigned rm)
{
    if (size == 2) {
        *q++ = 0x66;
    }
    q = x64_put_rex(q, size == 8, reg, X_NONE, rm, size == 1 && (reg >= 4 || rm >= 4));
    return x64_put_modrm_rr(x64_put_op(q, op), reg, rm);
}
X64_INLINE uint8_t *x64_put_rm(uint8_t *q, unsigned size, unsigned op, unsigned reg, struct x64_mem m)
{
    if (size == 2) {
        *q++ = 0x66;
    }
    q = x64_put_rex(q, size == 8, reg, m.index, m.base, size == 1 && reg >= 4);
    return x64_put_modrm(x64_put_op(q, op), reg, m);
}

/* A field has been written that a copy must change. */
void x64_note_fix(const struct x64_buf *b, uint8_t *at, bool abs);
X64_INLINE void x64_note_rel(const struct x64_buf *b, uint8_t *at, const uint8_t *target)
{
    const struct x64_fixes *f = b->fixes;

    if (f && ((size_t)(at - f->cold) < (size_t)(f->cold_limit - f->cold)) !=
                 ((size_t)(target - f->cold) < (size_t)(f->cold_limit - f->cold))) {
        x64_note_fix(b, at, false);
    }
}

/* ---- parts of instructions as instructions of their own ---- */
static inline void x64_byte(struct x64_buf *b, unsigned v)
{
    uint8_t *q = x64_begin(b);

    *q = (uint8_t)v;
    x64_end(b, q + 1);
}
static inline void x64_u32(struct x64_buf *b, uint32_t v)
{
    x64_end(b, x64_put32(x64_begin(b), v));
}
static inline void x64_modrm_rr(struct x64_buf *b, unsigned reg, unsigned rm)
{
    x64_end(b, x64_put_modrm_rr(x64_begin(b), reg, rm));
}
static inline void x64_rex(struct x64_buf *b, bool w, unsigned reg, unsigned index, unsigned base, bool force)
{
    x64_end(b, x64_put_rex(x64_begin(b), w, reg, index, base, force));
}
void x64_modrm_mem(struct x64_buf *b, unsigned reg, struct x64_mem m);

/* The same for operands that are not constants. */
void x64_op_rr_any(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, unsigned rm);
void x64_op_rm_any(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, struct x64_mem m);

X64_INLINE void x64_op_rr(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, unsigned rm)
{
    if (X64_CONST(size) && X64_CONST(op)) {
        x64_end(b, x64_put_rr(x64_begin(b), size, op, reg, rm));
    } else {
        x64_op_rr_any(b, size, op, reg, rm);
    }
}
X64_INLINE void x64_op_rm(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, struct x64_mem m)
{
    if (X64_CONST(size) && X64_CONST(op) && X64_CONST(m.base) && X64_CONST(m.index)) {
        x64_end(b, x64_put_rm(x64_begin(b), size, op, reg, m));
    } else {
        x64_op_rm_any(b, size, op, reg, m);
    }
}

X64_INLINE struct x64_mem x64_at(unsigned base, int32_t disp)
{
    return (struct x64_mem) { (uint8_t)base, X_NONE, 0, disp };
}
/* A field of struct guest_cpu: host rsp is the CPU pointer. */
#define X64_ENV(field) x64_at(X_RSP, (int32_t)offsetof(struct guest_cpu, field))
X64_INLINE struct x64_mem x64_env(size_t off) { return x64_at(X_RSP, (int32_t)off); }

X64_INLINE void x64_mov_rr(struct x64_buf *b, unsigned size, unsigned dst, unsigned src) /* 1, 2 (merge), 4 or 8 */
{
    x64_op_rr(b, size, size == 1 ? 0x8a : 0x8b, dst, src);
}
X64_INLINE void x64_mov_rm(struct x64_buf *b, unsigned size, unsigned dst, struct x64_mem m) /* 1, 2 (merge), 4, 8 */
{
    x64_op_rm(b, size, size == 1 ? 0x8a : 0x8b, dst, m);
}
X64_INLINE void x64_mov_mr(struct x64_buf *b, unsigned size, struct x64_mem m, unsigned src) /* 1, 2, 4, 8 */
{
    x64_op_rm(b, size, size == 1 ? 0x88 : 0x89, src, m);
}
/* size 1, 2 -> 32; 4, 8 = mov */
X64_INLINE void x64_movzx_rm(struct x64_buf *b, unsigned size, unsigned dst, struct x64_mem m)
{
    x64_op_rm(b, size >= 4 ? size : 4, size == 1 ? 0x0fb6 : size == 2 ? 0x0fb7 : 0x8b, dst, m);
}
void x64_movzx_rr_any(struct x64_buf *b, unsigned size, unsigned dst, unsigned src);
X64_INLINE uint8_t *x64_put_movzx_rr(uint8_t *q, unsigned size, unsigned dst, unsigned src)
{
    if (size >= 4) {
        return x64_put_rr(q, size, 0x8b, dst, src);
    }
    q = x64_put_rex(q, false, dst, X_NONE, src, size == 1 && src >= 4);
    return x64_put_modrm_rr(x64_put_op(q, size == 1 ? 0x0fb6 : 0x0fb7), dst, src);
}
X64_INLINE void x64_movzx_rr(struct x64_buf *b, unsigned size, unsigned dst, unsigned src)
{
    if (X64_CONST(size)) {
        x64_end(b, x64_put_movzx_rr(x64_begin(b), size, dst, src));
    } else {
        x64_movzx_rr_any(b, size, dst, src);
    }
}
void x64_mov_ri(struct x64_buf *b, unsigned dst, uint64_t imm);                 /* shortest form, no flags */
void x64_mov_mi32(struct x64_buf *b, unsigned size, struct x64_mem m, int32_t imm); /* sign-extended for 8 */
X64_INLINE void x64_lea(struct x64_buf *b, unsigned size, unsigned dst, struct x64_mem m)
{
    x64_op_rm(b, size, 0x8d, dst, m);
}
/* alu: 0 add 1 or 2 adc 3 sbb 4 and 5 sub 6 xor 7 cmp */
X64_INLINE void x64_alu_rr(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, unsigned src)
{
    x64_op_rr(b, size, alu << 3 | (size == 1 ? 2 : 3), dst, src);
}
X64_INLINE void x64_alu_rm(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, struct x64_mem m)
{
    x64_op_rm(b, size, alu << 3 | (size == 1 ? 2 : 3), dst, m);
}
X64_INLINE uint8_t *x64_put_alu_imm(uint8_t *q, unsigned size, int32_t imm)
{
    return x64_put_imm(q, size == 1 || imm == (int8_t)imm ? 1 : size == 2 ? 2 : 4, (uint32_t)imm);
}
X64_INLINE unsigned x64_alu_imm_op(unsigned size, int32_t imm)
{
    return size == 1 ? 0x80 : imm == (int8_t)imm ? 0x83 : 0x81;
}
void x64_alu_ri_any(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, int32_t imm);
X64_INLINE void x64_alu_ri(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, int32_t imm)
{
    if (X64_CONST(alu) && X64_CONST(size) && X64_CONST(imm)) {
        x64_end(b, x64_put_alu_imm(x64_put_rr(x64_begin(b), size, x64_alu_imm_op(size, imm), alu, dst), size, imm));
    } else {
        x64_alu_ri_any(b, alu, size, dst, imm);
    }
}
void x64_alu_mi_any(struct x64_buf *b, unsigned alu, unsigned size, struct x64_mem m, int32_t imm);
X64_INLINE void x64_alu_mi(struct x64_buf *b, unsigned alu, unsigned size, struct x64_mem m, int32_t imm)
{
    if (X64_CONST(alu) && X64_CONST(size) && X64_CONST(imm) && X64_CONST(m.index)) {
        x64_end(b, x64_put_alu_imm(x64_put_rm(x64_begin(b), size, x64_alu_imm_op(size, imm), alu, m), size, imm));
    } else {
        x64_alu_mi_any(b, alu, size, m, imm);
    }
}
X64_INLINE void x64_test_rr(struct x64_buf *b, unsigned size, unsigned a, unsigned c)
{
    x64_op_rr(b, size, size == 1 ? 0x84 : 0x85, a, c);
}
void x64_test_ri8(struct x64_buf *b, unsigned reg, uint8_t imm);
void x64_test_ri32(struct x64_buf *b, unsigned reg, uint32_t imm);
void x64_shift_ri(struct x64_buf *b, unsigned ext, unsigned size, unsigned dst, unsigned count); /* 4 shl 5 shr 7 sar */
void x64_btc_ri(struct x64_buf *b, unsigned dst, unsigned bit); /* 64 bits */
void x64_bt_ri(struct x64_buf *b, unsigned reg, unsigned bit);  /* 32 bits */
void x64_pext_rrm(struct x64_buf *b, unsigned dst, unsigned src, struct x64_mem m);
/* 64 bits, BMI2.  VEX.LZ.F2.0F3A.W1 F0 /r ib: dst = ModRM.reg, src = r/m */
X64_INLINE uint8_t *x64_put_rorx(uint8_t *q, unsigned dst, unsigned src, unsigned count)
{
    *(any32 *)q = 0xc4u | ((dst & 8 ? 0u : 0x80u) | 0x40u | (src & 8 ? 0u : 0x20u) | 3u) << 8 | 0xf0fb0000u;
    *(any16 *)(q + 4) = (uint16_t)(0xc0u | (dst & 7) << 3 | (src & 7) | count << 8);
    return q + 6;
}
X64_INLINE void x64_rorx(struct x64_buf *b, unsigned dst, unsigned src, unsigned count)
{
    x64_end(b, x64_put_rorx(x64_begin(b), dst, src, count));
}
void x64_bextr_rrr(struct x64_buf *b, unsigned dst, unsigned src, unsigned ctl);
void x64_nops(struct x64_buf *b, unsigned n);
/* field: execution address of a rel32 written through this buffer */
X64_INLINE void x64_patch_rel32(struct x64_buf *b, uint8_t *field, const void *target)
{
    int32_t rel = (int32_t)((const uint8_t *)target - (field + 4));

    if (__builtin_expect(b->overflow, 0)) {
        return;
    }
    x64_note_rel(b, field, target);
    __atomic_store_n((int32_t *)(void *)(field + b->rw_delta), rel, __ATOMIC_RELEASE);
}
/* Branches: return the address of the rel32 field; `target` NULL leaves it to x64_patch_rel32(). */
X64_INLINE uint8_t *x64_branch(struct x64_buf *b, unsigned op, const void *target)
{
    uint8_t *q = x64_put_op(x64_begin(b), op), *field = q - b->rw_delta;

    if (target) {
        x64_note_rel(b, field, target);
    }
    x64_end(b, x64_put32(q, target ? (uint32_t)((const uint8_t *)target - (field + 4)) : 0));
    return field;
}
X64_INLINE uint8_t *x64_jmp(struct x64_buf *b, const void *target) { return x64_branch(b, 0xe9, target); }
X64_INLINE uint8_t *x64_jcc(struct x64_buf *b, unsigned cc, const void *target)
{
    return x64_branch(b, 0x0f80 | cc, target);
}
X64_INLINE uint8_t *x64_call(struct x64_buf *b, const void *target) { return x64_branch(b, 0xe8, target); }
/* So that a rel32 field `ahead` bytes on lies in one aligned 8-byte word, where that is wanted. */
X64_INLINE void x64_pad_rel32(struct x64_buf *b, unsigned ahead)
{
    unsigned at = (unsigned)((uintptr_t)b->p + ahead) & 7;

    if (at > 4 && !b->alone) {
        x64_nops(b, 8 - at);
    }
}
/* As above with the rel32 field in one aligned 8-byte word, so that it can be patched with one store while others
 * execute it (not if the buffer says that there are no others). */
X64_INLINE uint8_t *x64_jmp_aligned(struct x64_buf *b, const void *target)
{
    x64_pad_rel32(b, 1);
    return x64_jmp(b, target);
}
X64_INLINE uint8_t *x64_call_aligned(struct x64_buf *b, const void *target)
{
    x64_pad_rel32(b, 1);
    return x64_call(b, target);
}
X64_INLINE uint8_t *x64_jcc_aligned(struct x64_buf *b, unsigned cc, const void *target)
{
    x64_pad_rel32(b, 2);
    return x64_jcc(b, cc, target);
}
/* A short branch; returns its disp8 field, for x64_patch_rel8(): the target is here, at most 127 bytes on. */
X64_INLINE uint8_t *x64_jcc8(struct x64_buf *b, unsigned cc)
{
    uint8_t *q = x64_begin(b);

    *(any16 *)q = (uint16_t)(0x70 | cc);
    x64_end(b, q + 2);
    return b->p - 1;
}
X64_INLINE void x64_patch_rel8(struct x64_buf *b, uint8_t *field)
{
    if (!b->overflow) {
        field[b->rw_delta] = (uint8_t)(b->p - (field + 1));
    }
}
X64_INLINE void x64_jmp_m(struct x64_buf *b, struct x64_mem m)
{
    x64_op_rm(b, 4, 0xff, 4, m);
}
/* A short branch; returns its disp8 field, for x64_patch_rel8(): the target is here, at most 127 bytes on. */
uint8_t *x64_jcc8(struct x64_buf *b, unsigned cc);
void x64_patch_rel8(struct x64_buf *b, uint8_t *field);
/* lea dst, [rip + ...]: an address in reach of the code. */
void x64_lea_rip(struct x64_buf *b, unsigned dst, const void *target);

enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

#endif
