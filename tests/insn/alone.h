/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * alone.h - instructions under the engine alone, checked against the manual:
 * those that the host's user mode cannot answer, and real-address and v86 mode
 * where segments and privilege differ from it.
 *
 * RUN() starts from alone.in, which alone_start() filled; the results are in
 * alone.out and alone.m->c.  CHECK() counts.
 */
#ifndef INSN_ALONE_H
#define INSN_ALONE_H

#include "tests/insn/machine.h"

struct alone {
    struct machine *m;
    struct guest_cpu *c;
    struct snip_state in, out;
    enum snip_mode mode;
    const char *name;
    unsigned cases, failed;
    uint32_t len; /* of the code */
};
extern struct alone alone;

/* Registers are 0x0102030405060708 * (number + 1), flags all clear, stacks and
 * data zero. */
void alone_start(enum snip_mode mode, const char *name);
/* Run the bytes, INT3s behind them; alone.out as machine_run() leaves it. */
void alone_run(const char *bytes, unsigned len);
void alone_check(bool ok, const char *what, unsigned long long got,
                 unsigned line);
uint64_t alone_gpr(unsigned n); /* initial value in this mode */
uint32_t alone_ip(void);        /* of the code: offset or address */
/* Memory: offset from DS (16-bit modes) or LIN_DATA; the stack: offset from SS
 * or LIN_STACK. */
uint8_t *alone_data(uint32_t off);
uint8_t *alone_stack(uint32_t off);

#define RUN(bytes) alone_run(bytes, sizeof(bytes) - 1)
#define CHECK(e)   alone_check((e), #e, 0, __LINE__)
#define EQ(a, b)                                              \
    alone_check((uint64_t)(a) == (uint64_t)(b), #a " == " #b, \
                (unsigned long long)(a), __LINE__)
/* Vector, and RIP relative to the code. */
#define ENDS(v, rel)                                     \
    do {                                                 \
        EQ(alone.out.vector, v);                         \
        EQ((uint32_t)(alone.out.rip - alone_ip()), rel); \
    } while (0)

void alone_system(
    void); /* alone_system.c: answers of the system, in every mode */
void alone_real(void); /* alone_real.c: real and v86 mode */

#endif
