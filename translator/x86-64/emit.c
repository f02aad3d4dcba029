/* SPDX-License-Identifier: GPL-2.0-or-later */
/* emit.c - byte encodings of the host instructions that lowering uses.  Data in, bytes out; tested as data. */
#include "translator/x86-64/emit.h"

void x64_u16(struct x64_buf *b, uint32_t v)
{
    x64_byte(b, v & 0xff);
    x64_byte(b, v >> 8 & 0xff);
}

void x64_u32(struct x64_buf *b, uint32_t v)
{
    x64_u16(b, v & 0xffff);
    x64_u16(b, v >> 16);
}

void x64_u64(struct x64_buf *b, uint64_t v)
{
    x64_u32(b, (uint32_t)v);
    x64_u32(b, (uint32_t)(v >> 32));
}

void x64_rex(struct x64_buf *b, bool w, unsigned reg, unsigned index, unsigned base, bool force)
{
    unsigned rex = (w ? 8 : 0) | (reg != X_NONE && (reg & 8) ? 4 : 0) | (index != X_NONE && (index & 8) ? 2 : 0) |
                   (base != X_NONE && (base & 8) ? 1 : 0);
    if (rex || force) {
        x64_byte(b, 0x40 | rex);
    }
}

void x64_modrm_rr(struct x64_buf *b, unsigned reg, unsigned rm)
{
    x64_byte(b, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void x64_modrm_mem(struct x64_buf *b, unsigned reg, struct x64_mem m)
{
    unsigned r = (reg & 7) << 3;

    if (m.base == X_NONE) {                       /* [index*scale + disp32] or [disp32] */
        x64_byte(b, r | 4);
        x64_byte(b, (unsigned)m.scale << 6 | (m.index == X_NONE ? 4u << 3 : (m.index & 7u) << 3) | 5);
        x64_u32(b, (uint32_t)m.disp);
        return;
    }
    bool sib = m.index != X_NONE || (m.base & 7) == 4;
    unsigned mod = m.disp == 0 && (m.base & 7) != 5 ? 0 : m.disp == (int8_t)m.disp ? 1 : 2;
    x64_byte(b, mod << 6 | r | (sib ? 4 : (m.base & 7u)));
    if (sib) {
        x64_byte(b, (unsigned)m.scale << 6 | (m.index == X_NONE ? 4u << 3 : (m.index & 7u) << 3) | (m.base & 7u));
    }
    if (mod == 1) {
        x64_byte(b, (uint8_t)m.disp);
    } else if (mod == 2) {
        x64_u32(b, (uint32_t)m.disp);
    }
}

static void opcode(struct x64_buf *b, unsigned op)
{
    if (op > 0xff) {
        x64_byte(b, op >> 8);
    }
    x64_byte(b, op & 0xff);
}

void x64_op_rr(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, unsigned rm)
{
    if (size == 2) {
        x64_byte(b, 0x66);
    }
    x64_rex(b, size == 8, reg, X_NONE, rm, size == 1 && (reg >= 4 || rm >= 4));
    opcode(b, op);
    x64_modrm_rr(b, reg, rm);
}

void x64_op_rm(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, struct x64_mem m)
{
    if (size == 2) {
        x64_byte(b, 0x66);
    }
    x64_rex(b, size == 8, reg, m.index, m.base, size == 1 && reg >= 4);
    opcode(b, op);
    x64_modrm_mem(b, reg, m);
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
    x64_rex(b, false, dst, X_NONE, src, size == 1 && src >= 4);
    opcode(b, size == 1 ? 0x0fb6 : 0x0fb7);
    x64_modrm_rr(b, dst, src);
}

void x64_mov_ri(struct x64_buf *b, unsigned dst, uint64_t imm)
{
    if (imm <= 0xffffffffu) {
        x64_rex(b, false, X_NONE, X_NONE, dst, false);
        x64_byte(b, 0xb8 | (dst & 7));
        x64_u32(b, (uint32_t)imm);
    } else if ((int64_t)imm == (int32_t)imm) {
        x64_rex(b, true, X_NONE, X_NONE, dst, false);
        x64_byte(b, 0xc7);
        x64_modrm_rr(b, 0, dst);
        x64_u32(b, (uint32_t)imm);
    } else {
        x64_rex(b, true, X_NONE, X_NONE, dst, false);
        x64_byte(b, 0xb8 | (dst & 7));
        x64_u64(b, imm);
    }
}

void x64_mov_mi32(struct x64_buf *b, unsigned size, struct x64_mem m, int32_t imm)
{
    x64_op_rm(b, size, size == 1 ? 0xc6 : 0xc7, 0, m);
    if (size == 1) {
        x64_byte(b, (uint8_t)imm);
    } else if (size == 2) {
        x64_u16(b, (uint32_t)imm & 0xffff);
    } else {
        x64_u32(b, (uint32_t)imm);
    }
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

static void alu_imm(struct x64_buf *b, unsigned size, int32_t imm)
{
    if (size == 1 || imm == (int8_t)imm) {
        x64_byte(b, (uint8_t)imm);
    } else if (size == 2) {
        x64_u16(b, (uint32_t)imm & 0xffff);
    } else {
        x64_u32(b, (uint32_t)imm);
    }
}

void x64_alu_ri(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, int32_t imm)
{
    x64_op_rr(b, size, size == 1 ? 0x80 : imm == (int8_t)imm ? 0x83 : 0x81, alu, dst);
    alu_imm(b, size, imm);
}

void x64_alu_mi(struct x64_buf *b, unsigned alu, unsigned size, struct x64_mem m, int32_t imm)
{
    x64_op_rm(b, size, size == 1 ? 0x80 : imm == (int8_t)imm ? 0x83 : 0x81, alu, m);
    alu_imm(b, size, imm);
}

void x64_test_rr(struct x64_buf *b, unsigned size, unsigned a, unsigned c)
{
    x64_op_rr(b, size, size == 1 ? 0x84 : 0x85, a, c);
}

void x64_test_ri8(struct x64_buf *b, unsigned reg, uint8_t imm)
{
    x64_rex(b, false, X_NONE, X_NONE, reg, reg >= 4);
    x64_byte(b, 0xf6);
    x64_modrm_rr(b, 0, reg);
    x64_byte(b, imm);
}

void x64_test_ri32(struct x64_buf *b, unsigned reg, uint32_t imm)
{
    x64_rex(b, false, X_NONE, X_NONE, reg, false);
    x64_byte(b, 0xf7);
    x64_modrm_rr(b, 0, reg);
    x64_u32(b, imm);
}

void x64_shift_ri(struct x64_buf *b, unsigned ext, unsigned size, unsigned dst, unsigned count)
{
    x64_op_rr(b, size, size == 1 ? 0xc0 : 0xc1, ext, dst);
    x64_byte(b, count);
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

void x64_patch_rel32(struct x64_buf *b, uint8_t *field, const void *target)
{
    if (b->overflow) {
        return;
    }
    int32_t rel = (int32_t)((const uint8_t *)target - (field + 4));
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

uint8_t *x64_jmp(struct x64_buf *b, const void *target)
{
    x64_byte(b, 0xe9);
    return rel32(b, target);
}

uint8_t *x64_jcc(struct x64_buf *b, unsigned cc, const void *target)
{
    x64_byte(b, 0x0f);
    x64_byte(b, 0x80 | cc);
    return rel32(b, target);
}

uint8_t *x64_call(struct x64_buf *b, const void *target)
{
    x64_byte(b, 0xe8);
    return rel32(b, target);
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

uint8_t *x64_jcc_aligned(struct x64_buf *b, unsigned cc, const void *target)
{
    pad_rel32(b, 2);
    return x64_jcc(b, cc, target);
}

void x64_jmp_m(struct x64_buf *b, struct x64_mem m)
{
    x64_op_rm(b, 4, 0xff, 4, m);
}
