/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * v86.c - virtual-8086 mode with and without VME, IOPL 0 and 3; PVI; the I/O permission bitmap.  A snippet ends with
 * UD2, so vector 6 means that it ran through.  (SDM vol. 3, 20.2, 20.3; vol. 1, 19.5; vol. 2 under each mnemonic.)
 */
/* with: ring32.S */
#define SYS_MAIN
#include "ring32.h"

#define V86(name, text)                                                                                       \
    extern u8 name[], name##_end[];                                                                           \
    __asm__(".text; .code16; " #name ": " text "; ud2; " #name "_end: .code32")

V86(v_cli, "cli");
V86(v_sti, "sti");
V86(v_pushf, "pushfw; popw %ax");
V86(v_popf, "movw $0x7ed5, %ax; pushw %ax; popfw");
V86(v_popf_off, "movw $0x0002, %ax; pushw %ax; popfw");
V86(v_popf_tf, "movw $0x0102, %ax; pushw %ax; popfw; nop");
V86(v_pushfd, "pushfl; popl %eax");
V86(v_popfd, "pushl $0x3c7ed5; popfl");
V86(v_int, "int $0x21");
V86(v_int_high, "int $0xff");
V86(v_int3, "int3");
V86(v_into, "movb $0x7f, %al; incb %al; into");
V86(v_iret, "pushw $0x7ed7; pushw $0x2000; pushw $0x20; iretw");
V86(v_iret_tf, "pushw $0x0102; pushw $0x2000; pushw $0x20; iretw");
V86(v_iretd, "pushl $0x3d7ed7; pushl $0x2000; pushl $0x20; iretl");
V86(v_hlt, "hlt");
V86(v_lgdt, "lgdtw 0");
V86(v_sgdt, "sgdtw 0x100");
V86(v_cr0, "movl %cr0, %eax");
V86(v_smsw, "smsww %ax");
V86(v_lmsw, "lmsw %ax");
V86(v_clts, "clts");
V86(v_str, "str %ax");
V86(v_sldt, "sldt %ax");
V86(v_lar, "lar %ax, %ax");
V86(v_verr, "verr %ax");
V86(v_arpl, "arpl %ax, %ax");
V86(v_ltr, "ltr %ax");
V86(v_rdmsr, "rdmsr");
V86(v_wbinvd, "wbinvd");
V86(v_dr, "movl %dr7, %eax");
V86(v_bound, "boundw %ax, 0x200");
V86(v_lock, ".byte 0xf0, 0x90");
V86(v_far, "lcallw $0x2001, $0x10");
V86(v_far32, "lcalll $0x2001, $0x10");
V86(v_far_limit, "ljmpl $0x2000, $0x10000");
V86(v_segs, "movw $0x1003, %ax; movw %ax, %ds; movw $0xffff, %ax; movw %ax, %fs; movw %fs:0x10, %bx; movw %ds:0, %cx");
V86(v_read_end, "movw 0xffff, %ax");
V86(v_read_high, "movl $0x10000, %esi; addr32 movb (%esi), %al");
V86(v_stack_end, "movw $1, %sp; pushw %ax");
V86(v_push_wrap, "movw $0, %sp; pushl %eax");
V86(v_sysenter, "sysenter");
V86(v_syscall, "syscall");

struct snippet {
    const char *name;
    const u8 *code, *end;
};
#define S(n) { #n, n, n##_end }

static void go_v86(const struct snippet *s)
{
    u8 *at = (u8 *)0x20000;

    for (u32 i = 0; i < 0x40; i++) {
        at[i] = 0x90;
    }
    for (const u8 *p = s->code; p < s->end; p++) {
        *at++ = *p;
    }
    at = (u8 *)0x20020;
    at[0] = 0x0f;
    at[1] = 0x0b;
    start.eip = 0;
    ring_go();
}

static void begin_v86(u32 flags)
{
    begin(3);
    start.eflags = 0x20002 | flags;
    start.cs = 0x2000;
    start.ss = 0x3000;
    start.esp = 0x1000;
    start.ds = 0x4000;
    start.es = 0x5000;
    start.fs = 0x6000;
    start.gs = 0x7000;
}

static u32 cr4_bits;

static void set_cr4(u32 bits)
{
    u32 v;

    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    v = (v & ~3u) | bits;
    __asm__ volatile("mov %0, %%cr4" : : "r"(v));
    cr4_bits = bits;
}

static void result(const struct snippet *s)
{
    put(s->name + 2);
    put_long(" #", out.vector);
    put_long(" err ", out.error);
    put_word(" ", out.cs);
    put_long(":", out.eip);
    put_long(" fl ", out.eflags);
    put_word(" sp ", out.esp);
    put_word(" ax ", out.eax);
}

/* ---- instructions that depend on IOPL ---- */

static const struct snippet sensitive[] = {
    S(v_cli), S(v_sti), S(v_pushf), S(v_popf), S(v_popf_off), S(v_popf_tf), S(v_pushfd), S(v_popfd), S(v_int),
    S(v_int_high), S(v_int3), S(v_into), S(v_iret), S(v_iret_tf), S(v_iretd),
};
static u8 vme_tss[0x68 + 0x20 + 0x2000 + 1] __attribute__((aligned(8)));

static void load_tss(u32 limit, u32 type)
{
    set_gdt(TSS0, seg_desc((u32)vme_tss, limit, type, 0));
    __asm__ volatile("ltr %w0" : : "r"(TSS0));
}

static void make_tss(u32 io_base)
{
    for (u32 i = 0; i < 26; i++) {
        ((u32 *)vme_tss)[i] = tss[i];
    }
    *(u16 *)(vme_tss + 0x66) = (u16)io_base;
}

static void vectors(void)
{
    /* The 8086 program's own handlers: 2000:0020. */
    *(volatile u32 *)(0x21 * 4) = 0x20000020;
    *(volatile u32 *)(0xff * 4) = 0x20000020;
}

static void run_sensitive(u32 flags)
{
    for (u32 i = 0; i < sizeof(sensitive) / sizeof(sensitive[0]); i++) {
        begin_v86(flags);
        go_v86(&sensitive[i]);
        result(&sensitive[i]);
        if (sensitive[i].code == v_int || sensitive[i].code == v_int_high) {
            put_word(" stack ", *(u16 *)0x30ffe);
            put_word(" ", *(u16 *)0x30ffc);
            put_word(" ", *(u16 *)0x30ffa);
            put_word(" esp0 ", STACK(0) - out_esp);
        }
        put("\n");
    }
}

static void test_sensitive(void)
{
    make_tss(0x88);
    load_tss(0x88 + 0x2000, 0x89);
    for (u32 i = 0; i < 0x2020; i++) {
        vme_tss[0x68 + i] = 0xff;
    }
    vme_tss[0x68 + 4] &= ~2;        /* INT 21h goes to the program, INT FFh does not */
    vectors();
    for (u32 vme = 0; vme < 2; vme++) {
        set_cr4(vme);
        for (u32 iopl = 0; iopl < 4; iopl += 3) {
            put_long("vme ", vme);
            put_long(" iopl ", iopl);
            put("\n");
            run_sensitive(iopl << 12);
            put("with IF and VIF\n");
            run_sensitive(iopl << 12 | 0x80200);
        }
    }
    set_cr4(1);
    put("vme, VIP\n");
    run_sensitive(0x100000);
    put("vme, IF clear, VIF, NT\n");
    run_sensitive(0x84000);
    set_cr4(0);
}

/* ---- the redirection bitmap: where it lies, what is too short ---- */

static void test_redirection(void)
{
    static const u16 bases[] = { 0x88, 0x68, 0x87, 0x2068 };
    static const struct snippet int21 = S(v_int);

    set_cr4(1);
    for (u32 i = 0; i < sizeof(bases) / 2; i++) {
        for (u32 k = 0; k < 3; k++) {
            make_tss(bases[i]);
            load_tss(k == 0 ? 0x2088 : bases[i] < 0x80 ? 0x67 : k == 1 ? bases[i] - 32 + 4 : bases[i] - 32 + 3, 0x89);
            for (u32 n = 0; n < 0x2020; n++) {
                vme_tss[0x68 + n] = 0xff;
            }
            if (bases[i] >= 0x68 && bases[i] < 0x100) {
                vme_tss[bases[i] - 32 + 4] &= ~2;
            }
            begin_v86(0);
            go_v86(&int21);
            put_long("base ", bases[i]);
            put_long(" limit ", k == 0 ? 0x2088 : bases[i] < 0x80 ? 0x67 : bases[i] - 32 + 4 - (k == 2));
            put(" ");
            result(&int21);
            put("\n");
        }
    }
    set_cr4(0);
}

/* ---- everything else ---- */

static void test_others(void)
{
    static const struct snippet others[] = {
        S(v_hlt), S(v_lgdt), S(v_sgdt), S(v_cr0), S(v_smsw), S(v_lmsw), S(v_clts), S(v_str), S(v_sldt), S(v_lar),
        S(v_verr), S(v_arpl), S(v_ltr), S(v_rdmsr), S(v_wbinvd), S(v_dr), S(v_bound), S(v_lock), S(v_far), S(v_far32),
        S(v_far_limit), S(v_segs), S(v_read_end), S(v_read_high), S(v_stack_end), S(v_push_wrap), S(v_sysenter),
        S(v_syscall),
    };

    put("others, iopl 3\n");
    make_tss(0x88);
    load_tss(0x2088, 0x89);
    for (u32 i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        *(u32 *)0x40200 = 0x10000;
        begin_v86(0x3000);
        start.eax = 0x10;
        go_v86(&others[i]);
        result(&others[i]);
        put("\n");
    }
    put_word("segments: es ", out.v86_es);
    put_word(" ds ", out.v86_ds);
    put_word(" fs ", out.v86_fs);
    put_word(" gs ", out.v86_gs);
    put_word(" in the handler: es ", out.es);
    put_word(" ds ", out.ds);
    put_word(" fs ", out.fs);
    put_word(" gs ", out.gs);
    put("\n");
}

/* Leaving through every kind of gate. */
static void test_gates(void)
{
    static const struct {
        const char *name;
        u32 sel, gate, type;
    } list[] = {
        { "32-bit", SCRATCH, 0xee, 0x9a }, { "16-bit", SCRATCH, 0xe6, 0x9a }, { "trap", SCRATCH, 0xef, 0x9a },
        { "gate dpl 2", SCRATCH, 0xce, 0x9a }, { "gate absent", SCRATCH, 0x6e, 0x9a },
        { "ring 1", SCRATCH | 1, 0xee, 0xba }, { "ring 3", SCRATCH | 3, 0xee, 0xfa },
        { "conforming", SCRATCH, 0xee, 0x9e }, { "absent", SCRATCH, 0xee, 0x1a }, { "data", SCRATCH, 0xee, 0x92 },
        { "null", 0, 0xee, 0x9a },
    };
    static const struct snippet int21 = S(v_int);
    extern u8 target[];

    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        set_gdt(SCRATCH, seg_desc((u32)target, 0xfff, list[i].type, 4));
        set_idt(0x21, gate_desc(list[i].sel, 0, list[i].gate, 0));
        begin_v86(0x3240);
        go_v86(&int21);
        put(list[i].name);
        put(" ");
        result(&int21);
        if (out.vector == 0x81) {
            put("\n  frame");
            for (u32 at = out_esp + 68; at < STACK(0); at += list[i].gate & 8 ? 4 : 2) {
                put_long(" ", list[i].gate & 8 ? *(u32 *)at : *(u16 *)at);
            }
        }
        put("\n");
    }
    default_gate(0x21);
}
CODE(target, "nop");

/* ---- PVI: CLI and STI in ring 3 ---- */

CODE(cli_only, "cli");
CODE(sti_only, "sti");
CODE(popf_only, "push $0x202; popf");

static void test_pvi(void)
{
    static const u32 flags[] = { 0, 0x80000, 0x100000, 0x180000, 0x3000, 0x2000 };

    for (u32 pvi = 0; pvi < 2; pvi++) {
        set_cr4(pvi << 1);
        for (u32 ring = 2; ring < 4; ring++) {
            for (u32 i = 0; i < sizeof(flags) / 4; i++) {
                put_long("pvi ", pvi);
                put_long(" ring ", ring);
                put_long(" flags ", flags[i]);
                begin(ring);
                start.eflags = 2 | flags[i];
                go(cli_only);
                put_long(" cli #", out.vector);
                put_long(" ", out.eflags);
                begin(ring);
                start.eflags = 2 | flags[i];
                go(sti_only);
                put_long(" sti #", out.vector);
                put_long(" ", out.eflags);
                begin(ring);
                start.eflags = 2 | flags[i];
                go(popf_only);
                put_long(" popf #", out.vector);
                put_long(" ", out.eflags);
                put("\n");
            }
        }
    }
    set_cr4(0);
}

/* ---- the I/O permission bitmap ---- */

CODE(in8, "in %dx, %al");
CODE(in16, "in %dx, %ax");
CODE(in32, "in %dx, %eax");
CODE(outsb_1, "outsb");
CODE(insl_0, "insl");
V86(v_in8, "inb %dx, %al");
V86(v_in32, "inl %dx, %eax");

static void io_line(const char *name, u32 port)
{
    static const u8 *const codes[] = { in8, in16, in32, outsb_1 };
    static const struct snippet v[] = { S(v_in8), S(v_in32) };

    put(name);
    put_long(" port ", port);
    for (u32 i = 0; i < 6; i++) {
        if (i < 4) {
            begin(3);
        } else {
            begin_v86(0x3000);      /* IOPL does not count there */
        }
        start.edx = port;
        start.esi = RUN_STACK;
        if (i < 4) {
            go(codes[i]);
        } else {
            go_v86(&v[i - 4]);
        }
        put(out.vector == 0x81 || out.vector == 6 ? " yes" : out.vector == 13 && out.error == 0 ? " no" : " ?");
    }
    put("\n");
}

static void test_bitmap(void)
{
    make_tss(0x68);
    for (u32 i = 0; i < 0x2000; i++) {
        vme_tss[0x68 + i] = 0;
    }
    vme_tss[0x68 + 0x2000] = 0xff;
    vme_tss[0x68 + 0x80 / 8] = 0x10;        /* port 84 */
    vme_tss[0x68 + 0x88 / 8] = 0x00;
    vme_tss[0x68 + 0x90 / 8] = 0x01;        /* port 90 */
    load_tss(0x68 + 0x2000, 0x89);
    for (u32 port = 0x80; port < 0x92; port++) {
        io_line("map", port);
    }
    for (u32 port = 0xfffc; port < 0x10000; port++) {
        io_line("end", port);
    }
    load_tss(0x68 + 0x1fff, 0x89);          /* the byte behind the map is missing */
    io_line("short", 0xfff0);
    io_line("short", 0xfff8);
    io_line("short", 0xffff);
    load_tss(0x68 + 0x10, 0x89);            /* ports 0 to 7f, and two bytes are always read */
    io_line("limit", 0x77);
    io_line("limit", 0x78);
    io_line("limit", 0x7f);
    io_line("limit", 0x80);
    load_tss(0x66, 0x89);
    io_line("limit 66", 0);
    make_tss(0x80);                         /* a base behind the limit: no ports */
    load_tss(0x67, 0x89);
    io_line("no map", 0);
    make_tss(0xffff);
    load_tss(0x2068, 0x89);
    io_line("base ffff", 0);
    make_tss(0x60);                         /* inside the TSS: its bytes are the map */
    vme_tss[0x60] = 2;
    load_tss(0x2068, 0x89);
    io_line("base 60", 0);
    io_line("base 60", 1);
    io_line("base 60", 2);
    vme_tss[0x60] = 0;
}

static void test_small(void)
{
    /* A 16-bit TSS has no map. */
    static u16 t16[22];
    t16[1] = 0xfff0;
    t16[2] = SCRATCH;
    set_gdt(SCRATCH, seg_desc(0x60000, 0xffff, 0x92, 0));
    set_gdt(TSS0, seg_desc((u32)t16, 0x2068, 0x81, 0));
    __asm__ volatile("ltr %w0" : : "r"(TSS0));
    begin(3);
    start.edx = 0x80;
    go(in8);
    put_long("16-bit tss: vector ", *(u32 *)(0x60000 + (out_esp & 0xffff) + 48));
    put("\n");
}

/* A 64 KiB program's code runs against the end of its segment. */
static void test_end_of_segment(void)
{
    ((u8 *)0x2fffe)[0] = 0x90;
    ((u8 *)0x2fffe)[1] = 0x90;
    begin_v86(0);
    start.eip = 0xfffe;
    ring_go();
    put_long("end: #", out.vector);
    put_long(" err ", out.error);
    put_long(" ip ", out.eip);
    put("\n");
    ((u8 *)0x2ffff)[0] = 0xb0;              /* MOV AL, imm8 across the end */
    begin_v86(0);
    start.eip = 0xfffe;
    ring_go();
    put_long("across: #", out.vector);
    put_long(" err ", out.error);
    put_long(" ip ", out.eip);
    put("\n");
    begin_v86(0);
    start.eip = 0x10000;                    /* IRET to it */
    ring_go();
    put_long("iret: #", out.vector);
    put_long(" err ", out.error);
    put_word(" cs ", out.cs);
    put("\n");
}

__attribute__((used)) void test_main(void)
{
    ring_setup();
    test_sensitive();
    test_redirection();
    test_others();
    test_gates();
    test_pvi();
    test_bitmap();
    test_small();
    ring_setup();
    test_end_of_segment();
}
