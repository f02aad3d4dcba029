/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lift.c - decoded instruction -> IR.
 *
 * Checks what the translation mode (hflags, CPU model) forbids, then spells the instruction with the few ops of
 * ir_ops.inc.  Guest state changes only after the last op of the instruction that can fault, so that every site's
 * state is that before the instruction.  Which flags live where is left to opt_flags.c, host registers to x86-64/.
 */
#include "translator/desc.h"
#include "translator/ir.h"
#include "translator/mem.h"
#include "translator/row_facts.h"
#include "translator/svm.h"

/* A byte of struct ir_op in the 64-bit word that it is part of. */
#define AT(field, byte) ((byte) << offsetof(struct ir_op, field) % 8 * 8)
_Static_assert(offsetof(struct ir_op, dst) < 8 && offsetof(struct ir_op, src) < 8 && IR_NOREG == 0xff &&
               offsetof(struct ir_op, is_site) / 8 == 1 && offsetof(struct ir_op, stores) / 8 == 3 &&
               offsetof(struct ir_op, quiet) / 8 == 3 && offsetof(struct ir_op, imm) == 32, "put()");

#define INLINE static inline __attribute__((always_inline))

/* A new op at o. */
INLINE void put_at(struct ir_op *o, enum ir_opcode op, const struct dec_insn *in)
{
    uint64_t site = op == IR_ADDR || op == IR_PROBE || op == IR_NATIVE || op == IR_LD || op == IR_ST || op == IR_STI ||
                    op == IR_HELPER || op == IR_HELPER_X || op == IR_RAISE;
    uint64_t stores = op == IR_ST || op == IR_STI, quiet = op == IR_LEA || op == IR_MOV || op == IR_ADDI || op == IR_LDC;
    any64 *word = (any64 *)(void *)o;

    word[0] = op | AT(dst, 0xffull) | AT(src, 0xffull);
    word[1] = AT(is_site, site);
    word[2] = 0;
    word[3] = AT(stores, stores) | AT(quiet, quiet);
    o->imm = 0;
    o->in = in;
}

INLINE struct ir_op *put(struct ir_block *b, enum ir_opcode op, const struct dec_insn *in)
{
    unsigned n = b->n_ops;
    struct ir_op *o = &b->ops[n];

    b->n_ops = n + (n < IR_MAX_OPS - 1);
    put_at(o, op, in);
    return o;
}

/* An op that writes a register or temporary. */
INLINE struct ir_op *put_def(struct ir_block *b, enum ir_opcode op, const struct dec_insn *in, unsigned dst)
{
    struct ir_op *o = put(b, op, in);

    o->dst = (uint8_t)dst;
    o->gprs = (uint16_t)(dst < 16 ? 1u << dst : 0);
    return o;
}

INLINE void put_native_at(struct ir_op *o, const struct dec_insn *in, const struct row_facts *f)
{
    put_at(o, IR_NATIVE, in);
    o->is_site = native_site(in, f);
    o->stores = native_stores(in);
    o->gprs = (uint16_t)native_gpr_writes(in, f);
    o->fl_read = in->row->fl_read;
    o->fl_write = in->row->fl_write;
    o->quiet = !o->is_site && !o->fl_read && !o->fl_write;
}

static void put_native(struct ir_block *b, const struct dec_insn *in)
{
    put_native_at(put(b, IR_NATIVE, in), in, facts_of(in));
}

static void put_helper(struct ir_block *b, bool ends, const struct dec_insn *in)
{
    (ends ? put(b, IR_HELPER_X, in) : put(b, IR_HELPER, in))->gprs = 0xffff;
    b->keep |= 1ull << (in - b->insns);
}

static unsigned stack_width(const struct ir_block *b, const struct dec_insn *in)
{
    return in->mode == 2 ? 8 : b->key.hflags & HF_SS32 ? 4 : 2;
}

/* Does the host's own instruction fault on any misaligned address?  Other SSE operands are let through with
 * MXCSR.MM = 1 (AMD misaligned SSE mode, APM vol. 1, 4.3.2). */
bool insn_always_aligned(const struct dec_insn *in)
{
    unsigned op = in->opcode;

    return in->map == 1 ? op == 0x28 || op == 0x29 || op == 0x2b || op == 0x6f || op == 0x7f || op == 0xe7 || op == 0xc7
                        : in->map == 2 && op == 0x2a;
}

INLINE void put_addr_insn_at(struct ir_block *b, struct ir_op *o, const struct dec_insn *in, unsigned size,
                             unsigned acc, int64_t extra)
{
    uint32_t attr = in->row->attr;

    put_at(o, IR_ADDR, in);
    o->kind = AK_INSN;
    o->size = (uint8_t)size;
    o->acc = (uint8_t)acc;
    o->seg = in->seg;
    o->imm = extra;
    if (attr & IA_ALIGN) {
        o->aligned = insn_always_aligned(in) ? ALIGN_HOST : ALIGN_MXCSR;
    }
    /* Masked elements are not accessed and not checked. */
    o->no_ac = in->map == 2 && in->vex && in->row->cls == CL_NATIVE &&
               ((in->opcode & 0xfc) == 0x2c || in->opcode == 0x8c || in->opcode == 0x8e);
    /* CVTPI2PS and CVTPI2PD do not touch MMX state when the source is in memory. */
    o->x87_wait = (attr & IA_FWAITING) || ((attr & IA_MMX) && in->opcode != 0x2a);
    if (b->hostmap) {
        opt_hostmap_operand(b, o);
    }
}

static void put_addr_insn(struct ir_block *b, const struct dec_insn *in, unsigned size, unsigned acc, int64_t extra)
{
    put_addr_insn_at(b, put(b, IR_ADDR, in), in, size, acc, extra);
}

/* Off a register alone, in the width of an address of the stack or of a string. */
static void put_addr_reg(struct ir_block *b, const struct dec_insn *in, unsigned reg, int64_t off, unsigned size,
                         unsigned acc, unsigned width, unsigned seg)
{
    struct ir_op *o = put(b, IR_ADDR, in);
    o->kind = AK_REG;
    o->src = (uint8_t)reg;
    o->imm = off;
    o->width = (uint8_t)width;
    o->seg = (uint8_t)seg;
    o->size = (uint8_t)size;
    o->acc = (uint8_t)acc;
    if (b->hostmap) {
        opt_hostmap_operand(b, o);
    }
}

static void put_addr_stack(struct ir_block *b, const struct dec_insn *in, unsigned reg, int64_t off, unsigned size,
                           unsigned acc)
{
    put_addr_reg(b, in, reg, off, size, acc, stack_width(b, in), S_SS);
}

static void put_ld(struct ir_block *b, const struct dec_insn *in, unsigned dst, unsigned size)
{
    struct ir_op *o = put_def(b, IR_LD, in, dst);
    o->size = (uint8_t)size;
}

static void put_st(struct ir_block *b, const struct dec_insn *in, unsigned src, unsigned size)
{
    struct ir_op *o = put(b, IR_ST, in);
    o->src = (uint8_t)src;
    o->size = (uint8_t)size;
}

static void put_sti(struct ir_block *b, const struct dec_insn *in, int64_t imm, unsigned size)
{
    struct ir_op *o = put(b, IR_STI, in);
    o->imm = imm;
    o->size = (uint8_t)size;
}

static void put_mov(struct ir_block *b, const struct dec_insn *in, unsigned dst, unsigned src, unsigned size)
{
    struct ir_op *o = put_def(b, IR_MOV, in, dst);
    o->src = (uint8_t)src;
    o->size = (uint8_t)size;
}

static void put_addi(struct ir_block *b, const struct dec_insn *in, unsigned dst, unsigned src, int64_t imm,
                     unsigned size)
{
    struct ir_op *o = put_def(b, IR_ADDI, in, dst);
    o->src = (uint8_t)src;
    o->imm = imm;
    o->size = (uint8_t)size;
}

void lift_raise(struct ir_block *b, unsigned vector, bool error0)
{
    struct ir_op *o = put(b, IR_RAISE, NULL);
    o->imm = (int64_t)(vector | (error0 ? 0x100u : 0));
}

/* A new direct exit to ip. */
static uint8_t new_exit(struct ir_block *b, uint64_t ip)
{
    unsigned slot = b->n_exits < TB_EXITS ? b->n_exits++ : TB_EXITS - 1;

    b->exit_ip[slot] = ip;
    return (uint8_t)slot;
}

static void put_goto(struct ir_block *b, const struct dec_insn *in, uint64_t ip)
{
    struct ir_op *o = put(b, IR_GOTO, in);
    o->slot = new_exit(b, ip);
    o->imm = (int64_t)ip;
}

void lift_fallthrough(struct ir_block *b, uint64_t ip)
{
    put_goto(b, b->n_insns ? &b->insns[b->n_insns - 1] : NULL, ip);
}

static uint64_t trunc_ip(const struct dec_insn *in, uint64_t ip)
{
    if (in->mode == 2 && in->opsize != 2) {
        return ip;
    }
    return in->opsize == 2 ? (uint16_t)ip : (uint32_t)ip;
}

static uint64_t rel_target(const struct dec_insn *in)
{
    return trunc_ip(in, in->ip + in->len + (uint64_t)in->imm);
}

/* A branch out of the code segment's limit faults at the branch (SDM vol. 2, JMP). */
static bool target_ok(const struct guest_cpu *c, struct ir_block *b, const struct dec_insn *in, uint64_t ip)
{
    if (in->mode != 2 ? ip > b->key.cs_limit : !is_canonical(c, ip)) {
        lift_raise(b, EXC_GP, true);
        return false;
    }
    return true;
}

static bool has_feature(const struct guest_cpu *c, unsigned feat)
{
    switch (feat) {
#define FEAT(name, word, bit) case F_##name: return c->model.word >> (bit) & 1;
#include "translator/features.inc"
#undef FEAT
    default:
        return true;
    }
}

/* Exceptions that are known from the mode alone.  Returns the vector, or -1. */
static int mode_fault(const struct guest_cpu *c, const struct ir_block *b, const struct dec_insn *in)
{
    uint32_t attr = in->row->attr, hf = b->key.hflags;

    if (!in->row->feat && !(attr & (IA_AVX | IA_SSE | IA_MMX | IA_X87 | IA_CPL0))) {
        return -1;
    }
    if (in->row->feat && !has_feature(c, in->row->feat)) {
        return EXC_UD;
    }
    if (attr & IA_AVX) {
        return !(hf & HF_AVX) ? EXC_UD : hf & HF_NM_SSE ? EXC_NM : -1;
    }
    if (attr & IA_SSE) {
        return hf & HF_UD_SSE ? EXC_UD : hf & HF_NM_SSE ? EXC_NM : -1;
    }
    if (attr & IA_MMX) {
        return hf & HF_UD_MMX ? EXC_UD : hf & HF_NM_FPU ? EXC_NM : -1;
    }
    if (attr & IA_X87) {
        return hf & HF_NM_FPU ? EXC_NM : -1;
    }
    if (attr & IA_CPL0 && (hf & HF_CPL_MASK)) {
        return EXC_GP;
    }
    return -1;
}

/* Which flags does a shift or rotation write?  None when its count is 0. */
static void lift_count(struct ir_op *o, const struct dec_insn *in)
{
    bool by_imm = in->imm_size == 1;
    bool by_one = !by_imm && (in->opcode == 0xd0 || in->opcode == 0xd1);
    unsigned bits = dec_op_size(in, 0) == 8 ? 63 : 31;

    if (by_imm && !(in->imm & bits)) {
        o->fl_write = 0;
    } else if (!by_imm && !by_one) {
        o->fl_maybe = 1;             /* count 0 leaves all flags alone */
    } else if (by_imm && bits == 31 && dec_op_size(in, 0) < 4) {
        o->fl_maybe = 1;             /* RCL/RCR by a multiple of size + 1, shifts beyond the size */
    }
}

/* Returns the end of its ops at o. */
INLINE struct ir_op *lift_native_at(struct ir_block *b, struct ir_op *o, const struct dec_insn *in,
                                    const struct row_facts *f)
{
    if (in->has_mem && in->mem_acc) {
        put_addr_insn_at(b, o++, in, in->mem_size, in->mem_acc, 0);
    }
    put_native_at(o, in, f);
    if (in->row->attr & IA_FLDEP) {
        lift_count(o, in);
    }
    return o + 1;
}

static void lift_native(struct ir_block *b, const struct dec_insn *in)
{
    b->n_ops = (unsigned)(lift_native_at(b, &b->ops[b->n_ops], in, facts_of(in)) - b->ops);
}

/* dst := the immediate, loaded from guest memory, if it is one that the guest rewrites (tb-store/rewrite.c).  False: it
 * is to be used as it is. */
static bool lift_live_imm(struct guest_cpu *c, struct ir_block *b, const struct dec_insn *in, unsigned dst,
                          unsigned size)
{
    unsigned off = b->guest_size + in->len - in->imm_size;
    uint64_t at = b->key.phys_pc + off;

    if (!b->page_host || b->n_holes == TB_HOLES || (at ^ b->key.phys_pc) >> 12 || (at & 0xfff) + in->imm_size > 4096 ||
        off == 0 || !tb_is_rewritten(c->vm->store, at, in->imm_size)) {
        return false;
    }
    struct ir_op *o = put_def(b, IR_LDC, in, dst);
    o->size = (uint8_t)size;
    o->width = in->imm_size;
    o->imm = (int64_t)(uintptr_t)(b->page_host + (at & 0xfff));
    b->hole[b->n_holes++] = (struct tb_hole){ (uint16_t)off, in->imm_size };
    c->stat[ST_LIVE_IMMEDIATES]++;
    return true;
}

/* MOV of such an immediate to a register or to memory. */
static bool lift_live_mov(struct guest_cpu *c, struct ir_block *b, const struct dec_insn *in)
{
    unsigned size = dec_op_size(in, 0);

    if (in->row->op[1].loc != OL_IMM) {
        return false;
    }
    if (!in->has_mem) {
        return !(size == 1 && dec_is_high8(in, in->rm)) && lift_live_imm(c, b, in, in->rm, size);
    }
    if (!lift_live_imm(c, b, in, IR_T0, size)) {
        return false;
    }
    put_addr_insn(b, in, size, OA_W, 0);
    put_st(b, in, IR_T0, size);
    return true;
}

static void lift_push(struct guest_cpu *c, struct ir_block *b, const struct dec_insn *in)
{
    unsigned size = in->opsize, loc = in->row->op[0].loc;

    if (loc == OL_RM && in->has_mem) {
        put_addr_insn(b, in, size, OA_R, 0);
        put_ld(b, in, IR_T0, size);
    }
    bool live = loc == OL_IMM && lift_live_imm(c, b, in, IR_T0, size);
    put_addr_stack(b, in, R_RSP, -(int64_t)size, size, OA_W);
    if (live) {
        put_st(b, in, IR_T0, size);
    } else if (loc == OL_IMM) {
        put_sti(b, in, in->imm, size);
    } else {
        put_st(b, in, in->has_mem ? IR_T0 : in->rm, size);
    }
    put_addi(b, in, R_RSP, R_RSP, -(int64_t)size, stack_width(b, in));
}

static void lift_pop(struct ir_block *b, const struct dec_insn *in)
{
    unsigned size = in->opsize, width = stack_width(b, in);

    put_addr_stack(b, in, R_RSP, 0, size, OA_R);
    if (in->has_mem) {
        put_ld(b, in, IR_T0, size);
        /* The address is computed with the incremented rSP (SDM vol. 2, POP). */
        put_addr_insn(b, in, size, OA_W, in->base == R_RSP ? (int64_t)size : 0);
        put_st(b, in, IR_T0, size);
        put_addi(b, in, R_RSP, R_RSP, size, width);
    } else if (in->rm == R_RSP) {
        put_ld(b, in, IR_T0, size);
        put_addi(b, in, R_RSP, R_RSP, size, width);
        put_mov(b, in, R_RSP, IR_T0, size);
    } else {
        put_ld(b, in, in->rm, size);
        put_addi(b, in, R_RSP, R_RSP, size, width);
    }
}

static void lift_leave(struct ir_block *b, const struct dec_insn *in)
{
    put_addr_stack(b, in, R_RBP, 0, in->opsize, OA_R);
    put_ld(b, in, IR_T0, in->opsize);
    put_addi(b, in, R_RSP, R_RBP, in->opsize, stack_width(b, in));
    put_mov(b, in, R_RBP, IR_T0, in->opsize);
}

static void lift_push_return(struct ir_block *b, const struct dec_insn *in)
{
    uint64_t next = trunc_ip(in, in->ip + in->len);

    put_addr_stack(b, in, R_RSP, -(int64_t)in->opsize, in->opsize, OA_W);
    put_sti(b, in, in->opsize == 4 ? (int64_t)(int32_t)next : (int64_t)next, in->opsize);
    put_addi(b, in, R_RSP, R_RSP, -(int64_t)in->opsize, stack_width(b, in));
}

/* Where the target of an indirect branch will be. */
static uint8_t lift_ind_target(struct ir_block *b, const struct dec_insn *in)
{
    if (in->has_mem) {
        put_addr_insn(b, in, in->opsize, OA_R, 0);
        put_ld(b, in, IR_T0, in->opsize);
    } else if (in->opsize == 8 && in->rm != R_RSP) {
        return in->rm;
    } else {
        put_mov(b, in, IR_T0, in->rm, in->opsize);
    }
    return IR_T0;
}

static void lift_loop(struct ir_block *b, const struct dec_insn *in)
{
    uint64_t target = rel_target(in);
    bool is_jcxz = in->opcode == 0xe3;
    struct ir_op *o = is_jcxz ? put(b, IR_JCXZ, in) : put(b, IR_LOOPDEC, in);

    o->size = in->adsize;
    o->slot = new_exit(b, target);
    if (!is_jcxz) {
        o->gprs = 1u << R_RCX;
        o->imm = in->opcode == 0xe2 ? 2 : in->opcode == 0xe1 ? 1 : 0;
        o->fl_read = in->opcode == 0xe2 ? 0 : FL_ZF;
    }
    put_goto(b, in, dec_next_ip(in));
}

/* Compilers put the likely path behind a conditional jump forward: the block goes on there.  A jump backward is most
 * likely taken and ends it. */
static bool lift_jcc(struct ir_block *b, const struct dec_insn *in)
{
    uint64_t target = rel_target(in);
    struct ir_op *o = put(b, IR_JCC, in);

    o->cc = in->opcode & 15;
    o->slot = new_exit(b, target);
    o->fl_read = in->row->fl_read;
    if (b->extend && target > in->ip && b->n_exits <= TB_EXITS - 2) {
        return false;
    }
    put_goto(b, in, dec_next_ip(in));
    return true;
}

static void lift_helper(struct ir_block *b, const struct dec_insn *in)
{
    put_helper(b, in->row->attr & IA_ENDS, in);
}

/* CLD and STD matter only when they change DF, which blocks are specialised on. */
static bool lift_direction(struct ir_block *b, const struct dec_insn *in)
{
    bool set = in->opcode == 0xfd;

    if (set == !!(b->key.hflags & HF_DF)) {
        return false;
    }
    put_helper(b, true, in);
    return true;
}

static bool lift_pause(struct ir_block *b, const struct dec_insn *in)
{
    put_helper(b, true, in);
    return true;
}

/* STI whose successor is in the same block (help_sti_open); lift_end() takes it back when there is none. */
static const struct insn_row sti_open_row = {
    .name = "sti", .opcode = 0xfb, .ext = -1, .modrm = -1, .cls = CL_HELPER, .attr = IA_IOPL, .helper = help_sti_open,
};

static void lift_sti(struct ir_block *b, const struct dec_insn *in)
{
    b->sti_row = in->row;
    b->insns[in - b->insns].row = &sti_open_row;
    put_helper(b, false, in);
}

void lift_end(struct ir_block *b, uint64_t ip)
{
    struct ir_op *last = b->n_ops ? &b->ops[b->n_ops - 1] : NULL;

    if (last && last->op == IR_HELPER && last->in->row == &sti_open_row) {
        b->insns[last->in - b->insns].row = b->sti_row;
        last->op = IR_HELPER_X;
        return;
    }
    lift_fallthrough(b, ip);
}

static void put_addr_string(struct ir_block *b, const struct dec_insn *in, unsigned reg, unsigned seg, unsigned size,
                            unsigned acc)
{
    put_addr_reg(b, in, reg, 0, size, acc, in->adsize, seg);
}

/* One MOVS, STOS or LODS without a prefix, going up.  The rest, and all that repeats, is the helper's. */
static bool lift_string(struct ir_block *b, const struct dec_insn *in)
{
    unsigned size = in->opcode & 1 ? in->opsize : 1;

    if (in->rep || (b->key.hflags & HF_DF)) {
        return false;
    }
    switch (in->opcode) {
    case 0xa4: case 0xa5:
        put_addr_string(b, in, R_RSI, in->seg, size, OA_R);
        put_ld(b, in, IR_T0, size);
        put_addr_string(b, in, R_RDI, S_ES, size, OA_W);
        put_st(b, in, IR_T0, size);
        put_addi(b, in, R_RSI, R_RSI, size, in->adsize);
        put_addi(b, in, R_RDI, R_RDI, size, in->adsize);
        return true;
    case 0xaa: case 0xab:
        put_addr_string(b, in, R_RDI, S_ES, size, OA_W);
        put_st(b, in, R_RAX, size);
        put_addi(b, in, R_RDI, R_RDI, size, in->adsize);
        return true;
    case 0xac: case 0xad:
        put_addr_string(b, in, R_RSI, in->seg, size, OA_R);
        put_ld(b, in, R_RAX, size);
        put_addi(b, in, R_RSI, R_RSI, size, in->adsize);
        return true;
    default:
        return false;
    }
}

/* Can this near call or return be paired?  Where the continuation's checks cover everything that its code depends on. */
static bool can_pair(const struct ir_block *b, const struct dec_insn *in)
{
    if (!b->pair || (b->key.hflags & HF_CSLIM)) {
        return false;
    }
    return in->mode == 2 ? in->opsize == 8
                         : in->mode == 1 && in->opsize == 4 && (b->key.hflags & HF_SS32) && !b->key.cs_base;
}

/* The last op is the exit of a call.  Its return address is not out of reach: RET would fault there. */
static void pair_call(struct ir_block *b, const struct dec_insn *in)
{
    uint64_t next = trunc_ip(in, in->ip + in->len);

    if (can_pair(b, in) && (uint64_t)((int64_t)(next << 16) >> 16) == next) {
        b->ops[b->n_ops - 1].pair = new_exit(b, next) + 1;
    }
}

/* May the block go on at `ip`, where its last instruction jumps to?  In the block's page, and not where it has been. */
static bool can_follow(const struct ir_block *b, const struct dec_insn *in, uint64_t ip)
{
    int64_t off = (int64_t)(ip - b->ip);

    if (!b->follow || off < -(int64_t)(b->lip & 0xfff) || off > 4095 - (int64_t)(b->lip & 0xfff) ||
        (ip < in->ip && b->n_holes)) {
        return false;
    }
    return ip != in->ip && (off >= (int64_t)b->guest_size || off < -(int64_t)b->guest_before || !ir_has_insn(b, ip));
}

static bool lift_branch(const struct guest_cpu *c, struct ir_block *b, const struct dec_insn *in)
{
    uint8_t to;

    switch (in->row->cls) {
    case CL_CALL_REL:
        if (target_ok(c, b, in, rel_target(in))) {
            lift_push_return(b, in);
            put_goto(b, in, rel_target(in));
            pair_call(b, in);
        }
        return true;
    case CL_JMP_REL:
        if (target_ok(c, b, in, rel_target(in))) {
            if (can_follow(b, in, rel_target(in))) {
                b->followed = true;
                b->ip_next = rel_target(in);
                return false;
            }
            put_goto(b, in, rel_target(in));
        }
        return true;
    case CL_CALL_IND:
        to = lift_ind_target(b, in);
        lift_push_return(b, in);
        put(b, IR_GOTO_IND, in)->src = to;
        pair_call(b, in);
        return true;
    case CL_JMP_IND:
        to = lift_ind_target(b, in);
        put(b, IR_GOTO_IND, in)->src = to;
        return true;
    case CL_RET:
        put_addr_stack(b, in, R_RSP, 0, in->opsize, OA_R);
        put_ld(b, in, IR_T0, in->opsize);
        put_addi(b, in, R_RSP, R_RSP, in->opsize + (in->imm & 0xffff), stack_width(b, in));
        put(b, IR_GOTO_IND, in)->src = IR_T0;
        b->ops[b->n_ops - 1].pair = can_pair(b, in);
        return true;
    case CL_JCC:
        return lift_jcc(b, in);
    default:
        lift_loop(b, in);
        return true;
    }
}

/* TZCNT and LZCNT are BSF and BSR with an ignored prefix on processors without them. */
static void without_bit_count(const struct guest_cpu *c, struct ir_block *b, const struct dec_insn *in)
{
    const struct insn_row *row = in->row;

    if (row->map != 1 || row->pfx != PX_F3 || (row->opcode != 0xbc && row->opcode != 0xbd) ||
        has_feature(c, row->feat)) {
        return;
    }
    for (unsigned i = 0; i < insn_row_count; i++) {
        const struct insn_row *r = &insn_rows[i];
        if (r->map == 1 && r->opcode == row->opcode && r->pfx != PX_F3 && !(r->attr & IA_VEX)) {
            b->insns[in - b->insns].row = r;
            return;
        }
    }
}

static bool __attribute__((noinline)) lift_any(struct guest_cpu *c, struct ir_block *b, const struct dec_insn *in)
{
    if (in->row->feat) {
        without_bit_count(c, b, in);
    }
    put(b, IR_INSN, in);
    int fault = mode_fault(c, b, in);
    if (fault >= 0) {
        lift_raise(b, (unsigned)fault, fault == EXC_GP);
        return true;
    }
    if (b->key.hflags & HF_NESTED) {
        b->insns[in - b->insns].row = svm_guard_row(in->row);
    }
    switch (in->row->cls) {
    case CL_MOV:
        if (lift_live_mov(c, b, in)) {
            return false;
        }
        lift_native(b, in);
        return false;
    case CL_NATIVE:
        lift_native(b, in);
        return false;
    case CL_LEA: {
        struct ir_op *o = put_def(b, IR_LEA, in, in->reg);
        o->size = in->opsize;
        return false;
    }
    case CL_NOP:
        return in->row->helper && c->vm->opt.pause_yields && lift_pause(b, in);
    case CL_PROBE:
        put_addr_insn(b, in, 1, OA_R, 0);
        put(b, IR_PROBE, in);
        return false;
    case CL_PUSH:
        lift_push(c, b, in);
        return false;
    case CL_POP:
        lift_pop(b, in);
        return false;
    case CL_LEAVE:
        lift_leave(b, in);
        return false;
    case CL_BT_MEM:
        if (!in->has_mem) {
            lift_native(b, in);
            return false;
        }
        put(b, IR_BTOFS, in)->src = in->reg;
        put_addr_insn(b, in, in->opsize, in->mem_acc, 0);
        b->ops[b->n_ops - 1].kind = AK_BT;
        put_native(b, in);
        return false;
    case CL_FWAIT:
        if (b->key.hflags & HF_MP_TS) {
            lift_raise(b, EXC_NM, false);
            return true;
        }
        put_native(b, in);
        return false;
    case CL_STRING:
        if (c->vm->opt.no_strings || !lift_string(b, in)) {
            lift_helper(b, in);
        }
        return false;
    case CL_HELPER:
        if (in->map == 0 && (in->opcode == 0xfc || in->opcode == 0xfd)) {
            return lift_direction(b, in);
        }
        if (in->map == 0 && in->opcode == 0xfb && !c->vm->opt.no_sti &&
            !(b->key.hflags & HF_NESTED)) { /* #VMEXIT shows the shadow */
            lift_sti(b, in);
            return false;
        }
        lift_helper(b, in);
        return (in->row->attr & IA_ENDS) != 0;
    case CL_CALL_REL: case CL_CALL_IND: case CL_RET: case CL_JMP_REL: case CL_JMP_IND: case CL_JCC: case CL_LOOP:
        return lift_branch(c, b, in);
    default:
        lift_raise(b, EXC_UD, false);
        return true;
    }
}

bool lift_insn(struct guest_cpu *c, struct ir_block *b, const struct dec_insn *in)
{
    /* Most instructions: no mode forbids them, and they are what they are. */
    const struct row_facts *f = facts_of(in);

    if (f->simple && !(b->key.hflags & HF_NESTED)) {
        struct ir_op *o = &b->ops[b->n_ops];
        put_at(o, IR_INSN, in);
        b->n_ops = (unsigned)(lift_native_at(b, o + 1, in, f) - b->ops);
        return false;
    }
    return lift_any(c, b, in);
}
