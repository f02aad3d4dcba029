/* SPDX-License-Identifier: GPL-2.0-or-later */
/* code.c - what hostile guests execute; see world.h.  Real code: this program's own, and the BIOS where it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/hostile/world.h"
#include "tests/insn/gen.h"

static uint8_t *real[2];        /* 16 and 32-bit, 64-bit */
static size_t real_size[2];

static void load(unsigned which, const char *path)
{
    FILE *f = fopen(path, "rb");

    if (!f)
        return;
    real[which] = malloc(1 << 20);
    if (real[which])
        real_size[which] = fread(real[which], 1, 1 << 20, f);
    fclose(f);
}

void code_init(void)
{
    load(0, "/usr/share/seabios/bios-256k.bin");
    load(1, "/proc/self/exe");
}

static unsigned put_random(uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)w_rand();
    return n;
}

/* A piece of real code, some bytes changed. */
static unsigned put_real(uint8_t *p, unsigned n, unsigned mode)
{
    unsigned which = mode == 2;

    if (real_size[which] < 4096)
        return put_random(p, n);
    memcpy(p, real[which] + w_rand() % (real_size[which] - 2048), n);
    for (unsigned k = w_pick(4); k; k--)
        p[w_pick(n)] = (uint8_t)w_rand();
    return n;
}

/* Prefixes in any number, now and then. */
static unsigned put_prefixes(uint8_t *p)
{
    static const uint8_t prefixes[] = { 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x48 };
    unsigned n = w_chance(5) ? w_pick(4) : 0;

    for (unsigned i = 0; i < n; i++)
        p[i] = prefixes[w_pick(sizeof(prefixes))];
    return n;
}

/* One instruction of a random row. */
static unsigned put_row(uint8_t *p, unsigned mode)
{
    static const enum snip_mode modes[3] = { SM_16, SM_32, SM_64 };
    struct gen_insn g;
    unsigned n = put_prefixes(p);

    for (unsigned attempt = 0; attempt < 20; attempt++) {
        const struct insn_row *row = &insn_rows[w_pick(insn_row_count)];
        if (w_chance(70) && row->cls != CL_HELPER)      /* what C code does is of most interest */
            continue;
        if (gen_encode(&world.rng, row, modes[mode], 0x8000, &g)) {
            memcpy(p + n, g.bytes, g.len);
            return n + g.len;
        }
    }
    return n;
}

void code_fill(uint8_t *p, unsigned n, unsigned mode)
{
    uint8_t buf[2048];

    for (unsigned done = 0, len; done < n; done += len) {
        unsigned kind = w_pick(20);
        if (kind < 14)
            len = put_row(buf, mode);
        else if (kind < 18)
            len = put_real(buf, 1 + w_pick(100), w_chance(90) ? mode : w_pick(3));
        else
            len = put_random(buf, 1 + w_pick(20));
        if (len > n - done)
            len = n - done;
        memcpy(p + done, buf, len);
    }
}
