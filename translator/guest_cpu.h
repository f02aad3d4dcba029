/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_cpu.h - the architectural and translation state of one guest vCPU.
 *
 * Purpose:  laid out for generated code, which addresses every field as
 *           [rsp + offset] (host rsp points at the struct while generated
 *           code runs).  Fields up to byte 127 are reached with a one-byte
 *           displacement.
 * Owner:    the vCPU thread.  Other threads may only touch `exit_request`
 *           (through cpu_kick()) and, while the vCPU is stopped, the rest.
 * Invariants:
 *   - While generated code runs, guest GPRs other than r8-r11 live in host
 *     registers (see x86-64/regs.h); everywhere else `gpr[]` is complete.
 *   - `fl` holds the status flags in LAHF form, see below.  `eflags` holds
 *     all the other EFLAGS bits; its status bits are always zero.
 *   - `fpu_live` says whether x87/SSE/AVX state is in the host's registers
 *     (1) or in `fpu` (0).  C code that may touch vector or x87 registers
 *     (libc, glib, QEMU) must call fpu_park() first.
 *   - `hflags` is a function of the control registers, EFLAGS and segment
 *     attributes: call cpu_update_hflags() after changing any of them.
 */
#ifndef XBT_GUEST_CPU_H
#define XBT_GUEST_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tlb_space;
struct tb;
struct xbt_host_ops;
struct xbt_vm;

enum gpr_num {
    R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI,
    R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15,
};

/* Segment register numbers, SDM vol. 2 table 2-1 order (sreg field). */
enum seg_num { S_ES, S_CS, S_SS, S_DS, S_FS, S_GS, S_COUNT, S_LDT = S_COUNT, S_TR };

/* EFLAGS bits (SDM vol. 1, 3.4.3). */
#define FL_CF   0x00000001u
#define FL_PF   0x00000004u
#define FL_AF   0x00000010u
#define FL_ZF   0x00000040u
#define FL_SF   0x00000080u
#define FL_TF   0x00000100u
#define FL_IF   0x00000200u
#define FL_DF   0x00000400u
#define FL_OF   0x00000800u
#define FL_IOPL 0x00003000u
#define FL_NT   0x00004000u
#define FL_RF   0x00010000u
#define FL_VM   0x00020000u
#define FL_AC   0x00040000u
#define FL_VIF  0x00080000u
#define FL_VIP  0x00100000u
#define FL_ID   0x00200000u
#define FL_STATUS (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

#define CR0_PE 0x00000001u
#define CR0_MP 0x00000002u
#define CR0_EM 0x00000004u
#define CR0_TS 0x00000008u
#define CR0_ET 0x00000010u
#define CR0_NE 0x00000020u
#define CR0_WP 0x00010000u
#define CR0_AM 0x00040000u
#define CR0_NW 0x20000000u
#define CR0_CD 0x40000000u
#define CR0_PG 0x80000000u

#define CR4_VME        (1u << 0)
#define CR4_PVI        (1u << 1)
#define CR4_TSD        (1u << 2)
#define CR4_DE         (1u << 3)
#define CR4_PSE        (1u << 4)
#define CR4_PAE        (1u << 5)
#define CR4_MCE        (1u << 6)
#define CR4_PGE        (1u << 7)
#define CR4_PCE        (1u << 8)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP       (1u << 11)
#define CR4_LA57       (1u << 12)
#define CR4_FSGSBASE   (1u << 16)
#define CR4_PCIDE      (1u << 17)
#define CR4_OSXSAVE    (1u << 18)
#define CR4_SMEP       (1u << 20)
#define CR4_SMAP       (1u << 21)
#define CR4_PKE        (1u << 22)
#define CR4_PKS        (1u << 24)

#define EFER_SCE  (1u << 0)
#define EFER_LME  (1u << 8)
#define EFER_LMA  (1u << 10)
#define EFER_NXE  (1u << 11)
#define EFER_SVME (1u << 12)
#define EFER_FFXSR (1u << 14)

/* Descriptor attribute bits: bits 8..23 of the second descriptor dword, in place. */
#define DESC_A      (1u << 8)   /* accessed */
#define DESC_W      (1u << 9)   /* data: writable */
#define DESC_R      (1u << 9)   /* code: readable */
#define DESC_E      (1u << 10)  /* data: expand down */
#define DESC_C      (1u << 10)  /* code: conforming */
#define DESC_CS     (1u << 11)  /* code segment */
#define DESC_S      (1u << 12)  /* 0 = system segment or gate */
#define DESC_DPL_SHIFT 13
#define DESC_DPL    (3u << 13)
#define DESC_P      (1u << 15)
#define DESC_AVL    (1u << 20)
#define DESC_L      (1u << 21)
#define DESC_B      (1u << 22)  /* D/B */
#define DESC_G      (1u << 23)
#define DESC_TYPE_SHIFT 8

/* Exception vectors (SDM vol. 3, 6.15). */
enum {
    EXC_DE = 0, EXC_DB = 1, EXC_NMI = 2, EXC_BP = 3, EXC_OF = 4, EXC_BR = 5, EXC_UD = 6,
    EXC_NM = 7, EXC_DF = 8, EXC_TS = 10, EXC_NP = 11, EXC_SS = 12, EXC_GP = 13, EXC_PF = 14,
    EXC_MF = 16, EXC_AC = 17, EXC_MC = 18, EXC_XM = 19,
};

/*
 * A segment register with its hidden part.  `r_lo..w_hi` are derived by
 * cpu_seg_update(): the inclusive range of offsets that a read / a write may
 * touch.  An empty range has lo = 1, hi = 0.
 */
struct guest_seg {
    uint64_t base;
    uint32_t limit;      /* in bytes, after granularity */
    uint32_t attr;       /* DESC_* */
    uint32_t r_lo, r_hi;
    uint32_t w_lo, w_hi;
    uint16_t sel;
    uint16_t pad[3];
};

/* hflags: what translation depends on besides RIP.  Part of the TB key. */
#define HF_CPL_MASK   (3u << 0)
#define HF_CODE_SHIFT 2
#define HF_CODE_MASK  (3u << 2)   /* 0 = 16-bit, 1 = 32-bit, 2 = 64-bit code */
#define HF_CODE16     (0u << 2)
#define HF_CODE32     (1u << 2)
#define HF_CODE64     (2u << 2)
#define HF_SS32       (1u << 4)   /* stack address size 32 (ignored in 64-bit code) */
#define HF_SEGS       (1u << 5)   /* DS, ES or SS is not flat, writable 0..4G: check and add bases */
#define HF_PE         (1u << 6)
#define HF_VM         (1u << 7)
#define HF_IOPL_SHIFT 8
#define HF_IOPL_MASK  (3u << 8)
#define HF_TF         (1u << 10)
#define HF_SHADOW     (1u << 11)  /* previous instruction was STI / MOV SS / POP SS */
#define HF_NM_FPU     (1u << 12)  /* x87/MMX insns raise #NM (CR0.EM or TS) */
#define HF_NM_SSE     (1u << 13)  /* SSE insns raise #NM (CR0.TS) */
#define HF_UD_SSE     (1u << 14)  /* SSE insns raise #UD (CR0.EM or !CR4.OSFXSR) */
#define HF_AVX        (1u << 15)  /* VEX vector insns are allowed (OSXSAVE, XCR0[2:1]=3) */
#define HF_LMA        (1u << 16)
#define HF_UD_MMX     (1u << 17)  /* CR0.EM: MMX raises #UD instead of #NM */
#define HF_MP_TS      (1u << 18)  /* WAIT raises #NM (CR0.MP && CR0.TS) */
#define HF_AC         (1u << 19)  /* alignment checks on (CPL 3, CR0.AM, EFLAGS.AC) */
#define HF_RF         (1u << 20)  /* EFLAGS.RF set for the first insn of the block */
#define HF_CSLIM      (1u << 21)  /* CS limit is not flat: fetches are checked */
#define HF_BP         (1u << 22)  /* instruction breakpoints are armed (debug.c) */
#define HF_DF         (1u << 24)  /* EFLAGS.DF: string instructions go down */
#define HF_NESTED     (1u << 25)  /* in a guest of the guest's hypervisor (svm.h): instructions may be intercepted */
#define HF_HM         (1u << 26)  /* CPL 3 of a hot space: pages are mapped into the host (tlb/hostmap.h) */
#define HF_DBG        (1u << 23)  /* one instruction is executed alone because it meets a data or I/O breakpoint */

/* MMU modes: index into tlb_space tables. */
enum mmu_mode {
    MMU_KERNEL,        /* supervisor access, SMAP enforced if CR4.SMAP */
    MMU_KERNEL_NOSMAP, /* supervisor access with EFLAGS.AC = 1 (or SMAP off: same table as above is not shared) */
    MMU_USER,
    MMU_MODES
};

/*
 * AMD SVM (svm.h).  `nested`, `vmcb`, `hsave`, `gif`, `host_if`, `int_ctl` and `icpt` are the state that migrates; the
 * rest follows from the VMCB (svm_state_loaded()).
 */
#define SVM_ICPT_WORDS 6
struct guest_svm {
    uint8_t nested;      /* between VMRUN and #VMEXIT */
    uint8_t gif;         /* global interrupt flag */
    uint8_t npt;         /* nested paging */
    uint8_t host_if;     /* the host's EFLAGS.IF at VMRUN */
    uint8_t host_tf;     /* single step of VMRUN: #DB after #VMEXIT */
    uint8_t int_vector;  /* V_INTR_VECTOR */
    uint32_t asid;       /* 0 = the host's */
    uint32_t int_ctl;    /* as in the VMCB, kept current */
    uint32_t icpt[SVM_ICPT_WORDS];
    uint64_t vmcb, hsave, vm_cr;
    uint64_t tsc_offset;
    uint64_t ncr3;       /* nested page tables, walked with the host's CR4 and EFER */
    uint64_t host_cr4, host_efer;
    uint64_t inject;     /* EVENTINJ not yet delivered */
    uint64_t next_rip;   /* behind the instruction whose intercept is being asked; else 0 */
    uint64_t event;      /* EXITINTINFO of the event whose delivery is under way */
    uint64_t fault_addr; /* linear address of the last page fault */
};

#define XBT_FPU_AREA 2696u /* legacy + header + AVX (to 832) + PKRU etc.: standard format, no AVX-512 */

struct tlb_fast;

/* jump-cache entry: virtual RIP (linear address of code) to entry of host code. */
#define JC_BITS 15
struct jc_entry {
    uint64_t lip;   /* linear instruction pointer (CS.base + EIP); empty: one that belongs into another slot */
    void *host;     /* address of the TB's "flags in cpu->fl" entry */
};

/*
 * Cross-page chaining check: generated code compares cp[slot] with a page-mapping
 * id baked into the jump; equal means "this linear page still maps to that
 * physical page, executable, for this vCPU in this mode".
 */
#define CP_SLOTS 8192

/*
 * Return cache: where the guest's return address at stack address A was pushed by generated code, slot A / 8 modulo its
 * size holds the host address of the continuation behind that call.  A return goes there by
 * a host RET without looking at it; the continuation checks that it is the right one (x86-64/lower_call.c).  Every
 * slot holds a continuation or the thunk that says "none", never anything that a guest chooses.
 */
#define RET_SLOTS 8192u

#define SMP_SHOTS 64u             /* pages that others want to be taken out of a vCPU's write tables at a time */

/* intr_pending */
#define INTR_PHYSICAL 1u  /* the host reported an external interrupt not yet taken */
#define INTR_VIRTUAL  2u  /* V_IRQ of a nested guest */

struct guest_cpu {
    /* --- what generated code uses most, by what a one-byte displacement saves --- */
    uint16_t fl;                 /* status flags: low byte OF (0/1), high byte as LAHF's AH */
    uint16_t fl_junk;            /* generated code stores 32 bits at fl */
    uint8_t  fpu_live;
    uint8_t  pad0[3];
    uint32_t exit_request;       /* any non-zero value makes generated code leave soon */
    uint32_t hflags;             /* HF_*; behind exit_request: returns compare both at once */
    uint64_t r8_11[4];           /* guest r8..r11: always in memory */
    uint64_t *rtab;              /* current read table (tlb.h) */
    uint64_t *wtab;              /* current write table */
    uint32_t *cp;                /* current cross-page ids, CP_SLOTS entries */
    uint64_t ret_mask;           /* pext mask of a stack address's slot */
    void *thunk[5];              /* entry points made by x86-64/thunks.c: the first TH_* of x86-64/regs.h */
    /* Pages mapped into the host: host address - linear address, by bits 47..40 of the latter (tlb/hostmap.h) */
    uint64_t hm_add[256];
    /* --- used by generated code, too --- */
    void *more_thunks[12];       /* the other TH_* */
    uint64_t rip;                /* EIP/RIP (offset, not linear) valid at exits */
    struct jc_entry *jc;         /* current jump cache, 1 << JC_BITS entries */
    uint64_t ea_mask;            /* pext mask 0x0000fffffffff000 (flat index) */
    void *host_rsp;              /* thread stack pointer while generated code runs */
    uint64_t spill[2];           /* lowering's private spill slots (IR temporary T0, T1) */
    uint64_t old_value;          /* what a flag recipe replays the producer on (opt_flags.c) */

    /* --- general state --- */
    uint64_t gpr_mem[16];        /* use cpu_gpr()/gpr macros: r8-r11 live in r8_11 */
    uint32_t eflags;             /* non-status bits only; bit 1 not stored */
    struct guest_seg seg[8];     /* ES CS SS DS FS GS LDT TR */
    struct { uint64_t base; uint32_t limit; uint32_t pad; } gdt, idt;
    uint64_t cr[5];              /* CR0..CR4; cr[1] unused */
    uint64_t cr8;
    uint64_t efer, xcr0;
    uint64_t dr[8];
    uint64_t cs_base;            /* copy of seg[S_CS].base (0 in 64-bit mode) */
    uint8_t  cpl;                /* copy of the current privilege level */
    uint8_t  shadow;             /* interrupt shadow: 0 none, 1 STI, 2 MOV SS (as HF_SHADOW) */
    uint8_t  nmi_masked;
    uint8_t  halted;
    uint8_t  intr_pending;       /* INTR_*: an interrupt waits for IF */
    uint8_t  mmu_mode;           /* enum mmu_mode in force for explicit data accesses */
    uint8_t  smap_on;
    uint8_t  shutdown;           /* triple fault happened */
    uint8_t  nmi_pending;        /* the host reported an NMI not yet taken */
    uint8_t  special_tf, in_special; /* vCPU loop: the running block is a TF / SHADOW, RF or TF block */
    uint8_t  in_code;            /* generated code or a helper of it is running */
    uint8_t  rep_partial;        /* RIP is at a string instruction that has iterations left */
    uint8_t  dbg_step;           /* as HF_DBG */
    uint8_t  dbg_restart;        /* the instruction is to be executed again with dbg_step set */
    uint8_t  old_shadow, old_rf; /* of the running special block, for dbg_restart */
    uint8_t  mce_pending;        /* the host reported a machine check not yet taken */
    uint8_t  gdb_step;           /* GDB_STEP_* (debugger.h): stop behind the next instruction */
    uint8_t  gdb_watch;          /* there are watchpoints of a debugger */
    uint8_t  gdb_stop;           /* a stop for the debugger is due */
    uint16_t gdb_hit;            /* index of the watchpoint that was met, plus 1; 0 none */
    uint64_t flush_epoch;        /* counts code cache flushes seen by this vCPU */
    uint32_t pkru, pkrs;

    /* x87 instruction and operand pointers and opcode: fpu_ptr.h */
    struct {
        uint64_t ip, dp;         /* offsets; dp as generated code left it: fpu_ptr_dp() */
        uint32_t op;             /* FOP | FPTR_CS: `cs` is still to be noted */
        uint32_t dseg;           /* 0, or segment number + 1: `ds` is still to be noted */
        uint16_t cs, ds;         /* selectors */
    } fptr;

    /* MSRs */
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t star, lstar, cstar, fmask, kernelgsbase;
    uint64_t tsc_aux, pat, tsc_offset_guest, tsc_adjust, tsc_deadline, misc_enable;
    uint64_t feature_control, spec_ctrl;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_var[8][2];
    uint64_t mcg_status, mcg_ctl, mce_banks[10 * 4];
    uint64_t msr_other[16];      /* assigned by help_msr.c */
    uint64_t a20_mask;           /* physical address mask */
    struct guest_svm svm;

    /* CPU model, filled by the embedder before the first run */
    struct {
        uint32_t vendor_amd;     /* 1: AMD behaviour of SYSCALL/SYSENTER etc. */
        uint32_t phys_bits;
        uint32_t f1_ecx, f1_edx, f7_ebx, f7_ecx, f7_edx, f81_ecx, f81_edx, f88_ebx, fd1_eax;
        uint64_t xcr0_supported;
        uint64_t features_off;   /* reserved */
    } model;

    /* Exception delivery in progress */
    int32_t  exc_vector;         /* -1 none; otherwise the exception being raised */
    uint32_t exc_error;
    uint8_t  exc_has_error, exc_soft, exc_delivering; /* delivering: vector + 1 whose delivery is under way */
    uint8_t  exc_is_int;         /* INT n / INT3 / INTO: return RIP is the next insn */
    uint64_t exc_next_rip;
    uint64_t exc_dr6;            /* pending #DB cause bits */

    /* TLB (tlb.h) */
    struct tlb_space *space;     /* address space in force */
    struct tlb_vcpu *tlb;        /* all spaces of this vCPU, fill logs */
    uint64_t unwind_pc;          /* host PC inside generated code to restore state from; 0 = state is in sync */
    uint64_t host_flags;         /* host RFLAGS at a signal or a store commit (state kind HOST) */
    struct tb *exit_from;        /* through a direct exit of which generated code was left; NULL none */
    unsigned exit_number;        /* which of them */
    uint32_t leave;              /* LEAVE_*: why the loop got control back */
    uint32_t last_leave;         /* the one before the current block was looked up */
    uint64_t slow_addr;          /* slow-path scratch: guest linear address */
    uint32_t slow_size, slow_flags;
    uint8_t  bounce[64] __attribute__((aligned(64)));
    /* compare: blocks die only if the store changes bytes of theirs; in_place: it is done already */
    struct { uint64_t lin; uint64_t gpa[2]; void *host[2]; uint32_t size, first; uint8_t active, exit_after;
             uint8_t compare, in_place, code[2]; uint64_t ram_addr[2], pc;
    } commit;

    /* Pages mapped into the host (tlb/hostmap.h) */
    struct hostmap *hm;          /* NULL: off */
    uint64_t hm_lin;             /* of the last fault that hm_fault() did not settle */
    uint8_t hm_write;            /* it was a store */
    uint8_t hm_guard;            /* its register points to another window */
    uint8_t hm_on;               /* the current space is hot */

    /* Other vCPUs (smp.h).  phase, seen, flushes, done: written by the owner; lock protects the rest. */
    struct {
        uint32_t phase;          /* enum smp_phase */
        uint32_t seen;           /* vm->smp_clock when its loop was last at the top */
        uint32_t flushes;        /* vm->flushes likewise */
        uint32_t lock, n_shots;  /* above SMP_SHOTS: too many */
        uint32_t posted, done;   /* counters of requests */
        uint64_t shot[SMP_SHOTS];
    } smp __attribute__((aligned(64)));

    /* Embedder and VM */
    struct xbt_vm *vm;
    const struct xbt_host_ops *host;
    void *opaque;                /* embedder's CPU pointer */
    void *jmpbuf[8];             /* the loop's recovery point */
    uint32_t index;              /* vCPU number */
    uint64_t *helper_count;      /* calls of helpers by row of insn_rows[], and one more */
    struct ir_block *ir;         /* translate()'s and lower_block()'s memory: large, used by one block at a time */
    struct lower *lower;
    uint64_t stat[192];          /* counters, enum from tb-store/stats.inc */
    uint64_t exc_count[32], int_count[256];
    const void *ret_none;        /* what an empty slot holds */
    const void *ret_before;      /* slot -1, looked at for a return address whose address plus 8 is in slot 0: empty */
    const void *ret[RET_SLOTS];  /* the return cache */

    /* FP state image in standard XSAVE format; valid when !fpu_live */
    uint8_t fpu[XBT_FPU_AREA] __attribute__((aligned(64)));
};

_Static_assert(offsetof(struct guest_cpu, hm_add) < 128, "hot fields are in reach of a one-byte displacement");

/* GPR access by architectural number; an lvalue.  Valid only outside generated code. */
#define GPR(c, n) (*cpu_gpr_ptr((c), (n)))
static inline uint64_t *cpu_gpr_ptr(struct guest_cpu *c, unsigned n)
{
    return (n & 15) >= 8 && (n & 15) <= 11 ? &c->r8_11[(n & 15) - 8] : &c->gpr_mem[n & 15];
}

#define FL_IN_HOST 2         /* in cpu->fl: at an SK_ENTRY site the flags are in the host's register */
/* Status flags <-> EFLAGS layout. */
static inline uint32_t fl_to_eflags(uint16_t fl)
{
    return ((fl >> 8) & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) | ((fl & 1) ? FL_OF : 0);
}
static inline uint16_t eflags_to_fl(uint32_t e)
{
    return (uint16_t)(((e & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) << 8) | ((e & FL_OF) ? 1 : 0));
}

/* Whole EFLAGS as software sees it (bit 1 set). */
static inline uint32_t cpu_get_eflags(const struct guest_cpu *c)
{
    return c->eflags | fl_to_eflags(c->fl) | 2u;
}
/* Replace the EFLAGS bits in `mask`; caller then calls cpu_update_hflags() if TF/VM/AC/IOPL/RF changed. */
static inline void cpu_set_eflags(struct guest_cpu *c, uint32_t val, uint32_t mask)
{
    uint32_t e = (cpu_get_eflags(c) & ~mask) | (val & mask);
    c->fl = eflags_to_fl(e);
    c->eflags = e & ~(FL_STATUS | 2u);
}

static inline bool cpu_lma(const struct guest_cpu *c) { return c->efer & EFER_LMA; }
static inline bool cpu_code64(const struct guest_cpu *c)
{
    return (c->hflags & HF_CODE_MASK) == HF_CODE64;
}
static inline bool cpu_pe(const struct guest_cpu *c) { return c->cr[0] & CR0_PE; }
static inline bool cpu_vm86(const struct guest_cpu *c) { return c->eflags & FL_VM; }
static inline unsigned cpu_iopl(const struct guest_cpu *c) { return (c->eflags & FL_IOPL) >> 12; }

/* ---- translator/cpu.c ---- */
/* Recompute hflags, cpl-dependent MMU mode and table pointers.  After any change of CR0/CR4/EFER/XCR0,
 * CS/SS/DS/ES attributes, CPL, EFLAGS.{TF,VM,AC,IOPL,RF} or the interrupt shadow. */
void cpu_update_hflags(struct guest_cpu *c);
/* Derive r_lo..w_hi of one segment after its sel/base/limit/attr changed (also copies cs_base). */
void cpu_seg_update(struct guest_cpu *c, unsigned seg);
/* State after RESET (SDM vol. 3, 9.1.1), without the embedder's CPU model fields. */
void cpu_reset(struct guest_cpu *c);

/* ---- exceptions: never return; unwind to the vCPU loop ---- */
/* c->rip must be the faulting instruction's, or c->unwind_pc non-zero. */
_Noreturn void cpu_raise(struct guest_cpu *c, unsigned vector);
_Noreturn void cpu_raise_err(struct guest_cpu *c, unsigned vector, uint32_t error);
/* Bring rip and the status flags up to date, when called from generated code (c->unwind_pc is zero afterwards). */
void cpu_sync(struct guest_cpu *c);
/* Leave to the vCPU loop with state in sync (rip set). */
_Noreturn void cpu_exit_loop(struct guest_cpu *c);

/* ---- FP state ownership ---- */
void fpu_park(struct guest_cpu *c);    /* host registers -> c->fpu, host defaults loaded; no-op if parked */
void fpu_unpark(struct guest_cpu *c);  /* c->fpu -> host registers; no-op if live */

/* Ask generated code to leave soon; callable from any thread. */
static inline void cpu_kick(struct guest_cpu *c, uint32_t why)
{
    __atomic_fetch_or(&c->exit_request, why, __ATOMIC_SEQ_CST);
}
#define XREQ_POLL      1u /* ask host->poll() */
#define XREQ_TLB_FLUSH 2u /* flush all translations of this vCPU */
#define XREQ_CACHE_FLUSH 4u /* the code cache must be flushed */
#define XREQ_STOP      8u /* return from xbt_vcpu_run() */
#define XREQ_SYNC      32u /* another vCPU asks for something: smp_sync() */
#define XREQ_IRQ_WINDOW 16u /* IF became 1 with an interrupt pending */

#endif
