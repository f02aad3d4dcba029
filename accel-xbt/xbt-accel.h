/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-accel.h - what the files of accel-xbt/ know of each other.
 *
 * Owner:   accel-xbt/.
 * Locks:   "BQL" means the caller holds the big QEMU lock.  "vCPU" means the
 *          function runs on that vCPU's thread, outside generated code.
 * State:   the guest's CPU state is either in struct guest_cpu (the rule) or
 *          in CPUX86State (cs->vcpu_dirty); the protocol is that of QEMU's
 *          hypervisor accelerators, see xbt-state.c.
 */
#ifndef XBT_ACCEL_H
#define XBT_ACCEL_H

#include "accel-xbt/xbt-compat.h"
#include "accel-xbt/xbt-engine.h"

#define TYPE_XBT_ACCEL ACCEL_CLASS_NAME("xbt")
#define XBT_MAX_CPUS 255 /* xAPIC ids */
#define XBT_TB_SIZE_MIN 1
#define XBT_TB_SIZE_MAX 2047
#define XBT_TB_SIZE_DEFAULT 256
#define XBT_HOSTMAP_HEAT_DEFAULT 3

enum xbt_tlb_prop { XBT_TLB_AUTO, XBT_TLB_FLAT, XBT_TLB_TAGGED };
/* Host features that tests mask. */
#define XBT_NO_BMI2 1u
#define XBT_NO_AVX  2u

/* Files for perf. */
#define XBT_PERF_MAP  1u
#define XBT_PERF_DUMP 2u

/* The accelerator object: the properties of `-accel xbt,...`. */
struct XbtAccelState {
    AccelState parent_obj;
    uint32_t tb_size, flush_every, hostmap_heat;
    uint32_t host_mask;      /* XBT_NO_* */
    uint32_t dump;           /* DUMP_* */
    uint64_t dump_lo, dump_hi;
    enum xbt_tlb_prop tlb;
    uint32_t perfmap;        /* XBT_PERF_* */
    struct xbt_options opt;  /* only what xbt-options.c sets */
    bool one_insn, wx, profile, relocate_check;
    bool single_thread;
};
typedef struct XbtAccelState XbtAccelState;
DECLARE_INSTANCE_CHECKER(XbtAccelState, XBT_ACCEL, TYPE_XBT_ACCEL)

/* One vCPU as accel-xbt sees it; guest_cpu.opaque points here. */
struct xbt_cpu {
    CPUState *cs;             /* NULL: not plugged in (any more) */
    X86CPU *x86;
    struct guest_cpu *c;      /* stays when the CPU is unplugged, for the next one */
    uint64_t tsc_host_offset; /* QEMU's ticks minus the host's TSC while the VM runs */
    bool flush_queued;        /* a TLB flush is in the work list (BQL) */
    bool apic_moved;          /* the local APIC is disabled or not at its default address */
    bool nmi_held;            /* an NMI came while the CPU waited for its start-up IPI (BQL) */
    bool yield;               /* with thread=single: another vCPU's turn has come */
    bool close_queued;        /* so is the closing of logged pages (BQL) */
    unsigned watch_set;       /* the set of watchpoints that its tables respect */
};

extern bool xbt_allowed;
extern struct xbt_vm xbt_vm;
extern struct xbt_cpu xbt_cpus[XBT_MAX_CPUS];
/* Over those that exist: for (x = xbt_cpu_next(NULL); x; x = xbt_cpu_next(x)).  BQL. */
struct xbt_cpu *xbt_cpu_next(struct xbt_cpu *x);
extern const struct xbt_host_ops xbt_host_ops;
extern unsigned xbt_dump_property;

static inline struct xbt_cpu *xbt_cpu_of(struct guest_cpu *c)
{
    return c->opaque;
}

/* NULL while the vCPU does not exist. */
static inline struct xbt_cpu *xbt_cpu_of_cs(CPUState *cs)
{
    unsigned i = cs->cpu_index;

    return i < XBT_MAX_CPUS && xbt_cpus[i].cs ? &xbt_cpus[i] : NULL;
}

/* ---- xbt-abi.c ---- */
bool xbt_abi_check(Error **errp);

/* ---- xbt-options.c: a property for each line of translator/optimisations.inc, and opt=, and help ---- */
/* xbt-ram.c: let user pages of this RAM be mapped once more; it is (not) to be used from now on. */
void xbt_ram_share(MemoryRegion *mr);
void xbt_ram_forget(MemoryRegion *mr);
void xbt_ram_init(void);
void xbt_options_defaults(struct xbt_options *o);
void xbt_options_register(ObjectClass *oc);
/* Name of the n-th optimisation, and is it on?  NULL behind the last. */
const char *xbt_options_nth(const struct xbt_options *o, unsigned n, bool *on);

/* ---- xbt-vcpu.c ---- */
void xbt_vcpu_create_thread(CPUState *cs);
/* BQL, vCPU: one stay in the engine, if there is something to do. */
void xbt_vcpu_exec(struct xbt_cpu *x);
/* BQL.  Its thread, or the thread of all, has done with it: it was unplugged. */
void xbt_vcpu_gone(struct xbt_cpu *x);
void xbt_vcpu_kick(CPUState *cs);
/* One thread runs all vCPUs in turn (thread=single). */
extern bool xbt_single_thread;
/* BQL, vCPU: take the events that are QEMU's business; true if the CPU state was replaced (INIT). */
bool xbt_vcpu_events(struct xbt_cpu *x);
/* BQL.  An INIT is pending that AMD SVM does not let through: GIF is 0, or the hypervisor of the nested guest gets it. */
bool xbt_init_held(const struct xbt_cpu *x);

/* ---- xbt-single.c: thread=single ---- */
void xbt_single_add(struct xbt_cpu *x);
void xbt_single_kick(void);

/* ---- xbt-host.c ---- */
/* The APIC base may have changed. */
void xbt_host_apic_placed(struct xbt_cpu *x);

/* ---- xbt-state.c: BQL, vCPU ---- */
void xbt_state_get(struct xbt_cpu *x);
void xbt_state_put(struct xbt_cpu *x);
/* What QEMU must know of a halted CPU (may an interrupt wake it?). */
void xbt_state_get_wake(struct xbt_cpu *x);
void xbt_state_model(struct xbt_cpu *x);
void xbt_sync_state(CPUState *cs);
void xbt_sync_post_reset(CPUState *cs);
void xbt_sync_post_init(CPUState *cs);
void xbt_sync_pre_loadvm(CPUState *cs);
/* Follow a change of A20 (env->a20_mask is QEMU's). vCPU. */
void xbt_state_a20(struct xbt_cpu *x);

/* ---- xbt-fpu.c ---- */
void xbt_fpu_get(CPUX86State *env, const uint8_t *image);
void xbt_fpu_put(const CPUX86State *env, uint8_t *image);

/* ---- xbt-memory.c, xbt-dirty.c ---- */
void xbt_memory_init(void);
/* BQL: the RAM region that has this ram_addr now; NULL if none. */
MemoryRegion *xbt_memory_region(uint64_t ram_addr, uint64_t *offset);
/* Physical map entry of a section again (its logging changed). BQL. */
void xbt_memory_remap(MemoryRegion *mr);
/* The mapped parts of a region. BQL. */
void xbt_memory_each(MemoryRegion *mr, void (*fn)(uint64_t ram_addr, uint64_t size, void *opaque),
                     void *opaque);
/* BQL: have every vCPU drop its translations; then each calls xbt_dirty_flushed(). */
void xbt_memory_flush(void);
void xbt_dirty_init(void);
/* Is dirty logging wanted on this region? */
bool xbt_dirty_logged(MemoryRegion *mr);
void xbt_dirty_forget(MemoryRegion *mr);
void xbt_dirty_flushed(void);
void xbt_dirty_closed(struct xbt_cpu *x);
void xbt_dirty_log_start(MemoryListener *l, MemoryRegionSection *s, int old, int new);
void xbt_dirty_log_stop(MemoryListener *l, MemoryRegionSection *s, int old, int new);
void xbt_dirty_log_sync(MemoryListener *l, MemoryRegionSection *s);
void xbt_dirty_mark(struct guest_cpu *c, uint64_t ram_addr, unsigned size);
void xbt_dma_watch(struct guest_cpu *c, uint64_t ram_addr, bool on);
bool xbt_dma_hit(struct guest_cpu *c, uint64_t ram_addr);
const uint64_t *xbt_dma_word(struct guest_cpu *c, uint64_t ram_addr);

/* ---- xbt-dmatrap.c ---- */
/* BQL: the bitmap of device writes for this range of ram_addr is to be trapped.  Everything counts as written. */
void xbt_dmatrap_prepare(uint64_t ram_addr, uint64_t size);
/* The word of a page (ram_addr / 4096) that we may write to without being trapped; NULL: QEMU's own. */
unsigned long *xbt_dmatrap_word(uint64_t page);
/* On: the bit of this page is about to be cleared, trap its being set.  Off: nobody needs to know any more. */
void xbt_dmatrap_watch(uint64_t ram_addr, bool on);

/* ---- xbt-cpu.c: what xbt offers, by feature word ---- */
void xbt_features_init(uint32_t host_mask);
uint64_t xbt_features_offered(FeatureWord w);
void xbt_cpu_register(void);

/* ---- xbt-clock.c ---- */
void xbt_clock_init(void);
void xbt_clock_vcpu(struct xbt_cpu *x);

/* ---- xbt-debug.c ---- */
void xbt_debug_ops(AccelOpsClass *ops);
void xbt_debug_init(void);
int xbt_debug_sstep_flags(void);
/* BQL, vCPU, before it runs: what gdb has set or taken away comes into force. */
void xbt_debug_enter(struct xbt_cpu *x);
/* BQL, vCPU: the engine stopped for gdb. */
void xbt_debug_stopped(struct xbt_cpu *x);

/* ---- xbt-log.c ---- */
void xbt_log_text(const char *text);
bool xbt_log_wanted(uint64_t lip);
void xbt_log_interrupt(struct guest_cpu *c, int vector, uint32_t error, bool has_error, bool soft);
/* Dump flags asked for by property and by -d. */
unsigned xbt_log_dump_flags(void);
/* Has the monitor changed the categories since a vCPU looked last?  BQL, vCPU, before it runs: follow them. */
bool xbt_log_changed(void);
void xbt_log_enter(struct xbt_cpu *x);

/* ---- xbt-perfmap.c ---- */
/* Make the files (XBT_PERF_*) and enter the thunks; the engine has been started. */
bool xbt_perfmap_init(uint32_t what, Error **errp);
void xbt_perfmap_made(struct guest_cpu *c, const struct tb *tb);
void xbt_perfmap_flushed(struct guest_cpu *c);
/* Names of the files that are being written; NULL. */
const char *xbt_perfmap_path(uint32_t which);

/* ---- xbt-qmp.c, xbt-hmp.c ---- */
void xbt_qmp_init(void);
void xbt_hmp_init(void);

#endif
