-- deliver.lua notes that a batch of books from the shelves is in the users' hands.
--
-- A book that nobody ordered is sent back: a forged order must not keep a book
-- from the shelves for ever.
-- Uses step.lua, json.lua, parcels.lua
--
-- KEYS[1] instance    STRING  the lock of the instance that calls
-- KEYS[2] deliveries  STREAM  the inbox the entries were read from
-- KEYS[3] loans       HASH    book -> user
-- KEYS[4] fetching    HASH    book -> "request bell", for books on their way from the shelves
-- KEYS[5] front       SET     the books in front storage
-- KEYS[6] stores      STREAM  the shelving service's inbox for books to put away
-- KEYS[7] events      STREAM  the log
--
-- ARGV[1] token  the token in the instance's lock
-- ARGV[2] name   the instance's name, under which the entries are pending
-- ARGV[3] group  the group that reads the inbox
-- ARGV[4] bells  the prefix of the channels on which arrivals are rung
-- ARGV[5...] for each entry, by ascending entry id; at most 2,000 books a call:
--         id, books            the entry id, and how many books it has
--         books × (request, book)
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
local bells = ARGV[4]

-- Read.
local fault = fenced(instance, token)
if fault then return fault end
need('HDEL', fetching, '') need('PUBLISH', bells, '')
need_done(deliveries, group)
local ids, _, last, requested, books = read_parcels(5, 2, 2)
local words = gone(deliveries, group, name, ids, last)
-- A key of the wrong type must fault before the first write.
call('SCARD', front)
call('XLEN', stores)
local holders = call('HMGET', loans, unpack(books))
local orders = call('HMGET', fetching, unpack(books))

-- Decide. came has what an earlier book of this batch has changed.
local came, delivered, refused, rings, replies = {}, {}, {}, {}, {}
local arrived = 0 -- counted, since the length of a table takes a search
for i = 1, #books do
  local request, book, holder = requested[i], books[i], holders[i]
  local order = not came[book] and orders[i]
  if words[i] then
    -- its entry is gone
  elseif order and string.sub(order, 1, #request + 1) == request .. ' ' then
    words[i] = 'delivered'
    came[book] = true
    arrived = arrived + 1
    delivered[arrived] = i
    local bell = string.sub(order, #request + 2)
    if bell ~= '' then
      rings[#rings + 1] = bell
      rings[#rings + 1] = '{"id":' .. quoted(request) .. ',"delivered":' .. quoted(book) .. '}'
    end
  elseif order or not holder and call('SISMEMBER', front, book) == 0 then
    words[i] = 'sent_back'
    refused[#refused + 1] = i
  end
  holders[i] = holder or ''
end
local finished, apart = set_apart(ids, last, words)
for i = 1, #books do replies[2 * i - 1], replies[2 * i] = words[i], holders[i] end
if #refused > 0 then need('XADD', stores, '*', '', '') end
if #apart > 0 then need('XADD', deliveries, '*', '', '') end
local unwanted = arrays(refused, last, books)

-- Write. The log comes first: a full server refuses a script's first write, and no later one.
for _, text in ipairs(arrays(delivered, last, books, requested, holders)) do
  call('XADD', events, '*', 'event', 'delivered', 'by', name, 'orders', text)
end
for n, text in ipairs(arrays(refused, last, books, requested, holders)) do
  call('XADD', events, '*', 'event', 'sent_back', 'by', name, 'orders', text)
  call('XADD', stores, '*', 'books', unwanted[n])
end
if arrived > 0 then call('HDEL', fetching, unpack(pick(books, delivered))) end
for _, i in ipairs(apart) do call('XADD', deliveries, '*', 'orders', '[' .. line(books[i], requested[i]) .. ']') end
for i = 1, #rings, 2 do call('PUBLISH', bells .. rings[i], rings[i + 1]) end
done(deliveries, group, finished)
return replies
