-- store.lua puts a batch of books on the shelves, or hands a book that is awaited
-- straight on to the lending service.
--
-- KEYS[1] instance    STRING  the lock of the instance that calls
-- KEYS[2] stores      STREAM  the inbox the entries were read from
-- KEYS[3] out         HASH    book -> request, for all that is not on the shelves
-- KEYS[4] awaited     HASH    book -> request, for books that are out and ordered again
-- KEYS[5] deliveries  STREAM  the lending service's inbox for books from the shelves
-- KEYS[6] events      STREAM  the log
--
-- ARGV[1] token    the token in the instance's lock
-- ARGV[2] name     the instance's name, under which the entries are pending
-- ARGV[3] group    the group that reads the inbox
-- ARGV[4] log_max  about how many entries the log keeps
-- ARGV[5...] for each entry, by ascending entry id: its entry id, book; at most
--         2,000 entries a call
--
-- Returns an array with one word an entry, in order of precedence:
--         "gone"       it is not pending for this instance: nothing was done
--         "conflict"   the book is on the shelves already: nothing was done
--         "handed_on"  the book goes to the request that awaited it
--         "stored"     the book is on the shelves
-- Emits   one "handed_on" or "stored" an entry of that result
-- Faults  FENCED  the instance no longer holds its name; nothing was written
local instance = KEYS[1]
local stores = KEYS[2]
local out = KEYS[3]
local awaited = KEYS[4]
local deliveries = KEYS[5]
local events = KEYS[6]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local log_max = ARGV[4]

-- Read. An entry that is no longer pending for this instance was handled by
-- another, or by an earlier call whose answer was lost.
if redis.call('GETRANGE', instance, 0, #token - 1) ~= token then
  return redis.error_reply('FENCED the instance no longer holds its name')
end
local ids, books = {}, {}
for arg = 5, #ARGV, 2 do
  ids[#ids + 1] = ARGV[arg]
  books[#books + 1] = ARGV[arg + 1]
end
local pending = {}
for _, entry in ipairs(redis.call('XPENDING', stores, group, ids[1], ids[#ids], 1000000, name)) do
  pending[entry[1]] = true
end
-- A key of the wrong type must fault now, before the first write.
redis.call('XLEN', deliveries)
redis.call('XLEN', events)
local outs = redis.call('HMGET', out, unpack(books))
local waits = redis.call('HMGET', awaited, unpack(books))

-- Decide.
local out_for, awaited_for = {}, {}
for i, book in ipairs(books) do
  out_for[book] = outs[i] or nil
  awaited_for[book] = waits[i] or nil
end
local replies, requests, acknowledged = {}, {}, {}
local stored, handed, passed = {}, {}, {}
for i, id in ipairs(ids) do
  local book = books[i]
  if not pending[id] then
    replies[i] = 'gone'
  elseif not out_for[book] then
    replies[i] = 'conflict'
  elseif awaited_for[book] then
    replies[i] = 'handed_on'
    requests[i] = awaited_for[book]
    handed[#handed + 1] = book
    passed[#passed + 1] = book
    passed[#passed + 1] = requests[i]
    out_for[book], awaited_for[book] = requests[i], nil
  else
    replies[i] = 'stored'
    out_for[book] = nil
    stored[#stored + 1] = book
  end
  if replies[i] == 'handed_on' or replies[i] == 'stored' then acknowledged[#acknowledged + 1] = id end
end

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
for i, reply in ipairs(replies) do
  if reply == 'stored' then
    redis.call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', reply, 'by', name, 'book', books[i])
  elseif reply == 'handed_on' then
    redis.call('XADD', events, 'MAXLEN', '~', log_max, '*',
      'event', reply, 'by', name, 'request', requests[i], 'book', books[i])
  end
end
if #passed > 0 then
  redis.call('HSET', out, unpack(passed))
  redis.call('HDEL', awaited, unpack(handed))
end
if #stored > 0 then redis.call('HDEL', out, unpack(stored)) end
for i, reply in ipairs(replies) do
  if reply == 'handed_on' then
    redis.call('XADD', deliveries, '*', 'request', requests[i], 'book', books[i])
  end
end
if #acknowledged > 0 then redis.call('XACK', stores, group, unpack(acknowledged)) end

-- Trim to what is still needed: the oldest pending entry and all after it, or,
-- where nothing is pending, all after the last one delivered.
local left = redis.call('XPENDING', stores, group)
local keep = left[2]
if left[1] == 0 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stores)) do
    for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
    if info.name == group then keep = info['last-delivered-id'] end
  end
  redis.call('XDEL', stores, keep)
end
redis.call('XTRIM', stores, 'MINID', keep)
return replies
