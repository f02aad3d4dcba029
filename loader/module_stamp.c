/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The symbols by which QEMU's module loader accepts a module.
 *
 * QEMU looks up qemu_stamp_<sha>, where <sha> names one configured build; a
 * module with another stamp, or none, is refused.  qemu_module_dummy tells
 * "a module of another build" from "not a module".  The text names the build
 * for people; loader/preload.c looks for it in the file.
 */

#define EXPORT __attribute__((visibility("default"), used))

void XBT_QEMU_STAMP(void);
void qemu_module_dummy(void);

EXPORT void XBT_QEMU_STAMP(void)
{
}

EXPORT void qemu_module_dummy(void)
{
}

extern const char xbt_built_for[];
EXPORT const char xbt_built_for[] =
    "xbt-built-for: " XBT_QEMU_VERSION " (" XBT_QEMU_PKGVERSION ")\n";
