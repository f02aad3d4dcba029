/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lab.h - runs trials on both sides and says whether they agree; shrinks and stores those that do not.
 */
#ifndef FUZZ_LAB_H
#define FUZZ_LAB_H

#include "tests/fuzz/oracle.h"
#include "tests/fuzz/program.h"

struct lab {
    struct runner r;
    struct oracle *oracle;
    const char *machine, *save_dir;
    unsigned long trials, events, overwritten, hung, lost;
    /* Instructions are counted in some batches, which run one instruction per block. */
    unsigned long counted_trials, counted_insns;
    struct outcome guest;
};

void lab_init(struct lab *l, const char *machine, uint64_t seed);
void lab_finish(struct lab *l);
/* Run the first n trials of the oracle's slots.  Returns the number of the first that differs, or -1; the oracle is
 * idle then. */
int lab_batch(struct lab *l, unsigned n);
/* The same for one trial, from an empty code cache.  report: print the difference. */
bool lab_agrees(struct lab *l, const struct trial *t, bool report);
/* The same for a sequence: does the last one differ? */
bool lab_sequence_agrees(struct lab *l, const struct trial *t, unsigned n, bool report);
/* Count the instructions of the next batches, or stop that. */
void lab_count(struct lab *l, bool on);

/* ---- shrink.c ---- */
/* A trial of `p` differs: find the smallest one that does, print it and write it to l->save_dir.  history: the trials
 * that ran before it, the failing one last, for failures that it does not show alone. */
void shrink_failure(struct lab *l, const struct program *p, const struct trial *history, unsigned n,
                    const char *origin);

/* ---- regress.c ---- */
/* Text of trials that are run one after the other; false with a message. */
bool regress_write(const char *path, const struct trial *t, unsigned n, const char *origin);
unsigned regress_read(const char *path, struct trial *t, unsigned max);
/* Run each file of a folder.  Returns how many differ. */
unsigned regress_replay(struct lab *l, const char *dir);

#endif
