/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ir.h - the intermediate representation of one block.
 *
 * Same-ISA translation keeps the IR close to the guest: most guest instructions are one NATIVE op (the decoded
 * instruction itself, to be re-encoded), preceded by an ADDR op when it has a memory operand.  What the host cannot
 * run as it stands is spelled with a few simple ops or a HELPER.  A block is entered at its start only and may be left
 * by conditional branches on the way; there are no IR labels.
 *
 * Registers: 0..15 guest GPRs, IR_T0/IR_T1 temporaries that live in memory (cpu->spill) so that they survive an ADDR.
 * Status flags are implicit: each op says which it reads and writes (fl_read, fl_write), the flag pass (opt_flags.c)
 * decides where they live and annotates `load_fl`, `save_fl`, `fl_in_host`, `site`.
 */
#ifndef XBT_IR_H
#define XBT_IR_H

#include "translator/decode.h"
#include "tb-store/tb.h"

#define IRA_C 1u
#define IRA_S 2u
#define IRA_F 4u
#define IRA_X 8u
#define IRA_M 16u

enum ir_opcode {
#define IR_OP(e, t, a) IR_##e,
#include "translator/ir_ops.inc"
#undef IR_OP
    IR_COUNT
};

#define IR_T0 16
#define IR_T1 17
#define IR_NOREG 0xff

enum addr_kind {
    AK_INSN,   /* effective address of in's memory operand */
    AK_BT,     /* AK_INSN + T1 */
    AK_REG,    /* GPR reg + imm, truncated to `width` (2, 4, 8) */
};

/* Where the guest's status flags can be found at a precise-state site (state_map.h). */
enum site_kind {
    SK_NONE, SK_ENV, SK_HOST, SK_RECIPE,
    SK_ENTRY                    /* as at the block's entry: SK_HOST when cpu->fl is FL_IN_HOST, else SK_ENV */
};
/* Recompute flags from register values at the site: what the producer was. */
/* From RC_SHL on the producer's old value is in cpu->old_value (ir_op.keep_old). */
enum recipe_op { RC_ADD, RC_SUB, RC_CMP, RC_LOGIC, RC_TEST, RC_SHL, RC_SHR, RC_SAR };
struct recipe {
    uint8_t op, size;
    uint8_t dst, src;   /* GPR numbers; src IR_NOREG = imm */
    int32_t imm;
};

enum { FLAGS_ENV = 1, FLAGS_RECIPE };
enum { ALIGN_HOST = 1,   /* the host's instruction faults by itself (MOVAPS...): no crossing guard */
       ALIGN_MXCSR = 2 };/* it depends on MXCSR.MM */

struct ir_op {
    uint8_t op;
    uint8_t size;       /* access or operand size in bytes */
    uint8_t acc;        /* ADDR: OA_R / OA_W / OA_RW */
    uint8_t kind;       /* ADDR: enum addr_kind */
    uint8_t seg;        /* ADDR: segment */
    uint8_t dst, src;   /* register numbers */
    uint8_t width;      /* AK_REG: address width */

    uint8_t slot;       /* exits */
    uint8_t cc;
    uint8_t pair;       /* calls: 1 + the exit that goes on behind the call; returns: 1 (x86-64/lower_call.c) */
    uint8_t aligned;    /* ADDR: ALIGN_*: the instruction demands alignment */
    uint8_t no_ac;      /* ADDR: never #AC */
    uint8_t hostmap;    /* ADDR: through the host's MMU, not the tables (opt_hostmap.c): no flags clobbered, no site */
    uint8_t x87_wait;   /* ADDR: a pending x87 exception comes before the operand's faults */
    uint8_t is_site;    /* a host signal or a slow path may ask for precise state here */

    /* annotations of the flag pass */
    uint8_t load_fl;    /* host flags := the guest's before the op (after its ADDR): FLAGS_ENV or FLAGS_RECIPE (rc) */
    uint8_t save_fl;    /* cpu->fl := host flags after the op */
    uint8_t fl_in_host; /* exits: flags are in the host's register only: the exit stub saves them */
    uint8_t fl_recipe;  /* exits: flags are nowhere: the exit stub makes them with rc and saves them */
    uint8_t site;       /* enum site_kind before the op */
    uint8_t site_after; /* ... after it (stores: the commit path) */
    uint8_t keep_old;   /* cpu->old_value := destination before the op: a recipe needs it */
    uint8_t fl_maybe;   /* flags are written only for some operand values (shift by CL) */

    uint16_t fl_read, fl_write;
    uint16_t gprs;      /* GPRs that it may write (ir_gpr_writes()) */
    uint8_t stores;     /* it writes to guest memory */
    uint8_t quiet;      /* neither flags nor sites nor exits: nothing for the flag pass */
    int64_t imm;
    const struct dec_insn *in;
    /* Valid where another field says so. */
    struct recipe rc, rc_after;
};

/* What the flag pass says about a branch of the block to itself (x86-64/lower_loop.c). */
enum ir_loop { LOOP_NONE, LOOP_ENV /* the head wants the flags in cpu->fl */, LOOP_HOST /* in the host's register */ };

#define IR_MAX_INSNS 64     /* bits of ir_block.keep */
#define IR_MAX_OPS   (IR_MAX_INSNS * 8 + 16)

struct ir_block {
    struct tb_key key;
    uint64_t lip, ip;            /* linear and offset address of the first instruction */
    uint32_t second_cp_id;       /* 0, or the cp id of the second page of a page-crossing instruction */
    unsigned n_ops, n_insns;
    unsigned guest_size;         /* from the first instruction to the end of the last byte that the block depends on */
    unsigned guest_before;       /* the same in front of the first instruction: it went on at a jump's target there */
    bool hostmap;                /* operands may go through the host's MMU (opt_hostmap.c) */
    bool follow;                 /* go on at the targets of direct jumps (opt) */
    bool backward;               /* it has gone on at a target behind: exits cannot rely on going forward */
    bool followed;               /* the last instruction is such a jump, to `ip_next` */
    uint64_t ip_next;
    bool needs_flags;            /* set by the flag pass */
    const struct insn_row *sti_row; /* STI's own row while its op is the open form */
    uint8_t loop;                /* enum ir_loop, by the flag pass */
    bool loop_load;              /* host flags := the guest's at the entry, for a reader of those */
    bool special;                /* SHADOW, RF or TF block: one instruction, all exits go to the loop */
    unsigned n_exits;
    uint64_t exit_ip[TB_EXITS];  /* targets of direct exits (rip offset) */
    bool pair;                   /* calls and returns use the return cache (opt) */
    const uint8_t *page_host;    /* the page of the first instruction; NULL: it is not RAM, or no immediate stays in memory */
    unsigned n_holes;
    struct tb_hole hole[TB_HOLES];
    bool extend;                 /* go on behind conditional jumps forward (opt) */
    struct ir_op ops[IR_MAX_OPS];
    struct dec_insn insns[IR_MAX_INSNS];
    uint64_t keep;                /* by instruction: a helper refers to it at run time */
};

extern const char *const ir_op_names[IR_COUNT] __attribute__((visibility("hidden")));
extern const uint8_t ir_op_attr[IR_COUNT] __attribute__((visibility("hidden")));

/* lift.c: append the ops of in to the block. Returns true when the block ends after it. */
bool lift_insn(struct guest_cpu *c, struct ir_block *b, const struct dec_insn *in);
/* Does the host's own instruction fault on any misaligned address, whatever MXCSR.MM? */
bool insn_always_aligned(const struct dec_insn *in);
/* The block ends here, with nothing after its last instruction. */
void lift_end(struct ir_block *b, uint64_t ip);
/* Append a fall-through exit to ip. */
void lift_fallthrough(struct ir_block *b, uint64_t ip);
/* Append an exception at instruction address ip (already in an INSN op). */
void lift_raise(struct ir_block *b, unsigned vector, bool error0);
/* Is there an instruction of the block at ip? */
bool ir_has_insn(const struct ir_block *b, uint64_t ip);
/* GPRs that an op may write, as a mask (conservative). */
uint32_t ir_gpr_writes(const struct ir_op *op);

/* opt_hostmap.c: may operands of the block go through the host's MMU; may this one, a complete ADDR? */
bool opt_hostmap(const struct ir_block *b);
void opt_hostmap_operand(const struct ir_block *b, struct ir_op *o);
/* opt_flags.c */
void opt_flags(struct ir_block *b, const struct xbt_options *opt);
/* ir.c: NULL when the block is well formed, else what is wrong. */
const char *ir_verify(const struct ir_block *b);
/* Text of the block into buf (for dumps; FP state parked). */
void ir_print(const struct ir_block *b, char *buf, size_t size);

#endif
