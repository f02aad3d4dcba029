/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tlb_env.h - a machine around the TLB: 64 MiB of RAM, ROM, a recording device, faults caught by
 * setjmp, a set of bytes that "hold translated code", and a maker of page tables.  Included by the
 * test_tlb*.c, test_walk*.c and test_physmap*.c programs.
 *
 * Guest-physical map: [0, 64M) RAM (ram_addr = gpa + RAM_BASE), ROM_GPA one ROM page, all else the device.
 */
#ifndef TEST_TLB_ENV_H
#define TEST_TLB_ENV_H

#include "tlb/tlb_int.h"
#include "translator/debugger.h"
#include "translator/svm.h"
#include "tests/unit/one_cpu.h"
#include "tests/unit/stored.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CHECK(cond) ((cond) ? (void)0 : check_fail(#cond, __FILE__, __LINE__))
static inline void check_fail(const char *cond, const char *file, int line)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, cond);
    exit(1);
}
#define CHECK_EQ(a, b) check_eq((uint64_t)(a), (uint64_t)(b), #a " == " #b, __FILE__, __LINE__)
static inline void check_eq(uint64_t a, uint64_t b, const char *text, const char *file, int line)
{
    if (a != b) {
        fprintf(stderr, "%s:%d: check failed: %s: 0x%llx, 0x%llx\n", file, line, text, (unsigned long long)a,
                (unsigned long long)b);
        exit(1);
    }
}

#define RAM_SIZE (64ull << 20)
#define RAM_BASE 0x100000000ull /* ram_addr of gpa 0 */
#define ROM_GPA 0xfffff000ull
#define ROM_RAM 0x200000000ull
#define MMIO_GPA 0xfee00000ull

static struct guest_cpu *c;
static struct xbt_vm vm;
static uint8_t *ram, *rom;

/* ---- faults ---- */
static jmp_buf fault_buf;
static bool fault_armed;
static unsigned fault_vector;
static uint32_t fault_error;

void cpu_raise_err(struct guest_cpu *cpu, unsigned vector, uint32_t error)
{
    (void)cpu;
    CHECK(fault_armed);
    fault_vector = vector;
    fault_error = error;
    longjmp(fault_buf, 1);
}
void cpu_raise(struct guest_cpu *cpu, unsigned vector)
{
    cpu_raise_err(cpu, vector, 0);
}
static uint64_t fault_npf_gpa, fault_npf_info;
void svm_npf(struct guest_cpu *cpu, uint64_t gpa, uint64_t info)
{
    fault_npf_gpa = gpa;
    fault_npf_info = info;
    cpu_raise_err(cpu, 0x400, 0);
}
void debug_hit(struct guest_cpu *cpu, unsigned hits)
{
    cpu->exc_dr6 |= hits;
}

/* There is no debugger (gdb_watch is 0). */
bool debugger_watched(const struct guest_cpu *cpu, uint64_t lin)
{
    return false;
}

bool debugger_watch_hit(struct guest_cpu *cpu, uint64_t lin, uint32_t size, bool write)
{
    return false;
}
/* Run a statement; true if it raised a guest exception. */
#define FAULTS(stmt)                   \
    ({                                 \
        volatile bool raised_ = true;  \
        fault_armed = true;            \
        if (!setjmp(fault_buf)) {      \
            stmt;                      \
            raised_ = false;           \
        }                              \
        fault_armed = false;           \
        raised_;                       \
    })
#define CHECK_PF(stmt, lin, err)           \
    do {                                   \
        CHECK(FAULTS(stmt));               \
        CHECK_EQ(fault_vector, EXC_PF);    \
        CHECK_EQ(fault_error, (err));      \
        CHECK_EQ(c->cr[2], (lin));         \
    } while (0)

static unsigned env_parks;
void fpu_park(struct guest_cpu *cpu)
{
    (void)cpu;
    env_parks++;
}

/* ---- code ---- */
static uint8_t env_code[RAM_SIZE / 64]; /* granules of 64 bytes with code */
static bool env_running_hit;            /* the next invalidation hits the running block */
static unsigned env_invalidations;
static uint64_t env_inval_addr;
static unsigned env_inval_len;

bool tb_range_has_code(struct tb_store *s, uint64_t ram_addr, unsigned len)
{
    (void)s;
    uint64_t a = ram_addr - RAM_BASE;
    for (uint64_t i = a / 64; a < RAM_SIZE && i <= (a + len - 1) / 64; i++) {
        if (env_code[i]) {
            return true;
        }
    }
    return false;
}
bool tb_page_has_code(struct tb_store *s, uint64_t ram_addr)
{
    CHECK_EQ(ram_addr & 0xfff, 0);
    return tb_range_has_code(s, ram_addr, 4096);
}
unsigned tb_invalidate_range(struct guest_cpu *cpu, uint64_t ram_addr, unsigned len, enum tb_death why,
                             bool *hit)
{
    (void)cpu;
    (void)why;
    uint64_t a = ram_addr - RAM_BASE;
    env_invalidations++;
    env_inval_addr = ram_addr;
    env_inval_len = len;
    for (uint64_t i = a / 64; i <= (a + len - 1) / 64; i++) {
        env_code[i] = 0;
    }
    *hit = env_running_hit;
    return 1;
}
_Noreturn void cpu_exit_loop(struct guest_cpu *cpu)
{
    (void)cpu;
    abort(); /* nobody to wait for: never */
}

/* ---- the device: records accesses, reads give a pattern of the address ---- */
static struct mmio_rec { uint64_t gpa, val; unsigned size; bool write; } mmio_log[64];
static unsigned mmio_n;

static void mmio_note(uint64_t gpa, unsigned size, uint64_t val, bool write)
{
    CHECK(mmio_n < 64);
    mmio_log[mmio_n++] = (struct mmio_rec){ gpa, val, size, write };
}
static uint64_t mmio_pattern(uint64_t gpa, unsigned size)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++) {
        v |= ((gpa + i) & 0xff) << (8 * i);
    }
    return v;
}
static bool env_mmio_read(struct guest_cpu *cpu, uint64_t gpa, unsigned size, uint64_t *val)
{
    (void)cpu;
    *val = mmio_pattern(gpa, size);
    mmio_note(gpa, size, *val, false);
    return true;
}
static bool env_mmio_write(struct guest_cpu *cpu, uint64_t gpa, unsigned size, uint64_t val)
{
    (void)cpu;
    mmio_note(gpa, size, val, true);
    return true;
}
static unsigned env_dirty;
static uint64_t env_dirty_addr;
static void env_mark_dirty(struct guest_cpu *cpu, uint64_t ram_addr, unsigned size)
{
    (void)cpu;
    (void)size;
    env_dirty++;
    env_dirty_addr = ram_addr;
}
static const struct xbt_host_ops env_ops = {
    .mmio_read = env_mmio_read, .mmio_write = env_mmio_write, .mark_dirty = env_mark_dirty,
};

/* ---- start, stop ---- */
static inline void env_start(int force)
{
    const char *why = "";

    c = aligned_alloc(64, (sizeof(*c) + 63) & ~63ull);
    memset(c, 0, sizeof(*c));
    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    rom = aligned_alloc(4096, 4096);
    memset(rom, 0x5a, 4096);
    memset(&vm, 0, sizeof(vm));
    memset(env_code, 0, sizeof(env_code));
    vm.phys = physmap_new();
    physmap_set(vm.phys, 0, RAM_SIZE, ram, RAM_BASE, PHYS_RAM);
    physmap_set(vm.phys, ROM_GPA, 4096, rom, ROM_RAM, PHYS_ROM);
    c->vm = &vm;
    c->host = &env_ops;
    c->a20_mask = ~0ull;
    c->model.phys_bits = 40;
    c->model.f81_edx = 1u << 26;
    c->model.f1_edx = 1u << 17;
    c->mmu_mode = MMU_KERNEL;
    env_parks = env_invalidations = env_dirty = mmio_n = 0;
    env_running_hit = false;
    int got = tlb_init(c, force, &why);
    CHECK(got >= 0 && (force < 0 || got == force));
}
static inline void env_stop(void)
{
    tlb_destroy(c);
    physmap_free(vm.phys);
    munmap(ram, RAM_SIZE);
    free(rom);
    free(c);
}

/* ---- page tables ---- */
#define E_P 1ull
#define E_W 2ull
#define E_U 4ull
#define E_A 0x20ull
#define E_D 0x40ull
#define E_PS 0x80ull
#define E_G 0x100ull
#define E_NX (1ull << 63)

static uint64_t pt_next; /* bump allocator of table pages, from 32 MiB */

static inline uint64_t pt_alloc(void)
{
    uint64_t p = pt_next;
    pt_next += 4096;
    CHECK(pt_next <= RAM_SIZE);
    memset(ram + p, 0, 4096);
    return p;
}
static inline uint64_t *ram64(uint64_t gpa) { return (uint64_t *)(ram + gpa); }
static inline uint32_t *ram32(uint64_t gpa) { return (uint32_t *)(ram + gpa); }

enum paging { PG_OFF, PG_32, PG_PAE, PG_4, PG_5 };
static inline void env_paging(enum paging p)
{
    pt_next = 32 << 20;
    c->cr[0] = CR0_PE | (p == PG_OFF ? 0 : CR0_PG | CR0_WP);
    c->cr[4] = (p >= PG_PAE ? CR4_PAE : 0) | (p == PG_5 ? CR4_LA57 : 0) | CR4_PSE | CR4_PGE;
    c->efer = p >= PG_4 ? EFER_LME | EFER_LMA | EFER_NXE : p == PG_PAE ? EFER_NXE : 0;
    c->hflags = p >= PG_4 ? HF_CODE64 | HF_LMA | HF_PE : HF_CODE32 | HF_PE;
    c->cr[3] = pt_alloc();
    tlb_flush_all(c, TLBF_OTHER);
    tlb_cr3_written(c, false);
}
/* Place of the entry that maps lin at `level` (1 = PTE), tables made on the way with rights P W U. */
static inline uint64_t pt_slot(enum paging p, uint64_t lin, unsigned level)
{
    uint64_t table = c->cr[3] & 0xffffffff000ull;

    if (p == PG_32) {
        uint64_t at = table + (lin >> 22 & 1023) * 4;
        if (level == 1) {
            if (!*ram32(at)) {
                *ram32(at) = (uint32_t)pt_alloc() | 7;
            }
            at = (*ram32(at) & 0xfffff000u) + (lin >> 12 & 1023) * 4;
        }
        return at;
    }
    for (unsigned l = p == PG_5 ? 5 : p == PG_4 ? 4 : 3;; l--) {
        uint64_t at = table + (lin >> (12 + 9 * (l - 1)) & (p == PG_PAE && l == 3 ? 3 : 511)) * 8;
        if (l == level) {
            return at;
        }
        if (!*ram64(at)) {
            *ram64(at) = pt_alloc() | (p == PG_PAE && l == 3 ? 1 : 7);
        }
        table = *ram64(at) & 0xffffffff000ull;
    }
}
static inline void map_at(enum paging p, uint64_t lin, uint64_t entry, unsigned level)
{
    uint64_t at = pt_slot(p, lin, level);
    if (p == PG_32) {
        *ram32(at) = (uint32_t)entry;
    } else {
        *ram64(at) = entry;
    }
}
static inline void map(enum paging p, uint64_t lin, uint64_t entry) { map_at(p, lin, entry, 1); }
static inline uint64_t entry_at(enum paging p, uint64_t lin, unsigned level)
{
    uint64_t at = pt_slot(p, lin, level);
    return p == PG_32 ? *ram32(at) : *ram64(at);
}

#endif
