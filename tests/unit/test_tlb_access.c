/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tlb_access.c - accesses the tables do not answer: page crossings and their faults, devices, ROM,
 * stores to code, dirty logging, data breakpoints, and the helpers' accessors.
 */
#include "test_tlb_env.h"

#define A 0x400000ull
#define RW (E_P | E_W | E_A | E_D)

static void fresh(int format, enum paging pg)
{
    env_start(format);
    env_paging(pg);
    map(pg, A, 0x100000 | E_P | E_W | E_U);
    map(pg, A + 0x1000, 0x300000 | E_P | E_W | E_U);
    map(pg, A + 0x2000, MMIO_GPA | E_P | E_W | E_U);
    map(pg, A + 0x3000, ROM_GPA | E_P | E_W | E_U);
    map(pg, A + 0x5000, 0x500000 | E_P | E_U);
    for (unsigned i = 0; i < 4096; i++) {
        ram[0x100000 + i] = (uint8_t)(i * 7);
        ram[0x300000 + i] = (uint8_t)(i * 5 + 1);
        ram[0x500000 + i] = (uint8_t)(i * 3 + 2);
    }
    mmio_n = 0;
}

static uint64_t at(const void *p, unsigned n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

static void test_crossing(int format)
{
    fresh(format, PG_4);
    for (unsigned n = 2; n <= 64; n += n < 16 ? 1 : 16) {
        for (unsigned first = 1; first < n; first++) {
            uint8_t want[64];
            memcpy(want, ram + 0x101000 - first, first);
            memcpy(want + first, ram + 0x300000, n - first);
            uint8_t *p = tlb_slow_read(c, A + 0x1000 - first, n);
            CHECK(p == c->bounce && !memcmp(p, want, n));

            /* A store: nothing before the commit, all after; rmw sees the old bytes. */
            p = tlb_slow_write(c, A + 0x1000 - first, n, 1);
            CHECK(p == c->bounce && c->commit.active && !memcmp(p, want, n));
            for (unsigned i = 0; i < n; i++) {
                p[i] = (uint8_t)(want[i] ^ 0xff);
            }
            CHECK(!memcmp(want, ram + 0x101000 - first, first));
            CHECK_EQ(tlb_slow_commit(c), 0);
            CHECK(!c->commit.active);
            for (unsigned i = 0; i < n; i++) {
                CHECK_EQ(i < first ? ram[0x101000 - first + i] : ram[0x300000 + i - first], want[i] ^ 0xffu);
            }
        }
    }
    CHECK(c->stat[ST_SLOW_CROSSING] > 0);
    CHECK_EQ(mmio_n, 0);

    /* The second page faults: nothing is written, not even a dirty bit; the address is its first byte. */
    tlb_flush_all(c, TLBF_OTHER);
    map(PG_4, A + 0x4000, 0x400000 | E_P | E_W | E_U);
    memset(ram + 0x400ff0, 0x11, 16);
    CHECK_PF(tlb_slow_write(c, A + 0x4ffc, 8, 0), A + 0x5000, 3);
    CHECK_EQ(entry_at(PG_4, A + 0x4000, 1) & E_D, 0);
    CHECK_PF(guest_st64(c, A + 0x4ffd, ~0ull), A + 0x5000, 3);
    CHECK_EQ(at(ram + 0x400ff8, 8), 0x1111111111111111ull);
    CHECK_PF(tlb_slow_read(c, A + 0x5ffc, 8), A + 0x6000, 0);
    /* Both would fault: the first one does. */
    CHECK_PF(tlb_slow_write(c, A + 0x5fff, 2, 0), A + 0x5fff, 3);

    /* Edge of the canonical space. */
    map(PG_4, 0x7ffffffff000, 0x600000 | RW);
    CHECK(FAULTS(tlb_slow_read(c, 0x7ffffffffffd, 4)) && fault_vector == EXC_GP);
    c->slow_flags = 1;
    CHECK(FAULTS(tlb_slow_write(c, 0x7ffffffffffd, 4, 0)) && fault_vector == EXC_SS);
    env_stop();

    /* 4 GiB wrap outside 64-bit code. */
    fresh(format, PG_32);
    map(PG_32, 0xfffff000, 0x700000 | RW);
    map(PG_32, 0, 0x701000 | RW);
    ram[0x700fff] = 0x34;
    ram[0x701000] = 0x12;
    CHECK_EQ(guest_ld16(c, 0xffffffff), 0x1234);
    guest_st32(c, 0xfffffffe, 0xaabbccdd);
    CHECK_EQ(at(ram + 0x700ffe, 4), 0xaabbccdd);
    env_stop();
}

static void expect_mmio(unsigned i, uint64_t gpa, unsigned size, bool write)
{
    CHECK(i < mmio_n);
    CHECK_EQ(mmio_log[i].gpa, gpa);
    CHECK_EQ(mmio_log[i].size, size);
    CHECK_EQ(mmio_log[i].write, write);
}

static void test_mmio(int format)
{
    uint64_t m = A + 0x2000, v = 0x1122334455667788ull;

    fresh(format, PG_4);
    for (unsigned n = 1; n <= 8; n *= 2) {
        mmio_n = 0;
        void *p = tlb_slow_read(c, m + 0x40, n);
        CHECK(p == c->bounce && at(p, n) == mmio_pattern(MMIO_GPA + 0x40, n));
        CHECK_EQ(mmio_n, 1);
        expect_mmio(0, MMIO_GPA + 0x40, n, false);
        p = tlb_slow_write(c, m + 0x80, n, 0);
        CHECK(p == c->bounce && mmio_n == 1);
        memcpy(p, &v, n);
        tlb_slow_commit(c);
        CHECK_EQ(mmio_n, 2);
        expect_mmio(1, MMIO_GPA + 0x80, n, true);
        CHECK_EQ(mmio_log[1].val, n == 8 ? v : v & ((1ull << 8 * n) - 1));
    }
    CHECK(env_parks > 0);
    /* Unaligned: naturally sized pieces in order; 16 bytes: two. */
    mmio_n = 0;
    CHECK_EQ(guest_ld32(c, m + 1), mmio_pattern(MMIO_GPA + 1, 4));
    expect_mmio(0, MMIO_GPA + 1, 1, false);
    expect_mmio(1, MMIO_GPA + 2, 2, false);
    expect_mmio(2, MMIO_GPA + 4, 1, false);
    mmio_n = 0;
    tlb_slow_read(c, m, 16);
    CHECK_EQ(mmio_n, 2);
    expect_mmio(1, MMIO_GPA + 8, 8, false);
    /* Read-modify-write: one read, one write. */
    mmio_n = 0;
    uint8_t *p = tlb_slow_write(c, m + 4, 4, 1);
    CHECK_EQ(at(p, 4), mmio_pattern(MMIO_GPA + 4, 4));
    p[0] |= 0x80;
    CHECK_EQ(tlb_slow_commit(c), 0);
    CHECK_EQ(mmio_n, 2);
    CHECK_EQ(mmio_log[1].val, mmio_pattern(MMIO_GPA + 4, 4) | 0x80);
    /* RAM then device across the page edge. */
    mmio_n = 0;
    guest_st64(c, m - 4, v);
    CHECK_EQ(at(ram + 0x300ffc, 4), 0x55667788);
    CHECK_EQ(mmio_n, 1);
    expect_mmio(0, MMIO_GPA, 4, true);
    CHECK_EQ(mmio_log[0].val, 0x11223344);
    CHECK(!guest_page_ptr(c, m, ACC_READ) && !guest_page_ptr(c, m, ACC_WRITE));
    env_stop();
}

static void test_rom(int format)
{
    uint64_t r = A + 0x3000;

    fresh(format, PG_4);
    CHECK(tlb_slow_read(c, r + 8, 4) == rom + 8);
    CHECK_EQ(guest_ld16(c, r), 0x5a5a);
    guest_st16(c, r + 2, 0xbeef);
    CHECK_EQ(mmio_n, 1);
    expect_mmio(0, ROM_GPA + 2, 2, true);
    CHECK_EQ(rom[2], 0x5a);
    uint8_t *p = tlb_slow_write(c, r + 4, 4, 1);
    CHECK(p == c->bounce && at(p, 4) == 0x5a5a5a5a);
    tlb_slow_commit(c);
    expect_mmio(1, ROM_GPA + 4, 4, true);
    CHECK(guest_page_ptr(c, r, ACC_READ) == rom && !guest_page_ptr(c, r, ACC_WRITE));
    env_stop();
}

static void test_code(int format)
{
    fresh(format, PG_4);
    unsigned g = 0x100000 / 64;
    env_code[g + 2] = 1; /* bytes 128..191 */
    CHECK(tlb_slow_read(c, A, 4) == ram + 0x100000);

    /* Beside the code: direct, no invalidation, but never a write entry. */
    for (unsigned i = 0; i < 3; i++) {
        CHECK(tlb_slow_write(c, A + 8, 8, 0) == ram + 0x100008);
        CHECK(!tlb_hit(c, A, MMU_KERNEL, true));
    }
    guest_st32(c, A + 0x800, 5);
    CHECK_EQ(env_invalidations, 0);
    CHECK(!guest_page_ptr(c, A, ACC_WRITE));

    /* Over the code: in place, and invalidated after it; then the page is ordinary. */
    CHECK(tlb_slow_write(c, A + 126, 4, 0) == ram + 0x10007e && c->commit.active);
    CHECK_EQ(env_invalidations, 0);
    CHECK_EQ(tlb_slow_commit(c), 0);
    CHECK_EQ(env_invalidations, 1);
    CHECK_EQ(env_inval_addr, RAM_BASE + 0x10007e);
    CHECK_EQ(env_inval_len, 4);
    CHECK(tlb_slow_write(c, A + 126, 4, 0));
    CHECK(tlb_hit(c, A, MMU_KERNEL, true));

    /* Code appears: the store's writer unwrites; stores come back here. */
    env_code[g + 2] = 1;
    tlb_unwrite_page(c, RAM_BASE + 0x100000);
    CHECK(!tlb_hit(c, A, MMU_KERNEL, true));

    /* The running block is hit: bounce, and leave after the commit. */
    env_running_hit = true;
    c->unwind_pc = 1;
    uint8_t *p = tlb_slow_write(c, A + 130, 2, 0);
    CHECK(p == c->bounce && c->commit.active);
    p[0] = 0xab;
    p[1] = 0xcd;
    CHECK_EQ(tlb_slow_commit(c), 1);
    CHECK_EQ(at(ram + 0x100082, 2), 0xcdab);
    env_code[g + 2] = 1;
    tlb_unwrite_page(c, RAM_BASE + 0x100000);
    c->commit.exit_after = 0;
    guest_st8(c, A + 130, 1);
    CHECK(c->commit.exit_after && c->exit_request);
    env_running_hit = false;
    c->unwind_pc = 0;

    /* A crossing store whose second page has code. */
    env_code[0x300000 / 64] = 1;
    tlb_unwrite_page(c, RAM_BASE + 0x300000);
    env_invalidations = 0;
    guest_st64(c, A + 0xffc, 0);
    CHECK_EQ(env_invalidations, 1);
    CHECK_EQ(env_inval_addr, RAM_BASE + 0x300000);
    CHECK_EQ(env_inval_len, 4);

    /* Through another alias, and rights are still checked for the remembered page. */
    env_code[g + 2] = 1;
    tlb_unwrite_page(c, RAM_BASE + 0x100000);
    map(PG_4, A + 0x9000, 0x100000 | RW);
    CHECK(tlb_slow_write(c, A + 0x9080, 1, 0) == ram + 0x100080);
    CHECK(env_code[g + 2]);
    CHECK_EQ(tlb_slow_commit(c), 0);
    CHECK(!env_code[g + 2]);
    env_code[g + 2] = 1;
    tlb_unwrite_page(c, RAM_BASE + 0x100000);
    guest_st8(c, A + 0x9000, 0);
    map(PG_4, A + 0x9000, 0x100000 | E_P | E_A | E_D);
    tlb_flush_page(c, A + 0x9000);
    CHECK_PF(guest_st8(c, A + 0x9000, 0), A + 0x9000, 3);
    c->mmu_mode = MMU_USER;
    CHECK_PF(guest_st8(c, A + 0x9000, 0), A + 0x9000, 7);
    env_stop();
}

static void test_log(int format)
{
    fresh(format, PG_4);
    physmap_set(vm.phys, 0x100000, 4096, ram + 0x100000, RAM_BASE + 0x100000, PHYS_RAM | PHYS_LOG);
    guest_ld8(c, A);
    CHECK_EQ(env_dirty, 0);
    guest_st8(c, A, 1);
    CHECK_EQ(env_dirty, 1);
    CHECK_EQ(env_dirty_addr, RAM_BASE + 0x100000);
    guest_st8(c, A + 1, 1);
    CHECK_EQ(env_dirty, 1);
    tlb_unwrite_page(c, RAM_BASE + 0x100000);
    guest_st8(c, A + 1, 1);
    CHECK_EQ(env_dirty, 2);
    CHECK_EQ(c->stat[ST_SLOW_WRITE_LOG], 2);
    env_stop();
}

static void test_accessors(int format)
{
    fresh(format, PG_4);
    for (unsigned pass = 0; pass < 2; pass++) { /* miss, then hit */
        CHECK_EQ(guest_ld8(c, A + 9), at(ram + 0x100009, 1));
        CHECK_EQ(guest_ld16(c, A + 9), at(ram + 0x100009, 2));
        CHECK_EQ(guest_ld32(c, A + 9), at(ram + 0x100009, 4));
        CHECK_EQ(guest_ld64(c, A + 9), at(ram + 0x100009, 8));
        CHECK_EQ(guest_ld_mode(c, A + 9, 6, MMU_USER), at(ram + 0x100009, 6));
        guest_st8(c, A + 0x100, 0x11);
        guest_st16(c, A + 0x102, 0x2233);
        guest_st32(c, A + 0x104, 0x44556677);
        guest_st64(c, A + 0x108, 0x8899aabbccddeeffull);
        guest_st_mode(c, A + 0x110, 6, 0x123456789abcull, MMU_KERNEL_NOSMAP);
        CHECK_EQ(at(ram + 0x100104, 4), 0x44556677);
        CHECK_EQ(at(ram + 0x100108, 8), 0x8899aabbccddeeffull);
        CHECK_EQ(at(ram + 0x100110, 6), 0x123456789abcull);
    }
    uint8_t buf[4096], back[4096];
    for (unsigned i = 0; i < 4096; i++) {
        buf[i] = (uint8_t)(i * 11);
    }
    guest_write(c, A + 0x800, buf, 4096, MMU_KERNEL);
    guest_read(c, A + 0x800, back, 4096, MMU_KERNEL);
    CHECK(!memcmp(buf, back, 4096) && ram[0x300000] == buf[0x800]);
    CHECK_PF(guest_write(c, A + 0x4800, buf, 4096, MMU_KERNEL), A + 0x4800, 2);
    guest_read(c, A, buf, 0, MMU_KERNEL);

    /* Probes raise and change nothing. */
    uint64_t e = entry_at(PG_4, A + 0x1000, 1) & ~(E_A | E_D);
    map(PG_4, A + 0x1000, e);
    tlb_flush_page(c, A + 0x1000);
    guest_probe(c, A + 0x1000, 8, ACC_WRITE, MMU_USER);
    CHECK_EQ(entry_at(PG_4, A + 0x1000, 1), e);
    CHECK_PF(guest_probe(c, A + 0x5ff0, 0x20, ACC_READ, MMU_USER), A + 0x6000, 4);
    CHECK_PF(guest_probe(c, A + 0x5ff0, 8, ACC_WRITE, MMU_USER), A + 0x5ff0, 7);
    guest_probe(c, A, 0x3000, ACC_READ, MMU_USER);

    CHECK(guest_page_ptr(c, A + 0x123, ACC_READ) == ram + 0x100123);
    CHECK(guest_page_ptr(c, A + 0x123, ACC_WRITE) == ram + 0x100123);
    CHECK_PF(guest_page_ptr(c, A + 0x5123, ACC_WRITE), A + 0x5123, 3);
    CHECK(FAULTS(guest_ld8(c, 1ull << 47)) && fault_vector == EXC_GP);

    /* SMAP: implicit accesses of mode MMU_KERNEL, explicit ones with AC set. */
    c->smap_on = 1;
    c->cr[4] |= CR4_SMAP;
    tlb_flush_all(c, TLBF_CR4);
    CHECK_PF(guest_ld8(c, A), A, 1);
    CHECK_EQ(guest_ld_mode(c, A, 1, MMU_KERNEL_NOSMAP), ram[0x100000]);
    CHECK_PF(guest_ld8(c, A), A, 1);

    /* #AC. */
    c->mmu_mode = MMU_USER;
    c->hflags |= HF_AC | 3;
    CHECK(FAULTS(guest_ld32(c, A + 2)) && fault_vector == EXC_AC);
    CHECK(FAULTS(guest_st64(c, A + 4, 0)) && fault_vector == EXC_AC);
    guest_ld32(c, A + 4);
    env_stop();
}

static void test_watch(int format)
{
    fresh(format, PG_4);
    guest_st8(c, A, 0);
    c->dr[1] = A + 0x10;
    c->dr[7] = 1u << 2 | (1u | 3u << 2) << 20; /* DR1: write, 4 bytes */
    tlb_flush_all(c, TLBF_OTHER);
    for (unsigned pass = 0; pass < 2; pass++) {
        c->exc_dr6 = 0;
        guest_ld32(c, A + 0x10);
        CHECK_EQ(c->exc_dr6, 0);
        CHECK(tlb_slow_write(c, A + 0x0c, 4, 0) != c->bounce);
        CHECK_EQ(c->exc_dr6, 0);
        CHECK(tlb_slow_write(c, A + 0x0d, 4, 0) == ram + 0x10000d && c->commit.active);
        CHECK_EQ(tlb_slow_commit(c), 1);
        CHECK_EQ(c->exc_dr6, 2);
        CHECK(!tlb_hit(c, A, MMU_KERNEL, true));
    }
    c->dr[7] |= 3u << 20; /* read or write */
    c->exc_dr6 = 0;
    guest_ld8(c, A + 0x13);
    CHECK_EQ(c->exc_dr6, 2);
    CHECK(!guest_page_ptr(c, A, ACC_READ));
    env_stop();
}

int main(void)
{
    env_start(-1);
    bool flat = tlb_format(c) == TLB_FLAT;
    env_stop();
    for (int f = flat ? TLB_FLAT : TLB_TAGGED; f <= TLB_TAGGED; f++) {
        test_crossing(f);
        test_mmio(f);
        test_rom(f);
        test_code(f);
        test_log(f);
        test_accessors(f);
        test_watch(f);
    }
    return 0;
}
