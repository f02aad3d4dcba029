/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-cpu.c - which CPU the guest sees: AccelCPUClass.
 *
 * QEMU filters CPU models only for TCG, KVM and HVF; for any other accelerator
 * every feature counts as supported.  So: what xbt offers is computed once
 * (xbt-features.inc and the host's CPUID), `-cpu max` is kept from enabling
 * anything else, and when a CPU is realized the features that are not offered are
 * taken out, with one warning each in the wording of TCG, or an error with `enforce`.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"
#include "plugins/plugin.h"

#include <cpuid.h>

extern struct qemu_plugin_state plugin; /* plugins/core.c */

static uint64_t offered[FEATURE_WORDS];

uint64_t xbt_features_offered(FeatureWord w)
{
    return offered[w];
}

/* ---- what is offered ---- */

static uint32_t host_word(FeatureWord w)
{
    const FeatureWordInfo *info = &feature_word_info[w];
    uint32_t r[4] = { 0 };

    if (info->type != CPUID_FEATURE_WORD ||
        info->cpuid.eax > __get_cpuid_max(info->cpuid.eax & 0x80000000, NULL)) {
        return 0;
    }
    __cpuid_count(info->cpuid.eax, info->cpuid.ecx, r[R_EAX], r[R_EBX], r[R_ECX], r[R_EDX]);
    return r[info->cpuid.reg];
}

/* AVX needs the host's OS, and everything that is encoded with VEX needs AVX. */
static void drop_avx(void)
{
    offered[FEAT_1_ECX] &= ~(uint64_t)(CPUID_EXT_AVX | CPUID_EXT_F16C | CPUID_EXT_FMA);
    offered[FEAT_7_0_EBX] &= ~(uint64_t)CPUID_7_0_EBX_AVX2;
    offered[FEAT_7_0_ECX] &= ~(uint64_t)(CPUID_7_0_ECX_VAES | CPUID_7_0_ECX_VPCLMULQDQ);
    offered[FEAT_XSAVE_XCR0_LO] &= ~(uint64_t)XSTATE_YMM_MASK;
}

/* Standard-format XSAVE layout that the guest sees (CPUID leaf 0DH): the one the engine's helpers write. */
static void init_xsave_layout(void)
{
    static const struct { unsigned bit, offset, size; } area[] = {
        { XSTATE_YMM_BIT, 576, sizeof(XSaveAVX) }, { XSTATE_PKRU_BIT, 2688, sizeof(XSavePKRU) },
    };

    for (size_t i = 0; i < ARRAY_SIZE(area); i++) {
        x86_ext_save_areas[area[i].bit].offset = area[i].offset;
        x86_ext_save_areas[area[i].bit].size = area[i].size;
    }
}

void xbt_features_init(uint32_t host_mask)
{
#define WORD(w, emulated, native) \
    offered[w] = (uint64_t)(uint32_t)(emulated) | ((uint32_t)(native)&host_word(w));
#include "accel-xbt/xbt-features.inc"
#undef WORD
    if (!xbt_vm.opt.host_avx) {
        drop_avx();
    }
    if (xbt_vm.opt.tlb_force == TLB_TAGGED) {
        offered[FEAT_7_0_ECX] |= CPUID_7_0_ECX_LA57; /* the flat tables cover 48 bits */
    }
    if (!xbt_vm.opt.host_bmi2) {
        offered[FEAT_7_0_EBX] &= ~(uint64_t)CPUID_7_0_EBX_BMI2;
    }
    if (!(offered[FEAT_1_ECX] & CPUID_EXT_XSAVE)) {
        offered[FEAT_XSAVE] = 0;
        offered[FEAT_XSAVE_XCR0_LO] = 0;
        drop_avx();
    }
    for (FeatureWord w = 0; w < FEATURE_WORDS; w++) {
        feature_word_info[w].no_autoenable_flags |= ~offered[w];
    }
    init_xsave_layout();
}

/* ---- filtering ---- */

static char *describe_word(const FeatureWordInfo *f)
{
    static const char *const reg[] = { [R_EAX] = "EAX", [R_ECX] = "ECX", [R_EDX] = "EDX", [R_EBX] = "EBX" };

    if (f->type == MSR_FEATURE_WORD) {
        return g_strdup_printf("MSR(%02XH)", f->msr.index);
    }
    return g_strdup_printf("CPUID.%02XH:%s", f->cpuid.eax, reg[f->cpuid.reg]);
}

static void warn_dropped(FeatureWord w, uint64_t dropped)
{
    const FeatureWordInfo *f = &feature_word_info[w];
    g_autofree char *word = describe_word(f);

    for (unsigned i = 0; i < 64; i++) {
        if (dropped >> i & 1) {
            const char *name = f->feat_names[i];

            warn_report("xbt doesn't support requested feature: %s%s%s [bit %u]", word, name ? "." : "",
                        name ? name : "", i);
        }
    }
}

/* State components follow from the features that are left. */
static void refresh_xsave_components(CPUX86State *env)
{
    uint64_t mask = 0;

    for (unsigned i = 0; i < XSAVE_STATE_AREA_COUNT; i++) {
        const ExtSaveArea *a = &x86_ext_save_areas[i];

        if (env->features[a->feature] & a->bits) {
            mask |= 1ull << i;
        }
    }
    env->features[FEAT_XSAVE_XCR0_LO] = mask & offered[FEAT_XSAVE_XCR0_LO];
    env->features[FEAT_XSAVE_XCR0_HI] = 0;
    env->features[FEAT_XSAVE_XSS_LO] = 0;
    env->features[FEAT_XSAVE_XSS_HI] = 0;
    if (!(env->features[FEAT_1_ECX] & CPUID_EXT_XSAVE)) {
        env->features[FEAT_XSAVE_XCR0_LO] = 0;
    }
}

static bool is_component_word(FeatureWord w)
{
    return w == FEAT_XSAVE_XCR0_LO || w == FEAT_XSAVE_XCR0_HI || w == FEAT_XSAVE_XSS_LO ||
           w == FEAT_XSAVE_XSS_HI;
}

static bool filter_features(X86CPU *cpu, Error **errp)
{
    CPUX86State *env = &cpu->env;
    bool any = false;

    for (FeatureWord w = 0; w < FEATURE_WORDS; w++) {
        uint64_t dropped = env->features[w] & ~offered[w];

        if (!dropped || is_component_word(w)) {
            continue;
        }
        if (w == FEAT_8000_0001_EDX) {
            /* AMD's copies of CPUID.01H:EDX bits: warned of there. */
            env->features[w] &= ~(dropped & CPUID_EXT2_AMD_ALIASES);
            dropped &= ~(uint64_t)CPUID_EXT2_AMD_ALIASES;
        }
        if (dropped && (cpu->check_cpuid || cpu->enforce_cpuid)) {
            warn_dropped(w, dropped);
        }
        any |= dropped;
        cpu->filtered_features[w] |= dropped;
        if (!cpu->force_features) {
            env->features[w] &= ~dropped;
        }
    }
    refresh_xsave_components(env);
    if (any && cpu->enforce_cpuid) {
        error_setg(errp, "xbt doesn't support requested features");
        return false;
    }
    return true;
}

/* ---- AccelCPUClass ---- */

static void xbt_cpu_instance_init(CPUState *cs)
{
    X86CPU *cpu = X86_CPU(cs);

    if (!X86_CPU_GET_CLASS(cpu)->model && cpu->max_features) {
        object_property_set_str(OBJECT(cpu), "model-id", "QEMU xbt CPU", &error_abort);
        /* The widths of addresses are in this leaf; no feature of `max` would bring it. */
        cpu->env.cpuid_min_xlevel = MAX(cpu->env.cpuid_min_xlevel, 0x80000008);
    }
}

/* QEMU loads them for any accelerator, and they would see nothing. */
static bool no_plugins(Error **errp)
{
    if (!QTAILQ_EMPTY(&plugin.ctxs)) {
        error_setg(errp, "-plugin needs -accel tcg: xbt does not call TCG's plugins");
        return false;
    }
    return true;
}

static bool xbt_cpu_realize(CPUState *cs, Error **errp)
{
    if (!no_plugins(errp)) {
        return false;
    }
    return filter_features(X86_CPU(cs), errp);
}

static void xbt_cpu_accel_class_init(ObjectClass *oc, void *data)
{
    AccelCPUClass *acc = ACCEL_CPU_CLASS(oc);

    acc->cpu_instance_init = xbt_cpu_instance_init;
    acc->cpu_realizefn = xbt_cpu_realize;
}

static const TypeInfo xbt_cpu_accel_type = {
    .name = ACCEL_CPU_NAME("xbt"),
    .parent = TYPE_ACCEL_CPU,
    .class_init = xbt_cpu_accel_class_init,
    .abstract = true,
};
module_obj(ACCEL_CPU_NAME("xbt"));

void xbt_cpu_register(void)
{
    type_register_static(&xbt_cpu_accel_type);
}
