// SPDX-License-Identifier: GPL-2.0-or-later
/* vfork and exec of this program itself, which then only exits. */
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

__attribute__((constructor))
static void exit_if_child(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "child") == 0) {
        _exit(atoi(argv[2]) & 0x7f);
    }
}

static int run_child(unsigned number)
{
    char text[16];
    int status = 0;
    pid_t child;

    snprintf(text, sizeof(text), "%u", number);
    child = vfork();
    bench_need(child >= 0, "vfork");
    if (child == 0) {
        execl("/proc/self/exe", "exec", "child", text, NULL);
        _exit(255);
    }
    bench_need(waitpid(child, &status, 0) == child, "waitpid");
    return WEXITSTATUS(status);
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;

    while (rounds--) {
        sum = bench_mix(sum, run_child(rounds));
    }
    return sum;
}

BENCH("exec", 400)
