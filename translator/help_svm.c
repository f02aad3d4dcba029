/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_svm.c - the instructions of AMD SVM: VMRUN VMLOAD VMSAVE STGI CLGI INVLPGA SKINIT VMMCALL, and VMCALL.
 *
 * APM vol. 3, each instruction; vol. 2, 15.5, 15.16, 15.17.  The decoder refuses them in real and virtual-8086 mode,
 * the lifter without CPUID.SVM.  In a nested guest they come here only when the hypervisor does not intercept them.
 */
#include "translator/help_util.h"
#include "translator/svm.h"

static void check_svm(struct guest_cpu *c)
{
    if (!(c->efer & EFER_SVME)) {
        cpu_raise(c, EXC_UD);
    }
    if (c->cpl > 0) {
        GP0(c);
    }
}

/* rAX: a page-aligned address that the processor has. */
static uint64_t page_operand(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t pa = addr_reg(c, R_RAX, in->adsize);

    if ((pa & 0xfff) || pa >> c->model.phys_bits) {
        GP0(c);
    }
    return pa;
}

int help_vmrun(struct guest_cpu *c, const struct dec_insn *in)
{
    check_svm(c);
    if (c->svm.nested) {
        cpu_raise(c, EXC_UD); /* VMRUN checks that its own intercept is on: not reached */
    }
    svm_vmrun(c, page_operand(c, in), dec_next_ip(in));
    return HELP_LOOP;
}

int help_vmload(struct guest_cpu *c, const struct dec_insn *in)
{
    check_svm(c);
    svm_vmload(c, page_operand(c, in));
    return HELP_NEXT;
}

int help_vmsave(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);

    check_svm(c);
    svm_vmsave(c, page_operand(c, in));
    return help_stored(c, in, mark);
}

/* A nested guest with a virtual GIF works on that one. */
static inline bool virtual_gif(const struct guest_cpu *c)
{
    return c->svm.nested && (c->svm.int_ctl & V_GIF_ON);
}

int help_stgi(struct guest_cpu *c, const struct dec_insn *in)
{
    check_svm(c);
    if (virtual_gif(c)) {
        c->svm.int_ctl |= V_GIF_VALUE;
    } else {
        c->svm.gif = 1;
        cpu_kick(c, XREQ_POLL); /* an INIT may have been held back */
    }
    return help_leave(c, in);
}

int help_clgi(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    check_svm(c);
    if (virtual_gif(c)) {
        c->svm.int_ctl &= ~V_GIF_VALUE;
    } else {
        c->svm.gif = 0;
    }
    return HELP_NEXT;
}

int help_invlpga(struct guest_cpu *c, const struct dec_insn *in)
{
    check_svm(c);
    tlb_flush_asid_page(c, (uint32_t)GPR(c, R_RCX), addr_reg(c, R_RAX, in->adsize));
    return HELP_NEXT;
}

/* CPUID.SKINIT is not offered: only an intercept can make something of it (15.27). */
int help_skinit(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    check_svm(c);
    cpu_raise(c, EXC_UD);
}

/* A hypercall to nobody (15.9: VMMCALL without an intercept; VMCALL is Intel's). */
int help_vmmcall(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    cpu_raise(c, EXC_UD);
}

int help_vmcall(struct guest_cpu *c, const struct dec_insn *in)
{
    return help_vmmcall(c, in);
}
