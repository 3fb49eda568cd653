-- return.lua decides a batch of returns, one after another, and ends the loans.
--
-- A book comes back into front storage; what that has no room for goes to the
-- shelving service, the books in least demand first.
--
-- KEYS[1]  instance   STRING  the lock of the instance that calls
-- KEYS[2]  returns    STREAM  the inbox the entries were read from
-- KEYS[3]  loans      HASH    book -> user
-- KEYS[4]  fetching   HASH    book -> "request bell", for books on their way from the shelves
-- KEYS[5]  front      ZSET    the books in front storage, scored by demand
-- KEYS[6]  demand     ZSET    how often books are asked for, aged
-- KEYS[7]  stores     STREAM  the shelving service's inbox for books to put away
-- KEYS[8]  events     STREAM  the log
-- KEYS[9...] two for each entry: its receipt (STRING), its user's card (HASH book -> "due_ms since_ms")
--
-- ARGV[1]  token         the token in the instance's lock
-- ARGV[2]  name          the instance's name
-- ARGV[3]  group         the group that reads the inbox
-- ARGV[4]  front_max     how many books front storage has room for
-- ARGV[5]  receipt_ms    how long a receipt is kept
-- ARGV[6]  log_max       about how many entries the log keeps
-- ARGV[7]  bells         the prefix of the channels on which receipts are rung
-- ARGV[8...] for each entry: its entry id, request id, user, bell ("" for none),
--          number of books, and the books, each once; at most 2,000 books a call
--
-- Returns  an array with one text an entry, in order of precedence:
--          "repeat"  the request has a receipt already: only acknowledged
--          otherwise the receipt, a JSON object
-- Emits    one "returned" or "refused" a decided entry, one "shelved" a call that
--          sent books from front storage to the shelves
-- Faults   FENCED  the instance no longer holds its name; nothing was written
local instance = KEYS[1]
local returns = KEYS[2]
local loans = KEYS[3]
local fetching = KEYS[4]
local front = KEYS[5]
local demand = KEYS[6]
local stores = KEYS[7]
local events = KEYS[8]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local front_max = tonumber(ARGV[4])
local receipt_ms = ARGV[5]
local log_max = ARGV[6]
local bells = ARGV[7]

-- Read.
if redis.call('GETRANGE', instance, 0, #token - 1) ~= token then
  return redis.error_reply('FENCED the instance no longer holds its name')
end
local entries, books, receipts = {}, {}, {}
local key, arg = 9, 8
while arg <= #ARGV do
  local entry = {
    id = ARGV[arg], request = ARGV[arg + 1], user = ARGV[arg + 2], bell = ARGV[arg + 3],
    count = tonumber(ARGV[arg + 4]), first = #books, receipt = KEYS[key], card = KEYS[key + 1],
  }
  for i = 1, entry.count do books[entry.first + i] = ARGV[arg + 4 + i] end
  entries[#entries + 1] = entry
  receipts[#receipts + 1] = entry.receipt
  key, arg = key + 2, arg + 5 + entry.count
end
-- A key of the wrong type must fault now, before the first write.
redis.call('XPENDING', returns, group)
redis.call('XLEN', stores)
redis.call('XLEN', events)
for _, entry in ipairs(entries) do redis.call('HLEN', entry.card) end
local standing = redis.call('MGET', unpack(receipts))
local holders = redis.call('HMGET', loans, unpack(books))
local travelling = redis.call('HMGET', fetching, unpack(books))
local scores = redis.call('ZMSCORE', demand, unpack(books))
local stored = redis.call('ZCARD', front)

-- Decide.
local function quoted(text) return '"' .. string.gsub(text, '["\\]', '\\%0') .. '"' end
local holder = {}
for i, book in ipairs(books) do holder[book] = holders[i] or nil end
local seen, replies, acknowledged = {}, {}, {}
local decided, ended, fronted = {}, {}, {}
for n, entry in ipairs(entries) do
  acknowledged[n] = entry.id
  if standing[n] or seen[entry.request] then
    replies[n] = 'repeat'
  else
    local lines, brought = {}, {}
    for i = entry.first + 1, entry.first + entry.count do
      local book, result = books[i], 'returned'
      if holder[book] ~= entry.user then
        result = 'not_yours'
      elseif travelling[i] then
        result = 'on_its_way'
      else
        holder[book] = nil
        brought[#brought + 1] = book
        ended[#ended + 1] = book
        fronted[#fronted + 1] = scores[i] or '0'
        fronted[#fronted + 1] = book
      end
      lines[#lines + 1] = '{"book":' .. quoted(book) .. ',"result":"' .. result .. '"}'
    end
    entry.brought = brought
    entry.event = #brought > 0 and 'returned' or 'refused'
    local outcome = #brought == 0 and 'refused' or #brought == entry.count and 'returned' or 'partial'
    entry.text = '{"id":' .. quoted(entry.request) .. ',"action":"return","user":' .. quoted(entry.user)
      .. ',"outcome":"' .. outcome .. '","books":[' .. table.concat(lines, ',') .. ']}'
    seen[entry.request] = entry.text
    decided[#decided + 1] = entry
    replies[n] = entry.text
  end
end

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
for _, entry in ipairs(decided) do
  redis.call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', entry.event, 'by', name, 'receipt', entry.text)
end
if #ended > 0 then
  redis.call('HDEL', loans, unpack(ended))
  redis.call('ZADD', front, unpack(fronted))
end
for _, entry in ipairs(decided) do
  if #entry.brought > 0 then redis.call('HDEL', entry.card, unpack(entry.brought)) end
  redis.call('SET', entry.receipt, entry.text, 'PX', receipt_ms)
end

-- All that came back stands in front for a moment; then the surplus goes. Where
-- front_max was lowered, a call moves at most 1,000 books more than came back.
local surplus = math.min(stored + #ended - front_max, #ended + 1000)
if #ended > 0 and surplus > 0 then
  local shelved = {}
  local popped = redis.call('ZPOPMIN', front, surplus)
  for i = 1, #popped, 2 do
    shelved[#shelved + 1] = quoted(popped[i])
    redis.call('XADD', stores, '*', 'book', popped[i])
  end
  redis.call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'shelved', 'by', name,
    'books', '[' .. table.concat(shelved, ',') .. ']')
end
for n, entry in ipairs(entries) do
  if entry.bell ~= '' then
    redis.call('PUBLISH', bells .. entry.bell, entry.text or standing[n] or seen[entry.request])
  end
end
redis.call('XACK', returns, group, unpack(acknowledged))

-- Trim to what is still needed: the oldest pending entry and all after it, or,
-- where nothing is pending, all after the last one delivered.
local pending = redis.call('XPENDING', returns, group)
local keep = pending[2]
if pending[1] == 0 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', returns)) do
    for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
    if info.name == group then keep = info['last-delivered-id'] end
  end
  redis.call('XDEL', returns, keep)
end
redis.call('XTRIM', returns, 'MINID', keep)
return replies
