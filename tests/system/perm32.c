/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * perm32.c - 32-bit and PAE paging: access rights of 4 KiB, 4 MiB and 2 MiB pages against a model of the manual's text, as
 * perm64.c does for 4-level paging; CR4.PSE, PSE-36, reserved bits, PDPTEs (SDM vol. 3, 4.3, 4.4, 4.6, 4.7).
 */
#define SYS_MAIN
#include "sys.h"

#define P   1u
#define W   2u
#define U   4u
#define A   0x20u
#define D   0x40u
#define PS  0x80u
#define NX  (1ull << 63)

#define LIN    0x40000000u
#define DATA   0x310000u
#define USER_CODE  0x480000u
#define USER_STACK 0x4f0000u
#define PD32   ((volatile u32 *)0x210000)       /* 32-bit: directory, table */
#define PT32   ((volatile u32 *)0x211000)
#define PDPT   ((volatile u64 *)0x212000)       /* PAE: PDPTEs, directories for 0 and for LIN, table */
#define PD0    ((volatile u64 *)0x213000)
#define PD1    ((volatile u64 *)0x214000)
#define PTP    ((volatile u64 *)0x215000)

enum { USER = 1, WRITE = 2, FETCH = 4 };
enum { BOTH_OK, LEAF_NP, LEAF_RSVD, UP_NP, UP_RSVD, STATES };

static struct { u32 pae, large, wp, nxe, smep, smap, ac, up, leaf, state, acc; } t;
static volatile u32 resume_ip, resume_sp, in_user, failures, cases;
static volatile struct { int vector; u32 error, cr2; } got;

static u32 cr0(void) { u32 v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static u32 cr4(void) { u32 v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
static void set_cr0(u32 v) { __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
static void set_cr3(u32 v) { __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
static void set_cr4(u32 v) { __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }
static void invlpg(u32 v) { __asm__ volatile("invlpg (%0)" : : "r"(v) : "memory"); }
static void efer(u32 v) { __asm__ volatile("wrmsr" : : "c"(0xc0000080), "a"(v), "d"(0)); }

void trap(struct frame *f)
{
    u32 cr2;

    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    if (!resume_ip) {
        line("unexpected", f->vector);
        line("at", f->ip);
        line("error", f->error);
        line("cr2", cr2);
        sys_exit(1);
    }
    got.vector = (int)f->vector;
    got.error = f->error;
    got.cr2 = cr2;
    if (in_user) {
        if (f->vector == 0x81) {
            got.vector = -1;
        }
        in_user = 0;
        f->cs = 8;
    }
    f->ip = resume_ip;
    f->flags = 2;
}

#define TRY(code, ...)                                                                              \
    do {                                                                                            \
        got.vector = -1;                                                                            \
        __asm__ volatile("push %%ebp; push %%ebx; movl $9f, resume_ip; mov %%esp, resume_sp; " code   \
                         "; 9: mov resume_sp, %%esp; movl $0, resume_ip; pop %%ebx; pop %%ebp"        \
                         : : __VA_ARGS__ : "eax", "ecx", "edx", "memory", "cc");                     \
    } while (0)

static void show(const char *name)
{
    put(name);
    if (got.vector < 0) {
        put(": ok\n");
        return;
    }
    put(": #");
    put_hex((u32)got.vector);
    put(" err ");
    put_hex(got.error);
    put(" cr2 ");
    put_hex(got.vector == 14 ? got.cr2 : 0);
    put("\n");
}

__asm__("ustub_r: mov (%edi), %eax; int $0x81\n"
        "ustub_w: mov %eax, (%edi); int $0x81\n"
        "ustub_end: .balign 16\n"
        "page_code: ret; .balign 16; int $0x81; page_end:\n");
extern u8 ustub_r[], ustub_w[], ustub_end[], page_code[], page_end[];

static void copy(u32 to, u8 *s, u8 *e)
{
    while (s != e) {
        *(volatile u8 *)to++ = *s++;
    }
}

static u64 rights(u32 three) { return (three & 1 ? W : 0) | (three & 2 ? U : 0) | (three & 4 && t.pae ? NX : 0); }

static volatile u64 *leaf64, *up64;
static volatile u32 *leaf32, *up32;

static void tables(void)
{
    u64 up = rights(t.up) | (t.state == UP_NP ? 0 : P), leaf = rights(t.leaf) | (t.state == LEAF_NP ? 0 : P);

    if (t.pae) {
        up64 = &PD1[DATA >> 21];
        leaf64 = t.large ? up64 : &PTP[DATA >> 12 & 511];
        *up64 = 0x215000 | up | (t.state == UP_RSVD ? 1ull << 51 : 0);
        *leaf64 = (t.large ? 0x200000 | PS : DATA) | leaf |
                  (t.state == LEAF_RSVD ? t.large ? 1u << 13 : 1ull << 62 : 0);
    } else {
        up32 = &PD32[LIN >> 22];
        leaf32 = t.large ? up32 : &PT32[DATA >> 12 & 1023];
        *up32 = (u32)(0x211000 | up);
        *leaf32 = (u32)((t.large ? PS : DATA) | leaf | (t.state == LEAF_RSVD && t.large ? 1u << 21 : 0));
    }
}

static u32 model(u32 acc)
{
    u64 up = t.large ? W | U : rights(t.up), both = up & rights(t.leaf);
    u64 nx = ((t.large ? 0 : rights(t.up)) | rights(t.leaf)) & NX;
    u32 e = (acc & WRITE ? 2 : 0) | (acc & USER ? 4 : 0) | (acc & FETCH && ((t.pae && t.nxe) || t.smep) ? 16 : 0);
    u32 bad = 0, user_page = both & U, rsvd = t.pae || t.large;

    if (!t.large) {
        if (t.state == UP_NP) {
            return e + 1;
        }
        if (t.pae && (t.state == UP_RSVD || (!t.nxe && (rights(t.up) & NX)))) {
            return (e | 9) + 1;
        }
    }
    if (t.state == LEAF_NP) {
        return e + 1;
    }
    if (rsvd && (t.state == LEAF_RSVD || (!t.nxe && nx))) {
        return (e | 9) + 1;
    }
    if (acc & USER) {
        bad |= !user_page;
    } else if (user_page) {
        bad |= acc & FETCH ? t.smep : t.smap && !t.ac;
    }
    bad |= acc & FETCH && nx;
    bad |= acc & WRITE && !(both & W) && (acc & USER || t.wp);
    return bad ? (e | 1) + 1 : 0;
}

static void perform(u32 acc)
{
    u32 lin = LIN + DATA + (acc & FETCH ? 0 : 128), ip, ac = t.ac ? 0x40000 : 0;

    if (acc & USER) {
        ip = acc & FETCH ? lin + 16 : USER_CODE + (acc & WRITE ? (u32)(ustub_w - ustub_r) : 0);
        TRY("movl $1, in_user; pushl $0x1b; pushl $0x4f0000; pushl $2; pushl $0x23; pushl %0;"
            "mov $0x1b, %%edx; mov %%edx, %%ds; iretl", "S"(ip), "D"(lin));
        __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0x10));
    } else if (acc & FETCH) {
        TRY("pushf; orl %1, (%%esp); popf; call *%0", "D"(lin), "S"(ac));
    } else if (acc & WRITE) {
        TRY("pushf; orl %1, (%%esp); popf; mov %%eax, (%0)", "D"(lin), "S"(ac));
    } else {
        TRY("pushf; orl %1, (%%esp); popf; mov (%0), %%eax", "D"(lin), "S"(ac));
    }
    __asm__ volatile("pushl $2; popf" : : : "cc");
}

static void complain(const char *what, u32 have, u32 want)
{
    if (failures++ < 20) {
        put(what);
        line(" have", have);
        line(" want", want);
        line(" pae large wp nxe smep smap ac",
             t.pae | t.large << 4 | t.wp << 8 | t.nxe << 12 | t.smep << 16 | t.smap << 20 | t.ac << 24);
        line(" up leaf state acc", t.up | t.leaf << 4 | t.state << 8 | t.acc << 12);
    }
}

static void one(void)
{
    u32 want, have, before, after;

    tables();
    invlpg(LIN + DATA);
    before = t.pae ? (u32)*leaf64 : *leaf32;
    perform(t.acc);
    after = t.pae ? (u32)*leaf64 : *leaf32;
    want = model(t.acc);
    have = got.vector < 0 ? 0 : got.vector == 14 ? got.error + 1 : 0x100 + (u32)got.vector;
    cases++;
    if (have != want) {
        complain("fault", have, want);
    } else if (want) {
        u32 at = LIN + DATA + (!(t.acc & FETCH) ? 128 : t.acc & USER ? 16 : 0);
        if (got.cr2 != at) {
            complain("cr2", got.cr2, at);
        }
        if (after != before) {
            complain("leaf after a fault", after, before);
        }
    } else if (after != (before | A | (t.acc & WRITE ? D : 0))) {
        complain("leaf", after, before);
    } else if (!((t.pae ? (u32)*up64 : *up32) & A)) {
        complain("upper", 0, A);
    }
}

/* Identity map of the first 16 MiB, 4 to 6 (8) MiB for the user; LIN's region is made by tables(). */
static void identity(void)
{
    for (u32 i = 0; i < 1024; i++) {
        PD32[i] = i < 4 ? i << 22 | (i == 1 ? U : 0) | PS | W | P : 0;
    }
    for (u32 i = 0; i < 512; i++) {
        PD0[i] = i < 8 ? i << 21 | (i == 2 ? U : 0) | PS | W | P : 0;
        PD1[i] = 0;
    }
    PDPT[0] = 0x213000 | P;
    PDPT[1] = 0x214000 | P;
    PDPT[2] = PDPT[3] = 0;
}

static void mode(u32 pae)
{
    set_cr0(cr0() & 0x7fffffff);
    t.pae = pae;
    set_cr3(pae ? 0x212000 : 0x210000);
    set_cr4((cr4() & ~0x300030u) | (pae ? 0x20 : 0x10));
    set_cr0(cr0() | 0x80000000u);
}

static void matrix(void)
{
    static const u8 accs[6] = { 0, WRITE, FETCH, USER, USER | WRITE, USER | FETCH };
    u32 total = 2 * 8 * 8 * STATES * 6;

    for (u32 n = 0; n < 48; n++) {
        if (n == 0 || n == 24) {
            mode(n / 24);
        }
        t.wp = n & 1;
        t.nxe = n >> 1 & 1;
        t.smep = n >> 2 & 1;
        t.smap = n / 8 % 3 != 0;
        t.ac = n / 8 % 3 == 2;
        set_cr0((cr0() & ~0x10000u) | t.wp << 16);
        efer(t.nxe ? 0x800 : 0);
        set_cr4((cr4() & ~0x300000u) | t.smep << 20 | t.smap << 21);
        for (u32 i = n % 3; i < total; i += 3) {
            u32 v = i;
            t.acc = accs[v % 6]; v /= 6;
            t.leaf = v % 8; v /= 8;
            t.up = v % 8; v /= 8;
            t.state = v % STATES; v /= STATES;
            t.large = v;
            one();
        }
    }
    set_cr4(cr4() & ~0x300000u);
}

static void test_pse(void)
{
    put("pse\n");
    mode(0);
    efer(0);
    PD32[LIN >> 22] = 0x1000 | PS | P | W;      /* without PSE: a page table at 1000 */
    for (u32 i = 0; i < 1024; i++) {
        ((volatile u32 *)0x1000)[i] = 0;
    }
    *(volatile u32 *)0x1000 = 0x320000 | P | W;
    *(volatile u32 *)0x320000 = 0x11;
    *(volatile u32 *)0x2000 = 0x22;
    invlpg(LIN);
    TRY("movl (%0), %%eax", "D"(LIN)); show("bit 12 of a 4 MiB page");
    line("value", *(volatile u32 *)(LIN + 0x2000));
    PD32[LIN >> 22] = 1u << 21 | PS | P | W;
    invlpg(LIN);
    TRY("movl (%0), %%eax", "D"(LIN)); show("bit 21");
    PD32[LIN >> 22] = 1u << 13 | PS | P | W;    /* PSE-36: 4 GiB, where there is nothing */
    invlpg(LIN);
    TRY("movl $5, 0x2000(%0)", "D"(LIN)); show("bit 13");
    line("page 0 keeps", *(volatile u32 *)0x2000);
    PD32[LIN >> 22] = PS | P | W;
    invlpg(LIN);
    line("4 MiB page", *(volatile u32 *)(LIN + 0x2000));
    /* CR4.PSE off: the same entries mean page tables.  The code goes on in an identity map of small pages. */
    for (u32 i = 0; i < 1024; i++) {
        ((volatile u32 *)0x216000)[i] = i << 12 | W | P;
    }
    PD32[0] = 0x216000 | W | P;
    PD32[LIN >> 22] = 0x1000 | W | P | PS;
    __asm__ volatile("mov %0, %%cr4; mov %%cr3, %%eax; mov %%eax, %%cr3" : : "r"(cr4() & ~0x10u) : "eax", "memory");
    line("no pse", *(volatile u32 *)LIN);
    set_cr4(cr4() | 0x10);
    identity();
    set_cr3(0x210000);
}

static void pdpte(const char *name, u64 v)
{
    PDPT[3] = v;
    TRY("mov %%cr3, %%eax; mov %%eax, %%cr3", "D"(0)); show(name);
    PDPT[3] = 0;
}

static void test_pdptes(void)
{
    put("pdptes\n");
    mode(1);
    pdpte("absent, reserved bits", 0x1e6ull | NX);
    pdpte("present", 0x214000 | P);
    pdpte("r/w", 0x214000 | P | W);
    pdpte("user", 0x214000 | P | U);
    pdpte("pwt", 0x214000 | P | 8);
    pdpte("pcd", 0x214000 | P | 16);
    pdpte("accessed", 0x214000 | P | A);
    pdpte("ps", 0x214000 | P | PS);
    pdpte("bits 9 to 11", 0x214e00 | P);
    pdpte("bit 51", 0x214000 | P | 1ull << 51);
    pdpte("nx", 0x214000 | P | NX);
    TRY("mov (%0), %%eax", "D"(0xc0000000)); show("not present");
    PDPT[3] = 0x214000 | P;
    set_cr3(0x212000);
    PD1[0] = 0x200000 | PS | P;
    TRY("mov (%0), %%eax", "D"(0xc0000000)); show("present");
    line("no accessed bit", (u32)PDPT[3] & 0xfff);
    PDPT[3] = 0x214000 | P | W;
    TRY("mov %%cr4, %%eax; xor $0x80, %%eax; mov %%eax, %%cr4", "D"(0)); show("cr4.pge with a bad pdpte");
    TRY("mov %%cr0, %%eax; xor $0x40000000, %%eax; mov %%eax, %%cr0", "D"(0)); show("cr0.cd with a bad pdpte");
    TRY("mov %%cr0, %%eax; xor $0x10000, %%eax; mov %%eax, %%cr0", "D"(0)); show("cr0.wp with a bad pdpte");
    PDPT[3] = 0;
    TRY("mov %%cr4, %%eax; or $0x20000, %%eax; mov %%eax, %%cr4", "D"(0)); show("pcide");
    TRY("mov %%cr3, %%eax; or $0x1f, %%eax; mov %%eax, %%cr3", "D"(0)); show("low bits of cr3");
    set_cr3(0x212000);
    /* From PAE to 32-bit paging and back while paging is on: both maps are identical. */
    TRY("mov %%cr4, %%eax; and $~0x20, %%eax; or $0x10, %%eax; mov $0x210000, %%ecx; mov %%eax, %%edx; mov %%cr0, %%eax;"
        "and $0x7fffffff, %%eax; mov %%eax, %%cr0; mov %%ecx, %%cr3; mov %%edx, %%cr4; or $0x80000000, %%eax;"
        "mov %%eax, %%cr0", "D"(0));
    show("32-bit again");
}

__attribute__((used)) void test_main(void)
{
    copy(USER_CODE, ustub_r, ustub_end);
    copy(DATA, page_code, page_end);
    identity();
    matrix();
    line("cases", cases);
    line("failures", failures);
    test_pse();
    test_pdptes();
}
