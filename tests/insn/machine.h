/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * machine.h - the test machine: 16 MiB of flat RAM, page tables, GDT, IDT, TSS and one vCPU of the engine.
 *
 * Every exception of the guest goes to an IDT handler that is one HLT, so that xbt_vcpu_run() returns and the frame on
 * the kernel stack tells what happened.  Kernel structures are below WIN_PHYS and mapped for the supervisor only.
 */
#ifndef INSN_MACHINE_H
#define INSN_MACHINE_H

#include "tests/insn/state.h"
#include "translator/help.h"

#define RAM_SIZE 0x01000000u
#define RAM_ID   0x100000000ull   /* ram_addr of guest-physical 0 */

struct machine {
    struct xbt_vm vm;
    struct guest_cpu *c;
    uint8_t *ram;
    uint8_t *win;          /* ram + WIN_PHYS */
    enum snip_mode mode;   /* paging structures in force */
    bool mode_valid;
    unsigned polls;
};

struct machine_opts {
    const char *name;
    struct xbt_options opt;
};

/*
 * A way to run the engine by its name, which is one or more words joined by '+': default, one-insn, tagged, tiny, flush,
 * wx, no-bmi2, no-opt, no-PROPERTY for each line of translator/optimisations.inc, no-everything for all of those.  NULL:
 * there is no such word.  The result is good until the next call.
 */
const struct machine_opts *machine_opts_find(const char *name);

/* Where the engine's dumps go; NULL: stderr. */
extern void (*machine_log)(const char *text);
/* One machine per process. Exits with a message when the engine cannot start. */
struct machine *machine_new(const struct machine_opts *o);
/* Set paging and descriptor tables for a mode (flushes the TLB when it changes). */
void machine_set_mode(struct machine *m, enum snip_mode mode);
/* Load in, run until an exception, store the result. `in->rip` is linear in SM_64/COMPAT/32, an offset in SM_16. */
void machine_run(struct machine *m, enum snip_mode mode, const struct snip_state *in, struct snip_state *out);
/* The same at CPL 0 in 64-bit mode; HLT ends it: vector -1. */
void machine_run_kernel(struct machine *m, const struct snip_state *in, struct snip_state *out);
/* Replace guest code in the window from outside (as a device would). */
void machine_write_code(struct machine *m, uint32_t win_off, const void *bytes, size_t n);
/* One of the engine's counters, tb-store/stats.inc. */
uint64_t machine_stat(const struct machine *m, unsigned stat);
/* Forget all translations. */
void machine_flush(struct machine *m);
/* All pages get new ids for cross-page exits (tlb_cp_new_ids()). */
void machine_new_page_ids(struct machine *m);

#endif
