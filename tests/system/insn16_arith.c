/* SPDX-License-Identifier: GPL-2.0-or-later */
/* insn16_arith.c - decimal adjustment, shifts, multiplication and division in real mode; see insn16.c. */
#include "insn16.h"

static void finished(u32 len)
{
    eq(R->vector, END);
    eq(R->ip, len + 2);
}

/* DAA, DAS: all of AL, AF and CF (SDM vol. 2). */
static void decimal(u32 op, u32 al, u32 flags)
{
    u32 out = 0, r = al;
    int sub = op == 0x2f;

    if ((al & 15) > 9 || (flags & AF)) {
        if (sub && (al < 6 || (flags & CF))) {
            out |= CF;
        }
        r = sub ? r - 6 : r + 6;
        out |= AF;
    }
    if (al > 0x99 || (flags & CF)) {
        r = sub ? r - 0x60 : r + 0x60;
        out |= CF;
    }
    r &= 0xff;
    out |= szp(r, 8);
    eq(R->eax & 0xffff, 0x1200 | r);
    eq(R->flags & (STATUS & ~OF), out);
}

static void ascii(u32 op, u32 ax, u32 flags)
{
    u32 adjust = (ax & 15) > 9 || (flags & AF);
    u32 r = adjust ? op == 0x37 ? ax + 0x106 : ax - 0x106 : ax;

    eq(R->eax & 0xffff, r & 0xff0f);
    eq(R->flags & (AF | CF), adjust ? AF | CF : 0);
}

static void test_bcd(void)
{
    static const u8 ops[] = { 0x27, 0x2f, 0x37, 0x3f };

    for (u32 k = 0; k < 4; k++) {
        for (u32 v = 0; v < 1024; v++) {
            u32 flags = (v & 256 ? AF : 0) | (v & 512 ? CF : 0), ax = (v * 0x301 << 8 & 0xff00) | (v & 0xff);
            set("\x90");
            CODE[0] = ops[k];
            R->eax = k < 2 ? 0x1200 | (v & 0xff) : ax;
            R->flags = flags | 2;
            go();
            finished(1);
            if (k < 2) {
                decimal(ops[k], v & 0xff, flags);
            } else {
                ascii(ops[k], ax, flags);
            }
        }
    }
    report("daa das aaa aas");
    for (u32 base = 0; base < 256; base += 5) {
        for (u32 al = 0; al < 256; al += 3) {
            set("\xd4\x0a");
            CODE[1] = (u8)base;
            R->eax = 0x7700 | al;
            go();
            if (!base) {
                eq(R->vector, 0);
                eq(R->ip, 0);
                eq(R->eax & 0xffff, 0x7700 | al);
                continue;
            }
            finished(2);
            eq(R->eax & 0xffff, al / base << 8 | al % base);
            eq(R->flags & (SF | ZF | PF), szp(al % base, 8));
            set("\xd5\x0a");
            CODE[1] = (u8)base;
            R->eax = al << 8 | base;
            go();
            eq(R->eax & 0xffff, (base + al * base) & 0xff);
            eq(R->flags & (SF | ZF | PF), szp(base + al * base, 8));
        }
    }
    report("aam aad");
}

/* ---- shifts ---- */

struct shifted {
    u32 value, flags, mask;     /* mask: flags that are defined */
};

static struct shifted shift(u32 kind, u32 v, u32 count, u32 bits, u32 flags)
{
    u32 ones = bits == 32 ? 0xffffffff : (1u << bits) - 1, top = 1u << (bits - 1), cf = flags & CF, old = v;
    struct shifted s = { v, flags & STATUS, STATUS };

    count &= 31;
    if (!count) {
        return s;
    }
    for (u32 n = kind == 2 || kind == 3 ? count % (bits + 1) : count; n; n--) {
        u32 msb = v & top ? 1 : 0, lsb = v & 1;
        switch (kind) {
        case 0: v = v << 1 | msb; cf = msb; break;
        case 1: v = v >> 1 | (lsb ? top : 0); cf = lsb; break;
        case 2: v = v << 1 | cf; cf = msb; break;
        case 3: v = v >> 1 | (cf ? top : 0); cf = lsb; break;
        case 4: case 6: v <<= 1; cf = msb; break;
        case 5: v >>= 1; cf = lsb; break;
        default: v = v >> 1 | (v & top); cf = lsb; break;
        }
        v &= ones;
    }
    s.value = v;
    if (kind >= 4) {
        s.flags = cf | szp(v, bits);
        s.mask = CF | SF | ZF | PF;
        if (count > bits && kind != 7) {
            s.mask &= ~CF;      /* undefined beyond the width */
        }
    } else {
        s.flags = (flags & STATUS & ~(CF | OF)) | cf;
        s.mask = STATUS & ~OF;
    }
    if (count == 1) {
        u32 of = kind == 0 || kind == 2 || kind == 4 || kind == 6 ? (v & top ? 1 : 0) ^ cf
                 : kind == 5 ? (old & top) != 0
                 : kind == 7 ? 0 : ((v & top) != 0) != ((v & top >> 1) != 0);
        s.mask |= OF;
        s.flags |= of ? OF : 0;
    }
    return s;
}

static void test_shifts(void)
{
    static const u32 values[] = { 0, 1, 0x80, 0x7f, 0x81, 0xff, 0x8000, 0x7fff, 0xa5a5, 0x80000000, 0x7fffffff,
                                  0xa5a5a5a5, 0xffffffff, 0x80000001 };

    for (u32 kind = 0; kind < 8; kind++) {
        for (u32 size = 0; size < 3; size++) {
            u32 bits = 8u << size, ones = bits == 32 ? 0xffffffff : (1u << bits) - 1;
            for (u32 count = 0; count < 36; count += count < 18 ? 1 : 2) {
                for (u32 i = count & 1; i < sizeof(values) / sizeof(values[0]); i += 2) {
                    u32 v = values[i] & ones, flags = i & 2 ? STATUS : AF, n = size == 2 ? 3 : 2;
                    struct shifted s = shift(kind, v, count, bits, flags);
                    if (size == 2) {
                        set("\x66\xd3\xc0");
                    } else {
                        set("\xd2\xc0");
                        CODE[0] = (u8)(0xd2 + size);
                    }
                    CODE[n - 1] = (u8)(0xc3 | kind << 3);       /* bl, bx, ebx */
                    R->ecx = 0xffffff00 | count;
                    R->ebx = (0x44444444 & ~ones) | v;
                    R->flags = flags | 2;
                    go();
                    finished(n);
                    eq(R->ebx, (0x44444444 & ~ones) | s.value);
                    eq(R->flags & s.mask, s.flags & s.mask);
                }
            }
        }
    }
    report("shifts");
}

/* ---- multiplication and division ---- */

static void divide(u32 op, u32 ax, u32 dx, u32 divisor, int word)
{
    int sign = op == 7, fault;
    int bits = word ? 16 : 8;
    u32 dividend = word ? dx << 16 | (ax & 0xffff) : ax & 0xffff, q = 0, rem = 0;

    divisor &= word ? 0xffff : 0xff;
    if (sign) {
        int n = word ? (int)dividend : (short)dividend, d = word ? (short)divisor : (signed char)divisor;
        u32 un = n < 0 ? -(u32)n : (u32)n, ud = d < 0 ? -(u32)d : (u32)d, uq = d ? un / ud : 0, top = 1u << (bits - 1);
        int negative = (n < 0) != (d < 0);
        fault = !d || (negative ? uq > top : uq >= top);
        q = negative ? -uq : uq;
        rem = d ? n < 0 ? -(un % ud) : un % ud : 0;
    } else {
        fault = !divisor || dividend / divisor >> bits;
        q = divisor ? dividend / divisor : 0;
        rem = divisor ? dividend % divisor : 0;
    }
    set("\xf6\xf3");
    CODE[0] = (u8)(0xf6 + word);
    CODE[1] = (u8)(0xc3 | op << 3);
    R->eax = ax;
    R->edx = dx;
    R->ebx = divisor;
    go();
    if (fault) {
        eq(R->vector, 0);
        eq(R->ip, 0);               /* of the instruction itself since the 286 */
        eq(R->eax, ax);
        eq(R->edx, dx);
        return;
    }
    finished(2);
    if (word) {
        eq(R->eax & 0xffff, q & 0xffff);
        eq(R->edx & 0xffff, rem & 0xffff);
    } else {
        eq(R->eax & 0xffff, (rem & 0xff) << 8 | (q & 0xff));
    }
}

static void multiply(u32 op, u32 a, u32 b, int word)
{
    u32 r, of;

    set("\xf6\xe3");
    CODE[0] = (u8)(0xf6 + word);
    CODE[1] = (u8)(0xc3 | op << 3);
    R->eax = a;
    R->ebx = b;
    go();
    finished(2);
    if (word) {
        r = op == 5 ? (u32)((int)(short)a * (short)b) : (a & 0xffff) * (b & 0xffff);
        of = op == 5 ? (int)r != (short)r : r >> 16 != 0;
        eq(R->eax & 0xffff, r & 0xffff);
        eq(R->edx & 0xffff, r >> 16);
    } else {
        r = op == 5 ? (u32)((int)(signed char)a * (signed char)b) & 0xffff : (a & 0xff) * (b & 0xff);
        of = op == 5 ? (int)(short)r != (signed char)r : r >> 8 != 0;
        eq(R->eax & 0xffff, r);
    }
    eq(R->flags & (CF | OF), of ? CF | OF : 0);
}

static void test_mul_div(void)
{
    static const u16 v[] = { 0, 1, 2, 0x7f, 0x80, 0x81, 0xff, 0x100, 0x3f80, 0x4000, 0x7f80, 0x7fff, 0x8000, 0x8001, 0xff80,
                             0xffff };
    const u32 n = sizeof(v) / sizeof(v[0]);

    for (u32 i = 0; i < n; i++) {
        for (u32 k = 0; k < n; k++) {
            for (int word = 0; word < 2; word++) {
                multiply(4, v[i], v[k], word);
                multiply(5, v[i], v[k], word);
                divide(6, v[i], v[(i + k) % n], v[k], word);
                divide(7, v[i], v[(i + k) % n], v[k], word);
                divide(7, v[i], v[i] & 0x8000 ? 0xffff : 0, v[k], word);
            }
        }
    }
    report("mul imul div idiv");
}

void test_arith(void)
{
    test_bcd();
    test_shifts();
    test_mul_div();
}
