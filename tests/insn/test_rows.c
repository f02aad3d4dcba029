/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_rows.c - every row of the instruction table, in random encodings, from random states, on the host and under the
 * engine.
 *
 *   test_rows MACHINE [encodings] [states] [seed] [mode] [row name] [docs/coverage.md [update]]
 *   test_rows --list     rows that are not compared with the host, and why
 */
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/insn/gen.h"
#include "tests/insn/report.h"

static bool host_is_amd(void)
{
    unsigned a, b, c, d;

    __cpuid(0, a, b, c, d);
    return b == 0x68747541;
}

struct totals {
    unsigned rows, forms, excluded, not_encoded, failed;
};

/* Flags that need not be as on the host.  Everywhere: those that MUL and its like leave alone on AMD processors; xbt
 * does not keep the old ones for them.  On other processors all that the manual calls undefined. */
static uint32_t flags_ignored(const struct insn_row *row)
{
    static const char *const names[] = { "mul", "imul", "div", "idiv", "tzcnt", "lzcnt", NULL };

    for (unsigned i = 0; names[i]; i++) {
        if (strcmp(row->name, names[i]) == 0)
            return row->fl_undef;
    }
    return host_is_amd() ? 0 : row->fl_undef;
}

/* One encoding of the form, from several states; each state has its memory operand somewhere else. */
static unsigned run_encoding(struct runner *r, const struct insn_row *row, enum snip_mode mode, const char *name,
                             const struct gen_form *f, unsigned states, unsigned *place)
{
    static const uint8_t nothing[16];
    struct snip_state st;
    struct gen_insn g;
    struct snippet s = { .name = name, .mode = mode, .code = nothing, .len = 15 };
    unsigned tail = runner_rand(r) % 8 == 0 ? 1 + (unsigned)(runner_rand(r) % 8) : 0, done = 0;

    /* The instruction's address must be known before its bytes: place first, then write them there. */
    uint32_t at = runner_next_place(r, &s, tail);
    gen_set_place((int)(*place % GP_COUNT));
    if (!gen_encode_form(r, row, mode, snip_is16(mode) ? at : LIN + at, f, &g))
        return 0;
    s.code = g.bytes;
    s.len = g.len;
    runner_place(r, &s, tail);
    s.fl_ignore = flags_ignored(row);
    s.microcoded = row->cls == CL_HELPER || strstr(row->name, "maskmov") || row->op[0].size == OS_T ||
                   (row->cls == CL_STRING && (row->opcode & 0xfe) == 0xa6);
    s.rep = row->cls == CL_STRING;
    s.early_push = row->cls == CL_CALL_IND || strcmp(row->name, "callf") == 0;
    s.sp16 = snip_is16(mode) && strcmp(row->name, "retf") == 0;
    s.early_regs = strcmp(row->name, "popa") == 0;
    for (unsigned k = 0; k < states; k++) {
        gen_set_place((int)((*place)++ % GP_COUNT));
        runner_random_memory(r);
        runner_random_state(r, mode, &st);
        if (gen_fix_state(r, &g, mode, &st)) {
            runner_compare(r, &s, &st);
            done++;
        }
    }
    return done;
}

/* Rows do not depend on each other: a failing one can be run alone. */
static uint64_t row_seed(const struct insn_row *row, const char *name, enum snip_mode mode, uint64_t seed)
{
    uint64_t h = seed * 0x9e3779b97f4a7c15ull + mode * 0x100001b3ull + row->attr;

    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
    return h | 1;
}

static void run_row(struct runner *r, const struct insn_row *row, enum snip_mode mode, unsigned encodings,
                    unsigned states, uint64_t seed, struct totals *t, struct row_count *count)
{
    unsigned long runs = r->runs, bad = r->mismatches;
    struct gen_form forms[MAX_FORMS];
    unsigned n = gen_forms(row, mode, forms), place = (unsigned)seed, cases = 0;
    char name[96];

    report_name(row, name, sizeof(name));
    r->rng = row_seed(row, name, mode, seed);
    r->verbose = (unsigned)bad + 1;
    for (unsigned i = 0; i < n; i++) {
        unsigned before = cases;
        for (unsigned k = 0; k < encodings || (cases == before && k < 20); k++)
            cases += run_encoding(r, row, mode, name, &forms[i], states, &place);
        t->forms += cases != before;
        count->forms += cases != before;
    }
    count->cases = cases;
    t->rows++;
    if (!cases) {
        t->not_encoded++;
        printf("NO CASE %s (%s)\n", name, snip_mode_names[mode]);
    }
    if (r->mismatches != bad) {
        t->failed++;
        printf("ROW %s (%s): %lu of %lu runs differ\n", name, snip_mode_names[mode], r->mismatches - bad,
               r->runs - runs);
    }
}

static void list_excluded(void)
{
    char name[96];

    for (unsigned i = 0; i < insn_row_count; i++) {
        const char *why = gen_excluded(&insn_rows[i], SM_64);
        if (why) {
            report_name(&insn_rows[i], name, sizeof(name));
            printf("%-32s %s\n", name, why);
        }
    }
}

int main(int argc, char **argv)
{
    const char *machine = argc > 1 ? argv[1] : "default";
    unsigned encodings = argc > 2 ? (unsigned)atoi(argv[2]) : 3, states = argc > 3 ? (unsigned)atoi(argv[3]) : 4;
    uint64_t seed = argc > 4 ? strtoull(argv[4], NULL, 0) : 1;
    const char *mode_name = argc > 5 ? argv[5] : "all", *only = argc > 6 && argv[6][0] ? argv[6] : NULL;
    static struct totals t[SM_COUNT];
    static struct row_count count[2048][SM_COUNT];
    const char *table = argc > 7 ? argv[7] : NULL;
    unsigned missing = 0;
    struct runner r;

    if (strcmp(machine, "--list") == 0) {
        list_excluded();
        return 0;
    }
    runner_init(&r, machine, seed);
    for (enum snip_mode mode = 0; mode < SM_COUNT; mode++) {
        if (!native_has_mode(mode) || (strcmp(mode_name, "all") != 0 && strcmp(mode_name, snip_mode_names[mode]) != 0))
            continue;
        for (unsigned i = 0; i < insn_row_count; i++) {
            const struct insn_row *row = &insn_rows[i];
            if (!gen_available(row, mode) || (only && strcmp(only, row->name) != 0))
                continue;
            if (gen_excluded(row, mode)) {
                t[mode].excluded++;
                continue;
            }
            run_row(&r, row, mode, encodings, states, seed, &t[mode], &count[i][mode]);
        }
        printf("%s: %u rows in %u forms compared, %u rows excluded, %u without a case, %u failed\n",
               snip_mode_names[mode], t[mode].rows, t[mode].forms, t[mode].excluded, t[mode].not_encoded,
               t[mode].failed);
    }
    for (enum snip_mode mode = 0; mode < SM_COUNT; mode++)
        missing += t[mode].not_encoded;
    if (table && !report_table(table, argc <= 8, (const struct row_count (*)[SM_COUNT])count)) {
        printf("the table in %s is not that of this run: add `update` to the command\n", table);
        missing++;
    }
    return runner_finish(&r, machine) || missing;
}
