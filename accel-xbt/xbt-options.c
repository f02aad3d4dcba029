/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-options.c - the properties that switch optimisations off, and `-accel xbt,help`.
 *
 * All of them come from translator/optimisations.inc.  They are read once, when the engine starts: setting one on a
 * running machine (qom-set) changes nothing but the property.
 */
#include "qemu/osdep.h"
#include "qapi/visitor.h"
#include "accel-xbt/xbt-accel.h"

static const struct optimisation {
    const char *name, *text;
    size_t off;     /* of no_ID in struct xbt_options */
    bool on;
} table[] = {
#define OPTIMISATION(id, name, in_opt, on, text) { name, text, offsetof(struct xbt_options, no_##id), on },
#include "translator/optimisations.inc"
#undef OPTIMISATION
    { "opt", "off: no optimisation inside of blocks, whatever the properties of single ones say",
      offsetof(struct xbt_options, no_opt), true },
};

static bool *no_field(struct xbt_options *o, const struct optimisation *t)
{
    return (bool *)((char *)o + t->off);
}

static void get_on(Object *obj, Visitor *v, const char *name, void *opaque, Error **errp)
{
    bool on = !*no_field(&XBT_ACCEL(obj)->opt, opaque);

    visit_type_bool(v, name, &on, errp);
}

static void set_on(Object *obj, Visitor *v, const char *name, void *opaque, Error **errp)
{
    bool on;

    if (visit_type_bool(v, name, &on, errp)) {
        *no_field(&XBT_ACCEL(obj)->opt, opaque) = !on;
    }
}

void xbt_options_defaults(struct xbt_options *o)
{
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        *no_field(o, &table[i]) = !table[i].on;
    }
}

const char *xbt_options_nth(const struct xbt_options *o, unsigned n, bool *on)
{
    if (n >= ARRAY_SIZE(table) - 1) {
        return NULL;
    }
    *on = !*no_field((struct xbt_options *)o, &table[n]);
    return table[n].name;
}

/* ---- help ---- */

static bool get_help(Object *obj, Error **errp)
{
    return false;
}

static void set_help(Object *obj, bool on, Error **errp)
{
    ObjectPropertyIterator it;
    ObjectProperty *p;
    GList *lines = NULL;

    if (!on) {
        return;
    }
    if (xbt_vm.store) {
        error_setg(errp, "Property 'help' is for the command line");
        return;
    }
    object_property_iter_init(&it, obj);
    while ((p = object_property_iter_next(&it))) {
        if (p->set && p->description) {
            lines = g_list_prepend(lines, g_strdup_printf("  %-17s %-7s %s", p->name, p->type, p->description));
        }
    }
    lines = g_list_sort(lines, (GCompareFunc)strcmp);
    printf("properties of -accel xbt:\n");
    for (GList *l = lines; l; l = l->next) {
        printf("%s\n", (const char *)l->data);
    }
    exit(0);
}

void xbt_options_register(ObjectClass *oc)
{
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        object_class_property_add(oc, table[i].name, "bool", get_on, set_on, NULL, (void *)&table[i]);
        object_class_property_set_description(oc, table[i].name, table[i].text);
    }
    object_class_property_add_bool(oc, "help", get_help, set_help);
    object_class_property_set_description(oc, "help", "show this list and exit");
}
