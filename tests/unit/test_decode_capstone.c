/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_decode_capstone.c - capstone as second opinion of the decoder: validity, length and mnemonic over
 * all opcodes with every prefix and ModRM class, all VEX forms, and random bytes, in three modes.  It also
 * proves that every row of the table can be reached.
 *
 * Where capstone 4.0.2 is known to be wrong or to know other CPUs' instructions is listed below, with the
 * reason.
 */
#include <capstone/capstone.h>
#include <stdbool.h>
#include <stdlib.h>
#include "tests/unit/test_decode_env.h"

static csh handles[3];
static cs_insn *insns[3];
static uint8_t row_seen[4096];
static unsigned long compared, excused;
static unsigned failures;

/* ---- mnemonics ---- */

/* Ours and capstone's names of the same thing, beyond a size suffix. */
static const char *const aliases[][2] = {
    { "callf", "lcall" }, { "jmpf", "ljmp" }, { "cbw", "cwde" }, { "cbw", "cdqe" }, { "cwd", "cdq" },
    { "cwd", "cqo" },
    { "fcom2", "fcom" }, { "fcomp3", "fcomp" }, { "fcomp5", "fcomp" }, { "fxch4", "fxch" }, { "fxch7",
    "fxch" },
    { "fstp1", "fstpnce" }, { "fstp8", "fstp" }, { "fstp9", "fstp" }, { "fneni", "feni8087_nop" },
    { "fndisi", "fdisi8087_nop" }, { "fnsetpm", "fsetpm" }, { "fwait", "wait" }, { "jrcxz", "jcxz" },
    { "jrcxz", "jecxz" }, { "mov", "movabs" }, { "movd", "movq" }, { "pextrd", "pextrq" }, { "pinsrd",
    "pinsrq" },
    { "vmovd", "vmovq" }, { "prefetch", "nop" }, { "ud1", "ud2b" },
    { "pause", "nop" }, { "pause", "xchg" },   /* capstone: F3 90 with other prefixes */
    { "clwb", "xsaveopt64" },                  /* capstone misses 66 48 0F AE /6 */
    { "rdpid", "rdseed" },                     /* wrong in capstone */
    { "movq", "movd" },                        /* F3 REX.W 0F 7E: capstone lets W win over F3 */
    { "movddup", "movlps" }, { "movsldup", "movlps" }, { "movddup", "movlpd" }, { "movsldup", "movlpd" },
    { "movlpd", "movlps" },                    /* capstone loses the prefix when another one follows it */
};

static bool same_name(const char *ours, const char *theirs)
{
    static const char *const suffixes[] = { "b", "w", "d", "q", "l", "64", "x", "nta", "t0", "t1", "t2" };
    const char *last = strrchr(theirs, ' ');
    size_t n = strlen(ours);

    theirs = last ? last + 1 : theirs; /* rep, lock, bnd, xacquire */
    if (!strcmp(ours, theirs)) {
        return true;
    }
    /* Predicates: cmpltps, vcmpeq_uqsd. */
    if ((!strncmp(ours, "cmp", 3) && !strncmp(theirs, "cmp", 3) && !strcmp(ours + 3,
        theirs + strlen(theirs) - 2)) ||
        (!strncmp(ours, "vcmp", 4) && !strncmp(theirs, "vcmp", 4))) {
        return true;
    }
    for (unsigned i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (!strncmp(ours, theirs, n) && !strcmp(theirs + n, suffixes[i])) {
            return true;
        }
    }
    for (unsigned i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        if (!strcmp(ours, aliases[i][0]) && !strcmp(theirs, aliases[i][1])) {
            return true;
        }
    }
    return false;
}

static bool in_list(const char *name, const char *const *list)
{
    for (; *list; list++) {
        size_t n = strlen(*list);

        if ((*list)[n - 1] == '*' ? !strncmp(name, *list, n - 1) : !strcmp(name, *list)) {
            return true;
        }
    }
    return false;
}

/* ---- exceptions ---- */

/* We accept, capstone does not: it does not know these, or not in this mode or encoding. */
static const char *const capstone_lacks[] = {
    "gf2p8*", "vgf2p8*", "vaes*", "vpclmulqdq", "rdpkru", "wrpkru", "serialize", "ud0", "prefetchw",
    "prefetch",
    "nop", "endbr32", "endbr64", "lfence", "mfence", "sfence" /* rm != 0 */, "vbroadcasti128",
    "mov" /* 8C with REX.R */, NULL
};
/* Capstone accepts, we do not: other vendors', virtualisation, TSX, AVX-512, FMA4, 3DNow!, SMX, SGX. */
static const char *const we_lack[] = {
    "vm*", "clgi", "stgi", "skinit", "invlpga", "invept", "invvpid", "encls", "enclu", "getsec",
    "femms", "montmul", "xcrypt*", "xsha*", "xstore*", "xbegin", "xabort", "xend", "xtest", "pcommit",
    "k*", "vfmadd*",
    "vfmsub*", "vfnm*", "vpermil2*", "vgather*", "vpgather*" /* without SIB */, "extrq",
    "insertq" /* /1../7 */,
    "xsaves*", "xrstors*", "rdrand", "rdseed" /* F2, F3 */, "vpextrq", "vpinsrq" /* 32-bit */,
    "swapgs" /* not 64 */,
    "vpsravd" /* VPSRAVQ is AVX-512 only */, NULL
};
/* Lengths that capstone gets wrong, or where it takes AMD's side (66 near branches in 64-bit mode). */
static const char *const length_differs[] = {
    "ud0", "ud1", "extrq", "insertq", "call", "jmp", "ret", "ja", "jae", "jb", "jbe", "je", "jg",
    "jge", "jl", "jle",
    "jne", "jno", "jnp", "jns", "jo", "jp", "js", NULL
};

static bool is_prefix(uint8_t b, int mode)
{
    return b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || (b >= 0x64 && b <= 0x67) || b == 0xf0 ||
        b == 0xf2 ||
           b == 0xf3 || (mode == 2 && (b & 0xf0) == 0x40);
}

/* Capstone takes 0F opcodes whatever 66/F2/F3 says: would it be the same instruction to us without them? */
static bool prefix_ignored(const uint8_t *b, int mode, const char *theirs)
{
    uint8_t s[15] = { 0 };
    struct dec_insn in;
    unsigned n = 0, i = 0;

    for (; i < 15 && is_prefix(b[i], mode); i++) {
        if (b[i] != 0x66 && b[i] != 0xf2 && b[i] != 0xf3) {
            s[n++] = b[i];
        }
    }
    memcpy(s + n, b + i, 15 - i);
    return dec_decode(s, 15, 0, mode, false, &in) == DEC_OK && in.map && same_name(in.row->name, theirs);
}

/* Capstone ignores VEX.W where it must be 0. */
static bool vex_w_ignored(const uint8_t *b, int mode, const char *theirs)
{
    uint8_t s[15];
    struct dec_insn in;
    unsigned i = 0;

    while (i < 12 && is_prefix(b[i], mode)) {
        i++;
    }
    memcpy(s, b, 15);
    s[i + 2] &= 0x7f;
    return b[i] == 0xc4 && dec_decode(s, 15, 0, mode, false, &in) == DEC_OK && same_name(in.row->name,
        theirs);
}

static bool excused_invalid(const struct dec_insn *in, const uint8_t *b, const char *theirs)
{
    if (in->lock) {
        return true; /* capstone allows LOCK on register destinations and with F2/F3 */
    }
    if (in->map == 0 && (in->opcode == 0x8e || in->opcode == 0x62)) {
        return true; /* MOV CS, AVX-512 */
    }
    if (in->map == 1 && in->opcode >= 0x20 && in->opcode <= 0x23) {
        return true; /* CR1, CR5... */
    }
    return (in->map == 1 && in->opcode == 0x0f) || in_list(theirs, we_lack) || prefix_ignored(b,
        in->mode, theirs) ||
           vex_w_ignored(b, in->mode, theirs);
}

/* In 16-bit mode capstone does not see mandatory prefixes at all. */
static bool beyond_capstone16(const uint8_t *b)
{
    unsigned i = 0;
    bool mandatory = false;

    for (; i < 14 && is_prefix(b[i], 0); i++) {
        mandatory |= b[i] == 0x66 || b[i] == 0xf2 || b[i] == 0xf3;
    }
    return mandatory && b[i] == 0x0f;
}

/* ---- comparison ---- */

static void fail(int mode, const uint8_t *b, const char *what, const struct dec_insn *in, const char *theirs,
                 unsigned their_len)
{
    if (++failures > 40) {
        return;
    }
    printf("%s, mode %d:", what, mode);
    for (int i = 0; i < 15; i++) {
        printf(" %02x", b[i]);
    }
    printf("\n  ours %s %u, capstone %s %u\n", in->row ? in->row->name : "-", in->len, theirs, their_len);
}

static void compare(int mode, const uint8_t *b)
{
    struct dec_insn in;
    enum dec_status st = dec_decode(b, 15, 0x1000, mode, false, &in);
    const uint8_t *p = b;
    size_t left = 15;
    uint64_t addr = 0x1000;
    bool theirs;
    cs_insn *ci = insns[mode];

    if (st == DEC_OK) {
        row_seen[in.row - insn_rows] = 1;
    }
    if (mode == 0 && beyond_capstone16(b)) {
        return;
    }
    theirs = cs_disasm_iter(handles[mode], &p, &left, &addr, ci);
    compared++;
    if (!theirs) {
        if (st == DEC_OK && !in_list(in.row->name, capstone_lacks)) {
            fail(mode, b, "only we decode", &in, "-", 0);
        }
    } else if (st != DEC_OK) {
        if (!excused_invalid(&in, b, strrchr(ci->mnemonic, ' ') ? strrchr(ci->mnemonic, ' ')
            + 1 : ci->mnemonic)) {
            fail(mode, b, "only capstone decodes", &in, ci->mnemonic, ci->size);
        }
        excused++;
    } else if (ci->size != in.len) {
        if (!in_list(in.row->name, length_differs)) {
            fail(mode, b, "length", &in, ci->mnemonic, ci->size);
        }
    } else if (!same_name(in.row->name, ci->mnemonic)) {
        fail(mode, b, "name", &in, ci->mnemonic, ci->size);
    }
}

/* Every opcode of the legacy maps with each prefix, REX.W, mod 0 and mod 3. */
static void all_legacy(int mode)
{
    static const uint8_t prefixes[] = { 0, 0x66, 0xf3, 0xf2 };

    for (unsigned n = 0; n < 4u * 4 * 256 * 256 * 2; n++) {
        unsigned modrm = n & 255, op = n >> 8 & 255, map = n >> 16 & 3, prefix = prefixes[n >> 18 & 3],
            w = n >> 20;
        uint8_t b[16] = { 0 };
        unsigned k = 0;

        if (modrm >> 6 == 1 || modrm >> 6 == 2 || (w && mode != 2) ||
            (map == 0 && (op == 0xc4 || op == 0xc5 || op == 0x62))) {
            continue;
        }
        if (prefix) {
            b[k++] = (uint8_t)prefix;
        }
        if (w) {
            b[k++] = 0x48;
        }
        if (map) {
            b[k++] = 0x0f;
        }
        if (map > 1) {
            b[k++] = map == 2 ? 0x38 : 0x3a;
        }
        b[k++] = (uint8_t)op;
        b[k++] = (uint8_t)modrm;
        memset(b + k, 0x12, 15 - k);
        compare(mode, b);
    }
}

static void all_vex(int mode)
{
    for (unsigned n = 0; n < 2u * 16 * 3 * 256 * 64; n++) {
        unsigned form = n & 63, op = n >> 6 & 255, bits = n >> 14 & 15, map = (n >> 18) % 3 + 1,
            v = (n >> 18) / 3;
        uint8_t b[15];

        memset(b, 0x12, 15);
        b[0] = 0xc4;
        b[1] = (uint8_t)(0xe0 | map);
        b[2] = (uint8_t)((bits >> 3) << 7 | (v ? 5 : 15) << 3 | (bits & 7));
        b[3] = (uint8_t)op;
        b[4] = (uint8_t)((form & 1 ? 0xc0 : 0) | (form >> 1 & 7) << 3 | (form >> 4 & 1) << 2 |
            (form >> 5 & 1));
        compare(mode, b);
    }
}

static void random_bytes(unsigned count)
{
    uint64_t s = 0x9e3779b97f4a7c15u;

    for (unsigned i = 0; i < count; i++) {
        uint8_t b[16];

        for (int k = 0; k < 16; k++) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            b[k] = (uint8_t)(s >> 56);
        }
        compare((int)(i % 3), b);
    }
}

static unsigned unreached_rows(void)
{
    static const uint8_t more[][15] = { { 0x41, 0x90 }, { 0x62, 0x08 }, { 0xc4, 0x08 }, { 0xc5, 0x08 } };
    unsigned n = 0;

    for (unsigned i = 0; i < 4; i++) {
        compare(i ? 1 : 2, more[i]);
    }
    for (unsigned i = 0; i < insn_row_count; i++) {
        const struct insn_row *r = &insn_rows[i];

        if (!row_seen[i]) {
            printf("row %u %s (map %u opcode %02x) is never reached\n", i, r->name, r->map, r->opcode);
            n++;
        }
    }
    return n;
}

int main(void)
{
    static const cs_mode modes[3] = { CS_MODE_16, CS_MODE_32, CS_MODE_64 };

    for (int mode = 0; mode < 3; mode++) {
        if (cs_open(CS_ARCH_X86, modes[mode], &handles[mode]) != CS_ERR_OK) {
            printf("cs_open failed\n");
            return 1;
        }
        insns[mode] = cs_malloc(handles[mode]);
    }
    for (int mode = 0; mode < 3; mode++) {
        all_legacy(mode);
        if (mode) {
            all_vex(mode);
        }
    }
    random_bytes(600000);
    failures += unreached_rows();
    printf("%lu compared, %lu excused, %u bad\n", compared, excused, failures);
    for (int mode = 0; mode < 3; mode++) {
        cs_free(insns[mode], 1);
        cs_close(&handles[mode]);
    }
    return failures != 0;
}
