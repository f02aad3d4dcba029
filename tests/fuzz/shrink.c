/* SPDX-License-Identifier: GPL-2.0-or-later */
/* shrink.c - the smallest program and state that still differ; see lab.h. */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/lab.h"

static bool still_differs(struct lab *l, const struct trial *t)
{
    return !lab_agrees(l, t, false);
}

static void drop_items(struct lab *l, struct program *p, struct trial *best)
{
    static struct trial t;
    bool again = true;

    while (again) {
        again = false;
        for (unsigned i = 0; i < p->n; i++) {
            if (p->item[i].dropped)
                continue;
            p->item[i].dropped = true;
            t = *best;
            if (program_valid(p) && program_layout(p, best->at, &t) && still_differs(l, &t)) {
                *best = t;
                again = true;
            } else {
                p->item[i].dropped = false;
            }
        }
    }
}

static bool try_state(struct lab *l, struct trial *best, const struct trial *t)
{
    if (!still_differs(l, t))
        return false;
    *best = *t;
    return true;
}

/* What is not needed becomes what everybody expects. */
static void simplify_state(struct lab *l, struct trial *best)
{
    static struct trial t;
    uint8_t plain[XIMG_SIZE];

    t = *best;
    t.memory = 0;
    try_state(l, best, &t);
    t = *best;
    t.in.rflags = 0x202;
    try_state(l, best, &t);
    ximg_init(plain);
    t = *best;
    memcpy(t.in.ximg, plain, XIMG_SIZE);
    if (try_state(l, best, &t))
        return;
    for (unsigned at = 0; at < XIMG_SIZE; at += 16) {
        t = *best;
        memcpy(t.in.ximg + at, plain + at, 16);
        if (at != 512 && memcmp(t.in.ximg, best->in.ximg, XIMG_SIZE) != 0)
            try_state(l, best, &t);
    }
    for (unsigned i = 0; i < 16; i++) {
        t = *best;
        t.in.gpr[i] = 0;
        if (best->in.gpr[i])
            try_state(l, best, &t);
    }
}

static void store(struct lab *l, const struct trial *t, unsigned n, const char *origin)
{
    char path[512];
    uint32_t h = 0;

    for (unsigned i = 0; i < t[n - 1].len; i++)
        h = (h ^ t[n - 1].code[i]) * 0x01000193u;
    if (!l->save_dir)
        return;
    snprintf(path, sizeof(path), "%s/%s-%s-%08x.txt", l->save_dir, l->machine, snip_mode_names[t->mode], h);
    if (regress_write(path, t, n, origin))
        printf("  written to %s\n", path);
}

/* Only after others: which of them? */
static void shrink_sequence(struct lab *l, const struct trial *history, unsigned n, const char *origin)
{
    static struct trial seq[2 * ORACLE_BATCH], less[2 * ORACLE_BATCH];

    memcpy(seq, history, n * sizeof(*seq));
    if (lab_sequence_agrees(l, seq, n, false)) {
        printf("  not seen again; %s\n", origin);
        return;
    }
    for (unsigned i = 0; i + 1 < n;) {
        memcpy(less, seq, i * sizeof(*seq));
        memcpy(less + i, seq + i + 1, (n - i - 1) * sizeof(*seq));
        if (lab_sequence_agrees(l, less, n - 1, false)) {
            i++;
        } else {
            n--;
            memcpy(seq, less, n * sizeof(*seq));
        }
    }
    printf("  differs behind %u other programs\n", n - 1);
    lab_sequence_agrees(l, seq, n, true);
    store(l, seq, n, origin);
}

void shrink_failure(struct lab *l, const struct program *p, const struct trial *history, unsigned n,
                    const char *origin)
{
    static struct program q;
    static struct trial best;

    best = history[n - 1];
    if (!still_differs(l, &best)) {
        shrink_sequence(l, history, n, origin);
        return;
    }
    q = *p;
    drop_items(l, &q, &best);
    simplify_state(l, &best);
    drop_items(l, &q, &best);
    lab_agrees(l, &best, true);
    store(l, &best, 1, origin);
}
