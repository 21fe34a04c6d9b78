-- Tables, strings, closures and a binary tree built again and again. usage: work.lua N
local n = tonumber(arg[1])
local function tree(depth)
    if depth == 0 then return {} end
    return { tree(depth - 1), tree(depth - 1) }
end
local function count(t) return t[1] and 1 + count(t[1]) + count(t[2]) or 1 end
local nodes = 0
for _ = 1, n // 4000 do nodes = nodes + count(tree(12)) end
local index, parts = {}, {}
for i = 1, n do index["key" .. i * 7919 % n] = { id = i, name = ("v"):rep(i % 40), get = function() return i end } end
local sum = 0
for i = 0, n - 1 do
    local entry = index["key" .. i]
    sum = sum + #entry.name + entry.get()
    parts[#parts + 1] = entry.name .. i
end
local text = table.concat(parts, ";")
local _, words = text:gsub("v+", string.upper)
table.sort(parts)
print(nodes, sum, #text, words, parts[1], parts[#parts])
