#!/bin/bash
# check-layers.sh: includes point one way only, along scripts/layers.txt.
# A room is include/ROOM.h with src/ROOM.c and src/ROOM_*. preload/ stands above all rooms and may include any.
set -eu
cd "$(dirname "$0")/.."

awk '
# The room that a file of ours belongs to, "" if none.
function room_of(file,   name) {
    name = file
    sub(".*/", "", name)
    sub("[.].*", "", name)
    while (!(name in place) && file !~ /^include/ && sub("_[^_]*$", "", name)) { }
    return name in place ? name : ""
}
function complain(what) { print what; bad = 1 }

FILENAME ~ /layers.txt$/ {
    if ($0 !~ /^#/ && NF) place[$1] = ++places
    next
}
FNR == 1 {
    room = room_of(FILENAME)
    if (room == "" && FILENAME != "include/tarn.h") complain(FILENAME ": no line in scripts/layers.txt")
    if (FILENAME ~ /^include/) header[room] = 1
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, quoted, "\"")
    other = room_of(quoted[2])
    if (other == "") complain(FILENAME ":" FNR ": " quoted[2] " is no room")
    else if (place[other] > place[room]) complain(FILENAME ":" FNR ": " room " is below " other)
}
END {
    for (room in place)
        if (!(room in header)) complain("scripts/layers.txt: " room " has no header in include/")
    exit bad
}' scripts/layers.txt include/* src/*
