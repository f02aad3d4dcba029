/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * program.h - random programs: straight and looping sequences of instructions with branches, made so that most of
 * their memory accesses hit and no undefined flag is ever looked at.
 */
#ifndef FUZZ_PROGRAM_H
#define FUZZ_PROGRAM_H

#include "tests/fuzz/trial.h"
#include "tests/insn/gen.h"

enum item_kind {
    IT_INSN,                /* bytes, perhaps with an address to patch */
    IT_JCC, IT_JMP, IT_JCXZ, IT_CALL,   /* forward to `to` */
    IT_IND_JMP, IT_IND_CALL, IT_RET,    /* the same through a register or the stack */
    IT_LOOP_END,            /* decrement the counter register, back to `to` */
    IT_PATCH,               /* store into the code of item `to`: an immediate, a ModRM byte, a displacement */
};
enum flavour { FLV_MIX, FLV_INT, FLV_VECTOR, FLV_X87, FLV_COUNT };
enum { PATCH_IMM8, PATCH_IMM32, PATCH_MODRM, PATCH_ADD }; /* how an instruction is patched: item.reg */
#define NO_ITEM (~0u)

struct item {
    enum item_kind kind;
    uint8_t bytes[24];
    unsigned len;
    unsigned disp_at;       /* RIP-relative: where the displacement is, target is where it leads */
    bool rip_relative;
    uint64_t target;
    unsigned to;            /* item number */
    unsigned to2;           /* branches: where a patch may lead them; 0 = no patches */
    unsigned cc, reg;
    uint64_t value;         /* what a patch stores */
    bool dropped;           /* by the shrinker */
    bool patchable, microcoded;
    uint16_t fl_read, fl_write, fl_undef;
    char name[24];
};

struct program {
    enum snip_mode mode;
    enum flavour flavour;
    bool smc;
    unsigned counts;        /* most turns of the loop */
    unsigned n;
    struct item item[MAX_ITEMS];
    uint32_t fl_undef;      /* undefined at the end */
    uint32_t fl_undef_any;  /* undefined anywhere */
    bool microcoded;        /* see runner.h */
    bool popf;              /* may set AC: no microcoded instructions then */
};

/* Make a program of about `want` instructions. */
void program_make(struct runner *r, struct program *p, enum snip_mode mode, unsigned want);
/* Does no instruction that is left look at an undefined flag? */
bool program_valid(const struct program *p);
/* Registers with a purpose, in every mode. */
#define BIT(r) (1u << (r))
#define POINTERS32 (BIT(R_RBX) | BIT(R_RSI) | BIT(R_RDI) | BIT(R_RBP))
#define POINTERS64 (POINTERS32 | BIT(R_R8) | BIT(R_R9) | BIT(R_R13))
static inline unsigned program_pointers(const struct program *p)
{
    return p->mode == SM_64 ? POINTERS64 : POINTERS32;
}
static inline unsigned program_counter(const struct program *p)
{
    return p->mode == SM_64 ? R_R14 : R_RDX;
}

/* ---- layout.c ---- */
/* Lay it out at window offset `at` of the trial: code, items, flags.  False: too long. */
bool program_layout(const struct program *p, uint32_t at, struct trial *t);
/* A random initial state, with what the program expects in pointers and counters. */
void program_state(struct runner *r, const struct program *p, struct snip_state *st);

#endif
