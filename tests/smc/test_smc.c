/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_smc.c - code that changes code: into the running block, the next, a linked one, through an alias, across a page
 * boundary, by string instructions, by a device.  The host says what must happen; each case is run several times so
 * that blocks are translated, linked and entered through the jump cache before they are changed.
 *
 * All snippets are 64-bit code.  r12 holds the address of the snippet, r13 that of its alias.
 */
#include <stdio.h>
#include <string.h>

#include "tb-store/stats.h"
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

static void prepare(struct snip_state *st, const struct snippet *s)
{
    st->gpr[R_R12] = LIN + s->at;
    st->gpr[R_R13] = LIN + ALIAS_OFF + s->at;
    st->gpr[R_RAX] = st->gpr[R_RDX] = 0;
    st->rflags = 0x202;
}

static void run_case(struct runner *r, const struct entry *e, unsigned tail)
{
    struct snippet s = { .name = rel(&e->name), .mode = SM_64, .code = rel(&e->start), .fl_ignore = e->ignore };
    struct snip_state st;

    s.len = (unsigned)((const uint8_t *)rel(&e->end) - s.code);
    runner_place(r, &s, tail);
    for (unsigned k = 0; k < 4; k++) {
        runner_random_memory(r);
        runner_random_state(r, SM_64, &st);
        prepare(&st, &s);
        if (k == 2) {
            machine_new_page_ids(r->m); /* blocks of two pages must not wait for their old ones */
        }
        runner_compare(r, &s, &st);     /* the code stays as the last run left it, on both sides */
    }
}

/* The machine changes code behind the vCPU's back. */
static void run_device(struct runner *r)
{
    static const uint8_t one[] = { 0xb8, 1, 0, 0, 0 }, two[] = { 0xb8, 2, 0, 0, 0 }; /* mov eax, 1 / 2 */
    struct snippet s = { .name = "device", .mode = SM_64, .code = one, .len = sizeof(one) };
    struct snip_state st;

    runner_place(r, &s, 0);
    for (unsigned k = 0; k < 6; k++) {
        runner_random_memory(r);
        runner_random_state(r, SM_64, &st);
        runner_compare(r, &s, &st);
        s.code = k & 1 ? one : two;
        memcpy(native_win + s.at, s.code, s.len);
        machine_write_code(r->m, s.at, s.code, s.len);
    }
}

/* What the cases are about did happen, or did not. */
static int check_counts(const struct runner *r, const char *machine)
{
    uint64_t live = machine_stat(r->m, ST_LIVE_IMMEDIATES), equal = machine_stat(r->m, ST_EQUAL_STORES);
    bool bad = strcmp(machine, "default") == 0 ? live < 100 || equal < 1000
               : strcmp(machine, "no-live-immediates") == 0 ? live != 0 || equal < 1000
               : strcmp(machine, "no-equal-stores") == 0 && equal != 0;

    if (bad) {
        printf("%s: %llu immediates in memory, %llu equal stores\n", machine, (unsigned long long)live,
               (unsigned long long)equal);
    }
    return bad;
}

int main(int argc, char **argv)
{
    const char *machine = argc > 1 ? argv[1] : "default", *only = argc > 2 ? argv[2] : NULL;
    struct runner r;

    runner_init(&r, machine, 1);
    for (const struct entry *e = snippets_start; e < snippets_end; e++) {
        if (only && strcmp(only, rel(&e->name)) != 0)
            continue;
        unsigned len = (unsigned)((const uint8_t *)rel(&e->end) - (const uint8_t *)rel(&e->start));
        run_case(&r, e, 0);
        for (unsigned tail = 1; tail < len; tail++)      /* the page boundary everywhere in it */
            run_case(&r, e, tail);
    }
    run_device(&r);
    int status = runner_finish(&r, machine);
    return only ? status : status | check_counts(&r, machine);
}
