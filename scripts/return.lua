-- return.lua decides a batch of returns, one after another, and ends the loans.
--
-- A book that comes back goes into front storage. If that has no room for all, the books
-- in least demand go to the shelving service, of those that came back and those that
-- stood there.
-- Uses step.lua, json.lua, receipts.lua, orders.lua, demand.lua
--
-- KEYS[1]  instance  STRING  the lock of the instance that calls
-- KEYS[2]  returns   STREAM  the inbox the entries were read from
-- KEYS[3]  terms     HASH    the terms the library lends by
-- KEYS[4]  loans     HASH    book -> user
-- KEYS[5]  fetching  HASH    book -> "request bell", for books on their way from the shelves
-- KEYS[6]  front     SET     the books in front storage
-- KEYS[7]  demand    HASH    book -> the demand for it, see demand.lua
-- KEYS[8]  faded     HASH    the same, of books that were counted longer ago
-- KEYS[9]  clock     STRING  the time by which demand ages, see demand.lua
-- KEYS[10] receipts  HASH    request -> receipt, this page
-- KEYS[11] older     HASH    request -> receipt, the page before
-- KEYS[12] page      STRING  exists until this page is full
-- KEYS[13] stores    STREAM  the shelving service's inbox for books to put away
-- KEYS[14] events    STREAM  the log
-- KEYS[15...] for each entry: its user's card (HASH book -> due_ms and, in its last four digits, for how many days)
--
-- ARGV[1]  token        the token in the instance's lock
-- ARGV[2]  name         the instance's name
-- ARGV[3]  group        the group that reads the inbox
-- ARGV[4]  version      the terms by which the instance reckoned
-- ARGV[5]  front_max    how many books front storage has room for
-- ARGV[6]  demand_half  after how many loans a loan counts half
-- ARGV[7]  demand_max   for how many books demand is noted before older notes fade
-- ARGV[8]  receipt_ms   how long a receipt is kept at least
-- ARGV[9]  log_max      about how many entries the log keeps
-- ARGV[10] bells        the prefix of the channels on which receipts are rung
-- ARGV[11] entries      how many entries there are
-- ARGV[12] counts       how many books each has, one byte for each entry
-- ARGV[13] asking       how many of their clients wait for an answer
-- ARGV[14...] in columns, one kind after the other:
--         asking × (n, bell)   the place of an entry whose client waits, and its bell
--         entries × id         the entry ids
--         entries × request    the request ids
--         entries × user       the users
--         entries × slip       the beginning of each receipt: the order, a JSON object still open
--         books                those of all entries, each once an entry; at most 2,000 a call
--
-- Returns an array with one text an entry, in order of precedence:
--         "repeat"  the request has a receipt already: only acknowledged
--         otherwise the outcome and what became of each book, as in "partial returned not_yours"
-- Emits   one "decided" for at most 16 decided entries, one "shelved" for at most 16 books
--         that go to the shelves
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         TERMS   the library's terms have changed; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local returns = KEYS[2]
local terms = KEYS[3]
local loans = KEYS[4]
local fetching = KEYS[5]
local front = KEYS[6]
local demand = KEYS[7]
local faded = KEYS[8]
local clock = KEYS[9]
local receipts = KEYS[10]
local older = KEYS[11]
local page = KEYS[12]
local stores = KEYS[13]
local events = KEYS[14]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local version = ARGV[4]
local front_max = tonumber(ARGV[5])
local demand_half = tonumber(ARGV[6])
local demand_max = tonumber(ARGV[7])
local receipt_ms = tonumber(ARGV[8])
local log_max = ARGV[9]
local bells = ARGV[10]
local entries = tonumber(ARGV[11])
local counts = ARGV[12]
local asking = tonumber(ARGV[13])

-- Read.
local fault = fenced(instance, token) or outdated(terms, version)
if fault then return fault end
local ids, requested, users, slips, books, rung = read_orders(14, entries, asking)
local standing, pages = find_receipts(returns, group, receipts, older, page, requested, slips)
need('HDEL', loans, '') need('SADD', front, '') need('PUBLISH', bells, '')
need('HSET', demand, '', '') need('SET', clock, '')
need_done(returns, group)
local cards = { unpack(KEYS, 15) }
-- A key of the wrong type must fault before the first write.
for n = 1, entries do need('HDEL', cards[n], '') call('HLEN', cards[n]) end
local holders = call('HMGET', loans, unpack(books))
local on_their_way = call('HMGET', fetching, unpack(books))
local in_front = call('SCARD', front)
local time = tonumber(call('GET', clock) or 0)

-- Decide. brought are the books that come back, in order; came, how many by each order.
local ended, answers, replies, endings = {}, {}, {}, {}
local decided, entered, brought, came = {}, {}, {}, {}
local answered, first = 0, 1 -- counted, since the length of a table takes a search
for n = 1, entries do
  local request, last = requested[n], first + string.byte(counts, n) - 1
  if standing[n] or answers[request] then
    replies[n] = 'repeat'
  else
    local user, words, before = users[n], '', #brought
    for i = first, last do
      local book = books[i]
      if holders[i] ~= user or ended[book] then
        words = words .. ' not_yours'
      elseif on_their_way[i] then
        words = words .. ' on_its_way'
      else
        words = words .. ' returned'
        ended[book] = true
        brought[#brought + 1] = book
      end
    end
    came[n] = #brought - before
    local reply = (came[n] == 0 and 'refused' or came[n] == last - first + 1 and 'returned' or 'partial') .. words
    replies[n] = reply
    endings[reply] = endings[reply] or ending(reply) -- few differ
    answered = answered + 1
    answers[request], decided[answered], entered[answered] = slips[n] .. endings[reply], request, ids[n]
  end
  first = last + 1
end
local noted, leave, left_front, stay, crowded = {}, {}, {}, {}, false
if #brought > 0 then
  local demand_of = {}
  look(demand_of, brought, demand, faded)
  noted, time = weigh(demand_of, brought, time, demand_half)
  crowded = call('HLEN', demand) + #noted / 2 > demand_max
  leave, left_front, stay = choose(demand_of, brought, front, in_front + #brought - front_max, demand, faded)
end
if crowded then need('UNLINK', faded) need('RENAME', demand, faded) end
if #left_front > 0 then need('SREM', front, '') end
if #leave > 0 then need('XADD', stores, '*', '', '') call('XLEN', stores) end

-- Write.
record(decided, entered, answers, events, log_max, name, pages, receipt_ms)
if #brought > 0 then
  call('HDEL', loans, unpack(brought))
  local at = 1
  for n = 1, entries do
    local count = came[n] or 0
    if count > 0 then call('HDEL', cards[n], unpack(brought, at, at + count - 1)) end
    at = at + count
  end
  if #stay > 0 then call('SADD', front, unpack(stay)) end
  call('HSET', demand, unpack(noted))
  if crowded then
    call('UNLINK', faded)
    call('RENAME', demand, faded)
  end
  call('SET', clock, string.format('%.17g', time))
end
if #left_front > 0 then call('SREM', front, unpack(left_front)) end
for i, book in ipairs(leave) do leave[i] = quoted(book) end
for _, text in ipairs(lists(leave)) do
  call('XADD', stores, '*', 'books', text)
  call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'shelved', 'by', name, 'books', text)
end
ring(bells, rung, requested, answers, standing)
done(returns, group, ids)
return replies
