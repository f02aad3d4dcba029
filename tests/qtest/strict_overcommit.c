/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host that takes every writable mapping at its word, for one process.
 *
 * With vm.overcommit_memory=2 the kernel charges each private writable (and
 * each shared anonymous) mapping in full, MAP_NORESERVE or not, and refuses
 * what exceeds its limit (Documentation/mm/overcommit-accounting).  Setting
 * that for a test would change the whole machine, so this object, preloaded,
 * refuses single charges above 1 GiB.  It does not add charges up.
 */
#undef _FILE_OFFSET_BITS /* mmap and mmap64 are both defined here */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIMIT ((size_t)1 << 30)

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

static bool is_charged(size_t len, int prot, int flags)
{
    bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;

    return len > LIMIT && (shared ? (flags & MAP_ANONYMOUS) != 0 : (prot & PROT_WRITE) != 0);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (is_charged(len, prot, flags)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
}

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    return mmap(addr, len, prot, flags, fd, offset);
}

int mprotect(void *addr, size_t len, int prot)
{
    if (is_charged(len, prot, MAP_PRIVATE)) {
        errno = ENOMEM;
        return -1;
    }
    return syscall(SYS_mprotect, addr, len, prot);
}
