/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_walk.c - the page-table walk in every paging mode: addresses, rights, error codes, accessed and dirty
 * bits.
 */
#include "test_tlb_env.h"

#include <pthread.h>

#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_RSVD 8u
#define PF_ID 16u
#define PF_PK 32u

static void walk_ok(uint64_t lin, enum access a, enum mmu_mode m, uint64_t gpa)
{
    struct walk_result r = tlb_walk(c, lin, a, m, true);
    CHECK(r.ok);
    CHECK_EQ(r.gpa, gpa);
}
static void walk_err(uint64_t lin, enum access a, enum mmu_mode m, uint32_t err)
{
    struct walk_result r = tlb_walk(c, lin, a, m, true);
    CHECK(!r.ok);
    CHECK_EQ(r.error, err);
}

static void test_off(void)
{
    env_start(-1);
    env_paging(PG_OFF);
    walk_ok(0x123456, ACC_WRITE, MMU_KERNEL, 0x123456);
    walk_ok(0x1fffff123ull, ACC_READ, MMU_KERNEL, 0xfffff123);
    c->a20_mask = ~(1ull << 20);
    walk_ok(0x123456, ACC_WRITE, MMU_KERNEL, 0x023456);
    CHECK_EQ(tlb_debug_phys(c, 0x123456), 0x023456);
    env_stop();
}

static void test_32(void)
{
    env_start(-1);
    env_paging(PG_32);
    uint64_t lin = 0xc0123000;
    map(PG_32, lin, 0x345000 | E_P | E_W | E_U);
    CHECK_EQ(tlb_debug_phys(c, lin + 5), 0x345005);
    CHECK_EQ(entry_at(PG_32, lin, 1), 0x345000 | E_P | E_W | E_U);
    walk_ok(lin + 0xabc, ACC_READ, MMU_USER, 0x345abc);
    CHECK_EQ(entry_at(PG_32, lin, 1), 0x345000 | E_P | E_W | E_U | E_A);
    CHECK_EQ(entry_at(PG_32, lin, 2) & 0xfff, E_P | E_W | E_U | E_A);
    CHECK(!tlb_walk(c, lin, ACC_READ, MMU_USER, true).writable);
    walk_ok(lin, ACC_WRITE, MMU_USER, 0x345000);
    CHECK_EQ(entry_at(PG_32, lin, 1), 0x345000 | E_P | E_W | E_U | E_A | E_D);
    CHECK(tlb_walk(c, lin, ACC_READ, MMU_USER, true).writable);
    walk_err(0x1000, ACC_READ, MMU_KERNEL, 0);
    walk_err(0x1000, ACC_WRITE, MMU_USER, PF_W | PF_U);
    walk_err(0x1000, ACC_EXEC, MMU_USER, PF_U);
    c->cr[4] |= CR4_SMEP;
    walk_err(0x1000, ACC_EXEC, MMU_USER, PF_U | PF_ID);
    walk_err(lin, ACC_EXEC, MMU_KERNEL, PF_P | PF_ID);
    walk_ok(lin, ACC_EXEC, MMU_USER, 0x345000);

    /* Read-only and supervisor pages; CR0.WP. */
    map(PG_32, lin, 0x345000 | E_P | E_U);
    walk_err(lin, ACC_WRITE, MMU_USER, PF_P | PF_W | PF_U);
    walk_err(lin, ACC_WRITE, MMU_KERNEL, PF_P | PF_W);
    c->cr[0] &= ~CR0_WP;
    walk_ok(lin, ACC_WRITE, MMU_KERNEL, 0x345000);
    walk_err(lin, ACC_WRITE, MMU_USER, PF_P | PF_W | PF_U);
    map(PG_32, lin, 0x345000 | E_P | E_W);
    walk_err(lin, ACC_READ, MMU_USER, PF_P | PF_U);
    walk_ok(lin, ACC_READ, MMU_KERNEL, 0x345000);

    /* 4 MiB pages, PSE-36. */
    lin = 0x80000000;
    map_at(PG_32, lin, 0x01400000 | E_P | E_W | E_PS | E_G, 2);
    walk_ok(lin + 0x3abcde, ACC_WRITE, MMU_KERNEL, 0x017abcde);
    CHECK(tlb_walk(c, lin, ACC_READ, MMU_KERNEL, true).global);
    CHECK_EQ(tlb_walk(c, lin, ACC_READ, MMU_KERNEL, true).page_size, 4u << 20);
    CHECK_EQ(entry_at(PG_32, lin, 2), 0x01400000 | E_P | E_W | E_PS | E_G | E_A | E_D);
    map_at(PG_32, lin, 0x01400000 | E_P | 3u << 13 | E_PS, 2);
    walk_ok(lin, ACC_READ, MMU_KERNEL, 0x301400000ull);
    map_at(PG_32, lin, 0x01600000 | E_P | E_PS, 2); /* bit 21 */
    walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
    c->model.phys_bits = 36;
    map_at(PG_32, lin, 0x01400000 | E_P | 0x10u << 13 | E_PS, 2);
    walk_err(lin, ACC_WRITE, MMU_USER, PF_P | PF_RSVD | PF_W | PF_U);
    c->cr[4] &= ~CR4_PSE; /* PS is ignored */
    map_at(PG_32, lin, pt_alloc() | E_P | E_PS, 2);
    walk_err(lin, ACC_READ, MMU_KERNEL, 0);
    env_stop();
}

static void test_pae(void)
{
    env_start(-1);
    env_paging(PG_PAE);
    uint64_t lin = 0xbffff000;
    map(PG_PAE, lin, 0x345000 | E_P | E_W | E_U | E_NX);
    walk_ok(lin + 1, ACC_WRITE, MMU_USER, 0x345001);
    walk_err(lin, ACC_EXEC, MMU_USER, PF_P | PF_U | PF_ID);
    CHECK_EQ(entry_at(PG_PAE, lin, 3) & 0xfff, 1); /* no accessed bit in a PDPTE */
    CHECK_EQ(entry_at(PG_PAE, lin, 2) & 0xfff, 7 | E_A);
    map(PG_PAE, lin, 0x345000 | E_P | 1ull << 52);
    walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
    map(PG_PAE, lin, 0x345000 | E_P | 1ull << 40);
    walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
    map(PG_PAE, lin, 0x345000 | E_P | 1ull << 39);
    walk_ok(lin, ACC_READ, MMU_KERNEL, 0x8000345000ull);
    map_at(PG_PAE, lin, 0x600000 | E_P | E_W | E_PS, 2);
    walk_ok(lin, ACC_READ, MMU_KERNEL, 0x7ff000);
    map_at(PG_PAE, lin, 0x602000 | E_P | E_W | E_PS, 2);
    walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
    c->efer &= ~EFER_NXE;
    map_at(PG_PAE, lin, 0x600000 | E_P | E_PS | E_NX, 2);
    walk_err(lin, ACC_EXEC, MMU_KERNEL, PF_P | PF_RSVD);
    CHECK(tlb_pdptes_ok(c, c->cr[3]));
    *ram64(pt_slot(PG_PAE, lin, 3)) |= 2;
    CHECK(!tlb_pdptes_ok(c, c->cr[3]));
    walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
    *ram64(pt_slot(PG_PAE, lin, 3)) &= ~1ull;
    CHECK(tlb_pdptes_ok(c, c->cr[3]));
    walk_err(lin, ACC_READ, MMU_KERNEL, 0);
    env_stop();
}

static void test_long(enum paging pg)
{
    env_start(pg == PG_5 ? TLB_TAGGED : -1);
    env_paging(pg);
    uint64_t lin = pg == PG_5 ? 0x00f0123456789000ull : 0xffff888012345000ull;
    map(pg, lin, 0x345000 | E_P | E_W | E_U);
    walk_ok(lin + 0xfff, ACC_READ, MMU_USER, 0x345fff);
    for (unsigned l = 2; l <= (pg == PG_5 ? 5 : 4); l++) {
        CHECK_EQ(entry_at(pg, lin, l) & 0xfff, 7 | E_A);
    }
    walk_err(lin ^ (1ull << 38), ACC_READ, MMU_USER, PF_U);

    /* Rights of all levels are combined. */
    for (unsigned l = 1; l <= (pg == PG_5 ? 5 : 4); l++) {
        uint64_t *e = ram64(pt_slot(pg, lin, l));
        *e &= ~E_U;
        walk_err(lin, ACC_READ, MMU_USER, PF_P | PF_U);
        walk_ok(lin, ACC_READ, MMU_KERNEL, 0x345000);
        *e = (*e | E_U) & ~E_W;
        walk_err(lin, ACC_WRITE, MMU_USER, PF_P | PF_U | PF_W);
        walk_err(lin, ACC_WRITE, MMU_KERNEL, PF_P | PF_W);
        *e |= E_W | E_NX;
        walk_err(lin, ACC_EXEC, MMU_KERNEL, PF_P | PF_ID);
        walk_ok(lin, ACC_READ, MMU_KERNEL, 0x345000);
        c->efer &= ~EFER_NXE;
        walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
        c->efer |= EFER_NXE;
        *e &= ~E_NX;
        if (l >= 4) {
            *e |= E_PS;
            walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
            *e &= ~E_PS;
        }
        *e |= 1ull << 45;
        walk_err(lin, ACC_EXEC, MMU_USER, PF_P | PF_RSVD | PF_U | PF_ID);
        *e &= ~(1ull << 45);
    }

    /* SMEP and SMAP. */
    walk_ok(lin, ACC_EXEC, MMU_KERNEL, 0x345000);
    c->cr[4] |= CR4_SMEP;
    walk_err(lin, ACC_EXEC, MMU_KERNEL, PF_P | PF_ID);
    walk_ok(lin, ACC_READ, MMU_KERNEL, 0x345000);
    c->cr[4] |= CR4_SMAP;
    c->smap_on = 1;
    walk_err(lin, ACC_READ, MMU_KERNEL, PF_P);
    walk_err(lin, ACC_WRITE, MMU_KERNEL, PF_P | PF_W);
    walk_ok(lin, ACC_WRITE, MMU_KERNEL_NOSMAP, 0x345000);
    walk_ok(lin, ACC_WRITE, MMU_USER, 0x345000);

    /* Protection keys. */
    c->cr[4] |= CR4_PKE;
    map(pg, lin, 0x345000 | E_P | E_W | E_U | 5ull << 59);
    c->pkru = 2u << 10; /* write disable of key 5 */
    walk_ok(lin, ACC_READ, MMU_USER, 0x345000);
    walk_err(lin, ACC_WRITE, MMU_USER, PF_P | PF_W | PF_U | PF_PK);
    CHECK(!tlb_walk(c, lin, ACC_READ, MMU_USER, true).writable);
    walk_err(lin, ACC_WRITE, MMU_KERNEL_NOSMAP, PF_P | PF_W | PF_PK);
    c->cr[0] &= ~CR0_WP;
    walk_ok(lin, ACC_WRITE, MMU_KERNEL_NOSMAP, 0x345000);
    c->cr[0] |= CR0_WP;
    c->pkru = 1u << 10;
    walk_err(lin, ACC_READ, MMU_USER, PF_P | PF_U | PF_PK);
    walk_ok(lin, ACC_EXEC, MMU_USER, 0x345000);
    map(pg, lin, 0x345000 | E_P | E_W | 5ull << 59); /* keys are for user pages */
    walk_ok(lin, ACC_WRITE, MMU_KERNEL, 0x345000);

    /* 2 MiB and 1 GiB. */
    map_at(pg, lin, 0x600000 | E_P | E_W | E_PS | E_G | 1u << 12, 2);
    walk_ok(lin, ACC_WRITE, MMU_KERNEL, 0x600000 | (lin & 0x1fffff));
    CHECK_EQ(tlb_walk(c, lin, ACC_READ, MMU_KERNEL, true).page_size, 2u << 20);
    map_at(pg, lin, 0x602000 | E_P | E_PS, 2);
    walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
    map_at(pg, lin, 0x40000000 | E_P | E_W | E_PS, 3);
    walk_ok(lin, ACC_READ, MMU_KERNEL, 0x40000000 | (lin & 0x3fffffff));
    CHECK_EQ(tlb_walk(c, lin, ACC_READ, MMU_KERNEL, true).page_size, 1u << 30);
    map_at(pg, lin, 0x40200000 | E_P | E_PS, 3);
    walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
    c->model.f81_edx = 0;
    map_at(pg, lin, 0x40000000 | E_P | E_PS, 3);
    walk_err(lin, ACC_READ, MMU_KERNEL, PF_P | PF_RSVD);
    env_stop();
}

/* Without set_ad nothing is written; a failed walk leaves the leaf alone. */
static void test_ad(void)
{
    env_start(-1);
    env_paging(PG_4);
    map(PG_4, 0x1000, 0x345000 | E_P | E_U);
    CHECK(tlb_walk(c, 0x1000, ACC_READ, MMU_USER, false).ok);
    CHECK_EQ(entry_at(PG_4, 0x1000, 1), 0x345000 | E_P | E_U);
    walk_err(0x1000, ACC_WRITE, MMU_USER, PF_P | PF_W | PF_U);
    CHECK_EQ(entry_at(PG_4, 0x1000, 1), 0x345000 | E_P | E_U);

    /* Tables that are logged, and tables that hold code. */
    uint64_t slot = pt_slot(PG_4, 0x1000, 1), page = slot & ~0xfffull;
    physmap_set(vm.phys, page, 4096, ram + page, RAM_BASE + page, PHYS_RAM | PHYS_LOG);
    env_code[slot / 64] = 1;
    walk_ok(0x1000, ACC_READ, MMU_USER, 0x345000);
    CHECK_EQ(env_dirty, 1);
    CHECK_EQ(env_dirty_addr, RAM_BASE + slot);
    CHECK_EQ(env_inval_addr, RAM_BASE + slot);
    walk_ok(0x1000, ACC_READ, MMU_USER, 0x345000);
    CHECK_EQ(env_dirty, 1);

    /* Tables in ROM cannot be updated, tables in device memory are read through the callback. */
    memset(rom, 0, 4096);
    *(uint64_t *)(rom + 8) = 0x345000 | E_P | E_W | E_U;
    *ram64(pt_slot(PG_4, 0x1000, 2)) = ROM_GPA | 7;
    walk_ok(0x1000, ACC_WRITE, MMU_USER, 0x345000);
    CHECK(!tlb_walk(c, 0x1000, ACC_WRITE, MMU_USER, true).writable);
    CHECK_EQ(*(uint64_t *)(rom + 8), 0x345000 | E_P | E_W | E_U);
    CHECK_EQ(mmio_n, 0);
    *ram64(pt_slot(PG_4, 0x1000, 2)) = MMIO_GPA | 7;
    CHECK_EQ(tlb_debug_phys(c, 0x1000), ~0ull);
    CHECK_EQ(mmio_n, 0);
    tlb_walk(c, 0x1000, ACC_READ, MMU_USER, true);
    CHECK_EQ(mmio_n, 1);
    CHECK_EQ(mmio_log[0].gpa, MMIO_GPA + 8);
    CHECK_EQ(mmio_log[0].size, 8);
    env_stop();
}

/* Another processor changes the entry between the read and the update: no change may be lost. */
static bool stop;
static uint64_t *fight_entry;
static uint64_t taken;
static void *fighter(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        /* As a kernel reclaims: take the entry with its bits, put a clean one to another page. */
        uint64_t old = __atomic_exchange_n(fight_entry, 0, __ATOMIC_SEQ_CST);
        taken += !!(old & E_D);
        CHECK(!old || (old & 0xfff000) == 0x345000 || (old & 0xfff000) == 0x346000);
        __atomic_store_n(fight_entry, (taken & 1 ? 0x345000 : 0x346000) | E_P | E_W, __ATOMIC_SEQ_CST);
    }
    return NULL;
}
static void test_race(void)
{
    pthread_t t;
    uint64_t seen = 0;

    env_start(-1);
    env_paging(PG_4);
    map(PG_4, 0x1000, 0x345000 | E_P | E_W);
    fight_entry = ram64(pt_slot(PG_4, 0x1000, 1));
    pthread_create(&t, NULL, fighter, NULL);
    for (unsigned i = 0; i < 300000; i++) {
        struct walk_result r = tlb_walk(c, 0x1000, ACC_WRITE, MMU_KERNEL, true);
        CHECK(r.ok ? r.gpa == 0x345000 || r.gpa == 0x346000 : r.error == PF_W);
        seen += r.ok;
        uint64_t now = __atomic_load_n(fight_entry, __ATOMIC_SEQ_CST);
        CHECK(!now || (now & E_P)); /* a bit set in an entry that was taken away would show here */
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(t, NULL);
    CHECK(seen > 0);
    env_stop();
}

static void test_a20(void)
{
    env_start(-1);
    env_paging(PG_4);
    map(PG_4, 0x1000, 0x345000 | E_P | E_W);
    map(PG_4, 0x2000, 0x245000 | E_P | E_W);
    c->a20_mask = ~(1ull << 20);
    walk_ok(0x1000, ACC_READ, MMU_KERNEL, 0x245000);
    walk_ok(0x2000, ACC_READ, MMU_KERNEL, 0x245000);
    CHECK(!tlb_can_la57(c) || tlb_format(c) == TLB_TAGGED);
    env_stop();
}

int main(void)
{
    test_off();
    test_32();
    test_pae();
    test_long(PG_4);
    test_long(PG_5);
    test_ad();
    test_race();
    test_a20();
    return 0;
}
