/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signals.c - host faults taken inside generated code become guest exceptions.
 *
 * A non-canonical address, a misaligned MOVAPS, DIV by zero, an unmasked x87 or SIMD exception: the host's CPU finds
 * them for us and the kernel sends a signal.  The handler moves the guest registers into the CPU struct and continues
 * the thread in xbt_signal_landing().  Faults elsewhere go to whoever had the signal before.  The handler uses its own
 * stack and touches only async-signal-safe state.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "tlb/hostmap.h"
#include "translator/exec.h"
#include "translator/state_map.h"
#include "translator/x86-64/lower.h"

static __thread struct guest_cpu *running;   /* the vCPU of this thread */
static struct sigaction old_action[65];

static const struct { uint8_t gpr; uint8_t greg; } reg_map[] = {
    { R_RAX, REG_RAX }, { R_RCX, REG_RCX }, { R_RDX, REG_RDX }, { R_RBX, REG_RBX },
    { R_RSP, REG_R8 },  { R_RBP, REG_RBP }, { R_RSI, REG_RSI }, { R_RDI, REG_RDI },
    { R_R12, REG_R12 }, { R_R13, REG_R13 }, { R_R14, REG_R14 }, { R_R15, REG_R15 },
};

static void chain_signal(int sig, siginfo_t *si, void *uc)
{
    struct sigaction *old = &old_action[sig];

    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, si, uc);
    } else if (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN) {
        signal(sig, SIG_DFL);      /* the instruction faults again and the default action applies */
    } else {
        old->sa_handler(sig);
    }
}

static bool ours(struct guest_cpu *c, const greg_t *g)
{
    uint32_t trap = (uint32_t)g[REG_TRAPNO];

    if (!c || !tb_is_code_addr(c->vm->store, (const void *)(uintptr_t)g[REG_RIP]) ||
        (uintptr_t)g[REG_RSP] != (uintptr_t)c) {
        return false;
    }
    return (trap == EXC_PF && c->hm) || trap == EXC_DE || trap == EXC_UD || trap == EXC_SS || trap == EXC_GP || trap == EXC_MF || trap == EXC_XM;
}

/* Which register the operand of the instruction at pc has its addend in. */
static int addend_reg(struct guest_cpu *c, uint64_t pc)
{
    struct tb *tb = tb_find_host_pc(c->vm->store, (const void *)(uintptr_t)pc);
    struct state_rec r;

    return tb && state_map_find(tb_state_map(tb), tb->state_map_size, tb_host_off(tb, pc), &r) && r.r10 ? REG_R10 : REG_R11;
}

static void on_fault(int sig, siginfo_t *si, void *ctx)
{
    ucontext_t *uc = ctx;
    greg_t *g = uc->uc_mcontext.gregs;
    struct guest_cpu *c = running;

    if (!ours(c, g)) {
        chain_signal(sig, si, ctx);
        return;
    }
    if (g[REG_TRAPNO] == EXC_PF) {
        greg_t *reg = &g[addend_reg(c, (uint64_t)g[REG_RIP])];
        uint64_t addend = (uint64_t)*reg;
        if (hm_fault(c, (uint64_t)g[REG_CR2], &addend, g[REG_ERR] & 2)) {
            *reg = (greg_t)addend;
            return;
        }
    }
    for (unsigned i = 0; i < sizeof(reg_map) / sizeof(reg_map[0]); i++) {
        c->gpr_mem[reg_map[i].gpr] = (uint64_t)g[reg_map[i].greg];
    }
    c->host_flags = (uint64_t)g[REG_EFL];
    c->unwind_pc = (uint64_t)g[REG_RIP];
    g[REG_RDI] = (greg_t)(uintptr_t)c;
    g[REG_RSI] = g[REG_TRAPNO];
    g[REG_RSP] = (greg_t)((uintptr_t)c->host_rsp - 8);
    g[REG_EFL] &= ~(greg_t)(FL_DF | FL_TF | FL_AC);
    g[REG_RIP] = (greg_t)(uintptr_t)xbt_signal_landing;
}

void xbt_signals_install(void)
{
    static const int sigs[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    static bool done;

    if (done) {
        return;
    }
    done = true;
    for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
        struct sigaction sa;
        memset(&sa, 0, sizeof(sa));
        sa.sa_sigaction = on_fault;
        sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigfillset(&sa.sa_mask);
        sigdelset(&sa.sa_mask, SIGSEGV);
        sigaction(sigs[i], &sa, &old_action[sigs[i]]);
    }
}

static __thread void *alt_stack;

void xbt_signals_running(struct guest_cpu *c) { running = c; }

void xbt_signals_thread_init(struct guest_cpu *c)
{
    stack_t ss;

    running = c;
    memset(&ss, 0, sizeof(ss));
    ss.ss_size = 64 * 1024;
    ss.ss_sp = malloc(ss.ss_size);
    if (ss.ss_sp) {
        sigaltstack(&ss, NULL);
    }
    alt_stack = ss.ss_sp;
}

void xbt_signals_thread_exit(void)
{
    stack_t off;

    memset(&off, 0, sizeof(off));
    off.ss_flags = SS_DISABLE;
    sigaltstack(&off, NULL);
    free(alt_stack);
    alt_stack = NULL;
    running = NULL;
}
