/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * segload32.c - every kind of descriptor, in every ring and with every RPL: loads of data segments and SS, far JMP and
 * CALL, LAR LSL VERR VERW.  What must happen is computed here from the manuals' rules; only exceptions to it and the
 * counts are printed.  (SDM vol. 3, 3.4.5, 5.4 to 5.8, 5.10; vol. 2 under each mnemonic.)
 */
/* with: ring32.S */
#define SYS_MAIN
#include "ring32.h"

CODE(mov_ds, "mov %eax, %ds");
CODE(pop_es, "push %eax; pop %es");
CODE(load_fs, "lfs (%ebx), %ecx");
CODE(pop_gs, "push %eax; popw %gs; pop %ax");
CODE(mov_ss, "mov %eax, %ss; nop");
CODE(load_ss, "lss (%ebx), %esp");
CODE(jump, "ljmp *(%ebx)");
CODE(callf, "lcall *(%ebx)");
CODE(target, "nop");
CODE(lar, "lar %eax, %esi; lsl %eax, %edi; setz %cl; verr %ax; setz %dl; verw %ax; setz %bl");

/* Outcome of a load: 0 done, else vector; the error code is the selector. */
struct kind {
    u32 type;   /* access byte: P, DPL, S, type */
};

static u32 dpl_of(u32 t) { return t >> 5 & 3; }
static int is_code(u32 t) { return (t & 0x18) == 0x18; }
static int is_conforming(u32 t) { return (t & 0x1c) == 0x1c; }
static int is_readable(u32 t) { return (t & 0x10) && (t & 0xa) != 8; }
static int is_writable(u32 t) { return (t & 0x1a) == 0x12; }

static u32 want_data(u32 t, u32 rpl, u32 cpl)
{
    if (!is_readable(t) || (!is_conforming(t) && (rpl > dpl_of(t) || cpl > dpl_of(t)))) {
        return 13;
    }
    return t & 0x80 ? 0 : 11;
}

static u32 want_ss(u32 t, u32 rpl, u32 cpl)
{
    if (rpl != cpl || !is_writable(t) || dpl_of(t) != cpl) {
        return 13;
    }
    return t & 0x80 ? 0 : 12;
}

static u32 want_code(u32 t, u32 rpl, u32 cpl)
{
    if (!is_code(t)) {
        return 13;
    }
    if (is_conforming(t) ? dpl_of(t) > cpl : rpl > cpl || dpl_of(t) != cpl) {
        return 13;
    }
    return t & 0x80 ? 0 : 11;
}

static u32 counts[4][2], bad;

static void complain(const char *what, u32 t, u32 sel, u32 cpl, u32 want)
{
    if (bad++ < 20) {
        put(what);
        put_long(" type ", t);
        put_long(" sel ", sel);
        put_long(" cpl ", cpl);
        put_long(" want ", want);
        show_line("");
    }
}

struct far {
    u32 off;
    u16 sel;
} __attribute__((packed));

static struct far far_ptr;

static void try_load(const char *what, const u8 *code, u32 cpl, u32 sel, u32 t, u32 want, u32 seg_out)
{
    u32 ok;

    /* as wide as can be: an expand-down segment begins behind its limit */
    set_gdt(sel & ~7u, seg_desc(0, (t & 0x1c) == 0x14 ? 0 : 0xfffff, t, 12));
    begin(cpl);
    start.eax = sel;
    start.ebx = (u32)&far_ptr;
    far_ptr.off = code == load_ss ? RUN_STACK : (u32)target;
    far_ptr.sel = (u16)sel;
    go(code);
    if (want) {
        ok = out.vector == want && out.error == (sel & ~3u) && out.cs == ring_code[cpl] && access_byte(sel) == t;
        ok = ok && out.eip == (u32)code + (code == pop_es || code == pop_gs);
    } else {
        ok = out.vector == 0x81 && access_byte(sel) == (t | 1);
        ok = ok && (seg_out ? *(u16 *)((u8 *)&out + seg_out) == sel
                            : out.cs == (code == jump || code == callf ? (sel & ~3u) | cpl : ring_code[cpl]));
    }
    counts[want == 0 ? 0 : want == 13 ? 1 : 2][!ok]++;
    if (!ok) {
        complain(what, t, sel, cpl, want);
    }
}

#define OUT(field) __builtin_offsetof(__typeof__(out), field)

static void loads(u32 cpl, u32 sel, u32 t)
{
    u32 rpl = sel & 3;

    try_load("mov ds", mov_ds, cpl, sel, t, want_data(t, rpl, cpl), OUT(ds));
    try_load("pop es", pop_es, cpl, sel, t, want_data(t, rpl, cpl), OUT(es));
    try_load("lfs", load_fs, cpl, sel, t, want_data(t, rpl, cpl), OUT(fs));
    try_load("pop gs", pop_gs, cpl, sel, t, want_data(t, rpl, cpl), OUT(gs));
    try_load("mov ss", mov_ss, cpl, sel, t, want_ss(t, rpl, cpl), cpl ? OUT(ss) : 0);
    try_load("lss", load_ss, cpl, sel, t, want_ss(t, rpl, cpl), cpl ? OUT(ss) : 0);
    if ((t & 0x10) || (0xa54d & 1u << (t & 15))) {      /* not: TSSs that are free, gates */
        try_load("jmp", jump, cpl, sel, t, want_code(t, rpl, cpl), 0);
        try_load("call", callf, cpl, sel, t, want_code(t, rpl, cpl), 0);
    }
}

static void examine(u32 cpl, u32 sel, u32 t)
{
    u32 system_lar = 0x1a3e, system_lsl = 0x0a0e;   /* TSS LDT TSSb CALL16 TASK - TSS TSSb CALL32; without gates */
    int visible = is_conforming(t) || (cpl <= dpl_of(t) && (sel & 3) <= dpl_of(t));
    int has_lar = visible && ((t & 0x10) || (system_lar >> (t & 15) & 1));
    int has_lsl = visible && ((t & 0x10) || (system_lsl >> (t & 15) & 1));
    u32 ok;

    set_gdt(sel & ~7u, seg_desc(0, 0x12345, t, 13));
    begin(cpl);
    start.eax = sel;
    start.esi = start.edi = 0x55555555;
    go(lar);
    ok = out.vector == 0x81 && access_byte(sel) == t;
    ok = ok && (has_lar ? (out.esi & 0xf0ffff) == (0xd00000 | t << 8) : out.esi == 0x55555555);
    ok = ok && out.edi == (has_lsl ? 0x12345fffu : 0x55555555u) && (out.ecx & 1) == (u32)has_lsl;
    ok = ok && (out.edx & 1) == (u32)(visible && is_readable(t));
    ok = ok && (out.ebx & 1) == (u32)(visible && is_writable(t));
    counts[3][!ok]++;
    if (!ok) {
        complain("lar", t, sel, cpl, (u32)has_lar);
        put_long("  lar ", out.esi);
        put_long(" lsl ", out.edi);
        put_long(" r ", out.edx);
        put_long(" w ", out.ebx);
        put("\n");
    }
}

static void all_kinds(void)
{
    for (u32 t = 0; t < 0x100; t++) {
        if ((t & 0x11) == 0x11) {
            continue;       /* accessed already */
        }
        for (u32 cpl = 0; cpl < 4; cpl++) {
            for (u32 rpl = 0; rpl < 4; rpl++) {
                loads(cpl, SCRATCH | rpl, t);
                examine(cpl, SCRATCH | rpl, t);
            }
        }
    }
}

static void odd_selectors(void)
{
    static const u16 sels[] = { 0, 3, 0x200, 0x1ff, 0x1fc, 0x54, 0xfffc, 0x1f8 };

    load_gdt(0x1fe);        /* the last descriptor is one byte too short */
    set_gdt(0x1f8, seg_desc(0, 0xfffff, 0xf3, 12));
    for (u32 i = 0; i < sizeof(sels) / 2; i++) {
        for (u32 ring = 0; ring < 4; ring += 3) {
            put_long("selector ", sels[i]);
            put_long(" ring ", ring);
            begin(ring);
            start.eax = sels[i];
            start.ebx = (u32)&far_ptr;
            far_ptr.sel = sels[i];
            go(mov_ds);
            show(" ds");
            begin(ring);
            start.eax = sels[i];
            go(mov_ss);
            show(" ss");
            begin(ring);
            start.ebx = (u32)&far_ptr;
            go(jump);
            show_line(" jmp");
        }
    }
    load_gdt(sizeof(ring_gdt) - 1);
}

/* The same through an LDT: in the middle of the table, behind its limit, with no LDT. */
static void local_table(void)
{
    static u64 ldt[4];

    ldt[1] = seg_desc(0, 0xfffff, 0xf3, 12);
    ldt[2] = seg_desc(0, 0xfffff, 0xfb, 12);
    set_gdt(0x60, seg_desc((u32)ldt, sizeof(ldt) - 1, 0x82, 0));
    for (u32 i = 0; i < 2; i++) {
        u32 sel = i ? 0 : 0x60;
        __asm__ volatile("lldt %w0" : : "r"(sel));
        for (u32 at = 0xc; at < 0x2c; at += 8) {
            begin(3);
            start.eax = at | 3;
            go(mov_ds);
            put_long("ldt ", at | 3);
            show_line("");
            begin(3);
            far_ptr.sel = (u16)(at | 3);
            far_ptr.off = (u32)target;
            start.ebx = (u32)&far_ptr;
            go(jump);
            show_line("  jmp");
        }
    }
}

CODE(lldt_ax, "lldt %ax");
CODE(ltr_ax, "ltr %ax");

static void system_loads(void)
{
    for (u32 t = 0; t < 0x100; t += t == 0x0f ? 0x71 : t == 0x8f ? 0x11 : t == 0xa0 ? 0x60 : 1) {
        set_gdt(SCRATCH, seg_desc((u32)tss, 0x67, t, 0));
        begin(0);
        start.eax = SCRATCH;
        go(lldt_ax);
        if (out.vector != 13 || out.error != SCRATCH) {
            put_long("lldt type ", t);
            show_line("");
        }
        set_gdt(SCRATCH, seg_desc((u32)tss, 0x67, t, 0));
        begin(0);
        start.eax = SCRATCH;
        go(ltr_ax);
        if (out.vector != 13 || out.error != SCRATCH) {
            put_long("ltr type ", t);
            show("");
            put_long(" now ", access_byte(SCRATCH));
            put("\n");
        }
    }
    for (u32 i = 0; i < 4; i++) {
        static const u16 sels[4] = { 0, 3, 0x54, 0x8000 };
        begin(0);
        start.eax = sels[i];
        go(lldt_ax);
        put_long("lldt ", sels[i]);
        show("");
        begin(0);
        start.eax = sels[i];
        go(ltr_ax);
        show_line(" ltr");
        begin(1);
        start.eax = sels[i];
        go(lldt_ax);
        show_line("  ring 1");
    }
}

__attribute__((used)) void test_main(void)
{
    static const char *const names[4] = { "done", "#gp", "not present", "lar" };

    ring_setup();
    all_kinds();
    for (u32 i = 0; i < 4; i++) {
        put(names[i]);
        put_long(" ", counts[i][0]);
        put_long(" wrong ", counts[i][1]);
        put("\n");
    }
    odd_selectors();
    local_table();
    system_loads();
}
