/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ir.c - what the IR's ops are: names, attributes, effects; the verifier and the printer. */
#include <stdio.h>
#include "translator/ir.h"
#include "translator/row_facts.h"

const char *const ir_op_names[IR_COUNT] = {
#define IR_OP(e, t, a) [IR_##e] = t,
#include "translator/ir_ops.inc"
#undef IR_OP
};

const uint8_t ir_op_attr[IR_COUNT] = {
#define IR_OP(e, t, a) [IR_##e] = a,
#include "translator/ir_ops.inc"
#undef IR_OP
};

static bool is_site(const struct ir_op *o)
{
    return o->op == IR_NATIVE ? native_site(o->in, facts_of(o->in)) : (ir_op_attr[o->op] & IRA_S) && !o->hostmap;
}

uint32_t ir_gpr_writes(const struct ir_op *op)
{
    switch (op->op) {
    case IR_LD: case IR_LDC: case IR_MOV: case IR_ADDI: case IR_LEA:
        return op->dst < 16 ? 1u << op->dst : 0;
    case IR_LOOPDEC:
        return 1u << R_RCX;
    case IR_NATIVE:
        return native_gpr_writes(op->in, facts_of(op->in));
    case IR_HELPER: case IR_HELPER_X:
        return 0xffff;
    default:
        return 0;
    }
}

static bool is_store(const struct ir_op *o)
{
    return o->op == IR_ST || o->op == IR_STI || (o->op == IR_NATIVE && native_stores(o->in));
}

bool ir_has_insn(const struct ir_block *b, uint64_t ip)
{
    for (unsigned i = 0; i < b->n_insns; i++) {
        if (b->insns[i].ip == ip) {
            return true;
        }
    }
    return false;
}

static bool may_be_quiet(const struct ir_op *o)
{
    bool plain = o->op == IR_LEA || o->op == IR_MOV || o->op == IR_ADDI || o->op == IR_LDC || o->op == IR_NATIVE;

    return plain && !is_site(o) && !is_store(o) && !o->fl_read && !o->fl_write;
}

static bool reg_ok(unsigned r)
{
    return r < 16 || r == IR_T0 || r == IR_T1;
}

static const char *verify_op(const struct ir_block *b, unsigned i, bool *addr)
{
    const struct ir_op *o = &b->ops[i];

    if (o->op >= IR_COUNT) {
        return "unknown op";
    }
    if ((ir_op_attr[o->op] & IRA_M) && !*addr) {
        return "memory op without an address";
    }
    if (o->gprs != ir_gpr_writes(o) || o->is_site != is_site(o) || o->stores != is_store(o) ||
        (o->quiet && !may_be_quiet(o))) {
        return "effects are not noted";
    }
    switch (o->op) {
    case IR_INSN:
        *addr = false;
        return o->in ? NULL : "insn without a decoded instruction";
    case IR_ADDR:
        *addr = true;
        if (!(o->acc & OA_RW) || o->size == 0) {
            return "address without access kind or size";
        }
        return o->kind == AK_REG ? (o->src < 16 && o->width ? NULL : "bad address register")
                                 : (o->in && o->in->has_mem ? NULL : "instruction has no memory operand");
    case IR_NATIVE:
        return !o->in ? "native without instruction"
               : o->in->has_mem && o->in->mem_acc && !*addr ? "native memory form without an address" : NULL;
    case IR_LD:
        return reg_ok(o->dst) ? NULL : "bad destination";
    case IR_LDC:
        return reg_ok(o->dst) && o->imm && o->width && o->width <= o->size ? NULL : "bad immediate in memory";
    case IR_ST:
        return reg_ok(o->src) ? NULL : "bad source";
    case IR_MOV: case IR_ADDI:
        return reg_ok(o->dst) && reg_ok(o->src) ? NULL : "bad registers";
    case IR_HELPER: case IR_HELPER_X:
        return o->in && o->in->row->helper ? NULL : "instruction has no helper";
    case IR_GOTO: case IR_JCC: case IR_JCXZ: case IR_LOOPDEC:
        return o->slot < b->n_exits && o->pair <= b->n_exits ? NULL : "bad exit";
    case IR_GOTO_IND:
        return o->pair <= b->n_exits + (o->in->row->cls == CL_RET) ? NULL : "bad exit behind a call";
    default:
        return NULL;
    }
}

const char *ir_verify(const struct ir_block *b)
{
    bool addr = false;

    if (b->n_ops == 0 || b->n_ops >= IR_MAX_OPS) {
        return "empty or overlong block";
    }
    for (unsigned i = 0; i < b->n_ops; i++) {
        const char *bad = verify_op(b, i, &addr);
        if (bad) {
            return bad;
        }
        bool last = i == b->n_ops - 1;
        if (last != ((ir_op_attr[b->ops[i].op] & IRA_X) != 0)) {
            return last ? "block does not end with an exit" : "exit in the middle of a block";
        }
    }
    return NULL;
}

static const char *reg_name(unsigned r)
{
    static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9",
                                         "r10", "r11", "r12", "r13", "r14", "r15", "t0", "t1" };
    return r < 18 ? names[r] : "-";
}

void ir_print(const struct ir_block *b, char *buf, size_t size)
{
    static const char *const loads[] = { "", " load_fl", " redo_fl", "" };
    static const char *const sites[] = { "", " @env", " @host", " @recipe", " @entry" };
    size_t n = 0;

    for (unsigned i = 0; i < b->n_ops && n < size; i++) {
        const struct ir_op *o = &b->ops[i];
        if (o->op == IR_INSN) {
            n += (size_t)snprintf(buf + n, size - n, "  %llx: %s\n", (unsigned long long)o->in->ip, o->in->row->name);
            continue;
        }
        n += (size_t)snprintf(buf + n, size - n, "      %-9s dst=%s src=%s size=%u acc=%u imm=%llx%s%s%s%s%s\n",
                              ir_op_names[o->op], reg_name(o->dst), reg_name(o->src), o->size, o->acc,
                              (unsigned long long)o->imm, loads[o->load_fl & 3], o->save_fl ? " save_fl" : "",
                              o->fl_in_host ? " fl_in_host" : o->fl_recipe ? " fl_recipe" : "", sites[o->site],
                              o->pair ? " paired" : "");
    }
}
