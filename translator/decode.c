/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * decode.c - guest bytes -> struct dec_insn (contract in decode.h, rows in x86_insns.inc).
 *
 * SDM vol. 2 chapter 2: prefixes, REX/VEX, opcode, ModRM/SIB, displacement, immediate.  The row is
 * searched once ModRM is known; everything after that follows from the row.  The search tables are built
 * before main(). dec_decode() is pure, calls no library function and touches no vector register.  Whether
 * the CPU model has the row's feature, privilege and segment checks are the lifter's business.
 */
#include "translator/decode.h"
#include "translator/guest_cpu.h"
#include "translator/mem.h"

/* ---- search tables ---- */

/* Properties of an instruction as one-hot pairs; a row allows some of them. */
enum {
    CX_PFX = 0,              /* 4 bits, shifted by PX_NONE..PX_F2 */
    CX_64 = 1 << 4, CX_NOT64 = 1 << 5,
    CX_W0 = 1 << 6, CX_W1 = 1 << 7,
    CX_L0 = 1 << 8, CX_L1 = 1 << 9,
    CX_MEM = 1 << 10, CX_REG = 1 << 11,
    CX_B0 = 1 << 12, CX_B1 = 1 << 13,  /* REX.B: tells NOP from XCHG r8, rAX */
    CX_PROT = 1 << 14, CX_REAL = 1 << 15,
};

/* Immediate bytes after the operand. */
enum { IK_NONE, IK_SB, IK_UB, IK_SREL8, IK_UW, IK_Z, IK_V, IK_FAR, IK_IS4, IK_MOFFS };

/* Row properties wanted while decoding. */
enum {
    AX_VSIB = 1 << 0, AX_OPREG = 1 << 1, AX_SREG = 1 << 2, AX_CREG = 1 << 3, AX_DREG = 1 << 4,
    AX_VVVV = 1 << 5,
    AX_NATURAL = 1 << 6,     /* operand size 4, or 8 in 64-bit mode, whatever the prefixes */
    AX_Y = 1 << 7,           /* has an OS_Y operand: W means nothing outside 64-bit mode */
};

struct row_aux {
    uint8_t imm, imm2, flags;
    uint8_t mem_size, mem_acc;   /* enum op_size and access of the operand that may be memory */
    uint8_t reg_mask, rm_mask;   /* 7 where REX.R / REX.B mean nothing: MMX, x87, opcode extensions */
    uint8_t mod_ignored;         /* MOV CR/DR: always the register form */
    uint8_t opsize64[4];         /* operand size in 64-bit mode, by W | (66 prefix) << 1 */
    uint8_t usual;               /* decode_usual() knows its operands */
    const struct insn_row *row;
} __attribute__((aligned(32)));
struct match {
    uint16_t allow, row;
    uint8_t exact;               /* whole ModRM byte, 0 = any */
};
struct bucket {
    uint16_t first;              /* in matches[], or of the group's 16 buckets in groups[] */
    uint8_t count;
    uint8_t kind;
    uint16_t row;                /* with BK_SURE, BK_SURE64 */
} __attribute__((aligned(8)));
/* SURE: the first row allows everything, SURE64: in 64-bit mode. */
enum { BK_MODRM = 1, BK_GROUP = 2, BK_SURE64 = 8, BK_SURE = 16 };

#define MAX_ROWS 2048
#define MAX_MATCHES 4096
#define MAX_GROUPS 64
static struct row_aux aux[MAX_ROWS];
static struct match matches[MAX_MATCHES];
static struct bucket opcodes[8][256];         /* legacy maps 0..3, VEX maps 1..3 as 5..7 */
static struct bucket groups[MAX_GROUPS][16];  /* by (mod == 3) << 3 | reg */
static unsigned match_count, group_count;

static uint8_t imm_kind(const struct insn_row *r, const struct insn_op *op)
{
    bool sx = r->map == 0 && (r->opcode == 0x6a || r->opcode == 0x6b || r->opcode == 0x83);

    switch (op->loc) {
    case OL_IMM:
        if (op->size == OS_B) {
            return sx ? IK_SB : IK_UB;
        }
        return op->size == OS_W ? IK_UW : op->size == OS_Z ? IK_Z : IK_V;
    case OL_REL:
        return op->size == OS_B ? IK_SREL8 : IK_Z;
    case OL_FARPTR:
        return IK_FAR;
    case OL_XIS4:
        return IK_IS4;
    case OL_MOFFS:
        return IK_MOFFS;
    default:
        return IK_NONE;
    }
}

static void aux_add_operand(const struct insn_row *r, struct row_aux *a, const struct insn_op *op)
{
    uint8_t kind = imm_kind(r, op);

    if (kind) {
        *(a->imm ? &a->imm2 : &a->imm) = kind;
    }
    switch (op->loc) {
    case OL_VSIB:
        a->flags |= AX_VSIB; /* fall through */
    case OL_RM: case OL_XRM: case OL_MRM: case OL_MEM: case OL_MOFFS:
        a->mem_size = op->size;
        a->mem_acc = op->acc & OA_RW;
        break;
    case OL_OPREG:
        a->flags |= AX_OPREG;
        break;
    case OL_VVVV: case OL_XVVVV:
        a->flags |= AX_VVVV;
        break;
    case OL_SREG:
        a->flags |= AX_SREG;
        break;
    case OL_CREG: case OL_DREG:
        a->flags |= op->loc == OL_CREG ? AX_CREG : AX_DREG;
        a->mod_ignored = 1;
        break;
    }
    if (op->loc == OL_MREG || op->loc == OL_SREG) {
        a->reg_mask = 7;
    }
    if (op->loc == OL_MRM || op->loc == OL_STREG) {
        a->rm_mask = 7;
    }
    if (op->size == OS_Y) {
        a->flags |= AX_Y;
    }
}

/* Sizes that depend on the operand size only. */
static const uint8_t fixed_size[] = {
    [OS_B] = 1, [OS_W] = 2, [OS_D] = 4, [OS_Q] = 8, [OS_DQ] = 16, [OS_QQ] = 32, [OS_T] = 10, [OS_XS] = 0,
};

static bool is_usual(const struct row_aux *a)
{
    bool imm = a->imm == IK_NONE || a->imm == IK_SB || a->imm == IK_UB || a->imm == IK_SREL8 || a->imm == IK_Z ||
               a->imm == IK_V;

    return imm && !a->imm2 && !a->mod_ignored && !(a->flags & (AX_VSIB | AX_SREG | AX_CREG | AX_DREG)) &&
           (a->mem_size == OS_NONE || a->mem_size == OS_V || fixed_size[a->mem_size]);
}

static void build_aux(unsigned i)
{
    const struct insn_row *r = &insn_rows[i];
    struct row_aux *a = &aux[i];

    a->reg_mask = r->ext >= 0 || r->modrm > 0 ? 7 : 15;
    a->rm_mask = 15;
    for (int n = 0; n < 4; n++) {
        aux_add_operand(r, a, &r->op[n]);
    }
    if ((r->attr & IA_F64) && r->cls == CL_HELPER) {
        a->flags |= AX_NATURAL;
    }
    a->usual = is_usual(a);
    a->row = r;
    for (unsigned n = 0; n < 4; n++) {
        a->opsize64[n] = (a->flags & AX_NATURAL) || (n & 1) || (r->attr & IA_F64) ? 8 : n & 2 ? 2
                         : r->attr & IA_D64 ? 8 : 4;
    }
}

static uint16_t row_allow(const struct insn_row *r)
{
    unsigned m = r->pfx == PX_ANY ? 15u : 1u << r->pfx;

    m |= r->attr & IA_NO64 ? CX_NOT64 : r->attr & IA_ONLY64 ? CX_64 : CX_64 | CX_NOT64;
    m |= r->attr & IA_W0 ? CX_W0 : r->attr & IA_W1 ? CX_W1 : CX_W0 | CX_W1;
    m |= r->attr & IA_VEX_L0 ? CX_L0 : r->attr & IA_VEX_L1 ? CX_L1 : CX_L0 | CX_L1;
    m |= r->modrm == -2 ? CX_MEM : r->modrm == -3 ? CX_REG : CX_MEM | CX_REG;
    m |= r->attr & IA_PE ? CX_PROT : CX_PROT | CX_REAL;
    if (r->map == 0 && r->opcode == 0x90) {
        m |= r->op[0].loc == OL_OPREG ? CX_B1 : CX_B0;
    } else {
        m |= CX_B0 | CX_B1;
    }
    return (uint16_t)m;
}

static unsigned row_space(const struct insn_row *r)
{
    return r->map + (r->attr & IA_VEX ? 4 : 0);
}

/* May this row be reached with `slot` = (mod == 3) << 3 | reg? */
static bool row_in_slot(const struct insn_row *r, unsigned slot)
{
    if (r->modrm > 0) {
        return slot == (8u | ((unsigned)r->modrm >> 3 & 7));
    }
    return (r->ext < 0 || (unsigned)r->ext == (slot & 7)) && !(r->modrm == -2 && slot >= 8) &&
           !(r->modrm == -3 && slot < 8);
}

/* For each opcode 1 + its first row; behind each row 1 + the next of its opcode; 0: none. */
static uint16_t row_of[8][256], next_row[MAX_ROWS];

/* The rows of one opcode (and slot, if not 16), in table order. */
static void fill_bucket(struct bucket *b, unsigned space, unsigned opcode, unsigned slot)
{
    b->first = (uint16_t)match_count;
    for (unsigned i = row_of[space][opcode]; i; i = next_row[i - 1]) {
        const struct insn_row *r = &insn_rows[i - 1];

        if (slot < 16 && !row_in_slot(r, slot)) {
            continue;
        }
        if (match_count >= MAX_MATCHES) {
            __builtin_trap();
        }
        matches[match_count++] = (struct match){
            row_allow(r), (uint16_t)(i - 1), r->modrm > 0 ? (uint8_t)r->modrm : 0
        };
        b->count++;
    }
    if (b->count && !matches[b->first].exact) {
        unsigned lacks = ~(unsigned)matches[b->first].allow & 0xffff;

        b->row = matches[b->first].row;
        b->kind |= !lacks ? BK_SURE | BK_SURE64 : lacks == CX_NOT64 ? BK_SURE64 : 0;
    }
}

static void build_opcode(unsigned space, unsigned opcode, bool modrm, bool grouped)
{
    struct bucket *b = &opcodes[space][opcode];

    b->kind = (modrm ? BK_MODRM : 0) | (grouped ? BK_GROUP : 0);
    if (!grouped) {
        fill_bucket(b, space, opcode, 16);
        return;
    }
    if (group_count >= MAX_GROUPS) {
        __builtin_trap();
    }
    b->first = (uint16_t)group_count;
    for (unsigned slot = 0; slot < 16; slot++) {
        fill_bucket(&groups[group_count][slot], space, opcode, slot);
    }
    group_count++;
}

__attribute__((constructor)) static void build_tables(void)
{
    static uint8_t kinds[8][256];

    if (insn_row_count > MAX_ROWS) {
        __builtin_trap();
    }
    for (unsigned i = insn_row_count; i-- > 0;) {
        const struct insn_row *r = &insn_rows[i];

        build_aux(i);
        next_row[i] = row_of[row_space(r)][r->opcode];
        row_of[row_space(r)][r->opcode] = (uint16_t)(i + 1);
        kinds[row_space(r)][r->opcode] |=
            4 | (r->attr & IA_MODRM ? BK_MODRM : 0) | (r->ext >= 0 || r->modrm > 0 ? BK_GROUP : 0);
    }
    for (unsigned space = 0; space < 8; space++) {
        for (unsigned op = 0; op < 256; op++) {
            unsigned k = kinds[space][op];

            if (k) {
                build_opcode(space, op, k & BK_MODRM, k & BK_GROUP);
            }
        }
    }
}

/* ---- the byte cursor ---- */

struct cursor {
    const uint8_t *p, *end;
};

#define LOAD(type) ({ type v_; __builtin_memcpy(&v_, k->p, sizeof(v_)); k->p += sizeof(v_); v_; })
#define HAVE(n) ((size_t)(k->end - k->p) >= (n))
#define INLINE static inline __attribute__((always_inline))

/* A sign-extended value of n = 1, 2, 4 or 8 bytes; false: bytes missing. */
INLINE bool fetch_signed(struct cursor *k, unsigned n, int64_t *val)
{
    if (!HAVE(n)) {
        return false;
    }
    *val = n == 1 ? LOAD(int8_t) : n == 2 ? LOAD(int16_t) : n == 4 ? LOAD(int32_t) : LOAD(int64_t);
    return true;
}

INLINE bool fetch_unsigned(struct cursor *k, unsigned n, int64_t *val)
{
    if (!HAVE(n)) {
        return false;
    }
    *val = n == 1 ? LOAD(uint8_t) : n == 2 ? LOAD(uint16_t) :
           n == 4 ? (int64_t)LOAD(uint32_t) : LOAD(int64_t);
    return true;
}

/* ---- prefixes ---- */

enum { PB_NONE, PB_66, PB_67, PB_LOCK, PB_REP, PB_SEG32, PB_SEG, PB_REX /* in 64-bit mode */ };
static const uint8_t prefix_kind[256] = {
    [0x40 ... 0x4f] = PB_REX, [0x26] = PB_SEG32, [0x2e] = PB_SEG32, [0x36] = PB_SEG32, [0x3e] = PB_SEG32,
    [0x64] = PB_SEG, [0x65] = PB_SEG,
    [0x66] = PB_66, [0x67] = PB_67, [0xf0] = PB_LOCK, [0xf2] = PB_REP, [0xf3] = PB_REP,
};

/* All fields by hand: a cleared structure would become a call of memset(). */
INLINE void init_insn(struct dec_insn *in, uint64_t ip, int mode)
{
    in->row = NULL;
    in->ip = ip;
    in->adsize = mode == 2 ? 8 : mode == 1 ? 4 : 2;
    in->mode = (uint8_t)mode;
    in->seg_override = in->lock = in->rep = in->vex = in->vex_l = in->vex_pp = 0;
    in->base = in->index = REG_NONE;
    in->seg = S_DS;
    in->scale = in->has_mem = in->mem_size = in->mem_acc = in->vvvv = 0;
    in->len = 0;
    in->opsize = 4;
    in->pfx66 = in->rex = in->vex_w = in->map = in->opcode = in->modrm = in->mod = in->reg = in->rm = 0;
    in->is4 = in->imm_size = 0;
    in->disp = in->imm = in->imm2 = 0;
}

INLINE void take_prefix(struct dec_insn *in, unsigned b)
{
    switch (prefix_kind[b]) {
    case PB_66:
        in->pfx66 = 1;
        break;
    case PB_67:
        in->adsize = in->mode == 1 ? 2 : 4;
        break;
    case PB_LOCK:
        in->lock = 1;
        break;
    case PB_REP:
        in->rep = (uint8_t)b;
        break;
    case PB_SEG32: /* ES CS SS DS: no effect in 64-bit mode */
        if (in->mode != 2) {
            in->seg = (b >> 3) & 3;
            in->seg_override = 1;
        }
        break;
    case PB_SEG:
        in->seg = b == 0x64 ? S_FS : S_GS;
        in->seg_override = 1;
        break;
    }
}

/* Prefixes in any order; REX counts only as the last of them.  Leaves the first other byte in *b. */
INLINE bool take_prefixes(struct cursor *k, struct dec_insn *in, unsigned *b)
{
    for (;;) {
        if (!HAVE(1)) {
            return false;
        }
        *b = *k->p++;
        unsigned kind = prefix_kind[*b];
        if (kind == PB_NONE || (kind == PB_REX && in->mode != 2)) {
            return true;
        }
        if (kind == PB_REX) {
            in->rex = (uint8_t)*b;
        } else {
            take_prefix(in, *b);
            in->rex = 0;
        }
    }
}

/* C5/C4 taken as VEX; *r, *x, *b are the register extension bits (8 or 0). */
INLINE enum dec_status take_vex(struct cursor *k, struct dec_insn *in, unsigned first, unsigned *r,
                                unsigned *x, unsigned *b)
{
    unsigned v1, v2;

    if (in->pfx66 || in->rep || in->lock || in->rex) {
        return DEC_UD;
    }
    in->vex = first == 0xc5 ? 2 : 3;
    if (!HAVE((size_t)in->vex)) { /* payload and opcode */
        return DEC_SHORT;
    }
    v1 = *k->p++;
    *r = v1 & 0x80 ? 0 : 8;
    if (first == 0xc5) {
        v2 = v1 & 0x7f;
        in->map = 1;
    } else {
        *x = v1 & 0x40 ? 0 : 8;
        *b = v1 & 0x20 ? 0 : 8;
        in->map = v1 & 0x1f;
        v2 = *k->p++;
        in->vex_w = (uint8_t)(v2 >> 7);
        if (in->map < 1 || in->map > 3) {
            return DEC_UD;
        }
    }
    in->vex_pp = v2 & 3;
    in->vex_l = v2 >> 2 & 1;
    in->vvvv = (~v2 >> 3) & 15;
    if (in->mode != 2) {
        *r = *x = *b = 0;
        in->vvvv &= 7;
    }
    in->opcode = *k->p++;
    return DEC_OK;
}

/* ---- ModRM and SIB ---- */

INLINE void default_segment(struct dec_insn *in)
{
    if (!in->seg_override && (in->base == R_RSP || in->base == R_RBP)) {
        in->seg = S_SS;
    }
}

static bool take_mem16(struct cursor *k, struct dec_insn *in)
{
    static const uint8_t bases[8] = { R_RBX, R_RBX, R_RBP, R_RBP, R_RSI, R_RDI, R_RBP, R_RBX };
    unsigned rm = in->modrm & 7;

    if (in->mod == 0 && rm == 6) {
        return fetch_signed(k, 2, &in->disp);
    }
    in->base = bases[rm];
    in->index = rm > 3 ? REG_NONE : rm & 1 ? R_RDI : R_RSI;
    default_segment(in);
    return in->mod == 0 || fetch_signed(k, in->mod, &in->disp);
}

INLINE bool take_mem(struct cursor *k, struct dec_insn *in, unsigned x, unsigned b, bool vsib)
{
    unsigned base = in->modrm & 7;
    bool sib = base == 4;

    if (sib) {
        unsigned s;

        if (!HAVE(1)) {
            return false;
        }
        s = *k->p++;
        in->scale = (uint8_t)(s >> 6);
        in->index = (uint8_t)((s >> 3 & 7) | x);
        if (in->index == 4 && !vsib) {
            in->index = REG_NONE;
            in->scale = 0;
        }
        base = s & 7;
    }
    if (in->mod == 0 && base == 5) {
        in->base = sib || in->mode != 2 ? REG_NONE : EA_RIP;
        return fetch_signed(k, 4, &in->disp);
    }
    in->base = (uint8_t)(base | b);
    default_segment(in);
    return in->mod == 0 || fetch_signed(k, in->mod == 1 ? 1 : 4, &in->disp);
}

/* ---- sizes ---- */

INLINE unsigned size_bytes(const struct dec_insn *in, unsigned size)
{
    if (size == OS_V) {
        return in->opsize;
    }
    if (fixed_size[size]) {
        return fixed_size[size];
    }
    switch (size) {
    case OS_Y: return in->vex_w && in->mode == 2 ? 8 : 4;
    case OS_Z: return in->opsize == 2 ? 2 : 4;
    case OS_X: return 16u << in->vex_l;
    case OS_XH: return 8u << in->vex_l;
    case OS_XQ: return 4u << in->vex_l;
    case OS_XE: return 2u << in->vex_l;
    case OS_P: return 2u + in->opsize;
    case OS_S: return in->mode == 2 ? 10 : 6;
    case OS_A: return 2u * in->opsize;
    case OS_Q2: return in->vex_w ? 16 : 8;
    case OS_ENV: return in->opsize == 2 ? 14 : 28;
    case OS_FSAVE: return in->opsize == 2 ? 94 : 108;
    case OS_FX: return 512;
    default: return 0;
    }
}

unsigned dec_op_size(const struct dec_insn *in, unsigned i)
{
    return size_bytes(in, in->row->op[i].size);
}

INLINE unsigned operand_size(const struct dec_insn *in, const struct row_aux *a)
{
    if (in->mode == 2) {
        return a->opsize64[in->vex_w | in->pfx66 << 1];
    }
    return (a->flags & AX_NATURAL) || (in->mode == 1) != in->pfx66 ? 4 : 2;
}

/* ---- after the row is known ---- */

INLINE bool take_imm(struct cursor *k, struct dec_insn *in, unsigned kind)
{
    switch (kind) {
    case IK_NONE:
        return true;
    case IK_SB: case IK_SREL8:
        in->imm_size = 1;
        return fetch_signed(k, 1, &in->imm);
    case IK_UB:
        in->imm_size = 1;
        return fetch_unsigned(k, 1, &in->imm);
    case IK_UW:
        in->imm_size = 2;
        return fetch_unsigned(k, 2, &in->imm);
    case IK_Z:
        in->imm_size = in->opsize == 2 ? 2 : 4;
        return fetch_signed(k, in->imm_size, &in->imm);
    case IK_V:
        in->imm_size = in->opsize;
        return fetch_signed(k, in->imm_size, &in->imm);
    case IK_FAR:
        in->imm_size = in->opsize == 2 ? 2 : 4;
        return fetch_unsigned(k, in->imm_size, &in->imm) && fetch_unsigned(k, 2, &in->imm2);
    case IK_IS4:
        in->imm_size = 1;
        if (!fetch_unsigned(k, 1, &in->imm)) {
            return false;
        }
        in->is4 = (uint8_t)(in->imm >> 4 & (in->mode == 2 ? 15 : 7));
        return true;
    default: /* IK_MOFFS */
        in->has_mem = 1;
        return fetch_unsigned(k, in->adsize, &in->disp);
    }
}

/* Register numbers that do not exist, and forms that the row's columns cannot say. */
INLINE bool form_ok(const struct dec_insn *in, const struct row_aux *a)
{
    if (in->lock && !(in->has_mem && (in->row->attr & IA_LOCK)) &&
        !((in->row->attr & IA_LOCKCR0) && in->reg == 0)) {
        return false;
    }
    if (in->vex && in->vvvv && !(a->flags & AX_VVVV)) {
        return false;
    }
    if (a->flags & (AX_SREG | AX_CREG | AX_DREG | AX_VSIB)) {
        if (a->flags & AX_SREG) {
            return in->reg <= S_GS && !(in->opcode == 0x8e && in->reg == S_CS);
        }
        if (a->flags & AX_CREG) {
            return in->reg <= 8 && (0x11d >> in->reg & 1);
        }
        if (a->flags & AX_DREG) {
            return in->reg < 8;
        }
        return in->adsize != 2 && (in->modrm & 7) == 4;
    }
    return true;
}

/* The first row of the bucket that allows everything the instruction has. */
INLINE const struct match *find_row(const struct bucket *b, unsigned ctx, unsigned modrm)
{
    const struct match *m = &matches[b->first], *end = m + b->count;

    for (; m < end; m++) {
        if (!(ctx & ~(unsigned)m->allow) && (!m->exact || m->exact == modrm)) {
            return m;
        }
    }
    return NULL;
}

/* Opcode bytes -> in->map and in->opcode (VEX included). */
INLINE enum dec_status take_opcode(struct cursor *k, struct dec_insn *in, bool real_or_vm, unsigned *r,
                                   unsigned *x, unsigned *b)
{
    unsigned op;

    if (!take_prefixes(k, in, &op)) {
        return DEC_SHORT;
    }
    if (in->rex) {
        *r = (in->rex & 4) << 1;
        *x = (in->rex & 2) << 2;
        *b = (in->rex & 1) << 3;
        in->vex_w = in->rex >> 3 & 1;
    }
    if (op == 0x0f) {
        if (!HAVE(1)) {
            return DEC_SHORT;
        }
        op = *k->p++;
        in->map = 1;
        if (op == 0x38 || op == 0x3a) {
            if (!HAVE(1)) {
                return DEC_SHORT;
            }
            in->map = op == 0x38 ? 2 : 3;
            op = *k->p++;
        }
    } else if (__builtin_expect((op & 0xfe) == 0xc4, 0)) {
        if (in->mode != 2 && !HAVE(1)) {
            return DEC_SHORT;
        }
        if (in->mode == 2 || (!real_or_vm && *k->p >= 0xc0)) {
            return take_vex(k, in, op, r, x, b);
        }
    }
    in->opcode = (uint8_t)op;
    return DEC_OK;
}

/* ModRM..immediates of a known row. */
INLINE enum dec_status take_operands(struct cursor *k, struct dec_insn *in, unsigned row, unsigned x, unsigned b)
{
    const struct row_aux *a = &aux[row];

    in->row = a->row;
    in->reg &= a->reg_mask;
    if (a->flags & AX_OPREG) {
        in->rm = (uint8_t)((in->opcode & 7) | b);
    }
    if (in->mode != 2 && (a->flags & AX_Y)) {
        in->vex_w = 0;
    }
    in->opsize = (uint8_t)operand_size(in, a);
    if (in->row->attr & IA_MODRM) {
        if (in->mod == 3 || a->mod_ignored) {
            in->mod = 3;
            in->rm &= a->rm_mask;
        } else {
            in->has_mem = 1;
            if (!(in->adsize == 2 ? take_mem16(k, in) : take_mem(k, in, x, b, a->flags & AX_VSIB))) {
                return DEC_SHORT;
            }
        }
    }
    if (a->imm) {
        if (!take_imm(k, in, a->imm)) {
            return DEC_SHORT;
        }
        if (a->imm2 && !fetch_unsigned(k, 1, &in->imm2)) {
            return DEC_SHORT;
        }
    }
    if (in->has_mem) {
        unsigned size = size_bytes(in, a->mem_size);

        in->mem_size = size <= 255 ? (uint8_t)size : 0;
        in->mem_acc = a->mem_acc;
    }
    return form_ok(in, a) ? DEC_OK : DEC_UD;
}

/* The instruction's properties, CX_*; b: REX.B. */
INLINE unsigned context(const struct dec_insn *in, bool real_or_vm, unsigned b)
{
    unsigned pfx = in->vex ? in->vex_pp : in->rep ? (in->rep == 0xf3 ? PX_F3 : PX_F2) : in->pfx66;

    return 1u << pfx | (in->mode == 2 ? CX_64 : CX_NOT64) | CX_W0 << in->vex_w | CX_L0 << in->vex_l |
           (in->mod != 3 ? CX_MEM : CX_REG) | CX_B0 << (b != 0) | (real_or_vm ? CX_REAL : CX_PROT);
}

INLINE enum dec_status decode(struct cursor *k, bool real_or_vm, struct dec_insn *in)
{
    unsigned r = 0, x = 0, b = 0;
    const struct bucket *bucket;
    const struct match *m;
    enum dec_status st = take_opcode(k, in, real_or_vm, &r, &x, &b);

    if (st != DEC_OK) {
        return st;
    }
    bucket = &opcodes[in->map + (in->vex ? 4 : 0)][in->opcode];
    if (bucket->kind & BK_MODRM) {
        if (!HAVE(1)) {
            return DEC_SHORT;
        }
        in->modrm = *k->p++;
        in->mod = in->modrm >> 6;
        in->reg = (uint8_t)((in->modrm >> 3 & 7) | r);
        in->rm = (uint8_t)((in->modrm & 7) | b);
        if (bucket->kind & BK_GROUP) {
            bucket = &groups[bucket->first][(in->mod == 3) << 3 | (in->modrm >> 3 & 7)];
        }
    }
    if (bucket->kind & (in->mode == 2 ? BK_SURE64 : BK_SURE)) {
        return take_operands(k, in, bucket->row, x, b);
    }
    m = find_row(bucket, context(in, real_or_vm, b), in->modrm);
    return m ? take_operands(k, in, m->row, x, b) : DEC_UD;
}

/* ---- most instructions of 64-bit code ---- */

/* A memory operand of 64-bit code. */
struct ea64 {
    unsigned base, index, scale, seg;
    int64_t disp;
};

INLINE const uint8_t *take_ea64(const uint8_t *p, unsigned modrm, unsigned rex, struct ea64 *m)
{
    unsigned mod = modrm >> 6, base = modrm & 7;
    bool sib = base == 4;

    if (sib) {
        unsigned s = *p++, index = (s >> 3 & 7) | (rex & 2) << 2;

        if (index != 4) {
            m->index = index;
            m->scale = s >> 6;
        }
        base = s & 7;
    }
    if (mod == 0) {
        if (base == 5) {
            m->base = sib ? REG_NONE : EA_RIP;
            m->disp = (int32_t)*(const any32 *)(const void *)p;
            return p + 4;
        }
    } else if (mod == 1) {
        m->disp = (int8_t)*p++;
    } else {
        m->disp = (int32_t)*(const any32 *)(const void *)p;
        p += 4;
    }
    m->base = base | (rex & 1) << 3;
    if (m->base == R_RSP || m->base == R_RBP) {
        m->seg = S_SS;
    }
    return p;
}

INLINE const uint8_t *take_imm64(const uint8_t *p, unsigned kind, unsigned opsize, int64_t *imm)
{
    typedef int16_t __attribute__((aligned(1), may_alias)) int16_any;
    typedef int32_t __attribute__((aligned(1), may_alias)) int32_any;
    typedef int64_t __attribute__((aligned(1), may_alias)) int64_any;

    if (kind == IK_UB) {
        *imm = *p;
        return p + 1;
    }
    if (kind != IK_Z && kind != IK_V) {
        *imm = (int8_t)*p;
        return p + 1;
    }
    if (opsize == 2) {
        *imm = *(const int16_any *)p;
        return p + 2;
    }
    if (opsize == 8 && kind == IK_V) {
        *imm = *(const int64_any *)p;
        return p + 8;
    }
    *imm = *(const int32_any *)p;
    return p + 4;
}

/*
 * [66] [REX] opcode [ModRM...] [immediate] where the row depends on nothing else and its operands are plain; 15 bytes are
 * there.  False: something else, for decode(), which would come to the same result in all cases.
 */
INLINE bool decode_usual(const uint8_t *bytes, uint64_t ip, struct dec_insn *in)
{
    const uint8_t *p = bytes;
    struct ea64 m = { REG_NONE, REG_NONE, 0, S_DS, 0 };
    unsigned op = *p++, rex = 0, pfx66 = 0, map = 0, modrm = 0, mod = 0, reg = 0, rm = 0;
    int64_t imm = 0;

    if (op == 0x66) {
        pfx66 = 1;
        op = *p++;
    }
    if ((op & 0xf0) == 0x40) {
        rex = op;
        op = *p++;
    }
    if (op == 0x0f) {
        map = 1;
        op = *p++;
    }
    const struct bucket *bucket = &opcodes[map][op];   /* other prefixes and escapes have no rows */
    bool has_modrm = bucket->kind & BK_MODRM, has_mem = false;
    if (has_modrm) {
        modrm = *p++;
        mod = modrm >> 6;
        reg = (modrm >> 3 & 7) | (rex & 4) << 1;
        rm = (modrm & 7) | (rex & 1) << 3;
        has_mem = mod != 3;
        if (bucket->kind & BK_GROUP) {
            bucket = &groups[bucket->first][(mod == 3) << 3 | (modrm >> 3 & 7)];
        }
    }
    const struct row_aux *a = &aux[bucket->row];
    if (!(bucket->kind & BK_SURE64) || !a->usual) {
        return false;
    }
    unsigned w = rex >> 3 & 1, opsize = a->opsize64[w | pfx66 << 1], imm_size = 0, mem_size = 0;
    if (has_mem) {
        p = take_ea64(p, modrm, rex, &m);
        mem_size = a->mem_size == OS_V ? opsize : fixed_size[a->mem_size];
    } else {
        rm &= a->rm_mask;
    }
    if (a->flags & AX_OPREG) {
        rm = (op & 7) | (rex & 1) << 3;
    }
    if (a->imm) {
        const uint8_t *q = take_imm64(p, a->imm, opsize, &imm);
        imm_size = (unsigned)(q - p);
        p = q;
    }
    init_insn(in, ip, 2);
    in->row = a->row;
    in->len = (uint8_t)(p - bytes);
    in->opsize = (uint8_t)opsize;
    in->pfx66 = (uint8_t)pfx66;
    in->rex = (uint8_t)rex;
    in->vex_w = (uint8_t)w;
    in->map = (uint8_t)map;
    in->opcode = (uint8_t)op;
    in->modrm = (uint8_t)modrm;
    in->mod = (uint8_t)mod;
    in->reg = (uint8_t)(reg & a->reg_mask);
    in->rm = (uint8_t)rm;
    in->imm_size = (uint8_t)imm_size;
    in->disp = m.disp;
    in->imm = imm;
    if (has_mem) {
        in->base = (uint8_t)m.base;
        in->index = (uint8_t)m.index;
        in->scale = (uint8_t)m.scale;
        in->seg = (uint8_t)m.seg;
        in->has_mem = 1;
        in->mem_size = (uint8_t)mem_size;
        in->mem_acc = a->mem_acc;
    }
    return true;
}

static enum dec_status __attribute__((noinline)) decode_any(const uint8_t *bytes, size_t avail, uint64_t ip, int mode,
                                                            bool real_or_vm, struct dec_insn *out)
{
    struct cursor k = { bytes, bytes + (avail < 15 ? avail : 15) };
    enum dec_status st;

    init_insn(out, ip, mode);
    st = decode(&k, real_or_vm, out);
    out->len = (uint8_t)(k.p - bytes);
    if (__builtin_expect(st == DEC_SHORT, 0) && avail >= 15) {
        st = DEC_TOO_LONG;
    }
    return st;
}

enum dec_status dec_decode(const uint8_t *bytes, size_t avail, uint64_t ip, int mode, bool real_or_vm,
                           struct dec_insn *out)
{
    if (mode == 2 && avail >= 15 && decode_usual(bytes, ip, out)) {
        return DEC_OK;
    }
    return decode_any(bytes, avail, ip, mode, real_or_vm, out);
}
