// Buffers, maps, JSON, compression and compiled functions. usage: work.js N
const crypto = require('crypto'), zlib = require('zlib');
const n = Number(process.argv[2]);
const table = new Map();
for (let i = 0; i < n; i++)
    table.set(`key${i * 7919 % n}`, { id: i, name: 'v'.repeat(i % 40), bytes: Buffer.alloc(i % 300 + 1, i & 255) });
const text = JSON.stringify([...table].map(([key, value]) => [key, value.id, value.name]));
console.log(text.length, JSON.parse(text).length);
let live = [], sum = 0;
for (let i = 0; i < n; i++) {
    live[i * 31 % 5000] = Buffer.allocUnsafeSlow(i * 7919 % 20000 + 1).fill(i & 127);
    sum += live[i * 31 % 5000].length;
}
const functions = [];
for (let i = 0; i < n / 200; i++)
    functions.push(new Function('a', `let s = ${i}; for (let k = 0; k < a; k++) s = (s * 31 + k) % ${i + 1009}; return s;`));
console.log(sum, functions.reduce((total, f) => total + f(50), 0));
const packed = [];
for (let i = 0; i < n / 2000; i++)
    packed.push(zlib.deflateSync(text.slice(i * 100, i * 100 + 40000)));
console.log(crypto.createHash('md5').update(Buffer.concat(packed.map((part) => zlib.inflateSync(part)))).digest('hex'));
