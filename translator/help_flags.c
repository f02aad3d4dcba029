/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_flags.c - instructions on EFLAGS: PUSHF POPF CLI STI LAHF SAHF CLD STD STAC CLAC CLC STC CMC.
 *
 * SDM vol. 2 (each instruction), vol. 3 20.2.7 and 20.3 (VME), 20.4 (PVI).  The status bits are in c->fl,
 * all others in c->eflags; hflags is refreshed only when a bit it depends on changed, because kernels
 * execute these all the time. Delivering the interrupt that a new IF admits is the vCPU loop's job: it is
 * asked with XREQ_IRQ_WINDOW.
 */
#include "translator/help_util.h"

#define FL_IN_HFLAGS (FL_TF | FL_DF | FL_VM | FL_AC | FL_IOPL | FL_RF)
#define CPUID_7_EBX_SMAP (1u << 20)

/* IF went from 0 to 1. */
static inline void if_opened(struct guest_cpu *c)
{
    if (c->intr_pending)
        cpu_kick(c, XREQ_IRQ_WINDOW);
}

/* IF is about to be cleared while a request has not been looked at: it may be an interrupt that was there first. */
static inline bool must_poll(const struct guest_cpu *c)
{
    return c->exit_request && (c->eflags & FL_IF) && !(c->hflags & (HF_SHADOW | HF_TF | HF_RF | HF_DBG));
}

int help_pushf(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c), sp = GPR(c, R_RSP);
    uint32_t e = cpu_get_eflags(c) & ~(FL_VM | FL_RF);

    if (cpu_vm86(c) && cpu_iopl(c) < 3) {
        if (!(c->cr[4] & CR4_VME) || in->opsize != 2)
            GP0(c);
        e = (e & ~FL_IF) | FL_IOPL | (e & FL_VIF ? FL_IF : 0);
    }
    stack_push_at(c, &sp, e, in->opsize);
    set_rsp(c, sp);
    return help_stored(c, in, mark);
}

/* POPF in v86 mode with IOPL < 3 and VME: IF stands for VIF. */
static uint32_t popf_vme(struct guest_cpu *c, uint32_t val, uint32_t *mask)
{
    if ((val & FL_TF) || ((val & FL_IF) && (c->eflags & FL_VIP)))
        GP0(c);
    *mask = (FL_STATUS | FL_TF | FL_DF | FL_NT | FL_VIF);
    return (val & 0xffff & ~FL_VIF) | (val & FL_IF ? FL_VIF : 0);
}

int help_popf(struct guest_cpu *c, const struct dec_insn *in)
{
    uint32_t mask = FL_STATUS | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID;
    uint32_t val = (uint32_t)stack_peek(c, 0, in->opsize);
    uint32_t old = c->eflags;

    if (!cpu_pe(c)) {
        mask |= FL_IF | FL_IOPL;
    } else if (cpu_vm86(c)) {
        if (cpu_iopl(c) == 3)
            mask |= FL_IF;
        else if ((c->cr[4] & CR4_VME) && in->opsize == 2)
            val = popf_vme(c, val, &mask);
        else
            GP0(c);
    } else if (c->cpl == 0) {
        mask |= FL_IF | FL_IOPL;
    } else if (c->cpl <= cpu_iopl(c)) {
        mask |= FL_IF;
    }
    if (in->opsize == 2)
        mask &= 0xffff | FL_VIF;
    if ((mask & ~val & FL_IF) && must_poll(c)) {
        c->rip = in->ip;
        return HELP_LOOP;
    }
    set_rsp(c, GPR(c, R_RSP) + in->opsize);
    cpu_set_eflags(c, val, mask | FL_RF); /* RF is cleared: */
    c->eflags &= ~FL_RF;
    if ((old ^ c->eflags) & FL_IN_HFLAGS)
        cpu_update_hflags(c);
    if (c->eflags & ~old & FL_IF)
        if_opened(c);
    return HELP_NEXT;
}

/* May CLI/STI touch IF itself?  Otherwise VIF (returns false), or #GP. */
static inline bool iopl_allows(struct guest_cpu *c)
{
    if (!cpu_pe(c) || c->cpl <= cpu_iopl(c))
        return true;
    if (cpu_vm86(c) ? c->cr[4] & CR4_VME : c->cpl == 3 && (c->cr[4] & CR4_PVI))
        return false;
    GP0(c);
}

int help_cli(struct guest_cpu *c, const struct dec_insn *in)
{
    if (must_poll(c)) {
        c->rip = in->ip;
        return HELP_LOOP;
    }
    c->eflags &= iopl_allows(c) ? ~FL_IF : ~FL_VIF;
    return HELP_NEXT;
}

int help_sti(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    if (!iopl_allows(c)) {
        if (c->eflags & FL_VIP)
            GP0(c);
        c->eflags |= FL_VIF;
    } else if (!(c->eflags & FL_IF)) {
        c->eflags |= FL_IF;
        c->shadow = 1;
        c->hflags |= HF_SHADOW; /* the only part of hflags that STI changes */
        if_opened(c);
    }
    return HELP_NEXT;
}

/*
 * STI with its successor in the same block: nothing is delivered before the block's next way out, so the shadow needs
 * no bookkeeping, unless an interrupt is waiting for just this.  The lifter chooses.
 */
int help_sti_open(struct guest_cpu *c, const struct dec_insn *in)
{
    bool was_open = c->eflags & FL_IF;

    /* A request not yet looked at may be an interrupt that this window is for (STI; NOP; CLI). */
    if (!c->intr_pending && !c->exit_request && iopl_allows(c)) {
        c->eflags |= FL_IF;
        return HELP_NEXT;
    }
    help_sti(c, in);
    if (was_open || !(c->eflags & FL_IF)) {
        return HELP_NEXT;
    }
    c->rip = dec_next_ip(in);
    return HELP_LOOP;
}

int help_lahf(struct guest_cpu *c, const struct dec_insn *in)
{
    uint8_t ah = (uint8_t)(fl_to_eflags(c->fl) | 2);

    (void)in;
    GPR(c, R_RAX) = (GPR(c, R_RAX) & ~0xff00ull) | (uint64_t)ah << 8;
    return HELP_NEXT;
}

int help_sahf(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    c->fl = (uint16_t)((GPR(c, R_RAX) & 0xd500) | (c->fl & 1));
    return HELP_NEXT;
}

int help_cld(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    c->eflags &= ~FL_DF;
    cpu_update_hflags_same_cr(c);
    return HELP_NEXT;
}

int help_std(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    c->eflags |= FL_DF;
    cpu_update_hflags_same_cr(c);
    return HELP_NEXT;
}

/*
 * STAC and CLAC bracket every user access of a kernel.  Only CPL 0 gets here, where AC has no other
 * meaning than SMAP's, so hflags (HF_AC is for CPL 3) stays as it is and only the tables change.
 */
static inline int set_ac(struct guest_cpu *c, bool ac)
{
    if (c->cpl != 0 || !(c->model.f7_ebx & CPUID_7_EBX_SMAP))
        cpu_raise(c, EXC_UD);
    c->eflags = ac ? c->eflags | FL_AC : c->eflags & ~FL_AC;
    if (c->cr[4] & CR4_SMAP) {
        c->mmu_mode = ac ? MMU_KERNEL_NOSMAP : MMU_KERNEL;
        tlb_set_mode(c);
    }
    return HELP_NEXT;
}

int help_stac(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    return set_ac(c, true);
}

int help_clac(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    return set_ac(c, false);
}

int help_clc(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    c->fl &= (uint16_t)~(FL_CF << 8);
    return HELP_NEXT;
}

int help_stc(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    c->fl |= FL_CF << 8;
    return HELP_NEXT;
}

int help_cmc(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    c->fl ^= FL_CF << 8;
    return HELP_NEXT;
}
