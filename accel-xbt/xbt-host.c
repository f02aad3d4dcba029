/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-host.c - the engine's callbacks (translator/host.h) over QEMU.
 *
 * All run on the vCPU thread with the guest's FP state parked and without the
 * BQL.  Memory and port accesses go through QEMU's dispatch, which takes the BQL
 * for the devices that need it.  A device callback may raise interrupts, move
 * BARs, switch A20 or stop the VM; device_done() picks up what concerns the CPU.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

#define MSR_BIOS_SIGN_ID 0x8b
#define MSR_SMI_COUNT_NR 0x34
#define MSR_CORE_THREADS 0x35
#define FERR_PORT 0xf0
#define FERR_IRQ 13

/* ---- devices ---- */

static void device_done(struct guest_cpu *c)
{
    struct xbt_cpu *x = xbt_cpu_of(c);

    if (unlikely(qatomic_read(&x->cs->exit_request))) {
        cpu_kick(c, XREQ_POLL);
    }
    if (unlikely(x->cs->vcpu_dirty)) {
        /* A device synchronised the CPU from inside an access.  Its registers were not all in memory then:
         * what it read may be stale and what it wrote is dropped (ports: see pio_done()). */
        x->cs->vcpu_dirty = false;
    }
    if (unlikely(x->x86->env.a20_mask != (int32_t)c->a20_mask)) {
        xbt_state_a20(x);
    }
}

static MemTxAttrs mem_attrs(void)
{
    return (MemTxAttrs) { .requester_id = 0 };
}

/* QEMU keeps the local APIC's registers at their default address always.  Where the CPU has moved or disabled them,
 * its own accesses are redirected here.  False: they go nowhere (reads give ones). */
static bool apic_redirect(struct xbt_cpu *x, uint64_t *gpa)
{
    uint64_t base = cpu_get_apic_base(x->x86->apic_state), page = *gpa & ~0xfffull;

    if ((base & MSR_IA32_APICBASE_ENABLE) && page == (base & MSR_IA32_APICBASE_BASE)) {
        *gpa = APIC_DEFAULT_ADDRESS | (*gpa & 0xfff);
        return true;
    }
    return page != APIC_DEFAULT_ADDRESS;
}

static inline bool apic_moved(const struct xbt_cpu *x)
{
    return x->x86->apic_state && x->apic_moved;
}

/* Nothing answers: QEMU reads zeros there under every accelerator, so that is no error for the guest. */
static bool mmio_read(struct guest_cpu *c, uint64_t gpa, unsigned size, uint64_t *val)
{
    if (unlikely(apic_moved(xbt_cpu_of(c))) && !apic_redirect(xbt_cpu_of(c), &gpa)) {
        *val = ~0ull;
        return true;
    }
    *val = 0;
    address_space_read(xbt_cpu_of(c)->cs->as, gpa, mem_attrs(), val, size);
    device_done(c);
    return true;
}

/* RAM that is mapped read-only (PAM) is a matter of the mapping, which QEMU's dispatch does not look at. */
static bool write_protected(uint64_t gpa)
{
    struct phys_page p = physmap_lookup(xbt_vm.phys, gpa);
    MemoryRegion *mr;
    uint64_t offset;

    if (likely(!(p.flags & PHYS_ROM))) {
        return false;
    }
    mr = xbt_memory_region(p.ram_addr, &offset);
    return mr && memory_region_is_ram(mr);
}

static bool mmio_write(struct guest_cpu *c, uint64_t gpa, unsigned size, uint64_t val)
{
    if (unlikely(apic_moved(xbt_cpu_of(c))) && !apic_redirect(xbt_cpu_of(c), &gpa)) {
        return true;
    }
    if (unlikely(write_protected(gpa))) {
        return true;
    }
    address_space_write(xbt_cpu_of(c)->cs->as, gpa, mem_attrs(), &val, size);
    device_done(c);
    return true;
}

/* Some ports work on the CPU's registers (the VMware backdoor): for IN and OUT they are all in memory. */
static void pio_done(struct guest_cpu *c)
{
    struct xbt_cpu *x = xbt_cpu_of(c);

    if (unlikely(x->cs->vcpu_dirty)) {
        for (unsigned i = 0; i < 16; i++) {
            GPR(c, i) = x->x86->env.regs[i];
        }
    }
    device_done(c);
}

static uint32_t pio_read(struct guest_cpu *c, uint16_t port, unsigned size)
{
    uint32_t val = ~0u;

    address_space_read(&address_space_io, port, MEMTXATTRS_UNSPECIFIED, &val, size);
    pio_done(c);
    return size == 4 ? val : val & ((1u << size * 8) - 1);
}

static void set_irq13(int level)
{
    X86MachineState *ms = (X86MachineState *)object_dynamic_cast(OBJECT(current_machine), TYPE_X86_MACHINE);

    if (ms && ms->gsi) {
        qemu_set_irq(ms->gsi[FERR_IRQ], level);
    }
}

/* x87 errors the MS-DOS way (SDM vol. 1, D.2.1): FERR# requests IRQ 13, a write to port F0h takes the request
 * back.  The engine has no IGNNE# input: a waiting instruction in the handler before FNCLEX asks again. */
static void set_ferr(struct guest_cpu *c, bool level)
{
    bool taken = xbt_bql_auto_lock();

    set_irq13(level);
    xbt_bql_auto_unlock(taken);
}

static void pio_write(struct guest_cpu *c, uint16_t port, unsigned size, uint32_t val)
{
    address_space_write(&address_space_io, port, MEMTXATTRS_UNSPECIFIED, &val, size);
    if (unlikely(port == FERR_PORT)) {
        bool taken = xbt_bql_auto_lock();

        set_irq13(0);
        xbt_bql_auto_unlock(taken);
    }
    pio_done(c);
}

/* ---- events ---- */

static unsigned poll_slow(struct xbt_cpu *x)
{
    CPUState *cs = x->cs;
    unsigned r = 0;

    xbt_bql_lock();
    if (xbt_vcpu_events(x)) {
        xbt_state_put(x);
        cs->vcpu_dirty = false;
        r |= POLL_INIT;
    }
    if (xbt_init_held(x)) {
        r |= POLL_INIT_HELD;
    }
    if (cs->interrupt_request & CPU_INTERRUPT_HALT) {
        cs->interrupt_request &= ~CPU_INTERRUPT_HALT;
        cs->halted = 1;
    }
    if (cs->halted) {
        r |= POLL_STOP;
    }
    xbt_bql_unlock();
    return r;
}

static unsigned host_poll(struct guest_cpu *c)
{
    struct xbt_cpu *x = xbt_cpu_of(c);
    CPUState *cs = x->cs;
    uint32_t req;
    unsigned r = 0;

    bool kicked = qatomic_xchg(&cs->exit_request, 0); /* a barrier: before looking at what the kicker set */

    req = qatomic_read(&cs->interrupt_request);
    if (unlikely(req & ~(CPU_INTERRUPT_HARD | CPU_INTERRUPT_NMI | CPU_INTERRUPT_MCE)) ||
        x->x86->env.a20_mask != (int32_t)c->a20_mask) {
        r = poll_slow(x);
        req = qatomic_read(&cs->interrupt_request);
    }
    if (req & CPU_INTERRUPT_HARD) {
        r |= POLL_INTR;
    }
    if (req & CPU_INTERRUPT_NMI) {
        r |= POLL_NMI;
    }
    if (req & CPU_INTERRUPT_MCE) {
        r |= POLL_MCE;
    }
    if (qatomic_read(&cs->stop) || cs->unplug || !cpu_work_list_empty(cs) || unlikely(xbt_log_changed())) {
        r |= POLL_STOP;
    }
    /* Nothing to see: somebody wants this thread out of the guest (start_exclusive(), another vCPU's turn). */
    if ((kicked && !r && smp_on(&xbt_vm)) || qatomic_read(&x->yield)) {
        r |= POLL_STOP;
    }
    return r;
}

static int ack_interrupt(struct guest_cpu *c)
{
    struct xbt_cpu *x = xbt_cpu_of(c);
    int vector = -1;

    xbt_bql_lock();
    if (x->cs->interrupt_request & CPU_INTERRUPT_HARD) {
        x->cs->interrupt_request &= ~CPU_INTERRUPT_HARD;
        vector = cpu_get_pic_interrupt(&x->x86->env);
    }
    xbt_bql_unlock();
    return vector;
}

static void ack_nmi(struct guest_cpu *c)
{
    xbt_bql_lock();
    xbt_cpu_of(c)->cs->interrupt_request &= ~CPU_INTERRUPT_NMI;
    xbt_bql_unlock();
}

static void ack_mce(struct guest_cpu *c)
{
    xbt_bql_lock();
    xbt_cpu_of(c)->cs->interrupt_request &= ~CPU_INTERRUPT_MCE;
    xbt_bql_unlock();
}

/* ---- APIC registers that are CPU registers too ---- */

static void set_cr8(struct guest_cpu *c, uint8_t tpr)
{
    xbt_bql_lock();
    cpu_set_apic_tpr(xbt_cpu_of(c)->x86->apic_state, tpr);
    xbt_bql_unlock();
}

static uint8_t get_cr8(struct guest_cpu *c)
{
    return cpu_get_apic_tpr(xbt_cpu_of(c)->x86->apic_state);
}

static uint64_t get_apic_base(struct guest_cpu *c)
{
    return cpu_get_apic_base(xbt_cpu_of(c)->x86->apic_state);
}

/* QEMU's APIC cannot be enabled again, as on the first processors that had one; later ones come back as after a reset
 * (SDM vol. 3, 10.4.3). */
static void apic_enable_again(struct xbt_cpu *x, uint64_t val)
{
    APICCommonState *s = APIC_COMMON(x->x86->apic_state);

    apic_init_reset(x->x86->apic_state);
    s->apicbase |= MSR_IA32_APICBASE_ENABLE;
    s->wait_for_sipi = 0;
    x->x86->env.features[FEAT_1_EDX] |= CPUID_APIC;
}

static void set_apic_base(struct guest_cpu *c, uint64_t val)
{
    struct xbt_cpu *x = xbt_cpu_of(c);

    if (!x->x86->apic_state) {
        return;
    }
    xbt_bql_lock();
    bool on = cpu_get_apic_base(x->x86->apic_state) & MSR_IA32_APICBASE_ENABLE;
    cpu_set_apic_base(x->x86->apic_state, val);
    if (!on && (val & MSR_IA32_APICBASE_ENABLE)) {
        apic_enable_again(x, val);
    }
    xbt_host_apic_placed(x);
    xbt_bql_unlock();
}

void xbt_host_apic_placed(struct xbt_cpu *x)
{
    uint64_t base = x->x86->apic_state ? cpu_get_apic_base(x->x86->apic_state) : 0;

    x->apic_moved = !(base & MSR_IA32_APICBASE_ENABLE) || (base & MSR_IA32_APICBASE_BASE) != APIC_DEFAULT_ADDRESS;
}

/* ---- CPUID and the MSRs that are the machine's ---- */

static void host_cpuid_leaf(struct guest_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    static const char signature[13] = "XBTXBTXBTXBT";
    struct xbt_cpu *x = xbt_cpu_of(c);
    CPUX86State *env = &x->x86->env;

    /* What the answer depends on: OSXSAVE, OSPKE, the size of the enabled XSAVE area. */
    env->cr[4] = c->cr[4];
    env->xcr0 = c->xcr0;
    cpu_x86_cpuid(env, leaf, subleaf, &out[0], &out[1], &out[2], &out[3]);
    if (leaf == 0x40000000 && x->x86->expose_tcg && (env->features[FEAT_1_ECX] & CPUID_EXT_HYPERVISOR)) {
        out[0] = 0x40000001;
        memcpy(&out[1], signature, 12);
    }
}

static bool host_rdmsr(struct guest_cpu *c, uint32_t msr, uint64_t *val)
{
    X86CPU *cpu = xbt_cpu_of(c)->x86;
    CPUX86State *env = &cpu->env;

    switch (msr) {
    case MSR_BIOS_SIGN_ID:
        *val = cpu->ucode_rev;
        return true;
    case MSR_CORE_THREADS:
        *val = (uint64_t)cpu->parent_obj.nr_cores << 16 |
               (uint64_t)cpu->parent_obj.nr_cores * cpu->parent_obj.nr_threads;
        return true;
    case MSR_SMI_COUNT_NR:
        *val = env->msr_smi_count;
        return true;
    case MSR_MCG_CAP:
        *val = env->mcg_cap;
        return true;
    }
    return false;
}

static bool host_wrmsr(struct guest_cpu *c, uint32_t msr, uint64_t val)
{
    return msr == MSR_BIOS_SIGN_ID; /* software clears it before it asks CPUID to load it */
}

const struct xbt_host_ops xbt_host_ops = {
    .mmio_read = mmio_read,
    .mmio_write = mmio_write,
    .pio_read = pio_read,
    .pio_write = pio_write,
    .poll = host_poll,
    .ack_interrupt = ack_interrupt,
    .ack_nmi = ack_nmi,
    .ack_mce = ack_mce,
    .set_cr8 = set_cr8,
    .get_cr8 = get_cr8,
    .get_apic_base = get_apic_base,
    .set_apic_base = set_apic_base,
    .rdmsr = host_rdmsr,
    .wrmsr = host_wrmsr,
    .cpuid = host_cpuid_leaf,
    .set_ferr = set_ferr,
    .code_page_watch = xbt_dma_watch,
    .code_page_dma = xbt_dma_hit,
    .code_dma_word = xbt_dma_word,
    .mark_dirty = xbt_dirty_mark,
    .log = xbt_log_text,
    .log_wanted = xbt_log_wanted,
    .code_made = xbt_perfmap_made,
    .code_flushed = xbt_perfmap_flushed,
    .log_int = xbt_log_interrupt,
};
