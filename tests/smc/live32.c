/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * live32.c - a guest that knows what its memory must be at any moment: for test_live.py, which moves it while it runs.
 *
 * It writes 1, 2, 3... to one page after another; after write i page k holds the last number up to i that is k modulo
 * the number of pages.  A page whose last store was not seen by the dirty log comes with an old number, which is found
 * before the page is written again.  Now and then it calls a function that returns `version`; the console's 'p' makes
 * both one larger, 'v' asks for a report.
 */
#define SYS_MAIN
#include "../system/sys.h"

#define PAGES 2048u
#define AREA  0x400000u
#define CODE  0x300000u
#define CALLER 0x310000u

static volatile u32 version = 1, written;
static u32 env_at_start[7];

void trap(struct frame *f)
{
    line("BAD trap", f->vector);
    line("ip", f->ip);
    sys_exit(1);
}

static u32 call(u32 a)
{
    u32 r;

    __asm__ volatile("call *%1" : "=a"(r) : "r"(a) : "ecx", "edx", "memory");
    return r;
}

/* mov eax, version; ret */
static void patch(void)
{
    *(volatile u8 *)CODE = 0xb8;
    *(volatile u32 *)(CODE + 1) = version;
    *(volatile u8 *)(CODE + 5) = 0xc3;
}

static void verify_code(void)
{
    u32 a = call(CODE), b = call(CALLER);

    if (a != version || b != version) {
        line("BAD code", a);
        line("direct", b);
        line("version", version);
    }
}

/* What x87 remembers of its last instruction. */
static void verify_pointers(void)
{
    u32 env[7];

    __asm__ volatile("fnstenv %0" : "=m"(env));
    if (env[3] != env_at_start[3] || env[4] >> 16 != env_at_start[4] >> 16 || env[5] != env_at_start[5]) {
        line("BAD fip", env[3]);
        line("fop", env[4] >> 16);
        line("fdp", env[5]);
    }
}

static void command(void)
{
    if (!(inb(0x3fd) & 1)) {
        return;
    }
    switch (inb(0x3f8)) {
    case 'p':
        version++;
        patch();
        line("patched", version);
        break;
    case 'v':
        verify_code();
        verify_pointers();
        line("version", version);
        line("fip", env_at_start[3]);
        put("verified\n");
        break;
    }
}

__attribute__((used)) void test_main(void)
{
    static const u64 one = 0x3ff0000000000000ull;

    __asm__ volatile("fninit; fldl %1; fnstenv %0" : "=m"(env_at_start) : "m"(one));
    *(volatile u8 *)CALLER = 0xe8;
    *(volatile u32 *)(CALLER + 1) = CODE - CALLER - 5;
    *(volatile u8 *)(CALLER + 5) = 0xc3;
    patch();
    for (u32 k = 0; k < PAGES; k++) {
        *(volatile u32 *)(AREA + 4096 * k + 8) = k;
    }
    written = PAGES - 1;
    u32 bad = 0;
    put("ready\n");
    for (;;) {
        for (u32 n = 0; n < 4096; n++) {
            u32 i = written + 1;
            volatile u32 *p = (volatile u32 *)(AREA + 4096 * (i % PAGES) + 8);
            if (*p != i - PAGES && !bad++) {
                line("BAD page", i % PAGES);
                line("got", *p);
                line("want", i - PAGES);
            }
            *p = i;
            written = i;
        }
        verify_code();
        command();
    }
}
