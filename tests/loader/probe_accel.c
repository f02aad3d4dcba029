/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for the module in the tests of the loader: registers the type
 * that `-accel xbt` asks for, says so when a machine is made with it, and
 * ends QEMU with a status of its own.  With XBT_PROBE_CHILD set it first runs
 * that command, to show what QEMU's children inherit.
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "qemu/accel.h"
#include "qemu/module.h"

static int probe_init_machine(MachineState *machine)
{
    const char *child = getenv("XBT_PROBE_CHILD");

    if (child && system(child) != 0) {
        exit(43);
    }
    printf("probe module loaded\n");
    exit(42);
}

static void probe_class_init(ObjectClass *oc, void *data)
{
    static bool allowed;
    AccelClass *ac = ACCEL_CLASS(oc);

    ac->name = "probe";
    ac->init_machine = probe_init_machine;
    ac->allowed = &allowed;
}

static const TypeInfo probe_type = {
    .name = ACCEL_CLASS_NAME("xbt"),
    .parent = TYPE_ACCEL,
    .class_init = probe_class_init,
};

static void probe_register(void)
{
    type_register_static(&probe_type);
}

type_init(probe_register);
