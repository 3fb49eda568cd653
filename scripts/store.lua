-- store.lua puts a batch of books on the shelves, or hands a book that is awaited
-- straight on to the lending service.
--
-- KEYS[1] instance    STRING  the lock of the instance that calls
-- KEYS[2] stores      STREAM  the inbox the entries were read from
-- KEYS[3] away        STRING  how many books are not on the shelves
-- KEYS[4] awaited     HASH    book -> request, for books that are out and ordered again
-- KEYS[5] deliveries  STREAM  the lending service's inbox for books from the shelves
-- KEYS[6] events      STREAM  the log
-- KEYS[7...] for each book: what is out of its bay of the shelves (HASH book -> "")
--
-- ARGV[1] token    the token in the instance's lock
-- ARGV[2] name     the instance's name, under which the entries are pending
-- ARGV[3] group    the group that reads the inbox
-- ARGV[4] log_max  about how many entries the log keeps
-- ARGV[5...] for each entry, by ascending entry id: its entry id, number of books, the
--         books as they are logged (JSON), and the books; at most 2,000 books a call
--
-- Returns an array with one word a book, in order of precedence:
--         "gone"       its entry is not pending for this instance: nothing was done
--         "handed_on"  the book goes to the request that awaited it
--         "stored"     the book is on the shelves
--         "conflict"   the book is on the shelves already: nothing was done, and an
--                      entry of this book alone is still pending
--         "apart"      the same, in an entry of several books: it has an entry of its own now
-- Emits   one "handed_on" an entry of that result, one "stored" an entry of that result
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local stores = KEYS[2]
local away = KEYS[3]
local awaited = KEYS[4]
local deliveries = KEYS[5]
local events = KEYS[6]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local log_max = ARGV[4]

-- Read. An entry that is no longer pending for this instance was handled by
-- another, or by an earlier call whose answer was lost.
local call = redis.call
if call('GETRANGE', instance, 0, #token - 1) ~= token then
  return redis.error_reply('FENCED the instance no longer holds its name')
end
-- Redis asks whether the user of the connection may run a command only when a script
-- comes to it, and keeps what was written before. So all that may be run past the
-- first write is asked for now. (The embedded server knows no permissions.)
local function need(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then
    error(redis.error_reply('NOPERM this Redis user may not run ' .. table.concat({ ... }, ' ', 1, (...) == 'XINFO' and 3 or 2)))
  end
end
need('XADD', deliveries, '*', '', '') need('HDEL', awaited, '') need('DECRBY', away, 0) need('XADD', stores, '*', '', '')
need('XACK', stores, group, '0-0') need('XLEN', stores) need('XINFO', 'GROUPS', stores) need('XTRIM', stores, 'MINID', 0) need('XDEL', stores, '0-0')
local bays = { unpack(KEYS, 7) }
local ids, texts, last, books, outs = {}, {}, {}, {}, {}
local entries, total, arg, args = 0, 0, 5, #ARGV
while arg <= args do
  entries = entries + 1
  ids[entries], texts[entries] = ARGV[arg], ARGV[arg + 2]
  local count = tonumber(ARGV[arg + 1])
  for i = arg + 3, arg + 2 + count do
    total = total + 1
    books[total] = ARGV[i]
    need('HDEL', bays[total], '')
    outs[total] = call('HEXISTS', bays[total], ARGV[i]) == 1
  end
  arg, last[entries] = arg + 3 + count, total
end
local pending = {}
for _, entry in ipairs(call('XPENDING', stores, group, ids[1], ids[#ids], 1000000, name)) do
  pending[entry[1]] = true
end
-- A key of the wrong type must fault now, before the first write.
if not string.match(call('GET', away) or '0', '^%-?%d+$') then
  return redis.error_reply('ERR what is away is counted by a number')
end
call('XLEN', deliveries)
local waits = call('HMGET', awaited, unpack(books))

-- Decide.
-- quoted makes a name a JSON string. Few names have anything to escape, and looking for
-- it is quicker than replacing nothing.
local function quoted(text)
  if string.find(text, '"', 1, true) or string.find(text, '\\', 1, true) then text = string.gsub(text, '["\\]', '\\%0') end
  return '"' .. text .. '"'
end
local function order(request, book) return '["' .. request .. '",' .. quoted(book) .. ']' end
local replies, acknowledged, back, passed, apart = {}, {}, {}, {}, {}
local stored, handed, settled = {}, {}, {}
local come, first = 0, 1
for n, id in ipairs(ids) do
  local here, before, given, stays = pending[id], come, {}, false
  for i = first, last[n] do
    local book = books[i]
    local word
    if not here then
      word = 'gone'
    elseif outs[i] and waits[i] and not settled[book] then
      word = 'handed_on'
      settled[book] = 'out'
      passed[#passed + 1] = book
      given[#given + 1] = order(waits[i], book)
    elseif outs[i] and settled[book] ~= 'in' then
      word = 'stored'
      settled[book] = 'in'
      come = come + 1
      back[come] = i
    elseif last[n] == first then
      word, stays = 'conflict', true
    else
      word = 'apart'
      apart[#apart + 1] = '[' .. quoted(book) .. ']'
    end
    replies[i] = word
  end
  if come - before == last[n] - first + 1 then
    stored[#stored + 1] = texts[n]
  elseif come > before then
    local some = {}
    for k = before + 1, come do some[#some + 1] = quoted(books[back[k]]) end
    stored[#stored + 1] = '[' .. table.concat(some, ',') .. ']'
  end
  if #given > 0 then handed[#handed + 1] = '[' .. table.concat(given, ',') .. ']' end
  if here and not stays then acknowledged[#acknowledged + 1] = id end
  first = last[n] + 1
end

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
for _, orders in ipairs(handed) do
  call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'handed_on', 'by', name, 'orders', orders)
  call('XADD', deliveries, '*', 'orders', orders)
end
for _, text in ipairs(stored) do
  call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'stored', 'by', name, 'books', text)
end
if #passed > 0 then call('HDEL', awaited, unpack(passed)) end
for _, i in ipairs(back) do call('HDEL', bays[i], books[i]) end
if come > 0 then call('DECRBY', away, come) end
for _, text in ipairs(apart) do call('XADD', stores, '*', 'books', text) end
if #acknowledged > 0 then call('XACK', stores, group, unpack(acknowledged)) end

-- Trim to what is still needed: nothing of an entry that stood alone; else the oldest
-- pending entry and all after it, or, where nothing is pending, all after the last one
-- delivered. (The group's lag would tell sooner that nothing is left, but after
-- deletions Redis may estimate it.)
if #acknowledged == 0 or call('XLEN', stores) > 1 or call('XDEL', stores, acknowledged[1]) == 0 then
  local oldest = call('XPENDING', stores, group, '-', '+', 1)[1]
  if oldest then
    call('XTRIM', stores, 'MINID', oldest[1])
  else
    for _, info in ipairs(call('XINFO', 'GROUPS', stores)) do
      for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
      if info.name == group then
        call('XDEL', stores, info['last-delivered-id'])
        call('XTRIM', stores, 'MINID', info['last-delivered-id'])
      end
    end
  end
end
return replies
