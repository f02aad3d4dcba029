/* SPDX-License-Identifier: GPL-2.0-or-later */
/* trial.c - see trial.h. */
#include <string.h>

#include "tests/fuzz/trial.h"

#define FL_COMPARED 0x00254fd5u
#define NOISE (1u << 16)

static uint8_t noise[NOISE + DATA_SIZE];

static uint64_t noise_next(uint64_t *x)
{
    *x += 0x9e3779b97f4a7c15ull;
    uint64_t z = *x;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* Random words among values at which arithmetic changes its mind. */
static void make_noise(void)
{
    static const uint64_t v[] = {
        0, 1, 0x80, 0xff, 0x7fff, 0x8000, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000,
        ~0ull, 0x3ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000001, 0x7ff0000000000001, 0x3f8000003f800000,
        0x000fffffffffffff, 0x00000001007fffff, 0xff8000017f800000, 0x4000c90fdaa22168,
    };
    uint64_t x = 1;

    for (unsigned i = 0; i < sizeof(noise); i += 8) {
        uint64_t k = noise_next(&x), w = k & 3 ? noise_next(&x) : v[(k >> 8) % (sizeof(v) / sizeof(v[0]))];
        memcpy(noise + i, &w, 8);
    }
}

void trial_init(struct runner *r)
{
    make_noise();
    native_set_ro_page(noise);
    memcpy(r->m->win + RO_OFF, noise, 4096);
}

bool trial_code_intact(const struct trial *t, const uint8_t *win)
{
    for (unsigned i = 0; i < PAD; i++) {
        if (win[t->at + t->len + i] != 0xcc || win[t->at - 1 - i] != 0xcc)
            return false;
    }
    return memcmp(win + t->at, t->code, t->len) == 0;
}

bool trial_place(const struct trial *t, uint8_t *win, bool code)
{
    unsigned a = t->memory % (NOISE - 8), b = (t->memory >> 16) * 1021u % (NOISE - 8);

    memcpy(win + DATA_OFF, noise + a, DATA_SIZE);
    memcpy(win + STACK_OFF, noise + b, STACK_SIZE);
    memcpy(win + RO_OFF - 4096, noise + b, 4096);
    memcpy(win + RO_OFF + 4096, noise + a, 4096);
    if (!code)
        return false;
    memset(win + t->at - PAD, 0xcc, PAD);
    memcpy(win + t->at, t->code, t->len);
    memset(win + t->at + t->len, 0xcc, PAD);
    return true;
}

static uint64_t start_ip(const struct trial *t)
{
    return t->mode == SM_16 ? t->at - CODE_OFF : LIN + t->at;
}

static uint64_t hash_ximg(const uint8_t *img)
{
    uint8_t copy[XIMG_SIZE];
    uint64_t h = 0, w;

    memcpy(copy, img, XIMG_SIZE);
    ximg_normalize(copy);
    for (unsigned i = 0; i < XIMG_SIZE; i += 8) {
        memcpy(&w, copy + i, 8);
        h = (h ^ w) * 0x9fb21c651e98df25ull;
        h ^= h >> 29;
    }
    return h;
}

/* Offset at which the program goes on after this, or -1. */
static int resume_at(const struct trial *t, const struct snip_state *o)
{
    uint64_t off = o->rip - start_ip(t);

    if (o->vector < 0 || off > t->len || (o->vector == TRAP_END && off == t->len + 1u))
        return -1;
    if (o->vector == 1)
        return (int)off;
    if (o->vector == TRAP_END || off == t->len)
        return -1;
    for (unsigned i = 0; i < t->n_items; i++) {
        if (off < t->start[i + 1])
            return t->microcoded[i] ? -1 : t->start[i + 1];
    }
    return -1;
}

static void note(struct event *e, const struct snip_state *o)
{
    e->vector = o->vector;
    e->error = o->error;
    e->cr2 = o->cr2;
    e->rip = o->rip;
    e->rflags = o->rflags;
    memcpy(e->gpr, o->gpr, sizeof(e->gpr));
    e->fp = hash_ximg(o->ximg);
}

void trial_run(const struct trial *t, trial_run_fn *run, void *arg, const uint8_t *win, struct outcome *o)
{
    struct snip_state st = t->in;

    st.rip = start_ip(t);
    for (o->n_events = 0;; o->n_events++) {
        run(arg, t->mode, &st, &o->out);
        int next = resume_at(t, &o->out);
        if (next < 0 || o->n_events >= t->max_events)
            break;
        note(&o->event[o->n_events], &o->out);
        st = o->out;
        st.rip = start_ip(t) + (unsigned)next;
        st.rflags &= ~(uint64_t)FL_RF;
        if (t->fl_undef && o->out.vector != 1) /* what the skipped instruction would have defined is undefined now */
            st.rflags = (st.rflags & ~(uint64_t)FL_STATUS) | (o->n_events * 0x9d5u & FL_STATUS);
    }
    o->overwritten = false;
    for (unsigned i = 0; i < t->len; i++)
        o->overwritten |= win[t->at + i] != t->code[i] && !t->planned[i];
}

static bool event_equal(const struct trial *t, const struct event *a, const struct event *b)
{
    struct snippet s = { .mode = t->mode };
    struct snip_state n = { .vector = a->vector, .cr2 = a->cr2 };
    uint64_t mask = t->mode == SM_64 ? ~0ull : 0xffffffffull;
    uint32_t flags = FL_COMPARED & ~t->fl_undef & ~(a->vector == 1 ? FL_RF : 0u);

    if (a->vector != b->vector || a->rip != b->rip || a->cr2 != b->cr2 || a->fp != b->fp ||
        ((a->error ^ b->error) & runner_error_mask(&s, &n)) || ((a->rflags ^ b->rflags) & flags))
        return false;
    for (unsigned i = 0; i < (t->mode == SM_64 ? 16u : 8u); i++) {
        if ((a->gpr[i] ^ b->gpr[i]) & mask)
            return false;
    }
    return true;
}

int trial_events_differ(const struct trial *t, const struct outcome *native, const struct outcome *guest)
{
    unsigned n = native->n_events < guest->n_events ? native->n_events : guest->n_events;

    for (unsigned i = 0; i < n; i++) {
        if (!event_equal(t, &native->event[i], &guest->event[i]))
            return (int)i;
    }
    return native->n_events == guest->n_events ? -1 : (int)n;
}

bool trial_diff(struct runner *r, const struct trial *t, const char *name, struct outcome *native,
                struct outcome *guest)
{
    struct snippet s = { .name = name, .mode = t->mode, .code = t->code, .len = t->len, .at = t->at,
                         .fl_ignore = t->fl_undef, .rep = true };
    uint64_t off = native->out.rip - start_ip(t);

    for (unsigned i = 0; i < t->n_items; i++)
        s.microcoded |= t->microcoded[i] && off >= t->start[i] && off < t->start[i + 1];
    struct snip_state in = t->in;
    return runner_diff(r, &s, &in, &native->out, &guest->out);
}
