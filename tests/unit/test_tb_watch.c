/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tb_watch.c - pages with code written by devices.
 */
#include "test_tb_env.h"

#include <time.h>

/* One page written: its TBs die, no others; nobody is asked about pages without a mark. */
static void test_one_page(bool words)
{
    env_start(1, false);
    env_host.code_dma_word = words ? env_code_dma_word : NULL;
    struct tb *a = env_add(env_cpu, 0x1000, 8), *b = env_add(env_cpu, 0x2000, 8);
    struct tb *x = env_add(env_cpu, 0x2ffc, 8);
    struct tb *far = env_add(env_cpu, 0x40000000ull, 8);

    env_dma(0x5000); /* no code there */
    tb_check_dma(env_cpu);
    CHECK_EQ(env.dma_asked, words ? 0 : 4);
    env_dma(0x3000);
    tb_check_dma(env_cpu);
    CHECK(!a->invalid && !b->invalid && x->invalid && !far->invalid);
    CHECK(!tb_page_has_code(env_vm.store, 0x3000) && tb_page_has_code(env_vm.store, 0x2000));
    env_dma(0x1000);
    env_dma(0x2000);
    env_dma(0x40000000ull);
    tb_check_dma_page(env_cpu, 0x2abc);
    CHECK(!a->invalid && b->invalid && !far->invalid);
    tb_check_dma_page(env_cpu, 0x2abc);
    tb_check_dma_page(env_cpu, 0x9000);
    tb_check_dma_page(env_cpu, ~0ull);
    tb_check_dma(env_cpu);
    CHECK(a->invalid && far->invalid);
    CHECK_EQ(env_cpu->stat[ST_DMA_PAGES], 4);
    CHECK_EQ(env.watch_on, 4);
    CHECK_EQ(env.watch_off, 4);
    CHECK_EQ(env_vm.store->n_watch, 0);
    env_host.code_dma_word = env_code_dma_word;
    env_stop();
}

/* An old mark from before the watch is no write; one between watch and publication is. */
static void test_watch_start(void)
{
    env_start(1, false);
    struct tb *tb;

    env_dma(0x7000);
    tb = env_add(env_cpu, 0x7000, 8);
    tb_check_dma(env_cpu);
    CHECK(!tb->invalid);
    CHECK(tb_watch_code(env_cpu, 0x8000));
    CHECK_EQ(env.last_unwrite, 0x8000);
    env_dma(0x8000);
    tb = env_add(env_cpu, 0x8000, 8);
    tb_check_dma(env_cpu);
    CHECK(tb->invalid && env_find(env_cpu, 0x8000) == NULL);
    /* No callbacks at all: nothing happens. */
    env_cpu->host = NULL;
    tb = env_add(env_cpu, 0x9000, 8);
    tb_check_dma(env_cpu);
    tb_check_dma_page(env_cpu, 0x9000);
    tb_invalidate(env_cpu, tb, TBD_DEBUG);
    env_stop();
}

/* The list under growth, moves and emptying, against a model. */
static void test_many_pages(void)
{
    enum { N = 3000 };
    struct tb_store *s = env_start(16, false);
    static struct tb *tb[N];
    uint64_t seed = 1;

    memset(tb, 0, sizeof(tb));
    for (unsigned step = 0; step < 12000; step++) {
        unsigned i;
        uint64_t pc;

        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        i = (unsigned)(seed >> 33) % N;
        pc = (uint64_t)i * 0x23000; /* about two of them in 64 pages */
        if (!tb[i]) {
            tb[i] = env_make(env_cpu, pc, 8, 64);
            CHECK(tb[i] != NULL);
            tb_insert(env_cpu, tb[i]);
            CHECK(!tb[i]->invalid);
        } else {
            if (seed & (1u << 20)) {
                env_dma(pc);
                tb_check_dma(env_cpu);
            } else {
                CHECK_EQ(tb_invalidate_range(env_cpu, pc, 1, TBD_SMC_OTHER, NULL), 1);
            }
            CHECK(tb[i]->invalid);
            tb[i] = NULL;
        }
    }
    for (unsigned i = 0; i < N; i++) {
        CHECK(!tb[i] || !tb[i]->invalid);
        CHECK_EQ(tb_page_has_code(s, (uint64_t)i * 0x23000), tb[i] != NULL);
        env_dma((uint64_t)i * 0x23000);
    }
    tb_check_dma(env_cpu);
    for (unsigned i = 0; i < N; i++) {
        CHECK(!tb[i] || tb[i]->invalid);
    }
    CHECK_EQ(s->n_watch, 0);
    env_stop();
}

/* What a check costs with 4000 code pages in 1000 groups and nothing written. */
static void test_cost(void)
{
    enum { LOOPS = 2000 };
    struct timespec t0, t1;
    double ns;

    env_start(32, false);
    for (unsigned i = 0; i < 4000; i++) {
        env_add(env_cpu, (uint64_t)(i / 4) * 0x40000 + (i % 4) * 0x3000, 8);
    }
    CHECK_EQ(env_vm.store->n_watch, 1000);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (unsigned i = 0; i < LOOPS; i++) {
        tb_check_dma(env_cpu);
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    ns = ((double)(t1.tv_sec - t0.tv_sec) * 1e9 + (double)(t1.tv_nsec - t0.tv_nsec)) / LOOPS;
    printf("tb_check_dma, 4000 pages in 1000 words: %.0f ns\n", ns);
    CHECK_EQ(env.dma_asked, 0);
    env_stop();
}

int main(void)
{
    test_one_page(true);
    memset(env_mark, 0, sizeof(env_mark));
    test_one_page(false);
    test_watch_start();
    test_many_pages();
    test_cost();
    return 0;
}
