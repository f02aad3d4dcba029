/* SPDX-License-Identifier: GPL-2.0-or-later */
/* runner.c - see runner.h. */
#include <capstone/capstone.h>
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/insn/runner.h"

#define FL_COMPARED 0x00254fd5u   /* status, TF, IF, DF, NT, RF, AC, ID */
#define TEMPLATE (1u << 16)
#define PAD 32            /* INT3s in front of a snippet */

static uint8_t noise[TEMPLATE + DATA_SIZE];

uint64_t runner_rand(struct runner *r)
{
    /* xorshift64* */
    r->rng ^= r->rng >> 12;
    r->rng ^= r->rng << 25;
    r->rng ^= r->rng >> 27;
    return r->rng * 0x2545f4914f6cdd1dull;
}

/* Values at which arithmetic changes its mind. */
static uint64_t interesting(struct runner *r)
{
    static const uint64_t v[] = {
        0, 1, 2, 0x7f, 0x80, 0x81, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
        0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0xfffffffffffffffe, 31, 32, 33, 63,
        64, 0xffffffffffffff80, 0xffffffffffff8000, 0xffffffff80000000, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa,
        0x3ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000001, 0x7ff0000000000001, 0x3f800000,
        0xff800001, /* not 7f800001: next to zeros it reads as an address of the host */
    };
    return v[runner_rand(r) % (sizeof(v) / sizeof(v[0]))];
}

uint64_t runner_value(struct runner *r)
{
    uint64_t k = runner_rand(r);

    return k & 3 ? runner_rand(r) : interesting(r);
}

/* Floating-point numbers of every class: zero, denormal, normal near 1, large, infinity, quiet and signalling NaN. */
static uint64_t float_bits(struct runner *r, unsigned mant_bits, unsigned exp_bits)
{
    uint64_t bias = (1ull << (exp_bits - 1)) - 1, top = (1ull << exp_bits) - 1;
    uint64_t mant = runner_rand(r) & ((1ull << mant_bits) - 1), quiet = 1ull << (mant_bits - 1), exp;

    switch (runner_rand(r) >> 40 & 15) {
    case 0: exp = mant = 0; break;
    case 1: exp = 0; break;
    case 2: exp = 0; mant = 1; break;
    case 3: exp = top; mant = 0; break;
    case 4: exp = top; mant |= quiet; break;
    case 5: exp = top; mant = (mant & ~quiet) | 1; break;
    case 6: exp = top - 1; break;
    case 7: exp = 1; break;
    case 8: exp = bias; mant = 0; break;
    case 9: exp = bias + mant_bits + 8 - (runner_rand(r) >> 33) % 12; break;   /* around the integers' ends */
    default: exp = bias + 20 - (runner_rand(r) >> 33) % 40;
    }
    return (runner_rand(r) >> 63) << (mant_bits + exp_bits) | exp << mant_bits | mant;
}

/* Eight bytes of integers, floats or doubles. */
static uint64_t vector_value(struct runner *r, unsigned kind)
{
    if (kind == 0)
        return runner_value(r);
    return kind == 1 ? float_bits(r, 23, 8) | float_bits(r, 23, 8) << 32 : float_bits(r, 52, 11);
}

void runner_init(struct runner *r, const char *machine, uint64_t seed)
{
    const struct machine_opts *o = machine_opts_find(machine);

    if (!o) {
        fprintf(stderr, "no such way to run the engine: %s\n", machine);
        exit(2);
    }
    memset(r, 0, sizeof(*r));
    r->rng = seed * 2 + 0x9e3779b97f4a7c15ull;
    r->verbose = 20;
    r->next_code = CODE_OFF + PAD;
    r->m = machine_new(o);
    native_init();
    for (unsigned i = 0; i < sizeof(noise); i += 8) {
        uint64_t v = vector_value(r, i >> 8 & 1 ? 0 : 1 + (i >> 9 & 1));
        memcpy(noise + i, &v, 8);
    }
    memcpy(native_win + BIG_OFF, noise, BIG_SIZE);
    memcpy(r->m->win + BIG_OFF, noise, BIG_SIZE);
    native_set_ro_page(noise);
    memcpy(r->m->win + RO_OFF, noise, 4096);
}

uint32_t runner_next_place(struct runner *r, const struct snippet *s, unsigned tail)
{
    uint32_t end = CODE_OFF + (snip_is16(s->mode) ? 0x10000 : CODE_SIZE);
    uint32_t at = (r->next_code + 15) & ~15u;

    if (tail)
        at = ((at + 4095) & ~4095u) + 4096 - tail;
    if (at + s->len + 64 > end) {
        machine_flush(r->m);
        r->next_code = CODE_OFF + PAD;
        at = tail ? CODE_OFF + 4096 - tail : CODE_OFF + PAD;
    }
    return at;
}

void runner_place(struct runner *r, struct snippet *s, unsigned tail)
{
    runner_place_at(r, s, runner_next_place(r, s, tail));
}

void runner_place_at(struct runner *r, struct snippet *s, uint32_t at)
{
    uint8_t buf[1280];

    s->at = at;
    memset(buf, 0xcc, PAD);
    memcpy(buf + PAD, s->code, s->len);
    memset(buf + PAD + s->len, 0xcc, 16);
    memcpy(native_win + s->at - PAD, buf, s->len + PAD + 16);
    machine_write_code(r->m, s->at - PAD, buf, s->len + PAD + 16);
    r->next_code = s->at + s->len + 16 + PAD;
}

static void rand_ximg(struct runner *r, uint8_t *img)
{
    unsigned kind = (unsigned)(runner_rand(r) >> 33) % 3;

    ximg_init(img);
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned k = 0; k < 2; k++) {
            uint64_t lo = vector_value(r, kind), hi = vector_value(r, kind);
            memcpy(img + 160 + 16 * i + 8 * k, &lo, 8);
            memcpy(img + 576 + 16 * i + 8 * k, &hi, 8);
        }
    }
    /* x87: some registers full of plausible numbers; TOP anywhere. */
    unsigned top = runner_rand(r) & 7;
    img[3] = (uint8_t)(top << 3);
    img[4] = (uint8_t)runner_rand(r) | (uint8_t)runner_rand(r);
    for (unsigned i = 0; i < 8; i++) {
        uint64_t mant = runner_value(r);
        uint16_t exp = (uint16_t)(0x3fff - 40 + runner_rand(r) % 80) | (runner_rand(r) & 1 ? 0x8000 : 0);
        switch (runner_rand(r) & 15) {
        case 0: exp |= 0x7fff; break;
        case 1: exp &= 0x8000; break;
        case 2: mant = 0; exp &= 0x8000; break;
        case 3: break; /* may be an unnormal */
        default: mant |= 1ull << 63;
        }
        memcpy(img + 32 + 16 * i, &mant, 8);
        memcpy(img + 32 + 16 * i + 8, &exp, 2);
    }
    /* rounding and precision control, exceptions masked */
    uint16_t fcw = (uint16_t)(0x7f | (runner_rand(r) & 0xf00));
    memcpy(img, &fcw, 2);
    uint32_t mxcsr = (uint32_t)(0x1f80 | (runner_rand(r) & (runner_rand(r) & 1 ? 0xe040 : 0)));
    memcpy(img + 24, &mxcsr, 4);
}

void runner_random_state(struct runner *r, enum snip_mode mode, struct snip_state *st)
{
    memset(st, 0, sizeof(*st));
    for (unsigned i = 0; i < 16; i++)
        st->gpr[i] = runner_value(r);
    uint64_t data = snip_is16(mode) ? 0 : LIN_DATA, stack = snip_is16(mode) ? 0 : LIN_STACK;
    st->gpr[R_RBX] = data + 0x1800 + (runner_rand(r) & 0x7f8);
    st->gpr[R_RSI] = data + 0x0800 + (runner_rand(r) & 0x7ff);
    st->gpr[R_RDI] = data + 0x2800 + (runner_rand(r) & 0x7ff);
    st->gpr[R_RBP] = stack + 0x1800 + (runner_rand(r) & 0x7f8);
    st->gpr[R_RSP] = stack + 0x2800 + (runner_rand(r) & 0x7f8);
    if (mode != SM_64) {
        for (unsigned i = 0; i < 8; i++)
            st->gpr[i] = (uint32_t)st->gpr[i];
        memset(&st->gpr[8], 0, 8 * sizeof(st->gpr[0]));
    } else {
        st->fs_base = LIN_DATA;
        st->gs_base = LIN_DATA + 0x1000;
    }
    st->rflags = 0x202 | (runner_rand(r) & FL_STATUS);
    rand_ximg(r, st->ximg);
}

void runner_random_memory(struct runner *r)
{
    unsigned a = runner_rand(r) & (TEMPLATE - 8), b = runner_rand(r) & (TEMPLATE - 8);
    static const uint32_t off[] = { DATA_OFF, STACK_OFF };

    for (unsigned i = 0; i < 2; i++) {
        memcpy(native_win + off[i], noise + (i ? a : b), DATA_SIZE);
        memcpy(r->m->win + off[i], noise + (i ? a : b), DATA_SIZE);
    }
    for (unsigned i = 0; i < 2; i++) {
        uint32_t at = i ? RO_OFF + 4096 : RO_OFF - 4096;
        memcpy(native_win + at, noise + a, 4096);
        memcpy(r->m->win + at, noise + a, 4096);
    }
}

/* ---- comparison ---- */

static const char *const gpr_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

struct diff {
    char text[8192];
    size_t n;
    unsigned count;
};

#define DIFF(d, ...)                                                                         \
    do {                                                                                     \
        (d)->count++;                                                                        \
        if ((d)->n < sizeof((d)->text) - 200)                                                \
            (d)->n += (size_t)snprintf((d)->text + (d)->n, sizeof((d)->text) - (d)->n, __VA_ARGS__); \
    } while (0)

static void diff_u64(struct diff *d, const char *name, uint64_t native, uint64_t guest, uint64_t mask)
{
    if ((native ^ guest) & mask)
        DIFF(d, "    %-8s native %016llx  xbt %016llx\n", name, (unsigned long long)native,
             (unsigned long long)guest);
}

static void diff_bytes(struct diff *d, const char *name, const uint8_t *a, const uint8_t *b, unsigned n)
{
    char text[2][70] = { "", "" };

    if (memcmp(a, b, n) == 0)
        return;
    for (unsigned i = 0; i < n && i < 32; i++) {
        snprintf(text[0] + 2 * i, 3, "%02x", a[n - 1 - i]);
        snprintf(text[1] + 2 * i, 3, "%02x", b[n - 1 - i]);
    }
    DIFF(d, "    %-8s native %s\n             xbt    %s\n", name, text[0], text[1]);
}

bool runner_compares_fptr(void)
{
    uint32_t a, b, c, d;

    __cpuid(0, a, b, c, d);
    if (b != 0x68747541)
        return false;
    __cpuid(0x80000008, a, b, c, d);
    return b & 4;
}

static void diff_ximg(struct diff *d, const struct snippet *s, int vector, uint8_t *a,
                      uint8_t *b)
{
    char name[16];

    ximg_normalize(a);
    ximg_normalize(b);
    if (s->microcoded && vector != TRAP_END && vector != 16)
        memcpy(b, a, 160);
    diff_u64(d, "fcw", a[0] | a[1] << 8, b[0] | b[1] << 8, ~0ull);
    diff_u64(d, "fsw", a[2] | a[3] << 8, b[2] | b[3] << 8, ~0ull);
    diff_u64(d, "ftw", a[4], b[4], ~0ull);
    if (runner_compares_fptr()) {
        diff_bytes(d, "fop", a + 6, b + 6, 2);
        /* How many bits of one that is not canonical are kept depends on the processor. */
        diff_bytes(d, "fip", a + 8, b + 8, 6);
        diff_bytes(d, "fdp", a + 16, b + 16, 6);
    }
    diff_bytes(d, "mxcsr", a + 24, b + 24, 4);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "st%u", i);
        diff_bytes(d, name, a + 32 + 16 * i, b + 32 + 16 * i, 10);
    }
    for (unsigned i = 0; i < 16; i++) {
        snprintf(name, sizeof(name), "xmm%u", i);
        diff_bytes(d, name, a + 160 + 16 * i, b + 160 + 16 * i, 16);
        snprintf(name, sizeof(name), "ymm%uh", i);
        diff_bytes(d, name, a + 576 + 16 * i, b + 576 + 16 * i, 16);
    }
}

static void diff_memory(struct diff *d, struct runner *r, const char *name, uint32_t off, uint32_t size)
{
    const uint8_t *a = native_win + off, *b = r->m->win + off;

    if (memcmp(a, b, size) == 0)
        return;
    unsigned shown = 0;
    for (uint32_t i = 0; i < size && shown < 6; i++) {
        if (a[i] != b[i]) {
            DIFF(d, "    %s+%04x native %02x  xbt %02x\n", name, i, a[i], b[i]);
            shown++;
        }
    }
    memcpy(r->m->win + off, a, size);
}

uint64_t runner_error_mask(const struct snippet *s, const struct snip_state *native)
{
    uint64_t mask = ~0ull;

    if (native->vector == 14 && s->mode >= SM_32)
        mask &= ~0x10ull;                       /* without NX (legacy paging) there is no I/D bit */
    if (native->vector == 14 && s->mode >= SM_32 && native->cr2 >> 22 == 0x300)
        mask &= ~1ull;                          /* machine.c's own pages */
    if (native->vector == 14 && native->cr2 >= 0x7ffffffff000ull)
        mask &= ~1ull;                          /* Linux does not tell whether its own pages are present */
    return mask;
}

/* Null selectors lose their RPL when the host's kernel returns to the handler. */
static uint16_t null_is_0(uint16_t sel)
{
    return sel & ~3 ? sel : 0;
}

static bool address_fault(int vector)
{
    return vector == 12 || vector == 13 || vector == 14 || vector == 17;
}

/* INT1 (a program that went astray): hypervisors report its own address instead of the next one's. */
static bool icebp(struct runner *r, const struct snippet *s, const struct snip_state *a, const struct snip_state *b)
{
    uint64_t off = a->rip - (snip_is16(s->mode) ? 0 : LIN);

    return a->vector == 1 && b->vector == 1 && b->rip == a->rip + 1 && off < WIN_SIZE && r->m->win[off] == 0xf1;
}

static void diff_states(struct diff *d, struct runner *r, const struct snippet *s, struct snip_state *a,
                        struct snip_state *b)
{
    bool is64 = s->mode == SM_64, early = a->vector != TRAP_END;
    uint32_t ignore = s->fl_ignore | (early ? s->fl_ignore_early : 0);

    if (s->mode == SM_REAL) {
        ignore |= ~0xffffu; /* pushes FLAGS, and no error code */
        b->error = a->error;
    }
    if ((s->microcoded || s->rep) && a->vector == 1)
        ignore |= FL_RF;    /* inside a REP: Intel sets it, AMD does not */

    /* Microcode makes its checks in an order of its own. */
    if (a->vector != b->vector && !(s->microcoded && address_fault(a->vector) && address_fault(b->vector)))
        DIFF(d, "    exception: native %d  xbt %d\n", a->vector, b->vector);
    if (!s->microcoded || a->vector == b->vector)
        diff_u64(d, "error", a->error, b->error, runner_error_mask(s, a));
    if (!s->microcoded)
        diff_u64(d, "cr2", a->cr2, b->cr2, ~0ull);
    if (!icebp(r, s, a, b))
        diff_u64(d, "rip", a->rip, b->rip, s->mode == SM_REAL ? 0xffff : ~0ull);
    if (early && s->early_regs) {
        uint64_t sp = b->gpr[R_RSP];
        memcpy(b->gpr, a->gpr, sizeof(b->gpr));
        b->gpr[R_RSP] = sp;
    }
    for (unsigned i = 0; i < (is64 ? 16 : 8); i++)
        diff_u64(d, gpr_names[i], a->gpr[i], b->gpr[i],
                 is64 ? ~0ull : s->sp16 && i == R_RSP ? 0xffffull : 0xffffffffull);
    for (unsigned i = 0; i < 6; i++) {
        static const char *const names[6] = { "es", "cs", "ss", "ds", "fs", "gs" };
        diff_u64(d, names[i], null_is_0(a->sel[i]), null_is_0(b->sel[i]), ~0ull);
    }
    diff_u64(d, "rflags", a->rflags, b->rflags, FL_COMPARED & ~ignore);
    if (is64) {
        diff_u64(d, "fs_base", a->fs_base, b->fs_base, ~0ull);
        diff_u64(d, "gs_base", a->gs_base, b->gs_base, ~0ull);
    }
    diff_ximg(d, s, a->vector, a->ximg, b->ximg);
    diff_memory(d, r, "data", DATA_OFF, DATA_SIZE);
    if (s->early_push && (a->vector == 12 || a->vector == 13)) {
        memcpy(r->m->win + STACK_OFF, native_win + STACK_OFF, STACK_SIZE);
        memcpy(r->m->win + BIG_OFF, native_win + BIG_OFF, BIG_SIZE);
        memcpy(r->m->win + RO_OFF - 4096, native_win + RO_OFF - 4096, 3 * 4096);
    }
    diff_memory(d, r, "stack", STACK_OFF, STACK_SIZE);
    diff_memory(d, r, "ro-1", RO_OFF - 4096, 3 * 4096);
    if (a->big)
        diff_memory(d, r, "big", BIG_OFF, BIG_SIZE);
    diff_memory(d, r, "code", s->at, s->len);
}

static void print_code(const struct snippet *s)
{
    csh h;
    cs_insn *insn;
    cs_mode mode = s->mode == SM_64 ? CS_MODE_64 : snip_is16(s->mode) ? CS_MODE_16 : CS_MODE_32;

    printf("   ");
    for (unsigned i = 0; i < s->len && i < 600; i++)
        printf(" %02x", s->code[i]);
    printf("\n");
    if (cs_open(CS_ARCH_X86, mode, &h) != CS_ERR_OK)
        return;
    size_t n = cs_disasm(h, s->code, s->len, LIN + s->at, 0, &insn);
    for (size_t i = 0; i < n; i++)
        printf("    %08llx  %s %s\n", (unsigned long long)insn[i].address, insn[i].mnemonic, insn[i].op_str);
    if (n)
        cs_free(insn, n);
    cs_close(&h);
}

static void print_input(const struct snippet *s, const struct snip_state *st)
{
    for (unsigned i = 0; i < (s->mode == SM_64 ? 16u : 8u); i++)
        printf("%s%s=%llx", i % 8 ? " " : i ? "\n        " : "    in: ", gpr_names[i], (unsigned long long)st->gpr[i]);
    printf(" rflags=%llx\n", (unsigned long long)st->rflags);
}

/* In real mode the exception's frame is on the program's stack, below SP. */
static void drop_real_frame(struct runner *r, const struct snip_state *st, const struct snip_state *b)
{
    uint32_t base = st->big ? BIG_OFF : STACK_OFF, size = st->big ? BIG_SIZE : STACK_SIZE;

    for (unsigned i = 1; i <= 6; i++) {
        uint16_t off = (uint16_t)(b->gpr[R_RSP] - i);
        if (off < size)
            r->m->win[base + off] = native_win[base + off];
    }
}

/* No room for that frame (a word must not wrap): the processor shuts down. */
static bool no_real_frame(const struct snip_state *st, const struct snip_state *a)
{
    uint16_t sp = (uint16_t)a->gpr[R_RSP];

    return st->big ? sp < 6 && (sp & 1) : sp < 6 || sp > STACK_SIZE;
}

bool runner_diff(struct runner *r, const struct snippet *s, const struct snip_state *st, struct snip_state *a,
                 struct snip_state *b)
{
    static struct diff d;

    r->runs++;
    r->ended[a->vector >= 0 && a->vector < 33 ? a->vector : 33]++;
    d.n = d.count = 0;
    if (s->mode == SM_REAL) {
        if (b->vector == -3 && no_real_frame(st, a)) {
            memcpy(r->m->win + STACK_OFF, native_win + STACK_OFF, STACK_SIZE);
            memcpy(r->m->win + BIG_OFF, native_win + BIG_OFF, BIG_SIZE);
            return true;
        }
        drop_real_frame(r, st, b);
    }
    diff_states(&d, r, s, a, b);
    if (!d.count)
        return true;
    r->mismatches++;
    if (r->mismatches <= r->verbose) {
        printf("MISMATCH %s (%s-bit) ended by native %d, xbt %d\n", s->name, snip_mode_names[s->mode], a->vector,
               b->vector);
        print_code(s);
        print_input(s, st);
        fputs(d.text, stdout);
        fflush(stdout);
    }
    return false;
}

bool runner_compare(struct runner *r, const struct snippet *s, struct snip_state *st)
{
    struct snip_state a, b;

    st->rip = snip_is16(s->mode) ? s->at - CODE_OFF : LIN + s->at;
    native_run(s->mode, st, &a);
    machine_run(r->m, s->mode, st, &b);
    return runner_diff(r, s, st, &a, &b);
}

int runner_finish(struct runner *r, const char *what)
{
    printf("%s: %lu runs, %lu mismatches; ended by", what, r->runs, r->mismatches);
    for (unsigned i = 0; i < 34; i++) {
        if (r->ended[i])
            printf(" %u:%lu", i, r->ended[i]);
    }
    printf("\n");
    return r->mismatches ? 1 : 0;
}
