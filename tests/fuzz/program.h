/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * program.h - random programs: straight and looping sequences of instructions with branches, made so that most of
 * their memory accesses hit and no undefined flag is ever looked at.
 */
#ifndef FUZZ_PROGRAM_H
#define FUZZ_PROGRAM_H

#include "tests/insn/gen.h"

#define MAX_ITEMS 80
#define MAX_CODE  960

enum item_kind {
    IT_INSN,                /* bytes, perhaps with an address to patch */
    IT_JCC, IT_JMP, IT_JCXZ, IT_CALL,   /* forward to `to` */
    IT_IND_JMP, IT_IND_CALL, IT_RET,    /* the same through a register or the stack */
    IT_LOOP_END,            /* decrement the counter register, back to `to` */
};

struct item {
    enum item_kind kind;
    uint8_t bytes[24];
    unsigned len;
    unsigned disp_at;       /* RIP-relative: where the displacement is, target is where it leads */
    bool rip_relative;
    uint64_t target;
    unsigned to;            /* item number */
    unsigned cc, reg;
    bool dropped;           /* by the shrinker */
    uint16_t fl_read, fl_write, fl_undef;
    char name[24];
};

struct program {
    enum snip_mode mode;
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
/* Lay it out for linear address `ip`; returns the length. */
unsigned program_emit(const struct program *p, uint64_t ip, uint8_t *code);
/* Registers that the program expects to be pointers and counters. */
void program_state(struct runner *r, const struct program *p, struct snip_state *st);

#endif
