-- fetch.lua takes a batch of ordered books off the shelves and sends them to the
-- lending service.
--
-- An order can overtake the return of the same book, for they come by different
-- streams. The book is then noted as awaited, and store.lua hands it on.
--
-- KEYS[1] instance    STRING  the lock of the instance that calls
-- KEYS[2] fetches     STREAM  the inbox the entries were read from
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
--         orders as they are passed on (JSON), and for each book its request id and
--         the book; at most 2,000 books a call
--
-- Returns an array with one word a book, in order of precedence:
--         "gone"      its entry is not pending for this instance: nothing was done
--         "fetched"   the book left the shelves
--         "awaited"   the book is out; it will be handed on when it comes back
--         "conflict"  another order awaits the book already: nothing was done, and an
--                     entry of this book alone is still pending
--         "apart"     the same, in an entry of several books: it has an entry of its own now
-- Emits   one "fetched" an entry of that result, one "awaited" an entry of that result
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local fetches = KEYS[2]
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
need('XADD', deliveries, '*', '', '') need('INCRBY', away, 0) need('HSET', awaited, '', '') need('XADD', fetches, '*', '', '')
need('XACK', fetches, group, '0-0') need('XLEN', fetches) need('XINFO', 'GROUPS', fetches) need('XTRIM', fetches, 'MINID', 0) need('XDEL', fetches, '0-0')
local bays = { unpack(KEYS, 7) }
local ids, texts, last, requests, books, outs = {}, {}, {}, {}, {}, {}
local entries, total, arg, args = 0, 0, 5, #ARGV
while arg <= args do
  entries = entries + 1
  ids[entries], texts[entries] = ARGV[arg], ARGV[arg + 2]
  local count = tonumber(ARGV[arg + 1])
  for i = arg + 3, arg + 1 + 2 * count, 2 do
    total = total + 1
    requests[total], books[total] = ARGV[i], ARGV[i + 1]
    need('HSET', bays[total], '', '')
    outs[total] = call('HEXISTS', bays[total], ARGV[i + 1]) == 1
  end
  arg, last[entries] = arg + 3 + 2 * count, total
end
local pending = {}
for _, entry in ipairs(call('XPENDING', fetches, group, ids[1], ids[#ids], 1000000, name)) do
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
local replies, acknowledged, left, noted, apart = {}, {}, {}, {}, {}
local fetched, waiting, out, awaited_by = {}, {}, {}, {}
local leaves, first = 0, 1
for n, id in ipairs(ids) do
  local here, before, late, stays = pending[id], leaves, {}, false
  for i = first, last[n] do
    local request, book = requests[i], books[i]
    local word
    if not here then
      word = 'gone'
    elseif not (outs[i] or out[book]) then
      word = 'fetched'
      out[book] = true
      leaves = leaves + 1
      left[leaves] = i
    elseif not (waits[i] or awaited_by[book]) then
      word = 'awaited'
      awaited_by[book] = request
      noted[#noted + 1] = book
      noted[#noted + 1] = request
      late[#late + 1] = order(request, book)
    elseif last[n] == first then
      word, stays = 'conflict', true
    else
      word = 'apart'
      apart[#apart + 1] = '[' .. order(request, book) .. ']'
    end
    replies[i] = word
  end
  if leaves - before == last[n] - first + 1 then
    fetched[#fetched + 1] = texts[n]
  elseif leaves > before then
    local some = {}
    for k = before + 1, leaves do some[#some + 1] = order(requests[left[k]], books[left[k]]) end
    fetched[#fetched + 1] = '[' .. table.concat(some, ',') .. ']'
  end
  if #late > 0 then waiting[#waiting + 1] = '[' .. table.concat(late, ',') .. ']' end
  if here and not stays then acknowledged[#acknowledged + 1] = id end
  first = last[n] + 1
end

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
for _, orders in ipairs(fetched) do
  call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'fetched', 'by', name, 'orders', orders)
  call('XADD', deliveries, '*', 'orders', orders)
end
for _, orders in ipairs(waiting) do
  call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'awaited', 'by', name, 'orders', orders)
end
for _, i in ipairs(left) do call('HSET', bays[i], books[i], '') end
if leaves > 0 then call('INCRBY', away, leaves) end
if #noted > 0 then call('HSET', awaited, unpack(noted)) end
for _, orders in ipairs(apart) do call('XADD', fetches, '*', 'orders', orders) end
if #acknowledged > 0 then call('XACK', fetches, group, unpack(acknowledged)) end

-- Trim to what is still needed: nothing of an entry that stood alone; else the oldest
-- pending entry and all after it, or, where nothing is pending, all after the last one
-- delivered. (The group's lag would tell sooner that nothing is left, but after
-- deletions Redis may estimate it.)
if #acknowledged == 0 or call('XLEN', fetches) > 1 or call('XDEL', fetches, acknowledged[1]) == 0 then
  local oldest = call('XPENDING', fetches, group, '-', '+', 1)[1]
  if oldest then
    call('XTRIM', fetches, 'MINID', oldest[1])
  else
    for _, info in ipairs(call('XINFO', 'GROUPS', fetches)) do
      for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
      if info.name == group then
        call('XDEL', fetches, info['last-delivered-id'])
        call('XTRIM', fetches, 'MINID', info['last-delivered-id'])
      end
    end
  end
end
return replies
