/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_switches.c - each optimisation of blocks makes other code when it is switched off, and none when it is on already.
 *
 * Two programs in which every optimisation of translator/optimisations.inc with in_opt = 1 has something to do are
 * translated with all on, then with each off.  Number or size of the blocks must differ: give a new one something to do
 * below.  That the code is right is for the other tests; what is not in blocks is in tests/unit/test_tlb.c and
 * tests/qtest/test_options.py.
 */
#include <stdio.h>
#include <string.h>

#include "tests/insn/machine.h"
#include "tb-store/tb.h"

#define CODE_AT 0x100u

extern const uint8_t switches_user[], switches_user_end[], switches_kernel[], switches_kernel_end[];
__asm__(".pushsection .rodata\n"
        "switches_user:\n"
        "  push %rbx\n  push %rbp\n  mov 8(%rsp), %rdx\n"           /* windows */
        "  add %r8, %rax\n  add %r8, %rdx\n"                        /* r9-cache */
        "  cmp %rcx, %rax\n  mov (%rbx), %rbp\n  je 1f\n"           /* native-flags, flag-recipes; long-blocks */
        "  mov (%rbx), %rdx\n  inc %rax\n  add %rcx, %rax\n"       /* dead-flags */
        "  mov %rax, 8(%rbx)\n"
        "  jmp 2f\n  nop\n2:\n"                                    /* follow-jumps */
        "  movsb\n  stosb\n  lodsb\n"                               /* inline-strings */
        "  fld1\n  fld1\n  faddp\n  fstp %st\n"                     /* lazy-x87-pointers */
        "1: pop %rbp\n  pop %rbx\n"
        "  mov $2, %ecx\n3: mov (%rsp), %rdx\n  sub $1, %ecx\n  jne 3b\n  int3\n" /* hot-loops */
        "switches_user_end:\n"
        "switches_kernel:\n"
        "  cli\n  sti\n  nop\n  nop\n  cli\n  hlt\n"                /* inline-sti */
        "switches_kernel_end:\n"
        ".popsection");

/* What the translation of both programs amounts to. */
struct made {
    uint64_t blocks, insns, bytes;
};

static void start(struct snip_state *st)
{
    memset(st, 0, sizeof(*st));
    ximg_init(st->ximg);
    for (unsigned i = 0; i < 16; i++) {
        st->gpr[i] = LIN_DATA + 0x1000;
    }
    st->gpr[R_RCX]++;
    st->gpr[R_RSP] = LIN_STACK + 0x2000;
    st->rflags = 0x202;
    st->rip = LIN_CODE + CODE_AT;
}

static struct made translate_both(struct machine *m)
{
    struct snip_state in, out;
    struct tb_store_info user, kernel;

    start(&in);
    machine_flush(m);
    machine_write_code(m, CODE_OFF + CODE_AT, switches_user, (size_t)(switches_user_end - switches_user));
    machine_run(m, SM_64, &in, &out);
    if (out.vector != TRAP_END) {
        printf("the user's program ended by %d\n", out.vector);
    }
    tb_store_info(m->vm.store, &user);

    start(&in);
    machine_flush(m);
    machine_write_code(m, CODE_OFF + CODE_AT, switches_kernel, (size_t)(switches_kernel_end - switches_kernel));
    machine_run_kernel(m, &in, &out);
    if (out.vector != -1) {
        printf("the kernel's program ended by %d\n", out.vector);
    }
    tb_store_info(m->vm.store, &kernel);
    return (struct made) { user.tbs_live + kernel.tbs_live, kernel.guest_insns, user.code_bytes + kernel.code_bytes };
}

static bool differs(struct machine *m, struct made want, uint64_t *insns)
{
    struct made now = translate_both(m);
    uint64_t n = now.insns - *insns;

    *insns = now.insns;
    return now.blocks != want.blocks || now.bytes != want.bytes || n != want.insns;
}

static int failed(const char *name, const char *what)
{
    printf("%s: %s\n", name, what);
    return 1;
}

/* What does something in code of hot spaces only.  Pages are mapped at their first use, which ends a block. */
static int hot_switches(void)
{
    struct machine *m = machine_new(machine_opts_find("default"));
    struct made all = translate_both(m);
    uint64_t insns;
    int bad = 0;

    all = translate_both(m);
    insns = all.insns;
    all.insns = translate_both(m).insns - insns;
    insns += all.insns;
#define HOT(id, name)                                                                         \
    m->vm.opt.no_##id = true;                                                             \
    bad += differs(m, all, &insns) ? 0 : failed(name, "no other code when it is off");     \
    m->vm.opt.no_##id = false;                                                            \
    bad += differs(m, all, &insns) ? failed(name, "other code when it is on again") : 0;
    HOT(r10, "r10-cache")
    HOT(loops, "hot-loops")
#undef HOT
    return bad;
}

int main(void)
{
    /* Without host mappings: a page that is mapped at its first use makes one block more the first time. */
    struct machine *m = machine_new(machine_opts_find("no-hostmap"));
    struct made all = translate_both(m);
    uint64_t insns = all.insns;
    unsigned tried = 0;
    int bad = 0;

#define OPTIMISATION(id, name, in_opt, on, text)                                          \
    if (in_opt) {                                                                         \
        tried++;                                                                          \
        m->vm.opt.no_##id = true;                                                         \
        bad += differs(m, all, &insns) ? 0 : failed(name, "no other code when it is off"); \
        m->vm.opt.no_##id = false;                                                        \
        bad += differs(m, all, &insns) ? failed(name, "other code when it is on again") : 0; \
    }
#include "translator/optimisations.inc"
#undef OPTIMISATION
    tried += 2;
    bad += hot_switches();
    printf("%u switches, %d failed\n", tried, bad);
    return bad || !tried;
}
