# JSON, dictionaries, objects, strings and sorting, under PYTHONMALLOC=malloc. usage: work.py N
import hashlib, json, re, sys


class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None


def insert(root, key):
    while True:
        side = "left" if key < root.key else "right"
        below = getattr(root, side)
        if below is None:
            setattr(root, side, Node(key))
            return
        root = below


n = int(sys.argv[1])
rows = [{str(i): list(range(i % 7)), "k": "x" * (i % 50), "f": i / 3} for i in range(n)]
text = json.dumps(rows)
again = json.loads(text)
print(hashlib.md5(text.encode()).hexdigest(), again == rows)
print(len(re.findall("x+", text)), len(text.split(",")))
del rows, again
index = {}
for i in range(n * 3):
    index.setdefault(i * 7919 % n, []).append(f"{i:08x}")
print(sum(len("".join(words)) for _, words in sorted(index.items())))
tree, key = Node(n), 1
for _ in range(n // 2):
    key = key * 16807 % 2147483647
    insert(tree, key % (2 * n))
print(tree.left.key, tree.right.key)
