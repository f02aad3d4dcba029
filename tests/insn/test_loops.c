/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_loops.c - blocks that branch to themselves, against the host's processor: flags, carries and pointers that go from
 * turn to turn, until a count ends them or a pointer leaves the mapped pages.  So state is compared at faults in the
 * first turn and in later ones, with flags that only the turn before has made.
 *
 *     test_loops MACHINE SEED RUNS
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/insn/runner.h"

#define LOOP(n, text)                                     \
    extern const uint8_t loop_##n[], loop_##n##_end[];    \
    __asm__(".pushsection .rodata\nloop_" #n ":\n" text "\nloop_" #n "_end:\n.popsection");

LOOP(two_bases, "1: mov (%rbx), %rax\n add (%rsi), %rax\n add $8, %rbx\n sub $-16, %rsi\n cmp %rdx, %rbx\n jne 1b")
LOOP(carry, "1: adc (%rbx), %rax\n lea 8(%rbx), %rbx\n dec %rcx\n jnz 1b")
LOOP(two_carries, "1: mulx (%rbx), %rax, %r8\n adcx %rax, %r9\n adox %r8, %r10\n mulx 8(%rbx), %rax, %r11\n"
     "adcx %rax, %r10\n adox %r11, %r9\n lea 16(%rbx), %rbx\n lea -1(%rcx), %rcx\n jrcxz 2f\n jmp 1b\n 2:")
LOOP(rsa, "1: mov %r8, %rbp\n mulx (%rbx), %rax, %r8\n adcx %rax, %rbp\n adox %r9, %r8\n mulx 8(%rbx), %rax, %r9\n"
     "adcx %rax, %r8\n adox %r10, %r9\n mulx 16(%rbx), %rax, %r10\n adcx %rax, %r9\n adox %r11, %r10\n"
     "mov %rbp, (%rdi)\n lea 8(%rdi), %rdi\n mov (%rsp,%rcx,8), %rdx\n inc %rcx\n jne 1b")
LOOP(stores, "1: mov %rcx, (%rdi)\n add $8, %rdi\n inc %rax\n sub $1, %ecx\n jne 1b")
LOOP(indexed, "1: movzbl (%rbx,%rcx), %eax\n add %al, (%rsi)\n inc %rsi\n add $-1, %rcx\n jc 1b")
LOOP(jump, "1: cmp %rdx, %rbx\n je 2f\n mov (%rbx), %rax\n add $8, %rbx\n test %rax, %rax\n jmp 1b\n 2:")
LOOP(reads_at_head, "1: jc 2f\n xor (%rbx), %rax\n sub $-128, %rbx\n cmp %rax, %rdx\n jmp 1b\n 2:")
LOOP(setcc, "1: setc %al\n add (%rbx), %al\n lea 4(%rbx), %rbx\n cmp %rdx, %rbx\n jb 1b")
LOOP(helper, "1: mov (%rbx), %rax\n pushfq\n pop %r8\n add $8, %rbx\n cmp %rdx, %rbx\n jne 1b")
LOOP(partial, "1: mov (%rbx), %rax\n rol $1, %rax\n inc %rbx\n dec %ecx\n jne 1b")
LOOP(stack, "1: pop %rax\n mov %rax, (%rdi)\n lea 8(%rdi), %rdi\n dec %ecx\n jne 1b")
LOOP(shift, "1: mov (%rbx), %eax\n shr $1, %rcx\n lea 4(%rbx), %rbx\n jne 1b")
LOOP(high, "1: mov (%r9), %rax\n add %rax, 8(%r10)\n add $8, %r9\n add $8, %r10\n cmp %r9, %r11\n jne 1b")
LOOP(divides, "1: div %rcx\n test %eax, %eax\n lea -1(%rcx), %rcx\n mov $0, %edx\n cmp (%rbx), %rax\n jne 1b")
LOOP(masked, "1: vmaskmovps (%rbx), %xmm0, %xmm1\n vmaskmovps %xmm1, %xmm0, (%rdi)\n add $0x40, %rbx\n add $0x40, %rdi\n"
     "dec %ecx\n jne 1b")
LOOP(aligned, "1: xorps (%rbx), %xmm0\n movaps %xmm0, (%rdi)\n add $16, %rdi\n add $16, %rbx\n cmp %rdx, %rbx\n jne 1b")
LOOP(down, "1: mov -8(%rbx), %rax\n and -8(%rsi), %rax\n mov %rax, -8(%rsi)\n dec %rsi\n sub $8, %rbx\n cmp %rdx, %rbx\n"
     "jae 1b")
LOOP(fs_x87, "1: cmp %rcx, %rax\n fildl %fs:(%rbx)\n seta %al\n fstp %st(0)\n add $4, %rbx\n cmp %rdx, %rbx\n jne 1b")
LOOP(moved_base, "1: mov (%rbx), %rax\n mov 8(%rbx), %r8\n mov %rsi, %rbx\n lea 16(%rsi), %rsi\n dec %ecx\n jne 1b")
LOOP(waits, "1: mov (%rbx), %eax\n add $4, %rbx\n test %eax, %eax\n jne 1b")

static const struct {
    const char *name;
    const uint8_t *code, *end;
} loops[] = {
#define L(n) { #n, loop_##n, loop_##n##_end }
    L(two_bases), L(carry), L(two_carries), L(rsa), L(stores), L(indexed), L(jump), L(reads_at_head), L(setcc), L(helper),
    L(partial), L(stack), L(shift), L(high), L(divides), L(masked), L(aligned), L(down), L(fs_x87), L(moved_base),
    L(waits),
};

/* An address in the data pages: few turns from one end, mostly aligned. */
static uint64_t near_an_end(struct runner *r)
{
    uint64_t v = runner_rand(r), far = 16 * (v >> 8 & 63) + (v & 7 ? 0 : v >> 3 & 15);

    return v >> 32 & 7 ? LIN_DATA + DATA_SIZE - far : LIN_DATA + far;
}

/* up: rcx is negative and counted up. */
static void aim(struct runner *r, struct snip_state *st, bool up)
{
    static const uint8_t pointers[] = { 3, 6, 7, 9, 10 };      /* rbx rsi rdi r9 r10 */
    uint64_t v = runner_rand(r);

    for (unsigned i = 0; i < sizeof(pointers); i++) {
        st->gpr[pointers[i]] = near_an_end(r);
    }
    st->gpr[1] = up ? -(v >> 8 & 31) : 1 + (v >> 8 & 127);
    st->gpr[2] = v & 4 ? st->gpr[3] + 8 * (v >> 16 & 63) : v & 8 ? 0 : st->gpr[2];
    st->gpr[4] = LIN_STACK + STACK_SIZE - 8 * (1 + (v >> 24 & 63));
    st->gpr[11] = st->gpr[9] + 8 * (v >> 32 & 63);
    st->fs_base = 0;
}

int main(int argc, char **argv)
{
    struct runner r;
    unsigned long runs = argc > 3 ? strtoul(argv[3], NULL, 0) : 60;

    if (argc < 3) {
        printf("usage: test_loops MACHINE SEED [RUNS]\n");
        return 2;
    }
    runner_init(&r, argv[1], strtoull(argv[2], NULL, 0));
    for (unsigned i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
        struct snippet s = { .name = loops[i].name, .mode = SM_64, .code = loops[i].code,
                             .len = (unsigned)(loops[i].end - loops[i].code) };
        runner_place(&r, &s, 0);
        for (unsigned long n = 0; n < runs; n++) {
            struct snip_state st;
            runner_random_memory(&r);
            runner_random_state(&r, SM_64, &st);
            aim(&r, &st, loops[i].code == loop_rsa);
            s.keep_place = true;
            runner_compare(&r, &s, &st);
        }
    }
    return runner_finish(&r, argv[1]);
}
