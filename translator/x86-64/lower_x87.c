/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lower_x87.c - keeps cpu->fptr for the x87 instructions of a block (fpu_ptr.h).
 *
 * FDP is stored behind each instruction with a memory operand: when the instruction faults or finds an exception
 * pending, the pointers still are those of the one before.  FIP, FOP and the operand's segment are constants of the
 * block; they are stored once, before somebody outside the block can ask, and named in the state map until then.
 * FNINIT clears all.
 */
#include "translator/fpu_ptr.h"
#include "translator/x86-64/lower.h"

/* FLDCW is the one waiting instruction that is native and sets nothing. */
static bool sets_pointers(const struct dec_insn *in)
{
    bool fldcw = in->opcode == 0xd9 && in->has_mem && (in->modrm >> 3 & 7) == 5;

    return (in->row->attr & IA_FWAITING) && !fldcw;
}

/* r10 = linear address: FDP is the offset in the segment. */
static void store_fdp(struct lower *l, const struct dec_insn *in)
{
    struct x64_buf *b = &l->b;
    bool code64 = in->mode == 2;
    bool based = in->seg == S_FS || in->seg == S_GS || (!code64 && (in->seg == S_CS || (l->ir->key.hflags & HF_SEGS)));

    if (!based) {
        x64_mov_mr(b, 8, X64_ENV(fptr.dp), X_R10);
        return;
    }
    l->r9_reg = IR_NOREG;
    x64_mov_rm(b, code64 ? 8 : 4, X_R9,
               x64_env(offsetof(struct guest_cpu, seg) + in->seg * sizeof(struct guest_seg) +
                       offsetof(struct guest_seg, base)));
    x64_op_rr(b, code64 ? 8 : 4, 0xf7, 2, X_R9);        /* not: the guest's flags may be in the host's */
    x64_lea(b, code64 ? 8 : 4, X_R9, (struct x64_mem) { X_R10, X_R9, 0, 1 });
    x64_mov_mr(b, 8, X64_ENV(fptr.dp), X_R9);
}

static bool is_fninit(const struct dec_insn *in)
{
    return in->opcode == 0xdb && in->modrm == 0xe3;
}

static void clear_pointers(struct lower *l)
{
    struct x64_buf *b = &l->b;

    x64_mov_mi32(b, 8, X64_ENV(fptr.ip), 0);
    x64_mov_mi32(b, 8, X64_ENV(fptr.dp), 0);
    x64_mov_mi32(b, 4, X64_ENV(fptr.op), 0);
    x64_mov_mi32(b, 4, X64_ENV(fptr.dseg), 0);
    x64_mov_mi32(b, 4, X64_ENV(fptr.cs), 0);           /* and ds */
    l->x87.at = 0;
}

void lower_x87_done(struct lower *l, const struct dec_insn *in)
{
    if (is_fninit(in)) {
        clear_pointers(l);
        return;
    }
    if (!sets_pointers(in)) {
        return;
    }
    if (!l->x87.at) {
        l->x87.seg = 0;
    }
    l->x87.at = (uint16_t)(in->ip - l->ir->ip + 1);
    l->x87.fop = (uint16_t)((in->opcode & 7) << 8 | in->modrm);
    if (in->has_mem) {
        l->x87.seg = (uint8_t)(in->seg + 1);
        store_fdp(l, in);
    }
    if (l->opt->no_lazy_x87) {
        lower_x87_flush(l);
    }
}

void lower_x87_flush(struct lower *l)
{
    struct x64_buf *b = &l->b;
    uint64_t ip = l->ir->ip + (uint64_t)(int64_t)(int16_t)(l->x87.at - 1);

    if (!l->x87.at) {
        return;
    }
    l->movable = false;
    if ((l->ir->key.hflags & HF_CODE_MASK) != HF_CODE64) {
        ip = (uint32_t)ip;
    }
    if (ip == (uint64_t)(int64_t)(int32_t)ip) {
        x64_mov_mi32(b, 8, X64_ENV(fptr.ip), (int32_t)ip);
    } else {
        x64_mov_mi32(b, 4, X64_ENV(fptr.ip), (int32_t)ip);
        x64_mov_mi32(b, 4, x64_env(offsetof(struct guest_cpu, fptr.ip) + 4), (int32_t)(ip >> 32));
    }
    x64_mov_mi32(b, 4, X64_ENV(fptr.op), (int32_t)(l->x87.fop | FPTR_CS));
    if (l->x87.seg) {
        x64_mov_mi32(b, 4, X64_ENV(fptr.dseg), l->x87.seg);
    }
    l->x87.at = 0;
}
