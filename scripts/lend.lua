-- lend.lua decides a batch of requests, one after another: who gets which book.
--
-- The books a user asks for are lent if at least one is free and the user's card
-- has room for all that are free. What stands in front storage is in the user's
-- hands at once; anything else is ordered from the shelving service.
--
-- KEYS[1]  instance  STRING  the lock of the instance that calls
-- KEYS[2]  requests  STREAM  the inbox the entries were read from
-- KEYS[3]  loans     HASH    book -> user
-- KEYS[4]  fetching  HASH    book -> "request bell", for books on their way from the shelves
-- KEYS[5]  front     SET     the books in front storage
-- KEYS[6]  receipts  HASH    request -> receipt, this page
-- KEYS[7]  older     HASH    request -> receipt, the page before
-- KEYS[8]  page      STRING  stands as long as this page is not full
-- KEYS[9]  fetches   STREAM  the shelving service's inbox for orders
-- KEYS[10] events    STREAM  the log
-- KEYS[11...] for each entry: its user's card (HASH book -> due_ms and, in its last four digits, loan_days)
--
-- ARGV[1] token       the token in the instance's lock
-- ARGV[2] name        the instance's name
-- ARGV[3] group       the group that reads the inbox
-- ARGV[4] loans_max   how many books a user may hold
-- ARGV[5] loan_days   how long a loan lasts
-- ARGV[6] receipt_ms  how long a receipt is kept at least
-- ARGV[7] log_max     about how many entries the log keeps
-- ARGV[8] bells       the prefix of the channels on which receipts are rung
-- ARGV[9] entries     how many entries there are
-- ARGV[10] counts      how many books each names, a byte for an entry
-- ARGV[11] asking      how many entries somebody waits for
-- ARGV[12...] for each of these its place among the entries and its bell; then for all
--         entries, one kind after the other: the entry ids, request ids, users, slips
--         (with what a receipt begins: the order as a JSON object, still open); then the
--         books of all, each once an entry; at most 2,000 books a call
--
-- Returns an array with one text an entry, in order of precedence:
--         "repeat"  the request has a receipt already: only acknowledged
--         otherwise the outcome and what became of each book, as in "partial front unavailable"
-- Emits   one "decided" for at most 16 decided entries
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local requests = KEYS[2]
local loans = KEYS[3]
local fetching = KEYS[4]
local front = KEYS[5]
local receipts = KEYS[6]
local older = KEYS[7]
local page = KEYS[8]
local fetches = KEYS[9]
local events = KEYS[10]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local loans_max = tonumber(ARGV[4])
local loan_days = tonumber(ARGV[5])
local receipt_ms = tonumber(ARGV[6])
local log_max = ARGV[7]
local bells = ARGV[8]
local entries = tonumber(ARGV[9])
local counts = ARGV[10]
local asking = tonumber(ARGV[11])

-- Read. One command fetches a fact for the whole batch: half of what a script
-- costs is the crossing into each command. For the same reason the entries stand
-- in columns, not in a table each: a column is cut out and passed on in one go.
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
need('HSET', loans, '', '') need('SREM', front, '') need('HSET', fetching, '', '') need('XADD', fetches, '*', '', '') need('PUBLISH', bells, '')
need('XACK', requests, group, '0-0') need('XLEN', requests) need('XINFO', 'GROUPS', requests) need('XTRIM', requests, 'MINID', 0) need('XDEL', requests, '0-0')
local cards = { unpack(KEYS, 11) }
for n = 1, entries do need('HSET', cards[n], '', '') end
local columns = 12 + 2 * asking -- where they begin
local ids = { unpack(ARGV, columns, columns + entries - 1) }
local requested = { unpack(ARGV, columns + entries, columns + 2 * entries - 1) }
local users = { unpack(ARGV, columns + 2 * entries, columns + 3 * entries - 1) }
local slips = { unpack(ARGV, columns + 3 * entries, columns + 4 * entries - 1) }
local books = { unpack(ARGV, columns + 4 * entries) }
local rung = {}
for i = 12, columns - 1, 2 do rung[tonumber(ARGV[i])] = ARGV[i + 1] end
-- A key of the wrong type must fault before the first write, which is to the log, and
-- so must a group that is gone: asked for no entries, XPENDING still looks for it.
call('XPENDING', requests, group, '-', '+', 0)
local standing = call('HMGET', receipts, unpack(requested))
local before = call('EXISTS', older) == 1 and call('HMGET', older, unpack(requested)) or {}
local holders = call('HMGET', loans, unpack(books))
local fronted = call('SMISMEMBER', front, unpack(books))
local time = call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + loan_days * 86400000)
local stamp = due .. string.format('%04d', loan_days)

-- Decide. The tables hold what would be read again after each entry, so that
-- every entry is decided as if it had come alone.
local lent_to, held, answers, replies, endings = {}, {}, {}, {}, {}
local lent, stamped, taken, ordered, orders, decided, kept, grants = {}, {}, {}, {}, {}, {}, {}, {}
local loaned, answered = 0, 0 -- counted, since the length of a table takes a search
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
  endings[reply] = ',"outcome":"' .. outcome .. '","results":["' .. string.gsub(words, ' ', '","') .. '"]'
    .. (outcome ~= 'denied' and ',"due_ms":' .. due or '') .. '}'
  return endings[reply]
end
local first = 1
for n = 1, entries do
  local request, last = requested[n], first + string.byte(counts, n) - 1
  if standing[n] or before[n] or answers[request] then
    replies[n] = 'repeat'
  else
    local user, card, free = users[n], cards[n], 0
    for i = first, last do
      if not holders[i] and not lent_to[books[i]] then free = free + 1 end
    end
    local has = held[card] or call('HLEN', card)
    local grant = free > 0 and has + free <= loans_max
    local reply = not grant and 'denied' or free == last - first + 1 and 'granted' or 'partial'
    for i = first, last do
      local book = books[i]
      local holder = lent_to[book] or holders[i]
      if holder == user then
        local since = lent_to[book] and stamp or call('HGET', card, book)
        reply = reply .. ' already_yours' .. (since and ':' .. string.sub(since, 1, -5) or '')
      elseif holder then
        reply = reply .. ' unavailable'
      elseif not grant then
        reply = reply .. ' over_limit'
      else
        lent_to[book] = user
        lent[loaned + 1], lent[loaned + 2] = book, user
        stamped[loaned + 1], stamped[loaned + 2] = book, stamp
        loaned = loaned + 2
        if fronted[i] == 1 then
          taken[#taken + 1] = book
          reply = reply .. ' front'
        else
          local count = #orders
          ordered[2 * count + 1], ordered[2 * count + 2] = book, request .. ' ' .. (rung[n] or '')
          orders[count + 1] = '["' .. request .. '",' .. quoted(book) .. ']'
          reply = reply .. ' shelves'
        end
      end
    end
    grants[n] = grant and free or 0
    held[card] = has + grants[n]
    replies[n] = reply
    local text = slips[n] .. (endings[reply] or ending(reply))
    answers[request] = text
    answered = answered + 1
    decided[answered], kept[2 * answered - 1], kept[2 * answered] = text, request, text
  end
  first = last + 1
end

if #orders > 0 then
  call('HLEN', fetching)
  call('XLEN', fetches)
end

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
if loaned > 0 then call('HSET', loans, unpack(lent)) end
if #taken > 0 then call('SREM', front, unpack(taken)) end
local at = 1
for n = 1, entries do
  local count = grants[n] or 0
  if count > 0 then call('HSET', cards[n], unpack(stamped, at, at + 2 * count - 1)) end
  at = at + 2 * count
end
if #orders > 0 then
  call('HSET', fetching, unpack(ordered))
  -- Some books share an entry, for an entry costs more than a book. Few do not: then
  -- as many instances as there are can walk to the shelves.
  local share = math.min(16, math.ceil(#orders / 16))
  for from = 1, #orders, share do
    call('XADD', fetches, '*', 'orders', list(orders, from, math.min(from + share - 1, #orders)))
  end
end
for i = 12, columns - 1, 2 do
  local n = tonumber(ARGV[i])
  call('PUBLISH', bells .. ARGV[i + 1], answers[requested[n]] or standing[n] or before[n])
end
call('XACK', requests, group, unpack(ids))

-- Trim to what is still needed: nothing of an entry that stood alone; else the oldest
-- pending entry and all after it, or, where nothing is pending, all after the last one
-- delivered. (The group's lag would tell sooner that nothing is left, but after
-- deletions Redis may estimate it.)
if call('XLEN', requests) > 1 or call('XDEL', requests, ids[1]) == 0 then
  local oldest = call('XPENDING', requests, group, '-', '+', 1)[1]
  if oldest then
    call('XTRIM', requests, 'MINID', oldest[1])
  else
    for _, info in ipairs(call('XINFO', 'GROUPS', requests)) do
      for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
      if info.name == group then
        call('XDEL', requests, info['last-delivered-id'])
        call('XTRIM', requests, 'MINID', info['last-delivered-id'])
      end
    end
  end
end
return replies
