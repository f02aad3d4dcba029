/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help.h - runtime helpers: instructions done in C.
 *
 * Contract of a helper `int help_x(struct guest_cpu *c, const struct dec_insn *in)`:
 *  - On entry all guest state is in *c: GPRs (GPR()), c->rip = in->ip, c->fl (status flags), segments.
 *    FP/vector state is live in the host registers (c->fpu_live = 1) unless parked: helpers that use it call fpu_park(c)
 *    and work on c->fpu; it is reloaded before generated code goes on.
 *  - The helper performs the instruction completely: operand fetch (opnd_*), checks, result, flags (only if the row
 *    says so).  Faults: cpu_raise*(); nothing may have been committed before (precise).
 *  - HELP_NEXT: the caller goes on with the next instruction (it sets c->rip = next when it needs it).
 *  - HELP_JUMP: the helper set c->rip itself (branch taken, mode changed...); only for rows with IA_ENDS.
 *  - HELP_LOOP: state in sync, c->rip set; go to the vCPU loop (HLT, pending work...). Any row.
 *  - Rows with IA_CPL0 have been checked by the lifter; IA_ENDS rows must call cpu_update_hflags() themselves when they
 *    changed what it depends on.
 * Helpers run with the generated code's signal handling in force: a wild host pointer would be reported as a host bug.
 */
#ifndef XBT_HELP_H
#define XBT_HELP_H

#include "translator/decode.h"
#include "translator/guest_cpu.h"
#include "translator/host.h"
#include "translator/mem.h"
#include "tlb/tlb.h"
#include "tb-store/stats.h"

enum { HELP_NEXT, HELP_JUMP, HELP_LOOP };

/* ---- operand access (opnd.c) ---- */
/* Offset part of the effective address, truncated to the address size. */
uint64_t opnd_ea(struct guest_cpu *c, const struct dec_insn *in);
/* Linear address of the memory operand (+ extra bytes): segment base, limit and canonical checks for an access of
 * `size` bytes; raises #GP/#SS. write selects the writability check. */
uint64_t opnd_lin(struct guest_cpu *c, const struct dec_insn *in, unsigned size, bool write);
/* Far pointer in memory: returns the offset (`size` bytes) and *sel.  The selector's address wraps by itself at the
 * address size, as two accesses do. */
uint64_t opnd_far(struct guest_cpu *c, const struct dec_insn *in, unsigned size, uint16_t *sel);
/* Same for an explicit segment:offset. */
uint64_t seg_lin(struct guest_cpu *c, unsigned seg, uint64_t off, unsigned size, bool write);
/* GPR of `size` bytes with x86 rules (high bytes; 32-bit writes zero-extend). high8: number 4..7 means AH..BH. */
uint64_t gpr_read(struct guest_cpu *c, unsigned reg, unsigned size, bool high8);
void gpr_write(struct guest_cpu *c, unsigned reg, unsigned size, bool high8, uint64_t val);
/* Operand i of the instruction: GPR, memory, immediate, accumulator. */
uint64_t opnd_read(struct guest_cpu *c, const struct dec_insn *in, unsigned i);
void opnd_write(struct guest_cpu *c, const struct dec_insn *in, unsigned i, uint64_t val);

/* ---- stack (opnd.c): SS:rSP by mode; fault before anything is committed ---- */
unsigned stack_size(const struct guest_cpu *c);        /* 2, 4 or 8: the stack address size */
uint64_t stack_mask(const struct guest_cpu *c);
void set_rsp(struct guest_cpu *c, uint64_t val);       /* writes SP/ESP/RSP by stack address size */
/* Read at rSP + off without moving it / push relative to *sp (a local copy). */
uint64_t stack_peek(struct guest_cpu *c, unsigned off, unsigned size);
void stack_push_at(struct guest_cpu *c, uint64_t *sp, uint64_t val, unsigned size);

/* ---- segments (help_seg.c) ---- */
/* Load a segment register as MOV/POP/LxS would (all checks, descriptor fetch, accessed bit). Not CS. */
void seg_load(struct guest_cpu *c, unsigned seg, uint16_t sel);
/* Real-mode/v86 style load. */
void seg_load_real(struct guest_cpu *c, unsigned seg, uint16_t sel);
/* Set the current privilege level (with SS.DPL bookkeeping left to the caller) and refresh hflags. */
void cpu_set_cpl(struct guest_cpu *c, unsigned cpl);
void cpu_interrupt(struct guest_cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error,
                   uint64_t return_rip); /* deliver (help_int.c): pushes frame, loads CS:RIP; may raise */
/* #UD unless ..., convenience */
#define GP0(c) cpu_raise_err((c), EXC_GP, 0)

/* ---- MSRs, control registers (help_sys.c, help_msr.c): also used by the embedder for state loads ---- */
void cpu_write_cr0(struct guest_cpu *c, uint64_t val); /* raises #GP on illegal combinations */
void cpu_write_cr3(struct guest_cpu *c, uint64_t val);
void cpu_write_cr4(struct guest_cpu *c, uint64_t val);
bool msr_read(struct guest_cpu *c, uint32_t msr, uint64_t *val);  /* false = #GP */
bool msr_write(struct guest_cpu *c, uint32_t msr, uint64_t val);

/* ---- debug registers (debug.c) ---- */
#define DB_IS_FAULT (1u << 31)  /* in c->exc_dr6: an instruction breakpoint, EFLAGS.RF is pushed as 1 */
unsigned debug_exec_mask(const struct guest_cpu *c);                  /* armed instruction breakpoints */
unsigned debug_exec_at(const struct guest_cpu *c, uint64_t lip);      /* those at this linear address */
bool debug_exec_near(const struct xbt_vm *vm, uint64_t lip);          /* may any vCPU have had one there? */
/* After any change of DR0 to DR3 or DR7; updates hflags. */
void debug_registers_changed(struct guest_cpu *c);
/* An instruction of the current block is about to meet these data or I/O breakpoints.  Returns when it may go on. */
void debug_hit(struct guest_cpu *c, unsigned hits);
/* The instruction of generated code that is running is to be a block of its own: give it up unless it is. */
void debug_alone(struct guest_cpu *c);
void debug_check_io(struct guest_cpu *c, unsigned port, unsigned size);
_Noreturn void debug_raise_exec(struct guest_cpu *c);

/* ---- log of what helpers do (dump_event.c) ---- */
static inline bool dump_wanted(const struct guest_cpu *c, unsigned what)
{
    return __builtin_expect(c->vm->opt.dump & what, 0);
}
__attribute__((format(printf, 2, 3))) void dump_event(struct guest_cpu *c, const char *format, ...);

/* ---- the vCPU loop (exec.c) ---- */
struct tb_hash_ops;
enum vcpu_exit { VCPU_EXIT_STOP, VCPU_EXIT_HALT, VCPU_EXIT_SHUTDOWN, VCPU_EXIT_DEBUG /* debugger.h */ };
/* Run until something needs the embedder. FP state is parked on return. */
enum vcpu_exit xbt_vcpu_run(struct guest_cpu *c);
/* Engine set-up: host features, code cache, TLB; false with *why. vm->opt and c->host set before. */
bool xbt_vm_init(struct xbt_vm *vm, const struct tb_hash_ops *hash, const char **why);
/* The vCPU joins the VM for good: one that is unplugged stays outside of xbt_vcpu_run() until it is used again.  One thread
 * at a time; others may be running. */
bool xbt_vcpu_init(struct xbt_vm *vm, struct guest_cpu *c, const char **why);
/* guest_cpu must come from here: it sits at the top of its own generated-code stack. */
struct guest_cpu *xbt_vcpu_alloc(void);
void xbt_vcpu_free(struct guest_cpu *c);
/* Install the SIGSEGV/SIGBUS/SIGFPE handlers (process wide, chained) and this thread's signal stack. */
void xbt_signals_install(void);
void xbt_signals_thread_init(struct guest_cpu *c);
/* The thread ends: nothing of the engine runs on it any more. */
void xbt_signals_thread_exit(void);
/* This thread runs another vCPU now. */
void xbt_signals_running(struct guest_cpu *c);

/* every helper: int help_<name>(c, in) */
#define HELPER(name) int help_##name(struct guest_cpu *c, const struct dec_insn *in);
#include "translator/helpers.inc"
#undef HELPER

#endif
