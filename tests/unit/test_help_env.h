/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_help_env.h - one vCPU with flat RAM around the instruction helpers, included by the test_help_*.c
 * programs.
 *
 * The helpers, the decoder, cpu.c and the TLB are real; blocks of code are not (a set of pages can be
 * declared to hold code).  An instruction is given as bytes, decoded by the engine's decoder and done by
 * its row's helper.  Where user mode allows, the host CPU executes the same bytes on a copy of the data
 * at the same addresses and is the oracle.
 *
 * Guest-physical map: [0, RAM_SIZE) RAM, MMIO_GPA.. the device (one 64 KiB window of bytes), nothing else.
 */
#ifndef TEST_HELP_ENV_H
#define TEST_HELP_ENV_H

#include "tb-store/tb.h"
#include "translator/desc.h"
#include "translator/exec.h"
#include "translator/fpu.h"
#include "translator/help.h"
#include "tests/unit/one_cpu.h"
#include "tests/unit/stored.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CHECK(cond) ((cond) ? (void)0 : check_fail(#cond, __FILE__, __LINE__))
#define CHECK_EQ(a, b) check_eq((uint64_t)(a), (uint64_t)(b), #a " == " #b, __FILE__, __LINE__)
static const char *env_what = "";
static inline void check_fail(const char *cond, const char *file, int line)
{
    fprintf(stderr, "%s:%d: check failed: %s (%s)\n", file, line, cond, env_what);
    abort();
}
static inline void check_eq(uint64_t a, uint64_t b, const char *text, const char *file, int line)
{
    if (a != b) {
        fprintf(stderr, "%s:%d: check failed: %s: 0x%llx, 0x%llx (%s)\n", file, line, text,
                (unsigned long long)a, (unsigned long long)b, env_what);
        abort();
    }
}

#define DATA      0x10000000ull          /* the test's data, mapped for the host at the same address */
#define DATA_SIZE 0x40000ull
#define RAM_SIZE  (DATA + 0x100000)
#define RAM_BASE  0x100000000ull
#define MMIO_GPA  0xfe000000ull

static struct guest_cpu *c;
static struct xbt_vm vm;
static uint8_t *ram, mmio[65536];
static uint8_t *const host_data = (uint8_t *)DATA;
static uint8_t *guest_data;              /* ram + DATA */

static inline uint64_t rnd(void)
{
    static uint64_t x = 88172645463325252ull;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x * 0x2545f4914f6cdd1dull >> 11 | x << 53;
}

/* ---- what the helpers need of the rest of the engine ---- */
static uint8_t env_code[RAM_SIZE >> 12]; /* pages that hold translated code */
static unsigned env_dma_checks;

void tb_restore_state(struct guest_cpu *cpu, uint64_t pc)
{
    (void)cpu;
    (void)pc;
}
void take_interrupt(struct guest_cpu *cpu)
{
    cpu->intr_pending = 0;
}
void take_nmi(struct guest_cpu *cpu)
{
    cpu->nmi_pending = 0;
}
void take_mce(struct guest_cpu *cpu)
{
    cpu->mce_pending = 0;
}
void tb_check_dma(struct guest_cpu *cpu)
{
    (void)cpu;
    env_dma_checks++;
}
bool tb_range_has_code(struct tb_store *s, uint64_t ram_addr, unsigned len)
{
    (void)s;
    (void)len;
    return env_code[(ram_addr - RAM_BASE) >> 12];
}
bool tb_page_has_code(struct tb_store *s, uint64_t ram_addr)
{
    return tb_range_has_code(s, ram_addr, 1);
}
unsigned tb_invalidate_range(struct guest_cpu *cpu, uint64_t ram_addr, unsigned len, enum tb_death why,
                             bool *hit)
{
    (void)cpu;
    (void)ram_addr;
    (void)len;
    (void)why;
    *hit = false;
    return 1;
}

/* ---- the machine ---- */
static bool env_mmio_read(struct guest_cpu *cpu, uint64_t gpa, unsigned size, uint64_t *val)
{
    CHECK(!cpu->fpu_live);
    *val = 0;
    xbt_copy(val, mmio + (gpa & 0xffff), size);
    return true;
}
static bool env_mmio_write(struct guest_cpu *cpu, uint64_t gpa, unsigned size, uint64_t val)
{
    CHECK(!cpu->fpu_live);
    xbt_copy(mmio + (gpa & 0xffff), &val, size);
    return true;
}
static struct { uint16_t port; uint8_t size, write; uint32_t val; } pio_log[4096];
static unsigned pio_n;
static uint32_t pio_next = 0x11223344;
static uint32_t env_pio_read(struct guest_cpu *cpu, uint16_t port, unsigned size)
{
    CHECK(!cpu->fpu_live && pio_n < 4096);
    pio_log[pio_n].port = port;
    pio_log[pio_n].size = (uint8_t)size;
    pio_log[pio_n].write = 0;
    pio_next = pio_next * 1664525 + 1013904223;
    return pio_log[pio_n++].val = pio_next;
}
static void env_pio_write(struct guest_cpu *cpu, uint16_t port, unsigned size, uint32_t val)
{
    CHECK(!cpu->fpu_live && pio_n < 4096);
    pio_log[pio_n].port = port;
    pio_log[pio_n].size = (uint8_t)size;
    pio_log[pio_n].write = 1;
    pio_log[pio_n++].val = val;
}
static unsigned env_ferr;
static void env_set_ferr(struct guest_cpu *cpu, bool level)
{
    (void)cpu;
    env_ferr += level;
}
static void env_cpuid(struct guest_cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
    CHECK(!cpu->fpu_live);
    r[0] = leaf == 0xd ? 7 : leaf;
    r[1] = sub;
    r[2] = r[3] = ~0u;
}
static bool env_rdmsr(struct guest_cpu *cpu, uint32_t msr, uint64_t *val)
{
    CHECK(!cpu->fpu_live);
    *val = msr;
    return msr >= 0x800 && msr < 0x900;
}
static bool env_wrmsr(struct guest_cpu *cpu, uint32_t msr, uint64_t val)
{
    (void)val;
    CHECK(!cpu->fpu_live);
    return msr >= 0x800 && msr < 0x900;
}
static struct xbt_host_ops env_ops = {
    .mmio_read = env_mmio_read, .mmio_write = env_mmio_write,
    .pio_read = env_pio_read, .pio_write = env_pio_write,
    .set_ferr = env_set_ferr, .cpuid = env_cpuid, .rdmsr = env_rdmsr, .wrmsr = env_wrmsr,
};

static inline void env_start(void)
{
    const char *why = "";

    c = aligned_alloc(64, (sizeof(*c) + 63) & ~63ull);
    memset(c, 0, sizeof(*c));
    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    guest_data = ram + DATA;
    CHECK(mmap((void *)DATA, DATA_SIZE, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == (void *)DATA);
    vm.phys = physmap_new();
    vm.n_cpus = 1;
    physmap_set(vm.phys, 0, RAM_SIZE, ram, RAM_BASE, PHYS_RAM);
    c->vm = &vm;
    c->host = &env_ops;
    c->a20_mask = ~0ull;
    c->model.phys_bits = 40;
    c->model.f1_edx = c->model.f1_ecx = c->model.f7_ebx = c->model.f7_ecx = c->model.f7_edx = ~0u;
    c->model.f81_edx = c->model.f81_ecx = c->model.fd1_eax = ~0u;
    c->model.xcr0_supported = XF_ALL;
    CHECK(tlb_init(c, -1, &why) >= 0);
    cpu_reset(c);
}

/* ---- modes ---- */
static inline void flat_seg(unsigned seg, uint32_t attr, unsigned cpl)
{
    c->seg[seg].base = 0;
    c->seg[seg].limit = 0xffffffff;
    c->seg[seg].attr = attr | DESC_P | DESC_S | DESC_A | DESC_G | cpl << DESC_DPL_SHIFT;
    c->seg[seg].sel = (uint16_t)(8 * (seg + 1) | cpl);
    cpu_seg_update(c, seg);
}
/* Flat protected mode with `mode` = 0, 1, 2: 16-, 32-, 64-bit code.  Long mode runs with paging off here,
 * which no processor does, but the helpers do not mind. */
static inline void env_mode(int mode, unsigned cpl)
{
    cpu_reset(c);
    c->cr[0] = CR0_PE | CR0_NE | CR0_ET;
    c->cr[4] = CR4_OSFXSR | CR4_OSXSAVE | CR4_PAE | CR4_OSXMMEXCPT;
    c->xcr0 = 7;
    c->efer = mode == 2 ? EFER_LME | EFER_LMA : 0;
    c->cpl = (uint8_t)cpl;
    for (unsigned s = S_ES; s < S_COUNT; s++)
        flat_seg(s, s == S_CS ? DESC_CS | DESC_R | (mode == 2 ? DESC_L : mode == 1 ? DESC_B : 0)
                              : DESC_W | (mode ? DESC_B : 0), cpl);
    cpu_update_hflags(c);
}
static inline void env_real(void)
{
    cpu_reset(c);
    c->seg[S_CS].base = 0;
    cpu_seg_update(c, S_CS);
    cpu_update_hflags(c);
}

/* ---- running ---- */
static inline void decode_bytes(const void *bytes, unsigned n, struct dec_insn *in)
{
    int mode = (int)(c->hflags & HF_CODE_MASK) >> HF_CODE_SHIFT;

    CHECK_EQ(dec_decode(bytes, n, c->rip, mode, !cpu_pe(c) || cpu_vm86(c), in), DEC_OK);
    CHECK_EQ(in->len, n);
    if (!in->row->helper) {
        fprintf(stderr, "%s is not done by a helper\n", in->row->name);
        abort();
    }
}

/* Run one helper; a raised exception gives 0x100 + vector. */
static __attribute__((noinline)) int do_insn(const struct dec_insn *in)
{
    c->exc_vector = -1;
    c->unwind_pc = 0;
    if (__builtin_setjmp(c->jmpbuf))
        return 0x100 + c->exc_vector;
    return in->row->helper(c, in);
}

#define INSN(...) run_bytes((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
static inline int run_bytes(const uint8_t *bytes, unsigned n)
{
    struct dec_insn in;

    decode_bytes(bytes, n, &in);
    return do_insn(&in);
}
#define RAISES(vec) (0x100 + (vec))

#endif
