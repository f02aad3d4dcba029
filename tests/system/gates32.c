/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gates32.c - call gates, interrupt and trap gates of both sizes, from every ring to every kind of code segment; the
 * parameters and frames on the new stack; what is wrong with the new stack.  The matrices are compared with the
 * manuals' rules written down here, only exceptions to them and the counts are printed.
 * (SDM vol. 3, 5.8.3 to 5.8.5, 6.12, 6.13, 7.2; vol. 2, CALL, JMP, INT n.)
 */
/* with: ring32.S */
#define SYS_MAIN
#include "ring32.h"

CODE(target, "nop");
CODE(call_gate, "lcall *(%ebx)");
CODE(jump_gate, "ljmp *(%ebx)");
CODE(int_60, "int $0x60");
CODE(undefined, "ud2");
CODE(icebp, ".byte 0xf1");
CODE(into, "mov $0x7f, %al; inc %al; into");

enum { GATE = SCRATCH, TARGET = SCRATCH + 8, STACKSEL = SCRATCH + 16 };

static struct far {
    u32 off;
    u16 sel;
} __attribute__((packed)) far_ptr;

static u32 counts[4], bad;

static void complain(const char *what, u32 a, u32 b, u32 want)
{
    if (bad++ < 20) {
        put(what);
        put_long(" ", a);
        put_long(" target ", b);
        put_long(" want ", want);
        put_word(" sel ", far_ptr.sel);
        show_line("");
    }
}

/* Stack pointer of the interrupted code: pushed by the INT if the ring changed. */
static u32 final_esp(void)
{
    return out.cs & 3 ? out.esp : out_esp + 68;
}

static u32 dpl_of(u32 t) { return t >> 5 & 3; }

/* Kinds of code segments, and things that are none. */
static const u8 targets[] = { 0x9a, 0xba, 0xda, 0xfa, 0x9e, 0xbe, 0xde, 0xfe, 0x98, 0xfc, 0x1a, 0x3a, 0x5a, 0x7a, 0x1e,
                              0xf2, 0x92, 0x89, 0x8c, 0x00 };

/* Vector, error code in *error, new CPL in *to. */
static u32 want_gate(u32 gate, u32 t, u32 cpl, int call, u32 *error, u32 *to)
{
    u32 rpl = far_ptr.sel & 3;

    *error = GATE;
    *to = cpl;
    if (dpl_of(gate) < cpl || dpl_of(gate) < rpl) {
        return 13;
    }
    if (!(gate & 0x80)) {
        return 11;
    }
    *error = TARGET;
    if ((t & 0x18) != 0x18) {
        return 13;
    }
    if (dpl_of(t) > cpl || (!call && !(t & 4) && dpl_of(t) != cpl)) {
        return 13;
    }
    *to = t & 4 ? cpl : dpl_of(t);
    return t & 0x80 ? 0x81 : 11;
}

static u32 word_at(u32 at, u32 size)
{
    return size == 4 ? *(u32 *)at : *(u16 *)at;
}

/* The frame that CALL left: return address, parameters, old stack pointer. */
static int frame_good(u32 from, u32 to, u32 size, u32 params)
{
    u32 sp = final_esp();
    u32 base = to < from ? STACK(to) : RUN_STACK - 0x40;
    u32 ok;

    if (to >= from) {
        return sp == base - 2 * size && word_at(sp, size) == (((u32)call_gate + 2) & (size == 4 ? ~0u : 0xffffu)) &&
               word_at(sp + size, size) == ring_code[from];
    }
    ok = sp == base - (4 + params) * size && word_at(sp + size, size) == ring_code[from];
    for (u32 i = 0; i < params; i++) {
        ok = ok && word_at(sp + (2 + i) * size, size) == word_at(RUN_STACK - 0x40 + i * size, size);
    }
    ok = ok && word_at(sp + (2 + params) * size, size) == ((RUN_STACK - 0x40) & (size == 4 ? ~0u : 0xffffu));
    return ok && word_at(sp + (3 + params) * size, size) == ring_data[from];
}

static void one_call(u32 gate, u32 t, u32 cpl, u32 rpl, u32 params, int call)
{
    u32 error, to, want, ok;

    set_gdt(TARGET, seg_desc((u32)target, 0xfff, t, 4));
    set_gdt(GATE, gate_desc(TARGET | 3, gate & 8 ? 0 : 0xabcd0000, gate, params));
    far_ptr.off = 0x12345678;
    far_ptr.sel = (u16)(GATE | rpl);
    want = want_gate(gate, t, cpl, call, &error, &to);
    begin(cpl);
    start.ebx = (u32)&far_ptr;
    start.esp = RUN_STACK - 0x40;
    for (u32 i = 0; i < 32; i++) {
        ((u16 *)(RUN_STACK - 0x40))[i] = (u16)(0x1000 + 0x111 * i);
    }
    go(call ? call_gate : jump_gate);
    if (want == 0x81) {
        ok = out.vector == 0x81 && out.cs == (TARGET | to) && out.eip == 3;
        ok = ok && (call ? frame_good(cpl, to, gate & 8 ? 4 : 2, params) : final_esp() == RUN_STACK - 0x40);
        ok = ok && access_byte(TARGET) == (t | 1);
    } else {
        ok = out.vector == want && out.error == error && out.cs == ring_code[cpl] && out.eip == start.eip;
        ok = ok && access_byte(TARGET) == t;
    }
    counts[want == 0x81 ? to < cpl ? 1 : 0 : want == 13 ? 2 : 3]++;
    if (!ok) {
        complain(call ? "call" : "jmp", gate, t, want);
    }
}

static void show_counts(const char *what, const char *const *names)
{
    put(what);
    for (u32 i = 0; i < 4; i++) {
        put(" ");
        put(names[i]);
        put_long(" ", counts[i]);
        counts[i] = 0;
    }
    put_long(" wrong ", bad);
    put("\n");
    bad = 0;
}

static void call_gates(void)
{
    static const char *const names[4] = { "same", "inner", "#gp", "#np" };

    for (u32 gate = 0x04; gate < 0x100; gate += 8) {
        if (gate & 0x10) {
            continue;
        }
        for (u32 i = 0; i < sizeof(targets); i++) {
            for (u32 cpl = 0; cpl < 4; cpl++) {
                for (u32 rpl = 0; rpl < 4; rpl++) {
                    one_call(gate, targets[i], cpl, rpl, (i * 7 + cpl) & 15, 1);
                    one_call(gate, targets[i], cpl, rpl, 3, 0);
                }
            }
        }
    }
    one_call(0xec, 0x9a, 3, 3, 31, 1);
    one_call(0xe4, 0x9a, 3, 3, 31, 1);
    one_call(0xec, 0xba, 2, 0, 0, 1);
    show_counts("call gates:", names);
    set_gdt(GATE, gate_desc(3, 0, 0xec, 0));            /* a null code segment */
    begin(3);
    start.ebx = (u32)&far_ptr;
    far_ptr.sel = GATE;
    go(call_gate);
    show_line("null");
    set_gdt(GATE, gate_desc(0x1000, 0, 0xec, 0));       /* one outside the table */
    begin(3);
    start.ebx = (u32)&far_ptr;
    go(jump_gate);
    show_line("far");
    set_gdt(GATE, gate_desc(TARGET, 0x1000, 0xec, 0));  /* an offset behind the limit */
    set_gdt(TARGET, seg_desc((u32)target, 0xfff, 0x9a, 4));
    begin(3);
    start.ebx = (u32)&far_ptr;
    go(call_gate);
    show("limit");
    put_long(" accessed ", access_byte(TARGET));
    put("\n");
}

/* ---- interrupt and trap gates ---- */

static u32 want_int(u32 gate, u32 t, u32 cpl, int soft, u32 vector, u32 *error, u32 *to)
{
    u32 ext = !soft, kind = gate & 0x17;

    *to = cpl;
    *error = vector * 8 + 2 + ext;
    if ((kind & 6) != 6 || (kind & 0x10) || (soft && dpl_of(gate) < cpl)) {
        return 13;
    }
    if (!(gate & 0x80)) {
        return 11;
    }
    *error = TARGET + ext;
    if ((t & 0x18) != 0x18 || dpl_of(t) > cpl) {
        return 13;
    }
    *to = t & 4 ? cpl : dpl_of(t);
    return t & 0x80 ? 0x81 : 11;
}

static int int_frame_good(u32 from, u32 to, u32 size, u32 ip, u32 flags)
{
    u32 sp = final_esp(), mask = size == 4 ? ~0u : 0xffffu;
    u32 ok = word_at(sp, size) == (ip & mask) && word_at(sp + size, size) == ring_code[from];

    ok = ok && word_at(sp + 2 * size, size) == (flags & mask);
    if (to == from) {
        return ok && sp == RUN_STACK - 3 * size;
    }
    ok = ok && word_at(sp + 3 * size, size) == (RUN_STACK & mask);
    return ok && sp == STACK(to) - 5 * size && word_at(sp + 4 * size, size) == ring_data[from];
}

static void one_int(u32 gate, u32 t, u32 cpl, int soft)
{
    const u8 *code = soft ? int_60 : undefined;
    u32 vector = soft ? 0x60 : 6, flags = 0x446c6;      /* AC stays, NT and IF go */
    u32 error, to, want, ok;

    set_gdt(TARGET, seg_desc((u32)target, 0xfff, t, 4));
    set_idt(vector, gate_desc(TARGET | 2, gate & 8 ? 0 : 0xabcd0000, gate, 0));
    want = want_int(gate, t, cpl, soft, vector, &error, &to);
    begin(cpl);
    start.eflags = flags;
    go(code);
    if (want == 0x81) {
        u32 left = flags & ~0x4000u & ~(gate & 1 ? 0 : 0x200u);
        ok = out.vector == 0x81 && out.cs == (TARGET | to) && out.eip == 3 && out.eflags == left;
        ok = ok && int_frame_good(cpl, to, gate & 8 ? 4 : 2, (u32)code + (soft ? 2 : 0),
                                  flags | (soft ? 0 : 0x10000));
        ok = ok && access_byte(TARGET) == (t | 1);
    } else {
        ok = out.vector == want && out.error == error && out.cs == ring_code[cpl] && out.eip == start.eip;
        ok = ok && access_byte(TARGET) == t && out.eflags == (flags | 0x10000);
    }
    counts[want == 0x81 ? to < cpl ? 1 : 0 : want == 13 ? 2 : 3]++;
    if (!ok) {
        complain(soft ? "int" : "ud2", gate, t, want);
    }
}

static void int_gates(int soft)
{
    static const char *const names[4] = { "same", "inner", "#gp", "#np" };

    for (u32 gate = 0; gate < 0x100; gate++) {
        u32 type = gate & 0x1f;
        if (type == 5) {
            continue;   /* a task gate */
        }
        for (u32 i = 0; i < ((type & 0x16) == 6 ? sizeof(targets) : 1); i++) {
            for (u32 cpl = 0; cpl < 4; cpl++) {
                if (soft || (gate & 0x90) == 0x80 || type < 8) {
                    one_int(gate, targets[i], cpl, soft);
                }
            }
        }
    }
    show_counts(soft ? "int n:" : "#ud:", names);
    default_gate(6);
}

/* ---- what can be wrong with the stack of ring 1 ---- */

static void bad_stack_one(const char *name)
{
    set_idt(0x60, gate_desc(CODE1 | 1, (u32)target, 0xee, 0));
    set_idt(6, gate_desc(CODE1 | 1, (u32)target, 0x8f, 0));
    set_idt(1, gate_desc(CODE1 | 1, (u32)target, 0x8f, 0));
    set_idt(4, gate_desc(CODE1 | 1, (u32)target, 0xef, 0));
    set_gdt(GATE, gate_desc(CODE1 | 1, (u32)target, 0xec, 4));
    far_ptr.sel = GATE;
    put(name);
    begin(3);
    start.ebx = (u32)&far_ptr;
    go(call_gate);
    show(": call");
    begin(3);
    go(int_60);
    show(" int");
    begin(3);
    go(into);
    show(" into");
    begin(3);
    go(undefined);
    show(" ud2");
    begin(2);
    go(icebp);
    show_line(" int1");
    default_gate(6);
    default_gate(1);
    default_gate(4);
}

static void new_tss(u32 limit, u32 type)
{
    set_gdt(TSS0, seg_desc((u32)tss, limit, type, 0));
    __asm__ volatile("ltr %w0" : : "r"(TSS0));
}

static void bad_stacks(void)
{
    static const struct {
        const char *name;
        u32 ss, type, limit, flags;
    } list[] = {
        { "good", STACKSEL | 1, 0xb3, 0xfffff, 12 },
        { "null", 0, 0xb3, 0xfffff, 12 },
        { "null, rpl 1", 1, 0xb3, 0xfffff, 12 },
        { "rpl 0", STACKSEL, 0xb3, 0xfffff, 12 },
        { "rpl 3", STACKSEL | 3, 0xb3, 0xfffff, 12 },
        { "dpl 0", STACKSEL | 1, 0x93, 0xfffff, 12 },
        { "dpl 3", STACKSEL | 1, 0xf3, 0xfffff, 12 },
        { "read-only", STACKSEL | 1, 0xb1, 0xfffff, 12 },
        { "code", STACKSEL | 1, 0xbb, 0xfffff, 12 },
        { "system", STACKSEL | 1, 0xa2, 0xfffff, 12 },
        { "not present", STACKSEL | 1, 0x33, 0xfffff, 12 },
        { "not present and dpl 3", STACKSEL | 1, 0x73, 0xfffff, 12 },
        { "outside the table", 0x201, 0xb3, 0xfffff, 12 },
        { "in no ldt", 5, 0xb3, 0xfffff, 12 },
        { "no room", STACKSEL | 1, 0xb3, 0x71fff, 4 },
        { "room for all but one byte", STACKSEL | 1, 0xb3, STACK(1) - 2, 4 },
        { "just room", STACKSEL | 1, 0xb3, STACK(1) - 1, 4 },
        { "expand-down, below", STACKSEL | 1, 0xb7, STACK(1) - 1, 4 },
        { "expand-down, little room", STACKSEL | 1, 0xb7, STACK(1) - 13, 4 },
        { "expand-down, room", STACKSEL | 1, 0xb7, STACK(1) - 0x101, 4 },
        { "16-bit", STACKSEL | 1, 0xb2, 0xfffff, 8 },
    };

    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        tss[4] = list[i].ss;
        set_gdt(STACKSEL, seg_desc(list[i].flags == 8 ? STACK(1) & ~0xffffu : 0, list[i].limit, list[i].type,
                                   list[i].flags));
        if (i == sizeof(list) / sizeof(list[0]) - 1) {
            tss[3] = STACK(1) | 0xabc00000;
        }
        bad_stack_one(list[i].name);
        put_long("  accessed ", access_byte(STACKSEL));
        put_long(" esp ", final_esp());
        put_long(" ss ", ring_ss);
        put("\n");
        tss[3] = STACK(1);
    }
    tss[4] = ring_data[1];
    new_tss(0x10, 0x89);
    bad_stack_one("tss limit 10");
    new_tss(0x11, 0x89);
    bad_stack_one("tss limit 11");
    new_tss(0x67, 0x89);
}

/* A 16-bit TSS: SP0 SS0 SP1 SS1 in words; 32-bit gates use it all the same. */
static void small_tss(void)
{
    static u32 saved[8];
    u16 *t = (u16 *)tss;

    for (u32 i = 0; i < 8; i++) {
        saved[i] = tss[i];
    }
    set_gdt(STACKSEL, seg_desc(STACK(1) & ~0xffffu, 0xffff, 0xb2, 4));
    t[1] = STACK(0) & 0xffff;
    t[2] = STACKSEL + 8;
    set_gdt(STACKSEL + 8, seg_desc(STACK(0) & ~0xffffu, 0xffff, 0x92, 0));
    t[3] = STACK(1) & 0xffff;
    t[4] = STACKSEL | 1;
    new_tss(0x2b, 0x81);
    begin(3);
    start.eax = 0;
    go(target);
    put_long("16-bit tss: ss ", ring_ss);
    put_long(" esp ", out_esp);
    put("\n");
    set_idt(0x60, gate_desc(CODE1 | 1, (u32)target, 0xee, 0));
    for (u32 limit = 8; limit < 10; limit++) {
        new_tss(limit, 0x81);
        begin(3);
        go(int_60);
        put_long("  limit ", limit);
        put_long(" vector ", *(u32 *)((STACK(0) & ~0xffffu) + out_esp + 48));
        put_long(" error ", *(u32 *)((STACK(0) & ~0xffffu) + out_esp + 52));
        put_long(" cs ", *(u32 *)((STACK(0) & ~0xffffu) + out_esp + 60) & 0xffff);
        put("\n");
    }
    for (u32 i = 0; i < 8; i++) {
        tss[i] = saved[i];
    }
    new_tss(0x67, 0x89);
}

/* Vectors behind the limit of the IDT: the error code names the gate. */
static void idt_limit(void)
{
    struct table t = { 0x60 * 8 + 6, (u32)idt };

    set_idt(0x81, 0);
    __asm__ volatile("lidt %0" : : "m"(t));
    begin(3);
    go(int_60);
    show_line("idt limit");
    begin(0);
    go(target);
    show_line("idt limit, ring 0");
    t.limit = 0x7ff;
    __asm__ volatile("lidt %0" : : "m"(t));
    begin(0);
    go(target);
    show_line("empty gate");
    default_gate(0x81);
}

__attribute__((used)) void test_main(void)
{
    ring_setup();
    call_gates();
    int_gates(1);
    int_gates(0);
    bad_stacks();
    small_tss();
    idt_limit();
}
