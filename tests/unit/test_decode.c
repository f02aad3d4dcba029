/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_decode.c - the decoder, one line a case: mode, bytes, expected text (test_decode_env.h).
 * Text: name.opsize, then operands as where:bytes and access (r, w, u = both, c = conditional); h0..h3 are
 * AH..BH, memory is [segment:base+index*scale+disp] with a16/a32 for address sizes below the mode's 64.
 */
#include <stdlib.h>
#include <time.h>
#include "tests/unit/test_decode_env.h"

static const struct {
    int mode;           /* 16, 32, 64; 86 = 16-bit code in real or v86 mode */
    const char *bytes;
    const char *text;
} cases[] = {
#include "tests/unit/test_decode_cases.inc"
};

static size_t parse_hex(const char *s, uint8_t *out)
{
    size_t n = 0;
    char *end;

    for (;;) {
        unsigned long v = strtoul(s, &end, 16);

        if (end == s) {
            return n;
        }
        out[n++] = (uint8_t)v;
        s = end;
    }
}

static int mode_of(int bits)
{
    return bits == 64 ? 2 : bits == 32 ? 1 : 0;
}

static int check_case(unsigned i)
{
    uint8_t b[32];
    struct dec_insn in;
    struct text t;
    size_t n = parse_hex(cases[i].bytes, b);
    bool real = cases[i].mode == 86;
    enum dec_status st = dec_decode(b, n, 0x1000, mode_of(cases[i].mode), real, &in);
    const char *got = insn_text(st, &in, &t);

    if (strcmp(got, cases[i].text)) {
        printf("%d-bit %s:\n  want %s\n  got  %s\n", cases[i].mode, cases[i].bytes, cases[i].text, got);
        return 1;
    }
    if (st == DEC_OK && in.len != n) {
        printf("%d-bit %s: length %u, want %zu\n", cases[i].mode, cases[i].bytes, in.len, n);
        return 1;
    }
    /* One byte less must be DEC_SHORT, whatever the instruction. */
    if (st == DEC_OK && dec_decode(b, n - 1, 0x1000, mode_of(cases[i].mode), real, &in) != DEC_SHORT) {
        printf("%d-bit %s: not short without its last byte\n", cases[i].mode, cases[i].bytes);
        return 1;
    }
    return 0;
}

/* What the row promises to its readers. */
static int check_row(unsigned i)
{
    const struct insn_row *r = &insn_rows[i];
    const char *why = NULL;

    if ((r->fl_undef & ~r->fl_write) || ((r->fl_read | r->fl_write) & ~FL_STATUS)) {
        why = "flag masks";
    } else if ((r->cls == CL_HELPER || r->cls == CL_STRING || r->helper == help_pause) != (r->helper != NULL)) {
        why = "helper column";
    } else if (r->cls == CL_HELPER && (r->fl_read | r->fl_write) && !(r->attr & IA_SYNCFL)) {
        why = "helper with flags lacks IA_SYNCFL";
    } else if ((r->attr & IA_FLDEP) && !r->fl_write) {
        why = "IA_FLDEP without flags";
    } else if ((r->attr & IA_VEX) && (r->map == 0 || r->pfx == PX_ANY)) {
        why = "VEX row without map or prefix";
    } else if (r->feat >= F_COUNT || r->map > 3) {
        why = "range";
    }
    if (why) {
        printf("row %u %s (map %u opcode %02x): %s\n", i, r->name, r->map, r->opcode, why);
    }
    return why != NULL;
}

/* A fallback row must follow TZCNT and LZCNT (x86_insns.inc). */
static int check_fallback(const char *bytes, const char *fallback)
{
    uint8_t b[15];
    struct dec_insn in;

    if (dec_decode(b, parse_hex(bytes, b), 0, 2, false, &in) != DEC_OK || strcmp(in.row[1].name, fallback)) {
        printf("%s is not followed by %s\n", bytes, fallback);
        return 1;
    }
    return 0;
}

/* Limits: 15 bytes decode, 16 do not; running out of bytes is told apart. */
static int check_limits(void)
{
    uint8_t b[20];
    struct dec_insn in;
    int bad = 0;

    memset(b, 0x66, sizeof(b));
    bad |= dec_decode(b, 20, 0, 2, false, &in) != DEC_TOO_LONG;
    bad |= dec_decode(b, 14, 0, 2, false, &in) != DEC_SHORT;
    b[14] = 0x90;
    bad |= dec_decode(b, 20, 0, 2, false, &in) != DEC_OK || in.len != 15;
    b[13] = 0x81;
    b[14] = 0xc0;
    bad |= dec_decode(b, 20, 0, 2, false, &in) != DEC_TOO_LONG;
    if (bad) {
        printf("limits\n");
    }
    return bad;
}

static const char *differ(const uint8_t *code)
{
    struct dec_insn fast, slow;

    memset(&fast, 0, sizeof(fast));
    memset(&slow, 0, sizeof(slow));
    if (dec_decode(code, 15, 0x1234, 2, false, &fast) != DEC_OK || fast.len == 15) {
        return NULL;
    }
    if (dec_decode(code, fast.len, 0x1234, 2, false, &slow) != DEC_OK) {
        return "refused";
    }
    return memcmp(&fast, &slow, sizeof(fast)) ? "another instruction" : NULL;
}

/* With 15 bytes at hand most instructions of 64-bit code take a path of their own; with just their own bytes none does. */
static int check_usual(void)
{
    static const uint8_t starts[][3] = { { 0 }, { 0x66 }, { 0x48 }, { 0x45 }, { 0x66, 0x4f }, { 0x48, 0x66 }, { 0xf3 },
                                         { 0x64 }, { 0xf0 }, { 0x67 }, { 0x40, 0x42 } };
    uint64_t rnd = 88172645463325252ull;
    int bad = 0;

    for (unsigned i = 0; i < 400000; i++) {
        const uint8_t *start = starts[i % (sizeof(starts) / sizeof(starts[0]))];
        uint8_t code[16], *p = code;
        const char *what;

        while (*start && p < code + 2) {
            *p++ = *start++;
        }
        if (i & 0x800) {
            *p++ = 0x0f;
        }
        *p++ = (uint8_t)(i >> 3);
        for (; p < code + sizeof(code); p++) {
            rnd ^= rnd << 13;
            rnd ^= rnd >> 7;
            rnd ^= rnd << 17;
            *p = (uint8_t)(rnd >> 32);
        }
        what = differ(code);
        if (what) {
            printf("%02x %02x %02x %02x %02x: %s with no bytes behind it\n", code[0], code[1], code[2], code[3], code[4], what);
            bad++;
        }
    }
    return bad;
}

static void report_speed(void)
{
    static const uint8_t code[] = {
        0x55, 0x48, 0x89, 0xe5, 0x48, 0x8b, 0x44, 0x24, 0x08, 0x83, 0xc0, 0x01, 0x0f, 0x84, 1, 2, 3, 4,
        0x66, 0x0f, 0x6f,
        0x07, 0xe8, 0, 0, 0, 0, 0xc5, 0xfd, 0x6f, 0x07, 0xf2, 0x0f, 0x58, 0xc1, 0xc3, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0,
    };
    struct timespec a, z;
    struct dec_insn in;
    unsigned n = 0;

    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int rep = 0; rep < 20000; rep++) {
        for (size_t i = 0; i < 36; i += in.len, n++) {
            dec_decode(code + i, 15, i, 2, false, &in);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &z);
    printf("%.1f ns per instruction\n",
           ((double)(z.tv_sec - a.tv_sec) * 1e9 + (double)(z.tv_nsec - a.tv_nsec)) / n);
}

int main(void)
{
    int bad = 0;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bad += check_case(i);
    }
    for (unsigned i = 0; i < insn_row_count; i++) {
        bad += check_row(i);
    }
    bad += check_fallback("f3 0f bc c1", "bsf") + check_fallback("f3 0f bd c1", "bsr") + check_limits() + check_usual();
    printf("%zu cases, %u rows, %d bad\n", sizeof(cases) / sizeof(cases[0]), insn_row_count, bad);
    report_speed();
    return bad != 0;
}
