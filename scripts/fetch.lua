-- fetch.lua takes a batch of ordered books off the shelves and sends them to the
-- lending service.
--
-- An order can overtake the return of the same book, for they come by different
-- streams. The book is then noted as awaited, and store.lua hands it on.
--
-- KEYS[1] instance    STRING  the lock of the instance that calls
-- KEYS[2] fetches     STREAM  the inbox the entries were read from
-- KEYS[3] out         HASH    book -> request, for all that is not on the shelves
-- KEYS[4] awaited     HASH    book -> request, for books that are out and ordered again
-- KEYS[5] deliveries  STREAM  the lending service's inbox for books from the shelves
-- KEYS[6] events      STREAM  the log
--
-- ARGV[1] token    the token in the instance's lock
-- ARGV[2] name     the instance's name, under which the entries are pending
-- ARGV[3] group    the group that reads the inbox
-- ARGV[4] log_max  about how many entries the log keeps
-- ARGV[5...] for each entry, by ascending entry id: its entry id, request id, book;
--         at most 2,000 entries a call
--
-- Returns an array with one word an entry, in order of precedence:
--         "gone"      it is not pending for this instance: nothing was done
--         "fetched"   the book left the shelves
--         "repeat"    the book is out or awaited for this very request: only acknowledged
--         "awaited"   the book is out; it will be handed on when it comes back
--         "conflict"  another request awaits the book already: nothing was done
-- Emits   one "fetched" or "awaited" an entry of that result
-- Faults  FENCED  the instance no longer holds its name; nothing was written
local instance = KEYS[1]
local fetches = KEYS[2]
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
local ids, requests, books = {}, {}, {}
for arg = 5, #ARGV, 3 do
  ids[#ids + 1] = ARGV[arg]
  requests[#requests + 1] = ARGV[arg + 1]
  books[#books + 1] = ARGV[arg + 2]
end
local pending = {}
for _, entry in ipairs(redis.call('XPENDING', fetches, group, ids[1], ids[#ids], 1000000, name)) do
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
local replies, acknowledged, taken, noted = {}, {}, {}, {}
for i, id in ipairs(ids) do
  local request, book = requests[i], books[i]
  if not pending[id] then
    replies[i] = 'gone'
  elseif not out_for[book] then
    replies[i] = 'fetched'
    out_for[book] = request
    taken[#taken + 1] = book
    taken[#taken + 1] = request
  elseif out_for[book] == request or awaited_for[book] == request then
    replies[i] = 'repeat'
  elseif not awaited_for[book] then
    replies[i] = 'awaited'
    awaited_for[book] = request
    noted[#noted + 1] = book
    noted[#noted + 1] = request
  else
    replies[i] = 'conflict'
  end
  if replies[i] ~= 'gone' and replies[i] ~= 'conflict' then acknowledged[#acknowledged + 1] = id end
end

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
for i, reply in ipairs(replies) do
  if reply == 'fetched' or reply == 'awaited' then
    redis.call('XADD', events, 'MAXLEN', '~', log_max, '*',
      'event', reply, 'by', name, 'request', requests[i], 'book', books[i])
  end
end
if #taken > 0 then redis.call('HSET', out, unpack(taken)) end
if #noted > 0 then redis.call('HSET', awaited, unpack(noted)) end
for i, reply in ipairs(replies) do
  if reply == 'fetched' then
    redis.call('XADD', deliveries, '*', 'request', requests[i], 'book', books[i])
  end
end
if #acknowledged > 0 then redis.call('XACK', fetches, group, unpack(acknowledged)) end

-- Trim to what is still needed: the oldest pending entry and all after it, or,
-- where nothing is pending, all after the last one delivered.
local left = redis.call('XPENDING', fetches, group)
local keep = left[2]
if left[1] == 0 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', fetches)) do
    for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
    if info.name == group then keep = info['last-delivered-id'] end
  end
  redis.call('XDEL', fetches, keep)
end
redis.call('XTRIM', fetches, 'MINID', keep)
return replies
