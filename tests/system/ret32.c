/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ret32.c - far RET and IRET of both sizes from every ring to every ring: checks on CS and SS, what becomes of the data
 * segments, the stack pointer, EFLAGS; also the real-mode style far transfers of 16-bit protected code.  Compared with
 * the manuals' rules written down here (SDM vol. 3, 5.8.6; vol. 2, RET, IRET, POPF).
 */
/* with: ring32.S */
#define SYS_MAIN
#include "ring32.h"

CODE(target, "nop");
CODE(retf32, "lretl");
CODE(retf32_imm, "lretl $0x24");
CODE(retf16, "lretw");
CODE(retf16_imm, "lretw $0x24");
CODE(iret32, "iretl");
CODE(iret16, "iretw");

enum { CODESEL = SCRATCH, STACKSEL = SCRATCH + 8, SEGS = SCRATCH + 16 };

static u32 done[2], failed[3], bad;

static u32 dpl_of(u32 t) { return t >> 5 & 3; }

static u32 final_esp(void)
{
    return out.cs & 3 ? out.esp : out_esp + 68;
}

struct ret {
    const u8 *code;
    u32 size, imm;
    u32 iret;
};
static const struct ret rets[] = {
    { retf32, 4, 0, 0 }, { retf32_imm, 4, 0x24, 0 }, { retf16, 2, 0, 0 }, { retf16_imm, 2, 0x24, 0 },
    { iret32, 4, 0, 1 }, { iret16, 2, 0, 1 },
};

#define OLD_STACK (RUN_STACK - 0x40)
#define NEW_STACK 0x7e000u

static void make_frame(const struct ret *r, u32 cs, u32 ss)
{
    u32 v[5] = { 0, cs, 2, NEW_STACK, ss };
    u8 *at = (u8 *)OLD_STACK;

    for (u32 i = 0; i < 5; i++) {
        if (i == 2 && !r->iret) {
            at += r->imm;
            continue;
        }
        for (u32 b = 0; b < r->size; b++) {
            *at++ = (u8)(v[i] >> 8 * b);
        }
    }
}

static u32 want_ret(u32 t, u32 cs, u32 ss_type, u32 ss, u32 cpl, u32 *error)
{
    u32 rpl = cs & 3;

    *error = CODESEL;
    if ((t & 0x18) != 0x18 || rpl < cpl || (t & 4 ? dpl_of(t) > rpl : dpl_of(t) != rpl)) {
        return 13;
    }
    if (!(t & 0x80)) {
        return 11;
    }
    if (rpl == cpl) {
        return 0x81;
    }
    *error = ss & ~3u;
    if (ss < STACKSEL || ss > (STACKSEL | 3) || (ss & 3) != rpl || (ss_type & 0x1a) != 0x12 || dpl_of(ss_type) != rpl) {
        return 13;
    }
    return ss_type & 0x80 ? 0x81 : 12;
}

static void one(const struct ret *r, u32 t, u32 rpl, u32 ss_type, u32 ss, u32 cpl)
{
    u32 cs = CODESEL | rpl, error, want, ok, esp;

    set_gdt(CODESEL, seg_desc((u32)target, 0xfff, t, 4));
    set_gdt(STACKSEL, seg_desc(0, 0xfffff, ss_type, 12));
    make_frame(r, cs, ss);
    want = want_ret(t, cs, ss_type, ss, cpl, &error);
    begin(cpl);
    start.esp = OLD_STACK;
    start.eflags = 0x46;
    go(r->code);
    if (want == 0x81) {
        esp = rpl == cpl ? OLD_STACK + r->size * (r->iret ? 3 : 2) + r->imm
                         : (NEW_STACK & (r->size == 4 ? ~0u : 0xffffu)) + r->imm;
        ok = out.vector == 0x81 && out.cs == cs && out.eip == 3 && out.eflags == (r->iret ? 2 : 0x46);
        ok = ok && final_esp() == esp && access_byte(CODESEL) == (t | 1);
        ok = ok && (rpl == cpl || (out.ss == ss && access_byte(STACKSEL) == (ss_type | 1)));
        done[rpl != cpl]++;
    } else {
        ok = out.vector == want && out.error == error && out.cs == ring_code[cpl] && out.eip == start.eip;
        ok = ok && final_esp() == OLD_STACK && access_byte(CODESEL) == t && access_byte(STACKSEL) == ss_type;
        failed[want == 13 ? 0 : want == 11 ? 1 : 2]++;
    }
    if (!ok && bad++ < 20) {
        put_long("size ", r->size);
        put_long(" imm ", r->imm);
        put_long(" iret ", r->iret);
        put_long(" cpl ", cpl);
        put_long(" type ", t);
        put_long(" rpl ", rpl);
        put_long(" ss ", ss);
        put_long(" type ", ss_type);
        put_long(" want ", want);
        put_long(" esp ", final_esp());
        show_line("");
    }
}

static void matrix(void)
{
    static const u8 codes[] = { 0x9a, 0xba, 0xda, 0xfa, 0x9e, 0xbe, 0xde, 0xfe, 0x98, 0xfc, 0x1a, 0x7a, 0x7e, 0xf2,
                                0x8c };
    static const u8 stacks[] = { 0x92, 0xb2, 0xd2, 0xf2, 0xf0, 0xfa, 0x72, 0x32, 0xe2 };

    for (u32 k = 0; k < sizeof(rets) / sizeof(rets[0]); k++) {
        for (u32 cpl = 0; cpl < 4; cpl++) {
            for (u32 rpl = 0; rpl < 4; rpl++) {
                for (u32 i = 0; i < sizeof(codes); i++) {
                    one(&rets[k], codes[i], rpl, 0x92 | rpl << 5, STACKSEL | rpl, cpl);
                }
                for (u32 i = 0; i < sizeof(stacks); i++) {
                    one(&rets[k], 0x9a | rpl << 5, rpl, stacks[i], STACKSEL | rpl, cpl);
                    one(&rets[k], 0x9e, rpl, stacks[i], STACKSEL | ((rpl + i) & 3), cpl);
                }
                one(&rets[k], 0x9e, rpl, 0xf2, 0, cpl);
                one(&rets[k], 0x9e, rpl, 0xf2, rpl, cpl);
                one(&rets[k], 0x9e, rpl, 0xf2, 0x200 | rpl, cpl);
            }
        }
    }
    put_long("same ring ", done[0]);
    put_long(" outer ", done[1]);
    put_long(" #gp ", failed[0]);
    put_long(" #np ", failed[1]);
    put_long(" #ss ", failed[2]);
    put_long(" wrong ", bad);
    put("\n");
}

/* ---- the data segments on the way out ---- */

static void nulling(void)
{
    static const u8 types[] = { 0x92, 0xb2, 0xd2, 0xf2, 0x9a, 0xfa, 0x9e, 0xde, 0x90, 0xf0 };
    const struct ret *r = &rets[4];

    for (u32 i = 0; i < sizeof(types); i++) {
        set_gdt(SEGS + 8 * i, seg_desc(0, 0xfffff, types[i], 12));
    }
    set_gdt(CODESEL, seg_desc((u32)target, 0xfff, 0xfe, 4));
    for (u32 rpl = 1; rpl < 4; rpl++) {
        put_long("to ring ", rpl);
        set_gdt(CODESEL, seg_desc((u32)target, 0xfff, 0x9a | rpl << 5, 4));
        set_gdt(STACKSEL, seg_desc(0, 0xfffff, 0x92 | rpl << 5, 12));
        for (u32 i = 0; i < sizeof(types); i++) {
            u32 sel = SEGS + 8 * i;
            make_frame(r, CODESEL | rpl, STACKSEL | rpl);
            begin(0);
            start.esp = OLD_STACK;
            start.ds = start.es = start.fs = start.gs = sel;
            go(r->code);
            put_long(" ", types[i]);
            put(out.vector != 0x81 || out.es != out.ds || out.fs != out.ds || out.gs != out.ds ? ":?" :
                (out.ds & 0xffff) == sel ? ":kept" : (out.ds & 0xffff) == 0 ? ":null" : ":?");
        }
        put("\n");
    }
    /* Null selectors keep their RPL, in the same ring nothing is looked at. */
    for (u32 rpl = 0; rpl < 4; rpl += 3) {
        make_frame(r, ring_code[rpl], ring_data[rpl]);
        *(u32 *)OLD_STACK = (u32)target;
        begin(0);
        start.esp = OLD_STACK;
        start.ds = DATA0;
        start.es = 3;
        start.fs = 1;
        start.gs = DATA3;
        go(r->code);
        put_word("ds ", out.ds);
        put_word(" es ", out.es);
        put_word(" fs ", out.fs);
        put_word(" gs ", out.gs);
        put("\n");
    }
}

/* ---- limits of the stack and of the code ---- */

static void limits(void)
{
    for (u32 k = 0; k < sizeof(rets) / sizeof(rets[0]); k++) {
        const struct ret *r = &rets[k];
        for (u32 below = 0; below < 5 * r->size + r->imm + 2; below += 2) {
            set_gdt(CODESEL, seg_desc((u32)target, 0xfff, 0xfa, 4));
            set_gdt(STACKSEL, seg_desc(0, OLD_STACK + below - 1, 0x92, 4));
            make_frame(r, CODESEL | 3, DATA3 | 3);
            begin(0);
            start.esp = OLD_STACK;
            start.ss = STACKSEL;
            go(r->code);
            if (out.vector == 0x81 || below == 0) {
                put_long("stack of ", below);
                show_line("");
            } else if (out.vector != 12 || out.error != 0) {
                put_long("stack of ", below);
                show_line(" odd");
            }
        }
        set_gdt(CODESEL, seg_desc((u32)target, 0xfff, 0xfa, 4));
        make_frame(r, CODESEL | 3, DATA3 | 3);
        ((u16 *)OLD_STACK)[0] = 0x1000;
        begin(0);
        start.esp = OLD_STACK;
        go(r->code);
        show_line("behind the limit");
    }
}

/* A 16-bit stack outside: only SP is loaded. */
static void small_stack(void)
{
    for (u32 k = 0; k < sizeof(rets) / sizeof(rets[0]); k += 2) {
        set_gdt(CODESEL, seg_desc((u32)target, 0xfff, 0xfa, 4));
        set_gdt(STACKSEL, seg_desc(0x10000, 0xffff, 0xf2, 0));
        make_frame(&rets[k], CODESEL | 3, STACKSEL | 3);
        begin(0);
        start.esp = OLD_STACK;
        go(rets[k].code);
        put_long("16-bit stack: esp ", out.esp);
        put_word(" ss ", out.ss);
        show_line("");
    }
}

/* ---- EFLAGS ---- */

CODE(popf32, "popfl");
CODE(popf16, "popfw");
CODE(cli_sti, "sti; nop; cli");

static void flags(void)
{
    static const u32 images[] = { 0x003f7ed7 & ~0x20000u, 0x00000002, 0x001a0000, 0x00000200, 0x00003002 };

    for (u32 cpl = 0; cpl < 4; cpl += 3) {
        for (u32 iopl = 0; iopl < 4; iopl += 3) {
            put_long("cpl ", cpl);
            put_long(" iopl ", iopl);
            for (u32 i = 0; i < sizeof(images) / 4; i++) {
                for (u32 k = 4; k < 8; k++) {
                    const u8 *code = k < 6 ? rets[k].code : k == 6 ? popf32 : popf16;
                    if (k < 6) {
                        make_frame(&rets[k], ring_code[cpl], 0);
                        *(u16 *)(OLD_STACK + 2 * rets[k].size) = (u16)images[i];
                        if (k == 4) {
                            *(u32 *)(OLD_STACK + 8) = images[i];
                            *(u32 *)OLD_STACK = (u32)target;
                        } else {
                            set_gdt(CODESEL, seg_desc((u32)target, 0xfff, 0x9a | cpl << 5, 4));
                            *(u16 *)(OLD_STACK + 2) = (u16)(CODESEL | cpl);
                        }
                    } else {
                        *(u32 *)OLD_STACK = images[i];
                    }
                    begin(cpl);
                    start.esp = OLD_STACK;
                    start.eflags = iopl << 12 | (i & 1 ? 0x240a02 : 2);
                    go(code);
                    put_long(i + k == 4 ? " " : ",", out.eflags);
                    put(out.vector == 0x81 ? "" : "!");
                }
            }
            put("\n");
            begin(cpl);
            start.eflags = 2 | iopl << 12;
            go(cli_sti);
            show("sti cli");
            put_long(" flags ", out.eflags);
            put("\n");
        }
    }
    /* VM in the image counts in ring 0 only; 16-bit IRET has no such bit. */
    make_frame(&rets[4], CODE3 | 3, DATA3 | 3);
    *(u32 *)OLD_STACK = (u32)target;
    *(u32 *)(OLD_STACK + 8) = 0x20002;
    begin(3);
    start.esp = OLD_STACK;
    go(iret32);
    show("vm in ring 3");
    put_long(" flags ", out.eflags);
    put("\n");
}

__attribute__((used)) void test_main(void)
{
    ring_setup();
    matrix();
    nulling();
    limits();
    small_stack();
    flags();
}
