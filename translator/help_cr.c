/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_cr.c - control and debug registers: MOV CRn, MOV DRn, LMSW, SMSW, CLTS.
 *
 * SDM vol. 3: 2.5 (control registers), 4.1.1-4.1.2 (paging modes and how to switch), 4.4.1 (PDPTEs),
 * 4.10.4 (what is flushed), 9.8.5 (entering IA-32e mode), 17.2 (debug registers); vol. 2, MOV to/from
 * control registers. All checks come before anything is changed.  PDPTEs are checked here when they would
 * be loaded; the page walk reads them from memory again at each fill, which is what AMD processors do
 * (APM vol. 2, 5.3).
 */
#include <inttypes.h>

#include "translator/help_msr.h"
#include "translator/svm.h"
#include "translator/smp.h"

#define CR0_KNOWN                                                                                          \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR3_NOFLUSH (1ull << 63)
/* Bits that translations in the TLB depend on. */
#define CR4_IN_TLB                                                                                         \
    (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PKS)

#define DR6_BD    (1u << 13)
#define DR6_ONES  0xffff0ff0u
#define DR6_VALID 0x0000e00fu
#define DR7_GD    (1u << 13)
#define DR7_ONES  0x00000400u
#define DR7_VALID 0xffff23ffu

/* ---- paging ---- */

/* PAE paging with these registers?  Then CR3 names four PDPTEs that are loaded at once. */
static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* #GP when a present PDPTE has a reserved bit set (SDM vol. 3, 4.4.1).  Under nested paging they are not looked at
 * before they are used (APM vol. 2, 15.25.10). */
static void check_pdptes(struct guest_cpu *c, uint64_t cr3)
{
    if (c->svm.npt)
        return;
    uint64_t base = (uint32_t)cr3 & ~31u & c->a20_mask;
    struct phys_page p = physmap_lookup(c->vm->phys, base & ~0xfffull);
    uint64_t reserved = 0x1e6 | ~((1ull << c->model.phys_bits) - 1);

    if (!p.host)
        GP0(c); /* an unassigned address reads as ones */
    for (unsigned i = 0; i < 4; i++) {
        uint64_t e = *(const uint64_t *)(const void *)(p.host + (base & 0xfff) + 8 * i);
        if ((e & 1) && (e & reserved))
            GP0(c);
    }
}

/* ---- CR0 ---- */

/* Conditions of turning paging on; returns the new EFER. */
static uint64_t paging_on(struct guest_cpu *c, uint64_t val)
{
    unsigned tr = c->seg[S_TR].attr >> DESC_TYPE_SHIFT & 15;

    if (!(c->efer & EFER_LME)) {
        if (pae_paging(val, c->cr[4], c->efer))
            check_pdptes(c, c->cr[3]);
        return c->efer;
    }
    if (!(c->cr[4] & CR4_PAE) || (c->seg[S_CS].attr & DESC_L))
        GP0(c);
    if (tr == SYS_TSS16 || tr == SYS_TSS16_BUSY)
        GP0(c);
    return c->efer | EFER_LMA;
}

static uint64_t paging_off(struct guest_cpu *c)
{
    if ((c->cr[4] & CR4_PCIDE) || cpu_code64(c))
        GP0(c);
    return c->efer & ~(uint64_t)EFER_LMA;
}

void cpu_write_cr0(struct guest_cpu *c, uint64_t val)
{
    uint64_t old = c->cr[0], efer = c->efer;

    if (val >> 32)
        GP0(c);
    if ((val & (CR0_PG | CR0_PE)) == CR0_PG || (val & (CR0_NW | CR0_CD)) == CR0_NW)
        GP0(c);
    val = (val & CR0_KNOWN) | CR0_ET;
    if (val & ~old & CR0_PG)
        efer = paging_on(c, val);
    else if (old & ~val & CR0_PG)
        efer = paging_off(c);
    else if (((old ^ val) & (CR0_CD | CR0_NW)) && pae_paging(val, c->cr[4], efer))
        check_pdptes(c, c->cr[3]);
    if (dump_wanted(c, DUMP_MMU))
        dump_event(c, "CR0 update: CR0=0x%08x\n", (uint32_t)val);
    c->cr[0] = val;
    c->efer = efer;
    if ((old ^ val) & (CR0_PG | CR0_WP | CR0_PE))
        tlb_flush_all(c, TLBF_CR0);
    cpu_update_hflags(c);
}

/* ---- CR3 ---- */

void cpu_write_cr3(struct guest_cpu *c, uint64_t val)
{
    bool noflush = false;

    if (cpu_lma(c)) {
        if (c->cr[4] & CR4_PCIDE) {
            noflush = val & CR3_NOFLUSH;
            val &= ~CR3_NOFLUSH;
        }
        if (val >> c->model.phys_bits)
            GP0(c);
    } else {
        val = (uint32_t)val;
        if (pae_paging(c->cr[0], c->cr[4], c->efer))
            check_pdptes(c, val);
    }
    if (dump_wanted(c, DUMP_MMU))
        dump_event(c, "CR3 update: CR3=%016" PRIx64 "\n", val);
    c->cr[3] = val;
    tlb_cr3_written(c, noflush);
}

/* ---- CR4 ---- */

struct feature_bit {
    uint32_t cr4, word;
    uint8_t bit;
};
#define WORD(name) offsetof(struct guest_cpu, model.name)
static const struct feature_bit cr4_features[] = {
    { CR4_VME | CR4_PVI, WORD(f1_edx), 1 },  { CR4_DE, WORD(f1_edx), 2 },
    { CR4_PSE, WORD(f1_edx), 3 },            { CR4_TSD, WORD(f1_edx), 4 },
    { CR4_PAE, WORD(f1_edx), 6 },            { CR4_MCE, WORD(f1_edx), 7 },
    { CR4_PGE, WORD(f1_edx), 13 },           { CR4_OSFXSR, WORD(f1_edx), 24 },
    { CR4_OSXMMEXCPT, WORD(f1_edx), 25 },    { CR4_PCIDE, WORD(f1_ecx), 17 },
    { CR4_OSXSAVE, WORD(f1_ecx), 26 },       { CR4_FSGSBASE, WORD(f7_ebx), 0 },
    { CR4_SMEP, WORD(f7_ebx), 7 },           { CR4_SMAP, WORD(f7_ebx), 20 },
    { CR4_UMIP, WORD(f7_ecx), 2 },           { CR4_PKE, WORD(f7_ecx), 3 },
    { CR4_LA57, WORD(f7_ecx), 16 },          { CR4_PKS, WORD(f7_ecx), 31 },
};
#undef WORD

/* The bits of CR4 that this CPU model has. */
uint64_t cr4_valid(const struct guest_cpu *c)
{
    uint64_t valid = CR4_PCE;

    for (unsigned i = 0; i < sizeof(cr4_features) / sizeof(cr4_features[0]); i++) {
        const struct feature_bit *f = &cr4_features[i];
        uint32_t word = *(const uint32_t *)(const void *)((const char *)c + f->word);
        if (word >> f->bit & 1)
            valid |= f->cr4;
    }
    return c->tlb && tlb_can_la57(c) ? valid : valid & ~(uint64_t)CR4_LA57;
}

void cpu_write_cr4(struct guest_cpu *c, uint64_t val)
{
    uint64_t old = c->cr[4], changed = old ^ val;

    if (val & ~cr4_valid(c))
        GP0(c);
    if (cpu_lma(c) && (!(val & CR4_PAE) || (changed & CR4_LA57)))
        GP0(c);
    if ((val & ~old & CR4_PCIDE) && (!cpu_lma(c) || (c->cr[3] & 0xfff)))
        GP0(c);
    if (pae_paging(c->cr[0], val, c->efer) && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)))
        check_pdptes(c, c->cr[3]);
    if (dump_wanted(c, DUMP_MMU))
        dump_event(c, "CR4 update: CR4=0x%08x\n", (uint32_t)val);
    c->cr[4] = val;
    if (changed & CR4_IN_TLB)
        tlb_flush_all(c, TLBF_CR4);
    cpu_update_hflags(c);
}

/* ---- MOV to and from CRn ---- */

/* AMD: LOCK MOV CR0 is MOV CR8 (APM vol. 3, MOV CRn; the decoder admits LOCK with CR0 only). */
static unsigned cr_number(struct guest_cpu *c, const struct dec_insn *in)
{
    if (!in->lock)
        return in->reg;
    if (!(c->model.f81_ecx & (1u << 4)))
        cpu_raise(c, EXC_UD);
    return 8;
}

static unsigned cr_size(const struct dec_insn *in)
{
    return in->mode == 2 ? 8 : 4;
}

/* V_INTR_MASKING: a nested guest has a TPR of its own (APM vol. 2, 15.21.2). */
static inline bool virtual_tpr(const struct guest_cpu *c)
{
    return c->svm.nested && (c->svm.int_ctl & V_MASKING);
}

int help_mov_cr_read(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned n = cr_number(c, in);
    uint64_t v;

    switch (n) {
    case 0: case 2: case 3: case 4:
        v = c->cr[n];
        break;
    case 8:
        v = c->cr8;
        if (virtual_tpr(c)) {
            v = c->svm.int_ctl & V_TPR_BITS;
        } else if (c->host->get_cr8) {
            fpu_park(c);
            unsigned old = smp_rest(c, SMP_PAUSED);
            v = c->cr8 = c->host->get_cr8(c);
            smp_wake(c, old);
        }
        break;
    default:
        cpu_raise(c, EXC_UD);
    }
    gpr_write(c, in->rm, cr_size(in), false, v);
    return HELP_NEXT;
}

int help_mov_cr_write(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t v = gpr_read(c, in->rm, cr_size(in), false);

    switch (cr_number(c, in)) {
    case 0: cpu_write_cr0(c, v); break;
    case 2: c->cr[2] = v; break;
    case 3: cpu_write_cr3(c, v); break;
    case 4: cpu_write_cr4(c, v); break;
    case 8:
        if (v > 15)
            GP0(c);
        if (virtual_tpr(c)) {
            c->svm.int_ctl = (c->svm.int_ctl & ~V_TPR_BITS) | (uint32_t)v;
            return help_leave(c, in); /* a virtual interrupt may be let in */
        }
        c->cr8 = v;
        if (c->host->set_cr8) {
            fpu_park(c);
            unsigned old = smp_rest(c, SMP_PAUSED);
            c->host->set_cr8(c, (uint8_t)v);
            smp_wake(c, old);
        }
        break;
    default:
        cpu_raise(c, EXC_UD);
    }
    return c->exit_request ? help_leave(c, in) : HELP_NEXT;
}

int help_lmsw(struct guest_cpu *c, const struct dec_insn *in)
{
    const uint64_t bits = CR0_PE | CR0_MP | CR0_EM | CR0_TS;
    uint64_t v = in->has_mem ? guest_ld16(c, opnd_lin(c, in, 2, false)) : GPR(c, in->rm);

    /* PE can be set, not cleared. */
    cpu_write_cr0(c, (c->cr[0] & (~bits | CR0_PE)) | (v & bits));
    return HELP_NEXT;
}

int help_smsw(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t mark = help_mark(c);

    if ((c->cr[4] & CR4_UMIP) && c->cpl > 0)
        GP0(c);
    if (in->has_mem)
        guest_st16(c, opnd_lin(c, in, 2, true), (uint16_t)c->cr[0]);
    else
        gpr_write(c, in->rm, in->opsize, false, c->cr[0]);
    return help_stored(c, in, mark);
}

int help_clts(struct guest_cpu *c, const struct dec_insn *in)
{
    (void)in;
    c->cr[0] &= ~(uint64_t)CR0_TS;
    cpu_update_hflags(c);
    return HELP_NEXT;
}

/* ---- MOV to and from DRn ---- */

/* DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE; any access with DR7.GD set is reported first. */
static unsigned dr_number(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned n = in->reg;

    if (n > 7 || ((n == 4 || n == 5) && (c->cr[4] & CR4_DE)))
        cpu_raise(c, EXC_UD);
    if (c->dr[7] & DR7_GD) {
        c->exc_dr6 |= DR6_BD;
        cpu_raise(c, EXC_DB);
    }
    return n == 4 || n == 5 ? n + 2 : n;
}

int help_mov_dr_read(struct guest_cpu *c, const struct dec_insn *in)
{
    gpr_write(c, in->rm, cr_size(in), false, c->dr[dr_number(c, in)]);
    return HELP_NEXT;
}

int help_mov_dr_write(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned n = dr_number(c, in);
    uint64_t v = gpr_read(c, in->rm, cr_size(in), false), old = c->dr[n];

    if (n >= 6 && v >> 32)
        GP0(c);
    if (n == 6)
        v = (v & DR6_VALID) | DR6_ONES;
    else if (n == 7)
        v = (v & DR7_VALID) | DR7_ONES;
    c->dr[n] = v;
    /* Watched pages are kept out of the tables, so the tables follow the breakpoints. */
    if (v != old && n != 6 && ((n == 7 ? v | old : c->dr[7]) & 0xff))
        tlb_flush_all(c, TLBF_OTHER);
    debug_registers_changed(c);
    return HELP_NEXT;
}
