/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host.h - everything the engine needs from the machine around the CPU.
 *
 * The engine (translator/, tlb/, tb-store/) includes no QEMU header; it calls
 * out through one struct of callbacks.  accel-xbt/ implements it over QEMU's
 * memory API; tests implement it over flat RAM.
 *
 * Every callback is called on the vCPU thread with the FP state parked
 * (fpu_park()) and no engine lock held.  Locks of the embedder (the BQL) are
 * the callback's own business.
 */
#ifndef XBT_HOST_H
#define XBT_HOST_H

#include "translator/guest_cpu.h"

/* What poll() answers: bits. */
#define POLL_INTR   1u  /* an external interrupt is pending (deliverable when IF = 1) */
#define POLL_NMI    2u
#define POLL_INIT   4u  /* handled by the embedder: it reset the CPU state; reload everything */
#define POLL_STOP   8u  /* return from xbt_vcpu_run() */
#define POLL_SMI    16u
#define POLL_MCE    64u /* a machine check */
#define POLL_INIT_HELD 32u /* an INIT waits for GIF or for the engine's #VMEXIT (svm.h) */

struct xbt_host_ops {
    /* Device memory.  gpa is after A20.  size 1, 2, 4 or 8.  Returns false on a bus error (reads give ~0). */
    bool (*mmio_read)(struct guest_cpu *c, uint64_t gpa, unsigned size, uint64_t *val);
    bool (*mmio_write)(struct guest_cpu *c, uint64_t gpa, unsigned size, uint64_t val);
    /* Port I/O, size 1, 2 or 4. */
    uint32_t (*pio_read)(struct guest_cpu *c, uint16_t port, unsigned size);
    void (*pio_write)(struct guest_cpu *c, uint16_t port, unsigned size, uint32_t val);
    /* Called when exit_request had XREQ_POLL (already cleared): collect what is pending. */
    unsigned (*poll)(struct guest_cpu *c);
    /* Acknowledge the pending external interrupt: its vector, or -1 if it went away. */
    int (*ack_interrupt)(struct guest_cpu *c);
    void (*ack_nmi)(struct guest_cpu *c);
    void (*ack_mce)(struct guest_cpu *c);
    /* The guest's TSC.  NULL: the host's plus c->tsc_offset_guest, which is read without parking the FP state. */
    uint64_t (*read_tsc)(struct guest_cpu *c);
    void (*write_tsc)(struct guest_cpu *c, uint64_t val);
    /* CR8 was written / is read; may be NULL. */
    void (*set_cr8)(struct guest_cpu *c, uint8_t tpr);
    uint8_t (*get_cr8)(struct guest_cpu *c);
    uint64_t (*get_apic_base)(struct guest_cpu *c);
    void (*set_apic_base)(struct guest_cpu *c, uint64_t val);
    /* MSRs the engine does not own (x2APIC range, MTRR side effects, hypervisor...).  false = #GP. */
    bool (*rdmsr)(struct guest_cpu *c, uint32_t msr, uint64_t *val);
    bool (*wrmsr)(struct guest_cpu *c, uint32_t msr, uint64_t val);
    void (*cpuid)(struct guest_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
    /* FERR# output changed (x87 error with CR0.NE = 0). */
    void (*set_ferr)(struct guest_cpu *c, bool level);
    /* The first code is about to be translated on a RAM page / the last is gone (DMA watch). NULL allowed. */
    void (*code_page_watch)(struct guest_cpu *c, uint64_t ram_addr, bool on);
    /* Has a device written to this watched page since the watch began?  Clears the mark. NULL = never. */
    bool (*code_page_dma)(struct guest_cpu *c, uint64_t ram_addr);
    /* Where the mark itself can be read: the address of the 64-bit word whose bit (ram_addr >> 12) & 63 the machine sets
     * when a device writes to that page (QEMU: the word of the DIRTY_MEMORY_VGA bitmap).  Must stay readable for the
     * life of the VM.  Asked once per 64 pages; then the engine tests the words itself and calls code_page_dma() only
     * for pages whose bit it saw.  NULL, or returning NULL: code_page_dma() is called for each watched page. */
    const uint64_t *(*code_dma_word)(struct guest_cpu *c, uint64_t ram_addr);
    /* A store went to a page with PHYS_LOG: mark it dirty for display/migration. */
    void (*mark_dirty)(struct guest_cpu *c, uint64_t ram_addr, unsigned size);
    /* Debug text sink (dump=, -d); one call per complete text. */
    void (*log)(const char *text);
    /* Is text about the block at this linear address wanted?  NULL = always. */
    bool (*log_wanted)(uint64_t lip);
    /* With opt.perfmap: a block was made (its code is complete) / all blocks are gone, their memory will be used again. */
    void (*code_made)(struct guest_cpu *c, const struct tb *tb);
    void (*code_flushed)(struct guest_cpu *c);
    /* -d int / -d cpu style logging of a delivered interrupt; may be NULL. */
    void (*log_int)(struct guest_cpu *c, int vector, uint32_t error, bool has_error, bool soft);
};

#endif
