/* SPDX-License-Identifier: GPL-2.0-or-later */
/* state_map.c - encoding, search and flag recomputation for the host PC -> guest state records. */
#include "translator/mem.h"
#include "translator/state_map.h"

static uint8_t *put_varint_long(uint8_t *p, uint64_t v)
{
    do {
        *p++ = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
    } while (v);
    return p;
}

static inline uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    if (__builtin_expect(v > 0x7f, 0)) {
        return put_varint_long(p, v);
    }
    *p++ = (uint8_t)v;
    return p;
}

static const uint8_t *get_varint(const uint8_t *p, uint64_t *v)
{
    unsigned shift = 0;
    *v = 0;
    do {
        *v |= (uint64_t)(*p & 0x7f) << shift;
        shift += 7;
    } while (*p++ & 0x80);
    return p;
}

static void sort_recs(struct state_rec *r, unsigned n)
{
    /* Insertion sort: hot sites come first in order, cold ones follow in order. */
    for (unsigned i = 1; i < n; i++) {
        if (r[i - 1].host_off <= r[i].host_off) {
            continue;
        }
        struct state_rec t = r[i];
        unsigned j = i;
        for (; j > 0 && r[j - 1].host_off > t.host_off; j--) {
            r[j] = r[j - 1];
        }
        r[j] = t;
    }
}

size_t state_map_encode(struct state_rec *recs, unsigned n, uint8_t *out, size_t max)
{
    uint8_t *p = out, *end = out + max;
    uint32_t prev = 0;

    sort_recs(recs, n);
    for (unsigned i = 0; i < n; i++) {
        if (end - p < 40) {     /* more than any record has */
            return 0;
        }
        const struct state_rec *r = &recs[i];
        uint32_t delta = r->host_off - prev;
        prev = r->host_off;
        if (__builtin_expect((delta | r->guest_off) <= 0x7f && r->kind != SK_RECIPE && !r->x87.at, 1)) {
            unsigned flags = r->kind | (r->direct ? SK_F_DIRECT : 0) | (r->r10 ? SK_F_R10 : 0);
            *(any32 *)p = delta | (uint32_t)r->guest_off << 8 | flags << 16;    /* three bytes */
            p += 3;
            continue;
        }
        p = put_varint(p, delta);
        p = put_varint(p, recs[i].guest_off);
        *p++ = (uint8_t)(recs[i].kind | (recs[i].x87.at ? SK_F_X87 : 0) | (recs[i].direct ? SK_F_DIRECT : 0) |
                         (recs[i].r10 ? SK_F_R10 : 0));
        if (recs[i].kind == SK_RECIPE) {
            const struct recipe *rc = &recs[i].rc;
            *p++ = (uint8_t)(rc->op | rc->size << 4);
            *p++ = rc->dst;
            *p++ = rc->src;
            if (rc->src == IR_NOREG) {
                p = put_varint(p, (uint32_t)rc->imm);
            }
        }
        if (recs[i].x87.at) {
            p = put_varint(p, recs[i].x87.at);
            *p++ = (uint8_t)recs[i].x87.fop;
            *p++ = (uint8_t)(recs[i].x87.fop >> 8);
            *p++ = recs[i].x87.seg;
        }
    }
    return (size_t)(p - out);
}

bool state_map_find(const uint8_t *map, size_t size, uint32_t host_off, struct state_rec *out)
{
    const uint8_t *p = map, *end = map + size;
    uint32_t off = 0;

    while (p < end) {
        uint64_t v;
        p = get_varint(p, &v);
        off += (uint32_t)v;
        out->host_off = off;
        p = get_varint(p, &v);
        out->guest_off = (uint16_t)v;
        uint8_t flags = *p++;
        out->kind = flags & ~(SK_F_X87 | SK_F_DIRECT | SK_F_R10);
        out->direct = flags & SK_F_DIRECT;
        out->r10 = flags & SK_F_R10;
        if (out->kind == SK_RECIPE) {
            out->rc.op = *p & 15;
            out->rc.size = *p++ >> 4;
            out->rc.dst = *p++;
            out->rc.src = *p++;
            out->rc.imm = 0;
            if (out->rc.src == IR_NOREG) {
                p = get_varint(p, &v);
                out->rc.imm = (int32_t)(uint32_t)v;
            }
        }
        out->x87.at = 0;
        if (flags & SK_F_X87) {
            p = get_varint(p, &v);
            out->x87.at = (uint16_t)v;
            out->x87.fop = (uint16_t)(p[0] | p[1] << 8);
            out->x87.seg = p[2];
            p += 3;
        }
        if (off == host_off) {
            return true;
        }
        if (off > host_off) {
            return false;
        }
    }
    return false;
}

/* Run the producer again on the host and catch its flags in the layout of guest_cpu.fl: OF in AL, LAHF in AH. */
#define RUN1(insn) __asm__(insn "\n\tlahf\n\tseto %%al" : "+a"(a) : "c"(s) : "cc")
#define RUN(insn_b, insn_w, insn_l, insn_q)        \
    do {                                           \
        switch (rc->size) {                        \
        case 1: RUN1(insn_b); break;               \
        case 2: RUN1(insn_w); break;               \
        case 4: RUN1(insn_l); break;               \
        default: RUN1(insn_q); break;              \
        }                                          \
    } while (0)

uint16_t recipe_flags(struct guest_cpu *c, const struct recipe *rc)
{
    uint64_t d = rc->op >= RC_SHL ? c->old_value : GPR(c, rc->dst);
    uint64_t s = rc->src == IR_NOREG ? (uint64_t)(int64_t)rc->imm : GPR(c, rc->src);
    uint64_t a;

    switch (rc->op) {
    case RC_ADD:
        a = d - s;
        RUN("addb %%cl,%%al", "addw %%cx,%%ax", "addl %%ecx,%%eax", "addq %%rcx,%%rax");
        break;
    case RC_SUB:
        a = d + s;
        RUN("subb %%cl,%%al", "subw %%cx,%%ax", "subl %%ecx,%%eax", "subq %%rcx,%%rax");
        break;
    case RC_CMP:
        a = d;
        RUN("cmpb %%cl,%%al", "cmpw %%cx,%%ax", "cmpl %%ecx,%%eax", "cmpq %%rcx,%%rax");
        break;
    case RC_LOGIC:
        a = s = d;
        RUN("testb %%cl,%%al", "testw %%cx,%%ax", "testl %%ecx,%%eax", "testq %%rcx,%%rax");
        break;
    case RC_SHL:
        a = d;
        RUN("shlb %%cl,%%al", "shlw %%cl,%%ax", "shll %%cl,%%eax", "shlq %%cl,%%rax");
        break;
    case RC_SHR:
        a = d;
        RUN("shrb %%cl,%%al", "shrw %%cl,%%ax", "shrl %%cl,%%eax", "shrq %%cl,%%rax");
        break;
    case RC_SAR:
        a = d;
        RUN("sarb %%cl,%%al", "sarw %%cl,%%ax", "sarl %%cl,%%eax", "sarq %%cl,%%rax");
        break;
    default:
        a = d;
        RUN("testb %%cl,%%al", "testw %%cx,%%ax", "testl %%ecx,%%eax", "testq %%rcx,%%rax");
        break;
    }
    return (uint16_t)a;
}
