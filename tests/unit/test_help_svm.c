/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_help_svm.c - VMRUN and #VMEXIT as state: what moves, what is refused, what a hypervisor cannot do to the
 * machine.  Instruction by instruction it is tested by tests/system/svm64.c.
 */
#include "test_help_env.h"
#include "translator/svm.h"

#define VMCB  0x10000ull
#define HSAVE 0x11000ull

static uint64_t *v64(unsigned off) { return (uint64_t *)(ram + VMCB + off); }
static uint32_t *v32(unsigned off) { return (uint32_t *)(ram + VMCB + off); }

static void seg(unsigned off, uint16_t sel, uint16_t attr)
{
    *(uint16_t *)(ram + VMCB + off) = sel;
    *(uint16_t *)(ram + VMCB + off + 2) = attr;
    *v32(off + 4) = 0xffffffff;
}

/* A host in 32-bit mode, a guest like it. */
static void start(void)
{
    env_mode(1, 0);
    c->model.vendor_amd = 1;
    c->model.f81_ecx = ~0u;
    c->efer = EFER_SVME;
    c->cr[4] = 0;
    c->rip = 0x1000;
    c->idt.limit = 0x7ff;
    cpu_update_hflags(c);
    c->svm.hsave = HSAVE;
    memset(ram + VMCB, 0, 0x2000);
    *v32(VMCB_INTERCEPT + 16) = 1;
    *v32(VMCB_ASID) = 1;
    seg(VMCB_CS, 8, 0xc9b);
    seg(VMCB_SS, 16, 0xc93);
    seg(VMCB_DS, 16, 0xc93);
    seg(VMCB_ES, 16, 0xc93);
    *v64(VMCB_EFER) = EFER_SVME;
    *v64(VMCB_CR0) = CR0_PE | CR0_ET;
    *v64(VMCB_RFLAGS) = 2;
    *v64(VMCB_RIP) = 0x2000;
    *v64(VMCB_RSP) = 0x3000;
    *v64(VMCB_RAX) = 0x77;
    *v64(VMCB_DR7) = 0x400;
    GPR(c, R_RAX) = VMCB;
    GPR(c, R_RSP) = 0x8000;
}

static int vmrun(void) { return INSN(0x0f, 0x01, 0xd8); }

static void there_and_back(void)
{
    start();
    c->eflags |= FL_IF;
    CHECK_EQ(vmrun(), HELP_LOOP);
    CHECK(c->svm.nested && c->svm.gif && c->svm.host_if);
    CHECK(c->hflags & HF_NESTED);
    CHECK_EQ(c->rip, 0x2000);
    CHECK_EQ(GPR(c, R_RSP), 0x3000);
    CHECK_EQ(GPR(c, R_RAX), 0x77);
    CHECK(!(c->eflags & FL_IF));
    GPR(c, R_RAX) = 0x99;
    GPR(c, R_RBX) = 0x55;
    c->cr[2] = 0x1234;
    c->dr[7] = 0x400;
    c->shadow = 1;
    svm_exit_now(c, VMEXIT_CPUID, 1, 2);
    CHECK(!c->svm.nested && !c->svm.gif && !(c->hflags & HF_NESTED));
    CHECK_EQ(c->rip, 0x1003);
    CHECK_EQ(GPR(c, R_RSP), 0x8000);
    CHECK_EQ(GPR(c, R_RAX), VMCB);
    CHECK_EQ(GPR(c, R_RBX), 0x55); /* the hypervisor's to save */
    CHECK(c->eflags & FL_IF);
    CHECK_EQ(c->shadow, 0);
    CHECK_EQ(*v64(VMCB_EXITCODE), VMEXIT_CPUID);
    CHECK_EQ(*v64(VMCB_EXITINFO1), 1);
    CHECK_EQ(*v64(VMCB_EXITINFO2), 2);
    CHECK_EQ(*v64(VMCB_RAX), 0x99);
    CHECK_EQ(*v64(VMCB_CR2), 0x1234);
    CHECK_EQ(*v64(VMCB_INT_STATE), 1);
}

static void refused(void)
{
    start();
    *v32(VMCB_ASID) = 0;
    CHECK_EQ(vmrun(), HELP_LOOP);
    CHECK(!c->svm.nested && !c->svm.gif);
    CHECK_EQ(*v64(VMCB_EXITCODE), VMEXIT_INVALID);
    CHECK_EQ(c->rip, 0x1003);
    start();
    c->efer = 0;
    CHECK_EQ(vmrun(), RAISES(EXC_UD));
    start();
    c->cpl = 3;
    CHECK_EQ(vmrun(), RAISES(EXC_GP));
    start();
    GPR(c, R_RAX) = VMCB + 8;
    CHECK_EQ(vmrun(), RAISES(EXC_GP));
    start();
    *v64(VMCB_CR4) = CR4_LA57;  /* the flat tables have no room for it */
    CHECK_EQ(vmrun(), HELP_LOOP);
    CHECK_EQ(*v64(VMCB_EXITCODE), VMEXIT_INVALID);
}

/* The save area is memory like any other: nonsense in it ends in shutdown, not in a state the engine cannot have. */
static void spoilt_host(void)
{
    static const struct { unsigned off; uint64_t val; } bad[] = {
        { VMCB_EFER, 0 }, { VMCB_EFER, ~0ull }, { VMCB_CR0, CR0_PG }, { VMCB_CR0, ~0ull }, { VMCB_CR4, ~0ull },
    };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        start();
        CHECK_EQ(vmrun(), HELP_LOOP);
        *(uint64_t *)(ram + HSAVE + bad[i].off) = bad[i].val;
        svm_exit_now(c, VMEXIT_HLT, 0, 0);
        CHECK_EQ(c->exc_delivering, EXC_DF + 1);
        CHECK_EQ(c->exc_vector, EXC_GP);
        CHECK(!(c->efer & EFER_LMA) && !(c->cr[4] & CR4_LA57));
        c->exc_delivering = 0;
        c->exc_vector = -1;
    }
}

static void held_back(void)
{
    start();
    c->eflags |= FL_IF;
    CHECK_EQ(INSN(0x0f, 0x01, 0xdd), HELP_NEXT); /* CLGI */
    c->intr_pending = INTR_PHYSICAL;
    c->nmi_pending = 1;
    CHECK(!svm_take_pending(c));
    CHECK_EQ(INSN(0x0f, 0x01, 0xdc), HELP_LOOP); /* STGI */
    CHECK(svm_take_pending(c));
    CHECK_EQ(c->nmi_pending, 0);
    c->mce_pending = 1;
    c->eflags &= ~FL_IF;
    CHECK(svm_take_pending(c));
    CHECK_EQ(c->mce_pending, 0);
    /* intercepted: it stays pending for the host */
    start();
    *v32(VMCB_INTERCEPT + 12) = 3;
    CHECK_EQ(vmrun(), HELP_LOOP);
    c->eflags |= FL_IF;
    c->intr_pending = INTR_PHYSICAL;
    CHECK(svm_take_pending(c));
    CHECK_EQ(*v64(VMCB_EXITCODE), VMEXIT_INTR);
    CHECK_EQ(c->intr_pending, INTR_PHYSICAL);
    CHECK(!svm_take_pending(c));                 /* GIF is 0 */
}

static void virtual_interrupt(void)
{
    start();
    *v32(VMCB_INTERCEPT + 12) = 1u << (VMEXIT_VINTR & 31);
    *v32(VMCB_INT_CTL) = V_IRQ_PENDING | V_MASKING | 5u << 16 | 5;
    CHECK_EQ(vmrun(), HELP_LOOP);
    CHECK_EQ(c->intr_pending, INTR_VIRTUAL);
    CHECK(!svm_take_pending(c));                 /* IF */
    c->eflags |= FL_IF;
    CHECK(!svm_take_pending(c));                 /* priority 5, TPR 5 */
    c->svm.int_ctl--;
    c->shadow = 1;
    CHECK(!svm_take_pending(c));
    c->shadow = 0;
    CHECK(svm_take_pending(c));
    CHECK_EQ(*v64(VMCB_EXITCODE), VMEXIT_VINTR);
    CHECK_EQ(*v32(VMCB_INT_CTL), V_IRQ_PENDING | V_MASKING | 5u << 16 | 4);
    CHECK_EQ(c->intr_pending, 0);
}

static void msrs(void)
{
    uint64_t v;

    start();
    CHECK(!msr_write(c, 0xc0010117, 0x123));
    CHECK(msr_write(c, 0xc0010117, 0x5000) && msr_read(c, 0xc0010117, &v) && v == 0x5000);
    CHECK(!msr_write(c, 0xc0010114, 0x10));      /* SVMDIS while SVME is on */
    CHECK(msr_write(c, 0xc0000080, 0));
    CHECK(msr_write(c, 0xc0010114, 0x18));       /* disabled, locked */
    CHECK(!msr_write(c, 0xc0000080, EFER_SVME));
    CHECK(msr_write(c, 0xc0010114, 0) && msr_read(c, 0xc0010114, &v) && v == 0x18);
    c->model.f81_ecx = 0;
    CHECK(msr_read(c, 0xc0010114, &v) && v == 0x10);
    CHECK(!msr_read(c, 0xc0010117, &v));
    c->svm.vm_cr = 0;
    CHECK(!msr_write(c, 0xc0000080, EFER_SVME));
    c->model.vendor_amd = 0;
    CHECK(!msr_read(c, 0xc0010114, &v));
}

int main(void)
{
    env_start();
    there_and_back();
    refused();
    spoilt_host();
    held_back();
    virtual_interrupt();
    msrs();
    return 0;
}
