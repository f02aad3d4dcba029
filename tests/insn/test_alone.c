/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_alone.c - see alone.h. */
#include <stdio.h>
#include <string.h>

#include "tests/insn/alone.h"

struct alone alone;

enum { CODE_AT = 0x2000 };

uint64_t alone_gpr(unsigned n)
{
    uint64_t v = 0x0102030405060708ull * (n + 1);

    return alone.mode == SM_64 ? v : (uint32_t)v;
}

uint32_t alone_ip(void)
{
    return snip_is16(alone.mode) ? CODE_AT : LIN_CODE + CODE_AT;
}

uint8_t *alone_data(uint32_t off)
{
    return alone.m->win + DATA_OFF + off;
}

uint8_t *alone_stack(uint32_t off)
{
    return alone.m->win + STACK_OFF + off;
}

void alone_start(enum snip_mode mode, const char *name)
{
    alone.mode = mode;
    alone.name = name;
    memset(&alone.in, 0, sizeof(alone.in));
    for (unsigned i = 0; i < (mode == SM_64 ? 16u : 8u); i++)
        alone.in.gpr[i] = alone_gpr(i);
    alone.in.gpr[R_RSP] = (snip_is16(mode) ? 0 : LIN_STACK) + 0x2000;
    alone.in.rip = alone_ip();
    alone.in.rflags = 0x202;
    ximg_init(alone.in.ximg);
    memset(alone_data(0), 0, DATA_SIZE);
    memset(alone_stack(0), 0, STACK_SIZE);
    machine_set_mode(alone.m, mode);
}

void alone_run(const char *bytes, unsigned len)
{
    uint8_t code[64];

    memset(code, 0xcc, sizeof(code));
    memcpy(code + 16, bytes, len);
    machine_write_code(alone.m, CODE_OFF + CODE_AT - 16, code, sizeof(code));
    machine_run(alone.m, alone.mode, &alone.in, &alone.out);
    alone.len = len;
    alone.cases++;
}

void alone_check(bool ok, const char *what, unsigned long long got,
                 unsigned line)
{
    if (ok)
        return;
    alone.failed++;
    printf("%s (%s), line %u: not %s; %#llx; ended by %d at %#llx\n",
           alone.name, snip_mode_names[alone.mode], line, what, got,
           alone.out.vector, (unsigned long long)alone.out.rip);
}

int main(int argc, char **argv)
{
    const struct machine_opts *o =
        machine_opts_find(argc > 1 ? argv[1] : "default");

    if (!o)
        return 2;
    alone.m = machine_new(o);
    alone.c = alone.m->c;
    snip_ldt = true;
    alone_system();
    alone_real();
    printf("%u cases, %u checks failed\n", alone.cases, alone.failed);
    return alone.failed != 0;
}
