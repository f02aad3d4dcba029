/* SPDX-License-Identifier: GPL-2.0-or-later */
/* emit.c - byte encodings of the host instructions that lowering uses.  Data in, bytes out; tested as data. */
#include "translator/x86-64/emit.h"

void x64_modrm_mem(struct x64_buf *b, unsigned reg, struct x64_mem m)
{
    x64_end(b, x64_put_modrm(x64_begin(b), reg, m));
}

static inline uint8_t *put_op_rr(uint8_t *q, unsigned size, unsigned op, unsigned reg, unsigned rm)
{
    if (size == 2) {
        *q++ = 0x66;
    }
    q = x64_put_rex(q, size == 8, reg, X_NONE, rm, size == 1 && (reg >= 4 || rm >= 4));
    return x64_put_modrm_rr(x64_put_op(q, op), reg, rm);
}

static inline uint8_t *put_op_rm(uint8_t *q, unsigned size, unsigned op, unsigned reg, struct x64_mem m)
{
    if (size == 2) {
        *q++ = 0x66;
    }
    q = x64_put_rex(q, size == 8, reg, m.index, m.base, size == 1 && reg >= 4);
    return x64_put_modrm(x64_put_op(q, op), reg, m);
}

void x64_op_rr(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, unsigned rm)
{
    x64_end(b, put_op_rr(x64_begin(b), size, op, reg, rm));
}

void x64_op_rm(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, struct x64_mem m)
{
    x64_end(b, put_op_rm(x64_begin(b), size, op, reg, m));
}

void x64_mov_rr(struct x64_buf *b, unsigned size, unsigned dst, unsigned src)
{
    x64_op_rr(b, size, size == 1 ? 0x8a : 0x8b, dst, src);
}

void x64_mov_rm(struct x64_buf *b, unsigned size, unsigned dst, struct x64_mem m)
{
    x64_op_rm(b, size, size == 1 ? 0x8a : 0x8b, dst, m);
}

void x64_mov_mr(struct x64_buf *b, unsigned size, struct x64_mem m, unsigned src)
{
    x64_op_rm(b, size, size == 1 ? 0x88 : 0x89, src, m);
}

void x64_movzx_rm(struct x64_buf *b, unsigned size, unsigned dst, struct x64_mem m)
{
    if (size >= 4) {
        x64_mov_rm(b, size, dst, m);
    } else {
        x64_op_rm(b, 4, size == 1 ? 0x0fb6 : 0x0fb7, dst, m);
    }
}

void x64_movzx_rr(struct x64_buf *b, unsigned size, unsigned dst, unsigned src)
{
    if (size >= 4) {
        x64_mov_rr(b, size, dst, src);
        return;
    }
    uint8_t *q = x64_put_rex(x64_begin(b), false, dst, X_NONE, src, size == 1 && src >= 4);
    x64_end(b, x64_put_modrm_rr(x64_put_op(q, size == 1 ? 0x0fb6 : 0x0fb7), dst, src));
}

void x64_mov_ri(struct x64_buf *b, unsigned dst, uint64_t imm)
{
    uint8_t *q = x64_begin(b);

    if (imm <= 0xffffffffu) {
        q = x64_put_rex(q, false, X_NONE, X_NONE, dst, false);
        *q++ = (uint8_t)(0xb8 | (dst & 7));
        q = x64_put32(q, (uint32_t)imm);
    } else if ((int64_t)imm == (int32_t)imm) {
        q = x64_put_rex(q, true, X_NONE, X_NONE, dst, false);
        *q++ = 0xc7;
        q = x64_put32(x64_put_modrm_rr(q, 0, dst), (uint32_t)imm);
    } else {
        q = x64_put_rex(q, true, X_NONE, X_NONE, dst, false);
        *q++ = (uint8_t)(0xb8 | (dst & 7));
        *(any64 *)q = imm;
        q += 8;
    }
    x64_end(b, q);
}

void x64_mov_mi32(struct x64_buf *b, unsigned size, struct x64_mem m, int32_t imm)
{
    uint8_t *q = put_op_rm(x64_begin(b), size, size == 1 ? 0xc6 : 0xc7, 0, m);

    x64_end(b, x64_put_imm(q, size < 4 ? size : 4, (uint32_t)imm));
}

void x64_lea(struct x64_buf *b, unsigned size, unsigned dst, struct x64_mem m)
{
    x64_op_rm(b, size, 0x8d, dst, m);
}

void x64_alu_rr(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, unsigned src)
{
    x64_op_rr(b, size, alu << 3 | (size == 1 ? 2 : 3), dst, src);
}

void x64_alu_rm(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, struct x64_mem m)
{
    x64_op_rm(b, size, alu << 3 | (size == 1 ? 2 : 3), dst, m);
}

static uint8_t *put_alu_imm(uint8_t *q, unsigned size, int32_t imm)
{
    return x64_put_imm(q, size == 1 || imm == (int8_t)imm ? 1 : size == 2 ? 2 : 4, (uint32_t)imm);
}

void x64_alu_ri(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, int32_t imm)
{
    unsigned op = size == 1 ? 0x80 : imm == (int8_t)imm ? 0x83 : 0x81;

    x64_end(b, put_alu_imm(put_op_rr(x64_begin(b), size, op, alu, dst), size, imm));
}

void x64_alu_mi(struct x64_buf *b, unsigned alu, unsigned size, struct x64_mem m, int32_t imm)
{
    unsigned op = size == 1 ? 0x80 : imm == (int8_t)imm ? 0x83 : 0x81;

    x64_end(b, put_alu_imm(put_op_rm(x64_begin(b), size, op, alu, m), size, imm));
}

void x64_test_rr(struct x64_buf *b, unsigned size, unsigned a, unsigned c)
{
    x64_op_rr(b, size, size == 1 ? 0x84 : 0x85, a, c);
}

void x64_test_ri8(struct x64_buf *b, unsigned reg, uint8_t imm)
{
    uint8_t *q = x64_put_rex(x64_begin(b), false, X_NONE, X_NONE, reg, reg >= 4);

    *q++ = 0xf6;
    q = x64_put_modrm_rr(q, 0, reg);
    *q++ = imm;
    x64_end(b, q);
}

void x64_test_ri32(struct x64_buf *b, unsigned reg, uint32_t imm)
{
    uint8_t *q = x64_put_rex(x64_begin(b), false, X_NONE, X_NONE, reg, false);

    *q++ = 0xf7;
    x64_end(b, x64_put32(x64_put_modrm_rr(q, 0, reg), imm));
}

void x64_shift_ri(struct x64_buf *b, unsigned ext, unsigned size, unsigned dst, unsigned count)
{
    uint8_t *q = put_op_rr(x64_begin(b), size, size == 1 ? 0xc0 : 0xc1, ext, dst);

    *q++ = (uint8_t)count;
    x64_end(b, q);
}

void x64_btc_ri(struct x64_buf *b, unsigned dst, unsigned bit)
{
    x64_rex(b, true, X_NONE, X_NONE, dst, false);
    x64_byte(b, 0x0f);
    x64_byte(b, 0xba);
    x64_modrm_rr(b, 7, dst);
    x64_byte(b, bit);
}

void x64_pext_rrm(struct x64_buf *b, unsigned dst, unsigned src, struct x64_mem m)
{
    /* VEX.LZ.F3.0F38.W1 F5 /r: dst = ModRM.reg, src = vvvv, mask = r/m */
    x64_byte(b, 0xc4);
    x64_byte(b, (dst & 8 ? 0 : 0x80) | (m.index != X_NONE && (m.index & 8) ? 0 : 0x40) | (m.base & 8 ? 0 : 0x20) | 2);
    x64_byte(b, 0x80 | (~src & 15) << 3 | 2);
    x64_byte(b, 0xf5);
    x64_modrm_mem(b, dst, m);
}

void x64_bextr_rrr(struct x64_buf *b, unsigned dst, unsigned src, unsigned ctl)
{
    /* VEX.LZ.0F38.W1 F7 /r: dst = ModRM.reg, src = r/m, control = vvvv */
    x64_byte(b, 0xc4);
    x64_byte(b, (dst & 8 ? 0 : 0x80) | 0x40 | (src & 8 ? 0 : 0x20) | 2);
    x64_byte(b, 0x80 | (~ctl & 15) << 3);
    x64_byte(b, 0xf7);
    x64_modrm_rr(b, dst, src);
}

void x64_rorx(struct x64_buf *b, unsigned dst, unsigned src, unsigned count)
{
    /* VEX.LZ.F2.0F3A.W1 F0 /r ib: dst = ModRM.reg, src = r/m */
    x64_byte(b, 0xc4);
    x64_byte(b, (dst & 8 ? 0 : 0x80) | 0x40 | (src & 8 ? 0 : 0x20) | 3);
    x64_byte(b, 0xfb);
    x64_byte(b, 0xf0);
    x64_modrm_rr(b, dst, src);
    x64_byte(b, count);
}

void x64_patch_rel32(struct x64_buf *b, uint8_t *field, const void *target)
{
    if (b->overflow) {
        return;
    }
    int32_t rel = (int32_t)((const uint8_t *)target - (field + 4));
    x64_note_rel(b, field, target);
    __atomic_store_n((int32_t *)(void *)(field + b->rw_delta), rel, __ATOMIC_RELEASE);
}

static uint8_t *rel32(struct x64_buf *b, const void *target)
{
    uint8_t *field = b->p;
    x64_u32(b, 0);
    if (target) {
        x64_patch_rel32(b, field, target);
    }
    return field;
}

void x64_lea_rip(struct x64_buf *b, unsigned dst, const void *target)
{
    x64_rex(b, true, dst, X_NONE, X_NONE, false);
    x64_byte(b, 0x8d);
    x64_byte(b, (dst & 7) << 3 | 5);
    rel32(b, target);
}

static uint8_t *branch(struct x64_buf *b, unsigned op, const void *target)
{
    uint8_t *q = x64_put_op(x64_begin(b), op), *field = q - b->rw_delta;

    if (target) {
        x64_note_rel(b, field, target);
    }
    x64_end(b, x64_put32(q, target ? (uint32_t)((const uint8_t *)target - (field + 4)) : 0));
    return field;
}

uint8_t *x64_jmp(struct x64_buf *b, const void *target)
{
    return branch(b, 0xe9, target);
}

uint8_t *x64_jcc(struct x64_buf *b, unsigned cc, const void *target)
{
    return branch(b, 0x0f80 | cc, target);
}

uint8_t *x64_call(struct x64_buf *b, const void *target)
{
    return branch(b, 0xe8, target);
}

void x64_nops(struct x64_buf *b, unsigned n)
{
    static const uint8_t nop[4][4] = { { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 }, { 0x0f, 0x1f, 0x40, 0x00 } };
    while (n) {
        unsigned k = n > 4 ? 4 : n;
        for (unsigned i = 0; i < k; i++) {
            x64_byte(b, nop[k - 1][i]);
        }
        n -= k;
    }
}

/* So that a rel32 field `ahead` bytes on lies in one aligned 8-byte word. */
static void pad_rel32(struct x64_buf *b, unsigned ahead)
{
    unsigned at = (unsigned)((uintptr_t)b->p + ahead) & 7;

    if (at > 4) {
        x64_nops(b, 8 - at);
    }
}

uint8_t *x64_jmp_aligned(struct x64_buf *b, const void *target)
{
    pad_rel32(b, 1);
    return x64_jmp(b, target);
}

uint8_t *x64_call_aligned(struct x64_buf *b, const void *target)
{
    pad_rel32(b, 1);
    return x64_call(b, target);
}

uint8_t *x64_jcc_aligned(struct x64_buf *b, unsigned cc, const void *target)
{
    pad_rel32(b, 2);
    return x64_jcc(b, cc, target);
}

void x64_jmp_m(struct x64_buf *b, struct x64_mem m)
{
    x64_op_rm(b, 4, 0xff, 4, m);
}
