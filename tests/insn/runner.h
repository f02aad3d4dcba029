/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * runner.h - runs one snippet on both sides from the same state and compares everything that it may see.
 */
#ifndef INSN_RUNNER_H
#define INSN_RUNNER_H

#include "tests/insn/machine.h"
#include "tests/insn/native.h"

struct runner {
    struct machine *m;
    uint32_t next_code;      /* window offset of the next free code byte */
    uint64_t rng;
    unsigned long runs, mismatches;
    unsigned verbose;        /* print the first so many mismatches in full */
    unsigned long ended[34]; /* runs by ending vector, [33]: did not end */
};

struct snippet {
    const char *name;
    enum snip_mode mode;
    const uint8_t *code;     /* without the final INT3 */
    unsigned len;
    uint32_t fl_ignore;      /* flags not compared */
    uint32_t fl_ignore_early; /* the same when it ends before its end */
    bool keep_place;         /* code is in the window already at `at` */
    uint32_t at;             /* window offset, set by runner_place() */
    bool microcoded;         /* accesses memory in several parts: which fault comes first and CR2 may differ, x87 state
                              * is not compared after a fault */
    bool rep;                /* may stop inside a REP */
    bool early_push;         /* CALL to a bad target: the return address may have been stored */
    bool sp16;               /* RETF n on a 16-bit stack: AMD carries into ESP[31:16] */
    bool early_regs;         /* POPA: registers read before the fault may have been loaded */
};

void runner_init(struct runner *r, const char *machine, uint64_t seed);
uint64_t runner_rand(struct runner *r);
/* Random, often a value at which arithmetic changes its mind. */
uint64_t runner_value(struct runner *r);
/* Copy the snippet into both windows, INT3s around it.  `tail`: it starts so many bytes before a page's end; 0 =
 * anywhere. */
/* Window offset at which runner_place() will put it. */
uint32_t runner_next_place(struct runner *r, const struct snippet *s, unsigned tail);
void runner_place(struct runner *r, struct snippet *s, unsigned tail);
void runner_place_at(struct runner *r, struct snippet *s, uint32_t at);
/* A random state: GPRs are random with the pointer registers aimed at data and stack, vector registers random. */
void runner_random_state(struct runner *r, enum snip_mode mode, struct snip_state *st);
/* Fill data and stack with the same random bytes on both sides. */
void runner_random_memory(struct runner *r);
/* Run on both sides and compare; memory must be equal before.  Returns true when all is equal. */
bool runner_compare(struct runner *r, const struct snippet *s, struct snip_state *st);
/* The comparison alone: native memory in native_win, the guest's in the machine, `a` native, `b` under the engine. */
bool runner_diff(struct runner *r, const struct snippet *s, const struct snip_state *st, struct snip_state *a,
                 struct snip_state *b);
/* Bits of a page fault's error code that can be compared. */
uint64_t runner_error_mask(const struct snippet *s, const struct snip_state *native);
/* Does this host set and load the x87 pointers as the manuals have it?  Newer Intel processors set FDP and FOP only for
 * unmasked exceptions, and no FCS and FDS (CPUID 7 EBX, bits 6 and 13); old AMD processors load them only with a pending
 * exception (CPUID 80000008 EBX, bit 2). */
bool runner_compares_fptr(void);
/* Exit status for main(): prints the totals. */
int runner_finish(struct runner *r, const char *what);

#endif
