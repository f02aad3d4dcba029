/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svm_guard.c - instruction intercepts (APM vol. 2, 15.8 to 15.11).
 *
 * A row whose instruction can be intercepted has a twin whose helper is help_guarded(): it asks the intercept first
 * and then calls the row's own helper.  The lifter uses the twins in blocks with HF_NESTED; all other blocks know
 * nothing of this.  Exceptions that come before an intercept (table 15-7) are left to the instruction: the guard lets
 * it run when it will raise one.  #GP for CPL > 0 and #UD by mode are the lifter's.
 *
 * The twins are made once, before the first vCPU runs.
 */
#include "translator/desc.h"
#include "translator/help_msr.h"
#include "translator/svm.h"

typedef void guard_fn(struct guest_cpu *c, const struct dec_insn *in, uint32_t code);

static inline void exit_if(struct guest_cpu *c, uint32_t code, uint64_t info1, uint64_t info2)
{
    if (svm_wants(c, code)) {
        svm_exit(c, code, info1, info2);
    }
}

static void g_plain(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    exit_if(c, code, 0, 0);
}

/* Instructions whose own checks come first. */
static void g_time(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    if (!(c->cr[4] & CR4_TSD) || c->cpl == 0) {
        exit_if(c, code, 0, 0);
    }
}

static void g_rdpmc(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    if (((c->cr[4] & CR4_PCE) || c->cpl == 0) && (uint32_t)GPR(c, R_RCX) <= 3) {
        exit_if(c, code, 0, 0);
    }
}

static void g_cpl0(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    if (c->cpl == 0) {
        exit_if(c, code, 0, 0);
    }
}

/* SVM's own instructions: #UD and #GP(CPL) first. */
static void g_svm(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    if ((c->efer & EFER_SVME) && c->cpl == 0) {
        exit_if(c, code, 0, 0);
    }
}

static void g_umip(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    if (!(c->cr[4] & CR4_UMIP) || c->cpl == 0) {
        exit_if(c, code, 0, 0);
    }
}

static void g_xsetbv(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    if (c->cr[4] & CR4_OSXSAVE) {
        exit_if(c, code, 0, 0);
    }
}

/* An instruction breakpoint's trap by INT1 is an exception as well. */
static void g_int1(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    exit_if(c, code, 0, 0);
    exit_if(c, VMEXIT_EXCEPTION + EXC_DB, 0, 0);
}

static void g_into(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    if (c->fl & 1) {
        exit_if(c, code, 0, 0);
    }
}

/* ---- control and debug registers ---- */

static unsigned cr_number(const struct dec_insn *in)
{
    return in->lock && in->reg == 0 ? 8 : in->reg;
}

static void g_cr_read(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    exit_if(c, code + (cr_number(in) & 15), 0, 0);
}

/* The selective intercept is for changes of bits other than TS and MP (15.8.1). */
static void g_cr_write(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    unsigned n = cr_number(in) & 15;
    uint64_t v = gpr_read(c, in->rm, in->mode == 2 ? 8 : 4, false);

    exit_if(c, code + n, 0, 0);
    if (n == 0 && ((v ^ c->cr[0]) & ~(uint64_t)(CR0_TS | CR0_MP))) {
        exit_if(c, VMEXIT_CR0_SEL, 0, 0);
    }
}

static void g_lmsw(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    exit_if(c, code, 0, 0);
    exit_if(c, VMEXIT_CR0_SEL, 0, 0); /* whatever is written */
}

static void g_dr(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    exit_if(c, code + (in->reg & 15), 0, 0);
}

/* ---- MSRs (15.11): two bits each, in three ranges of 2 KiB ---- */

static bool msr_intercepted(struct guest_cpu *c, uint32_t msr, bool write)
{
    static const uint32_t base[] = { 0, 0xc0000000u, 0xc0010000u };
    struct svm_page vmcb = svm_page(c, c->svm.vmcb, false);
    uint64_t map = svm_ld(c, &vmcb, VMCB_MSRPM, 8) & ~0xfffull;

    for (unsigned i = 0; i < 3; i++) {
        uint32_t n = msr - base[i];
        if (n < 0x2000) {
            unsigned off = i * 2048 + n / 4;
            struct svm_page p = svm_page(c, map + off, false);
            return svm_ld(c, &p, off & 0xfff, 1) >> (2 * (n & 3) + write) & 1;
        }
    }
    return true;
}

static void g_msr(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    bool write = in->opcode == 0x30;

    if (svm_wants(c, code) && msr_intercepted(c, (uint32_t)GPR(c, R_RCX), write)) {
        svm_exit(c, code, write, 0);
    }
}

/* ---- port I/O (15.10) ---- */

static bool ports_intercepted(struct guest_cpu *c, unsigned port, unsigned size)
{
    struct svm_page vmcb = svm_page(c, c->svm.vmcb, false);
    uint64_t map = svm_ld(c, &vmcb, VMCB_IOPM, 8) & ~0xfffull;

    for (unsigned i = port; i < port + size; i++) { /* past 65535: the bits behind, which are in the third page */
        struct svm_page p = svm_page(c, map + i / 8, false);
        if (svm_ld(c, &p, (i / 8) & 0xfff, 1) >> (i & 7) & 1) {
            return true;
        }
    }
    return false;
}

void svm_check_io(struct guest_cpu *c, const struct dec_insn *in, unsigned port, unsigned size)
{
    bool string = (in->opcode & 0xfc) == 0x6c;
    bool read = !(in->opcode & 2);
    uint64_t info;

    if (!svm_wants(c, VMEXIT_IOIO) || !ports_intercepted(c, port, size)) {
        return;
    }
    info = (uint64_t)port << 16 | (read ? 1 : 0) | size << 4;
    if (string) {
        unsigned seg = read ? S_ES : in->seg_override ? in->seg : S_DS;
        info |= 1u << 2 | (in->rep ? 1u << 3 : 0) | (unsigned)in->adsize << 6 | seg << 10;
    } else {
        info |= (unsigned)in->adsize << 6;
    }
    c->svm.next_rip = dec_next_ip(in);
    svm_exit(c, VMEXIT_IOIO, info, c->svm.next_rip);
}

/* ---- others with operands ---- */

static void g_mwait(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    (void)in;
    if (c->cpl == 0) {
        exit_if(c, code, 0, 0);
        exit_if(c, VMEXIT_MWAIT_ARMED, 0, 0);
    }
}

/* Info1: the descriptor's linear address, info2: the type. */
static void g_invpcid(struct guest_cpu *c, const struct dec_insn *in, uint32_t code)
{
    if (svm_wants(c, code)) {
        uint64_t type = gpr_read(c, in->reg, in->mode == 2 ? 8 : 4, false);
        svm_exit(c, code, opnd_lin(c, in, 16, false), type);
    }
}

/* ---- the twins ---- */

struct guard {
    help_fn *helper;
    guard_fn *check;
    uint32_t code;
};

static const struct guard guards[] = {
    { help_mov_cr_read, g_cr_read, VMEXIT_CR_READ },   { help_mov_cr_write, g_cr_write, VMEXIT_CR_WRITE },
    { help_mov_dr_read, g_dr, VMEXIT_DR_READ },        { help_mov_dr_write, g_dr, VMEXIT_DR_WRITE },
    { help_smsw, g_umip, VMEXIT_CR_READ },             { help_lmsw, g_lmsw, VMEXIT_CR_WRITE },
    { help_clts, g_plain, VMEXIT_CR_WRITE },           { help_sidt, g_umip, VMEXIT_IDTR_READ },
    { help_sgdt, g_umip, VMEXIT_GDTR_READ },           { help_sldt, g_umip, VMEXIT_LDTR_READ },
    { help_str, g_umip, VMEXIT_TR_READ },              { help_lidt, g_plain, VMEXIT_IDTR_WRITE },
    { help_lgdt, g_plain, VMEXIT_GDTR_WRITE },         { help_lldt, g_plain, VMEXIT_LDTR_WRITE },
    { help_ltr, g_plain, VMEXIT_TR_WRITE },            { help_rdtsc, g_time, VMEXIT_RDTSC },
    { help_rdtscp, g_time, VMEXIT_RDTSCP },            { help_rdpmc, g_rdpmc, VMEXIT_RDPMC },
    { help_pushf, g_plain, VMEXIT_PUSHF },             { help_popf, g_plain, VMEXIT_POPF },
    { help_cpuid, g_plain, VMEXIT_CPUID },             { help_rsm, g_plain, VMEXIT_RSM },
    { help_iret, g_plain, VMEXIT_IRET },               { help_int_n, g_plain, VMEXIT_SWINT },
    { help_int3, g_plain, VMEXIT_EXCEPTION + EXC_BP }, { help_into, g_into, VMEXIT_EXCEPTION + EXC_OF },
    { help_int1, g_int1, VMEXIT_ICEBP },               { help_invd, g_plain, VMEXIT_INVD },
    { help_wbinvd, g_plain, VMEXIT_WBINVD },           { help_hlt, g_plain, VMEXIT_HLT },
    { help_invlpg, g_plain, VMEXIT_INVLPG },           { help_rdmsr, g_msr, VMEXIT_MSR },
    { help_wrmsr, g_msr, VMEXIT_MSR },                 { help_monitor, g_cpl0, VMEXIT_MONITOR },
    { help_mwait, g_mwait, VMEXIT_MWAIT },             { help_xsetbv, g_xsetbv, VMEXIT_XSETBV },
    { help_invpcid, g_invpcid, VMEXIT_INVPCID },       { help_invlpga, g_svm, VMEXIT_INVLPGA },
    { help_vmrun, g_svm, VMEXIT_VMRUN },               { help_vmmcall, g_plain, VMEXIT_VMMCALL },
    { help_vmload, g_svm, VMEXIT_VMLOAD },             { help_vmsave, g_svm, VMEXIT_VMSAVE },
    { help_stgi, g_svm, VMEXIT_STGI },                 { help_clgi, g_svm, VMEXIT_CLGI },
    { help_skinit, g_svm, VMEXIT_SKINIT },
};
static const struct guard pause_guard = { NULL, g_plain, VMEXIT_PAUSE };

#define TWINS_MAX 96
static struct insn_row twin_rows[TWINS_MAX];
static struct { const struct insn_row *row; const struct guard *guard; } twins[TWINS_MAX];
static unsigned n_twins;

static int help_guarded(struct guest_cpu *c, const struct dec_insn *in)
{
    size_t i = (size_t)(in->row - twin_rows);

    /* What is pending comes before an instruction that may leave the nested guest, as it does on processors. */
    if (__builtin_expect(c->exit_request, 0) && !c->in_special) {
        c->rip = in->ip;
        return HELP_LOOP;
    }
    c->svm.next_rip = dec_next_ip(in);
    twins[i].guard->check(c, in, twins[i].guard->code);
    c->svm.next_rip = 0;
    return twins[i].row->helper ? twins[i].row->helper(c, in) : HELP_NEXT;
}

static const struct guard *guard_of(const struct insn_row *row)
{
    if (row->cls == CL_NOP) {
        return row->map == 0 && row->opcode == 0x90 && row->pfx == PX_F3 ? &pause_guard : NULL;
    }
    for (unsigned i = 0; row->cls == CL_HELPER && i < sizeof(guards) / sizeof(guards[0]); i++) {
        if (guards[i].helper == row->helper) {
            return &guards[i];
        }
    }
    return NULL;
}

void svm_guard_init(void)
{
    if (n_twins) {
        return;
    }
    for (unsigned i = 0; i < insn_row_count && n_twins < TWINS_MAX; i++) {
        const struct guard *g = guard_of(&insn_rows[i]);
        if (g) {
            twins[n_twins].row = &insn_rows[i];
            twins[n_twins].guard = g;
            twin_rows[n_twins] = insn_rows[i];
            twin_rows[n_twins].cls = CL_HELPER;
            twin_rows[n_twins].helper = help_guarded;
            n_twins++;
        }
    }
}

const struct insn_row *svm_guard_row(const struct insn_row *row)
{
    for (unsigned i = 0; (row->cls == CL_HELPER || row->cls == CL_NOP) && i < n_twins; i++) {
        if (twins[i].row == row) {
            return &twin_rows[i];
        }
    }
    return row;
}
