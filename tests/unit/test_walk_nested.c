/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_walk_nested.c - nested paging and ASIDs (APM vol. 2, 15.16 and 15.25): both levels' accessed and dirty bits,
 * fault information, and what a world switch keeps and drops.
 */
#include "test_tlb_env.h"

#define NPF_P 1u
#define NPF_W 2u
#define NPF_U 4u
#define NPF_RSVD 8u
#define NPF_ID 16u
#define NPF_FINAL (1ull << 32)
#define NPF_TABLE (1ull << 33)

#define LIN 0xffff888012345000ull
#define GPA 0x345000ull       /* where the guest maps LIN */
#define SPA 0x745000ull       /* where the host puts that */

/* The host's tables, 4-level, at 56 MiB: identity in large pages, but 2..4 MiB in small ones. */
#define NPML4 (56ull << 20)
#define NPDPT (NPML4 + 0x1000)
#define NPD   (NPML4 + 0x2000)
#define NPT1  (NPML4 + 0x3000)

static uint64_t *npte(uint64_t gpa) { return ram64(NPT1 + (gpa >> 12 & 511) * 8); }

static void nested_tables(void)
{
    memset(ram + NPML4, 0, 0x4000);
    *ram64(NPML4) = NPDPT | 7;
    *ram64(NPDPT) = NPD | 7;
    for (unsigned i = 0; i < 32; i++) {
        *ram64(NPD + 8 * i) = (uint64_t)i << 21 | 7 | E_PS;
    }
    *ram64(NPD + 8) = NPT1 | 7;
    for (unsigned i = 0; i < 512; i++) {
        *ram64(NPT1 + 8 * i) = (0x200000 + ((uint64_t)i << 12)) | 7;
    }
    *npte(GPA) = SPA | 7;
}

static void enter(uint32_t asid, enum tlb_world_flush f)
{
    tlb_world_leave(c);
    c->svm.nested = asid != 0;
    c->svm.asid = asid;
    c->svm.npt = asid != 0;
    c->svm.ncr3 = NPML4;
    c->svm.host_cr4 = CR4_PAE;
    c->svm.host_efer = EFER_LME | EFER_LMA | EFER_NXE;
    tlb_world_enter(c, f);
    tlb_set_mode(c);
}

static void start(void)
{
    env_start(-1);
    env_paging(PG_4);
    map(PG_4, LIN, GPA | E_P | E_W | E_U);
    nested_tables();
}

static void npf(uint64_t lin, enum access a, uint64_t gpa, uint64_t info)
{
    struct walk_result r = tlb_walk(c, lin, a, MMU_KERNEL, true);
    CHECK(!r.ok && r.npf);
    CHECK_EQ(r.gpa, gpa);
    CHECK_EQ(r.npf_info, info);
    tlb_npt_clear(c->tlb);
}

static void test_translation(void)
{
    start();
    enter(1, TLBW_KEEP);
    struct walk_result r = tlb_walk(c, LIN + 0x123, ACC_READ, MMU_USER, true);
    CHECK(r.ok && !r.writable);
    CHECK_EQ(r.gpa, SPA + 0x123);
    CHECK_EQ(*npte(GPA) & 0xfff, 7 | E_A);
    CHECK_EQ(entry_at(PG_4, LIN, 1) & 0xfff, 7 | E_A);
    /* The guest's tables are written to by the walk, in the host's eyes. */
    CHECK_EQ(*ram64(NPD + 8 * (c->cr[3] >> 21)) & 0xfff, 7 | E_PS | E_A | E_D);
    r = tlb_walk(c, LIN, ACC_WRITE, MMU_USER, true);
    CHECK(r.ok && r.writable);
    CHECK_EQ(*npte(GPA) & 0xfff, 7 | E_A | E_D);
    CHECK_EQ(tlb_debug_phys(c, LIN + 5), SPA + 5);
    /* Writable in the guest, read only for the host: not entered as writable. */
    *npte(GPA) &= ~2ull;
    tlb_npt_clear(c->tlb);
    CHECK(!tlb_walk(c, LIN, ACC_READ, MMU_KERNEL, true).writable);
    /* No paging in the guest. */
    c->cr[0] = CR0_PE;
    CHECK_EQ(tlb_walk(c, GPA + 7, ACC_READ, MMU_KERNEL, true).gpa, SPA + 7);
    CHECK_EQ(tlb_debug_phys(c, GPA + 7), SPA + 7);
    env_stop();
}

static void test_faults(void)
{
    start();
    enter(1, TLBW_KEEP);
    *npte(GPA) = 0;
    npf(LIN + 8, ACC_READ, GPA + 8, NPF_FINAL | NPF_U);
    npf(LIN, ACC_WRITE, GPA, NPF_FINAL | NPF_U | NPF_W);
    npf(LIN, ACC_EXEC, GPA, NPF_FINAL | NPF_U | NPF_ID);
    *npte(GPA) = SPA | 5;
    npf(LIN, ACC_WRITE, GPA, NPF_FINAL | NPF_U | NPF_W | NPF_P);
    CHECK(tlb_walk(c, LIN, ACC_READ, MMU_KERNEL, true).ok);
    c->cr[0] &= ~CR0_WP; /* the guest's, and that of the host, do not count */
    npf(LIN, ACC_WRITE, GPA, NPF_FINAL | NPF_U | NPF_W | NPF_P);
    *npte(GPA) = SPA | 3;
    npf(LIN, ACC_READ, GPA, NPF_FINAL | NPF_U | NPF_P);
    *npte(GPA) = SPA | 7 | E_NX;
    npf(LIN, ACC_EXEC, GPA, NPF_FINAL | NPF_U | NPF_P | NPF_ID);
    *npte(GPA) = SPA | 7 | 1ull << 45;
    npf(LIN, ACC_READ, GPA, NPF_FINAL | NPF_U | NPF_P | NPF_RSVD);
    *npte(GPA) = SPA | 7;
    /* a table of the guest */
    uint64_t pt = pt_slot(PG_4, LIN, 1);
    uint64_t *pde = ram64(NPD + 8 * (pt >> 21)), good = *pde;
    *pde = good & ~2ull;
    npf(LIN, ACC_READ, c->cr[3] + (LIN >> 39 & 511) * 8, NPF_TABLE | NPF_U | NPF_P | NPF_W);
    *pde = good;
    /* a guest that faults by itself is not the host's business */
    struct walk_result r = tlb_walk(c, LIN + 0x1000, ACC_READ, MMU_KERNEL, true);
    CHECK(!r.ok && !r.npf);
    CHECK_EQ(r.error, 0);
    /* raised from an access */
    *npte(GPA) = 0;
    enter(1, TLBW_ASID);
    CHECK(FAULTS(guest_ld64(c, LIN + 0x10)));
    CHECK_EQ(fault_vector, 0x400);
    CHECK_EQ(fault_npf_gpa, GPA + 0x10);
    CHECK_EQ(fault_npf_info, NPF_FINAL | NPF_U);
    /* CR2 is not touched by a page fault that is intercepted */
    c->svm.icpt[2] = 1u << EXC_PF;
    c->cr[2] = 77;
    CHECK(FAULTS(guest_ld64(c, LIN + 0x1000)));
    CHECK_EQ(c->cr[2], 77);
    CHECK_EQ(c->svm.fault_addr, LIN + 0x1000);
    env_stop();
}

static uint64_t fills(void) { return c->stat[ST_TLB_FILL_READ]; }

static void test_worlds(void)
{
    start();
    *ram64(SPA) = 0x1111;
    *ram64(GPA) = 0x2222;
    CHECK_EQ(guest_ld64(c, LIN), 0x2222);       /* the host */
    enter(1, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), 0x1111);
    uint64_t n = fills();
    enter(0, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), 0x2222);
    enter(1, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), 0x1111);
    CHECK_EQ(fills(), n);                        /* nothing was lost on the way */
    /* another ASID starts empty, the first is kept */
    *npte(GPA) = (SPA + 0x1000) | 7;
    *ram64(SPA + 0x1000) = 0x3333;
    enter(0, TLBW_KEEP);
    enter(2, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), 0x3333);
    enter(0, TLBW_KEEP);
    n = fills();
    enter(1, TLBW_ASID);
    CHECK_EQ(guest_ld64(c, LIN), 0x3333);        /* flushed: walked again */
    CHECK(fills() > n);
    enter(0, TLBW_KEEP);
    n = fills();
    CHECK_EQ(guest_ld64(c, LIN), 0x2222);        /* the host's were not */
    CHECK_EQ(fills(), n);
    enter(2, TLBW_ALL);
    enter(0, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), 0x2222);
    CHECK(fills() > n);
    /* INVLPGA */
    enter(1, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), 0x3333);
    enter(0, TLBW_KEEP);
    *npte(GPA) = SPA | 7;
    tlb_flush_asid_page(c, 1, LIN);
    enter(1, TLBW_ASID);
    CHECK_EQ(guest_ld64(c, LIN), 0x1111);
    /* the hypervisor changes the guest's CR3 or nCR3: what was found by the old ones is gone */
    enter(0, TLBW_KEEP);
    uint64_t old = c->cr[3];
    c->cr[3] = pt_alloc();
    map(PG_4, LIN, (GPA + 0x2000) | 7);
    *ram64(GPA + 0x2000) = 0x4444;
    enter(1, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), 0x4444);
    c->cr[3] = old;
    enter(0, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), 0x2222);
    env_stop();
}

/* A flush that a nested guest asks for with its own CR4 leaves the host's entries alone. */
static void test_own_flush(void)
{
    start();
    *ram64(GPA) = 0x2222;
    CHECK_EQ(guest_ld64(c, LIN), 0x2222);
    enter(3, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), *ram64(SPA));
    uint64_t n = fills();
    tlb_flush_all(c, TLBF_CR4);
    CHECK_EQ(guest_ld64(c, LIN), *ram64(SPA));
    CHECK_EQ(fills(), n + 1);
    enter(0, TLBW_KEEP);
    CHECK_EQ(guest_ld64(c, LIN), 0x2222);
    CHECK_EQ(fills(), n + 1);
    env_stop();
}

/* A host without PAE: 32-bit nested tables. */
static void test_legacy_host(void)
{
    start();
    enter(1, TLBW_KEEP);
    memset(ram + NPML4, 0, 4096);
    c->svm.host_cr4 = CR4_PSE;
    c->svm.host_efer = 0;
    for (unsigned i = 0; i < 16; i++) {
        *ram32(NPML4 + 4 * i) = i << 22 | 7 | 0x80;
    }
    *ram32(NPML4) = 0x400000 | 7 | 0x80;         /* the guest's first 4 MiB are at 4 MiB */
    tlb_npt_clear(c->tlb);
    CHECK_EQ(tlb_walk(c, LIN, ACC_WRITE, MMU_KERNEL, true).gpa, SPA);
    CHECK_EQ(*ram32(NPML4) & 0xfff, 7 | 0x80 | E_A | E_D);
    env_stop();
}

int main(void)
{
    test_translation();
    test_faults();
    test_worlds();
    test_own_flush();
    test_legacy_host();
    return 0;
}
