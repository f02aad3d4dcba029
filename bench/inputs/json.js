// SPDX-License-Identifier: GPL-2.0-or-later
// JSON: make a tree of records from a fixed seed, write and read it again and again, and walk what was read.
'use strict';

let state = 20240229;

function random(limit) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % limit;
}

function word() {
    let text = '';
    for (let i = 3 + random(8); i > 0; i--) {
        text += String.fromCharCode(97 + random(26));
    }
    return text;
}

function record(depth) {
    const out = { id: random(1e6), name: word(), ratio: random(1e6) / 64, on: random(2) === 1, none: null };
    out.tags = Array.from({ length: random(6) }, word);
    out.text = 'quote " back \\ line \n ' + word() + ' \u00fc\u4e2d';
    if (depth > 0) {
        out.children = Array.from({ length: 3 }, () => record(depth - 1));
    }
    return out;
}

function mix(sum, value) {
    return (Math.imul(sum ^ value, 0x9e3779b1) + (sum >>> 15)) >>> 0;
}

function walk(node, sum) {
    sum = mix(sum, node.id + node.tags.length);
    sum = mix(sum, node.text.length + (node.on ? 7 : 3));
    for (const child of node.children || []) {
        sum = walk(child, sum);
    }
    return sum;
}

const data = record(5);
let sum = 0;
for (let i = 0; i < 150; i++) {
    const text = JSON.stringify(data);
    const back = JSON.parse(text);
    sum = walk(back, mix(sum, text.length));
    data.id = sum % 1000003;
}
console.log(sum);
