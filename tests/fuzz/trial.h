/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * trial.h - one run of a random program: everything it starts from, and what one side made of it.
 *
 * A fault does not end a trial: a handler notes the state and resumes at the next item of the program, as often as
 * MAX_EVENTS.  With EFLAGS.TF each instruction is an event.  So a trial compares the state at each of its faults and
 * traps, and memory at its end.
 */
#ifndef FUZZ_TRIAL_H
#define FUZZ_TRIAL_H

#include "tests/insn/runner.h"

#define MAX_CODE   2048
#define MAX_ITEMS  96
#define MAX_EVENTS 48
#define PAD        32        /* INT3s in front of and behind a program */

struct trial {
    enum snip_mode mode;
    uint32_t at;             /* window offset of the code */
    uint32_t memory;         /* seed of what is in data and stack */
    uint32_t fl_undef;       /* flags that are undefined at some point */
    uint16_t len;
    uint16_t n_items;
    uint16_t max_events;
    uint16_t start[MAX_ITEMS + 1];     /* offsets of the items; the last one is `len` */
    bool microcoded[MAX_ITEMS];        /* ends the trial when it faults (runner.h) */
    uint8_t code[MAX_CODE];
    bool planned[MAX_CODE];            /* bytes that the program stores to on purpose */
    struct snip_state in;
};

struct event {
    int vector;
    uint32_t error;
    uint64_t cr2, rip, rflags, gpr[16], fp;    /* fp: a hash of the vector and x87 state */
};

struct outcome {
    unsigned n_events;
    bool overwritten;        /* the program stored to itself by accident: what then ran may be anything */
    struct event event[MAX_EVENTS];
    struct snip_state out;
};

typedef void trial_run_fn(void *arg, enum snip_mode mode, const struct snip_state *in, struct snip_state *out);

/* Deterministic memory contents; once per process, before the others.  Sets the read-only page on both sides. */
void trial_init(struct runner *r);
/* Code, INT3s around it and data into a window.  False: the code was there already (data is written anyway). */
bool trial_place(const struct trial *t, uint8_t *win, bool code);
bool trial_code_intact(const struct trial *t, const uint8_t *win);
/* Run from the start to the end or to the fault that ends it; win: where its code is. */
void trial_run(const struct trial *t, trial_run_fn *run, void *arg, const uint8_t *win, struct outcome *o);
/* The first event that differs, or -1. */
int trial_events_differ(const struct trial *t, const struct outcome *native, const struct outcome *guest);
/* The comparison of the final states, with a report when r->verbose; native memory is in native_win. */
bool trial_diff(struct runner *r, const struct trial *t, const char *name, struct outcome *native,
                struct outcome *guest);

#endif
