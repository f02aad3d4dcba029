/* SPDX-License-Identifier: GPL-2.0-or-later */
/* oracle.c - see oracle.h. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fuzz/oracle.h"

#define HANG_USEC 100000    /* of CPU time */
#define EXIT_HUNG 42

struct shared {
    uint32_t go, done;      /* slots to run, slots that have been run */
    uint32_t running;       /* counts trials, for the hang timer */
    struct oracle_slot slot[ORACLE_BATCH];
};

struct oracle {
    struct shared *sh;
    struct machine *m;
    pid_t child;
    unsigned deaths;
};

static struct shared *sh;

static void futex_wait(uint32_t *p, uint32_t val, long nsec)
{
    struct timespec t = { 0, nsec };

    syscall(SYS_futex, p, FUTEX_WAIT, val, &t, NULL, 0);
}

static void futex_wake(uint32_t *p)
{
    syscall(SYS_futex, p, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* ---- the child ---- */

static void on_timer(int sig)
{
    static uint32_t last = ~0u;

    if (sh->running == last)
        _exit(EXIT_HUNG);
    last = sh->running;
}

static void start_timer(void)
{
    struct itimerval t = { { 0, HANG_USEC }, { 0, HANG_USEC } };
    struct sigaction sa;

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = on_timer;
    sa.sa_flags = SA_ONSTACK | SA_RESTART;
    sigaction(SIGPROF, &sa, NULL);
    setitimer(ITIMER_PROF, &t, NULL);
}

/* No system calls from below 4 GiB, where the programs are, and none by INT 80h. */
static void forbid_calls(void)
{
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog p = { sizeof(f) / sizeof(f[0]), f };

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) != 0)
        perror("fuzz: no seccomp filter");
}

static void run_native(void *arg, enum snip_mode mode, const struct snip_state *in, struct snip_state *out)
{
    native_run(mode, in, out);
}

static void run_slot(struct oracle_slot *s)
{
    const struct trial *t = &s->trial;

    sh->running++;
    s->hung = true;
    trial_place(t, native_win, true);
    trial_run(t, run_native, NULL, native_win, &s->result);
    s->hung = false;
    memcpy(s->data, native_win + DATA_OFF, DATA_SIZE);
    memcpy(s->stack, native_win + STACK_OFF, STACK_SIZE);
    memcpy(s->around_ro[0], native_win + RO_OFF - 4096, 4096);
    memcpy(s->around_ro[1], native_win + RO_OFF + 4096, 4096);
    memcpy(s->code, native_win + t->at, t->len);
    if (s->result.overwritten)
        memset(native_win + CODE_OFF, 0xcc, CODE_SIZE);
}

static _Noreturn void child_main(const uint8_t *win)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    native_own_window(win);
    memset(native_win + CODE_OFF, 0xcc, CODE_SIZE);
    forbid_calls();
    start_timer();
    for (;;) {
        uint32_t done = __atomic_load_n(&sh->done, __ATOMIC_ACQUIRE);
        if (done >= __atomic_load_n(&sh->go, __ATOMIC_ACQUIRE)) {
            futex_wait(&sh->go, done, 100000000);
            continue;
        }
        run_slot(&sh->slot[done % ORACLE_BATCH]);
        __atomic_store_n(&sh->done, done + 1, __ATOMIC_RELEASE);
        futex_wake(&sh->done);
    }
}

/* ---- the parent ---- */

static void start_child(struct oracle *o)
{
    fflush(stdout);
    o->child = fork();
    if (o->child < 0) {
        perror("fork");
        exit(1);
    }
    if (o->child == 0)
        child_main(o->m->win);
}

struct oracle *oracle_new(struct machine *m)
{
    struct oracle *o = calloc(1, sizeof(*o));

    sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!o || sh == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    o->sh = sh;
    o->m = m;
    start_child(o);
    return o;
}

void oracle_free(struct oracle *o)
{
    kill(o->child, SIGKILL);
    waitpid(o->child, NULL, 0);
    munmap(o->sh, sizeof(*o->sh));
    free(o);
}

struct trial *oracle_trial(struct oracle *o, unsigned i)
{
    return &o->sh->slot[i].trial;
}

unsigned oracle_deaths(const struct oracle *o)
{
    return o->deaths;
}

/* The counters start at 0 for each batch; the child is idle then. */
void oracle_start(struct oracle *o, unsigned n)
{
    __atomic_store_n(&o->sh->go, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&o->sh->done, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&o->sh->go, n, __ATOMIC_RELEASE);
    futex_wake(&o->sh->go);
}

static bool child_died(struct oracle *o, bool *hung)
{
    int status;

    if (waitpid(o->child, &status, WNOHANG) != o->child)
        return false;
    *hung = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_HUNG;
    return true;
}

struct oracle_slot *oracle_wait(struct oracle *o, unsigned i)
{
    struct oracle_slot *s = &o->sh->slot[i];
    uint32_t done;
    bool hung;

    for (unsigned spin = 0; (done = __atomic_load_n(&o->sh->done, __ATOMIC_ACQUIRE)) <= i; spin++) {
        if (spin < 20) {
            sched_yield();
            continue;
        }
        futex_wait(&o->sh->done, done, 50000000);
        if (!child_died(o, &hung) || __atomic_load_n(&o->sh->done, __ATOMIC_ACQUIRE) > i)
            continue;
        /* The trial that killed it is number `done`; a new child has the guest's window and starts behind it. */
        done = __atomic_load_n(&o->sh->done, __ATOMIC_ACQUIRE);
        bool ours = done == i;
        o->deaths += !hung;
        o->sh->slot[done].hung = hung;
        __atomic_store_n(&o->sh->done, done + 1, __ATOMIC_RELEASE);
        start_child(o);
        if (ours && !hung)
            return NULL;
    }
    memcpy(native_win + DATA_OFF, s->data, DATA_SIZE);
    memcpy(native_win + STACK_OFF, s->stack, STACK_SIZE);
    memcpy(native_win + RO_OFF - 4096, s->around_ro[0], 4096);
    memcpy(native_win + RO_OFF + 4096, s->around_ro[1], 4096);
    memcpy(native_win + s->trial.at, s->code, s->trial.len);
    return s;
}
