/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_string.c - MOVS STOS LODS CMPS SCAS, with and without REP, in every mode and address size (SDM
 * vol. 2, REP).
 *
 * Kernels copy and clear memory with these.  As far as both operands are plain memory, a run of elements
 * within a page is done by the host's own string instruction on host addresses: same element size, same
 * direction and so the same result when the operands overlap.  Everything else (page crossing, MMIO,
 * pages with code) goes element by element through guest_ld and guest_st.
 *
 * Precise: registers are updated after each run or element, so that a fault finds them as the hardware
 * would leave them. The flags of CMPS and SCAS are committed at the end only, as a fault must show those
 * from before the instruction. Interruptible: after STR_BUDGET bytes, or when something is pending, the
 * helper returns to the loop with RIP still at the instruction.
 */
#include "translator/help_str.h"

enum { STR_MOVS, STR_CMPS, STR_STOS, STR_LODS, STR_SCAS };

struct str {
    const struct dec_insn *in;
    struct str_op src, dst;
    uint8_t kind, size, adsize, down, has_src, has_dst;
    uint16_t fl;          /* result of the last comparison */
    uint8_t compared;
};

#define FL_AH_ZF (FL_ZF << 8)

/* ---- the host's string instructions; n > 0 ---- */

#define HOST_DIR(down, insn, ...)                                            \
    do {                                                                     \
        if (down)                                                            \
            __asm__ volatile("std\n\t" insn "\n\tcld" __VA_ARGS__);          \
        else                                                                 \
            __asm__ volatile(insn __VA_ARGS__);                              \
    } while (0)

#define HOST_SIZES(down, insn, ...)                                          \
    do {                                                                     \
        switch (s->size) {                                                   \
        case 1: HOST_DIR(down, insn "b", __VA_ARGS__); break;                \
        case 2: HOST_DIR(down, insn "w", __VA_ARGS__); break;                \
        case 4: HOST_DIR(down, insn "l", __VA_ARGS__); break;                \
        default: HOST_DIR(down, insn "q", __VA_ARGS__); break;               \
        }                                                                    \
    } while (0)

static inline void host_movs(const struct str *s, uint8_t *d, const uint8_t *p, uint64_t n)
{
    HOST_SIZES(s->down, "rep movs", : "+D"(d), "+S"(p), "+c"(n) : : "memory");
}

static inline void host_stos(const struct str *s, uint8_t *d, uint64_t val, uint64_t n)
{
    HOST_SIZES(s->down, "rep stos", : "+D"(d), "+c"(n) : "a"(val) : "memory");
}

/* Compare until the REP condition ends it; returns the elements looked at. */
static uint64_t host_cmps(struct str *s, const uint8_t *p, const uint8_t *d, uint64_t n)
{
    uint64_t left = n;
    uint32_t ax;

#define TAIL "\n\tlahf\n\tseto %%al"
#define CMPS(rep, sfx)                                                        \
    HOST_DIR(s->down, rep " cmps" sfx TAIL, : "+S"(p), "+D"(d), "+c"(left), "=&a"(ax) : : "cc", "memory")
#define CMPS_SIZES(rep)                                                      \
    switch (s->size) {                                                       \
    case 1: CMPS(rep, "b"); break;                                           \
    case 2: CMPS(rep, "w"); break;                                           \
    case 4: CMPS(rep, "l"); break;                                           \
    default: CMPS(rep, "q"); break;                                          \
    }
    if (s->in->rep == 0xf2) {
        CMPS_SIZES("repne")
    } else {
        CMPS_SIZES("repe")
    }
    s->fl = (uint16_t)(ax & 0xd501);
    s->compared = 1;
    return n - left;
}

static uint64_t host_scas(struct str *s, const uint8_t *d, uint64_t val, uint64_t n)
{
    uint64_t left = n;

#define SCAS(rep, sfx)                                                        \
    HOST_DIR(s->down, rep " scas" sfx TAIL, : "+D"(d), "+c"(left), "+a"(val) : : "cc", "memory")
#define SCAS_SIZES(rep)                                                      \
    switch (s->size) {                                                       \
    case 1: SCAS(rep, "b"); break;                                           \
    case 2: SCAS(rep, "w"); break;                                           \
    case 4: SCAS(rep, "l"); break;                                           \
    default: SCAS(rep, "q"); break;                                          \
    }
    if (s->in->rep == 0xf2) {
        SCAS_SIZES("repne")
    } else {
        SCAS_SIZES("repe")
    }
    s->fl = (uint16_t)(val & 0xd501);
    s->compared = 1;
    return n - left;
}

/* Flags of a - b at the element size. */
static void compare(struct str *s, uint64_t a, uint64_t b)
{
    uint8_t sh = (uint8_t)(64 - 8 * s->size);
    uint8_t af = (uint8_t)((a ^ b ^ (a - b)) & FL_AF);
    uint8_t low = (uint8_t)(a - b);
    uint32_t ax;

    /* Shifted to the top of a register, everything but PF and AF comes out right. */
    __asm__("cmpq %2, %1\n\tlahf\n\tseto %%al" : "=&a"(ax) : "r"(a << sh), "r"(b << sh) : "cc");
    ax &= 0xd501 & ~((FL_AF | FL_PF) << 8);
    ax |= (uint32_t)af << 8 | (__builtin_popcount(low) & 1 ? 0 : FL_PF << 8);
    s->fl = (uint16_t)ax;
    s->compared = 1;
}

static uint64_t host_load(const uint8_t *p, unsigned size)
{
    switch (size) {
    case 1: return *p;
    case 2: return *(const any16 *)p;
    case 4: return *(const any32 *)p;
    default: return *(const any64 *)p;
    }
}

/* ---- one element ---- */

static uint64_t element_load(struct guest_cpu *c, uint64_t lin, unsigned size)
{
    switch (size) {
    case 1: return guest_ld8(c, lin);
    case 2: return guest_ld16(c, lin);
    case 4: return guest_ld32(c, lin);
    default: return guest_ld64(c, lin);
    }
}

static void element_store(struct guest_cpu *c, uint64_t lin, unsigned size, uint64_t v)
{
    switch (size) {
    case 1: guest_st8(c, lin, (uint8_t)v); break;
    case 2: guest_st16(c, lin, (uint16_t)v); break;
    case 4: guest_st32(c, lin, (uint32_t)v); break;
    default: guest_st64(c, lin, v); break;
    }
}

static void element(struct guest_cpu *c, struct str *s, uint64_t slin, uint64_t dlin)
{
    uint64_t v = s->has_src ? element_load(c, slin, s->size) : GPR(c, R_RAX) & size_mask(s->size);

    switch (s->kind) {
    case STR_MOVS:
    case STR_STOS:
        element_store(c, dlin, s->size, v);
        break;
    case STR_LODS:
        gpr_write(c, R_RAX, s->size, false, v);
        break;
    default:
        compare(s, v, element_load(c, dlin, s->size));
        break;
    }
}

/* ---- a run: returns the elements done, 0 when it has to go element by element ---- */

static uint64_t run(struct guest_cpu *c, struct str *s, uint64_t so, uint64_t slin, uint64_t d_o,
                    uint64_t dlin, uint64_t n)
{
    uint8_t *p = NULL, *d = NULL;
    uint64_t k, below = 0, code = ~0ull;

    if (__builtin_expect(c->hflags & HF_AC, 0))
        return 0; /* the element accesses check alignment */
    if (s->has_src) {
        k = str_run(c, s->src, so, slin, s->size, s->adsize, s->down);
        n = k < n ? k : n;
    }
    if (s->has_dst) {
        k = str_run(c, s->dst, d_o, dlin, s->size, s->adsize, s->down);
        n = k < n ? k : n;
    }
    if (!n)
        return 0;
    if (s->has_src && !(p = guest_page_ptr(c, slin, ACC_READ)))
        return 0;
    if (s->has_dst && s->dst.write) {
        below = s->down ? (n - 1) * s->size : 0;
        if (below)
            guest_probe(c, dlin, s->size, ACC_WRITE, c->mmu_mode); /* CR2 is the first element's address */
        d = guest_store_ptr(c, dlin - below, &code);
        d = d ? d + below : NULL;
    } else if (s->has_dst) {
        d = guest_page_ptr(c, dlin, ACC_READ);
    }
    if (s->has_dst && !d)
        return 0;
    switch (s->kind) {
    case STR_MOVS:
        host_movs(s, d, p, n);
        guest_stored(c, code, dlin - below, (uint32_t)(n * s->size));
        return n;
    case STR_STOS:
        host_stos(s, d, GPR(c, R_RAX), n);
        guest_stored(c, code, dlin - below, (uint32_t)(n * s->size));
        return n;
    case STR_LODS:
        /* Only the last element stays. */
        p = s->down ? p - (n - 1) * s->size : p + (n - 1) * s->size;
        gpr_write(c, R_RAX, s->size, false, host_load(p, s->size));
        return n;
    case STR_CMPS:
        return host_cmps(s, p, d, n);
    default:
        return host_scas(s, d, GPR(c, R_RAX), n);
    }
}

/* ---- the instruction ---- */

static const struct { uint8_t kind, src, dst, write; } kinds[] = {
    [(0xa4 - 0xa4) >> 1] = { STR_MOVS, 1, 1, 1 },
    [(0xa6 - 0xa4) >> 1] = { STR_CMPS, 1, 1, 0 },
    [(0xaa - 0xa4) >> 1] = { STR_STOS, 0, 1, 1 },
    [(0xac - 0xa4) >> 1] = { STR_LODS, 1, 0, 0 },
    [(0xae - 0xa4) >> 1] = { STR_SCAS, 0, 1, 0 },
};

static inline void advance(struct guest_cpu *c, const struct str *s, uint64_t so, uint64_t d_o, uint64_t n)
{
    uint64_t by = n * s->size;

    if (s->down)
        by = -by;
    if (s->has_src)
        addr_reg_set(c, R_RSI, s->adsize, so + by);
    if (s->has_dst)
        addr_reg_set(c, R_RDI, s->adsize, d_o + by);
}

/* Do up to `n` elements in one go; returns how many. */
static inline uint64_t step(struct guest_cpu *c, struct str *s, uint64_t n)
{
    uint64_t so = addr_reg(c, R_RSI, s->adsize), d_o = addr_reg(c, R_RDI, s->adsize);
    uint64_t slin = s->has_src ? str_lin(c, s->src, so, s->size) : 0;

    if (s->has_src && s->has_dst && __builtin_expect(!str_fits(c, s->dst, d_o, s->size), 0))
        element_load(c, slin, s->size); /* the source's page fault or misalignment comes first */
    uint64_t dlin = s->has_dst ? str_lin(c, s->dst, d_o, s->size) : 0;
    uint64_t done = n > 1 && !c->vm->opt.no_bulk ? run(c, s, so, slin, d_o, dlin, n) : 0;

    c->stat[done ? ST_STRING_RUNS : ST_STRING_ELEMENTS]++;
    if (!done) {
        element(c, s, slin, dlin);
        done = 1;
    }
    advance(c, s, so, d_o, done);
    return done;
}

/* Does the comparison end a REPE/REPNE? */
static inline bool cond_ends(const struct str *s)
{
    return s->compared && !(s->fl & FL_AH_ZF) == (s->in->rep == 0xf3);
}

/* Returns false when it was left with work to do. */
static bool repeat(struct guest_cpu *c, struct str *s)
{
    uint64_t left = addr_reg(c, R_RCX, s->adsize), budget = STR_BUDGET / s->size, done;

    while (left) {
        uint64_t n = left < budget ? left : budget;

        if (c->hflags & (HF_TF | HF_DBG))
            n = 1;
        done = step(c, s, n);
        left -= done;
        budget -= done;
        addr_reg_set(c, R_RCX, s->adsize, left);
        if (s->compared)
            c->fl = s->fl; /* what is seen when the next element faults */
        if (cond_ends(s))
            return true;
        if (left && ((c->hflags & (HF_TF | HF_DBG)) || !budget || c->exit_request))
            return false;
    }
    return true;
}

int help_string(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned k = (unsigned)(in->opcode - 0xa4) >> 1;
    uint64_t mark = help_mark(c);
    struct str s = {
        .in = in, .kind = kinds[k].kind, .has_src = kinds[k].src, .has_dst = kinds[k].dst,
        .size = in->opcode & 1 ? in->opsize : 1, .adsize = in->adsize, .down = !!(c->eflags & FL_DF),
    };

    s.src = str_operand(c, R_RSI, implicit_seg(in), false);
    s.dst = str_operand(c, R_RDI, S_ES, kinds[k].write);
    if (!str_repeated(in)) {
        step(c, &s, 1);
    } else if (!repeat(c, &s)) {
        c->rip = in->ip;
        c->rep_partial = 1;
        return HELP_LOOP;
    }
    if (s.compared)
        c->fl = s.fl;
    return help_stored(c, in, mark);
}
