/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-abi.c - is the running QEMU the one whose headers we were built with?
 *
 * Compares sizes of QOM types and, for every field that QEMU migrates of an x86
 * CPU, the offset in the binary's own VMState tables with our offsetof().  The
 * module stamp (loader/) is checked before; this is the second lock on the same
 * door: necessary, not sufficient, and cheap.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

struct abi_field {
    const char *name;
    size_t offset;
};

#define F(f) { #f, offsetof(X86CPU, f) }
static const struct abi_field x86_fields[] = {
    F(env.regs), F(env.eip), F(env.eflags), F(env.hflags), F(env.fpuc), F(env.fpus_vmstate),
    F(env.fptag_vmstate), F(env.fpregs_format_vmstate), F(env.fpregs), F(env.segs), F(env.ldt), F(env.tr),
    F(env.gdt), F(env.idt), F(env.sysenter_cs), F(env.sysenter_esp), F(env.sysenter_eip), F(env.cr[0]),
    F(env.cr[2]), F(env.cr[3]), F(env.cr[4]), F(env.dr), F(env.a20_mask), F(env.mxcsr), F(env.xmm_regs),
    F(env.efer), F(env.star), F(env.lstar), F(env.cstar), F(env.fmask), F(env.kernelgsbase), F(env.smbase),
    F(env.pat), F(env.hflags2), F(env.vm_hsave), F(env.vm_vmcb), F(env.tsc_offset), F(env.intercept),
    F(env.intercept_cr_read), F(env.intercept_cr_write), F(env.intercept_dr_read), F(env.intercept_dr_write),
    F(env.intercept_exceptions), F(env.v_tpr), F(env.mtrr_fixed), F(env.mtrr_deftype), F(env.mtrr_var),
    F(env.interrupt_injected), F(env.mp_state), F(env.tsc), F(env.exception_nr), F(env.soft_interrupt),
    F(env.nmi_injected), F(env.nmi_pending), F(env.has_error_code), F(env.sipi_vector), F(env.mcg_cap),
    F(env.mcg_status), F(env.mcg_ctl), F(env.mce_banks), F(env.tsc_aux), F(env.system_time_msr),
    F(env.wall_clock_msr), F(env.xcr0), F(env.xstate_bv),
    /* subsections */
    F(env.exception_pending), F(env.exception_injected), F(env.exception_has_payload),
    F(env.exception_payload), F(env.poll_control_msr), F(env.fpop), F(env.fpip), F(env.fpdp),
    F(env.tsc_adjust), F(env.msr_smi_count), F(env.tsc_deadline), F(env.msr_ia32_misc_enable),
    F(env.msr_ia32_feature_control), F(env.bnd_regs), F(env.bndcs_regs.cfgu), F(env.bndcs_regs.sts),
    F(env.msr_bndcfgs), F(env.opmask_regs), F(env.xss), F(env.umwait), F(env.pkru), F(env.pkrs),
    F(env.tsx_ctrl), F(env.tsc_khz), F(env.spec_ctrl), F(env.mcg_ext_ctl), F(env.amd_tsc_scale_msr),
    F(env.virt_ssbd), F(env.msr_xfd), F(env.msr_xfd_err), F(env.pdptrs), F(env.nested_cr3),
    F(env.nested_pg_mode), F(env.int_ctl),
};
#undef F
#define F(f) { #f, offsetof(CPUState, f) }
static const struct abi_field common_fields[] = { F(halted), F(interrupt_request), F(exception_index),
                                                  F(crash_occurred), };
#undef F

static const struct { const char *type; size_t size; } sizes[] = {
    { TYPE_X86_CPU, sizeof(X86CPU) },
    { TYPE_CPU, sizeof(CPUState) },
    { TYPE_X86_MACHINE, sizeof(X86MachineState) },
    { TYPE_MEMORY_REGION, sizeof(MemoryRegion) },
    { TYPE_ACCEL, sizeof(AccelState) },
    { "apic", sizeof(APICCommonState) },
};

static bool check_fields(const VMStateDescription *d, const struct abi_field *known, size_t n, const char *of,
                         size_t *seen, Error **errp)
{
    for (const VMStateField *f = d->fields; f && f->name; f++) {
        for (size_t i = 0; i < n; i++) {
            /* A later part of the register file has the same name in a subsection. */
            bool part = f->offset > known[i].offset && !strcmp(f->name, "env.xmm_regs");

            if (!strcmp(f->name, known[i].name) && !part) {
                ++*seen;
                if (f->offset != known[i].offset) {
                    error_setg(errp, "xbt was built for another QEMU: field %s.%s is at offset %zu here, "
                               "%zu in the headers of %s; rebuild xbt for this QEMU package",
                               of, f->name, f->offset, known[i].offset, XBT_QEMU_PKGVERSION);
                    return false;
                }
            }
        }
    }
    for (const VMStateDescription **s = d->subsections; s && *s; s++) {
        if (!check_fields(*s, known, n, of, seen, errp)) {
            return false;
        }
    }
    return true;
}

bool xbt_abi_check(Error **errp)
{
    size_t seen = 0;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t real = object_type_get_instance_size(sizes[i].type);

        if (real != sizes[i].size) {
            error_setg(errp, "xbt was built for another QEMU: an object of type %s has %zu bytes here, "
                       "%zu in the headers of %s; rebuild xbt for this QEMU package",
                       sizes[i].type, real, sizes[i].size, XBT_QEMU_PKGVERSION);
            return false;
        }
    }
    if (!check_fields(&vmstate_x86_cpu, x86_fields, ARRAY_SIZE(x86_fields), "X86CPU", &seen, errp) ||
        !check_fields(&vmstate_cpu_common, common_fields, ARRAY_SIZE(common_fields), "CPUState", &seen,
                      errp)) {
        return false;
    }
    /* The table of the binary must be the one we know, not a table without our fields. */
    if (seen < ARRAY_SIZE(x86_fields) / 2) {
        error_setg(errp, "xbt was built for another QEMU: only %zu of %zu known CPU fields are in its state "
                   "table; rebuild xbt for this QEMU package", seen, ARRAY_SIZE(x86_fields));
        return false;
    }
    return true;
}
