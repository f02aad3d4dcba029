/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gen.c - random encodings of a row; see gen.h.  SDM vol. 2, chapter 2.  States are made in gen_state.c. */
#include <string.h>

#include "tests/insn/gen.h"

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
    return mode == SM_64 ? 2 : mode == SM_16 ? 0 : 1;
}

static bool named(const struct insn_row *row, const char *const *names)
{
    for (; *names; names++) {
        if (strcmp(row->name, *names) == 0)
            return true;
    }
    return false;
}

const char *gen_excluded(const struct insn_row *row, enum snip_mode mode)
{
    static const char *const syscalls[] = { "syscall", "sysenter", "vmcall", "vmmcall", NULL };
    static const char *const varying[] = { "rdtsc", "rdtscp", "rdpmc", "rdrand", "rdseed", "rdpid", "cpuid",
                                           "xgetbv", NULL };
    static const char *const umip[] = { "sgdt", "sidt", "sldt", "str", "smsw", NULL };
    static const char *const traps[] = { "int1", NULL };
    static const char *const svm[] = { "vmrun", "vmload", "vmsave", "stgi", "clgi", "skinit", "invlpga", NULL };
    static const char *const fpu_ptr[] = { "xrstor", NULL };

    if (named(row, syscalls))
        return "enters the host's kernel or hypervisor";
    if (named(row, varying))
        return "answers differ from run to run or by configuration";
    if (named(row, umip))
        return "the host's kernel emulates it (UMIP)";
    if (named(row, traps))
        return "hypervisors report the wrong RIP";
    if (named(row, svm))
        return "#UD or #GP by the host's EFER.SVME";
    if (named(row, fpu_ptr))
        return "random images would load host-only components";
    return NULL;
}

/* ---- encoding ---- */

struct enc {
    uint8_t *p;
    unsigned disp_at, disp_size;
    uint8_t *start;
};

static void put(struct enc *e, unsigned v)
{
    *e->p++ = (uint8_t)v;
}

static void put_prefixes(struct runner *r, struct enc *e, const struct insn_row *row, enum snip_mode mode)
{
    static const uint8_t segs[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
    uint8_t list[8];
    unsigned n = 0;
    bool vex = row->attr & IA_VEX;

    if (row->pfx == PX_66 && !vex)
        list[n++] = 0x66;
    else if (!vex && row->pfx != PX_NONE && chance(r, 25))
        list[n++] = 0x66;
    if (row->pfx == PX_F2 && !vex)
        list[n++] = 0xf2;
    if (row->pfx == PX_F3 && !vex)
        list[n++] = 0xf3;
    if ((row->attr & IA_REP) && chance(r, 60))
        list[n++] = chance(r, 50) ? 0xf2 : 0xf3;
    if (chance(r, 15))
        list[n++] = 0x67;
    if (chance(r, 15))
        list[n++] = segs[pick(r, mode == SM_64 ? 6 : 4)];
    if ((row->attr & IA_LOCK) && chance(r, 30))
        list[n++] = 0xf0;
    for (unsigned i = n; i > 1; i--) {
        unsigned j = pick(r, i);
        uint8_t t = list[i - 1];
        list[i - 1] = list[j];
        list[j] = t;
    }
    for (unsigned i = 0; i < n; i++)
        put(e, list[i]);
}

static void put_rex(struct runner *r, struct enc *e, const struct insn_row *row)
{
    unsigned rex = 0x40 | pick(r, 16);

    if (row->attr & IA_W1)
        rex |= 8;
    else if (row->attr & IA_W0)
        rex &= ~8u;
    if ((row->attr & IA_W1) || chance(r, 65))
        put(e, rex);
}

static void put_vex_prefix(struct runner *r, struct enc *e, const struct insn_row *row, enum snip_mode mode)
{
    static const uint8_t pp[] = { [PX_NONE] = 0, [PX_66] = 1, [PX_F3] = 2, [PX_F2] = 3, [PX_ANY] = 0 };
    unsigned w = row->attr & IA_W1 ? 1 : row->attr & IA_W0 ? 0 : pick(r, 2);
    unsigned l = row->attr & IA_VEX_L1 ? 1 : row->attr & IA_VEX_L0 ? 0 : pick(r, 2);
    unsigned rxb = mode == SM_64 ? pick(r, 8) : 7, vvvv = 15;

    for (unsigned i = 0; i < 4; i++) {
        if (row->op[i].loc == OL_VVVV || row->op[i].loc == OL_XVVVV)
            vvvv = mode == SM_64 ? pick(r, 16) : 8 | pick(r, 8);
    }
    if (row->map == 1 && !w && (rxb & 3) == 3 && chance(r, 60)) {
        put(e, 0xc5);
        put(e, (rxb & 4) << 5 | vvvv << 3 | l << 2 | pp[row->pfx]);
        return;
    }
    put(e, 0xc4);
    put(e, rxb << 5 | row->map);
    put(e, w << 7 | vvvv << 3 | l << 2 | pp[row->pfx]);
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

static void put_modrm(struct runner *r, struct enc *e, const struct insn_row *row, bool ad16, bool vsib)
{
    if (row->modrm >= 0) {
        put(e, (unsigned)row->modrm);
        return;
    }
    unsigned mod = row->modrm == -3 ? 3 : row->modrm == -2 || vsib ? pick(r, 3) : chance(r, 40) ? 3 : pick(r, 3);
    unsigned reg = row->ext >= 0 ? (unsigned)row->ext : pick(r, 8);
    unsigned rm = vsib && !ad16 ? 4 : pick(r, 8);

    put(e, mod << 6 | reg << 3 | rm);
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

static void put_opcode(struct enc *e, const struct insn_row *row)
{
    if (row->attr & IA_VEX) {
        put(e, row->opcode);
        return;
    }
    if (row->map)
        put(e, 0x0f);
    if (row->map == 2)
        put(e, 0x38);
    if (row->map == 3)
        put(e, 0x3a);
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

static void put_imm_bytes(struct runner *r, struct enc *e, const struct insn_row *row)
{
    uint64_t v = runner_rand(r);

    if (row->op[0].loc == OL_REL)                      /* land in the INT3s around */
        v = chance(r, 70) ? pick(r, 12) : (uint64_t)(int64_t)(-20 - (int)pick(r, 6));
    else if (strcmp(row->name, "enter") == 0)
        v &= 0x031fff;
    else if (strncmp(row->name, "ret", 3) == 0)
        v &= 0xff;
    else if (strcmp(row->name, "int") == 0 && (v & 0xff) == 0x80)
        v++;                                           /* a system call of the host */
    for (unsigned i = 0; i < 8; i++)
        put(e, (unsigned)(v >> 8 * i) & 0xff);
    for (unsigned i = 0; i < 4; i++)
        put(e, pick(r, 256));
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
    uint64_t v = g->target;
    unsigned at = e->disp_at, size = e->disp_size;
    if (in->seg == S_FS || in->seg == S_GS)
        v -= in->seg == S_FS ? LIN_DATA : LIN_DATA + 0x1000;
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
    static const char *const far_loads[] = { "lss", "lfs", "lgs", "callf", "jmpf", NULL };

    if (amd_branch(in))
        return true;
    if (strcmp(in->row->name, "movsxd") == 0 && in->opsize == 2)    /* AMD reads four bytes */
        return true;
    if (in->mode != 2 && in->seg_override && strstr(in->row->name, "maskmov"))   /* not writable, but masked */
        return true;
    /* Both operands unmapped, or nothing but masked bytes there: what faults first is not defined. */
    if (in->mode == 1 && in->adsize == 2 && (in->row->cls == CL_STRING || strstr(in->row->name, "maskmov")))
        return true;
    if (in->vex_w && named(in->row, far_loads))           /* AMD: no 64-bit offset */
        return true;
    return strcmp(in->row->name, "prefetchw") == 0 && in->mod == 3;  /* AMD: #UD, Intel: NOP */
}

bool gen_encode(struct runner *r, const struct insn_row *row, enum snip_mode mode, uint64_t ip, struct gen_insn *g)
{
    bool vsib = false;

    for (unsigned i = 0; i < 4; i++)
        vsib |= row->op[i].loc == OL_VSIB;
    for (unsigned attempt = 0; attempt < 30; attempt++) {
        struct enc e = { .p = g->bytes, .start = g->bytes };
        put_prefixes(r, &e, row, mode);
        bool ad16 = (mode != SM_64) && (mode == SM_16) != has_prefix(g->bytes, e.p, 0x67);
        if (row->attr & IA_VEX)
            put_vex_prefix(r, &e, row, mode);
        else if (mode == SM_64)
            put_rex(r, &e, row);
        put_opcode(&e, row);
        if (row->attr & IA_MODRM)
            put_modrm(r, &e, row, ad16, vsib);
        put_imm_bytes(r, &e, row);
        if (dec_decode(g->bytes, 15, ip, gen_dec_mode(mode), false, &g->in) != DEC_OK || g->in.row != row)
            continue;
        if (vendor_form(&g->in))
            continue;
        g->len = g->in.len;
        g->disp_at = e.disp_at;
        g->disp_size = e.disp_size;
        fix_disp(r, g, &e, mode);
        if (dec_decode(g->bytes, 15, ip, gen_dec_mode(mode), false, &g->in) == DEC_OK && g->in.row == row)
            return true;
    }
    return false;
}
