/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tb_threads.c - one store, several vCPU threads that find, make, copy, link, kill and flush, beside devices and
 * queries.  Built once as it is and once with ThreadSanitizer.
 *
 * A model of RAM goes with it: each place has a version, a store makes it the next one and then calls
 * tb_invalidate_range().  A block remembers the version that it was made of: once that call has returned nobody finds a
 * block of an older version.
 */
#include "test_tb_env.h"

#include <pthread.h>

enum { THREADS = 4, PLACES = 48, STEP = 0x5f0, SIZE = 32, SPREAD = 4 };

static uint64_t ram[PLACES], acked[PLACES];
static uint64_t steps;
/* Read by whoever uses blocks, written by a flush: nobody is in generated code then. */
static pthread_rwlock_t running = PTHREAD_RWLOCK_INITIALIZER;
static bool over;

static uint64_t place_pc(unsigned place)
{
    return 0x10000 + (uint64_t)STEP * place;
}

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return *seed >> 24;
}

/* Linear address number n of a place. */
static struct tb_key key_of(unsigned place, unsigned n)
{
    struct tb_key k = env_key(place_pc(place));

    k.lip = 0x7f0000000000ull + place_pc(place) + 0x100000ull * n;
    return k;
}

static void flush_all(struct guest_cpu *c)
{
    pthread_rwlock_unlock(&running);
    pthread_rwlock_wrlock(&running);
    tb_flush(c);
    pthread_rwlock_unlock(&running);
    pthread_rwlock_rdlock(&running);
}

static struct tb *make(struct guest_cpu *c, unsigned place, unsigned n)
{
    struct tb_key k = key_of(place, n);
    uint64_t version;
    struct tb *tb, *w;

    if (!tb_watch_code(c, k.phys_pc)) {
        return NULL;
    }
    version = __atomic_load_n(&ram[place], __ATOMIC_SEQ_CST);
    tb = tb_relocate(c, &k);
    if (!tb) {
        tb = env_make(c, k.phys_pc, SIZE, CODE_BYTES);
        if (!tb) {
            return NULL;
        }
        w = tb_w(c->vm->store, tb);
        w->key = k;
        w->second_cp_id = (uint32_t)version;    /* a copy keeps it */
        w->movable = 1;                         /* it may be copied, and nothing need be changed */
        *(uint64_t *)tb_rw(c->vm->store, (void *)tb_fixes(tb)) = 0;
    }
    tb_insert(c, tb);
    return tb;
}

static void look(struct guest_cpu *c, const struct tb *tb, unsigned place, unsigned n, uint64_t oldest)
{
    struct tb_key k = key_of(place, n);

    CHECK(tb_key_eq(&tb->key, &k));
    CHECK(tb->second_cp_id >= oldest);
    CHECK(tb_find_host_pc(c->vm->store, tb_entry(tb) + 8) == tb);
    CHECK(tb->n_exits == ENV_EXITS);
}

static void store_to(struct guest_cpu *c, unsigned place, uint64_t r)
{
    uint64_t version = __atomic_add_fetch(&ram[place], 1, __ATOMIC_SEQ_CST), was;
    bool hit;

    tb_invalidate_range(c, place_pc(place) + r % SIZE, 1 + r / 64 % 8, TBD_SMC_OTHER, &hit);
    was = __atomic_load_n(&acked[place], __ATOMIC_SEQ_CST);
    while (was < version &&
           !__atomic_compare_exchange_n(&acked[place], &was, version, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
}

static void other_things(struct guest_cpu *c, struct tb *tb, unsigned place, uint64_t r)
{
    struct tb_store *s = c->vm->store;

    switch (r % 16) {
    case 0:
    case 1:
        store_to(c, place, r >> 8);
        break;
    case 2:
        tb_invalidate(c, tb, TBD_DEBUG);
        break;
    case 3:
        tb_check_dma(c);
        break;
    case 4:
        tb_check_dma_page(c, place_pc(place));
        break;
    case 5:
        tb_unlink_exits(c, tb);
        break;
    case 7:
        tb_range_has_code(s, place_pc(place) + SIZE + 1, 4);
        break;
    case 8:
        tb_page_has_code(s, place_pc(place));
        tb_is_rewritten(s, place_pc(place) + r / 256 % SIZE, 4);
        break;
    default:
        break;
    }
}

static void *vcpu_thread(void *arg)
{
    struct guest_cpu *c = arg;
    uint64_t seed = c->index + 1;
    struct tb *last = NULL;

    pthread_rwlock_rdlock(&running);
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t r = next(&seed), oldest;
        unsigned place = r % PLACES, n = r / PLACES % SPREAD;
        struct tb_key k = key_of(place, n);
        struct tb *tb;

        oldest = __atomic_load_n(&acked[place], __ATOMIC_SEQ_CST);
        tb = tb_lookup(c, &k);
        if (tb) {
            look(c, tb, place, n, oldest);
        } else if (!(tb = make(c, place, n))) {
            flush_all(c);
            last = NULL;
            continue;
        }
        if (last) {
            tb_link(c, last, r >> 32 & 1, tb, 0);
        }
        last = tb;
        other_things(c, tb, place, next(&seed));
        if (i % 64 == 0) {                      /* as a vCPU that lets others stop it */
            pthread_rwlock_unlock(&running);
            pthread_rwlock_rdlock(&running);
            last = NULL;
        }
    }
    pthread_rwlock_unlock(&running);
    return NULL;
}

/* A device that writes, and a monitor that asks. */
static void count_tb(struct tb *tb, void *arg)
{
    *(uint64_t *)arg += tb_host_size(tb);
}

static void *others_thread(void *arg)
{
    struct tb_store *s = arg;
    uint64_t seed = 99;

    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        struct tb_store_info info;
        uint64_t bytes = 0;

        env_dma(place_pc(next(&seed) % PLACES));
        tb_store_info(s, &info);
        tb_foreach(s, count_tb, &bytes);
        sched_yield();
    }
    return NULL;
}

static void run(bool wx, unsigned flush_every, bool no_byte_maps)
{
    struct tb_store *s = env_start(64, wx);
    struct guest_cpu *cpu[THREADS] = {env_cpu};
    pthread_t thread[THREADS], other;
    struct tb_store_info info;

    env_vm.max_cpus = THREADS;
    env_vm.opt.flush_every = flush_every;
    env_vm.opt.no_byte_maps = no_byte_maps;
    memset(ram, 0, sizeof(ram));
    memset(acked, 0, sizeof(acked));
    for (unsigned i = 0; i < PLACES; i++) {
        ram[i] = 1;
    }
    over = false;
    for (unsigned i = 1; i < THREADS; i++) {
        cpu[i] = env_new_cpu(i);
    }
    CHECK(pthread_create(&other, NULL, others_thread, s) == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&thread[i], NULL, vcpu_thread, cpu[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    pthread_join(other, NULL);

    /* Nothing is left behind. */
    tb_store_info(s, &info);
    CHECK(info.tbs_made > 0 && (!flush_every || info.flushes > 0));
    CHECK(cpu[1]->stat[ST_TB_RELOCATED] > 0 && cpu[1]->stat[ST_CHAIN_MADE] > 0);
    tb_invalidate_range(env_cpu, 0, 1u << 20, TBD_SMC_OTHER, NULL);
    tb_check_dma(env_cpu);
    tb_store_info(s, &info);
    CHECK_EQ(info.tbs_live, 0);
    CHECK_EQ(info.code_bytes, 0);
    for (unsigned i = 0; i < PLACES; i++) {
        for (unsigned n = 0; n < SPREAD; n++) {
            struct tb_key k = key_of(i, n);

            CHECK(tb_lookup(env_cpu, &k) == NULL);
        }
        CHECK(!tb_range_has_code(s, place_pc(i), SIZE));
    }
    for (unsigned i = 1; i < THREADS; i++) {
        free(cpu[i]);
    }
    env_stop();
}

int main(int argc, char **argv)
{
    steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 20000;
    run(false, 0, false);
    run(false, 700, false);
    run(false, 700, true);
    run(true, 700, false);
    return 0;
}
