/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-perfmap.c - tells Linux' perf what the code cache holds (property perfmap=).
 *
 * /tmp/perf-PID.map: one line "address size name" per block (tools/perf/Documentation/jit-interface.txt of the kernel's
 *   sources).  perf looks names up when it reports, so the file can only say what was at an address at the end: a flush
 *   of the code cache empties it, and between two flushes no address is used twice.
 * /tmp/jit-PID.dump: one record per block with time and code (jitdump-specification.txt there).  `perf inject --jit`
 *   makes an ELF file of each and sorts by time, so it is right across flushes.  perf finds the dump by a page of it that
 *   is mapped executable.
 *
 * Names are user64:LIP and the like: mode and linear address of the first instruction, in hex; .cold behind it: the part
 * that is rarely run (slow accesses, exits); xbt:NAME for the code around blocks (thunks.c).  Both files stay when QEMU ends, because that is when perf reads them; if no block was ever
 * made they go.  They are made anew, for the user alone, and never through a link.
 *
 * Locks: `lock`, taken last.  Called with the FP state parked.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"
#include "translator/exec.h"

#include <elf.h>
#include <sys/mman.h>
#include <sys/uio.h>

/* Of the specification. */
#define JITDUMP_MAGIC 0x4a695444u
#define JIT_CODE_LOAD 0u

struct dump_header {
    uint32_t magic, version, total_size, elf_mach, pad, pid;
    uint64_t timestamp, flags;
};
struct dump_load {
    uint32_t id, total_size;
    uint64_t timestamp;
    uint32_t pid, tid;
    uint64_t vma, code_addr, code_size, code_index;
};

struct out {
    char path[64];
    int fd;         /* -1: not wanted, or given up */
    off_t size;
};

static struct out map = { .fd = -1 }, dump = { .fd = -1 };
static QemuMutex lock;
static uint64_t n_blocks, n_loads;

static void give_up(struct out *o, const char *doing)
{
    warn_report("xbt: perfmap: %s %s: %s; it ends here", doing, o->path, strerror(errno));
    close(o->fd);
    o->fd = -1;
}

/* All of it or nothing: a reader must not meet half a record. */
static void put(struct out *o, const struct iovec *v, int n)
{
    size_t want = iov_size(v, n);
    ssize_t done = writev(o->fd, v, n);

    if (done == want) {
        o->size += done;
        return;
    }
    if (done >= 0) {
        errno = ENOSPC;
    }
    int saved = errno;
    if (done > 0 && ftruncate(o->fd, o->size) < 0) {
        saved = errno;
    }
    errno = saved;
    give_up(o, "cannot write to");
}

static void put_name(const void *code, size_t size, const char *name)
{
    char line[128];
    struct iovec v = { line, 0 };

    v.iov_len = snprintf(line, sizeof(line), "%" PRIxPTR " %zx %s\n", (uintptr_t)code, size, name);
    put(&map, &v, 1);
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t); /* perf record -k 1 */
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void put_load(const void *code, size_t size, const char *name)
{
    size_t len = strlen(name) + 1;
    struct dump_load r = {
        .id = JIT_CODE_LOAD, .total_size = sizeof(r) + len + size, .timestamp = now(), .pid = getpid(),
        .tid = qemu_get_thread_id(), .vma = (uintptr_t)code, .code_addr = (uintptr_t)code, .code_size = size,
        .code_index = n_loads++,
    };
    struct iovec v[] = { { &r, sizeof(r) }, { (void *)name, len }, { (void *)code, size } };

    put(&dump, v, ARRAY_SIZE(v));
}

static void put_code(const void *code, size_t size, const char *name)
{
    if (map.fd >= 0) {
        put_name(code, size, name);
    }
    if (dump.fd >= 0) {
        put_load(code, size, name);
    }
}

static void put_thunk(const char *name, const void *code, size_t size, void *arg)
{
    g_autofree char *full = g_strdup_printf("xbt:%s", name);

    if (arg) {
        put_code(code, size, full);
    } else if (map.fd >= 0) {
        put_name(code, size, full);
    }
}

static const char *mode_name(uint32_t hflags)
{
    bool user = (hflags & HF_CPL_MASK) == 3;

    if (!(hflags & HF_PE)) {
        return "real16";
    }
    if (hflags & HF_VM) {
        return "v86";
    }
    switch (hflags & HF_CODE_MASK) {
    case HF_CODE64:
        return user ? "user64" : "kernel64";
    case HF_CODE32:
        return user ? "user32" : "kernel32";
    default:
        return user ? "user16" : "kernel16";
    }
}

void xbt_perfmap_made(struct guest_cpu *c, const struct tb *tb)
{
    char name[64];
    int len = snprintf(name, sizeof(name), "%s%s:%" PRIx64, tb->key.hflags & HF_NESTED ? "nested-" : "",
                       mode_name(tb->key.hflags), tb->key.lip);

    qemu_mutex_lock(&lock);
    n_blocks++;
    put_code(tb_entry(tb), tb->hot_size, name);
    if (tb->cold_size) {
        snprintf(name + len, sizeof(name) - len, ".cold");
        put_code(tb_cold(tb), tb->cold_size, name);
    }
    qemu_mutex_unlock(&lock);
}

void xbt_perfmap_flushed(struct guest_cpu *c)
{
    qemu_mutex_lock(&lock);
    if (map.fd >= 0) {
        if (ftruncate(map.fd, 0) < 0) {
            give_up(&map, "cannot empty");
        } else {
            map.size = 0;
            thunks_each(put_thunk, NULL);
        }
    }
    qemu_mutex_unlock(&lock);
}

const char *xbt_perfmap_path(uint32_t which)
{
    const struct out *o = which == XBT_PERF_MAP ? &map : &dump;

    return o->fd >= 0 ? o->path : NULL;
}

/* ---- start and end ---- */

/* What an earlier process of this number left is in the way; nothing but our own plain file is taken away. */
static void remove_stale(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid()) {
        unlink(path);
    }
}

static bool out_open(struct out *o, const char *what, const char *format, Error **errp)
{
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_APPEND;

    snprintf(o->path, sizeof(o->path), format, (int)getpid());
    remove_stale(o->path);
    o->fd = open(o->path, flags, 0600);
    if (o->fd < 0) {
        error_setg_errno(errp, errno, "xbt: perfmap: cannot make the %s %s", what, o->path);
        return false;
    }
    return true;
}

static bool dump_begin(Error **errp)
{
    struct dump_header h = {
        .magic = JITDUMP_MAGIC, .version = 1, .total_size = sizeof(h), .elf_mach = EM_X86_64, .pid = getpid(),
        .timestamp = now(),
    };
    struct iovec v = { &h, sizeof(h) };

    put(&dump, &v, 1);
    if (dump.fd < 0) {
        error_setg(errp, "xbt: perfmap: cannot write to %s", dump.path);
        return false;
    }
    /* The mark by which perf finds the file; it stays for the life of the process. */
    if (mmap(NULL, qemu_real_host_page_size(), PROT_READ | PROT_EXEC, MAP_PRIVATE, dump.fd, 0) == MAP_FAILED) {
        error_setg_errno(errp, errno, "xbt: perfmap: cannot map %s executable, by which perf finds it "
                         "(perfmap=map does without)", dump.path);
        return false;
    }
    return true;
}

static void out_remove(struct out *o)
{
    if (o->fd >= 0) {
        unlink(o->path);
        close(o->fd);
        o->fd = -1;
    }
}

static void at_exit(Notifier *n, void *data)
{
    qemu_mutex_lock(&lock);
    if (!n_blocks) {
        out_remove(&map);
        out_remove(&dump);
    }
    qemu_mutex_unlock(&lock);
}

bool xbt_perfmap_init(uint32_t what, Error **errp)
{
    static Notifier end = { .notify = at_exit };

    qemu_mutex_init(&lock);
    if (((what & XBT_PERF_MAP) && !out_open(&map, "perf map", "/tmp/perf-%d.map", errp)) ||
        ((what & XBT_PERF_DUMP) && (!out_open(&dump, "jitdump", "/tmp/jit-%d.dump", errp) || !dump_begin(errp)))) {
        out_remove(&map);
        out_remove(&dump);
        return false;
    }
    thunks_each(put_thunk, &map);
    qemu_add_exit_notifier(&end);
    return true;
}
