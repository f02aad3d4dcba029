/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lower_native.c - re-encoding: the guest's instruction with its registers and memory operand replaced.
 *
 * Registers that have no host register of their own (guest r8-r11) are loaded into scratch registers around the
 * instruction; AH..BH next to anything that needs a REX prefix are handled as a low byte of a scratch register; a
 * memory operand becomes [r10 + r11], left there by ADDR.
 */
#include "translator/row_facts.h"
#include "translator/x86-64/lower.h"

struct field {
    uint8_t op;      /* index in row->op, 0xff: field not a GPR operand */
    uint8_t guest;   /* guest register number */
    uint8_t host;
    uint8_t acc;
    uint8_t size;
    bool high8;      /* AH..BH */
    bool scratch;    /* host is a scratch register: load before, store after */
    uint8_t pad;
};
_Static_assert(sizeof(struct field) == 8, "field_none()");

struct enc {
    const struct dec_insn *in;
    struct field reg, rm, vv;
    struct x64_mem mem;
    bool has_mem;
    bool opreg;      /* rm names the register in the opcode's low bits */
};

/* Not an operand.  One store: one field copied from the other would wait for its bytes. */
static inline void field_none(struct field *f)
{
    *(any64 *)(void *)f = 0xff;
}

static void field_init(struct field *f, const struct dec_insn *in, unsigned i, unsigned guest)
{
    const struct insn_op *op = &in->row->op[i];

    f->op = (uint8_t)i;
    f->guest = (uint8_t)guest;
    f->acc = op->acc;
    f->size = (uint8_t)dec_op_size(in, i);
    f->high8 = f->size == 1 && dec_is_high8(in, guest);
    f->host = (uint8_t)(f->high8 ? guest : host_reg(guest));
    f->scratch = !f->high8 && f->host == X_NONE;
}

static void collect(const struct lower *l, struct enc *e, const struct dec_insn *in)
{
    e->in = in;
    field_none(&e->reg);
    field_none(&e->rm);
    field_none(&e->vv);
    e->reg.host = in->row->attr & IA_MODRM ? in->reg : 0;
    e->rm.host = in->row->attr & IA_MODRM ? in->rm : 0;
    e->vv.host = in->vvvv;
    e->has_mem = in->has_mem;
    e->opreg = false;
    e->mem = l->opnd;
    for (unsigned i = 0; i < 4; i++) {
        unsigned loc = in->row->op[i].loc;
        if (loc == OL_REG) {
            field_init(&e->reg, in, i, in->reg);
        } else if (loc == OL_RM && !in->has_mem) {
            field_init(&e->rm, in, i, in->rm);
        } else if (loc == OL_OPREG) {
            field_init(&e->rm, in, i, in->rm);
            e->opreg = true;
        } else if (loc == OL_VVVV) {
            field_init(&e->vv, in, i, in->vvvv);
        }
    }
}

/* Plain integer instructions whose register r/m operand may as well be its memory slot. */
static bool slot_form_ok(const struct dec_insn *in, const struct field *rm)
{
    if (in->vex || in->lock || in->row->modrm != -1 || rm->size == 0) {
        return false;
    }
    if (rm->size == 4 && (rm->acc & OA_W)) {
        return false;                      /* the upper half would not be cleared */
    }
    if (in->map == 0) {
        return (in->opcode < 0x40 && (in->opcode & 7) < 4) || (in->opcode >= 0x80 && in->opcode <= 0x85) ||
               (in->opcode >= 0x88 && in->opcode <= 0x8b) || in->opcode == 0x63 || in->opcode == 0x69 ||
               in->opcode == 0x6b || in->opcode == 0xc6 || in->opcode == 0xc7;
    }
    if (in->map == 2) {
        return in->opcode == 0xf6;         /* ADCX, ADOX */
    }
    return in->map == 1 && (in->opcode == 0xaf || (in->opcode >= 0x40 && in->opcode <= 0x4f) || in->opcode == 0xb6 ||
                            in->opcode == 0xb7 || in->opcode == 0xbe || in->opcode == 0xbf);
}

static bool needs_rex(const struct enc *e)
{
    const struct dec_insn *in = e->in;

    if (in->vex_w || (e->has_mem && (e->mem.base >= 8 || (e->mem.index != X_NONE && e->mem.index >= 8)))) {
        return true;
    }
    if (e->reg.host >= 8 || (!e->has_mem && e->rm.host >= 8)) {
        return true;
    }
    return (e->reg.op != 0xff && e->reg.size == 1 && !e->reg.high8 && e->reg.host >= 4) ||
           (!e->has_mem && e->rm.op != 0xff && e->rm.size == 1 && !e->rm.high8 && e->rm.host >= 4);
}

/* In 32-bit code VEX.W does not make an integer operand 64 bits wide. */
static bool wide(const struct dec_insn *in)
{
    bool lengths = in->map == 3 && (in->opcode == 0x60 || in->opcode == 0x61);   /* VPCMPESTRx: EAX, EDX */

    return in->vex_w && (in->mode == 2 || ((in->row->attr & IA_AVX) && !lengths));
}

/* xchg low, high byte of guest register 4..7's home. */
static void swap_high8(struct lower *l, unsigned reg)
{
    x64_byte(&l->b, 0x86);
    x64_modrm_rr(&l->b, reg, reg - 4);
}

static void load_high8(struct lower *l, struct field *f, unsigned scratch)
{
    if (scratch == X_R9) {
        l->r9_reg = IR_NOREG;
    } else {
        l->win.valid = false;
        l->r10.kind = R10_FREE;
    }
    swap_high8(l, f->guest);
    x64_mov_rr(&l->b, 4, scratch, f->guest - 4u);
    swap_high8(l, f->guest);
    f->host = (uint8_t)scratch;
}

static void store_high8(struct lower *l, const struct field *f)
{
    swap_high8(l, f->guest);
    x64_mov_rr(&l->b, 1, f->guest - 4u, f->host);
    swap_high8(l, f->guest);
}

static void load_field(struct lower *l, struct field *f, unsigned scratch)
{
    f->host = (uint8_t)scratch;
    if (scratch == X_R9 && l->r9_reg == f->guest) {
        return;
    }
    bool load = f->acc != OA_W || f->size < 4;
    if (scratch == X_R9) {
        r9_holds(l, load ? f->guest : IR_NOREG);             /* store_field() makes it known */
    }
    if (load) {
        if (l->r9_reg == f->guest && scratch != X_R9) {
            x64_mov_rr(&l->b, 8, scratch, X_R9);
        } else {
            x64_mov_rm(&l->b, 8, scratch, gpr_slot(f->guest));
        }
    }
}

static void store_field(struct lower *l, const struct field *f)
{
    if (f->scratch && (f->acc & OA_W)) {
        x64_mov_mr(&l->b, 8, gpr_slot(f->guest), f->host);
        if (f->host == X_R9) {
            r9_holds(l, f->guest);
        } else if (l->r9_reg == f->guest) {
            l->r9_reg = IR_NOREG;
        }
        if (f->host == X_R10 && l->hot) {
            r10_holds(l, f->guest);
            l->r10.fresh = true;
        }
    }
}

static unsigned next_scratch(struct lower *l, struct enc *e, unsigned *used)
{
    static const uint8_t order_mem[] = { X_R9, X_R11 }, order_reg[] = { X_R9, X_R10, X_R11 };
    unsigned k = (*used)++;

    if (e->has_mem && l->direct && k == 1 && e->mem.index == X_R11 && e->mem.base != X_R10) {
        return X_R10;                                        /* r10 is not part of the operand */
    }

    if (!e->has_mem || e->mem.base == X_RSP) {
        if (k > (l->win.hostmap ? 1 : 0)) {                  /* a window needs r10 too, an addend r11 only */
            l->win.valid = false;
        }
        return order_reg[k];
    }
    if (k == 1) {                 /* fold the address so that r11 is free */
        l->win.valid = false;
        x64_lea(&l->b, 8, X_R10, e->mem);
        e->mem = x64_at(X_R10, 0);
    }
    return order_mem[k];
}

/* ---- with r10 as a second cache ---- */

static unsigned copy_of(const struct lower *l, unsigned guest)
{
    return l->r9_reg == guest ? X_R9 : r10_has(l, guest) ? X_R10 : X_NONE;
}

/* A scratch register that is not in `busy`: an empty one, or what was not wanted for longest.  r11 at need. */
static unsigned take_scratch(struct lower *l, struct enc *e, unsigned *busy)
{
    bool no_r9 = *busy >> X_R9 & 1, no_r10 = *busy >> X_R10 & 1;
    unsigned r = X_R9;

    if (no_r9 && no_r10) {
        if (*busy >> X_R11 & 1) {                            /* fold the address so that r11 is free */
            x64_lea(&l->b, 8, X_R10, e->mem);
            e->mem = x64_at(X_R10, 0);
            l->r10.kind = R10_FREE;
        }
        l->win.valid = false;
        r = X_R11;
    } else if (no_r9 || (!no_r10 && l->r9_reg != IR_NOREG && (!l->r10.kind || l->r10_used < l->r9_used))) {
        r = X_R10;
        r10_written(l);
    } else {
        l->r9_reg = IR_NOREG;
    }
    *busy |= 1u << r;
    return r;
}

static void take_field(struct lower *l, struct enc *e, struct field *f, unsigned *busy)
{
    unsigned at = copy_of(l, f->guest);

    if (at != X_NONE) {
        f->host = (uint8_t)at;
        *busy |= 1u << at;
        *(at == X_R9 ? &l->r9_used : &l->r10_used) = ++l->clock;
        return;
    }
    f->host = (uint8_t)take_scratch(l, e, busy);
    if (f->acc != OA_W || f->size < 4) {
        x64_mov_rm(&l->b, 8, f->host, gpr_slot(f->guest));
        if (f->host == X_R9) {
            r9_holds(l, f->guest);
        } else if (f->host == X_R10) {
            r10_holds(l, f->guest);
        }
    }
}

static inline void keep_copy(const struct lower *l, const struct field *f, unsigned *busy)
{
    if (f->scratch && copy_of(l, f->guest) != X_NONE) {
        *busy |= 1u << copy_of(l, f->guest);
    }
}

/* Gives each field that names a guest register in memory a scratch register, or the slot. */
static void prepare_hot(struct lower *l, struct enc *e)
{
    bool rm = !e->has_mem && e->rm.scratch;
    unsigned busy = 0;

    if (e->has_mem) {
        busy |= 1u << e->mem.base | (e->mem.index != X_NONE ? 1u << e->mem.index : 0);
    }
    keep_copy(l, &e->reg, &busy);
    keep_copy(l, &e->vv, &busy);
    if (rm) {
        keep_copy(l, &e->rm, &busy);
    }
    if (rm && !e->opreg && copy_of(l, e->rm.guest) == X_NONE && slot_form_ok(e->in, &e->rm)) {
        e->has_mem = true;
        e->mem = gpr_slot(e->rm.guest);
        e->rm.scratch = rm = false;
    }
    if (e->reg.scratch) {
        take_field(l, e, &e->reg, &busy);
    }
    if (rm) {
        if (e->reg.scratch && e->reg.guest == e->rm.guest) {
            /* one host register for both (XADD, XCHG, IMUL r, r ...) */
            if (e->reg.acc == OA_W && e->reg.size >= 4 && copy_of(l, e->rm.guest) != e->reg.host) {
                x64_mov_rm(&l->b, 8, e->reg.host, gpr_slot(e->rm.guest));
            }
            e->rm.host = e->reg.host;
        } else {
            take_field(l, e, &e->rm, &busy);
        }
    }
    if (e->vv.scratch) {
        take_field(l, e, &e->vv, &busy);
    }
}

static void prepare(struct lower *l, struct enc *e)
{
    unsigned used = 0;

    if (l->hot) {
        prepare_hot(l, e);
        goto high8;
    }

    if (!e->has_mem && e->rm.op != 0xff && e->rm.scratch && e->rm.guest == l->r9_reg && !(e->rm.acc & OA_W) &&
        (!e->reg.scratch || e->reg.guest == e->rm.guest) && !e->vv.scratch) {
        e->rm.host = X_R9;                                   /* it is there already */
        e->rm.scratch = false;
    }
    if (!e->has_mem && e->rm.op != 0xff && e->rm.scratch && !e->opreg && slot_form_ok(e->in, &e->rm)) {
        e->has_mem = true;
        e->mem = gpr_slot(e->rm.guest);
        e->rm.scratch = false;
    }
    if (e->reg.scratch) {
        load_field(l, &e->reg, next_scratch(l, e, &used));
    }
    if (!(e->has_mem) && e->rm.scratch) {
        /* The same register in both fields must be one host register (XADD, XCHG, IMUL r, r ...). */
        if (e->reg.scratch && e->reg.guest == e->rm.guest) {
            e->rm.host = e->reg.host;
            if (e->reg.acc == OA_W && e->reg.size >= 4) {
                x64_mov_rm(&l->b, 8, e->rm.host, gpr_slot(e->rm.guest));
            }
            e->rm.scratch = e->rm.acc & OA_W;
        } else {
            load_field(l, &e->rm, next_scratch(l, e, &used));
        }
    }
    if (e->vv.scratch) {
        unsigned s = next_scratch(l, e, &used);
        load_field(l, &e->vv, s);
    }
high8:
    if ((e->reg.high8 || e->rm.high8) && needs_rex(e)) {
        if (e->reg.high8) {
            load_high8(l, &e->reg, X_R9);
        }
        if (e->rm.high8 && !e->has_mem) {
            load_high8(l, &e->rm, e->reg.high8 || e->reg.host == X_R9 ? X_R10 : X_R9);
        }
    }
}

static void finish(struct lower *l, const struct enc *e)
{
    if (e->has_mem && !e->in->has_mem && (e->rm.acc & OA_W) && l->r9_reg == e->rm.guest) {
        l->r9_reg = IR_NOREG;                                /* its slot was written past r9 */
    }
    store_field(l, &e->vv);                                  /* MULX r, r, x: the high half stays */
    store_field(l, &e->reg);
    if (!e->in->has_mem) {
        store_field(l, &e->rm);
    }
    if (e->reg.high8 && e->reg.host >= 8 && (e->reg.acc & OA_W)) {
        store_high8(l, &e->reg);
    }
    if (e->rm.high8 && e->rm.host >= 8 && (e->rm.acc & OA_W)) {
        store_high8(l, &e->rm);
    }
}

/* EXTRQ, INSERTQ: length and index. */
static bool two_immediates(const struct insn_row *row)
{
    return row->op[2].loc == OL_IMM && (row->op[1].loc == OL_IMM || row->op[3].loc == OL_IMM);
}

static uint8_t *put_imm(uint8_t *q, const struct dec_insn *in)
{
    uint64_t v = (uint64_t)in->imm;

    if (in->row->op[3].loc == OL_XIS4 && in->mode != 2) {
        v &= 0x7f;                                           /* a register number has three bits there */
    }
    *(any64 *)q = v;
    q += in->imm_size;
    if (two_immediates(in->row)) {
        *q++ = (uint8_t)in->imm2;
    }
    return q;
}

static uint8_t *put_operands(uint8_t *q, const struct enc *e)
{
    unsigned reg = e->in->row->ext >= 0 ? (unsigned)e->in->row->ext : e->reg.host;

    return e->has_mem ? x64_put_modrm(q, reg, e->mem) : x64_put_modrm_rr(q, reg, e->rm.host);
}

static uint8_t *put_vex(uint8_t *q, const struct enc *e)
{
    const struct dec_insn *in = e->in;
    unsigned reg = in->row->ext >= 0 ? 0 : e->reg.host;
    unsigned base = e->has_mem ? e->mem.base : e->rm.host;
    unsigned index = e->has_mem && e->mem.index != X_NONE ? e->mem.index : 0;

    *q++ = 0xc4;
    *q++ = (uint8_t)((reg & 8 ? 0 : 0x80) | (index & 8 ? 0 : 0x40) | (base & 8 ? 0 : 0x20) | in->map);
    *q++ = (uint8_t)((wide(in) ? 0x80 : 0) | (~(unsigned)e->vv.host & 15) << 3 | (in->vex_l ? 4 : 0) | in->vex_pp);
    *q++ = in->opcode;
    if (in->row->attr & IA_MODRM) {
        q = put_operands(q, e);
    }
    return put_imm(q, in);
}

static inline uint8_t *put_prefixes(uint8_t *q, const struct dec_insn *in, const struct row_facts *f)
{
    *q = 0xf0;
    q += in->lock;
    *q = 0x66;
    q += f->p66 == RP66_ALWAYS || (f->p66 == RP66_SIZE && in->opsize == 2);
    *q = f->rep;
    return q + (f->rep != 0);
}

static inline uint8_t *put_escapes(uint8_t *q, const struct row_facts *f)
{
    *(any16 *)q = f->escape;
    return q + f->escapes;
}

static uint8_t *put_legacy(uint8_t *q, const struct enc *e)
{
    const struct dec_insn *in = e->in;
    const struct insn_row *row = in->row;
    unsigned opcode = in->opcode, reg = row->ext >= 0 ? 0 : e->reg.host;
    bool modrm = row->attr & IA_MODRM;
    bool force = needs_rex(e);

    q = put_prefixes(q, in, facts_of(in));
    unsigned base = e->has_mem ? e->mem.base : modrm || e->opreg ? e->rm.host : 0;
    q = x64_put_rex(q, in->vex_w, modrm ? reg : 0, e->has_mem ? e->mem.index : X_NONE, base, force);
    q = put_escapes(q, facts_of(in));
    if (e->opreg) {
        opcode = (opcode & ~7u) | (e->rm.host & 7u);
    }
    *q++ = (uint8_t)opcode;
    if (modrm) {
        q = put_operands(q, e);
    }
    return put_imm(q, in);
}

/* One-byte forms that 64-bit mode does not have, respelled.  Returns true when done. */
static bool put_respelled(struct x64_buf *b, struct enc *e)
{
    const struct dec_insn *in = e->in;

    if (in->map != 0 || in->vex) {
        return false;
    }
    if (in->opcode >= 0x40 && in->opcode <= 0x4f) {          /* INC/DEC r */
        x64_op_rr(b, in->opsize, 0xff, in->opcode >= 0x48, e->rm.host);
        return true;
    }
    if (in->opcode >= 0xa0 && in->opcode <= 0xa3) {          /* MOV acc, moffs and back */
        unsigned size = in->opcode & 1 ? in->opsize : 1;
        x64_op_rm(b, size, in->opcode < 0xa2 ? (size == 1 ? 0x8a : 0x8b) : (size == 1 ? 0x88 : 0x89), X_RAX, e->mem);
        return true;
    }
    if (in->opcode == 0x63 && in->opsize == 2) {             /* MOVSXD r16, r/m16: AMD processors read four bytes */
        if (e->has_mem) {
            x64_op_rm(b, 2, 0x8b, e->reg.host, e->mem);
        } else {
            x64_op_rr(b, 2, 0x8b, e->reg.host, e->rm.host);
        }
        return true;
    }
    if (in->opcode == 0x82) {                                /* alias of 80 */
        x64_byte(b, 0x66 + 0);                               /* keeps lengths equal; 66 is ignored on byte forms */
        x64_rex(b, false, 0, e->has_mem ? e->mem.index : X_NONE, e->has_mem ? e->mem.base : e->rm.host, needs_rex(e));
        x64_byte(b, 0x80);
        x64_end(b, put_imm(put_operands(x64_begin(b), e), in));
        return true;
    }
    return false;
}

/* VZEROUPPER and VZEROALL outside 64-bit code know eight registers: VMOVAPS xmm, xmm or VXORPS clears each. */
static bool put_vzero8(struct x64_buf *b, const struct dec_insn *in)
{
    if (in->mode == 2 || in->map != 1 || in->opcode != 0x77 || !in->vex) {
        return false;
    }
    for (unsigned r = 0; r < 8; r++) {
        x64_byte(b, 0xc5);
        x64_byte(b, in->vex_l ? 0x80 | (~r & 15) << 3 : 0xf8);
        x64_byte(b, in->vex_l ? 0x57 : 0x28);
        x64_modrm_rr(b, r, r);
    }
    return true;
}

/* Is a GPR operand simply a host register?  Not AH..BH, nor what lives in memory. */
static inline bool plain_gpr(const struct dec_insn *in, unsigned bytes, unsigned which, unsigned *reg, bool *rex)
{
    if (bytes & which) {
        if (dec_is_high8(in, *reg)) {
            return false;
        }
        *rex |= *reg >= 4;
    }
    *reg = host_reg(*reg);
    return *reg != X_NONE;
}

/* Most instructions: nothing to be loaded or stored around them.  False: it is not one of those. */
static inline bool put_plain(struct lower *l, const struct ir_op *o)
{
    const struct dec_insn *in = o->in;
    const struct row_facts f = *facts_of(in);
    bool rex = in->vex_w, has_mem = in->has_mem;
    int ext = in->row->ext;
    unsigned reg = in->reg, rm = in->rm;

    if (!f.plain || ((f.gprs & RF_REG) && !plain_gpr(in, f.bytes, RF_REG, &reg, &rex)) ||
        (!has_mem && (f.gprs & RF_RM) && !plain_gpr(in, f.bytes, RF_RM, &rm, &rex))) {
        return false;
    }
    if (o->keep_old) {
        x64_mov_mr(&l->b, 8, X64_ENV(old_value), rm);
    }
    if (o->site) {
        lower_record(l, x64_here(&l->b), l->guest_off, o->site, &o->rc);
    }
    unsigned opcode = in->opcode, imm_size = in->imm_size;
    bool w = in->vex_w;
    uint64_t imm = (uint64_t)in->imm;
    uint8_t *q = x64_begin(&l->b);
    if (in->lock | f.rep | (f.p66 & 2) | (in->opsize & 2)) {
        q = put_prefixes(q, in, &f);
    }
    if (!f.modrm) {
        q = x64_put_rex(q, w, 0, X_NONE, f.opreg ? rm : 0, rex);
        q = put_escapes(q, &f);
        *q++ = (uint8_t)(f.opreg ? (opcode & ~7u) | (rm & 7) : opcode);
    } else if (has_mem) {
        const struct x64_mem m = l->opnd;
        q = x64_put_rex(q, w, ext >= 0 ? 0 : reg, m.index, m.base, rex);
        q = put_escapes(q, &f);
        *q++ = (uint8_t)opcode;
        q = x64_put_modrm(q, ext >= 0 ? (unsigned)ext : reg, m);
    } else {
        q = x64_put_rex(q, w, ext >= 0 ? 0 : reg, X_NONE, rm, rex);
        q = put_escapes(q, &f);
        *q++ = (uint8_t)opcode;
        q = x64_put_modrm_rr(q, ext >= 0 ? (unsigned)ext : reg, rm);
    }
    *(any64 *)q = imm;
    x64_end(&l->b, q + imm_size);
    if (f.x87) {
        lower_x87_done(l, in);
    }
    return true;
}

static void __attribute__((noinline)) lower_moved(struct lower *l, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;
    struct dec_insn masked;
    struct enc e;

    if (put_vzero8(b, o->in)) {
        return;
    }
    collect(l, &e, o->in);
    if (o->in->row->cls == CL_BT_MEM && o->in->has_mem) {
        masked = *o->in;                                     /* bit number within the addressed word is in T0 */
        e.in = &masked;
        x64_mov_rm(b, 8, X_R9, tmp_slot(IR_T0));
        l->r9_reg = IR_NOREG;
        e.reg.host = X_R9;
        e.reg.scratch = false;
    } else {
        prepare(l, &e);
    }
    if (o->keep_old) {
        x64_mov_mr(b, 8, X64_ENV(old_value), e.rm.host);
    }
    if (o->site) {
        lower_record(l, x64_here(b), l->guest_off, o->site, &o->rc);
    }
    if (!put_respelled(b, &e)) {
        uint8_t *q = x64_begin(b);
        x64_end(b, e.in->vex ? put_vex(q, &e) : put_legacy(q, &e));
    }
    finish(l, &e);
    if (o->in->row->attr & IA_X87) {
        lower_x87_done(l, o->in);
    }
}

void lower_native(struct lower *l, const struct ir_op *o)
{
    if (!put_plain(l, o)) {
        lower_moved(l, o);
    }
}

void lower_btofs(struct lower *l, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;
    unsigned size = o->in->opsize, bits = size * 8;
    unsigned r = lower_use(l, o->src, X_R9);

    /* T0 = bit & (bits - 1); T1 = (signed bit >> log2(bits)) * size */
    lower_forget(l);
    x64_mov_rr(b, 8, X_R9, r);
    if (size == 4) {
        x64_op_rr(b, 8, 0x63, X_R9, X_R9);                   /* movsxd */
    } else if (size == 2) {
        x64_op_rr(b, 8, 0x0fbf, X_R9, X_R9);                 /* movsx r64, r16 */
    }
    x64_mov_rr(b, 8, X_R11, X_R9);
    x64_alu_ri(b, 4, 4, X_R9, (int32_t)bits - 1);
    x64_mov_mr(b, 8, tmp_slot(IR_T0), X_R9);
    x64_shift_ri(b, 7, 8, X_R11, size == 8 ? 6 : size == 4 ? 5 : 4);
    x64_shift_ri(b, 4, 8, X_R11, size == 8 ? 3 : size == 4 ? 2 : 1);
    x64_mov_mr(b, 8, tmp_slot(IR_T1), X_R11);
}

/* dst := effective address by an instruction of `size` bytes, 4 or 8. */
static void ea_sized(struct lower *l, const struct dec_insn *in, unsigned dst, int64_t extra, unsigned size)
{
    struct x64_buf *b = &l->b;
    int64_t disp = in->disp + extra;

    if (in->base == EA_RIP || (in->base == REG_NONE && in->index == REG_NONE)) {
        uint64_t a = (uint64_t)disp + (in->base == EA_RIP ? in->ip + in->len : 0);
        if (in->base == EA_RIP && size == 8) {
            lower_mov_lip(l, dst, a);
        } else {
            l->movable &= in->base != EA_RIP;
            x64_mov_ri(b, dst, in->adsize == 2 ? (uint16_t)a : size == 4 ? (uint32_t)a : a);
        }
        return;
    }
    unsigned base = in->base == REG_NONE ? X_NONE : lower_use(l, in->base, X_R10);
    unsigned index = in->index == REG_NONE ? X_NONE : lower_use(l, in->index, X_R11);
    l->win.valid &= index != X_R11;
    struct x64_mem m = { (uint8_t)base, (uint8_t)index, in->scale, (int32_t)disp };
    if (index == X_NONE && disp == 0) {
        if (base != dst || size == 4) {
            x64_mov_rr(b, size, dst, base);
        }
    } else {
        x64_lea(b, size, dst, m);
    }
    if (in->adsize == 2) {
        x64_movzx_rr(b, 2, dst, dst);
    }
}

void lower_ea(struct lower *l, const struct dec_insn *in, unsigned dst, int64_t extra)
{
    ea_sized(l, in, dst, extra, in->adsize == 8 ? 8 : 4);
}

void lower_lea(struct lower *l, const struct ir_op *o)
{
    struct x64_buf *b = &l->b;
    unsigned host = host_reg(o->dst);

    if (o->size >= 4 && o->in->adsize >= 4 && host != X_NONE) {
        bool scratch = (o->in->base < 16 && host_reg(o->in->base) == X_NONE) ||
                       (o->in->index < 16 && host_reg(o->in->index) == X_NONE);
        if (scratch && !l->hot) {
            l->win.valid = false;
        }
        ea_sized(l, o->in, host, 0, o->size < o->in->adsize ? o->size : o->in->adsize);
        return;
    }
    l->win.valid &= l->hot;
    lower_ea(l, o->in, X_R10, 0);
    r10_written(l);
    if (l->r9_reg == o->dst) {
        l->r9_reg = IR_NOREG;
    }
    if (host != X_NONE) {
        x64_mov_rr(b, o->size, host, X_R10);
    } else if (o->size == 2) {
        x64_mov_mr(b, 2, gpr_slot(o->dst), X_R10);
    } else {
        if (o->size == 4) {
            x64_mov_rr(b, 4, X_R10, X_R10);
        }
        x64_mov_mr(b, 8, gpr_slot(o->dst), X_R10);
        r10_holds(l, o->dst);
        l->r10.fresh = true;
    }
}
