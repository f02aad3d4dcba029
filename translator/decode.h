/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * decode.h - guest bytes -> struct dec_insn, and the instruction table.
 *
 * Source: SDM vol. 2, chapters 2 (formats) and appendix A (opcode maps); APM vol. 3 where AMD differs.
 * The table (x86_insns.inc) has one row per instruction form; the decoder, the lifter, the flag pass, the tests and
 * the coverage report consume the same row.  The decoder is pure: it reads bytes, never guest memory or CPU state.
 */
#ifndef XBT_DECODE_H
#define XBT_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the lifter treats a row. */
enum insn_class {
    CL_INVALID,
    CL_NATIVE,   /* re-encode for the host: same opcode, registers and memory operand replaced */
    CL_MOV,      /* MOV between GPRs/memory/immediate, MOVZX/MOVSX/MOVSXD; no flags (re-encoded like CL_NATIVE) */
    CL_LEA,
    CL_NOP,      /* NOP, ENDBR, PREFETCHx, hint NOPs (0F 19..1F), PAUSE: no effect, memory operand not touched */
    CL_PROBE,    /* memory operand is checked like a one-byte read, nothing else: CLFLUSH(OPT), CLWB, CLDEMOTE */
    CL_PUSH,     /* PUSH reg/mem/imm (op[0] = the source); segment registers are helpers */
    CL_POP,      /* POP reg/mem */
    CL_LEAVE,
    CL_CALL_REL, CL_CALL_IND, CL_RET, /* near; CL_RET: imm = bytes to release */
    CL_JMP_REL, CL_JMP_IND,
    CL_JCC,      /* cc = opcode & 15 */
    CL_LOOP,     /* LOOPNE/LOOPE/LOOP/JrCXZ: opcode E0..E3 */
    CL_STRING,   /* MOVS STOS LODS CMPS SCAS with or without REP */
    CL_BT_MEM,   /* BT/BTS/BTR/BTC Ev,Gv: with a memory operand the bit offset extends the address; native when mod = 3 */
    CL_FWAIT,
    CL_HELPER,   /* row->helper does it all in C (help.h) */
};

/* Operand: where it is. */
enum op_loc {
    OL_NONE,
    OL_REG,      /* ModRM.reg: GPR */
    OL_RM,       /* ModRM.rm: GPR or memory */
    OL_OPREG,    /* low 3 opcode bits (+REX.B): GPR */
    OL_VVVV,     /* VEX.vvvv: GPR */
    OL_XREG, OL_XRM, OL_XVVVV, OL_XIS4, /* XMM/YMM by ModRM.reg / rm (or memory) / vvvv / imm8[7:4] */
    OL_MREG, OL_MRM,                    /* MMX by reg / rm (or memory) */
    OL_STREG,    /* x87 ST(rm) */
    OL_MEM,      /* ModRM.rm, memory only (register form is #UD) */
    OL_VSIB,     /* memory with vector index (gathers): always CL_HELPER */
    OL_SREG,     /* ModRM.reg: segment register */
    OL_CREG, OL_DREG,
    OL_ACC,      /* AL/AX/EAX/RAX */
    OL_CL, OL_DX, OL_ONE,
    OL_IMM,      /* immediate, sign- or zero-extended into dec_insn.imm */
    OL_REL,      /* branch displacement in imm; target = next ip + imm, truncated to operand size */
    OL_MOFFS,    /* absolute address in disp; uses the memory-operand machinery (base = index = none) */
    OL_FARPTR,   /* imm = offset, imm2 = selector */
    OL_STR,      /* implicit string operand(s) */
};
/* Operand: its size in bytes. */
enum op_size {
    OS_NONE, OS_B, OS_W, OS_D, OS_Q, OS_DQ, OS_QQ,
    OS_V,        /* operand size: 2, 4 or 8 */
    OS_Y,        /* 4, or 8 with REX.W/VEX.W */
    OS_Z,        /* 2, or 4 for operand size 4 and 8 */
    OS_X,        /* 16, or 32 with VEX.L */
    OS_XH,       /* half of OS_X: 8 / 16 */
    OS_XQ,       /* quarter of OS_X: 4 / 8 */
    OS_XE,       /* eighth of OS_X: 2 / 4 */
    OS_T,        /* 10 bytes (x87 extended, BCD) */
    OS_P,        /* far pointer in memory: 2 + operand size */
    OS_S,        /* descriptor-table register image: 6 or 10 */
    OS_A,        /* BOUND: two operand-size values */
    OS_Q2,       /* CMPXCHG8B/16B: 8, or 16 with REX.W */
    OS_ENV, OS_FSAVE, OS_FX, OS_XS, /* x87 environment 14/28, FSAVE 94/108, FXSAVE 512, XSAVE: helpers only */
};
enum op_acc { OA_R = 1, OA_W = 2, OA_RW = 3, OA_CW = 7 /* written depending on data (CMOVcc...): counts as RW */ };

struct insn_op {
    uint8_t loc, size, acc;
};

/* Row attributes. */
#define IA_LOCK    (1u << 0)   /* LOCK allowed (with a memory destination) */
#define IA_ENDS    (1u << 1)   /* ends the block: changes RIP, mode, or anything hflags depends on */
#define IA_CPL0    (1u << 2)   /* #GP(0) unless CPL 0 (checked by the lifter from hflags) */
#define IA_NO64    (1u << 3)   /* #UD in 64-bit mode */
#define IA_ONLY64  (1u << 4)   /* not available outside 64-bit mode (falls to the other row or #UD) */
#define IA_D64     (1u << 5)   /* operand size defaults to 64 in 64-bit mode (66 gives 16) */
#define IA_F64     (1u << 6)   /* operand size forced to 64 in 64-bit mode (66 ignored: Intel near branches) */
#define IA_PE      (1u << 7)   /* #UD in real and v86 mode */
#define IA_VEX     (1u << 8)   /* VEX encoded row */
#define IA_VEX_L0  (1u << 9)   /* VEX.L must be 0 */
#define IA_VEX_L1  (1u << 10)  /* VEX.L must be 1 */
#define IA_W0      (1u << 11)  /* REX.W/VEX.W must be 0 for this row */
#define IA_W1      (1u << 12)  /* must be 1 */
#define IA_REP     (1u << 13)  /* F2/F3 are REP prefixes here */
#define IA_X87     (1u << 14)  /* x87: #NM by HF_NM_FPU, pending #MF on waiting forms */
#define IA_MMX     (1u << 15)
#define IA_SSE     (1u << 16)  /* XMM with legacy encoding: #UD by HF_UD_SSE, #NM by HF_NM_SSE */
#define IA_AVX     (1u << 17)  /* VEX vector: #UD unless HF_AVX (and PE, not VM86) */
#define IA_ALIGN   (1u << 18)  /* memory operand must be aligned to its size: the host's own #GP reports it */
#define IA_IOPL    (1u << 19)  /* IOPL sensitive: the helper checks */
#define IA_FWAITING (1u << 20) /* x87 waiting form: delivers a pending #MF */
#define IA_TSXHINT (1u << 21)
#define IA_MODRM   (1u << 22)  /* has ModRM */
#define IA_FLDEP   (1u << 23)  /* flags written only if the (CL or masked imm) count is not 0: counts as read+write */
#define IA_SYNCFL  (1u << 24)  /* helper reads or writes status flags (c->fl) */
#define IA_ANYPFX  (1u << 25)  /* 66/F2/F3 do not select another row */
#define IA_LOCKCR0 (1u << 26)  /* LOCK with CR0 names CR8 (AMD; the helper asks for the feature) */

/* CPUID features a row needs; the decoder stores it, the lifter tests the CPU model (model.f*). */
#define FEAT(name, word, bit) F_##name,
enum insn_feat {
    F_NONE,
#include "translator/features.inc"
    F_COUNT
};
#undef FEAT

struct guest_cpu;
struct dec_insn;
/* C implementation of an instruction: see help.h. */
typedef int help_fn(struct guest_cpu *c, const struct dec_insn *in);

/* Mandatory prefix column. */
enum { PX_NONE, PX_66, PX_F3, PX_F2, PX_ANY };

struct insn_row {
    const char *name;     /* lower case mnemonic, SDM spelling */
    uint8_t map;          /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A; x87 rows are map 0, D8..DF */
    uint8_t opcode;
    uint8_t pfx;          /* PX_* */
    int8_t ext;           /* ModRM.reg value /0../7; -1 = none */
    int16_t modrm;        /* exact ModRM byte (C0..FF) for rows like VMCALL or x87 register forms; -1 = any;
                             -2 = memory forms only; -3 = register forms only */
    uint8_t cls;          /* enum insn_class */
    struct insn_op op[4]; /* Intel order: destination first */
    uint16_t fl_read, fl_write, fl_undef; /* FL_* status bits; undef ones are in fl_write too. FL_DF readers: flagged by class */
    uint32_t attr;
    uint16_t feat;
    help_fn *helper;      /* CL_HELPER only */
};

#define REG_NONE 0xff
#define EA_RIP  0xfe

struct dec_insn {
    const struct insn_row *row;
    uint64_t ip;          /* EIP/RIP of the first byte (offset in CS, not linear) */
    /* Nearly always the same in 64-bit code: one store. */
    uint8_t adsize;       /* effective address size 2, 4, 8 */
    uint8_t mode;         /* code size: 0 = 16, 1 = 32, 2 = 64 bit */
    uint8_t seg_override; /* an effective override prefix was present */
    uint8_t lock;
    uint8_t rep;          /* 0, 0xf2, 0xf3: the last of them, also when it is a mandatory prefix */
    uint8_t vex;          /* 0, 2, 3 = VEX length */
    uint8_t vex_l;
    uint8_t vex_pp;
    /* The memory operand. */
    uint8_t base, index, scale; /* REG_NONE / EA_RIP; 16-bit forms are mapped (BX+SI: base 3, index 6); scale 0..3 */
    uint8_t seg;          /* its segment after overrides and defaults */
    uint8_t has_mem;      /* it is present (mod != 3, or moffs) */
    uint8_t mem_size;     /* its size in bytes (0 if not fixed) */
    uint8_t mem_acc;      /* OA_R / OA_W / OA_RW; 0 = address only (LEA, NOP) */
    uint8_t vvvv;         /* already inverted */

    uint8_t len;
    uint8_t opsize;       /* effective operand size 2, 4, 8 (1 is per operand) */
    uint8_t pfx66;
    uint8_t rex;          /* raw REX (0x40..0x4f) or 0 */
    uint8_t vex_w;        /* REX.W too */
    uint8_t map, opcode;
    uint8_t modrm, mod;
    uint8_t reg, rm;      /* with REX.R / REX.B; rm also serves OL_OPREG. Byte registers: see dec_is_high8() */
    uint8_t is4;
    uint8_t imm_size;     /* bytes of the (first) immediate in the encoding */
    int64_t disp;         /* sign-extended; RIP-relative: displacement only */
    int64_t imm, imm2;
};

/* Results */
enum dec_status {
    DEC_OK,
    DEC_UD,      /* not a valid instruction in this mode; len is the bytes looked at */
    DEC_TOO_LONG,/* more than 15 bytes: #GP(0) */
    DEC_SHORT,   /* more bytes are needed than were given */
};
/* Decode at most `avail` bytes (15 suffice). mode: 0/1/2. real_or_vm: CR0.PE = 0 or VM86 (IA_PE rows and VEX are #UD;
 * C4/C5/62 are LES/LDS/BOUND). Undefined/reserved forms give DEC_UD; LOCK on rows or forms that do not allow it gives DEC_UD. */
enum dec_status dec_decode(const uint8_t *bytes, size_t avail, uint64_t ip, int mode, bool real_or_vm,
                           struct dec_insn *out);

/* Effective size in bytes of operand i (1, 2, 4, 8, 16, 32, 10 ...). */
unsigned dec_op_size(const struct dec_insn *in, unsigned i);
/* Is this byte-register number AH/CH/DH/BH in this instruction? (no REX, number 4..7) */
static inline bool dec_is_high8(const struct dec_insn *in, unsigned reg)
{
    return !in->rex && !in->vex && reg >= 4 && reg <= 7;
}
static inline uint64_t dec_next_ip(const struct dec_insn *in)
{
    uint64_t n = in->ip + in->len;
    return in->mode == 2 ? n : in->mode == 1 ? (uint32_t)n : (uint32_t)n; /* 16-bit code: the lifter checks limits */
}
/* The rows, for tests and coverage. */
extern const struct insn_row insn_rows[] __attribute__((visibility("hidden")));
extern const unsigned insn_row_count __attribute__((visibility("hidden")));
/* Text for dumps by capstone (dump.c); debug only. */

#endif
