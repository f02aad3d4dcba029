/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lower.h - IR -> host code, shared by the lower_*.c files.
 *
 * The hot path is emitted in IR order; what is rarely taken (slow accesses, exit stubs of taken branches) is collected
 * as `cold` items and emitted after it, to another part of the code cache.  ADDR leaves the operand's host address as [r10 + r11]; r9 is free for the op
 * that uses it.
 */
#ifndef XBT_X64_LOWER_H
#define XBT_X64_LOWER_H

#include "translator/ir.h"
#include "translator/state_map.h"
#include "translator/x86-64/emit.h"
#include "translator/x86-64/regs.h"

#define MAX_COLD (IR_MAX_INSNS * 3)
#define MAX_RECS (IR_MAX_INSNS * 8)
#define NOT_YET  (~0u)

enum cold_kind { COLD_ACCESS, COLD_EXIT, COLD_UNLINKED, COLD_LOOKUP, COLD_LEAVE, COLD_DONE };

struct cold {
    uint8_t kind;
    uint8_t reg;             /* COLD_LEAVE: holds the indirect target */
    bool loop;               /* COLD_EXIT: it has a loop path */
    uint16_t op;             /* index of the ADDR / exit op */
    int guest_off, next_off; /* as in struct lower, there */
    struct x87_last x87;     /* as lower.x87, at the ADDR */
    uint8_t *branch;         /* COLD_EXIT: rel32 field of the branch to the stub */
    uint8_t *no[2];          /* COLD_LOOKUP, COLD_LEAVE: what leads there */
    uint8_t *found;          /* COLD_LEAVE: where an entry of the jump cache (r11) is used */
    uint8_t lip_reg;         /* COLD_LEAVE: holds the linear address of the target */
    /* COLD_ACCESS only, the rest: */
    uint16_t use, use_end;   /* ops to repeat on the bounce buffer: [use, use_end) */
    uint8_t *seg[3];         /* jumps to the segment fault */
    uint8_t *unaligned;      /* jump to the crossing check */
    uint8_t *fast;           /* where the crossing check goes back to */
    uint8_t *miss, *cross, *misaligned; /* jumps to the slow access */
    uint8_t *resume;         /* the op that uses the address */
    uint8_t *after;          /* behind the ops [use, use_end) */
    uint8_t *leave_window;   /* jump from a window access whose page is another one */
    bool close_window;       /* there: a load looks up the read table, but stores may follow in the window */
};

/*
 * The access window: r10 still holds the linear address of the last access and r11 its page's addend, and guest
 * register `reg` plus `off` is that address.  A later access off the same register then only has to show that it is in
 * the same page.  After any slow path r10 holds the address plus TH_FAR, which no window access can match.
 */
/* An address of `reg` plus off has surely been accessed by that addend. */
struct addend_seen { bool yes; int64_t off; };

struct window {
    bool hostmap;            /* r11 holds the addend of the register's 1 TiB; reg plus off is what it was looked up with */
    bool valid, writable;
    uint8_t reg, width;
    int64_t off;
    struct addend_seen seen;
};

/*
 * In code of hot spaces r10 is free where no operand needs an address of its own.  Then it holds what is wanted again:
 * guest r8-r11's value (which is in its slot too), or the addend of a second base register.
 */
enum r10_kind { R10_FREE, R10_COPY, R10_ADDEND };

struct r10_use {
    uint8_t kind;
    uint8_t reg;
    bool fresh;              /* the copy is of what the current op wrote */
    int64_t off;             /* R10_ADDEND: as window.off */
    struct addend_seen seen;
};

/* A direct exit, as struct tb_exit but with addresses. */
struct exit_code {
    uint64_t lip;
    uint8_t flags;
    uint8_t *branch, *branch_full, *branch_noflags, *jump, *jump_unlinked, *cp_imm;
};

/* lower_loop.c */
struct loop_state { unsigned r11, r10; };      /* guest registers whose addends they hold; IR_NOREG */
enum loop_pass { LOOP_FIRST, LOOP_SECOND, LOOP_FAILED, LOOP_WITHOUT };
struct loop {
    uint8_t pass;
    bool found;              /* LOOP_FIRST: the block loops, with `want` at its end */
    struct loop_state want;
    uint8_t *head;
};
struct loop_out { uint8_t *full, *checks; };   /* jumps to parts of the exit's stub */

struct lower {
    struct x64_buf b;
    const struct ir_block *ir;
    struct guest_cpu *c;
    struct tb *tb;           /* rx pointer: for addresses in code */
    struct tb *tbw;          /* rw pointer: for stores */
    uint8_t *entry;
    uint8_t *cold0;          /* where cold code begins; NULL: not yet */
    size_t hot_size;
    struct exit_code exit[TB_EXITS];
    const struct xbt_options *opt;
    const uint8_t *rec_base; /* what host_off in records of this part is from */
    unsigned n_cold, n_recs;
    int open_cold;           /* ADDR whose ops are being emitted; -1 none */
    unsigned close_at;       /* op that its `after` is in front of; NOT_YET: not known */
    int guest_off;           /* of the current instruction from the block's start */
    int next_off;            /* of the one behind it */
    bool split;              /* the cold code is elsewhere */
    bool fast_pext, bextr;
    bool waits;              /* the block is a loop that waits for something in memory */
    bool windows;            /* this block's mode and the options allow access windows */
    struct window win;
    struct x64_mem opnd;     /* the operand that the last ADDR found */
    bool direct;             /* through the host's MMU: no cold part */
    struct x87_last x87;     /* not yet in cpu->fptr */
    struct loop loop;
    bool hot;                /* r10 may hold something */
    struct r10_use r10;
    unsigned clock, r9_used, r10_used, r11_used; /* when what they hold was wanted last */
    unsigned r9_reg;         /* guest register or temporary whose value r9 holds; IR_NOREG = none */
    enum tlb_format fmt;
    bool movable;            /* the code can be copied for another linear address (tb-store/relocate.c) */
    struct x64_fixes fixes;
    struct cold cold[MAX_COLD];
    struct state_rec recs[MAX_RECS];
};

/* Host register of a guest GPR, or X_NONE when it lives in memory. */
static inline unsigned host_reg(unsigned g)
{
    return g == R_RSP ? X_R8 : g >= R_R8 && g <= R_R11 ? X_NONE : g;
}
X64_INLINE struct x64_mem gpr_slot(unsigned g)
{
    return x64_env(offsetof(struct guest_cpu, r8_11) + 8 * (g - R_R8));
}
X64_INLINE struct x64_mem tmp_slot(unsigned t)
{
    return x64_env(offsetof(struct guest_cpu, spill) + 8 * (t - IR_T0));
}
X64_INLINE struct x64_mem thunk_slot(unsigned th)
{
    return x64_env(th < TH_NEAR ? offsetof(struct guest_cpu, thunk) + 8 * th
                                : offsetof(struct guest_cpu, more_thunks) + 8 * (th - TH_NEAR));
}
static inline struct x64_mem slow_operand(void)
{
    return (struct x64_mem) { X_R10, X_R11, 0, 0 };
}

/* lower.c */
static inline void lower_record(struct lower *l, const uint8_t *pc, int guest_off, unsigned kind, const struct recipe *rc)
{
    if (l->n_recs == MAX_RECS) {
        l->b.overflow = true;
        return;
    }
    struct state_rec *r = &l->recs[l->n_recs++];
    r->host_off = (uint32_t)(pc - l->rec_base);
    r->guest_off = (uint16_t)guest_off;
    r->kind = (uint8_t)kind;
    r->direct = l->direct;
    r->r10 = l->direct && l->opnd.index == X_R10;
    r->x87 = l->x87;
    if (rc) {
        r->rc = *rc;
    }
}
void lower_op(struct lower *l, const struct ir_op *o);
/* Register holding guest register or temporary r (loaded into `scratch` when it lives in memory). */
unsigned lower_use(struct lower *l, unsigned r, unsigned scratch);
/* The same for a reader who takes any register: where a copy is, or r9. */
unsigned lower_any(struct lower *l, unsigned r);
X64_INLINE void lower_call_thunk(struct lower *l, unsigned thunk)
{
    x64_op_rm(&l->b, 4, 0xff, 2, thunk_slot(thunk));
}
X64_INLINE void lower_jmp_thunk(struct lower *l, unsigned thunk)
{
    x64_jmp_m(&l->b, thunk_slot(thunk));
}
/* dst := a linear address that moves with the block's; no flags. */
void lower_mov_lip(struct lower *l, unsigned dst, uint64_t lip);
/* cpu->rip := ip; r10 may be used, flags are not. */
void lower_set_rip(struct lower *l, uint64_t ip);
/* Cold code comes out of order: set guest_off and next_off to the instruction that it belongs to. */
static inline void lower_at_insn_of(struct lower *l, const struct cold *k)
{
    l->guest_off = k->guest_off;
    l->next_off = k->next_off;
}
/* cpu->stat[stat]++; clobbers flags. */
void lower_count(struct lower *l, unsigned stat);
/* With opt.profile: one more execution of the block; r9 too. */
void lower_count_turn(struct lower *l);
/* lower_flags.c */
/* Host flags := the guest's, where op o wants them. */
void lower_flags_before(struct lower *l, const struct ir_op *o);
/* Host flags := cpu->fl; r9 is used. */
void lower_load_flags(struct lower *l);
/* Host flags := those of the recipe; r9 may be used. */
void lower_recipe_flags(struct lower *l, const struct recipe *rc);
/* cpu->fl := host flags, which stay as they are. */
void lower_save_flags(struct lower *l);
/* The same for the thunks: fl is where cpu->fl is, rax is borrowed by way of register t. */
void lower_flags_to(struct x64_buf *b, unsigned t, struct x64_mem fl);
/* lower_native.c */
void lower_native(struct lower *l, const struct ir_op *o);
void lower_lea(struct lower *l, const struct ir_op *o);
void lower_btofs(struct lower *l, const struct ir_op *o);
/* r10 := effective address offset + extra, truncated to the address size. */
void lower_ea(struct lower *l, const struct dec_insn *in, unsigned dst, int64_t extra);
/* lower_x87.c: the x87 pointers (fpu_ptr.h) */
/* An x87 instruction has been emitted; its memory operand's address is still in r10.  r9 may be used. */
void lower_x87_done(struct lower *l, const struct dec_insn *in);
/* cpu->fptr := what l->x87 knows.  No register and no flag is changed. */
void lower_x87_flush(struct lower *l);
/* lower_mem.c */
void lower_addr(struct lower *l, unsigned index);
void lower_cold_access(struct lower *l, struct cold *k);
/* dst := addend of the 1 TiB that the address in register r lies in.  No flags. */
void lower_hostmap_addend(struct lower *l, unsigned dst, unsigned r);
/* lower_loop.c */
/* In front of the first op. */
void lower_loop_head(struct lower *l);
/* `addr`'s operand is at its base register plus off, by the addend in l->opnd. */
void lower_loop_seen(struct lower *l, const struct ir_op *addr, int64_t off);
/* At exit op `index`: is it to have a loop path? */
bool lower_loop_end(struct lower *l, unsigned index);
void lower_loop_path(struct lower *l, const struct ir_op *o, struct loop_out *out);
/* Forget what the scratch registers hold. */
static inline void lower_forget(struct lower *l)
{
    l->win.valid = false;
    l->r10.kind = R10_FREE;
    l->r9_reg = IR_NOREG;
}
/* r10 is written: a window of the tables needs it, an addend does not. */
static inline void r10_written(struct lower *l)
{
    l->win.valid &= l->win.hostmap;
    l->r10.kind = R10_FREE;
}
static inline void r10_holds(struct lower *l, unsigned reg)
{
    if (l->hot) {
        l->r10 = (struct r10_use) { .kind = R10_COPY, .reg = (uint8_t)reg };
        l->r10_used = ++l->clock;
    }
}
static inline bool r10_has(const struct lower *l, unsigned reg) { return l->r10.kind == R10_COPY && l->r10.reg == reg; }
static inline void r9_holds(struct lower *l, unsigned reg)
{
    l->r9_reg = l->opt->no_r9 ? IR_NOREG : reg;
    l->r9_used = ++l->clock;
}
/* Keep the window and the r9 cache true after op o has been emitted. */
void lower_track(struct lower *l, const struct ir_op *o);
/* lower_exit.c */
void lower_exit_op(struct lower *l, unsigned index);
bool lower_is_waiting_loop(const struct ir_block *ir);
bool lower_exit_is_backward(struct lower *l, const struct cold *k);
void lower_cold_exit(struct lower *l, struct cold *k);
void lower_cold_unlinked(struct lower *l, const struct cold *k);
/* The lookup of a return whose landing was not the right one; r9 = the guest's return address. */
void lower_cold_lookup(struct lower *l, const struct cold *k);
/* An indirect target that is not in the jump cache, or something is pending. */
void lower_cold_leave(struct lower *l, const struct cold *k);
/* Cold code of the current instruction, other than COLD_ACCESS. */
X64_INLINE void lower_add_cold(struct lower *l, const struct cold *k)
{
    if (l->n_cold == MAX_COLD) {
        l->b.overflow = true;
        return;
    }
    struct cold *to = &l->cold[l->n_cold++];
    to->kind = k->kind;
    to->reg = k->reg;
    to->loop = k->loop;
    to->op = k->op;
    to->guest_off = l->guest_off;
    to->next_off = l->next_off;
    to->x87 = k->x87;
    to->branch = k->branch;
    to->no[0] = k->no[0];
    to->no[1] = k->no[1];
    to->found = k->found;
    to->lip_reg = k->lip_reg;
}
uint8_t *lower_check_page(struct lower *l, struct exit_code *x, unsigned tmp);
void lower_leave(struct lower *l, struct exit_code *x, uint8_t *const *out, unsigned n_out, const struct recipe *rc);
/* Linear address of the target of exit `slot`. */
uint64_t lower_exit_lip(const struct lower *l, unsigned slot);

/* lower_call.c: calls and returns that use the host's return predictor */
/* In front of the block's entry, which is here: the call entry, c->ret[slot] := the return address of a host CALL, which
 * is taken off; in front of that the flags entry. */
void lower_entries(struct lower *l);
static inline bool lower_has_flags_entry(const struct lower *l) { return l->ir->needs_flags && !l->opt->no_flags_entry; }
/* What a call entry wants: the slot of the guest's rSP.  Uses r10 and flags. */
void lower_return_slot(struct lower *l);
/* Right behind the host CALL of op `index`: checks, then the exit that goes on behind the guest's call. */
void lower_landing(struct lower *l, unsigned index);
/* Op `index` is a return: go to where its call noted. */
void lower_return(struct lower *l, unsigned index);

/* The whole block into tb's memory; returns the rx end of its cold part, or NULL when it does not fit. */
uint8_t *lower_block(struct guest_cpu *c, const struct ir_block *ir, struct tb *tb, const struct tb_room *room);

/* hostcpu.c: features of this host, found once. */
struct host_features { bool bmi1, bmi2, fast_pext, avx, xsave; uint32_t xcr0; };
const struct host_features *host_features(void);


#endif
