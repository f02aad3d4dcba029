/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tlb64.c - what each invalidation must remove: INVLPG (4 KiB, 2 MiB and 1 GiB pages, addresses within), MOV CR3, CR4.PGE,
 * PCIDs, INVPCID of all types, CR0.WP, EFER.NXE; for loads, stores and code (SDM vol. 3, 4.10.2 to 4.10.4); accessed and
 * dirty bits by kind of access, and no partial stores (4.8, 8.1).
 *
 * Before each invalidation the old mapping has been used, so that it is cached if it can be.
 */
#define SYS_MAIN
#include "lib64.h"

#define P   1ull
#define W   2ull
#define U   4ull
#define A   0x20ull
#define D   0x40ull
#define PS  0x80ull
#define G   0x100ull

#define LIN  0x8000000000ull
#define PML4 ((volatile u64 *)0x200000)
#define PDPT ((volatile u64 *)0x210000)
#define PD   ((volatile u64 *)0x211000)
#define PT   ((volatile u64 *)0x212000)
#define PML4_2 ((volatile u64 *)0x213000)

/* Pages 320000 to 323fff hold the number of the page, and at 80h a function that returns it. */
#define PAGE(n) (0x320000ull + (n) * 0x1000)

static void make_pages(void)
{
    for (u32 n = 0; n < 8; n++) {
        volatile u8 *p = (volatile u8 *)PAGE(n);
        p[0] = (u8)(n + 1);
        p[0x80] = 0xb8;
        p[0x81] = (u8)(n + 1);
        p[0x82] = p[0x83] = p[0x84] = 0;
        p[0x85] = 0xc3;
    }
}

static u32 data(u64 lin) { return *(volatile u8 *)lin; }

static u32 code(u64 lin)
{
    u32 v;
    __asm__ volatile("call *%1" : "=a"(v) : "r"(lin + 0x80) : "memory");
    return v;
}

static u32 store(u64 lin)
{
    *(volatile u32 *)(lin + 0x40) = 0x55;
    for (u32 n = 0; n < 8; n++) {
        volatile u32 *p = (volatile u32 *)(PAGE(n) + 0x40);
        if (*p == 0x55) {
            *p = 0;
            return n + 1;
        }
    }
    return 99;
}

static void expect(const char *name, u64 lin, u32 n)
{
    check(name, data(lin), n);
    check(name, code(lin), n);
    check(name, store(lin), n);
}

static void use(u64 lin) { data(lin); code(lin); store(lin); }

static void tables(void)
{
    for (u32 i = 0; i < 512; i++) {
        PDPT[i] = PD[i] = PT[i] = 0;
    }
    PML4[1] = 0x210000 | P | W | U;
    PDPT[0] = 0x211000 | P | W | U;
    PD[0] = 0x212000 | P | W | U;
    set_cr3(get_cr3());
}

static void invpcid(u64 type, u64 pcid, u64 lin)
{
    u64 d[2] = { pcid, lin };
    __asm__ volatile("invpcid %0, %1" : : "m"(d), "r"(type) : "memory");
}

static void test_invlpg(void)
{
    put("invlpg\n");
    tables();
    PT[0] = PAGE(0) | P | W; PT[1] = PAGE(1) | P | W;
    expect("4k", LIN, 1);
    expect("4k", LIN + 0x1000, 2);
    PT[0] = PAGE(2) | P | W;
    invlpg(LIN + 0xabc);
    expect("4k changed", LIN, 3);
    PT[1] = PAGE(3) | P | W;
    invlpg(LIN + 0x1000);
    expect("4k changed", LIN + 0x1000, 4);
    /* Rights taken away. */
    PT[0] = PAGE(2) | P;
    invlpg(LIN);
    TRY("movl $1, (%0)", "D"(LIN)); show("now read-only");
    PT[0] = PAGE(2) | P | 1ull << 63;
    invlpg(LIN);
    TRY("mov %0, base_ip(%%rip); call *%0", "D"(LIN + 0x80)); show("now nx");
    PT[0] = 0;
    invlpg(LIN);
    TRY("movb (%0), %%al", "D"(LIN)); show("now gone");
    TRY("mov %0, base_ip(%%rip); call *%0", "D"(LIN + 0x80)); show("now gone");
    PT[0] = PAGE(5) | P | W;
    expect("there again", LIN, 6);              /* no entry is made of what is not present */
    /* A large page: an address within drops all of it. */
    PD[1] = 0x200000 | P | W | PS;
    expect("2m", LIN + 0x320000, 1);
    expect("2m", LIN + 0x321000, 2);
    PD[1] = 0x212000 | P | W;
    PT[0x120] = PAGE(6) | P | W; PT[0x121] = PAGE(7) | P | W;
    invlpg(LIN + 0x3ff000);
    expect("2m split", LIN + 0x320000, 7);
    expect("2m split", LIN + 0x321000, 8);
    PD[1] = 0x200000 | P | W | PS;
    invlpg(LIN + 0x320000); invlpg(LIN + 0x321000);
    expect("2m joined", LIN + 0x320000, 1);
    expect("2m joined", LIN + 0x321000, 2);
    PDPT[1] = P | W | PS;
    expect("1g", LIN + 0x40320000, 1);
    expect("1g", LIN + 0x40323000, 4);
    PDPT[1] = 0x211000 | P | W;
    PD[1] = 0x212000 | P | W;
    invlpg(LIN + 0x7ffff000);
    expect("1g split", LIN + 0x40320000, 7);
    invlpg(0x8000000000000000ull);              /* not canonical: nothing happens */
    TRY("invlpg (%0)", "D"(0x0080000000000000ull)); show("not canonical");
}

static void test_cr3(void)
{
    u64 cr4 = get_cr4();

    put("cr3 and global pages\n");
    tables();
    PT[0] = PAGE(0) | P | W; PT[1] = PAGE(1) | P | W | G;
    set_cr4(cr4 | 0x80);
    use(LIN); use(LIN + 0x1000);
    PT[0] = PAGE(2) | P | W;
    set_cr3(get_cr3());
    expect("changed", LIN, 3);
    expect("global", LIN + 0x1000, 2);
    PT[1] = PAGE(3) | P | W | G;
    invlpg(LIN + 0x1000);
    expect("global, invlpg", LIN + 0x1000, 4);
    PT[1] = PAGE(4) | P | W | G;
    set_cr4(cr4);
    set_cr4(cr4 | 0x80);
    expect("global, pge off and on", LIN + 0x1000, 5);
    set_cr4(cr4);
}

static void test_pge(void)
{
    u64 cr4 = get_cr4();

    tables();
    PT[1] = PAGE(3) | P | W | G;
    set_cr4(cr4 & ~0x80ull);
    use(LIN + 0x1000);                          /* G is ignored without PGE */
    PT[1] = PAGE(4) | P | W | G;
    set_cr3(get_cr3());
    expect("no pge", LIN + 0x1000, 5);
    set_cr4(cr4);
    /* CR0.WP and EFER.NXE count at once. */
    PT[2] = PAGE(2) | P;
    invlpg(LIN + 0x2000);
    set_cr0(get_cr0() & ~CR0_WP);
    expect("wp clear", LIN + 0x2000, 3);
    set_cr0(get_cr0() | CR0_WP);
    TRY("movl $1, (%0)", "D"(LIN + 0x2000)); show("wp set");
    PT[2] = PAGE(2) | P | W | 1ull << 63;
    invlpg(LIN + 0x2000);
    data(LIN + 0x2000);
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
    TRY("movb (%0), %%al", "D"(LIN + 0x2000)); show("nxe clear");
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
    check("nxe set", data(LIN + 0x2000), 3);
}

static void test_pcid(void)
{
    u64 cr3 = get_cr3(), cr4 = get_cr4(), keep = 1ull << 63;

    put("pcid\n");
    tables();
    for (u32 i = 0; i < 512; i++) {
        PML4_2[i] = PML4[i];
    }
    PT[0] = PAGE(0) | P | W; PT[1] = PAGE(1) | P | W | G; PT[2] = PAGE(2) | P | W;
    set_cr4(cr4 | 1 << 17 | 0x80);
    use(LIN); use(LIN + 0x1000); use(LIN + 0x2000);
    set_cr3(cr3 | 1);
    use(LIN); use(LIN + 0x1000); use(LIN + 0x2000);
    PT[0] = PAGE(4) | P | W; PT[1] = PAGE(5) | P | W | G; PT[2] = PAGE(6) | P | W;
    invlpg(LIN);                                /* of this PCID, and global ones */
    expect("invlpg in 1", LIN, 5);
    invlpg(LIN + 0x1000);
    expect("invlpg in 1, global", LIN + 0x1000, 6);
    set_cr3(cr3 | keep);
    expect("global in 0", LIN + 0x1000, 6);
    set_cr3(cr3);                               /* flushes PCID 0 */
    expect("cr3 0", LIN, 5);
    expect("cr3 0", LIN + 0x2000, 7);
    set_cr3(cr3 | 1 | keep);
    set_cr3(cr3 | 1);
    expect("cr3 1", LIN + 0x2000, 7);
    /* Another directory under a PCID that is flushed with the load. */
    set_cr3(0x213000 | 2);
    expect("second directory", LIN, 5);
    put("invpcid\n");
    PT[0] = PAGE(0) | P | W;
    invpcid(0, 2, LIN);
    expect("type 0 of 2", LIN, 1);
    use(LIN + 0x2000);
    PT[2] = PAGE(1) | P | W;
    set_cr3(cr3 | keep);
    invpcid(0, 2, LIN + 0x2000);
    set_cr3(0x213000 | 2 | keep);
    expect("type 0 of 2 from 0", LIN + 0x2000, 2);
    PT[2] = PAGE(3) | P | W;
    set_cr3(cr3 | keep);
    invpcid(1, 2, 0);
    set_cr3(0x213000 | 2 | keep);
    expect("type 1 of 2 from 0", LIN + 0x2000, 4);
    PT[2] = PAGE(4) | P | W; PT[1] = PAGE(2) | P | W | G;
    set_cr3(cr3 | keep);
    invpcid(2, 0, 0);
    expect("type 2, global", LIN + 0x1000, 3);
    set_cr3(0x213000 | 2 | keep);
    expect("type 2", LIN + 0x2000, 5);
    PT[2] = PAGE(5) | P | W;
    set_cr3(cr3 | keep);
    invpcid(3, 0, 0);
    set_cr3(0x213000 | 2 | keep);
    expect("type 3", LIN + 0x2000, 6);
    PT[2] = PAGE(6) | P | W;
    set_cr3(cr3);
    set_cr4(cr4);                               /* PCIDE off: everything goes */
    set_cr4(cr4 | 1 << 17 | 0x80);
    set_cr3(0x213000 | 2 | keep);
    expect("pcide off", LIN + 0x2000, 7);
    static volatile u64 d[2];
#define INVPCID(name, type, a, b) d[0] = a; d[1] = b; TRY("invpcid (%0), %1", "D"(d), "S"((u64)type)); show(name)
    INVPCID("type 4", 4, 0, 0);
    INVPCID("reserved bit 12", 1, 1 << 12, 0);
    INVPCID("reserved bit 63, type 2", 2, 1ull << 63, 0);
    INVPCID("type 0, not canonical", 0, 1, 1ull << 60);
    INVPCID("type 1, not canonical", 1, 1, 1ull << 60);
    INVPCID("type 2, pcid 5", 2, 5, 0);
    TRY("invpcid (%0), %1", "D"(0x40000000ull), "S"(2ull)); show("operand not mapped");
    set_cr3(cr3);
    set_cr4(cr4);
    INVPCID("type 0 of 1, no pcide", 0, 1, 0);
    INVPCID("type 1 of 0, no pcide", 1, 0, 0);
    INVPCID("type 3 of 1, no pcide", 3, 1, 0);
}

/* ---- accessed and dirty bits ---- */
static void ad(const char *name)
{
    put(name);
    for (u32 i = 0; i < 2; i++) {
        put(" ");
        put_hex(PT[i] & (A | D));
        PT[i] &= ~(A | D);
        invlpg(LIN + i * 0x1000);
    }
    if (got.vector >= 0) {
        show(" ");
    } else {
        put("\n");
    }
}

#define AD(name, code) TRY(code, "D"(LIN + 0x1000), "S"(LIN + 0x1040)); ad(name)

static void test_ad(void)
{
    put("accessed and dirty: page 0, page 1\n");
    tables();
    PT[0] = PAGE(0) | P | W; PT[1] = PAGE(1) | P | W;
    AD("load", "mov (%%rsi), %%eax");
    AD("store", "mov %%eax, (%%rsi)");
    AD("load across", "mov -2(%%rdi), %%eax");
    AD("store across", "mov %%eax, -2(%%rdi)");
    AD("cmp", "cmp %%eax, (%%rsi)");
    AD("add", "add %%eax, (%%rsi)");
    AD("lock add", "lock; add %%eax, (%%rsi)");
    AD("cmpxchg, different", "movl $5, %%eax; cmpxchg %%ecx, (%%rsi)");
    AD("cmpxchg8b, different", "movl $5, %%eax; movl $7, %%edx; cmpxchg8b (%%rsi)");
    AD("cmpxchg16b, different", "movl $5, %%eax; movl $7, %%edx; cmpxchg16b (%%rsi)");
    AD("xchg", "xchg %%eax, (%%rsi)");
    AD("xadd across", "xadd %%rax, -4(%%rdi)");
    AD("bt", "btl $3, (%%rsi)");
    AD("bts", "btsl $3, (%%rsi)");
    AD("push", "mov %%rsp, %%rcx; mov %%rsi, %%rsp; push %%rax; mov %%rcx, %%rsp");
    AD("rep stosb of 0", "mov %%rdi, %%rdx; xor %%ecx, %%ecx; rep stosb; mov %%rdx, %%rdi");
    AD("rep stosb across", "mov %%rdi, %%rdx; sub $3, %%rdi; mov $5, %%ecx; rep stosb; mov %%rdx, %%rdi");
    AD("rep movsb", "mov %%rdi, %%rdx; mov %%rdi, %%rax; mov %%rdi, %%rsi; sub $64, %%rdi; mov $8, %%ecx; rep movsb;"
       "mov %%rdx, %%rdi; lea 64(%%rdi), %%rsi");
    AD("movups load", "movups -8(%%rdi), %%xmm0");
    AD("movups store", "movups %%xmm0, -8(%%rdi)");
    AD("fxsave across", "lea -256(%%rdi), %%rax; fxsave (%%rax)");
    AD("prefetch", "prefetcht0 (%%rsi)");
    AD("clflush", "clflush (%%rsi)");
    AD("lea", "lea (%%rsi), %%eax");
    AD("nop", "nopl (%%rsi)");
    AD("sgdt", "sgdt (%%rsi)");
    put("second page not present\n");
    PT[1] = 0;
    invlpg(LIN + 0x1000);
    *(volatile u32 *)(PAGE(0) + 0xffc) = 0x11223344;
    AD("store across", "movl $-1, -2(%%rdi)");
    AD("add across", "addl $-1, -2(%%rdi)");
    AD("xchg across", "mov $-1, %%eax; xchg %%eax, -2(%%rdi)");
    AD("movups across", "pcmpeqb %%xmm0, %%xmm0; movups %%xmm0, -4(%%rdi)");
    AD("cmpxchg8b across", "cmpxchg8b -4(%%rdi)");
    AD("fstp across", "fld1; fstpt -4(%%rdi)");
    AD("sgdt across", "sgdt -4(%%rdi)");
    AD("rep stosb across", "mov %%rdi, %%rdx; sub $3, %%rdi; mov $5, %%ecx; mov $-1, %%al; rep stosb; mov %%rdx, %%rdi");
    line("untouched but for stosb", *(volatile u32 *)(PAGE(0) + 0xffc));
    AD("push across", "mov %%rsp, %%rcx; lea 4(%%rdi), %%rsp; push %%rax; mov %%rcx, %%rsp");
    AD("call across", "mov %%rsp, %%rcx; lea 4(%%rdi), %%rsp; call 9f; mov %%rcx, %%rsp");
    put("second page read-only\n");
    PT[1] = PAGE(1) | P;
    *(volatile u32 *)(PAGE(0) + 0xffc) = 0x11223344;
    AD("store across", "movl $-1, -2(%%rdi)");
    AD("add across", "addl $-1, -2(%%rdi)");
    AD("fxsave across", "lea -256(%%rdi), %%rax; fxsave (%%rax)");
    line("untouched", *(volatile u32 *)(PAGE(0) + 0xffc));
    put("upper levels\n");
    tables();
    PT[0] = PAGE(0) | P | W;
    TRY("mov (%0), %%eax", "D"(LIN));
    line("pml4", PML4[1] & 0xfff);
    line("pdpt", PDPT[0] & 0xfff);
    line("pd", PD[0] & 0xfff);
    line("pt", PT[0] & 0xfff);
    PML4[1] &= ~A;
    PT[0] &= ~A;
    set_cr3(get_cr3());
    TRY("mov %%eax, (%0)", "D"(LIN));
    line("pml4", PML4[1] & 0xfff);
    line("pdpt", PDPT[0] & 0xfff);
    line("pt", PT[0] & 0xfff);
    PD[1] = 0x200000 | P | W | PS;
    TRY("mov (%0), %%eax", "D"(LIN + 0x320000));
    line("2m", PD[1] & 0xfff);
    TRY("mov %%eax, (%0)", "D"(LIN + 0x320100));
    line("2m", PD[1] & 0xfff);
}

/* The tables are mapped by themselves; a store through that mapping changes it for the next access after INVLPG. */
static void test_self(void)
{
    put("tables in their own mapping\n");
    make_pages();
    tables();
    PT[0] = 0x212000 | P | W;
    PT[1] = PAGE(1) | P | W;
    volatile u64 *pt = (volatile u64 *)LIN;
    use(LIN + 0x1000);
    pt[1] = PAGE(2) | P | W;
    invlpg(LIN + 0x1000);
    expect("self", LIN + 0x1000, 3);
    check("bits seen", pt[1] & (A | D), A | D);
}

__attribute__((used)) void test_main(void)
{
    user_split();
    make_pages();
    test_invlpg();
    test_cr3();
    test_pge();
    test_pcid();
    test_ad();
    test_self();
}
