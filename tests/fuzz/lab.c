/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lab.c - see lab.h. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "tests/fuzz/lab.h"
#include "tb-store/stats.h"

#define HANG_USEC 200000       /* of CPU time */

/* ---- programs that do not end ---- */

static struct guest_cpu *watched;
static volatile unsigned long watched_trials;

static void on_timer(int sig)
{
    static unsigned long last;

    if (watched_trials == last)
        cpu_kick(watched, XREQ_STOP);
    last = watched_trials;
}

static void watch(struct guest_cpu *c)
{
    struct itimerval t = { { 0, HANG_USEC }, { 0, HANG_USEC } };
    struct sigaction sa;

    watched = c;
    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = on_timer;
    sa.sa_flags = SA_ONSTACK | SA_RESTART;
    sigaction(SIGPROF, &sa, NULL);
    setitimer(ITIMER_PROF, &t, NULL);
}

/* ---- life ---- */

void lab_init(struct lab *l, const char *machine, uint64_t seed)
{
    memset(l, 0, sizeof(*l));
    l->machine = machine;
    runner_init(&l->r, machine, seed);
    trial_init(&l->r);
    memset(l->r.m->win + CODE_OFF, 0xcc, CODE_SIZE);
    l->oracle = oracle_new(l->r.m);
    watch(l->r.m->c);
}

void lab_finish(struct lab *l)
{
    oracle_free(l->oracle);
}

void lab_count(struct lab *l, bool on)
{
    struct xbt_options *opt = &l->r.m->vm.opt;
    static struct xbt_options keep;

    if (on) {
        keep = *opt;
        opt->max_insns = 1;
        opt->profile = true;
        l->counted_insns -= l->r.m->c->stat[ST_EXECUTIONS];
        l->counted_trials -= l->trials;
    } else {
        *opt = keep;
        l->counted_insns += l->r.m->c->stat[ST_EXECUTIONS];
        l->counted_trials += l->trials;
    }
    machine_flush(l->r.m);
}

/* ---- one trial ---- */

static void run_guest(void *arg, enum snip_mode mode, const struct snip_state *in, struct snip_state *out)
{
    machine_run(arg, mode, in, out);
}

static void place_guest(struct lab *l, const struct trial *t)
{
    struct machine *m = l->r.m;
    uint8_t buf[MAX_CODE + 2 * PAD];

    if (!trial_code_intact(t, m->win)) {
        memset(buf, 0xcc, sizeof(buf));
        memcpy(buf + PAD, t->code, t->len);
        machine_write_code(m, t->at - PAD, buf, t->len + 2u * PAD);
    }
    trial_place(t, m->win, false);
}

static void clear_code(struct lab *l)
{
    memset(l->r.m->win + CODE_OFF, 0xcc, CODE_SIZE);
    machine_flush(l->r.m);
}

/* Bring both sides to the event before a comparison in full. */
static bool same(struct lab *l, const struct trial *t, struct oracle_slot *s, bool report)
{
    if (trial_events_differ(t, &s->result, &l->guest) >= 0)
        return false;
    l->r.verbose = report ? ~0u : 0;
    return trial_diff(&l->r, t, "program", &s->result, &l->guest);
}

/* Run slot i under the engine and compare it with the native result. */
static bool run_slot(struct lab *l, unsigned i, bool report)
{
    const struct trial *t = oracle_trial(l->oracle, i);

    watched_trials = ++l->trials;
    place_guest(l, t);
    trial_run(t, run_guest, l->r.m, l->r.m->win, &l->guest);
    struct oracle_slot *s = oracle_wait(l->oracle, i);
    if (!s) {
        l->lost++;
        clear_code(l);
        return true;
    }
    if (s->hung || s->result.overwritten) {
        bool ended = l->guest.out.vector != -1;
        clear_code(l);
        l->hung += s->hung;
        l->overwritten += !s->hung;
        return !(s->hung && ended && !l->guest.overwritten);
    }
    l->events += s->result.n_events;
    return same(l, t, s, report);
}

int lab_batch(struct lab *l, unsigned n)
{
    oracle_start(l->oracle, n);
    for (unsigned i = 0; i < n; i++) {
        if (run_slot(l, i, false))
            continue;
        oracle_wait(l->oracle, n - 1);
        return (int)i;
    }
    return -1;
}

/* ---- again, one by one ---- */

static bool run_alone(struct lab *l, const struct trial *t, bool report)
{
    *oracle_trial(l->oracle, 0) = *t;
    oracle_start(l->oracle, 1);
    return run_slot(l, 0, report);
}

static void print_event(const struct trial *t, const struct outcome *o, int i, const char *who)
{
    const struct event *e = &o->event[i];

    if ((unsigned)i < o->n_events)
        printf("    event %d %s: vector %d error %x cr2 %llx rip %llx flags %llx\n", i, who, e->vector, e->error,
               (unsigned long long)e->cr2, (unsigned long long)e->rip, (unsigned long long)e->rflags);
    else
        printf("    event %d %s: none, ended by %d\n", i, who, o->out.vector);
}

bool lab_agrees(struct lab *l, const struct trial *t, bool report)
{
    return lab_sequence_agrees(l, t, 1, report);
}

bool lab_sequence_agrees(struct lab *l, const struct trial *t, unsigned n, bool report)
{
    static struct trial cut;
    bool ok = true;

    machine_flush(l->r.m);
    for (unsigned i = 0; i < n; i++)
        ok = run_alone(l, &t[i], report && i == n - 1);
    if (ok || !report)
        return ok;
    /* An event differs: end the trial there, for a comparison in full. */
    struct oracle_slot *s = oracle_wait(l->oracle, 0);
    int e = trial_events_differ(&t[n - 1], &s->result, &l->guest);
    if (e < 0)
        return false;
    print_event(&t[n - 1], &s->result, e, "native");
    print_event(&t[n - 1], &l->guest, e, "xbt");
    cut = t[n - 1];
    cut.max_events = (uint16_t)e;
    machine_flush(l->r.m);
    for (unsigned i = 0; i + 1 < n; i++)
        run_alone(l, &t[i], false);
    run_alone(l, &cut, true);
    return false;
}
