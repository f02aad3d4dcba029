/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-accel-ops.c - the table by which QEMU's cpus.c drives us.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

/* BQL.  A device or another thread raises an interrupt line of this CPU. */
static void xbt_handle_interrupt(CPUState *cs, int mask)
{
    struct xbt_cpu *x = xbt_cpu_of_cs(cs);

    cs->interrupt_request |= mask;
    if (!qemu_cpu_is_self(cs)) {
        qemu_cpu_kick(cs);
    } else if (x) {
        cpu_kick(x->c, XREQ_POLL); /* in a device callback: look before the next block */
    }
}

static void xbt_accel_ops_class_init(ObjectClass *oc, void *data)
{
    AccelOpsClass *ops = ACCEL_OPS_CLASS(oc);

    ops->create_vcpu_thread = xbt_vcpu_create_thread;
    ops->kick_vcpu_thread = xbt_vcpu_kick;
    ops->handle_interrupt = xbt_handle_interrupt;
    ops->synchronize_state = xbt_sync_state;
    ops->synchronize_post_reset = xbt_sync_post_reset;
    ops->synchronize_post_init = xbt_sync_post_init;
    ops->synchronize_pre_loadvm = xbt_sync_pre_loadvm;
    xbt_debug_ops(ops);
}

static const TypeInfo xbt_accel_ops_type = {
    .name = ACCEL_OPS_NAME("xbt"),
    .parent = TYPE_ACCEL_OPS,
    .class_init = xbt_accel_ops_class_init,
    .abstract = true,
};
module_obj(ACCEL_OPS_NAME("xbt"));

static void xbt_accel_ops_register(void)
{
    type_register_static(&xbt_accel_ops_type);
}
type_init(xbt_accel_ops_register);
