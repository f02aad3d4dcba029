/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz.c - random programs on the host and under the engine; a difference is shrunk to the fewest instructions and
 * written as a file that `make check` replays.
 *
 *   fuzz [--machine M] [--seconds S] [--count PROGRAMS] [--seed N] [--mode 64|compat|32|16] [--save FOLDER]
 *   fuzz --replay FOLDER [--machine M]
 *
 * Without seconds or count: until stopped.  Seed 0: from the clock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/fuzz/lab.h"

#define STATES 8                /* runs of each program */
#define COUNT_EVERY 40          /* batches */
#define MAX_BAD 5

struct settings {
    const char *machine, *save, *replay;
    double seconds;
    unsigned long count;
    uint64_t seed;
    int mode;                   /* -1: all */
};

static struct program programs[ORACLE_BATCH / STATES];
static struct trial history[ORACLE_BATCH];

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum snip_mode choose_mode(const struct settings *o, unsigned long n)
{
    static const uint8_t order[8] = { SM_64, SM_64, SM_COMPAT, SM_64, SM_16, SM_64, SM_64, SM_32 };

    if (o->mode >= 0)
        return (enum snip_mode)o->mode;
    enum snip_mode m = (enum snip_mode)order[n & 7];
    return native_has_mode(m) ? m : SM_64;
}

/* Where the next program goes, perhaps across a page boundary. */
static uint32_t next_place(struct runner *r, enum snip_mode mode)
{
    struct snippet s = { .mode = mode, .len = MAX_CODE };
    unsigned tail = runner_rand(r) % 4 == 0 ? 1 + (unsigned)(runner_rand(r) % 250) : 0;

    return runner_next_place(r, &s, tail);
}

/* One program, STATES trials of it in the oracle's slots. */
static void make_trials(struct lab *l, struct program *p, unsigned slot, enum snip_mode mode)
{
    struct runner *r = &l->r;

    do
        program_make(r, p, mode, 1 + (unsigned)(runner_rand(r) >> 33) % 64);
    while (!program_valid(p));
    uint32_t at = next_place(r, mode);
    for (unsigned k = 0; k < STATES; k++) {
        struct trial *t = oracle_trial(l->oracle, slot + k);
        program_layout(p, at, t);
        program_state(r, p, &t->in);
        t->memory = (uint32_t)(runner_rand(r) >> 20);
        r->next_code = at + t->len + 3 * PAD;
    }
}

static void report_failure(struct lab *l, const struct settings *o, unsigned bad, unsigned long first)
{
    char origin[200];

    for (unsigned i = 0; i < ORACLE_BATCH; i++)
        history[i] = *oracle_trial(l->oracle, i);
    const struct program *p = &programs[bad / STATES];
    snprintf(origin, sizeof(origin), "--machine %s --seed %llu, program %lu", l->machine,
             (unsigned long long)o->seed, first + bad / STATES);
    printf("DIFFERENCE in program %lu\n  program:", first + bad / STATES);
    for (unsigned i = 0; i < p->n; i++)
        printf(" %s", p->item[i].name);
    printf("\n");
    fflush(stdout);
    shrink_failure(l, p, history, bad + 1, origin);
    fflush(stdout);
}

static int search(struct lab *l, const struct settings *o)
{
    double start = now();
    unsigned bad = 0;
    unsigned long n = 0, batches = 0;

    while (bad < MAX_BAD && (!o->seconds || now() - start < o->seconds) && (!o->count || n < o->count)) {
        for (unsigned i = 0; i < ORACLE_BATCH; i += STATES)
            make_trials(l, &programs[i / STATES], i, choose_mode(o, n + i / STATES));
        bool count = batches++ % COUNT_EVERY == 0;
        if (count)
            lab_count(l, true);
        int failed = lab_batch(l, ORACLE_BATCH);
        if (count)
            lab_count(l, false);
        if (failed >= 0) {
            report_failure(l, o, (unsigned)failed, n);
            bad++;
        }
        n += ORACLE_BATCH / STATES;
    }
    double mean = l->counted_trials ? (double)l->counted_insns / (double)l->counted_trials : 0;
    printf("%s, seed %llu: %lu programs, %lu runs, about %.1f million instructions (%.1f per run), %lu faults and "
           "traps, %lu overwrote themselves, %lu endless, %lu lost: %u differ\n", l->machine,
           (unsigned long long)o->seed, n, l->trials, mean * (double)l->trials / 1e6, mean, l->events,
           l->overwritten, l->hung, l->lost, bad);
    if (l->lost > 3 + l->trials / 100000) {
        printf("too many native runs were lost\n");
        return 1;
    }
    return bad ? 1 : 0;
}

static void usage(void)
{
    fprintf(stderr, "usage: fuzz [--machine M] [--seconds S] [--count N] [--seed N] [--mode M] [--save FOLDER]\n"
                    "       fuzz --replay FOLDER [--machine M]\n");
    exit(2);
}

static int mode_number(const char *name)
{
    for (int i = 0; i < SM_COUNT; i++) {
        if (strcmp(name, snip_mode_names[i]) == 0)
            return i;
    }
    if (strcmp(name, "all") != 0)
        usage();
    return -1;
}

static struct settings options(int argc, char **argv)
{
    struct settings o = { .machine = "default", .seed = 1, .mode = -1 };

    for (int i = 1; i < argc; i += 2) {
        const char *v = argv[i + 1];
        if (i + 1 >= argc)
            usage();
        if (strcmp(argv[i], "--machine") == 0)
            o.machine = v;
        else if (strcmp(argv[i], "--seconds") == 0)
            o.seconds = atof(v);
        else if (strcmp(argv[i], "--count") == 0)
            o.count = strtoul(v, NULL, 0);
        else if (strcmp(argv[i], "--seed") == 0)
            o.seed = strtoull(v, NULL, 0);
        else if (strcmp(argv[i], "--mode") == 0)
            o.mode = mode_number(v);
        else if (strcmp(argv[i], "--save") == 0)
            o.save = v;
        else if (strcmp(argv[i], "--replay") == 0)
            o.replay = v;
        else
            usage();
    }
    if (!o.seed)
        o.seed = (uint64_t)time(NULL);
    return o;
}

int main(int argc, char **argv)
{
    struct settings o = options(argc, argv);
    static struct lab l;

    lab_init(&l, o.machine, o.seed);
    l.save_dir = o.save;
    int status = o.replay ? (regress_replay(&l, o.replay) ? 1 : 0) : search(&l, &o);
    lab_finish(&l);
    return status;
}
