/* SPDX-License-Identifier: GPL-2.0-or-later */
/* report.c - see report.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/insn/report.h"

#define MARK "<!-- made by test_insn_rows: everything below -->\n"

void report_name(const struct insn_row *row, char *buf, size_t n)
{
    static const char *const map[] = {"", "0f ", "0f38 ", "0f3a "};
    static const char *const pfx[] = {"", "66 ", "f3 ", "f2 ", ""};
    char ext[16] = "";

    if (row->modrm >= 0)
        snprintf(ext, sizeof(ext), " %02x", row->modrm);
    else if (row->ext >= 0)
        snprintf(ext, sizeof(ext), " /%d", row->ext);
    snprintf(buf, n, "%s [%s%s%s%02x%s]%s%s%s", row->name,
             row->attr & IA_VEX ? "vex " : "", pfx[row->pfx], map[row->map & 3],
             row->opcode, ext,
             row->modrm == -2   ? " mem"
             : row->modrm == -3 ? " reg"
                                : "",
             row->attr & IA_W0   ? " W0"
             : row->attr & IA_W1 ? " W1"
                                 : "",
             row->attr & IA_VEX_L0   ? " L0"
             : row->attr & IA_VEX_L1 ? " L1"
                                     : "");
}

/* The forms of a row in 64-bit mode (32-bit where there is no other): which
 * operands, sizes, lengths, prefixes. */
static void put_forms(FILE *f, const struct insn_row *row)
{
    static const char *const operand[] = {"", "reg", "same", "mem"};
    struct gen_form form[MAX_FORMS];
    unsigned n = gen_forms(row, gen_available(row, SM_64) ? SM_64 : SM_32,
                           form),
             seen = 0;
    static const char *const sizes[] = {"66", "W"};

    for (unsigned i = 0; i < n; i++) {
        unsigned bits = 1u << form[i].operands | (form[i].p66 ? 16 : 0) |
                        (form[i].w && !(row->attr & IA_W1) ? 32 : 0) |
                        (form[i].l && !(row->attr & IA_VEX_L1) ? 64 : 0) |
                        (form[i].lock ? 128 : 0) | (form[i].rep ? 256 : 0);
        seen |= bits;
    }
    for (unsigned i = 1; i < 4; i++) {
        if (seen >> i & 1)
            fprintf(f, " %s", operand[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (seen >> (4 + i) & 1)
            fprintf(f, " %s", sizes[i]);
    }
    fprintf(f, "%s%s%s", seen & 64 ? " L" : "", seen & 128 ? " LOCK" : "",
            seen & 256 ? " REP" : "");
}

static void put_row(FILE *f, const struct insn_row *row,
                    const struct row_count *count)
{
    char name[96];

    report_name(row, name, sizeof(name));
    fprintf(f, "| %s |", name);
    put_forms(f, row);
    for (enum snip_mode mode = 0; mode < SM_COUNT; mode++) {
        if (!gen_available(row, mode))
            fprintf(f, " | -");
        else if (gen_excluded(row, mode))
            fprintf(f, " | %c", gen_excluded_letter(gen_excluded(row, mode)));
        else
            fprintf(f, " | %u/%u", count[mode].cases, count[mode].forms);
    }
    fprintf(f, " |\n");
}

static void put_totals(FILE *f, const struct row_count (*count)[SM_COUNT])
{
    fprintf(f, "\n| mode | rows | compared with the host | forms | cases | not "
               "compared |\n|---|---|---|---|---|---|\n");
    for (enum snip_mode mode = 0; mode < SM_COUNT; mode++) {
        unsigned rows = 0, compared = 0, forms = 0, cases = 0;
        for (unsigned i = 0; i < insn_row_count; i++) {
            rows += gen_available(&insn_rows[i], mode);
            compared += count[i][mode].cases != 0;
            forms += count[i][mode].forms;
            cases += count[i][mode].cases;
        }
        fprintf(f, "| %s | %u | %u | %u | %u | %u |\n", snip_mode_names[mode],
                rows, compared, forms, cases, rows - compared);
    }
}

static void put_all(FILE *f, const struct row_count (*count)[SM_COUNT])
{
    fputs(MARK, f);
    put_totals(f, count);
    fprintf(f, "\nEach cell: cases/forms; `-`: the row does not exist in this "
               "mode; a letter: not compared, because\n\n");
    for (unsigned i = 0; gen_reasons[i].why; i++)
        fprintf(f, "- %c: %s\n", gen_reasons[i].letter, gen_reasons[i].why);
    fprintf(f, "\nForms: `same` one register for all operands; `66`, `W` "
               "further operand sizes; `L` 128 and 256 bits.\n");
    fprintf(f, "\n| row | forms | 64 | compat | 32 | 16 | real | v86 "
               "|\n|---|---|---|---|---|---|---|---|\n");
    for (unsigned i = 0; i < insn_row_count; i++)
        put_row(f, &insn_rows[i], count[i]);
}

static char *read_file(const char *path)
{
    static char text[1 << 20];
    FILE *f = fopen(path, "r");

    if (!f) {
        perror(path);
        return NULL;
    }
    text[fread(text, 1, sizeof(text) - 1, f)] = 0;
    fclose(f);
    return text;
}

bool report_table(const char *path, bool check,
                  const struct row_count (*count)[SM_COUNT])
{
    char *old = read_file(path), *mark = old ? strstr(old, MARK) : NULL,
         *now = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&now, &size);

    if (!mark || !f) {
        fprintf(stderr, "%s: the mark for the table is missing\n", path);
        return false;
    }
    put_all(f, count);
    fclose(f);
    bool same = strcmp(mark, now) == 0;
    if (!same && !check) {
        f = fopen(path, "w");
        if (!f ||
            fwrite(old, 1, (size_t)(mark - old), f) != (size_t)(mark - old) ||
            fputs(now, f) < 0 || fclose(f) != 0)
            perror(path);
        same = f != NULL;
    }
    free(now);
    return same;
}
