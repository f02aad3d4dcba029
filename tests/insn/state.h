/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state.h - what a snippet starts from and what it leaves behind, on the host and under the engine.
 *
 * A snippet is position-dependent code at LIN_CODE + something.  It sees the same linear addresses natively and in
 * the test machine: the window [LIN, LIN + WIN_SIZE) holds code, data, a read-only page and a stack, each between
 * unmapped pages.  Its RAM is one byte array per side (`win`), indexed by linear address - LIN.
 */
#ifndef INSN_STATE_H
#define INSN_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIN       0x40000000u  /* linear address of the window; guest-physical WIN_PHYS */
#define WIN_PHYS  0x00100000u
#define WIN_SIZE  0x00170000u
#define ALIAS_OFF 0x00200000u  /* the same window once more at LIN + ALIAS_OFF */
#define CODE_OFF  0x00000000u  /* 1 MiB, writable and executable */
#define CODE_SIZE 0x00100000u
#define DATA_OFF  0x00110000u  /* 4 pages, unmapped around */
#define DATA_SIZE 0x00004000u
#define RO_OFF    0x00120000u  /* read-only page; writable pages before and after it */
#define STACK_OFF 0x00130000u  /* 4 pages, unmapped around */
#define STACK_SIZE 0x00004000u
#define BIG_OFF   0x00150000u  /* 64 KiB, unmapped around: segments in which offsets wrap */
#define BIG_SIZE  0x00010000u
#define LIN_CODE  (LIN + CODE_OFF)
#define LIN_DATA  (LIN + DATA_OFF)
#define LIN_RO    (LIN + RO_OFF)
#define LIN_STACK (LIN + STACK_OFF)

/* Code the snippet runs as. */
enum snip_mode {
    SM_64,      /* 64-bit code, CPL 3 */
    SM_COMPAT,  /* 32-bit code under IA-32e, CPL 3 */
    SM_32,      /* 32-bit protected mode, CPL 3: natively the same as SM_COMPAT */
    SM_16,      /* 16-bit code, stack and data segments in 32-bit protected mode, CPL 3 */
    SM_REAL,    /* real-address mode; natively SM_16 with the same bases and limits */
    SM_V86,     /* virtual-8086 mode, IOPL 0; natively SM_16 */
    SM_COUNT
};
static inline bool snip_is16(enum snip_mode mode)
{
    return mode >= SM_16;
}
extern const char *const snip_mode_names[SM_COUNT];
/* The host's kernel lets us have an LDT (native_init()); without, only 64- and 32-bit modes, FS and GS null. */
extern bool snip_ldt;

/* Selectors: Linux's, so that native code sees the same. */
#define SEL_KCS   0x10
#define SEL_KDS   0x18
#define SEL_UCS32 0x23
#define SEL_UDS   0x2b
#define SEL_UCS64 0x33
#define SEL_TSS   0x40
#define SEL_LDT   0x50
#define SEL_CS16  0x07   /* LDT 0: 16-bit code, base LIN_CODE */
#define SEL_DS16  0x0f   /* LDT 1: 16-bit data, base LIN_DATA, limit 0x3fff */
#define SEL_SS16  0x17   /* LDT 2: 16-bit stack, base LIN_STACK, limit 0x3fff */
#define SEL_FS    0x1f   /* LDT 3: FS of 16- and 32-bit code: base LIN_DATA + 0x1000, limit 0x1fff */
#define SEL_GS    0x27   /* LDT 4: GS there: expand-down, base LIN_DATA, limit 0xfff; not in SM_REAL and SM_V86 */
#define SEL_BIG   0x2f   /* LDT 5: 16-bit data, base LIN + BIG_OFF, limit 0xffff */
#define SEL_CPU   0x7b   /* Linux keeps the CPU number in this segment's limit */

#define XIMG_SIZE 832    /* XSAVE standard format: legacy, header, AVX */
#define TRAP_END  3      /* snippets end with INT3 */

struct snip_state {
    uint64_t gpr[16];
    uint64_t rip;
    uint64_t rflags;
    uint64_t fs_base, gs_base; /* SM_64 only */
    bool big;            /* DS and ES (16-bit modes: SS, too) are the 64 KiB at BIG_OFF; not in SM_64 */
    uint16_t sel[6];     /* ES CS SS DS FS GS: results only */
    uint8_t ximg[XIMG_SIZE] __attribute__((aligned(64)));
    /* results only */
    int vector;          /* of the exception that ended it; -1: it did not end */
    uint32_t error;
    uint64_t cr2;        /* #PF only */
};

/* Components absent from XSTATE_BV get their initial contents; FOP, FIP, FDP are cleared unless an exception is pending:
 * processors show them only then, or always. */
void ximg_normalize(uint8_t *img);
/* An image as after FNINIT with MXCSR 1F80, registers zero. */
void ximg_init(uint8_t *img);

#endif
