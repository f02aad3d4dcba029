/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smptopo64.c - what each CPU says about where it is: APIC id, and CPUID's leaves of topology.  Run by smp_topology.py,
 * which knows how many CPUs there are and compares with TCG.
 */
/* with: smpap.S */
#define SYS_MAIN
#include "smp64.h"

static void leaf(u32 l, u32 sub)
{
    u32 r[4];

    cpuid(0x80000000, 0, r);
    if (l > r[0] && l >> 31) {
        return;
    }
    cpuid(l, sub, r);
    put_hex(l);
    put(".");
    put_hex(sub);
    put(":");
    for (u32 i = 0; i < 4; i++) {
        if ((l == 1 && i > 1) || (l == 0x80000008 && i != 2)) {     /* features: theirs */
            continue;
        }
        put(" ");
        put_hex(r[i]);
    }
    put("\n");
}

static void says(u32 cpu)
{
    line("cpu", cpu);
    line("apic id", APIC(0x20));
    line("bsp", rdmsr(0x1b) >> 8 & 1);
    leaf(1, 0);
    for (u32 i = 0; i < 4; i++) {
        leaf(4, i);
    }
    leaf(0xb, 0);
    leaf(0xb, 1);
    leaf(0xb, 2);
    leaf(0x80000008, 0);
    leaf(0x8000001d, 0);
    leaf(0x8000001d, 3);
    leaf(0x8000001e, 0);
}

/* APIC ids have gaps where a number of cores or threads is no power of two: the CPUs' numbers are their APIC ids here. */
__attribute__((used)) void test_main(void)
{
    u32 n;

    outb(0x70, 0x5f);
    n = inb(0x71) + 1u;
    smp_prepare();
    icr(0, 0xc4600 | SMP_BOOT >> 12);
    __asm__ volatile("sti");
    says(0);
    for (u32 i = 1, found = 1; found < n; i = (i + 1) % CPUS_MAX) {
        if (percpu[i].alive == 1) {
            percpu[i].alive = 2;
            start_job(i, says);
            wait_job(i);
            found++;
        }
        pause();
    }
    line("cpus", n);
}
