/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svm.h - AMD secure virtual machine: the VMCB's layout and what the svm_*.c files share.
 *
 * Model: outside of a guest of the guest (a "nested guest" here) nothing of this costs anything but EFER.SVME and
 *   the GIF test in the vCPU loop.  Inside one, HF_NESTED is in the blocks' key, and instructions that a hypervisor
 *   can intercept are translated to guarded helpers (svm_guard.c).
 * Owner: the vCPU thread.  c->svm is defined in guest_cpu.h.
 * Manual: APM vol. 2, chapter 15 and appendices B (VMCB) and C (exit codes).
 */
#ifndef XBT_SVM_H
#define XBT_SVM_H

#include "translator/help.h"

/* ---- VMCB: control area ---- */
#define VMCB_INTERCEPT    0x000  /* SVM_ICPT_WORDS words of 32 bits */
#define VMCB_IOPM         0x040
#define VMCB_MSRPM        0x048
#define VMCB_TSC_OFFSET   0x050
#define VMCB_ASID         0x058
#define VMCB_TLB_CONTROL  0x05c
#define VMCB_INT_CTL      0x060
#define VMCB_INT_VECTOR   0x064
#define VMCB_INT_STATE    0x068
#define VMCB_EXITCODE     0x070
#define VMCB_EXITINFO1    0x078
#define VMCB_EXITINFO2    0x080
#define VMCB_EXITINTINFO  0x088
#define VMCB_NP_ENABLE    0x090
#define VMCB_EVENTINJ     0x0a8
#define VMCB_NCR3         0x0b0
#define VMCB_NEXT_RIP     0x0c8
/* ---- VMCB: state save area ---- */
#define VMCB_ES           0x400
#define VMCB_CS           0x410
#define VMCB_SS           0x420
#define VMCB_DS           0x430
#define VMCB_FS           0x440
#define VMCB_GS           0x450
#define VMCB_GDTR         0x460
#define VMCB_LDTR         0x470
#define VMCB_IDTR         0x480
#define VMCB_TR           0x490
#define VMCB_CPL          0x4cb
#define VMCB_EFER         0x4d0
#define VMCB_CR4          0x548
#define VMCB_CR3          0x550
#define VMCB_CR0          0x558
#define VMCB_DR7          0x560
#define VMCB_DR6          0x568
#define VMCB_RFLAGS       0x570
#define VMCB_RIP          0x578
#define VMCB_RSP          0x5d8
#define VMCB_RAX          0x5f8
#define VMCB_STAR         0x600
#define VMCB_LSTAR        0x608
#define VMCB_CSTAR        0x610
#define VMCB_SFMASK       0x618
#define VMCB_KERNEL_GS    0x620
#define VMCB_SYSENTER_CS  0x628
#define VMCB_SYSENTER_ESP 0x630
#define VMCB_SYSENTER_EIP 0x638
#define VMCB_CR2          0x640
#define VMCB_G_PAT        0x668

/* VMCB_INT_CTL */
#define V_TPR_BITS        0x0fu
#define V_IRQ_PENDING     (1u << 8)
#define V_GIF_VALUE       (1u << 9)
#define V_PRIO(ctl)       ((ctl) >> 16 & 15)
#define V_IGNORE_TPR      (1u << 20)
#define V_MASKING         (1u << 24)
#define V_GIF_ON          (1u << 25)

/* VMCB_EVENTINJ, VMCB_EXITINTINFO */
#define EVENT_VALID       (1ull << 31)
#define EVENT_HAS_ERROR   (1ull << 11)
#define EVENT_INTR        (0ull << 8)
#define EVENT_NMI         (2ull << 8)
#define EVENT_EXCEPTION   (3ull << 8)
#define EVENT_SOFT        (4ull << 8)
#define EVENT_TYPE(e)     ((e) & 0x700)

/* ---- exit codes; bit n of intercept word w has code w * 32 + n, up to word 5 ---- */
#define VMEXIT_CR_READ    0x000u
#define VMEXIT_CR_WRITE   0x010u
#define VMEXIT_DR_READ    0x020u
#define VMEXIT_DR_WRITE   0x030u
#define VMEXIT_EXCEPTION  0x040u
#define VMEXIT_INTR       0x060u
#define VMEXIT_NMI        0x061u
#define VMEXIT_INIT       0x063u
#define VMEXIT_VINTR      0x064u
#define VMEXIT_CR0_SEL    0x065u
#define VMEXIT_IDTR_READ  0x066u
#define VMEXIT_GDTR_READ  0x067u
#define VMEXIT_LDTR_READ  0x068u
#define VMEXIT_TR_READ    0x069u
#define VMEXIT_IDTR_WRITE 0x06au
#define VMEXIT_GDTR_WRITE 0x06bu
#define VMEXIT_LDTR_WRITE 0x06cu
#define VMEXIT_TR_WRITE   0x06du
#define VMEXIT_RDTSC      0x06eu
#define VMEXIT_RDPMC      0x06fu
#define VMEXIT_PUSHF      0x070u
#define VMEXIT_POPF       0x071u
#define VMEXIT_CPUID      0x072u
#define VMEXIT_RSM        0x073u
#define VMEXIT_IRET       0x074u
#define VMEXIT_SWINT      0x075u
#define VMEXIT_INVD       0x076u
#define VMEXIT_PAUSE      0x077u
#define VMEXIT_HLT        0x078u
#define VMEXIT_INVLPG     0x079u
#define VMEXIT_INVLPGA    0x07au
#define VMEXIT_IOIO       0x07bu
#define VMEXIT_MSR        0x07cu
#define VMEXIT_TASK       0x07du
#define VMEXIT_FERR       0x07eu
#define VMEXIT_SHUTDOWN   0x07fu
#define VMEXIT_VMRUN      0x080u
#define VMEXIT_VMMCALL    0x081u
#define VMEXIT_VMLOAD     0x082u
#define VMEXIT_VMSAVE     0x083u
#define VMEXIT_STGI       0x084u
#define VMEXIT_CLGI       0x085u
#define VMEXIT_SKINIT     0x086u
#define VMEXIT_RDTSCP     0x087u
#define VMEXIT_ICEBP      0x088u
#define VMEXIT_WBINVD     0x089u
#define VMEXIT_MONITOR    0x08au
#define VMEXIT_MWAIT      0x08bu
#define VMEXIT_MWAIT_ARMED 0x08cu
#define VMEXIT_XSETBV     0x08du
#define VMEXIT_INVPCID    0x0a2u
#define VMEXIT_NPF        0x400u
#define VMEXIT_INVALID    (~0ull)

/* Does the hypervisor intercept what has this code (below 0x0c0)?  The caller knows that a nested guest runs. */
static inline bool svm_wants(const struct guest_cpu *c, uint32_t code)
{
    return c->svm.icpt[code >> 5] >> (code & 31) & 1;
}

/* ---- svm_vmcb.c: guest-physical memory ---- */
struct svm_page {
    uint64_t gpa;
    uint8_t *host;   /* NULL: not RAM, each access goes to the device */
};
/* The 4 KiB page at gpa; write: blocks made of it die, it is dirty. */
struct svm_page svm_page(struct guest_cpu *c, uint64_t gpa, bool write);
uint64_t svm_ld(struct guest_cpu *c, const struct svm_page *p, unsigned off, unsigned size);
void svm_st(struct guest_cpu *c, const struct svm_page *p, unsigned off, unsigned size, uint64_t v);
/* A segment register in the form of the save area. */
void svm_ld_seg(struct guest_cpu *c, const struct svm_page *p, unsigned off, unsigned seg);
void svm_st_seg(struct guest_cpu *c, const struct svm_page *p, unsigned off, unsigned seg);
/* What VMLOAD and VMSAVE move. */
void svm_vmload(struct guest_cpu *c, uint64_t gpa);
void svm_vmsave(struct guest_cpu *c, uint64_t gpa);

/* ---- svm_run.c: the world switch ---- */
/* VMRUN with its operand checked; next: where the host goes on after #VMEXIT.  May raise in the nested guest. */
void svm_vmrun(struct guest_cpu *c, uint64_t vmcb, uint64_t next);
/* #VMEXIT; never returns: on to the vCPU loop with the host's state.  State as for cpu_raise(). */
_Noreturn void svm_exit(struct guest_cpu *c, uint64_t code, uint64_t info1, uint64_t info2);
/* The same from the vCPU loop, state in sync: returns. */
void svm_exit_now(struct guest_cpu *c, uint64_t code, uint64_t info1, uint64_t info2);
/* The embedder brought another state (reset, loadvm, INIT): in_guest and vmcb are new, derive the rest of c->svm from
 * the VMCB and the host save area. */
void svm_state_loaded(struct guest_cpu *c);

/* ---- svm_guard.c: intercepts ---- */
void svm_guard_init(void);
/* The row to use in a nested guest instead of this one. */
const struct insn_row *svm_guard_row(const struct insn_row *row);
/* IN, OUT, INS, OUTS: after the permission checks. */
void svm_check_io(struct guest_cpu *c, const struct dec_insn *in, unsigned port, unsigned size);

/* ---- svm_event.c: interrupts and exceptions ---- */
/* Deliver EVENTINJ; may raise. */
void svm_inject(struct guest_cpu *c);
/* take_pending() of the vCPU loop while a nested guest runs or GIF is 0.  True: look again. */
bool svm_take_pending(struct guest_cpu *c);
/* An exception is about to be delivered: may turn into #VMEXIT (returns true: done). */
bool svm_exception(struct guest_cpu *c, unsigned vector, bool has_error, uint32_t error);
/* An event is being delivered / has been.  What #VMEXIT reports in between. */
void svm_event_begin(struct guest_cpu *c, unsigned vector, uint64_t type, bool has_error, uint32_t error);
static inline void svm_event_end(struct guest_cpu *c) { c->svm.event = 0; }
/* A task switch, descriptors checked, nothing changed yet.  why: bits of EXITINFO2. */
#define TASK_INFO_IRET  (1ull << 36)
#define TASK_INFO_JMP   (1ull << 38)
#define TASK_INFO_ERROR (1ull << 44)
#define TASK_INFO_RF    (1ull << 48)
void svm_check_task(struct guest_cpu *c, uint16_t sel, uint64_t info2);
/* The nested page tables do not allow an access (tlb/). */
_Noreturn void svm_npf(struct guest_cpu *c, uint64_t gpa, uint64_t info);

#endif
