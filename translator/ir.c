/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ir.c - what the IR's ops are: names, attributes, effects; the verifier and the printer. */
#include <stdio.h>
#include "translator/ir.h"

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

/* Native instructions that write GPRs their operand columns do not name. */
static bool implicit_gpr_writer(const struct dec_insn *in)
{
    if (in->vex) {
        return in->map == 3 && in->opcode >= 0x60 && in->opcode <= 0x63;
    }
    switch (in->map) {
    case 0:
        return in->opcode == 0x98 || in->opcode == 0x99 || in->opcode == 0x9f || (in->opcode & 0xfe) == 0xf6 ||
               (in->opcode >= 0xd8 && in->opcode <= 0xdf) || (in->opcode >= 0x91 && in->opcode <= 0x97);
    case 1:
        return in->opcode == 0xb0 || in->opcode == 0xb1 || in->opcode == 0xc7;
    case 3:
        return in->opcode >= 0x60 && in->opcode <= 0x63;
    default:
        return false;
    }
}

static uint32_t native_gpr_writes(const struct dec_insn *in)
{
    uint32_t mask = 0;

    if (implicit_gpr_writer(in)) {
        return 0xffff;
    }
    for (unsigned i = 0; i < 4; i++) {
        const struct insn_op *op = &in->row->op[i];
        unsigned reg;
        if (!(op->acc & OA_W)) {
            continue;
        }
        switch (op->loc) {
        case OL_REG: reg = in->reg; break;
        case OL_RM: reg = in->has_mem ? REG_NONE : in->rm; break;
        case OL_OPREG: reg = in->rm; break;
        case OL_VVVV: reg = in->vvvv; break;
        case OL_ACC: reg = R_RAX; break;
        default: continue;
        }
        if (reg != REG_NONE) {
            bool high = dec_op_size(in, i) == 1 && dec_is_high8(in, reg);
            mask |= 1u << (high ? reg & 3 : reg & 15);
        }
    }
    return mask;
}

uint32_t ir_gpr_writes(const struct ir_op *op)
{
    switch (op->op) {
    case IR_LD: case IR_LDC: case IR_MOV: case IR_ADDI: case IR_LEA:
        return op->dst < 16 ? 1u << op->dst : 0;
    case IR_LOOPDEC:
        return 1u << R_RCX;
    case IR_NATIVE:
        return native_gpr_writes(op->in);
    case IR_HELPER: case IR_HELPER_X:
        return 0xffff;
    default:
        return 0;
    }
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
    static const char *const sites[] = { "", " @env", " @host", " @recipe" };
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
                              o->fl_in_host ? " fl_in_host" : o->fl_recipe ? " fl_recipe" : "", sites[o->site & 3],
                              o->pair ? " paired" : "");
    }
}
