/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_sys.c - system instructions other than control registers (help_cr.c), MSRs' contents (help_msr.c)
 * and segments: time, CPUID, TLB and cache control, HLT, MONITOR/MWAIT, FS/GS bases, XCR0, PKRU, and
 * those that only raise #UD.
 *
 * SDM vol. 2, each instruction.  The time-stamp counter is the host's own plus c->tsc_offset_guest unless
 * the embedder gives host->read_tsc; reading it natively needs no FP state to be parked, which matters as
 * kernels read it often.
 */
#include "translator/fpu.h"
#include "translator/help_msr.h"

/* ---- time ---- */

uint64_t cpu_read_tsc(struct guest_cpu *c)
{
    uint32_t lo, hi;

    if (c->host->read_tsc) {
        fpu_park(c);
        return c->host->read_tsc(c) + c->svm.tsc_offset;
    }
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return ((uint64_t)hi << 32 | lo) + c->tsc_offset_guest + c->svm.tsc_offset; /* the latter 0 but in nested guests */
}

static void set_edx_eax(struct guest_cpu *c, uint64_t v)
{
    GPR(c, R_RAX) = (uint32_t)v;
    GPR(c, R_RDX) = v >> 32;
}

static void check_tsd(struct guest_cpu *c)
{
    if ((c->cr[4] & CR4_TSD) && c->cpl > 0)
        GP0(c);
}

int help_rdtsc(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    check_tsd(c);
    set_edx_eax(c, cpu_read_tsc(c));
    return HELP_NEXT;
}

int help_rdtscp(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    check_tsd(c);
    set_edx_eax(c, cpu_read_tsc(c));
    GPR(c, R_RCX) = (uint32_t)c->tsc_aux;
    return HELP_NEXT;
}

int help_rdpid(struct guest_cpu *c, const struct dec_insn *in)
{
    gpr_write(c, in->rm, in->mode == 2 ? 8 : 4, false, (uint32_t)c->tsc_aux);
    return HELP_NEXT;
}

/* AMD processors have four counters unannounced; they stand still here.  Intel's come with CPUID leaf 0Ah. */
int help_rdpmc(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    if (!(c->cr[4] & CR4_PCE) && c->cpl > 0)
        GP0(c);
    if (!c->model.vendor_amd || (uint32_t)GPR(c, R_RCX) > 3)
        GP0(c);
    set_edx_eax(c, 0);
    return HELP_NEXT;
}

/* ---- CPUID ---- */

static uint32_t bit_if(uint32_t word, unsigned bit, bool on)
{
    return on ? word | 1u << bit : word & ~(1u << bit);
}

static uint32_t xsave_size(uint64_t xcr0)
{
    return xcr0 & XF_PKRU ? XS_PKRU + 8 : xcr0 & XF_AVX ? XS_AVX_END : XS_AVX;
}
static uint32_t xsave_compact_size(uint64_t xcr0)
{
    return XS_AVX + (xcr0 & XF_AVX ? XS_AVX_END - XS_AVX : 0) + (xcr0 & XF_PKRU ? 8 : 0);
}

/* What CPUID reports about the current state rather than the model. */
static void cpuid_dynamic(struct guest_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    if (leaf == 1) {
        r[2] = bit_if(r[2], 27, c->cr[4] & CR4_OSXSAVE);
        if (c->host->get_apic_base)
            r[3] = bit_if(r[3], 9, (r[3] >> 9 & 1) && (c->host->get_apic_base(c) & APIC_BASE_EN));
    } else if (leaf == 7 && subleaf == 0) {
        r[2] = bit_if(r[2], 4, c->cr[4] & CR4_PKE);
    } else if (leaf == 0xd && subleaf == 0 && r[0]) {
        r[1] = xsave_size(c->xcr0);
    } else if (leaf == 0xd && subleaf == 1 && (r[0] & 2)) {
        r[1] = xsave_compact_size(c->xcr0);
    }
}

int help_cpuid(struct guest_cpu *c, const struct dec_insn *in)
{
    uint32_t leaf = (uint32_t)GPR(c, R_RAX), subleaf = (uint32_t)GPR(c, R_RCX), r[4] = { 0 };

    fpu_park(c);
    c->host->cpuid(c, leaf, subleaf, r);
    cpuid_dynamic(c, leaf, subleaf, r);
    GPR(c, R_RAX) = r[0];
    GPR(c, R_RBX) = r[1];
    GPR(c, R_RCX) = r[2];
    GPR(c, R_RDX) = r[3];
    return help_after_io(c, in); /* serialising */
}

int help_serialize(struct guest_cpu *c, const struct dec_insn *in)
{
    return help_after_io(c, in);
}

/* ---- MSRs ---- */

int help_rdmsr(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t v;

    (void)in;
    if (!msr_read(c, (uint32_t)GPR(c, R_RCX), &v))
        GP0(c);
    set_edx_eax(c, v);
    return HELP_NEXT;
}

int help_wrmsr(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t v = GPR(c, R_RDX) << 32 | (uint32_t)GPR(c, R_RAX);

    if (!msr_write(c, (uint32_t)GPR(c, R_RCX), v))
        GP0(c);
    return c->exit_request ? help_leave(c, in) : HELP_NEXT;
}

/* ---- TLB and caches ---- */

int help_invlpg(struct guest_cpu *c, const struct dec_insn *in)
{
    /* No limit or canonical checks: an address that cannot be mapped has no entry. */
    uint64_t base = cpu_code64(c) && in->seg != S_FS && in->seg != S_GS ? 0 : c->seg[in->seg].base;

    tlb_flush_page(c, lin_wrap(c, base + opnd_ea(c, in)));
    return HELP_NEXT;
}

int help_invpcid(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t type = gpr_read(c, in->reg, in->mode == 2 ? 8 : 4, false);
    uint64_t lin = opnd_lin(c, in, 16, false);
    uint64_t pcid = guest_ld64(c, lin), addr = guest_ld64(c, lin + 8);

    if (type > 3 || pcid >> 12)
        GP0(c);
    if (type < 2 && pcid && !(c->cr[4] & CR4_PCIDE))
        GP0(c);
    if (type == 0 && !is_canonical_max(c, addr))
        GP0(c);
    switch (type) {
    case 0: tlb_flush_pcid_page(c, (unsigned)pcid, addr); break;
    case 1: tlb_flush_pcid(c, (unsigned)pcid); break;
    case 2: tlb_flush_all(c, TLBF_INVPCID); break;
    default: tlb_flush_nonglobal(c, TLBF_INVPCID); break;
    }
    return HELP_NEXT;
}

int help_invd(struct guest_cpu *c, const struct dec_insn *in)
{
    return help_after_io(c, in); /* memory is always coherent; serialising */
}

int help_wbinvd(struct guest_cpu *c, const struct dec_insn *in)
{
    return help_after_io(c, in);
}

/* ---- waiting ---- */

/* The instruction completes, then the processor waits: an STI before it no longer holds interrupts back. */
static int halt(struct guest_cpu *c, const struct dec_insn *in)
{
    c->halted = 1;
    if (c->shadow) {
        c->shadow = 0;
        cpu_update_hflags_same_cr(c);
    }
    return help_leave(c, in);
}

int help_hlt(struct guest_cpu *c, const struct dec_insn *in)
{
    return halt(c, in);
}

/* One thread for all vCPUs: what this one waits for is done by another. */
int help_pause(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    cpu_kick(c, XREQ_STOP);
    return HELP_NEXT;
}

int help_monitor(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t off = addr_reg(c, R_RAX, in->adsize);

    if (c->cpl > 0)
        cpu_raise(c, EXC_UD);
    if ((uint32_t)GPR(c, R_RCX))
        GP0(c);
    guest_probe(c, seg_lin(c, implicit_seg(in), off, 1, false), 1, ACC_READ, c->mmu_mode);
    return HELP_NEXT;
}

/*
 * MWAIT may return for any reason, so returning at once is always right.  It waits for an interrupt only
 * where nothing else can end the wait: no other processor to store to the monitored line, and interrupts
 * enabled.
 */
int help_mwait(struct guest_cpu *c, const struct dec_insn *in)
{
    if (c->cpl > 0)
        cpu_raise(c, EXC_UD);
    if (GPR(c, R_RCX) & 0xfffffffe)
        GP0(c);
    if (c->vm->n_cpus > 1 || !(c->eflags & FL_IF))
        return help_leave(c, in);
    return halt(c, in);
}

/* ---- FS and GS bases ---- */

static void check_fsgsbase(struct guest_cpu *c)
{
    if (!(c->cr[4] & CR4_FSGSBASE))
        cpu_raise(c, EXC_UD);
}

static int rd_base(struct guest_cpu *c, const struct dec_insn *in, unsigned seg)
{
    check_fsgsbase(c);
    gpr_write(c, in->rm, in->opsize == 8 ? 8 : 4, false, c->seg[seg].base);
    return HELP_NEXT;
}

static int wr_base(struct guest_cpu *c, const struct dec_insn *in, unsigned seg)
{
    uint64_t v = gpr_read(c, in->rm, in->opsize == 8 ? 8 : 4, false);

    check_fsgsbase(c);
    if (!is_canonical(c, v))
        GP0(c);
    c->seg[seg].base = v;
    return HELP_NEXT;
}

int help_rdfsbase(struct guest_cpu *c, const struct dec_insn *in) { return rd_base(c, in, S_FS); }
int help_rdgsbase(struct guest_cpu *c, const struct dec_insn *in) { return rd_base(c, in, S_GS); }
int help_wrfsbase(struct guest_cpu *c, const struct dec_insn *in) { return wr_base(c, in, S_FS); }
int help_wrgsbase(struct guest_cpu *c, const struct dec_insn *in) { return wr_base(c, in, S_GS); }

/* ---- XCR0 ---- */

static void check_osxsave(struct guest_cpu *c)
{
    if (!(c->cr[4] & CR4_OSXSAVE))
        cpu_raise(c, EXC_UD);
}

int help_xgetbv(struct guest_cpu *c, const struct dec_insn *in)
{
    uint32_t idx = (uint32_t)GPR(c, R_RCX);
    uint64_t inuse;

    (void)in;
    check_osxsave(c);
    if (idx > 1 || (idx == 1 && !(c->model.fd1_eax & 4)))
        GP0(c);
    if (idx == 0) {
        set_edx_eax(c, c->xcr0);
        return HELP_NEXT;
    }
    fpu_capture(c);
    inuse = (fpu_get64(c->fpu, XS_BV) & ~XF_PKRU) | (c->pkru ? XF_PKRU : 0);
    set_edx_eax(c, c->xcr0 & inuse);
    return HELP_NEXT;
}

int help_xsetbv(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t v = GPR(c, R_RDX) << 32 | (uint32_t)GPR(c, R_RAX);

    (void)in;
    check_osxsave(c);
    if ((uint32_t)GPR(c, R_RCX) || !xcr0_valid(c, v))
        GP0(c);
    c->xcr0 = v;
    cpu_update_hflags(c);
    return HELP_NEXT;
}

bool xcr0_valid(const struct guest_cpu *c, uint64_t v)
{
    if (!(v & XF_X87) || (v & (XF_AVX | XF_SSE)) == XF_AVX)
        return false;
    return !(v & ~(c->model.xcr0_supported & XF_ALL));
}

/* ---- protection keys ---- */

static void check_pke(struct guest_cpu *c)
{
    if (!(c->cr[4] & CR4_PKE))
        cpu_raise(c, EXC_UD);
    if ((uint32_t)GPR(c, R_RCX))
        GP0(c);
}

void cpu_set_pkru(struct guest_cpu *c, uint32_t v)
{
    uint32_t denied = v & ~c->pkru;

    c->pkru = v;
    if (c->cr[4] & CR4_PKE)
        tlb_flush_pkru(c, denied);
}

int help_rdpkru(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    check_pke(c);
    set_edx_eax(c, c->pkru);
    return HELP_NEXT;
}

int help_wrpkru(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    check_pke(c);
    if ((uint32_t)GPR(c, R_RDX))
        GP0(c);
    cpu_set_pkru(c, (uint32_t)GPR(c, R_RAX));
    return HELP_NEXT;
}

/* ---- not available: no SMM ---- */

int help_ud(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    cpu_raise(c, EXC_UD);
}

int help_rsm(struct guest_cpu *c, const struct dec_insn *in) { return help_ud(c, in); }
