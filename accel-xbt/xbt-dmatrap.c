/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-dmatrap.c - vCPUs learn of a device's write into a page with code before the device says that it is done.
 *
 * QEMU marks what a device wrote in the DIRTY_MEMORY_VGA bitmap (xbt-dirty.c), only where the bit was clear, and before
 * the device reports completion.  Bits are clear for watched code pages only, so a write to the bitmap is rare and
 * means just what we want to know.  The bitmap's memory is therefore replaced by a mapping that QEMU cannot write, with
 * a writable alias for our own use:
 *
 *   SIGSEGV in the device's thread   its page is made writable, the thread single-steps
 *   SIGTRAP behind the instruction   the bit is set: protect again; every vCPU gets an exit request and loses its
 *                                    cross-page ids
 *
 * A display's memory may share a page of the bitmap with code, and its every write is marked: the two instructions that
 * do so are executed by the first handler, through the alias, with no second signal.
 *
 * Then the device goes on to its completion.  A guest that sees it, in RAM, finds one of the two at its next backward,
 * indirect or cross-page exit, comes to the vCPU loop and there to tb_check_dma(), which finds the bit.
 * Left: forward jumps within the page that is written (tb_check_dma() at the next exit of another kind).
 *
 * Where memory for the alias is refused all works without: device writes are found at the engine's own checks.
 * Handlers run in any thread; they use atomics, mprotect() and gettid() only.
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include "accel-xbt/xbt-accel.h"

#define BLOCK_BYTES (DIRTY_MEMORY_BLOCK_SIZE / 8)
#define BITMAP_PAGE 4096u
#define MAX_BLOCKS 512u /* of 8 GiB of guest memory */
#define MAX_STEPS 64u
#define EFL_TF 0x100

/* QEMU's pointer is `ro`. */
static struct block {
    uint8_t *ro, *rw;
    unsigned long *code; /* pages with code: only their marks concern the vCPUs */
    bool covered[BLOCK_BYTES / BITMAP_PAGE];
} blocks[MAX_BLOCKS];
static unsigned n_blocks; /* blocks [0, n_blocks) may have mappings */

/* Threads between the two signals. */
static struct step {
    int tid;
    bool was_blocked;
    uint8_t *page, *addr;
} steps[MAX_STEPS];

static struct sigaction old_segv, old_trap;

static struct step *step_of(int tid, bool make)
{
    for (unsigned i = 0; i < MAX_STEPS; i++) {
        if (qatomic_read(&steps[i].tid) == tid) {
            return &steps[i];
        }
    }
    for (unsigned i = 0; make && i < MAX_STEPS; i++) {
        if (qatomic_cmpxchg(&steps[i].tid, 0, tid) == 0) {
            return &steps[i];
        }
    }
    return NULL;
}

static void tell_vcpus(void)
{
    for (unsigned i = 0; i < qatomic_load_acquire(&xbt_vm.n_cpus); i++) {
        struct guest_cpu *c = qatomic_read(&xbt_vm.cpus[i]);

        tlb_cp_revoke(c);
        cpu_kick(c, XREQ_POLL);
    }
}

static void pass_on(const struct sigaction *old, int sig, siginfo_t *si, void *uc)
{
    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, si, uc);
    } else if (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN) {
        signal(sig, SIG_DFL); /* a fault happens again, with the default action */
        if (sig == SIGTRAP) {
            raise(sig);
        }
    } else {
        old->sa_handler(sig);
    }
}

static struct block *block_of(const uint8_t *addr)
{
    unsigned n = qatomic_load_acquire(&n_blocks);

    for (unsigned i = 0; i < n; i++) {
        if (blocks[i].ro && (uintptr_t)addr - (uintptr_t)blocks[i].ro < BLOCK_BYTES) {
            return &blocks[i];
        }
    }
    return NULL;
}

/* The instruction wrote at addr, at most 64 bytes.  A display that clears its own marks does not disturb anybody. */
static bool concerns_code(const uint8_t *addr)
{
    const struct block *b = block_of(addr);
    size_t first = (size_t)(addr - b->ro) / sizeof(long), last = MIN(first + 8, BLOCK_BYTES / sizeof(long) - 1);

    for (size_t i = first; i <= last; i++) {
        if (qatomic_read(&b->code[i])) {
            return true;
        }
    }
    return false;
}

/* ---- the instructions of QEMU's bitmap_set_atomic() and bitmap_copy_and_clear_atomic() ---- */

static const uint8_t greg_of[16] = {
    13 /* RAX */, 14 /* RCX */, 12 /* RDX */, 11 /* RBX */, 15 /* RSP */, 10 /* RBP */, 9 /* RSI */, 8 /* RDI */,
    0 /* R8 */, 1, 2, 3, 4, 5, 6, 7 /* R15 */
};
#define GREG_RIP 16

/* Bytes of ModRM, SIB and displacement of a memory operand (SDM vol. 2, tables 2-2 and 2-3). */
static unsigned modrm_length(const uint8_t *p)
{
    unsigned mod = p[0] >> 6, rm = p[0] & 7, n = 1 + (rm == 4);

    if (mod == 1) {
        return n + 1;
    }
    return n + (mod == 2 || rm == 5 || (rm == 4 && (p[1] & 7) == 5) ? 4 : 0);
}

/* LOCK OR m64,r64 or XCHG m64,r64 on the word at addr: done, and RIP is behind it.  No caller uses the flags of the OR. */
static bool do_here(ucontext_t *uc, uint8_t *addr)
{
    greg_t *greg = uc->uc_mcontext.gregs;
    const uint8_t *p = (const uint8_t *)greg[GREG_RIP];
    const struct block *b = block_of(addr);
    size_t word = (size_t)(addr - b->ro) / sizeof(long);
    unsigned long *at = (unsigned long *)b->rw + word;
    bool lock = *p == 0xf0;
    greg_t *reg;

    p += lock;
    if ((p[0] & 0xf8) != 0x48 || p[1] != (lock ? 0x09 : 0x87) || p[2] >= 0xc0 || (uintptr_t)addr % sizeof(long)) {
        return false;
    }
    reg = &greg[greg_of[(p[2] >> 3 & 7) | (p[0] & 4 ? 8 : 0)]];
    if (!lock) {
        *reg = qatomic_xchg(at, *reg);
    } else {
        qatomic_or(at, *reg);
        if (*reg & qatomic_read(&b->code[word])) {
            tell_vcpus();
        }
    }
    greg[GREG_RIP] = (greg_t)(p + 2 + modrm_length(p + 2));
    return true;
}

static void on_segv(int sig, siginfo_t *si, void *ctx)
{
    uint8_t *addr = si->si_addr, *page = addr - (uintptr_t)addr % BITMAP_PAGE;
    ucontext_t *uc = ctx;
    struct step *s;

    if (si->si_code != SEGV_ACCERR || !block_of(addr)) {
        pass_on(&old_segv, sig, si, ctx);
        return;
    }
    if (do_here(uc, addr)) {
        return;
    }
    s = step_of(syscall(SYS_gettid), true);
    if (s && !s->page) {
        s->was_blocked = sigismember(&uc->uc_sigmask, SIGTRAP) == 1;
        sigdelset(&uc->uc_sigmask, SIGTRAP); /* QEMU's threads block it: it would kill the process */
        uc->uc_mcontext.gregs[REG_EFL] |= EFL_TF;
    }
    if (s) {
        s->page = page;
        s->addr = addr;
    }
    mprotect(page, BITMAP_PAGE, PROT_READ | PROT_WRITE);
}

static void on_trap(int sig, siginfo_t *si, void *ctx)
{
    ucontext_t *uc = ctx;
    struct step *s = step_of(syscall(SYS_gettid), false);
    bool tell;

    if (!s || !s->page) {
        pass_on(&old_trap, sig, si, ctx);
        return;
    }
    mprotect(s->page, BITMAP_PAGE, PROT_READ);
    uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)EFL_TF;
    if (s->was_blocked) {
        sigaddset(&uc->uc_sigmask, SIGTRAP);
    }
    tell = concerns_code(s->addr);
    s->page = NULL;
    qatomic_store_release(&s->tid, 0);
    if (tell) {
        tell_vcpus();
    }
}

static void install(int sig, void (*fn)(int, siginfo_t *, void *), struct sigaction *old)
{
    struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    sigfillset(&sa.sa_mask);
    sigdelset(&sa.sa_mask, SIGSEGV);
    sigaction(sig, &sa, old);
}

static bool map_block(struct block *b)
{
    int fd = memfd_create("xbt-dirty", MFD_CLOEXEC);
    uint8_t *ro = MAP_FAILED, *rw = MAP_FAILED;
    void *code = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (fd >= 0 && ftruncate(fd, BLOCK_BYTES) == 0) {
        rw = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ro = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (rw != MAP_FAILED && ro != MAP_FAILED && code != MAP_FAILED) {
        b->code = code;
        b->rw = rw;
        b->ro = ro;
        return true;
    }
    if (rw != MAP_FAILED) {
        munmap(rw, BLOCK_BYTES);
    }
    if (ro != MAP_FAILED) {
        munmap(ro, BLOCK_BYTES);
    }
    if (code != MAP_FAILED) {
        munmap(code, BLOCK_BYTES);
    }
    return false;
}

/* Everything counts as written in the new memory: that is also the state of pages that nobody has looked at. */
void xbt_dmatrap_prepare(uint64_t ram_addr, uint64_t size)
{
    static bool installed;
    uint64_t per_block = (uint64_t)DIRTY_MEMORY_BLOCK_SIZE << TARGET_PAGE_BITS;
    DirtyMemoryBlocks *d;

    RCU_READ_LOCK_GUARD();
    d = qatomic_rcu_read(&ram_list.dirty_memory[DIRTY_MEMORY_VGA]);
    for (uint64_t i = ram_addr / per_block; i <= (ram_addr + size - 1) / per_block && i < MAX_BLOCKS; i++) {
        if (blocks[i].ro || !map_block(&blocks[i])) {
            continue;
        }
        if (!installed) {
            installed = true;
            install(SIGSEGV, on_segv, &old_segv);
            install(SIGTRAP, on_trap, &old_trap);
        }
        memset(blocks[i].rw, 0xff, BLOCK_BYTES);
        qatomic_store_release(&n_blocks, MAX(n_blocks, i + 1));
        qatomic_set(&d->blocks[i], (unsigned long *)blocks[i].ro);
    }
}

unsigned long *xbt_dmatrap_word(uint64_t page)
{
    uint64_t i = page / DIRTY_MEMORY_BLOCK_SIZE;

    if (i >= qatomic_load_acquire(&n_blocks) || !blocks[i].rw) {
        return NULL;
    }
    return (unsigned long *)blocks[i].rw + BIT_WORD(page % DIRTY_MEMORY_BLOCK_SIZE);
}

void xbt_dmatrap_watch(uint64_t ram_addr, bool on)
{
    uint64_t page = ram_addr >> TARGET_PAGE_BITS, i = page / DIRTY_MEMORY_BLOCK_SIZE;
    unsigned in_block = page % DIRTY_MEMORY_BLOCK_SIZE, at = in_block / 8 / BITMAP_PAGE;

    if (i >= qatomic_load_acquire(&n_blocks) || !blocks[i].ro) {
        return;
    }
    if (!on) {
        qatomic_and(&blocks[i].code[BIT_WORD(in_block)], ~BIT_MASK(in_block));
        return;
    }
    qatomic_or(&blocks[i].code[BIT_WORD(in_block)], BIT_MASK(in_block));
    if (qatomic_read(&blocks[i].covered[at])) {
        return;
    }
    qatomic_set(&blocks[i].covered[at], true);
    mprotect(blocks[i].ro + at * BITMAP_PAGE, BITMAP_PAGE, PROT_READ);
}
