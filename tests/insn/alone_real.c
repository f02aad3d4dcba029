/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * alone_real.c - real-address and v86 mode where the host's protected mode says
 * nothing: segment registers, far transfers, interrupts, EFLAGS, system
 * registers, ports (SDM vol. 3, chapter 21; vol. 2).
 *
 * machine.c's real-mode handlers are single HLTs at 0:E000 + 16 * vector.
 */
#include <string.h>

#include "tests/insn/alone.h"

#define HANDLER(v) (0xe000 + 16 * (v))

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v);
    put16(p + 2, v >> 16);
}

static unsigned get16(const uint8_t *p)
{
    return p[0] | (unsigned)p[1] << 8;
}

/* A segment register loaded with sel: base sel * 16; limit and attributes stay
 * in real mode, are fixed in v86 mode. */
static void loaded(unsigned seg, unsigned sel)
{
    struct guest_seg *s = &alone.c->seg[seg];

    if (alone.mode ==
        SM_V86) { /* the exception nulled DS, ES, FS, GS: its frame has them */
        EQ(alone.out.sel[seg], sel);
        return;
    }
    EQ(s->sel, sel);
    EQ(s->base, (uint64_t)sel << 4);
    CHECK(s->attr & DESC_P);
}

static void segment_loads(enum snip_mode mode)
{
    static const char *const mov[] = {"\x8e\xc0", NULL,       "\x8e\xd0",
                                      "\x8e\xd8", "\x8e\xe0", "\x8e\xe8"};
    static const struct {
        unsigned seg;
        const char *bytes;
        unsigned len;
    } pops[] = {
        {S_ES, "\x07", 1},     {S_DS, "\x1f", 1},     {S_FS, "\x0f\xa1", 2},
        {S_GS, "\x0f\xa9", 2}, {S_ES, "\x66\x07", 2},
    };
    static const struct {
        unsigned seg;
        const char *bytes;
        unsigned len;
    } loads[] = {
        {S_ES, "\xc4\x17", 2},     {S_DS, "\xc5\x17", 2},
        {S_FS, "\x0f\xb4\x17", 3}, {S_GS, "\x0f\xb5\x17", 3},
        {S_ES, "\x66\xc4\x17", 3}, {S_GS, "\x66\x0f\xb5\x17", 4},
    };

    for (unsigned seg = 0; seg < 6; seg++) {
        if (!mov[seg] || seg == S_SS)
            continue;
        alone_start(mode, "mov sreg");
        alone.in.gpr[R_RAX] = 0xffff1234u;
        alone_run(mov[seg], 2);
        ENDS(3, 3);
        loaded(seg, 0x1234);
    }
    alone_start(mode, "mov cs");
    RUN("\x8e\xc8");
    ENDS(6, 0);
    alone_start(mode, "mov sreg 6");
    RUN("\x8e\xf0");
    ENDS(6, 0);
    for (unsigned i = 0; i < sizeof(pops) / sizeof(pops[0]); i++) {
        bool wide = pops[i].bytes[0] == 0x66;
        alone_start(mode, "pop sreg");
        put32(alone_stack(0x2000), 0x5678abcd);
        alone_run(pops[i].bytes, pops[i].len);
        ENDS(3, pops[i].len + 1);
        loaded(pops[i].seg, 0xabcd);
        EQ(alone.out.gpr[R_RSP], wide ? 0x2004 : 0x2002);
    }
    for (unsigned i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        bool wide = loads[i].bytes[0] == 0x66;
        alone_start(mode, "les and its like");
        alone.in.gpr[R_RBX] = 0x100;
        put32(alone_data(0x100), wide ? 0x44443333 : 0x42423333);
        put16(alone_data(0x104), 0x4242);
        alone_run(loads[i].bytes, loads[i].len);
        ENDS(3, loads[i].len + 1);
        loaded(loads[i].seg, 0x4242);
        EQ((uint32_t)alone.out.gpr[R_RDX],
           wide ? 0x44443333 : (alone_gpr(R_RDX) & 0xffff0000u) | 0x3333);
    }
    alone_start(mode, "mov ss: no trap until the next instruction is done");
    alone.in.gpr[R_RAX] = SEL_SS16;
    alone.in.rflags |= FL_TF;
    RUN("\x8c\xd0\x8e\xd0\x90\x90");
    EQ(alone.out.vector, 1);
    EQ(alone.out.rip,
       alone_ip() + 2); /* after the first; then the handler's HLT */
}

/* Far transfers land on the HLT of handler 0x60 at 0:E600, or E00:600. */
static void landed(unsigned cs, unsigned ip)
{
    EQ(alone.c->seg[S_CS].sel, cs);
    EQ(alone.c->seg[S_CS].base, (uint64_t)cs << 4);
    EQ(alone.c->rip, ip + 1);
}

static void far_transfers(void)
{
    alone_start(SM_REAL, "jmpf");
    RUN("\xea\x00\x06\x00\x0e");
    landed(0xe00, 0x600);
    alone_start(SM_REAL, "jmpf 16:32");
    RUN("\x66\xea\x00\x06\x00\x00\x00\x0e");
    landed(0xe00, 0x600);
    alone_start(SM_REAL, "jmpf, offset beyond the limit");
    RUN("\x66\xea\x00\x06\x01\x00\x00\x0e");
    ENDS(13, 0);
    alone_start(SM_REAL, "callf");
    RUN("\x9a\x00\x06\x00\x0e");
    landed(0xe00, 0x600);
    EQ(GPR(alone.c, R_RSP), 0x1ffc);
    EQ(get16(alone_stack(0x1ffc)), alone_ip() + 5);
    EQ(get16(alone_stack(0x1ffe)), SEL_CS16);
    alone_start(SM_REAL, "callf 16:32");
    RUN("\x66\x9a\x00\x06\x00\x00\x00\x0e");
    landed(0xe00, 0x600);
    EQ(GPR(alone.c, R_RSP), 0x1ff8);
    EQ(get16(alone_stack(0x1ff8)), alone_ip() + 8);
    EQ(get16(alone_stack(0x1ffc)), SEL_CS16);
    alone_start(SM_REAL, "callf m16:16");
    alone.in.gpr[R_RBX] = 0x80;
    put32(alone_data(0x80), 0x0e000600);
    RUN("\xff\x1f");
    landed(0xe00, 0x600);
    EQ(get16(alone_stack(0x1ffc)), alone_ip() + 2);
    alone_start(SM_REAL, "jmpf m16:32");
    alone.in.gpr[R_RBX] = 0x80;
    put32(alone_data(0x80), 0x600);
    put16(alone_data(0x84), 0xe00);
    RUN("\x66\xff\x2f");
    landed(0xe00, 0x600);
    alone_start(SM_REAL, "retf 4");
    put32(alone_stack(0x2000), 0x0e000600);
    RUN("\xca\x04\x00");
    landed(0xe00, 0x600);
    EQ(GPR(alone.c, R_RSP), 0x2008);
    alone_start(SM_REAL, "retf, 32 bits");
    put32(alone_stack(0x2000), 0x600);
    put32(alone_stack(0x2004), 0xffff0e00);
    RUN("\x66\xcb");
    landed(0xe00, 0x600);
    EQ(GPR(alone.c, R_RSP), 0x2008);
}

static void interrupts(void)
{
    alone_start(SM_REAL, "int n");
    alone.in.rflags = 0x3202 | FL_CF | FL_AC;
    RUN("\xcd\x60");
    EQ(alone.out.vector, 0x60);
    EQ(alone.out.rip, alone_ip() + 2);
    EQ(alone.out.sel[S_CS], SEL_CS16);
    EQ(alone.out.rflags & 0xffff, 0x3203);
    EQ(cpu_get_eflags(alone.c) & (FL_IF | FL_TF | FL_AC | FL_CF), FL_CF);
    alone_start(SM_REAL, "int n beyond the vector table");
    alone.c->idt.limit = 4 * 0x60 + 2;
    RUN("\xcd\x60");
    alone.c->idt.limit = 0x3ff;
    EQ(alone.out.vector, 13);
    EQ(alone.out.rip, alone_ip());
    alone_start(SM_REAL, "into");
    alone.in.rflags |= FL_OF;
    RUN("\xce");
    ENDS(4, 1);
    alone_start(SM_REAL, "iret");
    put16(alone_stack(0x2000), 0x600);
    put16(alone_stack(0x2002), 0xe00);
    put16(alone_stack(0x2004), 0x7cd5);
    RUN("\xcf");
    landed(0xe00, 0x600);
    EQ(GPR(alone.c, R_RSP), 0x2006);
    EQ(cpu_get_eflags(alone.c) & 0xffff, 0x7cd7);
    alone_start(
        SM_REAL,
        "iret, 32 bits"); /* VM, VIF and VIP are not taken (SDM vol. 2, IRET) */
    put32(alone_stack(0x2000), 0x600);
    put32(alone_stack(0x2004), 0xe00);
    put32(alone_stack(0x2008), 0x003e7cd5);
    RUN("\x66\xcf");
    landed(0xe00, 0x600);
    EQ(GPR(alone.c, R_RSP), 0x200c);
    EQ(cpu_get_eflags(alone.c) & 0x3effff & ~FL_RF, 0x00247cd7);
    alone_start(SM_REAL,
                "popf, pushf"); /* CPL 0: IOPL, NT, IF and TF can be set */
    put16(alone_stack(0x2000), 0x7ed5);
    RUN("\x9d\x9c");
    EQ(get16(alone_stack(0x2000)), 0x7ed7);
    ENDS(3, 3);
    alone_start(SM_REAL, "popfd, pushfd");
    put32(alone_stack(0x2000), 0x00247ed5);
    RUN("\x66\x9d\x66\x9c");
    EQ(get16(alone_stack(0x2000)), 0x7ed7);
    EQ(get16(alone_stack(0x2002)), 0x0024);
    alone_start(SM_REAL, "cli, sti");
    RUN("\xfa\x9c\xfb\x90\x9c");
    EQ(get16(alone_stack(0x1ffe)) & FL_IF, 0);
    EQ(get16(alone_stack(0x1ffc)) & FL_IF, FL_IF);
}

static void v86_sensitive(void)
{
    static const struct {
        const char *name, *bytes;
        unsigned len;
    } insns[] = {
        {"pushf", "\x9c", 1},      {"popf", "\x9d", 1},
        {"cli", "\xfa", 1},        {"sti", "\xfb", 1},
        {"iret", "\xcf", 1},       {"int n", "\xcd\x60", 2},
        {"pushfd", "\x66\x9c", 2}, {"popfd", "\x66\x9d", 2},
    };

    for (unsigned i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
        alone_start(SM_V86, insns[i].name);
        alone_run(insns[i].bytes, insns[i].len);
        ENDS(13, 0);
        EQ(alone.out.error, 0);
        EQ(alone.out.gpr[R_RSP], 0x2000);
    }
    alone_start(SM_V86, "pushf, IOPL 3");
    alone.in.rflags |= FL_IOPL | FL_CF;
    RUN("\x9c");
    ENDS(3, 2);
    EQ(get16(alone_stack(0x1ffe)), 0x3203);
    alone_start(SM_V86, "popf, IOPL 3"); /* IOPL and VM stay */
    alone.in.rflags |= FL_IOPL;
    put16(alone_stack(0x2000), 0x0cd5);
    RUN("\x9d");
    ENDS(3, 2);
    EQ(alone.out.rflags & 0xffff, 0x3cd7);
    CHECK(alone.out.rflags & FL_VM);
    alone_start(SM_V86, "cli, IOPL 3");
    alone.in.rflags |= FL_IOPL;
    RUN("\xfa");
    ENDS(3, 2);
    EQ(alone.out.rflags & FL_IF, 0);
    alone_start(
        SM_V86,
        "int n, IOPL 3"); /* the gate is for CPL 0: #GP(sel of the vector) */
    alone.in.rflags |= FL_IOPL;
    RUN("\xcd\x60");
    ENDS(13, 0);
    EQ(alone.out.error, 8 * 0x60 + 2);
    alone_start(SM_V86, "in, not in the I/O map"); /* IOPL does not count (SDM
                                                      vol. 3, 21.3.1) */
    alone.in.rflags |= FL_IOPL;
    RUN("\xe4\x80");
    ENDS(13, 0);
    alone_start(SM_V86, "callf");
    RUN("\x9a\x00\x06\x34\x12");
    EQ(alone.out.sel[S_CS], 0x1234); /* not mapped there: #PF at 1234:600 */
    EQ(alone.out.vector, 14);
    EQ(alone.out.cr2, 0x12940);
    EQ(get16(alone_stack(0x1ffc)), alone_ip() + 5);
    EQ(get16(alone_stack(0x1ffe)), SEL_CS16);
}

static void system_registers(void)
{
    alone_start(SM_REAL,
                "lmsw, smsw"); /* MP, EM, TS; PE could be set but not cleared */
    alone.in.gpr[R_RAX] = 0xffff000e;
    RUN("\x0f\x01\xf0\x0f\x01\xe3\x0f\x06\x0f\x01\xe1");
    ENDS(3, 12);
    EQ(alone.out.gpr[R_RBX] & 0xf, 0xe);
    EQ(alone.out.gpr[R_RCX] & 0xf, 0x6); /* CLTS */
    alone_start(SM_REAL, "lmsw back");
    alone.in.gpr[R_RAX] = 2;
    RUN("\x0f\x01\xf0");
    ENDS(3, 4);
    alone_start(SM_REAL, "mov r32, cr0");
    RUN("\x0f\x20\xc3");
    EQ(alone.out.gpr[R_RBX], alone.c->cr[0]);
    alone_start(SM_REAL,
                "lgdt, 16 and 32 bits"); /* 24 bits of base without 66 */
    struct guest_seg dummy = {.base = alone.c->gdt.base,
                              .limit = alone.c->gdt.limit};
    alone.in.gpr[R_RBX] = 0x80;
    put16(alone_data(0x80), 0x1234);
    put32(alone_data(0x82), 0x89abcdef);
    RUN("\x0f\x01\x17");
    EQ(alone.c->gdt.base, 0xabcdef);
    EQ(alone.c->gdt.limit, 0x1234);
    alone_start(SM_REAL, "lgdt, 16 and 32 bits");
    alone.in.gpr[R_RBX] = 0x80;
    put16(alone_data(0x80), 0x1234);
    put32(alone_data(0x82), 0x89abcdef);
    RUN("\x66\x0f\x01\x17");
    EQ(alone.c->gdt.base, 0x89abcdef);
    alone.c->gdt.base = dummy.base;
    alone.c->gdt.limit = dummy.limit;
    alone_start(SM_REAL, "lidt moves the vectors");
    alone.in.gpr[R_RBX] = 0x80;
    put16(alone_data(0x80), 0x3ff);
    put32(alone_data(0x82), (uint32_t)(WIN_PHYS + STACK_OFF + 0x1000));
    for (unsigned v = 0; v < 64; v++)
        put32(alone_stack(0x1000 + 4 * v), HANDLER(0x70));
    uint64_t idt = alone.c->idt.base;
    RUN("\x66\x0f\x01\x1f\xcc");
    alone.c->idt.base = idt;
    EQ(alone.out.vector, 0x70);
    static const char *const pe[] = {"\x0f\x00\xd0", "\x0f\x00\xd8",
                                     "\x0f\x00\xe0", "\x0f\x00\xe8",
                                     "\x0f\x02\xc3", "\x0f\x03\xc3",
                                     "\x63\xc3\x90"};
    for (unsigned mode = SM_REAL; mode <= SM_V86; mode++) {
        for (unsigned i = 0; i < sizeof(pe) / sizeof(pe[0]); i++) {
            alone_start(mode, "lldt ltr verr verw lar lsl arpl");
            alone_run(pe[i], 3);
            ENDS(6, 0);
        }
        alone_start(mode, "vex");
        RUN("\xc5\xf8\x58\xc1"); /* LDS with a register */
        ENDS(6, 0);
        alone_start(mode, "vex3");
        RUN("\xc4\xe2\x78\xf2\xc1");
        ENDS(6, 0);
    }
    alone_start(SM_REAL, "hlt");
    alone.in.rflags = 2;
    RUN("\xf4");
    EQ(alone.c->rip, alone_ip() + 1);
    alone_start(SM_REAL, "wbinvd, invd, wrmsr, rdmsr");
    alone.in.gpr[R_RCX] = 0x174;
    alone.in.gpr[R_RAX] = 0x1234;
    alone.in.gpr[R_RDX] = 0;
    RUN("\x0f\x09\x0f\x08\x0f\x30\x31\xc0\x0f\x32");
    EQ(alone.out.gpr[R_RAX] & 0xffff,
       alone.c->model.f1_edx >> 11 & 1 ? 0x1234 : 0);
    alone_start(SM_REAL, "ports"); /* machine.c: all ones */
    alone.in.gpr[R_RDX] = 0x1f0;
    RUN("\xec\x88\xc3\x66\xed\xee\xef\x66\xe7\x80");
    ENDS(3, 11);
    EQ((uint32_t)alone.out.gpr[R_RAX], 0xffffffff);
    EQ(alone.out.gpr[R_RBX] & 0xff, 0xff);
    alone_start(SM_REAL, "rep insw, outsb");
    alone.in.gpr[R_RDX] = 0x1f0;
    alone.in.gpr[R_RDI] = 0x200;
    alone.in.gpr[R_RSI] = 0x300;
    alone.in.gpr[R_RCX] = 5;
    RUN("\xf3\x6d\x6e");
    ENDS(3, 4);
    EQ(alone.out.gpr[R_RDI], 0x20a);
    EQ(alone.out.gpr[R_RSI], 0x301);
    EQ(alone.out.gpr[R_RCX], 0);
    EQ(get16(alone_data(0x208)), 0xffff);
    EQ(get16(alone_data(0x20a)), 0);
}

/* The real-mode image has a 20-bit linear address where protected mode has
 * CS:EIP (SDM vol. 1, 8.1.10). */
static void x87_images(void)
{
    alone_start(SM_REAL, "fldenv, fnstenv");
    alone.in.gpr[R_RBX] = 0x100;
    put16(alone_data(0x100), 0x037f);
    put16(alone_data(0x102), 0);
    put16(alone_data(0x104), 0xffff);
    RUN("\xd9\x27\x83\xc3\x40\xd9\x37");
    ENDS(3, 8);
    EQ(get16(alone_data(0x140)), 0x037f);
    EQ(get16(alone_data(0x142)), 0);
    EQ(get16(alone_data(0x144)), 0xffff);
    CHECK(get16(alone_data(0x14e)) == 0); /* 14 bytes */
    alone_start(SM_REAL, "fnsave, frstor");
    alone.in.gpr[R_RBX] = 0x100;
    RUN("\xd9\xe8\xdd\x37\xdd\x27\xdd\x9f\x80\x00"); /* FLD1; FNSAVE; FRSTOR;
                                                        FSTP m64 [bx+80] */
    ENDS(3, 11);
    EQ(get16(alone_data(0x186)), 0x3ff0);
    EQ(get16(alone_data(0x100 + 14 + 8)), 0x3fff); /* ST(0) behind 14 bytes */
}

void alone_real(void)
{
    segment_loads(SM_REAL);
    segment_loads(SM_V86);
    far_transfers();
    interrupts();
    v86_sensitive();
    system_registers();
    x87_images();
}
