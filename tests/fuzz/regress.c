/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * regress.c - failing trials as text, and their replay; see lab.h.
 *
 * One `mode` line begins a trial; items are one `insn` line each (`insn!`: microcoded), so that it can be read and
 * edited.  Registers not named are 0, x87 and vector state not named is that after reset.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/lab.h"

static const char *const gprs[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

/* ---- writing ---- */

static void put_hex(FILE *f, const uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        fprintf(f, "%02x", p[i]);
    fputc('\n', f);
}

static void put_trial(FILE *f, const struct trial *t)
{
    uint8_t plain[XIMG_SIZE];

    fprintf(f, "mode %s\nat %x\nmemory %x\nundefined %x\nevents %u\n", snip_mode_names[t->mode], t->at, t->memory,
            t->fl_undef, t->max_events);
    fprintf(f, "rflags %llx\n", (unsigned long long)t->in.rflags);
    if (t->mode == SM_64)
        fprintf(f, "bases %llx %llx\n", (unsigned long long)t->in.fs_base, (unsigned long long)t->in.gs_base);
    for (unsigned i = 0; i < 16; i++) {
        if (t->in.gpr[i])
            fprintf(f, "%s %llx\n", gprs[i], (unsigned long long)t->in.gpr[i]);
    }
    ximg_init(plain);
    for (unsigned at = 0; at < XIMG_SIZE; at += 16) {
        if (memcmp(t->in.ximg + at, plain + at, 16) != 0) {
            fprintf(f, "image %u ", at);
            put_hex(f, t->in.ximg + at, 16);
        }
    }
    for (unsigned i = 0; i < t->n_items; i++) {
        fprintf(f, "insn%s ", t->microcoded[i] ? "!" : "");
        put_hex(f, t->code + t->start[i], t->start[i + 1] - t->start[i]);
    }
    for (unsigned i = 0; i < t->len; i++) {
        if (t->planned[i])
            fprintf(f, "stored %u\n", i);
    }
}

bool regress_write(const char *path, const struct trial *t, unsigned n, const char *origin)
{
    FILE *f = fopen(path, "w");

    if (!f) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    fprintf(f, "# SPDX-License-Identifier: GPL-2.0-or-later\n# Found by the fuzzer: %s\n", origin);
    for (unsigned i = 0; i < n; i++)
        put_trial(f, &t[i]);
    return fclose(f) == 0;
}

/* ---- reading ---- */

static unsigned get_hex(const char *s, uint8_t *p, unsigned max)
{
    unsigned n = 0, v;

    for (; n < max && sscanf(s + 2 * n, "%2x", &v) == 1; n++)
        p[n] = (uint8_t)v;
    return n;
}

static bool get_mode(const char *s, enum snip_mode *mode)
{
    for (unsigned i = 0; i < SM_COUNT; i++) {
        if (strcmp(s, snip_mode_names[i]) == 0) {
            *mode = (enum snip_mode)i;
            return true;
        }
    }
    return false;
}

static bool get_register(struct trial *t, const char *key, uint64_t v)
{
    for (unsigned i = 0; i < 16; i++) {
        if (strcmp(key, gprs[i]) == 0) {
            t->in.gpr[i] = v;
            return true;
        }
    }
    return false;
}

static bool get_line(struct trial *t, const char *key, const char *val)
{
    uint64_t v = strtoull(val, NULL, 16);
    const char *rest = strchr(val, ' ');

    if (strcmp(key, "at") == 0)
        t->at = (uint32_t)v;
    else if (strcmp(key, "memory") == 0)
        t->memory = (uint32_t)v;
    else if (strcmp(key, "undefined") == 0)
        t->fl_undef = (uint32_t)v;
    else if (strcmp(key, "events") == 0)
        t->max_events = (uint16_t)atoi(val);
    else if (strcmp(key, "rflags") == 0)
        t->in.rflags = v;
    else if (strcmp(key, "bases") == 0 && rest) {
        t->in.fs_base = v;
        t->in.gs_base = strtoull(rest, NULL, 16);
    } else if (strcmp(key, "image") == 0 && rest && atoi(val) <= XIMG_SIZE - 16)
        get_hex(rest + 1, t->in.ximg + atoi(val), 16);
    else if (strcmp(key, "stored") == 0 && atoi(val) < MAX_CODE)
        t->planned[atoi(val)] = true;
    else if (strncmp(key, "insn", 4) == 0 && t->n_items < MAX_ITEMS) {
        t->microcoded[t->n_items] = key[4] == '!';
        t->len = (uint16_t)(t->len + get_hex(val, t->code + t->len, MAX_CODE - t->len));
        t->start[++t->n_items] = t->len;
    } else
        return get_register(t, key, v);
    return true;
}

unsigned regress_read(const char *path, struct trial *t, unsigned max)
{
    FILE *f = fopen(path, "r");
    char line[256], key[32], val[200];
    unsigned n = 0, at = 0;

    while (f && fgets(line, sizeof(line), f)) {
        at++;
        if (line[0] == '#' || sscanf(line, "%31s %199[^\n]", key, val) != 2)
            continue;
        if (strcmp(key, "mode") == 0 && n < max) {
            memset(&t[n], 0, sizeof(*t));
            ximg_init(t[n].in.ximg);
            if (get_mode(val, &t[n].mode)) {
                n++;
                continue;
            }
        } else if (n && get_line(&t[n - 1], key, val)) {
            continue;
        }
        fprintf(stderr, "%s:%u: not understood\n", path, at);
        exit(2);
    }
    if (f)
        fclose(f);
    return n;
}

unsigned regress_replay(struct lab *l, const char *dir)
{
    static struct trial t[ORACLE_BATCH];
    struct dirent **list;
    unsigned bad = 0, done = 0;
    int n = scandir(dir, &list, NULL, alphasort);

    for (int i = 0; i < n; i++) {
        char path[600];
        snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
        if (!strstr(list[i]->d_name, ".txt"))
            continue;
        unsigned k = regress_read(path, t, ORACLE_BATCH);
        if (!k || !native_has_mode(t->mode))
            continue;
        done++;
        if (!lab_sequence_agrees(l, t, k, true)) {
            printf("DIFFERENCE in %s\n", path);
            bad++;
        }
    }
    printf("%s: %u files replayed, %u differ\n", l->machine, done, bad);
    return done ? bad : 1;
}
