/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smpinit64.c - INIT and start-up IPIs: what a CPU is after them, who listens to which, what stays (SDM vol. 3, 8.4, 9.1).
 */
/* with: smpap.S */
/* smp: 4 */
#define SYS_MAIN
#include "smp64.h"

#define CPUS  4u
#define OTHER 0xb000u                    /* page of a second piece of start-up code */
#define NOTE(off) (*(volatile u32 *)(0x5800ull + (off)))

/* Adds one to 5820h, then halts.  Real mode, at any page. */
__asm__(".code16; other: lock incl %cs:other_count - other; movw $0, %ax; movw %ax, %ds; lock incl 0x5820;"
        "movw %cs, 0x5824; 1: hlt; jmp 1b; other_count: .long 0;"
        "other_nmi: lock incl %cs:0x5828; iret; other_end: .code64");
extern u8 other[], other_nmi[], other_end[];

static volatile u32 spins[CPUS], freeze;

static void wait_alive(u32 cpu, u32 want)
{
    while (percpu[cpu].alive < want) {
        pause();
    }
}

/* Time for a request to arrive, asleep so that the others have the host's processors.  It is not known when it has: where
 * nothing must happen, a loaded host only makes the test see less. */
static void settle(void)
{
    u32 was = percpu[0].count[0x56];

    APIC(0x3e0) = 0xb;
    APIC(0x320) = 0x56;
    APIC(0x380) = 20000000;
    while (percpu[0].count[0x56] == was) {
        __asm__ volatile("sti; hlt" : : : "memory");
    }
}

static void spin(u32 cpu)
{
    for (;;) {
        spins[cpu]++;
        pause();
    }
}

static void wait_runs(u32 cpu)
{
    for (u32 was = spins[cpu]; spins[cpu] == was;) {
        pause();
    }
}

static void wait_stopped(u32 cpu)
{
    u32 was;

    do {
        was = spins[cpu];
        settle();
    } while (spins[cpu] != was);
}

static void to_init(u32 cpu) { icr(cpu, 0x4500); }
static void to_start(u32 cpu, u32 page) { icr(cpu, 0x4600 | page >> 12); }

static void test_first(void)
{
    u32 id[4];

    put("first start\n");
    NOTE(0x20) = NOTE(0x28) = 0;
    icr(1, 0x4400);                         /* an NMI waits for the start-up, too */
    ipi(2, 0x55);
    settle();
    check("no nmi", NOTE(0x28), 0);
    for (u32 i = 1; i < CPUS; i++) {
        check("nobody runs before", percpu[i].alive, 0);
    }
    for (u32 i = 1; i < CPUS; i++) {
        to_start(i, SMP_BOOT);              /* they wait for it since the reset: no INIT needed */
        wait_alive(i, 1);
        check("cs", NOTE(0x10), SMP_BOOT >> 4);
        check("cr0", NOTE(0x14), 0x60000010);
        cpuid(1, 0, id);
        check("edx", NOTE(0x18), id[0]);
    }
    line("nmi", NOTE(0x28));
}

static volatile u64 seen_msr[CPUS], seen_id[CPUS];

static void who(u32 cpu)
{
    u32 r[4];

    cpuid(1, 0, r);
    seen_msr[cpu] = rdmsr(0x1b);
    seen_id[cpu] = (u64)(r[1] >> 24) << 32 | APIC(0x20);
}

static void test_who(void)
{
    put("who\n");
    on_cpus(CPUS, who);
    for (u32 i = 0; i < CPUS; i++) {
        check("apic base", seen_msr[i], 0xfee00800 | (i ? 0 : 0x100));
        check("ids", seen_id[i], (u64)i << 32 | i << 24);
    }
}

static void test_ignored(void)
{
    put("a start-up IPI for a running CPU\n");
    NOTE(0x20) = 0;
    start_job(1, spin);
    while (!spins[1]) {
        pause();
    }
    to_start(1, OTHER);
    to_start(2, OTHER);                     /* 2 is halted */
    settle();
    check("did not start", NOTE(0x20), 0);
    wait_runs(1);
    check("starts", percpu[1].alive, 1);
    on_cpus(1, who);
    start_job(2, who);
    wait_job(2);
}

static void test_init(void)
{
    put("INIT of a running CPU\n");
    to_init(1);
    wait_stopped(1);
    NOTE(0x20) = 0;
    to_start(1, OTHER);
    while (!NOTE(0x20)) {
        pause();
    }
    check("vector", *(volatile u16 *)0x5824, OTHER >> 4);
    to_start(1, SMP_BOOT);                  /* halted in real mode: not waiting for a start-up */
    settle();
    check("not again", percpu[1].alive, 1);
    to_init(1);
    percpu[1].job = 0;
    to_start(1, SMP_BOOT);
    wait_alive(1, 2);
    check("cs", NOTE(0x10), SMP_BOOT >> 4);
    check("cr0", NOTE(0x14), 0x10);         /* CD and NW are kept (table 9-1) */
    start_job(1, who);
    wait_job(1);
    put("INIT of a halted CPU\n");
    to_init(2);
    percpu[2].job = spin;                   /* it would take the job if it were woken */
    spins[2] = 0;
    ipi(2, WAKE);
    settle();
    check("does not wake", spins[2], 0);
    percpu[2].job = 0;
    to_start(2, SMP_BOOT);
    to_start(2, SMP_BOOT);
    wait_alive(2, 2);
    to_start(2, OTHER);
    start_job(2, who);
    wait_job(2);
}

static void leave_marks(u32 cpu)
{
    wrmsr(0xc0000081, 0x123456700 + cpu);                       /* STAR */
    wrmsr(0x250, 0x0606060606060606ull);
    wrmsr(0x10, 1ull << 52);
    __asm__ volatile("movq %0, %%xmm5; mov %0, %%dr0; mov %0, %%cr2" : : "r"(0x1122334455ull));
    set_cr8(7);
    APIC(0xd0) = 0x5000000;
    barrier_c();
    freeze = 1;
    __asm__ volatile("cli; 1: pause; jmp 1b");
}

static volatile u64 found[8];

static void look_for_marks(u32 cpu)
{
    u64 x, d, c2;

    __asm__ volatile("movq %%xmm5, %0; mov %%dr0, %1; mov %%cr2, %2" : "=r"(x), "=r"(d), "=r"(c2));
    found[0] = rdmsr(0xc0000081) - cpu;
    found[1] = rdmsr(0x250);
    found[2] = rdmsr(0x10) >> 52;
    found[3] = x;
    found[4] = d;
    found[5] = c2;
    found[6] = get_cr8();
    found[7] = APIC(0xd0);
}

static void test_kept(void)
{
    put("what INIT keeps\n");
    freeze = 0;
    start_job(3, leave_marks);
    while (!freeze) {
        pause();
    }
    to_init(3);
    percpu[3].job = 0;
    to_start(3, SMP_BOOT);
    wait_alive(3, 2);
    start_job(3, look_for_marks);
    wait_job(3);
    line("star", found[0]);
    line("mtrr", found[1]);
    line("tsc", found[2]);
    line("xmm5", found[3]);
    line("dr0", found[4]);
    line("cr2", found[5]);
    line("cr8", found[6]);
    line("ldr", found[7]);
}

static void test_all(void)
{
    u32 was[CPUS];

    put("to all but self\n");
    for (u32 i = 1; i < CPUS; i++) {
        was[i] = percpu[i].alive;
        spins[i] = 0;
        start_job(i, spin);
    }
    for (u32 i = 1; i < CPUS; i++) {
        while (!spins[i]) {
            pause();
        }
    }
    icr(0, 0xc4500);
    for (u32 i = 1; i < CPUS; i++) {
        wait_stopped(i);
        percpu[i].job = 0;
    }
    icr(0, 0xc8500);                        /* INIT level de-assert: nothing */
    icr(0, 0xc4600 | SMP_BOOT >> 12);
    icr(0, 0xc4600 | SMP_BOOT >> 12);
    NOTE(0x20) = 0;
    for (u32 i = 1; i < CPUS; i++) {
        wait_alive(i, was[i] + 1);
    }
    icr(0, 0xc4600 | OTHER >> 12);
    on_cpus(CPUS, who);
    for (u32 i = 1; i < CPUS; i++) {
        check("once", percpu[i].alive, was[i] + 1);
    }
    check("second start-up", NOTE(0x20), 0);
}

/* Over and over, in all states that a CPU can be in. */
static void test_often(void)
{
    u32 seed = 1;

    put("often\n");
    for (u32 i = 0; i < 60 * SCALE; i++) {
        u32 cpu = 1 + i % 3, was = percpu[cpu].alive;

        if (random_next(&seed) & 1) {
            start_job(cpu, spin);
        }
        for (u32 n = random_next(&seed) % 2000; n; n--) {
            pause();
        }
        to_init(cpu);
        percpu[cpu].job = 0;
        to_start(cpu, SMP_BOOT);
        wait_alive(cpu, was + 1);
        start_job(cpu, who);
        wait_job(cpu);
        check("id", seen_id[cpu] >> 32, cpu);
    }
}

__attribute__((used)) void test_main(void)
{
    smp_prepare();
    user_copy(OTHER, other, other_end);
    *(volatile u32 *)8 = OTHER + (u32)(other_nmi - other);     /* the vector of NMIs in real mode: at CS 0 */
    __asm__ volatile("sti");
    test_first();
    test_who();
    test_ignored();
    test_init();
    test_kept();
    test_all();
    test_often();
}
