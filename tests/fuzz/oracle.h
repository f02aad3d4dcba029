/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oracle.h - the native side of the fuzzer, in a child process.
 *
 * A random program stores to random addresses.  In the engine's process the TLB's reservations cover a good part of
 * the address space, and a wild store would hit them; in the child they do not exist (MADV_DONTFORK), nor does it
 * matter what else is hit there: a child that dies is replaced.  Programs that went astray may reach SYSCALL bytes: a
 * seccomp filter keeps everything but our own code from the kernel.  Parent and child share one array of trials and
 * results and work on it at the same time.
 */
#ifndef FUZZ_ORACLE_H
#define FUZZ_ORACLE_H

#include "tests/fuzz/trial.h"

#define ORACLE_BATCH 64

struct oracle_slot {
    struct trial trial;
    struct outcome result;
    bool hung;                  /* did not end by itself */
    uint8_t data[DATA_SIZE], stack[STACK_SIZE], around_ro[2][4096], code[MAX_CODE];
};

struct oracle;
struct oracle *oracle_new(struct machine *m);
void oracle_free(struct oracle *o);
/* The trial of slot i, to be filled before oracle_start(). */
struct trial *oracle_trial(struct oracle *o, unsigned i);
/* Run the first n slots. */
void oracle_start(struct oracle *o, unsigned n);
/* The result of slot i, copied to native_win too; NULL: the child died of it. */
struct oracle_slot *oracle_wait(struct oracle *o, unsigned i);
/* How many children died. */
unsigned oracle_deaths(const struct oracle *o);

#endif
