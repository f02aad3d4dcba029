/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-accel.c - the accelerator object: its properties and its start.
 *
 * `-accel xbt,tb-size=64,dump=guest+host` creates an object of this class, sets
 * the properties (errors are QEMU's usual ones: they name the property and its
 * range) and calls init_machine().  That checks that the binary is the one we
 * were built for, starts the engine and hooks the memory map.  vCPUs follow in
 * xbt-vcpu.c when the machine creates its CPUs.
 */
#include "qemu/osdep.h"
#include "qapi/visitor.h"
#include "accel-xbt/xbt-accel.h"

#include <cpuid.h>

bool xbt_allowed, xbt_single_thread;
struct xbt_vm xbt_vm;
struct xbt_cpu xbt_cpus[XBT_MAX_CPUS];

struct xbt_cpu *xbt_cpu_next(struct xbt_cpu *x)
{
    for (x = x ? x + 1 : xbt_cpus; x < xbt_cpus + XBT_MAX_CPUS; x++) {
        if (x->cs) {
            return x;
        }
    }
    return NULL;
}

/* ---- properties ---- */

struct flag_name {
    const char *name;
    uint32_t bit;
};

static const struct flag_name dump_names[] = {
    {"guest", DUMP_GUEST}, {"ir", DUMP_IR},     {"host", DUMP_HOST},
    {"exit", DUMP_EXIT},   {"exec", DUMP_EXEC}, {NULL, 0},
};
static const struct flag_name mask_names[] = {{"no-bmi2", XBT_NO_BMI2}, {"no-avx", XBT_NO_AVX}, {NULL, 0}};

/* "a+b+c" -> bits. */
static bool parse_flags(const char *prop, const char *text, const char *sep, const struct flag_name *names,
                        uint32_t *out, Error **errp)
{
    g_auto(GStrv) words = g_strsplit_set(text, sep, 0);
    uint32_t bits = 0;

    for (char **w = words; *w; w++) {
        const struct flag_name *n = names;

        while (n->name && strcmp(n->name, *w)) {
            n++;
        }
        if (!n->name && **w) {
            g_autoptr(GString) all = g_string_new(names->name);

            for (n = names + 1; n->name; n++) {
                g_string_append_printf(all, ", %s", n->name);
            }
            error_setg(errp, "Property '%s' does not know '%s'; it takes %s, joined by '+'", prop, *w,
                       all->str);
            return false;
        }
        bits |= n->bit;
    }
    *out = bits;
    return true;
}

static char *print_flags(uint32_t bits, const struct flag_name *names)
{
    GString *s = g_string_new(NULL);

    for (; names->name; names++) {
        if (bits & names->bit) {
            g_string_append_printf(s, "%s%s", s->len ? "+" : "", names->name);
        }
    }
    return g_string_free(s, false);
}

static char *get_dump(Object *o, Error **errp)
{
    return print_flags(XBT_ACCEL(o)->dump, dump_names);
}

static void set_dump(Object *o, const char *v, Error **errp)
{
    parse_flags("dump", v, "+", dump_names, &XBT_ACCEL(o)->dump, errp);
}

static char *get_host_features(Object *o, Error **errp)
{
    return print_flags(XBT_ACCEL(o)->host_mask, mask_names);
}

static void set_host_features(Object *o, const char *v, Error **errp)
{
    parse_flags("host-features", v, "+/", mask_names, &XBT_ACCEL(o)->host_mask, errp);
}

static char *get_dump_filter(Object *o, Error **errp)
{
    return g_strdup_printf("%" PRIx64 "-%" PRIx64, XBT_ACCEL(o)->dump_lo, XBT_ACCEL(o)->dump_hi);
}

static void set_dump_filter(Object *o, const char *v, Error **errp)
{
    XbtAccelState *s = XBT_ACCEL(o);
    char *end = NULL;
    uint64_t lo, hi;

    lo = g_ascii_strtoull(v, &end, 16);
    if (end == v || *end != '-') {
        goto bad;
    }
    v = end + 1;
    hi = g_ascii_strtoull(v, &end, 16);
    if (end == v || *end || lo > hi) {
        goto bad;
    }
    s->dump_lo = lo;
    s->dump_hi = hi;
    return;
bad:
    error_setg(errp, "Property 'dump-filter' takes two linear addresses in hex, lo-hi, with lo <= hi "
               "(for example ffffffff81000000-ffffffff81ffffff)");
}

static const char *const perfmap_names[] = {
    [0] = "off", [XBT_PERF_MAP] = "map", [XBT_PERF_DUMP] = "jitdump", [XBT_PERF_MAP | XBT_PERF_DUMP] = "on",
};

static char *get_perfmap(Object *o, Error **errp)
{
    return g_strdup(perfmap_names[XBT_ACCEL(o)->perfmap]);
}

static void set_perfmap(Object *o, const char *v, Error **errp)
{
    for (unsigned i = 0; i < ARRAY_SIZE(perfmap_names); i++) {
        if (!strcmp(v, perfmap_names[i])) {
            XBT_ACCEL(o)->perfmap = i;
            return;
        }
    }
    error_setg(errp, "Property 'perfmap' is on, off, map or jitdump, not '%s'", v);
}

static char *get_thread(Object *o, Error **errp)
{
    return g_strdup(XBT_ACCEL(o)->single_thread ? "single" : "multi");
}

static void set_thread(Object *o, const char *v, Error **errp)
{
    if (strcmp(v, "single") && strcmp(v, "multi")) {
        error_setg(errp, "Property 'thread' is single or multi, not '%s'", v);
        return;
    }
    XBT_ACCEL(o)->single_thread = !strcmp(v, "single");
}

static char *get_tlb(Object *o, Error **errp)
{
    static const char *const name[] = { "auto", "flat", "tagged" };

    return g_strdup(name[XBT_ACCEL(o)->tlb]);
}

static void set_tlb(Object *o, const char *v, Error **errp)
{
    XbtAccelState *s = XBT_ACCEL(o);

    if (!strcmp(v, "auto")) {
        s->tlb = XBT_TLB_AUTO;
    } else if (!strcmp(v, "flat")) {
        s->tlb = XBT_TLB_FLAT;
    } else if (!strcmp(v, "tagged")) {
        s->tlb = XBT_TLB_TAGGED;
    } else {
        error_setg(errp, "Property 'tlb' is auto, flat or tagged, not '%s'", v);
    }
}

/* numbers */
static const struct number {
    const char *name, *range, *text;
    size_t off; /* in XbtAccelState */
    int64_t min, max;
} numbers[] = {
    { "tb-size", "in MiB, from " stringify(XBT_TB_SIZE_MIN) " to " stringify(XBT_TB_SIZE_MAX),
      "Code cache in MiB (1..2047, default 256)", offsetof(XbtAccelState, tb_size), XBT_TB_SIZE_MIN, XBT_TB_SIZE_MAX },
    { "flush-every", "a number of blocks, from 0 (never) to 4294967295",
      "Flush the code cache every N blocks (0 = never)", offsetof(XbtAccelState, flush_every), 0, UINT32_MAX },
    { "hostmap-heat", "in milliseconds of user time, from 0 (at once) to 1000000",
      "User time in ms that makes an address space hot (default 3)", offsetof(XbtAccelState, hostmap_heat), 0, 1000000 },
};

static uint32_t *number_field(Object *o, const struct number *n)
{
    return (uint32_t *)((char *)XBT_ACCEL(o) + n->off);
}

static void get_number(Object *o, Visitor *v, const char *name, void *opaque, Error **errp)
{
    visit_type_uint32(v, name, number_field(o, opaque), errp);
}

static void set_number(Object *o, Visitor *v, const char *name, void *opaque, Error **errp)
{
    const struct number *n = opaque;
    int64_t x;

    if (!visit_type_int(v, name, &x, errp)) {
        return;
    }
    if (x < n->min || x > n->max) {
        error_setg(errp, "Property '%s' is %s, not %" PRId64, n->name, n->range, x);
        return;
    }
    *number_field(o, n) = x;
}

/* on/off properties: one getter and setter each */
#define BOOL_PROPERTY(field)                                          \
    static bool get_##field(Object *o, Error **errp)                  \
    {                                                                 \
        return XBT_ACCEL(o)->field;                                   \
    }                                                                 \
    static void set_##field(Object *o, bool v, Error **errp)          \
    {                                                                 \
        XBT_ACCEL(o)->field = v;                                      \
    }
BOOL_PROPERTY(one_insn)
BOOL_PROPERTY(wx)
BOOL_PROPERTY(profile)
BOOL_PROPERTY(relocate_check)

/* ---- start ---- */

static void fill_options(const XbtAccelState *s)
{
    struct xbt_options *o = &xbt_vm.opt;
    unsigned eax, ebx = 0, ecx = 0, ecx1 = 0, edx, xcr0 = 0;

    __get_cpuid(1, &eax, &ebx, &ecx1, &edx);
    ebx = 0;
    __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
    if (ecx1 & bit_OSXSAVE) {
        asm volatile("xgetbv" : "=a"(xcr0) : "c"(0) : "edx");
    }
    *o = s->opt;
    o->tb_size_mib = s->tb_size;
    o->max_insns = s->one_insn ? 1 : 0;
    o->flush_every = s->flush_every;
    o->hostmap_heat = s->hostmap_heat;
    o->wx = s->wx;
    o->profile = s->profile;
    o->check_relocate = s->relocate_check;
    o->perfmap = s->perfmap != 0;
    o->host_bmi2 = (ebx & bit_BMI2) && !(s->host_mask & XBT_NO_BMI2);
    o->host_avx = (ecx1 & bit_AVX) && (xcr0 & 6) == 6 && !(s->host_mask & XBT_NO_AVX);
    o->tlb_force = s->tlb == XBT_TLB_AUTO ? -1 : s->tlb == XBT_TLB_FLAT ? TLB_FLAT : TLB_TAGGED;
    o->dump_lo = s->dump_lo;
    o->dump_hi = s->dump_hi;
    xbt_dump_property = s->dump;
    o->dump = xbt_log_dump_flags();
}

/* x86-64-v2 is what generated code may use without asking. */
static bool host_ok(Error **errp)
{
    unsigned eax, ebx, ecx = 0, edx;

    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    if (!(ecx & bit_SSE4_2) || !(ecx & bit_POPCNT) || !(ecx & bit_SSSE3) || !(ecx & bit_CMPXCHG16B)) {
        error_setg(errp, "xbt needs a host CPU of level x86-64-v2 (SSE4.2, SSSE3, POPCNT, CMPXCHG16B); "
                   "this one has not: use -accel tcg");
        return false;
    }
    return true;
}

/* mlockall() comes after the machine has been made, and would fill what the flat tables reserve. */
static bool obey_mem_lock(Error **errp)
{
    struct xbt_options *o = &xbt_vm.opt;

    if (enable_mlock && o->tlb_force == TLB_FLAT) {
        error_setg(errp, "xbt: tlb=flat reserves 3 TiB of address space, which -overcommit mem-lock=on would lock: "
                   "use tlb=auto or tlb=tagged");
        return false;
    }
    if (enable_mlock) {
        o->tlb_force = TLB_TAGGED;
        o->no_hostmap = true;
    }
    return true;
}

static bool check_machine(MachineState *ms, Error **errp)
{
    if (icount_enabled()) {
        error_setg(errp, "xbt does not count instructions: -icount, and with it record and replay, need -accel tcg");
        return false;
    }
    if (ms->smp.max_cpus > XBT_MAX_CPUS) {
        error_setg(errp, "xbt runs up to %d vCPUs, -smp asks for %u", XBT_MAX_CPUS, ms->smp.max_cpus);
        return false;
    }
    /* `none` is for who asks what QEMU can do. */
    if (!object_dynamic_cast(OBJECT(ms), TYPE_X86_MACHINE) && !object_dynamic_cast(OBJECT(ms), MACHINE_TYPE_NAME("none"))) {
        error_setg(errp, "xbt runs x86 PC machines, not '%s'", object_get_typename(OBJECT(ms)));
        return false;
    }
    return true;
}

static int count_one(void *count, QemuOpts *opts, Error **errp)
{
    ++*(int *)count;
    return 0;
}

/* With another -accel to fall back to QEMU goes on; otherwise its "failed to initialize" would only repeat
 * us. */
static int refuse(Error *err)
{
    int accels = 0;

    error_report_err(err);
    qemu_opts_foreach(qemu_find_opts("accel"), count_one, &accels, NULL);
    if (accels < 2) {
        exit(1);
    }
    return -EINVAL;
}

static bool start_engine(const XbtAccelState *s, unsigned max_cpus, Error **errp)
{
    const char *why = NULL;

    fill_options(s);
    if (!obey_mem_lock(errp)) {
        return false;
    }
    xbt_vm.max_cpus = max_cpus;
    xbt_single_thread = s->single_thread;
    xbt_vm.opt.pause_yields = s->single_thread && max_cpus > 1;
    xbt_vm.phys = physmap_new();
    if (!xbt_vm.phys) {
        error_setg(errp, "xbt: no memory for the physical memory map");
        return false;
    }
    if (!xbt_vm_init(&xbt_vm, &tb_hash_builtin, &why)) {
        error_setg(errp, "xbt: cannot start: %s", why ? why : "unknown reason");
        return false;
    }
    return !s->perfmap || xbt_perfmap_init(s->perfmap, errp);
}

static int xbt_init_machine(MachineState *ms)
{
    XbtAccelState *s = XBT_ACCEL(ms->accelerator);
    Error *err = NULL;

    if (!xbt_abi_check(&err) || !host_ok(&err) || !check_machine(ms, &err) || !start_engine(s, ms->smp.max_cpus, &err)) {
        return refuse(err);
    }
    xbt_signals_install();
    xbt_features_init(s->host_mask);
    xbt_memory_init();
    xbt_clock_init();
    xbt_qmp_init();
    xbt_debug_init();
    xbt_hmp_init();
    return 0;
}

/* ---- registration ---- */

static void xbt_accel_instance_init(Object *o)
{
    XbtAccelState *s = XBT_ACCEL(o);

    s->tb_size = XBT_TB_SIZE_DEFAULT;
    s->hostmap_heat = XBT_HOSTMAP_HEAT_DEFAULT;
    xbt_options_defaults(&s->opt);
    s->dump_hi = UINT64_MAX;
}

static void add_bool(ObjectClass *oc, const char *name, bool (*get)(Object *, Error **),
                     void (*set)(Object *, bool, Error **), const char *text)
{
    object_class_property_add_bool(oc, name, get, set);
    object_class_property_set_description(oc, name, text);
}

static void add_str(ObjectClass *oc, const char *name, char *(*get)(Object *, Error **),
                    void (*set)(Object *, const char *, Error **), const char *text)
{
    object_class_property_add_str(oc, name, get, set);
    object_class_property_set_description(oc, name, text);
}

static void xbt_accel_class_init(ObjectClass *oc, void *data)
{
    AccelClass *ac = ACCEL_CLASS(oc);

    ac->name = "xbt";
    ac->init_machine = xbt_init_machine;
    ac->allowed = &xbt_allowed;
    ac->gdbstub_supported_sstep_flags = xbt_debug_sstep_flags;

    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
        object_class_property_add(oc, numbers[i].name, "int", get_number, set_number, NULL, (void *)&numbers[i]);
        object_class_property_set_description(oc, numbers[i].name, numbers[i].text);
    }
    add_str(oc, "dump", get_dump, set_dump, "Log stages: guest+ir+host+exit+exec");
    add_str(oc, "dump-filter", get_dump_filter, set_dump_filter, "Dump only blocks in lo-hi (hex)");
    add_str(oc, "tlb", get_tlb, set_tlb, "Software TLB: auto, flat or tagged");
    add_str(oc, "perfmap", get_perfmap, set_perfmap, "Write /tmp/perf-PID.map and /tmp/jit-PID.dump for perf: "
            "on (both), map, jitdump");
    add_str(oc, "host-features", get_host_features, set_host_features, "For tests: no-bmi2+no-avx");
    add_bool(oc, "one-insn", get_one_insn, set_one_insn, "One instruction per block");
    object_class_property_add_str(oc, "thread", get_thread, set_thread);
    object_class_property_set_description(oc, "thread", "multi: a thread for each vCPU; single: one for all, in turn");
    add_bool(oc, "wx", get_wx, set_wx, "Never map the code cache writable and executable at one address");
    add_bool(oc, "relocate-check", get_relocate_check, set_relocate_check,
             "For tests: translate what is copied for another linear address, too, and compare");
    add_bool(oc, "profile", get_profile, set_profile, "Count executions of blocks");
    xbt_options_register(oc);
}

static const TypeInfo xbt_accel_type = {
    .name = TYPE_XBT_ACCEL,
    .parent = TYPE_ACCEL,
    .instance_size = sizeof(XbtAccelState),
    .instance_init = xbt_accel_instance_init,
    .class_init = xbt_accel_class_init,
};
module_obj(TYPE_XBT_ACCEL);

static void xbt_accel_register(void)
{
    type_register_static(&xbt_accel_type);
    xbt_cpu_register();
}
type_init(xbt_accel_register);
