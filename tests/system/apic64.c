/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * apic64.c - local APIC, I/O APIC, 8259s, PIT and RTC as interrupt sources; NMI; HLT; INIT (SDM vol. 3, 6.7, 6.8, 8.4.1,
 * 10.4 to 10.8).  A request that an instruction makes is seen before the next instruction.
 */
#define SYS_MAIN
#include "lib64.h"

#define APIC(r)  (*(volatile u32 *)(0xfee00000ull + (r)))
#define ALT(r)   (*(volatile u32 *)(0xfed40000ull + (r)))
#define IOSEL    (*(volatile u32 *)0xfec00000ull)
#define IOWIN    (*(volatile u32 *)0xfec00010ull)
#define PIC_EOI() outb(0x20, 0x20)

static volatile u32 count[256], order[16], n_order;
static volatile u64 last_ip, last_flags;
static void (*volatile extra)(u32 vector);

static int interrupt(struct frame *f)
{
    if (f->vector != 2 && f->vector < 0x20) {
        return 0;
    }
    count[f->vector]++;
    if (n_order < 16) {
        order[n_order++] = (u32)f->vector;
    }
    last_ip = f->ip;
    last_flags = f->flags;
    if (extra) {
        extra((u32)f->vector);
    }
    if (f->vector >= 0x30) {
        APIC(0xb0) = 0;
    } else if (f->vector >= 0x28) {
        outb(0xa0, 0x20);
        PIC_EOI();
    } else if (f->vector >= 0x20) {
        PIC_EOI();
    }
    return 1;
}

static void clear(void)
{
    for (u32 i = 0; i < 256; i++) {
        count[i] = 0;
    }
    n_order = 0;
    extra = 0;
}

static void shows(const char *name)
{
    put(name);
    for (u32 i = 0; i < n_order; i++) {
        put(" ");
        put_hex(order[i]);
    }
    put("\n");
    clear();
}

static void map(void)
{
    volatile u64 *pdpt = (volatile u64 *)0x201000, *pd = (volatile u64 *)0x206000;

    pdpt[3] = 0x206003;
    pd[0x1f6] = 0xfec00093ull;
    pd[0x1f7] = 0xfee00093ull;
}

static void test_disable(void)
{
    u64 base = rdmsr(0x1b);
    u32 r[4], version = APIC(0x30);

    put("apic base\n");
    line("base", base);
    APIC(0xf0) = 0x1ff;
    set_cr8(0);
    wrmsr(0x1b, base & ~0x800ull);
    cpuid(1, 0, r);
    check("off: cpuid", r[3] >> 9 & 1, 0);
    APIC(0x80) = 0x33;
    check("off: registers", APIC(0x30), ~0u);
    check("off: tpr", APIC(0x80), ~0u);
    check("off: cr8", get_cr8(), 0);
    set_cr8(9);
    check("off: cr8", get_cr8(), 9);
    set_cr8(0);
    wrmsr(0x1b, base);
    cpuid(1, 0, r);
    check("on: cpuid", r[3] >> 9 & 1, 1);
    check("on: base", rdmsr(0x1b), base);
    check("on: version", APIC(0x30), version);
    check("on: tpr", APIC(0x80), 0);
    check("on: spurious", APIC(0xf0), 0xff);
    check("on: lvt", APIC(0x320), 0x10000);
    wrmsr(0x1b, base & ~0x800ull);
    wrmsr(0x1b, 0xfed40000 | (base & 0xfff));
    check("moved: version", ALT(0x30), version);
    ALT(0x80) = 0x70;
    check("moved: cr8", get_cr8(), 7);
    ALT(0x80) = 0;
    check("moved: old place", APIC(0x30), ~0u);
    wrmsr(0x1b, base);
    check("back: version", APIC(0x30), version);
    TRY("mov $0x1b, %%ecx; rdmsr; or $0x400, %%eax; wrmsr", "D"(0)); show("x2apic");
    TRY("mov $0x1b, %%ecx; rdmsr; or $1, %%eax; wrmsr", "D"(0)); show("bit 0");
    TRY("mov $0x1b, %%ecx; rdmsr; or $0x100000, %%edx; wrmsr", "D"(0)); show("bit 52");
    APIC(0xf0) = 0x1ff;
    APIC(0x350) = 0x700;
}

#define ICR_SELF 0x44000
#define SEND(vec) "movl $0x440" #vec ", (%0); "

static void test_ipi(void)
{
    volatile u32 *icr = &APIC(0x300);

    put("self ipi\n");
    __asm__ volatile("sti; nop; " SEND(41) "cli" : : "r"(icr) : "memory");
    shows("store and cli");
    __asm__ volatile("sti; nop; " SEND(41) "pushf; andl $~0x200, (%%rsp); popf" : : "r"(icr) : "memory");
    shows("store and popf");
    __asm__ volatile("sti; nop; lea 1f(%%rip), %%rax; " SEND(41) "1: nop; nop; nop; cli; mov %%rax, base_ip(%%rip)"
                     : : "r"(icr) : "memory", "rax");
    line("where", last_ip - base_ip);
    shows("store");
    __asm__ volatile("sti; nop; lea 1f(%%rip), %%rdx; mov %%rdx, base_ip(%%rip); mov $0x44041, %%eax; mov %0, %%rdi;"
                     "mov $1, %%ecx; rep stosl; 1: cli" : : "r"(icr) : "memory", "rax", "rcx", "rdx", "rdi");
    line("where", last_ip - base_ip);
    shows("rep stos");
    __asm__ volatile("sti; nop; lea 1f(%%rip), %%rdx; mov %%rdx, base_ip(%%rip); mov $0x44041, %%eax;"
                     "xchg %%eax, (%0); 1: cli" : : "r"(icr) : "memory", "rax", "rdx");
    line("where", last_ip - base_ip);
    shows("xchg");
    __asm__ volatile(SEND(41) SEND(52) SEND(63) "sti; nop; nop; nop; cli" : : "r"(icr) : "memory");
    shows("priorities");
    __asm__ volatile(SEND(41) "sti; cli; nop; nop" : : "r"(icr) : "memory");
    shows("sti cli");
    line("irr", APIC(0x220));
    __asm__ volatile("sti; nop; cli");
    shows("sti nop cli");
    __asm__ volatile(SEND(41) "sti; sti; cli; nop" : : "r"(icr) : "memory");
    shows("sti sti cli");
    __asm__ volatile("sti; nop; mov %%ss, %%edx; mov %%edx, %%ss; " SEND(41) "cli" : : "r"(icr) : "memory", "edx");
    shows("mov ss");
    __asm__ volatile(SEND(41) "mov %%ss, %%edx; sti; mov %%edx, %%ss; lea 1f(%%rip), %%rax; 1: cli; "
                     "mov %%rax, base_ip(%%rip)" : : "r"(icr) : "memory", "edx", "rax");
    shows("sti, mov ss");
    __asm__ volatile("sti; nop; pushf; popf; cli");
    __asm__ volatile(SEND(41) "pushf; orl $0x200, (%%rsp); popf; cli" : : "r"(icr) : "memory");
    shows("popf cli");
    put("task priority\n");
    set_cr8(5);
    check("tpr", APIC(0x80), 0x50);
    check("ppr", APIC(0xa0), 0x50);
    __asm__ volatile("sti; nop; " SEND(41) SEND(62) "nop; nop; cli" : : "r"(icr) : "memory");
    shows("cr8 5");
    line("irr", APIC(0x220));
    __asm__ volatile("sti; nop; xor %%eax, %%eax; mov %%rax, %%cr8; cli" : : : "rax", "memory");
    shows("cr8 0");
    APIC(0x80) = 0x40;
    check("cr8", get_cr8(), 4);
    __asm__ volatile(SEND(41) "sti; nop; nop" : : "r"(icr) : "memory");
    APIC(0x80) = 0;
    __asm__ volatile("cli");
    shows("tpr 0");
}

static void nest(u32 vector)
{
    if (vector == 0x41) {
        __asm__ volatile("sti; nop");
        APIC(0x300) = 0x44033;                  /* lower: waits */
        APIC(0x300) = 0x44055;                  /* higher: interrupts */
        line("isr", APIC(0x120));
        __asm__ volatile("nop; cli");
    }
}

static void test_nesting(void)
{
    put("nested\n");
    clear();
    extra = nest;
    APIC(0x300) = 0x44041;
    __asm__ volatile("sti; nop; nop; nop; cli");
    shows("order");
}

static volatile u32 nmi_depth, nmi_max;

static void nmi_again(u32 vector)
{
    if (vector == 2) {
        nmi_depth++;
        if (nmi_depth > nmi_max) {
            nmi_max = nmi_depth;
        }
        if (count[2] == 1) {
            APIC(0x300) = 0x4400;
            APIC(0x300) = 0x4400;
            __asm__ volatile("nop; nop");
        }
        nmi_depth--;
    }
}

static void test_nmi(void)
{
    put("nmi\n");
    clear();
    extra = nmi_again;
    APIC(0x310) = 0;
    __asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, base_ip(%%rip); movl $0x4400, (%0); 1: nop; nop"
                     : : "r"(&APIC(0x300)) : "rax", "memory");
    line("where", last_ip - base_ip);
    line("depth", nmi_max);
    shows("nmis");
    APIC(0x3e0) = 0xb;                          /* the timer as NMI wakes HLT with IF = 0 */
    APIC(0x320) = 0x20400;
    APIC(0x380) = 300000;
    __asm__ volatile("cli; hlt; hlt");
    APIC(0x320) = 0x10000;
    check("hlt with if 0", count[2] >= 2, 1);
    clear();
}

static void test_timer(void)
{
    u32 a, b;

    put("timer\n");
    APIC(0x3e0) = 0xb;
    APIC(0x320) = 0x40;
    APIC(0x380) = 50000;
    while (!count[0x40]) {
        __asm__ volatile("sti; hlt; cli");
    }
    check("one shot: at the end", APIC(0x390), 0);
    clear();
    APIC(0x320) = 0x20040;
    APIC(0x380) = 20000;
    while (count[0x40] < 5) {
        __asm__ volatile("sti; hlt; cli");
    }
    APIC(0x320) = 0x10040;
    for (u32 i = 0; i < 100; i++) {             /* one more may have been requested before it was masked */
        __asm__ volatile("sti; nop; cli");
    }
    clear();
    APIC(0x380) = 0xffffffff;
    a = APIC(0x390);
    do {
        b = APIC(0x390);
    } while (a == b);
    check("counts down", b < a, 1);
    check("initial count", APIC(0x380), 0xffffffff);
    APIC(0x380) = 0;
    check("stopped", APIC(0x390), 0);
    APIC(0x3e0) = 0;
    APIC(0x320) = 0x40;
    APIC(0x380) = 1000;
    __asm__ volatile("1: cmpl $0, %0; jnz 2f; sti; nop; cli; jmp 1b; 2:" : : "m"(count[0x40]) : "memory");
    shows("divided by 2");
    APIC(0x320) = 0x10000;
}

/* ---- what is behind the I/O APIC and the 8259s: the UART's line stays up until IIR is read ---- */
static void ioapic(u32 pin, u32 low)
{
    IOSEL = 0x11 + 2 * pin;
    IOWIN = 0;
    IOSEL = 0x10 + 2 * pin;
    IOWIN = low;
}

static volatile u32 uart_calls;

static void uart(u32 vector)
{
    if (vector == 0x48 || vector == 0x24) {
        if (++uart_calls == 3 || vector == 0x24) {
            inb(0x3fa);
        }
    }
}

static void uart_test(const char *name, u32 entry)
{
    clear();
    extra = uart;
    uart_calls = 0;
    ioapic(4, entry);
    outb(0x3fc, 8);
    outb(0x3f9, 2);
    for (u32 i = 0; i < 1000; i++) {
        __asm__ volatile("sti; nop; cli");
    }
    outb(0x3f9, 0);
    inb(0x3fa);
    ioapic(4, 0x10000);
    shows(name);
}

static void pic_init(void)
{
    outb(0x20, 0x11); outb(0x21, 0x20); outb(0x21, 4); outb(0x21, 1);
    outb(0xa0, 0x11); outb(0xa1, 0x28); outb(0xa1, 2); outb(0xa1, 1);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

static u8 cmos(u8 reg)
{
    outb(0x70, reg);
    return inb(0x71);
}

static void rtc(u32 vector)
{
    if (vector == 0x28) {
        cmos(0xc);
    }
}

static void test_lines(void)
{
    put("lines\n");
    uart_test("edge", 0x48);
    uart_test("level", 0x8048);
    pic_init();
    clear();
    extra = uart;
    outb(0x21, 0xef);
    outb(0x3fc, 8);
    outb(0x3f9, 2);
    __asm__ volatile("sti; nop; nop; cli");
    outb(0x3f9, 0);
    outb(0x21, 0xff);
    shows("8259");
    /* Through the cascade: the RTC at 8 kHz. */
    extra = rtc;
    outb(0x70, 0xa);
    outb(0x71, 0x23);
    cmos(0xc);
    outb(0x70, 0xb);
    outb(0x71, 0x42);
    outb(0x21, 0xfb);
    outb(0xa1, 0xfe);
    while (count[0x28] < 3) {
        __asm__ volatile("sti; hlt; cli");
    }
    outb(0x70, 0xb);
    outb(0x71, 2);
    outb(0xa1, 0xff);
    outb(0x21, 0xff);
    check("cascade", count[0x28] >= 3, 1);
    clear();
    /* The PIT's one shot; masked while it is requested, then let through by an OUT. */
    outb(0x43, 0x30);
    outb(0x40, 100);
    outb(0x40, 0);
    outb(0x20, 0xa);
    while (!(inb(0x20) & 1)) {
    }
    __asm__ volatile("sti; nop; lea 1f(%%rip), %%rcx; mov %%rcx, base_ip(%%rip); mov $0xfe, %%al; outb %%al, $0x21;"
                     "1: cli" : : : "rax", "rcx", "memory");
    line("where", last_ip - base_ip);
    shows("pit");
    outb(0x21, 0xff);
}

static void test_init(void)
{
    volatile u64 *note = (volatile u64 *)0x5000;

    if (*note == 0x1234567890abcdefull) {
        put("after init\n");
        *note = 0;
        check("mtrr", rdmsr(0x250), 0x0606060606060606ull);
        check("apic id", APIC(0x20), 0);
        check("spurious", APIC(0xf0), 0xff);
        check("cr8", get_cr8(), 0);
        check("star", rdmsr(0xc0000081), 0x123456789);
        check("mc", rdmsr(0x400), 0);
        check("tsc", rdmsr(0x10) > 1ull << 50, 1);
        sys_exit(0);
    }
    put("init\n");
    *note = 0x1234567890abcdefull;
    wrmsr(0x250, 0x0606060606060606ull);
    wrmsr(0xc0000081, 0x123456789);
    wrmsr(0x400, 0);
    wrmsr(0x10, 1ull << 50);
    APIC(0x310) = 0;
    APIC(0x300) = 0x4500;
    for (;;) {
        __asm__ volatile("hlt");
    }
}

__attribute__((used)) void test_main(void)
{
    map();
    if (*(volatile u64 *)0x5000 == 0x1234567890abcdefull) {
        test_init();
    }
    on_trap = interrupt;
    pic_init();
    test_disable();
    test_ipi();
    test_nesting();
    test_nmi();
    test_timer();
    test_lines();
    test_init();
}
