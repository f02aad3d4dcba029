/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lower_call.c - guest calls and returns as host CALL and RET, so that the host's return predictor works.
 *
 * A guest call ends in a host CALL, whose return address is its landing; where that leads, it is noted in cpu->ret[], in
 * the slot of the stack address that holds the guest's return address:
 *     call:      r10 := slot of rSP
 *                call successor's call entry             (site B; that entry: pop c->ret[r10])
 *     landing:   is the return address in r9 that of this call?   no: jmp r11
 *                same hflags, nothing pending?                    no: jmp r11
 *                is the page still mapped as when linked?         no: unlinked
 *                jmp continuation                        (site B of an exit of its own)
 * CS base and limit need no look: calls and returns are paired only in blocks where the base is 0 and the limit flat.
 * A guest return loads its address into r9 as ever, the address of its own lookup into r11, and does
 *                push c->ret[slot]; ret
 * The host predicts the landing of the last CALL, which is right as long as the guest nests its calls.  Prediction or
 * not, the slot's content decides where it goes, and the landing whether that was right.  Slots are never trusted, so
 * nothing has to be undone when the guest unwinds its stack in other ways; their contents are code of this cache
 * until it is flushed as a whole, which empties all slots.  The landing's last jump is an exit like others: linked and
 * unlinked as blocks come and go.
 */
#include "tb-store/stats.h"
#include "translator/x86-64/lower.h"

/*
 * The slot of a return address that lies at rSP + off, `reg` holding what is left of its address; flags may change.
 * In 64-bit code a slot is 8 bytes of stack and off is 0 or -8: then it is in the displacement.
 */
static struct x64_mem ret_slot(struct lower *l, unsigned reg, int32_t off)
{
    struct x64_buf *b = &l->b;
    unsigned from = X_R8;
    int32_t at = (int32_t)offsetof(struct guest_cpu, ret);

    if (off == -8 && (l->ir->key.hflags & HF_CODE_MASK) == HF_CODE64) {
        at -= 8;
    } else if (off) {
        x64_lea(b, 4, reg, x64_at(X_R8, off));
        from = reg;
    }
    if (l->fast_pext) {
        x64_pext_rrm(b, reg, from, X64_ENV(ret_mask));
        return (struct x64_mem) { X_RSP, (uint8_t)reg, 3, at };
    }
    if (from != reg) {
        x64_mov_rr(b, 4, reg, from);
    }
    x64_alu_ri(b, 4, 4, reg, (int32_t)(RET_SLOTS - 1) << 3);
    return (struct x64_mem) { X_RSP, (uint8_t)reg, 0, at };
}

#define SLOT X_R10       /* in which a call hands its slot to the call entry */

static void flags_entry(struct lower *l)
{
    _Static_assert(offsetof(struct guest_cpu, fl) < 128, "TB_FLAGS_ENTRY assumes a short displacement");
    uint8_t *entry = l->b.p;

    l->b.p -= TB_FLAGS_ENTRY;
    lower_save_flags(l);
    x64_byte(&l->b, 0xeb);                              /* jmp short: over the call entry */
    x64_byte(&l->b, (uint8_t)(entry - (l->b.p + 1)));
    for (ptrdiff_t pad = entry - l->b.p; pad > 0; pad--) {
        x64_byte(&l->b, 0xcc);
    }
    l->tbw->flags_entry = 1;
}

void lower_entries(struct lower *l)
{
    if (lower_has_flags_entry(l)) {
        flags_entry(l);
    }
    l->b.p -= TB_CALL_ENTRY;
    x64_op_rm(&l->b, 4, 0x8f, 0, (struct x64_mem) {     /* pop m: rsp in its address is the CPU again */
        X_RSP, SLOT, l->fast_pext ? 3 : 0, (int32_t)offsetof(struct guest_cpu, ret),
    });
}

void lower_return_slot(struct lower *l)
{
    ret_slot(l, SLOT, 0);
}

/* r9 = the guest's return address: that of exit's target? */
static uint8_t *check_address(struct lower *l, uint64_t ip)
{
    struct x64_buf *b = &l->b;

    if (ip == (uint64_t)(int64_t)(int32_t)ip) {
        l->movable = false;
        x64_alu_ri(b, 7, 8, X_R9, (int32_t)ip);
    } else {
        lower_mov_lip(l, X_R10, ip);
        x64_alu_rr(b, 7, 8, X_R9, X_R10);
    }
    return x64_jcc8(b, CC_NE);
}

void lower_landing(struct lower *l, unsigned index)
{
    struct x64_buf *b = &l->b;
    uint8_t slot = l->ir->ops[index].pair - 1;
    struct exit_code *x = &l->exit[slot];
    uint8_t *no[2], *out;

    _Static_assert(offsetof(struct guest_cpu, hflags) == offsetof(struct guest_cpu, exit_request) + 4, "one word");
    x->lip = lower_exit_lip(l, slot);
    x->flags = TBX_USED | TBX_CROSS;
    no[0] = check_address(l, l->ir->exit_ip[slot]);
    x64_mov_ri(b, X_R10, (uint64_t)l->ir->key.hflags << 32);
    x64_alu_rm(b, 7, 8, X_R10, X64_ENV(exit_request));
    no[1] = x64_jcc8(b, CC_NE);
    out = lower_check_page(l, x, X_R10);
    if (l->opt->profile) {
        lower_count(l, ST_RET_PAIRED);
    }
    x->jump = x64_jmp_aligned(b, NULL);
    lower_leave(l, x, &out, 1, NULL);                   /* the flags are where the return left them */
    x64_patch_rel8(b, no[0]);
    x64_patch_rel8(b, no[1]);
    x64_op_rr(b, 4, 0xff, 4, X_R11);                    /* jmp r11 */
}

void lower_return(struct lower *l, unsigned index)
{
    struct x64_buf *b = &l->b;
    const struct ir_op *o = &l->ir->ops[index];
    unsigned target = lower_use(l, o->src, X_R9);

    if (target != X_R9) {
        x64_mov_rr(b, 8, X_R9, target);
    }
    struct x64_mem m = ret_slot(l, X_R10, -(int32_t)(o->in->opsize + (o->in->imm & 0xffff)));
    x64_lea_rip(b, X_R11, x64_here(b));
    uint8_t *lookup = x64_here(b) - 4;
    x64_op_rm(b, 4, 0xff, 6, m);                        /* push [m] */
    x64_byte(b, 0xc3);
    lower_add_cold(l, &(struct cold) { .kind = COLD_LOOKUP, .op = (uint16_t)index, .no = { lookup } });
}
