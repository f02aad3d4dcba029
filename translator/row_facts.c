/* SPDX-License-Identifier: GPL-2.0-or-later */
/* row_facts.c - fills the table of row_facts.h before main(). */
#include "translator/row_facts.h"

#define MAX_ROWS 2048
struct row_facts row_facts[MAX_ROWS];

/* Native instructions that write GPRs their operand columns do not name. */
static bool implicit_gpr_writer(const struct insn_row *r)
{
    if (r->attr & IA_VEX) {
        return r->map == 3 && r->opcode >= 0x60 && r->opcode <= 0x63;
    }
    switch (r->map) {
    case 0:
        return r->opcode == 0x98 || r->opcode == 0x99 || r->opcode == 0x9f || (r->opcode & 0xfe) == 0xf6 ||
               (r->opcode >= 0xd8 && r->opcode <= 0xdf) || (r->opcode >= 0x91 && r->opcode <= 0x97);
    case 1:
        return r->opcode == 0xb0 || r->opcode == 0xb1 || r->opcode == 0xc7;
    case 3:
        return r->opcode >= 0x60 && r->opcode <= 0x63;
    default:
        return false;
    }
}

static void note_operand(struct row_facts *f, const struct insn_op *op)
{
    unsigned which = op->loc == OL_REG ? RF_REG : op->loc == OL_RM || op->loc == OL_OPREG ? RF_RM
                     : op->loc == OL_VVVV ? RF_VVVV : op->loc == OL_ACC ? RF_ACC : 0;

    f->gprs |= which;
    f->opreg |= op->loc == OL_OPREG;
    if (op->acc & OA_W) {
        f->writes |= which;
    }
    if (op->size == OS_B) {
        f->bytes |= which;
    }
    if (op->size == OS_V || op->size == OS_Z) {
        f->p66 = RP66_SIZE;         /* also where 66 selects the row (MOVBE, RDRAND): it is the size */
    }
}

static bool site_without_memory(const struct insn_row *r)
{
    bool div = r->map == 0 && !(r->attr & IA_VEX) && (r->opcode & 0xfe) == 0xf6 && r->ext >= 6;

    return (r->attr & (IA_X87 | IA_MMX | IA_SSE | IA_AVX)) || r->cls == CL_FWAIT || div;
}

static uint8_t recipe_kind(const struct insn_row *r)
{
    unsigned op = r->opcode;

    if (r->map != 0 || (r->attr & IA_VEX)) {
        return RRC_NONE;
    }
    if ((op & 0xfe) == 0xc0 || (op & 0xfe) == 0xd0) {
        return RRC_SHIFT;
    }
    return (op < 0x40 && (op & 7) <= 5) || (op >= 0x80 && op <= 0x85) || (op & 0xfe) == 0xa8 ||
           ((op & 0xfe) == 0xf6 && r->ext <= 1) ? RRC_ALU : RRC_NONE;
}

static bool is_plain(const struct insn_row *r)
{
    bool two_immediates = r->op[2].loc == OL_IMM && (r->op[1].loc == OL_IMM || r->op[3].loc == OL_IMM);
    bool respelled = r->map == 0 && ((r->opcode & 0xf0) == 0x40 || (r->opcode & 0xfc) == 0xa0 || r->opcode == 0x63 ||
                                     r->opcode == 0x82);

    return !(r->attr & IA_VEX) && !two_immediates && !respelled && r->op[3].loc != OL_XIS4 && r->cls != CL_BT_MEM;
}

static void work_out(struct row_facts *f, const struct insn_row *r)
{
    for (unsigned i = 0; i < 4; i++) {
        note_operand(f, &r->op[i]);
    }
    if (implicit_gpr_writer(r)) {
        f->writes |= RF_ALL;
    }
    f->site = site_without_memory(r);
    f->recipe = recipe_kind(r);
    f->plain = is_plain(r);
    if (f->p66 == RP66_NEVER && r->pfx == PX_66) {
        f->p66 = RP66_ALWAYS;
    }
    f->rep = r->pfx == PX_F2 ? 0xf2 : r->pfx == PX_F3 ? 0xf3 : 0;
    f->modrm = r->attr & IA_MODRM;
    f->x87 = r->attr & IA_X87;
    f->simple = (r->cls == CL_NATIVE || (r->cls == CL_MOV && r->op[1].loc != OL_IMM)) && !r->feat &&
                !(r->attr & (IA_AVX | IA_SSE | IA_MMX | IA_X87 | IA_CPL0));
    f->escapes = r->map > 1 ? 2 : r->map;
    f->escape = r->map == 2 ? 0x380f : r->map == 3 ? 0x3a0f : 0x0f;
}

__attribute__((constructor)) static void work_out_all(void)
{
    if (insn_row_count > MAX_ROWS) {
        __builtin_trap();
    }
    for (unsigned i = 0; i < insn_row_count; i++) {
        work_out(&row_facts[i], &insn_rows[i]);
    }
}
