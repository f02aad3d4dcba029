/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svm_event.c - interrupts, exceptions and nested page faults while a nested guest runs; GIF.
 *
 * APM vol. 2: 15.12 (exception intercepts), 15.13 (interrupt intercepts), 15.17 (GIF), 15.20 (event injection), 15.21
 * (virtual interrupts), 15.25.6 (nested page faults).
 *
 * An event whose delivery meets an intercepted condition is reported in EXITINTINFO: c->svm.event holds it from
 * svm_event_begin() until svm_event_end(), also across the unwinding of a fault in between.
 */
#include "translator/desc.h"
#include "translator/exec.h"
#include "translator/svm.h"

/* ---- events on their way ---- */

void svm_event_begin(struct guest_cpu *c, unsigned vector, uint64_t type, bool has_error, uint32_t error)
{
    c->svm.event = EVENT_VALID | type | vector | (has_error ? EVENT_HAS_ERROR | (uint64_t)error << 32 : 0);
}

/* INT n, INT3 and INTO return behind themselves: to nRIP (15.20). */
static uint64_t soft_return(struct guest_cpu *c)
{
    struct svm_page p = svm_page(c, c->svm.vmcb, false);

    return svm_ld(c, &p, VMCB_NEXT_RIP, 8);
}

/* EVENTINJ: once, before the first instruction (15.20). */
void svm_inject(struct guest_cpu *c)
{
    uint64_t e = c->svm.inject;
    unsigned vector = e & 0xff;
    bool has_error = e & EVENT_HAS_ERROR;

    c->svm.inject = 0;
    c->halted = 0;
    switch (EVENT_TYPE(e)) {
    case EVENT_EXCEPTION:
        cpu_deliver_injected(c, vector, has_error, (uint32_t)(e >> 32),
                             vector == EXC_BP || vector == EXC_OF ? soft_return(c) : c->rip);
        break;
    case EVENT_NMI:
        cpu_interrupt(c, EXC_NMI, false, false, 0, c->rip);
        break;
    case EVENT_SOFT:
        cpu_interrupt(c, vector, true, false, 0, soft_return(c));
        break;
    default:
        cpu_interrupt(c, vector, false, has_error, (uint32_t)(e >> 32), c->rip);
    }
}

/* ---- interrupts ---- */

static inline bool virtual_deliverable(const struct guest_cpu *c)
{
    uint32_t ctl = c->svm.int_ctl;

    if (!(c->eflags & FL_IF) || c->shadow || ((ctl & V_GIF_ON) && !(ctl & V_GIF_VALUE))) {
        return false;
    }
    return (ctl & V_IGNORE_TPR) || V_PRIO(ctl) > (ctl & V_TPR_BITS);
}

static bool take_virtual(struct guest_cpu *c)
{
    if (!(c->intr_pending & INTR_VIRTUAL) || !virtual_deliverable(c)) {
        return false;
    }
    if (svm_wants(c, VMEXIT_VINTR)) {
        svm_exit_now(c, VMEXIT_VINTR, 0, 0);
        return true;
    }
    c->intr_pending &= (uint8_t)~INTR_VIRTUAL;
    c->svm.int_ctl &= ~V_IRQ_PENDING;
    c->halted = 0;
    cpu_interrupt(c, c->svm.int_vector, false, false, 0, c->rip);
    return true;
}

/* With V_INTR_MASKING the host's IF at VMRUN counts, and nothing of the nested guest's holds interrupts back. */
static bool physical_allowed(const struct guest_cpu *c)
{
    return c->svm.int_ctl & V_MASKING ? c->svm.host_if : (c->eflags & FL_IF) && !c->shadow;
}

bool svm_take_pending(struct guest_cpu *c)
{
    if (!c->svm.gif) {
        return false;
    }
    if (c->nmi_pending && !c->nmi_masked && c->shadow != 2) {
        if (svm_wants(c, VMEXIT_NMI)) {
            svm_exit_now(c, VMEXIT_NMI, 0, 0);
            return true;
        }
        c->nmi_pending = 0;
        take_nmi(c);
        return true;
    }
    if (c->mce_pending && c->shadow != 2) {
        take_mce(c); /* intercepted as the exception that it is */
        return true;
    }
    if ((c->intr_pending & INTR_PHYSICAL) && physical_allowed(c)) {
        if (svm_wants(c, VMEXIT_INTR)) {
            svm_exit_now(c, VMEXIT_INTR, 0, 0);
        } else {
            take_interrupt(c);
        }
        return true;
    }
    return take_virtual(c);
}

/* ---- exceptions ---- */

bool svm_exception(struct guest_cpu *c, unsigned vector, bool has_error, uint32_t error)
{
    if (!svm_wants(c, VMEXIT_EXCEPTION + vector)) {
        return false;
    }
    svm_exit_now(c, VMEXIT_EXCEPTION + vector, has_error ? error : 0, vector == EXC_PF ? c->svm.fault_addr : 0);
    return true;
}

_Noreturn void svm_npf(struct guest_cpu *c, uint64_t gpa, uint64_t info)
{
    svm_exit(c, VMEXIT_NPF, info, gpa);
}

void svm_check_task(struct guest_cpu *c, uint16_t sel, uint64_t info2)
{
    if (svm_wants(c, VMEXIT_TASK)) {
        svm_exit(c, VMEXIT_TASK, sel, info2);
    }
}
