/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exec.h - the vCPU loop's interfaces to the rest of the translator.
 */
#ifndef XBT_EXEC_H
#define XBT_EXEC_H

#include "translator/help.h"
#include "tb-store/tb.h"

/* Bring c->rip and c->fl to the guest state that belongs to this host PC inside a TB (state_map.h). */
void tb_restore_state(struct guest_cpu *c, uint64_t host_pc);
/* Consume c->exc_vector: double/triple fault rules, then cpu_interrupt() (help_int.c). */
void cpu_deliver_exception(struct guest_cpu *c);
/* Translate the block at the current state; raises fetch faults.  May flush the cache to make room (c->flush_epoch
 * tells).  A block with tb->invalid or n_pages 0 (code in device memory) is to be run once and not entered anywhere. */
struct ir_block;
struct tb *translate(struct guest_cpu *c, const struct tb_key *key, uint64_t lip, const struct code_page *page);

/* The pending external interrupt or NMI, deliverable now: acknowledge and deliver. */
void take_interrupt(struct guest_cpu *c);
void take_nmi(struct guest_cpu *c);
void take_mce(struct guest_cpu *c);
/* Deliver an exception that a hypervisor injects (help_int.c). */
void cpu_deliver_injected(struct guest_cpu *c, unsigned vector, bool has_error, uint32_t error,
                          uint64_t return_rip);

/* Called from generated code through the thunks (thunks.c). */
void *xbt_thunk_read(struct guest_cpu *c, uint64_t lin, uint32_t flags);
void *xbt_thunk_write(struct guest_cpu *c, uint64_t lin, uint32_t flags);
void xbt_thunk_commit(struct guest_cpu *c);
void xbt_thunk_helper(struct guest_cpu *c, const struct dec_insn *in);
const void *xbt_thunk_helper_x(struct guest_cpu *c, const struct dec_insn *in);
_Noreturn void xbt_thunk_seg_fault(struct guest_cpu *c, uint32_t flags, uint32_t off);
_Noreturn void xbt_thunk_raise(struct guest_cpu *c, uint32_t what);
/* Where a signal handler sends the thread when generated code faulted; trapno is the host's vector. */
_Noreturn void xbt_signal_landing(struct guest_cpu *c, uint32_t trapno);

/* hostfault.c: the same for a page fault that hm_fault() left. */
_Noreturn void hostfault_landing(struct guest_cpu *c);
/* A host #GP or #SS: does not return when the instruction is to be tried again without mappings. */
void hostfault_address(struct guest_cpu *c);

/* thunks.c: build the entry and exit code once per process; fill c->thunk[]. False when memory is refused. */
bool thunks_init(void);
void thunks_fill(struct guest_cpu *c);
/* The code that blocks call and return to, piece by piece; for profilers. */
void thunks_each(void (*fn)(const char *name, const void *code, size_t size, void *arg), void *arg);
extern unsigned (*xbt_enter_code)(struct guest_cpu *c, const void *code);

/* dump.c: text of a block by the dump options (DUMP_*); FP state gets parked. */
void dump_block(struct guest_cpu *c, const struct ir_block *b, struct tb *tb);
_Noreturn void dump_bad_block(struct guest_cpu *c, const struct ir_block *b, const char *bad);
void dump_exit(struct guest_cpu *c, unsigned reason);

#endif
