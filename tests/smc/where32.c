/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * where32.c - code whose memory is changed under it: PAM switches between ROM and RAM, A20, PCI BARs that trade places,
 * device registers that are executed, flash that is programmed, one page as 16- and as 32-bit code, large pages.
 *
 * The firmware image is flash (run_where.py: -drive if=pflash), so that it can be programmed.
 */
#define SYS_MAIN
#include "../system/sys.h"

extern u8 gdt[];

static inline void outl(u16 port, u32 v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
static inline u32 inl(u16 port)
{
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline volatile u32 *at32(u32 a) { return (volatile u32 *)a; }
static inline volatile u16 *at16(u32 a) { return (volatile u16 *)a; }
static inline volatile u8 *at8(u32 a) { return (volatile u8 *)a; }

void trap(struct frame *f)
{
    line("trap", f->vector);
    line("ip", f->ip);
    sys_exit(1);
}

static void pci_write(u32 fn, u32 reg, u32 v)
{
    outl(0xcf8, 0x80000000u | fn << 8 | reg);
    outl(0xcfc, v);
}

static u32 pci_read(u32 fn, u32 reg)
{
    outl(0xcf8, 0x80000000u | fn << 8 | reg);
    return inl(0xcfc);
}

static u32 call_with(u32 a, u32 eax)
{
    __asm__ volatile("call *%1" : "+a"(eax) : "r"(a) : "ecx", "edx", "memory");
    return eax;
}

static u32 call(u32 a) { return call_with(a, 0); }

static u32 failed;
static void check(const char *what, u32 got, u32 want)
{
    if (got != want) {
        failed = 1;
        put("  ");
        put(what);
        line(" got", got);
        line("      want", want);
    }
}

static void done(const char *what)
{
    put(what);
    put(failed ? " FAILED\n" : " ok\n");
    failed = 0;
}

static void copy(u32 to, const void *from, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        *at8(to + i) = ((const u8 *)from)[i];
    }
}

/* mov eax, v; ret */
static void put_function(u32 a, u32 v)
{
    *at8(a) = 0xb8;
    for (u32 i = 0; i < 4; i++) {
        *at8(a + 1 + i) = (u8)(v >> 8 * i);
    }
    *at8(a + 5) = 0xc3;
}

/* call target; ret: linked to the function */
static u32 caller_at;
static u32 make_caller(u32 target)
{
    u32 a = caller_at += 16;

    *at8(a) = 0xe8;
    *at32(a + 1) = target - a - 5;
    *at8(a + 5) = 0xc3;
    return a;
}

/*
 * In the image twice: at 1 MiB, where the test runs, and in flash, seen at E0000.  rom_function returns 1111; rom_switch
 * writes PAM registers 5C to 5F (eax), then returns what the memory behind the OUT says.
 */
__asm__(".text; .balign 64; rom_function: mov $0x1111, %eax; ret\n"
        ".balign 64; rom_switch: mov $0xcfc, %dx; outl %eax, %dx; mov $0x1111, %eax; ret; rom_end:");
extern u8 rom_function[], rom_switch[], rom_end[];
#define IN_ROM(p) ((u32)(p) - 0x100000 + 0xe0000)

static void test_pam(void)
{
    u32 f = IN_ROM(rom_function), s = IN_ROM(rom_switch), direct = make_caller(f);
    u32 off = (f >> 12 & 15) / 4 * 4;           /* 16 KiB pieces: nibbles of 5E and 5F */
    u32 rom = pci_read(0, 0x5c), mask = 3u << (16 + off), ram = rom | mask, ro = (rom & ~mask) | 1u << (16 + off);

    check("ROM", call(f), 0x1111);
    *at8(f + 1) = 0x77;
    check("ROM after a store", call(direct), 0x1111);
    pci_write(0, 0x5c, ram);
    copy(f, rom_function, (u32)(rom_end - rom_function));
    *at8(f + 1) = 0x22;
    *at8(s + (u32)(rom_end - rom_switch) - 5) = 0x33;
    for (u32 i = 0; i < 4; i++) {
        check("RAM", call(i & 1 ? direct : f), 0x1122);
        pci_write(0, 0x5c, rom);
        check("ROM again", call(i & 1 ? direct : f), 0x1111);
        pci_write(0, 0x5c, ro);
        check("write-protected", call(i & 1 ? direct : f), 0x1122);
        *at8(f + 1) = 0x44;
        check("write-protected, stored to", call(i & 1 ? direct : f), 0x1122);
        pci_write(0, 0x5c, ram);
        *at8(f + 1) = 0x55;
        check("RAM, stored to", call(i & 1 ? f : direct), 0x1155);
        *at8(f + 1) = 0x22;
        outl(0xcf8, 0x8000005c);
        check("RAM to ROM under the code", call_with(s, rom), 0x1111);
        outl(0xcf8, 0x8000005c);
        check("ROM to RAM under the code", call_with(s, ram), 0x1133);
    }
    pci_write(0, 0x5c, rom);
    done("pam");
}

/* At 2 MiB, where A20 does not matter: out 92h without A20; call 300100; out 92h with it; ret. */
static void test_a20(void)
{
    static const u8 code[] = { 0xb0, 0, 0xe6, 0x92, 0xb8, 0, 1, 0x30, 0, 0xff, 0xd0, 0x89, 0xc1, 0xb0, 2, 0xe6, 0x92,
                               0x89, 0xc8, 0xc3 };
    u32 direct;

    copy(0x200800, code, sizeof(code));
    put_function(0x200100, 2);
    put_function(0x300100, 3);
    direct = make_caller(0x300100);
    for (u32 i = 0; i < 6; i++) {
        check("on", call(0x300100), 3);
        check("on, direct", call(direct), 3);
        check("off", call(0x200800), 2);
        put_function(0x200100, 2 + (i & 1) * 16);
        check("off, changed", call(0x200800), 2 + (i & 1) * 16);
        put_function(0x200100, 2);
    }
    done("a20");
}

#define BAR_A 0x10000000u
#define BAR_B 0x20000000u
#define REGS  0x30000000u
static u32 vga[2];
static void find_vga(void)
{
    u32 n = 0;

    for (u32 fn = 0; fn < 256 && n < 2; fn += 8) {
        if (pci_read(fn, 0) == 0x11111234) {
            vga[n++] = fn;
        }
    }
    pci_write(vga[0], 0x10, BAR_A);
    pci_write(vga[1], 0x10, BAR_B);
    pci_write(vga[0], 0x18, REGS);
    pci_write(vga[1], 0x18, REGS + 0x10000);
    for (u32 i = 0; i < 2; i++) {
        pci_write(vga[i], 4, 2);
    }
}

/* Two video memories trade places. */
static void test_bars(void)
{
    u32 a = BAR_A + 0x5000, b = BAR_B + 0x5000, da, db;

    put_function(a, 0xaaaa);
    put_function(b, 0xbbbb);
    da = make_caller(a);
    db = make_caller(b);
    for (u32 i = 0; i < 4; i++) {
        check("a", call(a), i & 1 ? 0xbbbb : 0xaaaa);
        check("a, direct", call(da), i & 1 ? 0xbbbb : 0xaaaa);
        check("b, direct", call(db), i & 1 ? 0xaaaa : 0xbbbb);
        check("b", call(b), i & 1 ? 0xaaaa : 0xbbbb);
        pci_write(vga[0], 0x10, 0x28000000);
        pci_write(vga[1], 0x10, i & 1 ? BAR_B : BAR_A);
        pci_write(vga[0], 0x10, i & 1 ? BAR_A : BAR_B);
    }
    *at8(a + 1) = 0xab;
    check("stored to", call(da), 0xaaab);
    done("bars");
}

/* Registers of 16 bits, each byte of which reads as the low one: inc eax, dec eax, ret. */
static void test_registers(void)
{
    u32 x = REGS + 0x502, y = REGS + 0x504, v;

    *at16(y) = 0xc3;
    for (u32 i = 0; i < 6; i++) {
        *at16(x) = i & 1 ? 0x48 : 0x40;
        check("executed registers", call_with(x, 100), i & 1 ? 98 : 102);
    }
    /* LOCKed: read and written once each. */
    *at16(x) = 0x100;
    __asm__ volatile("lock addw $8, (%0)" : : "r"(x) : "memory");
    check("lock add", *at16(x), 0x108);
    v = 0x20;
    __asm__ volatile("xchgw %w0, (%1)" : "+r"(v) : "r"(x) : "memory");
    check("xchg, register", v & 0xffff, 0x108);
    check("xchg, memory", *at16(x), 0x20);
    v = 0x10;
    __asm__ volatile("lock xaddw %w0, (%1)" : "+r"(v) : "r"(x) : "memory");
    check("xadd, register", v & 0xffff, 0x20);
    check("xadd, memory", *at16(x), 0x30);
    done("registers");
}

/* CFI commands: the image is the flash.  What is seen at E0000 is a copy that QEMU made. */
static void test_flash(void)
{
    u32 f = (u32)rom_function - 0x100000 + 0xfffe0000u, direct = make_caller(f);

    for (u32 i = 0; i < 4; i++) {
        check("flash", call(i & 1 ? f : direct), 0x1111 + i);
        *at8(f) = 0x70;                         /* status instead of bytes */
        check("status", *at8(f + 1), 0x80);
        *at8(f) = 0x90;
        *at8(f) = 0x50;
        *at8(f) = 0xff;
        check("after commands", call(i & 1 ? f : direct), 0x1111 + i);
        *at8(f + 1) = 0x40;                     /* program a byte */
        *at8(f + 1) = (u8)(0x12 + i);
        check("programmed", *at8(f), 0x80);
        *at8(f) = 0xff;
        check("the byte", *at8(f + 1), 0x12 + i);
        check("changed flash", call(i & 1 ? direct : f), 0x1112 + i);
        check("the copy at E0000", call(IN_ROM(rom_function)), 0x1111);
    }
    done("flash");
}

/* add (e)ax, imm; jmp: the immediate takes two bytes or four; a far return for each. */
static void test_bits(void)
{
    static const u8 code[] = { 0x05, 1, 0, 0xeb, 4, 0xcb, 0x90, 0x90, 0x90, 0x66, 0xcb };
    static struct { u32 off; u16 sel; } p[3] = { { 0x7000, 8, }, { 0x7000, 0x48 }, { 0x6000, 0x48 } };
    static const u32 want[3] = { 0x04eb0001, 1, 1 };

    copy(0x7000, code, sizeof(code));
    for (u32 i = 0; i < 9; i++) {
        u32 k = i % 3, r = 0;
        gdt[0x48 + 3] = k == 2 ? 0x10 : 0;      /* the same bytes at another base */
        __asm__ volatile("lcall *(%1)" : "+a"(r) : "r"(&p[k]) : "memory");
        check("as 16 or 32 bits", r, want[k]);
    }
    gdt[0x48 + 3] = 0;
    done("bits");
}

/*
 * Paging with 4 MiB pages; 800000 is mapped to 400000 or 800000.  The code there replaces its own page directory entry
 * (ecx: address, edx: entry), invalidates its page by another address in it, and goes on in the other memory.
 */
static void test_large_pages(void)
{
    static const u8 code[] = { 0x89, 0x11, 0x0f, 0x01, 0x3b, 0xb8, 0, 0, 0, 0, 0xc3 };
    static u32 pd[1024] __attribute__((aligned(4096)));
    u32 direct = make_caller(0x800040), v;

    copy(0x400000, code, sizeof(code));
    copy(0x800000, code, sizeof(code));
    *at8(0x400006) = 0x44;
    *at8(0x800006) = 0x88;
    put_function(0x400040, 4);
    put_function(0x800040, 8);
    for (u32 i = 0; i < 1024; i++) {
        pd[i] = i << 22 | 0x83;
    }
    __asm__ volatile("mov %%cr4, %%eax; or $0x10, %%eax; mov %%eax, %%cr4; mov %0, %%cr3; mov %%cr0, %%eax;"
                     "or $0x80000000, %%eax; mov %%eax, %%cr0" : : "r"(pd) : "eax", "memory");
    for (u32 i = 0; i < 6; i++) {
        u32 to = i & 1 ? 0x800083u : 0x400083u;
        check("mapped", call(0x800040), i & 1 ? 4 : 8);
        check("mapped, direct", call(direct), i & 1 ? 4 : 8);
        __asm__ volatile("call *%1" : "=a"(v) : "r"(0x800000), "c"(&pd[2]), "d"(to), "b"(0xa00000) : "memory");
        check("remapped under the code", v, i & 1 ? 0x88 : 0x44);
        check("remapped", call(i & 2 ? 0x800040 : direct), i & 1 ? 8 : 4);
        *at8(0x800041) += 16;
        check("stored to", call(direct), (i & 1 ? 8 : 4) + 16);
        *at8(0x800041) -= 16;
    }
    __asm__ volatile("mov %%cr0, %%eax; and $0x7fffffff, %%eax; mov %%eax, %%cr0" : : : "eax", "memory");
    done("large pages");
}

__attribute__((used)) void test_main(void)
{
    caller_at = 0x380000;
    test_pam();
    test_a20();
    find_vga();
    test_bars();
    test_registers();
    test_flash();
    test_bits();
    test_large_pages();
}
