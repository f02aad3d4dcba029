/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smptlb64.c - page tables that one CPU changes while others use them: after the shootdown is acknowledged nobody sees the
 * old page; accessed and dirty bits of several CPUs at once are not lost (SDM vol. 3, 4.8, 4.10.5).
 */
/* with: smpap.S */
/* smp: 3 */
#define SYS_MAIN
#include "smp64.h"

#define CPUS   3u
#define VIEW   0x40000000ull            /* its table is `pt`; the pages behind it change */
#define LARGE  0x40200000ull            /* its directory entry changes */
#define PHYS   0x800000ull              /* page n holds n in all its words */
#define SHOOT  0x51u
#define PAGES  16u

static volatile u64 *const pd = (volatile u64 *)0x20c000, *const pt = (volatile u64 *)0x20a000,
                    *const pt_large = (volatile u64 *)0x20b000;

enum how { BY_INVLPG, BY_CR3, BY_PGE, HOWS };
static volatile u32 how, faults[CPUS], wrong[CPUS], stop, acks, rounds_done[CPUS];
static volatile u64 shot, epoch, read_at;       /* epoch: round << 8 | page, never the same again */

static void drop(u64 lin)
{
    switch (how) {
    case BY_INVLPG: invlpg(lin); break;
    case BY_CR3: set_cr3(get_cr3()); break;
    default: set_cr4(get_cr4() ^ 0x80); set_cr4(get_cr4() ^ 0x80);
    }
}

static int on_shoot(struct frame *f, u32 cpu)
{
    if (f->vector == SHOOT) {
        drop(shot);
        APIC(0xb0) = 0;
        if (__atomic_add_fetch(&acks, 1, __ATOMIC_SEQ_CST) == CPUS - 1) {
            ipi(0, WAKE);
        }
        return 1;
    }
    if (f->vector == 14 && (get_cr2() & ~0x3fffffull) == VIEW) {    /* unmapped or read only for a while: again */
        faults[cpu]++;
        __asm__ volatile("sti; pause; cli");
        return 1;
    }
    return 0;
}

static void shootdown(u64 lin)
{
    acks = 0;
    shot = lin;
    drop(lin);
    __asm__ volatile("cli" : : : "memory");
    icr(0, 0xc4000 | SHOOT);
    while (acks != CPUS - 1) {                  /* asleep meanwhile: the others need the host's processors */
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
    __asm__ volatile("sti" : : : "memory");
}

static void map_views(void)
{
    volatile u64 *pdpt = (volatile u64 *)0x201000;

    for (u32 i = 0; i < 512; i++) {
        pd[i] = pt[i] = 0;
        pt_large[i] = PHYS + 0x1000 * (u64)(i % PAGES) + 7;
    }
    pdpt[1] = 0x20c007;
    pd[0] = 0x20a007;
    for (u32 i = 0; i < PAGES; i++) {
        for (u32 k = 0; k < 1024; k++) {
            ((volatile u32 *)(PHYS + 0x1000 * i))[k] = i;
        }
    }
    set_cr3(get_cr3());
}

/* One round; with thread=single a PAUSE gives the others their turn. */
static inline void ran(u32 cpu)
{
    if (++rounds_done[cpu] % 16 == 0) {
        pause();
    }
}

/* ---- remap: what a reader sees is never older than what was acknowledged before ---- */
static void reads(u32 cpu)
{
    u32 off = 64 * cpu;

    while (!stop) {
        u64 e = epoch;
        u32 v = *(volatile u32 *)(read_at + off);

        wrong[cpu] += v < (e & 0xff) && epoch == e;
        off = (off + 4) & 0xffc;
        ran(cpu);
    }
}

static void others_run(u32 n)
{
    for (u32 i = 1; i < CPUS; i++) {
        for (u32 was = rounds_done[i]; rounds_done[i] - was < n; ) {
            pause();
        }
    }
}

static void begin(job_fn *fn, u32 user)
{
    stop = 0;
    user_fn = fn;
    for (u32 i = 1; i < CPUS; i++) {
        wrong[i] = faults[i] = 0;
        start_job(i, user ? user_job : fn);
    }
}

static void finish(const char *name)
{
    stop = 1;
    for (u32 i = 1; i < CPUS; i++) {
        wait_job(i);
        check(name, wrong[i], 0);
    }
}

static void new_round(void) { epoch = (epoch & ~0xffull) + 0x100; }

static void test_remap(u32 user)
{
    static const char *const names[] = {"invlpg", "cr3", "pge"};

    for (how = 0; how < HOWS; how++) {
        u64 global = how == BY_CR3 ? 0 : 0x100;

        read_at = VIEW;
        pt[0] = PHYS + 7 + global;
        shootdown(VIEW);
        begin(reads, user);
        for (u32 r = 0; r < 2 * SCALE; r++) {
            for (u32 i = 1; i < PAGES; i++) {
                if (i % 3 == 0) {               /* not there for a while */
                    pt[0] = 0;
                    shootdown(VIEW);
                }
                pt[0] = PHYS + 0x1000 * i + 7 + global;
                shootdown(VIEW);
                epoch = (epoch & ~0xffull) | i;
                if (i % 8 == 0) {
                    others_run(2);
                }
            }
            new_round();
            pt[0] = PHYS + 7 + global;
            shootdown(VIEW);
        }
        finish(names[how]);
    }
}

/* ---- unmapped: after the acknowledgement every access faults ---- */
static volatile u32 gone;

static void pokes(u32 cpu)
{
    while (!stop) {
        u32 g = gone, f = faults[cpu];

        (void)*(volatile u32 *)(VIEW + 8 * cpu);
        /* It ended without a fault although the page was away from before it to after it. */
        wrong[cpu] += g && gone == g && faults[cpu] == f;
        ran(cpu);
    }
}

static void test_unmap(u32 user)
{
    how = BY_INVLPG;
    gone = 0;
    begin(pokes, user);
    for (u32 i = 1; i < 20 * SCALE; i++) {
        pt[0] = 0;
        shootdown(VIEW);
        gone = i;
        for (u32 k = 0; k < 500; k++) {
            pause();
        }
        gone = 0;
        pt[0] = PHYS + 7;
        others_run(1);
    }
    finish("unmap");
}

/* ---- write protection: a store is done before the acknowledgement, or after the page is writable again ---- */
static void stores(u32 cpu)
{
    u32 v = 0;

    while (!stop) {
        *(volatile u32 *)(VIEW + 0x1000 + 256 * cpu) = ++v;
        __asm__ volatile("lock incl %0" : "+m"(*(volatile u32 *)(VIEW + 0x1000)) : : "memory", "cc");
        ran(cpu);
    }
}

static u64 sum_of(u64 page)
{
    u64 sum = 0;

    for (u32 i = 0; i < 256; i++) {
        sum += ((volatile u32 *)page)[4 * i];
    }
    return sum;
}

static void test_protect(u32 user)
{
    u64 page = PHYS + 0x1000 * PAGES;
    u32 bad = 0;

    how = BY_INVLPG;
    pt[1] = page + 7;
    begin(stores, user);
    others_run(1);
    for (u32 i = 0; i < 20 * SCALE; i++) {
        u64 a;

        __atomic_and_fetch(&pt[1], ~2ull, __ATOMIC_SEQ_CST);
        shootdown(VIEW + 0x1000);
        a = sum_of(page);
        for (u32 k = 0; k < 300; k++) {
            pause();
        }
        bad += sum_of(page) != a;
        if (i & 1) {                            /* copy on write: the next stores go to the copy, and only there */
            u64 to = page ^ 0x1000;

            for (u32 k = 0; k < 1024; k++) {
                ((volatile u32 *)to)[k] = ((volatile u32 *)page)[k];
            }
            page = to;
        }
        pt[1] = page + 7;
        shootdown(VIEW + 0x1000);
        others_run(1);
    }
    finish("stores");
    check("protected", bad, 0);
}

/* ---- a large page becomes a table of small ones and back ---- */
static void test_split(u32 user)
{
    how = BY_INVLPG;
    for (u32 k = 0; k < 4; k++) {
        for (u32 i = 0; i < PAGES; i++) {
            ((volatile u32 *)(PHYS + 0x1000 * i))[k] = i;
        }
    }
    new_round();
    pd[1] = PHYS + 0xe7;
    shootdown(LARGE);
    read_at = LARGE;
    begin(reads, user);
    for (u32 r = 0; r < 10 * SCALE; r++) {
        u32 other = 1 + r % (PAGES - 1);

        pt_large[0] = PHYS + 0x1000 * other + 7;
        pd[1] = 0x20b007;                       /* small: page 0 shows another */
        shootdown(LARGE);
        epoch = (epoch & ~0xffull) | other;
        others_run(1);
        new_round();
        pd[1] = PHYS + 0xe7;
        shootdown(LARGE);
    }
    finish("split");
}

/* ---- accessed and dirty bits, beside software's own changes of the same entries ---- */
static volatile u32 touch_round;

static void touches(u32 cpu)
{
    for (u32 i = 0; i < 200; i++) {
        u64 p = VIEW + 0x10000 + 0x1000ull * ((i + 50 * cpu) % 200);

        if (cpu & 1) {
            (void)*(volatile u32 *)p;
        } else {
            *(volatile u32 *)(p + 4 * cpu) = i;
        }
        __atomic_xor_fetch(&pt[16 + (i * 7 + cpu) % 200], 1ull << (52 + cpu), __ATOMIC_SEQ_CST);
    }
}

static void flush(u32 cpu)
{
    (void)cpu;
    set_cr3(get_cr3());
}

static void test_ad(u32 user)
{
    u32 bad = 0;

    for (u32 r = 0; r < 8 * SCALE; r++) {
        for (u32 i = 0; i < 200; i++) {
            pt[16 + i] = PHYS + 0x1000 * (PAGES + 2 + i) + 7;
        }
        on_cpus(CPUS, flush);
        if (user) {
            user_on_cpus(CPUS, touches);
        } else {
            on_cpus(CPUS, touches);
        }
        for (u32 i = 0; i < 200; i++) {
            bad += (pt[16 + i] & 0x60) != 0x60 || pt[16 + i] >> 52 != 7;
        }
    }
    check("accessed, dirty and software's bits", bad, 0);
}

__attribute__((used)) void test_main(void)
{
    smp_start(CPUS);
    map_views();
    on_smp_trap = on_shoot;
    set_cr4(get_cr4() | 0x80);
    for (u32 user = 0; user < 2; user++) {
        put(user ? "user\n" : "kernel\n");
        test_remap(user);
        test_unmap(user);
        test_protect(user);
        test_split(user);
        test_ad(user);
    }
}
