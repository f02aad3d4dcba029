/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smpapic64.c - interrupts between CPUs: shorthands, physical and logical destinations, delivery modes, NMI, HLT and
 * PAUSE, storms with counted deliveries, ExtINT, and the time stamp counter from CPU to CPU (SDM vol. 3, 10.6, 17.17).
 */
/* with: smpap.S */
/* smp: 4 */
#define SYS_MAIN
#include "smp64.h"

#define CPUS 4u
#define VEC  0x50u

/* Which CPUs got `vector`, one hex digit each (the last is CPU 0), once they are as many as wanted; then a while more. */
static u32 who_got(u32 vector, u32 wanted)
{
    u32 sum, r;

    for (u32 late = 0; late < 20;) {
        sum = r = 0;
        for (u32 i = 0; i < CPUS; i++) {
            sum += percpu[i].count[vector];
            r |= percpu[i].count[vector] << 4 * i;
        }
        late += sum >= wanted;
        for (u32 i = 0; i < 1000; i++) {
            pause();
        }
    }
    for (u32 i = 0; i < CPUS; i++) {
        percpu[i].count[vector] = 0;
    }
    return r;
}

static void sends(const char *name, u32 dest, u32 command, u32 vector, u32 wanted)
{
    icr(dest, command);
    line(name, who_got(vector, wanted));
}

static volatile u32 set_dfr, set_ldr;

static void logical(u32 cpu)
{
    APIC(0xe0) = set_dfr;
    APIC(0xd0) = set_dfr == ~0u ? 1u << (24 + cpu) : (cpu / 2) << 28 | 1u << (24 + cpu % 2);
}

static u32 bits(u32 v)
{
    u32 n = 0;

    for (; v; v &= v - 1) {
        n++;
    }
    return n;
}

static void test_destinations(void)
{
    u32 got_lowest = 0;

    put("physical\n");
    sends("to 2", 2, 0x4000 | VEC, VEC, 1);
    sends("to 0", 0, 0x4000 | VEC, VEC, 1);
    sends("to nobody", 7, 0x4000 | VEC, VEC, 0);
    sends("to ff", 0xff, 0x4000 | VEC, VEC, 4);
    sends("self", 0, 0x44000 | VEC, VEC, 1);
    sends("all", 0, 0x84000 | VEC, VEC, 4);
    sends("all but self", 0, 0xc4000 | VEC, VEC, 3);
    sends("nmi to 3", 3, 0x4400, 2, 1);
    sends("nmi to all but self", 0, 0xc4400, 2, 3);
    put("flat\n");
    set_dfr = ~0u;
    on_cpus(CPUS, logical);
    sends("6", 6, 0x4800 | VEC, VEC, 2);
    sends("9", 9, 0x4800 | VEC, VEC, 2);
    sends("none", 0x10, 0x4800 | VEC, VEC, 0);
    sends("ff", 0xff, 0x4800 | VEC, VEC, 4);
    sends("nmi a", 0xa, 0x4c00, 2, 2);
    put("cluster\n");
    set_dfr = 0x0fffffff;
    on_cpus(CPUS, logical);
    sends("01", 0x01, 0x4800 | VEC, VEC, 1);
    sends("03", 0x03, 0x4800 | VEC, VEC, 2);
    sends("12", 0x12, 0x4800 | VEC, VEC, 1);
    sends("13", 0x13, 0x4800 | VEC, VEC, 2);
    sends("23", 0x23, 0x4800 | VEC, VEC, 0);
    put("lowest priority\n");
    set_dfr = ~0u;
    on_cpus(CPUS, logical);
    for (u32 i = 0; i < 20; i++) {              /* one of them, never more; which one is the machine's choice */
        u32 r;

        icr(0xe, 0x4900 | VEC);
        r = who_got(VEC, 1);
        check("one", bits(r), 1);
        got_lowest |= r;
    }
    check("of those", got_lowest & ~0x1110u, 0);
}

/* A CPU in HLT with interrupts off: an NMI wakes it, an interrupt does not. */
static volatile u32 awake;

static void halt_cli(u32 cpu)
{
    (void)cpu;
    __asm__ volatile("cli");
    awake = 1;
    __asm__ volatile("hlt");
    awake = 2;
    while (awake != 3) {
        pause();
    }
    __asm__ volatile("sti; nop");
    awake = 4;
}

static void test_halt(void)
{
    put("halted\n");
    awake = 0;
    start_job(1, halt_cli);
    while (awake != 1) {
        pause();
    }
    icr(1, 0x4000 | VEC);
    for (u32 i = 0; i < 100000; i++) {
        pause();
    }
    check("asleep", awake, 1);
    check("irr", percpu[1].count[VEC], 0);
    icr(1, 0x4400);
    while (awake != 2) {
        pause();
    }
    check("nmi", percpu[1].count[2], 1);
    awake = 3;
    while (awake != 4) {
        pause();
    }
    wait_job(1);
    check("then the interrupt", percpu[1].count[VEC], 1);
    percpu[1].count[2] = percpu[1].count[VEC] = 0;
}

/* ---- storms: everybody sends to everybody; each request has its own vector, so that none may merge ---- */
#define STORM (100u * SCALE)
static volatile u32 acked[CPUS][CPUS];          /* [to][from] */

static void storm(u32 cpu)
{
    for (u32 i = 0; i < STORM; i++) {
        for (u32 k = 1; k < CPUS; k++) {
            u32 to = (cpu + k) % CPUS;

            while (percpu[to].count[0x60 + cpu] != i) {         /* the last one has arrived */
                pause();
            }
            ipi(to, 0x60 + cpu);
        }
    }
}

/* Both are halted between: neither is ever asleep with an unanswered request. */
static void ping_pong(u32 cpu)
{
    u32 other = cpu ^ 1;

    for (u32 i = 0; i < 300 * SCALE; i++) {
        if (cpu == 0) {
            ipi(other, 0x70);
        }
        for (;;) {
            __asm__ volatile("cli" : : : "memory");
            if (percpu[cpu].count[0x70] > i) {
                break;
            }
            __asm__ volatile("sti; hlt" : : : "memory");
        }
        __asm__ volatile("sti" : : : "memory");
        if (cpu == 1) {
            ipi(other, 0x70);
        }
    }
}

static void test_storms(void)
{
    put("storms\n");
    on_cpus(CPUS, storm);
    for (u32 i = 0; i < CPUS; i++) {
        for (u32 k = 0; k < CPUS; k++) {
            while (i != k && percpu[i].count[0x60 + k] < STORM) {
                pause();
            }
            check("delivered", percpu[i].count[0x60 + k], i == k ? 0 : STORM);
        }
    }
    on_cpus(2, ping_pong);
    check("ping", percpu[1].count[0x70], 300 * SCALE);
    check("pong", percpu[0].count[0x70], 300 * SCALE);
}

/* ---- ExtINT: the 8259s reach the CPU whose LINT0 takes them ---- */
static void lint0_masked(u32 cpu)
{
    (void)cpu;
    APIC(0x350) = 0x10700;
}

static int ends_8259(struct frame *f, u32 cpu)
{
    if (f->vector == 0x20) {
        percpu[cpu].count[0x20]++;
        outb(0x20, 0x20);
        return 1;
    }
    return 0;
}

static void pit_once(void)
{
    outb(0x43, 0x30);
    outb(0x40, 100);
    outb(0x40, 0);
}

static void test_extint(void)
{
    put("extint\n");
    on_smp_trap = ends_8259;
    outb(0x20, 0x11); outb(0x21, 0x20); outb(0x21, 4); outb(0x21, 1);
    outb(0x21, 0xfe);
    on_cpus(CPUS, lint0_masked);
    APIC(0x350) = 0x700;
    pit_once();
    line("to", who_got(0x20, 1));
    outb(0x21, 0xff);
    on_smp_trap = 0;
}

/* ---- time ---- */
static volatile u64 baton __attribute__((aligned(64)));
static volatile u32 backward;

/* A value read later on any CPU is not less: the odd step hands it on. */
static void tsc_chain(u32 cpu)
{
    for (;;) {
        u64 was = baton, now;

        if (was == ~0ull) {
            return;
        }
        __asm__ volatile("lfence" : : : "memory");
        now = __builtin_ia32_rdtsc();
        if (now < was) {
            backward++;
        }
        if (__atomic_compare_exchange_n(&baton, &was, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) && cpu == 0) {
            static u32 n;

            if (++n == 20000 * SCALE) {
                baton = ~0ull;
            }
        }
        if (cpu > 1) {
            pause();
        }
    }
}

static volatile u64 offset_seen;

static void tsc_here(u32 cpu)
{
    (void)cpu;
    offset_seen = __builtin_ia32_rdtsc();
}

static void test_time(void)
{
    put("time\n");
    on_cpus(CPUS, tsc_chain);
    check("steps back", backward, 0);
    for (u32 i = 1; i < CPUS; i++) {            /* all count from the same start */
        u64 a = __builtin_ia32_rdtsc(), b;

        start_job(i, tsc_here);
        wait_job(i);
        b = __builtin_ia32_rdtsc();
        check("between", offset_seen >= a && offset_seen <= b, 1);
    }
}

__attribute__((used)) void test_main(void)
{
    smp_start(CPUS);
    test_destinations();
    test_halt();
    test_storms();
    test_extint();
    test_time();
}
