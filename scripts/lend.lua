-- lend.lua decides a batch of requests, one after another: who gets which book.
--
-- The free books of a request are lent if there is at least one and the user's card has
-- room for all of them. A book in front storage is in the user's hands at once; any other
-- is ordered from the shelving service.
-- Uses step.lua, json.lua, receipts.lua, orders.lua
--
-- KEYS[1]  instance  STRING  the lock of the instance that calls
-- KEYS[2]  requests  STREAM  the inbox the entries were read from
-- KEYS[3]  terms     HASH    the terms the library lends by
-- KEYS[4]  loans     HASH    book -> user
-- KEYS[5]  fetching  HASH    book -> "request bell", for books on their way from the shelves
-- KEYS[6]  front     SET     the books in front storage
-- KEYS[7]  receipts  HASH    request -> receipt, this page
-- KEYS[8]  older     HASH    request -> receipt, the page before
-- KEYS[9]  page      STRING  exists until this page is full
-- KEYS[10] fetches   STREAM  the shelving service's inbox for orders
-- KEYS[11] events    STREAM  the log
-- KEYS[12...] for each entry: its user's card (HASH book -> due_ms and, in its last four digits, for how many days)
--
-- ARGV[1]  token       the token in the instance's lock
-- ARGV[2]  name        the instance's name
-- ARGV[3]  group       the group that reads the inbox
-- ARGV[4]  version     the terms by which the instance reckoned
-- ARGV[5]  loans_max   how many books a user may hold
-- ARGV[6]  from_ms     when the library's day began
-- ARGV[7]  until_ms    when it ends
-- ARGV[8]  stamp       what goes on the card of who is lent a book on that day
-- ARGV[9]  receipt_ms  how long a receipt is kept at least
-- ARGV[10] log_max     about how many entries the log keeps
-- ARGV[11] bells       the prefix of the channels on which receipts are rung
-- ARGV[12] entries     how many entries there are
-- ARGV[13] counts      how many books each has, one byte for each entry
-- ARGV[14] asking      how many of their clients wait for an answer
-- ARGV[15...] in columns, one kind after the other:
--         asking × (n, bell)   the place of an entry whose client waits, and its bell
--         entries × id         the entry ids
--         entries × request    the request ids
--         entries × user       the users
--         entries × slip       the beginning of each receipt: the order, a JSON object still open
--         books                those of all entries, each once an entry; at most 2,000 a call
--
-- Returns an array with one text an entry, in order of precedence:
--         "repeat"  the request has a receipt already: only acknowledged
--         otherwise the outcome and what became of each book, as in "partial front unavailable"
-- Emits   one "decided" for at most 16 decided entries
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         TERMS   the library's terms have changed, or its day is over; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local requests = KEYS[2]
local terms = KEYS[3]
local loans = KEYS[4]
local fetching = KEYS[5]
local front = KEYS[6]
local receipts = KEYS[7]
local older = KEYS[8]
local page = KEYS[9]
local fetches = KEYS[10]
local events = KEYS[11]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local version = ARGV[4]
local loans_max = tonumber(ARGV[5])
local from_ms = tonumber(ARGV[6])
local until_ms = tonumber(ARGV[7])
local stamp = ARGV[8]
local receipt_ms = tonumber(ARGV[9])
local log_max = ARGV[10]
local bells = ARGV[11]
local entries = tonumber(ARGV[12])
local counts = ARGV[13]
local asking = tonumber(ARGV[14])

-- Read. One command fetches a fact for the whole batch: half of what a script costs is
-- the crossing into each command.
local fault = fenced(instance, token) or outdated(terms, version)
if fault then return fault end
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if now_ms < from_ms or now_ms >= until_ms then return redis.error_reply("TERMS the library's day is over") end
local ids, requested, users, slips, books, rung = read_orders(15, entries, asking)
local standing, pages = find_receipts(requests, group, receipts, older, page, requested, slips)
need('HSET', loans, '', '') need('SREM', front, '') need('PUBLISH', bells, '')
need_done(requests, group)
local cards = { unpack(KEYS, 12) }
for n = 1, entries do need('HSET', cards[n], '', '') end
local holders = call('HMGET', loans, unpack(books))
local in_front = call('SMISMEMBER', front, unpack(books))

-- Decide. lent_to, held and answers have what would be read again after each order, so
-- that each is decided as if it had come alone.
local lent_to, held, answers, replies, endings, grants = {}, {}, {}, {}, {}, {}
local decided, entered, lent, stamped, taken, ordered, sent = {}, {}, {}, {}, {}, {}, {}
local loaned, answered, first = 0, 0, 1 -- counted, since the length of a table takes a search
for n = 1, entries do
  local request, last = requested[n], first + string.byte(counts, n) - 1
  if standing[n] or answers[request] then
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
        if in_front[i] == 1 then
          taken[#taken + 1] = book
          reply = reply .. ' front'
        else
          local count = #sent
          ordered[2 * count + 1], ordered[2 * count + 2] = book, request .. ' ' .. (rung[n] or '')
          sent[count + 1] = line(book, request)
          reply = reply .. ' shelves'
        end
      end
    end
    grants[n] = grant and free or 0
    held[card] = has + grants[n]
    replies[n] = reply
    endings[reply] = endings[reply] or ending(reply, string.sub(stamp, 1, -5)) -- few differ
    answered = answered + 1
    answers[request], decided[answered], entered[answered] = slips[n] .. endings[reply], request, ids[n]
  end
  first = last + 1
end
if #sent > 0 then -- a key of the wrong type must fault before the first write
  need('HSET', fetching, '', '') need('XADD', fetches, '*', '', '')
  call('HLEN', fetching)
  call('XLEN', fetches)
end

-- Write.
record(decided, entered, answers, events, log_max, name, pages, receipt_ms)
if loaned > 0 then call('HSET', loans, unpack(lent)) end
if #taken > 0 then call('SREM', front, unpack(taken)) end
local at = 1
for n = 1, entries do
  local count = 2 * (grants[n] or 0)
  if count > 0 then call('HSET', cards[n], unpack(stamped, at, at + count - 1)) end
  at = at + count
end
if #sent > 0 then call('HSET', fetching, unpack(ordered)) end
for _, text in ipairs(lists(sent)) do call('XADD', fetches, '*', 'orders', text) end
ring(bells, rung, requested, answers, standing)
done(requests, group, ids)
return replies
