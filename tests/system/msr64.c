/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * msr64.c - model-specific registers and control registers: which exist, what may be written, what stays
 * (SDM vol. 4; vol. 3, 2.5, 4.1, 10.4.3, 11.11, 15.3, 17.17; APM vol. 2, 3.2).
 */
#define SYS_MAIN
#include "lib64.h"

static volatile u64 val;

static int rd(u32 msr)
{
    TRY("mov %%edi, %%ecx; rdmsr; shl $32, %%rdx; or %%rdx, %%rax; mov %%rax, val(%%rip)", "D"(msr));
    return got.vector;
}

static int wr(u32 msr, u64 v)
{
    TRY("mov %%edi, %%ecx; mov %%rsi, %%rax; mov %%rsi, %%rdx; shr $32, %%rdx; wrmsr", "D"(msr), "S"(v));
    return got.vector;
}

/* Write, read back, restore. */
static void keeps(u32 msr, u64 v, u64 want)
{
    u64 old;

    if (rd(msr) >= 0) {
        line("cannot be read", msr);
        return;
    }
    old = val;
    if (wr(msr, v) >= 0) {
        line("cannot be written", msr);
        line("  with", v);
        return;
    }
    rd(msr);
    if (val != want) {
        line("wrong value of", msr);
        line("  have", val);
        line("  want", want);
    }
    wr(msr, old);
}

static void refuses(u32 msr, u64 v)
{
    if (wr(msr, v) != 13 || got.error) {
        line("not refused", msr);
        line("  with", v);
        line("  vector", (u64)got.vector);
    }
}

static void absent(u32 msr)
{
    if (rd(msr) != 13 || got.error || wr(msr, 0) != 13) {
        line("exists", msr);
    }
}

#define NONCANON 0x8000000000001ull << 44

static void test_values(void)
{
    static const u32 addresses[] = { 0x175, 0x176, 0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102 };

    put("values\n");
    for (u32 i = 0; i < 7; i++) {
        keeps(addresses[i], 0x123456789abc, 0x123456789abc);
        keeps(addresses[i], 0xffff923456789abc, 0xffff923456789abc);
        refuses(addresses[i], 0x0100000000000000ull);
        refuses(addresses[i], 0x8000000000000000ull);
    }
    keeps(0x174, 0x1234, 0x1234);
    keeps(0xc0000081, ~0ull, ~0ull);
    keeps(0xc0000084, 0xffffffff, 0xffffffff);
    keeps(0xc0000103, 0xffffffff, 0xffffffff);
    refuses(0xc0000103, 1ull << 32);
    put("memory types\n");
    keeps(0x277, 0x0001040506070106, 0x0001040506070106);
    for (u32 i = 0; i < 8; i++) {
        refuses(0x277, 2ull << (8 * i));
        refuses(0x277, 3ull << (8 * i));
        refuses(0x277, 8ull << (8 * i));
        refuses(0x250, 2ull << (8 * i));
        refuses(0x26f, 7ull << (8 * i));
    }
    keeps(0x250, 0x0605040100060504, 0x0605040100060504);
    keeps(0x2ff, 0xc06, 0xc06);
    refuses(0x2ff, 0x1000);
    refuses(0x2ff, 0x100);
    refuses(0x2ff, 2);
    keeps(0x200, 0x80000006, 0x80000006);
    keeps(0x201, 0xff80000800, 0xff80000800);
    refuses(0x200, 0x102);
    refuses(0x200, 3);
    refuses(0x201, 0x400);
    refuses(0x200, 1ull << 52);
    refuses(0x201, 1ull << 52);
    rd(0xfe);
    line("mtrrcap", val);
    refuses(0xfe, 0);
    absent(0x200 + 2 * (val & 0xff));
}

static void test_mce(void)
{
    put("machine check\n");
    rd(0x179);
    line("cap", val);
    u32 banks = val & 0xff;
    refuses(0x179, 0);
    keeps(0x17b, 0, 0);
    keeps(0x17b, ~0ull, ~0ull);
    refuses(0x17b, 1);
    for (u32 i = 0; i < banks; i++) {
        keeps(0x400 + 4 * i, 0, 0);
        keeps(0x400 + 4 * i, ~0ull, ~0ull);
        refuses(0x400 + 4 * i, 0xaaaaaaaaaaaaaaaaull);
        keeps(0x401 + 4 * i, 0, 0);
        refuses(0x401 + 4 * i, 1);
        keeps(0x402 + 4 * i, 0, 0);
        keeps(0x402 + 4 * i, ~0ull, ~0ull);
        keeps(0x403 + 4 * i, ~0ull, ~0ull);
    }
    for (u32 i = banks * 4; i < 128; i++) {
        absent(0x400 + i);
    }
}

static void test_efer(void)
{
    u64 efer = rdmsr(0xc0000080);

    put("efer\n");
    line("value", efer);
    keeps(0xc0000080, efer ^ 1, efer ^ 1);
    keeps(0xc0000080, efer ^ 0x800, efer ^ 0x800);
    keeps(0xc0000080, efer & ~0x400ull, efer);              /* LMA is read only */
    refuses(0xc0000080, efer & ~0x100ull);
    refuses(0xc0000080, efer | 2);
    refuses(0xc0000080, efer | 1ull << 16);
    refuses(0xc0000080, efer | 1ull << 63);
}

static void test_tsc(void)
{
    u64 a, b, adjust;

    put("tsc\n");
    rd(0x3b);
    check("adjust at reset", val, 0);
    wr(0x10, 100000000000ull);
    rd(0x10);
    check("written", val >= 100000000000ull && val < 1100000000000ull, 1);
    rd(0x3b);
    check("adjust follows", val != 0, 1);
    adjust = val;
    rd(0x10);
    a = val;
    wr(0x3b, adjust + (1ull << 45));
    rd(0x10);
    b = val - a;
    check("counter follows", b >> 45, 1);
    rd(0x3b);
    check("adjust", val, adjust + (1ull << 45));
    wr(0x3b, 0);
    rd(0x10);
    check("back", val < (1ull << 60), 1);
    wrmsr(0xc0000103, 0x12345678);
    TRY("rdtscp; mov %%rcx, val(%%rip)", "D"(0));
    check("rdtscp", val, 0x12345678);
    TRY("mov $-1, %%rax; .byte 0xf3, 0x0f, 0xc7, 0xf8; mov %%rax, val(%%rip)", "D"(0));
    check("rdpid", val, 0x12345678);
    a = 0;
    for (u32 i = 0; i < 100000; i++) {
        u32 lo, hi;
        __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
        b = (u64)hi << 32 | lo;
        if (b < a) {
            put("backwards\n");
            break;
        }
        a = b;
    }
}

static void test_absent(void)
{
    static const u32 none[] = { 2, 0x15, 0x50, 0x83f, 0x12345, 0x400 + 4 * 32, 0x480, 0x4fff, 0x40000001, 0x7fffffff,
                                0xc0000085, 0xc0000104, 0xc0002000, 0xffffffff, 0x6e0, 0x800, 0x802, 0x830 };

    put("absent\n");
    for (u32 i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        absent(none[i]);
    }
}

static void cr4_bit(u32 bit, int allowed)
{
    u64 old = get_cr4();

    TRY("mov %0, %%cr4", "D"(old ^ 1ull << bit));
    if ((got.vector < 0) != allowed || (got.vector >= 0 && (got.vector != 13 || got.error))) {
        line("cr4 bit", bit);
        line("  vector", (u64)got.vector);
    }
    set_cr4(old);
}

#define CR(n, v) TRY("mov %0, %%cr" #n, "D"((u64)(v)))

static void test_cr(void)
{
    u64 cr0 = get_cr0(), cr3 = get_cr3(), cr4 = get_cr4();
    u32 r7[4], r1[4];

    put("control registers\n");
    cpuid(7, 0, r7);
    cpuid(1, 0, r1);
    for (u32 b = 0; b < 64; b++) {
        int ok = b <= 10 || b == 16 || b == 17 || b == 18 || b == 20 || b == 21;
        ok = ok && b != 5;                                  /* PAE in long mode */
        ok = b <= 1 ? r1[3] >> 1 & 1 : b == 11 ? r7[2] >> 2 & 1 : b == 22 ? r7[2] >> 3 & 1 :
             b == 24 ? r7[2] >> 31 & 1 : (u32)ok;
        if (b != 9) {
            cr4_bit(b, ok);
        }
    }
    CR(0, cr0 & ~1ull); show("pe with pg");
    CR(0, cr0 & ~CR0_PG); show("pg off in 64-bit code");
    CR(0, cr0 | 1ull << 32); show("bit 32");
    CR(0, (cr0 & ~0x40000000ull) | 0x20000000); show("nw without cd");
    CR(0, cr0 | 0x60000000); show("cd and nw");
    check("cr0", get_cr0(), cr0 | 0x60000000);
    CR(0, cr0 & ~0x10ull); show("et clear");
    check("et", get_cr0(), cr0);
    CR(3, cr3 | 0x18); show("cr3 pwt pcd");
    check("cr3", get_cr3(), cr3 | 0x18);
    CR(3, cr3 | 1ull << 63); show("cr3 bit 63");
    CR(3, cr3 | 1ull << 52); show("cr3 bit 52");
    CR(3, cr3 | 5); show("cr3 low bits");
    CR(4, cr4 | 1 << 17); show("pcide with cr3 low bits");
    set_cr3(cr3);
    CR(4, cr4 | 1 << 17); show("pcide");
    CR(3, cr3 | 1ull << 63 | 5); show("cr3 bit 63");
    check("cr3 pcid", get_cr3(), cr3 | 5);
    CR(3, cr3 | 1ull << 62); show("cr3 bit 62");
    CR(0, cr0 & ~CR0_PG); show("pg off with pcide");
    CR(4, cr4); show("pcide off");
    check("cr3 keeps", get_cr3(), cr3 | 5);
    set_cr3(cr3);
    CR(4, cr4 | 1 << 12); show("la57");
    CR(8, 15); show("cr8");
    check("cr8", get_cr8(), 15);
    CR(8, 16); show("cr8 16");
    CR(8, 0);
    TRY("mov $0x12345678abcdef01, %%rax; mov %%rax, %%cr2; mov %%cr2, %%rax; mov %%rax, val(%%rip)", "D"(0));
    check("cr2", val, 0x12345678abcdef01);
    TRY(".byte 0x0f, 0x22, 0x3f", "D"(0)); show("mov cr7, modrm as memory");
    TRY(".byte 0x0f, 0x20, 0x07; mov %%rdi, val(%%rip)", "D"(0)); show("mov rdi, cr0, modrm as memory");
    check("cr0", val, get_cr0());
    TRY(".byte 0x0f, 0x20, 0xc8", "D"(0)); show("cr1");
    TRY(".byte 0x44, 0x0f, 0x20, 0xc8", "D"(0)); show("cr9");
    TRY(".byte 0x44, 0x0f, 0x20, 0xf8", "D"(0)); show("cr15");
    TRY(".byte 0x44, 0x0f, 0x21, 0xc0", "D"(0)); show("dr8");
    TRY(".byte 0x0f, 0x21, 0x07; mov %%rdi, val(%%rip)", "D"(0)); show("mov rdi, dr0, modrm as memory");
    TRY(".byte 0xf0, 0x0f, 0x22, 0xc7; mov %%cr8, %%rax; mov %%rax, val(%%rip)", "D"(5ull)); show("lock mov cr0");
    check("lock mov cr0 is cr8", val, 5);
    TRY(".byte 0xf0, 0x0f, 0x20, 0xc7; mov %%rdi, val(%%rip)", "D"(0)); show("lock mov cr0");
    check("lock mov cr0 is cr8", val, 5);
    CR(8, 0);
    TRY(".byte 0xf0, 0x44, 0x0f, 0x20, 0xc7", "D"(0)); show("lock mov cr8");
    TRY(".byte 0xf0, 0x0f, 0x20, 0xd7", "D"(0)); show("lock mov cr2");
    TRY("lmsw %%di", "D"(cr0 & ~1ull)); show("lmsw");
    check("pe stays", get_cr0(), cr0);
    TRY("lmsw %%di", "D"(cr0 ^ 0xe)); show("lmsw");
    check("mp em ts", get_cr0(), cr0 ^ 0xe);
    TRY("clts", "D"(0));
    check("ts", get_cr0(), (cr0 ^ 0xe) & ~8ull);
    set_cr0(cr0);
    TRY("mov %0, %%dr6", "D"(1ull << 32)); show("dr6 bit 32");
    TRY("mov %0, %%dr7", "D"(1ull << 32)); show("dr7 bit 32");
    TRY("mov %0, %%dr6", "D"(0xffffffffull)); show("dr6");
    line("dr6", get_dr6());
    TRY("mov %0, %%dr6", "D"(0ull)); show("dr6");
    line("dr6", get_dr6());
    TRY("mov %0, %%dr7", "D"(0xffffd300ull)); show("dr7");
    line("dr7", get_dr7());
    TRY("mov %0, %%dr7", "D"(0x400ull));
    TRY("mov %0, %%dr3; mov %%dr3, %%rax; mov %%rax, val(%%rip)", "D"(~0ull)); show("dr3");
    check("dr3", val, ~0ull);
    TRY("mov %%dr4, %%rax", "D"(0)); show("dr4 with de");
    set_cr4(cr4 & ~8ull);
    TRY("mov %%dr4, %%rax; mov %%rax, val(%%rip)", "D"(0)); show("dr4 without de");
    check("dr4", val, get_dr6());
    set_cr4(cr4);
}

/* Privileged instructions, and those that CR4 opens or closes to the user. */
#define USER_INSN(name, code)                                                                 \
    do {                                                                                      \
        extern u8 ui_##name[], ue_##name[];                                                   \
        __asm__ volatile("jmp ue_" #name "; ui_" #name ": " code "; int $0x81; ue_" #name ":");   \
        user_copy(USER_CODE, ui_##name, ue_##name);                                           \
        run_user(USER_CODE, 0x30e000);                                                        \
        show(#name);                                                                          \
    } while (0)

static void user_insns(void)
{
    USER_INSN(rdtsc, "rdtsc");
    USER_INSN(rdtscp, "rdtscp");
    USER_INSN(rdpmc, "xor %ecx, %ecx; rdpmc");
    USER_INSN(sgdt, "sgdt (%rdi)");
    USER_INSN(sidt, "sidt (%rdi)");
    USER_INSN(sldt, "sldt %eax");
    USER_INSN(str, "str (%rdi)");
    USER_INSN(smsw, "smsw %eax");
    USER_INSN(rdfsbase, "rdfsbase %rax");
    USER_INSN(wrgsbase, "rdgsbase %rax; wrgsbase %rax");
    USER_INSN(xgetbv, "xor %ecx, %ecx; xgetbv");
    USER_INSN(rdpkru, "xor %ecx, %ecx; rdpkru");
}

static void test_user(void)
{
    u64 cr4 = get_cr4();

    put("user, cr4 clear\n");
    user_insns();
    put("user, cr4 tsd pce umip fsgsbase osxsave pke\n");
    set_cr4(cr4 | 1 << 2 | 1 << 8 | 1 << 11 | 1 << 16 | 1 << 18 | 1 << 22);
    user_insns();
    set_cr4(cr4);
    put("user, privileged\n");
    USER_INSN(hlt, "hlt");
    USER_INSN(cli, "cli");
    USER_INSN(rdmsr, "rdmsr");
    USER_INSN(wrmsr, "wrmsr");
    USER_INSN(cr0r, "mov %cr0, %rax");
    USER_INSN(cr8w, "mov %rax, %cr8");
    USER_INSN(dr0r, "mov %dr0, %rax");
    USER_INSN(dr7w, "mov %rax, %dr7");
    USER_INSN(invlpg, "invlpg (%rdi)");
    USER_INSN(invpcid, "invpcid (%rdi), %rax");
    USER_INSN(wbinvd, "wbinvd");
    USER_INSN(invd, "invd");
    USER_INSN(clts, "clts");
    USER_INSN(lmsw, "lmsw %ax");
    USER_INSN(lgdt, "lgdt (%rdi)");
    USER_INSN(ltr, "ltr %ax");
    USER_INSN(xsetbv, "xor %ecx, %ecx; xsetbv");
    USER_INSN(swapgs, "swapgs");
    USER_INSN(sysret, "sysretq");
    USER_INSN(monitor, "monitor");
    USER_INSN(mwait, "mwait");
    USER_INSN(stac, "stac");
    USER_INSN(inb, "in $0x61, %al");
    USER_INSN(int3, "int $3");
    USER_INSN(ud2, "ud2");
}

__attribute__((used)) void test_main(void)
{
    user_split();
    test_values();
    test_mce();
    test_efer();
    test_tsc();
    test_absent();
    test_cr();
    test_user();
}
