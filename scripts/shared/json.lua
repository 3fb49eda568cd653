-- json.lua writes JSON, quicker than cjson for the little that is needed here.
--
-- quoted  a name as a JSON string
-- line    a book as the services tell each other of it
-- list    some JSON texts as one array
-- lists   all of them, as arrays of a given size, or of one that suits an inbox

-- quoted looks before it replaces: few names have anything to escape. (Names have no
-- control characters, see library.CheckName.)
local function quoted(text)
  if string.find(text, '"', 1, true) or string.find(text, '\\', 1, true) then text = string.gsub(text, '["\\]', '\\%0') end
  return '"' .. text .. '"'
end

-- line has the request and the user as far as they are given. A request id needs no escape.
local function line(book, request, user)
  if user then return '["' .. request .. '",' .. quoted(book) .. ',' .. quoted(user) .. ']' end
  if request then return '["' .. request .. '",' .. quoted(book) .. ']' end
  return quoted(book)
end

-- list changes the first and the last text: they keep the brackets. Redis's Lua hashes
-- every byte of each string it makes, so the brackets must not cost one more long string.
local function list(texts, first, last)
  texts[first] = '[' .. texts[first]
  texts[last] = texts[last] .. ']'
  return table.concat(texts, ',', first, last)
end

-- lists spreads few texts over many arrays if it is told no size, so that every instance
-- can fetch some of the books, and packs many into few, because an entry costs more than
-- a book.
local function lists(texts, size)
  local all, count = {}, #texts
  size = size or math.max(1, math.min(16, math.ceil(count / 16)))
  for first = 1, count, size do all[#all + 1] = list(texts, first, math.min(first + size - 1, count)) end
  return all
end
