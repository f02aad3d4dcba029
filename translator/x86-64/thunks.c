/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * thunks.c - entry to and ways out of generated code, themselves generated once per process.
 *
 * Entry: callee-saved registers and the thread's stack pointer are kept, rsp becomes the CPU pointer, guest registers
 * are loaded.  A thunk reached by `call` finds its return address just below the CPU struct: C code runs on the
 * thread's own stack, so that word stays put.  All guest registers are spilled around each call into C: whatever
 * happens there sees, and may change, complete state.
 */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "translator/exec.h"
#include "translator/x86-64/lower.h"

unsigned (*xbt_enter_code)(struct guest_cpu *c, const void *code);
static void *thunk_addr[TH_COUNT];
static void *look_addr[2];         /* for TH_SLOW_READ and TH_SLOW_WRITE where tables are flat */
static const uint8_t *thunks_end;

#define OFF(field) ((int32_t)offsetof(struct guest_cpu, field))
static const uint8_t callee_saved[] = { X_RBX, X_RBP, X_R12, X_R13, X_R14, X_R15 };

static void each_gpr(struct x64_buf *b, unsigned base, int32_t adj, bool load)
{
    for (unsigned g = 0; g < 16; g++) {
        unsigned h = host_reg(g);
        struct x64_mem m = x64_at(base, adj + OFF(gpr_mem) + (int32_t)g * 8);
        if (h == X_NONE) {
            continue;
        }
        if (load) {
            x64_mov_rm(b, 8, h, m);
        } else {
            x64_mov_mr(b, 8, m, h);
        }
    }
}

static void push_pop(struct x64_buf *b, bool pop)
{
    for (unsigned i = 0; i < sizeof(callee_saved); i++) {
        unsigned r = callee_saved[pop ? sizeof(callee_saved) - 1 - i : i];
        x64_rex(b, false, X_NONE, X_NONE, r, false);
        x64_byte(b, (pop ? 0x58 : 0x50) | (r & 7));
    }
}

static void gen_enter(struct x64_buf *b)
{
    xbt_enter_code = (unsigned (*)(struct guest_cpu *, const void *))(uintptr_t)x64_here(b);
    push_pop(b, false);
    x64_alu_ri(b, 5, 8, X_RSP, 8);
    x64_mov_mr(b, 8, x64_at(X_RDI, OFF(host_rsp)), X_RSP);
    x64_mov_rr(b, 8, X_RSP, X_RDI);
    x64_mov_rr(b, 8, X_R11, X_RSI);
    each_gpr(b, X_RSP, 0, true);
    x64_op_rr(b, 4, 0xff, 4, X_R11);            /* jmp r11 */
}

/* rsp = cpu + adj on entry: back to xbt_enter()'s caller with eax = code. */
static void gen_leave(struct x64_buf *b, int32_t adj, unsigned code)
{
    x64_mov_ri(b, X_RAX, code);
    x64_mov_rm(b, 8, X_RSP, x64_at(X_RSP, adj + OFF(host_rsp)));
    x64_alu_ri(b, 0, 8, X_RSP, 8);
    push_pop(b, true);
    x64_byte(b, 0xc3);
}

static void gen_exit(struct x64_buf *b, unsigned th, unsigned code)
{
    thunk_addr[th] = x64_here(b);
    each_gpr(b, X_RSP, 0, false);
    if (th == TH_INDIRECT) {
        x64_mov_mr(b, 8, X64_ENV(slow_addr), X_R10);
        x64_mov_mr(b, 4, X64_ENV(slow_size), X_R9);
    }
    gen_leave(b, 0, code);
}

static void gen_unlinked(struct x64_buf *b)
{
    thunk_addr[TH_UNLINKED_FLAGS] = x64_here(b);
    lower_flags_to(b, X_R9, x64_at(X_RSP, 8 + OFF(fl)));
    thunk_addr[TH_UNLINKED] = x64_here(b);
    each_gpr(b, X_RSP, 8, false);
    x64_mov_rm(b, 8, X_RAX, x64_at(X_RSP, 0));
    x64_mov_mr(b, 8, x64_at(X_RSP, 8 + OFF(unwind_pc)), X_RAX);
    gen_leave(b, 8, LEAVE_UNLINKED);
}

static void call_c(struct x64_buf *b, const void *fn)
{
    x64_mov_rm(b, 8, X_RSP, x64_at(X_RBX, OFF(host_rsp)));
    x64_mov_rr(b, 8, X_RDI, X_RBX);
    x64_mov_ri(b, X_RAX, (uint64_t)(uintptr_t)fn);
    x64_op_rr(b, 4, 0xff, 2, X_RAX);
}

/* A thunk reached by `call`.  pushed: bytes between rsp and the CPU struct. */
static void begin_called(struct x64_buf *b, unsigned th, int32_t pushed, bool unwind)
{
    if (pushed == 8) {
        thunk_addr[th] = x64_here(b);
    }
    each_gpr(b, X_RSP, pushed, false);
    x64_lea(b, 8, X_RBX, x64_at(X_RSP, pushed));
    if (unwind) {
        x64_mov_rm(b, 8, X_RAX, x64_at(X_RSP, pushed - 8));
        x64_mov_mr(b, 8, x64_at(X_RBX, OFF(unwind_pc)), X_RAX);
    }
}

static void end_called(struct x64_buf *b, int32_t pushed)
{
    x64_mov_mi32(b, 8, x64_at(X_RBX, OFF(unwind_pc)), 0);
    x64_lea(b, 8, X_RSP, x64_at(X_RBX, -pushed));
    each_gpr(b, X_RSP, pushed, true);
}

static void gen_slow(struct x64_buf *b, unsigned th, const void *fn)
{
    begin_called(b, th, 8, true);
    x64_mov_mr(b, 8, x64_at(X_RBX, OFF(slow_addr)), X_R10);
    x64_mov_rr(b, 8, X_RSI, X_R10);
    x64_mov_rr(b, 4, X_RDX, X_R9);
    call_c(b, fn);
    x64_mov_ri(b, X_R10, TH_FAR);
    x64_alu_rm(b, 0, 8, X_R10, x64_at(X_RBX, OFF(slow_addr)));
    x64_mov_rr(b, 8, X_R11, X_RAX);
    x64_alu_rr(b, 5, 8, X_R11, X_R10);
    if (th == TH_SLOW_WRITE) {
        /* return behind the caller's 5-byte jump when the store goes to the bounce buffer */
        x64_movzx_rm(b, 1, X_RAX, x64_at(X_RBX, OFF(commit.active)));
        x64_lea(b, 8, X_RAX, (struct x64_mem) { X_RAX, X_RAX, 2, 0 });
        x64_op_rm(b, 8, 0x01, X_RAX, x64_at(X_RBX, -8));
    }
    end_called(b, 8);
    x64_byte(b, 0xc3);
}

/*
 * In front of the slow access, with flat tables: unaligned operands and those in another page than the last access come
 * here, too.  What does not cross a page, demands nothing and is in the table goes on with r11.
 */
static void gen_look(struct x64_buf *b, unsigned th)
{
    bool wr = th == TH_SLOW_WRITE;

    look_addr[wr] = x64_here(b);
    x64_mov_mr(b, 4, x64_at(X_RSP, 8 + OFF(slow_size)), X_R9);
    x64_test_ri32(b, X_R9, TH_F_ALIGN | TH_F_AC | TH_F_X87);
    uint8_t *demands = x64_jcc8(b, CC_NE);
    x64_movzx_rr(b, 2, X_R11, X_R9);
    x64_lea(b, 4, X_R11, (struct x64_mem) { X_R10, X_R11, 0, -1 });
    x64_alu_rr(b, 6, 4, X_R11, X_R10);
    x64_bt_ri(b, X_R11, 12);
    uint8_t *crosses = x64_jcc8(b, CC_B);
    x64_mov_rr(b, 8, X_R11, X_R10);
    x64_shift_ri(b, 4, 8, X_R11, 16);
    x64_shift_ri(b, 5, 8, X_R11, 28);
    x64_mov_rm(b, 8, X_R9, x64_at(X_RSP, 8 + (wr ? OFF(wtab) : OFF(rtab))));
    x64_mov_rm(b, 8, X_R11, (struct x64_mem) { X_R9, X_R11, 3, 0 });
    x64_test_rr(b, 8, X_R11, X_R11);
    uint8_t *misses = x64_jcc8(b, CC_E);
    x64_byte(b, 0xc3);
    x64_patch_rel8(b, demands);
    x64_patch_rel8(b, crosses);
    x64_patch_rel8(b, misses);
    x64_mov_rm(b, 4, X_R9, x64_at(X_RSP, 8 + OFF(slow_size)));
    x64_jmp(b, thunk_addr[th]);
}

static void gen_commit(struct x64_buf *b)
{
    thunk_addr[TH_COMMIT] = x64_here(b);
    x64_byte(b, 0x9c);                           /* pushfq */
    begin_called(b, TH_COMMIT, 16, true);
    x64_mov_rm(b, 8, X_RAX, x64_at(X_RSP, 0));
    x64_mov_mr(b, 8, x64_at(X_RBX, OFF(host_flags)), X_RAX);
    call_c(b, (const void *)(uintptr_t)xbt_thunk_commit);
    x64_mov_ri(b, X_R10, TH_FAR);
    x64_alu_rm(b, 0, 8, X_R10, x64_at(X_RBX, OFF(slow_addr)));
    end_called(b, 16);
    x64_byte(b, 0x9d);                           /* popfq */
    x64_byte(b, 0xc3);
}

static void gen_helper(struct x64_buf *b)
{
    begin_called(b, TH_HELPER, 8, false);
    x64_mov_rr(b, 8, X_RSI, X_R10);
    call_c(b, (const void *)(uintptr_t)xbt_thunk_helper);
    end_called(b, 8);
    x64_byte(b, 0xc3);
}

static void gen_helper_x(struct x64_buf *b)
{
    thunk_addr[TH_HELPER_X] = x64_here(b);
    each_gpr(b, X_RSP, 0, false);
    x64_mov_rr(b, 8, X_RBX, X_RSP);
    x64_mov_rr(b, 8, X_RSI, X_R10);
    call_c(b, (const void *)(uintptr_t)xbt_thunk_helper_x);
    x64_mov_rr(b, 8, X_R11, X_RAX);
    x64_mov_rr(b, 8, X_RSP, X_RBX);
    each_gpr(b, X_RSP, 0, true);
    x64_op_rr(b, 4, 0xff, 4, X_R11);
}

static void gen_seg_fault(struct x64_buf *b)
{
    begin_called(b, TH_SEG_FAULT, 8, true);
    x64_mov_rr(b, 4, X_RSI, X_R9);
    x64_mov_rr(b, 4, X_RDX, X_R10);
    call_c(b, (const void *)(uintptr_t)xbt_thunk_seg_fault);
}

static void gen_raise(struct x64_buf *b)
{
    thunk_addr[TH_RAISE] = x64_here(b);
    each_gpr(b, X_RSP, 0, false);
    x64_mov_rr(b, 8, X_RBX, X_RSP);
    x64_mov_rr(b, 4, X_RSI, X_R9);
    call_c(b, (const void *)(uintptr_t)xbt_thunk_raise);
}

static void gen_ret_none(struct x64_buf *b)
{
    thunk_addr[TH_RET_NONE] = x64_here(b);
    x64_op_rr(b, 4, 0xff, 4, X_R11);            /* jmp r11 */
}

bool thunks_init(void)
{
    const size_t size = 16384;

    if (xbt_enter_code) {
        return true;
    }
    uint8_t *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED) {
        return false;
    }
    struct x64_buf b = { mem, mem + size - X64_SLACK, 0, false, NULL };
    gen_enter(&b);
    gen_slow(&b, TH_SLOW_READ, (const void *)(uintptr_t)xbt_thunk_read);
    gen_slow(&b, TH_SLOW_WRITE, (const void *)(uintptr_t)xbt_thunk_write);
    gen_look(&b, TH_SLOW_READ);
    gen_look(&b, TH_SLOW_WRITE);
    gen_commit(&b);
    gen_helper(&b);
    gen_helper_x(&b);
    gen_seg_fault(&b);
    gen_raise(&b);
    gen_unlinked(&b);
    gen_ret_none(&b);
    gen_exit(&b, TH_INDIRECT, LEAVE_INDIRECT);
    gen_exit(&b, TH_SPECIAL, LEAVE_SPECIAL);
    gen_exit(&b, TH_RECHECK, LEAVE_RECHECK);
    thunks_end = b.p;
    return !b.overflow && mprotect(mem, size, PROT_READ | PROT_EXEC) == 0;
}

void thunks_fill(struct guest_cpu *c)
{
    _Static_assert(TH_COUNT - TH_NEAR <= sizeof(c->more_thunks) / sizeof(c->more_thunks[0]), "room for all");
    for (unsigned i = 0; i < TH_COUNT; i++) {
        *(i < TH_NEAR ? &c->thunk[i] : &c->more_thunks[i - TH_NEAR]) = thunk_addr[i];
    }
    if (tlb_format(c) == TLB_FLAT) {
        c->thunk[TH_SLOW_READ] = look_addr[0];
        c->thunk[TH_SLOW_WRITE] = look_addr[1];
    }
    c->ret_mask = (RET_SLOTS - 1) << 3;
    c->ret_none = c->ret_before = thunk_addr[TH_RET_NONE];
    for (unsigned i = 0; i < RET_SLOTS; i++) {
        c->ret[i] = c->ret_none;
    }
}

static const char *const thunk_name[TH_COUNT] = {
    [TH_SLOW_READ] = "slow-read", [TH_SLOW_WRITE] = "slow-write", [TH_COMMIT] = "commit",
    [TH_UNLINKED] = "exit-unlinked", [TH_UNLINKED_FLAGS] = "exit-unlinked-flags", [TH_INDIRECT] = "exit-indirect", [TH_HELPER] = "helper",
    [TH_HELPER_X] = "helper-ends-block", [TH_SEG_FAULT] = "segment-fault", [TH_RAISE] = "raise",
    [TH_SPECIAL] = "exit-special", [TH_RECHECK] = "exit-recheck", [TH_RET_NONE] = "return-unpaired",
};

/* A thunk ends where the next in memory begins. */
void thunks_each(void (*fn)(const char *name, const void *code, size_t size, void *arg), void *arg)
{
    const uint8_t *enter = (const uint8_t *)(uintptr_t)xbt_enter_code;

    for (int i = -1; i < TH_COUNT; i++) {
        const uint8_t *from = i < 0 ? enter : thunk_addr[i], *to = thunks_end;
        for (unsigned k = 0; k < TH_COUNT; k++) {
            const uint8_t *other = thunk_addr[k];
            to = other > from && other < to ? other : to;
        }
        to = enter > from && enter < to ? enter : to;
        fn(i < 0 ? "enter" : thunk_name[i] ? thunk_name[i] : "thunk", from, (size_t)(to - from), arg);
    }
}
