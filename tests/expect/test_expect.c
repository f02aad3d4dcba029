/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_expect.c - guest code in, IR and host code out, compared with the reviewed text in expected.txt.
 *
 * A change of code quality shows as a change of that file.  After looking at it:
 *     test_expect tests/expect/expected.txt --update
 * Host addresses are printed relative to the block, fields of struct guest_cpu by name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/insn/machine.h"

struct entry {
    int32_t name, mode;
    uint32_t ignore;
    int32_t start, end;
};
extern const struct entry snippets_start[], snippets_end[];

static char *text;
static size_t used;
enum { TEXT = 1 << 20 };

static void out(const char *s)
{
    size_t n = strlen(s);

    if (used + n < TEXT) {
        memcpy(text + used, s, n + 1);
        used += n;
    }
}

/* ---- making dumps independent of addresses and layout ---- */

#define FIELD(f) { offsetof(struct guest_cpu, f), sizeof(((struct guest_cpu *)0)->f), #f }
static const struct { size_t at, size; const char *name; } fields[] = {
    FIELD(r8_11), FIELD(rtab), FIELD(wtab), FIELD(exit_request), FIELD(fl), FIELD(rip), FIELD(jc), FIELD(cp),
    FIELD(ea_mask), FIELD(spill), FIELD(thunk), FIELD(more_thunks), FIELD(ret_mask), FIELD(cs_base), FIELD(seg),
};

static void put_field(unsigned long off)
{
    char buf[64];

    for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (off >= fields[i].at && off < fields[i].at + fields[i].size) {
            if (off == fields[i].at)
                snprintf(buf, sizeof(buf), "[%s]", fields[i].name);
            else
                snprintf(buf, sizeof(buf), "[%s+%lu]", fields[i].name, off - fields[i].at);
            out(buf);
            return;
        }
    }
    snprintf(buf, sizeof(buf), "[cpu+?]");
    out(buf);
}

static unsigned long block_base, block_size, cold_base, cold_size;

static void put_number(unsigned long v, const char *as_written, size_t n)
{
    char buf[64];

    if (block_size && v >= block_base && v <= block_base + block_size)
        snprintf(buf, sizeof(buf), ".%lx", v - block_base);
    else if (cold_size && v >= cold_base && v <= cold_base + cold_size)
        snprintf(buf, sizeof(buf), "cold.%lx", v - cold_base);
    else if (v >> 40)
        snprintf(buf, sizeof(buf), "<host>");
    else
        snprintf(buf, sizeof(buf), "%.*s", (int)n, as_written);
    out(buf);
}

static void put_line(const char *line)
{
    char c[2] = "";

    if (strncmp(line, "host ", 5) == 0) {
        block_base = strtoul(line + 5, NULL, 16);
        block_size = strtoul(strchr(line, ',') + 1, NULL, 10);
        cold_base = strtoul(strstr(line, "cold ") + 5, NULL, 16);
        cold_size = strtoul(strrchr(line, ',') + 1, NULL, 10);
        out("host\n");
        return;
    }
    if (strncmp(line, "block ", 6) == 0)
        block_size = cold_size = 0;
    while (*line) {
        char *end;
        if (block_size && strncmp(line, "[rsp]", 5) == 0) {
            put_field(0);
            line += 5;
        } else if (block_size && strncmp(line, "[rsp + r", 8) == 0 && (end = strstr(line, " + 0x"))) {
            out("[ret + ");                     /* the one array with an index */
            for (line += 7; line < end; line++) {
                c[0] = *line;
                out(c);
            }
            out("]");
            line = strchr(line, ']') + 1;
        } else if (block_size && strncmp(line, "[rsp + ", 7) == 0) {
            put_field(strtoul(line + 7, &end, 16));
            line = end + 1;
        } else if (block_size && strncmp(line, "[rip ", 5) == 0) {
            out("[<host>]");
            line = strchr(line, ']') + 1;
        } else if (strncmp(line, "0x", 2) == 0) {
            unsigned long v = strtoul(line, &end, 16);
            put_number(v, line, (size_t)(end - line));
            line = end;
        } else {
            c[0] = *line++;
            out(c);
        }
    }
    out("\n");
}

static void on_log(const char *t)
{
    char line[512];

    while (*t) {
        size_t n = strcspn(t, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)n, t);
        put_line(line);
        t += n + (t[n] == '\n');
    }
}

static const void *rel(const int32_t *field)
{
    return (const char *)field + *field;
}

/* ---- the comparison ---- */

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *buf = calloc(1, TEXT);

    if (!f || !buf)
        return NULL;
    size_t n = fread(buf, 1, TEXT - 1, f);
    buf[n] = 0;
    fclose(f);
    return buf;
}

static int compare(const char *path)
{
    const char *want = read_file(path), *have = text;
    char block[80] = "";

    if (!want) {
        fprintf(stderr, "cannot read %s\n", path);
        return 1;
    }
    for (unsigned line = 1; *want || *have; line++) {
        size_t a = strcspn(want, "\n"), b = strcspn(have, "\n");
        if (b > 3 && strncmp(have, "== ", 3) == 0)
            snprintf(block, sizeof(block), "%.*s", (int)b, have);
        if (a != b || memcmp(want, have, a) != 0) {
            printf("%s:%u differs in %s\n  expected: %.*s\n  now:      %.*s\n", path, line, block, (int)a, want,
                   (int)b, have);
            printf("If the new code is right: test_expect %s --update\n", path);
            return 1;
        }
        want += a + (want[a] == '\n');
        have += b + (have[b] == '\n');
    }
    return 0;
}

static void translate_case(struct machine *m, const struct entry *e)
{
    struct snip_state st, done;
    const uint8_t *code = rel(&e->start);
    size_t n = (size_t)((const uint8_t *)rel(&e->end) - code);
    char head[80];

    memset(&st, 0, sizeof(st));
    ximg_init(st.ximg);
    for (unsigned i = 0; i < 16; i++)
        st.gpr[i] = LIN_DATA + 0x1000;
    st.gpr[R_RSP] = LIN_STACK + 0x2000;
    st.rflags = 0x202;
    st.rip = LIN_CODE + 0x100;
    memset(m->win + CODE_OFF, 0xcc, 4096);
    machine_flush(m);
    machine_write_code(m, CODE_OFF + 0x100, code, n);
    snprintf(head, sizeof(head), "== %s\n", (const char *)rel(&e->name));
    out(head);
    m->vm.opt.dump = DUMP_GUEST | DUMP_IR | DUMP_HOST;
    m->vm.opt.dump_lo = m->vm.opt.dump_hi = st.rip;
    machine_run(m, (enum snip_mode)e->mode, &st, &done);
    m->vm.opt.dump = 0;
}

int main(int argc, char **argv)
{
    static const struct machine_opts opts = { "expect", { .tb_size_mib = 8, .tlb_force = TLB_FLAT } };

    if (argc < 2) {
        fprintf(stderr, "usage: test_expect expected.txt [--update]\n");
        return 2;
    }
    text = calloc(1, TEXT);
    struct machine *m = machine_new(&opts);
    machine_log = on_log;
    for (const struct entry *e = snippets_start; e < snippets_end; e++)
        translate_case(m, e);
    if (argc > 2 && strcmp(argv[2], "--update") == 0) {
        FILE *f = fopen(argv[1], "w");
        if (!f || fputs(text, f) < 0)
            return 1;
        fclose(f);
        return 0;
    }
    return compare(argv[1]);
}
