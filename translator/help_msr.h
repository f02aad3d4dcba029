/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_msr.h - what help_sys.c, help_msr.c and help_fpu.c share; msr_read() and msr_write() are in help.h.
 */
#ifndef XBT_HELP_MSR_H
#define XBT_HELP_MSR_H

#include "translator/help_util.h"

#define APIC_BASE_BSP  (1u << 8)
#define APIC_BASE_EXTD (1u << 10)
#define APIC_BASE_EN   (1u << 11)

/* The guest's time-stamp counter now.  May park the FP state. */
uint64_t cpu_read_tsc(struct guest_cpu *c);
/* New value of PKRU, with the flush it needs. */
void cpu_set_pkru(struct guest_cpu *c, uint32_t v);
/* May XCR0 have this value on this CPU model? */
bool xcr0_valid(const struct guest_cpu *c, uint64_t v);

/* The bits of CR4 and EFER that this CPU model has. */
uint64_t cr4_valid(const struct guest_cpu *c);
uint64_t efer_valid(const struct guest_cpu *c);

#endif
