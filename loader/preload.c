/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The preload object: makes stock QEMU know the module accel-xbt-x86_64.
 *
 * `-accel xbt` makes QEMU ask its module loader for the QOM type "xbt-accel".
 * The loader only consults a table compiled into the binary, qemu_modinfo.
 * The constructor here registers a callback that runs when QEMU initialises
 * its types: it hands QEMU a copy of that table with one more row.  From then
 * on QEMU finds, checks and loads the module by itself.
 *
 * QEMU 10 and later do not say why a module was refused.  So when xbt is
 * asked for on the command line, the callback first looks whether the module
 * is there and carries the stamp the binary wants, and says what is wrong.
 *
 * Every QEMU symbol is weak: in any other program this object does nothing.
 * In QEMU it takes itself out of LD_PRELOAD, so that QEMU's own children
 * (migration helpers, network scripts) do not see it.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- QEMU's side (include/qemu/module.h) -------------------------------- */

struct QemuModinfo {
    const char *name;
    const char *arch;
    const char **objs;
    const char **deps;
    const char **opts;
};

extern const struct QemuModinfo qemu_modinfo[] __attribute__((weak));
extern void register_module_init(void (*fn)(void), int type)
    __attribute__((weak));
extern void module_init_info(const struct QemuModinfo *info)
    __attribute__((weak));

/*
 * MODULE_INIT_QOM is 3 in 7.2 and 10.0 and another number later.  The
 * callback may run any number of times, so it is registered for every type
 * that all releases have.
 */
enum { MODULE_INIT_TYPES = 6 };

#define MODULE_NAME "accel-xbt-x86_64"
#define MODULE_FILE MODULE_NAME ".so"

static const char *module_objs[] = {
    "xbt-accel", "xbt-accel-ops", "xbt-accel-x86_64-cpu", NULL,
};

static const struct QemuModinfo module_row = {
    .name = MODULE_NAME,
    .arch = "x86_64",
    .objs = module_objs,
};

/* ---- what the command line asks for ------------------------------------- */

enum request {
    XBT_NOT_ASKED,
    XBT_ONE_OF_SEVERAL, /* QEMU falls back to another: warn only */
    XBT_ASKED,
};

static enum request request;

static bool is_option(const char *arg, const char *name)
{
    if (*arg != '-') {
        return false;
    }
    arg += arg[1] == '-' ? 2 : 1;
    return strcmp(arg, name) == 0;
}

/* Does the list @names, ended by @end or ',', hold xbt, and how many? */
static void count_names(const char *names, char separator, int *total,
                        bool *found)
{
    while (*names && *names != ',') {
        const char stops[] = {',', separator, 0};
        size_t len = strcspn(names, stops);

        *total += 1;
        *found |= len == 3 && strncmp(names, "xbt", 3) == 0;
        names += len;
        if (separator && *names == separator) {
            names++;
        }
    }
}

/* The value of accel= in a -machine option, NULL when there is none. */
static const char *machine_accel(const char *value)
{
    for (const char *p = value; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, "accel=", 6) == 0) {
            return p + 6;
        }
    }
    return NULL;
}

static enum request parse_request(int argc, char **argv)
{
    int total = 0;
    bool found = false;

    for (int i = 1; i + 1 < argc; i++) {
        const char *value = argv[i + 1];

        if (is_option(argv[i], "accel")) {
            value += strncmp(value, "accel=", 6) == 0 ? 6 : 0;
            count_names(value, 0, &total, &found);
            i++;
        } else if (is_option(argv[i], "machine") || is_option(argv[i], "M")) {
            value = machine_accel(value);
            if (value) {
                count_names(value, ':', &total, &found);
            }
            i++;
        }
    }
    if (!found) {
        return XBT_NOT_ASKED;
    }
    return total > 1 ? XBT_ONE_OF_SEVERAL : XBT_ASKED;
}

/* ---- builds and stamps --------------------------------------------------- */

#define STAMP_PREFIX "qemu_stamp_"
enum { STAMP_DIGITS = 40 };

struct build {
    char stamp[STAMP_DIGITS + 1];
    char version[160]; /* for people; "" when unknown */
    bool complete;     /* of a module: the file holds all of it */
};

/* Copy from @from, after @prefix, up to the first of @stops. */
static void copy_after(char *to, size_t size, const char *from, size_t len,
                       const char *prefix, const char *stops)
{
    size_t skip = strlen(prefix);
    size_t n = 0;

    while (skip + n < len && n + 1 < size && from[skip + n] &&
           !strchr(stops, from[skip + n])) {
        to[n] = from[skip + n];
        n++;
    }
    to[n] = 0;
}

/* Look for stamp and version text in @len bytes at @data. */
static void scan_build(struct build *build, const char *data, size_t len,
                       const char *version_prefix)
{
    const char *end = data + len;
    const char *p = data;

    while (!build->stamp[0] && p < end &&
           (p = memmem(p, end - p, STAMP_PREFIX, strlen(STAMP_PREFIX)))) {
        size_t digits = 0;

        p += strlen(STAMP_PREFIX);
        while (p + digits < end && digits < STAMP_DIGITS && p[digits] &&
               strchr("0123456789abcdef", p[digits])) {
            digits++;
        }
        if (digits == STAMP_DIGITS) {
            memcpy(build->stamp, p, STAMP_DIGITS);
        }
    }
    p = memmem(data, len, version_prefix, strlen(version_prefix));
    if (p && !build->version[0]) {
        copy_after(build->version, sizeof(build->version), p, end - p,
                   version_prefix, "\n");
    }
}

/* The running binary's read-only segments hold the stamp it asks for. */
static int scan_main_program(struct dl_phdr_info *info, size_t size,
                             void *opaque)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

        if (ph->p_type == PT_LOAD && (ph->p_flags & PF_R) &&
            !(ph->p_flags & (PF_W | PF_X))) {
            scan_build(opaque, (const char *)info->dlpi_addr + ph->p_vaddr,
                       ph->p_filesz, "QEMU emulator version ");
        }
    }
    return 1; /* the main program comes first: no other is wanted */
}

/* Are all segments in the file?  The dynamic linker would die of SIGBUS. */
static bool is_complete(const char *data, size_t len)
{
    const ElfW(Ehdr) *eh = (const void *)data;
    const ElfW(Phdr) *ph;

    if (len < sizeof(*eh) || eh->e_phentsize != sizeof(*ph) ||
        eh->e_phoff % sizeof(uint64_t) || eh->e_phoff > len ||
        eh->e_phnum > (len - eh->e_phoff) / sizeof(*ph)) {
        return false;
    }
    ph = (const void *)(data + eh->e_phoff);
    for (int i = 0; i < eh->e_phnum; i++) {
        if (ph[i].p_type == PT_LOAD &&
            (ph[i].p_offset > len || ph[i].p_filesz > len - ph[i].p_offset)) {
            return false;
        }
    }
    return true;
}

static bool scan_module(struct build *build, const char *path)
{
    struct stat st;
    void *map = MAP_FAILED;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
        map = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (map == MAP_FAILED) {
        return false;
    }
    scan_build(build, map, st.st_size, "xbt-built-for: ");
    build->complete = is_complete(map, st.st_size);
    munmap(map, st.st_size);
    return true;
}

/* ---- the check ----------------------------------------------------------- */

static void report(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* One line; ends QEMU unless it may fall back to another accelerator. */
static void report(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "qemu-xbt: %s: ",
            request == XBT_ASKED ? "error" : "warning");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    if (request == XBT_ASKED) {
        exit(1);
    }
}

/* The file QEMU's loader will take; false when there is none. */
static bool find_module(char *path, size_t size, const char *exe_dir)
{
    const char *dir = getenv("QEMU_MODULE_DIR");

    if (dir) {
        snprintf(path, size, "%s/%s", dir, MODULE_FILE);
        if (access(path, F_OK) == 0) {
            return true;
        }
    }
    snprintf(path, size, "%s/../lib/x86_64-linux-gnu/qemu/%s", exe_dir,
             MODULE_FILE);
    return access(path, F_OK) == 0;
}

static void check_module(void)
{
    char exe[PATH_MAX] = "", exe_dir[PATH_MAX], path[PATH_MAX + 64];
    struct build ours = {0}, theirs = {0};
    const char *dir = getenv("QEMU_MODULE_DIR");
    ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

    exe[len > 0 ? len : 0] = 0;
    strcpy(exe_dir, exe);
    if (strrchr(exe_dir, '/')) {
        *strrchr(exe_dir, '/') = 0;
    }

    if (!find_module(path, sizeof(path), exe_dir)) {
        report("module " MODULE_FILE " not found in %s: build or install xbt, "
               "or set QEMU_MODULE_DIR to its directory",
               dir ? dir : "QEMU's module directory");
        return;
    }
    if (!scan_module(&ours, path)) {
        report("cannot read module %s: %s", path, strerror(errno));
        return;
    }
    dl_iterate_phdr(scan_main_program, &theirs);
    if (ours.stamp[0] && !ours.complete) {
        report("%s is incomplete: build or install xbt again", path);
    } else if (!ours.stamp[0]) {
        report("%s is not a QEMU module: it has no build stamp", path);
    } else if (!theirs.stamp[0]) {
        report("%s loads no modules: it was built without a module stamp",
               exe);
    } else if (strcmp(ours.stamp, theirs.stamp) != 0) {
        report("module %s was built for QEMU %s, stamp %s, but %s is QEMU %s, "
               "stamp %s: build xbt again for this QEMU package",
               path, ours.version[0] ? ours.version : "(unknown)", ours.stamp,
               exe, theirs.version[0] ? theirs.version : "(unknown)",
               theirs.stamp);
    }
}

/* ---- registration -------------------------------------------------------- */

static void announce_module(void)
{
    static struct QemuModinfo *table;
    size_t rows = 0;

    if (!table) {
        while (qemu_modinfo[rows].name) {
            rows++;
        }
        /* One more row, and the end marker; lives as long as QEMU. */
        table = calloc(rows + 2, sizeof(*table));
        if (!table) {
            return;
        }
        memcpy(table, qemu_modinfo, rows * sizeof(*table));
        table[rows] = module_row;
        if (request != XBT_NOT_ASKED) {
            check_module();
        }
    }
    module_init_info(table);
}

/* Take this object's entry out of LD_PRELOAD, leave the others in order. */
static void leave_environment(void)
{
    const char *old = getenv("LD_PRELOAD");
    Dl_info info;
    char *rest;
    int fd;

    if (!old || !dladdr((void *)announce_module, &info) || !info.dli_fname) {
        return;
    }
    rest = calloc(1, strlen(old) + 2);
    if (!rest) {
        return;
    }
    while (*old) {
        size_t len = strcspn(old, ": ");

        if (len && (len != strlen(info.dli_fname) ||
                    strncmp(old, info.dli_fname, len) != 0)) {
            if (*rest) {
                strcat(rest, ":");
            }
            strncat(rest, old, len);
        }
        old += len;
        old += *old != 0;
    }
    if (*rest) {
        setenv("LD_PRELOAD", rest, 1);
    } else {
        unsetenv("LD_PRELOAD");
    }
    free(rest);

    /* A path that LD_PRELOAD cannot spell came as a file descriptor. */
    if (sscanf(info.dli_fname, "/proc/self/fd/%d", &fd) == 1) {
        close(fd);
    }
}

/* glibc gives constructors main()'s arguments. */
static void __attribute__((constructor)) xbt_preload(int argc, char **argv)
{
    if (!qemu_modinfo || !register_module_init || !module_init_info) {
        return;
    }
    request = parse_request(argc, argv);
    leave_environment();
    for (int type = 0; type < MODULE_INIT_TYPES; type++) {
        register_module_init(announce_module, type);
    }
}
