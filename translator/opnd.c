/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * opnd.c - operands and the stack as helpers see them.
 *
 * Effective and linear addresses with segment checks, register parts,
 * operands by table column, pushes and peeks.  Page translation is the TLB's
 * (guest_ld*, guest_st*); vector and x87 operands are help_fpu.c's.
 *
 * Manuals: SDM vol. 1, 3.7 (operand addressing), 6.2 (stack); SDM vol. 3, 5.3 (limits), 3.3.7.1 (canonical).
 */
#include "translator/desc.h"

static uint64_t trunc_size(uint64_t v, unsigned size)
{
    return size == 8 ? v : v & ((1ull << size * 8) - 1);
}

/* ---- effective and linear addresses ---- */

uint64_t opnd_ea(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t ea = (uint64_t)in->disp;

    if (in->base == EA_RIP) {
        ea += in->ip + in->len;
    } else if (in->base != REG_NONE) {
        ea += GPR(c, in->base);
    }
    if (in->index != REG_NONE) {
        ea += GPR(c, in->index) << in->scale;
    }
    return trunc_size(ea, in->adsize);
}

static _Noreturn void seg_fault(struct guest_cpu *c, unsigned seg)
{
    cpu_raise_err(c, seg == S_SS ? EXC_SS : EXC_GP, 0);
}

uint64_t seg_lin(struct guest_cpu *c, unsigned seg, uint64_t off, unsigned size, bool write)
{
    const struct guest_seg *s = &c->seg[seg];
    unsigned last = size ? size - 1 : 0;

    if (cpu_code64(c)) {
        uint64_t lin = seg >= S_FS ? s->base + off : off;

        if (!is_canonical(c, lin) || !is_canonical(c, lin + last)) {
            seg_fault(c, seg);
        }
        return lin;
    }
    off = (uint32_t)off;
    if (off < (write ? s->w_lo : s->r_lo) || off + last > (write ? s->w_hi : s->r_hi)) {
        seg_fault(c, seg);
    }
    return (uint32_t)(s->base + off);
}

uint64_t opnd_lin(struct guest_cpu *c, const struct dec_insn *in, unsigned size, bool write)
{
    return seg_lin(c, in->seg, opnd_ea(c, in), size, write);
}

/* ---- register parts ---- */

uint64_t gpr_read(struct guest_cpu *c, unsigned reg, unsigned size, bool high8)
{
    if (size == 1 && high8 && reg >= 4 && reg <= 7) {
        return GPR(c, reg - 4) >> 8 & 0xff;
    }
    return trunc_size(GPR(c, reg), size);
}

void gpr_write(struct guest_cpu *c, unsigned reg, unsigned size, bool high8, uint64_t val)
{
    uint64_t *r;

    if (size == 1 && high8 && reg >= 4 && reg <= 7) {
        r = &GPR(c, reg - 4);
        *r = (*r & ~0xff00ull) | (val & 0xff) << 8;
        return;
    }
    r = &GPR(c, reg);
    switch (size) {
    case 1:
        *r = (*r & ~0xffull) | (val & 0xff);
        break;
    case 2:
        *r = (*r & ~0xffffull) | (val & 0xffff);
        break;
    case 4:
        *r = (uint32_t)val;
        break;
    default:
        *r = val;
    }
}

/* ---- memory by size, in the mode in force ---- */

static uint64_t ld(struct guest_cpu *c, uint64_t lin, unsigned size)
{
    switch (size) {
    case 1:
        return guest_ld8(c, lin);
    case 2:
        return guest_ld16(c, lin);
    case 4:
        return guest_ld32(c, lin);
    default:
        return guest_ld64(c, lin);
    }
}

static void st(struct guest_cpu *c, uint64_t lin, unsigned size, uint64_t val)
{
    switch (size) {
    case 1:
        guest_st8(c, lin, (uint8_t)val);
        break;
    case 2:
        guest_st16(c, lin, (uint16_t)val);
        break;
    case 4:
        guest_st32(c, lin, (uint32_t)val);
        break;
    default:
        guest_st64(c, lin, val);
    }
}

uint64_t opnd_far(struct guest_cpu *c, const struct dec_insn *in, unsigned size, uint16_t *sel)
{
    uint64_t ea = opnd_ea(c, in);
    uint64_t off = ld(c, seg_lin(c, in->seg, ea, size, false), size);

    *sel = guest_ld16(c, seg_lin(c, in->seg, trunc_size(ea + size, in->adsize), 2, false));
    return off;
}

/* ---- operands by table column ---- */

uint64_t opnd_read(struct guest_cpu *c, const struct dec_insn *in, unsigned i)
{
    unsigned size = dec_op_size(in, i);

    switch (in->row->op[i].loc) {
    case OL_REG:
        return gpr_read(c, in->reg, size, dec_is_high8(in, in->reg));
    case OL_RM:
        if (!in->has_mem) {
            return gpr_read(c, in->rm, size, dec_is_high8(in, in->rm));
        }
        return ld(c, opnd_lin(c, in, size, false), size);
    case OL_MEM:
    case OL_MOFFS:
        return ld(c, opnd_lin(c, in, size, false), size);
    case OL_OPREG:
        return gpr_read(c, in->rm, size, dec_is_high8(in, in->rm));
    case OL_VVVV:
        return gpr_read(c, in->vvvv, size, false);
    case OL_ACC:
        return gpr_read(c, R_RAX, size, false);
    case OL_CL:
        return GPR(c, R_RCX) & 0xff;
    case OL_DX:
        return GPR(c, R_RDX) & 0xffff;
    case OL_ONE:
        return 1;
    case OL_SREG:
        return c->seg[(in->reg & 7) % S_COUNT].sel;
    default:
        return trunc_size((uint64_t)in->imm, size ? size : 8);
    }
}

void opnd_write(struct guest_cpu *c, const struct dec_insn *in, unsigned i, uint64_t val)
{
    unsigned size = dec_op_size(in, i);

    switch (in->row->op[i].loc) {
    case OL_REG:
        gpr_write(c, in->reg, size, dec_is_high8(in, in->reg), val);
        break;
    case OL_RM:
        if (!in->has_mem) {
            gpr_write(c, in->rm, size, dec_is_high8(in, in->rm), val);
            break;
        }
        st(c, opnd_lin(c, in, size, true), size, val);
        break;
    case OL_MEM:
    case OL_MOFFS:
        st(c, opnd_lin(c, in, size, true), size, val);
        break;
    case OL_OPREG:
        gpr_write(c, in->rm, size, dec_is_high8(in, in->rm), val);
        break;
    case OL_VVVV:
        gpr_write(c, in->vvvv, size, false, val);
        break;
    case OL_ACC:
        gpr_write(c, R_RAX, size, false, val);
        break;
    default:
        break; /* not a destination */
    }
}

/* ---- the stack ---- */

unsigned stack_size(const struct guest_cpu *c)
{
    if (cpu_code64(c)) {
        return 8;
    }
    return c->seg[S_SS].attr & DESC_B ? 4 : 2;
}

uint64_t stack_mask(const struct guest_cpu *c)
{
    unsigned size = stack_size(c);
    return size == 8 ? ~0ull : size == 4 ? 0xffffffffull : 0xffffull;
}

void set_rsp(struct guest_cpu *c, uint64_t val)
{
    gpr_write(c, R_RSP, stack_size(c), false, val);
}

uint64_t stack_peek(struct guest_cpu *c, unsigned off, unsigned size)
{
    uint64_t sp = (GPR(c, R_RSP) + off) & stack_mask(c);
    return ld(c, seg_lin(c, S_SS, sp, size, false), size);
}

void stack_push_at(struct guest_cpu *c, uint64_t *sp, uint64_t val, unsigned size)
{
    uint64_t new_sp = (*sp - size) & stack_mask(c);

    st(c, seg_lin(c, S_SS, new_sp, size, true), size, val);
    *sp = new_sp;
}
