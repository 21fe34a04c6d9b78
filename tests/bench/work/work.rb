# Strings, arrays, hashes and small objects, collected many times. usage: work.rb N
n = ARGV[0].to_i
Item = Struct.new(:id, :name, :parts)
table = {}
n.times { |i| table["key #{i * 7919 % n}"] = Item.new(i, "name #{i}" * (i % 4 + 1), Array.new(i % 5) { |k| "part #{k}" * 3 }) }
text = table.map { |key, item| "#{key}=#{item.name}:#{item.parts.join('|')}" }.join("\n")
words = text.scan(/\w+/).tally
puts text.size, words.size, words.max_by { |word, times| [times, word] }.inspect
rounds = (n / 4).times.map { |i| text.byteslice(i * 13 % text.bytesize, 60 + i % 900).tr('a-m', 'n-z') }
puts rounds.sum(&:size), rounds.group_by(&:size).size
puts table.values.sort_by { |item| [item.parts.size, item.name] }.each_slice(97).sum { |slice| slice.first.id }
