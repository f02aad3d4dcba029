/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-qmp.c - the answer to query-xbt.
 *
 * Only reads counters, so it stops no vCPU and takes no lock but the block
 * store's (for its totals).  The schema is qapi/xbt.json; the names of the counters
 * are those of tb-store/stats.inc.  query-xbt-blocks is in xbt-blocks.c.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"
#include "qapi/qmp/qdict.h"
#include "monitor/monitor-internal.h"
#include "translator/decode.h"
#include "xbt-qapi-commands.h"

#ifndef XBT_VERSION
#define XBT_VERSION "0.1.0"
#endif

static const char *const counter_name[ST_COUNT] = {
#define STAT(id, name, text) [ST_##id] = name,
#include "tb-store/stats.inc"
#undef STAT
};

static XbtVectorList *vectors(const uint64_t *count, unsigned n)
{
    XbtVectorList *list = NULL;

    for (unsigned i = n; i-- > 0;) {
        if (count[i]) {
            XbtVector *v = g_new0(XbtVector, 1);

            v->vector = i;
            v->count = count[i];
            QAPI_LIST_PREPEND(list, v);
        }
    }
    return list;
}

#define HELPERS_MAX 2048

struct sums {
    uint64_t stat[ST_COUNT], exc[32], irq[256], helper[HELPERS_MAX];
};

static char *row_opcode(const struct insn_row *r)
{
    static const char *const map[] = { "", "0f", "0f38", "0f3a" };
    static const char *const prefix[] = { [PX_66] = "66 ", [PX_F3] = "f3 ", [PX_F2] = "f2 " };
    GString *s = g_string_new(r->pfx < ARRAY_SIZE(prefix) ? prefix[r->pfx] : NULL);

    g_string_append_printf(s, "%s%02x", r->map < ARRAY_SIZE(map) ? map[r->map] : "", r->opcode);
    if (r->ext >= 0) {
        g_string_append_printf(s, "/%d", r->ext);
    }
    if (r->modrm >= 0) {
        g_string_append_printf(s, "%02x", r->modrm);
    } else if (r->modrm < -1) {
        g_string_append(s, r->modrm == -2 ? " m" : " r");
    }
    return g_string_free(s, false);
}

static gint more_calls(gconstpointer a, gconstpointer b)
{
    uint64_t x = ((const XbtHelper *)a)->count, y = ((const XbtHelper *)b)->count;

    return x < y ? 1 : x > y ? -1 : 0;
}

static XbtHelper *helper_new(const char *name, char *opcode, uint64_t count)
{
    XbtHelper *h = g_new0(XbtHelper, 1);

    *h = (XbtHelper) { .name = g_strdup(name), .opcode = opcode, .count = count };
    return h;
}

static XbtHelperList *helpers(const uint64_t *count)
{
    XbtHelperList *list = NULL, **tail = &list;
    GList *sorted = NULL;

    for (unsigned i = 0; i < insn_row_count; i++) {
        if (count[i]) {
            sorted = g_list_prepend(sorted, helper_new(insn_rows[i].name, row_opcode(&insn_rows[i]), count[i]));
        }
    }
    if (count[insn_row_count]) { /* the form that lift.c makes */
        sorted = g_list_prepend(sorted, helper_new("sti (block goes on)", g_strdup("fb"), count[insn_row_count]));
    }
    sorted = g_list_sort(sorted, more_calls);
    for (GList *l = sorted; l; l = l->next) {
        QAPI_LIST_APPEND(tail, (XbtHelper *)l->data);
    }
    g_list_free(sorted);
    return list;
}

static XbtCpuInfo *cpu_info(const struct sums *s, int index)
{
    XbtCpuInfo *info = g_new0(XbtCpuInfo, 1);
    QDict *counters = qdict_new();

    for (unsigned i = 0; i < ST_COUNT; i++) {
        qdict_put_int(counters, counter_name[i], s->stat[i]);
    }
    info->has_cpu_index = index >= 0;
    info->cpu_index = index;
    info->counters = QOBJECT(counters);
    info->helpers = helpers(s->helper);
    info->exceptions = vectors(s->exc, ARRAY_SIZE(s->exc));
    info->interrupts = vectors(s->irq, ARRAY_SIZE(s->irq));
    return info;
}

static void read_counters(const struct guest_cpu *c, struct sums *s)
{
    for (unsigned i = 0; i < ST_COUNT; i++) {
        s->stat[i] = qatomic_read(&c->stat[i]);
    }
    uint64_t others = s->stat[ST_ENTERS] + s->stat[ST_JC_INLINE];
    s->stat[ST_CHAINED] = s->stat[ST_EXECUTIONS] > others ? s->stat[ST_EXECUTIONS] - others : 0;
    for (unsigned i = 0; i <= insn_row_count; i++) {
        s->helper[i] = qatomic_read(&c->helper_count[i]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(s->exc); i++) {
        s->exc[i] = qatomic_read(&c->exc_count[i]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(s->irq); i++) {
        s->irq[i] = qatomic_read(&c->int_count[i]);
    }
}

static void add_counters(struct sums *total, const struct sums *s)
{
    const uint64_t *from = (const uint64_t *)s;
    uint64_t *to = (uint64_t *)total;

    for (size_t i = 0; i < sizeof(*s) / sizeof(uint64_t); i++) {
        to[i] += from[i];
    }
}

static void fill_cpus(XbtInfo *info)
{
    g_autofree struct sums *total = g_new0(struct sums, 1), *one = g_new0(struct sums, 1);
    XbtCpuInfoList **tail = &info->cpus;

    for (struct xbt_cpu *x = xbt_cpu_next(NULL); x; x = xbt_cpu_next(x)) {
        read_counters(x->c, one);
        add_counters(total, one);
        QAPI_LIST_APPEND(tail, cpu_info(one, x->cs->cpu_index));
    }
    info->total = cpu_info(total, -1);
}

static XbtStore *store_info(void)
{
    XbtStore *st = g_new0(XbtStore, 1);
    struct tb_store_info i = { 0 };

    if (xbt_vm.store) {
        tb_store_info(xbt_vm.store, &i);
    }
    *st = (XbtStore) {
        .size = i.size, .used = i.used, .high_water = i.high_water,
        .regions = i.regions, .regions_used = i.regions_used,
        .blocks_live = i.tbs_live, .blocks_made = i.tbs_made, .flushes = i.flushes,
        .code_bytes = i.code_bytes, .guest_insns = i.guest_insns,
        .invalidated = g_new0(XbtInvalidated, 1),
    };
    *st->invalidated = (XbtInvalidated) {
        .smc_self = i.invalidated[TBD_SMC_SELF], .smc_other = i.invalidated[TBD_SMC_OTHER],
        .dma = i.invalidated[TBD_DMA], .memmap = i.invalidated[TBD_MEMMAP],
        .flush = i.invalidated[TBD_FLUSH], .debug = i.invalidated[TBD_DEBUG],
        .hostmap = i.invalidated[TBD_HOSTMAP],
    };
    return st;
}

static XbtOptimisationList *optimisations(void)
{
    XbtOptimisationList *list = NULL, **tail = &list;
    const char *name;
    bool on;

    for (unsigned n = 0; (name = xbt_options_nth(&xbt_vm.opt, n, &on)); n++) {
        XbtOptimisation *o = g_new0(XbtOptimisation, 1);

        *o = (XbtOptimisation) { .name = g_strdup(name), .on = on };
        QAPI_LIST_APPEND(tail, o);
    }
    return list;
}

XbtInfo *qmp_query_xbt(Error **errp)
{
    XbtInfo *info = g_new0(XbtInfo, 1);
    strList **tail = &info->host_features;

    info->version = g_strdup(XBT_VERSION);
    info->qemu = g_strdup(XBT_QEMU_VERSION " (" XBT_QEMU_PKGVERSION ")");
    if (xbt_vm.opt.host_bmi2) {
        QAPI_LIST_APPEND(tail, g_strdup("bmi2"));
    }
    if (xbt_vm.opt.host_avx) {
        QAPI_LIST_APPEND(tail, g_strdup("avx"));
    }
    info->optimisations = optimisations();
    info->perf_map = g_strdup(xbt_perfmap_path(XBT_PERF_MAP));
    info->has_perf_map = info->perf_map != NULL;
    info->jitdump = g_strdup(xbt_perfmap_path(XBT_PERF_DUMP));
    info->has_jitdump = info->jitdump != NULL;
    info->has_tlb = xbt_cpus[0].c != NULL;
    if (info->has_tlb) {
        info->tlb = g_strdup(tlb_format(xbt_cpus[0].c) == TLB_FLAT ? "flat" : "tagged");
    }
    info->store = store_info();
    fill_cpus(info);
    return info;
}

void xbt_qmp_init(void)
{
    g_assert(insn_row_count < HELPERS_MAX);
    XBT_QMP_REGISTER("query-xbt", qmp_marshal_query_xbt);
    XBT_QMP_REGISTER("query-xbt-blocks", qmp_marshal_query_xbt_blocks);
}
