#!/bin/bash
# python3 under tarn, every object of it from malloc: objects, threads, subprocess, multiprocessing by fork, json, re,
# zlib, and its own handler of SIGQUIT.
. "$(dirname "$0")/lib.sh"
need python3
python=$(python3 -c 'import sys; print(sys.executable)') # python3 itself may be a script that looks for it

cat >work.py <<'END'
import hashlib, json, multiprocessing, os, re, signal, subprocess, sys, threading, zlib

total = hashlib.sha256()
def say(*what):
    total.update(repr(what).encode())
    print(*what)

state = 12345
def rnd(n):
    global state
    state = (state * 1103515245 + 12345) % 2147483648
    return state % n

class Node:
    def __init__(self, key, left=None):
        self.key, self.left, self.words = key, left, []

nodes = {}
for i in range(60000):
    node = Node(i, nodes.get(rnd(60000)))
    node.words = ["w%d" % rnd(1000)] * rnd(12)
    nodes[rnd(60000)] = node
    if i % 5 == 0:
        nodes.pop(rnd(60000), None)
say("objects", len(nodes), sum(len(n.words) for n in nodes.values()))

text = json.dumps({str(k): [n.key, n.words] for k, n in sorted(nodes.items())})
say("json", len(text), hashlib.sha256(text.encode()).hexdigest())
back = json.loads(text)
say("again", len(back), len(re.findall(r'"w(\d)\1+"', text)), len(re.sub(r'w\d+', 'word', text)))
packed = [zlib.compress(text[i:i + 50000].encode(), 1) for i in range(0, len(text), 50000)]
say("zlib", sum(map(len, packed)), b"".join(map(zlib.decompress, packed)).decode() == text)
grown = bytearray()
for i in range(3000):
    grown += b"%d" % i * 300
say("bytes", len(grown), zlib.crc32(grown))
say("number", hash(pow(3, 40000) % (10**2000 + 7)))

results = [None] * 12
def work(slot):
    d = {}
    for i in range(12000):
        d[(i * 7919 + slot) % 5003] = ["%d-%d" % (slot, i)] * (i % 5)
    results[slot] = hashlib.md5(repr(sorted(d.items())).encode()).hexdigest()
for turn in range(2):
    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for t in threads: t.start()
    for t in threads: t.join()
say("threads", *results)

# children by fork and by spawn, while other threads allocate
stop = threading.Event()
def churn():
    while not stop.is_set():
        [str(i) * 10 for i in range(500)]
churners = [threading.Thread(target=churn) for _ in range(3)]
for t in churners: t.start()
def square(n):
    return n, sum(len(str(i) * 3) for i in range(n * 50))
with multiprocessing.get_context("fork").Pool(4) as pool:
    say("pool", pool.map(square, range(100)))
for i in range(8):
    say("child", subprocess.run([sys.executable, "-S", "-c", "print(sum(map(len, map(str, range(%d)))))" % (i * 999)],
                                capture_output=True, text=True, check=True).stdout.strip())
stop.set()
for t in churners: t.join()

heard = []
signal.signal(signal.SIGQUIT, lambda number, frame: heard.append(number))
for i in range(3):
    os.kill(os.getpid(), signal.SIGQUIT)
    while len(heard) <= i: pass
say("own SIGQUIT", heard)
print(total.hexdigest())
END
both work 8000000 PYTHONMALLOC=malloc PYTHONHASHSEED=0 "$python" work.py
expect "python's own handler was called" matches "own SIGQUIT \[3, 3, 3\]" work.tarn.out

# With no handler, the signal is tarn's, and the program goes on.
cat >quit.py <<'END'
import os, signal, sys
kept = [str(i) * 5 for i in range(100000)]
os.kill(os.getpid(), signal.SIGQUIT)
again = [str(i) * 5 for i in range(100000)]
print(kept == again)
END
tarn quit PYTHONMALLOC=malloc "$python" quit.py
expect "SIGQUIT does not end it" same_text "$(cat quit.tarn.status) $(cat quit.tarn.out)" "0 True"
expect "and is answered with a dump" matches "SIGQUIT also flushes" "$(echo quit.dump.*)"
plain quit PYTHONMALLOC=malloc "$python" quit.py
expect "which it would without tarn" same_text "$(cat quit.plain.status)" 131

exit $failed
