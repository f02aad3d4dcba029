/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * desc.h - descriptors, segment caches and stacks under construction: what the helpers for segments, far
 *          transfers, interrupts, task switches and system calls share.
 *
 * Ordering: everything that can fault (descriptor and TSS reads, accessed bits, frame pushes) comes first,
 *           the registers are committed last; after the first seg_set*() nothing may raise (task switches
 *           excepted).
 * Errors:   `ext` is the EXT bit of selector error codes: 1 while delivering an event that is external to the
 *           program or an exception, else 0 (SDM vol. 3, 6.13).
 * Manuals:  SDM vol. 3, 3.4.5 (segment descriptors), 3.5 (system descriptors), 5.8 (control transfers),
 *           7.2 (TSS).
 */
#ifndef XBT_DESC_H
#define XBT_DESC_H

#include "translator/help.h"

/* System descriptor types (SDM vol. 3, table 3-2). */
enum {
    SYS_TSS16 = 1, SYS_LDT = 2, SYS_TSS16_BUSY = 3, SYS_CALL16 = 4, SYS_TASK = 5,
    SYS_INT16 = 6, SYS_TRAP16 = 7,
    SYS_TSS32 = 9, SYS_TSS32_BUSY = 11, SYS_CALL32 = 12, SYS_INT32 = 14, SYS_TRAP32 = 15,
};
#define DESC_TSS_BUSY (2u << DESC_TYPE_SHIFT)
#define DESC_ATTR_MASK 0x00f0ff00u

/* A descriptor as read from its table. */
struct desc {
    uint64_t lin;    /* where it is */
    uint32_t lo, hi;
};

static inline uint32_t desc_base(const struct desc *d)
{
    return d->lo >> 16 | (d->hi & 0xff) << 16 | (d->hi & 0xff000000u);
}
static inline uint32_t desc_limit(const struct desc *d)
{
    uint32_t l = (d->lo & 0xffff) | (d->hi & 0xf0000);
    return d->hi & DESC_G ? l << 12 | 0xfff : l;
}
static inline unsigned desc_dpl(const struct desc *d) { return d->hi >> DESC_DPL_SHIFT & 3; }
static inline unsigned desc_type(const struct desc *d) { return d->hi >> DESC_TYPE_SHIFT & 15; }
static inline bool desc_is_code(const struct desc *d) { return (d->hi & DESC_S) && (d->hi & DESC_CS); }
static inline bool desc_is_conforming(const struct desc *d) { return d->hi & DESC_C; } /* of a code segment */
static inline bool desc_is_writable_data(const struct desc *d)
{
    return (d->hi & (DESC_S | DESC_CS | DESC_W)) == (DESC_S | DESC_W);
}
static inline bool desc_is_readable(const struct desc *d)
{
    return (d->hi & DESC_S) && (d->hi & (DESC_CS | DESC_R)) != DESC_CS;
}

static inline bool sel_is_null(uint16_t sel) { return !(sel & ~3u); }
static inline uint32_t sel_err(uint16_t sel, unsigned ext) { return (sel & 0xfffcu) | ext; }

/* Real-address or virtual-8086 mode: selectors are paragraphs. */
static inline bool cpu_real_or_v86(const struct guest_cpu *c) { return !cpu_pe(c) || cpu_vm86(c); }

static inline bool is_canonical(const struct guest_cpu *c, uint64_t a)
{
    unsigned sh = c->cr[4] & CR4_LA57 ? 7 : 16;
    return (uint64_t)((int64_t)(a << sh) >> sh) == a;
}

/* For registers that hold addresses for later: what the processor could ever use, whatever CR4.LA57 is now (SDM vol. 3,
 * 4.5.2). */
static inline bool is_canonical_max(const struct guest_cpu *c, uint64_t a)
{
    unsigned sh = c->model.f7_ecx & (1u << 16) ? 7 : 16;
    return (uint64_t)((int64_t)(a << sh) >> sh) == a;
}

/* The mode of implicit supervisor accesses: SMAP counts whatever EFLAGS.AC says (SDM vol. 3, 4.6.1). */
static inline enum mmu_mode sys_mode(const struct guest_cpu *c)
{
    return c->smap_on ? MMU_KERNEL : MMU_KERNEL_NOSMAP;
}
/* Linear addresses have 32 bits outside IA-32e mode. */
static inline uint64_t lin_wrap(const struct guest_cpu *c, uint64_t lin)
{
    return cpu_lma(c) ? lin : (uint32_t)lin;
}

/* cpu.c: cpu_update_hflags() when CR0, CR4, EFER and XCR0 are as at the last update. */
void cpu_update_hflags_same_cr(struct guest_cpu *c);

/* ---- descriptor tables ---- */
/* Read the descriptor of a selector from the GDT or LDT; false when it lies outside the table. */
bool desc_read(struct guest_cpu *c, uint16_t sel, struct desc *d);
/* Upper half of a 16-byte system descriptor (IA-32e mode) into *hi; false when outside the table. */
bool desc_read_upper(struct guest_cpu *c, uint16_t sel, const struct desc *d, struct desc *hi);
/* Set the accessed bit in memory if it is clear, and in *d. */
void desc_set_accessed(struct guest_cpu *c, struct desc *d);
/* Set or clear the busy bit of a TSS descriptor in memory. */
void desc_set_busy(struct guest_cpu *c, struct desc *d, bool busy);

/* ---- segment registers: no checks, no faults ---- */
void seg_set(struct guest_cpu *c, unsigned seg, uint16_t sel, uint64_t base, uint32_t limit, uint32_t attr);
void seg_set_desc(struct guest_cpu *c, unsigned seg, uint16_t sel, const struct desc *d);
/* Unusable: every access through it faults (outside 64-bit code). */
void seg_set_null(struct guest_cpu *c, unsigned seg, uint16_t sel);
/* As virtual-8086 mode has them. */
void seg_set_v86(struct guest_cpu *c, unsigned seg, uint16_t sel);
/* After a return to the outer level c->cpl: data segments that it may not use become null. */
void seg_null_inner(struct guest_cpu *c);

/* ---- the current TSS ---- */
uint64_t tss_ld(struct guest_cpu *c, unsigned off, unsigned size);
/* Stack for level dpl from a 16- or 32-bit TSS, with all checks but the room on it. */
struct inner_stack {
    uint32_t sp;
    uint16_t ss;
    struct desc d;
};
void tss_inner_stack(struct guest_cpu *c, unsigned dpl, unsigned ext, struct inner_stack *n);
/* 64-bit TSS: RSPn (ist = 0) or ISTn. */
uint64_t tss_inner_rsp(struct guest_cpu *c, unsigned dpl, unsigned ist, unsigned ext);

/* ---- a stack that is being pushed to and becomes the current one at commit ---- */
struct frame {
    uint64_t base, sp, mask;
    uint32_t lo, hi;   /* writable offsets; unused with a 64-bit stack */
    uint32_t err;      /* error code of #SS */
    uint8_t mode;      /* enum mmu_mode of the pushes */
    bool is64;
};
void frame_current(struct guest_cpu *c, struct frame *f, enum mmu_mode mode, uint32_t err);
void frame_inner(struct guest_cpu *c, struct frame *f, const struct inner_stack *n, enum mmu_mode mode,
                 uint32_t err);
void frame_64(struct frame *f, uint64_t rsp, enum mmu_mode mode, uint32_t err);
/* #SS unless n pushes of `size` bytes fit (limits, canonical addresses; pages are checked by the pushes). */
void frame_room(struct guest_cpu *c, const struct frame *f, unsigned n, unsigned size);
void frame_push(struct guest_cpu *c, struct frame *f, uint64_t val, unsigned size);
/* New value of rSP: the bits outside the stack's address size come from `rsp`. */
static inline uint64_t frame_rsp(const struct frame *f, uint64_t rsp)
{
    return f->mask == 0xffff ? (rsp & ~0xffffull) | f->sp : f->sp;
}

/* ---- code segments ---- */
/* Target of an interrupt, trap or call gate: all checks up to "present"; returns the new CPL. */
unsigned gate_code(struct guest_cpu *c, uint16_t sel, unsigned ext, struct desc *d);
/* #GP(err) unless ip lies in the code segment (is canonical, for a 64-bit one). */
void code_check_ip(struct guest_cpu *c, const struct desc *d, uint64_t ip, uint32_t err);
/* Load CS from a checked descriptor with RPL = CPL = cpl, and rip.  The caller refreshes hflags. */
void code_commit(struct guest_cpu *c, uint16_t sel, const struct desc *d, unsigned cpl, uint64_t ip);

/* EFLAGS bits in mask from val; notices IF rising while an interrupt waits.  The caller refreshes hflags. */
void eflags_load(struct guest_cpu *c, uint32_t val, uint32_t mask);

/* ---- returns (help_far.c) and task switches (help_task.c) ---- */
/* Protected-mode RETF (iret = false; imm = bytes to release) and IRET, all but nested tasks. */
void far_return(struct guest_cpu *c, unsigned size, unsigned imm, bool iret);
/* IRET to virtual-8086 mode (help_int.c); the frame is on the current stack. */
void iret_to_v86(struct guest_cpu *c, uint32_t eip, uint16_t cs, uint32_t eflags);

enum task_reason { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };
/* Everything about how a task switch came to be. */
struct task_switch {
    enum task_reason why;
    unsigned ext;
    bool has_error;      /* TASK_EVENT: push this on the new task's stack */
    uint32_t error;
    uint64_t return_ip;  /* saved in the old TSS */
    uint32_t eflags;     /* image for the old TSS */
};
/* By the selector of a checked task gate, or of the back link.  Sets c->rip; may raise #DB (T bit). */
void task_switch_to(struct guest_cpu *c, uint16_t sel, const struct task_switch *t);

#endif
