/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tlb.h - guest-virtual (linear) address -> host bytes.
 *
 * Two entry formats, chosen once per vCPU at tlb_init():
 *
 * TLB_FLAT: per address space and MMU mode two tables (read, write) of 2^36
 *   8-byte entries in a sparse MAP_NORESERVE reservation, indexed by bits
 *   47..12 of the linear address (kernel-half addresses index the upper half).
 *   Entry = host address - linear address of the page, so that
 *   host = linear + entry; 0 = miss.  An address whose bits 63..48 do not sign
 *   extend bit 47 aliases the entry of a canonical one, but linear + entry is
 *   then non-canonical for the host too: the access takes a host #GP (SIGSEGV)
 *   that becomes the guest's #GP/#SS.  Nothing is ever read outside the table.
 *
 * TLB_TAGGED: for hosts where the reservations are refused (ulimit -v,
 *   vm.overcommit_memory=2) and for 5-level paging.  A table is
 *   struct tlb_tagged: direct mapped, index = (lin >> 12) & (TLB_TAGGED_SIZE-1),
 *   hit when tag == (lin & ~0xfff); host = lin + addend.  Invalid tag = 1.
 *
 * A write-table entry exists only for pages that may be stored to without
 * anyone noticing: RAM, dirty bit set in the PTE, no translated code in the
 * page, no dirty logging pending, no watchpoint.  A read-table entry: RAM or
 * ROM (romd) pages with the accessed bit set.  Everything else takes the slow path.
 *
 * Locks: all functions are called on the owning vCPU thread unless said.
 * C code here runs with the guest's FP state live: no libc calls that may use
 * vector registers (use xbt_copy/xbt_zero of translator/mem.h), fpu_park()
 * before any host callback.
 */
#ifndef XBT_TLB_H
#define XBT_TLB_H

#include "translator/guest_cpu.h"

enum tlb_format { TLB_FLAT, TLB_TAGGED };
#define TLB_TAGGED_BITS 10
#define TLB_TAGGED_SIZE (1u << TLB_TAGGED_BITS)
struct tlb_tagged {
    uint64_t tag[TLB_TAGGED_SIZE];
    uint64_t addend[TLB_TAGGED_SIZE];  /* at tag + 8 * TLB_TAGGED_SIZE */
};
#define TLB_FLAT_BYTES (1ull << 39)

/* ---- guest-physical map (physmap.c): filled by the embedder, read by the walk ---- */
#define PHYS_RAM   1u  /* readable and writable host memory */
#define PHYS_ROM   2u  /* readable host memory, writes go to mmio_write (ROM, romd flash) */
#define PHYS_LOG   4u  /* dirty logging on: report stores through host->mark_dirty() until logged */
struct phys_page {
    uint8_t *host;      /* host address of the page; NULL = MMIO or unassigned */
    uint64_t ram_addr;  /* unique id of the RAM page (aliases of one page share it); ~0 if no RAM/ROM */
    uint32_t flags;
};
struct physmap;
struct physmap *physmap_new(void);
void physmap_free(struct physmap *m);
/* [gpa, gpa + size) maps to host/ram_addr with flags.  Page aligned; host == NULL or flags == 0 unmaps.
 * The caller flushes the TLBs afterwards (tlb_flush_all on each vCPU, or XREQ_TLB_FLUSH).  Safe against a
 * concurrent physmap_lookup() from vCPU threads (readers see old or new). */
void physmap_set(struct physmap *m, uint64_t gpa, uint64_t size, uint8_t *host, uint64_t ram_addr,
                 uint32_t flags);
struct phys_page physmap_lookup(struct physmap *m, uint64_t gpa); /* gpa after A20 */

/* ---- life cycle ---- */
/* force: -1 choose, else enum tlb_format.  Returns the format in use, or -1 with *why set: nothing fits. */
int tlb_init(struct guest_cpu *c, int force, const char **why);
void tlb_destroy(struct guest_cpu *c);
enum tlb_format tlb_format(const struct guest_cpu *c);
/* 5-level paging can be offered (57-bit addresses do not fit the flat format). */
bool tlb_can_la57(const struct guest_cpu *c);
/* Point c->rtab/wtab/jc/cp at the tables of the current space, c->mmu_mode and the CPL in hflags.  Called
 * whenever one of hflags, cs_base, the CS limit and mmu_mode changed: the jump cache is valid for one such
 * combination only. */
void tlb_set_mode(struct guest_cpu *c);

/* ---- flushes (SDM vol. 3, 4.10.4) ---- */
enum tlb_flush_cause {
    TLBF_CR3, TLBF_CR0, TLBF_CR4, TLBF_EFER, TLBF_INVLPG, TLBF_INVPCID, TLBF_A20, TLBF_MEMMAP, TLBF_RESET,
    TLBF_OTHER, TLBF_PKRU, TLBF_LOG, TLBF_SVM, TLBF_ASID, TLBF_CAUSES
};
/* All spaces, global too.  Causes that the guest's own registers are (CR0 to PKRU, OTHER): of the current ASID. */
void tlb_flush_all(struct guest_cpu *c, enum tlb_flush_cause why);
/* PKRU has changed; `denied` are the bits that were set: entries of the pages with these keys go, execution is not
 * concerned. */
void tlb_flush_pkru(struct guest_cpu *c, uint32_t denied);
void tlb_flush_nonglobal(struct guest_cpu *c, enum tlb_flush_cause why);   /* all spaces, keep global */
void tlb_flush_page(struct guest_cpu *c, uint64_t lin);                    /* INVLPG: current PCID + global */
void tlb_flush_pcid(struct guest_cpu *c, unsigned pcid);                   /* INVPCID type 1 */
void tlb_flush_pcid_page(struct guest_cpu *c, unsigned pcid, uint64_t lin);/* INVPCID type 0 */
/* CR3 written: c->cr[3] is new. noflush = bit 63 of the source with CR4.PCIDE. Switches c->space. */
void tlb_cr3_written(struct guest_cpu *c, bool noflush);
/* World switch of AMD SVM (APM vol. 2, 15.16): leave before the registers change, enter when c->svm and the control
 * registers are new; the caller then calls cpu_update_hflags().  Entries are kept per ASID. */
void tlb_world_leave(struct guest_cpu *c);
enum tlb_world_flush { TLBW_KEEP, TLBW_ASID, TLBW_ALL };
void tlb_world_enter(struct guest_cpu *c, enum tlb_world_flush flush);
/* INVLPGA. */
void tlb_flush_asid_page(struct guest_cpu *c, uint32_t asid, uint64_t lin);
/* Remove the write entries of one RAM page in every space (it got code, or its dirty log was cleared). */
void tlb_unwrite_page(struct guest_cpu *c, uint64_t ram_addr);

/* ---- page walk (walk.c) ---- */
enum access { ACC_READ, ACC_WRITE, ACC_EXEC };
struct walk_result {
    uint64_t gpa;        /* of the byte, after A20 */
    uint64_t page_size;  /* 4 KiB, 2/4 MiB, 1 GiB; 4 KiB with paging off */
    bool writable;       /* a write would need no further permission or D bit update */
    bool global, user;
    uint8_t key;         /* protection key of a user page under CR4.PKE, else 0 */
    uint32_t error;      /* page-fault error code when !ok */
    bool ok;
    bool npf;            /* !ok: nested page fault at gpa instead; npf_info is its EXITINFO1 */
    uint64_t npf_info;
};
/* Walk for an access by mode; sets A (and D for writes) with compare-and-swap when set_ad. Does not raise. */
struct walk_result tlb_walk(struct guest_cpu *c, uint64_t lin, enum access acc, enum mmu_mode mode,
                            bool set_ad);
/* Debugger's/monitor's view: like tlb_walk without side effects, ignoring permissions; ~0 if unmapped. */
uint64_t tlb_debug_phys(struct guest_cpu *c, uint64_t lin);
/* MOV to CR3/CR0/CR4 with PAE paging: no present PDPTE has reserved bits set (otherwise #GP). */
bool tlb_pdptes_ok(struct guest_cpu *c, uint64_t cr3);

/* ---- accesses from C: by linear address, in the current or a named mode ---- */
/* They raise #PF, #GP(0) (#SS(0) when c->slow_flags bit 0 is set: stack reference) or #AC on the guest. */
uint8_t  guest_ld8(struct guest_cpu *c, uint64_t lin);
uint16_t guest_ld16(struct guest_cpu *c, uint64_t lin);
uint32_t guest_ld32(struct guest_cpu *c, uint64_t lin);
uint64_t guest_ld64(struct guest_cpu *c, uint64_t lin);
void guest_st8(struct guest_cpu *c, uint64_t lin, uint8_t v);
void guest_st16(struct guest_cpu *c, uint64_t lin, uint16_t v);
void guest_st32(struct guest_cpu *c, uint64_t lin, uint32_t v);
void guest_st64(struct guest_cpu *c, uint64_t lin, uint64_t v);
/* Implicit supervisor accesses (descriptor tables, TSS, interrupt stack with the given mode). */
uint64_t guest_ld_mode(struct guest_cpu *c, uint64_t lin, unsigned size, enum mmu_mode m);
void guest_st_mode(struct guest_cpu *c, uint64_t lin, unsigned size, uint64_t v, enum mmu_mode m);
/* Any size up to 4096; all-or-nothing with respect to faults (probe first, then copy). */
void guest_read(struct guest_cpu *c, uint64_t lin, void *buf, unsigned size, enum mmu_mode m);
void guest_write(struct guest_cpu *c, uint64_t lin, const void *buf, unsigned size, enum mmu_mode m);
/* Raise the fault that an access would raise; no data moved. */
void guest_probe(struct guest_cpu *c, uint64_t lin, unsigned size, enum access acc, enum mmu_mode m);
/* For bulk string instructions: host pointer valid for [lin, end of page) if directly accessible, else NULL
 * (MMIO, code page, ...).  Raises #PF as the access would. */
uint8_t *guest_page_ptr(struct guest_cpu *c, uint64_t lin, enum access acc);
/* The same for storing at lin, also when the page holds translated code; the caller then tells what it has stored, from
 * where in the page on: blocks that overlap these bytes die (then ST_SLOW_WRITE_CODE moves: the running block may be one
 * of them).  *code: the page, or ~0. */
uint8_t *guest_store_ptr(struct guest_cpu *c, uint64_t lin, uint64_t *code);
void guest_stored(struct guest_cpu *c, uint64_t code, uint64_t lin, uint32_t len);

/* ---- slow paths of generated code (called by the thunks in translator/x86-64/; c->unwind_pc set) ---- */
/* Return a host address through which `size` bytes at lin can be read (the page itself, or c->bounce filled
 * with the data when the access crosses pages or is MMIO).  Raises the guest's fault. */
void *tlb_slow_read(struct guest_cpu *c, uint64_t lin, uint32_t size);
/* Same for a store.  When c->commit.active = 1, generated code runs the store on the result, which may be c->bounce, and
 * then calls tlb_slow_commit(), which invalidates the TBs that it overlaps.  rmw: the old data is needed, too;
 * TLB_RMW_LOCKED: and nobody may come between; TLB_KEEP: but the instruction does not read it. */
#define TLB_RMW 1u
#define TLB_RMW_LOCKED 2u
#define TLB_KEEP 3u
void *tlb_slow_write(struct guest_cpu *c, uint64_t lin, uint32_t size, uint32_t rmw);
/* Write c->bounce to the guest, if the store went there. Returns non-zero when generated code must leave after this
 * instruction. */
uint32_t tlb_slow_commit(struct guest_cpu *c);

/* ---- code ---- */
struct code_page {
    uint8_t *host;      /* bytes of the page, or NULL: execute from MMIO, fetch through host->mmio_read */
    uint64_t ram_addr;  /* of the page; ~0 for MMIO */
    uint64_t gpa;
    uint32_t cp_id;     /* non-zero id of (linear page, ram page); never names another pair later */
    bool global;
};
/* Executable mapping of the page of lin, cached; raises #PF (I/D) / #GP for non-canonical. */
struct code_page tlb_code_page(struct guest_cpu *c, uint64_t lin);
/* Record in c->cp[] that this linear page is mapped as cp_id (until the next flush that concerns it). */
void tlb_cp_note(struct guest_cpu *c, uint64_t lin, const struct code_page *p);
/* For tests: every page gets a new id at its next fill, as when the table of ids was full. */
void tlb_cp_new_ids(void);
/* Forget what was recorded for the context in force.  Any thread, also in a signal handler. */
void tlb_cp_revoke(struct guest_cpu *c);
/* Neighbours never share a slot: a block of two pages is entered with both ids noted. */
static inline unsigned cp_slot(uint64_t lin) { return (unsigned)(lin >> 12) & (CP_SLOTS - 1); }
/* Jump cache. */
static inline unsigned jc_hash(uint64_t lip)
{
    return (unsigned)((lip ^ (lip >> 12)) & ((1u << JC_BITS) - 1));
}
/* The other slot that an address of this one can be in: both share 32 aligned bytes. */
static inline unsigned jc_other(unsigned slot) { return slot ^ 1; }
/* The entry of lip, or NULL. */
static inline const struct jc_entry *jc_find(const struct jc_entry *jc, uint64_t lip)
{
    const struct jc_entry *e = &jc[jc_hash(lip)];

    if (e->lip != lip) {
        e = &jc[jc_other(jc_hash(lip))];
    }
    return e->lip == lip ? e : NULL;
}
void tlb_jc_clear(struct guest_cpu *c);   /* all spaces, e.g. after TB invalidation or flush */
/* Enter a block for the current mode, right after tlb_code_page(lip) and the lookup.  The block may run on
 * into the next page (not further).  Nothing is entered while hflags hold a passing state (TF, RF, interrupt
 * shadow). */
void tlb_jc_insert(struct guest_cpu *c, uint64_t lip, void *host);
/* A TB died: drop the entries in every jump cache of this vCPU whose host pointer is `host`. lip: the only
 * linear address such an entry can have, so one slot per jump cache is looked at.  Called under the store's
 * lock: no callbacks. */
void tlb_jc_remove(struct guest_cpu *c, uint64_t lip, void *host);

#define XBT_VM_CPUS 256u
#define BP_FILTER_BITS 16

/* Per-VM state of the engine; one per machine. */
struct xbt_vm {
    struct physmap *phys;
    struct tb_store *store;
    struct guest_cpu *cpus[XBT_VM_CPUS]; /* [0, n_cpus); they stay for the VM's life */
    unsigned n_cpus;
    unsigned max_cpus;          /* set by the embedder before xbt_vm_init(); 0 counts as 1 */
    uint32_t smp_owner;         /* smp.c: who has the machine for itself */
    uint32_t smp_clock;         /* counts stamps */
    uint32_t flushes;           /* of the code cache */
    uint64_t bp_filter[(1u << BP_FILTER_BITS) / 64]; /* hashes of linear addresses with instruction breakpoints (debug.c) */
    /* What a debugger outside of the guest wants (debugger.h). */
    struct {
        const uint64_t *breaks;
        const struct dbg_watch *watches;
        unsigned n_breaks, n_watches;
    } debugger;
    struct xbt_options {
        unsigned tb_size_mib;       /* code cache */
        unsigned max_insns;         /* per block; 1 = one instruction per block */
        bool no_opt;                /* implies no_... of all optimisations of a block: xbt_vm_init() */
#define OPTIMISATION(id, name, in_opt, on, text) bool no_##id;
#include "translator/optimisations.inc"
#undef OPTIMISATION
        unsigned flush_every;       /* force a flush every N blocks made; 0 = never */
        bool wx;                    /* W^X: dual mapping of the code cache */
        bool pause_yields;          /* PAUSE gives the thread to another vCPU */
        bool profile;               /* count block executions */
        bool check_relocate;        /* translate what is copied, too, and compare */
        bool verify;                /* stop at malformed IR; always on in builds with checks and in the tests */
        bool perfmap;               /* tell host->code_made() of each block */
        bool host_bmi2, host_avx;   /* found by CPUID, can be masked by property */
        uint32_t hostmap_heat;      /* ms of CPL 3 time after which an address space is hot (hostmap.h); 0 = at once */
        int tlb_force;              /* -1, TLB_FLAT, TLB_TAGGED */
        unsigned dump;              /* DUMP_* */
        uint64_t dump_lo, dump_hi;  /* guest linear address filter */
    } opt;
};
#define DUMP_GUEST 1u
#define DUMP_IR    2u
#define DUMP_HOST  4u
#define DUMP_EXIT  8u
#define DUMP_EXEC  16u
#define DUMP_FAR   32u   /* far transfers of protected mode */
#define DUMP_MMU   64u   /* control registers */
#define DUMP_FPU   128u  /* with DUMP_EXIT or DUMP_EXEC */

#endif
