// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Run a command with its output in a file and say how long it took:
 *
 *     timed NAME OUTPUT COMMAND [ARGUMENT...]
 *     -> XBT-TIMED name nanoseconds exit-status cpu-nanoseconds
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static long long children_cpu(void)
{
    struct rusage u;

    getrusage(RUSAGE_CHILDREN, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000ll +
           (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000ll;
}

int main(int argc, char **argv)
{
    long long start;
    int status = 0;
    pid_t child;

    if (argc < 4) {
        fprintf(stderr, "usage: timed NAME OUTPUT COMMAND [ARGUMENT...]\n");
        return 2;
    }
    start = now();
    child = fork();
    if (child == 0) {
        int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);

        if (fd < 0 || dup2(fd, 1) < 0) {
            perror(argv[2]);
            _exit(126);
        }
        execvp(argv[3], argv + 3);
        perror(argv[3]);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("timed");
        return 2;
    }
    if (WIFSIGNALED(status)) {
        status = 128 + WTERMSIG(status);
    } else {
        status = WEXITSTATUS(status);
    }
    printf("XBT-TIMED %s %lld %d %lld\n", argv[1], now() - start, status,
           children_cpu());
    return status;
}
