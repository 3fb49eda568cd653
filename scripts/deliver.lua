-- deliver.lua notes that a batch of books from the shelves is in the users' hands.
--
-- A book that nobody ordered is sent back: a forged order must not keep a book
-- from the shelves for ever.
--
-- KEYS[1] instance    STRING  the lock of the instance that calls
-- KEYS[2] deliveries  STREAM  the inbox the entries were read from
-- KEYS[3] loans       HASH    book -> user
-- KEYS[4] fetching    HASH    book -> "request bell", for books on their way from the shelves
-- KEYS[5] front       SET     the books in front storage
-- KEYS[6] stores      STREAM  the shelving service's inbox for books to put away
-- KEYS[7] events      STREAM  the log
--
-- ARGV[1] token    the token in the instance's lock
-- ARGV[2] name     the instance's name, under which the entries are pending
-- ARGV[3] group    the group that reads the inbox
-- ARGV[4] log_max  about how many entries the log keeps
-- ARGV[5] bells    the prefix of the channels on which arrivals are rung
-- ARGV[6...] for each entry, by ascending entry id: its entry id, number of books, and
--         for each book its request id and the book; at most 2,000 books a call
--
-- Returns an array with a word and, where known, the user (else "") for each book, one
--         after the other, the word being, in order of precedence:
--         "gone"       its entry is not pending for this instance: nothing was done
--         "delivered"  the book is in the user's hands
--         "conflict"   the one copy is in a user's hands or in front storage: nothing was
--                      done, and an entry of this book alone is still pending
--         "apart"      the same, in an entry of several books: it has an entry of its own now
--         "sent_back"  this request is not waiting for the book, which goes back to the shelves
-- Emits   one "delivered" an entry of that result, one "sent_back" an entry of that result
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
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
need('XADD', stores, '*', '', '') need('HDEL', fetching, '') need('XADD', deliveries, '*', '', '') need('PUBLISH', bells, '')
need('XACK', deliveries, group, '0-0') need('XLEN', deliveries) need('XINFO', 'GROUPS', deliveries) need('XTRIM', deliveries, 'MINID', 0) need('XDEL', deliveries, '0-0')
local ids, last, requests, books = {}, {}, {}, {}
local entries, total, arg, args = 0, 0, 6, #ARGV
while arg <= args do
  entries = entries + 1
  ids[entries] = ARGV[arg]
  local count = tonumber(ARGV[arg + 1])
  for i = arg + 2, arg + 2 * count, 2 do
    total = total + 1
    requests[total], books[total] = ARGV[i], ARGV[i + 1]
  end
  arg, last[entries] = arg + 2 + 2 * count, total
end
local pending = {}
for _, entry in ipairs(call('XPENDING', deliveries, group, ids[1], ids[#ids], 1000000, name)) do
  pending[entry[1]] = true
end
-- A key of the wrong type must fault now, before the first write.
call('SCARD', front)
call('XLEN', stores)
local holders = call('HMGET', loans, unpack(books))
local orders = call('HMGET', fetching, unpack(books))

-- Decide.
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
local replies, acknowledged, arrived, rings, apart = {}, {}, {}, {}, {}
local delivered, returned, came = {}, {}, {}
local first = 1
for n, id in ipairs(ids) do
  local here, given, unwanted, refused, stays = pending[id], {}, {}, {}, false
  for i = first, last[n] do
    local request, book, user = requests[i], books[i], holders[i] or ''
    local order = not came[book] and orders[i]
    local word
    if not here then
      word = 'gone'
    elseif order and string.sub(order, 1, #request + 1) == request .. ' ' then
      word = 'delivered'
      came[book] = true
      arrived[#arrived + 1] = book
      given[#given + 1] = '["' .. request .. '",' .. quoted(book) .. ',' .. quoted(user) .. ']'
      local bell = string.sub(order, #request + 2)
      if bell ~= '' then
        rings[#rings + 1] = bell
        rings[#rings + 1] = '{"id":' .. quoted(request) .. ',"delivered":' .. quoted(book) .. '}'
      end
    elseif not order and (holders[i] or call('SISMEMBER', front, book) == 1) then
      if last[n] == first then
        word, stays = 'conflict', true
      else
        word = 'apart'
        apart[#apart + 1] = '[["' .. request .. '",' .. quoted(book) .. ']]'
      end
    else
      word = 'sent_back'
      unwanted[#unwanted + 1] = quoted(book)
      refused[#refused + 1] = '["' .. request .. '",' .. quoted(book) .. ',' .. quoted(user) .. ']'
    end
    replies[2 * i - 1], replies[2 * i] = word, user
  end
  if #given > 0 then delivered[#delivered + 1] = list(given, 1, #given) end
  if #unwanted > 0 then
    returned[#returned + 1] = list(unwanted, 1, #unwanted)
    returned[#returned + 1] = list(refused, 1, #refused)
  end
  if here and not stays then acknowledged[#acknowledged + 1] = id end
  first = last[n] + 1
end

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
for _, text in ipairs(delivered) do
  call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'delivered', 'by', name, 'orders', text)
end
for i = 1, #returned, 2 do
  call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'sent_back', 'by', name, 'orders', returned[i + 1])
  call('XADD', stores, '*', 'books', returned[i])
end
if #arrived > 0 then call('HDEL', fetching, unpack(arrived)) end
for _, text in ipairs(apart) do call('XADD', deliveries, '*', 'orders', text) end
for i = 1, #rings, 2 do call('PUBLISH', bells .. rings[i], rings[i + 1]) end
if #acknowledged > 0 then call('XACK', deliveries, group, unpack(acknowledged)) end

-- Trim to what is still needed: nothing of an entry that stood alone; else the oldest
-- pending entry and all after it, or, where nothing is pending, all after the last one
-- delivered. (The group's lag would tell sooner that nothing is left, but after
-- deletions Redis may estimate it.)
if #acknowledged == 0 or call('XLEN', deliveries) > 1 or call('XDEL', deliveries, acknowledged[1]) == 0 then
  local oldest = call('XPENDING', deliveries, group, '-', '+', 1)[1]
  if oldest then
    call('XTRIM', deliveries, 'MINID', oldest[1])
  else
    for _, info in ipairs(call('XINFO', 'GROUPS', deliveries)) do
      for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
      if info.name == group then
        call('XDEL', deliveries, info['last-delivered-id'])
        call('XTRIM', deliveries, 'MINID', info['last-delivered-id'])
      end
    end
  end
end
return replies
