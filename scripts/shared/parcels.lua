-- parcels.lua handles a batch of entries that one service sends the other, each with
-- several books, for fetch.lua, store.lua and deliver.lua. A book has a word: what became
-- of it.
--
-- read_parcels  the batch, in columns
-- gone          the word for each book whose entry is not pending
-- set_apart     the word for each book that has none; the entries that are finished
-- pick          some of a column, by their places
-- arrays        some of the books, as a JSON array for each entry

-- read_parcels reads ARGV from the argument first on. An entry has head arguments (its id,
-- how many books it has, and if there is a third its list as it is passed on), then width
-- for each book: if two, its request, and its name. last is each entry's last book.
local function read_parcels(first, head, width)
  local ids, texts, last, requested, books = {}, {}, {}, {}, {}
  local args, entries, total, arg = ARGV, 0, 0, first -- a local is found sooner than a global
  while args[arg] do
    entries = entries + 1
    ids[entries], texts[entries] = args[arg], args[arg + 2]
    local after = arg + head + width * tonumber(args[arg + 1])
    for i = arg + head, after - 1, width do
      total = total + 1
      requested[total], books[total] = args[i], args[i + width - 1]
    end
    arg, last[entries] = after, total
  end
  return ids, texts, last, requested, books
end

-- gone is the gate against repeats: an entry that is not pending for this instance was
-- handled by another, or by an earlier call whose reply was lost.
local function gone(inbox, group, name, ids, last)
  local pending, words, first = {}, {}, 1
  for _, entry in ipairs(call('XPENDING', inbox, group, ids[1], ids[#ids], '1000000', name)) do pending[entry[1]] = true end
  for n, id in ipairs(ids) do
    if not pending[id] then
      for i = first, last[n] do words[i] = 'gone' end
    end
    first = last[n] + 1
  end
  return words
end

-- A book without a word contradicts the state. It must not hold up the others: if it is
-- alone, its entry stays pending (conflict); else it gets an entry of its own (apart).
local function set_apart(ids, last, words)
  local finished, apart, first = {}, {}, 1
  for n, id in ipairs(ids) do
    local alone = first == last[n]
    for i = first, last[n] do
      if not words[i] then
        words[i] = alone and 'conflict' or 'apart'
        if not alone then apart[#apart + 1] = i end
      end
    end
    if words[first] ~= 'gone' and words[first] ~= 'conflict' then finished[#finished + 1] = id end
    first = last[n] + 1
  end
  return finished, apart
end

local function pick(column, some)
  local picked = {}
  for k = 1, #some do picked[k] = column[some[k]] end
  return picked
end

-- arrays has for each book a line of what is given: requested, users. If texts are given,
-- an entry all of whose books are among them is passed on as it is.
local function arrays(some, last, books, requested, users, texts)
  local all, n, from, count = {}, 1, 1, #some
  while from <= count do
    while last[n] < some[from] do n = n + 1 end
    local to = from
    while to < count and some[to + 1] <= last[n] do to = to + 1 end
    if texts and to - from + 1 == last[n] - (last[n - 1] or 0) then
      all[#all + 1] = texts[n]
    else
      local lines = {}
      for k = from, to do
        local i = some[k]
        lines[k - from + 1] = line(books[i], requested and requested[i], users and users[i])
      end
      all[#all + 1] = list(lines, 1, to - from + 1)
    end
    from = to + 1
  end
  return all
end
