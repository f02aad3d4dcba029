/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program that is not QEMU: prints its arguments and what the launcher
 * added to the environment, one a line.
 */

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    const char *names[] = {"LD_PRELOAD", "QEMU_MODULE_DIR"};

    for (int i = 1; i < argc; i++) {
        printf("arg %s\n", argv[i]);
    }
    for (int i = 0; i < 2; i++) {
        const char *value = getenv(names[i]);

        printf("%s=%s\n", names[i], value ? value : "(unset)");
    }
    return 7;
}
