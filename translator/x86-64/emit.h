/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emit.h - encoding of x86-64 host instructions (SDM vol. 2, chapter 2).
 *
 * Functions are named by mnemonic and operand kinds; they only encode, they never choose.  A buffer that is full sets
 * `overflow` and stays full: callers look once, at the end.  Addresses (`x64_here`) are execution addresses; bytes are
 * written through the writable mapping at distance rw_delta.
 *
 * One instruction is written without looking at the limit, which is looked at behind it: X64_SLACK bytes behind the
 * limit belong to the buffer.
 */
#ifndef XBT_X64_EMIT_H
#define XBT_X64_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "translator/mem.h"

enum x64_reg {
    X_RAX, X_RCX, X_RDX, X_RBX, X_RSP, X_RBP, X_RSI, X_RDI,
    X_R8, X_R9, X_R10, X_R11, X_R12, X_R13, X_R14, X_R15, X_NONE = 0xff
};

/* Fields that a copy of the code elsewhere, or for another linear address, must change (tb-store/relocate.c). */
#define X64_FIXES 1024
struct x64_fixes {
    const uint8_t *cold, *cold_limit;   /* part that moves by another distance than the rest */
    unsigned n;
    bool useless;                       /* there is something that is not recorded */
    struct { uint8_t *at; bool abs; } fix[X64_FIXES]; /* rel32 into the other part; abs: 64-bit linear address */
};

#define X64_SLACK 32
struct x64_buf {
    uint8_t *p;          /* next byte, execution address */
    uint8_t *limit;      /* X64_SLACK before the end */
    ptrdiff_t rw_delta;
    bool overflow;
    struct x64_fixes *fixes;    /* NULL: not wanted */
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
static inline uint8_t *x64_put_rex(uint8_t *q, bool w, unsigned reg, unsigned index, unsigned base, bool force)
{
    unsigned rex = (w ? 8 : 0) | (reg != X_NONE && (reg & 8) ? 4 : 0) | (index != X_NONE && (index & 8) ? 2 : 0) |
                   (base != X_NONE && (base & 8) ? 1 : 0);
    *q = (uint8_t)(0x40 | rex);
    return q + (rex || force);
}
static inline uint8_t *x64_put_modrm_rr(uint8_t *q, unsigned reg, unsigned rm)
{
    *q = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
    return q + 1;
}
/* ModRM [+ SIB + disp] for reg field `reg` (low 3 bits used). */
static inline uint8_t *x64_put_modrm(uint8_t *q, unsigned reg, struct x64_mem m)
{
    unsigned r = (reg & 7) << 3, sib = (unsigned)m.scale << 6 | (m.index == X_NONE ? 4u : m.index & 7u) << 3;

    if (m.base == X_NONE) {                       /* [index*scale + disp32] or [disp32] */
        *q++ = (uint8_t)(r | 4);
        *q++ = (uint8_t)(sib | 5);
        return x64_put32(q, (uint32_t)m.disp);
    }
    unsigned mod = m.disp == 0 && (m.base & 7) != 5 ? 0 : m.disp == (int8_t)m.disp ? 1 : 2;
    if (m.index != X_NONE || (m.base & 7) == 4) {
        *q++ = (uint8_t)(mod << 6 | r | 4);
        *q++ = (uint8_t)(sib | (m.base & 7u));
    } else {
        *q++ = (uint8_t)(mod << 6 | r | (m.base & 7u));
    }
    *(any32 *)q = (uint32_t)m.disp;
    return q + (mod == 2 ? 4 : mod);
}
/* One or two opcode bytes: 0xXX, 0x0fXX. */
static inline uint8_t *x64_put_op(uint8_t *q, unsigned op)
{
    if (op > 0xff) {
        *q++ = (uint8_t)(op >> 8);
    }
    *q++ = (uint8_t)op;
    return q;
}

/* A field has been written that a copy must change. */
static inline void x64_note_fix(const struct x64_buf *b, uint8_t *at, bool abs)
{
    struct x64_fixes *f = b->fixes;

    if (!f || b->overflow) {
        return;
    }
    if (f->n == X64_FIXES) {
        f->useless = true;
        return;
    }
    f->fix[f->n].at = at;
    f->fix[f->n++].abs = abs;
}
static inline void x64_note_rel(const struct x64_buf *b, uint8_t *at, const uint8_t *target)
{
    const struct x64_fixes *f = b->fixes;

    if (f && ((at >= f->cold && at < f->cold_limit) != (target >= f->cold && target < f->cold_limit))) {
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

/* op r, r/m forms with a one-byte (op < 0x100) or 0F (op = 0x0fXX) opcode; size 1, 2, 4, 8 selects 66/REX.W only. */
void x64_op_rr(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, unsigned rm);
void x64_op_rm(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, struct x64_mem m);

static inline struct x64_mem x64_at(unsigned base, int32_t disp)
{
    return (struct x64_mem) { (uint8_t)base, X_NONE, 0, disp };
}
/* A field of struct guest_cpu: host rsp is the CPU pointer. */
#define X64_ENV(field) x64_at(X_RSP, (int32_t)offsetof(struct guest_cpu, field))
static inline struct x64_mem x64_env(size_t off) { return x64_at(X_RSP, (int32_t)off); }

void x64_mov_rr(struct x64_buf *b, unsigned size, unsigned dst, unsigned src);   /* 4 or 8 */
void x64_mov_rm(struct x64_buf *b, unsigned size, unsigned dst, struct x64_mem m); /* load 1,2 (plain), 4, 8 */
void x64_mov_mr(struct x64_buf *b, unsigned size, struct x64_mem m, unsigned src); /* store 1, 2, 4, 8 */
void x64_movzx_rm(struct x64_buf *b, unsigned size, unsigned dst, struct x64_mem m); /* size 1, 2 -> 32; 4 = mov */
void x64_movzx_rr(struct x64_buf *b, unsigned size, unsigned dst, unsigned src);
void x64_mov_ri(struct x64_buf *b, unsigned dst, uint64_t imm);                 /* shortest form, no flags */
void x64_mov_mi32(struct x64_buf *b, unsigned size, struct x64_mem m, int32_t imm); /* sign-extended for 8 */
void x64_lea(struct x64_buf *b, unsigned size, unsigned dst, struct x64_mem m);
/* alu: 0 add 1 or 2 adc 3 sbb 4 and 5 sub 6 xor 7 cmp */
void x64_alu_rr(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, unsigned src);
void x64_alu_rm(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, struct x64_mem m);
void x64_alu_ri(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, int32_t imm);
void x64_alu_mi(struct x64_buf *b, unsigned alu, unsigned size, struct x64_mem m, int32_t imm);
void x64_test_rr(struct x64_buf *b, unsigned size, unsigned a, unsigned c);
void x64_test_ri8(struct x64_buf *b, unsigned reg, uint8_t imm);
void x64_test_ri32(struct x64_buf *b, unsigned reg, uint32_t imm);
void x64_shift_ri(struct x64_buf *b, unsigned ext, unsigned size, unsigned dst, unsigned count); /* 4 shl 5 shr 7 sar */
void x64_btc_ri(struct x64_buf *b, unsigned dst, unsigned bit); /* 64 bits */
void x64_pext_rrm(struct x64_buf *b, unsigned dst, unsigned src, struct x64_mem m);
void x64_rorx(struct x64_buf *b, unsigned dst, unsigned src, unsigned count); /* 64 bits, BMI2 */
void x64_bextr_rrr(struct x64_buf *b, unsigned dst, unsigned src, unsigned ctl);
/* Branches: return the address of the rel32 field; `target` NULL leaves it to x64_patch_rel32(). */
uint8_t *x64_jmp(struct x64_buf *b, const void *target);
uint8_t *x64_jcc(struct x64_buf *b, unsigned cc, const void *target);
uint8_t *x64_call(struct x64_buf *b, const void *target);
/* As above with the rel32 field in one aligned 8-byte word, so that it can be patched with one store while others execute it. */
uint8_t *x64_jmp_aligned(struct x64_buf *b, const void *target);
uint8_t *x64_call_aligned(struct x64_buf *b, const void *target);
uint8_t *x64_jcc_aligned(struct x64_buf *b, unsigned cc, const void *target);
void x64_jmp_m(struct x64_buf *b, struct x64_mem m);
/* lea dst, [rip + ...]: an address in reach of the code. */
void x64_lea_rip(struct x64_buf *b, unsigned dst, const void *target);
void x64_nops(struct x64_buf *b, unsigned n);
/* field: execution address of a rel32 written through this buffer */
void x64_patch_rel32(struct x64_buf *b, uint8_t *field, const void *target);

enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

#endif
