/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * perm64.c - access rights of 4-level paging: U/S, R/W, NX, CR0.WP, EFER.NXE, SMEP, SMAP with EFLAGS.AC, PKRU, PKRS,
 * reserved bits, pages of 4 KiB, 2 MiB and 1 GiB; fault, error code, CR2, accessed and dirty bits (SDM vol. 3, 4.6 to 4.8).
 *
 * Every combination has its number; a fixed sample of them is tried against a model of the manual's text.
 */
#define SYS_MAIN
#include "lib64.h"

#define P   1ull
#define W   2ull
#define U   4ull
#define A   0x20ull
#define D   0x40ull
#define PS  0x80ull
#define NX  (1ull << 63)
#define RSVD (1ull << 51)

#define LIN   0x8000000000ull
#define DATA  0x310000ull
#define PML4  ((volatile u64 *)0x200000)
#define PDPT  ((volatile u64 *)0x210000)
#define PD    ((volatile u64 *)0x211000)
#define PT    ((volatile u64 *)0x212000)

enum { USER = 1, WRITE = 2, FETCH = 4 };
enum { BOTH_OK, LEAF_NP, LEAF_RSVD, UP_NP, UP_RSVD, STATES };

/* One case. */
static struct {
    u32 wp, nxe, smep, smap, ac, pk, pks;  /* processor; pk, pks: 0 off, 1 allowed, 2 AD, 3 WD */
    u32 level, up, leaf, state, acc;
} t;
static volatile u64 *up, *leaf;
static u32 failures, cases;

__asm__("ustub_r: mov (%rdi), %eax; int $0x81\n"
        "ustub_w: mov %eax, (%rdi); int $0x81\n"
        "ustub_end: .balign 16\n"
        "page_code: ret; .balign 16; int $0x81; page_end:\n");
extern u8 ustub_r[], ustub_w[], ustub_end[], page_code[], page_end[];

static u64 rights(u32 three) { return (three & 1 ? W : 0) | (three & 2 ? U : 0) | (three & 4 ? NX : 0); }

/* The tables for this case; A and D clear. */
static void tables(void)
{
    static const u64 span[4] = { 0, 1ull << 12, 1ull << 21, 1ull << 30 };
    u64 page = DATA & ~(span[t.level] - 1), l = P | rights(t.leaf) | page | (t.level > 1 ? PS : 0);
    u64 top = P | W | U, below[4] = { 0, 0x212000, 0x211000, 0x210000 };

    l |= 1ull << 59;                        /* protection key 1 */
    PML4[1] = 0x210000 | top;
    PDPT[0] = 0x211000 | top;
    PD[0] = 0x212000 | top;
    leaf = t.level == 1 ? &PT[(DATA >> 12) & 511] : t.level == 2 ? &PD[(DATA >> 21) & 511] : &PDPT[DATA >> 30];
    up = t.level == 1 ? &PD[(DATA >> 21) & 511] : t.level == 2 ? &PDPT[DATA >> 30] : &PML4[1];
    *up = below[t.level] | P | rights(t.up);
    *leaf = l;
    if (t.state == LEAF_NP) {
        *leaf &= ~P;
    } else if (t.state == LEAF_RSVD) {
        *leaf |= t.level == 1 ? RSVD : 1ull << 13;
    } else if (t.state == UP_NP) {
        *up &= ~P;
    } else if (t.state == UP_RSVD) {
        *up |= t.level == 3 ? PS : RSVD;
    }
}

/* What the manual says: the error code + 1, or 0 when the access is allowed. */
static u32 model(u32 acc, u32 ac)
{
    u64 both = rights(t.up) & rights(t.leaf), user_page = both & U;
    u32 e = (acc & WRITE ? 2 : 0) | (acc & USER ? 4 : 0) | (acc & FETCH && (t.nxe || t.smep) ? 16 : 0), bad = 0;
    u64 nx = (rights(t.up) | rights(t.leaf)) & NX;

    if (t.state == UP_NP) {
        return e + 1;
    }
    if (t.state == UP_RSVD || (!t.nxe && (rights(t.up) & NX))) {
        return (e | 9) + 1;
    }
    if (t.state == LEAF_NP) {
        return e + 1;
    }
    if (t.state == LEAF_RSVD || (!t.nxe && nx)) {
        return (e | 9) + 1;
    }
    if (acc & USER) {
        bad |= !user_page;
    } else if (user_page) {
        bad |= acc & FETCH ? t.smep : t.smap && !ac;
    }
    bad |= acc & FETCH && nx;
    bad |= acc & WRITE && !(both & W) && (acc & USER || t.wp);
    u32 key = user_page ? t.pk : t.pks;
    if (!(acc & FETCH) && (key == 2 || (key == 3 && acc & WRITE && (acc & USER || t.wp)))) {
        bad = 1;
        e |= 32;
    }
    return bad ? (e | 1) + 1 : 0;
}

static void perform(u32 acc)
{
    u64 lin = LIN + DATA + (acc & FETCH ? 0 : 128);
    u64 ac = t.ac ? FL_AC : 0;

    if (acc & USER) {
        run_user(acc & FETCH ? lin + 16 : acc & WRITE ? USER_CODE + (u64)(ustub_w - ustub_r) : USER_CODE, lin);
    } else if (acc & FETCH) {
        got.rcx = get_flags();
        TRY("pushf; orq %1, (%%rsp); popf; call *%0", "D"(lin), "S"(ac));
        set_flags(2);
    } else if (acc & WRITE) {
        TRY("pushf; orq %1, (%%rsp); popf; mov %%eax, (%0)", "D"(lin), "S"(ac));
        set_flags(2);
    } else {
        TRY("pushf; orq %1, (%%rsp); popf; mov (%0), %%eax", "D"(lin), "S"(ac));
        set_flags(2);
    }
}

static void complain(const char *what, u64 have, u64 want)
{
    if (failures++ < 20) {
        put(what);
        line(" have", have);
        line(" want", want);
        line(" wp nxe smep smap ac pk pks",
             t.wp | t.nxe << 4 | t.smep << 8 | t.smap << 12 | t.ac << 16 | t.pk << 20 | t.pks << 24);
        line(" level up leaf state acc", t.level | t.up << 4 | t.leaf << 8 | t.state << 12 | t.acc << 16);
    }
}

static void one(u32 twice)
{
    u32 want, have;

    tables();
    invlpg(LIN + DATA);
    if (twice) {
        perform(0);
    }
    u64 before = *leaf;
    perform(t.acc);
    want = model(t.acc, t.ac && !(t.acc & USER));
    have = got.vector < 0 ? 0 : got.vector == 14 ? (u32)got.error + 1 : 0x100 + (u32)got.vector;
    cases++;
    if (have != want) {
        complain("fault", have, want);
        return;
    }
    if (want) {
        u64 at = LIN + DATA + (!(t.acc & FETCH) ? 128 : t.acc & USER ? 16 : 0);
        if (got.cr2 != at) {
            complain("cr2", got.cr2, at);
        }
        if (*leaf != before) {
            complain("leaf after a fault", *leaf, before);
        }
        return;
    }
    u64 after = before | A | (t.acc & WRITE ? D : 0);
    if (*leaf != after) {
        complain("leaf", *leaf, after);
    }
    if (!(*up & A) || !(PML4[1] & A) || (*up & D)) {
        complain("upper", *up, *up | A);
    }
}

static void processor(u32 n)
{
    u64 cr4 = get_cr4() & ~(1ull << 20 | 1ull << 21 | 1ull << 22 | 1ull << 24);

    t.wp = n & 1;
    t.nxe = n >> 1 & 1;
    t.smep = n >> 2 & 1;
    t.smap = n / 8 % 3 != 0;
    t.ac = n / 8 % 3 == 2;
    t.pk = n / 24;
    t.pks = n % 5 & 3;
    set_cr0((get_cr0() & ~CR0_WP) | (t.wp ? CR0_WP : 0));
    wrmsr(0xc0000080, (rdmsr(0xc0000080) & ~0x800ull) | (t.nxe ? 0x800 : 0));
    set_cr4(cr4 | (t.smep ? 1 << 20 : 0) | (t.smap ? 1 << 21 : 0) | (t.pk ? 1 << 22 : 0) | (t.pks ? 1 << 24 : 0));
    if (t.pks) {
        wrmsr(0x6e1, t.pks == 2 ? 4 : t.pks == 3 ? 8 : 0xfffffff0);
    }
    if (t.pk) {
        u32 pkru = t.pk == 2 ? 4 : t.pk == 3 ? 8 : 0xfffffff0;
        __asm__ volatile("wrpkru" : : "a"(pkru), "c"(0), "d"(0) : "memory");
    }
}

static void all(void)
{
    static const u8 accs[6] = { 0, WRITE, FETCH, USER, USER | WRITE, USER | FETCH };
    u32 total = 3 * 8 * 8 * STATES * 6;

    for (u32 n = 0; n < 96; n++) {
        processor(n);
        for (u32 i = n % 11; i < total; i += 11) {
            u32 v = i;
            t.acc = accs[v % 6]; v /= 6;
            t.leaf = v % 8; v /= 8;
            t.up = v % 8; v /= 8;
            t.state = v % 7 < STATES ? v % 7 : BOTH_OK; v /= STATES;
            t.level = 1 + v % 3;
            one(i & 1);
        }
    }
}

__attribute__((used)) void test_main(void)
{
    user_split();
    user_copy(USER_CODE, ustub_r, ustub_end);
    user_copy(DATA, page_code, page_end);
    all();
    line("cases", cases);
    line("failures", failures);
}
