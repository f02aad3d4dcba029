/* SPDX-License-Identifier: GPL-2.0-or-later */
/* world.c - see world.h. */
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "tb-store/tb.h"
#include "tests/hostile/world.h"
#include "tlb/tlb_int.h"

#define TICK_USEC   4000     /* of CPU time */
#define STOP_TICKS  2        /* a round that runs so long is asked to stop... */
#define HANG_TICKS  2500     /* ...and must not go on so long */
#define GUARD       0x100000u

struct world world;
#define W (&world)

uint64_t w_rand(void)
{
    return runner_rand(&world.rng);
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "HOSTILE GUEST (%s): %s\n", guest_kinds[guest_kind], what);
    abort();
}

/* ---- devices ---- */

static void map_shadow(uint32_t flags)
{
    uint8_t *host = flags ? W->ram + W_SHADOW : NULL;

    W->shadow_flags = flags;
    physmap_set(W->vm.phys, W_SHADOW, W_ROM - W_SHADOW, host, W_RAM_ID + W_SHADOW, flags);
    cpu_kick(W->c, XREQ_TLB_FLUSH);
}

static void device_write(void)
{
    uint32_t at = w_pick(W_RAM_SIZE - 16);

    for (unsigned i = 0; i < 16; i++) {
        W->ram[at + i] = (uint8_t)w_rand();
        W->dirty[(at + i) >> 12] = 1;
    }
}

/* What a device may do while the guest accesses it. */
static void device_event(void)
{
    static const uint32_t flags[] = { 0, PHYS_RAM, PHYS_ROM, PHYS_RAM | PHYS_LOG };

    if (++W->events > 300)
        cpu_kick(W->c, XREQ_STOP);
    if (!w_chance(20))
        return;
    switch (w_pick(8)) {
    case 0: case 1:
        W->pending |= POLL_INTR;
        cpu_kick(W->c, XREQ_POLL);
        break;
    case 2:
        W->pending |= W->events & 1 ? POLL_NMI : POLL_MCE;
        cpu_kick(W->c, XREQ_POLL);
        break;
    case 3:
        map_shadow(flags[w_pick(4)]);
        break;
    case 4:
        W->c->a20_mask ^= 1u << 20;
        cpu_kick(W->c, XREQ_TLB_FLUSH);
        break;
    case 5:
        if (w_chance(10)) {
            W->pending |= POLL_INIT;
            cpu_kick(W->c, XREQ_POLL);
        }
        break;
    default:
        device_write();
    }
}

static uint64_t answer(unsigned size)
{
    uint64_t v = w_chance(50) ? w_rand() : w_chance(50) ? ~0ull : 0;

    return size >= 8 ? v : v & ((1ull << 8 * size) - 1);
}

static bool mmio_read(struct guest_cpu *c, uint64_t gpa, unsigned size, uint64_t *val)
{
    device_event();
    *val = answer(size);
    return !w_chance(5);
}

static bool mmio_write(struct guest_cpu *c, uint64_t gpa, unsigned size, uint64_t val)
{
    device_event();
    return !w_chance(5);
}

static uint32_t pio_read(struct guest_cpu *c, uint16_t port, unsigned size)
{
    device_event();
    return (uint32_t)answer(size);
}

static void pio_write(struct guest_cpu *c, uint16_t port, unsigned size, uint32_t val)
{
    device_event();
}

static unsigned poll_devices(struct guest_cpu *c)
{
    unsigned p = W->pending;

    W->pending = 0;
    if (p & POLL_INIT) {
        cpu_reset(c);
        c->eflags |= FL_IF;
    }
    return p;
}

static int ack_interrupt(struct guest_cpu *c)
{
    return w_chance(90) ? (int)w_pick(256) : -1;
}

static void ack_nmi(struct guest_cpu *c)
{
}

static void ack_mce(struct guest_cpu *c)
{
}

static uint64_t read_tsc(struct guest_cpu *c)
{
    return w_rand() >> 4;
}

static void write_tsc(struct guest_cpu *c, uint64_t v)
{
}

static void set_cr8(struct guest_cpu *c, uint8_t v)
{
    device_event();
}

static uint8_t get_cr8(struct guest_cpu *c)
{
    return (uint8_t)w_pick(16);
}

static uint64_t get_apic_base(struct guest_cpu *c)
{
    return 0xfee00900u;
}

static void set_apic_base(struct guest_cpu *c, uint64_t v)
{
    device_event();
}

static bool rdmsr(struct guest_cpu *c, uint32_t msr, uint64_t *val)
{
    *val = w_rand();
    return w_chance(20);
}

static bool wrmsr(struct guest_cpu *c, uint32_t msr, uint64_t val)
{
    device_event();
    return w_chance(20);
}

static void cpuid(struct guest_cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    __cpuid_count(leaf, sub, out[0], out[1], out[2], out[3]);
}

static void set_ferr(struct guest_cpu *c, bool level)
{
    device_event();
}

static void code_page_watch(struct guest_cpu *c, uint64_t ram_addr, bool on)
{
    uint64_t n = (ram_addr - W_RAM_ID) >> 12;

    if (n < W_RAM_SIZE >> 12) {
        W->watched[n] = on;
        W->dirty[n] = 0;
    }
}

static bool code_page_dma(struct guest_cpu *c, uint64_t ram_addr)
{
    uint64_t n = (ram_addr - W_RAM_ID) >> 12;

    if (n >= W_RAM_SIZE >> 12 || !W->dirty[n])
        return false;
    W->dirty[n] = 0;
    return true;
}

/* One look is enough for the log: the page is written freely from then on. */
static void mark_dirty(struct guest_cpu *c, uint64_t ram_addr, unsigned size)
{
    if (ram_addr < W_RAM_ID || ram_addr + size > W_RAM_ID + W_RAM_SIZE)
        fail("a store to memory that does not exist was reported");
    if (w_chance(30) && W->shadow_flags == (PHYS_RAM | PHYS_LOG))
        map_shadow(PHYS_RAM);
}

static void log_text(const char *text)
{
    fputs(text, stderr);
}

static const struct xbt_host_ops ops = {
    .mmio_read = mmio_read, .mmio_write = mmio_write, .pio_read = pio_read, .pio_write = pio_write,
    .poll = poll_devices, .ack_interrupt = ack_interrupt, .ack_nmi = ack_nmi, .ack_mce = ack_mce, .read_tsc = read_tsc,
    .write_tsc = write_tsc, .set_cr8 = set_cr8, .get_cr8 = get_cr8, .get_apic_base = get_apic_base,
    .set_apic_base = set_apic_base, .rdmsr = rdmsr, .wrmsr = wrmsr, .cpuid = cpuid, .set_ferr = set_ferr,
    .code_page_watch = code_page_watch, .code_page_dma = code_page_dma, .mark_dirty = mark_dirty, .log = log_text,
};

/* ---- time ---- */

static volatile unsigned ticks;

static void on_tick(int sig)
{
    ticks++;
    if (ticks >= STOP_TICKS)
        cpu_kick(W->c, XREQ_STOP);
    if (ticks >= HANG_TICKS)
        fail("does not stop when asked to");
}

static void start_clock(void)
{
    struct itimerval t = { { 0, TICK_USEC }, { 0, TICK_USEC } };
    struct sigaction sa;

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = on_tick;
    sa.sa_flags = SA_ONSTACK | SA_RESTART;
    sigaction(SIGPROF, &sa, NULL);
    setitimer(ITIMER_PROF, &t, NULL);
}

/* ---- life ---- */

static uint64_t sum(const void *p, size_t n, uint64_t h)
{
    for (const uint8_t *b = p; n--; b++)
        h = (h ^ *b) * 0x100000001b3ull;
    return h;
}

static uint64_t constants(void)
{
    const struct guest_cpu *c = W->c;
    uint64_t h = sum(&c->model, sizeof(c->model), 14695981039346656037ull);

    h = sum(c->thunk, sizeof(c->thunk), h);
    h = sum(c->more_thunks, sizeof(c->more_thunks), h);
    h = sum(&c->vm, sizeof(c->vm), h);
    h = sum(&c->host, sizeof(c->host), h);
    h = sum(&c->opaque, sizeof(c->opaque), h);
    h = sum(&c->tlb, sizeof(c->tlb), h);
    h = sum(&c->ea_mask, sizeof(c->ea_mask), h);
    h = sum(&W->vm.opt, sizeof(W->vm.opt), h);
    return sum(W->rom, W_ROM_SIZE, h);
}

static void set_model(struct guest_cpu *c)
{
    uint32_t a, b, cx, d;

    c->model.phys_bits = 40;
    __cpuid(0, a, b, cx, d);
    c->model.vendor_amd = b == 0x68747541;
    __cpuid(1, a, b, c->model.f1_ecx, c->model.f1_edx);
    __cpuid_count(7, 0, a, c->model.f7_ebx, c->model.f7_ecx, c->model.f7_edx);
    __cpuid(0x80000001, a, b, c->model.f81_ecx, c->model.f81_edx);
    __cpuid_count(0xd, 1, c->model.fd1_eax, b, cx, d);
    c->model.f1_ecx |= 1u << 17;                   /* PCID */
    c->model.f7_ebx |= 1u << 10;                   /* INVPCID */
    c->model.f7_ecx |= 1u << 3 | 1u << 31;         /* PKU, PKS */
    c->model.f81_ecx |= 1u << 2;                   /* SVM */
    c->model.xcr0_supported = 7;
}

static void map_memory(void)
{
    physmap_set(W->vm.phys, 0, W_VGA, W->ram, W_RAM_ID, PHYS_RAM);
    physmap_set(W->vm.phys, W_ROM, W_ROM_SIZE, W->rom, W_ROM_ID, PHYS_ROM);
    physmap_set(W->vm.phys, 0x100000, W_RAM_SIZE - 0x100000, W->ram + 0x100000, W_RAM_ID + 0x100000, PHYS_RAM);
    physmap_set(W->vm.phys, 0x100000000ull - W_ROM_SIZE, W_ROM_SIZE, W->rom, W_ROM_ID, PHYS_ROM);
    physmap_set(W->vm.phys, W_HIGH_GPA, 0x10000, W->ram, W_RAM_ID, PHYS_RAM);
    map_shadow(PHYS_RAM);
}

void world_init(const char *machine)
{
    const struct machine_opts *o = machine_opts_find(machine);
    const char *why = "no such way to run the engine";
    uint8_t *p = mmap(NULL, W_RAM_SIZE + W_ROM_SIZE + 3 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    W->ram = p + GUARD;
    W->rom = W->ram + W_RAM_SIZE + GUARD;
    if (p == MAP_FAILED || mprotect(W->ram, W_RAM_SIZE, PROT_READ | PROT_WRITE) ||
        mprotect(W->rom, W_ROM_SIZE, PROT_READ | PROT_WRITE)) {
        perror("mmap");
        exit(1);
    }
    W->c = xbt_vcpu_alloc();
    W->vm.phys = physmap_new();
    if (o)
        W->vm.opt = o->opt;
    W->vm.opt.verify = true;
    W->c->host = &ops;
    W->c->opaque = W;
    set_model(W->c);
    if (!o || !xbt_vm_init(&W->vm, &tb_hash_builtin, &why) || !xbt_vcpu_init(&W->vm, W->c, &why)) {
        fprintf(stderr, "the engine does not start: %s\n", why);
        exit(1);
    }
    xbt_signals_install();
    xbt_signals_thread_init(W->c);
    W->rng.rng = 1;
    code_init();
    code_fill(W->rom, W_ROM_SIZE, 0);
    mprotect(W->rom, W_ROM_SIZE, PROT_READ);
    W->constants = constants();
    start_clock();
}

void world_reset(uint64_t round)
{
    struct guest_cpu *c = W->c;
    uint64_t x;

    W->rng.rng = (round + 1) * 0x9e3779b97f4a7c15ull | 1;
    W->events = W->pending = 0;
    memset(W->dirty, 0, sizeof(W->dirty));
    tb_flush(c);
    c->flush_epoch++;
    c->a20_mask = ~0ull;
    c->exit_request = 0;
    x = w_rand();
    for (unsigned i = 0; i < W_RAM_SIZE; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(W->ram + i, &x, 8);
    }
    map_memory();
    tlb_flush_all(c, TLBF_MEMMAP);
    cpu_reset(c);
    memset(c->dr, 0, sizeof(c->dr));
    debug_registers_changed(c);
    ticks = 0;
}

enum vcpu_exit world_run(void)
{
    return xbt_vcpu_run(W->c);
}

/* ---- checks ---- */

static bool in(const uint8_t *p, const uint8_t *start, size_t n)
{
    return p >= start && p + 4096 <= start + n;
}

static void check_entry(const struct tlb_space *s, uint64_t key)
{
    unsigned t = REC_TABLE(key);
    uint64_t lin = (uint64_t)((int64_t)(REC_LIN(key) << 16) >> 16), add;

    if (W->c->tlb->format == TLB_FLAT) {
        add = s->tab[t][FLAT_INDEX(lin)];
        if (!add)
            return;
    } else {
        const struct tlb_tagged *g = (const void *)s->tab[t];
        unsigned i = (lin >> 12) & (TLB_TAGGED_SIZE - 1);
        if (g->tag[i] != lin)
            return;
        add = g->addend[i];
    }
    const uint8_t *host = (const uint8_t *)(uintptr_t)(lin + add);
    if (!in(host, W->ram, W_RAM_SIZE) && ((t & 1) || !in(host, W->rom, W_ROM_SIZE)))
        fail("a TLB entry leads out of guest memory");
}

void world_check(void)
{
    struct tlb_vcpu *v = W->c->tlb;

    if (constants() != W->constants)
        fail("something that no guest can change has changed");
    for (unsigned i = 0; i < TLB_SPACES; i++) {
        struct tlb_space *s = &v->space[i];
        if (!s->mapped)
            continue;
        for (unsigned l = 0; l < 2; l++) {
            for (uint32_t k = 0; k < s->log[l].count; k++)
                check_entry(s, s->log[l].rec[k].key);
        }
    }
}
