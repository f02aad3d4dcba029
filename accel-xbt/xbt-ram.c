/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-ram.c - guest RAM that can be mapped a second time (tlb/hostmap.h).
 *
 * RAM that QEMU shares already (memory-backend-memfd, or -file with share=on) is entered as it is.  Anonymous memory,
 * what -m alone gives, gets a file: a memfd is mapped in its place, at the same address, before a device or the guest
 * knows of it.  QEMU is told of the file: it must punch holes where a balloon discards pages, and closes it in the end.
 * RAM stays anonymous, and its pages stay out of hot mappings, when
 *   - somebody has decided where its pages come from (NUMA policy, preallocation),
 *   - it enters the memory map (as video memory does when its BAR is set) while QEMU waits for faults in it, which
 *     those of a new mapping would not be,
 *   - the kernel refuses.
 * Nothing is mapped a second time while QEMU wants to see faults in its own mapping: in a background snapshot, which
 * write-protects it, and while pages come in after the guest has been started (postcopy).
 * All under the BQL, with the exception of postcopy_changed().
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#include "accel-xbt/xbt-accel.h"
#include "exec/ramblock.h"
#include "migration/misc.h"
#include "tlb/hostmap.h"

/* migration.h and postcopy-ram.h are not installed. */
bool migrate_background_snapshot(void);
void postcopy_add_notifier(NotifierWithReturn *nn);
struct postcopy_notice {
    enum { PC_PROBE, PC_ADVISE, PC_LISTEN, PC_END } reason;
    Error **errp;
};

#define MIN_SIZE (16 * MiB) /* smaller ones are firmware and video memory */
#define FILE_NAME "xbt-ram"
#define CHUNK (1u << 18)    /* pages looked at with one mincore() */

struct shared_ram {
    MemoryRegion *mr;
    uint8_t *host;
};
static GArray *blocks;
static unsigned forbidden; /* HM_SNAPSHOT, HM_POSTCOPY; PC_END comes in a thread of QEMU's */

static void forbid(unsigned why, bool on)
{
    on ? qatomic_or(&forbidden, why) : qatomic_and(&forbidden, ~why);
    hm_forbid(why, on);
}

static bool default_policy(void *p)
{
    int mode = -1;

    return syscall(SYS_get_mempolicy, &mode, NULL, 0, p, 2 /* MPOL_F_ADDR */) == 0 ? mode == 0 : errno == ENOSYS;
}

/* Copy what has been written so far; false when that is so much that somebody must have preallocated. */
static bool copy_resident(uint8_t *to, const uint8_t *from, uint64_t size)
{
    size_t page = qemu_real_host_page_size(), pages = size / page, limit = pages / 4, n = 0;
    g_autofree unsigned char *vec = g_malloc(CHUNK);

    for (size_t at = 0; at < pages; at += CHUNK) {
        size_t count = MIN(pages - at, CHUNK);

        if (mincore((void *)(from + at * page), count * page, vec)) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            if (vec[i] & 1) {
                if (++n > limit) {
                    return false;
                }
                memcpy(to + (at + i) * page, from + (at + i) * page, page);
            }
        }
    }
    return true;
}

static int give_file(uint8_t *host, uint64_t size)
{
    int fd = memfd_create(FILE_NAME, MFD_CLOEXEC);
    uint8_t *tmp = MAP_FAILED;
    bool ok = false;

    if (fd >= 0 && ftruncate(fd, size) == 0) {
        tmp = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    }
    if (tmp != MAP_FAILED) {
        ok = copy_resident(tmp, host, size) &&
             mmap(host, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == host;
        munmap(tmp, size);
    }
    if (!ok) {
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    madvise(host, size, MADV_HUGEPAGE);
    if (!machine_dump_guest_core(current_machine)) {
        madvise(host, size, MADV_DONTDUMP);
    }
    return fd;
}

/* RAM that left the memory map and comes again has the file that it got the first time. */
static bool is_our_file(int fd)
{
    g_autofree char *name = g_strdup_printf("/proc/self/fd/%d", fd);
    char to[32];
    ssize_t n = readlink(name, to, sizeof(to) - 1);

    return n > 0 && (to[n] = 0, g_str_has_prefix(to, "/memfd:" FILE_NAME));
}

void xbt_ram_share(MemoryRegion *mr)
{
    uint64_t size = memory_region_size(mr);
    struct shared_ram b = { mr, memory_region_get_ram_ptr(mr) };
    int fd = memory_region_get_fd(mr);

    if (xbt_vm.opt.no_hostmap || !xbt_vm.opt.host_bmi2 || memory_region_is_rom(mr) || memory_region_is_ram_device(mr) ||
        size < MIN_SIZE || size % qemu_real_host_page_size()) {
        return;
    }
    if (!blocks) {
        blocks = g_array_new(false, false, sizeof(struct shared_ram));
    }
    for (unsigned i = 0; i < blocks->len; i++) {
        if (g_array_index(blocks, struct shared_ram, i).mr == mr) {
            return;
        }
    }
    if (fd >= 0) {
        if (!qemu_ram_is_shared(mr->ram_block) && !is_our_file(fd)) {
            return;
        }
    } else {
        if (qemu_ram_pagesize(mr->ram_block) != qemu_real_host_page_size() || qemu_ram_is_shared(mr->ram_block) ||
            !default_policy(b.host) || qatomic_read(&forbidden)) {
            return;
        }
        fd = mr->ram_block->fd = give_file(b.host, size);
    }
    if (fd >= 0) {
        hm_ram_add(b.host, size, fd, 0);
        g_array_append_val(blocks, b);
    }
}

void xbt_ram_forget(MemoryRegion *mr)
{
    for (unsigned i = 0; blocks && i < blocks->len; i++) {
        struct shared_ram *b = &g_array_index(blocks, struct shared_ram, i);

        if (b->mr == mr) {
            hm_ram_del(b->host);
            g_array_remove_index_fast(blocks, i);
            return;
        }
    }
}

static void migration_changed(Notifier *n, void *state)
{
    if (!migrate_background_snapshot()) {
        return;
    }
    if (migration_in_setup(state)) {
        forbid(HM_SNAPSHOT, true);
        xbt_memory_flush();
    } else if (migration_has_finished(state) || migration_has_failed(state)) {
        forbid(HM_SNAPSHOT, false);
    }
}

/* PC_LISTEN: the guest does not run yet.  PC_END: in a thread of QEMU's. */
static int postcopy_changed(NotifierWithReturn *n, void *data)
{
    const struct postcopy_notice *notice = data;

    if (notice->reason == PC_LISTEN || notice->reason == PC_END) {
        forbid(HM_POSTCOPY, notice->reason == PC_LISTEN);
    }
    return 0;
}

void xbt_ram_init(void)
{
    static Notifier notifier = { .notify = migration_changed };

    static NotifierWithReturn postcopy = { .notify = postcopy_changed };

    add_migration_state_change_notifier(&notifier);
    postcopy_add_notifier(&postcopy);
}
