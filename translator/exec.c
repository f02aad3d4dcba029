/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exec.c - the vCPU loop: interrupts -> lookup -> translate -> enter -> what ended it.
 *
 * Everything that leaves generated code or raises an exception comes back here through one recovery point
 * (c->jmpbuf).  All state is in *c; the loop keeps nothing in locals across a jump.  FP state stays live in the host's
 * registers while the loop runs; it is parked before any callback.
 */
#include <time.h>

#include "tlb/hostmap.h"
#include "translator/debugger.h"
#include "translator/desc.h"
#include "translator/exec.h"
#include "translator/fpu_ptr.h"
#include "translator/smp.h"
#include "translator/state_map.h"
#include "translator/svm.h"
#include "translator/x86-64/lower.h"

#define HF_SPECIAL (HF_SHADOW | HF_RF | HF_TF | HF_DBG)
#define DR6_BS (1u << 14)

static _Noreturn void leave_to_loop(struct guest_cpu *c, unsigned why)
{
    c->leave = why;
    c->unwind_pc = 0;
    __builtin_longjmp(c->jmpbuf, 1);
}

static uint64_t cur_lip(const struct guest_cpu *c)
{
    return cpu_code64(c) ? c->rip : (uint32_t)(c->rip + c->cs_base);
}

void tb_restore_state(struct guest_cpu *c, uint64_t host_pc)
{
    struct tb *tb = tb_find_host_pc(c->vm->store, (const void *)(uintptr_t)host_pc);
    struct state_rec r;

    if (!tb) {
        return;
    }
    uint64_t ip = tb->key.lip - tb->key.cs_base;
    if (!state_map_find(tb_state_map(tb), tb->state_map_size, tb_host_off(tb, host_pc), &r)) {
        c->rip = cpu_code64(c) ? ip : (uint32_t)ip;
        return;
    }
    ip += (uint64_t)(int64_t)(int16_t)r.guest_off;
    c->rip = cpu_code64(c) ? ip : (uint32_t)ip;
    if (r.x87.at) {
        uint64_t fip = tb->key.lip - tb->key.cs_base + (uint64_t)(int64_t)(int16_t)(r.x87.at - 1);
        fpu_ptr_set(c, cpu_code64(c) ? fip : (uint32_t)fip, r.x87.fop, r.x87.seg);
    }
    if (r.kind == SK_HOST || (r.kind == SK_ENTRY && (c->fl & FL_IN_HOST))) {
        c->fl = eflags_to_fl((uint32_t)c->host_flags);
    } else if (r.kind == SK_RECIPE) {
        c->fl = recipe_flags(c, &r.rc);
    }
}

/* ---- calls from generated code ---- */

static void resume_fpu(struct guest_cpu *c)
{
    if (!c->fpu_live) {
        fpu_unpark(c);
    }
}

/* A waiting x87 instruction found a pending exception: #MF, or FERR# to the interrupt controller. */
static _Noreturn void raise_mf(struct guest_cpu *c)
{
    if (!(c->cr[0] & CR0_NE)) {
        if (c->svm.nested && svm_wants(c, VMEXIT_FERR)) {
            svm_exit(c, VMEXIT_FERR, 0, 0);
        }
        tb_restore_state(c, c->unwind_pc);
        c->unwind_pc = 0;
        fpu_park(c);
        if (c->host->set_ferr) {
            c->host->set_ferr(c, true);
        }
        leave_to_loop(c, LEAVE_HELPER);
    }
    cpu_raise(c, EXC_MF);
}

static bool mxcsr_mm(void)
{
    uint32_t mxcsr;

    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    return mxcsr >> 17 & 1;
}

static bool x87_pending(void)
{
    uint16_t fsw;

    __asm__ volatile("fnstsw %0" : "=m"(fsw));
    return fsw >> 7 & 1;
}

/* What comes before the page fault: on the fast path the host itself complains (SDM vol. 3, table 6-2). */
static void check_before_page(struct guest_cpu *c, uint64_t lin, uint32_t flags)
{
    uint32_t size = flags & 0xffff;

    if ((flags & TH_F_X87) && x87_pending()) {
        raise_mf(c);
    }
    if ((flags & TH_F_ALIGN) && (lin & (size - 1)) && !((flags & TH_F_MM) && mxcsr_mm())) {
        cpu_raise_err(c, EXC_GP, 0);
    }
    if ((flags & TH_F_FLAT32) && (uint32_t)lin + size - 1 < (uint32_t)lin) {
        cpu_raise_err(c, flags & TH_F_SS ? EXC_SS : EXC_GP, 0);
    }
    if (cpu_code64(c) && !is_canonical(c, lin)) {
        return;                             /* not canonical: found by the access */
    }
    if ((flags & TH_F_AC) && (lin & (TH_AC_UNIT(size) - 1))) {
        cpu_raise_err(c, EXC_AC, 0);
    }
}

/* After a slow access: a device may have been asked, and what it did by DMA is visible now. */
static void resume_after_access(struct guest_cpu *c)
{
    if (!c->fpu_live) {
        tb_check_dma(c);
        fpu_unpark(c);
    }
}

void *xbt_thunk_read(struct guest_cpu *c, uint64_t lin, uint32_t flags)
{
    check_before_page(c, lin, flags);
    c->slow_flags = (flags & TH_F_SS) != 0;
    c->stat[ST_SLOW_READ]++;
    void *p = tlb_slow_read(c, lin, flags & 0xffff);
    resume_after_access(c);
    return p;
}

void *xbt_thunk_write(struct guest_cpu *c, uint64_t lin, uint32_t flags)
{
    check_before_page(c, lin, flags);
    c->slow_flags = (flags & TH_F_SS) != 0;
    c->commit.active = 0;
    c->stat[ST_SLOW_WRITE]++;
    uint32_t rmw = flags & TH_F_LOCK ? TLB_RMW_LOCKED : flags & TH_F_X87 ? TLB_KEEP : TLB_RMW;
    void *p = tlb_slow_write(c, lin, flags & 0xffff, flags & (TH_F_LOCK | TH_F_RMW) ? rmw : 0);
    c->stat[ST_SLOW_COMMIT] += c->commit.active;
    resume_after_access(c);
    return p;
}

void xbt_thunk_commit(struct guest_cpu *c)
{
    uint64_t pc = c->unwind_pc;

    c->unwind_pc = 0;
    if (tlb_slow_commit(c)) {
        struct tb *tb = tb_find_host_pc(c->vm->store, (const void *)(uintptr_t)pc);
        struct state_rec r;
        /* No record: the instruction ends the block, which leaves by itself. */
        if (tb && state_map_find(tb_state_map(tb), tb->state_map_size, tb_host_off(tb, pc), &r)) {
            tb_restore_state(c, pc);
            c->stat[ST_EXIT_SMC]++;
            leave_to_loop(c, LEAVE_SMC);
        }
    }
    resume_after_access(c);
}

static void advance(struct guest_cpu *c, const struct dec_insn *in)
{
    c->rip = dec_next_ip(in);
}

static void begin_helper(struct guest_cpu *c, const struct dec_insn *in)
{
    size_t row = (size_t)(in->row - insn_rows);

    c->stat[ST_HELPER_CALLS]++;
    c->helper_count[row < insn_row_count ? row : insn_row_count]++; /* the last: STI's form inside of a block */
    /* Serialising instructions are done here, and nearly all others that are would not notice (SDM vol. 3, 8.3). */
    if (smp_on(c->vm)) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}

void xbt_thunk_helper(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t smc = c->stat[ST_SLOW_WRITE_CODE];

    begin_helper(c, in);
    int r = in->row->helper(c, in);
    /* A device may have been asked: what it requests is delivered before the next instruction. */
    if (r == HELP_NEXT && c->stat[ST_SLOW_WRITE_CODE] == smc && !(c->hflags & HF_SPECIAL) && !c->exit_request) {
        resume_fpu(c);
        return;
    }
    if (r == HELP_NEXT) {
        advance(c, in);
    }
    c->stat[ST_EXIT_HELPER_CODE] += c->stat[ST_SLOW_WRITE_CODE] != smc;
    leave_to_loop(c, LEAVE_HELPER);
}

const void *xbt_thunk_helper_x(struct guest_cpu *c, const struct dec_insn *in)
{
    begin_helper(c, in);
    int r = in->row->helper(c, in);
    if (r == HELP_NEXT) {
        advance(c, in);
    }
    if (r == HELP_LOOP || c->exit_request || (c->hflags & HF_SPECIAL) || c->in_special || c->vm->opt.no_jc) {
        leave_to_loop(c, LEAVE_HELPER);
    }
    uint64_t lip = cur_lip(c);
    const struct jc_entry *e = jc_find(c->jc, lip);
    if (!e) {
        leave_to_loop(c, LEAVE_INDIRECT);
    }
    resume_fpu(c);
    c->stat[ST_JC_INLINE]++;
    return e->host;
}

/* The limit comes before #AC, but behind the alignment that an instruction demands (segment bases count as aligned). */
_Noreturn void xbt_thunk_seg_fault(struct guest_cpu *c, uint32_t flags, uint32_t off)
{
    check_before_page(c, off, flags & ~TH_F_AC);
    cpu_raise_err(c, flags & TH_F_SS ? EXC_SS : EXC_GP, 0);
}

_Noreturn void xbt_thunk_raise(struct guest_cpu *c, uint32_t what)
{
    c->unwind_pc = 0;
    if (what == EXC_DB) {
        debug_raise_exec(c);
    }
    if (what & 0x100) {
        cpu_raise_err(c, what & 0xff, 0);
    }
    cpu_raise(c, what & 0xff);
}

/* Decode the instruction at RIP once more; false when it is in device memory. */
static bool current_insn(struct guest_cpu *c, struct dec_insn *in)
{
    uint64_t lip = cur_lip(c), next = (lip & ~0xfffull) + 0x1000;
    struct code_page page = tlb_code_page(c, lip);
    unsigned off = lip & 0xfff, avail = 4096 - off < 15 ? 4096 - off : 15;
    unsigned mode = (c->hflags & HF_CODE_MASK) == HF_CODE64 ? 2 : (c->hflags & HF_CODE_MASK) == HF_CODE32;
    uint8_t both[15];

    if (!page.host) {
        return false;
    }
    enum dec_status st = dec_decode(page.host + off, avail, c->rip, (int)mode, false, in);
    if (st != DEC_SHORT) {
        return st == DEC_OK;
    }
    xbt_copy(both, page.host + off, avail);
    page = tlb_code_page(c, mode == 2 ? next : (uint32_t)next);
    if (!page.host) {
        return false;
    }
    xbt_copy(both + avail, page.host, 15 - avail);
    return dec_decode(both, 15, c->rip, (int)mode, false, in) == DEC_OK;
}

/* The host took #GP in generated code: a misaligned operand, or a non-canonical address whose low bits name a page in
 * the table.  To the host all operands are in DS; the guest's stack references raise #SS. */
static unsigned gp_or_ss(struct guest_cpu *c)
{
    struct dec_insn in;

    tb_restore_state(c, c->unwind_pc);
    c->unwind_pc = 0;
    if (!cpu_code64(c) || !current_insn(c, &in)) {
        return EXC_GP;
    }
    /* Alignment that the instruction demands comes first, as in check_before_page(). */
    if ((in.row->attr & IA_ALIGN) && in.has_mem && (opnd_ea(c, &in) & (in.mem_size - 1u)) &&
        (insn_always_aligned(&in) || !mxcsr_mm())) {
        return EXC_GP;
    }
    /* A bit string's address is that of the operand plus a displacement; it has no alignment to complain about. */
    if (in.has_mem && in.mem_acc && (in.row->cls == CL_BT_MEM || !is_canonical(c, opnd_ea(c, &in)))) {
        return in.seg == S_SS ? EXC_SS : EXC_GP;
    }
    switch (in.row->cls) {
    case CL_PUSH: case CL_CALL_REL: case CL_CALL_IND:
        return is_canonical(c, GPR(c, R_RSP) - in.opsize) ? EXC_GP : EXC_SS;
    case CL_POP: case CL_RET:
        return is_canonical(c, GPR(c, R_RSP)) ? EXC_GP : EXC_SS;
    case CL_LEAVE:
        return is_canonical(c, GPR(c, R_RBP)) ? EXC_GP : EXC_SS;
    default:
        return EXC_GP;
    }
}

_Noreturn void xbt_signal_landing(struct guest_cpu *c, uint32_t trapno)
{
    c->stat[ST_HOST_FAULTS]++;
    switch (trapno) {
    case EXC_PF:
        hostfault_landing(c);
    case EXC_GP:
        hostfault_address(c);
        cpu_raise_err(c, gp_or_ss(c), 0);
    case EXC_SS:
        hostfault_address(c);
        cpu_raise_err(c, EXC_SS, 0);
    case EXC_MF:
        raise_mf(c);
    case EXC_XM:
        cpu_raise(c, c->cr[4] & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
    default:
        cpu_raise(c, trapno);
    }
}

/* ---- the loop ---- */

static struct tb_key current_key(const struct guest_cpu *c)
{
    struct tb_key k = { .cs_base = cpu_code64(c) ? 0 : c->cs_base, .hflags = c->hflags, .cs_limit = 0xffffffffu,
                        .lip = cur_lip(c) };

    if (c->hflags & HF_CSLIM) {
        k.cs_limit = c->seg[S_CS].limit;
    }
    return k;
}

/* The TB for the current state, translated if need be; raises fetch faults. */
static struct tb *find_tb(struct guest_cpu *c, uint64_t lip, struct code_page *page)
{
    struct tb_key key = current_key(c);

    if (debugger_break_at(c->vm, lip) && !c->gdb_step) {
        c->in_special = c->special_tf = 0; /* nothing has been executed */
        c->gdb_stop = 1;
        cpu_exit_loop(c);
    }
    /* An instruction breakpoint comes before the faults of fetching the instruction (SDM vol. 3, table 6-2). */
    if (__builtin_expect((c->hflags & (HF_BP | HF_RF)) == HF_BP, 0) && debug_exec_at(c, lip)) {
        debug_raise_exec(c);
    }
    *page = tlb_code_page(c, lip);
    if (page->host) {
        tb_check_dma_page(c, page->ram_addr);
    } else {
        return translate(c, &key, lip, page);
    }
    key.phys_pc = page->ram_addr | (lip & 0xfff);
    struct tb *tb = tb_lookup(c, &key);
    if (tb && tb->n_pages == 2) {
        uint64_t next = (lip & ~0xfffull) + 0x1000;
        struct code_page p2 = tlb_code_page(c, next);
        /* The same page may have got a new id (tlb/code.c): the block would wait for its old one for ever. */
        if (p2.ram_addr != tb_page(tb, 1) || p2.cp_id != tb->second_cp_id) {
            tb_invalidate(c, tb, TBD_MEMMAP);
            tb = NULL;
        } else {
            tlb_cp_note(c, next, &p2);
        }
    }
    if (!tb) {
        tb = translate(c, &key, lip, page);
    }
    tlb_cp_note(c, lip, page);
    return tb;
}

static void chain(struct guest_cpu *c, struct tb *from, unsigned exit, struct tb *to, uint64_t lip,
                  const struct code_page *page)
{
    const struct tb_exit *x = &tb_exits(from)[exit];

    if (__atomic_load_n(&from->invalid, __ATOMIC_RELAXED) || tb_exit_lip(from, x) != lip || from->key.hflags != to->key.hflags || to->n_pages == 0 ||
        c->vm->opt.no_chain || ((x->flags & TBX_CROSS) && c->vm->opt.no_cross_page) || from->key.cs_base != to->key.cs_base) {
        return;
    }
    tb_link(c, from, exit, to, page->cp_id);
}

void take_interrupt(struct guest_cpu *c)
{
    fpu_park(c);
    if (c->hm) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        hm_tick(c, (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec);
    }
    unsigned old = smp_rest(c, SMP_PAUSED);
    int vec = c->host->ack_interrupt(c);
    smp_wake(c, old);
    c->intr_pending &= (uint8_t)~INTR_PHYSICAL;
    cpu_kick(c, XREQ_POLL);
    if (vec >= 0) {
        c->halted = 0;
        c->stat[ST_INTERRUPTS]++;
        tb_check_dma(c);
        cpu_interrupt(c, (unsigned)vec, false, false, 0, c->rip);
    }
}

void take_nmi(struct guest_cpu *c)
{
    fpu_park(c);
    unsigned old = smp_rest(c, SMP_PAUSED);
    c->host->ack_nmi(c);
    smp_wake(c, old);
    c->halted = 0;
    c->nmi_masked = 1;
    c->stat[ST_NMIS]++;
    cpu_interrupt(c, EXC_NMI, false, false, 0, c->rip);
}

/* #MC is an abort (SDM vol. 3, 15.10): nothing is said of the instruction, but QEMU's come between two of them. */
void take_mce(struct guest_cpu *c)
{
    fpu_park(c);
    c->host->ack_mce(c);
    c->mce_pending = 0;
    c->halted = 0;
    c->exc_has_error = 0;
    c->exc_vector = EXC_MC;
}

static void flush_cache(struct guest_cpu *c)
{
    if (!smp_seize(c, SMP_OUT)) {
        cpu_kick(c, XREQ_CACHE_FLUSH);
        return;
    }
    tb_flush(c);
    hm_refused_clear();
    c->flush_epoch++;
    c->exit_from = NULL;
    smp_release(c);
}

/* Handle exit_request. Returns true when the embedder wants control. */
static bool handle_requests(struct guest_cpu *c)
{
    uint32_t req = __atomic_exchange_n(&c->exit_request, 0, __ATOMIC_SEQ_CST);

    c->stat[ST_EXIT_REQUEST]++;
    c->stat[ST_REQUEST_POLL] += (req & (XREQ_POLL | XREQ_IRQ_WINDOW | XREQ_STOP)) != 0;
    if (req & XREQ_SYNC) {
        smp_sync(c);
    }
    if (req & XREQ_TLB_FLUSH) {
        c->stat[ST_REQUEST_TLB]++;
        tlb_flush_all(c, TLBF_MEMMAP);
    }
    if (req & XREQ_CACHE_FLUSH) {
        c->stat[ST_CACHE_DEBUG]++;
        flush_cache(c);
    }
    if (req & (XREQ_POLL | XREQ_IRQ_WINDOW | XREQ_STOP)) {
        fpu_park(c);
        unsigned old = smp_rest(c, SMP_OUT);
        unsigned ev = c->host->poll(c);
        smp_wake(c, old);
        c->intr_pending = (uint8_t)((c->intr_pending & ~INTR_PHYSICAL) | (ev & POLL_INTR ? INTR_PHYSICAL : 0));
        c->nmi_pending = (ev & POLL_NMI) != 0;
        c->mce_pending = (ev & POLL_MCE) != 0;
        tb_check_dma(c);
        if ((ev & POLL_INIT_HELD) && c->svm.nested && c->svm.gif && svm_wants(c, VMEXIT_INIT)) {
            svm_exit_now(c, VMEXIT_INIT, 0, 0);
        }
        if (ev & POLL_INIT) {
            c->exit_from = NULL;
        }
        if ((ev & POLL_STOP) || (req & XREQ_STOP)) {
            return true;
        }
    }
    return false;
}

static bool rip_reachable(const struct guest_cpu *c, uint64_t rip)
{
    return cpu_code64(c) ? is_canonical(c, rip) : rip <= c->seg[S_CS].limit;
}

/* Jcc or LOOP was taken to a target that is not canonical or behind the code segment's limit: it faults itself, with
 * nothing changed.  RIP is at the branch. */
static void refuse_branch(struct guest_cpu *c)
{
    struct dec_insn in;

    if (current_insn(c, &in) && in.row->cls == CL_LOOP && in.opcode != 0xe3) {
        gpr_write(c, R_RCX, in.adsize, false, GPR(c, R_RCX) + 1);
    }
    c->exc_vector = EXC_GP;
    c->exc_error = 0;
    c->exc_has_error = 1;
}

static void leave_unlinked(struct guest_cpu *c)
{
    struct tb *tb = tb_find_exit(c->vm->store, (const void *)(uintptr_t)c->unwind_pc, &c->exit_number);
    const struct tb_exit *x = &tb_exits(tb)[c->exit_number];
    uint64_t rip = tb_exit_lip(tb, x) - tb->key.cs_base;

    c->exit_from = tb;
    tb_restore_state(c, c->unwind_pc);
    c->unwind_pc = 0;
    c->stat[ST_EXIT_UNLINKED]++;
    c->stat[!x->to ? ST_EXIT_UNLINKED_NEW : c->exit_request ? ST_EXIT_UNLINKED_REQ : ST_EXIT_UNLINKED_PAGE]++;
    rip = cpu_code64(c) ? rip : (uint32_t)rip;
    if ((x->flags & TBX_TAKEN) && !rip_reachable(c, rip)) {
        refuse_branch(c);
        return;
    }
    c->rip = rip;
}

static void dispatch_leave(struct guest_cpu *c, unsigned why)
{
    switch (why) {
    case LEAVE_UNLINKED:
        leave_unlinked(c);
        return;
    case LEAVE_INDIRECT:
        c->stat[ST_EXIT_INDIRECT]++;
        c->stat[ST_EXIT_INDIRECT_REQ] += c->exit_request != 0;
        break;
    case LEAVE_HELPER:
        c->stat[ST_EXIT_HELPER]++;
        c->stat[ST_EXIT_HELPER_REQ] += c->exit_request != 0;
        break;
    case LEAVE_SPECIAL:
        c->stat[ST_EXIT_SPECIAL]++;
        break;
    case LEAVE_RECHECK:
        c->stat[ST_EXIT_RECHECK]++;
        break;
    default:
        break;
    }
    c->last_leave = why;
    c->exit_from = NULL;
}

/* Host code for the current state: from the jump cache when there is no exit to link, else by full lookup. */
static const void *code_for(struct guest_cpu *c, uint64_t lip, bool special)
{
    const struct xbt_options *opt = &c->vm->opt;
    const struct jc_entry *e = jc_find(c->jc, lip);
    uint64_t flushes = c->flush_epoch;
    struct code_page page;

    if (!special && !opt->no_jc && (!c->exit_from || opt->no_chain) && e &&
        c->last_leave != LEAVE_RECHECK) {
        c->stat[ST_LOOKUP_JC]++;
        c->exit_from = NULL;
        return e->host;
    }
    struct tb *tb = find_tb(c, lip, &page);
    if (c->exit_from && flushes == c->flush_epoch && !special) {
        chain(c, c->exit_from, c->exit_number, tb, lip, &page);
    }
    /* Who comes by a direct exit is linked or looked up again; he would only push others out. */
    bool direct = c->exit_from != NULL;
    c->exit_from = NULL;
    if (!direct && !special && !opt->no_jc && tb->n_pages && !tb->invalid) {
        tlb_jc_insert(c, lip, tb_entry(tb));
        if (smp_on(c->vm)) {
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
        }
        if (__atomic_load_n(&tb->invalid, __ATOMIC_RELAXED)) {
            tlb_jc_remove(c, lip, tb_entry(tb)); /* another vCPU has killed it, maybe before it was there */
        }
    }
    return tb_entry(tb);
}

/* An indirect branch whose target is not canonical or behind the code segment's limit faults itself (SDM vol. 2, CALL,
 * JMP, RET): it is taken back. */
static void check_target(struct guest_cpu *c)
{
    if (!rip_reachable(c, c->rip)) {
        c->rip = c->slow_addr;
        set_rsp(c, GPR(c, R_RSP) + (uint64_t)(int64_t)(int32_t)c->slow_size);
        cpu_raise_err(c, EXC_GP, 0);
    }
}

/* Look up, link to where we came from, run until something ends it. */
static void run_block(struct guest_cpu *c)
{
    bool special = c->hflags & HF_SPECIAL;

    c->special_tf = (c->hflags & HF_TF) != 0;
    const void *code = code_for(c, cur_lip(c), special);
    if (special) {
        c->old_shadow = c->shadow;
        c->old_rf = (c->eflags & FL_RF) != 0;
        c->shadow = 0;
        c->eflags &= ~FL_RF;
    }
    c->rep_partial = 0;
    c->in_code = 1;
    if (c->vm->opt.dump & (DUMP_EXIT | DUMP_EXEC)) {
        dump_exit(c, c->leave);
    }
    c->stat[ST_ENTERS]++;
    c->last_leave = 0;
    resume_fpu(c);
    c->leave = xbt_enter_code(c, code);
    if (c->leave == LEAVE_INDIRECT) {
        check_target(c);
    }
    dispatch_leave(c, c->leave);
}

/* After a SHADOW/RF/TF/DBG block: the conditions are over; a trap may be due.  Not after MOV SS or POP SS, where those of
 * its data breakpoints wait for the next instruction (SDM vol. 3, 6.8.3). */
static void finish_special(struct guest_cpu *c)
{
    bool tf = c->special_tf;

    c->special_tf = c->dbg_step = 0;
    cpu_update_hflags(c);
    c->gdb_stop |= c->gdb_step && !c->halted;   /* a CPU in HLT stops behind what it does next, as under TCG */
    if (tf && c->shadow != 2) {
        c->exc_dr6 |= DR6_BS;
        cpu_raise(c, EXC_DB);
    }
}

/* The instruction met a data or I/O breakpoint: back to the state before it, with HF_DBG (debug.c). */
static void restart_alone(struct guest_cpu *c)
{
    if (c->in_special) {
        c->shadow = c->old_shadow;
        c->eflags |= c->old_rf ? FL_RF : 0;
    }
    c->svm.event = 0;
    c->dbg_restart = c->in_special = c->special_tf = 0;
    c->dbg_step = 1;
    c->exit_from = NULL;
    cpu_update_hflags(c);
}

static void take_exception(struct guest_cpu *c)
{
    c->in_special = c->special_tf = c->dbg_step = 0;
    c->exit_from = NULL;
    c->halted = 0; /* a trap behind HLT ends it */
    c->stat[ST_EXIT_EXCEPTION]++;
    if (c->exc_vector != EXC_DB) {
        c->exc_dr6 = 0; /* the instruction did not complete */
        c->gdb_stop = c->gdb_hit = 0;
    }
    cpu_deliver_exception(c);
    c->gdb_stop |= c->gdb_step != 0;
}

static bool take_pending(struct guest_cpu *c)
{
    if (__builtin_expect(c->gdb_step & GDB_STEP_NOIRQ, 0)) {
        return false;
    }
    if (__builtin_expect(c->svm.nested | !c->svm.gif, 0)) {
        return svm_take_pending(c);
    }
    if (c->nmi_pending && !c->nmi_masked && c->shadow != 2) {
        c->nmi_pending = 0;
        take_nmi(c);
        return true;
    }
    if (c->mce_pending && c->shadow != 2) {
        take_mce(c);
        return true;
    }
    if (c->intr_pending && (c->eflags & FL_IF) && !c->shadow) {
        take_interrupt(c);
        return true;
    }
    return false;
}

/* #DB is due for breakpoints that the last instruction met. */
static inline bool trap_pending(const struct guest_cpu *c) { return (c->exc_dr6 & 0xf) && c->shadow != 2; }

/* A LOCKed instruction that faulted between its parts still has the machine. */
static void top_of_loop(struct guest_cpu *c)
{
    smp_at_top(c);
    if (__builtin_expect(smp_owns(c), 0)) {
        smp_release(c);
    }
}

static enum vcpu_exit run_loop(struct guest_cpu *c)
{
    cpu_kick(c, XREQ_POLL);
    c->exit_from = NULL;
    c->special_tf = 0;
    c->in_special = 0;
    c->gdb_stop = 0;
    if (c->dr[7] & 0xff) {
        debug_registers_changed(c);
    }
    if (__builtin_setjmp(c->jmpbuf)) {
        c->unwind_pc = 0;
        if (c->leave) {
            dispatch_leave(c, c->leave);
        } else {
            c->stat[ST_EXIT_FAULT] += c->in_code;
        }
    }
    for (;;) {
        c->leave = 0;
        c->in_code = 0;
        if (smp_on(c->vm)) {
            top_of_loop(c);
        }
        while (c->exc_vector >= 0) { /* again when the exception led to a hypervisor that was single-stepped */
            take_exception(c);
            if (c->shutdown) {
                fpu_park(c);
                return VCPU_EXIT_SHUTDOWN;
            }
        }
        if (__builtin_expect(c->dbg_restart, 0)) {
            restart_alone(c);
        }
        if (c->in_special) {
            c->in_special = 0;
            finish_special(c);
        }
        if (__builtin_expect(c->gdb_stop, 0)) {
            if (trap_pending(c)) {
                cpu_raise(c, EXC_DB);
            }
            fpu_park(c);
            return VCPU_EXIT_DEBUG;
        }
        if (__atomic_load_n(&c->exit_request, __ATOMIC_RELAXED) && handle_requests(c)) {
            fpu_park(c);
            return VCPU_EXIT_STOP;
        }
        if (__builtin_expect(trap_pending(c), 0)) {
            cpu_raise(c, EXC_DB);
        }
        if (take_pending(c)) {
            c->gdb_stop |= c->gdb_step != 0;
            continue;
        }
        if (c->halted) {
            c->stat[ST_EXIT_HALT]++;
            fpu_park(c);
            return VCPU_EXIT_HALT;
        }
        /* The breakpoint of a string instruction has been taken before the first iteration; one behind MOV SS or POP SS
         * is suppressed as if RF were 1 (SDM vol. 3, 17.3.1.1). */
        if (__builtin_expect(c->hflags & HF_BP, 0) && (c->rep_partial || c->shadow == 2)) {
            c->eflags |= FL_RF;
            cpu_update_hflags(c);
        }
        if (__builtin_expect(c->gdb_step, 0)) {
            c->dbg_step = 1;
            cpu_update_hflags(c);
        }
        c->in_special = (c->hflags & HF_SPECIAL) != 0;
        run_block(c);
    }
}

enum vcpu_exit xbt_vcpu_run(struct guest_cpu *c)
{
    smp_wake(c, SMP_ACTIVE);
    enum vcpu_exit why = run_loop(c);
    smp_rest(c, SMP_OUT);
    return why;
}
