/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_seg_env.h - a machine for the segment, transfer and interrupt helpers: 1 MiB of flat RAM where linear
 * is physical, one page that can be made to fault, exceptions caught by __builtin_setjmp, descriptor tables
 * with one of each kind.  Included by the test_seg*.c and test_int*.c programs.
 */
#ifndef TEST_SEG_ENV_H
#define TEST_SEG_ENV_H

#include "translator/desc.h"
#include "translator/exec.h"
#include "translator/svm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

#define RAM_BYTES (1u << 20)
#define NO_PAGE 1ull

static struct guest_cpu *c;
static uint8_t ram[RAM_BYTES];
static uint64_t bad_page = NO_PAGE; /* accesses to it raise #PF */
static unsigned last_mode;          /* of the last access with an explicit mode */
static unsigned n_stores;           /* stores done */
static uint64_t restored_pc;

/* ---- the TLB and the rest of the engine; there is no hypervisor here ---- */
bool svm_exception(struct guest_cpu *cpu, unsigned vector, bool has_error, uint32_t error)
{
    abort();
}
void svm_exit_now(struct guest_cpu *cpu, uint64_t code, uint64_t info1, uint64_t info2)
{
    abort();
}
void svm_event_begin(struct guest_cpu *cpu, unsigned vector, uint64_t type, bool has_error, uint32_t error)
{
    abort();
}
void svm_check_task(struct guest_cpu *cpu, uint16_t sel, uint64_t info2)
{
    abort();
}
static uint8_t *at(struct guest_cpu *cpu, uint64_t lin, unsigned size, bool write, unsigned mode)
{
    if ((lin & ~0xfffull) == bad_page || ((lin + size - 1) & ~0xfffull) == bad_page) {
        cpu->cr[2] = lin;
        cpu_raise_err(cpu, EXC_PF, (write ? 2 : 0) | (mode == MMU_USER ? 4 : 0));
    }
    CHECK(lin + size <= RAM_BYTES);
    return ram + lin;
}
#define ACCESS(bits)                                                                  \
    uint##bits##_t guest_ld##bits(struct guest_cpu *cpu, uint64_t lin)                \
    {                                                                                 \
        uint##bits##_t v;                                                             \
        memcpy(&v, at(cpu, lin, bits / 8, false, cpu->mmu_mode), bits / 8);           \
        return v;                                                                     \
    }                                                                                 \
    void guest_st##bits(struct guest_cpu *cpu, uint64_t lin, uint##bits##_t v)        \
    {                                                                                 \
        memcpy(at(cpu, lin, bits / 8, true, cpu->mmu_mode), &v, bits / 8);            \
        n_stores++;                                                                   \
    }
ACCESS(8)
ACCESS(16)
ACCESS(32)
ACCESS(64)
uint64_t guest_ld_mode(struct guest_cpu *cpu, uint64_t lin, unsigned size, enum mmu_mode m)
{
    uint64_t v = 0;

    memcpy(&v, at(cpu, lin, size, false, m), size);
    return v;
}
void guest_st_mode(struct guest_cpu *cpu, uint64_t lin, unsigned size, uint64_t v, enum mmu_mode m)
{
    memcpy(at(cpu, lin, size, true, m), &v, size);
    last_mode = m;
    n_stores++;
}
void guest_write(struct guest_cpu *cpu, uint64_t lin, const void *buf, unsigned size, enum mmu_mode m)
{
    memcpy(at(cpu, lin, size, true, m), buf, size);
}
void guest_probe(struct guest_cpu *cpu, uint64_t lin, unsigned size, enum access acc, enum mmu_mode m)
{
    at(cpu, lin, size, acc == ACC_WRITE, m);
}
void tlb_set_mode(struct guest_cpu *cpu)
{
    (void)cpu;
}
void tlb_flush_all(struct guest_cpu *cpu, enum tlb_flush_cause why)
{
    (void)cpu;
    (void)why;
}
void tlb_cr3_written(struct guest_cpu *cpu, bool noflush)
{
    (void)cpu;
    (void)noflush;
}
void fpu_park(struct guest_cpu *cpu)
{
    (void)cpu;
}
void tb_restore_state(struct guest_cpu *cpu, uint64_t host_pc)
{
    (void)cpu;
    restored_pc = host_pc;
}
unsigned dec_op_size(const struct dec_insn *in, unsigned i)
{
    (void)i;
    return in->opsize;
}

/* ---- running things that raise ---- */
#define NONE (-1)
/* The exception a helper raised, or NONE; its error code is in c->exc_error. */
static __attribute__((noinline)) int help(help_fn *fn, const struct dec_insn *in, int *result)
{
    c->exc_vector = NONE;
    c->rip = in->ip;
    if (__builtin_setjmp(c->jmpbuf)) {
        return c->exc_vector;
    }
    *result = fn(c, in);
    return NONE;
}
static __attribute__((noinline)) int call(void (*fn)(void))
{
    c->exc_vector = NONE;
    if (__builtin_setjmp(c->jmpbuf)) {
        return c->exc_vector;
    }
    fn();
    return NONE;
}
/* Deliver as the vCPU loop does, until it succeeds or the CPU shuts down. */
static void deliver_all(int vector, bool has_error, uint32_t error)
{
    c->exc_vector = vector;
    c->exc_has_error = has_error;
    c->exc_error = error;
    if (__builtin_setjmp(c->jmpbuf)) {
        CHECK(c->exc_vector >= 0);
    }
    if (c->exc_vector >= 0) {
        cpu_deliver_exception(c);
    }
}
/* The helper must end with this result / raise this with this error code. */
#define RUN(fn, in, want)                  \
    do {                                   \
        int r_ = 99;                       \
        CHECK_EQ(help(fn, in, &r_), NONE); \
        CHECK_EQ(r_, want);                \
    } while (0)
#define RAISES(fn, in, vector, error)        \
    do {                                     \
        int r_ = 99;                         \
        CHECK_EQ(help(fn, in, &r_), vector); \
        CHECK_EQ(c->exc_error, error);       \
    } while (0)

/* ---- memory ---- */
static inline void put(uint32_t lin, unsigned size, uint64_t v)
{
    CHECK(lin + size <= RAM_BYTES);
    memcpy(ram + lin, &v, size);
}
static inline uint64_t get(uint64_t lin, unsigned size)
{
    uint64_t v = 0;

    CHECK(lin + size <= RAM_BYTES);
    memcpy(&v, ram + lin, size);
    return v;
}

/* ---- tables ---- */
enum {
    GDT = 0x1000, LDT = 0x1800, IDT = 0x2000, TSS = 0x4000, TSS2 = 0x5000, KSTACK = 0x8000, USTACK = 0xa000,
    STACK2 = 0xc000, IST1 = 0xe000,
};
enum {
    KCODE = 0x08, KDATA = 0x10, UCODE = 0x1b, UDATA = 0x23, SEL_TSS = 0x28, SEL_TSS2 = 0x30, SEL_LDT = 0x38,
    KCODE16 = 0x40, KDATA16 = 0x48, CONF = 0x50, GATE = 0x5b, TASKGATE = 0x63, ABSENT = 0x68, KCODE64 = 0x70,
    UCODE64 = 0x7b, SEL_TSS64 = 0x80, GATE64 = 0x93, DOWN = 0xa0, XONLY = 0xa8, GATE16 = 0xb3,
};

static inline void put_desc(uint16_t sel, uint32_t base, uint32_t limit, uint32_t attr)
{
    uint32_t lin = GDT + (sel & ~7u);

    put(lin, 4, (base & 0xffff) << 16 | (limit & 0xffff));
    put(lin + 4, 4, (base & 0xff000000u) | (base >> 16 & 0xff) | (limit & 0xf0000) | attr);
}
static inline void put_gate(uint32_t lin, uint16_t sel, uint64_t off, unsigned type, unsigned dpl,
                            unsigned low)
{
    put(lin, 4, (uint32_t)sel << 16 | (off & 0xffff));
    put(lin + 4, 4, (off & 0xffff0000u) | DESC_P | dpl << DESC_DPL_SHIFT | type << DESC_TYPE_SHIFT | low);
}
static inline uint32_t get_attr(uint16_t sel)
{
    return (uint32_t)get(GDT + (sel & ~7u) + 4, 4) & DESC_ATTR_MASK;
}

#define A_CODE (DESC_P | DESC_S | DESC_CS | DESC_R)
#define A_DATA (DESC_P | DESC_S | DESC_W)
#define A_DPL3 DESC_DPL
#define A_FLAT32 (DESC_G | DESC_B)
#define A_SYS(type) (DESC_P | (type) << DESC_TYPE_SHIFT)

static void tables(void)
{
    memset(ram, 0, sizeof(ram));
    put_desc(KCODE, 0, 0xfffff, A_CODE | A_FLAT32);
    put_desc(KDATA, 0, 0xfffff, A_DATA | A_FLAT32);
    put_desc(UCODE, 0, 0xfffff, A_CODE | A_FLAT32 | A_DPL3);
    put_desc(UDATA, 0, 0xfffff, A_DATA | A_FLAT32 | A_DPL3);
    put_desc(SEL_TSS, TSS, 0x2fff, A_SYS(SYS_TSS32));
    put_desc(SEL_TSS2, TSS2, 0x67, A_SYS(SYS_TSS32));
    put_desc(SEL_LDT, LDT, 0xff, A_SYS(SYS_LDT));
    put_desc(KCODE16, 0, 0xffff, A_CODE);
    put_desc(KDATA16, 0, 0xffff, A_DATA);
    put_desc(CONF, 0, 0xfffff, A_CODE | A_FLAT32 | DESC_C);
    put_gate(GDT + (GATE & ~7), KCODE, 0x12345, SYS_CALL32, 3, 2);
    put_gate(GDT + (TASKGATE & ~7), SEL_TSS2, 0, SYS_TASK, 3, 0);
    put_desc(ABSENT, 0, 0xfffff, (A_DATA | A_FLAT32 | A_DPL3) & ~DESC_P);
    put_desc(KCODE64, 0, 0, A_CODE | DESC_L);
    put_desc(UCODE64, 0, 0, A_CODE | DESC_L | A_DPL3);
    put_desc(SEL_TSS64, TSS, 0x67, A_SYS(SYS_TSS32));
    put_gate(GDT + (GATE64 & ~7), KCODE64, 0x12345, SYS_CALL32, 3, 0);
    put(GDT + (GATE64 & ~7) + 8, 4, 0x11);
    put_desc(DOWN, 0, 0x0fff, A_DATA | DESC_E | DESC_B);
    put_desc(XONLY, 0, 0xfffff, (A_CODE | A_FLAT32 | A_DPL3) & ~DESC_R);
    put_gate(GDT + (GATE16 & ~7), KCODE, 0x2345, SYS_CALL16, 3, 1);
}

/* Load a segment from the GDT without checks. */
static inline void force_seg(unsigned seg, uint16_t sel)
{
    uint32_t lin = GDT + (sel & ~7u);
    struct desc d = { lin, (uint32_t)get(lin, 4), (uint32_t)get(lin + 4, 4) };

    seg_set_desc(c, seg, sel, &d);
}

static inline void setup_real(void)
{
    if (!c) {
        c = aligned_alloc(64, (sizeof(*c) + 63) & ~63ull);
        CHECK(c);
    }
    static struct xbt_vm vm;    /* without a TLB and a store */

    memset(c, 0, sizeof(*c));
    c->vm = &vm;
    tables();
    bad_page = NO_PAGE;
    cpu_reset(c);
    c->gdt.base = GDT;
    c->gdt.limit = 0xff;
    c->idt.base = IDT;
    c->idt.limit = 0x7ff;
    seg_set(c, S_CS, 0x100, 0x1000, 0xffff, c->seg[S_CS].attr);
    seg_set(c, S_SS, 0x200, 0x2000, 0xffff, c->seg[S_SS].attr);
    GPR(c, R_RSP) = 0x6000;
    cpu_update_hflags(c);
}

/* Flat 32-bit protected mode at this CPL, with a TSS whose inner stacks are at KSTACK. */
static inline void setup_32(unsigned cpl)
{
    setup_real();
    c->cr[0] |= CR0_PE;
    c->cpl = (uint8_t)cpl;
    force_seg(S_CS, cpl ? UCODE : KCODE);
    force_seg(S_SS, cpl ? UDATA : KDATA);
    force_seg(S_DS, UDATA);
    force_seg(S_ES, UDATA);
    seg_set_null(c, S_FS, 0);
    seg_set_null(c, S_GS, 0);
    seg_set(c, S_LDT, SEL_LDT, LDT, 0xff, A_SYS(SYS_LDT));
    seg_set(c, S_TR, SEL_TSS, TSS, 0x2fff, A_SYS(SYS_TSS32_BUSY));
    put_desc(SEL_TSS, TSS, 0x2fff, A_SYS(SYS_TSS32_BUSY));
    put(TSS + 4, 4, KSTACK);
    put(TSS + 8, 2, KDATA);
    GPR(c, R_RSP) = cpl ? USTACK : KSTACK - 0x400;
    cpu_update_hflags(c);
    CHECK_EQ(c->cpl, cpl);
}

static inline void setup_64(unsigned cpl)
{
    setup_32(cpl);
    c->cr[0] |= CR0_PG;
    c->cr[4] |= CR4_PAE;
    c->efer = EFER_LME | EFER_LMA | EFER_SCE;
    c->idt.limit = 0xfff;
    force_seg(S_CS, cpl ? UCODE64 : KCODE64);
    seg_set(c, S_TR, SEL_TSS64, TSS, 0x67, A_SYS(SYS_TSS32_BUSY));
    put(TSS + 4, 8, KSTACK);
    put(TSS + 36, 8, IST1);
    cpu_update_hflags(c);
    CHECK(cpu_code64(c));
}

static inline void setup_v86(unsigned iopl)
{
    setup_32(3);
    cpu_set_eflags(c, FL_VM | FL_IF | iopl << 12, FL_VM | FL_IF | FL_IOPL);
    for (unsigned i = 0; i < S_COUNT; i++) {
        seg_set_v86(c, i, (uint16_t)(0x100 * (i + 1)));
    }
    GPR(c, R_RSP) = 0x6000;
    cpu_update_hflags(c);
    CHECK_EQ(c->cpl, 3);
}

/* An instruction without a memory operand, two bytes long at ip. */
static inline struct dec_insn insn(uint64_t ip, unsigned opsize)
{
    struct dec_insn in = { .ip = ip, .len = 2, .opsize = (uint8_t)opsize };

    in.base = in.index = REG_NONE;
    in.mode = (c->hflags & HF_CODE_MASK) >> HF_CODE_SHIFT;
    in.adsize = (uint8_t)(2u << in.mode);
    in.seg = S_DS;
    return in;
}
/* The same with the memory operand [disp]. */
static inline struct dec_insn insn_mem(uint64_t ip, unsigned opsize, int64_t disp)
{
    struct dec_insn in = insn(ip, opsize);

    in.has_mem = 1;
    in.disp = disp;
    return in;
}

#endif
