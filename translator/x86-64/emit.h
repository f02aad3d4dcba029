/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emit.h - encoding of x86-64 host instructions (SDM vol. 2, chapter 2).
 *
 * Functions are named by mnemonic and operand kinds; they only encode, they never choose.  A buffer that is full sets
 * `overflow` and drops bytes: callers look once, at the end.  Addresses (`x64_here`) are execution addresses; bytes are
 * written through the writable mapping at distance rw_delta.
 */
#ifndef XBT_X64_EMIT_H
#define XBT_X64_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum x64_reg {
    X_RAX, X_RCX, X_RDX, X_RBX, X_RSP, X_RBP, X_RSI, X_RDI,
    X_R8, X_R9, X_R10, X_R11, X_R12, X_R13, X_R14, X_R15, X_NONE = 0xff
};

struct x64_buf {
    uint8_t *p;          /* next byte, execution address */
    uint8_t *limit;      /* first byte that must not be written */
    ptrdiff_t rw_delta;
    bool overflow;
};

/* A memory operand of the host. */
struct x64_mem {
    uint8_t base, index, scale; /* X_NONE allowed; scale 0..3 */
    int32_t disp;
};

static inline uint8_t *x64_here(const struct x64_buf *b) { return b->p; }

static inline void x64_byte(struct x64_buf *b, unsigned v)
{
    if (b->p >= b->limit) {
        b->overflow = true;
        return;
    }
    b->p[b->rw_delta] = (uint8_t)v;
    b->p++;
}
void x64_u16(struct x64_buf *b, uint32_t v);
void x64_u32(struct x64_buf *b, uint32_t v);
void x64_u64(struct x64_buf *b, uint64_t v);

/* ModRM [+ SIB + disp] for reg field `reg` (low 3 bits used). */
void x64_modrm_mem(struct x64_buf *b, unsigned reg, struct x64_mem m);
void x64_modrm_rr(struct x64_buf *b, unsigned reg, unsigned rm);
/* REX if needed (force: emit 0x40 at least). */
void x64_rex(struct x64_buf *b, bool w, unsigned reg, unsigned index, unsigned base, bool force);

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
void x64_bextr_rrr(struct x64_buf *b, unsigned dst, unsigned src, unsigned ctl);
/* Branches: return the address of the rel32 field; `target` NULL leaves it to x64_patch_rel32(). */
uint8_t *x64_jmp(struct x64_buf *b, const void *target);
uint8_t *x64_jcc(struct x64_buf *b, unsigned cc, const void *target);
uint8_t *x64_call(struct x64_buf *b, const void *target);
/* As above with the rel32 field in one aligned 8-byte word, so that it can be patched with one store while others execute it. */
uint8_t *x64_jmp_aligned(struct x64_buf *b, const void *target);
uint8_t *x64_jcc_aligned(struct x64_buf *b, unsigned cc, const void *target);
void x64_jmp_m(struct x64_buf *b, struct x64_mem m);
/* lea dst, [rip + ...]: an address in reach of the code. */
void x64_lea_rip(struct x64_buf *b, unsigned dst, const void *target);
void x64_nops(struct x64_buf *b, unsigned n);
/* field: execution address of a rel32 written through this buffer */
void x64_patch_rel32(struct x64_buf *b, uint8_t *field, const void *target);

enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

#endif
