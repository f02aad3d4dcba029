/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_smoke.c - hand-written snippets (smoke_snippets.S), each from several random states, on the host and under the
 * engine run in the way named on the command line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/insn/runner.h"

struct entry {
    int32_t name, mode;
    uint32_t ignore;
    int32_t start, end;
};
extern const struct entry snippets_start[], snippets_end[];

static const void *rel(const int32_t *field)
{
    return (const char *)field + *field;
}

int main(int argc, char **argv)
{
    const char *machine = argc > 1 ? argv[1] : "default", *only = argc > 2 ? argv[2] : NULL;
    unsigned rounds = argc > 3 ? (unsigned)atoi(argv[3]) : 20;
    struct runner r;
    struct snip_state st;

    runner_init(&r, machine, 1);
    for (const struct entry *e = snippets_start; e < snippets_end; e++) {
        struct snippet s = { .name = rel(&e->name), .mode = (enum snip_mode)e->mode, .code = rel(&e->start),
                             .fl_ignore = e->ignore };
        s.len = (unsigned)((const uint8_t *)rel(&e->end) - s.code);
        if (only && strcmp(only, s.name) != 0)
            continue;
        for (unsigned k = 0; k < rounds; k++) {
            if (k % 4 == 0)
                runner_place(&r, &s, k % 8 == 4 ? 1 + k % 13 : 0);
            runner_random_memory(&r);
            runner_random_state(&r, s.mode, &st);
            runner_compare(&r, &s, &st);
            if (s.mode == SM_32) {
                s.mode = SM_COMPAT;
                runner_random_memory(&r);
                runner_compare(&r, &s, &st);
                s.mode = SM_32;
            }
        }
    }
    return runner_finish(&r, machine);
}
