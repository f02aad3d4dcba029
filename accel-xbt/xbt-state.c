/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-state.c - struct guest_cpu <-> CPUX86State.
 *
 * Protocol (as QEMU's hypervisor accelerators have it): cs->vcpu_dirty says who
 * has the truth.  0: struct guest_cpu; QEMU asks with synchronize_state and gets a
 * copy.  1: CPUX86State; it is brought back before the vCPU runs, or by
 * post_reset/post_init.  All copies are made on the vCPU's thread with the BQL.
 *
 * Fields that are the same on both sides are in one table; what is represented
 * differently (flags, segments, FPU, TSC) has its own lines below.
 * CPUX86State keeps a20_mask for itself: devices change it there.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"
#include "translator/svm.h"

struct field {
    uint16_t c_offset, c_size;
    uint32_t env_offset, env_size;
};

#define FIELD(cf, ef) { offsetof(struct guest_cpu, cf), sizeof(((struct guest_cpu *)0)->cf), \
                        offsetof(CPUX86State, ef), sizeof(((CPUX86State *)0)->ef) }
static const struct field fields[] = {
    FIELD(rip, eip),
    FIELD(gdt.base, gdt.base), FIELD(gdt.limit, gdt.limit),
    FIELD(idt.base, idt.base), FIELD(idt.limit, idt.limit),
    FIELD(cr[0], cr[0]), FIELD(cr[2], cr[2]), FIELD(cr[3], cr[3]), FIELD(cr[4], cr[4]),
    FIELD(efer, efer), FIELD(xcr0, xcr0), FIELD(dr, dr),
    FIELD(pkru, pkru), FIELD(pkrs, pkrs),
    FIELD(fptr.ip, fpip), FIELD(fptr.dp, fpdp), FIELD(fptr.op, fpop), FIELD(fptr.cs, fpcs), FIELD(fptr.ds, fpds),
    FIELD(sysenter_cs, sysenter_cs), FIELD(sysenter_esp, sysenter_esp), FIELD(sysenter_eip, sysenter_eip),
    FIELD(star, star), FIELD(lstar, lstar), FIELD(cstar, cstar), FIELD(fmask, fmask),
    FIELD(kernelgsbase, kernelgsbase),
    FIELD(tsc_aux, tsc_aux), FIELD(tsc_adjust, tsc_adjust), FIELD(tsc_deadline, tsc_deadline),
    FIELD(pat, pat),
    FIELD(misc_enable, msr_ia32_misc_enable),
    FIELD(mtrr_def_type, mtrr_deftype), FIELD(mtrr_fixed, mtrr_fixed), FIELD(mtrr_var, mtrr_var),
    FIELD(svm.hsave, vm_hsave), FIELD(svm.ncr3, nested_cr3),
    FIELD(feature_control, msr_ia32_feature_control), FIELD(spec_ctrl, spec_ctrl),
    FIELD(mcg_status, mcg_status), FIELD(mcg_ctl, mcg_ctl), FIELD(mce_banks, mce_banks),
};
#undef FIELD

/* Little endian: a smaller field is the low part of a larger one. */
static void copy_field(void *dst, size_t dst_size, const void *src, size_t src_size)
{
    size_t n = MIN(dst_size, src_size);

    memcpy(dst, src, n);
    memset((char *)dst + n, 0, dst_size - n);
}

/* ---- segments ---- */

#define ATTR_MASK 0x00f0ff00u /* the descriptor's attribute bits, without limit and base */
#define LIMIT_SHIFT 16        /* bits 19..16 of the limit among them */

static SegmentCache *env_seg(CPUX86State *env, unsigned i)
{
    return i == S_LDT ? &env->ldt : i == S_TR ? &env->tr : &env->segs[i];
}

static void segments_get(const struct guest_cpu *c, CPUX86State *env)
{
    for (unsigned i = 0; i < 8; i++) {
        SegmentCache *s = env_seg(env, i);

        s->selector = c->seg[i].sel;
        s->base = c->seg[i].base;
        s->limit = c->seg[i].limit;
        s->flags = c->seg[i].attr |
                   (c->seg[i].limit >> (c->seg[i].attr & DESC_G_MASK ? 28 : 16) & 0xf) << LIMIT_SHIFT;
    }
    /* QEMU takes the privilege level from SS.DPL, also for a null SS. */
    env->segs[R_SS].flags = (env->segs[R_SS].flags & ~(uint32_t)DESC_DPL_MASK) | (uint32_t)c->cpl
                                                                                     << DESC_DPL_SHIFT;
}

static void segments_put(struct guest_cpu *c, CPUX86State *env)
{
    for (unsigned i = 0; i < 8; i++) {
        const SegmentCache *s = env_seg(env, i);

        c->seg[i].sel = s->selector;
        c->seg[i].base = s->base;
        c->seg[i].limit = s->limit;
        c->seg[i].attr = s->flags & ATTR_MASK;
    }
    if (!(env->cr[0] & CR0_PE_MASK)) {
        c->cpl = 0;
    } else if (env->eflags & VM_MASK) {
        c->cpl = 3;
    } else {
        c->cpl = (env->segs[R_SS].flags >> DESC_DPL_SHIFT) & 3;
    }
    for (unsigned i = 0; i < S_COUNT; i++) {
        cpu_seg_update(c, i);
    }
}

/* ---- flags and what QEMU keeps in its hflags ---- */

/* GIF and what else of SVM decides whether an interrupt may be taken. */
static void svm_flags_get(const struct guest_cpu *c, CPUX86State *env)
{
    const struct guest_svm *s = &c->svm;

    env->hflags &= ~(HF_GUEST_MASK | HF_SVME_MASK);
    env->hflags |= c->efer & MSR_EFER_SVME ? HF_SVME_MASK : 0;
    env->hflags2 &= ~(HF2_GIF_MASK | HF2_HIF_MASK | HF2_VINTR_MASK | HF2_NPT_MASK | HF2_VGIF_MASK);
    env->hflags2 |= (s->gif ? HF2_GIF_MASK : 0) | (s->host_if ? HF2_HIF_MASK : 0) | (s->npt ? HF2_NPT_MASK : 0);
    env->hflags2 |= s->nested && (s->int_ctl & V_MASKING) ? HF2_VINTR_MASK : 0;
    env->hflags2 |= (s->int_ctl & V_GIF_ON) && !(s->int_ctl & V_GIF_VALUE) ? 0 : HF2_VGIF_MASK;
}

/* "A nested guest is running" goes with the VMCB's address: a migration stream with HF_GUEST_MASK in hflags is refused
 * by every QEMU built with KVM, whatever the accelerator (cpu_post_load()). */
#define VMCB_NESTED 1u
#define VMCB_VIRQ   2u /* so does V_IRQ: int_ctl itself migrates under TCG only */

/* The rest, in the form in which it migrates.  The engine itself reads it from the VMCB again. */
static void svm_get(const struct guest_cpu *c, CPUX86State *env)
{
    const struct guest_svm *s = &c->svm;

    env->vm_vmcb = s->vmcb | (s->nested ? VMCB_NESTED : 0) | (s->int_ctl & V_IRQ_PENDING ? VMCB_VIRQ : 0);
    env->int_ctl = s->int_ctl;
    env->intercept = s->icpt[3] | (uint64_t)s->icpt[4] << 32;
    env->intercept_cr_read = (uint16_t)s->icpt[0];
    env->intercept_cr_write = (uint16_t)(s->icpt[0] >> 16);
    env->intercept_dr_read = (uint16_t)s->icpt[1];
    env->intercept_dr_write = (uint16_t)(s->icpt[1] >> 16);
    env->intercept_exceptions = s->icpt[2];
    env->v_tpr = s->int_ctl & V_TPR_BITS;
    env->nested_pg_mode = 0;
    if (s->npt) {
        env->nested_pg_mode |= s->host_cr4 & CR4_PAE ? PG_MODE_PAE : 0;
        env->nested_pg_mode |= s->host_cr4 & CR4_PSE ? PG_MODE_PSE : 0;
        env->nested_pg_mode |= s->host_cr4 & CR4_LA57 ? PG_MODE_LA57 : 0;
        env->nested_pg_mode |= s->host_efer & EFER_LMA ? PG_MODE_LMA : 0;
        env->nested_pg_mode |= s->host_efer & EFER_NXE ? PG_MODE_NXE : 0;
    }
}

/* Bits of TCG's hflags that x86_update_hflags() leaves alone: TCG takes them from a migration stream as they are. */
static void derived_hflags_get(const struct guest_cpu *c, CPUX86State *env)
{
    env->hflags &= ~(HF_SMAP_MASK | HF_UMIP_MASK);
    env->hflags |= (c->cr[4] & CR4_SMAP ? HF_SMAP_MASK : 0) | (c->cr[4] & CR4_UMIP ? HF_UMIP_MASK : 0);
    cpu_sync_avx_hflag(env);
}

static void flags_get(const struct guest_cpu *c, CPUX86State *env)
{
    env->eflags = cpu_get_eflags(c);
    env->hflags &= ~HF_INHIBIT_IRQ_MASK;
    if (c->shadow) {
        env->hflags |= HF_INHIBIT_IRQ_MASK;
    }
    env->hflags2 &= ~HF2_NMI_MASK;
    if (c->nmi_masked) {
        env->hflags2 |= HF2_NMI_MASK;
    }
    svm_flags_get(c, env);
}

static void flags_put(struct guest_cpu *c, const CPUX86State *env)
{
    c->fl = eflags_to_fl(env->eflags);
    c->eflags = env->eflags & ~(uint64_t)(FL_STATUS | 2u);
    c->shadow = !!(env->hflags & HF_INHIBIT_IRQ_MASK);
    c->nmi_masked = !!(env->hflags2 & HF2_NMI_MASK);
    c->svm.gif = !!(env->hflags2 & HF2_GIF_MASK);
    c->svm.host_if = !!(env->hflags2 & HF2_HIF_MASK);
    c->svm.nested = env->vm_vmcb & VMCB_NESTED;
    c->svm.vmcb = env->vm_vmcb & ~0xfffull;
    /* The rest of int_ctl does not change while a guest runs: svm_state_loaded() has it from the VMCB. */
    c->svm.int_ctl = (env->v_tpr & V_TPR_BITS) | (env->vm_vmcb & VMCB_VIRQ ? V_IRQ_PENDING : 0) |
                     (env->hflags2 & HF2_VGIF_MASK ? V_GIF_VALUE : 0);
}

/* ---- whole state ---- */

void xbt_state_get(struct xbt_cpu *x)
{
    struct guest_cpu *c = x->c;
    CPUX86State *env = &x->x86->env;

    fpu_park(c);
    fpu_ptr_settle(c);
    for (unsigned i = 0; i < 16; i++) {
        env->regs[i] = GPR(c, i);
    }
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        copy_field((char *)env + fields[i].env_offset, fields[i].env_size,
                   (const char *)c + fields[i].c_offset, fields[i].c_size);
    }
    segments_get(c, env);
    flags_get(c, env);
    svm_get(c, env);
    xbt_fpu_get(env, c->fpu);
    env->tsc_offset = c->tsc_offset_guest - x->tsc_host_offset;
    x86_update_hflags(env);
    derived_hflags_get(c, env);
}

void xbt_state_get_wake(struct xbt_cpu *x)
{
    flags_get(x->c, &x->x86->env);
}

/* Nothing is in flight between two instructions, but what an instruction leaves to the next one: a #DB that waits for it,
 * MOV SS's shadow, the rest of a string instruction.  CPUX86State has no room for these; they stay when the vCPU goes on
 * where it was (a stop, a look at it), and are dropped when it goes on elsewhere. */
static void settle(struct guest_cpu *c, bool goes_on, unsigned shadow)
{
    c->exc_vector = -1;
    c->exc_delivering = 0;
    c->exc_is_int = 0;
    c->unwind_pc = 0;
    c->commit.active = 0;
    c->intr_pending = c->nmi_pending = c->mce_pending = 0;
    c->special_tf = c->in_special = 0;
    c->shutdown = 0;
    if (!goes_on) {
        c->exc_dr6 = 0;
        c->rep_partial = 0;
    } else if (c->shadow) {
        c->shadow = shadow ? shadow : c->shadow;
    }
}

void xbt_state_put(struct xbt_cpu *x)
{
    struct guest_cpu *c = x->c;
    CPUX86State *env = &x->x86->env;
    bool goes_on = c->rip == env->eip && c->seg[S_CS].base == env->segs[R_CS].base;
    unsigned shadow = c->shadow;

    fpu_park(c);
    for (unsigned i = 0; i < 16; i++) {
        GPR(c, i) = env->regs[i];
    }
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        copy_field((char *)c + fields[i].c_offset, fields[i].c_size,
                   (const char *)env + fields[i].env_offset, fields[i].env_size);
    }
    c->fptr.op &= FPTR_FOP;
    c->fptr.dseg = 0;
    flags_put(c, env);
    segments_put(c, env);
    xbt_fpu_put(env, c->fpu);
    c->tsc_offset_guest = env->tsc_offset + x->tsc_host_offset;
    c->a20_mask = (int64_t)env->a20_mask;
    c->cr8 = cpu_get_apic_tpr(x->x86->apic_state);
    xbt_host_apic_placed(x);

    settle(c, goes_on, shadow);
    c->halted = x->cs->halted;

    svm_state_loaded(c);
    tlb_cr3_written(c, true);
    tlb_flush_all(c, TLBF_RESET);
    cpu_update_hflags(c);
    cpu_kick(c, XREQ_POLL);
}

void xbt_state_a20(struct xbt_cpu *x)
{
    uint64_t mask = (int64_t)x->x86->env.a20_mask;

    if (x->c->a20_mask != mask) {
        x->c->a20_mask = mask;
        tlb_flush_all(x->c, TLBF_A20);
    }
}

void xbt_state_model(struct xbt_cpu *x)
{
    const CPUX86State *env = &x->x86->env;
    struct guest_cpu *c = x->c;

    c->model.vendor_amd = IS_AMD_CPU(env);
    c->model.phys_bits = x->x86->phys_bits;
    c->model.f1_ecx = env->features[FEAT_1_ECX];
    c->model.f1_edx = env->features[FEAT_1_EDX];
    c->model.f7_ebx = env->features[FEAT_7_0_EBX];
    c->model.f7_ecx = env->features[FEAT_7_0_ECX];
    c->model.f7_edx = env->features[FEAT_7_0_EDX];
    c->model.f81_ecx = env->features[FEAT_8000_0001_ECX];
    c->model.f81_edx = env->features[FEAT_8000_0001_EDX];
    c->model.f88_ebx = env->features[FEAT_8000_0008_EBX];
    c->model.fd1_eax = env->features[FEAT_XSAVE];
    c->model.xcr0_supported = env->features[FEAT_XSAVE_XCR0_LO] | env->features[FEAT_XSAVE_XCR0_HI] << 32;
}

/* ---- QEMU's protocol ---- */

static void do_get(CPUState *cs, run_on_cpu_data data)
{
    struct xbt_cpu *x = xbt_cpu_of_cs(cs);

    if (!cs->vcpu_dirty) {
        xbt_state_get(x);
        cs->vcpu_dirty = true;
    }
}

/* The guest's memory may be new as well (reset, loadvm): nobody told us about those writes. */
static void do_put_all(CPUState *cs, run_on_cpu_data data)
{
    struct xbt_cpu *x = xbt_cpu_of_cs(cs);

    if (smp_all_out(&xbt_vm)) { /* otherwise it is a CPU that joins a running machine */
        tb_flush(x->c);
    }
    memset(x->c->msr_other, 0, sizeof(x->c->msr_other));
    x->c->svm.vm_cr = 0;
    x->c->exc_dr6 = x->c->shadow = x->c->rep_partial = 0;
    xbt_state_put(x);
    cs->vcpu_dirty = !runstate_is_running(); /* gdb may change it before the start */
}

static void do_mark_dirty(CPUState *cs, run_on_cpu_data data)
{
    cs->vcpu_dirty = true;
}

void xbt_sync_state(CPUState *cs)
{
    if (!cs->vcpu_dirty) {
        run_on_cpu(cs, do_get, RUN_ON_CPU_NULL);
    }
}

void xbt_sync_post_reset(CPUState *cs)
{
    struct xbt_cpu *x = xbt_cpu_of_cs(cs);

    if (x) {
        x->nmi_held = false;
    }
    run_on_cpu(cs, do_put_all, RUN_ON_CPU_NULL);
}

void xbt_sync_post_init(CPUState *cs)
{
    run_on_cpu(cs, do_put_all, RUN_ON_CPU_NULL);
}

void xbt_sync_pre_loadvm(CPUState *cs)
{
    run_on_cpu(cs, do_mark_dirty, RUN_ON_CPU_NULL);
}
