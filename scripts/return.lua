-- return.lua decides a batch of returns, one after another, and ends the loans.
--
-- A book comes back into front storage, where that has room for it. Where it has
-- not, the books in least demand go to the shelving service, of those that came
-- back and those that stood there.
--
-- KEYS[1]  instance  STRING  the lock of the instance that calls
-- KEYS[2]  returns   STREAM  the inbox the entries were read from
-- KEYS[3]  loans     HASH    book -> user
-- KEYS[4]  fetching  HASH    book -> "request bell", for books on their way from the shelves
-- KEYS[5]  front     SET     the books in front storage
-- KEYS[6]  demand    HASH    book -> the logarithm of how often it was lent, aged
-- KEYS[7]  faded     HASH    the same, of books that were counted longer ago
-- KEYS[8]  clock     STRING  by which demand ages: every loan that ends moves it by ln 2 / demand_half
-- KEYS[9]  receipts  HASH    request -> receipt, this page
-- KEYS[10] older     HASH    request -> receipt, the page before
-- KEYS[11] page      STRING  stands as long as this page is not full
-- KEYS[12] stores    STREAM  the shelving service's inbox for books to put away
-- KEYS[13] events    STREAM  the log
-- KEYS[14...] for each entry: its user's card (HASH book -> due_ms and, in its last four digits, loan_days)
--
-- ARGV[1] token        the token in the instance's lock
-- ARGV[2] name         the instance's name
-- ARGV[3] group        the group that reads the inbox
-- ARGV[4] front_max    how many books front storage has room for
-- ARGV[5] demand_half  after how many loans a loan counts half
-- ARGV[6] demand_max   for how many books demand is noted before older notes fade
-- ARGV[7] receipt_ms   how long a receipt is kept at least
-- ARGV[8] log_max      about how many entries the log keeps
-- ARGV[9] bells        the prefix of the channels on which receipts are rung
-- ARGV[10] entries      how many entries there are
-- ARGV[11] counts      how many books each names, a byte for an entry
-- ARGV[12] asking      how many entries somebody waits for
-- ARGV[13...] for each of these its place among the entries and its bell; then for all
--         entries, one kind after the other: the entry ids, request ids, users, slips
--         (with what a receipt begins: the order as a JSON object, still open); then the
--         books of all, each once an entry; at most 2,000 books a call
--
-- Returns an array with one text an entry, in order of precedence:
--         "repeat"  the request has a receipt already: only acknowledged
--         otherwise the outcome and what became of each book, as in "partial returned not_yours"
-- Emits   one "decided" for at most 16 decided entries, one "shelved" for at most 16 books
--         that go to the shelves
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local returns = KEYS[2]
local loans = KEYS[3]
local fetching = KEYS[4]
local front = KEYS[5]
local demand = KEYS[6]
local faded = KEYS[7]
local clock = KEYS[8]
local receipts = KEYS[9]
local older = KEYS[10]
local page = KEYS[11]
local stores = KEYS[12]
local events = KEYS[13]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local front_max = tonumber(ARGV[4])
local demand_half = tonumber(ARGV[5])
local demand_max = tonumber(ARGV[6])
local receipt_ms = tonumber(ARGV[7])
local log_max = ARGV[8]
local bells = ARGV[9]
local entries = tonumber(ARGV[10])
local counts = ARGV[11]
local asking = tonumber(ARGV[12])

-- Read.
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
need('EXISTS', page) need('SET', page, '')
need('UNLINK', older) need('EXISTS', receipts) need('RENAME', receipts, older) need('HSET', receipts, '', '') need('PEXPIRE', receipts, 0)
need('HDEL', loans, '') need('SADD', front, '') need('SREM', front, '') need('XADD', stores, '*', '', '') need('PUBLISH', bells, '')
need('HSET', demand, '', '') need('HLEN', demand) need('UNLINK', faded) need('RENAME', demand, faded) need('SET', clock, '')
need('XACK', returns, group, '0-0') need('XLEN', returns) need('XINFO', 'GROUPS', returns) need('XTRIM', returns, 'MINID', 0) need('XDEL', returns, '0-0')
local cards = { unpack(KEYS, 14) }
local columns = 13 + 2 * asking -- where they begin
local ids = { unpack(ARGV, columns, columns + entries - 1) }
local requested = { unpack(ARGV, columns + entries, columns + 2 * entries - 1) }
local users = { unpack(ARGV, columns + 2 * entries, columns + 3 * entries - 1) }
local slips = { unpack(ARGV, columns + 3 * entries, columns + 4 * entries - 1) }
local books = { unpack(ARGV, columns + 4 * entries) }
-- A key of the wrong type must fault before the first write, which is to the log, and
-- so must a group that is gone: asked for no entries, XPENDING still looks for it.
call('XPENDING', returns, group, '-', '+', 0)
for n = 1, entries do
  need('HDEL', cards[n], '')
  call('HLEN', cards[n])
end
local standing = call('HMGET', receipts, unpack(requested))
local before = call('EXISTS', older) == 1 and call('HMGET', older, unpack(requested)) or {}
local holders = call('HMGET', loans, unpack(books))
local travelling = call('HMGET', fetching, unpack(books))
local stored = call('SCARD', front)
local age = tonumber(call('GET', clock) or 0)

-- Decide.
local answers, replies, endings, ended, brought, came = {}, {}, {}, {}, {}, {}
local decided, kept = {}, {}
local answered = 0 -- counted, since the length of a table takes a search
-- quoted makes a name a JSON string. Few names have anything to escape, and looking for
-- it is quicker than replacing nothing.
local function quoted(text)
  if string.find(text, '"', 1, true) or string.find(text, '\\', 1, true) then text = string.gsub(text, '["\\]', '\\%0') end
  return '"' .. text .. '"'
end
-- list makes some JSON texts a JSON array. Redis's Lua hashes every byte of each text that
-- it makes, so the brackets go round before the texts are joined: the first and the last
-- of them keep theirs.
local function list(texts, from, to)
  texts[from] = '[' .. texts[from]
  texts[to] = texts[to] .. ']'
  return table.concat(texts, ',', from, to)
end
-- ending is how a receipt ends; few differ, so each is made once a batch.
local function ending(reply)
  local outcome, words = string.match(reply, '^(%l+) (.*)$')
  endings[reply] = ',"outcome":"' .. outcome .. '","results":["' .. string.gsub(words, ' ', '","') .. '"]}'
  return endings[reply]
end
local first = 1
for n = 1, entries do
  local request, last = requested[n], first + string.byte(counts, n) - 1
  if standing[n] or before[n] or answers[request] then
    replies[n] = 'repeat'
  else
    local user, words, count = users[n], '', 0
    for i = first, last do
      local book = books[i]
      if holders[i] ~= user or ended[book] then
        words = words .. ' not_yours'
      elseif travelling[i] then
        words = words .. ' on_its_way'
      else
        words = words .. ' returned'
        ended[book] = true
        brought[#brought + 1] = book
        count = count + 1
      end
    end
    came[n] = count
    local reply = (count == 0 and 'refused' or count == last - first + 1 and 'returned' or 'partial') .. words
    replies[n] = reply
    local text = slips[n] .. (endings[reply] or ending(reply))
    answers[request] = text
    answered = answered + 1
    decided[answered], kept[2 * answered - 1], kept[2 * answered] = text, request, text
  end
  first = last + 1
end

-- A loan that ends counts for the book's demand, the logarithm of its loans, each
-- weighing twice as much as one demand_half loans before it. So counters age without
-- ever being touched. Of a large batch every stride-th book is counted, for as many.
local value, noted = {}, {}
local fades = call('EXISTS', faded) == 1
local function look(names)
  local found = call('HMGET', demand, unpack(names))
  local earlier = fades and call('HMGET', faded, unpack(names)) or {}
  for i, book in ipairs(names) do value[book] = tonumber(found[i] or earlier[i] or -1) end
end
if #brought > 0 then
  look(brought)
  local stride = math.ceil(#brought / 32)
  for i, book in ipairs(brought) do
    if i % stride == 0 then
      local old, now = value[book], age + math.log(stride)
      value[book] = old < 0 and now or math.max(old, now) + math.log(1 + math.exp(-math.abs(old - now)))
      noted[#noted + 1] = book
      noted[#noted + 1] = string.format('%.6f', value[book])
    end
    age = age + math.log(2) / demand_half
  end
end

-- The surplus is what leaves. Where front_max was lowered, a call moves at most
-- 1,000 books more than came back. A front storage that is large is not searched:
-- the lowest of a sample are low enough.
local surplus = math.min(stored + #brought - front_max, #brought + 1000)
local left_front, shelved, staying = {}, {}, brought
if #brought > 0 and surplus > 0 then
  local pool, values = {}, {}
  for i, book in ipairs(brought) do pool[i] = book end
  local sample = call('SRANDMEMBER', front, math.min(4000, math.max(32, 4 * surplus)))
  if #sample > 0 then look(sample) end
  for _, book in ipairs(sample) do pool[#pool + 1] = book end
  for i, book in ipairs(pool) do values[i] = value[book] end
  table.sort(values)
  local limit, ties = values[surplus], surplus
  for i = 1, surplus do
    if values[i] < limit then ties = ties - 1 end
  end
  staying = {}
  for i = #pool, 1, -1 do
    local book = pool[i]
    local goes = value[book] < limit
    if value[book] == limit and ties > 0 then
      goes, ties = true, ties - 1
    end
    if goes then
      shelved[#shelved + 1] = book
      if i > #brought then left_front[#left_front + 1] = book end
    elseif i <= #brought then
      staying[#staying + 1] = book
    end
  end
end

if #shelved > 0 then call('XLEN', stores) end

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
for from = 1, answered, 16 do
  call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'decided', 'by', name,
    'receipts', list(decided, from, math.min(from + 15, answered)))
end
if answered > 0 then
  -- A page of receipts is full when its time is up. Then it becomes the older page,
  -- and the one before it is forgotten, which Redis does on the side.
  if call('EXISTS', page) == 0 then
    call('UNLINK', older)
    if call('EXISTS', receipts) == 1 then call('RENAME', receipts, older) end
    call('SET', page, name, 'PX', receipt_ms)
  end
  call('HSET', receipts, unpack(kept))
  -- Where nobody asks any more, nobody turns the page.
  call('PEXPIRE', receipts, 3 * receipt_ms)
end
if #brought > 0 then
  call('HDEL', loans, unpack(brought))
  local at = 1
  for n = 1, entries do
    local count = came[n] or 0
    if count > 0 then call('HDEL', cards[n], unpack(brought, at, at + count - 1)) end
    at = at + count
  end
  if #staying > 0 then call('SADD', front, unpack(staying)) end
  call('HSET', demand, unpack(noted))
  if call('HLEN', demand) > demand_max then
    call('UNLINK', faded)
    call('RENAME', demand, faded)
  end
  call('SET', clock, string.format('%.17g', age))
end
if #left_front > 0 then call('SREM', front, unpack(left_front)) end
if #shelved > 0 then
  local share = math.min(16, math.ceil(#shelved / 16))
  for from = 1, #shelved, share do
    local names = {}
    for i = from, math.min(from + share - 1, #shelved) do names[#names + 1] = quoted(shelved[i]) end
    local text = list(names, 1, #names)
    call('XADD', stores, '*', 'books', text)
    call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'shelved', 'by', name, 'books', text)
  end
end
for i = 13, columns - 1, 2 do
  local n = tonumber(ARGV[i])
  call('PUBLISH', bells .. ARGV[i + 1], answers[requested[n]] or standing[n] or before[n])
end
call('XACK', returns, group, unpack(ids))

-- Trim to what is still needed: nothing of an entry that stood alone; else the oldest
-- pending entry and all after it, or, where nothing is pending, all after the last one
-- delivered. (The group's lag would tell sooner that nothing is left, but after
-- deletions Redis may estimate it.)
if call('XLEN', returns) > 1 or call('XDEL', returns, ids[1]) == 0 then
  local oldest = call('XPENDING', returns, group, '-', '+', 1)[1]
  if oldest then
    call('XTRIM', returns, 'MINID', oldest[1])
  else
    for _, info in ipairs(call('XINFO', 'GROUPS', returns)) do
      for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
      if info.name == group then
        call('XDEL', returns, info['last-delivered-id'])
        call('XTRIM', returns, 'MINID', info['last-delivered-id'])
      end
    end
  end
end
return replies
