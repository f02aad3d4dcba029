/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm.c - set-up and tear-down of the engine: the VM and its vCPUs. */
#include <sys/mman.h>
#include <unistd.h>

#include "translator/exec.h"
#include "translator/smp.h"
#include "translator/svm.h"
#include "translator/x86-64/lower.h"

#define GUARD 4096u
#define STACK (256u * 1024)   /* below the CPU struct: host signal frames while rsp points at it, return addresses */

/* Behind the struct: its counters by row, and what translation works in. */
static size_t counters_bytes(void)
{
    return ((insn_row_count + 1) * sizeof(uint64_t) + 63) & ~63ul;
}
static size_t cpu_bytes(void)
{
    return (sizeof(struct guest_cpu) + counters_bytes() + sizeof(struct ir_block) + 64 + sizeof(struct lower) + 4095) &
           ~4095ul;
}

struct guest_cpu *xbt_vcpu_alloc(void)
{
    uint8_t *p = mmap(NULL, GUARD + STACK + cpu_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    mprotect(p, GUARD, PROT_NONE);
    struct guest_cpu *c = (struct guest_cpu *)(void *)(p + GUARD + STACK);
    c->helper_count = (uint64_t *)(c + 1);
    c->ir = (struct ir_block *)(void *)((uint8_t *)(c + 1) + counters_bytes());
    c->lower = (struct lower *)(void *)(((uintptr_t)(c->ir + 1) + 63) & ~63ul);
    return c;
}

void xbt_vcpu_free(struct guest_cpu *c)
{
    if (c) {
        munmap((uint8_t *)c - STACK - GUARD, GUARD + STACK + cpu_bytes());
    }
}

static void apply_no_opt(struct xbt_options *o)
{
#define OPTIMISATION(id, name, in_opt, on, text) o->no_##id |= in_opt && o->no_opt;
#include "translator/optimisations.inc"
#undef OPTIMISATION
}

bool xbt_vm_init(struct xbt_vm *vm, const struct tb_hash_ops *hash, const char **why)
{
    apply_no_opt(&vm->opt);
#ifdef XBT_CHECKS
    vm->opt.verify = true;
#endif
    vm->opt.verify |= vm->opt.dump != 0;
    svm_guard_init();
    if (!thunks_init()) {
        *why = "no memory for the entry code";
        return false;
    }
    if (!vm->phys) {
        vm->phys = physmap_new();
    }
    vm->store = tb_store_new(vm, hash, why);
    return vm->store != NULL;
}

bool xbt_vcpu_init(struct xbt_vm *vm, struct guest_cpu *c, const char **why)
{
    unsigned slot = vm->n_cpus;

    if (slot >= XBT_VM_CPUS || (slot && slot >= vm->max_cpus)) {
        *why = "more vCPUs than the machine was made for";
        return false;
    }
    c->vm = vm;
    c->index = slot;
    c->smp.phase = SMP_OUT;
    c->smp.flushes = vm->flushes;
    c->exc_vector = -1;
    c->ea_mask = 0x0000fffffffff000ull;
    c->a20_mask = ~0ull;
    if (tlb_init(c, vm->opt.tlb_force, why) < 0) {
        return false;
    }
    thunks_fill(c);
    cpu_reset(c);
    __atomic_store_n(&vm->cpus[slot], c, __ATOMIC_RELEASE);
    __atomic_store_n(&vm->n_cpus, slot + 1, __ATOMIC_RELEASE);
    return true;
}
