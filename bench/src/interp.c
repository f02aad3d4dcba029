// SPDX-License-Identifier: GPL-2.0-or-later
/* A byte-code interpreter with a switch: one hot indirect jump. */
#include "bench.h"

enum { PUSH, ADD, SUB, MUL, XOR, DUP, SWAP, LOAD, STORE, SHR, JNZ, HALT };

/* v0 counts down, v1 and v2 are stirred. */
static const unsigned char program[] = {
    LOAD, 1, LOAD, 2, ADD, DUP, STORE, 1, PUSH, 7, MUL, LOAD, 0, XOR,
    DUP, PUSH, 3, SHR, SWAP, SUB, STORE, 2,
    LOAD, 0, PUSH, 1, SUB, DUP, STORE, 0, JNZ, 0, HALT,
};

static uint64_t interpret(uint32_t *v)
{
    uint32_t stack[16], *top = stack, t;
    const unsigned char *pc = program;

    for (;;) {
        switch (*pc++) {
        case PUSH:
            *top++ = *pc++;
            break;
        case ADD:
            top--;
            top[-1] += top[0];
            break;
        case SUB:
            top--;
            top[-1] -= top[0];
            break;
        case MUL:
            top--;
            top[-1] *= top[0];
            break;
        case XOR:
            top--;
            top[-1] ^= top[0];
            break;
        case DUP:
            top[0] = top[-1];
            top++;
            break;
        case SWAP:
            t = top[-1];
            top[-1] = top[-2];
            top[-2] = t;
            break;
        case LOAD:
            *top++ = v[*pc++];
            break;
        case STORE:
            v[*pc++] = *--top;
            break;
        case SHR:
            top--;
            top[-1] >>= top[0] & 31;
            break;
        case JNZ:
            pc = *--top ? program + *pc : pc + 1;
            break;
        default:
            return v[1] ^ (uint64_t)v[2] << 32;
        }
    }
}

static uint64_t bench_run(unsigned rounds)
{
    uint64_t sum = 0;

    while (rounds--) {
        uint32_t v[3] = { 100000, rounds, 12345 };

        sum = bench_mix(sum, interpret(v));
    }
    return sum;
}

BENCH("interp", 50)
