/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring32.h - for tests of protection: descriptors made at run time, code run in any ring (see ring32.S).
 *
 * begin(ring) fills `start` with flat segments of that ring; the test changes what it wants and calls go(code); `out`
 * then tells how it ended.  show() prints it: vector, error code, distance of the saved EIP from the code.
 */
#ifndef XBT_TEST_RING32_H
#define XBT_TEST_RING32_H

#include "sys.h"

extern struct {
    u32 eax, ebx, ecx, edx, esi, edi, esp, ss, ebp, pad, cs, eip, eflags, ds, es, fs, gs;
} start;
extern struct {
    u32 gs, fs, es, ds, edi, esi, ebp, esp_, ebx, edx, ecx, eax, vector, error, eip, cs, eflags, esp, ss;
    u32 v86_es, v86_ds, v86_fs, v86_gs;
} out;
extern u32 out_esp, ring_ss;
void ring_go(void);
void ring_done(void);
extern u8 ring_stubs[], idt[];

/* Selectors: 08 and 10 are as in entry32.S. */
enum { CODE0 = 0x08, DATA0 = 0x10, DATA3 = 0x18, CODE3 = 0x20, TSS0 = 0x28, CODE1 = 0x30, DATA1 = 0x38, CODE2 = 0x40,
       DATA2 = 0x48, SCRATCH = 0x50 };
static const u16 ring_code[4] = { CODE0, CODE1 | 1, CODE2 | 2, CODE3 | 3 };
static const u16 ring_data[4] = { DATA0, DATA1 | 1, DATA2 | 2, DATA3 | 3 };

static u64 ring_gdt[64] __attribute__((aligned(16)));
static u32 tss[64];     /* the current TSS, 0x67 long unless the test says more */

struct table {
    u16 limit;
    u32 base;
} __attribute__((packed));

#define STACK(ring) (0x70000u + 0x2000u * (ring))   /* ESPn of the TSS */
#define RUN_STACK 0x7c000u                          /* where code starts, all rings */

/* type: bits 8 to 15 of the second word; flags: bits 20 to 23 of it as 4 bits */
static inline u64 seg_desc(u32 base, u32 limit, u32 type, u32 flags)
{
    u64 d = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)type << 40;

    return d | (u64)(limit >> 16 & 15) << 48 | (u64)flags << 52 | (u64)(base >> 24) << 56;
}

static inline u64 gate_desc(u32 sel, u32 off, u32 type, u32 params)
{
    return (off & 0xffff) | (u64)sel << 16 | (u64)params << 32 | (u64)type << 40 | (u64)(off >> 16) << 48;
}

static inline void set_gdt(u32 sel, u64 d) { ring_gdt[sel >> 3] = d; }
static inline void set_idt(u32 vector, u64 d) { ((u64 *)idt)[vector] = d; }
static inline u32 access_byte(u32 sel) { return ((u8 *)&ring_gdt[sel >> 3])[5]; }

static inline void load_gdt(u16 limit)
{
    struct table t = { limit, (u32)ring_gdt };

    __asm__ volatile("lgdt %0" : : "m"(t));
}

static inline void default_gate(u32 vector)
{
    set_idt(vector, gate_desc(CODE0, (u32)ring_stubs + 16 * vector, 0xee, 0));
}

static inline void ring_setup(void)
{
    static const u8 at[8] = { CODE0, DATA0, CODE3, DATA3, CODE1, DATA1, CODE2, DATA2 };
    static const u8 type[8] = { 0x9b, 0x93, 0xfb, 0xf3, 0xbb, 0xb3, 0xdb, 0xd3 };

    for (u32 i = 0; i < 8; i++) {
        set_gdt(at[i], seg_desc(0, 0xfffff, type[i], 12));
    }
    set_gdt(TSS0, seg_desc((u32)tss, 0x67, 0x89, 0));
    for (u32 i = 0; i < 3; i++) {
        tss[1 + 2 * i] = STACK(i);
        tss[2 + 2 * i] = ring_data[i];
    }
    tss[25] = 0x680000;
    load_gdt(sizeof(ring_gdt) - 1);
    __asm__ volatile("ltr %w0" : : "r"(TSS0));
    for (u32 i = 0; i < 256; i++) {
        default_gate(i);
    }
}

static inline void begin(u32 ring)
{
    start.eax = start.ebx = start.ecx = start.edx = start.esi = start.edi = start.ebp = 0;
    start.esp = RUN_STACK;
    start.cs = ring_code[ring];
    start.ss = start.ds = start.es = ring_data[ring];
    start.fs = start.gs = 0;
    start.eflags = 2;
}

static inline void go(const void *code)
{
    start.eip = (u32)code;
    ring_go();
}

static inline void put_word(const char *name, u32 v)
{
    put(name);
    put_hex(v & 0xffff);
}

static inline void put_long(const char *name, u32 v)
{
    put(name);
    put_hex(v);
}

static inline void show(const char *name)
{
    put(name);
    put_long(" #", out.vector);
    put_long(" err ", out.error);
    if (out.eip - start.eip < 0x40) {       /* elsewhere: the distance says nothing */
        put_long(" +", out.eip - start.eip);
    }
    put_word(" cs ", out.cs);
}

static inline void show_line(const char *name)
{
    show(name);
    put("\n");
}

/* A snippet of 32-bit (16-bit) code that ends with INT 81h. */
#define CODE(name, text) extern u8 name[]; __asm__(".text; .code32; " #name ": " text "; int $0x81")
#define CODE16(name, text) extern u8 name[]; __asm__(".text; .code16; " #name ": " text "; int $0x81; .code32")

#endif
