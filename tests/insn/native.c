/* SPDX-License-Identifier: GPL-2.0-or-later */
/* native.c - see native.h.  x86-64 Linux: signal frame layout of asm/sigcontext.h, asm/ucontext.h. */
#include <asm/ldt.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/insn/native.h"

uint8_t *const native_win = (uint8_t *)(uintptr_t)LIN;

static const int sigs[] = { SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE };
static struct sigaction old_action[65];
static enum { IDLE, START, RUN } phase;
static const struct snip_state *run_in;
static struct snip_state *run_out;
static enum snip_mode run_mode;
static uint64_t host_fs;
static greg_t host_gregs[NGREG];
static uint8_t host_ximg[XIMG_SIZE];

static void sel_of(enum snip_mode mode, uint64_t *cs, uint64_t *ss)
{
    *cs = mode == SM_64 ? SEL_UCS64 : snip_is16(mode) ? SEL_CS16 : SEL_UCS32;
    *ss = !snip_is16(mode) ? SEL_UDS : run_in->big ? SEL_BIG : SEL_SS16;
}

static const int greg_of[16] = {
    REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void copy(void *d, const void *s, size_t n)
{
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

static void enter(ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t cs, ss;

    copy(host_gregs, g, sizeof(host_gregs));
    copy(host_ximg, fp, XIMG_SIZE);
    for (unsigned i = 0; i < 16; i++)
        g[greg_of[i]] = (greg_t)run_in->gpr[i];
    g[REG_RIP] = (greg_t)run_in->rip;
    g[REG_EFL] = (greg_t)run_in->rflags;
    sel_of(run_mode, &cs, &ss);
    g[REG_CSGSFS] = (greg_t)(cs | ss << 48);
    /* Bytes 464..511 belong to the kernel. */
    copy(fp, run_in->ximg, 28);
    copy(fp + 32, run_in->ximg + 32, 416 - 32);
    fp[512] = (uint8_t)((fp[512] & ~7u) | (run_in->ximg[512] & 7u));
    copy(fp + 576, run_in->ximg + 576, 256);
    phase = RUN;
    if (run_mode == SM_64) {
        __asm__ volatile("wrgsbase %0" : : "r"(run_in->gs_base));
        __asm__ volatile("wrfsbase %0" : : "r"(run_in->fs_base));
    }
    if (run_mode != SM_64 && snip_ldt)
        __asm__ volatile("mov %0, %%fs; mov %1, %%gs" : : "r"(SEL_FS), "r"(run_mode > SM_16 ? SEL_FS : SEL_GS));
    if (snip_is16(run_mode) || (run_in->big && run_mode != SM_64))
        __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(run_in->big ? SEL_BIG : SEL_DS16));
}

static void get_selectors(uint16_t *sel, uint64_t csgsfs)
{
    __asm__ volatile("mov %%es, %0" : "=m"(sel[0]));
    sel[1] = (uint16_t)csgsfs;
    sel[2] = (uint16_t)(csgsfs >> 48);
    __asm__ volatile("mov %%ds, %0" : "=m"(sel[3]));
    __asm__ volatile("mov %%fs, %0" : "=m"(sel[4]));
    __asm__ volatile("mov %%gs, %0" : "=m"(sel[5]));
}

/* Back to what the harness and 32-bit snippets expect.  64-bit code never looks at DS and ES. */
static void reset_selectors(const uint16_t *sel)
{
    if (sel[0] != SEL_UDS || sel[3] != SEL_UDS)
        __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(SEL_UDS));
    if (sel[5])
        __asm__ volatile("mov %0, %%gs" : : "r"(0));
    if (sel[4])
        __asm__ volatile("mov %0, %%fs" : : "r"(0));
    /* A null selector may have cleared the base. */
    __asm__ volatile("wrfsbase %0" : : "r"(host_fs));
}

static void leave(ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    struct snip_state *o = run_out;

    for (unsigned i = 0; i < 16; i++)
        o->gpr[i] = (uint64_t)g[greg_of[i]];
    o->rip = (uint64_t)g[REG_RIP];
    o->rflags = (uint64_t)g[REG_EFL];
    o->vector = (int)g[REG_TRAPNO];
    o->error = (uint32_t)g[REG_ERR];
    o->cr2 = o->vector == 14 ? (uint64_t)g[REG_CR2] : 0;
    copy(o->ximg, fp, XIMG_SIZE);
    copy(g, host_gregs, sizeof(host_gregs));
    copy(fp, host_ximg, 464);
    copy(fp + 512, host_ximg + 512, XIMG_SIZE - 512);
    phase = IDLE;
}

/* No thread-local storage before FS is the host's again. */
static void on_signal(int sig, siginfo_t *si, void *ctx)
{
    if (phase == RUN) {
        get_selectors(run_out->sel, (uint64_t)((ucontext_t *)ctx)->uc_mcontext.gregs[REG_CSGSFS]);
        if (run_mode == SM_64) {
            __asm__ volatile("rdfsbase %0" : "=r"(run_out->fs_base));
            __asm__ volatile("rdgsbase %0" : "=r"(run_out->gs_base));
        }
        reset_selectors(run_out->sel);
        leave(ctx);
        return;
    }
    if (phase == START && sig == SIGTRAP) {
        enter(ctx);
        return;
    }
    struct sigaction *old = &old_action[sig];
    if (old->sa_flags & SA_SIGINFO)
        old->sa_sigaction(sig, si, ctx);
    else {
        const greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
        dprintf(2, "harness: signal %d, trap %d at %#llx, cr2 %#llx, cs/ss %#llx\n", sig, (int)g[REG_TRAPNO],
                (unsigned long long)g[REG_RIP], (unsigned long long)g[REG_CR2], (unsigned long long)g[REG_CSGSFS]);
        signal(sig, SIG_DFL);
    }
}

static void map_window(void)
{
    int fd = memfd_create("insn-window", 0);

    if (fd < 0 || ftruncate(fd, WIN_SIZE) != 0) {
        fprintf(stderr, "no memory for the native window: %s\n", strerror(errno));
        exit(77);
    }
    for (uint32_t off = 0; off <= ALIAS_OFF; off += ALIAS_OFF) {
        void *want = native_win + off;
        if (mmap(want, WIN_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, 0) != want) {
            fprintf(stderr, "cannot map the native window at %p: %s\n", want, strerror(errno));
            exit(77);
        }
    }
    close(fd);
}

/* Same rights as machine.c's page tables. */
static void protect_window(void)
{
    for (uint32_t off = CODE_SIZE; off < WIN_SIZE; off += 4096) {
        bool data = off >= DATA_OFF && off < DATA_OFF + DATA_SIZE;
        bool stack = off >= STACK_OFF && off < STACK_OFF + STACK_SIZE;
        bool near_ro = off >= RO_OFF - 4096 && off <= RO_OFF + 4096;
        bool big = off >= BIG_OFF && off < BIG_OFF + BIG_SIZE;
        int prot = off == RO_OFF ? PROT_READ | PROT_EXEC
                   : data || stack || near_ro || big ? PROT_READ | PROT_WRITE | PROT_EXEC : PROT_NONE;
        mprotect(native_win + off, 4096, prot);
        mprotect(native_win + ALIAS_OFF + off, 4096, prot);
    }
}

static bool set_ldt(unsigned n, uint32_t base, uint32_t limit, unsigned contents)
{
    struct user_desc d;

    memset(&d, 0, sizeof(d));
    d.entry_number = n;
    d.base_addr = base;
    d.limit = limit;
    d.contents = contents;         /* 0 data, 1 expand-down, 2 code */
    d.seg_32bit = contents == 1;
    d.useable = 1;
    return syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)) == 0;
}

void native_init(void)
{
    struct sigaction sa;

    map_window();
    protect_window();
    if (!(getauxval(AT_HWCAP2) & 2)) {
        fprintf(stderr, "the host's kernel does not allow WRFSBASE\n");
        exit(77);
    }
    __asm__ volatile("rdfsbase %0" : "=r"(host_fs));
    snip_ldt = set_ldt(0, LIN_CODE, 0xffff, 2) && set_ldt(1, LIN_DATA, DATA_SIZE - 1, 0) &&
             set_ldt(2, LIN_STACK, STACK_SIZE - 1, 0) && set_ldt(3, LIN_DATA + 0x1000, 0x1fff, 0) &&
             set_ldt(4, LIN_DATA, 0xfff, 1) && set_ldt(5, LIN + BIG_OFF, BIG_SIZE - 1, 0);
    /* 64-bit code never looks at these; 32-bit code needs them. */
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(SEL_UDS));
    memset(&sa, 0, sizeof(sa));
    sa.sa_sigaction = on_signal;
    sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
        sigaction(sigs[i], &sa, &old_action[sigs[i]]);
}

void native_set_ro_page(const uint8_t *bytes)
{
    mprotect(native_win + RO_OFF, 4096, PROT_READ | PROT_WRITE);
    memcpy(native_win + RO_OFF, bytes, 4096);
    mprotect(native_win + RO_OFF, 4096, PROT_READ | PROT_EXEC);
}

void native_own_window(const uint8_t *win)
{
    for (uint32_t off = 0; off <= ALIAS_OFF; off += ALIAS_OFF)
        munmap(native_win + off, WIN_SIZE);
    map_window();
    memcpy(native_win, win, WIN_SIZE);
    protect_window();
}

bool native_has_mode(enum snip_mode mode)
{
    return !snip_is16(mode) || snip_ldt;
}

void __attribute__((noinline)) native_run(enum snip_mode mode, const struct snip_state *in, struct snip_state *out)
{
    run_in = in;
    run_out = out;
    run_mode = mode;
    *out = *in;
    phase = START;
    /* Of these flags the kernel keeps what the interrupted code had. */
    uint64_t keep = ~0x204000ull, set = in->rflags & 0x204000;
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushf; and %0, (%%rsp); or %1, (%%rsp); popf\n\t"
                     "int3\n\t"
                     "pushf; and %0, (%%rsp); popf; lea 128(%%rsp), %%rsp" : : "r"(keep), "r"(set) : "memory", "cc");
}
