/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-blocks.c - the answer to query-xbt-blocks: the hottest blocks.
 *
 * One walk over the block store under its lock keeps the N best in a heap; the
 * rest is done without it.  A flush meanwhile may take the code away from under a
 * disassembly: then that shows garbage, no more (the cache stays mapped).
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"
#include "xbt-qapi-commands.h"

#include <capstone/capstone.h>

#define COUNT_DEFAULT 20
#define COUNT_MAX 1000

struct summary {
    uint64_t weight;
    struct tb_key key;
    uint64_t lip, executions, page[2];
    const uint8_t *code, *cold;
    uint32_t host_size, hot_size;
    uint16_t guest_size, n_insns;
    uint8_t n_pages;
};

struct heap {
    struct summary *at;
    unsigned n, max;
};

/* Min-heap: at[0] is the lightest of those kept. */
static void sift_down(struct heap *h, unsigned i)
{
    for (;;) {
        unsigned least = i;

        for (unsigned child = 2 * i + 1; child <= 2 * i + 2 && child < h->n; child++) {
            if (h->at[child].weight < h->at[least].weight) {
                least = child;
            }
        }
        if (least == i) {
            return;
        }
        struct summary t = h->at[i];
        h->at[i] = h->at[least];
        h->at[least] = t;
        i = least;
    }
}

static void sift_up(struct heap *h, unsigned i)
{
    while (i && h->at[i].weight < h->at[(i - 1) / 2].weight) {
        struct summary t = h->at[i];

        h->at[i] = h->at[(i - 1) / 2];
        h->at[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
}

static void consider(struct tb *tb, void *arg)
{
    struct heap *h = arg;
    uint64_t executions = xbt_vm.opt.profile ? qatomic_read(tb_exec_count(tb)) : 0;
    uint64_t weight = xbt_vm.opt.profile ? executions : tb->guest_size;
    struct summary s;

    if (h->n == h->max && weight <= h->at[0].weight) {
        return;
    }
    s = (struct summary) {
        .weight = weight, .key = tb->key, .lip = tb->key.lip, .executions = executions,
        .page = { tb_page(tb, 0), tb_page(tb, 1) }, .code = tb_entry(tb), .host_size = tb_host_size(tb),
        .cold = tb_cold(tb), .hot_size = tb->hot_size,
        .guest_size = tb->guest_size, .n_insns = tb->n_insns, .n_pages = tb->n_pages,
    };
    if (h->n < h->max) {
        h->at[h->n] = s;
        sift_up(h, h->n++);
    } else {
        h->at[0] = s;
        sift_down(h, 0);
    }
}

static int heavier_first(const void *a, const void *b)
{
    uint64_t x = ((const struct summary *)a)->weight, y = ((const struct summary *)b)->weight;

    return x < y ? 1 : x > y ? -1 : 0;
}

static int code_bits(const struct summary *s)
{
    switch (s->key.hflags & HF_CODE_MASK) {
    case HF_CODE64:
        return 64;
    case HF_CODE32:
        return 32;
    default:
        return 16;
    }
}

/* To the end of a list; returns the new end. */
static strList **disassemble(strList **tail, const uint8_t *code, size_t size, uint64_t address, int bits)
{
    cs_mode mode = bits == 64 ? CS_MODE_64 : bits == 32 ? CS_MODE_32 : CS_MODE_16;
    csh cs;
    cs_insn *insn;

    if (cs_open(CS_ARCH_X86, mode, &cs) != CS_ERR_OK) {
        return tail;
    }
    cs_option(cs, CS_OPT_SKIPDATA, CS_OPT_ON);
    insn = cs_malloc(cs);
    while (size && cs_disasm_iter(cs, &code, &size, &address, insn)) {
        QAPI_LIST_APPEND(tail, g_strdup_printf("%016" PRIx64 "  %s %s", insn->address, insn->mnemonic,
                                               insn->op_str));
    }
    cs_free(insn, 1);
    cs_close(&cs);
    return tail;
}

/* Copy guest bytes by RAM address. BQL. */
static bool read_ram(uint64_t ram_addr, uint8_t *buf, size_t size)
{
    uint64_t offset;
    MemoryRegion *mr = xbt_memory_region(ram_addr, &offset);

    if (!mr) {
        return false;
    }
    memcpy(buf, (uint8_t *)memory_region_get_ram_ptr(mr) + offset, size);
    return true;
}

static strList *guest_code(const struct summary *s)
{
    g_autofree uint8_t *buf = g_malloc0(s->guest_size + 1);
    size_t first = MIN(s->guest_size, 4096 - (s->key.phys_pc & 4095));
    strList *list = NULL;

    if (!s->n_pages || !read_ram(s->key.phys_pc, buf, first)) {
        return NULL;
    }
    if (first < s->guest_size &&
        !(s->n_pages == 2 && read_ram(s->page[1], buf + first, s->guest_size - first))) {
        return NULL;
    }
    disassemble(&list, buf, s->guest_size, s->lip, code_bits(s));
    return list;
}

static XbtBlock *block_info(const struct summary *s, bool text)
{
    XbtBlock *b = g_new0(XbtBlock, 1);

    b->address = s->lip;
    b->ram_address = s->key.phys_pc;
    b->cs_base = s->key.cs_base;
    b->mode = code_bits(s);
    b->cpl = s->key.hflags & 3;
    b->guest_bytes = s->guest_size;
    b->guest_insns = s->n_insns;
    b->host_bytes = s->host_size;
    b->executions = s->executions;
    if (text) {
        b->guest_code = guest_code(s);
        disassemble(disassemble(&b->host_code, s->code, s->hot_size, (uintptr_t)s->code, 64), s->cold,
                    s->host_size - s->hot_size, (uintptr_t)s->cold, 64);
        b->has_guest_code = b->guest_code != NULL;
        b->has_host_code = b->host_code != NULL;
    }
    return b;
}

XbtBlockList *qmp_query_xbt_blocks(bool has_count, int64_t count, bool has_disassemble, bool text,
                                   Error **errp)
{
    g_autofree struct summary *kept = NULL;
    XbtBlockList *list = NULL;
    struct heap h;

    count = has_count ? count : COUNT_DEFAULT;
    if (count < 1 || count > COUNT_MAX) {
        error_setg(errp, "Parameter 'count' is from 1 to %d, not %" PRId64, COUNT_MAX, count);
        return NULL;
    }
    kept = g_new0(struct summary, count);
    h = (struct heap) { .at = kept, .max = count };
    if (xbt_vm.store) {
        tb_foreach(xbt_vm.store, consider, &h);
    }
    qsort(kept, h.n, sizeof(*kept), heavier_first);
    for (unsigned i = h.n; i-- > 0;) {
        QAPI_LIST_PREPEND(list, block_info(&kept[i], has_disassemble && text));
    }
    return list;
}
