/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring64.h - as ring32.h in IA-32e mode: descriptors made at run time, code of any size run in any ring.
 *
 * begin(ring) fills `start` for 64-bit code of ring 0 or 3, begin_compat(ring) for 32-bit code of any ring.
 */
#ifndef XBT_TEST_RING64_H
#define XBT_TEST_RING64_H

#include "sys.h"

extern struct {
    u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, r11, rsp, ss, cs, rip, rflags, ds, es, fs, gs, fs_base, gs_base;
} start;
extern struct {
    u64 gs, fs, es, ds, r11, rdi, rsi, rbp, rbx, rdx, rcx, rax, vector, error, rip, cs, rflags, rsp, ss;
} out;
extern u64 out_rsp, ring_ss, ring_rsp;
void ring_go(void);
void ring_done(void);
extern u8 ring_stubs[], idt[];

enum { CODE0 = 0x08, DATA0 = 0x10, DATA3 = 0x18, CODE3 = 0x20, TSS0 = 0x28, COMPAT0 = 0x38, COMPAT1 = 0x40,
       COMPAT2 = 0x48, COMPAT3 = 0x50, DATA1 = 0x58, DATA2 = 0x60, CODE1 = 0x68, SCRATCH = 0x70 };
static const u16 ring_compat[4] = { COMPAT0, COMPAT1 | 1, COMPAT2 | 2, COMPAT3 | 3 };
static const u16 ring_data[4] = { DATA0, DATA1 | 1, DATA2 | 2, DATA3 | 3 };

static u64 ring_gdt[64] __attribute__((aligned(16)));
static u32 tss[64] __attribute__((aligned(16)));

struct table {
    u16 limit;
    u64 base;
} __attribute__((packed));

#define STACK(n) (0x70000ul + 0x1000ul * (n))   /* RSP0 to RSP2, then IST1 to IST7 from n = 3 */
#define RUN_STACK 0x7c000ul

static inline u64 seg_desc(u32 base, u32 limit, u32 type, u32 flags)
{
    u64 d = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)type << 40;

    return d | (u64)(limit >> 16 & 15) << 48 | (u64)flags << 52 | (u64)(base >> 24) << 56;
}

/* Lower half of a 64-bit gate; `ist` are the low bits of the word behind the selector. */
static inline u64 gate_desc(u32 sel, u64 off, u32 type, u32 ist)
{
    return (off & 0xffff) | (u64)sel << 16 | (u64)ist << 32 | (u64)type << 40 | (u64)(off >> 16 & 0xffff) << 48;
}

static inline void set_gdt(u32 sel, u64 d) { ring_gdt[sel >> 3] = d; }
static inline u32 access_byte(u32 sel) { return ((u8 *)&ring_gdt[sel >> 3])[5]; }
static inline void set_system(u32 sel, u64 base, u32 limit, u32 type)
{
    set_gdt(sel, seg_desc((u32)base, limit, type, 0));
    set_gdt(sel + 8, base >> 32);
}

static inline void set_idt(u32 vector, u32 sel, u64 off, u32 type, u32 ist)
{
    ((u64 *)idt)[2 * vector] = gate_desc(sel, off, type, ist);
    ((u64 *)idt)[2 * vector + 1] = off >> 32;
}

static inline void default_gate(u32 vector)
{
    set_idt(vector, CODE0, (u64)ring_stubs + 16 * vector, 0xee, 0);
}

static inline void load_gdt(u16 limit)
{
    struct table t = { limit, (u64)ring_gdt };

    __asm__ volatile("lgdt %0" : : "m"(t));
}

static inline void load_tss(u32 limit)
{
    set_system(TSS0, (u64)tss, limit, 0x89);
    __asm__ volatile("ltr %w0" : : "r"(TSS0));
}

static inline void set_tss64(u32 off, u64 v)
{
    tss[off / 4] = (u32)v;
    tss[off / 4 + 1] = (u32)(v >> 32);
}

static inline void ring_setup(void)
{
    static const struct {
        u8 sel, type, flags;
    } list[] = {
        { CODE0, 0x9b, 10 }, { DATA0, 0x93, 12 }, { DATA3, 0xf3, 12 }, { CODE3, 0xfb, 10 }, { COMPAT0, 0x9b, 12 },
        { COMPAT1, 0xbb, 12 }, { COMPAT2, 0xdb, 12 }, { COMPAT3, 0xfb, 12 }, { DATA1, 0xb3, 12 }, { DATA2, 0xd3, 12 },
        { CODE1, 0xbb, 10 },
    };

    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        set_gdt(list[i].sel, seg_desc(0, 0xfffff, list[i].type, list[i].flags));
    }
    for (u32 i = 0; i < 3; i++) {
        set_tss64(4 + 8 * i, STACK(i));
    }
    for (u32 i = 1; i < 8; i++) {
        set_tss64(0x1c + 8 * i, STACK(2 + i));
    }
    tss[25] = 0x680000;
    load_gdt(sizeof(ring_gdt) - 1);
    load_tss(0x67);
    for (u32 i = 0; i < 256; i++) {
        default_gate(i);
    }
}

static inline void begin(u32 ring)
{
    start.rax = start.rbx = start.rcx = start.rdx = start.rsi = start.rdi = start.rbp = start.r11 = 0;
    start.rsp = RUN_STACK;
    start.cs = ring ? CODE3 | 3 : CODE0;
    start.ss = start.ds = start.es = ring_data[ring];
    start.fs = start.gs = start.fs_base = start.gs_base = 0;
    start.rflags = 2;
}

static inline void begin_compat(u32 ring)
{
    begin(ring);
    start.cs = ring_compat[ring];
}

static inline void go(const void *code)
{
    start.rip = (u64)code;
    ring_go();
}

static inline u64 rdmsr(u32 n)
{
    u32 lo, hi;

    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(n));
    return lo | (u64)hi << 32;
}

static inline void wrmsr(u32 n, u64 v)
{
    __asm__ volatile("wrmsr" : : "c"(n), "a"((u32)v), "d"((u32)(v >> 32)));
}

static inline void put_word(const char *name, u64 v)
{
    put(name);
    put_hex(v & 0xffff);
}

static inline void put_long(const char *name, u64 v)
{
    put(name);
    put_hex(v);
}

static inline void show(const char *name)
{
    put(name);
    put_long(" #", out.vector);
    put_long(" err ", out.error);
    if (out.rip - start.rip < 0x40) {       /* elsewhere: the distance says nothing */
        put_long(" +", out.rip - start.rip);
    }
    put_word(" cs ", out.cs);
}

static inline void show_line(const char *name)
{
    show(name);
    put("\n");
}

/* A snippet of 64-bit (32-bit, 16-bit) code that ends with INT 81h. */
#define CODE(name, text) extern u8 name[]; __asm__(".text; " #name ": " text "; int $0x81")
#define CODE32(name, text) extern u8 name[]; __asm__(".text; .code32; " #name ": " text "; int $0x81; .code64")
#define CODE16(name, text) extern u8 name[]; __asm__(".text; .code16; " #name ": " text "; int $0x81; .code64")

#endif
