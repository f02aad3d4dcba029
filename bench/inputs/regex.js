// SPDX-License-Identifier: GPL-2.0-or-later
// Regular expressions, replacements and splitting of a log made from a fixed seed.
'use strict';

let state = 99991;

function random(limit) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % limit;
}

const hosts = Array.from({ length: 40 }, () => `${random(256)}.${random(256)}.${random(256)}.${random(256)}`);
const verbs = ['GET', 'POST', 'PUT', 'DELETE'];
const lines = [];
for (let i = 0; i < 6000; i++) {
    lines.push(`${hosts[random(40)]} - - [${1 + random(28)}/Nov/2026:${10 + random(13)}:${10 + random(49)}:30] ` +
        `"${verbs[random(4)]} /path/${random(500)}/item-${random(90)}.html?key=${random(1000)}&x=${random(10)} ` +
        `HTTP/1.1" ${200 + random(4) * 100} ${random(100000)}`);
}
const text = lines.join('\n');

function mix(sum, value) {
    return (Math.imul(sum ^ value, 0x9e3779b1) + (sum >>> 15)) >>> 0;
}

const entry = /^(\d+\.\d+\.\d+\.\d+) - - \[([^\]]+)\] "(\w+) ([^ ?]+)(?:\?([^ ]*))? [^"]*" (\d{3}) (\d+)$/gm;
const patterns = [/\/item-(\d)\1\.html/g, /[5-9]\d*\/item/g, /(?<=key=)\d+(?=&)/g, /(?:POST|PUT) \/path\/4\d+/g,
    /(\w+)-(\d+)\.html/g, /"[^"]*\b50\d?\b[^"]*"/g];
let sum = 0;
for (let round = 0; round < 12; round++) {
    const sizes = new Map();
    for (const found of text.matchAll(entry)) {
        sizes.set(found[1], (sizes.get(found[1]) || 0) + Number(found[7]));
        sum = mix(sum, found[4].length + Number(found[6]));
    }
    for (const pattern of patterns) {
        sum = mix(sum, (text.match(pattern) || []).length);
    }
    sum = mix(sum, text.replace(/(\d+)\.html/g, (all, digits) => `${digits * 2}.htm`).length);
    sum = mix(sum, text.split(/[\s"?&=]+/).length + sizes.size);
}
console.log(sum);
