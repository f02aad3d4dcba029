/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * regs.h - who lives where while generated code runs on an x86-64 host.
 *
 *   rax rcx rdx rbx rbp rsi rdi r12-r15   the guest's registers of the same name
 *   r8                                    the guest's rsp
 *   rsp                                   struct guest_cpu; below it a private stack for host signals and `call`s
 *   r9 r10 r11                            scratch: r10 = guest address, r10 + r11 = host address of the operand
 *   guest r8-r11                          in memory, cpu->r8_11[]
 *   XMM/YMM, x87, MMX, MXCSR              the guest's
 * Compilers use r8-r11 least (1-3 % of instructions each), and rsp can never be an index register, so it serves best
 * as a base.  Host DF is 0 and AC is 0 in generated code.
 */
#ifndef XBT_X64_REGS_H
#define XBT_X64_REGS_H

/* cpu->thunk[], then cpu->more_thunks[] */
#define TH_UNLINKED      0   /* called: the return address finds the exit and the state record */
#define TH_UNLINKED_FLAGS 1  /* the same, saves the host's flags before */
#define TH_SLOW_READ     2   /* r10 = linear, r9d = size | TH_F_*; returns r10 + r11 = host address (TH_FAR) */
#define TH_SLOW_WRITE    3   /* same; returns to the caller's jump, or 5 bytes behind it when a commit is needed */
#define TH_COMMIT        4   /* write the bounce buffer to the guest; host flags are kept */
#define TH_NEAR          5   /* those before are in cpu->thunk[] */
#define TH_INDIRECT      5   /* cpu->rip is set: jump cache missed or something is pending; r10 = the
                              * instruction's IP, r9d = what takes back its change of rSP */
#define TH_HELPER        6   /* r10 = struct dec_insn */
#define TH_HELPER_X      7   /* same, does not return */
#define TH_SEG_FAULT     8   /* r10 = offset, r9d as for the slow access: what comes first, #GP(0) or #SS(0) */
#define TH_RAISE         9   /* r9d = vector | 0x100 when there is an error code 0; cpu->rip set */
#define TH_SPECIAL       10  /* cpu->rip set: a SHADOW/RF/TF block ends */
#define TH_RECHECK       11  /* cpu->rip set: second page of the block must be looked at again */
#define TH_RET_NONE      12  /* an empty slot of the return cache: goes to r11, which holds the return's own lookup */
#define TH_COUNT         13

/* After a slow access or a commit r10 = linear address + TH_FAR and r11 makes up for it: farther from the address than
 * any displacement reaches, so that an access window never matches it.  It is the bit that can be told from an
 * address's own: no canonical address has bits 63 and 62 unequal. */
#define TH_FAR (1ull << 63)

#define TH_F_SS   0x10000   /* stack reference: non-canonical gives #SS */
#define TH_F_RMW  0x20000
#define TH_F_ALIGN 0x40000  /* the instruction demands alignment: a misaligned address gives #GP before #PF */
#define TH_AC_UNIT(size) ((size) == 10 ? 8u : (size) > 16 ? 16u : (size)) /* what an operand is aligned to */
#define TH_F_AC   0x80000   /* alignment is checked (HF_AC): a misaligned address gives #AC before #PF */
#define TH_F_MM   0x100000  /* with TH_F_ALIGN: not when MXCSR.MM is set */
#define TH_F_FLAT32 0x400000 /* no segment check was made: a 32-bit offset must not wrap */
#define TH_F_LOCK 0x800000  /* with TH_F_RMW: atomic */
#define TH_F_X87  0x200000  /* a pending x87 exception comes first */

/* What xbt_enter() returns. */
#define LEAVE_UNLINKED 1
#define LEAVE_INDIRECT 2
#define LEAVE_SPECIAL  3
#define LEAVE_RECHECK  4
#define LEAVE_RAISE    5
#define LEAVE_HELPER   6
#define LEAVE_SMC      7

#endif
