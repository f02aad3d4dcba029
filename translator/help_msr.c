/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_msr.c - model-specific registers (SDM vol. 4; APM vol. 2, appendix A).
 *
 * Order: registers the engine owns; then the embedder (x2APIC, TSC deadline, paravirtual ranges...); then
 * registers that every processor has and system software touches without asking CPUID, which read as a
 * constant and ignore writes. Everything else is #GP (false).  RDMSR/WRMSR themselves are in help_sys.c.
 * The embedder loads and saves state through msr_read()/msr_write() as well, so nothing here depends on
 * the current instruction.
 */
#include "translator/help_msr.h"

/* struct guest_cpu.msr_other[] */
enum { MO_DEBUGCTL, MO_HWCR, MO_SYSCFG, MO_COUNT };
_Static_assert(MO_COUNT <= 16, "msr_other[] is too small");

#define MSR_TSC            0x10
#define MSR_APIC_BASE      0x1b
#define MSR_FEATURE_CONTROL 0x3a
#define MSR_TSC_ADJUST     0x3b
#define MSR_SPEC_CTRL      0x48
#define MSR_PRED_CMD       0x49
#define MSR_BIOS_UPDT_TRIG 0x79
#define MSR_BIOS_SIGN_ID   0x8b
#define MSR_MTRRCAP        0xfe
#define MSR_FLUSH_CMD      0x10b
#define MSR_SYSENTER_CS    0x174
#define MSR_SYSENTER_ESP   0x175
#define MSR_SYSENTER_EIP   0x176
#define MSR_MCG_CAP        0x179
#define MSR_MCG_STATUS     0x17a
#define MSR_MCG_CTL        0x17b
#define MSR_PERF_STATUS    0x198
#define MSR_MISC_ENABLE    0x1a0
#define MSR_DEBUGCTL       0x1d9
#define MSR_MTRR_PHYS      0x200
#define MSR_PAT            0x277
#define MSR_MTRR_DEF_TYPE  0x2ff
#define MSR_MC0_CTL        0x400
#define MSR_XSS            0xda0
#define MSR_PKRS           0x6e1
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_FMASK          0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u
#define MSR_AMD_SYSCFG     0xc0010010u
#define MSR_AMD_HWCR       0xc0010015u
#define MSR_AMD_VM_CR      0xc0010114u
#define MSR_AMD_VM_HSAVE   0xc0010117u
#define MSR_AMD_PATCH_LOADER 0xc0010020u

#define MTRR_VARIABLE 8
#define MTRRCAP_VALUE (MTRR_VARIABLE | 1u << 8 | 1u << 10) /* fixed ranges, WC */
#define MCE_BANKS 10
#define MCG_CAP_DEFAULT (MCE_BANKS | 1u << 8 | 1u << 24)   /* MCG_CTL present, software error recovery */

#define MCG_CTL_P (1u << 8)
#define HWCR_MC_STATUS_WR (1u << 18)

#define EDX7_SPEC_CTRL (1u << 26)
#define EDX7_L1D_FLUSH (1u << 28)
#define EBX7_TSC_ADJUST (1u << 1)
#define ECX7_PKS (1u << 31)
#define ECX1_X2APIC (1u << 21)
#define ED1_XSAVES (1u << 3)

#define EFER_TCE (1u << 15)

#define ECX81_SVM (1u << 2)
#define VM_CR_LOCK   (1u << 3)
#define VM_CR_SVMDIS (1u << 4)
#define VM_CR_VALID  0x1fu

/* ---- registers that come with a feature ---- */

struct msr_needs {
    uint32_t first, last, word, bits; /* any of the bits */
};
#define WORD(name) offsetof(struct guest_cpu, model.name)
static const struct msr_needs msr_needs[] = {
    { MSR_TSC, MSR_TSC, WORD(f1_edx), 1u << 4 },
    { MSR_APIC_BASE, MSR_APIC_BASE, WORD(f1_edx), 1u << 9 },
    { MSR_SYSENTER_CS, MSR_SYSENTER_EIP, WORD(f1_edx), 1u << 11 },
    { MSR_MTRRCAP, MSR_MTRRCAP, WORD(f1_edx), 1u << 12 },
    { MSR_MTRR_PHYS, 0x26f, WORD(f1_edx), 1u << 12 },
    { MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE, WORD(f1_edx), 1u << 12 },
    { MSR_MCG_CAP, MSR_MCG_CTL, WORD(f1_edx), 1u << 14 },
    { MSR_MC0_CTL, MSR_MC0_CTL + 4 * MCE_BANKS - 1, WORD(f1_edx), 1u << 14 },
    { MSR_PAT, MSR_PAT, WORD(f1_edx), 1u << 16 },
    { MSR_EFER, MSR_EFER, WORD(f81_edx), 1u << 11 | 1u << 20 | 1u << 29 },
    { MSR_STAR, MSR_STAR, WORD(f81_edx), 1u << 11 | 1u << 29 },
    { MSR_LSTAR, MSR_FMASK, WORD(f81_edx), 1u << 29 },
    { MSR_FS_BASE, MSR_KERNEL_GS_BASE, WORD(f81_edx), 1u << 29 },
};

static bool msr_exists(const struct guest_cpu *c, uint32_t msr)
{
    if (msr == MSR_TSC_AUX)
        return (c->model.f81_edx & 1u << 27) || (c->model.f7_ecx & 1u << 22); /* RDTSCP, RDPID */
    for (unsigned i = 0; i < sizeof(msr_needs) / sizeof(msr_needs[0]); i++) {
        const struct msr_needs *n = &msr_needs[i];
        if (msr >= n->first && msr <= n->last)
            return *(const uint32_t *)(const void *)((const char *)c + n->word) & n->bits;
    }
    return true;
}
#undef WORD

static inline uint64_t phys_mask(const struct guest_cpu *c)
{
    return (1ull << (c->model.phys_bits & 63)) - 1;
}

/* ---- EFER ---- */

uint64_t efer_valid(const struct guest_cpu *c)
{
    uint64_t valid = EFER_LMA;
    uint32_t edx = c->model.f81_edx, ecx = c->model.f81_ecx;

    valid |= edx & (1u << 11) ? EFER_SCE : 0;
    valid |= edx & (1u << 29) ? EFER_LME : 0;
    valid |= edx & (1u << 20) ? EFER_NXE : 0;
    valid |= edx & (1u << 25) ? EFER_FFXSR : 0;
    valid |= ecx & ECX81_SVM ? EFER_SVME : 0;
    valid |= ecx & (1u << 17) ? EFER_TCE : 0;
    return valid;
}

static bool write_efer(struct guest_cpu *c, uint64_t val)
{
    uint64_t old = c->efer;

    if (val & ~efer_valid(c))
        return false;
    if ((val & EFER_SVME) && (c->svm.vm_cr & VM_CR_SVMDIS))
        return false;
    if (((old ^ val) & EFER_LME) && (c->cr[0] & CR0_PG))
        return false;
    c->efer = (val & ~(uint64_t)EFER_LMA) | (old & EFER_LMA); /* LMA is read only */
    if ((old ^ c->efer) & EFER_NXE)
        tlb_flush_all(c, TLBF_EFER);
    cpu_update_hflags(c);
    return true;
}

/* ---- local APIC base ---- */

static uint64_t read_apic_base(struct guest_cpu *c)
{
    if (!c->host->get_apic_base)
        return 0xfee00000u | APIC_BASE_EN | APIC_BASE_BSP;
    fpu_park(c);
    return c->host->get_apic_base(c);
}

static bool write_apic_base(struct guest_cpu *c, uint64_t val)
{
    uint64_t valid = (phys_mask(c) & ~0xfffull) | APIC_BASE_BSP | APIC_BASE_EN, old = read_apic_base(c);

    if (c->model.f1_ecx & ECX1_X2APIC)
        valid |= APIC_BASE_EXTD;
    if (val & ~valid)
        return false;
    /* x2APIC needs EN, and can only be left through "disabled" (SDM vol. 3, 10.12.5). */
    if ((val & APIC_BASE_EXTD) && !(val & APIC_BASE_EN))
        return false;
    if ((val & APIC_BASE_EXTD) && !(old & (APIC_BASE_EN | APIC_BASE_EXTD)))
        return false;
    if ((old & APIC_BASE_EXTD) && !(val & APIC_BASE_EXTD) && (val & APIC_BASE_EN))
        return false;
    if (c->host->set_apic_base) {
        fpu_park(c);
        c->host->set_apic_base(c, val);
    }
    return true;
}

/* ---- memory types ---- */

static bool mtrr_type(uint64_t t)
{
    return t < 7 && t != 2 && t != 3;
}
static bool pat_type(uint64_t t)
{
    return t < 8 && t != 2 && t != 3;
}
static bool each_byte(uint64_t v, bool (*ok)(uint64_t))
{
    for (unsigned i = 0; i < 8; i++, v >>= 8)
        if (!ok(v & 0xff))
            return false;
    return true;
}

/* Index in mtrr_fixed[], or -1. */
static int mtrr_fixed_index(uint32_t msr)
{
    if (msr == 0x250)
        return 0;
    if (msr == 0x258 || msr == 0x259)
        return (int)msr - 0x258 + 1;
    if (msr >= 0x268 && msr <= 0x26f)
        return (int)msr - 0x268 + 3;
    return -1;
}

static uint64_t *mtrr_reg(struct guest_cpu *c, uint32_t msr)
{
    int i = mtrr_fixed_index(msr);

    if (i >= 0)
        return &c->mtrr_fixed[i];
    if (msr - MSR_MTRR_PHYS < 2 * MTRR_VARIABLE)
        return &c->mtrr_var[(msr - MSR_MTRR_PHYS) / 2][msr & 1];
    return msr == MSR_MTRR_DEF_TYPE ? &c->mtrr_def_type : NULL;
}

/* Memory is always write-back here: the values are kept for the guest alone. */
static bool mtrr_valid(const struct guest_cpu *c, uint32_t msr, uint64_t v)
{
    if (mtrr_fixed_index(msr) >= 0)
        return each_byte(v, mtrr_type);
    if (msr == MSR_MTRR_DEF_TYPE)
        return !(v & ~0xcffull) && mtrr_type(v & 0xff);
    if (v & ~phys_mask(c))
        return false;
    return msr & 1 ? !(v & 0x7ff) : !(v & 0xf00) && mtrr_type(v & 0xff);
}

/* ---- registers that are a field of guest_cpu ---- */

enum check { CK_ANY, CK_CANON, CK_32, CK_PAT, CK_EFER /* written by write_efer() */ };

static uint64_t *plain_reg(struct guest_cpu *c, uint32_t msr, enum check *ck)
{
    *ck = CK_ANY;
    switch (msr) {
    case MSR_SYSENTER_CS: return &c->sysenter_cs;
    case MSR_SYSENTER_ESP: *ck = CK_CANON; return &c->sysenter_esp;
    case MSR_SYSENTER_EIP: *ck = CK_CANON; return &c->sysenter_eip;
    case MSR_EFER: *ck = CK_EFER; return &c->efer;
    case MSR_STAR: return &c->star;
    case MSR_LSTAR: *ck = CK_CANON; return &c->lstar;
    case MSR_CSTAR: *ck = CK_CANON; return &c->cstar;
    case MSR_FMASK: *ck = CK_32; return &c->fmask;
    case MSR_FS_BASE: *ck = CK_CANON; return &c->seg[S_FS].base;
    case MSR_GS_BASE: *ck = CK_CANON; return &c->seg[S_GS].base;
    case MSR_KERNEL_GS_BASE: *ck = CK_CANON; return &c->kernelgsbase;
    case MSR_TSC_AUX: *ck = CK_32; return &c->tsc_aux;
    case MSR_PAT: *ck = CK_PAT; return &c->pat;
    case MSR_MISC_ENABLE: return &c->misc_enable;
    case MSR_MCG_STATUS: return &c->mcg_status;
    case MSR_DEBUGCTL: return &c->msr_other[MO_DEBUGCTL];
    case MSR_FEATURE_CONTROL: return c->model.vendor_amd ? NULL : &c->feature_control;
    case MSR_AMD_HWCR: return c->model.vendor_amd ? &c->msr_other[MO_HWCR] : NULL;
    case MSR_AMD_SYSCFG: return c->model.vendor_amd ? &c->msr_other[MO_SYSCFG] : NULL;
    case MSR_TSC_ADJUST: return c->model.f7_ebx & EBX7_TSC_ADJUST ? &c->tsc_adjust : NULL;
    case MSR_SPEC_CTRL: return c->model.f7_edx & EDX7_SPEC_CTRL ? &c->spec_ctrl : NULL;
    default: return NULL;
    }
}

static bool passes(const struct guest_cpu *c, enum check ck, uint64_t v)
{
    switch (ck) {
    case CK_CANON: return is_canonical_max(c, v);
    case CK_32: return !(v >> 32);
    case CK_PAT: return each_byte(v, pat_type);
    default: return true;
    }
}

/* ---- time ---- */

static void write_tsc(struct guest_cpu *c, uint64_t val)
{
    uint64_t now = cpu_read_tsc(c);

    c->tsc_adjust += val - now; /* SDM vol. 3, 17.17.3 */
    if (c->host->write_tsc) {
        fpu_park(c);
        c->host->write_tsc(c, val);
    } else {
        c->tsc_offset_guest += val - now;
    }
}

/* ---- the embedder's ---- */

static bool host_rdmsr(struct guest_cpu *c, uint32_t msr, uint64_t *val)
{
    if (!c->host->rdmsr)
        return false;
    fpu_park(c);
    return c->host->rdmsr(c, msr, val);
}

static bool host_wrmsr(struct guest_cpu *c, uint32_t msr, uint64_t val)
{
    if (!c->host->wrmsr)
        return false;
    fpu_park(c);
    return c->host->wrmsr(c, msr, val);
}

/* ---- machine check (SDM vol. 3, 15.3) ---- */

static uint64_t mcg_cap(struct guest_cpu *c)
{
    uint64_t v;

    return host_rdmsr(c, MSR_MCG_CAP, &v) ? v : MCG_CAP_DEFAULT;
}

static uint64_t *mc_reg(struct guest_cpu *c, uint32_t msr)
{
    unsigned n = msr - MSR_MC0_CTL;

    return n < 4 * MCE_BANKS && n / 4 < (mcg_cap(c) & 0xff) ? &c->mce_banks[n] : NULL;
}

/* Control registers enable all or nothing.  Bits 0 and 10 of MCi_CTL may be clear: software works around chipsets so. */
static bool all_or_nothing(uint64_t v, uint64_t but)
{
    return v == 0 || (v | but) == ~0ull;
}

static bool mc_valid(const struct guest_cpu *c, uint32_t msr, uint64_t v)
{
    if ((msr & 3) == 0)
        return all_or_nothing(v, 1u << 10 | 1);
    /* MCi_STATUS can only be cleared, unless HWCR says otherwise (APM vol. 2, 9.3.2). */
    if ((msr & 3) == 1)
        return v == 0 || (c->model.vendor_amd && (c->msr_other[MO_HWCR] & HWCR_MC_STATUS_WR));
    return true;
}

/* ---- registers without a feature bit that software expects to exist ---- */

struct msr_range {
    uint32_t first, last;
    uint64_t value;
};
static const struct msr_range constant_msrs[] = {
    { 0x0, 0x1, 0 },                  /* P5 machine check */
    { 0x17, 0x17, 0 },                /* platform id */
    { 0x2a, 0x2a, 0 },                /* EBL_CR_POWERON */
    { 0x34, 0x34, 0 },                /* SMI count */
    { MSR_BIOS_UPDT_TRIG, MSR_BIOS_UPDT_TRIG, 0 },
    { MSR_BIOS_SIGN_ID, MSR_BIOS_SIGN_ID, 0x100000000ull },
    { 0xc1, 0xc8, 0 },                /* performance counters */
    { 0xcd, 0xce, 0 },                /* bus frequency, platform info */
    { 0xe7, 0xe8, 0 },                /* MPERF, APERF */
    { 0x11e, 0x11e, 0 },              /* BBL_CR_CTL3 */
    { 0x186, 0x18d, 0 },              /* performance event selects */
    { MSR_PERF_STATUS, MSR_PERF_STATUS, 1000 | 4ull << 40 },
    { 0x199, 0x199, 0 },              /* PERF_CTL */
    { 0x19a, 0x19d, 0 },              /* thermal */
    { 0x1db, 0x1de, 0 },              /* last branch and exception */
    { 0x309, 0x30b, 0 },              /* fixed counters */
    { 0x345, 0x345, 0 },              /* performance capabilities */
    { 0x38d, 0x390, 0 },              /* performance control */
    { 0x606, 0x606, 0 },              /* power unit */
};
static const struct msr_range constant_msrs_amd[] = {
    { 0xc0010000u, 0xc0010007u, 0 },  /* performance events and counters */
    { 0xc0010016u, 0xc001001au, 0 },  /* IORRs, TOP_MEM */
    { 0xc001001du, 0xc001001du, 0 },  /* TOP_MEM2 */
    { 0xc001001fu, 0xc001001fu, 0 },  /* NB_CFG */
    { MSR_AMD_PATCH_LOADER, MSR_AMD_PATCH_LOADER, 0 },
    { 0xc0010055u, 0xc0010055u, 0 },  /* interrupt pending and CMP-halt */
    { 0xc0010058u, 0xc0010058u, 0 },  /* MMIO configuration base */
    { 0xc0010061u, 0xc0010071u, 0 },  /* P states */
    { 0xc0010111u, 0xc0010113u, 0 },  /* SMM base, TSEG */
    { 0xc0010115u, 0xc0010116u, 0 },  /* IGNNE, SMM_CTL */
    { 0xc0010140u, 0xc0010141u, 0 },  /* OSVW */
    { 0xc0010200u, 0xc001020bu, 0 },  /* performance events and counters */
    { 0xc0011020u, 0xc001102fu, 0 },  /* load/store, instruction and decode configuration */
};

static bool find_constant(const struct msr_range *r, unsigned n, uint32_t msr, uint64_t *val)
{
    for (unsigned i = 0; i < n; i++)
        if (msr >= r[i].first && msr <= r[i].last) {
            *val = r[i].value;
            return true;
        }
    return false;
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
static bool constant_msr(const struct guest_cpu *c, uint32_t msr, uint64_t *val)
{
    if (find_constant(constant_msrs, COUNT(constant_msrs), msr, val))
        return true;
    return c->model.vendor_amd && find_constant(constant_msrs_amd, COUNT(constant_msrs_amd), msr, val);
}

/* ---- AMD SVM (APM vol. 2, 15.30): gone without the feature, but VM_CR says so ---- */

static bool svm_read(const struct guest_cpu *c, uint32_t msr, uint64_t *val)
{
    bool svm = c->model.f81_ecx & ECX81_SVM;

    if (!c->model.vendor_amd && !svm)
        return false;
    if (msr == MSR_AMD_VM_CR)
        *val = svm ? c->svm.vm_cr : VM_CR_SVMDIS;
    else
        *val = c->svm.hsave;
    return svm || msr == MSR_AMD_VM_CR;
}

static bool svm_write(struct guest_cpu *c, uint32_t msr, uint64_t val)
{
    uint64_t now;

    if (!svm_read(c, msr, &now))
        return false;
    if (msr == MSR_AMD_VM_HSAVE) {
        if ((val & 0xfff) || val & ~phys_mask(c))
            return false;
        c->svm.hsave = val;
        return true;
    }
    if ((val & ~(uint64_t)VM_CR_VALID) || ((val & VM_CR_SVMDIS) && (c->efer & EFER_SVME)))
        return false;
    if (!(c->model.f81_ecx & ECX81_SVM))
        return true;
    if (now & VM_CR_LOCK)
        val = (val & ~(uint64_t)(VM_CR_LOCK | VM_CR_SVMDIS)) | (now & (VM_CR_LOCK | VM_CR_SVMDIS));
    c->svm.vm_cr = val;
    return true;
}

/* ---- the two entries ---- */

bool msr_read(struct guest_cpu *c, uint32_t msr, uint64_t *val)
{
    enum check ck;
    uint64_t *p;

    if (!msr_exists(c, msr))
        return false;
    if ((p = plain_reg(c, msr, &ck)) || (p = mtrr_reg(c, msr)) || (p = mc_reg(c, msr))) {
        *val = *p;
        return true;
    }
    switch (msr) {
    case MSR_TSC: *val = cpu_read_tsc(c); return true;
    case MSR_APIC_BASE: *val = read_apic_base(c); return true;
    case MSR_MTRRCAP: *val = MTRRCAP_VALUE; return true;
    case MSR_MCG_CTL: *val = c->mcg_ctl; return mcg_cap(c) & MCG_CTL_P;
    case MSR_MCG_CAP: *val = mcg_cap(c); return true;
    case MSR_PKRS:
        *val = c->pkrs;
        return c->model.f7_ecx & ECX7_PKS;
    case MSR_AMD_VM_CR: case MSR_AMD_VM_HSAVE: return svm_read(c, msr, val);
    case MSR_XSS:
        *val = 0; /* no supervisor state is offered */
        return c->model.fd1_eax & ED1_XSAVES;
    }
    return host_rdmsr(c, msr, val) || constant_msr(c, msr, val);
}

static bool write_plain(struct guest_cpu *c, uint32_t msr, uint64_t *p, enum check ck, uint64_t val)
{
    if (ck == CK_EFER)
        return write_efer(c, val);
    if (!passes(c, ck, val))
        return false;
    if (msr == MSR_TSC_ADJUST)
        write_tsc(c, cpu_read_tsc(c) + (val - *p));
    *p = val;
    return true;
}

static bool write_pkrs(struct guest_cpu *c, uint64_t val)
{
    if (!(c->model.f7_ecx & ECX7_PKS) || val >> 32)
        return false;
    if (c->pkrs != val) {
        c->pkrs = (uint32_t)val;
        tlb_flush_all(c, TLBF_PKRU);
    }
    return true;
}

bool msr_write(struct guest_cpu *c, uint32_t msr, uint64_t val)
{
    enum check ck;
    uint64_t *p, ignored;

    if (!msr_exists(c, msr))
        return false;
    if ((p = plain_reg(c, msr, &ck)))
        return write_plain(c, msr, p, ck, val);
    if ((p = mtrr_reg(c, msr))) {
        if (!mtrr_valid(c, msr, val))
            return false;
        *p = val;
        return true;
    }
    if ((p = mc_reg(c, msr))) {
        if (!mc_valid(c, msr, val))
            return false;
        *p = val;
        return true;
    }
    switch (msr) {
    case MSR_TSC: write_tsc(c, val); return true;
    case MSR_APIC_BASE: return write_apic_base(c, val);
    case MSR_MTRRCAP: case MSR_MCG_CAP: case MSR_PERF_STATUS: return false; /* read only */
    case MSR_MCG_CTL:
        if (!(mcg_cap(c) & MCG_CTL_P) || !all_or_nothing(val, 0))
            return false;
        c->mcg_ctl = val;
        return true;
    case MSR_PRED_CMD:
        if (c->model.f7_edx & EDX7_SPEC_CTRL)
            return !(val & ~1ull);
        break;
    case MSR_FLUSH_CMD:
        if (c->model.f7_edx & EDX7_L1D_FLUSH)
            return !(val & ~1ull);
        break;
    case MSR_AMD_VM_CR: case MSR_AMD_VM_HSAVE: return svm_write(c, msr, val);
    case MSR_PKRS: return write_pkrs(c, val);
    case MSR_XSS: return (c->model.fd1_eax & ED1_XSAVES) && !val;
    }
    return host_wrmsr(c, msr, val) || constant_msr(c, msr, &ignored);
}
