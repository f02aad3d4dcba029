/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tlb.c - tables in both formats: fills, what each flush removes and keeps, address spaces, code
 * contexts, and the bounds on logs and memory.
 */
#include "test_tlb_env.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define U 0x400000ull           /* a user page */
#define K 0xffffffff81005000ull /* a kernel page */
#define RW (E_P | E_W | E_A | E_D)

static enum paging pg = PG_4;

/* What generated code does with the table in c->rtab / c->wtab. */
static uint8_t *lookup(const uint64_t *tab, uint64_t lin)
{
    if (tlb_format(c) == TLB_FLAT) {
        uint64_t e = tab[(lin & c->ea_mask) >> 12];
        return e ? (uint8_t *)(lin + e) : NULL;
    }
    uint64_t i = (lin & c->ea_mask) >> 12;
    return tab[i] == (lin & ~0xfffull) ? (uint8_t *)(lin + tab[i + TLB_TAGGED_SIZE]) : NULL;
}
static uint8_t *hit_r(uint64_t lin) { return lookup(c->rtab, lin); }
static uint8_t *hit_w(uint64_t lin) { return lookup(c->wtab, lin); }

static void mode(enum mmu_mode m)
{
    c->mmu_mode = (uint8_t)m;
    c->hflags = (c->hflags & ~3u) | (m == MMU_USER ? 3 : 0);
    tlb_set_mode(c);
}
static void load(uint64_t lin) { CHECK(tlb_slow_read(c, lin, 1)); }
static void store(uint64_t lin) { CHECK(tlb_slow_write(c, lin, 1, 0)); }

static void test_fill(void)
{
    map(pg, U, 0x345000 | E_P | E_W | E_U);
    mode(MMU_USER);
    CHECK(!hit_r(U) && !hit_w(U));
    CHECK(tlb_slow_read(c, U + 0x123, 4) == ram + 0x345123);
    CHECK(hit_r(U + 7) == ram + 0x345007 && !hit_w(U));
    CHECK(tlb_slow_write(c, U + 0x10, 4, 0) == ram + 0x345010);
    CHECK(hit_w(U + 7) == ram + 0x345007);
    mode(MMU_KERNEL);
    CHECK(!hit_r(U) && !hit_w(U));
    mode(MMU_KERNEL_NOSMAP);
    store(U);
    CHECK(hit_r(U) && hit_w(U));
    mode(MMU_USER);
    tlb_flush_page(c, U + 0xfff);
    CHECK(!hit_r(U) && !hit_w(U));
    mode(MMU_KERNEL_NOSMAP);
    CHECK(!hit_r(U) && !hit_w(U));
    map(pg, K, 0x346000 | E_P | E_G | E_W);
    store(K + 0xfff);
    CHECK(hit_w(K) == ram + 0x346000);
    mode(MMU_USER);
    CHECK(!hit_r(K));
    CHECK_PF(tlb_slow_read(c, K, 1), K, 5);
    CHECK_PF(tlb_slow_write(c, U + 0x5008, 8, 0), U + 0x5008, 6);
    CHECK(FAULTS(tlb_slow_read(c, 1ull << 47, 1)) && fault_vector == EXC_GP && fault_error == 0);
    c->slow_flags = 1;
    CHECK(FAULTS(tlb_slow_write(c, ~(1ull << 47), 1, 0)) && fault_vector == EXC_SS && !c->slow_flags);
    mode(MMU_KERNEL);
}

static void fill_both(void)
{
    map(pg, U, 0x345000 | RW | E_U);
    map(pg, K, 0x346000 | RW | E_G);
    mode(MMU_KERNEL);
    store(U);
    store(K);
    CHECK(hit_w(U) && hit_r(U) && hit_w(K) && hit_r(K));
}

static void test_flush(void)
{
    fill_both();
    tlb_cr3_written(c, false);
    CHECK(!hit_w(U) && !hit_r(U) && hit_w(K) && hit_r(K));
    fill_both();
    tlb_flush_nonglobal(c, TLBF_OTHER);
    CHECK(!hit_w(U) && !hit_r(U) && hit_w(K) && hit_r(K));
    fill_both();
    tlb_flush_page(c, K);
    CHECK(hit_w(U) && hit_r(U) && !hit_w(K) && !hit_r(K));
    fill_both();
    tlb_flush_all(c, TLBF_CR4);
    CHECK(!hit_w(U) && !hit_r(U) && !hit_w(K) && !hit_r(K));

    /* CR4.PGE = 0: nothing is global. */
    c->cr[4] &= ~CR4_PGE;
    fill_both();
    tlb_cr3_written(c, false);
    CHECK(!hit_w(K) && !hit_r(K));
    c->cr[4] |= CR4_PGE;
}

static void pkru(uint32_t v)
{
    uint32_t denied = v & ~c->pkru;

    c->pkru = v;
    tlb_flush_pkru(c, denied);
}

/* Only pages whose key loses a right are dropped, in every mode; without room to list them, everything. */
static void test_pkru(void)
{
    uint64_t key5 = U + 0x1000, key9 = U + 0x2000;

    c->cr[4] |= CR4_PKE;
    c->pkru = 0;
    tlb_flush_all(c, TLBF_CR4);
    map(pg, U, 0x345000 | RW | E_U);
    map(pg, key5, 0x346000 | RW | E_U | 5ull << 59);
    map(pg, key9, 0x347000 | RW | E_U | 9ull << 59);
    mode(MMU_KERNEL_NOSMAP);
    store(key5);
    mode(MMU_USER);
    struct code_page before = tlb_code_page(c, key5);
    tlb_cp_note(c, key5, &before);
    for (unsigned i = 0; i < 2; i++) {
        store(U);
        store(key5);
        store(key9);
        pkru(2u << 10);
        CHECK(hit_w(U) && hit_r(U) && hit_w(key9) && !hit_w(key5) && c->cp[cp_slot(key5)] == before.cp_id);
        load(key5);
        CHECK_PF(tlb_slow_write(c, key5, 1, 0), key5, 0x27);
        mode(MMU_KERNEL_NOSMAP);
        CHECK(!hit_w(key5));
        mode(MMU_USER);
        pkru(1u << 18);
        CHECK(hit_w(U) && hit_r(key5) && !hit_r(key9) && !hit_w(key9));
        pkru(0);
        CHECK(hit_w(U) && hit_r(key5));
    }
    /* A large page: all of it. */
    map_at(pg, U + 0x600000, 0x600000 | RW | E_U | E_PS | 5ull << 59, 2);
    store(U + 0x600000);
    store(U + 0x7ff000);
    pkru(1u << 10);
    CHECK(!hit_w(U + 0x600000) && !hit_w(U + 0x7ff000) && hit_w(U));
    /* Key 0. */
    pkru(1);
    CHECK(!hit_r(U));
    pkru(0);
    for (unsigned i = 0; i < 80; i++) {
        map(pg, key5 + i * 4096ull, (0x400000 + i * 4096ull) | RW | E_U | 5ull << 59);
        store(key5 + i * 4096ull);
    }
    pkru(1u << 10);
    for (unsigned i = 0; i < 80; i++) {
        CHECK(!hit_r(key5 + i * 4096ull));
    }
    c->cr[4] &= ~CR4_PKE;
    c->pkru = 0;
    tlb_flush_all(c, TLBF_CR4);
    mode(MMU_KERNEL);
}

static void cr3(unsigned pcid, bool noflush)
{
    c->cr[3] = (c->cr[3] & ~0xfffull) | pcid;
    tlb_cr3_written(c, noflush);
}

static void test_pcid(void)
{
    c->cr[4] |= CR4_PCIDE;
    tlb_flush_all(c, TLBF_CR4);
    cr3(1, false);
    fill_both();
    cr3(2, false);
    CHECK(!hit_r(U));
    fill_both();
    cr3(1, true);
    CHECK(hit_r(U) && hit_w(U) && hit_r(K));
    cr3(2, true);
    CHECK(hit_r(U));
    cr3(1, false);
    CHECK(!hit_r(U) && hit_r(K));
    cr3(2, true);
    CHECK(hit_r(U));

    /* INVLPG: this PCID's mapping; global ones everywhere. */
    cr3(1, true);
    fill_both();
    tlb_flush_page(c, U);
    CHECK(!hit_r(U));
    tlb_flush_page(c, K);
    cr3(2, true);
    CHECK(hit_r(U) && !hit_r(K));

    /* INVPCID types 0 and 1. */
    fill_both();
    cr3(1, true);
    fill_both();
    tlb_flush_pcid_page(c, 2, U);
    CHECK(hit_r(U));
    cr3(2, true);
    CHECK(!hit_r(U));
    fill_both();
    cr3(1, true);
    tlb_flush_pcid(c, 2);
    CHECK(hit_r(U));
    cr3(2, true);
    CHECK(!hit_r(U) && hit_r(K));

    /* Another page directory under the same PCID. */
    fill_both();
    uint64_t old = c->cr[3];
    c->cr[3] = pt_alloc() | 2;
    tlb_cr3_written(c, true);
    CHECK(!hit_r(U));
    c->cr[3] = old;
    tlb_cr3_written(c, true);

    /* More PCIDs than spaces: the oldest go, nothing stale comes back. */
    for (unsigned i = 1; i <= 40; i++) {
        cr3(i, true);
        CHECK(!hit_r(U) || i == 2 || i == 1);
        fill_both();
    }
    CHECK(c->stat[ST_SPACE_EVICT] >= 40 - TLB_SPACES);
    cr3(40, true);
    CHECK(hit_r(U));
    cr3(3, true);
    CHECK(!hit_r(U));
    c->cr[4] &= ~CR4_PCIDE;
    c->cr[3] &= ~0xfffull;
    tlb_flush_all(c, TLBF_CR4);
}

static void test_large(void)
{
    uint64_t big = 0xffff888000000000ull, lin;

    for (unsigned level = 2; level <= 3; level++) {
        /* Levels of 2 MiB and 1 GiB; the fills are far apart, the INVLPG in a part that was not touched. */
        lin = big + ((uint64_t)level << 39);
        map_at(pg, lin, RW | E_PS | (level == 2 ? E_G : 0), level);
        store(lin + 0x1000);
        store(lin + 0x1ff000);
        load(lin + 0x100000);
        if (level == 3) {
            store(lin + (60 << 20));
        }
        CHECK(hit_w(lin + 0x1000) == ram + 0x1000 && hit_w(lin + 0x1ff000) && hit_r(lin + 0x100000));
        tlb_flush_page(c, level == 3 ? lin + (500 << 20) : lin + 0x77777);
        CHECK(!hit_r(lin + 0x1000) && !hit_w(lin + 0x1000) && !hit_w(lin + 0x1ff000) &&
              !hit_r(lin + 0x100000));
        if (level == 3) {
            CHECK(!hit_w(lin + (60 << 20)));
        }
    }
    /* A 4 KiB page next door stays, and small INVLPGs still work after large fills. */
    map(pg, U, 0x345000 | RW);
    map(pg, U + 0x1000, 0x346000 | RW);
    store(U);
    store(U + 0x1000);
    tlb_flush_page(c, U);
    CHECK(!hit_r(U) && hit_r(U + 0x1000));
}

/* 4 MiB pages of 32-bit paging span two regions. */
static void test_large_4m(void)
{
    env_paging(PG_32);
    mode(MMU_KERNEL);
    map_at(PG_32, 0xc0000000, RW | E_PS, 2);
    store(0xc0001000);
    store(0xc03ff000);
    CHECK(hit_w(0xc0001000) == ram + 0x1000 && hit_w(0xc03ff000) == ram + 0x3ff000);
    tlb_flush_page(c, 0xc0200000);
    CHECK(!hit_w(0xc0001000) && !hit_r(0xc0001000) && !hit_w(0xc03ff000));
    env_paging(PG_4);
    mode(MMU_KERNEL);
}

/* Code contexts. */
static void *jc_get(uint64_t lip)
{
    const struct jc_entry *e = jc_find(c->jc, lip);
    return e ? e->host : NULL;
}
static void enter(uint64_t lip)
{
    struct code_page p = tlb_code_page(c, lip);
    CHECK(p.host && p.cp_id);
    tlb_cp_note(c, lip, &p);
    tlb_jc_insert(c, lip, (void *)(lip ^ 0x55));
    CHECK(jc_get(lip) == (void *)(lip ^ 0x55));
    CHECK_EQ(c->cp[cp_slot(lip)], p.cp_id);
}
static void test_code(void)
{
    map(pg, U, 0x345000 | RW | E_U);
    map(pg, U + 0x1000, 0x347000 | RW | E_U);
    map(pg, K, 0x346000 | RW | E_G);
    map(pg, K + 0x1000, 0x348000 | RW);

    /* Ids name the pair. */
    mode(MMU_USER);
    struct code_page a = tlb_code_page(c, U + 5), b = tlb_code_page(c, U + 0x1000);
    CHECK(a.host == ram + 0x345000 && a.ram_addr == RAM_BASE + 0x345000 && a.gpa == 0x345000 && !a.global);
    CHECK(a.cp_id && b.cp_id && a.cp_id != b.cp_id);
    tlb_flush_all(c, TLBF_OTHER);
    CHECK_EQ(tlb_code_page(c, U).cp_id, a.cp_id);
    map(pg, U, 0x349000 | RW | E_U);
    CHECK_EQ(tlb_code_page(c, U).cp_id, a.cp_id); /* cached until flushed */
    tlb_flush_page(c, U);
    CHECK(tlb_code_page(c, U).cp_id != a.cp_id);
    map(pg, U, 0x345000 | RW | E_U);
    tlb_flush_page(c, U);
    CHECK_EQ(tlb_code_page(c, U).cp_id, a.cp_id);

    /* INVLPG drops what belongs to the page, or to the page before (a block may run on). */
    enter(U + 0x10);
    tlb_flush_page(c, U + 0x8000);
    CHECK(jc_get(U + 0x10) && c->cp[cp_slot(U)]);
    tlb_flush_page(c, U + 0x1000);
    CHECK(!jc_get(U + 0x10) && c->cp[cp_slot(U)]);
    enter(U + 0x10);
    tlb_flush_page(c, U);
    CHECK(!jc_get(U + 0x10) && !c->cp[cp_slot(U)]);

    /* User and kernel are apart; global kernel entries survive CR3 writes. */
    enter(U + 0x10);
    mode(MMU_KERNEL);
    CHECK(!jc_get(U + 0x10));
    enter(K + 0x20);
    tlb_cr3_written(c, false);
    CHECK(jc_get(K + 0x20) && c->cp[cp_slot(K)]);
    mode(MMU_USER);
    CHECK(!jc_get(U + 0x10) && !c->cp[cp_slot(U)]);
    mode(MMU_KERNEL);
    enter(K + 0x1020);
    tlb_cr3_written(c, false);
    CHECK(!jc_get(K + 0x1020) && !c->cp[cp_slot(K + 0x1000)]);
    enter(K + 0x20);
    tlb_flush_nonglobal(c, TLBF_OTHER);
    CHECK(jc_get(K + 0x20));
    tlb_flush_page(c, K);
    CHECK(!jc_get(K + 0x20) && !c->cp[cp_slot(K)]);
    enter(K + 0x20);
    tlb_flush_all(c, TLBF_OTHER);
    CHECK(!jc_get(K + 0x20) && !c->cp[cp_slot(K)]);

    /* The mode key. */
    enter(K + 0x20);
    c->hflags |= HF_NM_SSE;
    tlb_set_mode(c);
    CHECK(!jc_get(K + 0x20));
    c->hflags &= ~HF_NM_SSE;
    tlb_set_mode(c);
    enter(K + 0x20);
    c->hflags |= HF_SHADOW; /* passes: nothing found, nothing entered, nothing lost */
    tlb_set_mode(c);
    CHECK(!jc_get(K + 0x20));
    tlb_jc_insert(c, K + 0x30, c);
    CHECK(!jc_get(K + 0x30));
    c->hflags &= ~HF_SHADOW;
    tlb_set_mode(c);
    CHECK(jc_get(K + 0x20));

    /* Removal of one, and of a full cache. */
    tlb_jc_remove(c, K + 0x20, (void *)1);
    CHECK(jc_get(K + 0x20));
    tlb_jc_remove(c, K + 0x20, (void *)((K + 0x20) ^ 0x55));
    CHECK(!jc_get(K + 0x20));
    for (unsigned i = 0; i < 4000; i++) {
        tlb_jc_insert(c, K + i, c);
    }
    CHECK(jc_get(K + 3999));
    tlb_jc_clear(c);
    for (unsigned i = 0; i < 4000; i++) {
        CHECK(!jc_get(K + i));
    }

    /* An empty slot answers no address at all: a guest may jump to ~0. */
    for (unsigned i = 0; i < 1u << JC_BITS; i++) {
        CHECK(!jc_find(c->jc, c->jc[i].lip));
    }

    /* Two addresses of one hash have room, a third one takes their places in turn; removal finds either. */
    uint64_t same[] = { K + 0x20, K + 0x20 + (1ull << 27), K + 0x20 + (2ull << 27), K + 0x20 + (3ull << 27) };
    for (unsigned ways = 2; ways; ways--) {
        c->vm->opt.no_jc_ways = ways == 1;
        for (unsigned i = 0; i < 4; i++) {
            unsigned n = 0;
            CHECK_EQ(jc_hash(same[i]), jc_hash(same[0]));
            tlb_jc_insert(c, same[i], &same[i]);
            tlb_jc_insert(c, same[i], &same[i]);
            for (unsigned k = 0; k < 4; k++) {
                n += jc_get(same[k]) == &same[k];
            }
            CHECK(jc_get(same[i]) == &same[i]);
            CHECK_EQ(n, i + 1 < ways ? i + 1 : ways);
        }
        tlb_jc_remove(c, same[3], &same[3]);
        CHECK(!jc_get(same[3]));
        tlb_jc_clear(c);
        CHECK(!jc_get(same[2]));
    }
    c->vm->opt.no_jc_ways = false;

    /* Code on a large page: INVLPG anywhere in it. */
    uint64_t big = 0xffffffffa0000000ull;
    map_at(pg, big, 0x400000 | RW | E_PS | E_G, 2);
    enter(big + 0x3010);
    tlb_flush_page(c, big + 0x100000);
    CHECK(!jc_get(big + 0x3010) && !c->cp[cp_slot(big + 0x3000)]);

    /* Faults of fetches. */
    map(pg, U, 0x345000 | RW | E_U | E_NX);
    tlb_flush_page(c, U);
    mode(MMU_USER);
    CHECK_PF(tlb_code_page(c, U + 0x123), U + 0x123, 1 | 4 | 16);
    CHECK_PF(tlb_code_page(c, K), K, 1 | 4 | 16);
    CHECK(FAULTS(tlb_code_page(c, 1ull << 60)) && fault_vector == EXC_GP);
    mode(MMU_KERNEL);
    map(pg, K, MMIO_GPA | RW);
    tlb_flush_page(c, K);
    CHECK(!tlb_code_page(c, K).host && tlb_code_page(c, K).ram_addr == ~0ull);
    CHECK_EQ(tlb_code_page(c, K).gpa, MMIO_GPA);
}

/* A large program's code pages stay known until they are flushed, also those behind the lists of what is dirty. */
static void test_many_code_pages(void)
{
    const uint64_t base = 0x10000000;

    /* A block of two pages waits for both ids. */
    for (unsigned bit = 12; bit < 64; bit++) {
        CHECK(cp_slot((1ull << bit) - 4096) != cp_slot(1ull << bit));
    }
    CHECK(cp_slot(~0xfffull) != cp_slot(0) && cp_slot(0x1ffffff000) != cp_slot(0x2000000000));
    mode(MMU_USER);
    for (unsigned n = 100; n <= 3000; n += 2900) {
        for (unsigned i = 0; i < n; i++) {
            map(pg, base + i * 4096ull, (0x100000 + i * 4096ull) | E_P | E_U | E_A);
        }
        for (unsigned turn = 0; turn < 3; turn++) {
            uint64_t fills = c->stat[ST_TLB_FILL_CODE];

            for (unsigned i = 0; i < n; i++) {
                struct code_page p = tlb_code_page(c, base + i * 4096ull);

                CHECK(p.host == ram + 0x100000 + i * 4096ull);
                tlb_cp_note(c, base + i * 4096ull, &p);
            }
            CHECK_EQ(c->stat[ST_TLB_FILL_CODE] - fills, turn == 1 ? 0 : n);
            for (unsigned i = 0; i < n; i++) {
                CHECK_EQ(c->cp[cp_slot(base + i * 4096ull)], tlb_code_page(c, base + i * 4096ull).cp_id);
            }
            if (turn == 1) {
                tlb_cr3_written(c, false);
                for (unsigned i = 0; i < CP_SLOTS; i++) {
                    CHECK_EQ(c->cp[i], 0);
                }
            }
        }
        tlb_cr3_written(c, false);
    }
    mode(MMU_KERNEL);
}

static void test_unwrite(void)
{
    map(pg, U, 0x345000 | RW | E_U);
    map(pg, U + 0x1000, 0x345000 | RW | E_U);
    map(pg, U + 0x2000, 0x346000 | RW | E_U);
    map(pg, K, 0x345000 | RW | E_G);
    tlb_flush_all(c, TLBF_OTHER);
    mode(MMU_USER);
    store(U);
    store(U + 0x1000);
    store(U + 0x2000);
    mode(MMU_KERNEL);
    store(U);
    store(K);
    tlb_unwrite_page(c, RAM_BASE + 0x345000);
    CHECK(!hit_w(U) && !hit_w(K) && hit_r(U) && hit_r(K));
    mode(MMU_USER);
    CHECK(!hit_w(U) && !hit_w(U + 0x1000) && hit_w(U + 0x2000) && hit_r(U + 0x1000));

    /* Chains stay whole through flushes in any order. */
    srandom(7);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t lin = U + 0x10000 + ((uint64_t)random() % 64) * 4096,
                 ra = 0x400000 + (random() % 8) * 4096ull;
        map(pg, lin, ra | RW | E_U | (random() & 1 ? E_G : 0));
        tlb_flush_page(c, lin);
        store(lin);
        switch (random() % 50) {
        case 0:
            tlb_cr3_written(c, false);
            break;
        case 1:
            tlb_flush_all(c, TLBF_OTHER);
            break;
        case 2:
            tlb_flush_nonglobal(c, TLBF_OTHER);
            break;
        }
        if (i % 3 == 0) {
            ra = 0x400000 + (random() % 8) * 4096ull;
            tlb_unwrite_page(c, RAM_BASE + ra);
            for (unsigned k = 0; k < 64; k++) {
                lin = U + 0x10000 + k * 4096ull;
                CHECK(!hit_w(lin) || hit_w(lin) != ram + ra);
            }
        }
    }
    mode(MMU_KERNEL);
}

/* A guest that fills and invalidates for ever, or spreads its pages: logs and tables stay bounded. */
static void test_bounds(void)
{
    struct tlb_vcpu *v = c->tlb;

    mode(MMU_KERNEL);
    map(pg, U, 0x345000 | RW);
    map(pg, U + 0x1000, 0x346000 | RW);
    for (unsigned i = 0; i < 700000; i++) {
        store(U);
        tlb_flush_page(c, U);
        if (i % 1000 == 0) {
            store(U + 0x1000);
        }
        CHECK(!hit_w(U));
    }
    CHECK(v->log_total <= LOG_TOTAL_MAX);
    if (tlb_format(c) != TLB_FLAT) {
        return;
    }
    /* One page in each of 30000 regions; a self-map keeps the page tables small. */
    uint64_t pd = pt_alloc(), pt = pt_alloc();
    for (unsigned i = 0; i < 512; i++) {
        *ram64(pd + i * 8) = pt | 7;
    }
    *ram64(pt) = 0x347000 | RW;
    uint64_t base = 0xffffa00000000000ull;
    for (unsigned i = 0; i < 60; i++) {
        map_at(pg, base + ((uint64_t)i << 30), pd | 7, 3);
    }
    for (unsigned i = 0; i < 30000; i++) {
        uint64_t lin = base + ((uint64_t)i << 21);
        store(lin);
        CHECK(hit_w(lin) == ram + 0x347000);
        CHECK(v->touch_total <= TOUCH_PAGES_MAX + 1 && c->space->n_regions <= TOUCH_REGIONS_MAX);
    }
    /* Addresses that only fault count too. */
    mode(MMU_USER);
    for (unsigned i = 0; i < 30000; i++) {
        CHECK(FAULTS(tlb_slow_read(c, 0x100000000000ull + ((uint64_t)i << 30), 1)));
        CHECK(v->touch_total <= TOUCH_PAGES_MAX + 1);
    }
    mode(MMU_KERNEL);
    /* Fills of other spaces are given back before those in use. */
    tlb_flush_all(c, TLBF_OTHER);
    CHECK(!hit_w(base));
}

/* Any mix of mapping changes with the proper flushes, against a walk. */
static void test_random(void)
{
    static const uint64_t lins[] = { U, U + 0x1000, 0x7fffffffe000, K, K + 0x1000, 0xffff888000000000ull };
    uint64_t entry[6] = { 0 };

    c->cr[4] |= CR4_PCIDE;
    tlb_flush_all(c, TLBF_CR4);
    srandom(3);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned k = (unsigned)random() % 6;
        uint64_t lin = lins[k] + (unsigned)random() % 4096;
        switch (random() % 8) {
        case 0:
            entry[k] = (((uint64_t)random() % 512) << 12) | (random() & (E_P | E_W | E_U | E_A | E_D | E_G));
            entry[k] |= E_P;
            map(pg, lin, entry[k]);
            tlb_flush_pcid_page(c, (unsigned)random() % 20, lin); /* of some other space: not enough */
            for (unsigned p = 0; p < 20; p++) {
                tlb_flush_pcid_page(c, p, lin);
            }
            break;
        case 1:
            cr3((unsigned)random() % 20, random() & 1);
            break;
        case 2:
            mode((enum mmu_mode)(random() % 3));
            break;
        default: {
            bool write = random() & 1;
            uint8_t *h = write ? hit_w(lin) : hit_r(lin);
            struct walk_result w = tlb_walk(c, lin, write ? ACC_WRITE : ACC_READ, c->mmu_mode, false);
            if (h) {
                CHECK(w.ok && h == ram + w.gpa);
                CHECK(!write || w.writable);
            } else if (w.ok) {
                CHECK((write ? tlb_slow_write(c, lin, 1, 0) : tlb_slow_read(c, lin, 1)) == ram + w.gpa);
            }
        }
        }
    }
    c->cr[4] &= ~CR4_PCIDE;
    c->cr[3] &= ~0xfffull;
    tlb_flush_all(c, TLBF_CR4);
    mode(MMU_KERNEL);
}

/* Address space refused: the tagged format is chosen, a forced flat one says why not. */
static void __attribute__((unused)) test_refused(void)
{
    pid_t p = fork();

    if (p == 0) {
        struct rlimit rl = { 16ull << 30, 16ull << 30 };
        const char *why = NULL;
        setrlimit(RLIMIT_AS, &rl);
        env_start(-1);
        CHECK_EQ(tlb_format(c), TLB_TAGGED);
        CHECK(tlb_can_la57(c));
        tlb_destroy(c);
        CHECK_EQ(tlb_init(c, TLB_FLAT, &why), -1);
        CHECK(why && *why && !c->tlb);
        _exit(0);
    }
    int st;
    waitpid(p, &st, 0);
    CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

/* Page walks that one more store to a page with code takes. */
static uint64_t code_store_walks(void)
{
    store(U);
    uint64_t before = c->stat[ST_PAGE_WALKS];
    store(U);
    return c->stat[ST_PAGE_WALKS] - before;
}

/* What is switched off is not done (translator/optimisations.inc). */
static void test_switches(void)
{
    vm.opt.no_exact = true;
    fill_both();
    tlb_flush_page(c, K);
    CHECK(!hit_r(U) && !hit_r(K));
    vm.opt.no_exact = false;

    vm.opt.no_global = true;
    tlb_flush_all(c, TLBF_CR4);
    fill_both();
    tlb_cr3_written(c, false);
    CHECK(!hit_r(U) && !hit_r(K));
    vm.opt.no_global = false;

    c->cr[4] |= CR4_PCIDE;
    vm.opt.no_pcid = true;
    cr3(1, false);
    fill_both();
    cr3(2, true);
    cr3(1, true);
    CHECK(!hit_r(U) && hit_r(K));
    vm.opt.no_pcid = false;
    cr3(0, false);
    c->cr[4] &= ~CR4_PCIDE;

    tlb_flush_all(c, TLBF_CR4);
    map(pg, U, 0x345000 | RW | E_U);
    mode(MMU_KERNEL);
    env_code[0x345800 / 64] = 1;
    CHECK_EQ(code_store_walks(), 0);
    vm.opt.no_code_stores = true;
    CHECK_EQ(code_store_walks(), 1);
    vm.opt.no_code_stores = false;
    env_code[0x345800 / 64] = 0;
    tlb_flush_all(c, TLBF_CR4);
}

static void all(int format)
{
    env_start(format);
    env_paging(pg);
    CHECK_EQ(tlb_can_la57(c), format == TLB_TAGGED);
    test_fill();
    test_flush();
    test_pkru();
    test_pcid();
    test_switches();
    test_large();
    test_code();
    test_many_code_pages();
    test_unwrite();
    test_bounds();
    test_random();
    test_large_4m();
    env_stop();
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* With an argument: what a miss costs. */
static void measure(int format)
{
    env_start(format);
    env_paging(pg);
    for (unsigned i = 0; i < 256; i++) {
        map(pg, U + i * 4096ull, (0x400000 + i * 4096ull) | RW | E_U);
    }
    mode(MMU_USER);
    double t = now();
    for (unsigned r = 0; r < 2000; r++) {
        for (unsigned i = 0; i < 256; i++) {
            tlb_slow_read(c, U + i * 4096ull, 4);
        }
        tlb_cr3_written(c, false);
    }
    double fill = (now() - t) / (2000 * 256);
    t = now();
    for (unsigned r = 0; r < 2000; r++) {
        for (unsigned i = 0; i < 256; i++) {
            tlb_slow_write(c, U + i * 4096ull, 4, 0);
        }
        tlb_cr3_written(c, false);
    }
    double wfill = (now() - t) / (2000 * 256);
    t = now();
    for (unsigned r = 0; r < 1000000; r++) {
        tlb_flush_page(c, U + (r & 255) * 4096ull);
    }
    printf("format %d: read miss + flush %.0f ns, write miss + flush %.0f ns, INVLPG %.0f ns\n", format, fill,
           wfill, (now() - t) / 1e6);
    env_stop();
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        measure(TLB_FLAT);
        measure(TLB_TAGGED);
        return 0;
    }
    env_start(-1);
    bool flat = tlb_format(c) == TLB_FLAT;
    env_stop();
    if (flat) {
        all(TLB_FLAT);
    }
    all(TLB_TAGGED);
#ifndef __SANITIZE_ADDRESS__ /* whose shadow needs address space of its own */
    test_refused();
#endif
    return 0;
}
