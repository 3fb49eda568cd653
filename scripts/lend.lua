-- lend.lua decides a batch of requests, one after another: who gets which book.
--
-- The books a user asks for are lent if at least one is free and the user's card
-- has room for all that are free. What stands in front storage is in the user's
-- hands at once; anything else is ordered from the shelving service.
--
-- KEYS[1]  instance   STRING  the lock of the instance that calls
-- KEYS[2]  requests   STREAM  the inbox the entries were read from
-- KEYS[3]  loans      HASH    book -> user
-- KEYS[4]  fetching   HASH    book -> "request bell", for books on their way from the shelves
-- KEYS[5]  front      ZSET    the books in front storage, scored by demand
-- KEYS[6]  demand     ZSET    how often books are asked for, aged
-- KEYS[7]  clock      STRING  the clock by which demand ages: every ask moves it by ln 2 / demand_half
-- KEYS[8]  fetches    STREAM  the shelving service's inbox for orders
-- KEYS[9]  events     STREAM  the log
-- KEYS[10...] two for each entry: its receipt (STRING), its user's card (HASH book -> "due_ms since_ms")
--
-- ARGV[1]  token         the token in the instance's lock
-- ARGV[2]  name          the instance's name
-- ARGV[3]  group         the group that reads the inbox
-- ARGV[4]  loans_max     how many books a user may hold
-- ARGV[5]  loan_ms       how long a loan lasts
-- ARGV[6]  receipt_ms    how long a receipt is kept
-- ARGV[7]  log_max       about how many entries the log keeps
-- ARGV[8]  demand_max    how many books' demand is remembered
-- ARGV[9]  demand_half   after how many asks an ask counts half
-- ARGV[10] bells         the prefix of the channels on which receipts are rung
-- ARGV[11...] for each entry: its entry id, request id, user, bell ("" for none),
--          number of books, and the books, each once; at most 2,000 books a call
--
-- Returns  an array with one text an entry, in order of precedence:
--          "repeat"  the request has a receipt already: only acknowledged
--          otherwise the receipt, a JSON object
-- Emits    one "lent" or "denied" a decided entry
-- Faults   FENCED  the instance no longer holds its name; nothing was written
local instance = KEYS[1]
local requests = KEYS[2]
local loans = KEYS[3]
local fetching = KEYS[4]
local front = KEYS[5]
local demand = KEYS[6]
local clock = KEYS[7]
local fetches = KEYS[8]
local events = KEYS[9]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local loans_max = tonumber(ARGV[4])
local loan_ms = tonumber(ARGV[5])
local receipt_ms = ARGV[6]
local log_max = ARGV[7]
local demand_max = tonumber(ARGV[8])
local demand_half = tonumber(ARGV[9])
local bells = ARGV[10]

-- Read. One command fetches a fact for the whole batch: half of what a script
-- costs is the crossing into each command.
if redis.call('GETRANGE', instance, 0, #token - 1) ~= token then
  return redis.error_reply('FENCED the instance no longer holds its name')
end
local entries, books, receipts = {}, {}, {}
local key, arg = 10, 11
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
redis.call('XPENDING', requests, group)
redis.call('HLEN', fetching)
redis.call('XLEN', fetches)
redis.call('XLEN', events)
local standing = redis.call('MGET', unpack(receipts))
local holders = redis.call('HMGET', loans, unpack(books))
local fronted = redis.call('ZMSCORE', front, unpack(books))
local scores = redis.call('ZMSCORE', demand, unpack(books))
local age = tonumber(redis.call('GET', clock) or 0)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local since = string.format('%.0f', now_ms)
local due = string.format('%.0f', now_ms + loan_ms)

-- Decide. The tables hold what would be read again after each entry, so that
-- every entry is decided as if it had come alone.
local function quoted(text) return '"' .. string.gsub(text, '["\\]', '\\%0') .. '"' end
local holder, in_front, score, held = {}, {}, {}, {}
for i, book in ipairs(books) do
  holder[book] = holders[i] or nil
  in_front[book] = fronted[i] and true or nil
  score[book] = tonumber(scores[i] or nil)
end
local due_of, seen, replies, acknowledged = {}, {}, {}, {}
local decided, lent, ordered, taken = {}, {}, {}, {}
for n, entry in ipairs(entries) do
  acknowledged[n] = entry.id
  entry.repeated = standing[n] or seen[entry.request]
  if entry.repeated then
    replies[n] = 'repeat'
  else
    local user, card, free = entry.user, entry.card, 0
    for i = entry.first + 1, entry.first + entry.count do
      -- A book's demand is the logarithm of its asks, each weighing twice as much as one
      -- demand_half asks before it. So counters age without ever being touched.
      local book = books[i]
      local old = score[book]
      score[book] = old and math.max(old, age) + math.log(1 + math.exp(-math.abs(old - age))) or age
      age = age + math.log(2) / demand_half
      if not holder[book] then free = free + 1 end
    end
    held[card] = held[card] or redis.call('HLEN', card)
    local grants = free > 0 and held[card] + free <= loans_max
    local lines, loan = {}, {}
    for i = entry.first + 1, entry.first + entry.count do
      local book = books[i]
      local line = '{"book":' .. quoted(book) .. ',"result":'
      if holder[book] == user then
        due_of[book] = due_of[book] or string.match(redis.call('HGET', card, book) or '', '^%d+')
        line = line .. '"already_yours"' .. (due_of[book] and ',"due_ms":' .. due_of[book] or '')
      elseif holder[book] then
        line = line .. '"unavailable"'
      elseif not grants then
        line = line .. '"over_limit"'
      else
        holder[book], due_of[book] = user, due
        loan[#loan + 1] = book
        loan[#loan + 1] = due .. ' ' .. since
        lent[#lent + 1] = book
        lent[#lent + 1] = user
        if in_front[book] then
          taken[#taken + 1] = book
          line = line .. '"lent","from":"front","due_ms":' .. due
        else
          ordered[#ordered + 1] = { request = entry.request, book = book, bell = entry.bell }
          line = line .. '"lent","from":"shelves","due_ms":' .. due
        end
      end
      lines[#lines + 1] = line .. '}'
    end
    held[card] = held[card] + #loan / 2
    entry.loan = loan
    entry.event = grants and 'lent' or 'denied'
    local outcome = not grants and 'denied' or #loan / 2 == entry.count and 'granted' or 'partial'
    entry.text = '{"id":' .. quoted(entry.request) .. ',"action":"request","user":' .. quoted(user)
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
if #lent > 0 then redis.call('HSET', loans, unpack(lent)) end
if #taken > 0 then redis.call('ZREM', front, unpack(taken)) end
local awaiting = {}
for _, order in ipairs(ordered) do
  awaiting[#awaiting + 1] = order.book
  awaiting[#awaiting + 1] = order.request .. ' ' .. order.bell
  redis.call('XADD', fetches, '*', 'request', order.request, 'book', order.book)
end
if #awaiting > 0 then redis.call('HSET', fetching, unpack(awaiting)) end
for _, entry in ipairs(decided) do
  if #entry.loan > 0 then redis.call('HSET', entry.card, unpack(entry.loan)) end
  redis.call('SET', entry.receipt, entry.text, 'PX', receipt_ms)
end
if #decided > 0 then
  local asks = {}
  for book, value in pairs(score) do
    asks[#asks + 1] = string.format('%.17g', value)
    asks[#asks + 1] = book
  end
  redis.call('ZADD', demand, unpack(asks))
  redis.call('ZREMRANGEBYRANK', demand, 0, -demand_max - 1)
  redis.call('SET', clock, string.format('%.17g', age))
end
for n, entry in ipairs(entries) do
  if entry.bell ~= '' then
    redis.call('PUBLISH', bells .. entry.bell, entry.text or standing[n] or seen[entry.request])
  end
end
redis.call('XACK', requests, group, unpack(acknowledged))

-- Trim to what is still needed: the oldest pending entry and all after it, or,
-- where nothing is pending, all after the last one delivered.
local pending = redis.call('XPENDING', requests, group)
local keep = pending[2]
if pending[1] == 0 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', requests)) do
    for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
    if info.name == group then keep = info['last-delivered-id'] end
  end
  redis.call('XDEL', requests, keep)
end
redis.call('XTRIM', requests, 'MINID', keep)
return replies
