/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hostmap.h - user pages of hot address spaces, mapped where the host's MMU finds them.
 *
 * Purpose:  code at CPL 3 of a hot space reaches memory as [register + addend + displacement], with no lookup of the
 *           page: the host's page tables are the TLB, a miss is a SIGSEGV.  What a miss costs (some 10 us) pays for
 *           pages that are used often; all other spaces, and the kernel, use the tables of tlb.h.
 * Windows:  the linear addresses that agree in bits 47..40 are one window, 1 TiB.  A window in use has a reservation
 *           of that size in the host, with guards on both sides that are never mapped, so that a displacement cannot
 *           reach another window.  cpu->hm_add[bits 47..40] is what leads from the linear address there.  Windows that
 *           are not in use have an addend that leads to addresses which belong to the host's kernel or to nobody.
 *           Bits 63..48 need no check: when they are wrong the sum is not canonical.
 * Contract: a page is mapped only while a walk would allow the access without changing anything (rights, A and D bits);
 *           writable only while its stores need no notice (no translated code in it, no dirty log pending, no watchpoint).
 *           Everything that removes an entry of tlb.h removes the mapping.  Only code with HF_HM in its key uses them.
 * Owner:    the vCPU thread, in C code or in the signal handler of a fault in its own generated code.
 */
#ifndef XBT_HOSTMAP_H
#define XBT_HOSTMAP_H

#include "tlb/tlb.h"

struct tlb_space;

/* [host, host + size) is the file's bytes from `offset` on: it can be mapped once more.  fd stays the caller's and open
 * until hm_ram_del().  Any thread, one at a time; the TLBs are flushed (TLBF_MEMMAP) between del and the memory's end. */
void hm_ram_add(const uint8_t *host, uint64_t size, int fd, uint64_t offset);
void hm_ram_del(const uint8_t *host);

/* False: no memory for it, or switched off; all spaces stay cold then. */
bool hm_init(struct guest_cpu *c);
void hm_destroy(struct guest_cpu *c);

/* CPL 3 code was interrupted: ns is a monotonic time.  May make the current space hot. */
void hm_tick(struct guest_cpu *c, uint64_t ns);
/* c->space or its page table is new: what is mapped for that page table is compared with it and used again. */
void hm_space_selected(struct guest_cpu *c);
/* The space gets another page table, or none.  What is mapped stays, out of use. */
void hm_detach(struct tlb_space *s);
/* Drop everything; all spaces are cold. */
void hm_reset(struct guest_cpu *c);
/* Flush of all pages: keeps those whose page-table entries are as they were when they were mapped. */
void hm_flush(struct guest_cpu *c, struct tlb_space *s);
/* INVLPG: drop the page, or all that came with it from one large page. */
void hm_flush_page(struct guest_cpu *c, struct tlb_space *s, uint64_t lin);
/* As tlb_unwrite_page(). */
void hm_unwrite_page(struct guest_cpu *c, uint64_t ram_addr);

/* A page fault of the host in generated code with HF_HM: `addr` is the host address, `addend` what it was
 *  made with, corrected when it has become another one.  True when the page is mapped now
 * and the access can be repeated.  Otherwise c->hm_lin is the linear address, ~0 when it is not known.
 * Called in the signal handler; changes nothing that the guest can see. */
bool hm_fault(struct guest_cpu *c, uint64_t addr, uint64_t *addend, bool write);
/* Outside of it, for a linear address: map it if possible.  asked: the tables have just been asked for this access, so
 * that a store is in the dirty log; otherwise a page that is logged is not mapped for stores. */
bool hm_map(struct guest_cpu *c, uint64_t lin, bool write, bool asked);

/* No more hot spaces while a reason is set; those that are end with the next TLBF_MEMMAP flush.  Any thread. */
#define HM_SNAPSHOT 1u /* the embedder write-protects its own mapping of the memory */
#define HM_POSTCOPY 2u /* it waits for faults in it */
void hm_forbid(unsigned why, bool on);

/* Instructions whose accesses cannot be mapped, by RAM address: translated with the tables. */
bool hm_refused(uint64_t phys_pc);
void hm_refuse(uint64_t phys_pc);
void hm_refused_clear(void);

#endif
