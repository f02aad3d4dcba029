/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smp64.h - for 64-bit tests with several CPUs: starting them, jobs for them in ring 0 or 3, barriers, IPIs.
 *
 * The boot CPU is number 0, the others wait in HLT for jobs.  on_cpus(n, fn) runs fn(cpu) on CPUs 0..n-1 and returns when
 * all are done; user_on_cpus() runs it at CPL 3.  A test that uses this says with: smpap.S and smp: N.
 *
 * Memory: 8000 start-up code, 9000 GDTs, a000 TSSs, 20000 and 40000 the CPUs' stacks for ring 0 and 3.  300000..3fffff is
 * free and mapped by small pages, 400000..ffffff by large ones.
 */
#ifndef XBT_TEST_SMP64_H
#define XBT_TEST_SMP64_H

#include "lib64.h"

#define CPUS_MAX 8u
#define SMP_BOOT 0x8000u
#define WAKE     0x40u
#define APIC(r)  (*(volatile u32 *)(0xfee00000ull + (r)))
#define NOINLINE __attribute__((noinline))
#ifndef SCALE
#define SCALE 1u               /* how much longer than in the daily test (build.py) */
#endif

typedef void job_fn(u32 cpu);

struct percpu {
    u32 cpu;
    volatile u32 alive;        /* times that ap_main() was reached */
    job_fn *volatile job;
    volatile u32 count[256];   /* interrupts by vector */
    volatile u64 resume_sp, resume_ip;      /* in this order */
} __attribute__((aligned(64)));
static struct percpu percpu[CPUS_MAX];
/* A test's own look at interrupts, before they are counted and ended; non-zero: nothing is left to do. */
static int (*volatile on_smp_trap)(struct frame *f, u32 cpu);

extern u8 ap_boot[], ap_boot_end[], gdt64[];

static inline u32 this_cpu(void)
{
    u32 v;
    __asm__ volatile("movl %%gs:0, %0" : "=r"(v));
    return v;
}

static inline void pause(void) { __asm__ volatile("pause" : : : "memory"); }
static inline void barrier_c(void) { __asm__ volatile("" : : : "memory"); }

/* ---- interrupts ---- */

static inline void icr(u32 dest, u32 command)
{
    APIC(0x310) = dest << 24;
    APIC(0x300) = command;
    while (APIC(0x300) & 0x1000) {
        pause();
    }
}

static inline void ipi(u32 dest, u32 vector) { icr(dest, 0x4000 | vector); }

static int smp_trap(struct frame *f)
{
    struct percpu *p = &percpu[this_cpu()];

    if (on_smp_trap && on_smp_trap(f, p->cpu)) {
        return 1;
    }
    if (f->vector == 0x81) {                    /* the end of a user job */
        f->cs = 8;
        f->ss = 0x10;
        f->ip = p->resume_ip;
        f->sp = p->resume_sp;
        return 1;
    }
    if (f->vector == 2) {
        p->count[2]++;
        return 1;
    }
    if (f->vector < 0x30) {
        return 0;
    }
    p->count[f->vector]++;
    if (f->vector != 0xff) {
        APIC(0xb0) = 0;
    }
    return 1;
}

/* ---- the start ---- */

static void smp_cpu_init(u32 cpu)
{
    u64 tss = cpu ? 0xa000 + 0x80 * cpu : TSS64, base = 0x9000 + 0x80 * cpu;
    struct { u16 limit; u64 base; } __attribute__((packed)) ptr = {0x47, base};

    percpu[cpu].cpu = cpu;
    wrmsr(0xc0000101, (u64)&percpu[cpu]);
    if (cpu) {
        for (u32 i = 0; i < 9; i++) {
            ((volatile u64 *)base)[i] = ((u64 *)gdt64)[i];
        }
        ((volatile u64 *)base)[5] = 0x0000890000000067 | tss << 16;
        __asm__ volatile("lgdt %0; ltr %w1" : : "m"(ptr), "r"(0x28) : "memory");
    }
    APIC(0xf0) = 0x1ff;
    APIC(0x80) = 0;
}

__attribute__((used)) void ap_main(u32 cpu)
{
    struct percpu *p = &percpu[cpu];

    smp_cpu_init(cpu);
    p->alive++;
    for (;;) {
        job_fn *job;

        __asm__ volatile("cli" : : : "memory");
        job = p->job;
        if (!job) {
            __asm__ volatile("sti; hlt" : : : "memory");
            continue;
        }
        __asm__ volatile("sti" : : : "memory");
        job(cpu);
        barrier_c();
        p->job = 0;
    }
}

/* APIC, all RAM behind 4 MiB, and what the BSP needs too. */
static void smp_prepare(void)
{
    volatile u64 *pdpt = (volatile u64 *)0x201000, *pd = (volatile u64 *)0x206000, *low = (volatile u64 *)0x202000;
    volatile u8 *to = (volatile u8 *)(u64)SMP_BOOT;

    pdpt[3] = 0x206003;
    pd[0x1f6] = 0xfec00093ull;
    pd[0x1f7] = 0xfee00093ull;
    for (u32 i = 2; i < 8; i++) {
        low[i] = i * 0x200000ull + 0xe7;
    }
    set_cr3(get_cr3());
    on_trap = smp_trap;
    smp_cpu_init(0);
    for (const u8 *s = ap_boot; s < ap_boot_end; s++) {
        *to++ = *s;
    }
}

static inline void smp_start(u32 n)
{
    smp_prepare();
    icr(0, 0xc4500);                            /* INIT, then two start-up IPIs, to all but self */
    icr(0, 0xc4600 | SMP_BOOT >> 12);
    icr(0, 0xc4600 | SMP_BOOT >> 12);
    for (u32 i = 1; i < n; i++) {
        while (!percpu[i].alive) {
            pause();
        }
    }
    __asm__ volatile("sti");
}

/* ---- jobs ---- */

static inline void start_job(u32 cpu, job_fn *fn)
{
    percpu[cpu].job = fn;
    ipi(cpu, WAKE);
}

static inline void wait_job(u32 cpu)
{
    while (percpu[cpu].job) {
        pause();
    }
}

static inline void on_cpus(u32 n, job_fn *fn)
{
    for (u32 i = 1; i < n; i++) {
        start_job(i, fn);
    }
    fn(0);
    for (u32 i = 1; i < n; i++) {
        wait_job(i);
    }
}

static job_fn *volatile user_fn;

__attribute__((used)) static void user_main(u32 cpu)
{
    user_fn(cpu);
    __asm__ volatile("int $0x81");
}

static inline void user_job(u32 cpu)
{
    volatile u64 *save = &percpu[cpu].resume_sp;
    u64 tss = cpu ? 0xa000 + 0x80 * cpu : TSS64, stack = 0x40000 + 0x4000 * (cpu + 1) - 8;

    __asm__ volatile("push %%rbx; push %%rbp; mov %%rsp, (%0); lea 9f(%%rip), %%rax; mov %%rax, 8(%0);"
                     "lea -128(%%rsp), %%rax; and $-16, %%rax; mov %%rax, 4(%1);"
                     "pushq $0x1b; pushq %2; pushq $0x202; pushq $0x23; pushq $user_main; iretq;"
                     "9: pop %%rbp; pop %%rbx"
                     : "+S"(save), "+d"(tss), "+c"(stack), "+D"(cpu)
                     : : "rax", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

static inline void user_on_cpus(u32 n, job_fn *fn)
{
    user_fn = fn;
    on_cpus(n, user_job);
}

/* ---- meeting ---- */

static volatile u32 meet_count __attribute__((aligned(64))), meet_round __attribute__((aligned(64)));

static inline void meet(u32 n)
{
    u32 round = meet_round;

    if (__atomic_add_fetch(&meet_count, 1, __ATOMIC_SEQ_CST) == n) {
        meet_count = 0;
        __atomic_store_n(&meet_round, round + 1, __ATOMIC_RELEASE);
    } else {
        while (meet_round == round) {
            pause();
        }
    }
}

static inline u32 random_next(u32 *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

#endif
