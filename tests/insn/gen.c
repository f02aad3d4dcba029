/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gen.c - random encodings of a row; see gen.h.  SDM vol. 2, chapter 2.  States are made in gen_state.c. */
#include <string.h>

#include "tests/insn/gen.h"
#include "translator/help.h"

static unsigned pick(struct runner *r, unsigned n)
{
    return (unsigned)(runner_rand(r) >> 33) % n;
}

static bool chance(struct runner *r, unsigned percent)
{
    return pick(r, 100) < percent;
}

int gen_dec_mode(enum snip_mode mode)
{
    return mode == SM_64 ? 2 : snip_is16(mode) ? 0 : 1;
}

static bool named(const struct insn_row *row, const char *const *names)
{
    for (; *names; names++) {
        if (strcmp(row->name, *names) == 0)
            return true;
    }
    return false;
}

bool gen_available(const struct insn_row *row, enum snip_mode mode)
{
    bool xchg_b = row->map == 0 && row->opcode == 0x90 && row->op[0].loc == OL_OPREG;    /* needs REX.B */

    if (mode == SM_64)
        return !(row->attr & IA_NO64);
    if ((row->attr & IA_ONLY64) || xchg_b || ((row->attr & IA_W1) && !(row->attr & IA_VEX)))
        return false;
    return mode < SM_REAL || !(row->attr & (IA_PE | IA_VEX));
}

/* Rows that are not compared with the host; what they do is in test_alone.c or the system tests. */
enum reason { RE_ENTERS, RE_VARIES, RE_UMIP, RE_ICEBP, RE_SVM, RE_IMAGE, RE_SEGMENT, RE_PRIVILEGED, RE_IOPL };
const struct gen_reason gen_reasons[] = {
    [RE_ENTERS] = { 'k', "it enters the host's kernel or hypervisor (`test_alone`)" },
    [RE_VARIES] = { 'v', "the answer differs from run to run or by configuration (`test_alone`)" },
    [RE_UMIP] = { 'u', "the host's kernel emulates it, UMIP (`test_alone`)" },
    [RE_ICEBP] = { 'i', "hypervisors report a wrong RIP (`test_alone`)" },
    [RE_SVM] = { 's', "#UD or #GP by the host's EFER.SVME (`test_alone`, tests/system)" },
    [RE_IMAGE] = { 'x', "the image has another format in real and v86 mode" },
    [RE_SEGMENT] = { 'g', "selectors mean something else in protected mode (`test_alone`, tests/system)" },
    [RE_PRIVILEGED] = { 'p', "real mode is privileged, the host's user mode is not (`test_alone`, tests/system)" },
    [RE_IOPL] = { 'o', "IOPL-sensitive in v86 mode only (`test_alone`, tests/system)" },
    { 0, NULL },
};

static int excluded(const struct insn_row *row, enum snip_mode mode)
{
    static const char *const syscalls[] = { "syscall", "sysenter", "vmcall", "vmmcall", NULL };
    static const char *const varying[] = { "rdtsc", "rdtscp", "rdpmc", "rdrand", "rdseed", "rdpid", "cpuid",
                                           "xgetbv", NULL };
    static const char *const umip[] = { "sgdt", "sidt", "sldt", "str", "smsw", NULL };
    static const char *const svm[] = { "vmrun", "vmload", "vmsave", "stgi", "clgi", "skinit", "invlpga", NULL };
    static const char *const images[] = { "fldenv", "fnstenv", "frstor", "fnsave", NULL };
    static const char *const loads[] = { "les", "lds", "lss", "lfs", "lgs", "callf", "jmpf", "retf", "int", "iret",
                                         NULL };
    static const char *const kernel[] = { "monitor", "mwait", "clac", "stac", NULL };
    bool load = named(row, loads) || row->helper == help_pop_sreg || (row->op[0].loc == OL_SREG);

    if (named(row, syscalls))
        return RE_ENTERS;
    if (named(row, varying))
        return RE_VARIES;
    if (named(row, umip))
        return RE_UMIP;
    if (strcmp(row->name, "int1") == 0)
        return RE_ICEBP;
    if (named(row, svm))
        return RE_SVM;
    if (mode < SM_REAL)
        return -1;
    if (named(row, images))
        return RE_IMAGE;
    if (load)
        return RE_SEGMENT;
    if (mode == SM_REAL)
        return (row->attr & (IA_CPL0 | IA_IOPL)) || named(row, kernel) ? RE_PRIVILEGED : -1;
    return strcmp(row->name, "pushf") == 0 || strcmp(row->name, "popf") == 0 ? RE_IOPL : -1;
}

const char *gen_excluded(const struct insn_row *row, enum snip_mode mode)
{
    int r = excluded(row, mode);

    return r < 0 ? NULL : gen_reasons[r].why;
}

char gen_excluded_letter(const char *why)
{
    unsigned i = 0;

    while (gen_reasons[i].why && gen_reasons[i].why != why)
        i++;
    return gen_reasons[i].letter;
}

/* ---- encoding ---- */

struct enc {
    uint8_t *p;
    unsigned disp_at, disp_size;
    uint8_t *start;
    const struct insn_row *row;
    const struct gen_form *f;
    enum snip_mode mode;
};

static void put(struct enc *e, unsigned v)
{
    *e->p++ = (uint8_t)v;
}

struct prefixes {
    uint8_t byte[16];
    unsigned n;
};

static void add(struct prefixes *l, uint8_t byte)
{
    l->byte[l->n++] = byte;
}

/* Prefixes that change nothing, or not the row: repeated, overruled by a later one, without meaning here. */
static void add_redundant(struct runner *r, struct prefixes *l, const struct enc *e)
{
    static const uint8_t segs[] = { 0x26, 0x2e, 0x36, 0x3e };
    bool vex = e->row->attr & IA_VEX, rep = e->row->attr & IA_REP;

    for (unsigned i = 1 + pick(r, 3); i > 0; i--) {
        switch (pick(r, 4)) {
        case 0:
            if (l->n)
                add(l, l->byte[pick(r, l->n)]);
            break;
        case 1:
            add(l, segs[pick(r, 4)]);
            break;
        case 2:
            if (!vex && !rep && e->row->pfx != PX_NONE && e->row->pfx != PX_66)
                add(l, chance(r, 50) ? 0xf2 : 0xf3);
            break;
        default:
            if (!vex && (e->row->pfx == PX_F2 || e->row->pfx == PX_F3))
                add(l, 0x66);
        }
    }
}

static void put_prefixes(struct runner *r, struct enc *e)
{
    static const uint8_t segs[] = { 0x64, 0x65, 0x26, 0x36, 0x3e, 0x2e };
    const struct insn_row *row = e->row;
    bool vex = row->attr & IA_VEX;
    struct prefixes l = { .n = 0 };

    if (!vex && (row->pfx == PX_66 || e->f->p66))
        add(&l, 0x66);
    if (!vex && (row->pfx == PX_F2 || row->pfx == PX_F3))
        add(&l, row->pfx == PX_F2 ? 0xf2 : 0xf3);
    if (e->f->rep)
        add(&l, e->f->rep);
    if (e->f->lock)
        add(&l, 0xf0);
    if (chance(r, 15))
        add(&l, 0x67);
    if (chance(r, 15))
        add(&l, segs[pick(r, e->mode >= SM_REAL ? 5 : 6)]);
    if (chance(r, 20))
        add_redundant(r, &l, e);
    for (unsigned i = l.n; i > 1; i--) {
        unsigned j = pick(r, i);
        uint8_t t = l.byte[i - 1];
        l.byte[i - 1] = l.byte[j];
        l.byte[j] = t;
    }
    for (unsigned i = 0; i < l.n; i++) {
        if (e->mode == SM_64 && !vex && chance(r, 3))
            put(e, 0x40 | pick(r, 16));           /* REX not before the opcode: ignored */
        put(e, l.byte[i]);
    }
}

static void put_rex(struct runner *r, struct enc *e)
{
    unsigned rex = 0x40 | pick(r, 8);

    if (e->f->operands == GO_SAME)
        rex = (rex & ~4u) | (rex & 1) << 2;
    if (e->f->w || chance(r, 60))
        put(e, rex | (e->f->w ? 8u : 0));
}

static void put_vex_prefix(struct runner *r, struct enc *e, unsigned vvvv, unsigned rxb)
{
    static const uint8_t pp[] = { [PX_NONE] = 0, [PX_66] = 1, [PX_F3] = 2, [PX_F2] = 3, [PX_ANY] = 0 };
    const struct insn_row *row = e->row;
    unsigned low = vvvv << 3 | (unsigned)e->f->l << 2 | pp[row->pfx];

    if (row->map == 1 && !e->f->w && (rxb & 3) == 3 && (e->mode == SM_64 || vvvv & 8) && chance(r, 60)) {
        put(e, 0xc5);
        put(e, (rxb & 4) << 5 | low);
        return;
    }
    put(e, 0xc4);
    put(e, rxb << 5 | row->map);
    put(e, (unsigned)e->f->w << 7 | low);
}

/* VEX.vvvv and the register bits, all inverted; outside 64-bit mode vvvv[3] and B are ignored. */
static void put_vex(struct runner *r, struct enc *e, unsigned modrm)
{
    unsigned rxb = e->mode == SM_64 ? pick(r, 8) : 6 | pick(r, 2), vvvv = 15;

    if (e->f->operands == GO_SAME && e->mode == SM_64)
        rxb = (rxb & 3) | (rxb & 1) << 2;
    for (unsigned i = 0; i < 4; i++) {
        if (e->row->op[i].loc != OL_VVVV && e->row->op[i].loc != OL_XVVVV)
            continue;
        vvvv = pick(r, 16);
        if (e->f->operands == GO_SAME)
            vvvv = (e->mode == SM_64 ? (rxb & 1) << 3 : 8) | (7 ^ (modrm & 7));
    }
    put_vex_prefix(r, e, vvvv, rxb);
}

static void put_disp(struct runner *r, struct enc *e, unsigned size)
{
    e->disp_at = (unsigned)(e->p - e->start);
    e->disp_size = size;
    uint32_t v = (uint32_t)runner_rand(r);
    if (size == 4 && chance(r, 70))
        v = (uint32_t)((int32_t)v >> 16);
    for (unsigned i = 0; i < size; i++)
        put(e, v >> 8 * i);
}

static unsigned choose_modrm(struct runner *r, const struct enc *e, bool ad16, bool vsib)
{
    const struct insn_row *row = e->row;

    if (row->modrm >= 0)
        return (unsigned)row->modrm;
    unsigned mod = e->f->operands == GO_MEM ? pick(r, 3) : 3;
    unsigned rm = vsib && !ad16 ? 4 : pick(r, 8);
    unsigned reg = row->ext >= 0 ? (unsigned)row->ext : e->f->operands == GO_SAME ? rm : pick(r, 8);
    return mod << 6 | reg << 3 | rm;
}

static void put_modrm(struct runner *r, struct enc *e, unsigned modrm, bool ad16)
{
    unsigned mod = modrm >> 6, rm = modrm & 7;

    put(e, modrm);
    if (mod == 3)
        return;
    if (ad16) {
        if (mod || rm == 6)
            put_disp(r, e, mod == 1 ? 1 : 2);
        return;
    }
    unsigned size = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    if (rm == 4) {
        unsigned sib = pick(r, 256);
        put(e, sib);
        if (mod == 0 && (sib & 7) == 5)
            size = 4;
    } else if (mod == 0 && rm == 5) {
        size = 4;
    }
    if (size)
        put_disp(r, e, size);
}

static void put_opcode(struct enc *e)
{
    const struct insn_row *row = e->row;

    if (!(row->attr & IA_VEX)) {
        if (row->map)
            put(e, 0x0f);
        if (row->map == 2)
            put(e, 0x38);
        if (row->map == 3)
            put(e, 0x3a);
    }
    put(e, row->opcode);
}

static bool has_prefix(const uint8_t *p, const uint8_t *end, uint8_t byte)
{
    for (; p < end; p++) {
        if (*p == byte)
            return true;
    }
    return false;
}

/* Shift counts, signs of bytes, sizes: where an immediate changes what happens. */
static uint64_t imm_value(struct runner *r, const struct insn_row *row)
{
    static const uint8_t bytes[] = { 0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 18, 31, 32, 33, 34, 63, 64, 65, 0x7f, 0x80,
                                     0x81, 0xfe, 0xff };

    if (row->op[0].loc == OL_REL)                      /* land in the INT3s around */
        return chance(r, 70) ? pick(r, 12) : (uint64_t)(int64_t)(-20 - (int)pick(r, 6));
    if (strcmp(row->name, "enter") == 0)
        return (runner_rand(r) & 0x1fff) | (uint64_t)(chance(r, 80) ? pick(r, 5) : pick(r, 256)) << 16;
    if (strncmp(row->name, "ret", 3) == 0)
        return runner_rand(r) & 0xff;
    if (chance(r, 50))
        return runner_value(r);
    return (runner_rand(r) & ~0xffffull) | (uint64_t)bytes[pick(r, sizeof(bytes))] << 8 | bytes[pick(r, sizeof(bytes))];
}

static void put_imm_bytes(struct runner *r, struct enc *e)
{
    uint64_t v = imm_value(r, e->row);

    if (strcmp(e->row->name, "int") == 0 && (v & 0xff) == 0x80)
        v++;                                           /* a system call of the host */
    for (unsigned i = 0; i < 8; i++)
        put(e, (unsigned)(v >> 8 * i) & 0xff);
    for (unsigned i = 0; i < 4; i++)
        put(e, pick(r, 256));
}

/* A far pointer in the instruction: mostly to the INT3s behind it. */
static void fix_far(struct runner *r, struct gen_insn *g, enum snip_mode mode)
{
    struct dec_insn *in = &g->in;
    uint64_t to = in->ip + in->len + pick(r, 8);

    if (in->row->op[0].loc != OL_FARPTR)
        return;
    if (chance(r, 90)) {
        for (unsigned i = 0; i < in->opsize; i++)
            g->bytes[in->len - 2 - in->opsize + i] = (uint8_t)(to >> 8 * i);
    }
    uint16_t sel = gen_code_selector(r, mode);
    g->bytes[in->len - 2] = (uint8_t)sel;
    g->bytes[in->len - 1] = (uint8_t)(sel >> 8);
}

/* Displacements that are addresses: point them at something. */
static void fix_disp(struct runner *r, struct gen_insn *g, struct enc *e, enum snip_mode mode)
{
    const struct dec_insn *in = &g->in;
    bool moffs = in->row->op[0].loc == OL_MOFFS || in->row->op[1].loc == OL_MOFFS;

    g->target = ~0ull;
    if (!in->has_mem || !(moffs || in->base == EA_RIP || (in->base == REG_NONE && in->index == REG_NONE)))
        return;
    g->target = gen_target(r, mode, in->mem_size ? in->mem_size : 16);
    uint64_t v = g->target - gen_seg_base(in);
    unsigned at = e->disp_at, size = e->disp_size;
    if (in->base == EA_RIP)
        v -= in->ip + in->len;
    if (moffs) {
        size = in->adsize;
        at = in->len - size;
    }
    for (unsigned i = 0; i < size; i++)
        g->bytes[at + i] = (uint8_t)(v >> 8 * i);
}

/* Near branches with 66 in 64-bit mode: AMD truncates RIP to 16 bits, Intel ignores the prefix.  We are Intel. */
static bool amd_branch(const struct dec_insn *in)
{
    return in->mode == 2 && in->pfx66 && !in->vex_w && (in->row->attr & IA_F64) && (in->row->attr & IA_ENDS);
}

/* Forms on which vendors differ, where xbt need not follow this host. */
static bool vendor_form(const struct dec_insn *in)
{
    if (amd_branch(in))
        return true;
    if (strcmp(in->row->name, "movsxd") == 0 && in->opsize == 2)    /* AMD reads four bytes */
        return true;
    if (in->mode != 2 && in->seg_override && strstr(in->row->name, "maskmov"))   /* not writable, but masked */
        return true;
    /* Both operands unmapped, or nothing but masked bytes there: what faults first is not defined. */
    if (in->mode == 1 && in->adsize == 2 && (in->row->cls == CL_STRING || strstr(in->row->name, "maskmov")))
        return true;
    if (in->row->cls == CL_LOOP && in->rep)               /* AMD: REP chooses the condition of LOOPE, LOOPNE */
        return true;
    return strcmp(in->row->name, "prefetchw") == 0 && in->mod == 3;  /* AMD: #UD, Intel: NOP */
}

/* In real and v86 mode CS can be written to, the host's code segment cannot. */
static bool writes_code_segment(const struct dec_insn *in, enum snip_mode mode)
{
    return mode >= SM_REAL && in->seg_override && in->seg == S_CS;
}

static bool wanted(const struct dec_insn *in, const struct gen_form *f)
{
    if (in->lock != f->lock || (f->rep && in->rep != f->rep) || (!f->rep && in->rep && (in->row->attr & IA_REP)))
        return false;
    if (in->row->pfx == PX_ANY && in->pfx66 != f->p66)
        return false;
    return f->operands == GO_NONE || in->has_mem == (f->operands == GO_MEM) || in->row->op[0].loc == OL_CREG ||
           in->row->op[0].loc == OL_DREG || in->row->op[1].loc == OL_CREG || in->row->op[1].loc == OL_DREG;
}

bool gen_encode_form(struct runner *r, const struct insn_row *row, enum snip_mode mode, uint64_t ip,
                     const struct gen_form *f, struct gen_insn *g)
{
    bool vsib = false;

    for (unsigned i = 0; i < 4; i++)
        vsib |= row->op[i].loc == OL_VSIB;
    for (unsigned attempt = 0; attempt < 60; attempt++) {
        struct enc e = { .p = g->bytes, .start = g->bytes, .row = row, .f = f, .mode = mode };
        put_prefixes(r, &e);
        bool ad16 = (mode != SM_64) && snip_is16(mode) != has_prefix(g->bytes, e.p, 0x67);
        unsigned modrm = row->attr & IA_MODRM ? choose_modrm(r, &e, ad16, vsib) : 0;
        if (row->attr & IA_VEX)
            put_vex(r, &e, modrm);
        else if (mode == SM_64)
            put_rex(r, &e);
        put_opcode(&e);
        if (row->attr & IA_MODRM)
            put_modrm(r, &e, modrm, ad16);
        put_imm_bytes(r, &e);
        if (dec_decode(g->bytes, 15, ip, gen_dec_mode(mode), mode >= SM_REAL, &g->in) != DEC_OK || g->in.row != row)
            continue;
        if (vendor_form(&g->in) || writes_code_segment(&g->in, mode) || !wanted(&g->in, f))
            continue;
        g->len = g->in.len;
        g->disp_at = e.disp_at;
        g->disp_size = e.disp_size;
        fix_disp(r, g, &e, mode);
        fix_far(r, g, mode);
        if (dec_decode(g->bytes, 15, ip, gen_dec_mode(mode), mode >= SM_REAL, &g->in) == DEC_OK && g->in.row == row)
            return true;
    }
    return false;
}

bool gen_encode(struct runner *r, const struct insn_row *row, enum snip_mode mode, uint64_t ip, struct gen_insn *g)
{
    struct gen_form f[MAX_FORMS];
    unsigned n = gen_forms(row, mode, f);

    for (unsigned attempt = 0; attempt < 4; attempt++) {
        const struct gen_form *one = &f[pick(r, n)];
        if ((one->operands == GO_SAME || one->lock) && chance(r, 70))
            continue;
        if (gen_encode_form(r, row, mode, ip, one, g))
            return true;
    }
    return false;
}
