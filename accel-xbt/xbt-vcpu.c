/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-vcpu.c - the vCPU thread.
 *
 * The loop: with the BQL, take QEMU's events, sleep while there is nothing to
 * do, give the CPU state to the engine; without it, xbt_vcpu_run(); with it
 * again, act on why the engine came back.
 *
 * Leaving generated code: xbt_vcpu_kick() sets cs->exit_request and the engine's
 * exit_request, which generated code tests on backward and indirect branches.
 * The engine then calls poll() (xbt-host.c), which says whether to come back here.
 * The flag is sticky until polled, so a kick just before xbt_vcpu_run() is not lost.
 *
 * Lock rules: cs->interrupt_request, cs->stop, the work list and everything of QEMU
 * need the BQL; struct guest_cpu belongs to this thread.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"
#include "translator/svm.h"

void xbt_vcpu_kick(CPUState *cs)
{
    struct xbt_cpu *x = xbt_cpu_of_cs(cs);

    qatomic_set(&cs->exit_request, 1);
    smp_wmb();
    if (x) {
        cpu_kick(x->c, XREQ_POLL);
    }
    if (xbt_single_thread) {
        xbt_single_kick();
    }
}

bool xbt_init_held(const struct xbt_cpu *x)
{
    const struct guest_cpu *c = x->c;

    if (!(x->cs->interrupt_request & CPU_INTERRUPT_INIT)) {
        return false;
    }
    return !c->svm.gif || (c->svm.nested && svm_wants(c, VMEXIT_INIT));
}

/* INIT, unlike RESET, leaves the caches' configuration, machine-check banks and the TSC alone (SDM vol. 3, table 9-1), and
 * it does not reach the A20 gate; do_cpu_init() knows of the other registers only. */
static void take_init(X86CPU *cpu)
{
    const uint32_t cache_bits = CR0_CD_MASK | CR0_NW_MASK;
    CPUX86State *env = &cpu->env;
    CPUX86State *old = g_memdup2(env, sizeof(*env));

    do_cpu_init(cpu);
    env->cr[0] = (env->cr[0] & ~(target_ulong)cache_bits) | (old->cr[0] & cache_bits);
    env->mtrr_deftype = old->mtrr_deftype;
    memcpy(env->mtrr_fixed, old->mtrr_fixed, sizeof(env->mtrr_fixed));
    memcpy(env->mtrr_var, old->mtrr_var, sizeof(env->mtrr_var));
    env->mcg_ctl = old->mcg_ctl;
    memcpy(env->mce_banks, old->mce_banks, sizeof(env->mce_banks));
    env->tsc_offset = old->tsc_offset;
    env->a20_mask = old->a20_mask;
    g_free(old);
}

/* A CPU that waits for a start-up IPI does nothing else: an NMI waits with it (SDM vol. 3, 8.4.3).  It is not left in
 * interrupt_request, where it would count as work for this thread. */
static void hold_nmi(struct xbt_cpu *x)
{
    CPUState *cs = x->cs;
    bool waits = x->x86->apic_state && cs->halted && APIC_COMMON(x->x86->apic_state)->wait_for_sipi;

    if (waits && (cs->interrupt_request & CPU_INTERRUPT_NMI)) {
        cs->interrupt_request &= ~CPU_INTERRUPT_NMI;
        x->nmi_held = true;
    } else if (!waits && x->nmi_held) {
        cs->interrupt_request |= CPU_INTERRUPT_NMI;
        x->nmi_held = false;
    }
}

/* INIT and SIPI (SDM vol. 3, 8.4; 9.1): the state is QEMU's while these work on it. */
static bool reset_events(struct xbt_cpu *x)
{
    CPUState *cs = x->cs;
    bool replaced = false;

    if (xbt_init_held(x)) {
        return false;
    }
    if (cs->interrupt_request & (CPU_INTERRUPT_INIT | CPU_INTERRUPT_SIPI)) {
        if (!cs->vcpu_dirty) {
            xbt_state_get(x);
            cs->vcpu_dirty = true;
        }
        replaced = true;
    }
    if (cs->interrupt_request & CPU_INTERRUPT_INIT) {
        cs->interrupt_request &= ~CPU_INTERRUPT_INIT;
        take_init(x->x86);
        x->nmi_held = false;
    }
    if (cs->interrupt_request & CPU_INTERRUPT_SIPI) {
        cs->interrupt_request &= ~CPU_INTERRUPT_SIPI;
        do_cpu_sipi(x->x86);
    }
    hold_nmi(x);
    return replaced;
}

bool xbt_vcpu_events(struct xbt_cpu *x)
{
    CPUState *cs = x->cs;
    bool replaced;

    if (cs->interrupt_request & CPU_INTERRUPT_POLL) {
        cs->interrupt_request &= ~CPU_INTERRUPT_POLL;
        apic_poll_irq(x->x86->apic_state);
    }
    replaced = reset_events(x);
    if (cs->interrupt_request & CPU_INTERRUPT_TPR) {
        cs->interrupt_request &= ~CPU_INTERRUPT_TPR; /* TPR access reports are for in-kernel APICs */
    }
    /* No SMM, no virtual interrupts; EXITTB only says "A20 may have changed". */
    cs->interrupt_request &= ~(CPU_INTERRUPT_SMI | CPU_INTERRUPT_VIRQ | CPU_INTERRUPT_EXITTB);
    if (!cs->vcpu_dirty) {
        xbt_state_a20(x);
    }
    return replaced;
}

/* BQL.  Is there a reason to run a halted CPU? */
static bool wake(struct xbt_cpu *x)
{
    CPUState *cs = x->cs;

    xbt_vcpu_events(x);
    if (cs->halted && x86_cpu_pending_interrupt(cs, cs->interrupt_request)) {
        cs->halted = 0;
    }
    return !cs->halted;
}

static void stopped_by_triple_fault(CPUState *cs)
{
    cs->halted = 1;
    cs->exception_index = EXCP_HLT;
    qemu_system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
}

static void engine_came_back(struct xbt_cpu *x, enum vcpu_exit why)
{
    CPUState *cs = x->cs;

    if (why == VCPU_EXIT_STOP && x->c->halted) {
        why = VCPU_EXIT_HALT; /* HLT and a stop request at once */
    }
    switch (why) {
    case VCPU_EXIT_HALT:
        /* An interrupt that arrived meanwhile must find the CPU as it is now. */
        xbt_state_get_wake(x);
        cs->halted = !x86_cpu_pending_interrupt(cs, cs->interrupt_request);
        break;
    case VCPU_EXIT_SHUTDOWN:
        stopped_by_triple_fault(cs);
        break;
    case VCPU_EXIT_DEBUG:
        xbt_debug_stopped(x);
        break;
    case VCPU_EXIT_STOP:
        break;
    }
}

void xbt_vcpu_exec(struct xbt_cpu *x)
{
    CPUState *cs = x->cs;
    enum vcpu_exit why;

    if (!wake(x)) {
        return;
    }
    if (cs->vcpu_dirty) {
        xbt_state_put(x);
        cs->vcpu_dirty = false;
    }
    x->c->halted = 0;
    xbt_debug_enter(x);
    qatomic_set(&cs->exit_request, 0);
    xbt_log_enter(x);

    xbt_bql_unlock();
    cpu_exec_start(cs);
    why = xbt_vcpu_run(x->c);
    cpu_exec_end(cs);
    xbt_bql_lock();

    engine_came_back(x, why);
}

void xbt_vcpu_gone(struct xbt_cpu *x)
{
    tlb_flush_all(x->c, TLBF_RESET);
    x->cs = NULL;
    x->flush_queued = x->close_queued = x->yield = false;
}

static void *vcpu_thread(void *arg)
{
    struct xbt_cpu *x = arg;
    CPUState *cs = x->cs;

    rcu_register_thread();
    xbt_bql_lock();
    qemu_thread_get_self(cs->thread);
    cs->thread_id = qemu_get_thread_id();
    xbt_allow_io(cs);
    current_cpu = cs;
    xbt_signals_thread_init(x->c);

    cpu_thread_signal_created(cs);
    qemu_guest_random_seed_thread_part2(cs->random_seed);
    do {
        if (cpu_can_run(cs)) {
            xbt_vcpu_exec(x);
        }
        xbt_wait_io_event(cs);
    } while (!cs->unplug || cpu_can_run(cs));

    xbt_vcpu_gone(x);
    xbt_signals_thread_exit();
    cpu_thread_signal_destroyed(cs);
    xbt_bql_unlock();
    rcu_unregister_thread();
    return NULL;
}

/* The engine's side of a vCPU, before its thread starts. */
static struct xbt_cpu *vcpu_new(CPUState *cs)
{
    struct xbt_cpu *x;
    const char *why = NULL;

    if (cs->cpu_index >= XBT_MAX_CPUS) {
        error_report("xbt: runs up to %d vCPUs", XBT_MAX_CPUS);
        exit(1);
    }
    x = &xbt_cpus[cs->cpu_index];
    x->x86 = X86_CPU(cs);
    if (x->c) {                 /* of one that was unplugged */
        x->cs = cs;
        xbt_state_model(x);
        xbt_clock_vcpu(x);
        return x;
    }
    x->c = xbt_vcpu_alloc();
    if (!x->c) {
        error_report("xbt: no memory for vCPU %d", cs->cpu_index);
        exit(1);
    }
    x->c->opaque = x;
    x->c->host = &xbt_host_ops;
    x->c->vm = &xbt_vm;
    xbt_state_model(x);
    if (!xbt_vcpu_init(&xbt_vm, x->c, &why)) {
        error_report("xbt: cannot create vCPU %d: %s", cs->cpu_index, why ? why : "unknown reason");
        exit(1);
    }
    x->cs = cs;
    xbt_clock_vcpu(x);
    return x;
}

void xbt_vcpu_create_thread(CPUState *cs)
{
    struct xbt_cpu *x = vcpu_new(cs);
    char name[VCPU_THREAD_NAME_SIZE];

    cs->vcpu_dirty = true; /* QEMU's reset fills CPUX86State; post_init brings it over */
    if (xbt_single_thread) {
        xbt_single_add(x);
        return;
    }
    xbt_alloc_thread_objects(cs);
    snprintf(name, sizeof(name), "CPU %d/XBT", cs->cpu_index);
    qemu_thread_create(cs->thread, name, vcpu_thread, x, QEMU_THREAD_JOINABLE);
}
