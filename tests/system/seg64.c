/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seg64.c - segments, far transfers, gates, IST and IRET in IA-32e mode, from and to 64-bit, 32-bit and 16-bit code.
 * The matrices are compared with the manuals' rules written down here.
 * (SDM vol. 3, 3.4.4, 5.8.3.1, 6.14, 7.7; vol. 2, CALL, JMP, RET, IRET; APM vol. 2, 4.5 to 4.8, 8.9.)
 */
/* with: ring64.S */
/* cpu: max,la57=off */
#define SYS_MAIN
#include "ring64.h"

CODE(target, "nop");
CODE(call_far, "lcall *(%rbx)");
CODE(jump_far, "ljmp *(%rbx)");
CODE(int_60, "int $0x60");
CODE(undefined, "ud2");
CODE(iret64, "iretq");
CODE(iret32, "iretl");
CODE(iret16, "iretw");
CODE(ret64, "lretq");
CODE(ret32, "lretl");
CODE32(c_call, "lcall *(%ebx)");
CODE32(c_jump, "ljmp *(%ebx)");
CODE32(c_int, "int $0x60");
CODE32(c_target, "nop");
CODE32(c_iret, "iretl");
CODE(load_ds, "mov %eax, %ds");
CODE(load_ss, "mov %eax, %ss");
CODE(load_fs, "mov %eax, %fs");
CODE32(c_load_ds, "mov %eax, %ds");
CODE32(c_load_ss, "mov %eax, %ss");
CODE(lar, ".byte 0x48, 0x0f, 2, 0xf0, 0x48, 0x0f, 3, 0xf8; setz %cl; verr %ax; setz %dl; verw %ax; setz %bl");

enum { GATE = SCRATCH, TARGET = SCRATCH + 16, LDTSEL = SCRATCH + 32, TEMP = SCRATCH + 48 };

static struct far {
    u32 off;
    u16 sel;
} __attribute__((packed)) far_ptr;

static u32 counts[4], bad;

static u32 dpl_of(u32 t) { return t >> 5 & 3; }
static int is_code(u32 t) { return (t & 0x18) == 0x18; }

/* True for the first exceptions: more lines may be printed. */
static int complain(const char *what, u64 a, u64 b, u64 want)
{
    if (bad++ < 20) {
        put(what);
        put_long(" ", a);
        put_long(" ", b);
        put_long(" want ", want);
        put_word(" sel ", far_ptr.sel);
        put_long(" from ", start.cs);
        put_long(" rsp ", out.rsp);
        show_line("");
    }
    return bad <= 20;
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

/* 0: 64-bit ring 0, 1: 64-bit ring 3, 2 to 5: compatibility mode, rings 0 to 3 */
static u32 begin_kind(u32 kind)
{
    if (kind < 2) {
        begin(kind ? 3 : 0);
        return kind ? 3 : 0;
    }
    begin_compat(kind - 2);
    return kind - 2;
}

/* ---- far JMP and CALL to code segments; system descriptors that lead nowhere ---- */

static void far_matrix(void)
{
    static const char *const names[4] = { "64-bit", "compat", "#gp", "#np" };

    for (u32 kind = 0; kind < 6; kind++) {
        for (u32 t = 0; t < 0x100; t += (t & 0x1f) == 0x0b ? 2 : 1) {     /* all but call gates */
            for (u32 flags = 2; flags < 8; flags += 2) {      /* L, D, both */
                u32 cpl, rpl, want, ok;
                if ((!is_code(t) && flags != 4) || (t & 1)) {
                    continue;
                }
                for (rpl = 0; rpl < 4; rpl++) {
                    int call = (t ^ rpl) & 1;
                    set_gdt(TARGET, seg_desc(0, 0xfffff, t, flags | 8));
                    cpl = begin_kind(kind);
                    start.rbx = (u64)&far_ptr;
                    far_ptr.sel = (u16)(TARGET | rpl);
                    far_ptr.off = (u32)(u64)(flags & 2 ? target : c_target);
                    want = !is_code(t) || (flags & 6) == 6 ||
                           (t & 4 ? dpl_of(t) > cpl : rpl > cpl || dpl_of(t) != cpl) ? 13 : t & 0x80 ? 0x81 : 11;
                    go(kind < 2 ? call ? call_far : jump_far : call ? c_call : c_jump);
                    ok = out.vector == want;
                    if (want == 0x81) {
                        ok = ok && out.cs == (TARGET | cpl) && out.rip == (u64)far_ptr.off + 3 &&
                             out.rsp == RUN_STACK - (call ? 8 : 0) && access_byte(TARGET) == (t | 1);
                    } else {
                        ok = ok && out.error == TARGET && out.rip == start.rip && out.rsp == RUN_STACK &&
                             access_byte(TARGET) == t;
                    }
                    counts[want == 0x81 ? !(flags & 2) : want == 13 ? 2 : 3]++;
                    if (!ok) {
                        complain(call ? "call" : "jmp", t, flags, want);
                    }
                }
            }
        }
    }
    show_counts("far:", names);
    for (u32 type = 0x80; type < 0x90; type++) {    /* system types: only call gates lead somewhere */
        set_gdt(GATE, gate_desc(CODE0, (u64)target, type | 0x60, 0));
        set_gdt(GATE + 8, 0);
        begin(3);
        start.rbx = (u64)&far_ptr;
        far_ptr.sel = GATE | 3;
        go(call_far);
        if (out.vector != 13 || out.error != GATE) {
            put_long("type ", type);
            show_line("");
        }
    }
}

/* ---- call gates ---- */

static const struct {
    u8 type, flags;
} codes[] = { { 0x9a, 10 }, { 0xba, 10 }, { 0xfa, 10 }, { 0x9e, 10 }, { 0xfe, 10 }, { 0x9a, 12 }, { 0xfa, 14 },
              { 0x9a, 8 }, { 0x1a, 10 }, { 0x92, 10 }, { 0x89, 0 }, { 0xda, 10 } };

static void one_gate(u32 kind, u32 gate, u32 k, u32 rpl, int call, u32 upper)
{
    u32 t = codes[k].type, cpl, want, error = GATE, to, ok;

    set_gdt(TARGET, seg_desc(0x12345, 0, t, codes[k].flags));
    set_gdt(TARGET + 8, 0);
    set_gdt(GATE, gate_desc(TARGET | 3, (u64)target, gate, 0));
    set_gdt(GATE + 8, (u64)upper << 32);
    far_ptr.off = 0x87654321;
    far_ptr.sel = (u16)(GATE | rpl);
    cpl = begin_kind(kind);
    start.rbx = (u64)&far_ptr;
    to = t & 4 ? cpl : dpl_of(t);
    if (dpl_of(gate) < cpl || dpl_of(gate) < rpl) {
        want = 13;
    } else if (!(gate & 0x80)) {
        want = 11;
    } else if (upper & 0x1f00) {
        want = 13;
    } else {
        error = TARGET;
        want = !is_code(t) || dpl_of(t) > cpl || (codes[k].flags & 6) != 2 ||
               (!call && !(t & 4) && dpl_of(t) != cpl) ? 13 : t & 0x80 ? 0x81 : 11;
    }
    go(kind < 2 ? call ? call_far : jump_far : call ? c_call : c_jump);
    ok = out.vector == want;
    if (want == 0x81) {
        u64 *sp = (u64 *)out.rsp;
        ok = ok && out.cs == (TARGET | to) && out.rip == (u64)target + 3 && access_byte(TARGET) == (t | 1);
        if (!call) {
            ok = ok && out.rsp == RUN_STACK;
        } else {
            ok = ok && sp[0] == start.rip + 2 && sp[1] == start.cs;
            ok = ok && (to < cpl ? out.rsp == STACK(to) - 32 && sp[2] == RUN_STACK && sp[3] == start.ss && out.ss == to
                                 : out.rsp == RUN_STACK - 16 && out.ss == start.ss);
        }
    } else {
        ok = ok && out.error == error && out.rip == start.rip && out.rsp == RUN_STACK;
    }
    counts[want == 0x81 ? call && to < cpl : want == 13 ? 2 : 3]++;
    if (!ok) {
        complain(call ? "call" : "jmp", gate, t | codes[k].flags << 8, want);
    }
}

static void call_gates(void)
{
    static const char *const names[4] = { "same", "inner", "#gp", "#np" };

    for (u32 kind = 0; kind < 6; kind++) {
        for (u32 k = 0; k < sizeof(codes) / sizeof(codes[0]); k++) {
            for (u32 rpl = 0; rpl < 4; rpl++) {
                for (u32 gate = 0x0c; gate < 0x100; gate += 0x20) {
                    one_gate(kind, gate, k, rpl, 1, 0);
                    one_gate(kind, gate, k, rpl, 0, 0xffffe0ff);
                }
            }
        }
        one_gate(kind, 0xec, 0, 0, 1, 0x100);
        one_gate(kind, 0xec, 0, 0, 1, 0x1000);
    }
    show_counts("call gates:", names);
    set_gdt(TARGET, seg_desc(0, 0xfffff, 0x9a, 10));
    set_gdt(GATE, gate_desc(TARGET, 0, 0xec, 0));
    set_gdt(GATE + 8, 0x8000);
    begin(3);
    start.rbx = (u64)&far_ptr;
    far_ptr.sel = GATE;
    go(call_far);
    show_line("offset not canonical");
    set_gdt(GATE, gate_desc(0, 0, 0xec, 0));
    begin(3);
    start.rbx = (u64)&far_ptr;
    go(call_far);
    show_line("null");
    set_gdt(0x1f8, gate_desc(TARGET, 0, 0xec, 0));  /* the second half is outside the table */
    far_ptr.sel = 0x1f8;
    begin(3);
    start.rbx = (u64)&far_ptr;
    go(call_far);
    show_line("half a gate");
    set_gdt(GATE, gate_desc(TARGET, (u64)target, 0xec, 0));
    set_gdt(GATE + 8, 0);
    far_ptr.sel = GATE;
    set_tss64(4, 0x0000800000000010ul);
    set_idt(12, CODE0, (u64)ring_stubs + 16 * 12, 0x8e, 1);
    set_idt(10, CODE0, (u64)ring_stubs + 16 * 10, 0x8e, 1);
    begin(3);
    start.rbx = (u64)&far_ptr;
    go(call_far);
    show("rsp0 not canonical");
    put_long(" rsp ", out_rsp);
    put("\n");
    set_tss64(4, STACK(0));
    default_gate(10);
    default_gate(12);
}

/* ---- interrupts ---- */

static void one_int(u32 kind, u32 gate, u32 k, int soft, u32 ist)
{
    u32 t = codes[k].type, cpl, want, vector = soft ? 0x60 : 6, ext = !soft, error = vector * 8 + 2 + ext, to, ok;
    u64 flags = 0x44646, rsp;

    set_gdt(TARGET, seg_desc(0x12345, 0, t, codes[k].flags));
    set_idt(vector, TARGET | 1, (u64)target, gate, ist);
    cpl = begin_kind(kind);
    start.rsp = RUN_STACK - 5;
    start.rflags = flags;
    to = t & 4 ? cpl : dpl_of(t);
    if ((gate & 0x1e) != 0x0e || (soft && dpl_of(gate) < cpl)) {
        want = 13;
    } else if (!(gate & 0x80)) {
        want = 11;
    } else {
        error = TARGET + ext;
        want = !is_code(t) || dpl_of(t) > cpl || (codes[k].flags & 6) != 2 ? 13 : t & 0x80 ? 0x81 : 11;
    }
    go(soft ? kind < 2 ? int_60 : c_int : undefined);
    ok = out.vector == want;
    rsp = (ist & 7 ? STACK(2 + (ist & 7)) : to < cpl ? STACK(to) : (RUN_STACK - 5) & ~15ul) - 40;
    if (want == 0x81) {
        u64 *sp = (u64 *)out.rsp;
        ok = ok && out.cs == (TARGET | to) && out.rip == (u64)target + 3 && out.rsp == rsp;
        ok = ok && out.rflags == (flags & ~0x4000ul & ~(gate & 1 ? 0ul : 0x200ul));
        ok = ok && sp[0] == start.rip + (soft ? 2 : 0) && sp[1] == start.cs && sp[3] == RUN_STACK - 5;
        ok = ok && sp[2] == (flags | (soft ? 0 : 0x10000)) && sp[4] == start.ss;
        ok = ok && out.ss == (to < cpl ? to : start.ss) && access_byte(TARGET) == (t | 1);
    } else {
        ok = ok && out.error == error && out.rip == start.rip && out.rflags == (flags | 0x10000) &&
             access_byte(TARGET) == t;
    }
    counts[want == 0x81 ? to < cpl : want == 13 ? 2 : 3]++;
    if (!ok && complain(soft ? "int" : "ud2", gate, t | codes[k].flags << 8, want)) {
        put_long("  flags ", out.rflags);
        put_long(" rsp ", rsp);
        put("\n");
    }
}

static void interrupts(void)
{
    static const char *const names[4] = { "same", "inner", "#gp", "#np" };

    for (u32 kind = 0; kind < 6; kind++) {
        for (u32 gate = 0; gate < 0x100; gate++) {
            for (u32 k = 0; k < ((gate & 0x1e) == 0x0e ? sizeof(codes) / sizeof(codes[0]) : 1); k++) {
                one_int(kind, gate, k, 1, (k + gate) & 7);
                if ((gate & 0x80) || k == 0) {
                    one_int(kind, gate, k, 0, 0xf8 | (k & 1 ? 0 : gate & 7));
                }
            }
        }
    }
    default_gate(6);
    show_counts("interrupts:", names);
    set_idt(0x60, CODE0, 0x0000800000000000ul, 0xee, 0);
    begin(3);
    go(int_60);
    show_line("handler not canonical");
    set_idt(0x60, CODE0, (u64)target, 0xee, 3);
    set_tss64(0x1c + 8 * 3, 0xffff7ffffffffff0ul);
    begin(0);
    go(int_60);
    show_line("ist not canonical");
    set_tss64(0x1c + 8 * 3, 0xffff800000000010ul);      /* canonical, the frame is not */
    begin(0);
    go(int_60);
    show_line("ist frame not canonical");
    set_tss64(0x1c + 8 * 3, STACK(5));
    load_tss(0x3a);
    begin(0);
    go(int_60);
    show_line("ist behind the limit");
    load_tss(0x3b);
    begin(0);
    go(int_60);
    show_line("ist before the limit");
    load_tss(0x67);
}

/* ---- IRET and RET ---- */

struct ret {
    const u8 *code;
    u32 size, iret, kind;
};
static const struct ret rets[] = {
    { iret64, 8, 1, 0 }, { iret32, 4, 1, 0 }, { iret16, 2, 1, 0 }, { ret64, 8, 0, 0 }, { ret32, 4, 0, 0 },
    { c_iret, 4, 1, 2 },
};
#define OLD_STACK (RUN_STACK - 0x100)
#define NEW_STACK 0x7e000ul

static void make_frame(const struct ret *r, u64 ip, u64 cs, u64 ss)
{
    u64 v[5] = { ip, cs, 2, NEW_STACK, ss };
    u8 *at = (u8 *)OLD_STACK;

    for (u32 i = 0; i < 5; i++) {
        for (u32 b = 0; b < r->size && !(i == 2 && !r->iret); b++) {
            *at++ = (u8)(v[i] >> 8 * b);
        }
    }
}

static void one_ret(const struct ret *r, u32 t, u32 flags, u32 rpl, u32 ss_type, u32 ss)
{
    u32 want = 0x81, error = TARGET, full, ok;
    u64 rsp, base = r->size == 2 ? ((flags & 2 ? (u64)target : (u64)c_target) & ~0xfffful) : 0;
    u64 ip = (flags & 2 ? (u64)target : (u64)c_target);

    if (r->size == 2) {
        if (flags & 2) {
            return;             /* no base there */
        }
        ip -= base;
    }
    set_gdt(TARGET, seg_desc((u32)base, 0xfffff, t, flags | 8));
    set_gdt(TEMP, seg_desc(0, 0xfffff, ss_type, 12));
    make_frame(r, ip, TARGET | rpl, ss);
    begin_kind(r->kind);
    start.rsp = OLD_STACK;
    full = rpl > 0 || (r->iret && r->kind < 2);
    if (!is_code(t) || (t & 4 ? dpl_of(t) > rpl : dpl_of(t) != rpl) || (flags & 6) == 6) {
        want = 13;
    } else if (!(t & 0x80)) {
        want = 11;
    } else if (full) {
        error = ss & ~3u;
        if (!error) {
            want = (flags & 2) && rpl < 3 && (ss & 3) == rpl ? 0x81 : 13;
        } else if ((ss & 3) != rpl || (ss_type & 0x1a) != 0x12 || dpl_of(ss_type) != rpl) {
            want = 13;
        } else if (!(ss_type & 0x80)) {
            want = 12;
        }
    }
    go(r->code);
    ok = out.vector == want;
    if (want == 0x81) {
        rsp = full ? NEW_STACK & (r->size == 2 ? 0xffff : ~0ul) : OLD_STACK + r->size * (r->iret ? 3 : 2);
        ok = ok && out.cs == (TARGET | rpl) && out.rip == ip + 3 && out.rsp == rsp;
        ok = ok && (!full || out.ss == ss);
    } else {
        ok = ok && out.error == error && out.rip == start.rip && out.rsp == OLD_STACK;
    }
    counts[want == 0x81 ? !(flags & 2) : want == 13 ? 2 : 3]++;
    if (!ok && complain(r->iret ? "iret" : "ret", r->size, t | flags << 8, want)) {
        put_long("  rpl ", rpl);
        put_long(" ss ", ss);
        put_long(" type ", ss_type);
        put_long(" size ", r->size);
        put("\n");
    }
}

static void returns(void)
{
    static const char *const names[4] = { "64-bit", "compat", "#gp", "#np #ss" };
    static const u8 types[] = { 0x9a, 0xba, 0xda, 0xfa, 0x9e, 0xfe, 0x1a, 0x7a, 0xf2, 0x8c };
    static const u8 stacks[] = { 0x92, 0xb2, 0xd2, 0xf2, 0xf0, 0xfa, 0x72, 0x12, 0xe2 };

    for (u32 k = 0; k < sizeof(rets) / sizeof(rets[0]); k++) {
        for (u32 rpl = 0; rpl < 4; rpl++) {
            for (u32 flags = 2; flags < 8; flags += 2) {
                for (u32 i = 0; i < sizeof(types); i++) {
                    one_ret(&rets[k], types[i], flags, rpl, 0x92 | rpl << 5, TEMP | rpl);
                }
                for (u32 i = 0; i < sizeof(stacks); i++) {
                    one_ret(&rets[k], 0x9e, flags, rpl, stacks[i], TEMP | rpl);
                    one_ret(&rets[k], 0x9e, flags, rpl, stacks[i], TEMP | ((rpl + i) & 3));
                }
                one_ret(&rets[k], 0x9e, flags, rpl, 0x92, 0);
                one_ret(&rets[k], 0x9e, flags, rpl, 0x92, rpl);
                one_ret(&rets[k], 0x9e, flags, rpl, 0x92, rpl ^ 1);
            }
        }
    }
    show_counts("returns:", names);
    for (u32 k = 0; k < 5; k += 3) {
        make_frame(&rets[k], 0x0000800000000000ul, CODE3 | 3, DATA3 | 3);
        begin(0);
        start.rsp = OLD_STACK;
        go(rets[k].code);
        show_line("rip not canonical");
    }
    make_frame(&rets[0], (u64)target, CODE3 | 3, DATA3 | 3);
    *(u64 *)(OLD_STACK + 24) = 0x0000900000000000ul;
    begin(0);
    start.rsp = OLD_STACK;
    go(iret64);
    show("rsp not canonical");
    put_long(" rsp ", out.rsp);
    put("\n");
    make_frame(&rets[0], (u64)target, CODE0, DATA0);
    begin(0);
    start.rsp = OLD_STACK;
    start.rflags = 0x4002;
    go(iret64);
    show_line("iret with nt");
    *(u64 *)(OLD_STACK + 16) = 0x24002 | 0x3000 | 0x180000;
    begin(0);
    start.rsp = OLD_STACK;
    go(iret64);
    show("flags");
    put_long(" ", out.rflags);
    put("\n");
}

/* What a return to ring 3 does to the data segments, and that the bases stay. */
CODE(read_bases, "mov %gs:8, %rsi; mov %fs:8, %rdi");

static void bases(void)
{
    static const u16 sels[] = { DATA0, 0, 3, DATA3, COMPAT0, CODE3 };
    static u64 marks[2] = { 0, 0x1122334455667788ul };

    for (u32 i = 0; i < sizeof(sels) / 2; i++) {
        begin(3);
        start.gs = start.fs = start.ds = start.es = sels[i];
        start.fs_base = start.gs_base = (u64)marks;
        go(read_bases);
        put_long("selectors ", sels[i]);
        show("");
        put_word(" ds ", out.ds);
        put_word(" es ", out.es);
        put_word(" fs ", out.fs);
        put_word(" gs ", out.gs);
        put(out.rsi == marks[1] && out.rdi == marks[1] ? " bases kept" : " bases lost");
        put(rdmsr(0xc0000100) == (u64)marks && rdmsr(0xc0000101) == (u64)marks ? ", kept\n" : ", lost\n");
    }
    for (u32 i = 0; i < 2; i++) {       /* 32 bits of base from a descriptor, and from MOV with a null selector */
        set_gdt(TEMP, seg_desc(0x89abcdef, 0xfffff, 0xf3, 12));
        begin(0);
        start.rax = i ? 0 : TEMP;
        start.fs_base = 0x1234567812345678ul & 0x7fffffffffff;
        go(load_fs);
        put_long("fs base ", rdmsr(0xc0000100));
        put("\n");
    }
}

/* ---- loads of segment registers ---- */

static void loads(void)
{
    static const u16 sels[] = { 0, 1, 2, 3, DATA0, DATA3, DATA3 | 3, CODE0, CODE3 | 3, TSS0, TSS0 + 8, 0x1fc, 0x208 };

    for (u32 kind = 0; kind < 6; kind++) {
        put_long("kind ", kind);
        for (u32 i = 0; i < sizeof(sels) / 2; i++) {
            put_long(" ", sels[i]);
            begin_kind(kind);
            start.rax = sels[i];
            go(kind < 2 ? load_ds : c_load_ds);
            put_long(":", out.vector);
            put_long("(", out.error);
            begin_kind(kind);
            start.rax = sels[i];
            go(kind < 2 ? load_ss : c_load_ss);
            put_long("),", out.vector);
            put_long("(", out.error);
            put(")");
        }
        put("\n");
    }
    for (u32 type = 0x80; type < 0x90; type++) {
        set_gdt(TEMP, seg_desc(0x123456, 0x12345, type, 0));
        set_gdt(TEMP + 8, 0);
        begin(0);
        start.rax = TEMP;
        start.rsi = start.rdi = 0x5555555555555555ul;
        go(lar);
        put_long("lar ", type);
        put_long(" ", out.rsi & ~0xf0000ul);
        put_long(" ", out.rdi);
        put_long(" ", out.rcx & 1);
        put_long(out.rdx & 1 ? " r" : " -", out.rbx & 1);
        put("\n");
    }
}

/* ---- LLDT and LTR: 16 bytes ---- */

CODE(lldt_ax, "lldt %ax");
CODE(ltr_ax, "ltr %ax");
CODE(load_ldt_fs, "mov $0xf, %ecx; mov %ecx, %fs; mov %fs:0, %rdx");

static void system_loads(void)
{
    static u64 ldt[2];
    static const struct {
        const char *name;
        u64 upper;
        u32 type;
    } list[] = {
        { "good", 0, 0x82 }, { "high base", 0xffff8000, 0x82 }, { "base not canonical", 0x1000000, 0x82 },
        { "upper type", 0x20000000000, 0x82 }, { "upper type 1000", 0x100000000000, 0x82 },
        { "upper reserved", 0xffffe0ff00000000ul, 0x82 }, { "absent", 0, 0x02 }, { "16-bit tss", 0, 0x81 },
        { "tss", 0, 0x89 }, { "tss absent", 0, 0x09 }, { "tss busy", 0, 0x8b }, { "tss high base", 0xffff8000, 0x89 },
        { "tss base not canonical", 0x1000000, 0x89 }, { "tss upper type", 0x10000000000, 0x89 },
    };

    ldt[1] = seg_desc((u32)(u64)ldt, 15, 0xf2, 4);
    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        set_gdt(LDTSEL, seg_desc((u32)(u64)ldt, 15, list[i].type, 0));
        set_gdt(LDTSEL + 8, list[i].upper);
        begin(0);
        start.rax = LDTSEL;
        go(lldt_ax);
        put(list[i].name);
        show(": lldt");
        begin(0);
        start.rax = LDTSEL;
        go(ltr_ax);
        show(" ltr");
        put_long(" type ", access_byte(LDTSEL));
        put("\n");
        load_tss(0x67);
    }
    set_gdt(LDTSEL, seg_desc((u32)(u64)ldt, 15, 0x82, 0));
    set_gdt(LDTSEL + 8, 0);
    __asm__ volatile("lldt %w0" : : "r"(LDTSEL));
    begin(3);
    go(load_ldt_fs);
    show("through the ldt");
    put_long(" ", out.rdx == ldt[0]);
    put_long(" accessed ", ((u8 *)ldt)[13]);
    put("\n");
    set_gdt(0x1f8, seg_desc((u32)(u64)ldt, 15, 0x82, 0));
    begin(0);
    start.rax = 0x1f8;
    go(lldt_ax);
    show_line("half a descriptor");
}

__attribute__((used)) void test_main(void)
{
    ring_setup();
    far_matrix();
    call_gates();
    interrupts();
    returns();
    bases();
    loads();
    system_loads();
}
