/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_smp.c - translator/smp.c and the store with threads that behave as vCPUs do: they store without asking while a page
 * is in their write table, translate, have the machine for themselves to flush or for a LOCKed access, rest and leave.
 * Built once as it is and once with ThreadSanitizer.
 *
 * The model of RAM is that of test_tb_threads.c: nobody finds a block of an older version than one that a store has
 * finished.  A store through the write table finishes at once, so that a page must be out of all tables before it is
 * read for translation.
 */
#define ENV_UNWRITE model_unwrite
#include "test_tb_env.h"

#include <pthread.h>

enum { THREADS = 4, PLACES = 32, PAGES = 8, SIZE = 32 };
#define BASE 0x10000ull

static uint64_t ram[PLACES], acked[PLACES];
static bool writable[THREADS][PAGES];       /* write tables: their owners' alone */
static uint64_t both[2];                    /* what a LOCKed access to two pages changes */
static uint64_t locked[THREADS], steps, fast[THREADS];
static __thread unsigned me;

void tlb_flush_all(struct guest_cpu *c, unsigned flags)
{
    (void)flags;
    CHECK_EQ(me, c->index);
    memset(writable[c->index], 0, sizeof(writable[0]));
}

void model_unwrite(struct guest_cpu *c, uint64_t ram_addr)
{
    CHECK_EQ(me, c->index);
    writable[c->index][(ram_addr - BASE) >> 12] = false;
}

static uint64_t place_pc(unsigned place) { return BASE + 0x400ull * place; }

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return *seed >> 24;
}

static void finished(unsigned place, uint64_t version)
{
    uint64_t was = __atomic_load_n(&acked[place], __ATOMIC_SEQ_CST);

    while (was < version &&
           !__atomic_compare_exchange_n(&acked[place], &was, version, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
}

/* As tlb_slow_write() and its commit do it. */
static void store_to(struct guest_cpu *c, unsigned place)
{
    bool *table = &writable[c->index][(place_pc(place) - BASE) >> 12];
    bool code = false;

    if (!*table) {
        tb_note_writer(c, place_pc(place));
        code = tb_page_has_code(c->vm->store, place_pc(place));
        *table = !code;
    } else {
        fast[c->index]++;
    }
    uint64_t version = __atomic_add_fetch(&ram[place], 1, __ATOMIC_SEQ_CST);
    if (code) {
        tb_stored(c, place_pc(place) + 4, 8, TBD_SMC_OTHER);
    }
    finished(place, version);
}

static void flush(struct guest_cpu *c)
{
    if (smp_seize(c, SMP_OUT)) {
        tb_flush(c);
        smp_release(c);
    }
}

static void find_or_make(struct guest_cpu *c, unsigned place, struct tb **last)
{
    uint64_t oldest = __atomic_load_n(&acked[place], __ATOMIC_SEQ_CST), version;
    struct tb *tb = env_find(c, place_pc(place));

    if (tb) {
        CHECK(tb->second_cp_id >= oldest);
    } else {
        if (!tb_watch_code(c, place_pc(place))) {
            return;
        }
        version = __atomic_load_n(&ram[place], __ATOMIC_SEQ_CST);
        tb = env_make(c, place_pc(place), SIZE, CODE_BYTES);
        if (!tb) {
            *last = NULL;
            flush(c);
            return;
        }
        tb_w(c->vm->store, tb)->second_cp_id = (uint32_t)version;
        tb_insert(c, tb);
    }
    if (*last) {
        tb_link(c, *last, place & 1, tb, 1);
    }
    *last = tb;
}

/* One by one by who has the machine, at once by the others: both see all of it or nothing. */
static void locked_access(struct guest_cpu *c)
{
    if (smp_seize(c, SMP_PAUSED)) {
        uint64_t a = __atomic_load_n(&both[0], __ATOMIC_RELAXED), b = __atomic_load_n(&both[1], __ATOMIC_RELAXED);

        sched_yield();
        __atomic_store_n(&both[0], a + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&both[1], b + 1, __ATOMIC_RELAXED);
        smp_release(c);
        locked[c->index]++;
    }
}

static void top_of_loop(struct guest_cpu *c, struct tb **last)
{
    smp_at_top(c);
    if (__atomic_load_n(&c->exit_request, __ATOMIC_RELAXED) & XREQ_SYNC) {
        __atomic_fetch_and(&c->exit_request, ~XREQ_SYNC, __ATOMIC_SEQ_CST);
        smp_sync(c);
        *last = NULL;
    }
}

static void rest(struct guest_cpu *c, unsigned phase, struct tb **last)
{
    unsigned old = smp_rest(c, phase);

    sched_yield();
    smp_wake(c, old);
    if (phase == SMP_OUT) {
        *last = NULL;
    }
}

static void *vcpu_thread(void *arg)
{
    struct guest_cpu *c = arg;
    uint64_t seed = c->index + 7;
    struct tb *last = NULL;

    me = c->index;
    smp_wake(c, SMP_ACTIVE);
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t r = next(&seed);
        unsigned place = r % PLACES;

        top_of_loop(c, &last);
        switch (r / PLACES % 32) {
        case 0:
            locked_access(c);
            break;
        case 1:
            rest(c, SMP_PAUSED, &last);
            break;
        case 2:
            rest(c, SMP_OUT, &last);
            break;
        case 3:
            __atomic_add_fetch(&both[0], 1, __ATOMIC_RELAXED);      /* LOCKed accesses to one page: natively */
            sched_yield();
            locked[c->index]++;
            __atomic_add_fetch(&both[1], 1, __ATOMIC_RELAXED);
            break;
        case 4 ... 9:
            find_or_make(c, place, &last);
            break;
        case 10:
            tb_invalidate_range(c, place_pc(place), SIZE, TBD_MEMMAP, NULL);
            break;
        default:
            for (unsigned n = r >> 32 & 7; n; n--) {
                store_to(c, place);
                if (n == 4) {
                    sched_yield();                                  /* its owner still stores afterwards */
                }
            }
        }
    }
    smp_rest(c, SMP_OUT);
    return NULL;
}

static void run(unsigned flush_every)
{
    struct tb_store *s = env_start(64, false);
    pthread_t thread[THREADS];
    struct tb_store_info info;
    uint64_t sum = 0, quick = 0;

    memset(ram, 0, sizeof(ram));
    memset(acked, 0, sizeof(acked));
    memset(writable, 0, sizeof(writable));
    memset(locked, 0, sizeof(locked));
    memset(both, 0, sizeof(both));
    env_vm.opt.flush_every = flush_every;
    env_vm.max_cpus = env_vm.n_cpus = THREADS;
    for (unsigned i = 1; i < THREADS; i++) {
        env_vm.cpus[i] = env_new_cpu(i);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&thread[i], NULL, vcpu_thread, env_vm.cpus[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        sum += locked[i];
        quick += fast[i];
    }
    CHECK(smp_all_out(&env_vm));
    CHECK_EQ(both[0], sum);
    CHECK_EQ(both[1], sum);
    tb_store_info(s, &info);
    CHECK((!flush_every || info.flushes > 0) && quick > steps / 16);
    for (unsigned i = 1; i < THREADS; i++) {
        free(env_vm.cpus[i]);
    }
    env_stop();
}

int main(int argc, char **argv)
{
    steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 20000;
    run(0);
    run(500);
    return 0;
}
