/* SPDX-License-Identifier: GPL-2.0-or-later */
/* emit.c - byte encodings of the host instructions that lowering uses.  Data in, bytes out; tested as data. */
#include "translator/x86-64/emit.h"

void x64_modrm_mem(struct x64_buf *b, unsigned reg, struct x64_mem m)
{
    x64_end(b, x64_put_modrm(x64_begin(b), reg, m));
}

void x64_op_rr_any(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, unsigned rm)
{
    x64_end(b, x64_put_rr(x64_begin(b), size, op, reg, rm));
}

void x64_op_rm_any(struct x64_buf *b, unsigned size, unsigned op, unsigned reg, struct x64_mem m)
{
    x64_end(b, x64_put_rm(x64_begin(b), size, op, reg, m));
}

void x64_movzx_rr_any(struct x64_buf *b, unsigned size, unsigned dst, unsigned src)
{
    x64_end(b, x64_put_movzx_rr(x64_begin(b), size, dst, src));
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
    uint8_t *q = x64_put_rm(x64_begin(b), size, size == 1 ? 0xc6 : 0xc7, 0, m);

    x64_end(b, x64_put_imm(q, size < 4 ? size : 4, (uint32_t)imm));
}

void x64_alu_ri_any(struct x64_buf *b, unsigned alu, unsigned size, unsigned dst, int32_t imm)
{
    x64_end(b, x64_put_alu_imm(x64_put_rr(x64_begin(b), size, x64_alu_imm_op(size, imm), alu, dst), size, imm));
}

void x64_alu_mi_any(struct x64_buf *b, unsigned alu, unsigned size, struct x64_mem m, int32_t imm)
{
    x64_end(b, x64_put_alu_imm(x64_put_rm(x64_begin(b), size, x64_alu_imm_op(size, imm), alu, m), size, imm));
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
    uint8_t *q = x64_put_rr(x64_begin(b), size, size == 1 ? 0xc0 : 0xc1, ext, dst);

    *q++ = (uint8_t)count;
    x64_end(b, q);
}

void x64_btc_ri(struct x64_buf *b, unsigned dst, unsigned bit)
{
    uint8_t *q = x64_put_rr(x64_begin(b), 8, 0x0fba, 7, dst);

    *q++ = (uint8_t)bit;
    x64_end(b, q);
}

void x64_bt_ri(struct x64_buf *b, unsigned reg, unsigned bit)
{
    uint8_t *q = x64_put_rr(x64_begin(b), 4, 0x0fba, 4, reg);

    *q++ = (uint8_t)bit;
    x64_end(b, q);
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

void x64_note_fix(const struct x64_buf *b, uint8_t *at, bool abs)
{
    struct x64_fixes *f = b->fixes;

    if (!f || b->overflow) {
        return;
    }
    unsigned kind = (at >= f->cold && at < f->cold_limit ? X64_FIX_COLD : 0u) | (abs ? X64_FIX_ABS : 0u);
    if (f->n[kind] == X64_FIXES) {
        f->useless = true;
        return;
    }
    f->at[kind][f->n[kind]++] = at;
}
void x64_lea_rip(struct x64_buf *b, unsigned dst, const void *target)
{
    uint8_t *q = x64_put_rex(x64_begin(b), true, dst, X_NONE, X_NONE, false), *field = q + 2 - b->rw_delta;

    *q++ = 0x8d;
    *q++ = (uint8_t)((dst & 7) << 3 | 5);
    if (target) {
        x64_note_rel(b, field, target);
    }
    x64_end(b, x64_put32(q, target ? (uint32_t)((const uint8_t *)target - (field + 4)) : 0));
}

void x64_nops(struct x64_buf *b, unsigned n)
{
    static const uint32_t nop[] = { 0x90, 0x9066, 0x001f0f, 0x00401f0f };

    while (n) {
        unsigned k = n > 4 ? 4 : n;

        x64_end(b, x64_put32(x64_begin(b), nop[k - 1]) - 4 + k);
        n -= k;
    }
}
