/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * translate.c - the pipeline: fetch -> decode -> lift -> flag pass -> verify -> lower -> publish.
 *
 * A block is a straight line of at most opt.max_insns instructions that starts and ends in one page; an instruction
 * that crosses into the next page is a block of its own.  Runs on the vCPU thread with the state in sync, outside of
 * generated code; a fetch fault is raised from here with c->rip at the block's start, which is the instruction that
 * needs the bytes.
 */
#include "tlb/hostmap.h"
#include "translator/debugger.h"
#include "translator/exec.h"
#include "translator/mem.h"
#include "translator/smp.h"
#include "translator/x86-64/lower.h"

#define MAX_LEN 15
#define ROOM    (24 * 1024)   /* host bytes that suffice for a block of full length */
#define USUAL   (2 * 1024)    /* ... for nearly every block */

struct fetch {
    const uint8_t *bytes;   /* of the instruction */
    unsigned avail;
    uint8_t buf[16];
    bool crossed;
    bool code64, real;      /* as the block's flags have it; real: or virtual-8086 */
    int mode;
    struct code_page second;
};

static bool code64(const struct tb_key *key)
{
    return (key->hflags & HF_CODE_MASK) == HF_CODE64;
}

/* Bytes at `lin` from a page in host memory; no further than the page's end. */
static void fetch_in_page(struct fetch *f, const struct code_page *page, uint64_t lin)
{
    unsigned off = lin & 0xfff;

    f->bytes = page->host + off;
    f->avail = 4096 - off < MAX_LEN ? 4096 - off : MAX_LEN;
    f->crossed = false;
}

/* The instruction at `lin` needs bytes of the next page. May raise #PF. */
static void fetch_crossing(struct guest_cpu *c, struct fetch *f, uint64_t lin)
{
    unsigned n = f->avail;
    uint64_t next = (lin & ~0xfffull) + 0x1000;

    for (unsigned i = 0; i < n; i++) {
        f->buf[i] = f->bytes[i];
    }
    if (!cpu_code64(c)) {
        next = (uint32_t)next;
    }
    f->second = tlb_code_page(c, next);
    for (unsigned i = n; i < MAX_LEN; i++) {
        uint64_t v = 0xff;
        if (f->second.host) {
            v = f->second.host[i - n];
        } else {
            fpu_park(c);
            c->host->mmio_read(c, f->second.gpa + (i - n), 1, &v);
        }
        f->buf[i] = (uint8_t)v;
    }
    f->bytes = f->buf;
    f->avail = MAX_LEN;
    f->crossed = true;
}

static void fetch_mmio(struct guest_cpu *c, struct fetch *f, const struct code_page *page, uint64_t lin)
{
    unsigned off = lin & 0xfff;

    fpu_park(c);
    f->avail = 4096 - off < MAX_LEN ? 4096 - off : MAX_LEN;
    for (unsigned i = 0; i < f->avail; i++) {
        uint64_t v = 0xff;
        c->host->mmio_read(c, page->gpa + off + i, 1, &v);
        f->buf[i] = (uint8_t)v;
    }
    f->bytes = f->buf;
    f->crossed = false;
}

/* Decode the instruction at ip into the block's next slot. Returns false when it crosses the page and the block is not
 * empty: the block ends before it. */
static bool decode_next(struct guest_cpu *c, struct ir_block *b, struct fetch *f, const struct code_page *page,
                        uint64_t ip, uint64_t lin, enum dec_status *st)
{
    struct dec_insn *in = &b->insns[b->n_insns];
    uint64_t room = f->code64 ? MAX_LEN : ip > b->key.cs_limit ? 0 : b->key.cs_limit - ip + 1;

    if (page->host) {
        fetch_in_page(f, page, lin);
    } else {
        fetch_mmio(c, f, page, lin);
    }
    /* Bytes beyond the limit of CS are not there, whatever they are: DEC_SHORT remains. */
    *st = dec_decode(f->bytes, f->avail < room ? f->avail : room, ip, f->mode, f->real, in);
    if (__builtin_expect(*st == DEC_SHORT, 0) && f->avail < room) {
        if (b->n_insns) {
            return false;
        }
        fetch_crossing(c, f, lin);
        *st = dec_decode(f->bytes, f->avail < room ? f->avail : room, ip, f->mode, f->real, in);
    }
    return true;
}

static void lift_fault(struct ir_block *b, uint64_t ip, unsigned vector, bool error0)
{
    static const struct insn_row bad = { .name = "(bad)" };
    struct dec_insn *in = &b->insns[b->n_insns];

    in->row = &bad;
    in->ip = ip;
    in->len = 1;
    struct ir_op *o = &b->ops[b->n_ops++];
    xbt_zero(o, sizeof(*o));
    o->op = IR_INSN;
    o->in = in;
    lift_raise(b, vector, error0);
}

/* RF lets the first instruction pass. */
static bool at_breakpoint(const struct guest_cpu *c, const struct ir_block *b, uint64_t lin)
{
    return !(b->n_insns == 0 && (b->key.hflags & HF_RF)) && debug_exec_near(c->vm, lin);
}

/* The block depends on the `len` bytes `off` behind its start, which may be in front of it. */
static void cover(struct ir_block *b, int off, unsigned len)
{
    if (off + (int)len > (int)b->guest_size) {
        b->guest_size = (unsigned)(off + (int)len);
    }
    if (__builtin_expect(-off > (int)b->guest_before, 0)) {
        b->guest_before = (unsigned)-off;
    }
}

/* The last instruction is a jump that the block goes on behind, or another; *off of the next one.  False: the block has
 * been there. */
static bool next_insn(struct ir_block *b, int *off, uint64_t *ip, unsigned len, bool is64)
{
    *ip = is64 ? *ip + len : (uint32_t)(*ip + len);
    *off += (int)len;
    if (b->followed) {
        *ip = b->ip_next;
        *off = (int)(int64_t)(*ip - b->ip);
        b->followed = false;
        if (*off < (int)b->guest_size) {
            b->backward = true;
            b->page_host = NULL;        /* holes are in ascending order */
        } else {
            b->guest_size = (unsigned)*off;
        }
    }
    /* An x87 instruction at offset -1 could not be named in the state map. */
    return !b->backward || (*off != -1 && !ir_has_insn(b, *ip));
}

/* A breakpoint at the next instruction, of the guest's or of gdb's, ends the block before it. */
static bool stops_here(struct guest_cpu *c, struct ir_block *b, uint64_t ip, uint64_t lin)
{
    if ((b->key.hflags & HF_BP) && at_breakpoint(c, b, lin)) {
        if (b->n_insns) {
            lift_end(b, ip);
        } else {
            lift_fault(b, ip, EXC_DB, false);
            b->guest_size = b->n_insns = 1;
        }
        return true;
    }
    if (b->n_insns && debugger_break_at(c->vm, lin)) {
        lift_end(b, ip);
        return true;
    }
    return false;
}

/* What is there is no instruction. */
static void lift_bad(struct ir_block *b, const struct fetch *f, enum dec_status st, uint64_t ip, int off)
{
    unsigned looked_at = b->insns[b->n_insns].len;

    if (st == DEC_SHORT) {
        lift_fault(b, ip, EXC_GP, true);
    } else {
        lift_fault(b, ip, st == DEC_TOO_LONG ? EXC_GP : EXC_UD, st == DEC_TOO_LONG);
    }
    cover(b, off, looked_at ? looked_at : 1);       /* a store to any of these bytes may make it valid */
    b->n_insns++;
    if (f->crossed) {
        b->second_cp_id = f->second.cp_id;
    }
}

/* Fill the block. */
static void lift_block(struct guest_cpu *c, struct ir_block *b, const struct code_page *page, unsigned max)
{
    bool breaks = (b->key.hflags & HF_BP) || c->vm->debugger.n_breaks, single = b->special || !page->host;
    const uint8_t *quick = code64(&b->key) ? page->host : NULL;
    struct fetch f;
    uint64_t ip = b->ip;
    int off = 0;

    f.crossed = false;
    f.code64 = code64(&b->key);
    f.real = !(b->key.hflags & HF_PE) || (b->key.hflags & HF_VM);
    f.mode = (int)((b->key.hflags & HF_CODE_MASK) >> HF_CODE_SHIFT);
    b->follow &= page->host != NULL;
    for (;;) {
        uint64_t lin = b->lip + (uint64_t)(int64_t)off;
        struct dec_insn *in = &b->insns[b->n_insns];
        enum dec_status st;

        if (__builtin_expect(breaks, 0) && stops_here(c, b, ip, lin)) {
            return;
        }
        if (quick && (lin & 0xfff) <= 4096 - MAX_LEN) {
            st = dec_decode(quick + (lin & 0xfff), MAX_LEN, ip, 2, false, in);
        } else if (!decode_next(c, b, &f, page, ip, lin, &st)) {
            lift_end(b, ip);
            return;
        }
        if (__builtin_expect(st != DEC_OK, 0)) {
            lift_bad(b, &f, st, ip, off);
            return;
        }
        bool ends = lift_insn(c, b, in);
        if (__builtin_expect(b->backward, 0)) {
            cover(b, off, in->len);
        } else {
            b->guest_size = (unsigned)off + in->len;
        }
        b->n_insns++;
        if (__builtin_expect(f.crossed, 0)) {
            b->second_cp_id = f.second.cp_id;
        }
        if (ends) {
            return;
        }
        bool stop = b->n_insns >= max || f.crossed || single;
        if (__builtin_expect(b->followed | b->backward, 0)) {
            stop |= !b->followed && ((lin + in->len) & 0xfff) == 0;
            stop |= !next_insn(b, &off, &ip, in->len, f.code64);
        } else {
            ip = f.code64 ? ip + in->len : (uint32_t)(ip + in->len);
            off += in->len;
            stop |= ((lin + in->len) & 0xfff) == 0;
        }
        if (stop) {
            lift_end(b, ip);
            return;
        }
    }
}

static void block_init(struct guest_cpu *c, struct ir_block *b, const struct tb_key *key, uint64_t lip,
                       const uint8_t *host)
{
    b->key = *key;
    b->lip = lip;
    b->ip = cpu_code64(c) ? lip : (uint32_t)(lip - key->cs_base);
    b->n_ops = b->n_insns = b->guest_size = b->guest_before = 0;
    b->followed = b->backward = false;
    b->follow = !c->vm->opt.no_follow && !b->special && (code64(key) || ((key->hflags & HF_CODE_MASK) && !key->cs_base));
    b->second_cp_id = 0;
    b->needs_flags = true;
    b->special = key->hflags & (HF_SHADOW | HF_RF | HF_TF | HF_DBG);
    b->n_exits = 0;
    b->keep = 0;
    b->pair = !c->vm->opt.no_pair && !c->vm->opt.no_chain && !b->special;
    b->hostmap = host && opt_hostmap(b);
    b->n_holes = 0;
    b->page_host = c->vm->opt.no_live_imm ? NULL : host;
    b->extend = !c->vm->opt.no_long_blocks && !b->special;
}

/* The caller's bytes may be old by now: begin again, at the top of the loop. */
static _Noreturn void translate_again(struct guest_cpu *c)
{
    c->exit_from = NULL;
    c->in_special = c->special_tf = 0;
    cpu_exit_loop(c);
}

static struct tb *alloc_or_flush(struct guest_cpu *c, size_t min, struct tb_room *room)
{
    struct tb *tb = tb_alloc(c, min, room);

    if (!tb) {
        c->stat[ST_CACHE_FULL]++;
        uint64_t flushes = c->flush_epoch;
        if (!smp_seize(c, SMP_OUT)) {
            translate_again(c);
        }
        if (flushes == c->flush_epoch) {    /* no other vCPU has done it meanwhile */
            tb_flush(c);
            hm_refused_clear();
            c->flush_epoch++;
        }
        smp_release(c);
        if (smp_on(c->vm)) {
            translate_again(c);
        }
        tb = tb_alloc(c, min, room);
    }
    return tb;
}

static void fill_tb(struct guest_cpu *c, struct tb *tb, const struct ir_block *b, const struct code_page *page,
                    uint64_t page2)
{
    struct tb *w = tb_rw(c->vm->store, tb);

    w->key = b->key;
    w->guest_size = (uint16_t)b->guest_size;
    w->guest_before = (uint16_t)b->guest_before;
    w->n_insns = (uint8_t)b->n_insns;
    w->needs_flags = b->needs_flags;
    w->page2 = (uint32_t)(page2 >> 12);
    w->second_cp_id = b->second_cp_id;
    w->n_pages = !page->host || page2 == ~0ull - 1 || (page2 != ~0ull && page2 >> 44) ? 0 : page2 == ~0ull ? 1 : 2;
}

/* The ram address of the second page; ~0 = none, ~0 - 1 = it is not RAM. */
static uint64_t second_page(struct guest_cpu *c, const struct ir_block *b)
{
    if (!b->second_cp_id) {
        return ~0ull;
    }
    uint64_t next = (b->lip & ~0xfffull) + 0x1000;
    struct code_page p = tlb_code_page(c, cpu_code64(c) ? next : (uint32_t)next);
    tlb_cp_note(c, cpu_code64(c) ? next : (uint32_t)next, &p);
    return p.host ? p.ram_addr : ~0ull - 1;
}

static void __attribute__((noinline)) fail_verify(struct guest_cpu *c, const struct ir_block *b, const char *bad)
{
    fpu_park(c);
    dump_bad_block(c, b, bad);
}

/* A new TB that is complete but not inserted. */
static struct tb *make_tb(struct guest_cpu *c, const struct tb_key *key, uint64_t lip, const struct code_page *page)
{
    struct ir_block *b = c->ir;
    const struct xbt_options *opt = &c->vm->opt;
    unsigned max = opt->max_insns && opt->max_insns < IR_MAX_INSNS ? opt->max_insns : IR_MAX_INSNS;
    struct tb_room room;
    size_t min = USUAL;
    uint8_t *end;
    struct tb *tb;

    for (;;) {
        block_init(c, b, key, lip, page->host);
        lift_block(c, b, page, max);
        opt_flags(b, opt);
        const char *bad = opt->verify ? ir_verify(b) : NULL;
        if (bad) {
            fail_verify(c, b, bad);
        }
        uint64_t page2 = second_page(c, b);
        if (page2 < ~0ull - 1) {
            tb_watch_code(c, page2);
        }
        tb = alloc_or_flush(c, min, &room);
        fill_tb(c, tb, b, page, page2);
        end = lower_block(c, b, tb, &room);
        if (end) {
            break;
        }
        tb_alloc_cancel(c, tb);
        c->stat[ST_RETRANSLATED]++;
        if (min < ROOM) {
            min = ROOM;
        } else {
            max = b->n_insns > 1 ? b->n_insns / 2 : 1;
        }
    }
    tb_alloc_done(c, tb, end);
    return tb;
}

/* Returns the copy, or NULL when there was no room to compare. */
static struct tb *check_copy(struct guest_cpu *c, struct tb *copy, const struct code_page *page)
{
    uint64_t flushes = c->flush_epoch;
    struct tb_key key = copy->key;
    const struct tb *fresh = make_tb(c, &key, key.lip, page);

    if (c->flush_epoch != flushes) {
        return NULL;
    }
    /* No room for the list of fields; or since the original was made something has shown that it should be done in
     * another way. */
    if (!fresh->movable || fresh->n_holes != copy->n_holes ||
        ((key.hflags & HF_HM) && tb_host_size(fresh) != tb_host_size(copy))) {
        return copy;
    }
    if (!tb_same_code(copy, fresh)) {
        fail_verify(c, c->ir, "its copy for this linear address is not what translation makes");
    }
    return copy;
}

struct tb *translate(struct guest_cpu *c, const struct tb_key *key, uint64_t lip, const struct code_page *page)
{
    const struct xbt_options *opt = &c->vm->opt;
    bool dump = opt->dump & (DUMP_GUEST | DUMP_IR | DUMP_HOST);
    struct tb *tb = NULL;

    if (page->host) {
        tb_watch_code(c, page->ram_addr);
        tb = dump || c->vm->debugger.n_breaks ? NULL : tb_relocate(c, key);
        if (tb && opt->check_relocate) {
            tb = check_copy(c, tb, page);
        }
    }
    if (!tb) {
        tb = make_tb(c, key, lip, page);
    }
    tb_insert(c, tb);
    if (opt->perfmap) {
        fpu_park(c);
        c->host->code_made(c, tb);
    }
    if (dump) {
        dump_block(c, c->ir, tb);
    }
    return tb;
}
