/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dump.c - what a block looks like in each stage, and the trace of blocks entered.
 * Debugging only: parks the FP state and uses libc and capstone (the disassembler of dumps; the decoder is our own).
 */
#include <capstone/capstone.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "translator/exec.h"
#include "translator/ir.h"
#include "translator/mem.h"

#define TEXT_SIZE (256 * 1024)

static size_t disas(char *buf, size_t size, const uint8_t *code, size_t len, uint64_t addr, cs_mode mode)
{
    csh h;
    cs_insn *insn;
    size_t n = 0;

    if (cs_open(CS_ARCH_X86, mode, &h) != CS_ERR_OK) {
        return 0;
    }
    cs_option(h, CS_OPT_SKIPDATA, CS_OPT_ON);
    size_t count = cs_disasm(h, code, len, addr, 0, &insn);
    for (size_t i = 0; i < count && n + 128 < size; i++) {
        n += (size_t)snprintf(buf + n, size - n, "  0x%" PRIx64 ":  %s %s\n", insn[i].address, insn[i].mnemonic,
                              insn[i].op_str);
    }
    if (count) {
        cs_free(insn, count);
    }
    cs_close(&h);
    return n;
}

static cs_mode guest_mode(uint32_t hflags)
{
    switch (hflags & HF_CODE_MASK) {
    case HF_CODE64: return CS_MODE_64;
    case HF_CODE32: return CS_MODE_32;
    default: return CS_MODE_16;
    }
}

static bool wanted(struct guest_cpu *c, uint64_t lip)
{
    const struct xbt_options *o = &c->vm->opt;

    if (c->host->log_wanted) {
        fpu_park(c);
        if (!c->host->log_wanted(lip)) {
            return false;
        }
    }
    return !o->dump_hi || (lip >= o->dump_lo && lip <= o->dump_hi);
}

static void guest_text(const struct ir_block *b, struct guest_cpu *c, char *buf, size_t size)
{
    struct code_page p = tlb_code_page(c, b->lip);

    for (unsigned i = 0; i < b->n_insns && p.host; i++) {
        const struct dec_insn *in = &b->insns[i];
        unsigned off = (unsigned)(b->lip + (in->ip - b->ip)) & 0xfff;
        unsigned n = in->len;
        uint8_t bytes[15];

        if (n > 15 || off + n > 4096) {
            return;
        }
        for (unsigned k = 0; k < n; k++) {
            bytes[k] = p.host[off + k];
        }
        size_t done = disas(buf, size, bytes, n, in->ip, guest_mode(b->key.hflags));
        size -= done;
        buf += done;
    }
}

void dump_block(struct guest_cpu *c, const struct ir_block *b, struct tb *tb)
{
    const struct xbt_options *o = &c->vm->opt;
    char *buf;

    if (!wanted(c, b->lip) || !c->host->log) {
        return;
    }
    fpu_park(c);
    buf = calloc(1, TEXT_SIZE);
    if (!buf) {
        return;
    }
    size_t n = (size_t)snprintf(buf, TEXT_SIZE, "block 0x%" PRIx64 " hflags %08x insns %u%s\n", b->lip, b->key.hflags,
                                b->n_insns, b->needs_flags ? "" : " noflags");
    if (o->dump & DUMP_GUEST) {
        guest_text(b, c, buf + n, TEXT_SIZE - n);
        c->host->log(buf);
        buf[0] = 0;
    }
    if (o->dump & DUMP_IR) {
        ir_print(b, buf, TEXT_SIZE);
        c->host->log(buf);
    }
    if (o->dump & DUMP_HOST) {
        unsigned cold = tb->cold_size;
        n = (size_t)snprintf(buf, TEXT_SIZE, "host %p, %u bytes, cold %p, %u bytes\n", (void *)tb_entry(tb),
                             tb->hot_size, (void *)tb_cold(tb), cold);
        disas(buf + n, TEXT_SIZE - n, tb_entry(tb), tb->hot_size, (uintptr_t)tb_entry(tb), CS_MODE_64);
        c->host->log(buf);
        n = (size_t)snprintf(buf, TEXT_SIZE, "cold\n");
        disas(buf + n, TEXT_SIZE - n, tb_cold(tb), cold, (uintptr_t)tb_cold(tb), CS_MODE_64);
        c->host->log(buf);
    }
    free(buf);
}

_Noreturn void dump_bad_block(struct guest_cpu *c, const struct ir_block *b, const char *bad)
{
    char *buf = calloc(1, TEXT_SIZE);

    if (buf) {
        ir_print(b, buf, TEXT_SIZE);
        fprintf(stderr, "xbt: internal error: block 0x%" PRIx64 ": %s\n%s", b->lip, bad, buf);
    }
    abort();
}

/* Legacy part of the XSAVE area (SDM vol. 1, table 10-2). */
static void dump_fpu(struct guest_cpu *c)
{
    char buf[1600];
    size_t n;
    uint16_t w[3];
    uint32_t mxcsr;

    xbt_copy(w, c->fpu, sizeof(w));
    xbt_copy(&mxcsr, c->fpu + 24, sizeof(mxcsr));
    n = (size_t)snprintf(buf, sizeof(buf), "  fcw=%04x fsw=%04x ftw=%02x mxcsr=%08x", w[0], w[1], w[2] & 0xff, mxcsr);
    for (unsigned i = 0; i < 24; i++) {
        uint64_t v[2];
        xbt_copy(v, c->fpu + 32 + 16 * i, sizeof(v));
        if (i < 8) {
            n += (size_t)snprintf(buf + n, sizeof(buf) - n, " st%u=%04x%016" PRIx64, i, (unsigned)(v[1] & 0xffff), v[0]);
        } else {
            n += (size_t)snprintf(buf + n, sizeof(buf) - n, " xmm%u=%016" PRIx64 "%016" PRIx64, i - 8, v[1], v[0]);
        }
    }
    snprintf(buf + n, sizeof(buf) - n, "\n");
    c->host->log(buf);
}

void dump_exit(struct guest_cpu *c, unsigned reason)
{
    char buf[640];

    if (!c->host->log || !wanted(c, c->rip + c->cs_base)) {
        return;
    }
    fpu_park(c);
    snprintf(buf, sizeof(buf),
             "enter %04x:%016" PRIx64 " fl=%08x hf=%08x why=%u rax=%016" PRIx64 " rcx=%016" PRIx64 " rdx=%016" PRIx64
             " rbx=%016" PRIx64 " rsp=%016" PRIx64 " rbp=%016" PRIx64 " rsi=%016" PRIx64 " rdi=%016" PRIx64
             " r8=%016" PRIx64 " r9=%016" PRIx64 " r10=%016" PRIx64 " r11=%016" PRIx64 " r12=%016" PRIx64
             " r13=%016" PRIx64 " r14=%016" PRIx64 " r15=%016" PRIx64 "\n",
             c->seg[S_CS].sel, c->rip, cpu_get_eflags(c), c->hflags, reason, GPR(c, 0), GPR(c, 1), GPR(c, 2),
             GPR(c, 3), GPR(c, 4), GPR(c, 5), GPR(c, 6), GPR(c, 7), GPR(c, 8), GPR(c, 9), GPR(c, 10), GPR(c, 11),
             GPR(c, 12), GPR(c, 13), GPR(c, 14), GPR(c, 15));
    c->host->log(buf);
    if (c->vm->opt.dump & DUMP_FPU) {
        dump_fpu(c);
    }
}
