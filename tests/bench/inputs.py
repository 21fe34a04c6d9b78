"""What some programs are given to work on: made here, the same every time."""


class Random:
    """Small and the same everywhere, whatever Python's own becomes."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = self.state * 48271 % 2147483647
        return self.state % bound


def c_source(path, functions):
    """A file that keeps gcc's own structures busy."""
    body = ("int f%d(int a, int b) { int s = 0; for (int i = 0; i < a; i++) { if (i %% %d == 0) s += b * %d; else "
            "s ^= i << %d; switch (s & 7) { case 0: s += a; break; case 1: s -= b; break; default: s++; } } "
            "return s; }\n")
    with open(path, "w", encoding="ascii") as source:
        for i in range(functions):
            source.write(body % (i, i % 8 + 2, i % 97 + 1, i % 5 + 1))


def git_stream(path, commits):
    """A history for `git fast-import`: files that grow, shrink and change in the middle."""
    random = Random(7)
    files = {f"dir{i % 7}/file{i}.txt": [f"line {k} of file {i}" for k in range(200)] for i in range(60)}
    with open(path, "w", encoding="ascii") as stream:
        for commit in range(commits):
            text = f"Change {commit}\n"
            stream.write(f"commit refs/heads/main\ncommitter Me <me@here> {1700000000 + commit * 60} +0000\n"
                         f"data {len(text)}\n{text}\n")
            for _ in range(4):
                name = list(files)[random.below(len(files))]
                lines = files[name]
                at = random.below(len(lines))
                lines[at:at + random.below(5)] = [f"changed in {commit}, word {random.below(1000)}"] * random.below(6)
                content = "\n".join(lines) + "\n"
                stream.write(f"M 100644 inline {name}\ndata {len(content)}\n{content}\n")


def redis_commands(path, part, count):
    """Commands of all data types in redis' protocol. Parts have keys of their own, so that the order in which
    clients come doesn't change what is left."""
    random = Random(part + 100)
    pad = "0123456789" * 5000
    with open(path, "w", encoding="ascii", newline="") as commands:
        for i in range(count):
            key, size = random.below(count // 6 + 1), random.below(200)
            if i % 500 == 0:
                size = random.below(40000)
            value = f"{i}{pad[:size]}"
            words = (("SET", f"{part}:s:{key}", value),
                     ("APPEND", f"{part}:s:{key}", value[:60]),
                     ("LPUSH", f"{part}:l:{key % 700}", value),
                     ("HSET", f"{part}:h:{key % 900}", f"f{key}", value),
                     ("ZADD", f"{part}:z:{key % 300}", str(key), f"m{i}"),
                     ("SADD", f"{part}:t:{key % 400}", value),
                     ("DEL", f"{part}:s:{random.below(count // 6 + 1)}"),
                     ("GET", f"{part}:s:{key}"),
                     ("HSET", f"{part}:u:{key}", "name", f"user {key}", "mail", value[:30]),
                     ("RPOP", f"{part}:l:{key % 700}"))[i % 10]
            commands.write(f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words))


def memcached_commands(client, count):
    """Sets, gets and deletes of one client, as one piece of bytes that ends the connection."""
    random = Random(client + 1)
    pad, parts = "abcdefghij" * 2000, []
    for i in range(count):
        key = f"{client}:{random.below(count // 3 + 1)}"
        if i % 3 == 0:
            size = random.below(900) if i % 97 else random.below(20000)
            parts.append(f"set {key} 0 0 {size} noreply\r\n{pad[:size]}\r\n")
        elif i % 10 == 7:
            parts.append(f"delete {key} noreply\r\n")
        else:
            more = (f"{client}:{random.below(count // 3 + 1)}" for _ in range(7))
            parts.append(f"get {key} {' '.join(more)}\r\n")
    return ("".join(parts) + "quit\r\n").encode()
