/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_opcodes.c - what is not an instruction: every opcode of every map with
 * every prefix and kind of ModRM that the decoder refuses must raise #UD on the
 * host too, and the 15-byte limit.
 *
 *   test_opcodes MACHINE [mode]
 *
 * Opcodes of extensions that xbt does not offer are left out where the host has
 * them: listed in foreign().
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/insn/gen.h"

struct tally {
    unsigned long refused, foreign, executed;
};

/* Extensions without rows that a host may have.  op: the first byte, a prefix
 * maybe. */
static bool foreign(const uint8_t *op, bool vex, unsigned map, unsigned opcode,
                    unsigned modrm)
{
    bool mem = modrm < 0xc0;

    if (!vex && map == 0)
        return opcode == 0x62 ||
               (opcode == 0x8f && (modrm & 0x38)); /* AVX-512; XOP */
    if (vex && map == 1)                           /* AVX-512 mask registers */
        return (opcode >= 0x41 && opcode <= 0x4b) ||
               (opcode >= 0x90 && opcode <= 0x93) || opcode == 0x98 ||
               opcode == 0x99;
    if (vex && map == 2) /* AVX-VNNI, AVX-IFMA, AVX-NE-CONVERT, AMX, SHA512,
                            SM3, SM4, CMPccXADD */
        return opcode == 0x49 || opcode == 0x4b ||
               (opcode >= 0x50 && opcode <= 0x5f) || opcode == 0x6c ||
               (opcode >= 0x70 && opcode <= 0x7f) ||
               (opcode >= 0xb0 && opcode <= 0xb5) || opcode == 0x72 ||
               (opcode >= 0xcb && opcode <= 0xcd) ||
               (opcode >= 0xd2 && opcode <= 0xda) ||
               (opcode >= 0xe0 && opcode <= 0xef);
    if (vex) /* masks, FMA4, SM3; AMD takes VPERMQ and VPERMPD with W = 0 */
        return opcode <= 1 || (opcode >= 0x30 && opcode <= 0x33) ||
               (opcode >= 0x48 && opcode <= 0x7f && opcode != 0x60 &&
                opcode != 0x61 && opcode != 0x62 && opcode != 0x63) ||
               opcode == 0xde;
    if (map == 1)
        return (opcode == 0x00 && mem &&
                (op[0] == 0xf0 || op[1] == 0xf0)) || /* AMD takes LOCK VERW */
               (opcode == 0x01 &&
                (!mem || (modrm & 0x38) ==
                             0x28)) || /* SVM, SNP, CET, RDPRU, CLZERO... */
               opcode == 0x0e ||
               opcode == 0x0f || opcode == 0x36 ||
               opcode == 0x37 || /* 3DNow!, SMX */
               opcode == 0x78 || opcode == 0x79 ||
               opcode == 0x1e || /* VMX; CET */
               opcode == 0xae || opcode == 0xc7 || opcode == 0xa6 ||
               opcode == 0xa7; /* CET, XSAVES, UMWAIT; Padlock */
    if (map == 2) /* VMX, CET, MOVDIR, ENQCMD, Key Locker, RAO-INT */
        return (opcode >= 0x80 && opcode <= 0x8f) || opcode == 0xf5 ||
               opcode == 0xf6 || opcode == 0xf8 || opcode == 0xf9 ||
               opcode == 0xfc || (opcode >= 0xd8 && opcode <= 0xdf);
    return map == 3 && opcode == 0xf0; /* HRESET */
}

static const struct {
    uint8_t byte[3], n;
    bool only64;
} prefixes[] = {
    {{0}, 0, false},          {{0x66}, 1, false},
    {{0xf2}, 1, false},       {{0xf3}, 1, false},
    {{0xf0}, 1, false},       {{0xf0, 0x66}, 2, false},
    {{0xf3, 0x66}, 2, false}, {{0xf2, 0xf0}, 2, false},
    {{0x48}, 1, true},        {{0x66, 0x48}, 2, true},
    {{0xf3, 0x48}, 2, true},  {{0xf0, 0x4c}, 2, true},
};
static const uint8_t modrms[] = {0x03, 0x0b, 0x13, 0x1b, 0x23, 0x2b, 0x33, 0x3b,
                                 0xc1, 0xca, 0xd3, 0xdc, 0xe5, 0xee, 0xf7, 0xf8,
                                 0xc8, 0xd0, 0xd8, 0xe0, 0xe8, 0xf0, 0xfb};

static void run_bytes(struct runner *r, enum snip_mode mode,
                      const uint8_t *bytes, unsigned len, const char *name)
{
    struct snippet s = {.name = name,
                        .mode = mode,
                        .code = bytes,
                        .len = len,
                        .microcoded = true,
                        .fl_ignore = FL_STATUS};
    struct snip_state st;

    runner_place(r, &s, 0);
    runner_random_state(r, mode, &st);
    st.gpr[R_RAX] =
        mode == SM_64
            ? ~0ull
            : 0xffffffffu; /* no system call, should the host execute it */
    r->verbose = (unsigned)r->mismatches + 1;
    runner_compare(r, &s, &st);
}

/* One opcode, unless the decoder knows it or it is another's.  Memory forms are
 * [rBX]. */
static void try_opcode(struct runner *r, enum snip_mode mode,
                       const uint8_t *head, unsigned n, bool vex, unsigned map,
                       unsigned opcode, unsigned modrm, struct tally *t)
{
    uint8_t bytes[24];
    unsigned len = n;
    struct dec_insn in;
    char name[40];

    memcpy(bytes, head, n);
    bytes[len++] = (uint8_t)opcode;
    bytes[len++] = (uint8_t)modrm;
    memset(bytes + len, 0,
           sizeof(bytes) - len); /* a displacement and immediates */
    if (dec_decode(bytes, 15, LIN, gen_dec_mode(mode), false, &in) != DEC_UD)
        return;
    if (foreign(head, vex, map, opcode, modrm)) {
        t->foreign++;
        return;
    }
    t->refused++;
    snprintf(name, sizeof(name), "%smap %u opcode %02x", vex ? "vex " : "", map,
             opcode);
    run_bytes(r, mode, bytes, 15, name);
}

static void legacy_maps(struct runner *r, enum snip_mode mode, struct tally *t)
{
    static const uint8_t escape[4][2] = {{0},
                                         {0x0f},
                                         {0x0f, 0x38},
                                         {0x0f, 0x3a}};
    static const uint8_t escape_len[4] = {0, 1, 2, 2};

    for (unsigned p = 0; p < sizeof(prefixes) / sizeof(prefixes[0]); p++) {
        if (prefixes[p].only64 && mode != SM_64)
            continue;
        for (unsigned map = 0; map < 4; map++) {
            uint8_t head[8];
            unsigned n = prefixes[p].n;
            memcpy(head, prefixes[p].byte, n);
            memcpy(head + n, escape[map], escape_len[map]);
            n += escape_len[map];
            for (unsigned op = 0; op < 256; op++) {
                /* With more prefixes one register and one memory form of each
                 * are enough. */
                for (unsigned k = 0; k < sizeof(modrms); k += map >= 2 ? 8
                                                              : p      ? 5
                                                                       : 1)
                    try_opcode(r, mode, head, n, false, map, op, modrms[k], t);
            }
        }
    }
}

static void vex_maps(struct runner *r, enum snip_mode mode, struct tally *t)
{
    for (unsigned k = 0; k < 64; k++) {
        unsigned pp = k & 3, l = k >> 2 & 1, w = k >> 3 & 1,
                 vvvv = k & 16 ? 15 : 12, map = 1 + (k >> 5) * 1;
        for (unsigned m = map; m < 4; m += 2) {
            uint8_t head[3] = {0xc4, (uint8_t)(0xe0 | m),
                               (uint8_t)(w << 7 | vvvv << 3 | l << 2 | pp)};
            for (unsigned op = 0; op < 256; op += 1) {
                try_opcode(r, mode, head, 3, true, m, op, 0xc1 + (op & 7), t);
                try_opcode(r, mode, head, 3, true, m, op, 0x03, t);
            }
        }
    }
    /* Prefixes that VEX does not go with, reserved maps. */
    static const uint8_t bad[][5] = {{0x66, 0xc5, 0xf8}, {0xf2, 0xc5, 0xf8},
                                     {0xf3, 0xc5, 0xf8}, {0xf0, 0xc5, 0xf8},
                                     {0xc4, 0xe0, 0x78}, {0xc4, 0xe4, 0x78},
                                     {0xc4, 0xff, 0x78}};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (unsigned op = 0; op < 256; op += 3)
            try_opcode(r, mode, bad[i], 3, true, 1, op, 0xc1, t);
    }
    static const uint8_t rex[3] = {0x40, 0xc5, 0xf8};
    if (mode == SM_64)
        try_opcode(r, mode, rex, 3, true, 1, 0x58, 0xc1, t);
}

/* 15 bytes are an instruction, 16 are #GP(0), whatever comes behind (SDM vol.
 * 2, 2.3.11). */
static void lengths(struct runner *r, enum snip_mode mode)
{
    static const uint8_t pad[] = {0x66, 0x2e, 0x3e, 0x36, 0x26, 0x67, 0xf3};
    static const uint8_t insn[][8] = {{0x90},
                                      {0x01, 0xd8},
                                      {0x0f, 0xaf, 0xc3},
                                      {0x0f, 0x0b},
                                      {0x83, 0xc0, 0x12},
                                      {0x0f, 0x38, 0x00, 0xc1},
                                      {0xcc},
                                      {0xf4},
                                      {0xd9, 0xe8}};
    static const uint8_t insn_len[] = {1, 2, 3, 2, 3, 4, 1, 1, 2};

    for (unsigned i = 0; i < sizeof(insn_len); i++) {
        for (unsigned total = 13; total <= 18; total++) {
            for (unsigned k = 0; k < sizeof(pad); k++) {
                uint8_t bytes[24];
                unsigned n = total - insn_len[i];
                for (unsigned j = 0; j < n; j++)
                    bytes[j] =
                        pad[(j * (k + 1)) % sizeof(pad)] == 0xf3 && i == 5
                            ? 0x2e
                            : pad[(j * (k + 1)) % sizeof(pad)];
                memcpy(bytes + n, insn[i], insn_len[i]);
                run_bytes(r, mode, bytes, total, "length");
            }
        }
    }
}

/*
 * An instruction whose last bytes are in an unmapped page (16-bit modes: beyond
 * the limit of CS): the fault is the instruction's, CR2 the page's first byte.
 * That it is too long or undefined is known from the bytes there are.
 */
static void fetch_faults(struct runner *r, enum snip_mode mode)
{
    static const struct {
        uint8_t bytes[16];
        unsigned len;
    } insns[] = {
        {{0x01, 0xd8}, 2},
        {{0x81, 0xc3, 1, 2, 3, 4}, 6},
        {{0x0f, 0x0b}, 2},
        {{0x0f, 0x38, 0x00, 0xc1}, 4},
        {{0xe8, 0, 0, 0, 0}, 5},
        {{0x74, 0x10}, 2},
        {{0xf0, 0x01, 0xd8}, 3},
        {{0x69, 0xc3, 1, 2, 3, 4}, 6},
        {{0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90}, 15},
        {{0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90}, 16},
    };
    uint32_t end = snip_is16(mode) ? 0x10000 : CODE_SIZE;

    for (unsigned i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
        for (unsigned here = 1; here <= insns[i].len; here++) {
            struct snippet s = {
                .name = "fetch", .mode = mode, .code = insns[i].bytes, .len = here,
                .at = CODE_OFF + end - here, .fl_ignore = FL_STATUS,
            };
            struct snip_state st;
            memcpy(native_win + s.at, insns[i].bytes, here);
            machine_write_code(r->m, s.at, insns[i].bytes, here);
            if (snip_is16(mode)) {
                memcpy(native_win + end, insns[i].bytes + here, insns[i].len - here);
                machine_write_code(r->m, end, insns[i].bytes + here, insns[i].len - here);
            }
            runner_random_state(r, mode, &st);
            st.rflags &= ~(uint64_t)FL_ZF;
            r->verbose = (unsigned)r->mismatches + 1;
            runner_compare(r, &s, &st);
        }
    }
}

int main(int argc, char **argv)
{
    const char *machine = argc > 1 ? argv[1] : "default",
               *only = argc > 2 ? argv[2] : NULL;
    static const enum snip_mode fetch[] = {SM_64, SM_COMPAT, SM_32, SM_16, SM_REAL, SM_V86};
    static const enum snip_mode modes[] = {SM_64, SM_COMPAT, SM_16};
    struct runner r;

    runner_init(&r, machine, 1);
    for (unsigned i = 0; i < 3; i++) {
        struct tally t = {0};
        if (!native_has_mode(modes[i]) ||
            (only && strcmp(only, snip_mode_names[modes[i]]) != 0))
            continue;
        legacy_maps(&r, modes[i], &t);
        vex_maps(&r, modes[i], &t);
        lengths(&r, modes[i]);
        printf("%s: %lu refused, %lu of extensions that are not offered\n",
               snip_mode_names[modes[i]], t.refused, t.foreign);
        if (t.refused < 5000) {
            printf("too few: the list of extensions has grown too wide\n");
            r.mismatches++;
        }
    }
    for (unsigned i = 0; i < sizeof(fetch) / sizeof(fetch[0]); i++) {
        if (native_has_mode(fetch[i]) && (!only || strcmp(only, snip_mode_names[fetch[i]]) == 0))
            fetch_faults(&r, fetch[i]);
    }
    return runner_finish(&r, machine);
}
