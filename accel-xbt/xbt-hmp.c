/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-hmp.c - `info xbt` and `info xbt-blocks` in the human monitor.
 *
 * QEMU has no call to add an `info` command from a module (its registration
 * functions only fill entries that exist).  The table of `info` is reachable
 * through the exported command table, so a copy with two more entries takes its
 * place once the machine is complete and no module registers there any more.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"
#include "monitor/monitor.h"
#include "monitor/monitor-internal.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qnum.h"
#include "xbt-qapi-commands.h"

static void print_vectors(Monitor *mon, const char *what, const XbtVectorList *list)
{
    monitor_printf(mon, "%s:", what);
    for (; list; list = list->next) {
        monitor_printf(mon, " %02x: %" PRIu64, list->value->vector, list->value->count);
    }
    monitor_printf(mon, "\n");
}

static void print_helpers(Monitor *mon, const XbtHelperList *list)
{
    monitor_printf(mon, "  helpers:");
    for (unsigned n = 0; list; list = list->next, n++) {
        monitor_printf(mon, "%s %s %s: %" PRIu64, n && n % 5 == 0 ? "\n          " : "", list->value->name,
                       list->value->opcode, list->value->count);
    }
    monitor_printf(mon, "\n");
}

static void print_cpu(Monitor *mon, const XbtCpuInfo *cpu)
{
    const QDict *counters = qobject_to(QDict, cpu->counters);

    if (cpu->has_cpu_index) {
        monitor_printf(mon, "CPU %" PRId64 ":\n", cpu->cpu_index);
    } else {
        monitor_printf(mon, "all CPUs:\n");
    }
#define STAT(id, name, text) \
    monitor_printf(mon, "  %-22s %15" PRId64 "  %s\n", name, qdict_get_int(counters, name), text);
#include "tb-store/stats.inc"
#undef STAT
    print_helpers(mon, cpu->helpers);
    print_vectors(mon, "  exceptions", cpu->exceptions);
    print_vectors(mon, "  interrupts", cpu->interrupts);
}

static void print_store(Monitor *mon, const XbtStore *s)
{
    monitor_printf(mon,
                   "code cache: %" PRIu64 " of %" PRIu64 " KiB used (at most %" PRIu64 "), %" PRIu64
                   " of %" PRIu64 " regions, %" PRIu64 " flushes\n",
                   s->used / KiB, s->size / KiB, s->high_water / KiB, s->regions_used, s->regions,
                   s->flushes);
    monitor_printf(mon, "blocks: %" PRIu64 " live with %" PRIu64 " bytes of code, %" PRIu64 " made from %" PRIu64
                   " instructions\n", s->blocks_live, s->code_bytes, s->blocks_made, s->guest_insns);
    monitor_printf(mon,
                   "invalidated: own store %" PRIu64 ", other store %" PRIu64 ", device %" PRIu64
                   ", memory map %" PRIu64 ", flush %" PRIu64 ", not mappable %" PRIu64 "\n",
                   s->invalidated->smc_self, s->invalidated->smc_other, s->invalidated->dma,
                   s->invalidated->memmap, s->invalidated->flush, s->invalidated->hostmap);
}

/* A line only when something is off. */
static void print_off(Monitor *mon, const XbtOptimisationList *list)
{
    bool any = false;

    for (; list; list = list->next) {
        if (!list->value->on) {
            monitor_printf(mon, "%s %s", any ? "," : "switched off:", list->value->name);
            any = true;
        }
    }
    monitor_printf(mon, "%s", any ? "\n" : "");
}

static void hmp_info_xbt(Monitor *mon, const QDict *args)
{
    XbtInfo *info = qmp_query_xbt(&error_abort);

    monitor_printf(mon, "xbt %s for QEMU %s, TLB %s\n", info->version, info->qemu,
                   info->has_tlb ? info->tlb : "-");
    print_off(mon, info->optimisations);
    if (info->has_perf_map || info->has_jitdump) {
        monitor_printf(mon, "for perf: %s %s\n", info->has_perf_map ? info->perf_map : "",
                       info->has_jitdump ? info->jitdump : "");
    }
    print_store(mon, info->store);
    for (const XbtCpuInfoList *l = info->cpus; l && info->cpus->next; l = l->next) {
        print_cpu(mon, l->value);
    }
    print_cpu(mon, info->total);
    qapi_free_XbtInfo(info);
}

static void print_code(Monitor *mon, const char *what, const strList *line)
{
    for (; line; line = line->next) {
        monitor_printf(mon, "    %s %s\n", what, line->value);
    }
}

static void hmp_info_xbt_blocks(Monitor *mon, const QDict *args)
{
    bool text = qdict_get_try_bool(args, "disassemble", false);
    Error *err = NULL;
    XbtBlockList *list = qmp_query_xbt_blocks(true, qdict_get_try_int(args, "count", 20), true, text, &err);

    for (const XbtBlockList *l = list; l; l = l->next) {
        const XbtBlock *b = l->value;

        monitor_printf(mon,
                       "%016" PRIx64 " (ram %09" PRIx64 ") %2d-bit cpl %d: %3d bytes, %3d insns, "
                       "%4d host bytes, %" PRIu64 " executions\n",
                       b->address, b->ram_address, (int)b->mode, (int)b->cpl, (int)b->guest_bytes,
                       (int)b->guest_insns, (int)b->host_bytes, b->executions);
        print_code(mon, "guest", b->guest_code);
        print_code(mon, "host ", b->host_code);
    }
    qapi_free_XbtBlockList(list);
    if (err) {
        monitor_printf(mon, "%s\n", error_get_pretty(err));
        error_free(err);
    }
}

static const HMPCommand commands[] = {
    {.name = "xbt",
     .args_type = "",
     .params = "",
     .help = "show the state of the xbt accelerator",
     .cmd = hmp_info_xbt},
    {.name = "xbt-blocks",
     .args_type = "disassemble:-d,count:i?",
     .params = "[-d] [count]",
     .help = "show the hottest blocks of the xbt accelerator (-d: with their code)",
     .cmd = hmp_info_xbt_blocks},
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const HMPCommand *)a)->name, ((const HMPCommand *)b)->name);
}

static void add_commands(Notifier *n, void *data)
{
    HMPCommand *info = hmp_cmds, *table;
    size_t old = 0;

    while (info->name && strcmp(info->name, "info")) {
        info++;
    }
    if (!info->name || !info->sub_table) {
        return;
    }
    while (info->sub_table[old].name) {
        old++;
    }
    table = g_new0(HMPCommand, old + ARRAY_SIZE(commands) + 1);
    memcpy(table, info->sub_table, old * sizeof(*table));
    memcpy(table + old, commands, sizeof(commands));
    qsort(table, old + ARRAY_SIZE(commands), sizeof(*table), by_name);
    info->sub_table = table;
}

void xbt_hmp_init(void)
{
    static Notifier done = { .notify = add_commands };

    qemu_add_machine_init_done_notifier(&done);
}
