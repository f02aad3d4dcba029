/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_decode_env.h - what the decoder's tests share: stand-ins for the helpers that the rows name, and a
 * text form of a decoded instruction.
 */
#ifndef TEST_DECODE_ENV_H
#define TEST_DECODE_ENV_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "translator/decode.h"
#include "translator/guest_cpu.h"

/* The tests link decode.c and insn_rows.c alone. */
#define HELPER(name)                                                                        \
    int help_##name(struct guest_cpu *c, const struct dec_insn *in);                        \
    __attribute__((weak)) int help_##name(struct guest_cpu *c, const struct dec_insn *in)   \
    {                                                                                       \
        (void)c;                                                                            \
        (void)in;                                                                           \
        return 0;                                                                           \
    }
#include "translator/helpers.inc"
#undef HELPER

struct text {
    char s[256];
    size_t n;
};

static inline __attribute__((format(printf, 2, 3))) void put(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    t->n += (size_t)vsnprintf(t->s + t->n, sizeof(t->s) - t->n, fmt, ap);
    va_end(ap);
}

static inline void put_gpr(struct text *t, const struct dec_insn *in, unsigned reg, unsigned size)
{
    if (size == 1 && dec_is_high8(in, reg)) {
        put(t, "h%u", reg - 4);
    } else {
        put(t, "r%u", reg);
    }
}

static inline void put_mem(struct text *t, const struct dec_insn *in)
{
    static const char segs[][3] = { "es", "cs", "ss", "ds", "fs", "gs" };

    put(t, "[%s:", segs[in->seg]);
    if (in->base == EA_RIP) {
        put(t, "rip");
    } else if (in->base != REG_NONE) {
        put(t, "r%u", in->base);
    }
    if (in->index != REG_NONE) {
        put(t, "+%u*%u", in->index, 1u << in->scale);
    }
    if (in->disp) {
        put(t, "%+lld", (long long)in->disp);
    }
    put(t, "]%s", in->adsize == 2 ? "a16" : in->adsize == 4 ? "a32" : "");
}

static inline void put_op(struct text *t, const struct dec_insn *in, unsigned i)
{
    const struct insn_op *op = &in->row->op[i];
    unsigned size = dec_op_size(in, i);

    switch (op->loc) {
    case OL_REG: put_gpr(t, in, in->reg, size); break;
    case OL_OPREG: put_gpr(t, in, in->rm, size); break;
    case OL_VVVV: put(t, "r%u", in->vvvv); break;
    case OL_XREG: put(t, "x%u", in->reg); break;
    case OL_XVVVV: put(t, "x%u", in->vvvv); break;
    case OL_XIS4: put(t, "x%u", in->is4); break;
    case OL_MREG: put(t, "m%u", in->reg); break;
    case OL_STREG: put(t, "st%u", in->rm); break;
    case OL_SREG: put(t, "s%u", in->reg); break;
    case OL_CREG: put(t, "cr%u", in->reg); break;
    case OL_DREG: put(t, "dr%u", in->reg); break;
    case OL_ACC: put(t, "acc"); break;
    case OL_CL: put(t, "cl"); break;
    case OL_DX: put(t, "dx"); break;
    case OL_ONE: put(t, "one"); break;
    case OL_IMM:
        put(t, "%lld", (long long)(i && in->row->op[i - 1].loc == OL_IMM ? in->imm2 : in->imm));
        break;
    case OL_REL: put(t, "%+lld", (long long)in->imm); break;
    case OL_FARPTR: put(t, "%llx:%llx", (long long)in->imm2, (long long)in->imm); break;
    case OL_STR: put(t, "str"); break;
    default: /* ModRM.rm or memory */
        if (in->has_mem) {
            put_mem(t, in);
        } else if (op->loc == OL_RM) {
            put_gpr(t, in, in->rm, size);
        } else {
            put(t, "%c%u", op->loc == OL_XRM ? 'x' : 'm', in->rm);
        }
        break;
    }
    put(t, ":%u%s", size,
        op->acc == OA_R ? "r" : op->acc == OA_W ? "w" : op->acc == OA_RW ? "u" : op->acc ? "c" : "");
}

/* "[lock ]name.opsize op:size-access, ..." or "#UD", "#GP", "short". */
static inline const char *insn_text(enum dec_status st, const struct dec_insn *in, struct text *t)
{
    t->n = 0;
    t->s[0] = 0;
    if (st != DEC_OK) {
        put(t, "%s", st == DEC_UD ? "#UD" : st == DEC_TOO_LONG ? "#GP" : "short");
        return t->s;
    }
    put(t, "%s%s.%u", in->lock ? "lock " : "", in->row->name, in->opsize);
    for (unsigned i = 0; i < 4 && in->row->op[i].loc; i++) {
        put(t, i ? ", " : " ");
        put_op(t, in, i);
    }
    return t->s;
}

#endif
