/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz.c - random programs on the host and under the engine; a difference is shrunk to the fewest instructions.
 *
 *   fuzz MACHINE SECONDS [seed]     seed 0: from the clock
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/fuzz/program.h"

#define RUNS_PER_PROGRAM 4

static uint8_t code[MAX_CODE + 256];

/* Run the program from the state that `rng` makes.  Returns true when both sides agree. */
static bool run(struct runner *r, struct program *p, uint64_t rng, unsigned tail, const char *name)
{
    struct snippet s = { .name = name, .mode = p->mode, .code = code, .len = MAX_CODE };
    struct snip_state st;
    uint64_t keep = r->rng;

    s.fl_ignore = p->fl_undef;
    s.fl_ignore_early = p->fl_undef_any;
    s.generated = true;                       /* junk may be a system call that Linux emulates, or leave flags undefined */
    s.microcoded = p->microcoded;
    uint32_t at = runner_next_place(r, &s, tail);
    s.len = program_emit(p, LIN + at, code);
    if (s.len > MAX_CODE)
        return true;
    runner_place_at(r, &s, at);
    r->rng = rng;
    runner_random_memory(r);
    program_state(r, p, &st);
    r->rng = keep;
    return runner_compare(r, &s, &st);
}

static void shrink(struct runner *r, struct program *p, uint64_t rng, unsigned tail)
{
    bool again = true;

    r->verbose = 0;
    while (again) {
        again = false;
        for (unsigned i = 0; i < p->n; i++) {
            if (p->item[i].dropped)
                continue;
            p->item[i].dropped = true;
            if (!program_valid(p) || run(r, p, rng, tail, "shrink"))
                p->item[i].dropped = false;
            else
                again = true;
        }
    }
    r->verbose = ~0u;
    run(r, p, rng, tail, "shrunk");
}

static void show(const struct program *p)
{
    for (unsigned i = 0; i < p->n; i++)
        printf("%s%s", i ? " " : "  program: ", p->item[i].name);
    printf("\n");
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    const char *machine = argc > 1 ? argv[1] : "default";
    double limit = argc > 2 ? atof(argv[2]) : 5, start;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
    static struct program p;
    struct runner r;
    unsigned programs = 0, bad = 0;

    if (!seed)
        seed = (uint64_t)time(NULL);
    printf("fuzz %s, seed %llu\n", machine, (unsigned long long)seed);
    runner_init(&r, machine, seed);
    for (start = now(); now() - start < limit && bad < 10; programs++) {
        enum snip_mode mode = programs % 3 == 2 ? (programs & 1 ? SM_32 : SM_COMPAT) : SM_64;
        program_make(&r, &p, mode, 1 + (unsigned)(runner_rand(&r) >> 33) % 64);
        if (!program_valid(&p))
            continue;
        unsigned tail = runner_rand(&r) % 4 == 0 ? 1 + (unsigned)(runner_rand(&r) % 200) : 0;
        r.verbose = 1;
        r.mismatches = 0;
        for (unsigned k = 0; k < RUNS_PER_PROGRAM; k++) {
            uint64_t rng = runner_rand(&r) | 1;
            if (run(&r, &p, rng, tail, "program"))
                continue;
            bad++;
            printf("DIFFERENCE in program %u\n", programs);
            show(&p);
            shrink(&r, &p, rng, tail);
            break;
        }
    }
    printf("%u programs, %u differ\n", programs, bad);
    runner_finish(&r, machine);
    return bad ? 1 : 0;
}
