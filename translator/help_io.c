/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_io.c - IN OUT INS OUTS and the permission to execute them (SDM vol. 1, chapter 19; vol. 3, 20.3.3
 * for v86).
 *
 * The device is behind host->pio_read/pio_write.  After an access a device may have written memory
 * (bus-master DMA programmed by the access): code pages are looked at before guest code goes on.  The
 * string forms check that the memory side will not fault before they touch the port, since port accesses
 * cannot be undone.
 */
#include "translator/help_str.h"
#include "translator/svm.h"
#include "translator/smp.h"

#define TSS_TYPE_32(attr) (((attr) >> DESC_TYPE_SHIFT & 0x1d) == SYS_TSS32) /* available or busy */
#define TSS_IOBASE 0x66

/* The I/O permission bitmap: all bits of the ports must be 0.  Two bytes are always read, so the last byte of
 * bitmap must lie before the segment's last. */
static void check_bitmap(struct guest_cpu *c, unsigned port, unsigned size)
{
    const struct guest_seg *tr = &c->seg[S_TR];
    uint64_t base, bits;

    if (!TSS_TYPE_32(tr->attr) || !(tr->attr & DESC_P) || tr->limit < TSS_IOBASE + 1)
        GP0(c);
    base = guest_ld_mode(c, lin_wrap(c, tr->base + TSS_IOBASE), 2, sys_mode(c)) + port / 8;
    if (base + 1 > tr->limit)
        GP0(c);
    bits = guest_ld_mode(c, lin_wrap(c, tr->base + base), 2, sys_mode(c));
    if (bits >> (port & 7) & ((1u << size) - 1))
        GP0(c);
}

/* The hypervisor of a nested guest is asked last (APM vol. 2, 15.10.1). */
static void check_port(struct guest_cpu *c, const struct dec_insn *in, unsigned port, unsigned size)
{
    if (cpu_pe(c) && (cpu_vm86(c) || c->cpl > cpu_iopl(c)))
        check_bitmap(c, port, size);
    if (__builtin_expect(c->svm.nested, 0))
        svm_check_io(c, in, port, size);
}

static inline void check_breakpoint(struct guest_cpu *c, unsigned port, unsigned size)
{
    if (__builtin_expect(c->dr[7] & 0xff, 0))
        debug_check_io(c, port, size);
}

static uint32_t port_read(struct guest_cpu *c, unsigned port, unsigned size)
{
    check_breakpoint(c, port, size);
    fpu_park(c);
    c->stat[ST_PIO]++;
    unsigned old = smp_rest(c, SMP_PAUSED);
    uint32_t val = c->host->pio_read(c, (uint16_t)port, size);
    smp_wake(c, old);
    return val & (uint32_t)size_mask(size);
}

static void port_write(struct guest_cpu *c, unsigned port, unsigned size, uint32_t val)
{
    check_breakpoint(c, port, size);
    fpu_park(c);
    c->stat[ST_PIO]++;
    unsigned old = smp_rest(c, SMP_PAUSED);
    c->host->pio_write(c, (uint16_t)port, size, (uint32_t)(val & size_mask(size)));
    smp_wake(c, old);
}

static unsigned io_size(const struct dec_insn *in)
{
    return !(in->opcode & 1) ? 1 : in->opsize == 2 ? 2 : 4;
}

/* E4..E7 name the port in an immediate byte, EC..EF in DX. */
static unsigned io_port(struct guest_cpu *c, const struct dec_insn *in)
{
    return in->opcode & 8 ? (uint16_t)GPR(c, R_RDX) : (uint8_t)in->imm;
}

int help_in(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned size = io_size(in), port = io_port(c, in);

    check_port(c, in, port, size);
    gpr_write(c, R_RAX, size, false, port_read(c, port, size));
    return help_after_io(c, in);
}

int help_out(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned size = io_size(in), port = io_port(c, in);

    check_port(c, in, port, size);
    port_write(c, port, size, (uint32_t)GPR(c, R_RAX));
    return help_after_io(c, in);
}

static void ins_element(struct guest_cpu *c, const struct dec_insn *in, struct str_op o, unsigned size)
{
    unsigned port = (uint16_t)GPR(c, R_RDX);
    uint64_t off = addr_reg(c, R_RDI, in->adsize);
    uint64_t lin = str_lin(c, o, off, size);
    uint32_t v;

    guest_probe(c, lin, size, ACC_WRITE, c->mmu_mode);
    v = port_read(c, port, size);
    if (size == 1)
        guest_st8(c, lin, (uint8_t)v);
    else if (size == 2)
        guest_st16(c, lin, (uint16_t)v);
    else
        guest_st32(c, lin, v);
    addr_reg_set(c, R_RDI, in->adsize, c->eflags & FL_DF ? off - size : off + size);
}

static void outs_element(struct guest_cpu *c, const struct dec_insn *in, struct str_op o, unsigned size)
{
    unsigned port = (uint16_t)GPR(c, R_RDX);
    uint64_t off = addr_reg(c, R_RSI, in->adsize);
    uint64_t lin = str_lin(c, o, off, size);
    uint32_t v;

    v = size == 1 ? guest_ld8(c, lin) : size == 2 ? guest_ld16(c, lin) : guest_ld32(c, lin);
    port_write(c, port, size, v);
    addr_reg_set(c, R_RSI, in->adsize, c->eflags & FL_DF ? off - size : off + size);
}

typedef void io_element_fn(struct guest_cpu *c, const struct dec_insn *in, struct str_op o, unsigned size);

static int io_string(struct guest_cpu *c, const struct dec_insn *in, struct str_op o, io_element_fn *fn)
{
    unsigned size = io_size(in), budget = STR_IO_BUDGET;
    uint64_t mark = help_mark(c), left;

    check_port(c, in, (uint16_t)GPR(c, R_RDX), size);
    if (!str_repeated(in)) {
        fn(c, in, o, size);
    } else {
        for (left = addr_reg(c, R_RCX, in->adsize); left; ) {
            fn(c, in, o, size);
            addr_reg_set(c, R_RCX, in->adsize, --left);
            if (!left)
                break;
            if (!--budget || c->exit_request || (c->hflags & (HF_TF | HF_DBG))) {
                tb_check_dma(c);
                c->rip = in->ip;
                c->rep_partial = 1;
                return HELP_LOOP;
            }
        }
    }
    if (help_code_written(c, mark)) {
        tb_check_dma(c);
        return help_leave(c, in);
    }
    return help_after_io(c, in);
}

int help_ins(struct guest_cpu *c, const struct dec_insn *in)
{
    return io_string(c, in, str_operand(c, R_RDI, S_ES, true), ins_element);
}

int help_outs(struct guest_cpu *c, const struct dec_insn *in)
{
    return io_string(c, in, str_operand(c, R_RSI, implicit_seg(in), false), outs_element);
}
