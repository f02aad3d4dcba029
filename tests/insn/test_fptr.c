/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_fptr.c - the x87 instruction and operand pointers and the opcode: random x87 instructions with branches, other
 * instructions and faults between them, then FNSTENV, FNSAVE or an unmasked exception, on the host and under the engine.
 *
 * The host's kernel saves the pointers at a context switch only while an exception is pending (AMD processors show them
 * only then).  A difference is therefore looked at again from the same state.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/insn/runner.h"

struct text {
    uint8_t b[200];
    unsigned n;
};

static void put(struct text *t, unsigned v)
{
    t->b[t->n++] = (uint8_t)v;
}

/* ModRM of [rbx|rbp|rsi|rdi + disp8]: the same registers in all modes. */
static void put_mem(struct runner *r, struct text *t, enum snip_mode mode, unsigned ext)
{
    static const uint8_t wide[4] = { 3, 5, 6, 7 }, narrow[4] = { 7, 6, 4, 5 };
    unsigned k = runner_rand(r) & 3;

    put(t, 0x40 | ext << 3 | (mode == SM_16 ? narrow[k] : wide[k]));
    put(t, runner_rand(r) & 0x3f);
}

static void put_segment(struct runner *r, struct text *t, enum snip_mode mode)
{
    static const uint8_t prefix[] = { 0x64, 0x65, 0x2e, 0x36, 0x26, 0x3e };
    unsigned k = runner_rand(r) & 15;

    /* FS and GS are null outside 64-bit code; the code segment cannot be written. */
    if (k < 6 && (k > 2 || mode == SM_64))
        put(t, prefix[k]);
}

/* Anything but what replaces the environment, or FBSTP and FSTP m80, whose faults microcode reports its own way. */
static void put_x87(struct runner *r, struct text *t, enum snip_mode mode)
{
    unsigned op, ext;

    do {
        op = runner_rand(r) & 7;
        ext = runner_rand(r) & 7;
    } while ((op == 1 && (ext == 4 || ext == 6)) || (op == 3 && (ext == 4 || ext >= 6)) || (op == 5 && ext >= 4) ||
             (op == 7 && (ext == 4 || ext == 6)));
    if (op == 1 && ext == 5) {
        put(t, 0xd9);               /* FLDCW would unmask at random: FNOP */
        put(t, 0xd0);
        return;
    }
    put_segment(r, t, mode);
    put(t, 0xd8 | op);
    if (runner_rand(r) & 1) {
        put_mem(r, t, mode, ext);
    } else {
        /* FADD ST, ST(i): register forms exist for all of D8, DC and the loads and exchanges of D9. */
        t->b[t->n - 1] = runner_rand(r) & 1 ? 0xd8 : 0xdc;
        put(t, 0xc0 | ext << 3 | (runner_rand(r) & 7));
    }
}

/* What leaves the pointers alone, and FNINIT. */
static void put_other(struct runner *r, struct text *t, enum snip_mode mode)
{
    switch (runner_rand(r) % 9) {
    case 0:
        put(t, 0xeb), put(t, 0);                                    /* jmp: another block */
        break;
    case 1:
        put(t, 0x74), put(t, 1), put(t, 0x90);                      /* jz over a nop */
        break;
    case 2:
        put(t, 0x8b), put_mem(r, t, mode, 0);                       /* mov (mem), ax */
        break;
    case 3:
        put(t, 0x89), put_mem(r, t, mode, 2);                       /* mov dx, (mem) */
        break;
    case 4:
        put(t, 0xdf), put(t, 0xe0);                                 /* fnstsw ax */
        break;
    case 5:
        put(t, 0xd9), put_mem(r, t, mode, 7);                       /* fnstcw */
        break;
    case 6:
        put(t, 0x0f), put(t, 0x4b), put(t, 0xc1);                   /* cmovnp cx, ax */
        break;
    case 7:
        put(t, 0xdb), put(t, 0xe2 + (runner_rand(r) % 8 == 0));     /* fnclex, fninit */
        break;
    default:
        put(t, 0x98);                                               /* cwde */
        break;
    }
}

static void generate(struct runner *r, struct text *t, enum snip_mode mode)
{
    unsigned n = 1 + runner_rand(r) % 12;

    t->n = 0;
    for (unsigned i = 0; i < n; i++) {
        if (runner_rand(r) & 1)
            put_x87(r, t, mode);
        else
            put_other(r, t, mode);
    }
    if (runner_rand(r) % 4 == 0)
        put(t, 0x66);
    bool save = runner_rand(r) % 4 == 0;
    put(t, save ? 0xdd : 0xd9);                                     /* fnsave or fnstenv */
    put_mem(r, t, mode, 6);
    put(t, 0xd9);                                                   /* and what is left of them */
    put_mem(r, t, mode, 6);
}

/* Operands at the end of a page and at the end of the mapping; sometimes unmasked exceptions. */
static void aim(struct runner *r, enum snip_mode mode, struct snip_state *st)
{
    uint64_t data = mode == SM_16 ? 0 : LIN_DATA;

    if (runner_rand(r) % 4 == 0)
        st->gpr[R_RSI] = data + 0x1000 - runner_rand(r) % 64;
    if (runner_rand(r) % 4 == 0)
        st->gpr[R_RBX] = data + DATA_SIZE - runner_rand(r) % 64;
    if (runner_rand(r) % 2 == 0)
        st->ximg[0] &= (uint8_t)~(1u << runner_rand(r) % 6);
}

static bool one(struct runner *r, uint64_t seed, bool quiet)
{
    enum snip_mode mode = (enum snip_mode)(seed % SM_REAL);   /* real and v86 mode store other images */
    unsigned verbose = r->verbose;
    struct snip_state st;
    struct text t;

    r->rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
    generate(r, &t, mode);
    struct snippet s = { .name = "fptr", .mode = mode, .code = t.b, .len = t.n, .microcoded = true };
    runner_place(r, &s, 0);
    runner_random_memory(r);
    runner_random_state(r, mode, &st);
    aim(r, mode, &st);
    r->verbose = quiet ? 0 : verbose;
    bool same = runner_compare(r, &s, &st);
    r->verbose = verbose;
    return same;
}

int main(int argc, char **argv)
{
    const char *machine = argc > 1 ? argv[1] : "default";
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 1000;
    struct runner r;

    runner_init(&r, machine, 1);
    if (!runner_compares_fptr()) {
        printf("this processor does not set and keep all of FOP, FIP, FCS, FDP and FDS\n");
        return 77;
    }
    for (unsigned long k = 0; k < rounds; k++) {
        bool same = false;
        for (unsigned again = 0; again < 4 && !same; again++) {
            unsigned long before = r.mismatches;
            same = one(&r, k, again < 3);
            if (again < 3)
                r.mismatches = before;
        }
    }
    return runner_finish(&r, machine);
}
