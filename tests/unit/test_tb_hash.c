/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tb_hash.c - the key's hash, the built-in hash under collisions and growth, and readers beside writers.
 */
#include "test_tb_env.h"

#include <pthread.h>

/* Every part of the key makes another TB. */
static void test_key(void)
{
    env_start(1, false);
    struct tb_key k = env_key(0x1000);
    struct tb *tb = env_add(env_cpu, 0x1000, 4);

    CHECK(tb_lookup(env_cpu, &k) == tb);
    k.lip++;
    CHECK(tb_lookup(env_cpu, &k) == NULL);
    k = tb->key;
    k.hflags ^= HF_CODE64;
    CHECK(tb_lookup(env_cpu, &k) == NULL);
    k = tb->key;
    k.cs_base = 0x10;
    CHECK(tb_lookup(env_cpu, &k) == NULL);
    k = tb->key;
    k.cs_limit = 0xffff;
    CHECK(tb_lookup(env_cpu, &k) == NULL);
    k = tb->key;
    k.phys_pc++;
    CHECK(tb_lookup(env_cpu, &k) == NULL);
    CHECK_EQ(env_cpu->stat[ST_LOOKUP_HASH], 1);
    CHECK_EQ(env_cpu->stat[ST_LOOKUP_MISS], 5);
    CHECK_EQ(env.parks > 0, 1);
    env_stop();
}

/* Keys that differ in few bits spread over the buckets about as random numbers do. */
static void test_mixing(void)
{
    enum { BITS = 12, N = 1 << BITS };
    static unsigned count[N];

    for (unsigned kind = 0; kind < 5; kind++) {
        double chi = 0;

        memset(count, 0, sizeof(count));
        for (unsigned i = 0; i < 8 * N; i++) {
            struct tb_key k = {.phys_pc = 0x1000, .lip = 0x401000, .cs_limit = ~0u};

            k.phys_pc += kind == 0 ? i : kind == 1 ? (uint64_t)i << 12 : kind == 2 ? (uint64_t)i << 24 : 0;
            k.lip += kind == 3 ? (uint64_t)i << 12 : 0;
            k.hflags = kind == 4 ? i : 0;
            count[tb_hash(&k) & (N - 1)]++;
        }
        for (unsigned i = 0; i < N; i++) {
            chi += (count[i] - 8.0) * (count[i] - 8.0) / 8.0;
        }
        /* Expected N, standard deviation sqrt(2 N) = 90. */
        CHECK(chi < N + 8 * 90);
    }
}

/* The hash with every TB in one bucket, straight through its operations. */
static void test_collisions(void)
{
    enum { N = 1500 };
    const struct tb_hash_ops *o = &tb_hash_builtin;
    struct tb *tb = calloc(N, sizeof(*tb));
    void *h = o->create();

    for (unsigned i = 0; i < N; i++) {
        tb[i].key = env_key(i);
        o->insert(h, 7, &tb[i]);
    }
    for (unsigned i = 0; i < N; i++) {
        CHECK(o->lookup(h, 7, &tb[i].key) == &tb[i]);
        CHECK(o->lookup(h, 8, &tb[i].key) == NULL);
    }
    for (unsigned i = 0; i < N; i += 3) {
        o->remove(h, 7, &tb[i]);
        o->remove(h, 7, &tb[i]); /* gone already */
    }
    tb[1].invalid = 1;
    for (unsigned i = 0; i < N; i++) {
        CHECK(o->lookup(h, 7, &tb[i].key) == (i % 3 == 0 || i == 1 ? NULL : &tb[i]));
    }
    o->reset(h);
    CHECK(o->lookup(h, 7, &tb[2].key) == NULL);
    o->insert(h, 7, &tb[2]);
    CHECK(o->lookup(h, 7, &tb[2].key) == &tb[2]);
    o->destroy(h);
    free(tb);
}

/* Growth keeps everything; after a reset the memory is used again. */
static void test_growth(void)
{
    enum { N = 20000 };
    const struct tb_hash_ops *o = &tb_hash_builtin;
    struct tb *tb = calloc(N, sizeof(*tb));
    void *h = o->create();

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++) {
            tb[i].key = env_key(4 * i + round);
            o->insert(h, tb_hash(&tb[i].key), &tb[i]);
        }
        for (unsigned i = 0; i < N; i++) {
            CHECK(o->lookup(h, tb_hash(&tb[i].key), &tb[i].key) == &tb[i]);
        }
        o->reset(h);
    }
    o->destroy(h);
    free(tb);
}

/* ---- several vCPU threads on one store ---- */

enum { THREADS = 3, STEPS = 4000, PLACES = 64 };

static void *vcpu_thread(void *arg)
{
    struct guest_cpu *c = arg;
    uint64_t seed = c->index + 1;
    struct tb *last = NULL;

    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t pc;
        struct tb *tb;

        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        pc = 0x1000 + 0x7f0 * ((seed >> 33) % PLACES);
        tb = env_find(c, pc);
        if (!tb) {
            tb_watch_code(c, pc);
            tb = env_make(c, pc, 32, CODE_BYTES);
            CHECK(tb != NULL);
            tb_insert(c, tb);
        }
        CHECK(tb_find_host_pc(c->vm->store, tb_entry(tb)) == tb);
        if (last) {
            tb_link(c, last, i & 1, tb, 0);
        }
        last = tb;
        if ((seed >> 20) % 8 == 0) {
            tb_invalidate_range(c, pc + 8, 4, TBD_SMC_OTHER, NULL);
        }
        if ((seed >> 50) % 16 == 0) {
            tb_check_dma(c);
        }
    }
    return NULL;
}

static void test_threads(bool wx)
{
    struct tb_store *s = env_start(64, wx);
    struct guest_cpu *c[THREADS];
    pthread_t thread[THREADS];
    struct tb_store_info info;

    for (unsigned i = 0; i < THREADS; i++) {
        c[i] = env_new_cpu(i);
        CHECK(pthread_create(&thread[i], NULL, vcpu_thread, c[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    for (unsigned i = 0; i < PLACES; i++) {
        uint64_t pc = 0x1000 + 0x7f0 * i;

        tb_invalidate_range(env_cpu, pc, 32, TBD_SMC_OTHER, NULL);
        CHECK(env_find(env_cpu, pc) == NULL);
    }
    tb_store_info(s, &info);
    CHECK_EQ(info.tbs_live, 0);
    CHECK_EQ(info.code_bytes, 0);
    CHECK(info.invalidated[TBD_SMC_OTHER] + info.invalidated[TBD_DMA] <= info.tbs_made);
    for (unsigned i = 0; i < THREADS; i++) {
        free(c[i]);
    }
    env_stop();
}

int main(void)
{
    test_key();
    test_mixing();
    test_collisions();
    test_growth();
    test_threads(false);
    test_threads(true);
    return 0;
}
