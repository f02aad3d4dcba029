/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gen_forms.c - the forms of a row: operand size, register or memory, VEX.L,
 * LOCK, REP; see gen.h. */
#include "tests/insn/gen.h"

static bool has_op(const struct insn_row *row, uint32_t locs, uint32_t sizes)
{
    for (unsigned i = 0; i < 4; i++) {
        if ((locs >> row->op[i].loc & 1) && (sizes >> row->op[i].size & 1))
            return true;
    }
    return false;
}

/* Operands that one register number can name. */
static unsigned register_operands(const struct insn_row *row)
{
    const uint32_t locs = 1u << OL_REG | 1u << OL_RM | 1u << OL_XREG |
                          1u << OL_XRM | 1u << OL_XVVVV | 1u << OL_MREG |
                          1u << OL_MRM | 1u << OL_VVVV;
    unsigned n = 0;

    for (unsigned i = 0; i < 4; i++)
        n += locs >> row->op[i].loc & 1;
    return n;
}

static unsigned operand_kinds(const struct insn_row *row, uint8_t *kinds)
{
    unsigned n = 0;

    if (!(row->attr & IA_MODRM) || row->modrm >= 0) {
        kinds[n++] = GO_NONE;
        return n;
    }
    if (row->modrm != -2) {
        kinds[n++] = GO_REG;
        if (register_operands(row) > 1)
            kinds[n++] = GO_SAME;
    }
    if (row->modrm != -3)
        kinds[n++] = GO_MEM;
    return n;
}

/* Operand sizes: no prefix, 66, W. */
static unsigned size_kinds(const struct insn_row *row, enum snip_mode mode,
                           uint8_t *kinds)
{
    const uint32_t by_size = 1u << OS_V | 1u << OS_Z | 1u << OS_P | 1u << OS_A;
    bool vex = row->attr & IA_VEX, fixed_w = row->attr & (IA_W0 | IA_W1);
    unsigned n = 0;

    kinds[n++] = row->attr & IA_W1 ? 2 : 0;
    if (!vex && !(row->attr & IA_W1) &&
        (row->pfx == PX_ANY || ((row->pfx == PX_F2 || row->pfx == PX_F3) &&
                                has_op(row, ~0u, by_size))))
        kinds[n++] = 1;
    if (!fixed_w && (vex || mode == SM_64))
        kinds[n++] = 2;
    return n;
}

unsigned gen_forms(const struct insn_row *row, enum snip_mode mode,
                   struct gen_form *out)
{
    static const uint8_t reps[] = {0, 0xf2, 0xf3};
    uint8_t operands[4], sizes[4];
    unsigned n_operands = operand_kinds(row, operands),
             n_sizes = size_kinds(row, mode, sizes), n = 0;
    unsigned l_first = row->attr & IA_VEX_L1 ? 1 : 0,
             l_last = (row->attr & IA_VEX) && !(row->attr & IA_VEX_L0) ? 1 : 0;

    for (unsigned o = 0; o < n_operands; o++) {
        unsigned locks = (row->attr & IA_LOCK) && operands[o] == GO_MEM ? 2 : 1;
        for (unsigned s = 0; s < n_sizes; s++) {
            for (unsigned l = l_first; l <= l_last; l++) {
                for (unsigned k = 0;
                     k < (row->attr & IA_REP ? 3 : locks) && n < MAX_FORMS;
                     k++) {
                    out[n++] = (struct gen_form){
                        .p66 = sizes[s] == 1,
                        .w = sizes[s] == 2,
                        .l = (uint8_t)l,
                        .operands = operands[o],
                        .lock = locks == 2 && k == 1,
                        .rep = row->attr & IA_REP ? reps[k] : 0,
                    };
                }
            }
        }
    }
    return n;
}
