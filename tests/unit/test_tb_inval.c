/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tb_inval.c - invalidation by range: exactly the overlapping TBs die, also when they cross pages
 * or run.
 */
#include "test_tb_env.h"

static void test_exact_bytes(bool wx)
{
    struct tb_store *s = env_start(1, wx);
    struct tb *a = env_add(env_cpu, 0x1010, 16), *b = env_add(env_cpu, 0x1020, 16);
    struct tb *z = env_add(env_cpu, 0x1fff, 1);
    bool hit = true;

    CHECK(tb_page_has_code(s, 0x1000) && tb_page_has_code(s, 0x1fff));
    CHECK(!tb_page_has_code(s, 0x2000) && !tb_page_has_code(s, 0) && !tb_page_has_code(s, ~0ull));
    CHECK(!tb_range_has_code(s, 0x100f, 1) && tb_range_has_code(s, 0x100f, 2));
    CHECK(tb_range_has_code(s, 0x102f, 8) && !tb_range_has_code(s, 0x1030, 8));
    CHECK(!tb_range_has_code(s, 0x1800, 0x7ff) && tb_range_has_code(s, 0x1800, 0x800));
    CHECK(tb_range_has_code(s, 0xffc, 0x20) && !tb_range_has_code(s, 0xff0, 0x20));
    CHECK(!tb_range_has_code(s, ~0ull - 10, 8));

    CHECK_EQ(tb_invalidate_range(env_cpu, 0x1030, 64, TBD_SMC_SELF, &hit), 0);
    CHECK(!hit);
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x100c, 4, TBD_SMC_SELF, &hit), 0);
    CHECK(env_find(env_cpu, 0x1010) == a && env_find(env_cpu, 0x1020) == b);
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x101f, 1, TBD_SMC_SELF, NULL), 1);
    CHECK(a->invalid && !b->invalid && !z->invalid);
    CHECK(env_find(env_cpu, 0x1010) == NULL && env_find(env_cpu, 0x1020) == b);
    CHECK(tb_page_has_code(s, 0x1000) && !tb_range_has_code(s, 0x1010, 16));
    CHECK_EQ(env.watch_off, 0);
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x1000, 0x1000, TBD_SMC_OTHER, &hit), 2);
    CHECK(!tb_page_has_code(s, 0x1000));
    CHECK_EQ(env.watch_on, 1);
    CHECK_EQ(env.watch_off, 1);
    CHECK_EQ(env.unwrites, 1);
    CHECK_EQ(env.jc_removes, 3);
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x1000, 0x1000, TBD_SMC_OTHER, &hit), 0);
    env_stop();
}

/* A dead TB keeps its memory and stays findable; a new one takes its place. */
static void test_again(void)
{
    struct tb_store *s = env_start(1, false);
    struct tb_store_info info;

    for (unsigned i = 0; i < 100; i++) {
        struct tb *tb = env_add(env_cpu, 0x5000, 8);

        CHECK(env_find(env_cpu, 0x5000) == tb);
        CHECK_EQ(tb_invalidate_range(env_cpu, 0x5004, 2, TBD_SMC_OTHER, NULL), 1);
        CHECK(tb_find_host_pc(s, tb_entry(tb)) == tb);
        tb_invalidate(env_cpu, tb, TBD_DEBUG); /* dead already: nothing */
    }
    tb_store_info(s, &info);
    CHECK_EQ(info.invalidated[TBD_SMC_OTHER], 100);
    CHECK_EQ(info.invalidated[TBD_DEBUG], 0);
    CHECK_EQ(info.tbs_live, 0);
    CHECK_EQ(info.code_bytes, 0);
    CHECK_EQ(env.watch_on, 100);
    CHECK_EQ(env.watch_off, 100);
    env_stop();
}

static void test_crossing(void)
{
    struct tb_store *s = env_start(1, false);

    /* The store hits the second page: the TB leaves both lists, the neighbours stay. */
    for (unsigned side = 0; side < 2; side++) {
        struct tb *x = env_add(env_cpu, 0x1ff8, 16);
        struct tb *l = env_add(env_cpu, 0x1ff0, 8), *r = env_add(env_cpu, 0x2008, 8);

        CHECK_EQ(x->n_pages, 2);
        CHECK_EQ(tb_invalidate_range(env_cpu, side ? 0x2007 : 0x1ff8, 1, TBD_SMC_SELF, NULL), 1);
        CHECK(x->invalid && !l->invalid && !r->invalid);
        CHECK(!tb_range_has_code(s, 0x1ff8, 16));
        CHECK_EQ(tb_invalidate_range(env_cpu, 0x1ff0, 0x20, TBD_SMC_SELF, NULL), 2);
        CHECK(!tb_page_has_code(s, 0x1000) && !tb_page_has_code(s, 0x2000));
    }
    /* The last TB of both pages: both watches end. */
    env_add(env_cpu, 0x1ff8, 16);
    CHECK(tb_page_has_code(s, 0x1000) && tb_page_has_code(s, 0x2000));
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x2000, 1, TBD_SMC_SELF, NULL), 1);
    CHECK(!tb_page_has_code(s, 0x1000) && !tb_page_has_code(s, 0x2000));
    CHECK_EQ(env.watch_on, env.watch_off);
    env_stop();
}

/* Two linear pages mapped to one RAM page: the TB runs off its end into its beginning. */
static void test_crossing_into_itself(void)
{
    struct tb_store *s = env_start(1, false);

    for (unsigned at = 0; at < 3; at++) {
        static const uint64_t where[] = {0x1ffc, 0x1003, 0x1800};
        struct tb *x = env_make(env_cpu, 0x1ff8, 16, CODE_BYTES);

        tb_w(s, x)->page2 = 0x1000 >> 12;
        tb_insert(env_cpu, x);
        CHECK_EQ(tb_invalidate_range(env_cpu, where[at], 1, TBD_SMC_SELF, NULL), at < 2);
        CHECK_EQ(x->invalid, at < 2);
        tb_invalidate(env_cpu, x, TBD_DEBUG);
        CHECK(!tb_page_has_code(s, 0x1000));
    }
    env_stop();
}

/* Many TBs that cross into one page from different RAM pages: more ends of watch than are told at once. */
static void test_many_crossing(void)
{
    struct tb_store *s = env_start(1, false);
    struct tb *x[40];

    for (unsigned i = 0; i < 40; i++) {
        x[i] = env_make(env_cpu, 0x100ff8 + 0x2000 * i, 16, CODE_BYTES);
        tb_w(s, x[i])->page2 = 0x5000 >> 12;
        tb_insert(env_cpu, x[i]);
    }
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x5000, 4, TBD_SMC_SELF, NULL), 40);
    CHECK(!tb_page_has_code(s, 0x5000));
    for (unsigned i = 0; i < 40; i++) {
        /* Pages that are still watched become free at the first store to them. */
        CHECK(x[i]->invalid && !tb_range_has_code(s, tb_page(x[i], 0), 4096));
        CHECK_EQ(tb_invalidate_range(env_cpu, tb_page(x[i], 0) + 8, 4, TBD_SMC_SELF, NULL), 0);
        CHECK(!tb_page_has_code(s, tb_page(x[i], 0)));
    }
    CHECK_EQ(env.watch_on, 41);
    CHECK_EQ(env.watch_off, 41);
    env_stop();
}

/* The TB around c->unwind_pc is reported, if and only if it is hit. */
static void test_running(void)
{
    env_start(1, false);
    struct tb *run = env_add(env_cpu, 0x1000, 32), *other = env_add(env_cpu, 0x1020, 32);
    bool hit = false;

    env_cpu->unwind_pc = (uintptr_t)tb_entry(run) + 40;
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x1020, 8, TBD_SMC_SELF, &hit), 1);
    CHECK(!hit && other->invalid);
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x1008, 8, TBD_SMC_SELF, &hit), 1);
    CHECK(hit && run->invalid);
    /* Still running it: a second store to the dead block hits nothing. */
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x1008, 8, TBD_SMC_SELF, &hit), 0);
    CHECK(!hit);
    run = env_add(env_cpu, 0x1000, 32);
    env_cpu->unwind_pc = 0;
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x1008, 8, TBD_SMC_SELF, &hit), 1);
    CHECK(!hit);
    env_stop();
}

/* Long ranges skip what has no code; the edges are exact. */
static void test_long_range(void)
{
    struct tb_store *s = env_start(1, false);
    struct tb *a = env_add(env_cpu, 0x10000000ull, 8), *b = env_add(env_cpu, 0x7ffffff0ull, 8);
    struct tb *c = env_add(env_cpu, 0x80000000ull, 8);

    CHECK_EQ(tb_invalidate_range(env_cpu, 0x10000008ull, 0x70000000u - 8, TBD_MEMMAP, NULL), 1);
    CHECK(!a->invalid && b->invalid && !c->invalid);
    CHECK_EQ(tb_invalidate_range(env_cpu, 0, ~0u, TBD_MEMMAP, NULL), 2);
    CHECK_EQ(tb_invalidate_range(env_cpu, (1ull << 40) - 4096, 8192, TBD_MEMMAP, NULL), 0);
    CHECK(!tb_page_has_code(s, 0x80000000ull));
    env_stop();
}

/* TBs that cannot be kept come back invalid and leave no trace. */
static void test_not_kept(void)
{
    struct tb_store *s = env_start(1, false);
    struct tb_store_info info;
    struct tb *mmio = env_make(env_cpu, 0xfee00000ull, 8, CODE_BYTES);
    struct tb *far = env_make(env_cpu, 1ull << 40, 8, CODE_BYTES);
    struct tb *stale;

    tb_w(s, mmio)->n_pages = 0;
    tb_insert(env_cpu, mmio);
    tb_insert(env_cpu, far);
    CHECK(mmio->invalid && far->invalid);
    CHECK(!tb_watch_code(env_cpu, 1ull << 40));
    CHECK(env_find(env_cpu, 1ull << 40) == NULL && env_find(env_cpu, 0xfee00000ull) == NULL);
    tb_invalidate(env_cpu, mmio, TBD_DEBUG);

    /* Written between the reading of its bytes and its publication. */
    for (unsigned i = 0; i < 2; i++) {
        CHECK(tb_watch_code(env_cpu, 0x4010));
        CHECK(tb_page_has_code(s, 0x4000));
        if (i) {
            env_add(env_cpu, 0x4800, 8);
            CHECK(tb_watch_code(env_cpu, 0x4010));
        }
        tb_invalidate_range(env_cpu, 0x4012, 1, TBD_SMC_OTHER, NULL);
        stale = env_add(env_cpu, 0x4010, 8);
        CHECK(stale->invalid && env_find(env_cpu, 0x4010) == NULL);
        tb_invalidate_range(env_cpu, 0x4000, 4096, TBD_SMC_OTHER, NULL);
    }
    CHECK(!env_add(env_cpu, 0x4010, 8)->invalid);
    tb_store_info(s, &info);
    CHECK_EQ(info.tbs_live, 1);
    env_stop();
}

static void count_tb(struct tb *tb, void *arg)
{
    CHECK(tb->inserted && !tb->invalid);
    ++*(unsigned *)arg;
}

static void test_flush_and_foreach(void)
{
    struct tb_store *s = env_start(1, false);
    struct tb_store_info info;
    unsigned n = 0;

    for (unsigned i = 0; i < 300; i++) {
        env_add(env_cpu, 0x1ffc + 0x1000 * i, 8);
    }
    tb_invalidate_range(env_cpu, 0x2000, 8, TBD_SMC_SELF, NULL);
    tb_foreach(s, count_tb, &n);
    CHECK_EQ(n, 299);
    tb_flush(env_cpu);
    n = 0;
    tb_foreach(s, count_tb, &n);
    CHECK_EQ(n, 0);
    tb_store_info(s, &info);
    CHECK_EQ(info.invalidated[TBD_FLUSH], 299);
    CHECK_EQ(info.invalidated[TBD_SMC_SELF], 1);
    CHECK_EQ(info.tbs_live, 0);
    CHECK_EQ(env.watch_on, env.watch_off);
    for (unsigned i = 0; i < 302; i++) {
        CHECK(!tb_page_has_code(s, 0x1000 * i));
        CHECK(env_find(env_cpu, 0x1ffc + 0x1000 * i) == NULL);
    }
    env_add(env_cpu, 0x1ffc, 8);
    CHECK_EQ(tb_invalidate_range(env_cpu, 0x2003, 1, TBD_SMC_SELF, NULL), 1);
    env_stop();
}

/* Against a plain list of TBs. */
static void test_random(bool wx)
{
    enum { N = 400 };
    struct tb_store *s = env_start(2, wx);
    struct { uint64_t pc; unsigned size; struct tb *tb; } t[N] = {{0}};
    uint64_t seed = 1;

    for (unsigned step = 0; step < 20000; step++) {
        unsigned i, want = 0;
        uint64_t at;

        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        i = (unsigned)(seed >> 33) % N;
        if (!t[i].tb) {
            t[i].pc = 0x10000 + (unsigned)(seed >> 40) % 0x4000;
            t[i].size = 1 + (unsigned)(seed >> 20) % 100;
            if (!(t[i].tb = env_make(env_cpu, t[i].pc, t[i].size, 64))) {
                tb_flush(env_cpu);
                memset(t, 0, sizeof(t));
                continue;
            }
            tb_insert(env_cpu, t[i].tb);
            CHECK(!t[i].tb->invalid);
            continue;
        }
        at = 0x10000 + (unsigned)(seed >> 40) % 0x4000;
        for (unsigned j = 0; j < N; j++) {
            if (t[j].tb && at < t[j].pc + t[j].size && at + 8 > t[j].pc) {
                want++;
                t[j].tb = NULL;
            }
        }
        CHECK_EQ(tb_range_has_code(s, at, 8), want != 0);
        CHECK_EQ(tb_invalidate_range(env_cpu, at, 8, TBD_SMC_SELF, NULL), want);
        for (unsigned j = 0; j < N; j++) {
            CHECK(!t[j].tb || !t[j].tb->invalid);
        }
    }
    env_stop();
}

/* Stores into a hole kill nothing, with and without a byte map; what reaches out of it does. */
static void test_holes(void)
{
    struct tb_store *s = env_start(1, false);
    bool hit;

    for (unsigned fine = 0; fine < 2; fine++) {
        for (unsigned first = 0x1011; first < 0x1016; first++) {
            struct tb *tb = env_make(env_cpu, 0x1010, 16, CODE_BYTES), *z = env_add(env_cpu, 0x1040 + first, 1);

            tb_w(s, tb)->n_holes = 2;
            tb_holes(tb_w(s, tb))[0] = (struct tb_hole){ 1, 4 };
            tb_holes(tb_w(s, tb))[1] = (struct tb_hole){ 12, 4 };
            tb_insert(env_cpu, tb);
            if (fine) {
                CHECK(!tb_range_has_code(s, 0x1030, 2));
            }
            CHECK(tb_range_has_code(s, 0x1010, 1) && tb_range_has_code(s, 0x1015, 1));
            CHECK(!tb_range_has_code(s, 0x1011, 4) && !tb_range_has_code(s, 0x1013, 2));
            CHECK(!tb_range_has_code(s, 0x101c, 4) && tb_range_has_code(s, 0x101b, 1));
            CHECK(!tb_range_has_code(s, 0x101e, 3) || !fine);
            CHECK_EQ(tb_invalidate_range(env_cpu, 0x1011, 4, TBD_SMC_SELF, &hit), 0);
            CHECK(env_find(env_cpu, 0x1010) == tb);
            CHECK_EQ(tb_invalidate_range(env_cpu, first, 5, TBD_SMC_SELF, &hit), 1);
            CHECK(tb->invalid && !z->invalid && !tb_range_has_code(s, 0x1010, 16));
            tb_invalidate(env_cpu, z, TBD_DEBUG);
        }
    }
    /* Twice is a habit; only of exactly these bytes or fewer. */
    for (unsigned i = 0; i < 2; i++) {
        CHECK(!tb_is_rewritten(s, 0x2011, 4));
        env_add(env_cpu, 0x2010, 8);
        CHECK_EQ(tb_invalidate_range(env_cpu, 0x2012, 2, TBD_SMC_OTHER, NULL), 1);
    }
    CHECK(tb_is_rewritten(s, 0x2011, 4) && tb_is_rewritten(s, 0x2012, 2));
    CHECK(!tb_is_rewritten(s, 0x2012, 1) && !tb_is_rewritten(s, 0x2013, 4) && !tb_is_rewritten(s, 0x200e, 4));
    env_stop();
}

int main(void)
{
    test_exact_bytes(false);
    test_exact_bytes(true);
    test_again();
    test_crossing();
    test_crossing_into_itself();
    test_many_crossing();
    test_running();
    test_long_range();
    test_not_kept();
    test_flush_and_foreach();
    test_holes();
    test_random(false);
    test_random(true);
    return 0;
}
