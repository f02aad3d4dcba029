/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_vec.c - vector instructions whose memory accesses fault element by element, and CMPXCHG8B/16B:
 * MASKMOVQ MASKMOVDQU, VMASKMOVPS/PD VPMASKMOVD/Q, VGATHERxx VPGATHERxx (SDM vol. 2).
 *
 * They work on the parked image in c->fpu.  An element whose mask bit is clear is not accessed and cannot
 * fault. The checks of CR0.TS, CR4.OSFXSR and XCR0 were made by the lifter from hflags.
 */
#include "translator/fpu.h"
#include "translator/help_util.h"

/* c->fpu complete and the host registers free. */
static void park_expanded(struct guest_cpu *c)
{
    fpu_park(c);
    fpu_image_expand(c);
}

/* Vector registers were written: SSE and AVX components are in use. */
static void vec_written(struct guest_cpu *c)
{
    fpu_put64(c->fpu, XS_BV, fpu_get64(c->fpu, XS_BV) | XF_SSE | XF_AVX);
}

static uint64_t vec_get(struct guest_cpu *c, unsigned reg, unsigned off, unsigned size)
{
    const uint8_t *p = fpu_ymm(c, reg, off);

    return size == 4 ? *(const any32 *)p : *(const any64 *)p;
}

static void vec_put(struct guest_cpu *c, unsigned reg, unsigned off, unsigned size, uint64_t v)
{
    uint8_t *p = fpu_ymm(c, reg, off);

    if (size == 4)
        *(any32 *)p = (uint32_t)v;
    else
        *(any64 *)p = v;
}

static bool msb(uint64_t v, unsigned size)
{
    return v >> (size * 8 - 1) & 1;
}

static uint64_t load(struct guest_cpu *c, uint64_t lin, unsigned size)
{
    return size == 4 ? guest_ld32(c, lin) : guest_ld64(c, lin);
}

/* ---- MASKMOVQ, MASKMOVDQU, VMASKMOVDQU: bytes to DS:rDI ---- */

static int maskmov_bytes(struct guest_cpu *c, const struct dec_insn *in)
{
    /* MMX registers are the low 8 bytes of the x87 ones, by physical number: ST(i) is TOP-relative. */
    bool mmx = !in->vex && !in->pfx66;
    unsigned n = mmx ? 8 : 16, top = c->fpu[FX_FSW + 1] >> 3 & 7;
    const uint8_t *src, *mask;
    uint64_t mark = help_mark(c), off = addr_reg(c, R_RDI, in->adsize);

    if (mmx) {
        src = c->fpu + FX_ST + 16 * ((in->reg - top) & 7);
        mask = c->fpu + FX_ST + 16 * ((in->rm - top) & 7);
        /* As any MMX instruction: TOP = 0, all registers valid. */
    } else {
        src = c->fpu + FX_XMM + 16 * in->reg;
        mask = c->fpu + FX_XMM + 16 * in->rm;
    }
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < n; i++) {
            uint64_t lin;

            if (!(mask[i] & 0x80))
                continue;
            lin = seg_lin(c, implicit_seg(in), (off + i) & size_mask(in->adsize), 1, true);
            if (pass == 0)
                guest_probe(c, lin, 1, ACC_WRITE, c->mmu_mode);
            else
                guest_st8(c, lin, src[i]);
        }
    }
    if (mmx) {
        uint8_t st[128];

        /* TOP becomes 0, so the image's ST order becomes the physical one. */
        for (unsigned i = 0; i < 8; i++)
            xbt_copy(st + 16 * ((i + top) & 7), c->fpu + FX_ST + 16 * i, 16);
        xbt_copy(c->fpu + FX_ST, st, sizeof(st));
        c->fpu[FX_FSW + 1] &= (uint8_t)~0x38;
        c->fpu[FX_FTW] = 0xff;
        fpu_put64(c->fpu, XS_BV, fpu_get64(c->fpu, XS_BV) | XF_X87);
    }
    return help_stored(c, in, mark);
}

/* ---- VMASKMOVPS/PD, VPMASKMOVD/Q ---- */

static int maskmov_vex(struct guest_cpu *c, const struct dec_insn *in)
{
    bool store = in->opcode == 0x2e || in->opcode == 0x2f || in->opcode == 0x8e;
    unsigned size = in->opcode & 0x80 ? (in->vex_w ? 8 : 4) : in->opcode & 1 ? 8 : 4;
    unsigned bytes = in->vex_l ? 32 : 16;
    uint64_t mark = help_mark(c), off = opnd_ea(c, in), v[8] = { 0 };

    for (unsigned pass = store ? 0 : 1; pass < 2; pass++) {
        for (unsigned i = 0; i < bytes / size; i++) {
            uint64_t lin;

            if (!msb(vec_get(c, in->vvvv, i * size, size), size))
                continue;
            lin = seg_lin(c, in->seg, (off + i * size) & size_mask(in->adsize), size, store);
            if (!store)
                v[i] = load(c, lin, size);
            else if (pass == 0)
                guest_probe(c, lin, size, ACC_WRITE, c->mmu_mode);
            else if (size == 4)
                guest_st32(c, lin, (uint32_t)vec_get(c, in->reg, i * size, 4));
            else
                guest_st64(c, lin, vec_get(c, in->reg, i * size, 8));
        }
    }
    if (store)
        return help_stored(c, in, mark);
    for (unsigned i = 0; i < 32 / size; i++)
        vec_put(c, in->reg, i * size, size, i < bytes / size ? v[i] : 0);
    vec_written(c);
    return HELP_NEXT;
}

int help_maskmov(struct guest_cpu *c, const struct dec_insn *in)
{
    if (in->row->attr & IA_MMX)
        fpu_wait(c);
    park_expanded(c);
    return in->map == 1 ? maskmov_bytes(c, in) : maskmov_vex(c, in);
}

/* ---- gathers ---- */

/*
 * Opcode bit 0: the index is a qword, else a dword; VEX.W: elements are qwords, else dwords.  Elements
 * are done from the lowest; when one faults, those below it are complete and their mask elements clear,
 * so that the instruction can be restarted.
 */
int help_gather(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned isz = in->opcode & 1 ? 8 : 4, esz = in->vex_w ? 8 : 4;
    unsigned n = (in->vex_l ? 32 : 16) / (isz > esz ? isz : esz);
    unsigned index = in->index == REG_NONE ? 4 : in->index; /* SIB index 4 means a register here */
    uint64_t base = in->base == REG_NONE ? 0 : GPR(c, in->base);

    if (in->reg == in->vvvv || in->reg == index || in->vvvv == index)
        cpu_raise(c, EXC_UD);
    park_expanded(c);
    vec_written(c);
    for (unsigned i = 0; i < n; i++) {
        uint64_t off, v;

        if (!msb(vec_get(c, in->vvvv, i * esz, esz), esz)) {
            vec_put(c, in->vvvv, i * esz, esz, 0);
            continue;
        }
        off = vec_get(c, index, i * isz, isz);
        off = isz == 4 ? (uint64_t)(int32_t)off : off;
        off = (base + (off << in->scale) + (uint64_t)in->disp) & size_mask(in->adsize);
        v = load(c, seg_lin(c, in->seg, off, esz, false), esz);
        vec_put(c, in->reg, i * esz, esz, v);
        vec_put(c, in->vvvv, i * esz, esz, 0);
    }
    for (unsigned i = n * esz; i < 32; i += 4)
        vec_put(c, in->reg, i, 4, 0);
    for (unsigned i = 0; i < 32; i += 4)
        vec_put(c, in->vvvv, i, 4, 0);
    return HELP_NEXT;
}

/* ---- CMPXCHG8B, CMPXCHG16B ---- */

static uint32_t cmpxchg8(struct guest_cpu *c, void *p)
{
    uint64_t old = GPR(c, R_RDX) << 32 | (uint32_t)GPR(c, R_RAX);
    uint64_t new = GPR(c, R_RCX) << 32 | (uint32_t)GPR(c, R_RBX);
    uint8_t ok;

    __asm__ volatile("lock cmpxchgq %3, %1\n\tsete %2"
                     : "+a"(old), "+m"(*(any64 *)p), "=q"(ok) : "r"(new) : "cc", "memory");
    if (!ok) {
        GPR(c, R_RAX) = (uint32_t)old;
        GPR(c, R_RDX) = old >> 32;
    }
    return ok;
}

static uint32_t cmpxchg16(struct guest_cpu *c, void *p)
{
    uint64_t lo = GPR(c, R_RAX), hi = GPR(c, R_RDX);
    uint8_t ok;

    __asm__ volatile("lock cmpxchg16b %2\n\tsete %3"
                     : "+a"(lo), "+d"(hi), "+m"(*(unsigned __int128 *)p), "=q"(ok)
                     : "b"(GPR(c, R_RBX)), "c"(GPR(c, R_RCX)) : "cc", "memory");
    if (!ok) {
        GPR(c, R_RAX) = lo;
        GPR(c, R_RDX) = hi;
    }
    return ok;
}

int help_cmpxchg_wide(struct guest_cpu *c, const struct dec_insn *in)
{
    unsigned size = in->opsize == 8 ? 16 : 8;
    uint64_t mark = help_mark(c), lin = opnd_lin(c, in, size, true);
    void *p = NULL;
    bool equal, leave = false;

    if (size == 16 && (lin & 15))
        GP0(c);
    if ((lin & 0xfff) + size <= 4096)
        p = guest_page_ptr(c, lin, ACC_WRITE);
    if (!p)
        p = tlb_slow_write(c, lin, size, in->lock ? TLB_RMW_LOCKED : TLB_RMW);
    equal = size == 16 ? cmpxchg16(c, p) : cmpxchg8(c, p);
    if (c->commit.active)
        leave = tlb_slow_commit(c);
    c->fl = (uint16_t)(equal ? c->fl | FL_ZF << 8 : c->fl & ~(FL_ZF << 8));
    return leave ? help_leave(c, in) : help_stored(c, in, mark);
}
