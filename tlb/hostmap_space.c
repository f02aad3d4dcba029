/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hostmap_space.c - which address spaces are hot, and which instructions stay with the tables.
 *
 * Does:    page tables by their address, attached to the TLB's spaces or waiting; the policy; life of it all.
 * Leaves:  pages and their mappings to hostmap.c.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tlb/hostmap_int.h"

/* ---- page tables and the TLB's spaces ---- */
void hm_detach(struct tlb_space *s)
{
    if (s->hm) {
        s->hm->attached = false;
        s->hm = NULL;
    }
}

/* The record of a page table that no space runs on: its own, a free one, or that of the longest unused. */
static struct hm_space *space_find(struct guest_cpu *c, uint64_t cr3)
{
    struct hostmap *h = c->hm;
    struct hm_space *best = NULL;

    for (unsigned i = 0; i < SPACES; i++) {
        struct hm_space *o = &h->space[i];
        if (o->attached) {
            continue;
        }
        if (o->used && o->cr3 == cr3) {
            return o;
        }
        if (!best || (best->used && (!o->used || o->lru < best->lru))) {
            best = o;
        }
    }
    if (best) {
        if (best->hot) {
            hm_cool(c, best);
        }
        *best = (struct hm_space) { .used = true, .cr3 = cr3 };
    }
    return best;
}

static void attach(struct guest_cpu *c, struct tlb_space *s)
{
    s->hm = space_find(c, s->cr3_base);
    if (s->hm) {
        s->hm->attached = true;
        if (s->hm->hot) {
            hm_compare(c, s->hm);
        }
    }
}

/* ---- policy ---- */
/* Map what the tables have learnt since the last time: by now many pages have neighbours. */
static void batch(struct guest_cpu *c, struct tlb_space *s, unsigned calls)
{
    const struct tlb_log *l = &s->log[0];
    uint32_t end = c->hm->calls + calls;

    while (s->hm_seen < l->count && c->hm->calls < end) {
        uint64_t key = l->rec[s->hm_seen++].key, lin = (uint64_t)((int64_t)(REC_LIN(key) << 16) >> 16);
        unsigned table = REC_TABLE(key);
        bool write = table & 1;

        if (table / 2 != MMU_USER || lin >> 47) {
            continue;
        }
        const struct hm_window *w = hm_window_of(c->hm, s->hm, lin);
        const struct hm_region *r = w ? hm_region_of(c->hm, w, lin) : NULL;
        if (!r || !bit_get(write ? r->written : r->mapped, lin >> 12 & (PAGES - 1))) {
            hm_map(c, lin, write, false);
        }
    }
}

static unsigned forbidden;

void hm_forbid(unsigned why, bool on)
{
    if (on) {
        __atomic_fetch_or(&forbidden, why, __ATOMIC_SEQ_CST);
    } else {
        __atomic_fetch_and(&forbidden, ~why, __ATOMIC_SEQ_CST);
    }
}

static void make_hot(struct guest_cpu *c, struct tlb_space *s)
{
    if (hm_mode_ok(c) && !__atomic_load_n(&forbidden, __ATOMIC_ACQUIRE)) {
        s->hm->hot = true;
        s->hm->faults = s->hm->pause = s->hm->wait = 0;
        c->hm_on = 1;
        c->stat[ST_HM_SPACES]++;
        hm_show(c, s->hm);
        batch(c, s, CALLS_FIRST);
    }
}

void hm_space_selected(struct guest_cpu *c)
{
    struct hostmap *h = c->hm;
    struct tlb_space *s = c->space;

    if (!h) {
        return;
    }
    if (unlikely(s->hm && s->hm->cr3 != s->cr3_base)) {
        hm_detach(s);
    }
    if (!s->hm && hm_mode_ok(c)) {
        attach(c, s);
    }
    if (!s->hm) {
        c->hm_on = 0;
        return;
    }
    s->hm->lru = ++h->clock;
    if (unlikely(!c->vm->opt.hostmap_heat) && !s->hm->hot) {
        make_hot(c, s);
    }
    c->hm_on = s->hm->hot && s->hm->faults <= FAULTS_MAX && !s->hm->wait;
    if (s->hm->hot && h->shown != s->hm) {
        hm_show(c, s->hm);
    }
}

/* A tick of a hot space: map what is new, or wait.  Faults mean memory that is new or too much: the more often, the
 * longer the wait. */
static void hot_tick(struct guest_cpu *c, struct tlb_space *s)
{
    struct hm_space *m = s->hm;

    c->stat[ST_HM_TICKS]++;
    c->stat[ST_HM_WAITS] += !c->hm_on;
    if (m->faults > FAULTS_MAX) {
        m->pause = m->pause ? m->pause * 2 : 1;
        m->wait = m->pause = m->pause < PAUSE_MAX ? m->pause : PAUSE_MAX;
        m->faults = 0;
    } else if (m->wait) {
        m->wait--;
    } else {
        m->pause /= 2;
        m->faults = 0;
    }
    batch(c, s, CALLS_TICK);
    c->hm_on = !m->wait;
}

void hm_tick(struct guest_cpu *c, uint64_t ns)
{
    struct hostmap *h = c->hm;
    struct tlb_space *s = c->space;

    if (!h) {
        return;
    }
    uint64_t dt = ns - h->last_tick;
    h->last_tick = ns;
    if (c->cpl != 3 || !s->hm) {
        return;
    }
    if (s->hm->hot) {
        hot_tick(c, s);
        return;
    }
    s->hm->heat += dt < TICK_MAX_NS ? dt : TICK_MAX_NS;
    if (s->hm->heat >= c->vm->opt.hostmap_heat * 1000000ull) {
        make_hot(c, s);
    }
}

/* ---- instructions to leave alone ---- */
static uint64_t refused[65536 / 64];

static inline unsigned refused_hash(uint64_t pc) { return (unsigned)((pc * 0x9e3779b97f4a7c15ull) >> 48); }

bool hm_refused(uint64_t pc)
{
    unsigned h = refused_hash(pc);

    return __atomic_load_n(&refused[h / 64], __ATOMIC_RELAXED) >> (h % 64) & 1;
}

void hm_refuse(uint64_t pc)
{
    unsigned h = refused_hash(pc);

    __atomic_fetch_or(&refused[h / 64], 1ull << (h % 64), __ATOMIC_RELAXED);
}

void hm_refused_clear(void)
{
    for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        __atomic_store_n(&refused[i], 0, __ATOMIC_RELAXED);
    }
}

/* ---- life ---- */
bool hm_init(struct guest_cpu *c)
{
    struct hostmap *h;

    for (unsigned i = 0; i < 256; i++) {
        c->hm_add[i] = hm_no_window(i);
    }
    if (c->vm->opt.no_hostmap || !c->vm->opt.host_bmi2) {
        return true;
    }
    h = hm_reserve(sizeof(*h), PROT_READ | PROT_WRITE);
    if (!h) {
        return false;
    }
    h->region = hm_reserve(REGIONS * sizeof(*h->region), PROT_READ | PROT_WRITE);
    h->rev = hm_reserve(REV_SLOTS * sizeof(*h->rev), PROT_READ | PROT_WRITE);
    h->free = NO_REGION;
    h->max_windows = tlb_spare_tib(c) < WINDOWS ? tlb_spare_tib(c) : WINDOWS;
    h->max_calls = CALLS_MAX / (c->vm->max_cpus ? c->vm->max_cpus : 1);
    for (unsigned i = 0; i < WINDOWS; i++) {
        h->win[i].first = NO_REGION;
    }
    c->hm = h;
    if (!h->region || !h->rev) {
        hm_destroy(c);
        return false;
    }
    return true;
}

void hm_destroy(struct guest_cpu *c)
{
    struct hostmap *h = c->hm;

    if (!h) {
        return;
    }
    hm_windows_free(h);
    if (h->region) {
        syscall(SYS_munmap, h->region, REGIONS * sizeof(*h->region));
    }
    if (h->rev) {
        syscall(SYS_munmap, h->rev, REV_SLOTS * sizeof(*h->rev));
    }
    syscall(SYS_munmap, h, sizeof(*h));
    c->hm = NULL;
    c->hm_on = 0;
}
