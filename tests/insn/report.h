/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * report.h - what test_rows ran, row by row, as the table in docs/coverage.md.
 */
#ifndef INSN_REPORT_H
#define INSN_REPORT_H

#include "tests/insn/gen.h"

struct row_count {
    unsigned forms, cases; /* of one row in one mode */
};

/* "add [66 0f 58 /1] mem" */
void report_name(const struct insn_row *row, char *buf, size_t n);
/* Write the table between the marks in the file anew, or with `check` compare
 * it.  False: it is not that. */
bool report_table(const char *path, bool check,
                  const struct row_count (*count)[SM_COUNT]);

#endif
