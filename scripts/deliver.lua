-- deliver.lua notes that a batch of books from the shelves is in the users' hands.
--
-- A book that nobody ordered is sent back: a forged order must not keep a book
-- from the shelves for ever.
--
-- KEYS[1] instance    STRING  the lock of the instance that calls
-- KEYS[2] deliveries  STREAM  the inbox the entries were read from
-- KEYS[3] loans       HASH    book -> user
-- KEYS[4] fetching    HASH    book -> "request bell", for books on their way from the shelves
-- KEYS[5] front       ZSET    the books in front storage, scored by demand
-- KEYS[6] stores      STREAM  the shelving service's inbox for books to put away
-- KEYS[7] events      STREAM  the log
--
-- ARGV[1] token    the token in the instance's lock
-- ARGV[2] name     the instance's name, under which the entries are pending
-- ARGV[3] group    the group that reads the inbox
-- ARGV[4] log_max  about how many entries the log keeps
-- ARGV[5] bells    the prefix of the channels on which arrivals are rung
-- ARGV[6...] for each entry, by ascending entry id: its entry id, request id, book;
--         at most 2,000 entries a call
--
-- Returns an array with a pair an entry: a word and, where known, the user (else ""),
--         the word being, in order of precedence:
--         "gone"       it is not pending for this instance: nothing was done
--         "delivered"  the book is in the user's hands
--         "conflict"   the one copy is in a user's hands or in front storage: nothing was done
--         "sent_back"  this request is not waiting for the book, which goes back to the shelves
-- Emits   one "delivered" or "sent_back" an entry of that result
-- Faults  FENCED  the instance no longer holds its name; nothing was written
local instance = KEYS[1]
local deliveries = KEYS[2]
local loans = KEYS[3]
local fetching = KEYS[4]
local front = KEYS[5]
local stores = KEYS[6]
local events = KEYS[7]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local log_max = ARGV[4]
local bells = ARGV[5]

-- Read. An entry that is no longer pending for this instance was handled by
-- another, or by an earlier call whose answer was lost.
if redis.call('GETRANGE', instance, 0, #token - 1) ~= token then
  return redis.error_reply('FENCED the instance no longer holds its name')
end
local ids, requests, books = {}, {}, {}
for arg = 6, #ARGV, 3 do
  ids[#ids + 1] = ARGV[arg]
  requests[#requests + 1] = ARGV[arg + 1]
  books[#books + 1] = ARGV[arg + 2]
end
local pending = {}
for _, entry in ipairs(redis.call('XPENDING', deliveries, group, ids[1], ids[#ids], 1000000, name)) do
  pending[entry[1]] = true
end
-- A key of the wrong type must fault now, before the first write.
redis.call('XLEN', stores)
redis.call('XLEN', events)
local holders = redis.call('HMGET', loans, unpack(books))
local awaits = redis.call('HMGET', fetching, unpack(books))
local fronted = redis.call('ZMSCORE', front, unpack(books))

-- Decide.
local function quoted(text) return '"' .. string.gsub(text, '["\\]', '\\%0') .. '"' end
local order = {}
for i, book in ipairs(books) do order[book] = awaits[i] or nil end
local replies, rings, acknowledged, arrived = {}, {}, {}, {}
for i, id in ipairs(ids) do
  local request, book, reply = requests[i], books[i], nil
  local ordered_by, bell = string.match(order[book] or '', '^(%S+) (%S*)$')
  if not pending[id] then
    reply = 'gone'
  elseif ordered_by == request then
    reply = 'delivered'
    order[book] = nil
    arrived[#arrived + 1] = book
    if bell ~= '' then
      rings[#rings + 1] = { bell = bell, text = '{"id":' .. quoted(request) .. ',"delivered":' .. quoted(book) .. '}' }
    end
  elseif not ordered_by and (holders[i] or fronted[i]) then
    reply = 'conflict'
  else
    reply = 'sent_back'
  end
  replies[i] = { reply, holders[i] or '' }
  if reply ~= 'gone' and reply ~= 'conflict' then acknowledged[#acknowledged + 1] = id end
end

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
for i, reply in ipairs(replies) do
  if reply[1] == 'delivered' or reply[1] == 'sent_back' then
    redis.call('XADD', events, 'MAXLEN', '~', log_max, '*',
      'event', reply[1], 'by', name, 'request', requests[i], 'book', books[i], 'user', reply[2])
  end
end
if #arrived > 0 then redis.call('HDEL', fetching, unpack(arrived)) end
for i, reply in ipairs(replies) do
  if reply[1] == 'sent_back' then redis.call('XADD', stores, '*', 'book', books[i]) end
end
for _, ring in ipairs(rings) do redis.call('PUBLISH', bells .. ring.bell, ring.text) end
if #acknowledged > 0 then redis.call('XACK', deliveries, group, unpack(acknowledged)) end

-- Trim to what is still needed: the oldest pending entry and all after it, or,
-- where nothing is pending, all after the last one delivered.
local left = redis.call('XPENDING', deliveries, group)
local keep = left[2]
if left[1] == 0 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', deliveries)) do
    for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
    if info.name == group then keep = info['last-delivered-id'] end
  end
  redis.call('XDEL', deliveries, keep)
end
redis.call('XTRIM', deliveries, 'MINID', keep)
return replies
