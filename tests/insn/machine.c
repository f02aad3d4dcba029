/* SPDX-License-Identifier: GPL-2.0-or-later */
/* machine.c - see machine.h.  Structures by SDM vol. 3: 4.3, 4.5 (paging), 3.4.5, 6.11, 6.14, 7.2, 7.7. */
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/insn/machine.h"
#include "tb-store/tb.h"
#include "tlb/hostmap.h"
#include "translator/desc.h"
#include "translator/fpu.h"
#include "translator/fpu_ptr.h"

/* Guest-physical layout below WIN_PHYS. */
enum {
    P_PML4 = 0x1000, P_PDPT = 0x2000, P_PD = 0x3000, P_PT = 0x4000, P_KPDPT = 0x5000, P_KPD = 0x6000,
    P_PD32 = 0x7000, P_PT32 = 0x8000, P_PT_ALIAS = 0x9000, P_GDT = 0xa000, P_IDT = 0xb000, P_LDT = 0xc000,
    P_TSS = 0xd000, P_HANDLERS = 0xe000, P_KSTACK = 0x11000, /* top */
    P_IVT = 0x12000,
};
#define KLIN64 0xffff800000000000ull
#define KLIN32 0xc0000000ull

static void put32(struct machine *m, uint32_t phys, uint32_t v)
{
    memcpy(m->ram + phys, &v, 4);
}

static void put64(struct machine *m, uint32_t phys, uint64_t v)
{
    memcpy(m->ram + phys, &v, 8);
}

static uint64_t get64(struct machine *m, uint32_t phys)
{
    uint64_t v;

    memcpy(&v, m->ram + phys, 8);
    return v;
}

/* ---- callbacks ---- */

static bool mmio_read(struct guest_cpu *c, uint64_t gpa, unsigned size, uint64_t *val)
{
    *val = ~0ull;
    return false;
}

static bool mmio_write(struct guest_cpu *c, uint64_t gpa, unsigned size, uint64_t val)
{
    return false;
}

static uint32_t pio_read(struct guest_cpu *c, uint16_t port, unsigned size)
{
    return ~0u;
}

static void pio_write(struct guest_cpu *c, uint16_t port, unsigned size, uint32_t val)
{
}

/* A snippet that never ends asks for nothing: many polls in one run mean that it hangs. */
static unsigned poll_machine(struct guest_cpu *c)
{
    struct machine *m = c->opaque;

    m->polls++;
    return m->polls > 1000 ? POLL_STOP : 0;
}

static int ack_interrupt(struct guest_cpu *c)
{
    return -1;
}

static void ack_nmi(struct guest_cpu *c)
{
}

static uint64_t read_tsc(struct guest_cpu *c)
{
    return __builtin_ia32_rdtsc();
}

static void set_tsc(struct guest_cpu *c, uint64_t v)
{
}

static void set_cr8(struct guest_cpu *c, uint8_t v)
{
}

static uint8_t get_cr8(struct guest_cpu *c)
{
    return 0;
}

static uint64_t get_apic_base(struct guest_cpu *c)
{
    return 0xfee00900u;
}

static void set_apic_base(struct guest_cpu *c, uint64_t v)
{
}

static bool rdmsr(struct guest_cpu *c, uint32_t msr, uint64_t *val)
{
    return false;
}

static bool wrmsr(struct guest_cpu *c, uint32_t msr, uint64_t val)
{
    return false;
}

static void cpuid_host(struct guest_cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    __cpuid_count(leaf, sub, out[0], out[1], out[2], out[3]);
}

static void set_ferr(struct guest_cpu *c, bool level)
{
}

static void mark_dirty(struct guest_cpu *c, uint64_t ram_addr, unsigned size)
{
}

void (*machine_log)(const char *text);

static void log_text(const char *text)
{
    if (machine_log)
        machine_log(text);
    else
        fputs(text, stderr);
}

static const struct xbt_host_ops host_ops = {
    .mmio_read = mmio_read, .mmio_write = mmio_write, .pio_read = pio_read, .pio_write = pio_write,
    .poll = poll_machine, .ack_interrupt = ack_interrupt, .ack_nmi = ack_nmi, .read_tsc = read_tsc,
    .write_tsc = set_tsc, .set_cr8 = set_cr8, .get_cr8 = get_cr8, .get_apic_base = get_apic_base,
    .set_apic_base = set_apic_base, .rdmsr = rdmsr, .wrmsr = wrmsr, .cpuid = cpuid_host, .set_ferr = set_ferr,
    .mark_dirty = mark_dirty, .log = log_text,
};

/* ---- ways to run the engine ---- */

/* What one word of a machine's name asks for; false: unknown. */
static bool set_option(struct xbt_options *o, const char *w)
{
    bool all = strcmp(w, "no-everything") == 0, known = all || strcmp(w, "default") == 0;

#define WORD(name, set) if (strcmp(w, name) == 0) { set; known = true; }
    WORD("one-insn", o->max_insns = 1)
    WORD("tagged", o->tlb_force = TLB_TAGGED)
    WORD("tiny", o->tb_size_mib = 1)
    WORD("flush", o->flush_every = 1)
    WORD("wx", o->wx = true)
    WORD("relocate-check", o->check_relocate = true)
    WORD("no-bmi2", o->host_bmi2 = false)
    WORD("no-opt", o->no_opt = true)
#undef WORD
#define OPTIMISATION(id, name, in_opt, on, text) \
    if (all || strcmp(w, "no-" name) == 0) {     \
        o->no_##id = known = true;               \
    }
#include "translator/optimisations.inc"
#undef OPTIMISATION
    return known;
}

const struct machine_opts *machine_opts_find(const char *name)
{
    static struct machine_opts m;
    char words[256], *w, *rest = NULL;

    m = (struct machine_opts) { name, { .tb_size_mib = 32, .tlb_force = -1, .host_bmi2 = true, .host_avx = true } };
    snprintf(words, sizeof(words), "%s", name);
    for (w = strtok_r(words, "+", &rest); w; w = strtok_r(NULL, "+", &rest)) {
        if (!set_option(&m.opt, w))
            return NULL;
    }
    return &m;
}

/* ---- tables ---- */

static uint64_t window_pte(uint32_t off)
{
    bool data = off >= DATA_OFF && off < DATA_OFF + DATA_SIZE;
    bool stack = off >= STACK_OFF && off < STACK_OFF + STACK_SIZE;
    bool near_ro = off >= RO_OFF - 4096 && off <= RO_OFF + 4096;
    bool big = off >= BIG_OFF && off < BIG_OFF + BIG_SIZE;

    if (off >= WIN_SIZE || !(off < CODE_SIZE || data || stack || near_ro || big))
        return 0;
    return (WIN_PHYS + off) | 1 | 4 | (off == RO_OFF ? 0 : 2);
}

static void make_tables(struct machine *m)
{
    put64(m, P_PML4, P_PDPT | 7);
    put64(m, P_PDPT + 8 * (LIN >> 30), P_PD | 7);
    put64(m, P_PD, P_PT | 7);
    put64(m, P_PD + 8, P_PT_ALIAS | 7);
    put64(m, P_PML4 + 8 * 256, P_KPDPT | 3);
    put64(m, P_KPDPT, P_KPD | 3);
    put64(m, P_KPD, 0 | 0x83);
    put32(m, P_PD32 + 4 * (LIN >> 22), P_PT32 | 7);
    put32(m, P_PD32 + 4 * (KLIN32 >> 22), 0 | 0x83);
    for (uint32_t off = 0; off < WIN_SIZE; off += 4096) {
        put64(m, P_PT + 8 * (off >> 12), window_pte(off));
        put64(m, P_PT_ALIAS + 8 * (off >> 12), window_pte(off));
        put32(m, P_PT32 + 4 * (off >> 12), (uint32_t)window_pte(off));
        put32(m, P_PT32 + 4 * (512 + (off >> 12)), (uint32_t)window_pte(off));
    }
}

#define ATTR_CODE (DESC_P | DESC_S | DESC_CS | DESC_R | DESC_A)
#define ATTR_DATA (DESC_P | DESC_S | DESC_W | DESC_A)

static void put_desc(struct machine *m, uint32_t phys, uint32_t base, uint32_t limit, uint32_t attr)
{
    if (attr & DESC_G)
        limit >>= 12;
    put32(m, phys, (base << 16) | (limit & 0xffff));
    put32(m, phys + 4, (base & 0xff000000u) | (base >> 16 & 0xff) | attr | (limit & 0xf0000));
}

static void make_descriptors(struct machine *m, bool long_mode)
{
    uint64_t k = long_mode ? KLIN64 : KLIN32;
    uint32_t flat = DESC_G | DESC_B;

    put_desc(m, P_GDT + SEL_KCS, 0, ~0u, ATTR_CODE | DESC_G | (long_mode ? DESC_L : DESC_B));
    put_desc(m, P_GDT + SEL_KDS, 0, ~0u, ATTR_DATA | flat);
    put_desc(m, P_GDT + (SEL_UCS32 & ~7u), 0, ~0u, ATTR_CODE | DESC_DPL | flat);
    put_desc(m, P_GDT + (SEL_UDS & ~7u), 0, ~0u, ATTR_DATA | DESC_DPL | flat);
    put_desc(m, P_GDT + (SEL_UCS64 & ~7u), 0, ~0u, ATTR_CODE | DESC_DPL | DESC_G | DESC_L);
    put_desc(m, P_GDT + SEL_TSS, (uint32_t)k + P_TSS, 0x67, DESC_P | 11u << DESC_TYPE_SHIFT);
    put_desc(m, P_GDT + SEL_LDT, (uint32_t)k + P_LDT, 0xfff, DESC_P | 2u << DESC_TYPE_SHIFT);
    if (long_mode) {
        put64(m, P_GDT + SEL_TSS + 8, k >> 32);
        put64(m, P_GDT + SEL_LDT + 8, k >> 32);
    }
    put_desc(m, P_LDT + (SEL_CS16 & ~7u), LIN_CODE, 0xffff, ATTR_CODE | DESC_DPL);
    put_desc(m, P_LDT + (SEL_DS16 & ~7u), LIN_DATA, DATA_SIZE - 1, ATTR_DATA | DESC_DPL);
    put_desc(m, P_LDT + (SEL_SS16 & ~7u), LIN_STACK, STACK_SIZE - 1, ATTR_DATA | DESC_DPL);
    put_desc(m, P_LDT + (SEL_FS & ~7u), LIN_DATA + 0x1000, 0x1fff, ATTR_DATA | DESC_DPL);
    put_desc(m, P_LDT + (SEL_GS & ~7u), LIN_DATA, 0xfff, ATTR_DATA | DESC_DPL | DESC_E | DESC_B);
    put_desc(m, P_LDT + (SEL_BIG & ~7u), LIN + BIG_OFF, BIG_SIZE - 1, ATTR_DATA | DESC_DPL);
    put_desc(m, P_GDT + (SEL_CPU & ~7u), 0, 0, DESC_P | DESC_S | DESC_A | DESC_E | DESC_DPL | DESC_B);
    memset(m->ram + P_TSS, 0, 0x68);
    if (long_mode) {
        put64(m, P_TSS + 4, k + P_KSTACK);
    } else {
        put32(m, P_TSS + 4, (uint32_t)k + P_KSTACK);
        put32(m, P_TSS + 8, SEL_KDS);
    }
    put32(m, P_TSS + 0x64, 0x68u << 16); /* no I/O bitmap */
    for (unsigned v = 0; v < 256; v++) {
        uint64_t h = k + P_HANDLERS + 16 * v;
        uint32_t attr = DESC_P | 14u << DESC_TYPE_SHIFT | (v == 3 || v == 4 ? DESC_DPL : 0);
        uint32_t gate = P_IDT + v * (long_mode ? 16 : 8);
        put32(m, gate, (uint32_t)SEL_KCS << 16 | (h & 0xffff));
        put32(m, gate + 4, (uint32_t)(h & 0xffff0000u) | attr);
        if (long_mode)
            put64(m, gate + 8, h >> 32);
        m->ram[P_HANDLERS + 16 * v] = 0xf4; /* hlt */
    }
}

/* ---- the vCPU ---- */

static void set_model(struct guest_cpu *c)
{
    uint32_t a, b, cx, d;

    c->model.phys_bits = 40;
    __cpuid(0, a, b, cx, d);
    c->model.vendor_amd = b == 0x68747541;
    __cpuid(1, a, b, c->model.f1_ecx, c->model.f1_edx);
    __cpuid_count(7, 0, a, c->model.f7_ebx, c->model.f7_ecx, c->model.f7_edx);
    __cpuid(0x80000001, a, b, c->model.f81_ecx, c->model.f81_edx);
    __cpuid(0x80000008, a, c->model.f88_ebx, cx, d);
    __cpuid_count(0xd, 1, c->model.fd1_eax, b, cx, d);
    c->model.xcr0_supported = 7;
}

/* Real-mode vectors: the same handlers, in segment 0. */
static void set_real_regs(struct machine *m)
{
    struct guest_cpu *c = m->c;

    for (unsigned v = 0; v < 256; v++)
        put32(m, P_IVT + 4 * v, P_HANDLERS + 16 * v);
    c->cr[0] = CR0_MP | CR0_ET | CR0_NE | CR0_AM;
    c->cr[4] &= ~(uint64_t)(CR4_PAE | CR4_PSE);
    c->efer = 0;
    c->idt.base = P_IVT;
    c->idt.limit = 0x3ff;
}

static void set_system_regs(struct machine *m, enum snip_mode mode)
{
    struct guest_cpu *c = m->c;
    bool lm = mode == SM_64 || mode == SM_COMPAT;
    uint64_t k = lm ? KLIN64 : KLIN32;

    make_descriptors(m, lm);
    c->cr[0] = CR0_PE | CR0_PG | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM;
    c->cr[4] = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE | (lm ? CR4_PAE : CR4_PSE);
    c->cr[3] = lm ? P_PML4 : P_PD32;
    c->efer = lm ? EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE : 0;
    c->xcr0 = 7;
    c->gdt.base = k + P_GDT;
    c->gdt.limit = 0xfff;
    c->idt.base = k + P_IDT;
    c->idt.limit = 0xfff;
    seg_set(c, S_TR, SEL_TSS, k + P_TSS, 0x67, DESC_P | 11u << DESC_TYPE_SHIFT);
    seg_set(c, S_LDT, SEL_LDT, k + P_LDT, 0xfff, DESC_P | 2u << DESC_TYPE_SHIFT);
    if (mode == SM_REAL)
        set_real_regs(m);
    cpu_update_hflags(c);
    tlb_cr3_written(c, false);
    tlb_flush_all(c, TLBF_OTHER);
}

void machine_set_mode(struct machine *m, enum snip_mode mode)
{
    static const unsigned kind[SM_COUNT] = { [SM_32] = 1, [SM_16] = 1, [SM_V86] = 1, [SM_REAL] = 2 };

    if (!m->mode_valid || kind[m->mode] != kind[mode])
        set_system_regs(m, mode);
    m->mode = mode;
    m->mode_valid = true;
}

/* Real and v86 mode have the hidden parts of protected mode (and the selectors, for PUSH and MOV): what the host can
 * be compared with. */
static void set_segs16(struct guest_cpu *c, enum snip_mode mode, bool big)
{
    uint64_t off = mode == SM_REAL ? (uint64_t)WIN_PHYS - LIN : 0;    /* no paging */
    uint32_t data = ATTR_DATA | DESC_DPL;

    seg_set(c, S_CS, SEL_CS16, LIN_CODE + off, 0xffff, (mode == SM_16 ? ATTR_CODE : ATTR_DATA) | DESC_DPL);
    if (big) {
        seg_set(c, S_DS, SEL_BIG, LIN + BIG_OFF + off, BIG_SIZE - 1, data);
        c->seg[S_ES] = c->seg[S_SS] = c->seg[S_DS];
    } else {
        seg_set(c, S_DS, SEL_DS16, LIN_DATA + off, DATA_SIZE - 1, data);
        c->seg[S_ES] = c->seg[S_DS];
        seg_set(c, S_SS, SEL_SS16, LIN_STACK + off, STACK_SIZE - 1, data);
    }
    seg_set(c, S_FS, SEL_FS, LIN_DATA + 0x1000 + off, 0x1fff, data);
    if (mode == SM_16)
        seg_set(c, S_GS, SEL_GS, LIN_DATA, 0xfff, data | DESC_E | DESC_B);
    else
        seg_set(c, S_GS, SEL_FS, LIN_DATA + 0x1000 + off, 0x1fff, data);
}

static void set_user_segs(struct guest_cpu *c, enum snip_mode mode, bool big)
{
    uint32_t flat = DESC_G | DESC_B;

    c->cpl = mode == SM_REAL ? 0 : 3;
    c->eflags &= ~FL_VM;
    if (snip_is16(mode)) {
        set_segs16(c, mode, big);
        return;
    } else {
        if (mode == SM_64)
            seg_set(c, S_CS, SEL_UCS64, 0, ~0u, ATTR_CODE | DESC_DPL | DESC_G | DESC_L);
        else
            seg_set(c, S_CS, SEL_UCS32, 0, ~0u, ATTR_CODE | DESC_DPL | flat);
        seg_set(c, S_DS, SEL_UDS, 0, ~0u, ATTR_DATA | DESC_DPL | flat);
        seg_set(c, S_ES, SEL_UDS, 0, ~0u, ATTR_DATA | DESC_DPL | flat);
        seg_set(c, S_SS, SEL_UDS, 0, ~0u, ATTR_DATA | DESC_DPL | flat);
    }
    if (mode == SM_64 || !snip_ldt) {
        seg_set_null(c, S_FS, 0);
        seg_set_null(c, S_GS, 0);
    } else {
        if (big) {
            seg_set(c, S_DS, SEL_BIG, LIN + BIG_OFF, BIG_SIZE - 1, ATTR_DATA | DESC_DPL);
            c->seg[S_ES] = c->seg[S_DS];
        }
        seg_set(c, S_FS, SEL_FS, LIN_DATA + 0x1000, 0x1fff, ATTR_DATA | DESC_DPL);
        seg_set(c, S_GS, SEL_GS, LIN_DATA, 0xfff, ATTR_DATA | DESC_DPL | DESC_E | DESC_B);
    }
}

static void set_kernel_segs(struct guest_cpu *c)
{
    c->cpl = 0;
    seg_set(c, S_CS, SEL_KCS, 0, ~0u, ATTR_CODE | DESC_G | DESC_L);
    seg_set(c, S_SS, SEL_KDS, 0, ~0u, ATTR_DATA | DESC_G | DESC_B);
    seg_set(c, S_DS, SEL_KDS, 0, ~0u, ATTR_DATA | DESC_G | DESC_B);
    seg_set(c, S_ES, SEL_KDS, 0, ~0u, ATTR_DATA | DESC_G | DESC_B);
    seg_set_null(c, S_FS, 0);
    seg_set_null(c, S_GS, 0);
}

static void load_state(struct guest_cpu *c, const struct snip_state *in, enum snip_mode mode)
{
    for (unsigned i = 0; i < 16; i++)
        GPR(c, i) = in->gpr[i];
    c->rip = in->rip;
    cpu_set_eflags(c, (uint32_t)in->rflags | (mode == SM_V86 ? FL_VM : 0), ~0u);
    if (mode == SM_64) {
        c->seg[S_FS].base = in->fs_base;
        c->seg[S_GS].base = in->gs_base;
    }
    memcpy(c->fpu, in->ximg, XIMG_SIZE);
    fpu_ptr_clear(c);
    fpu_ptr_from_fx(c, in->ximg, true);
    c->halted = 0;
    c->shadow = 0;
    c->shutdown = 0;
    c->exc_vector = -1;
    c->exc_delivering = 0;
}

static void store_fpu(struct guest_cpu *c, struct snip_state *out)
{
    for (unsigned i = 0; i < 16; i++)
        out->gpr[i] = GPR(c, i);
    memcpy(out->ximg, c->fpu, XIMG_SIZE);
    fpu_ptr_to_fx(c, out->ximg, true);
    for (unsigned i = 0; i < 6; i++)
        out->sel[i] = c->seg[i].sel;
    out->fs_base = c->seg[S_FS].base;
    out->gs_base = c->seg[S_GS].base;
    out->cr2 = 0;
    out->error = 0;
}

static bool pushes_error(int v)
{
    return v == 8 || (v >= 10 && v <= 14) || v == 17;
}

/* The same in real mode: IP, CS and FLAGS are on the program's own stack. */
static void read_real_frame(struct machine *m, struct snip_state *out)
{
    struct guest_cpu *c = m->c;
    uint32_t h = (uint32_t)c->rip - P_HANDLERS, ss = (uint32_t)c->seg[S_SS].base;
    uint16_t sp = (uint16_t)GPR(c, R_RSP), word[3];

    if (h >= 4096 || (h & 15) > 1 || c->seg[S_CS].base) {
        out->vector = -2;
        return;
    }
    for (unsigned i = 0; i < 3; i++)
        memcpy(&word[i], m->ram + ss + (uint16_t)(sp + 2 * i), 2);
    out->vector = (int)(h >> 4);
    out->rip = word[0];
    out->sel[S_CS] = word[1];
    out->rflags = word[2];
    out->gpr[R_RSP] = (out->gpr[R_RSP] & ~0xffffull) | (uint16_t)(sp + 6);
}

/* The handler's HLT was reached: read its frame. */
static void read_frame(struct machine *m, struct snip_state *out)
{
    struct guest_cpu *c = m->c;
    bool lm = cpu_lma(c);
    uint64_t h = c->rip - (lm ? KLIN64 : KLIN32) - P_HANDLERS;
    uint32_t phys = (uint32_t)GPR(c, R_RSP) - (uint32_t)(lm ? KLIN64 : KLIN32);
    unsigned w = lm ? 8 : 4;

    if (h >= 4096 || (h & 15) > 1 || phys >= WIN_PHYS) {
        out->vector = -2; /* halted somewhere else */
        return;
    }
    out->vector = (int)(h >> 4);
    if (pushes_error(out->vector)) {
        out->error = (uint32_t)get64(m, phys);
        phys += w;
    }
    out->rip = get64(m, phys);
    out->sel[S_CS] = (uint16_t)get64(m, phys + w);
    out->sel[S_SS] = (uint16_t)get64(m, phys + 4 * w);
    out->rflags = get64(m, phys + 2 * w);
    out->gpr[R_RSP] = get64(m, phys + 3 * w);
    if (out->rflags & FL_VM) {
        static const uint8_t order[] = { S_ES, S_DS, S_FS, S_GS };
        for (unsigned i = 0; i < 4; i++)
            out->sel[order[i]] = (uint16_t)get64(m, phys + (5 + i) * w);
    }
    if (!lm) {
        out->rip = (uint32_t)out->rip;
        out->rflags = (uint32_t)out->rflags;
        out->gpr[R_RSP] = (uint32_t)out->gpr[R_RSP];
    }
    if (out->vector == EXC_PF)
        out->cr2 = c->cr[2];
}

void machine_run(struct machine *m, enum snip_mode mode, const struct snip_state *in, struct snip_state *out)
{
    struct guest_cpu *c = m->c;

    machine_set_mode(m, mode);
    set_user_segs(c, mode, in->big);
    load_state(c, in, mode);
    cpu_update_hflags(c);
    hm_refused_clear();   /* the code is new each time */
    m->polls = 0;
    enum vcpu_exit why = xbt_vcpu_run(c);
    *out = *in;
    store_fpu(c, out);
    out->vector = -1;
    if (why == VCPU_EXIT_HALT)
        mode == SM_REAL ? read_real_frame(m, out) : read_frame(m, out);
    else if (why == VCPU_EXIT_SHUTDOWN)
        out->vector = -3;
}

void machine_run_kernel(struct machine *m, const struct snip_state *in, struct snip_state *out)
{
    struct guest_cpu *c = m->c;

    machine_set_mode(m, SM_64);
    set_kernel_segs(c);
    load_state(c, in, SM_64);
    cpu_update_hflags(c);
    m->polls = 0;
    enum vcpu_exit why = xbt_vcpu_run(c);
    *out = *in;
    store_fpu(c, out);
    out->rip = c->rip;
    out->rflags = cpu_get_eflags(c);
    out->vector = -1;
    uint64_t h = c->rip - KLIN64 - P_HANDLERS;
    if (why == VCPU_EXIT_HALT && h < 4096)
        read_frame(m, out);
    else if (why != VCPU_EXIT_HALT)
        out->vector = -3;
}

void machine_write_code(struct machine *m, uint32_t win_off, const void *bytes, size_t n)
{
    memcpy(m->win + win_off, bytes, n);
    tb_invalidate_range(m->c, RAM_ID + WIN_PHYS + win_off, (unsigned)n, TBD_DMA, NULL);
}

uint64_t machine_stat(const struct machine *m, unsigned stat)
{
    return m->c->stat[stat];
}

void machine_new_page_ids(struct machine *m)
{
    tlb_cp_new_ids();
    tlb_flush_all(m->c, TLBF_OTHER);
}

void machine_flush(struct machine *m)
{
    tb_flush(m->c);
    m->c->flush_epoch++;
}

struct machine *machine_new(const struct machine_opts *o)
{
    struct machine *m = calloc(1, sizeof(*m));
    const char *why = "no memory";

    int fd = memfd_create("ram", MFD_CLOEXEC); /* every address space is hot at once (tlb/hostmap.h) */
    if (fd < 0 || ftruncate(fd, RAM_SIZE)) {
        fprintf(stderr, "no memory for the machine\n");
        exit(1);
    }
    m->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    hm_ram_add(m->ram, RAM_SIZE, fd, 0);
    m->win = m->ram + WIN_PHYS;
    m->vm.opt = o->opt;
    m->vm.opt.verify = true;
    m->vm.phys = physmap_new();
    m->c = xbt_vcpu_alloc();
    if (!m->c) {
        fprintf(stderr, "no memory for the vCPU\n");
        exit(1);
    }
    physmap_set(m->vm.phys, 0, RAM_SIZE, m->ram, RAM_ID, PHYS_RAM);
    m->c->host = &host_ops;
    m->c->opaque = m;
    set_model(m->c);
    if (!xbt_vm_init(&m->vm, &tb_hash_builtin, &why) || !xbt_vcpu_init(&m->vm, m->c, &why)) {
        fprintf(stderr, "the engine does not start: %s\n", why);
        exit(1);
    }
    xbt_signals_install();
    xbt_signals_thread_init(m->c);
    make_tables(m);
    return m;
}
