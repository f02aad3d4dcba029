/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * insn16.h - runs short pieces of code in real-address mode, registers in and out.
 *
 * set() puts code at 1000:0000 with INT 60h behind it and gives all registers their first values: DS 2000, ES 3000,
 * SS:SP 4000:1000.  go() runs it until INT 60h or an exception; R has what is left, R->vector which of them.
 */
#ifndef XBT_TEST_INSN16_H
#define XBT_TEST_INSN16_H

#include "sys.h"

struct regs16 {
    u32 eax, ecx, edx, ebx, esp, ebp, esi, edi;
    u16 es, ss, ds, fs, gs, ip, cs, flags;
    u8 vector;
};
#define R ((volatile struct regs16 *)0x7000)
#define END 0x60

#define CODE ((volatile u8 *)0x10000)
#define DATA ((volatile u8 *)0x20000)
#define EXTRA ((volatile u8 *)0x30000)
#define STACK ((volatile u8 *)0x40000)

enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, TF = 0x100, IF = 0x200, DF = 0x400, OF = 0x800 };
#define STATUS (CF | PF | AF | ZF | SF | OF)

void insn16_init(void);
void set_bytes(const char *code, u32 n);
#define set(code) set_bytes(code, sizeof(code) - 1)
void go(void);

/* Counting checks; report() prints "name: cases, bad ones" and starts anew. */
void check(int ok, u32 got, u32 want);
#define eq(got, want) check((u32)(got) == (u32)(want), (u32)(got), (u32)(want))
void report(const char *name);

static inline u16 get16(volatile u8 *p) { return (u16)(p[0] | p[1] << 8); }
static inline void put16(volatile u8 *p, u32 v)
{
    p[0] = (u8)v;
    p[1] = (u8)(v >> 8);
}

/* SF, ZF, PF of a value of `bits` bits. */
static inline u32 szp(u32 v, u32 bits)
{
    u32 p = v & 0xff;

    v &= bits == 32 ? 0xffffffffu : (1u << bits) - 1;
    p ^= p >> 4;
    p ^= p >> 2;
    p ^= p >> 1;
    return (v ? 0 : ZF) | (v >> (bits - 1) & 1 ? SF : 0) | (p & 1 ? 0 : PF);
}

void test_arith(void);      /* insn16_arith.c */

#endif
