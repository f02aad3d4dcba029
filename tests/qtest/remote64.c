/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * remote64.c - a bare-metal guest that does what is asked of it over the serial port (remote.py): accesses to memory,
 * ports and MSRs, running code, waiting for an NMI or a machine check.  512 GiB are mapped one to one.
 *
 * A request is a letter and hex numbers on a line.  The answer is "= NUMBERS", or "! VECTOR" of the exception met.
 */
#define SYS_MAIN
#include "../system/lib64.h"

static volatile u64 events[32], event_ip, event_status;
static void *retry[5];
static u64 arg[4];
#define N_ARGS (sizeof(arg) / sizeof(arg[0]))

/* trap() of lib64.h calls this first. */
__attribute__((noreturn)) static void again(void) { __builtin_longjmp(retry, 1); }

static int on_event(struct frame *f)
{
    if (f->vector == 2 || f->vector == 18) {
        events[f->vector]++;
        event_ip = f->ip;
        if (f->vector == 18) {
            event_status = rdmsr(0x17a);
            wrmsr(0x17a, 0);
        }
        return 1;
    }
    put("! ");
    put_hex(f->vector);
    put("\n");
    f->ip = (u64)again;
    f->sp = 0x7eff8;
    f->flags = 2;
    return 1;
}

static u64 events_seen(void) { return events[2] + events[18]; }

static void map_all(void)
{
    volatile u64 *pdpt = (volatile u64 *)0x201000, *pd = (volatile u64 *)0x202000;

    for (u64 i = 2; i < 512; i++) {
        pd[i] = i << 21 | 0x87;
        pdpt[i - 1] = (i - 1) << 30 | 0x87;
    }
    pdpt[511] = 511ull << 30 | 0x87;
    set_cr3(get_cr3());
}

static char get(void)
{
    while (!(inb(0x3fd) & 1)) {
        __asm__ volatile("pause");
    }
    return (char)inb(0x3f8);
}

/* The letter of the next request. */
static char read_request(void)
{
    char letter = get(), c = get();

    for (u32 i = 0; i < N_ARGS; i++) {
        arg[i] = 0;
    }
    for (int i = -1; c != '\n'; c = get()) {
        if (c == ' ') {
            i++;
        } else if (i >= 0 && i < (int)N_ARGS) {
            arg[i] = arg[i] << 4 | (u64)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
    }
    return letter;
}

static u64 port_in(u16 port, u64 size)
{
    u32 v = 0;

    if (size == 1) {
        return inb(port);
    }
    if (size == 2) {
        __asm__ volatile("inw %1, %w0" : "=a"(v) : "Nd"(port));
        return (u16)v;
    }
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void port_out(u16 port, u64 size, u32 v)
{
    if (size == 1) {
        outb(port, (u8)v);
    } else if (size == 2) {
        __asm__ volatile("outw %w0, %1" : : "a"(v), "Nd"(port));
    } else {
        __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
    }
}

static void fill(u64 at, u64 bytes, u64 x)
{
    for (u64 *p = (u64 *)at; p < (u64 *)(at + bytes); p++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        *p = x;
    }
}

static u64 sum(u64 at, u64 bytes)
{
    u64 s = 0;

    for (const u64 *p = (const u64 *)at; p < (const u64 *)(at + bytes); p++) {
        s = (s << 7 | s >> 57) + *p;
    }
    return s;
}

/* Wait for the next NMI or machine check. */
static void wait_event(int halt)
{
    u64 seen = events_seen();

    put("waits\n");
    while (events_seen() == seen) {
        if (halt) {
            __asm__ volatile("hlt");
        }
    }
}

static u64 serve(char letter)
{
    switch (letter) {
    case 'r': return *(volatile u64 *)arg[0];
    case 'l': return *(volatile u32 *)arg[0];
    case 'w': *(volatile u64 *)arg[0] = arg[1]; return 0;
    case 'L': *(volatile u32 *)arg[0] = (u32)arg[1]; return 0;
    case 'i': return port_in((u16)arg[0], arg[1]);
    case 'o': port_out((u16)arg[0], arg[1], (u32)arg[2]); return 0;
    case 'm': return rdmsr((u32)arg[0]);
    case 'M': wrmsr((u32)arg[0], arg[1]); return 0;
    case '4': set_cr4(arg[0]); return get_cr4();
    case 'x': return ((u64 (*)(void))arg[0])();
    case 'f': fill(arg[0], arg[1], arg[2]); return 0;
    case 'F': put("waits\n"); fill(arg[0], arg[1], arg[2]); return 0;
    case 's': return sum(arg[0], arg[1]);
    case 'n': return events[arg[0] & 31];
    case 'e': return event_status;
    case 'h': wait_event(1); return 0;
    case 'b': wait_event(0); return 0;
    default: return ~0ull;
    }
}

__attribute__((used)) void test_main(void)
{
    volatile u64 *boots = (volatile u64 *)0x9000;

    on_trap = on_event;
    map_all();
    *(volatile u32 *)0xfee000f0 = 0x1ff;    /* local APIC on; LINT1 is the NMI */
    *(volatile u32 *)0xfee00360 = 0x400;
    if (boots[0] != 0x5845544f4d455221ull) {
        boots[0] = 0x5845544f4d455221ull;
        boots[1] = 0;
    }
    line("up", ++boots[1]);
    __builtin_setjmp(retry);
    for (;;) {
        u64 v = serve(read_request());

        put("= ");
        put_hex(v);
        put("\n");
    }
}
