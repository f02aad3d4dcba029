/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_physmap.c - the guest-physical map: splits, large leaves, unmapping, random sets against an array,
 * and a reader beside a writer.
 */
#include "test_tlb_env.h"

#include <pthread.h>

static void test_basic(void)
{
    struct physmap *m = physmap_new();
    uint8_t *h = (uint8_t *)0x7000000000ull;
    struct phys_page p;

    CHECK(!physmap_lookup(m, 0).host);
    physmap_set(m, 0, 8ull << 30, h, 0, PHYS_RAM);
    p = physmap_lookup(m, 0x123456789ull);
    CHECK(p.host == h + 0x123456000ull);
    CHECK_EQ(p.ram_addr, 0x123456000ull);
    CHECK_EQ(p.flags, PHYS_RAM);
    CHECK(!physmap_lookup(m, 8ull << 30).host);
    CHECK(!physmap_lookup(m, ~0ull).host);

    /* A hole in the middle of a large leaf, then a page with other flags in the hole. */
    physmap_set(m, 0xa0000, 0x20000, NULL, 0, 0);
    CHECK(physmap_lookup(m, 0x9f000).host == h + 0x9f000);
    CHECK(!physmap_lookup(m, 0xa0000).host && !physmap_lookup(m, 0xbffff).host);
    CHECK(physmap_lookup(m, 0xc0000).host == h + 0xc0000);
    CHECK_EQ(physmap_lookup(m, 0xa0000).ram_addr, ~0ull);
    physmap_set(m, 0xb8000, 0x1000, h + 0x55000, 0x987654000ull, PHYS_RAM | PHYS_LOG);
    p = physmap_lookup(m, 0xb8123);
    CHECK(p.host == h + 0x55000);
    CHECK_EQ(p.ram_addr, 0x987654000ull);
    CHECK_EQ(p.flags, PHYS_RAM | PHYS_LOG);

    /* RAM addresses that are not aligned as the guest's are. */
    physmap_set(m, 1ull << 40, 1ull << 32, h, 0x3000, PHYS_ROM);
    p = physmap_lookup(m, (1ull << 40) + 0xffffffff);
    CHECK(p.host == h + 0xfffff000ull);
    CHECK_EQ(p.ram_addr, 0x3000 + 0xfffff000ull);
    CHECK_EQ(p.flags, PHYS_ROM);

    physmap_set(m, 0, 1ull << 52, NULL, 0, 0);
    CHECK(!physmap_lookup(m, 0x1000).host && !physmap_lookup(m, 1ull << 40).host);
    physmap_free(m);
}

#define WIN 6000u
static void test_random(void)
{
    struct physmap *m = physmap_new();
    static struct phys_page want[WIN];
    uint8_t *h = (uint8_t *)0x7f0000000000ull;

    srandom(1);
    for (unsigned i = 0; i < WIN; i++) {
        want[i].ram_addr = ~0ull;
    }
    for (unsigned round = 0; round < 3000; round++) {
        unsigned lo = (unsigned)random() % WIN, n = 1 + (unsigned)random() % (round % 3 ? 40 : 3000);
        unsigned flags = (unsigned)random() % 4;
        uint64_t ra = ((uint64_t)random() % 100000) << 12;
        if (lo + n > WIN) {
            n = WIN - lo;
        }
        physmap_set(m, (uint64_t)lo << 12, (uint64_t)n << 12, flags ? h + ra : NULL, ra, flags);
        for (unsigned i = 0; i < n; i++) {
            want[lo + i] = (struct phys_page){ flags ? h + ra + i * 4096ull : NULL,
                                               flags ? ra + i * 4096ull : ~0ull, flags };
        }
        for (unsigned i = round % 7; i < WIN; i += 7) {
            struct phys_page p = physmap_lookup(m, (uint64_t)i << 12);
            CHECK(p.host == want[i].host && p.ram_addr == want[i].ram_addr && p.flags == want[i].flags);
        }
    }
    physmap_free(m);
}

/* A region moves about while a reader looks: the fixed page next to it never changes, the moving one is old
 * or new. */
static struct physmap *shared;
static bool stop;
static void *reader(void *arg)
{
    uint64_t n = 0;
    (void)arg;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct phys_page p = physmap_lookup(shared, 0x1000);
        CHECK(p.ram_addr == 0x1000 && p.host == (uint8_t *)0x10001000);
        p = physmap_lookup(shared, ((n % 64) << 34) + 0x2000);
        CHECK(!p.host || (p.host == (uint8_t *)0x20002000 && p.ram_addr == 0x5002000));
        n++;
    }
    return NULL;
}
static void test_concurrent(unsigned rounds)
{
    pthread_t t;

    shared = physmap_new();
    physmap_set(shared, 0x1000, 0x1000, (uint8_t *)0x10001000, 0x1000, PHYS_RAM);
    pthread_create(&t, NULL, reader, NULL);
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t at = (uint64_t)(i % 64) << 34;
        physmap_set(shared, at + 0x2000, 0x3000, (uint8_t *)0x20002000, 0x5002000, PHYS_RAM);
        physmap_set(shared, at + 0x2000, 0x3000, NULL, 0, 0);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(t, NULL);
    physmap_free(shared);
}

int main(int argc, char **argv)
{
    test_basic();
    test_random();
    test_concurrent(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 200000);
    return 0;
}
