/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest.c - random guests: mode, ring, page tables, descriptor tables, control registers, MSRs; see world.h.
 *
 * Tables begin as correct ones and are then damaged, so that guests get far enough to do harm.  Linear and physical
 * layout (the lowest 2 MiB are mapped one to one at 0, LIN and in the kernel's half):
 *   10000 page tables   20000 GDT   21000 LDT   22000 IDT   23000 TSSs   30000 code   50000 data   60000 stack
 *   58000 VMCBs   5a000 host save area
 */
#include <string.h>

#include "tests/hostile/world.h"
#include "translator/desc.h"

enum { P_TABLES = 0x10000, P_GDT = 0x20000, P_LDT = 0x21000, P_IDT = 0x22000, P_TSS = 0x23000, P_CODE = 0x30000,
       P_CODE_SIZE = 0x4000, P_DATA = 0x50000, P_VMCB = 0x58000, P_HSAVE = 0x5a000, P_STACK = 0x60000 };
enum kind { K_REAL, K_V86, K_PROT16, K_PROT32, K_PAGED32, K_PAE, K_LONG, K_COMPAT, K_COUNT };

const char *const guest_kinds[] = { "real", "v86", "16-bit protected", "32-bit protected", "32-bit paged", "PAE",
                                    "long", "compatibility" };
unsigned guest_kind;

static unsigned ring;

static void put(uint32_t at, uint64_t v, unsigned n)
{
    memcpy(world.ram + at, &v, n);
}

/* ---- paging ---- */

/* One entry, usually as it should be. */
static uint64_t entry(uint64_t right, unsigned damage, bool wide)
{
    static const uint64_t pages[] = { W_VGA, W_ROM, W_SHADOW, P_TABLES, P_TABLES + 0x1000, P_GDT, P_CODE, P_TSS,
                                      0xfee00000, W_HIGH_GPA, 0x12345000, 0xfffff000, 0x0 };
    uint64_t v = right;

    if (!w_chance(damage))
        return v;
    switch (w_pick(8)) {
    case 0: return w_rand();
    case 1: return 0;
    case 2: v &= ~2ull; break;
    case 3: v &= ~4ull; break;
    case 4: v ^= w_chance(50) ? 0x60 : 0x100; break;
    case 5: v ^= wide ? 1ull << (w_chance(50) ? 63 : 40 + w_pick(23)) : 1ull << (12 + w_pick(20)); break;
    case 6: v ^= 0x80; break;
    default: v = pages[w_pick(sizeof(pages) / sizeof(pages[0]))] | (v & 0xfff); break;
    }
    return wide ? v : (uint32_t)v;
}

static void make_pae_tables(bool four_levels, unsigned damage)
{
    uint32_t pml4 = P_TABLES, pdpt = P_TABLES + 0x1000, pd = P_TABLES + 0x2000, pt = P_TABLES + 0x3000;

    for (unsigned i = 0; i < 512; i++) {
        put(pml4 + 8 * i, i == 0 || i == 256 || i == 511 ? entry(pdpt | 7, damage, true) : 0, 8);
        put(pdpt + 8 * i, i == 0 || i == 1 || i == 510 || i == 511 ? entry(pd | (four_levels ? 7 : 1), damage, true)
                          : i == 2 ? entry(0x83 | 4, 50, true) : 0, 8);
        put(pd + 8 * i, i == 0 ? entry(pt | 7, damage, true) : i < 8 ? entry(i << 21 | 0x87, 50, true)
                        : i > 500 ? w_rand() : 0, 8);
        put(pt + 8 * i, entry(i << 12 | 7 | (w_chance(20) ? 0x100 : 0), damage, true), 8);
    }
    /* The four entries of PAE paging are loaded into registers. */
    if (!four_levels)
        put(pdpt + 24, pd | 1, 8);
}

static void make_32bit_tables(unsigned damage)
{
    uint32_t pd = P_TABLES, pt = P_TABLES + 0x3000;

    for (unsigned i = 0; i < 1024; i++) {
        bool base = i == 0 || i == LIN >> 22 || i == 0xc0000000u >> 22;
        put(pd + 4 * i, base ? entry(pt | 7, damage, false) : i < 8 ? entry(i << 22 | 0x87, 50, false) : 0, 4);
        put(pt + 4 * i, entry((i & 511) << 12 | 7, damage, false), 4);
    }
}

/* ---- descriptors ---- */

static uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t attr)
{
    if (attr & DESC_G)
        limit >>= 12;
    uint32_t lo = base << 16 | (limit & 0xffff);
    uint32_t hi = (base & 0xff000000u) | (base >> 16 & 0xff) | attr | (limit & 0xf0000);
    return (uint64_t)hi << 32 | lo;
}

#define ATTR_CODE (DESC_P | DESC_S | DESC_CS | DESC_R | DESC_A)
#define ATTR_DATA (DESC_P | DESC_S | DESC_W | DESC_A)

/* The type of the code and data segments with selectors 8 + ring * 16 and 10 + ring * 16. */
static uint32_t code_attr(void)
{
    switch (guest_kind) {
    case K_LONG: return ATTR_CODE | DESC_G | DESC_L;
    case K_PROT16: return ATTR_CODE;
    default: return ATTR_CODE | DESC_G | DESC_B;
    }
}

static uint32_t seg_limit(void)
{
    return guest_kind == K_PROT16 ? 0xffff : ~0u;
}

static uint32_t data_attr(void)
{
    return guest_kind == K_PROT16 ? ATTR_DATA : ATTR_DATA | DESC_G | DESC_B;
}

static uint64_t odd_descriptor(void)
{
    static const uint8_t types[] = { 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 14, 15 };
    uint32_t attr = DESC_P | types[w_pick(sizeof(types))] << DESC_TYPE_SHIFT | w_pick(4) << 13;

    switch (w_pick(4)) {
    case 0: return w_rand();
    case 1: return w_rand() | (uint64_t)DESC_P << 32;
    case 2: /* a gate to somewhere in the code, or a system segment */
        return (uint64_t)attr << 32 | (uint64_t)(w_pick(32) * 8 | w_pick(4)) << 16 | w_pick(0x4000) | w_rand() % 32 << 32;
    default:
        return descriptor(P_TSS + w_pick(4) * 0x100, 0x67 + w_pick(0x100), attr);
    }
}

static void make_descriptor_tables(void)
{
    bool lm = guest_kind >= K_LONG;

    for (unsigned i = 0; i < 256; i++) {
        put(P_GDT + 8 * i, i < 64 ? odd_descriptor() : w_rand(), 8);
        put(P_LDT + 8 * i, odd_descriptor(), 8);
    }
    put(P_GDT, 0, 8);
    for (unsigned r = 0; r < 4; r++) {
        put(P_GDT + 0x08 + 16 * r, descriptor(0, seg_limit(), code_attr() | r << 13), 8);
        put(P_GDT + 0x10 + 16 * r, descriptor(0, seg_limit(), data_attr() | r << 13), 8);
    }
    uint32_t cs32 = lm ? ATTR_CODE | DESC_G | DESC_L : code_attr();   /* for the handlers */
    put(P_GDT + 0x08, descriptor(0, seg_limit(), cs32), 8);
    put(P_GDT + 0x50, descriptor(P_TSS, 0x20ff, DESC_P | 11u << DESC_TYPE_SHIFT), 8);
    put(P_GDT + 0x58, 0, 8);
    put(P_GDT + 0x60, descriptor(P_LDT, 0x7ff, DESC_P | 2u << DESC_TYPE_SHIFT), 8);
    put(P_GDT + 0x68, 0, 8);
}

static void make_idt(void)
{
    bool lm = guest_kind >= K_LONG;
    unsigned size = lm ? 16 : 8;

    for (unsigned v = 0; v < 256; v++) {
        uint32_t to = P_CODE + w_pick(P_CODE_SIZE);
        unsigned type = w_chance(80) ? 14 + w_pick(2) : w_chance(50) ? 6 + w_pick(2) : 5;
        uint16_t sel = w_chance(85) ? 8 : (uint16_t)(w_pick(40) * 8 | w_pick(4));
        uint32_t hi = (to & 0xffff0000u) | DESC_P | type << DESC_TYPE_SHIFT | w_pick(4) << 13 |
                      (lm && w_chance(20) ? w_pick(8) : 0);
        if (guest_kind == K_PROT16)
            hi &= 0xffff;
        put(P_IDT + v * size, (uint32_t)sel << 16 | (to & 0xffff), 4);
        put(P_IDT + v * size + 4, w_chance(4) ? w_rand() : hi, 4);
        if (lm)
            put(P_IDT + v * size + 8, w_chance(3) ? w_rand() : 0, 8);
        if (guest_kind == K_REAL)
            put(4 * v, (uint32_t)(P_CODE >> 4) << 16 | w_pick(P_CODE_SIZE), 4);
    }
}

/* Stacks of the rings and back links; the rest of the task state stays random. */
static void make_tss(void)
{
    bool lm = guest_kind >= K_LONG;

    for (unsigned k = 0; k < 4; k++) {
        uint32_t t = P_TSS + 0x100 * k;
        for (unsigned r = 0; r < 3; r++) {
            if (lm) {
                put(t + 4 + 8 * r, w_chance(90) ? P_STACK + 0x800 * (r + 1) : w_rand(), 8);
            } else {
                put(t + 4 + 8 * r, P_STACK + 0x800 * (r + 1), 4);
                put(t + 8 + 8 * r, w_chance(90) ? 0x10 + 16 * r + r : w_rand(), 4);
            }
        }
        for (unsigned i = 0; lm && i < 7; i++)
            put(t + 0x24 + 8 * i, w_chance(80) ? P_STACK + 0x400 * i : w_rand(), 8);
        put(t, w_pick(32) * 8, 4);
        put(t + 0x66, w_chance(80) ? 0x68 : w_rand(), 2);
        if (w_chance(70)) {
            put(t + 0x1c, P_TABLES, 4);                     /* CR3, EIP, ESP, CS, SS of a 32-bit task */
            put(t + 0x20, P_CODE + w_pick(P_CODE_SIZE), 4);
            put(t + 0x38, P_STACK + 0x1000, 4);
            put(t + 0x4c, 8, 4);
            put(t + 0x50, 0x10, 4);
        }
    }
}

/* ---- registers ---- */

static uint64_t some_value(void)
{
    static const uint64_t v[] = { 0, 1, 0x7f, 0xff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe,
                                  0x7fffffffffff, 0x800000000000, 0xffff800000000000, ~0ull, 0x1fff00,
                                  0x7ffffffffffff000, 0xfffffffffffff000 };
    switch (w_pick(6)) {
    case 0: return w_rand();
    case 1: return v[w_pick(sizeof(v) / sizeof(v[0]))];
    case 2: return w_pick(W_RAM_SIZE);
    case 3: return LIN + w_pick(W_RAM_SIZE);
    case 4: return w_pick(64);
    default: return P_DATA + w_pick(0x10000);
    }
}

static void make_registers(struct guest_cpu *c)
{
    bool small = guest_kind <= K_PROT16;

    for (unsigned i = 0; i < 16; i++)
        GPR(c, i) = small && w_chance(70) ? w_pick(0x10000) : some_value();
    if (guest_kind < K_LONG) {
        for (unsigned i = 0; i < 16; i++)
            GPR(c, i) = i < 8 ? (uint32_t)GPR(c, i) : 0;
    }
    GPR(c, R_RSP) = w_chance(90) ? (small ? 0x8000 : P_STACK + 0x1000) - w_pick(0x20) : GPR(c, R_RSP);
    uint32_t f = w_chance(80) ? FL_IF : 0;
    f |= (uint32_t)w_rand() & FL_STATUS;
    f |= w_chance(10) ? (uint32_t)w_rand() & (FL_TF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID | FL_IOPL) : 0;
    if (w_chance(30))
        f |= FL_IOPL;
    if (guest_kind == K_V86)
        f |= FL_VM;
    cpu_set_eflags(c, f, ~0u);
    c->rip = (small ? 0 : P_CODE) + w_pick(P_CODE_SIZE);
    for (unsigned i = 32; i < 416; i++)
        c->fpu[i] = (uint8_t)w_rand();
    c->fpu[512] = 7;
}

static void make_segments(struct guest_cpu *c)
{
    if (guest_kind == K_REAL || guest_kind == K_V86) {
        static const uint16_t sel[6] = { P_DATA >> 4, P_CODE >> 4, P_STACK >> 4, P_DATA >> 4, P_DATA >> 4, 0xffff };
        uint32_t dpl = guest_kind == K_V86 ? DESC_DPL : 0;
        for (unsigned i = 0; i < 6; i++)
            seg_set(c, i, sel[i], sel[i] * 16u, 0xffff, ATTR_DATA | dpl | (i == S_CS && !dpl ? DESC_CS : 0));
    } else {
        uint32_t dpl = ring << 13, base = guest_kind == K_PROT16 ? P_CODE : 0;
        seg_set(c, S_CS, (uint16_t)(8 + 16 * ring + ring), base, seg_limit(), code_attr() | dpl);
        for (unsigned i = 0; i < 6; i++) {
            if (i != S_CS)
                seg_set(c, i, (uint16_t)(16 + 16 * ring + ring), guest_kind == K_PROT16 ? P_DATA : 0, seg_limit(),
                        data_attr() | dpl);
        }
    }
    c->cpl = (uint8_t)ring;
    seg_set(c, S_TR, 0x50, P_TSS, 0x20ff, DESC_P | 11u << DESC_TYPE_SHIFT);
    seg_set(c, S_LDT, 0x60, P_LDT, 0x7ff, DESC_P | 2u << DESC_TYPE_SHIFT);
    c->gdt.base = P_GDT;
    c->gdt.limit = w_chance(90) ? 0x7ff : w_pick(0x800);
    c->idt.base = guest_kind == K_REAL ? 0 : P_IDT;
    c->idt.limit = w_chance(95) ? 0xfff : w_pick(0x1000);
}

static void make_control(struct guest_cpu *c)
{
    bool lm = guest_kind >= K_LONG, pae = guest_kind >= K_PAE;
    bool paged = guest_kind >= K_PAGED32 || (guest_kind == K_V86 && w_chance(50));

    c->cr[0] = CR0_ET | (w_chance(80) ? CR0_NE : 0) | (w_chance(50) ? CR0_WP : 0) | (w_chance(50) ? CR0_AM : 0) |
               (w_chance(50) ? CR0_MP : 0) | (w_chance(5) ? CR0_TS : 0) | (w_chance(5) ? CR0_EM : 0);
    c->cr[0] |= (guest_kind != K_REAL ? CR0_PE : 0) | (paged ? CR0_PG : 0);
    c->cr[4] = (w_chance(90) ? CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE : 0) | (pae ? CR4_PAE : 0);
    static const uint32_t more[] = { CR4_VME, CR4_PVI, CR4_TSD, CR4_DE, CR4_PSE, CR4_PGE, CR4_PCE, CR4_UMIP,
                                     CR4_FSGSBASE, CR4_SMEP, CR4_SMAP, CR4_PKE };
    for (unsigned i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        c->cr[4] |= w_chance(30) ? more[i] : 0;
    if (lm && w_chance(30))
        c->cr[4] |= CR4_PCIDE;
    c->efer = (lm ? EFER_LME | EFER_LMA : 0) | (w_chance(70) ? EFER_SCE : 0) | (w_chance(70) ? EFER_NXE : 0);
    c->cr[3] = P_TABLES + (guest_kind == K_PAE ? 0x1000 : 0) + (c->cr[4] & CR4_PCIDE ? w_pick(20) : 0);
    c->xcr0 = w_chance(80) ? 7 : 1 + 2 * w_pick(2);
    c->pkru = w_chance(20) ? (uint32_t)w_rand() : 0;
}

static void make_msrs(struct guest_cpu *c)
{
    static const uint32_t at[] = { 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0x174, 0x175, 0x176, 0xc0000100,
                                   0xc0000101, 0xc0000102, 0x277, 0x1d9, 0x2ff, 0x10, 0x1a0, 0x200, 0x250 };

    msr_write(c, 0xc0000081, 0x0013000800000000ull);
    msr_write(c, 0xc0000082, P_CODE + w_pick(P_CODE_SIZE));
    msr_write(c, 0x174, 8);
    msr_write(c, 0x176, P_CODE + w_pick(P_CODE_SIZE));
    for (unsigned i = 0; i < 3; i++)
        msr_write(c, at[w_pick(sizeof(at) / sizeof(at[0]))], some_value());
}

static void make_breakpoints(struct guest_cpu *c)
{
    if (!w_chance(8))
        return;
    for (unsigned i = 0; i < 4; i++)
        c->dr[i] = w_chance(50) ? P_DATA + w_pick(0x1000) : P_CODE + w_pick(P_CODE_SIZE);
    c->dr[7] = ((uint32_t)w_rand() & 0xffff00ff) | 0x400;
    debug_registers_changed(c);
}

static void state_changed(struct guest_cpu *c)
{
    c->halted = c->shadow = c->shutdown = c->nmi_masked = 0;
    c->exc_vector = -1;
    c->exc_delivering = 0;
    c->exc_dr6 = 0;
    cpu_update_hflags(c);
    tlb_cr3_written(c, false);
    tlb_flush_all(c, TLBF_OTHER);
}

/* A hypervisor: VMRUN comes first and again in its handlers. */
static void make_hypervisor(struct guest_cpu *c)
{
    static const uint8_t vmrun[] = { 0x0f, 0x01, 0xd8 }, vmload_vmrun[] = { 0x0f, 0x01, 0xda, 0x0f, 0x01, 0xd8 };
    uint32_t at = guest_kind <= K_PROT16 ? (uint32_t)(P_CODE + c->rip) : (uint32_t)c->rip;
    bool pae = guest_kind >= K_PAE;

    c->efer |= EFER_SVME;
    msr_write(c, 0xc0010117, P_HSAVE);
    for (unsigned i = 0; i < 2; i++)
        vmcb_make(P_VMCB + 0x1000 * i, P_TABLES + (pae && !cpu_lma(c) ? 0x1000 : 0),
                  c->rip - w_pick(0x100) + w_pick(0x200));
    for (unsigned i = 0; i < 4; i++)
        memcpy(world.ram + P_CODE + w_pick(P_CODE_SIZE - 8), vmload_vmrun, sizeof(vmload_vmrun));
    memcpy(world.ram + at, vmrun, sizeof(vmrun));
    GPR(c, R_RAX) = P_VMCB + 0x1000 * w_pick(2);
}

void guest_again(void)
{
    struct guest_cpu *c = world.c;

    memset(&c->svm, 0, sizeof(c->svm));
    c->svm.gif = 1;
    make_control(c);
    make_segments(c);
    make_registers(c);
    state_changed(c);
    if (ring == 0 && guest_kind != K_REAL && w_chance(30))
        make_hypervisor(c);
}

void guest_make(void)
{
    struct guest_cpu *c = world.c;
    unsigned damage = w_chance(50) ? 1 : w_pick(15);

    guest_kind = w_pick(K_COUNT);
    ring = guest_kind == K_REAL ? 0 : guest_kind == K_V86 ? 3 : w_chance(50) ? 0 : 3;
    if (guest_kind >= K_PAE)
        make_pae_tables(guest_kind >= K_LONG, damage);
    else
        make_32bit_tables(damage);
    make_descriptor_tables();
    make_idt();
    make_tss();
    code_fill(world.ram + P_CODE, P_CODE_SIZE, guest_kind <= K_PROT16 ? 0 : guest_kind == K_LONG ? 2 : 1);
    guest_again();
    make_msrs(c);
    make_breakpoints(c);
    state_changed(c);
}
