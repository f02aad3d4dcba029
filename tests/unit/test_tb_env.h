/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tb_env.h - a machine around the TB store: the functions of translator/ and tlb/ it calls, a host
 * with DMA marks, and a maker of TBs whose code is a row of patch sites.  Included by each test_tb_*.c
 * program.
 */
#ifndef TEST_TB_ENV_H
#define TEST_TB_ENV_H

#include "tb-store/store.h"
#ifdef ENV_UNWRITE          /* the real translator/smp.c */
#include "translator/smp.h"
void ENV_UNWRITE(struct guest_cpu *c, uint64_t ram_addr);
#else
#include "tests/unit/one_cpu.h"
#define ENV_UNWRITE(c, ram_addr)
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond) ((cond) ? (void)0 : check_fail(#cond, __FILE__, __LINE__))
static inline void check_fail(const char *cond, const char *file, int line)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, cond);
    exit(1);
}
#define CHECK_EQ(a, b) check_eq((uint64_t)(a), (uint64_t)(b), #a " == " #b, __FILE__, __LINE__)
static inline void check_eq(uint64_t a, uint64_t b, const char *text, const char *file, int line)
{
    if (a != b) {
        fprintf(stderr, "%s:%d: check failed: %s: 0x%llx, 0x%llx\n", file, line, text, (unsigned long long)a,
                (unsigned long long)b);
        exit(1);
    }
}

/* ---- what the store calls ---- */

static struct {
    unsigned parks, unwrites, jc_clears, jc_removes, watch_on, watch_off, dma_asked;
    uint64_t last_unwrite, last_jc_lip;
    void *last_jc_host;
} env;

void fpu_park(struct guest_cpu *c)
{
    (void)c;
    __atomic_add_fetch(&env.parks, 1, __ATOMIC_RELAXED);
}
void tlb_unwrite_page(struct guest_cpu *c, uint64_t ram_addr)
{
    (void)c;
    __atomic_add_fetch(&env.unwrites, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&env.last_unwrite, ram_addr, __ATOMIC_RELAXED);
    ENV_UNWRITE(c, ram_addr);
}
#ifdef TEST_ONE_CPU_H
void smp_unwrite_page(struct guest_cpu *c, uint64_t ram_addr)
{
    for (unsigned i = 0; i < c->vm->n_cpus; i++) {
        tlb_unwrite_page(c->vm->cpus[i], ram_addr);
    }
}
#endif
void tlb_jc_clear(struct guest_cpu *c)
{
    (void)c;
    __atomic_add_fetch(&env.jc_clears, 1, __ATOMIC_RELAXED);
}
void tlb_jc_remove(struct guest_cpu *c, uint64_t lip, void *host)
{
    (void)c;
    __atomic_add_fetch(&env.jc_removes, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&env.last_jc_lip, lip, __ATOMIC_RELAXED);
    __atomic_store_n(&env.last_jc_host, host, __ATOMIC_RELAXED);
}

/* ---- the host: one mark bit for each page of 64 GiB of RAM, clear = not written ---- */

#define ENV_PAGES (1u << 24)
static uint64_t env_mark[ENV_PAGES / 64];

static inline void env_dma(uint64_t ram_addr)
{
    __atomic_or_fetch(&env_mark[ram_addr >> 18], 1ull << ((ram_addr >> 12) & 63), __ATOMIC_SEQ_CST);
}
static inline void env_code_page_watch(struct guest_cpu *c, uint64_t ram_addr, bool on)
{
    (void)c;
    CHECK_EQ(ram_addr & 0xfff, 0);
    __atomic_add_fetch(on ? &env.watch_on : &env.watch_off, 1, __ATOMIC_RELAXED);
    if (on) {
        __atomic_and_fetch(&env_mark[ram_addr >> 18], ~(1ull << ((ram_addr >> 12) & 63)), __ATOMIC_SEQ_CST);
    }
}
static inline bool env_code_page_dma(struct guest_cpu *c, uint64_t ram_addr)
{
    uint64_t bit = 1ull << ((ram_addr >> 12) & 63);

    (void)c;
    __atomic_add_fetch(&env.dma_asked, 1, __ATOMIC_RELAXED);
    return __atomic_fetch_and(&env_mark[ram_addr >> 18], ~bit, __ATOMIC_SEQ_CST) & bit;
}
static inline const uint64_t *env_code_dma_word(struct guest_cpu *c, uint64_t ram_addr)
{
    (void)c;
    return &env_mark[ram_addr >> 18];
}
static struct xbt_host_ops env_host = {
    .code_page_watch = env_code_page_watch,
    .code_page_dma = env_code_page_dma,
    .code_dma_word = env_code_dma_word,
};

/* ---- a VM with one vCPU ---- */

static struct xbt_vm env_vm;
static struct guest_cpu *env_cpu;

static inline struct guest_cpu *env_new_cpu(unsigned index)
{
    struct guest_cpu *c = aligned_alloc(64, (sizeof(*c) + 63) & ~(size_t)63);

    memset(c, 0, sizeof(*c));
    c->vm = &env_vm;
    c->host = &env_host;
    c->index = index;
    return c;
}

static inline struct tb_store *env_start_opt(unsigned mib, bool wx, bool no_split)
{
    const char *why = NULL;

    memset(&env, 0, sizeof(env));
    memset(&env_vm, 0, sizeof(env_vm));
    env_vm.opt.tb_size_mib = mib;
    env_vm.opt.wx = wx;
    env_vm.opt.no_split = no_split;
    env_cpu = env_new_cpu(0);
    env_vm.cpus[0] = env_cpu;
    env_vm.n_cpus = 1;
    env_vm.store = tb_store_new(&env_vm, &tb_hash_builtin, &why);
    if (!env_vm.store) {
        fprintf(stderr, "tb_store_new(%u, wx %d): %s\n", mib, wx, why);
        exit(1);
    }
    return env_vm.store;
}

static inline struct tb_store *env_start(unsigned mib, bool wx)
{
    return env_start_opt(mib, wx, false);
}

static inline void env_stop(void)
{
    tb_store_free(env_vm.store);
    env_vm.store = NULL;
    free(env_cpu);
}

/* ---- TBs ---- */

/*
 * Code of a test TB, by offset: 0 entry; per exit i at 64 + 64 i: +0 branch rel32, +16 branch_full, +24
 * branch_noflags, +32 jump rel32, +48 jump_unlinked.
 */
#define CODE_BYTES 256u
#define ENV_EXITS  2u
#define COLD_BYTES 40u
#define ENV_PARTS  (ENV_EXITS * sizeof(struct tb_exit) + 2 * sizeof(struct tb_hole) + 8 + 8) /* room for fixes, too */

static inline struct tb_key env_key(uint64_t phys_pc)
{
    return (struct tb_key){.phys_pc = phys_pc, .cs_limit = 0xffffffff, .lip = 0x7f0000000000ull + phys_pc};
}

static inline void env_set_rel(struct tb_store *s, uint8_t *site, const uint8_t *target)
{
    *(int32_t *)tb_rw(s, site) = (int32_t)(target - (site + 4));
}

static inline const uint8_t *env_target(const uint8_t *site)
{
    return site + 4 + *(const int32_t *)site;
}

static inline void env_set_exit(struct tb_store *s, struct tb *tb, unsigned i)
{
    struct tb_exit *e = tb_rw(s, &tb_exits(tb)[i]);
    uint8_t *at = tb_entry(tb) + 64 + 64 * i;

    tb_exit_set_lip(tb, e, tb->key.lip + 0x1000 * i);
    e->flags = TBX_USED;
    e->branch = tb_place(tb, at);
    e->branch_full = tb_place(tb, at + 16);
    e->branch_noflags = tb_place(tb, at + 24);
    e->jump = tb_place(tb, at + 32);
    e->jump_unlinked = tb_place(tb, at + 48);
    env_set_rel(s, at, at + 16);
    env_set_rel(s, at + 32, at + 48);
}

/* Make a TB of `code_bytes` host bytes; NULL when the cache is full.  Not inserted. */
static inline struct tb *env_make(struct guest_cpu *c, uint64_t phys_pc, unsigned guest_size,
                                  unsigned code_bytes)
{
    struct tb_store *s = c->vm->store;
    struct tb_room room;
    struct tb *tb = tb_alloc(c, code_bytes + COLD_BYTES + ENV_PARTS, &room), *w;
    uint8_t *cold;

    if (!tb) {
        return NULL;
    }
    CHECK(!room.code == c->vm->opt.no_split);
    CHECK(!room.code || room.code_limit - room.code >= (ptrdiff_t)code_bytes);
    CHECK(room.cold_limit - room.cold >= (ptrdiff_t)(code_bytes + COLD_BYTES + ENV_PARTS));
    cold = tb_place_parts(c, tb, ENV_EXITS, 2, 0);
    w = tb_rw(s, tb);
    w->n_holes = 0;
    CHECK(tb->in_first == 0 && tb->invalid == 0 && tb->inserted == 0);
    w->key = env_key(phys_pc);
    CHECK(tb_place_code(c, tb, room.code ? room.code : cold, code_bytes, room.code ? cold : cold + code_bytes,
                        COLD_BYTES));
    w->guest_size = (uint16_t)guest_size;
    w->n_insns = 3;
    w->n_pages = 1;
    if (((phys_pc + guest_size - 1) ^ phys_pc) >> 12) {
        w->n_pages = 2;
        w->page2 = (uint32_t)((phys_pc + guest_size - 1) >> 12);
    }
    for (unsigned i = 0; i < ENV_EXITS; i++) {
        if (code_bytes >= CODE_BYTES) {
            env_set_exit(s, tb, i);
        }
    }
    tb_alloc_done(c, tb, tb_cold(tb) + COLD_BYTES + 8);
    return tb;
}

static inline struct tb *env_add(struct guest_cpu *c, uint64_t phys_pc, unsigned guest_size)
{
    struct tb *tb = env_make(c, phys_pc, guest_size, CODE_BYTES);

    CHECK(tb != NULL);
    tb_insert(c, tb);
    return tb;
}

static inline struct tb *env_find(struct guest_cpu *c, uint64_t phys_pc)
{
    struct tb_key k = env_key(phys_pc);

    return tb_lookup(c, &k);
}

#endif
