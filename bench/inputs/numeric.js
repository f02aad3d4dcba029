// SPDX-License-Identifier: GPL-2.0-or-later
// Loops over integers and doubles that the compiler sees as such: sieve, matrices, a hash, calls of closures.
'use strict';

function mix(sum, value) {
    return (Math.imul(sum ^ value, 0x9e3779b1) + (sum >>> 15)) >>> 0;
}

function sieve(limit) {
    const composite = new Uint8Array(limit + 1);
    let count = 0;
    for (let i = 2; i <= limit; i++) {
        if (!composite[i]) {
            count++;
            for (let j = i * i; j <= limit; j += i) {
                composite[j] = 1;
            }
        }
    }
    return count;
}

function matrices(n) {
    const a = new Float64Array(n * n), b = new Float64Array(n * n), c = new Float64Array(n * n);
    for (let i = 0; i < n * n; i++) {
        a[i] = (i * 7) % 13;
        b[i] = (i * 5) % 11;
    }
    for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
            let s = 0;
            for (let k = 0; k < n; k++) {
                s += a[i * n + k] * b[k * n + j];
            }
            c[i * n + j] = s;
        }
    }
    return c.reduce((s, v) => (s + v) % 1000003, 0);
}

function hash(words) {
    let h = 0x811c9dc5;
    for (let i = 0; i < words; i++) {
        h = Math.imul(h ^ (i & 255), 0x01000193) >>> 0;
        h ^= h >>> 13;
    }
    return h >>> 0;
}

class Point {
    constructor(x, y) {
        this.x = x;
        this.y = y;
    }

    step(f) {
        return new Point(f(this.x, this.y), this.x);
    }
}

function objects(count) {
    const steps = [(x, y) => (x + y) % 9973, (x, y) => (x * 3 + y) % 9973, (x, y) => (x ^ y) + 1];
    let p = new Point(1, 2);
    for (let i = 0; i < count; i++) {
        p = p.step(steps[i % 3]);
    }
    return p.x;
}

function fib(n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

let sum = 0;
for (let round = 0; round < 8; round++) {
    sum = mix(sum, sieve(1000000 + round));
    sum = mix(sum, matrices(150));
    sum = mix(sum, hash(3000000 + round));
    sum = mix(sum, objects(1000000));
    sum = mix(sum, fib(27));
}
console.log(sum);
